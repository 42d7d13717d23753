//! Clients in all states of a handshake, at one process and at its successor, which have duplicates of their sockets.

use std::io::{Read, Write};
use std::net::TcpStream as Stream;

use mio::Poll;
use reactord_tls::{
    Certificate, ClientSettings, Connector, Handshake, Pem, Progress, Roots, ServerSettings, Version, Versions,
};

use super::*;
use crate::service::Accepted;
use crate::tls::{Preface, Tls};

const LISTENER: &str = "clients";

/// Nobody waits for so long unless a test fails.
const TOO_LONG: Duration = Duration::from_secs(20);

/// What a listener speaks TLS with that has a certificate of its own.
fn tls() -> Tls {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate = Certificate { chain: Pem::new("chain", chain), key: Pem::new("key", key) };
    Tls::new(&ServerSettings { certificates: vec![certificate], ..ServerSettings::default() }).unwrap()
}

/// A client that begins as any does.
struct Client {
    stream: Stream,
    handshake: Handshake,
    out: Vec<u8>,
}

impl Client {
    /// It has said its first words.
    fn speak(&mut self) {
        self.stream.write_all(&std::mem::take(&mut self.out)).unwrap();
    }

    /// A read that has a timeout is interrupted where others are not.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// It goes on, as far as it can without another answer.
    fn go_on(&mut self) -> Progress {
        let mut buffer = [0; 16 * 1024];
        let mut wire = Vec::new();
        loop {
            let bytes = self.read(&mut buffer).unwrap();
            assert!(bytes > 0, "the server goes on");
            wire.extend_from_slice(&buffer[..bytes]);
            let (used, progress) = self.handshake.hear(&wire, &mut self.out).unwrap();
            wire.drain(..used);
            if !self.out.is_empty() {
                self.speak();
                return progress;
            }
        }
    }

    /// Whether the server has ended the connection, in order or not.
    fn hears_the_end(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// One process, and those who wait there.
struct Process {
    vestibule: Vestibule,
    poll: Poll,
    doorways: Doorways,
    tls: Tls,
}

impl Process {
    fn with(tls: Tls) -> Self {
        let mut doorways = Doorways::default();
        doorways.pair(
            0,
            LISTENER.to_owned(),
            Some(Doorway { lane: 0, listener: LISTENER.to_owned(), tls: tls.clone() }),
        );
        Self { vestibule: Vestibule::new(), poll: Poll::new().unwrap(), doorways, tls }
    }

    /// Somebody has come in.
    fn receive(&mut self, now: Instant) -> Client {
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Stream::connect(at.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(TOO_LONG)).unwrap();
        let (socket, from) = at.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let (socket, address) = (TcpStream::from_std(socket), Address::from(from));
        let came = Came {
            socket,
            address,
            lane: 0,
            tls: Some(&self.tls),
            how: Accepted { listener: LISTENER, ..Accepted::anyhow() },
        };
        self.vestibule.receive(came, self.poll.registry(), now).unwrap();
        let versions = Versions::Only(Version::Tls13);
        let connector = Connector::new(&ClientSettings { versions, ..ClientSettings::new(Roots::Unverified) }).unwrap();
        let mut out = Vec::new();
        let handshake = Handshake::connect(&connector, "localhost", &mut out).unwrap();
        Client { stream, handshake, out }
    }

    /// Waits for what its clients have said, and gives all a turn at this instant.
    fn tend(&mut self, now: Instant) -> Vec<Met> {
        let mut events = mio::Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            let (_, key) = Tokens::find(event.token()).unwrap();
            self.vestibule.hear(key, event);
        }
        let mut share = Share::begin();
        std::iter::from_fn(|| self.vestibule.tend(&mut share, self.poll.registry(), now)).collect()
    }

    /// The same until something has become of somebody.
    fn tend_until(&mut self, now: Instant) -> Met {
        let begun = Instant::now();
        loop {
            if let Some(met) = self.tend(now).pop() {
                return met;
            }
            assert!(begun.elapsed() < TOO_LONG, "nothing becomes of anybody");
        }
    }

    /// The same until so many have been answered.
    fn tend_until_answered(&mut self, count: usize) {
        let begun = Instant::now();
        while self.vestibule.waiting.iter().filter(|(_, guest)| guest.who.is_answered()).count() < count {
            assert_eq!(self.tend(begun).len(), 0);
            assert!(begun.elapsed() < TOO_LONG, "nobody is answered");
        }
    }

    /// A successor may have those who move.
    fn watch(&mut self) {
        self.vestibule.watch();
        self.vestibule.send_along_answered(true);
    }

    /// What is told of somebody's handshake.
    fn saved(&self, key: usize) -> Vec<u8> {
        let mut saved = Vec::new();
        self.vestibule.save_session(key, &mut saved);
        saved
    }

    /// Goes on with whoever waits at another process and moves.
    fn adopt(&mut self, from: &Self) {
        self.adopt_by(from, |at_ns| at_ns);
    }

    /// The same, where that one has another clock.
    fn adopt_by(&mut self, from: &Self, its_clock: impl Fn(u64) -> u64) {
        for key in 0..from.vestibule.keys_end() {
            let Some(record) = from.vestibule.record(key) else { continue };
            let socket = from.vestibule.descriptors(&mut [key].into_iter())[0].try_clone_to_owned().unwrap();
            let saved = from.saved(key);
            let record = Record { session: &saved, deadline_ns: record.deadline_ns.map(&its_clock), ..record };
            let lane_here = |lane| Some(lane as usize);
            self.vestibule.adopt(socket.into(), &record, lane_here, &self.doorways, self.poll.registry()).unwrap();
        }
    }
}

#[test]
fn nothing_is_made_of_a_handshake_before_it_is_this_processes_and_it_moves_on_as_it_is() {
    let (now, tls) = (Instant::now(), [tls(), tls()]);
    let mut first = Process::with(tls[0].clone());
    let mut client = first.receive(now);
    client.speak();
    first.tend_until_answered(1);
    first.watch();
    // It would not have answered as the first one has, and so cannot go on.
    let mut second = Process::with(tls[1].clone());
    second.adopt(&first);
    second.vestibule.begin();
    second.watch();
    assert_eq!(second.vestibule.bound(), 0);
    // One that would have can, also if it has it from the one between.
    let mut third = Process::with(tls[0].clone());
    third.adopt(&second);
    assert_eq!(third.saved(0), first.saved(0));
    third.vestibule.begin();
    assert_eq!(client.go_on(), Progress::Done);
    let Met::Welcome(welcome) = third.tend_until(now) else { panic!("it is over") };
    assert_eq!((welcome.lane, &*welcome.listener), (0, LISTENER));
    let Met::Failed(_, why) = second.tend_until(now) else { panic!("it does not go on there") };
    assert!(why.starts_with("its TLS handshake does not go on: "), "{why}");
}

/// Whoever comes says this first.
const PREFACE: &[u8] = b"a word.";

/// It ends with its first dot, and has no question mark.
#[derive(Debug)]
struct Word;

impl Preface for Word {
    fn is_due(&self, _: Option<SocketAddr>) -> bool {
        true
    }

