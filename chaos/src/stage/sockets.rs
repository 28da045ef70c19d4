//! Which process holds the other end of a loopback connection: what Linux says of its sockets in `/proc`.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The first of `pids` that holds the TCP socket whose local address is `local`.
#[must_use]
pub(super) fn holder(local: SocketAddr, pids: &[u32]) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode_of(&table, local)?;
    pids.iter().copied().find(|&pid| holds(pid, inode))
}

/// Lines are `sl local remote state queues timers retransmits uid timeout inode ...`, addresses as hexadecimal words of the machine's order.
fn inode_of(table: &str, local: SocketAddr) -> Option<u64> {
    let IpAddr::V4(address) = local.ip() else { return None };
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), local.port());
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&wanted))?;
    line.split_whitespace().nth(9)?.parse().ok()
}

fn holds(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).any(|link| link.to_string_lossy() == *wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_holder_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let me = std::process::id();
        assert_eq!(holder(stream.local_addr().unwrap(), &[1, me]), Some(me));
        assert_eq!(holder(stream.local_addr().unwrap(), &[]), None);
    }
}
