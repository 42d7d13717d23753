//! Everything that can happen.

use std::fmt;

use super::state::{ToSupervisor, ToWorker};
use crate::channel::Pid;

/// Everything that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Action {
    // What befalls somebody.
    Kill {
        pid: Pid,
    },
    /// A server follows its standby's silence, or its channel has broken: it goes on alone.
    GiveUp {
        pid: Pid,
    },
    /// The supervisor ends the queue for a reason of its own.
    EndQueue,
    /// The supervisor waits no longer for who serves on.
    Patience,
    // What a process of the worker does.
    StartStandby {
        pid: Pid,
        standby: Pid,
    },
    Arm {
        pid: Pid,
    },
    TellArmed {
        pid: Pid,
    },
    /// It finds that its standby is dead.
    LoseStandby {
        pid: Pid,
    },
    HearSupervisor {
        pid: Pid,
        said: ToWorker,
    },
    /// It finds that the queue has ended.
    HearEnd {
        pid: Pid,
    },
    Offer {
        pid: Pid,
    },
    Take {
        pid: Pid,
        connection: usize,
    },
    Commit {
        pid: Pid,
    },
    ServeOn {
        pid: Pid,
    },
    SayHas {
        pid: Pid,
        connection: usize,
    },
    SaySurvived {
        pid: Pid,
    },
    Leave {
        pid: Pid,
    },
    // What the supervisor does.
    Send {
        connection: usize,
    },
    GiveOthers {
        connection: usize,
    },
    HearWorker {
        said: ToSupervisor,
    },
    HearQueueEnd,
    /// It looks whether it is a process of the worker that serves on.
    Look,
    Reap {
        pid: Pid,
    },
}

impl Action {
    /// Whether it is done sooner or later if nothing befalls anybody.
    pub fn is_due(self) -> bool {
        !matches!(
            self,
            Self::Kill { .. }
                | Self::GiveUp { .. }
                | Self::EndQueue
                | Self::Patience
                | Self::StartStandby { .. }
                | Self::Send { .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { pid } => write!(f, "process {pid} is killed"),
            Self::GiveUp { pid } => write!(f, "process {pid} gives its standby up"),
            Self::EndQueue => write!(f, "the supervisor ends the queue"),
            Self::Patience => write!(f, "the supervisor waits no longer, and kills the standby"),
            Self::StartStandby { pid, standby } => write!(f, "process {pid} starts {standby}"),
            Self::Arm { pid } => write!(f, "process {pid} is armed"),
            Self::TellArmed { pid } => write!(f, "process {pid} says that its standby is armed"),
            Self::LoseStandby { pid } => write!(f, "process {pid} finds that its standby is gone"),
            Self::HearSupervisor { pid, said } => write!(f, "process {pid} receives {said:?}"),
            Self::HearEnd { pid } => write!(f, "process {pid} finds that the queue has ended"),
            Self::Offer { pid } => write!(f, "process {pid} tells its standby whom there is"),
            Self::Take { pid, connection } => write!(f, "process {pid} takes connection {connection}"),
            Self::Commit { pid } => write!(f, "process {pid} tells its standby of its peers"),
            Self::ServeOn { pid } => write!(f, "process {pid} serves on"),
            Self::SayHas { pid, connection } => write!(f, "process {pid} says that it has connection {connection}"),
            Self::SaySurvived { pid } => write!(f, "process {pid} says that it has survived"),
            Self::Leave { pid } => write!(f, "process {pid} leaves"),
            Self::Send { connection } => write!(f, "the supervisor sends connection {connection} to the worker"),
            Self::GiveOthers { connection } => write!(f, "the supervisor gives connection {connection} to others"),
            Self::HearWorker { said } => write!(f, "the supervisor hears {said:?}"),
            Self::HearQueueEnd => write!(f, "the supervisor hears the end of the queue"),
            Self::Look => write!(f, "the supervisor looks who serves on"),
            Self::Reap { pid } => write!(f, "the supervisor hears that process {pid} has ended"),
        }
    }
}
