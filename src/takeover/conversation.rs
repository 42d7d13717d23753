//! Tests of both halves of the conversation together: the real halves, the real wire, and no socket.
//!
//! A world holds a predecessor with a table of peers that are nothing but records, a successor, and the bytes that are
//! on their way between the two. Each side advances by one frame at a time, so that anything can happen in between.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slab::Slab;

use super::predecessor::{Accepted, Copying, Estate, Frozen, Heard, Mistake, Outgoing, Refusal, SILENCE_MAX, greet};
use super::successor::{Accept, Action, Called, Fault, Receiving};
use super::wire::{
    Closed, Commit, Copied, Figures, Frame, Hello, Kind, Listeners, Offer, Phase, RawFrame, Record, RecordsKind,
    RecordsWriter, Refuse, Round, Serving, State, TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX, Versions,
    WIRE_VERSIONS, Welcome,
};

/// What the window promises.
const PEERS_IN_FLIGHT_MAX: u64 = 1000;

/// What the round logic promises.
const ROUNDS_MAX: u32 = 12;

/// Descriptors that a successor has to leave to others than peers.
const FILES_RESERVED: u64 = crate::open_files::RESERVED as u64;

const PREDECESSOR_PID: u32 = 1;
const FROZEN_AT_NS: u64 = 77;
/// The most of the shared state that one frame carries.
const PART_BYTES: usize = 64 * 1024;

fn offers() -> Vec<Offer> {
    vec![
        Offer { service: "line".to_owned(), state_versions: Versions { oldest: 1, newest: 1 } },
        Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 1, newest: 2 } },
    ]
}

fn estate(peers: u64) -> Estate {
    Estate { service: "seqnum", state_version: 2, peers }
}

fn hello() -> Hello {
    Hello {
        wire_versions: WIRE_VERSIONS,
        build: "reactord test".to_owned(),
        services: offers(),
        files_max: 20_000,
        files_open: 7,
    }
}

fn listeners() -> Listeners {
    Listeners {
        tcp: vec![([127, 0, 0, 1], 1234).into()],
        takeover_path: b"/run/path".to_vec(),
        takeover_device: 1,
        takeover_inode: 2,
    }
}

// ── The world ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// A peer of which only the record is left.
#[derive(Clone, Debug)]
struct FakePeer {
    cookie: u64,
    session: Vec<u8>,
    inbound: Vec<u8>,
}

impl FakePeer {
    fn record(&self) -> Record<'_> {
        let phase = if self.cookie.is_multiple_of(3) { Phase::Ended } else { Phase::Open };
        Record {
            cookie: self.cookie,
            address: ([127, 0, 0, 1], 1).into(),
            phase,
            session: &self.session,
            inbound: &self.inbound,
            outbound: &[],
        }
    }

    fn change(&mut self) {
        let changes = u32::from_be_bytes(self.session[..4].try_into().unwrap()) + 1;
        self.session[..4].copy_from_slice(&changes.to_be_bytes());
        self.inbound = vec![7; changes as usize % 5];
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    minicbor::to_vec(record).unwrap()
}

/// Writes the record of the peer at a key, as the predecessor's loop does.
fn writer(peers: &Slab<FakePeer>) -> impl FnMut(usize, &mut RecordsWriter) -> Option<u32> + '_ {
    |key, writer| peers.get(key).map(|peer| writer.push(&peer.record()))
}

#[derive(Debug)]
enum Predecessor {
    /// It serves, and nobody has called.
    Listening,
    Copying(Copying),
    /// Frozen, with the frames that end the takeover once all batches are sent.
    Frozen(Frozen, Option<VecDeque<Vec<u8>>>),
    /// The takeover has failed, and it serves on.
    Thawed(String),
    Retired(Accepted),
    Killed,
}

#[derive(Debug)]
enum Successor {
    Called(Called),
    Receiving(Box<Receiving>),
    /// Its Accept is in the channel.
    Owner(Box<Accept>),
    /// It has given up.
    Gone(String),
    Killed,
}

/// Who owns the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Predecessor,
    Successor,
    Nobody,
}

struct World {
    peers: Slab<FakePeer>,
    cookies: u64,
    /// How long a session is, so that batches are cut by their size.
    session_bytes: usize,
    shared_state: Vec<u8>,
    now: Instant,
    predecessor: Predecessor,
    successor: Successor,
    to_successor: Vec<u8>,
    /// The descriptors that are on their way, as the cookies of their sockets.
    descriptors: VecDeque<u64>,
    to_predecessor: Vec<u8>,
    /// The channel has ended: what was sent before can be received, nothing can be sent.
    ended: bool,
    /// All that was ever sent to the successor.
    sent: Vec<Vec<u8>>,
    /// The records of the peers that the successor has adopted.
    adopted: BTreeMap<u64, Vec<u8>>,
    /// How many peers were sent with their descriptors, and how many of them the successor has acknowledged.
    peers_sent: u64,
    peers_acknowledged: u64,
    in_flight_most: u64,
}

impl World {
    fn new(peers: usize) -> Self {
        Self::with_sessions(peers, 4)
    }

    fn with_sessions(peers: usize, session_bytes: usize) -> Self {
        let mut world = Self {
            peers: Slab::new(),
            cookies: 0,
            session_bytes,
            shared_state: b"shared".to_vec(),
            now: Instant::now(),
            predecessor: Predecessor::Listening,
            successor: Successor::Killed,
            to_successor: Vec::new(),
            descriptors: VecDeque::new(),
            to_predecessor: Vec::new(),
            ended: false,
            sent: Vec::new(),
            adopted: BTreeMap::new(),
            peers_sent: 0,
            peers_acknowledged: 0,
            in_flight_most: 0,
        };
        for _ in 0..peers {
            world.accept();
        }
        world.call();
        world
    }

    /// A successor calls, on a channel of its own.
    fn call(&mut self) {
        let (called, hello) = Called::new(offers(), 20_000, 7);
        self.predecessor = Predecessor::Listening;
        self.successor = Successor::Called(called);
        self.to_successor = Vec::new();
        self.descriptors = VecDeque::new();
        self.to_predecessor = hello;
        self.ended = false;
        self.sent = Vec::new();
        self.adopted = BTreeMap::new();
        self.peers_sent = 0;
        self.peers_acknowledged = 0;
    }

    // What happens to the peers, for as long as the predecessor serves.

    fn serves(&self) -> bool {
        matches!(self.predecessor, Predecessor::Listening | Predecessor::Copying(_) | Predecessor::Thawed(_))
    }

    fn key(&self, choice: usize) -> Option<usize> {
        self.peers.iter().nth(choice % self.peers.len().max(1)).map(|(key, _)| key)
    }

