//! The process: a node that waits to found or join a cluster, or a member of one.

use crate::clock::Clock;
use crate::config::{Config, Secrets};
use crate::host::identity::{self, Identity, IdentityError};
use crate::host::keys::{Keys, KeysError};
use crate::host::member::{Member, StartError};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdfast_consensus::command::Command;
use holdfast_consensus::generation::ClusterGeneration;
use holdfast_consensus::model::{Actor, Invalid, SettingsChange};
use holdfast_consensus::peer::trust::{Trust, TrustError};
use holdfast_consensus::{InitializeFailure, JoinError, JoinToken, Newcomer};
use holdfast_storage::ids::NodeId;
use holdfast_storage::volume_cluster;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tower::ServiceExt;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BecomeError {
    #[error(
        "this node is node {node} of cluster {cluster} already; to move it, remove it there, and \
         start it with an empty data_dir and empty volumes"
    )]
    Member { node: NodeId, cluster: Uuid },
    #[error(
        "{} holds data of cluster {found}, and the node would join cluster {cluster}; give it \
         empty directories, or have it join its own cluster",
        path.display()
    )]
    ForeignData {
        path: PathBuf,
        found: Uuid,
        cluster: Uuid,
    },
    #[error(
        "{} holds a Raft log without its identity.json; restore that from a backup, or give the \
         node an empty data_dir",
        path.display()
    )]
    LostIdentity { path: PathBuf },
    #[error("the configuration: {0}")]
    Config(#[from] Invalid),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("{0}")]
    Token(#[from] TrustError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Initialize(#[from] InitializeFailure),
    #[error("{0}")]
    Join(#[from] JoinError),
    #[error("a bug kept this node from becoming a member; its log has more: {0}")]
    Bug(#[from] tokio::task::JoinError),
}

/// The runtimes that run the member's tasks, regardless of which thread starts it.
#[derive(Clone)]
pub(crate) struct Runtimes {
    pub(crate) control: Handle,
    /// Of Raft and its log, which waits for its disk.
    pub(crate) raft: Handle,
}

/// Cheap to clone through `Arc`.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) secrets: Secrets,
    pub(crate) clock: Clock,
    runtimes: Runtimes,
    member: OnceLock<Member>,
    /// Held while the node founds or joins, so that it does so only once.
    becoming: Mutex<()>,
    became: Notify,
}

impl Host {
    pub(crate) fn new(
        config: Config,
        secrets: Secrets,
        clock: Clock,
        runtimes: Runtimes,
    ) -> Arc<Self> {
        let (member, becoming, became) = (OnceLock::new(), Mutex::default(), Notify::new());
        Arc::new(Self {
            config,
            secrets,
            clock,
            runtimes,
            member,
            becoming,
            became,
        })
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// Waits until this node is a member.
    pub(crate) async fn wait_for_member(&self) -> &Member {
        loop {
            let became = self.became.notified();
            if let Some(member) = self.member() {
                return member;
            }
            became.await;
        }
    }

    /// Starts as the member that this node was when it last ran, if it was one.
    pub(crate) async fn resume(&self) -> Result<(), BecomeError> {
        if let Some(identity) = Identity::load(&self.config.data_dir)? {
            self.enter(self.start(identity).await?);
        }
        Ok(())
    }

    /// Founds a cluster with this node as its first member. Resumes an attempt that failed
    /// half-way. Continues when the client that asked for it is gone.
    pub(crate) async fn found(self: &Arc<Self>) -> Result<(), BecomeError> {
        let host = Arc::clone(self);
        self.runtimes
            .control
            .spawn(async move { host.found_here().await })
            .await?
    }

    /// Joins the cluster that the token invites to; continues as [`Self::found`] does.
    pub(crate) async fn join(self: &Arc<Self>, token: JoinToken) -> Result<(), BecomeError> {
        let host = Arc::clone(self);
        self.runtimes
            .control
            .spawn(async move { host.join_here(&token).await })
            .await?
    }

    async fn found_here(&self) -> Result<(), BecomeError> {
        let _becoming = self.becoming.lock().await;
        let member = match self.member() {
            Some(member) if member.consensus.state().cluster.is_some() => {
                return Err(already(member));
            }
            Some(member) => member,
            None => {
                let data_dir = &self.config.data_dir;
                let known = Identity::load(data_dir)?;
                if let (None, Some(path)) = (known, identity::any_raft_dir(data_dir)) {
                    return Err(BecomeError::LostIdentity { path });
                }
                let cluster = Uuid::new_v4();
                let founded =
                    || Identity::new(cluster, NodeId(1), ClusterGeneration::first(cluster));
                let identity = known.unwrap_or_else(founded);
                let now = self.clock.now();
                Keys::of_founder(data_dir, identity.name(), now)?;
                identity.save(data_dir)?;
                self.enter(self.start(identity).await?)
            }
        };
        member
            .consensus
            .initialize(self.config.node_spec()?, member.key, self.clock.now())
            .await?;
        let retention_classes = Some(self.config.retention_classes()?);
        let change = SettingsChange {
            retention_classes,
            ..SettingsChange::default()
        };
        if let Err(error) = member
            .consensus
            .write(Command::ChangeSettings(change).by(Actor::System, self.clock.now()))
            .await
        {
            tracing::warn!(%error, "the cluster keeps its default retention classes");
        }
        Ok(())
    }

    async fn join_here(&self, token: &JoinToken) -> Result<(), BecomeError> {
        let _becoming = self.becoming.lock().await;
        if let Some(member) = self.member() {
            return Err(already(member));
        }
        let identity = match Identity::load(&self.config.data_dir)? {
            // It has joined, but could not be started then.
            Some(identity) => identity,
            None => self.ask_to_join(token).await?,
        };
        self.enter(self.start(identity).await?);
        Ok(())
    }

    async fn ask_to_join(&self, token: &JoinToken) -> Result<Identity, BecomeError> {
        let data_dir = &self.config.data_dir;
        let newcomer = Newcomer::new(token)?;
        self.check_data(newcomer.cluster().await?)?;
        let key = Keys::key_to_join(data_dir)?;
        let joined = newcomer
            .join(self.config.node_spec()?, key.public())
            .await?;
        Keys::keep(data_dir, &key, joined.issued)?;
        let identity = Identity::new(joined.cluster, joined.node, joined.generation);
        identity.save(data_dir)?;
        Keys::has_joined(data_dir)?;
        Ok(identity)
    }

    /// Checked before the cluster gives out a number: a node with data of another cluster could not
    /// start as a member of this one.
    fn check_data(&self, cluster: Uuid) -> Result<(), BecomeError> {
        for path in self.config.volume_paths() {
            // A volume that cannot be read is reported when it is opened.
            if let Some(found) = volume_cluster(&path)
                .ok()
                .flatten()
                .filter(|found| *found != cluster)
            {
                return Err(BecomeError::ForeignData {
                    path,
                    found,
                    cluster,
                });
            }
        }
        identity::any_raft_dir(&self.config.data_dir)
            .map_or(Ok(()), |path| Err(BecomeError::LostIdentity { path }))
    }

    /// Without its keys a member records on, recognised by no other node.
    async fn start(&self, identity: Identity) -> Result<Member, BecomeError> {
        let keys = match Keys::load(&self.config.data_dir, identity.name()) {
            Ok(keys) => keys,
            Err(error) => {
                tracing::error!(
                    %error,
                    "this node records what it last knew, and no other node recognises it"
                );
                Keys::strange(identity.name(), self.clock.now())?
            }
        };
        Ok(Member::start(
            &self.config,
            keys,
            identity,
            self.clock,
            &self.runtimes.raft,
        )
        .await?)
    }

    /// Applies the configuration file as it is now, as far as that is possible without a restart:
    /// the volumes.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let mut rest = config.clone();
        rest.storage
            .volumes
            .clone_from(&self.config.storage.volumes);
        if rest != self.config {
            tracing::warn!(
                "the configuration file differs in more than its volumes; the rest counts when the \
                 node starts the next time"
            );
        }
        match self.member() {
            Some(member) => member.volumes.reconfigure(config),
            None => tracing::warn!(
                "this node belongs to no cluster yet; restart it to make it take the changed \
                 configuration"
            ),
        }
    }

    /// The keys of the members' port; none while this node is no member.
    pub(crate) fn trust(&self) -> Option<Trust> {
        self.member()?.consensus.trust()
    }

    fn enter(&self, member: Member) -> &Member {
        tracing::info!(
            node = %member.identity.node, cluster = %member.identity.cluster,
            "member of a cluster"
        );
        let member = self.member.get_or_init(|| member);
        self.became.notify_waiters();
        member
    }
}

fn already(member: &Member) -> BecomeError {
    BecomeError::Member {
        node: member.identity.node,
        cluster: member.identity.cluster,
    }
}

/// The peer port: the member's routes, or 503 while there is none.
pub(crate) fn peer_router(host: Arc<Host>) -> Router {
    Router::new().fallback(forward).with_state(host)
}

async fn forward(State(host): State<Arc<Host>>, request: Request) -> Response {
    match host.member() {
        Some(member) => match member.peer_routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "this node belongs to no cluster yet",
        )
            .into_response(),
    }
}
