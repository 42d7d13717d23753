//! Values as bytes, for entries that move with a takeover.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::restore_error::RestoreError;
use crate::peer::PeerId;

/// A key or a value of [`Keyed`](super::Keyed), which is saved by one process and restored by the next.
///
/// Numbers, texts, bytes, tuples and some collections of these are. For a type of one's own the two methods are a line
/// each with any encoding, `minicbor` for instance. `&mut` is not needed to save: saving is pure and may be repeated.
///
/// Numbers are big-endian. A tuple or a collection has the length of each item before it, in four bytes, save that of a
/// tuple's last.
pub trait Save: Sized {
    /// Appends the value to `record`, in the service's [`STATE_VERSION`](crate::StreamService::STATE_VERSION).
    fn save(&self, record: &mut Vec<u8>);

    /// The value that a service with this state version has saved.
    ///
    /// # Errors
    /// If `record` is not such a value: the takeover fails, and the predecessor serves on.
    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError>;
}

// ── Parts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The bytes before a part: its length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Appends a value with its length before it.
///
/// # Panics
/// If it has 4 GiB or more.
pub(super) fn save_part(value: &impl Save, record: &mut Vec<u8>) {
    let start = record.len();
    record.extend_from_slice(&[0; LENGTH_BYTES]);
    value.save(record);
    let (_, part) = record[start..].split_first_chunk::<LENGTH_BYTES>().expect("it was appended");
    let length = part.len();
    let length = u32::try_from(length).unwrap_or_else(|_| panic!("{length} bytes are one item, 4 GiB are too many"));
    record[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Parts of a record, one after another.
pub(super) struct Parts<'r> {
    pub(super) rest: &'r [u8],
}

impl Parts<'_> {
    /// The next part, restored.
    pub(super) fn restore<T: Save>(&mut self, version: u32) -> Result<T, RestoreError> {
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(LENGTH_BYTES))?;
        let length = u32::from_be_bytes(*length) as usize;
        let part = rest.get(..length).ok_or_else(|| self.too_short(LENGTH_BYTES + length))?;
        self.rest = &rest[length..];
        T::restore(version, part)
    }

    /// All parts up to the last one.
    fn restore_all<T: Save, C: FromIterator<T>>(mut self, version: u32) -> Result<C, RestoreError> {
        std::iter::from_fn(|| (!self.rest.is_empty()).then(|| self.restore(version))).collect()
    }

    fn too_short(&self, needed: usize) -> RestoreError {
        RestoreError::new(format!("{} bytes are left of a record, {needed} are needed", self.rest.len()))
    }
}

// ── Bytes, texts, numbers ──────────────────────────────────────────────────────────────────────────────────────────

/// Appends bytes, unless there is no memory for them: then this panics, which ends the takeover, and not the process.
fn append(bytes: &[u8], record: &mut Vec<u8>) {
    let reserved = record.try_reserve(bytes.len());
    assert!(reserved.is_ok(), "there is no memory for {} more bytes", bytes.len());
    record.extend_from_slice(bytes);
}

/// The same bytes, if there is memory for them.
fn owned(bytes: &[u8]) -> Result<Vec<u8>, RestoreError> {
    let mut owned = Vec::new();
    let no_memory = |_| RestoreError::new(format!("there is no memory for {} more bytes", bytes.len()));
    owned.try_reserve_exact(bytes.len()).map_err(no_memory)?;
    owned.extend_from_slice(bytes);
    Ok(owned)
}

impl Save for Vec<u8> {
    fn save(&self, record: &mut Vec<u8>) {
        append(self, record);
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        owned(record)
    }
}

impl Save for Box<[u8]> {
    fn save(&self, record: &mut Vec<u8>) {
        append(self, record);
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        owned(record).map(Vec::into_boxed_slice)
    }
}

impl Save for String {
    fn save(&self, record: &mut Vec<u8>) {
        append(self.as_bytes(), record);
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        Self::from_utf8(owned(record)?).map_err(|error| RestoreError::new(format!("a text: {}", error.utf8_error())))
    }
}

impl Save for Box<str> {
    fn save(&self, record: &mut Vec<u8>) {
        append(self.as_bytes(), record);
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        String::restore(version, record).map(String::into_boxed_str)
    }
}

