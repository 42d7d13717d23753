//! A batch on its way to a taker: the predecessor's half of the conversation, carried out between two turns of a loop that
//! goes on serving.
//!
//! Nothing in here waits. Only the peers of the batch stand still, from the freeze to its end: they are out of reach then.

use std::time::{Duration, Instant};

use super::batch::Batch;
use crate::clock::monotonic_ns;
use crate::lane::AnyLane;
use crate::table::{Handle, Table, Touch};
use crate::takeover::channel::{Channel, ChannelError, Deadline, Sent, TOO_MANY_IN_FLIGHT_RETRY};
use crate::takeover::drive::{Drive, PredecessorEnd, Stepped};
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, PredecessorStep as Step};
use crate::takeover::memory;
use crate::takeover::mirror::{Batch as Records, Mirror};
use crate::takeover::panicked::caught;
use crate::takeover::predecessor::{Copying, Decision, Frozen, Heard, Mistake, Outgoing, Ready, Refusal, SILENCE_MAX};
use crate::takeover::wire::{Frame, Hello, RawFrame, Welcome};

/// How long a batch may be copied, however it comes on. Who changes as fast as that for so long does not come to rest.
const COPY_PATIENCE: Duration = Duration::from_secs(60);

/// A batch between Welcome and its end.
#[derive(Debug)]
pub(super) struct Giving {
    channel: Channel,
    batch: Batch,
    progress: Progress,
    began: Instant,
}

#[derive(Debug)]
enum Progress {
    /// Everybody is served as before, and copied.
    Copying { copying: Copying, blocked: Option<Blocked> },
    /// The peers of the batch are out of reach.
    Frozen { drive: Drive<Failure>, deadline: Deadline },
}

/// Why nothing is sent now.
#[derive(Clone, Copy, Debug)]
enum Blocked {
    UntilWritable,
    Until(Instant),
}

/// What a turn has led to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(super) enum Turned {
    On(Giving),
    /// The taker owns the peers. They are out of reach.
    Given(Channel, Batch),
    /// The taker has nothing of it, and the channel has ended. The peers may be out of reach.
    Kept(Batch, Failure),
}

impl Giving {
    /// Welcomes the taker, which has said `hello`.
    ///
    /// # Errors
    /// If it cannot be told.
    pub(super) fn begin(
        mut channel: Channel,
        hello: Hello,
        welcome: Welcome,
        batch: Batch,
        now: Instant,
    ) -> Result<Self, Failure> {
        fault::at(Step::Welcome, &mut channel)?;
        channel.post(&Frame::Welcome(welcome).encode())?;
        let copying = Copying::new(hello, &[batch.places()], now);
        Ok(Self { channel, batch, progress: Progress::Copying { copying, blocked: None }, began: now })
    }

    /// The number of the lane whose peers these are.
    pub(super) fn lane(&self) -> usize {
        self.batch.lane()
    }

