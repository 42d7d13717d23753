//! A successor that says what it is told to say, when it is told to.
//!
//! It receives descriptors and drops them at once, by reading without a control buffer (unix(7)). A predecessor sees
//! the test's own pid.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::PATIENCE;
use super::wire::{Frame, Record, copied, hello, kind, ready, records};

/// Sends bytes along with descriptors on any Unix socket.
pub(crate) fn send_with_descriptors(
    mut socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&bytes[sent..])
}

/// Receives bytes along with the descriptors that come with them. No bytes are the end.
#[track_caller]
pub(crate) fn receive_with_descriptors(socket: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = vec![0; 64 * 1024];
    let parts = &mut [IoSliceMut::new(&mut buffer)];
    // This process may have been stopped meanwhile.
    let received = retry_on_intr(|| recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC));
    let bytes = received.map_or(0, |message| message.bytes);
    buffer.truncate(bytes);
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    (buffer, descriptors.flatten().collect())
}

pub(crate) struct ScriptedSuccessor {
    socket: UnixStream,
    received: Vec<u8>,
    /// How many peers have come, and the last round that did.
    peers: u64,
    rounds: u32,
}

impl ScriptedSuccessor {
    /// Connects, and says nothing.
    #[track_caller]
    pub(crate) fn call(path: &Path) -> Self {
        let socket = UnixStream::connect(path).expect("somebody answers on the takeover path");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { socket, received: Vec::new(), peers: 0, rounds: 0 }
    }

    /// Receives once, and keeps the descriptors that come rather than the bytes.
    #[track_caller]
    pub(crate) fn receive_descriptors(&self) -> Vec<OwnedFd> {
        let (bytes, descriptors) = receive_with_descriptors(&self.socket);
        assert!(!bytes.is_empty(), "the predecessor goes on");
        descriptors
    }

    /// Sends bytes along with descriptors.
    #[track_caller]
    pub(crate) fn send_with(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        send_with_descriptors(&self.socket, bytes, descriptors).expect("the predecessor listens");
    }

    /// Connects, says Hello, and is welcome.
    #[track_caller]
    pub(crate) fn welcomed(path: &Path, service: &str) -> Self {
        let mut successor = Self::call(path);
        successor.send(&hello(service));
        assert_eq!(successor.receive().kind, kind::WELCOME);
        successor
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.try_send(bytes).expect("the predecessor listens");
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(bytes)
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Frame {
        self.try_receive().expect("the predecessor goes on")
    }

    /// The next frame, or `None` if the predecessor has ended the channel.
    #[track_caller]
    pub(crate) fn try_receive(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = Frame::take(&mut self.received) {
                return Some(frame);
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(bytes) => self.received.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the predecessor says nothing: {error}"),
            }
        }
    }

    /// Reads up to the next frame of this kind, and answers nothing.
    #[track_caller]
    pub(crate) fn receive_until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.receive();
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Takes part in the copy up to its last round, and returns the records that came with descriptors.
    #[track_caller]
    pub(crate) fn copy(&mut self) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            let frame = self.receive();
            match frame.kind {
                kind::PEERS => {
                    let batch = records(&frame);
                    self.peers += batch.len() as u64;
                    all.extend(batch);
                }
                kind::ROUND => {
                    let (number, last) = frame.round();
                    self.rounds = number;
                    if last {
                        return all;
                    }
                }
                _ => continue,
            }
            self.send(&copied(self.peers, self.rounds));
        }
    }

    /// Gets ready after the copy, and waits for Commit. The predecessor is frozen then.
    #[track_caller]
    pub(crate) fn freeze(&mut self) {
        self.send(&ready());
        self.receive_until(kind::COMMIT);
    }
}
