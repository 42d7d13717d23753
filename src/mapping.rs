//! Memory that outlives this process: another one has it, too, and reads from it what this one had come to when it died.
//!
//! ```text
//! ┌────────┬────────┬─────────────────┬─────────────────────────────────────┐
//! │ words  │ places │ intake          │ journal, in chunks                  │
//! └────────┴────────┴─────────────────┴─────────────────────────────────────┘
//! ```
//!
//! The **journal** is a stream of bytes. A position in it counts from its beginning; what is before the word `committed` is there
//! for good, and what is before `applied` the reader needs no more. What is written at the end is nothing before it is
//! [committed](Mapping::commit), which is one store.
//!
//! Its chunks are where the **places** say. The next one is where one was that the reader has needed until now, as long as there is
//! one: so a reader that keeps up costs both processes no more memory than they have in their caches.
//!
//! The **intake** has what was read from connections since then, each read with whose it is. It is written by the kernel: so what was
//! read is there, also if the process dies before it knows that. How much that is, is known to the kernel alone for the last read
//! ([`Read::bytes`]). A commit makes all of it obsolete, by the same store: each read says since which commit it is.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::{ReadVolatile, VolatileMemoryError};

use crate::fault::{self, StandbyStep as Step};
use crate::shared_memory::SharedMemory;

/// Where the words are, each on a cache line of its own unless the same side writes them together.
const COMMITTED: usize = 0;
const INTAKE_END: usize = 8;
const KEPT_FROM: usize = 16;
const CONVEYED_FROM: usize = 24;
const CONVEYED_TO: usize = 32;
const CONVEYED_READ: usize = 40;
const CONVEYED_WRITTEN: usize = 48;
const TRIED: usize = 56;
const APPLIED: usize = 64;
const LIVING: usize = 128;

/// Where each chunk of the journal is: half a word each.
const PLACES: usize = 4096;
const INTAKE: usize = PLACES + 4 * CHUNKS;
const INTAKE_BYTES: usize = 4 << 20;
const JOURNAL: usize = INTAKE + INTAKE_BYTES;

const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS: usize = 1024;

/// What the journal has room for, but for the part of a chunk: what the active says in seconds under load, and a word to each of 100,000
/// peers at once.
pub(crate) const JOURNAL_BYTES: usize = CHUNKS * CHUNK_BYTES;

const BYTES: usize = JOURNAL + JOURNAL_BYTES;

/// What comes before the bytes of a read: cookie, how far the connection had come, since which commit, lane and length.
const READ_HEADER_BYTES: usize = 32;

/// A count that is not known. No connection comes so far.
const UNKNOWN: u64 = u64::MAX;

/// The length of a read that is under way.
const UNDER_WAY: u32 = u32::MAX;

/// Whose bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) lane: u32,
    pub(crate) cookie: u64,
    /// How much was read of the connection before, as the kernel counts, if it tells.
    pub(crate) before: Option<u64>,
}

/// What was read and not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) reader: Reader,
    /// As many bytes as came. Of a read that was under way, as many as could have come, of which the kernel knows how many did.
    pub(crate) bytes: Vec<u8>,
    pub(crate) was_under_way: bool,
}

/// Bytes that are peeked at, written to another connection, and then taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conveyed {
    /// The cookies of both.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How much was read of the one, and written to the other, before, if the kernel tells.
    pub(crate) counts: Option<(u64, u64)>,
}

/// The journal has no room for what is to be written: its reader has not come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) bytes: usize,
}

/// The end of the journal, for whoever writes it.
#[derive(Debug)]
pub(crate) struct JournalEnd {
    position: u64,
    /// Places where no chunk is. The last is where one was last.
    free: Vec<u32>,
    /// All chunks before this one are applied, and their places are free.
    applied_chunks: u64,
}

impl Default for JournalEnd {
    fn default() -> Self {
        let places = 0..u32::try_from(CHUNKS).expect("there are few");
        Self { position: 0, free: places.rev().collect(), applied_chunks: 0 }
    }
}

