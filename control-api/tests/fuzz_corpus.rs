//! The fuzz targets of the MP4 readers, over their corpora and some thousand seeded variations.
//! `tests/fuzz` runs the same endlessly.

#[path = "../../tests/fuzz/src/mp4.rs"]
mod mp4;
#[path = "../../tests/fuzz/src/mutate.rs"]
mod mutate;

use mutate::replay;

#[test]
fn chunks() {
    replay("mp4_chunk", mp4::chunk, 20_000);
}

#[test]
fn init_segments() {
    replay("mp4_init", mp4::init, 20_000);
}
