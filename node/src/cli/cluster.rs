//! `holdfast cluster`: found a cluster, join one, show its state.

use super::args::ClusterCommand;
use super::drain;
use super::recover;
use super::retention;
use super::table::{or_dash, printable};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_consensus::model::Secret;
use holdfast_control_api::wire::{
    Cluster, FailoverHeadroom, InitCluster, JoinCluster, VolumeRetention,
};
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use std::io::{BufRead as _, Read as _};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long an accepted node may take to start as a member.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than any token.
const TOKEN_BYTES_MAX: u64 = 8_192;

pub(super) async fn run(
    command: ClusterCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    let cluster = match command {
        ClusterCommand::Init => {
            api.call(Method::POST, &["cluster", "init"], Some(&InitCluster {}))
                .await?;
            as_member(&api).await?
        }
        ClusterCommand::Join { token } => {
            let token = Secret(if token == "-" { from_stdin()? } else { token });
            api.call(
                Method::POST,
                &["cluster", "join"],
                Some(&JoinCluster { token }),
            )
            .await?;
            as_member(&api).await?
        }
        ClusterCommand::Status => api.get(&["cluster"], &[]).await?,
        ClusterCommand::Rebalance => {
            api.call(Method::POST, &["cluster", "rebalance"], None::<&()>)
                .await?;
            api.get(&["cluster"], &[]).await?
        }
        ClusterCommand::Finalize => {
            api.call(Method::POST, &["cluster", "finalize"], None::<&()>)
                .await?;
            api.get(&["cluster"], &[]).await?
        }
        ClusterCommand::Drain(args) => return drain::drain(&api, &args, out).await,
        ClusterCommand::Undrain { node } => return drain::undrain(&api, &node, out).await,
        // It asks no node.
        ClusterCommand::Recover(args) => return recover::run(&args, out).await,
    };
    let retention: Vec<VolumeRetention> = if cluster.id.is_some() {
        api.get(&["retention"], &[]).await?
    } else {
        Vec::new()
    };
    out.print(&cluster, |cluster| describe(cluster, &retention))
}

/// The first line of standard input.
fn from_stdin() -> Result<String, CliError> {
    let mut line = String::new();
    let read = std::io::stdin()
        .lock()
        .take(TOKEN_BYTES_MAX)
        .read_line(&mut line);
    match read {
        Ok(_) if !line.trim().is_empty() => Ok(line.trim().to_owned()),
        Ok(_) => Err(CliError::failed("standard input holds no token")),
        Err(error) => Err(CliError::failed(format!(
            "cannot read the token from standard input: {error}"
        ))),
    }
}

/// The cluster once the node has taken up its membership, a moment after the others have granted
/// it.
async fn as_member(api: &Api) -> Result<Cluster, CliError> {
    let seen = timeout(MEMBER_TIMEOUT, async {
        loop {
            let cluster: Cluster = api.get(&["cluster"], &[]).await?;
            if is_settled(&cluster) {
                return Ok(cluster);
            }
            sleep(POLL_INTERVAL).await;
        }
    });
    seen.await.unwrap_or_else(|_| {
        let seconds = MEMBER_TIMEOUT.as_secs();
        Err(CliError::new(
            ExitKind::Unavailable,
            format!("accepted, but the node is no member after {seconds} s"),
        )
        .hint("its log says why; `holdfast cluster status` shows when it is one"))
    })
}

/// The node votes, or must not, or the other voters are three or five: more would not vote.
fn is_settled(cluster: &Cluster) -> bool {
    let own = cluster
        .nodes
        .iter()
        .find(|node| Some(node.id) == cluster.this_node);
    let votes = own.is_some_and(|node| cluster.voters.contains(&node.id));
    let is_needless =
        matches!(cluster.voters.len(), 3 | 5) || own.is_some_and(|node| !node.may_vote);
    (votes || is_needless) && cluster.id.is_some() && cluster.leader.is_some()
}