impl JournalEnd {
    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

/// The memory. One process writes, another reads.
#[derive(Debug)]
pub(crate) struct Mapping(SharedMemory);

impl Mapping {
    // ── Whoever writes ─────────────────────────────────────────────────────────────────────────────────────────────

    /// Memory of which nobody else knows, and the descriptor with which another process sees it.
    ///
    /// # Errors
    /// If there is none to be had.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (memory, file) = SharedMemory::new("reactord standby", BYTES)?;
        Ok((Self(memory), file))
    }

    /// Writes at `end`, which is moved behind that. It is nothing before it is committed.
    ///
    /// # Errors
    /// If it is more than there is room for.
    pub(crate) fn write(&self, end: &mut JournalEnd, bytes: &[u8]) -> Result<(), Full> {
        let room = ((JOURNAL_BYTES - CHUNK_BYTES) as u64).saturating_sub(self.unapplied(end.position));
        if bytes.len() as u64 > room {
            return Err(Full { bytes: bytes.len() });
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if end.position.is_multiple_of(CHUNK_BYTES as u64) {
                self.begin_chunk(end);
            }
            let (at, left) = self.place(end.position);
            let (piece, others) = rest.split_at(rest.len().min(left));
            self.0.slice(at, piece.len()).copy_from(piece);
            end.position += piece.len() as u64;
            rest = others;
        }
        Ok(())
    }

    /// Finds a place for the chunk that begins at the end.
    fn begin_chunk(&self, end: &mut JournalEnd) {
        let applied = self.0.word(APPLIED).load(Ordering::Acquire);
        while end.applied_chunks < applied / CHUNK_BYTES as u64 {
            end.free.push(self.place_word(end.applied_chunks).load(Ordering::Relaxed));
            end.applied_chunks += 1;
        }
        let place = end.free.pop().expect("there is room for one more");
        self.place_word(end.position / CHUNK_BYTES as u64).store(place, Ordering::Release);
    }

    /// How much is in the journal up to `end` that its reader needs yet.
    pub(crate) fn unapplied(&self, end: u64) -> u64 {
        end - self.0.word(APPLIED).load(Ordering::Acquire)
    }

    /// What was written up to `end` is there from now on, and what was read before is part of it.
    pub(crate) fn commit(&self, end: u64) {
        self.0.word(COMMITTED).store(end, Ordering::Release);
        self.0.word(INTAKE_END).store(0, Ordering::Release);
    }

    /// Whether something was read that is not part of any commit.
    pub(crate) fn has_taken_in(&self) -> bool {
        self.0.word(INTAKE_END).load(Ordering::Relaxed) > 0
    }

    /// Whether there is room for a read of so many bytes.
    pub(crate) fn takes_in(&self, bytes: usize) -> bool {
        self.intake_end() + READ_HEADER_BYTES + bytes <= INTAKE_BYTES
    }

    /// Reads once, into `buffer` in the end. 0 if nothing more comes.
    ///
    /// # Errors
    /// As from read(2).
    pub(crate) fn read(&self, from: BorrowedFd<'_>, reader: Reader, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.intake_end();
        let data = start + READ_HEADER_BYTES;
        let Reader { lane, cookie, before } = reader;
        let since = self.0.word(COMMITTED).load(Ordering::Relaxed);
        for (number, word) in [cookie, before.unwrap_or(UNKNOWN), since].into_iter().enumerate() {
            self.0.word(INTAKE + start + 8 * number).store(word, Ordering::Relaxed);
        }
        let [lane_word, length] = [24, 28].map(|at| self.0.half_word(INTAKE + start + at));
        lane_word.store(lane, Ordering::Relaxed);
        length.store(UNDER_WAY, Ordering::Relaxed);
        self.0.word(INTAKE_END).store((data + buffer.len()) as u64, Ordering::Release);
        fault::here_while_sheltered(Step::Read);
        let mut room = self.0.slice(INTAKE + data, buffer.len());
        let read = (&from).read_volatile(&mut room).map_err(as_io);
        fault::here_while_sheltered(Step::HaveRead);
        let bytes = *read.as_ref().unwrap_or(&0);
        // In this order: what is behind the bytes is never taken for another read.
        let end = if bytes > 0 { (data + bytes).next_multiple_of(8) } else { start };
        self.0.word(INTAKE_END).store(end as u64, Ordering::Release);
        length.store(u32::try_from(bytes).expect("a read is short"), Ordering::Release);
        room.copy_to(&mut buffer[..bytes]);
        read
    }

