//! How far an export has come, from the wall times in the MP4 itself (`prft`, ISO/IEC 14496-12,
//! 8.16.5): its length in bytes is not known before it ends.

use holdfast_storage::time::Timestamp;

/// Size and type.
const HEADER_BYTES: usize = 8;
/// Of a `prft`: header, version and flags, track; then the time in the format of NTP.
const TIME_AT: usize = 16;
const WANTED_BYTES: usize = TIME_AT + 8;
/// Between the epochs of NTP and of Unix.
const NTP_AHEAD_S: i64 = 2_208_988_800;

/// Reads top-level boxes as they come, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// The beginning of a box, as far as it has come.
    head: Vec<u8>,
    /// To pass over before the next box.
    skip: u64,
    until: Option<Timestamp>,
}

impl Reached {
    /// The latest wall time at which a chunk begins.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    pub(super) fn read(&mut self, mut piece: &[u8]) {
        loop {
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
            self.skip -= passed as u64;
            piece = &piece[passed..];
            if piece.is_empty() {
                return;
            }
            let wanted = if self.head.len() < HEADER_BYTES { HEADER_BYTES } else { WANTED_BYTES };
            let taken = (wanted - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            self.end_of_head();
        }
    }

    /// Looks at what there is of a box; it is passed over once it has told what it has to tell.
    fn end_of_head(&mut self) {
        let Some((size, kind)) = header(&self.head) else { return };
        let tells = kind == *b"prft" && size >= WANTED_BYTES as u64;
        if tells && self.head.len() < WANTED_BYTES {
            return;
        }
        if tells && let Some(time) = self.head.get(TIME_AT..).and_then(|bytes| bytes.first_chunk()) {
            self.until = self.until.max(Some(of_ntp(u64::from_be_bytes(*time))));
        }
        // A box that goes to the end of the file, or is longer than 4 GiB, is the last that is
        // looked at.
        let size = if size < HEADER_BYTES as u64 { u64::MAX } else { size };
        self.skip = size - self.head.len() as u64;
        self.head.clear();
    }
}

fn header(head: &[u8]) -> Option<(u64, [u8; 4])> {
    let (size, rest) = head.split_first_chunk::<4>()?;
    Some((u64::from(u32::from_be_bytes(*size)), *rest.first_chunk()?))
}

/// Seconds since 1900, and their fraction.
fn of_ntp(time: u64) -> Timestamp {
    let seconds = i64::from((time >> 32) as u32) - NTP_AHEAD_S;
    let micros = ((time & 0xFFFF_FFFF) * 1_000_000) >> 32;
    Timestamp(seconds * 1_000_000 + i64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (HEADER_BYTES + body.len()) as u32;
        [&size.to_be_bytes()[..], kind, body].concat()
    }

    fn prft(seconds: u64) -> Vec<u8> {
        let time = (seconds + NTP_AHEAD_S as u64) << 32 | 0x8000_0000;
        boxed(b"prft", &[&[0; 8][..], &time.to_be_bytes(), &[0; 8]].concat())
    }

    #[test]
    fn the_time_is_read_whatever_the_pieces() {
        let file =
            [boxed(b"ftyp", &[7; 20]), boxed(b"moov", &[]), prft(100), boxed(b"mdat", &[1; 999]), prft(101)].concat();
        for piece in [1, 3, 7, 8, 24, 1000, 10_000] {
            let mut reached = Reached::default();
            file.chunks(piece).for_each(|piece| reached.read(piece));
            assert_eq!(reached.until(), Some(Timestamp(101_500_000)), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_mp4_tells_nothing_and_costs_nothing() {
        let mut reached = Reached::default();
        for piece in [&[0; 64][..], &[0xFF; 4096], b"prft"] {
            reached.read(piece);
        }
        assert_eq!(reached.until(), None);
        assert!(reached.head.len() <= WANTED_BYTES);
    }
}
