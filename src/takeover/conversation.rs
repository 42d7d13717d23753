//! Tests of both halves of the conversation together: the real halves, the real wire, and no socket.
//!
//! A world holds a predecessor with a table of [peers] that are nothing but records, a successor, and the bytes that are
//! on their way between the two. Each side advances by one frame at a time, so that anything can happen in between.
//!
//! Here are whole takeovers, and those in which a side is killed or stopped. `greeting`, `turns`, `tampering`, `pace` and
//! `ending` look at one thing each; `recorded` plays what released versions said.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slab::Slab;

use super::drive::{Accepting, Came, Drive, Owner, PredecessorEnd, Stepped, SuccessorEnd};
use super::mirror::Batch;
use super::pieces::Written;
use super::predecessor::{
    self, Accepted, Copying, Decision, Estate, Frozen, Mistake, Outgoing, Ready, SILENCE_MAX, greet,
};
use super::successor::{Action, Called, Heard, Receiving};
use super::wire::{
    At, Figures, Frame, Hello, Kind, Listener, Listeners, Offer, RawFrame, Refuse, TO_PREDECESSOR_BYTES_MAX,
    TO_SUCCESSOR_BYTES_MAX, Versions, WIRE_VERSIONS,
};
use crate::originals::Originals;
use crate::peer::record::Record;
use crate::service::Entries;
use peers::{Adopted, FakePeer, Map, With};

/// What the window promises.
const PEERS_IN_FLIGHT_MAX: u64 = 1000;

/// What may be pending at the freeze while rounds make it less.
const PEERS_PENDING_MAX: u64 = 128;
const ENTRIES_PENDING_MAX: u64 = 128;

const FREEZE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it takes until each side has had its turn.
const STEP: Duration = Duration::from_millis(10);

/// Descriptors that a successor has to leave to others than peers.
const FILES_RESERVED: u64 = reactord_process::open_files::RESERVED as u64;

const PREDECESSOR_PID: u32 = 1;

const FROZEN_AT_NS: u64 = 77;
/// The most of the shared state that one frame carries.
const PART_BYTES: usize = 64 * 1024;

fn nobody() -> Slab<FakePeer> {
    Slab::new()
}

fn offers() -> Vec<Offer> {
    vec![
        Offer { service: "line".to_owned(), state_versions: Versions { oldest: 1, newest: 1 } },
        Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 1, newest: 2 } },
    ]
}

fn estate(peers: u64) -> [Estate; 1] {
    [Estate { service: "seqnum", state_version: 2, peers }]
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
        services: vec![Listener {
            at: At::Tcp(([127, 0, 0, 1], 1234).into()),
            lane: 0,
            name: "clients".to_owned(),
            is_leftover: false,
        }],
        takeover_path: b"/run/path".to_vec(),
        takeover_device: 1,
        takeover_inode: 2,
    }
}

// ── The world ──────────────────────────────────────────────────────────────────────────────────────────────────────

fn encoded(record: &Record<'_>) -> Vec<u8> {
    minicbor::to_vec(record).unwrap()
}

/// The entries of each map, in order.
fn entries(maps: &[Map]) -> Vec<BTreeMap<u32, Vec<u8>>> {
    maps.iter().map(|map| map.iter().map(|(key, value)| (*key, value.clone())).collect()).collect()
}

/// The peers of a world with the entries that they share, beside whatever else is borrowed of it.
macro_rules! with {
    ($world:ident) => {
        With { peers: &$world.peers, maps: &mut $world.maps }
    };
}

#[derive(Debug)]
enum Predecessor {
    /// It serves, and nobody has called.
    Listening,
    Copying(Copying),
    /// It ends the takeover.
    Ending(Drive<String>),
    /// The takeover has failed, and it serves on.
    Thawed(String),
    Retired(Accepted),
    Killed,
}

#[derive(Debug)]
enum Successor {
    Called(Called),
    Receiving(Receiving),
    /// It has heard Commit.
    Accepting(Accepting),
    /// Its Accept is in the channel.
    Owner(Owner),
    /// It has given up.
    Gone(String),
    Killed,
}

/// Who owns the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Predecessor,
    Successor,
    Nobody,
}

