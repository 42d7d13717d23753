//! What a service manager shows of the supervisor: one line, told when it has changed, and not too often.
//!
//! Pure: it sends nothing and reads no clock.

use std::fmt;
use std::time::{Duration, Instant};

use crate::fleet::Fleet;

/// How often it is told at most. A queue that empties and fills may change with each connection.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The figures of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    generation: u64,
    coming: Option<u64>,
    is_stopping: bool,
    serving: usize,
    target: usize,
    leaving: usize,
    queue: Option<QueueStatus>,
}

/// The queue, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueStatus {
    pub(crate) waiting: usize,
    pub(crate) waiting_max: usize,
    /// Whether further connections are left to the kernel.
    pub(crate) is_full: bool,
    /// How many more wait that workers have given back.
    pub(crate) returned: usize,
}

impl Status {
    pub(crate) fn of(fleet: &Fleet, queue: Option<QueueStatus>) -> Self {
        Self {
            generation: fleet.current(),
            coming: fleet.coming(),
            is_stopping: fleet.is_stopping(),
            serving: fleet.serving(),
            target: fleet.target(),
            leaving: fleet.leaving(),
            queue,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { is_stopping: true, .. } => f.write_str("Stopping")?,
            Self { generation, .. } => write!(f, "Generation {generation}")?,
        }
        write!(f, ": {} of {} workers serve", self.serving, self.target)?;
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
        if let Some(coming) = self.coming {
            write!(f, "; generation {coming} begins")?;
        }
        Ok(())
    }
}

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: Option<(Instant, Status)>,
}

impl Telling {
    /// When this is to be told, unless it is known.
    pub(crate) fn due(&self, status: &Status, now: Instant) -> Option<Instant> {
        match &self.told {
            None => Some(now),
            Some((_, told)) if told == status => None,
            Some((told_at, _)) => Some(*told_at + TOLD_EVERY),
        }
    }

    /// What is to be told now, if anything is. It counts as told, whatever becomes of it: who did not hear it hears the
    /// next change.
    pub(crate) fn tell(&mut self, status: Status, now: Instant) -> Option<String> {
        let line = self.due(&status, now).filter(|due| *due <= now).map(|_| status.to_string())?;
        self.told = Some((now, status));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(waiting: usize) -> Status {
        let queue = QueueStatus { waiting, waiting_max: 1000, is_full: waiting == 1000, returned: 0 };
        Status {
            generation: 3,
            coming: None,
            is_stopping: false,
            serving: 4,
            target: 4,
            leaving: 0,
            queue: Some(queue),
        }
    }

    #[test]
    fn a_line_has_the_figures_that_matter() {
        let all = Status { serving: 3, leaving: 2, coming: Some(4), ..status(1000) };
        for (status, line) in [
            (status(17), "Generation 3: 4 of 4 workers serve; 17 of at most 1000 connections wait"),
            (
                all.clone(),
                "Generation 3: 3 of 4 workers serve; 1000 of at most 1000 connections wait, further ones in the kernel; \
                 2 workers finish; generation 4 begins",
            ),
            (
                Status { is_stopping: true, coming: None, ..all },
                "Stopping: 3 of 4 workers serve; 1000 of at most 1000 connections wait; 2 workers finish",
            ),
            (Status { queue: None, ..status(0) }, "Generation 3: 4 of 4 workers serve"),
            (
                Status { queue: status(1).queue.map(|queue| QueueStatus { returned: 5, ..queue }), ..status(1) },
                "Generation 3: 4 of 4 workers serve; 1 of at most 1000 connections wait; 5 more were given back",
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
