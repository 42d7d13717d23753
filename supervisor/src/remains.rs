//! What workers leave behind: processes of their groups that live on when the worker itself is gone, such as the server
//! that a start script has started without exec. They are told to finish like a worker, and ended when they do not.
//!
//! The supervisor is their parent by then (`PR_SET_CHILD_SUBREAPER`, prctl(2)), so it is told when they end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log::warn;
use minicbor::{Decode, Encode};
use nix::sys::signal::Signal;

use crate::children::{group_remains, send_signal_to_group};
use crate::fleet::{KILL_DELAY, instant_at, milliseconds_to};

/// How often it is looked whether a group is empty, if no process that ends tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be sent to a group, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Next {
    signal: Signal,
    due: Instant,
    /// Nobody need be told: a standby leaves a moment after its worker.
    is_expected: bool,
}

/// Groups by the pid of the worker that has led them.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    groups: BTreeMap<u32, Next>,
    look_at: Option<Instant>,
}

impl Remains {
    /// A worker is gone. Whoever of its group is not is told to finish by this signal, if there is one for that, and has until
    /// `next`. Returns whether there is anybody, unless that `is_expected`.
    pub(crate) fn left_by(
        &mut self,
        leader: u32,
        is_expected: bool,
        finish: Option<Signal>,
        next: (Instant, Signal),
        now: Instant,
    ) -> bool {
        if !group_remains(leader) {
            return false;
        }
        if let Some(signal) = finish {
            send_signal_to_group(leader, leader, signal);
        }
        self.add(leader, is_expected, next, now);
        !is_expected
    }

    /// Ends who is late, and returns by their leaders' pids those of whom nobody is left by now, as far as they were not expected.
    pub(crate) fn tend(&mut self, now: Instant) -> Vec<u32> {
        let gone = self.take_gone(group_remains, now);
        for (leader, signal) in self.take_due(now) {
            warn!("What worker pid {leader} has left behind has not finished in time and is sent {signal}");
            send_signal_to_group(leader, leader, signal);
        }
        gone
    }

    /// A group is to be sent this signal then.
    fn add(&mut self, leader: u32, is_expected: bool, (due, signal): (Instant, Signal), now: Instant) {
        self.groups.insert(leader, Next { signal, due, is_expected });
        self.look_at = Some(now + LOOK_EVERY);
    }

    /// Whether nobody is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All are to have finished by then.
    pub(crate) fn hurry(&mut self, by: Instant) {
        for Next { signal, due, .. } in self.groups.values_mut() {
            // One that is next sent SIGKILL has heard another, perhaps a moment ago.
            let by = if *signal == Signal::SIGKILL { by + KILL_DELAY } else { by };
            *due = by.min(*due);
        }
    }

    /// When [`Self::tend`] has something to do, if no process ends before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.groups.values().map(|next| next.due).chain(self.look_at).min()
    }

    /// Those who have nobody left.
    fn take_gone(&mut self, remains: impl Fn(u32) -> bool, now: Instant) -> Vec<u32> {
        let gone = self.groups.extract_if(.., |leader, _| !remains(*leader));
        let gone = gone.filter(|(_, next)| !next.is_expected).map(|(leader, _)| leader).collect();
        self.look_at = (!self.groups.is_empty()).then_some(now + LOOK_EVERY);
        gone
    }

    /// Who is to be sent what by now.
    fn take_due(&mut self, now: Instant) -> Vec<(u32, Signal)> {
        let mut signals = Vec::new();
        for (leader, next) in self.groups.iter_mut().filter(|(_, next)| now >= next.due) {
            signals.push((*leader, next.signal));
            *next = Next { signal: Signal::SIGKILL, due: now + KILL_DELAY, is_expected: false };
        }
        signals
    }

    pub(crate) fn record(&self, now: Instant) -> Vec<RemainsRecord> {
        let record = |(leader, next): (&u32, &Next)| RemainsRecord {
            leader: *leader,
            due_ms: milliseconds_to(next.due, now),
            kill: next.signal == Signal::SIGKILL,
        };
        self.groups.iter().map(record).collect()
    }

    pub(crate) fn from_record(records: &[RemainsRecord], now: Instant) -> Self {
        let mut remains = Self::default();
        for RemainsRecord { leader, due_ms, kill } in records {
            let signal = if *kill { Signal::SIGKILL } else { Signal::SIGTERM };
            remains.add(*leader, false, (instant_at(*due_ms, now), signal), now);
        }
        remains
    }
}

/// One group, for the binary that is executed in place of this one.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RemainsRecord {
    #[n(0)]
    leader: u32,
    #[n(1)]
    due_ms: i64,
    #[n(2)]
    kill: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(60);

    fn left_behind(now: Instant) -> Remains {
        let mut remains = Remains::default();
        remains.add(7, false, (now + DRAIN, Signal::SIGTERM), now);
        remains
    }

    #[test]
    fn what_does_not_finish_is_terminated_and_then_killed_until_it_is_gone() {
        let now = Instant::now();
        let mut remains = left_behind(now);
        assert_eq!(remains.take_due(now), []);
        assert_eq!(remains.take_due(now + DRAIN), [(7, Signal::SIGTERM)]);
        for kills in 1..3 {
            assert_eq!(remains.take_due(now + DRAIN + KILL_DELAY * kills), [(7, Signal::SIGKILL)]);
        }
        assert_eq!(remains.take_gone(|_| false, now), [7]);
        assert!(remains.is_empty() && remains.due().is_none());
    }

    #[test]
    fn it_is_looked_every_second_whether_they_are_gone() {
        let now = Instant::now();
        let mut remains = left_behind(now);
        assert_eq!(remains.due(), Some(now + LOOK_EVERY));
        let later = now + LOOK_EVERY;
        assert!(remains.take_gone(|_| true, later).is_empty());
        assert_eq!(remains.due(), Some(later + LOOK_EVERY));
    }

    #[test]
    fn a_second_stop_waits_only_for_those_who_have_heard_of_it_a_moment_ago() {
        let now = Instant::now();
        let mut remains = left_behind(now);
        remains.add(8, false, (now + DRAIN, Signal::SIGKILL), now);
        remains.hurry(now);
        assert_eq!(remains.take_due(now), [(7, Signal::SIGTERM)]);
        assert_eq!(remains.take_due(now + KILL_DELAY), [(7, Signal::SIGKILL), (8, Signal::SIGKILL)]);
    }

    #[test]
    fn another_binary_goes_on_with_them() {
        let now = Instant::now();
        let mut remains = Remains::from_record(&left_behind(now).record(now), now);
        assert_eq!(remains.take_due(now + DRAIN), [(7, Signal::SIGTERM)]);
    }
}
