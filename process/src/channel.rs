//! A channel between two processes: frames and descriptors over one Unix stream socket (SCM_RIGHTS, unix(7)).
//!
//! It knows how bytes travel, not what they say. Descriptors are `BorrowedFd` on the way out and `OwnedFd` on the way
//! in; no raw descriptor is seen anywhere.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use log::debug;
use mio::net::UnixStream;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::SendFlags;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};

use crate::descriptors::{self, SCM_MAX_FD, retry_interrupted};
use crate::frame::{RawFrame, WireError};
use crate::memory::{self, Shortage};
use crate::wiped::Wiped;

/// What a frame to the predecessor may hold at most: everything a successor has to say is small, and anybody may
/// call.
pub const TO_PREDECESSOR_BYTES_MAX: u32 = 64 * 1024;

/// What a frame to the successor may hold at most. A batch is cut long before; this is for a session, which is not cut.
pub const TO_SUCCESSOR_BYTES_MAX: u32 = 64 << 20;

/// Descriptors that go with one frame. The kernel allows 253 in a message (`SCM_MAX_FD`, unix(7)); more is `EINVAL`.
pub const DESCRIPTORS_PER_FRAME_MAX: usize = 250;

const _: () = assert!(DESCRIPTORS_PER_FRAME_MAX <= SCM_MAX_FD);

/// What one call receives at most.
const RECEIVE_BYTES: usize = 64 * 1024;

/// How long to wait before descriptors are sent again that the kernel has just refused with `ETOOMANYREFS`: nothing
/// tells when those in flight have been received.
pub const TOO_MANY_IN_FLIGHT_RETRY: Duration = Duration::from_millis(1);

/// What the kernel counts against the room in a channel besides bytes that are sent, for two messages.
const SEND_BUFFER_SPARE: usize = 16 * 1024;

/// Why the channel is of no use any more.
#[derive(Debug)]
pub enum ChannelError {
    /// The other side closed it, or died.
    Closed,
    /// The other side said nothing, or took nothing, for too long.
    Silent {
        /// For how long it was waited for.
        waited: Duration,
    },
    /// What arrived is not a frame.
    Wire(WireError),
    /// Descriptors were lost on the way (`MSG_CTRUNC`): this process has reached its limit of open files.
    DescriptorsLost,
    /// Fewer descriptors arrived than the frame speaks of.
    DescriptorsMissing {
        /// As the frame says.
        announced: usize,
        /// As they came.
        arrived: usize,
    },
    /// The kernel has refused to send descriptors for too long: this user has too many of them on their way
    /// (`ETOOMANYREFS`, unix(7)).
    TooManyInFlight {
        /// For how long it was tried.
        waited: Duration,
    },
    /// There is no memory for what comes or goes.
    Memory(Shortage),
    /// A system call failed.
    Io(io::Error),
}

impl std::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => write!(f, "the other side closed the channel"),
            Self::Silent { waited } => write!(f, "the other side was silent for {} ms", waited.as_millis()),
            Self::Wire(error) => error.fmt(f),
            Self::DescriptorsLost => write!(f, "descriptors were lost: the limit of open files is reached"),
            Self::DescriptorsMissing { announced, arrived } => {
                write!(f, "{announced} descriptors announced, {arrived} arrived")
            }
            Self::TooManyInFlight { waited } => write!(
                f,
                "no descriptor could be sent for {} ms: this user has more of them on their way to other processes than \
                 it may open files (ETOOMANYREFS)",
                waited.as_millis()
            ),
            Self::Memory(shortage) => shortage.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // It is what is displayed, so the source is what that one has.
            Self::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Shortage> for ChannelError {
    fn from(shortage: Shortage) -> Self {
        Self::Memory(shortage)
    }
}

impl From<WireError> for ChannelError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<rustix::io::Errno> for ChannelError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            errno => Self::Io(errno.into()),
        }
    }
}