    fn accept(&mut self) {
        if self.serves() {
            self.cookies += 1;
            let session = vec![0; self.session_bytes];
            let key = self.peers.insert(FakePeer { cookie: self.cookies, session, inbound: Vec::new() });
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut().touched(key);
            }
        }
    }

    fn change(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            self.peers[key].change();
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut().touched(key);
            }
        }
    }

    fn close(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            let FakePeer { cookie, .. } = self.peers.remove(key);
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut().closed(key, cookie);
            }
        }
    }

    // The predecessor.

    /// One frame of the predecessor's, after it has heard all that has arrived. `full`: the channel takes nothing.
    fn predecessor_turn(&mut self, full: bool) {
        self.predecessor = match std::mem::replace(&mut self.predecessor, Predecessor::Killed) {
            Predecessor::Listening => self.greet_caller(),
            Predecessor::Copying(copying) => self.copy(copying, full).unwrap_or_else(|mistake| self.thaw(&mistake)),
            Predecessor::Frozen(frozen, frames) => self.commit(frozen, frames),
            other => other,
        };
        self.in_flight_most = self.in_flight_most.max(self.peers_sent - self.peers_acknowledged);
    }

    fn receive_at_predecessor(&mut self) -> Option<RawFrame> {
        RawFrame::take(&mut self.to_predecessor, TO_PREDECESSOR_BYTES_MAX).unwrap()
    }

    fn send_to_successor(&mut self, frame: Vec<u8>) {
        if !self.ended {
            self.to_successor.extend_from_slice(&frame);
            self.sent.push(frame);
        }
    }

    fn greet_caller(&mut self) -> Predecessor {
        let Some(raw) = self.receive_at_predecessor() else {
            return Predecessor::Listening;
        };
        let Frame::Hello(hello) = raw.decode().unwrap() else { panic!("a successor says Hello first") };
        match greet(&hello, &estate(self.peers.len() as u64), PREDECESSOR_PID) {
            Ok(welcome) => {
                self.send_to_successor(Frame::Welcome(welcome).encode());
                self.send_to_successor(Frame::Listeners(listeners()).encode());
                Predecessor::Copying(Copying::new(hello, self.peers.capacity(), self.now))
            }
            Err(refusal) => {
                self.send_to_successor(refusal.frame());
                self.thaw(&refusal)
            }
        }
    }

    fn copy(&mut self, mut copying: Copying, full: bool) -> Result<Predecessor, Mistake> {
        while let Some(raw) = self.receive_at_predecessor() {
            let frame = raw.decode().unwrap();
            if let Frame::Copied(copied) = &frame {
                self.peers_acknowledged = copied.peers;
            }
            match copying.hear(frame, self.now)? {
                Heard::Copying(goes_on) => copying = goes_on,
                Heard::Ready(ready) => {
                    return Ok(Predecessor::Frozen(ready.freeze(self.now, FROZEN_AT_NS), None));
                }
            }
        }
        if self.ended {
            return Ok(self.thaw(&"the channel has ended"));
        }
        if self.now >= copying.deadline() {
            return Err(Mistake::Silent { silence: SILENCE_MAX });
        }
        let has_next = copying.has_next();
        let next = copying.next(writer(&self.peers))?;
        assert_eq!(has_next, next.is_some());
        match next {
            Some(outgoing) if full => copying.unsent(outgoing),
            Some(outgoing) => {
                let frame = match &outgoing {
                    Outgoing::Batch(batch) => {
                        let keys: Vec<usize> = batch.descriptor_keys().collect();
                        self.peers_sent += keys.len() as u64;
                        self.descriptors.extend(keys.into_iter().map(|key| self.peers[key].cookie));
                        batch.frame.clone()
                    }
                    Outgoing::Round { frame, .. } => frame.clone(),
                };
                self.send_to_successor(frame);
                copying.sent(outgoing, self.now);
            }
            None => {}
        }
        Ok(Predecessor::Copying(copying))
    }

    fn commit(&mut self, mut frozen: Frozen, frames: Option<VecDeque<Vec<u8>>>) -> Predecessor {
        let Some(mut frames) = frames else {
            let next = frozen.next(writer(&self.peers)).unwrap();
            let Some(batch) = next else {
                let frames = frozen.commit(&self.shared_state).collect();
                return Predecessor::Frozen(frozen, Some(frames));
            };
            self.descriptors.extend(batch.descriptor_keys().map(|key| self.peers[key].cookie));
            self.send_to_successor(batch.frame.clone());
            frozen.sent(batch);
            return Predecessor::Frozen(frozen, None);
        };
        if let Some(frame) = frames.pop_front() {
            self.send_to_successor(frame);
            if frames.is_empty() {
                frozen.committed();
            }
            return Predecessor::Frozen(frozen, Some(frames));
        }
        let mut failure = None;
        while let Some(raw) = self.receive_at_predecessor() {
            match frozen.hear(raw.decode().unwrap()) {
                Ok(Some(accepted)) => return Predecessor::Retired(accepted),
                Ok(None) => {}
                Err(mistake) => failure = Some(mistake.to_string()),
            }
        }
        match failure {
            Some(failure) => self.thaw(&failure),
            None if self.ended => self.thaw(&"the channel has ended"),
            None => Predecessor::Frozen(frozen, Some(frames)),
        }
    }

    /// At the predecessor's deadline: it waits no longer, ends the channel, and looks at what is there.
    fn freeze_timeout(&mut self) {
        self.ended = true;
        if let Predecessor::Frozen(mut frozen, _) = std::mem::replace(&mut self.predecessor, Predecessor::Killed) {
            let mut accepted = None;
            while let Some(raw) = self.receive_at_predecessor() {
                accepted = accepted.or(frozen.hear(raw.decode().unwrap()).ok().flatten());
            }
            self.predecessor = match accepted {
                Some(accepted) => Predecessor::Retired(accepted),
                None => self.thaw(&"the successor was silent"),
            };
        }
    }

    fn thaw(&mut self, why: &dyn std::fmt::Display) -> Predecessor {
        self.ended = true;
        Predecessor::Thawed(why.to_string())
    }

    // The successor.

    /// The successor hears one frame, and does what comes of it.
    fn successor_turn(&mut self) {
        if !matches!(self.successor, Successor::Called(_) | Successor::Receiving(_)) {
            return;
        }
        let Some(raw) = RawFrame::take(&mut self.to_successor, TO_SUCCESSOR_BYTES_MAX).unwrap() else {
            if self.ended {
                self.successor = Successor::Gone("the channel has ended".to_owned());
            }
            return;
        };
        let frame = raw.decode().unwrap();
        self.successor = match std::mem::replace(&mut self.successor, Successor::Killed) {
            Successor::Called(called) => match called.hear(frame) {
                Ok(_) => Successor::Receiving(Box::default()),
                Err(fault) => self.give_up(&fault),
            },
            Successor::Receiving(mut receiving) => match receiving.hear(frame) {
                Ok(action) => self.act(receiving, action),
                Err(fault) => self.give_up(&fault),
            },
            other => other,
        };
    }

    fn act(&mut self, receiving: Box<Receiving>, action: Action<'_>) -> Successor {
        match action {
            Action::Listen(arrived) => assert_eq!(arrived, listeners()),
            Action::Adopt(records, answer) => {
                for record in records {
                    let cookie = self.descriptors.pop_front().expect("each record comes with its descriptor");
                    assert_eq!(record.record.cookie, cookie, "each record comes with its own descriptor");
                    let before = self.adopted.insert(cookie, encoded(&record.record));
                    assert_eq!(before, None, "a peer is adopted once");
                }
                self.send_to_predecessor(answer);
            }
            Action::Change(records) => {
                for record in records {
                    let before = self.adopted.insert(record.record.cookie, encoded(&record.record));
                    assert!(before.is_some(), "a peer that changes was adopted");
                }
            }
            Action::Discard(cookies) => {
                for cookie in cookies {
                    assert!(self.adopted.remove(&cookie).is_some(), "a peer that leaves was adopted");
                }
            }
            Action::Answer(answer) | Action::GetReady(answer) => {
                self.send_to_predecessor(answer);
            }
            Action::Wait => {}
            Action::Accept(accept) => {
                return if self.send_to_predecessor(accept.frame.clone()) {
                    Successor::Owner(accept)
                } else {
                    Successor::Gone("too late".to_owned())
                };
            }
        }
        Successor::Receiving(receiving)
    }

    /// Whether the channel took it.
    fn send_to_predecessor(&mut self, frame: Vec<u8>) -> bool {
        if !self.ended {
            self.to_predecessor.extend(frame);
        }
        !self.ended
    }

    fn give_up(&mut self, why: &dyn std::fmt::Display) -> Successor {
        self.send_to_predecessor(Frame::Refuse(Refuse { reason: why.to_string() }).encode());
        self.ended = true;
        Successor::Gone(why.to_string())
    }

    fn kill_successor(&mut self) {
        self.successor = Successor::Killed;
        self.ended = true;
    }

    fn kill_predecessor(&mut self) {
        self.predecessor = Predecessor::Killed;
        self.ended = true;
    }

    // Both.

    fn is_over(&self) -> bool {
        matches!(self.predecessor, Predecessor::Thawed(_) | Predecessor::Retired(_) | Predecessor::Killed)
            && matches!(self.successor, Successor::Owner(_) | Successor::Gone(_) | Successor::Killed)
    }

    /// Lets both sides go on until nothing is left to do. `between` happens between any two steps.
    fn finish(&mut self, mut between: impl FnMut(&mut Self)) {
        for _ in 0..100_000 {
            if self.is_over() {
                return;
            }
            between(self);
            self.predecessor_turn(false);
            between(self);
            self.successor_turn();
        }
        panic!("the takeover does not end");
    }

    /// Who owns the peers once the takeover is over.
    fn owner(&self) -> Owner {
        assert!(self.is_over());
        match (&self.predecessor, &self.successor) {
            (Predecessor::Thawed(_), Successor::Owner(_)) => panic!("both own the peers"),
            (Predecessor::Thawed(_), _) => Owner::Predecessor,
            (_, Successor::Owner(_)) => Owner::Successor,
            _ => Owner::Nobody,
        }
    }

    fn records(&self) -> BTreeMap<u64, Vec<u8>> {
        self.peers.iter().map(|(_, peer)| (peer.cookie, encoded(&peer.record()))).collect()
    }

    /// The successor owns the peers, and has all that the predecessor had.
    fn assert_taken_over(&self) {
        assert_eq!(self.owner(), Owner::Successor);
        let (Predecessor::Retired(accepted), Successor::Owner(accept)) = (&self.predecessor, &self.successor) else {
            panic!("the predecessor is {:?}, the successor {:?}", self.predecessor, self.successor);
        };
        assert!(self.adopted == self.records(), "the records are the same on both sides");
        assert!(accept.state == self.shared_state, "the shared state is the same on both sides");
        assert_eq!(accepted.peers, self.peers.len() as u64);
        assert_eq!(accept.figures, accepted.figures);
        assert_eq!(accept.frozen_at_ns, FROZEN_AT_NS);
        assert!(accept.figures.rounds <= ROUNDS_MAX);
        assert!(self.descriptors.is_empty(), "no descriptor is left over");
        // Welcome, Listeners and Commit are not counted.
        let bytes: usize = self.sent[2..self.sent.len() - 1].iter().map(Vec::len).sum();
        assert_eq!(accept.figures.bytes, bytes as u64);
    }
}

