//! What is asked of every model.

use std::fmt::Debug;

use reactord_model::visit::Visited;
use stateright::{Checker, Property};

/// Every state has every property, and there are many states.
pub fn holds<M: Visited<Action: Debug>>(checker: &impl Checker<M>) {
    println!("{} states, at most {} steps from the start", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1_000_000, "only {} states were reached", checker.unique_state_count());
}

/// The check of a mutant finds that it breaks this property.
pub fn is_caught<M: Visited>(mutant: impl Debug, checker: &impl Checker<M>, property: &'static str) {
    let path = checker.discovery(property);
    let steps = path.unwrap_or_else(|| panic!("{mutant:?} is not caught")).into_actions().len();
    println!("{mutant:?} is caught in {steps} steps, {} states", checker.unique_state_count());
}

/// Every property is broken by some mutant.
pub fn each_is_broken<M: Visited>(always: &[Property<M>], broken: &[&'static str]) {
    for Property { name, .. } in always {
        assert!(broken.contains(name), "nothing shows that \"{name}\" can be broken");
    }
}
