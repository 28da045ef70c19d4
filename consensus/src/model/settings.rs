//! The settings that an operator chose for the whole cluster.

use super::text::{Invalid, TextRule, checked_text};
use holdfast_storage::HOLD_CLASS;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The retention class of a camera without an explicit one.
pub const RETENTION_CLASS_DEFAULT: &str = "default";
const RETENTION_CLASSES_MAX: usize = 16;
const RETENTION_CLASS_NAME_BYTES_MAX: usize = 63;
/// A day: to wait longer, failback should be switched off.
pub const FAILBACK_AFTER_S_MAX: u32 = 24 * 3600;
/// From an hour, since each drill opens sessions to a camera, to a year: something that is tested
/// more rarely cannot be relied upon.
pub const DRILL_EVERY_S: RangeInclusive<u64> = 3600..=366 * 24 * 3600;

/// What to do with a camera that would leave others, or itself, unrecorded after the loss of a
/// node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadroomRule {
    /// It is accepted, with a warning in the answer.
    #[default]
    Warn,
    /// It is rejected.
    Strict,
}

/// Whether cameras return to their preferred node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    /// They stay where they are until they must move, or a rebalance is requested.
    #[default]
    Stay,
    /// They return once that node has been able to record for [`Settings::failback_after_s`].
    Prefer,
}

checked_text!(
    /// A retention class's name: 1 to 63 ASCII letters, digits, `-` and `_`; not `hold`, which is
    /// the class of held footage.
    RetentionClassName,
    "retention_class",
    retention_class_name
);

impl RetentionClassName {
    pub const RULE: TextRule = TextRule::Identifier {
        bytes_max: RETENTION_CLASS_NAME_BYTES_MAX,
        also: "-_",
    };
}

fn retention_class_name(text: &str) -> Result<(), String> {
    RetentionClassName::RULE.check(text)?;
    if text == HOLD_CLASS {
        return Err(format!(
            "is \"{HOLD_CLASS}\", under which held footage is kept; choose another name"
        ));
    }
    Ok(())
}

impl Default for RetentionClassName {
    fn default() -> Self {
        Self(RETENTION_CLASS_DEFAULT.to_owned())
    }
}

/// How long footage of this class is kept; `None` means no limit except the disk's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionClass {
    pub name: RetentionClassName,
    /// Seconds.
    pub age_max_s: Option<u64>,
    /// Bytes on each volume.
    pub bytes_max: Option<u64>,
}

/// At most 16, with unique names and without limits that keep nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<RetentionClass>")]
pub struct RetentionClasses(Vec<RetentionClass>);

impl RetentionClasses {
    pub fn iter(&self) -> impl Iterator<Item = &RetentionClass> {
        self.0.iter()
    }

    #[must_use]
    pub fn get(&self, name: &RetentionClassName) -> Option<&RetentionClass> {
        self.0.iter().find(|class| class.name == *name)
    }
}

impl TryFrom<Vec<RetentionClass>> for RetentionClasses {
    type Error = Invalid;

    fn try_from(classes: Vec<RetentionClass>) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("retention_classes", why);
        if classes.len() > RETENTION_CLASSES_MAX {
            let count = classes.len();
            return Err(invalid(format!(
                "has {count} classes; at most {RETENTION_CLASSES_MAX} are allowed"
            )));
        }
        for (at, class) in classes.iter().enumerate() {
            if classes[..at]
                .iter()
                .any(|earlier| earlier.name == class.name)
            {
                return Err(invalid(format!(
                    "has \"{}\" twice; merge the two",
                    class.name
                )));
            }
            if class.age_max_s == Some(0) || class.bytes_max == Some(0) {
                let name = &class.name;
                return Err(invalid(format!(
                    "has a limit of 0 for \"{name}\", which keeps nothing; leave it out"
                )));
            }
        }
        Ok(Self(classes))
    }
}

impl Default for RetentionClasses {
    /// The only class, and the one of cameras without an explicit class: 30 days.
    fn default() -> Self {
        let name = RetentionClassName::default();
        Self(vec![RetentionClass {
            name,
            age_max_s: Some(30 * 24 * 3600),
            bytes_max: None,
        }])
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub headroom: HeadroomRule,
    /// The site has to survive the loss not only of any one node, but of any failure domain.
    pub headroom_over_domains: bool,
    pub failback: Failback,
    /// How many seconds a preferred node must have been able to record.
    pub failback_after_s: u32,
    /// The number of seconds within which each camera's failover is drilled once; 0: no scheduled
    /// drills.
    pub drill_every_s: u32,
    /// The classes that cameras may be in.
    pub retention_classes: RetentionClasses,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            headroom: HeadroomRule::default(),
            headroom_over_domains: false,
            failback: Failback::default(),
            failback_after_s: 300,
            drill_every_s: 0,
            retention_classes: RetentionClasses::default(),
        }
    }
}

