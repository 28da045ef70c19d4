//! Packets as cameras send them, and the access units that become of them.

use super::*;
use crate::capture::ingest::codec::Arrival;
use crate::capture::ingest::media::TrackParameters;
use VideoCodec::{H264, H265};
use holdfast_storage::chunk::{AccessPoint, FRAME_BYTES_MAX};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// An SPS of 640x360 and its PPS, as the scripted camera has them.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x16, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
    0x00, 0x00, 0x03, 0x00, 0x50, 0x3c, 0x58, 0xba, 0x80,
];
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
/// The same with id 1: pic_parameter_set_id 1 (010), seq_parameter_set_id 0 (1).
const PPS_1: &[u8] = &[0x68, 0b0101_1011, 0x0f, 0xc8];
/// Slices: `first_mb_in_slice` 0, `slice_type` 7 (I) or 5 (P), PPS 0.
const IDR: &[u8] = &[0x65, 0b1000_1000, 0b1000_0000, 0xaa];
const INTRA: &[u8] = &[0x41, 0b1000_1000, 0b1000_0000, 0xaa];
const P: &[u8] = &[0x41, 0b1001_1010, 0b1000_0000, 0xaa];
/// A slice that continues its picture: `first_mb_in_slice` 1.
const IDR_2: &[u8] = &[0x65, 0b0100_0100, 0b0100_0000, 0xbb];
const P_2: &[u8] = &[0x41, 0b0100_0110, 0b0100_0000, 0xbb];
const FRAME: i64 = 3600;

/// A camera's packets, one after the other.
struct Stream {
    depacketizer: VideoDepacketizer,
    began: Instant,
    now: Duration,
    frames: Vec<MediaFrame>,
    faults: Vec<Fault>,
}

impl Stream {
    fn new(codec: VideoCodec) -> Self {
        Self::with_fmtp(codec, None)
    }

