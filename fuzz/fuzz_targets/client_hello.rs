//! What a client of the proxy says first where it is led by the name that it asks for.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reactord_proxy::fuzzing::client_hello(bytes));
