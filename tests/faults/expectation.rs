//! What is to come of each fault at each step. This is the only place that says so.

use std::fmt;

use crate::plan::{Fault, Planned, Point, PredecessorStep as P, SuccessorStep as S};

/// Who owns the peers in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Predecessor,
    Successor,
    /// Whoever owned them was killed.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Predecessor => "predecessor",
            Self::Successor => "successor",
            Self::Nobody => "nobody",
        })
    }
}

/// Who is quicker, where that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Race {
    /// It does not matter.
    None,
    /// Accept is in the channel before the predecessor looks for it.
    SuccessorFirst,
    /// The predecessor has done what it does before Accept is sent.
    PredecessorFirst,
}

/// A step at which something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    pub(crate) point: Point,
    pub(crate) race: Race,
}

/// What loses a race. A successor has long sent Accept by then, and no freeze lasts so short.
const LATE: &str = "delay=250";

/// While the successor waits so long to end a round, its peers change, come and go.
const MEANWHILE: &str = "delay=250";

impl Situation {
    pub(crate) fn all() -> Vec<Self> {
        let races = |point| match point {
            Point::Predecessor(P::Committed) | Point::Successor(S::Accept) => {
                vec![Race::PredecessorFirst, Race::SuccessorFirst]
            }
            _ => vec![Race::None],
        };
        Point::all().flat_map(|point| races(point).into_iter().map(move |race| Self { point, race })).collect()
    }

    /// Everything that has to be planned for `fault` to come about in this situation.
    pub(crate) fn plan(self, fault: Fault) -> Vec<Planned> {
        let wanted = Planned { point: self.point, pass: 1, fault };
        let other = |text: String| text.parse::<Planned>().expect("it is written here");
        match (self.point, self.race) {
            (_, Race::SuccessorFirst) => vec![other(format!("predecessor:committed:{LATE}")), wanted],
            (_, Race::PredecessorFirst) => vec![wanted, other(format!("successor:accept:{LATE}"))],
            (Point::Predecessor(P::Thaw), _) => vec![other("successor:ready:close".into()), wanted],
            (Point::Successor(S::Change | S::Discard), _) => {
                vec![other(format!("successor:round:{MEANWHILE}")), wanted]
            }
            _ => vec![wanted],
        }
    }

    /// Whether this can happen there: some steps say nothing and cannot fail, save with their process.
    pub(crate) fn can(self, fault: Fault) -> bool {
        let mute =
            matches!(self.point, Point::Predecessor(P::Disband | P::Thaw) | Point::Successor(S::Poll | S::Served));
        !mute || matches!(fault, Fault::Kill | Fault::Stop)
    }

    /// Who is to own the peers after `fault`.
    pub(crate) fn owner_after(self, fault: Fault) -> Owner {
        use Race::{PredecessorFirst, SuccessorFirst};
        match (self.point, self.race, fault) {
            // It has killed itself, and with it whatever it owned.
            (Point::Predecessor(P::Retire | P::Disband), _, Fault::Kill) => Owner::Successor,
            (Point::Predecessor(P::Committed), SuccessorFirst, Fault::Kill) => Owner::Successor,
            (Point::Predecessor(_), _, Fault::Kill) => Owner::Nobody,
            (Point::Successor(S::Poll | S::Serving | S::Served), _, Fault::Kill) => Owner::Nobody,
            (Point::Successor(_), _, Fault::Kill) => Owner::Predecessor,

            // The successor owns the peers already.
            (Point::Predecessor(P::Retire | P::Disband), ..) => Owner::Successor,
            (Point::Successor(S::Poll | S::Serving | S::Served), ..) => Owner::Successor,

            // Commit is in the channel, and Accept may be.
            (Point::Predecessor(P::Committed), SuccessorFirst, _) => Owner::Successor,
            // It is still open, so that Accept gets through.
            (Point::Predecessor(P::Committed), _, Fault::Stop | Fault::WrongStep) => Owner::Successor,
            // Accept follows, and is found.
            (Point::Successor(S::Accept), SuccessorFirst, Fault::WrongStep) => Owner::Successor,
            (Point::Predecessor(P::Committed) | Point::Successor(S::Accept), PredecessorFirst | SuccessorFirst, _) => {
                Owner::Predecessor
            }

            _ => Owner::Predecessor,
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.race {
            Race::None => self.point.fmt(f),
            Race::SuccessorFirst => write!(f, "{} (the successor is first)", self.point),
            Race::PredecessorFirst => write!(f, "{} (the predecessor is first)", self.point),
        }
    }
}

/// How a process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It serves.
    Serves,
    Exits(i32),
    Killed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves => f.write_str("serves"),
            Self::Exits(code) => write!(f, "exits {code}"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

/// How both processes are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) predecessor: End,
    pub(crate) successor: End,
}

impl Ends {
    /// As the manual says: a predecessor that has handed over exits with 0, a successor that has not taken over with 3.
    pub(crate) fn after(situation: Situation, fault: Fault) -> Self {
        let killed = (fault == Fault::Kill).then_some(situation.point);
        let predecessor = match situation.owner_after(fault) {
            _ if matches!(killed, Some(Point::Predecessor(_))) => End::Killed,
            Owner::Predecessor => End::Serves,
            Owner::Successor | Owner::Nobody => End::Exits(0),
        };
        let successor = match situation.owner_after(fault) {
            _ if matches!(killed, Some(Point::Successor(_))) => End::Killed,
            Owner::Successor => End::Serves,
            Owner::Predecessor | Owner::Nobody => End::Exits(3),
        };
        Self { predecessor, successor }
    }
}
