//! Access units on their whole way: from packets to a volume, and back.

use super::*;
use crate::capture::hub::Hub;
use crate::capture::ingest::codec::video::VideoDepacketizer;
use crate::capture::ingest::codec::{Arrival, Fault, Packet};
use crate::capture::ingest::media::{MediaFrame, SessionItem};
use crate::capture::ingest::wall::WallTrust;
use crate::capture::recorder::chunker::Limits;
use crate::capture::recorder::pipeline::{Before, Context, Now, Pipeline};
use crate::capture::recorder::sink::{RecordSink, SinkError};
use crate::capture::recorder::status::{Identity, StatusCell};
use holdfast_storage::chunk::{FRAME_BYTES_MAX, Record};
use holdfast_storage::cmaf::probe;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, StreamId, StreamKind};
use holdfast_storage::{Range, Volume, VolumeHandle, VolumeOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x16, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
    0x00, 0x00, 0x03, 0x00, 0x50, 0x3c, 0x58, 0xba, 0x80,
];
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
/// The first bytes of slices: of an IDR picture, and of another.
const IDR: &[u8] = &[0x65, 0b1000_1000, 0b1000_0000];
const P: &[u8] = &[0x41, 0b1001_1010, 0b1000_0000];
const LENGTH_BYTES: usize = 4;
const FRAME_TICKS: i64 = 3600;
/// Less than a packet may have, so that the last one is no special case.
const FRAGMENT_BYTES: usize = 60_000;

struct VolumeSink(VolumeHandle);

impl RecordSink for VolumeSink {
    fn append(&self, class: &str, record: Record) -> Result<(), SinkError> {
        let class = self.0.class(class).expect("the default class");
        self.0
            .append(class, record)
            .map_err(|error| SinkError::Failed(error.to_string()))
    }
}

struct Camera {
    depacketizer: VideoDepacketizer,
    began: Instant,
    number: i64,
    frames: Vec<MediaFrame>,
    faults: Vec<Fault>,
}

impl Camera {
    fn new(began: Instant) -> Self {
        let depacketizer = VideoDepacketizer::new(VideoCodec::H264, 90_000, None);
        Self {
            depacketizer,
            began,
            number: 0,
            frames: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// An access unit of these NAL units, fragmented where they are long.
    fn send(&mut self, nals: &[&[u8]]) {
        for (at, nal) in nals.iter().enumerate() {
            let is_last = at + 1 == nals.len();
            if nal.len() <= FRAGMENT_BYTES {
                self.packet(nal, is_last);
                continue;
            }
            let bodies: Vec<_> = nal[1..].chunks(FRAGMENT_BYTES).collect();
            for (part, body) in bodies.iter().enumerate() {
                let (is_begin, is_end) = (part == 0, part + 1 == bodies.len());
                let header = u8::from(is_begin) << 7 | u8::from(is_end) << 6 | nal[0] & 0x1f;
                self.packet(
                    &[&[nal[0] & 0xe0 | 28, header], *body].concat(),
                    is_last && is_end,
                );
            }
        }
        self.number += 1;
    }

    fn packet(&mut self, payload: &[u8], marker: bool) {
        let since_ms = self.number * 40;
        let instant = self.began + Duration::from_millis(since_ms as u64);
        let arrival = Arrival {
            instant,
            wall: Timestamp(since_ms * 1000),
        };
        let packet = Packet {
            payload,
            rtp: self.number * FRAME_TICKS,
            marker,
            lost: 0,
            arrival,
        };
        self.faults
            .extend(self.depacketizer.push(&packet, &mut self.frames).err());
    }
}

/// A slice that makes an access unit of `bytes` with the parameter sets before it.
fn slice(bytes: usize) -> Vec<u8> {
    let sets = 3 * LENGTH_BYTES + SPS.len() + PPS.len();
    let body = (0_usize..).map(|at| (at % 251) as u8 | 4);
    IDR.iter().copied().chain(body).take(bytes - sets).collect()
}

fn sample(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter()
        .flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat())
        .collect()
}

#[tokio::test]
async fn the_longest_access_unit_is_stored_byte_for_byte_and_a_longer_one_costs_itself_alone() {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as an origin"
    )]
    let began = Instant::now();
    let dir = tempfile::TempDir::with_prefix("holdfast-mux-").unwrap();
    let options = VolumeOptions {
        free_bytes_min: 0,
        ..VolumeOptions::new(dir.path(), NodeId(1), Uuid::from_u128(1))
    };
    let (volume, handle) = Volume::open(options).unwrap();
    let identity = Identity {
        epoch: Epoch(1),
        rank: Rank::Owner,
    };
    let context = Context {
        stream: StreamId::main(CameraId(1)),
        node: NodeId(1),
        retention_class: "default".to_owned(),
        limits: Limits::default(),
        mux: Arc::new(CmafMux),
        sink: Arc::new(VolumeSink(handle.clone())),
        status: Arc::new(StatusCell::new(StreamId::main(CameraId(1)), identity)),
        totals: Arc::default(),
        wall: WallTrust::default(),
    };
    let publisher = Hub::default().publisher(StreamId::main(CameraId(1)));
    let now = |ms: i64| Now {
        instant: began + Duration::from_millis(ms as u64),
        wall: Timestamp(ms * 1000),
    };
    let mut pipeline = Pipeline::new(context, publisher, identity, Before::default(), now(0));

    let (longest, longer) = (slice(FRAME_BYTES_MAX), slice(FRAME_BYTES_MAX + 1));
    let mut camera = Camera::new(began);
    camera.send(&[SPS, PPS, &longest]);
    camera.send(&[P]);
    camera.send(&[SPS, PPS, &longer]);
    camera.send(&[P]);
    camera.send(&[SPS, PPS, &longest]);
    camera.send(&[P]);
    camera.depacketizer.finish(&mut camera.frames);
    assert_eq!(camera.faults, [Fault::Oversize]);
    for frame in camera.frames {
        pipeline.item(SessionItem::Frame(frame)).unwrap();
    }
    pipeline.finish(now(1000));
    handle.flush().await.unwrap();

    let (key, other) = (sample(&[SPS, PPS, &longest]), sample(&[P]));
    let entries = handle
        .entries(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    let mut stored = Vec::new();
    for entry in &entries {
        let bytes = handle.read(&entry.location).unwrap();
        let samples = probe::samples(&bytes).unwrap();
        stored.extend(
            samples
                .iter()
                .map(|sample| bytes.slice(sample.offset..sample.offset + sample.size)),
        );
    }
    assert_eq!(
        stored.iter().map(Bytes::len).collect::<Vec<_>>(),
        [&key, &other, &other, &key, &other].map(Vec::len)
    );
    assert!(
        stored == [&key, &other, &other, &key, &other].map(|sample| Bytes::from(sample.clone()))
    );
    let after_loss: Vec<_> = entries
        .iter()
        .filter(|entry| entry.meta.after_loss)
        .map(|entry| entry.meta.start)
        .collect();
    assert_eq!(
        after_loss,
        [Timestamp(120_000)],
        "what follows the one that is missing"
    );
    handle.close().await.unwrap();
    volume.run().await.unwrap();
}
