//! What the servers of a soak show their clients: a certificate that is made on the spot, and good for nothing else.

use std::error::Error as StdError;
use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::servers::Servers;
use crate::error::Error;
use crate::tls::{Asked, Tls};

/// The name that it has, and by which clients ask.
const NAME: &str = "localhost";

/// A file for each.
const AUTHORITY: &str = "authority.pem";
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";

pub(crate) struct Certificate;

impl Certificate {
    /// Gives the servers one that listen, and returns what their clients need who believe nothing else.
    pub(crate) fn give(servers: &mut Servers, asked: &Asked) -> Result<Tls, Error> {
        let directory = servers.directory().to_owned();
        write_all(&directory).map_err(|error| Error::Tls(format!("a certificate cannot be made: {error}")))?;
        let [chain, key] = [CHAIN, KEY].map(|name| directory.join(name).into_os_string());
        servers.tell_listening(["--tls-cert".into(), chain, "--tls-key".into(), key]);
        let authorities = Some(directory.join(AUTHORITY));
        let asked = Asked { authorities, name: Some(NAME.to_owned()), ..asked.clone() };
        Tls::in_turns(&asked, [127, 0, 0, 1].into())
    }
}

fn write_all(directory: &Path) -> Result<(), Box<dyn StdError>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "soak");
    let key = KeyPair::generate()?;
    fs::write(directory.join(AUTHORITY), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &issuer)?;
    fs::write(directory.join(CHAIN), certificate.pem())?;
    // The directory is its user's alone.
    Ok(fs::write(directory.join(KEY), key.serialize_pem())?)
}
