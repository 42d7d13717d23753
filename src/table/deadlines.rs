//! When the service is to be called about which peer, by the keys of its peers. Pure.
//!
//! To move a deadline costs one store: the queue is looked at when the time of an entry has come, and an entry whose
//! deadline has been moved meanwhile is put back. Only a deadline that comes sooner is queued anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::handle::PeerHandle;

/// The deadline of a peer that has none.
pub(crate) const NEVER_NS: u64 = u64::MAX;

/// What stands for the deadline of a peer that was closed because it was reached.
pub(super) const REACHED_NS: u64 = 0;

/// The deadlines of all peers. Nothing is allocated before the first is set.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_key: Vec<Slot>,
    /// Whom to look at, and when. Of several entries of a peer, the one that its slot knows of counts.
    queue: BinaryHeap<Reverse<(u64, PeerHandle)>>,
}

/// The deadline of the peer at a key, and the instant at which it is looked at next.
#[derive(Clone, Copy, Debug)]
struct Slot {
    deadline_ns: u64,
    queued_ns: u64,
}

/// What came of looking at who comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nobody's time has come.
    Nobody,
    /// One has been put back, or has left.
    NotThis,
    Reached(PeerHandle),
}

impl Slot {
    const EMPTY: Self = Self { deadline_ns: NEVER_NS, queued_ns: NEVER_NS };
}

impl Deadlines {
    /// The deadline of the peer at `key`, if it has one; 0 if it was closed because that was reached.
    pub(super) fn get(&self, key: usize) -> Option<u64> {
        self.by_key.get(key).map(|slot| slot.deadline_ns).filter(|deadline_ns| *deadline_ns != NEVER_NS)
    }

    /// Sets the deadline of a peer, or moves it; it may be never.
    pub(super) fn set(&mut self, handle: PeerHandle, deadline_ns: u64) {
        if !self.move_later(handle.key(), deadline_ns) {
            self.set_sooner(handle, deadline_ns);
        }
    }

    /// Moves the deadline of the peer at `key`, if that is not before the peer is looked at next. Otherwise false.
    #[inline]
    pub(super) fn move_later(&mut self, key: usize, deadline_ns: u64) -> bool {
        match self.by_key.get_mut(key) {
            Some(slot) if deadline_ns >= slot.queued_ns => {
                slot.deadline_ns = deadline_ns;
                true
            }
            _ => false,
        }
    }

    fn set_sooner(&mut self, handle: PeerHandle, deadline_ns: u64) {
        let key = handle.key();
        if key >= self.by_key.len() {
            if deadline_ns == NEVER_NS {
                return;
            }
            self.by_key.resize(key + 1, Slot::EMPTY);
        }
        self.by_key[key].deadline_ns = deadline_ns;
        if deadline_ns != REACHED_NS && deadline_ns < self.by_key[key].queued_ns {
            self.make_room();
            self.by_key[key].queued_ns = deadline_ns;
            self.queue.push(Reverse((deadline_ns, handle)));
        }
    }

    /// Sees to it that entries which count for nothing do not make the queue grow for ever.
    fn make_room(&mut self) {
        if self.queue.len() < self.queue.capacity() {
            return;
        }
        let Self { by_key, queue } = self;
        queue.retain(|Reverse((at_ns, handle))| by_key[handle.key()].queued_ns == *at_ns);
        // So that this is done once for as many new entries as it looks at.
        queue.reserve(queue.len());
    }

    /// The peer at `key` is closed because its deadline is reached.
    pub(super) fn close(&mut self, key: usize) {
        self.by_key[key].deadline_ns = REACHED_NS;
    }

    /// Whether the peer at `key` was closed because its deadline was reached.
    pub(super) fn has_closed(&self, key: usize) -> bool {
        self.get(key) == Some(REACHED_NS)
    }

    /// Nobody is at `key` any more.
    pub(super) fn forget(&mut self, key: usize) {
        if let Some(slot) = self.by_key.get_mut(key) {
            *slot = Slot::EMPTY;
        }
    }

