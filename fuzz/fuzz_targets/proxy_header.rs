//! What a client of the proxy says first where it is to say whose connection it is.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_proxy::fuzzing::proxy_header(bytes));
