//! Number of established connections of a port, according to the kernel. Reading the kernel's
//! socket table takes milliseconds, whatever its size: all cameras of a network namespace share one
//! reading.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a reading is reused.
const KEPT: Duration = Duration::from_millis(100);

type ByPort = Arc<HashMap<u16, usize>>;

/// By network namespace.
static READINGS: Mutex<Vec<(PathBuf, Instant, ByPort)>> = Mutex::new(Vec::new());

/// The network namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Namespace(PathBuf);

impl Namespace {
    pub(super) fn of_this_thread() -> Self {
        // If the name cannot be read, all threads count as being in one namespace.
        Self(std::fs::read_link("/proc/thread-self/ns/net").unwrap_or_default())
    }

    /// Number of connections to this port that neither end has closed; up to 100 ms old. To be
    /// called in the thread's own namespace.
    pub(super) fn established(&self, port: u16) -> usize {
        self.by_port().get(&port).copied().unwrap_or(0)
    }

    fn by_port(&self) -> ByPort {
        let mut readings = READINGS.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|(_, read_at, _)| read_at.elapsed() < KEPT);
        if let Some((.., by_port)) = readings.iter().find(|(namespace, ..)| *namespace == self.0) {
            return Arc::clone(by_port);
        }
        let text =
            std::fs::read_to_string(Path::new("/proc/thread-self/net/tcp")).unwrap_or_default();
        let by_port = Arc::new(by_port(&text));
        readings.push((self.0.clone(), Instant::now(), Arc::clone(&by_port)));
        by_port
    }
}

/// Lines are `sl local remote state ...` (proc(5), `net/tcp`); state 01 is established.
fn by_port(table: &str) -> HashMap<u16, usize> {
    let mut ports = HashMap::new();
    for line in table.lines() {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let port = local.and_then(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok());
        if let (Some(port), Some("01")) = (port, state) {
            *ports.entry(port).or_default() += 1;
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_connections_count_by_their_local_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n\
             1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 2\n\
             2: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000 0 0 3\n\
             3: 0100007F:1F90 0100007F:C352 08 00000000:00000000 00:00000000 00000000 0 0 4\n\
             4: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 0 0 5\n";
        assert_eq!(by_port(table), HashMap::from([(0x1f90, 2), (0xc350, 1)]));
    }

    #[test]
    fn a_connection_is_seen_to_come_and_go() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let namespace = Namespace::of_this_thread();
        let comes_to = |count: usize| {
            let asked = Instant::now();
            while namespace.established(port) != count {
                assert!(
                    asked.elapsed() < Duration::from_secs(10),
                    "not {count}: {}",
                    namespace.established(port)
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _accepted = listener.accept().unwrap();
        comes_to(1);
        drop(stream);
        comes_to(0);
    }
}
