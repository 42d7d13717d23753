//! A predecessor, a successor, and what is on its way between them, as values.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use reactord_process::channel::{TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::{RawFrame, Refuse};
use slab::Slab;

use super::super::admission::{Estate, greet};
use super::super::drive::{Accepting, Came, Drive, Owner, PredecessorEnd, Stepped, SuccessorEnd};
use super::super::mirror::Batch;
use super::super::pieces::Written;
use super::super::predecessor::{self, Accepted, Copying, Decision, Frozen, Mistake, Outgoing, Ready, SILENCE_MAX};
use super::super::successor::{Action, Called, Heard, Receiving};
use super::super::wire::{At, Frame, Hello, Listener, Listeners, Offer, Versions, WIRE_VERSIONS};
use super::peers::{Adopted, FakePeer, FakeStream, Map, With};
use crate::originals::Originals;
use crate::peer::record::Record;
use crate::recipient::Recipient;
use crate::service::Entries;

/// What the window promises.
pub(super) const PEERS_IN_FLIGHT_MAX: u64 = 1000;

/// What may be pending at the freeze while rounds make it less.
pub(super) const PEERS_PENDING_MAX: u64 = 128;
pub(super) const ENTRIES_PENDING_MAX: u64 = 128;

pub(super) const FREEZE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it takes until each side has had its turn.
pub(super) const STEP: Duration = Duration::from_millis(10);

/// Descriptors that a successor has to leave to others than peers.
pub(super) const FILES_RESERVED: u64 = reactord_process::open_files::RESERVED as u64;

pub(super) const PREDECESSOR_PID: u32 = 1;

pub(super) const FROZEN_AT_NS: u64 = 77;
/// The most of the shared state that one frame carries.
pub(super) const PART_BYTES: usize = 64 * 1024;

pub(super) fn nobody() -> Slab<FakePeer> {
    Slab::new()
}

pub(super) fn offers() -> Vec<Offer> {
    vec![
        Offer { service: "line".to_owned(), state_versions: Versions { oldest: 1, newest: 1 } },
        Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 1, newest: 2 } },
    ]
}

pub(super) fn estate(peers: u64) -> [Estate; 1] {
    [Estate { service: "seqnum", state_version: 2, peers }]
}

pub(super) fn hello() -> Hello {
    Hello {
        wire_versions: WIRE_VERSIONS,
        build: "reactord test".to_owned(),
        services: offers(),
        files_max: 20_000,
        files_open: 7,
        upgrade: None,
        tls_layout: 0,
    }
}

pub(super) fn listeners() -> Listeners {
    Listeners {
        services: vec![Listener {
            at: At::Tcp(([127, 0, 0, 1], 1234).into()),
            lane: 0,
            name: "clients".to_owned(),
            is_leftover: false,
            is_borrowed: false,
            tls: None,
        }],
        takeover_path: b"/run/path".to_vec(),
        takeover_device: 1,
        takeover_inode: 2,
        queue_tls: None,
        has_queue: false,
    }
}

pub(super) fn encoded(record: &Record<'_>) -> Vec<u8> {
    minicbor::to_vec(record).unwrap()
}

/// The entries of each map, in order.
pub(super) fn entries(maps: &[Map]) -> Vec<BTreeMap<u32, Vec<u8>>> {
    maps.iter().map(|map| map.iter().map(|(key, value)| (*key, value.clone())).collect()).collect()
}

/// The peers of a world with the entries that they share, beside whatever else is borrowed of it.
macro_rules! with {
    ($world:ident) => {
        With { peers: &$world.peers, maps: &mut $world.maps }
    };
}

#[derive(Debug)]
pub(super) enum Predecessor {
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
pub(super) enum Successor {
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
pub(super) enum Whose {
    Predecessor,
    Successor,
    Nobody,
}

pub(super) struct World {
    pub(super) peers: Slab<FakePeer>,
    /// The entries that they share.
    pub(super) maps: Vec<Map>,
    pub(super) cookies: u64,
    /// How long a session is, so that batches are cut by their size.
    pub(super) session_bytes: usize,
    pub(super) shared_state: Vec<u8>,
    pub(super) now: Instant,
    pub(super) predecessor: Predecessor,
    pub(super) successor: Successor,
    pub(super) to_successor: Vec<u8>,
    /// The descriptors that are on their way, as the cookies of their sockets.
    pub(super) descriptors: VecDeque<u64>,
    pub(super) to_predecessor: Vec<u8>,
    /// The channel has ended: what was sent before can be received, nothing can be sent.
    pub(super) ended: bool,
    /// The time of the freeze is over.
    pub(super) overdue: bool,
    /// How many frames the successor still hears when the predecessor is about to end the channel.
    pub(super) heard_at_last: usize,
    /// What the predecessor sends stays with it, until it says its last word.
    pub(super) stuck: bool,
    pub(super) unsent: Vec<u8>,
    /// All that was ever sent to the successor.
    pub(super) sent: Vec<Vec<u8>>,
    /// The peers that the successor has adopted.
    pub(super) adopted: BTreeMap<u64, Adopted>,
    /// Which numbers of records the streams of which peers have sealed, whoever had them.
    pub(super) sealed: BTreeSet<(u64, u64)>,
    /// The timers that it has set.
    pub(super) timers: Vec<(u32, u64)>,
    /// The entries that it has.
    pub(super) entered: Vec<Map>,
    /// How many peers were sent with their descriptors, and how many of them the successor has acknowledged.
    pub(super) peers_sent: u64,
    pub(super) peers_acknowledged: u64,
    pub(super) in_flight_most: u64,
    /// More was pending at the freeze than should be.
    pub(super) strained: bool,
}

impl World {
    pub(super) fn new(peers: usize) -> Self {
        Self::with_sessions(peers, 4)
    }

