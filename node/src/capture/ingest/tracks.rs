//! Which of the tracks that a camera offers are recorded: one video, and one audio if possible.
//! Pure.

use super::error::{SessionError, detail};
use super::media::{AudioCodec, VideoCodec};
use super::rtsp::sdp::{Description, Format, Media};

/// H.264 and H.265 are sent at 90 kHz (RFC 6184, 8.2.1; RFC 7798, 7.1).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Sampling rates outside are absurd.
const AUDIO_CLOCK_HZ: std::ops::RangeInclusive<u32> = 1_000..=192_000;

/// A chosen track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chosen<'a, Codec> {
    pub(crate) media: &'a Media,
    pub(crate) format: &'a Format,
    pub(crate) codec: Codec,
}

/// Chooses the first video of a supported codec. Talk-back channels come last.
///
/// # Errors
/// `NoVideo` without a video track, `UnsupportedCodec` if none of them can be recorded.
pub(crate) fn video(description: &Description) -> Result<Chosen<'_, VideoCodec>, SessionError> {
    of_kind(description, "video", video_codec)
        .next()
        .ok_or_else(|| no_video(description))
}

/// The audio tracks that can be recorded, the best first; and whether there are others.
pub(crate) fn audio(description: &Description) -> (Vec<Chosen<'_, AudioCodec>>, bool) {
    let usable: Vec<_> = of_kind(description, "audio", audio_codec).collect();
    let others = usable.is_empty()
        && description
            .media
            .iter()
            .any(|media| media.kind == "audio" && !media.is_back_channel);
    (usable, others)
}

fn of_kind<'a, Codec>(
    description: &'a Description,
    kind: &'a str,
    codec: fn(&Format) -> Option<Codec>,
) -> impl Iterator<Item = Chosen<'a, Codec>> {
    let forward = description
        .media
        .iter()
        .filter(|media| !media.is_back_channel);
    let backward = description
        .media
        .iter()
        .filter(|media| media.is_back_channel);
    let of_media = move |media: &'a Media| {
        let usable = move |format: &'a Format| {
            Some(Chosen {
                media,
                format,
                codec: codec(format)?,
            })
        };
        media.formats.iter().filter_map(usable)
    };
    forward
        .chain(backward)
        .filter(move |media| media.kind == kind)
        .flat_map(of_media)
}

fn video_codec(format: &Format) -> Option<VideoCodec> {
    match format.encoding.as_str() {
        "h264" => Some(VideoCodec::H264),
        "h265" | "hevc" => Some(VideoCodec::H265),
        _ => None,
    }
}

fn audio_codec(format: &Format) -> Option<AudioCodec> {
    let codec = match format.encoding.as_str() {
        "mpeg4-generic" => AudioCodec::Aac,
        "pcma" => AudioCodec::Pcma,
        "pcmu" => AudioCodec::Pcmu,
        _ => return None,
    };
    AUDIO_CLOCK_HZ.contains(&format.clock_hz).then_some(codec)
}

/// The RTP clock rate of a video format, in Hz: 90 kHz, whatever the description says, unless it is
/// a usual rate of its own.
pub(crate) fn video_clock_hz(format: &Format) -> u32 {
    if (1_000..=90_000).contains(&format.clock_hz) {
        format.clock_hz
    } else {
        VIDEO_CLOCK_HZ
    }
}

fn no_video(description: &Description) -> SessionError {
    let mut video = description
        .media
        .iter()
        .filter(|media| media.kind == "video");
    let encoding = video
        .find_map(|media| media.formats.first())
        .map(|format| format.encoding.as_str());
    match encoding {
        Some(encoding) if !encoding.is_empty() => SessionError::UnsupportedCodec(detail(encoding)),
        _ => {
            let tracks = description.media.len();
            SessionError::NoVideo(format!(
                "the camera offers {tracks} track(s), none of them video that it names"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ingest::rtsp::sdp;

    fn described(lines: &[&str]) -> Description {
        sdp::parse(lines.join("\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn takes_the_first_of_each_that_it_can_record() {
        let description = described(&[
            "m=application 0 RTP/AVP 107",
            "a=rtpmap:107 vnd.onvif.metadata/90000",
            "m=audio 0 RTP/AVP 97",
            "a=rtpmap:97 G726-16/8000",
            "m=video 0 RTP/AVP 96 98",
            "a=rtpmap:96 H263/90000",
            "a=rtpmap:98 H265/90000",
            "m=audio 0 RTP/AVP 0",
            "m=video 0 RTP/AVP 99",
            "a=rtpmap:99 H264/90000",
        ]);
        let video = video(&description).unwrap();
        assert_eq!(
            (video.codec, video.format.payload_type),
            (VideoCodec::H265, 98)
        );
        let (audio, _) = audio(&description);
        assert_eq!(
            audio.iter().map(|audio| audio.codec).collect::<Vec<_>>(),
            [AudioCodec::Pcmu]
        );
    }

    #[test]
    fn talk_back_channels_come_last() {
        let description = described(&[
            "m=audio 0 RTP/AVP 0",
            "a=sendonly",
            "m=audio 0 RTP/AVP 8",
            "a=recvonly",
        ]);
        let codecs: Vec<_> = audio(&description)
            .0
            .iter()
            .map(|audio| audio.codec)
            .collect();
        assert_eq!(codecs, [AudioCodec::Pcma, AudioCodec::Pcmu]);
    }

    #[test]
    fn names_what_it_cannot_record() {
        assert!(matches!(
            video(&described(&["m=audio 0 RTP/AVP 8"])),
            Err(SessionError::NoVideo(_))
        ));
        let description = described(&["m=video 0 RTP/AVP 97", "a=rtpmap:97 MP4V-ES/90000"]);
        assert_eq!(
            video(&description).unwrap_err(),
            SessionError::UnsupportedCodec("mp4v-es".to_owned())
        );
        let jpeg = described(&["m=video 0 RTP/AVP 26"]);
        assert_eq!(
            video(&jpeg).unwrap_err(),
            SessionError::UnsupportedCodec("jpeg".to_owned())
        );
        assert!(
            audio(&described(&[
                "m=audio 0 RTP/AVP 97",
                "a=rtpmap:97 opus/48000"
            ]))
            .1
        );
    }

    #[test]
    fn absurd_clock_rates_are_not_believed() {
        let description = described(&[
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/0",
            "m=audio 0 RTP/AVP 97",
            "a=rtpmap:97 pcma/4294967295",
        ]);
        assert_eq!(video_clock_hz(video(&description).unwrap().format), 90_000);
        assert!(audio(&description).0.is_empty());
    }
}
