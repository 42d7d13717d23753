//! Properties that hold for any bytes, for tests and the fuzzer; in no release.

use crate::{client_hello, proxy_header};

/// A header that is whole or wrong is so however its bytes come, and what follows it changes nothing.
///
/// # Panics
/// If that does not hold.
pub fn proxy_header(input: &[u8]) {
    let whole = settles(input, |input| proxy_header::read(input).transpose());
    if let Some((bytes, Ok(header))) = whole {
        assert_eq!(header.bytes, bytes, "it is whole with its last byte");
    }
}

/// A ClientHello that is whole or wrong is so however its bytes come, and what follows it changes nothing.
///
/// # Panics
/// If that does not hold.
pub fn client_hello(input: &[u8]) {
    settles(input, |input| client_hello::read(input).transpose());
}

/// After how many bytes something is read, and what; from then on it stays the same.
fn settles<T: PartialEq + std::fmt::Debug>(input: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<(usize, T)> {
    let (bytes, first) = (0..=input.len()).find_map(|bytes| Some((bytes, read(&input[..bytes])?)))?;
    for after in bytes..=input.len() {
        assert_eq!(read(&input[..after]).as_ref(), Some(&first), "{after} bytes instead of {bytes}");
    }
    Some((bytes, first))
}
