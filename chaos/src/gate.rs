//! A TCP relay in front of cameras that treats each process of this machine differently: some nodes
//! reach a camera and others do not, without network namespaces.

use crate::{Error, Result, io_error, sockets};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the gate treats a process's connections to the cameras behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    #[default]
    Open,
    /// Existing connections are closed, new ones at once.
    Refused,
    /// No data passes any more, and neither side is notified: like a cut cable.
    Silent,
}

type Ways = BTreeMap<u32, Way>;

/// Dropping it ends every connection.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    ways: watch::Sender<Ways>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// Listens on loopback and relays to `target`.
    ///
    /// # Errors
    /// If no port is available.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(io_error("listen"))?;
        let address = listener
            .local_addr()
            .map_err(io_error("find the gate's port"))?;
        let (ways, seen) = watch::channel(Ways::new());
        Ok(Self {
            address,
            ways,
            accepting: tokio::spawn(accept(listener, target, seen)),
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How to treat process `pid` from now on, including its open connections.
    pub fn set(&self, pid: u32, way: Way) {
        self.ways.send_modify(|ways| _ = ways.insert(pid, way));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, ways: watch::Receiver<Ways>) {
    while let Ok((client, peer)) = listener.accept().await {
        // The gate lets processes without a rule through: it looks only for those with one.
        let pids: Vec<u32> = ways.borrow().keys().copied().collect();
        let found = listener
            .local_addr()
            .and_then(|gate| sockets::holder(peer, gate, &pids));
        let pid = match found {
            Ok(pid) => pid,
            Err(error) => {
                eprintln!("gate: cannot identify {peer}, refused: {error}");
                continue;
            }
        };
        tokio::spawn(relay(client, target, pid, ways.clone()));
    }
}

/// Ends with either side, with the gate, or when the rule for the process changes.
async fn relay(
    mut client: TcpStream,
    target: SocketAddr,
    pid: Option<u32>,
    mut ways: watch::Receiver<Ways>,
) {
    let way = move |ways: &Ways| {
        pid.and_then(|pid| ways.get(&pid).copied())
            .unwrap_or_default()
    };
    let now = way(&ways.borrow());
    let changed = |was: Way| move |ways: &Ways| way(ways) != was;
    if now == Way::Open {
        let Ok(mut server) = TcpStream::connect(target).await else {
            return;
        };
        let changes = ways.clone();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            closed = ways.wait_for(changed(Way::Open)) => if closed.is_err() { return },
        }
        if way(&changes.borrow()) == Way::Silent {
            // Held open until that ends: neither side is notified.
            drop(ways.wait_for(changed(Way::Silent)).await);
        }
    } else if now == Way::Silent {
        drop(ways.wait_for(changed(Way::Silent)).await);
    }
}

/// # Errors
/// If the URL's host and port are not an address.
pub fn address_of(url: &str) -> Result<SocketAddr> {
    let host = url
        .split("//")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    host.parse()
        .map_err(|error| Error::Wrong(format!("{url}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers every byte with the same.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = socket.split();
                    drop(tokio::io::copy(&mut reads, &mut writes).await);
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_process_is_recognised_and_treated_as_asked() {
        let gate = Gate::start(echo().await).await.unwrap();
        let me = std::process::id();
        gate.set(me, Way::Open);
        let mut open = TcpStream::connect(gate.address()).await.unwrap();
        open.write_all(b"x").await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'x');
        gate.set(me, Way::Refused);
        assert!(open.read_u8().await.is_err(), "what is open is closed");
        let mut refused = TcpStream::connect(gate.address()).await.unwrap();
        assert!(refused.read_u8().await.is_err());
        gate.set(me, Way::Open);
        gate.set(me + 1, Way::Refused);
        let mut other = TcpStream::connect(gate.address()).await.unwrap();
        other.write_all(b"y").await.unwrap();
        assert_eq!(
            other.read_u8().await.unwrap(),
            b'y',
            "the rule is another process'"
        );
    }
}
