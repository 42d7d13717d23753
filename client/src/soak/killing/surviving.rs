//! A death that is not over: what is known of it, and what is waited for. Decisions without I/O.

use std::time::{Duration, Instant};

use super::super::summary::Standing;
use super::death::{Death, Ended, judge};
use super::told::Told;

/// How long after the survivor has said how many it has reset all of them may take to be seen, and an answer to come.
const SEEN_PATIENCE: Duration = Duration::from_secs(2);

/// A death that is not over.
#[derive(Debug)]
pub(super) struct Surviving {
    pub(super) begun: Instant,
    pub(super) begun_unix_ms: u64,
    pub(super) active_pid: u32,
    pub(super) heir_pid: u32,
    /// How many connections were open, and how many deaths had been survived before.
    pub(super) open: usize,
    pub(super) deaths_survived: u64,
    /// What the survivor says, and when it was heard.
    pub(super) told: Option<(Told, Instant)>,
    /// Whether it has answered since. It has closed by then whomever it does not serve on.
    pub(super) answers: bool,
    /// Which connections have ended, once they all have.
    pub(super) reset: Option<Ended>,
    /// Since when another standby is armed, once that is so: ms since 1970.
    pub(super) armed_since_unix_ms: Option<u64>,
    pub(super) complaints: Vec<String>,
}

impl Surviving {
    /// When whoever was reset has been seen, and an answer has come, or nobody waits for that any more. `None` if that has passed, or
    /// nobody knows yet.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.told.map(|(_, heard_at)| heard_at + SEEN_PATIENCE).filter(|at| *at > now)
    }

    /// Whether all that were reset have ended, where so many have, or nobody waits for more.
    pub(super) fn is_to_be_judged(&self, ended: usize, now: Instant) -> bool {
        let Some((told, heard_at)) = self.told.filter(|_| self.reset.is_none()) else { return false };
        (self.answers && ended as u64 >= told.reset) || now >= heard_at + SEEN_PATIENCE
    }

    /// These have ended, and no others.
    pub(super) fn judge(&mut self, ended: Ended) {
        let told = self.told.iter();
        self.complaints.extend(told.flat_map(|(told, _)| judge(told, &ended, self.open)));
        self.reset = Some(ended);
    }

    /// Whoever serves has said how it stands.
    pub(super) fn hear(&mut self, standing: &Standing) {
        let Standing { pid, standby, deaths_survived, .. } = standing;
        if *pid != self.heir_pid {
            return self.complain_once(format!("pid {pid} serves on, and pid {} was the standby", self.heir_pid));
        }
        self.answers = true;
        if *deaths_survived != self.deaths_survived + 1 {
            let (before, now) = (self.deaths_survived, deaths_survived);
            self.complain_once(format!(
                "{now} deaths are said to be survived, and there were {before} before this one"
            ));
        }
        self.armed_since_unix_ms = standby.as_ref().and_then(|standby| standby.armed_since_unix_ms);
    }

    fn complain_once(&mut self, complaint: String) {
        if !self.complaints.contains(&complaint) {
            self.complaints.push(complaint);
        }
    }

    /// Whether there is nothing more to be waited for.
    pub(super) fn is_overcome(&self, is_answered: bool, now: Instant) -> bool {
        let Some((_, heard_at)) = self.told else { return false };
        let is_armed = self.reset.is_some() && self.armed_since_unix_ms.is_some();
        is_armed && (is_answered || now >= heard_at + SEEN_PATIENCE)
    }

    /// It is over, in a load that has begun at `start`.
    pub(super) fn into_death(self, start: Instant, now: Instant, answered_at: Option<Instant>) -> Death {
        let Self { begun, begun_unix_ms, active_pid, heir_pid, told, reset, armed_since_unix_ms, complaints, .. } =
            self;
        let armed_after = armed_since_unix_ms.map(|at| Duration::from_millis(at.saturating_sub(begun_unix_ms)));
        Death {
            begun: begun - start,
            ended: now - start,
            active_pid,
            heir_pid,
            told: told.map(|(told, _)| told),
            reset: reset.unwrap_or_default(),
            answered_after: answered_at.map(|at| at - begun),
            armed_after,
            complaints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::summary::Standby;
    use super::*;

    fn killed(now: Instant) -> Surviving {
        Surviving {
            begun: now,
            begun_unix_ms: 1000,
            active_pid: 1,
            heir_pid: 2,
            open: 200,
            deaths_survived: 4,
            told: None,
            answers: false,
            reset: None,
            armed_since_unix_ms: None,
            complaints: Vec::new(),
        }
    }

    fn told(reset: u64) -> Told {
        Told { pid: 1, served_on: 200 - reset, reset, over: 0, unserved_us: 800 }
    }

    fn standing(pid: u32, deaths_survived: u64, armed_since_unix_ms: Option<u64>) -> Standing {
        let standby = Some(Standby { pid: 3, armed_since_unix_ms, peers: 200 });
        Standing { pid, takeover: None, failure: None, standby, deaths_survived }
    }

    #[test]
    fn a_death_is_judged_when_all_that_were_reset_have_ended_or_nobody_waits_any_more() {
        let now = Instant::now();
        let mut surviving = killed(now);
        assert!(!surviving.is_to_be_judged(3, now + SEEN_PATIENCE));
        surviving.told = Some((told(3), now));
        assert!(!surviving.is_to_be_judged(3, now), "it may reset more");
        surviving.hear(&standing(2, 5, None));
        assert!(surviving.is_to_be_judged(3, now) && !surviving.is_to_be_judged(2, now));
        assert_eq!(surviving.due(now), Some(now + SEEN_PATIENCE));
        assert!(surviving.is_to_be_judged(2, now + SEEN_PATIENCE));
        surviving.judge(Ended { sending: 2, ..Ended::default() });
        assert!(!surviving.is_to_be_judged(2, now + SEEN_PATIENCE));
        assert_eq!(surviving.complaints[0], "3 connections are said to be reset, and 2 have ended");
    }

    #[test]
    fn a_death_is_over_when_another_standby_is_armed_and_somebody_was_answered() {
        let now = Instant::now();
        let mut surviving = killed(now);
        surviving.told = Some((told(0), now));
        surviving.hear(&standing(2, 5, None));
        surviving.judge(Ended::default());
        assert!(!surviving.is_overcome(true, now));
        surviving.hear(&standing(2, 5, Some(1031)));
        assert!(surviving.is_overcome(true, now) && !surviving.is_overcome(false, now));
        assert!(surviving.is_overcome(false, now + SEEN_PATIENCE));
        let death = surviving.into_death(now, now, Some(now + Duration::from_millis(2)));
        assert_eq!(death.armed_after, Some(Duration::from_millis(31)));
        assert_eq!((death.answered_after, death.is_good()), (Some(Duration::from_millis(2)), true));
    }

    #[test]
    fn whoever_serves_on_is_the_standby_and_counts_the_death() {
        let mut surviving = killed(Instant::now());
        surviving.hear(&standing(7, 5, None));
        surviving.hear(&standing(7, 5, None));
        surviving.hear(&standing(2, 4, None));
        let expected = [
            "pid 7 serves on, and pid 2 was the standby",
            "4 deaths are said to be survived, and there were 4 before this one",
        ];
        assert_eq!(surviving.complaints, expected);
    }
}
