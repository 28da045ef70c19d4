//! Reads the media of one entry: each frame's stamp and times.

use super::{Media, Sample};
use holdfast_camera::{Stamp, sound, stamp};
use holdfast_storage::cmaf::{Error, probe};
use re_mp4::Mp4;
use std::collections::BTreeMap;

/// What an init segment says of its tracks, by their ids: the handler (ISO/IEC 14496-12, 8.4.3) and
/// ticks a second.
#[derive(Clone, Debug)]
pub(super) struct Init(BTreeMap<u32, ([u8; 4], i128)>);

type Find = fn(&[u8]) -> Option<Stamp>;

const VIDEO: [u8; 4] = *b"vide";
const SOUND: [u8; 4] = *b"soun";

impl Init {
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mp4 = Mp4::read_bytes(bytes).map_err(|error| error.to_string())?;
        let track = |track: &re_mp4::Track| {
            let handler = track.trak(&mp4).mdia.hdlr.handler_type.value;
            (track.track_id, (handler, i128::from(track.timescale)))
        };
        let tracks: BTreeMap<_, _> = mp4.tracks().values().map(track).collect();
        let has_video = tracks.values().any(|(handler, _)| *handler == VIDEO);
        let has_times = tracks.values().all(|(_, timescale)| *timescale > 0);
        if has_video && has_times {
            Ok(Self(tracks))
        } else {
            Err(format!("its tracks are {tracks:?}"))
        }
    }

    /// # Errors
    /// Where the media is damaged, or of a track that the init does not have.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Media, String> {
        let damaged = |error: Error| error.to_string();
        let mut media = Media::default();
        for range in probe::chunk_ranges(bytes) {
            let chunk = &bytes[range.map_err(damaged)?];
            let id = probe::chunk_info(chunk).map_err(damaged)?.track_id;
            let Some(&(handler, timescale)) = self.0.get(&id) else {
                return Err(format!("media of track {id}, which its init does not have"));
            };
            let micros = |ticks: u64| {
                i64::try_from(i128::from(ticks) * 1_000_000 / timescale).unwrap_or(i64::MAX)
            };
            let (samples, find) = match handler {
                VIDEO => (&mut media.video, stamp::find as Find),
                SOUND => (&mut media.sound, sound::find as Find),
                _ => continue,
            };
            for sample in probe::samples(chunk).map_err(damaged)? {
                samples.push(Sample {
                    stamp: find(&chunk[sample.offset..sample.offset + sample.size]),
                    decode_us: micros(sample.decode_time),
                    duration_us: micros(u64::from(sample.duration)),
                });
            }
        }
        Ok(media)
    }
}
