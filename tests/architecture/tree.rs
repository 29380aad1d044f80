//! The files of the project, as they lie in its folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::code::blank;

/// Folders of what is made, not written.
const NOT_OURS: [&str; 5] = ["target", ".git", ".venv", "proptest-regressions", "node_modules"];

/// What is looked through as text beside Rust.
const TEXT: [&str; 14] = [
    "rs", "md", "toml", "proto", "sql", "sh", "py", "yml", "yaml", "json", "golden", "service", "tpl", "env",
];

/// Text without an extension.
const TEXT_NAMES: [&str; 5] = ["Makefile", "Dockerfile", "run", ".gitignore", ".dockerignore"];

/// One file.
#[derive(Debug)]
pub struct SourceFile {
    /// From the project's folder, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// With comments and literals blanked, line for line the same. The text itself where it is not Rust.
    pub code: String,
}

impl SourceFile {
    /// A file of this path and text; for samples too.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { text.to_owned() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One file of the project.
pub fn file(path: &str) -> SourceFile {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    SourceFile::new(path, &text)
}

/// Whether there is such a file or folder.
pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// A relative path seen from a folder, both from the project's folder; `..` steps up.
pub fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The Rust files in these folders (or these files), in order.
pub fn rust_files(folders: &[&str]) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    read(paths)
}

/// The paths of all files in a folder, in order.
pub fn paths(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.iter().map(|path| relative(path)).collect()
}

/// All text of the project, in order.
pub fn all_files() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let name = path.file_name().and_then(|name| name.to_str());
        extension.is_some_and(|extension| TEXT.contains(&extension))
            || name.is_some_and(|name| TEXT_NAMES.contains(&name))
    });
    read(paths)
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if NOT_OURS.contains(&name) {
            return;
        }
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| walk(entry, found));
    } else {
        found.push(path.to_owned());
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

fn read(paths: Vec<PathBuf>) -> Vec<SourceFile> {
    paths.iter().map(|path| file(&relative(path))).collect()
}

#[test]
fn the_tree_has_what_everybody_knows_and_nothing_that_was_built() {
    let paths: Vec<String> = all_files().into_iter().map(|file| file.path).collect();
    for known in ["src/lib.rs", "tests/architecture/main.rs", "Cargo.toml", "Makefile", ".ci/run"] {
        assert!(paths.iter().any(|path| path == known), "{known}");
    }
    assert!(paths.iter().all(|path| !path.starts_with("target/")));
    assert!(rust_files(&["src"]).iter().all(|file| file.path.starts_with("src/")));
}
