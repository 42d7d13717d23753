//! What the operator wants to know of the fleet: one line of the log for each thing that happens.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::exit::Exit;

/// One of these things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Ready { pid: u32, generation: u64 },
    Died { pid: u32, generation: u64, exit: Exit, delay: Duration },
    Retired { pid: u32, generation: u64 },
    Survived { pid: u32, generation: u64, exit: Exit, standby: u32 },
    NoStandby { pid: u32, standby: u32 },
    Late { pid: u32, generation: u64, ready_timeout: Duration },
    Unseen { pid: u32, generation: u64, ready_timeout: Duration },
    Left { pid: u32, generation: u64, exit: Exit, given: u64 },
    HandedOver { pid: u32 },
    Begins { generation: u64, workers: usize },
    BeginsAgain { generation: u64 },
    Serves { generation: u64, workers: usize, leaving: usize },
    ServesInPart { generation: u64, workers: usize, unreplaced: usize },
    GivenUp { generation: u64, reason: String, current: u64 },
    NotReplaced { pid: u32, reason: String },
    TookOverAfterAll { pid: u32 },
    RunsAgain { pid: u32 },
    Added { workers: usize },
    Removed { pid: Option<u32>, workers: usize },
    LastOne,
    Overdue { pid: u32, signal: Signal },
    Moved { from: u32, to: u32, count: u64, expected: Option<u64>, time: Duration },
    Unanswered { pid: u32, patience: Duration },
    Hangs { pid: u32, patience: Duration },
    AskedToGive { pid: u32, count: u32 },
    BeginsLater { generation: u64 },
}

impl Report {
    /// Whether something is wrong.
    pub(crate) fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Died { .. }
                | Self::Survived { .. }
                | Self::Late { .. }
                | Self::ServesInPart { .. }
                | Self::Unseen { .. }
                | Self::GivenUp { .. }
                | Self::NotReplaced { .. }
                | Self::Overdue { .. }
                | Self::Unanswered { .. }
                | Self::Hangs { .. }
        )
    }
}

impl Report {
    /// Whether a generation is asked for from now on.
    pub(crate) fn is_beginning(&self) -> bool {
        matches!(self, Self::Begins { .. } | Self::BeginsAgain { .. } | Self::BeginsLater { .. })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { pid, generation } => write!(f, "Worker pid {pid} of generation {generation} is ready"),
            Self::Died { pid, generation, exit, delay } => {
                if *pid == 0 {
                    write!(f, "A worker of generation {generation} {exit}")?;
                } else {
                    write!(f, "Worker pid {pid} of generation {generation} {exit}")?;
                }
                match delay.as_millis() {
                    0 => write!(f, "; it is replaced at once"),
                    delay_ms => write!(f, "; it is replaced in {delay_ms} ms"),
                }
            }
            Self::Retired { pid, generation } => {
                write!(f, "Worker pid {pid} of generation {generation} exited with code 0 and is replaced at once")
            }
            Self::Survived { pid, generation, exit, standby } => {
                write!(f, "Worker pid {pid} of generation {generation} {exit}; its standby, pid {standby}, serves on")
            }
            Self::NoStandby { pid, standby } => {
                write!(f, "Pid {standby} is no standby of worker pid {pid}: it is in another process group")
            }
            Self::Late { pid, generation, ready_timeout } => write!(
                f,
                "Worker pid {pid} of generation {generation} is not ready after {} ms, and is stopped",
                ready_timeout.as_millis()
            ),
            Self::Unseen { pid, generation, ready_timeout } => write!(
                f,
                "Worker pid {pid} of generation {generation} has not said READY=1 and is not seen to accept after {} ms; it \
                 counts as ready, since nobody else serves in its place (--ready)",
                ready_timeout.as_millis()
            ),
            Self::Left { pid, generation, exit, given } => {
                write!(f, "Worker pid {pid} of generation {generation} {exit}")?;
                if *given > 0 { write!(f, "; it has given back {given} connections") } else { Ok(()) }
            }
            Self::HandedOver { pid } => write!(f, "Worker pid {pid} has handed over its connections"),
            Self::Begins { generation, workers } => write!(f, "Generation {generation} begins: {workers} workers"),
            Self::BeginsAgain { generation } => {
                write!(f, "Generation {generation} begins again: it was asked for again before it was ready")
            }
            Self::Serves { generation, workers, leaving } => {
                write!(f, "Generation {generation} serves: {workers} workers, {leaving} of earlier ones finish")
            }
            Self::ServesInPart { generation, workers, unreplaced } => write!(
                f,
                "Generation {generation} serves in part: {workers} workers, and {unreplaced} of earlier ones go on"
            ),
            Self::GivenUp { generation, reason, current } => {
                write!(f, "Generation {generation} is given up: {reason}; generation {current} goes on")
            }
            Self::NotReplaced { pid, reason } => write!(f, "Worker pid {pid} is not replaced and goes on: {reason}"),
            Self::TookOverAfterAll { pid } => {
                write!(f, "Worker pid {pid} had taken over already when it was given up, and serves")
            }
            Self::RunsAgain { pid } => {
                write!(
                    f,
                    "Worker pid {pid} was given up and runs again: the one before it is gone, and may have handed over"
                )
            }
            Self::Added { workers } => write!(f, "A worker is added: there are to be {workers}"),
            Self::Removed { pid: Some(pid), workers } => {
                write!(f, "Worker pid {pid} is removed and finishes: there are to be {workers}")
            }
            Self::Removed { pid: None, workers } => write!(f, "A worker is removed: there are to be {workers}"),
            Self::LastOne => write!(f, "The last worker is not removed"),
            Self::Overdue { pid, signal } => {
                write!(f, "Worker pid {pid} has not finished in time and is sent {signal}")
            }
            Self::Moved { from, to, count, expected, time } => {
                write!(
                    f,
                    "Worker pid {from} has moved {count} connections to worker pid {to} in {} ms",
                    time.as_millis()
                )?;
                match expected {
                    Some(expected) if expected > count => write!(f, "; {expected} were expected"),
                    _ => Ok(()),
                }
            }
            Self::Unanswered { pid, patience } => write!(
                f,
                "Worker pid {pid} has not answered after {} ms; its connections stay where they are",
                patience.as_millis()
            ),
            Self::Hangs { pid, patience } => write!(
                f,
                "Worker pid {pid} has not answered after {} ms, so that it hands over nothing; another one takes its place, and it \
                 is to finish when that serves",
                patience.as_millis()
            ),
            Self::AskedToGive { pid, count } => {
                write!(f, "Worker pid {pid} is asked to give back {count} connections: another has too few")
            }
            Self::BeginsLater { generation } => {
                write!(f, "Generation {generation} begins when no connections are being moved any more")
            }
        }
    }
}
