//! A recorder's output before its power was cut, line by line. Pure.

use super::footage::Session;
use std::collections::BTreeMap;

/// The last two seconds before a cut show how busy the machine was.
const RECENT_US: i64 = 2_000_000;

#[derive(Debug, Default)]
pub(crate) struct Testimony {
    pub(crate) session: Option<Session>,
    /// How far each camera was reported durable, in microseconds.
    pub(crate) durable: BTreeMap<u32, i64>,
    /// When the recorder processed frames, and how long the last flush before had taken, both in
    /// microseconds.
    ticks: Vec<(i64, i64)>,
    /// Rejected records, by time and reason.
    refused: Vec<(i64, String)>,
}

impl Testimony {
    /// A line that the cut tore is ignored.
    pub(crate) fn hear(&mut self, line: &str) {
        let Some((word, rest)) = line.split_once(' ') else {
            return;
        };
        match word {
            "began" => {
                self.session = pair(rest).map(|(began_us, epoch)| Session {
                    began_us,
                    epoch: epoch as u64,
                })
            }
            "tick" => self.ticks.extend(pair(rest)),
            "durable" => rest.split(' ').for_each(|mark| self.hear_mark(mark)),
            "refused" => self.refused.extend(
                rest.split_once(' ')
                    .and_then(|(at, why)| Some((at.parse().ok()?, why.to_owned()))),
            ),
            _ => {}
        }
    }

    fn hear_mark(&mut self, mark: &str) {
        let Some((camera, end)) = mark.split_once(':') else {
            return;
        };
        if let (Ok(camera), Ok(end)) = (camera.parse(), end.parse()) {
            let before = self.durable.insert(camera, end);
            assert!(
                before.is_none_or(|before| before <= end),
                "the watermark of camera {camera} went back"
            );
        }
    }

    /// The end of the frames that were received before the cut.
    pub(crate) fn received_us(&self, cut_us: i64) -> i64 {
        self.ticks
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| *at <= cut_us)
            .max()
            .unwrap_or(0)
    }

    /// The rejections before any cut.
    pub(crate) fn refused_before(&self, cut_us: i64) -> Option<&str> {
        self.refused
            .iter()
            .find(|(at, _)| *at < cut_us)
            .map(|(_, why)| why.as_str())
    }

    /// How much later than planned this machine worked in the last seconds before the cut: its
    /// longest pause between ticks, and its slowest flush.
    pub(crate) fn late_us(&self, cut_us: i64, tick_us: i64) -> i64 {
        let recent: Vec<_> = self
            .ticks
            .iter()
            .filter(|(at, _)| (cut_us - RECENT_US..=cut_us).contains(at))
            .collect();
        let pause = recent
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0 - tick_us)
            .max()
            .unwrap_or(0);
        let last = cut_us - self.received_us(cut_us) - tick_us;
        let flush = recent
            .iter()
            .map(|(_, flush_us)| *flush_us)
            .max()
            .unwrap_or(0);
        pause.max(last).max(0) + flush
    }
}

fn pair(text: &str) -> Option<(i64, i64)> {
    let (a, b) = text.split_once(' ')?;
    Some((a.parse().ok()?, b.parse().ok()?))
}

#[test]
fn a_testimony_is_what_was_said_in_whole_lines() {
    let mut said = Testimony::default();
    for line in [
        "running 1 test",
        "began 100 7",
        "tick 150 0",
        "durable 1:400 2:300",
        "tick 250 30",
        "durable 1:800",
        "tick 9",
    ] {
        said.hear(line);
    }
    assert_eq!(
        said.session,
        Some(Session {
            began_us: 100,
            epoch: 7
        })
    );
    assert_eq!(said.durable, BTreeMap::from([(1, 800), (2, 300)]));
    assert_eq!((said.received_us(249), said.received_us(1000)), (150, 250));
    assert_eq!(said.late_us(260, 50), 50 + 30);
    said.hear("refused 250 full");
    assert_eq!(
        (said.refused_before(250), said.refused_before(251)),
        (None, Some("full"))
    );
}
