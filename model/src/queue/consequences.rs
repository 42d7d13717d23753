//! What an action leads to.

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Queue;
use super::state::{Connections, Follower, Place, Process, Server, State, ToSupervisor, ToWorker};
use crate::channel::Pid;

impl Queue {
    /// The state that an action leads to.
    pub(crate) fn after(&self, action: Action, before: &State) -> State {
        let mut after = before.clone();
        let state = &mut after;
        match action {
            Action::Kill { pid } => Self::kill(state, pid),
            Action::GiveUp { pid } | Action::LoseStandby { pid } => self.be_alone(state, pid),
            Action::EndQueue => {
                state.ended = true;
                Self::excuse_untold(state);
                self.close(state);
            }
            Action::Patience => self.lose_patience(state),
            Action::StartStandby { pid, standby } => Self::start_standby(state, pid, standby),
            Action::Arm { pid } => Self::arm(state, pid),
            Action::TellArmed { pid } => self.tell_armed(state, pid),
            Action::HearSupervisor { pid, said } => {
                state.socket.to_worker.remove(0);
                self.hear_supervisor(state.server_mut(pid), pid, said);
            }
            Action::HearEnd { pid } => state.server_mut(pid).leave_queue(),
            Action::Offer { pid } => Self::offer(state, pid),
            Action::Take { pid, connection } => self.take(state, pid, connection),
            Action::Commit { pid } => self.commit(state, pid),
            Action::ServeOn { pid } => self.serve_on(state, pid),
            Action::SayHas { pid, connection } => {
                if state.say(pid, ToSupervisor::Has(connection)) || self.has(Mutant::EpipeIgnored) {
                    let server = state.server_mut(pid);
                    server.to_tell[connection] = false;
                    server.told[connection] = true;
                }
            }
            Action::SaySurvived { pid } => self.say_survived(state, pid),
            Action::Leave { pid } => state.processes[pid] = Process::Gone,
            Action::Send { connection } => {
                state.supervisor.places[connection] = Place::UnderWay;
                state.socket.to_worker.push(ToWorker::Connection(connection));
            }
            Action::GiveOthers { connection } => state.supervisor.places[connection] = Place::Others,
            Action::HearWorker { said } => {
                state.socket.to_supervisor.remove(0);
                self.hear_worker(state, said);
            }
            Action::HearQueueEnd => self.close(state),
            Action::Look => {
                state.supervisor.unseen = false;
                if state.supervisor.reaped[state.supervisor.process] {
                    self.bury(state);
                }
            }
            Action::Reap { pid } => self.reap(state, pid),
        }
        after
    }

    // ── What befalls somebody ──────────────────────────────────────────────────────────────────────────────────────

    /// Those whom nobody could go on with end with the process, and that is no fault.
    fn kill(state: &mut State, pid: Pid) {
        let ends = match &state.processes[pid] {
            Process::Serves(server) => {
                let had = either(server.peers, either(server.to_tell, server.told));
                let heir = state.standby_of(server).filter(|(_, standby)| standby.armed && standby.licensed);
                match heir {
                    Some(_) if server.told_armed => None,
                    Some((_, standby)) => Some(without(had, standby.peers)),
                    None => Some(had),
                }
            }
            Process::Follows(follower) => state.is_heir(follower).then_some(either(follower.peers, follower.offered)),
            Process::Unstarted | Process::Gone => None,
        };
        state.excused = either(state.excused, ends.unwrap_or_default());
        state.processes[pid] = Process::Gone;
    }

    /// Those of whom whoever serves on has yet to tell when the queue ends: others may get them, so nobody serves them.
    fn excuse_untold(state: &mut State) {
        for process in &state.processes {
            let untold = match process {
                Process::Serves(server) => either(server.to_tell, server.told),
                Process::Follows(follower) => without(follower.offered, follower.peers),
                Process::Unstarted | Process::Gone => Connections::default(),
            };
            state.excused = either(state.excused, untold);
        }
    }

    // ── The worker ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Nobody follows any more.
    fn be_alone(&self, state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        let standby = server.standby.take().expect("it has one");
        let was_told = std::mem::take(&mut server.told_armed);
        server.known = Connections::default();
        if let Process::Follows(follower) = &mut state.processes[standby] {
            follower.licensed = false;
        }
        if was_told {
            state.say(pid, ToSupervisor::Standby(None));
        }
    }

    fn start_standby(state: &mut State, pid: Pid, standby: Pid) {
        state.server_mut(pid).standby = Some(standby);
        state.processes[standby] = Process::Follows(Follower {
            active: pid,
            armed: false,
            licensed: true,
            peers: Connections::default(),
            offered: Connections::default(),
        });
    }