// ── A takeover from its beginning to its end ───────────────────────────────────────────────────────────────────────

#[test]
fn every_peer_arrives_as_it_is_however_many_there_are() {
    for peers in [0, 1, 249, 250, 251, 1000, 5000] {
        let mut world = World::new(peers);
        world.finish(|_| {});
        world.assert_taken_over();
        assert_eq!(world.adopted.len(), peers);
    }
}

#[test]
fn peers_that_come_change_and_leave_at_every_step_arrive_as_they_are() {
    for peers in [0, 1, 250, 251, 1000, 5000] {
        let mut world = World::new(peers);
        let mut step = 0;
        world.finish(|world| {
            step += 1;
            world.accept();
            world.change(step * 7919);
            world.change(step * 104_729);
            if step % 3 > 0 {
                world.close(step * 15_485_863);
            }
        });
        world.assert_taken_over();
    }
}

#[test]
fn shared_state_of_any_size_arrives_whole() {
    for (bytes, parts) in [(0, 0), (1, 1), (PART_BYTES, 1), (PART_BYTES + 1, 2), (3 * PART_BYTES + 1, 4)] {
        let mut world = World::new(3);
        world.shared_state = (0..bytes).map(|at| (at % 251) as u8).collect();
        world.finish(|_| {});
        world.assert_taken_over();
        let is_part = |frame: &&Vec<u8>| frame[4] == Kind::State as u8;
        assert_eq!(world.sent.iter().filter(is_part).count(), parts);
    }
}

#[test]
fn a_quiet_takeover_ends_with_its_second_round_and_nothing_dirty() {
    let mut world = World::new(600);
    world.finish(|_| {});
    let Predecessor::Retired(Accepted { figures, .. }) = world.predecessor else { panic!("it has retired") };
    let Figures { batches, rounds, dirty, .. } = figures;
    assert_eq!((batches, rounds, dirty), (3, 2, 0));
}

#[test]
fn batches_of_large_records_are_cut_by_size_and_arrive() {
    let mut world = World::with_sessions(300, 5000);
    let mut step = 0;
    world.finish(|world| {
        step += 1;
        world.change(step);
    });
    world.assert_taken_over();
}

/// What happens between the steps of a takeover.
#[derive(Clone, Copy, Debug)]
enum Event {
    Accept,
    Change(usize),
    Close(usize),
    ChangeAll,
    Predecessor,
    ChannelFull,
    Successor,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Accept),
        4 => (0..1000usize).prop_map(Event::Change),
        4 => (0..1000usize).prop_map(Event::Close),
        1 => Just(Event::ChangeAll),
        6 => Just(Event::Predecessor),
        1 => Just(Event::ChannelFull),
        6 => Just(Event::Successor),
    ]
}

impl World {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Accept => self.accept(),
            Event::Change(choice) => self.change(choice),
            Event::Close(choice) => self.close(choice),
            Event::ChangeAll => (0..self.peers.len()).for_each(|choice| self.change(choice)),
            Event::Predecessor => self.predecessor_turn(false),
            Event::ChannelFull => self.predecessor_turn(true),
            Event::Successor => self.successor_turn(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_schedule_ends_with_the_same_records_on_both_sides(
        peers in prop_oneof![Just(0usize), Just(1), Just(250), Just(251), 0..400usize],
        events in proptest::collection::vec(event(), 0..250),
    ) {
        let mut world = World::new(peers);
        // Again and again, so that the end of the takeover is under way as well.
        for event in &events {
            world.apply(*event);
        }
        let mut events = events.iter().cycle();
        world.finish(|world| if let Some(event) = events.next() { world.apply(*event) });
        world.assert_taken_over();
        prop_assert!(world.in_flight_most <= PEERS_IN_FLIGHT_MAX);
    }

    #[test]
    fn any_schedule_that_is_cut_short_leaves_one_owner(
        peers in 0..300usize,
        events in proptest::collection::vec(event(), 0..250),
        end in 0..4,
    ) {
        let mut world = World::new(peers);
        for event in events {
            world.apply(event);
        }
        let accepted_before = matches!(world.successor, Successor::Owner(_));
        match end {
            0 => world.kill_successor(),
            1 => world.kill_predecessor(),
            2 => world.stop_successor(),
            _ => world.stop_predecessor(),
        }
        // While the predecessor is stopped, what is on its way may suffice to accept.
        let accepted = accepted_before || matches!(world.successor, Successor::Owner(_));
        world.finish(|_| {});
        let expected = match (end, accepted) {
            (0, true) | (1, false) => Owner::Nobody,
            (_, true) => Owner::Successor,
            (_, false) => Owner::Predecessor,
        };
        prop_assert_eq!(world.owner(), expected);
    }
}

// ── Either side killed or stopped at every step ────────────────────────────────────────────────────────────────────

impl World {
    /// The successor is stopped for so long that the predecessor gives it up, and is continued then.
    fn stop_successor(&mut self) {
        for _ in 0..1000 {
            self.predecessor_turn(false);
        }
        match &self.predecessor {
            Predecessor::Copying(copying) => {
                let deadline = copying.deadline();
                assert!(deadline <= self.now + SILENCE_MAX);
                self.now = deadline - Duration::from_nanos(1);
                self.predecessor_turn(false);
                assert!(matches!(self.predecessor, Predecessor::Copying(_)), "the deadline is not over yet");
                self.now = deadline;
                self.predecessor_turn(false);
                let Predecessor::Thawed(why) = &self.predecessor else { panic!("the deadline is over") };
                assert_eq!(why, "the successor was silent for 10000 ms");
            }
            Predecessor::Frozen(..) => self.freeze_timeout(),
            _ => {}
        }
    }

