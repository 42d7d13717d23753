//! What can happen in a state: what each process may do next, and what may befall it.
//!
//! Each step is named, where it is listed, with the line of code that it stands for.

use crate::action::Action;
use crate::channel::{Frame, Holder, Pid, Received, Side, Slip};
use crate::mutants::Mutant;
use crate::protocol::Protocol;
use crate::record::Record;
use crate::state::{CopyingStep, Frozen, FrozenStep, Handover, Life, Outcome, Process, Receiving, State, Step};

/// How often something happens to the peer in a run: once before it is copied and once after, or twice after. One of
/// these may be that something comes for which it waits.
const EVENTS_MAX: u8 = 2;

/// `Pace::may_freeze_with`: the first round is never the last. Any other may be, unless another follows.
const ROUND_LAST: u8 = 2;
const ROUNDS_MAX: u8 = 3;

impl Protocol {
    /// Everything that can happen in a state.
    pub(crate) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        for (pid, process) in state.processes.iter().enumerate() {
            match process.life {
                Life::NotStarted => actions.push(Action::Start { pid }),
                Life::Running => {
                    self.steps(state, pid, actions);
                    if matches!(process.step, Step::Polling(_)) {
                        actions.push(Action::Terminate { pid });
                    }
                    if !state.disturbed {
                        self.mistakes(state, pid, actions);
                    }
                    if self.acts(process) && Self::events_to_come(state) > 0 {
                        actions.push(Action::Act { pid });
                    }
                    if self.learns(state, pid, process) {
                        actions.push(Action::Learn { pid });
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
        if state.outcome == Outcome::NotYet && Self::events_to_come(state) > 0 {
            actions.push(Action::Come { pid: state.owner });
        }
        // Who finds nothing in the channel waits, except where it is only looked at.
        actions.retain(|action| match action {
            Action::Receive { pid, received: Received::NotYet, .. } => {
                let Step::Frozen(frozen) = state.processes[*pid].step else {
                    return false;
                };
                frozen.step == FrozenStep::AcceptedAlready
            }
            Action::Receive { pid, from, received: Received::Closed } if self.has(Mutant::DeafDuringCopy) => {
                state.processes[*pid].handover().is_none_or(|handover| handover.to != *from)
            }
            _ => true,
        });
    }

    fn events_to_come(state: &State) -> u8 {
        EVENTS_MAX.saturating_sub(state.peer.events() + u8::from(state.outcome == Outcome::Come))
    }

    /// Whether a process that runs looks for the outcome, and finds that it has come: `Table::change` of a peer that
    /// connects, and the deadlines of a table. By its record it knows whether that was told.
    fn learns(&self, state: &State, pid: Pid, process: &Process) -> bool {
        let sifts = matches!(process.step, Step::Receiving(Receiving { known: true, rounds: 1.., .. }));
        let consumes = sifts && self.has(Mutant::OutcomeReadWhileSifting) && state.outcome == Outcome::Come;
        let hears = pid == 0 || !self.has(Mutant::AdoptedForReadingAlone);
        let learns = self.acts(process) && hears && state.outcome != Outcome::NotYet;
        consumes || (learns && process.record.learnt() == 0 && !(self.is_consumed_unseen(state)))
    }

    /// Whether nobody will ever learn of it, since somebody who could not keep it has looked.
    fn is_consumed_unseen(&self, state: &State) -> bool {
        self.has(Mutant::OutcomeReadWhileSifting) && state.outcome == Outcome::Consumed
    }

    /// What a successor is told when the peer is as in this record.
    pub(crate) fn told(&self, record: Record) -> Record {
        if self.has(Mutant::OutcomeUnsent) { record.without_outcome() } else { record }
    }

    /// What the processes that run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.choices(state, &mut actions);
        actions.retain(|action| action.is_due());
        actions
    }

    /// What may go wrong that a process cannot notice: once, and before anything else does.
    fn mistakes(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        if let Some(to) = state.processes[pid].successor() {
            let channel = &state.takeovers[to].channel;
            actions.extend(Slip::ALL.into_iter().filter(|&slip| channel.can_slip(slip)).map(|slip| Action::Slip {
                pid,
                to,
                slip,
            }));
        }
        if matches!(state.processes[pid].step, Step::Receiving(_)) && state.may_tell_accept_unasked(pid) {
            actions.push(Action::AcceptUnasked { pid });
        }
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
                // `Reactor::tend_stop`
                if process.last_call && !(self.has(Mutant::LastCallForever) && handover.is_none()) {
                    actions.push(Action::Drain { pid });
                }
                // `Departure::turn`
                if let Some(handover) = handover {
                    let ready = state.takeovers[handover.to].channel.receivable(Side::Predecessor);
                    let awaited = handover.step == CopyingStep::LastRoundSent && handover.round < ROUNDS_MAX;
                    if awaited && ready == Received::Frame(Frame::Ready) {
                        actions.push(Action::AnotherRound { pid });
                    }
                    actions.extend([receive(handover.to, Side::Predecessor), deadline(handover.to)]);
                    if handover.step == CopyingStep::Sending {
                        let next = Self::next(&handover, self.told(process.record));
                        actions.extend(next.map(|frame| send(handover.to, Side::Predecessor, frame)));
                    }
                }
            }
            // `Drive::step`
            Step::Frozen(Frozen { to, mirror, step, .. }) => match step {
                FrozenStep::SendFinal => {
                    let known = mirror.unwrap_or_default();
                    let change = Frame::Changed(self.told(process.record).since(known));
                    actions.extend([send(to, Side::Predecessor, change), deadline(to)]);
                }
                FrozenStep::SendCommit => {
                    let heard_out = state.takeovers[to].channel.receivable(Side::Predecessor) == Received::NotYet;
                    let commit = Frame::Commit { digest: mirror.unwrap_or_default() };
                    let next = if heard_out || self.has(Mutant::CommitUnheard) {
                        send(to, Side::Predecessor, commit)
                    } else {
                        receive(to, Side::Predecessor)
                    };
                    actions.extend([next, deadline(to)]);
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
        let round = Frame::Round { number: handover.round, last: handover.round >= ROUND_LAST };
        let frames = match handover.mirror {
            None => [Some(Frame::Peers(record)), None],
            Some(known) if known != record => [Some(Frame::Changed(record.since(known))), Some(round)],
            Some(_) => [Some(round), None],
        };
        frames.into_iter().flatten()
    }

    /// Whether something can fail where a process is. From the shutdown on, a predecessor only makes calls that cannot
    /// (shutdown, recvmsg and close of a Unix socket).
    fn can_fail(step: Step) -> bool {
        match step {
            Step::Frozen(frozen) => frozen.step < FrozenStep::Shutdown,
            Step::HandedOver { .. } | Step::Ended => false,
            _ => true,
        }
    }
}
