//! Bytes of a peer that wait, in one direction: received and not handled, or answered and not written.

use super::record::{Shift, Stretch};

/// Whoever takes over bytes has room for this share of them again: what comes after most of them is little, and to move
/// each peer's bytes for it takes longer than anybody should be waited for.
const ROOM_SHARE: usize = 16;

/// Bytes that wait. Each has a position: how many bytes have waited before it, in this direction, since the connection
/// began. What is handled or written at once never waits, and has none.
///
/// Positions stay the same through every takeover, so that two processes can say to one another which bytes they mean.
/// It holds no memory while nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The position of the first byte that waits, or of the next one that will.
    start: u64,
    /// `None` while nothing waits.
    waiting: Option<Box<Waiting>>,
}

/// Some bytes, at least one of which waits.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// So many at the front do not wait any more. To move the rest down each time would cost as much as there is.
    gone: usize,
}

impl Waiting {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// Gives up the memory of what is gone.
    fn compact(&mut self) {
        self.bytes.drain(..std::mem::take(&mut self.gone));
        self.bytes.shrink_to(2 * self.bytes.len());
    }
}

impl Backlog {
    /// `bytes` that wait, the first of which has the position `start`.
    pub(crate) fn at(start: u64, bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self { start, waiting: None };
        }
        let mut room = Vec::with_capacity(bytes.len() + bytes.len() / ROOM_SHARE);
        room.extend_from_slice(bytes);
        Self { start, waiting: Some(Box::new(Waiting { bytes: room, gone: 0 })) }
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes.len() - waiting.gone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.waiting.as_ref().map_or(&[], |waiting| waiting.as_slice())
    }

    /// The same, to be changed in place: who has opened a record there takes it off.
    #[cfg(feature = "tls")]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.waiting.as_mut().map_or(&mut [], |waiting| &mut waiting.bytes[waiting.gone..])
    }

    /// All that waits, with its position.
    pub(crate) fn stretch(&self) -> Stretch<'_> {
        Stretch { start: self.start, bytes: self.as_slice() }
    }

    /// Adds bytes at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.waiting {
            _ if bytes.is_empty() => {}
            Some(waiting) => waiting.bytes.extend_from_slice(bytes),
            None => self.waiting = Some(Box::new(Waiting { bytes: bytes.to_vec(), gone: 0 })),
        }
    }

    /// The same with bytes that are needed nowhere else: they are not copied where nothing waits, unless their memory has much room.
    pub(crate) fn append(&mut self, bytes: Vec<u8>) {
        let room = bytes.capacity() - bytes.len();
        if self.waiting.is_some() || room > bytes.len() / ROOM_SHARE {
            self.push(&bytes);
        } else if !bytes.is_empty() {
            self.waiting = Some(Box::new(Waiting { bytes, gone: 0 }));
        }
    }

    /// The first `count` bytes wait no more.
    ///
    /// # Panics
    /// If fewer wait.
    pub(crate) fn advance(&mut self, count: usize) {
        let left = self.len().checked_sub(count).expect("no more than what waits can go");
        self.start += count as u64;
        match &mut self.waiting {
            _ if left == 0 => self.waiting = None,
            Some(waiting) => {
                waiting.gone += count;
                // The rest is moved when that costs less than what has gone since it was moved last.
                if waiting.gone > left {
                    waiting.compact();
                }
            }
            None => unreachable!("something is left"),
        }
    }

    /// Does what another process did to the same bytes.
    ///
    /// # Errors
    /// If it did that to other bytes: it means positions that these do not have. Then nothing has changed.
    pub(crate) fn shift(&mut self, Shift { gone, appended }: Shift<'_>) -> Result<(), Misplaced> {
        let Stretch { start, bytes: waiting } = self.stretch();
        if gone < start {
            return Err(Misplaced { what: "what waits begins", position: gone, expected: start });
        }
        // What came and went since is never told.
        let expected = self.stretch().end().max(gone);
        if appended.start != expected {
            return Err(Misplaced { what: "what is new begins", position: appended.start, expected });
        }
        match usize::try_from(gone - start) {
            Ok(count) if count < waiting.len() => self.advance(count),
            _ => *self = Self { start: gone, waiting: None },
        }
        self.push(appended.bytes);
        Ok(())
    }
}

