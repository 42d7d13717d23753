//! What the taker makes of what it has sent and heard: `arriving.rs` for a batch, `successor.rs`, `drive.rs`.

use super::mutants::Mutant;
use super::protocol::Moves;
use super::state::{Frame, Held, PEERS, Records, State, TAKER, Taking, changed, channel_of, known_with};
use crate::channel::{Pid, Received, Sent};

impl Moves {
    /// A frame was sent, or the channel said `EPIPE`.
    pub(crate) fn taker_sent(&self, state: &mut State, pid: Pid, frame: Frame, sent: Sent) {
        if sent == Sent::Closed && !(frame == Frame::Accept && self.has(Mutant::EpipeIgnored)) {
            return self.taker_gives_up(state, pid);
        }
        if frame == Frame::Accept {
            self.accept(state, pid, sent);
        }
        state.processes[pid].taking = match (frame, state.processes[pid].taking) {
            (Frame::Wait, _) => Taking::Waiting,
            (Frame::Ready, Taking::Receiving { round, .. }) => Taking::Receiving { round, answer: false },
            (Frame::Accept, _) => Taking::Accepted,
            (Frame::Serving, _) if self.has(Mutant::WaitBeforeServing) => Taking::Waiting,
            (Frame::Serving, _) => Taking::Called,
            (frame, taking) => unreachable!("{frame:?} is not sent in {taking:?}"),
        };
    }

    /// The commit point. Whoever has come gets a turn: what came with it gives no event.
    fn accept(&self, state: &mut State, pid: Pid, sent: Sent) {
        let process = &mut state.processes[pid];
        for peer in 0..PEERS {
            let Some(record) = process.book[peer] else { continue };
            process.table[peer] = Some(Held { record, turn: !self.has(Mutant::TakenWithoutTurn) });
            if sent == Sent::Taken {
                state.peers[peer].owner = Some(pid);
            }
        }
        if !self.has(Mutant::BookKept) {
            process.book = Records::default();
        }
        state.accepted += 1;
        if self.has(Mutant::WaitBeforeServing) {
            state.channels[channel_of(pid, TAKER)].send(TAKER, Frame::Wait);
        }
    }

    /// It hears the giver.
    pub(crate) fn taker_hears(&self, state: &mut State, pid: Pid, received: Received<Frame>) {
        let Received::Frame(frame) = received else {
            return self.taker_gives_up(state, pid);
        };
        let process = &mut state.processes[pid];
        process.taking = match (process.taking, frame) {
            (Taking::Waiting, Frame::Welcome) => Taking::Receiving { round: false, answer: false },
            (Taking::Receiving { round: true, .. }, Frame::Peers(_)) if self.has(Mutant::NewcomerRefused) => {
                return self.taker_gives_up(state, pid);
            }
            // They come with their descriptors, which are registered and not read. Joined ones may come later.
            (taking @ Taking::Receiving { .. }, Frame::Peers(records)) => {
                process.book = known_with(process.book, records);
                taking
            }
            (Taking::Receiving { .. }, Frame::Round) => Taking::Receiving { round: true, answer: true },
            (taking @ Taking::Receiving { round: true, .. }, Frame::Changed(changes)) => {
                process.book = changed(process.book, changes);
                taking
            }
            (Taking::Receiving { round: true, .. }, Frame::Commit { digest })
                if self.verifies(process.book, digest) =>
            {
                Taking::Accept
            }
            // Refuse, or a fault.
            _ => return self.taker_gives_up(state, pid),
        };
    }

    /// `Book::commit`
    fn verifies(&self, book: Records, digest: Records) -> bool {
        if self.has(Mutant::BookKept) {
            return digest.iter().zip(book).all(|(sent, arrived)| sent.is_none() || *sent == arrived);
        }
        book == digest
    }

    /// It tells the giver as far as the channel still carries it, and drops what it has adopted and does not own. It serves
    /// on.
    pub(crate) fn taker_gives_up(&self, state: &mut State, pid: Pid) {
        state.channels[channel_of(pid, TAKER)].send(TAKER, Frame::Refuse);
        for (peer, _) in state.processes[pid].book.iter().enumerate().filter(|(_, known)| known.is_some()) {
            state.peers[peer].hung_up |= self.has(Mutant::TakerHangsUp) && state.peers[peer].owner.is_some();
        }
        state.close_taking(pid);
        if self.has(Mutant::ForgetsTheBatchesBefore) && pid != 0 {
            state.processes[pid].table = [None; PEERS];
        }
    }
}
