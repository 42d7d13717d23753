//! A lane: one service, the table of its peers, and their sessions.
//!
//! It serves: whoever has its turn is written to and read from as far as its budget goes, and nobody else calls the
//! service. It knows neither where peers come from nor what a takeover is; it can be copied, and filled from a copy,
//! between two of its turns.

mod adopt_error;
mod answering;
mod carrying;
mod passing;
mod surviving;
mod wake;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use log::{debug, warn};
use mio::net::TcpStream;
use rustix::net::sockopt::socket_cookie;

use crate::limited::{Kind, Limited};
use crate::originals::Originals;
use crate::peer::record::{Change, Record};
use crate::peer::ties::Holds;
use crate::peer::{Address, Peer, PeerId, Phase, Received};
use crate::recipient::Recipient;
use crate::service::{Accepted, Context, Entries, MAPS_MAX, RestoreError, StreamService};
#[cfg(feature = "tls")]
use crate::sources::Welcome;
use crate::table::{Gone, PeerHandle, Table, Turn, TurnEnd};
pub(crate) use adopt_error::AdoptError;
use answering::Answering;
pub(crate) use passing::Passing;
pub(crate) use surviving::Surviving;
pub(crate) use wake::Wake;

/// What one read takes at most. One buffer of this size serves all peers.
const READ_BYTES: usize = 64 * 1024;

/// How many peers get a turn without an event in one turn of the loop, so that many of them do not hold up the others.
const DUE_PER_TURN: usize = 256;

/// A lane, whatever its service: what is asked of it seldom. It may be a pointer; nothing of this is on the way of a message.
pub(crate) trait AnyLane: Originals + Passing + Surviving {
    /// The name of its service.
    fn name(&self) -> &'static str;

    /// The version in which its service saves.
    fn state_version(&self) -> u32;

    fn table(&self) -> &Table;

    fn table_mut(&mut self) -> &mut Table;

    /// How many peers there are.
    fn peers(&self) -> usize;

    /// How many of them do not count for the maximum of the server.
    fn peers_beyond_max(&self) -> usize;

    /// How many more its service lets in at the listener with this name, where `arriving` says how many have come in at a
    /// listener who are no peers yet.
    fn room(&self, listener: &str, arriving: &dyn Fn(&str) -> usize) -> usize;

    fn limited(&self) -> &Limited;

    fn limited_mut(&mut self) -> &mut Limited;

    /// Those who have left since this was last called.
    fn released(&mut self) -> Vec<PeerId>;

