//! A standby that serves on when the active has died, as a model of its own, beside those of the takeover and of moves.

use stateright::{Checker, Model, Property};

use crate::visit::visit;
use action::Action;
use mutants::Mutant;
use progress::progress;
use state::State;

pub use protocol::Standby;

pub mod action;
mod choices;
mod consequences;
mod judgement;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod state;

/// Visits the states of a server with a standby, as [`crate::check`] does those of the takeover.
pub fn check(standby: Standby) -> impl Checker<Standby> {
    visit(standby, standby.mutant.map(Mutant::caught_by))
}

impl Model for Standby {
    type State = State;
    type Action = Action;

    /// Either two clients with a service, or two that it has joined.
    fn init_states(&self) -> Vec<State> {
        [false, true].map(State::start).into()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let after = self.after(action, before);
        assert!(
            self.mutant.is_some() || !action.is_due() || progress(&after) > progress(before),
            "{action:?} leads nowhere in {before:#?}"
        );
        Some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
