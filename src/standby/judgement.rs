//! Whether a connection is where its record says, when the process that served it has died. Pure.
//!
//! All that a standby knows is of one instant, its last mark. Whoever has been read from or written to since is not where the
//! standby would go on: what was read is gone, and what was written is known to the client. Nothing of that is guessed.

use crate::peer::count::{Count, Sight};

/// What is to become of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is where its record says: it is served on.
    Agrees,
    /// Its connection is over already.
    Over,
    /// It is reset, and why.
    Doubt(Doubt),
}

/// Why a peer cannot be served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Something was read from it since.
    Read,
    /// Something was written to it since, or its output was ended.
    Written,
    /// How far it had come was not known at the last mark.
    NotKnown,
    /// How far it has come by now cannot be told: it is no TCP connection, or one that does not stand yet.
    NotTold,
    /// It is joined to one that cannot be served on.
    Joined,
}

/// Judges a peer of which this was known at the last mark, and that is seen like this now that nobody serves it.
pub(crate) fn judge(known: Option<Count>, sight: Sight) -> Verdict {
    match (known, sight) {
        (_, Sight::Over) => Verdict::Over,
        (_, Sight::Unknown) => Verdict::Doubt(Doubt::NotTold),
        (None, Sight::Stands(_)) => Verdict::Doubt(Doubt::NotKnown),
        (Some(known), Sight::Stands(now)) if known == now => Verdict::Agrees,
        // What is written to a client shows, whatever was read.
        (Some(known), Sight::Stands(now)) if known.written != now.written => Verdict::Doubt(Doubt::Written),
        (Some(_), Sight::Stands(_)) => Verdict::Doubt(Doubt::Read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn count(read: u64, written: u64) -> Count {
        Count { read, written }
    }

    #[test]
    fn nobody_is_served_on_but_who_is_known_to_be_where_it_was() {
        let stands = |read, written| Sight::Stands(count(read, written));
        for (known, sight, verdict) in [
            (Some(count(0, 0)), stands(0, 0), Verdict::Agrees),
            (Some(count(7, 9)), stands(7, 9), Verdict::Agrees),
            // The sums begin somewhere, and may be on their way round.
            (Some(count(u64::MAX, 9)), stands(u64::MAX, 9), Verdict::Agrees),
            (Some(count(7, 9)), stands(8, 9), Verdict::Doubt(Doubt::Read)),
            (Some(count(u64::MAX, 9)), stands(0, 9), Verdict::Doubt(Doubt::Read)),
            (Some(count(7, 9)), stands(7, 10), Verdict::Doubt(Doubt::Written)),
            (Some(count(7, 9)), stands(8, 10), Verdict::Doubt(Doubt::Written)),
            // What goes back is something else than it was taken for.
            (Some(count(7, 9)), stands(6, 9), Verdict::Doubt(Doubt::Read)),
            (Some(count(7, 9)), stands(7, 8), Verdict::Doubt(Doubt::Written)),
            (Some(count(7, 9)), stands(9, 7), Verdict::Doubt(Doubt::Written)),
            (None, stands(7, 9), Verdict::Doubt(Doubt::NotKnown)),
            (Some(count(7, 9)), Sight::Unknown, Verdict::Doubt(Doubt::NotTold)),
            (None, Sight::Unknown, Verdict::Doubt(Doubt::NotTold)),
            (Some(count(7, 9)), Sight::Over, Verdict::Over),
            (None, Sight::Over, Verdict::Over),
        ] {
            assert_eq!(judge(known, sight), verdict, "{known:?}, {sight:?}");
        }
    }
}
