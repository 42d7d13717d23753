//! What a worker has, and how much of it its supervisor wants back. Pure.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use reactord_process::words::ConnectionId;

/// The connections of a worker that gives back.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// How many it may give back.
    owned: u32,
    /// How many of those it was asked to give back.
    owed: u32,
    is_finishing: bool,
    /// What was refused. It is not given back a second time.
    kept: BTreeSet<ConnectionId>,
}

impl Holdings {
    /// It has one more.
    pub(super) fn took(&mut self) {
        self.owned = self.owned.saturating_add(1);
    }

    /// One that it gave back is its own again.
    pub(super) fn kept(&mut self, id: ConnectionId) {
        self.kept.insert(id);
    }

    /// One has ended.
    pub(super) fn ended(&mut self, id: ConnectionId) {
        if !self.kept.remove(&id) {
            self.owned = self.owned.saturating_sub(1);
            self.owed = self.owed.min(self.owned);
        }
    }

    /// One is the supervisor's again.
    pub(super) fn gave_back(&mut self) {
        self.owned = self.owned.saturating_sub(1);
        self.owed = self.owed.saturating_sub(1).min(self.owned);
    }

    /// So many are wanted back. What was asked before counts no more, and connections that come later are not meant.
    pub(super) fn asked_for(&mut self, count: NonZeroU32) {
        self.owed = count.get().min(self.owned);
    }

    /// All are wanted back.
    pub(super) fn asked_for_all(&mut self) {
        self.is_finishing = true;
    }

    /// How many are wanted back now.
    pub(super) fn owed(&self) -> u32 {
        if self.is_finishing { self.owned } else { self.owed }
    }

    /// Whether this one may be given back.
    pub(super) fn may_give(&self, id: ConnectionId) -> bool {
        !self.kept.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(count: u32) -> Holdings {
        Holdings { owned: count, ..Holdings::default() }
    }

    fn number(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn no_more_is_owed_than_there_is_and_what_comes_later_is_not_meant() {
        let mut holdings = holding(3);
        holdings.asked_for(number(5));
        assert_eq!(holdings.owed(), 3);
        holdings.took();
        assert_eq!(holdings.owed(), 3);
        (0..3).for_each(|_| holdings.gave_back());
        assert_eq!(holdings.owed(), 0);
    }

    #[test]
    fn what_ends_is_not_owed_any_more() {
        let mut holdings = holding(2);
        holdings.asked_for(number(2));
        holdings.ended(ConnectionId::FIRST);
        assert_eq!(holdings.owed(), 1);
        holdings.ended(ConnectionId::FIRST);
        assert_eq!(holdings.owed(), 0);
    }

    #[test]
    fn what_was_asked_before_and_not_given_counts_no_more() {
        let mut holdings = holding(10);
        holdings.asked_for(number(7));
        holdings.asked_for(number(2));
        assert_eq!(holdings.owed(), 2);
    }

    #[test]
    fn a_worker_that_finishes_owes_all_but_what_was_refused() {
        let mut holdings = holding(2);
        holdings.asked_for_all();
        holdings.gave_back();
        holdings.kept(ConnectionId::FIRST);
        assert_eq!((holdings.owed(), holdings.may_give(ConnectionId::FIRST)), (1, false));
        holdings.took();
        assert_eq!(holdings.owed(), 2, "it was under way when the supervisor asked");
        holdings.ended(ConnectionId::FIRST);
        assert_eq!((holdings.owed(), holdings.may_give(ConnectionId::FIRST)), (2, true));
    }
}
