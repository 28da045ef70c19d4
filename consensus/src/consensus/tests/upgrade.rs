//! An upgrade of two nodes: what they store and send, before and after it is finalised, as the
//! program before the upgrade reads it ([`crate::codec::upgrade`]).

use super::*;
use crate::codec::upgrade::{Earlier, NEXT};
use crate::codec::{CLUSTER_VERSION, CodecError, Format, decode, decode_first};
use crate::consensus::messages::{WRITE, WriteAnswer, WriteRequest};
use crate::join::Newcomer;
use crate::join::token::JoinToken;
use crate::join::{CLUSTER, ClusterAnswer, ClusterRequest, JOIN, JoinAnswer, JoinRequest};
use crate::model::{INVITE_VALID, InviteSpec};
use crate::observe::heartbeat::Heartbeat;
use crate::peer::envelope::Envelope;
use crate::peer::trust::keys::{Credentials, Key};
use crate::peer::trust::names::NodeUri;
use crate::peer::trust::roster::Roster;
use crate::peer::trust::{Trust, found};
use crate::raft::identity::introductions::{HELLO, Hello, HelloAnswer, WHO, WhoAnswer, WhoRequest};
use crate::raft::identity::ledger::Kept;
use crate::raft::identity::{Sender, Stamp};
use crate::raft::log_store::{LogTypes, Payload};
use crate::raft::messages::{APPEND, PRE_VOTE, SNAPSHOT, SnapshotRequest, TRANSFER, VOTE};
use crate::raft::snapshot_file::SnapshotImage;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const BYTES_MAX: usize = 1 << 20;
/// Longer than the deadlines of the calls between members; a snapshot is not needed here.
const CALLS_END_WITHIN: Duration = Duration::from_secs(2);

/// One call between members. The answer is empty if the call was refused.
struct Call {
    path: String,
    request: Bytes,
    answer: Bytes,
}

