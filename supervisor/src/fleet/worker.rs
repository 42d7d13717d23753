//! One worker of the fleet: who it is, where it is in its life, and what may become of it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reactord_process::words::VERSION_WITHOUT_STATES;

use super::guard::Guard;
use super::record::{StandingRecord, WorkerRecord, instant_at, milliseconds_to};
use crate::config::Supply;

/// How long a worker that was sent SIGTERM has before it is sent SIGKILL.
pub(crate) const KILL_DELAY: Duration = Duration::from_secs(5);

/// How long a worker does not run that was given up during a takeover. By then a predecessor has exited that has handed over.
pub(crate) const HELD_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that exits with code 0 after it has served so long does so on purpose.
const SERVED_MIN: Duration = Duration::from_secs(1);

/// A worker, as long as its supervisor lives. An id is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not said yet that it is ready, and has until then.
    Starting { deadline: Instant },
    /// It is ready, and waits for the others of its generation.
    Ready,
    /// Connections go to it.
    Serving { since: Instant },
    /// It was given up, and does not run, so that it takes over nothing any more. It is killed then, unless it turns out
    /// that it had taken over a moment before.
    Held { until: Instant },
    /// It takes no more, and is sent this signal then. It may say only now that it is ready.
    Leaving { said_ready: bool, signal: Option<(Instant, Signal)> },
}

/// Whether a worker's generation serves, or is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crew {
    Current,
    Coming,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// 0 until its process runs. Where that has died and a standby serves on, the standby's.
    pub(crate) pid: u32,
    /// Whose group all its processes are in: the first one's pid.
    pub(crate) group: u32,
    /// Which process serves on if this one dies.
    pub(crate) guard: Guard,
    pub(crate) generation: u64,
    pub(crate) crew: Crew,
    pub(crate) standing: Standing,
    pub(crate) started: Instant,
    /// Whom it takes over from, until it is ready.
    pub(crate) predecessor: Option<WorkerId>,
    /// Of the queue, when it has said which it speaks.
    pub(crate) version: Option<u32>,
    /// Whether it has taken a connection from the queue.
    pub(crate) has_taken: bool,
    /// What it was asked and has not answered, also when that is not waited for any more.
    pub(crate) owes: Owes,
}

/// How many answers a worker owes, by what it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owes {
    pub(crate) holds: u32,
    pub(crate) moved: u32,
}

impl Worker {
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.standing, Standing::Leaving { .. } | Standing::Held { .. })
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.standing, Standing::Starting { .. })
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.standing, Standing::Serving { .. })
    }

    /// Whether the one before it is gone, so that it may have what that one had, and it has not said that it is ready: nobody
    /// can take over from it yet.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.crew == Crew::Current && self.is_starting() && self.predecessor.is_some()
    }

    pub(crate) fn said_ready(&self) -> bool {
        match self.standing {
            Standing::Starting { .. } | Standing::Held { .. } => false,
            Standing::Ready | Standing::Serving { .. } => true,
            Standing::Leaving { said_ready, .. } => said_ready,
        }
    }

    /// Whether it may give back what it takes.
    pub(crate) fn gives_back(&self) -> bool {
        self.version.is_some_and(|version| version > VERSION_WITHOUT_STATES)
    }

    /// Since when connections have gone to it, if they do.
    pub(crate) fn serving_since(&self) -> Option<Instant> {
        match self.standing {
            Standing::Serving { since } => Some(since),
            _ => None,
        }
    }

    /// Whether it has done what it is there for, so that its exit with code 0 is on purpose: many servers exit after so many
    /// requests.
    pub(crate) fn has_proven_itself(&self, now: Instant) -> bool {
        self.has_taken || self.serving_since().is_some_and(|since| now - since >= SERVED_MIN)
    }

    /// Whether its end may be the end of connections: one that takes over, or accepts itself, has them before it can
    /// say that it is ready.
    pub(crate) fn may_have_connections(&self, supply: Supply) -> bool {
        self.said_ready() || self.predecessor.is_some() || supply == Supply::Listeners
    }

    /// It takes no more, and is sent this signal then.
    pub(crate) fn leave(&mut self, signal: Option<(Instant, Signal)>) {
        self.standing = Standing::Leaving { said_ready: self.said_ready(), signal };
    }

    /// It is to finish by then.
    pub(crate) fn hurry(&mut self, by: Instant) {
        if let Standing::Held { until } = &mut self.standing {
            *until = by.min(*until);
        }
        if let Standing::Leaving { signal: Some((due, signal)), .. } = &mut self.standing {
            // One that is next sent SIGKILL has heard SIGTERM, perhaps a moment ago.
            let by = if *signal == Signal::SIGKILL { by + KILL_DELAY } else { by };
            *due = by.min(*due);
        }
    }

    pub(crate) fn record(&self, WorkerId(id): WorkerId, now: Instant) -> WorkerRecord {
        let from_now = |instant| milliseconds_to(instant, now);
        WorkerRecord {
            id,
            pid: self.pid,
            generation: self.generation,
            coming: self.crew == Crew::Coming,
            standing: match self.standing {
                Standing::Starting { deadline } => StandingRecord::Starting { deadline_ms: from_now(deadline) },
                Standing::Ready => StandingRecord::Ready,
                Standing::Serving { since } => StandingRecord::Serving { since_ms: from_now(since) },
                Standing::Held { until } => StandingRecord::Held { until_ms: from_now(until) },
                Standing::Leaving { said_ready, signal } => StandingRecord::Leaving {
                    said_ready,
                    due_ms: signal.map(|(due, _)| from_now(due)),
                    kill: matches!(signal, Some((_, Signal::SIGKILL))),
                },
            },
            started_ms: from_now(self.started),
            predecessor: self.predecessor.map(|id| id.0),
            version: self.version,
            owes: (self.owes.holds, self.owes.moved),
            has_taken: Some(self.has_taken),
            group: Some(self.group),
            standby: self.guard.standby(),
        }
    }

    pub(crate) fn from_record(record: &WorkerRecord, now: Instant) -> Self {
        let at = |milliseconds| instant_at(milliseconds, now);
        Self {
            pid: record.pid,
            group: record.group.unwrap_or(record.pid),
            guard: Guard::of(record.standby),
            generation: record.generation,
            crew: if record.coming { Crew::Coming } else { Crew::Current },
            standing: match record.standing {
                StandingRecord::Starting { deadline_ms } => Standing::Starting { deadline: at(deadline_ms) },
                StandingRecord::Ready => Standing::Ready,
                StandingRecord::Serving { since_ms } => Standing::Serving { since: at(since_ms) },
                StandingRecord::Held { until_ms } => Standing::Held { until: at(until_ms) },
                StandingRecord::Leaving { said_ready, due_ms, kill } => {
                    let signal = if kill { Signal::SIGKILL } else { Signal::SIGTERM };
                    Standing::Leaving { said_ready, signal: due_ms.map(|due_ms| (at(due_ms), signal)) }
                }
            },
            started: at(record.started_ms),
            predecessor: record.predecessor.map(WorkerId),
            version: record.version,
            has_taken: record.has_taken.unwrap_or(false),
            owes: Owes { holds: record.owes.0, moved: record.owes.1 },
        }
    }
}
