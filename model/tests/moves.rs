//! Moves hold what they promise, and the check finds what it should find.

mod asked;

use reactord_model::moves::mutants::Mutant;
use reactord_model::moves::{Moves, check, properties};

#[test]
fn every_state_of_moves_has_every_property() {
    asked::holds(&check(Moves::default()));
}

#[test]
fn every_mutant_of_moves_is_caught() {
    for mutant in Mutant::ALL {
        asked::is_caught(mutant, &check(Moves { mutant: Some(mutant), ..Moves::default() }), mutant.caught_by());
    }
}

#[test]
fn every_property_of_moves_catches_a_mutant() {
    asked::each_is_broken(&properties::always(), &Mutant::ALL.map(Mutant::caught_by));
}
