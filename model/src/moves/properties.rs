//! What must hold in every state of a move, and what must be possible in some.

use stateright::Property;

use super::action::Action;
use super::mutants::Mutant;
use super::protocol::Moves;
use super::state::{GIVER, GiverStep, Giving, Life, PAIR, PEERS, Process, State, Taking, UNMOVABLE};
use crate::channel::{Pid, Sent};

/// Never two processes who act on one peer, be it that one of them is stopped and acts when it is continued.
pub const ONE_ACTS: &str = "at most one process acts on a peer";
/// Who acts on a peer is the one whose ownership the messages establish.
pub const ONLY_THE_OWNER_ACTS: &str = "only the owner acts on a peer";
/// Who owns a peer has it in its table: nobody lets go of one that nobody else has accepted.
pub const OWNER_HAS_IT: &str = "the owner has the peer";
/// Who acts knows all that has happened to the peer, so no byte is lost, repeated or handled out of turn.
pub const NOTHING_LOST: &str = "who acts knows what has happened to the peer";
/// When all who run have done what they can, an owner that runs serves all that it owns, whoever else is stopped.
pub const OWNER_SERVES: &str = "an owner that runs serves its peers in the end";
/// And it has handled all that has come.
pub const BYTES_HANDLED: &str = "what a client has sent is handled in the end";
/// Whoever is not served by a process that was killed keeps its connection.
pub const NOBODY_HANGS_UP: &str = "a peer that changes its owner is not hung up on";
/// A process that runs serves all the time whoever it has not frozen itself.
pub const OTHERS_SERVED: &str = "those who are not in the batch are served meanwhile";
/// Joined peers have the same owner.
pub const TOGETHER: &str = "who is joined is in one process";
/// A service that is not `MOVABLE` keeps its peers: its shared state is in one process.
pub const NOT_SPLIT: &str = "who must not move does not";
/// As long as nothing befalls anybody, a batch that has begun comes through.
pub const FAILS_FOR_A_REASON: &str = "a batch fails only if something befalls somebody";
/// While nobody is stopped, no wait in a batch is ended by nothing but its deadline.
pub const NO_DEADLOCK: &str = "nobody waits in a batch for what never comes";
/// When all who run have done what they can, none of them is in a batch.
pub const ENDS: &str = "a batch ends";
/// And whoever waited to take over from one of them has.
pub const TAKEN_OVER: &str = "a takeover comes when nobody is frozen";

/// What must hold in every state.
pub fn always() -> Vec<Property<Moves>> {
    [in_every_state(), in_the_end()].concat()
}

fn in_every_state() -> Vec<Property<Moves>> {
    vec![
        Property::<Moves>::always(ONE_ACTS, |moves, state| {
            (0..PEERS).all(|peer| acting(moves, state, peer).count() <= 1)
        }),
        Property::<Moves>::always(ONLY_THE_OWNER_ACTS, |moves, state| {
            (0..PEERS).all(|peer| acting(moves, state, peer).all(|pid| state.peers[peer].owner == Some(pid)))
        }),
        Property::<Moves>::always(OWNER_HAS_IT, |_, state| {
            let has = |process: &Process, peer: usize| process.table[peer].is_some() || process.frozen[peer].is_some();
            owned(state).all(|(peer, pid)| has(&state.processes[pid], peer))
        }),
        Property::<Moves>::always(NOTHING_LOST, |moves, state| {
            let knows = |pid: Pid, peer: usize| {
                state.processes[pid].table[peer].is_none_or(|held| held.record == state.peers[peer].record)
            };
            (0..PEERS).all(|peer| acting(moves, state, peer).all(|pid| knows(pid, peer)))
        }),
        Property::<Moves>::always(NOBODY_HANGS_UP, |_, state| state.peers.iter().all(|peer| !peer.hung_up)),
        Property::<Moves>::always(OTHERS_SERVED, |moves, state| {
            owned(state).all(|(peer, pid)| {
                let process = &state.processes[pid];
                process.table[peer].is_none() || moves.acts(process, peer)
            })
        }),
        Property::<Moves>::always(TOGETHER, |_, state| {
            let [first, second] = PAIR.map(|peer| state.peers[peer].owner);
            !state.joined || first == second
        }),
        Property::<Moves>::always(NOT_SPLIT, |_, state| state.peers[UNMOVABLE].owner != Some(1)),
        Property::<Moves>::always(FAILS_FOR_A_REASON, |_, state| !state.failed_for_nothing),
    ]
}