    fn with_fmtp(codec: VideoCodec, fmtp: Option<&str>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let began = Instant::now();
        let depacketizer = VideoDepacketizer::new(codec, 90_000, fmtp);
        Self {
            depacketizer,
            began,
            now: Duration::ZERO,
            frames: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn packet(&mut self, rtp: i64, marker: bool, lost: u16, payload: &[u8]) {
        let arrival = Arrival {
            instant: self.began + self.now,
            wall: Timestamp(0),
        };
        let packet = Packet {
            payload,
            rtp,
            marker,
            lost,
            arrival,
        };
        self.faults
            .extend(self.depacketizer.push(&packet, &mut self.frames).err());
    }

    /// Packets of one frame, the last with its marker bit.
    fn frame(&mut self, n: i64, payloads: &[&[u8]]) {
        for (at, payload) in payloads.iter().enumerate() {
            self.packet(n * FRAME, at + 1 == payloads.len(), 0, payload);
        }
        self.now += Duration::from_millis(40);
    }

    fn end(mut self) -> Vec<MediaFrame> {
        self.depacketizer.finish(&mut self.frames);
        self.frames
    }
}

/// NAL units with their lengths.
fn sample(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter()
        .flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat())
        .collect()
}

fn samples(frames: &[MediaFrame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.data.to_vec()).collect()
}

fn times(frames: &[MediaFrame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.rtp / FRAME).collect()
}

fn config(frame: &MediaFrame) -> Option<Vec<u8>> {
    match frame.parameters.as_deref()? {
        TrackParameters::Video { config, .. } => Some(config.to_vec()),
        TrackParameters::Audio { .. } => None,
    }
}

fn stap_a(nals: &[&[u8]]) -> Vec<u8> {
    let units = nals
        .iter()
        .flat_map(|nal| [&(nal.len() as u16).to_be_bytes()[..], nal].concat());
    [0x78].into_iter().chain(units).collect()
}

/// A fragment of an H.264 NAL unit (FU-A).
fn fu_a(nal: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let flags =
        if range.start == 1 { 0x80 } else { 0 } | if range.end == nal.len() { 0x40 } else { 0 };
    [
        &[nal[0] & 0xe0 | 28, flags | nal[0] & 0x1f][..],
        &nal[range],
    ]
    .concat()
}

#[test]
fn samples_are_what_the_camera_sent() {
    let mut stream = Stream::new(H264);
    let sei = [0x06, 5, 1, 0xaa, 0x80];
    let delimiter = [0x09, 0xf0];
    stream.frame(0, &[&delimiter, SPS, PPS, &sei, IDR, IDR_2]);
    stream.frame(1, &[&delimiter, P]);
    let frames = stream.end();
    assert_eq!(
        samples(&frames),
        [
            sample(&[&delimiter, SPS, PPS, &sei, IDR, IDR_2]),
            sample(&[&delimiter, P])
        ]
    );
    assert_eq!(frames[0].access, Some(AccessPoint::Sync));
    assert_eq!(frames[1].access, None);
    match frames[0].parameters.as_deref() {
        Some(TrackParameters::Video {
            width: 640,
            height: 360,
            config,
            ..
        }) => {
            assert_eq!(config[..6], [1, 0x42, 0xc0, 0x16, 0xff, 0xe1]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn aggregates_and_fragments_are_put_together() {
    let long: Vec<u8> = IDR
        .iter()
        .copied()
        .chain((0..3000).map(|n| n as u8 | 1))
        .collect();
    let mut stream = Stream::with_fmtp(H264, Some("packetization-mode=2"));
    let fragments = [
        fu_a(&long, 1..1000),
        fu_a(&long, 1000..2000),
        fu_a(&long, 2000..long.len()),
    ];
    stream.frame(
        0,
        &[
            &stap_a(&[SPS, PPS]),
            &fragments[0],
            &fragments[1],
            &fragments[2],
        ],
    );
    let mut mtap = vec![26, 0, 0];
    mtap.extend((P.len() as u16 + 3).to_be_bytes());
    mtap.extend([0, 0, 0]);
    mtap.extend(P);
    stream.frame(1, &[&mtap]);
    let frames = stream.end();
    assert_eq!(samples(&frames), [sample(&[SPS, PPS, &long]), sample(&[P])]);
}

#[test]
fn start_codes_within_a_packet_part_nal_units() {
    let annex_b = [SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], IDR].concat();
    let mut stream = Stream::new(H264);
    stream.frame(
        0,
        &[&fu_a(&annex_b, 1..20), &fu_a(&annex_b, 20..annex_b.len())],
    );
    stream.frame(1, &[&[&[0, 0, 0, 1], P].concat()]);
    assert_eq!(
        samples(&stream.end()),
        [sample(&[SPS, PPS, IDR]), sample(&[P])]
    );
}

#[test]
fn a_marker_bit_on_every_slice_ends_no_picture() {
    let mut stream = Stream::with_fmtp(
        H264,
        Some("sprop-parameter-sets=Z0LAFtoCgL/lwEQAAAMABAAAAwBQPFi6gA==,aM4PyA=="),
    );
    for n in 0..100 {
        let slices = if n % 10 == 0 { [IDR, IDR_2] } else { [P, P_2] };
        slices
            .iter()
            .for_each(|slice| stream.packet(n * FRAME, true, 0, slice));
        stream.now += Duration::from_millis(40);
    }
    let frames = stream.end();
    assert_eq!(frames.len(), 100);
    assert!(
        frames
            .iter()
            .all(|frame| frame.data.len() == sample(&[P, P_2]).len() && !frame.is_damaged)
    );
}

#[test]
fn slices_with_marker_bits_after_many_of_one_slice_cost_one_picture() {
    let mut stream = Stream::new(H264);
    (0..80).for_each(|n| stream.frame(n, &[P]));
    assert_eq!(
        stream.frames.len(),
        80,
        "marker bits are believed, nothing is held"
    );
    for n in 80..90 {
        [P, P_2]
            .iter()
            .for_each(|slice| stream.packet(n * FRAME, true, 0, slice));
    }
    let frames = stream.end();
    assert_eq!(frames.iter().filter(|frame| frame.is_damaged).count(), 1);
    assert_eq!(frames.len(), 91);
}

#[test]
fn a_stream_without_marker_bits_is_parted_by_time() {
    let mut stream = Stream::new(H264);
    for n in 0..5 {
        [P, P_2]
            .iter()
            .for_each(|slice| stream.packet(n * FRAME, false, 0, slice));
    }
    stream.now += UNMARKED_AT_LEAST;
    let now = stream.began + stream.now;
    stream.depacketizer.idle(now, &mut stream.frames);
    assert_eq!(times(&stream.frames), [0, 1, 2, 3, 4]);
}
const UNMARKED_AT_LEAST: Duration = Duration::from_millis(300);

#[test]
fn a_stream_without_marker_bits_and_time_is_parted_by_its_slices() {
    let mut stream = Stream::new(H264);
    (0..9).for_each(|_| stream.packet(7 * FRAME, false, 0, P));
    // Two pictures of one time may be the fields of a frame; from the third on, time stands still.
    assert_eq!(stream.end().len(), 8);
}

#[test]
fn slices_of_one_picture_may_be_stamped_one_by_one() {
    let mut stream = Stream::new(H264);
    for n in 0..3 {
        stream.packet(n * FRAME, false, 0, P);
        stream.packet(n * FRAME + 1, true, 0, P_2);
    }
    let frames = stream.end();
    assert_eq!(
        samples(&frames),
        [sample(&[P, P_2]), sample(&[P, P_2]), sample(&[P, P_2])]
    );
}

#[test]
fn parameter_sets_with_a_time_and_marker_of_their_own_wait_for_their_picture() {
    let mut stream = Stream::new(H264);
    for n in [0, 10] {
        [SPS, PPS]
            .iter()
            .for_each(|set| stream.packet(n * FRAME - 1, true, 0, set));
        stream.packet(n * FRAME, true, 0, IDR);
        stream.now += Duration::from_millis(40);
        stream.frame(n + 1, &[P]);
    }
    let frames = stream.end();
    assert_eq!(times(&frames), [0, 1, 10, 11]);
    assert_eq!(samples(&frames)[2], sample(&[SPS, PPS, IDR]));
}

#[test]
fn a_lost_packet_damages_its_unit_and_no_other() {
    let long: Vec<u8> = P.iter().copied().chain([0x55; 300]).collect();
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    stream.packet(FRAME, false, 0, &fu_a(&long, 1..100));
    stream.packet(FRAME, true, 1, &fu_a(&long, 200..long.len()));
    stream.frame(2, &[P]);
    let frames = stream.end();
    let damage: Vec<_> = frames
        .iter()
        .map(|frame| (frame.is_damaged, frame.lost_packets))
        .collect();
    assert_eq!(damage, [(false, 0), (true, 1), (false, 0)]);
    assert_eq!(
        samples(&frames)[1],
        sample(&[&long[..100]]),
        "what there is of it is kept"
    );
}

#[test]
fn a_lost_end_with_its_marker_bit_costs_no_other_unit() {
    let sei = [0x06, 5, 1, 0xaa, 0x80];
    let long: Vec<u8> = P.iter().copied().chain([0x55; 300]).collect();
    for believed in [0, 80] {
        let mut stream = Stream::new(H264);
        stream.frame(0, &[SPS, PPS, IDR]);
        (1..=believed).for_each(|n| stream.frame(n, &[&sei, P]));
        let at = believed + 1;
        stream.packet(at * FRAME, false, 0, &sei);
        stream.packet(at * FRAME, false, 0, &fu_a(&long, 1..100));
        stream.now += Duration::from_millis(40);
        for (n, lost) in [(at + 1, 1), (at + 2, 0), (at + 3, 0)] {
            stream.packet(n * FRAME, false, lost, &sei);
            stream.packet(n * FRAME, false, 0, &fu_a(&long, 1..100));
            stream.packet(n * FRAME, true, 0, &fu_a(&long, 100..long.len()));
            stream.now += Duration::from_millis(40);
        }
        let frames = stream.end();
        assert_eq!(times(&frames), (0..=at + 3).collect::<Vec<_>>());
        let damaged: Vec<_> = frames
            .iter()
            .filter(|frame| frame.is_damaged)
            .map(|frame| frame.rtp / FRAME)
            .collect();
        assert_eq!(damaged, [at]);
    }
}

#[test]
fn a_unit_whose_picture_is_lost_is_no_part_of_the_next() {
    let sei: Vec<u8> = [0x06, 5, 0xff, 0xff]
        .into_iter()
        .chain([0x55; 300])
        .collect();
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    stream.packet(FRAME, false, 0, &fu_a(&sei, 1..100));
    stream.packet(2 * FRAME, true, 2, P);
    // Sets came, their picture did not, but for its last fragment.
    stream.packet(3 * FRAME, false, 0, &stap_a(&[SPS, PPS]));
    stream.packet(
        3 * FRAME,
        true,
        4,
        &fu_a(&[IDR, &[0x55; 300]].concat(), 200..304),
    );
    stream.packet(4 * FRAME, true, 0, P);
    let frames = stream.end();
    assert_eq!(samples(&frames)[1..], [sample(&[P]), sample(&[P])]);
    assert_eq!((frames[1].lost_packets, frames[2].lost_packets), (2, 4));
}

#[test]
fn a_lost_picture_is_counted_before_the_next() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    stream.packet(3 * FRAME, true, 2, P);
    let frames = stream.end();
    let damage: Vec<_> = frames
        .iter()
        .map(|frame| (frame.is_damaged, frame.lost_packets))
        .collect();
    assert_eq!(damage, [(false, 0), (false, 2)]);
}

#[test]
fn a_damaged_access_point_is_none() {
    let long: Vec<u8> = IDR.iter().copied().chain([0x55; 300]).collect();
    let mut stream = Stream::new(H264);
    stream.packet(0, false, 0, SPS);
    stream.packet(0, false, 0, PPS);
    stream.packet(0, false, 0, &fu_a(&long, 1..100));
    stream.packet(0, true, 3, &fu_a(&long, 200..long.len()));
    assert_eq!(stream.end()[0].access, None);
}

#[test]
fn packets_that_cannot_be_used_cost_themselves_alone() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    let odd: [&[u8]; 8] = [
        &[],
        &[0x1e, 1, 2],
        &[0x1f],
        &[0x7c],
        &[0x7c, 0x05, 1],
        &[0x78, 0xff, 0xff, 1],
        &[0x1d, 0],
        &[0x78, 0, 0],
    ];
    for (n, payload) in (1..).zip(odd) {
        stream.packet(n * FRAME, false, 0, payload);
        stream.packet(n * FRAME, true, 0, P);
    }
    assert_eq!(stream.faults.len(), odd.len(), "{:?}", stream.faults);
    let frames = stream.end();
    assert_eq!(frames.len(), 1 + odd.len());
    assert!(frames[1..].iter().all(|frame| frame.data.ends_with(P)));
}

#[test]
fn packets_of_the_interleaved_mode_are_something_else_outside_of_it() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    // What would be the first fragment of another IDR picture.
    stream.frame(1, &[&[29, 0x85, 0, 0, 0x88, 0x80], P]);
    assert_eq!(stream.faults, [Fault::Payload]);
    let frames = stream.end();
    assert_eq!(samples(&frames)[1], sample(&[P]));
    assert!(frames.iter().all(|frame| !frame.is_damaged));
}

#[test]
fn vendors_nal_units_and_violations_are_kept() {
    let mut stream = Stream::new(H264);
    let odd = [
        &[0x41, 0b1001_1010, 0x80, 0, 0, 2, 0, 0, 0, 7][..],
        &[0x1c & 0x17, 0, 1],
    ];
    let vendor = [0x18 - 1, 1, 2, 3];
    stream.frame(0, &[odd[0], &vendor]);
    assert_eq!(samples(&stream.end()), [sample(&[odd[0], &vendor])]);
}

#[test]
fn all_sets_that_were_seen_are_in_the_configuration() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, PPS_1, IDR]);
    let mut again = Stream::new(H264);
    again.frame(0, &[SPS, PPS, IDR]);
    again.frame(1, &[PPS_1, P]);
    again.frame(2, &[IDR]);
    let [both, first] =
        [stream.end(), again.end()].map(|frames| frames.iter().map(config).collect::<Vec<_>>());
    let has = |config: &Option<Vec<u8>>, nal: &[u8]| {
        config
            .as_ref()
            .is_some_and(|config| config.windows(nal.len()).any(|window| window == nal))
    };
    assert!(has(&both[0], PPS) && has(&both[0], PPS_1) && has(&both[0], SPS));
    assert!(first[1].is_none(), "not before the next access point");
    assert_eq!(first[2], both[0]);
}

