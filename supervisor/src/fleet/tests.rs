//! Decisions of the fleet, with time passed in and workers that are made up.

mod guarded;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::back_off::PROVEN;
use super::generations::STOPPING;
use super::queue::UNDER_WAY_MAX;
use super::suspects::TURN_PATIENCE;
use super::worker::HELD_PATIENCE;
use super::*;
use crate::config::{Ready, Replace, Supply};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a worker that accepts itself and says nothing lives before it counts as ready.
const ASSUMED_READY: Duration = Duration::from_secs(1);

/// A worker as it sees itself.
#[derive(Debug, Default)]
struct Scripted {
    ready: bool,
    /// Of the queue, when it is ready.
    version: u32,
    told_to_finish: bool,
    counts_owed: u32,
    moves_owed: u32,
    /// What it has asked for and not been sent.
    credits: u64,
    /// What it was sent and has not taken.
    inbox: Vec<ConnectionId>,
}

/// Which version of the queue workers speak.
#[derive(Clone, Copy, Debug)]
enum Versions {
    All(u32),
    /// Every other one has states.
    Mixed,
}

impl Versions {
    fn of(self, WorkerId(id): WorkerId) -> u32 {
        match self {
            Self::All(version) => version,
            Self::Mixed => VERSION_WITHOUT_STATES + u32::try_from(id % 2).unwrap(),
        }
    }
}

/// A fleet with workers that do as they are told, and a record of what became of each connection.
#[derive(Debug)]
struct World {
    fleet: Fleet,
    now: Instant,
    begun: Instant,
    workers: BTreeMap<WorkerId, Scripted>,
    last: Option<ConnectionId>,
    accepted: u64,
    taken: HashMap<ConnectionId, WorkerId>,
    /// Those that were given back, until they are taken.
    given: HashSet<ConnectionId>,
    versions: Versions,
    starts: Vec<Duration>,
    signals: Vec<(WorkerId, Signal)>,
    reports: Vec<Report>,
    /// What came of new generations.
    reloads: Vec<Reload>,
    /// What workers were told to do with their live connections.
    orders: Vec<Action>,
}

impl World {
    fn new(target: usize, replace: Replace, supply: Supply) -> Self {
        Self::with(
            Rules {
                supply,
                ready: Ready::After(ASSUMED_READY),
                finish_signal: Signal::SIGTERM,
                replace,
                ready_timeout: READY_TIMEOUT,
                drain_timeout: DRAIN_TIMEOUT,
                rebalance: false,
            },
            target,
        )
    }

    /// One of workers that accept themselves.
    fn listening(target: usize, ready: Ready, finish_signal: Signal) -> Self {
        let mut rules = Self::new(target, Replace::Drain, Supply::Listeners).fleet.roster.rules;
        (rules.ready, rules.finish_signal) = (ready, finish_signal);
        Self::with(rules, target)
    }

    fn with(rules: Rules, target: usize) -> Self {
        let now = Instant::now();
        let mut world = Self {
            fleet: Fleet::new(rules, target),
            now,
            begun: now,
            workers: BTreeMap::new(),
            last: None,
            accepted: 0,
            taken: HashMap::new(),
            given: HashSet::new(),
            versions: Versions::All(VERSION_WITHOUT_STATES),
            starts: Vec::new(),
            signals: Vec::new(),
            reports: Vec::new(),
            reloads: Vec::new(),
            orders: Vec::new(),
        };
        world.decide();
        world
    }

