//! Finds the `holdfast` binary, for tests in other packages that start it.

use std::io;
use std::path::{Path, PathBuf};

/// Test executables are in `target/<profile>/deps`, examples in `target/<profile>/examples`: at
/// most this far below the binary.
const LEVELS_MAX: usize = 2;

/// The `holdfast` that was built in the same profile as the running executable.
///
/// # Errors
/// There is none: cargo builds the binary for tests of its own package only.
pub fn holdfast_next_to_this() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    holdfast_near(&this).ok_or_else(|| {
        let message = format!(
            "no `holdfast` near {}; build it first: cargo build -p holdfast",
            this.display()
        );
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

fn holdfast_near(executable: &Path) -> Option<PathBuf> {
    let folders = executable.ancestors().skip(1).take(LEVELS_MAX);
    folders
        .map(|folder| folder.join("holdfast"))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_from_tests_and_from_its_own_folder() {
        let profile = tempfile::tempdir().unwrap();
        let (binary, test) = (
            profile.path().join("holdfast"),
            profile.path().join("deps/cluster-1a2b"),
        );
        assert_eq!(holdfast_near(&test), None);
        std::fs::write(&binary, "").unwrap();
        assert_eq!(holdfast_near(&test), Some(binary.clone()));
        assert_eq!(holdfast_near(&profile.path().join("bench")), Some(binary));
        assert_eq!(holdfast_near(&profile.path().join("a/b/c")), None);
    }
}
