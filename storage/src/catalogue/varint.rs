//! Numbers in as few bytes as they need: seven bits a byte, the lowest first (LEB128), signed ones
//! as zigzag. Pure.

use super::Broken;

/// Of a `u64`.
const VARINT_BYTES_MAX: u32 = 10;

#[derive(Default)]
pub(super) struct Put {
    pub(super) out: Vec<u8>,
}

impl Put {
    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    pub(super) fn signed(&mut self, value: i64) {
        self.unsigned((value << 1 ^ value >> 63) as u64);
    }
}

pub(super) struct Take<'a> {
    pub(super) bytes: &'a [u8],
}

impl Take<'_> {
    pub(super) fn u8(&mut self) -> Result<u8, Broken> {
        let (first, rest) = self
            .bytes
            .split_first()
            .ok_or_else(|| Broken("a bucket is cut short".to_owned()))?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for at in 0..VARINT_BYTES_MAX {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Broken("a number in a bucket is too long".to_owned()))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Broken> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Broken> {
        u32::try_from(self.unsigned()?)
            .map_err(|_| Broken("a number in a bucket is too large".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut put = Put::default();
            put.unsigned(unsigned);
            put.signed(signed);
            let mut take = Take { bytes: &put.out };
            prop_assert_eq!((take.unsigned().unwrap(), take.signed().unwrap()), (unsigned, signed));
            prop_assert!(take.bytes.is_empty());
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut take = Take { bytes: &bytes };
            while take.signed().is_ok() {}
        }
    }

    #[test]
    fn small_numbers_are_one_byte_whatever_their_sign() {
        let mut put = Put::default();
        [0, -1, 63, -64]
            .into_iter()
            .for_each(|value| put.signed(value));
        assert_eq!(put.out.len(), 4);
    }
}
