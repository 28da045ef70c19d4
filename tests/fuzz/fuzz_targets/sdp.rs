//! Entry point of libFuzzer for the target `sdp` of `src/cameras.rs`.

#![no_main]

#[path = "../src/cameras.rs"]
mod cameras;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cameras::sdp(data));
