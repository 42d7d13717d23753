//! Keys, values, and when values expire. Pure: time is passed in, in milliseconds since 1970, for that is what the
//! commands mean by it.

use std::collections::BTreeSet;

use reactord::{Entries, Keyed, RestoreError, Save};

/// When a value expires that does not.
pub(crate) const NEVER: u64 = u64::MAX;

type Key = Box<[u8]>;

#[derive(Debug, PartialEq, Eq)]
struct Value {
    bytes: Vec<u8>,
    expires_ms: u64,
}

impl Value {
    fn lives(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }
}

impl Save for Value {
    fn save(&self, record: &mut Vec<u8>) {
        self.expires_ms.save(record);
        self.bytes.save(record);
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let (expires_ms, bytes) = record.split_at_checked(size_of::<u64>()).unwrap_or_default();
        Ok(Self { expires_ms: u64::restore(version, expires_ms)?, bytes: Vec::restore(version, bytes)? })
    }
}

/// All values by their keys. One that has expired is as good as gone, and is removed by and by.
#[derive(Debug, Default)]
pub(crate) struct Store {
    values: Keyed<Key, Value>,
    /// Which values expire, in this order.
    expiring: BTreeSet<(u64, Key)>,
    /// For so many values, by number, it is not known yet whether they expire: what a takeover brings are the values.
    unknown: usize,
}

/// Why a value cannot be counted up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotANumber;

