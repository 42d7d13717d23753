//! The successor's side of the channel up to the commit point: it moves frames and descriptors, and decides nothing.
//!
//! It fills lanes that are not served yet with what arrives. Until it has accepted it can fail at any point, by
//! leaving: nobody's byte has been touched.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use mio::Poll;
use reactord_process::channel::{Channel, ChannelError, Deadline};
use reactord_process::frame::{RawFrame, printable};
use reactord_process::path::TakeoverListener;

use super::adopted::{Adopted, restored};
use super::drive::{Accepting, Owner, SuccessorEnd};
use super::error::{Cause, in_context};
use super::fault::{self, SuccessorStep as Step};
use super::frozen_at::FrozenAt;
use super::listening::{Entered, Taken, Theirs, enter, move_to, take_listeners};
use super::memory;
use super::panicked::caught;
use super::sift::sift;
use super::successor::{Accept, Action, Heard, Objection, Of, Receiving};
use super::wire::{self, Closed, Digested, Frame, Listeners, OfLane, Timer, Timers};
use crate::clock::monotonic_ns;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::peer::record::{Change, Record};
use crate::sources::{Asks, Callers, Doorways, Plan, QUEUE_LANE, Sources, StopSignals};
use crate::standby::licence::Licence;
use crate::worker::Queue;

/// How long a successor that is ready stays awake for what comes next.
const AWAKE_NS: u64 = 200_000;

/// How long the predecessor may say nothing.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// After so many peers, about 100 us of work, the processor goes to whoever else wants it: the predecessor serves, and
/// its clients wait.
const ADOPTED_AT_A_STRETCH: usize = 64;

/// Where a successor is to listen, if not where its predecessor does.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it listens, and where further peers come from besides.
    pub(crate) plan: Plan,
    pub(crate) queue: Option<Queue>,
    /// The takeover path from now on, if it is to be another one.
    pub(crate) moved_to: Option<PathBuf>,
}

/// What a successor knows when the peers are its own.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(super) owner: Owner,
    pub(super) frozen: FrozenAt,
}

/// The same, when it has received everything itself.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) accepted: Accepted,
    /// The takeover listener on the path before, if it is another one now.
    pub(super) left_behind: Option<TakeoverListener>,
}

/// What a frame has led to.
#[must_use]
#[derive(Debug)]
pub(crate) enum Came {
    On(Receiving),
    Accepted(Accepted),
}

/// What a lane of the predecessor is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counterpart {
    /// The number of the lane that has the same service.
    number: usize,
    /// The version of all state that the predecessor saves of it.
    state_version: u32,
}

impl Counterpart {
    /// Those of lanes that this process has offered to run.
    pub(super) fn of_each<L: Lanes>(theirs: &[wire::Lane], ours: &L) -> Vec<Self> {
        let counterpart = |lane: &wire::Lane| Self {
            number: ours.all().position(|our| our.name() == lane.service).expect("it was chosen from what was offered"),
            state_version: lane.state_version,
        };
        theirs.iter().map(counterpart).collect()
    }
}

/// A successor up to the commit point: what arrives fills lanes that are not served yet.
pub(crate) struct Arriving<L> {
    pub(crate) channel: Channel,
    pub(crate) poll: Poll,
    pub(crate) lanes: L,
    pub(crate) sources: Sources,
    /// What the predecessor's lanes are here, by their numbers there.
    pub(super) counterparts: Vec<Counterpart>,
    /// What its listeners are here whose clients speak TLS.
    pub(super) doorways: Doorways,
    /// When the predecessor was last told that it may freeze: `CLOCK_MONOTONIC`, ns.
    pub(crate) ready_at_ns: Option<u64>,
    /// That of the predecessor's standby, which this process may pass on to itself.
    pub(crate) licence: Option<Licence>,
}

impl<L: Lanes> Arriving<L> {
    /// Receives everything, up to and including the commit point.
    pub(super) fn receive(&mut self, receiving: Receiving, place: Place) -> Result<Received, Cause> {
        let received = self.receive_listeners(receiving, place).and_then(|(receiving, left_behind)| {
            let accepted = self.receive_peers(receiving)?;
            Ok(Received { accepted, left_behind })
        });
        received.map_err(|cause| self.explain(cause))
    }

