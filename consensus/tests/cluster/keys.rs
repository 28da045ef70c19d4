//! Keys of the nodes of these tests, and the peer port that they serve.

use axum::Extension;
use holdfast_consensus::command::{Command, Response};
use holdfast_consensus::model::{Actor, InviteSpec, NodeSpec};
use holdfast_consensus::peer::trust::authority::{Authority, fingerprint};
use holdfast_consensus::peer::trust::keys::{Credentials, Key};
use holdfast_consensus::peer::trust::names::NodeUri;
use holdfast_consensus::peer::trust::roster::Roster;
use holdfast_consensus::peer::trust::{Trust, found};
use holdfast_consensus::{Consensus, JoinToken};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

/// A private key, and certificates.
type Kept = (Vec<u8>, Vec<Vec<u8>>);

/// What would be in the data directories.
static KEYS: Mutex<BTreeMap<(Uuid, NodeId), Kept>> = Mutex::new(BTreeMap::new());
static AUTHORITIES: Mutex<BTreeMap<Uuid, Arc<Authority>>> = Mutex::new(BTreeMap::new());

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(crate) fn authority(cluster: Uuid) -> Arc<Authority> {
    let mut known = AUTHORITIES.lock().unwrap();
    let made = || Arc::new(Authority::found(cluster).unwrap());
    Arc::clone(known.entry(cluster).or_insert_with(made))
}

/// Stores what a node was given.
pub(crate) fn keep(cluster: Uuid, node: NodeId, key: &Key, chain: Vec<Vec<u8>>) {
    let kept = (key.to_pkcs8(), chain);
    KEYS.lock().unwrap().insert((cluster, node), kept);
}

/// The key of a node; a new one if it has none.
pub(crate) fn key(cluster: Uuid, node: NodeId) -> Key {
    if let Some((key, _)) = KEYS.lock().unwrap().get(&(cluster, node)) {
        return Key::from_pkcs8(key).unwrap();
    }
    let key = Key::generate().unwrap();
    let chain = authority(cluster)
        .issue(node, &key.public(), now())
        .unwrap();
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    keep(cluster, node, &key, chain);
    key
}

/// As a node starts: it has read no state yet.
pub(crate) fn trust(cluster: Uuid, node: NodeId) -> Trust {
    let key = key(cluster, node);
    let (_, chain) = KEYS.lock().unwrap()[&(cluster, node)].clone();
    let chain = chain.into_iter().map(Into::into).collect();
    let roster = Roster::of(cluster, vec![authority(cluster).root().clone()]);
    Trust::new(&Credentials { key, chain }, roster).unwrap()
}

/// A node of the same name and number, with a key and an authority that no member knows.
pub(crate) fn stranger(cluster: Uuid, node: NodeId) -> Trust {
    let (own, _) = found(NodeUri { cluster, node }, now()).unwrap();
    let roster = Roster::of(cluster, vec![authority(cluster).root().clone()]);
    Trust::new(&own, roster).unwrap()
}

/// The token of a new invitation for `spec` by way of `member`, valid for so long.
pub(crate) async fn invite(member: &Consensus, addr: &str, spec: &NodeSpec) -> JoinToken {
    let root = fingerprint(authority(member.cluster()).root());
    let token = JoinToken::new(vec![addr.parse().unwrap()], root).unwrap();
    let invited = InviteSpec {
        name: spec.name.clone(),
        role: spec.role,
        may_vote: true,
        key: token.key().unwrap().hash(),
        expires: now().plus(Duration::from_secs(900)),
    };
    let command = Command::CreateInvite { spec: invited };
    let answer = member.write(command.by(Actor::System, now())).await;
    assert!(matches!(answer, Ok(Response::Invite(_))), "{answer:?}");
    token
}

/// Serves the routes to those that a handshake lets in; ends all connections when it is aborted.
pub(crate) fn serve(consensus: &Consensus, trust: Trust, listener: TcpListener) -> JoinHandle<()> {
    let routes = consensus.peer_routes();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (trust, routes) = (trust.clone(), routes.clone());
            connections.spawn(async move {
                let Ok((stream, caller)) = trust.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(routes.layer(Extension(caller)));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    })
}
