//! Handshakes against rustls: both roles, both versions, every suite, moved where that is possible.

mod support;

use std::sync::Arc;

use reactord_tls::{
    Acceptor, Certificate, ClientAuth, ClientSettings, Connector, Handshake, HandshakeFailure, NotContinued, Pem,
    Progress, Roots, SavedHandshake, ServerSettings, Specimen, Suite, TicketKeys, Unmovable, Version, Versions,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection};
use support::{
    ACCEPTOR, AUTHORITY, Authority, Met, accepted, acceptor, client, client_auth, client_config, connected, connector,
    ecdsa, heard, meet, rsa, sent, server, server_settings, write,
};

const TLS13: Suite = Suite::Tls13Aes128GcmSha256;
const TLS12: Suite = Suite::EcdheEcdsaAes128GcmSha256;

fn accept(acceptor: &Acceptor, client: ClientConnection, piece_bytes: usize) -> Met {
    let handshake = Handshake::accept(acceptor).unwrap();
    meet(handshake, client.into(), vec![], piece_bytes, |same| same).unwrap()
}

/// Data goes both ways.
fn talk(mut met: Met) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    write(&mut met.rustls, b"question");
    let mut wire = [met.rest, sent(&mut met.rustls)].concat();
    met.established.session.open(&mut wire, &mut plain, &mut out).unwrap();
    met.established.session.seal(b"answer", &mut out).unwrap();
    assert_eq!(plain, b"question");
    assert_eq!(heard(&mut met.rustls, &out).unwrap().0, b"answer");
}

#[test]
fn a_handshake_ends_however_its_bytes_come() {
    for suite in Suite::ALL {
        for piece_bytes in [1, 7, 1_000, usize::MAX] {
            talk(accept(&ACCEPTOR, client(&client_config(suite)), piece_bytes));
            let mut hello = Vec::new();
            let handshake = Handshake::connect(&connector(), "localhost", &mut hello).unwrap();
            let met = meet(handshake, server(suite).into(), hello, piece_bytes, |same| same);
            talk(met.unwrap());
        }
    }
}

#[test]
fn a_handshake_says_what_was_agreed_on() {
    let alpn = vec![b"mqtt".to_vec(), b"h2".to_vec()];
    let acceptor = acceptor(&ServerSettings { alpn, ..server_settings() });
    for suite in [TLS13, TLS12] {
        let mut config = client_config(suite);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let facts = accepted(&acceptor, client(&config)).established.facts;
        assert_eq!((facts.suite, facts.version(), facts.resumed), (suite, suite.version(), false));
        assert_eq!((facts.alpn.as_deref(), facts.server_name.as_deref()), (Some(&b"h2"[..]), Some("localhost")));
        assert!(facts.certificates.is_empty());
        let facts = connected(&connector(), server(suite)).established.facts;
        assert_eq!((facts.suite, facts.server_name, facts.certificates.len()), (suite, None, 1));
    }
}

/// A successor takes it over before each record, as long as it can.
fn moved(acceptor: &Acceptor, moves: &mut u32) -> impl FnMut(Handshake) -> Handshake {
    move |handshake| match handshake.save() {
        Ok(saved) => {
            *moves += 1;
            Handshake::restore(acceptor, saved).unwrap()
        }
        Err(reason) => {
            assert_eq!(reason, Unmovable::KeyHeld);
            handshake
        }
    }
}

#[test]
fn a_handshake_moves_at_any_moment_if_it_can() {
    // The successor has the same certificates, and has read them anew.
    let settings = server_settings();
    let (predecessor, successor) = (acceptor(&settings), acceptor(&settings));
    for suite in Suite::ALL {
        for piece_bytes in [1, 50, usize::MAX] {
            let mut moves = 0;
            let handshake = Handshake::accept(&predecessor).unwrap();
            let client = client(&client_config(suite)).into();
            let met = meet(handshake, client, vec![], piece_bytes, moved(&successor, &mut moves));
            talk(met.unwrap());
            assert!(moves > 0 || (suite.version() == Version::Tls12 && piece_bytes == usize::MAX));
        }
    }
}

#[test]
fn a_handshake_that_was_moved_uses_no_private_key_again() {
    let mut client = Connection::from(client(&client_config(TLS13)));
    let mut handshake = Handshake::accept(&ACCEPTOR).unwrap();
    let mut flight = Vec::new();
    handshake.hear(&sent(&mut client), &mut flight).unwrap();
    let saved = handshake.save().unwrap();
    assert!(saved.bytes().len() < 900, "{} bytes", saved.bytes().len());
    // The signature of ECDSA is another one each time, so it can only have come from the tape.
    let mut moved = Handshake::restore(&ACCEPTOR, saved).unwrap();
    heard(&mut client, &flight).unwrap();
    let (_, progress) = moved.hear(&sent(&mut client), &mut Vec::new()).unwrap();
    assert_eq!(progress, Progress::Done);
}

