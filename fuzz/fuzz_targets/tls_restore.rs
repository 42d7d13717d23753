//! What a predecessor says that a TLS connection is like.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_tls::fuzzing::restore(bytes));
