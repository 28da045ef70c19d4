//! Playlists that grow. Their entries are cells of wall time, so that every node lists the same
//! entries under the same numbers, even if nodes die, and no node has to remember what it listed:
//! footage on a node that is away becomes a gap of the same number.
//!
//! The entry of cell *k*, which covers `[kT, (k+1)T)`, begins with the first access point in the
//! cell, or else its first chunk, and ends where the next entry begins. So it is shorter than 2T,
//! and known as soon as an access point of the next cell is durable.

use super::Tracks;
use super::export::interleave;
use super::gate::{Admission, KeyframeGate};
use super::hls::InitPair;
use super::iframes::is_picture;
use super::playlist::{Request, query, write_map, write_times};
use crate::range::Range;
use holdfast_storage::chunk::{ChunkEntry, InitId};
use holdfast_storage::time::Timestamp;
use std::fmt::Write;
use std::time::Duration;

/// A cell of wall time without an access point is final this long after its end: chunks become
/// durable up to a second after their time, and a successor's first ones up to two.
pub const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// The length of a live playlist.
pub const LIVE_WINDOW: Duration = Duration::from_secs(30);

/// The cell length of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellLength {
    /// For a live playlist: players stay three target durations behind.
    Live,
    /// For a range that has not ended yet: fewer entries, for hours.
    Range,
}

/// The cells of one playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    length: CellLength,
}

/// An entry of a growing playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub number: i64,
    pub range: Range,
    /// The inits that decode it; `None` if there is nothing to play.
    pub inits: Option<InitPair>,
}

/// The listed part of a playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The number of the cell that the presentation begins with.
    pub first: i64,
    pub entries: Vec<Entry>,
    /// Only the first picture of each entry is shown.
    pub pictures: bool,
    /// No more entries will follow.
    pub is_whole: bool,
}

impl Cells {
    #[must_use]
    pub fn new(length: CellLength) -> Self {
        Self { length }
    }

    fn micros(self) -> i64 {
        match self.length {
            CellLength::Live => 2_000_000,
            CellLength::Range => 4_000_000,
        }
    }

    #[must_use]
    pub fn number_at(self, at: Timestamp) -> i64 {
        at.micros().div_euclid(self.micros())
    }

    #[must_use]
    pub fn start(self, number: i64) -> Timestamp {
        Timestamp(number.saturating_mul(self.micros()))
    }

    /// The range in which a cell's entry may lie.
    #[must_use]
    pub fn reach(self, number: i64) -> Range {
        Range {
            from: self.start(number),
            to: self.start(number.saturating_add(2)),
        }
    }

    /// The last cell whose entry cannot change any more, as of `now`.
    fn last_known(self, video: &[ChunkEntry], now: Timestamp) -> i64 {
        let by_time = self.number_at(now.plus_micros(-(SETTLED_AFTER.as_micros() as i64))) - 2;
        let access = video
            .iter()
            .rev()
            .find(|entry| entry.meta.is_access_point());
        access.map_or(by_time, |entry| {
            by_time.max(self.number_at(entry.meta.start) - 1)
        })
    }

    /// Where a cell's entry begins.
    fn begin(self, video: &[ChunkEntry], number: i64) -> Timestamp {
        let cell = between(
            video,
            Range {
                from: self.start(number),
                to: self.start(number.saturating_add(1)),
            },
        );
        let first = cell
            .iter()
            .find(|entry| entry.meta.is_access_point())
            .or(cell.first());
        first.map_or(self.start(number), |entry| entry.meta.start)
    }

    fn range(self, video: &[ChunkEntry], number: i64) -> Range {
        Range {
            from: self.begin(video, number),
            to: self.begin(video, number.saturating_add(1)),
        }
    }
}

