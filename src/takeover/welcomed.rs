//! A successor that calls on the takeover path, up to what it is told when it is welcomed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, info};
use mio::Poll;
use mio::net::UnixStream;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use reactord_process::channel::{Channel, Deadline};
use reactord_process::frame::printable;
use reactord_process::open_files;
use reactord_process::path;

use super::arrival::{Arrival, Arrived, How};
use super::arriving::{Accepted, Arriving, Counterpart, Place, Received, SILENCE_MAX};
use super::error::{Cause, TakeoverError, Who};
use super::fault::{self, SuccessorStep as Step};
use super::memory::Expendable;
use super::offer::Offer;
use super::successor::{Called, Objection, Receiving};
use super::user::become_user;
use super::wire::{Lane, Process, Welcome};
use crate::lanes::Lanes;
use crate::sources::{Doorways, Plan, Sources};
use crate::worker::Queue;

/// How often whoever wants to follow calls if it does not see whom it hears, and how long it waits in between.
const CALLS_MAX: usize = 4;
const CALLS_EVERY: Duration = Duration::from_millis(50);

/// A successor whom the predecessor has welcomed. To drop it is to give up: the predecessor serves on.
#[derive(Debug)]
pub(crate) struct Welcomed {
    channel: Channel,
    path: PathBuf,
    welcome: Welcome,
    /// Until it owns the peers, this process can go, and nobody is the worse for it.
    expendable: Option<Expendable>,
    /// It is a standby.
    follows: bool,
    /// The predecessor's process id, as the kernel tells it.
    seen_pid: u32,
}

/// What a successor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To take over; for the upgrade with this number, if it was started for one.
    TakeOver { upgrade: Option<u64> },
    /// To follow, and to serve on when the predecessor has died.
    Follow,
}

/// Whose user a successor is that root has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsUser {
    /// The one that it is.
    AsStarted,
    /// The one that its predecessor is, from before it says anything.
    OfPredecessor,
}

impl Welcomed {
    /// Calls on `path`, and offers to run one of several services; for the upgrade with this number, if the predecessor has
    /// started this process for one.
    ///
    /// # Errors
    /// If nobody answers, or the predecessor refuses.
    pub(crate) fn call(
        path: &Path,
        offers: &[Offer],
        upgrade: Option<u64>,
        is_user: IsUser,
    ) -> Result<Self, TakeoverError> {
        Self::call_for(path, offers, Wish::TakeOver { upgrade }, is_user)
    }

    /// The same to follow whoever answers, as its standby.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub(crate) fn call_to_follow(path: &Path, offers: &[Offer], is_user: IsUser) -> Result<Self, TakeoverError> {
        let mut calls = 1..CALLS_MAX;
        loop {
            let welcomed = Self::call_for(path, offers, Wish::Follow, is_user)?;
            let Self { seen_pid, welcome: Welcome { pid, .. }, .. } = welcomed;
            // Who calls just before a successor puts its name there sees its predecessor.
            if seen_pid == pid || calls.next().is_none() {
                return Ok(welcomed);
            }
            Cause::from(Objection::Unseen { pid, seen_pid }).tell(welcomed.channel);
            std::thread::sleep(CALLS_EVERY);
        }
    }

    fn call_for(path: &Path, offers: &[Offer], wish: Wish, is_user: IsUser) -> Result<Self, TakeoverError> {
        let in_context = |predecessor| move |cause| TakeoverError { path: path.into(), predecessor, cause };
        let path::Call { socket, pid } = path::call(path).map_err(Cause::Connect).map_err(in_context(Who::Nobody))?;
        if is_user == IsUser::OfPredecessor {
            become_user_at(&socket).map_err(in_context(Who::Pid(pid)))?;
        }
        let mut channel = Channel::of_successor(socket).map_err(Cause::Channel).map_err(in_context(Who::Pid(pid)))?;
        let seen_pid = pid;
        let welcome = greet(&mut channel, offers, wish).map_err(in_context(Who::Pid(pid)))?;
        if welcome.has_secrets {
            channel.hold_secrets();
        }
        let peers: u64 = welcome.lanes.iter().map(|lane| lane.peers).sum();
        debug!("Welcomed by {} as pid {pid}, with {peers} peers", printable(&welcome.build));
        let expendable = Expendable::until_dropped();
        Ok(Self { channel, path: path.to_owned(), welcome, expendable, follows: wish == Wish::Follow, seen_pid })
    }

    /// The predecessor's process id, as the kernel tells it.
    pub(crate) fn seen_pid(&self) -> u32 {
        self.seen_pid
    }

    /// Whether it is a standby.
    pub(crate) fn follows(&self) -> bool {
        self.follows
    }

    /// The names of the services to be taken over, which are among those offered.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.welcome.lanes.iter().map(|lane| &*lane.service)
    }

    /// How many peers of each service there will be about, and not more than can be.
    pub(crate) fn peers_expected(&self) -> impl Iterator<Item = (&str, usize)> {
        self.welcome.lanes.iter().map(|lane| (&*lane.service, peers_of(lane)))
    }

    /// Receives everything into `lanes`, whose peers `poll` wakes. When this returns, the peers are this process's.
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
        let moved_to = moved_to.map(Path::to_owned);
        let Begun { mut arriving, receiving, path, predecessor, expendable } = self.begin(poll, lanes, sources);
        match arriving.receive(receiving, Place { plan, queue, moved_to }) {
            Ok(Received { accepted: Accepted { owner, frozen }, left_behind }) => {
                let Arriving { channel, poll, lanes, sources, counterparts, .. } = arriving;
                let how = How::HandedOver { channel, frozen, lanes_taken: counterparts.len() };
                let arrival = Arrival { how, predecessor, owner, left_behind, expendable };
                Ok(Arrived { poll, lanes, sources, arrival })
            }
            Err(cause) => {
                arriving.sources.give_up();
                cause.tell(arriving.channel);
                Err(TakeoverError { path: path.into(), predecessor: Who::Known(Box::new(predecessor)), cause })
            }
        }
    }
}

