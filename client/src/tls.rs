//! How this client speaks TLS: whom it believes, by which name it knows the server, and what it offers.
//!
//! Its connections are rustls' own, and not those of the server's package: what reads the server's records was written by
//! others. A record that is sealed with another number than the next one, or twice, ends such a connection.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};

use crate::error::Error;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub(crate) fn parse(value: &str) -> Result<Self, String> {
        let all = [Self::Tls12, Self::Tls13];
        let named = all.into_iter().find(|version| version.name() == value);
        named.ok_or("1.2 or 1.3 is expected".to_owned())
    }

    /// How it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &TLS12,
            Self::Tls13 => &TLS13,
        }
    }
}

/// What a command line says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// The only version that is spoken.
    pub(crate) version: Option<Version>,
    /// The file with whom is believed. `None` is whom the system believes.
    pub(crate) authorities: Option<PathBuf>,
    /// The name that the server's certificate is to have. `None` is its address.
    pub(crate) name: Option<String>,
}

/// All that a connection needs to begin.
pub(crate) struct Tls {
    name: ServerName<'static>,
    /// What is offered: connections take turns.
    offers: Vec<Offer>,
    changes_keys: bool,
}

/// The same twice: with tickets of connections before, and without.
struct Offer {
    resuming: Arc<ClientConfig>,
    anew: Arc<ClientConfig>,
}

impl Tls {
    /// What is asked for, with all that there is offered to the server at this address, which chooses.
    pub(crate) fn new(asked: &Asked, server: IpAddr) -> Result<Self, Error> {
        let versions = asked.versions();
        let offers = vec![Offer::new(&versions, ring::DEFAULT_CIPHER_SUITES, &asked.roots()?)?];
        Ok(Self { name: asked.server_name(server)?, offers, changes_keys: false })
    }

    /// The same with one version and one suite for each connection, in turns, as far as a server has them whose
    /// certificate is of ECDSA. Their keys are changed now and then, where that is possible.
    pub(crate) fn in_turns(asked: &Asked, server: IpAddr) -> Result<Self, Error> {
        let (versions, roots) = (asked.versions(), asked.roots()?);
        let suites = ring::DEFAULT_CIPHER_SUITES.iter().filter(|suite| is_for_ecdsa(suite));
        let suites = suites.filter(|suite| versions.contains(&suite.version()));
        let offers = suites.map(|suite| Offer::new(&[suite.version()], &[*suite], &roots)).collect::<Result<_, _>>()?;
        Ok(Self { name: asked.server_name(server)?, offers, changes_keys: true })
    }

    /// Whether keys are to be changed now and then.
    pub(crate) fn changes_keys(&self) -> bool {
        self.changes_keys
    }

    /// The connection with this number, which may resume an earlier one.
    pub(crate) fn connect(&self, number: usize, resumes: bool) -> io::Result<ClientConnection> {
        let Offer { resuming, anew } = &self.offers[number % self.offers.len()];
        let config = if resumes { resuming } else { anew };
        ClientConnection::new(config.clone(), self.name.clone()).map_err(io::Error::other)
    }
}

impl Asked {
    /// What the options say, of which all others need the first.
    pub(crate) fn new(
        tls: bool,
        version: Option<Version>,
        authorities: Option<PathBuf>,
        name: Option<String>,
    ) -> Result<Option<Self>, String> {
        let needing =
            [("--tls-version", version.is_some()), ("--ca", authorities.is_some()), ("--server-name", name.is_some())];
        match needing.into_iter().find(|(_, given)| *given) {
            Some((option, _)) if !tls => Err(format!("{option} needs --tls")),
            _ => Ok(tls.then_some(Self { version, authorities, name })),
        }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        self.version.map_or(vec![&TLS13, &TLS12], |version| vec![version.supported()])
    }

    fn server_name(&self, server: IpAddr) -> Result<ServerName<'static>, Error> {
        let Some(name) = &self.name else { return Ok(server.into()) };
        ServerName::try_from(name.clone()).map_err(|error| Error::Tls(format!("{name}: {error}")))
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        match &self.authorities {
            Some(file) => roots_of(file),
            None => roots_of_system(),
        }
    }
}

fn roots_of(file: &Path) -> Result<RootCertStore, Error> {
    let wrong = |what: String| Error::Tls(format!("{}: {what}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it has no certificate".to_owned())) } else { Ok(roots) }
}

/// As far as they can be used: of so many, some may be of a kind that nobody knows any more.
fn roots_of_system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (used, _) = roots.add_parsable_certificates(found.certs);
    if used > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
    Err(Error::Tls(format!("no authorities of the system can be used ({why}): --ca names a file")))
}

fn is_for_ecdsa(suite: &SupportedCipherSuite) -> bool {
    match suite {
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(suite) => suite.sign.contains(&rustls::SignatureScheme::ECDSA_NISTP256_SHA256),
    }
}

impl Offer {
    fn new(
        versions: &[&'static SupportedProtocolVersion],
        suites: &[SupportedCipherSuite],
        roots: &RootCertStore,
    ) -> Result<Self, Error> {
        let provider = CryptoProvider { cipher_suites: suites.to_vec(), ..ring::default_provider() };
        let resuming = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(|error| Error::Tls(error.to_string()))?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let mut anew = resuming.clone();
        anew.resumption = Resumption::disabled();
        Ok(Self { resuming: Arc::new(resuming), anew: Arc::new(anew) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorities() -> (tempfile::TempDir, Asked) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authorities.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        (directory, Asked { authorities: Some(file), ..Asked::default() })
    }

    #[test]
    fn connections_take_turns_among_the_suites_of_the_versions() {
        let (_directory, asked) = authorities();
        for (version, expected) in [(None, 6), (Some(Version::Tls12), 3), (Some(Version::Tls13), 3)] {
            let asked = Asked { version, ..asked.clone() };
            let tls = Tls::in_turns(&asked, [127, 0, 0, 1].into()).unwrap();
            assert_eq!(tls.offers.len(), expected, "{version:?}");
            assert!((0..expected).all(|number| tls.connect(number, number % 2 == 0).is_ok()));
        }
    }

    #[test]
    fn nothing_is_said_of_tls_where_it_is_not_spoken() {
        assert_eq!(Asked::new(false, None, None, None), Ok(None));
        assert_eq!(Asked::new(true, None, None, None), Ok(Some(Asked::default())));
        let name = Some("localhost".to_owned());
        assert_eq!(Asked::new(false, None, None, name), Err("--server-name needs --tls".to_owned()));
        assert_eq!(Version::parse("1.2"), Ok(Version::Tls12));
        assert!(Version::parse("1.1").is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file_or_the_name() {
        let (directory, asked) = authorities();
        let wrong = |asked: Asked| Tls::new(&asked, [127, 0, 0, 1].into()).err().unwrap().to_string();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let nowhere = directory.path().join("nowhere.pem");
        for file in [empty, nowhere] {
            let name = file.display().to_string();
            assert!(wrong(Asked { authorities: Some(file), ..Asked::default() }).starts_with(&name));
        }
        assert!(wrong(Asked { name: Some("a name".to_owned()), ..asked }).starts_with("a name: "));
    }
}
