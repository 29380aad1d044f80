//! Who PostgreSQL runs as: whoever we are, but never root.

use std::env;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::EmbeddedError;

/// The user that PostgreSQL's programs run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The user of this process, who isn't root.
    Ourselves,
    /// Another user, because this process is root's.
    Other {
        /// For messages.
        name: String,
        uid: u32,
        gid: u32,
    },
}

/// Whether this process acts as root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Account {
    /// Who serves the cluster in `cluster_dir`: its owner if it exists, else `postgres`, else `nobody`.
    pub(super) async fn for_cluster(cluster_dir: &Path) -> Result<Self, EmbeddedError> {
        if !is_root() {
            return Ok(Self::Ourselves);
        }
        match fs::metadata(cluster_dir) {
            Ok(metadata) if metadata.uid() != 0 => {
                let name = format!("user {}", metadata.uid());
                return Ok(Self::Other { name, uid: metadata.uid(), gid: metadata.gid() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(EmbeddedError::io("read", cluster_dir)(error)),
        }
        for name in ["postgres", "nobody"] {
            // `id` asks whatever name service the machine uses; /etc/passwd need not have everyone.
            let (uid, gid) = (id("-u", name).await?, id("-g", name).await?);
            if let (Some(uid @ 1..), Some(gid)) = (uid, gid) {
                return Ok(Self::Other { name: format!("user `{name}`"), uid, gid });
            }
        }
        Err(EmbeddedError::NoUnprivilegedUser)
    }

    /// A command that runs `program` as this user, without the caller's PostgreSQL settings and in English.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.as_bytes().starts_with(b"PG") || name.as_bytes().starts_with(b"LC_") {
                command.env_remove(name);
            }
        }
        // The working directory may be closed to the other user; initdb and postgres don't need it.
        command.env("LC_ALL", "C").current_dir("/");
        // Ctrl-C goes to the whole foreground group: our programs leave it, so that we decide when they end.
        command.process_group(0);
        if let Self::Other { uid, gid, .. } = self {
            // With a uid and without groups, std drops root's supplementary groups as well.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Makes `path` this user's own.
    pub(super) fn take(&self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                lchown(path, Some(*uid), Some(*gid)).map_err(EmbeddedError::io("change the owner of", path))
            }
        }
    }

    /// Whether this user may pass through the directory. For ourselves the kernel will tell.
    pub(super) fn can_enter(&self, dir: &Metadata) -> bool {
        match self {
            Self::Ourselves => true,
            Self::Other { uid, gid, .. } => may_pass(dir.mode(), (dir.uid(), dir.gid()), (*uid, *gid)),
        }
    }

    /// Whether something of this owner can be trusted as our own: ours, or the server's.
    pub(super) fn is_ours(&self, metadata: &Metadata) -> bool {
        let owner = metadata.uid();
        owner == rustix::process::geteuid().as_raw()
            || matches!(self, Self::Other { uid, .. } if *uid == owner)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => f.write_str("this user"),
            Self::Other { name, .. } => f.write_str(name),
        }
    }
}

/// The execute bit that counts: the owner's, else the group's, else the others' (POSIX file access).
fn may_pass(mode: u32, (owner, group): (u32, u32), (uid, gid): (u32, u32)) -> bool {
    let bit = if uid == owner {
        0o100
    } else if gid == group {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

/// What `id` says about a user: `None` if there is no such user.
async fn id(flag: &str, user: &str) -> Result<Option<u32>, EmbeddedError> {
    let output = tokio::process::Command::new("id")
        .args([flag, user])
        .output()
        .await
        .map_err(EmbeddedError::io("run", Path::new("id")))?;
    if !output.status.success() {
        return Ok(None);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_permission_decides_who_may_pass() {
        let postgres = (101, 104);
        assert!(may_pass(0o711, (0, 0), postgres));
        assert!(!may_pass(0o700, (0, 0), postgres));
        assert!(may_pass(0o710, (0, 104), postgres));
        assert!(!may_pass(0o701, (0, 104), postgres), "the group's bits hide the others'");
        assert!(may_pass(0o700, (101, 0), postgres));
        assert!(!may_pass(0o077, (101, 104), postgres), "the owner's bits hide the rest");
    }

    #[tokio::test]
    async fn an_unknown_user_is_none() {
        assert_eq!(id("-u", "no-such-user-keystile").await.unwrap(), None);
        assert_eq!(id("-u", "root").await.unwrap(), Some(0));
    }
}
