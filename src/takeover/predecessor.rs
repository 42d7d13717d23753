//! The predecessor's half of the conversation. Pure: frames and instants go in, frames and decisions come out.
//!
//! ```text
//! Copying ──Ready──▶ Frozen ──▶ Concluding ──Commit──▶ Committed ──Accept──▶ the successor owns the peers
//!    │                  │           │                     │
//! Mistake            Mistake     Mistake               Mistake            the predecessor owns them, and goes on
//! ```
//!
//! It begins when the successor is [admitted](super::admission).
//!
//! Each state is consumed by what it hears. Where a step fails, nothing is left to undo: the peers never were in here.

use std::time::{Duration, Instant};

use reactord_process::channel::DESCRIPTORS_PER_FRAME_MAX;
use reactord_process::frame::printable;

use super::admission::check_room;
use super::books::Books;
use super::mirror::{Batch, Mirror};
use super::pace::{Load, Pace, Pending, Verdict};
use super::pieces::{Pieces, Written};
use super::wire::{Commit, Figures, Frame, Hello, Kind, Round, State, Timer, Timers};
use crate::account::Account;
use crate::originals::Originals;
use crate::recipient::Recipient;

/// How many peers may be on their way to the successor: four batches keep the channel busy, and stay below any limit
/// of open files that a server would have (descriptors in flight count against it, unix(7)).
const PEERS_IN_FLIGHT_MAX: u64 = 1000;

/// How much of a turn of the loop the copy gets: in the first round, which takes long and need not win against anybody,
/// and in the others, up to what nobody notices to be missing.
const SHARE_FIRST: Duration = Duration::from_micros(300);
const SHARE_MAX: Duration = Duration::from_millis(1);

/// A successor that has not come further for so long is not about to be ready.
const KEEPS_UP: Duration = Duration::from_millis(50);

/// How long the successor may take to come further during the copy.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A part of the shared state in one frame. While one is on its way the next is written, into memory that is warm.
pub(crate) const STATE_PART_BYTES: usize = 64 * 1024;

/// How many timers one frame carries: about as many bytes as one of the shared state has.
const TIMERS_PER_FRAME_MAX: usize = 4096;

/// What the successor did wrong after it was welcomed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It gave up, and says why.
    GaveUp { reason: String },
    /// It said something that is not its turn to say.
    OutOfTurn { kind: Kind, step: &'static str },
    /// It claims to have copied what was not sent.
    Copied { peers: u64, peers_sent: u64, rounds: u32, rounds_sent: u32 },
    /// Peers have come since the greeting, and now it may not open enough files.
    Room { files_max: u64, files_needed: u64 },
    /// It goes on talking after the freeze.
    NotAccepted { waited: Duration },
    /// It has not answered.
    Silent { silence: Duration },
    /// It has not applied what it was told, so that there is no room for so many bytes more.
    Behind { bytes: usize },
    /// It is not its fault: something is to be done with one of the peers whenever they could stand still.
    Restless { copied_for: Duration },
    /// It is not its fault: peers change faster than they can be sent to it.
    TooMuch { load: Load, needed: Duration, allowed: Duration },
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GaveUp { reason } => write!(f, "the successor gave up: {reason}"),
            Self::OutOfTurn { kind, step } => write!(f, "the successor sent {kind:?} {step}"),
            Self::Copied { peers, peers_sent, rounds, rounds_sent } => write!(
                f,
                "the successor claims {peers} peers and {rounds} rounds, {peers_sent} and {rounds_sent} were sent"
            ),
            Self::Room { files_max, files_needed } => {
                write!(f, "the successor may open {files_max} files, {files_needed} are needed by now")
            }
            Self::NotAccepted { waited } => {
                write!(f, "the successor has not accepted within {} ms, and talks on", waited.as_millis())
            }
            Self::Silent { silence } => write!(f, "the successor was silent for {} ms", silence.as_millis()),
            Self::Behind { bytes } => {
                write!(f, "it has not applied what it was told, and there is no room for {bytes} bytes more")
            }
            Self::Restless { copied_for } => {
                write!(f, "the peers have not come to rest within {} ms", copied_for.as_millis())
            }
            Self::TooMuch { load, needed, allowed } => write!(
                f,
                "peers change faster than they are copied: {load}, are pending, and take {} ms to send after the \
                 freeze, {} ms are allowed, half the freeze timeout",
                needed.as_millis(),
                allowed.as_millis()
            ),
        }
    }
}

