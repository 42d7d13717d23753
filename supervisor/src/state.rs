//! What a supervisor knows, as a record for the binary that is executed in its place, and back.
//!
//! The record is apart from the structs of the loop, so that those can change and a binary still understands what an
//! earlier one has written. Descriptors are numbers: they stay open.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use minicbor::bytes::ByteVec;
use minicbor::encode::write::Writer;
use minicbor::{Decode, Encode};
use mio::net::TcpListener;
use nix::sys::memfd::{MFdFlags, memfd_create};
use reactord_process::inherited;
use reactord_process::words::{ConnectionId, FromSupervisor};

use crate::connection::{Connection, Connections, Origin};
use crate::fixed::Fixed;
use crate::fleet::{FleetRecord, WorkerId};
use crate::line::Line;
use crate::link::Link;
use crate::remains::RemainsRecord;
use crate::status::Failures;

/// The version of [`State`], which is written before it. A binary that reads another one refuses.
const VERSION: u32 = 1;

/// What a supervisor knows.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct State {
    #[n(0)]
    pub(crate) traffic: TrafficState,
    #[n(1)]
    pub(crate) fleet: FleetRecord,
    /// Where workers' sockets are that have a path.
    #[n(2)]
    pub(crate) directory: Option<String>,
    /// Descriptors that the program around the supervisor wants back, by name.
    #[n(3)]
    pub(crate) kept: Vec<(String, RawFd)>,
    /// Whether all workers have served at once already.
    #[n(4)]
    pub(crate) complete: bool,
    /// The limit of open files that workers are to have.
    #[n(5)]
    pub(crate) files_max: u64,
    // n(6) was where the command was.
    /// Where workers run, by the path that leads there.
    #[n(7)]
    pub(crate) workplace: Option<String>,
    /// What workers have left behind.
    #[n(8)]
    pub(crate) remains: Option<Vec<RemainsRecord>>,
    /// The file in that directory that is locked.
    #[n(9)]
    pub(crate) directory_lock: Option<RawFd>,
    /// Where the supervisor can be asked.
    #[n(10)]
    pub(crate) path: Option<PathState>,
    /// When the supervisor began: ms since 1970.
    #[n(11)]
    pub(crate) began_unix_ms: Option<u64>,
    /// What its command line says that cannot change.
    #[n(12)]
    pub(crate) fixed: Option<Fixed>,
    /// How many workers that says.
    #[n(13)]
    pub(crate) workers: Option<u64>,
    /// Name and version of the binary.
    #[n(14)]
    pub(crate) build: Option<String>,
    /// Who is to be told what has come of the upgrade.
    #[n(15)]
    pub(crate) asker: Option<AskerState>,
    /// What has come to nothing.
    #[n(16)]
    pub(crate) failures: Option<Failures>,
}

/// Who has asked for the upgrade, and where it is answered.
#[derive(Clone, Copy, Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AskerState {
    #[n(0)]
    pub(crate) descriptor: RawFd,
    #[n(1)]
    pub(crate) pid: u32,
}

/// The path on which a supervisor is asked, as the file with this device and inode, and its listener.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PathState {
    #[n(0)]
    pub(crate) descriptor: RawFd,
    #[n(1)]
    pub(crate) path: String,
    #[n(2)]
    pub(crate) device: u64,
    #[n(3)]
    pub(crate) inode: u64,
}

/// What goes on between clients and workers.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct TrafficState {
    #[n(0)]
    listeners: Vec<RawFd>,
    #[n(1)]
    connections: Vec<ConnectionState>,
    #[n(2)]
    next_connection: u64,
    #[n(3)]
    links: Vec<LinkState>,
    /// Connections that workers may give back.
    #[n(4)]
    away: Vec<OriginState>,
    /// Workers that have not been told yet that a connection stays with them.
    #[n(5)]
    refusals: Vec<(u64, u64)>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct OriginState {
    #[n(0)]
    id: u64,
    #[n(1)]
    peer: String,
    #[n(2)]
    local: String,
    #[n(3)]
    cookie: u64,
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
    /// What the worker that gave it back has left.
    #[n(4)]
    state: Option<ByteVec>,
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

impl State {
    /// Writes it into a file in memory that a process inherits.
    pub(crate) fn write(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("reactord-supervisor", MFdFlags::empty())?);
        let mut buffered = BufWriter::new(&mut file);
        minicbor::encode((VERSION, self), Writer::new(&mut buffered)).map_err(io::Error::other)?;
        buffered.flush()?;
        drop(buffered);
        file.rewind()?;
        Ok(file)
    }

    /// What is written in the file.
    ///
    /// # Errors
    /// If it is not understood.
    pub(crate) fn read(file: &mut File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let mut decoder = minicbor::Decoder::new(&bytes);
        decoder.array().map_err(io::Error::other)?;
        let version = decoder.u32().map_err(io::Error::other)?;
        if version != VERSION {
            return Err(io::Error::other(format!("it has version {version}, {VERSION} is understood")));
        }
        decoder.decode().map_err(io::Error::other)
    }

    /// The descriptor that was kept under this name.
    pub(crate) fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        let place = self.kept.iter().position(|(kept, _)| kept == name)?;
        let (_, number) = self.kept.remove(place);
        inherited::take(number).ok()
    }
}

