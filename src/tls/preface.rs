//! What clients say in clear before their TLS handshakes: who does, and where it ends.

use std::fmt;
use std::net::SocketAddr;

/// More than this nobody says before its handshake: whoever has, and has not come to an end, says none.
const BYTES_MAX: usize = 4096;

/// What clients of a listener say in clear before their TLS handshakes, such as the header of the PROXY protocol. The time of a
/// handshake covers it, and it moves with a takeover, at whatever byte it is.
pub trait Preface: fmt::Debug + Send + Sync {
    /// Whether whoever connects from there begins with one. `None` is a Unix socket. A client that does not may not: it begins
    /// with TLS.
    fn is_due(&self, from: Option<SocketAddr>) -> bool;

    /// How many of the bytes that a client has said are its preface, at least one. `None` is that it is not whole yet: it is heard
    /// out up to 4096 bytes.
    ///
    /// # Errors
    /// If what it says is none and cannot become one, and why. Its connection ends, without a word.
    fn length(&self, said: &[u8]) -> Result<Option<usize>, String>;
}

/// How many bytes of what was said are the preface. `None` is that it is not whole yet.
///
/// # Errors
/// If it is none, and why.
pub(crate) fn read(preface: &dyn Preface, said: &[u8]) -> Result<Option<usize>, String> {
    match preface.length(said)? {
        Some(bytes) if !(1..=said.len()).contains(&bytes) => {
            Err(format!("{bytes} of {} bytes are said to come before its TLS handshake", said.len()))
        }
        None if said.len() >= BYTES_MAX => Err(format!("{} bytes have come before its TLS handshake", said.len())),
        length => Ok(length),
    }
}
