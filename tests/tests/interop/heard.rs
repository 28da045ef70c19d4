//! The sound of a playlist, frame by frame: which of the camera's it is, and when it is heard.

use crate::judges;
use holdfast_camera::sound;
use holdfast_storage::cmaf::probe::{chunk_info, chunk_ranges, samples};
use holdfast_storage::ids::TrackKind;
use reqwest::Url;

/// Of AAC as cameras of the harness send it: samples a second, and of a frame.
const HZ: i64 = 16_000;
pub(crate) const FRAME_US: i64 = 1024 * 1_000_000 / HZ;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// The camera's number of the frame.
    pub(crate) sequence: i64,
    /// When it is decoded, in the presentation.
    pub(crate) decode_us: i64,
}

/// Where a frame does not follow the one before as the camera sent them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    /// Frames that are missing; negative where some come again.
    pub(crate) missing: i64,
    /// How long nothing is heard; negative where two frames overlap.
    pub(crate) silent_us: i64,
}

/// What the playlist at `url` has of sound, in order.
pub(crate) async fn heard(url: &str, playlist: &str) -> Vec<Heard> {
    let url = Url::parse(url).unwrap();
    let mut heard = Vec::new();
    for segment in judges::parse_playlist(playlist).segments {
        let media = reqwest::get(url.join(&segment.uri).unwrap())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        for range in chunk_ranges(&media) {
            let chunk = &media[range.unwrap()];
            if chunk_info(chunk).unwrap().track_id != TrackKind::Audio.track_id() {
                continue;
            }
            for sample in samples(chunk).unwrap() {
                let stamp = sound::find(&chunk[sample.offset..sample.offset + sample.size])
                    .expect("it is whole");
                let decode_us = i64::try_from(sample.decode_time).unwrap() * 1_000_000 / HZ;
                heard.push(Heard {
                    sequence: i64::try_from(stamp.sequence).unwrap(),
                    decode_us,
                });
            }
        }
    }
    heard
}

/// All that are worth the name: two recorders' clocks differ by some milliseconds.
pub(crate) fn jumps(heard: &[Heard]) -> Vec<Jump> {
    const EVEN_US: i64 = 30_000;
    let jump = |pair: &[Heard]| Jump {
        missing: pair[1].sequence - pair[0].sequence - 1,
        silent_us: pair[1].decode_us - pair[0].decode_us - FRAME_US,
    };
    heard
        .windows(2)
        .map(jump)
        .filter(|jump| jump.missing != 0 || jump.silent_us.abs() > EVEN_US)
        .collect()
}
