//! Classifies NAL units: slice, parameter set, supplemental information (ITU-T H.264, 7.3 and 7.4;
//! H.265, 7.3 and 7.4). Pure.

use super::bits::Bits;
use crate::capture::ingest::media::VideoCodec;

/// SEI messages of one NAL unit that are looked at.
const SEI_MESSAGES_MAX: usize = 32;
/// A recovery point behind a longer message in the same NAL unit is not looked for: what cameras
/// send as user data may be as long as a picture.
const SEI_SKIPPED_MAX: u32 = 256;
/// `payloadType` of the recovery point SEI message, the same in H.264 (D.1.8) and H.265 (D.2.8).
const RECOVERY_POINT: u32 = 6;

/// What recording needs to know of a NAL unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nal {
    Slice(Slice),
    ParameterSet(SetKind),
    /// Frames in decoding order until the picture is whole, if a recovery point SEI message says
    /// so.
    Sei {
        recovery: Option<u16>,
    },
    /// Begins an access unit (H.264, 7.4.1.2.3; H.265, 7.4.2.4.4).
    Delimiter,
    /// Anything else: filler, end of stream, what vendors send, slices of enhancement layers.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Whether it is the first slice of its picture; `None` if the header is cut off or does not
    /// say.
    pub(crate) begins_picture: Option<bool>,
    pub(crate) kind: SliceKind,
    /// The picture parameter set that it refers to.
    pub(crate) pps: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SliceKind {
    /// Of a picture after which nothing refers to what came before it: IDR; BLA of H.265.
    Sync,
    /// CRA of H.265: leading pictures that follow may refer to what came before it.
    CleanRandomAccess,
    /// Refers to no other picture.
    Intra,
    /// Refers to other pictures, or may.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetKind {
    Video,
    Sequence,
    Picture,
}

/// Whether `nal` is of a coded picture: ITU-T H.264, table 7-1, without auxiliary pictures and
/// extensions; ITU-T H.265, table 7-1, all VCL types, of any layer and the reserved ones too.
pub(crate) fn is_coded(codec: VideoCodec, nal: &[u8]) -> bool {
    nal.first().is_some_and(|header| match codec {
        VideoCodec::H264 => matches!(h264_type(*header), 1..=5),
        VideoCodec::H265 => matches!(h265_type(*header), 0..=31),
    })
}

fn h264_type(header: u8) -> u8 {
    header & 0x1f
}

fn h265_type(header: u8) -> u8 {
    header >> 1 & 0x3f
}

/// What `nal`, which begins with its header, is.
pub(crate) fn inspect(codec: VideoCodec, nal: &[u8]) -> Nal {
    match codec {
        VideoCodec::H264 => inspect_h264(nal),
        VideoCodec::H265 => inspect_h265(nal),
    }
}

fn inspect_h264(nal: &[u8]) -> Nal {
    let Some(header) = nal.first() else {
        return Nal::Other;
    };
    match h264_type(*header) {
        unit_type @ (1 | 2 | 5) => Nal::Slice(h264_slice(nal, unit_type == 5)),
        // Partitions B and C of a slice whose partition A comes before.
        3 | 4 => Nal::Slice(Slice {
            begins_picture: Some(false),
            kind: SliceKind::Other,
            pps: None,
        }),
        6 => Nal::Sei {
            recovery: recovery_point(nal, 1),
        },
        7 => Nal::ParameterSet(SetKind::Sequence),
        8 => Nal::ParameterSet(SetKind::Picture),
        9 => Nal::Delimiter,
        _ => Nal::Other,
    }
}

/// `slice_header()` of H.264, 7.3.3.
fn h264_slice(nal: &[u8], is_idr: bool) -> Slice {
    let mut bits = Bits::after_header(nal, 1);
    let first_macroblock = bits.unsigned();
    let slice_type = bits.unsigned();
    let pps = bits.unsigned().and_then(|id| u8::try_from(id).ok());
    let kind = match slice_type {
        _ if is_idr => SliceKind::Sync,
        // I and SI, of one slice or of the whole picture (table 7-6).
        Some(2 | 4 | 7 | 9) => SliceKind::Intra,
        _ => SliceKind::Other,
    };
    Slice {
        begins_picture: first_macroblock.map(|first| first == 0),
        kind,
        pps,
    }
}

fn inspect_h265(nal: &[u8]) -> Nal {
    let Some(header) = nal.first_chunk::<2>() else {
        return Nal::Other;
    };
    let layer = (header[0] & 1) << 5 | header[1] >> 3;
    if layer > 0 {
        return Nal::Other;
    }
    match h265_type(header[0]) {
        unit_type @ (0..=9 | 16..=21) => Nal::Slice(h265_slice(nal, unit_type)),
        32 => Nal::ParameterSet(SetKind::Video),
        33 => Nal::ParameterSet(SetKind::Sequence),
        34 => Nal::ParameterSet(SetKind::Picture),
        35 => Nal::Delimiter,
        39 => Nal::Sei {
            recovery: recovery_point(nal, 2),
        },
        _ => Nal::Other,
    }
}

/// `slice_segment_header()` of H.265, 7.3.6.1.
fn h265_slice(nal: &[u8], unit_type: u8) -> Slice {
    let mut bits = Bits::after_header(nal, 2);
    let begins_picture = bits.bit();
    let kind = match unit_type {
        16..=20 => SliceKind::Sync,
        21 => SliceKind::CleanRandomAccess,
        _ => SliceKind::Other,
    };
    if unit_type >= 16 {
        // no_output_of_prior_pics_flag
        bits.bit();
    }
    let pps = bits.unsigned().and_then(|id| u8::try_from(id).ok());
    Slice {
        begins_picture,
        kind,
        pps,
    }
}

