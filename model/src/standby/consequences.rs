//! What an action leads to.

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Standby;
use super::state::{
    Answer, At, Book, CLIENTS, Conveyed, FROM, Follower, Intent, Licence, Life, Link, Mark, Process, Read, Role,
    Server, State, Successor, TO,
};
use crate::channel::Pid;

impl Standby {
    /// The state that an action leads to.
    pub(crate) fn after(&self, action: Action, before: &State) -> State {
        let mut after = before.clone();
        let state = &mut after;
        match action {
            Action::Kill { pid } => state.kill(pid),
            Action::Stop { pid } => {
                state.stops += 1;
                state.processes[pid].life = Life::Stopped;
            }
            Action::Continue { pid } => state.processes[pid].life = Life::Running,
            Action::Break { pid } => Self::break_channel(state, pid),
            Action::Say { client, poisonous } => {
                state.clients[client].said += 1;
                state.poison = poisonous.then_some(state.clients[client].said).or(state.poison);
            }
            Action::TakeOver { pid, successor } => self.begin_takeover(state, pid, successor),
            Action::Terminate { pid } => self.terminate(state, pid),
            Action::Leave { pid } | Action::Decline { pid } | Action::Exit { pid } | Action::Alive { pid } => {
                state.die(pid);
            }
            Action::Yield { pid } => state.yields(pid),
            Action::ApplyMark { pid } => {
                state.follower_mut(pid).marked = true;
                state.link_mut(pid).mark = Mark::Applied;
            }
            Action::ServeOn { pid } => self.serve_on(state, pid),
            action => self.after_step(state, action),
        }
        state.note_loss();
        state.tidy();
        after
    }

    /// What is said in it is lost.
    fn break_channel(state: &mut State, standby: Pid) {
        state.broke = true;
        let link = state.link_mut(standby);
        (link.open, link.refused) = (false, false);
        if link.mark == Mark::Sent {
            link.mark = Mark::Unsent;
        }
    }

    /// A step of whoever serves.
    fn after_step(&self, state: &mut State, action: Action) {
        match action {
            Action::Follow { pid, standby } => Self::follow(state, pid, standby),
            Action::BeginRead { pid, peer } => {
                let before = state.clients[peer].read;
                Self::shared(state, pid).intake.push(Read { peer, before, came: None, obsolete: false });
                state.server_mut(pid).at = At::Reads(peer);
            }
            Action::Read { pid, peer, count } => {
                state.clients[peer].read += count;
                state.server_mut(pid).at = At::HasRead(peer, count);
            }
            Action::Handle { pid, peer } => self.handle_read(state, pid, peer),
            Action::Commit { pid } => self.commit(state, pid),
            Action::EmptyIntake { pid } => self.empty_intake(state, pid),
            Action::Write { pid, peer, count } => {
                Self::write(state, pid, peer, count);
                Self::have_let_out(state.server_mut(pid), peer);
            }
            Action::TakeUpAside { pid, peer } | Action::Patience { pid, peer } => {
                state.patience_ended |= action.is_deadline();
                self.take_up_aside(state, pid, peer);
            }
            Action::Serve { pid, peer } => self.serve(state, pid, peer),
            Action::SendMark { pid } => Self::shared(state, pid).mark = Mark::Sent,
            Action::HearCopied { pid } => Self::shared(state, pid).mark = Mark::Heard,
            Action::LoseStandby { pid } | Action::Silence { pid } => self.take_back(state, pid, false),
            Action::Dismiss { pid } => self.dismiss(state, pid),
            action => self.after_step_of_a_takeover(state, action),
        }
    }

    /// A step of either side of a takeover.
    fn after_step_of_a_takeover(&self, state: &mut State, action: Action) {
        match action {
            Action::Offer { pid } => {
                let successor = state.successor_of(pid).expect("somebody takes over");
                state.successor_mut(successor).licence_of = state.standby_of(pid);
                state.server_mut(pid).at = At::Offers;
            }
            Action::Freeze { pid } => state.server_mut(pid).at = At::Freezes,
            Action::SendCommit { pid } => self.send_commit(state, pid),
            Action::GiveUp { pid } | Action::LoseSuccessor { pid } => self.fail_takeover(state, pid),
            Action::ShutDown { pid } => self.shut_down(state, pid),
            Action::Thaw { pid } => self.thaw(state, pid),
            Action::Retire { pid } => self.retire(state, pid),
            Action::PassOn { pid } => self.pass_on_licence(state, pid),
            Action::Accept { pid } => self.accept(state, pid),
            Action::FindEnd { pid } => self.find_end(state, pid),
            action => self.after_ending(state, action),
        }
    }