    /// Takes in a connection.
    fn open(&mut self, socket: TcpStream, address: Address, how: &Accepted<'_>);

    /// Takes in a connection whose handshake is over.
    #[cfg(feature = "tls")]
    fn open_secured(&mut self, welcome: Welcome);

    /// The lane begins to be served: with what it has been filled with, or with nobody.
    fn begin(&mut self);

    /// The server is about to close all peers.
    fn stopping(&mut self);

    /// Another thread has something for the service.
    fn woken(&mut self);

    /// Somebody has asked the service something.
    fn asked(&mut self, question: &[u8]) -> Result<Vec<u8>, String>;

    /// Appends the service's own figures.
    fn figures(&self, exposition: &mut String);

    /// Closes all peers: what is pending for them is written first.
    fn close_all(&mut self);

    // ── Being copied ───────────────────────────────────────────────────────────────────────────────────────────────

    /// The descriptors of the peers at these keys.
    ///
    /// # Panics
    /// If nobody is at one of them.
    fn descriptors(&self, keys: &mut dyn Iterator<Item = usize>) -> Vec<BorrowedFd<'_>>;

    /// About how many bytes of memory a successor will need for its entries.
    fn entries_bytes(&mut self) -> usize;

    /// Its entries are not copied to that one any more.
    fn end_copy(&mut self, to: Recipient);

    /// Appends the state that all peers share.
    fn save(&self, saved: &mut Vec<u8>);

    // ── Being filled ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in a peer of the predecessor, which owns it until the commit point.
    fn adopt(&mut self, socket: std::net::TcpStream, record: &Record<'_>, version: u32) -> Result<(), AdoptError>;

    /// Where an adopted peer connects from.
    ///
    /// # Panics
    /// If it was never adopted.
    fn address(&self, id: PeerId) -> Address;

    /// An adopted peer has changed.
    fn follow(&mut self, change: &Change<'_>, version: u32) -> Result<(), AdoptError>;

    /// An adopted peer has left the predecessor. Only the duplicate is closed: the connection is not ours.
    fn discard(&mut self, id: PeerId);

    /// Sets a timer as the predecessor has it.
    fn adopt_timer(&mut self, timer: u32, at_ns: u64);

    /// Applies a piece of the entries that all peers share to the map with this number.
    fn restore_entries(&mut self, map: u32, version: u32, piece: &[u8]) -> Result<(), RestoreError>;

    /// Nobody serves soon: what could hold up whoever takes over then is done now.
    fn get_ready(&mut self);

    /// Restores the state that all peers share.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), RestoreError>;
}

/// A service with its peers.
pub(crate) struct Lane<S: StreamService> {
    table: Table,
    answering: Answering<S>,
    /// What was read last.
    input: Box<[u8]>,
    /// How many were due when this turn of the loop began. Whoever becomes it meanwhile has had a turn.
    due_before: usize,
    /// Those who have left since somebody asked.
    released: Vec<PeerId>,
    /// A predecessor had it.
    inherited: bool,
}

impl<S: StreamService> Lane<S> {
    /// A lane without peers, whose sessions have room for `capacity`.
    pub(crate) fn new(service: S, table: Table, capacity: usize) -> Self {
        Self {
            table,
            answering: Answering::new(service, capacity),
            input: vec![0; READ_BYTES].into_boxed_slice(),
            due_before: 0,
            released: Vec::new(),
            inherited: false,
        }
    }

    pub(crate) fn service(&self) -> &S {
        self.answering.service()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn service_mut(&mut self) -> &mut S {
        self.answering.service_mut()
    }

    // ── Serving ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A turn of the loop begins.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.due_before = self.table.due();
        self.table.begin_turn(now);
        self.answering.begin_turn(now);
    }

    /// Takes in a connection, which has its first turn next.
    fn let_in(&mut self, socket: TcpStream, address: Address) -> Option<PeerHandle> {
        debug!("Accepting connection from Peer {address}");
        self.table.count_accepted();
        let id = match socket_cookie(&socket) {
            Ok(cookie) => PeerId::from(cookie),
            Err(error) => {
                self.turn_away(address, &format_args!("no cookie: {error}"));
                return None;
            }
        };
        let inserted = self.table.insert(socket, id, address);
        if inserted.is_err() {
            self.turn_away(address, &"the cookie of another");
        }
        inserted.ok()
    }

    /// Gives it its first turn, in which its service is told after what is to be done before.
    fn open_after(&mut self, handle: PeerHandle, how: &Accepted<'_>, before: impl FnOnce(&mut Turn<'_>)) {
        let Self { table, answering, .. } = self;
        let gone = table.change(handle, |turn| {
            before(turn);
            answering.open(turn, how)
        });
        self.part_with_any(gone);
    }

    fn turn_away(&mut self, address: Address, reason: &dyn std::fmt::Display) {
        if self.answering.admits(Kind::NotServed) {
            warn!("Peer {address} is not served, for it has {reason}");
        }
    }

    /// Gives a peer its turn, unless it has left.
    pub(crate) fn serve(&mut self, handle: PeerHandle, wake: Wake) {
        let Self { table, answering, input, .. } = self;
        let gone = table.change(handle, |turn| answering.advance(turn, wake, input));
        self.part_with_any(gone);
    }

    /// Does what no event will ask for.
    pub(crate) fn finish_turn(&mut self) {
        for _ in 0..self.due_before.min(DUE_PER_TURN) {
            if let Some(handle) = self.table.next_due() {
                self.serve(handle, Wake::Due);
            }
        }
        for _ in 0..DUE_PER_TURN {
            let Some(handle) = self.table.next_parting() else { break };
            self.serve(handle, Wake::Due);
        }
        let mut looks_left = DUE_PER_TURN;
        while let Some(handle) = self.table.next_alarmed(&mut looks_left) {
            self.serve(handle, Wake::Due);
        }
        let mut looks_left = DUE_PER_TURN;
        while let Some(handle) = self.table.next_at_deadline(&mut looks_left) {
            let Self { table, answering, input, .. } = self;
            let gone = table.change(handle, |turn| answering.meet_deadline(turn, input));
            self.part_with_any(gone);
        }
        for _ in 0..DUE_PER_TURN {
            let Some(timer) = self.table.next_timer() else { break };
            self.call(|service, context| service.timer(timer, context));
        }
        self.settle();
    }

    /// Settles what was done to peers in others' turns. When one leaves by that, its service may do more to others; if that
    /// is much, it is for the next turn, or those who come and leave one after another would never let this one end.
    fn settle(&mut self) {
        for _ in 0..self.table.unsettled() + DUE_PER_TURN {
            let Some(handle) = self.table.next_unsettled() else { return };
            self.serve(handle, Wake::SentTo);
        }
        self.table.touch_unsettled();
    }

    #[inline]
    fn part_with_any(&mut self, gone: Option<Gone>) {
        if let Some(gone) = gone {
            self.part_with(gone);
        }
    }

    #[cold]
    fn part_with(&mut self, gone: Gone) {
        let id = gone.departed.id;
        self.answering.part_with(gone, self.table.peers_mut());
        self.released.push(id);
    }

    /// A call that is about no peer.
    fn call<R>(&mut self, act: impl FnOnce(&mut S, &mut Context<'_, S>) -> R) -> R {
        self.answering.call_alone(self.table.peers_mut(), act)
    }

    fn restore_session(&self, session: &[u8], version: u32) -> Result<S::Session, AdoptError> {
        self.answering.service().restore_session(version, session).map_err(AdoptError::Restore)
    }
}

impl<S: StreamService> Originals for Lane<S> {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.table.peers().record(key)
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        self.answering.save_session(key, saved);
    }

    fn save_secured(&self, key: usize, saved: &mut Vec<u8>) {
        let peer = self.table.peers().get(key).expect("its record was written in this turn");
        if let Some(secured) = peer.secured() {
            secured.save(saved);
        }
    }

    fn save_facts(&self, key: usize, saved: &mut Vec<u8>) {
        let peer = self.table.peers().get(key).expect("its record was written in this turn");
        if let Some(secured) = peer.secured() {
            secured.save_facts(saved);
        }
    }

    fn timers(&self) -> Vec<(u32, u64)> {
        self.table.peers().timers().collect()
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        self.answering.service_mut().entries(map)
    }
}

impl<S: StreamService> AnyLane for Lane<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn state_version(&self) -> u32 {
        S::STATE_VERSION
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    fn peers(&self) -> usize {
        self.table.peers().len()
    }

    fn peers_beyond_max(&self) -> usize {
        S::PEERS_BEYOND_MAX
    }

    fn room(&self, listener: &str, arriving: &dyn Fn(&str) -> usize) -> usize {
        self.answering.service().room(listener, arriving)
    }

    fn limited(&self) -> &Limited {
        self.answering.limited()
    }

    fn limited_mut(&mut self) -> &mut Limited {
        self.answering.limited_mut()
    }

    fn released(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.released)
    }

    fn open(&mut self, socket: TcpStream, address: Address, how: &Accepted<'_>) {
        if let Some(handle) = self.let_in(socket, address) {
            self.open_after(handle, how, |_| {});
        }
    }

    #[cfg(feature = "tls")]
    fn open_secured(&mut self, welcome: Welcome) {
        let Welcome { socket, address, listener, at, preface, secured, out, .. } = welcome;
        let how = Accepted { listener: &listener, from: address.ip(), at, preface: preface.as_deref() };
        let Some(handle) = self.let_in(socket, address) else { return };
        self.table.speak_tls();
        self.open_after(handle, &how, |turn| {
            turn.secure(secured);
            turn.talk.push(&out);
        });
        // What came while it was waiting is told by no event, and comes in a turn of its own.
        self.table.make_due(handle);
    }

    fn begin(&mut self) {
        self.call(if self.inherited { StreamService::taken_over } else { StreamService::started });
    }

    fn stopping(&mut self) {
        self.call(StreamService::stopping);
    }

    fn woken(&mut self) {
        self.call(StreamService::woken);
    }

    fn asked(&mut self, question: &[u8]) -> Result<Vec<u8>, String> {
        self.call(|service, context| service.asked(question, context))
    }

    fn figures(&self, exposition: &mut String) {
        self.answering.service().figures(exposition);
    }

    fn close_all(&mut self) {
        self.table.peers_mut().open_no_more();
        for handle in self.table.peers().handles() {
            let input = &mut self.input;
            let gone = self.table.change(handle, |turn| {
                if turn.talk.phase() == Phase::Lingering {
                    return Ok(TurnEnd::Drained);
                }
                let unread = matches!(turn.receive(input), Ok(Received::Bytes(_)));
                // Whatever the client sends to a closed connection resets it, and takes along what is still on its way.
                // Who speaks TLS is told that this is the end, or could not tell it from having been cut off.
                if unread || turn.is_undelivered() || turn.secured().is_some() {
                    turn.talk.close();
                    Ok(TurnEnd::Drained)
                } else {
                    // It has its answers, and is asking for nothing: no reason to wait for it.
                    Ok(TurnEnd::Over)
                }
            });
            self.part_with_any(gone);
        }
    }

    // ── Being copied ───────────────────────────────────────────────────────────────────────────────────────────────

    fn descriptors(&self, keys: &mut dyn Iterator<Item = usize>) -> Vec<BorrowedFd<'_>> {
        keys.map(|key| self.table.peers().get(key).expect("its record was written in this turn").as_fd()).collect()
    }

