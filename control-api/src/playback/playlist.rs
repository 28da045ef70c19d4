//! Writes an HLS media playlist (RFC 8216; `EXT-X-GAP` from draft-pantos-hls-rfc8216bis, 4.4.4.7). Every URI is relative and says all that
//! any node needs to answer it.

use super::LEAD_IN_SHOWN_MAX;
use super::hls::{InitPair, Item, Segment};
use crate::range::Range;
use holdfast_storage::chunk::{AccessPoint, InitId};
use holdfast_storage::ids::StreamKind;
use holdfast_storage::time::Timestamp;
use std::fmt::Write;

/// Entries that the gaps of one playlist may take together; longer gaps make longer entries.
pub const GAP_ENTRIES_MAX: i64 = 1000;

/// Target duration of a playlist that still grows, in seconds: it may not change between reloads (RFC 8216, 6.2.1).
const TARGET_SECONDS_GROWING: i64 = 10;

/// What a playlist is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub range: Range,
    pub stream: StreamKind,
    /// The token that came in the query, to be handed on: players do not send headers, and relative URIs lose the query.
    pub token: Option<&'a str>,
    /// What refers to lost frames is left out.
    pub strict: bool,
    /// The range's end has not come yet.
    pub growing: bool,
}

/// How long before the range a presentation's time 0 is, in microseconds, unless something is
/// played that was recorded earlier still.
const BASE_MICROS: i64 = 600_000_000;

impl Request<'_> {
    /// Wall time of the presentation's time 0: the same for every reload and on every node, before anything that is played.
    #[must_use]
    pub fn base(&self, items: &[Item]) -> Timestamp {
        let first = items
            .iter()
            .find_map(|item| if let Item::Segment(segment) = item { Some(segment.range.from) } else { None });
        let usual = self.range.from.plus_micros(-BASE_MICROS);
        first.map_or(usual, |first| usual.min(first))
    }
}

/// The playlist of these items.
#[must_use]
pub fn write_playlist(items: &[Item], request: &Request<'_>) -> String {
    let gap_micros_max = gap_micros_max(items);
    let target_s = target_seconds(items, gap_micros_max, request.growing);
    let mut out = format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:0\n");
    out += if request.growing { "#EXT-X-PLAYLIST-TYPE:EVENT\n" } else { "#EXT-X-PLAYLIST-TYPE:VOD\n" };
    let segments =
        || items.iter().filter_map(|item| if let Item::Segment(segment) = item { Some(segment) } else { None });
    if segments().all(|segment| segment.access == Some(AccessPoint::Sync)) {
        out += "#EXT-X-INDEPENDENT-SEGMENTS\n";
    }
    let lead_in = segments().next().map_or(0, |first| request.range.from.micros_since(first.range.from));
    if lead_in >= LEAD_IN_SHOWN_MAX.as_micros() as i64 {
        let (seconds, micros) = (lead_in / 1_000_000, lead_in % 1_000_000);
        out += &format!("#EXT-X-START:TIME-OFFSET={seconds}.{micros:06},PRECISE=YES\n");
    }
    let base = request.base(items);
    // A gap at the beginning stands under the first segment's map.
    let mut map = segments().next().map(|segment| segment.inits);
    map.iter().for_each(|inits| write_map(&mut out, inits, request));
    for item in items {
        match item {
            Item::Gap(range) => write_gap(&mut out, *range, gap_micros_max),
            Item::Segment(segment) => {
                write_segment(&mut out, segment, map.replace(segment.inits) != Some(segment.inits), (base, request));
            }
        }
    }
    if !request.growing {
        out += "#EXT-X-ENDLIST\n";
    }
    out
}

/// An init's name in a URI.
#[must_use]
pub fn init_name(init: InitId) -> String {
    format!("{:016x}", init.0)
}

/// The init of such a name.
#[must_use]
pub fn init_of_name(name: &str) -> Option<InitId> {
    let plain = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(name, 16).ok().filter(|_| plain).map(InitId)
}

fn micros(range: &Range) -> i64 {
    range.to.micros_since(range.from).max(0)
}

fn segment_micros_longest(items: &[Item]) -> i64 {
    items
        .iter()
        .map(|item| if let Item::Segment(segment) = item { micros(&segment.range) } else { 0 })
        .max()
        .unwrap_or(0)
}

fn gap_micros_max(items: &[Item]) -> i64 {
    let total: i64 = items.iter().map(|item| if let Item::Gap(range) = item { micros(range) } else { 0 }).sum();
    segment_micros_longest(items).max(1_000_000).max(total / GAP_ENTRIES_MAX)
}

/// No entry's duration, rounded, may exceed it (RFC 8216, 4.3.3.1).
fn target_seconds(items: &[Item], gap_micros_max: i64, growing: bool) -> i64 {
    let has_gap = items.iter().any(|item| matches!(item, Item::Gap(_)));
    let longest = segment_micros_longest(items).max(if has_gap { gap_micros_max } else { 0 });
    ((longest + 999_999) / 1_000_000).max(if growing { TARGET_SECONDS_GROWING } else { 1 })
}

fn write_map(out: &mut String, inits: &InitPair, request: &Request<'_>) {
    let query = query(inits, request);
    *out += &format!("#EXT-X-MAP:URI=\"init.mp4?{query}\"\n");
}

