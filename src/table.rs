//! The table of peers: it owns them, and is called; it calls nobody.
//!
//! It has one door. Whoever changes a peer does so in [`Table::change`]: the peer is looked up, has its turn, and when it
//! ends, what it is to be woken for is derived from what it has become, whoever watches the table hears of it, and a
//! connection that is over is taken out. Only a peer that is adopted is registered elsewhere, and that is in here, too.

mod alarms;
mod conduit;
mod counting;
mod deadlines;
mod described;
mod handle;
mod keys;
mod links;
mod pairs;
mod passage;
mod peers;
mod reach;
mod sessions;
mod shelter;
mod taken;
mod tally;
mod timers;
mod told;
mod touch;
mod turns;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustc_hash::FxHashSet;

pub(crate) use handle::{LANES_MAX, PeerHandle, STAMPS};
pub(crate) use passage::Passed;
pub(crate) use peers::{Departed, Peers, Turn};
pub use peers::{NobodyWaits, SendError};
pub(crate) use sessions::{Others, Sessions};
pub(crate) use shelter::Offset;
pub(crate) use tally::{Held, Tally};
pub(crate) use told::ToldOffset;
pub(crate) use touch::Touch;

use crate::account::ServiceAccount;
use crate::clock::Clock;
use crate::fault::{self, StandbyStep};
use crate::mapping::Mapping;
use crate::peer::backlog::Misplaced;
use crate::peer::closed::Closed;
use crate::peer::parting::{Patience, Step};
use crate::peer::record::{Change, Record};
use crate::peer::secured::Secured;
use crate::peer::ties::{Holds, Outflow};
use crate::peer::{Address, Marks, Peer, PeerId, Phase, READING};
use crate::recipient::{ByRecipient, Recipient};
use deadlines::Look;
use shelter::Shelter;
use taken::take_with_room;
use turns::Awaited;

/// How far a peer came in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    /// Nothing is left to do until the next event.
    Drained,
    /// There may be more to read.
    BudgetSpent,
    /// The connection has come to its end, or the client has sent all it will send on one that the server is ending.
    Over,
}

/// A peer that is no more. Its connection has ended; its session has not.
#[must_use = "its service is to be told"]
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) key: usize,
    pub(crate) address: Address,
    pub(crate) how: Closed,
    pub(crate) departed: Departed,
}

/// Why a peer of another process cannot be adopted.
#[derive(Debug)]
pub(crate) enum AdmitError {
    Twice,
    Register(io::Error),
    /// What its bytes go through cannot be restored.
    Secured(String),
    /// It has gone on from elsewhere, in this direction.
    Misplaced {
        direction: &'static str,
        misplaced: Misplaced,
    },
}

impl std::fmt::Display for AdmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Twice => f.write_str("it is there twice"),
            Self::Register(error) => write!(f, "registering it: {error}"),
            Self::Secured(why) => f.write_str(why),
            Self::Misplaced { direction, misplaced } => write!(f, "its {direction}: {misplaced}"),
        }
    }
}

/// All peers of a service.
#[derive(Debug)]
pub(crate) struct Table {
    peers: Peers,
    registry: Registry,
    /// The time of this turn of the loop.
    now: Instant,
    clock: Clock,
    /// Those whom the server is ending, each at most once, and when they are looked at again.
    parting: Awaited,
    /// What has happened since those have looked last who watch, while somebody does.
    watchers: Option<Box<ByRecipient<Vec<Touch>>>>,
    patience: Patience,
    /// While this process follows another one: those who are still to be registered.
    put_off: Option<Vec<PeerHandle>>,
}

impl Table {
    /// A table of nobody, with room for `capacity` peers of the lane with this number, who are woken by `registry`.
    pub(crate) fn new(lane: usize, registry: Registry, marks: Marks, close_timeout: Duration, capacity: usize) -> Self {
        let now = Instant::now();
        let mut table = Self {
            peers: Peers::new(lane, marks, capacity),
            registry,
            now,
            clock: Clock::read(),
            parting: Awaited::new(|peer| &mut peer.awaited),
            watchers: None,
            patience: Patience::new(close_timeout),
            put_off: None,
        };
        // Whoever comes before the first turn has deadlines, too.
        table.begin_turn(now);
        table
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Whether there may be peers that speak TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.peers.speaks_tls
    }

