//! The certificate of all servers that are measured, made on the spot, and what is needed to believe it.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reactord_tls::{ClientSettings, Connector, Pem, Roots};
use tempfile::TempDir;

/// The name that it has.
pub(crate) const NAME: &str = "localhost";

/// The files of a directory.
pub(crate) const CHAIN: &str = "chain.pem";
pub(crate) const KEY: &str = "key.pem";
/// Both in one, as HAProxy has them.
const BOTH: &str = "both.pem";
const AUTHORITY: &str = "authority.pem";

pub(crate) struct Certificate(TempDir);

impl Certificate {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [authority, chain, key] = make().map_err(Error::other)?;
        for (name, text) in [(AUTHORITY, &authority), (CHAIN, &chain), (KEY, &key), (BOTH, &(chain.clone() + &key))] {
            std::fs::write(directory.path().join(name), text)?;
        }
        Ok(Self(directory))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn chain(&self) -> String {
        self.file(CHAIN)
    }

    pub(crate) fn key(&self) -> String {
        self.file(KEY)
    }

    pub(crate) fn both(&self) -> String {
        self.file(BOTH)
    }

    /// What `reactord` is told.
    pub(crate) fn of_server(&self) -> Vec<String> {
        vec!["--tls-cert".to_owned(), self.chain(), "--tls-key".to_owned(), self.key()]
    }

    /// What `reactord-client` is told besides.
    pub(crate) fn of_client(&self) -> Vec<String> {
        let of = |option: &str, value: &str| [option.to_owned(), value.to_owned()];
        let with = [of("--ca", &self.file(AUTHORITY)), of("--server-name", NAME)];
        ["--tls".to_owned()].into_iter().chain(with.into_iter().flatten()).collect()
    }

    /// What clients of this process need.
    pub(crate) fn connector(&self) -> Result<Connector> {
        let authority = Pem::read(&PathBuf::from(self.file(AUTHORITY))).map_err(Error::other)?;
        Connector::new(&ClientSettings::new(Roots::Authorities(authority))).map_err(Error::other)
    }
}

/// Who signs, what it has signed, and the key of that.
fn make() -> std::result::Result<[String; 3], rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "benchmark");
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let chain = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &issuer)?.pem();
    Ok([authority, chain, key.serialize_pem()])
}
