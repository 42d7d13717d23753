//! What a supervisor knows, as a record for the binary that is executed in its place, and back.
//!
//! The record is apart from the structs of the loop and of the fleet, so that those can change and a binary still
//! understands what an earlier one has written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};
use mio::net::TcpListener;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use reactord_process::inherited;
use reactord_process::words::{ConnectionId, FromSupervisor};

use crate::fleet::{BackOff, Crew, Fleet, Rules, Standing, Worker, WorkerId};
use crate::link::Link;
use crate::supervisor::{Connection, Line, Supervisor};

/// The version of [`State`]. A binary that reads another one refuses.
const VERSION: u32 = 1;

/// What a supervisor knows. Descriptors are numbers, times are milliseconds from now, and negative in the past.
#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct State {
    #[n(0)]
    version: u32,
    #[n(1)]
    listeners: Vec<RawFd>,
    #[n(2)]
    connections: Vec<ConnectionState>,
    #[n(3)]
    next_connection: u64,
    #[n(4)]
    links: Vec<LinkState>,
    #[n(5)]
    fleet: FleetState,
    #[n(6)]
    pub(crate) directory: Option<String>,
    #[n(7)]
    kept: Vec<(String, RawFd)>,
    #[n(8)]
    pub(crate) complete: bool,
    #[n(9)]
    pub(crate) files_max: u64,
    /// Where the command was.
    #[n(10)]
    pub(crate) program: String,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct ConnectionState {
    #[n(0)]
    id: u64,
    #[n(1)]
    descriptor: RawFd,
    #[n(2)]
    peer: String,
    #[n(3)]
    local: String,
}

/// What a worker is spoken to by.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct LinkState {
    #[n(0)]
    worker: u64,
    #[n(1)]
    queue: Option<RawFd>,
    #[n(2)]
    notify: Option<RawFd>,
    /// Packets that the socket has not taken yet.
    #[n(3)]
    unsent: Vec<String>,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FleetState {
    #[n(0)]
    target: u64,
    #[n(1)]
    workers: Vec<WorkerState>,
    #[n(2)]
    next_worker: u64,
    #[n(3)]
    current: u64,
    #[n(4)]
    coming: Option<u64>,
    #[n(5)]
    again: bool,
    #[n(6)]
    failures: u32,
    #[n(7)]
    failed_at_ms: Option<i64>,
    #[n(8)]
    waiting: Vec<u64>,
    #[n(9)]
    asking: Vec<u64>,
    #[n(10)]
    stop_by_ms: Option<i64>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct WorkerState {
    #[n(0)]
    id: u64,
    #[n(1)]
    pid: u32,
    #[n(2)]
    generation: u64,
    #[n(3)]
    coming: bool,
    #[n(4)]
    standing: StandingState,
    #[n(5)]
    started_ms: i64,
    #[n(6)]
    said_ready: bool,
    #[n(7)]
    credits: u64,
    #[n(8)]
    under_way: Vec<u64>,
    #[n(9)]
    held: u64,
    #[n(10)]
    predecessor: Option<u64>,
}

#[derive(Debug, Encode, Decode)]
enum StandingState {
    #[n(0)]
    Starting {
        #[n(0)]
        deadline_ms: i64,
    },
    #[n(1)]
    Ready,
    #[n(2)]
    Serving {
        #[n(0)]
        since_ms: i64,
    },
    #[n(3)]
    Leaving {
        #[n(0)]
        due_ms: Option<i64>,
        #[n(1)]
        kill: bool,
    },
}

impl State {
    /// What `supervisor` knows.
    pub(crate) fn of(supervisor: &Supervisor<'_>) -> Self {
        let connections = supervisor.connections.iter().map(|(id, connection)| ConnectionState::of(*id, connection));
        let kept = supervisor.surroundings.kept.iter();
        let directory = supervisor.directory.as_ref();
        Self {
            version: VERSION,
            listeners: supervisor.listeners.iter().map(|listener| listener.socket.as_raw_fd()).collect(),
            connections: connections.collect(),
            next_connection: supervisor.next_connection.number(),
            links: supervisor.lines.iter().map(|(id, line)| LinkState::of(*id, line)).collect(),
            fleet: FleetState::of(&supervisor.fleet, supervisor.now),
            directory: directory.and_then(|directory| directory.path().to_str().map(str::to_owned)),
            kept: kept.map(|(name, kept)| ((*name).to_owned(), kept.as_raw_fd())).collect(),
            complete: supervisor.surroundings.serving.is_none(),
            files_max: supervisor.program.files_max,
            program: supervisor.program.path.to_string_lossy().into_owned(),
        }
    }

    /// Writes it into a file in memory that a process inherits.
    pub(crate) fn write(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("reactord-supervisor", MFdFlags::empty())?);
        file.write_all(&minicbor::to_vec(self).map_err(io::Error::other)?)?;
        file.rewind()?;
        Ok(file)
    }

    /// What is written in the file.
    ///
    /// # Errors
    /// If it is not understood.
    pub(crate) fn read(mut file: File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let state: Self = minicbor::decode(&bytes).map_err(io::Error::other)?;
        if state.version != VERSION {
            return Err(io::Error::other(format!("it has version {}, {VERSION} is understood", state.version)));
        }
        Ok(state)
    }

    /// The descriptor that was kept under this name.
    pub(crate) fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        let place = self.kept.iter().position(|(kept, _)| kept == name)?;
        let (_, number) = self.kept.remove(place);
        inherited::take(number).ok()
    }

    /// The workers, and the queue.
    pub(crate) fn take_fleet(&mut self, rules: Rules, now: Instant) -> Fleet {
        std::mem::take(&mut self.fleet).into_fleet(rules, now)
    }

    /// The sockets that listen.
    pub(crate) fn take_listeners(&mut self) -> io::Result<Vec<TcpListener>> {
        let numbers = std::mem::take(&mut self.listeners).into_iter();
        numbers.map(|number| Ok(TcpListener::from_std(inherited::take(number)?.into()))).collect()
    }

    /// The connections that no worker has taken yet.
    pub(crate) fn take_connections(&mut self) -> io::Result<HashMap<ConnectionId, Connection>> {
        std::mem::take(&mut self.connections).into_iter().map(ConnectionState::into_connection).collect()
    }

    /// The id of the connection that is accepted next.
    pub(crate) fn next_connection(&self) -> io::Result<ConnectionId> {
        connection_id(self.next_connection)
    }

    /// What workers are spoken to by.
    pub(crate) fn take_lines(&mut self) -> io::Result<Vec<(WorkerId, Line)>> {
        std::mem::take(&mut self.links).into_iter().filter_map(|link| link.into_line().transpose()).collect()
    }
}