    /// Does what the fleet decides, and checks it.
    fn decide(&mut self) {
        loop {
            self.fleet.advance(self.now);
            let mut idle = true;
            while let Some(action) = self.fleet.next_action() {
                idle = false;
                self.act(action);
            }
            while let Some((worker, connection)) = self.fleet.hand_out() {
                idle = false;
                self.send(worker, connection);
            }
            if idle {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { worker, .. } => {
                self.starts.push(self.now - self.begun);
                self.workers.insert(worker, Scripted::default());
                self.fleet.launched(worker, u32::try_from(worker.0).unwrap() + 1000);
            }
            Action::Finish { worker } => {
                if let Some(scripted) = self.workers.get_mut(&worker) {
                    scripted.told_to_finish = true;
                }
            }
            Action::Signal { worker, signal } => {
                self.signals.push((worker, signal));
                if signal == Signal::SIGKILL {
                    self.exit(worker, Exit::Signal(signal));
                }
            }
            Action::Count { .. } | Action::Give { .. } | Action::Move { .. } => self.note_order(action),
            Action::Report(report) => self.reports.push(report),
            Action::Answer(reload) => self.reloads.push(reload),
        }
    }

    /// Only who knows the word is told to do something, and one at a time.
    fn note_order(&mut self, action: Action) {
        let (Action::Count { worker: told } | Action::Give { worker: told, .. } | Action::Move { worker: told, .. }) =
            action
        else {
            panic!("no order: {action:?}");
        };
        assert!(self.workers.get(&told).is_some_and(|scripted| scripted.version == VERSION), "{action:?}");
        if let Action::Move { worker, to, .. } = action {
            assert!(worker != to && self.workers.contains_key(&to), "{action:?}");
            let scripted = self.workers.get_mut(&told).unwrap();
            scripted.moves_owed += 1;
        }
        if let Action::Count { .. } = action {
            self.workers.get_mut(&told).unwrap().counts_owed += 1;
        }
        self.orders.push(action);
    }

    /// A worker answers what it was asked, in the order in which it was.
    fn answer(&mut self, id: WorkerId, count: u32) {
        let scripted = self.workers.get_mut(&id).unwrap();
        if scripted.counts_owed > 0 {
            scripted.counts_owed -= 1;
            self.say(id, FromWorker::Holds(count));
        } else if scripted.moves_owed > 0 {
            scripted.moves_owed -= 1;
            self.say(id, FromWorker::Moved(count));
        }
    }

    /// A connection goes to a worker.
    fn send(&mut self, worker: WorkerId, connection: ConnectionId) {
        let scripted = self.workers.get_mut(&worker).expect("only one that lives is sent anything");
        assert!(scripted.ready && !scripted.told_to_finish && scripted.credits > 0, "{scripted:?}");
        scripted.credits -= 1;
        scripted.inbox.push(connection);
        assert!(scripted.inbox.len() <= UNDER_WAY_MAX);
        assert!(!self.taken.contains_key(&connection), "it is taken already");
        assert!(!self.given.contains(&connection) || scripted.version == VERSION, "it knows no states");
        let elsewhere = self.workers.values().flat_map(|other| &other.inbox).filter(|id| **id == connection);
        assert_eq!(elsewhere.count(), 1, "it is under way to two");
        assert!(self.fleet.roster.queue.oldest().is_none_or(|oldest| oldest > connection), "an older one waits");
    }

    fn accept(&mut self) {
        let id = self.last.map_or(ConnectionId::FIRST, ConnectionId::next);
        self.last = Some(id);
        self.accepted += 1;
        self.fleet.enqueue(id);
    }

    fn say(&mut self, id: WorkerId, said: FromWorker) {
        assert!(self.fleet.hear(id, said, self.now).is_ok());
    }

    fn ready(&mut self, id: WorkerId) {
        let version = self.versions.of(id);
        let scripted = self.workers.get_mut(&id).unwrap();
        if !std::mem::replace(&mut scripted.ready, true) {
            scripted.version = version;
            self.say(id, FromWorker::Ready { version });
        }
    }

    fn all_ready(&mut self) {
        for id in self.living() {
            self.ready(id);
        }
        self.decide();
    }

    fn want(&mut self, id: WorkerId, credits: u32) {
        if self.workers[&id].ready {
            self.workers.get_mut(&id).unwrap().credits += u64::from(credits);
            self.say(id, FromWorker::Want(NonZeroU32::new(credits).unwrap()));
        }
    }

    fn take(&mut self, id: WorkerId, place: usize) {
        let scripted = self.workers.get_mut(&id).unwrap();
        if scripted.inbox.is_empty() {
            return;
        }
        let connection = scripted.inbox.remove(place % scripted.inbox.len());
        let taken = self.fleet.hear(id, FromWorker::Took(connection), self.now);
        assert_eq!(taken, Ok(Heard::Took(connection)));
        assert_eq!(self.taken.insert(connection, id), None, "it was taken twice");
        self.given.remove(&connection);
    }

    /// A worker gives back one that it has, if it can, and that is accepted or not.
    fn give_back(&mut self, id: WorkerId, place: usize, is_refused: bool) {
        let mut own: Vec<ConnectionId> =
            self.taken.iter().filter(|(_, owner)| **owner == id).map(|(connection, _)| *connection).collect();
        if own.is_empty() || self.workers[&id].version != VERSION {
            return;
        }
        own.sort_unstable();
        let connection = own[place % own.len()];
        let heard = self.fleet.hear(id, FromWorker::Back(connection), self.now);
        assert_eq!(heard, Ok(Heard::GaveBack(connection)));
        if is_refused {
            return self.fleet.keep(id, connection);
        }
        self.taken.remove(&connection);
        self.given.insert(connection);
        self.fleet.put_back(id, connection);
    }

    /// Another binary goes on with what this one knew.
    fn resume(&mut self) {
        let record = minicbor::to_vec(self.fleet.record(self.now)).unwrap();
        let record = minicbor::decode(&record).unwrap();
        self.fleet = Fleet::from_record(record, self.fleet.roster.rules, self.now);
    }

    fn exit(&mut self, id: WorkerId, exit: Exit) {
        if self.workers.remove(&id).is_some() {
            self.fleet.exited(id, exit, self.now);
        }
    }

    fn living(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }

    /// Lets time pass, with the decisions that are due on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(due) = self.fleet.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.decide();
            turns += 1;
            assert!(turns < 10_000, "what is due is not done: {:#?}", self.fleet);
        }
        self.now = until;
        self.decide();
    }

    /// Every connection is in one place.
    fn check(&self) {
        let under_way: usize = self.workers.values().map(|scripted| scripted.inbox.len()).sum();
        assert_eq!(under_way, self.fleet.roster.queue.under_way());
        let nobodys = self.fleet.waiting() + self.fleet.returned();
        assert_eq!(nobodys + under_way + self.taken.len(), usize::try_from(self.accepted).unwrap());
    }

    fn said(&self, part: &str) -> usize {
        self.reports.iter().filter(|report| report.to_string().contains(part)).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Accept,
    Ready(usize),
    Want(usize, u32),
    Take(usize, usize),
    GiveBack(usize, usize, bool),
    Answer(usize, u32),
    Exit(usize, i32),
    EndQueue(usize),
    Replace,
    Add,
    Remove,
    Pass(u64),
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0usize..8;
    prop_oneof![
        6 => Just(Step::Accept),
        3 => worker.clone().prop_map(Step::Ready),
        4 => (worker.clone(), 1u32..100).prop_map(|(worker, credits)| Step::Want(worker, credits)),
        6 => (worker.clone(), any::<usize>()).prop_map(|(worker, place)| Step::Take(worker, place)),
        4 => (worker.clone(), any::<usize>(), any::<bool>())
            .prop_map(|(worker, place, is_refused)| Step::GiveBack(worker, place, is_refused)),
        6 => (worker.clone(), 0u32..1000).prop_map(|(worker, count)| Step::Answer(worker, count)),
        2 => (worker.clone(), 0..2i32).prop_map(|(worker, code)| Step::Exit(worker, code)),
        1 => worker.prop_map(Step::EndQueue),
        1 => Just(Step::Replace),
        2 => Just(Step::Add),
        2 => Just(Step::Remove),
        2 => (0u64..40_000).prop_map(Step::Pass),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    #[test]
    fn whatever_workers_do_nobody_is_lost_or_served_twice_or_out_of_turn(
        target in 1usize..5,
        takeover in any::<bool>(),
        rebalance in any::<bool>(),
        versions in prop::sample::select(vec![
            Versions::All(VERSION_WITHOUT_STATES), Versions::All(VERSION), Versions::Mixed,
        ]),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let replace = if takeover { Replace::Takeover } else { Replace::Drain };
        let mut world = World::new(target, replace, Supply::Queue);
        world.versions = versions;
        world.fleet.roster.rules.rebalance = rebalance;
        for step in steps {
            let living = world.living();
            let worker = |place: usize| living.get(place % living.len().max(1)).copied();
            match step {
                Step::Accept => world.accept(),
                Step::Ready(place) => worker(place).into_iter().for_each(|id| world.ready(id)),
                Step::Want(place, credits) => worker(place).into_iter().for_each(|id| world.want(id, credits)),
                Step::Take(place, which) => worker(place).into_iter().for_each(|id| world.take(id, which)),
                Step::GiveBack(place, which, is_refused) => {
                    worker(place).into_iter().for_each(|id| world.give_back(id, which, is_refused));
                }
                Step::Answer(place, count) => worker(place).into_iter().for_each(|id| world.answer(id, count)),
                Step::Exit(place, code) => worker(place).into_iter().for_each(|id| world.exit(id, Exit::Code(code))),
                Step::EndQueue(place) => {
                    if let Some(id) = worker(place) {
                        world.workers.get_mut(&id).unwrap().inbox.clear();
                        world.fleet.queue_ended(id, "test".to_owned(), world.now);
                        world.workers.get_mut(&id).unwrap().credits = 0;
                        world.exit(id, Exit::Code(0));
                    }
                }
                Step::Replace => drop(world.fleet.replace(world.now)),
                Step::Add if world.fleet.target < 6 => world.fleet.add(world.now),
                Step::Add => {}
                Step::Remove => world.fleet.remove(world.now),
                Step::Pass(milliseconds) => world.pass(Duration::from_millis(milliseconds)),
                Step::Resume => {
                    world.decide();
                    world.resume();
                }
            }
            world.decide();
            world.check();
        }
        // Once workers behave, everybody is served.
        for _ in 0..100 {
            world.pass(Duration::from_secs(70));
            world.all_ready();
            for id in world.living() {
                world.want(id, 50);
                world.decide();
                for _ in 0..UNDER_WAY_MAX {
                    world.take(id, 0);
                }
            }
            world.decide();
            world.check();
        }
        // Only those who can have no heir may still wait.
        let waiting = if world.fleet.returned_are_stuck() { world.fleet.returned() } else { 0 };
        prop_assert_eq!((world.taken.len() + waiting) as u64, world.accepted);
        prop_assert!(world.fleet.is_complete());
    }
}

#[test]
fn a_worker_that_cannot_start_is_started_five_times_in_two_seconds_and_once_a_minute_later() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    while world.now - world.begun < Duration::from_secs(3600) {
        for id in world.living() {
            world.exit(id, Exit::Code(1));
        }
        world.decide();
        let due = world.fleet.deadline().expect("it is tried again");
        world.pass(due - world.now);
    }
    let within = |from: u64, to: u64| {
        let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
        world.starts.iter().filter(|start| (from..to).contains(*start)).count()
    };
    assert_eq!(within(0, 2), 5);
    for minute in 3..59 {
        assert!(within(60 * minute, 60 * minute + 60) <= 1, "minute {minute}");
    }
    assert!(within(1800, 3600) >= 29, "it is not given up");
}

