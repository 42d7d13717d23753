//! How far the copy has come on the predecessor's side of a channel, be it of all peers or of some that move: between two turns of
//! the loop it hears the successor and sends what comes next, and waits for nothing.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use reactord_process::channel::{Channel, ChannelError, Sent, TOO_MANY_IN_FLIGHT_RETRY};

use super::failure::{Failure, last_word};
use super::fault::{self, PredecessorStep as Step};
use super::memory;
use super::mirror::{Batch, Mirror};
use super::pace::Load;
use super::panicked::caught;
use super::pieces::Written;
use super::predecessor::{Copying, Decision, Heard, Mistake, Outgoing, Ready, SILENCE_MAX};
use crate::originals::Originals;
use crate::recipient::Recipient;
use crate::table::Touch;

/// How many frames of the successor are heard in one turn of the loop: a caller may talk without end.
const FRAMES_PER_TURN: usize = 64;

/// Whom a copy is of.
pub(crate) trait Subjects {
    /// Lends them to whoever copies, lane by lane.
    fn lend<T>(&mut self, copy: impl FnOnce(&mut [&mut dyn Originals]) -> T) -> T;

    /// The descriptors that go with a batch of records.
    fn descriptors(&self, batch: &Batch) -> Vec<BorrowedFd<'_>>;

    /// Sends what comes before any of them. `None` if nothing is left of that.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    fn send_first(&mut self, _: &mut Channel) -> Result<Option<Sent>, ChannelError> {
        Ok(None)
    }

    /// Whether it is the time to freeze. Otherwise the copy goes on with another round.
    fn may_freeze(&self) -> bool {
        true
    }

    /// Whether the freeze is to wait for something that ends by itself, and nothing is to be copied until then.
    fn waits(&self) -> bool {
        false
    }

    /// Sees to it that those who have come to be among them are in that round.
    fn gather(&mut self, _: &mut Copying) {}

    /// What to do with a successor that is ready.
    ///
    /// # Errors
    /// If what is pending could not be sent in time, or the service panics.
    fn decide(&mut self, ready: Ready, freeze_timeout: Duration, now: Instant) -> Result<Decision, Failure> {
        if !self.may_freeze() {
            let mut copying = ready.another_round();
            self.gather(&mut copying);
            return Ok(Decision::Copy(copying));
        }
        Ok(self.lend(|originals| caught(|| ready.decide(originals, freeze_timeout, now)))??)
    }
}

/// A copy on its way.
#[derive(Debug)]
pub(crate) struct Progress {
    copying: Copying,
    /// The channel refused the last frame, and when to try again if no event will tell.
    blocked: Option<Blocked>,
    /// The last turn ended before the successor was heard out.
    more_to_hear: bool,
}

#[derive(Clone, Copy, Debug)]
enum Blocked {
    UntilWritable,
    Until(Instant),
}

/// What a turn has led to.
pub(crate) enum Advanced {
    Copying(Progress),
    /// Freeze; and if more is pending than should be, how much, and for how long.
    Ready(Ready, Option<(Load, Duration)>),
}

impl Progress {
    pub(crate) fn new(copying: Copying) -> Self {
        Self { copying, blocked: None, more_to_hear: false }
    }

    /// The kernel takes no descriptors now.
    pub(crate) fn blocked_by_others(self, now: Instant) -> Self {
        Self { blocked: Some(Blocked::Until(now + TOO_MANY_IN_FLIGHT_RETRY)), ..self }
    }

    /// To whom.
    pub(crate) fn to(&self) -> Recipient {
        self.copying.to()
    }

    /// How many peers have been copied.
    pub(crate) fn copied(&self) -> u64 {
        self.copying.copied()
    }

    /// The channel takes more.
    pub(crate) fn writable(&mut self) {
        self.blocked.take_if(|blocked| matches!(blocked, Blocked::UntilWritable));
    }

    /// Whether everybody is copied. From here on short turns of the loop pay: what one of them changes is pending.
    pub(crate) fn nears_the_freeze(&self, now: Instant) -> bool {
        self.copying.nears_the_freeze(now)
    }

    /// Whether the freeze waits for something.
    pub(crate) fn is_waiting(&self) -> bool {
        self.copying.is_waiting()
    }

    /// Whether the successor goes on with TLS handshakes that have been answered, as far as it has said so.
    pub(crate) fn goes_on_with_answered(&self) -> bool {
        self.copying.goes_on_with_answered()
    }

    /// Has those who are gone told of before anything else. Whoever has come to be a peer of another lane by that is not to be
    /// told of before.
    pub(crate) fn tell_gone_first(&mut self, lane: usize) {
        self.copying.mirror_mut(lane).tell_closed();
    }