fn write_segment(out: &mut String, segment: &Segment, other_map: bool, (base, request): (Timestamp, &Request<'_>)) {
    if segment.discontinuity {
        *out += "#EXT-X-DISCONTINUITY\n";
    }
    if other_map {
        write_map(out, &segment.inits, request);
    }
    write_times(out, segment.range);
    let Range { from, to } = segment.range;
    let query = query(&segment.inits, request);
    let within = if segment.access.is_none() { "&within_gop=true" } else { "" };
    let strict = if request.strict { "&strict=true" } else { "" };
    *out += &format!(
        "segment.m4s?from={}&to={}&base={}&{query}{within}{strict}\n",
        from.micros(),
        to.micros(),
        base.micros()
    );
}

fn write_gap(out: &mut String, gap: Range, piece_micros: i64) {
    let mut from = gap.from;
    while from < gap.to {
        let to = from.plus_micros(piece_micros).min(gap.to);
        *out += "#EXT-X-GAP\n";
        write_times(out, Range { from, to });
        *out += "gap.m4s\n";
        from = to;
    }
}

fn write_times(out: &mut String, range: Range) {
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

fn query(inits: &InitPair, request: &Request<'_>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("video", &init_name(inits.video));
    inits.audio.iter().for_each(|audio| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use m3u8_rs::{MediaPlaylist, MediaPlaylistType};

    fn range(from_ms: i64, to_ms: i64) -> Range {
        Range { from: Timestamp(from_ms * 1000), to: Timestamp(to_ms * 1000) }
    }

    fn segment(from_ms: i64, to_ms: i64, init: u64, discontinuity: bool) -> Item {
        let inits = InitPair { video: InitId(init), audio: Some(InitId(9)) };
        Item::Segment(Segment { range: range(from_ms, to_ms), inits, access: Some(AccessPoint::Sync), discontinuity })
    }

    fn parsed(items: &[Item], growing: bool) -> MediaPlaylist {
        let request =
            Request { range: range(0, 60_000), stream: StreamKind::Sub, token: Some("a&b"), strict: false, growing };
        let text = write_playlist(items, &request);
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_closed_range_is_a_whole_vod_playlist() {
        let items = [segment(1000, 5000, 1, false), segment(5000, 9500, 1, false), segment(9500, 10_000, 2, true)];
        let playlist = parsed(&items, false);
        assert_eq!((playlist.version, playlist.target_duration), (Some(7), 5));
        assert!(playlist.end_list && playlist.independent_segments);
        assert_eq!(playlist.playlist_type, Some(MediaPlaylistType::Vod));
        let maps: Vec<_> = playlist.segments.iter().map(|segment| segment.map.clone().map(|map| map.uri)).collect();
        let map = |init| Some(format!("init.mp4?video={init:016x}&audio=0000000000000009&stream=sub&token=a%26b"));
        assert_eq!(maps, [map(1), None, map(2)]);
        assert_eq!(
            playlist.segments.iter().map(|segment| segment.discontinuity).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(playlist.segments[1].duration, 4.5);
        assert_eq!(playlist.segments[1].program_date_time.unwrap().timestamp_millis(), 5000);
        assert!(
            playlist.segments[0]
                .uri
                .starts_with("segment.m4s?from=1000000&to=5000000&base=-600000000&video=0000000000000001&")
        );
    }

    #[test]
    fn a_growing_range_has_no_end_and_a_steady_target() {
        let playlist = parsed(&[segment(1000, 3000, 1, false)], true);
        assert!(!playlist.end_list);
        assert_eq!((playlist.playlist_type, playlist.target_duration), (Some(MediaPlaylistType::Event), 10));
        parsed(&[], true);
    }

    #[test]
    fn gaps_are_marked_and_no_entry_exceeds_the_target() {
        let playlist =
            parsed(&[Item::Gap(range(0, 5000)), segment(5000, 9000, 1, false), Item::Gap(range(9000, 20_000))], false);
        let gaps = |segment: &&m3u8_rs::MediaSegment| segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP");
        assert_eq!(playlist.segments.iter().filter(gaps).count(), 2 + 3);
        assert!(playlist.segments[0].map.is_some(), "the first entry stands under a map");
        let fits = |playlist: &MediaPlaylist| {
            playlist.segments.iter().all(|segment| segment.duration.round() <= playlist.target_duration as f32)
        };
        assert!(fits(&playlist));
        let day = parsed(&[segment(0, 4000, 1, false), Item::Gap(range(4000, 24 * 3_600_000))], false);
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
            let Item::Segment(segment) = segment(5000, 9000, 1, false) else { unreachable!() };
            Item::Segment(Segment { access, ..segment })
        };
        let is_told = |access| parsed(&[segment(1000, 5000, 1, false), with(access)], false).independent_segments;
        assert!(is_told(Some(AccessPoint::Sync)));
        for access in [None, Some(AccessPoint::Open), Some(AccessPoint::Recovery { frames: 9 })] {
            assert!(!is_told(access), "{access:?}");
        }
        let uris: Vec<String> =
            parsed(&[with(None)], false).segments.iter().map(|segment| segment.uri.clone()).collect();
        assert!(uris[0].ends_with("&within_gop=true"), "{uris:?}");
    }

    #[test]
    fn what_begins_long_before_the_range_is_shown_from_the_range_on() {
        let early = parsed(&[segment(-700_000, -690_000, 1, false)], false);
        assert_eq!(early.start.map(|start| (start.time_offset, start.precise)), Some((700.0, Some(true))));
        assert!(early.segments[0].uri.contains("&base=-700000000&"), "{}", early.segments[0].uri);
        assert!(parsed(&[segment(-2000, 2000, 1, false)], false).start.is_none());
    }
}
