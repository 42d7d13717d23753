//! What a client says in its TLS handshake.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_tls::fuzzing::handshake(bytes));
