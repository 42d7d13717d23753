//! What goes on between clients and workers: connections come in at the listeners, wait, and go out to workers, and
//! words go back and forth.
//!
//! It tells the fleet what happens here, and asks it who gets the next connection. It starts no process and ends none:
//! it has nothing to do that with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use reactord_process::accept::{ACCEPTS_PER_TURN, Accepting};
use reactord_process::address::Address;
use reactord_process::open_files;
use reactord_process::words::{ConnectionId, FromSupervisor, FromWorker};
use rustix::io::{Errno, ioctl_fionbio};

use crate::children::is_in_another_group;
use crate::config::{Config, Supply};
use crate::connection::{ClientSocket, Connection, Connections, Parcel, WrongSocket};
use crate::fleet::{self, Breach, Fleet, WorkerId};
use crate::line::Line;
use crate::link::{BUFFER_BYTES, Flushed, Heard, Link, LinkError};
use crate::shortage::Shortage;
use crate::source::Source;
use crate::state::TrafficState;
use crate::status::QueueStatus;

/// How many packets of one worker are heard in one turn; then it is the others' turn.
const PACKETS_PER_TURN: u32 = 256;

/// How many such turns are at once, where all is to be heard.
const TURNS_MAX: u32 = 16;

/// How many bytes of states of one worker are heard in one turn.
const STATE_BYTES_PER_TURN: usize = 256 * 1024;

/// When that is sent again for which the kernel had no room, and that is heard for which there was no descriptor.
const RETRY: Duration = Duration::from_millis(10);

/// Descriptors that connections may not take, so that workers can be started: the two ends of a queue, and what std
/// opens to start a process.
const FILES_SPARE: usize = 12;

/// How many of them are there for what workers give back. It may be refused, but must be received for that.
const FILES_FOR_RECEIVING: usize = 4;

/// How long a worker has room for nothing, until it is not waited for that it learns of a connection which is its own
/// again.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that exits closes its queue first. How that happened is better known a moment later.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);

/// Why a queue has ended, when nothing more is known of it.
const CLOSED: &str = "it has closed it";

/// A message of readiness; longer ones are cut, which is no harm to their first lines.
const NOTIFICATION_BYTES: usize = 1024;

/// A socket that listens.
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    accepting: Accepting,
    /// It was said that connections wait in the kernel, and not yet that they do no more.
    full_said: bool,
}

/// Why a worker is spoken with no more.
pub(crate) enum Ending {
    /// Its process is gone or was never there, or it is to finish without a queue. The fleet knows, or is told by who
    /// knows how that was.
    Expected,
    /// It has closed its end, for a reason that may be known a moment later.
    Closed,
    /// It has said what it must not.
    Broken(String),
}

/// The queue of a worker that is spoken with no more, while not all is heard that it had said.
struct Remains {
    link: Link,
    ending: Ending,
}

/// A connection that a worker gave back and that stays with it, while there is no room to tell it so. Until then nothing
/// more is heard of it.
struct Refusal {
    connection: ConnectionId,
    deadline: Instant,
}

pub(crate) struct Traffic {
    registry: Registry,
    supply: Supply,
    queue_max: usize,
    states_bytes_max: usize,
    listeners: Vec<Listener>,
    connections: Connections,
    next_connection: ConnectionId,
    /// How many descriptors connections and workers may have together, as far as the limit of open files goes.
    files_max: usize,
    lines: HashMap<WorkerId, Line>,
    /// Workers whose packets were not all heard.
    unheard: Vec<WorkerId>,
    /// Workers that have closed their queue, and when that is held to be all there is to say.
    ended: Vec<(Instant, WorkerId)>,
    /// Something could not be sent for want of room in the kernel, or not be heard for want of a descriptor.
    again_at: Option<Instant>,
    shortage: Shortage,
    refusals: BTreeMap<WorkerId, Refusal>,
    remains: BTreeMap<WorkerId, Remains>,
    /// It was said that connections are refused, or wait for a worker that is not there, and not yet that they do no more.
    refusal_said: bool,
    stuck_said: bool,
    /// Where packets are received.
    buffer: Box<[u8]>,
}

