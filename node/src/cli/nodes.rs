//! `holdfast nodes`: shows the members, takes them out of service and back.

use super::args::{InviteArgs, NodesCommand};
use super::resolve;
use super::table::{Table, or_dash};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_consensus::model::{Duty, Role};
use holdfast_consensus::observe::clocks::OFFSET_MAX;
use holdfast_control_api::wire::{Invite, MadeInvite, NewInvite, Node, Volume};
use reqwest::Method;

pub(super) async fn run(
    command: NodesCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        NodesCommand::List => {}
        NodesCommand::Drain { node } => set_drain(&api, &node, Method::POST).await?,
        NodesCommand::Remove { node, force } => remove(&api, &node, force).await?,
        NodesCommand::Undrain { node } => set_drain(&api, &node, Method::DELETE).await?,
        NodesCommand::Volumes { node } => return volumes(&api, &node, out).await,
        NodesCommand::Invite(args) => return invite(&api, args, out).await,
        NodesCommand::Invites => return invites(&api, out).await,
        NodesCommand::Revoke { invite } => {
            return api.delete(&["invites", &invite.to_string()], &[]).await;
        }
    }
    let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
    out.print(&nodes, |nodes| table(nodes))
}

async fn set_drain(api: &Api, text: &str, method: Method) -> Result<(), CliError> {
    let node = resolve::node(api, text).await?;
    api.call(
        method,
        &["nodes", &node.id.to_string(), "drain"],
        None::<&()>,
    )
    .await
    .map(drop)
}

async fn invite(api: &Api, args: InviteArgs, out: Output) -> Result<(), CliError> {
    let InviteArgs {
        name,
        voter,
        witness,
        valid_minutes,
    } = args;
    let invite = NewInvite {
        name,
        role: if witness {
            Role::Witness
        } else {
            Role::Recorder
        },
        may_vote: voter || witness,
        valid_s: Some(valid_minutes.saturating_mul(60)),
    };
    let made: MadeInvite = api.post(&["invites"], &invite).await?;
    out.print(&made, |made| {
        format!(
            "run this on {}, within {valid_minutes} min:\n\n  holdfast cluster join {}\n\nanyone \
             with this token can join; `holdfast node revoke {}` makes it useless",
            made.invite.name, made.token.0, made.invite.id
        )
    })
}

async fn invites(api: &Api, out: Output) -> Result<(), CliError> {
    let (invites, nodes): (Vec<Invite>, Vec<Node>) =
        tokio::try_join!(api.get(&["invites"], &[]), api.get(&["nodes"], &[]))?;
    out.print(&invites, |invites| {
        let mut table = Table::new(&["ID", "NAME", "ROLE", "MAY VOTE", "EXPIRES", "USED BY"]);
        for invite in invites {
            let used_by = invite.used_by.map(|id| {
                let node = nodes.iter().find(|node| node.id == id);
                node.map_or_else(|| id.to_string(), |node| node.name.clone())
            });
            table.row(vec![
                invite.id.to_string(),
                invite.name.clone(),
                match invite.role {
                    Role::Recorder => "recorder",
                    Role::Witness => "witness",
                }
                .to_owned(),
                if invite.may_vote { "yes" } else { "no" }.to_owned(),
                invite.expires.to_string(),
                or_dash(used_by),
            ]);
        }
        table.to_string()
    })
}

async fn remove(api: &Api, text: &str, force: bool) -> Result<(), CliError> {
    let node = resolve::node(api, text).await?;
    let force = if force { "true" } else { "false" };
    api.delete(&["nodes", &node.id.to_string()], &[("force", force)])
        .await
}

async fn volumes(api: &Api, text: &str, out: Output) -> Result<(), CliError> {
    let node = resolve::node(api, text).await?;
    let volumes: Vec<Volume> = api
        .get(&["nodes", &node.id.to_string(), "volumes"], &[])
        .await?;
    out.print(&volumes, |volumes| volumes_table(volumes))
}

fn volumes_table(volumes: &[Volume]) -> String {
    let mut table = Table::new(&["VOLUME", "STATE", "CAMERAS", "LAG", "FREE", "PATH", "ERROR"]);
    for volume in volumes {
        table.row(vec![
            volume.index.to_string(),
            volume.state.clone(),
            volume.cameras.to_string(),
            format!("{:.1} s", volume.lag_seconds),
            format!("{} of {}", gib(volume.free_bytes), gib(volume.size_bytes)),
            volume.path.clone(),
            volume.error.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// What is wrong with the members' clocks, a line each; empty if nothing is.
pub(super) fn clock_warnings(nodes: &[Node]) -> String {
    let limit_ms = OFFSET_MAX.as_millis();
    let off = nodes
        .iter()
        .filter_map(|node| Some((node, node.clock_offset_ms?)));
    off.filter(|(_, ms)| u128::from(ms.unsigned_abs()) > limit_ms)
        .map(|(node, ms)| {
            let way = if ms > 0 { "ahead of" } else { "behind" };
            format!(
                "WARNING: the clock of {} is {} ms {way} this node's: recordings do not fit \
                 together; see that NTP runs on both\n",
                node.name,
                ms.unsigned_abs()
            )
        })
        .collect()
}

pub(super) fn table(nodes: &[Node]) -> String {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "ALIVE",
        "DUTY",
        "ROLE",
        "CAMERAS",
        "CLOCK",
        "FAILURE DOMAIN",
        "API",
    ]);
    for node in nodes {
        table.row(vec![
            node.id.to_string(),
            node.name.clone(),
            if node.alive { "yes" } else { "NO" }.to_owned(),
            duty(node.duty).to_owned(),
            role(node).to_owned(),
            format!("{} of {}", node.cameras, node.camera_capacity),
            node.clock_offset_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:+} ms")),
            node.failure_domain.clone(),
            node.api_addr.clone(),
        ]);
    }
    table.to_string()
}

fn duty(duty: Duty) -> &'static str {
    match duty {
        Duty::Active => "active",
        Duty::Draining => "draining",
        Duty::Stopping => "stopping",
    }
}

fn role(node: &Node) -> &'static str {
    match (node.role, node.voter) {
        (Role::Recorder, true) => "recorder, votes",
        (Role::Recorder, false) => "recorder",
        (Role::Witness, true) => "witness, votes",
        (Role::Witness, false) => "witness",
    }
}
