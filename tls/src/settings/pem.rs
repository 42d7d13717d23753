//! Files of certificates and keys (RFC 7468), read with their names, so that what is wrong with them can be told.

use std::fmt;
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::SettingsError;

/// Debian and Alpine, Fedora and its descendants, openSUSE.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What a PEM file holds, and how it is called.
pub struct Pem {
    name: String,
    text: Zeroizing<Vec<u8>>,
}

impl Pem {
    /// This text, which is called so.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: Zeroizing::new(text.into()) }
    }

    /// That of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => Err(SettingsError::Unreadable { file: name, error }),
        }
    }

    /// The first that is there of those in which distributions keep whom they believe. No variable of the environment is
    /// looked at, as OpenSSL does: who wants others names a file.
    pub(super) fn of_system() -> Result<Self, SettingsError> {
        let there = SYSTEM_FILES.iter().map(Path::new).find(|path| path.exists());
        Self::read(there.ok_or(SettingsError::NoSystemRoots)?)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All certificates of the file, of which there is at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        let certificates = found.map_err(|error| self.no_pem(&error))?;
        if certificates.is_empty() {
            return Err(SettingsError::NoCertificate { file: self.name.clone() });
        }
        Ok(certificates)
    }

    /// The first private key of the file.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, SettingsError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| match error {
            PemError::NoItemsFound => SettingsError::NoKey { file: self.name.clone(), encrypted: self.is_encrypted() },
            error => self.no_pem(&error),
        })
    }

    /// RFC 7468 section 11.
    fn is_encrypted(&self) -> bool {
        let mark = b"ENCRYPTED PRIVATE KEY";
        self.text.windows(mark.len()).any(|window| window == mark)
    }

    fn no_pem(&self, error: &PemError) -> SettingsError {
        SettingsError::NoPem { file: self.name.clone(), error: error.to_string() }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.name)
    }
}
