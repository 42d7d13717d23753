//! Which of two joined peers one is: the number of the pair in its table, and the side.

use std::num::NonZeroU32;

/// One end of a pair, in the room that a peer has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairEnd(NonZeroU32);

impl PairEnd {
    /// The first end of the pair with this number.
    ///
    /// # Panics
    /// If there are more pairs than a process can have files open.
    pub(crate) fn first_of(pair: usize) -> Self {
        let place = u32::try_from(2 * pair + 2).ok().and_then(NonZeroU32::new);
        Self(place.expect("a process opens fewer than 4 billion files"))
    }

    /// The other end of the same pair.
    pub(crate) fn other(self) -> Self {
        Self(NonZeroU32::new(self.0.get() ^ 1).expect("the first is 2"))
    }

    /// The number of the pair.
    pub(crate) fn pair(self) -> usize {
        (self.0.get() / 2 - 1) as usize
    }

    /// 0 or 1.
    pub(crate) fn side(self) -> usize {
        (self.0.get() & 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_have_the_pair_in_common_and_nothing_else() {
        for pair in [0, 1, 7, (1 << 31) - 2] {
            let (first, second) = (PairEnd::first_of(pair), PairEnd::first_of(pair).other());
            assert_eq!((first.pair(), first.side(), second.pair(), second.side()), (pair, 0, pair, 1));
            assert_eq!(second.other(), first);
        }
    }
}
