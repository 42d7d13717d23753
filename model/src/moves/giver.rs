//! What the giver makes of what it has sent and heard: `departure.rs` for a batch, `predecessor.rs`, `drive.rs`.

use super::mutants::Mutant;
use super::protocol::Moves;
use super::state::{
    Batch, Frame, GIVER, GiverStep, Giving, Held, PAIR, PEERS, Peers, Records, State, changed, known_with,
};
use crate::channel::{Pid, Received, Sent};

impl Moves {
    /// It is told to give these: it calls a server, or begins with a taker that has waited.
    pub(crate) fn give(&self, state: &mut State, pid: Pid, wanted: Peers) {
        let mut wanted = wanted;
        if self.has(Mutant::TiesOfBefore) && state.joined && PAIR.iter().any(|&peer| wanted[peer]) {
            PAIR.into_iter().for_each(|peer| wanted[peer] = true);
        }
        state.begun += 1;
        if state.processes[pid].giving == Giving::Queued {
            state.processes[pid].giving = self.begin(state, wanted);
        } else {
            state.connect(pid, Giving::Called(Some(wanted)));
        }
    }

    fn begin(&self, state: &State, wanted: Peers) -> Giving {
        let committed = self.has(Mutant::CommittedKept) && state.accepted > 0;
        Giving::Batch(Batch { wanted, mirror: Records::default(), committed, step: GiverStep::Welcome })
    }

    /// A frame was sent, or the channel said `EPIPE`.
    pub(crate) fn giver_sent(&self, state: &mut State, pid: Pid, frame: Frame, sent: Sent) {
        if sent == Sent::Closed {
            return self.giver_fails(state, pid);
        }
        let Giving::Batch(batch) = &mut state.processes[pid].giving else {
            unreachable!("{frame:?} is sent in a batch");
        };
        match frame {
            Frame::Welcome => batch.step = GiverStep::Sending,
            Frame::Peers(records) => batch.mirror = known_with(batch.mirror, records),
            Frame::Round => batch.step = GiverStep::RoundSent,
            Frame::Changed(changes) => {
                batch.mirror = changed(batch.mirror, changes);
                batch.step = GiverStep::SendCommit;
            }
            // It holds Commit for sent before it is.
            _ => (batch.committed, batch.step) = (true, GiverStep::WaitForAccept),
        }
    }

    /// It hears the taker.
    pub(crate) fn giver_hears(&self, state: &mut State, pid: Pid, received: Received<Frame>) {
        match (state.processes[pid].giving, received) {
            (Giving::Called(None) | Giving::Queued, Received::Frame(Frame::Wait)) => {
                state.processes[pid].giving = Giving::Queued
            }
            (Giving::Called(Some(wanted)), Received::Frame(Frame::Wait)) => {
                state.processes[pid].giving = self.begin(state, wanted);
            }
            // That is for the log.
            (Giving::Called(_) | Giving::Queued, Received::Frame(Frame::Serving)) => {}
            (Giving::Batch(batch), received) => self.hear_in_batch(state, pid, batch, received),
            _ => self.giver_fails(state, pid),
        }
    }

    /// `Copying::hear`, `hear_before_commit`, `Committed::hear`, `look`.
    fn hear_in_batch(&self, state: &mut State, pid: Pid, batch: Batch, received: Received<Frame>) {
        let looks = batch.step == GiverStep::Look;
        match received {
            Received::Frame(frame) if self.is_acceptance(frame, batch) => self.accepted(state, pid, looks),
            Received::Closed if self.has(Mutant::EndIsAccept) && batch.committed => self.accepted(state, pid, looks),
            Received::Frame(Frame::Ready) if batch.step == GiverStep::RoundSent => self.hear_ready(state, pid, batch),
            // Out of turn, or Refuse: Accept may still follow.
            Received::Frame(_) if looks => {}
            Received::Closed | Received::NotYet if looks => self.found_nothing(state, pid, batch),
            _ => self.giver_fails(state, pid),
        }
    }

    /// Whether it is the Accept that answers Commit.
    fn is_acceptance(&self, frame: Frame, batch: Batch) -> bool {
        let in_turn = batch.committed || self.has(Mutant::AcceptAnyTime);
        match frame {
            Frame::Accept => in_turn,
            Frame::Wait => batch.committed && self.has(Mutant::WaitIsAccept),
            _ => false,
        }
    }

