//! What a takeover took.

use super::wire::Figures;

/// What a takeover took, as both sides log it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) peers: u64,
    pub(crate) figures: Figures,
    /// From the freeze to the successor's first poll. `None` if the predecessor never heard.
    pub(crate) pause_us: Option<u64>,
    pub(crate) predecessor_pid: u32,
    pub(crate) successor_pid: u32,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { batches, rounds, dirty, bytes, copy_us } = self.figures;
        let Self { peers, pause_us, predecessor_pid, successor_pid, .. } = self;
        write!(f, "{peers} peers from pid {predecessor_pid} to pid {successor_pid}: ")?;
        write!(f, "{batches} batches, {rounds} rounds, {dirty} dirty, {bytes} bytes, copy {copy_us} us, ")?;
        match pause_us {
            Some(pause_us) => write!(f, "pause {pause_us} us"),
            None => write!(f, "pause unknown"),
        }
    }
}
