//! The source tree as data: files, their tokens without tests, imports, names, functions, words.

pub mod functions;
pub mod imports;
pub mod names;
pub mod source;
pub mod words;

use std::path::{Path, PathBuf};

/// Folders with files of others.
const FOREIGN: [&str; 3] = ["target", ".git", "node_modules"];

/// The workspace's folder.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// All files below the workspace whose name ends with `.extension`, with paths relative to it,
/// sorted.
///
/// # Panics
/// If the tree cannot be read.
#[must_use]
pub fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                let is_foreign = FOREIGN.iter().any(|&foreign| entry.file_name() == foreign);
                folders.extend((!is_foreign).then_some(path));
            } else if path.extension().is_some_and(|end| end == extension) {
                found.extend(path.strip_prefix(root()).ok().map(Path::to_owned));
            }
        }
    }
    found.sort();
    found
}

/// The text of a file below the workspace.
///
/// # Panics
/// If the file cannot be read.
#[must_use]
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
