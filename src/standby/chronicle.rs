//! What the active tells its standby: commit by commit in the journal, and by a mark now and then on the channel. Pure: it reads peers
//! and entries as they are in one instant, and makes frames.
//!
//! ```text
//! begin_commit ─▶ flushed ─▶ next_batch … ─▶ next_entries … ─▶ next_state … ─▶ next_timers     a commit
//! mark                                                                                        what all commits up to here come to
//! ```
//!
//! All of a commit is between two peers' turns, and it leaves nobody out: what all share is told as it is, and would not fit to a peer
//! that is not.

use crate::account::Account;
use crate::originals::Originals;
use crate::takeover::books::Books;
use crate::takeover::mirror::{Batch, Mirror};
use crate::takeover::pieces::Pieces;
use crate::takeover::predecessor::{Mistake, Ready, STATE_PART_BYTES, next_with_room, timers_of};
use crate::takeover::wire::{Commit, Copied, Figures, Flushed, Frame, Hello, Kind, Mark, State, Timers};

/// What the standby knows, or will when it has applied what is in the journal.
#[derive(Debug)]
pub(super) struct Chronicle {
    books: Books,
    pieces: Pieces,
    hello: Hello,
    figures: Figures,
    /// How many rounds there were before the first mark. Marks count on from there.
    rounds: u32,
    /// The number of the last mark that was sent, and of the last that the standby has applied. After the greatest comes 0: there are
    /// 200 a second.
    marks: u32,
    applied: u32,
    /// The standby has applied a mark.
    has_applied_any: bool,
    /// What all peers of each lane share, without the entries, and the timers, as they were told last.
    states: Vec<Option<Vec<u8>>>,
    timers: Vec<Timers>,
}

impl Chronicle {
    /// The standby has copied everything once.
    pub(super) fn of(ready: Ready, lanes: usize) -> Self {
        let (books, pieces, hello, figures) = ready.into_books();
        // What its acknowledgements count goes on from there.
        let rounds = figures.rounds;
        Self {
            books,
            pieces,
            hello,
            figures,
            rounds,
            marks: rounds,
            applied: rounds,
            has_applied_any: false,
            states: vec![None; lanes],
            timers: Vec::new(),
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

    /// How many peers it does not know as they were when the book was written last.
    pub(super) fn pending(&self) -> u64 {
        self.books.pending() as u64
    }

    // ── A commit ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Everything that has changed belongs to the commit that begins.
    pub(super) fn begin_commit(&mut self) {
        self.books.begin_round();
        self.pieces.freeze();
    }

    /// Those to whom all was written that the standby knows to wait, and of whom nothing else is to be told, as a frame. `None` if there are
    /// none. It comes first: what waits for them at the end of the commit came later.
    pub(super) fn flushed(&mut self) -> Option<Vec<u8>> {
        let cookies = self.books.take_flushed();
        if cookies.is_empty() {
            return None;
        }
        let frame = Frame::Flushed(Flushed { cookies }).encode();
        self.note_frame(&frame);
        Some(frame)
    }

    /// The next of those who have come, changed or gone. `None` if that was all.
    ///
    /// # Errors
    /// If the standby has no room for who has come.
    pub(super) fn next_batch(&mut self, originals: &[&mut dyn Originals]) -> Result<Option<Batch>, Mistake> {
        let mut batch = next_with_room(&mut self.books, &self.hello, originals)?;
        if batch.is_none() && self.books.pending() > 0 {
            // What was too much for one change.
            self.books.begin_round();
            batch = next_with_room(&mut self.books, &self.hello, originals)?;
        }
        if let Some(batch) = &batch {
            self.note_frame(&batch.frame);
            self.figures.batches += 1;
            self.figures.dirty += batch.records() as u64;
        }
        Ok(batch)
    }

    fn note_frame(&mut self, frame: &[u8]) {
        self.figures.bytes += frame.len() as u64;
    }

    /// The batch is in the journal.
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

    /// What all peers of the lane share, in frames, if it is something else than was told.
    pub(super) fn next_state(&mut self, number: usize, state: &[u8]) -> Vec<Vec<u8>> {
        let told = &mut self.states[number];
        if told.as_deref() == Some(state) {
            return Vec::new();
        }
        let lane = u32::try_from(number).expect("a server has few lanes");
        let parts: Vec<&[u8]> = if state.is_empty() { vec![state] } else { state.chunks(STATE_PART_BYTES).collect() };
        let frames = parts.into_iter().map(|part| Frame::State(State { part, lane }).encode());
        let frames: Vec<_> = frames.collect();
        let buffer = told.get_or_insert_default();
        buffer.clear();
        buffer.extend_from_slice(state);
        frames
    }

    /// All timers, in frames, if they are others than were told.
    pub(super) fn next_timers(&mut self, originals: &[&mut dyn Originals]) -> Vec<Vec<u8>> {
        let timers = timers_of(originals);
        if timers == self.timers {
            return Vec::new();
        }
        // Of a lane that has none any more that is said, too.
        let lanes = (0..).zip(originals).map(|(lane, _)| Timers { timers: Vec::new(), lane });
        let none = lanes.filter(|none| timers.iter().all(|some| some.lane != none.lane));
        let frames = none.chain(timers.iter().cloned()).map(|timers| Frame::Timers(timers).encode()).collect();
        self.timers = timers;
        frames
    }

    // ── A mark ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The frame that says what all comes to that is in the journal before `position`.
    pub(super) fn mark(&mut self, account: Account, at_ns: u64, position: u64) -> Vec<u8> {
        self.marks = self.marks.wrapping_add(1);
        self.figures.rounds = self.marks;
        let state_bytes = self.states.iter().flatten().map(|state| state.len() as u64).sum();
        let commit = Commit {
            peers: self.books.peers(),
            digest: self.books.digest(),
            state_bytes,
            frozen_at_ns: at_ns,
            figures: self.figures,
            timers: self.timers.iter().map(|timers| timers.timers.len() as u64).sum(),
            entries: Some(self.pieces.sent_up_to_now()).filter(|sent| sent.bytes > 0),
            account: Some(account),
        };
        Frame::Mark(Mark { commit, position }).encode()
    }

    /// The standby says something. Whether it has applied all that was sent.
    ///
    /// # Errors
    /// If it is not to be followed any more.
    pub(super) fn hear_copied(&mut self, copied: &Copied) -> Result<bool, Mistake> {
        let [left, left_before] = [copied.rounds, self.applied].map(|applied| self.marks.wrapping_sub(applied));
        if left > left_before {
            return Err(Mistake::Copied {
                peers: copied.peers,
                peers_sent: self.books.peers(),
                rounds: copied.rounds,
                rounds_sent: self.marks,
            });
        }
        self.applied = copied.rounds;
        self.has_applied_any |= self.applied != self.rounds;
        Ok(left == 0 && self.has_applied_any)
    }

    /// Whether it could serve on.
    pub(super) fn has_applied_any(&self) -> bool {
        self.has_applied_any
    }
}

/// What a standby may not say while it is followed.
pub(super) fn out_of_turn(kind: Kind) -> Mistake {
    Mistake::OutOfTurn { kind, step: "while it follows" }
}