    fn arm(state: &mut State, pid: Pid) {
        let follower = state.processes[pid].follower().expect("it is a standby");
        let peers = state.server_mut(follower.active).peers;
        *state.follower_mut(pid) = Follower { armed: true, peers, ..follower };
    }

    fn tell_armed(&self, state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        server.told_armed = true;
        let standby = server.standby;
        if !self.has(Mutant::StandbyUnsaid) && state.say(pid, ToSupervisor::Standby(standby)) {
            // Of one that nobody has announced the supervisor hears nothing more.
            state.announced[standby.expect("it is armed")] = pid == 0 || state.announced[pid];
        }
    }

    fn hear_supervisor(&self, server: &mut Server, pid: Pid, said: ToWorker) {
        match said {
            ToWorker::Resumed(survivor) if survivor == pid || self.has(Mutant::ResumedToAnybody) => {
                server.resumes = false;
            }
            ToWorker::Resumed(_) => {}
            ToWorker::Connection(_) if server.resumes => {}
            ToWorker::Connection(connection) => server.heard[connection] = true,
        }
    }

    fn offer(state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        server.known = server.heard;
        let (offered, standby) = (server.heard, server.standby);
        if let Process::Follows(follower) = &mut state.processes[standby.expect("it has said so")] {
            follower.offered = offered;
        }
    }

    fn take(&self, state: &mut State, pid: Pid, connection: usize) {
        let is_its_own = state.say(pid, ToSupervisor::Took(connection)) || self.has(Mutant::EpipeIgnored);
        let server = state.server_mut(pid);
        server.heard[connection] = false;
        server.known[connection] = false;
        server.peers[connection] |= is_its_own;
    }

    /// The end of a turn: who was taken is known as a peer, and nobody as who was offered.
    fn commit(&self, state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        if !self.has(Mutant::KnownKept) {
            server.known = Connections::default();
        }
        let (peers, standby) = (server.peers, server.standby.expect("it has one"));
        let follower = state.follower_mut(standby);
        follower.peers = peers;
        follower.offered = Connections::default();
    }

    fn serve_on(&self, state: &mut State, pid: Pid) {
        let Follower { peers, offered, .. } = *state.follower_mut(pid);
        let to_tell = std::array::from_fn(|connection| {
            offered[connection] && !peers[connection] && !self.has(Mutant::OfferedForgotten)
        });
        let peers = if self.has(Mutant::LetsInUntold) { either(peers, to_tell) } else { peers };
        let resumes = !self.has(Mutant::HearsTheFormer);
        state.processes[pid] = Process::Serves(Server { peers, to_tell, is_untold: true, resumes, ..Server::START });
    }

    fn say_survived(&self, state: &mut State, pid: Pid) {
        let is_said = state.say(pid, ToSupervisor::Survived) || self.has(Mutant::EpipeIgnored);
        let server = state.server_mut(pid);
        let has = either(std::mem::take(&mut server.to_tell), std::mem::take(&mut server.told));
        server.is_untold = false;
        if is_said {
            server.peers = either(server.peers, has);
        }
    }

    // ── The supervisor ─────────────────────────────────────────────────────────────────────────────────────────────

    fn hear_worker(&self, state: &mut State, said: ToSupervisor) {
        let supervisor = &mut state.supervisor;
        match said {
            ToSupervisor::Standby(standby) => supervisor.standby = standby,
            ToSupervisor::Took(connection) if supervisor.places[connection] == Place::UnderWay => {
                supervisor.places[connection] = Place::Worker;
            }
            ToSupervisor::Has(_) if supervisor.standby.is_some() => Self::hear_last(state, said),
            ToSupervisor::Survived if supervisor.standby.is_some() => self.hear_survived(state),
            ToSupervisor::Took(_) | ToSupervisor::Has(_) => {
                state.breach = true;
                Self::hear_last(state, said);
                self.close(state);
            }
            // The active has died before it could say that it had a standby, which finishes with the peers that it knows.
            ToSupervisor::Survived => self.close(state),
        }
    }

    /// What comes of it where nothing is said to the worker any more.
    fn hear_last(state: &mut State, said: ToSupervisor) {
        if let ToSupervisor::Took(connection) | ToSupervisor::Has(connection) = said
            && state.supervisor.places[connection] == Place::UnderWay
        {
            state.supervisor.places[connection] = Place::Worker;
        }
    }

