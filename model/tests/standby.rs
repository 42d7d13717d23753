//! A standby holds what it promises, and the check finds what it should find.

mod asked;

use reactord_model::standby::Standby;

#[test]
fn every_state_of_a_standby_has_every_property() {
    asked::holds(Standby::default());
}

#[test]
fn every_mutant_of_a_standby_is_caught() {
    asked::mutants_are_caught(Standby::default());
}

#[test]
fn every_property_of_a_standby_catches_a_mutant() {
    asked::each_is_broken::<Standby>();
}
