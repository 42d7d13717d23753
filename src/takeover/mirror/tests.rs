//! The book of one takeover, whatever happens to peers meanwhile.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use reactord_process::frame::RawFrame;
use slab::Slab;

use super::super::conversation::peers::{Adopted, FakePeer};
use super::super::wire::Digested;
use super::*;

/// What happens to the predecessor's peers, and to the channel.
#[derive(Clone, Debug)]
enum Event {
    Accept,
    Change(usize),
    Close(usize),
    Send,
    ChannelFull,
    Round,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Accept),
        3 => (0..1000usize).prop_map(Event::Change),
        3 => (0..1000usize).prop_map(Event::Close),
        3 => Just(Event::Send),
        1 => Just(Event::ChannelFull),
        1 => Just(Event::Round),
    ]
}

/// A predecessor of which only the table of peers is left, and a successor of which only its own is.
struct World {
    peers: Slab<FakePeer>,
    cookies: u64,
    mirror: Option<Mirror>,
    /// By cookie: the peer and its digest.
    successor: BTreeMap<u64, (Adopted, u32)>,
}

impl World {
    fn accept(&mut self) {
        self.cookies += 1;
        let key = self.peers.insert(FakePeer::new(self.cookies, 4));
        if let Some(mirror) = &mut self.mirror {
            mirror.touched(key, true);
        }
    }

    fn key(&self, choice: usize) -> Option<usize> {
        self.peers.iter().nth(choice % self.peers.len().max(1)).map(|(key, _)| key)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Accept => self.accept(),
            Event::Change(choice) => {
                if let Some(key) = self.key(choice) {
                    let session_changed = self.peers[key].change();
                    self.mirror.as_mut().unwrap().touched(key, session_changed);
                }
            }
            Event::Close(choice) => {
                if let Some(key) = self.key(choice) {
                    let FakePeer { cookie, .. } = self.peers.remove(key);
                    self.mirror.as_mut().unwrap().closed(key, cookie);
                }
            }
            Event::Send => drop(self.send(true)),
            Event::ChannelFull => drop(self.send(false)),
            Event::Round => self.mirror.as_mut().unwrap().begin_round(),
        }
    }

    /// Sends one batch, and says whether there was one.
    fn send(&mut self, taken: bool) -> bool {
        let mirror = self.mirror.as_mut().unwrap();
        let Some(batch) = mirror.next_closed().or_else(|| mirror.next_batch(&self.peers)) else {
            return false;
        };
        if !taken {
            mirror.unsent(batch);
            return true;
        }
        let raw = RawFrame::take(&mut batch.frame.to_vec(), u32::MAX).unwrap().unwrap();
        match raw.decode().unwrap() {
            Frame::Peers(peers) => {
                assert_eq!(batch.descriptor_keys().count(), peers.records.len());
                for record in peers.records {
                    let adopted = (Adopted::of(&record.value), record.digest);
                    let before = self.successor.insert(record.value.cookie, adopted);
                    assert!(before.is_none(), "a peer is copied once");
                }
            }
            Frame::Changed(changed) => {
                assert_eq!(batch.descriptor_keys().count(), 0);
                for Digested { value: change, digest } in changed.records {
                    let (peer, known) = self.successor.get_mut(&change.cookie).expect("the peer is known");
                    peer.follow(&change).expect("it is told what it does not know");
                    *known = chained(*known, digest);
                }
            }
            Frame::Closed(closed) => {
                for cookie in closed.cookies {
                    self.successor.remove(&cookie).expect("the peer is known");
                }
            }
            frame => panic!("{frame:?} is no batch"),
        }
        mirror.sent(batch);
        true
    }
}

/// Peers of whom all that is saved is secret, and whether something of that was where the next one is saved.
struct Secrets {
    peers: Slab<FakePeer>,
    saved: Cell<u32>,
    was_left: Cell<bool>,
}

