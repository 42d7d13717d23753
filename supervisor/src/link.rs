//! The supervisor's end of one worker's queue: packets out and in, without waiting.
//!
//! What the socket does not take is kept in order, and goes when it is writable.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, shutdown, socketpair};

use reactord_process::descriptors::{self, retry_interrupted};
use reactord_process::words::{ConnectionId, FromSupervisor, FromWorker, Malformed, PACKET_BYTES_MAX};

use crate::connection::{ClientSocket, Lent, Parcel};

/// What a receiver's buffer has: one byte more than is allowed, so that a longer packet shows.
pub(crate) const BUFFER_BYTES: usize = PACKET_BYTES_MAX + 1;

/// What one end of the socket may have on the way, as Linux has it by default: a few packets of the longest.
const SEND_BUFFER_BYTES_MIN: usize = 212_992;

/// What a worker's end says.
#[derive(Debug)]
pub(crate) enum Heard {
    Said(FromWorker),
    GaveBack(ConnectionId, Parcel),
    /// A connection comes next that is given back, and its descriptor may not be received now.
    Waits,
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
    WantOfRoom(Errno),
}

/// Why a link is of no use any more.
#[derive(Debug)]
pub(crate) enum LinkError {
    Malformed(Malformed),
    Descriptors { arrived: usize, expected: usize },
    DescriptorLost,
    Io(Errno),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Descriptors { arrived, expected } => {
                write!(f, "it sent {arrived} descriptors with a word, {expected} are expected")
            }
            Self::DescriptorLost => f.write_str("it sent more descriptors than there was room for"),
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
        for end in [&socket, &worker] {
            // Where less is the default, the longest packet might not fit at all.
            if socket_send_buffer_size(end)? < SEND_BUFFER_BYTES_MIN {
                set_socket_send_buffer_size(end, SEND_BUFFER_BYTES_MIN / 2)?;
            }
        }
        Ok((Self::of(socket, VecDeque::new()), worker))
    }

    pub(crate) fn of(socket: OwnedFd, unsent: VecDeque<FromSupervisor>) -> Self {
        Self { socket, unsent, is_broken: false }
    }

    pub(crate) fn unsent(&self) -> &VecDeque<FromSupervisor> {
        &self.unsent
    }

    /// How many connections are to be sent.
    pub(crate) fn unsent_connections(&self) -> usize {
        self.unsent.iter().filter(|word| matches!(word, FromSupervisor::Connection { .. })).count()
    }

    /// Says something, after what has been said before.
    pub(crate) fn say(&mut self, word: FromSupervisor) {
        self.unsent.push_back(word);
    }

    /// What has not been sent is not to be said any more.
    pub(crate) fn forget_unsent(&mut self) {
        self.unsent.clear();
    }

    /// Sends what is to be said, as far as the socket takes it. Connections come with the descriptor and the state that
    /// `lend` gives for them; one for which there is none any more is passed over.
    ///
    /// # Errors
    /// When the worker takes nothing more. What it has said can still be [heard](Self::hear), and then its end.
    pub(crate) fn flush<'c>(&mut self, lend: impl Fn(ConnectionId) -> Option<Lent<'c>>) -> Result<Flushed, Errno> {
        while let Some(word) = self.unsent.front() {
            let lent = match word {
                FromSupervisor::Connection { id, .. } | FromSupervisor::Keep(id) => match lend(*id) {
                    Some(lent) => Some(lent),
                    None => {
                        self.unsent.pop_front();
                        continue;
                    }
                },
                _ => None,
            };
            let (descriptor, state) = lent.unzip();
            match descriptors::send(&self.socket, &word.packet(state.flatten()), descriptor.as_slice()) {
                Ok(_) => drop(self.unsent.pop_front()),
                Err(Errno::AGAIN) => return Ok(Flushed::Full),
                Err(errno) if is_want_of_room(errno) => return Ok(Flushed::WantOfRoom(errno)),
                Err(errno) => {
                    self.is_broken = true;
                    return Err(errno);
                }
            }
        }
        Ok(Flushed::All)
    }

    /// Whether it was said that a connection is to be kept, and the socket has not taken it yet.
    pub(crate) fn has_refusal(&self) -> bool {
        self.unsent.iter().any(|word| matches!(word, FromSupervisor::Keep(_)))
    }

    /// The next packet, in a buffer of [`BUFFER_BYTES`]. One whose descriptor is to be kept is left in the socket unless
    /// it `may_receive`: the kernel would discard the descriptor if there were no room for it.
    ///
    /// # Errors
    /// If it is none that a worker may send. Whatever came with it is closed.
    pub(crate) fn hear(&mut self, buffer: &mut [u8], may_receive: bool) -> Result<Heard, LinkError> {
        loop {
            if !may_receive && self.gives_back_next(buffer) {
                return Ok(Heard::Waits);
            }
            let mut arrived = Vec::new();
            let received = descriptors::receive(&self.socket, buffer, Some(&mut arrived));
            // Whatever it says, it may have come with clients.
            let arrived: Vec<ClientSocket> = arrived.into_iter().map(ClientSocket::from).collect();
            match received {
                Ok(received) if received.bytes == 0 => {
                    // An empty packet looks like the end.
                    if rustix::io::ioctl_fionread(&self.socket).is_ok_and(|bytes| bytes > 0) {
                        continue;
                    }
                    return Ok(Heard::End);
                }
                Ok(received) if received.descriptors_lost => return Err(LinkError::DescriptorLost),
                Ok(received) => return understood(&buffer[..received.bytes], arrived),
                // A worker that lives may have closed one direction only, and this one never ends by itself.
                Err(Errno::AGAIN) if self.is_broken => return Ok(Heard::End),
                Err(Errno::AGAIN) => return Ok(Heard::Nothing),
                // It was closed with something unread in it, and says so once; what it sent comes after that.
                Err(Errno::CONNRESET) => {}
                Err(errno) => return Err(LinkError::Io(errno)),
            }
        }
    }

    /// Whether the next packet gives a connection back.
    fn gives_back_next(&self, buffer: &mut [u8]) -> bool {
        let looked = retry_interrupted(|| recv(&self.socket, &mut *buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT));
        looked.is_ok_and(|(bytes, _)| buffer[..bytes].starts_with(b"back "))
    }

    /// Ends the queue. What the worker has said up to then can still be [heard](Self::hear): the kernel orders the end and
    /// the sending of a word under one lock. To receive what is in the socket already can fail with nothing but
    /// `ECONNRESET`, once: it neither waits nor allocates (unix_dgram_recvmsg of Linux), and there is room for a descriptor
    /// if the caller sees to it. So no error hides a `took` or a `back`.
    pub(crate) fn shut_down(&mut self) {
        // The only error is ENOTCONN, and then it has ended already.
        let _ = shutdown(&self.socket, Shutdown::Both);
        self.is_broken = true;
    }
}

