//! Which chunks are fetched together: consecutive ones on one volume of one node, because a hop to
//! another thread and back costs as much as reading a chunk. The first runs are short, so that a
//! client waits for the first byte no longer than for one chunk.

use holdfast_storage::chunk::ChunkEntry;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Payload of the chunks that are fetched together; a longer chunk is fetched alone.
pub const RUN_BYTES_MAX: u64 = 512 << 10;

/// The most chunks that are fetched together.
pub const RUN_CHUNKS_MAX: usize = 32;

/// All chunks in their order, split into runs. None is empty.
#[derive(Clone, Debug)]
pub struct Runs {
    chunks: Peekable<IntoIter<ChunkEntry>>,
    /// Limit of the next run; it doubles up to [`RUN_CHUNKS_MAX`].
    chunks_max: usize,
}

impl Runs {
    #[must_use]
    pub fn of(chunks: Vec<ChunkEntry>) -> Self {
        Self {
            chunks: chunks.into_iter().peekable(),
            chunks_max: 1,
        }
    }
}

impl Iterator for Runs {
    type Item = Vec<ChunkEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.chunks.next()?;
        let (mut run, mut left) = (vec![first], RUN_BYTES_MAX.saturating_sub(bytes(&first)));
        while run.len() < self.chunks_max
            && let Some(next) = self
                .chunks
                .next_if(|next| place(next) == place(&first) && bytes(next) <= left)
        {
            left -= bytes(&next);
            run.push(next);
        }
        self.chunks_max = (self.chunks_max * 2).min(RUN_CHUNKS_MAX);
        Some(run)
    }
}

fn place(chunk: &ChunkEntry) -> impl PartialEq + use<> {
    (chunk.location.holder, chunk.location.volume)
}

fn bytes(chunk: &ChunkEntry) -> u64 {
    u64::from(chunk.location.payload_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::session;
    use holdfast_storage::ids::TrackKind::Video;

    /// `count` chunks of `payload_bytes` each.
    fn chunks(node: u64, payload_bytes: u32, count: usize) -> Vec<ChunkEntry> {
        let mut chunks = session(node, Video, 1, 0, &"K".repeat(count));
        chunks
            .iter_mut()
            .for_each(|chunk| chunk.location.payload_bytes = payload_bytes);
        chunks
    }

    fn lengths(chunks: &[ChunkEntry]) -> Vec<usize> {
        let runs: Vec<_> = Runs::of(chunks.to_vec()).collect();
        assert_eq!(runs.concat(), chunks, "all of them, in their order");
        runs.iter().map(Vec::len).collect()
    }

    #[test]
    fn runs_grow_from_one_chunk_to_as_many_as_are_allowed() {
        assert_eq!(
            lengths(&chunks(1, 10, 100)),
            [1, 2, 4, 8, 16, RUN_CHUNKS_MAX, RUN_CHUNKS_MAX, 5]
        );
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn a_run_is_of_bounded_length_and_what_is_longer_goes_alone() {
        let quarter = (RUN_BYTES_MAX / 4) as u32;
        assert_eq!(lengths(&chunks(1, quarter, 12)), [1, 2, 4, 4, 1]);
        assert_eq!(lengths(&chunks(1, quarter + 1, 8)), [1, 2, 3, 2]);
        assert_eq!(lengths(&chunks(1, u32::MAX, 3)), [1, 1, 1]);
    }

    #[test]
    fn a_run_is_of_one_node_and_one_volume() {
        let mut all = [chunks(1, 10, 4), chunks(2, 10, 1), chunks(1, 10, 6)].concat();
        all[9].location.volume = 1;
        assert_eq!(lengths(&all), [1, 2, 1, 1, 4, 1, 1]);
    }
}
