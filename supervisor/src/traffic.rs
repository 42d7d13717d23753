//! What goes on between clients and workers: connections come in at the listeners, wait, and go out to workers, and
//! words go back and forth.
//!
//! It tells the fleet what happens here, and asks it who gets the next connection. It starts no process and ends none:
//! it has nothing to do that with.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use reactord_process::accept::{ACCEPTS_PER_TURN, Accepting};
use reactord_process::address::Address;
use reactord_process::open_files;
use reactord_process::words::{ConnectionId, FromSupervisor};

use crate::config::{Config, Supply};
use crate::connection::Connection;
use crate::fleet::{Fleet, WorkerId};
use crate::line::Line;
use crate::link::{Flushed, Heard};
use crate::source::Source;
use crate::state::TrafficState;
use crate::status::QueueStatus;

/// How many packets of one worker are heard in one turn; then it is the others' turn.
const PACKETS_PER_TURN: u32 = 256;

/// When that is sent again for which the kernel had no room.
const SEND_RETRY: Duration = Duration::from_millis(10);

/// Descriptors that connections may not take, so that workers can be started: the two ends of a queue, and what std
/// opens to start a process.
const FILES_SPARE: usize = 12;

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

pub(crate) struct Traffic {
    registry: Registry,
    supply: Supply,
    queue_max: usize,
    listeners: Vec<Listener>,
    connections: HashMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    /// How many descriptors connections and workers may have together, as far as the limit of open files goes.
    files_max: usize,
    lines: HashMap<WorkerId, Line>,
    /// Workers whose packets were not all heard.
    unheard: Vec<WorkerId>,
    /// Workers that have closed their queue, and when that is held to be all there is to say.
    ended: Vec<(Instant, WorkerId)>,
    /// Something could not be sent for want of room in the kernel.
    send_again_at: Option<Instant>,
}

impl Traffic {
    /// No traffic yet.
    pub(crate) fn new(registry: Registry, config: &Config) -> Self {
        Self {
            registry,
            supply: config.supply,
            queue_max: config.queue_max,
            listeners: Vec::new(),
            connections: HashMap::new(),
            next_connection: ConnectionId::FIRST,
            files_max: usize::MAX,
            lines: HashMap::new(),
            unheard: Vec::new(),
            ended: Vec::new(),
            send_again_at: None,
        }
    }

    /// Has connections come in at these sockets.
    pub(crate) fn listen(&mut self, sockets: Vec<TcpListener>) -> io::Result<()> {
        for (place, mut socket) in sockets.into_iter().enumerate() {
            let mut accepting = Accepting::begin();
            match self.supply {
                Supply::Queue => {
                    self.registry.register(&mut socket, Source::Listener(place).into(), Interest::READABLE)?;
                }
                // The kernel wakes the workers, which accept.
                Supply::Listeners => accepting.wait_for_event(),
            }
            let address = socket.local_addr()?;
            self.listeners.push(Listener { socket, address, accepting, full_said: false });
        }
        Ok(())
    }

    /// Has what an earlier binary had open.
    pub(crate) fn take_up(&mut self, mut state: TrafficState) -> io::Result<()> {
        self.listen(state.take_listeners()?)?;
        self.next_connection = state.next_connection()?;
        self.connections = state.take_connections()?;
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
        let connections = self.connections.values().map(|connection| connection.socket.as_fd());
        listeners.chain(connections).chain(self.lines.values().map(Line::as_fd))
    }

    /// What that binary is told.
    pub(crate) fn state(&self) -> TrafficState {
        let listeners = self.listeners.iter().map(|listener| listener.socket.as_fd());
        TrafficState::of(listeners, &self.connections, self.next_connection, &self.lines)
    }

    /// How the queue is, where there is one.
    pub(crate) fn queue_status(&self, fleet: &Fleet) -> Option<QueueStatus> {
        let (waiting, waiting_max) = (fleet.waiting(), self.queue_max);
        let is_full = self.is_full(fleet);
        (self.supply == Supply::Queue).then_some(QueueStatus { waiting, waiting_max, is_full })
    }

