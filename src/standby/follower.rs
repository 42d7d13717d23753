//! The standby: it applies what it is told, mark by mark, until the active is dead, and makes of that a server.
//!
//! It reads and writes nothing of any peer before that, and polls only where a successor does.

use std::mem::take;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::Poll;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use reactord_process::channel::ChannelError;
use reactord_process::frame::{RawFrame, printable};
use rustc_hash::FxHashMap;

use super::active::Active;
use super::counters::{self, Counting, Survey};
use super::judgement::{Doubt, Verdict, judge};
use super::licence::Licence;
use super::pulse::{Due, Pulse};
use super::sightings::Sightings;
use super::survival::{Judged, Survival};
use crate::clock::monotonic_ns;
use crate::lanes::Lanes;
use crate::listen::Target;
use crate::milestone::{Milestone, Observer};
use crate::sources::{Plan, Sources, StopSignals};
use crate::takeover::arrival::{Arrival, Arrived, How};
use crate::takeover::arriving::{Arriving, Place, stop_if_told};
use crate::takeover::drive::{Accepting, Owner};
use crate::takeover::error::{Cause, TakeoverError, Who, in_context};
use crate::takeover::fault::{self, StandbyStep as Step};
use crate::takeover::successor::{Accept, Heard, Objection, Receiving};
use crate::takeover::welcomed::{Begun, Welcomed};
use crate::takeover::wire::{Commit, Frame, Kind, OfLane, Process, Timers};

/// How long a process may take to die whose channel has ended: it frees its memory before its last thread is gone.
const DYING_MAX: Duration = Duration::from_secs(10);

/// To have all told at once, the kernel looks at whatever connections there are. So each of a few is asked about alone, and so is each of
/// those that are less than a part in so many.
const SURVEYED_MIN: usize = 200;
const SURVEYED_SHARE: usize = 4;

/// How often it is looked whether another thread asks this server to stop, which wakes nobody here.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// How following has come to its end.
pub(crate) enum Followed<L> {
    /// The active is dead, and the peers are this process's.
    Survived(Box<Arrived<L>>),
    /// The active needs it no more.
    Dismissed,
}

/// Follows whoever has welcomed this process. An active whose loop does not turn for `hang_timeout` is killed.
///
/// # Errors
/// If it cannot follow any more; an active that lives serves on.
pub(crate) fn follow<L: Lanes>(
    welcomed: Welcomed,
    (poll, lanes, sources): (Poll, L, Sources),
    plan: Plan,
    hang_timeout: Option<Duration>,
    observer: &mut Observer,
) -> Result<Followed<L>, TakeoverError> {
    let seen_pid = welcomed.seen_pid();
    let Begun { arriving, receiving, path, predecessor, expendable } = welcomed.begin(poll, lanes, sources);
    let begun = Follower::begin(arriving, receiving, predecessor.clone(), seen_pid, hang_timeout);
    let followed = begun.and_then(|mut follower| match follower.run(plan, observer) {
        Ok(end) => Ok((follower, end)),
        Err(cause) => Err(follower.leave(cause)),
    });
    match followed {
        Ok((_, End::Dismissed(reason))) => {
            info!("Following {predecessor} no more: {reason}");
            Ok(Followed::Dismissed)
        }
        Ok((follower, End::Survived(served))) => {
            let Served { accept, survival } = *served;
            let Arriving { poll, lanes, sources, .. } = follower.arriving;
            let how = How::Survived(Box::new(survival));
            let arrival = Arrival { how, predecessor, owner: accept, expendable, left_behind: None };
            Ok(Followed::Survived(Box::new(Arrived { poll, lanes, sources, arrival })))
        }
        Err(cause) => Err(TakeoverError { path: path.into(), predecessor: Who::Known(Box::new(predecessor)), cause }),
    }
}

/// How a follower's loop ends.
enum End {
    Survived(Box<Served>),
    /// Why it is not needed any more.
    Dismissed(String),
}

