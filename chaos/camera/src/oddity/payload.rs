//! Odd contents of video packets: unusual NAL units, unusual packing, and encodings that few test
//! cameras have.

use super::kinds::kinds;
use crate::annexb;
use crate::codec::{Codec, Unit};
use crate::packing::{self, Payload};
use crate::reel::ReelName;

kinds! {
    /// The video's NAL units and their packing. Oddities that name no codec exist in both.
    PayloadOddity {
        FragmentTypesDiffer: "fragments of one NAL unit differ in their type field",
            "scottlamb/moonfire-nvr#344";
        FragmentStartMissing: "every 40th frame's first fragment has no start mark",
            "a sibling: senders that restart within a NAL unit";
        FragmentEndMissing: "no fragment has an end mark", "a sibling of the missing start";
        Aggregated: "parameter sets and SEI come in one aggregation packet",
            "RFC 6184, 5.7.1; RFC 7798, 4.4.2";
        StrayStapB: "H.264: at every 25th frame a STAP-B packet",
            "RFC 6184, 5.7.1: not in this mode";
        StrayMtap: "H.264: at every 25th frame an MTAP16 packet",
            "RFC 6184, 5.7.2: not in this mode";
        StrayType29: "H.264: at every 25th frame a packet whose NAL type is 29",
            "blakeblackshear/frigate#3754, #6996 (Hikvision)";
        StrayType30: "H.264: at every 25th frame a packet whose NAL type is 30",
            "a sibling of type 29";
        StrayType31: "H.264: at every 25th frame a packet whose NAL type is 31",
            "a sibling of type 29";
        StrayType0: "H.264: at every 25th frame a packet whose NAL type is 0",
            "a sibling of type 29";
        StrayPaci: "H.265: at every 25th frame a PACI packet (type 50)", "RFC 7798, 4.4.4";
        StrayVendorType: "H.265: at every 25th frame a packet whose NAL type is 63",
            "a sibling of PACI";
        SeiBetweenFrames: "packets with SEI only, a time of their own and the marker",
            "scottlamb/retina#46";
        DelimiterBetweenFrames: "packets with a delimiter only and the marker",
            "a sibling of the SEI";
        Filler: "a filler data unit behind each picture",
            "constant-rate encoders; ITU-T H.264, 7.4.2.7";
        ForbiddenBit: "at every 25th frame a NAL unit whose forbidden bit is set",
            "bit errors; RFC 6184, 1.3";
        EmulationMissing: "at every 25th frame an SEI unit with 00 00 00 and 00 00 02 in it",
            "encoders without emulation prevention";
        TwoPps: "H.264: two PPS, and pictures use them in turn",
            "gpac/gpac#2472 (Sony), xtne6f/tsmemseg#2";
        SeveralSps: "another SPS and PPS that no picture uses, before each keyframe",
            "cameras that announce all of their profiles";
        SetsEveryFrame: "parameter sets before every picture", "streaming encoders; OpenIPC";
        SetsInBandOnly: "parameter sets in the stream only, not in the SDP", "scottlamb/retina#116";
        SetsInSdpOnly: "parameter sets in the SDP only, not in the stream", "RFC 6184, 8.2.2";
        SetsChange: "the level in the parameter sets changes every 2 s",
            "arut/nginx-rtmp-module#890";
        ResolutionSwitch: "the picture has another size every 4 s", "bluenviron/mediamtx#4262";
        GradualRefresh: "H.264: gradual refresh with recovery points, no IDR picture",
            "rockchip-linux/mpp#523, w3c/webcodecs#650";
        RecoveryPoints: "H.264: I pictures with recovery points and B pictures, no IDR picture",
            "voxel51/fiftyone#8497";
        OpenGop: "B pictures in open GOPs (H.265: CRA pictures)",
            "scottlamb/retina#61, bluenviron/mediamtx#4881";
        BrokenLinks: "H.265: the same with BLA pictures", "ITU-T H.265, 3.12: spliced streams";
        Slices: "H.264: three slices a picture", "OpenIPC/smolrtsp#43";
        LongGop: "H.264: a keyframe in 10 s", "badbread/crumbvms#114 (smart codec)";
    }
}

/// One access unit before packing.
#[derive(Debug)]
pub(crate) struct AccessUnit {
    pub(crate) codec: Codec,
    /// Number of the camera's frame, from 0.
    pub(crate) number: u64,
    pub(crate) is_keyframe: bool,
    pub(crate) nals: Vec<Vec<u8>>,
    /// The parameter sets of the clip.
    pub(crate) sets: Vec<Vec<u8>>,
}

