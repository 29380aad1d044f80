//! `postgres.log`: what the server prints, and its end for error messages.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::EmbeddedError;

/// At the next start, a log of this size is put aside as `postgres.log.1` (replacing the last one).
const ROTATE_BYTES: u64 = 10 << 20;

/// How much of a log goes into an error.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// The log of one start of the server.
#[derive(Debug)]
pub(super) struct ServerLog {
    path: PathBuf,
    file: File,
    /// Where this start's lines begin.
    begin: u64,
}

impl ServerLog {
    /// Opens the log for appending. We hand the open file to the server: it needs no right to the path.
    pub(super) fn open(path: PathBuf) -> Result<Self, EmbeddedError> {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= ROTATE_BYTES) {
            let old = path.with_extension("log.1");
            fs::rename(&path, old).map_err(EmbeddedError::io("rename", &path))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(EmbeddedError::io("open", &path))?;
        let begin = file.metadata().map_err(EmbeddedError::io("read", &path))?.len();
        Ok(Self { path, file, begin })
    }

    /// Another descriptor of the file, for a child's output.
    pub(super) fn descriptor(&self) -> Result<File, EmbeddedError> {
        self.file.try_clone().map_err(EmbeddedError::io("open", &self.path))
    }

    /// The last lines that were written since this start; if they can't be read, why.
    pub(super) fn tail(&self) -> String {
        read_from(&self.path, self.begin)
            .map_or_else(|error| format!("(unreadable: {error})"), |text| tail(&text))
    }
}

fn read_from(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a text.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_is_the_end_of_this_start_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        fs::write(&path, "an earlier start\n").unwrap();
        let log = ServerLog::open(path).unwrap();
        assert_eq!(log.tail(), "");
        let mut server = log.descriptor().unwrap();
        for line in 0..30 {
            writeln!(server, "line {line}").unwrap();
        }
        let tail = log.tail();
        assert!(tail.starts_with("line 10\n") && tail.ends_with("\nline 29"), "{tail}");
    }

    #[test]
    fn a_big_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        File::create(&path).unwrap().set_len(ROTATE_BYTES).unwrap();
        assert_eq!(ServerLog::open(path.clone()).unwrap().begin, 0);
        assert_eq!(fs::metadata(dir.path().join("postgres.log.1")).unwrap().len(), ROTATE_BYTES);
    }
}