/// What it has when the active is dead.
struct Served {
    accept: Owner,
    survival: Survival,
}

/// What comes next.
enum Next {
    Frame(RawFrame),
    /// The channel has ended, or the active has.
    End,
}

/// A process that follows.
pub(super) struct Follower<L> {
    arriving: Arriving<L>,
    active: Active,
    /// The active, as it has said who it is.
    process: Process,
    /// What has come. `None` only while it is worked on.
    receiving: Option<Receiving>,
    licence: Option<Licence>,
    /// What has come since the last mark.
    pending: Vec<RawFrame>,
    counting: Counting,
    sightings: Sightings,
    /// The services' timers: as they were at the last mark, and as they will be at the next.
    timers: Vec<Timers>,
    timers_to_be: Vec<Timers>,
    /// What there is to go on with since the last mark. `None` before the first.
    marked: Option<Box<Accept>>,
    /// Whether its loop turns, and within how long it is to: of interest from the second mark on. Before, it is not known of anybody how
    /// far it has come, so that nobody else could serve.
    pulse: Pulse,
    hang_timeout: Option<Duration>,
    hung: bool,
}

impl<L: Lanes> Follower<L> {
    pub(super) fn begin(
        arriving: Arriving<L>,
        receiving: Receiving,
        process: Process,
        seen_pid: u32,
        hang_timeout: Option<Duration>,
    ) -> Result<Self, Cause> {
        // Its own number for itself: it is in another namespace otherwise, or the listener was opened by somebody else.
        if seen_pid != process.pid {
            return Err(Objection::Unseen { pid: process.pid, seen_pid }.into());
        }
        Ok(Self {
            arriving,
            active: Active::find(seen_pid).map_err(in_context("pidfd_open"))?,
            process,
            receiving: Some(receiving),
            licence: None,
            pending: Vec::new(),
            counting: Counting::open().map_err(in_context("sock_diag"))?,
            sightings: Sightings::default(),
            timers: Vec::new(),
            timers_to_be: Vec::new(),
            marked: None,
            pulse: Pulse::new(None, Instant::now()),
            hang_timeout,
            hung: false,
        })
    }

    /// It cannot follow any more.
    fn leave(self, cause: Cause) -> Cause {
        let Self { arriving: Arriving { channel, sources, .. }, .. } = self;
        sources.give_up();
        cause.tell(channel);
        cause
    }

    /// Follows until the active is dead, or needs it no more.
    fn run(&mut self, plan: Plan, observer: &mut Observer) -> Result<End, Cause> {
        let receiving = self.receiving.take().expect("it has just begun");
        let place = Place { plan, queue: None, moved_to: None };
        let (receiving, _) = self.arriving.receive_listeners(receiving, place)?;
        self.receiving = Some(receiving);
        self.check_network()?;
        loop {
            let was_marked = self.marked.is_some();
            match self.next()? {
                Next::Frame(raw) => {
                    if let Some(reason) = self.hear(raw)? {
                        return Ok(End::Dismissed(reason));
                    }
                }
                Next::End => return self.end(),
            }
            if !was_marked && self.marked.is_some() {
                info!("Following {} with {} peers", self.process, self.arriving.lanes.peers());
                observer.tell(Milestone::Follows { pid: self.process.pid });
            }
        }
    }

