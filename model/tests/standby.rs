//! A standby holds what it promises, and the check finds what it should find.

use reactord_model::standby::mutants::Mutant;
use reactord_model::standby::{Standby, check, properties};
use stateright::Checker;

#[test]
fn every_state_of_a_standby_has_every_property() {
    let checker = check(Standby::default());
    println!("{} states, at most {} steps from the start", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1_000_000, "only {} states were reached", checker.unique_state_count());
}

#[test]
fn every_mutant_of_a_standby_is_caught() {
    for mutant in Mutant::ALL {
        let checker = check(Standby { mutant: Some(mutant) });
        let path = checker.discovery(mutant.caught_by());
        let steps = path.unwrap_or_else(|| panic!("{mutant:?} is not caught")).into_actions().len();
        println!("{mutant:?} is caught in {steps} steps, {} states", checker.unique_state_count());
    }
}

#[test]
fn every_property_of_a_standby_catches_a_mutant() {
    for property in properties::always() {
        assert!(
            Mutant::ALL.iter().any(|mutant| mutant.caught_by() == property.name),
            "nothing shows that \"{}\" can be broken",
            property.name
        );
    }
}
