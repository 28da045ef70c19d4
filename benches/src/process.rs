//! The cost of a process, as the kernel counts it: CPU time of all its threads, and its largest
//! resident memory.

use crate::Outcome;
use std::fs::read_to_string;
use std::time::Duration;

/// CPU time, user and kernel, of all threads of a running process, including those that ended
/// (proc(5), `stat`). Resolution 10 ms.
///
/// # Errors
/// There is no such process.
pub fn cpu(pid: u32) -> Outcome<Duration> {
    let stat = read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks_of(&stat).ok_or("the kernel's stat line is not understood")?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// As [`cpu`], of this process.
///
/// # Errors
/// As [`cpu`].
pub fn own_cpu() -> Outcome<Duration> {
    cpu(std::process::id())
}

/// CPU time of this thread (`schedstat`, scheduler/sched-stats in the kernel's documentation).
/// Resolution 1 ns.
///
/// # Errors
/// The kernel does not count it.
pub fn own_thread() -> Outcome<Duration> {
    let stat = read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat
        .split_whitespace()
        .next()
        .ok_or("the kernel's schedstat is not understood")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// CPU time of several processes.
///
/// # Errors
/// As [`cpu`].
pub fn cpu_of_all(pids: impl IntoIterator<Item = u32>) -> Outcome<Duration> {
    pids.into_iter().map(cpu).sum()
}

/// The most memory that was ever resident, in bytes (proc(5), `VmHWM`).
///
/// # Errors
/// There is no such process.
pub fn resident_bytes_max(pid: u32) -> Outcome<u64> {
    status_bytes(pid, "VmHWM:")
}

/// The memory that is resident now, in bytes (proc(5), `VmRSS`).
///
/// # Errors
/// There is no such process.
pub fn resident_bytes(pid: u32) -> Outcome<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Resets the maximum that [`resident_bytes_max`] returns for this process (proc(5), `clear_refs`).
///
/// # Errors
/// The kernel refuses.
pub fn forget_own_resident_max() -> Outcome<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

fn status_bytes(pid: u32, field: &str) -> Outcome<u64> {
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib: u64 = line
        .ok_or_else(|| format!("no {field}"))?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024)
}

/// Fields 14 and 15, counted from the end of the name, which may contain anything but a last `)`.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks_of(stat), Some(42));
    }

    #[test]
    fn this_process_costs_memory() {
        assert!(resident_bytes_max(std::process::id()).unwrap() > 100_000);
        own_cpu().unwrap();
    }
}
