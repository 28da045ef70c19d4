//! Entry point of libFuzzer for the target `parameter_sets` of `src/cameras.rs`.

#![no_main]

#[path = "../src/cameras.rs"]
mod cameras;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cameras::parameter_sets(data));
