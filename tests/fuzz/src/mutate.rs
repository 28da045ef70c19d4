//! Seeded mutations of a corpus, for machines without a fuzzer: runs each target over its corpus,
//! then over a number of variations of it.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

/// Number of variations for each target.
const ROUNDS_VARIABLE: &str = "HOLDFAST_FUZZ_ROUNDS";

/// Longer inputs only take longer, and find nothing new.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Values at the edges of lengths and offsets.
const EDGES: [u64; 10] = [
    0,
    1,
    4095,
    4096,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    1 << 63,
    u64::MAX,
];

/// Runs a target over its corpus and `rounds` variations of it. A finding is a panic; its input is
/// saved in a file, so that it can be added to the corpus.
pub(crate) fn replay(name: &str, target: fn(&[u8]), rounds: u64) {
    let corpus = stored(name);
    assert!(!corpus.is_empty(), "the corpus of {name} is empty");
    corpus.iter().for_each(|input| guarded(name, target, input));
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(rounds, |rounds| rounds.parse().unwrap());
    let mut random = Random(crc(name));
    for _ in 0..rounds {
        guarded(name, target, &varied(&corpus, &mut random));
    }
}

fn crc(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fuzz/corpus")
        .join(name)
}

/// Sorted by name, so that every run is the same.
fn stored(name: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder(name))
        .unwrap_or_else(|error| panic!("the corpus of {name}: {error}"));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn guarded(name: &str, target: fn(&[u8]), input: &[u8]) {
    let found = std::panic::catch_unwind(|| target(input));
    if let Err(panic) = found {
        let path = std::env::temp_dir().join(format!("holdfast-fuzz-{name}-finding"));
        std::fs::write(&path, input).unwrap();
        eprintln!(
            "{name} panicked on {} bytes, which are now in {}",
            input.len(),
            path.display()
        );
        std::panic::resume_unwind(panic);
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which may be 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }
}

/// An input of the corpus with one to eight changes.
fn varied(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        change(&mut input, corpus, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(7) {
        0 => put(input, at, &[1 << random.below(8)], |old, new| old ^ new),
        1 => put(input, at, &[random.next() as u8], |_, new| new),
        2 => put_edge(input, at, random),
        3 => input.truncate(at),
        4 => drop(input.drain(at..(at + 1 + random.below(64)).min(input.len()))),
        5 => {
            let bytes = random.next().to_le_bytes();
            drop(input.splice(at..at, bytes.into_iter().take(1 + random.below(8))));
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let length = random.below(256).min(other.len() - from);
            put(input, at, &other[from..from + length], |_, new| new);
        }
    }
}

/// Writes a number of one to eight bytes in either byte order.
fn put_edge(input: &mut [u8], at: usize, random: &mut Random) {
    let edge = EDGES[random.below(EDGES.len())].wrapping_add(random.next() % 3);
    let width = 1 << random.below(4);
    let (little, big) = (edge.to_le_bytes(), edge.to_be_bytes());
    let bytes = if random.next().is_multiple_of(2) {
        &little[..width]
    } else {
        &big[8 - width..]
    };
    put(input, at, bytes, |_, new| new);
}

fn put(input: &mut [u8], at: usize, bytes: &[u8], combine: fn(u8, u8) -> u8) {
    for (old, new) in input.iter_mut().skip(at).zip(bytes) {
        *old = combine(*old, *new);
    }
}
