//! How far a connection has come, as the kernel knows it, whichever process has read and written.
//!
//! What has been read is what has arrived less what is unread, what has been written is what is acknowledged and what is not
//! yet. The end of the output counts as a byte that is written, that of the client's is none that is read; an urgent byte counts as
//! read when what is behind it is read. So the two sums move when, and only when, somebody reads or writes or ends the output. They begin somewhere, and are worth something only beside what they
//! were before.
//!
//! The kernel tells both in one answer (sock_diag(7)), but not in one instant: bytes may arrive in between. So the counters
//! are read a second time by the other way (`TCP_INFO`), and an answer between two that say the same is of one instant.
//! It takes about 10 us to ask so about one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use rustc_hash::FxHashSet;
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::socket_cookie;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, getpeername, getsockname, recv, sendto, socket_with,
};

use crate::peer::count::{Count, Sight};
use crate::peer::delivery::{Counters, STATE_CLOSED, STATE_CONNECTING};

/// How often an answer is asked for until it is of one instant. Whoever sends that fast is in doubt.
const TRIES_MAX: usize = 100;

/// The kind of a question, and of the answer to it (`linux/sock_diag.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// The kinds of what ends an answer of several messages.
const DONE: u16 = 3;
const FAILED: u16 = 2;

/// `NLM_F_REQUEST`, alone and with `NLM_F_DUMP`.
const IS_REQUEST: u16 = 1;
const IS_REQUEST_FOR_ALL: u16 = IS_REQUEST | 0x300;

const PROTOCOL_TCP: u8 = 6;

/// `1 << (INET_DIAG_INFO - 1)`: with what `TCP_INFO` tells.
const WITH_TCP_INFO: u8 = 1 << 1;

/// `INET_DIAG_INFO`.
const TCP_INFO_ATTRIBUTE: u16 = 2;

/// The length of `struct nlmsghdr`, and with it that of `struct inet_diag_req_v2` and of `struct inet_diag_msg`.
const HEADER_BYTES: usize = 16;
const QUESTION_BYTES: usize = HEADER_BYTES + 56;
const ANSWER_BYTES: usize = HEADER_BYTES + 72;

/// `TCP_CLOSE_WAIT`, `TCP_LAST_ACK`, `TCP_CLOSING`: the client has ended its output.
const STATES_AFTER_END: [u8; 3] = [8, 9, 11];

/// `TCP_LISTEN`.
const STATE_LISTENS: u32 = 1 << 10;

/// Where a message has its number, and an answer the cookie of the connection.
const NUMBER: Range<usize> = 8..12;
const COOKIE: usize = HEADER_BYTES + 44;

/// An answer with all its attributes takes less, and so does a part of one about many.
const BUFFER_BYTES: usize = 4096;
const LISTENERS_BUFFER_BYTES: usize = 64 * 1024;

/// Where the kernel is asked.
#[derive(Debug)]
pub(crate) struct Counting {
    netlink: OwnedFd,
    /// The number of the last question: an answer that nobody waited for is not taken for one to another.
    asked: u32,
}

