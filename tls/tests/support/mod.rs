//! What these tests stand on: certificates, rustls as the other side, and a watch that sees a number sealed twice.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use reactord_tls::{
    Acceptor, Certificate, ClientAuth, ClientSettings, Connector, Established, Handshake, HandshakeFailure, Pem,
    Progress, Role, Roots, SavedSession, ServerSettings, Session, Suite, TicketKeys,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme,
};

/// An RSA key, which takes too long to be made for each run. It is for these tests alone.
const RSA_KEY: &str = include_str!("rsa.pem");

/// An authority, and what it has signed.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names, and its key, as PEM.
    pub(crate) fn sign(&self, names: &[&str], key: KeyPair) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn certificate(&self, names: &[&str], key: KeyPair) -> Certificate {
        let (chain, key) = self.sign(names, key);
        Certificate { chain: Pem::new("chain.pem", chain), key: Pem::new("key.pem", key) }
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

pub(crate) fn ecdsa() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn rsa() -> KeyPair {
    KeyPair::from_pem(RSA_KEY).unwrap()
}

/// The one of this process.
pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// Settings of a server with a certificate of each kind.
pub(crate) fn server_settings() -> ServerSettings {
    let certificates =
        vec![AUTHORITY.certificate(&["localhost"], ecdsa()), AUTHORITY.certificate(&["localhost"], rsa())];
    ServerSettings { certificates, ..ServerSettings::default() }
}

pub(crate) fn acceptor(settings: &ServerSettings) -> Acceptor {
    Acceptor::new(settings, Arc::new(TicketKeys::new().unwrap())).unwrap()
}

/// The one that most tests take.
pub(crate) static ACCEPTOR: LazyLock<Acceptor> = LazyLock::new(|| acceptor(&server_settings()));

pub(crate) fn connector() -> Connector {
    Connector::new(&ClientSettings::new(Roots::Authorities(Pem::new("ca.pem", AUTHORITY.pem.as_str())))).unwrap()
}

/// ring with one suite alone.
pub(crate) fn provider(suite: Suite) -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|known| u16::from(known.suite()) == suite.number());
    Arc::new(provider)
}

/// rustls as a client that offers one suite.
pub(crate) fn client_config(suite: Suite) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider(suite)).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(AUTHORITY.roots()).with_no_client_auth()
}

pub(crate) fn client(config: &ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config.clone()), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// rustls as a server that has one suite.
pub(crate) fn server(suite: Suite) -> ServerConnection {
    let key =
        if suite.number() == 0xc02f || suite.number() == 0xc030 || suite.number() == 0xcca8 { rsa() } else { ecdsa() };
    let (chain, key) = AUTHORITY.sign(&["localhost"], key);
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider(suite)).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// All that rustls wants to send.
pub(crate) fn sent(connection: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut out).unwrap();
    }
    out
}

/// Lets rustls have bytes: the data in them, and whether the other side has closed.
pub(crate) fn heard(connection: &mut Connection, mut wire: &[u8]) -> Result<(Vec<u8>, bool), rustls::Error> {
    let (mut plain, mut closed) = (Vec::new(), false);
    let mut buffer = vec![0; 1 << 15];
    while !wire.is_empty() {
        if connection.read_tls(&mut wire).unwrap() == 0 {
            break;
        }
        closed |= connection.process_new_packets()?.peer_has_closed();
        while let Ok(bytes @ 1..) = connection.reader().read(&mut buffer) {
            plain.extend_from_slice(&buffer[..bytes]);
        }
    }
    Ok((plain, closed))
}

/// Both sides of a handshake, and what was sent of it that belongs to the session already.
pub(crate) struct Met {
    pub(crate) established: Established,
    pub(crate) rustls: Connection,
    pub(crate) rest: Vec<u8>,
}

