//! Handshakes between members, newcomers and strangers.

use super::authority::{Authority, CERTIFICATE_VALID, fingerprint};
use super::keys::{Credentials, Key};
use super::*;
use crate::model::KeyHash;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(7);
const PATIENCE: Duration = Duration::from_secs(30);
/// In 1970 plus so much, far from now: certificates of then have expired.
const LONG_AGO: Timestamp = Timestamp(1_000_000);

fn now() -> Timestamp {
    let since = UnixTime::now().as_secs();
    Timestamp(i64::try_from(since).unwrap() * 1_000_000)
}

/// A cluster whose members are known to each other.
struct Site {
    authority: Authority,
    keys: Vec<Key>,
}

impl Site {
    fn of(nodes: usize) -> Self {
        Self {
            authority: Authority::found(CLUSTER).unwrap(),
            keys: (0..nodes).map(|_| Key::generate().unwrap()).collect(),
        }
    }

    fn roster(&self) -> Roster {
        let numbered = (1..).map(NodeId).zip(self.keys.iter().map(Key::hash));
        Roster {
            cluster: CLUSTER,
            members: numbered.collect(),
            newest: NodeId(self.keys.len() as u64),
            roots: vec![self.authority.root().clone()],
            ..Roster::default()
        }
    }

    fn credentials(&self, node: u64, at: Timestamp) -> Credentials {
        let index = usize::try_from(node - 1).unwrap();
        of_key(&self.authority, NodeId(node), &self.keys[index], at)
    }

    fn trust(&self, node: u64) -> Trust {
        Trust::new(&self.credentials(node, now()), self.roster()).unwrap()
    }
}

fn of_key(authority: &Authority, node: NodeId, key: &Key, at: Timestamp) -> Credentials {
    Credentials {
        key: Key::from_pkcs8(&key.to_pkcs8()).unwrap(),
        chain: authority.issue(node, &key.public(), at).unwrap(),
    }
}

/// Both ends' views of one connection: whom the server serves, and whether the client got its byte.
async fn meet(
    server: &Trust,
    client: &Trust,
    dialled: Option<NodeId>,
) -> (Result<Caller, String>, Result<(), String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serves = async {
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = server.accept(stream).await;
        let (mut stream, caller) = accepted.map_err(|why| why.to_string())?;
        stream
            .write_all(b"!")
            .await
            .map_err(|why| why.to_string())?;
        stream.shutdown().await.map_err(|why| why.to_string())?;
        Ok(caller)
    };
    let dials = async {
        let stream = TcpStream::connect(addr).await.unwrap();
        let connected = client.connect(stream, dialled).await;
        let mut stream = connected.map_err(|why| why.to_string())?;
        let read = stream.read_u8().await;
        let read = read.map_err(|why| HandshakeError::from(why).to_string())?;
        assert_eq!(read, b'!');
        Ok(())
    };
    timeout(PATIENCE, async { tokio::join!(serves, dials) })
        .await
        .expect("the handshake hangs")
}

#[tokio::test]
async fn members_know_each_other_in_both_directions() {
    let site = Site::of(2);
    let (one, two) = (site.trust(1), site.trust(2));
    for dialled in [Some(NodeId(1)), None] {
        let (served, got) = meet(&one, &two, dialled).await;
        assert_eq!(served, Ok(Caller::Member(NodeId(2))));
        assert_eq!(got, Ok(()));
    }
}

#[tokio::test]
async fn only_the_dialled_node_may_answer() {
    let site = Site::of(3);
    let (served, got) = meet(&site.trust(3), &site.trust(1), Some(NodeId(2))).await;
    assert!(
        got.as_ref()
            .is_err_and(|why| why.contains("node 3 answers where node 2 was dialled")),
        "{got:?}"
    );
    assert!(served.is_err());
}

#[tokio::test]
async fn a_certificate_alone_speaks_for_no_member() {
    let site = Site::of(2);
    let one = site.trust(1);
    let stranger = Key::generate().unwrap();
    let foreign = Authority::found(CLUSTER).unwrap();
    let elsewhere = Authority::found(Uuid::from_u128(8)).unwrap();
    let roster = site.roster();
    for (credentials, why) in [
        // Signed by the cluster's authority, but with a key that is not the member's.
        (
            of_key(&site.authority, NodeId(2), &stranger, now()),
            "the key is not that of node 2",
        ),
        (
            of_key(&foreign, NodeId(9), &stranger, now()),
            "the certificate of node 9 is not valid",
        ),
        (
            of_key(&elsewhere, NodeId(2), &site.keys[1], now()),
            "of cluster 00000000-0000-0000-0000-000000000008",
        ),
        (
            Credentials::of_invitation(Key::from_seed(&[7; 32]).unwrap()).unwrap(),
            "names no node",
        ),
    ] {
        let other = Trust::new(&credentials, roster.clone()).unwrap();
        let (served, got) = meet(&one, &other, Some(NodeId(1))).await;
        assert!(
            served.as_ref().is_err_and(|found| found.contains(why)),
            "{why}: {served:?}"
        );
        assert!(got.is_err(), "{why}: it got a byte");
    }
}

