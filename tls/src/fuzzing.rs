//! Properties that hold for any bytes, for tests and the fuzzer; in no release.

use std::sync::{Arc, LazyLock};

use crate::direction::Direction;
use crate::facts::Facts;
use crate::handshake::{Handshake, NotContinued, Progress, SavedHandshake};
use crate::messages::Role;
use crate::record::kind;
use crate::secret::Secret;
use crate::session::{End, Failure, SavedSession, Session};
use crate::settings::{Acceptor, Certificate, Pem, ServerSettings};
use crate::suite::{Suite, Version};
use crate::tickets::TicketKeys;

/// A server with a certificate that is for this alone.
static ACCEPTOR: LazyLock<Acceptor> = LazyLock::new(|| {
    let chain = Pem::new("chain.pem", include_str!("fuzzing/chain.pem"));
    let key = Pem::new("key.pem", include_str!("fuzzing/key.pem"));
    let settings = ServerSettings { certificates: vec![Certificate { chain, key }], ..ServerSettings::default() };
    let tickets = TicketKeys::new().expect("there are random numbers");
    Acceptor::new(&settings, Arc::new(tickets)).expect("the settings are good")
});

/// How the bytes of one side of a connection come to be, and who hears them.
struct Script {
    suite: Suite,
    role: Role,
    wire: Vec<u8>,
}

impl Script {
    /// The first byte says which suite and which role; then come steps. Each has a kind and a length: content of a
    /// record of that kind, which is sealed so that it can be opened, or, for kind 255, bytes that are sent as they
    /// are.
    fn read(input: &[u8]) -> Option<Self> {
        let (&first, mut steps) = input.split_first()?;
        let suite = Suite::ALL[usize::from(first >> 1) % Suite::ALL.len()];
        let mut script = Self { suite, role: if first & 1 == 0 { Role::Server } else { Role::Client }, wire: vec![] };
        let mut other = Direction::new(secret(suite, 9)?, 0);
        while let [kind, length, rest @ ..] = steps {
            let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
            script.say(&mut other, *kind, content);
            steps = rest;
        }
        Some(script)
    }

    fn say(&mut self, other: &mut Direction, kind: u8, content: &[u8]) {
        if kind == u8::MAX {
            self.wire.extend_from_slice(content);
            return;
        }
        other.seal(self.suite, kind, content, &mut self.wire);
        let updates = kind == kind::HANDSHAKE && content.ends_with(&[24, 0, 0, 1, 0]);
        if updates && self.suite.version() == Version::Tls13 {
            other.update(self.suite);
        }
    }

    fn session(&self) -> Option<Session> {
        let direction = |byte| Some(Direction::new(secret(self.suite, byte)?, 0));
        Some(Session::new(self.suite, self.role, direction(7)?, direction(9)?))
    }

    /// What is heard when the bytes come in pieces of so many, and the session moves after each.
    fn heard(&self, piece_bytes: usize) -> Option<(Vec<u8>, Option<Failure>, End)> {
        let (mut session, mut left, mut plain) = (self.session()?, Vec::new(), Vec::new());
        for piece in self.wire.chunks(piece_bytes) {
            left.extend_from_slice(piece);
            match session.open(&mut left, &mut plain, &mut Vec::new()) {
                Ok(taken) => drop(left.drain(..taken)),
                Err(failure) => {
                    Session::restore(session.save()).expect("one that has failed is restored, too");
                    return Some((plain, Some(failure), session.end()));
                }
            }
            session = Session::restore(session.save()).expect("what was saved is restored");
        }
        Some((plain, None, session.end()))
    }
}

fn secret(suite: Suite, byte: u8) -> Option<Secret> {
    Secret::new(suite, &[byte; 48][..suite.secret_bytes()])
}

/// A session hears the same however the bytes come, and whether it moves meanwhile.
///
/// # Panics
/// If that does not hold.
pub fn receive(input: &[u8]) {
    let Some(script) = Script::read(input) else {
        return;
    };
    let whole = script.heard(usize::MAX);
    for piece_bytes in [1, 7] {
        assert_eq!(script.heard(piece_bytes), whole, "in pieces of {piece_bytes}");
    }
}

/// Bytes that are restored would be saved so, and what is restored never panics.
///
/// # Panics
/// If that does not hold.
pub fn restore(input: &[u8]) {
    if let Some(facts) = Facts::restore(input) {
        assert_eq!(facts.save(), input);
    }
    let (saved, rest) = input.split_at(input.len().min(SavedSession::BYTES));
    let Ok(mut session) = SavedSession::read(saved).and_then(Session::restore) else {
        return;
    };
    assert_eq!(session.save().bytes(), saved);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let opened = session.open(&mut rest.to_vec(), &mut plain, &mut out);
    let sealed = session.seal(&[1; 20_000], &mut out);
    assert!(opened.is_ok() || sealed.is_err(), "what has failed seals nothing");
    session.close(&mut out);
    assert!(!session.is_open());
}