impl PayloadOddity {
    pub(super) fn codec(self) -> Option<Codec> {
        match self {
            Self::StrayPaci | Self::StrayVendorType | Self::BrokenLinks => Some(Codec::H265),
            Self::StrayStapB
            | Self::StrayMtap
            | Self::StrayType29
            | Self::StrayType30
            | Self::StrayType31
            | Self::StrayType0
            | Self::TwoPps
            | Self::GradualRefresh
            | Self::RecoveryPoints
            | Self::Slices
            | Self::LongGop => Some(Codec::H264),
            _ => None,
        }
    }

    pub(super) fn reel(self, codec: Codec) -> Option<ReelName> {
        match (self, codec) {
            (Self::TwoPps | Self::Slices, _) => Some(ReelName::Slices),
            (Self::GradualRefresh, _) => Some(ReelName::Refresh),
            (Self::RecoveryPoints, _) => Some(ReelName::RecoveryPoints),
            (Self::LongGop, _) => Some(ReelName::LongGop),
            (Self::OpenGop, Codec::H264) => Some(ReelName::OpenGop),
            (Self::OpenGop | Self::BrokenLinks, Codec::H265) => Some(ReelName::H265OpenGop),
            _ => None,
        }
    }

    /// The parameter sets in the description, given those of the clip.
    pub(crate) fn sets_of_description(self, sets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match self {
            Self::SetsInBandOnly => Vec::new(),
            Self::TwoPps => with_second_pps(sets),
            _ => sets,
        }
    }

    /// Changes the NAL units of an access unit.
    pub(crate) fn bend_unit(self, unit: &mut AccessUnit) {
        let codec = unit.codec;
        match self {
            Self::Filler => unit.nals.push(filler(codec)),
            Self::EmulationMissing if unit.number % 25 == 12 => {
                let mut sei = codec.header(if codec == Codec::H264 { 6 } else { 39 });
                sei.extend_from_slice(b"\x05\x18unescaped:zeros!\0\0\0\x05\0\0\x02\x06\x80");
                unit.insert_before_slices(sei);
            }
            Self::ForbiddenBit if unit.number % 25 == 12 => {
                let mut broken = codec.header(if codec == Codec::H264 { 1 } else { 0 });
                broken[0] |= 0x80;
                broken.extend_from_slice(b"\x9a\x12\x34");
                unit.insert_before_slices(broken);
            }
            Self::TwoPps => unit.use_two_pps(),
            Self::SeveralSps if unit.is_keyframe => {
                let others = other_sets(codec, &unit.sets);
                unit.insert_sets(others);
            }
            Self::SetsEveryFrame if !unit.is_keyframe => {
                let sets = unit.sets.clone();
                unit.insert_sets(sets);
            }
            Self::SetsInSdpOnly => unit.nals.retain(|nal| !codec.is_parameter_set(nal)),
            Self::SetsChange if unit.number / 50 % 2 == 1 => {
                for set in unit
                    .nals
                    .iter_mut()
                    .filter(|nal| codec.is_parameter_set(nal))
                {
                    *set = with_other_level(codec, set);
                }
            }
            Self::BrokenLinks => {
                // BLA_W_LP instead of CRA, as if two streams were spliced.
                for nal in unit.nals.iter_mut().filter(|nal| codec.kind(nal) == 21) {
                    nal[0] = nal[0] & 0x81 | 16 << 1;
                }
            }
            _ => {}
        }
    }