    /// These bytes are about to be written to another connection, and then taken off.
    pub(crate) fn convey(&self, Conveyed { from, to, counts }: Conveyed) {
        let (read, written) = counts.unwrap_or((UNKNOWN, UNKNOWN));
        for (at, word) in [(CONVEYED_TO, to), (CONVEYED_READ, read), (CONVEYED_WRITTEN, written)] {
            self.0.word(at).store(word, Ordering::Relaxed);
        }
        self.0.word(CONVEYED_FROM).store(from, Ordering::Release);
    }

    /// They are, or none were.
    pub(crate) fn have_conveyed(&self) {
        self.0.word(CONVEYED_FROM).store(0, Ordering::Release);
    }

    /// What was kept of the input of this one is about to be handled, which no read says that is not part of a commit. 0 if nothing is
    /// any more.
    pub(crate) fn handle_kept(&self, cookie: u64) {
        self.0.word(KEPT_FROM).store(cookie, Ordering::Release);
    }

    /// What this one has said is about to be handled, of which a process may have died that had it before.
    pub(crate) fn try_again(&self, cookie: u64) {
        self.0.word(TRIED).store(cookie, Ordering::Release);
    }

    // ── Whoever reads ──────────────────────────────────────────────────────────────────────────────────────────────

    /// The memory that another process writes.
    ///
    /// # Errors
    /// If it is not that, or could become less while it is looked at.
    pub(crate) fn of(file: OwnedFd) -> io::Result<Self> {
        Ok(Self(SharedMemory::of(file, BYTES)?))
    }

    /// Up to where the journal is there for good.
    pub(crate) fn committed(&self) -> u64 {
        self.0.word(COMMITTED).load(Ordering::Acquire)
    }

    /// What was written between these positions. `None` if that is more than there can be.
    pub(crate) fn journal(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let count = usize::try_from(to.checked_sub(from)?).ok().filter(|count| *count <= JOURNAL_BYTES)?;
        let mut bytes = vec![0; count];
        let (mut position, mut rest) = (from, &mut bytes[..]);
        while !rest.is_empty() {
            let (at, left) = self.place(position);
            let (piece, others) = rest.split_at_mut(rest.len().min(left));
            self.0.slice(at, piece.len()).copy_to(piece);
            position += piece.len() as u64;
            rest = others;
        }
        Some(bytes)
    }

    /// What is before this position is not needed any more.
    pub(crate) fn applied(&self, position: u64) {
        self.0.word(APPLIED).store(position, Ordering::Release);
    }

    /// What was read and is not part of a commit, in order. The process that writes is dead.
    pub(crate) fn reads(&self) -> Vec<Read> {
        self.reads_at().map(|(_, read)| read).collect()
    }

