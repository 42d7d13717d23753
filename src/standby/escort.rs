//! The active's side of the channel when its standby has copied everything once: it moves frames and descriptors, and decides
//! nothing.
//!
//! What a mark tells is written in one go, and sent as the channel takes it: so the loop waits for nobody.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use reactord_process::channel::{Channel, ChannelError, Sent, TOO_MANY_IN_FLIGHT_RETRY};
use reactord_process::frame::printable;
use reactord_process::memory::spare;
use reactord_process::wiped::Wiped;

use super::following::{Following, out_of_turn};
use super::licence::Licensor;
use super::rhythm::{Rhythm, SILENCE_MAX};
use crate::account::{Account, unix_ms};
use crate::clock::monotonic_ns;
use crate::lanes::Lanes;
use crate::takeover::commit::ReadyDeparture;
use crate::takeover::failure::{Failure, last_word};
use crate::takeover::fault::{self, StandbyStep as Step};
use crate::takeover::memory::FRAME_SPARE_BYTES;
use crate::takeover::panicked::caught;
use crate::takeover::predecessor::Mistake;
use crate::takeover::progress::note;
use crate::takeover::wire::{Frame, Process};

/// Of so many changes at most the table keeps a list: the book knows each peer once.
const UNTOLD_MAX: usize = 4096;

/// How many frames of the standby are heard in one turn of the loop.
const FRAMES_PER_TURN: usize = 64;

/// A standby that has copied everything once, as its active sees it.
#[derive(Debug)]
pub(super) struct Escort {
    channel: Channel,
    standby: Process,
    following: Following,
    /// It has the licence as long as this is here.
    _licensor: Licensor,
    rhythm: Rhythm,
    /// What the channel has not taken yet.
    unsent: VecDeque<Parcel>,
    /// When to send again if no event will tell.
    again_at: Option<Instant>,
    /// There may be something to hear.
    may_hear: bool,
    /// Since when it could serve on.
    armed_since_unix_ms: Option<u64>,
}

/// A frame with its descriptors.
#[derive(Debug)]
struct Parcel {
    frame: Wiped,
    descriptors: Vec<OwnedFd>,
}

impl Escort {
    /// # Errors
    /// If there is no licence to be had.
    pub(super) fn begin(ready: ReadyDeparture, now: Instant) -> Result<Self, Failure> {
        let (channel, standby, ready) = ready.into_parts();
        let licensor = Licensor::new().map_err(ChannelError::Io)?;
        let licence = licensor.licence().try_clone_to_owned().map_err(ChannelError::Io)?;
        let licence = Parcel { frame: Frame::Licence.encode().into(), descriptors: vec![licence] };
        Ok(Self {
            channel,
            standby,
            following: Following::begin(ready),
            _licensor: licensor,
            rhythm: Rhythm::new(now),
            unsent: VecDeque::from([licence]),
            again_at: None,
            may_hear: true,
            armed_since_unix_ms: None,
        })
    }

    pub(super) fn standby(&self) -> &Process {
        &self.standby
    }

    pub(super) fn channel_mut(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// It has said something, or the channel has ended.
    pub(super) fn readable(&mut self) {
        self.may_hear = true;
    }

    /// How many peers it knows.
    pub(super) fn peers(&self) -> u64 {
        self.following.peers()
    }

    /// About how many peers would be lost now: the standby does not know how far they have come, or not as they are.
    pub(super) fn in_doubt<L: Lanes>(&self, lanes: &L) -> u64 {
        let untold: usize = lanes.all().map(|lane| lane.table().untold()).sum();
        (untold as u64 + self.following.unknown()).min(lanes.peers() as u64)
    }

    /// Since when it could serve on: ms since 1970.
    pub(super) fn armed_since_unix_ms(&self) -> Option<u64> {
        self.armed_since_unix_ms
    }

    /// It is followed no more, and is told why. Its licence has been taken back by then.
    pub(super) fn dismiss(self, last_word: &[u8]) {
        let Self { channel, _licensor: licensor, .. } = self;
        drop(licensor);
        channel.close_with(last_word);
    }

    /// The loop has turned: hears the standby, and tells it what has changed if it is time to. Returns whether it is armed since
    /// this turn.
    ///
    /// # Errors
    /// If it is not to be followed any more.
    pub(super) fn turn<L: Lanes>(
        &mut self,
        lanes: &mut L,
        account: impl FnOnce(&L) -> Account,
        now: Instant,
    ) -> Result<bool, Failure> {
        self.rhythm.stir();
        self.note_if_many(lanes);
        // What it has said may have come while the loop was busy for long.
        let is_armed_now = (self.may_hear || self.rhythm.is_overdue(now)) && self.hear()?;
        self.send(now)?;
        if self.rhythm.is_overdue(now) {
            return Err(Mistake::Silent { silence: SILENCE_MAX }.into());
        }
        if self.unsent.is_empty() && self.rhythm.is_due(now) {
            self.mark(lanes, account, self.rhythm.is_late(now))?;
            self.send(now)?;
        }
        Ok(is_armed_now)
    }

    /// When it is to have a turn if no event comes before.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let to_hear = self.may_hear.then_some(now);
        // What the channel has not taken yet comes first, of which an event tells.
        let rhythm = if self.unsent.is_empty() { Some(self.rhythm.due()) } else { self.rhythm.overdue_at() };
        [to_hear, self.again_at, rhythm].into_iter().flatten().min()
    }

