//! What the active tells its standby, mark by mark. Pure: it reads peers and entries as they are in one instant, and makes frames.
//!
//! ```text
//! begin_mark ─▶ next_batch … ─▶ next_entries … ─▶ finish
//! ```
//!
//! All of that is between two turns of the loop, and a mark leaves nobody out: what all share is told whole, and would not fit to a
//! peer that is not told as it is.
//!
//! How far connections have come the standby sees by itself, when it has applied a mark. What it sees of one is what was so at the next
//! mark, too, if that does not name it: between the two nobody read from it or wrote to it. So there is one more mark when nothing
//! happens any more, which says only that.

use crate::account::Account;
use crate::originals::Originals;
use crate::takeover::books::Books;
use crate::takeover::mirror::{Batch, Mirror};
use crate::takeover::pieces::Pieces;
use crate::takeover::predecessor::{Mistake, Ready, STATE_PART_BYTES, next_with_room, timers_of};
use crate::takeover::wire::{Commit, Copied, Figures, Frame, Hello, Kind, State};

/// What the first mark names, the second confirms.
const MARKS_TO_CONFIRM: u32 = 2;

/// What the standby knows.
#[derive(Debug)]
pub(super) struct Following {
    books: Books,
    pieces: Pieces,
    hello: Hello,
    figures: Figures,
    /// How many rounds there were before the first mark. Marks count on from there.
    rounds: u32,
    /// The number of the last mark that was sent, and of the last that the standby has applied.
    marks: u32,
    applied: u32,
    /// A checksum of what all peers share, without the entries, and of the timers, as they were told last.
    shared: Option<u32>,
    mark: Progress,
    /// How many peers the mark before names, of whom it is not known yet how far they had come then.
    unconfirmed: u64,
}

/// What of the mark that is being written is written, or of the last one.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many peers it names.
    names: u64,
    /// There is something to tell.
    tells: bool,
}

impl Following {
    /// The standby has copied everything once.
    pub(super) fn begin(ready: Ready) -> Self {
        let (books, pieces, hello, figures) = ready.into_books();
        // What its acknowledgements count goes on from there.
        let rounds = figures.rounds;
        let names = books.peers();
        Self {
            books,
            pieces,
            hello,
            figures,
            rounds,
            marks: rounds,
            applied: rounds,
            shared: None,
            mark: Progress { names, tells: false },
            unconfirmed: 0,
        }
    }

    /// The book of what the standby knows of a lane.
    pub(super) fn mirror_mut(&mut self, lane: usize) -> &mut Mirror {
        self.books.of_lane(lane)
    }

    /// How many peers it knows.
    pub(super) fn peers(&self) -> u64 {
        self.books.peers()
    }

    /// Of how many peers it does not know how they are, or how far they have come, but for who has changed since the last mark.
    pub(super) fn unknown(&self) -> u64 {
        self.books.pending() as u64 + self.mark.names + self.unconfirmed
    }

    /// Everything that has changed belongs to the mark that begins.
    pub(super) fn begin_mark(&mut self) {
        self.books.begin_round();
        self.pieces.freeze();
        self.unconfirmed = self.mark.names;
        // The first one has the standby look at all.
        let names = if self.marks == self.rounds { self.peers() } else { 0 };
        self.mark = Progress { names, tells: false };
    }

    /// The next of those who have come, changed or gone. `None` if that was all.
    ///
    /// # Errors
    /// If the standby has no room for who has come.
    pub(super) fn next_batch(&mut self, originals: &[&mut dyn Originals]) -> Result<Option<Batch>, Mistake> {
        let mut batch = next_with_room(&mut self.books, &self.hello, originals)?;
        if batch.is_none() {
            // What was too much for one change.
            self.books.begin_round();
            batch = next_with_room(&mut self.books, &self.hello, originals)?;
        }
        if let Some(batch) = &batch {
            self.mark.names += batch.records() as u64;
            self.note_frame(&batch.frame);
            self.figures.batches += 1;
        }
        Ok(batch)
    }

    fn note_frame(&mut self, frame: &[u8]) {
        self.mark.tells = true;
        self.figures.bytes += frame.len() as u64;
    }