    pub(super) fn with_sessions(peers: usize, session_bytes: usize) -> Self {
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
            sealed: BTreeSet::new(),
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
    pub(super) fn with_entries(peers: usize, entries: usize, bytes: usize) -> Self {
        let mut world = Self::new(peers);
        let full = (0..entries as u32).map(|key| (key, vec![1; bytes])).collect();
        world.maps = vec![full, Map::default()];
        world.call();
        world
    }

    /// A successor calls, on a channel of its own.
    pub(super) fn call(&mut self) {
        let (called, hello) = Called::new(None, offers(), 20_000, 7);
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

    pub(super) fn serves(&self) -> bool {
        matches!(self.predecessor, Predecessor::Listening | Predecessor::Copying(_) | Predecessor::Thawed(_))
    }

    pub(super) fn key(&self, choice: usize) -> Option<usize> {
        self.peers.iter().nth(choice % self.peers.len().max(1)).map(|(key, _)| key)
    }

    pub(super) fn accept(&mut self) {
        if self.serves() {
            self.cookies += 1;
            let key = self.peers.insert(FakePeer::new(self.cookies, self.session_bytes));
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).touched(key, true);
            }
        }
    }

    pub(super) fn change(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            let sealing = self.peers[key].stream.as_ref().map(|stream| (self.peers[key].cookie, stream.next()));
            self.sealed.extend(sealing);
            let session_changed = self.peers[key].change();
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).touched(key, session_changed);
            }
        }
    }

    /// Something happens to an entry of either map: it comes, changes, or goes.
    pub(super) fn change_entry(&mut self, choice: usize) {
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

    pub(super) fn close(&mut self, choice: usize) {
        if let Some(key) = self.key(choice).filter(|_| self.serves()) {
            let FakePeer { cookie, .. } = self.peers.remove(key);
            if let Predecessor::Copying(copying) = &mut self.predecessor {
                copying.mirror_mut(0).closed(key, cookie);
            }
        }
    }

    // The predecessor.

    /// One frame of the predecessor's, after it has heard all that has arrived. `full`: the channel takes nothing.
    pub(super) fn predecessor_turn(&mut self, full: bool) {
        self.predecessor = match std::mem::replace(&mut self.predecessor, Predecessor::Killed) {
            Predecessor::Listening => self.greet_caller(),
            Predecessor::Copying(copying) => self.copy(copying, full).unwrap_or_else(|mistake| self.thaw(&mistake)),
            Predecessor::Ending(drive) => self.end(drive),
            other => other,
        };
        self.in_flight_most = self.in_flight_most.max(self.peers_sent - self.peers_acknowledged);
    }

    pub(super) fn receive_at_predecessor(&mut self) -> Option<RawFrame> {
        RawFrame::take(&mut self.to_predecessor, TO_PREDECESSOR_BYTES_MAX).unwrap()
    }

    pub(super) fn send_to_successor(&mut self, frame: Vec<u8>) {
        if !self.ended {
            let channel = if self.stuck { &mut self.unsent } else { &mut self.to_successor };
            channel.extend_from_slice(&frame);
            self.sent.push(frame);
        }
    }

    pub(super) fn greet_caller(&mut self) -> Predecessor {
        let Some(raw) = self.receive_at_predecessor() else {
            return Predecessor::Listening;
        };
        let Frame::Hello(hello) = raw.decode().unwrap() else { panic!("a successor says Hello first") };
        match greet(&hello, &estate(self.peers.len() as u64), PREDECESSOR_PID) {
            Ok(welcome) => {
                self.send_to_successor(Frame::Welcome(welcome).encode());
                self.send_to_successor(Frame::Listeners(listeners()).encode());
                Predecessor::Copying(Copying::new(Recipient::Successor, hello, &[self.peers.capacity()], self.now))
            }
            Err(refusal) => {
                self.send_to_successor(refusal.frame());
                self.thaw(&refusal)
            }
        }
    }

    pub(super) fn copy(&mut self, mut copying: Copying, full: bool) -> Result<Predecessor, Mistake> {
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
                        batch.frame.to_vec()
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

    pub(super) fn end(&mut self, drive: Drive<String>) -> Predecessor {
        match drive.step(self) {
            Stepped::On(drive) => Predecessor::Ending(drive),
            Stepped::HandedOver(accepted) => Predecessor::Retired(accepted),
            Stepped::Thaw(why) => self.thaw(&why),
        }
    }

    /// The predecessor's deadline passes, after its freeze.
    pub(super) fn freeze_timeout(&mut self) {
        self.overdue = true;
        while matches!(self.predecessor, Predecessor::Ending(_)) {
            self.predecessor_turn(false);
        }
    }

    pub(super) fn thaw(&mut self, why: &dyn std::fmt::Display) -> Predecessor {
        self.ended = true;
        Predecessor::Thawed(why.to_string())
    }

    // The successor.

    /// The successor hears one frame, and does what comes of it.
    pub(super) fn successor_turn(&mut self) {
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

    pub(super) fn act(&mut self, action: Action<'_>) {
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
            Action::TakeLicence => panic!("nobody follows"),
            Action::Wait => {}
        }
    }

    pub(super) fn commit(&mut self, accepting: Accepting) -> Successor {
        match accepting.step(self) {
            Ok(Came::On(accepting)) => Successor::Accepting(accepting),
            Ok(Came::Owner(owner)) => Successor::Owner(owner),
            Err(why) => Successor::Gone(why.to_owned()),
        }
    }

    pub(super) fn successor_listens(&self) -> bool {
        matches!(self.successor, Successor::Called(_) | Successor::Receiving(_))
    }

    /// Whether the channel took it.
    pub(super) fn send_to_predecessor(&mut self, frame: Vec<u8>) -> bool {
        if !self.ended {
            self.to_predecessor.extend(frame);
        }
        !self.ended
    }

    pub(super) fn give_up(&mut self, why: &dyn std::fmt::Display) -> Successor {
        self.send_to_predecessor(Frame::Refuse(Refuse::because(&why)).encode());
        self.ended = true;
        Successor::Gone(why.to_string())
    }

    pub(super) fn kill_successor(&mut self) {
        self.successor = Successor::Killed;
        self.ended = true;
    }

    pub(super) fn kill_predecessor(&mut self) {
        self.predecessor = Predecessor::Killed;
        self.ended = true;
    }

    // Both.

    pub(super) fn is_over(&self) -> bool {
        matches!(self.predecessor, Predecessor::Thawed(_) | Predecessor::Retired(_) | Predecessor::Killed)
            && matches!(self.successor, Successor::Owner(_) | Successor::Gone(_) | Successor::Killed)
    }

    /// Lets both sides go on until nothing is left to do. `between` happens between any two steps.
    pub(super) fn finish(&mut self, mut between: impl FnMut(&mut Self)) {
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
    pub(super) fn owner(&self) -> Whose {
        assert!(self.is_over());
        match (&self.predecessor, &self.successor) {
            (Predecessor::Thawed(_), Successor::Owner(_)) => panic!("both own the peers"),
            (Predecessor::Thawed(_), _) => {
                self.assert_seal_anew(self.peers.iter().map(|(_, peer)| (peer.cookie, &peer.stream)));
                Whose::Predecessor
            }
            (_, Successor::Owner(_)) => {
                self.assert_seal_anew(self.adopted.iter().map(|(cookie, peer)| (*cookie, &peer.stream)));
                Whose::Successor
            }
            _ => Whose::Nobody,
        }
    }

    /// No number of a record that one of these streams has sealed is the one that it seals next.
    fn assert_seal_anew<'s>(&self, streams: impl Iterator<Item = (u64, &'s Option<FakeStream>)>) {
        for (cookie, stream) in streams {
            let used = stream.as_ref().filter(|stream| self.sealed.contains(&(cookie, stream.next())));
            assert!(used.is_none(), "the peer with cookie {cookie} would seal {used:?} once more");
        }
    }

    pub(super) fn records(&self) -> BTreeMap<u64, Vec<u8>> {
        self.peers.iter().map(|(_, peer)| (peer.cookie, encoded(&peer.record()))).collect()
    }

    pub(super) fn adopted_records(&self) -> BTreeMap<u64, Vec<u8>> {
        self.adopted.iter().map(|(cookie, peer)| (*cookie, encoded(&peer.record()))).collect()
    }

    /// The successor owns the peers, and has all that the predecessor had.
    pub(super) fn assert_taken_over(&self) {
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
        self.send_to_successor(Frame::Refuse(Refuse::because(&why)).encode());
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