fn describe(cluster: &Cluster, volumes: &[VolumeRetention]) -> String {
    let Some(id) = &cluster.id else {
        return "this node belongs to no cluster; found one with `holdfast cluster init` or join \
                one with `holdfast cluster join TOKEN`; a member makes the token with \
                `holdfast node invite NAME`"
            .to_owned();
    };
    let name = |id| {
        cluster
            .nodes
            .iter()
            .find(|node| node.id == id)
            .map(|node| node.name.clone())
    };
    let leader = cluster.leader.and_then(name);
    let alive = cluster.nodes.iter().filter(|node| node.alive).count();
    let head = format!(
        "cluster   {id}{}\nversion   {}\nthis node {}\nleader    {}\nterm      {}\n\
         nodes     {alive} of {} alive, {} voters\ncameras   {} of {} recording{}\nheadroom  {}\n",
        if cluster.generation > 1 {
            format!(", generation {}", cluster.generation)
        } else {
            String::new()
        },
        version(cluster),
        or_dash(cluster.this_node.and_then(name)),
        leader
            .as_deref()
            .unwrap_or("none: changes fail, recording continues"),
        cluster.term,
        cluster.nodes.len(),
        cluster.voters.len(),
        cluster.cameras_recording,
        cluster.cameras,
        if cluster.rebalancing {
            ", some are moving to spread evenly"
        } else {
            ""
        },
        cluster
            .failover_headroom
            .as_ref()
            .map_or("not known yet".to_owned(), |known| headroom(cluster, known)),
    );
    let retention = retention::summary(volumes);
    let warnings = [
        standing_warnings(cluster),
        super::nodes::clock_warnings(&cluster.nodes),
    ]
    .concat();
    format!(
        "{head}{retention}{warnings}\n{}",
        super::nodes::table(&cluster.nodes)
    )
}

/// Why this node takes no part, and which nodes it refuses.
fn standing_warnings(cluster: &Cluster) -> String {
    let own = cluster
        .no_part
        .iter()
        .map(|why| format!("WARNING   {}\n", printable(why)));
    let others = cluster.nodes.iter().filter_map(|node| {
        Some(format!(
            "WARNING   {}: {}\n",
            printable(&node.name),
            printable(node.refused.as_ref()?)
        ))
    });
    own.chain(others).collect()
}

/// The version in use, and whether all nodes understand a newer one.
fn version(cluster: &Cluster) -> String {
    let known_by_all = cluster
        .nodes
        .iter()
        .map(|node| node.version)
        .min()
        .unwrap_or(cluster.version);
    if known_by_all > cluster.version {
        return format!(
            "{}; every node runs {known_by_all}: `holdfast cluster finalize` ends the upgrade",
            cluster.version
        );
    }
    cluster.version.to_string()
}

fn headroom(cluster: &Cluster, headroom: &FailoverHeadroom) -> String {
    if cluster.nodes.len() == 1 {
        return "a single node: nothing takes over if it fails".to_owned();
    }
    let Some(worst) = &headroom.worst else {
        let domain = if headroom.survives_any_domain == Some(true) {
            " or failure domain"
        } else {
            ""
        };
        return format!(
            "survives any node{domain}, {} more cameras would fit",
            headroom.spare_cameras
        );
    };
    let lost = match worst.cameras_lost {
        1 => "1 camera".to_owned(),
        several => format!("{several} cameras"),
    };
    let of_id = |id: NodeId| {
        cluster
            .nodes
            .iter()
            .find(|node| node.id == id)
            .map(|node| node.name.clone())
    };
    match (worst.node, &worst.failure_domain) {
        (Some(id), _) => {
            let name = of_id(id).unwrap_or_else(|| id.to_string());
            format!(
                "NOT ENOUGH: {lost} would not be recorded if {} died",
                printable(&name)
            )
        }
        (None, Some(domain)) => {
            format!(
                "NOT ENOUGH: {lost} would not be recorded if failure domain {} failed",
                printable(domain)
            )
        }
        (None, None) => format!("NOT ENOUGH: {lost} not recorded for want of a node with room"),
    }
}