    /// Whether the peers of the batch stand still.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.progress, Progress::Frozen { .. })
    }

    /// The channel takes more.
    pub(super) fn writable(&mut self) {
        if let Progress::Copying { blocked, .. } = &mut self.progress {
            blocked.take_if(|blocked| matches!(blocked, Blocked::UntilWritable));
        }
    }

    /// When it is to have a turn if no event comes before.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match &self.progress {
            Progress::Frozen { deadline, .. } => deadline.at(),
            Progress::Copying { copying, blocked } => {
                let overdue = copying.deadline().min(self.began + COPY_PATIENCE);
                match blocked {
                    _ if !copying.has_next() => overdue,
                    None => now,
                    Some(Blocked::UntilWritable) => overdue,
                    Some(Blocked::Until(instant)) => overdue.min(*instant),
                }
            }
        }
    }

    /// Hears the taker, and sends it what comes next.
    pub(super) fn turn(self, lane: &mut dyn AnyLane, freeze_timeout: Duration, now: Instant) -> Turned {
        let Self { mut channel, mut batch, progress, began } = self;
        let (mut copying, mut blocked) = match progress {
            Progress::Copying { copying, blocked } => (copying, blocked),
            Progress::Frozen { drive, deadline } => {
                return end(End { channel, lane, batch, deadline, has_heard: false }, drive, began);
            }
        };
        note(&mut copying, batch.note(lane.table_mut().touches()));
        match advance(copying, &mut blocked, &mut channel, &mut batch, lane, Times { freeze_timeout, began, now }) {
            Ok(Advanced::Copying(copying)) => {
                Turned::On(Self { channel, batch, progress: Progress::Copying { copying, blocked }, began })
            }
            Ok(Advanced::Ready(ready)) => {
                let deadline = Deadline::after(freeze_timeout);
                end(End { channel, lane, batch, deadline, has_heard: false }, Drive::new(ready), began)
            }
            Err(failure) => {
                channel.close_with(&failure.frame());
                Turned::Kept(batch, failure)
            }
        }
    }

    /// Ends it before its peers stand still, and tells the taker why.
    pub(super) fn abandon(self, refusal: &Refusal) -> Batch {
        self.channel.close_with(&refusal.frame());
        self.batch
    }

    /// Waits for its end no longer.
    pub(super) fn cut_short(self, lane: &mut dyn AnyLane) -> Turned {
        let Self { channel, batch, progress, began } = self;
        match progress {
            Progress::Frozen { drive, .. } => {
                let deadline = Deadline::after(Duration::ZERO);
                end(End { channel, lane, batch, deadline, has_heard: false }, drive, began)
            }
            Progress::Copying { .. } => {
                let failure = Failure::from(Mistake::Silent { silence: began.elapsed() });
                channel.close_with(&failure.frame());
                Turned::Kept(batch, failure)
            }
        }
    }
}

/// What a turn has to keep to.
#[derive(Clone, Copy)]
struct Times {
    freeze_timeout: Duration,
    began: Instant,
    now: Instant,
}

enum Advanced {
    Copying(Copying),
    Ready(Ready),
}

/// Enters into the book what has happened to the peers of the batch.
fn note(copying: &mut Copying, touches: Vec<Touch>) {
    let mirror = copying.mirror_mut(0);
    for touch in touches {
        match touch {
            Touch::Changed { key, session } => mirror.touched(key, session),
            Touch::Gone { key, id } => mirror.closed(key, id.into()),
        }
    }
}

fn advance(
    mut copying: Copying,
    blocked: &mut Option<Blocked>,
    channel: &mut Channel,
    batch: &mut Batch,
    lane: &dyn AnyLane,
    Times { freeze_timeout, began, now }: Times,
) -> Result<Advanced, Failure> {
    while let Some(raw) = channel.receive()? {
        copying = match copying.hear(raw.decode()?, now)? {
            Heard::Copying(copying) => {
                fault::at(Step::Copied, channel)?;
                copying
            }
            Heard::Ready(ready) if !comes_to_rest(batch, lane) => {
                let mut copying = ready.another_round();
                follow_ties(batch, &mut copying, lane);
                copying
            }
            Heard::Ready(ready) => {
                let mut originals = batch.originals(lane);
                match caught(|| ready.decide(&mut [&mut originals], freeze_timeout, now))?? {
                    Decision::Copy(copying) => copying,
                    Decision::Freeze(ready, _) => return Ok(Advanced::Ready(ready)),
                }
            }
        };
    }
    if now >= copying.deadline() {
        return Err(Mistake::Silent { silence: SILENCE_MAX }.into());
    }
    if now >= began + COPY_PATIENCE {
        return Err(Mistake::Restless { copied_for: COPY_PATIENCE }.into());
    }
    match *blocked {
        Some(Blocked::UntilWritable) => return Ok(Advanced::Copying(copying)),
        Some(Blocked::Until(instant)) if now < instant => return Ok(Advanced::Copying(copying)),
        _ => {}
    }
    let share = copying.share();
    loop {
        *blocked = match send_next(&mut copying, channel, batch, lane, now)? {
            Sent::Taken => None,
            Sent::Full => Some(Blocked::UntilWritable),
            Sent::TooManyInFlight => Some(Blocked::Until(now + TOO_MANY_IN_FLIGHT_RETRY)),
        };
        if blocked.is_some() || !copying.has_next() || now.elapsed() >= share {
            return Ok(Advanced::Copying(copying));
        }
    }
}

