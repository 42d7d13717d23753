//! The standby: it applies what it is told, mark by mark, until the active is dead, and makes of that a server.
//!
//! It reads and writes nothing of any peer before that. Of what has arrived for peers, it forgets now and then what the active has read: each
//! costs half a microsecond in the first poll, while nobody serves.

use std::mem::take;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::Poll;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use reactord_process::channel::{ChannelError, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::{RawFrame, printable};
use reactord_process::wiped::Wiped;
use rustc_hash::FxHashMap;

use super::active::Active;
use super::inquest::Inquest;
use super::licence::Licence;
use super::offsets::KnownOffsets;
use super::pulse::{Due, Pulse};
use super::shared::Shared;
use super::survival::{Judged, Remains, Survival};
use crate::clock::monotonic_ns;
use crate::lanes::Lanes;
use crate::listen::Target;
use crate::mapping::{JOURNAL_BYTES, Mapping};
use crate::milestone::{Milestone, Observer};
use crate::peer::counters::Counting;
use crate::sources::{Inherited, Plan, Sources, StopSignals};
use crate::takeover::arrival::{Arrival, Arrived, How};
use crate::takeover::arriving::{Arriving, Place, stop_if_told};
use crate::takeover::drive::{Accepting, Owner};
use crate::takeover::error::{Cause, TakeoverError, Who, in_context};
use crate::takeover::fault::{self, StandbyStep as Step};
use crate::takeover::frozen_at::check_clock;
use crate::takeover::sift::sift_and_keep;
use crate::takeover::successor::{Action, Heard, Objection, Receiving};
use crate::takeover::welcomed::{Begun, Welcomed};
use crate::takeover::wire::{Commit, Descriptors, Flushed, Frame, Kind, Mark, Offered, Offsets, Process, Tickets};
use crate::worker::ConnectionId;

/// How long a process may take to die whose channel has ended: it frees its memory before its last thread is gone.
const DYING_MAX: Duration = Duration::from_secs(10);

/// So much of the journal is read at once: what is read of it is there twice for a moment. Tests have many frames that are larger.
const PIECE_BYTES: u64 = if cfg!(test) { 64 } else { 64 * 1024 };

/// How often it is looked whether another thread asks this server to stop, which wakes nobody here.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// So many peers are registered between two looks at the active: it takes half a millisecond.
const REGISTERS_AT_ONCE: usize = 256;

/// How often it is looked what the active has read, and which part of the time that may take: more than for as many peers as one thread can
/// serve meanwhile. Otherwise each look would be at more than the one before it.
const SIFTS_EVERY: Duration = Duration::from_millis(100);
const SIFTS_FOR: u32 = 10;

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
    /// The active's epoll set. To close it takes as long as there are peers in it, and nobody would serve meanwhile.
    epoll: Option<OwnedFd>,
    /// The memory in which the active says what has happened, and up to where that is applied.
    mapping: Option<Arc<Mapping>>,
    applied: u64,
    /// Descriptors of those who have come, by cookies.
    came: FxHashMap<u64, OwnedFd>,
    /// Those whom a supervisor offers the active, by their cookies: it may have taken them, and tells of them as peers later.
    offered: FxHashMap<u64, Inherited>,
    /// By how much what the kernel has counted as written to peers is ahead of the positions of what waits.
    offsets: KnownOffsets,
    /// What all peers share.
    shared: Shared,
    counting: Counting,
    /// The last mark. `None` before the first.
    marked: Option<Commit>,
    /// Whether its loop turns, and within how long it is to: of interest from the first mark on. Before, nobody else could serve.
    pulse: Pulse,
    hang_timeout: Option<Duration>,
    hung: bool,
    /// When it is looked next what the active has read.
    sift_at: Instant,
}

