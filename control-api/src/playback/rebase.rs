//! Gives each chunk its place in a presentation: times from 0 on that never go back, numbers, sample descriptions.

use crate::fmp4::Error;
use crate::fmp4::merge::MergedInit;
use crate::fmp4::patch::{Placement, patch_chunk};
use crate::fmp4::probe::chunk_info;
use bytes::{Bytes, BytesMut};
use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// Places one presentation's chunks, in the order in which they are sent.
#[derive(Clone, Debug)]
pub struct Rebaser {
    base: Timestamp,
    init: MergedInit,
    /// Where the last chunk of each track ended, in ticks since `base`.
    ends: BTreeMap<TrackKind, u64>,
    moof_sequence: u32,
}

impl Rebaser {
    /// The presentation begins at `base` and is decoded with `init`.
    #[must_use]
    pub fn new(base: Timestamp, init: MergedInit) -> Self {
        Self { base, init, ends: BTreeMap::new(), moof_sequence: 0 }
    }

    /// The chunk's bytes, placed. Where recordings overlap by a little (two recorders' clocks at a handover), the later one moves
    /// back behind the earlier; gaps stay as they are.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the chunk cannot be read or its init is not part of the presentation; the presentation may go on without it.
    pub fn place(&mut self, meta: &ChunkMeta, bytes: Bytes) -> Result<Bytes, Error> {
        let info = chunk_info(&bytes)?;
        let unknown = Error::damaged("chunk", 0, "its init segment is not part of the presentation");
        let sample_description_index = *self.init.sample_description_index.get(&meta.init).ok_or(unknown.clone())?;
        let timescale = *self.init.timescale.get(&meta.track).ok_or(unknown)?;
        let end = self.ends.entry(meta.track).or_default();
        let decode_time = info.decode_time.saturating_sub(self.base.ticks(timescale)).max(*end);
        let mut bytes = BytesMut::from(bytes);
        patch_chunk(
            &mut bytes,
            &Placement { decode_time, moof_sequence: self.moof_sequence + 1, sample_description_index },
        )?;
        self.moof_sequence += 1;
        *end = decode_time.saturating_add(info.duration);
        Ok(bytes.freeze())
    }
}
