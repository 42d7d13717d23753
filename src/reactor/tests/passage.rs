//! The ways of bytes between joined peers: what of them is in this process, and what whoever copies the peers is told.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use fastrand::Rng;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use tempfile::TempDir;

use super::joined::{Direction, Forward, forward, stream};
use super::opened::{Known, handed_over};
use super::*;
use crate::peer::way::Way;
use crate::recipient::Recipient;

impl Rig<Forward> {
    /// The key of the peer that is this client.
    fn key_of(&self, client: &Client) -> usize {
        let address = Address::from(client.local_addr().unwrap());
        self.keys().into_iter().find(|key| self.peer(*key).address() == address).unwrap()
    }

    /// How many bytes of joined peers are in this process.
    fn kept_bytes(&self) -> usize {
        let peers = self.reactor.lanes.lane.table().peers().iter();
        peers.map(|peer| peer.talk.pending_bytes() + peer.talk.inbound.len()).sum()
    }

    /// The key of the peer that leads on from this client.
    fn key_behind(&self, client: &Client) -> usize {
        let client_key = self.key_of(client);
        self.keys().into_iter().find(|key| *key != client_key).unwrap()
    }

    /// Has bytes come until what this peer sends goes through the pipe.
    fn turn_until_piped(&mut self, direction: &mut Direction, key: usize) {
        self.turn_until(|rig| {
            direction.go_on(usize::MAX, 1 << 20);
            rig.peer(key).way == Way::Piped
        });
    }

    fn peers(&self) -> Vec<&Peer> {
        self.reactor.lanes.lane.table().peers().iter().collect()
    }

    fn touches(&mut self) -> Vec<Touch> {
        self.reactor.lanes.lane.table_mut().touches(Recipient::Successor)
    }
}

#[test]
fn while_they_are_copied_bytes_of_joined_peers_stay_in_the_kernel_and_nothing_is_told() {
    let (mut rig, upstream, _) = forward(None);
    let (client, server) = rig.pair(&upstream);
    let mut directions = [Direction::endless(&server, &client, 1), Direction::endless(&client, &server, 2)];
    rig.reactor.lanes.watch(Recipient::Successor);
    let (begun, mut told) = (Instant::now(), 0);
    let mut go_on = |rig: &mut Rig<Forward>, receive_max: usize| {
        directions.iter_mut().for_each(|direction| direction.go_on(usize::MAX, receive_max));
        rig.turn();
        assert_eq!(rig.kept_bytes(), 0);
        told += rig.touches().len();
        directions.iter().map(|direction| direction.received).min().unwrap()
    };
    let full = |rig: &Rig<Forward>| rig.keys().iter().all(|key| rig.peer(*key).talk.awaits_room());
    for _ in 0..TURNS_MAX {
        go_on(&mut rig, 1);
        if full(&rig) {
            break;
        }
    }
    assert!(full(&rig), "neither of the two reads what the other sends");
    while go_on(&mut rig, 1 << 20) < 32 << 20 {}
    // When something moved last is told once a minute.
    let told_max = 2 * (begun.elapsed().as_secs() / 60 + 1);
    assert!(told as u64 <= told_max, "{told} times, and at most {told_max} are needed");
    assert!(directions.iter().all(|direction| direction.received < direction.sent), "the last byte was not the last");
}

#[test]
fn who_passes_bytes_on_when_a_takeover_fails_goes_on_and_whoever_waits_for_room_does_too() {
    let (mut rig, upstream, _) = forward(None);
    let (client, server) = rig.pair(&upstream);
    let mut direction = Direction::endless(&server, &client, 1);
    let client_key = rig.key_of(&client);
    rig.reactor.lanes.watch(Recipient::Successor);
    rig.turn_until(|rig| {
        direction.go_on(usize::MAX, 0);
        rig.peer(client_key).talk.awaits_room()
    });
    rig.reactor.lanes.unwatch(Recipient::Successor);
    rig.turn();
    rig.turn_until(|_| {
        direction.go_on(usize::MAX, 1 << 20);
        direction.received > 16 << 20
    });
}

