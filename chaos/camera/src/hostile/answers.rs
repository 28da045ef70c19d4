//! The answers of hostile cameras to requests.

use super::Hostile;
use super::datagrams::{self, Ports};
use super::pipe::{Pipe, Request};
use super::server::Shared;
use super::streams;
use crate::codec::Codec;
use crate::random::Random;
use crate::reel::{Reel, ReelName};
use crate::sdp::{Description, describe};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::time::Duration;

const DRIP_PAUSE: Duration = Duration::from_millis(500);
/// Longer than any client waits.
const SILENCE: Duration = Duration::from_secs(60);
const TRACKS: usize = 1_000_000;
const TRACKS_AT_ONCE: usize = 1000;
const TRACK: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n";
const HEAD_OF_SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=hostile\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n";
/// Number of stages of a connection at which it can be hung up.
const STAGES: u64 = 5;

/// A track that was set up.
#[derive(Debug, Default)]
struct Track {
    channel: u8,
    ports: Option<Ports>,
}

/// Serves connection `number` of a camera to its end.
pub(super) fn serve(mut pipe: Pipe<'_>, shared: &Shared, number: u64) -> io::Result<()> {
    let hostile = shared.hostile;
    match hostile {
        Hostile::NeverReads => return pipe.meter.wait(SILENCE),
        Hostile::HangsUp if number.is_multiple_of(STAGES) => return Ok(()),
        _ => {}
    }
    let mut track = Track::default();
    for handled in 1_u64.. {
        if hostile == Hostile::HangsUp && handled >= number % STAGES {
            return hang_up(&mut pipe, number);
        }
        let request = pipe.request()?;
        match (hostile, request.method.as_str()) {
            (Hostile::Noise, _) => return noise(&mut pipe, number),
            (Hostile::LoginLoop, _) => login_again(&mut pipe, &request, number ^ handled)?,
            (_, "OPTIONS") => pipe.answer(
                &request,
                "200 OK",
                "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                b"",
            )?,
            (_, "DESCRIBE") => answer_describe(&mut pipe, shared, &request)?,
            (_, "SETUP") => answer_setup(&mut pipe, hostile, &request, &mut track)?,
            (_, "PLAY") => {
                pipe.answer(&request, "200 OK", "Session: 1\r\nRange: npt=0-\r\n", b"")?;
                return play(&mut pipe, shared, &track);
            }
            _ => pipe.answer(&request, "200 OK", "", b"")?,
        }
    }
    Ok(())
}

fn play(pipe: &mut Pipe<'_>, shared: &Shared, track: &Track) -> io::Result<()> {
    match &track.ports {
        Some(ports) => datagrams::play(pipe, shared.hostile, ports),
        None => streams::play(pipe, shared.hostile, track.channel),
    }
}

