//! Spreading live connections over the workers: to one that was added, from one that is removed, and from those that
//! have more than their share to those that have less.
//!
//! Pure. Workers that speak the takeover move connections to one another by themselves when they are told, and answer;
//! others give some back, and the queue gives them to whoever has the fewest. Either way one at most is asked at a time,
//! and who does not answer in time is not asked again for this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use reactord_process::words::Fraction;

use super::shares::{Tolerance, Transfer, transfer};
use super::worker::WorkerId;

/// How long a worker may take to move what it is told to. A hundred thousand connections take a few seconds.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a worker may take to give back what it was asked for: it waits for the ends of messages.
pub(crate) const GIVE_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether the shares are still near to each other.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a worker is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Count { worker: WorkerId },
    Move { from: WorkerId, to: WorkerId, share: Fraction },
    Give { from: WorkerId, count: NonZeroU32 },
}

/// What has come of it, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Moved { from: WorkerId, to: WorkerId, count: u64, expected: Option<u64>, time: Duration },
    Late { worker: WorkerId, patience: Duration },
}

/// Something to be done in several moves.
#[derive(Debug)]
enum Task {
    /// A worker was added: each of the others gives it the same part. Who they are is seen when it begins.
    Fill { to: WorkerId, plan: Option<(VecDeque<WorkerId>, Fraction)> },
    /// A worker is removed: each of these gets as much, and those that got what was expected are asked again. Who they are,
    /// and how many are left, is seen when it begins.
    Empty { from: WorkerId, targets: VecDeque<WorkerId>, again: VecDeque<WorkerId>, left: Option<u64> },
    /// All are asked how many they have, and then those that have too many move some.
    Level { shares: BTreeMap<WorkerId, u64> },
}

/// What is waited for.
#[derive(Debug)]
enum Asked {
    /// All of these say how many they have.
    Holds(BTreeSet<WorkerId>),
    /// This one says how many it has moved.
    Moved { from: WorkerId, to: WorkerId, expected: Option<u64> },
    /// This one gives back so many more.
    Given { from: WorkerId, count: u64 },
}

/// Something that was asked, and when.
#[derive(Debug)]
struct Question {
    asked: Asked,
    at: Instant,
}

impl Question {
    fn deadline(&self) -> Instant {
        match self.asked {
            Asked::Holds(_) | Asked::Moved { .. } => self.at + ANSWER_PATIENCE,
            Asked::Given { .. } => self.at + GIVE_PATIENCE,
        }
    }
}

/// A worker that serves, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) worker: WorkerId,
    /// How many connections it has, as far as the queue knows.
    pub(crate) count: u64,
    /// How many more it may be sent now.
    pub(crate) room: u64,
}

/// What is to be spread, and how far that has come.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// The first of them is under way.
    tasks: VecDeque<Task>,
    question: Option<Question>,
    /// Shares are being brought near to each other, and not only watched.
    is_levelling: bool,
    looked_at: Option<Instant>,
    outcomes: Vec<Outcome>,
}

impl Spread {
    /// Where an earlier binary has left it: what was asked is asked again.
    pub(crate) fn going_on(is_levelling: bool) -> Self {
        Self { is_levelling, ..Self::default() }
    }

    /// Whether shares are being brought near to each other, and are not near yet.
    pub(crate) fn is_levelling(&self) -> bool {
        self.is_levelling
    }

    // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A worker was added to those that serve: the others are to move their part to it.
    pub(crate) fn fill(&mut self, to: WorkerId) {
        self.tasks.push_back(Task::Fill { to, plan: None });
    }

    /// A worker is removed: it is to move what it has to the others.
    pub(crate) fn empty(&mut self, from: WorkerId) {
        self.tasks.push_back(Task::Empty { from, targets: VecDeque::new(), again: VecDeque::new(), left: None });
    }

    /// The shares are to be brought near to each other now, however near they are.
    pub(crate) fn level(&mut self) {
        self.is_levelling = true;
        self.looked_at = None;
    }

    /// Nothing is to be spread any more.
    pub(crate) fn stop(&mut self) {
        self.tasks.clear();
        self.question = None;
        self.is_levelling = false;
    }