fn in_the_end() -> Vec<Property<Moves>> {
    vec![
        Property::<Moves>::always(OWNER_SERVES, |moves, state| {
            let served = |(peer, pid): (usize, Pid)| !runs(state, pid) || moves.acts(&state.processes[pid], peer);
            owned(state).all(served) || !moves.due(state).is_empty()
        }),
        Property::<Moves>::always(BYTES_HANDLED, |moves, state| {
            let handled = |(peer, pid): (usize, Pid)| !runs(state, pid) || state.unread(peer) == 0;
            owned(state).all(handled) || !moves.due(state).is_empty()
        }),
        Property::<Moves>::always(NO_DEADLOCK, |moves, state| {
            let stopped = state.processes.iter().any(|process| process.life == Life::Stopped);
            let waiting = (0..state.processes.len()).any(|pid| is_in_a_batch(state, pid));
            stopped || !waiting || moves.due(state).iter().any(|action| !action.is_deadline())
        }),
        Property::<Moves>::always(ENDS, |moves, state| {
            !(0..state.processes.len()).any(|pid| runs(state, pid) && is_in_a_batch(state, pid))
                || !moves.due(state).is_empty()
        }),
        Property::<Moves>::always(TAKEN_OVER, |moves, state| {
            let waits = |pid| runs(state, pid) && state.processes[pid].asked;
            !(0..state.processes.len()).any(waits) || !moves.due(state).is_empty()
        }),
    ]
}

/// That the states are reached which the properties above are about.
pub fn sometimes() -> Vec<Property<Moves>> {
    vec![
        Property::<Moves>::sometimes("two batches move to a process that waits", |_, state| {
            state.accepted == 2 && state.processes[1].taking == Taking::Waiting && state.peers[0].owner == Some(1)
        }),
        Property::<Moves>::sometimes("a peer moves there and back", |_, state| {
            let (there, back) = (state.accepted == 2, state.peers[0].owner == Some(0));
            there && back && state.processes[1].giving == Giving::Closed && !state.disturbed
        }),
        Property::<Moves>::sometimes("a pair that was joined during the copy moves", |_, state| {
            state.joined && state.begun == 1 && PAIR.iter().all(|&peer| state.peers[peer].owner == Some(1))
        }),
        Property::<Moves>::sometimes("Accept is found after the shutdown", |_, state| {
            let looks = |giving: Giving| giving.batch().is_some_and(|batch| batch.step == GiverStep::Look);
            state.accepted == 1 && looks(state.processes[0].giving) && state.peers[0].owner == Some(1)
        }),
        Property::<Moves>::sometimes("the batch before stays with the taker when one fails", |moves, state| {
            let kept = state.accepted == 1 && state.begun == 2 && state.peers[0].owner == Some(1);
            kept && state.processes.iter().all(|process| process.lives()) && moves.due(state).is_empty()
        }),
        Property::<Moves>::sometimes("a giver thaws, and handles what came meanwhile", |_, state| {
            let [giver, taker] = &state.processes;
            let thawed = giver.giving == Giving::Closed && taker.taking == Taking::Accept;
            thawed && state.peers[0].record.events() > 0
        }),
        Property::<Moves>::sometimes("the giver is killed, and those it gave live on", |_, state| {
            state.processes[0].life == Life::Killed && state.processes[1].serves(0)
        }),
        Property::<Moves>::sometimes("the taker is killed before Accept, and nobody is lost", |moves, state| {
            let killed = state.processes[1].life == Life::Killed && state.begun == 1;
            killed && (0..PEERS).all(|peer| moves.acts(&state.processes[0], peer)) && moves.due(state).is_empty()
        }),
        Property::<Moves>::sometimes(
            "each has given to the other, and neither has heard that it was accepted",
            |_, state| {
                let frozen = state.processes.iter().all(|process| process.is_frozen());
                frozen && state.accepted == 2 && !state.disturbed
            },
        ),
        Property::<Moves>::sometimes("another is served while Accept is waited for", |_, state| {
            let waits = |giving: Giving| giving.batch().is_some_and(|batch| batch.step == GiverStep::WaitForAccept);
            let turn = state.processes[0].table[0].is_some_and(|held| held.turn);
            waits(state.processes[0].giving) && turn
        }),
        Property::<Moves>::sometimes(
            "a peer comes back before its giver has heard that it was accepted",
            |_, state| {
                let giver = &state.processes[0];
                giver.frozen[0].is_some() && giver.serves(0)
            },
        ),
        Property::<Moves>::sometimes("a takeover waits for the end of a freeze", |_, state| {
            state.processes.iter().any(|process| process.asked && process.is_frozen())
        }),
        Property::<Moves>::sometimes("Accept fails with EPIPE, and both serve on", |moves, state| {
            let epipe =
                |action: &Action| matches!(action, Action::Send { side, sent: Sent::Closed, .. } if *side != GIVER);
            let accepts = state.processes[1].taking == Taking::Accept && state.processes[0].giving == Giving::Closed;
            accepts && moves.due(state).iter().any(epipe) && moves.acts(&state.processes[0], 0)
        }),
    ]
}

