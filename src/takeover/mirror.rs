//! What the successor knows of each peer, as the predecessor keeps book of it during one takeover. Pure.
//!
//! The book exists only while a takeover is under way, so that peers carry nothing for it. The table of peers is
//! walked once, from the first key to the last; whatever happens to a key that the walk has passed is pending until
//! a later round sends it. What happens before the walk comes by costs nothing.

use std::collections::VecDeque;

use super::wire::{Closed, DESCRIPTORS_PER_FRAME_MAX, Frame, RecordsKind, RecordsWriter};

/// A batch of records ends when it is as large as this, so that sending it delays nobody for long.
const BATCH_BYTES: usize = 64 * 1024;

/// How many closed peers one frame names.
const CLOSED_PER_FRAME_MAX: usize = 4096;

/// What the successor knows of the peer at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing, and nothing is pending: no peer is there, or the walk will come by.
    Nothing,
    /// Nothing yet; the peer is pending.
    Pending,
    /// The record with this digest, and it still holds.
    Clean(u32),
    /// The record with this digest, which holds no more; the peer is pending.
    Dirty(u32),
}

impl Known {
    fn digest(self) -> Option<u32> {
        match self {
            Self::Nothing | Self::Pending => None,
            Self::Clean(digest) | Self::Dirty(digest) => Some(digest),
        }
    }
}

/// Keys that wait for this round, and keys that wait for the next.
#[derive(Debug, Default)]
struct Queue<T> {
    round: VecDeque<T>,
    next: VecDeque<T>,
}

impl<T> Queue<T> {
    fn begin_round(&mut self) {
        self.round.append(&mut self.next);
    }

    fn len(&self) -> usize {
        self.round.len() + self.next.len()
    }
}

/// The predecessor's book of what the successor knows.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// By slab key.
    known: Vec<Known>,
    /// The walk has passed all keys below.
    walked: usize,
    /// The walk ends here; keys from here on came to be after it began.
    walk_end: usize,
    fresh: Queue<usize>,
    dirty: Queue<usize>,
    closed: Queue<u64>,
    peers: u64,
    digest: u64,
}

/// A frame for the successor. The book holds it as sent from the start; if it was not, [`Mirror::unsent`] must hear.
#[must_use]
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) frame: Vec<u8>,
    /// In the frame's order.
    records: Vec<Written>,
    taken: Taken,
}

/// A record in a batch: its key, and what the successor knew of that key before.
#[derive(Debug)]
struct Written {
    key: usize,
    before: Known,
    digest: u32,
}

/// From where a batch was taken, and how many entries of there it settles.
#[derive(Debug)]
enum Taken {
    Walk(usize),
    Fresh(usize),
    Dirty(usize),
    Closed(usize),
}

impl Batch {
    /// The keys of the peers whose descriptors go with the frame, in its order.
    pub(crate) fn descriptor_keys(&self) -> impl Iterator<Item = usize> {
        let with_descriptors = matches!(self.taken, Taken::Walk(_) | Taken::Fresh(_));
        self.records.iter().filter(move |_| with_descriptors).map(|written| written.key)
    }

    /// How many records the frame holds.
    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }
}

impl Mirror {
    /// An empty book: the successor knows nothing. Keys below `walk_end` are walked.
    pub(crate) fn new(walk_end: usize) -> Self {
        Self {
            known: vec![Known::Nothing; walk_end],
            walked: 0,
            walk_end,
            fresh: Queue::default(),
            dirty: Queue::default(),
            closed: Queue::default(),
            peers: 0,
            digest: 0,
        }
    }

    /// How many peers the successor knows.
    pub(crate) fn peers(&self) -> u64 {
        self.peers
    }

    /// How many peers the successor holds: those that it knows, and those that are gone and that it has not been told of.
    pub(crate) fn held(&self) -> u64 {
        self.peers + self.closed.len() as u64
    }

    /// Has those that are gone told of next, and not in the next round. False if there are none.
    pub(crate) fn tell_closed(&mut self) -> bool {
        self.closed.begin_round();
        self.closed.len() > 0
    }

    /// The sum of the digests of all records that the successor knows.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// How many peers the successor does not know as they are, leaving out those that the walk will find.
    pub(crate) fn pending(&self) -> usize {
        self.fresh.len() + self.dirty.len() + self.closed.len()
    }

