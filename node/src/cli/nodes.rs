//! `holdfast nodes`: shows the members, takes them out of service and back.

use super::args::NodesCommand;
use super::resolve;
use super::table::Table;
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_consensus::model::{Duty, Role};
use holdfast_consensus::observe::clocks::OFFSET_MAX;
use holdfast_control_api::wire::{Node, Volume};
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
