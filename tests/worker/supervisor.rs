//! A supervisor that does as it is told, with one worker.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    recv, sendmsg, socketpair, sockopt,
};

use crate::harness::{PATIENCE, Peer, Server};

/// The number under which a worker finds its queue.
const QUEUE: i32 = 3;

/// One end of a queue, with its duplicates of the connections that the worker has not acknowledged.
pub(crate) struct ScriptedSupervisor {
    socket: OwnedFd,
    listener: TcpListener,
    last_id: u64,
    offered: BTreeMap<u64, TcpStream>,
}

impl ScriptedSupervisor {
    /// A supervisor, and the worker that `command` becomes. `path` is where that answers successors, if it does.
    pub(crate) fn start(mut command: Command, path: &Path) -> (Self, Server) {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, inherited) = pair.expect("a pair of sockets");
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a timeout can be set");
        let mappings = vec![FdMapping { parent_fd: inherited, child_fd: QUEUE }];
        command.fd_mappings(mappings).expect("one mapping cannot collide").env("REACTORD_QUEUE", QUEUE.to_string());
        let worker = Server::spawn(path, &mut command);
        // It owns this process's copy of the worker's end, which would keep the queue open.
        drop(command);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        (Self { socket, listener, last_id: 0, offered: BTreeMap::new() }, worker)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// The number of its end of the queue.
    pub(crate) fn number(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Sends a packet as it is.
    #[track_caller]
    pub(crate) fn say(&self, packet: &str, descriptors: &[BorrowedFd<'_>]) {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let packet = [std::io::IoSlice::new(packet.as_bytes())];
        sendmsg(&self.socket, &packet, &mut control, SendFlags::NOSIGNAL).expect("the worker is there");
    }

    /// Offers a new connection, and returns its number and its client.
    #[track_caller]
    pub(crate) fn offer(&mut self) -> (u64, Peer) {
        let client = Peer::connect(self.address());
        (self.offer_next(), client)
    }

    /// Offers the connection that is next at the listener.
    #[track_caller]
    pub(crate) fn offer_next(&mut self) -> u64 {
        let (connection, address) = self.listener.accept().expect("a connection is there");
        self.last_id += 1;
        let packet = format!("connection {} {address} {}", self.last_id, self.address());
        self.say(&packet, &[connection.as_fd()]);
        self.offered.insert(self.last_id, connection);
        self.last_id
    }

    /// Offers a connection that another supervisor's worker has not taken.
    #[track_caller]
    pub(crate) fn offer_again(&mut self, other: &mut Self, id: u64) {
        let connection = other.offered.remove(&id).expect("it was not taken");
        let peer = connection.peer_addr().expect("its client is there");
        self.say(&format!("connection {id} {peer} {}", other.address()), &[connection.as_fd()]);
        self.offered.insert(id, connection);
    }

    /// Dies. Its end is shut down, not only closed: a process that another test is starting has it open, too, for an
    /// instant, in which the worker would find it alive.
    pub(crate) fn die(self) {
        rustix::net::shutdown(&self.socket, Shutdown::Both).expect("the worker is there");
    }

    /// The next word of the worker, or `None` at its end.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut buffer = [0; 512];
        let bytes = loop {
            match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((bytes, _)) => break bytes,
                // Not all that was sent to the worker was read; what it has said is still there.
                Err(Errno::CONNRESET) => {}
                Err(errno) => panic!("waiting for a word of the worker: {errno}"),
            }
        };
        let word = String::from_utf8(buffer[..bytes].to_vec()).expect("a worker speaks ASCII");
        if let Some(id) = word.strip_prefix("took ") {
            let id = id.parse().expect("a number");
            self.offered.remove(&id).expect("it was offered and not taken");
        }
        (!word.is_empty()).then_some(word)
    }

    /// The worker says exactly this next.
    #[track_caller]
    pub(crate) fn expect(&mut self, word: &str) {
        assert_eq!(self.hear().as_deref(), Some(word));
    }

    /// The supervisor's duplicate of a connection that the worker has not taken.
    #[track_caller]
    pub(crate) fn duplicate(&self, id: u64) -> &TcpStream {
        self.offered.get(&id).expect("it was offered and not taken")
    }

    /// The worker has left the queue. Returns the numbers of the connections that it has not taken.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> Vec<u64> {
        assert_eq!(self.hear(), None);
        self.offered.keys().copied().collect()
    }

    /// The same, whatever it says before.
    #[track_caller]
    pub(crate) fn hear_out(&mut self) -> Vec<u64> {
        while self.hear().is_some() {}
        self.offered.keys().copied().collect()
    }
}