impl std::error::Error for Mistake {}

/// What to send next, if the successor has room for it. If it has none, those that are gone come first: until it is told
/// of them, it holds their descriptors.
pub(crate) fn next_with_room(
    books: &mut Books,
    hello: &Hello,
    originals: &[&mut dyn Originals],
) -> Result<Option<Batch>, Mistake> {
    let Some(batch) = books.next_batch(originals) else {
        return Ok(None);
    };
    let Err(mistake) = check_room_for(&batch, books, hello) else {
        return Ok(Some(batch));
    };
    books.unsent(batch);
    if books.tell_closed() { Ok(books.next_batch(originals)) } else { Err(mistake) }
}

/// The same for the peers in a batch, besides those that the successor holds by now.
fn check_room_for(batch: &Batch, books: &Books, hello: &Hello) -> Result<(), Mistake> {
    let peers = books.held() + batch.descriptor_keys().count() as u64;
    check_room(hello, peers).map_err(|(files_max, files_needed)| Mistake::Room { files_max, files_needed })
}

/// The predecessor serves, and sends its peers to the successor between two turns of the loop.
#[derive(Debug)]
pub(crate) struct Copying {
    books: Books,
    pieces: Pieces,
    step: Step,
    hello: Hello,
    peers_sent: u64,
    peers_copied: u64,
    rounds_copied: u32,
    /// The successor goes on with TLS handshakes that have been answered.
    goes_on_with_answered: bool,
    pace: Pace,
    figures: Figures,
    began: Instant,
    /// When the takeover last came further.
    progressed: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to send in this round.
    Sending,
    /// All of it is sent; the successor has yet to apply it.
    RoundSent,
    /// The last round is sent; the successor has yet to get ready.
    LastRoundSent,
    /// It is ready, and the freeze waits for something else, since then.
    Waiting(Instant),
}

/// A frame to be sent during the copy.
#[must_use]
#[derive(Debug)]
pub(crate) enum Outgoing {
    Batch(Batch),
    Entries(Written),
    Round { frame: Vec<u8>, last: bool },
}

/// What a frame of the successor led to.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The copy goes on.
    Copying(Copying),
    /// The successor is ready: freeze.
    Ready(Ready),
}

/// The successor is ready, and the predecessor still serves.
#[derive(Debug)]
pub(crate) struct Ready(Copying);

impl Copying {
    /// The copy begins: the successor or standby, which said `hello`, knows nothing. All peers have keys below those of their lane in
    /// `keys_end`.
    pub(crate) fn new(to: Recipient, hello: Hello, keys_end: &[usize], now: Instant) -> Self {
        Self {
            books: Books::new(keys_end),
            pieces: Pieces::new(to),
            step: Step::Sending,
            hello,
            peers_sent: 0,
            peers_copied: 0,
            rounds_copied: 0,
            goes_on_with_answered: false,
            pace: Pace::new(to, now),
            figures: Figures { rounds: 1, ..Figures::default() },
            began: now,
            progressed: now,
        }
    }

    /// Who is told.
    pub(crate) fn to(&self) -> Recipient {
        self.pieces.to()
    }

    /// The predecessor's book of what the successor knows of a lane.
    pub(crate) fn mirror_mut(&mut self, lane: usize) -> &mut Mirror {
        self.books.of_lane(lane)
    }

