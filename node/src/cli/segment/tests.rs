//! The commands on segments that the store wrote: whole, cut short, with flipped bits.

use super::*;
use crate::cli::args::{ExtractArgs, StreamArg};
use bytes::Bytes;
use holdfast_control_api::playback::Tracks;
use holdfast_control_api::playback::export::plan_export;
use holdfast_control_api::range::Range;
use holdfast_storage::chunk::{Access, AccessPoint, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::cmaf::{self, Frame, probe};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Volume, VolumeHandle, VolumeOptions};
use std::path::PathBuf;
use tempfile::TempDir;

pub(super) const T0: Timestamp = Timestamp(1_795_000_000_000_000);
pub(super) const CHUNK_US: u32 = 500_000;
const CHUNKS: u32 = 20;
/// So long that a cut or a flipped bit somewhere in the middle hits a frame.
pub(super) const FRAME_BYTES: usize = 30_000;
/// `AVCDecoderConfigurationRecord` with parameter sets of a few bytes; nothing here decodes.
const AVCC: [u8; 19] = [
    1, 100, 0, 10, 255, 225, 0, 4, 0x67, 100, 0, 10, 1, 0, 4, 0x68, 0xee, 0x3c, 0x80,
];

pub(super) fn init() -> Bytes {
    let codec = cmaf::VideoCodec::Avc {
        avcc: AVCC.to_vec(),
    };
    cmaf::video_init(&cmaf::VideoParameters {
        codec,
        width: 320,
        height: 240,
        pixel_aspect: None,
    })
    .unwrap()
}

/// The sequence number, and then bytes that differ from camera to camera.
pub(super) fn frame(camera: u32, sequence: u32) -> Vec<u8> {
    let mut bytes = vec![camera as u8 + 100; FRAME_BYTES];
    bytes[0] = sequence as u8;
    bytes
}

/// Half a second; each even one begins with a keyframe.
pub(super) fn chunk(camera: u32, sequence: u32) -> Chunk {
    let start = T0.plus_micros(i64::from(sequence) * i64::from(CHUNK_US));
    let is_keyframe = sequence.is_multiple_of(2);
    let frame = Frame {
        data: frame(camera, sequence).into(),
        decode_time: start.ticks(cmaf::init::VIDEO_TIMESCALE),
        duration: 45_000,
        composition_offset: 0,
        access: is_keyframe.then_some(AccessPoint::Sync),
    };
    let meta = ChunkMeta {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NodeId(1),
        epoch: Epoch(1),
        rank: Rank::Owner,
        session: SessionId(1),
        sequence,
        init: InitId::of(&init()),
        start,
        duration_us: CHUNK_US,
        frames: 1,
        access: is_keyframe.then_some(Access::sync(sequence)),
        since_access_ms: Some(500 * (sequence % 2)),
        after_loss: false,
        damaged: false,
    };
    Chunk {
        meta,
        parts: cmaf::build_chunk(TrackKind::Video, sequence, start, &[frame]).unwrap(),
    }
}

struct Segment {
    dir: TempDir,
    path: PathBuf,
}

/// A sealed segment of cameras 1 and 2; camera 2 begins without a keyframe.
fn segment() -> Segment {
    let dir = tempfile::tempdir().unwrap();
    let mut options = VolumeOptions::new(
        dir.path().join("volume"),
        NodeId(1),
        uuid::Uuid::from_u128(1),
    );
    options.io = IoChoice::Plain;
    options.free_bytes_min = 0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (volume, handle) = Volume::open(options).unwrap();
        for camera in [1, 2] {
            let bytes = init();
            let init = Init {
                camera: CameraId(camera),
                stream: StreamKind::Main,
                track: TrackKind::Video,
                bytes,
            };
            append(&handle, Record::Init(init));
        }
        for sequence in 0..CHUNKS {
            append(&handle, Record::Chunk(chunk(1, sequence)));
            append(&handle, Record::Chunk(chunk(2, sequence + 1)));
            handle.flush().await.unwrap();
        }
        handle.close().await.unwrap();
        volume.run().await.unwrap();
    });
    let path = dir.path().join("volume/segments/default/0000000001.hfs");
    Segment { dir, path }
}

pub(super) fn append(handle: &VolumeHandle, record: Record) {
    handle
        .append(handle.class("default").unwrap(), record)
        .unwrap();
}

