//! A scenario: the cluster and its cameras, the faults, and the thresholds. Read from TOML; unknown
//! content is rejected, with file and line.

mod error;
mod expect;
mod fault;
mod odd;
mod random;
mod shipped;
mod target;

pub use error::ScenarioError;
pub use expect::Expect;
pub use fault::{Action, ActionName, Fault, Reach};
pub use random::RandomFaults;
pub use shipped::{SHIPPED, shipped};
pub use target::Target;

use error::Mistake;
use holdfast_camera::{Codec, Oddity, Sound};
use serde::{Deserialize, Serialize};
use std::path::Path;
use toml::Spanned;

/// Limits of what one machine can carry.
const NODES_MAX: usize = 9;
const CAMERAS_MAX: u32 = 1000;
const SECONDS_MAX: f64 = 24.0 * 3600.0;
const PLAYERS_MAX: u32 = 100;
const API_PER_SECOND_MAX: u32 = 500;

/// Where the nodes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Processes on this machine, on loopback: needs no privileges
    Processes,
    /// Processes on this machine, each in a network namespace of its own: needs root
    Netns,
    /// A cluster that is already running, described by `--attach FILE`
    Attach,
}

/// One scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// One sentence for `holdfast-chaos list`.
    pub about: String,
    /// From the moment when every camera has its recorders to the end of the faults.
    pub seconds: f64,
    /// Where it runs, unless the command line says otherwise.
    #[serde(default = "default_place")]
    pub on: Place,
    #[serde(default)]
    pub cluster: Shape,
    /// Groups of similar cameras; they are named `cam01` and so on across all groups.
    pub cameras: Vec<Group>,
    #[serde(default)]
    pub load: Load,
    #[serde(default, rename = "fault")]
    spanned_faults: Vec<Spanned<Fault>>,
    #[serde(skip)]
    pub faults: Vec<Fault>,
    /// Faults that the seed chooses, in addition to those of the file.
    #[serde(default)]
    pub random: Option<RandomFaults>,
    #[serde(default)]
    pub expect: Expect,
}

/// The nodes; the first founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// Nodes that record. They are named `node1` and so on, witnesses after them.
    pub nodes: usize,
    /// Nodes that vote and record nothing.
    pub witnesses: usize,
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    #[default]
    Standard,
    Gapless,
}

/// Cameras with the same settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub count: u32,
    #[serde(default = "default_bitrate_kbps")]
    pub bitrate_kbps: u64,
    /// Time between keyframes; at 25 frames a second, in steps of 40 ms up to 1000.
    #[serde(default = "default_gop_ms")]
    pub gop_ms: u32,
    #[serde(default)]
    pub protection: Class,
    /// Codec of the video; H.264 by default, unless the oddity exists only in H.265.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// The second track; by default the seed gives sound to some of the cameras.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<GroupSound>,
    /// The oddity of each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oddity: Option<Oddity>,
    /// A group of oddities: `count` cameras for each oddity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oddities: Option<String>,
    /// Not one of the run's own cameras, but a hostile one from the beginning to the end;
    /// `bitrate_kbps` is the most that it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostile: Option<String>,
}

/// The sound of a group of cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupSound {
    None,
    Aac,
    G711,
}

impl Group {
    /// The sound of camera `id`: AAC for one camera in three and G.711 for one in six, unless the
    /// group sets it.
    #[must_use]
    pub fn sound_of(&self, id: u32, seed: u64) -> Option<Sound> {
        match self.sound {
            Some(GroupSound::None) => None,
            Some(GroupSound::Aac) => Some(Sound::Aac),
            Some(GroupSound::G711) => Some(Sound::MuLaw),
            None => {
                SOUNDS[(id as usize % SOUNDS.len() + (seed % SOUNDS.len() as u64) as usize)
                    % SOUNDS.len()]
            }
        }
    }
}

/// The sound of cameras in turn.
const SOUNDS: [Option<Sound>; 6] = [
    Some(Sound::Aac),
    None,
    Some(Sound::MuLaw),
    Some(Sound::Aac),
    None,
    None,
];

/// Requests to the nodes during the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Viewers that play recent footage by HLS.
    pub players: u32,
    /// Requests a second to the API, over all nodes.
    pub api_per_second: u32,
}

fn default_place() -> Place {
    Place::Processes
}

fn default_bitrate_kbps() -> u64 {
    2000
}

fn default_gop_ms() -> u32 {
    1000
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 3,
            witnesses: 0,
        }
    }
}

