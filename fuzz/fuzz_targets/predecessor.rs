//! Bytes from a successor, as the predecessor hears them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord::fuzzing::predecessor_hears(bytes));
