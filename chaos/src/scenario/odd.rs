//! Odd and hostile cameras in a scenario file: expands groups and faults that stand for several.

use super::{ActionName, Fault, Group};
use holdfast_camera::{Codec, Hostile, Oddity};

/// `hostile = "each"`: every hostile camera in turn; `"all"`: all of them together.
pub(super) const EACH: &str = "each";
pub(super) const ALL: &str = "all";

impl Group {
    /// The group itself, or one copy of it for each oddity of `oddities` that the group's codec
    /// allows.
    pub(super) fn spread(&self) -> Vec<Self> {
        let Some(wanted) = &self.oddities else {
            return vec![self.clone()];
        };
        let fits = |oddity: &Oddity| {
            oddity.group() == wanted
                && self
                    .codec
                    .is_none_or(|codec| oddity.codec().is_none_or(|only| only == codec))
        };
        let one = |oddity| Self {
            oddity: Some(oddity),
            oddities: None,
            ..self.clone()
        };
        Oddity::all().filter(fits).map(one).collect()
    }

    /// Codec of its video.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
            .or_else(|| self.oddity.and_then(Oddity::codec))
            .unwrap_or_default()
    }

    /// The group as a fault: its hostile camera is present from the beginning to the end, at the
    /// group's bitrate at most.
    pub(super) fn as_fault(&self) -> Option<Fault> {
        let hostile = self.hostile.clone()?;
        let fault = Fault::new(ActionName::HostileCamera, 0.0);
        Some(Fault {
            hostile: Some(hostile),
            kbps: Some(self.bitrate_kbps),
            ..fault
        })
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut need = |holds: bool, what: String| {
            if !holds {
                mistakes.push(what);
            }
        };
        let given = [
            self.oddity.is_some(),
            self.oddities.is_some(),
            self.hostile.is_some(),
        ];
        let given = given.iter().filter(|is| **is).count();
        need(
            given <= 1,
            "one of `oddity`, `oddities` and `hostile` is enough".to_owned(),
        );
        if let Some(group) = &self.oddities {
            let groups = Oddity::GROUPS.join(", ");
            need(
                Oddity::GROUPS.contains(&group.as_str()),
                format!("`oddities = \"{group}\"` is none of {groups}"),
            );
        }
        if let Some(hostile) = &self.hostile {
            need(hostiles(hostile).is_some(), unknown(hostile));
        }
        if let Some((oddity, only)) = self
            .oddity
            .and_then(|oddity| Some((oddity, oddity.codec()?)))
        {
            need(
                self.codec() == only,
                format!("`{oddity}` is an oddity of {only:?} only"),
            );
        }
        mistakes
    }
}

impl Fault {
    /// One fault for each hostile camera in turn, if `hostile` is [`EACH`]; otherwise the fault
    /// itself.
    pub(super) fn spread(self, seconds: f64) -> Vec<Self> {
        if self.hostile.as_deref() != Some(EACH) {
            return vec![self];
        }
        let slot = self.lasts.unwrap_or(seconds - self.at) / Hostile::ALL.len() as f64;
        let one = |(number, hostile): (usize, &Hostile)| Self {
            at: self.at + slot * number as f64,
            lasts: Some(slot),
            hostile: Some(hostile.name()),
            ..self.clone()
        };
        Hostile::ALL.iter().enumerate().map(one).collect()
    }

    /// The hostile cameras of this fault.
    pub(super) fn hostiles(&self) -> Vec<Hostile> {
        self.hostile
            .as_deref()
            .and_then(hostiles)
            .unwrap_or_default()
    }
}

pub(super) fn hostiles(name: &str) -> Option<Vec<Hostile>> {
    match name {
        EACH | ALL => Some(Hostile::ALL.to_vec()),
        _ => name.parse().ok().map(|one| vec![one]),
    }
}

pub(super) fn unknown(name: &str) -> String {
    format!(
        "`hostile = \"{name}\"` is no hostile camera; it is `{EACH}`, `{ALL}`, or one of those in \
         docs/chaos.md"
    )
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Action, Scenario};
    use holdfast_camera::{Codec, Hostile, Oddity};
    use std::path::Path;

    fn parse(text: &str) -> Result<Scenario, String> {
        let text = format!("about = \"x\"\nseconds = 100\n[[cameras]]\ncount = 2\n{text}");
        Scenario::parse(Path::new("x.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_of_oddities_is_a_camera_for_each() {
        let scenario =
            parse("[[cameras]]\ncount = 1\noddities = \"payload\"\ncodec = \"h265\"\n").unwrap();
        let odd: Vec<Oddity> = scenario
            .cameras
            .iter()
            .filter_map(|group| group.oddity)
            .collect();
        let fits =
            |oddity: &Oddity| oddity.group() == "payload" && oddity.codec() != Some(Codec::H264);
        assert_eq!(odd, Oddity::all().filter(fits).collect::<Vec<_>>());
        assert_eq!(scenario.cameras_total() as usize, 2 + odd.len());
        let one = parse("[[cameras]]\ncount = 3\noddity = \"stray-paci\"\n").unwrap();
        assert_eq!(
            (one.cameras[1].codec(), one.cameras_total()),
            (Codec::H265, 5)
        );
    }

    #[test]
    fn each_hostile_camera_has_its_turn() {
        let text =
            "[[fault]]\nat = 10\ndo = \"hostile-camera\"\nhostile = \"each\"\nkbps = 9\nfor = 80\n";
        let faults = parse(text).unwrap().faults;
        assert_eq!(faults.len(), Hostile::ALL.len());
        assert_eq!(
            (faults[0].at, faults[1].at, faults[0].ends_at()),
            (10.0, 12.0, Some(12.0))
        );
        assert_eq!(
            faults[3].action(),
            Action::HostileCamera {
                gallery: vec![Hostile::ALL[3]],
                kbps: 9
            }
        );
        let all = parse(&text.replace("each", "all")).unwrap().faults;
        assert!(matches!(
            all[0].action(),
            Action::HostileCamera { gallery, .. } if gallery == Hostile::ALL
        ));
    }

    #[test]
    fn a_hostile_camera_may_be_placed_with_the_others() {
        let scenario =
            parse("[[cameras]]\ncount = 1\nhostile = \"noise\"\nbitrate_kbps = 50\n").unwrap();
        assert_eq!((scenario.cameras_total(), scenario.faults.len()), (2, 1));
        let expected = Action::HostileCamera {
            gallery: vec![Hostile::Noise],
            kbps: 50,
        };
        assert_eq!(
            (scenario.faults[0].action(), scenario.faults[0].at),
            (expected, 0.0)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("oddity = \"dance\"\n").contains("`dance` is no oddity"));
        assert!(
            refused("oddities = \"dance\"\n").contains("`oddities = \"dance\"` is none of control")
        );
        assert!(
            refused("[[cameras]]\ncount = 1\nhostile = \"dance\"\n")
                .contains("is no hostile camera")
        );
        assert!(refused("oddity = \"two-pps\"\ncodec = \"h265\"\n").contains("of H264 only"));
        assert!(refused("oddity = \"two-pps\"\nhostile = \"noise\"\n").contains("is enough"));
        let fault = "[[fault]]\nat = 1\ndo = \"hostile-camera\"\nhostile = \"noise\"\n";
        assert!(refused(fault).contains("needs `kbps`"));
        assert!(refused(&fault.replace("noise", "dance")).contains("is no hostile camera"));
    }
}