    /// A peer came to be at `key`, or its record changed.
    pub(crate) fn touched(&mut self, key: usize) {
        if (self.walked..self.walk_end).contains(&key) {
            return;
        }
        if key >= self.known.len() {
            self.known.resize(key + 1, Known::Nothing);
        }
        match self.known[key] {
            Known::Nothing => {
                self.known[key] = Known::Pending;
                self.fresh.next.push_back(key);
            }
            Known::Clean(digest) => {
                self.known[key] = Known::Dirty(digest);
                self.dirty.next.push_back(key);
            }
            Known::Pending | Known::Dirty(_) => {}
        }
    }

    /// The peer at `key`, with this cookie, is gone.
    pub(crate) fn closed(&mut self, key: usize, cookie: u64) {
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        if let Some(digest) = std::mem::replace(known, Known::Nothing).digest() {
            self.peers -= 1;
            self.digest = self.digest.wrapping_sub(digest.into());
            self.closed.next.push_back(cookie);
        }
    }

    /// Everything that is pending now belongs to the round that begins.
    pub(crate) fn begin_round(&mut self) {
        self.fresh.begin_round();
        self.dirty.begin_round();
        self.closed.begin_round();
    }

    /// What to send next in this round, or `None` at its end. Each batch is followed by [`Mirror::sent`] or
    /// [`Mirror::unsent`] before anything else happens to the book.
    ///
    /// `write` writes the record of the peer at a key and returns its digest, or `None` if nobody is there.
    pub(crate) fn next_batch(
        &mut self,
        mut write: impl FnMut(usize, &mut RecordsWriter) -> Option<u32>,
    ) -> Option<Batch> {
        if !self.closed.round.is_empty() {
            let cookies: Vec<u64> = self.closed.round.iter().copied().take(CLOSED_PER_FRAME_MAX).collect();
            let taken = Taken::Closed(cookies.len());
            return Some(Batch { frame: Frame::Closed(Closed { cookies }).encode(), records: Vec::new(), taken });
        }
        let known = &mut self.known;
        while self.walked < self.walk_end {
            let keys = self.walked..self.walk_end;
            let (frame, records, passed) = gather(RecordsKind::Peers, keys, known, &mut write);
            if !records.is_empty() {
                return Some(Batch { frame, records, taken: Taken::Walk(passed) });
            }
            self.walked += passed;
        }
        while !self.fresh.round.is_empty() {
            let keys = self.fresh.round.iter().copied();
            let (frame, records, passed) = gather(RecordsKind::Peers, keys, known, &mut write);
            if !records.is_empty() {
                return Some(Batch { frame, records, taken: Taken::Fresh(passed) });
            }
            self.fresh.round.drain(..passed);
        }
        while !self.dirty.round.is_empty() {
            let keys = self.dirty.round.iter().copied();
            let (frame, records, passed) = gather(RecordsKind::Changed, keys, known, &mut write);
            if !records.is_empty() {
                return Some(Batch { frame, records, taken: Taken::Dirty(passed) });
            }
            self.dirty.round.drain(..passed);
        }
        None
    }

    /// The batch is in the channel.
    pub(crate) fn sent(&mut self, batch: Batch) {
        match batch.taken {
            Taken::Walk(passed) => self.walked += passed,
            Taken::Fresh(passed) => drop(self.fresh.round.drain(..passed)),
            Taken::Dirty(passed) => drop(self.dirty.round.drain(..passed)),
            Taken::Closed(passed) => drop(self.closed.round.drain(..passed)),
        }
        for Written { before, digest, .. } in batch.records {
            match before.digest() {
                Some(previous) => self.digest = self.digest.wrapping_sub(previous.into()),
                None => self.peers += 1,
            }
            self.digest = self.digest.wrapping_add(digest.into());
        }
    }

    /// The channel did not take the batch: it is as if it had never been.
    pub(crate) fn unsent(&mut self, batch: Batch) {
        for Written { key, before, .. } in batch.records {
            self.known[key] = before;
        }
    }
}