#[test]
fn sets_that_come_again_change_nothing_and_others_of_their_id_do() {
    let mut stream = Stream::new(H264);
    let other = [0x68, 0xce, 0x3c, 0x80];
    stream.frame(0, &[SPS, PPS, IDR]);
    stream.frame(1, &[SPS, PPS, IDR]);
    stream.frame(2, &[&other, IDR]);
    let configs: Vec<_> = stream.end().iter().map(config).collect();
    assert!(configs[0].is_some() && configs[1].is_none());
    assert!(
        configs[2]
            .as_ref()
            .is_some_and(|config| config.windows(4).any(|window| window == other))
    );
}

#[test]
fn recovery_points_are_access_points() {
    let mut stream = Stream::new(H264);
    // recovery_frame_cnt 0 (1) and 24 (000011001)
    let (open, gradual) = (
        [0x06, 6, 1, 0b1100_0000, 0x80],
        [0x06, 6, 2, 0b0000_1100, 0b1100_0000, 0x80],
    );
    stream.frame(0, &[SPS, PPS, &open, P]);
    stream.frame(1, &[&gradual, P]);
    let access: Vec<_> = stream.end().iter().map(|frame| frame.access).collect();
    assert_eq!(
        access,
        [
            Some(AccessPoint::Open),
            Some(AccessPoint::Recovery { frames: 24 })
        ]
    );
}

