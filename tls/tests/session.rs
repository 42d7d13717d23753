//! Sessions against rustls: both roles, both versions, every suite.

mod support;

use reactord_tls::{End, Failure, Role, Suite, Version};
use support::{Watch, heard, met, restored, sent, write};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn all() -> impl Iterator<Item = (Suite, Role)> {
    Suite::ALL.into_iter().flat_map(|suite| ROLES.map(|role| (suite, role)))
}

#[test]
fn data_goes_both_ways_with_every_suite() {
    for (suite, role) in all() {
        let mut met = met(suite, role);
        assert_eq!(met.established.facts.suite, suite);
        let mut session = met.established.session;
        let data: Vec<u8> = (0..40_000_u32).map(|at| (at / 7) as u8).collect();
        for bytes in [1, 100, 16_384, 16_385, 40_000] {
            let mut out = Vec::new();
            session.seal(&data[..bytes], &mut out).unwrap();
            assert_eq!(heard(&mut met.rustls, &out).unwrap().0, data[..bytes], "{suite:?} {role:?}");
            write(&mut met.rustls, &data[..bytes]);
            let mut wire = std::mem::take(&mut met.rest);
            wire.extend(sent(&mut met.rustls));
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            assert_eq!(session.open(&mut wire, &mut plain, &mut out), Ok(wire.len()));
            assert!(plain == data[..bytes] && out.is_empty(), "{suite:?} {role:?}");
            session = restored(&session);
            session.idle();
        }
    }
}

#[test]
fn both_sides_close_in_order() {
    for (suite, role) in all() {
        let mut met = met(suite, role);
        let mut session = met.established.session;
        let mut out = Vec::new();
        session.close(&mut out);
        assert!(heard(&mut met.rustls, &out).unwrap().1, "{suite:?} {role:?}");
        write(&mut met.rustls, b"after that");
        met.rustls.send_close_notify();
        let mut wire = [met.rest, sent(&mut met.rustls)].concat();
        let mut plain = Vec::new();
        assert_eq!(session.end(), End::Truncated);
        session.open(&mut wire, &mut plain, &mut out).unwrap();
        assert_eq!((plain, session.end()), (b"after that".to_vec(), End::Orderly));
    }
}

#[test]
fn both_sides_change_their_keys() {
    for (suite, role) in all().filter(|(suite, _)| suite.version() == Version::Tls13) {
        let mut met = met(suite, role);
        let mut session = met.established.session;
        let mut watch = Watch::new(&session);
        for round in 0..20 {
            met.rustls.refresh_traffic_keys().unwrap();
            write(&mut met.rustls, b"question");
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let mut wire = std::mem::take(&mut met.rest);
            wire.extend(sent(&mut met.rustls));
            session.open(&mut wire, &mut plain, &mut out).unwrap();
            session.seal(b"answer", &mut out).unwrap();
            session.update(round % 2 == 0, &mut out).unwrap();
            session = restored(&session);
            session.seal(b" and more", &mut out).unwrap();
            watch.look(&out);
            assert_eq!(plain, b"question");
            assert_eq!(heard(&mut met.rustls, &out).unwrap().0, b"answer and more");
        }
    }
}

#[test]
fn rustls_understands_why_a_session_ends() {
    for (suite, role) in all() {
        let mut met = met(suite, role);
        write(&mut met.rustls, b"data");
        let mut wire = [met.rest, sent(&mut met.rustls)].concat();
        *wire.last_mut().unwrap() ^= 1;
        let mut out = Vec::new();
        let opened = met.established.session.open(&mut wire, &mut Vec::new(), &mut out);
        assert!(matches!(opened, Err(Failure::Broken(_))), "{suite:?} {role:?}");
        let error = heard(&mut met.rustls, &out).unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}

/// 2^24 records take a while: `cargo test --release -p reactord-tls -- --ignored limit`.
#[test]
#[ignore = "it seals 2^24 records"]
fn rustls_goes_along_when_a_key_comes_to_its_limit() {
    let mut met = met(Suite::Tls13Aes128GcmSha256, Role::Server);
    let mut session = met.established.session;
    for _ in 0..(1 << 24) + 100 {
        let mut out = Vec::new();
        session.seal(b"x", &mut out).unwrap();
        assert_eq!(heard(&mut met.rustls, &out).unwrap().0, b"x");
    }
    assert!(session.sequences().0 < 200);
}
