//! All peers: by key for the table, by id for the services.
//!
//! A service reaches other peers only here, while one of them has its turn. What it does to them is settled at the end of
//! the loop's turn.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::net::sockopt::socket_cookie;
use slab::Slab;

use super::alarms::Alarms;
use super::conduit::Conduit;
use super::deadlines::{Deadlines, Look, NEVER_NS};
use super::handle::{PeerHandle, Stamps};
use super::keys::Keys;
use super::pairs::Pairs;
use super::shelter::Shelter;
use super::tally::Tally;
use super::timers::Timers;
use super::turns::{self, Awaited, Turns};
use crate::clock::CENTURY;
use crate::handle::Handle;
use crate::peer::connect::{Connect, Dialled, Unreached, dial};
use crate::peer::delivery::Counted;
use crate::peer::record::{Phase, Record};
use crate::peer::secured::Secured;
use crate::peer::ties::{Holds, Ties};
use crate::peer::{Address, Marks, Peer, PeerId};
use crate::tls::Connectors;

/// After so long it is tried again to connect to a Unix socket whose backlog is full.
const RETRY_NS: u64 = 10_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// So many have their keys at hand: a megabyte or so.
const WARM_MAX: usize = 1024;

/// After so long, who was put off is looked at again.
const A_MOMENT_NS: u64 = 50_000_000;

/// A deadline that is further away than this is none.
const CENTURY_S: u64 = CENTURY.as_secs();

/// What is left of a peer that is gone.
#[derive(Debug)]
pub(crate) struct Departed {
    pub(crate) id: PeerId,
    /// It has ended, or belongs to another process, and is to be closed when the service has been told.
    pub(crate) socket: mio::net::TcpStream,
    /// What its bytes went through, if they did.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "they did not"))]
    pub(crate) secured: Option<Box<Secured>>,
}

/// All peers, and who of them waits to be settled.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(super) slab: Slab<Peer>,
    pub(super) keys: Keys,
    pub(super) pairs: Pairs,
    stamps: Stamps,
    /// Those whom others have sent to or closed.
    pub(super) unsettled: Turns,
    /// Those who get a turn without an event.
    pub(super) due: Turns,
    pub(super) marks: Marks,
    /// The time of this turn of the loop.
    pub(super) now_ns: u64,
    /// By how much the clock that instants are kept by in here is ahead of `CLOCK_MONOTONIC`. It is not, save in a process
    /// that has a time namespace of its own (time_namespaces(7)) and a predecessor that has not.
    ahead_ns: i64,
    pub(super) deadlines: Deadlines,
    /// Those whose connections are being opened, and those on which nothing may move for too long.
    pub(super) alarms: Alarms,
    timers: Timers,
    /// Those who are coupled to a peer: it gets what they send.
    pub(super) readers: FxHashMap<PeerId, FxHashSet<PeerId>>,
    /// The server is stopping, and services open no more connections.
    opens_no_more: bool,
    /// Of whom a service is being told that it is gone, and what is left of it.
    gone: Option<Departed>,
    /// How many processes wait to be given peers.
    takers: usize,
    /// Whom the service has given away, in that order.
    given: Vec<PeerHandle>,
    /// Who was to have a turn while it was out of reach, by keys.
    pub(super) missed: FxHashSet<usize>,
    pub(super) tally: Tally,
    /// While a standby follows.
    pub(super) shelter: Option<Box<Shelter>>,
    pub(super) conduit: Conduit,
    /// Those whose keys are at hand, in the order in which they came to be: there are not many, since keys are ten times as large
    /// as what they are made from.
    warm: VecDeque<PeerHandle>,
    /// There are peers that speak TLS, or there were.
    pub(super) speaks_tls: bool,
    /// What reaches the server from elsewhere, for a service that asks for it.
    server: Handle,
    /// With what connections are opened that speak TLS.
    connectors: Connectors,
}