impl Scenario {
    /// Reads a file, or a built-in scenario by its name.
    ///
    /// # Errors
    /// Names the file, and the line if there is one.
    pub fn load(name_or_path: &str) -> Result<Self, ScenarioError> {
        if let Some(text) = shipped(name_or_path) {
            return Self::parse(Path::new(name_or_path), text);
        }
        let path = Path::new(name_or_path);
        if path.extension().is_none_or(|end| end != "toml") {
            return Err(ScenarioError::Unknown {
                name: name_or_path.to_owned(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses and checks. The scenario is named after `path`, which otherwise appears only in
    /// errors.
    ///
    /// # Errors
    /// Like [`Scenario::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::syntax(path, text, &error))?;
        scenario.name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mistakes = scenario.mistakes();
        if !mistakes.is_empty() {
            return Err(ScenarioError::wrong(path, text, &mistakes));
        }
        scenario.write_out();
        Ok(scenario)
    }

    /// Expands groups and faults that stand for several.
    fn write_out(&mut self) {
        let seconds = self.seconds;
        let placed: Vec<Fault> = self.cameras.iter().filter_map(Group::as_fault).collect();
        self.cameras.retain(|group| group.hostile.is_none());
        self.cameras = self.cameras.iter().flat_map(Group::spread).collect();
        let own = std::mem::take(&mut self.spanned_faults)
            .into_iter()
            .map(Spanned::into_inner);
        self.faults = placed
            .into_iter()
            .chain(own)
            .flat_map(|fault| fault.spread(seconds))
            .collect();
    }

    /// Chooses the faults of `[random]`.
    pub fn choose_faults(&mut self, seed: u64, place: Place) {
        if let Some(random) = self.random.take() {
            self.faults.extend(random.faults(seed, place, self.seconds));
        }
    }

    /// The same scenario with this many cameras in total; each group keeps its share, and at least
    /// one camera.
    pub fn resize(&mut self, cameras: u32) {
        let before = self.cameras_total();
        for group in &mut self.cameras {
            let share = u64::from(group.count) * u64::from(cameras) / u64::from(before.max(1));
            group.count = u32::try_from(share).unwrap_or(CAMERAS_MAX).max(1);
        }
        let short = cameras.saturating_sub(self.cameras_total());
        self.cameras[0].count += short;
    }

    #[must_use]
    pub fn cameras_total(&self) -> u32 {
        self.cameras.iter().map(|group| group.count).sum()
    }

    /// Nodes that record, and witnesses.
    #[must_use]
    pub fn nodes_total(&self) -> usize {
        self.cluster.nodes + self.cluster.witnesses
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut need = |holds: bool, what: String| {
            if !holds {
                mistakes.push(Mistake { at: None, what });
            }
        };
        need(
            (1.0..=SECONDS_MAX).contains(&self.seconds),
            format!("`seconds` is not within 1 to {SECONDS_MAX}"),
        );
        need(
            (1..=NODES_MAX).contains(&self.cluster.nodes),
            format!("`cluster.nodes` is not within 1 to {NODES_MAX}"),
        );
        need(
            self.nodes_total() <= NODES_MAX,
            format!("more than {NODES_MAX} nodes, witnesses among them"),
        );
        let own = self
            .cameras
            .iter()
            .filter(|group| group.hostile.is_none())
            .count();
        need(
            own > 0,
            "no [[cameras]]: there is nothing to record".to_owned(),
        );
        need(
            self.cameras_total() <= CAMERAS_MAX,
            format!("more than {CAMERAS_MAX} cameras"),
        );
        need(
            self.load.players <= PLAYERS_MAX,
            format!("more than {PLAYERS_MAX} `load.players`"),
        );
        let api_max = API_PER_SECOND_MAX;
        need(
            self.load.api_per_second <= api_max,
            format!("more than {api_max} `load.api_per_second`"),
        );
        for (number, group) in self.cameras.iter().enumerate() {
            let at = format!("[[cameras]] {}", number + 1);
            need(group.count >= 1, format!("{at}: `count` is 0"));
            need(
                (1..=100_000).contains(&group.bitrate_kbps),
                format!("{at}: `bitrate_kbps` is not within 1 to 100000"),
            );
            let steps = (40..=1000).contains(&group.gop_ms) && group.gop_ms % 40 == 0;
            need(
                steps,
                format!("{at}: `gop_ms` is not a multiple of 40 within 40 to 1000"),
            );
            group
                .mistakes()
                .into_iter()
                .for_each(|what| need(false, format!("{at}: {what}")));
        }
        for what in self.random.iter().flat_map(RandomFaults::mistakes) {
            mistakes.push(Mistake { at: None, what });
        }
        for fault in &self.spanned_faults {
            let found = fault.get_ref().mistakes(self);
            mistakes.extend(found.into_iter().map(|what| Mistake {
                at: Some(fault.span()),
                what,
            }));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests;