    /// Freezes the peers of the batch and no others, unless somebody was joined to one of them meanwhile.
    fn hear_ready(&self, state: &mut State, pid: Pid, batch: Batch) {
        if self.newcomers(state, pid, &batch).iter().any(Option::is_some) {
            state.processes[pid].giving = Giving::Batch(Batch { step: GiverStep::Sending, ..batch });
            return;
        }
        let giver = &mut state.processes[pid];
        for peer in (0..PEERS).filter(|&peer| batch.mirror[peer].is_some()) {
            // An event that comes to one that is out of reach comes to nothing.
            giver.frozen[peer] = giver.table[peer].take().map(|held| held.record);
        }
        let pending = Self::changes(giver, &batch).iter().any(Option::is_some) && !self.has(Mutant::ChangesUnsent);
        let step = if pending { GiverStep::SendFinal } else { GiverStep::SendCommit };
        giver.giving = Giving::Batch(Batch { step, ..batch });
    }

    /// The taker owns the batch. If the channel has ended, so has the move.
    fn accepted(&self, state: &mut State, pid: Pid, ended: bool) {
        self.let_go(state, pid);
        if ended {
            state.close_giving(pid);
        } else {
            state.processes[pid].giving = Giving::Called(None);
        }
    }

    /// Its descriptors are closed, and no more than that.
    fn let_go(&self, state: &mut State, pid: Pid) {
        let Some(batch) = state.processes[pid].giving.batch() else {
            unreachable!("only a batch is let go");
        };
        for peer in (0..PEERS).filter(|&peer| batch.mirror[peer].is_some()) {
            let giver = &mut state.processes[pid];
            if !self.has(Mutant::MoveIsOneBatch) {
                giver.frozen[peer] = None;
            }
            if self.has(Mutant::LetsGoOfWhoCameBack) {
                giver.table[peer] = None;
            }
            state.peers[peer].hung_up |= self.has(Mutant::GiverHangsUp) && state.peers[peer].owner.is_some();
        }
    }

    fn found_nothing(&self, state: &mut State, pid: Pid, batch: Batch) {
        let step = if self.has(Mutant::LookBeforeShutdown) { GiverStep::Shutdown } else { GiverStep::Thaw };
        state.processes[pid].giving = Giving::Batch(Batch { step, ..batch });
    }

    /// Whoever was frozen gets a turn: what has come meanwhile gives no event again.
    pub(crate) fn thaw(&self, state: &mut State, pid: Pid) {
        let turn = !self.has(Mutant::ThawWithoutTurn);
        let giver = &mut state.processes[pid];
        for (held, frozen) in giver.table.iter_mut().zip(&mut giver.frozen) {
            *held = frozen.take().map(|record| Held { record, turn }).or(*held);
        }
        state.close_giving(pid);
    }

    /// A mistake, the end of the channel, or of a wait. Before the freeze, and between batches, the channel is closed, and
    /// that is that; afterwards it has to be ended.
    pub(crate) fn giver_fails(&self, state: &mut State, pid: Pid) {
        let giving = state.processes[pid].giving;
        if state.processes[pid].gives() {
            state.failed_for_nothing |= !state.disturbed;
        }
        match giving.batch() {
            Some(batch) if batch.step.is_frozen() => {
                let blind = self.has(Mutant::ThawWithoutShutdown) || self.has(Mutant::LookBeforeShutdown);
                let step = if blind { GiverStep::Look } else { GiverStep::Shutdown };
                state.processes[pid].giving = Giving::Batch(Batch { step, ..batch });
            }
            _ => {
                state.channels[pid].send(GIVER, Frame::Refuse);
                state.close_giving(pid);
            }
        }
    }

    /// `say_last` and `shut_down`.
    pub(crate) fn shut_down(&self, state: &mut State, pid: Pid) {
        let Some(batch) = state.processes[pid].giving.batch() else {
            unreachable!("only a batch that has failed is shut down");
        };
        state.channels[pid].send(GIVER, Frame::Refuse);
        state.channels[pid].shutdown();
        let blind = self.has(Mutant::LookBeforeShutdown) || self.has(Mutant::ThawWithoutLook);
        let step = if blind { GiverStep::Thaw } else { GiverStep::Look };
        state.processes[pid].giving = Giving::Batch(Batch { step, ..batch });
    }
}