    /// There is one.
    #[cfg(feature = "tls")]
    pub(crate) fn speak_tls(&mut self) {
        self.peers.speaks_tls = true;
    }

    /// One more was let in.
    pub(crate) fn count_accepted(&mut self) {
        self.peers.tally.accepted += 1;
    }

    /// Everybody, for a call of the service about somebody who is no more.
    pub(crate) fn peers_mut(&mut self) -> &mut Peers {
        &mut self.peers
    }

    /// What is counted of them.
    pub(crate) fn tally(&self) -> &Tally {
        &self.peers.tally
    }

    /// Counts on from where a predecessor was.
    pub(crate) fn count_on_from(&mut self, before: &ServiceAccount) {
        self.peers.tally.count_on_from(before);
    }

    /// A turn of the loop begins.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.peers.begin_turn(self.clock.ns(now));
    }

    // ── The door ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Gives the peer that a handle is for its turn, unless it has left. Returns it if it is over with that.
    pub(crate) fn change(
        &mut self,
        handle: PeerHandle,
        act: impl FnOnce(&mut Turn<'_>) -> io::Result<TurnEnd>,
    ) -> Option<Gone> {
        let Some(mut turn) = self.peers.turn_of(handle) else {
            self.peers.miss(handle);
            return None;
        };
        let before = turn.talk.holds();
        let progress = act(&mut turn).and_then(|mut progress| {
            let is_still_at_rest = match before {
                Holds::NONE => turn.is_at_rest(),
                Holds::RELAYED => turn.is_at_rest_in_pair(),
                _ => false,
            };
            if is_still_at_rest && progress != TurnEnd::Over {
                return Ok(progress);
            }
            let key = handle.key();
            turn.everybody().keep_warm(key);
            let ends = turn.talk.is_ending() && !turn.is_to_be_settled_first();
            if ends {
                turn.end_stream()?;
            }
            // A standby has to know first what would be done to its connection.
            let is_waiting = turn.talk.pending_bytes() > 0 || turn.talk.is_ending();
            let has_to_wait = progress != TurnEnd::Over && is_waiting && turn.defer();
            if ends && !has_to_wait {
                let wait;
                (progress, wait) = end(&mut turn, progress, self.clock.ns(self.now), &self.patience);
                if let Some(wait) = wait {
                    self.parting.push(self.now + wait, handle, &mut turn);
                }
            }
            if progress != TurnEnd::Over && !has_to_wait {
                let interest = turn.interest();
                turn.register(&self.registry, handle.into(), interest)?;
            }
            turn.everybody().count(handle.key());
            if turn.talk.is_full() != before.has(Holds::OUTPUT) {
                turn.everybody().tell_readers(handle.key());
            }
            Ok(progress)
        });
        match progress {
            Ok(TurnEnd::Drained) => {}
            Ok(TurnEnd::BudgetSpent) => self.make_due(handle),
            Ok(TurnEnd::Over) => return Some(self.retire(handle, Closed::Ended)),
            Err(error) => return Some(self.retire(handle, Closed::Lost(error))),
        }
        if self.watchers.is_some() {
            self.touched(handle);
        }
        None
    }

    /// Ends a connection, and takes it out.
    fn retire(&mut self, handle: PeerHandle, how: Closed) -> Gone {
        let key = handle.key();
        let how = if self.peers.deadline_has_closed(key) { Closed::Deadline } else { how };
        self.peers.forget_turn();
        let partner_key = self.peers.get(key).and_then(|peer| self.peers.partner_key(peer));
        let mut peer = self.peers.remove(key);
        let (id, address, how) = (peer.id(), peer.address(), peer.how_it_ended(how));
        debug!("Releasing Peer {address}: {how}");
        peer.deregister(&self.registry);
        peer.hang_up();
        fault::here_while_sheltered(StandbyStep::Retire);
        self.peers.unlink(&peer, partner_key, &how);
        if let Some(watchers) = &mut self.watchers {
            watchers.each_mut().for_each(|touches| touches.push(Touch::Gone { key, id }));
        }
        Gone { key, address, how, departed: departed(peer) }
    }

    fn touched(&mut self, handle: PeerHandle) {
        if let (Some(watchers), Some(mut turn)) = (&mut self.watchers, self.peers.turn_of(handle)) {
            // It is asked in any case, or it would be said of the next one. What was sealed is always told.
            let has_nothing_to_tell = turn.has_nothing_to_tell();
            if turn.is_ephemeral() || (has_nothing_to_tell && turn.secured().is_none()) {
                return;
            }
            let (key, id) = (handle.key(), turn.id());
            let session = std::mem::take(&mut turn.session_changed);
            let is_flushed = turn.is_flushed() && !session;
            let changed = Touch::Changed { key, session };
            for (to, touches) in watchers.iter_mut() {
                let is_told_before = to == Recipient::Standby;
                touches.push(if is_flushed && is_told_before { Touch::Flushed { key, id } } else { changed });
            }
        }
    }

    // ── Who comes ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in a connection, which gets its first turn with its handle.
    ///
    /// # Errors
    /// If there is a peer with this id already: the socket is given back.
    pub(crate) fn insert(&mut self, socket: TcpStream, id: PeerId, address: Address) -> Result<PeerHandle, TcpStream> {
        self.peers.insert(socket, id, address)
    }

    /// Takes in a peer of another process, which owns it until the commit point. Returns its key.
    ///
    /// # Errors
    /// If it is here already, or cannot be registered.
    pub(crate) fn adopt(&mut self, socket: TcpStream, record: &Record<'_>) -> Result<usize, AdmitError> {
        let address = record.address;
        let inserted = self.peers.insert(socket, record.cookie.into(), address);
        let handle = inserted.map_err(|_| AdmitError::Twice)?;
        let mut turn = self.peers.turn_of(handle).expect("it was just inserted");
        let registered = match &mut self.put_off {
            Some(put_off) => {
                put_off.push(handle);
                Ok(())
            }
            None => turn.register(&self.registry, handle.into(), adopted_for(record.phase)),
        };
        let marks = turn.marks();
        let restored = registered
            .map_err(AdmitError::Register)
            .and_then(|()| turn.restore(record, marks).map_err(AdmitError::Secured));
        if let Err(error) = restored {
            // Whoever serves others meanwhile must not find it here: it has no session.
            self.peers.remove(handle.key()).deregister(&self.registry);
            return Err(error);
        }
        self.peers.speaks_tls |= record.secured.is_some();
        self.peers.follow_pair(handle.key(), record.ties.joined);
        self.peers.count(handle.key());
        self.peers.follow_deadline(handle, record.deadline_ns);
        self.resume(handle);
        debug!("Holding connection with Peer {address}");
        Ok(handle.key())
    }

    /// An adopted peer has changed. Returns its key.
    ///
    /// # Panics
    /// If nobody has this id.
    pub(crate) fn follow(&mut self, change: &Change<'_>) -> Result<usize, AdmitError> {
        let handle = self.peers.handle(change.cookie.into()).expect("the conversation knows who was adopted");
        self.peers.forget_reader(handle.key());
        let mut turn = self.peers.turn_of(handle).expect("the handle is from the table");
        let marks = turn.marks();
        let followed = turn.follow(change, marks);
        followed.map_err(|(direction, misplaced)| AdmitError::Misplaced { direction, misplaced })?;
        turn.follow_secured(change.secured.as_ref()).map_err(AdmitError::Secured)?;
        turn.register(&self.registry, handle.into(), adopted_for(change.phase)).map_err(AdmitError::Register)?;
        self.peers.speaks_tls |= change.secured.is_some();
        self.peers.follow_pair(handle.key(), change.ties.joined);
        self.peers.count(handle.key());
        self.peers.follow_deadline(handle, change.deadline_ns);
        self.resume(handle);
        Ok(handle.key())
    }

    /// Sees to it that an adopted peer goes on where it was, once it is served.
    fn resume(&mut self, handle: PeerHandle) {
        let turn = self.peers.turn_of(handle).expect("the caller has its handle from the table");
        if self.put_off.is_none() && needs_turn(&turn) {
            self.make_due(handle);
        }
        self.peers.set_alarm(handle);
        self.peers.know_reader(handle.key());
    }

    /// From now on nobody gets a turn for what is to be done, who is adopted or changes: while this process follows another one, nearly all
    /// of that is done there. And to be registered takes half of the time in which a peer is adopted.
    pub(crate) fn put_off(&mut self) {
        self.put_off = Some(Vec::new());
    }

    /// Registers at most so many of those who were adopted since. How many it were.
    ///
    /// # Errors
    /// As from epoll_ctl(2).
    pub(crate) fn register_some(&mut self, at_most: usize) -> io::Result<usize> {
        let Self { peers, registry, put_off: Some(put_off), .. } = self else { return Ok(0) };
        let some = put_off.split_off(put_off.len().saturating_sub(at_most));
        for handle in &some {
            if let Some(peer) = turns::find(&mut peers.slab, *handle) {
                peer.register(registry, (*handle).into(), adopted_for(peer.talk.phase()))?;
            }
        }
        if put_off.is_empty() {
            // There were many at once.
            *put_off = Vec::new();
        }
        Ok(some.len())
    }

    /// Everybody is registered, and gets a turn for what is still to be done.
    ///
    /// # Errors
    /// As from epoll_ctl(2).
    pub(crate) fn make_up(&mut self) -> io::Result<()> {
        self.register_some(usize::MAX)?;
        self.put_off = None;
        self.peers.make_due_if(needs_turn);
        Ok(())
    }

    /// What has been taken for a peer from the epoll set is there again, unless another process has read it meanwhile.
    ///
    /// # Errors
    /// As from epoll_ctl(2).
    pub(crate) fn register_anew(&mut self, handle: PeerHandle) -> io::Result<()> {
        let peer = turns::find(&mut self.peers.slab, handle);
        peer.map_or(Ok(()), |peer| peer.register_anew(&self.registry, handle.into()))
    }

    /// Lets go of a peer that belongs to another process. The connection goes on there. Returns its key, unless nobody
    /// has this id.
    pub(crate) fn discard(&mut self, id: PeerId) -> Option<usize> {
        let key = self.peers.key(id)?;
        self.let_go(key);
        self.peers.forget_due();
        Some(key)
    }

    /// The same, by its key.
    pub(crate) fn let_go(&mut self, key: usize) {
        self.peers.remove(key).deregister(&self.registry);
    }

    /// The predecessor's clock, by which it has said its instants, is by so much ahead of this process's.
    pub(crate) fn keep_time_of_another(&mut self, ahead_ns: i64) {
        self.peers.keep_time_of_another(ahead_ns);
    }

    // ── Who is on the way to another process, or from one ──────────────────────────────────────────────────────────

    /// Puts a peer out of everybody's reach, since another process may own it soon. False if it has left.
    pub(crate) fn put_out_of_reach(&mut self, handle: PeerHandle) -> bool {
        self.peers.put_out_of_reach(handle)
    }

    /// It is this process's. Says whether it is to have a turn: whether there is something to do about it, or something has
    /// happened to its connection meanwhile, of which no event will tell any more.
    pub(crate) fn bring_back(&mut self, handle: PeerHandle) -> bool {
        let was_missed = self.peers.bring_back(handle);
        let is_at_rest = |peer: &Peer| peer.is_at_rest_in_clear_or_not() && !peer.talk.has_unfinished_work();
        was_missed || !self.peers.of_handle(handle).is_some_and(is_at_rest)
    }

    /// The state of a peer that is out of reach may be changed by this alone.
    ///
    /// # Errors
    /// If it goes on from elsewhere, or cannot be registered.
    pub(crate) fn follow_out_of_reach(&mut self, handle: PeerHandle, change: &Change<'_>) -> Result<(), AdmitError> {
        let was_missed = self.peers.bring_back(handle);
        let followed = self.follow(change);
        self.peers.put_out_of_reach(handle);
        if was_missed {
            self.peers.miss(handle);
        }
        followed.map(drop)
    }

    /// Whether something was asked of a peer in another's turn, and is still to be done.
    pub(crate) fn is_unsettled(&self, handle: PeerHandle) -> bool {
        self.peers.of_handle(handle).is_some_and(|peer| peer.unsettled)
    }

    /// A peer with all those who must be in one process with it. Empty if it has left.
    pub(crate) fn tied_together(&self, handle: PeerHandle) -> Vec<PeerHandle> {
        let mut together: Vec<PeerHandle> = self.peers.of_handle(handle).map(|_| handle).into_iter().collect();
        let mut keys: FxHashSet<usize> = together.iter().map(|handle| handle.key()).collect();
        let mut looked_at = 0;
        while let Some(one) = together.get(looked_at) {
            let tied = self.peers.tied_to(one.key());
            together.extend(tied.into_iter().filter(|tied| keys.insert(tied.key())));
            looked_at += 1;
        }
        together
    }

    /// Whether one of these ends with this process.
    pub(crate) fn stays(&self, together: &[PeerHandle]) -> bool {
        together.iter().any(|handle| self.peers.of_handle(*handle).is_some_and(Peer::is_ephemeral))
    }

    /// Those who are tied to a peer that has not left, and not to others by that.
    ///
    /// # Panics
    /// If nobody is there.
    pub(crate) fn tied_to(&self, handle: PeerHandle) -> Vec<PeerHandle> {
        self.peers.tied_to(handle.key())
    }

    /// Takes out the peer at `key`, which belongs to another process: its connection goes on there.
    pub(crate) fn part_with(&mut self, key: usize) -> Gone {
        let mut peer = self.peers.remove(key);
        peer.deregister(&self.registry);
        Gone { key, address: peer.address(), how: Closed::Moved, departed: departed(peer) }
    }

    // ── Turns without an event ─────────────────────────────────────────────────────────────────────────────────────

    /// Gives a peer a turn without an event, once.
    pub(crate) fn make_due(&mut self, handle: PeerHandle) {
        if self.peers.turn_of(handle).is_some() {
            self.peers.make_due(handle.key());
        }
    }

    /// How many are due.
    pub(crate) fn due(&self) -> usize {
        self.peers.due.len()
    }

    /// Whose turn it is of those who are due.
    pub(crate) fn next_due(&mut self) -> Option<PeerHandle> {
        self.peers.next_due()
    }

    /// To how many others have done something that is not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.peers.unsettled.len()
    }

    /// What was done to those who are not settled yet may be copied before they are.
    pub(crate) fn touch_unsettled(&mut self) {
        if self.watchers.is_some() {
            let handles: Vec<PeerHandle> = self.peers.unsettled.iter().collect();
            for handle in handles {
                self.peers.defer_unsettled(handle);
                self.touched(handle);
            }
        }
    }

    /// Whose turn it is of those to whom others have sent, or whom others have closed.
    pub(crate) fn next_unsettled(&mut self) -> Option<PeerHandle> {
        self.peers.next_unsettled()
    }

    /// Whom no event has told about for long enough, of those whom the server is ending.
    pub(crate) fn next_parting(&mut self) -> Option<PeerHandle> {
        self.peers.next_awaited_in(&mut self.parting, self.now)
    }

    /// Who is to have a turn, of those whose connections are being opened and those on which nothing has moved for too long:
    /// at most so many are looked at, and the others wait for another turn.
    pub(crate) fn next_alarmed(&mut self, looks_left: &mut usize) -> Option<PeerHandle> {
        self.peers.next_alarmed(looks_left)
    }

    /// Whose deadline seems to be reached: at most so many are looked at, and those who have moved it wait for another.
    pub(crate) fn next_at_deadline(&mut self, looks_left: &mut usize) -> Option<PeerHandle> {
        while *looks_left > 0 {
            *looks_left -= 1;
            match self.peers.look_at_deadline() {
                Look::Nobody => return None,
                Look::NotThis => {}
                Look::Reached(handle) => return Some(handle),
            }
        }
        None
    }

    /// Which timer of the service is due.
    pub(crate) fn next_timer(&mut self) -> Option<u32> {
        self.peers.next_timer()
    }

    /// When somebody gets a turn if no event comes before.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        if !self.peers.due.is_empty() || !self.peers.unsettled.is_empty() {
            return Some(self.now);
        }
        let called = self.peers.next_call_ns().map(|ns| self.clock.instant(ns));
        self.parting.first().into_iter().chain(called).min()
    }

    /// How many look-ups of peers are waiting for their time.
    #[cfg(test)]
    pub(crate) fn alarms(&self) -> usize {
        self.peers.alarms.len()
    }

    /// How many peers are known as coupled to somebody.
    #[cfg(test)]
    pub(crate) fn readers(&self) -> usize {
        self.peers.readers.values().map(|readers| readers.len()).sum()
    }

    // ── Who watches ────────────────────────────────────────────────────────────────────────────────────────────────

    /// From now on it is kept what happens to whom, for whoever they are copied to.
    pub(crate) fn watch(&mut self, to: Recipient) {
        self.watchers.get_or_insert_default().begin(to, Vec::new());
        self.peers.be_copied(true);
    }

    /// From now on nothing is written before a standby knows it, and what is read is in this memory.
    ///
    /// # Errors
    /// If the kernel cannot be asked how far connections have come.
    pub(crate) fn shelter(&mut self, mapping: Arc<Mapping>, lane: u32) -> io::Result<()> {
        self.peers.shelter = Some(Box::new(Shelter::new(mapping, lane)?));
        Ok(())
    }

    /// More may have been read from a peer than was given: an urgent byte is passed over (tcp(7)).
    pub(crate) fn count_anew(&mut self, handle: PeerHandle) {
        let Peers { slab, shelter: Some(shelter), .. } = &mut self.peers else { return };
        turns::find(slab, handle).into_iter().for_each(|_| shelter.look_anew(handle.key()));
    }

    /// What a peer has said, and was put aside, is about to be handled.
    pub(crate) fn try_again(&self, handle: PeerHandle) {
        let (Some(peer), Some(shelter)) = (self.peers.of_handle(handle), &self.peers.shelter) else { return };
        shelter.try_again(peer.id());
    }

    /// To how many something is to be written, or done, when the standby knows it.
    pub(crate) fn deferred(&self) -> usize {
        self.peers.shelter.as_ref().map_or(0, |shelter| shelter.deferred())
    }

    /// The standby was told all that has happened.
    pub(crate) fn have_committed(&mut self) {
        self.peers.shelter.iter_mut().for_each(|shelter| shelter.have_committed());
    }

    /// How far connections have come of which the standby does not know that yet.
    pub(crate) fn take_offsets(&mut self) -> Vec<Offset> {
        self.peers.shelter.as_mut().map(|shelter| shelter.take_offsets()).unwrap_or_default()
    }

    /// The standby knows all that is deferred: those who have their turn for that, up to [`Table::have_let_out`].
    pub(crate) fn let_out(&mut self) -> Vec<PeerHandle> {
        let Peers { slab, shelter: Some(shelter), .. } = &mut self.peers else { return Vec::new() };
        let deferred = shelter.let_out();
        for handle in &deferred {
            turns::find(slab, *handle).into_iter().for_each(|_| shelter.release(handle.key()));
        }
        deferred
    }

    /// What is to be written has to wait again.
    pub(crate) fn have_let_out(&mut self) {
        self.peers.shelter.iter_mut().for_each(|shelter| shelter.have_let_out());
    }

    /// That one does not want to know any more.
    pub(crate) fn unwatch(&mut self, to: Recipient) {
        if self.watchers.as_mut().is_some_and(|watchers| watchers.end(to)) {
            self.watchers = None;
            self.peers.be_copied(false);
        }
        if to == Recipient::Standby {
            self.let_out().into_iter().for_each(|handle| self.make_due(handle));
            self.peers.shelter = None;
        }
    }

    /// What has happened since this was last asked for that one, in order.
    pub(crate) fn touches(&mut self, to: Recipient) -> Vec<Touch> {
        self.watchers.as_mut().and_then(|watchers| watchers.get_mut(to)).map(take_with_room).unwrap_or_default()
    }

    /// Resets a connection that could not be served on, unless it has left. Returns it if it is over with that, as it is.
    pub(crate) fn reset(&mut self, handle: PeerHandle, why: &str) -> Option<Gone> {
        self.change(handle, |turn| {
            turn.abort();
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
        })
    }

    /// So much of what is pending for an adopted peer was written by the process that serves it, or did until it died.
    pub(crate) fn have_written(&mut self, handle: PeerHandle, bytes: usize) {
        if let Some(mut turn) = self.peers.turn_of(handle) {
            let (marks, was_full) = (turn.marks(), turn.talk.is_full());
            turn.talk.written(bytes);
            turn.talk.weigh(marks);
            if was_full {
                turn.talk.drain_later();
            }
        }
    }

    /// Ends all connections, also where another process holds duplicates of their sockets.
    pub(crate) fn hang_up(&self) {
        self.peers.iter().for_each(Peer::hang_up);
    }
}

