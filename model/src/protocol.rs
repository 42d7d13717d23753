//! The protocol, or a mutant of it: which faults it has, and what follows from those.
//!
//! What can happen in a state is in [`crate::choices`], what it leads to in [`crate::consequences`].

use crate::mutants::Mutant;
use crate::state::{Process, Receiving, Step};

/// The protocol, or a mutant of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocol {
    /// The fault, if it has one.
    pub mutant: Option<Mutant>,
}

impl Protocol {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a process polls, reads, writes or accepts, or will as soon as it has the processor.
    pub fn acts(&self, process: &Process) -> bool {
        let polls = match process.step {
            Step::Polling(_) | Step::Arriving => true,
            Step::Frozen(_) => self.has(Mutant::PollWhileFrozen),
            Step::Receiving(Receiving { last_round, .. }) => last_round && self.has(Mutant::ReadWhileSifting),
            Step::Accept => self.has(Mutant::PollBeforeAccept),
            _ => false,
        };
        polls && process.lives()
    }
}