impl Counting {
    /// # Errors
    /// If this process cannot ask.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
        Ok(Self { netlink, asked: 0 })
    }

    /// Looks at a connection. What is not TCP has no counters.
    pub(crate) fn look(&mut self, socket: impl AsFd) -> Sight {
        // The device that the socket is bound to, when it was looked for.
        let mut device = None;
        for _ in 0..TRIES_MAX {
            let Some(before) = Counters::of(&socket) else { return Sight::Unknown };
            match before.state {
                STATE_CLOSED => return Sight::Over,
                STATE_CONNECTING => return Sight::Unknown,
                _ => {}
            }
            match Question::about(&socket).map(|question| self.ask(question.on(device))) {
                Some(Ok(Some(answer))) if answer.counters == before => return Sight::Stands(answer.count()),
                // It has gone on since: another look tells.
                Some(Ok(Some(_))) => {}
                // It is over by now, or bound to a device; if not, the kernel does not tell of it here.
                Some(Ok(None)) if device.is_none() => device = Some(device_of(&socket)),
                Some(Ok(None) | Err(_)) | None => return Sight::Unknown,
            }
        }
        Sight::Unknown
    }

    /// Whether the kernel tells of this listener here: otherwise it does not tell of those who are accepted there, either.
    pub(crate) fn sees(&mut self, listener: impl AsFd, at: SocketAddr) -> io::Result<bool> {
        Ok(self.ask_about_listeners(at)?.contains(&socket_cookie(listener)?))
    }

    /// The cookies of all who listen at the same port as this.
    fn ask_about_listeners(&mut self, at: SocketAddr) -> io::Result<FxHashSet<u64>> {
        let number = self.send(Question::about_listeners(at))?;
        let mut seen = FxHashSet::default();
        let mut buffer = vec![0; LISTENERS_BUFFER_BYTES];
        loop {
            // The kernel writes the next part of its answer when the one before is read.
            let (bytes, _) = retry_on_intr(|| recv(&self.netlink, &mut buffer[..], RecvFlags::DONTWAIT))?;
            for message in messages(&buffer[..bytes]).filter(|message| message[NUMBER] == number) {
                match kind(message) {
                    Some(DONE) => return Ok(seen),
                    Some(FAILED) => return Err(io::Error::other("the kernel refuses to")),
                    _ => seen.extend(Answer::parse(message).map(|answer| answer.cookie)),
                }
            }
        }
    }

    /// `None` if there is no such connection any more.
    fn ask(&mut self, question: Question) -> io::Result<Option<Answer>> {
        let number = self.send(question)?;
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            // The kernel has answered before it returns from the question.
            let (bytes, _) = retry_on_intr(|| recv(&self.netlink, &mut buffer[..], RecvFlags::DONTWAIT))?;
            if buffer[NUMBER] == number {
                return Ok(Answer::parse(&buffer[..bytes]));
            }
        }
    }

    /// Sends a question, and returns the number that its answer has.
    fn send(&mut self, question: Question) -> io::Result<[u8; 4]> {
        self.asked = self.asked.wrapping_add(1);
        let kernel = SocketAddrNetlink::new(0, 0);
        let question = question.encode(self.asked);
        retry_on_intr(|| sendto(&self.netlink, &question, SendFlags::empty(), &kernel))?;
        Ok(self.asked.to_ne_bytes())
    }
}

/// Whether an urgent byte is still to be passed over (tcp(7)), which the kernel counts as read then.
pub(crate) fn has_urgent(socket: impl AsFd) -> bool {
    events(&socket, PollFlags::POLLPRI).is_some_and(|events| events.contains(PollFlags::POLLPRI))
}

/// What is there now of these events, and of those that are always told. `None` if that is not known.
fn events(socket: &impl AsFd, of_interest: PollFlags) -> Option<PollFlags> {
    let mut looked = [PollFd::new(socket.as_fd(), of_interest)];
    poll(&mut looked, PollTimeout::ZERO).ok()?;
    looked[0].revents()
}

/// How far a connection has come that both sides have ended: what came before that may still be there, and nothing more comes. `None` if it
/// came to another end.
pub(crate) fn count_of_ended(socket: impl AsFd) -> Option<Count> {
    let counters = Counters::of(&socket)?;
    // That is said of one that was reset. And before an urgent byte the kernel does not tell how much is behind it.
    let is_doubtful = events(&socket, PollFlags::POLLPRI)?.intersects(PollFlags::POLLERR | PollFlags::POLLPRI);
    if counters.state != STATE_CLOSED || is_doubtful {
        return None;
    }
    // The end of what the client has sent has come, and is not among what is unread, as this counts it.
    let read = counters.received_bytes.checked_sub(1)?.checked_sub(ioctl_fionread(&socket).ok()?)?;
    // All that was written is acknowledged, and that it was ended.
    Some(Count { read, written: counters.acknowledged_bytes })
}

/// What the kernel is asked.
#[derive(Clone, Copy, Debug)]
struct Question {
    flags: u16,
    states: u32,
    ours: SocketAddr,
    theirs: SocketAddr,
    /// The number of a network device, or 0.
    device: u32,
    cookie: u64,
}

