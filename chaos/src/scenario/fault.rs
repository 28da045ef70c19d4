//! One fault of a scenario: its action, time, target and duration, and the keys that each kind
//! takes.

use super::{Scenario, Target, odd};
use holdfast_camera::Hostile;
use serde::{Deserialize, Serialize};

/// `do = "..."`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionName {
    Kill,
    Stop,
    Wipe,
    Pause,
    RollingRestart,
    Drain,
    Isolate,
    Cut,
    OneWay,
    Split,
    Loss,
    Delay,
    SlowLink,
    CameraPath,
    DiskEio,
    DiskFull,
    DiskSlow,
    DiskHang,
    PowerCut,
    ClockStep,
    CameraStall,
    CameraReboot,
    CameraParameters,
    CameraGarbage,
    HostileCamera,
    DeadlyCamera,
}

/// A `[[fault]]` of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Seconds after the start of the scenario.
    pub at: f64,
    #[serde(rename = "do")]
    pub action: ActionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Its duration in seconds; without it, until the end of the scenario.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<f64>,
    /// `one-way`: the party that does not hear the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    /// `loss`: percentage of packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `delay`: the most that a packet's delay differs from `delay_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kbps: Option<u64>,
    /// `clock-step`: ahead, or behind if negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// `camera-garbage`: number of frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// `hostile-camera`: a name, or `each` in turn, or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostile: Option<String>,
    /// Left out if no node answers when it is due, instead of counted as trouble.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The facility of the stage that an action needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Processes,
    /// Between nodes, or to the cameras, as far as a proxy can impair them.
    Connections,
    /// Individual packets: needs namespaces.
    Packets,
    Disks,
    /// A disk whose power can be cut.
    Power,
    Clocks,
    Cameras,
    Api,
}

/// An action with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Kill,
    Stop,
    Wipe,
    Pause,
    RollingRestart,
    Drain,
    Isolate,
    Cut,
    OneWay { to: Target },
    Split,
    Loss { percent: u32 },
    Delay { ms: u64, jitter_ms: u64 },
    SlowLink { kbps: u64 },
    CameraPath,
    DiskEio,
    DiskFull,
    DiskSlow { kbps: u64 },
    DiskHang,
    PowerCut,
    ClockStep { seconds: i64 },
    CameraStall,
    CameraReboot,
    CameraParameters,
    CameraGarbage { frames: u32 },
    HostileCamera { gallery: Vec<Hostile>, kbps: u64 },
    DeadlyCamera,
}

/// The kind of target that an action takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Nodes,
    Cameras,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    Maybe,
    Must,
    Never,
}

impl ActionName {
    /// The name in a scenario file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Wipe => "wipe",
            Self::Pause => "pause",
            Self::RollingRestart => "rolling-restart",
            Self::Drain => "drain",
            Self::Isolate => "isolate",
            Self::Cut => "cut",
            Self::OneWay => "one-way",
            Self::Split => "split",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::SlowLink => "slow-link",
            Self::CameraPath => "camera-path",
            Self::DiskEio => "disk-eio",
            Self::DiskFull => "disk-full",
            Self::DiskSlow => "disk-slow",
            Self::DiskHang => "disk-hang",
            Self::PowerCut => "power-cut",
            Self::ClockStep => "clock-step",
            Self::CameraStall => "camera-stall",
            Self::CameraReboot => "camera-reboot",
            Self::CameraParameters => "camera-parameters",
            Self::CameraGarbage => "camera-garbage",
            Self::HostileCamera => "hostile-camera",
            Self::DeadlyCamera => "deadly-camera",
        }
    }

    #[must_use]
    pub fn reach(self) -> Reach {
        match self {
            Self::Kill
            | Self::Stop
            | Self::Wipe
            | Self::Pause
            | Self::RollingRestart
            | Self::DeadlyCamera => Reach::Processes,
            Self::Drain | Self::HostileCamera => Reach::Api,
            Self::Isolate
            | Self::Cut
            | Self::OneWay
            | Self::Split
            | Self::Delay
            | Self::CameraPath => Reach::Connections,
            Self::Loss | Self::SlowLink => Reach::Packets,
            Self::DiskEio | Self::DiskFull | Self::DiskSlow | Self::DiskHang => Reach::Disks,
            Self::PowerCut => Reach::Power,
            Self::ClockStep => Reach::Clocks,
            Self::CameraStall
            | Self::CameraReboot
            | Self::CameraParameters
            | Self::CameraGarbage => Reach::Cameras,
        }
    }

    fn whom(self) -> Whom {
        match self {
            Self::CameraStall
            | Self::CameraReboot
            | Self::CameraParameters
            | Self::CameraGarbage => Whom::Cameras,
            Self::DeadlyCamera => Whom::Cameras,
            Self::RollingRestart | Self::HostileCamera => Whom::None,
            _ => Whom::Nodes,
        }
    }

    fn lasting(self) -> Lasting {
        match self {
            Self::Pause | Self::DiskHang | Self::CameraStall | Self::CameraReboot => Lasting::Must,
            Self::RollingRestart | Self::CameraGarbage | Self::DeadlyCamera => Lasting::Never,
            _ => Lasting::Maybe,
        }
    }
}

