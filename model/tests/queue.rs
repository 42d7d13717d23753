//! The queue of a worker with a standby holds what it promises, and the check finds what it should find.

mod asked;

use reactord_model::queue::Queue;

#[test]
fn every_state_of_the_queue_has_every_property() {
    asked::holds(Queue::default());
}

#[test]
fn every_mutant_of_the_queue_is_caught() {
    asked::mutants_are_caught(Queue::default());
}

#[test]
fn every_property_of_the_queue_catches_a_mutant() {
    asked::each_is_broken::<Queue>();
}
