//! Compares the footage of an odd camera with the frames that the camera sent. The comparison is
//! pure.

use crate::table::Row;
use holdfast_camera::{CameraHandle, Oddity, Sent, count};
use holdfast_chaos::Result;
use holdfast_chaos::oracle::MARGIN;
use holdfast_chaos::run::{Footage, fetch};
use holdfast_chaos::site::{Site, SiteCamera};
use holdfast_control_api::wire::Timeline;
use holdfast_node::demo::footage::export;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::time::Timestamp;

/// Frames sent within this time of the end may not be durable yet: a chunk and a flush, and a frame
/// interval of the slowest camera.
const END_US: i64 = 1_500_000;
/// The latest that the first frame may be after the camera was added: the longest GOP and the
/// longest burst.
const FIRST_US_MAX: i64 = 25_000_000;
/// How long after a camera's clock begins to be wrong its recorded times are correct, in
/// microseconds.
const SETTLED_US: u64 = 6_000_000;
/// A shorter gap in the timeline does not count.
const HOLE_US: i64 = 100_000;

/// A node's answers about a camera, and the footage that it serves.
pub(crate) struct Seen {
    pub(crate) added_at: Timestamp,
    pub(crate) error: Option<String>,
    pub(crate) footage: Footage,
    pub(crate) timeline: Timeline,
    /// One MP4 of the footage, if there is any.
    pub(crate) file: Option<Vec<u8>>,
    /// Why the footage could not be fetched.
    unplayable: Option<String>,
}

impl Seen {
    pub(crate) async fn collect(
        site: &mut Site,
        camera: &SiteCamera,
        (added_at, to): (Timestamp, Timestamp),
    ) -> Result<Self> {
        let api = site.api()?;
        let (from, end) = (added_at.plus_micros(-END_US), to.plus(MARGIN));
        let shown = site
            .look()
            .await?
            .cameras
            .into_iter()
            .find(|shown| shown.id == camera.id);
        let (footage, unplayable) = match fetch(&api, camera.id, from, end).await {
            Ok(footage) => (footage, None),
            Err(error) => (Footage::default(), Some(error.to_string())),
        };
        let file = export(&api, camera.id, from, end).await.ok();
        let timeline = site.timeline(0, camera.id, from, end).await?;
        Ok(Self {
            added_at,
            error: shown.and_then(|shown| shown.recording.error),
            footage,
            timeline,
            file,
            unplayable,
        })
    }
}

/// All differences from the row's expectations.
pub(crate) fn faults(row: &Row, camera: &CameraHandle, seen: &Seen, to: Timestamp) -> Vec<String> {
    let error = seen.error.as_deref().unwrap_or("no error is shown");
    if let Some(why) = &seen.unplayable {
        return vec![format!("it cannot be fetched: {why}; {error}")];
    }
    let Some(first) = seen.footage.frames.first() else {
        return vec![format!("nothing is recorded: {error}")];
    };
    let first_us = i64::try_from(first.stamp.captured_us).unwrap_or(0);
    let mut faults = Vec::new();
    if first_us - seen.added_at.micros() > FIRST_US_MAX {
        faults.push(format!(
            "it begins {} ms after it was added",
            (first_us - seen.added_at.micros()) / 1000
        ));
    }
    let held_us = i64::try_from(row.oddity.held_us()).unwrap_or(0);
    let sent = sent(camera, first.stamp.sequence, to.micros() - END_US - held_us);
    faults.extend(frames(row, camera.id(), &sent, seen));
    faults.extend(times(row, seen));
    faults.extend(gaps(row, seen, to));
    faults.extend(sound(row, seen));
    faults
}

/// Frames sent from the first recorded one to the end, without those that the camera spoiled
/// itself.
fn sent(camera: &CameraHandle, first: u64, to_us: i64) -> Vec<Sent> {
    let to_us = u64::try_from(to_us).unwrap_or(0);
    let all = camera.sent_range(first..u64::MAX);
    all.into_iter()
        .filter(|sent| sent.captured_us < to_us && !camera.is_hurt(sent.sequence))
        .collect()
}

