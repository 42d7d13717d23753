//! Log lines that others can cause as many of as they like: some of each kind in a second, and then how many more there
//! would have been.
//!
//! A client that breaks the protocol, or a caller that is refused, deserves a line; ten thousand of them would fill a
//! disk, and hide what else there is to read. Nothing here writes a line, or reads a clock.

use std::time::Instant;

use reactord_process::limited::Limit;

/// What others can cause a line about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A peer that broke the protocol.
    BrokenProtocol,
    /// A peer that came and is not served.
    NotServed,
    /// That accepting pauses.
    AcceptingPauses,
    /// A caller on the takeover path that comes no further.
    Caller,
    /// A takeover that failed.
    FailedTakeover,
    /// What was asked for on the takeover path, and is done.
    Request,
    /// Peers that have gone to another process, or come from one.
    Moved,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::BrokenProtocol,
        Self::NotServed,
        Self::AcceptingPauses,
        Self::Caller,
        Self::FailedTakeover,
        Self::Request,
        Self::Moved,
    ];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BrokenProtocol => "peers that broke the protocol",
            Self::NotServed => "peers that are not served",
            Self::AcceptingPauses => "accepting that pauses",
            Self::Caller => "callers on the takeover path",
            Self::FailedTakeover => "takeovers that failed",
            Self::Request => "requests on the takeover path",
            Self::Moved => "peers that were moved",
        })
    }
}

/// How many lines of a kind were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    kind: Kind,
    lines: u64,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} more lines about {} left out within a second", self.lines, self.kind)
    }
}

/// The limits of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Limited([Limit; Kind::ALL.len()]);

impl Limited {
    /// Whether a line of this kind may be written. One that may not is counted.
    pub(crate) fn admits(&mut self, kind: Kind, now: Instant) -> bool {
        self.0[kind as usize].admits(now)
    }

    /// When there will be something in [`Limited::left_out`], if there will.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Limit::due).min()
    }

    /// What is to be said of seconds that are over, once each.
    pub(crate) fn left_out(&mut self, now: Instant) -> impl Iterator<Item = LeftOut> {
        let of_all = Kind::ALL.into_iter().zip(&mut self.0);
        of_all.filter_map(move |(kind, limit)| Some(LeftOut { kind, lines: limit.left_out(now)? }))
    }
}

#[cfg(test)]
mod tests {
    use reactord_process::limited::{LINES_PER_SECOND, SECOND};

    use super::*;

    fn admitted(limited: &mut Limited, kind: Kind, lines: u64, now: Instant) -> u64 {
        (0..lines).map(|_| u64::from(limited.admits(kind, now))).sum()
    }

    fn said(limited: &mut Limited, now: Instant) -> Vec<String> {
        limited.left_out(now).map(|left_out| left_out.to_string()).collect()
    }

    #[test]
    fn some_lines_of_a_second_are_written_and_the_others_counted_when_it_is_over() {
        let (mut limited, began) = (Limited::default(), Instant::now());
        assert_eq!(admitted(&mut limited, Kind::Caller, 1000, began), LINES_PER_SECOND);
        assert_eq!(admitted(&mut limited, Kind::Caller, 1, began + SECOND / 2), 0);
        assert_eq!(limited.due(), Some(began + SECOND));
        assert!(said(&mut limited, began + SECOND / 2).is_empty());
        let over = began + SECOND;
        assert_eq!(
            said(&mut limited, over),
            ["991 more lines about callers on the takeover path left out within a second"]
        );
        assert_eq!((limited.due(), said(&mut limited, over).len()), (None, 0), "it is said once");
        assert_eq!(admitted(&mut limited, Kind::Caller, 11, over), LINES_PER_SECOND);
    }

    #[test]
    fn lines_that_come_slowly_are_all_written_and_nothing_is_said_of_them() {
        let (mut limited, began) = (Limited::default(), Instant::now());
        for seconds in 0..100 {
            let now = began + SECOND * seconds;
            assert_eq!(admitted(&mut limited, Kind::BrokenProtocol, LINES_PER_SECOND, now), LINES_PER_SECOND);
            assert_eq!((limited.due(), said(&mut limited, now).len()), (None, 0));
        }
    }

    #[test]
    fn one_kind_takes_nothing_from_another() {
        let (mut limited, began) = (Limited::default(), Instant::now());
        for (kind, lines) in Kind::ALL.into_iter().zip(11..) {
            assert_eq!(admitted(&mut limited, kind, lines, began), LINES_PER_SECOND);
        }
        let left_out: Vec<LeftOut> = limited.left_out(began + SECOND).collect();
        let expected = Kind::ALL.into_iter().zip(1..).map(|(kind, lines)| LeftOut { kind, lines });
        assert_eq!(left_out, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_was_left_out_is_not_forgotten_when_it_is_asked_for_late() {
        let (mut limited, began) = (Limited::default(), Instant::now());
        admitted(&mut limited, Kind::NotServed, 12, began);
        assert_eq!(admitted(&mut limited, Kind::NotServed, 1, began + 5 * SECOND), 0);
        assert_eq!(limited.left_out(began + 5 * SECOND).map(|left_out| left_out.lines).collect::<Vec<_>>(), [3]);
    }
}