/// Writes the records of those `keys` that `kind` is for into one frame, until it is full or the keys end. Returns it
/// with what it holds and with the number of keys it passed.
fn gather(
    kind: RecordsKind,
    keys: impl Iterator<Item = usize>,
    known: &mut [Known],
    mut write: impl FnMut(usize, &mut RecordsWriter) -> Option<u32>,
) -> (Vec<u8>, Vec<Written>, usize) {
    let mut writer = RecordsWriter::new(kind);
    let mut records: Vec<Written> = Vec::new();
    let mut passed = 0;
    for key in keys {
        if records.len() == DESCRIPTORS_PER_FRAME_MAX || writer.bytes() >= BATCH_BYTES {
            break;
        }
        passed += 1;
        // A key may stand in a queue twice, or in vain: its first peer left, and another one came.
        let before = known[key];
        let wanted = match kind {
            RecordsKind::Peers => matches!(before, Known::Nothing | Known::Pending),
            RecordsKind::Changed => matches!(before, Known::Dirty(_)),
        };
        if !wanted {
            continue;
        }
        if let Some(digest) = write(key, &mut writer) {
            known[key] = Known::Clean(digest);
            records.push(Written { key, before, digest });
        }
    }
    (writer.finish(), records, passed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::peer::record::{Phase, Record};
    use crate::takeover::wire::RawFrame;

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

    /// A predecessor of which only the table of peers is left, and a successor of which only the records are.
    struct World {
        /// Cookie and version of the record, by key.
        peers: slab::Slab<(u64, u32)>,
        cookies: u64,
        mirror: Option<Mirror>,
        successor: BTreeMap<u64, (u32, u32)>,
    }

    fn write(peers: &slab::Slab<(u64, u32)>, key: usize, writer: &mut RecordsWriter) -> Option<u32> {
        let &(cookie, version) = peers.get(key)?;
        let address = ([127, 0, 0, 1], 1).into();
        let session = version.to_be_bytes();
        let record = Record {
            cookie,
            address,
            phase: Phase::Open,
            session: &session,
            inbound: &[],
            outbound: &[],
            parting: None,
        };
        Some(writer.push(&record))
    }

    impl World {
        fn accept(&mut self) {
            self.cookies += 1;
            let key = self.peers.insert((self.cookies, 0));
            if let Some(mirror) = &mut self.mirror {
                mirror.touched(key);
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
                        self.peers[key].1 += 1;
                        self.mirror.as_mut().unwrap().touched(key);
                    }
                }
                Event::Close(choice) => {
                    if let Some(key) = self.key(choice) {
                        let (cookie, _) = self.peers.remove(key);
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
            let Some(batch) = mirror.next_batch(|key, writer| write(&self.peers, key, writer)) else {
                return false;
            };
            if !taken {
                mirror.unsent(batch);
                return true;
            }
            let raw = RawFrame::take(&mut batch.frame.clone(), u32::MAX).unwrap().unwrap();
            match raw.decode().unwrap() {
                Frame::Peers(records) => {
                    assert_eq!(batch.descriptor_keys().count(), records.len());
                    for record in records {
                        let known = self.successor.insert(record.record.cookie, entry(&record));
                        assert_eq!(known, None, "a peer is copied once");
                    }
                }
                Frame::Changed(records) => {
                    assert_eq!(batch.descriptor_keys().count(), 0);
                    for record in records {
                        self.successor.insert(record.record.cookie, entry(&record)).expect("the peer is known");
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

    fn entry(record: &crate::takeover::wire::Digested<'_>) -> (u32, u32) {
        (u32::from_be_bytes(record.record.session.try_into().unwrap()), record.digest)
    }

    proptest! {
        #[test]
        fn after_the_last_round_the_successor_knows_every_peer_as_it_is(
            peers_before in 0..600usize,
            events in proptest::collection::vec(event(), 0..400),
        ) {
            let mut world =
                World { peers: slab::Slab::new(), cookies: 0, mirror: None, successor: BTreeMap::new() };
            for _ in 0..peers_before {
                world.accept();
            }
            world.mirror = Some(Mirror::new(world.peers.capacity()));
            for event in events {
                world.apply(event);
            }
            while world.send(true) {}
            world.mirror.as_mut().unwrap().begin_round();
            while world.send(true) {}

            let mirror = world.mirror.unwrap();
            prop_assert_eq!(mirror.pending(), 0);
            let expected: BTreeMap<u64, u32> = world.peers.iter().map(|(_, peer)| *peer).collect();
            let known: BTreeMap<u64, u32> = world.successor.iter().map(|(&cookie, &(version, _))| (cookie, version)).collect();
            prop_assert_eq!(known, expected);
            prop_assert_eq!(mirror.peers(), world.peers.len() as u64);
            let digest = world.successor.values().map(|&(_, digest)| u64::from(digest)).sum::<u64>();
            prop_assert_eq!(mirror.digest(), digest);
        }
    }
}