#[test]
fn intra_pictures_are_access_points_where_nothing_better_comes() {
    let mut stream = Stream::new(H264);
    for n in 0..1000 {
        let slice = if n == 0 {
            IDR
        } else if n % 25 == 0 {
            INTRA
        } else {
            P
        };
        stream.frame(n, &[SPS, PPS, slice]);
    }
    let frames = stream.end();
    let first = times(
        &frames[1..]
            .iter()
            .filter(|frame| frame.access.is_some())
            .cloned()
            .collect::<Vec<_>>(),
    )[0];
    assert_eq!(first, 250, "ten seconds after the IDR picture");
    let mut late = Stream::new(H264);
    (0..100).for_each(|n| late.frame(n, &[SPS, PPS, if n % 25 == 0 { INTRA } else { P }]));
    let first = late.end().iter().position(|frame| frame.access.is_some());
    assert_eq!(first, Some(50), "two seconds after the begin");
}

#[test]
fn an_access_unit_above_the_bound_is_left_out() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[SPS, PPS, IDR]);
    let body = vec![0x55; 60_000];
    stream.packet(FRAME, false, 0, P);
    for _ in 0..=FRAME_BYTES_MAX / body.len() {
        stream.packet(FRAME, false, 0, &[&P_2[..3], &body].concat());
    }
    stream.packet(FRAME, true, 0, P_2);
    stream.frame(2, &[P]);
    assert_eq!(stream.faults, [Fault::Oversize]);
    let frames = stream.end();
    assert_eq!(times(&frames), [0, 2]);
    assert!(frames[1].lost_packets > 0, "the hole is marked");
}

