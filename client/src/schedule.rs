//! When which connection is to act.
//!
//! Nothing here reads a clock: the instants are passed in. A schedule that has fallen behind catches up, because
//! it skips nothing: what is due stays due until it is taken.

use std::time::{Duration, Instant};

use crate::demand::{Demand, Pace};

/// How often a slow reader reads.
const SLOW_READS_PER_SECOND: f64 = 10.0;

/// The turns of `members` members, evenly spaced: the k-th turn is that of member `k % members`, and it is due at
/// `start + k / (members * per_second)`. So each member has `per_second` turns a second, and no two fall together.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    members: u64,
    /// Turns a second of all members together.
    per_second: f64,
    /// How many turns have been taken.
    taken: u64,
}

impl Schedule {
    /// # Panics
    /// If there are no members.
    pub(crate) fn new(start: Instant, members: usize, per_second: f64) -> Self {
        assert!(members > 0, "a schedule has members");
        Self { start, members: members as u64, per_second: members as f64 * per_second, taken: 0 }
    }

    /// When the next turn is due. `None` if that is too far away for a clock.
    pub(crate) fn due(&self) -> Option<Instant> {
        let after = Duration::try_from_secs_f64(self.taken as f64 / self.per_second).ok()?;
        self.start.checked_add(after)
    }

    /// Takes the next turn, and returns whose it is.
    pub(crate) fn take(&mut self) -> usize {
        let member = self.taken % self.members;
        self.taken += 1;
        member as usize
    }
}

/// What a connection is to do at a turn. The number is that of a member of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Task {
    /// A whole message.
    Send(usize),
    /// The first bytes of a message.
    Begin(usize),
    /// The rest of a message.
    Complete(usize),
    /// A little reading.
    SlowRead(usize),
    /// A short-lived connection comes.
    Come(usize),
    /// The one that has been there for longest goes.
    Go(usize),
}

/// All schedules of a load, in one order.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    pub(crate) sends: Option<Schedule>,
    pub(crate) begins: Option<Schedule>,
    pub(crate) completions: Option<Schedule>,
    pub(crate) slow_reads: Option<Schedule>,
    pub(crate) arrivals: Option<Schedule>,
    pub(crate) departures: Option<Schedule>,
}

impl Agenda {
    /// That of a load which begins at `start`. Whoever passes stays so long.
    pub(crate) fn new(demand: &Demand, start: Instant, stay: Duration) -> Self {
        let Demand { sending, fragmenting, slow_readers, pace, churn_per_second, .. } = *demand;
        let mut agenda = Self::default();
        let schedule = |start, members, per_second| (members > 0).then(|| Schedule::new(start, members, per_second));
        if let Pace::Clock { per_second } = pace {
            agenda.sends = schedule(start, sending, per_second);
            agenda.begins = schedule(start, fragmenting, per_second);
            // Half an interval: whenever the server is replaced, half of the connections have half sent a message.
            agenda.completions = Duration::try_from_secs_f64(0.5 / per_second)
                .ok()
                .and_then(|pause| start.checked_add(pause))
                .and_then(|start| schedule(start, fragmenting, per_second));
        }
        agenda.slow_reads = schedule(start, slow_readers, SLOW_READS_PER_SECOND);
        if churn_per_second > 0.0 {
            agenda.arrivals = schedule(start, 1, churn_per_second);
            agenda.departures = schedule(start + stay, 1, churn_per_second);
        }
        agenda
    }

    /// When the next task is due, if there are any.
    pub(crate) fn due(&self) -> Option<Instant> {
        [&self.sends, &self.begins, &self.completions, &self.slow_reads, &self.arrivals, &self.departures]
            .into_iter()
            .flatten()
            .filter_map(Schedule::due)
            .min()
    }

    /// Takes the earliest task that is due at `now`.
    ///
    /// The earliest, because a message must be completed before the next one of its connection is begun, however
    /// late both are.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Task> {
        let due = self.due().filter(|due| *due <= now)?;
        let tasks: [fn(usize) -> Task; 6] =
            [Task::Complete, Task::Begin, Task::Send, Task::SlowRead, Task::Come, Task::Go];
        let Self { sends, begins, completions, slow_reads, arrivals, departures } = self;
        [completions, begins, sends, slow_reads, arrivals, departures].into_iter().zip(tasks).find_map(
            |(schedule, task)| {
                schedule.as_mut().filter(|schedule| schedule.due() == Some(due)).map(|schedule| task(schedule.take()))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn taken(agenda: &mut Agenda, now: Instant) -> Vec<Task> {
        std::iter::from_fn(|| agenda.take(now)).collect()
    }

    #[test]
    fn members_take_turns_at_even_distances() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 4, 10.0);
        let turns: Vec<_> = (0..9).map(|_| (schedule.due().unwrap() - start, schedule.take())).collect();
        let expected: Vec<_> = (0..9).map(|k| (milliseconds(25 * k), (k % 4) as usize)).collect();
        assert_eq!(turns, expected);
    }

    #[test]
    fn nothing_is_taken_before_it_is_due() {
        let start = Instant::now();
        let mut agenda = Agenda { sends: Some(Schedule::new(start, 2, 10.0)), ..Agenda::default() };
        assert_eq!(taken(&mut agenda, start), [Task::Send(0)]);
        assert_eq!(agenda.due(), Some(start + milliseconds(50)));
        assert_eq!(taken(&mut agenda, start + milliseconds(49)), []);
        assert_eq!(taken(&mut agenda, start + milliseconds(50)), [Task::Send(1)]);
    }

    #[test]
    fn a_late_schedule_catches_up_without_skipping() {
        let start = Instant::now();
        let mut agenda = Agenda { sends: Some(Schedule::new(start, 2, 10.0)), ..Agenda::default() };
        let expected: Vec<_> = (0..21).map(|k| Task::Send(k % 2)).collect();
        assert_eq!(taken(&mut agenda, start + Duration::from_secs(1)), expected);
    }

    #[test]
    fn a_message_is_completed_before_the_next_is_begun_however_late() {
        let start = Instant::now();
        let mut agenda = Agenda {
            begins: Some(Schedule::new(start, 1, 10.0)),
            completions: Some(Schedule::new(start + milliseconds(50), 1, 10.0)),
            ..Agenda::default()
        };
        let expected = [Task::Begin(0), Task::Complete(0), Task::Begin(0), Task::Complete(0), Task::Begin(0)];
        assert_eq!(taken(&mut agenda, start + milliseconds(200)), expected);
    }

    #[test]
    fn distances_stay_exact_after_days() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10_000, 10.0);
        schedule.taken = 100_000 * 86_400 * 30;
        assert_eq!(schedule.due().unwrap() - start, Duration::from_secs(86_400 * 30));
        schedule.take();
        let next = schedule.due().unwrap() - start - Duration::from_secs(86_400 * 30);
        assert!(next.abs_diff(Duration::from_micros(10)) < Duration::from_micros(1), "{next:?}");
    }

    #[test]
    fn a_turn_beyond_the_clock_is_never_due() {
        let mut schedule = Schedule::new(Instant::now(), 1, 1e-300);
        schedule.take();
        assert_eq!(schedule.due(), None);
    }
}
