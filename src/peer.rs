//! One connection: its socket, and what has been said on it.
//!
//! A peer moves bytes between its socket and its [`Talk`]. It knows neither the loop nor the service, and what it is
//! woken for is for the table to say.

mod address;
pub(crate) mod backlog;
pub(crate) mod closed;
pub(crate) mod connect;
pub(crate) mod count;
pub(crate) mod counters;
pub(crate) mod delivery;
mod dialling;
pub(crate) mod endurance;
pub(crate) mod pair_end;
mod particulars;
pub(crate) mod parting;
pub(crate) mod pipe;
pub(crate) mod record;
pub(crate) mod secured;
mod talk;
pub(crate) mod ties;
pub(crate) mod violation;
pub(crate) mod way;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use log::warn;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, connect_unspec, recv};

pub(crate) use address::Address;
pub(crate) use backlog::Backlog;
use backlog::Misplaced;
pub(crate) use record::Phase;
pub(crate) use talk::{Marks, READING, Talk};

use closed::Closed;
use connect::{ConnectTls, Unreached};
use delivery::{Counters, Delivery, STATE_CLOSED};
use dialling::{DialledTls, Dialling, Reached};
use pair_end::PairEnd;
use particulars::Particulars;
use parting::{Output, Parting, Patience, Sight, Step};
use record::{Change, Record, SecuredChange, SecuredRecord};
use secured::{Opened, Secured};
use ties::{Holds, Ties};
use way::Way;

use crate::tls::Connectors;

/// The identity of a peer. It stays the same through every takeover, and no other peer ever has it, so that sessions
/// and shared state may hold it.
///
/// It is the socket's cookie (`SO_COOKIE`, socket(7)), which the kernel gives once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

impl PeerId {
    /// No peer has it: the kernel counts from 1.
    pub(crate) const NOBODY: Self = Self(0);
}

impl From<u64> for PeerId {
    /// An id that was saved as a number.
    fn from(cookie: u64) -> Self {
        Self(cookie)
    }
}

impl From<PeerId> for u64 {
    /// An id as a number, to be saved.
    fn from(id: PeerId) -> Self {
        id.0
    }
}

/// What became of reading from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes came.
    Bytes(usize),
    /// Nothing is there now.
    WouldBlock,
    /// The client has sent all it will send.
    End,
    /// Nothing was read: there is no room now to keep what would have come.
    Later,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: TcpStream,
    /// Which of the peers that had this one's key it is.
    stamp: u32,
    id: PeerId,
    address: Address,
    pub(crate) talk: Talk,
    /// Somebody else's message waits for this peer to be settled at the end of the turn.
    pub(crate) unsettled: bool,
    /// It gets its next turn without an event.
    pub(crate) due: bool,
    /// It will be looked at again without an event.
    pub(crate) awaited: bool,
    /// Why it is not read from, as far as its table has counted it for that.
    pub(crate) counted: Holds,
    /// Which way what it sends goes, if it is joined.
    pub(crate) way: Way,
    /// Which of two joined peers it is.
    pub(crate) pair_end: Option<PairEnd>,
    /// What few peers have.
    particulars: Option<Box<Particulars>>,
    /// The service was called with its session since somebody who watches the table was told of it.
    pub(crate) session_changed: bool,
    /// What the loop wakes it for.
    registered: Option<Interest>,
}

impl Peer {
    /// A connection on which nothing has been said, and that comes now.
    pub(crate) fn new(socket: TcpStream, stamp: u32, id: PeerId, address: Address, now_s: u32) -> Self {
        Self {
            socket,
            stamp,
            id,
            address,
            talk: Talk::new().since(now_s),
            unsettled: false,
            due: false,
            awaited: false,
            counted: Holds::NONE,
            way: Way::default(),
            pair_end: None,
            particulars: None,
            session_changed: false,
            registered: None,
        }
    }

    /// The service opens its connection.
    pub(crate) fn dial(&mut self, until_ns: u64, path: Option<PathBuf>, tls: Option<ConnectTls>, ephemeral: bool) {
        self.talk = Talk::connecting().since(self.talk.since_s());
        let tls = tls.map(|how| DialledTls::new(how, false));
        let particulars = self.particulars_mut();
        particulars.dialling = Some(Box::new(Dialling { until_ns, path, tls }));
        particulars.ephemeral = ephemeral;
    }