/// What became of a frame that was to be sent without waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the channel, or the rest of it is kept here and goes first.
    Taken,
    /// Nothing of it was sent, because the channel is full: writability comes next.
    Full,
    /// Nothing of it was sent, because too many descriptors are in flight (`ETOOMANYREFS`): no event will tell.
    TooManyInFlight,
}

/// One end of a takeover channel. Never blocks, save in the calls that take a deadline.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    /// Where one call receives; what it received moves on to `received`.
    buffer: Wiped,
    received: Wiped,
    /// Descriptors in the order of their arrival, which is never after the first byte of their frame. `None`: this
    /// end takes no descriptors, and the kernel discards what a stranger sends along.
    descriptors: Option<VecDeque<OwnedFd>>,
    frame_bytes_max: u32,
    /// The rest of a frame whose descriptors are gone already, and what comes after it.
    unsent: Wiped,
    /// How much of that has been sent by now. It goes with the rest: to move the rest to the front each time would take longer
    /// than to send it.
    flushed: usize,
}

impl Channel {
    /// Both ends of a channel between two loops of one process, the predecessor's first.
    ///
    /// # Panics
    /// If the process may open no more files, or has no memory.
    pub fn pair() -> (Self, Self) {
        let (ours, theirs) = UnixStream::pair().expect("a process may have two more files open");
        let there_is_memory = "what a channel begins with is little";
        (Self::of_predecessor(ours).expect(there_is_memory), Self::of_successor(theirs).expect(there_is_memory))
    }

    /// The end that the predecessor holds.
    ///
    /// # Errors
    /// If there is no memory for it: whoever calls must not bring down a server that has none left.
    pub fn of_predecessor(socket: UnixStream) -> Result<Self, ChannelError> {
        Self::new(socket, None, TO_PREDECESSOR_BYTES_MAX)
    }