/// Whether the peers of a batch can stand still now: nothing that was asked of one is still to be done, and all who are tied
/// to one are among them.
fn comes_to_rest(batch: &Batch, lane: &dyn AnyLane) -> bool {
    batch.handles().all(|handle| !lane.table().is_unsettled(handle) && is_whole(batch, handle, lane))
}

/// Whether all who are tied to this one are in the batch.
fn is_whole(batch: &Batch, handle: Handle, lane: &dyn AnyLane) -> bool {
    lane.table().tied_to(handle).into_iter().all(|tied| batch.has(tied))
}

/// Has those move, too, who have been tied to one of a batch while it was copied; and has those stay who have been tied to one
/// that does.
fn follow_ties(batch: &mut Batch, copying: &mut Copying, lane: &dyn AnyLane) {
    let (table, mirror) = (lane.table(), copying.mirror_mut(0));
    let torn: Vec<Handle> = batch.handles().filter(|handle| !is_whole(batch, *handle, lane)).collect();
    for handle in torn {
        if !batch.has(handle) || is_whole(batch, handle, lane) {
            // It has been looked at with another one.
            continue;
        }
        let together = table.tied_together(handle);
        let stays = table.stays(&together);
        for handle in together {
            match (stays, batch.has(handle)) {
                (false, false) => mirror.touched(batch.take_along(handle), true),
                (true, true) => leave_behind(batch, mirror, handle, table),
                (false, true) | (true, false) => {}
            }
        }
    }
}

fn leave_behind(batch: &mut Batch, mirror: &mut Mirror, handle: Handle, table: &Table) {
    let peer = table.peers().of_handle(handle).expect("it is tied to one that is there");
    if let Some(place) = batch.leave_behind(handle) {
        mirror.closed(place, peer.id().into());
    }
}

/// Sends what comes next, if anything does.
fn send_next(
    copying: &mut Copying,
    channel: &mut Channel,
    batch: &Batch,
    lane: &dyn AnyLane,
    now: Instant,
) -> Result<Sent, Failure> {
    memory::spare(memory::FRAME_SPARE_BYTES)?;
    let mut originals = batch.originals(lane);
    let Some(outgoing) = caught(|| copying.next(&mut [&mut originals]))?? else {
        channel.flush()?;
        return Ok(Sent::Taken);
    };
    let sent = match &outgoing {
        Outgoing::Batch(records) => {
            fault::at(Step::Batch, channel)?;
            channel.try_send(&records.frame, &batch.descriptors(lane, records.descriptor_keys()))?
        }
        Outgoing::Round { frame, last } => {
            fault::at(if *last { Step::LastRound } else { Step::Round }, channel)?;
            channel.try_send(frame, &[])?
        }
        Outgoing::Entries(_) => unreachable!("a batch has no entries"),
    };
    match sent {
        Sent::Taken => copying.sent(outgoing, now),
        Sent::Full | Sent::TooManyInFlight => copying.unsent(outgoing),
    }
    Ok(sent)
}

