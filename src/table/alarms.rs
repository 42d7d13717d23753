//! Peers that are looked at again at an instant: connections that are being opened, and those on which nothing may move for
//! too long. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::handle::Handle;

/// Whom to look at, and when: `CLOCK_MONOTONIC`, ns. Nothing is allocated before the first. Of several entries of a peer, the
/// one that the peer knows of counts. Who has left stays in it until then.
#[derive(Debug, Default)]
pub(super) struct Alarms(BinaryHeap<Reverse<(u64, Handle)>>);

impl Alarms {
    pub(super) fn push(&mut self, at_ns: u64, handle: Handle) {
        self.0.push(Reverse((at_ns, handle)));
    }

    /// Whose time has come.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<(u64, Handle)> {
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
        let [one, other] = [Handle::new(1, 0), Handle::new(2, 0)];
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
}
