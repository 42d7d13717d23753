//! A loop that is driven by hand, and a takeover whose two sides are driven by the same hand: what the test kit stands on.

use std::time::{Duration, Instant};

use mio::Poll;
use reactord_process::channel::Channel;

use crate::build_id::BUILD;
use crate::config::Config;
use crate::handle::Handle;
use crate::lane::Lane;
use crate::lanes::{And, Lanes};
use crate::peer::Marks;
use crate::peer::secured::LAYOUT;
use crate::reactor::{Reactor, estate_of};
use crate::recipient::Recipient;
use crate::service::StreamService;
use crate::sources::{Asks, Sources, Vestibule};
use crate::table::Table;
use crate::takeover::admission::{Estate, greet};
use crate::takeover::arriving::{Arriving, Came};
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::error::Cause;
use crate::takeover::offer::Offer;
use crate::takeover::successor::Receiving;
use crate::takeover::wire::{Hello, WIRE_VERSIONS, Welcome};

/// A loop with one lane.
pub(super) type Alone<S> = Reactor<And<S, ()>>;

/// A loop that listens to nobody but its peers, of whom there are none.
pub(super) fn alone<S: StreamService>(service: S, config: &Config) -> (Alone<S>, Handle) {
    let (poll, lanes) = one_lane(service, config);
    reached(poll, lanes, config)
}

/// A loop with another service that has taken over from this one.
///
/// # Errors
/// If the takeover fails: this one serves on.
pub(super) fn hand_over<S: StreamService, T: StreamService>(
    predecessor: &mut Alone<S>,
    service: T,
    config: &Config,
) -> Result<(Alone<T>, Handle), String> {
    let (ours, theirs) = Channel::pair();
    let hello = hello::<T>();
    let lanes = predecessor.lanes_mut();
    let estates: Vec<Estate> = lanes.all().map(estate_of).collect();
    let welcome = greet(&hello, &estates, std::process::id()).map_err(|refusal| refusal.to_string())?;
    let mut successor = Successor::welcomed(theirs, service, config, &welcome);
    lanes.watch(Recipient::Successor);
    let departure = Departure::of_peers(ours, Recipient::Successor, hello, &lanes.keys_end(), Instant::now());
    if let Err(failure) = depart(lanes, departure, &mut successor, config.freeze_timeout) {
        lanes.unwatch(Recipient::Successor);
        return Err(successor.cause.map_or(failure, |cause| cause.to_string()));
    }
    let (poll, lanes) = successor.arriving.into_lanes();
    Ok(reached(poll, lanes, config))
}

/// A loop that another thread reaches.
fn reached<S: StreamService>(poll: Poll, mut lanes: And<S, ()>, config: &Config) -> (Alone<S>, Handle) {
    let handle = Handle::default();
    lanes.each(|lane| {
        let peers = lane.table_mut().peers_mut();
        peers.reached_by(handle.clone());
        peers.connect_with(config.connectors.clone());
    });
    let mut sources = Sources::none();
    let listened = sources.listen_to(poll.registry(), Asks::of(handle.clone()));
    listened.expect("a process may have a few more files open");
    (Reactor::new(poll, lanes, sources, config, usize::MAX), handle)
}

fn depart<T: StreamService>(
    lanes: &mut impl Lanes,
    mut departure: Departure,
    successor: &mut Successor<T>,
    freeze_timeout: Duration,
) -> Result<(), String> {
    loop {
        departure.writable();
        let committed = match departure.turn(lanes, &mut Vestibule::new(), freeze_timeout, true, Instant::now()) {
            Ok(Turned::Copying(next)) => {
                departure = next;
                successor.hear_out();
                continue;
            }
            Ok(Turned::Ready(ready)) => {
                ready.commit_beside(lanes, &mut Vestibule::new(), None, freeze_timeout, || successor.hear_out())
            }
            Err(failure) => Err(failure),
        };
        return committed.map(drop).map_err(|failure| failure.to_string());
    }
}

/// A successor of the same process.
struct Successor<T: StreamService> {
    arriving: Arriving<And<T, ()>>,
    /// `None` once it has accepted, or failed.
    receiving: Option<Receiving>,
    /// Why it has failed.
    cause: Option<Cause>,
}

impl<T: StreamService> Successor<T> {
    fn welcomed(channel: Channel, service: T, config: &Config, welcome: &Welcome) -> Self {
        let (poll, lanes) = one_lane(service, config);
        let versions: Vec<u32> = welcome.lanes.iter().map(|lane| lane.state_version).collect();
        let (arriving, receiving) = Arriving::of_peers(channel, poll, lanes, &versions);
        Self { arriving, receiving: Some(receiving), cause: None }
    }

    /// Hears what has been said by now.
    fn hear_out(&mut self) {
        while let Some(receiving) = self.receiving.take() {
            match self.hear(receiving) {
                Ok(Heard::More(receiving)) => self.receiving = Some(receiving),
                Ok(Heard::All(receiving)) => {
                    self.receiving = Some(receiving);
                    return;
                }
                Ok(Heard::Accepted) => return,
                Err(cause) => {
                    self.arriving.object(&cause);
                    self.cause = Some(cause);
                }
            }
        }
    }

    fn hear(&mut self, receiving: Receiving) -> Result<Heard, Cause> {
        let Some(raw) = self.arriving.next().map_err(Cause::Channel)? else {
            return Ok(Heard::All(receiving));
        };
        Ok(match self.arriving.hear(receiving, &raw)? {
            Came::On(receiving) => Heard::More(receiving),
            Came::Accepted(_) => Heard::Accepted,
        })
    }
}

/// What a successor has heard.
enum Heard {
    /// A frame; there may be another.
    More(Receiving),
    /// Nothing more for now.
    All(Receiving),
    /// The last frame, to which it has said Accept.
    Accepted,
}

/// A service without peers, and what wakes them.
fn one_lane<S: StreamService>(service: S, config: &Config) -> (Poll, And<S, ()>) {
    let poll = Poll::new().expect("a process may have a few more files open");
    let registry = poll.registry().try_clone().expect("a process may have a few more files open");
    let marks = Marks::from(config);
    let lane = Lane::new(service, Table::new(0, registry, marks, config.close_timeout, 0), 0);
    (poll, And { before: (), lane })
}

fn hello<T: StreamService>() -> Hello {
    let Offer(offer) = Offer::of::<T>();
    Hello {
        wire_versions: WIRE_VERSIONS,
        build: BUILD.to_owned(),
        services: vec![offer],
        files_max: u64::MAX,
        files_open: 0,
        upgrade: None,
        tls_layout: LAYOUT,
    }
}
