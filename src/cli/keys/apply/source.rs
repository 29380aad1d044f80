//! Where the files come from: named, in a directory, or stdin.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;

/// What stands for stdin.
pub const STDIN: &str = "-";
/// More than any list of keys needs; keeps a wrong path from filling the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was named; [`STDIN`].
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads the files at `paths`: `-` is stdin, a directory is every `*.yaml` and `*.yml` in it, by name, without
/// those below it.
///
/// # Errors
/// [`Failure`], for the first that cannot be read, and for a directory without files.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == STDIN {
            sources
                .push(Source { name: STDIN.to_owned(), text: text(io::stdin().lock(), Path::new("stdin"))? });
        } else if path.is_dir() {
            for file in files_in(path)? {
                sources.push(open(&file)?);
            }
        } else {
            sources.push(open(path)?);
        }
    }
    Ok(sources)
}

fn open(path: &Path) -> Result<Source, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(Source { name: path.display().to_string(), text: text(file, path)? })
}

fn text(from: impl Read, path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(path, &error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(unreadable(path, "it has more than 16 MiB"));
    }
    Ok(text)
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(dir, &error.to_string()))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml" || it == "yml");
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(is_yaml).collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(format!("{} holds no *.yaml.", dir.display())));
    }
    Ok(files)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(format!("Cannot read {}: {why}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_yaml_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let empty = read(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(empty.contains("holds no *.yaml"), "{empty}");
        for name in ["b.yaml", "a.yml", "c.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("below")).unwrap();
        let texts: Vec<_> = read(&[dir.path().to_owned()]).unwrap().into_iter().map(|it| it.text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let missing = read(&["/nowhere/keys.yaml".into()]).unwrap_err().to_string();
        assert!(missing.starts_with("Cannot read /nowhere/keys.yaml: No such file"), "{missing}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert!(read(&[file.path().to_owned()]).unwrap_err().to_string().contains("UTF-8"));
    }
}
