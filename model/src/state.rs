//! The processes, the takeovers and the peer: all that can differ between two moments, and what the kernel does to it.

use crate::channel::{Channel, Frame, Holder, Pid, Side};
use crate::record::Record;

/// Process 0 serves from the start. Processes 1 and 2 call on the takeover path, at any time and once each: one after
/// the other from process 0, if the first takeover fails; both at once; or process 2 from process 1.
pub const PROCESSES: usize = 3;

/// Everything that matters of a machine with a client, its server, and two successors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The processes, by pid.
    pub processes: [Process; PROCESSES],
    /// The takeovers, by the successor's pid; the first place stays empty.
    pub takeovers: [Takeover; PROCESSES],
    /// What has happened to the peer, as its client sees it.
    pub peer: Record,
    /// What has become of the one thing that the peer's server waits for.
    pub outcome: Outcome,
    /// What was sealed for the peer beside what has happened to it.
    pub sealed: Sealed,
    /// Who owns the peer: process 0, and from then on whoever sends Accept and is not told `EPIPE`.
    pub owner: Pid,
    /// Whether anything has befallen anybody: a kill, a stop, a failure, a mistake, the end of a wait by its deadline. A
    /// first SIGTERM is nothing of the kind.
    pub disturbed: bool,
}

/// What comes once, and has to be told once: the end of a connect that is under way, or that a deadline is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is waited for.
    NotYet,
    /// It is there for whoever looks: `SO_ERROR`, and an event of whoever has registered for it; or the time has come.
    Come,
    /// Somebody has looked. The kernel tells of a connect's end no second time.
    Consumed,
}

/// Records that are sealed for a peer that speaks TLS. Who acts on the peer seals an answer, whose number is how much has
/// happened to the peer as the process knows: so each number up to [`Record::events`] of the peer was sealed once, and who acts
/// seals the next. This is what is sealed otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// A number that a process has sealed that did not act, and which process.
    pub aside: Option<(u8, Pid)>,
    /// Two processes have sealed the same number.
    pub twice: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it runs.
    pub life: Life,
    /// Where it is in its program.
    pub step: Step,
    /// What has happened to the peer as it knows: the peer's buffers and session.
    pub record: Record,
    /// Whether it has ever acted on the peer.
    pub acted: bool,
    /// `Stop::LastCall`: it was told to stop, and serves on in case somebody takes over.
    pub last_call: bool,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It has not been started.
    NotStarted,
    /// It runs.
    Running,
    /// SIGSTOP.
    Stopped,
    /// SIGKILL.
    Killed,
    /// It has exited.
    Exited(Exit),
}

/// How a process says that it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// `Error::Takeover`, code 3.
    Takeover,
    /// The same with `Cause::TooLate`, code 3: the sending of Accept failed with `EPIPE`, and the predecessor had said why.
    TooLate,
    /// The same, code 3: the channel is closed, and the predecessor has not said why.
    Unexplained,
    /// `Outcome::HandedOver`, code 0.
    HandedOver,
    /// `Outcome::Stopped`, code 0: SIGTERM.
    Stopped,
    /// `Error::Loop`, code 1: an owner cannot go on.
    Loop,
}

/// Where a process is in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `path::call` has connected.
    Connected,
    /// `successor::Called`: Hello is sent.
    Called,
    /// `successor::Receiving`.
    Receiving(Receiving),
    /// `successor::Action::Accept`: Commit is verified, Accept is not sent.
    Accept,
    /// `arrival::Arrival`: Accept is in the channel, nothing has been polled.
    Arrived,
    /// `Reactor::arrive`: the first turn of the loop, then Serving.
    Arriving,
    /// `Reactor::run`, with the handover that is under way.
    Polling(Option<Handover>),
    /// `commit::ReadyDeparture::commit`: the loop is not polled.
    Frozen(Frozen),
    /// `commit::HandedOver`: Accept was found.
    HandedOver {
        /// The successor.
        to: Pid,
    },
    /// None: it is dead.
    Ended,
}

