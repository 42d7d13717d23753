//! What can happen in a state: what each process may do next, and what may befall it.

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Queue;
use super::state::{CONNECTIONS, Connections, Follower, PROCESSES, Place, Process, Server, State};
use crate::channel::Pid;

impl Queue {
    /// Everything that can happen in a state.
    pub(crate) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        self.supervisor_steps(state, actions);
        for (pid, process) in state.processes.iter().enumerate() {
            match process {
                Process::Unstarted | Process::Gone => continue,
                Process::Serves(server) => self.server_steps(state, pid, server, actions),
                Process::Follows(follower) => self.standby_steps(state, pid, follower, actions),
            }
            actions.push(Action::Kill { pid });
        }
    }

    /// What those who run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.choices(state, &mut actions);
        actions.retain(|action| action.is_due());
        actions
    }

    fn supervisor_steps(&self, state: &State, actions: &mut Vec<Action>) {
        let State { supervisor, socket, processes, .. } = state;
        for connection in 0..CONNECTIONS {
            if supervisor.places[connection] == Place::Waiting {
                // Others have credits at all times; the worker, while it is no question which process it is.
                actions.push(Action::GiveOthers { connection });
                actions.extend((socket.open && !supervisor.bereft).then_some(Action::Send { connection }));
            }
        }
        if socket.open {
            match socket.to_supervisor.first() {
                Some(said) => actions.push(Action::HearWorker { said: *said }),
                None if !processes.iter().any(Process::has_queue) => actions.push(Action::HearQueueEnd),
                None => {}
            }
            actions.extend((!state.ended).then_some(Action::EndQueue));
        }
        actions.extend((0..PROCESSES).filter(|pid| Self::may_reap(state, *pid)).map(|pid| Action::Reap { pid }));
        let is_under_way = supervisor.bereft || supervisor.former.contains(&true);
        actions.extend((supervisor.unseen && !is_under_way).then_some(Action::Look));
        actions.extend(supervisor.bereft.then_some(Action::Patience));
    }

    /// A process is a child of whoever started it, and of the supervisor when that one is dead.
    fn may_reap(state: &State, pid: Pid) -> bool {
        let has_other_parent = |server: (Pid, Server)| server.1.standby == Some(pid);
        state.is_gone(pid) && !state.supervisor.reaped[pid] && !state.servers().any(has_other_parent)
    }

    fn server_steps(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        if server.is_untold {
            // Before anything else.
            let next = first(server.to_tell).filter(|_| !self.has(Mutant::HasUnsaid));
            actions.push(match next {
                Some(connection) => Action::SayHas { pid, connection },
                None => Action::SaySurvived { pid },
            });
        } else {
            self.takings(state, pid, server, actions);
        }
        match server.standby {
            None => {
                let next = (0..PROCESSES).find(|pid| state.processes[*pid] == Process::Unstarted);
                actions.extend(next.map(|standby| Action::StartStandby { pid, standby }));
            }
            Some(standby) if state.is_gone(standby) => actions.push(Action::LoseStandby { pid }),
            Some(_) => actions.push(Action::GiveUp { pid }),
        }
        let Some((_, standby)) = state.standby_of(server).filter(|(_, standby)| standby.armed) else { return };
        // All that is known is told in the turn in which it is armed, and it is said at the end of that.
        if standby.peers != server.peers {
            actions.push(Action::Commit { pid });
        } else if !server.told_armed && !server.is_untold {
            actions.push(Action::TellArmed { pid });
        }
    }

    /// `Draw::offers` and `Draw::accept`.
    fn takings(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        if server.gone {
            return;
        }
        match state.socket.to_worker.first() {
            Some(said) => actions.push(Action::HearSupervisor { pid, said: *said }),
            None if !state.socket.open => actions.push(Action::HearEnd { pid }),
            None => {}
        }
        let asks_nobody = !server.told_armed || self.has(Mutant::TakesUntold);
        let may_be_taken = if asks_nobody { server.heard } else { both(server.heard, server.known) };
        match first(may_be_taken) {
            Some(connection) => actions.push(Action::Take { pid, connection }),
            // Once in a turn, at whose end all who were taken are told of as peers.
            None if self.has_committed(state, server) => {
                actions.extend(first(server.heard).map(|_| Action::Offer { pid }));
            }
            None => {}
        }
    }

    /// Whether its standby knows its peers, if it lives.
    fn has_committed(&self, state: &State, server: &Server) -> bool {
        state.standby_of(server).is_none_or(|(_, standby)| standby.peers == server.peers)
    }

    fn standby_steps(&self, state: &State, pid: Pid, follower: &Follower, actions: &mut Vec<Action>) {
        let is_followed = state.processes[follower.active].server().is_some_and(|server| server.standby == Some(pid));
        if is_followed {
            actions.extend((!follower.armed).then_some(Action::Arm { pid }));
            return;
        }
        let is_unlicensed_heir = follower.armed && state.is_gone(follower.active) && self.has(Mutant::LicenceUnasked);
        if state.is_heir(follower) || is_unlicensed_heir {
            actions.push(Action::ServeOn { pid });
        } else {
            actions.push(Action::Leave { pid });
        }
    }
}

/// The first of some connections.
fn first(connections: Connections) -> Option<usize> {
    connections.iter().position(|is_one| *is_one)
}

/// Those that are among the ones and among the others.
fn both(ones: Connections, others: Connections) -> Connections {
    std::array::from_fn(|connection| ones[connection] && others[connection])
}
