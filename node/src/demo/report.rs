//! The demo's figures: what each camera sent, what the cluster serves of it, and what the killed
//! node's cameras lost. Pure.

use holdfast_camera::count::{Loss, count};
use holdfast_camera::{Sent, Stamp};
use serde::Serialize;
use std::fmt::Write;

/// One JSON object, the last line of standard output with `--report json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    /// Name of the killed node.
    pub(super) killed: Option<String>,
    /// Over the cameras that the killed node owned; `None` if there are none.
    pub(super) median_gap_ms: Option<u64>,
    pub(super) worst_gap_ms: Option<u64>,
    pub(super) cameras: Vec<CameraReport>,
}

/// Counted by the camera's own stamps, from the first recorded frame to the end of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CameraReport {
    pub(super) name: String,
    pub(super) frames_sent: u64,
    pub(super) frames_recorded: u64,
    pub(super) frames_lost: u64,
    /// The longest run of lost frames, from the capture of the last frame before it to that of the
    /// first after it; 0 if none was lost.
    pub(super) gap_ms: u64,
    pub(super) owner_before: Option<String>,
    pub(super) owner_after: Option<String>,
}

/// Compares what camera number `camera` sent over the run (ascending) with the stamps found in what
/// the cluster serves. If nothing was recorded, everything sent is lost.
#[must_use]
pub(super) fn camera_report(
    name: &str,
    camera: u32,
    sent: &[Sent],
    stamps: &[Stamp],
) -> CameraReport {
    let first = stamps
        .iter()
        .filter(|stamp| stamp.camera == camera)
        .map(|stamp| stamp.sequence)
        .min()
        .unwrap_or(0);
    let counted = &sent[sent.partition_point(|frame| frame.sequence < first)..];
    let loss: Loss = count(camera, counted, stamps);
    CameraReport {
        name: name.to_owned(),
        frames_sent: loss.sent,
        frames_recorded: loss.recorded,
        frames_lost: loss.lost,
        gap_ms: loss.worst_gap_ms(),
        owner_before: None,
        owner_after: None,
    }
}

impl Report {
    #[must_use]
    pub(super) fn new(killed: Option<String>, cameras: Vec<CameraReport>) -> Self {
        let moved = |camera: &&CameraReport| killed.is_some() && camera.owner_before == killed;
        let mut gaps: Vec<u64> = cameras
            .iter()
            .filter(moved)
            .map(|camera| camera.gap_ms)
            .collect();
        gaps.sort_unstable();
        Self {
            median_gap_ms: median(&gaps),
            worst_gap_ms: gaps.last().copied(),
            killed,
            cameras,
        }
    }

    /// Names of the cameras of which nothing was recorded.
    #[must_use]
    pub(super) fn unrecorded(&self) -> Vec<&str> {
        self.cameras
            .iter()
            .filter(|camera| camera.frames_recorded == 0)
            .map(|camera| camera.name.as_str())
            .collect()
    }

    /// The figures as text.
    #[must_use]
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "{:<10}{:>8}{:>10}{:>7}{:>9}  {:<8}{}\n",
            "camera", "sent", "recorded", "lost", "gap ms", "before", "after"
        );
        for camera in &self.cameras {
            let owner = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "-".to_owned());
            let CameraReport {
                name,
                frames_sent,
                frames_recorded,
                frames_lost,
                gap_ms,
                owner_before,
                owner_after,
            } = camera;
            let (before, after) = (owner(owner_before), owner(owner_after));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{name:<10}{frames_sent:>8}{frames_recorded:>10}{frames_lost:>7}{gap_ms:>9}  \
                 {before:<8}{after}"
            );
        }
        text.push_str(&self.verdict());
        text
    }

    fn verdict(&self) -> String {
        match (&self.killed, self.median_gap_ms, self.worst_gap_ms) {
            (Some(node), Some(median), Some(worst)) => {
                format!(
                    "killed {node}: its cameras were not recorded for {median} ms (median), \
                     {worst} ms (worst)\n"
                )
            }
            (Some(node), ..) => format!("killed {node}, which owned no camera\n"),
            (None, ..) => {
                let lost: u64 = self.cameras.iter().map(|camera| camera.frames_lost).sum();
                format!("no node was killed; {lost} frames lost\n")
            }
        }
    }
}

/// Of ascending values; the mean of the middle two if their number is even.
fn median(sorted: &[u64]) -> Option<u64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(u64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> Vec<Sent> {
        (0..count)
            .map(|sequence| Sent {
                sequence,
                captured_us: sequence * 40_000,
            })
            .collect()
    }

    fn stamps(sequences: impl IntoIterator<Item = u64>) -> Vec<Stamp> {
        sequences
            .into_iter()
            .map(|sequence| Stamp {
                camera: 3,
                sequence,
                captured_us: sequence * 40_000,
            })
            .collect()
    }

    #[test]
    fn counting_begins_with_the_first_recorded_frame() {
        let report = camera_report("c", 3, &sent(100), &stamps((20..50).chain(75..120)));
        assert_eq!(
            (
                report.frames_sent,
                report.frames_recorded,
                report.frames_lost,
                report.gap_ms
            ),
            (80, 55, 25, 26 * 40)
        );
    }

    #[test]
    fn a_whole_recording_has_no_gap_and_an_empty_one_lost_everything() {
        let whole = camera_report("c", 3, &sent(100), &stamps(0..100));
        assert_eq!((whole.frames_lost, whole.gap_ms), (0, 0));
        let empty = camera_report("c", 3, &sent(100), &[]);
        assert_eq!(
            (empty.frames_sent, empty.frames_recorded, empty.frames_lost),
            (100, 0, 100)
        );
    }

    #[test]
    fn another_cameras_frames_are_not_counted() {
        let report = camera_report("c", 4, &sent(10), &stamps(0..10));
        assert_eq!(report.frames_recorded, 0);
    }

    fn of(owner_before: &str, gap_ms: u64) -> CameraReport {
        let counted = camera_report("c", 3, &sent(10), &stamps(0..10));
        CameraReport {
            owner_before: Some(owner_before.to_owned()),
            gap_ms,
            ..counted
        }
    }

    #[test]
    fn only_the_killed_nodes_cameras_make_the_median() {
        let report = Report::new(
            Some("a".into()),
            vec![of("a", 100), of("b", 9000), of("a", 300), of("a", 1200)],
        );
        assert_eq!(
            (report.median_gap_ms, report.worst_gap_ms),
            (Some(300), Some(1200))
        );
        let even = Report::new(Some("a".into()), vec![of("a", 100), of("a", 300)]);
        assert_eq!(even.median_gap_ms, Some(200));
    }

    #[test]
    fn without_a_kill_the_figures_are_null() {
        let json = serde_json::to_value(Report::new(None, vec![of("a", 0)])).unwrap();
        assert!(
            json["killed"].is_null()
                && json["median_gap_ms"].is_null()
                && json["worst_gap_ms"].is_null()
        );
        let keys: Vec<&String> = json["cameras"][0].as_object().unwrap().keys().collect();
        let expected = [
            "frames_lost",
            "frames_recorded",
            "frames_sent",
            "gap_ms",
            "name",
            "owner_after",
            "owner_before",
        ];
        assert_eq!(keys, expected);
    }
}