struct World {
    peers: Slab<FakePeer>,
    /// The entries that they share.
    maps: Vec<Map>,
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
    /// The time of the freeze is over.
    overdue: bool,
    /// How many frames the successor still hears when the predecessor is about to end the channel.
    heard_at_last: usize,
    /// What the predecessor sends stays with it, until it says its last word.
    stuck: bool,
    unsent: Vec<u8>,
    /// All that was ever sent to the successor.
    sent: Vec<Vec<u8>>,
    /// The peers that the successor has adopted.
    adopted: BTreeMap<u64, Adopted>,
    /// The timers that it has set.
    timers: Vec<(u32, u64)>,
    /// The entries that it has.
    entered: Vec<Map>,
    /// How many peers were sent with their descriptors, and how many of them the successor has acknowledged.
    peers_sent: u64,
    peers_acknowledged: u64,
    in_flight_most: u64,
    /// More was pending at the freeze than should be.
    strained: bool,
}

impl World {
    fn new(peers: usize) -> Self {
        Self::with_sessions(peers, 4)
    }

    fn with_sessions(peers: usize, session_bytes: usize) -> Self {
        let mut world = Self {
            peers: Slab::new(),
            maps: Vec::new(),
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
            overdue: false,
            heard_at_last: 0,
            stuck: false,
            unsent: Vec::new(),
            sent: Vec::new(),
            adopted: BTreeMap::new(),
            timers: Vec::new(),
            entered: Vec::new(),
            peers_sent: 0,
            peers_acknowledged: 0,
            in_flight_most: 0,
            strained: false,
        };
        for _ in 0..peers {
            world.accept();
        }
        world.call();
        world
    }