    fn hear_survived(&self, state: &mut State) {
        let supervisor = &mut state.supervisor;
        let former = supervisor.process;
        let survivor = supervisor.standby.take().expect("it was just looked for");
        supervisor.process = survivor;
        supervisor.unseen = true;
        if !std::mem::take(&mut supervisor.bereft) {
            supervisor.former[former] = true;
        }
        if !self.has(Mutant::UnderWayKept) {
            Self::return_what_is_under_way(state);
        }
        if !self.has(Mutant::ResumedUnsaid) {
            state.socket.to_worker.push(ToWorker::Resumed(survivor));
        }
    }

    fn return_what_is_under_way(state: &mut State) {
        for place in &mut state.supervisor.places {
            if *place == Place::UnderWay {
                *place = Place::Waiting;
            }
        }
    }

    fn reap(&self, state: &mut State, pid: Pid) {
        if !self.has(Mutant::ExitBeforeWords) {
            self.hear_out(state);
        }
        state.supervisor.reaped[pid] = true;
        if std::mem::take(&mut state.supervisor.former[pid]) && !self.has(Mutant::FormerUnknown) {
            return;
        }
        let is_of_former = pid != state.supervisor.process && !self.has(Mutant::FormerUnknown);
        if is_of_former || state.supervisor.buried {
            return;
        }
        if state.supervisor.standby.is_none() || !state.socket.open {
            return self.bury(state);
        }
        state.supervisor.bereft = true;
        if self.has(Mutant::ReturnsAtDeath) {
            Self::return_what_is_under_way(state);
        }
    }

    /// What was said up to then counts: whoever has said that it serves on does.
    fn lose_patience(&self, state: &mut State) {
        self.hear_out(state);
        if !state.supervisor.bereft {
            return;
        }
        let standby = state.supervisor.standby.filter(|pid| state.processes[*pid].has_queue());
        standby.into_iter().for_each(|pid| Self::kill(state, pid));
        self.bury(state);
    }

    /// The worker is gone, and nobody serves on in its place.
    fn bury(&self, state: &mut State) {
        self.close(state);
        state.supervisor.bereft = false;
        state.supervisor.standby = None;
        state.supervisor.buried = true;
    }

    /// Speaks with the worker no more: shutdown(2), then what it has said up to then, and then what it has not taken goes to others.
    fn close(&self, state: &mut State) {
        if !std::mem::take(&mut state.socket.open) {
            return;
        }
        for said in std::mem::take(&mut state.socket.to_supervisor) {
            let is_ignored = self.has(Mutant::HasUnheardAtTheEnd) && matches!(said, ToSupervisor::Has(_));
            if !is_ignored && !self.has(Mutant::ClosesUnheard) {
                Self::hear_last(state, said);
            }
        }
        Self::return_what_is_under_way(state);
        // Nobody can say any more that it serves on.
        if state.supervisor.bereft && !self.has(Mutant::EndUnheard) {
            self.bury(state);
        }
    }

    /// Hears all that the worker has said by now.
    fn hear_out(&self, state: &mut State) {
        for said in std::mem::take(&mut state.socket.to_supervisor) {
            self.hear_worker(state, said);
        }
    }
}

impl Server {
    /// The queue has ended: what was offered may be another's by now.
    fn leave_queue(&mut self) {
        self.gone = true;
        self.heard = Connections::default();
        self.to_tell = Connections::default();
        self.told = Connections::default();
    }
}

impl State {
    /// A process of the worker says something. False if nobody is there any more, which it knows from then on.
    fn say(&mut self, pid: Pid, said: ToSupervisor) -> bool {
        let is_said = self.socket.open;
        if is_said {
            self.socket.to_supervisor.push(said);
        } else {
            self.server_mut(pid).leave_queue();
        }
        is_said
    }

    fn server_mut(&mut self, pid: Pid) -> &mut Server {
        match &mut self.processes[pid] {
            Process::Serves(server) => server,
            other => panic!("process {pid} serves nobody: {other:?}"),
        }
    }

    fn follower_mut(&mut self, pid: Pid) -> &mut Follower {
        match &mut self.processes[pid] {
            Process::Follows(follower) => follower,
            other => panic!("process {pid} is no standby: {other:?}"),
        }
    }
}

/// Those of the ones that are not among the others.
fn without(ones: Connections, others: Connections) -> Connections {
    std::array::from_fn(|connection| ones[connection] && !others[connection])
}

/// Those of the ones, and of the others.
fn either(ones: Connections, others: Connections) -> Connections {
    std::array::from_fn(|connection| ones[connection] || others[connection])
}
