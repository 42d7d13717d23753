//! How a supervisor stands, as one value: who asks on its path gets all of it, and a service manager a line.
//!
//! Pure: it sends nothing and reads no clock.

use std::fmt;
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};

use crate::fleet::{Fleet, Reload, Standing, Worker};

/// How often it is told at most. A queue that empties and fills may change with each connection.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How a supervisor stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct FleetStatus {
    /// Name and version of the program.
    #[n(0)]
    pub build: String,
    /// The supervisor's process id.
    #[n(1)]
    pub pid: u32,
    /// When it began: ms since 1970. Its binary may have been replaced since.
    #[n(2)]
    pub began_unix_ms: u64,
    /// Where clients connect to.
    #[n(3)]
    pub listeners: Vec<String>,
    /// The figures.
    #[n(4)]
    pub summary: Summary,
    /// All workers, in the order in which they were started.
    #[n(5)]
    pub workers: Vec<WorkerStatus>,
    /// What has come to nothing.
    #[n(6)]
    pub failures: Failures,
}

/// What has come to nothing last of what was asked of a supervisor, also where another attempt has succeeded since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Failures {
    /// The last generation that was given up, or has come in part.
    #[n(0)]
    pub reload: Option<FailedReload>,
    /// The last binary that was not executed.
    #[n(1)]
    pub upgrade: Option<FailedUpgrade>,
}

/// A generation that was given up, or has come in part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct FailedReload {
    /// When: ms since 1970.
    #[n(0)]
    pub at_unix_ms: u64,
    /// Which, and why.
    #[n(1)]
    pub failure: ReloadFailure,
}

/// A binary that was not executed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct FailedUpgrade {
    /// When: ms since 1970.
    #[n(0)]
    pub at_unix_ms: u64,
    /// Who has asked for it: a process, or a signal.
    #[n(1)]
    pub asker: String,
    /// Why it was not.
    #[n(2)]
    pub why: String,
}

/// A worker of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its process id; 0 if it has none yet.
    #[n(0)]
    pub pid: u32,
    /// Those that were started together have the same.
    #[n(1)]
    pub generation: u64,
    /// What it does.
    #[n(2)]
    pub does: Does,
    /// How long ago it was started: ms.
    #[n(3)]
    pub age_ms: u64,
    /// How many connections it has, or is about to get. `None` where workers accept themselves.
    #[n(4)]
    pub connections: Option<u64>,
    /// The process id of the one that serves on if its own dies, if there is one.
    #[n(5)]
    pub standby: Option<u32>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Does {
    /// It has not said yet that it is ready.
    #[n(0)]
    Starts,
    /// It is ready, and waits for the others of its generation.
    #[n(1)]
    Waits,
    /// Connections go to it.
    #[n(2)]
    Serves,
    /// It takes no more, and ends when it has none left.
    #[n(3)]
    Finishes,
    /// It was given up while it took over, and is kept from running until it is known that it will not.
    #[n(4)]
    IsGivenUp,
}

impl fmt::Display for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starts => "starts",
            Self::Waits => "waits",
            Self::Serves => "serves",
            Self::Finishes => "finishes",
            Self::IsGivenUp => "is given up",
        })
    }
}

impl WorkerStatus {
    pub(crate) fn of(worker: &Worker, connections: Option<u64>, now: Instant) -> Self {
        let age = now.saturating_duration_since(worker.started);
        Self {
            pid: worker.pid,
            generation: worker.generation,
            does: match worker.standing {
                Standing::Starting { .. } => Does::Starts,
                Standing::Ready => Does::Waits,
                Standing::Serving { .. } => Does::Serves,
                Standing::Held { .. } => Does::IsGivenUp,
                Standing::Leaving { .. } => Does::Finishes,
            },
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            connections,
            standby: worker.guard.standby(),
        }
    }
}

/// The figures of a supervisor, which are its line for people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Summary {
    /// The generation that serves.
    #[n(0)]
    pub generation: u64,
    /// The generation that is to take its place, if there is one.
    #[n(1)]
    pub coming: Option<u64>,
    /// Everybody is to finish.
    #[n(2)]
    pub is_stopping: bool,
    /// How many workers serve, of whichever generation.
    #[n(3)]
    pub serving: usize,
    /// How many of them are left from earlier generations, since their takeovers failed.
    #[n(4)]
    pub unreplaced: usize,
    /// How many workers there are to be.
    #[n(5)]
    pub target: usize,
    /// How many finish.
    #[n(6)]
    pub leaving: usize,
    /// The queue, where there is one.
    #[n(7)]
    pub queue: Option<QueueStatus>,
    /// The last generation that was asked for, and why not all of what serves is of it, if it is not.
    #[n(8)]
    pub failure: Option<ReloadFailure>,
}

/// The queue of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many connections wait that nobody has served yet.
    #[n(0)]
    pub waiting: usize,
    /// How many of them may.
    #[n(1)]
    pub waiting_max: usize,
    /// Whether further connections are left to the kernel.
    #[n(2)]
    pub is_full: bool,
    /// How many more wait that workers have given back.
    #[n(3)]
    pub returned: usize,
}

/// A generation that does not serve, or not alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct ReloadFailure {
    /// Which.
    #[n(0)]
    pub generation: u64,
    /// Why.
    #[n(1)]
    pub why: String,
}

impl ReloadFailure {
    /// What has failed of it, if anything has.
    pub(crate) fn of(reload: &Reload) -> Option<Self> {
        let why = reload.why_not.clone()?;
        Some(Self { generation: reload.generation, why })
    }
}