impl Traffic {
    /// No traffic yet.
    pub(crate) fn new(registry: Registry, config: &Config) -> Self {
        Self {
            registry,
            supply: config.supply,
            queue_max: config.queue_max,
            states_bytes_max: config.states_bytes_max,
            listeners: Vec::new(),
            connections: Connections::default(),
            next_connection: ConnectionId::FIRST,
            files_max: usize::MAX,
            lines: HashMap::new(),
            unheard: Vec::new(),
            ended: Vec::new(),
            again_at: None,
            shortage: Shortage::default(),
            refusals: BTreeMap::new(),
            remains: BTreeMap::new(),
            refusal_said: false,
            stuck_said: false,
            buffer: vec![0; BUFFER_BYTES].into(),
        }
    }

    /// Has connections come in at these sockets.
    pub(crate) fn listen(&mut self, sockets: Vec<TcpListener>) -> io::Result<()> {
        self.listen_at(sockets, true)
    }

    fn listen_at(&mut self, sockets: Vec<TcpListener>, is_new: bool) -> io::Result<()> {
        for (place, mut socket) in sockets.into_iter().enumerate() {
            let mut accepting = Accepting::begin();
            match self.supply {
                Supply::Queue => {
                    self.registry.register(&mut socket, Source::Listener(place).into(), Interest::READABLE)?;
                }
                // The kernel wakes the workers, which accept, from sockets that block, as those of systemd do. It is done once:
                // whether they block is one property for all who have them, and a worker may want it otherwise.
                Supply::Listeners => {
                    accepting.wait_for_event();
                    if is_new {
                        ioctl_fionbio(&socket, false)?;
                    }
                }
            }
            let address = socket.local_addr()?;
            self.listeners.push(Listener { socket, address, accepting, full_said: false });
        }
        Ok(())
    }

    /// Has what an earlier binary had open.
    pub(crate) fn take_up(&mut self, mut state: TrafficState, now: Instant) -> io::Result<()> {
        self.listen_at(state.take_listeners()?, false)?;
        self.next_connection = state.next_connection()?;
        self.connections = state.take_connections()?;
        for (worker, connection) in state.take_refusals()? {
            self.refusals.insert(worker, Refusal { connection, deadline: now + REFUSAL_PATIENCE });
        }
        for (id, line) in state.take_lines()? {
            self.watch(id, line)?;
        }
        Ok(())
    }

    /// Finds out how many descriptors are left, while few are taken.
    pub(crate) fn count_files(&mut self) {
        let taken_otherwise = open_files::count().saturating_sub(self.connections.len() + self.lines.len());
        self.files_max = open_files::limit().saturating_sub(taken_otherwise + FILES_SPARE);
    }

    /// Says where it listens.
    pub(crate) fn announce(&self) {
        for listener in &self.listeners {
            info!("Starting TCP server on {}", Address(listener.address));
        }
    }

    // ── What is to be known of it ──────────────────────────────────────────────────────────────────────────────────