const SECRET: u8 = 0xa5;

impl Originals for Secrets {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.peers.record(key)
    }

    fn save_session(&self, _: usize, saved: &mut Vec<u8>) {
        let mut memory = vec![0; saved.capacity()];
        let at = saved.as_ptr().addr() as u64;
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut memory, at).unwrap();
        self.was_left.set(self.was_left.get() || memory.contains(&SECRET));
        self.saved.set(self.saved.get() + 1);
        saved.extend([SECRET; 100]);
    }

    fn save_secured(&self, _: usize, _: &mut Vec<u8>) {}

    fn save_facts(&self, _: usize, _: &mut Vec<u8>) {}

    fn are_secret(&self) -> bool {
        true
    }
}

#[test]
fn nothing_is_left_of_a_secret_where_the_next_one_is_saved() {
    // None of them has a stream.
    let peers: Slab<FakePeer> =
        [1, 3, 5].into_iter().enumerate().map(|(key, cookie)| (key, FakePeer::new(cookie, 4))).collect();
    let secrets = Secrets { peers, saved: Cell::default(), was_left: Cell::default() };
    let mut mirror = Mirror::new(0, 3);
    let batch = mirror.next_batch(&secrets).unwrap();
    mirror.sent(batch);
    assert_eq!((secrets.saved.get(), secrets.was_left.get()), (3, false));
    (0..3).for_each(|key| mirror.touched(key, true));
    let load = mirror.load(&secrets);
    assert!(load.pending.bytes >= 300, "{load}");
    assert_eq!((secrets.saved.get(), secrets.was_left.get()), (6, false));
}

#[test]
fn a_walk_over_keys_that_nobody_has_goes_in_steps() {
    let nobody = World { peers: slab::Slab::new(), cookies: 0, mirror: None, successor: BTreeMap::new() };
    let mut mirror = Mirror::new(0, 3 * KEYS_PER_BATCH_MAX + 1);
    let mut batches = 0;
    while let Some(batch) = mirror.next_batch(&nobody.peers) {
        assert_eq!(batch.records(), 0);
        mirror.sent(batch);
        batches += 1;
    }
    assert_eq!(batches, 3);
}

proptest! {
    #[test]
    fn after_the_last_round_the_successor_knows_every_peer_as_it_is(
        peers_before in 0..600usize,
        events in proptest::collection::vec(event(), 0..400),
    ) {
        let mut world =
            World { peers: Slab::new(), cookies: 0, mirror: None, successor: BTreeMap::new() };
        for _ in 0..peers_before {
            world.accept();
        }
        world.mirror = Some(Mirror::new(0, world.peers.capacity()));
        for event in events {
            world.apply(event);
        }
        while world.send(true) {}
        world.mirror.as_mut().unwrap().begin_round();
        while world.send(true) {}

        let mirror = world.mirror.unwrap();
        prop_assert_eq!(mirror.pending(), 0);
        let expected: BTreeMap<_, _> = world.peers.iter().map(|(_, peer)| (peer.cookie, peer.record())).collect();
        let known: BTreeMap<_, _> = world.successor.iter().map(|(cookie, (peer, _))| (*cookie, peer.record())).collect();
        prop_assert_eq!(known, expected);
        prop_assert_eq!(mirror.peers(), world.peers.len() as u64);
        let digest = world.successor.values().map(|&(_, digest)| u64::from(digest)).sum::<u64>();
        prop_assert_eq!(mirror.digest(), digest);
    }
}

