//! A playlist of single pictures (RFC 8216, 4.3.3.6), for fast search: the access points of the
//! segments in the range's own playlist, at the same media times. Pure.

use super::Tracks;
use super::hls::{InitPair, Item, Segment};
use super::playlist::{Request, query, write_map, write_times};
use crate::range::Range;
use holdfast_storage::chunk::{AccessPoint, ChunkEntry, InitId};
use holdfast_storage::time::Timestamp;
use std::fmt::Write;

/// The minimum distance of pictures, in microseconds: some cameras send nothing but keyframes.
const APART_MICROS_MIN: i64 = 500_000;

/// The most pictures of one playlist.
const PICTURES_MAX: i64 = 10_000;

/// One picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// When it was recorded: it is the first picture of the chunk that begins then.
    pub at: Timestamp,
    pub init: InitId,
    /// Wall time of the presentation's time 0, for this picture.
    pub base: Timestamp,
    /// Time until the next one, in microseconds.
    pub shown_micros: i64,
}

/// The pictures of a playlist's segments ([`super::hls::plan_playlist`]); media times continue
/// across gaps.
#[must_use]
pub fn plan_pictures(tracks: &Tracks, items: &[Item]) -> Vec<Picture> {
    let segments = items.iter().filter_map(|item| {
        if let Item::Segment(segment) = item {
            Some(segment)
        } else {
            None
        }
    });
    let total: i64 = segments.clone().map(length).sum();
    let apart = APART_MICROS_MIN.max(total / PICTURES_MAX);
    let (mut media, mut pictures) = (0, Vec::<(i64, Picture)>::new());
    for segment in segments {
        for entry in pictures_of(&tracks.video, segment) {
            let at = entry.meta.start;
            let shown = media + at.micros_since(segment.range.from);
            if pictures
                .last()
                .is_none_or(|(before, _)| shown - before >= apart)
            {
                let base = segment.range.from.plus_micros(-media);
                pictures.push((
                    shown,
                    Picture {
                        at,
                        init: entry.meta.init,
                        base,
                        shown_micros: 0,
                    },
                ));
            }
        }
        media += length(segment);
    }
    let ends: Vec<i64> = pictures
        .iter()
        .skip(1)
        .map(|(shown, _)| *shown)
        .chain([total])
        .collect();
    pictures
        .into_iter()
        .zip(ends)
        .map(|((shown, picture), end)| Picture {
            shown_micros: end - shown,
            ..picture
        })
        .collect()
}

fn length(segment: &Segment) -> i64 {
    segment.range.to.micros_since(segment.range.from).max(0)
}

fn pictures_of<'a>(
    video: &'a [ChunkEntry],
    segment: &'a Segment,
) -> impl Iterator<Item = &'a ChunkEntry> {
    let from = video.partition_point(|entry| entry.meta.start < segment.range.from);
    let within = video[from..]
        .iter()
        .take_while(|entry| entry.meta.start < segment.range.to);
    within.filter(|entry| entry.meta.init == segment.inits.video && is_picture(entry))
}

/// Whether a chunk begins with a picture that is complete by itself.
#[must_use]
pub fn is_picture(entry: &ChunkEntry) -> bool {
    let point = entry.meta.access.map(|access| access.point);
    matches!(
        point,
        Some(AccessPoint::Sync | AccessPoint::Open | AccessPoint::Recovery { frames: 0 })
    )
}

/// The playlist of these pictures.
#[must_use]
pub fn write_pictures(pictures: &[Picture], request: &Request<'_>) -> String {
    let longest = pictures
        .iter()
        .map(|picture| picture.shown_micros)
        .max()
        .unwrap_or_default();
    let target_s = longest.max(1).unsigned_abs().div_ceil(1_000_000);
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n"
    );
    let mut map = None;
    for Picture {
        at,
        init,
        base,
        shown_micros,
    } in pictures
    {
        let inits = InitPair {
            video: *init,
            audio: None,
        };
        if map.replace(inits) != Some(inits) {
            write_map(&mut out, &inits, request);
        }
        write_times(
            &mut out,
            Range {
                from: *at,
                to: at.plus_micros(*shown_micros),
            },
        );
        let query = query(Some(&inits), request);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "picture.m4s?at={}&base={}&{query}",
            at.micros(),
            base.micros()
        );
    }
    out + "#EXT-X-ENDLIST\n"
}