/// The known cells of a presentation from `shown` on; the presentation began with cell `first` and
/// ends with `last`.
#[must_use]
pub fn plan_growing(
    tracks: &Tracks,
    cells: Cells,
    (first, shown, last): (i64, i64, Option<i64>),
    now: Timestamp,
    strict: bool,
) -> Listing {
    let video = playable(tracks, strict);
    let known = cells.last_known(&video, now);
    let until = last.map_or(known, |last| last.min(known));
    let mut audio_before = None;
    let entry = |number| {
        let range = cells.range(&video, number);
        let inits = between(&video, range).first().map(|entry| {
            let audio = between(&tracks.audio, range)
                .first()
                .map(|entry| entry.meta.init)
                .or(audio_before);
            audio_before = audio;
            InitPair {
                video: entry.meta.init,
                audio,
            }
        });
        Entry {
            number,
            range,
            inits,
        }
    };
    Listing {
        first,
        entries: (shown..=until).map(entry).collect(),
        pictures: false,
        is_whole: last == Some(until),
    }
}

impl Listing {
    /// The same for pictures, for fast search (RFC 8216, 4.3.3.6): one for each entry, under the
    /// same number and for the same time. An entry without one is a gap.
    #[must_use]
    pub fn of_pictures(mut self, tracks: &Tracks) -> Self {
        for entry in &mut self.entries {
            let video = entry.inits.map(|inits| inits.video);
            let has_one =
                |init: &_| first_picture(between(&tracks.video, entry.range), *init).is_some();
            entry.inits = video
                .filter(has_one)
                .map(|video| InitPair { video, audio: None });
        }
        self.pictures = true;
        self
    }
}

fn first_picture(video: &[ChunkEntry], init: InitId) -> Option<&ChunkEntry> {
    video
        .iter()
        .find(|entry| entry.meta.init == init && is_picture(entry))
}

/// The chunk that begins with the picture of an entry.
#[must_use]
pub fn cell_picture(
    tracks: &Tracks,
    cells: Cells,
    number: i64,
    video: InitId,
    strict: bool,
) -> Option<ChunkEntry> {
    let chunks = cell_chunks(
        tracks,
        cells,
        number,
        InitPair { video, audio: None },
        strict,
    );
    first_picture(&chunks, video).copied()
}

/// Whether there is playable footage from `from` on, but no known entry for it yet.
#[must_use]
pub fn is_about_to_begin(
    tracks: &Tracks,
    cells: Cells,
    from: Timestamp,
    now: Timestamp,
    strict: bool,
) -> bool {
    let video = playable(tracks, strict);
    video.iter().any(|entry| entry.meta.start >= from)
        && cells.last_known(&video, now) < cells.number_at(from)
}

/// The chunks of one entry in the order of sending.
#[must_use]
pub fn cell_chunks(
    tracks: &Tracks,
    cells: Cells,
    number: i64,
    inits: InitPair,
    strict: bool,
) -> Vec<ChunkEntry> {
    let video = playable(tracks, strict);
    let range = cells.range(&video, number);
    let of = |entries: &[ChunkEntry], init| {
        between(entries, range)
            .iter()
            .filter(|entry| Some(entry.meta.init) == init)
            .copied()
            .collect()
    };
    interleave(
        of(&video, Some(inits.video)),
        of(&tracks.audio, inits.audio),
    )
}

/// The sorted entries that begin within a range.
fn between(entries: &[ChunkEntry], range: Range) -> &[ChunkEntry] {
    let from = entries.partition_point(|entry| entry.meta.start < range.from);
    let until = entries.partition_point(|entry| entry.meta.start < range.to);
    entries.get(from..until).unwrap_or_default()
}

fn playable(tracks: &Tracks, strict: bool) -> Vec<ChunkEntry> {
    let mut gate = KeyframeGate::new(strict);
    tracks
        .video
        .iter()
        .filter(|entry| gate.admit(&entry.meta) != Admission::Skip)
        .copied()
        .collect()
}

/// The inits that decode the newest footage.
#[must_use]
pub fn newest_inits(tracks: &Tracks) -> Option<InitPair> {
    let audio = tracks.audio.last().map(|entry| entry.meta.init);
    tracks.video.last().map(|entry| InitPair {
        video: entry.meta.init,
        audio,
    })
}

