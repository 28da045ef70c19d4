//! Version 1 of these messages, byte for byte.

use super::*;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_storage::chunk::Gap;
use holdfast_storage::chunk::{Access, ChunkMeta, GapCause};
use holdfast_storage::ids::{Epoch, Rank, SegmentId, SessionId, StreamId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::Span;
use std::fmt::Write as _;
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_795_341_600_000_000);
const CAMERA: CameraId = CameraId(7);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A line of the golden file; decoding and encoding it again gives the same bytes.
fn line<T: Format>(name: &str, sample: &T) -> String {
    let bytes = codec::encode(sample, &Finalized::default()).unwrap();
    let again: T = codec::decode(&unhex(&hex(&bytes))).unwrap();
    assert_eq!(
        codec::encode(&again, &Finalized::default()).unwrap(),
        bytes,
        "{name}"
    );
    let newer = [&[T::VERSION + 1], &bytes[1..]].concat();
    let refused = codec::decode::<T>(&newer).err().unwrap().to_string();
    assert!(refused.ends_with("upgrade this node"), "{refused}");
    format!("{name} {}\n", hex(&bytes))
}

fn range() -> Range {
    Range {
        camera: CAMERA,
        stream: StreamKind::Main,
        from: AT,
        to: AT.plus_micros(1_000_000),
    }
}

fn location() -> ChunkLocation {
    ChunkLocation {
        volume: 1,
        segment: SegmentId(3),
        offset: 4_096,
        payload_bytes: 65_536,
        holder: NodeId(2),
    }
}

fn chunk() -> ChunkEntry {
    let meta = ChunkMeta {
        camera: CAMERA,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NodeId(2),
        epoch: Epoch(4),
        rank: Rank::Owner,
        session: SessionId(9),
        sequence: 5,
        init: InitId::of(b"init"),
        start: AT,
        duration_us: 400_000,
        frames: 10,
        access: Some(Access::sync(1)),
        since_access_ms: Some(0),
        after_loss: false,
        damaged: false,
    };
    ChunkEntry {
        meta,
        location: location(),
    }
}

fn recorded() -> Recorded {
    let end = AT.plus_micros(1_000_000);
    let span = Span {
        start: AT,
        end,
        node: NodeId(2),
        epoch: Epoch(4),
        rank: Rank::Owner,
        damaged: false,
    };
    let gap = Gap {
        camera: CAMERA,
        stream: StreamKind::Main,
        node: NodeId(2),
        epoch: Epoch(4),
        start: AT,
        end,
        cause: GapCause::CameraStalled,
        frames_missing: Some(3),
    };
    Recorded {
        spans: vec![span],
        gaps: vec![gap],
        complete: true,
    }
}

fn report() -> VolumeReport {
    VolumeReport {
        index: 1,
        path: "/data".to_owned(),
        state: "active".to_owned(),
        error: None,
        cameras: 12,
        lag_seconds: 0.25,
        free_bytes: 1 << 40,
        size_bytes: 1 << 41,
        failures: 1,
        reattachments: 1,
        full_in_s: Some(86_400),
        id: Some(Uuid::from_u128(7)),
    }
}

fn progress() -> Progress {
    Progress {
        stream: StreamId::main(CAMERA),
        epoch: Epoch(4),
        rank: Rank::Owner,
        state: RecorderState::Recording,
        watermark: Some(AT),
        first_keyframe: Some(AT),
        error: None,
        bitrate_bps: Some(4_000_000),
        patience_ms: None,
        exposure: None,
    }
}

#[test]
fn messages_are_as_version_1_wrote_them() {
    let written = [
        line("spans-request", &SpansRequest(vec![range()])),
        line("spans-answer", &SpansAnswer(vec![recorded()])),
        line("entries-request", &EntriesRequest(range())),
        line(
            "entries-answer",
            &EntriesAnswer {
                entries: vec![chunk()],
                late: Some(1),
            },
        ),
        line(
            "init-request",
            &InitRequest {
                camera: CAMERA,
                init: InitId::of(b"init"),
            },
        ),
        line("chunk-request", &ChunkRequest(location())),
        line("question", &Question),
        line("done", &Done),
        line("sight-answer", &SightAnswer(vec![(NodeId(2), progress())])),
        line("scrub-answer", &ScrubAnswer(Vec::new())),
        line("volumes-answer", &VolumesAnswer(vec![report()])),
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/reads.v1.txt");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).unwrap();
        std::fs::write(path, written.concat()).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        written.concat(),
        stored,
        "a message is written otherwise than before: that is a new version"
    );
}