    /// The listening sockets, with their addresses.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (BorrowedFd<'_>, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.socket.as_fd(), listener.address))
    }

    /// How many connections no worker has taken yet.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// All that a binary which is executed in place of this one is to have.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listeners = self.listeners.iter().map(|listener| listener.socket.as_fd());
        let connections = self.connections.here().map(|(_, connection)| connection.socket.as_fd());
        listeners.chain(connections).chain(self.lines.values().map(Line::as_fd))
    }

    /// What that binary is told. To be tried out, it needs no states of connections.
    pub(crate) fn state(&self, with_states: bool) -> TrafficState {
        let listeners = self.listeners.iter().map(|listener| listener.socket.as_fd());
        let refusals = self.refusals.iter().map(|(worker, refusal)| (*worker, refusal.connection));
        TrafficState::of(listeners, self.next_connection, &self.lines)
            .with_connections(&self.connections, with_states)
            .with_refusals(refusals)
    }

    /// Whether a worker is spoken with.
    pub(crate) fn speaks_with(&self, id: WorkerId) -> bool {
        self.lines.contains_key(&id)
    }

    /// Whether all is heard that a worker had said which is spoken with no more.
    pub(crate) fn is_heard_out(&self, id: WorkerId) -> bool {
        !self.remains.contains_key(&id)
    }

    /// How many workers there are of whom not all is heard, though they are spoken with no more.
    pub(crate) fn remains(&self) -> usize {
        self.remains.len()
    }

    /// How the queue is, where there is one.
    pub(crate) fn queue_status(&self, fleet: &Fleet) -> Option<QueueStatus> {
        let (waiting, waiting_max, returned) = (fleet.waiting(), self.queue_max, fleet.returned());
        let is_full = self.is_full(fleet);
        (self.supply == Supply::Queue).then_some(QueueStatus { waiting, waiting_max, is_full, returned })
    }

    /// When [`Self::tend`] has something to do, if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let unheard = (!self.unheard.is_empty()).then_some(now);
        let accepting = self.listeners.iter().filter_map(|listener| listener.accepting.due(now)).min();
        let ended = self.ended.iter().map(|(due, _)| *due).min();
        let refused = self.refusals.values().map(|refusal| refusal.deadline).min();
        [unheard, accepting, ended, refused, self.again_at].into_iter().flatten().min()
    }

    /// Does what no event will ask for.
    pub(crate) fn tend(&mut self, fleet: &mut Fleet, now: Instant) {
        for place in 0..self.listeners.len() {
            if self.listeners[place].accepting.is_due(now) {
                self.accept(place, fleet, now);
            }
        }
        for id in std::mem::take(&mut self.unheard) {
            self.hear(id, fleet, now);
        }
        if self.again_at.take_if(|instant| now >= *instant).is_some() {
            for id in self.remains.keys().copied().collect::<Vec<WorkerId>>() {
                self.hear_out(id, fleet, now);
            }
            for id in self.lines.keys().copied().collect::<Vec<WorkerId>>() {
                self.flush(id, fleet, now);
                self.hear(id, fleet, now);
            }
        }
        let late = self.refusals.iter().filter(|(_, refusal)| now >= refusal.deadline);
        for (id, connection) in late.map(|(id, refusal)| (*id, refusal.connection)).collect::<Vec<_>>() {
            let patience_ms = REFUSAL_PATIENCE.as_millis();
            let reason = format!("for {patience_ms} ms it does not read that connection {connection} stays with it");
            self.end_queue(id, &reason, fleet, now);
        }
        for (_, id) in self.ended.extract_if(.., |(due, _)| now >= *due) {
            fleet.queue_ended(id, CLOSED.to_owned(), now);
        }
    }

    /// Waits no longer for what is to be known of queues that have ended.
    pub(crate) fn end_patience(&mut self, fleet: &mut Fleet, now: Instant) {
        for (_, id) in self.ended.drain(..) {
            fleet.queue_ended(id, CLOSED.to_owned(), now);
        }
    }

    // ── Connections ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes into the queue who has connected, as far as there is room.
    pub(crate) fn accept(&mut self, place: usize, fleet: &mut Fleet, now: Instant) {
        // A stop may have ended the listening since the event came.
        if place >= self.listeners.len() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            if self.is_full(fleet) {
                // Whoever asks gets some of them before more are left to the kernel.
                self.hand_out(fleet, now);
                if self.is_full(fleet) {
                    return self.pause_full(place, fleet, now);
                }
                continue;
            }
            let Listener { socket, address, accepting, full_said } = &mut self.listeners[place];
            match accepting.accept(socket, now) {
                Ok(Some((socket, peer))) => self.enqueue(socket, peer, fleet),
                Ok(None) => {
                    if std::mem::take(full_said) {
                        info!("Nobody waits in the kernel on {} any more", Address(*address));
                    }
                    return;
                }
                Err(error) => {
                    if accepting.pause_is_news(now) {
                        let waiting = fleet.waiting();
                        warn!(
                            "Accepting on {} pauses with {waiting} connections in the queue: {error}",
                            Address(*address)
                        );
                    }
                    return;
                }
            }
        }
        self.listeners[place].accepting.go_on_next_turn();
    }

    /// Ends the listening. Who has connected already is taken into the queue, as far as there is room: the kernel resets
    /// those whom it holds then.
    pub(crate) fn stop_listening(&mut self, fleet: &mut Fleet, now: Instant) {
        if self.supply == Supply::Queue {
            for place in 0..self.listeners.len() {
                self.accept(place, fleet, now);
                while self.listeners[place].accepting.is_due(now) {
                    self.accept(place, fleet, now);
                }
            }
        }
        self.listeners.clear();
    }

    /// Sends waiting connections to the workers that ask for some.
    pub(crate) fn hand_out(&mut self, fleet: &mut Fleet, now: Instant) {
        let mut some_went = false;
        while let Some((worker, connection)) = fleet.hand_out() {
            let Connection { peer, local, .. } = self.connections.get(connection).expect("what waits is here");
            let word = FromSupervisor::Connection { id: connection, peer: *peer, local: *local };
            self.say(worker, word, fleet, now);
            some_went = true;
        }
        self.say_if_stuck(fleet);
        if some_went {
            self.resume_accepting();
        }
    }

    /// Says once that nobody who serves speaks a version that has states, while some wait for one.
    fn say_if_stuck(&mut self, fleet: &Fleet) {
        let is_stuck = fleet.returned_are_stuck();
        if is_stuck && !self.stuck_said {
            let returned = fleet.returned();
            warn!("{returned} connections that were given back wait for a worker that speaks version 2 of the queue");
        }
        self.stuck_said = is_stuck;
    }

    fn is_full(&self, fleet: &Fleet) -> bool {
        // What a worker that is gone has given back comes before those who are not served yet.
        let is_short = self.connections.len() >= self.connections_max(fleet) || !self.remains.is_empty();
        fleet.waiting() >= self.queue_max || is_short
    }

    /// Whether there is a descriptor for what a worker gives back, be it only to refuse it.
    fn may_receive(&self) -> bool {
        let taken = self.connections.len() + self.lines.len() + self.remains.len();
        taken < self.files_max.saturating_add(FILES_FOR_RECEIVING)
    }

    /// How many connections there may be: each worker has a descriptor, and so will each that takes its place.
    fn connections_max(&self, fleet: &Fleet) -> usize {
        let workers_max = fleet.target() + self.lines.len().max(fleet.target());
        self.files_max.saturating_sub(workers_max).max(1)
    }

    fn pause_full(&mut self, place: usize, fleet: &Fleet, now: Instant) {
        let Listener { address, accepting, full_said, .. } = &mut self.listeners[place];
        accepting.pause();
        if accepting.pause_is_news(now) {
            *full_said = true;
            info!(
                "The queue is full: {} connections wait, {} workers hold {}; those that follow on {} wait in the kernel",
                fleet.waiting(),
                fleet.workers(),
                fleet.held(),
                Address(*address)
            );
        }
    }

    fn enqueue(&mut self, socket: TcpStream, peer: SocketAddr, fleet: &mut Fleet) {
        let local = socket.local_addr();
        let socket = ClientSocket::from(OwnedFd::from(std::net::TcpStream::from(socket)));
        let local = match local {
            Ok(local) => local,
            Err(error) => return debug!("Peer {} is gone already: {error}", Address(peer)),
        };
        let id = self.next_connection;
        self.next_connection = id.next();
        debug!("Connection {id} from {} to {} is in the queue", Address(peer), Address(local));
        self.connections.insert(id, Connection { socket, peer, local, state: None });
        fleet.enqueue(id);
    }

    /// Does what follows from a word about a connection.
    fn change_hands(&mut self, worker: WorkerId, heard: fleet::Heard, fleet: &Fleet) {
        match heard {
            fleet::Heard::Took(connection) => self.taken(worker, connection, fleet),
            fleet::Heard::Ended(connection) => self.connections.forget(connection),
            fleet::Heard::Noted | fleet::Heard::GaveBack(_) | fleet::Heard::Survived(_) => {}
        }
    }

    /// The standby of a worker serves on: it is told what still holds, and that nothing else does.
    fn resume(&mut self, worker: WorkerId, had: BTreeSet<ConnectionId>, fleet: &mut Fleet, now: Instant) {
        had.into_iter().for_each(|connection| self.connections.forget(connection));
        if let Some(Line::Queue(link)) = self.lines.get_mut(&worker) {
            link.forget_unsent();
        }
        if let Some(pid) = fleet.pid(worker).and_then(NonZeroU32::new) {
            self.say(worker, FromSupervisor::Resumed(pid), fleet, now);
        }
        if fleet.finishes(worker) {
            self.say(worker, FromSupervisor::Finish, fleet, now);
        }
    }

    /// A worker has taken a connection: the duplicate is closed, and there is room for another.
    fn taken(&mut self, worker: WorkerId, connection: ConnectionId, fleet: &Fleet) {
        debug!("Connection {connection} was taken by {}", Named(fleet, worker));
        self.connections.let_go(connection, fleet.gives_back(worker));
        self.resume_accepting();
    }

    /// A worker has given a connection back: it waits for another, or is refused.
    fn take_back(
        &mut self,
        worker: WorkerId,
        connection: ConnectionId,
        parcel: Parcel,
        fleet: &mut Fleet,
        now: Instant,
    ) -> Result<(), WrongSocket> {
        let refused = self.reason_to_refuse(parcel.state.len(), fleet);
        self.connections.take_back(connection, parcel)?;
        let Some(reason) = refused else {
            put_back(worker, connection, fleet);
            return Ok(());
        };
        debug!("Connection {connection} stays with {}: {reason}", Named(fleet, worker));
        if !std::mem::replace(&mut self.refusal_said, true) {
            warn!("Connections that are given back stay with their workers: {reason}");
        }
        self.refusals.insert(worker, Refusal { connection, deadline: now + REFUSAL_PATIENCE });
        self.say(worker, FromSupervisor::Keep(connection), fleet, now);
        Ok(())
    }

    /// Why a connection with a state of so many bytes cannot be taken back, if it cannot.
    fn reason_to_refuse(&mut self, state_bytes: usize, fleet: &Fleet) -> Option<String> {
        let (bytes, bytes_max) = (self.connections.states_bytes(), self.states_bytes_max);
        let (count, count_max) = (self.connections.len(), self.connections_max(fleet));
        if fleet.is_stopping() {
            return Some("nobody is to serve them any more".to_owned());
        }
        if !fleet.has_heirs() {
            return Some("all other workers speak version 1 of the queue".to_owned());
        }
        if bytes + state_bytes > bytes_max {
            return Some(format!("their states have {} bytes, {bytes_max} are allowed", bytes + state_bytes));
        }
        if count >= count_max {
            return Some(format!("{count} connections are here already, there are descriptors for {count_max}"));
        }
        // Not before half of it is free again is it worth another line.
        self.refusal_said &= bytes > bytes_max / 2 || count > count_max / 2;
        None
    }

    /// There is nobody to be told that a connection is refused: it waits for another worker.
    fn withdraw_refusal(&mut self, worker: WorkerId, fleet: &mut Fleet) {
        if let Some(Refusal { connection, .. }) = self.refusals.remove(&worker) {
            put_back(worker, connection, fleet);
        }
    }

    /// What was refused is the worker's again when its line has taken the word.
    fn settle_refusal(&mut self, worker: WorkerId, fleet: &mut Fleet) {
        let is_unsent = |line: &Line| matches!(line, Line::Queue(link) if link.has_refusal());
        if self.refusals.contains_key(&worker)
            && !self.lines.get(&worker).is_some_and(is_unsent)
            && let Some(Refusal { connection, .. }) = self.refusals.remove(&worker)
        {
            self.connections.let_go(connection, true);
            fleet.keep(worker, connection);
            self.unheard.push(worker);
        }
    }

    fn resume_accepting(&mut self) {
        for listener in &mut self.listeners {
            listener.accepting.resume();
        }
    }

    // ── Words ──────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Speaks with a worker over this line from now on.
    pub(crate) fn watch(&mut self, id: WorkerId, line: Line) -> io::Result<()> {
        let descriptor = line.as_fd().as_raw_fd();
        let interest = match line {
            Line::Queue(_) => Interest::READABLE | Interest::WRITABLE,
            Line::Notify(_) => Interest::READABLE,
        };
        self.registry.register(&mut SourceFd(&descriptor), Source::Worker(id).into(), interest)?;
        self.lines.insert(id, line);
        Ok(())
    }

    /// Says something to a worker, as soon as its line takes it.
    pub(crate) fn say(&mut self, id: WorkerId, word: FromSupervisor, fleet: &mut Fleet, now: Instant) {
        if let Some(Line::Queue(link)) = self.lines.get_mut(&id) {
            link.say(word);
            self.flush(id, fleet, now);
        }
    }

    /// Sends a worker what its line has not taken yet.
    pub(crate) fn flush(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        let Some(Line::Queue(link)) = self.lines.get_mut(&id) else {
            return;
        };
        let connections = &self.connections;
        let has_unsent = !link.unsent().is_empty();
        let flushed = link.flush(|id| connections.lend(id));
        match flushed {
            Ok(flushed @ (Flushed::All | Flushed::Full)) => {
                if has_unsent && flushed == Flushed::All {
                    self.end_shortage(now);
                }
                self.settle_refusal(id, fleet);
            }
            Ok(Flushed::WantOfRoom(errno)) => {
                self.feel_shortage(id, errno, fleet, now);
                self.try_again(now);
            }
            // The end follows, after what it has said before.
            Err(errno) => {
                self.withdraw_refusal(id, fleet);
                debug!("Nothing more goes to {}: {errno}", Named(fleet, id));
                if !self.unheard.contains(&id) {
                    self.unheard.push(id);
                }
            }
        }
    }

    /// Hears what a worker says, and tells the fleet.
    pub(crate) fn hear(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        let mut state_bytes = 0;
        for _ in 0..PACKETS_PER_TURN {
            // It has to know first that something is its own again.
            if self.refusals.contains_key(&id) {
                return;
            }
            let may_receive = self.may_receive();
            let heard = match self.lines.get_mut(&id) {
                None => return,
                Some(Line::Notify(_)) => return self.hear_notification(id, fleet, now),
                Some(Line::Queue(link)) => link.hear(&mut self.buffer, may_receive),
            };
            match heard {
                Ok(Heard::Said(said)) => match hear_word(id, said, fleet, now) {
                    Ok(fleet::Heard::Survived(had)) => self.resume(id, had, fleet, now),
                    Ok(heard) => self.change_hands(id, heard, fleet),
                    Err(breach) => return self.end_queue(id, &breach, fleet, now),
                },
                Ok(Heard::GaveBack(connection, parcel)) => {
                    state_bytes += parcel.state.len();
                    if let Err(breach) = fleet.hear(id, FromWorker::Back(connection), now) {
                        return self.end_queue(id, &breach, fleet, now);
                    }
                    if let Err(error) = self.take_back(id, connection, parcel, fleet, now) {
                        return self.end_queue(id, &error, fleet, now);
                    }
                    if state_bytes >= STATE_BYTES_PER_TURN {
                        break;
                    }
                }
                Ok(Heard::Waits) => return self.try_again(now),
                Ok(Heard::Nothing) => return,
                Ok(Heard::End) => return self.close(id, Ending::Closed, fleet, now),
                Err(error) => return self.end_queue(id, &error, fleet, now),
            }
        }
        self.unheard.push(id);
    }

    /// Hears all that a worker has said by now, unless it goes on and on.
    pub(crate) fn hear_what_there_is(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        for _ in 0..TURNS_MAX {
            self.unheard.retain(|unheard| *unheard != id);
            self.hear(id, fleet, now);
            if !self.unheard.contains(&id) {
                return;
            }
        }
    }

    /// Says that nothing goes to a worker for want of room in the kernel, once it has been so for long.
    fn feel_shortage(&mut self, id: WorkerId, errno: Errno, fleet: &Fleet, now: Instant) {
        let Some(lasted) = self.shortage.felt(now) else {
            return;
        };
        let unsent = |line: &Line| if let Line::Queue(link) = line { link.unsent_connections() } else { 0 };
        let waiting = fleet.waiting() + self.lines.values().map(unsent).sum::<usize>();
        let (worker, seconds) = (Named(fleet, id), lasted.as_secs());
        let reason = match errno {
            Errno::TOOMANYREFS => {
                "this user has more descriptors on their way between processes than one may open files"
            }
            _ => "the kernel has no memory for it",
        };
        warn!("Nothing can be sent to {worker} for {seconds} s, and {waiting} connections wait: {reason} ({errno})");
    }

    fn end_shortage(&mut self, now: Instant) {
        if let Some(lasted) = self.shortage.over(now) {
            info!("Connections go to workers again, after {} s", lasted.as_secs());
        }
    }

    fn try_again(&mut self, now: Instant) {
        self.again_at = self.again_at.or(Some(now + RETRY));
    }

    /// A worker by the systemd convention says something (sd_notify(3)).
    fn hear_notification(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        let Some(Line::Notify(socket)) = self.lines.get(&id) else {
            return;
        };
        let Notified { is_ready, is_all } = hear_notifications(|buffer| socket.recv(buffer));
        if is_ready {
            fleet.ready(id, now);
        }
        if !is_all {
            self.unheard.push(id);
        }
    }

    /// Ends a worker's queue: what it has taken up to then is its own, and the rest goes back.
    fn end_queue(&mut self, id: WorkerId, reason: &dyn fmt::Display, fleet: &mut Fleet, now: Instant) {
        self.close(id, Ending::Broken(reason.to_string()), fleet, now);
    }

    /// Speaks with a worker no more. What it has taken up to then is its own, and what it has given back is not.
    pub(crate) fn close(&mut self, id: WorkerId, ending: Ending, fleet: &mut Fleet, now: Instant) {
        let Some(Line::Queue(mut link)) = self.lines.remove(&id) else {
            return;
        };
        let descriptor = link.as_fd().as_raw_fd();
        if let Err(error) = self.registry.deregister(&mut SourceFd(&descriptor)) {
            warn!("The queue of {} stays in the epoll set: {error}", Named(fleet, id));
        }
        fleet.withdraw(id);
        link.shut_down();
        self.remains.insert(id, Remains { link, ending });
        self.hear_out(id, fleet, now);
    }

    /// Hears what a worker had said before it was spoken with no more, as far as there are descriptors for what it has
    /// given back.
    fn hear_out(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        let Some(mut remains) = self.remains.remove(&id) else {
            return;
        };
        loop {
            let may_receive = self.connections.len() < self.connections_max(fleet);
            match remains.link.hear(&mut self.buffer, may_receive) {
                Ok(Heard::Said(said)) => {
                    // What it must not say changes nothing any more.
                    if let Ok(heard) = fleet.change_hands(id, said) {
                        self.change_hands(id, heard, fleet);
                    }
                }
                Ok(Heard::GaveBack(connection, parcel)) => self.inherit(id, connection, parcel, fleet),
                // What is still in the socket would wait for nobody.
                Ok(Heard::Waits) if fleet.is_ending() => break,
                Ok(Heard::Waits) => {
                    self.remains.insert(id, remains);
                    return self.try_again(now);
                }
                Ok(Heard::Nothing | Heard::End) | Err(LinkError::Io(_)) => break,
                Err(LinkError::Malformed(_) | LinkError::Descriptors { .. } | LinkError::DescriptorLost) => {}
            }
        }
        self.withdraw_refusal(id, fleet);
        for connection in fleet.cut_off(id) {
            self.connections.forget(connection);
        }
        match remains.ending {
            Ending::Expected => {}
            Ending::Closed => self.ended.push((now + EXIT_PATIENCE, id)),
            Ending::Broken(reason) => {
                // That it must not be replaced does not make it less wrong.
                if fleet.finishes(id) {
                    warn!("The queue of {}, which finishes, is ended: {reason}", Named(fleet, id));
                }
                fleet.queue_ended(id, reason, now);
            }
        }
    }

    /// A connection that was given back by a worker which can be told nothing more.
    fn inherit(&mut self, id: WorkerId, connection: ConnectionId, parcel: Parcel, fleet: &mut Fleet) {
        let is_its_own = fleet.change_hands(id, FromWorker::Back(connection)).is_ok();
        if is_its_own && self.connections.take_back(connection, parcel).is_ok() {
            put_back(id, connection, fleet);
        }
    }
}

