//! Session descriptions (RFC 4566, RFC 6184 section 8, RFC 7798 section 7): the honest one, and the
//! faulty ones.

use crate::codec::Codec;
use crate::faults::SdpKind;
use crate::packetize::{AAC_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE};
use crate::packing::VIDEO_PAYLOAD_TYPE;
use crate::sound::Sound;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

/// The contents of a camera's description.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) camera: u32,
    pub(crate) fps: u32,
    pub(crate) codec: Codec,
    /// SPS and PPS, in H.265 the VPS before them; none if only the stream has them.
    pub(crate) sets: Vec<Vec<u8>>,
    pub(crate) sound: Option<Sound>,
}

pub(crate) const VIDEO_CONTROL: &str = "track1";
pub(crate) const AUDIO_CONTROL: &str = "track2";
/// Control name of a track that sends nothing, whatever type it claims.
pub(crate) const SILENT_CONTROL: &str = "track3";

/// The body of the answer to DESCRIBE.
pub(crate) fn describe(
    description: &Description,
    kind: SdpKind,
) -> Result<Vec<u8>, std::io::Error> {
    let video = match kind {
        SdpKind::Honest => Some(video(description)),
        SdpKind::NoVideo => None,
        SdpKind::Mjpeg => Some(media(
            "video",
            26,
            VIDEO_CONTROL,
            vec![attribute("rtpmap", "26 JPEG/90000")],
        )),
        SdpKind::Vp8 => Some(media(
            "video",
            VIDEO_PAYLOAD_TYPE,
            VIDEO_CONTROL,
            vec![attribute("rtpmap", "96 VP8/90000")],
        )),
        SdpKind::Absurd => return Ok(absurd()),
    };
    let sound = description
        .sound
        .or((kind == SdpKind::NoVideo).then_some(Sound::MuLaw));
    let medias = video.into_iter().chain(sound.map(audio)).collect();
    let mut body = Vec::new();
    session(description.camera, medias).write(&mut body)?;
    Ok(body)
}

fn session(camera: u32, medias: Vec<Media>) -> Session {
    Session {
        origin: Origin {
            username: None,
            sess_id: camera.to_string(),
            sess_version: 1,
            nettype: "IN".to_owned(),
            addrtype: "IP4".to_owned(),
            unicast_address: "127.0.0.1".to_owned(),
        },
        session_name: format!("Holdfast test camera {camera}"),
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: Some(Connection {
            nettype: "IN".to_owned(),
            addrtype: "IP4".to_owned(),
            connection_address: "0.0.0.0".to_owned(),
        }),
        bandwidths: Vec::new(),
        times: vec![Time {
            start_time: 0,
            stop_time: 0,
            repeats: Vec::new(),
        }],
        time_zones: Vec::new(),
        key: None,
        attributes: vec![attribute("control", "*"), attribute("range", "npt=now-")],
        medias,
    }
}

fn video(description: &Description) -> Media {
    let encoded: Vec<String> = description
        .sets
        .iter()
        .map(|set| STANDARD.encode(set))
        .collect();
    let (name, parameters) = match (description.codec, encoded.as_slice()) {
        (Codec::H264, []) => ("H264", Some("packetization-mode=1".to_owned())),
        (Codec::H264, sets) => {
            let profile = description.sets[0]
                .iter()
                .skip(1)
                .take(3)
                .map(|byte| format!("{byte:02X}"));
            let (profile, sets) = (profile.collect::<String>(), sets.join(","));
            (
                "H264",
                Some(format!(
                    "packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}"
                )),
            )
        }
        (Codec::H265, [vps, sps, pps]) => (
            "H265",
            Some(format!("sprop-vps={vps}; sprop-sps={sps}; sprop-pps={pps}")),
        ),
        (Codec::H265, _) => ("H265", None),
    };
    let mut attributes = vec![attribute(
        "rtpmap",
        &format!("{VIDEO_PAYLOAD_TYPE} {name}/90000"),
    )];
    attributes.extend(
        parameters
            .map(|parameters| attribute("fmtp", &format!("{VIDEO_PAYLOAD_TYPE} {parameters}"))),
    );
    attributes.push(attribute("framerate", &description.fps.to_string()));
    media("video", VIDEO_PAYLOAD_TYPE, VIDEO_CONTROL, attributes)
}

