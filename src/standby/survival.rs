//! What the death of an active was, for the log and for whoever asks.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustc_hash::FxHashSet;

use super::judgement::Doubt;
use crate::lanes::Lanes;
use crate::milestone::Survived;
use crate::peer::Address;
use crate::table::PeerHandle;
use crate::takeover::wire::Process;

/// What clients are told whose connections are reset is nothing; their service is told this.
const WHY_RESET: &str = "the process that served it has died, and it is not certain how far it had come";

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
    /// What the active was woken by, to be closed when there is time for that.
    pub(super) epoll: Option<OwnedFd>,
}

/// What is left to be done about a peer, in this order.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Bytes of its that were passed on, and not taken off.
    TakeOff(usize),
    /// Bytes of its that were read, and come to nothing with who has read them.
    TakeUp(Vec<u8>),
}

/// What was found of all peers.
#[derive(Debug, Default)]
pub(super) struct Judged {
    peers: u64,
    ended: Vec<(PeerHandle, Verdict)>,
    /// Those of them that are known by their cookies, up to [`Judged::find_partners`].
    ended_cookies: Vec<(u64, Verdict)>,
    /// Those of them whose messages have killed twice.
    poisonous: Vec<(PeerHandle, Address)>,
    /// What is left to be done, by cookies.
    rest: Vec<(u64, Rest)>,
}

impl Judged {
    pub(super) fn serve_on(&mut self) {
        self.peers += 1;
    }

    pub(super) fn end(&mut self, handle: PeerHandle, verdict: Verdict) {
        self.peers += 1;
        self.ended.push((handle, verdict));
    }

    pub(super) fn end_poisonous(&mut self, handle: PeerHandle, address: Address) {
        self.poisonous.push((handle, address));
        self.end(handle, Verdict::Poison);
    }

    pub(super) fn end_cookie(&mut self, cookie: u64, verdict: Verdict) {
        self.ended_cookies.push((cookie, verdict));
    }

    pub(super) fn take_off(&mut self, cookie: u64, bytes: usize) {
        if bytes > 0 {
            self.rest.push((cookie, Rest::TakeOff(bytes)));
        }
    }

    pub(super) fn take_up(&mut self, cookie: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.rest.push((cookie, Rest::TakeUp(bytes)));
        }
    }

    /// Whoever is joined to one that ends ends, too.
    pub(super) fn find_partners<L: Lanes>(&mut self, lanes: &L) {
        for (cookie, verdict) in std::mem::take(&mut self.ended_cookies) {
            let found = lanes.all().find_map(|lane| {
                let peers = lane.table().peers();
                peers.handle(cookie.into())
            });
            let found = found.filter(|handle| self.ended.iter().all(|(ended, _)| ended != handle));
            self.ended.extend(found.map(|handle| (handle, verdict)));
        }
        let mut known: FxHashSet<PeerHandle> = self.ended.iter().map(|(handle, _)| *handle).collect();
        let mut partners = Vec::new();
        for (handle, _) in &self.ended {
            let peers = lanes.lane(handle.lane()).table().peers();
            let partner = peers.of_handle(*handle).and_then(|peer| peers.partner_key(peer));
            let partner = partner.and_then(|key| peers.handle_at(key)).filter(|partner| known.insert(*partner));
            partners.extend(partner.map(|partner| (partner, Verdict::Doubt(Doubt::Joined))));
        }
        self.ended.append(&mut partners);
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
    /// has said what the active was about to handle, or had handled last: it may have died of that, so that is put aside.
    pub(crate) fn go_on<L: Lanes>(&mut self, lanes: &mut L) -> Option<PeerHandle> {
        for (handle, _) in &self.judged.ended {
            lanes.lane_mut(handle.lane()).reset(*handle, WHY_RESET);
        }
        let mut rest = std::mem::take(&mut self.judged.rest);
        let last = rest.pop_if(|(_, rest)| matches!(rest, Rest::TakeUp(_)));
        let mut finish = |(cookie, rest)| {
            // It is in one of them, if it is served on.
            lanes.each(|lane| match &rest {
                Rest::TakeOff(bytes) => lane.take_off(cookie, *bytes),
                Rest::TakeUp(bytes) => lane.take_up(cookie, &mut bytes.clone()),
            });
        };
        rest.into_iter().for_each(&mut finish);
        let (cookie, Rest::TakeUp(mut bytes)) = last? else { unreachable!("it was looked for") };
        let suspect = (0..L::COUNT).find_map(|lane| lanes.lane_mut(lane).put_aside(cookie, &mut bytes));
        if suspect.is_none() {
            // No service handles what it says.
            lanes.each(|lane| lane.take_up(cookie, &mut bytes));
        }
        suspect
    }

    /// Closes what is left of the active: all are served, and do not wait for that.
    pub(crate) fn bury(&mut self) {
        let epoll = self.epoll.take();
        // Where there can be no thread, it is closed here.
        drop(std::thread::Builder::new().name("burial".to_owned()).spawn(move || drop(epoll)));
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
        for (_, address) in &judged.poisonous {
            write!(f, ", peer {address} among them, whose message has now killed two processes")?;
        }
        write!(f, ", {} were over", judged.count(Verdict::Over))
    }
}