impl Store {
    /// How many values there are, with those that have expired and are not removed yet.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.expiring.clear();
    }

    pub(crate) fn get(&self, key: &[u8], now_ms: u64) -> Option<&[u8]> {
        self.values.get(key).filter(|value| value.lives(now_ms)).map(|value| &value.bytes[..])
    }

    /// When the value of this key expires, if there is one.
    pub(crate) fn expires_ms(&self, key: &[u8], now_ms: u64) -> Option<u64> {
        self.values.get(key).filter(|value| value.lives(now_ms)).map(|value| value.expires_ms)
    }

    /// Sets a value, in the place of one that may be there.
    pub(crate) fn set(&mut self, key: &[u8], bytes: &[u8], expires_ms: u64) {
        match self.values.get_mut(key) {
            Some(value) => {
                value.bytes.clear();
                value.bytes.extend_from_slice(bytes);
                if value.expires_ms != expires_ms {
                    self.reschedule(key, expires_ms);
                }
            }
            None => {
                self.values.insert(key.into(), Value { bytes: bytes.to_vec(), expires_ms: NEVER });
                self.reschedule(key, expires_ms);
            }
        }
    }

    /// Removes a value, and says whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8], now_ms: u64) -> bool {
        let Some(value) = self.values.remove(key) else { return false };
        if value.expires_ms != NEVER {
            self.expiring.remove(&(value.expires_ms, key.into()));
        }
        value.lives(now_ms)
    }

    /// Adds to a value that is a number, and returns the sum. A value that is not there is 0.
    pub(crate) fn add(&mut self, key: &[u8], more: i64, now_ms: u64) -> Result<i64, NotANumber> {
        let mut sum = itoa::Buffer::new();
        match self.values.get_mut(key).filter(|value| value.lives(now_ms)) {
            Some(value) => {
                let number = std::str::from_utf8(&value.bytes).ok().and_then(|number| number.parse::<i64>().ok());
                let number = number.and_then(|number| number.checked_add(more)).ok_or(NotANumber)?;
                value.bytes.clear();
                value.bytes.extend_from_slice(sum.format(number).as_bytes());
                Ok(number)
            }
            None => {
                self.set(key, sum.format(more).as_bytes(), NEVER);
                Ok(more)
            }
        }
    }

    /// Changes when the value of this key expires, and says whether there is one.
    pub(crate) fn reschedule(&mut self, key: &[u8], expires_ms: u64) -> bool {
        let Some(value) = self.values.get_mut(key) else { return false };
        let before = std::mem::replace(&mut value.expires_ms, expires_ms);
        if before != NEVER {
            self.expiring.remove(&(before, key.into()));
        }
        if expires_ms != NEVER {
            self.expiring.insert((expires_ms, key.into()));
        }
        true
    }

    /// When the next value expires.
    pub(crate) fn expires_next_ms(&self) -> Option<u64> {
        self.expiring.first().map(|(expires_ms, _)| *expires_ms)
    }

    /// Removes values that have expired, but not more than so many.
    pub(crate) fn remove_expired(&mut self, now_ms: u64, count_max: usize) {
        for _ in 0..count_max {
            match self.expiring.first() {
                Some((expires_ms, _)) if *expires_ms <= now_ms => {}
                _ => break,
            }
            let (_, key) = self.expiring.pop_first().expect("there is a first one");
            self.values.remove(&key);
        }
    }

    // ── In a takeover ──────────────────────────────────────────────────────────────────────────────────────────────

    /// What moves to a successor.
    pub(crate) fn entries(&mut self) -> &mut dyn Entries {
        &mut self.values
    }

    /// All values have come from another process.
    pub(crate) fn taken_over(&mut self) {
        self.unknown = self.values.len();
    }

    /// Finds out which values expire, of so many of those for which that is not known yet. Returns whether there are more.
    ///
    /// It goes from the last one to the first: when a value is removed meanwhile, the last of all takes its number.
    pub(crate) fn find_expiring(&mut self, count_max: usize) -> bool {
        let end = self.unknown.min(self.values.len());
        self.unknown = end.saturating_sub(count_max);
        for number in self.unknown..end {
            if let Some((key, value)) = self.values.nth(number).filter(|(_, value)| value.expires_ms != NEVER) {
                self.expiring.insert((value.expires_ms, key.clone()));
            }
        }
        self.unknown > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_until_it_expires() {
        let mut store = Store::default();
        store.set(b"k", b"v", 100);
        assert_eq!(store.get(b"k", 99), Some(&b"v"[..]));
        assert_eq!((store.get(b"k", 100), store.expires_ms(b"k", 100)), (None, None));
        assert_eq!(store.add(b"k", 1, 100), Ok(1), "what has expired counts for nothing");
        assert_eq!(store.expires_ms(b"k", 100), Some(NEVER), "and what comes after it has a life of its own");
    }

    #[test]
    fn what_has_expired_is_removed_and_what_was_put_off_is_not() {
        let mut store = Store::default();
        for (key, expires_ms) in [(b"a", 10), (b"b", 20), (b"c", 30), (b"d", NEVER), (b"e", 10)] {
            store.set(key, b"", expires_ms);
        }
        assert!(store.reschedule(b"b", 40));
        assert!(store.remove(b"e", 5));
        assert_eq!(store.expires_next_ms(), Some(10));
        store.remove_expired(30, 1);
        assert_eq!((store.len(), store.expires_next_ms()), (3, Some(30)), "no more than one at a time");
        store.remove_expired(30, 10);
        assert_eq!((store.len(), store.expires_next_ms()), (2, Some(40)));
        assert!(!store.remove(b"b", 40), "it has expired");
        assert_eq!(store.expires_next_ms(), None);
    }

    #[test]
    fn numbers_are_added_to_and_nothing_else() {
        let mut store = Store::default();
        assert_eq!((store.add(b"k", 5, 0), store.add(b"k", -7, 0)), (Ok(5), Ok(-2)));
        store.set(b"k", i64::MAX.to_string().as_bytes(), NEVER);
        assert_eq!(store.add(b"k", 1, 0), Err(NotANumber));
        store.set(b"k", b"five", NEVER);
        assert_eq!(store.add(b"k", 1, 0), Err(NotANumber));
    }

    #[test]
    fn a_value_is_restored_as_it_was_saved() {
        let value = || Value { bytes: b"\x00\xff".to_vec(), expires_ms: 5 };
        let mut record = Vec::new();
        value().save(&mut record);
        assert_eq!(Value::restore(1, &record).unwrap(), value());
        assert!(Value::restore(1, &record[..7]).is_err());
    }

    #[test]
    fn whatever_is_removed_meanwhile_all_values_that_expire_are_found() {
        let mut store = Store::default();
        for number in 0..100u64 {
            store.set(&number.to_le_bytes(), b"", 1000 + number);
        }
        let found_before = std::mem::take(&mut store.expiring);
        store.taken_over();
        for number in 0..50u64 {
            store.remove(&(number * 2).to_le_bytes(), 0);
            store.find_expiring(3);
        }
        while store.find_expiring(3) {}
        let left = found_before.into_iter().filter(|(expires_ms, _)| expires_ms % 2 == 1);
        assert!(store.expiring.iter().cloned().eq(left));
    }
}
