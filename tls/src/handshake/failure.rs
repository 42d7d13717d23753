//! Why a handshake fails.

use std::fmt;

/// Why a handshake fails. The alert that tells the other side, if there is one to be sent, is in what was to be sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// What rustls says of it.
    Tls(rustls::Error),
    /// What came is no record.
    NoRecord,
    /// The other side says more than any handshake needs.
    TooLong {
        /// What it has said.
        bytes: usize,
        /// What is borne.
        bytes_max: usize,
    },
    /// It is not over.
    UnderWay,
    /// The secrets that rustls logged are not those of the keys that it uses, so nothing is sealed with either.
    Secrets,
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "{error}"),
            Self::NoRecord => f.write_str("what came is not TLS"),
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "the other side said {bytes} bytes, a handshake has at most {bytes_max}")
            }
            Self::UnderWay => f.write_str("it is not over"),
            Self::Secrets => f.write_str("the secrets that rustls logs are not those that it uses"),
        }
    }
}

impl std::error::Error for HandshakeFailure {}

impl From<rustls::Error> for HandshakeFailure {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}
