//! A standby holds what it promises, and the check finds what it should find.

mod asked;

use reactord_model::standby::mutants::Mutant;
use reactord_model::standby::{Standby, check, properties};

#[test]
fn every_state_of_a_standby_has_every_property() {
    asked::holds(&check(Standby::default()));
}

#[test]
fn every_mutant_of_a_standby_is_caught() {
    for mutant in Mutant::ALL {
        asked::is_caught(mutant, &check(Standby { mutant: Some(mutant) }), mutant.caught_by());
    }
}

#[test]
fn every_property_of_a_standby_catches_a_mutant() {
    asked::each_is_broken(&properties::always(), &Mutant::ALL.map(Mutant::caught_by));
}
