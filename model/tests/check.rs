//! The protocol holds, and the check finds what it should find.

mod asked;

use reactord_model::protocol::Protocol;

#[test]
fn every_state_of_the_protocol_has_every_property() {
    asked::holds(Protocol::default());
}

#[test]
fn every_mutant_is_caught() {
    asked::mutants_are_caught(Protocol::default());
}

#[test]
fn every_property_catches_a_mutant() {
    asked::each_is_broken::<Protocol>();
}