    /// The same with maps of so many entries in the first one, and of as many bytes in each.
    fn with_entries(peers: usize, entries: usize, bytes: usize) -> Self {
        let mut world = Self::new(peers);
        let full = (0..entries as u32).map(|key| (key, vec![1; bytes])).collect();
        world.maps = vec![full, Map::default()];
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
        self.overdue = false;
        self.heard_at_last = 0;
        self.stuck = false;
        self.unsent = Vec::new();
        self.sent = Vec::new();
        self.adopted = BTreeMap::new();
        self.timers = Vec::new();
        // What it has had itself goes as the copy begins.
        self.entered = self.maps.iter().map(|_| Map::from_iter([(u32::MAX, vec![2])])).collect();
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
            let key = self.peers.insert(FakePeer::new(self.cookies, self.session_bytes));
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).touched(key, true);
            }
        }
    }

    fn change(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            let session_changed = self.peers[key].change();
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).touched(key, session_changed);
            }
        }
    }

    /// Something happens to an entry of either map: it comes, changes, or goes.
    fn change_entry(&mut self, choice: usize) {
        if !self.serves() || self.maps.is_empty() {
            return;
        }
        let map = &mut self.maps[choice % 2];
        let key = (choice / 2 % (map.len() + 3)) as u32;
        match choice / 3 % 3 {
            0 => drop(map.remove(&key)),
            1 => map.get_or_insert_with(key, Vec::new).push(3),
            _ => map.get_mut(&key).into_iter().for_each(|value| value.truncate(9)),
        }
    }

    fn close(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            let FakePeer { cookie, .. } = self.peers.remove(key);
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).closed(key, cookie);
            }
        }
    }

    // The predecessor.

    /// One frame of the predecessor's, after it has heard all that has arrived. `full`: the channel takes nothing.
    fn predecessor_turn(&mut self, full: bool) {
        self.predecessor = match std::mem::replace(&mut self.predecessor, Predecessor::Killed) {
            Predecessor::Listening => self.greet_caller(),
            Predecessor::Copying(copying) => self.copy(copying, full).unwrap_or_else(|mistake| self.thaw(&mistake)),
            Predecessor::Ending(drive) => self.end(drive),
            other => other,
        };
        self.in_flight_most = self.in_flight_most.max(self.peers_sent - self.peers_acknowledged);
    }

    fn receive_at_predecessor(&mut self) -> Option<RawFrame> {
        RawFrame::take(&mut self.to_predecessor, TO_PREDECESSOR_BYTES_MAX).unwrap()
    }

    fn send_to_successor(&mut self, frame: Vec<u8>) {
        if !self.ended {
            let channel = if self.stuck { &mut self.unsent } else { &mut self.to_successor };
            channel.extend_from_slice(&frame);
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
                Predecessor::Copying(Copying::new(hello, &[self.peers.capacity()], self.now))
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
                predecessor::Heard::Copying(goes_on) => copying = goes_on,
                predecessor::Heard::Ready(ready) => {
                    match ready.decide(&mut [&mut with!(self)], FREEZE_TIMEOUT, self.now)? {
                        Decision::Copy(goes_on) => copying = goes_on,
                        Decision::Freeze(ready, strain) => {
                            self.strained = strain.is_some();
                            return Ok(Predecessor::Ending(Drive::new(ready)));
                        }
                    }
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
        let next = copying.next(&mut [&mut with!(self)])?;
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
                    Outgoing::Entries(Written { frame, .. }) | Outgoing::Round { frame, .. } => frame.clone(),
                };
                self.send_to_successor(frame);
                copying.sent(outgoing, self.now);
            }
            None => {}
        }
        Ok(Predecessor::Copying(copying))
    }

    fn end(&mut self, drive: Drive<String>) -> Predecessor {
        match drive.step(self) {
            Stepped::On(drive) => Predecessor::Ending(drive),
            Stepped::HandedOver(accepted) => Predecessor::Retired(accepted),
            Stepped::Thaw(why) => self.thaw(&why),
        }
    }

    /// The predecessor's deadline passes, after its freeze.
    fn freeze_timeout(&mut self) {
        self.overdue = true;
        while matches!(self.predecessor, Predecessor::Ending(_)) {
            self.predecessor_turn(false);
        }
    }

    fn thaw(&mut self, why: &dyn std::fmt::Display) -> Predecessor {
        self.ended = true;
        Predecessor::Thawed(why.to_string())
    }

    // The successor.

    /// The successor hears one frame, and does what comes of it.
    fn successor_turn(&mut self) {
        match std::mem::replace(&mut self.successor, Successor::Killed) {
            Successor::Accepting(accepting) => return self.successor = self.commit(accepting),
            successor => self.successor = successor,
        }
        if !self.successor_listens() {
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
                Ok(_) => Successor::Receiving(Receiving::expecting(&[0])),
                Err(objection) => self.give_up(&objection),
            },
            Successor::Receiving(receiving) => match receiving.hear(frame) {
                Ok(Heard::On(receiving, action)) => {
                    self.act(action);
                    Successor::Receiving(receiving)
                }
                Ok(Heard::Commit(accept)) => Successor::Accepting(Accepting::Verified(accept)),
                Err(objection) => self.give_up(&objection),
            },
            other => other,
        };
    }

    fn act(&mut self, action: Action<'_>) {
        match action {
            Action::Listen(arrived) => assert_eq!(arrived, listeners()),
            Action::Adopt(peers, answer) => {
                for record in peers.records {
                    let cookie = self.descriptors.pop_front().expect("each record comes with its descriptor");
                    assert_eq!(record.value.cookie, cookie, "each record comes with its own descriptor");
                    let before = self.adopted.insert(cookie, Adopted::of(&record.value));
                    assert!(before.is_none(), "a peer is adopted once");
                }
                self.send_to_predecessor(answer);
            }
            Action::Change(changed) => {
                for change in changed.records {
                    let peer = self.adopted.get_mut(&change.value.cookie).expect("a peer that changes was adopted");
                    peer.follow(&change.value).expect("it is told what it does not know");
                }
            }
            Action::Discard(closed) => {
                for cookie in closed.cookies {
                    assert!(self.adopted.remove(&cookie).is_some(), "a peer that leaves was adopted");
                }
            }
            Action::SetTimers(came) => self.timers.extend(came.timers.iter().map(|timer| (timer.timer, timer.at_ns))),
            Action::Enter { of, piece } => {
                self.entered[of.map as usize].restore(2, &piece).expect("it is what the map has written");
            }
            Action::Answer(answer) | Action::GetReady(answer) => {
                self.send_to_predecessor(answer);
            }
            Action::Wait => {}
        }
    }

    fn commit(&mut self, accepting: Accepting) -> Successor {
        match accepting.step(self) {
            Ok(Came::On(accepting)) => Successor::Accepting(accepting),
            Ok(Came::Owner(owner)) => Successor::Owner(owner),
            Err(why) => Successor::Gone(why.to_owned()),
        }
    }

    fn successor_listens(&self) -> bool {
        matches!(self.successor, Successor::Called(_) | Successor::Receiving(_))
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
            self.now += STEP;
            between(self);
            self.predecessor_turn(false);
            between(self);
            self.successor_turn();
        }
        panic!("the takeover does not end");
    }

    /// Who owns the peers once the takeover is over.
    fn owner(&self) -> Whose {
        assert!(self.is_over());
        match (&self.predecessor, &self.successor) {
            (Predecessor::Thawed(_), Successor::Owner(_)) => panic!("both own the peers"),
            (Predecessor::Thawed(_), _) => Whose::Predecessor,
            (_, Successor::Owner(_)) => Whose::Successor,
            _ => Whose::Nobody,
        }
    }

    fn records(&self) -> BTreeMap<u64, Vec<u8>> {
        self.peers.iter().map(|(_, peer)| (peer.cookie, encoded(&peer.record()))).collect()
    }

    fn adopted_records(&self) -> BTreeMap<u64, Vec<u8>> {
        self.adopted.iter().map(|(cookie, peer)| (*cookie, encoded(&peer.record()))).collect()
    }

    /// The successor owns the peers, and has all that the predecessor had.
    fn assert_taken_over(&self) {
        assert_eq!(self.owner(), Whose::Successor, "{:?}, {:?}", self.predecessor, self.successor);
        let (Predecessor::Retired(accepted), Successor::Owner(owner)) = (&self.predecessor, &self.successor) else {
            panic!("the predecessor is {:?}, the successor {:?}", self.predecessor, self.successor);
        };
        let accept = owner.accept();
        assert!(self.adopted_records() == self.records(), "the records are the same on both sides");
        assert!(accept.states == [&*self.shared_state], "the shared state is the same on both sides");
        assert!(self.timers == self.peers.timers(), "the timers are the same on both sides");
        assert!(entries(&self.entered) == entries(&self.maps), "the entries are the same on both sides");
        assert_eq!(accept.entries, accepted.entries);
        assert_eq!(accepted.peers, self.peers.len() as u64);
        assert_eq!(accept.figures, accepted.figures);
        assert_eq!(accept.frozen_at_ns, FROZEN_AT_NS);
        assert!(
            self.strained || accept.figures.dirty <= PEERS_PENDING_MAX + ENTRIES_PENDING_MAX,
            "{:?}",
            accept.figures
        );
        assert!(self.descriptors.is_empty(), "no descriptor is left over");
        // Welcome, Listeners and Commit are not counted.
        let bytes: usize = self.sent[2..self.sent.len() - 1].iter().map(Vec::len).sum();
        assert_eq!(accept.figures.bytes, bytes as u64);
    }
}

