//! What the other side of an established TLS connection sends, sealed as it should be or not.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_tls::fuzzing::receive(bytes));