    /// A step of a standby towards the end of its active.
    fn after_ending(&self, state: &mut State, action: Action) {
        match action {
            Action::Claim { pid } => self.claim(state, pid),
            Action::FindHung { pid } => {
                state.follower_mut(pid).intent = Intent::Kill;
                if !self.has(Mutant::KillsBeforeClaim) {
                    *state.licence_mut(pid) = Licence::Claimed;
                }
            }
            Action::KillHung { pid } => {
                let follower = state.follower_mut(pid);
                follower.intent = Intent::Follow;
                let active = follower.active;
                let is_unlicensed = !state.licence_mut(pid).is_the_standbys();
                state.fenced_unlicensed |= is_unlicensed && state.processes[active].life != Life::Dead;
                state.die(active);
            }
            Action::Forgo { pid } => {
                state.follower_mut(pid).intent = Intent::Follow;
                let licence = state.licence_mut(pid);
                if *licence == Licence::Claimed && !self.has(Mutant::ClaimKept) {
                    *licence = Licence::Lent;
                }
            }
            action => self.after_conveying(state, action),
        }
    }

    /// `Licence::claim`, which is one step.
    fn claim(&self, state: &mut State, pid: Pid) {
        let follower = state.follower_mut(pid);
        if self.has(Mutant::ClaimsByStore) && follower.intent == Intent::Follow {
            follower.intent = Intent::Claim;
            return;
        }
        follower.intent = Intent::Follow;
        *state.licence_mut(pid) = Licence::Claimed;
    }

    fn shared(state: &mut State, active: Pid) -> &mut Link {
        state.link_of_mut(active).expect("somebody follows")
    }

    // ── Who follows, and who does no more ──────────────────────────────────────────────────────────────────────────

    /// `Escort::begin`: everything is copied, and from here on nothing is written before it is committed.
    fn follow(state: &mut State, pid: Pid, standby: Pid) {
        let follower = Follower { active: pid, marked: false, intent: Intent::Follow };
        state.processes[standby].role = Role::Follows(follower);
        state.licences[standby] = Some(Licence::Lent);
        state.links[standby] = Some(Link {
            active: pid,
            followed: true,
            open: true,
            refused: false,
            mark: Mark::Unsent,
            committed: None,
            intake: Vec::new(),
            conveyed: None,
        });
    }

    /// `Escort::dismiss`, the first call: the licence is taken back.
    fn take_back(&self, state: &mut State, pid: Pid, stops: bool) {
        let is_followed = state.standby_of(pid).is_some();
        if !self.has(Mutant::LicenceKept) && !self.revoke(state, pid) {
            return;
        }
        state.over |= stops;
        state.server_mut(pid).at = match (is_followed, stops) {
            (true, stops) => At::TakesBack { stops },
            (false, true) => At::Stops,
            (false, false) => At::Polls,
        };
    }

    /// `Licensor::drop`: nobody else may own the peers from here on. False if the standby has claimed the licence: then this process is
    /// to end.
    fn revoke(&self, state: &mut State, pid: Pid) -> bool {
        let Some(standby) = state.standby_of(pid) else { return true };
        let licence = state.licence_mut(standby);
        let is_claimed = *licence == Licence::Claimed;
        if is_claimed && self.has(Mutant::ServesOnClaimed) {
            return true;
        }
        if !is_claimed || self.has(Mutant::TakesBackClaimed) {
            *licence = Licence::TakenBack;
        }
        if is_claimed {
            state.server_mut(pid).at = At::Yields;
        }
        !is_claimed
    }

    /// The second one: the last word is said if the channel still carries it, and nobody follows any more.
    fn dismiss(&self, state: &mut State, pid: Pid) {
        let says = !self.has(Mutant::LastWordUnsaid);
        if let Some(link) = state.link_of_mut(pid) {
            (link.refused, link.open, link.followed) = (link.open && says, false, false);
        }
        let server = state.server_mut(pid);
        server.at = if server.at == (At::TakesBack { stops: true }) { At::Stops } else { At::Polls };
        server.written_since = [false; CLIENTS];
    }

    /// `Reactor::drain`. Who is to end because it was taken for one that hangs is not the one that is told to stop.
    fn terminate(&self, state: &mut State, pid: Pid) {
        if self.has(Mutant::StopsFollowed) {
            state.over = true;
            state.server_mut(pid).at = At::Stops;
        } else {
            self.take_back(state, pid, true);
        }
    }

