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