impl Summary {
    pub(crate) fn of(fleet: &Fleet, queue: Option<QueueStatus>) -> Self {
        Self {
            generation: fleet.current(),
            coming: fleet.coming(),
            is_stopping: fleet.is_stopping(),
            serving: fleet.serving(),
            unreplaced: fleet.unreplaced(),
            target: fleet.target(),
            leaving: fleet.leaving(),
            queue,
            failure: fleet.last_reload().and_then(ReloadFailure::of),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { is_stopping: true, .. } => f.write_str("Stopping")?,
            Self { generation, .. } => write!(f, "Generation {generation}")?,
        }
        write!(f, ": {} of {} workers serve", self.serving - self.unreplaced, self.target)?;
        if self.unreplaced > 0 {
            write!(f, ", {} of earlier generations go on", self.unreplaced)?;
        }
        if let Some(QueueStatus { waiting, waiting_max, is_full, returned }) = self.queue {
            write!(f, "; {waiting} of at most {waiting_max} connections wait")?;
            if is_full && !self.is_stopping {
                f.write_str(", further ones in the kernel")?;
            }
            if returned > 0 {
                write!(f, "; {returned} more were given back")?;
            }
        }
        if self.leaving > 0 {
            write!(f, "; {} workers finish", self.leaving)?;
        }
        match (self.coming, &self.failure) {
            (Some(coming), _) => write!(f, "; generation {coming} begins"),
            (None, Some(ReloadFailure { generation, why })) if !self.is_stopping => {
                write!(f, "; generation {generation} failed: {why}")
            }
            (None, _) => Ok(()),
        }
    }
}

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: Option<(Instant, Summary)>,
}

impl Telling {
    /// When this is to be told, unless it is known.
    pub(crate) fn due(&self, status: &Summary, now: Instant) -> Option<Instant> {
        match &self.told {
            None => Some(now),
            Some((_, told)) if told == status => None,
            Some((told_at, _)) => Some(*told_at + TOLD_EVERY),
        }
    }

    /// What is to be told now, if anything is. It counts as told, whatever becomes of it: who did not hear it hears the
    /// next change.
    pub(crate) fn tell(&mut self, status: Summary, now: Instant) -> Option<String> {
        let line = self.due(&status, now).filter(|due| *due <= now).map(|_| status.to_string())?;
        self.told = Some((now, status));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(waiting: usize) -> Summary {
        let queue = QueueStatus { waiting, waiting_max: 1000, is_full: waiting == 1000, returned: 0 };
        Summary {
            generation: 3,
            coming: None,
            is_stopping: false,
            serving: 4,
            unreplaced: 0,
            target: 4,
            leaving: 0,
            queue: Some(queue),
            failure: None,
        }
    }

    fn failure(generation: u64, why: &str) -> Option<ReloadFailure> {
        Some(ReloadFailure { generation, why: why.to_owned() })
    }

    #[test]
    fn a_line_has_the_figures_that_matter() {
        let all = Summary { serving: 3, leaving: 2, coming: Some(4), ..status(1000) };
        for (status, line) in [
            (status(17), "Generation 3: 4 of 4 workers serve; 17 of at most 1000 connections wait"),
            (
                all.clone(),
                "Generation 3: 3 of 4 workers serve; 1000 of at most 1000 connections wait, further ones in the kernel; \
                 2 workers finish; generation 4 begins",
            ),
            (
                Summary { is_stopping: true, coming: None, ..all },
                "Stopping: 3 of 4 workers serve; 1000 of at most 1000 connections wait; 2 workers finish",
            ),
            (Summary { queue: None, ..status(0) }, "Generation 3: 4 of 4 workers serve"),
            (
                Summary { queue: status(1).queue.map(|queue| QueueStatus { returned: 5, ..queue }), ..status(1) },
                "Generation 3: 4 of 4 workers serve; 1 of at most 1000 connections wait; 5 more were given back",
            ),
            (
                Summary { unreplaced: 1, failure: failure(3, "worker pid 7 exited"), queue: None, ..status(0) },
                "Generation 3: 3 of 4 workers serve, 1 of earlier generations go on; generation 3 failed: worker pid 7 exited",
            ),
            (
                Summary { failure: failure(4, "no room"), coming: Some(4), queue: None, ..status(0) },
                "Generation 3: 4 of 4 workers serve; generation 4 begins",
            ),
        ] {
            assert_eq!(status.to_string(), line);
        }
    }

    #[test]
    fn a_change_is_told_at_once_or_when_a_second_is_over_and_only_if_it_lasts() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut telling = Telling::default();
        let mut told = |waiting, milliseconds| telling.tell(status(waiting), at(milliseconds)).is_some();
        assert!(told(0, 0), "the first is always news");
        assert!(!told(5, 999));
        assert!(told(5, 1000));
        assert!(!told(5, 9000), "nothing has changed");
        assert!(told(6, 9000), "nothing was told for long");
        assert!(!told(7, 9100) && !told(6, 10_000), "it is as it was");
        assert!(told(8, 10_001));
    }

    #[test]
    fn nothing_is_due_unless_something_has_changed() {
        let begun = Instant::now();
        let mut telling = Telling::default();
        assert_eq!(telling.due(&status(0), begun), Some(begun));
        telling.tell(status(0), begun);
        let later = begun + Duration::from_millis(10);
        assert_eq!(telling.due(&status(0), later), None);
        assert_eq!(telling.due(&status(1), later), Some(begun + TOLD_EVERY));
    }
}
