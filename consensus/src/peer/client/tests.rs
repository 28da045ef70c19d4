//! Calls to a member that answers, refuses, hangs or lies.

use super::*;
use crate::peer::trust::authority::Authority;
use crate::peer::trust::keys::{Credentials, Key};
use crate::peer::trust::names::NodeUri;
use crate::peer::trust::roster::Roster;
use crate::peer::trust::{Trust, found};
use holdfast_storage::time::Timestamp;
use rustls::pki_types::UnixTime;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Number(u32);

crate::first_version!(Number => "a number");

const PATIENCE: Duration = Duration::from_secs(30);
const CLUSTER: Uuid = Uuid::from_u128(7);

/// The server is node 1, the client node 2, and node 3 is elsewhere.
struct Pair {
    server: Trust,
    client: Trust,
}

impl Pair {
    fn new() -> Self {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap() * 1_000_000;
        let (one, authority) = found(
            NodeUri {
                cluster: CLUSTER,
                node: NodeId(1),
            },
            Timestamp(now),
        )
        .unwrap();
        let two = member(&authority, NodeId(2), Timestamp(now));
        let roster = Roster::of(CLUSTER, vec![authority.root().clone()]);
        Self {
            server: Trust::new(&one, roster.clone()).unwrap(),
            client: Trust::new(&two, roster).unwrap(),
        }
    }

    fn client(&self) -> PeerClient {
        PeerClient::new(Dialer::new(self.client.clone()), Finalized::default())
    }

    async fn ask(&self, addr: &str) -> Result<Number, PeerError> {
        self.ask_for(addr, PATIENCE).await
    }

    async fn ask_for(&self, addr: &str, deadline: Duration) -> Result<Number, PeerError> {
        let member = Member {
            node: Some(NodeId(1)),
            addr,
        };
        self.client()
            .call(member, "/ask", &Number(1), deadline)
            .await
    }

    /// Answers every request with the bytes `answer`, then closes.
    async fn answering(&self, answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let trust = self.server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok((mut stream, _)) = trust.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 1_024];
                _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        addr
    }

    /// Answers `requests` on each connection, then closes it; counts connections.
    async fn answering_so_many(&self, requests: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (counted, trust) = (Arc::clone(&accepted), self.server.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                let trust = trust.clone();
                tokio::spawn(async move {
                    let (mut stream, _) = trust.accept(stream).await.unwrap();
                    for _ in 0..requests {
                        let (mut request, mut got) = ([0; 1_024], 0);
                        // The body, a version and a number below 128, ends the request.
                        while !request[..got].ends_with(b"\r\n\r\n\x01\x01") {
                            match stream.read(&mut request[got..]).await.unwrap_or(0) {
                                0 => return,
                                read => got += read,
                            }
                        }
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x01\x07";
                        stream.write_all(answer).await.unwrap();
                    }
                    stream.shutdown().await.unwrap();
                });
            }
        });
        (addr, accepted)
    }
}

fn member(authority: &Authority, node: NodeId, at: Timestamp) -> Credentials {
    let key = Key::generate().unwrap();
    let chain = authority.issue(node, &key.public(), at).unwrap();
    Credentials { key, chain }
}

#[tokio::test]
async fn each_kind_of_failure_is_distinguished() {
    let pair = Pair::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let refused = pair.ask(&free).await.unwrap_err();
    assert!(
        matches!(refused, PeerError::Refused { .. }) && refused.is_unsent(),
        "{refused}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let late = pair.ask_for(&silent, Duration::from_millis(300)).await;
    let late = late.unwrap_err();
    assert!(
        matches!(late, PeerError::Timeout { .. }) && !late.is_unsent(),
        "{late}"
    );

    let closed = pair.ask(&pair.answering(b"").await).await.unwrap_err();
    assert!(
        matches!(closed, PeerError::Closed { .. }) && !closed.is_unsent(),
        "{closed}"
    );

    let no = b"HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nstale";
    let rejected = pair.ask(&pair.answering(no).await).await.unwrap_err();
    assert!(
        rejected.to_string().ends_with("answered 409: stale"),
        "{rejected}"
    );

    let noise = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xff";
    let garbled = pair.ask(&pair.answering(noise).await).await.unwrap_err();
    assert!(matches!(garbled, PeerError::Garbled { .. }), "{garbled}");

    let nowhere = pair.ask("not a host:1").await.unwrap_err();
    assert!(nowhere.is_unsent(), "{nowhere}");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x01\x07";
    assert_eq!(
        pair.ask(&pair.answering(answer).await).await.unwrap(),
        Number(7)
    );
    let newer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x02\x07";
    let newer = pair.ask(&pair.answering(newer).await).await;
    let newer = newer.unwrap_err().to_string();
    assert!(
        newer.ends_with(
            "this node speaks version 1 of a number, and this is version 2; upgrade this node"
        ),
        "{newer}"
    );
}

#[tokio::test]
async fn who_is_not_recognised_is_distinguished_from_who_does_not_recognise() {
    let pair = Pair::new();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x01\x07";
    let addr = pair.answering(answer).await;
    let other = Member {
        node: Some(NodeId(3)),
        addr: &addr,
    };
    let called: Result<Number, _> = pair
        .client()
        .call(other, "/ask", &Number(1), PATIENCE)
        .await;
    let misdirected = called.unwrap_err();
    assert!(
        matches!(misdirected, PeerError::Untrusted { .. }) && misdirected.is_unsent(),
        "{misdirected}"
    );

    let stranger = Authority::found(CLUSTER).unwrap();
    let stranger = member(&stranger, NodeId(2), Timestamp(0));
    let roster = Roster::clone(&pair.client.roster());
    let stranger = Pair {
        client: Trust::new(&stranger, roster).unwrap(),
        ..pair
    };
    let unknown = stranger.ask(&addr).await.unwrap_err();
    assert!(
        matches!(unknown, PeerError::Refuses { .. }) && unknown.is_unsent(),
        "{unknown}"
    );
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_its_peer_closed_is_replaced() {
    let pair = Pair::new();
    let client = pair.client();
    for (requests, connections) in [(usize::MAX, 1), (1, 8)] {
        let (addr, accepted) = pair.answering_so_many(requests).await;
        let member = Member {
            node: None,
            addr: &addr,
        };
        for _ in 0..8 {
            let answer: Number = client
                .call(member, "/ask", &Number(1), PATIENCE)
                .await
                .unwrap();
            assert_eq!(answer, Number(7));
        }
        assert_eq!(
            accepted.load(Relaxed),
            connections,
            "{requests} a connection"
        );
    }
}
