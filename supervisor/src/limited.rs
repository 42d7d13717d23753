//! How many lines those can cause who ask something of the supervisor, or whose workers come and go as they like: some of each
//! kind in a second, and then how many more there would have been.

use std::time::Instant;

use reactord_process::limited::{LINES_PER_SECOND, Limit};

use crate::fleet::Report;

/// Of so many generations a second each worker has its line.
const GENERATIONS_PER_SECOND: u64 = 4;

/// What others can cause a line about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was asked for on the path, besides generations.
    Request,
    /// A generation that comes, serves, or does not.
    Generation,
    /// A worker that is ready. Each of a generation deserves a line.
    Ready,
    /// A worker that has gone, as it was told.
    Left,
    /// A worker that has gone on purpose, and is replaced: it may do so after each request.
    Retired,
    /// A worker that has a standby, or says so.
    Standby,
    /// What workers leave behind.
    Remains,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Request, Self::Generation, Self::Ready, Self::Left, Self::Retired, Self::Standby, Self::Remains];

    /// Of what kind a line of the fleet is, if it is one that others can cause.
    pub(crate) fn of(report: &Report) -> Option<Self> {
        match report {
            Report::Ready { .. } => Some(Self::Ready),
            Report::Left { .. } => Some(Self::Left),
            Report::Retired { .. } => Some(Self::Retired),
            Report::Survived { .. } | Report::NoStandby { .. } => Some(Self::Standby),
            Report::Begins { .. }
            | Report::BeginsAgain { .. }
            | Report::BeginsLater { .. }
            | Report::Serves { .. }
            | Report::ServesInPart { .. }
            | Report::GivenUp { .. } => Some(Self::Generation),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Request => "requests on the path",
            Self::Generation => "generations",
            Self::Ready => "workers that are ready",
            Self::Left => "workers that have finished",
            Self::Retired => "workers that exited on purpose",
            Self::Standby => "standbys of workers",
            Self::Remains => "what workers leave behind",
        }
    }
}

/// The limits of all kinds.
#[derive(Debug)]
pub(crate) struct Limited([Limit; Kind::ALL.len()]);

impl Limited {
    /// Those of a supervisor that is to have so many workers.
    pub(crate) fn with_workers(workers: usize) -> Self {
        let of_workers = GENERATIONS_PER_SECOND * LINES_PER_SECOND.max(workers as u64);
        Self(Kind::ALL.map(|kind| match kind {
            Kind::Ready | Kind::Left | Kind::Standby => Limit::of(of_workers),
            _ => Limit::default(),
        }))
    }

    /// Whether a line of this kind may be written. One that may not is counted.
    pub(crate) fn admits(&mut self, kind: Kind, now: Instant) -> bool {
        self.0[kind as usize].admits(now)
    }

    /// When there will be something in [`Self::left_out`], if there will.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Limit::due).min()
    }

    /// What is to be said of seconds that are over: how many lines about what were not written.
    pub(crate) fn left_out(&mut self, now: Instant) -> impl Iterator<Item = (u64, &'static str)> {
        let of_all = Kind::ALL.into_iter().zip(&mut self.0);
        of_all.filter_map(move |(kind, limit)| Some((limit.left_out(now)?, kind.name())))
    }
}

#[cfg(test)]
mod tests {
    use reactord_process::limited::SECOND;

    use super::*;
    use crate::fleet::Exit;

    #[test]
    fn each_worker_of_a_generation_has_its_line_and_of_the_others_some_have() {
        let (mut limited, now) = (Limited::with_workers(10), Instant::now());
        let mut admitted = |kind| (0..50).filter(|_| limited.admits(kind, now)).count() as u64;
        assert_eq!((admitted(Kind::Ready), admitted(Kind::Retired)), (40, LINES_PER_SECOND));
        assert_eq!(limited.due(), Some(now + SECOND));
        let left_out: Vec<_> = limited.left_out(now + SECOND).collect();
        assert_eq!(left_out, [(10, "workers that are ready"), (40, "workers that exited on purpose")]);
        assert_eq!(limited.due(), None);
    }

    #[test]
    fn a_worker_that_names_one_standby_after_the_other_writes_no_more_lines_than_all_may() {
        let (mut limited, now, pid) = (Limited::with_workers(1), Instant::now(), 70);
        let reports = (1..=100).flat_map(|standby| {
            let exit = Exit::Code(1);
            [Report::NoStandby { pid, standby }, Report::Survived { pid, generation: 1, exit, standby }]
        });
        let mut admitted = 0;
        for report in reports {
            admitted += u64::from(Kind::of(&report).is_none_or(|kind| limited.admits(kind, now)));
        }
        assert_eq!(admitted, GENERATIONS_PER_SECOND * LINES_PER_SECOND);
        assert_eq!(limited.left_out(now + SECOND).collect::<Vec<_>>(), [(200 - admitted, "standbys of workers")]);
    }
}
