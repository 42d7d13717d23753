//! What the successor knows of each peer of a lane, as the predecessor keeps book of it during one takeover. Pure.
//!
//! The book exists only while a takeover is under way, so that peers carry nothing for it. The table of peers is
//! walked once, from the first key to the last; whatever happens to a key that the walk has passed is pending until
//! a later round sends it. What happens before the walk comes by costs nothing.

use std::collections::VecDeque;

use reactord_process::channel::DESCRIPTORS_PER_FRAME_MAX;
use reactord_process::wiped::Wiped;
use rustc_hash::FxHashMap;
use zeroize::{Zeroize, Zeroizing};

use super::pace::{Load, Pending};
use super::wire::{Closed, Frame, RecordsKind, RecordsWriter, Timers, chained};
use crate::by_key::ByKey;
use crate::originals::Originals;
use crate::peer::record::{Ends, Record, SecuredRecord};

/// A batch of records ends when it is as large as this, so that sending it delays nobody for long.
const BATCH_BYTES: usize = 64 * 1024;

/// So many keys are passed for one batch: most of them have nobody where many peers have left.
const KEYS_PER_BATCH_MAX: usize = 4096;

/// So many of a peer's bytes one record or change holds; what is left follows in changes. So no frame is much larger
/// than a batch, however much a peer has, save where a session is: that is the service's, and goes whole.
const PEER_BYTES_MAX: usize = 256 * 1024;

/// About what a record or a change takes besides session and bytes, and how much more where the bytes go through something.
const RECORD_BYTES: usize = 40;
const SECURED_BYTES: usize = 160;

/// For so many records there is room at first, if there may be so many.
const LIKELY_RECORDS_MAX: usize = 64;

/// How many closed peers one frame names.
const CLOSED_PER_FRAME_MAX: usize = 4096;

/// What the successor knows of the peer at a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    state: State,
    /// Of all that was sent of the peer.
    digest: u32,
    /// Up to where its bytes were sent.
    ends: Ends,
    /// It was told what was agreed on where its bytes go through something.
    has_facts: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It knows nothing, and nothing is pending: no peer is there, or the walk will come by.
    #[default]
    Nothing,
    /// It knows nothing yet; the peer is pending.
    Pending,
    /// It knows the peer as it is.
    Clean,
    /// The peer has changed since, perhaps with its session; it is pending.
    Dirty { session: bool },
}

impl Known {
    fn digest(self) -> Option<u32> {
        match self.state {
            State::Nothing | State::Pending => None,
            State::Clean | State::Dirty { .. } => Some(self.digest),
        }
    }

    /// About how many bytes it takes to tell the successor of such a peer, which is like this now, besides its session.
    fn bytes_pending(self, record: &Record<'_>) -> usize {
        let besides = RECORD_BYTES + if record.secured.is_some() { SECURED_BYTES } else { 0 };
        match self.state {
            State::Clean | State::Nothing => 0,
            State::Pending => besides + record.bytes_since(Ends::default()),
            State::Dirty { .. } => besides + record.bytes_since(self.ends),
        }
    }

    /// Whether the successor does not know the peer.
    fn is_new(self) -> bool {
        matches!(self.state, State::Nothing | State::Pending)
    }

    /// Whether the successor does not know its session.
    fn lacks_session(self) -> bool {
        self.is_new() || matches!(self.state, State::Dirty { session: true })
    }

    /// Whether frames of this kind are for such a peer.
    fn wants(self, kind: RecordsKind) -> bool {
        match (kind, self.state) {
            (RecordsKind::Peers, State::Nothing | State::Pending) => true,
            (RecordsKind::Changed, State::Dirty { .. }) => true,
            (_, _) => false,
        }
    }
}

/// What the successor knows of all peers, by slab key.
#[derive(Debug, Default)]
struct Ledger {
    entries: ByKey<Entry>,
    /// Up to where the bytes of those were sent who have come further than an entry has room for, or of whom the beginning of a
    /// record was sent: few at a time.
    far: FxHashMap<usize, Ends>,
}

/// What the successor knows of a peer, but for what few have.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    state: State,
    has_facts: bool,
    digest: u32,
    inbound_end: Near,
    outbound_end: Near,
}

const _: () = assert!(size_of::<Entry>() <= 16, "there is one for each of a million peers");