#[test]
fn h265_fragments_and_aggregates_are_put_together() {
    let (vps, sps, pps) = h265_sets();
    let idr = [19 << 1, 1, 0b1010_0000, 1, 2, 3, 4, 5];
    let mut stream = Stream::new(H265);
    let units = [&vps[..], &sps, &pps];
    let aggregate: Vec<u8> = [48 << 1, 1]
        .into_iter()
        .chain(
            units
                .iter()
                .flat_map(|nal| [&(nal.len() as u16).to_be_bytes()[..], nal].concat()),
        )
        .collect();
    let fragment = |flags: u8, body: &[u8]| [&[49 << 1, 1, flags | 19][..], body].concat();
    stream.frame(
        0,
        &[
            &aggregate,
            &fragment(0x80, &idr[2..5]),
            &fragment(0x40, &idr[5..]),
        ],
    );
    let cra = [21 << 1, 1, 0b1010_0000, 9];
    let trail = [1 << 1, 1, 0b1101_0000, 9];
    stream.frame(1, &[&[50 << 1, 1, 2, 0x10, 0xee, 9], &trail]);
    stream.frame(2, &[&cra]);
    assert_eq!(stream.faults, [Fault::Payload], "a packet with extensions");
    let frames = stream.end();
    assert_eq!(
        samples(&frames),
        [
            sample(&[&vps, &sps, &pps, &idr]),
            sample(&[&trail]),
            sample(&[&cra])
        ]
    );
    let access: Vec<_> = frames.iter().map(|frame| frame.access).collect();
    assert_eq!(
        access,
        [Some(AccessPoint::Sync), None, Some(AccessPoint::Open)]
    );
    match frames[0].parameters.as_deref() {
        Some(TrackParameters::Video {
            width: 704,
            height: 480,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

/// Those of retina's tests.
fn h265_sets() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    use base64::Engine;
    let decode = |text| {
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap()
    };
    (
        decode("QAEMAf//AWAAAAMAsAAAAwAAAwBarAwAAAMABAAAAwAyqA=="),
        decode("QgEBAWAAAAMAsAAAAwAAAwBaoAWCAeFja5JFL83BQYFBAAADAAEAAAMADKE="),
        decode("RAHA8saNA7NA"),
    )
}

#[test]
fn h265_sets_of_a_description_decode_the_first_picture() {
    let fmtp = "sprop-vps=QAEMAf//AWAAAAMAsAAAAwAAAwBarAwAAAMABAAAAwAyqA==; \
                sprop-sps=QgEBAWAAAAMAsAAAAwAAAwBaoAWCAeFja5JFL83BQYFBAAADAAEAAAMADKE=;\
                sprop-pps=RAHA8saNA7NA";
    let mut stream = Stream::with_fmtp(H265, Some(fmtp));
    stream.frame(0, &[&[19 << 1, 1, 0b1010_0000, 1]]);
    let frames = stream.end();
    let config = config(&frames[0]).unwrap();
    assert_eq!(
        (config[0], config[22]),
        (1, 3),
        "a record with three arrays"
    );
}

#[test]
fn what_decodes_is_announced_before_an_access_point_too() {
    let mut stream = Stream::new(H264);
    stream.frame(0, &[P]);
    stream.frame(1, &[SPS, PPS, P]);
    stream.frame(2, &[SPS, PPS, IDR]);
    let announced: Vec<_> = stream
        .end()
        .iter()
        .map(|frame| frame.parameters.is_some())
        .collect();
    assert_eq!(announced, [false, true, false]);
}

#[test]
fn sets_that_cannot_be_used_are_named() {
    let mut stream = Stream::with_fmtp(H264, Some("sprop-parameter-sets=!!!,"));
    stream.frame(0, &[IDR]);
    assert!(stream.frames.is_empty() || stream.frames[0].parameters.is_none());
    stream.depacketizer.finish(&mut stream.frames);
    assert_eq!(
        stream.depacketizer.undecodable(),
        Some(&Undecodable::Missing("picture parameter set (PPS)"))
    );
    stream.frame(1, &[SPS, PPS, IDR]);
    stream.frame(2, &[P]);
    stream.depacketizer.finish(&mut stream.frames);
    assert_eq!(stream.depacketizer.undecodable(), None);
    let huge = [SPS, &vec![1; 200_000]].concat();
    stream.frame(
        3,
        &[&fu_a(&huge, 1..60_000), &fu_a(&huge, 60_000..huge.len()), P],
    );
    assert_eq!(stream.faults, [Fault::ParameterSet]);
}

proptest::proptest! {
    #[test]
    fn any_packets_are_taken_or_counted(
        is_h265: bool,
        packets in proptest::collection::vec(
            (
                proptest::collection::vec(proptest::num::u8::ANY, 0..40),
                0_i64..5,
                proptest::bool::ANY,
                0_u16..2,
            ),
            0..100,
        ),
    ) {
        let mut stream = Stream::new(if is_h265 { H265 } else { H264 });
        for (payload, rtp, marker, lost) in packets {
            stream.packet(rtp, marker, lost, &payload);
        }
        for frame in stream.end() {
            let mut rest = &frame.data[..];
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                rest = &after[u32::from_be_bytes(*length) as usize..];
            }
            proptest::prop_assert!(rest.is_empty(), "lengths add up");
        }
    }

    #[test]
    fn slices_survive_whatever_is_between(
        losses in proptest::collection::vec(0_u16..8, 60),
        odd in proptest::collection::vec(
            proptest::collection::vec(proptest::num::u8::ANY, 0..6),
            60,
        ),
    ) {
        let mut stream = Stream::new(H264);
        for (n, (lost, odd)) in (0..).zip(losses.into_iter().zip(odd)) {
            let lost = if lost == 7 { 1 } else { 0 };
            if odd.first().is_some_and(|header| matches!(header & 0x1f, 24..=31)) {
                stream.packet(n * FRAME, false, 0, &odd);
            }
            stream.packet(n * FRAME, true, lost, P);
        }
        let frames = stream.end();
        proptest::prop_assert_eq!(
            frames
                .iter()
                .filter(|frame| frame.data.ends_with(P))
                .count(),
            60
        );
    }
}
