//! What an action leads to.
//!
//! Each step is named with the line of code that it stands for.

use crate::action::Action;
use crate::channel::{Frame, Holder, Pid, Received, Sent, Side};
use crate::mutants::Mutant;
use crate::protocol::Protocol;
use crate::record::Record;
use crate::state::{
    CopyingStep, Exit, Frozen, FrozenStep, Handover, Life, Outcome, PROCESSES, Process, Receiving, State, Step, Verdict,
};

impl Protocol {
    /// The state that an action leads to.
    pub(crate) fn after(&self, action: Action, before: &State) -> State {
        let mut after = before.clone();
        let state = &mut after;
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
            // The second time, or a last call that has passed: until then it does what it would have done anyway.
            Action::Terminate { .. } if state.disturbed || state.processes[pid].last_call => Self::drain(state, pid),
            Action::Terminate { .. } => self.terminate(state, pid),
            Action::Drain { .. } => Self::drain(state, pid),
            Action::Slip { to, slip, .. } => state.channel(to).slip(slip),
            Action::AcceptUnasked { .. } => drop(state.channel(pid).send(Side::Successor, Frame::Accept)),
            Action::Fail { .. } => self.fail(state, pid),
            Action::Act { .. } => {
                state.seal(pid);
                state.peer.happen();
                state.processes[pid].record.happen();
            }
            Action::Come { .. } => state.outcome = Outcome::Come,
            Action::Learn { .. } => {
                state.outcome = Outcome::Consumed;
                // What a successor finds out before it owns the peer is lost with it.
                if self.acts(&state.processes[pid]) {
                    state.seal(pid);
                    state.peer.learn();
                    state.processes[pid].record.learn();
                }
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
            Action::AnotherRound { .. } => self.begin_another_round(state, pid),
            Action::Deadline { with, .. } => self.deadline(state, pid, with),
            Action::Answer { caller, .. } => state.channel(caller).accept(pid),
            Action::RefuseCaller { caller, .. } => Self::refuse(state, caller),
            Action::Shutdown { .. } => self.shut_down(state, pid),
            Action::Thaw { .. } => {
                let Step::Frozen(frozen) = state.processes[pid].step else {
                    unreachable!("only a frozen predecessor thaws");
                };
                state.drop_handover(pid, frozen.to);
            }
            Action::FirstPoll { .. } => state.processes[pid].step = Step::Arriving,
        }
        state.disturbed |= Self::disturbs(action, before);
        for process in &mut state.processes {
            process.acted |= self.acts(process);
        }
        after
    }

    /// Whether it is anything that may make a takeover fail.
    fn disturbs(action: Action, before: &State) -> bool {
        match action {
            Action::Terminate { pid } => before.processes[pid].last_call,
            Action::Kill { .. }
            | Action::Stop { .. }
            | Action::Fail { .. }
            | Action::Slip { .. }
            | Action::AcceptUnasked { .. } => true,
            action => action.is_deadline(),
        }
    }

    /// `Verdict::Another`: more is pending than may be sent after the freeze.
    fn begin_another_round(&self, state: &mut State, pid: Pid) {
        let Some(handover) = state.processes[pid].handover() else {
            unreachable!("only a predecessor that copies begins a round");
        };
        state.channel(handover.to).receive(Side::Predecessor);
        let round = if self.has(Mutant::AnotherRoundUncounted) { handover.round } else { handover.round + 1 };
        let handover = Handover { step: CopyingStep::Sending, round, ..handover };
        state.processes[pid].step = Step::Polling(Some(handover));
    }

