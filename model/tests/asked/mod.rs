//! What is asked of every model.

use reactord_model::check;
use reactord_model::visit::Mutable;
use stateright::{Checker, Property};

/// Every state has every property, and there are many states.
pub fn holds<M: Mutable<Action: std::fmt::Debug>>(model: M) {
    let checker = check(model);
    println!("{} states, at most {} steps from the start", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1_000_000, "only {} states were reached", checker.unique_state_count());
}

/// The check of each mutant finds that it breaks its property.
pub fn mutants_are_caught<M: Mutable>(model: M) {
    for &mutant in M::MUTANTS {
        let checker = check(model.with(mutant));
        let path = checker.discovery(M::caught_by(mutant));
        let steps = path.unwrap_or_else(|| panic!("{mutant:?} is not caught")).into_actions().len();
        println!("{mutant:?} is caught in {steps} steps, {} states", checker.unique_state_count());
    }
}

/// Every property is broken by some mutant.
pub fn each_is_broken<M: Mutable>() {
    for Property { name, .. } in M::always() {
        let is_broken = M::MUTANTS.iter().any(|mutant| M::caught_by(*mutant) == name);
        assert!(is_broken, "nothing shows that \"{name}\" can be broken");
    }
}