/// A worker says something, which is not to be believed without a look: its standby is one of its own processes, or is none.
fn hear_word(id: WorkerId, said: FromWorker, fleet: &mut Fleet, now: Instant) -> Result<fleet::Heard, Breach> {
    let is_its_own = |pid| pid == 0 || !fleet.group(id).is_some_and(|group| is_in_another_group(pid, group));
    match said {
        FromWorker::Standby(pid) if !is_its_own(pid) => {
            fleet.has_no_standby(id, pid);
            fleet.hear(id, FromWorker::Standby(0), now)
        }
        said => fleet.hear(id, said, now),
    }
}

/// A connection that a worker gave back, and that is here, waits for another.
fn put_back(worker: WorkerId, connection: ConnectionId, fleet: &mut Fleet) {
    debug!("Connection {connection} was given back by {}", Named(fleet, worker));
    fleet.put_back(worker, connection);
}

/// What a worker by the systemd convention has said in one turn.
#[derive(Debug, PartialEq, Eq)]
struct Notified {
    is_ready: bool,
    /// There is nothing more to be heard now.
    is_all: bool,
}

fn hear_notifications(receive: impl Fn(&mut [u8]) -> io::Result<usize>) -> Notified {
    let mut buffer = [0; NOTIFICATION_BYTES];
    let mut is_ready = false;
    for _ in 0..PACKETS_PER_TURN {
        let Ok(bytes) = receive(&mut buffer) else {
            return Notified { is_ready, is_all: true };
        };
        is_ready |= buffer[..bytes].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
    }
    Notified { is_ready, is_all: false }
}

/// A worker, as lines of the log name it.
struct Named<'f>(&'f Fleet, WorkerId);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.pid(self.1) {
            Some(pid) => write!(f, "worker pid {pid}"),
            None => f.write_str("a worker that is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What is heard of a worker that says so many things, of which the last is that it is ready.
    fn heard_of(said: u32) -> Notified {
        let left = Cell::new(said);
        hear_notifications(|buffer| {
            let line: &[u8] = if left.get() == 1 { b"STATUS=up\nREADY=1" } else { b"WATCHDOG=1" };
            left.set(left.get().checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?);
            buffer[..line.len()].copy_from_slice(line);
            Ok(line.len())
        })
    }

    #[test]
    fn a_worker_that_says_much_by_the_systemd_convention_keeps_nobody_waiting() {
        assert_eq!(heard_of(0), Notified { is_ready: false, is_all: true });
        assert_eq!(heard_of(2), Notified { is_ready: true, is_all: true });
        assert_eq!(heard_of(PACKETS_PER_TURN), Notified { is_ready: true, is_all: false });
        assert_eq!(heard_of(u32::MAX), Notified { is_ready: false, is_all: false });
    }
}
