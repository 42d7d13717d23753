//! What is told of a handshake besides what any peer's record says, as bytes.

use minicbor::{Decode, Encode};

/// Where somebody has come in, and how far the handshake is.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Saved<'b> {
    /// The number of the lane whose peer it is to be, as whoever says so counts.
    #[n(0)]
    pub(super) lane: u32,
    /// The name of the listener.
    #[b(1)]
    pub(super) listener: &'b str,
    /// The handshake, as the package for TLS saves it. Empty if something else is to be said before, and not whole.
    #[cbor(b(2), with = "minicbor::bytes")]
    pub(super) handshake: &'b [u8],
    /// What was said before, if anything was.
    #[cbor(b(3), with = "minicbor::bytes")]
    pub(super) preface: Option<&'b [u8]>,
}

impl<'b> Saved<'b> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        minicbor::encode(self, out).expect("encoding into a Vec does not fail");
    }

    /// What was [written](Self::write).
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, String> {
        minicbor::decode(bytes).map_err(|error| format!("what is said of a TLS handshake is damaged: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for preface in [None, Some(&b"PROXY UNKNOWN\r\n"[..])] {
            let saved = Saved { lane: 3, listener: "clients", handshake: &[7; 500], preface };
            let mut bytes = Vec::new();
            saved.write(&mut bytes);
            assert_eq!(Saved::read(&bytes), Ok(saved));
            for cut in 0..bytes.len() {
                assert!(Saved::read(&bytes[..cut]).is_err());
            }
        }
    }
}
