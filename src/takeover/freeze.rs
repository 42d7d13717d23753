//! How far a freeze came in its time. Pure: whoever is told that the time was not enough is told what it went into, and
//! what can be done.

use std::fmt;
use std::time::{Duration, Instant};

/// What the time of a freeze goes into, up to a deadline.
#[derive(Debug)]
pub(crate) struct Freeze {
    timeout: Duration,
    phase: Phase,
    /// When the phase began.
    since: Instant,
}

/// What the predecessor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Sending what changed since the last round.
    Changes,
    /// Asking the service for the shared state.
    Saving,
    /// Sending the shared state.
    Sending { saving: Duration, state_bytes: usize, sent_bytes: usize },
    /// Waiting for the successor, which restores the shared state.
    Waiting { saving: Duration, sending: Duration, state_bytes: usize },
}

impl Freeze {
    /// The freeze has begun.
    pub(crate) fn begin(timeout: Duration, now: Instant) -> Self {
        Self { timeout, phase: Phase::Changes, since: now }
    }

    /// All that changed is sent.
    pub(crate) fn save(&mut self, now: Instant) {
        (self.phase, self.since) = (Phase::Saving, now);
    }

    /// The service has saved so many bytes of shared state.
    pub(crate) fn send(&mut self, state_bytes: usize, now: Instant) {
        let saving = now - self.since;
        (self.phase, self.since) = (Phase::Sending { saving, state_bytes, sent_bytes: 0 }, now);
    }

    /// A frame with a part of the shared state, or with Commit, is sent.
    pub(crate) fn sent(&mut self, frame_bytes: usize) {
        if let Phase::Sending { state_bytes, sent_bytes, .. } = &mut self.phase {
            *sent_bytes = (*sent_bytes + frame_bytes).min(*state_bytes);
        }
    }

    /// All of it is sent, and Commit.
    pub(crate) fn wait(&mut self, now: Instant) {
        if let Phase::Sending { saving, state_bytes, .. } = self.phase {
            let sending = now - self.since;
            (self.phase, self.since) = (Phase::Waiting { saving, sending, state_bytes }, now);
        }
    }

    /// The deadline has passed.
    pub(crate) fn over(&self, now: Instant) -> Overdue {
        Overdue { timeout: self.timeout, phase: self.phase, spent: now - self.since }
    }
}

/// A freeze whose time was not enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    timeout: Duration,
    phase: Phase,
    /// How long the phase has taken that did not come to its end.
    spent: Duration,
}

impl Overdue {
    /// How long it takes at least to save, send and restore this shared state, as far as that can be known by now: to
    /// restore takes no less than to save.
    fn needed(&self) -> Option<Duration> {
        match self.phase {
            Phase::Changes => None,
            Phase::Saving => Some(self.spent * 2),
            Phase::Sending { sent_bytes: 0, .. } => None,
            Phase::Sending { saving, state_bytes, sent_bytes } => {
                Some(saving * 2 + self.spent.mul_f64(state_bytes as f64 / sent_bytes as f64))
            }
            Phase::Waiting { saving, sending, .. } => Some(saving + sending + self.spent),
        }
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (timeout_ms, spent_ms) = (self.timeout.as_millis(), self.spent.as_millis());
        write!(f, "the successor has not accepted within the freeze timeout of {timeout_ms} ms: ")?;
        match self.phase {
            Phase::Changes => write!(f, "what had changed was not sent after {spent_ms} ms")?,
            Phase::Saving => write!(f, "to save the shared state took {spent_ms} ms")?,
            Phase::Sending { saving, state_bytes, sent_bytes } => {
                let saving_ms = saving.as_millis();
                write!(f, "{sent_bytes} of {state_bytes} bytes of shared state, saved in {saving_ms} ms, were sent ")?;
                write!(f, "after {spent_ms} ms")?;
            }
            Phase::Waiting { saving, sending, state_bytes } => {
                let (saving_ms, sending_ms) = (saving.as_millis(), sending.as_millis());
                write!(
                    f,
                    "{state_bytes} bytes of shared state were saved in {saving_ms} ms and sent in {sending_ms} "
                )?;
                write!(f, "ms, and not restored after {spent_ms} ms")?;
            }
        }
        match self.needed() {
            Some(needed) if needed >= self.timeout => {
                let needed_ms = needed.as_millis();
                write!(
                    f,
                    "; if it is not stuck, it needs over {needed_ms} ms (--freeze-timeout, Config::freeze_timeout)"
                )
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_overdue_freeze_says_what_its_time_went_into_and_what_would_do() {
        let began = Instant::now();
        let mut freeze = Freeze::begin(MS * 1000, began);
        freeze.save(began);
        freeze.send(300, began + MS * 400);
        freeze.sent(100);
        let mut waiting = Freeze::begin(MS * 1000, began);
        waiting.save(began);
        waiting.send(300, began + MS * 100);
        waiting.sent(300);
        waiting.wait(began + MS * 300);
        assert_eq!(
            freeze.over(began + MS * 1000).to_string(),
            "the successor has not accepted within the freeze timeout of 1000 ms: 100 of 300 bytes of shared state, saved in \
             400 ms, were sent after 600 ms; if it is not stuck, it needs over 2600 ms (--freeze-timeout, \
             Config::freeze_timeout)"
        );
        assert_eq!(
            waiting.over(began + MS * 1000).to_string(),
            "the successor has not accepted within the freeze timeout of 1000 ms: 300 bytes of shared state were saved in \
             100 ms and sent in 200 ms, and not restored after 700 ms; if it is not stuck, it needs over 1000 ms \
             (--freeze-timeout, Config::freeze_timeout)"
        );
    }

    #[test]
    fn a_freeze_that_ends_while_it_saves_or_sends_changes_says_so() {
        let began = Instant::now();
        let mut saving = Freeze::begin(MS * 100, began);
        let changing = Freeze::begin(MS * 100, began);
        saving.save(began + MS * 10);
        let saving = saving.over(began + MS * 130).to_string();
        assert!(saving.contains("to save the shared state took 120 ms; if it is not stuck, it needs over 240 ms"));
        let changing = changing.over(began + MS * 101).to_string();
        assert!(changing.ends_with("what had changed was not sent after 101 ms"), "{changing}");
    }
}