    pub(crate) fn receive_listeners(
        &mut self,
        receiving: Receiving,
        place: Place,
    ) -> Result<(Receiving, Option<TakeoverListener>), Cause> {
        fault::at(Step::Welcome, &mut self.channel)?;
        let raw = receive_unless_stopped(&mut self.channel, &self.sources)?;
        let Heard::On(receiving, Action::Listen(listeners)) = receiving.hear(raw.decode()?)? else {
            unreachable!("nothing else is in turn before the listeners");
        };
        let (goes_on, left_behind) = self.listen(listeners, place)?;
        Ok((receiving.with_answered_handshakes(goes_on), left_behind))
    }

    fn receive_peers(&mut self, mut receiving: Receiving) -> Result<Accepted, Cause> {
        loop {
            let raw = match self.receive_awake()? {
                Some(raw) => raw,
                None => receive_unless_stopped(&mut self.channel, &self.sources)?,
            };
            match self.hear(receiving, &raw)? {
                Came::On(next) => receiving = next,
                Came::Accepted(accepted) => return Ok(accepted),
            }
        }
    }

    /// The next frame, if it comes soon after this side has said that it is ready. The predecessor freezes then if it can,
    /// and nobody serves until this side goes on: to fall asleep and to be woken takes longer than all the rest of that.
    fn receive_awake(&mut self) -> Result<Option<RawFrame>, ChannelError> {
        let Some(ready_at_ns) = self.ready_at_ns else {
            return Ok(None);
        };
        while monotonic_ns().saturating_sub(ready_at_ns) < AWAKE_NS {
            if let Some(raw) = self.channel.receive()? {
                return Ok(Some(raw));
            }
        }
        Ok(None)
    }

    /// What the predecessor has said of the end of the channel, if it is that. After the freeze it may have had no time to.
    pub(crate) fn explain(&mut self, cause: Cause) -> Cause {
        if !matches!(cause, Cause::TooLate | Cause::Channel(ChannelError::Closed)) {
            return cause;
        }
        let ready_at_ns = self.ready_at_ns;
        last_word(&mut self.channel).unwrap_or_else(|| match (cause, ready_at_ns) {
            (Cause::Channel(_), Some(ready_at_ns)) => {
                Cause::Ended { since_ready: Duration::from_nanos(monotonic_ns().saturating_sub(ready_at_ns)) }
            }
            (cause, _) => cause,
        })
    }

    /// Does what a frame asks for, and answers. Once it has accepted, the peers are this process's.
    pub(crate) fn hear(&mut self, receiving: Receiving, raw: &RawFrame) -> Result<Came, Cause> {
        match receiving.hear(raw.decode()?)? {
            Heard::On(receiving, action) => {
                if let Some(answer) = self.act(action)? {
                    self.channel.send_by(&answer, &[], Deadline::after(SILENCE_MAX))?;
                }
                Ok(Came::On(receiving))
            }
            Heard::Commit(accept) => self.accept(accept).map(Came::Accepted),
        }
    }

    /// Does what is to be done, and returns what is to be answered.
    pub(crate) fn act(&mut self, action: Action<'_>) -> Result<Option<Vec<u8>>, Cause> {
        match action {
            Action::Listen(_) => unreachable!("the listeners come once"),
            Action::Adopt(records, answer) => self.adopt(records).map(|()| Some(answer)),
            Action::Change(changes) => self.change(changes).map(|()| None),
            Action::Discard(closed) => self.discard(closed).map(|()| None),
            Action::SetTimers(timers) => self.set_timers(timers).map(|()| None),
            Action::Enter { of, piece } => self.enter(of, &piece).map(|()| None),
            Action::Answer(answer) => self.sift(Step::Round).map(|()| Some(answer)),
            Action::GetReady(answer) => {
                self.sift(Step::Ready)?;
                self.lanes.each(|lane| lane.get_ready());
                self.ready_at_ns = Some(monotonic_ns());
                Ok(Some(answer))
            }
            Action::TakeLicence => self.take_licence().map(|()| None),
            Action::Wait => Ok(None),
        }
    }

