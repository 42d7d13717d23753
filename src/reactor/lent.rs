//! What the loop lends to those who take over from it.

use std::time::Instant;

use mio::Registry;
use reactord_process::frame::printable;
use reactord_process::path::TakeoverListener;

use crate::annals::Annals;
use crate::build_id::BUILD;
use crate::config::Config;
use crate::lanes::Lanes;
use crate::limited::Limited;
use crate::sources::{Callers, Sources};
use crate::takeover::wire::{Hello, Process};

/// What the loop lends while its succession has its turn.
pub(super) struct Lent<'l, L> {
    pub(super) lanes: &'l mut L,
    pub(super) sources: &'l mut Sources,
    pub(super) registry: &'l Registry,
    pub(super) config: &'l Config,
    pub(super) annals: &'l mut Annals,
    pub(super) limited: &'l mut Limited,
    pub(super) now: Instant,
}

impl<L: Lanes> Lent<'_, L> {
    /// This process, as others are told of it.
    pub(super) fn process(&self) -> Process {
        Process { build: BUILD.to_owned(), pid: std::process::id(), generation: self.annals.generation() }
    }

    /// The process that says this Hello, as others are told of it.
    pub(super) fn successor(&self, hello: &Hello, pid: u32) -> Process {
        Process { build: printable(&hello.build), pid, generation: self.annals.generation() + 1 }
    }

    /// Where a successor calls, if it can.
    pub(super) fn takeover_listener(&self) -> Option<&TakeoverListener> {
        self.sources.callers.as_ref().map(Callers::listener)
    }
}
