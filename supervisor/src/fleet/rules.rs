//! What a fleet keeps to.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::config::{Ready, Replace, Supply};

/// What the fleet keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) supply: Supply,
    /// When a worker counts as ready that gets the listeners and has not said so.
    pub(crate) ready: Ready,
    /// On which such a worker finishes.
    pub(crate) finish_signal: Signal,
    pub(crate) replace: Replace,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// Whether the shares of workers that serve are kept near to each other.
    pub(crate) rebalance: bool,
}

impl Rules {
    /// Whether a worker takes over from the one that it replaces.
    pub(crate) fn takes_over(&self) -> bool {
        self.replace == Replace::Takeover
    }

    /// Whether it is looked whether workers serve that have not said so.
    pub(crate) fn looks(&self) -> bool {
        self.supply == Supply::Listeners && self.ready == Ready::Tcp
    }
}
