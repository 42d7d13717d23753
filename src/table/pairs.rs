//! What two joined peers have in common, once for both. Pure.

use std::num::NonZeroU64;

use slab::Slab;

use crate::peer::PeerId;
use crate::peer::pair_end::PairEnd;
use crate::peer::ties::Joined;

/// Nobody is at this key.
const NOWHERE: u32 = u32::MAX;

/// All pairs of a table. A pair is there as long as one of the two is.
#[derive(Debug, Default)]
pub(super) struct Pairs(Slab<Pair>);

/// Two who are joined, by their sides.
#[derive(Debug)]
struct Pair {
    /// Their cookies, also of one that is not here: it may be on its way from another process.
    cookies: [NonZeroU64; 2],
    /// Where they are.
    keys: [u32; 2],
    /// With nothing moved for so long, both are closed.
    idle_ns: Option<NonZeroU64>,
    /// When something last came from one of them or was written to one, if that counts: `CLOCK_MONOTONIC`.
    moved_ns: u64,
    /// When it is looked at whether something has moved.
    alarm_ns: Option<NonZeroU64>,
}

const _: () = assert!(size_of::<Pair>() == 48, "an idle pair costs little");

impl Pairs {
    /// Joins whoever has the cookie `one` to whom `joined` says. Returns the end of the former.
    pub(super) fn open(&mut self, one: NonZeroU64, joined: Joined) -> PairEnd {
        let Joined { partner, idle_ns, moved_ns } = joined;
        let (cookies, keys) = ([one, partner], [NOWHERE; 2]);
        PairEnd::first_of(self.0.insert(Pair { cookies, keys, idle_ns, moved_ns, alarm_ns: None }))
    }

    /// Whoever is at this end is at `key`.
    pub(super) fn enter(&mut self, end: PairEnd, key: usize) {
        self.0[end.pair()].keys[end.side()] = u32::try_from(key).expect("a handle has it");
    }

    /// Whoever was at this end is not joined any more.
    pub(super) fn leave(&mut self, end: PairEnd) {
        let keys = &mut self.0[end.pair()].keys;
        keys[end.side()] = NOWHERE;
        if *keys == [NOWHERE; 2] {
            self.0.remove(end.pair());
        }
    }

    /// The key of whoever is at this end, if anybody is.
    #[inline]
    pub(super) fn key(&self, end: PairEnd) -> Option<usize> {
        let key = self.0[end.pair()].keys[end.side()];
        (key != NOWHERE).then_some(key as usize)
    }

    /// What whoever is at this end is told of being joined.
    pub(super) fn joined(&self, end: PairEnd) -> Joined {
        let Pair { cookies, idle_ns, moved_ns, .. } = self.0[end.pair()];
        Joined { partner: cookies[end.other().side()], idle_ns, moved_ns }
    }

    /// Who is joined to whoever is at this end.
    pub(super) fn partner(&self, end: PairEnd) -> PeerId {
        self.joined(end).partner.get().into()
    }

    /// Whether whoever is at this end is joined to whom another process has told.
    pub(super) fn is_of(&self, end: PairEnd, told: Joined) -> bool {
        self.joined(end).partner == told.partner
    }

    /// Something moves.
    #[inline]
    pub(super) fn note_movement(&mut self, end: PairEnd, now_ns: u64) {
        self.0[end.pair()].moved_ns = now_ns;
    }

    /// Nothing may move for so long, from now on.
    pub(super) fn set_idle(&mut self, end: PairEnd, idle_ns: Option<NonZeroU64>) {
        self.0[end.pair()].idle_ns = idle_ns;
    }

    /// Follows another process, which has told this of one of the two; of both it tells when something moved last.
    pub(super) fn follow(&mut self, end: PairEnd, told: Joined) {
        let pair = &mut self.0[end.pair()];
        pair.idle_ns = told.idle_ns;
        pair.moved_ns = pair.moved_ns.max(told.moved_ns);
    }

    /// When both are to be closed if nothing moves before, if ever.
    pub(super) fn idle_at_ns(&self, end: PairEnd) -> Option<u64> {
        let Pair { idle_ns, moved_ns, .. } = self.0[end.pair()];
        idle_ns.map(|idle_ns| moved_ns.saturating_add(idle_ns.get()))
    }

    /// When it is looked at, if it is to be.
    pub(super) fn alarm_ns(&mut self, end: PairEnd) -> &mut Option<NonZeroU64> {
        &mut self.0[end.pair()].alarm_ns
    }

    /// Whether it is to be looked at then.
    pub(super) fn has_alarm(&self, end: PairEnd, at_ns: u64) -> bool {
        self.0.get(end.pair()).is_some_and(|pair| pair.alarm_ns == NonZeroU64::new(at_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(cookie: u64) -> NonZeroU64 {
        NonZeroU64::new(cookie).unwrap()
    }

    #[test]
    fn a_pair_is_there_until_both_have_left_and_each_end_names_the_other() {
        let mut pairs = Pairs::default();
        let joined = Joined { partner: cookie(9), idle_ns: None, moved_ns: 3 };
        let one = pairs.open(cookie(8), joined);
        pairs.enter(one, 5);
        assert_eq!((pairs.key(one), pairs.key(one.other())), (Some(5), None));
        assert_eq!(pairs.joined(one), joined);
        assert_eq!(pairs.partner(one.other()), 8.into());
        pairs.enter(one.other(), 6);
        pairs.leave(one);
        assert_eq!((pairs.key(one), pairs.key(one.other())), (None, Some(6)));
        pairs.leave(one.other());
        assert!(pairs.0.is_empty());
    }

    #[test]
    fn whatever_is_told_of_a_pair_in_whichever_order_it_is_idle_since_the_last_movement() {
        let mut pairs = Pairs::default();
        let told = |moved_ns| Joined { partner: cookie(9), idle_ns: Some(cookie(100)), moved_ns };
        let one = pairs.open(cookie(8), told(70));
        assert_eq!(pairs.idle_at_ns(one), Some(170));
        pairs.follow(one.other(), told(60));
        assert_eq!(pairs.idle_at_ns(one), Some(170));
        pairs.note_movement(one, 80);
        pairs.follow(one, told(90));
        assert_eq!(pairs.idle_at_ns(one.other()), Some(190));
        pairs.set_idle(one, None);
        assert_eq!(pairs.idle_at_ns(one), None);
    }
}