    /// The same, each with where it begins.
    fn reads_at(&self) -> impl Iterator<Item = (usize, Read)> {
        let (committed, end) = (self.committed(), self.intake_end());
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = next;
            if start + READ_HEADER_BYTES > end {
                return None;
            }
            let [cookie, before, since] = [0, 8, 16].map(|at| self.0.word(INTAKE + start + at).load(Ordering::Acquire));
            let [lane, length] = [24, 28].map(|at| self.0.half_word(INTAKE + start + at).load(Ordering::Acquire));
            let data = start + READ_HEADER_BYTES;
            let was_under_way = length == UNDER_WAY;
            let length = if was_under_way { end - data } else { length as usize };
            if since != committed || data + length > end {
                return None;
            }
            let mut bytes = vec![0; length];
            self.0.slice(INTAKE + data, length).copy_to(&mut bytes[..]);
            let before = Some(before).filter(|before| *before != UNKNOWN);
            next = (data + length).next_multiple_of(8);
            Some((start, Read { reader: Reader { lane, cookie, before }, bytes, was_under_way }))
        })
    }

    /// What was on its way from one connection to another.
    pub(crate) fn conveyed(&self) -> Option<Conveyed> {
        let [from, to, read, written] = [CONVEYED_FROM, CONVEYED_TO, CONVEYED_READ, CONVEYED_WRITTEN]
            .map(|at| self.0.word(at).load(Ordering::Acquire));
        let counts = Some((read, written)).filter(|counts| *counts != (UNKNOWN, UNKNOWN));
        (from != 0).then_some(Conveyed { from, to, counts })
    }

    /// Whose kept input was being handled, if anybody's was.
    pub(crate) fn kept_from(&self) -> Option<u64> {
        Some(self.0.word(KEPT_FROM).load(Ordering::Acquire)).filter(|cookie| *cookie != 0)
    }

    /// Whether that was the last of those whose message was handled again.
    pub(crate) fn was_tried(&self, cookie: u64) -> bool {
        self.0.word(TRIED).load(Ordering::Acquire) == cookie
    }

    /// As if whoever writes had died in its last read, before it knew how much that has brought. False if there was none.
    #[cfg(test)]
    pub(crate) fn die_in_last_read(&self) -> bool {
        let Some((last, _)) = self.reads_at().last() else { return false };
        self.0.half_word(INTAKE + last + 28).store(UNDER_WAY, Ordering::Release);
        let end = (last + READ_HEADER_BYTES + 64 * 1024).min(INTAKE_BYTES);
        self.0.word(INTAKE_END).store(end as u64, Ordering::Release);
        true
    }

    // ── Both ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The futexes that whoever writes holds as long as it lives.
    pub(crate) fn living(&self) -> [&AtomicU32; 2] {
        [LIVING, LIVING + 4].map(|at| self.0.half_word(at))
    }

    // ── Where things are ───────────────────────────────────────────────────────────────────────────────────────────

    fn intake_end(&self) -> usize {
        usize::try_from(self.0.word(INTAKE_END).load(Ordering::Acquire)).unwrap_or(usize::MAX).min(INTAKE_BYTES)
    }

    /// Where a position of the journal is, and how many bytes are there before another chunk begins.
    fn place(&self, position: u64) -> (usize, usize) {
        let place = self.place_word(position / CHUNK_BYTES as u64).load(Ordering::Acquire) as usize % CHUNKS;
        let within = (position % CHUNK_BYTES as u64) as usize;
        (JOURNAL + place * CHUNK_BYTES + within, CHUNK_BYTES - within)
    }

    fn place_word(&self, chunk: u64) -> &AtomicU32 {
        self.0.half_word(PLACES + 4 * (chunk % CHUNKS as u64) as usize)
    }
}

