//! A camera's description of its stream (SDP, RFC 8866), read leniently: lines that cannot be read
//! are left out, and only what recording needs is looked at. Pure.

use std::num::NonZeroU16;

/// More descriptions of media are absurd.
pub(crate) const MEDIA_MAX: usize = 64;
/// Formats of one description.
const FORMATS_MAX: usize = 32;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Description {
    /// `a=control` of the whole session.
    pub(crate) control: Option<String>,
    pub(crate) media: Vec<Media>,
}

/// An `m=` block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Media {
    /// `video`, `audio`, `application`, in lower case.
    pub(crate) kind: String,
    pub(crate) control: Option<String>,
    /// The camera wants to be sent to: a talk-back channel (ONVIF Streaming Specification, 5.3).
    pub(crate) is_back_channel: bool,
    /// Frames per second, if the camera says so.
    pub(crate) frame_rate: Option<f64>,
    pub(crate) formats: Vec<Format>,
}

/// A payload type of a medium.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Format {
    pub(crate) payload_type: u8,
    /// In lower case; empty where neither the description nor RFC 3551 names it.
    pub(crate) encoding: String,
    /// RTP clock rate, in Hz; 0 if it is not known.
    pub(crate) clock_hz: u32,
    pub(crate) channels: Option<NonZeroU16>,
    pub(crate) fmtp: Option<String>,
}

/// # Errors
/// More media than [`MEDIA_MAX`], for people.
pub(crate) fn parse(bytes: &[u8]) -> Result<Description, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut description = Description::default();
    // Parameters of formats that no `m=` line names, by medium: some cameras get the payload type
    // wrong.
    let mut strays: Option<String> = None;
    for line in text.split(['\r', '\n']) {
        let Some((name, value)) = line.trim().split_once('=') else {
            continue;
        };
        let value = value.trim();
        match name.trim() {
            "m" => {
                adopt(description.media.last_mut(), strays.take());
                if description.media.len() >= MEDIA_MAX {
                    return Err(format!("more than {MEDIA_MAX} tracks"));
                }
                description.media.push(Media::of(value));
            }
            "a" => attribute(&mut description, &mut strays, value),
            _ => {}
        }
    }
    adopt(description.media.last_mut(), strays);
    Ok(description)
}

impl Media {
    /// `video 0 RTP/AVP 96 97`; the port is ignored.
    fn of(value: &str) -> Self {
        let mut words = value.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default().to_ascii_lowercase();
        let types = words
            .skip(2)
            .filter_map(|word| word.parse().ok())
            .filter(|number| *number < 128);
        let formats = types.take(FORMATS_MAX).map(Format::registered).collect();
        Self {
            kind,
            formats,
            ..Self::default()
        }
    }

    /// The format of a payload type; one that the `m=` line does not name is added.
    fn format(&mut self, payload_type: u8) -> Option<&mut Format> {
        let at = self
            .formats
            .iter()
            .position(|format| format.payload_type == payload_type);
        let at = match at {
            Some(at) => at,
            None if self.formats.len() < FORMATS_MAX => {
                self.formats.push(Format::registered(payload_type));
                self.formats.len() - 1
            }
            None => return None,
        };
        self.formats.get_mut(at)
    }
}

impl Format {
    /// The static payload types of RFC 3551, 6, that cameras use.
    fn registered(payload_type: u8) -> Self {
        let (encoding, clock_hz) = match payload_type {
            0 => ("pcmu", 8_000),
            3 => ("gsm", 8_000),
            8 => ("pcma", 8_000),
            9 => ("g722", 8_000),
            14 => ("mpa", 90_000),
            26 => ("jpeg", 90_000),
            32 => ("mpv", 90_000),
            33 => ("mp2t", 90_000),
            _ => ("", 0),
        };
        Self {
            payload_type,
            encoding: encoding.to_owned(),
            clock_hz,
            channels: None,
            fmtp: None,
        }
    }
}

