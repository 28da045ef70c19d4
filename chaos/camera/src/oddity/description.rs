//! Odd descriptions (SDP, RFC 4566), and odd headers that accompany them.

use super::audio::AudioOddity;
use super::kinds::kinds;
use crate::reply::Reply;

kinds! {
    /// How the answer to DESCRIBE differs from the specification.
    DescriptionOddity {
        SdpWithoutOrigin: "no o= line, and s= behind t=", "scottlamb/retina#52";
        SdpWithoutName: "no s= line", "a sibling of the missing origin";
        SdpWithoutTimes: "no t= line", "a sibling of the missing origin";
        SdpWithoutConnection: "no c= line", "bluenviron/mediamtx#85, #120 (Sony)";
        SdpOfThreeLines: "m=, rtpmap and control only", "AlexxIT/go2rtc#679";
        SdpOddConnection: "c=SM SM spk0_trackID2", "bluenviron/gortsplib pull 501 (Avigilon)";
        SdpOddOrigin: "an o= line of two words", "a sibling of the missing origin";
        PortNegative: "m=video -1353744643", "AlexxIT/go2rtc#2316 (Tuya)";
        PortAbsurd: "m=video 99999999999", "a sibling of the negative port";
        SdpLatin1: "bytes that are no UTF-8 in the session's name",
            "cameras with names of the user's language";
        SdpTabs: "tabs and blanks where one blank should be, and behind a line",
            "a sibling of the odd lines";
        SdpLineFeeds: "lines end with LF only", "RFC 4566, 5: parsers should accept";
        SdpUnknownLines: "unknown attributes and line types, an empty attribute, b= of kinds that \
                          no RFC has",
            "vendors' descriptions";
        ContentBaseElsewhere: "Content-Base names an address that cannot be reached",
            "moonfire-nvr#356";
        ContentBaseMissing: "no Content-Base", "RFC 2326, C.1.1";
        ControlAbsolute: "a=control has the whole URL", "RFC 2326, C.1.1";
        ControlPath: "a=control has a path from the root", "a sibling of the absolute one";
        ControlStar: "a=control of the only track is *", "cameras of one track";
        ControlWithQuery: "a=control has a query", "vendors' cameras (Dahua)";
        ContentTypeCharset: "Content-Type: application/sdp; charset=utf-8",
            "bluenviron/gortsplib#52";
        ContentTypeMissing: "no Content-Type", "a sibling of the charset";
        ApplicationFirst: "a track of ONVIF metadata before the video",
            "ONVIF streaming specification, 5.1";
        TpLinkTrack: "m=application/tp-link 0 RTP/AVP smart/0/25000 behind the video",
            "androidx/media#1472 (TP-Link)";
        ParameterSetsMissing: "no fmtp line: parameter sets in the stream only",
            "scottlamb/retina#116";
        ParameterSetsBroken: "sprop parameter sets that are no base64",
            "a sibling of the missing sets";
        SeveralVideos: "a second track of video, which sends nothing",
            "cameras that describe their sub stream";
    }
}

/// The address of the description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The camera's URL with a slash at the end.
    pub(crate) base: &'a str,
    /// Its path.
    pub(crate) path: &'a str,
}

impl DescriptionOddity {
    /// Whether the camera has a track that sends nothing, under the third name.
    pub(crate) fn has_silent_track(self) -> bool {
        matches!(
            self,
            Self::ApplicationFirst | Self::TpLinkTrack | Self::SeveralVideos
        )
    }

