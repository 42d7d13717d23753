//! The queue of a worker with a standby, or a mutant of it.

use super::mutants::Mutant;

/// The queue of a worker with a standby, or a mutant of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    /// The fault, if it has one.
    pub mutant: Option<Mutant>,
}

impl Queue {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