/// What `successor::Receiving` remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Receiving {
    /// The listeners have come.
    pub listening: bool,
    /// The peer has come.
    pub known: bool,
    /// So many rounds are applied.
    pub rounds: u8,
    /// The round that was applied last is the last one, unless another follows.
    pub last_round: bool,
    /// What is to be sent before the next frame is received.
    pub answer: Option<Frame>,
}

/// `departure::Departure` with its `predecessor::Copying`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handover {
    /// The successor.
    pub to: Pid,
    /// `Copying::step`.
    pub step: CopyingStep,
    /// The number of this round.
    pub round: u8,
    /// `Mirror`: the peer as the successor knows it.
    pub mirror: Option<Record>,
}

/// `predecessor::Step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CopyingStep {
    Sending,
    RoundSent,
    LastRoundSent,
}

/// `drive::Drive`: a frozen predecessor, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frozen {
    /// The successor.
    pub to: Pid,
    /// `Frozen::mirror`.
    pub mirror: Option<Record>,
    /// `predecessor::Committed`: Commit is in the channel.
    pub committed: bool,
    /// How far it has come.
    pub step: FrozenStep,
}

/// The steps of `drive::Drive`, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrozenStep {
    /// `send_pending`.
    SendFinal,
    /// `conclude`: what has arrived is heard, and then Commit is sent.
    SendCommit,
    /// `hear_accept`.
    WaitForAccept,
    /// One of these has failed: `say_last` and `shut_down` come next.
    Shutdown,
    /// `look`.
    AcceptedAlready,
    /// Accept was not there: the channel is closed, and the loop polls again.
    Thaw,
}

/// A takeover, as the world outside both processes knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Takeover {
    /// Between the two.
    pub channel: Channel,
    /// The successor's `send(Accept)` has succeeded.
    pub accept_sent: bool,
    /// What the predecessor has made of it.
    pub verdict: Option<Verdict>,
}

/// What a predecessor makes of a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `Ok(HandedOver)`: it has found Accept.
    HandedOver,
    /// `Err(Failure)`: it serves on.
    Failed,
}

impl Process {
    pub(crate) fn lives(&self) -> bool {
        matches!(self.life, Life::Running | Life::Stopped)
    }

    /// Whether it holds the takeover listener, and with it the calls that nobody has accepted.
    pub(crate) fn holds_takeover_listener(&self) -> bool {
        let arrived = !matches!(
            self.step,
            Step::Connected | Step::Called | Step::Receiving(Receiving { listening: false, .. }) | Step::Ended
        );
        self.lives() && arrived
    }

    pub(crate) fn handover(&self) -> Option<Handover> {
        match self.step {
            Step::Polling(handover) => handover,
            _ => None,
        }
    }

    /// Who takes over from it.
    pub(crate) fn successor(&self) -> Option<Pid> {
        match self.step {
            Step::Polling(Some(Handover { to, .. })) | Step::Frozen(Frozen { to, .. }) => Some(to),
            _ => None,
        }
    }

    /// As `main` returns it.
    pub fn exit_code(&self) -> Option<u8> {
        match self.life {
            Life::Exited(Exit::HandedOver | Exit::Stopped) => Some(0),
            Life::Exited(Exit::Loop) => Some(1),
            Life::Exited(Exit::Takeover | Exit::TooLate | Exit::Unexplained) => Some(3),
            _ => None,
        }
    }
}

impl State {
    /// Process 0 serves, and nothing has happened yet.
    pub(crate) fn start() -> Self {
        let process = |pid: Pid| {
            let (life, step) =
                if pid == 0 { (Life::Running, Step::Polling(None)) } else { (Life::NotStarted, Step::Connected) };
            Process { life, step, record: Record::default(), acted: pid == 0, last_call: false }
        };
        let takeover = |_| Takeover { channel: Channel::unconnected(), accept_sent: false, verdict: None };
        Self {
            processes: std::array::from_fn(process),
            takeovers: std::array::from_fn(takeover),
            peer: Record::default(),
            sealed: Sealed::default(),
            outcome: Outcome::NotYet,
            owner: 0,
            disturbed: false,
        }
    }