impl Fault {
    /// A fault without a target and parameters, to the end of the scenario.
    #[must_use]
    pub fn new(action: ActionName, at: f64) -> Self {
        Self {
            at,
            action,
            target: None,
            lasts: None,
            to: None,
            percent: None,
            delay_ms: None,
            jitter_ms: None,
            kbps: None,
            seconds: None,
            frames: None,
            hostile: None,
            optional: false,
        }
    }

    /// The action with its parameters; [`Fault::mistakes`] has rejected missing ones.
    #[must_use]
    pub fn action(&self) -> Action {
        match self.action {
            ActionName::Kill => Action::Kill,
            ActionName::Stop => Action::Stop,
            ActionName::Wipe => Action::Wipe,
            ActionName::Pause => Action::Pause,
            ActionName::RollingRestart => Action::RollingRestart,
            ActionName::Drain => Action::Drain,
            ActionName::Isolate => Action::Isolate,
            ActionName::Cut => Action::Cut,
            ActionName::OneWay => Action::OneWay {
                to: self.to.clone().unwrap_or(Target::All),
            },
            ActionName::Split => Action::Split,
            ActionName::Loss => Action::Loss {
                percent: self.percent.unwrap_or(0),
            },
            ActionName::Delay => Action::Delay {
                ms: self.delay_ms.unwrap_or(0),
                jitter_ms: self.jitter_ms.unwrap_or(0),
            },
            ActionName::SlowLink => Action::SlowLink {
                kbps: self.kbps.unwrap_or(0),
            },
            ActionName::CameraPath => Action::CameraPath,
            ActionName::DiskEio => Action::DiskEio,
            ActionName::DiskFull => Action::DiskFull,
            ActionName::DiskSlow => Action::DiskSlow {
                kbps: self.kbps.unwrap_or(0),
            },
            ActionName::DiskHang => Action::DiskHang,
            ActionName::PowerCut => Action::PowerCut,
            ActionName::ClockStep => Action::ClockStep {
                seconds: self.seconds.unwrap_or(0),
            },
            ActionName::CameraStall => Action::CameraStall,
            ActionName::CameraReboot => Action::CameraReboot,
            ActionName::CameraParameters => Action::CameraParameters,
            ActionName::CameraGarbage => Action::CameraGarbage {
                frames: self.frames.unwrap_or(0),
            },
            ActionName::DeadlyCamera => Action::DeadlyCamera,
            ActionName::HostileCamera => Action::HostileCamera {
                gallery: self.hostiles(),
                kbps: self.kbps.unwrap_or(0),
            },
        }
    }

    /// When it ends by itself, in seconds after the start of the scenario.
    #[must_use]
    pub fn ends_at(&self) -> Option<f64> {
        self.lasts.map(|lasts| self.at + lasts)
    }

