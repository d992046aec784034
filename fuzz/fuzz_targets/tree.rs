//! Data of the coordination tree.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steadfast_fuzz::tree::run(bytes));