#[test]
fn workers_that_cannot_start_are_tried_one_at_a_time() {
    let mut world = World::new(4, Replace::Drain, Supply::Queue);
    for id in world.living() {
        world.exit(id, Exit::Code(1));
    }
    world.pass(Duration::from_millis(150));
    assert_eq!(world.starts.len(), 5);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.starts.len(), 5, "it has not failed yet");
    world.all_ready();
    assert_eq!(world.starts.len(), 8, "the others follow when it is ready");
}

#[test]
fn several_workers_that_cannot_start_are_four_starts_more_in_two_seconds_than_there_are_to_be() {
    let mut world = World::new(4, Replace::Drain, Supply::Queue);
    while world.now - world.begun < Duration::from_secs(60) {
        // They do not all take as long to fail.
        for id in world.living() {
            world.exit(id, Exit::Code(1));
            world.pass(Duration::from_millis(1));
        }
        let due = world.fleet.deadline().expect("it is tried again");
        world.pass(due - world.now);
    }
    let before = |seconds| world.starts.iter().filter(|start| **start < Duration::from_secs(seconds)).count();
    assert_eq!(before(2), 4 + 4);
    assert_eq!(before(60), 4 + 9, "as with one worker");
}

#[test]
fn six_that_die_together_are_one_failure() {
    let mut world = World::new(6, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.pass(Duration::from_secs(1));
    for id in world.living() {
        world.exit(id, Exit::Signal(Signal::SIGKILL));
    }
    world.pass(Duration::from_millis(100));
    world.all_ready();
    world.all_ready();
    assert_eq!(world.starts.len(), 12);
    assert!(world.fleet.is_complete());
}

#[test]
fn a_worker_that_has_served_is_replaced_at_once() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.pass(PROVEN);
    world.exit(world.living()[0], Exit::Code(1));
    world.decide();
    assert_eq!(world.starts.len(), 2);
    assert_eq!(world.said("it is replaced at once"), 1);
}

#[test]
fn connections_go_to_those_who_ask_in_turn() {
    let mut world = World::new(3, Replace::Drain, Supply::Queue);
    world.all_ready();
    for id in world.living() {
        world.want(id, 2);
    }
    (0..7).for_each(|_| world.accept());
    world.decide();
    assert!(world.workers.values().all(|scripted| scripted.inbox.len() == 2));
    let first: Vec<u64> = world.workers[&WorkerId(1)].inbox.iter().map(|id| id.number()).collect();
    assert_eq!(first, [1, 4]);
    assert_eq!(world.fleet.waiting(), 1);
}

#[test]
fn what_a_dead_worker_had_not_taken_goes_first() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.want(WorkerId(1), 3);
    (0..5).for_each(|_| world.accept());
    world.decide();
    world.take(WorkerId(1), 1);
    world.exit(WorkerId(1), Exit::Signal(Signal::SIGKILL));
    world.want(WorkerId(2), 4);
    world.decide();
    let sent: Vec<u64> = world.workers[&WorkerId(2)].inbox.iter().map(|id| id.number()).collect();
    assert_eq!(sent, [1, 3, 4, 5]);
}

#[test]
fn several_requests_for_a_generation_make_one() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.all_ready();
    for _ in 0..3 {
        world.fleet.replace(world.now);
        world.decide();
    }
    assert!(world.workers.keys().take(2).all(|id| !world.fleet.finishes(*id)));
    // The two that were superseded are late with being ready, and nothing comes of it.
    world.all_ready();
    assert_eq!(world.said("Generation 2 serves: 2 workers"), 1);
    assert_eq!(world.said(" serves: "), 1);
    assert_eq!(world.fleet.current(), 2);
    let serving = world.fleet.roster.all().filter(|worker| worker.is_serving());
    assert_eq!(serving.count(), 2);
}

#[test]
fn a_generation_gets_connections_only_when_all_of_it_are_ready() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.fleet.replace(world.now);
    world.decide();
    world.ready(WorkerId(3));
    world.want(WorkerId(3), 1);
    world.accept();
    world.decide();
    assert_eq!(world.fleet.waiting(), 1);
    world.ready(WorkerId(4));
    world.decide();
    assert_eq!(world.workers[&WorkerId(3)].inbox.len(), 1);
    assert!(world.workers[&WorkerId(1)].told_to_finish && world.workers[&WorkerId(2)].told_to_finish);
}

#[test]
fn a_generation_that_fails_is_given_up_with_one_line() {
    type Failing = fn(&mut World);
    let failures: [(&str, Failing); 3] = [
        ("exited with code 3 before it was ready", |world| world.exit(WorkerId(3), Exit::Code(3))),
        ("is not ready after 30000 ms", |world| world.pass(READY_TIMEOUT)),
        ("was killed by SIGKILL", |world| {
            world.ready(WorkerId(4));
            world.exit(WorkerId(4), Exit::Signal(Signal::SIGKILL));
        }),
    ];
    for (reason, fail) in failures {
        let mut world = World::new(2, Replace::Drain, Supply::Queue);
        world.all_ready();
        world.fleet.replace(world.now);
        world.decide();
        fail(&mut world);
        world.decide();
        assert_eq!(world.said(reason), 1, "{:?}", world.reports);
        assert_eq!(world.said("Generation 2 is given up"), 1);
        assert_eq!(world.said("generation 1 goes on"), 1);
        assert!(world.fleet.is_complete());
        assert!(!world.workers[&WorkerId(1)].told_to_finish);
        world.fleet.replace(world.now);
        world.decide();
        assert_eq!(world.fleet.coming(), Some(2));
    }
}

#[test]
fn one_that_does_not_finish_is_terminated_and_then_killed() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.fleet.stop(world.now);
    world.decide();
    assert!(world.workers[&WorkerId(1)].told_to_finish);
    world.pass(DRAIN_TIMEOUT - Duration::from_millis(1));
    assert_eq!(world.signals, []);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.signals, [(WorkerId(1), Signal::SIGTERM)]);
    world.pass(KILL_DELAY);
    assert_eq!(world.signals, [(WorkerId(1), Signal::SIGTERM), (WorkerId(1), Signal::SIGKILL)]);
    assert!(world.fleet.is_over());
}

#[test]
fn a_second_stop_does_not_wait() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.all_ready();
    world.accept();
    world.fleet.stop(world.now);
    world.decide();
    assert!(!world.workers[&WorkerId(1)].told_to_finish, "the queue is served first");
    world.fleet.stop(world.now);
    world.decide();
    assert_eq!(world.signals, [(WorkerId(1), Signal::SIGTERM), (WorkerId(2), Signal::SIGTERM)]);
}