    /// When somebody is to be looked at.
    pub(super) fn first_ns(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Looks at who comes first. `has_deadline` says whether whom a handle is for is still here, and not being closed.
    pub(super) fn look(&mut self, now_ns: u64, has_deadline: impl FnOnce(PeerHandle) -> bool) -> Look {
        let Some(mut first) = self.queue.peek_mut() else {
            return Look::Nobody;
        };
        let Reverse((at_ns, handle)) = *first;
        if at_ns > now_ns {
            return Look::Nobody;
        }
        let slot = &mut self.by_key[handle.key()];
        let counts = slot.queued_ns == at_ns && has_deadline(handle);
        if counts && slot.deadline_ns > now_ns && slot.deadline_ns != NEVER_NS {
            slot.queued_ns = slot.deadline_ns;
            *first = Reverse((slot.deadline_ns, handle));
            return Look::NotThis;
        }
        PeekMut::pop(first);
        if !counts {
            return Look::NotThis;
        }
        slot.queued_ns = NEVER_NS;
        if slot.deadline_ns == NEVER_NS { Look::NotThis } else { Look::Reached(handle) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Looks until nobody's time has come, and says whose had.
    fn reached(deadlines: &mut Deadlines, now_ns: u64) -> Vec<usize> {
        let mut reached = Vec::new();
        loop {
            match deadlines.look(now_ns, |_| true) {
                Look::Nobody => return reached,
                Look::NotThis => {}
                Look::Reached(handle) => {
                    deadlines.set(handle, NEVER_NS);
                    reached.push(handle.key());
                }
            }
        }
    }

    #[test]
    fn a_deadline_that_is_moved_all_the_time_stands_in_the_queue_once() {
        let mut deadlines = Deadlines::default();
        for now_ns in 1..1000 {
            deadlines.set(PeerHandle::new(3, 0), now_ns + 10);
            assert!(reached(&mut deadlines, now_ns).is_empty());
            assert_eq!(deadlines.queue.len(), 1);
        }
        assert_eq!(reached(&mut deadlines, 1009), [3]);
        assert_eq!(deadlines.first_ns(), None);
    }

    #[test]
    fn who_has_left_is_never_reached_and_does_not_stay_in_the_queue() {
        let mut deadlines = Deadlines::default();
        for stamp in 0..10_000 {
            deadlines.set(PeerHandle::new(0, stamp), 1_000_000 - u64::from(stamp));
            deadlines.forget(0);
        }
        assert!(deadlines.queue.len() < 100, "{}", deadlines.queue.len());
        assert!(reached(&mut deadlines, u64::MAX - 1).is_empty());
    }

    #[test]
    fn a_deadline_that_nobody_sets_takes_no_memory() {
        let mut deadlines = Deadlines::default();
        deadlines.set(PeerHandle::new(1000, 0), NEVER_NS);
        deadlines.forget(1000);
        assert_eq!((deadlines.by_key.capacity(), deadlines.queue.capacity()), (0, 0));
    }

    proptest! {
        #[test]
        fn each_is_reached_in_its_time_however_it_was_moved_before(
            steps in proptest::collection::vec((0..6usize, prop_oneof![Just(None), (1..60u64).prop_map(Some)]), 0..200),
        ) {
            let mut deadlines = Deadlines::default();
            let mut expected: BTreeMap<usize, u64> = BTreeMap::new();
            for (now_ns, (key, after_ns)) in (1..).zip(steps) {
                expected.remove(&key);
                let deadline_ns = after_ns.map(|after_ns| now_ns + after_ns);
                expected.extend(deadline_ns.map(|deadline_ns| (key, deadline_ns)));
                deadlines.set(PeerHandle::new(key, 0), deadline_ns.unwrap_or(NEVER_NS));
                let mut due: Vec<usize> = reached(&mut deadlines, now_ns);
                due.sort_unstable();
                let (due_now, later): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    expected.into_iter().partition(|(_, deadline_ns)| *deadline_ns <= now_ns);
                prop_assert_eq!(due, due_now.into_keys().collect::<Vec<_>>());
                expected = later;
            }
        }
    }
}