impl<L: Lanes> Follower<L> {
    pub(super) fn begin(
        mut arriving: Arriving<L>,
        receiving: Receiving,
        process: Process,
        seen_pid: u32,
        hang_timeout: Option<Duration>,
    ) -> Result<Self, Cause> {
        // Its own number for itself: it is in another namespace otherwise, or the listener was opened by somebody else.
        if seen_pid != process.pid {
            return Err(Objection::Unseen { pid: process.pid, seen_pid }.into());
        }
        arriving.lanes.each(|lane| lane.table_mut().put_off());
        Ok(Self {
            arriving,
            active: Active::find(seen_pid).map_err(in_context("pidfd_open"))?,
            process,
            receiving: Some(receiving),
            licence: None,
            epoll: None,
            mapping: None,
            applied: 0,
            came: FxHashMap::default(),
            offered: FxHashMap::default(),
            offsets: KnownOffsets::default(),
            shared: Shared::default(),
            counting: Counting::open().map_err(in_context("sock_diag"))?,
            marked: None,
            pulse: Pulse::new(None, Instant::now()),
            hang_timeout,
            hung: false,
            sift_at: Instant::now(),
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
                // What it had sent by then is received at the end.
                Ok(None) if self.active.is_dead() => return Ok(Next::End),
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
            Due::Hangs if !self.claim() => self.pulse = Pulse::new(None, now),
            Due::Hangs => {
                self.fence();
                return Ok(());
            }
        }
        self.flush()?;
        if self.marked.is_some() {
            if self.register_some()? {
                return Ok(());
            }
            if now >= self.sift_at {
                self.sift(now)?;
            }
        }
        let patience = self.pulse.due().map_or(LOOKS_EVERY, |due| due.saturating_duration_since(now).min(LOOKS_EVERY));
        let signals = self.arriving.sources.signals.as_ref().map(StopSignals::as_fd);
        let sources = [Some(self.arriving.channel.as_fd()), signals];
        let mut awaited: Vec<PollFd<'_>> = self
            .active
            .awaited()
            .chain(sources.into_iter().flatten())
            .map(|source| PollFd::new(source, PollFlags::POLLIN))
            .collect();
        let patience = self.active.looks_within().map_or(patience, |within| within.min(patience));
        let patience = PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut awaited, patience) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(in_context("poll")(errno.into())),
        }
    }

    /// Registers some of those who were copied, when this process could serve on. False if nobody is left.
    fn register_some(&mut self) -> Result<bool, Cause> {
        let mut left = REGISTERS_AT_ONCE;
        for lane in 0..L::COUNT {
            let table = self.arriving.lanes.lane_mut(lane).table_mut();
            left -= table.register_some(left).map_err(in_context("epoll_ctl"))?;
        }
        Ok(left < REGISTERS_AT_ONCE)
    }

    fn sift(&mut self, now: Instant) -> Result<(), Cause> {
        let Arriving { poll, lanes, .. } = &mut self.arriving;
        sift_and_keep(poll, lanes).map_err(in_context("epoll_wait"))?;
        self.sift_at = now + SIFTS_EVERY.max(SIFTS_FOR * now.elapsed());
        Ok(())
    }

    /// Kills the active, whose loop does not turn. That it is dead is seen in the next look.
    fn fence(&mut self) {
        self.hung = true;
        self.pulse = Pulse::new(None, Instant::now());
        // Nothing comes between the claim and this: an active that goes on finds that it is to end.
        let killed = self.active.kill();
        warn!("{} does not turn its loop any more, and is killed", self.process);
        if let Err(error) = killed {
            warn!("{} cannot be killed: {error}", self.process);
            self.hung = false;
            self.licence.iter().for_each(Licence::forgo);
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
        match raw.decode()? {
            Frame::Beat => {}
            Frame::Licence => {
                let [licence, memory, epoll] = <[OwnedFd; 3]>::try_from(self.arriving.channel.take_descriptors(3)?)
                    .expect("so many were asked for");
                self.licence = Some(Licence::of(licence).map_err(in_context("the licence"))?);
                self.epoll = Some(epoll);
                let mapping = Arc::new(Mapping::of(memory).map_err(in_context("the memory of the active"))?);
                self.active.watch(&mapping);
                self.mapping = Some(mapping);
            }
            Frame::Descriptors(Descriptors { cookies }) => {
                let sockets = self.arriving.channel.take_descriptors(cookies.len())?;
                self.came.extend(cookies.into_iter().zip(sockets));
            }
            Frame::Offered(Offered { cookies, connections }) => {
                let sockets = self.arriving.channel.take_descriptors(cookies.len())?;
                let offered = cookies.into_iter().zip(connections).zip(sockets);
                self.offered = offered
                    .filter_map(|((cookie, id), socket)| {
                        Some((cookie, Inherited { id: ConnectionId::from_number(id)?, socket }))
                    })
                    .collect();
            }
            Frame::Tickets(Tickets { keys }) => {
                let entrance = &self.arriving.sources.entrance;
                keys.iter().for_each(|keys| entrance.all_tls().for_each(|tls| tls.follow_tickets(keys.bytes())));
            }
            Frame::Refuse(refuse) => return Ok(Some(printable(&refuse.reason))),
            Frame::Mark(mark) => self.mark(mark)?,
            // All else is the copy.
            frame => {
                let action = self.receive(frame)?;
                let answer = self.arriving.act(action)?;
                answer.map_or(Ok(()), |answer| self.post(&answer))?;
            }
        }
        Ok(None)
    }

    /// What a frame asks for that tells of peers, or of what they share.
    fn receive<'f>(&mut self, frame: Frame<'f>) -> Result<Action<'f>, Cause> {
        let receiving = self.receiving.take().expect("it is put back");
        let Heard::On(receiving, action) = receiving.hear(frame)? else {
            return Err(Objection::OutOfTurn { kind: Kind::Commit, step: "to a standby" }.into());
        };
        self.receiving = Some(receiving);
        Ok(action)
    }

    /// All that is in the journal up to there is to be applied, and comes to this.
    fn mark(&mut self, mark: Mark) -> Result<(), Cause> {
        fault::at(Step::Apply, &mut self.arriving.channel)?;
        let Mark { commit, position } = mark;
        self.check_clock(&commit)?;
        self.apply_up_to(position)?;
        // Many may have come at once.
        self.came.shrink_to(2 * self.came.len());
        let receiving = self.receiving.as_mut().expect("it is put back");
        receiving.mark(&commit, self.shared.state_bytes(), self.shared.timers())?;
        let copied = receiving.copied();
        if self.marked.replace(commit).is_none() {
            self.pulse = Pulse::new(self.hang_timeout, Instant::now());
        }
        self.post(&copied)
    }

    /// # Errors
    /// If the active's clock is another one: its deadlines would come at any time.
    fn check_clock(&self, mark: &Commit) -> Result<(), Cause> {
        let ready_at_ns = self.arriving.ready_at_ns.unwrap_or(u64::MAX);
        Ok(check_clock(ready_at_ns, mark.frozen_at_ns, monotonic_ns())?)
    }

    /// Applies what the journal has up to there.
    fn apply_up_to(&mut self, position: u64) -> Result<(), Cause> {
        let mapping =
            self.mapping.as_ref().ok_or(Objection::OutOfTurn { kind: Kind::Mark, step: "before its memory" })?;
        let no_frames = Objection::Journal { from: self.applied, to: position };
        let mapping = Arc::clone(mapping);
        let (mut from, mut piece_bytes) = (self.applied, PIECE_BYTES);
        if position.checked_sub(from).is_none_or(|bytes| bytes > JOURNAL_BYTES as u64) {
            return Err(no_frames.into());
        }
        while from < position {
            let to = position.min(from + piece_bytes);
            let Some(journal) = mapping.journal(from, to) else { return Err(no_frames.into()) };
            let bytes = self.apply_frames(journal.into())?;
            if bytes == 0 && to == position {
                return Err(no_frames.into());
            }
            // A frame that is larger is read with twice as much.
            piece_bytes = if bytes == 0 { 2 * piece_bytes } else { PIECE_BYTES };
            from += bytes;
        }
        self.applied = position;
        mapping.applied(position);
        Ok(())
    }

    /// Applies the whole frames of a piece of the journal. Returns how many bytes they have.
    fn apply_frames(&mut self, mut journal: Wiped) -> Result<u64, Cause> {
        // Those of TLS, where there are any.
        if self.arriving.channel.holds_secrets() {
            journal.hold_secrets();
        }
        let mut start = 0;
        while let Some((raw, end)) = RawFrame::read(&journal, start, TO_SUCCESSOR_BYTES_MAX)? {
            self.apply(&raw)?;
            start = end;
        }
        Ok(start as u64)
    }

    /// Does what a frame of the journal asks for.
    fn apply(&mut self, raw: &RawFrame) -> Result<(), Cause> {
        let frame = match raw.decode()? {
            Frame::State(state) => return Ok(self.shared.hear_state(state)?),
            Frame::Timers(timers) => return Ok(self.shared.hear_timers(timers)?),
            Frame::Whole => {
                self.shared.commit();
                return Ok(());
            }
            Frame::Offsets(Offsets { cookies, written }) => {
                for (cookie, written) in cookies.into_iter().zip(written) {
                    // Somebody may have come and gone since, or end with the active.
                    let handle = self.arriving.lanes.find(cookie.into());
                    handle.into_iter().for_each(|handle| self.offsets.tell(handle, written));
                }
                return Ok(());
            }
            Frame::Flushed(Flushed { cookies }) => {
                cookies.into_iter().for_each(|cookie| self.have_flushed(cookie));
                return Ok(());
            }
            frame => frame,
        };
        if let Frame::Closed(closed) = &frame {
            for cookie in &closed.cookies {
                let handle = self.arriving.lanes.find((*cookie).into());
                handle.into_iter().for_each(|handle| self.offsets.forget(handle));
            }
        }
        match self.receive(frame)? {
            Action::Adopt(records, _) => {
                let sockets = records.records.iter().map(|record| self.came.remove(&record.value.cookie));
                let sockets: Option<Vec<_>> = sockets.collect();
                let sockets = sockets.ok_or(Objection::Descriptors)?;
                self.arriving.adopt_with(sockets, records)
            }
            action => self.arriving.act(action).map(drop),
        }
    }

    /// All that waits for this peer is written.
    fn have_flushed(&mut self, cookie: u64) {
        let lanes = &mut self.arriving.lanes;
        let Some(handle) = lanes.find(cookie.into()) else { return };
        let bytes = lanes.peer(handle).map_or(0, |peer| peer.talk.pending_bytes());
        lanes.lane_mut(handle.lane()).have_written(handle, bytes);
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
        // At last: a successor that has everything could serve on where this process finds that it cannot.
        let survived = self.serve_on(noticed_at_ns)?;
        let why_not = "its licence to serve on after its death is another's, or was taken back";
        Ok(if self.claim() { survived } else { End::Dismissed(why_not.to_owned()) })
    }

    /// Whether nobody else may own the peers from here on.
    fn claim(&self) -> bool {
        self.licence.as_ref().is_some_and(Licence::claim)
    }

    /// Nobody serves, and this process could: everything is ready for that, and nothing that others see has been touched.
    fn serve_on(&mut self, noticed_at_ns: u64) -> Result<End, Cause> {
        let committed = self.mapping.as_deref().map(Mapping::committed);
        self.apply_up_to(committed.expect("it came before the first mark"))?;
        for lane in 0..L::COUNT {
            self.arriving.lanes.lane_mut(lane).table_mut().make_up().map_err(in_context("epoll_ctl"))?;
        }
        self.came.clear();
        self.inherit_offered();
        let left = self.arriving.channel.descriptors_left();
        drop(self.arriving.channel.take_descriptors(left)?);
        let judged = self.judge();
        fault::here(Step::Claim);
        let (states, timers) = take(&mut self.shared).into_parts();
        timers.into_iter().try_for_each(|timers| self.arriving.set_timers(timers))?;
        self.arriving.lanes.each(|lane| lane.get_ready());
        let mark = self.marked.take().expect("it is armed");
        let receiving = self.receiving.take().expect("it is put back");
        let accept = Accepting::after_death(receiving.inherit(&mark, states), &mut self.arriving)?;
        let (active, hung) = (self.process.clone(), self.hung);
        let remains = Remains { epoll: self.epoll.take(), vigil: self.active.take_vigil() };
        let survival = Survival { active, hung, noticed_at_ns, judged, remains };
        Ok(End::Survived(Box::new(Served { accept, survival })))
    }

    /// Goes on with the queue of a supervisor. Whoever the active has not told of as a peer has heard nothing of it.
    fn inherit_offered(&mut self) {
        let mut offered = take(&mut self.offered);
        offered.retain(|cookie, _| self.arriving.lanes.find((*cookie).into()).is_none());
        self.arriving.sources.entrance.inherit(offered.into_values().collect());
    }

    /// Finds where each peer stands about which something was under way.
    fn judge(&mut self) -> Judged {
        // A fault here stands for a standby that does not ask: the negative control of tests.
        let is_blind = fault::at(Step::Judge, &mut self.arriving.channel).is_err();
        let Self { arriving, counting, offsets, mapping, .. } = self;
        let mapping = mapping.as_deref().expect("it came before the first mark");
        Inquest { lanes: &mut arriving.lanes, counting, offsets, mapping, is_blind }.hold()
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

    /// How much waits to be written, by all that was committed.
    pub(super) fn pending_bytes(&mut self) -> usize {
        let committed = self.mapping.as_deref().map(Mapping::committed).expect("it is armed");
        self.apply_up_to(committed).expect("it is as it was written");
        let lanes = self.arriving.lanes.all();
        lanes.flat_map(|lane| lane.table().peers().iter()).map(|peer| peer.talk.pending_bytes()).sum()
    }

    /// As if the active had died in its last read. False if there was none.
    pub(super) fn find_last_read_under_way(&self) -> bool {
        self.mapping.as_deref().is_some_and(Mapping::die_in_last_read)
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
