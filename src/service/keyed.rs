//! State by keys: a map that a takeover copies while its server serves.

mod copies;
mod unsent;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::{Deref, DerefMut};

use indexmap::IndexMap;

use super::entries::Entries;
use super::restore_error::RestoreError;
use super::save::{Parts, Save, save_part};
use crate::recipient::Recipient;
use copies::Copies;
use unsent::{Next, Unsent};

/// Room for what comes while nobody serves, so that no table has to grow then.
const SPARE_ENTRIES: usize = 1024;

/// How many entries are looked at to tell about how large all of them are.
const SAMPLED_ENTRIES: usize = 1024;

/// What an entry takes besides key and value: its hash, and its number in the table with what that keeps free.
const ENTRY_BYTES: usize = 32;

/// A hash map that a takeover copies while its server serves, and of which only what has changed last is copied while nobody
/// does. A service [names](crate::StreamService::entries) those that it has.
///
/// It is used as `std::collections::HashMap` is, about as fast, and its keys are hashed the same way; `H` may be another
/// hasher. While nothing is copied, it keeps no book of changes. While it is copied to a successor or a standby, each change costs a few
/// nanoseconds more, and a removed key stays in memory until it has been told. When more keys were removed than
/// there are entries, by 256, the map is copied anew instead: so one that is slow cannot make it grow.
///
/// Whatever can change a value counts as a change, and is to be sent: so who only looks uses [`get`](Self::get). A value
/// that changes behind a shared reference, in a `Cell` or an `Rc`, is not noticed, and does not belong in here. A map that
/// takes the place of another one is copied as a whole: who removes all entries does so by [`clear`](Self::clear).
///
/// Entries have no order that would last: to remove one moves another.
///
/// ```
/// use reactord::Keyed;
///
/// let mut visits: Keyed<String, u64> = Keyed::default();
/// *visits.get_or_insert_with("front".to_owned(), || 0) += 1;
/// visits.insert("back".to_owned(), 7);
/// assert_eq!(visits.get("front"), Some(&1));
/// assert_eq!(visits.remove("back"), Some(7));
/// assert_eq!(visits.len(), 1);
/// ```
#[derive(Debug)]
pub struct Keyed<K, V, H = RandomState> {
    map: IndexMap<K, V, H>,
    /// While it is copied.
    copies: Option<Box<Copies<K>>>,
}

impl<K, V, H: Default> Default for Keyed<K, V, H> {
    fn default() -> Self {
        Self { map: IndexMap::default(), copies: None }
    }
}

impl<K, V, H> Keyed<K, V, H> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All entries, in no order that would last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// The entry with this number, from 0 up to [`len`](Self::len). Numbers stay as long as no entry is removed: they are for
    /// who looks at some entries now and at others later, and may miss one or see it twice.
    #[must_use]
    pub fn nth(&self, number: usize) -> Option<(&K, &V)> {
        self.map.get_index(number)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.map.clear();
        if let Some(copies) = &mut self.copies {
            copies.cleared();
        }
    }

    /// Lets `change` look at each entry, and change its value: only those count as changed that it has borrowed as such.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut Changing<'_, V>)) {
        for (number, (key, value)) in self.map.iter_mut().enumerate() {
            let mut changing = Changing { value, changed: false };
            change(key, &mut changing);
            if let (true, Some(copies)) = (changing.changed, &mut self.copies) {
                copies.touch(number);
            }
        }
    }

    fn touch(&mut self, number: usize) {
        if let Some(copies) = &mut self.copies {
            copies.touch(number);
        }
    }
}

impl<K: Hash + Eq, V, H: BuildHasher> Keyed<K, V, H> {
    /// The value of this key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    /// The value of this key, to be changed.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (number, _, value) = self.map.get_full_mut(key)?;
        if let Some(copies) = &mut self.copies {
            copies.touch(number);
        }
        Some(value)
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.map.contains_key(key)
    }

    /// Sets the value of a key. Returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (number, before) = self.map.insert_full(key, value);
        self.touch(number);
        before
    }

    /// The value of this key, to be changed, which is `value()` if there was none.
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let entry = self.map.entry(key);
        let number = entry.index();
        if let Some(copies) = &mut self.copies {
            copies.touch(number);
        }
        entry.or_insert_with(value)
    }
}

impl<K: Hash + Eq + Clone, V, H: BuildHasher> Keyed<K, V, H> {
    /// Removes a key, and returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (number, key, value) = self.map.swap_remove_full(key)?;
        self.note_removed(number, key);
        Some(value)
    }

    /// Removes the entries that `keep` says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut number = 0;
        while let Some((key, value)) = self.map.get_index(number) {
            if keep(key, value) {
                number += 1;
            } else {
                let (key, _) = self.map.swap_remove_index(number).expect("it was looked at");
                self.note_removed(number, key);
            }
        }
    }

    fn note_removed(&mut self, number: usize, key: K) {
        if let Some(copies) = &mut self.copies {
            copies.swap_removed(key, number, self.map.len());
        }
    }
}

impl<K: Hash + Eq, V, H: BuildHasher + Default> FromIterator<(K, V)> for Keyed<K, V, H> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self { map: entries.into_iter().collect(), copies: None }
    }
}