impl PredecessorEnd for World {
    type Failure = String;

    fn freeze(&mut self, ready: Ready) -> Result<Frozen, String> {
        Ok(ready.freeze(self.now, FROZEN_AT_NS))
    }

    fn next_batch(&mut self, frozen: &mut Frozen) -> Result<Option<Batch>, String> {
        Ok(frozen.next(&[&mut with!(self)])?)
    }

    fn send_batch(&mut self, batch: &Batch) -> Result<(), String> {
        self.descriptors.extend(batch.descriptor_keys().map(|key| self.peers[key].cookie));
        self.send_part(&batch.frame)
    }

    fn next_entries(&mut self, frozen: &mut Frozen) -> Result<Option<Vec<u8>>, String> {
        Ok(frozen.next_entries(&mut [&mut with!(self)]))
    }

    fn save(&mut self) -> Result<Vec<Vec<u8>>, String> {
        Ok(vec![self.shared_state.clone()])
    }

    fn send_part(&mut self, frame: &[u8]) -> Result<(), String> {
        self.send_to_successor(frame.to_vec());
        if self.stuck { Err("the successor was silent".to_owned()) } else { Ok(()) }
    }

    fn send_commit(&mut self, frame: &[u8]) -> Result<(), String> {
        self.send_part(frame)
    }

    fn arrived(&mut self) -> Result<Option<RawFrame>, String> {
        match self.receive_at_predecessor() {
            None if self.ended => Err("the channel has ended".to_owned()),
            received => Ok(received),
        }
    }

    fn check_time(&self) -> Result<(), String> {
        Ok(())
    }

    fn hear(&mut self) -> Result<Option<RawFrame>, String> {
        match self.arrived()? {
            None if self.overdue => Err("the successor was silent".to_owned()),
            arrived => Ok(arrived),
        }
    }

    fn out_of_patience(&self) -> Option<Mistake> {
        None
    }

