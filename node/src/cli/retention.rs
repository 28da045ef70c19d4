//! `holdfast retention`: announced deletions, why nothing is deleted, and the operator's orders
//! about both.

use super::args::{RetentionCommand, RetentionOf};
use super::resolve;
use super::table::{Table, printable};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::{
    AnnouncedDeletion, FutureFootage, NodeRef, RetentionTarget, Span, VolumeRetention,
};
use reqwest::Method;
use std::fmt::Write as _;

pub(super) async fn run(
    command: RetentionCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        RetentionCommand::Status => {
            let volumes: Vec<VolumeRetention> = api.get(&["retention"], &[]).await?;
            out.print(&volumes, |volumes| describe(volumes))
        }
        RetentionCommand::Release(of) => order(&api, "release", of, out).await,
        RetentionCommand::Cancel(of) => order(&api, "cancel", of, out).await,
        RetentionCommand::Future => future(&api, out).await,
        RetentionCommand::RemoveFuture { node } => {
            let of = RetentionOf {
                node,
                volume: None,
                class: None,
            };
            order(&api, "remove-future", of, out).await
        }
    }
}

async fn order(api: &Api, word: &str, of: RetentionOf, out: Output) -> Result<(), CliError> {
    let node = match &of.node {
        Some(node) => Some(NodeRef::Id(resolve::node(api, node).await?.id)),
        None => None,
    };
    let target = RetentionTarget {
        node,
        volume: of.volume,
        class: of.class,
    };
    api.call(Method::POST, &["retention", word], Some(&target))
        .await?;
    let volumes: Vec<VolumeRetention> = api.get(&["retention"], &[]).await?;
    out.print(&volumes, |volumes| {
        format!(
            "taken; it counts within seconds. As it was when it was taken:\n{}",
            describe(volumes)
        )
    })
}

/// For every camera that exists, the footage that was recorded by a clock that was ahead.
async fn future(api: &Api, out: Output) -> Result<(), CliError> {
    let found: Vec<FutureFootage> = api.get(&["retention", "future"], &[]).await?;
    out.print(&found, |found| future_table(found))
}

fn future_table(found: &[FutureFootage]) -> String {
    if found.is_empty() {
        return "no footage has times that have yet to come".to_owned();
    }
    let mut table = Table::new(&["CAMERA", "START", "END", "NODE", "EPOCH"]);
    for FutureFootage { camera, span } in found {
        let Span {
            start,
            end,
            node,
            epoch,
            ..
        } = span;
        table.row(vec![
            camera.to_string(),
            start.to_string(),
            end.to_string(),
            node.to_string(),
            epoch.to_string(),
        ]);
    }
    table.to_string()
}

fn describe(volumes: &[VolumeRetention]) -> String {
    let mut table = Table::new(&["NODE", "VOLUME", "CLASS", "WOULD DELETE", "OF", "STATE"]);
    for volume in volumes {
        for announced in &volume.announced {
            table.row(vec![
                volume.node.to_string(),
                volume.volume.to_string(),
                announced
                    .class
                    .clone()
                    .unwrap_or_else(|| "(free space)".to_owned()),
                gib(announced.bytes),
                gib(announced.stored_bytes),
                state(announced),
            ]);
        }
    }
    let has_rows = volumes.iter().any(|volume| !volume.announced.is_empty());
    let mut text = if has_rows {
        table.to_string()
    } else {
        "no deletion is announced\n".to_owned()
    };
    lines(volumes)
        .iter()
        .for_each(|line| _ = writeln!(text, "{}", printable(line)));
    text
}

/// Other unusual conditions, a line each.
fn lines(volumes: &[VolumeRetention]) -> Vec<String> {
    let of = |volume: &VolumeRetention| format!("node {}, volume {}", volume.node, volume.volume);
    let paused = volumes.iter().filter_map(|volume| {
        let pause = volume.paused.as_ref()?;
        Some(format!(
            "{}: nothing is deleted for its age: {}",
            of(volume),
            pause.detail
        ))
    });
    let clamped = volumes.iter().filter_map(|volume| {
        let bytes = volume.clamped_free_bytes_min?;
        Some(format!(
            "{}: free_bytes_min is above half of the volume; {} stay free instead",
            of(volume),
            gib(bytes)
        ))
    });
    paused.chain(clamped).collect()
}