/// A process speaks of other bytes than those that wait here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misplaced {
    what: &'static str,
    position: u64,
    expected: u64,
}

impl std::fmt::Display for Misplaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at position {}, {} was expected", self.what, self.position, self.expected)
    }
}

impl std::error::Error for Misplaced {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Append(Vec<u8>),
        Advance(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Step::Push),
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Step::Append),
            (0..300usize).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn a_backlog_is_all_that_was_pushed_from_its_start_on(
            start in 0..1u64 << 40,
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let mut backlog = Backlog::at(start, &[]);
            let (mut pushed, mut gone) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        pushed.extend(&bytes);
                        backlog.append(bytes);
                    }
                    Step::Push(bytes) => {
                        backlog.push(&bytes);
                        pushed.extend(bytes);
                    }
                    Step::Advance(count) => {
                        let count = count.min(backlog.len());
                        backlog.advance(count);
                        gone += count;
                    }
                }
                prop_assert_eq!(backlog.as_slice(), &pushed[gone..]);
                prop_assert_eq!(backlog.len(), pushed.len() - gone);
                prop_assert_eq!(backlog.is_empty(), pushed.len() == gone);
                prop_assert_eq!(backlog.start, start + gone as u64);
                if let Some(waiting) = &backlog.waiting {
                    prop_assert!(waiting.gone <= backlog.len(), "memory for as much again, at most");
                }
            }
        }
    }

    #[test]
    fn an_empty_backlog_is_two_words_and_nothing_else() {
        assert_eq!(size_of::<Backlog>(), 16);
        let mut backlog = Backlog::at(7, b"bytes");
        backlog.advance(5);
        assert!(backlog.waiting.is_none());
        assert!(Backlog::at(7, b"").waiting.is_none());
    }

    #[test]
    fn bytes_that_go_one_by_one_are_moved_seldom() {
        const BYTES: usize = 1 << 16;
        let mut backlog = Backlog::at(0, &[1; BYTES]);
        let mut moves = 0;
        while !backlog.is_empty() {
            backlog.advance(1);
            moves += u32::from(backlog.waiting.as_ref().is_some_and(|waiting| waiting.gone == 0));
        }
        assert!(moves <= BYTES.ilog2(), "{moves} moves");
    }

    proptest! {
        #[test]
        fn a_shift_of_other_bytes_is_an_error_with_both_positions_and_changes_nothing(
            start in 0..20u64,
            bytes in proptest::collection::vec(any::<u8>(), 0..10),
            gone in prop_oneof![0..40u64, 0..1u64 << 62],
            at in prop_oneof![0..40u64, 0..1u64 << 62],
        ) {
            let mut backlog = Backlog::at(start, &bytes);
            let appended = Stretch { start: at, bytes: b"new" };
            let end = start + bytes.len() as u64;
            match backlog.shift(Shift { gone, appended }) {
                Ok(()) => {
                    prop_assert!(gone >= start && at == end.max(gone));
                    prop_assert_eq!((backlog.start, backlog.stretch().end()), (gone, at + 3));
                }
                Err(misplaced) => {
                    prop_assert!(gone < start || at != end.max(gone));
                    prop_assert_ne!(misplaced.position, misplaced.expected);
                    prop_assert_eq!(backlog.stretch(), Stretch { start, bytes: &bytes });
                }
            }
        }
    }

    #[test]
    fn errors_say_both_positions() {
        let shift =
            |gone, start| Backlog::at(5, b"five").shift(Shift { gone, appended: Stretch { start, bytes: b"" } });
        let said = |gone, start| shift(gone, start).unwrap_err().to_string();
        assert_eq!(said(4, 9), "what waits begins at position 4, 5 was expected");
        assert_eq!(said(5, 8), "what is new begins at position 8, 9 was expected");
    }

    #[test]
    #[should_panic(expected = "no more than what waits can go")]
    fn more_than_what_waits_cannot_go() {
        Backlog::at(0, b"three").advance(6);
    }
}
