//! Moves between two servers that both go on serving, as a model of its own, beside that of the takeover.
//!
//! # What is modelled
//!
//! Two processes and four peers, of which two may be joined at any time and one must not move. Process 0 has them all.
//! Process 1 calls and waits to be given some (`--wait`), is given them in batches, and may give them back: then it is the
//! giver that calls, and process 0 a taker that serves. At any moment, between any two system calls, each process may be
//! killed, stopped, and continued later or never; steps may fail; each deadline may end a wait; a client may send a byte;
//! either may be told to give, and a successor may ask for a takeover. Once in a run, before anything else goes wrong, the
//! taker may say Hello or Accept unasked.
//!
//! Both go on polling all the time. So, unlike a predecessor, a giver hears of a peer that it has frozen, and a taker of
//! one that it does not own yet, and neither gets that event again.
//!
//! # Which step is which code
//!
//! | in the model | in the code |
//! | --- | --- |
//! | [`state::Giving`], [`state::Batch`], [`giver`] | the giver: `Departure` of a batch, and its `drive::Drive`, a step in a turn of the loop |
//! | [`state::Taking`], [`taker`] | the taker: `Arriving` for a batch, `successor::Receiving`, and `drive::Accepting` |
//! | `Held`, `turn`, `frozen` | the table: whoever is served, who has a turn, who is frozen |
//! | `book` | what is adopted before Accept |
//! | `Wait`; `Give` of process 1 | `--wait PATH`; a call on the takeover path of a server, to give it peers |
//! | `Give` | a service's wish (`line --steal`), `reactord move` |
//! | `members`, `newcomers` | who moves: `Service::MOVABLE`, and whoever is joined |
//! | `Shutdown`, `Look`, `thaw` | `say_last`, `shut_down`, `look`, as in a takeover |
//! | `TakenOver` | a whole takeover, once no batch is under way |
//!
//! # What is left out, and why that is sound
//!
//! - **What the takeover's model shows**: changes during the copy, digests, rounds, Copied, slips. A batch has one copy of
//!   each peer and one change, after the freeze.
//! - **More processes.** A channel has two ends, and each process is busy with at most one batch: towards a third one it is
//!   a process that declines, and what is said on another channel is not heard in this one.
//! - **Of a process that waits, the reasons to say something later**: whoever waits is waited for by nobody.
//! - **The call of a giver, and that it says what it wants**, is one step, and to hear it and to answer is another.
//! - **More than two batches and two bytes in a run**: what is left of a batch that has ended is its owner, and the channel.
//! - **A peer that leaves, and listeners, timers, shared state**: they do not move, or travel as a change does.

use stateright::{Checker, Model, Property};

use crate::visit::visit;
use action::Action;
use mutants::Mutant;
use progress::progress;
use state::State;

pub use protocol::Moves;

pub mod action;
mod choices;
mod consequences;
pub mod giver;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod state;
pub mod taker;

/// Visits the states of moves, as [`crate::check`] does those of the takeover.
pub fn check(moves: Moves) -> impl Checker<Moves> {
    visit(moves, moves.mutant.map(Mutant::caught_by))
}

impl Model for Moves {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let after = self.after(action, before);
        assert!(
            self.mutant.is_some() || !action.is_due() || progress(self, &after) > progress(self, before),
            "{action:?} leads nowhere in {before:#?}"
        );
        Some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