    /// Changes the answer to DESCRIBE.
    pub(crate) fn bend(self, reply: &mut Reply, place: Place<'_>) {
        match self {
            Self::ContentBaseElsewhere => {
                reply.set("Content-Base", "rtsp://192.0.2.9:554/elsewhere/")
            }
            Self::ContentBaseMissing => reply.remove("Content-Base"),
            Self::ContentTypeCharset => reply.set("Content-Type", "application/sdp; charset=utf-8"),
            Self::ContentTypeMissing => reply.remove("Content-Type"),
            _ => {}
        }
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let end = if self == Self::SdpLineFeeds {
            "\n"
        } else {
            "\r\n"
        };
        let lines = self.bend_lines(lines, place);
        reply.body = lines
            .iter()
            .flat_map(|line| [line.as_bytes(), end.as_bytes()].concat())
            .collect();
        if self == Self::SdpLatin1 {
            let name = b"s=Eingang S\xfcd, Fa\xdfade\r\n";
            let at = reply
                .body
                .windows(4)
                .position(|window| window == b"\ns=H")
                .map_or(0, |at| at + 1);
            let after = reply.body[at..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(at, |end| at + end + 1);
            reply.body.splice(at..after, name.iter().copied());
        }
    }

    fn bend_lines(self, mut lines: Vec<String>, place: Place<'_>) -> Vec<String> {
        match self {
            Self::SdpWithoutOrigin => {
                let name = take(&mut lines, "s=");
                take(&mut lines, "o=");
                let behind = lines
                    .iter()
                    .position(|line| line.starts_with("t="))
                    .map_or(0, |at| at + 1);
                lines.splice(behind..behind, name);
            }
            Self::SdpWithoutName => drop(take(&mut lines, "s=")),
            Self::SdpWithoutTimes => drop(take(&mut lines, "t=")),
            Self::SdpWithoutConnection => drop(take(&mut lines, "c=")),
            Self::SdpOfThreeLines => {
                let keep = ["m=video", "a=rtpmap:96", "a=control:track1"];
                lines.retain(|line| keep.iter().any(|start| line.starts_with(start)));
            }
            Self::SdpOddConnection => replace(&mut lines, "c=", "c=SM SM spk0_trackID2"),
            Self::SdpOddOrigin => replace(&mut lines, "o=", "o=camera 1"),
            Self::PortNegative => exchange(&mut lines, "m=video 0", "m=video -1353744643"),
            Self::PortAbsurd => exchange(&mut lines, "m=video 0", "m=video 99999999999"),
            Self::SdpTabs => {
                exchange(&mut lines, "a=rtpmap:96 ", "a=rtpmap:96\t ");
                exchange(
                    &mut lines,
                    "packetization-mode=1;",
                    "packetization-mode=1 ;\t",
                );
                let attributes = lines.iter_mut().filter(|line| line.starts_with("a=rtpmap"));
                attributes.for_each(|line| line.push_str(" \t"));
            }
            Self::SdpUnknownLines => unknown_lines(&mut lines),
            Self::ControlAbsolute => {
                exchange(
                    &mut lines,
                    "a=control:track1",
                    &format!("a=control:{}track1", place.base),
                );
            }
            Self::ControlPath => {
                exchange(
                    &mut lines,
                    "a=control:track1",
                    &format!("a=control:{}/track1", place.path),
                );
            }
            Self::ControlStar => exchange(&mut lines, "a=control:track1", "a=control:*"),
            Self::ControlWithQuery => {
                exchange(
                    &mut lines,
                    "a=control:track1",
                    "a=control:track1?channel=1&subtype=0",
                );
            }
            Self::ApplicationFirst => insert_before_media(
                &mut lines,
                &[
                    "m=application 0 RTP/AVP 107",
                    "a=rtpmap:107 vnd.onvif.metadata/90000",
                    "a=control:track3",
                    "a=recvonly",
                ],
            ),
            Self::TpLinkTrack => lines.extend(
                [
                    "m=application/tp-link 0 RTP/AVP smart/0/25000",
                    "a=rtpmap:95 tp-link/25000",
                    "a=control:track3",
                ]
                .map(str::to_owned),
            ),
            Self::SeveralVideos => lines.extend(
                [
                    "m=video 0 RTP/AVP 98",
                    "a=rtpmap:98 H264/90000",
                    "a=control:track3",
                ]
                .map(str::to_owned),
            ),
            Self::ParameterSetsMissing => drop(take(&mut lines, "a=fmtp:96")),
            Self::ParameterSetsBroken => {
                for line in lines
                    .iter_mut()
                    .filter(|line| line.starts_with("a=fmtp:96"))
                {
                    *line = line.replace("sets=", "sets=*!").replace("-sps=", "-sps=*!");
                }
            }
            _ => {}
        }
        lines
    }
}

impl AudioOddity {
    /// Whether the camera has a track that sends nothing, under the third name.
    pub(crate) fn has_silent_track(self) -> bool {
        self == Self::AudioBackChannelFirst
    }

