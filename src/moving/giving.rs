//! A batch on its way to a taker: the predecessor's half of the conversation, carried out between two turns of a loop that
//! goes on serving.
//!
//! Nothing in here waits. Only the peers of the batch stand still, from the freeze to its end: they are out of reach then.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use reactord_process::channel::{Channel, ChannelError, Deadline, Sent};
use reactord_process::frame::RawFrame;

use super::batch::Batch;
use crate::clock::monotonic_ns;
use crate::lane::AnyLane;
use crate::originals::Originals;
use crate::recipient::Recipient;
use crate::table::{PeerHandle, Table};
use crate::takeover::admission::Refusal;
use crate::takeover::drive::{Drive, PredecessorEnd, Stepped};
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, PredecessorStep as Step};
use crate::takeover::memory;
use crate::takeover::mirror::{Batch as Records, Mirror};
use crate::takeover::panicked::caught;
use crate::takeover::predecessor::{Copying, Frozen, Mistake, Ready};
use crate::takeover::progress::{Advanced, Progress, Subjects};
use crate::takeover::wire::{Frame, Hello, Welcome};

/// How long a batch may be copied, however it comes on. Who changes as fast as that for so long does not come to rest.
const COPY_PATIENCE: Duration = Duration::from_secs(60);

/// A batch between Welcome and its end.
#[derive(Debug)]
pub(super) struct Giving {
    channel: Channel,
    batch: Batch,
    phase: Phase,
    began: Instant,
}

#[derive(Debug)]
enum Phase {
    /// Everybody is served as before, and copied.
    Copying(Progress),
    /// The peers of the batch are out of reach.
    Frozen { drive: Drive<Failure>, deadline: Deadline },
}

/// What a turn has led to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(super) enum Turned {
    On(Giving),
    /// The taker owns the peers. They are out of reach.
    Given(Channel, Batch),
    /// The taker has nothing of it, and the channel has ended. The peers may be out of reach.
    Kept(Batch, Failure),
    /// This side has other things to do, for this reason. The peers did not stand still yet.
    Abandoned(Batch, String),
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
        if welcome.has_secrets {
            channel.hold_secrets();
        }
        channel.post(&Frame::Welcome(welcome).encode())?;
        let progress = Progress::new(Copying::new(Recipient::Successor, hello, &[batch.places()], now));
        Ok(Self { channel, batch, phase: Phase::Copying(progress), began: now })
    }

    /// The number of the lane whose peers these are.
    pub(super) fn lane(&self) -> usize {
        self.batch.lane()
    }

    /// Whether the peers of the batch stand still.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.phase, Phase::Frozen { .. })
    }

    /// The channel takes more.
    pub(super) fn writable(&mut self) {
        if let Phase::Copying(progress) = &mut self.phase {
            progress.writable();
        }
    }

    /// When it is to have a turn if no event comes before.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match &self.phase {
            Phase::Frozen { deadline, .. } => deadline.at(),
            Phase::Copying(progress) => progress.due(now).min(self.began + COPY_PATIENCE),
        }
    }

    /// Hears the taker, and sends it what comes next.
    pub(super) fn turn(self, lane: &mut dyn AnyLane, freeze_timeout: Duration, now: Instant) -> Turned {
        let Self { mut channel, mut batch, phase, began } = self;
        let mut progress = match phase {
            Phase::Copying(progress) => progress,
            Phase::Frozen { drive, deadline } => {
                return end(End { channel, lane, batch, deadline, has_heard: false }, drive, began);
            }
        };
        progress.note(0, batch.note(lane.table_mut().touches(Recipient::Successor)));
        let few = &mut Few { batch: &mut batch, lane };
        let failure = match progress.advance(&mut channel, few, freeze_timeout, now) {
            Ok(Advanced::Copying(_)) if now >= began + COPY_PATIENCE => {
                Mistake::Restless { copied_for: COPY_PATIENCE }.into()
            }
            Ok(Advanced::Copying(progress)) => {
                return Turned::On(Self { channel, batch, phase: Phase::Copying(progress), began });
            }
            Ok(Advanced::Ready(ready, _)) => {
                let deadline = Deadline::after(freeze_timeout);
                return end(End { channel, lane, batch, deadline, has_heard: false }, Drive::new(ready), began);
            }
            Err(failure) => failure,
        };
        channel.close_with(&failure.frame());
        Turned::Kept(batch, failure)
    }

    /// Ends it at once: its peers are waited for no longer if they stand still, and the taker is told why if they do not yet.
    pub(super) fn stop(self, lane: &mut dyn AnyLane, refusal: &Refusal) -> Turned {
        let Self { channel, batch, phase, began } = self;
        match phase {
            Phase::Frozen { drive, .. } => {
                let deadline = Deadline::after(Duration::ZERO);
                end(End { channel, lane, batch, deadline, has_heard: false }, drive, began)
            }
            Phase::Copying(_) => {
                channel.close_with(&refusal.frame());
                Turned::Abandoned(batch, refusal.to_string())
            }
        }
    }
}

