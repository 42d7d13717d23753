//! A successor that calls on the takeover path, up to what it is told when it is welcomed.

use std::path::{Path, PathBuf};

use log::debug;
use mio::Poll;
use reactord_process::channel::{Channel, Deadline};
use reactord_process::frame::printable;
use reactord_process::open_files;
use reactord_process::path;

use super::arrival::{Arrival, Arrived};
use super::arriving::{Accepted, Arriving, Counterpart, Place, Received, SILENCE_MAX};
use super::error::{Cause, TakeoverError};
use super::fault::{self, SuccessorStep as Step};
use super::memory::Expendable;
use super::offer::Offer;
use super::successor::{Called, Receiving};
use super::wire::{Lane, Welcome};
use crate::lanes::Lanes;
use crate::sources::{Plan, Sources};
use crate::worker::Queue;

/// A successor whom the predecessor has welcomed. To drop it is to give up: the predecessor serves on.
#[derive(Debug)]
pub(crate) struct Welcomed {
    channel: Channel,
    path: PathBuf,
    predecessor_pid: u32,
    welcome: Welcome,
    /// Until it owns the peers, this process can go, and nobody is the worse for it.
    expendable: Option<Expendable>,
}

impl Welcomed {
    /// Calls on `path`, and offers to run one of several services.
    ///
    /// # Errors
    /// If nobody answers, or the predecessor refuses.
    pub(crate) fn call(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        let in_context = |pid| move |cause| TakeoverError { path: path.to_owned(), pid, cause };
        let path::Call { socket, pid } = path::call(path).map_err(Cause::Connect).map_err(in_context(None))?;
        let mut channel = Channel::of_successor(socket).map_err(Cause::Channel).map_err(in_context(Some(pid)))?;
        let welcome = greet(&mut channel, offers).map_err(in_context(Some(pid)))?;
        let peers: u64 = welcome.lanes.iter().map(|lane| lane.peers).sum();
        debug!("Welcomed by {} as pid {pid}, with {peers} peers", printable(&welcome.build));
        let expendable = Expendable::until_dropped();
        Ok(Self { channel, path: path.to_owned(), predecessor_pid: welcome.pid, welcome, expendable })
    }

    /// The names of the services to be taken over, which are among those offered.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.welcome.lanes.iter().map(|lane| &*lane.service)
    }

    /// How many peers of each service there will be about, and not more than can be.
    pub(crate) fn peers_expected(&self) -> impl Iterator<Item = (&str, usize)> {
        self.welcome.lanes.iter().map(|lane| (&*lane.service, peers_of(lane)))
    }

    /// Receives everything into `lanes`, whose peers `poll` wakes. When this returns, Accept is in the channel, and the
    /// peers are this process's.
    ///
    /// # Errors
    /// Before the commit point: the predecessor serves on, and knows why.
    pub(crate) fn receive<L: Lanes>(
        self,
        poll: Poll,
        lanes: L,
        sources: Sources,
        plan: Plan,
        queue: Option<Queue>,
        moved_to: Option<&Path>,
    ) -> Result<Arrived<L>, TakeoverError> {
        let receiving = Receiving::expecting(&self.welcome.lanes.iter().map(peers_of).collect::<Vec<_>>());
        let Self { channel, path, predecessor_pid, welcome, expendable } = self;
        let moved_to = moved_to.map(Path::to_owned);
        let counterparts = Counterpart::of_each(&welcome.lanes, &lanes);
        let mut arriving = Arriving { channel, poll, lanes, sources, counterparts, ready_at_ns: None };
        match arriving.receive(receiving, Place { plan, queue, moved_to }) {
            Ok(Received { accepted: Accepted { owner, frozen }, left_behind }) => {
                let Arriving { channel, poll, lanes, sources, .. } = arriving;
                let arrival = Arrival { channel, predecessor_pid, owner, frozen, left_behind, expendable };
                Ok(Arrived { poll, lanes, sources, arrival })
            }
            Err(cause) => {
                arriving.sources.give_up();
                cause.tell(arriving.channel);
                Err(TakeoverError { path, pid: Some(predecessor_pid), cause })
            }
        }
    }
}

/// How many peers a lane has about, and not more than there can be.
fn peers_of(lane: &Lane) -> usize {
    usize::try_from(lane.peers).unwrap_or(usize::MAX).min(open_files::limit())
}

/// Says Hello, and hears the answer.
fn greet(channel: &mut Channel, offers: &[Offer]) -> Result<Welcome, Cause> {
    let offers = offers.iter().map(|offer| offer.0.clone()).collect();
    let (called, hello) = Called::new(offers, open_files::limit() as u64, open_files::count() as u64);
    let deadline = Deadline::after(SILENCE_MAX);
    fault::at(Step::Hello, channel)?;
    // A predecessor that refuses before it hears anything may be gone already; what it said is still there.
    let sent = channel.send_by(&hello, &[], deadline);
    match channel.receive_by(deadline) {
        Ok(raw) => Ok(called.hear(raw.decode()?)?),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}