    /// What to send now. `None` if the successor's answer is waited for. Followed by [`Copying::sent`] or
    /// [`Copying::unsent`].
    ///
    /// # Errors
    /// If the successor has no room for what is to be sent.
    pub(crate) fn next(&mut self, originals: &mut [&mut dyn Originals]) -> Result<Option<Outgoing>, Mistake> {
        if self.step != Step::Sending || self.window_full() {
            return Ok(None);
        }
        if let Some(batch) = next_with_room(&mut self.books, &self.hello, originals)? {
            return Ok(Some(Outgoing::Batch(batch)));
        }
        if let Some(written) = self.pieces.next(originals) {
            return Ok(Some(Outgoing::Entries(written)));
        }
        // The first round took long, and the successor is behind: what is pending by then is known only after it.
        let last = self.may_freeze(originals, self.progressed);
        let round = Round {
            number: self.figures.rounds,
            last,
            #[cfg(all(feature = "wire-2", not(test)))]
            pending: Some(self.books.pending() as u64),
        };
        let frame = Frame::Round(round).encode();
        Ok(Some(Outgoing::Round { frame, last }))
    }

    /// Whether [`Copying::next`] would have something to send.
    pub(crate) fn has_next(&self) -> bool {
        self.step == Step::Sending && !self.window_full()
    }

    /// Whether it is worth asking the successor to get ready.
    fn may_freeze(&mut self, originals: &mut [&mut dyn Originals], now: Instant) -> bool {
        self.pace.may_freeze_with(self.books.pending(), self.pieces.pending(originals), now)
    }

    /// What is pending, and who has the most of it.
    fn load(&mut self, originals: &mut [&mut dyn Originals]) -> Load {
        let Load { pending: peers, most } = self.books.load(originals);
        let entries = self.pieces.load(originals);
        let pending = Pending { entries: entries.entries, bytes: peers.bytes + entries.bytes, ..peers };
        Load { pending, most }
    }

    fn window_full(&self) -> bool {
        self.peers_sent - self.peers_copied + DESCRIPTORS_PER_FRAME_MAX as u64 > PEERS_IN_FLIGHT_MAX
    }

    /// How many peers the successor has, those among them that are gone.
    pub(crate) fn copied(&self) -> u64 {
        self.peers_copied
    }

    /// How much of a turn the copy gets.
    pub(crate) fn share(&self) -> Duration {
        SHARE_MAX.min(SHARE_FIRST.saturating_mul(self.figures.rounds))
    }

    /// Whether all peers are copied, only what changes is left, and the successor keeps up.
    pub(crate) fn nears_the_freeze(&self, now: Instant) -> bool {
        self.is_waiting() || (self.figures.rounds > 1 && now.saturating_duration_since(self.progressed) < KEEPS_UP)
    }

    /// Whether the successor goes on with TLS handshakes that have been answered, as far as it has said so.
    pub(crate) fn goes_on_with_answered(&self) -> bool {
        self.goes_on_with_answered
    }

