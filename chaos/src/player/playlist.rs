//! Parses playlists, and checks each by itself.

use m3u8_rs::{MediaPlaylist, MediaSegment};

/// A media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Playlist {
    pub(super) is_ended: bool,
    pub(super) entries: Vec<Listed>,
    /// What no playlist may have.
    pub(super) wrong: Vec<String>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) sequence: u64,
    /// Relative, with its token.
    pub(super) uri: String,
    pub(super) map: Option<String>,
    pub(super) wall_us: i64,
    pub(super) duration_us: i64,
    pub(super) is_gap: bool,
}

impl Listed {
    /// A number in the query of its URI.
    pub(super) fn parameter(&self, name: &str) -> Option<i64> {
        let (_, query) = self.uri.split_once('?')?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)?
            .1
            .parse()
            .ok()
    }

    /// The part of its URI that never changes: in a growing list the named inits may change with
    /// what is in reach.
    pub(super) fn lasting(&self) -> String {
        let (path, query) = self.uri.split_once('?').unwrap_or((&self.uri, ""));
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let kept = pairs.filter(|(key, _)| !matches!(&**key, "video" | "audio" | "token"));
        let kept: Vec<String> = kept.map(|(key, value)| format!("{key}={value}")).collect();
        format!("{path}?{}", kept.join("&"))
    }
}

/// A URI as it may be shown.
pub(super) fn without_token(uri: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else {
        return uri.to_owned();
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.starts_with("token="))
        .collect();
    format!("{path}?{}", kept.join("&"))
}

/// Reads a media playlist.
///
/// # Errors
/// It is no media playlist; says why.
pub(super) fn parse(text: &str) -> Result<Playlist, String> {
    let list = m3u8_rs::parse_media_playlist_res(text.as_bytes())
        .map_err(|error| format!("no playlist: {error}"))?;
    let mut map = None;
    let mut wrong = Vec::new();
    let mut entries = Vec::new();
    for (sequence, segment) in (list.media_sequence..).zip(&list.segments) {
        map = segment.map.as_ref().map(|map| map.uri.clone()).or(map);
        let wall = segment
            .program_date_time
            .ok_or_else(|| format!("entry {sequence} has no EXT-X-PROGRAM-DATE-TIME"));
        let entry = Listed {
            sequence,
            uri: segment.uri.clone(),
            map: map.clone(),
            wall_us: wall?.timestamp_micros(),
            duration_us: (f64::from(segment.duration) * 1e6).round() as i64,
            is_gap: segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP"),
        };
        wrong.extend(faults_of(&list, segment, &entry));
        entries.push(entry);
    }
    Ok(Playlist {
        is_ended: list.end_list,
        entries,
        wrong,
    })
}

fn faults_of(list: &MediaPlaylist, segment: &MediaSegment, entry: &Listed) -> Vec<String> {
    let Listed { sequence, .. } = entry;
    let mut wrong = Vec::new();
    // RFC 8216, 4.3.3.1.
    if segment.duration.round() as u64 > list.target_duration {
        wrong.push(format!(
            "entry {sequence} is longer than the target duration of {} s",
            list.target_duration
        ));
    }
    if entry.map.is_none() {
        wrong.push(format!("entry {sequence} has no EXT-X-MAP"));
    }
    if !entry.uri.contains("token=") {
        wrong.push(format!(
            "the URI of entry {sequence} has no token: {}",
            entry.uri
        ));
    }
    wrong
}

/// The first playlist of a multivariant one.
pub(super) fn first_variant(text: &str) -> Option<&str> {
    let is_multivariant = text.contains("#EXT-X-STREAM-INF");
    text.lines()
        .find(|line| is_multivariant && !line.is_empty() && !line.starts_with('#'))
}
