//! What the loop listens to besides peers. All sources have one shape: an event is only noted, and what it stands for is
//! done when the source is tended, in each turn of the loop.

mod asks;
mod callers;
mod doorways;
mod entrance;
mod handled_signals;
mod listener;
mod plan;
mod queue;
mod signals;
mod source;
mod vestibule;

use std::io;
use std::time::Instant;

use mio::Registry;

pub(crate) use asks::{Asked, Asks};
pub(crate) use callers::{Callers, Greeting, Request};
pub(crate) use doorways::{Doorway, Doorways};
pub(crate) use entrance::{Entrance, QUEUE_LANE, Room};
#[cfg(feature = "program")]
pub(crate) use handled_signals::is_beginning;
pub(crate) use listener::{Came, Listener};
pub(crate) use plan::Plan;
pub(crate) use queue::{Draw, Inherited, Offer};
pub(crate) use signals::StopSignals;
pub(crate) use source::{Name, Source, Tokens};
pub(crate) use vestibule::Vestibule;
#[cfg(feature = "tls")]
pub(crate) use vestibule::{Met, Share, Welcome};

/// Those that a server has for all its life.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) entrance: Entrance,
    /// Who has come in and speaks TLS, until its handshake is over.
    pub(crate) vestibule: Vestibule,
    /// Who calls on the takeover path, if there is one.
    pub(crate) callers: Option<Callers>,
    pub(crate) signals: Option<StopSignals>,
    /// What other threads ask for, if they can.
    pub(crate) asks: Option<Asks>,
}

impl Sources {
    /// None yet.
    pub(crate) fn none() -> Self {
        Self { entrance: Entrance::nowhere(), vestibule: Vestibule::new(), callers: None, signals: None, asks: None }
    }

    /// Lets peers in.
    pub(crate) fn open(&mut self, registry: &Registry, entrance: Entrance) -> io::Result<()> {
        self.entrance = entrance;
        self.entrance.register(registry, Tokens::of(Name::Entrance))
    }

    /// Answers those who call.
    pub(crate) fn answer(&mut self, registry: &Registry, callers: Callers) -> io::Result<()> {
        self.callers.insert(callers).register(registry, Tokens::of(Name::Callers))
    }

    /// Obeys signals.
    pub(crate) fn obey(&mut self, registry: &Registry, signals: StopSignals) -> io::Result<()> {
        self.signals.insert(signals).register(registry, Tokens::of(Name::Signals))
    }

    /// Does what other threads ask for.
    pub(crate) fn listen_to(&mut self, registry: &Registry, asks: Asks) -> io::Result<()> {
        self.asks.insert(asks).register(registry, Tokens::of(Name::Asks))
    }

    /// The source with this name.
    pub(crate) fn find(&mut self, name: Name) -> Option<&mut dyn Source> {
        match name {
            Name::Entrance => Some(&mut self.entrance),
            Name::Vestibule => Some(&mut self.vestibule),
            Name::Callers => self.callers.as_mut().map(|callers| -> &mut dyn Source { callers }),
            Name::Signals => self.signals.as_mut().map(|signals| -> &mut dyn Source { signals }),
            Name::Asks => self.asks.as_mut().map(|asks| -> &mut dyn Source { asks }),
            // They come and go with takeovers and moves.
            Name::Departure | Name::Giver | Name::Taker | Name::Upgrade | Name::Listings | Name::Standby => None,
        }
    }

    /// When the first of them is to be tended if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let callers = self.callers.as_ref().and_then(|callers| callers.due(now));
        let signals = self.signals.as_ref().and_then(|signals| signals.due(now));
        let asks = self.asks.as_ref().and_then(|asks| asks.due(now));
        [self.entrance.due(now), self.vestibule.due(now), callers, signals, asks].into_iter().flatten().min()
    }

    /// Gives up before anybody was served, and leaves no takeover path that was bound for it.
    pub(crate) fn give_up(self) {
        let listener = self.callers.as_ref().map(Callers::listener);
        if let Some(listener) = listener.filter(|listener| listener.bound_here()) {
            listener.remove();
        }
    }
}
