//! Where a connection stands when the process that served it has died: which of what was to be written has been, and how much of what
//! came was read. Pure.
//!
//! What may have been written is committed, and what was read is in the intake; how much of either is known to the kernel. What that
//! says must be possible. Otherwise something is not as it is taken for, and nothing is guessed.

use crate::peer::count::Count;
use crate::peer::record::Stretch;

/// Why a peer cannot be served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Other bytes were read from it, or written to it, than can have been.
    Elsewhere,
    /// It has to be known how far it had come, and that cannot be told: it is no TCP connection, or one that does not stand yet.
    NotTold,
    /// It is joined to one that cannot be served on.
    Joined,
}

/// How many bytes at the front of those that wait were written, where the kernel had counted `offset` more as written than the position
/// of the first that had not been. That the output was ended counts as a byte, if it `may_have_ended`.
pub(crate) fn written(outbound: Stretch<'_>, offset: u64, may_have_ended: bool, now: Count) -> Result<usize, Doubt> {
    let position = now.written.wrapping_sub(offset);
    let count = position.wrapping_sub(outbound.start);
    match usize::try_from(count).map_err(|_| Doubt::Elsewhere)? {
        count if count <= outbound.bytes.len() => Ok(count),
        count if may_have_ended && count == outbound.bytes.len() + 1 => Ok(outbound.bytes.len()),
        _ => Err(Doubt::Elsewhere),
    }
}

/// How many bytes have come of a read that was under way, for which there was `room`, when so much was read `before`.
pub(crate) fn read(before: u64, room: usize, now: Count) -> Result<usize, Doubt> {
    match usize::try_from(now.read.wrapping_sub(before)) {
        Ok(count) if count <= room => Ok(count),
        _ => Err(Doubt::Elsewhere),
    }
}

/// How many bytes were written to one connection and not taken off the other: so much had been written and read before, and has been by now.
pub(crate) fn conveyed(written: (u64, u64), read: (u64, u64)) -> Result<usize, Doubt> {
    let (went, taken) = (written.1.wrapping_sub(written.0), read.1.wrapping_sub(read.0));
    let left = went.checked_sub(taken).filter(|_| went <= CONVEYED_MAX).ok_or(Doubt::Elsewhere)?;
    usize::try_from(left).map_err(|_| Doubt::Elsewhere)
}

/// What is passed on at once.
const CONVEYED_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const fn count(read: u64, written: u64) -> Count {
        Count { read, written }
    }

    #[test]
    fn what_was_written_is_at_the_front_of_what_waits_and_no_more_than_that() {
        let outbound = Stretch { start: 100, bytes: b"0123456789" };
        for (offset, now, expected) in [
            (7, 107, Ok(0)),
            (7, 112, Ok(5)),
            (7, 117, Ok(10)),
            (7, 118, Err(Doubt::Elsewhere)),
            (7, 106, Err(Doubt::Elsewhere)),
            // The sums begin somewhere, and may be on their way round.
            (u64::MAX, 99, Ok(0)),
            (u64::MAX - 104, u64::MAX, Ok(4)),
            (u64::MAX - 104, 1, Ok(6)),
        ] {
            assert_eq!(written(outbound, offset, false, count(0, now)), expected, "{offset} {now}");
        }
        assert_eq!(written(outbound, 7, true, count(0, 118)), Ok(10));
        assert_eq!(written(outbound, 7, true, count(0, 119)), Err(Doubt::Elsewhere));
    }

    #[test]
    fn a_read_has_brought_what_the_kernel_says_if_there_was_room() {
        let stands = |read| count(read, 0);
        assert_eq!(read(5, 10, stands(5)), Ok(0));
        assert_eq!(read(5, 10, stands(15)), Ok(10));
        assert_eq!(read(5, 10, stands(16)), Err(Doubt::Elsewhere));
        assert_eq!(read(5, 10, stands(4)), Err(Doubt::Elsewhere));
        assert_eq!(read(u64::MAX, 10, stands(1)), Ok(2));
    }

    #[test]
    fn of_what_was_passed_on_the_rest_is_still_there() {
        assert_eq!(conveyed((10, 30), (5, 5)), Ok(20));
        assert_eq!(conveyed((10, 30), (5, 25)), Ok(0));
        assert_eq!(conveyed((10, 30), (5, 26)), Err(Doubt::Elsewhere));
        assert_eq!(conveyed((10, 30), (5, 4)), Err(Doubt::Elsewhere));
        assert_eq!(conveyed((10, 10), (5, 5)), Ok(0));
        assert_eq!(conveyed((u64::MAX, 19), (u64::MAX, u64::MAX)), Ok(20));
    }
}