impl Segment {
    /// Flips a bit in the middle of the frame bytes of camera 1's chunk `sequence`.
    fn flip(&self, sequence: u32) {
        let mut bytes = std::fs::read(&self.path).unwrap();
        let frame = frame(1, sequence);
        let at = bytes
            .windows(FRAME_BYTES)
            .position(|window| window == frame)
            .unwrap();
        bytes[at + FRAME_BYTES / 2] ^= 4;
        std::fs::write(&self.path, bytes).unwrap();
    }

    fn cut(&self, part: f64) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&self.path)
            .unwrap();
        let length = file.metadata().unwrap().len() as f64 * part;
        file.set_len(length as u64).unwrap();
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out.mp4")
    }

    fn inspect(&self) -> Result<(), CliError> {
        run(
            &SegmentCommand::Inspect {
                file: self.path.clone(),
            },
            nowhere(),
            Output::new(true),
        )
    }

    fn verify(&self) -> Result<(), CliError> {
        run(
            &SegmentCommand::Verify {
                file: self.path.clone(),
            },
            nowhere(),
            Output::new(false),
        )
    }

    fn extract(&self, camera: u32) -> Result<(), CliError> {
        self.extract_of(Some(&camera.to_string()))
    }

    fn extract_of(&self, camera: Option<&str>) -> Result<(), CliError> {
        self.extract_range(camera, None, None)
    }

    fn extract_range(
        &self,
        camera: Option<&str>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<(), CliError> {
        let args = self.extract_args(camera, from, to);
        run(
            &SegmentCommand::Extract(args),
            nowhere(),
            Output::new(false),
        )
    }

    fn extract_args(
        &self,
        camera: Option<&str>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> ExtractArgs {
        ExtractArgs {
            sources: vec![self.path.clone()],
            all: false,
            camera: camera.map(str::to_owned),
            stream: StreamArg::Main,
            from: from.map(|time| time.to_string()),
            to: to.map(|time| time.to_string()),
            strict: false,
            output: self.output(),
            force: true,
        }
    }

    fn extract_strictly(&self, camera: u32) -> Result<(), CliError> {
        let args = ExtractArgs {
            strict: true,
            ..self.extract_args(Some(&camera.to_string()), None, None)
        };
        run(
            &SegmentCommand::Extract(args),
            nowhere(),
            Output::new(false),
        )
    }

    /// The chunks left out of a whole extraction.
    fn left_out(&self, camera: u32, strict: bool) -> extract::LeftOut {
        let footage =
            offline::footage(&self.path, CameraId(camera), StreamKind::Main, |_, _| {}).unwrap();
        let tracks = Tracks::of(footage.entries().to_vec());
        let (from, to) = (
            chunk(camera, 0).meta.start,
            chunk(camera, 2 * CHUNKS).meta.start,
        );
        let plan = plan_export(&tracks, Range { from, to }, strict).unwrap();
        extract::left_out(footage.entries(), &plan.chunks, &footage.inits().unwrap())
    }

    /// Decode times of the extracted chunks, in chunks' durations from the file's time 0, and their
    /// first payload bytes.
    fn extracted(&self) -> Vec<(u64, u8)> {
        extracted(&self.output())
    }
}

/// As [`Segment::extracted`], of any file.
pub(super) fn extracted(file: &Path) -> Vec<(u64, u8)> {
    let file = std::fs::read(file).unwrap();
    let chunks = probe::chunk_ranges(&file).map(|range| &file[range.unwrap()]);
    chunks
        .map(|chunk| {
            let samples = probe::samples(chunk).unwrap();
            (samples[0].decode_time / 45_000, chunk[samples[0].offset])
        })
        .collect()
}

/// No node to ask.
pub(super) fn nowhere() -> ApiOptions {
    ApiOptions {
        api: "http://127.0.0.1:1".parse().unwrap(),
        token_file: None,
    }
}

pub(super) fn exit(result: Result<(), CliError>) -> u8 {
    result.map_or_else(|error| error.kind as u8, |()| 0)
}

#[test]
fn a_whole_segment_is_sound_and_gives_back_every_chunk() {
    let segment = segment();
    assert_eq!(
        [segment.inspect(), segment.verify(), segment.extract(1)].map(exit),
        [0, 0, 0]
    );
    assert_eq!(
        segment.extracted(),
        (0..20).map(|n| (n, n as u8)).collect::<Vec<_>>()
    );
    assert_eq!(exit(segment.extract(2)), 0);
    let from_keyframe: Vec<_> = (2..=20).map(|n| (n - 2, n as u8)).collect();
    assert_eq!(
        segment.extracted(),
        from_keyframe,
        "camera 2's chunk 1 has its keyframe elsewhere"
    );
}

#[test]
fn flipped_bits_are_found_and_the_rest_is_saved() {
    let segment = segment();
    segment.flip(4);
    assert_eq!([segment.verify(), segment.extract(1)].map(exit), [1, 1]);
    let report = offline::verify(&segment.path, |_, _| {}).unwrap();
    assert_eq!(
        (report.chunks_lost, report.lost[0].start),
        (1, chunk(1, 4).meta.start)
    );
    assert!(
        judge(&report).contains("lost          camera 1, video, 2026-"),
        "{}",
        judge(&report)
    );
    let kept = |segment: &Segment| {
        segment
            .extracted()
            .into_iter()
            .map(|(_, byte)| byte)
            .collect::<Vec<u8>>()
    };
    assert_eq!(
        kept(&segment),
        (0..20).filter(|byte| *byte != 4).collect::<Vec<_>>(),
        "5 refers to 4, and is shown"
    );
    assert_eq!(exit(segment.extract_strictly(1)), 1);
    assert_eq!(
        kept(&segment),
        (0..20)
            .filter(|byte| ![4, 5].contains(byte))
            .collect::<Vec<_>>()
    );
    let refers = extract::LeftOut {
        after_loss: 1,
        ..Default::default()
    };
    assert_eq!(
        [false, true].map(|strict| segment.left_out(1, strict)),
        [Default::default(), refers]
    );
}

#[test]
fn why_a_chunk_is_left_out_is_reported() {
    let segment = segment();
    let keyframe_at = chunk(2, 1).meta.access_start();
    let at_the_beginning = extract::LeftOut {
        before_keyframe: 1,
        keyframe_at,
        ..Default::default()
    };
    assert_eq!(
        segment.left_out(2, false),
        at_the_beginning,
        "camera 2's chunk 1 has its keyframe elsewhere"
    );
}

#[test]
fn a_segment_that_was_cut_short_keeps_what_is_there() {
    let segment = segment();
    segment.cut(0.52);
    let error = segment.verify().unwrap_err();
    assert_eq!(error.kind as u8, 1, "the last batch is torn");
    assert!(error.hint.unwrap().contains("segment extract"));
    assert_eq!(exit(segment.extract(1)), 1);
    let kept = segment.extracted().len();
    assert!((9..=11).contains(&kept), "{kept} of 20");
}

#[test]
fn a_range_cuts_at_keyframes() {
    let segment = segment();
    let at = |sequence| Some(chunk(1, sequence).meta.start);
    assert_eq!(exit(segment.extract_range(Some("1"), at(7), at(9))), 0);
    assert_eq!(
        segment.extracted(),
        [(0, 6), (1, 7), (2, 8)],
        "from the keyframe before"
    );
    assert_eq!(exit(segment.extract_range(Some("1"), at(9), at(7))), 2);
}

#[test]
fn what_is_missing_is_distinguished_from_what_is_damaged() {
    let segment = segment();
    assert_eq!(exit(segment.extract(3)), 3);
    let ambiguous = segment.extract_of(None).unwrap_err();
    assert!(
        ambiguous.kind as u8 == 2 && ambiguous.message.contains("cameras 1, 2"),
        "{ambiguous}"
    );
    let unnamed = segment.extract_of(Some("gate")).unwrap_err();
    assert!(
        unnamed.hint.unwrap().contains("by their numbers"),
        "a name needs a node"
    );
    assert!(!segment.output().exists());
    std::fs::write(segment.output(), vec![7; 100_000]).unwrap();
    let noise = Segment {
        path: segment.output(),
        ..segment
    };
    assert_eq!([noise.inspect(), noise.verify()].map(exit), [1, 1]);
    let gone = Segment {
        path: noise.dir.path().join("0000000009.hfs"),
        ..noise
    };
    assert_eq!(
        [gone.inspect(), gone.verify(), gone.extract(1)].map(exit),
        [3, 3, 3]
    );
}

#[test]
fn a_damaged_header_does_not_hide_the_footage() {
    let segment = segment();
    let mut bytes = std::fs::read(&segment.path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&segment.path, bytes).unwrap();
    assert_eq!(
        [segment.inspect(), segment.verify(), segment.extract(1)].map(exit),
        [1, 1, 0]
    );
    assert_eq!(segment.extracted().len(), 20);
}
