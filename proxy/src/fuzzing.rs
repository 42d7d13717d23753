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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The inputs with which the fuzzer begins, of which the package that is published has none.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let Ok(entries) = fs::read_dir(&directory) else {
            eprintln!("skipped: {} is not there", directory.display());
            return Vec::new();
        };
        entries.map(|entry| fs::read(entry.expect("it can be listed").path()).expect("it can be read")).collect()
    }

    #[test]
    fn properties_hold_for_every_input_of_the_corpus() {
        corpus("proxy_header").iter().for_each(|input| super::proxy_header(input));
        corpus("client_hello").iter().for_each(|input| super::client_hello(input));
    }
}