    /// Whether its connection stands, which the service has opened. If it speaks TLS, that is so when the handshake is over.
    ///
    /// # Errors
    /// If it never will, or if it is given up by now.
    pub(crate) fn stands(&mut self, now_ns: u64, connectors: &Connectors) -> Result<bool, Unreached> {
        let dialling = self.particulars.as_mut().and_then(|particulars| particulars.dialling.as_deref_mut());
        let Some(dialling) = dialling else { return Ok(true) };
        match dialling.advance(&mut self.socket, self.address.ip(), now_ns, connectors)? {
            Reached::Awaited => Ok(false),
            Reached::Stands => Ok(true),
            Reached::Secured(secured, out) => {
                self.secure_what_waits(*secured, &out);
                Ok(true)
            }
        }
    }

    /// From now on its bytes go through this, those that wait among them. Before them comes `out`.
    fn secure_what_waits(&mut self, secured: Secured, out: &[u8]) {
        let waiting = self.talk.pending().to_vec();
        self.talk.written(waiting.len());
        self.secure(secured);
        self.talk.push(out);
        self.push(&waiting);
    }

    /// What the loop is to wake it for.
    pub(crate) fn interest(&self) -> Interest {
        let dialling = self.particulars().and_then(|particulars| particulars.dialling.as_deref());
        dialling.and_then(Dialling::interest).unwrap_or_else(|| self.talk.interest())
    }

    /// Its connection stands.
    pub(crate) fn stand(&mut self) {
        self.talk.stand();
        self.particulars_mut().dialling = None;
        // Most have nothing else that few have, and are like any other peer from here on.
        self.tidy();
    }

    /// Takes up no room for what has become nothing.
    fn tidy(&mut self) {
        self.particulars.take_if(|particulars| particulars.are_none());
    }

    /// From now on it is this end of a pair, which needs no other peer besides, and goes where that goes.
    pub(crate) fn be_joined(&mut self, end: PairEnd) {
        self.pair_end = Some(end);
        self.talk.hold(Holds::RELAYED);
        if let Some(particulars) = &mut self.particulars {
            (particulars.writer, particulars.ephemeral) = (None, false);
            self.tidy();
        }
    }

    /// From now on its bytes go through this.
    pub(crate) fn secure(&mut self, secured: Secured) {
        self.particulars_mut().secured = Some(Box::new(secured));
    }