/// Goes on with the end of a batch as far as that can be done without waiting.
fn end(mut end: End<'_>, mut drive: Drive<Failure>, began: Instant) -> Turned {
    loop {
        let waits = drive.has_committed();
        end.has_heard = false;
        match drive.step(&mut end) {
            Stepped::HandedOver(_) => return Turned::Given(end.channel, end.batch),
            Stepped::Thaw(failure) => return Turned::Kept(end.batch, failure),
            Stepped::On(next) if waits && next.has_committed() && !end.has_heard => {
                let End { channel, batch, deadline, .. } = end;
                return Turned::On(Giving {
                    channel,
                    batch,
                    progress: Progress::Frozen { drive: next, deadline },
                    began,
                });
            }
            Stepped::On(next) => drive = next,
        }
    }
}

/// What the drive works with: the channel, the peers, and a deadline.
struct End<'l> {
    channel: Channel,
    lane: &'l mut dyn AnyLane,
    batch: Batch,
    deadline: Deadline,
    /// The taker has said something in this step.
    has_heard: bool,
}

impl PredecessorEnd for End<'_> {
    type Failure = Failure;

    fn freeze(&mut self, ready: Ready) -> Result<Frozen, Failure> {
        let frozen = ready.freeze(Instant::now(), monotonic_ns());
        // Whatever happens from here on happens to others.
        self.lane.table_mut().unwatch();
        for handle in self.batch.handles() {
            self.lane.table_mut().put_out_of_reach(handle);
        }
        fault::at(Step::Freeze, &mut self.channel)?;
        memory::spare(memory::FRAME_SPARE_BYTES)?;
        Ok(frozen)
    }

    fn next_batch(&mut self, frozen: &mut Frozen) -> Result<Option<Records>, Failure> {
        let mut originals = self.batch.originals(&*self.lane);
        Ok(caught(|| frozen.next(&[&mut originals]))??)
    }

    fn send_batch(&mut self, records: &Records) -> Result<(), Failure> {
        let descriptors = self.batch.descriptors(&*self.lane, records.descriptor_keys());
        if descriptors.is_empty() {
            return Ok(self.channel.post(&records.frame)?);
        }
        match self.channel.try_send(&records.frame, &descriptors)? {
            Sent::Taken => Ok(()),
            Sent::Full | Sent::TooManyInFlight => Err(ChannelError::TooManyInFlight { waited: Duration::ZERO }.into()),
        }
    }

    fn next_entries(&mut self, _: &mut Frozen) -> Result<Option<Vec<u8>>, Failure> {
        Ok(None)
    }

    fn save(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        fault::at(Step::Commit, &mut self.channel)?;
        Ok(vec![Vec::new()])
    }

    fn send_part(&mut self, frame: &[u8]) -> Result<(), Failure> {
        Ok(self.channel.post(frame)?)
    }

    fn send_commit(&mut self, frame: &[u8]) -> Result<(), Failure> {
        self.channel.post(frame)?;
        Ok(fault::at(Step::Committed, &mut self.channel)?)
    }

    fn arrived(&mut self) -> Result<Option<RawFrame>, Failure> {
        Ok(self.channel.receive()?)
    }

    fn check_time(&self) -> Result<(), Failure> {
        Ok(self.deadline.check()?)
    }

    fn hear(&mut self) -> Result<Option<RawFrame>, Failure> {
        self.channel.flush()?;
        // What has come in time is heard, however late this process comes to look.
        let verdict = self.deadline.check();
        let raw = self.channel.receive()?;
        self.has_heard = raw.is_some();
        if raw.is_none() {
            verdict?;
        }
        Ok(raw)
    }

    fn out_of_patience(&self) -> Option<Mistake> {
        self.deadline.passed().map(|waited| Mistake::NotAccepted { waited })
    }

    fn say_last(&mut self, failure: &Failure) {
        self.channel.send_last(&failure.frame());
    }

    fn shut_down(&mut self) {
        self.channel.shutdown();
    }

    fn look(&mut self) -> Option<RawFrame> {
        // What is no frame is not Accept, and nothing can be told behind it.
        self.channel.receive().ok().flatten()
    }
}