impl<const N: usize> Save for [u8; N] {
    fn save(&self, record: &mut Vec<u8>) {
        append(self, record);
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let wrong = |_| RestoreError::new(format!("{} bytes have come, {N} are expected", record.len()));
        record.try_into().map_err(wrong)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Save for $number {
            fn save(&self, record: &mut Vec<u8>) {
                record.extend_from_slice(&self.to_be_bytes());
            }

            fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
                Save::restore(version, record).map(Self::from_be_bytes)
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 }

impl Save for bool {
    fn save(&self, record: &mut Vec<u8>) {
        record.push(u8::from(*self));
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        match record {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(RestoreError::new(format!("{record:?} is neither true nor false"))),
        }
    }
}

impl Save for PeerId {
    fn save(&self, record: &mut Vec<u8>) {
        u64::from(*self).save(record);
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        u64::restore(version, record).map(Self::from)
    }
}

// ── Several in one ─────────────────────────────────────────────────────────────────────────────────────────────────

impl Save for () {
    fn save(&self, _: &mut Vec<u8>) {}

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let []: [u8; 0] = Save::restore(version, record)?;
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($item:ident)* , $last:ident))*) => {$(
        #[allow(non_snake_case, reason = "items are named as their types are")]
        impl<$($item: Save,)* $last: Save> Save for ($($item,)* $last,) {
            fn save(&self, record: &mut Vec<u8>) {
                let ($($item,)* $last,) = self;
                $(save_part($item, record);)*
                $last.save(record);
            }

            fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
                let mut parts = Parts { rest: record };
                $(let $item = parts.restore(version)?;)*
                Ok(($($item,)* $last::restore(version, parts.rest)?,))
            }
        }
    )*};
}

tuples! { (A, B) (A B, C) (A B C, D) }

impl<T: Save> Save for Option<T> {
    fn save(&self, record: &mut Vec<u8>) {
        self.is_some().save(record);
        self.iter().for_each(|value| value.save(record));
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let (is_some, value) = record.split_at_checked(1).ok_or_else(|| RestoreError::new("one byte is missing"))?;
        if bool::restore(version, is_some)? {
            T::restore(version, value).map(Some)
        } else {
            <()>::restore(version, value).map(|()| None)
        }
    }
}

macro_rules! collections {
    ($($collection:ident of $($bound:ident)*;)*) => {$(
        impl<T: Save $(+ $bound)*> Save for $collection<T> {
            fn save(&self, record: &mut Vec<u8>) {
                self.iter().for_each(|item| save_part(item, record));
            }

            fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
                Parts { rest: record }.restore_all(version)
            }
        }
    )*};
}

collections! { BTreeSet of Ord; VecDeque of; }

impl<K: Save + Ord, V: Save> Save for BTreeMap<K, V> {
    fn save(&self, record: &mut Vec<u8>) {
        for (key, value) in self {
            save_part(key, record);
            save_part(value, record);
        }
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let mut parts = Parts { rest: record };
        let mut pairs = Self::new();
        while !parts.rest.is_empty() {
            let key = parts.restore(version)?;
            pairs.insert(key, parts.restore(version)?);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_restored<T: Save + PartialEq + std::fmt::Debug>(value: T) {
        let mut record = Vec::new();
        value.save(&mut record);
        assert_eq!(T::restore(1, &record), Ok(value));
    }

    #[test]
    fn what_is_saved_is_restored() {
        assert_restored(b"bytes".to_vec());
        assert_restored(b"bytes".to_vec().into_boxed_slice());
        assert_restored("text".to_owned());
        assert_restored("text".to_owned().into_boxed_str());
        assert_restored([1, 2, 3]);
        assert_restored((-1i64, 0.5f64, true, ()));
        assert_restored(("key".to_owned(), Some(7u32), None::<u8>));
        assert_restored((PeerId::from(7), String::new()));
        assert_restored(BTreeSet::from([3u64, 1, 2]));
        assert_restored(VecDeque::from(["b".to_owned(), String::new()]));
        assert_restored(BTreeMap::from([("a".to_owned(), vec![1u8]), (String::new(), Vec::new())]));
        assert_restored(BTreeSet::<u8>::new());
    }

    #[test]
    fn what_was_not_saved_is_refused_with_both_numbers() {
        let refused = |error: RestoreError, expected: &str| assert_eq!(error.to_string(), expected);
        refused(u32::restore(1, b"abc").unwrap_err(), "3 bytes have come, 4 are expected");
        refused(<()>::restore(1, b"a").unwrap_err(), "1 bytes have come, 0 are expected");
        refused(bool::restore(1, b"\x02").unwrap_err(), "[2] is neither true nor false");
        refused(Option::<u8>::restore(1, b"").unwrap_err(), "one byte is missing");
        refused(<(u8, u8)>::restore(1, b"\0").unwrap_err(), "1 bytes are left of a record, 4 are needed");
        let long = b"\0\0\0\x09rest";
        refused(<(String, u8)>::restore(1, long).unwrap_err(), "8 bytes are left of a record, 13 are needed");
        refused(BTreeSet::<String>::restore(1, long).unwrap_err(), "8 bytes are left of a record, 13 are needed");
        assert!(String::restore(1, b"\xff").unwrap_err().to_string().starts_with("a text: invalid utf-8"));
    }
}
