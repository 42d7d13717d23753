//! The services of a server before it serves: a list of types, of which its lanes are made.

use std::io;
use std::time::Duration;

use mio::Registry;

use crate::lane::Lane;
use crate::lanes::{And, Lanes};
use crate::listen::Listen;
use crate::peer::Marks;
use crate::service::StreamService;
use crate::table::Table;
use crate::takeover::offer::Offer;

/// The services of a server: `()`, or those that were there before [`With`] one more.
pub trait Services: Lineup {}

/// One service more than there were before.
#[derive(Debug)]
pub struct With<S, Before> {
    before: Before,
    listeners: Vec<Listen>,
    service: S,
}

impl<S, Before> With<S, Before> {
    pub(crate) fn new(before: Before, listeners: Vec<Listen>, service: S) -> Self {
        Self { before, listeners, service }
    }
}

/// What all lanes of a server are founded on.
#[derive(Debug)]
pub struct Foundation<'f> {
    pub(crate) registry: &'f Registry,
    pub(crate) marks: Marks,
    pub(crate) close_timeout: Duration,
    /// About how many peers each service will have at once, by its name.
    pub(crate) peers_expected: Vec<(&'f str, usize)>,
}

/// What a server makes of its services. Nobody else has any.
#[expect(private_bounds, reason = "nobody outside sees the lanes, nor this")]
pub trait Lineup {
    type Lanes: Lanes;

    /// All services, in the order in which they were given.
    fn offers(&self) -> Vec<Offer>;

    /// Takes the listeners of each.
    fn take_listeners(&mut self) -> Vec<Vec<Listen>>;

    fn found(self, foundation: &Foundation<'_>) -> io::Result<Self::Lanes>;
}

impl Services for () {}

impl Lineup for () {
    type Lanes = ();

    fn offers(&self) -> Vec<Offer> {
        Vec::new()
    }

    fn take_listeners(&mut self) -> Vec<Vec<Listen>> {
        Vec::new()
    }

    fn found(self, _: &Foundation<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl<S: StreamService, Before: Services> Services for With<S, Before> {}

impl<S: StreamService, Before: Services> Lineup for With<S, Before> {
    type Lanes = And<S, Before::Lanes>;

    fn offers(&self) -> Vec<Offer> {
        let mut offers = self.before.offers();
        offers.push(Offer::of::<S>());
        offers
    }

    fn take_listeners(&mut self) -> Vec<Vec<Listen>> {
        let mut listeners = self.before.take_listeners();
        listeners.push(std::mem::take(&mut self.listeners));
        listeners
    }

    fn found(self, foundation: &Foundation<'_>) -> io::Result<Self::Lanes> {
        let before = self.before.found(foundation)?;
        let Foundation { registry, marks, close_timeout, peers_expected } = foundation;
        let capacity = peers_expected.iter().find(|(service, _)| *service == S::NAME).map_or(0, |(_, peers)| *peers);
        let table = Table::new(Before::Lanes::COUNT, registry.try_clone()?, *marks, *close_timeout, capacity);
        Ok(And { before, lane: Lane::new(self.service, table, capacity) })
    }
}