    fn take_licence(&mut self) -> Result<(), Cause> {
        let descriptor = self.channel.take_descriptors(1)?.pop().expect("so many were asked for");
        self.licence = Some(Licence::of(descriptor).map_err(in_context("the licence of the predecessor's standby"))?);
        Ok(())
    }

    fn accept(&mut self, accept: Box<Accept>) -> Result<Accepted, Cause> {
        let heard_at_ns = monotonic_ns();
        let frozen = FrozenAt::between(self.ready_at_ns, accept.frozen_at_ns, heard_at_ns);
        if !frozen.shares_clock() {
            let ahead_ns = accept.frozen_at_ns.wrapping_sub(heard_at_ns).cast_signed();
            self.lanes.each(|lane| lane.table_mut().keep_time_of_another(ahead_ns));
            self.sources.vestibule.keep_time_of_another(ahead_ns);
        }
        let owner = Accepting::Verified(accept).finish(self)?;
        Ok(Accepted { owner, frozen })
    }

    /// Listens from here on where the predecessor does. Returns whether handshakes that it has answered go on here, and the listener
    /// on a path that is moved away from.
    fn listen(&mut self, listeners: Listeners, place: Place) -> Result<(bool, Option<TakeoverListener>), Cause> {
        fault::at(Step::Listeners, &mut self.channel)?;
        let queue_tls = listeners.queue_tls.clone();
        let Taken { listeners: mut theirs, takeover, queue } = take_listeners(&mut self.channel, listeners)?;
        for (said, _) in &mut theirs {
            said.lane = self.number_here(said.lane)?;
        }
        let queue_lane = self.counterparts.get(QUEUE_LANE).map_or(QUEUE_LANE, |counterpart| counterpart.number);
        let theirs = Theirs { listeners: theirs, queue_lane, queue_tls };
        let Entered { entrance, doorways, goes_on_with_answered } = enter(theirs, place.plan, place.queue.or(queue))?;
        self.doorways = doorways;
        let registry = self.poll.registry();
        self.sources.open(registry, entrance).map_err(in_context("the listener"))?;
        let (current, left_behind) = move_to(takeover, place.moved_to.as_deref())?;
        self.sources.answer(registry, Callers::on(current)).map_err(in_context("the takeover listener"))?;
        Ok((goes_on_with_answered, left_behind))
    }

    /// The number here of one of the predecessor's lanes.
    fn number_here(&self, lane: u32) -> Result<u32, Objection> {
        let lanes = self.counterparts.len();
        let counterpart = self.counterparts.get(lane as usize).ok_or(Objection::Lane { lane, lanes })?;
        Ok(u32::try_from(counterpart.number).expect("a server has few lanes"))
    }

    /// The lane here that has the service of one of the predecessor's, and the version of its state. The conversation knows how
    /// many lanes the predecessor has; those who wait for their handshakes are in none, and have nothing but themselves.
    pub(crate) fn counterpart(&mut self, lane: u32) -> Result<(&mut dyn AnyLane, u32), Objection> {
        let lanes = self.counterparts.len();
        let counterpart = self.counterparts.get(lane as usize).ok_or(Objection::Lane { lane, lanes })?;
        let Counterpart { number, state_version } = *counterpart;
        Ok((self.lanes.lane_mut(number), state_version))
    }

    fn adopt(&mut self, records: OfLane<Record<'_>>) -> Result<(), Cause> {
        let sockets = self.channel.take_descriptors(records.records.len())?;
        self.adopt_with(sockets, records)
    }

    /// Adopts peers with their sockets, in the same order.
    pub(crate) fn adopt_with(&mut self, sockets: Vec<OwnedFd>, came: OfLane<Record<'_>>) -> Result<(), Cause> {
        fault::at(Step::Adopt, &mut self.channel)?;
        let OfLane { lane, records } = came;
        let came = sockets.into_iter().zip(records).map(|(socket, record)| Adopted::pair(socket, record.value));
        if self.is_of_handshakes(lane) {
            for adopted in came {
                self.adopt_handshake(adopted?)?;
            }
            return Ok(fault::at(Step::Copied, &mut self.channel)?);
        }
        let (lane, version) = self.counterpart(lane)?;
        for (number, adopted) in came.enumerate() {
            if number % ADOPTED_AT_A_STRETCH == 0 {
                std::thread::yield_now();
            }
            let Adopted { socket, record } = adopted?;
            let adopted = caught(|| lane.adopt(socket.into(), &record, version));
            restored(adopted, record.address)?;
        }
        Ok(fault::at(Step::Copied, &mut self.channel)?)
    }