    /// Changes the packets of an access unit; returns whether the frame can still be whole.
    pub(crate) fn bend_payloads(
        self,
        codec: Codec,
        number: u64,
        payloads: &mut Vec<Payload>,
    ) -> bool {
        let Some(timestamp) = payloads.first().map(|payload| payload.timestamp) else {
            return true;
        };
        let rarely = number % 25 == 12;
        match self {
            Self::FragmentTypesDiffer => differ_in_type(codec, payloads),
            Self::FragmentStartMissing if number % 40 == 39 => {
                return !take_marks(codec, payloads, false);
            }
            // A recorder may also drop the whole access unit because of one damaged unit.
            Self::EmulationMissing | Self::ForbiddenBit if rarely => return false,
            Self::FragmentEndMissing => {
                take_marks(codec, payloads, true);
            }
            Self::Aggregated => aggregate(codec, payloads),
            Self::StrayStapB if rarely => stray(payloads, b"\x79\0\x01\0\x02\x09\x10", timestamp),
            Self::StrayMtap if rarely => {
                stray(payloads, b"\x7a\0\x01\0\x05\0\0\0\x09\x10", timestamp)
            }
            Self::StrayType29 if rarely => stray(payloads, b"\x1d\x85\0\0vendor", timestamp),
            Self::StrayType30 if rarely => stray(payloads, b"\x1e\x01vendor", timestamp),
            Self::StrayType31 if rarely => stray(payloads, b"\x1f\x01vendor", timestamp),
            Self::StrayType0 if rarely => stray(payloads, b"\0\0vendor", timestamp),
            Self::StrayPaci if rarely => stray(payloads, b"\x64\x01\x26\x10\x01paci", timestamp),
            Self::StrayVendorType if rarely => stray(payloads, b"\x7e\x01vendor", timestamp),
            Self::SeiBetweenFrames if number % 10 == 5 => {
                let mut sei = codec.header(if codec == Codec::H264 { 6 } else { 39 });
                sei.extend_from_slice(b"\x05\x10between:frames!!\x80");
                let own = Payload {
                    marker: true,
                    ..Payload::new(sei, timestamp.wrapping_sub(1800))
                };
                payloads.insert(0, own);
            }
            Self::DelimiterBetweenFrames if number % 10 == 5 => {
                let delimiter = match codec {
                    Codec::H264 => vec![9, 0xf0],
                    Codec::H265 => [codec.header(35), vec![0x50]].concat(),
                };
                let own = Payload {
                    marker: true,
                    ..Payload::new(delimiter, timestamp.wrapping_sub(1800))
                };
                payloads.insert(0, own);
            }
            _ => {}
        }
        true
    }
}

impl AccessUnit {
    fn insert_before_slices(&mut self, nal: Vec<u8>) {
        let at = self
            .nals
            .iter()
            .position(|nal| self.codec.is_slice(nal))
            .unwrap_or(self.nals.len());
        self.nals.insert(at, nal);
    }

    /// After the delimiter and the existing sets.
    fn insert_sets(&mut self, sets: Vec<Vec<u8>>) {
        let comes_after =
            |nal: &Vec<u8>| !matches!(self.codec.unit(nal), Unit::Delimiter | Unit::ParameterSet);
        let at = self
            .nals
            .iter()
            .position(comes_after)
            .unwrap_or(self.nals.len());
        self.nals.splice(at..at, sets);
    }

    /// Both PPS before keyframes; every second picture uses the second.
    fn use_two_pps(&mut self) {
        self.nals = with_second_pps(std::mem::take(&mut self.nals));
        if self.number % 2 == 1 {
            for nal in self.nals.iter_mut().filter(|nal| self.codec.is_slice(nal)) {
                *nal = with_pps_id_1(nal);
            }
        }
    }
}

/// Adds, after each PPS, the same PPS as number 1.
fn with_second_pps(nals: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let doubled = nals.into_iter().flat_map(|nal| {
        let second = (annexb::nal_type(&nal) == annexb::NAL_PPS).then(|| with_pps_id_1(&nal));
        [Some(nal), second]
    });
    doubled.flatten().collect()
}

/// The same slice (CAVLC, so that its bits need not be aligned) or PPS 0 itself, with PPS id 1.
fn with_pps_id_1(nal: &[u8]) -> Vec<u8> {
    // ITU-T H.264, 7.3.3: `first_mb_in_slice` and `slice_type` come before the id of a slice.
    let fields_before = if annexb::nal_type(nal) == annexb::NAL_PPS {
        0
    } else {
        2
    };
    with_id_1(nal, 1, fields_before)
}

/// A NAL unit with 1 instead of 0 in the ue(v) field that follows `head` bytes and `fields_before`
/// ue(v) fields.
fn with_id_1(nal: &[u8], head: usize, fields_before: usize) -> Vec<u8> {
    let rbsp = annexb::unescape(&nal[head..]);
    let mut bits: Vec<bool> = rbsp
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1))
        .collect();
    let at = (0..fields_before).fold(0, |at, _| after_exp_golomb(&bits, at));
    if bits.get(at) != Some(&true) {
        return nal.to_vec();
    }
    // ue(0) is `1`, ue(1) `010` (ITU-T H.264, 9.1).
    bits.splice(at..=at, [false, true, false]);
    // Trailing bits: a one, then zeros up to the byte.
    let end = bits.iter().rposition(|&bit| bit).map_or(0, |last| last + 1);
    bits.truncate(end);
    bits.resize(end.next_multiple_of(8), false);
    let bytes: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
        .collect();
    let mut out = nal[..head].to_vec();
    annexb::escape_into(&bytes, &mut out);
    out
}