    /// The batch is on its way.
    pub(super) fn sent(&mut self, batch: Batch) {
        self.books.sent(batch);
    }

    /// The next part of the entries that have changed, as a frame. `None` if that was all.
    pub(super) fn next_entries(&mut self, originals: &mut [&mut dyn Originals]) -> Option<Vec<u8>> {
        let written = self.pieces.next(originals)?;
        self.pieces.sent(&written);
        self.note_frame(&written.frame);
        Some(written.frame)
    }

    /// The frames that end the mark, with the state that all peers of each lane share. `None` if nothing has changed since the
    /// last, which named nobody, unless there is to be one `in_any_case`: then there was nothing to tell before, either.
    pub(super) fn finish(
        &mut self,
        states: &[Vec<u8>],
        originals: &[&mut dyn Originals],
        account: Account,
        at_ns: u64,
        in_any_case: bool,
    ) -> Option<Vec<Vec<u8>>> {
        let timers = timers_of(originals);
        let timers_sent = timers.iter().map(|timers| timers.timers.len() as u64).sum();
        let mut frames: Vec<Vec<u8>> = timers.into_iter().map(|timers| Frame::Timers(timers).encode()).collect();
        frames.extend(parts_of(states));
        let shared = checksum(&frames);
        let confirms = self.unconfirmed > 0 || self.marks < self.rounds + MARKS_TO_CONFIRM;
        if !self.mark.tells && !confirms && !in_any_case && self.shared == Some(shared) {
            return None;
        }
        self.shared = Some(shared);
        self.marks += 1;
        self.figures.bytes += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        self.figures.rounds = self.marks;
        self.figures.dirty = self.mark.names;
        frames.push(self.mark_frame(states, timers_sent, account, at_ns));
        Some(frames)
    }

    fn mark_frame(&self, states: &[Vec<u8>], timers: u64, account: Account, frozen_at_ns: u64) -> Vec<u8> {
        let (peers, digest, figures) = (self.books.peers(), self.books.digest(), self.figures);
        let state_bytes = states.iter().map(|state| state.len() as u64).sum();
        let entries = Some(self.pieces.sent_up_to_now()).filter(|sent| sent.bytes > 0);
        let account = Some(account);
        Frame::Mark(Commit { peers, digest, state_bytes, frozen_at_ns, figures, timers, entries, account }).encode()
    }

    /// Whether there is to be another mark, if only to say that nothing has changed.
    pub(super) fn is_to_confirm(&self) -> bool {
        self.mark.names > 0 || self.marks < self.rounds + MARKS_TO_CONFIRM
    }

    /// The standby says something. Whether it has applied all that was sent.
    ///
    /// # Errors
    /// If it is not to be followed any more.
    pub(super) fn hear_copied(&mut self, copied: &Copied) -> Result<bool, Mistake> {
        if copied.rounds > self.marks {
            return Err(Mistake::Copied {
                peers: copied.peers,
                peers_sent: self.books.peers(),
                rounds: copied.rounds,
                rounds_sent: self.marks,
            });
        }
        self.applied = self.applied.max(copied.rounds);
        let has_applied_all = self.applied == self.marks && self.marks > self.rounds;
        if has_applied_all {
            self.unconfirmed = 0;
        }
        Ok(has_applied_all)
    }

    /// Whether it knows how far all had come whom the first mark named, and who have not changed since.
    pub(super) fn has_confirmed(&self) -> bool {
        self.applied >= self.rounds + MARKS_TO_CONFIRM
    }
}

/// The states of all lanes, in frames.
fn parts_of(states: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    (0..).zip(states).flat_map(|(lane, state)| {
        state.chunks(STATE_PART_BYTES).map(move |part| Frame::State(State { part, lane }).encode())
    })
}

fn checksum(frames: &[Vec<u8>]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    frames.iter().for_each(|frame| hasher.update(frame));
    hasher.finalize()
}

/// What a standby may not say while it is followed.
pub(super) fn out_of_turn(kind: Kind) -> Mistake {
    Mistake::OutOfTurn { kind, step: "while it follows" }
}
