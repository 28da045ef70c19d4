//! `holdfast cluster`: found one, join one, show how it stands.

use super::args::ClusterCommand;
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::table::or_dash;
use holdfast_control_api::wire::{Cluster, InitCluster, JoinCluster};
use reqwest::Method;

pub(super) async fn run(command: ClusterCommand, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        ClusterCommand::Init => {
            api.call(Method::POST, &["cluster", "init"], Some(&InitCluster {})).await?;
        }
        ClusterCommand::Join { peer } => {
            api.call(Method::POST, &["cluster", "join"], Some(&JoinCluster { peer })).await?;
        }
        ClusterCommand::Status => {}
    }
    let cluster: Cluster = api.get(&["cluster"], &[]).await?;
    out.print(&cluster, describe)
}

fn describe(cluster: &Cluster) -> String {
    let Some(id) = &cluster.id else {
        return "this node belongs to no cluster; found one with `holdfast cluster init` or join one with `holdfast cluster join`"
            .to_owned();
    };
    let name = |id| cluster.nodes.iter().find(|node| node.id == id).map(|node| node.name.clone());
    let leader = cluster.leader.and_then(name);
    let alive = cluster.nodes.iter().filter(|node| node.alive).count();
    let head = format!(
        "cluster   {id}\nthis node {}\nleader    {}\nterm      {}\nnodes     {alive} of {} alive, {} voters\ncameras   {} of {} recording\n",
        or_dash(cluster.this_node.and_then(name)),
        leader.as_deref().unwrap_or("none: changes fail, recording goes on"),
        cluster.term,
        cluster.nodes.len(),
        cluster.voters.len(),
        cluster.cameras_recording,
        cluster.cameras,
    );
    format!("{head}\n{}", super::nodes::table(&cluster.nodes))
}
