//! Fault points: each step of a takeover, on either side, and each at which a standby is left with something that is half done, passes
//! through here under its name.
//!
//! In a build without the cargo feature `fault-points` that is nothing at all. With the feature, which no release build
//! can have, the environment says at which steps this process is to fail, and how: see [`plan`]. `tests/faults/` lets
//! both sides fail at every step in every way.
//!
//! Those steps at which a process can say something wrong, too, are in [`takeover::fault`](crate::takeover::fault).

#[cfg(feature = "fault-points")]
mod armed;
mod plan;

#[cfg(feature = "fault-points")]
pub(crate) use armed::{due, here, here_while_sheltered, is_sheltered, shelter, suffer};
#[cfg(feature = "fault-points")]
pub(crate) use plan::{Fault, Point};
pub(crate) use plan::{PredecessorStep, StandbyStep, SuccessorStep, UpgradeStep};
#[cfg(not(feature = "fault-points"))]
pub(crate) use unarmed::{here, here_while_sheltered, shelter};

#[cfg(all(feature = "fault-points", not(debug_assertions)))]
compile_error!("fault points are for tests, and no release build has them");

#[cfg(not(feature = "fault-points"))]
mod unarmed {
    /// A step that says nothing and cannot fail, save with its process.
    #[inline(always)]
    pub(crate) fn here<S>(_: S) {}

    /// The same of a step that counts only while a standby is armed.
    #[inline(always)]
    pub(crate) fn here_while_sheltered<S>(_: S) {}

    /// A standby is armed from now on, or none is.
    #[inline(always)]
    pub(crate) fn shelter(_: bool) {}
}
