//! Signals, of which some ask the server to stop, as a source of the loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use log::warn;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::sys::signal::Signal;

use super::handled_signals::HandledSignals;
use super::source::{Source, Tokens};
use crate::config::Config;

/// SIGTERM and SIGINT, and beside them those that are harmless.
#[derive(Debug)]
pub(crate) struct StopSignals {
    signals: HandledSignals,
    /// One may have come.
    heard: bool,
}

impl StopSignals {
    /// Those that the configuration says, if there are any.
    pub(crate) fn watch(config: &Config) -> io::Result<Option<Self>> {
        Ok(HandledSignals::watch(config)?.map(|signals| Self { signals, heard: true }))
    }

    /// The next one that came, where the loop does not run and hears of nothing.
    pub(crate) fn look(&self) -> io::Result<Option<Signal>> {
        self.signals.next()
    }

    /// The next one that came.
    pub(crate) fn tend(&mut self) -> Option<Signal> {
        if !self.heard {
            return None;
        }
        let next = self.signals.next();
        self.heard = matches!(next, Ok(Some(_)));
        next.unwrap_or_else(|error| {
            warn!("A signal was lost: {error}");
            None
        })
    }
}

impl StopSignals {
    /// Whether SIGHUP has come, where it means something, since this was last called.
    pub(crate) fn has_hung_up(&mut self) -> bool {
        self.signals.has_hung_up()
    }

    /// SIGHUP means nothing up to now: it was for another process.
    pub(crate) fn forget_hangup(&mut self) {
        self.signals.has_hung_up();
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Source for StopSignals {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        let descriptor = self.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), tokens.token(0), Interest::READABLE)
    }

    fn hear(&mut self, _: usize, _: &Event) {
        self.heard = true;
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.heard.then_some(now)
    }
}
