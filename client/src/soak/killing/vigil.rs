//! Who serves, who is to serve next, and when somebody is killed. Decisions without I/O.

use std::time::{Duration, Instant};

use super::super::succession::Number;
use super::super::summary::Standing;

/// What passes at least between the instant at which a standby is armed and the next kill: whoever was connected anew has been
/// answered by then, and the standby knows that.
pub(crate) const REST: Duration = Duration::from_millis(250);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Vigil {
    /// One process, which owns all peers.
    Serving { active: Number },
    /// It was killed, and another one is to serve on.
    Killed { active: Number, active_ended: bool, heir: Number, heir_serves: bool },
    /// Nobody serves any more.
    Over,
}

/// What it means that a process has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Nothing that was not to be.
    Nothing,
    /// Whoever served, or was to, is gone, and nobody has killed it.
    Died,
}

impl Vigil {
    /// Whoever serves, or is to if it does not yet.
    pub(crate) fn owner(self) -> Option<Number> {
        match self {
            Self::Serving { active } => Some(active),
            Self::Killed { heir, .. } => Some(heir),
            Self::Over => None,
        }
    }

    /// The process that serves is killed, and this is its standby.
    ///
    /// # Panics
    /// If somebody was killed, and nobody serves on yet.
    pub(crate) fn kill(&mut self, heir: Number) {
        let Self::Serving { active } = *self else { panic!("one death at a time, not in {self:?}") };
        *self = Self::Killed { active, active_ended: false, heir, heir_serves: false };
    }

    /// The standby says that it serves.
    pub(crate) fn serves_on(&mut self) {
        if let Self::Killed { active, active_ended, heir, .. } = *self {
            *self = if active_ended {
                Self::Serving { active: heir }
            } else {
                Self::Killed { active, active_ended, heir, heir_serves: true }
            };
        }
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, number: Number) -> Turn {
        match *self {
            Self::Serving { active } if active == number => {
                *self = Self::Over;
                Turn::Died
            }
            Self::Killed { active, heir, heir_serves, .. } if active == number => {
                *self = if heir_serves {
                    Self::Serving { active: heir }
                } else {
                    Self::Killed { active, active_ended: true, heir, heir_serves }
                };
                Turn::Nothing
            }
            Self::Killed { heir, .. } if heir == number => {
                *self = Self::Over;
                Turn::Died
            }
            _ => Turn::Nothing,
        }
    }
}

/// When the next kill is due, which was planned for then, where the last death was over at that instant.
pub(crate) fn due(planned: Instant, last_over: Option<Instant>) -> Instant {
    last_over.map_or(planned, |over| planned.max(over + REST))
}

/// Whose death this server would survive with all its connections, as it says itself: its standby is armed, and knows as many as
/// there are.
pub(crate) fn heir(standing: &Standing, connections: usize) -> Option<u32> {
    let standby = standing.standby.as_ref()?;
    let is_armed = standby.armed_since_unix_ms.is_some() && standby.peers == connections as u64;
    is_armed.then_some(standby.pid)
}

#[cfg(test)]
mod tests {
    use super::super::super::summary::Standby;
    use super::*;

    fn killed() -> Vigil {
        let mut vigil = Vigil::Serving { active: 0 };
        vigil.kill(3);
        vigil
    }

    #[test]
    fn whoever_serves_on_is_the_next_whichever_is_heard_first() {
        let (mut ends_first, mut serves_first) = (killed(), killed());
        assert_eq!((ends_first.owner(), ends_first.ended(0)), (Some(3), Turn::Nothing));
        ends_first.serves_on();
        serves_first.serves_on();
        assert_eq!(serves_first.ended(0), Turn::Nothing);
        for vigil in [ends_first, serves_first] {
            assert_eq!(vigil, Vigil::Serving { active: 3 });
        }
    }

    #[test]
    fn whoever_serves_or_is_to_and_ends_without_being_killed_has_died() {
        let mut serving = Vigil::Serving { active: 0 };
        assert_eq!((serving.ended(7), serving.ended(0)), (Turn::Nothing, Turn::Died));
        let mut heir = killed();
        assert_eq!(heir.ended(3), Turn::Died);
        let mut survivor = killed();
        survivor.ended(0);
        survivor.serves_on();
        assert_eq!(survivor.ended(3), Turn::Died);
        for vigil in [serving, heir, survivor] {
            assert_eq!((vigil, vigil.owner()), (Vigil::Over, None));
        }
    }

    #[test]
    fn a_kill_is_as_planned_unless_the_last_death_has_only_just_been_overcome() {
        let planned = Instant::now();
        assert_eq!(due(planned, None), planned);
        assert_eq!(due(planned + REST, Some(planned)), planned + REST);
        assert_eq!(due(planned, Some(planned)), planned + REST);
    }

    #[test]
    fn nobody_is_killed_whose_standby_is_not_armed_or_does_not_know_everybody() {
        let standing = |standby| Standing { pid: 7, takeover: None, failure: None, standby, deaths_survived: 0 };
        let armed = Standby { pid: 8, armed_since_unix_ms: Some(1), peers: 200 };
        assert_eq!(heir(&standing(Some(armed)), 200), Some(8));
        assert_eq!(heir(&standing(Some(armed)), 201), None);
        assert_eq!(heir(&standing(Some(Standby { armed_since_unix_ms: None, ..armed })), 200), None);
        assert_eq!(heir(&standing(None), 200), None);
    }
}