    /// The predecessor is stopped for so long that the successor gives it up, and is continued then.
    fn stop_predecessor(&mut self) {
        while !self.to_successor.is_empty() && matches!(self.successor, Successor::Called(_) | Successor::Receiving(_))
        {
            self.successor_turn();
        }
        if matches!(self.successor, Successor::Called(_) | Successor::Receiving(_)) {
            self.successor = self.give_up(&"the predecessor was silent");
        }
    }

    /// A takeover that is lively at every step, up to so many steps.
    fn lively(steps: usize) -> Self {
        let mut world = Self::new(300);
        world.shared_state = vec![1; PART_BYTES + 1];
        (0..steps).for_each(|step| world.lively_step(step));
        world
    }

    fn lively_step(&mut self, step: usize) {
        self.accept();
        self.change(step * 7919);
        self.close(step * 15_485_863);
        if step.is_multiple_of(2) {
            self.predecessor_turn(false);
        } else {
            self.successor_turn();
        }
    }

    /// How many steps it takes until the successor's Accept is in the channel, and until the takeover is over.
    fn lively_steps() -> (usize, usize) {
        let mut world = Self::lively(0);
        let mut accepted = None;
        for steps in 0.. {
            if matches!(world.successor, Successor::Owner(_)) {
                accepted = accepted.or(Some(steps));
            }
            if world.is_over() {
                return (accepted.expect("it ends with Accept"), steps);
            }
            world.lively_step(steps);
        }
        unreachable!("it is over some day");
    }

    /// The predecessor serves on with all its peers, and the next successor gets them.
    fn assert_thawed(&mut self) {
        assert_eq!(self.owner(), Owner::Predecessor);
        self.call();
        self.finish(|_| {});
        self.assert_taken_over();
    }
}

#[test]
fn successor_killed_before_accept_leaves_peers_with_predecessor() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.kill_successor();
        world.finish(|_| {});
        if steps < accepted {
            world.assert_thawed();
        } else {
            assert!(matches!(world.predecessor, Predecessor::Retired(_)), "after Accept there is no way back");
            assert_eq!(world.owner(), Owner::Nobody);
        }
    }
}

#[test]
fn successor_stopped_before_accept_leaves_peers_with_predecessor_and_finds_out_later() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.stop_successor();
        world.finish(|_| {});
        if steps < accepted {
            let Successor::Gone(why) = &world.successor else { panic!("the successor has not accepted") };
            assert!(["the channel has ended", "too late"].contains(&why.as_str()), "{why}");
            world.assert_thawed();
        } else {
            world.assert_taken_over();
        }
    }
}

#[test]
fn predecessor_killed_before_accept_leaves_peers_with_nobody() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.kill_predecessor();
        world.finish(|_| {});
        let expected = if steps < accepted { Owner::Nobody } else { Owner::Successor };
        assert_eq!(world.owner(), expected);
    }
}

#[test]
fn predecessor_stopped_before_accept_keeps_its_peers_and_retires_later_after_it() {
    let (_, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.stop_predecessor();
        // What was on its way may have sufficed to accept.
        let accepted = matches!(world.successor, Successor::Owner(_));
        world.finish(|_| {});
        if accepted {
            world.assert_taken_over();
        } else {
            world.assert_thawed();
        }
    }
}

#[test]
fn each_frame_that_the_channel_takes_moves_the_deadline() {
    let now = Instant::now();
    let mut copying = Copying::new(hello(), 0, now);
    let later = now + Duration::from_secs(3);
    let outgoing = copying.next(|_, _| None).unwrap().expect("the round has an end");
    copying.unsent(outgoing);
    assert_eq!(copying.deadline(), now + SILENCE_MAX, "a frame that it does not take changes nothing");
    let outgoing = copying.next(|_, _| None).unwrap().expect("the round has an end");
    copying.sent(outgoing, later);
    assert_eq!(copying.deadline(), later + SILENCE_MAX);
}

#[test]
fn only_an_answer_that_acknowledges_more_moves_the_deadline() {
    let now = Instant::now();
    let later = |seconds| now + Duration::from_secs(seconds);
    let mut peers = Slab::new();
    for cookie in 1..=2 {
        peers.insert(FakePeer { cookie, session: vec![0; 4], inbound: Vec::new() });
    }
    let mut copying = Copying::new(hello(), peers.capacity(), now);
    let batch = copying.next(writer(&peers)).unwrap().expect("there are peers");
    copying.sent(batch, now);
    let round = copying.next(writer(&peers)).unwrap().expect("the round has an end");
    copying.sent(round, now);
    // What a successor says again and again must not keep a takeover alive.
    for (peers, rounds, seconds, deadline) in
        [(0, 0, 1, now), (1, 0, 2, later(2)), (1, 0, 3, later(2)), (0, 0, 4, later(2)), (2, 1, 5, later(5))]
    {
        let Ok(Heard::Copying(goes_on)) = copying.hear(Frame::Copied(Copied { peers, rounds }), later(seconds)) else {
            panic!("the copy goes on");
        };
        assert_eq!(goes_on.deadline(), deadline + SILENCE_MAX, "after {seconds} s");
        copying = goes_on;
    }
}

// ── The greeting ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_caller_that_fits_is_welcomed() {
    let expected = Welcome {
        wire_version: 1,
        build: crate::BUILD.to_owned(),
        pid: PREDECESSOR_PID,
        service: "seqnum".to_owned(),
        state_version: 2,
        peers: 5,
    };
    assert_eq!(greet(&hello(), &estate(5), PREDECESSOR_PID), Ok(expected.clone()));
    let (called, _) = Called::new(offers(), 20_000, 7);
    assert_eq!(called.hear(Frame::Welcome(expected.clone())), Ok(expected));
}

#[test]
fn a_service_that_is_offered_twice_is_looked_for_in_both_offers() {
    let offer = |oldest, newest| Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest, newest } };
    for services in [vec![offer(3, 4), offer(2, 2)], vec![offer(2, 2), offer(3, 4)]] {
        assert!(greet(&Hello { services, ..hello() }, &estate(5), PREDECESSOR_PID).is_ok());
    }
}

#[test]
fn a_caller_that_does_not_fit_is_told_both_sides_of_the_reason() {
    let newer = Versions { oldest: 2, newest: 3 };
    let other = vec![Offer { service: "other".to_owned(), state_versions: newer }];
    let state = vec![Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 3, newest: 4 } }];
    let refused = [
        (
            Hello { wire_versions: newer, ..hello() },
            "the successor speaks wire versions 2 to 3, the predecessor 1 to 1",
        ),
        (Hello { services: other, ..hello() }, "the predecessor serves seqnum, the successor offers other"),
        (Hello { services: Vec::new(), ..hello() }, "the predecessor serves seqnum, the successor offers "),
        (Hello { services: state, ..hello() }, "seqnum has state version 2, the successor restores versions 3 to 4"),
        (Hello { files_max: 1024, ..hello() }, "the successor may open 1024 files, 19039 are needed"),
        (
            Hello { files_open: u64::MAX, ..hello() },
            "the successor may open 20000 files, 18446744073709551615 are needed",
        ),
    ];
    for (hello, reason) in refused {
        let refusal = greet(&hello, &estate(19_000), PREDECESSOR_PID).unwrap_err();
        assert_eq!(refusal.to_string(), reason);
        assert_eq!(heard_by_caller(&refusal), Fault::Refused { reason: reason.to_owned() });
    }
}