/// The playlist. `opened_with` are the inits of the footage that existed when the presentation was
/// opened: while none of it is in reach, VLC would stop at a playlist without a map.
#[must_use]
pub fn write_growing(
    listing: &Listing,
    cells: Cells,
    request: &Request<'_>,
    opened_with: Option<InitPair>,
) -> String {
    let mut out = header(listing, cells);
    let opened_with = opened_with.map(|inits| InitPair {
        audio: inits.audio.filter(|_| !listing.pictures),
        ..inits
    });
    // Gaps at the beginning use the first map.
    let mut map = listing
        .entries
        .iter()
        .find_map(|entry| entry.inits)
        .or(opened_with);
    map.iter()
        .for_each(|inits| write_map(&mut out, inits, request));
    for entry in &listing.entries {
        let inits = entry.inits.or(map);
        match entry.inits {
            None => out += "#EXT-X-GAP\n",
            Some(inits) if map.replace(inits) != Some(inits) => {
                write_map(&mut out, &inits, request)
            }
            Some(_) => {}
        }
        write_times(&mut out, entry.range);
        let parameters = cell_parameters(inits, listing, cells, request);
        // hls.js gives up if a known entry changes its path. Writing to a string cannot fail.
        let _ = writeln!(out, "cell.m4s?number={}&{parameters}", entry.number);
    }
    if listing.is_whole {
        out += "#EXT-X-ENDLIST\n";
    }
    out
}

fn header(listing: &Listing, cells: Cells) -> String {
    let sequence = listing
        .entries
        .first()
        .map_or(0, |entry| entry.number - listing.first);
    let target_s = cells.micros() * 2 / 1_000_000;
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_s}\n\
         #EXT-X-MEDIA-SEQUENCE:{sequence}\n"
    );
    if cells.length == CellLength::Range {
        out += "#EXT-X-PLAYLIST-TYPE:EVENT\n";
    }
    if listing.pictures {
        out += "#EXT-X-I-FRAMES-ONLY\n";
    }
    out
}

/// The parameters of an entry's URI besides its number.
fn cell_parameters(
    inits: Option<InitPair>,
    listing: &Listing,
    cells: Cells,
    request: &Request<'_>,
) -> String {
    let base_us = cells.start(listing.first).micros();
    let query = query(inits.as_ref(), request);
    let query = if query.is_empty() {
        query
    } else {
        format!("&{query}")
    };
    let live = if cells.length == CellLength::Live {
        "&live=true"
    } else {
        ""
    };
    let strict = if request.strict { "&strict=true" } else { "" };
    let picture = if listing.pictures {
        "&picture=true"
    } else {
        ""
    };
    format!("base={base_us}{query}{live}{strict}{picture}")
}

