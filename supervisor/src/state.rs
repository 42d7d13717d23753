//! What a supervisor knows, as a record for the binary that is executed in its place, and back.
//!
//! The record is apart from the structs of the loop, so that those can change and a binary still understands what an
//! earlier one has written. Descriptors are numbers: they stay open.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use minicbor::{Decode, Encode};
use mio::net::TcpListener;
use nix::sys::memfd::{MFdFlags, memfd_create};
use reactord_process::inherited;
use reactord_process::words::{ConnectionId, FromSupervisor};

use crate::connection::Connection;
use crate::fleet::{FleetRecord, WorkerId};
use crate::line::Line;
use crate::link::Link;

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
    /// Where the command was.
    #[n(6)]
    pub(crate) program: String,
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

impl State {
    /// Writes it into a file in memory that a process inherits.
    pub(crate) fn write(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("reactord-supervisor", MFdFlags::empty())?);
        file.write_all(&minicbor::to_vec((VERSION, self)).map_err(io::Error::other)?)?;
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
        connections: &HashMap<ConnectionId, Connection>,
        next_connection: ConnectionId,
        lines: &HashMap<WorkerId, Line>,
    ) -> Self {
        Self {
            listeners: listeners.map(|listener| listener.as_raw_fd()).collect(),
            connections: connections.iter().map(|(id, connection)| ConnectionState::of(*id, connection)).collect(),
            next_connection: next_connection.number(),
            links: lines.iter().map(|(id, line)| LinkState::of(*id, line)).collect(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_has_written_is_refused_by_its_number_whatever_follows() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&minicbor::to_vec((VERSION + 1, "it may look like anything")).unwrap()).unwrap();
        let error = State::read(file).unwrap_err().to_string();
        assert_eq!(error, "it has version 2, 1 is understood");
    }
}
