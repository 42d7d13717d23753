//! Who serves, who is to, and what it means that one of them speaks or ends. Decisions without I/O.

use std::process::ExitStatus;

/// Which process, in the order in which they were started.
pub(crate) type Number = usize;

/// Where a takeover is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Succession {
    /// One process, which owns all peers.
    Serving { owner: Number },
    /// A successor was started and has not said that it took over. Whether it has, it alone knows.
    Arriving { predecessor: Number, predecessor_ended: bool, successor: Number, killed: bool },
    /// A server was asked to start a successor itself. Which process that is, is known when it serves.
    Asked { predecessor: Number, predecessor_ended: bool },
    /// The successor serves, and the predecessor is to exit.
    Retiring { predecessor: Number, owner: Number },
    /// Nobody serves any more.
    Over,
}

/// What has come of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Nothing yet, or nothing new.
    Nothing,
    /// The successor serves.
    TookOver,
    /// The predecessor is gone: the takeover has come to its end.
    Retired,
    /// The predecessor is gone, but not as it should.
    RetiredBadly,
    /// The successor that was killed is gone, and the predecessor serves.
    Killed,
    /// The successor is gone without having been killed, and the predecessor serves.
    Failed,
    /// The process that owned the peers is gone.
    Died,
    /// The successor that was killed had taken over just before: the peers are gone, and it was not the server's fault.
    KilledTooLate,
}

impl Succession {
    /// Which processes there are now: the one that serves or did up to now, and the other one if there is one.
    pub(crate) fn processes(self) -> [Option<Number>; 2] {
        match self {
            Self::Serving { owner } => [Some(owner), None],
            Self::Asked { predecessor, .. } => [Some(predecessor), None],
            Self::Arriving { predecessor, successor, .. } => [Some(predecessor), Some(successor)],
            Self::Retiring { predecessor, owner } => [Some(owner), Some(predecessor)],
            Self::Over => [None, None],
        }
    }

    pub(crate) fn is_under_way(self) -> bool {
        !matches!(self, Self::Serving { .. } | Self::Over)
    }

    /// A successor was started.
    ///
    /// # Panics
    /// If a takeover is under way.
    pub(crate) fn begin(&mut self, successor: Number) {
        let Self::Serving { owner: predecessor } = *self else { panic!("one takeover at a time, not in {self:?}") };
        *self = Self::Arriving { predecessor, predecessor_ended: false, successor, killed: false };
    }

    /// The server that serves was asked to start a successor.
    ///
    /// # Panics
    /// If a takeover is under way.
    pub(crate) fn ask(&mut self) {
        let Self::Serving { owner: predecessor } = *self else { panic!("one takeover at a time, not in {self:?}") };
        *self = Self::Asked { predecessor, predecessor_ended: false };
    }

    /// It has answered that this one serves now.
    pub(crate) fn answered_with(&mut self, successor: Number) {
        if let Self::Asked { predecessor, predecessor_ended } = *self {
            *self = if predecessor_ended {
                Self::Serving { owner: successor }
            } else {
                Self::Retiring { predecessor, owner: successor }
            };
        }
    }

    /// It has answered that it serves on itself.
    pub(crate) fn serves_on(&mut self) {
        if let Self::Asked { predecessor, predecessor_ended: false } = *self {
            *self = Self::Serving { owner: predecessor };
        }
    }

    /// The successor has been sent SIGKILL.
    pub(crate) fn note_killed(&mut self) {
        if let Self::Arriving { killed, .. } = self {
            *killed = true;
        }
    }

    /// A process has said that it took over.
    pub(crate) fn took_over(&mut self, number: Number) -> Turn {
        match *self {
            Self::Arriving { predecessor, predecessor_ended, successor, .. } if successor == number => {
                *self = if predecessor_ended {
                    Self::Serving { owner: successor }
                } else {
                    Self::Retiring { predecessor, owner: successor }
                };
                Turn::TookOver
            }
            _ => Turn::Nothing,
        }
    }

