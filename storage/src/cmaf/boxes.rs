//! Walks the boxes of a byte slice (ISO/IEC 14496-12, 4.2) without trusting a single length in it.

use super::Error;

/// The most boxes of one container that are read before the walk ends with an error.
const SIBLINGS_MAX: usize = 1 << 20;

pub(crate) type Kind = [u8; 4];

/// One box: its place within the walked slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoxRef {
    pub(crate) kind: Kind,
    /// Offset of the box's size field.
    pub(crate) start: usize,
    /// Offset of its first byte after the header.
    pub(crate) body: usize,
    /// Offset of the first byte after it.
    pub(crate) end: usize,
}

/// The consecutive boxes in `bytes[start..end]`.
pub(crate) fn siblings(bytes: &[u8], start: usize, end: usize) -> Siblings<'_> {
    Siblings {
        bytes,
        at: start,
        end: end.min(bytes.len()),
        left: SIBLINGS_MAX,
    }
}

pub(crate) struct Siblings<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    left: usize,
}

impl Iterator for Siblings<'_> {
    type Item = Result<BoxRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let found = header(self.bytes, self.at, self.end);
        // After damage it is unknown where the next box begins.
        self.at = found.as_ref().map_or(self.end, |found| found.end);
        Some(found)
    }
}

/// The only child of this kind within `bytes[start..end]`.
pub(crate) fn only(bytes: &[u8], start: usize, end: usize, kind: &Kind) -> Result<BoxRef, Error> {
    let mut found = None;
    for sibling in siblings(bytes, start, end) {
        let sibling = sibling?;
        if sibling.kind == *kind && found.replace(sibling).is_some() {
            return Err(Error::damaged(
                "box",
                sibling.start,
                "more than one of a kind that must be alone",
            ));
        }
    }
    found.ok_or(Error::damaged("box", start, "a required box is missing"))
}

/// Descends from `parent` through one child of each kind.
pub(crate) fn descend(bytes: &[u8], parent: BoxRef, path: &[&Kind]) -> Result<BoxRef, Error> {
    path.iter().try_fold(parent, |parent, kind| {
        only(bytes, parent.body, parent.end, kind)
    })
}

fn header(bytes: &[u8], at: usize, end: usize) -> Result<BoxRef, Error> {
    let size = be32(bytes, at)? as usize;
    let kind = array(bytes, at.saturating_add(4))?;
    let (size, head) = match size {
        0 => (end - at, 8),
        1 => (
            usize::try_from(be64(bytes, at.saturating_add(8))?).unwrap_or(usize::MAX),
            16,
        ),
        size => (size, 8),
    };
    let stop = at.saturating_add(size);
    if size < head || stop > end {
        return Err(Error::damaged("box", at, "its length leaves its container"));
    }
    Ok(BoxRef {
        kind,
        start: at,
        body: at + head,
        end: stop,
    })
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    let cut = at
        .checked_add(N)
        .and_then(|end| bytes.get(at..end))
        .and_then(|cut| cut.try_into().ok());
    cut.ok_or(Error::damaged("box", at, "cut off"))
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Result<u16, Error> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Result<u32, Error> {
    array(bytes, at).map(u32::from_be_bytes)
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Result<u64, Error> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// Overwrites `value` at `at`; the place was read before, so it exists unless the caller made a
/// mistake.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Result<(), Error> {
    let cut = at
        .checked_add(value.len())
        .and_then(|end| bytes.get_mut(at..end));
    cut.ok_or(Error::damaged("box", at, "cut off"))?
        .copy_from_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_short_long_and_open_boxes() {
        let bytes = [
            &[0, 0, 0, 9][..],
            b"aaaa",
            &[7],
            &[0, 0, 0, 1],
            b"bbbb",
            &17u64.to_be_bytes(),
            &[8],
            &[0; 4],
            b"cccc",
            &[9],
        ];
        let bytes = bytes.concat();
        let kinds: Vec<_> = siblings(&bytes, 0, bytes.len())
            .map(|found| found.map(|found| (found.kind, bytes[found.body])))
            .collect();
        assert_eq!(
            kinds,
            [Ok((*b"aaaa", 7)), Ok((*b"bbbb", 8)), Ok((*b"cccc", 9))]
        );
    }

    #[test]
    fn a_length_beyond_the_container_is_damage_and_ends_the_walk() {
        let bytes = [&[0, 0, 0, 99][..], b"aaaa", &[0, 0, 0, 8], b"bbbb"].concat();
        let found: Vec<_> = siblings(&bytes, 0, bytes.len()).collect();
        assert!(matches!(found[..], [Err(Error::Damaged { at: 0, .. })]));
    }
}
