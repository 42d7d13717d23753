//! The processes: what each one does next, and what comes of it.
//!
//! [`Protocol::actions`] is the list of everything that can happen in a state, [`Protocol::next_state`] what it leads
//! to. Each step is named, where it is listed, with the line of code that it stands for.

use std::fmt;

use stateright::{Model, Property};

use crate::channel::{Channel, Frame, Holder, Received, Record, Sent, Side};
use crate::mutants::Mutant;
use crate::progress::progress;
use crate::{Pid, properties};

/// Process 0 serves from the start. Processes 1 and 2 call on the takeover path, at any time and once each: one after
/// the other from process 0, if the first takeover fails; both at once; or process 2 from process 1.
pub const PROCESSES: usize = 3;

/// How often something happens to the peer in a run: once before it is copied and once after, or twice after.
const RECORD_MAX: Record = 2;

/// `Copying::little_is_pending`: the first round is never the last.
const ROUNDS: u8 = 2;

/// The protocol, or a mutant of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocol {
    /// The fault, if it has one.
    pub mutant: Option<Mutant>,
}

/// Everything that matters of a machine with a client, its server, and two successors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The processes, by pid.
    pub processes: [Process; PROCESSES],
    /// The takeovers, by the successor's pid; the first place stays empty.
    pub takeovers: [Takeover; PROCESSES],
    /// What has happened to the peer, as its client sees it.
    pub peer: Record,
    /// Who owns the peer: process 0, and from then on whoever sends Accept and is not told `EPIPE`.
    pub owner: Pid,
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
    /// `Error::Takeover` with `Cause::TooLate`, code 3: the sending of Accept failed with `EPIPE`.
    TooLate,
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
    /// `handover::ReadyHandover::commit`: the loop is not polled.
    Frozen(Frozen),
    /// `handover::HandedOver`: Accept was found.
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
    /// The last round is applied.
    pub last_round: bool,
    /// What is to be sent before the next frame is received.
    pub answer: Option<Frame>,
}

/// `handover::Handover` with its `predecessor::Copying`.
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

/// `predecessor::Frozen`, and how far `ReadyHandover::commit` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frozen {
    /// The successor.
    pub to: Pid,
    /// `Frozen::mirror`.
    pub mirror: Option<Record>,
    /// `Frozen::committed`: Commit is in the channel.
    pub committed: bool,
    /// How far it has come.
    pub step: FrozenStep,
}

/// The parts of `ReadyHandover::commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrozenStep {
    /// `send_final`.
    SendFinal,
    /// `wait_for_accept`.
    WaitForAccept,
    /// One of the two has failed: `channel.shutdown()` comes next.
    Shutdown,
    /// `accepted_already`.
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

/// Everything that can happen. What a channel answers is part of the action, so that a path reads like a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Action {
    // What befalls a process.
    Start {
        pid: Pid,
    },
    Kill {
        pid: Pid,
    },
    Stop {
        pid: Pid,
    },
    Continue {
        pid: Pid,
    },
    /// SIGTERM.
    Terminate {
        pid: Pid,
    },
    /// Any call but those on the channel fails.
    Fail {
        pid: Pid,
    },
    /// The client sends, and the process reads and answers.
    Act {
        pid: Pid,
    },
    // What a process does.
    Send {
        pid: Pid,
        frame: Frame,
        sent: Sent,
    },
    Receive {
        pid: Pid,
        from: Pid,
        received: Received,
    },
    /// A deadline ends a wait.
    Deadline {
        pid: Pid,
        with: Pid,
    },
    /// A call on the takeover path is let in.
    Answer {
        pid: Pid,
        caller: Pid,
    },
    /// Hello is heard, and refused.
    RefuseCaller {
        pid: Pid,
        caller: Pid,
    },
    Shutdown {
        pid: Pid,
    },
    Thaw {
        pid: Pid,
    },
    FirstPoll {
        pid: Pid,
    },
}

