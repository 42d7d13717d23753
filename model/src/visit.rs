//! Visits every state of a model, or of a mutant as many as it takes.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

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

/// In the order of their distance from the start: all states, or as many as it takes to break this property.
pub(crate) fn visit<M: Visited>(model: M, until_broken: Option<&'static str>) -> impl Checker<M> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads);
    let checker = match until_broken {
        None => checker,
        Some(property) => checker.finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property]))),
    };
    checker.spawn_bfs().join()
}