/// What a packet says, with what came with it.
fn understood(packet: &[u8], mut arrived: Vec<ClientSocket>) -> Result<Heard, LinkError> {
    let (said, state) = FromWorker::parse(packet).map_err(LinkError::Malformed)?;
    match (said, state, arrived.len()) {
        (FromWorker::Back(id), Some(state), 1) => {
            let socket = arrived.pop().expect("there is one");
            Ok(Heard::GaveBack(id, Parcel { socket, state: state.into() }))
        }
        (FromWorker::Back(_), _, arrived) => Err(LinkError::Descriptors { arrived, expected: 1 }),
        (_, _, 0) => Ok(Heard::Said(said)),
        (_, _, arrived) => Err(LinkError::Descriptors { arrived, expected: 0 }),
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
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use reactord_process::words::STATE_BYTES_MAX;
    use rustix::net::sockopt::{set_socket_linger, socket_linger};

    use super::*;

    fn send(worker: &OwnedFd, packet: &[u8]) {
        descriptors::send(worker, packet, &[]).unwrap();
    }

    fn hear(link: &mut Link) -> Result<Heard, LinkError> {
        link.hear(&mut vec![0; BUFFER_BYTES], true)
    }

    /// What the worker has taken up to the end.
    fn end(mut link: Link) -> Vec<ConnectionId> {
        link.shut_down();
        let mut taken = Vec::new();
        loop {
            match hear(&mut link) {
                Ok(Heard::Said(FromWorker::Took(id))) => taken.push(id),
                Ok(Heard::Nothing | Heard::End) | Err(LinkError::Io(_)) => return taken,
                _ => {}
            }
        }
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
        assert_eq!(end(link), [id(1), id(2), id(4)]);
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
            link.flush(|_| Some((descriptor.as_fd(), None))).unwrap();
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
        assert!(matches!(hear(&mut link), Ok(Heard::Said(FromWorker::Took(_)))));
        send(&worker, b"took 2");
        assert!(matches!(hear(&mut link), Ok(Heard::Said(FromWorker::Took(_)))));
        assert!(matches!(hear(&mut link), Ok(Heard::End)));
        send(&worker, b"took 3");
        assert_eq!(end(link), [id(3)]);
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
    fn nobody_is_waited_for_who_comes_with_something_else_than_it_should() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut link, worker) = Link::pair().unwrap();
        for packet in [&b"took 1"[..], b"nonsense", b"back 1 "] {
            set_socket_linger(&client, Some(Duration::from_secs(5))).unwrap();
            descriptors::send(&worker, packet, &[client.as_fd(), client.as_fd()]).unwrap();
            assert!(hear(&mut link).is_err());
            assert_eq!(socket_linger(&client), Ok(None));
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_malformed() {
        let (mut link, worker) = Link::pair().unwrap();
        send(&worker, "took 1".repeat(100).as_bytes());
        assert!(matches!(hear(&mut link), Err(LinkError::Malformed(_))));
    }

    fn gave_back(heard: Result<Heard, LinkError>) -> (ConnectionId, Parcel) {
        match heard {
            Ok(Heard::GaveBack(id, parcel)) => (id, parcel),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_comes_back_with_its_state_and_is_found_after_the_end_too() {
        let (mut link, worker) = Link::pair().unwrap();
        let states = [&b""[..], b"\nAda\0\xff", &[b'x'; STATE_BYTES_MAX]];
        for state in states {
            let packet = FromWorker::Back(id(7)).packet(Some(state));
            descriptors::send(&worker, &packet, &[worker.as_fd()]).unwrap();
            let (which, parcel) = gave_back(hear(&mut link));
            assert_eq!((which, &*parcel.state), (id(7), state));
        }
        descriptors::send(&worker, b"back 8\nlate", &[worker.as_fd()]).unwrap();
        drop(worker);
        link.shut_down();
        assert_eq!(&*gave_back(hear(&mut link)).1.state, b"late");
        assert!(matches!(hear(&mut link), Ok(Heard::End)));
    }

    #[test]
    fn what_may_not_be_received_stays_in_the_socket_with_its_descriptor() {
        let (mut link, worker) = Link::pair().unwrap();
        send(&worker, b"took 1");
        descriptors::send(&worker, b"back 7\nstate", &[worker.as_fd()]).unwrap();
        let mut buffer = vec![0; BUFFER_BYTES];
        assert!(matches!(link.hear(&mut buffer, false), Ok(Heard::Said(FromWorker::Took(_)))));
        assert!(matches!(link.hear(&mut buffer, false), Ok(Heard::Waits)));
        link.shut_down();
        assert!(matches!(link.hear(&mut buffer, false), Ok(Heard::Waits)));
        gave_back(link.hear(&mut buffer, true));
        assert!(matches!(link.hear(&mut buffer, false), Ok(Heard::End)));
    }

    #[test]
    fn each_word_comes_with_as_many_descriptors_as_it_should_or_its_worker_is_wrong() {
        for (packet, descriptors, said) in [
            (&b"back 7\n"[..], 0, "it sent 0 descriptors with a word, 1 are expected"),
            (b"back 7\n", 2, "it sent 2 descriptors with a word, 1 are expected"),
            (b"done 7", 1, "it sent 1 descriptors with a word, 0 are expected"),
            (b"back 7", 1, "no state follows \"back 7\""),
        ] {
            let (mut link, worker) = Link::pair().unwrap();
            let (here, there) = Link::pair().unwrap();
            descriptors::send(&worker, packet, &vec![there.as_fd(); descriptors]).unwrap();
            drop(there);
            assert_eq!(hear(&mut link).unwrap_err().to_string(), said);
            // Whatever came is closed.
            let mut here = here;
            assert!(matches!(hear(&mut here), Ok(Heard::End)), "{said}");
        }
    }

    #[test]
    fn a_state_goes_with_its_connection_and_large_ones_wait_until_there_is_room() {
        const COUNT: u64 = 40;
        let (mut link, worker) = Link::pair().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        for number in 1..=COUNT {
            link.say(FromSupervisor::Connection { id: id(number), peer: address, local: address });
        }
        let (descriptor, state) = (worker.try_clone().unwrap(), vec![b'x'; STATE_BYTES_MAX]);
        assert_eq!(link.flush(|_| Some((descriptor.as_fd(), Some(&state)))), Ok(Flushed::Full));
        let mut buffer = vec![0; BUFFER_BYTES];
        for number in 1..=COUNT {
            let packet = descriptors::receive(&worker, &mut buffer, Some(&mut Vec::new())).unwrap();
            let said = FromSupervisor::parse(&buffer[..packet.bytes]).unwrap().unwrap();
            assert_eq!(said.1.map(<[u8]>::len), Some(STATE_BYTES_MAX));
            assert!(matches!(said.0, FromSupervisor::Connection { id: which, .. } if which == id(number)));
            link.flush(|_| Some((descriptor.as_fd(), Some(&state)))).unwrap();
        }
    }
}
