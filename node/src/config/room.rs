//! Whether the limits fit the filesystems of the volumes. The sizes come in as values.

use super::error::Problem;
use super::{ByteSize, Config};
use holdfast_consensus::model::Role;
use holdfast_storage::ALLOCATE_STEP_BYTES;
use holdfast_storage::disk::space_of;
use std::path::Path;

/// One part in this many of a volume may be reserved by segments that are open or opened ahead.
const RESERVED_SHARE: u64 = 4;

impl Config {
    /// Limits that do not fit the volumes on this machine. `holdfast serve` makes do with less
    /// instead.
    #[must_use]
    pub fn room_problems(&self) -> Vec<Problem> {
        problems(self, total_bytes)
    }
}

/// The size of the filesystem that holds a volume, or will: a missing folder will be created in its
/// nearest ancestor that exists.
fn total_bytes(volume: &Path) -> Option<u64> {
    let nearest = volume.ancestors().find(|path| path.exists())?;
    space_of(nearest).ok().map(|space| space.total_bytes)
}

/// `total_bytes` returns the size of a volume's filesystem, if known.
fn problems(config: &Config, total_bytes: impl Fn(&Path) -> Option<u64>) -> Vec<Problem> {
    if config.cluster.role == Role::Witness {
        return Vec::new();
    }
    let sized = config
        .volume_paths()
        .into_iter()
        .filter_map(|path| Some((total_bytes(&path)?, path)));
    sized
        .flat_map(|(total_bytes, path)| of_volume(config, &path, total_bytes))
        .collect()
}

fn of_volume(config: &Config, path: &Path, total_bytes: u64) -> Vec<Problem> {
    let (path, total) = (path.display(), ByteSize(total_bytes));
    let mut found = Vec::new();
    let free_bytes_min = config.storage.free_bytes_min;
    if free_bytes_min.0 > total_bytes / 2 {
        found.push(Problem::of_key(
            "storage.free_bytes_min",
            format!(
                "{free_bytes_min} is more than half of volume {path}, which has {total}: \
                     footage would be deleted to keep it free; lower it"
            ),
        ));
    }
    let classes = config.retention.len() as u64;
    let reserved = classes * 2 * ALLOCATE_STEP_BYTES;
    if reserved > total_bytes / RESERVED_SHARE {
        found.push(Problem::of_key(
            "storage.volume",
            format!(
                "volume {path} has {total}, and {classes} retention classes reserve {} of it (two \
                 segments each): use a volume of {} or more, or fewer classes",
                ByteSize(reserved),
                ByteSize(reserved * RESERVED_SHARE)
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(free_bytes_min: u64, total_bytes: u64) -> Vec<String> {
        let mut config = Config::new("a", "/d");
        config.storage.free_bytes_min = ByteSize(free_bytes_min);
        problems(&config, |_| Some(total_bytes))
            .into_iter()
            .filter_map(|problem| problem.key)
            .collect()
    }

    #[test]
    fn a_limit_above_half_of_the_volume_is_an_error_and_says_of_which() {
        assert_eq!(keys(1 << 30, 700 << 20), ["storage.free_bytes_min"]);
        assert_eq!(keys(1 << 30, 2 << 30), [""; 0]);
        let config = Config::new("a", "/d");
        let problems = problems(&config, |_| Some(700 << 20));
        assert!(problems[0].message.contains("/d/volume0"), "{problems:?}");
    }

    #[test]
    fn reserves_that_do_not_fit_a_small_volume_are_an_error() {
        assert_eq!(keys(16 << 20, 150 << 20), ["storage.volume"]);
        assert_eq!(keys(16 << 20, 512 << 20), [""; 0]);
    }

    #[test]
    fn a_witness_and_a_filesystem_that_does_not_say_have_no_problem() {
        let mut config = Config::new("a", "/d");
        assert_eq!(problems(&config, |_| None), []);
        config.cluster.role = Role::Witness;
        assert_eq!(problems(&config, |_| Some(1)), []);
    }
}