#[test]
fn a_second_stop_does_not_wait_for_workers_that_accept_themselves() {
    for at_once in [false, true] {
        let mut world = World::new(1, Replace::Drain, Supply::Listeners);
        world.pass(ASSUMED_READY);
        world.fleet.stop(world.now);
        if !at_once {
            world.decide();
            assert!(world.workers[&WorkerId(1)].told_to_finish);
        }
        world.fleet.stop(world.now);
        world.decide();
        assert!(world.workers[&WorkerId(1)].told_to_finish && world.signals.is_empty());
        world.pass(KILL_DELAY);
        assert_eq!(world.signals, [(WorkerId(1), Signal::SIGKILL)], "{at_once}");
        assert!(world.fleet.is_over());
    }
}

#[test]
fn a_stop_starts_nobody_and_waits_for_nobody_who_is_not_ready() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.ready(WorkerId(1));
    world.decide();
    world.fleet.stop(world.now);
    world.decide();
    assert_eq!(world.signals, [(WorkerId(2), Signal::SIGTERM)]);
    world.exit(WorkerId(1), Exit::Code(0));
    world.exit(WorkerId(2), Exit::Signal(Signal::SIGTERM));
    world.pass(DRAIN_TIMEOUT);
    assert_eq!(world.starts.len(), 2);
    assert!(world.fleet.is_over());
}

#[test]
fn a_takeover_that_fails_leaves_its_predecessor_and_the_others_go_through() {
    let mut world = World::new(2, Replace::Takeover, Supply::Queue);
    world.all_ready();
    world.fleet.replace(world.now);
    world.decide();
    world.exit(WorkerId(1), Exit::Code(0));
    world.decide();
    world.ready(WorkerId(3));
    world.exit(WorkerId(4), Exit::Code(3));
    world.decide();
    assert_eq!(world.said("Worker pid 1002 is not replaced and goes on: worker pid 1004 exited with code 3"), 1);
    assert_eq!(world.said("Generation 2 serves in part: 1 workers, and 1 of earlier ones go on"), 1);
    assert!(world.fleet.is_complete());
    assert_eq!((world.fleet.serving(), world.fleet.unreplaced()), (2, 1));
    let why = "1 workers were not replaced and go on: worker pid 1004 exited with code 3 before it was ready";
    let [Reload { number: 1, generation: 2, workers: 1, why_not: Some(why_not) }] = &world.reloads[..] else {
        panic!("{:?}", world.reloads);
    };
    assert_eq!(why_not, why);
    assert_eq!(world.starts.len(), 4, "nobody is missing");
    // Next time both are replaced.
    world.fleet.replace(world.now);
    world.decide();
    world.all_ready();
    assert!(world.workers[&WorkerId(2)].told_to_finish && world.workers[&WorkerId(3)].told_to_finish);
    assert_eq!(world.fleet.current(), 3);
}

/// Two workers whose successors have not said that they are ready, whether or not they have all connections by now.
fn with_silent_successors(predecessors_are_gone: bool) -> World {
    let mut world = World::new(2, Replace::Takeover, Supply::Queue);
    world.all_ready();
    world.fleet.replace(world.now);
    world.decide();
    if predecessors_are_gone {
        world.exit(WorkerId(1), Exit::Code(0));
        world.exit(WorkerId(2), Exit::Code(0));
        world.decide();
    }
    world
}

/// The reasons for which a successor that is not ready may be let go.
fn reasons_to_let_go() -> [fn(&mut World); 3] {
    [|world| world.pass(READY_TIMEOUT), |world| world.fleet.stop(world.now), |world| world.fleet.remove(world.now)]
}

#[test]
fn a_successor_that_has_connections_finishes_them_whyever_it_is_let_go() {
    for (case, let_go) in reasons_to_let_go().into_iter().enumerate() {
        let mut world = with_silent_successors(true);
        let_go(&mut world);
        world.decide();
        assert_eq!(world.signals, [], "{case}");
        assert!(world.workers[&WorkerId(4)].told_to_finish, "{case}");
        world.pass(DRAIN_TIMEOUT);
        assert!(world.signals.contains(&(WorkerId(4), Signal::SIGTERM)), "{case}");
    }
}

#[test]
fn a_successor_that_is_let_go_while_its_predecessor_serves_takes_over_nothing_any_more() {
    for (case, let_go) in reasons_to_let_go().into_iter().enumerate() {
        let mut world = with_silent_successors(false);
        let_go(&mut world);
        world.decide();
        assert!(world.signals.contains(&(WorkerId(4), Signal::SIGSTOP)), "{case}");
        assert!(!world.workers[&WorkerId(4)].told_to_finish, "it does not run: {case}");
        world.pass(HELD_PATIENCE);
        assert!(world.signals.contains(&(WorkerId(4), Signal::SIGKILL)), "{case}: {:?}", world.signals);
        assert!(!world.signals.iter().any(|(_, signal)| *signal == Signal::SIGCONT), "{case}");
    }
}

#[test]
fn a_successor_that_had_taken_over_when_it_was_given_up_serves_whoever_says_so() {
    let by_its_word: fn(&mut World) =
        |world| world.say(WorkerId(3), FromWorker::Ready { version: VERSION_WITHOUT_STATES });
    let by_the_end_of_its_predecessor: fn(&mut World) = |world| world.exit(WorkerId(1), Exit::Code(0));
    for shows in [by_its_word, by_the_end_of_its_predecessor] {
        let mut world = with_silent_successors(false);
        world.pass(READY_TIMEOUT);
        assert!(world.signals.contains(&(WorkerId(3), Signal::SIGSTOP)));
        shows(&mut world);
        world.decide();
        assert!(world.signals.contains(&(WorkerId(3), Signal::SIGCONT)), "{:?}", world.signals);
        assert_eq!(world.said("Worker pid 1003 had taken over already when it was given up, and serves"), 1);
        world.pass(HELD_PATIENCE);
        assert!(!world.signals.contains(&(WorkerId(3), Signal::SIGKILL)), "{:?}", world.signals);
    }
}

/// Two workers of which the second is not to serve any more, nor is its successor, which was held.
fn with_a_held_successor_of_one_that_leaves(let_go: fn(&mut World)) -> World {
    let mut world = with_silent_successors(false);
    let_go(&mut world);
    world.decide();
    assert!(world.signals.contains(&(WorkerId(4), Signal::SIGSTOP)), "{:?}", world.signals);
    assert!(world.workers[&WorkerId(2)].told_to_finish);
    world
}

#[test]
fn a_successor_that_had_taken_over_from_one_that_is_to_finish_finishes_in_its_place() {
    let removed: fn(&mut World) = |world| world.fleet.remove(world.now);
    let stopped: fn(&mut World) = |world| world.fleet.stop(world.now);
    for let_go in [removed, stopped] {
        for exit in [Exit::Code(0), Exit::Signal(Signal::SIGKILL)] {
            let mut world = with_a_held_successor_of_one_that_leaves(let_go);
            world.exit(WorkerId(2), exit);
            world.decide();
            assert!(world.signals.contains(&(WorkerId(4), Signal::SIGCONT)), "{:?}", world.signals);
            assert!(world.workers[&WorkerId(4)].told_to_finish);
            assert_eq!(world.said("Worker pid 1004 was given up and runs again"), 1);
            world.pass(HELD_PATIENCE);
            assert!(!world.signals.contains(&(WorkerId(4), Signal::SIGKILL)), "{:?}", world.signals);
            world.pass(DRAIN_TIMEOUT - HELD_PATIENCE);
            assert!(world.signals.contains(&(WorkerId(4), Signal::SIGTERM)), "{:?}", world.signals);
        }
    }
}

