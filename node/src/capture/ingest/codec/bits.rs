//! Reads the first fields of a NAL unit: fixed-length and Exp-Golomb codes of its RBSP (ITU-T
//! H.264, 7.2 and 9.1; H.265 is the same in both), past the emulation prevention bytes. Pure.
//!
//! It accepts sequences that encoders must not send (`00 00 00`, `00 00 02`): only the end of the
//! data is an error.

/// A position within a NAL unit.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Zero bytes right before `bytes`.
    zeros: u8,
    current: u8,
    /// Bits of `current` that are not read yet.
    left: u8,
}

impl<'a> Bits<'a> {
    /// The bits after a NAL unit's header of `header_bytes`.
    pub(super) fn after_header(nal: &'a [u8], header_bytes: usize) -> Self {
        Self {
            bytes: nal.get(header_bytes..).unwrap_or_default(),
            zeros: 0,
            current: 0,
            left: 0,
        }
    }

    /// One bit; `None` at the end of the data.
    pub(super) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.current = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.current >> self.left & 1 == 1)
    }

    /// An unsigned number of up to 32 bits.
    pub(super) fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0_u32, |number, _| {
            Some(number << 1 | u32::from(self.bit()?))
        })
    }

    /// `ue(v)`.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.number(zeros)?)
    }

    /// `se(v)`.
    pub(super) fn signed(&mut self) -> Option<i32> {
        let code = i64::from(self.unsigned()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        if self.zeros >= 2 && *byte == 3 {
            self.bytes = rest;
            self.zeros = 0;
            return self.next_byte();
        }
        self.bytes = rest;
        self.zeros = if *byte == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
        Some(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_the_standard_has_them() {
        // ITU-T H.264, table 9-2 and 9-3: 1 010 011 00100 00101
        let mut bits = Bits::after_header(&[0xff, 0b1010_0110, 0b0100_0010, 0b1000_0000], 1);
        assert_eq!(
            [(); 3].map(|()| bits.unsigned()),
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!([bits.signed(), bits.signed()], [Some(2), Some(-2)]);
        assert_eq!(bits.number(7), Some(0));
        assert_eq!(bits.number(1), None, "the end");
    }

    #[test]
    fn emulation_prevention_is_left_out_and_its_lack_accepted() {
        let read = |nal: &[u8]| {
            let mut bits = Bits::after_header(nal, 1);
            std::iter::from_fn(|| bits.number(8)).collect::<Vec<_>>()
        };
        assert_eq!(
            read(&[0x67, 0, 0, 3, 1, 0, 0, 3, 3, 5]),
            [0, 0, 1, 0, 0, 3, 5]
        );
        assert_eq!(read(&[0x67, 0, 0, 2, 0, 0, 0]), [0, 0, 2, 0, 0, 0]);
        assert!(read(&[]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(nal: Vec<u8>) {
            let mut bits = Bits::after_header(&nal, 2);
            let mut reads = 0;
            while bits.unsigned().is_some() && bits.signed().is_some() {
                reads += 1;
            }
            proptest::prop_assert!(reads <= nal.len() * 8);
        }
    }
}
