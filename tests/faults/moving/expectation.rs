//! What is to come of each fault at each step of a move. This is the only place that says so.

use std::fmt;

use crate::expectation::Race;
use crate::plan::{Fault, Planned, Point, PredecessorStep as G, SuccessorStep as T};

/// How the taker has come to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It has called the giver, and gets a peer that is stolen.
    Waits,
    /// The giver calls it, because somebody has asked for a move, and gives all that it has.
    Serves,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits => "the taker waits",
            Self::Serves => "the taker serves",
        })
    }
}

/// Who owns the peers of the batch in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Giver,
    Taker,
    /// Whoever owned them was killed.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Giver => "giver",
            Self::Taker => "taker",
            Self::Nobody => "nobody",
        })
    }
}

/// A step at which something fails. A giver takes the steps of a predecessor, a taker those of a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    pub(crate) role: Role,
    pub(crate) point: Point,
    pub(crate) race: Race,
}

/// The steps of a giver that are also steps of a move.
const GIVING: [G; 10] =
    [G::Welcome, G::Batch, G::Round, G::LastRound, G::Copied, G::Freeze, G::Commit, G::Committed, G::Disband, G::Thaw];

/// The same of a taker.
const TAKING: [T; 10] =
    [T::Hello, T::Welcome, T::Adopt, T::Copied, T::Change, T::Discard, T::Round, T::Ready, T::Accept, T::Serving];

/// What loses a race, and what gives peers the time to change and go.
const LATE: &str = "delay=250";

impl Situation {
    pub(crate) fn all() -> Vec<Self> {
        let points: Vec<Point> = GIVING.map(Point::from).into_iter().chain(TAKING.map(Point::from)).collect();
        let situation = |role: Role| {
            let of_role = points.iter().filter(move |point| role.passes(**point));
            of_role
                .flat_map(move |point| races(*point).iter().map(move |race| Self { role, point: *point, race: *race }))
        };
        [Role::Waits, Role::Serves].into_iter().flat_map(situation).collect()
    }

    /// Everything that has to be planned for `fault` to come about in this situation.
    pub(crate) fn plan(self, fault: Fault) -> Vec<Planned> {
        let wanted = Planned { point: self.point, pass: 1, fault };
        let other = |text: String| text.parse::<Planned>().expect("it is written here");
        match (self.point, self.race) {
            (_, Race::SuccessorFirst) => vec![other(format!("predecessor:committed:{LATE}")), wanted],
            (_, Race::PredecessorFirst) => vec![wanted, other(format!("successor:accept:{LATE}"))],
            (Point::Predecessor(G::Thaw), _) => vec![other("successor:ready:close".into()), wanted],
            (Point::Successor(T::Change | T::Discard), _) => vec![other(format!("successor:round:{LATE}")), wanted],
            // Some have changed and some have left between the last round and the freeze.
            (Point::Successor(T::Serving), _) => vec![other(format!("successor:ready:{LATE}")), wanted],
            _ => vec![wanted],
        }
    }

    /// Whether this can happen there: some steps say nothing and cannot fail, save with their process.
    pub(crate) fn can(self, fault: Fault) -> bool {
        let mute = matches!(self.point, Point::Predecessor(G::Disband | G::Thaw));
        !mute || matches!(fault, Fault::Kill | Fault::Stop)
    }

    /// Whether the other side does not mind how long this one is stopped.
    pub(crate) fn can_wait(self) -> bool {
        matches!(self.point, Point::Predecessor(G::Welcome))
    }

    /// Whether the taker has failed before the giver knew of it, and calls once more.
    pub(crate) fn calls_again_after(self, fault: Fault) -> bool {
        let failed_as_it_called = self.role == Role::Waits && matches!(self.point, Point::Successor(T::Hello));
        failed_as_it_called && !matches!(fault, Fault::Kill | Fault::Stop)
    }

    /// Whether it is a step of the giver.
    pub(crate) fn is_givers(self) -> bool {
        matches!(self.point, Point::Predecessor(_))
    }

    /// Who is to own the peers of the batch after `fault`.
    pub(crate) fn owner_after(self, fault: Fault) -> Owner {
        use Race::{PredecessorFirst, SuccessorFirst};
        match (self.point, self.race, fault) {
            (Point::Upgrade(_) | Point::Standby(_), ..) => unreachable!("the matrix of moves has no steps of others"),
            (Point::Predecessor(G::Disband), ..) => Owner::Taker,
            (Point::Successor(T::Hello), ..) if self.calls_again_after(fault) => Owner::Taker,
            // The taker does not know of it, and waits as long as it takes.
            (Point::Predecessor(G::Welcome), _, Fault::Stop) => Owner::Taker,
            (Point::Predecessor(G::Committed), SuccessorFirst, _) => Owner::Taker,
            (Point::Predecessor(_), _, Fault::Kill) => Owner::Nobody,
            (Point::Successor(T::Serving), _, Fault::Kill) => Owner::Nobody,
            (Point::Successor(T::Serving), ..) => Owner::Taker,
            // Commit is in the channel, which is still open, so that Accept gets through.
            (Point::Predecessor(G::Committed), _, Fault::Stop | Fault::WrongStep) => Owner::Taker,
            // Accept follows, and is found.
            (Point::Successor(T::Accept), SuccessorFirst, Fault::WrongStep) => Owner::Taker,
            (Point::Predecessor(_) | Point::Successor(_), PredecessorFirst | SuccessorFirst | Race::None, _) => {
                Owner::Giver
            }
        }
    }
}

impl Role {
    /// Whether a move with such a taker passes this step. A peer that is stolen is not read from, so that it does not change
    /// while it is copied, and where it goes is not noticed before it has moved.
    fn passes(self, point: Point) -> bool {
        self == Self::Serves || !matches!(point, Point::Successor(T::Change | T::Discard))
    }
}

fn races(point: Point) -> &'static [Race] {
    match point {
        Point::Predecessor(G::Committed) | Point::Successor(T::Accept) => {
            &[Race::PredecessorFirst, Race::SuccessorFirst]
        }
        _ => &[Race::None],
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, point, race } = self;
        match point {
            Point::Predecessor(step) => write!(f, "giver:{} ({role}", step.name())?,
            Point::Successor(step) => write!(f, "taker:{} ({role}", step.name())?,
            Point::Upgrade(_) | Point::Standby(_) => unreachable!("{point} is no step of a move"),
        }
        f.write_str(match race {
            Race::None => ")",
            Race::PredecessorFirst => ", the giver is first)",
            Race::SuccessorFirst => ", the taker is first)",
        })
    }
}