impl Peers {
    /// Nobody, with room for `capacity` peers of the lane with this number.
    pub(crate) fn new(lane: usize, marks: Marks, capacity: usize) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            keys: Keys::with_capacity(capacity),
            pairs: Pairs::default(),
            stamps: Stamps::of_lane(lane),
            unsettled: Turns::new(|peer| &mut peer.unsettled),
            due: Turns::new(|peer| &mut peer.due),
            marks,
            now_ns: 0,
            ahead_ns: 0,
            deadlines: Deadlines::default(),
            alarms: Alarms::default(),
            timers: Timers::default(),
            readers: FxHashMap::default(),
            opens_no_more: false,
            gone: None,
            takers: 0,
            given: Vec::new(),
            missed: FxHashSet::default(),
            tally: Tally::default(),
            shelter: None,
            conduit: Conduit::default(),
            warm: VecDeque::new(),
            speaks_tls: false,
            server: Handle::default(),
            connectors: Connectors::default(),
        }
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// If there is a peer with this id already: the socket is given back.
    pub(super) fn insert(
        &mut self,
        socket: mio::net::TcpStream,
        id: PeerId,
        address: Address,
    ) -> Result<PeerHandle, mio::net::TcpStream> {
        if self.key(id).is_some() {
            return Err(socket);
        }
        let stamp = self.stamps.next();
        let key = self.slab.insert(Peer::new(socket, stamp, id, address, self.now_s()));
        self.keys.insert(key, &self.slab);
        Ok(PeerHandle::new(key, stamp))
    }

    /// Takes the peer out of the table.
    pub(super) fn remove(&mut self, key: usize) -> Peer {
        self.forget_reader(key);
        self.part_from_partner(key);
        // Of a peer that is out of reach, another may have the id by now: it has gone and come back.
        self.keys.remove(key, self.slab[key].id());
        let peer = self.slab.remove(key);
        self.shelter.iter_mut().for_each(|shelter| shelter.forget(key));
        self.deadlines.forget(key);
        self.missed.remove(&key);
        self.count_no_more(peer.counted);
        peer
    }

    /// The peer that a handle is for, and all others, unless it has left.
    pub(super) fn turn_of(&mut self, handle: PeerHandle) -> Option<Turn<'_>> {
        turns::find(&mut self.slab, handle)?;
        Some(Turn { peers: self, key: handle.key() })
    }

    /// Gives the peer at `key` a turn without an event.
    pub(super) fn make_due(&mut self, key: usize) {
        self.due.push(key, &mut self.slab[key]);
    }

    /// Gives everybody one who needs it.
    pub(super) fn make_due_if(&mut self, needs_turn: impl Fn(&Peer) -> bool) {
        let Self { slab, due, .. } = self;
        slab.iter_mut().filter(|(_, peer)| needs_turn(peer)).for_each(|(key, peer)| due.push(key, peer));
    }

    pub(super) fn next_due(&mut self) -> Option<PeerHandle> {
        self.due.pop(&mut self.slab)
    }

    pub(super) fn next_awaited_in(&mut self, awaited: &mut Awaited, now: Instant) -> Option<PeerHandle> {
        awaited.pop(now, &mut self.slab)
    }

    pub(super) fn begin_turn(&mut self, now_ns: u64) {
        self.now_ns = now_ns.saturating_add_signed(self.ahead_ns);
    }

    // ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// The deadline that comes after so long.
    #[inline]
    pub(crate) fn deadline_ns(&self, after: Option<Duration>) -> u64 {
        match after {
            // What is a century away is never reached, and the rest is a number of ns.
            Some(after) if after.as_secs() < CENTURY_S => {
                let after_ns = after.as_secs() * 1_000_000_000 + u64::from(after.subsec_nanos());
                self.now_ns.saturating_add(after_ns)
            }
            _ => NEVER_NS,
        }
    }

    /// What is due at once is due in the next turn, or this one could go on for ever.
    fn next_turn_ns(&self) -> u64 {
        self.now_ns + 1
    }

    pub(crate) fn set_timer(&mut self, timer: u32, after: Option<Duration>) {
        let at_ns = after.map(|_| self.deadline_ns(after).max(self.next_turn_ns()));
        self.timers.set(timer, at_ns);
    }

    /// How long it is until this timer is due, if it is set.
    pub(crate) fn timer(&self, timer: u32) -> Option<Duration> {
        self.timers.get(timer).map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(self.now_ns)))
    }

    /// All timers, each with its instant: `CLOCK_MONOTONIC`, ns.
    pub(crate) fn timers(&self) -> impl Iterator<Item = (u32, u64)> {
        self.timers.iter().map(|(timer, at_ns)| (timer, self.monotonic(at_ns)))
    }

    /// Sets a timer as another process has it.
    pub(crate) fn adopt_timer(&mut self, timer: u32, at_ns: u64) {
        self.timers.set(timer, Some(at_ns));
    }

    pub(super) fn next_timer(&mut self) -> Option<u32> {
        self.timers.pop(self.now_ns)
    }

    pub(super) fn keep_time_of_another(&mut self, ahead_ns: i64) {
        self.ahead_ns = ahead_ns;
    }

    /// The time of this turn of the loop, as what it is when peers came.
    fn now_s(&self) -> u32 {
        u32::try_from(self.now_ns / NS_PER_S).unwrap_or(u32::MAX)
    }

    /// For how long the peer is connected, by the second, if that is known.
    pub(crate) fn age_s(&self, peer: &Peer) -> Option<u32> {
        let since_s = Some(peer.talk.since_s()).filter(|since_s| *since_s > 0);
        since_s.map(|since_s| self.now_s().saturating_sub(since_s))
    }

    /// An instant of this process, by the clock by which others are kept in here.
    pub(crate) fn kept(&self, ns: u64) -> u64 {
        ns.saturating_add_signed(self.ahead_ns)
    }

    /// An instant that is kept in here, by the clock of this process.
    fn monotonic(&self, ns: u64) -> u64 {
        ns.saturating_add_signed(self.ahead_ns.saturating_neg())
    }

    /// Sets the deadline of a peer that is not being closed, in a call about another one.
    pub(crate) fn set_deadline(&mut self, id: PeerId, deadline_ns: u64) {
        let Some(handle) = self.handle(id) else { return };
        let peer = &mut self.slab[handle.key()];
        if !peer.talk.is_closing() {
            self.deadlines.set(handle, deadline_ns.max(self.now_ns + 1));
            self.unsettled.push(handle.key(), peer);
        }
    }

    /// Follows another process, which has it from there.
    pub(super) fn follow_deadline(&mut self, handle: PeerHandle, deadline_ns: Option<u64>) {
        self.deadlines.set(handle, deadline_ns.unwrap_or(NEVER_NS));
    }

    /// Whether the peer at `key` was closed because its deadline was reached.
    pub(super) fn deadline_has_closed(&self, key: usize) -> bool {
        self.deadlines.has_closed(key)
    }

    /// When something is to be done that no event will ask for.
    pub(super) fn next_call_ns(&self) -> Option<u64> {
        let first = [self.deadlines.first_ns(), self.timers.first_ns(), self.alarms.first_ns()];
        first.into_iter().flatten().min().map(|ns| self.monotonic(ns))
    }

    /// Looks at whose deadline comes first.
    pub(super) fn look_at_deadline(&mut self) -> Look {
        let Self { deadlines, slab, now_ns, .. } = self;
        deadlines.look(*now_ns, |handle| turns::find(slab, handle).is_some_and(|peer| !peer.talk.is_closing()))
    }

    /// What another process needs to go on with the peer at `key`, besides descriptor and session, unless nobody is there
    /// or whoever is ends with this process.
    pub(crate) fn record(&self, key: usize) -> Option<Record<'_>> {
        let peer = self.get(key)?;
        if peer.is_ephemeral() {
            return None;
        }
        let record = peer.record();
        let joined = peer.pair_end.map(|end| self.pairs.joined(end).told());
        let ties = Ties { joined, ..record.ties }.by_clock(|ns| self.monotonic(ns));
        let deadline_ns = match self.deadlines.get(key) {
            Some(ns) if !self.deadlines.has_closed(key) => Some(self.monotonic(ns).max(1)),
            closed_or_none => closed_or_none,
        };
        let since_ns = self.monotonic(u64::from(record.since_s) * NS_PER_S);
        let since_s = if record.since_s > 0 { u32::try_from(since_ns / NS_PER_S).unwrap_or(u32::MAX) } else { 0 };
        Some(Record { deadline_ns, since_s, ties, ..record })
    }

    // ── Connections that the service opens ─────────────────────────────────────────────────────────────────────────

    /// Begins to connect. Returns the key of who comes to be by that; it gets its first turn at the end of this one.
    ///
    /// # Errors
    /// What is known at once.
    pub(crate) fn connect(&mut self, how: &Connect) -> io::Result<(usize, PeerId)> {
        if self.opens_no_more {
            return Err(io::Error::other("the server is stopping"));
        }
        if let Some(tls) = how.tls.as_ref().filter(|tls| !self.connectors.has(&tls.with)) {
            let what = format!("this server opens no connections with TLS of the name {:?}", tls.with);
            return Err(io::Error::new(ErrorKind::NotFound, what));
        }
        let Dialled { socket, address, path } = dial(how)?;
        let id = PeerId::from(socket_cookie(&socket)?);
        let socket = mio::net::TcpStream::from_std(socket.into());
        let twice = |_| io::Error::other("its socket has the cookie of another");
        let handle = self.insert(socket, id, address).map_err(twice)?;
        let until_ns = self.deadline_ns(Some(how.within)).max(self.next_turn_ns());
        let peer = &mut self.slab[handle.key()];
        peer.dial(until_ns, path, how.tls.clone(), how.ephemeral);
        self.unsettled.push(handle.key(), peer);
        self.set_alarm(handle);
        Ok((handle.key(), id))
    }

    /// From now on no connections are opened.
    pub(crate) fn open_no_more(&mut self) {
        self.opens_no_more = true;
    }

    /// Has a peer looked at when its connection is tried again or given up, if it is being opened, and when nothing may have
    /// moved for too long, if it is joined.
    pub(super) fn set_alarm(&mut self, handle: PeerHandle) {
        let Some(peer) = self.slab.get(handle.key()) else { return };
        let dialling = peer.particulars().and_then(|particulars| particulars.dialling.as_deref());
        let dialled_ns = dialling.map(|dialling| match dialling.path {
            Some(_) => dialling.until_ns.min(self.now_ns + RETRY_NS),
            None => dialling.until_ns,
        });
        let idle_at = peer.pair_end.and_then(|end| Some((end, self.pairs.idle_at_ns(end)?)));
        if let Some(at_ns) = dialled_ns {
            let alarm_ns = &mut self.slab[handle.key()].particulars_mut().alarm_ns;
            let is_sooner = bring_forward(alarm_ns, at_ns);
            self.push_alarm(handle, is_sooner);
        }
        if let Some((end, at_ns)) = idle_at {
            let is_sooner = bring_forward(self.pairs.alarm_ns(end), at_ns);
            self.push_alarm(handle, is_sooner);
        }
    }

    /// The same for one that may not have been looked at when it was to be.
    pub(super) fn set_alarm_anew(&mut self, handle: PeerHandle) {
        let peer = &mut self.slab[handle.key()];
        if peer.particulars().is_some() {
            peer.particulars_mut().alarm_ns = None;
        }
        if let Some(end) = peer.pair_end {
            *self.pairs.alarm_ns(end) = None;
        }
        self.set_alarm(handle);
    }

    fn push_alarm(&mut self, handle: PeerHandle, at_ns: Option<NonZeroU64>) {
        let Some(at_ns) = at_ns else { return };
        let Self { alarms, slab, pairs, .. } = self;
        alarms.make_room(|at_ns, handle| {
            let is_for =
                |peer: &mut Peer| peer.has_alarm(at_ns) || peer.pair_end.is_some_and(|end| pairs.has_alarm(end, at_ns));
            turns::find(slab, handle).is_some_and(is_for)
        });
        alarms.push(at_ns.get(), handle);
    }

    /// Who is to have a turn by now: so many are looked at, at most.
    pub(super) fn next_alarmed(&mut self, looks_left: &mut usize) -> Option<PeerHandle> {
        while *looks_left > 0 {
            *looks_left -= 1;
            let (at_ns, handle) = self.alarms.pop(self.now_ns)?;
            let Some(peer) = turns::find(&mut self.slab, handle) else { continue };
            let is_dialled = peer.take_alarm(at_ns) && peer.talk.phase() == Phase::Connecting;
            if is_dialled || self.close_if_idle(handle, at_ns) {
                return Some(handle);
            }
        }
        None
    }

    /// Whose turn it is of those who wait to be settled.
    pub(super) fn next_unsettled(&mut self) -> Option<PeerHandle> {
        self.unsettled.pop(&mut self.slab)
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Peer> {
        self.slab.get(key)
    }

    /// Has those who have left stand in no queue, if there are many of them.
    pub(super) fn forget_due(&mut self) {
        self.due.make_room(&self.slab);
    }

    pub(crate) fn key(&self, id: PeerId) -> Option<usize> {
        self.keys.find(id, &self.slab)
    }

    pub(crate) fn handle(&self, id: PeerId) -> Option<PeerHandle> {
        let key = self.key(id)?;
        Some(PeerHandle::new(key, self.slab[key].stamp()))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// All keys are below this.
    pub(crate) fn keys_end(&self) -> usize {
        self.slab.capacity()
    }

    /// All that can be reached.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slab.iter().map(|(_, peer)| peer).filter(|peer| self.is_in_reach(peer))
    }

    /// A handle for each of them.
    pub(crate) fn handles(&self) -> Vec<PeerHandle> {
        let reached = self.slab.iter().filter(|(_, peer)| self.is_in_reach(peer));
        reached.map(|(key, peer)| PeerHandle::new(key, peer.stamp())).collect()
    }

    /// A handle for the peer at `key`, if there is one that can be reached.
    pub(crate) fn handle_at(&self, key: usize) -> Option<PeerHandle> {
        let peer = self.slab.get(key).filter(|peer| self.is_in_reach(peer))?;
        Some(PeerHandle::new(key, peer.stamp()))
    }

    /// The peer that a handle is for, unless it has left.
    pub(crate) fn of_handle(&self, handle: PeerHandle) -> Option<&Peer> {
        self.slab.get(handle.key()).filter(|peer| peer.stamp() == handle.stamp())
    }

    // ── Giving away ────────────────────────────────────────────────────────────────────────────────────────────────

    /// What reaches the server from elsewhere.
    pub(crate) fn server(&self) -> &Handle {
        &self.server
    }

    /// This reaches it.
    pub(crate) fn reached_by(&mut self, server: Handle) {
        self.server = server;
    }

    /// With these, connections are opened that speak TLS.
    pub(crate) fn connect_with(&mut self, connectors: Connectors) {
        self.connectors = connectors;
    }

    /// So many processes wait to be given peers.
    pub(crate) fn set_takers(&mut self, takers: usize) {
        self.takers = takers;
    }

    /// Gives a peer to whoever has waited longest. It is not read from until that is done, or cannot be.
    ///
    /// # Errors
    /// If nobody waits.
    pub(crate) fn give_away(&mut self, id: PeerId) -> Result<(), NobodyWaits> {
        if self.takers == 0 {
            return Err(NobodyWaits);
        }
        if let Some(handle) = self.handle(id) {
            // Who is given away twice goes once, and its service hears once that it has not.
            if !self.slab[handle.key()].talk.holds().has(Holds::GIVEN) {
                self.given.push(handle);
            }
            self.settle(id, |peer| peer.talk.hold(Holds::GIVEN));
        }
        Ok(())
    }

    /// Whom the service has given away since this was last called.
    pub(crate) fn take_given(&mut self) -> Vec<PeerHandle> {
        std::mem::take(&mut self.given)
    }

    pub(super) fn stamp_of_nobody(&self) -> u32 {
        self.stamps.of_nobody()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// Adds to the pending output of a peer, which is settled at the end of the turn.
    pub(crate) fn send(&mut self, id: PeerId, bytes: &[u8]) -> Result<(), SendError> {
        let key = self.key(id).ok_or(SendError::Gone)?;
        let peer = &mut self.slab[key];
        let pending_bytes = peer.talk.pending_bytes();
        if !peer.talk.takes_output() {
            return Err(SendError::Gone);
        }
        if pending_bytes > self.marks.high_bytes {
            // Who is refused is told when there is room.
            peer.talk.hold(Holds::OUTPUT);
            self.unsettled.push(key, peer);
            self.tell_readers(key);
            return Err(SendError::Full { pending_bytes });
        }
        peer.push(bytes);
        self.unsettled.push(key, peer);
        self.keep_warm(key);
        // Who is coupled to it is not to come once more before it is settled.
        if pending_bytes + bytes.len() > self.marks.high_bytes && self.readers.contains_key(&id) {
            self.slab[key].talk.hold(Holds::OUTPUT);
            self.tell_readers(key);
        }
        Ok(())
    }

    /// The session of a peer is changed in a call about another one.
    pub(crate) fn touch(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        peer.session_changed = true;
        self.unsettled.push(key, peer);
    }

    /// Closes a peer after what is pending for it is written.
    pub(crate) fn close(&mut self, id: PeerId) {
        self.settle(id, |peer| peer.talk.close());
    }

    /// Ends the output of a peer after what is pending for it is written.
    pub(crate) fn finish(&mut self, id: PeerId) {
        self.settle(id, |peer| peer.talk.finish());
    }

    /// Resets a peer's connection.
    pub(crate) fn abort(&mut self, id: PeerId) {
        self.settle(id, |peer| peer.talk.reset());
    }

    /// The peer at `key` may have used its keys. Whoever has had its own at hand for longest makes them anew next time, if there are
    /// too many.
    #[inline]
    pub(super) fn keep_warm(&mut self, key: usize) {
        if self.slab[key].secured().is_some() {
            self.keep_secured_warm(key);
        }
    }

    fn keep_secured_warm(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        if !peer.secured_mut().is_some_and(Secured::warm_up) {
            return;
        }
        self.warm.push_back(PeerHandle::new(key, peer.stamp()));
        if self.warm.len() > WARM_MAX
            && let Some(oldest) = self.warm.pop_front()
            && let Some(secured) = turns::find(&mut self.slab, oldest).and_then(Peer::secured_mut)
        {
            secured.cool_down();
        }
    }

    /// Has a peer not be read from.
    pub(crate) fn hold(&mut self, id: PeerId) {
        self.settle(id, |peer| peer.talk.hold(Holds::ASKED));
    }

    /// Has a peer be read from again, unless there are other reasons not to.
    pub(crate) fn release(&mut self, id: PeerId) {
        self.settle(id, |peer| peer.talk.release(Holds::ASKED));
    }

    /// Changes a peer in a call about another one. What that leads to is settled at the end of the turn.
    fn settle(&mut self, id: PeerId, act: impl FnOnce(&mut Peer)) {
        if let Some(key) = self.key(id) {
            let peer = &mut self.slab[key];
            act(peer);
            self.unsettled.push(key, peer);
        }
    }

    /// A service is about to be told of somebody who is gone.
    pub(crate) fn begin_to_tell(&mut self, departed: Departed) {
        self.gone = Some(departed);
    }

    /// It has been told.
    pub(crate) fn have_told(&mut self) {
        self.gone = None;
    }

    /// What the kernel has counted of the peer with this id, also if it is the one that is gone.
    pub(crate) fn counted(&self, id: PeerId) -> Counted {
        match &self.gone {
            Some(gone) if gone.id == id => Counted::of(&gone.socket),
            _ => self.find(id).map(Counted::of).unwrap_or_default(),
        }
    }

    /// What the bytes of the peer with this id go through, or went through if it is the one that is gone.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(&self, id: PeerId) -> Option<&Secured> {
        match &self.gone {
            Some(gone) if gone.id == id => gone.secured.as_deref(),
            _ => self.find(id)?.secured(),
        }
    }

    /// The peer with this id.
    pub(crate) fn find(&self, id: PeerId) -> Option<&Peer> {
        self.key(id).and_then(|key| self.slab.get(key))
    }

    /// The same, for a call of the service about it.
    pub(crate) fn find_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.key(id).and_then(|key| self.slab.get_mut(key))
    }
}

