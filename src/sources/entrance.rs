//! Where peers come from: a TCP listener, or the queue of the supervisor that this process works for.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use log::{debug, info, warn};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};

use super::queue::Draw;
use super::source::{Source, Tokens};
use crate::peer::{Address, PeerId};
use reactord_process::accept::{ACCEPTS_PER_TURN, Accepting};

/// Where peers come from, and whether and when they are let in.
#[derive(Debug)]
pub(crate) struct Entrance {
    leads_from: LeadsFrom,
    accepting: Accepting,
    /// How many may still be let in this turn.
    budget: u32,
}

#[derive(Debug)]
enum LeadsFrom {
    /// Clients connect to this process.
    Listener(TcpListener),
    /// A supervisor accepts for this process.
    Queue(Draw),
    /// Nobody is let in any more.
    Nowhere,
}

impl Entrance {
    pub(crate) fn of_listener(listener: TcpListener) -> Self {
        Self::new(LeadsFrom::Listener(listener))
    }

    pub(crate) fn of_queue(draw: Draw) -> Self {
        Self::new(LeadsFrom::Queue(draw))
    }

    /// Nobody comes.
    pub(crate) fn nowhere() -> Self {
        Self::new(LeadsFrom::Nowhere)
    }

    fn new(leads_from: LeadsFrom) -> Self {
        Self { leads_from, accepting: Accepting::begin(), budget: 0 }
    }

    /// Says that this process serves from now on.
    pub(crate) fn announce(&mut self) {
        match &mut self.leads_from {
            LeadsFrom::Listener(listener) => match listener.local_addr() {
                Ok(address) => info!("Starting TCP server on {}", Address(address)),
                // It is known by its descriptor, and serves all the same.
                Err(error) => info!("Starting TCP server on an address that the kernel does not tell: {error}"),
            },
            LeadsFrom::Queue(draw) => {
                info!("Starting worker on a supervisor's queue");
                draw.announce();
            }
            LeadsFrom::Nowhere => {}
        }
    }

    /// A turn of the loop begins: so many may be let in until the next.
    pub(crate) fn begin_turn(&mut self) {
        self.budget = ACCEPTS_PER_TURN;
    }

    /// The next peer. There are `peers` already, and no more than `peers_max` may be.
    pub(crate) fn next(&mut self, peers: usize, peers_max: usize, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        if !self.accepting.is_due(now) {
            return None;
        }
        if self.budget == 0 {
            self.accepting.go_on_next_turn();
            return None;
        }
        self.budget -= 1;
        let room = peers_max.saturating_sub(peers);
        if room == 0 {
            self.accepting.pause();
            self.log_pause(peers, now, &"that is the maximum");
            return None;
        }
        let Self { leads_from, accepting, .. } = self;
        let next = match leads_from {
            LeadsFrom::Listener(listener) => accepting.accept(listener, now),
            LeadsFrom::Queue(draw) => Ok(draw.next(room)),
            LeadsFrom::Nowhere => Ok(None),
        };
        match next {
            Ok(Some(accepted)) => Some(accepted),
            Ok(None) => {
                self.accepting.wait_for_event();
                None
            }
            Err(error) => {
                self.log_pause(peers, now, &error);
                None
            }
        }
    }

    /// Says that further connections are left to the kernel.
    fn log_pause(&mut self, peers: usize, now: Instant, reason: &dyn std::fmt::Display) {
        if self.accepting.pause_is_news(now) {
            warn!("Accepting pauses with {peers} peers, and goes on when one leaves: {reason}");
        }
    }

    /// The peer is gone, so there is room for another.
    pub(crate) fn released(&mut self, id: PeerId) {
        if let LeadsFrom::Queue(draw) = &mut self.leads_from {
            draw.released(id);
        }
        self.accepting.resume();
    }

    /// Whether no peer will come any more.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.leads_from {
            LeadsFrom::Listener(_) => false,
            LeadsFrom::Queue(draw) => draw.has_ended(),
            LeadsFrom::Nowhere => true,
        }
    }

    /// What goes to a successor. A queue does not: each worker has its own.
    pub(crate) fn listener(&self) -> Option<&TcpListener> {
        match &self.leads_from {
            LeadsFrom::Listener(listener) => Some(listener),
            LeadsFrom::Queue(_) | LeadsFrom::Nowhere => None,
        }
    }

    /// Lets nobody in any more, whoever else holds a duplicate of the listener.
    pub(crate) fn close(&mut self) {
        if let LeadsFrom::Listener(listener) = &self.leads_from {
            // To close it would not be enough while a successor that was given up holds a duplicate (unix(7)).
            let shut = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
            debug!("Listening ended: {shut:?}");
        }
        self.leave();
    }

    /// Leaves it to the successor. What a supervisor has offered here and nobody has taken goes to another worker.
    pub(crate) fn leave(&mut self) {
        self.leads_from = LeadsFrom::Nowhere;
    }
}

impl Source for Entrance {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        match &mut self.leads_from {
            LeadsFrom::Listener(listener) => registry.register(listener, tokens.token(0), Interest::READABLE),
            LeadsFrom::Queue(draw) => draw.register(registry, tokens.token(0)),
            LeadsFrom::Nowhere => Ok(()),
        }
    }

    fn hear(&mut self, _: usize, _: &Event) {
        self.accepting.go_on_next_turn();
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.accepting.due(now)
    }
}