/// A server makes the same of what a client says in its handshake however it comes, and whether the handshake moves meanwhile.
/// The first byte says in pieces of how many bytes it comes.
///
/// # Panics
/// If that does not hold.
pub fn handshake(input: &[u8]) {
    let Some((&piece_bytes, wire)) = input.split_first() else {
        return;
    };
    let whole = met(wire, usize::MAX, false);
    for moves in [false, true] {
        assert_eq!(met(wire, usize::from(piece_bytes).max(1), moves), whole, "moves: {moves}");
    }
}

/// How many bytes are done with, and what comes of them: a handshake that is over needs a client that answers.
fn met(wire: &[u8], piece_bytes: usize, moves: bool) -> (usize, Result<Progress, String>) {
    let mut handshake = Handshake::accept(&ACCEPTOR).expect("it can begin");
    let (mut left, mut out, mut done) = (Vec::new(), Vec::new(), 0);
    for piece in wire.chunks(piece_bytes) {
        left.extend_from_slice(piece);
        match handshake.hear(&left, &mut out) {
            Ok((taken, Progress::More)) => {
                done += taken;
                left.drain(..taken);
            }
            Ok((taken, Progress::Done)) => return (done + taken, Ok(Progress::Done)),
            // How many records were heard before it differs with the pieces.
            Err(failure) => return (0, Err(failure.to_string())),
        }
        if moves && let Ok(saved) = handshake.save() {
            handshake = Handshake::restore(&ACCEPTOR, saved).expect("what was saved is restored");
        }
    }
    (done, Ok(Progress::More))
}

/// No bytes of a handshake that is under way make a successor panic, and what it goes on with would be saved so.
///
/// # Panics
/// If that does not hold.
pub fn restore_handshake(input: &[u8]) {
    match Handshake::restore(&ACCEPTOR, SavedHandshake::read(input)) {
        Ok(handshake) => assert_eq!(handshake.save().expect("it was saved").bytes(), input),
        Err(NotContinued::Damaged | NotContinued::Differs | NotContinued::Layout { .. } | NotContinued::Fails(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// The inputs with which the fuzzer begins, of which the package that is published has none.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let Ok(entries) = fs::read_dir(&directory) else {
            eprintln!("skipped: {} is not there", directory.display());
            return Vec::new();
        };
        entries.map(|entry| fs::read(entry.expect("it can be listed").path()).expect("it can be read")).collect()
    }

    #[test]
    fn properties_hold_for_every_input_of_the_corpus() {
        corpus("tls_receive").iter().for_each(|input| receive(input));
        corpus("tls_restore").iter().for_each(|input| restore(input));
        corpus("tls_handshake").iter().for_each(|input| handshake(input));
        corpus("tls_restore_handshake").iter().for_each(|input| restore_handshake(input));
    }

    #[test]
    fn a_script_of_data_is_heard() {
        let script = Script::read(&[0, 23, 4, b'd', b'a', b't', b'a', 21, 2, 1, 0]).unwrap();
        assert_eq!(script.heard(3), Some((b"data".to_vec(), None, End::Orderly)));
    }

    /// A step that means something more often than any bytes would.
    fn step() -> impl Strategy<Value = Vec<u8>> {
        let content = prop_oneof![
            Just(vec![24, 0, 0, 1, 0]),
            Just(vec![24, 0, 0, 1, 1]),
            Just(vec![1, 0]),
            Just(vec![0, 0, 0, 0]),
            Just(vec![1, 0, 0, 2, 3, 3]),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        let kind = prop_oneof![20..=24_u8, Just(23), Just(u8::MAX)];
        (kind, content).prop_map(|(kind, content)| [&[kind, content.len() as u8][..], &content].concat())
    }

    /// An input of the corpus with some bytes changed, and perhaps without its end.
    fn altered(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let corpus = corpus(target);
        let changes = prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6);
        (any::<prop::sample::Index>(), changes, any::<prop::sample::Index>()).prop_map(move |(which, changes, cut)| {
            let mut input = if corpus.is_empty() { vec![1; 60] } else { which.get(&corpus).clone() };
            for (at, byte) in changes {
                let at = at.index(input.len());
                input[at] = byte;
            }
            input.truncate((cut.index(2 * input.len()) + 1).min(input.len()));
            input
        })
    }

    #[test]
    fn a_handshake_that_was_saved_is_restored_as_it_was() {
        for input in corpus("tls_handshake") {
            let mut handshake = Handshake::accept(&ACCEPTOR).unwrap();
            if handshake.hear(&input[1..], &mut Vec::new()).is_ok()
                && let Ok(saved) = handshake.save()
            {
                restore_handshake(saved.bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn a_handshake_is_the_same_however_it_comes(input in altered("tls_handshake")) {
            handshake(&input);
        }

        #[test]
        fn whatever_was_saved_of_a_handshake_panics_nobody(input in altered("tls_restore_handshake")) {
            restore_handshake(&input);
        }

        #[test]
        fn a_session_hears_the_same_however_it_comes(first in any::<u8>(), steps in prop::collection::vec(step(), 0..12)) {
            receive(&[&[first][..], &steps.concat()].concat());
        }

        #[test]
        fn whatever_is_restored_would_be_saved_so(input in prop::collection::vec(any::<u8>(), 0..200)) {
            restore(&input);
        }
    }
}