#[test]
fn a_handshake_that_cannot_move_says_why() {
    let mut client = Connection::from(client(&client_config(TLS12)));
    let mut handshake = Handshake::accept(&ACCEPTOR).unwrap();
    assert_eq!(handshake.unmovable(), None);
    handshake.hear(&sent(&mut client), &mut Vec::new()).unwrap();
    assert_eq!(handshake.save().unwrap_err(), Unmovable::KeyHeld);
    let handshake = Handshake::connect(&connector(), "localhost", &mut Vec::new()).unwrap();
    assert_eq!(handshake.save().unwrap_err(), Unmovable::Client);
}

/// A handshake after the server's flight, as it was saved.
fn under_way(acceptor: &Acceptor) -> SavedHandshake {
    let mut client = Connection::from(client(&client_config(TLS13)));
    let mut handshake = Handshake::accept(acceptor).unwrap();
    handshake.hear(&sent(&mut client), &mut Vec::new()).unwrap();
    handshake.save().unwrap()
}

#[test]
fn a_handshake_is_not_continued_by_who_would_have_said_something_else() {
    let others = [
        server_settings(),
        ServerSettings { versions: Versions::Only(Version::Tls12), ..server_settings() },
        ServerSettings { client_auth: client_auth(true), ..server_settings() },
    ];
    for other in others {
        let continued = Handshake::restore(&acceptor(&other), under_way(&ACCEPTOR));
        assert!(matches!(continued, Err(NotContinued::Differs | NotContinued::Fails(_))), "{other:?}: {continued:?}");
    }
    assert!(Handshake::restore(&ACCEPTOR, under_way(&ACCEPTOR)).is_ok());
}

#[test]
fn a_damaged_handshake_is_refused_and_nothing_panics() {
    let saved = under_way(&ACCEPTOR).bytes().to_vec();
    let mut refused = 0;
    for at in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[at] ^= 1 << (at % 8);
        refused += u32::from(Handshake::restore(&ACCEPTOR, SavedHandshake::read(&damaged)).is_err());
        assert!(Handshake::restore(&ACCEPTOR, SavedHandshake::read(&saved[..at])).is_err());
    }
    // Of the secret that was exchanged, a digest of what was said covers all; the time is looked at only where it
    // matters.
    assert!(refused + 9 >= saved.len() as u32, "{refused} of {}", saved.len());
}

#[test]
fn what_is_not_tls_is_refused_with_an_alert() {
    for wire in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 0xff, 0xff, 1], &[22, 9, 9, 0, 5, 1], &[0; 20]] {
        let mut out = Vec::new();
        let failure = Handshake::accept(&ACCEPTOR).unwrap().hear(wire, &mut out).unwrap_err();
        assert!(matches!(failure, HandshakeFailure::Tls(_)), "{failure:?}");
        assert_eq!((out[0], out.len()), (21, 7), "{wire:?}");
    }
}

/// A client with a certificate of this authority.
fn client_with_certificate(suite: Suite, authority: &Authority) -> ClientConnection {
    let (chain, key) = authority.sign(&["client"], ecdsa());
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ClientConfig::builder_with_provider(support::provider(suite)).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(AUTHORITY.roots());
    client(&builder.with_client_auth_cert(chain, key).unwrap())
}

#[test]
fn clients_are_asked_for_certificates() {
    for suite in [TLS13, TLS12] {
        for required in [false, true] {
            let acceptor = acceptor(&ServerSettings { client_auth: client_auth(required), ..server_settings() });
            let met = accepted(&acceptor, client_with_certificate(suite, &AUTHORITY));
            assert_eq!(met.established.facts.certificates.len(), 1);
            talk(met);
            let accept = |client: ClientConnection| {
                let handshake = Handshake::accept(&acceptor).unwrap();
                meet(handshake, client.into(), vec![], usize::MAX, |same| same)
            };
            assert!(accept(client_with_certificate(suite, &Authority::new())).is_err());
            assert_eq!(accept(client(&client_config(suite))).is_ok(), !required);
        }
    }
}

#[test]
fn a_handshake_with_a_client_certificate_moves() {
    let acceptor = acceptor(&ServerSettings { client_auth: client_auth(true), ..server_settings() });
    let mut moves = 0;
    let client = client_with_certificate(TLS13, &AUTHORITY).into();
    let handshake = Handshake::accept(&acceptor).unwrap();
    let met = meet(handshake, client, vec![], 1, moved(&acceptor, &mut moves));
    let met = met.unwrap();
    assert_eq!(met.established.facts.certificates.len(), 1);
    talk(met);
}

