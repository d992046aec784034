//! Streams of a ZMTP connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steadfast_fuzz::zmtp::run(bytes));
