//! Where the unix socket lies, and the URL that leads there.

use std::env;
use std::fmt::Write;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ROLE;
use super::account::{self, Account};
use super::error::EmbeddedError;
use super::layout::Layout;

/// The port that names the socket; nothing listens on TCP.
pub(super) const PORT: u16 = 5432;

/// The socket's file name.
pub(super) const FILE_NAME: &str = ".s.PGSQL.5432";

/// The longest path of a unix socket in bytes: `sun_path` less the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Makes the directory for the socket, closed to all but the server's user (and root): `run/` in the data
/// directory, or where that isn't fit, a short one whose name follows from the data directory's path.
pub(super) fn prepare(layout: &Layout, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let bases = short_bases();
    let Some(dir) = choose(layout, &bases) else {
        let tried = bases.iter().map(|base| base.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(EmbeddedError::NoSocketDir { run_dir: layout.run_dir(), tried });
    };
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // In a shared directory such as /tmp, anybody may have taken the name before us.
            let metadata = fs::symlink_metadata(&dir).map_err(EmbeddedError::io("read", &dir))?;
            if !metadata.is_dir() || !account.is_ours(&metadata) {
                return Err(EmbeddedError::ForeignSocketDir { dir });
            }
            fs::set_permissions(&dir, Permissions::from_mode(0o700))
                .map_err(EmbeddedError::io("close", &dir))?;
        }
        Err(error) => return Err(EmbeddedError::io("create", &dir)(error)),
    }
    account.take(&dir)?;
    Ok(dir)
}

/// Removes a directory outside the data directory, once the server has removed its socket.
pub(super) fn remove(layout: &Layout, socket_dir: &Path) -> Result<(), EmbeddedError> {
    if socket_dir.starts_with(layout.data_dir()) {
        return Ok(());
    }
    match fs::remove_dir(socket_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", socket_dir)(error))
        }
        _ => Ok(()),
    }
}

/// `postgresql://keystile@/<database>?host=<directory>`, percent-encoded; the empty authority is what both
/// libpq and tokio-postgres take for a socket.
pub(super) fn url(socket_dir: &Path, database: &str) -> String {
    let mut url = format!("postgresql://{ROLE}@/");
    push_encoded(&mut url, database.as_bytes());
    url.push_str("?host=");
    push_encoded(&mut url, socket_dir.as_os_str().as_bytes());
    url
}

fn push_encoded(url: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _: Result<(), std::fmt::Error> = write!(url, "%{byte:02X}");
        }
    }
}

/// Directories for a socket with a short path, best first.
fn short_bases() -> Vec<PathBuf> {
    if account::is_root() {
        // root's own runtime directory is closed to the server's user; /run is writable for root only.
        return ["/run", "/var/run", "/tmp"].map(PathBuf::from).to_vec();
    }
    let runtime_dir = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let mut bases: Vec<PathBuf> = runtime_dir.into_iter().collect();
    bases.push(env::temp_dir());
    bases.push(PathBuf::from("/tmp"));
    bases
}

fn choose(layout: &Layout, bases: &[PathBuf]) -> Option<PathBuf> {
    let run_dir = layout.run_dir();
    if is_fit(&run_dir) {
        return Some(run_dir);
    }
    let digest = Sha256::digest(layout.data_dir().as_os_str().as_bytes());
    let mut name = String::from("keystile-");
    push_hex(&mut name, digest.iter().take(8));
    bases.iter().filter(|base| base.is_dir()).map(|base| base.join(&name)).find(|dir| is_fit(dir))
}

fn push_hex<'a>(text: &mut String, bytes: impl Iterator<Item = &'a u8>) {
    for byte in bytes {
        // Writing to a string can't fail.
        let _: Result<(), std::fmt::Error> = write!(text, "{byte:02x}");
    }
}

/// Short enough for the kernel, and without characters that mean something in PostgreSQL's settings or in a
/// URL's list of hosts (comma, quotes, spaces).
fn is_fit(dir: &Path) -> bool {
    let bytes = dir.as_os_str().as_bytes();
    bytes.len() + 1 + FILE_NAME.len() <= SOCKET_PATH_BYTES_MAX
        && dir.is_absolute()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~+@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout_in(parent: &Path, name: &str) -> Layout {
        Layout::create(&parent.join(name)).unwrap()
    }

    #[test]
    fn the_socket_stays_in_the_data_directory_while_its_path_fits() {
        let temp = tempfile::tempdir().unwrap();
        let layout = layout_in(temp.path(), "short");
        assert_eq!(choose(&layout, &[]), Some(layout.run_dir()));
    }

    #[test]
    fn an_unfit_data_directory_gets_a_short_one_of_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let long = layout_in(temp.path(), &"d".repeat(100));
        let base = PathBuf::from("/tmp");
        let first = choose(&long, std::slice::from_ref(&base)).unwrap();
        assert_eq!(first.parent(), Some(base.as_path()));
        assert!(is_fit(&first));
        assert_eq!(choose(&long, std::slice::from_ref(&base)), Some(first.clone()), "the same every time");

        for name in ["with space", "with,comma", "wíth-accent"] {
            let other = choose(&layout_in(temp.path(), name), std::slice::from_ref(&base)).unwrap();
            assert_eq!(other.parent(), Some(base.as_path()), "{name}");
            assert_ne!(other, first, "{name}");
        }
        let missing = PathBuf::from("/nonexistent");
        assert_eq!(choose(&long, &[missing, long.run_dir(), base]), Some(first), "unfit bases are skipped");
    }

    #[test]
    fn the_limit_counts_the_whole_socket_path() {
        let longest = SOCKET_PATH_BYTES_MAX - FILE_NAME.len() - 1;
        let dir = format!("/{}", "d".repeat(longest - 1));
        assert!(is_fit(Path::new(&dir)));
        assert!(!is_fit(Path::new(&format!("{dir}d"))));
    }

    #[test]
    fn anothers_directory_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let layout = layout_in(temp.path(), "data");
        std::os::unix::fs::symlink("/tmp", layout.run_dir()).unwrap();
        let refused = prepare(&layout, &Account::Ourselves).unwrap_err();
        assert!(matches!(refused, EmbeddedError::ForeignSocketDir { .. }), "{refused}");
    }

    #[test]
    fn the_url_is_percent_encoded() {
        assert_eq!(
            url(Path::new("/tmp/a b/run"), "key/stile"),
            "postgresql://keystile@/key%2Fstile?host=%2Ftmp%2Fa%20b%2Frun"
        );
    }
}
