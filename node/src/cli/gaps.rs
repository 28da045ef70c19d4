//! `holdfast gaps`: every interval that was not recorded, of all cameras or some.

use super::args::GapsArgs;
use super::resolve;
use super::table::{Table, or_dash};
use super::timeline::{range, seconds};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::resources::gaps::ledger::sums;
use holdfast_control_api::wire::{Camera, GapLedger, Node};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;

pub(super) async fn run(args: GapsArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let api = Api::new(&options)?;
    let mut query = vec![("from", from.to_string()), ("to", to.to_string())];
    if let Some(camera) = &args.camera {
        query.push(("camera", resolve::footage(&api, camera).await?.to_string()));
    }
    if let Some(node) = &args.node {
        query.push(("node", resolve::node(&api, node).await?.id.to_string()));
    }
    query.extend(args.cause.map(|wanted| ("cause", wanted.name().to_owned())));
    let ledger = all_pages(&api, &query).await?;
    let names = Names::read(&api).await?;
    out.print(&ledger, |ledger| describe(ledger, &names))
}

/// All pages as one; they end, because each begins after the last camera of the one before.
async fn all_pages(api: &Api, query: &[(&str, String)]) -> Result<GapLedger, CliError> {
    let mut ledger: GapLedger = api.get(&["gaps"], &pairs(query)).await?;
    while let Some(after) = ledger.next_after {
        let next: Vec<_> = query
            .iter()
            .cloned()
            .chain([("after", after.to_string())])
            .collect();
        let page: GapLedger = api.get(&["gaps"], &pairs(&next)).await?;
        ledger.gaps.extend(page.gaps);
        ledger.nodes_left_out.extend(page.nodes_left_out);
        ledger.next_after = page.next_after.filter(|next| *next > after);
    }
    ledger.nodes_left_out.sort_unstable();
    ledger.nodes_left_out.dedup();
    ledger.sums = sums(&ledger.gaps);
    Ok(ledger)
}

fn pairs<'a>(query: &'a [(&str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(key, value)| (*key, &**value)).collect()
}

/// The names for the numbers.
struct Names {
    cameras: BTreeMap<CameraId, String>,
    nodes: BTreeMap<NodeId, String>,
}

impl Names {
    async fn read(api: &Api) -> Result<Self, CliError> {
        let cameras: Vec<Camera> = api.get(&["cameras"], &[]).await?;
        let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
        Ok(Self {
            cameras: cameras
                .into_iter()
                .map(|camera| (camera.id, camera.name))
                .collect(),
            nodes: nodes.into_iter().map(|node| (node.id, node.name)).collect(),
        })
    }

    fn camera(&self, id: CameraId) -> String {
        self.cameras
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    fn node(&self, id: NodeId) -> String {
        self.nodes
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }
}

fn describe(ledger: &GapLedger, names: &Names) -> String {
    let mut text = String::new();
    if ledger.gaps.is_empty() {
        text += &format!("no gap between {} and {}\n", ledger.from, ledger.to);
    } else {
        text += &format!("{}\n{}", gaps_table(ledger, names), sums_table(ledger));
    }
    if !ledger.nodes_left_out.is_empty() {
        let silent: Vec<String> = ledger
            .nodes_left_out
            .iter()
            .map(|node| names.node(*node))
            .collect();
        text += &format!(
            "\nwithout {}, which did not answer: of what was recorded there alone, only what \
             others know is shown\n",
            silent.join(", ")
        );
    }
    text
}

fn gaps_table(ledger: &GapLedger, names: &Names) -> Table {
    let mut table = Table::new(&[
        "CAMERA", "START", "END", "SECONDS", "CAUSE", "NODE", "FRAMES",
    ]);
    for gap in &ledger.gaps {
        table.row(vec![
            names.camera(gap.camera),
            gap.start.to_string(),
            gap.end.to_string(),
            seconds(gap.duration_us),
            gap.cause.name().to_owned(),
            or_dash(gap.node.map(|node| names.node(node))),
            or_dash(gap.frames_missing),
        ]);
    }
    table
}

fn sums_table(ledger: &GapLedger) -> Table {
    let mut table = Table::new(&["CAUSE", "GAPS", "SECONDS"]);
    for sum in &ledger.sums {
        table.row(vec![
            sum.cause.name().to_owned(),
            sum.gaps.to_string(),
            seconds(sum.duration_us),
        ]);
    }
    let (gaps, micros) = ledger.sums.iter().fold((0, 0_i64), |all, sum| {
        (all.0 + sum.gaps, all.1.saturating_add(sum.duration_us))
    });
    table.row(vec!["all".to_owned(), gaps.to_string(), seconds(micros)]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::wire::CameraGap;
    use holdfast_storage::chunk::GapCause;
    use holdfast_storage::time::Timestamp;

    fn gap(camera: u32, start: i64, end: i64, cause: GapCause) -> CameraGap {
        let (camera, node) = (CameraId(camera), Some(NodeId(2)));
        let (start, end, duration_us) = (Timestamp(start), Timestamp(end), end - start);
        CameraGap {
            camera,
            start,
            end,
            duration_us,
            cause,
            node,
            frames_missing: None,
        }
    }

    #[test]
    fn gaps_are_named_and_summed() {
        let gaps = vec![
            CameraGap {
                frames_missing: Some(38),
                ..gap(1, 0, 1_500_000, GapCause::NodeDown)
            },
            gap(9, 0, 250_000, GapCause::NodeDown),
            gap(1, 5, 1_000_005, GapCause::Overload),
        ];
        let sums = sums(&gaps);
        let (from, to) = (Timestamp(0), Timestamp(9_000_000));
        let ledger = GapLedger {
            from,
            to,
            gaps,
            sums,
            nodes_left_out: vec![NodeId(2)],
            next_after: None,
        };
        let names = Names {
            cameras: [(CameraId(1), "gate".to_owned())].into(),
            nodes: [(NodeId(2), "south".to_owned())].into(),
        };
        let text = describe(&ledger, &names);
        let line = |start: &str| {
            text.lines()
                .find(|line| line.starts_with(start))
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(line("gate")[3..], ["1.500", "node_down", "south", "38"]);
        assert_eq!(line("9")[3..], ["0.250", "node_down", "south", "-"]);
        assert_eq!(
            (line("node_down"), line("overload"), line("all")),
            (
                vec!["node_down", "2", "1.750"],
                vec!["overload", "1", "1.000"],
                vec!["all", "3", "2.750"]
            )
        );
        assert!(text.contains("without south"));
    }
}
