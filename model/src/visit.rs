//! What all models have in common, and the visit to every state of one, or of a mutant to as many as it takes.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Property};

/// A model whose states can be visited, and whose paths can be printed.
pub trait Visited:
    Model<State: Clone + PartialEq + Hash + Debug + Send + Sync, Action: Clone + PartialEq + Display>
    + Send
    + Sync
    + 'static
{
}

impl<M> Visited for M where
    M: Model<State: Clone + PartialEq + Hash + Debug + Send + Sync, Action: Clone + PartialEq + Display>
        + Send
        + Sync
        + 'static
{
}

/// A model that has mutants, variants with one fault each, and what is asked of it.
pub trait Mutable: Visited + Copy {
    /// Which fault.
    type Mutant: Copy + Debug + 'static;

    /// All of them.
    const MUTANTS: &'static [Self::Mutant];

    /// The one that it has, if any.
    fn mutant(self) -> Option<Self::Mutant>;

    /// The same model with this one.
    #[must_use]
    fn with(self, mutant: Self::Mutant) -> Self;

    /// The property that it breaks.
    fn caught_by(mutant: Self::Mutant) -> &'static str;

    /// What must hold in every state.
    fn always() -> Vec<Property<Self>>;

    /// That the states are reached which those are about.
    fn sometimes() -> Vec<Property<Self>>;
}

/// Makes a type a model with mutants, of what stands beside it under the same names in each: `State`, `Action` and `Mutant`, the choices
/// in a state and what comes of one (`choices`, `after`), the `properties`, and how far a state has come.
///
/// `visited!(Type, from [states], by |model, state| progress)`
macro_rules! visited {
    ($model:ident, from $start:expr, by $progress:expr) => {
        impl stateright::Model for $model {
            type State = State;
            type Action = Action;

            fn init_states(&self) -> Vec<State> {
                $start.into()
            }

            fn actions(&self, state: &State, actions: &mut Vec<Action>) {
                self.choices(state, actions);
            }

            fn next_state(&self, before: &State, action: Action) -> Option<State> {
                let after = self.after(action, before);
                let progress: fn(&Self, &State) -> i32 = $progress;
                assert!(
                    self.mutant.is_some() || !action.is_due() || progress(self, &after) > progress(self, before),
                    "{action:?} leads nowhere in {before:#?}"
                );
                Some(after)
            }

            fn properties(&self) -> Vec<stateright::Property<Self>> {
                [properties::always(), properties::sometimes()].concat()
            }
        }

        impl $crate::visit::Mutable for $model {
            type Mutant = Mutant;

            const MUTANTS: &'static [Mutant] = &Mutant::ALL;

            fn mutant(self) -> Option<Mutant> {
                self.mutant
            }

            fn with(mut self, mutant: Mutant) -> Self {
                self.mutant = Some(mutant);
                self
            }

            fn caught_by(mutant: Mutant) -> &'static str {
                mutant.caught_by()
            }

            fn always() -> Vec<stateright::Property<Self>> {
                properties::always()
            }

            fn sometimes() -> Vec<stateright::Property<Self>> {
                properties::sometimes()
            }
        }
    };
}

pub(crate) use visited;

/// Visits the states of a model in the order of their distance from the start: all of them, or, of a mutant, as many as it takes to
/// break the property that should catch it.
pub fn check<M: Mutable>(model: M) -> impl Checker<M> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads);
    let checker = match model.mutant() {
        None => checker,
        Some(mutant) => checker.finish_when(HasDiscoveries::AnyOf(BTreeSet::from([M::caught_by(mutant)]))),
    };
    checker.spawn_bfs().join()
}
