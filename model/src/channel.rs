//! The takeover channel as the kernel keeps it: a Unix stream socket with a queue for each direction (unix(7)).
//!
//! Stands for `src/takeover/channel.rs` and what it calls, for a takeover and for moves. Three facts of the kernel carry the protocol:
//! - what was sent before the end of a channel can be received after it;
//! - a send after a shutdown of that direction, or after the other end is closed, fails with `EPIPE`;
//! - a process that dies closes its ends, and what it had sent stays readable.
//!
//! Each method is one system call that the kernel makes under the socket's lock, so each is one step of the model.

use crate::record::Record;

/// A process, by number.
pub type Pid = usize;

/// What one side can say to the other: `wire::Frame`, as far as it decides about ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Frame {
    Hello,
    Refuse,
    Welcome,
    Listeners,
    Peers(Record),
    /// What has become of the peer since it was told of last.
    Changed(Record),
    Round {
        number: u8,
        last: bool,
    },
    Copied {
        rounds: u8,
    },
    Ready,
    Commit {
        digest: Record,
    },
    Accept,
    Serving,
}

/// One of the two ends. Of a channel for moves, the giver has the predecessor's, the taker the successor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Side {
    Predecessor,
    Successor,
}

/// What a mistake of the sender makes of the changes that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Slip {
    Lost,
    Doubled,
    Reordered,
}

impl Slip {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lost, Self::Doubled, Self::Reordered];
}

/// Who has the predecessor's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody has called yet.
    Unconnected,
    /// The takeover listener: the call has not been accepted yet.
    Backlog,
    /// The process that has accepted the call.
    Process(Pid),
    /// Nobody any more.
    Closed,
}

/// What became of a frame that was sent: `channel::Sent`, or `ChannelError::Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It is in the channel.
    Taken,
    /// `EPIPE`.
    Closed,
}

/// What one call of `Channel::receive` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Received<F = Frame> {
    /// The next frame.
    Frame(F),
    /// End of file: no frame can come any more.
    Closed,
    /// `WouldBlock`.
    NotYet,
}

/// A channel. That of a takeover is named by the successor, which calls once in its life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel<F = Frame> {
    predecessor: Holder,
    successor_open: bool,
    to_predecessor: Queue<F>,
    to_successor: Queue<F>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Queue<F> {
    frames: Vec<F>,
    /// Nothing more can be sent.
    shut: bool,
}

impl<F> Queue<F> {
    fn new() -> Self {
        Self { frames: Vec::new(), shut: false }
    }
}

impl<F: Copy> Channel<F> {
    /// Before the successor calls.
    pub fn unconnected() -> Self {
        Self {
            predecessor: Holder::Unconnected,
            successor_open: false,
            to_predecessor: Queue::new(),
            to_successor: Queue::new(),
        }
    }

    /// connect(2): whoever polls the takeover listener may accept the call.
    pub fn connect(&mut self) {
        self.predecessor = Holder::Backlog;
        self.successor_open = true;
    }

    /// accept(2).
    pub fn accept(&mut self, pid: Pid) {
        self.predecessor = Holder::Process(pid);
    }

    /// Who has the predecessor's end.
    pub fn predecessor(&self) -> Holder {
        self.predecessor
    }

    /// Whether this end is open.
    pub fn is_open_at(&self, side: Side) -> bool {
        match side {
            Side::Predecessor => !matches!(self.predecessor, Holder::Unconnected | Holder::Closed),
            Side::Successor => self.successor_open,
        }
    }

    /// What a send from `from` would lead to.
    pub fn sendable(&self, from: Side) -> Sent {
        let (queue, reader_open) = match from {
            Side::Predecessor => (&self.to_successor, self.successor_open),
            Side::Successor => (&self.to_predecessor, self.predecessor != Holder::Closed),
        };
        if queue.shut || !reader_open { Sent::Closed } else { Sent::Taken }
    }

    /// sendmsg(2). Whether it fails is decided here, at this instant, and by nothing else.
    pub fn send(&mut self, from: Side, frame: F) -> Sent {
        let sent = self.sendable(from);
        if sent == Sent::Taken {
            match from {
                Side::Predecessor => self.to_successor.frames.push(frame),
                Side::Successor => self.to_predecessor.frames.push(frame),
            }
        }
        sent
    }

    /// What recvmsg(2) would return at `at`.
    pub fn receivable(&self, at: Side) -> Received<F> {
        let (queue, writer_open) = match at {
            Side::Predecessor => (&self.to_predecessor, self.successor_open),
            Side::Successor => (&self.to_successor, self.predecessor != Holder::Closed),
        };
        match queue.frames.first() {
            Some(frame) => Received::Frame(*frame),
            None if queue.shut || !writer_open => Received::Closed,
            None => Received::NotYet,
        }
    }

    /// recvmsg(2).
    pub fn receive(&mut self, at: Side) -> Received<F> {
        let received = self.receivable(at);
        if let Received::Frame(_) = received {
            match at {
                Side::Predecessor => self.to_predecessor.frames.remove(0),
                Side::Successor => self.to_successor.frames.remove(0),
            };
        }
        received
    }

    /// shutdown(2) with `SHUT_RDWR`: nothing more can be sent either way; what is queued stays readable.
    pub fn shutdown(&mut self) {
        self.to_predecessor.shut = true;
        self.to_successor.shut = true;
    }

    /// shutdown(2) with `SHUT_WR` at the predecessor's end, which only a mutant calls.
    pub fn shutdown_write(&mut self) {
        self.to_successor.shut = true;
    }

    /// Whether nothing can be sent to the predecessor because it has called for that.
    pub fn is_shut(&self) -> bool {
        self.to_predecessor.shut
    }

    /// close(2), or the process dies: what this end has not read is gone.
    pub fn close(&mut self, side: Side) {
        match side {
            Side::Predecessor => {
                self.predecessor = Holder::Closed;
                self.to_predecessor.frames.clear();
            }
            Side::Successor => {
                self.successor_open = false;
                self.to_successor.frames.clear();
            }
        }
    }

    /// How many frames wait to be received in each direction: to the predecessor, to the successor.
    pub fn queued(&self) -> (usize, usize) {
        (self.to_predecessor.frames.len(), self.to_successor.frames.len())
    }
}

impl Channel {
    /// What a slip would make of what waits for the successor, if it concerns the change that was sent last.
    fn slipped(&self, slip: Slip) -> Option<Vec<Frame>> {
        let mut frames = self.to_successor.frames.clone();
        match (slip, frames.as_slice()) {
            (Slip::Lost, [.., Frame::Changed(_)]) => drop(frames.pop()),
            (Slip::Doubled, [.., last @ Frame::Changed(_)]) => frames.push(*last),
            (Slip::Reordered, [.., Frame::Changed(_), Frame::Changed(_)]) => {
                let end = frames.len();
                frames.swap(end - 2, end - 1);
            }
            _ => return None,
        }
        Some(frames)
    }

    /// Whether there is a change which that could befall.
    pub fn can_slip(&self, slip: Slip) -> bool {
        self.slipped(slip).is_some()
    }

    /// The change that was sent last is lost, comes twice, or comes before the one before it.
    pub fn slip(&mut self, slip: Slip) {
        if let Some(frames) = self.slipped(slip) {
            self.to_successor.frames = frames;
        }
    }

    /// `last_word`: whether the predecessor has said why it leaves, in what the successor has not received yet.
    pub fn has_last_word(&self) -> bool {
        self.to_successor.frames.contains(&Frame::Refuse)
    }
}