    // ── A takeover ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// `Succession::begin`: whoever is armed follows on.
    fn begin_takeover(&self, state: &mut State, pid: Pid, successor: Pid) {
        state.takeover_asked = true;
        if self.has(Mutant::TakenUpAtTakeover) {
            for peer in 0..CLIENTS {
                if state.processes[pid].server().is_some() {
                    self.take_up_aside(state, pid, peer);
                }
            }
            if state.processes[pid].server().is_none() {
                return;
            }
        }
        state.armed_at_takeover = state.is_sheltered(pid);
        state.processes[successor].role = Role::TakesOver(Successor {
            from: pid,
            licence_of: None,
            committed: None,
            passed_on: false,
            accepted: false,
            ended: false,
        });
        if !state.armed_at_takeover || self.has(Mutant::TakesBackAtOnce) {
            self.take_back(state, pid, false);
        }
    }

    /// `End::send_commit`. The successor has been told of all peers by then.
    fn send_commit(&self, state: &mut State, pid: Pid) {
        let successor = state.successor_of(pid).expect("somebody takes over");
        let told = state.link_of(pid).and_then(|link| link.committed.clone()).filter(|_| self.has(Mutant::SendsTold));
        let server = state.server_mut(pid);
        server.at = At::Waits { accepted: false };
        let book = told.unwrap_or_else(|| server.book.clone());
        state.successor_mut(successor).committed = Some(book);
    }

    /// `Licence::pass_on`. Whoever gets nothing leaves.
    fn pass_on_licence(&self, state: &mut State, pid: Pid) {
        let licence_of = state.successor_mut(pid).licence_of.expect("it was given one");
        let licence = state.licence_mut(licence_of);
        if *licence != Licence::Lent && !self.has(Mutant::PassesOnByStore) {
            return state.die(pid);
        }
        *licence = Licence::PassedOn;
        let successor = state.successor_mut(pid);
        successor.passed_on = true;
        if successor.accepted {
            Self::own(state, pid);
        }
    }

    /// Accept is in the channel. The predecessor has not heard it yet.
    fn accept(&self, state: &mut State, pid: Pid) {
        let successor = state.successor_mut(pid);
        successor.accepted = true;
        let is_last = !self.has(Mutant::PassesOnAfterAccept) || successor.licence_of.is_none();
        let from = successor.from;
        if state.processes[from].server().is_some()
            && let At::Waits { accepted } | At::Recalls { accepted } = &mut state.server_mut(from).at
        {
            *accepted = true;
        }
        if is_last {
            Self::own(state, pid);
        }
    }

    /// `EPIPE` on Accept: was that the predecessor's doing, or is it dead?
    fn find_end(&self, state: &mut State, pid: Pid) {
        let licence = state.successor_mut(pid).licence_of.map(|standby| *state.licence_mut(standby));
        if licence == Some(Licence::PassedOn) || self.has(Mutant::OwnsAtEnd) {
            Self::own(state, pid);
        } else {
            state.die(pid);
        }
    }

    /// A successor has come to its end.
    fn own(state: &mut State, pid: Pid) {
        let book = state.successor_mut(pid).committed.take().expect("Commit has come");
        state.owner = Some(pid);
        state.processes[pid].role = Role::Serves(Server { book, at: At::Polls, written_since: [false; CLIENTS] });
    }

    /// `drive::Drive`, of a takeover that has failed. Where Commit was not in the channel, Accept cannot be there, and the successor leaves.
    /// Where it was, the licence is taken back.
    fn fail_takeover(&self, state: &mut State, pid: Pid) {
        let At::Waits { accepted } = state.server_mut(pid).at else {
            state.successor_of(pid).into_iter().for_each(|successor| state.die(successor));
            return self.thaw(state, pid);
        };
        if self.has(Mutant::ShutsDownFirst) {
            Self::end_channel(state, pid);
        } else if !self.has(Mutant::ThawsLicensed) && !self.revoke(state, pid) {
            return;
        }
        state.server_mut(pid).at = At::Recalls { accepted };
    }

    /// `End::shut_down`, the second call.
    fn shut_down(&self, state: &mut State, pid: Pid) {
        let At::Recalls { accepted } = state.server_mut(pid).at else { unreachable!("the licence is taken back") };
        if !self.has(Mutant::ShutsDownFirst) {
            Self::end_channel(state, pid);
        } else if !self.revoke(state, pid) {
            return;
        }
        state.server_mut(pid).at = At::Looks { accepted };
    }

    fn end_channel(state: &mut State, pid: Pid) {
        if let Some(successor) = state.successor_of(pid) {
            state.successor_mut(successor).ended = true;
        }
    }

