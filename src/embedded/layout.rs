//! Where things lie: the data directory and the names in it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::account::{self, Account};
use super::error::EmbeddedError;

/// What a cluster is called until it is complete, followed by something unique.
pub(super) const STAGING_PREFIX: &str = "pg.new-";

/// Where `keystile serve` keeps its cluster when it isn't told: `/var/lib/keystile` for root (root's home is
/// closed to the user that PostgreSQL runs as), `~/Library/Application Support/keystile` on macOS, else
/// `$XDG_DATA_HOME/keystile` or `~/.local/share/keystile`.
///
/// # Errors
/// [`EmbeddedError::NoHome`] if it would lie in a home directory and there is none.
pub fn default_data_dir() -> Result<PathBuf, EmbeddedError> {
    choose_data_dir(
        account::is_root(),
        cfg!(target_os = "macos"),
        env::var_os("XDG_DATA_HOME"),
        env::var_os("HOME"),
    )
    .ok_or(EmbeddedError::NoHome)
}

fn choose_data_dir(
    root: bool,
    macos: bool,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    // Relative values are invalid by the XDG base directory specification, and no better for HOME.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    if root {
        return Some(PathBuf::from("/var/lib/keystile"));
    }
    if macos {
        return absolute(home).map(|home| home.join("Library/Application Support/keystile"));
    }
    absolute(xdg_data_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .map(|share| share.join("keystile"))
}

/// A data directory that exists; its path is absolute and without symbolic links.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    data_dir: PathBuf,
}

impl Layout {
    /// The data directory, made if it isn't there: for its owner alone, or for root passable, because the
    /// server runs as another user (everything inside has its own mode).
    pub(super) fn create(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let mode = if account::is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data_dir)
            .map_err(EmbeddedError::io("create", data_dir))?;
        let data_dir = data_dir.canonicalize().map_err(EmbeddedError::io("resolve", data_dir))?;
        Ok(Self { data_dir })
    }

    /// The data directory if it exists.
    pub(super) fn find(data_dir: &Path) -> Result<Option<Self>, EmbeddedError> {
        match data_dir.canonicalize() {
            Ok(data_dir) => Ok(Some(Self { data_dir })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io("resolve", data_dir)(error)),
        }
    }

    /// Makes sure that the server's user can come in, or says which directory is closed to it.
    ///
    /// Only the data directory itself is ever opened (passable, not readable), and only if it is evidently
    /// ours: so call this before taking the lock, which lies there.
    pub(super) fn open_to(&self, account: &Account) -> Result<(), EmbeddedError> {
        for dir in self.data_dir.ancestors() {
            let metadata = fs::metadata(dir).map_err(EmbeddedError::io("read", dir))?;
            if account.can_enter(&metadata) {
                continue;
            }
            if dir != self.data_dir || !self.is_ours()? {
                return Err(EmbeddedError::Unreachable { dir: dir.to_owned(), user: account.to_string() });
            }
            let mode = metadata.permissions().mode() | 0o011;
            fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(EmbeddedError::io("open", dir))?;
        }
        Ok(())
    }

    /// Whether the data directory holds nothing yet, or an earlier owner's lock.
    fn is_ours(&self) -> Result<bool, EmbeddedError> {
        let mut entries = fs::read_dir(&self.data_dir).map_err(EmbeddedError::io("read", &self.data_dir))?;
        Ok(entries.next().is_none() || self.owner_lock().exists())
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(super) fn cluster_dir(&self) -> PathBuf {
        self.data_dir.join("pg")
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    pub(super) fn owner_lock(&self) -> PathBuf {
        self.data_dir.join("owner.lock")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.cluster_dir().join("postmaster.pid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(root: bool, macos: bool, xdg: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        choose_data_dir(root, macos, xdg.map(OsString::from), home.map(OsString::from))
    }

    #[test]
    fn default_data_dir_follows_user_and_platform() {
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(choose(true, false, Some("/x"), Some("/root")), path("/var/lib/keystile"));
        assert_eq!(choose(false, false, Some("/x"), Some("/home/a")), path("/x/keystile"));
        assert_eq!(choose(false, false, None, Some("/home/a")), path("/home/a/.local/share/keystile"));
        assert_eq!(choose(false, false, Some("x"), Some("/home/a")), path("/home/a/.local/share/keystile"));
        assert_eq!(
            choose(false, true, None, Some("/Users/a")),
            path("/Users/a/Library/Application Support/keystile")
        );
        assert_eq!(choose(false, false, None, None), None);
        assert_eq!(choose(false, true, Some("/x"), Some("")), None);
    }

    #[test]
    fn only_an_empty_directory_or_one_with_our_lock_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        assert!(layout.is_ours().unwrap());
        fs::write(dir.path().join("diary.txt"), "").unwrap();
        assert!(!layout.is_ours().unwrap());
        fs::write(layout.owner_lock(), "").unwrap();
        assert!(layout.is_ours().unwrap());
    }
}
