//! How this side does handshakes: certificates, whom it believes, what it offers. All that can be wrong with it is
//! found here, before any.

use std::sync::Arc;

use ring::digest;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::provider::{Clock, TrafficSecretLog, provider};
use crate::suite::Version;
use crate::tickets::{Binding, TicketKeys, Ticketer};

mod certificates;
mod error;
mod pem;
mod unverified;

pub use certificates::Certificate;
use certificates::Certificates;
pub use error::SettingsError;
pub use pem::Pem;
use unverified::Unverified;

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3, and 1.2 with whom does not know it.
    #[default]
    Both,
    /// One alone.
    Only(Version),
}

impl Versions {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        match self {
            Self::Both => rustls::ALL_VERSIONS,
            Self::Only(Version::Tls13) => &TLS13,
            Self::Only(Version::Tls12) => &TLS12,
        }
    }
}

/// Whether clients show certificates.
#[derive(Debug, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; who shows one that none of these has signed is refused, who shows none is not.
    Optional(Pem),
    /// Who shows none is refused, too.
    Required(Pem),
}

impl ClientAuth {
    /// How strict it is, and whom it believes.
    fn authorities(&self) -> (u8, Option<&Pem>) {
        match self {
            Self::None => (0, None),
            Self::Optional(authorities) => (1, Some(authorities)),
            Self::Required(authorities) => (2, Some(authorities)),
        }
    }
}

/// What a server needs for handshakes.
#[derive(Debug, Default)]
pub struct ServerSettings {
    /// Its certificates. A client gets the first that has the name that it asks for and that it can verify; who asks
    /// for none or for another, the first that it can verify.
    pub certificates: Vec<Certificate>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// What may be spoken inside (RFC 7301), most wanted first. Empty: that is not negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// The versions that are spoken.
    pub versions: Versions,
}

/// Settings of a server that have been found to be good. Cloning it shares them.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
}

impl Acceptor {
    /// Those, with tickets of these keys.
    ///
    /// # Errors
    /// If something is wrong with them: which file, and what.
    pub fn new(settings: &ServerSettings, tickets: Arc<TicketKeys>) -> Result<Self, SettingsError> {
        let certificates = Certificates::load(&settings.certificates)?;
        let (verifier, binding) = client_verifier(&settings.client_auth)?;
        let digest = digest_of(settings, &certificates, &binding);
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
            .with_protocol_versions(settings.versions.supported())
            .map_err(SettingsError::Rustls)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = checked_alpn(&settings.alpn)?;
        config.ticketer = Arc::new(Ticketer { keys: tickets, binding });
        // What is stored here would not be at the successor.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(TrafficSecretLog);
        Ok(Self { config: Arc::new(config), verifier, digest })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// What may be spoken inside.
    pub(crate) fn alpn(&self) -> &[Vec<u8>] {
        &self.config.alpn_protocols
    }

    /// Of all that this side was told and that clients may notice. Private keys are none of it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What says whether a client's certificate is good.
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }
}

/// What says whether a client's certificate is good, and what tickets are bound to: a digest of just that.
fn client_verifier(auth: &ClientAuth) -> Result<(Arc<dyn ClientCertVerifier>, Binding), SettingsError> {
    let (strictness, authorities) = auth.authorities();
    let mut said = digest::Context::new(&digest::SHA256);
    said.update(&[strictness]);
    let Some(pem) = authorities else {
        return Ok((Arc::new(NoClientAuth), binding(said)));
    };
    for certificate in pem.certificates()? {
        said.update(&(certificate.len() as u64).to_be_bytes());
        said.update(&certificate);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store(pem)?), provider());
    let builder = if strictness == 1 { builder.allow_unauthenticated() } else { builder };
    let verifier = builder.build().map_err(|error| SettingsError::Verifier(error.to_string()))?;
    Ok((verifier, binding(said)))
}

/// A digest of all settings but private keys. What has no fixed length has it before it.
fn digest_of(settings: &ServerSettings, certificates: &Certificates, binding: &Binding) -> [u8; 32] {
    let mut said = digest::Context::new(&digest::SHA256);
    said.update(binding);
    said.update(format!("{:?}", settings.versions).as_bytes());
    let mut say_all = |all: &mut dyn Iterator<Item = &[u8]>| {
        let all: Vec<&[u8]> = all.collect();
        said.update(&(all.len() as u64).to_be_bytes());
        for one in all {
            said.update(&(one.len() as u64).to_be_bytes());
            said.update(one);
        }
    };
    say_all(&mut settings.alpn.iter().map(Vec::as_slice));
    certificates.chains().for_each(|chain| say_all(&mut chain.iter().map(AsRef::as_ref)));
    self::binding(said)
}

