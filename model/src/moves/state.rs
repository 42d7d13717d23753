//! The processes, their peers, and the moves between them: all that can differ between two moments.

use crate::channel::{Channel, Pid, Side};
use crate::record::Record;

/// Process 0 has all peers at the start. Process 1 has none; it may wait for some, and may give them back.
pub const PROCESSES: usize = 2;

/// Peer 0 is alone. Peers 1 and 2 may be joined. The service of peer 3 is not `MOVABLE`.
pub const PEERS: usize = 4;
/// The two that may be joined.
pub const PAIR: [usize; 2] = [1, 2];
/// The one that must stay.
pub const UNMOVABLE: usize = 3;

/// How many batches there are in a run of this model.
pub const BATCHES_MAX: u8 = 2;

/// The giver's end of a channel.
pub const GIVER: Side = Side::Predecessor;
/// The taker's.
pub const TAKER: Side = Side::Successor;

/// For each peer what is known of it, or nothing.
pub type Records = [Option<Record>; PEERS];
/// Some of the peers.
pub type Peers = [bool; PEERS];

/// Everything that matters of a machine with clients and two servers that move them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The processes, by pid.
    pub processes: [Process; PROCESSES],
    /// The channels, by the giver's pid: on the first, the taker has called, and waits to be given peers; on the second,
    /// the giver calls a server and asks it to take them.
    pub channels: [Channel<Frame>; PROCESSES],
    /// The peers, as their clients see them.
    pub peers: [Peer; PEERS],
    /// Whether the pair is joined.
    pub joined: bool,
    /// So many batches have begun.
    pub begun: u8,
    /// So many have been accepted.
    pub accepted: u8,
    /// Somebody has asked one of the processes for a takeover.
    pub takeover_asked: bool,
    /// Whether anything has befallen anybody: a kill, a stop, a failure, a mistake, the end of a wait by its deadline, or a
    /// takeover in the middle of a move.
    pub disturbed: bool,
    /// The taker has said something unasked.
    pub garbled: bool,
    /// A batch has failed before anything had befallen anybody.
    pub failed_for_nothing: bool,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// So many bytes has the client sent.
    pub sent: u8,
    /// Those that were handled, in order.
    pub record: Record,
    /// Who owns it: whoever serves it from the start, and from then on whoever sends Accept and is not told `EPIPE`.
    /// Nobody if that process was killed.
    pub owner: Option<Pid>,
    /// shutdown(2) was called on its socket.
    pub hung_up: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it runs.
    pub life: Life,
    /// `table.rs`: those that it serves.
    pub table: [Option<Held>; PEERS],
    /// Those that it has frozen: in its table, and out of reach.
    pub frozen: Records,
    /// Those that it has adopted, and does not own yet: the same.
    pub book: Records,
    /// Its end of the channel on which it gives.
    pub giving: Giving,
    /// Its end of the channel on which it takes.
    pub taking: Taking,
    /// A successor waits to take over from it.
    pub asked: bool,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Life {
    Running,
    Stopped,
    Killed,
}

/// A peer that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// What has been said as this process knows: the peer's buffers and session.
    pub record: Record,
    /// Whether there is a reason to look at it, an event or a turn.
    pub turn: bool,
}

/// Where a giver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Giving {
    /// It has no channel.
    Closed,
    /// Wait is awaited: of a taker that has called or has got a batch; or, with these to be given then, of a server that was
    /// called.
    Called(Option<Peers>),
    /// Wait is heard: the taker is ready for a batch.
    Queued,
    /// A batch is under way.
    Batch(Batch),
}

/// A batch, as its giver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Those that were asked for.
    pub wanted: Peers,
    /// `Mirror`: what the taker knows of each.
    pub mirror: Records,
    /// Commit is in the channel.
    pub committed: bool,
    /// How far it has come.
    pub step: GiverStep,
}

/// The steps of a batch, in their order. From `SendFinal` on they are those of `drive::Drive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum GiverStep {
    Welcome,
    Sending,
    RoundSent,
    // From here on its peers are frozen.
    SendFinal,
    SendCommit,
    WaitForAccept,
    Shutdown,
    Look,
    Thaw,
}

/// Where a taker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taking {
    /// It has no channel.
    Closed,
    /// Wait is to be said: it has called, or was called, or has said Serving.
    Called,
    /// Wait is said.
    Waiting,
    /// Welcome is heard.
    Receiving {
        /// A round has ended that may be the last one.
        round: bool,
        /// Ready is to be said.
        answer: bool,
    },
    /// Commit is verified, Accept is not sent.
    Accept,
    /// Accept is in the channel, Serving is not.
    Accepted,
}

/// What giver and taker say to each other: `wire::Frame`, as far as it decides about ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Frame {
    Wait,
    Refuse,
    Welcome,
    Peers(Records),
    Round,
    Ready,
    /// What has become of each peer since the taker was told of it.
    Changed(Records),
    Commit {
        digest: Records,
    },
    Accept,
    Serving,
}

