//! Writes an HLS media playlist (RFC 8216; `EXT-X-GAP` from draft-pantos-hls-rfc8216bis, 4.4.4.7).
//! Every URI is relative and contains everything that a node needs to answer it.
//!
//! A player sees no gaps: each segment names the wall time of the presentation's time 0, and every
//! gap shifts that, so that media times continue. `docs/decisions/2026-11-30-gaps-in-hls.md`
//! describes how players treat the alternatives.

use super::LEAD_IN_SHOWN_MAX;
use super::hls::{InitPair, Item, Segment};
use crate::range::Range;
use holdfast_storage::chunk::{AccessPoint, InitId};
use holdfast_storage::ids::StreamKind;
use holdfast_storage::time::Timestamp;
use serde::Deserialize;
use std::fmt::Write;
use utoipa::ToSchema;

/// The most entries for the gaps of one playlist; longer gaps make longer entries.
pub const GAP_ENTRIES_MAX: i64 = 1000;

/// How a playlist shows time without footage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapDisplay {
    /// Not at all: media times continue, only the wall time jumps.
    #[default]
    Skip,
    /// `EXT-X-GAP` entries: media times are wall times.
    Entries,
}

/// The request for a playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub range: Range,
    pub stream: StreamKind,
    /// The token from the query, to be passed on: players do not send headers, and relative URIs
    /// lose the query.
    pub token: Option<&'a str>,
    /// Frames that refer to lost ones are left out.
    pub strict: bool,
    pub gaps: GapDisplay,
}

/// The playlist of these items.
#[must_use]
pub fn write_playlist(items: &[Item], request: &Request<'_>) -> String {
    let skips_gaps = request.gaps == GapDisplay::Skip;
    let listed: Vec<Item> = items
        .iter()
        .filter(|item| !skips_gaps || matches!(item, Item::Segment(_)))
        .copied()
        .collect();
    let gap_micros_max = gap_micros_max(&listed);
    let target_s = target_seconds(&listed, gap_micros_max);
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n"
    );
    if segments(&listed).all(|segment| segment.access == Some(AccessPoint::Sync)) {
        out += "#EXT-X-INDEPENDENT-SEGMENTS\n";
    }
    write_start(&mut out, &listed, request);
    // A gap at the beginning uses the first segment's map.
    let mut map = segments(&listed).next().map(|segment| segment.inits);
    map.iter()
        .for_each(|inits| write_map(&mut out, inits, request));
    // GStreamer waits as long as the first picture is after time 0.
    let begin = listed
        .first()
        .map_or(request.range.from, |item| range_of(item).from);
    let mut media_micros = 0;
    for item in &listed {
        match item {
            Item::Gap(range) => write_gap(&mut out, *range, gap_micros_max, request.token),
            Item::Segment(segment) => {
                let base = if skips_gaps {
                    segment.range.from.plus_micros(-media_micros)
                } else {
                    begin
                };
                write_segment(
                    &mut out,
                    segment,
                    map.replace(segment.inits) != Some(segment.inits),
                    (base, request),
                );
                media_micros += micros(&segment.range);
            }
        }
    }
    out += "#EXT-X-ENDLIST\n";
    out
}

fn segments(items: &[Item]) -> impl Iterator<Item = &Segment> {
    items.iter().filter_map(|item| {
        if let Item::Segment(segment) = item {
            Some(segment)
        } else {
            None
        }
    })
}

fn range_of(item: &Item) -> Range {
    let (Item::Gap(range) | Item::Segment(Segment { range, .. })) = item;
    *range
}

/// Has players begin at the requested time if the keyframe that decodes it was long before.
fn write_start(out: &mut String, listed: &[Item], request: &Request<'_>) {
    let from = request.range.from;
    let first = segments(listed)
        .next()
        .map_or(from, |first| first.range.from);
    if from.micros_since(first) >= LEAD_IN_SHOWN_MAX.as_micros() as i64 {
        let before = |range: Range| {
            micros(&Range {
                to: range.to.min(from),
                ..range
            })
        };
        let offset: i64 = listed.iter().map(|item| before(range_of(item))).sum();
        *out += &format!(
            "#EXT-X-START:TIME-OFFSET={}.{:06},PRECISE=YES\n",
            offset / 1_000_000,
            offset % 1_000_000
        );
    }
}

/// The name of an init in a URI.
#[must_use]
pub fn init_name(init: InitId) -> String {
    format!("{:016x}", init.0)
}

/// The init with this name.
#[must_use]
pub fn init_of_name(name: &str) -> Option<InitId> {
    let plain = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(name, 16)
        .ok()
        .filter(|_| plain)
        .map(InitId)
}

fn micros(range: &Range) -> i64 {
    range.to.micros_since(range.from).max(0)
}

fn segment_micros_longest(items: &[Item]) -> i64 {
    items
        .iter()
        .map(|item| {
            if let Item::Segment(segment) = item {
                micros(&segment.range)
            } else {
                0
            }
        })
        .max()
        .unwrap_or(0)
}

