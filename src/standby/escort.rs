//! The active's side of the channel when its standby has copied everything once: it moves frames and descriptors, and decides
//! nothing.
//!
//! What a mark tells is written in one go, and sent as the channel takes it. The loop stands still, for 200 ms at most, only where the
//! standby has to know something first: there is no room in the journal, or somebody has come, or is offered.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry};
use reactord_process::channel::{Channel, ChannelError, Deadline, Sent, TOO_MANY_IN_FLIGHT_RETRY};
use reactord_process::frame::{RawFrame, printable};
use reactord_process::wiped::Wiped;

use super::chronicle::{Chronicle, out_of_turn};
use super::licence::Licensor;
use super::rhythm::{Rhythm, SILENCE_MAX};
use super::vigil::Living;
use crate::account::{Account, unix_ms};
use crate::clock::monotonic_ns;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::mapping::{Full, JOURNAL_BYTES, JournalEnd, Mapping};
use crate::recipient::Recipient;
use crate::sources::{Offer, Tokens};
use crate::takeover::commit::ReadyDeparture;
use crate::takeover::failure::{Failure, last_word};
use crate::takeover::fault::{self, StandbyStep as Step};
use crate::takeover::panicked::caught;
use crate::takeover::predecessor::Mistake;
use crate::takeover::progress::note;
use crate::takeover::wire::{Descriptors, Frame, Offered, Offsets, Process, Tickets};

/// Where something is to be written to so many peers, or so little room is left for what is read, they wait for nobody else.
const DEFERRED_MAX: usize = 16;
const INTAKE_LEFT_BYTES: usize = 256 * 1024;

/// How long the loop may stand still for a standby that does not keep up.
const STALLED_MAX: Duration = Duration::from_millis(200);

/// How many frames of the standby are heard in one turn of the loop.
const FRAMES_PER_TURN: usize = 64;

/// A standby that has copied everything once, as its active sees it.
#[derive(Debug)]
pub(super) struct Escort {
    channel: Channel,
    standby: Process,
    chronicle: Chronicle,
    /// It has the licence as long as this is here, but for the end of a takeover.
    licensor: Licensor,
    /// The memory that it sees, and where the journal in there ends.
    mapping: Arc<Mapping>,
    /// By which it notices that this thread ends.
    _living: Option<Living>,
    end: JournalEnd,
    /// Up to where it was told to apply the journal.
    marked: u64,
    rhythm: Rhythm,
    /// What this process has kept count of, as it was told last.
    account: Account,
    /// The frame that ends a commit, and room for what all share: both are made once.
    whole: Vec<u8>,
    state: Vec<u8>,
    /// What the channel has not taken yet.
    unsent: VecDeque<Parcel>,
    /// When to send again if no event will tell.
    again_at: Option<Instant>,
    /// There may be something to hear.
    may_hear: bool,
    /// Since when it could serve on.
    armed_since_unix_ms: Option<u64>,
    /// It was told of somebody who is offered, and not since then that nobody is whom it does not know as a peer.
    knows_offers: bool,
    /// Why it is not to be followed any more.
    failed: Option<Failure>,
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
    pub(super) fn begin(
        ready: ReadyDeparture,
        epoll: OwnedFd,
        lanes: &mut impl Lanes,
        now: Instant,
    ) -> Result<Self, Failure> {
        let (channel, standby, ready) = ready.into_parts();
        let licensor = Licensor::new().map_err(ChannelError::Io)?;
        let licence = licensor.licence().try_clone_to_owned().map_err(ChannelError::Io)?;
        let (mapping, memory) = Mapping::new().map_err(ChannelError::Io)?;
        let mapping = Arc::new(mapping);
        lanes.shelter(&mapping).map_err(|error| {
            let what = format!("the kernel cannot be asked how far connections have come (AF_NETLINK): {error}");
            ChannelError::Io(io::Error::new(error.kind(), what))
        })?;
        let licence = Parcel { frame: Frame::Licence.encode().into(), descriptors: vec![licence, memory, epoll] };
        Ok(Self {
            channel,
            standby,
            chronicle: Chronicle::of(ready, lanes.all().count()),
            licensor,
            _living: Living::of(&mapping),
            mapping,
            end: JournalEnd::default(),
            marked: 0,
            account: Account::open(),
            whole: Frame::Whole.encode(),
            state: Vec::new(),
            rhythm: Rhythm::new(now),
            unsent: VecDeque::from([licence]),
            again_at: None,
            may_hear: true,
            armed_since_unix_ms: None,
            knows_offers: false,
            failed: None,
        })
    }

