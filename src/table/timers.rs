//! When the service is to be called that has no peer to be called about. Pure.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

/// The timers of a service, which gives them their numbers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at_ns: FxHashMap<u32, u64>,
    queue: BTreeSet<(u64, u32)>,
}

impl Timers {
    /// When this one is due, if it is set.
    pub(super) fn get(&self, timer: u32) -> Option<u64> {
        self.at_ns.get(&timer).copied()
    }

    pub(super) fn set(&mut self, timer: u32, at_ns: Option<u64>) {
        let before = match at_ns {
            Some(at_ns) => self.at_ns.insert(timer, at_ns),
            None => self.at_ns.remove(&timer),
        };
        if let Some(before_ns) = before {
            self.queue.remove(&(before_ns, timer));
        }
        self.queue.extend(at_ns.map(|at_ns| (at_ns, timer)));
    }

    /// When the first is due.
    pub(super) fn first_ns(&self) -> Option<u64> {
        self.queue.first().map(|(at_ns, _)| *at_ns)
    }

    /// The next one that is due, which is set no more.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<u32> {
        let &(at_ns, timer) = self.queue.first()?;
        if at_ns > now_ns {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// All of them, with their instants, the first first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.queue.iter().map(|(at_ns, timer)| (*timer, *at_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_in_the_order_of_their_instants_and_once() {
        let mut timers = Timers::default();
        for (timer, at_ns) in [(7, 30), (8, 20), (9, 10), (7, 5), (8, 25)] {
            timers.set(timer, Some(at_ns));
        }
        timers.set(9, None);
        assert_eq!(timers.iter().collect::<Vec<_>>(), [(7, 5), (8, 25)]);
        assert_eq!((timers.first_ns(), timers.get(8), timers.get(9)), (Some(5), Some(25), None));
        assert_eq!((timers.pop(4), timers.pop(5), timers.pop(24), timers.pop(25)), (None, Some(7), None, Some(8)));
        assert_eq!((timers.pop(u64::MAX), timers.first_ns()), (None, None));
    }
}