    /// What its bytes go through, if they are not written and read as they are.
    #[inline]
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.particulars.as_ref().and_then(|particulars| particulars.secured.as_deref())
    }

    /// Whether they go through TLS, or will when its connection stands.
    pub(crate) fn speaks_tls_once_it_stands(&self) -> bool {
        let dialling = self.particulars().and_then(|particulars| particulars.dialling.as_deref());
        self.secured().is_some() || dialling.is_some_and(|dialling| dialling.tls.is_some())
    }

    /// The same, to be changed.
    pub(crate) fn secured_mut(&mut self) -> Option<&mut Secured> {
        self.particulars.as_mut()?.secured.as_deref_mut()
    }

    /// Goes on where a record says that another process left off.
    ///
    /// # Errors
    /// If what its bytes go through cannot be restored, and why.
    pub(crate) fn restore(&mut self, record: &Record<'_>, marks: Marks) -> Result<(), String> {
        if let Some(secured) = record.secured {
            self.secure(Secured::restore(&secured)?);
        }
        let [inbound, outbound] = [record.inbound, record.outbound].map(|all| Backlog::at(all.start, all.bytes));
        self.talk = Talk::resume(record.phase, inbound, outbound, &record.ties, marks).since(record.since_s);
        self.tie(record.parting, &record.ties);
        Ok(())
    }

    /// What its bytes go through is where another process has brought it.
    ///
    /// # Errors
    /// If it cannot have come there from here, and why.
    pub(crate) fn follow_secured(&mut self, change: Option<&SecuredChange<'_>>) -> Result<(), String> {
        match (self.secured_mut(), change) {
            (None, None) => Ok(()),
            (Some(secured), Some(change)) => secured.follow(change),
            // It has come to the end of its handshake since.
            (None, Some(change)) if change.facts.is_some() => {
                self.secure(Secured::begin_to_follow(change)?);
                Ok(())
            }
            _ => Err("it speaks TLS in one process and not in the other".to_owned()),
        }
    }

    /// Follows another process, which has gone on since.
    ///
    /// # Errors
    /// If it has not gone on from here; says in which direction.
    pub(crate) fn follow(&mut self, change: &Change<'_>, marks: Marks) -> Result<(), (&'static str, Misplaced)> {
        self.tie(change.parting, &change.ties);
        self.talk.follow(change, marks)
    }

    fn tie(&mut self, parting: Option<Parting>, ties: &Ties<'_>) {
        let alarm_ns = self.particulars.as_ref().and_then(|particulars| particulars.alarm_ns);
        let secured = self.particulars.as_mut().and_then(|particulars| particulars.secured.take());
        self.way = Way::in_successor();
        let told = Particulars::told(parting, ties, secured);
        self.particulars = told.map(|particulars| Box::new(Particulars { alarm_ns, ..particulars }));
    }

    /// What another process needs to go on, besides descriptor, session, the state of what its bytes go through, deadline, and whom
    /// it is joined to.
    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            cookie: self.id.into(),
            address: self.address,
            phase: self.talk.phase(),
            session: &[],
            secured: self.secured().map(|secured| SecuredRecord { partial: secured.partial(), ..Default::default() }),
            inbound: self.talk.inbound.stretch(),
            outbound: self.talk.outbound(),
            parting: self.particulars.as_ref().and_then(|particulars| particulars.parting.as_deref().copied()),
            deadline_ns: None,
            since_s: self.talk.since_s(),
            ties: self.ties(),
        }
    }

    fn ties(&self) -> Ties<'_> {
        let ties = self.particulars.as_ref().map(|particulars| particulars.ties()).unwrap_or_default();
        Ties { holds: self.talk.holds(), outflow: self.talk.outflow(), ..ties }
    }

    /// What it has that few have, if it does.
    pub(crate) fn particulars(&self) -> Option<&Particulars> {
        self.particulars.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn particulars_mut(&mut self) -> &mut Particulars {
        self.particulars.get_or_insert_with(|| Box::new(Particulars::NONE))
    }

    /// Whether it ends with this process.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.particulars().is_some_and(|particulars| particulars.ephemeral)
    }

    /// Whether it is to be looked at then.
    pub(crate) fn has_alarm(&self, at_ns: u64) -> bool {
        self.particulars.as_ref().is_some_and(|particulars| particulars.alarm_ns == NonZeroU64::new(at_ns))
    }

    /// It is looked at because this instant has come; false if it is not to be, or not for this one any more.
    pub(crate) fn take_alarm(&mut self, at_ns: u64) -> bool {
        let alarm_ns = self.particulars.as_mut().map(|particulars| &mut particulars.alarm_ns);
        alarm_ns.is_some_and(|alarm_ns| alarm_ns.take_if(|alarm_ns| alarm_ns.get() == at_ns).is_some())
    }

    /// What its service is told when it is no more, if that is not what its connection says.
    pub(crate) fn end_because(&mut self, how: Closed) {
        self.particulars_mut().how.get_or_insert(how);
    }

    /// Its connection is of no use any more, for this reason. What is pending is written before it ends.
    pub(crate) fn close_as_lost(&mut self, why: String) {
        self.end_because(Closed::Lost(io::Error::new(ErrorKind::InvalidData, why)));
        self.talk.close();
    }

    /// How it has ended, whose connection says this.
    pub(crate) fn how_it_ended(&mut self, how: Closed) -> Closed {
        let known = self.particulars.as_mut().and_then(|particulars| particulars.how.take());
        known.unwrap_or(how)
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Handles with this stamp are for it from now on, and no others.
    pub(crate) fn set_stamp(&mut self, stamp: u32) {
        self.stamp = stamp;
    }

    /// It stands in no queue of turns any more, whatever it stood in before.
    pub(crate) fn is_in_no_queue(&mut self) {
        (self.unsettled, self.due, self.awaited) = (false, false, false);
    }

    /// Whether there is nothing to do about it but to read what it sends, for which it is woken, and to have its service
    /// handle that.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.talk.is_at_rest(Holds::NONE) && self.particulars.is_none() && self.registered == Some(READING)
    }

    /// The same also of one whose bytes go through something, where nothing has come that was not looked at.
    pub(crate) fn is_at_rest_in_clear_or_not(&self) -> bool {
        let is_at_rest = self.talk.is_at_rest(Holds::NONE) && self.registered == Some(READING);
        is_at_rest && self.particulars().is_none_or(|particulars| particulars.are_of_a_stream_at_rest())
    }

    /// The same of one that is joined: what it sends is passed on.
    #[inline]
    pub(crate) fn is_at_rest_in_pair(&self) -> bool {
        let is_only_joined = self.pair_end.is_some() && self.particulars.is_none();
        let nothing_waits = self.talk.is_at_rest(Holds::RELAYED) && !self.talk.awaits_room();
        is_only_joined && nothing_waits && self.registered == Some(READING)
    }

    /// Has the loop woken for what the peer wants now, if that is something else than before.
    #[inline]
    pub(crate) fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        if self.registered == Some(interest) { Ok(()) } else { self.reregister(registry, token, interest) }
    }

    /// What it is registered for is looked at as if it were so since now.
    pub(crate) fn register_anew(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.registered.map_or(Ok(()), |interest| self.reregister(registry, token, interest))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self.registered {
            Some(_) => registry.reregister(&mut self.socket, token, interest)?,
            None => registry.register(&mut self.socket, token, interest)?,
        }
        self.registered = Some(interest);
        Ok(())
    }

    /// Takes it out of the epoll set, before it is closed: a duplicate in another process would keep the entry there
    /// alive (epoll(7)).
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        if self.registered.take().is_some()
            && let Err(error) = registry.deregister(&mut self.socket)
        {
            warn!("Peer {} stays in the epoll set: {error}", self.address);
        }
    }

    /// Reads once, into `buffer`.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        receive_by(|| self.socket.read(buffer))
    }

    /// A read has come to the end of what the client sends. Of what happens later no read tells, so it is asked for.
    ///
    /// # Errors
    /// If the client has reset the connection since it has ended its output.
    pub(crate) fn check_end(&self) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        // The kernel says why once, and may have said it to a process that has died since: but what only the client has ended stands.
        let is_over = Counters::of(&self.socket).is_some_and(|counters| counters.state == STATE_CLOSED);
        if is_over && !self.talk.is_ending() { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// Looks once at what has come, as far as `buffer` has room for it. All of it is still there then.
    pub(crate) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        receive_by(|| self.socket.peek(buffer))
    }

    /// Takes so much off what has come as `seen` holds, which was looked at.
    ///
    /// # Errors
    /// If it is not there any more.
    pub(crate) fn take_off(&mut self, seen: &mut [u8]) -> io::Result<()> {
        let mut taken = 0;
        while taken < seen.len() {
            // With this flag, TCP copies nothing (tcp(7)); a Unix socket gives the same bytes once more.
            match retry_on_intr(|| recv(&self.socket, &mut seen[taken..], RecvFlags::TRUNC))? {
                (_, 0) => return Err(ErrorKind::UnexpectedEof.into()),
                (_, more) => taken += more,
            }
        }
        Ok(())
    }

    /// Writes as much of `bytes` as the socket takes, where nothing is pending before them. Says how much that is.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert_eq!(self.talk.pending_bytes(), 0, "what is pending comes first");
        assert!(self.secured().is_none(), "nothing is written in clear to who speaks TLS");
        write_all_possible(&mut self.socket, bytes)
    }

    /// Whether the socket takes more, or tells of an error. If the kernel cannot say, that is for a write to find out.
    pub(crate) fn has_room(&self) -> bool {
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        !matches!(poll(&mut sockets, PollTimeout::ZERO), Ok(0))
    }

    /// Opens what has come: what it says goes to the end of `plain`, what is to be answered behind what is pending.
    ///
    /// # Panics
    /// If its bytes are read as they are.
    pub(crate) fn open(&mut self, came: &mut [u8], plain: &mut Vec<u8>) -> Opened {
        let mut out = Vec::new();
        let opened = self.secured_mut().expect("its bytes go through something").open(came, plain, &mut out);
        self.talk.append(out);
        opened
    }

    /// Says behind all that is pending that nothing more comes, where that is part of the protocol.
    pub(crate) fn say_last_word(&mut self) {
        let mut out = Vec::new();
        if let Some(secured) = self.secured_mut() {
            secured.close(&mut out);
            self.talk.append(out);
        }
    }

    /// Adds `bytes` to what is pending.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Some(secured) = self.secured_mut() else { return self.talk.push(bytes) };
        let mut out = Vec::new();
        let sealed = secured.seal(bytes, &mut out);
        self.talk.append(out);
        if let Err(why) = sealed {
            self.close_as_lost(why);
        }
    }

    /// Writes `bytes`, after what is pending, and keeps what the socket does not take. Says how many bytes it has taken.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8], marks: Marks) -> io::Result<usize> {
        if self.talk.pending_bytes() > 0 || self.particulars.is_some() {
            return self.send_otherwise(bytes, marks);
        }
        self.send_at_once(bytes, marks)
    }

    /// The same where something is pending, or may be special about the peer.
    #[inline(never)]
    fn send_otherwise(&mut self, bytes: &[u8], marks: Marks) -> io::Result<usize> {
        if self.talk.pending_bytes() == 0 && self.secured().is_none() {
            return self.send_at_once(bytes, marks);
        }
        self.push(bytes);
        self.flush(marks)
    }

    #[inline(always)]
    fn send_at_once(&mut self, bytes: &[u8], marks: Marks) -> io::Result<usize> {
        let written = write_all_possible(&mut self.socket, bytes)?;
        if written < bytes.len() {
            self.talk.push(&bytes[written..]);
        }
        self.talk.weigh(marks);
        Ok(written)
    }

    /// Writes as much of the pending output as the socket takes, and holds the peer or lets it go. Says how many bytes it has
    /// taken.
    #[inline]
    pub(crate) fn flush(&mut self, marks: Marks) -> io::Result<usize> {
        let written = if self.talk.pending_bytes() > 0 { self.write_pending()? } else { 0 };
        self.talk.weigh(marks);
        Ok(written)
    }

    fn write_pending(&mut self) -> io::Result<usize> {
        let written = write_all_possible(&mut self.socket, self.talk.pending())?;
        self.talk.written(written);
        Ok(written)
    }

    /// Tells the client that nothing more will come. A client that is gone already cannot be told, and need not be.
    pub(crate) fn end_output(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Says what is to be done about a connection that the server is ending.
    pub(crate) fn part(&mut self, client_ended: bool, now_ns: u64, patience: &Patience) -> Step {
        let output = match self.talk.phase() {
            Phase::Lingering => Output::Ended,
            _ => Output::Pending { bytes: self.talk.pending_bytes() },
        };
        let sight = Sight { output, delivery: Delivery::of(&self.socket), client_ended };
        let parting = &mut self.particulars_mut().parting;
        parting.get_or_insert_with(|| Box::new(Parting::begin(now_ns, &sight))).look(now_ns, &sight, patience)
    }

    /// Whether something was sent, or is to be, that the client's kernel has not acknowledged.
    pub(crate) fn is_undelivered(&self) -> bool {
        self.talk.pending_bytes() > 0 || !Delivery::of(&self.socket).complete
    }

    /// Ends the connection without delivering what is left, also where another process holds a duplicate of its socket.
    pub(crate) fn abort(&self) {
        // A connection that has failed has ended already.
        let _ = connect_unspec(&self.socket);
    }

    /// Ends the connection, also where another process holds a duplicate of its socket: to close it would not.
    pub(crate) fn hang_up(&self) {
        // A connection that has failed has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What an idle peer costs is mostly this, and its session. (A socket of mio is larger in a debug build.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Peer>() == 104, "an idle peer costs little");

impl Peer {
    /// What is left of one that has ended: its socket, and what its bytes went through, if they did.
    pub(crate) fn remains(self) -> (TcpStream, Option<Box<Secured>>) {
        (self.socket, self.particulars.and_then(|particulars| particulars.secured))
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What has become of a read, or of a look at what there is to read.
#[inline]
pub(crate) fn receive_by(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<Received> {
    loop {
        match read() {
            Ok(0) => return Ok(Received::End),
            Ok(bytes) => return Ok(Received::Bytes(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::WouldBlock),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes until everything is written or the socket takes no more, and says how much it took.
// It is on the way of every message, and has several callers: as a function of its own it costs 20 instructions.
#[inline(always)]
fn write_all_possible(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
