//! Finds the process that holds the other end of a loopback connection, from the socket tables of
//! Linux in `/proc`.

use std::net::SocketAddr;
use std::{fs, io};

/// The first of `pids` that has the TCP connection from `local` to `remote` open; `None` if none of
/// them has it.
///
/// # Errors
/// If the kernel's table cannot be read, or does not contain the connection.
pub(crate) fn holder(
    local: SocketAddr,
    remote: SocketAddr,
    pids: &[u32],
) -> io::Result<Option<u32>> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let inode = inode(&table, local, remote);
    let inode = inode.ok_or_else(|| io::Error::other("its socket is not in /proc/net/tcp"))?;
    let link = format!("socket:[{inode}]");
    let has = |pid: &&u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors
            .flatten()
            .any(|one| fs::read_link(one.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
    };
    Ok(pids.iter().find(has).copied())
}

/// Lines are `sl local remote state queues timers retransmits uid timeout inode ...`.
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<&str> {
    let (local, remote) = (hexadecimal(local)?, hexadecimal(remote)?);
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&local.as_str()) && words.get(2) == Some(&remote.as_str()))
            .then(|| words.get(9).copied())?
    })
}

/// An IPv4 address in the kernel's notation: in the machine's own byte order.
fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    Some(format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(address.ip().octets()),
        address.port()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_holder_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let me = std::process::id();
        assert_eq!(holder(local, remote, &[1, me]).unwrap(), Some(me));
        assert_eq!(holder(local, remote, &[]).unwrap(), None);
        assert!(holder(local, local, &[me]).is_err());
    }
}
