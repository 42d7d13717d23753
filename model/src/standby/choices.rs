//! What can happen in a state: what each process may do next, and what may befall it.
//!
//! Each step is named, where it is listed, with the line of code that it stands for.

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Standby;
use super::state::{
    At, CLIENTS, FROM, Follower, Intent, Licence, Life, Link, MESSAGES_MAX, Mark, PROCESSES, Process, Role, STOPS_MAX,
    Server, State, Successor, TO,
};
use crate::channel::Pid;

impl Standby {
    /// Everything that can happen in a state.
    pub(crate) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.lost && !state.over {
            Self::clients(state, actions);
        }
        for (pid, process) in state.processes.iter().enumerate() {
            if !matches!(process.role, Role::Unstarted | Role::Gone) {
                self.of_process(state, pid, process, actions);
            }
        }
    }

    /// What the processes that run will do if nothing befalls them.
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.choices(state, &mut actions);
        actions.retain(|action| action.is_due());
        actions
    }

    fn of_process(&self, state: &State, pid: Pid, process: &Process, actions: &mut Vec<Action>) {
        actions.push(Action::Kill { pid });
        if process.life == Life::Stopped {
            actions.push(Action::Continue { pid });
            return;
        }
        if state.stops < STOPS_MAX {
            actions.push(Action::Stop { pid });
        }
        match &process.role {
            Role::Serves(server) => self.server_steps(state, pid, server, actions),
            Role::Follows(follower) => {
                if !state.broke && state.link(pid).open && state.processes[follower.active].life != Life::Dead {
                    actions.push(Action::Break { pid });
                }
                self.standby_steps(state, pid, *follower, actions);
            }
            Role::TakesOver(successor) => self.successor_steps(state, pid, successor, actions),
            Role::Unstarted | Role::Gone => {}
        }
    }

    /// What clients say. Of two that are joined, one talks.
    fn clients(state: &State, actions: &mut Vec<Action>) {
        for (client, known) in state.clients.iter().enumerate() {
            if known.said >= MESSAGES_MAX[client] || known.reset.is_some() || (state.joined && client != FROM) {
                continue;
            }
            actions.push(Action::Say { client, poisonous: false });
            if client == FROM && !state.joined && state.poison.is_none() {
                actions.push(Action::Say { client, poisonous: true });
            }
        }
    }

    // ── Whoever serves ─────────────────────────────────────────────────────────────────────────────────────────────

    fn server_steps(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        match server.at {
            At::Polls => {
                self.wishes(state, pid, actions);
                match state.link_of(pid) {
                    Some(link) => self.turn(state, pid, (server, link), actions),
                    None => self.unfollowed_turn(state, pid, server, actions),
                }
            }
            // `Mapping::read`: the kernel takes what there is, at least one.
            At::Reads(peer) => {
                actions.extend((1..=state.clients[peer].unread()).map(|count| Action::Read { pid, peer, count }));
            }
            At::HasRead(peer, _) => actions.push(Action::Handle { pid, peer }),
            At::Commits => actions.push(Action::EmptyIntake { pid }),
            // `AnyLane::let_out`: the socket takes all, or a part.
            At::LetsOut(to) => {
                for peer in (0..CLIENTS).filter(|&peer| to[peer]) {
                    let pending = server.book.peers[peer].pending.len() as u8;
                    actions.extend((1..=pending).map(|count| Action::Write { pid, peer, count }));
                }
            }
            At::Conveys(_) if self.has(Mutant::TakesOffFirst) => actions.push(Action::TakeOff { pid }),
            At::HasWritten(_) if self.has(Mutant::TakesOffFirst) => actions.push(Action::WriteConveyed { pid }),
            At::Conveys(_) => actions.push(Action::WriteConveyed { pid }),
            At::HasWritten(_) => actions.push(Action::TakeOff { pid }),
            At::HasTakenOff => actions.push(Action::HaveConveyed { pid }),
            At::TakesBack { .. } => actions.push(Action::Dismiss { pid }),
            At::Yields => actions.push(Action::Yield { pid }),
            At::Stops => actions.push(Action::Exit { pid }),
            at => self.frozen_steps(state, pid, at, actions),
        }
    }

    /// `commit_beside`, with the channel to the successor.
    fn frozen_steps(&self, state: &State, pid: Pid, at: At, actions: &mut Vec<Action>) {
        let is_gone = state.successor_of(pid).is_none();
        let fail = if is_gone { Action::LoseSuccessor { pid } } else { Action::GiveUp { pid } };
        match at {
            At::Offers => actions.extend([Action::Freeze { pid }, fail]),
            At::Freezes => {
                actions.extend((!is_gone).then_some(Action::SendCommit { pid }));
                actions.push(fail);
            }
            At::Waits { accepted: false } => actions.push(fail),
            // What it hears last, and looks for afterwards.
            At::Waits { accepted: true } => actions.extend([Action::Retire { pid }, Action::GiveUp { pid }]),
            At::Recalls { .. } => actions.push(Action::ShutDown { pid }),
            At::Looks { accepted: true } if !self.has(Mutant::ThawsBlind) => actions.push(Action::Retire { pid }),
            At::Looks { .. } => actions.push(Action::Thaw { pid }),
            at => unreachable!("it is not frozen, but {at:?}"),
        }
    }

    /// `Arriving`, from what it is told to Accept: `send_accept` above all.
    fn successor_steps(&self, state: &State, pid: Pid, successor: &Successor, actions: &mut Vec<Action>) {
        let is_dead = state.processes[successor.from].life == Life::Dead;
        let has_ended = successor.ended || is_dead;
        if !successor.passed_on && !successor.accepted {
            actions.push(Action::Decline { pid });
        }
        if successor.committed.is_none() {
            actions.extend(has_ended.then_some(Action::Leave { pid }));
        } else if self.passes_on(successor) {
            actions.push(Action::PassOn { pid });
        } else {
            // The kernel may be busy with the dead process for long before it closes the channel.
            actions.extend((!successor.ended).then_some(Action::Accept { pid }));
            actions.extend(has_ended.then_some(Action::FindEnd { pid }));
        }
    }

    /// Whether it is to take the licence for itself next.
    fn passes_on(&self, successor: &Successor) -> bool {
        let is_its_turn = successor.accepted || !self.has(Mutant::PassesOnAfterAccept);
        let passes_on = successor.licence_of.is_some() && !self.has(Mutant::NeverPassesOn);
        passes_on && is_its_turn && !successor.passed_on
    }

    /// What is asked of it, and who calls.
    fn wishes(&self, state: &State, pid: Pid, actions: &mut Vec<Action>) {
        if let Some(successor) = state.successor_of(pid) {
            actions.push(Action::GiveUp { pid });
            // It has said Ready.
            if state.processes[successor].runs() {
                let offers = state.standby_of(pid).is_some() && !self.has(Mutant::HandsOverFollowed);
                actions.push(if offers { Action::Offer { pid } } else { Action::Freeze { pid } });
            }
            return;
        }
        actions.push(Action::Terminate { pid });
        let Some(unstarted) = state.unstarted() else { return };
        if !state.takeover_asked {
            actions.push(Action::TakeOver { pid, successor: unstarted });
        }
        // `Standbys::start`, or somebody else does that.
        let one_has_ended = state.processes.iter().any(|process| process.role == Role::Gone);
        if state.standby_of(pid).is_none() && !(one_has_ended && self.has(Mutant::StartsNoOther)) {
            actions.push(Action::Follow { pid, standby: unstarted });
        }
    }

    /// A turn of the loop, while somebody follows: any of these comes next.
    fn turn(&self, state: &State, pid: Pid, (server, link): (&Server, &Link), actions: &mut Vec<Action>) {
        let book = &server.book;
        if !state.joined {
            let readable = (0..CLIENTS).filter(|&peer| Self::is_readable(state, server, peer));
            actions.extend(readable.map(|peer| Action::BeginRead { pid, peer }));
        }
        let is_news = link.committed.as_ref() != Some(&Self::told(state, book)) || !link.intake.is_empty();
        if is_news {
            actions.push(Action::Commit { pid });
        }
        // What the last commit has let out is not told yet.
        if link.committed.is_some() && link.open && link.mark == Mark::Unsent {
            actions.push(Action::SendMark { pid });
        }
        if link.mark == Mark::Applied && link.open {
            actions.push(Action::HearCopied { pid });
        }
        self.convey(state, pid, server, actions);
        self.aside(state, pid, server, actions);
        if !link.open && !self.has(Mutant::DeafToEnd) {
            actions.push(Action::LoseStandby { pid });
        }
        let is_silent = state.standby_of(pid).is_some_and(|standby| !state.processes[standby].runs());
        if is_silent && link.open && !self.has(Mutant::WaitsForSilent) {
            actions.push(Action::Silence { pid });
        }
    }

    fn is_readable(state: &State, server: &Server, peer: usize) -> bool {
        let client = &state.clients[peer];
        client.unread() > 0 && client.reset.is_none() && server.book.peers[peer].aside == 0
    }

    /// `Turn::convey_by_peeking`: nothing is pending for the one to whom it goes, and what was has been told.
    fn convey(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        let is_told = !server.written_since[TO] || self.has(Mutant::ConveysBehindUntold);
        if state.joined && server.book.peers[TO].pending.is_empty() && is_told && Self::stand(state) {
            actions.extend((1..=state.clients[FROM].unread()).map(|count| Action::Convey { pid, count }));
        }
    }

    fn stand(state: &State) -> bool {
        state.clients.iter().all(|client| client.reset.is_none())
    }

    /// `Reactor::tend_suspect`
    fn aside(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        // It goes along with a takeover.
        if self.has(Mutant::AsideForEver) || state.successor_of(pid).is_some() {
            return;
        }
        for peer in (0..CLIENTS).filter(|&peer| server.book.peers[peer].aside > 0) {
            if state.is_sheltered(pid) || self.has(Mutant::TakenUpUnarmed) {
                actions.push(Action::TakeUpAside { pid, peer });
            } else if state.unstarted().is_none() && state.standby_of(pid).is_none() {
                // Before that it is a matter of who is quicker, and the promise is for a standby that is.
                actions.push(Action::Patience { pid, peer });
            }
        }
    }

    fn unfollowed_turn(&self, state: &State, pid: Pid, server: &Server, actions: &mut Vec<Action>) {
        let waits = |&peer: &usize| {
            let pending = !server.book.peers[peer].pending.is_empty() && state.clients[peer].reset.is_none();
            pending || (Self::is_readable(state, server, peer) && (!state.joined || Self::stand(state)))
        };
        actions.extend((0..CLIENTS).filter(waits).map(|peer| Action::Serve { pid, peer }));
        self.aside(state, pid, server, actions);
    }

    // ── Whoever follows ────────────────────────────────────────────────────────────────────────────────────────────

    /// `Follower::next`, `wait`, `fence` and `end`.
    fn standby_steps(&self, state: &State, pid: Pid, follower: Follower, actions: &mut Vec<Action>) {
        let link = state.link(pid);
        let active = &state.processes[follower.active];
        match follower.intent {
            Intent::Follow => {}
            Intent::Kill => return actions.extend([Action::KillHung { pid }, Action::Forgo { pid }]),
            Intent::Claim => return actions.push(Action::Claim { pid }),
        }
        // What was sent before the end comes before it, in order.
        if link.mark == Mark::Sent {
            actions.push(Action::ApplyMark { pid });
            return;
        }
        if link.refused {
            actions.push(Action::Leave { pid });
            return;
        }
        let is_dead = active.life == Life::Dead;
        if is_dead || !link.open {
            actions.extend(self.end(pid, follower, state.licences[pid], is_dead));
        } else if follower.marked && Self::hangs(active) && state.licences[pid] == Some(Licence::Lent) {
            actions.push(Action::FindHung { pid });
        }
    }

    /// Whether the loop of an active may not have turned for long: in a freeze it does not.
    fn hangs(active: &Process) -> bool {
        active.life == Life::Stopped || active.server().is_some_and(|server| server.at.is_frozen())
    }

    fn end(&self, pid: Pid, follower: Follower, licence: Option<Licence>, is_dead: bool) -> Option<Action> {
        if !follower.marked || self.has(Mutant::LeavesAtEnd) {
            return Some(Action::Leave { pid });
        }
        if !is_dead && !self.has(Mutant::ServesOnAtEnd) {
            return (!self.has(Mutant::NoPatience)).then_some(Action::Alive { pid });
        }
        match licence.expect("it was given one") {
            Licence::Lent if self.has(Mutant::WaitsForLastWord) => None,
            Licence::Lent => Some(Action::Claim { pid }),
            Licence::Claimed => Some(Action::ServeOn { pid }),
            Licence::PassedOn if self.has(Mutant::ServesPassedOn) => Some(Action::ServeOn { pid }),
            Licence::PassedOn | Licence::TakenBack => Some(Action::Leave { pid }),
        }
    }
}

const _: () = assert!(PROCESSES == 3, "two deaths can be survived");