/// The highest bit rate of any of these chunks.
#[must_use]
pub fn peak_bits_per_second<'a>(chunks: impl IntoIterator<Item = &'a ChunkEntry>) -> u64 {
    let bits = |entry: &ChunkEntry| u64::from(entry.location.payload_bytes) * 8_000_000;
    let peak = chunks
        .into_iter()
        .map(|entry| bits(entry) / u64::from(entry.meta.duration_us.max(1)))
        .max();
    peak.unwrap_or_default().max(1)
}

/// A master playlist of the range's own playlist and the one of its pictures, by their URIs.
#[must_use]
pub fn write_with_pictures(
    (main, main_bits): (&str, u64),
    (pictures, bits): (&str, u64),
) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-STREAM-INF:BANDWIDTH={main_bits}\n{main}\n\
         #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={bits},URI=\"{pictures}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::hls::plan_playlist;
    use crate::playback::playlist::GapDisplay;
    use crate::playback::testing::session;
    use holdfast_storage::chunk::Access;
    use holdfast_storage::ids::StreamKind;
    use holdfast_storage::ids::TrackKind::Video;

    fn range(to_ms: i64) -> Range {
        Range {
            from: Timestamp(0),
            to: Timestamp(to_ms * 1000),
        }
    }

    fn planned(video: Vec<ChunkEntry>) -> Vec<Picture> {
        let tracks = Tracks {
            video,
            audio: vec![],
        };
        plan_pictures(&tracks, &plan_playlist(&tracks, &[], range(600_000), false))
    }

    /// When each was recorded, when it is shown, and for how long, in milliseconds.
    fn sketch(pictures: &[Picture]) -> Vec<(i64, i64, i64)> {
        let ms = |micros: i64| micros / 1000;
        pictures
            .iter()
            .map(|one| {
                (
                    ms(one.at.micros()),
                    ms(one.at.micros_since(one.base)),
                    ms(one.shown_micros),
                )
            })
            .collect()
    }

    #[test]
    fn pictures_are_shown_up_to_the_next_one_and_times_continue_over_gaps() {
        let video = [
            session(1, Video, 1, 0, "KdKdd"),
            session(2, Video, 2, 60_000, "dKdd"),
        ]
        .concat();
        assert_eq!(
            sketch(&planned(video)),
            [(0, 0, 1000), (1000, 1000, 1500), (60_500, 2500, 1500)]
        );
        assert!(planned(vec![]).is_empty());
    }

    #[test]
    fn what_is_no_whole_picture_is_left_out_and_so_is_what_comes_too_often() {
        let mut video = session(1, Video, 1, 0, "KdKdKd");
        video[2].meta.access = Some(Access {
            point: AccessPoint::Recovery { frames: 9 },
            slices_crc: 7,
        });
        assert_eq!(sketch(&planned(video)), [(0, 0, 2000), (2000, 2000, 1000)]);
        let mut dense = session(1, Video, 1, 0, &"K".repeat(20));
        dense.iter_mut().enumerate().for_each(|(n, entry)| {
            (entry.meta.start, entry.meta.duration_us) = (Timestamp(n as i64 * 100_000), 100_000);
        });
        assert_eq!(sketch(&planned(dense)).len(), 4);
    }

    #[test]
    fn the_playlist_is_one_of_pictures() {
        let request = Request {
            range: range(9),
            stream: StreamKind::Main,
            token: Some("a&b"),
            strict: false,
            gaps: GapDisplay::Skip,
        };
        let video = [
            session(1, Video, 1, 0, "KdKdd"),
            session(2, Video, 2, 60_000, "K"),
        ]
        .concat();
        let text = write_pictures(&planned(video), &request);
        let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap();
        assert!(playlist.i_frames_only && playlist.end_list && playlist.target_duration == 2);
        assert_eq!(
            playlist
                .segments
                .iter()
                .filter(|one| one.map.is_some())
                .count(),
            2
        );
        let uri = &playlist.segments[1].uri;
        assert_eq!(
            uri,
            "picture.m4s?at=1000000&base=0&video=0000000000000001&token=a%26b"
        );
        assert!(
            playlist
                .segments
                .iter()
                .all(|one| one.duration.round() as u64 <= playlist.target_duration)
        );
    }
}