    /// Whether that is no lane, but those who wait for their handshakes.
    fn is_of_handshakes(&self, lane: u32) -> bool {
        lane as usize == self.counterparts.len()
    }

    fn adopt_handshake(&mut self, Adopted { socket, record }: Adopted<'_>) -> Result<(), Cause> {
        let Self { sources: Sources { vestibule, .. }, counterparts, doorways, poll, .. } = self;
        let lane_here = |lane: u32| counterparts.get(lane as usize).map(|counterpart| counterpart.number);
        let adopted = vestibule.adopt(socket.into(), &record, lane_here, doorways, poll.registry());
        adopted.map_err(|why| Cause::Handshake { why })
    }

    fn change(&mut self, OfLane { lane, records: changes }: OfLane<Change<'_>>) -> Result<(), Cause> {
        fault::at(Step::Change, &mut self.channel)?;
        if self.is_of_handshakes(lane) {
            let vestibule = &mut self.sources.vestibule;
            let mut followed = changes.iter().map(|change| vestibule.follow(&change.value));
            return followed.try_for_each(|followed| followed.map_err(|why| Cause::Handshake { why }));
        }
        let (lane, version) = self.counterpart(lane)?;
        for Digested { value: change, .. } in changes {
            let address = lane.address(change.cookie.into());
            let followed = caught(|| lane.follow(&change, version));
            restored(followed, address)?;
        }
        Ok(())
    }

    fn enter(&mut self, Of { lane, map }: Of, piece: &[u8]) -> Result<(), Cause> {
        fault::at(Step::Enter, &mut self.channel)?;
        memory::spare(2 * piece.len()).map_err(ChannelError::from)?;
        let (lane, version) = self.counterpart(lane)?;
        caught(|| lane.restore_entries(map, version, piece))
            .map_err(|panicked| Cause::Panicked { address: None, panicked })?
            .map_err(Cause::State)
    }

    fn discard(&mut self, Closed { cookies, lane }: Closed) -> Result<(), Cause> {
        fault::at(Step::Discard, &mut self.channel)?;
        if self.is_of_handshakes(lane) {
            let (vestibule, registry) = (&mut self.sources.vestibule, self.poll.registry());
            cookies.into_iter().for_each(|cookie| vestibule.discard(cookie, registry));
            return Ok(());
        }
        let (lane, _) = self.counterpart(lane)?;
        for cookie in cookies {
            lane.discard(cookie.into());
        }
        Ok(())
    }

    pub(crate) fn set_timers(&mut self, Timers { timers, lane }: Timers) -> Result<(), Cause> {
        let (lane, _) = self.counterpart(lane)?;
        timers.into_iter().for_each(|Timer { timer, at_ns }| lane.adopt_timer(timer, at_ns));
        Ok(())
    }

    fn sift(&mut self, step: Step) -> Result<(), Cause> {
        fault::at(step, &mut self.channel)?;
        sift(&mut self.poll, &mut self.lanes).map_err(in_context("epoll_wait"))
    }
}

impl<L: Lanes> SuccessorEnd for Arriving<L> {
    type Cause = Cause;

    fn restore(&mut self, states: &[Vec<u8>]) -> Result<(), Cause> {
        match self.channel.descriptors_left() {
            0 => {}
            count => return Err(Cause::DescriptorsLeft { count }),
        }
        // Those who wait for their handshakes share nothing.
        for (lane, state) in (0..).zip(&states[..self.counterparts.len()]) {
            let (lane, version) = self.counterpart(lane)?;
            caught(|| lane.restore(version, state))
                .map_err(|panicked| Cause::Panicked { address: None, panicked })?
                .map_err(Cause::State)?;
        }
        Ok(())
    }