    /// The takeover by the successor `pid`.
    pub(crate) fn channel(&mut self, successor: Pid) -> &mut Channel {
        &mut self.takeovers[successor].channel
    }

    /// The process is dead: the kernel closes what it held.
    pub(crate) fn end(&mut self, pid: Pid, life: Life) {
        self.processes[pid].life = life;
        self.processes[pid].step = Step::Ended;
        self.processes[pid].record = Record::default();
        self.processes[pid].last_call = false;
        for (successor, takeover) in self.takeovers.iter_mut().enumerate() {
            if successor == pid && takeover.channel.predecessor() != Holder::Unconnected {
                takeover.channel.close(Side::Successor);
            }
            if takeover.channel.predecessor() == Holder::Process(pid) {
                takeover.channel.close(Side::Predecessor);
            }
        }
        if !self.processes.iter().any(Process::holds_takeover_listener) {
            for takeover in &mut self.takeovers {
                if takeover.channel.predecessor() == Holder::Backlog {
                    takeover.channel.close(Side::Predecessor);
                }
            }
        }
    }

    /// The process seals the next record, as it knows: `Secured::seal`, `close`, or the alert of `open`.
    pub(crate) fn seal(&mut self, pid: Pid) {
        let number = self.processes[pid].record.events();
        let by_another = self.sealed.aside.is_some_and(|(sealed, by)| sealed == number && by != pid);
        self.sealed.twice |= by_another || number < self.peer.events();
    }

    /// The same while it does not act: nothing happens to the peer.
    pub(crate) fn seal_aside(&mut self, pid: Pid) {
        self.seal(pid);
        self.sealed.aside = Some((self.processes[pid].record.events(), pid));
    }

    /// `Successor::give_up`, then exit: the predecessor is told as far as the channel still carries it.
    pub(crate) fn give_up(&mut self, pid: Pid, exit: Exit) {
        self.channel(pid).send(Side::Successor, Frame::Refuse);
        self.end(pid, Life::Exited(exit));
    }

    /// `explain`, then exit: the channel takes no more. Whether the predecessor has said why is in what it still holds.
    pub(crate) fn leave_closed(&mut self, pid: Pid, told: Exit) {
        let exit = if self.channel(pid).has_last_word() { told } else { Exit::Unexplained };
        self.give_up(pid, exit);
    }

    /// `close_with`, then `Reactor::thaw`: the takeover is dropped, the successor told, and the loop polls on.
    pub(crate) fn drop_handover(&mut self, pid: Pid, to: Pid) {
        self.channel(to).send(Side::Predecessor, Frame::Refuse);
        self.channel(to).close(Side::Predecessor);
        self.takeovers[to].verdict = Some(Verdict::Failed);
        self.processes[pid].step = Step::Polling(None);
    }

    /// Whether the predecessor still looks for an Accept that was not asked for. Once it has looked for the last time, it
    /// cannot tell it from one that answers Commit.
    pub(crate) fn may_tell_accept_unasked(&self, successor: Pid) -> bool {
        let Holder::Process(predecessor) = self.takeovers[successor].channel.predecessor() else {
            return false;
        };
        match self.processes[predecessor].step {
            Step::Polling(handover) => handover.is_some_and(|handover| handover.to == successor),
            Step::Frozen(frozen) => frozen.to == successor && frozen.step <= FrozenStep::SendCommit,
            _ => false,
        }
    }

    /// Those whose call `pid` has accepted and who are not its successor (`Reactor::callers`).
    pub(crate) fn callers(&self, pid: Pid) -> impl Iterator<Item = Pid> {
        let to = self.processes[pid].handover().map(|handover| handover.to);
        let called = move |takeover: &Takeover| takeover.channel.predecessor() == Holder::Process(pid);
        self.takeovers
            .iter()
            .enumerate()
            .filter(move |(caller, takeover)| called(takeover) && Some(*caller) != to)
            .map(|(caller, _)| caller)
    }
}
