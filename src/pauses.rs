//! How long nobody has served in takeovers, as a histogram.

use std::time::Duration;

use minicbor::{Decode, Encode};

/// How many takeovers had a pause of which length. A pause that nobody could measure is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Pauses {
    /// How many were longer than the bound before and at most as long as the one with the same place among
    /// [`BOUNDS_US`](Self::BOUNDS_US); behind them, how many were longer than any. Places that are missing at the end count
    /// for nothing.
    #[n(0)]
    pub counts: Vec<u64>,
    /// How long all of them were together: us.
    #[n(1)]
    pub sum_us: u64,
}

impl Pauses {
    /// The bounds, in order: us.
    pub const BOUNDS_US: [u64; 12] = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000];

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// One more.
    pub(crate) fn note(&mut self, pause: Duration) {
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let place = Self::BOUNDS_US.partition_point(|bound_us| *bound_us < pause_us);
        if self.counts.len() <= Self::BOUNDS_US.len() {
            self.counts.resize(Self::BOUNDS_US.len() + 1, 0);
        }
        self.counts[place] += 1;
        self.sum_us = self.sum_us.saturating_add(pause_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_for_the_first_bound_that_it_is_not_over() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.total(), 0);
        for pause_us in [0, 10, 11, 1_000_000, 1_000_001] {
            pauses.note(Duration::from_micros(pause_us));
        }
        let counted = |place: usize| pauses.counts[place];
        assert_eq!((counted(0), counted(1), counted(11), counted(12)), (2, 1, 1, 1));
        assert_eq!((pauses.total(), pauses.sum_us), (5, 2_000_022));
    }
}
