//! Packs NAL units into RTP packets: H.264 by RFC 6184 (non-interleaved mode), H.265 by RFC 7798.

use crate::codec::Codec;

/// The most RTP payload bytes in one packet, so that it fits an Ethernet frame.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1400;
pub(crate) const VIDEO_PAYLOAD_TYPE: u8 = 96;

const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// The payload of one RTP packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    /// A slice, or a fragment of one.
    pub(crate) is_slice: bool,
    /// The last packet of its NAL unit.
    pub(crate) ends_unit: bool,
    /// Uses its sequence number but is not sent.
    pub(crate) is_lost: bool,
}

impl Payload {
    pub(crate) fn new(bytes: Vec<u8>, timestamp: u32) -> Self {
        Self {
            bytes,
            kind: VIDEO_PAYLOAD_TYPE,
            timestamp,
            ends_unit: true,
            ..Self::default()
        }
    }
}

/// The payloads of one access unit; the last has the marker.
pub(crate) fn of_access_unit(
    codec: Codec,
    nals: &[impl AsRef<[u8]>],
    timestamp: u32,
) -> Vec<Payload> {
    let mut payloads = Vec::new();
    for nal in nals {
        pack(codec, nal.as_ref(), timestamp, &mut payloads);
    }
    if let Some(last) = payloads.last_mut() {
        last.marker = true;
    }
    payloads
}

fn pack(codec: Codec, nal: &[u8], timestamp: u32, payloads: &mut Vec<Payload>) {
    let is_slice = codec.is_slice(nal);
    for_each_packet(codec, nal, |parts, ends_unit| {
        payloads.push(Payload {
            is_slice,
            ends_unit,
            ..Payload::new(parts.concat(), timestamp)
        });
    });
}

/// Calls `packet` with the parts of each packet's payload, and whether the NAL unit ends with it.
pub(crate) fn for_each_packet(codec: Codec, nal: &[u8], mut packet: impl FnMut(&[&[u8]], bool)) {
    let Some((header, body)) = nal.split_at_checked(codec.header_bytes()) else {
        return;
    };
    if nal.len() <= PAYLOAD_BYTES_MAX {
        packet(&[nal], true);
        return;
    }
    let (head, kind) = fragment_header(codec, header);
    let head = &head[..codec.header_bytes()];
    let fragments = body.chunks(PAYLOAD_BYTES_MAX - head.len() - 1);
    let count = fragments.len();
    for (at, fragment) in fragments.enumerate() {
        let start = if at == 0 { FU_START } else { 0 };
        let end = if at + 1 == count { FU_END } else { 0 };
        packet(&[head, &[start | end | kind], fragment], end != 0);
    }
}

/// The bytes before the FU header, and the type in it (RFC 6184, 5.8; RFC 7798, 4.4.3).
fn fragment_header(codec: Codec, header: &[u8]) -> ([u8; 2], u8) {
    match codec {
        Codec::H264 => ([header[0] & 0xe0 | 28, 0], header[0] & 0x1f),
        Codec::H265 => (
            [header[0] & 0x81 | 49 << 1, header[1]],
            header[0] >> 1 & 0x3f,
        ),
    }
}

/// Whether a fragment starts, and whether it ends, its NAL unit; `None` for other payloads.
pub(crate) fn fragment(codec: Codec, payload: &[u8]) -> Option<(bool, bool)> {
    let at = codec.header_bytes();
    let is_fragment = match codec {
        Codec::H264 => codec.kind(payload) == 28,
        Codec::H265 => codec.kind(payload) == 49,
    };
    let header = payload.get(at).filter(|_| is_fragment)?;
    Some((header & FU_START != 0, header & FU_END != 0))
}

/// Removes the end (or start) mark from a fragment.
pub(crate) fn without_mark(codec: Codec, payload: &mut [u8], end: bool) {
    if let Some(header) = payload.get_mut(codec.header_bytes()) {
        *header &= if end { !FU_END } else { !FU_START };
    }
}

/// Several NAL units in one payload (RFC 6184, 5.7.1; RFC 7798, 4.4.2).
pub(crate) fn aggregate(codec: Codec, nals: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = match codec {
        Codec::H264 => vec![0x60 | 24],
        Codec::H265 => codec.header(48),
    };
    for nal in nals {
        bytes.extend_from_slice(&(nal.as_ref().len() as u16).to_be_bytes());
        bytes.extend_from_slice(nal.as_ref());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Undoes RFC 6184, 5.6 and 5.8, or RFC 7798, 4.4.1 and 4.4.3.
    fn reassemble(codec: Codec, payloads: &[Payload]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            let (bytes, at) = (&payload.bytes, codec.header_bytes());
            let Some((start, _)) = fragment(codec, bytes) else {
                nals.push(bytes.clone());
                continue;
            };
            if start {
                let kind = bytes[at] & 0x3f;
                nals.push(match codec {
                    Codec::H264 => vec![bytes[0] & 0xe0 | kind],
                    Codec::H265 => vec![bytes[0] & 0x81 | kind << 1, bytes[1]],
                });
            }
            nals.last_mut().unwrap().extend_from_slice(&bytes[at + 1..]);
        }
        nals
    }

    proptest! {
        #[test]
        fn an_access_unit_survives_its_packets(
            sizes in prop::collection::vec(2usize..5000, 1..6),
            codec in prop::sample::select(vec![Codec::H264, Codec::H265]),
        ) {
            let header = match codec {
                Codec::H264 => vec![0x65],
                Codec::H265 => codec.header(19),
            };
            let nal = |size: usize| {
                header
                    .iter()
                    .copied()
                    .chain((0..size).map(|i| i as u8))
                    .collect::<Vec<u8>>()
            };
            let nals: Vec<Vec<u8>> = sizes.iter().map(|&size| nal(size)).collect();
            let payloads = of_access_unit(codec, &nals, 7);
            prop_assert_eq!(reassemble(codec, &payloads), nals);
            for (at, payload) in payloads.iter().enumerate() {
                prop_assert!(payload.bytes.len() <= PAYLOAD_BYTES_MAX && payload.is_slice);
                prop_assert_eq!(payload.marker, at + 1 == payloads.len());
            }
        }
    }

    #[test]
    fn marks_can_be_taken_off() {
        let mut payloads = of_access_unit(Codec::H265, &[vec![0x26; 4000]], 0);
        let last = payloads.len() - 1;
        assert_eq!(
            fragment(Codec::H265, &payloads[0].bytes),
            Some((true, false))
        );
        assert_eq!(
            fragment(Codec::H265, &payloads[last].bytes),
            Some((false, true))
        );
        without_mark(Codec::H265, &mut payloads[last].bytes, true);
        assert_eq!(
            fragment(Codec::H265, &payloads[last].bytes),
            Some((false, false))
        );
        assert_eq!(fragment(Codec::H264, &[0x65, 1]), None);
    }

    #[test]
    fn an_aggregate_has_a_length_before_each_unit() {
        assert_eq!(
            aggregate(Codec::H264, &[&[9u8, 1][..], &[7]]),
            [0x78, 0, 2, 9, 1, 0, 1, 7]
        );
        assert_eq!(
            aggregate(Codec::H265, &[&[0x46u8, 1][..]]),
            [0x60, 1, 0, 2, 0x46, 1]
        );
    }
}