#[test]
fn a_successor_that_says_that_it_has_taken_over_from_one_that_was_removed_is_removed_itself() {
    let mut world = with_a_held_successor_of_one_that_leaves(|world| world.fleet.remove(world.now));
    world.ready(WorkerId(4));
    world.decide();
    assert!(world.signals.contains(&(WorkerId(4), Signal::SIGCONT)), "{:?}", world.signals);
    assert!(world.workers[&WorkerId(4)].told_to_finish);
    world.ready(WorkerId(3));
    world.decide();
    assert_eq!((world.fleet.target(), world.fleet.serving()), (1, 1));
}

#[test]
fn a_worker_that_is_removed_while_another_takes_over_from_it_is_replaced_by_nobody() {
    for had_taken_over in [true, false] {
        let mut world = with_silent_successors(false);
        world.exit(WorkerId(3), Exit::Code(3));
        world.decide();
        world.fleet.remove(world.now);
        world.decide();
        assert!(world.workers[&WorkerId(2)].told_to_finish);
        assert!(world.signals.contains(&(WorkerId(4), Signal::SIGSTOP)), "{:?}", world.signals);
        if had_taken_over {
            world.ready(WorkerId(4));
            world.decide();
            assert!(world.workers[&WorkerId(4)].told_to_finish);
        } else {
            world.pass(HELD_PATIENCE);
            assert!(world.signals.contains(&(WorkerId(4), Signal::SIGKILL)), "{:?}", world.signals);
        }
        assert_eq!((world.fleet.target(), world.fleet.serving()), (1, 1));
    }
}

#[test]
fn one_that_is_removed_before_it_was_started_leaves_nobody_to_be_filled() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.replace(world.now);
    world.decide();
    world.fleet.add(world.now);
    world.fleet.remove(world.now);
    world.all_ready();
    assert_eq!((world.said("Generation 2 serves: 2 workers"), world.fleet.target()), (1, 2));
    for id in [1, 2] {
        world.exit(WorkerId(id), Exit::Code(0));
    }
    world.exit(WorkerId(3), Exit::Signal(Signal::SIGKILL));
    world.pass(Duration::from_secs(1));
    world.all_ready();
    assert_eq!((world.fleet.serving(), ordered(&mut world)), (2, Vec::new()), "it takes the place of one that died");
}

#[test]
fn a_successor_that_was_given_up_goes_on_when_its_predecessor_is_killed_and_nobody_else_is_started_meanwhile() {
    for has_taken_over in [true, false] {
        let mut world = with_silent_successors(false);
        world.pass(READY_TIMEOUT);
        world.exit(WorkerId(2), Exit::Signal(Signal::SIGKILL));
        world.decide();
        assert!(world.signals.contains(&(WorkerId(4), Signal::SIGCONT)), "{:?}", world.signals);
        world.pass(HELD_PATIENCE);
        assert!(!world.signals.contains(&(WorkerId(4), Signal::SIGKILL)), "{:?}", world.signals);
        assert_eq!(world.starts.len(), 4);
        if has_taken_over {
            world.ready(WorkerId(4));
        } else {
            world.exit(WorkerId(4), Exit::Code(3));
        }
        world.pass(Duration::from_secs(1));
        world.all_ready();
        assert_eq!((world.starts.len(), world.fleet.serving()), (if has_taken_over { 4 } else { 5 }, 2));
    }
}

#[test]
fn whoever_asks_for_a_generation_learns_what_has_come_of_that_one() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.all_ready();
    assert_eq!(world.fleet.replace(world.now), Some(1));
    world.decide();
    assert_eq!(world.fleet.replace(world.now), Some(1), "it begins again, and is one");
    world.decide();
    world.all_ready();
    assert_eq!(world.fleet.replace(world.now), Some(2));
    world.decide();
    let last = *world.living().last().unwrap();
    world.exit(last, Exit::Code(9));
    world.decide();
    let [first, second] = &world.reloads[..] else { panic!("{:?}", world.reloads) };
    assert_eq!((first.number, first.generation, first.workers, &first.why_not), (1, 2, 1, &None));
    assert_eq!((second.number, second.generation, second.workers), (2, 3, 0));
    assert!(second.why_not.as_ref().unwrap().contains("exited with code 9"), "{second:?}");
    world.fleet.stop(world.now);
    assert_eq!(world.fleet.replace(world.now), None);
}

#[test]
fn a_generation_of_which_nobody_lives_has_not_come_also_where_nobody_lived_before() {
    let mut world = World::new(2, Replace::Takeover, Supply::Queue);
    for id in [1, 2] {
        world.exit(WorkerId(id), Exit::Code(1));
    }
    world.fleet.replace(world.now);
    world.decide();
    for id in [3, 4] {
        world.exit(WorkerId(id), Exit::Code(9));
    }
    world.decide();
    let [Reload { number: 1, generation: 2, workers: 0, why_not: Some(why_not) }] = &world.reloads[..] else {
        panic!("{:?}", world.reloads);
    };
    assert!(why_not.starts_with("none of its workers became ready: worker pid 1003 exited with code 9"), "{why_not}");
    assert_eq!((world.said("Generation 2 is given up"), world.said(" serves: ")), (1, 0));
    world.pass(Duration::from_secs(1));
    // One is tried first.
    world.all_ready();
    world.all_ready();
    assert!(world.fleet.is_complete(), "it is tried on");
}

#[test]
fn who_asks_during_a_takeover_waits_for_the_generation_after_it() {
    let mut world = with_silent_successors(false);
    assert_eq!(world.fleet.replace(world.now), Some(2));
    world.fleet.stop(world.now);
    world.decide();
    assert_eq!(world.reloads.iter().map(|reload| reload.number).collect::<Vec<_>>(), [1, 2]);
    assert!(world.reloads.iter().all(|reload| reload.why_not.as_deref() == Some(STOPPING)), "{:?}", world.reloads);
}

#[test]
fn a_generation_is_not_replaced_before_its_workers_can_hand_over_what_they_have_taken_over() {
    let mut world = with_silent_successors(true);
    world.fleet.replace(world.now);
    world.decide();
    assert_eq!(world.signals, []);
    assert_eq!(world.starts.len(), 4, "nobody takes over from one that is not ready");
    world.all_ready();
    assert_eq!(world.said("Generation 2 serves: 2 workers"), 1);
    assert_eq!(world.starts.len(), 6, "it was asked for again");
}

#[test]
fn a_worker_that_accepts_itself_may_have_connections_from_the_start() {
    let mut world = World::new(1, Replace::Drain, Supply::Listeners);
    world.pass(ASSUMED_READY);
    world.fleet.replace(world.now);
    world.decide();
    world.fleet.replace(world.now);
    world.decide();
    assert!(world.workers[&WorkerId(2)].told_to_finish);
    world.pass(DRAIN_TIMEOUT - Duration::from_millis(1));
    assert!(!world.signals.contains(&(WorkerId(2), Signal::SIGKILL)), "{:?}", world.signals);
}

