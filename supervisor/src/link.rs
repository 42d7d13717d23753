//! The supervisor's end of one worker's queue: packets out and in, without waiting.
//!
//! What the socket does not take is kept in order, and goes when it is writable.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use reactord_process::descriptors;
use reactord_process::words::{ConnectionId, FromSupervisor, FromWorker, Malformed, WORDS_BYTES_MAX};

/// What a worker's end says.
#[derive(Debug)]
pub(crate) enum Heard {
    Said(FromWorker),
    /// Nothing more for now.
    Nothing,
    /// Nothing more, or nothing that could be answered: the worker has closed its end, or one direction of it.
    End,
}

/// What became of what was to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    /// The socket is full: writability comes next.
    Full,
    /// The kernel has no room for it now, or too many descriptors are in flight: no event will tell.
    WantOfRoom,
}

/// Why a link is of no use any more.
#[derive(Debug)]
pub(crate) enum LinkError {
    Malformed(Malformed),
    Descriptor,
    Io(Errno),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Descriptor => f.write_str("it sent a descriptor"),
            Self::Io(errno) => errno.fmt(f),
        }
    }
}

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    unsent: VecDeque<FromSupervisor>,
    /// Nothing more can be sent: the worker has closed its end, or will receive nothing more.
    is_broken: bool,
}

impl Link {
    /// A link, and the worker's end of it.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (socket, worker) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::of(socket, VecDeque::new()), worker))
    }

    pub(crate) fn of(socket: OwnedFd, unsent: VecDeque<FromSupervisor>) -> Self {
        Self { socket, unsent, is_broken: false }
    }

    pub(crate) fn unsent(&self) -> &VecDeque<FromSupervisor> {
        &self.unsent
    }

    /// Says something, after what has been said before.
    pub(crate) fn say(&mut self, word: FromSupervisor) {
        self.unsent.push_back(word);
    }

    /// Sends what is to be said, as far as the socket takes it. Connections come with the descriptor that `lend` gives
    /// for them; one for which there is none any more is passed over.
    ///
    /// # Errors
    /// When the worker takes nothing more. What it has said can still be [heard](Self::hear), and then its end.
    pub(crate) fn flush<'c>(
        &mut self,
        lend: impl Fn(ConnectionId) -> Option<BorrowedFd<'c>>,
    ) -> Result<Flushed, Errno> {
        while let Some(word) = self.unsent.front() {
            let descriptor = match word {
                FromSupervisor::Connection { id, .. } => match lend(*id) {
                    Some(descriptor) => Some(descriptor),
                    None => {
                        self.unsent.pop_front();
                        continue;
                    }
                },
                _ => None,
            };
            match descriptors::send(&self.socket, word.to_string().as_bytes(), descriptor.as_slice()) {
                Ok(_) => drop(self.unsent.pop_front()),
                Err(Errno::AGAIN) => return Ok(Flushed::Full),
                Err(errno) if is_want_of_room(errno) => return Ok(Flushed::WantOfRoom),
                Err(errno) => {
                    self.is_broken = true;
                    return Err(errno);
                }
            }
        }
        Ok(Flushed::All)
    }

    /// The next packet.
    ///
    /// # Errors
    /// If it is none that a worker may send.
    pub(crate) fn hear(&mut self) -> Result<Heard, LinkError> {
        // One byte more than allowed, so that a longer packet shows.
        let mut buffer = [0; WORDS_BYTES_MAX + 1];
        loop {
            match descriptors::receive(&self.socket, &mut buffer, None::<&mut Vec<OwnedFd>>) {
                Ok(received) if received.descriptors_lost => return Err(LinkError::Descriptor),
                Ok(received) if received.bytes == 0 => {
                    // An empty packet looks like the end.
                    if rustix::io::ioctl_fionread(&self.socket).is_ok_and(|bytes| bytes > 0) {
                        continue;
                    }
                    return Ok(Heard::End);
                }
                Ok(received) => {
                    return FromWorker::parse(&buffer[..received.bytes])
                        .map(|(said, _)| Heard::Said(said))
                        .map_err(LinkError::Malformed);
                }
                // A worker that lives may have closed one direction only, and this one never ends by itself.
                Err(Errno::AGAIN) if self.is_broken => return Ok(Heard::End),
                Err(Errno::AGAIN) => return Ok(Heard::Nothing),
                // It was closed with something unread in it, and says so once; what it sent comes after that.
                Err(Errno::CONNRESET) => {}
                Err(errno) => return Err(LinkError::Io(errno)),
            }
        }
    }

    /// Ends the queue, and returns what the worker has taken up to then: the kernel orders the end and the sending of
    /// `took` under one lock. To receive what is in the socket already can fail with nothing but `ECONNRESET`, once: it
    /// neither waits nor allocates (unix_dgram_recvmsg of Linux). So no error hides a `took`.
    pub(crate) fn end(mut self) -> Vec<ConnectionId> {
        // The only error is ENOTCONN, and then it has ended already.
        let _ = shutdown(&self.socket, Shutdown::Both);
        let mut taken = Vec::new();
        loop {
            match self.hear() {
                Ok(Heard::Said(FromWorker::Took(id))) => taken.push(id),
                Ok(Heard::Said(_)) | Err(LinkError::Malformed(_) | LinkError::Descriptor) => {}
                Ok(Heard::Nothing | Heard::End) | Err(LinkError::Io(_)) => return taken,
            }
        }
    }
}

