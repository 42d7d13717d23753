//! The queue of a worker with a standby holds what it promises, and the check finds what it should find.

mod asked;

use reactord_model::queue::mutants::Mutant;
use reactord_model::queue::{Queue, check, properties};

#[test]
fn every_state_of_the_queue_has_every_property() {
    asked::holds(&check(Queue::default()));
}

#[test]
fn every_mutant_of_the_queue_is_caught() {
    for mutant in Mutant::ALL {
        asked::is_caught(mutant, &check(Queue { mutant: Some(mutant) }), mutant.caught_by());
    }
}

#[test]
fn every_property_of_the_queue_catches_a_mutant() {
    asked::each_is_broken(&properties::always(), &Mutant::ALL.map(Mutant::caught_by));
}
