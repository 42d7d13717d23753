//! What can be wrong with settings.

use std::fmt;

/// What is wrong with settings, and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file cannot be read.
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file is no PEM.
    NoPem {
        /// Which.
        file: String,
        /// What is wrong with it.
        error: String,
    },
    /// A file should hold certificates and has none.
    NoCertificate {
        /// Which.
        file: String,
    },
    /// A file should hold a private key and has none.
    NoKey {
        /// Which.
        file: String,
        /// It has one that is encrypted, which nobody could open at a takeover.
        encrypted: bool,
    },
    /// A certificate is none that can be used.
    Certificate {
        /// The file that it is in.
        file: String,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// A private key is none that can be used.
    Key {
        /// The file that it is in.
        file: String,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// A private key is not that of its certificate.
    KeyOfAnother {
        /// The file with the key.
        key: String,
        /// The file with the certificate.
        certificate: String,
    },
    /// The system has no file that says whom it believes, where distributions keep it.
    NoSystemRoots,
    /// A server has no certificate.
    NoCertificates,
    /// The name of a protocol is not 1 to 255 bytes long.
    Alpn {
        /// Its length.
        bytes: usize,
    },
    /// Nothing can be verified with those who are believed.
    Verifier(String),
    /// rustls refuses the whole.
    Rustls(rustls::Error),
}

impl SettingsError {
    /// The file that something is wrong with, if it is with one; of a key that is another certificate's, the key's.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Unreadable { file, .. }
            | Self::NoPem { file, .. }
            | Self::NoCertificate { file }
            | Self::NoKey { file, .. }
            | Self::Certificate { file, .. }
            | Self::Key { file, .. }
            | Self::KeyOfAnother { key: file, .. } => Some(file),
            Self::NoSystemRoots | Self::NoCertificates | Self::Alpn { .. } | Self::Verifier(_) | Self::Rustls(_) => {
                None
            }
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "{file} cannot be read: {error}"),
            Self::NoPem { file, error } => write!(f, "{file} is no PEM file: {error}"),
            Self::NoCertificate { file } => write!(f, "{file} has no certificate"),
            Self::NoKey { file, encrypted: false } => write!(f, "{file} has no private key"),
            Self::NoKey { file, encrypted: true } => {
                write!(f, "the private key in {file} is encrypted: it has to be in clear")
            }
            Self::Certificate { file, error } => write!(f, "a certificate in {file} cannot be used: {error}"),
            Self::Key { file, error } => write!(f, "the private key in {file} cannot be used: {error}"),
            Self::KeyOfAnother { key, certificate } => {
                write!(f, "the private key in {key} is not that of the first certificate in {certificate}")
            }
            Self::NoSystemRoots => {
                f.write_str("the system has no certificates of authorities (package ca-certificates)")
            }
            Self::NoCertificates => f.write_str("a server needs a certificate"),
            Self::Alpn { bytes } => write!(f, "the name of a protocol (ALPN) has {bytes} bytes instead of 1 to 255"),
            Self::Verifier(error) => write!(f, "certificates cannot be verified: {error}"),
            Self::Rustls(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SettingsError {}