    /// Returns whether it has applied the first mark.
    fn hear(&mut self) -> Result<bool, Failure> {
        let mut is_armed_now = false;
        for _ in 0..FRAMES_PER_TURN {
            let Some(raw) = self.channel.receive()? else {
                self.may_hear = false;
                break;
            };
            match raw.decode()? {
                Frame::Copied(copied) => {
                    if self.following.hear_copied(&copied)? && self.unsent.is_empty() {
                        self.rhythm.applied();
                        is_armed_now |= self.arm();
                    }
                }
                Frame::Beat => self.channel.post(&Frame::Beat.encode())?,
                Frame::Refuse(refuse) => return Err(Mistake::GaveUp { reason: printable(&refuse.reason) }.into()),
                frame => return Err(out_of_turn(frame.kind()).into()),
            }
        }
        Ok(is_armed_now)
    }

    /// It could serve on if it knows how far everybody had come. True if that is so since now.
    fn arm(&mut self) -> bool {
        let is_armed = self.armed_since_unix_ms.is_some();
        if is_armed || !self.following.has_confirmed() {
            return false;
        }
        self.armed_since_unix_ms = Some(unix_ms());
        true
    }

    /// Sends what the channel takes.
    fn send(&mut self, now: Instant) -> Result<(), Failure> {
        self.again_at = None;
        while let Some(Parcel { frame, descriptors }) = self.unsent.front() {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            let sent = self.channel.try_send(frame, &borrowed);
            let sent = sent.map_err(|error| last_word(&mut self.channel).unwrap_or(error.into()))?;
            match sent {
                Sent::Taken => {
                    self.unsent.pop_front();
                    self.rhythm.sent(now);
                }
                Sent::Full => return Ok(()),
                Sent::TooManyInFlight => {
                    self.again_at = Some(now + TOO_MANY_IN_FLIGHT_RETRY);
                    return Ok(());
                }
            }
        }
        self.channel.flush()?;
        Ok(())
    }

    // ── A mark ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Writes down what has changed since the last mark.
    fn mark<L: Lanes>(
        &mut self,
        lanes: &mut L,
        account: impl FnOnce(&L) -> Account,
        in_any_case: bool,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        fault::at(Step::Mark, &mut self.channel)?;
        self.note(lanes);
        self.following.begin_mark();
        self.write_peers(lanes)?;
        while let Some(frame) = caught(|| self.following.next_entries(&mut lanes.originals()))? {
            self.post(frame);
            spare(FRAME_SPARE_BYTES)?;
        }
        let mut states = vec![Vec::new(); L::COUNT];
        caught(|| lanes.all().zip(&mut states).for_each(|(lane, state)| lane.save(state)))?;
        let account = account(lanes);
        let frames = self.following.finish(&states, &lanes.originals(), account, monotonic_ns(), in_any_case);
        let is_some = frames.is_some();
        frames.into_iter().flatten().for_each(|frame| self.post(frame));
        self.rhythm.gathered(began, Instant::now(), is_some, self.following.is_to_confirm());
        fault::at(Step::Marked, &mut self.channel)?;
        Ok(())
    }

    fn post(&mut self, frame: Vec<u8>) {
        self.unsent.push_back(Parcel { frame: frame.into(), descriptors: Vec::new() });
    }

    /// Those who have come, changed or gone.
    fn write_peers<L: Lanes>(&mut self, lanes: &mut L) -> Result<(), Failure> {
        loop {
            spare(FRAME_SPARE_BYTES)?;
            let Some(mut batch) = caught(|| self.following.next_batch(&lanes.originals()))?? else { return Ok(()) };
            let descriptors = lanes.lane(batch.lane()).descriptors(&mut batch.descriptor_keys());
            // Whatever the channel takes at once needs no descriptors of its own here.
            let goes_at_once =
                self.unsent.is_empty() && self.channel.try_send(&batch.frame, &descriptors)? == Sent::Taken;
            if !goes_at_once {
                let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>();
                let (frame, descriptors) = (take(&mut batch.frame), descriptors.map_err(ChannelError::Io)?);
                self.unsent.push_back(Parcel { frame, descriptors });
            }
            self.following.sent(batch);
        }
    }

    /// Enters into the book who has changed.
    fn note<L: Lanes>(&mut self, lanes: &mut L) {
        for number in 0..L::COUNT {
            note(self.following.mirror_mut(number), lanes.lane_mut(number).table_mut().touches());
        }
    }

    /// The same, before a mark, where there is a lot: a standby may take long to apply one.
    fn note_if_many<L: Lanes>(&mut self, lanes: &mut L) {
        if lanes.all().any(|lane| lane.table().untold() > UNTOLD_MAX) {
            self.note(lanes);
        }
    }
}
