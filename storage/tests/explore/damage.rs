//! Bits that flip at rest, and the chunks that may suffer from it: those of the batch that was hit.

use crate::oracle::{Key, Oracle};
use holdfast_storage::Scan;
use holdfast_storage::format::{BLOCK, BLOCK_BYTES, decode_batch_head};
use holdfast_storage::simulation::{Random, SimulatedDisk, scan, segment_of};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

pub(crate) fn flip_bits(disk: &SimulatedDisk, oracle: &mut Oracle, random: &mut Random) {
    let segments: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|(path, bytes)| segment_of(path).is_some() && *bytes > BLOCK)
        .collect();
    if segments.is_empty() {
        return;
    }
    oracle.has_damage = true;
    let first = if has_identity(disk) { 0 } else { BLOCK };
    for _ in 0..random.within(1..6) {
        let (path, bytes) = random.pick(&segments);
        let offset = interesting(disk, path, *bytes, random).max(first);
        note_hit(disk, path, offset, oracle);
        let bit = 1 << random.below(8);
        disk.damage(path, offset, |byte| byte ^ bit);
    }
    oracle.excuse_hit_but(&sound(
        disk,
        segments.iter().map(|(path, _)| path.as_path()),
    ));
}

/// If `volume.json` is noise, and no life lasted long enough to write it again, the identity comes
/// from the headers: both must not be damaged.
fn has_identity(disk: &SimulatedDisk) -> bool {
    let files = disk.files();
    let identity = files
        .iter()
        .find(|(path, _)| path.file_name().is_some_and(|name| name == "volume.json"));
    identity
        .and_then(|(path, _)| disk.contents(path))
        .is_some_and(|text| text.starts_with(b"{"))
}

/// The chunks that are sound in at least one of these files.
fn sound<'a>(disk: &SimulatedDisk, paths: impl Iterator<Item = &'a Path>) -> BTreeSet<Key> {
    let scans = paths.filter_map(|path| scan(disk.contents(path)?, segment_of(path)?).ok());
    let keys_of = |scan: Scan| {
        scan.index
            .tracks()
            .values()
            .flatten()
            .map(|row| Key::of(&row.meta))
            .collect::<Vec<_>>()
    };
    scans.flat_map(keys_of).collect()
}

/// Anywhere in data other than zeros; half of the time in the last blocks, where the footer is.
fn interesting(disk: &SimulatedDisk, path: &Path, bytes: u64, random: &mut Random) -> u64 {
    if random.one_in(2) {
        return random.within(bytes.saturating_sub(3 * BLOCK)..bytes);
    }
    let contents = disk.contents(path).unwrap_or_default();
    let end = contents
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(bytes, |at| at as u64 + 1);
    random.below(end)
}

/// Notes what may be lost by a change at `offset`. Earlier damage counts too.
fn note_hit(disk: &SimulatedDisk, path: &Path, offset: u64, oracle: &mut Oracle) {
    let (Some(contents), Some(id)) = (disk.contents(path), segment_of(path)) else {
        return;
    };
    let hit = batch_around(&contents, offset);
    let Ok(scan) = scan(contents, id) else { return };
    let Some(hit) = hit else { return };
    let rows = scan.index.tracks().values().flatten();
    let keys: BTreeSet<Key> = rows
        .filter(|row| hit.contains(&row.offset))
        .map(|row| Key::of(&row.meta))
        .collect();
    oracle.hit(&keys);
}

/// The batch that the byte at `offset` belongs to.
fn batch_around(contents: &[u8], offset: u64) -> Option<Range<u64>> {
    let mut at = BLOCK;
    while at <= offset {
        let head = contents
            .get(at as usize..)
            .and_then(|rest| decode_batch_head(rest).ok());
        let end = at
            + head
                .as_ref()
                .map_or(BLOCK_BYTES, |head| head.padded_bytes()) as u64;
        if head.is_some() && offset < end {
            return Some(at..end);
        }
        at = end;
    }
    None
}