/// A successor that is about to receive everything.
pub(crate) struct Begun<L> {
    pub(crate) arriving: Arriving<L>,
    pub(crate) receiving: Receiving,
    pub(crate) path: PathBuf,
    pub(crate) predecessor: Process,
    pub(crate) expendable: Option<Expendable>,
}

impl Welcomed {
    /// Begins to receive into `lanes`, whose peers `poll` wakes.
    pub(crate) fn begin<L: Lanes>(self, poll: Poll, lanes: L, sources: Sources) -> Begun<L> {
        // Behind the lanes come those who wait for their TLS handshakes.
        let expected: Vec<usize> = self.welcome.lanes.iter().map(peers_of).chain([0]).collect();
        let receiving = Receiving::expecting(&expected);
        let Self { channel, path, welcome, expendable, .. } = self;
        let Welcome { build, pid, generation, .. } = &welcome;
        let predecessor = Process { build: printable(build), pid: *pid, generation: *generation };
        let counterparts = Counterpart::of_each(&welcome.lanes, &lanes);
        let doorways = Doorways::default();
        let arriving =
            Arriving { channel, poll, lanes, sources, counterparts, doorways, licence: None, ready_at_ns: None };
        Begun { arriving, receiving, path, predecessor, expendable }
    }
}

/// Makes this process, if it is root's, one of the user that serves on `path`: uid, gid and supplementary groups. It is to be
/// called before anything is opened for the takeover. Whoever is that user already stays as it is; anybody else is
/// refused by the server.
///
/// # Errors
/// If nobody answers on the path, or this process cannot become that user; then it is still root's, unless the kernel has
/// changed its groups and refused the rest.
pub fn become_user_of(path: &Path) -> Result<(), TakeoverError> {
    let in_context = |predecessor| move |cause| TakeoverError { path: path.into(), predecessor, cause };
    let call = path::call(path).map_err(Cause::Connect).map_err(in_context(Who::Nobody))?;
    become_user_at(&call.socket).map_err(in_context(Who::Pid(call.pid)))
}

/// The same with the user at the other end of a connection.
fn become_user_at(predecessor: &UnixStream) -> Result<(), Cause> {
    let user = getsockopt(predecessor, PeerCredentials).map_err(lost)?;
    let (uid, gid, pid) = (user.uid(), user.gid(), user.pid().unsigned_abs());
    if !geteuid().is_root() || uid == 0 {
        return Ok(());
    }
    become_user(uid, gid, pid).map_err(Cause::User)?;
    info!("Going on as uid {uid}, as pid {pid} does, from which is to be taken over");
    Ok(())
}

fn lost(errno: Errno) -> Cause {
    Cause::Io { what: "the predecessor's user", error: io::Error::from(errno) }
}

/// How many peers a lane has about, and not more than there can be.
fn peers_of(lane: &Lane) -> usize {
    usize::try_from(lane.peers).unwrap_or(usize::MAX).min(open_files::limit())
}

/// Says Hello, and hears the answer.
fn greet(channel: &mut Channel, offers: &[Offer], wish: Wish) -> Result<Welcome, Cause> {
    let offers = offers.iter().map(|offer| offer.0.clone()).collect();
    let (files_max, files_open) = (open_files::limit() as u64, open_files::count() as u64);
    let (called, hello) = match wish {
        Wish::TakeOver { upgrade } => Called::new(upgrade, offers, files_max, files_open),
        Wish::Follow => Called::following(offers, files_max, files_open),
    };
    let deadline = Deadline::after(SILENCE_MAX);
    fault::at(Step::Hello, channel)?;
    // A predecessor that refuses before it hears anything may be gone already; what it said is still there.
    let sent = channel.send_by(&hello, &[], deadline);
    match channel.receive_by(deadline) {
        Ok(raw) => Ok(called.hear(raw.decode()?)?),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}
