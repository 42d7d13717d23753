//! Round trips in the order of time: slices of a few milliseconds, and whether a takeover was under way.
//!
//! A round trip belongs to the slice in which its answer arrived: a stall shows where it ended. One that was under way
//! at any time between the beginning and the end of a takeover belongs to the takeovers.
//!
//! Nothing here reads a clock: the instants are passed in.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How long a slice is, at first.
pub(crate) const SLICE: Duration = Duration::from_millis(10);

/// How many slices there may be. With more, two become one, and all later ones are twice as long: 50 minutes are
/// as exact as possible, and no soak needs more than 8 MB for them.
const SLICES_MAX: usize = 300_000;

/// One slice in which answers arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slice {
    /// Which one it is, counted from the start.
    pub(crate) index: u32,
    pub(crate) answers: u32,
    pub(crate) median_ns: u64,
    pub(crate) worst_ns: u64,
}

/// What has arrived since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) answers: u64,
    pub(crate) worst_ns: u64,
}

/// All round trips of a load.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    slice: Duration,
    slices: Vec<Slice>,
    /// The slice that is not over, and its round trips.
    current: u32,
    current_ns: Vec<u64>,
    recent: Recent,
    /// Whether a takeover is under way, and when the last one ended.
    under_way: bool,
    last_end: Option<Instant>,
    /// An answer is waited for to something that was sent at this instant or later, and when it came.
    awaited: Option<Instant>,
    answered_at: Option<Instant>,
    /// The worst round trip that each takeover fell into, in ns.
    pub(crate) worst_during_ns: Vec<u64>,
    /// Nanoseconds of the round trips that a takeover fell into.
    pub(crate) during_takeovers_ns: Histogram<u64>,
    /// Nanoseconds of all others.
    pub(crate) between_takeovers_ns: Histogram<u64>,
}

impl Timeline {
    pub(crate) fn new(start: Instant) -> Self {
        let histogram = || {
            let round_trip_ns_max = Duration::from_secs(3600).as_nanos() as u64;
            Histogram::new_with_bounds(1, round_trip_ns_max, 3).expect("the bounds are constant")
        };
        Self {
            start,
            slice: SLICE,
            slices: Vec::new(),
            current: 0,
            current_ns: Vec::new(),
            recent: Recent::default(),
            under_way: false,
            last_end: None,
            awaited: None,
            answered_at: None,
            worst_during_ns: Vec::new(),
            during_takeovers_ns: histogram(),
            between_takeovers_ns: histogram(),
        }
    }

    /// How long each slice is.
    pub(crate) fn slice(&self) -> Duration {
        self.slice
    }

    /// The slices in which answers arrived, up to the last look.
    pub(crate) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// An answer arrived at `now`.
    pub(crate) fn record(&mut self, sent_at: Instant, now: Instant) {
        let round_trip_ns = u64::try_from(now.duration_since(sent_at).as_nanos()).unwrap_or(u64::MAX);
        if self.index_of(now) != self.current {
            self.close_slice();
            self.current = self.index_of(now);
        }
        self.current_ns.push(round_trip_ns);
        self.recent.answers += 1;
        if self.awaited.is_some_and(|awaited| sent_at >= awaited) {
            (self.awaited, self.answered_at) = (None, Some(now));
        }
        self.recent.worst_ns = self.recent.worst_ns.max(round_trip_ns);
        if self.under_way || self.last_end.is_some_and(|end| sent_at < end) {
            self.during_takeovers_ns.saturating_record(round_trip_ns);
            if let Some(worst_ns) = self.worst_during_ns.last_mut() {
                *worst_ns = (*worst_ns).max(round_trip_ns);
            }
        } else {
            self.between_takeovers_ns.saturating_record(round_trip_ns);
        }
    }

    fn index_of(&self, now: Instant) -> u32 {
        (now.duration_since(self.start).as_nanos() / self.slice.as_nanos()) as u32
    }

    pub(crate) fn takeover_begins(&mut self) {
        self.under_way = true;
        self.worst_during_ns.push(0);
    }

    pub(crate) fn takeover_ends(&mut self, now: Instant) {
        self.under_way = false;
        self.last_end = Some(now);
    }

    /// From now on an answer is waited for to something that was sent at this instant or later.
    pub(crate) fn await_answer(&mut self, sent_at: Instant) {
        (self.awaited, self.answered_at) = (Some(sent_at), None);
    }