    /// A process has ended, after all that it had to say.
    pub(crate) fn ended(&mut self, number: Number, status: ExitStatus) -> Turn {
        let (next, turn) = match *self {
            Self::Serving { owner } if owner == number => (Self::Over, Turn::Died),
            Self::Retiring { owner, .. } if owner == number => (Self::Over, Turn::Died),
            Self::Retiring { owner, predecessor } if predecessor == number => {
                (Self::Serving { owner }, if status.success() { Turn::Retired } else { Turn::RetiredBadly })
            }
            Self::Asked { predecessor, .. } if predecessor == number => {
                if status.success() {
                    (Self::Asked { predecessor, predecessor_ended: true }, Turn::Nothing)
                } else {
                    (Self::Over, Turn::Died)
                }
            }
            Self::Arriving { predecessor, successor, killed, .. } if predecessor == number => {
                if status.success() {
                    (Self::Arriving { predecessor, predecessor_ended: true, successor, killed }, Turn::Nothing)
                } else {
                    (Self::Over, Turn::Died)
                }
            }
            Self::Arriving { predecessor_ended: true, successor, killed, .. } if successor == number => {
                (Self::Over, if killed { Turn::KilledTooLate } else { Turn::Died })
            }
            Self::Arriving { predecessor, successor, killed, .. } if successor == number => {
                (Self::Serving { owner: predecessor }, if killed { Turn::Killed } else { Turn::Failed })
            }
            same => (same, Turn::Nothing),
        };
        *self = next;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn sigkill() -> ExitStatus {
        ExitStatus::from_raw(9)
    }

    fn arriving(killed: bool) -> Succession {
        let mut succession = Succession::Serving { owner: 0 };
        succession.begin(1);
        if killed {
            succession.note_killed();
        }
        succession
    }

    #[test]
    fn a_takeover_ends_with_the_predecessor() {
        let mut succession = arriving(false);
        assert_eq!(succession.took_over(1), Turn::TookOver);
        assert_eq!(succession.processes(), [Some(1), Some(0)]);
        assert_eq!(succession.ended(0, exit(0)), Turn::Retired);
        assert_eq!(succession, Succession::Serving { owner: 1 });
    }

    #[test]
    fn the_predecessor_may_be_gone_before_the_successor_is_heard() {
        let mut succession = arriving(false);
        assert_eq!(succession.ended(0, exit(0)), Turn::Nothing);
        assert_eq!(succession.took_over(1), Turn::TookOver);
        assert_eq!(succession, Succession::Serving { owner: 1 });
    }

    #[test]
    fn whoever_was_asked_serves_on_or_is_followed() {
        let asked = || {
            let mut succession = Succession::Serving { owner: 0 };
            succession.ask();
            succession
        };
        let mut declined = asked();
        declined.serves_on();
        assert_eq!(declined, Succession::Serving { owner: 0 });
        let mut followed = asked();
        followed.answered_with(4);
        assert_eq!(followed.ended(0, exit(0)), Turn::Retired);
        assert_eq!(followed, Succession::Serving { owner: 4 });
        let mut gone_first = asked();
        assert_eq!(gone_first.ended(0, exit(0)), Turn::Nothing);
        gone_first.answered_with(4);
        assert_eq!(gone_first, Succession::Serving { owner: 4 });
        let mut died = asked();
        assert_eq!(died.ended(0, sigkill()), Turn::Died);
        assert_eq!(died, Succession::Over);
    }

    #[test]
    fn a_predecessor_that_ends_badly_after_a_takeover_is_told_apart() {
        let mut succession = arriving(false);
        succession.took_over(1);
        assert_eq!(succession.ended(0, exit(1)), Turn::RetiredBadly);
        assert_eq!(succession, Succession::Serving { owner: 1 });
    }

    #[test]
    fn the_predecessor_goes_on_after_a_successor_that_was_killed_or_failed() {
        for (killed, status, turn) in [(true, sigkill(), Turn::Killed), (false, exit(3), Turn::Failed)] {
            let mut succession = arriving(killed);
            assert_eq!(succession.ended(1, status), turn);
            assert_eq!(succession, Succession::Serving { owner: 0 });
        }
    }

    #[test]
    fn whoever_owned_the_peers_and_is_gone_has_died() {
        let mut serving = Succession::Serving { owner: 0 };
        assert_eq!(serving.ended(0, exit(0)), Turn::Died);
        let mut predecessor = arriving(false);
        assert_eq!(predecessor.ended(0, sigkill()), Turn::Died);
        let mut successor = arriving(false);
        successor.took_over(1);
        assert_eq!(successor.ended(1, sigkill()), Turn::Died);
        let mut unheard = arriving(false);
        unheard.ended(0, exit(0));
        assert_eq!(unheard.ended(1, exit(1)), Turn::Died);
        for succession in [serving, predecessor, successor, unheard] {
            assert_eq!(succession, Succession::Over);
        }
    }

    #[test]
    fn a_kill_that_comes_after_the_commit_point_is_said_to_be_one() {
        let mut succession = arriving(true);
        succession.ended(0, exit(0));
        assert_eq!(succession.ended(1, sigkill()), Turn::KilledTooLate);
    }
}