    /// Its mistakes, in a scenario with these nodes and cameras.
    pub(super) fn mistakes(&self, scenario: &Scenario) -> Vec<String> {
        let name = self.action.as_str();
        let mut mistakes = Vec::new();
        let mut need = |holds: bool, what: String| {
            if !holds {
                mistakes.push(format!("`{name}`: {what}"));
            }
        };
        let in_time = (0.0..=scenario.seconds).contains(&self.at);
        need(
            in_time,
            format!(
                "`at = {}` is not within the scenario's {} s",
                self.at, scenario.seconds
            ),
        );
        let ends = self
            .ends_at()
            .is_none_or(|end| end <= scenario.seconds && end > self.at);
        need(
            ends,
            format!(
                "`for` does not end within the scenario's {} s",
                scenario.seconds
            ),
        );
        match self.action.lasting() {
            Lasting::Must => need(self.lasts.is_some(), "needs `for`, in seconds".to_owned()),
            Lasting::Never => need(self.lasts.is_none(), "does not take `for`".to_owned()),
            Lasting::Maybe => {}
        }
        match (self.action.whom(), &self.target) {
            (Whom::None, Some(_)) => need(false, "does not take `target`".to_owned()),
            (Whom::None, None) => {}
            (_, None) => need(false, "needs `target`".to_owned()),
            (whom, Some(target)) => {
                let of_cameras = whom == Whom::Cameras;
                let kind = if of_cameras { "camera" } else { "node" };
                need(
                    target.is_of_cameras() == of_cameras,
                    format!("`target = \"{target}\"` is no {kind}"),
                );
            }
        }
        for target in self.target.iter().chain(&self.to) {
            need(
                exists(target, scenario),
                format!("`{target}` is not among the scenario's nodes and cameras"),
            );
        }
        for (key, is_set, wanted) in self.figures() {
            need(!is_set || wanted, format!("does not take `{key}`"));
            need(is_set || !wanted, format!("needs `{key}`"));
        }
        if let Some(hostile) = &self.hostile {
            need(odd::hostiles(hostile).is_some(), odd::unknown(hostile));
        }
        let jitter_fits = self
            .jitter_ms
            .is_none_or(|jitter| jitter <= self.delay_ms.unwrap_or(0));
        need(
            self.jitter_ms.is_none() || self.action == ActionName::Delay,
            "does not take `jitter_ms`".to_owned(),
        );
        need(
            jitter_fits,
            "`jitter_ms` is more than `delay_ms`: nothing arrives before it was sent".to_owned(),
        );
        need(
            self.percent
                .is_none_or(|percent| (1..=100).contains(&percent)),
            "`percent` is not within 1 to 100".into(),
        );
        mistakes
    }

    /// Each key that some action needs, whether it is set, and whether this action takes it.
    fn figures(&self) -> [(&'static str, bool, bool); 7] {
        let is = |names: &[ActionName]| names.contains(&self.action);
        [
            ("to", self.to.is_some(), is(&[ActionName::OneWay])),
            ("percent", self.percent.is_some(), is(&[ActionName::Loss])),
            (
                "delay_ms",
                self.delay_ms.is_some(),
                is(&[ActionName::Delay]),
            ),
            (
                "kbps",
                self.kbps.is_some(),
                is(&[
                    ActionName::SlowLink,
                    ActionName::DiskSlow,
                    ActionName::HostileCamera,
                ]),
            ),
            (
                "hostile",
                self.hostile.is_some(),
                is(&[ActionName::HostileCamera]),
            ),
            (
                "seconds",
                self.seconds.is_some(),
                is(&[ActionName::ClockStep]),
            ),
            (
                "frames",
                self.frames.is_some(),
                is(&[ActionName::CameraGarbage]),
            ),
        ]
    }
}

fn exists(target: &Target, scenario: &Scenario) -> bool {
    let node = |number: usize| number <= scenario.nodes_total();
    // `--cameras` may leave fewer cameras: then the fault reports that when it begins.
    let camera = |name: &str| {
        name[3..]
            .parse()
            .is_ok_and(|number: u32| (1..=scenario.cameras_total()).contains(&number))
    };
    match target {
        Target::Node(number) => node(*number),
        other => other.named_camera().is_none_or(camera),
    }
}