/// The position after one ue(v).
fn after_exp_golomb(bits: &[bool], at: usize) -> usize {
    let zeros = bits.iter().skip(at).take_while(|&&bit| !bit).count();
    at + 2 * zeros + 1
}

/// The sets with a level that is one step higher: another header, the same pictures.
fn with_other_level(codec: Codec, set: &[u8]) -> Vec<u8> {
    let at = match (codec, codec.kind(set)) {
        (Codec::H264, 7) => 3,
        // `general_level_idc`: ITU-T H.265, 7.3.2.1, 7.3.2.2, 7.3.3.
        (Codec::H265, 32) => 2 + 4 + 11,
        (Codec::H265, 33) => 2 + 1 + 11,
        _ => return set.to_vec(),
    };
    let head = codec.header_bytes();
    let mut plain = [&set[..head], &annexb::unescape(&set[head..])].concat();
    if let Some(level) = plain.get_mut(at) {
        *level += if codec == Codec::H264 { 1 } else { 3 };
    }
    let mut out = plain[..head].to_vec();
    annexb::escape_into(&plain[head..], &mut out);
    out
}

/// Sets under other ids, which no picture uses.
fn other_sets(codec: Codec, sets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let other = |set: &Vec<u8>| match (codec, codec.kind(set)) {
        // The id follows profile, constraints and level.
        (Codec::H264, 7) => Some(with_id_1(set, 4, 0)),
        (Codec::H264, 8) => Some(with_pps_id_1(set)),
        (Codec::H265, 34) => Some(with_id_1(set, 2, 0)),
        _ => None,
    };
    sets.iter().filter_map(other).collect()
}

fn filler(codec: Codec) -> Vec<u8> {
    let mut nal = codec.header(if codec == Codec::H264 { 12 } else { 38 });
    nal[0] &= 0x9f | u8::from(codec == Codec::H265) << 6;
    nal.extend_from_slice(&[0xff; 40]);
    nal.push(0x80);
    nal
}

fn stray(payloads: &mut Vec<Payload>, bytes: &[u8], timestamp: u32) {
    payloads.insert(0, Payload::new(bytes.to_vec(), timestamp));
}

/// Fragments after the first claim another type.
fn differ_in_type(codec: Codec, payloads: &mut [Payload]) {
    let at = codec.header_bytes();
    for payload in payloads {
        if let Some((false, _)) = packing::fragment(codec, &payload.bytes) {
            payload.bytes[at] ^= 1;
        }
    }
}

/// Removes the start or end marks from all fragments; returns whether there were any.
fn take_marks(codec: Codec, payloads: &mut [Payload], end: bool) -> bool {
    let mut any = false;
    for payload in payloads {
        if let Some((starts, ends)) = packing::fragment(codec, &payload.bytes)
            && (if end { ends } else { starts })
        {
            packing::without_mark(codec, &mut payload.bytes, end);
            any = true;
        }
    }
    any
}

