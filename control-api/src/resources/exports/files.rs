//! The files of an export. Pure. Files are cut by the clock, so that every node names the same
//! ones.

use super::{Export, ExportFile, ExportState, ExportStatus};
use crate::limits::PLAYBACK_RANGE_MAX;
use crate::playback::growing::SETTLED_AFTER;
use crate::range::Range;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;

/// The status of an export, without its files.
#[must_use]
pub(crate) fn status(export: Export, now: Timestamp) -> ExportStatus {
    let (total, passed) = (
        export.to.micros_since(export.from).max(1),
        now.micros_since(export.from),
    );
    let state = if is_over(export.to, now) {
        ExportState::Ready
    } else {
        ExportState::Recording
    };
    let progress = if state == ExportState::Ready {
        1.0
    } else {
        (passed as f64 / total as f64).clamp(0.0, 1.0)
    };
    ExportStatus {
        export,
        state,
        progress,
        files: Vec::new(),
    }
}

/// Like [`status`], with its files.
#[must_use]
pub(crate) fn status_with_files(export: Export, now: Timestamp) -> ExportStatus {
    let files = files(&export, now);
    ExportStatus {
        files,
        ..status(export, now)
    }
}

/// The camera and range of a file of this name; `None` if the export has no such file.
#[must_use]
pub(crate) fn file_of(export: &Export, name: &str) -> Option<(CameraId, Range)> {
    let mut parts = parts(export);
    parts
        .find(|part| part.2 == name)
        .map(|(camera, range, _)| (camera, range))
}

fn files(export: &Export, now: Timestamp) -> Vec<ExportFile> {
    let file = |(camera, range, name): (CameraId, Range, String)| ExportFile {
        camera,
        url: format!("/api/v1/exports/{}/{name}", export.id),
        name,
        from: range.from,
        to: range.to,
        ready: is_over(range.to, now),
    };
    parts(export).map(file).collect()
}

fn parts(export: &Export) -> impl Iterator<Item = (CameraId, Range, String)> {
    let (length, total) = (
        PLAYBACK_RANGE_MAX.as_micros() as i64,
        export.to.micros_since(export.from).max(0),
    );
    let count = total.unsigned_abs().div_ceil(length.unsigned_abs());
    let part = move |camera: CameraId, number: u64| {
        let from = export.from.plus_micros(
            i64::try_from(number)
                .unwrap_or(i64::MAX)
                .saturating_mul(length),
        );
        let range = Range {
            from,
            to: from.plus_micros(length).min(export.to),
        };
        let name = if count == 1 {
            format!("{camera}.mp4")
        } else {
            format!("{camera}-{}.mp4", number + 1)
        };
        (camera, range, name)
    };
    export
        .cameras
        .iter()
        .flat_map(move |camera| (0..count).map(move |number| part(*camera, number)))
}

/// Whether footage up to `to` is final.
fn is_over(to: Timestamp, now: Timestamp) -> bool {
    to.plus(SETTLED_AFTER) <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::ExportId;

    const HOUR_US: i64 = 3_600_000_000;

    fn export(hours: i64) -> Export {
        let (from, to) = (Timestamp(7), Timestamp(7 + hours * HOUR_US));
        Export {
            id: ExportId(3),
            name: "case 7".to_owned(),
            cameras: vec![CameraId(1), CameraId(12)],
            from,
            to,
            strict: false,
            created_at: from,
            expires_at: to,
        }
    }

    #[test]
    fn the_files_of_a_camera_follow_each_other_and_each_is_as_long_as_may_be() {
        let names = |hours| {
            files(&export(hours), Timestamp::MAX)
                .into_iter()
                .map(|file| file.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(6), ["1.mp4", "12.mp4"]);
        assert_eq!(
            names(13),
            [
                "1-1.mp4", "1-2.mp4", "1-3.mp4", "12-1.mp4", "12-2.mp4", "12-3.mp4"
            ]
        );
        let of_one = files(&export(13), Timestamp::MAX);
        assert!(
            of_one[..3]
                .windows(2)
                .all(|pair| pair[0].to == pair[1].from)
        );
        assert_eq!(
            (of_one[0].from, of_one[2].to),
            (export(13).from, export(13).to)
        );
        for file in files(&export(13), Timestamp::MAX) {
            let range = Range {
                from: file.from,
                to: file.to,
            };
            assert_eq!(file_of(&export(13), &file.name), Some((file.camera, range)));
            assert!(range.check(PLAYBACK_RANGE_MAX).is_ok());
        }
        assert_eq!(
            ["1.mp4", "2-1.mp4", "1-4.mp4"].map(|name| file_of(&export(13), name)),
            [None; 3]
        );
    }

    #[test]
    fn an_export_is_ready_once_what_comes_is_final() {
        let at = |hours: i64, seconds: i64| {
            let status = status_with_files(
                export(12),
                Timestamp(7 + hours * HOUR_US + seconds * 1_000_000),
            );
            (
                status.state,
                status.progress,
                status.files.iter().filter(|file| file.ready).count(),
            )
        };
        assert_eq!(at(-1, 0), (ExportState::Recording, 0.0, 0));
        assert_eq!(
            at(6, 2),
            (
                ExportState::Recording,
                (6.0 * 3600.0 + 2.0) / (12.0 * 3600.0),
                0
            )
        );
        assert_eq!(at(6, 3).2, 2);
        assert_eq!(at(12, 2).0, ExportState::Recording);
        assert_eq!(at(12, 3), (ExportState::Ready, 1.0, 4));
    }
}