    /// A worker says how many connections it has.
    pub(crate) fn holds(&mut self, worker: WorkerId, count: u64) {
        let Some(Question { asked: Asked::Holds(silent), .. }) = &mut self.question else {
            return;
        };
        if !silent.remove(&worker) {
            return;
        }
        match self.tasks.front_mut() {
            Some(Task::Empty { left, .. }) => *left = Some(count),
            Some(Task::Level { shares }) => drop(shares.insert(worker, count)),
            Some(Task::Fill { .. }) | None => {}
        }
        self.end_question_if(|asked| matches!(asked, Asked::Holds(silent) if silent.is_empty()));
    }

    /// A worker says how many it has moved.
    pub(crate) fn moved(&mut self, worker: WorkerId, count: u64, now: Instant) {
        let Some(Question { asked: Asked::Moved { from, to, expected }, at }) = self.question else {
            return;
        };
        if from != worker {
            return;
        }
        self.question = None;
        self.outcomes.push(Outcome::Moved { from, to, count, expected, time: now.saturating_duration_since(at) });
        self.note_moved(from, to, count, expected.is_some_and(|expected| count < expected));
    }

    /// What follows for the task that is under way.
    fn note_moved(&mut self, from: WorkerId, to: WorkerId, count: u64, is_short: bool) {
        match self.tasks.front_mut() {
            Some(Task::Empty { again, left, .. }) => {
                *left = left.map(|left| left.saturating_sub(count));
                if !is_short {
                    again.push_back(to);
                }
            }
            // Who could not move what it should will not do so a moment later.
            Some(Task::Level { shares }) if is_short || count == 0 => shares.clear(),
            Some(Task::Level { shares }) => {
                shares.entry(from).and_modify(|share| *share = share.saturating_sub(count));
                shares.entry(to).and_modify(|share| *share += count);
            }
            Some(Task::Fill { .. }) | None => {}
        }
    }

    /// A worker has given back one connection, whether or not it was asked.
    pub(crate) fn given(&mut self, worker: WorkerId) {
        if let Some(Question { asked: Asked::Given { from, count }, .. }) = &mut self.question
            && *from == worker
        {
            *count = count.saturating_sub(1);
        }
        self.end_question_if(|asked| matches!(asked, Asked::Given { count: 0, .. }));
    }

    /// A worker does not answer any more, and is given nothing: it has gone, or is about to.
    pub(crate) fn gone(&mut self, worker: WorkerId) {
        if let Some(Question { asked: Asked::Holds(silent), .. }) = &mut self.question {
            silent.remove(&worker);
        }
        self.end_question_if(|asked| match asked {
            Asked::Holds(silent) => silent.is_empty(),
            Asked::Moved { from, .. } | Asked::Given { from, .. } => *from == worker,
        });
        for task in &mut self.tasks {
            task.forget(worker);
        }
    }

    fn end_question_if(&mut self, is_answered: impl Fn(&Asked) -> bool) {
        self.question.take_if(|question| is_answered(&question.asked));
    }

    // ── What is decided ────────────────────────────────────────────────────────────────────────────────────────────

    /// What has come of it since this was asked last.
    pub(crate) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Whether moves are under way, or to follow at once.
    pub(crate) fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// When the next decision has something to do if nothing happens before; `always`: shares are watched.
    pub(crate) fn deadline(&self, always: bool) -> Option<Instant> {
        let look = self.looked_at.filter(|_| always && self.question.is_none()).map(|looked| looked + LOOK_EVERY);
        self.question.as_ref().map(Question::deadline).into_iter().chain(look).min()
    }

    /// What workers that move connections themselves are to be told next. `serving` are those among them that are given
    /// any, and `sharing` those whose shares are brought near to each other; `always`: shares are watched.
    pub(crate) fn next_moves(
        &mut self,
        serving: &[WorkerId],
        sharing: &[WorkerId],
        always: bool,
        now: Instant,
    ) -> Vec<Order> {
        if self.is_waiting(now) {
            return Vec::new();
        }
        let is_time = always && self.is_time_to_look(now);
        if is_time && self.tasks.is_empty() && sharing.len() > 1 {
            self.tasks.push_back(Task::Level { shares: BTreeMap::new() });
            return self.count(sharing, now);
        }
        while let Some(task) = self.tasks.front_mut() {
            let step = match task {
                Task::Fill { to, .. } if !serving.contains(to) => None,
                Task::Fill { to, plan } => fill_step(*to, plan.get_or_insert_with(|| fill_plan(*to, serving)), serving),
                // How many there are is known before the first is moved.
                Task::Empty { from, targets, left: None, .. } => {
                    let from = *from;
                    targets.extend(serving.iter().filter(|id| **id != from));
                    return self.count(&[from], now);
                }
                Task::Empty { from, targets, again, left } => empty_step(*from, targets, again, *left, serving),
                Task::Level { shares } => level_step(shares, sharing, &mut self.is_levelling),
            };
            if let Some((order, asked)) = step {
                self.question = Some(Question { asked, at: now });
                return vec![order];
            }
            self.tasks.pop_front();
        }
        Vec::new()
    }

