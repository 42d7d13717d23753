//! Why nothing goes on for ever: a number that every step of a process raises, as in [`mod@crate::progress`].

use super::protocol::Standby;
use super::state::{At, Intent, Licence, Life, Link, Mark, Role, Server, State};
use crate::channel::Pid;

/// Whoever has gone has come as far as it can.
const GONE: i32 = 1000;
/// Whoever serves has come so far at least.
const SERVES: i32 = 500;

/// How far everything has come.
pub fn progress(state: &State) -> i32 {
    let clients: i32 =
        state.clients.iter().map(|client| 40 * i32::from(client.read) + 20 * i32::from(client.written())).sum();
    let processes: i32 = (0..state.processes.len()).map(|pid| process(state, pid)).sum();
    let takeover = if state.is_takeover_under_way() { 0 } else { 50 };
    clients + processes + takeover
}

fn process(state: &State, pid: Pid) -> i32 {
    match &state.processes[pid].role {
        Role::Unstarted => 0,
        Role::TakesOver(successor) => 10 + i32::from(successor.passed_on),
        Role::Follows(follower) => {
            let is_dead = state.processes[follower.active].life == Life::Dead;
            let has_claimed = is_dead && state.licences[pid] == Some(Licence::Claimed);
            let intent = if follower.intent == Intent::Kill { -2 } else { i32::from(has_claimed) };
            100 + 2 * i32::from(follower.marked) + intent
        }
        Role::Serves(server) => SERVES + serving(state, pid, server),
        Role::Gone => GONE,
    }
}

fn serving(state: &State, pid: Pid, server: &Server) -> i32 {
    let handled: i32 = server.book.peers.iter().map(|peer| 10 * i32::from(peer.handled)).sum();
    // What a standby is told is told while there is one.
    let told = state.link_of(pid).map_or(60, |link| told(state, server, link));
    handled + at(server.at) + told
}

fn told(state: &State, server: &Server, link: &Link) -> i32 {
    let is_told = link.committed.as_ref() == Some(&Standby::told(state, &server.book));
    let mark = match link.mark {
        Mark::Unsent => 0,
        Mark::Sent => 1,
        Mark::Applied => 2,
        Mark::Heard => 3,
    };
    8 * i32::from(is_told) + 4 * i32::from(link.intake.is_empty()) + mark
}

fn at(at: At) -> i32 {
    match at {
        At::Polls | At::Stops => 0,
        At::Reads(_) => 5,
        At::HasRead(..) | At::LetsOut(_) => -1,
        At::Commits => -6,
        At::Conveys(_) => 1,
        At::HasWritten(_) => 2,
        At::HasTakenOff => -2,
        At::TakesBack { .. } => 20,
        At::Offers => 21,
        At::Freezes => 22,
        At::Waits { .. } => 23,
        At::Recalls { .. } => 24,
        At::Looks { .. } => 25,
        At::Yields => 30,
    }
}