#[test]
fn a_client_believes_only_whom_it_should() {
    let connect = |roots: Roots, name: &str| {
        let connector = Connector::new(&ClientSettings::new(roots)).unwrap();
        let mut hello = Vec::new();
        let handshake = Handshake::connect(&connector, name, &mut hello).unwrap();
        meet(handshake, server(TLS13).into(), hello, usize::MAX, |same| same).map(|_| ())
    };
    let known = || Roots::Authorities(Pem::new("ca.pem", AUTHORITY.pem.as_str()));
    let unknown = || Roots::Authorities(Pem::new("ca.pem", Authority::new().pem));
    assert_eq!(connect(known(), "localhost"), Ok(()));
    assert!(matches!(connect(known(), "other.example"), Err(HandshakeFailure::Tls(_))));
    assert!(matches!(connect(unknown(), "localhost"), Err(HandshakeFailure::Tls(_))));
    assert_eq!(connect(Roots::Unverified, "other.example"), Ok(()));
}

#[test]
fn a_client_may_believe_whom_the_system_believes() {
    match Connector::new(&ClientSettings::new(Roots::System)) {
        Ok(connector) => {
            let mut hello = Vec::new();
            let handshake = Handshake::connect(&connector, "localhost", &mut hello).unwrap();
            assert!(meet(handshake, server(TLS13).into(), hello, usize::MAX, |same| same).is_err());
        }
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
}

/// The certificate that a client gets which asks for this name.
fn certificate_for(acceptor: &Acceptor, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut config = client_config(TLS13);
    // Whatever comes is taken, so that it can be looked at.
    config.dangerous().set_certificate_verifier(Arc::new(support::Believes));
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let met = accepted(acceptor, client);
    met.rustls.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let names = [&["a.example", "b.example"][..], &["*.wild.example"], &["a.example", "c.example"]];
    let signed = names.map(|names| AUTHORITY.sign(names, ecdsa()));
    let ders = signed.each_ref().map(|(chain, _)| CertificateDer::from_pem_slice(chain.as_bytes()).unwrap());
    let certificates =
        signed.map(|(chain, key)| Certificate { chain: Pem::new("chain.pem", chain), key: Pem::new("key.pem", key) });
    let acceptor = acceptor(&ServerSettings { certificates: certificates.into(), ..ServerSettings::default() });
    let asked = [
        ("a.example", 0),
        ("B.example", 0),
        ("x.wild.example", 1),
        ("c.example", 2),
        ("x.y.wild.example", 0),
        ("wild.example", 0),
        ("10.0.0.1", 0),
    ];
    for (name, number) in asked {
        assert_eq!(certificate_for(&acceptor, name), *ders[number], "{name}");
    }
}

#[test]
fn a_client_resumes_at_the_successor() {
    for suite in [TLS13, TLS12] {
        let settings = server_settings();
        let (keys, successors) = (Arc::new(TicketKeys::new().unwrap()), Arc::new(TicketKeys::new().unwrap()));
        let predecessor = Acceptor::new(&settings, keys.clone()).unwrap();
        let config = client_config(suite);
        let mut met = accepted(&predecessor, client(&config));
        assert!(!met.established.facts.resumed);
        write(&mut met.rustls, b"so that tickets are read");
        assert!(successors.adopt(&keys.save()));
        let successor = Acceptor::new(&settings, successors.clone()).unwrap();
        // It moves while it resumes, too.
        let mut moves = 0;
        let handshake = Handshake::accept(&successor).unwrap();
        let resumed = meet(handshake, client(&config).into(), vec![], 1, moved(&successor, &mut moves));
        let resumed = resumed.unwrap();
        assert!(resumed.established.facts.resumed && moves > 0, "{suite:?}");
        talk(resumed);
        // Where clients are asked for certificates, a ticket of when they were not is worth nothing.
        let stricter = ServerSettings { client_auth: client_auth(false), ..server_settings() };
        let stricter = Acceptor::new(&stricter, successors.clone()).unwrap();
        assert!(!accepted(&stricter, client(&config)).established.facts.resumed);
        // And one of when they were asked and needed none does not spare one where it is needed.
        let strictest = ServerSettings { client_auth: client_auth(true), ..server_settings() };
        let handshake = Handshake::accept(&Acceptor::new(&strictest, successors).unwrap()).unwrap();
        assert!(meet(handshake, client(&config).into(), vec![], usize::MAX, |same| same).is_err());
    }
}

fn refused(settings: &ServerSettings) -> String {
    Acceptor::new(settings, Arc::new(TicketKeys::new().unwrap())).unwrap_err().to_string()
}

#[test]
fn settings_that_cannot_be_right_are_refused_with_the_file() {
    let with = |chain: &str, key: &str| {
        let (chain, key) = (Pem::new("chain.pem", chain), Pem::new("key.pem", key));
        ServerSettings { certificates: vec![Certificate { chain, key }], ..ServerSettings::default() }
    };
    let ((chain, key), (_, other)) = (AUTHORITY.sign(&["a"], ecdsa()), AUTHORITY.sign(&["a"], rsa()));
    assert!(Acceptor::new(&with(&chain, &key), Arc::new(TicketKeys::new().unwrap())).is_ok());
    let mismatch = "the private key in key.pem is not that of the first certificate in chain.pem";
    assert_eq!(refused(&with(&chain, &other)), mismatch);
    assert_eq!(refused(&with(&key, &key)), "chain.pem has no certificate");
    assert_eq!(refused(&with(&chain, &chain)), "key.pem has no private key");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(refused(&with(&chain, encrypted)).starts_with("the private key in key.pem is encrypted"));
    assert!(refused(&with(&chain[..chain.len() - 30], &key)).starts_with("chain.pem is no PEM file"));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(&with(nonsense, &key)).starts_with("a certificate in chain.pem cannot be used"));
    assert_eq!(refused(&ServerSettings::default()), "a server needs a certificate");
    let settings = ServerSettings { alpn: vec![vec![]], ..server_settings() };
    assert!(refused(&settings).ends_with("has 0 bytes instead of 1 to 255"));
    let settings =
        ServerSettings { client_auth: ClientAuth::Required(Pem::new("clients.pem", "")), ..server_settings() };
    assert_eq!(refused(&settings), "clients.pem has no certificate");
    let missing = Pem::read(std::path::Path::new("/nowhere/key.pem")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/key.pem cannot be read: "));
}

#[test]
fn versions_that_are_not_spoken_are_refused() {
    for (version, suite) in [(Version::Tls13, TLS12), (Version::Tls12, TLS13)] {
        let acceptor = acceptor(&ServerSettings { versions: Versions::Only(version), ..server_settings() });
        let handshake = Handshake::accept(&acceptor).unwrap();
        let client = client(&client_config(suite)).into();
        assert!(meet(handshake, client, vec![], usize::MAX, |same| same).is_err());
    }
}

#[test]
fn nothing_that_is_shown_has_a_secret() {
    let mut client = Connection::from(client(&client_config(TLS13)));
    let mut handshake = Handshake::accept(&ACCEPTOR).unwrap();
    handshake.hear(&sent(&mut client), &mut Vec::new()).unwrap();
    let shown = format!("{handshake:?} {:?} {:?}", handshake.save().unwrap(), server_settings());
    assert!(shown.len() < 2_000 && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn who_goes_on_with_a_specimen_was_told_the_same() {
    let [first, second] = [(); 2].map(|()| AUTHORITY.sign(&["localhost"], ecdsa()));
    let copy = |(chain, key): &(String, String)| Certificate {
        chain: Pem::new("chain.pem", chain.as_str()),
        key: Pem::new("key.pem", key.as_str()),
    };
    let with = |certificates: Vec<Certificate>| ServerSettings { certificates, ..ServerSettings::default() };
    let ours = acceptor(&with(vec![copy(&first)]));
    let saved = Specimen::of(&ours).unwrap().save();
    let goes_on = |settings: &ServerSettings| Specimen::read(&saved).unwrap().goes_on_with(&acceptor(settings));
    assert!(goes_on(&with(vec![copy(&first)])));
    assert!(!goes_on(&with(vec![copy(&second)])));
    assert!(!goes_on(&with(vec![copy(&first), copy(&second)])), "it may be shown to others");
    assert!(!goes_on(&ServerSettings { alpn: vec![b"h2".to_vec()], ..with(vec![copy(&first)]) }));
    assert!(!goes_on(&ServerSettings { client_auth: client_auth(true), ..with(vec![copy(&first)]) }));
    let only = |version| ServerSettings { versions: Versions::Only(version), ..with(vec![copy(&first)]) };
    assert!(!goes_on(&only(Version::Tls13)));
    assert!(Specimen::of(&acceptor(&only(Version::Tls12))).is_none(), "none of them moves when it was answered");
    for damaged in [&saved[..31], &saved[..40], &[0; 500]] {
        assert!(!Specimen::read(damaged).is_some_and(|specimen| specimen.goes_on_with(&ours)));
    }
}
