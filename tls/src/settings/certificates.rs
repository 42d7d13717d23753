//! The certificates of this side: with their keys, and which of them a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};

use super::error::SettingsError;
use super::pem::Pem;
use crate::provider::{provider, signing_on_tape};

/// A certificate with its chain, and its private key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate itself first, then those that lead to a root.
    pub chain: Pem,
    /// The key, in clear.
    pub key: Pem,
}

impl Certificate {
    fn load(&self) -> Result<CertifiedKey, SettingsError> {
        let (chain, key) = (self.chain.certificates()?, self.key.key()?);
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| SettingsError::Key { file: self.key.name().to_owned(), error })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(SettingsError::KeyOfAnother {
                key: self.key.name().to_owned(),
                certificate: self.chain.name().to_owned(),
            }),
            Err(error) => Err(SettingsError::Certificate { file: self.chain.name().to_owned(), error }),
        }
    }

    /// For a client, which has one at most. It need not sign by way of the tape, since its handshakes never move.
    pub(super) fn single(&self) -> Result<SingleCertAndKey, SettingsError> {
        Ok(SingleCertAndKey::from(self.load()?))
    }

    /// The names that it is good for, in lower case; one with `*` for all names that have one label instead (RFC 6125
    /// section 6.4.3).
    fn names(&self, certified: &CertifiedKey) -> Result<Vec<String>, SettingsError> {
        let file = || self.chain.name().to_owned();
        let first = certified.end_entity_cert().map_err(|error| SettingsError::Certificate { file: file(), error })?;
        let parsed = webpki::EndEntityCert::try_from(first).map_err(|error| SettingsError::Certificate {
            file: file(),
            error: Error::General(format!("it cannot be read: {error}")),
        })?;
        Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
    }
}

/// Those of a server.
#[derive(Debug)]
pub(super) struct Certificates {
    /// In their order.
    all: Vec<Arc<CertifiedKey>>,
    /// Which have a name, in their order.
    by_name: HashMap<String, Vec<usize>>,
}

impl Certificates {
    /// All chains, in their order.
    pub(super) fn chains(&self) -> impl Iterator<Item = &[CertificateDer<'static>]> {
        self.all.iter().map(|certified| certified.cert.as_slice())
    }

    pub(super) fn load(certificates: &[Certificate]) -> Result<Self, SettingsError> {
        let (mut all, mut by_name) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for (number, certificate) in certificates.iter().enumerate() {
            let certified = certificate.load()?;
            for name in certificate.names(&certified)? {
                by_name.entry(name).or_default().push(number);
            }
            all.push(Arc::new(signing_on_tape(certified)));
        }
        if all.is_empty() { Err(SettingsError::NoCertificates) } else { Ok(Self { all, by_name }) }
    }

    /// Those that have this name, or a star instead of its first label.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let star = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let exact = self.by_name.get(&name).into_iter().flatten();
        let wild = star.and_then(|star| self.by_name.get(&star)).into_iter().flatten();
        exact.chain(wild).map(|&number| &self.all[number])
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map(|name| self.named(name));
        let verifiable =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = named.into_iter().flatten().chain(&self.all).find(verifiable);
        // With any of them, rustls says what it is that a client lacks who can verify none.
        chosen.or(self.all.first()).cloned()
    }
}
