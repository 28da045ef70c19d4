//! Independent programs and libraries that judge whether what Holdfast serves is correct.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What ffprobe found by decoding everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) codec: String,
    pub(crate) frames: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) video: Option<Found>,
    pub(crate) audio: Option<Found>,
}

/// Decodes every frame of a file or URL, and counts them.
pub(crate) fn probe(input: &str) -> Probed {
    let entries = "stream=codec_type,codec_name,nb_read_frames";
    let args = [
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        entries,
        "-of",
        "json",
        input,
    ];
    let output = run("ffprobe", &args);
    let json: Value = serde_json::from_str(&output).unwrap();
    let mut probed = Probed::default();
    for stream in json["streams"].as_array().unwrap() {
        let text = |key: &str| stream[key].as_str().unwrap_or_default().to_owned();
        let found = Found {
            codec: text("codec_name"),
            frames: text("nb_read_frames").parse().unwrap_or(0),
        };
        match stream["codec_type"].as_str() {
            Some("video") => probed.video = Some(found),
            Some("audio") => probed.audio = Some(found),
            other => panic!("a stream of type {other:?}"),
        }
    }
    probed
}

/// Decodes a file or URL; ffmpeg must not print anything.
pub(crate) fn decode_without_a_message(input: &str) {
    run(
        "ffmpeg",
        &["-nostdin", "-v", "error", "-i", input, "-f", "null", "-"],
    );
}

/// Standard output, if the program succeeds and prints nothing on standard error.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{program} {args:?}: {}\n{errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Number of samples of each track, according to re_mp4.
pub(crate) fn parse_mp4(path: &Path) -> Vec<usize> {
    let (mp4, bytes) = re_mp4::Mp4::read_file(path).unwrap();
    mp4.tracks()
        .values()
        .map(|track| {
            let inside =
                |sample: &re_mp4::Sample| sample.offset + sample.size <= bytes.len() as u64;
            assert!(
                track.samples.iter().all(inside),
                "a sample beyond the end of {}",
                path.display()
            );
            let grows =
                |pair: &[re_mp4::Sample]| pair[0].decode_timestamp < pair[1].decode_timestamp;
            assert!(
                track.samples.windows(2).all(grows),
                "decode times go back in {}",
                path.display()
            );
            track.samples.len()
        })
        .collect()
}

/// The playlist, as parsed by m3u8-rs, after checks that hold for all of ours.
pub(crate) fn parse_playlist(text: &str) -> m3u8_rs::MediaPlaylist {
    let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let longest = playlist
        .segments
        .iter()
        .map(|segment| segment.duration)
        .fold(0.0, f32::max);
    assert!(
        longest.round() as u64 <= playlist.target_duration,
        "{longest} s is longer than the target\n{text}"
    );
    assert!(playlist.end_list && !playlist.segments.is_empty(), "{text}");
    assert!(
        playlist.segments[0].map.is_some() && playlist.segments[0].program_date_time.is_some(),
        "{text}"
    );
    playlist
}
