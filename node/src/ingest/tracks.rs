//! Which of the tracks that a camera offers are recorded: one video, and one audio where it can be. Pure.

use super::error::{SessionError, detail};
use super::media::{AudioCodec, VideoCodec};

/// H.264 and H.265 are sent at 90 kHz (RFC 6184, 8.2.1; RFC 7798, 7.1).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Sampling rates outside are absurd.
const AUDIO_CLOCK_HZ: std::ops::RangeInclusive<u32> = 1_000..=192_000;
/// An SDP that describes more tracks than this is absurd.
const TRACKS_MAX: usize = 64;

/// A track as the SDP describes it; names in lower case.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub media: &'a str,
    pub encoding: &'a str,
    pub clock_hz: u32,
}

/// The indices of the chosen tracks among the offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub video: (usize, VideoCodec),
    pub audio: Option<(usize, AudioCodec)>,
}

/// Chooses the first video track of a supported codec and the first usable audio track.
///
/// # Errors
/// `NoVideo` without a video track, `UnsupportedCodec` where none of them can be recorded, `BadSdp` for absurd descriptions.
pub fn choose(offers: &[Offer<'_>]) -> Result<Choice, SessionError> {
    if offers.len() > TRACKS_MAX {
        return Err(SessionError::BadSdp(format!("{} tracks, at most {TRACKS_MAX} are accepted", offers.len())));
    }
    let video = offers.iter().enumerate().find_map(|(i, offer)| Some((i, video_codec(offer)?)));
    let Some(video) = video else { return Err(no_video(offers)) };
    let clock_hz = offers[video.0].clock_hz;
    if clock_hz != VIDEO_CLOCK_HZ {
        return Err(SessionError::BadSdp(format!("video clock rate {clock_hz} Hz instead of {VIDEO_CLOCK_HZ} Hz")));
    }
    let audio = offers.iter().enumerate().find_map(|(i, offer)| Some((i, audio_codec(offer)?)));
    Ok(Choice { video, audio })
}

fn video_codec(offer: &Offer<'_>) -> Option<VideoCodec> {
    match (offer.media, offer.encoding) {
        ("video", "h264") => Some(VideoCodec::H264),
        ("video", "h265") => Some(VideoCodec::H265),
        _ => None,
    }
}

fn audio_codec(offer: &Offer<'_>) -> Option<AudioCodec> {
    let codec = match (offer.media, offer.encoding) {
        ("audio", "mpeg4-generic") => AudioCodec::Aac,
        ("audio", "pcma") => AudioCodec::Pcma,
        ("audio", "pcmu") => AudioCodec::Pcmu,
        _ => return None,
    };
    AUDIO_CLOCK_HZ.contains(&offer.clock_hz).then_some(codec)
}

fn no_video(offers: &[Offer<'_>]) -> SessionError {
    match offers.iter().find(|offer| offer.media == "video") {
        Some(offer) => SessionError::UnsupportedCodec(detail(offer.encoding)),
        None => SessionError::NoVideo(format!("the camera offers {} track(s), none of them video", offers.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer<'a>(media: &'a str, encoding: &'a str, clock_hz: u32) -> Offer<'a> {
        Offer { media, encoding, clock_hz }
    }

    #[test]
    fn takes_the_first_of_each_that_it_can_record() {
        let offers = [
            offer("application", "vnd.onvif.metadata", 90_000),
            offer("audio", "g726-16", 8_000),
            offer("video", "h265", 90_000),
            offer("audio", "pcmu", 8_000),
            offer("video", "h264", 90_000),
        ];
        let choice = choose(&offers);
        assert_eq!(choice, Ok(Choice { video: (2, VideoCodec::H265), audio: Some((3, AudioCodec::Pcmu)) }));
    }

    #[test]
    fn names_what_it_cannot_record() {
        assert!(matches!(choose(&[offer("audio", "pcma", 8_000)]), Err(SessionError::NoVideo(_))));
        let unsupported = choose(&[offer("video", "mp4v-es", 90_000)]);
        assert_eq!(unsupported, Err(SessionError::UnsupportedCodec("mp4v-es".to_owned())));
    }

    #[test]
    fn absurd_descriptions_are_refused_or_left_out() {
        assert!(matches!(choose(&[offer("video", "h264", 0)]), Err(SessionError::BadSdp(_))));
        assert!(matches!(choose(&[offer("video", "h264", 90_000); 65]), Err(SessionError::BadSdp(_))));
        let silent = choose(&[offer("video", "h264", 90_000), offer("audio", "pcma", u32::MAX)]);
        assert_eq!(silent.map(|choice| choice.audio), Ok(None));
    }
}