/// Carries a handshake to its end; each piece that this crate hears has at most so many bytes, and it is moved when
/// `moves` says so.
pub(crate) fn meet(
    mut handshake: Handshake,
    mut rustls: Connection,
    mut to_rustls: Vec<u8>,
    piece_bytes: usize,
    mut step: impl FnMut(Handshake) -> Handshake,
) -> Result<Met, HandshakeFailure> {
    let mut wire = Vec::new();
    loop {
        heard(&mut rustls, &std::mem::take(&mut to_rustls))?;
        let arrived = sent(&mut rustls);
        assert!(!arrived.is_empty(), "nobody says anything");
        let mut pieces = arrived.chunks(piece_bytes);
        while let Some(piece) = pieces.next() {
            wire.extend_from_slice(piece);
            match handshake.hear(&wire, &mut to_rustls)? {
                (taken, Progress::More) => drop(wire.drain(..taken)),
                (taken, Progress::Done) => {
                    wire.drain(..taken);
                    wire.extend(pieces.flatten());
                    heard(&mut rustls, &to_rustls).unwrap();
                    return Ok(Met { established: handshake.finish().unwrap(), rustls, rest: wire });
                }
            }
            handshake = step(handshake);
        }
    }
}

/// A server of this crate and a client of rustls.
pub(crate) fn accepted(acceptor: &Acceptor, client: ClientConnection) -> Met {
    let handshake = Handshake::accept(acceptor).unwrap();
    meet(handshake, client.into(), Vec::new(), usize::MAX, |same| same).unwrap()
}

/// A client of this crate and a server of rustls.
pub(crate) fn connected(connector: &Connector, server: ServerConnection) -> Met {
    let mut hello = Vec::new();
    let handshake = Handshake::connect(connector, "localhost", &mut hello).unwrap();
    meet(handshake, server.into(), hello, usize::MAX, |same| same).unwrap()
}

/// Both sides, with this suite and this role of this crate.
pub(crate) fn met(suite: Suite, role: Role) -> Met {
    match role {
        Role::Server => accepted(&ACCEPTOR, client(&client_config(suite))),
        Role::Client => connected(&connector(), server(suite)),
    }
}

pub(crate) fn restored(session: &Session) -> Session {
    Session::restore(session.save()).unwrap()
}

/// Where a saved session has the secret and the number of a direction.
const TX: std::ops::Range<usize> = 18..74;
const RX: std::ops::Range<usize> = 74..130;

/// Sees all records that are sealed for a connection, and that none has the number of another under the same key.
pub(crate) struct Watch {
    reader: Session,
    seen: HashMap<[u8; 56], Vec<u8>>,
}

impl Watch {
    pub(crate) fn new(session: &Session) -> Self {
        let saved = *session.save().bytes();
        let mut other = saved;
        other[TX].copy_from_slice(&saved[RX]);
        other[RX].copy_from_slice(&saved[TX]);
        // The other role, and every counter as it is in the beginning.
        other[3] ^= 1;
        Self { reader: Session::restore(SavedSession::read(&other).unwrap()).unwrap(), seen: HashMap::new() }
    }

    /// Looks at what has been sealed since.
    pub(crate) fn look(&mut self, mut out: &[u8]) {
        while !out.is_empty() {
            let (record, rest) = out.split_at(5 + usize::from(u16::from_be_bytes([out[3], out[4]])));
            let key: [u8; 56] = self.reader.save().bytes()[RX].try_into().unwrap();
            let before = self.seen.insert(key, record.to_vec());
            assert!(before.is_none(), "a number was sealed twice");
            // An alert may end it; that it can be deciphered is what counts here.
            let opened = self.reader.open(&mut record.to_vec(), &mut Vec::new(), &mut Vec::new());
            assert!(!matches!(opened, Err(reactord_tls::Failure::Broken(_))), "{opened:?}");
            out = rest;
        }
    }
}

pub(crate) fn write(connection: &mut Connection, data: &[u8]) {
    connection.writer().write_all(data).unwrap();
}

pub(crate) fn client_auth(required: bool) -> ClientAuth {
    let authorities = Pem::new("clients.pem", AUTHORITY.pem.as_str());
    if required { ClientAuth::Required(authorities) } else { ClientAuth::Optional(authorities) }
}

/// Believes every certificate, so that a test can look at it.
#[derive(Debug)]
pub(crate) struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
