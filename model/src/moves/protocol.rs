//! Moves, or a mutant of them: which faults they have, and who acts.

use super::mutants::Mutant;
use super::state::Process;

/// Moves, or a mutant of them.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    /// The fault, if it has one.
    pub mutant: Option<Mutant>,
    /// How many bytes clients send in a run.
    pub bytes_max: u8,
}

impl Default for Moves {
    fn default() -> Self {
        Self { mutant: None, bytes_max: 1 }
    }
}

impl Moves {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a process reads and writes a peer, or will as soon as it has the processor.
    pub fn acts(&self, process: &Process, peer: usize) -> bool {
        let blocks = process.is_frozen() && self.has(Mutant::BlocksWhileFrozen);
        let frozen = process.frozen[peer].is_some() && self.has(Mutant::ServesTheFrozen);
        let serves = process.serves(peer) || frozen;
        let reads = process.book[peer].is_some() && self.has(Mutant::ReadsBeforeAccept);
        (serves && !blocks) || reads
    }
}