    fn send_accept(&mut self, frame: &[u8]) -> Result<(), Cause> {
        stop_if_told(&self.sources)?;
        fault::at(Step::Accept, &mut self.channel)?;
        if let Some(licence) = self.licence.as_ref().filter(|licence| !licence.pass_on()) {
            return Err(if licence.is_claimed() { Cause::ServedOn } else { Cause::TooLate });
        }
        match self.channel.send_by(frame, &[], Deadline::after(SILENCE_MAX)) {
            // The predecessor is dead, and its standby leaves: what was to be accepted is as it left it.
            Err(ChannelError::Closed) if self.licence.as_ref().is_some_and(Licence::is_passed_on) => Ok(()),
            Err(ChannelError::Closed) => Err(Cause::TooLate),
            sent => Ok(sent?),
        }
    }
}

/// The next frame, unless a signal or another thread asks this process to stop: it owns no peer yet, and the predecessor will keep them.
fn receive_unless_stopped(channel: &mut Channel, sources: &Sources) -> Result<RawFrame, Cause> {
    let deadline = Deadline::after(SILENCE_MAX);
    loop {
        stop_if_told(sources)?;
        let verdict = deadline.check();
        match (channel.receive()?, &sources.signals) {
            (Some(raw), _) => return Ok(raw),
            (None, Some(signals)) => {
                verdict?;
                channel.wait_beside(signals.as_fd(), deadline)?;
            }
            (None, None) => return Ok(channel.receive_by(deadline)?),
        }
    }
}

/// Why the predecessor has ended the takeover: it may have said so before it ended the channel.
fn last_word(channel: &mut Channel) -> Option<Cause> {
    while let Ok(Some(raw)) = channel.receive() {
        if let Ok(Frame::Refuse(refuse)) = raw.decode() {
            return Some(Objection::Refused { reason: printable(&refuse.reason) }.into());
        }
    }
    None
}

/// # Errors
/// If a signal or another thread has asked this process to stop.
pub(crate) fn stop_if_told(sources: &Sources) -> Result<(), Cause> {
    if sources.asks.as_ref().is_some_and(Asks::is_to_stop) {
        return Err(Cause::Stopped);
    }
    match sources.signals.as_ref().map(StopSignals::look) {
        Some(Ok(Some(signal))) => Err(Cause::Signal(signal)),
        Some(Err(error)) => Err(Cause::Io { what: "signals", error }),
        Some(Ok(None)) | None => Ok(()),
    }
}

impl<L: Lanes> Arriving<L> {
    /// A takeover of peers alone, from a predecessor of the same process that has the same lanes, and whose state has these
    /// versions.
    pub(crate) fn of_peers(channel: Channel, poll: Poll, lanes: L, versions: &[u32]) -> (Self, Receiving) {
        let listeners = Listeners {
            services: vec![],
            takeover_path: vec![],
            takeover_device: 0,
            takeover_inode: 0,
            queue_tls: None,
            has_queue: false,
        };
        let heard = Receiving::expecting(&vec![0; L::COUNT + 1]).hear(Frame::Listeners(listeners));
        let Ok(Heard::On(receiving, _)) = heard else { panic!("listeners come first") };
        let sources = Sources::none();
        let same = |(number, &state_version): (usize, &u32)| Counterpart { number, state_version };
        let counterparts = versions.iter().enumerate().map(same).collect();
        let doorways = Doorways::default();
        (Self { channel, poll, lanes, sources, counterparts, doorways, licence: None, ready_at_ns: None }, receiving)
    }

    /// The next frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<RawFrame>, ChannelError> {
        self.channel.receive()
    }

    /// Tells the predecessor why there will be no takeover, and ends the channel.
    pub(crate) fn object(&mut self, cause: &Cause) {
        self.channel.send_last(&cause.frame());
        self.channel.shutdown();
    }

    /// What owns the peers once Accept is in the channel.
    pub(crate) fn into_lanes(self) -> (Poll, L) {
        (self.poll, self.lanes)
    }
}

#[cfg(test)]
mod tests;