    // ── Hearing ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn next(&mut self) -> Result<Next, Cause> {
        loop {
            stop_if_told(&self.arriving.sources)?;
            // That is for who serves.
            self.arriving.sources.signals.iter_mut().for_each(StopSignals::forget_hangup);
            match self.arriving.channel.receive() {
                Ok(Some(raw)) => {
                    self.pulse.heard();
                    return Ok(Next::Frame(raw));
                }
                // What it had sent is received by now: it is dead only when it has closed everything.
                Ok(None) if self.active.is_dead_within(Duration::ZERO) => return Ok(Next::End),
                Ok(None) => self.wait()?,
                Err(ChannelError::Closed) => return Ok(Next::End),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for something to hear, or for an instant at which something is to be done.
    fn wait(&mut self) -> Result<(), Cause> {
        let now = Instant::now();
        match self.pulse.look(now) {
            Due::Nothing => {}
            Due::Ask => self.post(&Frame::Beat.encode())?,
            // Whoever takes its place then is somebody else.
            Due::Hangs if !self.is_licensed() => self.pulse = Pulse::new(None, now),
            Due::Hangs => {
                self.fence();
                return Ok(());
            }
        }
        self.flush()?;
        let patience = self.pulse.due().map_or(LOOKS_EVERY, |due| due.saturating_duration_since(now).min(LOOKS_EVERY));
        let signals = self.arriving.sources.signals.as_ref().map(StopSignals::as_fd);
        let sources = [Some(self.arriving.channel.as_fd()), Some(self.active.as_fd()), signals];
        let mut awaited: Vec<PollFd<'_>> =
            sources.into_iter().flatten().map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        let patience = PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut awaited, patience) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(in_context("poll")(errno.into())),
        }
    }

    /// Kills the active, whose loop does not turn. That it is dead is seen in the next look.
    fn fence(&mut self) {
        warn!("{} does not turn its loop any more, and is killed", self.process);
        self.hung = true;
        self.pulse = Pulse::new(None, Instant::now());
        if let Err(error) = self.active.kill() {
            warn!("{} cannot be killed: {error}", self.process);
        }
    }

    /// Says something. That the active does not hear it any more is seen when the channel has ended.
    fn post(&mut self, frame: &[u8]) -> Result<(), Cause> {
        unless_ended(self.arriving.channel.post(frame))
    }

    fn flush(&mut self) -> Result<(), Cause> {
        unless_ended(self.arriving.channel.flush().map(drop))
    }

    /// Returns why this process is not needed any more, if it is not.
    fn hear(&mut self, raw: RawFrame) -> Result<Option<String>, Cause> {
        match Kind::try_from(raw.kind())? {
            Kind::Beat => {}
            Kind::Licence => {
                let licence = self.arriving.channel.take_descriptors(1)?.pop();
                self.licence = licence.map(Licence::from);
            }
            Kind::Refuse => {
                let Frame::Refuse(refuse) = raw.decode()? else { unreachable!("that is its kind") };
                return Ok(Some(printable(&refuse.reason)));
            }
            Kind::Mark => {
                let Frame::Mark(mark) = raw.decode()? else { unreachable!("that is its kind") };
                self.mark(&mark)?;
            }
            // Until the first mark there is nothing to go back to.
            _ if self.marked.is_none() => self.apply(&raw)?,
            _ => self.pending.push(raw),
        }
        Ok(None)
    }

    /// All that has come is of one instant.
    fn mark(&mut self, mark: &Commit) -> Result<(), Cause> {
        fault::at(Step::Apply, &mut self.arriving.channel)?;
        self.check_clock(mark)?;
        for raw in take(&mut self.pending) {
            self.apply(&raw)?;
        }
        let receiving = self.receiving.take().expect("it is put back");
        let (receiving, accept) = receiving.mark(mark)?;
        self.look();
        let copied = receiving.copied();
        if self.marked.is_some()
            && let Some(timeout) = self.hang_timeout.take()
        {
            self.pulse = Pulse::new(Some(timeout), Instant::now());
        }
        (self.receiving, self.marked) = (Some(receiving), Some(accept));
        self.timers = take(&mut self.timers_to_be);
        self.post(&copied)
    }

    /// # Errors
    /// If the active's clock is another one: its deadlines would come at any time.
    fn check_clock(&self, mark: &Commit) -> Result<(), Cause> {
        let (at_ns, now_ns) = (mark.frozen_at_ns, monotonic_ns());
        let is_ours = self.arriving.ready_at_ns.is_some_and(|ready_at_ns| (ready_at_ns..=now_ns).contains(&at_ns));
        if is_ours { Ok(()) } else { Err(Objection::Clock { at_ns, now_ns }.into()) }
    }