    /// What workers that give connections back are to be told next. `waiting` were given back and nobody has them yet.
    pub(crate) fn next_gift(&mut self, shares: &[Share], waiting: usize, always: bool, now: Instant) -> Option<Order> {
        if self.is_waiting(now) {
            return None;
        }
        let is_time = always && self.is_time_to_look(now);
        if waiting > 0 || !(self.is_levelling || is_time) {
            return None;
        }
        let counts: Vec<(WorkerId, u64)> = shares.iter().map(|share| (share.worker, share.count)).collect();
        let Some(Transfer { from, to, count }) = transfer(&counts, Tolerance::of(self.is_levelling)) else {
            self.is_levelling = false;
            return None;
        };
        self.is_levelling = true;
        // No more than it can take at once: what waits is served by nobody.
        let room = shares.iter().find(|share| share.worker == to).map_or(0, |share| share.room);
        let count = NonZeroU32::new(u32::try_from(count.min(room)).unwrap_or(u32::MAX))?;
        self.question = Some(Question { asked: Asked::Given { from, count: count.get().into() }, at: now });
        Some(Order::Give { from, count })
    }

    fn is_time_to_look(&mut self, now: Instant) -> bool {
        let is_time = self.looked_at.is_none_or(|looked| now >= looked + LOOK_EVERY);
        if is_time {
            self.looked_at = Some(now);
        }
        is_time
    }

    /// Whether an answer is waited for. One that is late is not, and what it was asked for is given up.
    fn is_waiting(&mut self, now: Instant) -> bool {
        let Some(question) = &self.question else {
            return false;
        };
        if now < question.deadline() {
            return true;
        }
        let late = match &question.asked {
            Asked::Holds(silent) => silent.iter().copied().map(|worker| (worker, ANSWER_PATIENCE)).collect(),
            Asked::Moved { from, .. } => vec![(*from, ANSWER_PATIENCE)],
            // It gives what it can, when it can.
            Asked::Given { .. } => Vec::new(),
        };
        self.outcomes.extend(late.into_iter().map(|(worker, patience)| Outcome::Late { worker, patience }));
        self.question = None;
        self.tasks.pop_front();
        self.is_levelling = false;
        false
    }

    /// Asks these how many connections they have.
    fn count(&mut self, workers: &[WorkerId], now: Instant) -> Vec<Order> {
        self.question = Some(Question { asked: Asked::Holds(workers.iter().copied().collect()), at: now });
        workers.iter().map(|worker| Order::Count { worker: *worker }).collect()
    }
}

impl Task {
    /// A worker takes no part in it any more.
    fn forget(&mut self, worker: WorkerId) {
        match self {
            // Who does not serve is passed over.
            Self::Fill { .. } => {}
            Self::Empty { from, left, .. } if *from == worker => *left = Some(0),
            Self::Empty { targets, again, .. } => {
                targets.retain(|id| *id != worker);
                again.retain(|id| *id != worker);
            }
            Self::Level { shares } => drop(shares.remove(&worker)),
        }
    }
}

/// A move of which it is known how many connections it should be.
fn expecting(Transfer { from, to, count }: Transfer, share: Fraction) -> (Order, Asked) {
    (Order::Move { from, to, share }, Asked::Moved { from, to, expected: Some(count) })
}

/// Who gives to a worker that was added, and what.
fn fill_plan(to: WorkerId, serving: &[WorkerId]) -> (VecDeque<WorkerId>, Fraction) {
    let givers: VecDeque<WorkerId> = serving.iter().copied().filter(|id| *id != to).collect();
    let part = one_of(givers.len() + 1).expect("there are fewer than 2³² workers");
    (givers, part)
}

