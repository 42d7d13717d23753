//! What a takeover took.

use std::time::Duration;

use super::wire::{Figures, Process};
use crate::milestone::Takeover;

/// What a takeover took, as both sides log it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) peers: u64,
    /// How many entries of shared state were sent, some of them several times.
    pub(crate) entries: u64,
    pub(crate) figures: Figures,
    pub(crate) pause: Pause,
    pub(crate) predecessor: Process,
    pub(crate) successor: Process,
}

/// From the freeze to the successor's first poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    Exactly {
        us: u64,
    },
    /// The two processes do not share a clock.
    AtMost {
        us: u64,
    },
    /// The predecessor never heard.
    Unknown,
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly { us } => write!(f, "pause {us} us"),
            Self::AtMost { us } => write!(f, "pause at most {us} us"),
            Self::Unknown => write!(f, "pause unknown"),
        }
    }
}

impl From<&Summary> for Takeover {
    fn from(summary: &Summary) -> Self {
        let Figures { batches, rounds, dirty, bytes, copy_us, .. } = summary.figures;
        let pause = match summary.pause {
            Pause::Exactly { us } | Pause::AtMost { us } => Some(Duration::from_micros(us)),
            Pause::Unknown => None,
        };
        Self {
            peers: summary.peers,
            entries: summary.entries,
            batches,
            rounds,
            dirty,
            bytes,
            copy: Duration::from_micros(copy_us),
            pause,
            predecessor_pid: summary.predecessor.pid,
            successor_pid: summary.successor.pid,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { batches, rounds, dirty, bytes, copy_us } = self.figures;
        let Self { peers, entries, pause, predecessor, successor, .. } = self;
        write!(f, "{peers} peers from {predecessor} to {successor}: ")?;
        write!(f, "{batches} batches, {rounds} rounds, {dirty} dirty, ")?;
        if *entries > 0 {
            write!(f, "{entries} entries, ")?;
        }
        write!(f, "{bytes} bytes, copy {copy_us} us, {pause}")
    }
}
