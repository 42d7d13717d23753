//! Whether the active's loop turns. Pure; instants are passed in.

use std::time::{Duration, Instant};

/// Whether it turns is asked so often within the time that it may stand still. What counts is how often nobody has answered, and not
/// how long: where both processes were stopped, the active is given as long again.
const ASKED_WITHIN_TIMEOUT: u32 = 4;

/// The signs of life of the active, if anybody waits for them.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How often it is asked. `None`: it may stand still as long as it likes.
    every: Option<Duration>,
    asked_at: Instant,
    unanswered: u32,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Ask.
    Ask,
    /// It hangs.
    Hangs,
}

impl Pulse {
    pub(super) fn new(timeout: Option<Duration>, now: Instant) -> Self {
        Self { every: timeout.map(|timeout| timeout / ASKED_WITHIN_TIMEOUT), asked_at: now, unanswered: 0 }
    }

    /// It has said something.
    pub(super) fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// What is to be done at `now`; if it is to be asked, that counts as done.
    pub(super) fn look(&mut self, now: Instant) -> Due {
        match self.every {
            Some(every) if now >= self.asked_at + every => {
                if self.unanswered == ASKED_WITHIN_TIMEOUT {
                    return Due::Hangs;
                }
                self.asked_at = now;
                self.unanswered += 1;
                Due::Ask
            }
            _ => Due::Nothing,
        }
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.every.map(|every| self.asked_at + every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_does_not_answer_within_the_timeout_hangs() {
        let began = Instant::now();
        let mut pulse = Pulse::new(Some(400 * MS), began);
        assert_eq!(pulse.look(began + 99 * MS), Due::Nothing);
        for asked in 1..=4 {
            assert_eq!(pulse.look(began + 100 * asked * MS), Due::Ask);
            assert_eq!(pulse.look(began + 100 * asked * MS), Due::Nothing);
        }
        assert_eq!(pulse.look(began + 500 * MS), Due::Hangs);
    }

    #[test]
    fn who_answers_does_not_hang_and_a_clock_that_jumps_says_nothing() {
        let began = Instant::now();
        let mut pulse = Pulse::new(Some(400 * MS), began);
        assert_eq!(pulse.look(began + 1000 * MS), Due::Ask);
        for later in 1..4 {
            // Both were stopped: one question went unanswered in all that time.
            assert_eq!(pulse.look(began + 1000 * MS * (10 * later)), Due::Ask);
        }
        pulse.heard();
        assert_eq!(pulse.look(began + 100_000 * MS), Due::Ask);
    }

    #[test]
    fn nobody_is_asked_where_nobody_is_to_be_killed() {
        let began = Instant::now();
        let mut pulse = Pulse::new(None, began);
        assert_eq!((pulse.look(began + 1_000_000 * MS), pulse.due()), (Due::Nothing, None));
    }
}