/// How many frames after this access unit the picture is whole, by a recovery point SEI message in
/// it.
fn recovery_point(nal: &[u8], header_bytes: usize) -> Option<u16> {
    let mut bits = Bits::after_header(nal, header_bytes);
    for _ in 0..SEI_MESSAGES_MAX {
        let payload_type = sei_number(&mut bits)?;
        let payload_bytes = sei_number(&mut bits)?;
        if payload_type == RECOVERY_POINT {
            // H.264 counts frames (`ue`), H.265 picture order counts (`se`); negative ones are
            // whole at once.
            let count = match header_bytes {
                1 => bits.unsigned()?,
                _ => u32::try_from(bits.signed()?.max(0)).ok()?,
            };
            return Some(u16::try_from(count).unwrap_or(u16::MAX));
        }
        if payload_bytes > SEI_SKIPPED_MAX {
            return None;
        }
        (0..payload_bytes).try_for_each(|_| bits.number(8).map(drop))?;
    }
    None
}

/// `ff_byte`s and the last byte of a payload's type or size (H.264, 7.3.2.3.1).
fn sei_number(bits: &mut Bits<'_>) -> Option<u32> {
    let mut number = 0_u32;
    loop {
        let byte = bits.number(8)?;
        number = number.checked_add(byte)?;
        if byte != 0xff {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VideoCodec::{H264, H265};

    fn slice(codec: VideoCodec, nal: &[u8]) -> Option<Slice> {
        match inspect(codec, nal) {
            Nal::Slice(slice) => Some(slice),
            _ => None,
        }
    }

    #[test]
    fn slices_of_h264_show_their_picture() {
        // first_mb 0, slice_type 7 (I), pps 0: 1 0001000 1
        let idr = slice(H264, &[0x65, 0b1000_1000, 0b1000_0000]);
        let expected = Slice {
            begins_picture: Some(true),
            kind: SliceKind::Sync,
            pps: Some(0),
        };
        assert_eq!(idr, Some(expected));
        let intra = slice(H264, &[0x41, 0b1000_1000, 0b1000_0000]).map(|slice| slice.kind);
        assert_eq!(intra, Some(SliceKind::Intra));
        // first_mb 1, slice_type 5 (P), pps 1: 010 00110 010
        let second = slice(H264, &[0x41, 0b0100_0110, 0b0100_0000]);
        let expected = Slice {
            begins_picture: Some(false),
            kind: SliceKind::Other,
            pps: Some(1),
        };
        assert_eq!(second, Some(expected));
        assert_eq!(
            slice(H264, &[0x41]).map(|slice| slice.begins_picture),
            Some(None)
        );
    }

    #[test]
    fn slices_of_h265_show_their_picture() {
        // first_slice_segment_in_pic_flag 1, no_output_of_prior_pics_flag 0, pps 0: 1 0 1
        let idr = slice(H265, &[19 << 1, 1, 0b1010_0000]);
        let expected = Slice {
            begins_picture: Some(true),
            kind: SliceKind::Sync,
            pps: Some(0),
        };
        assert_eq!(idr, Some(expected));
        let cra = slice(H265, &[21 << 1, 1, 0b1010_0000]).map(|slice| slice.kind);
        assert_eq!(cra, Some(SliceKind::CleanRandomAccess));
        let second = slice(H265, &[1 << 1, 1, 0b0100_0000]);
        let expected = Slice {
            begins_picture: Some(false),
            kind: SliceKind::Other,
            pps: Some(0),
        };
        assert_eq!(second, Some(expected));
        assert_eq!(
            inspect(H265, &[19 << 1, 1 << 3 | 1, 0xff]),
            Nal::Other,
            "another layer"
        );
    }

    #[test]
    fn recovery_points_are_found_among_other_messages() {
        // user data of 2 bytes, then a recovery point with recovery_frame_cnt 3 (00100), then the
        // end.
        let sei = [0x06, 5, 2, 0xaa, 0xbb, 6, 1, 0b0010_0000, 0x80];
        assert_eq!(inspect(H264, &sei), Nal::Sei { recovery: Some(3) });
        assert_eq!(
            inspect(H264, &[0x06, 5, 2, 0xaa, 0xbb, 0x80]),
            Nal::Sei { recovery: None }
        );
        // recovery_poc_cnt 1 (010)
        assert_eq!(
            inspect(H265, &[39 << 1, 1, 6, 1, 0b0100_0000]),
            Nal::Sei { recovery: Some(1) }
        );
        let long = [&[0x06][..], &[0xff; 300]].concat();
        assert_eq!(inspect(H264, &long), Nal::Sei { recovery: None });
    }

    #[test]
    fn parameter_sets_and_the_rest_are_named() {
        let kinds = [0x67, 0x68, 0x09, 0x0c, 0x1e, 0x00].map(|header| inspect(H264, &[header, 1]));
        let sequence = Nal::ParameterSet(SetKind::Sequence);
        let picture = Nal::ParameterSet(SetKind::Picture);
        let expected = [
            sequence,
            picture,
            Nal::Delimiter,
            Nal::Other,
            Nal::Other,
            Nal::Other,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(
            inspect(H265, &[32 << 1, 1]),
            Nal::ParameterSet(SetKind::Video)
        );
        assert_eq!(inspect(H264, &[]), Nal::Other);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_something_and_every_slice_is_coded(nal: Vec<u8>) {
            for codec in [H264, H265] {
                let is_slice = matches!(inspect(codec, &nal), Nal::Slice(_));
                proptest::prop_assert!(!is_slice || is_coded(codec, &nal));
            }
        }
    }
}
