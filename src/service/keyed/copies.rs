//! The books of all copies of a map that are made at a time: one for each recipient. Pure.

use super::unsent::{Next, Unsent};
use crate::recipient::{ByRecipient, Recipient};

/// One for each [`Recipient`].
#[derive(Debug)]
pub(super) struct Copies<K>(ByRecipient<Copied<K>>);

/// A copy on its way.
#[derive(Debug)]
struct Copied<K> {
    unsent: Unsent<K>,
    /// Where the map was in memory when the copy began: one that has moved here since, from a place that is copied as something
    /// else, has a book of what is known of that.
    place: usize,
}

impl<K> Default for Copies<K> {
    fn default() -> Self {
        Self(ByRecipient::default())
    }
}

impl<K> Copies<K> {
    /// The book of what the recipient knows of the map at this place, unless there is none.
    pub(super) fn book(&self, to: Recipient, place: usize) -> Option<&Unsent<K>> {
        self.0.get(to).filter(|copied| copied.place == place).map(|copied| &copied.unsent)
    }

    /// The same, also if the map has moved since.
    #[cfg(test)]
    pub(super) fn book_of_whatever_place(&self, to: Recipient) -> Option<&Unsent<K>> {
        self.0.get(to).map(|copied| &copied.unsent)
    }

    /// The recipient knows nothing of the map at this place.
    pub(super) fn begin(&mut self, to: Recipient, place: usize) {
        self.0.begin(to, Copied { unsent: Unsent::everything(), place });
    }

    /// What to tell the recipient next of a map of so many entries.
    pub(super) fn next(&mut self, to: Recipient, entries: usize) -> Option<Next<K>> {
        self.0.get_mut(to)?.unsent.next(entries)
    }

    /// The recipient is told nothing more. Whether nobody is.
    pub(super) fn end(&mut self, to: Recipient) -> bool {
        self.0.end(to)
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Unsent<K>> {
        self.0.each_mut().map(|copied| &mut copied.unsent)
    }

    /// The entry at `position` may have changed.
    pub(super) fn touch(&mut self, position: usize) {
        self.each().for_each(|unsent| unsent.touch(position));
    }

    /// All entries are gone.
    pub(super) fn cleared(&mut self) {
        self.each().for_each(Unsent::cleared);
    }
}

impl<K: Clone> Copies<K> {
    /// The entry with `key` at `position` was removed, and the one that was at `last` moved to there.
    pub(super) fn swap_removed(&mut self, key: K, position: usize, last: usize) {
        let mut each = self.each();
        let Some(first) = each.next() else { return };
        // Hardly ever there is another one.
        each.for_each(|unsent| unsent.swap_removed(key.clone(), position, last));
        first.swap_removed(key, position, last);
    }
}