/// Has an alarm be no later than at this instant. Returns when it is, if it was to be later or not at all.
fn bring_forward(alarm_ns: &mut Option<NonZeroU64>, at_ns: u64) -> Option<NonZeroU64> {
    // No instant is 0 that is still to come.
    let at_ns = NonZeroU64::new(at_ns).unwrap_or(NonZeroU64::MIN);
    let is_sooner = alarm_ns.is_none_or(|first_ns| at_ns < first_ns);
    is_sooner.then(|| *alarm_ns.insert(at_ns))
}

/// A peer that has its turn. All others are there as well, since a service that is called about one may reach any.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    pub(super) peers: &'t mut Peers,
    key: usize,
}

impl Turn<'_> {
    pub(crate) fn key(&self) -> usize {
        self.key
    }

    /// Everybody, for a call of the service about this one.
    pub(crate) fn everybody(&mut self) -> &mut Peers {
        self.peers
    }

    pub(crate) fn marks(&self) -> Marks {
        self.peers.marks
    }

    #[inline]
    pub(crate) fn set_deadline(&mut self, deadline_ns: u64) {
        if !self.peers.deadlines.move_later(self.key, deadline_ns) {
            self.set_deadline_sooner(deadline_ns);
        }
    }

    #[cold]
    fn set_deadline_sooner(&mut self, deadline_ns: u64) {
        let handle = PeerHandle::new(self.key, self.stamp());
        let next_turn_ns = self.peers.next_turn_ns();
        self.peers.deadlines.set(handle, deadline_ns.max(next_turn_ns));
    }

    /// Takes its deadline away if that is reached; says whether it was.
    pub(crate) fn take_deadline(&mut self) -> bool {
        let Peers { deadlines, now_ns, .. } = self.peers;
        let is_reached = deadlines.get(self.key).is_some_and(|deadline_ns| deadline_ns <= *now_ns);
        let has_one = is_reached && !self.talk.is_closing();
        if has_one {
            self.set_deadline(NEVER_NS);
        }
        has_one
    }

    /// Its deadline is looked at again in a moment, if it is reached.
    #[cold]
    pub(crate) fn put_off_deadline(&mut self) {
        let Peers { deadlines, now_ns, .. } = self.peers;
        if deadlines.get(self.key).is_some_and(|deadline_ns| deadline_ns <= *now_ns) {
            let in_a_moment_ns = *now_ns + A_MOMENT_NS;
            self.set_deadline(in_a_moment_ns);
        }
    }

    /// Whether its connection stands, which the service has opened. If that has to be asked again and no event will say
    /// when, it is looked at again.
    ///
    /// # Errors
    /// If it never will.
    pub(crate) fn stands(&mut self) -> Result<bool, Unreached> {
        let Peers { slab, connectors, now_ns, speaks_tls, .. } = self.peers;
        let peer = &mut slab[self.key];
        let stands = peer.stands(*now_ns, connectors)?;
        *speaks_tls |= peer.secured().is_some();
        if !stands {
            let handle = PeerHandle::new(self.key, self.stamp());
            self.peers.set_alarm(handle);
        }
        Ok(stands)
    }

    /// It counts as one whose output is over the mark, and is told in the next turn of the loop that it has drained, if it has.
    #[cold]
    pub(crate) fn drain_in_next_turn(&mut self) {
        self.talk.hold(Holds::OUTPUT);
        self.peers.make_due(self.key);
    }

    /// Closes it, because its deadline was reached.
    pub(crate) fn close_at_deadline(&mut self) {
        self.talk.close();
        self.peers.deadlines.close(self.key);
    }
}

impl Deref for Turn<'_> {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peers.slab[self.key]
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peers.slab[self.key]
    }
}

/// A peer cannot be given away: no other process waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NobodyWaits;

impl std::fmt::Display for NobodyWaits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no other process waits to be given a peer")
    }
}

impl std::error::Error for NobodyWaits {}

/// Why a peer was not sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer is gone, is being closed, or its output is finished.
    Gone,
    /// Its pending output is over the high-water mark.
    Full {
        /// How many bytes wait to be written to it.
        pending_bytes: usize,
    },
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("the peer is gone"),
            Self::Full { pending_bytes } => write!(f, "{pending_bytes} bytes are pending for the peer already"),
        }
    }
}

impl std::error::Error for SendError {}
