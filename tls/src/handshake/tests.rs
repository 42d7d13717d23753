use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::settings::{Certificate, ClientAuth, ClientSettings, Pem, Roots, ServerSettings, Versions};
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

/// Both ends of a handshake that is over, the client's first, and what has come to the client since.
fn both_done(acceptor: &Acceptor, connector: &Connector) -> ([Handshake; 2], Vec<u8>) {
    let mut to_server = Vec::new();
    let mut client = Handshake::connect(connector, "localhost", &mut to_server).unwrap();
    let mut server = Handshake::accept(acceptor).unwrap();
    let mut to_client = Vec::new();
    loop {
        let (used, of_server) = server.hear(&to_server, &mut to_client).unwrap();
        to_server.drain(..used);
        let (used, of_client) = client.hear(&to_client, &mut to_server).unwrap();
        to_client.drain(..used);
        if (of_server, of_client) == (Progress::Done, Progress::Done) {
            return ([client, server], to_client);
        }
    }
}

/// A server, and a client that believes it.
fn believing(version: Version, tickets: Arc<TicketKeys>, key: &KeyPair) -> (Acceptor, Connector) {
    let chain = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(key).unwrap().pem();
    let certificate =
        Certificate { chain: Pem::new("chain", chain.clone()), key: Pem::new("key", key.serialize_pem()) };
    let settings = ServerSettings { certificates: vec![certificate], ..ServerSettings::default() };
    let roots = Roots::Authorities(Pem::new("chain", chain));
    let client = ClientSettings { versions: Versions::Only(version), ..ClientSettings::new(roots) };
    (Acceptor::new(&settings, tickets).unwrap(), Connector::new(&client).unwrap())
}

#[test]
fn who_connects_again_resumes_with_tls_12_and_what_is_said_then_is_understood() {
    let [tickets, others] = [(); 2].map(|()| Arc::new(TicketKeys::new().unwrap()));
    let key = KeyPair::generate().unwrap();
    for version in [Version::Tls12, Version::Tls13] {
        let (acceptor, connector) = believing(version, tickets.clone(), &key);
        let (other, _) = believing(version, others.clone(), &key);
        // The last one cannot read the ticket, and begins anew.
        for (acceptor, resumes) in [(&acceptor, false), (&acceptor, true), (&acceptor, true), (&other, false)] {
            let resumes = resumes && version == Version::Tls12;
            let (both, came) = both_done(acceptor, &connector);
            let both = both.map(|handshake| handshake.finish().unwrap());
            assert!(both.iter().all(|established| established.facts.resumed == resumes), "{version:?}");
            let [mut client, mut server] = both;
            assert_eq!(client.facts.certificates.len(), 1);
            let (client, server) = (&mut client.session, &mut server.session);
            for (is_clients, mut wire) in [(true, Vec::new()), (false, came)] {
                let (from, to) = if is_clients { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
                let mut plain = Vec::new();
                from.seal(b"a word", &mut wire).unwrap();
                to.open(&mut wire, &mut plain, &mut Vec::new()).unwrap();
                assert_eq!(plain, b"a word");
            }
        }
    }
}

#[test]
fn a_server_whose_certificate_has_expired_is_not_resumed_with_again() {
    let (acceptor, connector) =
        believing(Version::Tls12, Arc::new(TicketKeys::new().unwrap()), &KeyPair::generate().unwrap());
    let in_the_year_5138 = UnixTime::since_unix_epoch(Duration::from_secs(100_000_000_000));
    let ([first, _], _) = both_done(&acceptor, &connector);
    assert!(!first.is_resumed());
    let ([resumed, _], _) = both_done(&acceptor, &connector);
    assert!(resumed.is_resumed() && resumed.verify_resumed(UnixTime::now()).is_ok());
    assert!(resumed.verify_resumed(in_the_year_5138).is_err());
    let ([after, _], _) = both_done(&acceptor, &connector);
    assert!(!after.is_resumed(), "its session is forgotten");
}