/// The next move to a worker that was added.
fn fill_step(
    to: WorkerId,
    (givers, part): &mut (VecDeque<WorkerId>, Fraction),
    serving: &[WorkerId],
) -> Option<(Order, Asked)> {
    let from = std::iter::from_fn(|| givers.pop_front()).find(|id| serving.contains(id))?;
    Some((Order::Move { from, to, share: *part }, Asked::Moved { from, to, expected: None }))
}

/// The next move of a worker that is removed: each of the others gets as much.
fn empty_step(
    from: WorkerId,
    targets: &mut VecDeque<WorkerId>,
    again: &mut VecDeque<WorkerId>,
    left: Option<u64>,
    serving: &[WorkerId],
) -> Option<(Order, Asked)> {
    let left = left.filter(|left| *left > 0)?;
    targets.retain(|id| serving.contains(id));
    if targets.is_empty() {
        // What one of them did not get, for whatever reason, the others may.
        std::mem::swap(targets, again);
        targets.retain(|id| serving.contains(id));
    }
    let share = one_of(targets.len())?;
    let to = targets.pop_front()?;
    Some(expecting(Transfer { from, to, count: share.of(left) }, share))
}

/// The next move among those that have said how many they have.
fn level_step(
    shares: &BTreeMap<WorkerId, u64>,
    sharing: &[WorkerId],
    is_levelling: &mut bool,
) -> Option<(Order, Asked)> {
    let there: Vec<(WorkerId, u64)> =
        shares.iter().filter(|(id, _)| sharing.contains(id)).map(|(id, share)| (*id, *share)).collect();
    let next = transfer(&there, Tolerance::of(*is_levelling));
    *is_levelling = next.is_some();
    let next = next?;
    let part = |count: u64| u32::try_from(count).ok();
    let whole = NonZeroU32::new(part(shares[&next.from])?)?;
    let share = Fraction::new(part(next.count)?, whole)?;
    Some(expecting(next, share))
}

