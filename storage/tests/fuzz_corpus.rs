//! The fuzz targets of the segment store and of its payload over their corpora and some thousand
//! seeded variations.
//! `tests/fuzz` runs the same endlessly.

#[path = "../../tests/fuzz/src/mp4.rs"]
mod mp4;
#[path = "../../tests/fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../tests/fuzz/src/segments.rs"]
mod segments;

use mutate::replay;

#[test]
fn segment_headers() {
    replay("header", segments::header, 20_000);
}

#[test]
fn batches() {
    replay("batch", segments::batch, 20_000);
}

#[test]
fn records() {
    replay("record", segments::record, 20_000);
}

#[test]
fn trailers() {
    replay("trailer", segments::trailer, 20_000);
}

#[test]
fn footers() {
    replay("footer", segments::footer, 20_000);
}

#[test]
fn whole_segments() {
    replay("segment", segments::segment, 4_000);
}

#[test]
fn rows_of_the_catalogue() {
    replay("catalogue", segments::catalogue, 20_000);
}

#[test]
fn chunks() {
    replay("mp4_chunk", mp4::chunk, 20_000);
}

#[test]
fn init_segments() {
    replay("mp4_init", mp4::init, 20_000);
}
