//! What an action leads to.

use super::action::Action;
use super::protocol::Moves;
use super::state::{Frame, GIVER, Giving, Life, State, TAKER, Taking, channel_of};
use crate::channel::{Pid, Side};

impl Moves {
    /// The state that an action leads to.
    pub(crate) fn after(&self, action: Action, before: &State) -> State {
        let mut after = before.clone();
        let state = &mut after;
        state.disturbed |= action.disturbs();
        match action {
            Action::Kill { pid } => state.kill(pid),
            Action::Stop { pid } => state.processes[pid].life = Life::Stopped,
            Action::Continue { pid } => state.processes[pid].life = Life::Running,
            Action::Fail { pid, side } | Action::Deadline { pid, side } => self.fail(state, pid, side),
            Action::SayUnasked { pid, frame } => {
                state.garbled = true;
                state.channels[channel_of(pid, TAKER)].send(TAKER, frame);
            }
            Action::ClientSends { peer, .. } => Self::client_sends(state, peer),
            Action::Join { .. } => state.joined = true,
            Action::AskForTakeover { pid } => {
                state.takeover_asked = true;
                state.processes[pid].asked = true;
            }
            Action::Wait { pid } => state.connect(channel_of(pid, TAKER), Giving::Called(None)),
            Action::Give { pid, wanted } => self.give(state, pid, wanted),
            Action::Act { pid, peer } => Self::act(state, pid, peer),
            Action::Send { pid, side, frame, sent } => {
                state.channels[channel_of(pid, side)].send(side, frame);
                if side == GIVER {
                    self.giver_sent(state, pid, frame, sent);
                } else {
                    self.taker_sent(state, pid, frame, sent);
                }
            }
            Action::Receive { pid, side, .. } => {
                let received = state.channels[channel_of(pid, side)].receive(side);
                if side == GIVER {
                    self.giver_hears(state, pid, received);
                } else {
                    self.taker_hears(state, pid, received);
                }
            }
            Action::Shutdown { pid } => self.shut_down(state, pid),
            Action::Thaw { pid } => self.thaw(state, pid),
            Action::End { pid } => state.close_giving(pid),
            Action::TakenOver { pid } => self.take_over(state, pid),
        }
        state.tidy();
        after
    }

    /// A call of the kernel or of the service fails, a record is not what it should be, or a wait has taken too long.
    fn fail(&self, state: &mut State, pid: Pid, side: Side) {
        if side == GIVER {
            self.giver_fails(state, pid);
        } else {
            self.taker_gives_up(state, pid);
        }
    }

    /// Whoever has the socket has an event. Of one that is out of reach it comes to nothing at once, which is the worst
    /// that can be.
    fn client_sends(state: &mut State, peer: usize) {
        state.peers[peer].sent += 1;
        for process in &mut state.processes {
            if let Some(held) = &mut process.table[peer] {
                held.turn = true;
            }
        }
    }

    /// All that has come is read and answered.
    fn act(state: &mut State, pid: Pid, peer: usize) {
        let unread = state.unread(peer);
        let Some(held) = &mut state.processes[pid].table[peer] else {
            unreachable!("only who holds a peer acts on it");
        };
        held.turn = false;
        for _ in 0..unread {
            held.record.happen();
            state.peers[peer].record.happen();
        }
    }

    /// A takeover, which is the other model's matter: the successor serves the predecessor's table. The process is the same
    /// one here, for there is nobody else who could own its peers. What it was about to give or to take is given up, and who
    /// waits for it calls its successor.
    fn take_over(&self, state: &mut State, pid: Pid) {
        let process = &state.processes[pid];
        state.disturbed |= process.giving != Giving::Closed || process.taking != Taking::Closed;
        if process.giving != Giving::Closed {
            state.channels[pid].send(GIVER, Frame::Refuse);
            self.thaw(state, pid);
        }
        if state.processes[pid].taking != Taking::Closed {
            self.taker_gives_up(state, pid);
        }
        let process = &mut state.processes[pid];
        process.asked = false;
        process.table.iter_mut().flatten().for_each(|held| held.turn = true);
    }
}
