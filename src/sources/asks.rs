//! What other threads ask of the server, as a source of the loop.

use std::io;
use std::time::Instant;

use mio::event::Event;
use mio::{Registry, Waker};

use super::source::{Source, Tokens};
use crate::handle::{Answer, Handle};

/// The loop's end of the handles of a server.
#[derive(Debug)]
pub(crate) struct Asks {
    handle: Handle,
    /// Something may have been asked for: also before the loop could hear of it.
    heard: bool,
}

/// What was asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) stops: u32,
    pub(crate) wake: bool,
    pub(crate) questions: Vec<Answer>,
}

impl Asks {
    pub(crate) fn of(handle: Handle) -> Self {
        Self { handle, heard: true }
    }

    /// Whether the server is to stop, where the loop does not run and hears of nothing.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.handle.is_to_stop()
    }

    /// What has been asked for since this was last called.
    pub(crate) fn tend(&mut self) -> Asked {
        if !std::mem::take(&mut self.heard) {
            return Asked::default();
        }
        let (stops, wake) = (self.handle.take_stops(), self.handle.take_wake());
        Asked { stops, wake, questions: self.handle.take_questions() }
    }
}

impl Source for Asks {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        self.handle.set_waker(Some(Waker::new(registry, tokens.token(0))?));
        Ok(())
    }

    fn hear(&mut self, _: usize, _: &Event) {
        self.heard = true;
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.heard.then_some(now)
    }
}

impl Drop for Asks {
    /// The handles outlive the loop, and what would wake it does not. Nobody answers any more.
    fn drop(&mut self) {
        self.handle.set_waker(None);
        drop(self.handle.take_questions());
    }
}
