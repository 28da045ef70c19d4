//! The two video codecs of the cameras, as far as a camera has to know them: classifies NAL units.

use crate::annexb;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    #[default]
    H264,
    H265,
}

/// The purpose of a NAL unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Delimiter,
    ParameterSet,
    Sei,
    /// A slice. `access` if decoding can begin with its picture.
    Slice {
        access: bool,
    },
    Other,
}

impl Codec {
    /// Length of a NAL unit's header in bytes.
    pub(crate) fn header_bytes(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::H265 => 2,
        }
    }

    /// The `nal_unit_type`: ITU-T H.264, table 7-1; H.265, table 7-1.
    pub(crate) fn kind(self, nal: &[u8]) -> u8 {
        match self {
            Self::H264 => annexb::nal_type(nal),
            Self::H265 => nal.first().map_or(0, |header| header >> 1 & 0x3f),
        }
    }

    pub(crate) fn unit(self, nal: &[u8]) -> Unit {
        match (self, self.kind(nal)) {
            (Self::H264, 9) | (Self::H265, 35) => Unit::Delimiter,
            (Self::H264, 7 | 8) | (Self::H265, 32..=34) => Unit::ParameterSet,
            (Self::H264, 6) | (Self::H265, 39) => Unit::Sei,
            (Self::H264, 1..=5) => Unit::Slice {
                access: self.kind(nal) == 5,
            },
            // IDR, BLA and CRA.
            (Self::H265, kind @ 0..=21) => Unit::Slice { access: kind >= 16 },
            _ => Unit::Other,
        }
    }

    pub(crate) fn is_parameter_set(self, nal: &[u8]) -> bool {
        self.unit(nal) == Unit::ParameterSet
    }

    pub(crate) fn is_slice(self, nal: &[u8]) -> bool {
        matches!(self.unit(nal), Unit::Slice { .. })
    }

    /// A NAL unit header of this type, with the highest importance.
    pub(crate) fn header(self, kind: u8) -> Vec<u8> {
        match self {
            Self::H264 => vec![0x60 | kind],
            Self::H265 => vec![kind << 1, 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_distinguished() {
        let h264 = |byte: u8| Codec::H264.unit(&[byte, 1]);
        let h265 = |kind: u8| Codec::H265.unit(&Codec::H265.header(kind));
        assert_eq!(
            [0x09, 0x67, 0x68, 0x06].map(h264),
            [
                Unit::Delimiter,
                Unit::ParameterSet,
                Unit::ParameterSet,
                Unit::Sei
            ]
        );
        assert_eq!(
            (h264(0x65), h264(0x41)),
            (Unit::Slice { access: true }, Unit::Slice { access: false })
        );
        assert_eq!(
            (h265(35), h265(32), h265(39)),
            (Unit::Delimiter, Unit::ParameterSet, Unit::Sei)
        );
        assert_eq!(
            (h265(21), h265(1)),
            (Unit::Slice { access: true }, Unit::Slice { access: false })
        );
        assert_eq!(
            (h264(0x0c), h265(50), Codec::H264.unit(&[])),
            (Unit::Other, Unit::Other, Unit::Other)
        );
    }
}