/// Half of the time with a reset (the request stays unread), otherwise in the middle of an answer.
fn hang_up(pipe: &mut Pipe<'_>, number: u64) -> io::Result<()> {
    if (number / STAGES).is_multiple_of(2) {
        return pipe.await_request();
    }
    let request = pipe.request()?;
    pipe.send(format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\nSess", request.cseq).as_bytes())
}

fn noise(pipe: &mut Pipe<'_>, seed: u64) -> io::Result<()> {
    let mut random = Random::seeded(seed);
    let mut block = vec![0; 16 * 1024];
    loop {
        random.fill(&mut block);
        pipe.send(&block)?;
    }
}

fn login_again(pipe: &mut Pipe<'_>, request: &Request, number: u64) -> io::Result<()> {
    let nonce = Random::seeded(number).next_u64();
    let line = format!(
        "WWW-Authenticate: Digest realm=\"hostile\", nonce=\"{nonce:016x}\", stale=TRUE\r\n"
    );
    pipe.answer(request, "401 Unauthorized", &line, b"")
}

fn answer_describe(pipe: &mut Pipe<'_>, shared: &Shared, request: &Request) -> io::Result<()> {
    let sdp = sdp(shared)?;
    let typed = format!(
        "Content-Base: {}/\r\nContent-Type: application/sdp\r\n",
        request.url
    );
    let start = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n{typed}", request.cseq);
    let with_length = |length: &str| {
        [
            format!("{start}Content-Length: {length}\r\n\r\n").as_bytes(),
            &sdp,
        ]
        .concat()
    };
    match shared.hostile {
        Hostile::EndlessBody => {
            pipe.send(format!("{start}Content-Length: 4000000000\r\n\r\n").as_bytes())?;
            pipe.send_without_end(&[b'a'; 64 * 1024])
        }
        Hostile::MegabyteHeadLines => {
            pipe.send(start.as_bytes())?;
            loop {
                pipe.send(b"X-Line: ")?;
                (0..16).try_for_each(|_| pipe.send(&[b'y'; 64 * 1024]))?;
                pipe.send(b"\r\n")?;
            }
        }
        Hostile::EndlessHeadLines => {
            pipe.send(start.as_bytes())?;
            pipe.send_without_end("X-Line: y\r\n".repeat(5000).as_bytes())
        }
        Hostile::MillionTracks => {
            let length = HEAD_OF_SDP.len() + TRACKS * TRACK.len();
            pipe.send(format!("{start}Content-Length: {length}\r\n\r\n{HEAD_OF_SDP}").as_bytes())?;
            let some = TRACK.repeat(TRACKS_AT_ONCE);
            (0..TRACKS / TRACKS_AT_ONCE).try_for_each(|_| pipe.send(some.as_bytes()))
        }
        Hostile::DripAnswer => pipe.drip(&with_length(&sdp.len().to_string()), DRIP_PAUSE),
        Hostile::LengthNegative => pipe.send(&with_length("-5")),
        Hostile::LengthShort => pipe.send(&with_length("10")),
        Hostile::LengthHuge => pipe.send(&with_length(&"9".repeat(30))),
        Hostile::RedirectLoop => {
            let next = request.url.len() % 64;
            let url = request.url.split('?').next().unwrap_or_default();
            let line = format!("Location: {url}?again={}\r\n", "x".repeat(next));
            pipe.answer(request, "302 Moved Temporarily", &line, b"")
        }
        Hostile::RedirectElsewhere => {
            let line = format!("Location: rtsp://{}/hostile\r\n", shared.elsewhere);
            pipe.answer(request, "301 Moved Permanently", &line, b"")
        }
        _ => pipe.send(&with_length(&sdp.len().to_string())),
    }
}

/// The description of the clip that hostile cameras play.
fn sdp(shared: &Shared) -> io::Result<Vec<u8>> {
    let codec = if shared.hostile == Hostile::TinyUnitsH265 {
        Codec::H265
    } else {
        Codec::H264
    };
    let name = if codec == Codec::H265 {
        ReelName::H265
    } else {
        ReelName::Slices
    };
    let reel = Reel::load(name).map_err(io::Error::other)?;
    let sets = reel.sets.iter().map(|set| set.to_vec()).collect();
    let description = Description {
        camera: 0,
        fps: 25,
        codec,
        sets,
        sound: None,
    };
    let sdp = describe(&description, crate::faults::SdpKind::Honest)?;
    let text = String::from_utf8_lossy(&sdp).into_owned();
    let elsewhere = shared.elsewhere;
    Ok(match shared.hostile {
        Hostile::ControlElsewhere => text
            .replace(
                "a=control:track1",
                &format!("a=control:rtsp://{elsewhere}/track1"),
            )
            .into_bytes(),
        Hostile::GiantParameterSets => {
            let giant = STANDARD.encode([&reel.sets[0][..], &[0x55; 200_000]].concat());
            text.replace(
                "sprop-parameter-sets=",
                &format!("sprop-parameter-sets={giant},"),
            )
            .into_bytes()
        }
        _ => sdp,
    })
}

fn answer_setup(
    pipe: &mut Pipe<'_>,
    hostile: Hostile,
    request: &Request,
    track: &mut Track,
) -> io::Result<()> {
    let of = |name: &str| {
        let value = request
            .transport
            .split(';')
            .find_map(|parameter| parameter.strip_prefix(name))?;
        value.split(['-', ',']).next()?.parse::<u16>().ok()
    };
    let is_tcp = request.transport.contains("TCP");
    if hostile.needs_udp() == is_tcp {
        return pipe.answer(request, "461 Unsupported Transport", "", b"");
    }
    let transport = if hostile == Hostile::AbsurdTransport {
        "RTP/AVP/TCP;unicast;interleaved=999-1000;ssrc=nothing".to_owned()
    } else if is_tcp {
        track.channel = of("interleaved=")
            .and_then(|channel| u8::try_from(channel).ok())
            .unwrap_or(0);
        format!(
            "RTP/AVP/TCP;unicast;interleaved={}-{}",
            track.channel,
            u16::from(track.channel) + 1
        )
    } else {
        let client = of("client_port=").ok_or(io::ErrorKind::InvalidData)?;
        let ports = Ports::open(pipe.peer()?, client)?;
        let server = ports.server_port()?;
        track.ports = Some(ports);
        format!(
            "RTP/AVP;unicast;client_port={client}-{};server_port={server}-{}",
            client + 1,
            server + 1
        )
    };
    pipe.answer(
        request,
        "200 OK",
        &format!("Transport: {transport}\r\nSession: 1;timeout=60\r\n"),
        b"",
    )
}