fn gap_micros_max(items: &[Item]) -> i64 {
    let total: i64 = items
        .iter()
        .map(|item| {
            if let Item::Gap(range) = item {
                micros(range)
            } else {
                0
            }
        })
        .sum();
    segment_micros_longest(items)
        .max(1_000_000)
        .max(total / GAP_ENTRIES_MAX)
}

/// No entry's duration, rounded, may exceed it (RFC 8216, 4.3.3.1).
fn target_seconds(items: &[Item], gap_micros_max: i64) -> i64 {
    let has_gap = items.iter().any(|item| matches!(item, Item::Gap(_)));
    let longest = segment_micros_longest(items).max(if has_gap { gap_micros_max } else { 0 });
    ((longest + 999_999) / 1_000_000).max(1)
}

pub(super) fn write_map(out: &mut String, inits: &InitPair, request: &Request<'_>) {
    let query = query(Some(inits), request);
    *out += &format!("#EXT-X-MAP:URI=\"init.mp4?{query}\"\n");
}

fn write_segment(
    out: &mut String,
    segment: &Segment,
    other_map: bool,
    (base, request): (Timestamp, &Request<'_>),
) {
    if segment.discontinuity {
        *out += "#EXT-X-DISCONTINUITY\n";
    }
    if other_map {
        write_map(out, &segment.inits, request);
    }
    write_times(out, segment.range);
    let Range { from, to } = segment.range;
    let query = query(Some(&segment.inits), request);
    let within = if segment.access.is_none() {
        "&within_gop=true"
    } else {
        ""
    };
    let strict = if request.strict { "&strict=true" } else { "" };
    *out += &format!(
        "segment.m4s?from={}&to={}&base={}&{query}{within}{strict}\n",
        from.micros(),
        to.micros(),
        base.micros()
    );
}

fn write_gap(out: &mut String, gap: Range, piece_micros: i64, token: Option<&str>) {
    let token = token_query(token);
    let mut from = gap.from;
    while from < gap.to {
        let to = from.plus_micros(piece_micros).min(gap.to);
        *out += "#EXT-X-GAP\n";
        write_times(out, Range { from, to });
        let _ = writeln!(out, "gap.m4s{token}");
        from = to;
    }
}

pub(super) fn write_times(out: &mut String, range: Range) {
    let duration = micros(&range);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{}.{:06},",
        range.from,
        duration / 1_000_000,
        duration % 1_000_000
    );
}

/// The part of a URI's query that describes the inits and the request.
pub(crate) fn query(inits: Option<&InitPair>, request: &Request<'_>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    inits.iter().for_each(|inits| {
        query.append_pair("video", &init_name(inits.video));
    });
    inits
        .and_then(|inits| inits.audio)
        .iter()
        .for_each(|audio| {
            query.append_pair("audio", &init_name(*audio));
        });
    if request.stream == StreamKind::Sub {
        query.append_pair("stream", "sub");
    }
    request.token.iter().for_each(|token| {
        query.append_pair("token", token);
    });
    query.finish()
}

