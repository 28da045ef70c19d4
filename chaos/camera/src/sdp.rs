//! Session descriptions (RFC 4566, RFC 6184 section 8): the honest one, and those of cameras that are not.

use crate::faults::SdpKind;
use crate::packetize::{AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

/// What the description says about a camera.
#[derive(Debug)]
pub(crate) struct Description<'a> {
    pub(crate) camera: u32,
    pub(crate) fps: u32,
    pub(crate) audio: bool,
    pub(crate) sps: &'a [u8],
    pub(crate) pps: &'a [u8],
}

pub(crate) const VIDEO_CONTROL: &str = "track1";
pub(crate) const AUDIO_CONTROL: &str = "track2";

/// The body of the answer to DESCRIBE.
pub(crate) fn describe(description: &Description<'_>, kind: SdpKind) -> Result<Vec<u8>, std::io::Error> {
    let video = match kind {
        SdpKind::Honest => Some(h264(description)),
        SdpKind::NoVideo => None,
        SdpKind::Mjpeg => Some(media("video", 26, VIDEO_CONTROL, vec![attribute("rtpmap", "26 JPEG/90000")])),
        SdpKind::Vp8 => {
            Some(media("video", VIDEO_PAYLOAD_TYPE, VIDEO_CONTROL, vec![attribute("rtpmap", "96 VP8/90000")]))
        }
        SdpKind::Absurd => return Ok(absurd()),
    };
    let audio = description.audio || kind == SdpKind::NoVideo;
    let medias = video.into_iter().chain(audio.then(pcmu)).collect();
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
        times: vec![Time { start_time: 0, stop_time: 0, repeats: Vec::new() }],
        time_zones: Vec::new(),
        key: None,
        attributes: vec![attribute("control", "*"), attribute("range", "npt=now-")],
        medias,
    }
}

fn h264(description: &Description<'_>) -> Media {
    let sets = format!("{},{}", STANDARD.encode(description.sps), STANDARD.encode(description.pps));
    let profile: String = description.sps.iter().skip(1).take(3).map(|byte| format!("{byte:02X}")).collect();
    let fmtp =
        format!("{VIDEO_PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}");
    let attributes = vec![
        attribute("rtpmap", &format!("{VIDEO_PAYLOAD_TYPE} H264/90000")),
        attribute("fmtp", &fmtp),
        attribute("framerate", &description.fps.to_string()),
    ];
    media("video", VIDEO_PAYLOAD_TYPE, VIDEO_CONTROL, attributes)
}

fn pcmu() -> Media {
    media("audio", AUDIO_PAYLOAD_TYPE, AUDIO_CONTROL, vec![attribute("rtpmap", "0 PCMU/8000")])
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
    Attribute { attribute: name.to_owned(), value: Some(value.to_owned()) }
}

/// Half a description with numbers out of range, a line of 16 KiB and bytes that are no text.
fn absurd() -> Vec<u8> {
    let mut body = b"v=0\r\no=- 99999999999999999999999 -1 IN IP9 \xff\xfe\r\ns=\r\nt=never\r\nm=video 70000 RTP/AVP 999\r\na=rtpmap:".to_vec();
    body.extend(std::iter::repeat_n(b'9', 16 * 1024));
    body.extend_from_slice(b" H264/0\r\na=fmtp");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: SdpKind, audio: bool) -> Vec<u8> {
        let sps = [0x67, 0x4d, 0x40, 0x1e, 1];
        describe(&Description { camera: 3, fps: 25, audio, sps: &sps, pps: &[0x68, 2] }, kind).unwrap()
    }

    #[test]
    fn the_honest_one_names_codec_and_parameter_sets() {
        let text = String::from_utf8(body(SdpKind::Honest, true)).unwrap();
        assert!(text.contains("m=video 0 RTP/AVP 96\r\n"));
        assert!(text.contains("profile-level-id=4D401E;sprop-parameter-sets=Z01AHgE=,aAI=\r\n"));
        assert!(text.contains("m=audio 0 RTP/AVP 0\r\n") && text.contains("a=control:track2\r\n"));
    }

    #[test]
    fn the_others_are_as_named() {
        let media = |kind| Session::parse(&body(kind, false)).unwrap().medias.remove(0);
        assert_eq!(media(SdpKind::NoVideo).media, "audio");
        assert_eq!(media(SdpKind::Mjpeg).fmt, "26");
        assert!(media(SdpKind::Vp8).attributes[0].value.as_ref().unwrap().contains("VP8"));
        assert!(Session::parse(&body(SdpKind::Absurd, false)).is_err());
    }
}