fn runs(state: &State, pid: Pid) -> bool {
    state.processes[pid].life == Life::Running
}

fn is_in_a_batch(state: &State, pid: Pid) -> bool {
    runs(state, pid) && (state.processes[pid].gives() || state.processes[pid].takes())
}

/// Who owns whom.
fn owned(state: &State) -> impl Iterator<Item = (usize, Pid)> {
    state.peers.iter().enumerate().filter_map(|(peer, known)| Some((peer, known.owner?)))
}

fn acting(moves: &Moves, state: &State, peer: usize) -> impl Iterator<Item = Pid> {
    let acts = move |(pid, process)| moves.acts(process, peer).then_some(pid);
    state.processes.iter().enumerate().filter_map(acts)
}

impl Mutant {
    /// The property that it breaks.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::ThawWithoutShutdown
            | Self::LookBeforeShutdown
            | Self::ThawWithoutLook
            | Self::ServesTheFrozen
            | Self::MoveIsOneBatch
            | Self::ReadsBeforeAccept
            | Self::TakeoverAmidFreeze => ONE_ACTS,
            Self::EpipeIgnored => ONLY_THE_OWNER_ACTS,
            Self::CommitUnheard
            | Self::AcceptAnyTime
            | Self::CommittedKept
            | Self::WaitIsAccept
            | Self::EndIsAccept
            | Self::ForgetsTheBatchesBefore
            | Self::LetsGoOfWhoCameBack => OWNER_HAS_IT,
            Self::ChangesUnsent | Self::BookKept => NOTHING_LOST,
            Self::ThawWithoutTurn | Self::TakenWithoutTurn => BYTES_HANDLED,
            Self::JoinsTheFrozen | Self::PartnerLeftBehind | Self::TiesOfBefore => TOGETHER,
            Self::MovesTheUnmovable => NOT_SPLIT,
            Self::BlocksWhileFrozen => OTHERS_SERVED,
            Self::GiverHangsUp | Self::TakerHangsUp => NOBODY_HANGS_UP,
            Self::NewcomerRefused | Self::WaitBeforeServing => FAILS_FOR_A_REASON,
            Self::NoDeadline => OWNER_SERVES,
            Self::NoPatience => ENDS,
            Self::DeafDuringCopy => NO_DEADLOCK,
            Self::TakeoverWaitsForTheWaiting => TAKEN_OVER,
        }
    }
}
