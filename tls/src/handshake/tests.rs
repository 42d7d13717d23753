use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::settings::{Certificate, ClientAuth, Pem, ServerSettings};
use crate::tickets::TicketKeys;

/// An authority that signs the certificate of the server and of a client, and both settings.
fn settings() -> (Acceptor, ClientConfig) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let sign = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (chain, key) = sign("localhost");
    let certificate = Certificate { chain: Pem::new("chain.pem", chain), key: Pem::new("key.pem", key) };
    let client_auth = ClientAuth::Required(Pem::new("clients.pem", authority.pem()));
    let settings = ServerSettings { certificates: vec![certificate], client_auth, ..ServerSettings::default() };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let (chain, key) = sign("client");
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    (Acceptor::new(&settings, Arc::new(TicketKeys::new().unwrap())).unwrap(), client)
}

/// A handshake that is over.
fn done(acceptor: &Acceptor, client: &ClientConfig) -> Handshake {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client.clone()), name).unwrap();
    let (mut handshake, mut progress) = (Handshake::accept(acceptor).unwrap(), Progress::More);
    while progress == Progress::More {
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        progress = handshake.hear(&wire, &mut out).unwrap().1;
        let mut unread = &out[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    handshake
}

#[test]
fn a_client_whose_certificate_has_expired_does_not_resume() {
    let (acceptor, client) = settings();
    let in_the_year_5138 = UnixTime::since_unix_epoch(Duration::from_secs(100_000_000_000));
    let first = done(&acceptor, &client);
    assert!(!first.is_resumed());
    let resumed = done(&acceptor, &client);
    assert!(resumed.is_resumed());
    assert!(resumed.verify_resumed(in_the_year_5138).is_err());
    assert_eq!(resumed.finish().unwrap().facts.certificates.len(), 1);
}