    fn entries_bytes(&mut self) -> usize {
        (0..MAPS_MAX).map_while(|map| self.entries(map).map(|entries| entries.memory_bytes())).sum()
    }

    fn end_copy(&mut self, to: Recipient) {
        for map in 0..MAPS_MAX {
            let Some(entries) = self.entries(map) else { return };
            entries.end_copy(to);
        }
    }

    fn save(&self, saved: &mut Vec<u8>) {
        self.answering.service().save(saved);
    }

    // ── Being filled ───────────────────────────────────────────────────────────────────────────────────────────────

    fn adopt(&mut self, socket: std::net::TcpStream, record: &Record<'_>, version: u32) -> Result<(), AdoptError> {
        let session = self.restore_session(record.session, version)?;
        let key = self.table.adopt(TcpStream::from_std(socket), record).map_err(AdoptError::Table)?;
        self.answering.insert_session(key, session);
        Ok(())
    }

    fn address(&self, id: PeerId) -> Address {
        let peers = self.table.peers();
        let peer = peers.key(id).and_then(|key| peers.get(key));
        peer.expect("the conversation knows who was adopted").address()
    }

    fn follow(&mut self, change: &Change<'_>, version: u32) -> Result<(), AdoptError> {
        let key = self.table.follow(change).map_err(AdoptError::Table)?;
        if let Some(session) = change.session {
            let session = self.restore_session(session, version)?;
            self.answering.insert_session(key, session);
        }
        Ok(())
    }