    fn length(&self, said: &[u8]) -> Result<Option<usize>, String> {
        match said.iter().position(|byte| b".?!".contains(byte)) {
            Some(end) if said[end] == b'.' => Ok(Some(end + 1)),
            // As no service should.
            Some(end) if said[end] == b'!' => Ok(Some(said.len() + 1)),
            Some(_) => Err("it asks".to_owned()),
            None => Ok(None),
        }
    }
}

#[test]
fn what_is_said_before_a_handshake_moves_at_every_byte_and_so_does_what_follows() {
    let (now, tls) = (Instant::now(), tls().after(Word));
    let mut process = Process::with(tls.clone());
    let mut client = process.receive(now);
    client.out = [PREFACE, &client.out].concat();
    let mut moves = 0;
    while !client.out.is_empty() {
        let rest = client.out.split_off(1);
        client.speak();
        client.out = rest;
        // Heard here, or by the next one.
        if moves % 2 == 0 {
            assert_eq!(process.tend(now).len(), 0);
        }
        process.watch();
        let mut next = Process::with(tls.clone());
        next.adopt(&process);
        next.vestibule.begin();
        (process, moves) = (next, moves + 1);
    }
    assert!(moves > PREFACE.len());
    process.tend_until_answered(1);
    assert_eq!(client.go_on(), Progress::Done);
    let Met::Welcome(welcome) = process.tend_until(now) else { panic!("it is over") };
    assert_eq!(welcome.preface.as_deref(), Some(PREFACE));
}

#[test]
fn a_successor_that_has_heard_of_half_a_preface_is_told_of_the_whole() {
    let (now, tls) = (Instant::now(), tls().after(Word));
    let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls));
    let mut client = first.receive(now);
    first.watch();
    second.adopt(&first);
    let known = first.vestibule.record(0).unwrap().ends();
    first.vestibule.touches();
    client.stream.write_all(PREFACE).unwrap();
    let begun = Instant::now();
    while first.vestibule.waiting[0].who.come_to() == (false, 0) {
        assert_eq!(first.tend(now).len(), 0);
        assert!(begun.elapsed() < TOO_LONG, "it is not heard");
    }
    let touches = first.vestibule.touches();
    assert!(matches!(touches.last(), Some(Touch::Changed { key: 0, session: true })), "{touches:?}");
    let (saved, record) = (first.saved(0), first.vestibule.record(0).unwrap());
    second.vestibule.follow(&record.since(known, Some(&saved), usize::MAX)).unwrap();
    second.vestibule.begin();
    client.speak();
    second.tend_until_answered(1);
    assert_eq!(client.go_on(), Progress::Done);
    let Met::Welcome(welcome) = second.tend_until(now) else { panic!("it is over") };
    assert_eq!(welcome.preface.as_deref(), Some(PREFACE));
}

