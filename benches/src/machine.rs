//! The machine of a measurement: figures without it mean nothing.

use serde::Serialize;
use std::fs::read_to_string;
use std::path::Path;
use std::thread::available_parallelism;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
    /// Source and type of the filesystem that was written to.
    pub disk: String,
    /// The load of the last minute, before the measurement: other work on the machine.
    pub load: f64,
}

impl Machine {
    /// Reads what the kernel reports; what it does not report is empty.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let line = |path: &str| read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            cores: available_parallelism().map_or(0, usize::from),
            cpu: value_of(&line("/proc/cpuinfo"), "model name"),
            kernel: line("/proc/sys/kernel/osrelease"),
            disk: mount_of(&line("/proc/self/mounts"), dir),
            load: line("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }
}

fn value_of(text: &str, key: &str) -> String {
    let found = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key);
    found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

/// The mount with the longest mount point above `dir` (proc(5), `/proc/mounts`).
fn mount_of(mounts: &str, dir: &Path) -> String {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(_, point, _)| dir.starts_with(point));
    above
        .max_by_key(|(_, point, _)| point.len())
        .map_or_else(String::new, |(from, _, kind)| format!("{from} ({kind})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tm xfs rw 0 0";
        assert_eq!(mount_of(mounts, Path::new("/tmp/x")), "tmpfs (tmpfs)");
        assert_eq!(mount_of(mounts, Path::new("/home")), "/dev/vda (ext4)");
    }
}