#[test]
fn workers_that_accept_themselves_are_ready_when_they_have_lived_for_a_second() {
    let mut world = World::new(1, Replace::Drain, Supply::Listeners);
    world.pass(ASSUMED_READY);
    assert!(world.fleet.is_complete());
    world.fleet.replace(world.now);
    world.decide();
    assert!(!world.workers[&WorkerId(1)].told_to_finish);
    world.pass(ASSUMED_READY);
    assert!(world.workers[&WorkerId(1)].told_to_finish);
    world.pass(DRAIN_TIMEOUT);
    assert_eq!(world.signals, [(WorkerId(1), Signal::SIGKILL)]);
}

#[test]
fn a_worker_that_finishes_on_another_signal_is_terminated_before_it_is_killed() {
    let mut world = World::listening(1, Ready::After(ASSUMED_READY), Signal::SIGQUIT);
    world.pass(ASSUMED_READY);
    world.fleet.stop(world.now);
    world.decide();
    assert!(world.workers[&WorkerId(1)].told_to_finish && world.signals.is_empty());
    world.pass(DRAIN_TIMEOUT);
    assert_eq!(world.signals, [(WorkerId(1), Signal::SIGTERM)]);
    world.pass(KILL_DELAY);
    assert_eq!(world.signals.last(), Some(&(WorkerId(1), Signal::SIGKILL)));
}

#[test]
fn a_worker_that_only_lives_takes_the_place_of_nobody_who_serves() {
    for ready in [Ready::Notify, Ready::Tcp] {
        let mut world = World::listening(1, ready, Signal::SIGTERM);
        world.all_ready();
        world.fleet.replace(world.now);
        world.pass(READY_TIMEOUT - Duration::from_millis(1));
        assert!(world.fleet.coming().is_some() && !world.workers[&WorkerId(1)].told_to_finish);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.said("Generation 2 is given up: worker pid 1002 "), 1);
        assert!(world.workers[&WorkerId(2)].told_to_finish && !world.workers[&WorkerId(1)].told_to_finish);
    }
}

#[test]
fn one_that_is_not_seen_to_accept_is_let_be_where_nobody_serves_in_its_place() {
    let mut world = World::listening(1, Ready::Tcp, Signal::SIGTERM);
    world.pass(READY_TIMEOUT);
    assert!(world.fleet.is_complete());
    assert_eq!(world.said("is not seen to accept"), 1);
    // One of which it is expected that it says so is replaced.
    let mut world = World::listening(1, Ready::Notify, Signal::SIGTERM);
    world.pass(READY_TIMEOUT);
    assert!(!world.fleet.is_complete() && world.workers[&WorkerId(1)].told_to_finish);
}

#[test]
fn only_who_says_nothing_and_is_not_ready_yet_is_looked_at() {
    let mut world = World::listening(2, Ready::Tcp, Signal::SIGTERM);
    world.fleet.ready(WorkerId(1), world.now);
    let looked_at: Vec<(WorkerId, u32)> = world.fleet.to_be_seen().collect();
    assert_eq!(looked_at, [(WorkerId(2), 1002)]);
    assert_eq!(World::listening(1, Ready::Notify, Signal::SIGTERM).fleet.to_be_seen().count(), 0);
    assert_eq!(World::new(1, Replace::Drain, Supply::Queue).fleet.to_be_seen().count(), 0);
}

#[test]
fn a_worker_that_exits_on_purpose_is_replaced_at_once_however_often() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    for starts in 1..20 {
        let id = WorkerId(starts);
        world.ready(id);
        world.accept();
        world.want(id, 1);
        world.decide();
        world.take(id, 0);
        world.exit(id, Exit::Code(0));
        world.decide();
        assert_eq!(world.starts.len() as u64, starts + 1);
    }
    assert!(world.reports.iter().all(|report| !report.is_warning()), "{:?}", world.reports);
    // One that has done nothing is no better than one that fails.
    world.ready(WorkerId(20));
    world.exit(WorkerId(20), Exit::Code(0));
    world.decide();
    assert_eq!((world.starts.len(), world.said("exited with code 0; it is replaced in 100 ms")), (20, 1));
}

#[test]
fn a_worker_may_not_say_what_is_not_so() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    let (now, id, connection) = (world.now, WorkerId(1), ConnectionId::FIRST);
    let want = FromWorker::Want(NonZeroU32::MIN);
    assert_eq!(world.fleet.hear(id, want, now), Err(Breach::NotReady));
    assert_eq!(world.fleet.hear(id, FromWorker::Ready { version: 0 }, now), Err(Breach::Version(0)));
    assert_eq!(world.fleet.hear(id, FromWorker::Ready { version: 3 }, now), Err(Breach::Version(3)));
    world.ready(id);
    assert_eq!(world.fleet.hear(id, FromWorker::Ready { version: 1 }, now), Err(Breach::ReadyTwice));
    assert_eq!(world.fleet.hear(id, FromWorker::Took(connection), now), Err(Breach::NotSent(connection)));
    world.accept();
    world.want(id, 1);
    world.decide();
    world.take(id, 0);
    assert_eq!(world.fleet.hear(id, FromWorker::Took(connection), now), Err(Breach::NotSent(connection)));
}

#[test]
fn a_worker_may_not_give_back_what_it_does_not_have_or_answer_what_it_was_not_asked() {
    let mut world = World::new(2, Replace::Drain, Supply::Queue);
    world.versions = Versions::Mixed;
    world.all_ready();
    let (now, id, ignorant, connection) = (world.now, WorkerId(1), WorkerId(2), ConnectionId::FIRST);
    let back = FromWorker::Back(connection);
    assert_eq!(world.fleet.hear(id, back, now), Err(Breach::NotHeld(connection)));
    for _ in 0..2 {
        world.accept();
    }
    world.want(id, 1);
    world.decide();
    assert_eq!(world.fleet.hear(id, back, now), Err(Breach::NotHeld(connection)), "it is only under way");
    world.take(id, 0);
    world.give_back(id, 0, false);
    assert_eq!(world.fleet.hear(id, back, now), Err(Breach::NotHeld(connection)), "it has given it back");
    assert_eq!(world.fleet.hear(id, FromWorker::Done(connection), now), Err(Breach::NotHeld(connection)));
    world.want(ignorant, 1);
    world.decide();
    world.take(ignorant, 0);
    let second = connection.next();
    assert_eq!(world.fleet.hear(ignorant, FromWorker::Back(second), now), Err(Breach::NotHeld(second)));
    for said in [FromWorker::Holds(1), FromWorker::Moved(1)] {
        assert_eq!(world.fleet.hear(id, said, now), Err(Breach::NotAsked(said)));
    }
}

#[test]
fn a_worker_that_finishes_gives_back_to_those_who_follow_and_says_how_many() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.versions = Versions::All(VERSION);
    world.all_ready();
    world.want(WorkerId(1), 9);
    (0..3).for_each(|_| world.accept());
    world.decide();
    (0..3).for_each(|_| world.take(WorkerId(1), 0));
    world.fleet.replace(world.now);
    world.decide();
    world.ready(WorkerId(2));
    world.decide();
    assert!(world.workers[&WorkerId(1)].told_to_finish && world.fleet.has_heirs());
    (0..3).for_each(|_| world.give_back(WorkerId(1), 0, false));
    world.exit(WorkerId(1), Exit::Code(0));
    world.want(WorkerId(2), 9);
    world.decide();
    (0..3).for_each(|_| world.take(WorkerId(2), 0));
    assert_eq!(world.fleet.returned(), 0);
    assert_eq!(world.said("exited with code 0; it has given back 3 connections"), 1);
}