    /// When that answer came, if it has.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// What has arrived since the last call.
    pub(crate) fn take_recent(&mut self) -> Recent {
        std::mem::take(&mut self.recent)
    }

    /// Ends the slice that is under way.
    pub(crate) fn close_slice(&mut self) {
        if self.current_ns.is_empty() {
            return;
        }
        let worst_ns = self.current_ns.iter().copied().max().expect("it is not empty");
        let answers = self.current_ns.len();
        let middle = (answers - 1) / 2;
        let (_, median_ns, _) = self.current_ns.select_nth_unstable(middle);
        let slice = Slice { index: self.current, answers: answers as u32, median_ns: *median_ns, worst_ns };
        self.current_ns.clear();
        if self.slices.len() == SLICES_MAX {
            self.slices = coarser(&self.slices, 2);
            self.slice *= 2;
            self.slices.push(Slice { index: slice.index / 2, ..slice });
        } else {
            self.slices.push(slice);
        }
    }
}

/// The same slices, `times` as long. The median of several is the highest of theirs, the worst the worst.
pub(crate) fn coarser(slices: &[Slice], times: u32) -> Vec<Slice> {
    let mut coarse: Vec<Slice> = Vec::with_capacity(slices.len() / times as usize + 1);
    for slice in slices {
        let index = slice.index / times;
        match coarse.last_mut() {
            Some(last) if last.index == index => {
                last.answers += slice.answers;
                last.median_ns = last.median_ns.max(slice.median_ns);
                last.worst_ns = last.worst_ns.max(slice.worst_ns);
            }
            _ => coarse.push(Slice { index, ..*slice }),
        }
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn microseconds(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn a_round_trip_is_in_the_slice_in_which_its_answer_arrived() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        for (sent_us, arrived_us) in [(0, 100), (9_000, 9_300), (9_500, 9_700), (9_900, 10_100), (9_950, 35_000)] {
            timeline.record(start + microseconds(sent_us), start + microseconds(arrived_us));
        }
        timeline.close_slice();
        timeline.close_slice();
        let expected = [
            Slice { index: 0, answers: 3, median_ns: 200_000, worst_ns: 300_000 },
            Slice { index: 1, answers: 1, median_ns: 200_000, worst_ns: 200_000 },
            Slice { index: 3, answers: 1, median_ns: 25_050_000, worst_ns: 25_050_000 },
        ];
        assert_eq!(timeline.slices(), expected);
    }

    #[test]
    fn a_round_trip_that_overlaps_a_takeover_belongs_to_it() {
        let start = Instant::now();
        let at = |count| start + microseconds(count);
        let mut timeline = Timeline::new(start);
        timeline.record(at(0), at(10));
        timeline.takeover_begins();
        timeline.record(at(0), at(20)); // sent before it
        timeline.record(at(30), at(40)); // within
        timeline.takeover_ends(at(50));
        timeline.record(at(45), at(60)); // answered after it
        timeline.record(at(50), at(70)); // after it
        assert_eq!((timeline.during_takeovers_ns.len(), timeline.between_takeovers_ns.len()), (3, 2));
        assert_eq!(timeline.worst_during_ns, [20_000]);
    }

    #[test]
    fn what_is_recent_is_told_once() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        timeline.record(start, start + microseconds(5));
        timeline.record(start, start + microseconds(3));
        assert_eq!(timeline.take_recent(), Recent { answers: 2, worst_ns: 5_000 });
        assert_eq!(timeline.take_recent(), Recent::default());
    }

    #[test]
    fn coarser_slices_keep_the_worst() {
        let slice = |index, median_ns, worst_ns| Slice { index, answers: 2, median_ns, worst_ns };
        let slices = [slice(0, 1, 9), slice(1, 2, 3), slice(5, 4, 4), slice(6, 5, 5)];
        let expected = [Slice { answers: 4, ..slice(0, 2, 9) }, slice(2, 4, 4), slice(3, 5, 5)];
        assert_eq!(coarser(&slices, 2), expected);
    }

    #[test]
    fn too_many_slices_become_half_as_many_and_go_on() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        for index in 0..=SLICES_MAX as u32 {
            timeline.record(start + SLICE * index, start + SLICE * index + microseconds(1));
        }
        timeline.close_slice();
        assert_eq!(timeline.slice(), SLICE * 2);
        assert_eq!(timeline.slices().len(), SLICES_MAX / 2 + 1);
        assert_eq!(timeline.slices().last().map(|slice| slice.index), Some(SLICES_MAX as u32 / 2));
    }
}
