//! Values by the keys of peers, in chunks, of which there are only those in which somebody has a value. Pure.
//!
//! A table in one piece has up to twice the room that it needs, and is there twice while it grows. For a million peers that is noticed.

/// So many values have their memory together.
const CHUNK: usize = 64;

/// A value for each key, of which those that nobody has set are like any other's default.
#[derive(Debug)]
pub(crate) struct ByKey<T> {
    chunks: Vec<Option<Box<[T; CHUNK]>>>,
}

impl<T> Default for ByKey<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy + Default> ByKey<T> {
    /// The value at `key`.
    #[inline]
    pub(crate) fn get(&self, key: usize) -> T {
        let chunk = self.chunks.get(key / CHUNK).and_then(Option::as_deref);
        chunk.map(|chunk| chunk[key % CHUNK]).unwrap_or_default()
    }

    /// The value at `key`, to be changed.
    #[inline]
    pub(crate) fn at(&mut self, key: usize) -> &mut T {
        let number = key / CHUNK;
        if self.chunks.len() <= number {
            self.chunks.resize_with(number + 1, || None);
        }
        &mut self.chunks[number].get_or_insert_with(|| Box::new([T::default(); CHUNK]))[key % CHUNK]
    }

    /// Nobody has a value at `key` any more. That takes no memory.
    pub(crate) fn forget(&mut self, key: usize) {
        if let Some(Some(chunk)) = self.chunks.get_mut(key / CHUNK) {
            chunk[key % CHUNK] = T::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_chunks_in_which_somebody_has_a_value_take_memory() {
        let mut values = ByKey::<u64>::default();
        values.forget(5 * CHUNK);
        assert_eq!(values.get(5 * CHUNK), 0);
        assert!(values.chunks.is_empty(), "to look and to forget takes none");
        *values.at(3 * CHUNK + 1) = 7;
        assert_eq!(values.chunks.iter().flatten().count(), 1);
        assert_eq!([3 * CHUNK, 3 * CHUNK + 1, 4 * CHUNK, 0].map(|key| values.get(key)), [0, 7, 0, 0]);
    }

    proptest! {
        #[test]
        fn each_key_has_the_value_that_was_set_last(
            steps in proptest::collection::vec((0..4 * CHUNK, proptest::option::of(1..9_u32)), 0..200),
        ) {
            let (mut values, mut expected) = (ByKey::default(), BTreeMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        *values.at(key) = value;
                        expected.insert(key, value);
                    }
                    None => {
                        values.forget(key);
                        expected.remove(&key);
                    }
                }
                for key in 0..5 * CHUNK {
                    prop_assert_eq!(values.get(key), expected.get(&key).copied().unwrap_or_default());
                }
            }
        }
    }
}