fn binding(said: digest::Context) -> Binding {
    said.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// RFC 7301 section 3.1: each has 1 to 255 bytes.
fn checked_alpn(protocols: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, SettingsError> {
    match protocols.iter().find(|protocol| !(1..=255).contains(&protocol.len())) {
        Some(wrong) => Err(SettingsError::Alpn { bytes: wrong.len() }),
        None => Ok(protocols.to_vec()),
    }
}

/// Whose certificates of servers are believed.
#[derive(Debug)]
pub enum Roots {
    /// Those that have been signed by one of these.
    Authorities(Pem),
    /// Those that have been signed by one whom the system believes, by the file of its distribution.
    System,
    /// All. Who sits between can read everything and change it; for tests.
    Unverified,
}

/// What a client needs for handshakes.
#[derive(Debug)]
pub struct ClientSettings {
    /// Whose certificates are believed.
    pub roots: Roots,
    /// What it shows to servers that ask.
    pub certificate: Option<Certificate>,
    /// What may be spoken inside (RFC 7301), most wanted first. Empty: that is not negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// The versions that are spoken.
    pub versions: Versions,
    /// Whether the server is told which name is asked for (RFC 6066 section 3). An address never is.
    pub sends_name: bool,
}

impl ClientSettings {
    /// Those of a client that believes these, and nothing else that is special.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots, certificate: None, alpn: Vec::new(), versions: Versions::Both, sends_name: true }
    }
}

/// Settings of a client that have been found to be good, and the sessions that may be resumed with them. Cloning it shares both.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Of how many sessions there is room, as rustls counts them, in which a server takes eight: it has it so itself.
const SESSIONS_MAX: usize = 256;

impl Connector {
    /// Those.
    ///
    /// # Errors
    /// If something is wrong with them: which file, and what.
    pub fn new(settings: &ClientSettings) -> Result<Self, SettingsError> {
        let verifier = server_verifier(&settings.roots)?;
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
            .with_protocol_versions(settings.versions.supported())
            .map_err(SettingsError::Rustls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(certificate.single()?)),
        };
        config.alpn_protocols = checked_alpn(&settings.alpn)?;
        config.enable_sni = settings.sends_name;
        // Those of TLS 1.2, whose tickets come within the handshake. In TLS 1.3 they come after it, when rustls has given the connection
        // away; what is kept of such a server is which kind of key it wants.
        config.resumption = Resumption::store(sessions.clone());
        config.enable_early_data = false;
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(TrafficSecretLog);
        Ok(Self { config: Arc::new(config), verifier, sessions })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Whether the certificate that a server has shown when the session began which is resumed is still good. If not, nobody resumes
    /// that session again.
    pub(crate) fn verify_resumed(
        &self,
        name: &ServerName<'static>,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let verified = self.verifier.verify_server_cert(certificate, others, name, &[], now);
        if verified.is_err() {
            self.sessions.remove_tls12_session(name);
        }
        verified.map(|_| ())
    }
}

/// Whom this file names.
fn store(pem: &Pem) -> Result<RootCertStore, SettingsError> {
    let mut store = RootCertStore::empty();
    for certificate in pem.certificates()? {
        store.add(certificate).map_err(|error| SettingsError::Certificate { file: pem.name().to_owned(), error })?;
    }
    Ok(store)
}

/// Whom the system believes, as far as they can be used: of so many, some may be of a kind that nobody knows any more.
fn system_store() -> Result<RootCertStore, SettingsError> {
    let pem = Pem::of_system()?;
    let mut store = RootCertStore::empty();
    match store.add_parsable_certificates(pem.certificates()?) {
        (0, _) => Err(SettingsError::NoCertificate { file: pem.name().to_owned() }),
        _ => Ok(store),
    }
}

fn server_verifier(roots: &Roots) -> Result<Arc<dyn ServerCertVerifier>, SettingsError> {
    let store = match roots {
        Roots::Unverified => return Ok(Arc::new(Unverified(provider()))),
        Roots::System => system_store()?,
        Roots::Authorities(pem) => store(pem)?,
    };
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build();
    Ok(verifier.map_err(|error| SettingsError::Verifier(error.to_string()))?)
}