    /// When it is to have a turn if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let deadline = self.copying.deadline();
        match self.blocked {
            _ if self.more_to_hear => now,
            _ if !self.copying.has_next() => deadline,
            None => now,
            Some(Blocked::UntilWritable) => deadline,
            Some(Blocked::Until(instant)) => instant.min(deadline),
        }
    }

    /// Enters into the book of a lane what has happened to its peers.
    pub(crate) fn note(&mut self, lane: usize, touches: Vec<Touch>) {
        note(self.copying.mirror_mut(lane), touches);
    }

    /// Hears the successor out, and sends it as much as the copy's share of a turn allows: at least one frame, if the
    /// channel takes it.
    ///
    /// # Errors
    /// If the copy has failed.
    pub(crate) fn advance(
        mut self,
        channel: &mut Channel,
        subjects: &mut impl Subjects,
        freeze_timeout: Duration,
        now: Instant,
    ) -> Result<Advanced, Failure> {
        self.more_to_hear = true;
        if self.copying.is_waiting() && !subjects.waits() {
            self.copying.go_on(now);
        }
        for _ in 0..FRAMES_PER_TURN {
            let Some(raw) = channel.receive()? else {
                self.more_to_hear = false;
                break;
            };
            match self.copying.hear(raw.decode()?, now)? {
                Heard::Copying(copying) => {
                    self.copying = copying;
                    fault::at(Step::Copied, channel)?;
                }
                Heard::Ready(ready) if subjects.waits() => self.copying = ready.wait(now),
                Heard::Ready(ready) => match subjects.decide(ready, freeze_timeout, now)? {
                    Decision::Copy(copying) => self.copying = copying,
                    Decision::Freeze(ready, strain) => return Ok(Advanced::Ready(ready, strain)),
                },
            }
        }
        if now >= self.copying.deadline() {
            return Err(self.overdue());
        }
        self.send(channel, subjects, now)?;
        Ok(Advanced::Copying(self))
    }

    /// Why nothing has come of it for too long.
    fn overdue(&self) -> Failure {
        match self.blocked {
            Some(Blocked::Until(_)) => ChannelError::TooManyInFlight { waited: SILENCE_MAX }.into(),
            Some(Blocked::UntilWritable) | None => Mistake::Silent { silence: SILENCE_MAX }.into(),
        }
    }

    /// Sends what comes next, as far as the copy's share of a turn and the channel allow.
    fn send(&mut self, channel: &mut Channel, subjects: &mut impl Subjects, now: Instant) -> Result<(), Failure> {
        match self.blocked {
            Some(Blocked::UntilWritable) => return Ok(()),
            Some(Blocked::Until(instant)) if now < instant => return Ok(()),
            _ => {}
        }
        let share = self.copying.share();
        loop {
            self.blocked = match self.send_next(channel, subjects, now)? {
                Sent::Taken => None,
                Sent::Full => Some(Blocked::UntilWritable),
                Sent::TooManyInFlight => Some(Blocked::Until(now + TOO_MANY_IN_FLIGHT_RETRY)),
            };
            if self.blocked.is_some() || !self.copying.has_next() || now.elapsed() >= share {
                return Ok(());
            }
        }
    }

    /// Sends what comes next, if anything does.
    fn send_next(
        &mut self,
        channel: &mut Channel,
        subjects: &mut impl Subjects,
        now: Instant,
    ) -> Result<Sent, Failure> {
        if let Some(sent) = subjects.send_first(channel)? {
            return Ok(sent);
        }
        memory::spare(memory::FRAME_SPARE_BYTES)?;
        let copying = &mut self.copying;
        let Some(outgoing) = subjects.lend(|originals| caught(|| copying.next(originals)))?? else {
            channel.flush()?;
            return Ok(Sent::Taken);
        };
        fault::at(step_of(&outgoing), channel)?;
        let sent = match &outgoing {
            Outgoing::Batch(batch) => channel.try_send(&batch.frame, &subjects.descriptors(batch)),
            Outgoing::Entries(Written { frame, .. }) | Outgoing::Round { frame, .. } => channel.try_send(frame, &[]),
        };
        let sent = sent.map_err(|error| last_word(channel).unwrap_or(error.into()))?;
        match sent {
            Sent::Taken => self.copying.sent(outgoing, now),
            Sent::Full | Sent::TooManyInFlight => self.copying.unsent(outgoing),
        }
        Ok(sent)
    }
}

/// Enters into a book what has happened to the peers of its lane.
pub(crate) fn note(mirror: &mut Mirror, touches: Vec<Touch>) {
    touches.into_iter().for_each(|touch| note_one(mirror, touch));
}

fn note_one(mirror: &mut Mirror, touch: Touch) {
    match touch {
        Touch::Changed { key, session } => mirror.touched(key, session),
        Touch::Flushed { key, id } => mirror.flushed(key, id.into()),
        Touch::Gone { key, id } => mirror.closed(key, id.into()),
    }
}

/// The step at which it is sent.
fn step_of(outgoing: &Outgoing) -> Step {
    match outgoing {
        Outgoing::Batch(_) => Step::Batch,
        Outgoing::Entries(_) => Step::Entries,
        Outgoing::Round { last: false, .. } => Step::Round,
        Outgoing::Round { last: true, .. } => Step::LastRound,
    }
}