#[test]
fn a_stream_goes_through_the_pipe_and_what_is_read_slowly_waits_in_the_kernel() {
    let (mut rig, upstream, _) = forward(None);
    let (client, server) = rig.pair(&upstream);
    let mut direction = Direction::endless(&server, &client, 1);
    let (client_key, server_key) = (rig.key_of(&client), rig.key_behind(&client));
    rig.turn_until_piped(&mut direction, server_key);
    rig.turn_until(|_| {
        direction.go_on(usize::MAX, 1 << 20);
        direction.received > 32 << 20
    });
    rig.turn_until(|rig| {
        direction.go_on(usize::MAX, 0);
        rig.peer(client_key).talk.pending_bytes() > 0
    });
    rig.assert_bounded();
    // From here on, it takes long each time until it has room.
    rig.turn_until(|rig| {
        rig.ahead += Duration::from_millis(200);
        direction.go_on(usize::MAX, 16 << 10);
        matches!(rig.peer(server_key).way, Way::Peeked { .. })
    });
    let mut waited = 0;
    for _ in 0..200 {
        rig.ahead += Duration::from_millis(200);
        direction.go_on(usize::MAX, 64 << 10);
        rig.turn();
        // Where the kernel had less than it could have brought, all of it was taken, and that is not slow.
        if matches!(rig.peer(server_key).way, Way::Peeked { .. }) {
            assert_eq!(rig.kept_bytes(), 0);
            waited += 1;
        }
    }
    assert!(waited > 0);
    rig.turn_until_piped(&mut direction, server_key);
}

#[cfg(feature = "tls")]
#[test]
fn a_stream_between_two_who_speak_no_tls_goes_through_the_pipe_also_where_others_do() {
    let (mut rig, upstream, _) = forward(None);
    rig.reactor.lanes.lane.table_mut().speak_tls();
    let (client, server) = rig.pair(&upstream);
    let mut direction = Direction::endless(&server, &client, 1);
    let server_key = rig.key_behind(&client);
    rig.turn_until_piped(&mut direction, server_key);
}

#[test]
fn a_reset_after_the_end_of_the_output_is_passed_on() {
    for takes_over in [false, true] {
        let (mut rig, upstream, config) = forward(None);
        let (client, mut server) = rig.pair(&upstream);
        client.shutdown(Shutdown::Write).unwrap();
        rig.turn_until(|_| matches!(server.read(&mut [0; 8]), Ok(0)));
        if takes_over {
            rig = handed_over(rig, &config);
        }
        rustix::net::connect_unspec(&client).unwrap();
        rig.turn_until(|rig| rig.keys().is_empty());
        assert!(rig.ends()[0].starts_with("client: lost"), "{:?}", rig.ends());
        assert!(server.write(b"for nobody").is_err() || server.read(&mut [0; 8]).is_err());
    }
}

#[test]
fn that_something_has_moved_is_told_now_and_then() {
    let idle = Duration::from_secs(80);
    let (mut rig, upstream, _) = forward(Some(idle));
    let (mut client, mut server) = rig.pair(&upstream);
    rig.reactor.lanes.watch(Recipient::Successor);
    let mut told = 0;
    for _ in 0..80 {
        rig.ahead += Duration::from_secs(1);
        client.write_all(b"still here").unwrap();
        assert_eq!(rig.receive(&mut server, 10), b"still here");
        told += rig.touches().len();
    }
    assert!((8..=9).contains(&told), "{told} times in the time in which something has to move");
}

#[test]
fn urgent_data_hides_nothing_whichever_way_the_rest_goes() {
    for is_copied in [false, true] {
        let (mut rig, upstream, _) = forward(None);
        let (mut client, mut server) = rig.pair(&upstream);
        if is_copied {
            rig.reactor.lanes.watch(Recipient::Successor);
        }
        for _ in 0..3 {
            client.write_all(b"before").unwrap();
            send(&client, b"!", SendFlags::OOB).unwrap();
            client.write_all(b"after").unwrap();
            assert_eq!(rig.receive(&mut server, 11), b"beforeafter");
        }
    }
}

/// An upstream at a path, and what keeps that.
fn unix_upstream() -> (UnixListener, PathBuf, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("upstream");
    let upstream = UnixListener::bind(&path).unwrap();
    upstream.set_nonblocking(true).unwrap();
    (upstream, path, directory)
}

impl Rig<Forward> {
    /// A client, and its connection at the upstream. Where it is none of TCP, only bytes are expected of it.
    fn pair_by_unix(&mut self, upstream: &UnixListener) -> (Client, Client) {
        let (client, _) = self.connect();
        let mut accepted = None;
        self.turn_until(|_| {
            accepted = upstream.accept().ok();
            accepted.is_some()
        });
        let mut server = Client::from(OwnedFd::from(accepted.unwrap().0));
        server.set_nonblocking(true).unwrap();
        assert_eq!(self.receive(&mut server, 6), b"PROXY\n");
        (client, server)
    }
}