impl Question {
    /// About this connection and no other. `None` if it is no TCP connection.
    fn about(socket: &impl AsFd) -> Option<Self> {
        let ours: SocketAddr = getsockname(socket).ok()?.try_into().ok()?;
        let theirs = getpeername(socket).ok()??.try_into().ok()?;
        let device = if let SocketAddr::V6(ours) = ours { ours.scope_id() } else { 0 };
        Some(Self { flags: IS_REQUEST, states: u32::MAX, ours, theirs, device, cookie: socket_cookie(socket).ok()? })
    }

    /// The same about one that is bound to a device, if there is one.
    fn on(self, device: Option<u32>) -> Self {
        Self { device: device.filter(|device| *device != 0).unwrap_or(self.device), ..self }
    }

    /// About all who listen at our port.
    fn about_listeners(ours: SocketAddr) -> Self {
        // Any port, of any address.
        let theirs = SocketAddr::new(ours.ip(), 0);
        Self { flags: IS_REQUEST_FOR_ALL, states: STATE_LISTENS, ours, theirs, device: 0, cookie: 0 }
    }

    fn encode(self, number: u32) -> Vec<u8> {
        let Self { flags, states, ours, theirs, device, cookie } = self;
        let mut message = Vec::with_capacity(QUESTION_BYTES);
        message.extend(u32::try_from(QUESTION_BYTES).expect("it is short").to_ne_bytes());
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(number.to_ne_bytes());
        message.extend([0; 4]);
        let family = if ours.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        message.extend([u8::try_from(family.as_raw()).expect("it is small"), PROTOCOL_TCP, WITH_TCP_INFO, 0]);
        message.extend(states.to_ne_bytes());
        message.extend(ours.port().to_be_bytes());
        message.extend(theirs.port().to_be_bytes());
        message.extend(octets(ours));
        message.extend(octets(theirs));
        message.extend(device.to_ne_bytes());
        // The lower half comes first, whatever the order of bytes.
        message.extend((cookie as u32).to_ne_bytes());
        message.extend(((cookie >> 32) as u32).to_ne_bytes());
        message
    }
}

/// The number of the network device that a socket is bound to (`SO_BINDTODEVICE`, socket(7)), or 0.
fn device_of(socket: &impl AsFd) -> u32 {
    let name = getsockopt(socket, BindToDevice).unwrap_or_default();
    if name.is_empty() { 0 } else { if_nametoindex(name.as_os_str()).unwrap_or(0) }
}

/// An IP address as the kernel has it.
fn octets(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
    }
}

/// The messages of an answer. What is not as expected ends them.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER_BYTES)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?))
}

/// What the kernel says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    cookie: u64,
    unread_bytes: u32,
    unacknowledged_bytes: u32,
    counters: Counters,
}

impl Answer {
    /// `None` if it is an error, or not as expected.
    fn parse(message: &[u8]) -> Option<Self> {
        if kind(message)? != SOCK_DIAG_BY_FAMILY {
            return None;
        }
        let number = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
        let cookie = u64::from(number(COOKIE)?) | u64::from(number(COOKIE + 4)?) << 32;
        let (unread_bytes, unacknowledged_bytes) = (number(HEADER_BYTES + 56)?, number(HEADER_BYTES + 60)?);
        let mut attributes = message.get(ANSWER_BYTES..)?;
        loop {
            let (header, _) = attributes.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
            let attribute = attributes.get(4..length)?;
            if u16::from_ne_bytes([header[2], header[3]]) == TCP_INFO_ATTRIBUTE {
                let counters = Counters::parse(attribute)?;
                return Some(Self { cookie, unread_bytes, unacknowledged_bytes, counters });
            }
            attributes = attributes.get(length.next_multiple_of(4)..)?;
        }
    }

    fn count(&self) -> Count {
        let Counters { received_bytes, acknowledged_bytes, .. } = self.counters;
        // The end of what the client sends is read with the last byte before it, or in a read of its own.
        let end_was_read = self.unread_bytes == 0 && STATES_AFTER_END.contains(&self.counters.state);
        Count {
            read: received_bytes.wrapping_sub(u64::from(self.unread_bytes) + u64::from(end_was_read)),
            written: acknowledged_bytes.wrapping_add(self.unacknowledged_bytes.into()),
        }
    }
}

#[cfg(test)]
mod tests;
