//! What a predecessor says that a TLS handshake under way is like.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_tls::fuzzing::restore_handshake(bytes));
