//! What the other side of a copy does not know of a map, as the book of that copy. Pure: it knows positions, and not what
//! is there.
//!
//! The map is walked once, from the first position to the last. What happens at a position that the walk has passed is
//! noted; what happens before the walk comes by costs nothing, and neither does what is new, for that comes last.
//!
//! The book stays small also while the other side takes nothing: when more keys were removed than there are entries, it
//! takes less to tell everything anew.

use std::collections::VecDeque;

/// How many more keys may have been removed than there are entries before all is told anew: values of a few entries may be
/// large.
pub(super) const REMOVED_SPARE: usize = 256;

/// The book of one copy.
#[derive(Debug)]
pub(super) struct Unsent<K> {
    /// The other side may have entries that are here no more: it is to forget all of them first.
    all_gone: bool,
    /// Keys that are no more, and that the other side may know. They come before all that is set, for they may be back.
    removed: Vec<K>,
    /// The walk has passed all positions below.
    walked: usize,
    /// For each position that the walk has passed, whether its entry has changed since it was sent.
    changed: Bits,
    /// Those positions, and some whose entries have changed and left since: each once.
    queue: VecDeque<usize>,
    /// Whether a position is in there.
    queued: Bits,
}

/// What is to be told next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<K> {
    AllGone,
    Removed(K),
    /// The entry at this position.
    Set(usize),
}

impl<K> Unsent<K> {
    /// The other side knows nothing, or something that was never here.
    pub(super) fn everything() -> Self {
        Self {
            all_gone: true,
            removed: Vec::new(),
            walked: 0,
            changed: Bits::default(),
            queue: VecDeque::new(),
            queued: Bits::default(),
        }
    }

    /// How much there is to tell of a map of so many entries.
    pub(super) fn len(&self, entries: usize) -> usize {
        usize::from(self.all_gone) + self.removed.len() + self.changed.count + (entries - self.walked)
    }

    /// What to tell next of a map of so many entries, which is known from here on.
    pub(super) fn next(&mut self, entries: usize) -> Option<Next<K>> {
        if std::mem::take(&mut self.all_gone) {
            return Some(Next::AllGone);
        }
        if let Some(key) = self.removed.pop() {
            return Some(Next::Removed(key));
        }
        while let Some(position) = self.queue.pop_front() {
            self.queued.clear(position);
            if self.changed.clear(position) {
                return Some(Next::Set(position));
            }
        }
        let walked = self.walked;
        (walked < entries).then(|| {
            self.walked += 1;
            Next::Set(walked)
        })
    }

    /// Keys that the other side is to forget.
    pub(super) fn removed(&self) -> &[K] {
        &self.removed
    }

    /// The positions that the other side does not know, in a map of so many entries.
    pub(super) fn positions(&self, entries: usize) -> impl Iterator<Item = usize> {
        self.queue.iter().copied().filter(|position| self.changed.has(*position)).chain(self.walked..entries)
    }

    /// The entry at `position` may have changed.
    #[inline]
    pub(super) fn touch(&mut self, position: usize) {
        if position < self.walked && self.changed.set(position) && self.queued.set(position) {
            self.queue.push_back(position);
        }
    }

    /// The entry with `key` at `position` was removed, and the one that was at `last` moved to there.
    pub(super) fn swap_removed(&mut self, key: K, position: usize, last: usize) {
        if position >= self.walked {
            return;
        }
        if self.removed.len() >= last + REMOVED_SPARE {
            *self = Self::everything();
            return;
        }
        self.removed.push(key);
        self.changed.clear(position);
        let unknown = last >= self.walked || self.changed.clear(last);
        self.walked = self.walked.min(last);
        if unknown && position < last {
            self.touch(position);
        }
    }

    /// How many positions it keeps for later.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// All entries are gone.
    pub(super) fn cleared(&mut self) {
        *self = Self::everything();
    }
}

/// A set of positions.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    fn has(&self, position: usize) -> bool {
        self.words.get(position / 64).is_some_and(|word| word & bit(position) != 0)
    }

    /// Whether it was not in there.
    fn set(&mut self, position: usize) -> bool {
        if self.words.len() <= position / 64 {
            self.words.resize(position / 64 + 1, 0);
        }
        let word = &mut self.words[position / 64];
        let fresh = *word & bit(position) == 0;
        *word |= bit(position);
        self.count += usize::from(fresh);
        fresh
    }

    /// Whether it was in there.
    fn clear(&mut self, position: usize) -> bool {
        let was = self.has(position);
        if was {
            self.words[position / 64] &= !bit(position);
            self.count -= 1;
        }
        was
    }
}

fn bit(position: usize) -> u64 {
    1 << (position % 64)
}
