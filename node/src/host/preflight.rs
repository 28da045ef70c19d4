//! What keeps a node from starting on this machine, found before anything is touched: `serve` asks
//! first, and `config check` asks the same. It opens no socket and leaves no file.

use crate::config::{Config, Problem};
use crate::host::identity::Identity;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Everything that keeps a node from starting, not only the first.
#[must_use]
pub fn refusals(config: &Config) -> Vec<Problem> {
    let data_dir = unusable(&config.data_dir).map(|why| Problem::of_key("data_dir", why));
    let identity = match &data_dir {
        // Reported already.
        Some(_) => None,
        None => Identity::load(&config.data_dir)
            .err()
            .map(|error| Problem::of_key("data_dir", error.to_string())),
    };
    let spec = config
        .node_spec()
        .err()
        .map(|error| Problem::of_key(error.field, error.why));
    [data_dir, identity, spec].into_iter().flatten().collect()
}

/// Defects with which a node starts all the same, degraded.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let volumes = config
        .storage
        .volumes
        .iter()
        .filter(|volume| !volume.retire);
    volumes
        .filter_map(|volume| unusable(&volume.path).map(|why| format!("storage.volume: {why}")))
        .collect()
}

/// Why files cannot be created in a folder, which may have to be created first.
fn unusable(folder: &Path) -> Option<String> {
    let there = existing(folder);
    match std::fs::metadata(&there) {
        Ok(found) if !found.is_dir() => {
            return Some(format!(
                "{} is no directory: {} is a file",
                folder.display(),
                there.display()
            ));
        }
        Ok(_) => {}
        Err(error) => {
            return Some(format!(
                "{} cannot be used: {}: {error}",
                folder.display(),
                there.display()
            ));
        }
    }
    // A folder that is writable by its mode may be on no real filesystem, or on one that is mounted
    // read-only. Retention makes room in a full one.
    let error = tempfile::tempfile_in(&there)
        .err()
        .filter(|error| error.kind() != ErrorKind::StorageFull)?;
    Some(format!(
        "{} cannot be written: {error}; check its owner, its mode and whether the filesystem is \
         mounted read-only",
        folder.display(),
    ))
}

/// The folder, or its nearest ancestor that exists.
fn existing(folder: &Path) -> PathBuf {
    let above = folder
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    above
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Volume;

    #[test]
    fn a_data_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b/c");
        assert_eq!(refusals(&Config::new("a", &new)), []);
        assert!(!new.exists(), "it leaves nothing");
        std::fs::write(dir.path().join("file"), "").unwrap();
        for bad in ["file", "file/below"] {
            let found = refusals(&Config::new("a", dir.path().join(bad)));
            assert_eq!(found[0].key.as_deref(), Some("data_dir"));
            assert!(
                found[0].message.contains("no directory")
                    || found[0].message.contains("cannot be used"),
                "{found:?}"
            );
        }
        assert!(!refusals(&Config::new("a", "/proc/nothing")).is_empty());
    }

    #[test]
    fn a_damaged_identity_keeps_a_node_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity.json"), "{").unwrap();
        assert!(
            refusals(&Config::new("a", dir.path()))[0]
                .message
                .contains("identity.json is damaged")
        );
    }

    #[test]
    fn a_bad_volume_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("a", dir.path());
        config.storage.volumes = vec![
            Volume::new(dir.path().join("v")),
            Volume::new("/proc/nothing"),
        ];
        assert_eq!((refusals(&config), warnings(&config).len()), (vec![], 1));
    }
}