/// Whether sending failed for want of memory, or because too many descriptors are in flight (unix(7), send(2)): it may
/// succeed a moment later.
fn is_want_of_room(errno: Errno) -> bool {
    matches!(errno, Errno::TOOMANYREFS | Errno::NOMEM | Errno::NOBUFS)
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(worker: &OwnedFd, packet: &[u8]) {
        descriptors::send(worker, packet, &[]).unwrap();
    }

    fn id(number: u64) -> ConnectionId {
        (1..number).fold(ConnectionId::FIRST, |id, _| id.next())
    }

    #[test]
    fn what_a_worker_took_before_its_end_is_found_whatever_else_it_said() {
        let (mut link, worker) = Link::pair().unwrap();
        for word in 0..3 {
            link.say(FromSupervisor::Finish);
            assert_eq!(link.flush(|_| None).unwrap(), Flushed::All, "{word}");
        }
        for packet in [&b"took 1"[..], b"", b"nonsense", b"took 2", b""] {
            send(&worker, packet);
        }
        descriptors::send(&worker, b"took 3", &[worker.as_fd()]).unwrap();
        send(&worker, b"took 4");
        // With three packets unread: the next call fails with ECONNRESET.
        drop(worker);
        assert_eq!(link.end(), [id(1), id(2), id(4)]);
    }

    #[test]
    fn what_the_socket_does_not_take_goes_later_and_in_order() {
        let (mut link, worker) = Link::pair().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let mut connection = ConnectionId::FIRST;
        for _ in 0..2000 {
            link.say(FromSupervisor::Connection { id: connection, peer: address, local: address });
            connection = connection.next();
        }
        let descriptor = worker.try_clone().unwrap();
        let mut received = Vec::new();
        while received.len() < 2000 {
            link.flush(|_| Some(descriptor.as_fd())).unwrap();
            let mut buffer = [0; 256];
            while let Ok(packet) = descriptors::receive(&worker, &mut buffer, Some(&mut Vec::new())) {
                match FromSupervisor::parse(&buffer[..packet.bytes]) {
                    Ok(Some((FromSupervisor::Connection { id, .. }, _))) => received.push(id),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(received.is_sorted());
        assert!(link.unsent().is_empty());
    }

    #[test]
    fn a_worker_that_will_receive_nothing_more_comes_to_its_end_after_what_it_has_said() {
        let (mut link, worker) = Link::pair().unwrap();
        send(&worker, b"took 1");
        // It lives, and its end is open for sending.
        shutdown(&worker, Shutdown::Read).unwrap();
        link.say(FromSupervisor::Finish);
        assert_eq!(link.flush(|_| None), Err(Errno::PIPE));
        assert!(matches!(link.hear(), Ok(Heard::Said(FromWorker::Took(_)))));
        send(&worker, b"took 2");
        assert!(matches!(link.hear(), Ok(Heard::Said(FromWorker::Took(_)))));
        assert!(matches!(link.hear(), Ok(Heard::End)));
        send(&worker, b"took 3");
        assert_eq!(link.end(), [id(3)]);
        assert!(descriptors::send(&worker, b"took 4", &[]).is_err());
    }

    #[test]
    fn want_of_room_in_the_kernel_passes_and_a_closed_end_does_not() {
        for errno in [Errno::TOOMANYREFS, Errno::NOMEM, Errno::NOBUFS] {
            assert!(is_want_of_room(errno), "after {errno} it may be sent a moment later");
        }
        for errno in [Errno::PIPE, Errno::CONNRESET, Errno::BADF] {
            assert!(!is_want_of_room(errno), "after {errno} nothing can be sent any more");
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_malformed() {
        let (mut link, worker) = Link::pair().unwrap();
        send(&worker, "took 1".repeat(100).as_bytes());
        assert!(matches!(link.hear(), Err(LinkError::Malformed(_))));
    }
}
