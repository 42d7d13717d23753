//! Bytes from a predecessor, as the successor hears them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord::fuzzing::successor_hears(bytes));
