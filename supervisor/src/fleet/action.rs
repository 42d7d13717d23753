//! What a fleet has decided that is to be done.

use std::num::NonZeroU32;

use nix::sys::signal::Signal;
use reactord_process::words::Fraction;

use super::report::Report;
use super::succession::Reload;
use super::worker::WorkerId;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process, and tell [`Fleet::launched`](super::Fleet::launched) its pid or
    /// [`Fleet::exited`](super::Fleet::exited).
    Start { worker: WorkerId, predecessor: Option<WorkerId> },
    /// Tell a worker to finish, by a word or by a signal.
    Finish { worker: WorkerId },
    /// Ask a worker how many connections it has.
    Count { worker: WorkerId },
    /// Ask a worker to give so many connections back.
    Give { worker: WorkerId, count: NonZeroU32 },
    /// Tell a worker to move so many of its connections to another.
    Move { worker: WorkerId, to: WorkerId, share: Fraction },
    /// Send a signal to a worker and to what it has started, if its process runs.
    Signal { worker: WorkerId, signal: Signal },
    /// Say something that the operator wants to know.
    Report(Report),
    /// Tell whoever has asked for a new generation what has come of it.
    Answer(Reload),
}