#[test]
fn a_peer_with_much_is_cut_over_frames_of_bounded_size_and_arrives_whole() {
    let mut world = World { peers: Slab::new(), cookies: 0, mirror: None, successor: BTreeMap::new() };
    (0..3).for_each(|_| world.accept());
    world.peers[1].outbound.push(&(0..5 * PEER_BYTES_MAX + 1).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    world.peers[1].inbound.push(&[7; PEER_BYTES_MAX]);
    world.mirror = Some(Mirror::new(0, world.peers.capacity()));
    let mut rounds = 1;
    loop {
        while let Some(batch) = world.mirror.as_mut().unwrap().next_batch(&world.peers) {
            assert!(batch.frame.len() <= BATCH_BYTES + PEER_BYTES_MAX + 100, "{} bytes", batch.frame.len());
            world.mirror.as_mut().unwrap().unsent(batch);
            world.send(true);
        }
        if world.mirror.as_ref().unwrap().pending() == 0 {
            break;
        }
        world.mirror.as_mut().unwrap().begin_round();
        rounds += 1;
        // It goes on meanwhile.
        world.peers[1].outbound.advance(1000);
        world.peers[1].inbound.push(b"more");
        world.mirror.as_mut().unwrap().touched(1, false);
    }
    assert!(rounds < 10, "{rounds} rounds");
    let record = world.peers[1].record();
    assert_eq!(world.successor[&record.cookie].0.record(), record);
}

#[test]
fn what_has_come_of_a_record_is_told_once_however_slowly_it_comes() {
    let mut world = World { peers: Slab::new(), cookies: 0, mirror: None, successor: BTreeMap::new() };
    (0..2).for_each(|_| world.accept());
    world.mirror = Some(Mirror::new(0, world.peers.capacity()));
    while world.send(true) {}
    for _ in 0..1000 {
        world.peers[1].stream.as_mut().unwrap().drip(&[7; 16]);
        world.mirror.as_mut().unwrap().touched(1, false);
        world.mirror.as_mut().unwrap().begin_round();
        let batch = world.mirror.as_mut().unwrap().next_batch(&world.peers).expect("it has changed");
        assert!(batch.frame.len() < 100, "{} bytes", batch.frame.len());
        world.mirror.as_mut().unwrap().unsent(batch);
        while world.send(true) {}
    }
    let mirror = world.mirror.as_mut().unwrap();
    assert_eq!(mirror.known.far.len(), 1);
    let record = world.peers[1].record();
    assert_eq!(world.successor[&record.cookie].0.record(), record);

    // The record is whole, and nothing of another has come.
    world.peers[1].stream.as_mut().unwrap().use_up();
    mirror.touched(1, false);
    mirror.begin_round();
    while world.send(true) {}
    assert!(world.mirror.unwrap().known.far.is_empty(), "nothing is kept for it");
    let record = world.peers[1].record();
    assert_eq!(world.successor[&record.cookie].0.record(), record);
}

/// A position, near or far.
fn position() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..1000_u64, (1_u64 << 40) - 2..(1 << 40) + 2, Just(u64::MAX)]
}

proptest! {
    #[test]
    fn whatever_position_somebody_has_come_to_it_is_known_as_it_was_told(
        steps in proptest::collection::vec((0..5_usize, position(), position(), prop_oneof![4 => Just(0), 1 => position()]), 0..100),
    ) {
        let (mut ledger, mut expected) = (Ledger::default(), BTreeMap::new());
        for (key, inbound, outbound, partial) in steps {
            let ends = Ends { inbound, outbound, partial };
            let known = Known { state: State::Clean, digest: 7, ends, has_facts: key == 1 };
            ledger.set(key, known);
            expected.insert(key, known);
            prop_assert!(expected.iter().all(|(key, known)| ledger.get(*key) == *known));
        }
        let is_far = |Ends { inbound, outbound, partial }: Ends| partial > 0 || inbound.max(outbound) >= 1 << 40;
        let far = expected.values().filter(|known| is_far(known.ends)).count();
        prop_assert_eq!(ledger.far.len(), far, "the others take no more than an entry");
        for (key, known) in expected {
            prop_assert_eq!(ledger.take(key), known);
            prop_assert_eq!(ledger.get(key), Known::default());
        }
        prop_assert!(ledger.far.is_empty());
    }
}