#[tokio::test]
async fn a_node_that_has_just_joined_is_believed_by_its_certificate() {
    let site = Site::of(2);
    let key = Key::generate().unwrap();
    let third = of_key(&site.authority, NodeId(3), &key, now());
    let third = Trust::new(&third, site.roster()).unwrap();
    let (served, got) = meet(&site.trust(1), &third, Some(NodeId(1))).await;
    assert_eq!((served, got), (Ok(Caller::Newer(NodeId(3))), Ok(())));
}

#[tokio::test]
async fn a_member_whose_certificate_has_expired_is_still_one() {
    let site = Site::of(2);
    let expired = Trust::new(&site.credentials(2, LONG_AGO), site.roster()).unwrap();
    let (served, got) = meet(&site.trust(1), &expired, Some(NodeId(1))).await;
    assert_eq!((served, got), (Ok(Caller::Member(NodeId(2))), Ok(())));
    assert!(CERTIFICATE_VALID > Duration::from_secs(86_400));
}

#[tokio::test]
async fn a_removed_member_is_no_member_also_on_its_open_connections() {
    let site = Site::of(2);
    let (one, two) = (site.trust(1), site.trust(2));
    let mut roster = site.roster();
    roster.members.remove(&NodeId(2));
    one.set_roster(roster);
    let (served, got) = meet(&one, &two, Some(NodeId(1))).await;
    assert_eq!(served, Ok(Caller::Former(NodeId(2))));
    assert!(got.is_ok());
    let now = |node| one.roster().now(Caller::Member(NodeId(node)));
    assert_eq!(now(2), Some(Caller::Former(NodeId(2))));
    assert_eq!(now(1), Some(Caller::Member(NodeId(1))));
}

#[tokio::test]
async fn a_newcomer_trusts_only_the_root_of_its_token_and_is_no_member() {
    let site = Site::of(1);
    let key = || Key::from_seed(&[7; 32]).unwrap();
    let mut roster = site.roster();
    roster.invited.insert(key().hash(), Timestamp::MAX);
    let one = site.trust(1);
    one.set_roster(roster);
    let newcomer = |root: KeyHash| {
        let roster = Roster {
            pinned_root: Some(root),
            ..Roster::default()
        };
        Trust::new(&Credentials::of_invitation(key()).unwrap(), roster).unwrap()
    };
    let invited = newcomer(fingerprint(site.authority.root()));
    let (served, got) = meet(&one, &invited, None).await;
    assert_eq!((served, got), (Ok(Caller::Invited(key().hash())), Ok(())));

    let misled = newcomer(fingerprint(Authority::found(CLUSTER).unwrap().root()));
    let (served, got) = meet(&one, &misled, None).await;
    assert!(served.is_err() && got.is_err());

    one.set_roster(site.roster());
    let (served, got) = meet(&one, &invited, None).await;
    assert!(
        served.is_err() && got.is_err(),
        "a revoked invitation opens nothing"
    );
}

#[tokio::test]
async fn a_stranger_gets_no_byte_of_an_answer() {
    let site = Site::of(1);
    let one = site.trust(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(one.accept(stream).await.is_err());
        }
    });
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The alert of TLS, or a reset: never HTTP.
    drop(
        timeout(PATIENCE, plain.read_to_end(&mut answer))
            .await
            .unwrap(),
    );
    assert!(
        answer.len() < 16 && !answer.starts_with(b"HTTP"),
        "{answer:?}"
    );

    let mut roots = rustls::RootCertStore::empty();
    roots.add(site.authority.root().clone()).unwrap();
    let anonymous = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerVerifier(Arc::clone(&site.trust(1).shared))))
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from(names::expected(Some(NodeId(1)))).unwrap();
    let connected = TlsConnector::from(Arc::new(anonymous))
        .connect(name, stream)
        .await;
    // In TLS 1.3 a client learns of its refusal only with the first read.
    if let Ok(mut stream) = connected {
        assert!(stream.read_u8().await.is_err());
    }
    server.await.unwrap();
}

#[test]
fn keys_and_authorities_come_back_from_what_is_stored() {
    let authority = Authority::found(CLUSTER).unwrap();
    let key = Key::from_pkcs8(&authority.key().to_pkcs8()).unwrap();
    assert_eq!(key.hash(), authority.key().hash());
    let again = Authority::restore(CLUSTER, key, authority.root().clone()).unwrap();
    assert_eq!(again.root(), authority.root());
    let other = Key::generate().unwrap();
    assert_eq!(other.public().hash(), other.hash());
    assert!(Authority::restore(CLUSTER, other, authority.root().clone()).is_err());
    let seeded = Key::from_seed(&[1; 32]).unwrap();
    assert_eq!(seeded.hash(), Key::from_seed(&[1; 32]).unwrap().hash());
    assert_ne!(seeded.hash(), Key::from_seed(&[2; 32]).unwrap().hash());
    assert!(!format!("{seeded:?}").contains("0101"));
}
