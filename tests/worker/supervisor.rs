//! A supervisor that does as it is told, with one worker.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use reactord_process::words::PACKET_BYTES_MAX;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair, sockopt,
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
    given_back: BTreeMap<u64, GivenBack>,
}

/// A connection that a worker has given back.
pub(crate) struct GivenBack {
    pub(crate) state: Vec<u8>,
    pub(crate) connection: TcpStream,
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
        (Self { socket, listener, last_id: 0, offered: BTreeMap::new(), given_back: BTreeMap::new() }, worker)
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
        self.send(packet.as_bytes(), descriptors);
    }

    #[track_caller]
    fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let packet = [std::io::IoSlice::new(packet)];
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

    /// Passes a connection on that a worker has given back, this one or another.
    #[track_caller]
    pub(crate) fn pass_on(&mut self, id: u64, GivenBack { state, connection }: GivenBack) {
        let peer = connection.peer_addr().expect("its client is there");
        let words = format!("connection {id} {peer} {}\n", connection.local_addr().expect("it is connected"));
        self.send(&[words.as_bytes(), &state].concat(), &[connection.as_fd()]);
        self.offered.insert(id, connection);
    }

    /// Refuses to take a connection back.
    #[track_caller]
    pub(crate) fn refuse(&mut self, id: u64) {
        let GivenBack { state, connection } = self.take_back(id);
        self.send(&[format!("keep {id}\n").as_bytes(), &state].concat(), &[connection.as_fd()]);
    }

    /// What came with `back`, which the worker has said.
    #[track_caller]
    pub(crate) fn take_back(&mut self, id: u64) -> GivenBack {
        self.given_back.remove(&id).expect("it was given back")
    }

    /// Dies. Its end is shut down, not only closed: a process that another test is starting has it open, too, for an
    /// instant, in which the worker would find it alive.
    pub(crate) fn die(self) {
        rustix::net::shutdown(&self.socket, Shutdown::Both).expect("the worker is there");
    }

    /// The next word of the worker, or `None` at its end.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Option<String> {
        let (packet, descriptors) = self.receive();
        let (word, state) = match packet.iter().position(|byte| *byte == b'\n') {
            Some(newline) => (&packet[..newline], Some(&packet[newline + 1..])),
            None => (&packet[..], None),
        };
        let word = String::from_utf8(word.to_vec()).expect("a worker speaks ASCII");
        assert_eq!((descriptors.len() == 1, word.starts_with("back ")), (state.is_some(), state.is_some()), "{word}");
        for (state, connection) in state.into_iter().zip(descriptors) {
            let id = word["back ".len()..].parse().expect("a number");
            self.given_back.insert(id, GivenBack { state: state.to_vec(), connection: connection.into() });
        }
        if let Some(id) = word.strip_prefix("took ") {
            let id = id.parse().expect("a number");
            self.offered.remove(&id).expect("it was offered and not taken");
        }
        if word.is_empty() {
            // It ends its own end, too, as the real one does: a worker may listen for that before it exits. The only error
            // is that both have ended.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
        (!word.is_empty()).then_some(word)
    }

    /// Whether the worker has ended its side, when it has said nothing more. Nothing is ended here for that.
    #[track_caller]
    pub(crate) fn has_heard_all(&self) -> bool {
        let looked = recv(&self.socket, &mut [0; 1], RecvFlags::PEEK);
        looked.expect("the worker says something, or ends its side").0 == 0
    }

    /// A packet, and what came with it.
    #[track_caller]
    fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let (mut buffer, mut space) = (vec![0; PACKET_BYTES_MAX + 1], [std::mem::MaybeUninit::uninit(); 64]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let parts = &mut [std::io::IoSliceMut::new(&mut buffer)];
            match recvmsg(&self.socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                // Not all that was sent to the worker was read, or this process was stopped; what it has said is still there.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(errno) => panic!("waiting for a word of the worker: {errno}"),
            }
        };
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors = descriptors.collect();
        buffer.truncate(received.bytes);
        (buffer, descriptors)
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
