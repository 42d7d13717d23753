//! Random moves: a session that is saved and restored between any two steps, under data, KeyUpdates, fragments and
//! damage, and a predecessor that is copied, goes on, thaws or is followed. `TLS_MOVES=100000` says how many at least.

mod support;

use fastrand::Rng;
use reactord_tls::{End, Role, Session, Suite, Version};
use rustls::Connection;
use support::{Watch, heard, met, restored, sent, write};

/// Both sides of a connection, what is on its way, and all that was said.
struct Talk {
    session: Session,
    rustls: Connection,
    watch: Watch,
    to_session: Vec<u8>,
    to_rustls: Vec<u8>,
    said: [Vec<u8>; 2],
    got: [Vec<u8>; 2],
    moves: u64,
}

impl Talk {
    fn new(suite: Suite, role: Role) -> Self {
        let met = met(suite, role);
        let session = met.established.session;
        Self {
            watch: Watch::new(&session),
            session,
            rustls: met.rustls,
            to_session: met.rest,
            to_rustls: Vec::new(),
            said: Default::default(),
            got: Default::default(),
            moves: 0,
        }
    }

    /// Something of all that can happen.
    fn step(&mut self, rng: &mut Rng) {
        let tls13 = self.session.suite().version() == Version::Tls13;
        match rng.u8(..12) {
            0..=2 => self.rustls_says(rng),
            3..=5 => self.session_says(rng),
            6 if tls13 => self.rustls.refresh_traffic_keys().unwrap(),
            7 if tls13 => {
                let mut out = Vec::new();
                self.session.update(rng.bool(), &mut out).unwrap();
                self.seals(&out);
            }
            8 => self.session.idle(),
            9 => self.session.limit_content(rng.usize(1..20_000)),
            _ => {}
        }
        self.to_session.extend(sent(&mut self.rustls));
        self.session_hears(rng);
        self.rustls_hears(rng);
        self.moves(rng);
    }

    fn rustls_says(&mut self, rng: &mut Rng) {
        let data = data(rng);
        write(&mut self.rustls, &data);
        self.said[0].extend(data);
    }

    fn session_says(&mut self, rng: &mut Rng) {
        let data = data(rng);
        let mut out = Vec::new();
        self.session.seal(&data, &mut out).unwrap();
        self.seals(&out);
        self.said[1].extend(data);
    }

    fn seals(&mut self, out: &[u8]) {
        self.watch.look(out);
        self.to_rustls.extend_from_slice(out);
    }

    /// Some of what is on its way arrives; what is no whole record stays.
    fn session_hears(&mut self, rng: &mut Rng) {
        let arrived = rng.usize(..=self.to_session.len());
        let mut out = Vec::new();
        let taken = self.session.open(&mut self.to_session[..arrived], &mut self.got[0], &mut out).unwrap();
        self.to_session.drain(..taken);
        self.seals(&out);
    }

    fn rustls_hears(&mut self, rng: &mut Rng) {
        let arrived = rng.usize(..=self.to_rustls.len());
        let (plain, _) = heard(&mut self.rustls, &self.to_rustls[..arrived]).unwrap();
        self.to_rustls.drain(..arrived);
        self.got[1].extend(plain);
    }

    /// A takeover, or one that fails: the copy is thrown away, and the predecessor thaws.
    fn moves(&mut self, rng: &mut Rng) {
        if rng.bool() {
            return;
        }
        let copy = restored(&self.session);
        assert_eq!(copy.save().bytes(), self.session.save().bytes());
        if rng.u8(..4) > 0 {
            self.session = copy;
        }
        self.moves += 1;
    }

    /// Nothing that is damaged gets through: of a copy that is thrown away.
    fn damages(&mut self, rng: &mut Rng) {
        let (mut copy, mut wire) = (restored(&self.session), self.to_session.clone());
        if wire.is_empty() {
            return;
        }
        let at = rng.usize(..wire.len());
        wire[at] ^= 1 << rng.u8(..8);
        let (mut plain, mut before, mut out) = (Vec::new(), Vec::new(), Vec::new());
        restored(&self.session).open(&mut wire.clone()[..at], &mut before, &mut out).unwrap();
        // A longer record may be awaited; else it is refused. Either way only what came before it is heard.
        let opened = copy.open(&mut wire, &mut plain, &mut out);
        assert!(plain == before, "only what came before the damaged record gets through: {opened:?}");
    }

    fn end(mut self) -> u64 {
        self.rustls.send_close_notify();
        self.to_session.extend(sent(&mut self.rustls));
        let mut out = Vec::new();
        self.session.open(&mut self.to_session, &mut self.got[0], &mut out).unwrap();
        assert_eq!(self.session.end(), End::Orderly);
        self.session = restored(&self.session);
        self.session.close(&mut out);
        self.seals(&out);
        let (plain, closed) = heard(&mut self.rustls, &self.to_rustls).unwrap();
        self.got[1].extend(plain);
        assert!(closed && self.got == self.said);
        self.moves
    }
}

fn data(rng: &mut Rng) -> Vec<u8> {
    let bytes = if rng.u8(..10) == 0 { rng.usize(..40_000) } else { rng.usize(..300) };
    (0..bytes).map(|_| rng.u8(..)).collect()
}

#[test]
fn a_session_that_moves_at_any_moment_says_and_hears_the_same() {
    let wanted = std::env::var("TLS_MOVES").map_or(1_500, |moves| moves.parse().unwrap());
    let mut moves = 0;
    for seed in 0.. {
        let mut rng = Rng::with_seed(seed);
        let suite = Suite::ALL[seed as usize % Suite::ALL.len()];
        let role = if rng.bool() { Role::Server } else { Role::Client };
        let mut talk = Talk::new(suite, role);
        for _ in 0..100 {
            talk.step(&mut rng);
            talk.damages(&mut rng);
        }
        moves += talk.end();
        if moves >= wanted {
            break;
        }
    }
    println!("{moves} moves: all as said");
}