/// One of so many; `None` if there is none.
fn one_of(count: usize) -> Option<Fraction> {
    Fraction::new(1, NonZeroU32::new(u32::try_from(count).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Workers that move what they are told to, and what was said about it.
    struct World {
        spread: Spread,
        now: Instant,
        counts: BTreeMap<WorkerId, u64>,
        serving: Vec<WorkerId>,
        /// Those that move nothing.
        stuck: BTreeSet<WorkerId>,
        always: bool,
        moves: Vec<(u64, u64, String)>,
        outcomes: Vec<Outcome>,
    }

    impl World {
        fn new(counts: &[u64]) -> Self {
            let counts: BTreeMap<WorkerId, u64> = (1..).map(WorkerId).zip(counts.iter().copied()).collect();
            Self {
                spread: Spread::default(),
                now: Instant::now(),
                serving: counts.keys().copied().collect(),
                counts,
                stuck: BTreeSet::new(),
                always: false,
                moves: Vec::new(),
                outcomes: Vec::new(),
            }
        }

        fn orders(&mut self) -> Vec<Order> {
            let orders = self.spread.next_moves(&self.serving, &self.serving, self.always, self.now);
            self.outcomes.extend(self.spread.take_outcomes());
            let moves = orders.iter().filter(|order| matches!(order, Order::Move { .. })).count();
            assert!(moves <= 1, "one move at a time: {orders:?}");
            orders
        }

        /// Does what is decided until nothing more is.
        fn settle(&mut self) {
            for turn in 0.. {
                assert!(turn < 200, "it comes to no end: {:?}", self.spread);
                let orders = self.orders();
                if orders.is_empty() {
                    return;
                }
                orders.into_iter().for_each(|order| self.obey(order));
            }
        }

        fn obey(&mut self, order: Order) {
            match order {
                Order::Count { worker } => self.spread.holds(worker, self.counts[&worker]),
                Order::Move { from, to, share } => {
                    self.moves.push((from.0, to.0, share.to_string()));
                    let is_stuck = self.stuck.contains(&from) || self.stuck.contains(&to);
                    let count = if is_stuck { 0 } else { share.of(self.counts[&from]) };
                    *self.counts.get_mut(&from).unwrap() -= count;
                    *self.counts.get_mut(&to).unwrap() += count;
                    self.spread.moved(from, count, self.now);
                }
                Order::Give { .. } => panic!("they move: {order:?}"),
            }
        }

        fn counts(&self) -> Vec<u64> {
            self.counts.values().copied().collect()
        }

        fn moves(&self) -> Vec<(u64, u64, &str)> {
            self.moves.iter().map(|(from, to, share)| (*from, *to, share.as_str())).collect()
        }
    }

    #[test]
    fn a_worker_that_was_added_gets_its_part_of_each_of_the_others() {
        let mut world = World::new(&[3000, 6000, 0]);
        world.spread.fill(WorkerId(3));
        world.settle();
        assert_eq!(world.moves(), [(1, 3, "1/3"), (2, 3, "1/3")]);
        assert_eq!(world.counts(), [2000, 4000, 3000]);
        assert!(!world.spread.is_busy());
    }

    #[test]
    fn a_worker_that_is_removed_moves_what_it_has_to_the_others_alike() {
        let mut world = World::new(&[10, 20, 100, 0]);
        world.serving.retain(|id| id.0 != 3);
        world.spread.empty(WorkerId(3));
        world.settle();
        assert_eq!(world.moves(), [(3, 1, "1/3"), (3, 2, "1/2"), (3, 4, "1/1")]);
        assert_eq!(world.counts(), [43, 54, 0, 33]);
    }

    #[test]
    fn what_one_does_not_take_the_others_get() {
        let mut world = World::new(&[0, 0, 100, 0]);
        world.serving.retain(|id| id.0 != 3);
        world.stuck.insert(WorkerId(4));
        world.spread.empty(WorkerId(3));
        world.settle();
        assert_eq!(world.moves()[3..], [(3, 1, "1/2"), (3, 2, "1/1")]);
        assert_eq!(world.counts(), [50, 50, 0, 0]);
        let short = |outcome: &&Outcome| matches!(outcome, Outcome::Moved { count: 0, expected: Some(33), .. });
        assert_eq!(world.outcomes.iter().filter(short).count(), 1, "{:?}", world.outcomes);
    }

    #[test]
    fn what_nobody_takes_stays_and_nobody_is_asked_for_ever() {
        let mut world = World::new(&[0, 0, 100]);
        world.serving.retain(|id| id.0 != 3);
        world.stuck.insert(WorkerId(3));
        world.spread.empty(WorkerId(3));
        world.settle();
        assert_eq!(world.counts(), [0, 0, 100]);
        assert!(!world.spread.is_busy());
    }

    #[test]
    fn a_target_that_dies_is_passed_over_and_a_giver_that_dies_is_not_waited_for() {
        let mut world = World::new(&[0, 0, 100, 0]);
        world.serving.retain(|id| id.0 != 3);
        world.spread.empty(WorkerId(3));
        world.orders().into_iter().for_each(|order| world.obey(order));
        let first = world.orders();
        assert!(matches!(first[..], [Order::Move { to: WorkerId(1), .. }]), "{first:?}");
        // It dies in the middle, and the giver says how far it came.
        world.serving.retain(|id| id.0 != 1);
        world.spread.gone(WorkerId(1));
        assert_eq!(world.orders(), []);
        world.counts.insert(WorkerId(3), 90);
        world.spread.moved(WorkerId(3), 10, world.now);
        world.settle();
        assert_eq!(world.counts(), [0, 45, 0, 45]);

        world.counts.insert(WorkerId(2), 60);
        world.spread.empty(WorkerId(2));
        world.serving.retain(|id| id.0 == 4);
        assert_eq!(world.orders(), [Order::Count { worker: WorkerId(2) }]);
        world.spread.gone(WorkerId(2));
        world.settle();
        assert!(!world.spread.is_busy());
    }

    #[test]
    fn who_does_not_answer_in_time_is_named_and_left_alone() {
        let mut world = World::new(&[10, 10, 0]);
        world.spread.fill(WorkerId(3));
        assert_eq!(world.orders().len(), 1);
        let due = world.spread.deadline(false).unwrap();
        world.now = due - Duration::from_millis(1);
        assert_eq!(world.orders(), []);
        world.now = due;
        assert_eq!(world.orders(), []);
        assert_eq!(world.outcomes, [Outcome::Late { worker: WorkerId(1), patience: ANSWER_PATIENCE }]);
        assert!(!world.spread.is_busy() && world.spread.deadline(false).is_none());
        // What it says later is not an answer to anything.
        world.spread.moved(WorkerId(1), 5, world.now);
        world.settle();
        assert_eq!(world.outcomes.len(), 1);
    }

    #[test]
    fn shares_that_are_watched_stay_within_a_tenth_and_are_left_alone_there() {
        let mut world = World::new(&[900, 100, 200]);
        world.always = true;
        world.settle();
        assert_eq!(world.counts(), [400, 400, 400]);
        let moves = world.moves.len();
        world.counts = World::new(&[420, 380, 400]).counts;
        assert_eq!(world.orders(), [], "it is looked once a second");
        world.now += SECOND;
        assert_eq!(world.spread.deadline(true), Some(world.now));
        world.settle();
        assert_eq!(world.moves.len(), moves);
        world.counts = World::new(&[480, 320, 400]).counts;
        world.now += SECOND;
        world.settle();
        assert_eq!(world.counts(), [400, 400, 400]);
    }

    #[test]
    fn who_can_move_nothing_is_asked_once_a_second_and_not_more_often() {
        let mut world = World::new(&[900, 100]);
        (world.always, world.stuck) = (true, BTreeSet::from([WorkerId(1)]));
        for seconds in 1..4 {
            world.settle();
            assert_eq!(world.moves.len(), seconds);
            world.now += SECOND;
        }
    }

    /// What the workers that give back are asked for next, with so many connections and so much room each.
    fn gift(
        spread: &mut Spread,
        shares: &[(u64, u64)],
        waiting: usize,
        always: bool,
        now: Instant,
    ) -> Option<(u64, u32)> {
        let shares: Vec<Share> =
            (1..).map(WorkerId).zip(shares).map(|(worker, &(count, room))| Share { worker, count, room }).collect();
        match spread.next_gift(&shares, waiting, always, now)? {
            Order::Give { from, count } => Some((from.0, count.get())),
            order => panic!("they give back: {order:?}"),
        }
    }

    #[test]
    fn no_more_is_asked_for_than_the_one_with_the_fewest_can_take_and_one_gives_at_a_time() {
        let (mut spread, now) = (Spread::default(), Instant::now());
        assert_eq!(gift(&mut spread, &[(100, 0), (0, 8)], 0, false, now), None, "nobody has asked for it");
        spread.level();
        assert_eq!(gift(&mut spread, &[(100, 0), (0, 0)], 0, false, now), None, "it takes none now");
        assert_eq!(gift(&mut spread, &[(100, 0), (0, 8)], 0, false, now), Some((1, 8)));
        for _ in 0..8 {
            assert_eq!(gift(&mut spread, &[(93, 0), (7, 8)], 0, false, now), None, "it has not given all");
            spread.given(WorkerId(1));
        }
        assert_eq!(gift(&mut spread, &[(92, 0), (6, 8)], 2, false, now), None, "some wait");
        assert_eq!(gift(&mut spread, &[(92, 0), (8, 99)], 0, false, now), Some((1, 42)));
        // It gives what it can; the rest is not waited for, nor asked for again at once.
        let late = now + GIVE_PATIENCE;
        assert_eq!(spread.deadline(false), Some(late));
        assert_eq!(gift(&mut spread, &[(92, 0), (8, 99)], 0, false, late), None);
        assert_eq!(spread.take_outcomes(), []);
        assert_eq!(spread.deadline(false), None);
    }

    #[test]
    fn gifts_are_asked_for_once_a_second_where_shares_are_watched_and_never_in_a_rush() {
        let (mut spread, mut now) = (Spread::default(), Instant::now());
        assert_eq!(gift(&mut spread, &[(100, 9), (90, 9)], 0, true, now), None);
        assert_eq!(spread.deadline(true), Some(now + LOOK_EVERY));
        assert_eq!(gift(&mut spread, &[(200, 9), (90, 9)], 0, true, now), None, "not yet");
        now += LOOK_EVERY;
        assert_eq!(gift(&mut spread, &[(200, 9), (90, 0)], 0, true, now), None, "it takes none now");
        // Also while it takes none: the next look is not in the past.
        assert_eq!(spread.deadline(true), Some(now + LOOK_EVERY));
        assert_eq!(gift(&mut spread, &[(200, 9), (90, 9)], 0, true, now), Some((1, 9)));
    }
}