#[test]
fn nothing_is_taken_back_when_nobody_is_to_serve_it() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.versions = Versions::All(VERSION);
    assert!(world.fleet.has_heirs(), "one that starts may speak any version");
    world.all_ready();
    world.versions = Versions::All(VERSION_WITHOUT_STATES);
    world.fleet.replace(world.now);
    world.decide();
    assert!(world.fleet.has_heirs());
    world.all_ready();
    assert!(!world.fleet.has_heirs(), "it speaks version 1");
    world.exit(WorkerId(2), Exit::Code(1));
    assert!(world.fleet.has_heirs(), "another takes its place");
    world.fleet.stop(world.now);
    assert!(!world.fleet.has_heirs());
}

/// What was ordered since this was asked last, as it is said, with workers by their numbers.
fn ordered(world: &mut World) -> Vec<String> {
    let said = |action: Action| match action {
        Action::Count { worker } => format!("{}: count", worker.0),
        Action::Give { worker, count } => format!("{}: give {count}", worker.0),
        Action::Move { worker, to, share } => format!("{}: move {share} to {}", worker.0, to.0),
        other => panic!("no order: {other:?}"),
    };
    std::mem::take(&mut world.orders).into_iter().map(said).collect()
}

/// Two workers that serve and know all words.
fn two_that_know(replace: Replace) -> World {
    let mut world = World::new(2, replace, Supply::Queue);
    world.versions = Versions::All(VERSION);
    world.all_ready();
    assert_eq!(ordered(&mut world), [""; 0]);
    world
}

/// A generation is asked for, and the worker that was to take over from the second one has failed.
fn one_of_two_not_taken_over() -> World {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.replace(world.now);
    world.decide();
    world.ready(WorkerId(3));
    world.exit(WorkerId(4), Exit::Code(3));
    world.decide();
    assert_eq!(ordered(&mut world), ["2: count"]);
    assert_eq!((world.said("is not replaced"), world.reloads.len()), (0, 0), "it is not known yet");
    world
}

#[test]
fn a_worker_that_hangs_is_replaced_by_one_that_takes_over_nothing_and_finishes_when_that_serves() {
    let mut world = one_of_two_not_taken_over();
    world.pass(TURN_PATIENCE);
    assert_eq!(world.said("Worker pid 1002 has not answered after 10000 ms, so that it hands over nothing"), 1);
    assert_eq!(world.living().last(), Some(&WorkerId(5)));
    assert!(!world.workers[&WorkerId(2)].told_to_finish, "nobody serves in its place yet");
    world.ready(WorkerId(5));
    world.decide();
    assert!(world.workers[&WorkerId(2)].told_to_finish);
    assert_eq!((world.said("Generation 2 serves: 2 workers"), world.reloads.len()), (1, 1));
    assert_eq!(world.reloads[0].why_not, None);
    world.pass(DRAIN_TIMEOUT + KILL_DELAY);
    assert_eq!(world.signals.last(), Some(&(WorkerId(2), Signal::SIGKILL)));
    assert_eq!((world.fleet.serving(), world.starts.len()), (2, 5));
}

#[test]
fn a_worker_that_answers_goes_on_if_it_was_not_taken_over() {
    let mut world = one_of_two_not_taken_over();
    world.pass(TURN_PATIENCE / 2);
    world.answer(WorkerId(2), 7);
    world.decide();
    assert_eq!(world.said("Worker pid 1002 is not replaced and goes on: worker pid 1004 exited with code 3"), 1);
    assert_eq!(world.said("Generation 2 serves in part"), 1);
    world.pass(TURN_PATIENCE);
    assert_eq!((world.said("has not answered"), world.starts.len()), (0, 4));
}

#[test]
fn a_worker_that_hangs_goes_on_if_the_new_generation_cannot_start_at_all() {
    let mut world = one_of_two_not_taken_over();
    world.pass(TURN_PATIENCE);
    world.exit(WorkerId(5), Exit::Code(1));
    world.decide();
    assert_eq!(world.said("Worker pid 1002 is not replaced and goes on: worker pid 1005 exited with code 1"), 1);
    assert!(!world.workers[&WorkerId(2)].told_to_finish);
    assert_eq!((world.said("Generation 2 serves in part"), world.fleet.serving()), (1, 2));
}

#[test]
fn a_worker_that_is_gone_before_it_is_known_to_hang_is_replaced_as_any_other() {
    let mut world = one_of_two_not_taken_over();
    world.exit(WorkerId(2), Exit::Signal(Signal::SIGKILL));
    world.pass(TURN_PATIENCE);
    world.all_ready();
    assert_eq!((world.said("has not answered"), world.fleet.serving()), (0, 2));
}

#[test]
fn a_worker_that_was_added_is_filled_and_one_that_dies_and_is_replaced_is_not() {
    let mut world = two_that_know(Replace::Takeover);
    world.exit(WorkerId(2), Exit::Signal(Signal::SIGKILL));
    world.pass(Duration::from_secs(1));
    world.all_ready();
    assert_eq!(ordered(&mut world), [""; 0]);
    world.fleet.add(world.now);
    world.decide();
    assert_eq!(ordered(&mut world), [""; 0], "it is not ready");
    world.all_ready();
    assert_eq!(ordered(&mut world), ["1: move 1/3 to 4"]);
    world.answer(WorkerId(1), 10);
    world.decide();
    assert_eq!(ordered(&mut world), ["3: move 1/3 to 4"]);
    world.answer(WorkerId(3), 0);
    world.decide();
    assert_eq!(ordered(&mut world), [""; 0]);
    assert!(!world.fleet.is_moving());
    assert_eq!(world.said("has moved 10 connections to worker pid 1004"), 1);
}

#[test]
fn a_worker_that_is_removed_is_told_to_finish_and_then_where_to_move_what_it_has() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.remove(world.now);
    world.decide();
    assert!(world.workers[&WorkerId(2)].told_to_finish);
    assert_eq!(ordered(&mut world), ["2: count"]);
    world.answer(WorkerId(2), 7);
    world.decide();
    assert_eq!(ordered(&mut world), ["2: move 1/1 to 1"]);
    // It is ended like any other that hangs, if it does not answer.
    world.pass(ANSWER_PATIENCE);
    assert_eq!(world.said("pid 1002 has not answered after 30000 ms"), 1);
    world.pass(DRAIN_TIMEOUT - ANSWER_PATIENCE);
    assert!(world.signals.contains(&(WorkerId(2), Signal::SIGTERM)));
    // That it is late is no breach, and to say it twice is one.
    world.answer(WorkerId(2), 7);
    assert_eq!(
        world.fleet.hear(WorkerId(2), FromWorker::Moved(7), world.now),
        Err(Breach::NotAsked(FromWorker::Moved(7)))
    );
}

#[test]
fn a_new_generation_waits_for_the_end_of_a_move_and_not_for_ever() {
    for answers in [true, false] {
        let mut world = two_that_know(Replace::Takeover);
        world.fleet.remove(world.now);
        world.decide();
        world.fleet.replace(world.now);
        world.fleet.replace(world.now);
        world.decide();
        assert_eq!((world.said("begins when no connections are being moved"), world.workers.len()), (1, 2));
        if answers {
            world.answer(WorkerId(2), 0);
            world.decide();
        } else {
            world.pass(ANSWER_PATIENCE);
        }
        assert_eq!(world.said("Generation 2 begins: "), 1);
        assert!(world.workers.contains_key(&WorkerId(3)));
    }
}