/// A change of [`Settings`]; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    pub headroom: Option<HeadroomRule>,
    pub headroom_over_domains: Option<bool>,
    pub failback: Option<Failback>,
    pub failback_after_s: Option<u32>,
    pub drill_every_s: Option<u32>,
    pub retention_classes: Option<RetentionClasses>,
}

impl Settings {
    #[must_use]
    pub fn changed(&self, change: SettingsChange) -> Self {
        Self {
            headroom: change.headroom.unwrap_or(self.headroom),
            headroom_over_domains: change
                .headroom_over_domains
                .unwrap_or(self.headroom_over_domains),
            failback: change.failback.unwrap_or(self.failback),
            failback_after_s: change.failback_after_s.unwrap_or(self.failback_after_s),
            drill_every_s: change.drill_every_s.unwrap_or(self.drill_every_s),
            retention_classes: change
                .retention_classes
                .unwrap_or_else(|| self.retention_classes.clone()),
        }
    }

    /// # Errors
    /// A number is out of range.
    pub fn check(&self) -> Result<(), Invalid> {
        let (failback, drill) = (self.failback_after_s, self.drill_every_s);
        if failback > FAILBACK_AFTER_S_MAX {
            let why = format!("is {failback}; at most {FAILBACK_AFTER_S_MAX} s are supported");
            return Err(Invalid::new("failback_after_s", why));
        }
        if drill != 0 && !DRILL_EVERY_S.contains(&u64::from(drill)) {
            let range = format!(
                "{} to {} s are supported",
                DRILL_EVERY_S.start(),
                DRILL_EVERY_S.end()
            );
            let why = format!("is {drill}; {range}, and 0 for no scheduled drills");
            return Err(Invalid::new("drill_every_s", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, age_max_s: Option<u64>) -> RetentionClass {
        RetentionClass {
            name: name.parse().unwrap(),
            age_max_s,
            bytes_max: None,
        }
    }

    #[test]
    fn classes_have_names_of_their_own_and_limits_that_keep_something() {
        assert!(
            RetentionClasses::try_from(vec![class("default", None), class("long", Some(9))])
                .is_ok()
        );
        for (bad, why) in [
            (vec![class("a", None), class("a", Some(1))], "twice"),
            (vec![class("a", Some(0))], "limit of 0"),
            (
                (0..=RETENTION_CLASSES_MAX)
                    .map(|n| class(&n.to_string(), None))
                    .collect(),
                "at most 16",
            ),
        ] {
            let message = RetentionClasses::try_from(bad).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
        for bad in [HOLD_CLASS, "a b", "", "a.b"] {
            assert!(bad.parse::<RetentionClassName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let before = Settings {
            drill_every_s: 7200,
            ..Settings::default()
        };
        let after = before.changed(SettingsChange {
            failback_after_s: Some(10),
            ..SettingsChange::default()
        });
        assert_eq!(
            after,
            Settings {
                failback_after_s: 10,
                ..before
            }
        );
    }

    #[test]
    fn numbers_have_ranges() {
        let check = |change: SettingsChange| {
            Settings::default()
                .changed(change)
                .check()
                .map_err(|error| error.field)
        };
        let failback = |failback_after_s| {
            check(SettingsChange {
                failback_after_s,
                ..SettingsChange::default()
            })
        };
        let drill = |drill_every_s| {
            check(SettingsChange {
                drill_every_s,
                ..SettingsChange::default()
            })
        };
        assert_eq!(
            (failback(Some(86_400)), failback(Some(86_401))),
            (Ok(()), Err("failback_after_s".into()))
        );
        assert_eq!(
            (drill(Some(0)), drill(Some(3_600)), drill(Some(31_622_400))),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(
            (drill(Some(3_599)), drill(Some(31_622_401))).0,
            Err("drill_every_s".into())
        );
        assert!(drill(Some(31_622_401)).is_err());
    }
}