    /// Whether the successor is ready, and nothing is done until the freeze need not wait any more.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Waiting(_))
    }

    /// The freeze need not wait any more: another round is copied, and the time that was waited for nothing does not count.
    pub(crate) fn go_on(&mut self, now: Instant) {
        if let Step::Waiting(since) = self.step {
            self.pace.pass_over(now.saturating_duration_since(since));
            self.progressed = now;
            self.begin_round();
        }
    }

    /// The channel has taken it. The channel is small, so that is progress too: the successor does not answer every
    /// frame.
    pub(crate) fn sent(&mut self, outgoing: Outgoing, now: Instant) {
        self.progressed = now;
        match outgoing {
            Outgoing::Batch(batch) => {
                self.peers_sent += batch.descriptor_keys().count() as u64;
                self.figures.batches += 1;
                self.figures.bytes += batch.frame.len() as u64;
                self.books.sent(batch);
            }
            Outgoing::Entries(written) => {
                self.figures.batches += 1;
                self.figures.bytes += written.frame.len() as u64;
                self.pieces.sent(&written);
            }
            Outgoing::Round { frame, last } => {
                self.figures.bytes += frame.len() as u64;
                self.step = if last { Step::LastRoundSent } else { Step::RoundSent };
            }
        }
    }

    /// The channel has not taken it.
    pub(crate) fn unsent(&mut self, outgoing: Outgoing) {
        if let Outgoing::Batch(batch) = outgoing {
            self.books.unsent(batch);
        }
    }

    /// The successor says something.
    ///
    /// # Errors
    /// If the takeover is over with that.
    pub(crate) fn hear(mut self, frame: Frame<'_>, now: Instant) -> Result<Heard, Mistake> {
        match frame {
            Frame::Copied(copied) => {
                let rounds_sent = self.figures.rounds - u32::from(self.step == Step::Sending);
                if copied.peers > self.peers_sent || copied.rounds > rounds_sent {
                    return Err(Mistake::Copied {
                        peers: copied.peers,
                        peers_sent: self.peers_sent,
                        rounds: copied.rounds,
                        rounds_sent,
                    });
                }
                // Who says again what it has said before is alive, and comes no further.
                if copied.peers > self.peers_copied || copied.rounds > self.rounds_copied {
                    self.progressed = now;
                }
                self.goes_on_with_answered |= copied.handshakes;
                self.peers_copied = self.peers_copied.max(copied.peers);
                self.rounds_copied = self.rounds_copied.max(copied.rounds);
                if self.step == Step::RoundSent && self.rounds_copied == self.figures.rounds {
                    self.pace.round_ended(self.figures.bytes, now);
                    self.begin_round();
                }
                Ok(Heard::Copying(self))
            }
            Frame::Ready if self.step == Step::LastRoundSent => {
                self.progressed = now;
                self.rounds_copied = self.figures.rounds;
                self.pace.round_ended(self.figures.bytes, now);
                Ok(Heard::Ready(Ready(self)))
            }
            Frame::Refuse(refuse) => Err(Mistake::GaveUp { reason: printable(&refuse.reason) }),
            frame => Err(Mistake::OutOfTurn { kind: frame.kind(), step: "during the copy" }),
        }
    }

    fn begin_round(&mut self) {
        self.books.begin_round();
        self.pieces.begin_round();
        self.figures.rounds += 1;
        self.step = Step::Sending;
    }

    /// When nothing has come of the takeover for too long: the successor answers each batch, and each round.
    pub(crate) fn deadline(&self) -> Instant {
        self.progressed + SILENCE_MAX
    }
}

/// What to do with a successor that is ready.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Freeze. If more is pending than should be: how much, and after how long a time in which it did not become less.
    Freeze(Ready, Option<(Load, Duration)>),
    /// Too much is pending; the copy goes on with another round.
    Copy(Copying),
}

impl Ready {
    /// Whether to freeze, at `now`.
    ///
    /// # Errors
    /// If what is pending could not be sent in time.
    pub(crate) fn decide(
        mut self,
        originals: &mut [&mut dyn Originals],
        freeze_timeout: Duration,
        now: Instant,
    ) -> Result<Decision, Mistake> {
        let Self(copying) = &mut self;
        if !copying.may_freeze(originals, now) {
            self.0.begin_round();
            return Ok(Decision::Copy(self.0));
        }
        if copying.pace.takes_all(now) {
            return Ok(Decision::Freeze(self, None));
        }
        let load = copying.load(originals);
        match copying.pace.judge(load.pending, freeze_timeout, now) {
            Verdict::Freeze => Ok(Decision::Freeze(self, None)),
            Verdict::FreezeStrained { rounds_for } => Ok(Decision::Freeze(self, Some((load, rounds_for)))),
            Verdict::Another => {
                self.0.begin_round();
                Ok(Decision::Copy(self.0))
            }
            Verdict::TooMuch { needed, allowed } => Err(Mistake::TooMuch { load, needed, allowed }),
        }
    }

    /// The freeze is to wait for something: nothing is copied until [it need not](Copying::go_on).
    pub(crate) fn wait(mut self, now: Instant) -> Copying {
        self.0.step = Step::Waiting(now);
        self.0
    }

    /// It is to be followed, and never frozen: what the successor knows by now, what it has said of itself, and what that took.
    pub(crate) fn into_books(self) -> (Books, Pieces, Hello, Figures) {
        let Self(Copying { books, pieces, hello, figures, .. }) = self;
        (books, pieces, hello, figures)
    }

    /// It is not the time to freeze: another round is copied.
    pub(crate) fn another_round(mut self) -> Copying {
        self.0.begin_round();
        self.0
    }