    fn discard(&mut self, id: PeerId) {
        if let Some(key) = self.table.discard(id) {
            self.answering.drop_session(key);
        }
    }

    fn adopt_timer(&mut self, timer: u32, at_ns: u64) {
        self.table.peers_mut().adopt_timer(timer, at_ns);
    }

    fn restore_entries(&mut self, map: u32, version: u32, piece: &[u8]) -> Result<(), RestoreError> {
        let entries = usize::try_from(map).ok().and_then(|map| self.entries(map));
        let entries = entries.ok_or_else(|| RestoreError::new(format!("there is no map {map} of entries")))?;
        entries.restore(version, piece)
    }

    fn get_ready(&mut self) {
        for map in 0..MAPS_MAX {
            let Some(entries) = self.entries(map) else { return };
            entries.get_ready();
        }
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), RestoreError> {
        self.inherited = true;
        self.answering.service_mut().restore(version, state)
    }
}

impl<S: StreamService> Passing for Lane<S> {
    fn is_movable(&self) -> bool {
        S::MOVABLE
    }

    fn restores(&self) -> (u32, u32) {
        (S::STATE_VERSION_OLDEST, S::STATE_VERSION_NEWEST)
    }

    fn given(&mut self) -> Vec<PeerHandle> {
        self.table.peers_mut().take_given()
    }

    fn part_with_given(&mut self, handle: PeerHandle) {
        let gone = self.table.part_with(handle.key());
        self.part_with(gone);
    }

    fn keep(&mut self, handle: PeerHandle) {
        self.table.bring_back(handle);
        self.table.make_due(handle);
    }

