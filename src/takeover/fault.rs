//! [Fault points](crate::fault) at which a process may also say something wrong on the channel, or find that it has failed.

#[cfg(feature = "fault-points")]
mod armed;

#[cfg(feature = "fault-points")]
pub(crate) use armed::{at, at_while_sheltered};
#[cfg(not(feature = "fault-points"))]
pub(crate) use unarmed::{at, at_while_sheltered};

pub(crate) use crate::fault::{PredecessorStep, StandbyStep, SuccessorStep, UpgradeStep, here, shelter};

#[cfg(not(feature = "fault-points"))]
mod unarmed {
    use reactord_process::channel::{Channel, ChannelError};

    /// A step that may say something on the channel, and may fail.
    #[inline(always)]
    pub(crate) fn at<S>(_: S, _: &mut Channel) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The same of a step that counts only while a standby is armed.
    #[inline(always)]
    pub(crate) fn at_while_sheltered<S>(_: S, _: &mut Channel) -> Result<(), ChannelError> {
        Ok(())
    }
}