    pub(super) fn standby(&self) -> &Process {
        &self.standby
    }

    pub(super) fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        registry.register(self.channel.source(), tokens.token(0), Interest::READABLE | Interest::WRITABLE)
    }

    /// It has said something, or the channel has ended.
    pub(super) fn readable(&mut self) {
        self.may_hear = true;
    }

    /// How many peers it knows.
    pub(super) fn peers(&self) -> u64 {
        self.chronicle.peers()
    }

    /// About how many peers would be lost now.
    pub(super) fn in_doubt<L: Lanes>(&self, lanes: &L) -> u64 {
        if self.armed_since_unix_ms.is_some() { self.chronicle.pending() } else { lanes.peers() as u64 }
    }

    /// Since when it could serve on: ms since 1970.
    pub(super) fn armed_since_unix_ms(&self) -> Option<u64> {
        self.armed_since_unix_ms
    }

    /// Its licence.
    pub(super) fn licensor(&self) -> &Licensor {
        &self.licensor
    }

    /// It is followed no more, and is told why. Its licence has been taken back by then.
    pub(super) fn dismiss(self, last_word: &[u8]) {
        fault::shelter(false);
        let Self { channel, licensor, .. } = self;
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
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.commit(lanes)?;
        // Whoever was taken is known as a peer by now.
        if std::mem::take(&mut self.knows_offers) {
            self.unsent.push_back(Parcel { frame: offered(&[]).into(), descriptors: Vec::new() });
        }
        self.send(now)?;
        // What it has said may have come while the loop was busy for long.
        if self.may_hear || self.rhythm.is_overdue(now) {
            self.hear()?;
        }
        if self.rhythm.is_overdue(now) {
            return Err(Mistake::Silent { silence: SILENCE_MAX }.into());
        }
        if self.unsent.is_empty() && self.rhythm.is_due(self.untold(), now) {
            self.account = account(lanes);
            self.mark(now)?;
            self.send(now)?;
        }
        Ok(self.arm())
    }

    /// When it is to have a turn if no event comes before.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let to_hear = self.may_hear.then_some(now);
        // What the channel has not taken yet comes first, of which an event tells.
        let rhythm =
            if self.unsent.is_empty() { Some(self.rhythm.due(self.untold())) } else { self.rhythm.overdue_at() };
        [to_hear, self.again_at, rhythm].into_iter().flatten().min()
    }

    /// How much the journal has of which no mark has told.
    fn untold(&self) -> u64 {
        self.end.position() - self.marked
    }

    fn hear(&mut self) -> Result<(), Failure> {
        for _ in 0..FRAMES_PER_TURN {
            let Some(raw) = self.channel.receive()? else {
                self.may_hear = false;
                break;
            };
            self.hear_frame(&raw)?;
        }
        Ok(())
    }

    fn hear_frame(&mut self, raw: &RawFrame) -> Result<(), Failure> {
        match raw.decode()? {
            Frame::Copied(copied) => {
                if self.chronicle.hear_copied(&copied)? {
                    self.rhythm.applied();
                }
            }
            Frame::Beat => self.channel.post(&Frame::Beat.encode())?,
            Frame::Refuse(refuse) => return Err(Mistake::GaveUp { reason: printable(&refuse.reason) }.into()),
            frame => return Err(out_of_turn(frame.kind()).into()),
        }
        Ok(())
    }

    /// It could serve on if it has applied what there was, and has the descriptors of all who have come since. True if that is so since
    /// now.
    fn arm(&mut self) -> bool {
        let is_armed_now =
            self.armed_since_unix_ms.is_none() && self.chronicle.has_applied_any() && self.unsent.is_empty();
        if is_armed_now {
            self.armed_since_unix_ms = Some(unix_ms());
        }
        is_armed_now
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

    // ── Who comes over a queue ─────────────────────────────────────────────────────────────────────────────────────

    /// Tells of those whom a supervisor offers, before they are taken. False if it does not know them: it is not to be followed any more, as
    /// the next [turn](Self::turn) says.
    pub(super) fn tell_of_offers(&mut self, offers: &[Offer<'_>]) -> bool {
        if self.failed.is_none() {
            self.failed = self.send_offers(offers).err();
        }
        self.failed.is_none()
    }

    fn send_offers(&mut self, offers: &[Offer<'_>]) -> Result<(), Failure> {
        let descriptors: Vec<BorrowedFd<'_>> = offers.iter().map(|offer| offer.socket).collect();
        self.send_all()?;
        self.channel.send_by(&offered(offers), &descriptors, Deadline::after(STALLED_MAX))?;
        self.knows_offers = true;
        Ok(fault::at_while_sheltered(Step::Offered, &mut self.channel)?)
    }

    /// Tells with which keys tickets are sealed from now on.
    pub(super) fn tell_tickets(&mut self, tickets: Tickets) {
        self.unsent.push_back(Parcel { frame: Frame::Tickets(tickets).encode().into(), descriptors: Vec::new() });
    }

    // ── A commit ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Tells what has happened, if so much has that somebody would wait for long otherwise.
    /// If it is not to be followed any more, the next [turn](Self::turn) says so.
    pub(super) fn commit_if_much<L: Lanes>(&mut self, lanes: &mut L) {
        let is_much = lanes.deferred() >= DEFERRED_MAX || !self.mapping.takes_in(INTAKE_LEFT_BYTES);
        if is_much {
            self.commit_now(lanes);
        }
    }

    /// The same in any case. False if it is not to be followed any more.
    pub(super) fn commit_now<L: Lanes>(&mut self, lanes: &mut L) -> bool {
        if self.failed.is_none() {
            self.failed = self.commit(lanes).err();
        }
        self.failed.is_none()
    }

    /// Tells all that has happened, and lets out what had to wait for that.
    fn commit<L: Lanes>(&mut self, lanes: &mut L) -> Result<(), Failure> {
        fault::at_while_sheltered(Step::Commit, &mut self.channel)?;
        self.make_room()?;
        let before = self.end.position();
        self.note(lanes);
        self.chronicle.begin_commit();
        if let Some(frame) = self.chronicle.flushed() {
            self.write(&frame)?;
        }
        self.write_peers(lanes)?;
        self.write_offsets(lanes)?;
        while let Some(frame) = caught(|| self.chronicle.next_entries(&mut lanes.originals()))? {
            self.write(&frame)?;
        }
        self.write_states(lanes)?;
        for frame in self.chronicle.next_timers(&lanes.originals()) {
            self.write(&frame)?;
        }
        if self.end.position() != before || self.mapping.has_taken_in() {
            self.mapping.write(&mut self.end, &self.whole).map_err(is_behind)?;
            fault::at_while_sheltered(Step::Committing, &mut self.channel)?;
            self.mapping.commit(self.end.position());
        }
        lanes.each(|lane| lane.table_mut().have_committed());
        fault::at_while_sheltered(Step::Committed, &mut self.channel)?;
        if lanes.deferred() > 0 {
            lanes.each(|lane| lane.let_out());
            fault::at_while_sheltered(Step::LetOut, &mut self.channel)?;
        }
        Ok(())
    }

    /// Waits, and the loop with it, where the standby has not applied half of what there is room for: it is given the time for that.
    fn make_room(&mut self) -> Result<(), Failure> {
        if !self.is_short_of_room() {
            return Ok(());
        }
        let stalled_at = Instant::now() + STALLED_MAX;
        while self.is_short_of_room() {
            if self.rhythm.overdue_at().is_none() {
                self.mark(Instant::now())?;
            }
            self.send_all()?;
            let raw = self.channel.receive_by(Deadline::after(stalled_at.saturating_duration_since(Instant::now())))?;
            self.hear_frame(&raw)?;
        }
        Ok(())
    }

    fn is_short_of_room(&self) -> bool {
        self.mapping.unapplied(self.end.position()) > JOURNAL_BYTES as u64 / 2
    }

    /// Writes at the end of the journal.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.mapping.write(&mut self.end, bytes).map_err(is_behind)
    }

    /// Those who have come, changed or gone. The descriptors of those who have come are on their way before anything is committed.
    fn write_peers<L: Lanes>(&mut self, lanes: &mut L) -> Result<(), Failure> {
        loop {
            let Some(batch) = caught(|| self.chronicle.next_batch(&lanes.originals()))?? else { return Ok(()) };
            let keys: Vec<usize> = batch.descriptor_keys().collect();
            if !keys.is_empty() {
                self.send_descriptors(lanes.lane(batch.lane()), &keys)?;
                fault::at_while_sheltered(Step::Came, &mut self.channel)?;
            }
            self.write(&batch.frame)?;
            self.chronicle.sent(batch);
        }
    }

    fn send_descriptors(&mut self, lane: &dyn AnyLane, keys: &[usize]) -> Result<(), Failure> {
        let peers = lane.table().peers();
        let cookie = |key: &usize| u64::from(peers.get(*key).expect("its record was just written").id());
        let frame = Frame::Descriptors(Descriptors { cookies: keys.iter().map(cookie).collect() }).encode();
        let descriptors = lane.descriptors(&mut keys.iter().copied());
        // Nobody may see what it is not told of, and whom it has no descriptor of is not served on.
        if self.armed_since_unix_ms.is_some() {
            self.send_all()?;
            return Ok(self.channel.send_by(&frame, &descriptors, Deadline::after(STALLED_MAX))?);
        }
        let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>();
        let descriptors = descriptors.map_err(ChannelError::Io)?;
        self.unsent.push_back(Parcel { frame: frame.into(), descriptors });
        Ok(())
    }

    /// Sends all that waits, though the loop stands still meanwhile.
    fn send_all(&mut self) -> Result<(), Failure> {
        while let Some(Parcel { frame, descriptors }) = self.unsent.pop_front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            self.channel.send_by(&frame, &descriptors, Deadline::after(STALLED_MAX))?;
        }
        Ok(())
    }

    /// How far connections have come about which something is to be known.
    fn write_offsets<L: Lanes>(&mut self, lanes: &mut L) -> Result<(), Failure> {
        for number in 0..L::COUNT {
            let offsets = lanes.lane_mut(number).table_mut().take_offsets();
            if !offsets.is_empty() {
                let (cookies, written) = offsets.iter().map(|offset| (offset.cookie, offset.written)).unzip();
                self.write(&Frame::Offsets(Offsets { cookies, written }).encode())?;
            }
        }
        Ok(())
    }

    /// What all peers of each lane share.
    fn write_states<L: Lanes>(&mut self, lanes: &L) -> Result<(), Failure> {
        for number in 0..L::COUNT {
            let mut state = take(&mut self.state);
            state.clear();
            caught(|| lanes.lane(number).save(&mut state))?;
            for frame in self.chronicle.next_state(number, &state) {
                self.write(&frame)?;
            }
            self.state = state;
        }
        Ok(())
    }

    // ── A mark ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Says what all comes to that is in the journal.
    fn mark(&mut self, now: Instant) -> Result<(), Failure> {
        fault::at_while_sheltered(Step::Mark, &mut self.channel)?;
        let frame = self.chronicle.mark(self.account.clone(), monotonic_ns(), self.end.position());
        self.unsent.push_back(Parcel { frame: frame.into(), descriptors: Vec::new() });
        self.marked = self.end.position();
        self.rhythm.marked(now);
        fault::at_while_sheltered(Step::Marked, &mut self.channel)?;
        Ok(())
    }

    /// Enters into the book who has changed.
    fn note<L: Lanes>(&mut self, lanes: &mut L) {
        for number in 0..L::COUNT {
            let table = lanes.lane_mut(number).table_mut();
            // What was done to peers in others' turns is part of it.
            table.touch_unsettled();
            note(self.chronicle.mirror_mut(number), table.touches(Recipient::Standby));
        }
    }
}

fn offered(offers: &[Offer<'_>]) -> Vec<u8> {
    let (cookies, connections) = offers.iter().map(|offer| (u64::from(offer.peer), offer.id.number())).unzip();
    Frame::Offered(Offered { cookies, connections }).encode()
}

/// There is no room in the journal for what the standby has not applied.
fn is_behind(Full { bytes }: Full) -> Failure {
    Mistake::Behind { bytes }.into()
}