/// For `cluster status`: one line if something waits for the operator, else nothing.
pub(super) fn summary(volumes: &[VolumeRetention]) -> String {
    let waiting: Vec<_> = volumes
        .iter()
        .flat_map(|volume| &volume.announced)
        .filter(|one| one.state != "cancelled")
        .collect();
    let is_notable = |reason: &str| !matches!(reason, "settling" | "peers_awaited");
    let paused = volumes.iter().filter(|volume| {
        volume
            .paused
            .as_ref()
            .is_some_and(|pause| is_notable(&pause.reason))
    });
    let mut parts = Vec::new();
    if let Some(soonest) = waiting
        .iter()
        .filter_map(|announced| announced.begins_in_s)
        .min()
    {
        let bytes = gib(waiting.iter().map(|announced| announced.bytes).sum());
        let when = if soonest == 0 {
            "are being deleted".to_owned()
        } else {
            format!("will be deleted, from {} on", hours(soonest))
        };
        parts.push(format!("{bytes} {when}"));
    }
    match paused.count() {
        0 => {}
        count => parts.push(format!(
            "by age paused on {count} volumes: a clock is in doubt"
        )),
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!(
            "retention {}; see `holdfast retention status`\n",
            parts.join("; ")
        )
    }
}

fn state(announced: &AnnouncedDeletion) -> String {
    match announced.begins_in_s {
        Some(seconds) if seconds > 0 => {
            format!("{}, begins in {}", announced.state, hours(seconds))
        }
        _ => announced.state.clone(),
    }
}

fn hours(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    if hours > 0 {
        format!("{hours} h {minutes} min")
    } else {
        format!("{} min", minutes.max(1))
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::wire::RetentionPause;
    use holdfast_storage::ids::NodeId;

    fn volume(announced: &[(&str, Option<u64>)], paused: Option<&str>) -> VolumeRetention {
        let announced = announced
            .iter()
            .map(|(state, begins_in_s)| AnnouncedDeletion {
                class: Some("default".to_owned()),
                bytes: 3 << 30,
                stored_bytes: 4 << 30,
                state: (*state).to_owned(),
                begins_in_s: *begins_in_s,
            });
        let pause = |reason: &str| RetentionPause {
            reason: reason.to_owned(),
            detail: "correct it".to_owned(),
        };
        VolumeRetention {
            node: NodeId(2),
            volume: 0,
            path: "/d".to_owned(),
            time_is_certain: paused.is_none(),
            paused: paused.map(pause),
            announced: announced.collect(),
            clamped_free_bytes_min: None,
        }
    }

    #[test]
    fn what_waits_is_shown_with_what_it_would_delete_and_when() {
        let text = describe(&[volume(&[("waiting", Some(86_340))], Some("ahead"))]);
        assert!(
            text.contains("default  3.0 GiB       4.0 GiB  waiting, begins in 23 h 59 min"),
            "{text}"
        );
        assert!(
            text.contains("node 2, volume 0: nothing is deleted for its age: correct it"),
            "{text}"
        );
        assert_eq!(describe(&[volume(&[], None)]), "no deletion is announced\n");
    }

    #[test]
    fn the_status_of_a_cluster_has_a_line_only_where_an_operator_may_have_to_act() {
        assert_eq!(
            summary(&[
                volume(&[], None),
                volume(&[], Some("settling")),
                volume(&[("cancelled", None)], None)
            ]),
            ""
        );
        let text = summary(&[volume(&[("waiting", Some(120))], Some("behind"))]);
        assert!(
            text.starts_with(
                "retention 3.0 GiB will be deleted, from 2 min on; by age paused on 1 volumes"
            ),
            "{text}"
        );
    }
}