fn heard_by_caller(refusal: &Refusal) -> Fault {
    let mut bytes = refusal.frame();
    let raw = RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let (called, _) = Called::new(offers(), 20_000, 7);
    called.hear(raw.decode().unwrap()).unwrap_err()
}

#[test]
fn the_other_refusals_name_whom_and_whose() {
    assert_eq!(Refusal::Busy { pid: 123 }.to_string(), "pid 123 is taking over already");
    assert_eq!(Refusal::Uid { ours: 0, theirs: 1000 }.to_string(), "uid 1000 may not take over from uid 0");
    assert_eq!(Refusal::Stopping.to_string(), "the predecessor is stopping");
}

#[test]
fn room_for_exactly_what_is_needed_suffices() {
    let hello = |files_max| Hello { files_max, ..hello() };
    let files_needed = 7 + FILES_RESERVED + 100;
    assert!(greet(&hello(files_needed), &estate(100), PREDECESSOR_PID).is_ok());
    let files_max = files_needed - 1;
    let refusal = greet(&hello(files_max), &estate(100), PREDECESSOR_PID);
    assert_eq!(refusal, Err(Refusal::Room { files_max, files_needed }));
}

#[test]
fn a_refusal_stays_one_line_whatever_the_caller_offers() {
    let offer = Offer { service: "evil\n\x1b[2J".repeat(50), state_versions: Versions { oldest: 0, newest: 0 } };
    let refusal = greet(&Hello { services: vec![offer; 50], ..hello() }, &estate(0), PREDECESSOR_PID).unwrap_err();
    let line = refusal.to_string();
    assert!(!line.chars().any(char::is_control));
    assert!(line.len() < 600, "{} bytes", line.len());
}

#[test]
fn a_welcome_to_what_was_not_offered_is_a_fault() {
    let welcome = greet(&hello(), &estate(5), PREDECESSOR_PID).unwrap();
    let hear = |welcome| Called::new(offers(), 20_000, 7).0.hear(Frame::Welcome(welcome)).unwrap_err();
    for wire_version in [0, 2, u32::MAX] {
        let fault = hear(Welcome { wire_version, ..welcome.clone() });
        assert_eq!(fault, Fault::WireVersion { wire_version });
        assert!(fault.to_string().contains(&wire_version.to_string()));
    }
    // The line service was offered, but not in version 2.
    for (service, state_version) in [("other", 1), ("seqnum", 0), ("seqnum", 3), ("line", 2)] {
        let fault = hear(Welcome { service: service.to_owned(), state_version, ..welcome.clone() });
        assert_eq!(fault, Fault::Service { service: service.to_owned(), state_version });
    }
}

// ── Every frame in every state ─────────────────────────────────────────────────────────────────────────────────────

const KINDS: [Kind; 14] = [
    Kind::Hello,
    Kind::Refuse,
    Kind::Welcome,
    Kind::Listeners,
    Kind::Peers,
    Kind::Copied,
    Kind::Changed,
    Kind::Closed,
    Kind::Round,
    Kind::Ready,
    Kind::State,
    Kind::Commit,
    Kind::Accept,
    Kind::Serving,
];

/// The records of one peer, whose session is `version`, as a frame.
fn records_frame(kind: RecordsKind, cookie: u64, version: u32) -> Vec<u8> {
    let mut writer = RecordsWriter::new(kind);
    let peer = FakePeer { cookie, session: version.to_be_bytes().to_vec(), inbound: Vec::new() };
    writer.push(&peer.record());
    writer.finish()
}