/// Puts small units other than slices into one packet.
fn aggregate(codec: Codec, payloads: &mut Vec<Payload>) {
    let is_small = |payload: &Payload| {
        let unit = codec.unit(&payload.bytes);
        matches!(unit, Unit::Delimiter | Unit::ParameterSet | Unit::Sei)
            && payload.bytes.len() < 400
    };
    let count = payloads
        .iter()
        .take_while(|payload| is_small(payload))
        .count();
    if count < 2 {
        return;
    }
    let small: Vec<Payload> = payloads.drain(..count).collect();
    let nals: Vec<&[u8]> = small
        .iter()
        .map(|payload| payload.bytes.as_slice())
        .collect();
    let whole = Payload {
        marker: payloads.is_empty(),
        ..Payload::new(packing::aggregate(codec, &nals), 0)
    };
    payloads.insert(
        0,
        Payload {
            timestamp: small[0].timestamp,
            ..whole
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reel::Reel;

    fn unit(name: ReelName, number: u64) -> AccessUnit {
        let reel = Reel::load(name).unwrap();
        let frame = &reel.frame(number).frame;
        let nals = frame
            .head
            .iter()
            .chain(&frame.slices)
            .map(|nal| nal.to_vec())
            .collect();
        let sets = reel.sets.iter().map(|set| set.to_vec()).collect();
        AccessUnit {
            codec: reel.codec,
            number,
            is_keyframe: frame.keyframe,
            nals,
            sets,
        }
    }

    fn bent(oddity: PayloadOddity, name: ReelName, number: u64) -> Vec<u8> {
        let mut unit = unit(name, number);
        oddity.bend_unit(&mut unit);
        unit.nals.iter().map(|nal| unit.codec.kind(nal)).collect()
    }

    #[test]
    fn units_are_added_and_left_out() {
        assert_eq!(
            bent(PayloadOddity::Filler, ReelName::Slices, 1),
            [9, 1, 1, 1, 12]
        );
        assert_eq!(
            bent(PayloadOddity::SetsEveryFrame, ReelName::H265, 1),
            [35, 32, 33, 34, 1]
        );
        assert_eq!(
            bent(PayloadOddity::SetsInSdpOnly, ReelName::Slices, 0),
            [9, 5, 5, 5]
        );
        assert_eq!(
            bent(PayloadOddity::SeveralSps, ReelName::Slices, 0),
            [9, 7, 8, 7, 8, 5, 5, 5]
        );
        assert_eq!(
            bent(PayloadOddity::EmulationMissing, ReelName::Slices, 12),
            [9, 6, 1, 1, 1]
        );
        assert_eq!(
            bent(PayloadOddity::BrokenLinks, ReelName::H265OpenGop, 22),
            [35, 32, 33, 34, 16]
        );
    }

    #[test]
    fn a_second_pps_is_used_by_every_second_picture() {
        assert_eq!(
            bent(PayloadOddity::TwoPps, ReelName::Slices, 0),
            [9, 7, 8, 8, 5, 5, 5]
        );
        let (plain, mut odd) = (unit(ReelName::Slices, 1), unit(ReelName::Slices, 1));
        PayloadOddity::TwoPps.bend_unit(&mut odd);
        for (plain, odd) in plain.nals.iter().zip(&odd.nals).skip(1) {
            assert_ne!(plain, odd);
            // first_mb_in_slice, slice_type and the id: two bits more.
            let bits = |nal: &[u8]| {
                nal.len() * 8 - nal.last().map_or(0, |last| last.trailing_zeros() as usize)
            };
            let (plain, odd) = (annexb::unescape(plain), annexb::unescape(odd));
            assert_eq!(bits(&odd), bits(&plain) + 2);
        }
    }

    #[test]
    fn the_level_changes_and_nothing_else() {
        for name in [ReelName::Slices, ReelName::H265] {
            let (plain, mut odd) = (unit(name, 0), unit(name, 0));
            odd.number = 50;
            PayloadOddity::SetsChange.bend_unit(&mut odd);
            let changed: usize = plain
                .nals
                .iter()
                .zip(&odd.nals)
                .filter(|(plain, odd)| plain != odd)
                .count();
            assert_eq!(changed, if name == ReelName::Slices { 1 } else { 2 });
            let head = plain.codec.header_bytes();
            let differ = plain.nals.iter().zip(&odd.nals).map(|(plain, odd)| {
                let (plain, odd) = (
                    annexb::unescape(&plain[head..]),
                    annexb::unescape(&odd[head..]),
                );
                plain
                    .iter()
                    .zip(&odd)
                    .filter(|(plain, odd)| plain != odd)
                    .count()
            });
            assert_eq!(differ.sum::<usize>(), changed);
        }
    }

    #[test]
    fn packing_is_bent() {
        let nals = vec![vec![0x09, 0xf0], vec![0x06, 1, 2], vec![0x65; 3000]];
        let bent = |oddity: PayloadOddity, number| {
            let mut payloads = packing::of_access_unit(Codec::H264, &nals, 90);
            let whole = oddity.bend_payloads(Codec::H264, number, &mut payloads);
            (payloads, whole)
        };
        let (payloads, whole) = bent(PayloadOddity::FragmentStartMissing, 39);
        assert!(
            !whole
                && payloads
                    .iter()
                    .all(|p| packing::fragment(Codec::H264, &p.bytes).is_none_or(|(s, _)| !s))
        );
        let (payloads, whole) = bent(PayloadOddity::FragmentEndMissing, 1);
        assert!(
            whole
                && payloads
                    .iter()
                    .all(|p| packing::fragment(Codec::H264, &p.bytes).is_none_or(|(_, e)| !e))
        );
        let (payloads, _) = bent(PayloadOddity::Aggregated, 1);
        assert_eq!(payloads[0].bytes, [0x78, 0, 2, 9, 0xf0, 0, 3, 6, 1, 2]);
        let (payloads, _) = bent(PayloadOddity::SeiBetweenFrames, 5);
        assert!(payloads[0].marker && payloads[0].timestamp != payloads[1].timestamp);
        assert_eq!(bent(PayloadOddity::StrayType29, 12).0[0].bytes[0], 29);
    }
}