#[test]
fn who_says_no_preface_where_one_is_due_or_says_it_without_end_is_not_served() {
    let (now, tls) = (Instant::now(), tls());
    let mut process = Process::with(tls.clone().after(Word));
    for (said, why) in [
        (b"?".to_vec(), "it asks"),
        (vec![b'x'; 5000], "4096 bytes have come before its TLS handshake"),
        (b"oh!".to_vec(), "4 of 3 bytes are said to come before its TLS handshake"),
    ] {
        let mut client = process.receive(now);
        client.stream.write_all(&said).unwrap();
        let Met::Failed(_, failed) = process.tend_until(now) else { panic!("that is no preface") };
        assert!(failed == why || said.len() > 4096 && failed.ends_with(&why[4..]), "{failed}");
        assert!(client.hears_the_end());
    }
    // A successor that expects none does not take it for TLS.
    let mut client = process.receive(now);
    client.stream.write_all(PREFACE).unwrap();
    let mut unknowing = Process::with(tls);
    process.watch();
    unknowing.adopt(&process);
    unknowing.vestibule.begin();
    let Met::Failed(_, why) = unknowing.tend_until(now) else { panic!("it knows of none") };
    assert_eq!(why, "something comes before its TLS handshake that its listener does not know");
}

#[test]
fn a_handshake_goes_on_where_its_listener_is_now_and_not_where_there_is_none() {
    let (now, tls) = (Instant::now(), tls());
    let mut first = Process::with(tls.clone());
    let mut client = first.receive(now);
    first.watch();
    let mut elsewhere = Process::with(tls.clone());
    elsewhere.doorways = Doorways::default();
    elsewhere.doorways.pair(
        0,
        "operators".to_owned(),
        Some(Doorway { lane: 0, listener: LISTENER.to_owned(), tls: tls.clone() }),
    );
    elsewhere.adopt(&first);
    elsewhere.watch();
    assert!(elsewhere.vestibule.record(0).is_none(), "nobody after it can go on with it either");
    let mut renamed = Process::with(tls.clone());
    renamed.doorways = Doorways::default();
    renamed.doorways.pair(0, LISTENER.to_owned(), Some(Doorway { lane: 2, listener: "operators".to_owned(), tls }));
    renamed.adopt(&first);
    renamed.vestibule.begin();
    client.speak();
    renamed.tend_until_answered(1);
    assert_eq!(client.go_on(), Progress::Done);
    let Met::Welcome(welcome) = renamed.tend_until(now) else { panic!("it is over") };
    assert_eq!((welcome.lane, &*welcome.listener), (2, "operators"));
    elsewhere.vestibule.begin();
    let Met::Failed(_, why) = elsewhere.tend_until(now) else { panic!("it has no listener there") };
    assert_eq!(why, "its listener is none of this process's");
}

#[test]
fn who_is_overdue_or_has_left_is_told_of_the_end_also_while_a_successor_has_duplicates() {
    let (now, tls) = (Instant::now(), tls());
    let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls));
    let [mut overdue, mut gone] = [first.receive(now), first.receive(now + PATIENCE)];
    second.adopt(&first);
    gone.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let Met::Failed(_, why) = first.tend_until(now) else { panic!("it has left") };
    assert_eq!(why, "it has left before its TLS handshake was over");
    let Met::Failed(_, why) = first.tend_until(now + PATIENCE) else { panic!("it is overdue") };
    assert_eq!(why, "its TLS handshake is not over after 10 s");
    assert!(gone.hears_the_end() && overdue.hears_the_end());
    assert_eq!((first.vestibule.len(), second.vestibule.len()), (0, 2), "the duplicates are open");
}