/// A master playlist with the growing one: players read this one once, so each has a presentation
/// that begins when it was opened.
#[must_use]
pub fn write_multivariant(bits_per_second: u64, uri: &str) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-STREAM-INF:BANDWIDTH={}\n{uri}\n",
        bits_per_second.max(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::{session, starts_ms};
    use holdfast_storage::ids::StreamKind;
    use holdfast_storage::ids::TrackKind::{Audio, Video};
    use m3u8_rs::{MediaPlaylist, MediaPlaylistType};
    use proptest::prelude::*;

    const LIVE: Cells = Cells {
        length: CellLength::Live,
    };

    fn of(video: Vec<ChunkEntry>) -> Tracks {
        Tracks {
            video,
            audio: vec![],
        }
    }

    fn plan(tracks: &Tracks, now_ms: i64) -> Listing {
        plan_growing(tracks, LIVE, (0, 0, None), Timestamp(now_ms * 1000), false)
    }

    /// `number: from-to` in milliseconds; `gap` if nothing is played.
    fn sketch(listing: &Listing) -> Vec<String> {
        let show = |entry: &Entry| {
            let (from, to) = (
                entry.range.from.micros() / 1000,
                entry.range.to.micros() / 1000,
            );
            let gap = if entry.inits.is_none() { " gap" } else { "" };
            format!("{}: {from}-{to}{gap}", entry.number)
        };
        listing.entries.iter().map(show).collect()
    }

    #[test]
    fn an_entry_is_listed_once_an_access_point_of_the_next_cell_is_known() {
        let video = session(1, Video, 1, 300, "KdKdKdKdKdKd");
        let listed = |chunks: usize| sketch(&plan(&of(video[..chunks].to_vec()), 3000));
        assert!(listed(4).is_empty());
        assert_eq!(listed(5), ["0: 300-2300"]);
        assert_eq!(listed(8), ["0: 300-2300"]);
        assert_eq!(listed(9), ["0: 300-2300", "1: 2300-4300"]);
    }

    #[test]
    fn pictures_are_listed_under_the_numbers_and_times_of_their_entries() {
        let mut video = session(1, Video, 1, 0, "KdKddddddddddKdKdKdK");
        // Two cells have no keyframe; in the fourth the parameters change.
        (video[13].meta.init, video[14].meta.init) = (InitId(2), InitId(2));
        let tracks = of(video);
        let listing = plan(&tracks, 20_000);
        let pictures = listing.clone().of_pictures(&tracks);
        assert_eq!(listing.entries.len(), pictures.entries.len());
        for (entry, picture) in listing.entries.iter().zip(&pictures.entries) {
            assert_eq!((entry.number, entry.range), (picture.number, picture.range));
            let found = entry
                .inits
                .and_then(|inits| cell_picture(&tracks, LIVE, entry.number, inits.video, false));
            assert_eq!(picture.inits.is_some(), found.is_some(), "{}", entry.number);
            assert!(
                found.is_none_or(|chunk| is_picture(&chunk) && chunk.meta.start < entry.range.to)
            );
        }
        let gaps: Vec<_> = pictures
            .entries
            .iter()
            .map(|entry| entry.inits.is_none())
            .collect();
        assert!(gaps.contains(&true) && gaps.contains(&false), "{gaps:?}");
    }

    #[test]
    fn a_presentation_is_about_to_begin_until_it_has_an_entry() {
        let video = session(1, Video, 1, 300, "KdKdKdKd");
        let begins = |chunks: usize, from_ms: i64, now_ms: i64| {
            let (from, now) = (Timestamp(from_ms * 1000), Timestamp(now_ms * 1000));
            is_about_to_begin(&of(video[..chunks].to_vec()), LIVE, from, now, false)
        };
        assert_eq!(
            [
                begins(1, 300, 900),
                begins(4, 300, 2400),
                begins(5, 300, 2900)
            ],
            [true, true, false]
        );
        assert_eq!(
            [begins(1, 300, 6900), begins(1, 300, 7000)],
            [true, false],
            "then it is known by the time"
        );
        assert!(
            !begins(0, 0, 900) && !begins(4, 60_000, 2400),
            "there is nothing to be played"
        );
    }

    #[test]
    fn without_one_an_entry_is_listed_when_nothing_can_come_any_more() {
        let tracks = of(session(1, Video, 1, 0, "Kdddddddddddddd"));
        assert!(plan(&tracks, 6900).entries.is_empty());
        assert_eq!(sketch(&plan(&tracks, 7000)), ["0: 0-2000"]);
        assert_eq!(sketch(&plan(&tracks, 9000)), ["0: 0-2000", "1: 2000-4000"]);
        assert_eq!(
            sketch(&plan(&Tracks::default(), 9000)),
            ["0: 0-2000 gap", "1: 2000-4000 gap"]
        );
    }

    #[test]
    fn what_a_dead_node_holds_becomes_gaps_of_the_same_numbers() {
        let (owner, successor) = (
            session(1, Video, 1, 200, "KdKdKdKdKd"),
            session(2, Video, 1, 6900, "KdKdKdKdKd"),
        );
        let before = plan(&of([owner, successor.clone()].concat()), 11_000);
        assert_eq!(
            sketch(&before),
            [
                "0: 200-2200",
                "1: 2200-4200",
                "2: 4200-6900",
                "3: 6900-8900",
                "4: 8900-10900"
            ]
        );
        let after = plan(&of(successor), 11_000);
        assert_eq!(
            sketch(&after),
            [
                "0: 0-2000 gap",
                "1: 2000-4000 gap",
                "2: 4000-6900 gap",
                "3: 6900-8900",
                "4: 8900-10900"
            ]
        );
    }

    #[test]
    fn a_window_slides_and_numbers_say_how_far() {
        let tracks = Tracks {
            video: session(1, Video, 1, 0, &"Kd".repeat(30)),
            audio: session(1, Audio, 9, 0, "K"),
        };
        let request = Request {
            range: Range {
                from: Timestamp(0),
                to: Timestamp(1),
            },
            stream: StreamKind::Main,
            token: Some("a&b"),
            strict: false,
            gaps: super::super::playlist::GapDisplay::Entries,
        };
        let written = |shown, last, cells| -> MediaPlaylist {
            let listing = plan_growing(
                &tracks,
                cells,
                (2, shown, last),
                Timestamp(100_000_000),
                false,
            );
            m3u8_rs::parse_media_playlist_res(
                write_growing(&listing, cells, &request, None).as_bytes(),
            )
            .unwrap()
        };
        let live = written(12, None, LIVE);
        assert_eq!(
            (
                live.media_sequence,
                live.target_duration,
                live.playlist_type
            ),
            (10, 4, None)
        );
        assert!(!live.end_list && live.segments.iter().all(|entry| entry.duration < 4.0));
        let first = &live.segments[0].uri;
        assert!(
            first.starts_with("cell.m4s?number=12&base=4000000&video=0000000000000001&"),
            "{first}"
        );
        let gap = live
            .segments
            .iter()
            .find(|entry| entry.unknown_tags.iter().any(|tag| tag.tag == "X-GAP"))
            .unwrap();
        assert!(
            gap.uri.starts_with("cell.m4s?number=15&") && gap.uri.contains("token=a%26b"),
            "{}",
            gap.uri
        );
        let nothing = plan_growing(
            &Tracks::default(),
            LIVE,
            (2, 2, None),
            Timestamp(100_000_000),
            false,
        );
        let text = write_growing(&nothing, LIVE, &request, None);
        assert!(
            text.contains("\ncell.m4s?number=2&base=4000000&token=a%26b&live=true\n"),
            "{text}"
        );
        let text = write_growing(&nothing, LIVE, &request, newest_inits(&tracks));
        assert!(
            text.contains(
                "\n#EXT-X-MAP:URI=\"init.mp4?video=0000000000000001&audio=0000000000000009&"
            ),
            "{text}"
        );
        let range = written(2, Some(4), Cells::new(CellLength::Range));
        assert_eq!((range.media_sequence, range.target_duration), (0, 8));
        assert!(
            range.end_list
                && range.playlist_type == Some(MediaPlaylistType::Event)
                && range.segments.len() == 3
        );
    }

    proptest! {
        #[test]
        fn whatever_was_recorded_each_playable_chunk_is_in_one_entry(
            sessions in prop::collection::vec(("[Kdl.]{1,20}", 0i64..3000), 1..6),
        ) {
            let (mut video, mut at) = (Vec::new(), 0);
            for (node, (chunks, pause_ms)) in sessions.iter().enumerate() {
                at += pause_ms;
                video.extend(session(node as u64, Video, 1, at, chunks));
                at += chunks.len() as i64 * 500;
            }
            let tracks = Tracks { video, audio: session(1, Audio, 9, 40, "KKKKKKKKKKKK") };
            let listing = plan_growing(
                &tracks,
                LIVE,
                (-1, -1, None),
                Timestamp((at + 60_000) * 1000),
                false,
            );
            let (mut served, mut end) = (Vec::new(), LIVE.start(-1));
            for entry in &listing.entries {
                prop_assert_eq!(entry.range.from, end);
                end = entry.range.to;
                let inits = InitPair { video: InitId(1), audio: Some(InitId(9)) };
                let chunks = cell_chunks(&tracks, LIVE, entry.number, inits, false);
                let video: Vec<_> = chunks
                    .into_iter()
                    .filter(|chunk| chunk.meta.track == Video)
                    .collect();
                prop_assert_eq!(video.is_empty(), entry.inits.is_none());
                served.extend(video);
            }
            prop_assert_eq!(starts_ms(&served), starts_ms(&playable(&tracks, false)));
        }
    }
}