#[test]
fn descriptors_that_come_with_bytes_are_left_out_and_the_bytes_go_on() {
    for is_copied in [false, true] {
        let (upstream, path, _directory) = unix_upstream();
        let service = Forward { upstream: Target::Unix(path), ..Forward::default() };
        let mut rig = Rig::new(service, &Config::default());
        let (mut client, mut server) = rig.pair_by_unix(&upstream);
        if is_copied {
            rig.reactor.lanes.watch(Recipient::Successor);
        }
        server.write_all(b"before ").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [server.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&server, &[IoSlice::new(b"with ")], &mut control, SendFlags::empty()).unwrap();
        server.write_all(b"after ").unwrap();
        assert_eq!(rig.receive(&mut client, 12), b"before with ", "copied: {is_copied}");
        // A read stops short where descriptors were (unix(7)), so the rest comes with what follows.
        server.write_all(b"all").unwrap();
        assert_eq!(rig.receive(&mut client, 9), b"after all", "copied: {is_copied}");
    }
}

/// A successor that is told of those of whom it has to be told, and of nobody else.
struct Copy {
    successor: Reactor<And<Forward, ()>>,
    known: Known,
    told: BTreeSet<usize>,
}

impl Copy {
    fn begin(rig: &mut Rig<Forward>, config: &Config) -> Self {
        // What was asked for in the last turn is done.
        rig.turn();
        rig.reactor.lanes.watch(Recipient::Successor);
        let (successor, known) = rig.successor(config);
        Self { successor, known, told: BTreeSet::new() }
    }

    fn note(&mut self, rig: &mut Rig<Forward>) {
        for touch in rig.touches() {
            match touch {
                Touch::Changed { key, .. } | Touch::Flushed { key, .. } => drop(self.told.insert(key)),
                Touch::Gone { key, id } => {
                    self.known.retain(|(known, _)| *known != key);
                    self.successor.lanes.lane.discard(id);
                }
            }
        }
    }

    fn commit(mut self, mut rig: Rig<Forward>) -> Rig<Forward> {
        self.note(&mut rig);
        for (key, ends) in self.known.iter().filter(|(key, _)| self.told.contains(key)) {
            let mut session = Vec::new();
            rig.reactor.lanes.lane.save_session(*key, &mut session);
            let record = rig.reactor.lanes.lane.record(*key).unwrap();
            self.successor.lanes.lane.follow(&record.since(*ends, Some(&session), usize::MAX), 1).unwrap();
        }
        sift(&mut self.successor.poll, &mut self.successor.lanes).unwrap();
        for key in rig.keys() {
            rig.reactor.lanes.lane.table_mut().let_go(key);
        }
        Rig { reactor: self.successor, ..rig }
    }
}

/// What becomes of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Lives,
    /// One side has been reset by its client.
    Reset,
}

/// A client and its upstream, which both send and receive at random.
#[derive(Debug)]
struct Flow {
    ends: [Client; 2],
    /// From each to the other.
    sent: [usize; 2],
    received: [usize; 2],
    shut: [bool; 2],
    ended: [bool; 2],
    salt: usize,
    /// How much either reads at once.
    receive_max: [usize; 2],
    fate: Fate,
}

impl Flow {
    fn new((client, server): (Client, Client), salt: usize, rng: &mut Rng) -> Self {
        let receive_max = [(); 2].map(|()| [1 << 10, 32 << 10, 1 << 20][rng.usize(..3)]);
        let ends = [client, server];
        Self {
            ends,
            sent: [0; 2],
            received: [0; 2],
            shut: [false; 2],
            ended: [false; 2],
            salt,
            receive_max,
            fate: Fate::Lives,
        }
    }

    fn salt(&self, from: usize) -> usize {
        2 * self.salt + from
    }

