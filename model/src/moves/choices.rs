//! What can happen in a state: what each process may do next, and what may befall it.
//!
//! Each step is named, where it is listed, with the line of code that it stands for.

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Moves;
use super::state::{
    BATCHES_MAX, Batch, Frame, GIVER, GiverStep, Giving, Life, PAIR, PEERS, PROCESSES, Peers, Process, Records, State,
    TAKER, Taking, UNMOVABLE, channel_of, is_called_by_giver, other,
};
use crate::channel::{Pid, Received, Side};

/// Whose client sends bytes: the one that is alone. It moves alone, with others, or while others do.
const TALKING: usize = 0;

/// What a process may be told to give: one peer, one of the pair, or all that it has.
const WANTED: [Peers; 3] = [[true, false, false, false], [false, true, false, false], [true; PEERS]];

impl Moves {
    /// Everything that can happen in a state.
    pub(crate) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        for (pid, process) in state.processes.iter().enumerate() {
            match process.life {
                Life::Running => {
                    self.steps(state, pid, actions);
                    self.wishes(state, pid, actions);
                    Self::accidents(state, pid, actions);
                    actions.push(Action::Kill { pid });
                    if Self::may_stop(state) {
                        actions.push(Action::Stop { pid });
                    }
                }
                Life::Stopped => actions.extend([Action::Kill { pid }, Action::Continue { pid }]),
                Life::Killed => {}
            }
        }
        self.bytes(state, actions);
        actions.retain(|action| self.is_possible(state, *action));
    }

    /// Whether it matters that somebody is stopped: while a batch is under way, and the other one runs.
    fn may_stop(state: &State) -> bool {
        let processes = || state.processes.iter();
        let moves = processes().any(|process| process.gives() || process.takes());
        moves && processes().all(|process| process.life != Life::Stopped)
    }

    /// What the processes that run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.choices(state, &mut actions);
        actions.retain(|action| action.is_due());
        actions
    }

    /// Who finds nothing in the channel waits, except where it is only looked at.
    fn is_possible(&self, state: &State, action: Action) -> bool {
        let Action::Receive { pid, side, received } = action else {
            return true;
        };
        let process = &state.processes[pid];
        let step = process.giving.batch().map(|batch| batch.step).filter(|_| side == GIVER);
        match received {
            Received::NotYet => step == Some(GiverStep::Look),
            Received::Closed if self.has(Mutant::DeafDuringCopy) => step != Some(GiverStep::RoundSent),
            _ => true,
        }
    }

    /// What clients do.
    fn bytes(&self, state: &State, actions: &mut Vec<Action>) {
        if state.peers.iter().map(|peer| peer.sent).sum::<u8>() >= self.bytes_max {
            return;
        }
        actions.extend(state.peers[TALKING].owner.map(|pid| Action::ClientSends { pid, peer: TALKING }));
    }

    /// What services, operators and other processes ask of it.
    fn wishes(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let process = &state.processes[pid];
        if !state.joined && self.may_join(process) {
            actions.push(Action::Join { pid });
        }
        if !state.takeover_asked && !state.garbled {
            actions.push(Action::AskForTakeover { pid });
        }
        if Self::may_wait(state, pid) {
            actions.push(Action::Wait { pid });
        }
        if Self::may_give(state, pid) {
            let some = |wanted: &Peers| self.members(state, pid, *wanted).contains(&true);
            actions.extend(WANTED.into_iter().filter(some).map(|wanted| Action::Give { pid, wanted }));
        }
    }

    /// A service may join those that are in reach, and no others.
    fn may_join(&self, process: &Process) -> bool {
        let served = PAIR.map(|peer| process.serves(peer));
        let frozen = PAIR.map(|peer| process.frozen[peer].is_some() && self.has(Mutant::JoinsTheFrozen));
        served.contains(&true) && served.iter().zip(frozen).all(|(&served, frozen)| served || frozen)
    }

    /// `--wait`: it calls again when its channel has ended, as long as somebody answers.
    fn may_wait(state: &State, pid: Pid) -> bool {
        let channel = channel_of(pid, TAKER);
        let giver = &state.processes[channel];
        let closed = state.processes[pid].taking == Taking::Closed && giver.giving == Giving::Closed;
        !is_called_by_giver(channel) && closed && giver.lives() && state.begun < BATCHES_MAX
    }

    /// Whether the process may begin a batch: one at a time.
    fn may_give(state: &State, pid: Pid) -> bool {
        let giving = state.processes[pid].giving;
        let taker = &state.processes[other(pid)];
        let answers = taker.taking == Taking::Closed && taker.lives();
        let may_call = is_called_by_giver(pid) && giving == Giving::Closed && answers;
        state.begun < BATCHES_MAX && (may_call || giving == Giving::Queued)
    }

    /// What may go wrong: a step fails; or, once and before anything else, the taker says what it should not.
    fn accidents(state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let process = &state.processes[pid];
        let gives = process.giving.batch().is_some_and(|batch| batch.step < GiverStep::Shutdown);
        if gives {
            actions.push(Action::Fail { pid, side: GIVER });
        }
        if matches!(process.taking, Taking::Receiving { .. } | Taking::Accept) {
            actions.push(Action::Fail { pid, side: TAKER });
        }
        if state.disturbed || state.takeover_asked || process.taking == Taking::Closed {
            return;
        }
        actions.push(Action::SayUnasked { pid, frame: Frame::Wait });
        if Self::may_tell_accept_unasked(state.processes[channel_of(pid, TAKER)].giving) {
            actions.push(Action::SayUnasked { pid, frame: Frame::Accept });
        }
    }

    /// Whether the giver still looks for an Accept that was not asked for. Once it has looked for the last time, it cannot
    /// tell it from one that answers Commit.
    fn may_tell_accept_unasked(giving: Giving) -> bool {
        match giving {
            Giving::Closed => false,
            Giving::Batch(batch) => batch.step <= GiverStep::SendCommit,
            Giving::Called(_) | Giving::Queued => true,
        }
    }

    /// What process `pid` may do next. Nothing of this keeps it from anything else.
    fn steps(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let process = &state.processes[pid];
        let turn = process.table[TALKING].is_some_and(|held| held.turn);
        if turn && self.acts(process, TALKING) {
            actions.push(Action::Act { pid, peer: TALKING });
        }
        self.giver_steps(state, pid, actions);
        self.taker_steps(state, pid, actions);
        if self.may_be_taken_over(process) {
            actions.push(Action::TakenOver { pid });
        }
    }

    /// A takeover waits until it is known whose each peer is, and no longer: what is not frozen yet is given up.
    fn may_be_taken_over(&self, process: &Process) -> bool {
        let waits = process.giving == Giving::Queued || process.taking == Taking::Waiting;
        let has_to_wait = process.is_frozen() || (waits && self.has(Mutant::TakeoverWaitsForTheWaiting));
        process.asked && (!has_to_wait || self.has(Mutant::TakeoverAmidFreeze))
    }

    fn giver_steps(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let receive = receive(state, pid, GIVER);
        let deadline = Action::Deadline { pid, side: GIVER };
        let calls = is_called_by_giver(pid);
        match state.processes[pid].giving {
            Giving::Closed => {}
            Giving::Called(_) => {
                actions.push(receive);
                // Nothing depends on when a process that waits says something.
                actions.extend(Some(deadline).filter(|_| calls));
            }
            Giving::Queued => {
                actions.push(receive);
                actions.extend(Some(Action::End { pid }).filter(|_| calls));
            }
            Giving::Batch(batch) => self.batch_steps(state, pid, &batch, actions),
        }
    }

    /// `Departure::turn` for this batch, `Drive::step`.
    fn batch_steps(&self, state: &State, pid: Pid, batch: &Batch, actions: &mut Vec<Action>) {
        let receive = receive(state, pid, GIVER);
        let deadline = Action::Deadline { pid, side: GIVER };
        let send = |frame| send(state, pid, GIVER, frame);
        match batch.step {
            GiverStep::Welcome => actions.extend([receive, send(Frame::Welcome)]),
            GiverStep::Sending => {
                let newcomers = self.newcomers(state, pid, batch);
                let some = newcomers.iter().any(Option::is_some);
                actions.extend([receive, send(if some { Frame::Peers(newcomers) } else { Frame::Round })]);
            }
            GiverStep::RoundSent => actions.extend([receive, deadline]),
            GiverStep::SendFinal => {
                let changes = Self::changes(&state.processes[pid], batch);
                actions.extend([send(Frame::Changed(changes)), deadline]);
            }
            GiverStep::SendCommit => {
                let heard_out = state.channels[pid].receivable(GIVER) == Received::NotYet;
                let concludes = heard_out || self.has(Mutant::CommitUnheard);
                let commit = Frame::Commit { digest: batch.mirror };
                actions.extend([if concludes { send(commit) } else { receive }, deadline]);
            }
            GiverStep::WaitForAccept => {
                actions.push(receive);
                actions.extend(Some(deadline).filter(|_| !self.has(Mutant::NoDeadline)));
            }
            GiverStep::Shutdown => actions.push(Action::Shutdown { pid }),
            GiverStep::Look => actions.push(receive),
            GiverStep::Thaw => actions.push(Action::Thaw { pid }),
        }
    }

    fn taker_steps(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        let receive = receive(state, pid, TAKER);
        let deadline = Action::Deadline { pid, side: TAKER };
        let send = |frame| send(state, pid, TAKER, frame);
        match state.processes[pid].taking {
            Taking::Closed => {}
            Taking::Called => actions.push(send(Frame::Wait)),
            // Whoever waits waits as long as it takes.
            Taking::Waiting => actions.push(receive),
            Taking::Receiving { answer: true, .. } => actions.push(send(Frame::Ready)),
            Taking::Receiving { .. } => {
                actions.push(receive);
                actions.extend(Some(deadline).filter(|_| !self.has(Mutant::NoPatience)));
            }
            Taking::Accept => actions.push(send(Frame::Accept)),
            Taking::Accepted => actions.push(send(Frame::Serving)),
        }
    }

    /// Who is to move: those of the wanted that may, and whoever is joined to them.
    pub(crate) fn members(&self, state: &State, pid: Pid, wanted: Peers) -> Peers {
        let served = |peer: usize| state.processes[pid].table[peer].is_some();
        let movable = |peer: usize| peer != UNMOVABLE || self.has(Mutant::MovesTheUnmovable);
        let mut members: Peers = std::array::from_fn(|peer| wanted[peer] && served(peer) && movable(peer));
        let coupled = state.joined && PAIR.iter().any(|&peer| members[peer]);
        let blind = self.has(Mutant::PartnerLeftBehind) || self.has(Mutant::TiesOfBefore);
        if coupled && !blind {
            for peer in PAIR {
                members[peer] = true;
            }
        }
        members
    }

    /// Members that the taker does not know yet: all at first, and later whoever was joined to one meanwhile.
    pub(crate) fn newcomers(&self, state: &State, pid: Pid, batch: &Batch) -> Records {
        let members = self.members(state, pid, batch.wanted);
        let table = &state.processes[pid].table;
        std::array::from_fn(|peer| {
            let new = members[peer] && batch.mirror[peer].is_none();
            table[peer].filter(|_| new).map(|held| held.record)
        })
    }

    /// `Record::since`, for each peer of the batch that has changed.
    pub(crate) fn changes(giver: &Process, batch: &Batch) -> Records {
        std::array::from_fn(|peer| {
            let (known, record) = (batch.mirror[peer]?, giver.frozen[peer]?);
            Some(record.since(known)).filter(|change| change.events() > 0)
        })
    }
}

fn receive(state: &State, pid: Pid, side: Side) -> Action {
    let received = state.channels[channel_of(pid, side)].receivable(side);
    Action::Receive { pid, side, received }
}

fn send(state: &State, pid: Pid, side: Side, frame: Frame) -> Action {
    let sent = state.channels[channel_of(pid, side)].sendable(side);
    Action::Send { pid, side, frame, sent }
}

const _: () = assert!(PROCESSES == 2, "whoever is not the one is the other");