    /// The predecessor has stopped reading and accepting, at `now`, which on the clock that both processes share is
    /// `frozen_at_ns`.
    pub(crate) fn freeze(self, now: Instant, frozen_at_ns: u64) -> Frozen {
        let Self(mut copying) = self;
        copying.figures.copy_us = (now - copying.began).as_micros().try_into().unwrap_or(u64::MAX);
        copying.books.begin_round();
        copying.pieces.freeze();
        let Copying { books, pieces, hello, figures, .. } = copying;
        Frozen { books, pieces, hello, figures, frozen_at_ns, account: None, timers: None, timers_sent: 0 }
    }
}

/// The predecessor has frozen, and sends what is pending.
#[derive(Debug)]
pub(crate) struct Frozen {
    books: Books,
    pieces: Pieces,
    hello: Hello,
    figures: Figures,
    frozen_at_ns: u64,
    account: Option<Account>,
    /// The timers of the services that are not sent yet, once all peers are.
    timers: Option<std::vec::IntoIter<Timers>>,
    timers_sent: u64,
}

impl Frozen {
    /// What this process has kept count of goes along.
    pub(crate) fn hand_on(&mut self, account: Account) {
        self.account = Some(account);
    }

    /// What is still pending. `None` if that was all. Each batch is counted as sent.
    ///
    /// # Errors
    /// If the successor has no room for what is pending.
    pub(crate) fn next(&mut self, originals: &[&mut dyn Originals]) -> Result<Option<Batch>, Mistake> {
        let mut batch = next_with_room(&mut self.books, &self.hello, originals)?;
        if batch.is_none() {
            // What was too much for one change.
            self.books.begin_round();
            batch = next_with_room(&mut self.books, &self.hello, originals)?;
        }
        if let Some(batch) = &batch {
            self.figures.batches += 1;
            self.figures.dirty += batch.records() as u64;
            self.figures.bytes += batch.frame.len() as u64;
        }
        Ok(batch.or_else(|| self.next_timers(originals)))
    }

    /// Timers that are not sent yet, which are sent when there is nothing else.
    fn next_timers(&mut self, originals: &[&mut dyn Originals]) -> Option<Batch> {
        let timers = self.timers.get_or_insert_with(|| timers_of(originals).into_iter()).next()?;
        self.timers_sent += timers.timers.len() as u64;
        let batch = Batch::of_timers(timers);
        self.figures.bytes += batch.frame.len() as u64;
        Some(batch)
    }

    /// The channel has taken the batch.
    pub(crate) fn sent(&mut self, batch: Batch) {
        self.books.sent(batch);
    }

    /// A part of the entries that are still pending. `None` if that was all. Each is sent, or the takeover fails.
    pub(crate) fn next_entries(&mut self, originals: &mut [&mut dyn Originals]) -> Option<Vec<u8>> {
        let entries_before = self.pieces.sent_up_to_now().entries;
        let written = self.pieces.next(originals)?;
        self.pieces.sent(&written);
        self.figures.batches += 1;
        self.figures.dirty += self.pieces.sent_up_to_now().entries - entries_before;
        self.figures.bytes += written.frame.len() as u64;
        Some(written.frame)
    }

    /// All that was pending is sent, and this is the state that all peers of each lane share.
    pub(crate) fn conclude(self, states: Vec<Vec<u8>>) -> Concluding {
        #[cfg(all(feature = "wire-2", not(test)))]
        let census = super::rehearsal::before_commit(&self.hello, self.books.peers());
        Concluding {
            frozen: self,
            states,
            lane: 0,
            lane_sent: 0,
            #[cfg(all(feature = "wire-2", not(test)))]
            census,
        }
    }
}

/// The timers of all lanes, in frames.
pub(crate) fn timers_of(originals: &[&mut dyn Originals]) -> Vec<Timers> {
    let mut frames = Vec::new();
    for (lane, originals) in (0..).zip(originals) {
        let timers: Vec<Timer> = originals.timers().into_iter().map(|(timer, at_ns)| Timer { timer, at_ns }).collect();
        let parts = timers.chunks(TIMERS_PER_FRAME_MAX);
        frames.extend(parts.map(|part| Timers { timers: part.to_vec(), lane }));
    }
    frames
}

