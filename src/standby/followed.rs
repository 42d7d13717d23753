//! The standby of a server, from its call to its end, as the loop sees it: like a departure that never comes to its last step.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::event::Event;

use super::escort::Escort;
use super::licence::Licensor;
use crate::account::Account;
use crate::lanes::Lanes;
use crate::sources::{Offer, Source, Tokens, Vestibule};
use crate::status::StandbyStatus;
use crate::takeover::admission::Refusal;
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::failure::Failure;
use crate::takeover::wire::{Process, Tickets};

/// Somebody who follows.
#[derive(Debug)]
pub(crate) struct Followed(Phase);

#[derive(Debug)]
enum Phase {
    /// It copies everything once, and is given what the active is woken by in the end.
    Copies(Box<Departure>, OwnedFd),
    /// It is told what changes.
    Follows(Box<Escort>),
}

/// What a turn has led to.
#[derive(Debug)]
pub(crate) enum Turn {
    On(Followed),
    /// The same, and the standby could serve on from now.
    Armed(Followed),
    /// It is followed no more; it has been told why, if it still listens.
    Lost(Process, Failure),
}

impl Followed {
    /// It has been welcomed.
    pub(crate) fn begin(departure: Departure, epoll: OwnedFd) -> Self {
        Self(Phase::Copies(Box::new(departure), epoll))
    }

    /// Who follows.
    pub(crate) fn standby(&self) -> &Process {
        match &self.0 {
            Phase::Copies(departure, _) => departure.successor(),
            Phase::Follows(escort) => escort.standby(),
        }
    }

    /// Whether it could serve on.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(&self.0, Phase::Follows(escort) if escort.armed_since_unix_ms().is_some())
    }

    /// Its licence, if it was given one.
    pub(crate) fn licensor(&self) -> Option<&Licensor> {
        match &self.0 {
            Phase::Copies(..) => None,
            Phase::Follows(escort) => Some(escort.licensor()),
        }
    }

    /// How many peers it knows.
    pub(crate) fn peers(&self) -> u64 {
        match &self.0 {
            Phase::Copies(departure, _) => departure.copied(),
            Phase::Follows(escort) => escort.peers(),
        }
    }

    /// How it stands, with the peers of these lanes.
    pub(crate) fn status<L: Lanes>(&self, lanes: &L) -> StandbyStatus {
        let (armed_since_unix_ms, in_doubt) = match &self.0 {
            Phase::Copies(..) => (None, lanes.peers() as u64),
            Phase::Follows(escort) => (escort.armed_since_unix_ms(), escort.in_doubt(lanes)),
        };
        StandbyStatus { pid: self.standby().pid, armed_since_unix_ms, peers: self.peers(), in_doubt }
    }

    pub(crate) fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        match &mut self.0 {
            Phase::Copies(departure, _) => departure.register(registry, tokens),
            Phase::Follows(escort) => escort.register(registry, tokens),
        }
    }

    /// It has its turn between any two polls; that the channel takes more would be missed while it copies, and that there is something
    /// to hear later.
    pub(crate) fn hear(&mut self, event: &Event) {
        match &mut self.0 {
            Phase::Copies(departure, _) if event.is_writable() => departure.writable(),
            Phase::Copies(..) => {}
            Phase::Follows(escort) => escort.readable(),
        }
    }

    /// Whatever may have happened to the channel has.
    #[cfg(test)]
    pub(super) fn hear_of_everything(&mut self) {
        match &mut self.0 {
            Phase::Copies(departure, _) => departure.writable(),
            Phase::Follows(escort) => escort.readable(),
        }
    }

    /// When it is to have a turn if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        match &self.0 {
            Phase::Copies(departure, _) => Some(departure.due_at(now)),
            Phase::Follows(escort) => escort.due(now),
        }
    }

    /// Tells of those whom a supervisor offers, before they are taken. False if it does not know them.
    pub(crate) fn tell_of_offers(&mut self, offers: &[Offer<'_>]) -> bool {
        match &mut self.0 {
            Phase::Copies(..) => false,
            Phase::Follows(escort) => escort.tell_of_offers(offers),
        }
    }

    /// Tells with which keys tickets are sealed from now on. False where it is not followed yet, and has to be told later.
    pub(crate) fn tell_tickets(&mut self, tickets: Tickets) -> bool {
        match &mut self.0 {
            Phase::Copies(..) => false,
            Phase::Follows(escort) => {
                escort.tell_tickets(tickets);
                true
            }
        }
    }

    /// Some have had their turn: those to whom something is to be written have waited for long enough, if there are many.
    pub(crate) fn commit_if_much<L: Lanes>(&mut self, lanes: &mut L) {
        if let Phase::Follows(escort) = &mut self.0 {
            escort.commit_if_much(lanes);
        }
    }

    /// The same, however few they are. False if it is not to be followed any more, as the next [turn](Self::turn) says.
    pub(crate) fn commit<L: Lanes>(&mut self, lanes: &mut L) -> bool {
        match &mut self.0 {
            // It serves nobody on.
            Phase::Copies(..) => true,
            Phase::Follows(escort) => escort.commit_now(lanes),
        }
    }

    /// The loop has turned, and all that was to be done in it is done.
    pub(crate) fn turn<L: Lanes>(
        self,
        lanes: &mut L,
        account: impl FnOnce(&L) -> Account,
        freeze_timeout: Duration,
        now: Instant,
    ) -> Turn {
        match self.0 {
            Phase::Copies(departure, epoll) => copy(*departure, epoll, lanes, freeze_timeout, now),
            Phase::Follows(mut escort) => match escort.turn(lanes, account, now) {
                Ok(is_armed_now) => {
                    let on = Self(Phase::Follows(escort));
                    if is_armed_now { Turn::Armed(on) } else { Turn::On(on) }
                }
                Err(failure) => {
                    let standby = escort.standby().clone();
                    escort.dismiss(&failure.frame());
                    Turn::Lost(standby, failure)
                }
            },
        }
    }

    /// It is followed no more, and is told why.
    pub(crate) fn dismiss(self, why: &Refusal) {
        match self.0 {
            Phase::Copies(departure, _) => departure.abandon(why),
            Phase::Follows(escort) => escort.dismiss(&why.frame()),
        }
    }
}

fn copy<L: Lanes>(departure: Departure, epoll: OwnedFd, lanes: &mut L, freeze_timeout: Duration, now: Instant) -> Turn {
    let standby = departure.successor().clone();
    // Whoever waits for a TLS handshake ends with this process.
    let turned = departure.turn(lanes, &mut Vestibule::new(), freeze_timeout, true, now);
    let begun = turned.and_then(|turned| match turned {
        Turned::Copying(departure) => Ok(Phase::Copies(Box::new(departure), epoll)),
        Turned::Ready(ready) => Ok(Phase::Follows(Box::new(Escort::begin(ready, epoll, lanes, now)?))),
    });
    match begun {
        Ok(phase) => Turn::On(Followed(phase)),
        Err(failure) => Turn::Lost(standby, failure),
    }
}
