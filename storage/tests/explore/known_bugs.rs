//! Known bugs put back: the exploration has to find each of them, otherwise it proves nothing.
//!
//! None needs a hook in the store. A disk whose syncs do nothing is a writer that leaves them out;
//! a disk that answers syncs before it has done them is a writer that publishes first; a disk whose
//! names follow mounts is a store that works by path; a disk that does not sync copies of held
//! footage is a keeper that deletes originals too early; and a footer that was changed together
//! with all its checksums is one whose checksums are not verified.

use crate::explore;
use crate::run::Twist;
use holdfast_storage::format::{BLOCK, Trailer};
use holdfast_storage::simulation::{Lie, Random, SimulatedDisk, segment_of};
use std::path::Path;

/// Each bug is found within this many seeds.
const SEEDS: u64 = 100;

/// Messages about a broken promise of durability.
const LOST: &[&str] = &[
    "missing",
    "went back",
    "not readable",
    "is not on this volume",
];

#[test]
fn a_flush_that_is_left_out_is_found() {
    assert_found(
        Twist {
            lie: Lie::SyncDoesNothing,
            ..Twist::default()
        },
        LOST,
    );
}

#[test]
fn an_index_that_is_published_before_it_is_durable_is_found() {
    assert_found(
        Twist {
            lie: Lie::SyncIsLate,
            ..Twist::default()
        },
        LOST,
    );
}

#[test]
fn a_footer_that_is_trusted_without_its_checksums_is_found() {
    let twist = Twist {
        tamper: Some(forge_a_footer),
        ..Twist::default()
    };
    assert_found(
        twist,
        &[
            "differently",
            "recorded as",
            "no camera recorded",
            "missing",
            "went back",
        ],
    );
}

#[test]
fn an_original_that_goes_before_its_copy_is_durable_is_found() {
    assert_found(
        Twist {
            lie: Lie::CopySyncDoesNothing,
            ..Twist::default()
        },
        LOST,
    );
}

#[test]
fn a_program_that_follows_mounts_is_found() {
    assert_found(
        Twist {
            lie: Lie::NamesFollowMounts,
            ..Twist::default()
        },
        &["another volume's file"],
    );
}

#[test]
fn a_hold_that_is_ignored_is_found() {
    assert_found(
        Twist {
            ignores_holds: true,
            ..Twist::default()
        },
        &["deleted, though held"],
    );
}

#[test]
fn a_clock_that_is_believed_at_a_start_is_found() {
    assert_found(
        Twist {
            trusts_clocks: true,
            ..Twist::default()
        },
        &["was deleted without a reason", "were deleted at once"],
    );
}

#[test]
fn a_limit_that_deletes_at_once_is_found() {
    assert_found(
        Twist {
            has_no_brake: true,
            ..Twist::default()
        },
        &["were deleted at once"],
    );
}

fn assert_found(twist: Twist, said: &[&str]) {
    let found = explore((0, SEEDS), twist);
    let Some((seed, problem)) = &found.failure else {
        panic!("not found: {found}")
    };
    let first = problem.lines().next().unwrap_or_default();
    println!("seed {seed} of {SEEDS} finds it: {first}");
    assert!(
        said.iter().any(|said| first.contains(said)),
        "found something else: {problem}"
    );
}

/// Changes the time of a chunk in a sealed segment's footer, and makes all checksums match.
fn forge_a_footer(disk: &SimulatedDisk, random: &mut Random) {
    let segments: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|(path, _)| segment_of(path).is_some())
        .collect();
    let sealed = |path: &Path| {
        let contents = disk.contents(path)?;
        let last_block = contents.len().checked_sub(BLOCK as usize)?;
        let trailer = Trailer::decode(&contents[last_block..], contents.len() as u64).ok()?;
        (trailer.chunks > 0).then_some((contents, trailer))
    };
    let sealed: Vec<_> = segments
        .iter()
        .filter_map(|(path, _)| Some((path, sealed(path)?)))
        .collect();
    if sealed.is_empty() {
        return;
    }
    let (path, (contents, trailer)) = random.pick(&sealed);
    let forged = forge(contents.clone(), trailer);
    for (at, (new, old)) in forged.iter().zip(contents).enumerate() {
        if new != old {
            disk.damage(path, at as u64, |_| *new);
        }
    }
}

/// Offsets as in `docs/segment-format.md`.
fn forge(mut bytes: Vec<u8>, trailer: &Trailer) -> Vec<u8> {
    let head = trailer.footer_offset as usize;
    let directory = head + 64;
    let number = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    };
    let (rows, table) = (
        number(&bytes, directory + 8),
        number(&bytes, directory + 16),
    );
    bytes[table + 40] ^= 1;
    let sum = crc32fast::hash(&bytes[table..table + rows * 88]).to_le_bytes();
    bytes[directory + 12..directory + 16].copy_from_slice(&sum);
    let sum = crc32fast::hash(&bytes[head..head + trailer.head_bytes as usize]).to_le_bytes();
    let last = bytes.len() - BLOCK as usize;
    bytes[last + 12..last + 16].copy_from_slice(&sum);
    let end = bytes.len() - 4;
    let sum = crc32fast::hash(&bytes[last..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&sum);
    bytes
}