fn audio(sound: Sound) -> Media {
    let (kind, attributes) = match sound {
        Sound::MuLaw => (AUDIO_PAYLOAD_TYPE, vec![attribute("rtpmap", "0 PCMU/8000")]),
        Sound::Aac => {
            let parameters = "97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;\
                              indexlength=3;indexdeltalength=3;config=1408";
            (
                AAC_PAYLOAD_TYPE,
                vec![
                    attribute("rtpmap", "97 MPEG4-GENERIC/16000/1"),
                    attribute("fmtp", parameters),
                ],
            )
        }
    };
    media("audio", kind, AUDIO_CONTROL, attributes)
}

fn media(kind: &str, payload_type: u8, control: &str, mut attributes: Vec<Attribute>) -> Media {
    attributes.push(attribute("control", control));
    Media {
        media: kind.to_owned(),
        port: 0,
        num_ports: None,
        proto: "RTP/AVP".to_owned(),
        fmt: payload_type.to_string(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

/// Half a description with numbers out of range, a line of 16 KiB and bytes that are not text.
fn absurd() -> Vec<u8> {
    let mut body = b"v=0\r\no=- 99999999999999999999999 -1 IN IP9 \xff\xfe\r\ns=\r\nt=never\r\n\
                     m=video 70000 RTP/AVP 999\r\na=rtpmap:"
        .to_vec();
    body.extend(std::iter::repeat_n(b'9', 16 * 1024));
    body.extend_from_slice(b" H264/0\r\na=fmtp");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: SdpKind, sound: Option<Sound>) -> Vec<u8> {
        let sets = vec![vec![0x67, 0x4d, 0x40, 0x1e, 1], vec![0x68, 2]];
        describe(
            &Description {
                camera: 3,
                fps: 25,
                codec: Codec::H264,
                sets,
                sound,
            },
            kind,
        )
        .unwrap()
    }

    #[test]
    fn the_honest_one_names_codec_and_parameter_sets() {
        let text = String::from_utf8(body(SdpKind::Honest, Some(Sound::MuLaw))).unwrap();
        assert!(text.contains("m=video 0 RTP/AVP 96\r\n"));
        assert!(text.contains("profile-level-id=4D401E;sprop-parameter-sets=Z01AHgE=,aAI=\r\n"));
        assert!(text.contains("m=audio 0 RTP/AVP 0\r\n") && text.contains("a=control:track2\r\n"));
    }

    #[test]
    fn h265_and_aac_are_described() {
        let sets = vec![vec![0x40, 1], vec![0x42, 1], vec![0x44, 1]];
        let described = Description {
            camera: 3,
            fps: 25,
            codec: Codec::H265,
            sets,
            sound: Some(Sound::Aac),
        };
        let text = String::from_utf8(describe(&described, SdpKind::Honest).unwrap()).unwrap();
        assert!(
            text.contains("a=fmtp:96 sprop-vps=QAE=; sprop-sps=QgE=; sprop-pps=RAE=\r\n"),
            "{text}"
        );
        assert!(
            text.contains("m=audio 0 RTP/AVP 97\r\n") && text.contains(";config=1408\r\n"),
            "{text}"
        );
        let bare = Description {
            sets: Vec::new(),
            ..described
        };
        assert!(
            !String::from_utf8(describe(&bare, SdpKind::Honest).unwrap())
                .unwrap()
                .contains("fmtp:96")
        );
    }

    #[test]
    fn the_others_are_as_named() {
        let media = |kind| Session::parse(&body(kind, None)).unwrap().medias.remove(0);
        assert_eq!(media(SdpKind::NoVideo).media, "audio");
        assert_eq!(media(SdpKind::Mjpeg).fmt, "26");
        assert!(
            media(SdpKind::Vp8).attributes[0]
                .value
                .as_ref()
                .unwrap()
                .contains("VP8")
        );
        assert!(Session::parse(&body(SdpKind::Absurd, None)).is_err());
    }
}
