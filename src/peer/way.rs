//! Which way bytes go from a joined peer to the other one. Pure: it is told how they went lately.

use super::pipe::PIPED_BYTES_MAX;

/// With less at once, it costs more to pass bytes through a pipe than to copy them.
const PIPED_BYTES_MIN: usize = PIPED_BYTES_MAX / 2;

/// Who lets others wait for longer takes slowly what it is sent.
const SLOW_NS: u64 = 100_000_000;

/// Who has taken as much as the buffer holds so often without a wait, which is more than the kernel keeps of one connection,
/// is not slow.
const QUICK_TAKES: u8 = 128;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are read and written: little comes at once.
    Copied {
        /// Whoever gets them has shown that it takes a stream quickly.
        is_quick: bool,
    },
    /// Through a pipe: a stream comes, and whoever gets it takes it quickly.
    Piped,
    /// They are looked at, and only those are taken that could be written: whoever gets them takes them slowly, or nobody
    /// knows yet, and the rest is better kept by the kernel, where it is in nobody's memory and in no copy.
    Peeked {
        /// So often in a row as much as the buffer holds was taken at once.
        taken: u8,
    },
}

impl Default for Way {
    fn default() -> Self {
        Self::COPIED
    }
}

impl Way {
    /// Nobody knows yet how whoever gets the bytes takes them.
    pub(crate) const COPIED: Self = Self::Copied { is_quick: false };

    /// How it begins where nobody knows how it went before. Of those who take slowly nothing must be read, or the next takeover
    /// has it to copy.
    pub(crate) fn in_successor() -> Self {
        Self::Peeked { taken: 0 }
    }

    /// So many bytes were read and written, of which `room` would have fitted into the buffer.
    pub(crate) fn after_copy(self, bytes: usize, room: usize) -> Self {
        match self {
            Self::Copied { .. } if bytes < room => self,
            Self::Copied { is_quick: true } => Self::Piped,
            Self::Copied { is_quick: false } => Self::Peeked { taken: 0 },
            Self::Piped | Self::Peeked { .. } => self.after_less_if(bytes < room),
        }
    }

    /// So many have come through the pipe.
    pub(crate) fn after_pipe(self, bytes: usize) -> Self {
        self.after_less_if(bytes < PIPED_BYTES_MIN)
    }

    /// If so little has come at once that it is better copied.
    fn after_less_if(self, is_little: bool) -> Self {
        if is_little { Self::Copied { is_quick: self == Self::Piped } } else { self }
    }

    /// So many bytes were looked at, of which `room` would have fitted into the buffer, and all of them were taken.
    pub(crate) fn after_peek(self, bytes: usize, room: usize) -> Self {
        match self {
            Self::Peeked { taken: QUICK_TAKES } if bytes == room => Self::Piped,
            Self::Peeked { taken } if bytes == room => Self::Peeked { taken: taken + 1 },
            _ => Self::COPIED,
        }
    }

    /// It had to wait for so long until whoever gets the bytes took more.
    pub(crate) fn after_wait(self, waited_ns: u64) -> Self {
        match self {
            _ if waited_ns > SLOW_NS => Self::Peeked { taken: 0 },
            Self::Peeked { .. } => Self::Piped,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = PIPED_BYTES_MAX;

    #[test]
    fn a_full_read_is_seen_taken_before_it_makes_a_stream_and_little_at_once_ends_it() {
        let full = Way::default().after_copy(ROOM, ROOM);
        assert_eq!(full, Way::Peeked { taken: 0 });
        assert_eq!(full.after_peek(ROOM - 1, ROOM), Way::COPIED);
        let stream = full.after_wait(SLOW_NS);
        assert_eq!(stream, Way::Piped);
        assert_eq!(stream.after_pipe(PIPED_BYTES_MIN), Way::Piped);
        assert_eq!(stream.after_copy(ROOM, ROOM), Way::Piped);
    }

    #[test]
    fn a_stream_that_pauses_is_one_again_at_once_until_whoever_gets_it_takes_slowly() {
        for pausing in [Way::Piped.after_pipe(PIPED_BYTES_MIN - 1), Way::Piped.after_copy(ROOM - 1, ROOM)] {
            assert_eq!(pausing, Way::Copied { is_quick: true });
            assert_eq!(pausing.after_copy(ROOM - 1, ROOM), pausing);
            assert_eq!(pausing.after_copy(ROOM, ROOM), Way::Piped);
            assert_eq!(pausing.after_wait(SLOW_NS + 1), Way::Peeked { taken: 0 });
        }
    }

    #[test]
    fn for_who_takes_slowly_nothing_is_read_until_it_takes_quickly_or_takes_all() {
        let peeked = Way::Peeked { taken: 0 };
        for way in [Way::COPIED, Way::Piped, peeked] {
            assert_eq!(way.after_wait(SLOW_NS + 1), peeked);
        }
        assert_eq!(Way::Piped.after_wait(SLOW_NS), Way::Piped);
        assert_eq!(peeked.after_wait(SLOW_NS), Way::Piped);
        assert_eq!(peeked.after_peek(ROOM - 1, ROOM), Way::COPIED);
        let ways = std::iter::successors(Some(peeked), |way| Some(way.after_peek(ROOM, ROOM)));
        let until_quick = ways.take_while(|way| *way != Way::Piped).count();
        assert_eq!(until_quick, usize::from(QUICK_TAKES) + 1);
    }

    #[test]
    fn while_others_decide_that_bytes_are_peeked_the_way_is_forgotten() {
        assert_eq!(Way::Piped.after_peek(ROOM, ROOM), Way::COPIED);
    }
}
