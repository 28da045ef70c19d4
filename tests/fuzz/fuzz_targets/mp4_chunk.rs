//! Entry point of libFuzzer for the target `mp4_chunk` of `src/mp4.rs`.

#![no_main]

#[path = "../src/mp4.rs"]
mod mp4;

libfuzzer_sys::fuzz_target!(|data: &[u8]| mp4::chunk(data));
