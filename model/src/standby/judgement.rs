//! What a standby makes of a death: `Follower::serve_on`, `judgement.rs`, `Survival::go_on`.

use super::mutants::Mutant;
use super::protocol::Standby;
use super::state::{At, Book, CLIENTS, Client, FROM, Link, Peer, Server, State, TO, Verdict};
use crate::channel::Pid;

impl Standby {
    /// It applies the rest of the journal, asks the kernel, and finishes what was under way.
    pub(crate) fn serve_on(&self, state: &mut State, pid: Pid) {
        let link = state.links[pid].take().expect("it follows");
        let mut book = link.committed.clone().unwrap_or_default();
        Self::count_death(state, &book);
        for peer in 0..CLIENTS {
            let verdict = self.judge_written(&state.clients[peer], &mut book.peers[peer]);
            state.clients[peer].reset = state.clients[peer].reset.or(verdict);
        }
        let rest = self.judge_reads(state, &link);
        Self::begin_to_serve(state, pid, Server { book, at: At::Polls, written_since: [false; CLIENTS] });
        self.take_off(state, &link);
        self.end_partners(state);
        Self::hang_up(state, pid);
        self.go_on(state, pid, rest);
    }

    /// Of whom something was read that came to nothing.
    fn count_death(state: &mut State, committed: &Book) {
        if state.owner.is_some() || state.lost || state.over {
            return;
        }
        for (client, peer) in state.clients.iter_mut().zip(&committed.peers) {
            let unhandled = !state.joined && client.read > peer.handled;
            client.unhandled_deaths = if unhandled { (client.unhandled_deaths + 1).min(2) } else { 0 };
        }
    }

    /// Whether what waits for a peer is what has not been written.
    fn judge_written(&self, client: &Client, peer: &mut Peer) -> Option<Verdict> {
        if client.reset.is_none() && peer.aside > 0 {
            return Some(Verdict::Poison);
        }
        if peer.pending.is_empty() || self.has(Mutant::BlindForWrites) {
            return None;
        }
        let written = client.written().checked_sub(peer.offset.wrapping_add(peer.start));
        let Some(written) = written.filter(|&written| usize::from(written) <= peer.pending.len()) else {
            return Some(Verdict::Doubt);
        };
        peer.have_written(written);
        peer.offset = 0;
        None
    }

    /// How many messages of which peers were read, and came to nothing with who has read them.
    fn judge_reads(&self, state: &State, link: &Link) -> Vec<(usize, u8)> {
        let reads = link.intake.iter().filter(|read| !read.obsolete || self.has(Mutant::IntakeKept));
        let rest = reads.map(|read| {
            let client = &state.clients[read.peer];
            let known = match read.came {
                Some(count) => count,
                None if self.has(Mutant::BlindForReads) => 0,
                None if self.has(Mutant::BelievesReads) => client.said - read.before,
                None => client.read - read.before,
            };
            (read.peer, known)
        });
        rest.filter(|&(_, count)| count > 0).collect()
    }

    /// What was passed on and is still to be taken off.
    fn take_off(&self, state: &mut State, link: &Link) {
        let Some(before) = link.conveyed.filter(|_| !self.has(Mutant::BlindForConveys)) else { return };
        let went = state.clients[TO].written() - before.written;
        let taken = state.clients[FROM].read - before.read;
        state.clients[FROM].read += went.saturating_sub(taken);
    }

    /// Whoever is joined to one that ends ends, too.
    fn end_partners(&self, state: &mut State) {
        if let Some(verdict) = state.clients.iter().find_map(|client| client.reset).filter(|_| state.joined) {
            state.clients.iter_mut().for_each(|client| client.reset = Some(verdict));
        }
    }

    /// What was read last is put aside, and the rest is handled.
    fn go_on(&self, state: &mut State, pid: Pid, mut rest: Vec<(usize, u8)>) {
        let last = if self.has(Mutant::PoisonTakenUp) { None } else { rest.pop() };
        for (peer, count) in rest {
            if state.processes[pid].server().is_some() && state.clients[peer].reset.is_none() {
                self.handle(state, pid, peer, count);
            }
        }
        let Some((peer, count)) = last.filter(|(peer, _)| state.clients[*peer].reset.is_none()) else { return };
        if self.has(Mutant::ResetsAtOnce) {
            state.clients[peer].reset = Some(Verdict::Poison);
            return;
        }
        state.server_mut(pid).book.peers[peer].aside = count;
    }
}