impl TrafficState {
    pub(crate) fn of<'t>(
        listeners: impl Iterator<Item = BorrowedFd<'t>>,
        next_connection: ConnectionId,
        lines: &HashMap<WorkerId, Line>,
    ) -> Self {
        Self {
            listeners: listeners.map(|listener| listener.as_raw_fd()).collect(),
            connections: Vec::new(),
            next_connection: next_connection.number(),
            links: lines.iter().map(|(id, line)| LinkState::of(*id, line)).collect(),
            away: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The same with these connections, and with their states or without.
    pub(crate) fn with_connections(self, connections: &Connections, with_states: bool) -> Self {
        let here = connections.here().map(|(id, connection)| ConnectionState::of(id, connection, with_states));
        let away = connections.away().map(|(id, origin)| OriginState::of(id, origin));
        Self { connections: here.collect(), away: away.collect(), ..self }
    }

    /// The same with these workers that are to learn that a connection stays with them.
    pub(crate) fn with_refusals(self, refusals: impl Iterator<Item = (WorkerId, ConnectionId)>) -> Self {
        Self { refusals: refusals.map(|(worker, connection)| (worker.0, connection.number())).collect(), ..self }
    }

    /// The sockets that listen.
    pub(crate) fn take_listeners(&mut self) -> io::Result<Vec<TcpListener>> {
        let numbers = std::mem::take(&mut self.listeners).into_iter();
        numbers.map(|number| Ok(TcpListener::from_std(inherited::take(number)?.into()))).collect()
    }

    /// The connections that no worker has, and what is to be known of those that workers have.
    pub(crate) fn take_connections(&mut self) -> io::Result<Connections> {
        let here = std::mem::take(&mut self.connections).into_iter().map(ConnectionState::into_connection);
        let away = std::mem::take(&mut self.away).into_iter().map(OriginState::into_origin);
        Ok(Connections::of(here.collect::<io::Result<_>>()?, away.collect::<io::Result<_>>()?))
    }

    /// The workers that are to learn that a connection stays with them.
    pub(crate) fn take_refusals(&mut self) -> io::Result<Vec<(WorkerId, ConnectionId)>> {
        let refusals = std::mem::take(&mut self.refusals).into_iter();
        refusals.map(|(worker, connection)| Ok((WorkerId(worker), connection_id(connection)?))).collect()
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

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(io::Error::other)
}

impl OriginState {
    fn of(id: ConnectionId, Origin { peer, local, cookie }: Origin) -> Self {
        Self { id: id.number(), peer: peer.to_string(), local: local.to_string(), cookie }
    }

    fn into_origin(self) -> io::Result<(ConnectionId, Origin)> {
        let Self { id, peer, local, cookie } = self;
        Ok((connection_id(id)?, Origin { peer: address(&peer)?, local: address(&local)?, cookie }))
    }
}

impl ConnectionState {
    fn of(id: ConnectionId, connection: &Connection, with_state: bool) -> Self {
        let Connection { socket, peer, local, state } = connection;
        Self {
            id: id.number(),
            descriptor: socket.as_fd().as_raw_fd(),
            peer: peer.to_string(),
            local: local.to_string(),
            state: state.as_ref().filter(|_| with_state).map(|state| state.to_vec().into()),
        }
    }

    fn into_connection(self) -> io::Result<(ConnectionId, Connection)> {
        let Self { id, descriptor, peer, local, state } = self;
        let socket = inherited::take(descriptor)?.into();
        let state = state.map(|state| Vec::from(state).into_boxed_slice());
        Ok((connection_id(id)?, Connection { socket, peer: address(&peer)?, local: address(&local)?, state }))
    }
}

impl LinkState {
    fn of(WorkerId(worker): WorkerId, line: &Line) -> Self {
        let number = Some(line.as_fd().as_raw_fd());
        match line {
            Line::Queue(link) => {
                let unsent = link.unsent().iter().map(written).collect();
                Self { worker, queue: number, notify: None, unsent }
            }
            Line::Notify(_) => Self { worker, queue: None, notify: number, unsent: Vec::new() },
        }
    }

    fn into_line(self) -> io::Result<Option<(WorkerId, Line)>> {
        let Self { worker, queue, notify, unsent } = self;
        let unsent =
            unsent.iter().filter_map(|packet| Some(FromSupervisor::parse(packet.as_bytes()).ok()??.0)).collect();
        let line = match (queue, notify) {
            (Some(number), _) => Line::Queue(Link::of(inherited::take(number)?, unsent)),
            (None, Some(number)) => Line::Notify(inherited::take(number)?.into()),
            (None, None) => return Ok(None),
        };
        Ok(Some((WorkerId(worker), line)))
    }
}

/// A word that is not sent yet. What goes with it is found by its connection.
fn written(word: &FromSupervisor) -> String {
    match word {
        // It is not one without a state.
        FromSupervisor::Keep(_) => format!("{word}\n"),
        word => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_has_written_is_refused_by_its_number_whatever_follows() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&minicbor::to_vec((VERSION + 1, "it may look like anything")).unwrap()).unwrap();
        let error = State::read(&mut file).unwrap_err().to_string();
        assert_eq!(error, "it has version 2, 1 is understood");
    }
}
