//! What stands by, or a mutant of it: which faults it has, and who acts.

use super::mutants::Mutant;
use super::state::{At, State};
use crate::channel::Pid;

/// The protocol of a standby, or a mutant of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standby {
    /// The fault, if it has one.
    pub mutant: Option<Mutant>,
}

impl Standby {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a process reads from peers and writes to them, or will as soon as it has the processor.
    pub fn acts(&self, state: &State, pid: Pid) -> bool {
        state.processes[pid].server().is_some_and(|server| !server.at.is_frozen() && server.at != At::Yields)
    }
}