/// The query of a URI that only needs the token.
pub(super) fn token_query(token: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    token
        .map(|token| format!("?{}", query.append_pair("token", token).finish()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use m3u8_rs::{MediaPlaylist, MediaPlaylistType};

    fn range(from_ms: i64, to_ms: i64) -> Range {
        Range {
            from: Timestamp(from_ms * 1000),
            to: Timestamp(to_ms * 1000),
        }
    }

    fn segment(from_ms: i64, to_ms: i64, init: u64, discontinuity: bool) -> Item {
        let inits = InitPair {
            video: InitId(init),
            audio: Some(InitId(9)),
        };
        Item::Segment(Segment {
            range: range(from_ms, to_ms),
            inits,
            access: Some(AccessPoint::Sync),
            continues: !discontinuity,
            discontinuity,
        })
    }

    fn parsed(items: &[Item]) -> MediaPlaylist {
        shown(items, GapDisplay::Skip)
    }

    fn shown(items: &[Item], gaps: GapDisplay) -> MediaPlaylist {
        let (stream, token) = (StreamKind::Sub, Some("a&b"));
        let request = Request {
            range: range(0, 60_000),
            stream,
            token,
            strict: false,
            gaps,
        };
        let text = write_playlist(items, &request);
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_closed_range_is_a_whole_vod_playlist() {
        let items = [
            segment(1000, 5000, 1, false),
            segment(5000, 9500, 1, false),
            segment(9500, 10_000, 2, true),
        ];
        let playlist = parsed(&items);
        assert_eq!((playlist.version, playlist.target_duration), (Some(7), 5));
        assert!(playlist.end_list && playlist.independent_segments);
        assert_eq!(playlist.playlist_type, Some(MediaPlaylistType::Vod));
        let maps: Vec<_> = playlist
            .segments
            .iter()
            .map(|segment| segment.map.clone().map(|map| map.uri))
            .collect();
        let map = |init| {
            Some(format!(
                "init.mp4?video={init:016x}&audio=0000000000000009&stream=sub&token=a%26b"
            ))
        };
        assert_eq!(maps, [map(1), None, map(2)]);
        assert_eq!(
            playlist
                .segments
                .iter()
                .map(|segment| segment.discontinuity)
                .collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(playlist.segments[1].duration, 4.5);
        assert_eq!(
            playlist.segments[1]
                .program_date_time
                .unwrap()
                .timestamp_millis(),
            5000
        );
        assert!(playlist.segments[0].uri.starts_with(
            "segment.m4s?from=1000000&to=5000000&base=1000000&video=0000000000000001&"
        ));
    }

    #[test]
    fn times_of_media_continue_over_gaps() {
        let items = [
            Item::Gap(range(0, 5000)),
            segment(5000, 9000, 1, false),
            segment(9100, 13_000, 1, false),
            Item::Gap(range(13_000, 500_000)),
            segment(500_000, 504_000, 2, false),
            Item::Gap(range(504_000, 600_000)),
        ];
        let playlist = parsed(&items);
        let of = |uri: &str, key: &str| -> i64 {
            let (_, value) = uri.split_once(key).unwrap();
            value.split('&').next().unwrap().parse().unwrap()
        };
        let media = playlist
            .segments
            .iter()
            .map(|segment| of(&segment.uri, "from=") - of(&segment.uri, "base="));
        assert_eq!(
            media.collect::<Vec<_>>(),
            [0, 4_000_000, 7_900_000],
            "the sums of the durations before"
        );
        assert!(
            playlist
                .segments
                .iter()
                .all(|segment| segment.unknown_tags.is_empty() && !segment.discontinuity)
        );
        let dates = playlist
            .segments
            .iter()
            .map(|segment| segment.program_date_time.unwrap().timestamp_millis());
        assert_eq!(dates.collect::<Vec<_>>(), [5000, 9100, 500_000]);
    }

    #[test]
    fn gaps_that_are_asked_for_are_entries_and_none_exceeds_the_target() {
        let parsed = |items: &[Item]| shown(items, GapDisplay::Entries);
        let playlist = parsed(&[
            Item::Gap(range(0, 5000)),
            segment(5000, 9000, 1, false),
            Item::Gap(range(9000, 20_000)),
        ]);
        assert!(
            playlist
                .segments
                .iter()
                .all(|segment| segment.uri.ends_with("token=a%26b")),
            "{playlist:?}"
        );
        assert!(
            playlist.segments[2].uri.contains("&base=0&"),
            "{playlist:?}"
        );
        let gaps = |segment: &&m3u8_rs::MediaSegment| {
            segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
        };
        assert_eq!(playlist.segments.iter().filter(gaps).count(), 2 + 3);
        assert!(
            playlist.segments[0].map.is_some(),
            "the first entry stands under a map"
        );
        let fits = |playlist: &MediaPlaylist| {
            playlist
                .segments
                .iter()
                .all(|segment| segment.duration.round() <= playlist.target_duration as f32)
        };
        assert!(fits(&playlist));
        let day = parsed(&[
            segment(0, 4000, 1, false),
            Item::Gap(range(4000, 24 * 3_600_000)),
        ]);
        assert!(fits(&day), "{}", day.target_duration);
        assert!(day.segments.len() as i64 <= GAP_ENTRIES_MAX + 2);
    }

    #[test]
    fn init_names_come_back() {
        assert_eq!(init_of_name(&init_name(InitId(0xab))), Some(InitId(0xab)));
        for bad in ["", "ab", "+00000000000000a", "000000000000000g"] {
            assert_eq!(init_of_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn segments_are_independent_only_where_all_are() {
        let with = |access| {
            let Item::Segment(segment) = segment(5000, 9000, 1, false) else {
                unreachable!()
            };
            Item::Segment(Segment { access, ..segment })
        };
        let is_independent =
            |access| parsed(&[segment(1000, 5000, 1, false), with(access)]).independent_segments;
        assert!(is_independent(Some(AccessPoint::Sync)));
        for access in [
            None,
            Some(AccessPoint::Open),
            Some(AccessPoint::Recovery { frames: 9 }),
        ] {
            assert!(!is_independent(access), "{access:?}");
        }
        let uris: Vec<String> = parsed(&[with(None)])
            .segments
            .iter()
            .map(|segment| segment.uri.clone())
            .collect();
        assert!(uris[0].ends_with("&within_gop=true"), "{uris:?}");
    }

    #[test]
    fn what_begins_long_before_the_range_is_shown_from_the_range_on() {
        let early = parsed(&[segment(-700_000, 0, 1, false)]);
        assert_eq!(
            early.start.map(|start| (start.time_offset, start.precise)),
            Some((700.0, Some(true)))
        );
        assert!(
            early.segments[0].uri.contains("&base=-700000000&"),
            "{}",
            early.segments[0].uri
        );
        assert!(parsed(&[segment(-2000, 2000, 1, false)]).start.is_none());
        let torn = parsed(&[
            segment(-60_000, -50_000, 1, false),
            segment(-5000, 5000, 1, false),
        ]);
        assert_eq!(
            torn.start.map(|start| start.time_offset),
            Some(15.0),
            "gaps take no time"
        );
    }
}
