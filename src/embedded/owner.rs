//! One owner at a time: the lock on `owner.lock`, and who holds it.
//!
//! The lock decides; the process id in the file is for messages and for [`super::attach_url`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process;
use std::time::Duration;

use super::error::EmbeddedError;
use super::layout::Layout;
use super::server::poll;

/// A lock may look held for a moment after its holder died: while a child that was being started at that
/// instant still has the descriptor, between its fork and its exec.
const LINGER_MAX: Duration = Duration::from_millis(200);

/// The right to serve a data directory, for as long as this exists.
#[derive(Debug)]
pub(super) struct OwnerLock {
    file: File,
}

impl OwnerLock {
    /// Takes the lock and writes our process id into it.
    pub(super) async fn acquire(layout: &Layout) -> Result<Self, EmbeddedError> {
        let path = layout.owner_lock();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(EmbeddedError::io("open", &path))?;
        let locked = poll(LINGER_MAX, || match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(EmbeddedError::io("lock", &path)(error)),
        })
        .await?;
        if !locked {
            return Err(EmbeddedError::AlreadyOwned {
                pid: recorded_pid(layout)?,
                data_dir: layout.data_dir().to_owned(),
            });
        }
        let mut owner = Self { file };
        owner.record(process::id()).map_err(EmbeddedError::io("write", &path))?;
        Ok(owner)
    }

    fn record(&mut self, pid: u32) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all(format!("{pid}\n").as_bytes())
    }
}

impl Drop for OwnerLock {
    /// Unlocks by name instead of only closing: a descriptor that another thread's fork copied a moment ago
    /// would keep the lock otherwise.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0).and_then(|()| self.file.unlock()) {
            tracing::warn!(%error, "the lock of the embedded PostgreSQL's data directory wasn't released");
        }
    }
}

/// The process id that the last owner wrote, unless it left in order.
pub(super) fn recorded_pid(layout: &Layout) -> Result<Option<u32>, EmbeddedError> {
    let path = layout.owner_lock();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EmbeddedError::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_owner_learns_who_the_first_is_until_it_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let first = OwnerLock::acquire(&layout).await.unwrap();
        let refused = OwnerLock::acquire(&layout).await.unwrap_err();
        assert!(
            matches!(refused, EmbeddedError::AlreadyOwned { pid: Some(pid), .. } if pid == process::id())
        );
        assert_eq!(
            refused.to_string(),
            format!(
                "{} is in use by another Keystile (process {}): stop that one, or use another data directory",
                layout.data_dir().display(),
                process::id()
            )
        );
        drop(first);
        assert_eq!(recorded_pid(&layout).unwrap(), None);
        OwnerLock::acquire(&layout).await.unwrap();
    }
}