    fn say_last(&mut self, why: &String) {
        self.stuck = false;
        self.to_successor.append(&mut self.unsent);
        self.send_to_successor(Frame::Refuse(Refuse { reason: why.clone() }).encode());
    }

    fn shut_down(&mut self) {
        (0..self.heard_at_last).for_each(|_| self.successor_turn());
        self.ended = true;
    }

    fn look(&mut self) -> Option<RawFrame> {
        self.receive_at_predecessor()
    }
}

impl SuccessorEnd for World {
    type Cause = &'static str;

    fn restore(&mut self, states: &[Vec<u8>]) -> Result<(), &'static str> {
        assert!(states == [&*self.shared_state], "the shared state is the same on both sides");
        Ok(())
    }

    fn send_accept(&mut self, frame: &[u8]) -> Result<(), &'static str> {
        if self.send_to_predecessor(frame.to_vec()) { Ok(()) } else { Err("too late") }
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
fn entries_of_any_number_and_size_arrive_as_they_are() {
    for (count, bytes) in [(0, 0), (1, 0), (1, 3 * PART_BYTES), (3, PART_BYTES), (5000, 100)] {
        let mut world = World::with_entries(3, count, bytes);
        world.finish(|_| {});
        world.assert_taken_over();
        let Predecessor::Retired(accepted) = &world.predecessor else { panic!("it has retired") };
        assert_eq!(accepted.entries, count as u64 + 2, "of either map it is told that all others are gone");
        assert_eq!(accepted.figures.dirty, 0);
    }
}

#[test]
fn entries_that_come_change_and_go_at_every_step_arrive_as_they_are() {
    let mut world = World::with_entries(3, 5000, 100);
    let mut step = 0;
    world.finish(|world| {
        for _ in 0..20 {
            step += 1;
            world.change_entry(step * 7919);
        }
    });
    world.assert_taken_over();
}

#[test]
fn entries_that_change_faster_than_they_are_copied_are_taken_over_after_some_time() {
    let mut world = World::with_entries(0, 2000, 10);
    world.finish(|world| {
        if world.serves() {
            world.maps[0].for_each_mut(|_, value| value.push(1));
        }
    });
    world.assert_taken_over();
    assert!(world.strained);
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
    Entry(usize),
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
        4 => (0..10_000usize).prop_map(Event::Entry),
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
            Event::Entry(choice) => self.change_entry(choice),
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
        entries in 0..3000usize,
        events in proptest::collection::vec(event(), 0..250),
    ) {
        let mut world = World::with_entries(peers, entries, 100);
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
        let mut world = World::with_entries(peers, 1000, 100);
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
            (0, true) | (1, false) => Whose::Nobody,
            (_, true) => Whose::Successor,
            (_, false) => Whose::Predecessor,
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
            Predecessor::Ending(_) => self.freeze_timeout(),
            _ => {}
        }
    }

    /// The predecessor is stopped for so long that the successor gives it up, and is continued then.
    fn stop_predecessor(&mut self) {
        while (!self.to_successor.is_empty() && self.successor_listens())
            || matches!(self.successor, Successor::Accepting(_))
        {
            self.successor_turn();
        }
        if self.successor_listens() {
            self.successor = self.give_up(&"the predecessor was silent");
        }
    }

    /// A takeover that is lively at every step, up to so many steps.
    fn lively(steps: usize) -> Self {
        // One entry is larger than a frame.
        let mut world = Self::with_entries(300, 1000, 100);
        world.maps[1].insert(0, vec![4; PART_BYTES]);
        world.shared_state = vec![1; PART_BYTES + 1];
        (0..steps).for_each(|step| world.lively_step(step));
        world
    }

    fn lively_step(&mut self, step: usize) {
        self.accept();
        self.change(step * 7919);
        self.close(step * 15_485_863);
        self.change_entry(step * 7919);
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
        assert_eq!(self.owner(), Whose::Predecessor);
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
            assert_eq!(world.owner(), Whose::Nobody);
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
            let reasons = ["the channel has ended", "too late", "refused: the successor was silent"];
            assert!(reasons.contains(&why.as_str()), "{why}");
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
        let expected = if steps < accepted { Whose::Nobody } else { Whose::Successor };
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

mod ending;
mod greeting;
mod pace;
pub(crate) mod peers;
mod recorded;
mod tampering;
mod turns;