/// A position up to which a connection comes in days: 1 TiB.
#[derive(Clone, Copy, Debug, Default)]
struct Near([u8; 5]);

impl Near {
    /// `None` if the position is further away.
    fn new(position: u64) -> Option<Self> {
        match position.to_le_bytes() {
            [a, b, c, d, e, 0, 0, 0] => Some(Self([a, b, c, d, e])),
            _ => None,
        }
    }

    fn position(self) -> u64 {
        let Self([a, b, c, d, e]) = self;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }
}

impl Ledger {
    fn get(&self, key: usize) -> Known {
        let Entry { state, has_facts, digest, inbound_end, outbound_end } = self.entries.get(key);
        let near = || Ends { inbound: inbound_end.position(), outbound: outbound_end.position(), partial: 0 };
        let ends = self.far.get(&key).copied().unwrap_or_else(near);
        Known { state, digest, ends, has_facts }
    }

    fn set(&mut self, key: usize, Known { state, digest, ends, has_facts }: Known) {
        let near = match ends {
            Ends { inbound, outbound, partial: 0 } => Near::new(inbound).zip(Near::new(outbound)),
            _ => None,
        };
        match near {
            Some(_) => self.far.remove(&key),
            None => self.far.insert(key, ends),
        };
        let (inbound_end, outbound_end) = near.unwrap_or_default();
        *self.entries.at(key) = Entry { state, has_facts, digest, inbound_end, outbound_end };
    }

    fn state_mut(&mut self, key: usize) -> &mut State {
        &mut self.entries.at(key).state
    }

    /// Nobody is at `key` any more. What was known of who was.
    fn take(&mut self, key: usize) -> Known {
        let known = self.get(key);
        self.far.remove(&key);
        self.entries.forget(key);
        known
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

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.round.iter().chain(&self.next)
    }
}

/// The predecessor's book of what the successor knows of a lane.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The number of the lane.
    lane: u32,
    known: Ledger,
    /// The walk has passed all keys below.
    walked: usize,
    /// The walk ends here; keys from here on came to be after it began.
    walk_end: usize,
    fresh: Queue<usize>,
    dirty: Queue<usize>,
    closed: Queue<u64>,
    /// Keys and cookies of those to whom all was written that the other process knows.
    flushed: Vec<(usize, u64)>,
    peers: u64,
    digest: u64,
}

/// A frame for the successor. The book holds it as sent from the start; if it was not, [`Mirror::unsent`] must hear.
#[must_use]
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose peers it is about.
    lane: u32,
    pub(crate) frame: Wiped,
    /// In the frame's order.
    records: Vec<Written>,
    taken: Taken,
}

/// What a batch holds of a peer: its key, and what the successor knew of that key before and knows with it.
#[derive(Debug)]
struct Written {
    key: usize,
    before: Known,
    after: Known,
}

/// From where a batch was taken, and how many entries of there it settles.
#[derive(Debug)]
enum Taken {
    Walk(usize),
    Fresh(usize),
    Dirty(usize),
    Closed(usize),
    /// It settles nothing: the book is about peers.
    Nowhere,
}

impl Batch {
    /// Timers of a lane's service.
    pub(crate) fn of_timers(timers: Timers) -> Self {
        let lane = timers.lane;
        Self { frame: Frame::Timers(timers).encode().into(), records: Vec::new(), taken: Taken::Nowhere, lane }
    }

