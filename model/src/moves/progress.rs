//! Why nothing goes on for ever: a number that every step of a process raises, as in [`mod@crate::progress`].

use super::protocol::Moves;
use super::state::{Batch, GiverStep, Giving, PROCESSES, State, Taking};

/// What a frame takes away while it is queued. To receive one is progress, to answer it still is.
const QUEUED_FOR_TAKER: i32 = 26;
const ANSWER_DUE: i32 = 24;
const QUEUED_FOR_GIVER: i32 = 22;

/// An end of a channel that is closed has come as far as it can.
const CLOSED: i32 = 1000;

/// How far everything has come.
pub fn progress(moves: &Moves, state: &State) -> i32 {
    let handled: i32 = state.peers.iter().map(|peer| i32::from(peer.record.events())).sum();
    let asked = state.processes.iter().filter(|process| process.asked).count() as i32;
    let channels: i32 =
        (0..PROCESSES).map(|pid| giver(moves, state, pid) + taker(state, pid) - queued(state, pid)).sum();
    handled - asked + channels + 400 * i32::from(state.accepted)
}

fn queued(state: &State, channel: usize) -> i32 {
    let (to_giver, to_taker) = state.channels[channel].queued();
    QUEUED_FOR_GIVER * to_giver as i32 + QUEUED_FOR_TAKER * to_taker as i32
}

fn giver(moves: &Moves, state: &State, pid: usize) -> i32 {
    match state.processes[pid].giving {
        Giving::Called(Some(_)) => 0,
        Giving::Batch(batch) => {
            let known = batch.mirror.iter().flatten().count() as i32;
            40 * known + batch_step(moves, state, pid, &batch)
        }
        Giving::Called(None) => 530,
        Giving::Queued => 560,
        Giving::Closed => CLOSED,
    }
}

fn batch_step(moves: &Moves, state: &State, pid: usize, batch: &Batch) -> i32 {
    match batch.step {
        GiverStep::Welcome => 30,
        // That is where it goes back to.
        GiverStep::RoundSent if moves.newcomers(state, pid, batch).iter().any(Option::is_some) => 50,
        GiverStep::Sending => 60,
        GiverStep::RoundSent => 90,
        GiverStep::SendFinal => 120,
        GiverStep::SendCommit => 150,
        GiverStep::WaitForAccept => 180,
        GiverStep::Shutdown => 210,
        GiverStep::Look => 240,
        GiverStep::Thaw => 270,
    }
}

fn taker(state: &State, pid: usize) -> i32 {
    match state.processes[pid].taking {
        Taking::Called => 0,
        Taking::Waiting => 30,
        Taking::Receiving { answer: false, .. } => 60,
        Taking::Receiving { .. } => 60 - ANSWER_DUE,
        Taking::Accept => 90,
        // Then it begins anew, with one more that is accepted.
        Taking::Accepted => -200,
        Taking::Closed => CLOSED,
    }
}
