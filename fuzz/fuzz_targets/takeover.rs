//! A script of clients, turns and takeovers, played to real reactors.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord::fuzzing::take_over_anywhere(bytes));
