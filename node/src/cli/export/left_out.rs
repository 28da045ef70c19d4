//! Counts the chunks that a node left out of an export, because they were damaged or deleted: a
//! `free` box takes the place of each (ISO/IEC 14496-12, 8.1.2).

use std::io::{Read, Seek, SeekFrom};

/// Size and type of a box, and the 64-bit size of a large one.
const HEADER_BYTES: usize = 16;
const SHORT_HEADER_BYTES: usize = 8;

/// Reads top-level boxes as they arrive, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// The beginning of a box, as far as it has arrived.
    head: Vec<u8>,
    /// Bytes to skip before the next box.
    skip: u64,
    chunks: u64,
}

impl LeftOut {
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(super) fn read(&mut self, mut piece: &[u8]) {
        loop {
            let passed = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(piece.len());
            self.skip -= passed as u64;
            piece = &piece[passed..];
            if piece.is_empty() {
                return;
            }
            let taken = (self.wanted() - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            self.end_of_head();
        }
    }

    /// Counts in the beginning of a file, of which only the boxes' headers are read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read_file(
        &mut self,
        file: &mut (impl Read + Seek),
        bytes: u64,
    ) -> std::io::Result<()> {
        let mut at = 0;
        while at < bytes {
            file.seek(SeekFrom::Start(at))?;
            let wanted = (self.wanted() - self.head.len()) as u64;
            let mut header = [0; HEADER_BYTES];
            let header =
                &mut header[..usize::try_from(wanted.min(bytes - at)).unwrap_or(HEADER_BYTES)];
            file.read_exact(header)?;
            self.read(header);
            at += header.len() as u64;
            let passed = self.skip.min(bytes - at);
            self.skip -= passed;
            at += passed;
        }
        Ok(())
    }

    fn wanted(&self) -> usize {
        if self.head.len() >= SHORT_HEADER_BYTES {
            HEADER_BYTES
        } else {
            SHORT_HEADER_BYTES
        }
    }

    fn end_of_head(&mut self) {
        let Some((size, kind)) = header(&self.head) else {
            return;
        };
        self.chunks += u64::from(kind == *b"free");
        // If this is no box, everything to the end is skipped.
        let size = if size < self.head.len() as u64 {
            u64::MAX
        } else {
            size
        };
        self.skip = size - self.head.len() as u64;
        self.head.clear();
    }
}

/// Size and type, once they are known.
fn header(head: &[u8]) -> Option<(u64, [u8; 4])> {
    let (size, rest) = head.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*size) {
        1 => rest
            .first_chunk()
            .map(|long| (u64::from_be_bytes(*long), *kind)),
        size => Some((u64::from(size), *kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (SHORT_HEADER_BYTES + body.len()) as u32;
        [&size.to_be_bytes()[..], kind, body].concat()
    }

    fn file() -> Vec<u8> {
        let long = [&[0, 0, 0, 1][..], b"mdat", &36_u64.to_be_bytes(), &[7; 20]].concat();
        [
            boxed(b"ftyp", &[7; 20]),
            boxed(b"free", &[0; 100]),
            long,
            boxed(b"mdat", b"free"),
            boxed(b"free", &[]),
        ]
        .concat()
    }

    #[test]
    fn boxes_are_counted_whatever_the_pieces() {
        let file = file();
        for piece in [1, 3, 7, 8, 16, 1000] {
            let mut left_out = LeftOut::default();
            file.chunks(piece).for_each(|piece| left_out.read(piece));
            assert_eq!(left_out.chunks(), 2, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_beginning_that_is_there_already_counts_too() {
        let file = file();
        for there in 0..file.len() {
            let mut left_out = LeftOut::default();
            left_out
                .read_file(&mut Cursor::new(&file), there as u64)
                .unwrap();
            left_out.read(&file[there..]);
            assert_eq!(left_out.chunks(), 2, "{there} bytes are there");
        }
    }

    #[test]
    fn what_is_no_mp4_counts_nothing_and_costs_nothing() {
        let mut left_out = LeftOut::default();
        for piece in [&[0; 64][..], &[0xFF; 4096], b"free"] {
            left_out.read(piece);
        }
        assert!(left_out.chunks() == 0 && left_out.head.len() <= HEADER_BYTES);
    }
}
