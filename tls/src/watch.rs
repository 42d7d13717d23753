//! Who is watched seals no number twice: for tests of this package and of those that stand on it, in which several processes are
//! played by one thread. No release has it, since it stands beside debug assertions alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::secret::{SECRET_BYTES_MAX, Secret};

/// A secret and a number, with a digest of the record that was sealed with both.
type Sealed = HashMap<([u8; SECRET_BYTES_MAX], u64), u64>;

thread_local! {
    static SEALED: RefCell<Option<Sealed>> = const { RefCell::new(None) };
}

/// All that this thread seals is watched until it is dropped, whichever session seals it: that no number is used with two
/// records under one key, be it by a session and by another one that was restored from it. One who breaks that panics.
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    /// Begins to watch. Whoever watched this thread before does not any more.
    #[must_use]
    pub fn begin() -> Self {
        SEALED.set(Some(Sealed::new()));
        Self(())
    }

    /// How many records have been sealed since.
    #[must_use]
    pub fn records(&self) -> usize {
        SEALED.with_borrow(|sealed| sealed.as_ref().map_or(0, HashMap::len))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEALED.set(None);
    }
}

/// This record was sealed. The same one again gives nothing away.
pub(crate) fn note(secret: &Secret, sequence: u64, record: &[u8]) {
    SEALED.with_borrow_mut(|sealed| {
        let Some(sealed) = sealed else { return };
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        let digest = hasher.finish();
        let before = *sealed.entry((*secret.bytes(), sequence)).or_insert(digest);
        assert!(before == digest, "number {sequence} was sealed twice");
    });
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use crate::direction::Direction;
    use crate::record::kind;
    use crate::secret::Secret;
    use crate::suite::Suite;

    fn seal(suite: Suite, sequence: u64, content: &[u8]) {
        let secret = Secret::new(suite, &vec![7; suite.secret_bytes()]).unwrap();
        Direction::new(secret, sequence).seal(suite, kind::DATA, content, &mut Vec::new());
    }

    #[test]
    fn the_same_record_again_is_nothing_new() {
        let watch = Watch::begin();
        for sequence in [0, 1, 1, 0] {
            seal(Suite::ALL[0], sequence, b"the same");
        }
        assert_eq!(watch.records(), 2);
    }

    #[test]
    #[should_panic(expected = "number 3 was sealed twice")]
    fn another_record_with_the_same_number_is_found_out() {
        let _watch = Watch::begin();
        seal(Suite::ALL[0], 3, b"one");
        seal(Suite::ALL[0], 3, b"another");
    }
}
