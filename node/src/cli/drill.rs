//! `holdfast drill`: tries failover out on cameras that are well.

use super::args::{DrillCommand, DrillWait};
use super::resolve;
use super::table::{Table, or_dash};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_consensus::model::Outcome;
use holdfast_control_api::wire::{CameraDrill, Drill, DrillPhase, NewDrill, Node, NodeRef};
use reqwest::Method;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often to check the progress of a drill.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

type Names = BTreeMap<u64, String>;

pub(super) async fn run(
    command: DrillCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        DrillCommand::Camera { camera, wait } => {
            let camera = Some(resolve::camera(&api, &camera).await?.id);
            begin(&api, NewDrill { camera, node: None }, &wait, out).await
        }
        DrillCommand::Node { node, wait } => {
            let node = Some(NodeRef::Id(resolve::node(&api, &node).await?.id));
            begin(&api, NewDrill { camera: None, node }, &wait, out).await
        }
        DrillCommand::List { camera } => list(&api, camera.as_deref(), out).await,
    }
}

async fn list(api: &Api, camera: Option<&str>, out: Output) -> Result<(), CliError> {
    let camera = match camera {
        Some(text) => Some(resolve::camera(api, text).await?.id.to_string()),
        None => None,
    };
    let query: Vec<(&str, &str)> = camera
        .iter()
        .map(|camera| ("camera", camera.as_str()))
        .collect();
    let drills: Vec<Drill> = api.get(&["drills"], &query).await?;
    let names = node_names(api).await?;
    out.print(&drills, |drills| {
        let mut table = Table::new(&HEADER);
        drills
            .iter()
            .for_each(|drill| rows(&mut table, drill, &names));
        table.to_string()
    })
}

async fn begin(api: &Api, new: NewDrill, wait: &DrillWait, out: Output) -> Result<(), CliError> {
    let answer = api.call(Method::POST, &["drills"], Some(&new)).await?;
    let begun: Drill = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "the drill was begun, but the answer cannot be read: {error}"
        ))
    })?;
    let names = node_names(api).await?;
    if !wait.wait {
        return out.print(&begun, |drill| describe(drill, &names));
    }
    let last = RefCell::new(begun.clone());
    let within = Duration::from_secs(wait.timeout);
    let ended = timeout(
        within,
        wait_ended(api, begun, |now| drop(last.replace(now.clone()))),
    )
    .await;
    let drill = ended.unwrap_or_else(|_| Ok(last.into_inner()))?;
    out.print(&drill, |drill| describe(drill, &names))?;
    verdict(&drill, within)
}

/// Polls until every camera's drill has ended. If no answer comes for a moment, it asks again.
async fn wait_ended(
    api: &Api,
    begun: Drill,
    mut seen: impl FnMut(&Drill),
) -> Result<Drill, CliError> {
    let mut now = begun;
    let mut shown = String::new();
    while now.running {
        let line = progress(&now);
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
        sleep(LOOK_INTERVAL).await;
        match api
            .get::<Drill>(&["drills", &now.id.to_string()], &[])
            .await
        {
            Ok(drill) => now = drill,
            Err(error) if error.kind == ExitKind::Unavailable => {}
            Err(error) => return Err(error),
        }
        seen(&now);
    }
    Ok(now)
}

fn progress(drill: &Drill) -> String {
    let count = |phase| {
        drill
            .cameras
            .iter()
            .filter(|report| report.phase == phase)
            .count()
    };
    let phases = [
        (DrillPhase::TakingOver, "taking over"),
        (DrillPhase::TakenOver, "taken over"),
        (DrillPhase::HandingBack, "handing back"),
        (DrillPhase::Ended, "ended"),
    ];
    let counts = phases
        .map(|(phase, name)| (count(phase), name))
        .into_iter()
        .filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!("drill {}: {}", drill.id, counts.join(", "))
}

fn verdict(drill: &Drill, within: Duration) -> Result<(), CliError> {
    if drill.running {
        let why = format!(
            "drill {} has not ended after {} s; it continues",
            drill.id,
            within.as_secs()
        );
        return Err(CliError::failed(why).hint("`holdfast drill list` shows how far it is"));
    }
    let missed = drill.failed + drill.aborted;
    if missed == 0 {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "drill {}: {} failed, {} aborted",
        drill.id, drill.failed, drill.aborted
    )))
}

const HEADER: [&str; 9] = [
    "DRILL",
    "BEGAN",
    "CAMERA",
    "OWNER",
    "SUCCESSOR",
    "OUTCOME",
    "GAP",
    "HANDED BACK",
    "REASON",
];

fn describe(drill: &Drill, names: &Names) -> String {
    let mut table = Table::new(&HEADER);
    rows(&mut table, drill, names);
    if drill.cameras.len() < 2 {
        return table.to_string();
    }
    let gap = |gap_us: Option<u64>| or_dash(gap_us.map(seconds));
    format!(
        "{table}{} passed, {} failed, {} aborted; gap: median {}, worst {}\n",
        drill.passed,
        drill.failed,
        drill.aborted,
        gap(drill.median_gap_us),
        gap(drill.worst_gap_us)
    )
}

fn rows(table: &mut Table, drill: &Drill, names: &Names) {
    let named = |node: Option<holdfast_storage::ids::NodeId>| {
        or_dash(node.map(|node| {
            names
                .get(&node.0)
                .cloned()
                .unwrap_or_else(|| node.to_string())
        }))
    };
    for report in &drill.cameras {
        table.row(vec![
            drill.id.to_string(),
            report.began_at.to_string(),
            report.camera.to_string(),
            named(report.owner),
            named(report.successor),
            outcome(report).to_owned(),
            or_dash(report.gap_us.map(seconds)),
            if report.handed_back { "yes" } else { "no" }.to_owned(),
            report.reason.clone().unwrap_or_default(),
        ]);
    }
}

fn outcome(report: &CameraDrill) -> &'static str {
    match (report.outcome, report.phase) {
        (Some(Outcome::Passed), _) => "passed",
        (Some(Outcome::Failed), _) => "FAILED",
        (Some(Outcome::Aborted), _) => "aborted",
        (None, DrillPhase::TakingOver) => "taking over",
        (None, DrillPhase::TakenOver) => "taken over",
        (None, DrillPhase::HandingBack | DrillPhase::Ended) => "handing back",
    }
}

fn seconds(micros: u64) -> String {
    format!("{:.2} s", micros as f64 / 1e6)
}

async fn node_names(api: &Api) -> Result<Names, CliError> {
    let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
    Ok(nodes
        .into_iter()
        .map(|node| (node.id.0, node.name))
        .collect())
}
