//! Why nothing goes on for ever: a number that every step of a process raises.
//!
//! Only what befalls processes (they are killed, stopped, continued, started; the client sends) leaves it as it is, or
//! lowers it. It is bounded. So when nothing befalls them any more, the processes come to a state in which none has
//! anything left to do, and "in the end", in [`crate::properties`], means that state.

use crate::channel::Holder;
use crate::record::Record;
use crate::state::{CopyingStep, Frozen, FrozenStep, Handover, Outcome, PROCESSES, Process, Receiving, State, Step};

/// What a frame takes away while it is queued. To receive one is progress, to answer it still is.
const QUEUED_FOR_SUCCESSOR: i32 = 4;
const ANSWER_DUE: i32 = 3;
const QUEUED_FOR_PREDECESSOR: i32 = 2;

/// How far everything has come.
pub fn progress(state: &State) -> i32 {
    let programs: i32 = state.processes.iter().map(program).sum();
    let takeovers: i32 = (0..PROCESSES).map(|successor| takeover(state, successor)).sum();
    programs + takeovers + i32::from(state.outcome == Outcome::Consumed) + state.peer.learnt() as i32
}

/// How far a process has come on its way to serving, and to its end.
fn program(process: &Process) -> i32 {
    match process.step {
        Step::Connected => 0,
        Step::Called => 10,
        Step::Receiving(Receiving { answer: None, .. }) => 20,
        Step::Receiving(_) => 20 - ANSWER_DUE,
        Step::Accept => 30,
        Step::Arrived => 40,
        Step::Arriving => 50,
        Step::Polling(_) | Step::Frozen(_) | Step::HandedOver { .. } => 60,
        Step::Ended => 90,
    }
}

/// How far the predecessor has come with a takeover.
fn takeover(state: &State, successor: usize) -> i32 {
    let channel = &state.takeovers[successor].channel;
    let (to_predecessor, to_successor) = channel.queued();
    let queued = (QUEUED_FOR_PREDECESSOR, QUEUED_FOR_SUCCESSOR);
    let step = match channel.predecessor() {
        Holder::Unconnected | Holder::Backlog => 0,
        Holder::Process(pid) => conversation(&state.processes[pid], successor),
        Holder::Closed => 400,
    };
    step - queued.0 * to_predecessor as i32 - queued.1 * to_successor as i32
}

fn conversation(predecessor: &Process, successor: usize) -> i32 {
    let known = |mirror: Option<Record>| mirror.map_or(0, |record| 10 * (i32::from(record.events()) + 1));
    match predecessor.step {
        Step::Polling(Some(Handover { to, step, round, mirror })) if to == successor => {
            let step = match step {
                CopyingStep::Sending => 0,
                CopyingStep::RoundSent => 10,
                CopyingStep::LastRoundSent => 20,
            };
            50 + 30 * i32::from(round) + step + known(mirror)
        }
        Step::Frozen(Frozen { to, mirror, step, .. }) if to == successor => {
            let step = match step {
                FrozenStep::SendFinal => 0,
                FrozenStep::SendCommit => 10,
                FrozenStep::WaitForAccept => 20,
                FrozenStep::Shutdown => 30,
                FrozenStep::AcceptedAlready => 40,
                FrozenStep::Thaw => 50,
            };
            200 + step + known(mirror)
        }
        Step::HandedOver { to } if to == successor => 350,
        // It has called, and nothing has come of that yet.
        _ => 20,
    }
}
