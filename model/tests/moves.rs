//! Moves hold what they promise, and the check finds what it should find.

mod asked;

use reactord_model::moves::Moves;

#[test]
fn every_state_of_moves_has_every_property() {
    asked::holds(Moves::default());
}

#[test]
fn every_mutant_of_moves_is_caught() {
    asked::mutants_are_caught(Moves::default());
}

#[test]
fn every_property_of_moves_catches_a_mutant() {
    asked::each_is_broken::<Moves>();
}