    /// When [`Self::tend`] has something to do, if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let unheard = (!self.unheard.is_empty()).then_some(now);
        let accepting = self.listeners.iter().filter_map(|listener| listener.accepting.due(now)).min();
        let ended = self.ended.iter().map(|(due, _)| *due).min();
        [unheard, accepting, ended, self.send_again_at].into_iter().flatten().min()
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
        if self.send_again_at.is_some_and(|instant| now >= instant) {
            self.send_again_at = None;
            let ids: Vec<WorkerId> = self.lines.keys().copied().collect();
            for id in ids {
                self.flush(id, fleet, now);
            }
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
            let Connection { peer, local, .. } = &self.connections[&connection];
            let word = FromSupervisor::Connection { id: connection, peer: *peer, local: *local };
            self.say(worker, word, fleet, now);
            some_went = true;
        }
        if some_went {
            self.resume_accepting();
        }
    }

    fn is_full(&self, fleet: &Fleet) -> bool {
        fleet.waiting() >= self.queue_max || self.connections.len() >= self.connections_max(fleet)
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
        let local = match socket.local_addr() {
            Ok(local) => local,
            Err(error) => return debug!("Peer {} is gone already: {error}", Address(peer)),
        };
        let id = self.next_connection;
        self.next_connection = id.next();
        debug!("Connection {id} from {} to {} is in the queue", Address(peer), Address(local));
        let socket = std::net::TcpStream::from(socket).into();
        self.connections.insert(id, Connection { socket, peer, local });
        fleet.enqueue(id);
    }

    /// A worker has taken a connection: the duplicate is closed, and there is room for another.
    fn taken(&mut self, worker: WorkerId, connection: ConnectionId, fleet: &Fleet) {
        debug!("Connection {connection} was taken by {}", Named(fleet, worker));
        self.connections.remove(&connection);
        self.resume_accepting();
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
    pub(crate) fn say(&mut self, id: WorkerId, word: FromSupervisor, fleet: &Fleet, now: Instant) {
        if let Some(Line::Queue(link)) = self.lines.get_mut(&id) {
            link.say(word);
            self.flush(id, fleet, now);
        }
    }

    /// Sends a worker what its line has not taken yet.
    pub(crate) fn flush(&mut self, id: WorkerId, fleet: &Fleet, now: Instant) {
        let Some(Line::Queue(link)) = self.lines.get_mut(&id) else {
            return;
        };
        let connections = &self.connections;
        match link.flush(|id| connections.get(&id).map(|connection| connection.socket.as_fd())) {
            Ok(Flushed::All | Flushed::Full) => {}
            Ok(Flushed::WantOfRoom) => self.send_again_at = self.send_again_at.or(Some(now + SEND_RETRY)),
            // The end follows, after what it has said before.
            Err(errno) => {
                debug!("Nothing more goes to {}: {errno}", Named(fleet, id));
                if !self.unheard.contains(&id) {
                    self.unheard.push(id);
                }
            }
        }
    }

    /// Hears what a worker says, and tells the fleet.
    pub(crate) fn hear(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        for _ in 0..PACKETS_PER_TURN {
            let heard = match self.lines.get_mut(&id) {
                None => return,
                Some(Line::Notify(_)) => return self.hear_notification(id, fleet, now),
                Some(Line::Queue(link)) => link.hear(),
            };
            match heard {
                Ok(Heard::Said(said)) => match fleet.hear(id, said, now) {
                    Ok(None) => {}
                    Ok(Some(connection)) => self.taken(id, connection, fleet),
                    Err(breach) => return self.end_queue(id, &breach, fleet, now),
                },
                Ok(Heard::Nothing) => return,
                Ok(Heard::End) => {
                    self.close(id, fleet);
                    fleet.cut_off(id);
                    return self.ended.push((now + EXIT_PATIENCE, id));
                }
                Err(error) => return self.end_queue(id, &error, fleet, now),
            }
        }
        self.unheard.push(id);
    }

    /// A worker by the systemd convention says something (sd_notify(3)).
    fn hear_notification(&mut self, id: WorkerId, fleet: &mut Fleet, now: Instant) {
        let mut buffer = [0; NOTIFICATION_BYTES];
        while let Some(Line::Notify(socket)) = self.lines.get(&id) {
            let Ok(bytes) = socket.recv(&mut buffer) else {
                return;
            };
            if buffer[..bytes].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                fleet.ready(id, now);
            }
        }
    }

    /// Ends a worker's queue: what it has taken up to then is its own, and the rest goes back.
    fn end_queue(&mut self, id: WorkerId, reason: &dyn fmt::Display, fleet: &mut Fleet, now: Instant) {
        self.close(id, fleet);
        fleet.queue_ended(id, reason.to_string(), now);
    }

    /// Speaks with a worker no more. What it has taken up to then is its own.
    pub(crate) fn close(&mut self, id: WorkerId, fleet: &mut Fleet) {
        let Some(Line::Queue(link)) = self.lines.remove(&id) else {
            return;
        };
        let descriptor = link.as_fd().as_raw_fd();
        if let Err(error) = self.registry.deregister(&mut SourceFd(&descriptor)) {
            warn!("The queue of {} stays in the epoll set: {error}", Named(fleet, id));
        }
        for connection in link.end() {
            if fleet.took(id, connection) {
                self.taken(id, connection, fleet);
            }
        }
    }
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
