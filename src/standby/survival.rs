//! What the death of an active was, for the log and for whoever asks.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::nice;

use super::judgement::Doubt;
use super::vigil::Vigil;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::milestone::Survived;
use crate::peer::Address;
use crate::table::PeerHandle;
use crate::takeover::wire::Process;

/// What clients are told whose connections are reset is nothing; their service is told this.
const WHY_RESET: &str = "the process that served it has died, and it is not certain how far it had come";

/// For what is done while nothing else is.
const IDLE: i32 = 19;

/// Why a peer is not served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its connection is over already.
    Over,
    /// It is reset, and why.
    Doubt(Doubt),
    /// It is reset: what it said was put aside once, and the process that has handled it then has died, too.
    Poison,
}

/// A death that this process has survived.
#[derive(Debug)]
pub(crate) struct Survival {
    /// Who has died.
    pub(super) active: Process,
    /// It was killed since its loop did not turn any more.
    pub(super) hung: bool,
    /// When that was noticed: `CLOCK_MONOTONIC`, ns.
    pub(super) noticed_at_ns: u64,
    pub(super) judged: Judged,
    pub(super) remains: Remains,
}

/// What is left of the active, to be closed when there is time for that.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// What it was woken by.
    pub(super) epoll: Option<OwnedFd>,
    pub(super) vigil: Option<Vigil>,
}

/// What is left to be done about a peer, in this order.
#[derive(Debug)]
pub(super) enum Rest {
    /// Bytes of its that were passed on, and not taken off.
    TakeOff(usize),
    /// Bytes of its that were read, and come to nothing with who has read them.
    TakeUp(Vec<u8>),
}

/// What was found of all peers.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// How many there are.
    pub(super) peers: u64,
    ended: Vec<(PeerHandle, Verdict)>,
    /// Those of them whose messages have killed twice.
    poisonous: Vec<Address>,
    /// Those of whose messages it is still not known whether they kill: the process that has put them aside has died before it has
    /// handled them.
    suspects: Vec<PeerHandle>,
    /// Whose kept input was being handled.
    kept_from: Option<PeerHandle>,
    /// What is left to be done about the others.
    rest: Vec<(PeerHandle, Rest)>,
}

impl Judged {
    /// It cannot be served on, unless that is known already.
    pub(super) fn end(&mut self, handle: PeerHandle, verdict: Verdict) {
        if self.ended.iter().all(|(ended, _)| *ended != handle) {
            self.ended.push((handle, verdict));
        }
    }

    pub(super) fn end_poisonous(&mut self, handle: PeerHandle, address: Address) {
        self.poisonous.push(address);
        self.end(handle, Verdict::Poison);
    }

    pub(super) fn suspect(&mut self, handle: PeerHandle) {
        self.suspects.push(handle);
    }

    pub(super) fn keep_from(&mut self, handle: PeerHandle) {
        self.kept_from = Some(handle);
    }

    pub(super) fn leave(&mut self, handle: PeerHandle, rest: Rest) {
        self.rest.push((handle, rest));
    }

    /// Whoever is joined to one that ends ends, too.
    pub(super) fn end_partners<L: Lanes>(&mut self, lanes: &L) {
        let partner_of = |&(handle, _): &(PeerHandle, Verdict)| {
            let peers = lanes.lane(handle.lane()).table().peers();
            peers.handle_at(peers.partner_key(peers.of_handle(handle)?)?)
        };
        let partners: Vec<PeerHandle> = self.ended.iter().filter_map(partner_of).collect();
        partners.into_iter().for_each(|partner| self.end(partner, Verdict::Doubt(Doubt::Joined)));
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.ended.iter().filter(|(_, of_it)| *of_it == verdict).count() as u64
    }

    fn reset(&self) -> u64 {
        self.ended.len() as u64 - self.count(Verdict::Over)
    }

    fn served_on(&self) -> u64 {
        self.peers - self.ended.len() as u64
    }
}

impl Survival {
    /// Resets those who cannot be served on, and finishes what was under way for the others. Their services have begun. Returns who
    /// has said what the active was handling, was about to handle, or had handled last: it may have died of that, so that is put aside.
    /// Before that one come those of whom it was known.
    pub(crate) fn go_on<L: Lanes>(&mut self, lanes: &mut L) -> Vec<PeerHandle> {
        for (handle, _) in &self.judged.ended {
            lanes.lane_mut(handle.lane()).reset(*handle, WHY_RESET);
        }
        let mut suspects = std::mem::take(&mut self.judged.suspects);
        let mut rest = std::mem::take(&mut self.judged.rest);
        // Where something was handled that was kept, it has not died of what was read last.
        let last = if self.judged.kept_from.is_none() { rest.pop() } else { None };
        // What it has said since comes behind that.
        let kept_from =
            self.judged.kept_from.filter(|handle| lanes.lane_mut(handle.lane()).put_aside(*handle, &mut []));
        for (handle, rest) in rest {
            finish(lanes.lane_mut(handle.lane()), handle, rest);
        }
        suspects.extend(kept_from);
        let Some((handle, mut rest)) = last else { return suspects };
        let lane = lanes.lane_mut(handle.lane());
        if let Rest::TakeUp(bytes) = &mut rest
            && lane.put_aside(handle, bytes)
        {
            suspects.push(handle);
            return suspects;
        }
        // No service handles what it says.
        finish(lane, handle, rest);
        suspects
    }

    /// Closes what is left of the active: all are served, and do not wait for that.
    pub(crate) fn bury(&mut self) {
        let Remains { epoll, vigil } = std::mem::take(&mut self.remains);
        let bury = move || {
            // With many peers it takes milliseconds. What is said here is of this thread alone (nice(2)).
            let _ = nice(IDLE);
            drop((epoll, vigil));
        };
        // Where there can be no thread, it is closed here.
        drop(std::thread::Builder::new().name("burial".to_owned()).spawn(bury));
    }

    /// The same for whoever observes the server, where the first poll has returned at this instant.
    pub(crate) fn told(&self, polled_at_ns: u64) -> Survived {
        Survived {
            pid: self.active.pid,
            hung: self.hung,
            served_on: self.judged.served_on(),
            reset: self.judged.reset(),
            over: self.judged.count(Verdict::Over),
            unserved: Duration::from_nanos(polled_at_ns.saturating_sub(self.noticed_at_ns)),
        }
    }
}

fn finish(lane: &mut dyn AnyLane, handle: PeerHandle, rest: Rest) {
    match rest {
        Rest::TakeOff(bytes) => lane.take_off(handle, bytes),
        Rest::TakeUp(mut bytes) => lane.take_up(handle, &mut bytes),
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, hung, judged, .. } = self;
        let how = if *hung { "did not turn its loop any more, and was killed" } else { "has died" };
        write!(f, "{active} {how}: {} peers are served on, {} are reset", judged.served_on(), judged.reset())?;
        let of = |doubt| judged.count(Verdict::Doubt(doubt));
        if judged.reset() > judged.poisonous.len() as u64 {
            write!(
                f,
                " ({} are not where they can be, of {} it cannot be told, and {} were joined to one of these)",
                of(Doubt::Elsewhere),
                of(Doubt::NotTold),
                of(Doubt::Joined)
            )?;
        }
        for address in &judged.poisonous {
            write!(f, ", peer {address} among them, whose message has now killed two processes")?;
        }
        write!(f, ", {} were over", judged.count(Verdict::Over))
    }
}
