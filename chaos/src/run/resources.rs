//! Memory and open files of a node's process, as the kernel counts them (proc(5)).

use std::fs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) resident_kib: u64,
    pub(super) descriptors: u64,
}

/// `None` if the process is gone.
pub(super) fn of(pid: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kib = line.split_whitespace().next()?.parse().ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Held {
        resident_kib,
        descriptors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_holds_is_seen() {
        let before = of(std::process::id()).unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        let block = vec![1_u8; 64 << 20];
        let held = of(std::process::id()).unwrap();
        drop((file, block));
        assert!(
            held.descriptors > before.descriptors
                && held.resident_kib >= before.resident_kib + (60 << 10),
            "{held:?}"
        );
        assert_eq!(of(u32::MAX), None);
    }
}
