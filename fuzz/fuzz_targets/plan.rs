//! Plans of the simulator.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steadfast_fuzz::plan::run(bytes));
