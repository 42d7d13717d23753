//! What rustls is given to draw from: ring, by way of the [tape](crate::tape).

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::UnixTime;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{Error, KeyLog, NamedGroup, ProtocolVersion, SignatureAlgorithm, SignatureScheme};

use crate::bytes::{Reader, put};
use crate::tape::{self, Kind, draw};

/// The one of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(taped()));
    PROVIDER.clone()
}

/// rustls wants these for as long as the process lives, so they are made once and never given back.
fn taped() -> CryptoProvider {
    let ring = rustls::crypto::ring::default_provider();
    let kx_groups = ring.kx_groups.iter().map(|&group| &*Box::leak(Box::new(Group(group)))).map(|group| group as _);
    CryptoProvider {
        kx_groups: kx_groups.collect(),
        secure_random: Box::leak(Box::new(Random(ring.secure_random))),
        ..ring
    }
}

/// What fails when something else is asked for than is on the tape.
fn strayed() -> Error {
    Error::General("this handshake is not the one that was saved".into())
}

#[derive(Debug)]
struct Random(&'static dyn SecureRandom);

impl SecureRandom for Random {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let make = || {
            let mut bytes = vec![0; buffer.len()];
            self.0.fill(&mut bytes).map(|()| bytes)
        };
        let bytes = draw(Kind::Random, GetRandomFailed, make)?;
        if bytes.len() != buffer.len() {
            return Err(GetRandomFailed);
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

#[derive(Debug)]
struct Group(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for Group {
    /// A client's, and a server's of TLS 1.2: the private key stays in rustls until the other side answers.
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        tape::key_is_held();
        self.0.start()
    }

    /// A server's of TLS 1.3: all of it at once.
    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let make = || self.0.start_and_complete(peer_pub_key).map(|completed| exchange_to_bytes(&completed));
        let bytes = draw(Kind::KeyExchange, strayed(), make)?;
        exchange_from_bytes(&bytes).filter(|exchange| exchange.group == self.name()).ok_or_else(strayed)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

fn exchange_to_bytes(exchange: &CompletedKeyExchange) -> Vec<u8> {
    // Room for all of it, so that no piece of the secret is left where it was too small.
    let mut bytes = Vec::with_capacity(2 + 4 + exchange.pub_key.len() + 4 + exchange.secret.secret_bytes().len());
    bytes.extend_from_slice(&u16::from(exchange.group).to_be_bytes());
    put(&mut bytes, &exchange.pub_key);
    put(&mut bytes, exchange.secret.secret_bytes());
    bytes
}

fn exchange_from_bytes(bytes: &[u8]) -> Option<CompletedKeyExchange> {
    let mut reader = Reader(bytes);
    let group = NamedGroup::from(reader.array().map(u16::from_be_bytes)?);
    let (pub_key, secret) = (reader.bytes()?.to_vec(), SharedSecret::from(reader.bytes()?));
    reader.is_empty().then_some(CompletedKeyExchange { group, pub_key, secret })
}

/// A certificate whose key signs by way of the tape.
pub(crate) fn signing_on_tape(certified: CertifiedKey) -> CertifiedKey {
    CertifiedKey { key: Arc::new(Key(certified.key)), ..certified }
}

#[derive(Debug)]
struct Key(Arc<dyn SigningKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered).map(|signer| Box::new(TapedSigner(signer)) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct TapedSigner(Box<dyn Signer>);

impl Signer for TapedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        draw(Kind::Signature, strayed(), || self.0.sign(message)).map(|signature| signature.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

/// The time of the system.
#[derive(Debug)]
pub(crate) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = || Ok(UnixTime::now().as_secs().to_be_bytes().to_vec());
        let bytes = draw(Kind::Time, (), now).ok()?;
        let seconds = u64::from_be_bytes(bytes.as_slice().try_into().ok()?);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Hears the two secrets of TLS 1.3 that the session goes on from, and no others.
pub(crate) struct TrafficSecretLog;

const CLIENT_LABEL: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_LABEL: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for TrafficSecretLog {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        tape::keep_secrets(|secrets| match label {
            CLIENT_LABEL => secrets.client = secret.to_vec().into(),
            SERVER_LABEL => secrets.server = secret.to_vec().into(),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        [CLIENT_LABEL, SERVER_LABEL].contains(&label)
    }
}

impl fmt::Debug for TrafficSecretLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecretLog")
    }
}