fn frames(row: &Row, number: u32, sent: &[Sent], seen: &Seen) -> Option<String> {
    let stamps: Vec<_> = seen
        .footage
        .frames
        .iter()
        .map(|found| found.stamp)
        .collect();
    let loss = count(number, sent, &stamps);
    let is_whole = loss.lost <= row.lost_max
        && loss.sent > 2
        && (loss.doubled, loss.reordered, loss.foreign) == (0, 0, 0);
    let first = loss
        .gaps
        .first()
        .map(|gap| format!("; the first: {gap:?}"))
        .unwrap_or_default();
    let text = || {
        format!(
            "{} of {} frames, {} doubled, {} out of order, {} without a stamp{first}; {}",
            loss.recorded,
            loss.sent,
            loss.doubled,
            loss.reordered,
            seen.footage.unstamped,
            seen.error.as_deref().unwrap_or("no error is shown"),
        )
    };
    // Units between frames, with a time of their own, become frames of their own; and a frame that
    // lost its first packet is kept, as far as it arrived.
    let may_be_unstamped =
        row.oddity.name().contains("between-frames") || matches!(row.oddity, Oddity::Loss(_));
    (!is_whole || (seen.footage.unstamped > 0 && !may_be_unstamped)).then(text)
}

/// Checks the first frame of each chunk; with a wrong clock, only those after it can be detected.
fn times(row: &Row, seen: &Seen) -> Option<String> {
    let first_us = seen.footage.frames.first()?.stamp.captured_us;
    let settled_us = if matches!(row.oddity, Oddity::Clock(_)) {
        SETTLED_US
    } else {
        0
    };
    let off = |found: &holdfast_chaos::evidence::Found| {
        let is_settled = found.stamp.captured_us >= first_us + settled_us;
        is_settled.then_some(found.wall_us? - i64::try_from(found.stamp.captured_us).ok()?)
    };
    let offs: Vec<i64> = seen.footage.frames.iter().filter_map(off).collect();
    let (least, most) = (*offs.iter().min()?, *offs.iter().max()?);
    let is_right = row.off_us.0 <= least && most <= row.off_us.1;
    (!is_right).then(|| {
        format!(
            "recorded {} ms to {} ms off the capture",
            least / 1000,
            most / 1000
        )
    })
}

/// Gaps between the first frame and the end that the row does not explain.
fn gaps(row: &Row, seen: &Seen, to: Timestamp) -> Option<String> {
    let begun = seen.timeline.spans.first()?.start;
    let unexplained = seen.timeline.gaps.iter().filter(|gap| {
        let is_within = gap.start >= begun && gap.start < to.plus_micros(-END_US);
        is_within && gap.end.micros_since(gap.start) > HOLE_US && !row.causes.contains(&gap.cause)
    });
    let shown: Vec<String> = unexplained
        .map(|gap| {
            let of_nothing = if gap.cause == GapCause::Unknown {
                " (nothing explains it)"
            } else {
                ""
            };
            format!(
                "{:?}{of_nothing} for {} ms",
                gap.cause,
                gap.end.micros_since(gap.start) / 1000
            )
        })
        .collect();
    let first: Vec<&str> = shown.iter().take(3).map(String::as_str).collect();
    (!shown.is_empty()).then(|| format!("{} gaps: {}", shown.len(), first.join(", ")))
}

fn sound(row: &Row, seen: &Seen) -> Option<String> {
    let file = seen.file.as_deref()?;
    let tracks = match re_mp4::Mp4::read_bytes(file) {
        Ok(parsed) => parsed.tracks().len(),
        Err(error) => return Some(format!("the export is no MP4: {error}")),
    };
    let is_right = row
        .sound
        .is_none_or(|sound| tracks == 1 + usize::from(sound));
    (!is_right).then(|| format!("the export has {tracks} tracks"))
}
