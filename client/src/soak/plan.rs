//! When which successor is started, and which ones are killed, and when. The same seed gives the same plan.

use std::time::Duration;

use fastrand::Rng;

use super::unfit::Unfit;

/// One successor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// When it is started, from the beginning of the load.
    pub(crate) at: Duration,
    /// If it is to be killed: after which share of the time that it copies at least.
    pub(crate) kill_after: Option<f64>,
    /// If it cannot take over: why.
    pub(crate) unfit: Option<Unfit>,
}

/// All successors, and when the load ends at the earliest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) end: Duration,
}

impl Plan {
    /// The first takeover comes after an interval, and the load ends one after the last.
    ///
    /// Each is late by up to a quarter of the interval, so that they do not always meet the messages at the same point.
    /// The last successor is never killed: the predecessor of all those that were has to hand over in the end.
    pub(crate) fn new(takeovers: usize, interval: Duration, kill_share: f64, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut attempts: Vec<Attempt> = (1..=takeovers)
            .map(|number| Attempt {
                at: interval.mul_f64(number as f64 + random.f64() / 4.0),
                kill_after: None,
                unfit: None,
            })
            .collect();
        let candidates = takeovers.saturating_sub(1);
        let killed = ((takeovers as f64 * kill_share).round() as usize).min(candidates);
        let mut numbers: Vec<usize> = (0..candidates).collect();
        random.shuffle(&mut numbers);
        for number in numbers.into_iter().take(killed) {
            attempts[number].kill_after = Some(random.f64());
        }
        let end = interval.mul_f64(takeovers as f64 + 1.0);
        Self { attempts, end }
    }

    /// So many of the successors cannot take over, each in another way than the one before. The last one always can.
    pub(crate) fn with_unfit(mut self, unfit: usize, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut numbers: Vec<usize> = (0..self.attempts.len().saturating_sub(1)).collect();
        random.shuffle(&mut numbers);
        for (number, unfit) in numbers.into_iter().take(unfit).zip(Unfit::ALL.into_iter().cycle()) {
            let dies = unfit == Unfit::DiesInTheCopy;
            self.attempts[number].unfit = Some(unfit);
            self.attempts[number].kill_after = dies.then(|| random.f64());
        }
        self
    }

    /// Without takeovers.
    pub(crate) fn lasting(duration: Duration) -> Self {
        Self { attempts: Vec::new(), end: duration }
    }
}

/// How long a takeover of so many peers copies at least. A descriptor costs the successor 1.2 µs on the machine
/// on which that was measured, and there are faster ones.
pub(crate) fn copy_time_min(peers: usize) -> Duration {
    const COPY_PER_PEER: Duration = Duration::from_nanos(800);
    COPY_PER_PEER.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    #[test]
    fn takeovers_are_about_an_interval_apart() {
        let plan = Plan::new(5, INTERVAL, 0.0, 7);
        for (number, attempt) in plan.attempts.iter().enumerate() {
            let earliest = INTERVAL * (number as u32 + 1);
            assert!((earliest..earliest + INTERVAL / 4).contains(&attempt.at), "{attempt:?}");
            assert_eq!(attempt.kill_after, None);
        }
        assert_eq!((plan.attempts.len(), plan.end), (5, INTERVAL * 6));
    }

    #[test]
    fn the_share_that_is_killed_never_includes_the_last() {
        for seed in 0..100 {
            for (takeovers, share, killed) in
                [(10, 0.3, 3), (10, 1.0, 9), (1, 1.0, 0), (0, 1.0, 0), (4, 0.1, 0), (4, 0.5, 2)]
            {
                let plan = Plan::new(takeovers, INTERVAL, share, seed);
                let kills: Vec<f64> = plan.attempts.iter().filter_map(|attempt| attempt.kill_after).collect();
                assert_eq!(kills.len(), killed);
                assert!(kills.iter().all(|share| (0.0..1.0).contains(share)));
                assert!(plan.attempts.last().is_none_or(|last| last.kill_after.is_none()));
            }
        }
    }

    #[test]
    fn each_that_cannot_take_over_cannot_in_another_way() {
        let plan = Plan::new(8, INTERVAL, 0.0, 7).with_unfit(5, 7);
        let ways: Vec<Unfit> = plan.attempts.iter().filter_map(|attempt| attempt.unfit).collect();
        assert!(Unfit::ALL.into_iter().all(|unfit| ways.contains(&unfit)));
        assert_eq!((ways.len(), plan.attempts[7].unfit), (5, None));
        let is_killed = |attempt: &Attempt| attempt.kill_after.is_some();
        assert!(
            plan.attempts.iter().all(|attempt| is_killed(attempt) == (attempt.unfit == Some(Unfit::DiesInTheCopy)))
        );
        assert_eq!(Plan::new(3, INTERVAL, 0.0, 7).with_unfit(9, 7).attempts.iter().filter_map(|a| a.unfit).count(), 2);
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(Plan::new(10, INTERVAL, 0.5, 1), Plan::new(10, INTERVAL, 0.5, 1));
        assert_ne!(Plan::new(10, INTERVAL, 0.5, 1), Plan::new(10, INTERVAL, 0.5, 2));
    }
}