fn connection_id(number: u64) -> io::Result<ConnectionId> {
    ConnectionId::from_number(number).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl ConnectionState {
    fn of(id: ConnectionId, Connection { socket, peer, local }: &Connection) -> Self {
        Self { id: id.number(), descriptor: socket.as_raw_fd(), peer: peer.to_string(), local: local.to_string() }
    }

    fn into_connection(self) -> io::Result<(ConnectionId, Connection)> {
        let Self { id, descriptor, peer, local } = self;
        let address = |text: String| text.parse().map_err(io::Error::other);
        let socket = inherited::take(descriptor)?;
        Ok((connection_id(id)?, Connection { socket, peer: address(peer)?, local: address(local)? }))
    }
}

impl LinkState {
    fn of(WorkerId(worker): WorkerId, line: &Line) -> Self {
        let number = Some(line.as_fd().as_raw_fd());
        match line {
            Line::Queue(link) => {
                let unsent = link.unsent().iter().map(ToString::to_string).collect();
                Self { worker, queue: number, notify: None, unsent }
            }
            Line::Notify(_) => Self { worker, queue: None, notify: number, unsent: Vec::new() },
        }
    }

    fn into_line(self) -> io::Result<Option<(WorkerId, Line)>> {
        let Self { worker, queue, notify, unsent } = self;
        let unsent = unsent.iter().filter_map(|packet| FromSupervisor::parse(packet.as_bytes()).ok()?).collect();
        let line = match (queue, notify) {
            (Some(number), _) => Line::Queue(Link::of(inherited::take(number)?, unsent)),
            (None, Some(number)) => Line::Notify(inherited::take(number)?.into()),
            (None, None) => return Ok(None),
        };
        Ok(Some((WorkerId(worker), line)))
    }
}

fn milliseconds_to(instant: Instant, now: Instant) -> i64 {
    let ahead = i64::try_from(instant.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.saturating_duration_since(instant).as_millis()).unwrap_or(i64::MAX);
    ahead - behind
}

fn instant_at(milliseconds: i64, now: Instant) -> Instant {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    let instant = if milliseconds < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
    instant.unwrap_or(now)
}

fn worker_state(id: WorkerId, worker: &Worker, now: Instant) -> WorkerState {
    let from_now = |instant| milliseconds_to(instant, now);
    WorkerState {
        id: id.0,
        pid: worker.pid,
        generation: worker.generation,
        coming: worker.crew == Crew::Coming,
        standing: match worker.standing {
            Standing::Starting { deadline } => StandingState::Starting { deadline_ms: from_now(deadline) },
            Standing::Ready => StandingState::Ready,
            Standing::Serving { since } => StandingState::Serving { since_ms: from_now(since) },
            Standing::Leaving { signal } => StandingState::Leaving {
                due_ms: signal.map(|(due, _)| from_now(due)),
                kill: matches!(signal, Some((_, Signal::SIGKILL))),
            },
        },
        started_ms: from_now(worker.started),
        said_ready: worker.said_ready,
        credits: worker.credits,
        under_way: worker.under_way.iter().map(|id| id.number()).collect(),
        held: worker.held,
        predecessor: worker.predecessor.map(|id| id.0),
    }
}

impl FleetState {
    /// What `fleet` knows.
    pub(crate) fn of(fleet: &Fleet, now: Instant) -> Self {
        Self {
            target: fleet.target as u64,
            workers: fleet.workers.iter().map(|(id, worker)| worker_state(*id, worker, now)).collect(),
            next_worker: fleet.next_worker.0,
            current: fleet.current,
            coming: fleet.coming,
            again: fleet.again,
            failures: fleet.back_off.failures,
            failed_at_ms: fleet.back_off.failed_at.map(|failed_at| milliseconds_to(failed_at, now)),
            waiting: fleet.waiting.iter().map(|id| id.number()).collect(),
            asking: fleet.asking.iter().map(|id| id.0).collect(),
            stop_by_ms: fleet.stop_by.map(|stop_by| milliseconds_to(stop_by, now)),
        }
    }

    /// The fleet that it was.
    pub(crate) fn into_fleet(self, rules: Rules, now: Instant) -> Fleet {
        let at = |milliseconds| instant_at(milliseconds, now);
        let ids = |numbers: Vec<u64>| numbers.into_iter().filter_map(ConnectionId::from_number);
        let mut fleet = Fleet::new(rules, usize::try_from(self.target).unwrap_or(1).max(1));
        fleet.workers = self
            .workers
            .into_iter()
            .map(|state| {
                let standing = match state.standing {
                    StandingState::Starting { deadline_ms } => Standing::Starting { deadline: at(deadline_ms) },
                    StandingState::Ready => Standing::Ready,
                    StandingState::Serving { since_ms } => Standing::Serving { since: at(since_ms) },
                    StandingState::Leaving { due_ms, kill } => {
                        let signal = if kill { Signal::SIGKILL } else { Signal::SIGTERM };
                        Standing::Leaving { signal: due_ms.map(|due_ms| (at(due_ms), signal)) }
                    }
                };
                let worker = Worker {
                    pid: state.pid,
                    generation: state.generation,
                    crew: if state.coming { Crew::Coming } else { Crew::Current },
                    standing,
                    started: at(state.started_ms),
                    said_ready: state.said_ready,
                    credits: state.credits,
                    under_way: ids(state.under_way).collect(),
                    held: state.held,
                    predecessor: state.predecessor.map(WorkerId),
                };
                (WorkerId(state.id), worker)
            })
            .collect();
        fleet.next_worker = WorkerId(self.next_worker);
        (fleet.current, fleet.coming, fleet.again) = (self.current, self.coming, self.again);
        fleet.back_off = BackOff { failures: self.failures, failed_at: self.failed_at_ms.map(at) };
        fleet.waiting = ids(self.waiting).collect();
        fleet.asking = self.asking.into_iter().map(WorkerId).filter(|id| fleet.workers.contains_key(id)).collect();
        fleet.stop_by = self.stop_by_ms.map(at);
        fleet
    }
}
