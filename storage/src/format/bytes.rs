//! Little-endian fields, written and read in order.

use super::FormatError;

/// Writes fields in order. The caller sizes `out`; a field beyond its end is a bug and panics.
pub(crate) struct Put<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn i64(self, value: i64) -> Self {
        self.bytes(&value.to_le_bytes())
    }
}

/// Reads fields in order.
pub(crate) struct Take<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Take<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    pub(crate) fn slice(&mut self, bytes: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self
            .bytes
            .split_at_checked(bytes)
            .ok_or(FormatError::Short { what: self.what })?;
        self.bytes = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.slice(N)?
            .try_into()
            .map_err(|_| FormatError::Short { what: self.what })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// One byte that names a variant.
    pub(crate) fn kind<T: TryFrom<u8>>(&mut self) -> Result<T, FormatError> {
        T::try_from(self.u8()?).map_err(|_| FormatError::Invalid { what: self.what })
    }
}
