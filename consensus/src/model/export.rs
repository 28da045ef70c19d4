//! An export: footage of some cameras that is kept for a while, to be fetched file by file. It
//! takes no space of its own: files are made when they are fetched.

use super::interval::check_order;
use super::text::{Invalid, TextRule, checked_text};
use holdfast_storage::ids::{CameraId, ExportId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

pub const EXPORTS_MAX: usize = 100;
/// The most cameras of one export.
pub const EXPORT_CAMERAS_MAX: usize = 64;
/// The longest range of one export.
pub const EXPORT_RANGE_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// Cameras times hours: 64 cameras for four days, or 8 for 31 days.
pub const EXPORT_CAMERA_HOURS_MAX: u64 = 64 * 4 * 24;
/// How long an export is kept after it was requested, or after its range has ended if that is
/// later.
pub const EXPORT_KEPT: Duration = Duration::from_secs(24 * 3600);

const NAME_CHARS_MAX: usize = 512;

checked_text!(
    /// A description for people. 1 to 512 characters, not only blanks, without control characters.
    ExportName,
    "name",
    rule TextRule::ForPeople {
        chars_max: NAME_CHARS_MAX
    }
);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSpec {
    pub name: ExportName,
    /// No duplicates; deleted cameras are allowed.
    pub cameras: Vec<CameraId>,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Frames that refer to lost ones are left out.
    pub strict: bool,
}

impl ExportSpec {
    /// # Errors
    /// It has no camera, a duplicate or too many, or its range is empty or too long.
    pub fn check(&self) -> Result<(), Invalid> {
        let distinct: BTreeSet<CameraId> = self.cameras.iter().copied().collect();
        let seconds = self.to.micros_since(self.from).max(0).unsigned_abs() / 1_000_000;
        let camera_hours = seconds
            .div_ceil(3600)
            .saturating_mul(self.cameras.len() as u64);
        if distinct.is_empty()
            || distinct.len() != self.cameras.len()
            || distinct.len() > EXPORT_CAMERAS_MAX
        {
            let why = format!(
                "has {} entries; name 1 to {EXPORT_CAMERAS_MAX}, each once",
                self.cameras.len()
            );
            return Err(Invalid::new("cameras", why));
        }
        check_order(self.from, self.to, "")?;
        if seconds > EXPORT_RANGE_MAX.as_secs() || camera_hours > EXPORT_CAMERA_HOURS_MAX {
            let days = EXPORT_RANGE_MAX.as_secs() / 86_400;
            let why = format!(
                "makes it {camera_hours} hours of footage; an export has at most {days} days and, \
                 of all cameras together, {EXPORT_CAMERA_HOURS_MAX} hours: ask for several"
            );
            return Err(Invalid::new("to", why));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub id: ExportId,
    pub spec: ExportSpec,
    pub created_at: Timestamp,
}

impl Export {
    /// Afterwards the export is treated as removed.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.created_at.max(self.spec.to).plus(EXPORT_KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(cameras: u32, hours: u64) -> ExportSpec {
        let (name, from) = ("case 7".parse().unwrap(), Timestamp(0));
        let to = from.plus(Duration::from_secs(hours * 3600));
        ExportSpec {
            name,
            cameras: (1..=cameras).map(CameraId).collect(),
            from,
            to,
            strict: false,
        }
    }

    #[test]
    fn an_export_is_bounded_in_every_direction() {
        let refused = |export: &ExportSpec| export.check().err().map(|invalid| invalid.field);
        assert_eq!(
            [export(64, 96), export(8, 31 * 24), export(1, 1)].map(|one| refused(&one)),
            [None, None, None]
        );
        let cameras = Some("cameras".to_owned());
        assert_eq!(
            [export(0, 1), export(65, 1)].map(|one| refused(&one)),
            [cameras.clone(), cameras.clone()]
        );
        let twice = ExportSpec {
            cameras: vec![CameraId(1), CameraId(1)],
            ..export(1, 1)
        };
        assert_eq!(refused(&twice), cameras);
        let to = Some("to".to_owned());
        let too_long = [
            export(1, 0),
            export(1, 31 * 24 + 1),
            export(64, 97),
            export(9, 31 * 24),
        ];
        assert!(too_long.iter().all(|one| refused(one) == to));
    }

    #[test]
    fn it_is_kept_for_a_day_after_its_end() {
        let spec = export(1, 10);
        let kept = |created_at| {
            Export {
                id: ExportId(1),
                spec: spec.clone(),
                created_at,
            }
            .expires_at()
        };
        assert_eq!(
            kept(Timestamp(0)),
            spec.to.plus(EXPORT_KEPT),
            "it was asked for before its end"
        );
        let later = spec.to.plus_micros(5);
        assert_eq!(kept(later), later.plus(EXPORT_KEPT));
    }
}
