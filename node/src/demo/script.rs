//! When the demo kills, restarts and ends. Pure: the time since recording began is an argument.

use std::time::Duration;

/// When in the run the node is killed, in percent.
const KILL_AT_PERCENT: u32 = 40;

/// The time that the restarted node has before the end, so that its return is seen.
const RETURN_TIME: Duration = Duration::from_secs(8);

/// How long a killed node stays down at least after its cameras have moved.
const DOWN_TIME_MIN: Duration = Duration::from_secs(2);

/// How long a killed node stays down at most if its cameras do not move.
const DOWN_TIME_MAX: Duration = Duration::from_secs(20);

/// The demo's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// `None`: until the user ends it.
    pub(super) length: Option<Duration>,
    pub(super) kill: bool,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Whole,
    /// Since when a node is down, and since when others record its cameras.
    Down {
        since: Duration,
        moved: Option<Duration>,
    },
    /// The killed node was started again.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Kill,
    Restart,
    Finish,
}

impl Script {
    /// What to do now.
    #[must_use]
    pub(super) fn step(&self, now: Duration, phase: Phase) -> Step {
        let due = |at: Option<Duration>| at.is_some_and(|at| now >= at);
        match phase {
            Phase::Whole if self.kill && due(self.kill_at()) => Step::Kill,
            Phase::Down { since, moved } if now >= self.restart_at(since, moved) => Step::Restart,
            Phase::Down { .. } => Step::Wait,
            Phase::Whole | Phase::Back if due(self.length) => Step::Finish,
            Phase::Whole | Phase::Back => Step::Wait,
        }
    }

    fn kill_at(&self) -> Option<Duration> {
        self.length.map(|length| length * KILL_AT_PERCENT / 100)
    }

    /// After its cameras have moved, but early enough before the end to be seen again.
    fn restart_at(&self, since: Duration, moved: Option<Duration>) -> Duration {
        let latest = self.length.map_or(since + DOWN_TIME_MAX, |length| {
            length.saturating_sub(RETURN_TIME)
        });
        let wanted = moved.map_or(since + DOWN_TIME_MAX, |moved| moved + DOWN_TIME_MIN);
        wanted.min(latest.max(since + DOWN_TIME_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLING: Script = Script {
        length: Some(Duration::from_secs(40)),
        kill: true,
    };

    fn at(script: Script, millis: u64, phase: Phase) -> Step {
        script.step(Duration::from_millis(millis), phase)
    }

    fn down(since: u64, moved: Option<u64>) -> Phase {
        Phase::Down {
            since: Duration::from_secs(since),
            moved: moved.map(Duration::from_secs),
        }
    }

    #[test]
    fn kills_at_two_fifths_and_ends_in_time() {
        assert_eq!(at(KILLING, 15_999, Phase::Whole), Step::Wait);
        assert_eq!(at(KILLING, 16_000, Phase::Whole), Step::Kill);
        assert_eq!(at(KILLING, 39_999, Phase::Back), Step::Wait);
        assert_eq!(at(KILLING, 40_000, Phase::Back), Step::Finish);
    }

    #[test]
    fn restarts_once_the_cameras_have_moved() {
        assert_eq!(at(KILLING, 19_000, down(16, Some(18))), Step::Wait);
        assert_eq!(at(KILLING, 20_000, down(16, Some(18))), Step::Restart);
    }

    #[test]
    fn restarts_eight_seconds_before_the_end_at_the_latest() {
        assert_eq!(at(KILLING, 31_999, down(16, None)), Step::Wait);
        assert_eq!(at(KILLING, 32_000, down(16, None)), Step::Restart);
        assert_eq!(at(KILLING, 45_000, down(44, None)), Step::Wait);
    }

    #[test]
    fn a_short_run_waits_for_its_restart() {
        let short = Script {
            length: Some(Duration::from_secs(5)),
            kill: true,
        };
        assert_eq!(at(short, 2_000, Phase::Whole), Step::Kill);
        assert_eq!(at(short, 3_999, down(2, None)), Step::Wait);
        assert_eq!(at(short, 4_000, down(2, None)), Step::Restart);
    }

    #[test]
    fn without_a_length_only_the_user_ends_or_kills() {
        let open = Script {
            length: None,
            kill: true,
        };
        assert_eq!(at(open, 1_000_000, Phase::Whole), Step::Wait);
        assert_eq!(at(open, 1_000_000, Phase::Back), Step::Wait);
        assert_eq!(at(open, 30_000, down(10, None)), Step::Restart);
    }
}