fn departed(peer: Peer) -> Departed {
    let id = peer.id();
    let (socket, secured) = peer.remains();
    Departed { id, socket, secured }
}

/// Whether there is something to do about an adopted peer of which no event tells.
fn needs_turn(peer: &Peer) -> bool {
    peer.talk.has_unfinished_work() || peer.secured().is_some_and(Secured::has_unheard)
}

/// What a peer of another process is woken for: for reading alone, since all sockets are writable at once, and that many
/// events would prolong the pause; but that a connection stands is told in no other way.
fn adopted_for(phase: Phase) -> Interest {
    if phase == Phase::Connecting { Interest::WRITABLE } else { READING }
}

/// Does what is to be done about a peer whose output the server is ending, or that is to be reset. The rest is as with
/// [`part`].
#[cold]
fn end(peer: &mut Peer, progress: TurnEnd, now_ns: u64, patience: &Patience) -> (TurnEnd, Option<Duration>) {
    if peer.talk.outflow() == Outflow::Reset {
        peer.abort();
        return (TurnEnd::Over, None);
    }
    let client_ended = peer.talk.phase() == Phase::Ended;
    if peer.talk.finish_output() {
        peer.end_output();
    }
    if client_ended && peer.talk.outflow() == Outflow::Finished {
        // Both have said all: there is no output to be ended, and nothing that would come to be thrown away.
        peer.talk.linger();
        return part(peer, TurnEnd::Over, now_ns, patience);
    }
    if peer.talk.is_closing() { part(peer, progress, now_ns, patience) } else { (progress, None) }
}

/// Does what is to be done about a peer that the server is ending, and that has come so far. Returns how far that brings
/// it, and after how long it is looked at again if nothing happens before.
fn part(peer: &mut Peer, progress: TurnEnd, now_ns: u64, patience: &Patience) -> (TurnEnd, Option<Duration>) {
    let client_ended = progress == TurnEnd::Over;
    if client_ended && peer.talk.phase() != Phase::Lingering {
        return (progress, None);
    }
    match peer.part(client_ended, now_ns, patience) {
        Step::EndOutput => {
            peer.talk.linger();
            peer.end_output();
            // What the client has sent meanwhile is thrown away.
            (TurnEnd::BudgetSpent, None)
        }
        Step::Wait(wait) if client_ended => (TurnEnd::Drained, Some(wait)),
        Step::Wait(wait) => (progress, Some(wait)),
        Step::Over => (TurnEnd::Over, None),
        Step::GiveUp(reason) => {
            debug!("Peer {} is given up: {reason}", peer.address());
            peer.abort();
            (TurnEnd::Over, None)
        }
    }
}