fn as_io(error: VolatileMemoryError) -> io::Error {
    match error {
        VolatileMemoryError::IOError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Mapping, Mapping) {
        let (ours, file) = Mapping::new().unwrap();
        (ours, Mapping::of(file).unwrap())
    }

    #[test]
    fn what_is_committed_is_read_and_nothing_else_also_where_the_journal_begins_anew() {
        let (ours, theirs) = pair();
        let (mut end, mut applied) = (JournalEnd::default(), 0);
        let said: Vec<u8> = (0..JOURNAL_BYTES / 3 + 1).map(|number| (number % 251) as u8).collect();
        for _round in 0..10 {
            ours.write(&mut end, &said).unwrap();
            assert_eq!(theirs.committed(), applied, "nothing is there before it is committed");
            ours.commit(end.position());
            assert!(theirs.journal(applied, theirs.committed()).unwrap() == said);
            applied = end.position();
            theirs.applied(applied);
        }
        let room = JOURNAL_BYTES - CHUNK_BYTES;
        assert_eq!(ours.write(&mut end, &vec![0; room + 1]), Err(Full { bytes: room + 1 }));
        ours.write(&mut end, &vec![0; room]).unwrap();
        assert_eq!(ours.write(&mut end, &[0]), Err(Full { bytes: 1 }));
        assert_eq!(theirs.journal(0, JOURNAL_BYTES as u64 + 1), None);
        assert_eq!(theirs.journal(1, 0), None);
    }

    #[test]
    fn a_reader_that_keeps_up_has_a_few_chunks_written_again_and_again_and_one_that_lags_has_all_that_it_needs() {
        let (ours, theirs) = pair();
        let (mut end, mut applied) = (JournalEnd::default(), 0);
        let mut random = fastrand::Rng::with_seed(1);
        let mut said = Vec::new();
        let mut places = std::collections::BTreeSet::new();
        let mut most_unapplied = 0;
        while end.position() < 2 * JOURNAL_BYTES as u64 {
            let mut bytes = vec![0; random.usize(1..200_000)];
            random.fill(&mut bytes);
            ours.write(&mut end, &bytes).unwrap();
            ours.commit(end.position());
            said.extend(bytes);
            most_unapplied = most_unapplied.max(ours.unapplied(end.position()));
            places.insert(theirs.place(end.position() - 1).0 / CHUNK_BYTES);
            // It lags by up to a mebibyte.
            let to = end.position().saturating_sub(random.u64(..1 << 20)).max(applied);
            let count = usize::try_from(to - applied).unwrap();
            assert!(theirs.journal(applied, to).unwrap() == said[..count]);
            said.drain(..count);
            applied = to;
            theirs.applied(applied);
        }
        let needed = usize::try_from(most_unapplied).unwrap() / CHUNK_BYTES + 2;
        assert!(places.len() <= needed, "{} places, {needed} are needed", places.len());
    }

    #[test]
    fn what_was_read_is_there_until_the_next_commit() {
        let (ours, theirs) = pair();
        let (mut client, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let reader = |before| Reader { lane: 3, cookie: 7, before: Some(before) };
        let mut buffer = [0; 100];
        let mut read = |before| ours.read(socket.as_fd(), reader(before), &mut buffer);

        client.write_all(b"hello").unwrap();
        assert_eq!(read(10).unwrap(), 5);
        assert_eq!(read(15).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"you").unwrap();
        assert_eq!(read(15).unwrap(), 3);
        let whole = |before, bytes: &[u8]| Read { reader: reader(before), bytes: bytes.to_vec(), was_under_way: false };
        assert_eq!(theirs.reads(), [whole(10, b"hello"), whole(15, b"you")]);

        let mut end = JournalEnd::default();
        ours.write(&mut end, &[1]).unwrap();
        // As if it had died between the two stores of a commit.
        let intake_end = theirs.intake_end();
        ours.commit(end.position());
        ours.0.word(INTAKE_END).store(intake_end as u64, Ordering::Release);
        assert_eq!(theirs.reads(), []);
    }

    #[test]
    fn of_a_read_under_way_there_is_as_much_as_could_have_come() {
        let (ours, theirs) = pair();
        let (mut client, socket) = UnixStream::pair().unwrap();
        client.write_all(b"seventeen bytes!!").unwrap();
        let mut buffer = [0; 64];
        ours.read(socket.as_fd(), Reader { lane: 0, cookie: 7, before: None }, &mut buffer).unwrap();
        // As if it had died before it knew how many they are.
        ours.0.half_word(INTAKE + 28).store(UNDER_WAY, Ordering::Release);
        ours.0.word(INTAKE_END).store((READ_HEADER_BYTES + buffer.len()) as u64, Ordering::Release);
        let [read] = &theirs.reads()[..] else { panic!("there is one") };
        assert!(read.was_under_way && read.bytes.len() == 64 && read.bytes.starts_with(b"seventeen bytes!!"));
    }
}
