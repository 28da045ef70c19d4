//! Sound laid alongside video by both tracks' sender reports. Pure.

use super::{JUMP_US, TrackClock};
use crate::capture::ingest::media::SenderReport;
use holdfast_storage::time::Timestamp;

/// When the audio frame of RTP time `rtp` was sent, by both tracks' sender reports and the video's
/// line. `None` if a report is missing or contradicts the real arrival by more than [`JUMP_US`]
/// (some cameras' reports are nonsense).
#[must_use]
pub fn alongside_video(
    video: (&TrackClock, Option<SenderReport>),
    audio: (&TrackClock, Option<SenderReport>),
    rtp: i64,
    arrival: Timestamp,
) -> Option<Timestamp> {
    let (video_report, audio_report) = (video.1?, audio.1?);
    let since_report_us = audio.0.micros(rtp.saturating_sub(audio_report.rtp));
    let reports_apart_us = audio_report.ntp_us.saturating_sub(video_report.ntp_us);
    let video_us = video.0.expected(video_report.rtp)?;
    let alongside = video_us.plus_micros(reports_apart_us.saturating_add(since_report_us));
    (alongside.micros_since(arrival).saturating_abs() <= JUMP_US).then_some(alongside)
}