    /// Does what a frame asks for.
    fn apply(&mut self, raw: &RawFrame) -> Result<(), Cause> {
        let frame = match raw.decode()? {
            Frame::Timers(timers) => {
                self.arriving.counterpart(timers.lane)?;
                self.timers_to_be.push(timers.clone());
                Frame::Timers(timers)
            }
            frame => frame,
        };
        match &frame {
            Frame::Closed(closed) => self.sightings.name(closed.cookies.iter().copied()),
            Frame::Peers(OfLane { records, .. }) => {
                self.sightings.name(records.iter().map(|record| record.value.cookie))
            }
            Frame::Changed(OfLane { records, .. }) => {
                self.sightings.name(records.iter().map(|change| change.value.cookie))
            }
            _ => {}
        }
        let is_timers = matches!(frame, Frame::Timers(_));
        let receiving = self.receiving.take().expect("it is put back");
        let Heard::On(receiving, action) = receiving.hear(frame)? else {
            return Err(Objection::OutOfTurn { kind: Kind::Commit, step: "to a standby" }.into());
        };
        self.receiving = Some(receiving);
        // They are set when they are this process's.
        let answer = if is_timers { None } else { self.arriving.act(action)? };
        answer.map_or(Ok(()), |answer| self.post(&answer))
    }

    /// Looks at whom the mark has named, which is answered after that.
    fn look(&mut self) {
        let named = self.sightings.mark();
        if self.active.is_dead_within(Duration::ZERO) {
            // There is no next mark, without which what is seen is worth nothing.
            return;
        }
        let lanes = &self.arriving.lanes;
        let find = |cookie: u64| lanes.all().find_map(|lane| lane.table().peers().find(cookie.into()));
        let found: Vec<_> = named.into_iter().filter_map(|cookie| Some((cookie, find(cookie)?))).collect();
        let is_worth_a_survey = found.len() >= SURVEYED_MIN && found.len() >= lanes.peers() / SURVEYED_SHARE;
        let listening = if is_worth_a_survey { self.listening() } else { Vec::new() };
        let seen = self.counting.look_at(found.into_iter(), &listening);
        self.sightings.see(seen);
    }

    /// # Errors
    /// If the kernel does not tell here how far connections have come, since they belong to another network namespace.
    fn check_network(&mut self) -> Result<(), Cause> {
        for listener in self.arriving.sources.entrance.listeners() {
            let Target::Tcp(address) = listener.at() else { continue };
            if !self.counting.sees(listener, address).map_err(in_context("sock_diag"))? {
                return Err(Objection::Unheard { address }.into());
            }
        }
        Ok(())
    }

    /// Where peers are accepted by TCP.
    fn listening(&self) -> Vec<SocketAddr> {
        let entrance = &self.arriving.sources.entrance;
        let listeners = entrance.listeners().chain(entrance.leftovers());
        listeners
            .filter_map(|listener| if let Target::Tcp(address) = listener.at() { Some(address) } else { None })
            .collect()
    }

    // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Something is wrong with the active. It is left alone unless it is dead.
    fn end(&mut self) -> Result<End, Cause> {
        let noticed_at_ns = monotonic_ns();
        fault::here(Step::Noticed);
        if self.marked.is_none() {
            return Err(self.arriving.explain(Cause::Channel(ChannelError::Closed)));
        }
        if !self.active.is_dead_within(DYING_MAX) {
            return Err(Objection::Alive { pid: self.process.pid }.into());
        }
        // What it had sent before it died is there: a mark may be among it, and a last word.
        while let Ok(Some(raw)) = self.arriving.channel.receive() {
            if let Some(reason) = self.hear(raw)? {
                return Ok(End::Dismissed(reason));
            }
        }
        if !self.is_licensed() {
            return Ok(End::Dismissed("it has taken back the licence to serve on after its death".to_owned()));
        }
        self.serve_on(noticed_at_ns)
    }