/// A node's peer port, which keeps what passes.
#[derive(Clone, Default)]
struct Wire {
    routes: Arc<Mutex<Router>>,
    /// While there is none, connections are closed.
    trust: Arc<Mutex<Option<Trust>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Wire {
    async fn serve(self, listener: TcpListener) {
        let routes = Router::new().fallback(Self::pass).with_state(self.clone());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Some(trust) = self.trust.lock().unwrap().clone() else {
                continue;
            };
            let routes = routes.clone();
            tokio::spawn(async move {
                let Ok((stream, caller)) = trust.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(routes.layer(Extension(caller)));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    }

    async fn pass(State(wire): State<Self>, request: Request) -> Response {
        let routes = wire.routes.lock().unwrap().clone();
        let path = request.uri().path().to_owned();
        let (head, body) = request.into_parts();
        let request = to_bytes(body, BYTES_MAX).await.unwrap();
        let passed = Request::from_parts(head, Body::from(request.clone()));
        let response = routes.oneshot(passed).await.unwrap();
        let status = response.status();
        let answer = to_bytes(response.into_body(), BYTES_MAX).await.unwrap();
        let kept = if status.is_success() {
            answer.clone()
        } else {
            Bytes::new()
        };
        wire.calls.lock().unwrap().push(Call {
            path,
            request,
            answer: kept,
        });
        (status, answer).into_response()
    }

    fn saw(&self, path: &str) -> bool {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .any(|call| call.path == path)
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

struct Member {
    dir: TempDir,
    wire: Wire,
    spec: NodeSpec,
    options: Options,
    keys: Keys,
    consensus: Consensus,
}

/// What would be in the data directory.
#[derive(Clone)]
struct Keys {
    trust: Trust,
    hash: KeyHash,
    authority: Arc<Authority>,
}

impl Keys {
    fn new(own: &Credentials, authority: Arc<Authority>, cluster: Uuid) -> Self {
        let roster = Roster::of(cluster, vec![authority.root().clone()]);
        Self {
            trust: Trust::new(own, roster).unwrap(),
            hash: own.key.hash(),
            authority,
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// Opens as soon as the last task of the previous process has released the log.
async fn open(options: &Options, keys: &Keys, wire: &Wire) -> Consensus {
    let opened = Instant::now();
    let options = || Options {
        boot: Uuid::new_v4(),
        ..options.clone()
    };
    let consensus = loop {
        let authority = Some(Arc::clone(&keys.authority));
        match Consensus::open(options(), keys.trust.clone(), authority).await {
            Ok(consensus) => break consensus,
            Err(error) => assert!(opened.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    *wire.routes.lock().unwrap() = consensus.peer_routes();
    *wire.trust.lock().unwrap() = Some(keys.trust.clone());
    consensus
}

impl Member {
    /// The founder, or a node that joins through `peer`.
    async fn new(name: &str, peer: Option<&Self>) -> Self {
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(wire.clone().serve(listener));
        let spec = NodeSpec::new(name, &addr, "127.0.0.1:9").unwrap();
        let (node, cluster, keys) = match peer {
            Some(peer) => peer.admit(&spec).await,
            None => {
                let (node, cluster) = (NodeId(1), Uuid::new_v4());
                let (own, authority) = found(NodeUri { cluster, node }, now()).unwrap();
                (node, cluster, Keys::new(&own, Arc::new(authority), cluster))
            }
        };
        let options = Options {
            node,
            cluster,
            generation: ClusterGeneration::first(cluster),
            dir: dir.path().join("raft"),
            timing: Timing::default(),
            peer_addr: addr,
            peers: Vec::new(),
            boot: Uuid::nil(),
            now,
        };
        let consensus = open(&options, &keys, &wire).await;
        if peer.is_none() {
            consensus
                .initialize(spec.clone(), keys.hash, Timestamp(0))
                .await
                .unwrap();
        }
        Self {
            dir,
            wire,
            spec,
            options,
            keys,
            consensus,
        }
    }

    /// Invites a node, and gives it what it needs as it joins.
    async fn admit(&self, spec: &NodeSpec) -> (NodeId, Uuid, Keys) {
        let addresses = vec![self.spec.peer_addr.clone()];
        let token = JoinToken::new(addresses, self.consensus.root().unwrap()).unwrap();
        let invite = InviteSpec {
            name: spec.name.clone(),
            role: spec.role,
            may_vote: true,
            key: token.key().unwrap().hash(),
            expires: now().plus(INVITE_VALID),
        };
        let invite = Command::CreateInvite { spec: invite }.by(Actor::System, now());
        self.consensus.write(invite).await.unwrap();
        let (newcomer, key) = (Newcomer::new(&token).unwrap(), Key::generate().unwrap());
        let cluster = newcomer.cluster().await.unwrap();
        assert_eq!(cluster, self.consensus.cluster());
        let joined = newcomer.join(spec.clone(), key.public()).await.unwrap();
        let chain = joined.issued.chain.into_iter().map(Into::into).collect();
        let authority = Arc::clone(&self.keys.authority);
        let keys = Keys::new(&Credentials { key, chain }, authority, cluster);
        (joined.node, cluster, keys)
    }

    async fn write(&self, command: Command) {
        let entry = command.by(Actor::System, Timestamp(0));
        self.until(|member| member.consensus.leader().is_some())
            .await;
        self.consensus.write(entry).await.unwrap();
    }

    async fn restart(self) -> Self {
        self.consensus.shutdown().await;
        *self.wire.routes.lock().unwrap() = Router::new();
        drop(self.consensus);
        let consensus = open(&self.options, &self.keys, &self.wire).await;
        Self { consensus, ..self }
    }

    fn finalized(&self) -> u16 {
        self.consensus.identity().finalized().version()
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !what(self) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has a snapshot of everything applied so far.
    async fn snapshot(&self) {
        let applied = |of: &Self| of.consensus.raft().metrics().borrow_watched().last_applied;
        let covers = applied(self);
        self.consensus.raft().trigger().snapshot().await.unwrap();
        self.until(|this| this.consensus.raft().metrics().borrow_watched().snapshot >= covers)
            .await;
    }

    fn stored(&self) -> Stored {
        Stored::of(&self.options.dir, &self.dir.path().join("copy"))
    }

    fn heartbeat(&self) -> Vec<u8> {
        let identity = self.consensus.identity();
        let heartbeat = Heartbeat {
            from: identity.node(),
            boot: 1,
            sequence: 1,
            sent_at: Timestamp(0),
            writable: true,
            recorders: Vec::new(),
            probes: Vec::new(),
            vouches: false,
        };
        identity.seal(NodeId(1), &heartbeat).unwrap()
    }
}

/// The bytes in a node's Raft folder.
struct Stored {
    log: Vec<Vec<u8>>,
    ledger: Vec<u8>,
    /// Without the file's header.
    snapshot: Vec<u8>,
}

impl Stored {
    /// Reads a copy: the folder is in use.
    fn of(dir: &Path, copy: &Path) -> Self {
        drop(std::fs::remove_dir_all(copy));
        std::fs::create_dir(copy).unwrap();
        for file in std::fs::read_dir(dir.join("log")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        let config = raft_log::Config::new(copy.to_str().unwrap());
        let log = raft_log::RaftLog::<LogTypes>::open(Arc::new(config)).unwrap();
        let snapshot = std::fs::read(dir.join("snapshot")).unwrap();
        Self {
            log: log
                .read(0, u64::MAX)
                .map(|entry| entry.unwrap().1)
                .collect(),
            ledger: log.log_state().user_data.clone().unwrap(),
            snapshot: snapshot[b"HFSNAP01".len() + 4..].to_vec(),
        }
    }
}

/// What the program before the upgrade reads; the new one reads the same.
fn before_the_upgrade<T: Format>(bytes: &[u8]) -> Result<T, CodecError> {
    let Earlier(before) = decode::<Earlier<T>>(bytes)?;
    let now: T = decode(bytes)?;
    let same = [&before, &now].map(|value| postcard::to_allocvec(value).unwrap());
    assert_eq!(same[0], same[1], "{}", T::NAME);
    Ok(before)
}

/// A message as the new program reads it: for each of its values whether the program before the
/// upgrade reads it too.
struct Reading<'a> {
    rest: &'a [u8],
    before: Vec<Result<(), CodecError>>,
}

impl<'a> Reading<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            before: Vec::new(),
        }
    }

    fn then<T: Format>(mut self) -> Self {
        let (_, rest) = decode_first::<T>(self.rest).unwrap();
        let value = &self.rest[..self.rest.len() - rest.len()];
        self.before.push(before_the_upgrade::<T>(value).map(drop));
        Self { rest, ..self }
    }

    fn end(self) -> Vec<Result<(), CodecError>> {
        assert!(self.rest.is_empty());
        self.before
    }
}

impl Call {
    fn values(&self) -> Vec<Result<(), CodecError>> {
        match self.path.as_str() {
            APPEND => {
                self.raft::<AppendEntriesRequest<TypeConfig>, AppendEntriesResponse<TypeConfig>>()
            }
            VOTE | PRE_VOTE => self.raft::<VoteRequest<TypeConfig>, VoteResponse<TypeConfig>>(),
            SNAPSHOT => self.raft::<SnapshotRequest, SnapshotResponse<TypeConfig>>(),
            TRANSFER => {
                self.raft::<TransferLeaderRequest<TypeConfig>, TransferLeaderResponse<TypeConfig>>()
            }
            WRITE => {
                let request = Reading::of(&self.request).then::<Envelope>();
                self.plain::<WriteRequest, WriteAnswer>(request)
            }
            WHO => {
                let request = Reading::of(&self.request).then::<Envelope>();
                self.plain::<WhoRequest, WhoAnswer>(request)
            }
            HELLO => self.plain::<Hello, HelloAnswer>(Reading::of(&self.request)),
            JOIN => self.plain::<JoinRequest, JoinAnswer>(Reading::of(&self.request)),
            CLUSTER => self.plain::<ClusterRequest, ClusterAnswer>(Reading::of(&self.request)),
            other => panic!("{other}"),
        }
    }

    fn raft<Req: Format, Resp: Format>(&self) -> Vec<Result<(), CodecError>> {
        let request = Reading::of(&self.request)
            .then::<Envelope>()
            .then::<Stamp>();
        let request = request.then::<Req>().end();
        if self.answer.is_empty() {
            return request;
        }
        let answer = Reading::of(&self.answer).then::<Stamp>().then::<Resp>();
        [request, answer.end()].concat()
    }

    fn plain<Req: Format, Resp: Format>(&self, request: Reading) -> Vec<Result<(), CodecError>> {
        let request = request.then::<Req>().end();
        if self.answer.is_empty() {
            return request;
        }
        [request, Reading::of(&self.answer).then::<Resp>().end()].concat()
    }
}

fn heartbeat(member: &Member) -> Vec<Result<(), CodecError>> {
    let bytes = member.heartbeat();
    let values = Reading::of(&bytes).then::<Envelope>().then::<Sender>();
    values.then::<Heartbeat>().end()
}

fn assert_newer<T: std::fmt::Debug>(read: Result<T, CodecError>) {
    let why = read.unwrap_err().to_string();
    assert!(
        why.starts_with("this node speaks version 1 of ") && why.ends_with("upgrade this node"),
        "{why}"
    );
}

fn paths(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(|call| call.path.as_str()).collect()
}

/// Until it is finalised, the program before the upgrade reads all that is stored.
fn assert_the_way_back_is_open(member: &Member) {
    let stored = member.stored();
    for payload in &stored.log {
        before_the_upgrade::<Payload>(payload).unwrap();
    }
    before_the_upgrade::<Kept>(&stored.ledger).unwrap();
    let image = before_the_upgrade::<SnapshotImage>(&stored.snapshot).unwrap();
    let state = before_the_upgrade::<ClusterState>(&image.state).unwrap();
    assert_eq!(state, *member.consensus.state());
    assert_eq!(heartbeat(member), [Ok(()), Ok(()), Ok(())]);
}

/// The program of each node is replaced by the next release.
async fn upgrade(nodes: [&Member; 2]) {
    for member in nodes {
        let spec = NodeSpec {
            version: NEXT,
            ..member.spec.clone()
        };
        let node = member.consensus.node();
        member.write(Command::ReportForDuty { node, spec }).await;
    }
    let is_known = |member: &Member| {
        let state = member.consensus.state();
        state
            .nodes
            .values()
            .filter(|node| node.spec.version == NEXT)
            .count()
            == 2
    };
    for member in nodes {
        member.until(is_known).await;
    }
}

async fn change(nodes: [&Member; 2]) {
    for member in nodes {
        member
            .write(Command::ChangeSettings(SettingsChange::default()))
            .await;
    }
    // Each has both.
    let entries = |of: &Member| of.consensus.raft().metrics().borrow_watched().last_applied;
    let last = nodes.map(entries).into_iter().max().unwrap();
    for member in nodes {
        member.until(|member| entries(member) >= last).await;
    }
}

/// Entries up to the finalisation stay as they were written; later ones are in the new version.
fn assert_the_log_is_upgraded(log: &[Vec<u8>]) {
    let finalizes = |payload: &Vec<u8>| match decode::<Payload>(payload).unwrap() {
        Payload::Normal(entry) => matches!(entry.command, Command::FinalizeVersion { .. }),
        Payload::Blank | Payload::Membership(_) => false,
    };
    let (old, new) = log.split_at(log.iter().position(finalizes).unwrap() + 1);
    for payload in old {
        before_the_upgrade::<Payload>(payload).unwrap();
    }
    // A follower may have got entries with the finalisation, before it could apply that.
    let new = &new[new.len() - 2..];
    for payload in new {
        assert_newer(decode::<Earlier<Payload>>(payload));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_write_the_old_versions_until_the_upgrade_is_finalised_and_the_new_ones_after() {
    let first = Member::new("n1", None).await;
    let second = Member::new("n2", Some(&first)).await;
    let is_member = |member: &Member| member.consensus.state().nodes.len() == 2;
    second.until(is_member).await;
    // A second after it became a member.
    first.until(|first| first.wire.saw(HELLO)).await;
    upgrade([&first, &second]).await;
    let mut calls = Vec::new();
    for member in [&first, &second] {
        assert_eq!(member.finalized(), CLUSTER_VERSION);
        member.snapshot().await;
        assert_the_way_back_is_open(member);
        calls.extend(member.wire.take());
    }
    for call in &calls {
        for value in call.values() {
            value.unwrap_or_else(|why| panic!("{}: {why}", call.path));
        }
    }
    let seen = paths(&calls);
    assert!(
        seen.is_superset(&[CLUSTER, JOIN, HELLO, APPEND, WRITE].into()),
        "{seen:?}"
    );

    first
        .write(Command::FinalizeVersion { version: NEXT })
        .await;
    for member in [&first, &second] {
        member.until(|member| member.finalized() == NEXT).await;
    }
    tokio::time::sleep(CALLS_END_WITHIN).await;
    for member in [&first, &second] {
        member.wire.take();
    }
    let second = second.restart().await;
    assert_eq!(second.finalized(), NEXT, "its log says so");
    first.until(|first| first.wire.saw(HELLO)).await;
    change([&first, &second]).await;
    for member in [&first, &second] {
        member.snapshot().await;
        let stored = member.stored();
        assert_the_log_is_upgraded(&stored.log);
        assert_newer(decode::<Earlier<SnapshotImage>>(&stored.snapshot));
        let image: SnapshotImage = decode(&stored.snapshot).unwrap();
        assert_newer(decode::<Earlier<ClusterState>>(&image.state));
        heartbeat(member).into_iter().for_each(assert_newer);
    }
    let calls: Vec<Call> = [&first, &second]
        .into_iter()
        .flat_map(|member| member.wire.take())
        .collect();
    for call in &calls {
        call.values().into_iter().for_each(assert_newer);
    }
    let seen = paths(&calls);
    assert!(seen.is_superset(&[HELLO, APPEND, WRITE].into()), "{seen:?}");

    // The first that a start writes is the ledger.
    let second = second.restart().await;
    assert_newer(decode::<Earlier<Kept>>(&second.stored().ledger));
    assert_the_log_is_upgraded(&second.stored().log);
    first.consensus.shutdown().await;
    second.consensus.shutdown().await;
}
