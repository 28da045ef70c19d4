//! The result of a run: `report.json`, and what is derived from it: an HTML page, JUnit XML, a text
//! summary, a table over many runs. Pure except for the writing.

mod html;
mod junit;
mod lanes;
pub mod resources;
pub mod table;

use crate::figures;
pub use crate::figures::{Failover, Figures, GapRow};
pub use lanes::Lanes;
pub use resources::{NodeUse, Use};

use crate::evidence::{Check, Evidence, FaultSpan, Verdict};
use crate::history::Event;
use crate::options::RunOptions;
use crate::{Error, Result, io_error};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Incremented when a field changes its meaning.
const VERSION: u32 = 1;

/// `report.json`. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: u32,
    pub scenario: String,
    pub about: String,
    pub place: String,
    pub seed: u64,
    /// The command line that repeats the run.
    pub repeat: String,
    pub machine: String,
    pub from_us: i64,
    pub to_us: i64,
    pub nodes: Vec<String>,
    pub cameras: u64,
    /// `holds` or `broken`.
    verdict: String,
    pub figures: Figures,
    pub checks: Vec<Check>,
    pub faults: Vec<FaultSpan>,
    pub gaps: Vec<GapRow>,
    /// Memory and open files of nodes that are processes of this machine.
    #[serde(default)]
    pub uses: Vec<NodeUse>,
    pub lanes: Lanes,
}

impl Report {
    #[must_use]
    pub fn new(options: &RunOptions, evidence: &Evidence, checks: Vec<Check>) -> Self {
        let is_broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
        Self {
            version: VERSION,
            scenario: options.scenario.name.clone(),
            about: options.scenario.about.clone(),
            place: format!("{:?}", options.place).to_lowercase(),
            seed: options.seed,
            repeat: options.repeat.clone(),
            machine: options.machine.clone(),
            from_us: evidence.from_us,
            to_us: evidence.to_us,
            nodes: evidence
                .nodes
                .iter()
                .map(|node| node.name.clone())
                .collect(),
            cameras: evidence.cameras.len() as u64,
            verdict: if is_broken { "broken" } else { "holds" }.to_owned(),
            figures: figures::of(evidence),
            checks,
            faults: evidence.faults.clone(),
            gaps: figures::gap_rows(evidence),
            uses: resources::of(&evidence.events, (evidence.from_us, evidence.to_us)),
            lanes: Lanes::of(evidence),
        }
    }

    #[must_use]
    pub fn verdict(&self) -> &str {
        &self.verdict
    }

    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict == "holds"
    }

    /// Reads `report.json` of a run's folder.
    ///
    /// # Errors
    /// If there is none, or it has another version.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("report.json");
        let text =
            fs::read_to_string(&path).map_err(io_error(format!("read {}", path.display())))?;
        let report: Self = serde_json::from_str(&text)
            .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
        if report.version != VERSION {
            let found = report.version;
            return Err(Error::Usage(format!(
                "{} is of version {found}, this program reads {VERSION}",
                path.display()
            )));
        }
        Ok(report)
    }

    /// Recomputes the figures that follow from the history alone.
    pub fn count_again(&mut self, events: &[Event]) {
        self.figures.whole_after_ms = crate::figures::recovery_time::after_ms(events);
    }

    /// Writes `report.json`, `junit.xml` and `report.html`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        let json =
            serde_json::to_string_pretty(self).map_err(|error| Error::Wrong(error.to_string()))?;
        for (name, text) in [
            ("report.json", json),
            ("junit.xml", junit::write(self)),
            ("report.html", html::write(self)),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(io_error(format!("write {}", path.display())))?;
        }
        Ok(())
    }

    /// `report.json` on one line.
    #[must_use]
    pub fn json_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        Timestamp(self.from_us)
    }

    /// Human-readable: each check, the figures, the command line that repeats the run.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.verdict {
                Verdict::Holds => "holds",
                Verdict::Broken => "BROKEN",
                Verdict::NotJudged => "not judged",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {mark:<11}{:<30}{}", check.name, check.text);
            for line in &check.around {
                let _ = writeln!(text, "             | {line}");
            }
        }
        let Figures {
            frames_sent,
            gap_worst_ms,
            gap_median_ms,
            cameras_interrupted,
            ..
        } = &self.figures;
        let lost = self.figures.frames_lost_standard + self.figures.frames_lost_gapless;
        let _ = writeln!(
            text,
            "{}: {} of {frames_sent} frames lost by {cameras_interrupted} of {} cameras",
            self.scenario, lost, self.cameras
        );
        if *cameras_interrupted > 0 {
            let _ = writeln!(
                text,
                "interruptions: {gap_median_ms} ms (median), {gap_worst_ms} ms (worst)"
            );
        }
        for (cause, lost) in &self.figures.lost_by_cause {
            let _ = writeln!(
                text,
                "  {:<20}{:>6} frames in {} runs",
                cause, lost.frames, lost.runs
            );
        }
        for NodeUse {
            node,
            resident_mib,
            descriptors,
        } in &self.uses
        {
            let _ = writeln!(
                text,
                "  {node:<20}{resident_mib} MiB resident, {descriptors} descriptors"
            );
        }
        let _ = writeln!(text, "repeat it: {}", self.repeat);
        let _ = writeln!(
            text,
            "{} {}",
            self.scenario,
            if self.holds() { "HOLDS" } else { "is BROKEN" }
        );
        text
    }
}

#[cfg(test)]
mod tests;
