//! Bytes of a takeover channel, as frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord::fuzzing::decode_frames(bytes));