    fn is_licensed(&self) -> bool {
        self.licence.as_ref().is_some_and(|licence| !licence.is_revoked())
    }

    /// Nobody else owns the peers, or ever will.
    fn serve_on(&mut self, noticed_at_ns: u64) -> Result<End, Cause> {
        let accept = self.marked.take().expect("it is armed");
        let marked_at_ns = accept.frozen_at_ns;
        // Those of a mark that did not become whole.
        self.pending.clear();
        let left = self.arriving.channel.descriptors_left();
        drop(self.arriving.channel.take_descriptors(left)?);
        let judged = self.judge()?;
        fault::here(Step::Claim);
        take(&mut self.timers).into_iter().try_for_each(|timers| self.arriving.set_timers(timers))?;
        self.arriving.lanes.each(|lane| lane.get_ready());
        let accept = Accepting::after_death(accept, &mut self.arriving)?;
        let (active, hung) = (self.process.clone(), self.hung);
        let survival = Survival { active, hung, noticed_at_ns, marked_at_ns, judged };
        Ok(End::Survived(Box::new(Served { accept, survival })))
    }

    /// Compares each peer with what is known of it.
    fn judge(&mut self) -> Result<Judged, Cause> {
        // A fault here stands for a standby that does not ask: the negative control of tests.
        let is_blind = fault::at(Step::Judge, &mut self.arriving.channel).is_err();
        let is_many = self.arriving.lanes.peers() >= SURVEYED_MIN;
        let survey = if is_many { self.counting.survey(&self.listening()) } else { Survey::default() };
        let mut judged = Judged::default();
        for lane in self.arriving.lanes.all() {
            let peers = lane.table().peers();
            let mut verdicts = FxHashMap::default();
            for handle in peers.handles() {
                let peer = peers.of_handle(handle).expect("the handle is from the table");
                let (cookie, known) = (u64::from(peer.id()), self.sightings.of(peer.id().into()));
                let verdict = match known {
                    _ if is_blind => Verdict::Agrees,
                    Some(_) if known == survey.at_most(cookie) => Verdict::Agrees,
                    None => judge(None, counters::glance(peer)),
                    Some(_) => judge(known, self.counting.look(peer)),
                };
                verdicts.insert(handle.key(), (handle, verdict));
            }
            for (handle, verdict) in verdicts.values() {
                let peer = peers.of_handle(*handle).expect("the handle is from the table");
                let partner = peers.partner_key(peer).and_then(|key| verdicts.get(&key));
                let is_left =
                    *verdict == Verdict::Agrees && partner.is_some_and(|(_, of_it)| *of_it != Verdict::Agrees);
                judged.note(*handle, if is_left { Verdict::Doubt(Doubt::Joined) } else { *verdict });
            }
        }
        Ok(judged)
    }
}

#[cfg(test)]
impl<L: Lanes> Follower<L> {
    /// Hears what has been said by now.
    pub(super) fn hear_out(&mut self) {
        while let Ok(Some(raw)) = self.arriving.channel.receive() {
            assert_eq!(self.hear(raw).expect("it is as it was sent"), None);
        }
        self.flush().expect("the channel is there");
    }

    pub(super) fn is_armed(&self) -> bool {
        self.marked.is_some()
    }

    /// The active is dead.
    pub(super) fn survive(mut self, noticed_at_ns: u64) -> (Poll, L, Survival) {
        let Ok(End::Survived(served)) = self.serve_on(noticed_at_ns) else { panic!("it is armed") };
        let Arriving { poll, lanes, .. } = self.arriving;
        (poll, lanes, served.survival)
    }
}

/// # Errors
/// If nothing can be sent, and not because the other side is gone.
fn unless_ended(sent: Result<(), ChannelError>) -> Result<(), Cause> {
    match sent {
        Ok(()) | Err(ChannelError::Closed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