/// A value of a [`Keyed`] that may be looked at, and that counts as changed as soon as it is borrowed to be changed.
#[derive(Debug)]
pub struct Changing<'v, V> {
    value: &'v mut V,
    changed: bool,
}

impl<V> Deref for Changing<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value
    }
}

impl<V> DerefMut for Changing<'_, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.changed = true;
        self.value
    }
}

// ── Being copied ───────────────────────────────────────────────────────────────────────────────────────────────────

/// The first byte of what is told of an entry, or of all.
mod tell {
    pub(super) const ALL_GONE: u8 = 0;
    /// A key follows, and its value.
    pub(super) const SET: u8 = 1;
    /// A key follows.
    pub(super) const REMOVED: u8 = 2;
}

fn write_set<K: Save, V: Save>(key: &K, value: &V, piece: &mut Vec<u8>) {
    piece.push(tell::SET);
    save_part(key, piece);
    save_part(value, piece);
}

fn write_removed<K: Save>(key: &K, piece: &mut Vec<u8>) {
    piece.push(tell::REMOVED);
    save_part(key, piece);
}

impl<K: Save + Hash + Eq, V: Save, H: BuildHasher> Keyed<K, V, H> {
    /// The book of the copy of what is here, unless none has begun.
    fn book(&self, to: Recipient) -> Option<&Unsent<K>> {
        self.copies.as_deref().and_then(|copies| copies.book(to, self.place()))
    }

    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn write_at(&self, number: usize, piece: &mut Vec<u8>) {
        let (key, value) = self.map.get_index(number).expect("the book is about entries that are there");
        write_set(key, value, piece);
    }

    /// Applies the first thing that is told in a piece.
    fn restore_next(&mut self, version: u32, told: u8, parts: &mut Parts<'_>) -> Result<(), RestoreError> {
        match told {
            tell::ALL_GONE => self.map.clear(),
            tell::SET => {
                let key = parts.restore(version)?;
                self.map.insert(key, parts.restore(version)?);
            }
            tell::REMOVED => drop(self.map.swap_remove(&parts.restore::<K>(version)?)),
            _ => return Err(RestoreError::new(format!("{told} is nothing that is told of an entry"))),
        }
        Ok(())
    }
}

impl<K: Save + Hash + Eq, V: Save, H: BuildHasher> Entries for Keyed<K, V, H> {
    fn begin_copy(&mut self, to: Recipient) {
        let place = self.place();
        self.copies.get_or_insert_default().begin(to, place);
    }

    fn copy_next(&mut self, to: Recipient, bytes: usize, piece: &mut Vec<u8>) -> usize {
        if self.book(to).is_none() {
            self.begin_copy(to);
        }
        let (end, entries) = (piece.len() + bytes, self.map.len());
        let mut told = 0;
        while piece.len() < end
            && let Some(next) = self.copies.as_mut().and_then(|copies| copies.next(to, entries))
        {
            match next {
                Next::AllGone => piece.push(tell::ALL_GONE),
                Next::Removed(key) => write_removed(&key, piece),
                Next::Set(number) => self.write_at(number, piece),
            }
            told += 1;
        }
        told
    }

    fn pending(&self, to: Recipient) -> usize {
        let entries = self.map.len();
        self.book(to).map_or_else(|| Unsent::<K>::everything().len(entries), |unsent| unsent.len(entries))
    }

    fn pending_bytes(&self, to: Recipient) -> usize {
        let everything = Unsent::everything();
        let unsent = self.book(to).unwrap_or(&everything);
        let mut saved = Vec::new();
        let mut bytes_of = |write: &dyn Fn(&mut Vec<u8>)| {
            saved.clear();
            write(&mut saved);
            saved.len()
        };
        let removed: usize = unsent.removed().iter().map(|key| bytes_of(&|saved| write_removed(key, saved))).sum();
        let numbers = unsent.positions(self.map.len());
        removed + numbers.map(|number| bytes_of(&|saved| self.write_at(number, saved))).sum::<usize>()
    }

    fn end_copy(&mut self, to: Recipient) {
        if self.copies.as_mut().is_some_and(|copies| copies.end(to)) {
            self.copies = None;
        }
    }

    fn restore(&mut self, version: u32, piece: &[u8]) -> Result<(), RestoreError> {
        let mut parts = Parts { rest: piece };
        while let Some((told, rest)) = parts.rest.split_first() {
            parts.rest = rest;
            self.restore_next(version, *told, &mut parts)?;
        }
        Ok(())
    }

    fn get_ready(&mut self) {
        self.map.reserve(SPARE_ENTRIES);
    }

    fn memory_bytes(&self) -> usize {
        let entries = self.map.len();
        let step = entries.div_ceil(SAMPLED_ENTRIES).max(1);
        let (mut saved, mut sampled) = (Vec::new(), 0);
        for number in (0..entries).step_by(step) {
            self.write_at(number, &mut saved);
            sampled += 1;
        }
        entries * (size_of::<(K, V)>() + ENTRY_BYTES + saved.len().div_ceil(sampled.max(1)))
    }
}

#[cfg(test)]
mod tests;