/// The peers of a batch, whom others may come to be tied to while they are copied.
struct Few<'b> {
    batch: &'b mut Batch,
    lane: &'b dyn AnyLane,
}

impl Subjects for Few<'_> {
    fn lend<T>(&mut self, copy: impl FnOnce(&mut [&mut dyn Originals]) -> T) -> T {
        copy(&mut [&mut self.batch.originals(self.lane)])
    }

    fn descriptors(&self, records: &Records) -> Vec<BorrowedFd<'_>> {
        self.batch.descriptors(self.lane, records.descriptor_keys())
    }

    fn may_freeze(&self) -> bool {
        comes_to_rest(self.batch, self.lane)
    }

    fn gather(&mut self, copying: &mut Copying) {
        follow_ties(self.batch, copying, self.lane);
    }
}

/// Whether the peers of a batch can stand still now: nothing that was asked of one is still to be done, and all who are tied
/// to one are among them.
fn comes_to_rest(batch: &Batch, lane: &dyn AnyLane) -> bool {
    batch.handles().all(|handle| !lane.table().is_unsettled(handle) && is_whole(batch, handle, lane))
}

/// Whether all who are tied to this one are in the batch.
fn is_whole(batch: &Batch, handle: PeerHandle, lane: &dyn AnyLane) -> bool {
    lane.table().tied_to(handle).into_iter().all(|tied| batch.has(tied))
}

/// Has those move, too, who have been tied to one of a batch while it was copied; and has those stay who have been tied to one
/// that does.
fn follow_ties(batch: &mut Batch, copying: &mut Copying, lane: &dyn AnyLane) {
    let (table, mirror) = (lane.table(), copying.mirror_mut(0));
    let torn: Vec<PeerHandle> = batch.handles().filter(|handle| !is_whole(batch, *handle, lane)).collect();
    for handle in torn {
        if !batch.has(handle) || is_whole(batch, handle, lane) {
            // It has been looked at with another one.
            continue;
        }
        let together = table.tied_together(handle);
        let has_room_for =
            |handle: &PeerHandle| table.peers().of_handle(*handle).is_none_or(|peer| batch.has_room_for(peer));
        let stays = table.stays(&together) || !together.iter().all(has_room_for);
        for handle in together {
            match (stays, batch.has(handle)) {
                (false, false) => mirror.touched(batch.take_along(handle), true),
                (true, true) => leave_behind(batch, mirror, handle, table),
                (false, true) | (true, false) => {}
            }
        }
    }
}

fn leave_behind(batch: &mut Batch, mirror: &mut Mirror, handle: PeerHandle, table: &Table) {
    let peer = table.peers().of_handle(handle).expect("it is tied to one that is there");
    if let Some(place) = batch.leave_behind(handle) {
        mirror.closed(place, peer.id().into());
    }
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
                return Turned::On(Giving { channel, batch, phase: Phase::Frozen { drive: next, deadline }, began });
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
        self.lane.table_mut().unwatch(Recipient::Successor);
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
