//! Fault points: each step of a takeover, on either side, passes through here under its name.
//!
//! In a build without the cargo feature `fault-points` that is nothing at all. With the feature, which no release build
//! can have, the environment says at which steps this process is to fail, and how: see [`plan`]. `tests/faults/` lets
//! both sides fail at every step in every way.

#[cfg(feature = "fault-points")]
mod armed;
mod plan;

#[cfg(feature = "fault-points")]
pub(crate) use armed::{at, here};
pub(crate) use plan::{PredecessorStep, StandbyStep, SuccessorStep, UpgradeStep};
#[cfg(not(feature = "fault-points"))]
pub(crate) use unarmed::{at, here};

#[cfg(all(feature = "fault-points", not(debug_assertions)))]
compile_error!("fault points are for tests, and no release build has them");

#[cfg(not(feature = "fault-points"))]
mod unarmed {
    use reactord_process::channel::{Channel, ChannelError};

    /// A step that may say something on the channel, and may fail.
    #[inline(always)]
    pub(crate) fn at<S>(_: S, _: &mut Channel) -> Result<(), ChannelError> {
        Ok(())
    }

    /// A step that says nothing and cannot fail, save with its process.
    #[inline(always)]
    pub(crate) fn here<S>(_: S) {}
}
