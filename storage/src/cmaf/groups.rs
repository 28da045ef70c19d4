//! Sample groups of a chunk (ISO/IEC 14496-12, 8.9): where decoding can begin although the sample
//! is no sync sample, `rap ` (10.4) for open random access points and `roll` (10.1) for gradual
//! refresh.

use super::chunk::Frame;
use crate::chunk::AccessPoint;
use mp4_atom::{AnySampleGroupEntry, FourCC, Sbgp, SbgpEntry, Sgpd, SgpdEntry};

const RAP: FourCC = FourCC::new(b"rap ");
const ROLL: FourCC = FourCC::new(b"roll");

/// `num_leading_samples_known = 0`.
const LEADING_UNKNOWN: [u8; 1] = [0];

/// An index with this added names a description of the same `traf` (8.9.4).
const OF_FRAGMENT: u32 = 0x1_0000;

/// The groups of these frames; none if every access point is a sync sample.
pub(super) fn of(frames: &[Frame]) -> (Vec<Sgpd>, Vec<Sbgp>) {
    [group(RAP, frames, leading), group(ROLL, frames, distance)]
        .into_iter()
        .flatten()
        .unzip()
}

/// `VisualRandomAccessEntry`.
fn leading(access: AccessPoint) -> Option<Vec<u8>> {
    matches!(
        access,
        AccessPoint::Open | AccessPoint::Recovery { frames: 0 }
    )
    .then(|| LEADING_UNKNOWN.to_vec())
}

/// `VisualRollRecoveryEntry`: `roll_distance`, which may not be 0. A refresh longer than the field
/// can express is in no group.
fn distance(access: AccessPoint) -> Option<Vec<u8>> {
    let AccessPoint::Recovery { frames } = access else {
        return None;
    };
    i16::try_from(frames)
        .ok()
        .filter(|frames| *frames > 0)
        .map(|frames| frames.to_be_bytes().to_vec())
}

fn group(
    grouping_type: FourCC,
    frames: &[Frame],
    describe: impl Fn(AccessPoint) -> Option<Vec<u8>>,
) -> Option<(Sgpd, Sbgp)> {
    let mut descriptions: Vec<Vec<u8>> = Vec::new();
    let mut runs: Vec<SbgpEntry> = Vec::new();
    for frame in frames {
        let description = frame.access.and_then(&describe);
        let index = description.map_or(0, |description| {
            OF_FRAGMENT + 1 + place_of(&mut descriptions, description)
        });
        match runs.last_mut() {
            Some(run) if run.group_description_index == index => run.sample_count += 1,
            _ => runs.push(SbgpEntry {
                sample_count: 1,
                group_description_index: index,
            }),
        }
    }
    let length = descriptions.first()?.len() as u32;
    let entry = |bytes| SgpdEntry {
        description_length: Some(length),
        entry: AnySampleGroupEntry::UnknownGroupingType(grouping_type, bytes),
    };
    let sgpd = Sgpd {
        grouping_type,
        default_length: Some(length),
        default_group_description_index: None,
        static_group_description: false,
        static_mapping: false,
        essential: false,
        entries: descriptions.into_iter().map(entry).collect(),
    };
    Some((
        sgpd,
        Sbgp {
            grouping_type,
            grouping_type_parameter: None,
            entries: runs,
        },
    ))
}

fn place_of(descriptions: &mut Vec<Vec<u8>>, description: Vec<u8>) -> u32 {
    let known = descriptions.iter().position(|known| *known == description);
    known.unwrap_or_else(|| {
        descriptions.push(description);
        descriptions.len() - 1
    }) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmaf::chunk::build_chunk;
    use crate::ids::TrackKind;
    use crate::time::Timestamp;
    use AccessPoint::{Open, Recovery, Sync};
    use mp4_atom::{Decode, Moof, Prft};

    /// Each group: its type, its descriptions, and its runs.
    type Groups = Vec<(FourCC, Vec<Vec<u8>>, Vec<(u32, u32)>)>;

    /// The groups of a chunk of such frames, as another reader finds them.
    fn groups(access: &[Option<AccessPoint>]) -> Groups {
        let frame = |(number, access): (usize, &Option<AccessPoint>)| Frame {
            data: vec![1; 4].into(),
            decode_time: number as u64,
            duration: 1,
            composition_offset: 0,
            access: *access,
        };
        let frames: Vec<Frame> = access.iter().enumerate().map(frame).collect();
        let bytes = build_chunk(TrackKind::Video, 0, Timestamp(0), &frames)
            .unwrap()
            .concat();
        let mut rest = &bytes[..];
        Prft::decode(&mut rest).unwrap();
        let moof = Moof::decode(&mut rest).unwrap();
        let traf = &moof.traf[0];
        assert_eq!(traf.sgpd.len(), traf.sbgp.len());
        let description = |entry: &SgpdEntry| match &entry.entry {
            AnySampleGroupEntry::UnknownGroupingType(_, bytes) => bytes.clone(),
            AnySampleGroupEntry::DirectReferenceSampleList(..) => {
                panic!("no such group is written")
            }
        };
        let group = |(sgpd, sbgp): (&Sgpd, &Sbgp)| {
            assert_eq!(sgpd.grouping_type, sbgp.grouping_type);
            let runs = sbgp
                .entries
                .iter()
                .map(|run| (run.sample_count, run.group_description_index));
            (
                sgpd.grouping_type,
                sgpd.entries.iter().map(description).collect(),
                runs.collect(),
            )
        };
        traf.sgpd.iter().zip(&traf.sbgp).map(group).collect()
    }

    #[test]
    fn sync_samples_are_in_no_group() {
        assert_eq!(groups(&[Some(Sync), None]), []);
    }

    #[test]
    fn an_open_access_point_is_a_rap_and_a_gradual_refresh_a_roll() {
        assert_eq!(
            groups(&[Some(Open), None, None]),
            [(RAP, vec![vec![0]], vec![(1, 0x1_0001), (2, 0)])]
        );
        let refresh = Some(Recovery { frames: 300 });
        let roll = (
            ROLL,
            vec![vec![1, 44], vec![0, 2]],
            vec![(1, 0), (2, 0x1_0001), (1, 0x1_0002)],
        );
        assert_eq!(
            groups(&[None, refresh, refresh, Some(Recovery { frames: 2 })]),
            [roll]
        );
    }

    #[test]
    fn what_a_roll_cannot_say_it_does_not_say() {
        assert_eq!(groups(&[Some(Recovery { frames: u16::MAX })]), []);
        assert_eq!(groups(&[Some(Recovery { frames: 0 })])[0].0, RAP);
    }
}
