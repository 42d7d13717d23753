//! Peers that are looked at again at an instant: connections that are being opened, and those on which nothing may move for
//! too long. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::handle::PeerHandle;

/// Whom to look at, and when: `CLOCK_MONOTONIC`, ns. Nothing is allocated before the first. Of several entries of a peer, the
/// one that the peer knows of counts.
#[derive(Debug, Default)]
pub(super) struct Alarms(BinaryHeap<Reverse<(u64, PeerHandle)>>);

impl Alarms {
    pub(super) fn push(&mut self, at_ns: u64, handle: PeerHandle) {
        self.0.push(Reverse((at_ns, handle)));
    }

    /// Sees to it, before one more is pushed, that entries which do not count make it no larger than those that do.
    pub(super) fn make_room(&mut self, mut counts: impl FnMut(u64, PeerHandle) -> bool) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|Reverse((at_ns, handle))| counts(*at_ns, *handle));
            // So that this is done once for as many new entries as it looks at.
            self.0.reserve(self.0.len().max(1));
        }
    }

    /// Whose time has come.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<(u64, PeerHandle)> {
        let is_due = self.first_ns().is_some_and(|at_ns| at_ns <= now_ns);
        is_due.then(|| self.0.pop()).flatten().map(|Reverse(first)| first)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((at_ns, _))| *at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_looked_at_when_its_time_has_come_and_as_often_as_it_was_asked_for() {
        let [one, other] = [PeerHandle::new(1, 0), PeerHandle::new(2, 0)];
        let mut alarms = Alarms::default();
        for (at_ns, handle) in [(30, one), (10, other), (20, one)] {
            alarms.push(at_ns, handle);
        }
        assert_eq!(alarms.pop(9), None);
        assert_eq!(alarms.pop(20), Some((10, other)));
        assert_eq!(alarms.pop(20), Some((20, one)));
        assert_eq!(alarms.pop(20), None);
        assert_eq!(alarms.first_ns(), Some(30));
    }

    #[test]
    fn what_does_not_count_takes_no_room() {
        let mut alarms = Alarms::default();
        for at_ns in 0..10_000 {
            alarms.make_room(|at_ns, _| at_ns % 1000 == 0);
            alarms.push(at_ns, PeerHandle::new(1, 0));
        }
        assert!(alarms.0.capacity() < 100, "{}", alarms.0.capacity());
        let counting = std::iter::from_fn(|| alarms.pop(u64::MAX)).filter(|(at_ns, _)| at_ns % 1000 == 0);
        assert_eq!(counting.count(), 10);
    }
}