    /// `Succession::thaw`, with `dismiss_unlicensed`.
    fn thaw(&self, state: &mut State, pid: Pid) {
        let is_unlicensed = state.licence_of(pid) == Some(Licence::TakenBack);
        let dismisses = is_unlicensed && !self.has(Mutant::UnlicensedKept);
        state.server_mut(pid).at = if dismisses { At::TakesBack { stops: false } } else { At::Polls };
    }

    /// `Stepped::HandedOver`, up to the exit: the standby is dismissed.
    fn retire(&self, state: &mut State, pid: Pid) {
        self.revoke(state, pid);
        state.die(pid);
    }

    // ── Reading, handling, writing ─────────────────────────────────────────────────────────────────────────────────

    fn handle_read(&self, state: &mut State, pid: Pid, peer: usize) {
        let At::HasRead(_, count) = state.server_mut(pid).at else { unreachable!("it has read") };
        let read = Self::shared(state, pid).intake.last_mut();
        read.expect("that is noted").came = Some(count);
        state.server_mut(pid).at = At::Polls;
        self.handle(state, pid, peer, count);
        if self.has(Mutant::WritesBeforeCommit) && state.processes[pid].server().is_some() {
            (0..CLIENTS).for_each(|peer| Self::write_all(state, pid, peer));
        }
        if self.has(Mutant::SharedAtOnce)
            && let Some(shared) = state.processes[pid].server().map(|server| server.book.shared)
            && let Some(committed) = &mut Self::shared(state, pid).committed
        {
            committed.shared = shared;
        }
    }

    /// The service handles so many messages. One of them may kill it.
    pub(crate) fn handle(&self, state: &mut State, pid: Pid, peer: usize, count: u8) {
        for _ in 0..count {
            let number = state.server_mut(pid).book.peers[peer].handled + 1;
            if peer == FROM && state.poison == Some(number) {
                return Self::die_of_poison(state, pid);
            }
            let book = &mut state.server_mut(pid).book;
            book.shared += 1;
            book.peers[peer].handled = number;
            for to in [Some(peer), (peer != FROM).then_some(FROM)].into_iter().flatten() {
                book.peers[to].say(peer as u8, number, pid);
            }
            Self::hang_up(state, pid);
        }
    }

    /// To whoever is reset nothing is said.
    pub(crate) fn hang_up(state: &mut State, pid: Pid) {
        let reset: [bool; CLIENTS] = std::array::from_fn(|peer| state.clients[peer].reset.is_some());
        let peers = &mut state.server_mut(pid).book.peers;
        for (peer, _) in peers.iter_mut().zip(reset).filter(|(_, reset)| *reset) {
            peer.pending.clear();
            peer.aside = 0;
        }
    }

    fn die_of_poison(state: &mut State, pid: Pid) {
        // Who has waited for long enough waits no longer.
        let is_allowed = state.patience_ended || state.is_sheltered(pid);
        state.poison_kills_unarmed |= state.poison_kills > 0 && !is_allowed;
        state.poison_kills += 1;
        state.die(pid);
    }

    fn take_up_aside(&self, state: &mut State, pid: Pid, peer: usize) {
        let count = std::mem::take(&mut state.server_mut(pid).book.peers[peer].aside);
        self.handle(state, pid, peer, count);
    }

    fn write(state: &mut State, pid: Pid, peer: usize, count: u8) {
        let server = state.server_mut(pid);
        server.written_since[peer] = true;
        let written = server.book.peers[peer].have_written(count);
        state.clients[peer].received.extend(written);
    }

    fn write_all(state: &mut State, pid: Pid, peer: usize) {
        let pending = state.server_mut(pid).book.peers[peer].pending.len();
        Self::write(state, pid, peer, pending as u8);
    }

    fn have_let_out(server: &mut Server, peer: usize) {
        let At::LetsOut(mut to) = server.at else { unreachable!("they have their turn") };
        to[peer] = false;
        server.at = if to.contains(&true) { At::LetsOut(to) } else { At::Polls };
    }

    /// A turn while nobody follows. Of two that are joined the kernel passes on what comes.
    fn serve(&self, state: &mut State, pid: Pid, peer: usize) {
        let (unread, aside) = (state.clients[peer].unread(), state.server_mut(pid).book.peers[peer].aside);
        if state.joined {
            Self::write_all(state, pid, TO);
            Self::pass_on(state, pid, if peer == FROM { unread } else { 0 });
        } else if aside == 0 {
            state.clients[peer].read += unread;
            self.handle(state, pid, peer, unread);
        }
        if state.processes[pid].server().is_some() {
            (0..CLIENTS).for_each(|peer| Self::write_all(state, pid, peer));
            state.server_mut(pid).written_since = [false; CLIENTS];
        }
    }

