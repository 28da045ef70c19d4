//! `holdfast cluster drain` and `undrain`: takes a node out of duty or back, and shows how many
//! cameras have yet to move.

use super::args::DrainArgs;
use super::resolve;
use crate::client::Api;
use crate::terminal::clock::monotonic_now;
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_consensus::model::Duty;
use holdfast_control_api::wire::Node;
use reqwest::Method;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often to check how many cameras are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Cameras that no node records are given to others within this time, if others can take them.
const REASSIGNED_WITHIN: Duration = Duration::from_secs(2);

/// The progress of a drain.
#[derive(Clone, Debug, Serialize)]
struct Drain {
    node: Node,
    /// Cameras that it records: the others have nothing to lose.
    cameras_left: usize,
    /// Cameras that it owns and does not record, and that no other node can take.
    cameras_not_recorded: usize,
    drained: bool,
}

impl Drain {
    fn of(node: Node) -> Self {
        let cameras_left = node.cameras_recorded.min(node.cameras);
        let cameras_not_recorded = node.cameras - cameras_left;
        Self {
            drained: cameras_left == 0 && node.duty != Duty::Active,
            cameras_left,
            cameras_not_recorded,
            node,
        }
    }
}

pub(super) async fn drain(api: &Api, args: &DrainArgs, out: Output) -> Result<(), CliError> {
    let node = set(api, &args.node, Method::POST).await?;
    let begun = Drain::of(node);
    if !args.wait {
        return out.print(&begun, describe);
    }
    let last = std::cell::RefCell::new(begun.clone());
    let within = Duration::from_secs(args.timeout);
    match timeout(
        within,
        wait_drained(api, begun, |now| drop(last.replace(now.clone()))),
    )
    .await
    {
        Ok(drained) => out.print(&drained?, describe),
        Err(_) => {
            let last = last.into_inner();
            out.print(&last, describe)?;
            Err(left(&last, within))
        }
    }
}

pub(super) async fn undrain(api: &Api, text: &str, out: Output) -> Result<(), CliError> {
    let node = set(api, text, Method::DELETE).await?;
    out.print(&node, |node| match node.duty {
        Duty::Stopping => {
            format!(
                "{} is stopping: it takes cameras again when it has started the next time",
                node.name
            )
        }
        _ => format!(
            "{} takes cameras again; those that it had stay where they are",
            node.name
        ),
    })
}

async fn set(api: &Api, text: &str, method: Method) -> Result<Node, CliError> {
    let node = resolve::node(api, text).await?;
    let answer = api
        .call(
            method,
            &["nodes", &node.id.to_string(), "drain"],
            None::<&()>,
        )
        .await?;
    serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "it was done, but the answer cannot be read: {error}"
        ))
    })
}

/// Polls until the node records nothing. If no answer comes for a moment (because the node that was
/// asked is being restarted, say), it asks again.
async fn wait_drained(
    api: &Api,
    begun: Drain,
    mut seen: impl FnMut(&Drain),
) -> Result<Drain, CliError> {
    let mut now = begun;
    let mut shown = None;
    let began = monotonic_now();
    while !now.drained || (now.cameras_not_recorded > 0 && began.elapsed() < REASSIGNED_WITHIN) {
        if shown.replace(now.cameras_left) != Some(now.cameras_left) {
            eprintln!("{}: {} cameras left", now.node.name, now.cameras_left);
        }
        sleep(LOOK_INTERVAL).await;
        match resolve::node(api, &now.node.id.to_string()).await {
            Ok(node) if node.duty == Duty::Active => {
                return Err(CliError::failed(format!(
                    "{} was undrained by someone else",
                    node.name
                )));
            }
            Ok(node) => now = Drain::of(node),
            Err(error) if error.kind == ExitKind::Unavailable => {}
            Err(error) => return Err(error),
        }
        seen(&now);
    }
    Ok(now)
}

fn left(last: &Drain, within: Duration) -> CliError {
    let (name, count) = (&last.node.name, last.cameras_left);
    CliError::failed(format!(
        "{name} still records {count} cameras after {} s; the drain continues",
        within.as_secs()
    ))
    .hint(
        "the others must be alive, have room (camera_capacity) and reach the cameras; `holdfast \
         camera list` shows which are left",
    )
}

fn describe(drain: &Drain) -> String {
    let name = &drain.node.name;
    match (drain.drained, drain.cameras_not_recorded) {
        (true, 0) => return format!("{name} is drained: it owns no camera and is given none"),
        (true, others) => {
            return format!(
                "{name} is drained: it records no camera and is given none; {others} that it owns \
                 are recorded nowhere, and no other node can take them"
            );
        }
        (false, _) => {}
    }
    format!("{name} is draining: {} cameras left", drain.cameras_left)
}