    fn keep_given(&mut self, handle: PeerHandle) {
        let Self { table, answering, input, .. } = self;
        let gone = table.change(handle, |turn| {
            turn.talk.release(Holds::GIVEN);
            answering.tell(turn, S::not_given)?;
            answering.advance(turn, Wake::Due, input)
        });
        self.part_with_any(gone);
    }

    fn take_in(&mut self, socket: TcpStream, record: &Record<'_>, version: u32) -> Result<PeerHandle, AdoptError> {
        let session = self.restore_session(record.session, version)?;
        let key = self.table.adopt(socket, record).map_err(AdoptError::Table)?;
        self.answering.insert_session(key, session);
        let handle = self.table.peers().handle_at(key).expect("it was just adopted");
        self.table.put_out_of_reach(handle);
        Ok(handle)
    }

    fn follow_taken(&mut self, handle: PeerHandle, change: &Change<'_>, version: u32) -> Result<(), AdoptError> {
        let session = change.session.map(|session| self.restore_session(session, version)).transpose()?;
        let followed = self.table.follow_out_of_reach(handle, change).map_err(AdoptError::Table);
        if let Some(session) = session {
            self.answering.insert_session(handle.key(), session);
        }
        followed
    }

    fn drop_taken(&mut self, handle: PeerHandle) {
        self.table.let_go(handle.key());
        self.answering.drop_session(handle.key());
    }

    fn welcome(&mut self, handles: &[PeerHandle]) {
        // All of them before anybody has its turn: what one sends may be for another.
        let wakes = handles.iter().map(|handle| match self.table.bring_back(*handle) {
            true => Wake::Due,
            // To read from it would only prolong the pause of those who come after it.
            false => Wake::SentTo,
        });
        let wakes: Vec<Wake> = wakes.collect();
        for (handle, wake) in handles.iter().zip(wakes) {
            let Self { table, answering, input, .. } = self;
            let gone = table.change(*handle, |turn| {
                answering.tell(turn, S::arrived)?;
                answering.advance(turn, wake, input)
            });
            self.part_with_any(gone);
        }
    }
}

impl<S: StreamService> Surviving for Lane<S> {
    fn let_out(&mut self) {
        let mut gone = Vec::new();
        for handle in self.table.let_out() {
            let Self { table, answering, input, .. } = self;
            gone.extend(table.change(handle, |turn| answering.advance(turn, Wake::SentTo, input)));
        }
        self.table.have_let_out();
        // What their service does to others by that is told with the next commit.
        gone.into_iter().for_each(|gone| self.part_with(gone));
    }

    fn take_up(&mut self, handle: PeerHandle, came: &mut [u8]) {
        let Self { table, answering, .. } = self;
        let gone = table.change(handle, |turn| answering.take_up(turn, came));
        self.part_with_any(gone);
    }

    fn put_aside(&mut self, handle: PeerHandle, came: &mut [u8]) -> bool {
        let is_handled = |peer: &Peer| peer.pair_end.is_none() && !peer.talk.is_closing();
        if !self.table.peers().of_handle(handle).is_some_and(is_handled) {
            return false;
        }
        let Self { table, answering, .. } = self;
        let gone = table.change(handle, |turn| {
            turn.talk.hold(Holds::SUSPECT);
            answering.take_up(turn, came)
        });
        self.part_with_any(gone);
        true
    }

    fn take_up_suspect(&mut self, handle: PeerHandle) {
        let Self { table, answering, input, .. } = self;
        table.try_again(handle);
        let gone = table.change(handle, |turn| {
            turn.talk.release(Holds::SUSPECT);
            answering.advance(turn, Wake::Due, input)
        });
        self.part_with_any(gone);
    }

    fn take_off(&mut self, handle: PeerHandle, bytes: usize) {
        let Self { table, input, .. } = self;
        let gone = table.change(handle, |turn| turn.take_off(&mut input[..bytes]).map(|()| TurnEnd::BudgetSpent));
        self.part_with_any(gone);
    }

    fn have_written(&mut self, handle: PeerHandle, bytes: usize) {
        self.table.have_written(handle, bytes);
    }

    fn reset(&mut self, handle: PeerHandle, why: &str) {
        let gone = self.table.reset(handle, why);
        self.part_with_any(gone);
    }
}