    /// The end that the successor holds.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn of_successor(socket: UnixStream) -> Result<Self, ChannelError> {
        Self::new(socket, Some(VecDeque::new()), TO_SUCCESSOR_BYTES_MAX)
    }

    fn new(
        socket: UnixStream,
        descriptors: Option<VecDeque<OwnedFd>>,
        frame_bytes_max: u32,
    ) -> Result<Self, ChannelError> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(RECEIVE_BYTES).map_err(|_| Shortage { bytes: RECEIVE_BYTES })?;
        buffer.resize(RECEIVE_BYTES, 0);
        let (buffer, received, unsent) = (Wiped::from(buffer), Wiped::default(), Wiped::default());
        Ok(Self { socket, buffer, received, descriptors, frame_bytes_max, unsent, flushed: 0 })
    }

    /// Secrets come or go from here on: what is left of them in this process is wiped.
    pub fn hold_secrets(&mut self) {
        [&mut self.buffer, &mut self.received, &mut self.unsent].into_iter().for_each(Wiped::hold_secrets);
    }

    /// Whether there may be secrets in what is sent and received.
    #[must_use]
    pub fn holds_secrets(&self) -> bool {
        self.received.holds_secrets()
    }

    /// The socket, for the loop to register.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.socket
    }

    /// The next frame, or `None` if it has not arrived yet.
    ///
    /// # Errors
    /// When no frame can come any more. What had arrived whole before is delivered first.
    pub fn receive(&mut self) -> Result<Option<RawFrame>, ChannelError> {
        let mut without_bound = usize::MAX;
        self.receive_within(&mut without_bound)
    }

    /// The same for a loop that serves others meanwhile: no more is received than so many bytes and a little, and taken off
    /// them. With none left, there may be more that no event will tell of.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_within(&mut self, bytes_left: &mut usize) -> Result<Option<RawFrame>, ChannelError> {
        loop {
            if let Some(frame) = RawFrame::take_wiped(&mut self.received, self.frame_bytes_max)? {
                return Ok(Some(frame));
            }
            if *bytes_left == 0 {
                return Ok(None);
            }
            match self.receive_bytes() {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(bytes) => *bytes_left = bytes_left.saturating_sub(bytes),
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives once, without waiting. 0 is the end.
    fn receive_bytes(&mut self) -> Result<usize, ChannelError> {
        let message = descriptors::receive(&self.socket, self.buffer.as_mut_slice(), self.descriptors.as_mut())?;
        append(&mut self.received, &self.buffer[..message.bytes])?;
        if self.received.len() > RECEIVE_BYTES {
            // A frame that is whole moves out of here.
            memory::spare(self.received.len())?;
        }
        if message.descriptors_lost && self.descriptors.is_some() {
            return Err(ChannelError::DescriptorsLost);
        }
        Ok(message.bytes)
    }

    /// The descriptors that came with the frame received last.
    ///
    /// # Errors
    /// If there are fewer than `announced`.
    pub fn take_descriptors(&mut self, announced: usize) -> Result<Vec<OwnedFd>, ChannelError> {
        let queue = self.descriptors.as_mut();
        let arrived = queue.as_ref().map_or(0, |queue| queue.len());
        match queue {
            Some(queue) if arrived >= announced => Ok(queue.drain(..announced).collect()),
            _ => Err(ChannelError::DescriptorsMissing { announced, arrived }),
        }
    }

    /// How many descriptors have come that no frame has spoken of.
    pub fn descriptors_left(&self) -> usize {
        self.descriptors.as_ref().map_or(0, VecDeque::len)
    }

    /// Sends a frame with its descriptors, without waiting. Either all descriptors go, or nothing is sent.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    ///
    /// # Panics
    /// If there are more than [`DESCRIPTORS_PER_FRAME_MAX`] descriptors.
    pub fn try_send(&mut self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<Sent, ChannelError> {
        assert!(descriptors.len() <= DESCRIPTORS_PER_FRAME_MAX, "a batch is cut to what one message carries");
        if !self.flush()? {
            return Ok(Sent::Full);
        }
        match descriptors::send(&self.socket, frame, descriptors) {
            Ok(bytes) => {
                append(&mut self.unsent, &frame[bytes..])?;
                Ok(Sent::Taken)
            }
            Err(rustix::io::Errno::AGAIN) => Ok(Sent::Full),
            Err(rustix::io::Errno::TOOMANYREFS) => Ok(Sent::TooManyInFlight),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends a frame without descriptors, and keeps here what there is no room for: it goes before whatever is sent next, and
    /// when the channel is [flushed](Self::flush). What is kept is bounded by whoever sends.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    pub fn post(&mut self, frame: &[u8]) -> Result<(), ChannelError> {
        match self.try_send(frame, &[])? {
            Sent::Taken => Ok(()),
            Sent::Full | Sent::TooManyInFlight => append(&mut self.unsent, frame),
        }
    }

    /// The same end, to which descriptors come from now on, with frames as large as a successor gets.
    pub fn into_successor(self) -> Self {
        Self { descriptors: Some(VecDeque::new()), frame_bytes_max: TO_SUCCESSOR_BYTES_MAX, ..self }
    }

    /// Sends what is left of the last frame. True if nothing is left.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        while self.flushed < self.unsent.len() {
            let left = &self.unsent[self.flushed..];
            let sent =
                retry_interrupted(|| rustix::net::send(&self.socket, left, SendFlags::NOSIGNAL | SendFlags::DONTWAIT));
            match sent {
                Ok(bytes) => self.flushed += bytes,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        // What large frames needed is given back.
        self.unsent.give_back();
        self.flushed = 0;
        Ok(true)
    }

    /// Waits for the next frame.
    pub fn receive_by(&mut self, deadline: Deadline) -> Result<RawFrame, ChannelError> {
        loop {
            let verdict = deadline.check();
            if let Some(frame) = self.receive()? {
                return Ok(frame);
            }
            verdict?;
            deadline.wait(self.socket.as_fd(), PollFlags::POLLIN)?;
        }
    }

    /// Waits until a frame may be there, or something to read from `other`, up to a deadline that it does not judge.
    pub fn wait_beside(&self, other: BorrowedFd<'_>, deadline: Deadline) -> Result<(), ChannelError> {
        let awaited = [self.socket.as_fd(), other].map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        deadline.wait_for_any(awaited)
    }

    /// Sends a whole frame with its descriptors, and waits until the channel has taken it.
    pub fn send_by(
        &mut self,
        frame: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), ChannelError> {
        loop {
            let verdict = deadline.check();
            match self.try_send(frame, descriptors)? {
                Sent::Taken => break,
                Sent::Full => {
                    verdict?;
                    deadline.wait(self.socket.as_fd(), PollFlags::POLLOUT)?;
                }
                Sent::TooManyInFlight => {
                    verdict.map_err(|_| ChannelError::TooManyInFlight { waited: deadline.patience })?;
                    std::thread::sleep(TOO_MANY_IN_FLIGHT_RETRY);
                }
            }
        }
        loop {
            let verdict = deadline.check();
            if self.flush()? {
                return Ok(());
            }
            verdict?;
            deadline.wait(self.socket.as_fd(), PollFlags::POLLOUT)?;
        }
    }

    /// Sends a last frame, as far as the other side still listens, and does not wait for that.
    pub fn send_last(&mut self, frame: &[u8]) {
        // What the other side has not taken yet may fill the channel, and part of a frame comes before the last one.
        // Nothing is sent after this, so the channel need not stay as small as it is. Where it does, nothing is said.
        let room = self.unsent.len() - self.flushed + frame.len() + SEND_BUFFER_SPARE;
        let widened = socket_send_buffer_size(&self.socket)
            .and_then(|bytes| set_socket_send_buffer_size(&self.socket, bytes + room));
        match widened.map_err(ChannelError::from).and_then(|()| self.try_send(frame, &[])) {
            Ok(Sent::Taken) if self.unsent.is_empty() => {}
            Ok(_) => debug!("A last word did not reach the other side: the channel is full"),
            Err(error) => debug!("A last word did not reach the other side: {error}"),
        }
    }

    /// Closes the channel with a last frame.
    pub fn close_with(mut self, frame: &[u8]) {
        self.send_last(frame);
    }

    /// Ends the channel for both sides: what the other side sends from now on fails with `EPIPE`, what it sent before
    /// can still be [received](Self::receive). The kernel orders the two under one lock.
    pub fn shutdown(&self) {
        // The only error is ENOTCONN, and then the channel has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The socket, for whoever goes on with this end.
impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// # Errors
/// If there is no memory for it: that ends the takeover, and not the process that serves.
fn append(buffer: &mut Wiped, bytes: &[u8]) -> Result<(), ChannelError> {
    buffer.try_append(bytes).map_err(|_| Shortage { bytes: bytes.len() })?;
    Ok(())
}

/// An instant up to which a call may wait.
///
/// It is judged by the clock as it was *before* the last look at the channel: whoever was stopped or starved itself finds
/// that the instant has passed, and in the channel what came in time.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    from: Instant,
    patience: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(patience: Duration) -> Self {
        Self { from: Instant::now(), patience }
    }

    /// How long it was waited for, once it has passed.
    pub fn passed(self) -> Option<Duration> {
        self.remaining().is_zero().then_some(self.patience)
    }

    /// When it passes.
    pub fn at(self) -> Instant {
        self.from + self.patience
    }

    fn remaining(self) -> Duration {
        self.patience.saturating_sub(self.from.elapsed())
    }

    /// # Errors
    /// If it has passed.
    pub fn check(self) -> Result<(), ChannelError> {
        match self.passed() {
            Some(waited) => Err(ChannelError::Silent { waited }),
            None => Ok(()),
        }
    }

    fn wait(self, descriptor: BorrowedFd<'_>, events: PollFlags) -> Result<(), ChannelError> {
        self.wait_for_any([PollFd::new(descriptor, events)])
    }

    fn wait_for_any<const N: usize>(self, mut awaited: [PollFd<'_>; N]) -> Result<(), ChannelError> {
        // Rounded up: a deadline that is half a millisecond away is waited for, not spun for.
        let timeout = PollTimeout::try_from(self.remaining() + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut awaited, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(ChannelError::Io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests;