fn attribute(description: &mut Description, strays: &mut Option<String>, value: &str) {
    let (name, value) = value
        .split_once(':')
        .map_or((value, ""), |(name, value)| (name, value.trim()));
    let name = name.trim().to_ascii_lowercase();
    let Some(media) = description.media.last_mut() else {
        if name == "control" && description.control.is_none() {
            description.control = Some(value.to_owned());
        }
        return;
    };
    match name.as_str() {
        "control" => media.control = Some(value.to_owned()),
        "sendonly" => media.is_back_channel = true,
        "framerate" => {
            let rate = value.parse::<f64>().ok();
            media.frame_rate = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        }
        "rtpmap" => {
            if let Some((payload_type, map)) = numbered(value)
                && let Some(format) = media.format(payload_type)
            {
                let mut parts = map.split('/').map(str::trim);
                format.encoding = parts.next().unwrap_or_default().to_ascii_lowercase();
                format.clock_hz = parts.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
                format.channels = parts.next().and_then(|channels| channels.parse().ok());
            }
        }
        "fmtp" => {
            let Some((payload_type, parameters)) = numbered(value) else {
                return;
            };
            let named = media
                .formats
                .iter_mut()
                .find(|format| format.payload_type == payload_type);
            match named {
                Some(format) => format.fmtp = Some(parameters.to_owned()),
                None => *strays = Some(parameters.to_owned()),
            }
        }
        _ => {}
    }
}

/// Gives parameters with a wrong payload type to the one format that has none.
fn adopt(media: Option<&mut Media>, stray: Option<String>) {
    if let (Some(media), Some(stray)) = (media, stray)
        && let [format] = &mut media.formats[..]
        && format.fmtp.is_none()
    {
        format.fmtp = Some(stray);
    }
}

/// `96 rest`.
fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    Some((
        number.parse().ok().filter(|number| *number < 128)?,
        rest.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> Media {
        parse(text.as_bytes()).unwrap().media.pop().unwrap()
    }

    #[test]
    fn three_lines_are_enough() {
        let description =
            parse(b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:track1").unwrap();
        let media = &description.media[0];
        assert_eq!(
            (media.kind.as_str(), media.control.as_deref()),
            ("video", Some("track1"))
        );
        assert_eq!(
            (
                media.formats[0].encoding.as_str(),
                media.formats[0].clock_hz
            ),
            ("h264", 90_000)
        );
    }

    #[test]
    fn lines_that_cannot_be_read_are_left_out() {
        let text = "v=0\r\no=-\r\nc=SM IN IP4\r\n\r\nnonsense\r\na=control:*\r\nt=x\r\n\
                    m=video -1353744643 RTP/AVP 96\r\na=rtpmap:x H265/90000\r\n\
                    a=rtpmap:96  h265/90000 \r\n\
                    a=framerate:0.25\r\na=x-dimensions\r\nm=audio\r\nm=application 0 TCP 0\r\n\
                    a=sendonly\r\n";
        let description = parse(text.as_bytes()).unwrap();
        assert_eq!(description.control.as_deref(), Some("*"));
        let kinds: Vec<_> = description
            .media
            .iter()
            .map(|media| media.kind.as_str())
            .collect();
        assert_eq!(kinds, ["video", "audio", "application"]);
        assert_eq!(description.media[0].formats[0].encoding, "h265");
        assert_eq!(description.media[0].frame_rate, Some(0.25));
        assert!(description.media[2].is_back_channel && !description.media[0].is_back_channel);
    }

    #[test]
    fn parameters_with_a_wrong_payload_type_belong_to_the_only_format() {
        let audio = media(
            "m=audio 0 RTP/AVP 104\r\na=rtpmap:104 mpeg4-generic/16000/1\r\n\
             a=fmtp:96 config=1408\r\n",
        );
        assert_eq!(audio.formats[0].fmtp.as_deref(), Some("config=1408"));
        assert_eq!(audio.formats[0].channels, NonZeroU16::new(1));
        let two = media("m=audio 0 RTP/AVP 0 8\r\na=fmtp:96 config=1408\r\n");
        assert!(two.formats.iter().all(|format| format.fmtp.is_none()));
    }

    #[test]
    fn static_payload_types_need_no_map() {
        let audio = media("m=audio 0 RTP/AVP 8 0 200 x");
        let encodings: Vec<_> = audio
            .formats
            .iter()
            .map(|format| format.encoding.as_str())
            .collect();
        assert_eq!(encodings, ["pcma", "pcmu"]);
    }

    #[test]
    fn absurdly_many_tracks_are_refused_before_they_are_kept() {
        assert!(parse("m=video 0 RTP/AVP 96\n".repeat(65).as_bytes()).is_err());
        assert!(parse("m=video 0 RTP/AVP 96\n".repeat(64).as_bytes()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_description_or_refused(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }

        #[test]
        fn any_lines_are_a_description_or_refused(
            lines in proptest::collection::vec("[amcvfrt]=[a-z:0-9 /;=-]{0,30}", 0..100),
        ) {
            drop(parse(lines.join("\n").as_bytes()));
        }
    }
}