    // ── A commit ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// What a commit tells: of those to whom something is to be written also how far the kernel has come.
    pub(crate) fn told(state: &State, book: &Book) -> Book {
        let mut told = book.clone();
        for (peer, client) in told.peers.iter_mut().zip(&state.clients) {
            peer.offset = if peer.pending.is_empty() { 0 } else { client.written().wrapping_sub(peer.start) };
        }
        told
    }

    /// `Mapping::commit`, the first store.
    fn commit(&self, state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        server.at = At::Commits;
        server.written_since = [false; CLIENTS];
        let book = server.book.clone();
        let mut told = Self::told(state, &book);
        for peer in &mut told.peers {
            if self.has(Mutant::CommitsInTwo) {
                peer.pending.clear();
            }
            if self.has(Mutant::AsideUntold) {
                peer.handled += peer.aside;
                peer.aside = 0;
            }
        }
        let is_told = !self.tells_the_successor_alone(state, pid);
        let link = Self::shared(state, pid);
        if is_told {
            link.committed = Some(told);
        }
        link.intake.iter_mut().for_each(|read| read.obsolete = true);
    }

    /// The second one; and those have their turn for which something waits.
    fn empty_intake(&self, state: &mut State, pid: Pid) {
        let server = state.server_mut(pid);
        let to = std::array::from_fn(|peer| !server.book.peers[peer].pending.is_empty());
        server.at = if to.contains(&true) { At::LetsOut(to) } else { At::Polls };
        let book = server.book.clone();
        let told = Self::told(state, &book);
        let keeps = self.has(Mutant::AsideUntold) || self.tells_the_successor_alone(state, pid);
        let link = Self::shared(state, pid);
        link.intake.clear();
        if !keeps {
            link.committed = Some(told);
        }
    }

    /// What has changed is told once.
    fn tells_the_successor_alone(&self, state: &State, pid: Pid) -> bool {
        self.has(Mutant::ToldOnce) && state.successor_of(pid).is_some()
    }

    // ── Passing on ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// `convey_by_peeking`, call by call.
    fn after_conveying(&self, state: &mut State, action: Action) {
        let first = |state: &mut State, pid, next: fn(u8) -> At| {
            let server = state.server_mut(pid);
            let (At::Conveys(count) | At::HasWritten(count)) = server.at else { unreachable!("it passes on") };
            server.at = next(count);
            count
        };
        match action {
            Action::Convey { pid, count } => {
                let counts = Conveyed { read: state.clients[FROM].read, written: state.clients[TO].written() };
                Self::shared(state, pid).conveyed = Some(counts);
                state.server_mut(pid).at = At::Conveys(count);
            }
            Action::WriteConveyed { pid } => {
                let is_last = self.has(Mutant::TakesOffFirst);
                let count = first(state, pid, if is_last { |_| At::HasTakenOff } else { At::HasWritten });
                let before = if is_last { state.clients[FROM].read - count } else { state.clients[FROM].read };
                Self::write_on(state, pid, before, count);
            }
            Action::TakeOff { pid } => {
                let is_first = self.has(Mutant::TakesOffFirst);
                let count = first(state, pid, if is_first { At::HasWritten } else { |_| At::HasTakenOff });
                state.clients[FROM].read += count;
            }
            Action::HaveConveyed { pid } => {
                Self::shared(state, pid).conveyed = None;
                state.server_mut(pid).at = At::Polls;
            }
            action => unreachable!("{action:?} is no step of passing on"),
        }
    }

    /// What was seen behind the first `before` messages is written to the other one.
    fn write_on(state: &mut State, by: Pid, before: u8, count: u8) {
        for number in before + 1..=before + count {
            let sequence = state.clients[TO].written();
            state.clients[TO].received.push(Answer { sequence, about: FROM as u8, number, by });
        }
    }

    fn pass_on(state: &mut State, pid: Pid, count: u8) {
        Self::write_on(state, pid, state.clients[FROM].read, count);
        state.clients[FROM].read += count;
    }

    /// Where a process begins to serve.
    pub(crate) fn begin_to_serve(state: &mut State, pid: Pid, server: Server) {
        if state.owner.is_none() && !state.over && !state.lost {
            state.owner = Some(pid);
        }
        state.processes[pid] = Process { life: state.processes[pid].life, role: Role::Serves(server) };
    }
}
