//! What an active has told its standby of how far a connection has come, and what that was told. Pure.

/// By how much what the kernel has counted as written to a peer is ahead of the position of what waits for it, or that this is not to be
/// had; or that neither was told. There is one for each of a million peers, so all of it is in one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToldOffset(u64);

impl ToldOffset {
    const NOTHING: Self = Self(0);
    const NONE_TO_BE_HAD: Self = Self(1);
    /// Where an offset of 0 is. No connection comes so far from there that it would be where the others are.
    const MIDDLE: u64 = 1 << 63;

    pub(crate) fn new(offset: Option<u64>) -> Self {
        let told = offset.map(|offset| Self(offset.wrapping_add(Self::MIDDLE)));
        told.filter(|told| *told != Self::NOTHING).unwrap_or(Self::NONE_TO_BE_HAD)
    }

    /// The offset, or that there is none to be had, if either was told.
    pub(crate) fn get(self) -> Option<Option<u64>> {
        match self {
            Self::NOTHING => None,
            Self::NONE_TO_BE_HAD => Some(None),
            Self(told) => Some(Some(told.wrapping_sub(Self::MIDDLE))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_what_it_was_and_nothing_else() {
        assert_eq!(ToldOffset::default().get(), None);
        // A position may be ahead of what the kernel has counted.
        for offset in [Some(0), None, Some(1), Some(u64::MAX), Some(1 << 62), Some((1_u64 << 62).wrapping_neg())] {
            assert_eq!(ToldOffset::new(offset).get(), Some(offset));
        }
    }

    #[test]
    fn what_no_connection_comes_to_is_none_to_be_had() {
        for far in [ToldOffset::MIDDLE, ToldOffset::MIDDLE + 1] {
            assert_eq!(ToldOffset::new(Some(far)).get(), Some(None));
        }
    }
}