impl Action {
    fn pid(self) -> Pid {
        match self {
            Self::Start { pid }
            | Self::Kill { pid }
            | Self::Stop { pid }
            | Self::Continue { pid }
            | Self::Terminate { pid }
            | Self::Fail { pid }
            | Self::Act { pid }
            | Self::Send { pid, .. }
            | Self::Receive { pid, .. }
            | Self::Deadline { pid, .. }
            | Self::Answer { pid, .. }
            | Self::RefuseCaller { pid, .. }
            | Self::Shutdown { pid }
            | Self::Thaw { pid }
            | Self::FirstPoll { pid } => pid,
        }
    }

    /// Whether a process that runs does this sooner or later if nothing befalls it.
    pub fn is_due(self) -> bool {
        !matches!(
            self,
            Self::Start { .. }
                | Self::Kill { .. }
                | Self::Stop { .. }
                | Self::Continue { .. }
                | Self::Terminate { .. }
                | Self::Fail { .. }
                | Self::Act { .. }
                | Self::RefuseCaller { .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ", self.pid())?;
        match self {
            Self::Start { .. } => write!(f, "is started, and calls on the takeover path"),
            Self::Kill { .. } => write!(f, "is killed"),
            Self::Stop { .. } => write!(f, "is stopped"),
            Self::Continue { .. } => write!(f, "is continued"),
            Self::Terminate { .. } => write!(f, "gets SIGTERM"),
            Self::Fail { .. } => write!(f, "fails at what it is doing"),
            Self::Act { .. } => write!(f, "reads from the peer and answers it"),
            Self::Send { frame, sent: Sent::Taken, .. } => write!(f, "sends {frame:?}"),
            Self::Send { frame, sent: Sent::Closed, .. } => write!(f, "sends {frame:?}: EPIPE"),
            Self::Receive { received: Received::Frame(frame), .. } => write!(f, "receives {frame:?}"),
            Self::Receive { received: Received::Closed, .. } => write!(f, "receives the end of the channel"),
            Self::Receive { received: Received::NotYet, .. } => write!(f, "finds nothing in the channel"),
            Self::Deadline { .. } => write!(f, "has waited too long"),
            Self::Answer { caller, .. } => write!(f, "lets in process {caller}"),
            Self::RefuseCaller { caller, .. } => write!(f, "receives Hello, and refuses process {caller}"),
            Self::Shutdown { .. } => write!(f, "calls shutdown on the channel"),
            Self::Thaw { .. } => write!(f, "closes the channel, thaws"),
            Self::FirstPoll { .. } => write!(f, "polls for the first time"),
        }
    }
}

impl Process {
    fn lives(&self) -> bool {
        matches!(self.life, Life::Running | Life::Stopped)
    }

    /// Whether it holds the takeover listener, and with it the calls that nobody has accepted.
    fn holds_takeover_listener(&self) -> bool {
        let arrived = !matches!(
            self.step,
            Step::Connected | Step::Called | Step::Receiving(Receiving { listening: false, .. }) | Step::Ended
        );
        self.lives() && arrived
    }

    fn handover(&self) -> Option<Handover> {
        match self.step {
            Step::Polling(handover) => handover,
            _ => None,
        }
    }

    /// As `main` returns it.
    pub fn exit_code(&self) -> Option<u8> {
        match self.life {
            Life::Exited(Exit::HandedOver | Exit::Stopped) => Some(0),
            Life::Exited(Exit::Loop) => Some(1),
            Life::Exited(Exit::Takeover | Exit::TooLate) => Some(3),
            _ => None,
        }
    }
}

impl State {
    /// The takeover by the successor `pid`.
    fn channel(&mut self, successor: Pid) -> &mut Channel {
        &mut self.takeovers[successor].channel
    }

    /// The process is dead: the kernel closes what it held.
    fn end(&mut self, pid: Pid, life: Life) {
        self.processes[pid].life = life;
        self.processes[pid].step = Step::Ended;
        self.processes[pid].record = 0;
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

    /// `Successor::give_up`, then exit: the predecessor is told as far as the channel still carries it.
    fn give_up(&mut self, pid: Pid, exit: Exit) {
        self.channel(pid).send(Side::Successor, Frame::Refuse);
        self.end(pid, Life::Exited(exit));
    }

    /// `Reactor::thaw` after a failure during the copy: the handover is dropped, and the loop polls on.
    fn drop_handover(&mut self, pid: Pid, to: Pid) {
        self.channel(to).close(Side::Predecessor);
        self.takeovers[to].verdict = Some(Verdict::Failed);
        self.processes[pid].step = Step::Polling(None);
    }

    /// Those whose call `pid` has accepted and who are not its successor (`Reactor::callers`).
    fn callers(&self, pid: Pid) -> impl Iterator<Item = Pid> {
        let to = self.processes[pid].handover().map(|handover| handover.to);
        let called = move |takeover: &Takeover| takeover.channel.predecessor() == Holder::Process(pid);
        self.takeovers
            .iter()
            .enumerate()
            .filter(move |(caller, takeover)| called(takeover) && Some(*caller) != to)
            .map(|(caller, _)| caller)
    }
}

impl Protocol {
    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a process polls, reads, writes or accepts, or will as soon as it has the processor.
    pub fn acts(&self, process: &Process) -> bool {
        let polls = match process.step {
            Step::Polling(_) | Step::Arriving => true,
            Step::Frozen(_) => self.has(Mutant::PollWhileFrozen),
            Step::Receiving(Receiving { last_round, .. }) => last_round && self.has(Mutant::ReadWhileSifting),
            Step::Accept => self.has(Mutant::PollBeforeAccept),
            _ => false,
        };
        polls && process.lives()
    }

    /// What the processes that run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.retain(|action| action.is_due());
        actions
    }

    /// What process `pid` may do next.
    fn steps(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let send = |to: Pid, from: Side, frame: Frame| {
            let sent = state.takeovers[to].channel.sendable(from);
            Action::Send { pid, frame, sent }
        };
        let receive = |successor: Pid, at: Side| {
            let received = state.takeovers[successor].channel.receivable(at);
            Action::Receive { pid, from: successor, received }
        };
        let deadline = |with: Pid| Action::Deadline { pid, with };
        let process = &state.processes[pid];
        match process.step {
            // `greet`
            Step::Connected => actions.push(send(pid, Side::Successor, Frame::Hello)),
            Step::Called => actions.extend([receive(pid, Side::Successor), deadline(pid)]),
            // `Arriving::receive`
            Step::Receiving(Receiving { answer: Some(answer), .. }) => {
                actions.push(send(pid, Side::Successor, answer));
            }
            Step::Receiving(_) => actions.extend([receive(pid, Side::Successor), deadline(pid)]),
            Step::Accept => actions.push(send(pid, Side::Successor, Frame::Accept)),
            // `Reactor::arrive`
            Step::Arrived => actions.push(Action::FirstPoll { pid }),
            Step::Arriving => actions.push(send(pid, Side::Successor, Frame::Serving)),
            // `Reactor::run`
            Step::Polling(handover) => {
                // `Callers::answer`
                for (caller, takeover) in state.takeovers.iter().enumerate() {
                    if takeover.channel.predecessor() == Holder::Backlog {
                        actions.push(Action::Answer { pid, caller });
                    }
                }
                // `Callers::hear`
                for caller in state.callers(pid) {
                    if state.takeovers[caller].channel.receivable(Side::Predecessor) == Received::Frame(Frame::Hello) {
                        actions.push(Action::RefuseCaller { pid, caller });
                    }
                    actions.extend([receive(caller, Side::Predecessor), deadline(caller)]);
                }
                // `Handover::turn`
                if let Some(handover) = handover {
                    actions.extend([receive(handover.to, Side::Predecessor), deadline(handover.to)]);
                    if handover.step == CopyingStep::Sending {
                        let next = Self::next(&handover, process.record);
                        actions.extend(next.map(|frame| send(handover.to, Side::Predecessor, frame)));
                    }
                }
            }
            // `ReadyHandover::commit`
            Step::Frozen(Frozen { to, mirror, step, .. }) => match step {
                FrozenStep::SendFinal => {
                    let changed = mirror != Some(process.record) && !self.has(Mutant::LastChangesUnsent);
                    let digest = mirror.unwrap_or_default();
                    let frame = if changed { Frame::Changed(process.record) } else { Frame::Commit { digest } };
                    actions.push(send(to, Side::Predecessor, frame));
                    actions.push(deadline(to));
                }
                FrozenStep::WaitForAccept => {
                    actions.push(receive(to, Side::Predecessor));
                    if !self.has(Mutant::NoDeadline) {
                        actions.push(deadline(to));
                    }
                }
                FrozenStep::Shutdown => actions.push(Action::Shutdown { pid }),
                FrozenStep::AcceptedAlready => actions.push(receive(to, Side::Predecessor)),
                FrozenStep::Thaw => actions.push(Action::Thaw { pid }),
            },
            // `HandedOver::retire`
            Step::HandedOver { to } => actions.extend([receive(to, Side::Predecessor), deadline(to)]),
            Step::Ended => {}
        }
    }

    /// `Copying::next`: the frames that may be sent now. The code decides between them by what was pending when the
    /// round began; here both are possible whenever the peer has changed.
    fn next(handover: &Handover, record: Record) -> impl Iterator<Item = Frame> {
        let round = Frame::Round { number: handover.round, last: handover.round == ROUNDS };
        let frames = match handover.mirror {
            None => [Some(Frame::Peers(record)), None],
            Some(known) if known != record => [Some(Frame::Changed(record)), Some(round)],
            Some(_) => [Some(round), None],
        };
        frames.into_iter().flatten()
    }

    /// A frame was sent, or the channel said `EPIPE`.
    fn sent(&self, state: &mut State, pid: Pid, frame: Frame, sent: Sent) {
        let closed = sent == Sent::Closed;
        match (state.processes[pid].step, frame) {
            // `greet` looks for what the predecessor said before it left, also if Hello did not reach it.
            (Step::Connected, _) => state.processes[pid].step = Step::Called,
            (Step::Receiving(_), _) if closed => state.give_up(pid, Exit::Takeover),
            (Step::Receiving(receiving), answer) => {
                let early = answer == Frame::Ready && self.has(Mutant::AcceptBeforeCommit);
                let receiving = Receiving { answer: None, ..receiving };
                state.processes[pid].step = if early { Step::Accept } else { Step::Receiving(receiving) };
            }
            // The commit point.
            (Step::Accept, _) if closed && !self.has(Mutant::IgnoreEpipe) => state.give_up(pid, Exit::TooLate),
            (Step::Accept, _) => {
                if !closed {
                    state.takeovers[pid].accept_sent = true;
                    state.owner = pid;
                }
                state.processes[pid].step = Step::Arrived;
            }
            // `Arrival::serving`
            (Step::Arriving, _) if closed && self.has(Mutant::ServingMustArrive) => {
                state.end(pid, Life::Exited(Exit::Takeover));
            }
            (Step::Arriving, _) => {
                state.channel(pid).close(Side::Successor);
                state.processes[pid].step = Step::Polling(None);
            }
            // `Handover::turn`
            (Step::Polling(Some(handover)), _) if closed => state.drop_handover(pid, handover.to),
            (Step::Polling(Some(handover)), frame) => {
                let handover = match frame {
                    Frame::Peers(record) | Frame::Changed(record) => Handover { mirror: Some(record), ..handover },
                    Frame::Round { last: true, .. } => Handover { step: CopyingStep::LastRoundSent, ..handover },
                    _ => Handover { step: CopyingStep::RoundSent, ..handover },
                };
                state.processes[pid].step = Step::Polling(Some(handover));
            }
            // `send_final`
            (Step::Frozen(frozen), _) if closed => state.processes[pid].step = Step::Frozen(self.failed(frozen)),
            (Step::Frozen(frozen), frame) => {
                state.processes[pid].step = Step::Frozen(match frame {
                    Frame::Changed(record) => Frozen { mirror: Some(record), ..frozen },
                    _ if self.has(Mutant::RetireOnCommit) => {
                        state.processes[pid].step = Step::HandedOver { to: frozen.to };
                        return;
                    }
                    _ => Frozen { committed: true, step: FrozenStep::WaitForAccept, ..frozen },
                });
            }
            (step, frame) => unreachable!("{frame:?} is not sent in {step:?}"),
        }
    }

    /// `or_else` in `ReadyHandover::commit`: what was sent or waited for has failed.
    fn failed(&self, frozen: Frozen) -> Frozen {
        let without = self.has(Mutant::ThawWithoutShutdown) || self.has(Mutant::DrainBeforeShutdown);
        Frozen { step: if without { FrozenStep::AcceptedAlready } else { FrozenStep::Shutdown }, ..frozen }
    }

    /// A successor hears its predecessor: `Called::hear`, `Receiving::hear`.
    fn successor_hears(&self, state: &mut State, pid: Pid, received: Received) {
        let process = &mut state.processes[pid];
        let Received::Frame(frame) = received else {
            return match process.step {
                Step::Called => state.end(pid, Life::Exited(Exit::Takeover)),
                _ => state.give_up(pid, Exit::Takeover),
            };
        };
        process.step = match (process.step, frame) {
            (Step::Called, Frame::Welcome) => Step::Receiving(Receiving::default()),
            (Step::Called, _) => return state.end(pid, Life::Exited(Exit::Takeover)),
            (Step::Receiving(receiving), Frame::Listeners) if !receiving.listening => {
                Step::Receiving(Receiving { listening: true, ..receiving })
            }
            // `Action::Adopt`: the record comes with its descriptor, which is registered and not read.
            (Step::Receiving(receiving), Frame::Peers(record)) if receiving.listening && !receiving.known => {
                process.record = record;
                let answer = Some(Frame::Copied { rounds: receiving.rounds });
                Step::Receiving(Receiving { known: true, answer, ..receiving })
            }
            // `Action::Change`
            (Step::Receiving(receiving), Frame::Changed(record)) if receiving.known => {
                process.record = record;
                Step::Receiving(receiving)
            }
            // `Action::Answer`, `Action::GetReady`: `Reactor::sift` polls and reads nothing, then it answers.
            (Step::Receiving(receiving), Frame::Round { number, last })
                if number == receiving.rounds + 1 && !receiving.last_round =>
            {
                let copied = Some(Frame::Copied { rounds: number }).filter(|_| !self.has(Mutant::RoundUnanswered));
                let answer = if last { Some(Frame::Ready) } else { copied };
                Step::Receiving(Receiving { rounds: number, last_round: last, answer, ..receiving })
            }
            // `Receiving::verify`
            (Step::Receiving(receiving), Frame::Commit { digest })
                if receiving.last_round && digest == process.record =>
            {
                Step::Accept
            }
            // Refuse, or a fault.
            _ => return state.give_up(pid, Exit::Takeover),
        };
    }

    /// A predecessor hears its successor, or somebody who calls.
    fn predecessor_hears(&self, state: &mut State, pid: Pid, from: Pid, received: Received) {
        match state.processes[pid].step {
            Step::Polling(Some(handover)) if handover.to == from => Self::copying_hears(state, pid, handover, received),
            Step::Polling(handover) => Self::hear_caller(state, pid, from, handover, received),
            Step::Frozen(frozen) => state.processes[pid].step = self.frozen_hears(frozen, received),
            // `HandedOver::retire`: whatever comes, it goes.
            Step::HandedOver { .. } if received == Received::Frame(Frame::Serving) => self.retire(state, pid),
            Step::HandedOver { to } => self.retire_unheard(state, pid, to),
            step => unreachable!("nothing is received in {step:?}"),
        }
        if let Step::HandedOver { to } = state.processes[pid].step {
            state.takeovers[to].verdict = Some(Verdict::HandedOver);
        }
    }

    /// `Callers::hear`, `Reactor::begin_handover`, `Handover::begin`: a small frame or two, on a channel on
    /// which nothing has been sent.
    fn hear_caller(state: &mut State, pid: Pid, from: Pid, handover: Option<Handover>, received: Received) {
        let channel = state.channel(from);
        match received {
            Received::Frame(Frame::Hello) if handover.is_none() => {
                let sent = [Frame::Welcome, Frame::Listeners].map(|frame| channel.send(Side::Predecessor, frame));
                if sent.contains(&Sent::Closed) {
                    return state.drop_handover(pid, from);
                }
                let handover = Handover { to: from, step: CopyingStep::Sending, round: 1, mirror: None };
                state.processes[pid].step = Step::Polling(Some(handover));
            }
            // `Refusal::Busy`
            Received::Frame(Frame::Hello) => Self::refuse(state, from),
            _ => channel.close(Side::Predecessor),
        }
    }

    /// `Channel::close_with`.
    fn refuse(state: &mut State, caller: Pid) {
        state.channel(caller).send(Side::Predecessor, Frame::Refuse);
        state.channel(caller).close(Side::Predecessor);
    }

    /// `Copying::hear`.
    fn copying_hears(state: &mut State, pid: Pid, handover: Handover, received: Received) {
        let round_copied = Frame::Copied { rounds: handover.round };
        match received {
            Received::Frame(Frame::Ready) if handover.step == CopyingStep::LastRoundSent => {
                let Handover { to, mirror, .. } = handover;
                let frozen = Frozen { to, mirror, committed: false, step: FrozenStep::SendFinal };
                state.processes[pid].step = Step::Frozen(frozen);
            }
            Received::Frame(frame) if frame == round_copied && handover.step == CopyingStep::RoundSent => {
                let handover = Handover { step: CopyingStep::Sending, round: handover.round + 1, ..handover };
                state.processes[pid].step = Step::Polling(Some(handover));
            }
            Received::Frame(Frame::Copied { rounds }) if rounds < handover.round => {}
            _ => state.drop_handover(pid, handover.to),
        }
    }

    /// `Frozen::hear`, as `wait_for_accept` and `accepted_already` call it.
    fn frozen_hears(&self, frozen: Frozen, received: Received) -> Step {
        let handed_over = Step::HandedOver { to: frozen.to };
        let draining = frozen.step == FrozenStep::AcceptedAlready;
        match received {
            Received::Frame(Frame::Accept) if frozen.committed => {
                let late = draining && self.has(Mutant::AcceptOnlyBeforeDeadline);
                if late { Step::Frozen(frozen) } else { handed_over }
            }
            Received::Frame(Frame::Copied { .. }) => Step::Frozen(frozen),
            // Out of turn, or Refuse: Accept may still follow.
            Received::Frame(_) if draining => Step::Frozen(frozen),
            Received::Closed | Received::NotYet if draining => {
                let shut = self.has(Mutant::DrainBeforeShutdown);
                Step::Frozen(Frozen { step: if shut { FrozenStep::Shutdown } else { FrozenStep::Thaw }, ..frozen })
            }
            Received::Closed if self.has(Mutant::RetireAtEndOfFile) => handed_over,
            _ => Step::Frozen(self.failed(frozen)),
        }
    }

    /// `Reactor::disband`, and exit.
    fn retire(&self, state: &mut State, pid: Pid) {
        state.end(pid, Life::Exited(Exit::HandedOver));
    }

    /// The pause stays unknown.
    fn retire_unheard(&self, state: &mut State, pid: Pid, to: Pid) {
        if self.has(Mutant::ThawWithoutServing) {
            return state.drop_handover(pid, to);
        }
        self.retire(state, pid);
    }

    /// A wait has taken too long.
    fn deadline(&self, state: &mut State, pid: Pid, with: Pid) {
        match state.processes[pid].step {
            // `SILENCE_MAX` of arrival.rs
            Step::Called => state.end(pid, Life::Exited(Exit::Takeover)),
            Step::Receiving(_) => state.give_up(pid, Exit::Takeover),
            // `SILENCE_MAX` of predecessor.rs
            Step::Polling(Some(handover)) if handover.to == with => state.drop_handover(pid, with),
            // `HELLO_PATIENCE`
            Step::Polling(_) => state.channel(with).close(Side::Predecessor),
            // `freeze_timeout`
            Step::Frozen(frozen) => state.processes[pid].step = Step::Frozen(self.failed(frozen)),
            // `RETIRED_PATIENCE`
            Step::HandedOver { to } => self.retire_unheard(state, pid, to),
            step => unreachable!("there is no deadline in {step:?}"),
        }
    }

    /// A call of the kernel or of the service fails, or a record is not what it should be.
    fn fail(&self, state: &mut State, pid: Pid) {
        match state.processes[pid].step {
            Step::Connected | Step::Called => state.end(pid, Life::Exited(Exit::Takeover)),
            Step::Receiving(_) | Step::Accept => state.give_up(pid, Exit::Takeover),
            Step::Arrived | Step::Arriving | Step::Polling(None) => state.end(pid, Life::Exited(Exit::Loop)),
            Step::Polling(Some(handover)) => state.drop_handover(pid, handover.to),
            Step::Frozen(frozen) => state.processes[pid].step = Step::Frozen(self.failed(frozen)),
            step => unreachable!("nothing fails in {step:?}"),
        }
    }

    /// Whether something can fail where a process is. From the shutdown on, a predecessor only makes calls that cannot
    /// (shutdown, recvmsg and close of a Unix socket).
    fn can_fail(step: Step) -> bool {
        match step {
            Step::Frozen(frozen) => matches!(frozen.step, FrozenStep::SendFinal | FrozenStep::WaitForAccept),
            Step::HandedOver { .. } | Step::Ended => false,
            _ => true,
        }
    }

    /// `Reactor::stop`: callers and the successor are refused. That peers get their pending output first is of no
    /// consequence for anybody else.
    fn terminate(&self, state: &mut State, pid: Pid) {
        let to = state.processes[pid].handover().map(|handover| handover.to);
        let callers: Vec<Pid> = state.callers(pid).chain(to).collect();
        for caller in callers {
            Self::refuse(state, caller);
        }
        for caller in 0..PROCESSES {
            if state.channel(caller).predecessor() == Holder::Backlog {
                Self::refuse(state, caller);
            }
        }
        if let Some(to) = to {
            state.takeovers[to].verdict = Some(Verdict::Failed);
        }
        state.end(pid, Life::Exited(Exit::Stopped));
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let process = |pid: Pid| {
            let (life, step) =
                if pid == 0 { (Life::Running, Step::Polling(None)) } else { (Life::NotStarted, Step::Connected) };
            Process { life, step, record: 0, acted: pid == 0 }
        };
        let takeover = |_| Takeover { channel: Channel::unconnected(), accept_sent: false, verdict: None };
        vec![State {
            processes: std::array::from_fn(process),
            takeovers: std::array::from_fn(takeover),
            peer: 0,
            owner: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (pid, process) in state.processes.iter().enumerate() {
            match process.life {
                Life::NotStarted => actions.push(Action::Start { pid }),
                Life::Running => {
                    self.steps(state, pid, actions);
                    if matches!(process.step, Step::Polling(_)) {
                        actions.push(Action::Terminate { pid });
                    }
                    if self.acts(process) && state.peer < RECORD_MAX {
                        actions.push(Action::Act { pid });
                    }
                    if Self::can_fail(process.step) {
                        actions.push(Action::Fail { pid });
                    }
                    actions.extend([Action::Stop { pid }, Action::Kill { pid }]);
                }
                Life::Stopped => actions.extend([Action::Kill { pid }, Action::Continue { pid }]),
                Life::Killed | Life::Exited(_) => {}
            }
        }
        // Who finds nothing in the channel waits, except that the drain ends there.
        actions.retain(|action| match action {
            Action::Receive { pid, received: Received::NotYet, .. } => {
                matches!(state.processes[*pid].step, Step::Frozen(Frozen { step: FrozenStep::AcceptedAlready, .. }))
            }
            Action::Receive { pid, from, received: Received::Closed } if self.has(Mutant::DeafDuringCopy) => {
                state.processes[*pid].handover().is_none_or(|handover| handover.to != *from)
            }
            _ => true,
        });
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut next = last_state.clone();
        let state = &mut next;
        let pid = action.pid();
        match action {
            Action::Start { .. } if !state.processes.iter().any(Process::holds_takeover_listener) => {
                // "nobody answers"
                state.end(pid, Life::Exited(Exit::Takeover));
            }
            Action::Start { .. } => {
                state.processes[pid].life = Life::Running;
                state.channel(pid).connect();
            }
            Action::Kill { .. } => state.end(pid, Life::Killed),
            Action::Stop { .. } => state.processes[pid].life = Life::Stopped,
            Action::Continue { .. } => state.processes[pid].life = Life::Running,
            Action::Terminate { .. } => self.terminate(state, pid),
            Action::Fail { .. } => self.fail(state, pid),
            Action::Act { .. } => {
                state.peer += 1;
                state.processes[pid].record += 1;
            }
            Action::Send { frame, sent, .. } => {
                match state.processes[pid].step {
                    Step::Polling(Some(Handover { to, .. })) | Step::Frozen(Frozen { to, .. }) => {
                        state.channel(to).send(Side::Predecessor, frame)
                    }
                    _ => state.channel(pid).send(Side::Successor, frame),
                };
                self.sent(state, pid, frame, sent);
            }
            Action::Receive { from, received, .. } => {
                if from == pid {
                    state.channel(from).receive(Side::Successor);
                    self.successor_hears(state, pid, received);
                } else {
                    state.channel(from).receive(Side::Predecessor);
                    self.predecessor_hears(state, pid, from, received);
                }
            }
            Action::Deadline { with, .. } => self.deadline(state, pid, with),
            Action::Answer { caller, .. } => state.channel(caller).accept(pid),
            Action::RefuseCaller { caller, .. } => Self::refuse(state, caller),
            Action::Shutdown { .. } => {
                let Step::Frozen(frozen) = state.processes[pid].step else {
                    unreachable!("only a frozen predecessor ends the channel");
                };
                if self.has(Mutant::ShutdownOfOneDirection) {
                    state.channel(frozen.to).shutdown_write();
                } else {
                    state.channel(frozen.to).shutdown();
                }
                let blind = self.has(Mutant::ThawWithoutDrain) || self.has(Mutant::DrainBeforeShutdown);
                let step = if blind { FrozenStep::Thaw } else { FrozenStep::AcceptedAlready };
                state.processes[pid].step = Step::Frozen(Frozen { step, ..frozen });
            }
            Action::Thaw { .. } => {
                let Step::Frozen(frozen) = state.processes[pid].step else {
                    unreachable!("only a frozen predecessor thaws");
                };
                state.drop_handover(pid, frozen.to);
            }
            Action::FirstPoll { .. } => state.processes[pid].step = Step::Arriving,
        }
        for process in &mut state.processes {
            process.acted |= self.acts(process);
        }
        assert!(
            self.mutant.is_some() || !action.is_due() || progress(&next) > progress(last_state),
            "{action:?} leads nowhere in {last_state:#?}"
        );
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
