//! Entry point of libFuzzer for the target `segment` of `src/segments.rs`.

#![no_main]

#[path = "../src/segments.rs"]
mod segments;

libfuzzer_sys::fuzz_target!(|data: &[u8]| segments::segment(data));
