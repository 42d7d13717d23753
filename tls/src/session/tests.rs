//! Two sessions that face each other, and one that faces whoever seals what no session would.

use proptest::prelude::*;

use super::state::WARNINGS_MAX;
use super::*;
use crate::secret::Secret;

/// The secrets of the server and the client, for tests.
fn secrets(suite: Suite) -> [Secret; 2] {
    [7, 9].map(|byte| Secret::new(suite, &vec![byte; suite.secret_bytes()]).unwrap())
}

/// A session of each side.
fn pair(suite: Suite) -> (Session, Session) {
    let session = |role, tx, rx| Session::new(suite, role, Direction::new(tx, 0), Direction::new(rx, 0));
    let ([server, client], [server_too, client_too]) = (secrets(suite), secrets(suite));
    (session(Role::Server, server, client), session(Role::Client, client_too, server_too))
}

/// A session, and the direction that seals for it, with which anything can be sealed.
fn victim(suite: Suite, role: Role) -> (Session, Direction) {
    let (server, client) = pair(suite);
    match role {
        Role::Server => (server, client.tx),
        Role::Client => (client, server.tx),
    }
}

/// What a session makes of bytes that come at once: data, answers, and what comes of it.
pub(super) fn open(session: &mut Session, wire: &[u8]) -> (Vec<u8>, Vec<u8>, Result<usize, Failure>) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let result = session.open(&mut wire.to_vec(), &mut plain, &mut out);
    (plain, out, result)
}

pub(super) fn sealed(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal(plain, &mut out).unwrap();
    out
}

/// One record of the other side, of any kind.
fn record(suite: Suite, other: &mut Direction, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    other.seal(suite, kind, content, &mut out);
    out
}

/// The secret with which a session seals, if it has not changed it; a session that has failed has forgotten it.
fn secret_of(session: &Session) -> Secret {
    let [server, client] = secrets(session.state.suite);
    if session.state.role == Role::Server { server } else { client }
}

/// What a session says at the end, as the other side reads it.
fn alert_in(suite: Suite, session: &Session, out: &[u8]) -> Vec<u8> {
    let mut reader = Direction::new(secret_of(session), session.tx.sequence() - 1);
    let (kind, content) =
        reader.open(suite, &mut out.to_vec()).map(|(kind, content)| (kind, content.to_vec())).unwrap();
    assert_eq!(kind, kind::ALERT);
    content
}

fn restored(session: &Session) -> Session {
    Session::restore(session.save()).unwrap()
}

