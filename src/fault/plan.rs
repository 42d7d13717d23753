//! The names of all steps, and the language in which the environment says what fails:
//! `REACTORD_FAULTS=predecessor:freeze:stop,successor:copied#2:delay=30` stops this process when, as a predecessor, it
//! freezes, and has it wait for 30 ms when, as a successor, it answers for the second time.
//!
//! Pure, and read by `tests/faults/` as well, so that both speak the same language.

/// Steps, each with its name.
macro_rules! steps {
    ($(#[$about:meta])* $steps:ident { $($(#[$what:meta])* $step:ident $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $steps {
            $($(#[$what])* $step,)*
        }

        #[cfg(feature = "fault-points")]
        impl $steps {
            /// All of them, in the order in which they come.
            pub(crate) const ALL: &[Self] = &[$(Self::$step),*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// A step of the predecessor: what it is about to do.
    PredecessorStep {
        /// Hear a caller that wants to take over or to follow.
        Hello "hello",
        /// Welcome it.
        Welcome "welcome",
        /// Send the listeners.
        Listeners "listeners",
        /// Send peers that have come, changed, or gone.
        Batch "batch",
        /// Send a part of the entries that all peers share.
        Entries "entries",
        /// End a round.
        Round "round",
        /// End the last round.
        LastRound "last-round",
        /// Go on, having heard what the successor has copied.
        Copied "copied",
        /// Send what is pending, having frozen.
        Freeze "freeze",
        /// Send the shared state and Commit.
        Commit "commit",
        /// Wait for Accept.
        Committed "committed",
        /// Wait to hear how long the pause was: the successor owns the peers.
        Retire "retire",
        /// Close what the successor owns.
        Disband "disband",
        /// Serve on, as the takeover has failed.
        Thaw "thaw",
    }
}

steps! {
    /// A step of the successor: what it is about to do.
    SuccessorStep {
        /// Say Hello.
        Hello "hello",
        /// Wait for what is copied, having been welcomed.
        Welcome "welcome",
        /// Take the listeners.
        Listeners "listeners",
        /// Adopt peers.
        Adopt "adopt",
        /// Change peers that it has adopted.
        Change "change",
        /// Let go of peers that have gone.
        Discard "discard",
        /// Apply a piece of the entries that all peers share.
        Enter "enter",
        /// Say what it has copied.
        Copied "copied",
        /// End a round.
        Round "round",
        /// Get ready, and say so.
        Ready "ready",
        /// Send Accept, having verified what it has.
        Accept "accept",
        /// Poll for the first time: it owns the peers.
        Poll "poll",
        /// Say how long the pause was.
        Serving "serving",
        /// Be a server like any other.
        Served "served",
    }
}

steps! {
    /// A step of a server that starts its successor itself: what it is about to do.
    UpgradeStep {
        /// Start the successor, as somebody has asked.
        Start "start",
        /// Go on, having heard that the successor's process runs.
        Started "started",
        /// Kill the successor, which has had its time.
        GiveUp "give-up",
        /// Tell whoever asked that the successor owns the peers.
        Answer "answer",
    }
}

steps! {
    /// A step on either side of a standby: what the active or the standby is about to do.
    StandbyStep {
        /// The active: write down what has happened.
        Commit "commit",
        /// The active: have it be so.
        Committing "committing",
        /// The active: write to peers what had to wait for that.
        Committed "committed",
        /// The active: go on.
        LetOut "let-out",
        /// The active: read from a peer, where the memory that both share says that it does.
        Read "read",
        /// The active: say there how much that was.
        HaveRead "have-read",
        /// The active: have that handled.
        Handle "handle",
        /// The active: note that something was written.
        HaveWritten "have-written",
        /// The active: write to one of two that are joined what the other has said, which is still there.
        Convey "convey",
        /// The active: take it off there.
        TakeOff "take-off",
        /// The active: say that it has.
        HaveConveyed "have-conveyed",
        /// The active: take those from its supervisor whose descriptors are on their way.
        Offered "offered",
        /// The active: let somebody in whom it has just taken.
        Took "took",
        /// The active: write down who has come, whose descriptors are on their way.
        Came "came",
        /// The active: forget a peer whose connection has ended.
        Retire "retire",
        /// The active: say what it all comes to.
        Mark "mark",
        /// The active: send that.
        Marked "marked",
        /// A server whose active has died: handle what that may have died of.
        TryAgain "try-again",
        /// The standby: apply what came up to a mark.
        Apply "apply",
        /// The standby: make sure that the active is dead, having noticed that something is wrong.
        Noticed "noticed",
        /// The standby: judge each peer.
        Judge "judge",
        /// The standby: serve on.
        Claim "claim",
    }
}

#[cfg(feature = "fault-points")]
pub(crate) use armed::{Fault, Planned, Point, VARIABLE};

#[cfg(feature = "fault-points")]
mod armed {
    use std::fmt;
    use std::str::FromStr;
    use std::time::Duration;

    use super::{PredecessorStep, StandbyStep, SuccessorStep, UpgradeStep};

    /// The environment variable that holds the plan.
    pub(crate) const VARIABLE: &str = "REACTORD_FAULTS";

    /// A step of either side.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Point {
        Predecessor(PredecessorStep),
        Successor(SuccessorStep),
        /// Of a server besides those that any predecessor has.
        Upgrade(UpgradeStep),
        /// Of a standby and its active.
        Standby(StandbyStep),
    }

    impl Point {
        /// Those of an upgrade that no other takeover has.
        pub(crate) fn of_upgrades() -> impl Iterator<Item = Self> {
            UpgradeStep::ALL.iter().copied().map(Self::Upgrade)
        }

        /// Those of a standby and its active.
        pub(crate) fn of_standbys() -> impl Iterator<Item = Self> {
            StandbyStep::ALL.iter().copied().map(Self::Standby)
        }

        /// Those of any takeover.
        pub(crate) fn all() -> impl Iterator<Item = Self> {
            let predecessor = PredecessorStep::ALL.iter().copied().map(Self::Predecessor);
            predecessor.chain(SuccessorStep::ALL.iter().copied().map(Self::Successor))
        }
    }

    impl From<PredecessorStep> for Point {
        fn from(step: PredecessorStep) -> Self {
            Self::Predecessor(step)
        }
    }

    impl From<SuccessorStep> for Point {
        fn from(step: SuccessorStep) -> Self {
            Self::Successor(step)
        }
    }

    impl From<UpgradeStep> for Point {
        fn from(step: UpgradeStep) -> Self {
            Self::Upgrade(step)
        }
    }

    impl From<StandbyStep> for Point {
        fn from(step: StandbyStep) -> Self {
            Self::Standby(step)
        }
    }

    impl fmt::Display for Point {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Predecessor(step) => write!(f, "predecessor:{}", step.name()),
                Self::Successor(step) => write!(f, "successor:{}", step.name()),
                Self::Upgrade(step) => write!(f, "upgrade:{}", step.name()),
                Self::Standby(step) => write!(f, "standby:{}", step.name()),
            }
        }
    }

    /// A way to fail.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Fault {
        /// The process kills itself.
        Kill,
        /// The process stops itself, until somebody continues it.
        Stop,
        /// The step returns an I/O error.
        Error,
        /// The process sends a part of a frame, and closes the channel.
        Truncate,
        /// The process sends what is no frame, and closes the channel.
        Garbage,
        /// The process sends a frame whose turn it is not, and goes on.
        WrongStep,
        /// The process closes the channel.
        Close,
        /// The process does nothing for a while.
        Delay(Duration),
        /// The process panics, as a service may that it calls.
        Panic,
    }

    impl Fault {
        /// Those of the matrix.
        pub(crate) const ALL: [Self; 7] =
            [Self::Kill, Self::Stop, Self::Error, Self::Truncate, Self::Garbage, Self::WrongStep, Self::Close];
    }

    impl fmt::Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Kill => "kill",
                Self::Stop => "stop",
                Self::Error => "error",
                Self::Truncate => "truncate",
                Self::Garbage => "garbage",
                Self::WrongStep => "wrong-step",
                Self::Close => "close",
                Self::Panic => "panic",
                Self::Delay(delay) => return write!(f, "delay={}", delay.as_millis()),
            })
        }
    }

    impl FromStr for Fault {
        type Err = String;

        fn from_str(name: &str) -> Result<Self, String> {
            if let Some(delay_ms) = name.strip_prefix("delay=").and_then(|delay_ms| delay_ms.parse().ok()) {
                return Ok(Self::Delay(Duration::from_millis(delay_ms)));
            }
            Self::ALL
                .into_iter()
                .chain([Self::Panic])
                .find(|fault| fault.to_string() == name)
                .ok_or(format!("{name} is no fault"))
        }
    }

    /// What is to happen when a point is passed for the n-th time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Planned {
        pub(crate) point: Point,
        pub(crate) pass: u32,
        pub(crate) fault: Fault,
    }

    impl fmt::Display for Planned {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self { point, pass, fault } = self;
            if *pass == 1 { write!(f, "{point}:{fault}") } else { write!(f, "{point}#{pass}:{fault}") }
        }
    }

    impl FromStr for Planned {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (point, fault) = text.rsplit_once(':').ok_or(format!("{text} names no fault"))?;
            let (point, pass) = point.split_once('#').unwrap_or((point, "1"));
            Ok(Self {
                point: Point::all()
                    .chain(Point::of_upgrades())
                    .chain(Point::of_standbys())
                    .find(|known| known.to_string() == point)
                    .ok_or(format!("{point} is no step"))?,
                pass: pass.parse().map_err(|_| format!("{pass} is no number of a pass"))?,
                fault: fault.parse()?,
            })
        }
    }
}