#[test]
fn who_waits_at_a_process_that_stops_is_told_of_the_end_also_while_a_successor_has_duplicates() {
    let (now, tls) = (Instant::now(), tls());
    let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls));
    let mut client = first.receive(now);
    second.adopt(&first);
    first.vestibule.end_all();
    assert!(client.hears_the_end());
    assert_eq!(second.vestibule.len(), 1, "the duplicate is open");
}

#[test]
fn a_successor_that_lets_go_of_duplicates_ends_nobodys_connection() {
    let (now, tls) = (Instant::now(), tls());
    let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls));
    let mut client = first.receive(now);
    second.adopt(&first);
    second.vestibule.discard(first.vestibule.waiting[0].who.cookie, second.poll.registry());
    assert_eq!(second.vestibule.len(), 0);
    second.adopt(&first);
    drop(second);
    client.speak();
    first.tend_until_answered(1);
    assert_eq!(client.go_on(), Progress::Done);
    let Met::Welcome(_) = first.tend_until(now) else { panic!("it is over") };
}

#[test]
fn who_moves_has_as_long_as_it_had_whoever_was_found_before_it() {
    let (now, tls) = (Instant::now(), tls());
    let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls));
    let [_new, old] = [1, 8].map(|s| first.receive(now - Duration::from_secs(s)));
    second.adopt(&first);
    second.vestibule.begin();
    assert_eq!(second.tend(now).len(), 0, "nobody has said anything");
    let due = second.vestibule.due(now).unwrap();
    assert!(due < now + Duration::from_secs(3), "{due:?} is after {now:?}");
    let Met::Failed(address, why) = second.tend_until(now + Duration::from_secs(3)) else { panic!("it is overdue") };
    assert_eq!(
        (address, why.as_str()),
        (old.stream.local_addr().unwrap().into(), "its TLS handshake is not over after 10 s")
    );
    assert_eq!(second.tend(now + Duration::from_secs(3)).len(), 0);
    assert_eq!(second.tend(now + Duration::from_secs(10)).len(), 1);
}

#[test]
fn who_moves_to_where_it_is_another_time_has_as_long_as_it_had() {
    const AHEAD_NS: i64 = 15_000_000_000;
    let (now, tls) = (Instant::now(), tls());
    for ahead_ns in [-AHEAD_NS, AHEAD_NS] {
        let (mut first, mut second) = (Process::with(tls.clone()), Process::with(tls.clone()));
        let _client = first.receive(now - Duration::from_secs(5));
        second.adopt_by(&first, |at_ns| at_ns.checked_add_signed(ahead_ns).unwrap());
        second.vestibule.keep_time_of_another(ahead_ns);
        second.vestibule.begin();
        assert_eq!(second.tend(now + Duration::from_secs(4)).len(), 0);
        assert_eq!(second.tend(now + Duration::from_secs(6)).len(), 1);
    }
}

#[test]
fn however_many_come_and_go_beside_one_who_is_silent_nothing_is_kept_of_them() {
    let (now, mut process) = (Instant::now(), Process::with(tls()));
    let _silent = process.receive(now);
    for number in 0..3 * STALE_MIN {
        let mut client = process.receive(now);
        if number % 2 == 0 {
            client.speak();
            process.tend_until_answered(1);
            assert_eq!(client.go_on(), Progress::Done);
            let Met::Welcome(_) = process.tend_until(now) else { panic!("it is over") };
        } else {
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            let Met::Failed(..) = process.tend_until(now) else { panic!("it has left") };
        }
    }
    let Vestibule { waiting, silent, deadlines, farewells, .. } = &process.vestibule;
    for queue in [silent, deadlines, farewells] {
        assert!(queue.len() <= 2 * waiting.len() + STALE_MIN + 1, "{} for {}", queue.len(), waiting.len());
    }
    assert_eq!(waiting.len(), 1);
}

#[test]
fn however_many_are_told_why_beside_one_who_does_not_hear_nothing_is_kept_of_them() {
    let (now, mut process) = (Instant::now(), Process::with(tls()));
    let speak_no_tls = |process: &mut Process| {
        let mut client = process.receive(now);
        client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let Met::Failed(..) = process.tend_until(now) else { panic!("that is no TLS") };
        client
    };
    let _does_not_end = speak_no_tls(&mut process);
    for _ in 0..3 * STALE_MIN {
        drop(speak_no_tls(&mut process));
        let Met::Gone = process.tend_until(now) else { panic!("it has heard it") };
    }
    assert_eq!(process.vestibule.len(), 1);
    for queue in [&process.vestibule.silent, &process.vestibule.deadlines, &process.vestibule.farewells] {
        assert!(queue.len() <= 2 + STALE_MIN + 1, "{}", queue.len());
    }
}