/// A frame of each kind, about the peer with this cookie, where it is about one.
fn frame(kind: Kind, cookie: u64) -> RawFrame {
    let mut bytes = match kind {
        Kind::Hello => Frame::Hello(hello()).encode(),
        Kind::Refuse => Frame::Refuse(Refuse { reason: "no\nmore".to_owned() }).encode(),
        Kind::Welcome => Frame::Welcome(greet(&hello(), &estate(0), PREDECESSOR_PID).unwrap()).encode(),
        Kind::Listeners => Frame::Listeners(listeners()).encode(),
        Kind::Peers => records_frame(RecordsKind::Peers, cookie, 0),
        Kind::Copied => Frame::Copied(Copied::default()).encode(),
        Kind::Changed => records_frame(RecordsKind::Changed, cookie, 1),
        Kind::Closed => Frame::Closed(Closed { cookies: vec![cookie] }).encode(),
        Kind::Round => Frame::Round(Round { number: 1, last: false }).encode(),
        Kind::Ready => Frame::Ready.encode(),
        Kind::State => Frame::State(State { part: b"state" }).encode(),
        Kind::Commit => {
            let figures = Figures::default();
            Frame::Commit(Commit { peers: 0, digest: 0, state_bytes: 0, frozen_at_ns: 0, figures }).encode()
        }
        Kind::Accept => Frame::Accept.encode(),
        Kind::Serving => Frame::Serving(Serving { pause_us: 1 }).encode(),
    };
    RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyStep {
    Sending,
    RoundSent,
    LastRoundSent,
}

/// A copy of no peers, in each of its steps.
fn copying(step: CopyStep) -> Copying {
    let now = Instant::now();
    let mut copying = Copying::new(hello(), 0, now);
    if step != CopyStep::Sending {
        send_round(&mut copying, false);
    }
    if step == CopyStep::LastRoundSent {
        let copied = Frame::Copied(Copied { peers: 0, rounds: 1 });
        let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
        copying = next;
        send_round(&mut copying, true);
    }
    copying
}

fn send_round(copying: &mut Copying, expected_last: bool) {
    let outgoing = copying.next(|_, _| None).unwrap().expect("the round has an end");
    assert!(matches!(outgoing, Outgoing::Round { last, .. } if last == expected_last));
    copying.sent(outgoing, Instant::now());
}

fn frozen(committed: bool) -> Frozen {
    let now = Instant::now();
    let Ok(Heard::Ready(ready)) = copying(CopyStep::LastRoundSent).hear(Frame::Ready, now) else {
        panic!("the successor may get ready now");
    };
    let mut frozen = ready.freeze(now, FROZEN_AT_NS);
    assert!(frozen.next(|_, _| None).unwrap().is_none());
    if committed {
        assert_eq!(frozen.commit(&[]).count(), 1);
        frozen.committed();
    }
    frozen
}

#[test]
fn a_predecessor_that_copies_hears_what_it_waits_for_and_nothing_else() {
    for step in [CopyStep::Sending, CopyStep::RoundSent, CopyStep::LastRoundSent] {
        for kind in KINDS {
            let raw = frame(kind, 1);
            let heard = copying(step).hear(raw.decode().unwrap(), Instant::now());
            match (kind, step, heard) {
                (Kind::Copied, _, Ok(Heard::Copying(_))) => {}
                (Kind::Ready, CopyStep::LastRoundSent, Ok(Heard::Ready(_))) => {}
                (Kind::Refuse, _, Err(mistake)) => {
                    assert_eq!(mistake, Mistake::GaveUp { reason: r"no\nmore".to_owned() });
                }
                (_, _, Err(mistake)) => {
                    assert_eq!(mistake, Mistake::OutOfTurn { kind, step: "during the copy" });
                    let text = format!("the successor sent {kind:?} during the copy");
                    assert_eq!(mistake.to_string(), text);
                }
                (_, _, Ok(heard)) => panic!("{kind:?} led to {heard:?} in {step:?}"),
            }
        }
    }
}

#[test]
fn a_frozen_predecessor_hears_accept_after_commit_and_nothing_else() {
    for committed in [false, true] {
        for kind in KINDS {
            let mut frozen = frozen(committed);
            let raw = frame(kind, 1);
            match (kind, frozen.hear(raw.decode().unwrap())) {
                (Kind::Copied, Ok(None)) => {}
                (Kind::Accept, Ok(Some(Accepted { peers: 0, .. }))) if committed => continue,
                (Kind::Refuse, Err(mistake)) => {
                    assert_eq!(mistake, Mistake::GaveUp { reason: r"no\nmore".to_owned() });
                }
                (_, Err(mistake)) => assert_eq!(mistake, Mistake::OutOfTurn { kind, step: "after the freeze" }),
                (_, Ok(heard)) => panic!("{kind:?} led to {heard:?}, committed: {committed}"),
            }
            // Whatever it was, it does not change what counts: Accept does, and only after Commit.
            assert_eq!(frozen.hear(Frame::Accept).is_ok_and(|heard| heard.is_some()), committed, "after {kind:?}");
        }
    }
}

#[test]
fn accept_before_commit_is_refused_and_accept_after_it_is_not() {
    let mut frozen = frozen(false);
    let mistake = frozen.hear(Frame::Accept).unwrap_err();
    assert_eq!(mistake, Mistake::OutOfTurn { kind: Kind::Accept, step: "after the freeze" });
    assert_eq!(frozen.commit(b"state").count(), 2);
    frozen.hear(Frame::Accept).expect_err("the frames are made, and not sent");
    frozen.committed();
    assert!(frozen.hear(Frame::Accept).unwrap().is_some());
}

#[test]
fn a_caller_hears_welcome_or_refuse_and_nothing_else() {
    for kind in KINDS {
        let (called, _) = Called::new(offers(), 20_000, 7);
        let raw = frame(kind, 1);
        match (kind, called.hear(raw.decode().unwrap())) {
            (Kind::Welcome, Ok(_)) => {}
            (Kind::Refuse, Err(fault)) => assert_eq!(fault, Fault::Refused { reason: r"no\nmore".to_owned() }),
            (_, Err(fault)) => assert_eq!(fault, Fault::OutOfTurn { kind, step: "in answer to Hello" }),
            (_, Ok(welcome)) => panic!("{kind:?} led to {welcome:?}"),
        }
    }
}

/// The known peer, in the tests of what a successor hears.
const KNOWN: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReceiveStep {
    BeforeListeners,
    Copying,
    AfterLastRound,
    AfterState,
}

/// What the predecessor says in a whole takeover of one peer, by the step in which the successor hears it.
fn takeover_of_one() -> [(ReceiveStep, Vec<u8>); 6] {
    let known = records_frame(RecordsKind::Peers, KNOWN, 0);
    let digest = digest(&known);
    let figures = Figures::default();
    let commit = Commit { peers: 1, digest, state_bytes: 5, frozen_at_ns: FROZEN_AT_NS, figures };
    [
        (ReceiveStep::BeforeListeners, Frame::Listeners(listeners()).encode()),
        (ReceiveStep::BeforeListeners, known),
        (ReceiveStep::Copying, Frame::Round(Round { number: 1, last: false }).encode()),
        (ReceiveStep::Copying, Frame::Round(Round { number: 2, last: true }).encode()),
        (ReceiveStep::AfterLastRound, Frame::State(State { part: b"state" }).encode()),
        (ReceiveStep::AfterState, Frame::Commit(commit).encode()),
    ]
}

fn digest(frame: &[u8]) -> u64 {
    let raw = RawFrame::take(&mut frame.to_vec(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let (Frame::Peers(records) | Frame::Changed(records)) = raw.decode().unwrap() else { panic!("no records") };
    records.iter().map(|record| u64::from(record.digest)).sum()
}

/// Lets the successor hear frames, up to Accept or a fault.
fn hear_all(receiving: &mut Receiving, frames: &[Vec<u8>]) -> Result<Option<Accept>, Fault> {
    for frame in frames {
        let raw = RawFrame::take(&mut frame.clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        if let Action::Accept(accept) = receiving.hear(raw.decode().unwrap())? {
            return Ok(Some(*accept));
        }
    }
    Ok(None)
}

/// A successor in this step, and what it has yet to hear.
fn receiving(step: ReceiveStep) -> (Receiving, Vec<Vec<u8>>) {
    let mut receiving = Receiving::default();
    let mut heard = takeover_of_one().to_vec();
    let to_hear = heard.split_off(match step {
        ReceiveStep::BeforeListeners => 0,
        ReceiveStep::Copying => 2,
        ReceiveStep::AfterLastRound => 4,
        ReceiveStep::AfterState => 5,
    });
    let frames = |steps: Vec<(ReceiveStep, Vec<u8>)>| steps.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>();
    assert_eq!(hear_all(&mut receiving, &frames(heard)), Ok(None));
    (receiving, frames(to_hear))
}

#[test]
fn a_receiving_successor_hears_what_it_waits_for_and_nothing_else() {
    use ReceiveStep::{AfterLastRound, AfterState, BeforeListeners, Copying};
    for step in [BeforeListeners, Copying, AfterLastRound, AfterState] {
        for (kind, cookie) in KINDS.into_iter().flat_map(|kind| [(kind, KNOWN), (kind, KNOWN + 1)]) {
            let (mut receiving, to_hear) = receiving(step);
            let knows = step != BeforeListeners && cookie == KNOWN;
            let raw = frame(kind, cookie);
            let fault = match (kind, step, receiving.hear(raw.decode().unwrap())) {
                (Kind::Listeners, BeforeListeners, Ok(Action::Listen(_))) => continue,
                (Kind::Peers, Copying | AfterLastRound | AfterState, Ok(Action::Adopt(records, _)))
                    if !knows && records.len() == 1 =>
                {
                    continue;
                }
                (Kind::Changed, _, Ok(Action::Change(records))) if knows && records.len() == 1 => continue,
                (Kind::Closed, _, Ok(Action::Discard(cookies))) if knows && cookies == [KNOWN] => continue,
                (Kind::Round, Copying, Ok(Action::Answer(_))) => continue,
                (Kind::State, AfterLastRound | AfterState, Ok(Action::Wait)) => continue,
                (_, _, Ok(action)) => panic!("{kind:?} led to {action:?} in {step:?}"),
                (_, _, Err(fault)) => fault,
            };
            match (kind, fault) {
                (Kind::Refuse, fault) => assert_eq!(fault, Fault::Refused { reason: r"no\nmore".to_owned() }),
                (Kind::Peers, fault) if knows => assert_eq!(fault, Fault::Twice { cookie }),
                (Kind::Changed | Kind::Closed, Fault::Unknown { .. }) if !knows && step != BeforeListeners => {}
                // It has a peer and no shared state, or a part of it; this one tells of neither.
                (Kind::Commit, Fault::Incomplete { .. }) if matches!(step, AfterLastRound | AfterState) => {}
                (_, fault) => {
                    let step = match step {
                        BeforeListeners => "before its listeners",
                        Copying => "during the copy",
                        AfterLastRound | AfterState => "after the last round",
                    };
                    assert_eq!(fault, Fault::OutOfTurn { kind, step });
                }
            }
            // What was refused has changed nothing: all the rest still leads to Accept.
            let accept = hear_all(&mut receiving, &to_hear).unwrap().expect("the rest ends with Accept");
            assert_eq!(accept.state, b"state", "after {kind:?} in {step:?}");
        }
    }
}

#[test]
fn peers_before_the_listeners_are_out_of_turn() {
    let (mut receiving, _) = receiving(ReceiveStep::BeforeListeners);
    let raw = frame(Kind::Peers, KNOWN);
    let fault = receiving.hear(raw.decode().unwrap()).expect_err("the listeners come first");
    assert_eq!(fault, Fault::OutOfTurn { kind: Kind::Peers, step: "before its listeners" });
}

#[test]
fn faults_say_both_numbers() {
    let fault = Fault::Incomplete { what: "number of peers", arrived: 9, sent: 10 };
    assert_eq!(fault.to_string(), "the number of peers that arrived is 9, 10 was sent");
    assert_eq!(Fault::Round { number: 3, expected: 2 }.to_string(), "round 3 ended, 2 was expected to");
    let several = Fault::Listeners { count: 2, expected: 1 };
    assert_eq!(several.to_string(), "the predecessor has 2 listeners, 1 is expected");
    let unexpected = Fault::Listeners { count: 1, expected: 0 };
    let said = "the predecessor has 1 listeners, and a worker of a supervisor takes over none";
    assert_eq!(unexpected.to_string(), said);
    let mistake = Mistake::Room { files_max: 1024, files_needed: 1025 };
    assert_eq!(mistake.to_string(), "the successor may open 1024 files, 1025 are needed by now");
    assert_eq!(Mistake::Silent { silence: SILENCE_MAX }.to_string(), "the successor was silent for 10000 ms");
}

// ── Tampering ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// All that a predecessor said after Welcome in a takeover with everything in it, and the records in the end.
fn recorded() -> (Vec<Vec<u8>>, BTreeMap<u64, Vec<u8>>) {
    let mut world = World::new(600);
    world.shared_state = (0..2 * PART_BYTES + 5).map(|at| (at % 251) as u8).collect();
    let mut step = 0;
    world.finish(|world| {
        step += 1;
        for choice in 0..20 {
            world.change(step * 31 + choice);
        }
        world.accept();
        world.close(step * 17);
    });
    world.assert_taken_over();
    let frames = world.sent.split_off(1);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame[4].try_into().unwrap()).collect();
    for kind in [Kind::Peers, Kind::Changed, Kind::Closed, Kind::Round, Kind::State] {
        let count = kinds.iter().filter(|other| **other == kind).count();
        assert!(count >= 2, "{count} times {kind:?}");
    }
    (frames, world.adopted)
}

/// What a successor makes of these frames: the records that it ends with, if it accepts.
fn replay(frames: &[Vec<u8>]) -> Result<Option<BTreeMap<u64, Vec<u8>>>, Fault> {
    let mut receiving = Receiving::default();
    let mut adopted = BTreeMap::new();
    for frame in frames {
        let raw = RawFrame::take(&mut frame.clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        match receiving.hear(raw.decode().unwrap())? {
            Action::Adopt(records, _) | Action::Change(records) => {
                adopted.extend(records.iter().map(|record| (record.record.cookie, encoded(&record.record))));
            }
            Action::Discard(cookies) => adopted.retain(|cookie, _| !cookies.contains(cookie)),
            Action::Accept(_) => return Ok(Some(adopted)),
            Action::Listen(_) | Action::Answer(_) | Action::GetReady(_) | Action::Wait => {}
        }
    }
    Ok(None)
}

fn kind_of(frame: &[u8]) -> Kind {
    frame[4].try_into().unwrap()
}

#[test]
fn an_untouched_recording_is_accepted() {
    let (frames, records) = recorded();
    assert_eq!(replay(&frames), Ok(Some(records)));
}

#[test]
fn a_lost_frame_is_noticed() {
    let (frames, records) = recorded();
    for lost in 0..frames.len() {
        let mut left = frames.clone();
        let kind = kind_of(&left.remove(lost));
        match (kind, replay(&left)) {
            (Kind::Listeners, Err(Fault::OutOfTurn { kind: Kind::Peers, .. })) => {}
            (Kind::Peers, Err(Fault::Unknown { .. } | Fault::Incomplete { .. })) => {}
            (Kind::Changed, Err(Fault::Incomplete { what: "digest", .. })) => {}
            // Every record in it was sent again later.
            (Kind::Changed, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Fault::Incomplete { what: "number of peers", .. })) => {}
            (Kind::Round, Err(Fault::Round { .. } | Fault::OutOfTurn { .. })) => {}
            (Kind::State, Err(Fault::Incomplete { what: "size of the shared state", .. })) => {}
            (Kind::Commit, Ok(None)) => {}
            (kind, result) => panic!("without frame {lost}, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

#[test]
fn a_repeated_frame_is_noticed() {
    let (frames, records) = recorded();
    for repeated in 0..frames.len() {
        let mut more = frames.clone();
        more.insert(repeated, frames[repeated].clone());
        match (kind_of(&frames[repeated]), replay(&more)) {
            (Kind::Listeners, Err(Fault::OutOfTurn { kind: Kind::Listeners, .. })) => {}
            (Kind::Peers, Err(Fault::Twice { .. })) => {}
            // The same records once more are the same records.
            (Kind::Changed | Kind::Commit, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Fault::Unknown { .. })) => {}
            (Kind::Round, Err(Fault::Round { .. } | Fault::OutOfTurn { .. })) => {}
            (Kind::State, Err(Fault::Incomplete { what: "size of the shared state", .. })) => {}
            (kind, result) => panic!("with frame {repeated} twice, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_is_noticed() {
    let (frames, _) = recorded();
    let mut noticed = 0;
    for changed in 0..frames.len() {
        let kind = match kind_of(&frames[changed]) {
            Kind::Peers => RecordsKind::Peers,
            Kind::Changed => RecordsKind::Changed,
            _ => continue,
        };
        let raw = RawFrame::take(&mut frames[changed].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        let (Frame::Peers(mut records) | Frame::Changed(mut records)) = raw.decode().unwrap() else { unreachable!() };
        let last = records.last_mut().expect("a batch is not empty");
        last.record.outbound = b"a byte more";
        let mut writer = RecordsWriter::new(kind);
        for record in &records {
            writer.push(&record.record);
        }
        let cookie = records.last().unwrap().record.cookie;
        let mut tampered = frames.clone();
        tampered[changed] = writer.finish();
        match replay(&tampered) {
            Err(Fault::Incomplete { what: "digest", .. }) => noticed += 1,
            // It was sent again later, or left.
            Ok(Some(arrived)) => assert_ne!(arrived.get(&cookie), Some(&encoded(&records.last().unwrap().record))),
            result => panic!("with a record of frame {changed} changed: {:?}", result.map(|_| "accepted")),
        }
    }
    assert!(noticed >= 2);
}

#[test]
fn a_round_that_skips_a_number_is_noticed() {
    let (mut receiving, _) = receiving(ReceiveStep::Copying);
    let round = |number| Frame::Round(Round { number, last: false });
    for number in [0, 2, u32::MAX] {
        assert_eq!(receiving.hear(round(number)), Err(Fault::Round { number, expected: 1 }));
    }
    let Ok(Action::Answer(mut answer)) = receiving.hear(round(1)) else { panic!("the round is the next") };
    let raw = RawFrame::take(&mut answer, TO_PREDECESSOR_BYTES_MAX).unwrap().unwrap();
    assert_eq!(raw.decode().unwrap(), Frame::Copied(Copied { peers: 1, rounds: 1 }));
    assert_eq!(receiving.hear(round(1)), Err(Fault::Round { number: 1, expected: 2 }));
}

#[test]
fn a_commit_that_differs_in_one_figure_is_refused_with_both() {
    let (_, to_hear) = receiving(ReceiveStep::AfterState);
    let raw = RawFrame::take(&mut to_hear[0].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let Frame::Commit(commit) = raw.decode().unwrap() else { panic!("Commit comes last") };
    let Commit { peers, digest, state_bytes, .. } = commit;
    let wrong = [
        (Commit { peers: 2, ..commit.clone() }, ("number of peers", peers, 2)),
        (Commit { digest: digest + 1, ..commit.clone() }, ("digest", digest, digest + 1)),
        (Commit { state_bytes: 4, ..commit.clone() }, ("size of the shared state", state_bytes, 4)),
    ];
    for (commit, (what, arrived, sent)) in wrong {
        let (mut receiving, _) = receiving(ReceiveStep::AfterState);
        assert_eq!(receiving.hear(Frame::Commit(commit)), Err(Fault::Incomplete { what, arrived, sent }));
    }
}

// ── The window ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// How many peers are on their way to a successor that never acknowledges any.
fn sent_to_a_silent_successor(session_bytes: usize) -> u64 {
    let mut world = World::with_sessions(5000, session_bytes);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    assert!(matches!(world.predecessor, Predecessor::Copying(_)));
    world.peers_sent
}

#[test]
fn a_silent_successor_gets_a_window_of_peers_and_no_more() {
    assert_eq!(sent_to_a_silent_successor(4), PEERS_IN_FLIGHT_MAX);
}

#[test]
fn a_silent_successor_gets_no_more_than_a_window_of_peers_with_large_records() {
    for session_bytes in [300, 1000, 5000] {
        let sent = sent_to_a_silent_successor(session_bytes);
        assert!(sent <= PEERS_IN_FLIGHT_MAX, "{sent} peers with sessions of {session_bytes} bytes");
    }
}

#[test]
fn acknowledged_peers_make_room_in_the_window() {
    let mut world = World::new(5000);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    // Welcome and Listeners, then one batch.
    for _ in 0..3 {
        world.successor_turn();
    }
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    assert_eq!(world.peers_sent, PEERS_IN_FLIGHT_MAX + 250);
    world.finish(|_| {});
    world.assert_taken_over();
    assert!(world.in_flight_most <= PEERS_IN_FLIGHT_MAX);
}

#[test]
fn a_successor_that_claims_more_than_was_sent_is_mistaken() {
    for step in [CopyStep::Sending, CopyStep::RoundSent, CopyStep::LastRoundSent] {
        let rounds_sent = match step {
            CopyStep::Sending => 0,
            CopyStep::RoundSent => 1,
            CopyStep::LastRoundSent => 2,
        };
        let claims = [(0, rounds_sent + 1), (1, rounds_sent), (u64::MAX, 0), (0, u32::MAX)];
        for (peers, rounds) in claims {
            let mistake = copying(step).hear(Frame::Copied(Copied { peers, rounds }), Instant::now()).unwrap_err();
            assert_eq!(mistake, Mistake::Copied { peers, peers_sent: 0, rounds, rounds_sent });
        }
        let exact = Frame::Copied(Copied { peers: 0, rounds: rounds_sent });
        assert!(copying(step).hear(exact, Instant::now()).is_ok());
    }
    let mistake = Mistake::Copied { peers: 9, peers_sent: 8, rounds: 1, rounds_sent: 2 };
    assert_eq!(mistake.to_string(), "the successor claims 9 peers and 1 rounds, 8 and 2 were sent");
}

#[test]
fn a_successor_that_takes_back_what_it_acknowledged_changes_nothing() {
    let mut world = World::new(1250);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    for frame in [Copied { peers: 1000, rounds: 0 }, Copied { peers: 0, rounds: 0 }] {
        world.to_predecessor.extend(Frame::Copied(frame).encode());
    }
    world.predecessor_turn(false);
    assert_eq!(world.peers_sent, 1250);
}

#[test]
fn peers_that_come_during_the_copy_are_refused_when_the_successor_has_no_room_for_them() {
    let files_max = 7 + FILES_RESERVED + 2;
    let hello = Hello { files_max, ..hello() };
    let mut peers = Slab::new();
    for cookie in 1..=3 {
        peers.insert(FakePeer { cookie, session: vec![0; 4], inbound: Vec::new() });
    }
    let mut copying = Copying::new(hello, peers.capacity(), Instant::now());
    let mistake = copying.next(writer(&peers)).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

#[test]
fn peers_that_come_before_the_freeze_are_refused_when_the_successor_has_no_room_for_them() {
    let now = Instant::now();
    let files_max = 7 + FILES_RESERVED + 2;
    let mut copying = Copying::new(Hello { files_max, ..hello() }, 0, now);
    send_round(&mut copying, false);
    let Ok(Heard::Copying(mut copying)) = copying.hear(Frame::Copied(Copied { peers: 0, rounds: 1 }), now) else {
        panic!("the copy goes on");
    };
    send_round(&mut copying, true);
    let mut peers = Slab::new();
    for cookie in 1..=3 {
        let key = peers.insert(FakePeer { cookie, session: vec![0; 4], inbound: Vec::new() });
        copying.mirror_mut().touched(key);
    }
    let Ok(Heard::Ready(ready)) = copying.hear(Frame::Ready, now) else { panic!("the last round was sent") };
    let mistake = ready.freeze(now, FROZEN_AT_NS).next(writer(&peers)).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

// ── Rounds ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Copies `dirty.len()` rounds or fewer, in each of which so many peers change; returns how many rounds it took.
fn rounds(dirty: impl IntoIterator<Item = usize>) -> u32 {
    let mut peers: Slab<FakePeer> = Slab::new();
    for cookie in 1..=2000 {
        peers.insert(FakePeer { cookie, session: vec![0; 4], inbound: Vec::new() });
    }
    let now = Instant::now();
    let mut copying = Copying::new(hello(), peers.capacity(), now);
    let mut dirty = dirty.into_iter();
    let mut peers_sent = 0;
    let mut number = 1;
    loop {
        // What changes in a round is pending at its end, also what changes early in it.
        let changed = dirty.next().unwrap_or(0);
        let mut at_the_end_of_the_walk = true;
        while let Some(outgoing) = copying.next(writer(&peers)).unwrap() {
            if let Outgoing::Batch(batch) = &outgoing {
                peers_sent += batch.descriptor_keys().count() as u64;
                copying.sent(outgoing, Instant::now());
                let copied = Frame::Copied(Copied { peers: peers_sent, rounds: number - 1 });
                let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
                copying = next;
                continue;
            }
            if std::mem::take(&mut at_the_end_of_the_walk) {
                copying.unsent(outgoing);
                for key in 0..changed.min(peers.len()) {
                    peers[key].change();
                    copying.mirror_mut().touched(key);
                }
                continue;
            }
            let Outgoing::Round { last, .. } = outgoing else { unreachable!("batches are done with") };
            copying.sent(outgoing, Instant::now());
            if last {
                return number;
            }
        }
        let copied = Frame::Copied(Copied { peers: peers_sent, rounds: number });
        let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
        copying = next;
        number += 1;
    }
}

#[test]
fn rounds_end_when_little_is_pending() {
    assert_eq!(rounds([]), 2);
    assert_eq!(rounds([2000, 16]), 2);
    assert_eq!(rounds([2000, 17, 16]), 3);
    assert_eq!(rounds([2000, 500, 100, 3]), 4);
}

#[test]
fn rounds_end_when_they_do_not_make_it_less() {
    assert_eq!(rounds(std::iter::repeat(2000)), 2, "everything is dirty all the time");
    assert_eq!(rounds([2000, 1500]), 2);
    assert_eq!(rounds([2000, 1499, 1200]), 3);
}

#[test]
fn rounds_end_at_their_maximum_while_each_still_makes_it_less() {
    let fewer = std::iter::successors(Some(2000), |dirty| Some(dirty * 7 / 10));
    assert!(fewer.clone().nth(ROUNDS_MAX as usize - 1).unwrap() > 16);
    assert_eq!(rounds(fewer), ROUNDS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rounds_end_whatever_is_dirty(dirty in proptest::collection::vec(0..2000usize, 0..20)) {
        let rounds = rounds(dirty);
        prop_assert!((2..=ROUNDS_MAX).contains(&rounds));
    }
}

#[test]
fn a_takeover_ends_even_if_everything_is_dirty_all_the_time() {
    let mut world = World::new(700);
    let mut steps = 0;
    world.finish(|world| {
        steps += 1;
        world.apply(Event::ChangeAll);
    });
    world.assert_taken_over();
    assert!(steps < 200, "{steps} steps");
}

mod recorded;