    /// The number of the lane whose peers it is about.
    pub(crate) fn lane(&self) -> usize {
        self.lane as usize
    }

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
    pub(crate) fn new(lane: u32, walk_end: usize) -> Self {
        Self {
            lane,
            // It grows as the walk goes: to write all of it at once would hold up the loop.
            known: Ledger::default(),
            walked: 0,
            walk_end,
            fresh: Queue::default(),
            dirty: Queue::default(),
            closed: Queue::default(),
            flushed: Vec::new(),
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

    /// What all that is in about as many bytes as it will take in frames, and who has the most of it. This looks at all of
    /// them, and at the sessions that they have now: nothing else tells how large those have become.
    pub(crate) fn load(&self, originals: &dyn Originals) -> Load {
        let mut load = Load { pending: Pending { peers: self.pending(), entries: 0, bytes: 0 }, most: None };
        let mut saved = Zeroizing::new(Vec::new());
        for &key in self.fresh.iter().chain(self.dirty.iter()) {
            let Some(record) = originals.record(key) else {
                continue;
            };
            let known = self.known.get(key);
            empty(&mut saved, originals);
            if known.lacks_session() {
                originals.save_session(key, &mut saved);
            }
            if record.secured.is_some() && !known.has_facts {
                originals.save_facts(key, &mut saved);
            }
            let bytes = known.bytes_pending(&record) + saved.len();
            load.pending.bytes += bytes;
            if load.most.is_none_or(|(_, most)| most < bytes) {
                load.most = Some((record.address, bytes));
            }
        }
        load.pending.bytes += self.closed.len() * size_of::<u64>();
        load
    }

    /// A peer came to be at `key`, or it changed; its session may have only if `session_changed`.
    pub(crate) fn touched(&mut self, key: usize, session_changed: bool) {
        if (self.walked..self.walk_end).contains(&key) {
            return;
        }
        match self.known.state_mut(key) {
            state @ State::Nothing => {
                *state = State::Pending;
                self.fresh.next.push_back(key);
            }
            state @ State::Clean => {
                *state = State::Dirty { session: session_changed };
                self.dirty.next.push_back(key);
            }
            State::Dirty { session } => *session |= session_changed,
            State::Pending => {}
        }
    }

    /// All that waited to be written to the peer at `key`, with this cookie, is written, and nothing else has become of it.
    pub(crate) fn flushed(&mut self, key: usize, cookie: u64) {
        // Of others it is told what they are.
        if self.known.get(key).state == State::Clean {
            self.flushed.push((key, cookie));
        }
    }

    /// The cookies of those of whom nothing is to be told but that: it is to be told before anything else is.
    pub(crate) fn take_flushed(&mut self) -> Vec<u64> {
        let Self { flushed, known, .. } = self;
        let only_flushed = flushed.iter().filter(|(key, _)| known.get(*key).state == State::Clean);
        let cookies = only_flushed.map(|(_, cookie)| *cookie).collect();
        flushed.clear();
        cookies
    }

    /// The peer at `key`, with this cookie, is gone.
    pub(crate) fn closed(&mut self, key: usize, cookie: u64) {
        if let Some(digest) = self.known.take(key).digest() {
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

    /// Which of those that are gone to tell of next in this round, and before anything else. As with
    /// [`Mirror::next_batch`], it is said next what became of it.
    pub(crate) fn next_closed(&mut self) -> Option<Batch> {
        if self.closed.round.is_empty() {
            return None;
        }
        let lane = self.lane;
        let cookies: Vec<u64> = self.closed.round.iter().copied().take(CLOSED_PER_FRAME_MAX).collect();
        let taken = Taken::Closed(cookies.len());
        Some(Batch { lane, frame: Frame::Closed(Closed { cookies, lane }).encode().into(), records: Vec::new(), taken })
    }

    /// What else to send next in this round, or `None` at its end. Each batch is followed by [`Mirror::sent`] or
    /// [`Mirror::unsent`] before anything else happens to the book.
    pub(crate) fn next_batch(&mut self, originals: &dyn Originals) -> Option<Batch> {
        let (lane, known) = (self.lane, &mut self.known);
        while self.walked < self.walk_end {
            let keys = self.walked..self.walk_end;
            let (frame, records, passed) = gather(lane, RecordsKind::Peers, keys, known, originals);
            // A frame that holds nothing gives the others their turn before the walk goes on.
            if !records.is_empty() || passed == KEYS_PER_BATCH_MAX {
                return Some(Batch { lane, frame, records, taken: Taken::Walk(passed) });
            }
            self.walked += passed;
        }
        while !self.fresh.round.is_empty() {
            let keys = self.fresh.round.iter().copied();
            let (frame, records, passed) = gather(lane, RecordsKind::Peers, keys, known, originals);
            if !records.is_empty() {
                return Some(Batch { lane, frame, records, taken: Taken::Fresh(passed) });
            }
            self.fresh.round.drain(..passed);
        }
        while !self.dirty.round.is_empty() {
            let keys = self.dirty.round.iter().copied();
            let (frame, records, passed) = gather(lane, RecordsKind::Changed, keys, known, originals);
            if !records.is_empty() {
                return Some(Batch { lane, frame, records, taken: Taken::Dirty(passed) });
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
            Taken::Nowhere => {}
        }
        for Written { key, before, after } in batch.records {
            match before.digest() {
                Some(previous) => self.digest = self.digest.wrapping_sub(previous.into()),
                None => self.peers += 1,
            }
            self.digest = self.digest.wrapping_add(after.digest.into());
            if after.state != State::Clean {
                self.dirty.next.push_back(key);
            }
        }
    }

    /// The channel did not take the batch: it is as if it had never been.
    pub(crate) fn unsent(&mut self, batch: Batch) {
        // A key may stand in it twice; what it was at first comes last.
        for Written { key, before, .. } in batch.records.into_iter().rev() {
            self.known.set(key, before);
        }
    }
}

/// Writes what those `keys` that `kind` is for have to tell into one frame, until it is full or the keys end. Returns it
/// with what it holds and with the number of keys it passed.
fn gather(
    lane: u32,
    kind: RecordsKind,
    keys: impl Iterator<Item = usize>,
    ledger: &mut Ledger,
    originals: &dyn Originals,
) -> (Wiped, Vec<Written>, usize) {
    let likely = keys.size_hint().0.min(LIKELY_RECORDS_MAX);
    let mut writer = RecordsWriter::with_room(kind, lane, likely * 2 * RECORD_BYTES);
    let mut records: Vec<Written> = Vec::with_capacity(likely);
    let mut saved = Zeroizing::new(Vec::new());
    // Room for all of it, so that nothing is left where it was too small.
    let (mut state, mut facts) = (Zeroizing::new(Vec::with_capacity(2 * SECURED_BYTES)), Vec::new());
    let mut passed = 0;
    for key in keys {
        if records.len() == DESCRIPTORS_PER_FRAME_MAX || writer.bytes() >= BATCH_BYTES || passed == KEYS_PER_BATCH_MAX {
            break;
        }
        passed += 1;
        // A key may stand in a queue twice, or in vain: its first peer left, and another one came.
        let before = ledger.get(key);
        if !before.wants(kind) {
            continue;
        }
        let Some(mut record) = originals.record(key) else {
            // Nobody is here, or somebody who ends with this process; if that is not so any more, it will be said.
            if before.state == State::Pending {
                *ledger.state_mut(key) = State::Nothing;
            }
            continue;
        };
        empty(&mut saved, originals);
        if before.lacks_session() {
            originals.save_session(key, &mut saved);
        }
        if originals.are_secret() {
            writer.hold_secrets();
        }
        if let Some(secured) = &mut record.secured {
            writer.hold_secrets();
            state.clear();
            originals.save_secured(key, &mut state);
            facts.clear();
            if !before.has_facts {
                originals.save_facts(key, &mut facts);
            }
            *secured = SecuredRecord { facts: &facts, state: &state, ..*secured };
        }
        let after = write(&record, &saved, before, &mut writer);
        ledger.set(key, after);
        records.push(Written { key, before, after });
    }
    (writer.finish(), records, passed)
}

/// Makes room for what is saved of another one. Where that is secret, nothing is left of it: where a larger one has no room, the
/// buffer is another one, and the memory of this one is given back as it is.
fn empty(saved: &mut Vec<u8>, originals: &dyn Originals) {
    if originals.are_secret() { saved.zeroize() } else { saved.clear() }
}

/// Writes what the successor does not know of a peer, and returns what it knows then. `session` is the session, unless
/// that has not changed.
fn write(record: &Record<'_>, session: &[u8], before: Known, writer: &mut RecordsWriter) -> Known {
    let (digest, ends) = match before.state {
        State::Dirty { session: session_changed } => {
            let change = record.since(before.ends, session_changed.then_some(session), PEER_BYTES_MAX);
            (chained(before.digest, writer.push(&change)), change.ends())
        }
        _ => {
            let record = Record { session, ..record.clone() }.cut(PEER_BYTES_MAX);
            (writer.push(&record), record.ends())
        }
    };
    let whole = ends == record.ends();
    let state = if whole { State::Clean } else { State::Dirty { session: false } };
    Known { state, digest, ends, has_facts: record.secured.is_some() }
}

#[cfg(test)]
mod tests;