/// The predecessor sends the frames that end the takeover: the shared state, and Commit.
#[derive(Debug)]
pub(crate) struct Concluding {
    frozen: Frozen,
    states: Vec<Vec<u8>>,
    /// Which of them is being sent, and how many bytes of it have been written into frames.
    lane: usize,
    lane_sent: usize,
    #[cfg(all(feature = "wire-2", not(test)))]
    census: Option<Vec<u8>>,
}

/// A frame that ends the takeover, and what the predecessor is when it begins to send it.
#[must_use]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is moved a few times in a takeover")]
pub(crate) enum Conclusion {
    /// More follows.
    Part(Vec<u8>, Concluding),
    /// Commit: from here on the successor may accept.
    Commit(Vec<u8>, Committed),
}

impl Concluding {
    /// What to send next, written when it is asked for.
    pub(crate) fn next(mut self) -> Conclusion {
        if let Some(frame) = self.next_part() {
            self.frozen.figures.bytes += frame.len() as u64;
            return Conclusion::Part(frame, self);
        }
        #[cfg(all(feature = "wire-2", not(test)))]
        if let Some(frame) = self.census.take() {
            return Conclusion::Part(frame, self);
        }
        let Frozen { books, pieces, figures, frozen_at_ns, account, timers_sent: timers, .. } = self.frozen;
        let entries = Some(pieces.sent_up_to_now()).filter(|sent| sent.bytes > 0);
        let state_bytes = self.states.iter().map(|state| state.len() as u64).sum();
        let (peers, digest) = (books.peers(), books.digest());
        // Who waits for the end of a handshake goes along, and is none yet.
        let peers_of_lanes = books.peers_of(self.states.len());
        let frame =
            Frame::Commit(Commit { peers, digest, state_bytes, frozen_at_ns, figures, timers, entries, account })
                .encode();
        let accepted = Accepted { figures, peers: peers_of_lanes, entries: entries.unwrap_or_default().entries };
        Conclusion::Commit(frame, Committed { accepted, _books: books })
    }

    /// The next part of the shared state.
    fn next_part(&mut self) -> Option<Vec<u8>> {
        while let Some(state) = self.states.get(self.lane) {
            let part = &state[self.lane_sent..];
            let part = &part[..part.len().min(STATE_PART_BYTES)];
            if !part.is_empty() {
                self.lane_sent += part.len();
                let lane = u32::try_from(self.lane).expect("a server has few lanes");
                return Some(Frame::State(State { part, lane }).encode());
            }
            (self.lane, self.lane_sent) = (self.lane + 1, 0);
        }
        None
    }
}

/// Commit is in the channel, or about to be.
#[derive(Debug)]
pub(crate) struct Committed {
    /// What is true as soon as the successor says so.
    accepted: Accepted,
    /// To free it takes as long as there are peers, and they wait until Accept is there.
    _books: Books,
}

/// The successor owns the peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) figures: Figures,
    /// How many the lanes had.
    pub(crate) peers: u64,
    /// How many entries were sent.
    pub(crate) entries: u64,
}

impl Committed {
    /// The successor says something. `None` if it has not accepted yet.
    ///
    /// # Errors
    /// If the takeover is over with that, unless Accept follows.
    pub(crate) fn hear(&self, frame: Frame<'_>) -> Result<Option<Accepted>, Mistake> {
        match frame {
            Frame::Accept => Ok(Some(self.accepted)),
            frame => hear_before_commit(frame).map(|()| None),
        }
    }
}

/// The successor says something while nothing but Commit is to come, which is not the time for Accept.
///
/// # Errors
/// If the takeover is over with that.
pub(crate) fn hear_before_commit(frame: Frame<'_>) -> Result<(), Mistake> {
    match frame {
        Frame::Copied(_) => Ok(()),
        Frame::Refuse(refuse) => Err(Mistake::GaveUp { reason: printable(&refuse.reason) }),
        frame => Err(Mistake::OutOfTurn { kind: frame.kind(), step: "after the freeze" }),
    }
}