#[test]
fn data_arrives_whole_however_its_bytes_come() {
    for suite in Suite::ALL {
        for piece_bytes in [1, 3, 5, 20, 16_000, 20_000] {
            let (mut server, mut client) = pair(suite);
            server.limit_content(if piece_bytes < 20 { 100 } else { 1 << 14 });
            let data: Vec<u8> = (0..40_000_u32 / if piece_bytes < 20 { 40 } else { 1 }).map(|at| at as u8).collect();
            let wire = sealed(&mut server, &data);
            let (mut left, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for piece in wire.chunks(piece_bytes) {
                left.extend_from_slice(piece);
                let taken = client.open(&mut left, &mut plain, &mut out).unwrap();
                left.drain(..taken);
                client = restored(&client);
            }
            assert!(left.is_empty() && out.is_empty() && plain == data, "{suite:?} in pieces of {piece_bytes}");
        }
    }
}

#[test]
fn no_damaged_byte_gets_through() {
    for suite in Suite::ALL {
        let (mut server, client) = pair(suite);
        let wire = sealed(&mut server, b"twenty bytes of data");
        for (at, bit) in (0..wire.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = wire.clone();
            damaged[at] ^= 1 << bit;
            let mut client = restored(&client);
            let (plain, out, result) = open(&mut client, &damaged);
            assert!(plain.is_empty(), "{suite:?}: bit {bit} of byte {at}");
            match result {
                // A record that announces more than there is.
                Ok(taken) => assert!(taken == 0 && out.is_empty() && (at == 3 || at == 4)),
                Err(Failure::Broken(violation)) => {
                    assert_eq!(alert_in(suite, &client, &out), [2, violation.alert().0]);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn records_that_are_repeated_reordered_missing_or_cut_are_undecipherable() {
    for suite in Suite::ALL {
        let (mut server, client) = pair(suite);
        let [one, two] = [b"one", b"two"].map(|data| sealed(&mut server, data));
        let mut cut = one[..one.len() - 1].to_vec();
        cut[4] -= 1;
        for wire in [[&one[..], &one].concat(), [&two[..], &one].concat(), cut, [&one[..5], &[0; 40]].concat()] {
            let mut client = restored(&client);
            let (plain, _, result) = open(&mut client, &wire);
            assert!(plain.is_empty() || plain == b"one");
            assert_eq!(result, Err(Failure::Broken(Violation::Undecipherable)));
            // Nothing more is opened or sealed.
            assert_eq!(open(&mut client, &two), (vec![], vec![], Err(Failure::Ended)));
            assert_eq!(client.seal(b"data", &mut Vec::new()), Err(Failure::Ended));
            assert_eq!(client.end(), End::Truncated);
            assert!(client.save().bytes()[26..74].iter().chain(&client.save().bytes()[82..]).all(|&byte| byte == 0));
        }
    }
}

/// Records of the other side, and what is wrong with the last of them.
type Wrong = (Role, &'static [(u8, &'static [u8])], Violation);

const WRONG_IN_13: &[Wrong] = &[
    (Role::Server, &[(20, &[1])], Violation::RecordType(20)),
    (Role::Client, &[(24, &[1])], Violation::RecordType(24)),
    (Role::Client, &[(0, &[])], Violation::NoContentType),
    (Role::Client, &[(0, &[0; 90])], Violation::NoContentType),
    (Role::Server, &[(21, &[])], Violation::EmptyRecord(21)),
    (Role::Server, &[(22, &[])], Violation::EmptyRecord(22)),
    (Role::Server, &[(21, &[1])], Violation::AlertLength(1)),
    (Role::Server, &[(21, &[1, 0, 1])], Violation::AlertLength(3)),
    (Role::Server, &[(22, &[4])], Violation::Message(4)),
    (Role::Server, &[(22, &[1, 0, 0, 9])], Violation::Message(1)),
    (Role::Client, &[(22, &[13, 0, 0, 9])], Violation::Message(13)),
    (Role::Client, &[(22, &[0, 0, 0, 0])], Violation::Message(0)),
    (Role::Client, &[(22, &[4, 0, 0, 2, 0, 0])], Violation::MessageLength { message: 4, bytes: 2 }),
    (Role::Server, &[(22, &[24, 0, 0, 0])], Violation::MessageLength { message: 24, bytes: 0 }),
    (Role::Server, &[(22, &[24, 0, 0, 1, 7])], Violation::KeyUpdateRequest(7)),
    (Role::Server, &[(22, &[24, 0, 0, 1, 0, 0])], Violation::AfterKeyUpdate),
    (Role::Server, &[(22, &[24, 0]), (23, &[1])], Violation::Interleaved),
    (Role::Client, &[(22, &[24, 0, 0, 1]), (21, &[1, 0])], Violation::Interleaved),
    (Role::Client, &[(22, &[4, 0, 1, 0, 0]), (23, &[])], Violation::Interleaved),
];

const WRONG_IN_12: &[Wrong] = &[
    (Role::Server, &[(20, &[1])], Violation::RecordType(20)),
    (Role::Client, &[(24, &[1])], Violation::RecordType(24)),
    (Role::Server, &[(21, &[])], Violation::EmptyRecord(21)),
    (Role::Server, &[(22, &[])], Violation::EmptyRecord(22)),
    (Role::Server, &[(21, &[2])], Violation::AlertLength(1)),
    (Role::Server, &[(21, &[3, 0])], Violation::AlertLevel(3)),
    (Role::Server, &[(22, &[24, 0, 0, 1, 0])], Violation::Message(24)),
    (Role::Server, &[(22, &[0, 0, 0, 0])], Violation::Message(0)),
    (Role::Client, &[(22, &[1, 0, 0, 0])], Violation::Message(1)),
    (Role::Client, &[(22, &[0, 0, 0, 1])], Violation::MessageLength { message: 0, bytes: 1 }),
    (Role::Server, &[(22, &[1, 0, 0, 9]), (23, &[1])], Violation::Interleaved),
    (Role::Server, &[(22, &[1, 0, 0, 0]), (22, &[1, 0, 0, 0])], Violation::Renegotiations),
    (Role::Client, &[(22, &[0, 0, 0, 0, 0, 0, 0, 0])], Violation::Renegotiations),
];

#[test]
fn what_may_not_come_is_answered_with_the_right_alert() {
    for suite in Suite::ALL {
        let wrong = if suite.version() == Version::Tls13 { WRONG_IN_13 } else { WRONG_IN_12 };
        for (role, records, violation) in wrong {
            let (mut session, mut other) = victim(suite, *role);
            let (last, before) = records.split_last().unwrap();
            for (kind, content) in before {
                let wire = record(suite, &mut other, *kind, content);
                assert_eq!(open(&mut session, &wire).2, Ok(wire.len()), "{suite:?} before {violation:?}");
                session = restored(&session);
            }
            let (plain, out, result) = open(&mut session, &record(suite, &mut other, last.0, last.1));
            assert_eq!((plain, result), (vec![], Err(Failure::Broken(*violation))), "{suite:?}");
            // It may have to move until its client has heard that.
            assert_eq!(restored(&session).end(), End::Truncated, "{suite:?} after {violation:?}");
            // Of what was said before, the last record is the alert.
            let last =
                out.len() - record(suite, &mut Direction::new(secret_of(&session), 0), kind::ALERT, &[0; 2]).len();
            assert_eq!(alert_in(suite, &session, &out[last..]), [2, violation.alert().0], "{suite:?} {violation:?}");
        }
    }
}

#[test]
fn a_record_may_have_as_much_content_as_the_rfcs_say_and_no_more() {
    for suite in Suite::ALL {
        let (mut session, mut other) = victim(suite, Role::Client);
        let longest = vec![5; CONTENT_BYTES_MAX];
        assert_eq!(open(&mut session, &record(suite, &mut other, kind::DATA, &longest)).0, longest);
        let (plain, _, result) =
            open(&mut session, &record(suite, &mut other, kind::DATA, &[5; CONTENT_BYTES_MAX + 1]));
        assert!(plain.is_empty());
        let Err(Failure::Broken(violation)) = result else { panic!("{result:?}") };
        assert_eq!(violation.alert(), Alert::RECORD_OVERFLOW);
    }
}

#[test]
fn padding_is_taken_off() {
    let suite = Suite::Tls13Chacha20Poly1305Sha256;
    let (mut session, mut other) = victim(suite, Role::Server);
    let wire = record(suite, &mut other, 0, &[b"data", &[kind::DATA][..], &[0; 500]].concat());
    assert_eq!(open(&mut session, &wire), (b"data".to_vec(), vec![], Ok(wire.len())));
}

#[test]
fn records_without_data_are_borne_until_there_are_too_many() {
    for suite in Suite::ALL {
        let (mut session, mut other) = victim(suite, Role::Server);
        for _ in 0..3 {
            for _ in 0..PATIENCE {
                assert!(open(&mut session, &record(suite, &mut other, kind::DATA, &[])).2.is_ok());
                session = restored(&session);
            }
            assert!(open(&mut session, &record(suite, &mut other, kind::DATA, b"data")).2.is_ok());
        }
        let wire: Vec<u8> = (0..=PATIENCE).flat_map(|_| record(suite, &mut other, kind::DATA, &[])).collect();
        assert_eq!(open(&mut session, &wire).2, Err(Failure::Broken(Violation::WithoutData(PATIENCE))));
    }
}

#[test]
fn warnings_are_borne_until_there_are_too_many() {
    for (suite, warning) in [(Suite::EcdheRsaAes128GcmSha256, [1, 112]), (Suite::Tls13Aes256GcmSha384, [1, 90])] {
        let (mut session, mut other) = victim(suite, Role::Server);
        for _ in 0..WARNINGS_MAX {
            assert!(open(&mut session, &record(suite, &mut other, kind::ALERT, &warning)).2.is_ok());
            assert!(open(&mut session, &record(suite, &mut other, kind::DATA, b"data")).2.is_ok());
            session = restored(&session);
        }
        let (_, _, result) = open(&mut session, &record(suite, &mut other, kind::ALERT, &warning));
        assert_eq!(result, Err(Failure::Broken(Violation::Warnings)));
    }
}

#[test]
fn an_alert_of_the_other_side_ends_it_and_is_not_answered() {
    let cases = [
        (Suite::Tls13Aes128GcmSha256, [1, 40]),
        (Suite::Tls13Aes128GcmSha256, [2, 40]),
        (Suite::Tls13Aes128GcmSha256, [9, 200]),
        (Suite::EcdheEcdsaChacha20Poly1305Sha256, [2, 40]),
    ];
    for (suite, alert) in cases {
        let (mut session, mut other) = victim(suite, Role::Client);
        let wire = record(suite, &mut other, kind::ALERT, &alert);
        assert_eq!(open(&mut session, &wire), (vec![], vec![], Err(Failure::Alerted(Alert(alert[1])))));
        assert_eq!(session.seal(b"data", &mut Vec::new()), Err(Failure::Ended));
        let mut out = Vec::new();
        session.close(&mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a_close_notify_ends_one_direction() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let mut wire = sealed(&mut client, b"last");
        client.close(&mut wire);
        client.close(&mut wire);
        let bytes = wire.len();
        wire.extend_from_slice(b"what follows is ignored, whatever it is");
        let (plain, out, result) = open(&mut server, &wire);
        assert_eq!((plain, out, result), (b"last".to_vec(), vec![], Ok(wire.len())));
        assert!(bytes < wire.len() && server.end() == End::Orderly && server.is_open() && !client.is_open());
        server = restored(&server);
        assert_eq!(open(&mut server, b"this, too").2, Ok(9));
        let answer = sealed(&mut server, b"answer");
        assert_eq!(open(&mut client, &answer).0, b"answer");
        assert_eq!(client.seal(b"data", &mut Vec::new()), Err(Failure::Ended));
        assert_eq!(client.update(true, &mut Vec::new()), Err(Failure::Ended));
    }
}

#[test]
fn one_key_update_answers_all_that_ask_for_one_before_the_next_data() {
    let suite = Suite::Tls13Aes256GcmSha384;
    let (mut server, mut client) = pair(suite);
    // However often it is asked: whoever does not read is to leave nothing behind.
    for _ in 0..100 {
        let mut wire = Vec::new();
        client.update(true, &mut wire).unwrap();
        wire.extend(sealed(&mut client, b"data"));
        assert_eq!(open(&mut server, &wire), (b"data".to_vec(), vec![], Ok(wire.len())));
        server = restored(&server);
    }
    assert_eq!(server.sequences(), (0, 1));
    let out = sealed(&mut server, b"answer");
    assert_eq!(out.len(), 2 * HEADER_AND_TAG + 6 + 1 + 6);
    assert_eq!(open(&mut client, &out), (b"answer".to_vec(), vec![], Ok(out.len())));
    // It has been answered.
    assert_eq!(sealed(&mut server, b"answer").len(), HEADER_AND_TAG + 1 + 6);
}

/// A record of TLS 1.3 without its content and its type.
const HEADER_AND_TAG: usize = 5 + 16;

#[test]
fn a_side_that_has_closed_does_not_answer_a_key_update() {
    let (mut server, mut client) = pair(Suite::Tls13Aes128GcmSha256);
    server.close(&mut Vec::new());
    let mut wire = Vec::new();
    client.update(true, &mut wire).unwrap();
    wire.extend(sealed(&mut client, b"data"));
    assert_eq!(open(&mut server, &wire), (b"data".to_vec(), vec![], Ok(wire.len())));
}

/// A pair whose server has sealed almost as many records as it may.
fn worn(suite: Suite, left: u64) -> (Session, Session) {
    let (server, client) = pair(suite);
    let sequence = suite.records_max() - RESERVED - left;
    let at =
        |direction: &Direction| Direction::new(Secret::restore(suite, direction.secret().bytes()).unwrap(), sequence);
    let (tx, rx) = (at(&server.tx), at(&client.rx));
    (Session { tx, ..server }, Session { rx, ..client })
}

#[test]
fn a_key_of_tls_1_3_is_changed_before_it_has_sealed_too_much() {
    for suite in [Suite::Tls13Aes128GcmSha256, Suite::Tls13Aes256GcmSha384, Suite::Tls13Chacha20Poly1305Sha256] {
        let (mut server, mut client) = worn(suite, 2);
        for _ in 0..5 {
            let wire = sealed(restored_in_place(&mut server), b"data");
            assert_eq!(open(&mut client, &wire).0, b"data");
        }
        assert_eq!(server.sequences().0, 3);
    }
}

/// A session that was saved and restored, in the place of what it was.
fn restored_in_place(session: &mut Session) -> &mut Session {
    *session = restored(session);
    session
}

#[test]
fn a_connection_of_tls_1_2_ends_before_its_key_has_sealed_too_much() {
    for suite in [Suite::EcdheRsaAes128GcmSha256, Suite::EcdheEcdsaAes256GcmSha384] {
        let (mut server, mut client) = worn(suite, 2);
        let mut wire = Vec::new();
        server.limit_content(4);
        assert_eq!(server.seal(b"one two three", &mut wire), Err(Failure::Exhausted));
        let (plain, _, result) = open(&mut client, &wire);
        assert_eq!((plain, result), (b"one two ".to_vec(), Ok(wire.len())));
        assert_eq!((client.end(), server.seal(b"four", &mut wire)), (End::Orderly, Err(Failure::Ended)));
    }
}

#[test]
fn explicit_nonces_are_never_repeated() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.explicit_nonce_bytes() > 0) {
        let (mut server, _) = pair(suite);
        let mut nonces: Vec<Vec<u8>> =
            (0..1_000).map(|_| sealed(restored_in_place(&mut server), b"data")[5..13].to_vec()).collect();
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 1_000);
    }
}

#[test]
fn a_new_handshake_is_refused_with_a_warning() {
    let suite = Suite::EcdheEcdsaAes128GcmSha256;
    let (mut session, mut other) = victim(suite, Role::Server);
    let hello = [&[1, 0, 0, 200][..], &[9; 200]].concat();
    let wire: Vec<u8> = hello.chunks(50).flat_map(|piece| record(suite, &mut other, kind::HANDSHAKE, piece)).collect();
    let (_, out, result) = open(&mut session, &wire);
    assert_eq!((alert_in(suite, &session, &out), result), (vec![1, 100], Ok(wire.len())));
    assert_eq!(open(&mut session, &record(suite, &mut other, kind::DATA, b"data")).0, b"data");
}

#[test]
fn tickets_are_passed_over() {
    let suite = Suite::Tls13Aes128GcmSha256;
    let (mut session, mut other) = victim(suite, Role::Client);
    let ticket = [&[4, 0, 0, 200][..], &[9; 200]].concat();
    let both = [&ticket[..], &ticket[..1]].concat();
    for content in [&both, &ticket[1..], &ticket] {
        let wire = record(suite, &mut other, kind::HANDSHAKE, content);
        assert_eq!(open(&mut session, &wire), (vec![], vec![], Ok(wire.len())));
        session = restored(&session);
    }
    assert_eq!(open(&mut session, &record(suite, &mut other, kind::DATA, b"data")).0, b"data");
}

#[test]
fn keys_that_were_given_back_are_made_again() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        for _ in 0..3 {
            let wire = sealed(&mut server, b"data");
            assert_eq!(open(&mut client, &wire).0, b"data");
            server.idle();
            client.idle();
        }
    }
}