    fn send(&mut self, from: usize, bytes: usize) {
        if self.shut[from] || self.fate != Fate::Lives {
            return;
        }
        let chunk = stream(self.sent[from]..self.sent[from] + bytes, self.salt(from));
        match self.ends[from].write(&chunk) {
            Ok(sent) => self.sent[from] += sent,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "after {} bytes", self.sent[from]),
        }
    }

    fn shut(&mut self, from: usize) {
        if self.fate == Fate::Lives && !std::mem::replace(&mut self.shut[from], true) {
            self.ends[from].shutdown(Shutdown::Write).unwrap();
        }
    }

    fn reset(&mut self, from: usize) {
        // A Unix socket has no resets.
        if self.fate == Fate::Lives && self.ends[from].local_addr().is_ok() {
            rustix::net::connect_unspec(&self.ends[from]).unwrap();
            self.fate = Fate::Reset;
        }
    }

    fn receive(&mut self, from: usize, bytes_max: usize) {
        let mut buffer = vec![0; bytes_max];
        match self.ends[1 - from].read(&mut buffer) {
            Ok(0) if self.shut[from] || self.fate == Fate::Reset => self.ended[from] = true,
            Ok(bytes) => {
                let at = self.received[from];
                assert!(buffer[..bytes] == stream(at..at + bytes, self.salt(from)), "after {at} bytes");
                assert!(bytes > 0, "it has not ended, after {at} of {} bytes", self.sent[from]);
                self.received[from] += bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                assert!(self.fate == Fate::Reset, "after {} bytes: {error}", self.received[from]);
                self.ended[from] = true;
            }
        }
    }

    /// Something happens on it, or nothing.
    fn go_on(&mut self, rng: &mut Rng) {
        for from in 0..2 {
            match rng.u32(..300) {
                0 => self.shut(from),
                1 => self.reset(from),
                2..150 => self.send(from, rng.usize(1..200)),
                150..250 => self.send(from, rng.usize(1..256 << 10)),
                _ => {}
            }
            let receive_max = self.receive_max[from];
            self.receive(from, rng.usize(1..=receive_max));
        }
    }

    /// Nothing more is sent, and all there is is received.
    fn finish(&mut self) {
        for from in 0..2 {
            self.shut(from);
            self.receive(from, 1 << 20);
        }
    }

    /// Both have ended, and have got everything, unless one was reset.
    fn is_over(&self) -> bool {
        self.ended == [true; 2] && (self.fate == Fate::Reset || self.sent == self.received)
    }
}

/// Flows at random, while takeovers begin, fail and succeed.
fn random_flows(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let idle = rng.bool().then_some(Duration::from_secs(3600));
    let (mut rig, upstream, config) = forward(idle);
    let mut flows: Vec<Flow> = (0..4).map(|salt| Flow::new(rig.pair(&upstream), salt, &mut rng)).collect();
    let (unix_upstream, path, _directory) = unix_upstream();
    rig.reactor.lanes.lane.service_mut().upstream = Target::Unix(path);
    flows.extend((4..6).map(|salt| Flow::new(rig.pair_by_unix(&unix_upstream), salt, &mut rng)).collect::<Vec<_>>());
    let mut copy: Option<Copy> = None;
    for _ in 0..200 {
        flows.iter_mut().for_each(|flow| flow.go_on(&mut rng));
        if rng.u32(..20) == 0 {
            rig.ahead += Duration::from_millis(150);
        }
        rig.turn();
        rig.assert_bounded();
        if let Some(copy) = &mut copy {
            copy.note(&mut rig);
        }
        match (copy.take(), rng.u32(..12)) {
            (None, 0) => copy = Some(Copy::begin(&mut rig, &config)),
            (Some(copied), 0) => rig = copied.commit(rig),
            (Some(_), 1) => rig.reactor.lanes.unwatch(Recipient::Successor),
            (goes_on, _) => copy = goes_on,
        }
    }
    if let Some(copied) = copy {
        rig = copied.commit(rig);
    }
    for _ in 0..TURNS_MAX {
        if flows.iter().all(Flow::is_over) {
            break;
        }
        rig.turn();
        flows.iter_mut().for_each(Flow::finish);
    }
    for flow in &flows {
        assert!(flow.is_over(), "seed {seed}: {flow:?} {:?}", rig.peers());
    }
    for _ in 0..TURNS_MAX {
        if rig.keys().is_empty() {
            return;
        }
        rig.turn();
    }
    panic!("seed {seed}: {:?}", rig.peers());
}

#[test]
fn random_flows_go_on_at_the_byte_through_takeovers_that_fail_and_succeed() {
    (0..3).for_each(random_flows);
}
