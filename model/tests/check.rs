//! The protocol holds, and the check finds what it should find.

mod asked;

use reactord_model::mutants::Mutant;
use reactord_model::protocol::Protocol;
use reactord_model::{check, properties};

#[test]
fn every_state_of_the_protocol_has_every_property() {
    asked::holds(&check(Protocol::default()));
}

#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        asked::is_caught(mutant, &check(Protocol { mutant: Some(mutant) }), mutant.caught_by());
    }
}

#[test]
fn every_property_catches_a_mutant() {
    asked::each_is_broken(&properties::always(), &Mutant::ALL.map(Mutant::caught_by));
}