#[test]
fn nothing_that_is_shown_has_a_secret() {
    for suite in Suite::ALL {
        let (mut server, _) = pair(suite);
        sealed(&mut server, b"data");
        let shown = format!("{server:?} {:?} {:?}", server.save(), server.tx.secret());
        assert!(!shown.contains('7') || !shown.contains("7, 7"), "{shown}");
    }
}

#[test]
fn a_saved_session_is_small_and_so_is_a_session() {
    assert_eq!(SavedSession::BYTES, 130);
    assert!(size_of::<Session>() <= 152, "{} bytes", size_of::<Session>());
}

#[test]
fn what_no_session_can_be_like_is_not_restored() {
    let (server, _) = pair(Suite::Tls13Aes128GcmSha256);
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = *server.save().bytes();
        changes.iter().for_each(|&(at, value)| bytes[at] = value);
        Session::restore(SavedSession::read(&bytes).unwrap()).map(|_| ())
    };
    assert_eq!(with(&[]), Ok(()));
    assert_eq!(with(&[(0, 2)]), Err(NotRestored::Layout { layout: 2, known: 1 }));
    assert_eq!(with(&[(1, 0)]), Err(NotRestored::Suite(1)));
    // A suite of TLS 1.2, whose secret is longer.
    assert_eq!(with(&[(1, 0xc0), (2, 0x2b)]), Err(NotRestored::Impossible("secret")));
    // Failed, but still open; two states at once; a KeyUpdate that is due where nothing more is sent; a bit that means nothing.
    for state in [8, 14, 18, 32] {
        assert_eq!(with(&[(3, state)]), Err(NotRestored::Impossible("state")));
    }
    assert_eq!(with(&[(4, 0), (5, 0)]), Err(NotRestored::Impossible("length of a record")));
    for counter in [6, 7, 8] {
        assert_eq!(with(&[(counter, 33)]), Err(NotRestored::Impossible("counters")));
    }
    assert_eq!(with(&[(9, 4), (13, 1)]), Err(NotRestored::Impossible("handshake message")));
    // A number at which the key must not seal any more.
    assert_eq!(with(&[(22, 1)]), Err(NotRestored::Impossible("number of the next record")));
    assert_eq!(with(&[(18 + 8 + 32, 1)]), Err(NotRestored::Impossible("secret")));
    let short = SavedSession::read(&[1; 129]).map(|_| ());
    assert_eq!(short, Err(NotRestored::Length { bytes: 129, expected: 130 }));
}

proptest! {
    #[test]
    fn a_session_is_restored_only_if_it_would_be_saved_so(
        suite in 0..Suite::ALL.len(), role in any::<bool>(), changes in prop::collection::vec((0..130_usize, any::<u8>()), 0..4),
    ) {
        let (server, client) = pair(Suite::ALL[suite]);
        let mut bytes = *if role { &server } else { &client }.save().bytes();
        changes.iter().for_each(|&(at, value)| bytes[at] = value);
        if let Ok(mut session) = Session::restore(SavedSession::read(&bytes).unwrap()) {
            prop_assert_eq!(*session.save().bytes(), bytes);
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let mut wire = [[23, 3, 3, 0, 17].as_slice(), &[0; 17]].concat();
            let opened = session.open(&mut wire, &mut plain, &mut out);
            let sealed = session.seal(b"data", &mut out);
            prop_assert!(opened.is_ok() || sealed == Err(Failure::Ended));
            session.close(&mut out);
        }
    }
}
