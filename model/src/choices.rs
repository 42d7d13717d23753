//! What can happen in a state: what each process may do next, and what may befall it.
//!
//! Each step is named, where it is listed, with the line of code that it stands for.

use crate::action::Action;
use crate::channel::{Frame, Holder, Pid, Received, Record, Side};
use crate::mutants::Mutant;
use crate::protocol::Protocol;
use crate::state::{CopyingStep, Frozen, FrozenStep, Handover, Life, Receiving, State, Step};

/// How often something happens to the peer in a run: once before it is copied and once after, or twice after.
const RECORD_MAX: Record = 2;

/// `Pace::may_freeze_with`: the first round is never the last.
const ROUNDS: u8 = 2;

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

    /// What the processes that run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.choices(state, &mut actions);
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

    /// Whether something can fail where a process is. From the shutdown on, a predecessor only makes calls that cannot
    /// (shutdown, recvmsg and close of a Unix socket).
    fn can_fail(step: Step) -> bool {
        match step {
            Step::Frozen(frozen) => matches!(frozen.step, FrozenStep::SendFinal | FrozenStep::WaitForAccept),
            Step::HandedOver { .. } | Step::Ended => false,
            _ => true,
        }
    }
}
