//! Where the tokens of new keys go: one new file a key, for this user alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::{Action, Plan, Planned};
use crate::cli::failure::Failure;
use crate::cli::token_file::TokenFile;

/// Longest name of a file that is not shortened; file systems take 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// Makes the directory where there is none, and sees that a file for each new key can be made in it: a token
/// that cannot be kept must not be made.
///
/// # Errors
/// [`Failure`], for the first file that is there already, or where none can be made.
pub fn prepare(dir: &Path, plan: &Plan) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("Cannot make {}: {error}.", dir.display())));
        }
        _ => {}
    }
    let mut probed = false;
    for entry in plan.entries.iter().filter(|entry| matches!(entry.action, Action::Create { .. })) {
        let path = path(dir, entry);
        if fs::symlink_metadata(&path).is_ok() {
            let failure = Failure::new(format!("{} is there already.", path.display()));
            return Err(
                failure.next("An old token is not overwritten: move it away, or name another --token-dir.")
            );
        }
        if !probed {
            // Removed again when dropped.
            drop(TokenFile::create(&path)?);
            probed = true;
        }
    }
    Ok(())
}

/// The file for the token of a new key: `4-ci.token`.
pub fn path(dir: &Path, entry: &Planned) -> PathBuf {
    let mut name = format!("{}-", entry.user_id);
    for byte in entry.name.bytes() {
        // Escaped, so that no two names make one file.
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > NAME_BYTES_MAX {
        let digest = Sha256::digest(name.as_bytes());
        name.truncate(NAME_BYTES_MAX);
        name.push('-');
        name.extend(digest.iter().take(8).map(|byte| format!("{byte:02x}")));
    }
    dir.join(format!("{name}.token"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::keys::apply::fault::Place;
    use crate::cli::keys::apply::field::Fields;

    fn new_key(name: &str) -> Planned {
        Planned {
            place: Place { source: "keys.yaml".into(), line: 1, column: 1 },
            user_id: 4,
            name: name.into(),
            action: Action::Create { fields: Fields::new(), template: None },
        }
    }

    #[test]
    fn no_two_names_make_one_file() {
        let path = |name: &str| path(Path::new("/t"), &new_key(name)).display().to_string();
        assert_eq!(path("ci"), "/t/4-ci.token");
        assert_eq!(path("a b"), "/t/4-a%20b.token");
        assert_eq!(path("../é"), "/t/4-..%2F%C3%A9.token");
        let (long, longer) = ("é".repeat(100), format!("{}e", "é".repeat(99)));
        assert_ne!(path(&long), path(&longer));
        assert!(path(&long).len() < 255);
    }

    #[test]
    fn files_that_cannot_be_made_are_told_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("tokens");
        let plan = Plan { entries: vec![new_key("a"), new_key("b")] };
        prepare(&below, &plan).unwrap();
        assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
        fs::write(below.join("4-b.token"), "old").unwrap();
        let there = prepare(&below, &plan).unwrap_err().to_string();
        assert!(there.contains("4-b.token is there already"), "{there}");
        let nowhere = prepare(Path::new("/nowhere/tokens"), &plan).unwrap_err().to_string();
        assert!(nowhere.starts_with("Cannot make /nowhere/tokens"), "{nowhere}");
    }
}