#[test]
fn a_generation_that_was_postponed_begins_in_the_next_binary() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.remove(world.now);
    world.decide();
    world.fleet.replace(world.now);
    world.decide();
    assert_eq!((world.said("Generation 2 begins when "), world.said("Generation 2 begins: ")), (1, 0));
    world.resume();
    world.decide();
    world.all_ready();
    assert_eq!((world.said("Generation 2 begins: "), world.said("Generation 2 serves: 1 workers")), (1, 1));
    assert_eq!(world.reloads.len(), 1, "whoever is told of reloads is told that it is over");
}

#[test]
fn who_asks_during_a_takeover_and_a_move_waits_for_the_generation_after_it() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.replace(world.now);
    world.decide();
    world.fleet.remove(world.now);
    world.decide();
    assert!(world.fleet.is_moving() && world.fleet.coming().is_some());
    assert_eq!(world.fleet.replace(world.now), Some(2));
    world.ready(WorkerId(3));
    world.exit(WorkerId(4), Exit::Code(3));
    world.decide();
    world.all_ready();
    assert_eq!(world.reloads.iter().map(|reload| reload.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((world.said(" begins: "), world.said("begins again"), world.fleet.current()), (2, 0, 3));
}

#[test]
fn two_requests_around_the_end_of_a_move_are_one() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.remove(world.now);
    world.decide();
    assert_eq!(world.fleet.replace(world.now), Some(1));
    world.answer(WorkerId(2), 0);
    world.fleet.sharing.stop();
    assert_eq!(world.fleet.replace(world.now), Some(1));
    world.decide();
    assert_eq!((world.said(" begins: "), world.said("begins again"), world.starts.len()), (1, 0, 3));
}

#[test]
fn a_generation_waits_for_one_that_has_taken_over_after_it_was_given_up() {
    for becomes_ready in [true, false] {
        let mut world = with_silent_successors(false);
        world.ready(WorkerId(4));
        world.pass(READY_TIMEOUT);
        world.exit(WorkerId(1), Exit::Code(0));
        world.decide();
        assert_eq!(world.fleet.replace(world.now), Some(2));
        world.decide();
        assert!(!world.workers[&WorkerId(3)].told_to_finish, "it cannot hand over yet");
        assert_eq!((world.reloads.len(), world.starts.len()), (0, 4));
        if becomes_ready {
            world.ready(WorkerId(3));
            world.decide();
        } else {
            world.pass(READY_TIMEOUT);
        }
        assert_eq!((world.said("Generation 3 begins: "), world.starts.len()), (1, 6));
        assert_eq!(world.workers[&WorkerId(3)].told_to_finish, !becomes_ready);
    }
}

#[test]
fn a_generation_is_over_when_it_is_known_whether_one_that_was_given_up_had_taken_over() {
    for had_taken_over in [true, false] {
        let mut world = with_silent_successors(false);
        world.ready(WorkerId(4));
        world.pass(READY_TIMEOUT);
        assert_eq!(world.fleet.replace(world.now), Some(2));
        world.decide();
        assert_eq!((world.reloads.len(), world.starts.len()), (0, 4), "it may have what another would take over");
        if had_taken_over {
            world.ready(WorkerId(3));
            world.decide();
        } else {
            world.pass(HELD_PATIENCE);
        }
        let part =
            if had_taken_over { "Generation 2 serves: 2 workers" } else { "Generation 2 serves in part: 1 workers" };
        assert_eq!((world.said(part), world.starts.len()), (1, 6));
        world.all_ready();
        assert_eq!((world.fleet.current(), world.fleet.unreplaced(), world.fleet.serving()), (3, 0, 2));
    }
}

#[test]
fn a_stop_does_not_wait_for_a_move() {
    let mut world = two_that_know(Replace::Takeover);
    world.fleet.remove(world.now);
    world.decide();
    world.fleet.stop(world.now);
    world.decide();
    assert!(!world.fleet.is_moving());
    assert!(world.workers.values().all(|scripted| scripted.told_to_finish));
}

#[test]
fn a_worker_with_a_standby_keeps_what_it_has_where_shares_are_watched() {
    for replace in [Replace::Takeover, Replace::Drain] {
        let mut world = two_that_know(replace);
        world.fleet.roster.rules.rebalance = true;
        for id in [1, 2] {
            world.say(WorkerId(id), FromWorker::Standby(2000));
        }
        world.want(WorkerId(1), 20);
        (0..20).for_each(|_| world.accept());
        world.decide();
        (0..20).for_each(|_| world.take(WorkerId(1), 0));
        world.want(WorkerId(2), 20);
        world.pass(Duration::from_secs(3));
        assert_eq!(ordered(&mut world), [""; 0]);
        for id in [1, 2] {
            world.say(WorkerId(id), FromWorker::Standby(0));
        }
        world.pass(Duration::from_secs(1));
        assert!(!ordered(&mut world).is_empty(), "it has none any more");
    }
}

#[test]
fn who_has_too_many_is_asked_to_give_some_back_when_a_worker_is_added() {
    let mut world = two_that_know(Replace::Drain);
    for id in [1, 2] {
        world.want(WorkerId(id), 6);
    }
    (0..12).for_each(|_| world.accept());
    world.decide();
    for id in [1, 2] {
        (0..6).for_each(|_| world.take(WorkerId(id), 0));
    }
    world.fleet.add(world.now);
    world.decide();
    world.all_ready();
    assert_eq!(ordered(&mut world), [""; 0], "it asks for none yet");
    world.want(WorkerId(3), 9);
    world.decide();
    assert_eq!(ordered(&mut world), ["2: give 2"]);
    for id in [2, 1] {
        for _ in 0..2 {
            world.give_back(WorkerId(id), 0, false);
            world.decide();
            world.take(WorkerId(3), 0);
        }
        world.decide();
    }
    assert_eq!(ordered(&mut world), ["1: give 2"]);
    assert_eq!([1, 2, 3].map(|id| world.fleet.roster.queue.share(WorkerId(id))), [4, 4, 4]);
}

#[test]
fn a_levelling_that_was_under_way_goes_on_in_the_next_binary() {
    let mut world = World::new(1, Replace::Drain, Supply::Queue);
    world.versions = Versions::All(VERSION);
    world.all_ready();
    world.want(WorkerId(1), 9);
    (0..8).for_each(|_| world.accept());
    world.decide();
    (0..8).for_each(|_| world.take(WorkerId(1), 0));
    world.fleet.add(world.now);
    world.decide();
    world.ready(WorkerId(2));
    world.want(WorkerId(2), 1);
    world.decide();
    assert_eq!(ordered(&mut world), ["1: give 1"], "no more than the other asks for");
    world.give_back(WorkerId(1), 0, false);
    world.decide();
    world.take(WorkerId(2), 0);

    world.resume();
    world.want(WorkerId(2), 9);
    world.decide();
    assert_eq!(ordered(&mut world), ["1: give 3"]);
    (0..3).for_each(|_| world.give_back(WorkerId(1), 0, false));
    world.decide();
    (0..3).for_each(|_| world.take(WorkerId(2), 0));
    world.resume();
    world.decide();
    assert_eq!(ordered(&mut world), [""; 0], "it has come to its end");
}
