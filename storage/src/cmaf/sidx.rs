//! The segment index (ISO/IEC 14496-12, 8.16.3) of a file: the byte ranges of its times, with which
//! players seek.

use super::Error;
use crate::chunk::AccessPoint;
use crate::ids::TrackKind;
use bytes::Bytes;
use mp4_atom::{Encode, SegmentReference, Sidx};

/// The most parts that one index lists.
pub const PARTS_MAX: usize = 8192;

/// A longer part is split, in bytes: the field has 31 bits.
pub const PART_BYTES_MAX: u64 = 1 << 30;

/// The section between two places where players may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Time of its first video frame, in ticks.
    pub at: u64,
    pub bytes: u64,
    /// The access point that it begins with.
    pub access: Option<AccessPoint>,
}

/// The index of the parts that follow immediately after it; `None` if its fields are too narrow for
/// them (a gap of thirteen hours).
///
/// # Errors
/// [`Error::Unbuildable`]: there are more than [`PARTS_MAX`].
pub fn index(parts: &[Part], end: u64, timescale: u32) -> Result<Option<Bytes>, Error> {
    if parts.len() > PARTS_MAX {
        return Err(Error::unbuildable(
            "sidx",
            format!("{} parts where {PARTS_MAX} fit", parts.len()),
        ));
    }
    let ends = parts.iter().skip(1).map(|next| next.at).chain([end]);
    let Some(references) = parts
        .iter()
        .zip(ends)
        .map(|(part, end)| reference(part, end))
        .collect()
    else {
        return Ok(None);
    };
    let sidx = Sidx {
        reference_id: TrackKind::Video.track_id(),
        timescale,
        earliest_presentation_time: parts.first().map_or(0, |first| first.at),
        first_offset: 0,
        references,
    };
    let mut bytes = Vec::new();
    sidx.encode(&mut bytes)
        .map_err(|error| Error::unbuildable("sidx", error))?;
    Ok(Some(bytes.into()))
}

fn reference(part: &Part, end: u64) -> Option<SegmentReference> {
    // Types of stream access points: ISO/IEC 14496-12, annex I.
    let sap_type = match part.access {
        Some(AccessPoint::Sync) => 1,
        Some(AccessPoint::Open) => 3,
        Some(AccessPoint::Recovery { .. }) => 4,
        None => 0,
    };
    Some(SegmentReference {
        reference_type: false,
        referenced_size: u32::try_from(part.bytes)
            .ok()
            .filter(|bytes| bytes >> 31 == 0)?,
        subsegment_duration: u32::try_from(end.saturating_sub(part.at)).ok()?,
        starts_with_sap: sap_type != 0,
        sap_type,
        sap_delta_time: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::Decode;

    fn part(at: u64, bytes: u64, access: Option<AccessPoint>) -> Part {
        Part { at, bytes, access }
    }

    #[test]
    fn an_index_says_how_long_each_part_is_in_bytes_and_time() {
        let parts = [
            part(0, 700, Some(AccessPoint::Sync)),
            part(90_000, 800, Some(AccessPoint::Open)),
        ];
        let bytes = index(&parts, 270_000, 90_000).unwrap().unwrap();
        let read = Sidx::decode(&mut &bytes[..]).unwrap();
        let fields =
            |one: &SegmentReference| (one.referenced_size, one.subsegment_duration, one.sap_type);
        assert_eq!(
            read.references.iter().map(fields).collect::<Vec<_>>(),
            [(700, 90_000, 1), (800, 180_000, 3)]
        );
        assert_eq!(
            (read.reference_id, read.timescale, read.first_offset),
            (1, 90_000, 0)
        );
    }

    #[test]
    fn what_its_fields_cannot_say_it_does_not_say() {
        let long = u64::from(u32::MAX);
        assert!(index(&[part(0, 7, None)], long, 90_000).unwrap().is_some());
        assert_eq!(index(&[part(0, 7, None)], long + 1, 90_000), Ok(None));
        assert_eq!(index(&[part(0, 1 << 31, None)], 9, 90_000), Ok(None));
        assert!(index(&vec![part(0, 7, None); PARTS_MAX + 1], 9, 90_000).is_err());
    }
}
