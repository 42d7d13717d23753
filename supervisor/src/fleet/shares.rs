//! Who has how many of the connections, and who should give some to whom.
//!
//! Pure, and all there is to decide about fairness: whoever moves connections does what it says and looks again.

use super::worker::WorkerId;

/// How far a share may be from the mean: a part of that, one in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tolerance(u64);

impl Tolerance {
    /// Nothing is done while all are this near.
    pub(crate) const LEFT_ALONE: Self = Self(10);

    /// When something is done, it is done until all are this near. Were it the same, clients that come and go would have
    /// connections moved all the time.
    pub(crate) const WHEN_LEVELLING: Self = Self(20);

    /// The one that counts now.
    pub(crate) fn of(is_levelling: bool) -> Self {
        if is_levelling { Self::WHEN_LEVELLING } else { Self::LEFT_ALONE }
    }
}

/// So many connections are to go from one worker to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) from: WorkerId,
    pub(crate) to: WorkerId,
    pub(crate) count: u64,
}

/// What brings the shares nearer to each other, unless they are near enough: from the one that has the most to the one
/// that has the fewest, as many as the one has too many or the other too few.
pub(crate) fn transfer(shares: &[(WorkerId, u64)], tolerance: Tolerance) -> Option<Transfer> {
    let count = shares.len() as u64;
    let total: u64 = shares.iter().map(|(_, share)| share).sum();
    let (from, most) = *shares.iter().max_by_key(|(_, share)| share)?;
    let (to, fewest) = *shares.iter().min_by_key(|(_, share)| share)?;
    // In parts of a connection, so that the mean is exact.
    let (surplus, lack) = (most * count - total, total - fewest * count);
    let is_near = surplus.max(lack) * tolerance.0 <= total;
    // With one more and one less they would only change places.
    if is_near || most - fewest < 2 {
        return None;
    }
    Some(Transfer { from, to, count: (surplus.min(lack) / count).max(1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(counts: &[u64]) -> Vec<(WorkerId, u64)> {
        counts.iter().zip(1..).map(|(count, id)| (WorkerId(id), *count)).collect()
    }

    fn transfer_of(counts: &[u64], tolerance: Tolerance) -> Option<(u64, u64, u64)> {
        transfer(&shares(counts), tolerance).map(|transfer| (transfer.from.0, transfer.to.0, transfer.count))
    }

    #[test]
    fn the_one_that_has_the_most_gives_to_the_one_that_has_the_fewest() {
        for (counts, expected) in [
            (&[][..], None),
            (&[7], None),
            (&[0, 0], None),
            (&[1, 0], None),
            (&[2, 0], Some((1, 2, 1))),
            (&[100, 0], Some((1, 2, 50))),
            (&[0, 100, 100], Some((3, 1, 33))),
            (&[500, 500, 0], Some((2, 3, 166))),
            (&[30, 20, 10], Some((1, 3, 10))),
        ] {
            assert_eq!(transfer_of(counts, Tolerance::LEFT_ALONE), expected, "{counts:?}");
        }
    }

    #[test]
    fn what_is_left_alone_is_not_yet_what_is_aimed_at() {
        for (counts, is_left_alone, is_aimed_at) in
            [([110, 90], true, false), ([111, 89], false, false), ([105, 95], true, true), ([106, 94], true, false)]
        {
            assert_eq!(transfer_of(&counts, Tolerance::LEFT_ALONE).is_none(), is_left_alone, "{counts:?}");
            assert_eq!(transfer_of(&counts, Tolerance::WHEN_LEVELLING).is_none(), is_aimed_at, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn transfers_come_to_an_end_with_all_shares_near(counts in prop::collection::vec(0..10_000_u64, 1..12)) {
            let mut shares = shares(&counts);
            let mut transfers = 0;
            while let Some(Transfer { from, to, count }) = transfer(&shares, Tolerance::WHEN_LEVELLING) {
                for (id, share) in &mut shares {
                    *share = *share - if *id == from { count } else { 0 } + if *id == to { count } else { 0 };
                }
                transfers += 1;
                prop_assert!(transfers <= 100, "{shares:?}");
            }
            let (total, count) = (counts.iter().sum::<u64>(), counts.len() as u64);
            for (_, share) in &shares {
                let distance = (share * count).abs_diff(total);
                prop_assert!(distance * 20 <= total || distance < 2 * count, "{shares:?}");
            }
        }
    }
}