/// What is known when these are told, too.
pub(crate) fn known_with(known: Records, told: Records) -> Records {
    std::array::from_fn(|peer| told[peer].or(known[peer]))
}

/// What is known when these changes are told.
pub(crate) fn changed(known: Records, changes: Records) -> Records {
    std::array::from_fn(|peer| known[peer].map(|record| record.changed(changes[peer].unwrap_or_default())))
}

/// The other process.
pub(crate) fn other(pid: Pid) -> Pid {
    1 - pid
}

/// The channel on which this process gives, or takes: channels have the giver's number.
pub(crate) fn channel_of(pid: Pid, side: Side) -> Pid {
    if side == GIVER { pid } else { other(pid) }
}

/// Whether the taker on a channel is a server that the giver has called, rather than a process that waits.
pub(crate) fn is_called_by_giver(channel: Pid) -> bool {
    channel == 1
}

impl GiverStep {
    pub(crate) fn is_frozen(self) -> bool {
        self >= Self::SendFinal
    }
}

impl Giving {
    pub(crate) fn batch(self) -> Option<Batch> {
        match self {
            Self::Batch(batch) => Some(batch),
            _ => None,
        }
    }
}

impl Process {
    fn start(table: [Option<Held>; PEERS]) -> Self {
        Self {
            life: Life::Running,
            table,
            frozen: Records::default(),
            book: Records::default(),
            giving: Giving::Closed,
            taking: Taking::Closed,
            asked: false,
        }
    }

    pub(crate) fn lives(&self) -> bool {
        self.life != Life::Killed
    }

    /// Whether a batch is under way from it, or will be when the server has answered that it has called.
    pub(crate) fn gives(&self) -> bool {
        matches!(self.giving, Giving::Batch(_) | Giving::Called(Some(_)))
    }

    /// Whether a batch is under way to it.
    pub(crate) fn takes(&self) -> bool {
        matches!(self.taking, Taking::Receiving { .. } | Taking::Accept)
    }

    /// Whether some of its peers are frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.giving.batch().is_some_and(|batch| batch.step.is_frozen())
    }

    /// Whether it serves the peer, or will as soon as it has the processor.
    pub(crate) fn serves(&self, peer: usize) -> bool {
        self.lives() && self.table[peer].is_some()
    }
}

impl State {
    /// Process 0 serves all peers, and nothing has happened yet.
    pub(crate) fn start() -> Self {
        let held = Held { record: Record::default(), turn: false };
        let peer = Peer { sent: 0, record: Record::default(), owner: Some(0), hung_up: false };
        Self {
            processes: [Process::start([Some(held); PEERS]), Process::start([None; PEERS])],
            channels: [Channel::unconnected(), Channel::unconnected()],
            peers: [peer; PEERS],
            joined: false,
            begun: 0,
            accepted: 0,
            takeover_asked: false,
            disturbed: false,
            garbled: false,
            failed_for_nothing: false,
        }
    }

    /// Bytes that nobody has read yet.
    pub(crate) fn unread(&self, peer: usize) -> u8 {
        self.peers[peer].sent - self.peers[peer].record.events()
    }

    /// Somebody connects to somebody else, to take or to give.
    pub(crate) fn connect(&mut self, channel: Pid, giving: Giving) {
        self.channels[channel] = Channel::unconnected();
        self.channels[channel].connect();
        self.channels[channel].accept(channel);
        self.processes[channel].giving = giving;
        self.processes[other(channel)].taking = Taking::Called;
    }

    /// The giver's end is closed.
    pub(crate) fn close_giving(&mut self, pid: Pid) {
        self.channels[pid].close(GIVER);
        self.processes[pid].giving = Giving::Closed;
    }

    /// The taker's end is closed, and with it the descriptors that it has adopted.
    pub(crate) fn close_taking(&mut self, pid: Pid) {
        self.channels[channel_of(pid, TAKER)].close(TAKER);
        self.processes[pid].taking = Taking::Closed;
        self.processes[pid].book = Records::default();
    }

    /// The process is dead: the kernel closes what it held.
    pub(crate) fn kill(&mut self, pid: Pid) {
        self.close_giving(pid);
        self.close_taking(pid);
        for peer in self.peers.iter_mut().filter(|peer| peer.owner == Some(pid)) {
            *peer = Peer { sent: 0, record: Record::default(), owner: None, hung_up: false };
        }
        let process = &mut self.processes[pid];
        process.life = Life::Killed;
        process.asked = false;
        process.table = [None; PEERS];
        process.frozen = Records::default();
    }

    /// Takes away differences that nobody could notice.
    pub(crate) fn tidy(&mut self) {
        for (channel, giver) in self.channels.iter_mut().zip(self.processes.iter().map(|process| process.giving)) {
            let unused = giver == Giving::Closed;
            if unused && !channel.is_open_at(TAKER) {
                *channel = Channel::unconnected();
            }
        }
        for peer in 0..PEERS {
            let unread = self.unread(peer) > 0;
            for process in &mut self.processes {
                if let Some(held) = &mut process.table[peer] {
                    held.turn &= unread;
                }
            }
        }
    }
}
