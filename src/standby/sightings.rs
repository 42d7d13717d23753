//! How far connections had come at the last mark, as far as that is known. Pure; peers go by their cookies.
//!
//! A peer that a mark names is looked at when the mark is applied, and what is seen then may have come later. If the next mark, which is
//! made after that, does not name the peer, nobody has read from it or written to it between the two: so what was seen was so at both.

use rustc_hash::FxHashMap;

use crate::peer::count::Count;

#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// How far they had come at the last mark.
    known: FxHashMap<u64, Count>,
    /// How far those had come, whom the last mark named, when they were looked at after it.
    seen: FxHashMap<u64, Count>,
    /// Whom the next mark names, as far as it is applied.
    named: Vec<u64>,
}

impl Sightings {
    /// The next mark names these: of them nothing is known any more.
    pub(super) fn name(&mut self, cookies: impl Iterator<Item = u64>) {
        for cookie in cookies {
            self.known.remove(&cookie);
            self.seen.remove(&cookie);
            self.named.push(cookie);
        }
    }

    /// The next mark is applied. Returns whom it names, who are to be looked at before it is answered.
    pub(super) fn mark(&mut self) -> Vec<u64> {
        self.known.extend(self.seen.drain());
        std::mem::take(&mut self.named)
    }

    /// What was seen of those whom the last mark named.
    pub(super) fn see(&mut self, seen: FxHashMap<u64, Count>) {
        self.seen = seen;
    }

    /// How far a connection had come at the last mark.
    pub(super) fn of(&self, cookie: u64) -> Option<Count> {
        self.known.get(&cookie).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Count = Count { read: 1, written: 2 };
    const LATER: Count = Count { read: 3, written: 4 };

    fn seen<const N: usize>(seen: [(u64, Count); N]) -> FxHashMap<u64, Count> {
        seen.into_iter().collect()
    }

    #[test]
    fn what_was_seen_is_known_if_the_next_mark_does_not_name_it() {
        let mut sightings = Sightings::default();
        sightings.name([7, 8].into_iter());
        assert_eq!(sightings.mark(), [7, 8]);
        sightings.see(seen([(7, BEFORE), (8, BEFORE)]));
        assert_eq!((sightings.of(7), sightings.of(8)), (None, None));

        sightings.name([8].into_iter());
        assert_eq!(sightings.mark(), [8]);
        sightings.see(seen([(8, LATER)]));
        assert_eq!((sightings.of(7), sightings.of(8)), (Some(BEFORE), None));

        assert!(sightings.mark().is_empty());
        assert_eq!((sightings.of(7), sightings.of(8)), (Some(BEFORE), Some(LATER)));
    }

    #[test]
    fn whoever_is_named_is_not_known_before_the_mark_is_whole() {
        let mut sightings = Sightings::default();
        sightings.name([7].into_iter());
        sightings.mark();
        sightings.see(seen([(7, BEFORE)]));
        sightings.mark();
        assert_eq!(sightings.of(7), Some(BEFORE));
        sightings.name([7].into_iter());
        assert_eq!(sightings.of(7), None);
    }
}
