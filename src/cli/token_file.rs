//! A new file for a secret: for this user alone, never an old one, and gone again if nothing was written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;

/// A new, empty file, 0600. Dropped before [`TokenFile::write`] has succeeded, it is removed.
#[derive(Debug)]
pub struct TokenFile {
    file: File,
    path: PathBuf,
    written: bool,
}

impl TokenFile {
    /// Makes the file.
    ///
    /// # Errors
    /// [`Failure`], when it cannot be made, or is there already.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match file {
            Ok(file) => Ok(Self { file, path: path.to_owned(), written: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let failure = Failure::new(format!("{} is there already.", path.display()));
                Err(failure.next("Name a new file: an old token is not overwritten."))
            }
            Err(error) => Err(Failure::new(format!("Cannot make {}: {error}.", path.display()))),
        }
    }

    /// Writes the token and a newline, down to the disk.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn write(mut self, token: &SecretString) -> io::Result<()> {
        self.file.write_all(token.expose_secret().as_bytes())?;
        self.file.write_all(b"\n")?;
        self.file.sync_all()?;
        self.written = true;
        Ok(())
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if !self.written {
            // Nothing to be done where this fails too: an empty file stays, which holds no secret.
            let _left = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_file_is_new_and_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        TokenFile::create(&path).unwrap().write(&SecretString::from("ks_sesame")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ks_sesame\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = TokenFile::create(&path).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ks_sesame\n");
    }

    #[test]
    fn without_a_token_there_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let file = TokenFile::create(&path).unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
    }
}