    /// Changes the lines of the sound track.
    pub(crate) fn bend_description(self, reply: &mut Reply) {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        match self {
            Self::AacWithoutConfig => drop(take(&mut lines, "a=fmtp:97")),
            Self::AacOtherFormat => exchange(&mut lines, "a=fmtp:97 ", "a=fmtp:104 "),
            Self::AudioStaticType => drop(take(&mut lines, "a=rtpmap:0 ")),
            Self::AudioBackChannelFirst => insert_before_media(
                &mut lines,
                &[
                    "m=audio 0 RTP/AVP 0 97",
                    "c=SM SM spk0_trackID2",
                    "a=control:track3",
                    "a=sendonly",
                    "a=rtpmap:0 pcmu/8000",
                    "a=rtpmap:97 opus/48000/2",
                ],
            ),
            _ => {}
        }
        reply.body = lines.join("\r\n").into_bytes();
        reply.body.extend_from_slice(b"\r\n");
    }
}

fn take(lines: &mut Vec<String>, start: &str) -> Option<String> {
    let at = lines.iter().position(|line| line.starts_with(start))?;
    Some(lines.remove(at))
}

fn replace(lines: &mut [String], start: &str, with: &str) {
    lines
        .iter_mut()
        .filter(|line| line.starts_with(start))
        .for_each(|line| with.clone_into(line));
}

/// Replaces text within the lines.
fn exchange(lines: &mut [String], from: &str, to: &str) {
    lines
        .iter_mut()
        .filter(|line| line.contains(from))
        .for_each(|line| *line = line.replacen(from, to, 1));
}

fn insert_before_media(lines: &mut Vec<String>, new: &[&str]) {
    let at = lines
        .iter()
        .position(|line| line.starts_with("m="))
        .unwrap_or(lines.len());
    lines.splice(at..at, new.iter().map(|&line| line.to_owned()));
}

fn unknown_lines(lines: &mut Vec<String>) {
    insert_before_media(
        lines,
        &[
            "b=RR:0",
            "b=X-VENDOR:12",
            "x=vendor line",
            "a=",
            "a=tool:",
            "a=x-dimensions:640,360",
            "a=rtpmap",
        ],
    );
    lines.extend(
        [
            "a=Media_header:MEDIAINFO=494D4B4801010000;",
            "a=appversion:1.0",
            "a=x-nothing",
        ]
        .map(str::to_owned),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::faults::SdpKind;
    use crate::sdp::{Description, describe};
    use crate::sound::Sound;

    fn reply(sound: Option<Sound>) -> Reply {
        let sets = vec![vec![0x67, 0x4d, 0x40, 0x1e], vec![0x68, 2]];
        let description = Description {
            camera: 3,
            fps: 25,
            codec: Codec::H264,
            sets,
            sound,
        };
        let body = describe(&description, SdpKind::Honest).unwrap();
        let headers = [
            ("Content-Base", "rtsp://c/cam/3/"),
            ("Content-Type", "application/sdp"),
        ];
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Reply {
            headers,
            body,
            ..Reply::bare("200 OK")
        }
    }

    fn bent(oddity: DescriptionOddity) -> String {
        let mut reply = reply(None);
        oddity.bend(
            &mut reply,
            Place {
                base: "rtsp://c/cam/3/",
                path: "/cam/3",
            },
        );
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_oddity_changes_the_answer() {
        let mut plain = Vec::new();
        reply(None).write(&mut plain);
        for &oddity in DescriptionOddity::ALL {
            assert_ne!(bent(oddity).into_bytes(), plain, "{oddity:?}");
        }
    }

    #[test]
    fn lines_are_left_out_and_changed_as_named() {
        assert!(!bent(DescriptionOddity::SdpWithoutOrigin).contains("\no="));
        let three = bent(DescriptionOddity::SdpOfThreeLines);
        assert!(
            three.ends_with(
                "\r\n\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
            ),
            "{three}"
        );
        assert!(
            bent(DescriptionOddity::PortNegative).contains("m=video -1353744643 RTP/AVP 96\r\n")
        );
        assert!(bent(DescriptionOddity::ControlPath).contains("a=control:/cam/3/track1\r\n"));
        assert!(
            bent(DescriptionOddity::ApplicationFirst).find("m=application")
                < bent(DescriptionOddity::ApplicationFirst).find("m=video")
        );
        assert!(bent(DescriptionOddity::SdpLineFeeds).contains("v=0\no="));
        assert!(!bent(DescriptionOddity::ParameterSetsMissing).contains("sprop"));
    }

    #[test]
    fn the_sound_is_changed_as_named() {
        let bent = |oddity: AudioOddity| {
            let mut reply = reply(Some(if oddity.is_aac() {
                Sound::Aac
            } else {
                Sound::MuLaw
            }));
            oddity.bend_description(&mut reply);
            String::from_utf8(reply.body).unwrap()
        };
        assert!(bent(AudioOddity::Aac).contains("a=fmtp:97 "));
        assert!(!bent(AudioOddity::AacWithoutConfig).contains("config"));
        assert!(bent(AudioOddity::AacOtherFormat).contains("a=fmtp:104 "));
        assert!(!bent(AudioOddity::AudioStaticType).contains("rtpmap:0 "));
        assert!(
            bent(AudioOddity::AudioBackChannelFirst).find("sendonly")
                < bent(AudioOddity::AudioBackChannelFirst).find("m=video")
        );
    }
}