    /// The steps `Failed` and `Told` of the drive: `say_last`, which decides nothing, and `shut_down`.
    fn shut_down(&self, state: &mut State, pid: Pid) {
        let Step::Frozen(frozen) = state.processes[pid].step else {
            unreachable!("only a frozen predecessor ends the channel");
        };
        if !self.has(Mutant::LastWordAfterShutdown) {
            state.channel(frozen.to).send(Side::Predecessor, Frame::Refuse);
        }
        if self.has(Mutant::ShutdownOfOneDirection) {
            state.channel(frozen.to).shutdown_write();
        } else {
            state.channel(frozen.to).shutdown();
        }
        if self.has(Mutant::LastWordAfterShutdown) {
            state.channel(frozen.to).send(Side::Predecessor, Frame::Refuse);
        }
        let blind = self.has(Mutant::ThawWithoutDrain) || self.has(Mutant::DrainBeforeShutdown);
        let step = if blind { FrozenStep::Thaw } else { FrozenStep::AcceptedAlready };
        state.processes[pid].step = Step::Frozen(Frozen { step, ..frozen });
    }

    /// A frame was sent, or the channel said `EPIPE`.
    fn sent(&self, state: &mut State, pid: Pid, frame: Frame, sent: Sent) {
        let closed = sent == Sent::Closed;
        match (state.processes[pid].step, frame) {
            // `greet` looks for what the predecessor said before it left, also if Hello did not reach it.
            (Step::Connected, _) => state.processes[pid].step = Step::Called,
            (Step::Receiving(_), _) if closed => state.leave_closed(pid, Exit::Takeover),
            (Step::Receiving(receiving), answer) => {
                let early = answer == Frame::Ready && self.has(Mutant::AcceptBeforeCommit);
                let receiving = Receiving { answer: None, ..receiving };
                state.processes[pid].step = if early { Step::Accept } else { Step::Receiving(receiving) };
            }
            // The commit point.
            (Step::Accept, _) if closed && !self.has(Mutant::IgnoreEpipe) => state.leave_closed(pid, Exit::TooLate),
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
            // `Departure::turn`
            (Step::Polling(Some(handover)), _) if closed => state.drop_handover(pid, handover.to),
            (Step::Polling(Some(handover)), frame) => {
                let handover = match frame {
                    Frame::Peers(record) => Handover { mirror: Some(record), ..handover },
                    Frame::Changed(change) => Handover { mirror: followed(handover.mirror, change), ..handover },
                    Frame::Round { last: true, .. } => Handover { step: CopyingStep::LastRoundSent, ..handover },
                    _ => Handover { step: CopyingStep::RoundSent, ..handover },
                };
                state.processes[pid].step = Step::Polling(Some(handover));
            }
            // `send_pending`
            (Step::Frozen(frozen), _) if closed => state.processes[pid].step = Step::Frozen(self.failed(frozen)),
            (Step::Frozen(frozen), frame) => {
                state.processes[pid].step = Step::Frozen(match frame {
                    Frame::Changed(change) => {
                        let mirror = followed(frozen.mirror, change);
                        Frozen { mirror, step: FrozenStep::SendCommit, ..frozen }
                    }
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

    /// The step `Failed` of the drive: what was sent or waited for has failed.
    fn failed(&self, frozen: Frozen) -> Frozen {
        let without = self.has(Mutant::ThawWithoutShutdown) || self.has(Mutant::DrainBeforeShutdown);
        Frozen { step: if without { FrozenStep::AcceptedAlready } else { FrozenStep::Shutdown }, ..frozen }
    }

    /// A successor hears its predecessor: `Called::hear`, `Receiving::hear`.
    fn successor_hears(&self, state: &mut State, pid: Pid, received: Received) {
        let process = &mut state.processes[pid];
        let Received::Frame(frame) = received else {
            return match process.step {
                Step::Called => state.end(pid, Life::Exited(Exit::Unexplained)),
                _ => state.leave_closed(pid, Exit::Takeover),
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
            (Step::Receiving(receiving), Frame::Changed(change)) if receiving.known => {
                process.record = process.record.changed(change);
                Step::Receiving(receiving)
            }
            // `Action::Answer`, `Action::GetReady`: `Reactor::sift` polls and reads nothing, then it answers.
            (Step::Receiving(receiving), Frame::Round { number, last })
                if number == receiving.rounds + 1 && !(receiving.last_round && self.has(Mutant::ReadyIsFinal)) =>
            {
                let copied = Some(Frame::Copied { rounds: number }).filter(|_| !self.has(Mutant::RoundUnanswered));
                let ready = Some(Frame::Ready).filter(|_| !(receiving.last_round && self.has(Mutant::ReadyOnce)));
                let answer = if last { ready } else { copied };
                Step::Receiving(Receiving { rounds: number, last_round: last, answer, ..receiving })
            }
            // `Book::commit`
            (Step::Receiving(receiving), Frame::Commit { digest })
                if receiving.last_round && self.verifies(process.record, digest) =>
            {
                if self.has(Mutant::SealBeforeAccept) {
                    state.seal_aside(pid);
                }
                state.processes[pid].step = Step::Accept;
                return;
            }
            // Refuse, or a fault.
            _ => return state.give_up(pid, Exit::Takeover),
        };
    }

    /// `Book::commit`
    fn verifies(&self, arrived: Record, sent: Record) -> bool {
        match self.mutant {
            Some(Mutant::DigestUnverified) => true,
            Some(Mutant::DigestWithoutOrder) => arrived.sum() == sent.sum(),
            _ => arrived == sent,
        }
    }

    /// A predecessor hears its successor, or somebody who calls.
    fn predecessor_hears(&self, state: &mut State, pid: Pid, from: Pid, received: Received) {
        match state.processes[pid].step {
            Step::Polling(Some(handover)) if handover.to == from => self.copying_hears(state, pid, handover, received),
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

    /// `Callers::tend`, `Reactor::begin_departure`, `Departure::begin`: a small frame or two, on a channel on
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
    fn copying_hears(&self, state: &mut State, pid: Pid, handover: Handover, received: Received) {
        let round_copied = Frame::Copied { rounds: handover.round };
        match received {
            Received::Frame(Frame::Ready) if handover.step == CopyingStep::LastRoundSent => {
                let Handover { to, mirror, .. } = handover;
                let changed =
                    mirror != Some(self.told(state.processes[pid].record)) && !self.has(Mutant::LastChangesUnsent);
                let step = if changed { FrozenStep::SendFinal } else { FrozenStep::SendCommit };
                let frozen = Frozen { to, mirror, committed: false, step };
                state.processes[pid].step = Step::Frozen(frozen);
            }
            Received::Frame(frame) if frame == round_copied && handover.step == CopyingStep::RoundSent => {
                let handover = Handover { step: CopyingStep::Sending, round: handover.round + 1, ..handover };
                state.processes[pid].step = Step::Polling(Some(handover));
            }
            Received::Frame(Frame::Copied { rounds }) if rounds < handover.round => {}
            Received::Frame(frame) if frame == round_copied && handover.step == CopyingStep::LastRoundSent => {}
            _ => state.drop_handover(pid, handover.to),
        }
    }

    /// `hear_before_commit` and `Committed::hear`, as `conclude`, `hear_accept` and `look` call them.
    fn frozen_hears(&self, frozen: Frozen, received: Received) -> Step {
        let handed_over = Step::HandedOver { to: frozen.to };
        let draining = frozen.step == FrozenStep::AcceptedAlready;
        match received {
            Received::Frame(Frame::Accept) if frozen.committed || self.has(Mutant::AcceptAnyTime) => {
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
        if self.has(Mutant::SealAtRetirement) {
            state.seal_aside(pid);
        }
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

    /// `Reactor::stop`: there is a peer to lose, so it serves on in case somebody takes over.
    fn terminate(&self, state: &mut State, pid: Pid) {
        if self.has(Mutant::StopAbandons) {
            return Self::drain(state, pid);
        }
        state.processes[pid].last_call = true;
    }

    /// `Reactor::drain`: callers and the successor are refused. That peers get their pending output first is of no
    /// consequence for anybody else.
    fn drain(state: &mut State, pid: Pid) {
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

/// What the successor knows when it has been told of a change.
fn followed(known: Option<Record>, change: Record) -> Option<Record> {
    known.map(|known| known.changed(change))
}
