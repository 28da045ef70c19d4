//! Entry point of libFuzzer for the target `header` of `src/segments.rs`.

#![no_main]

#[path = "../src/segments.rs"]
mod segments;

libfuzzer_sys::fuzz_target!(|data: &[u8]| segments::header(data));
