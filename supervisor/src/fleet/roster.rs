//! The workers of a fleet, one by one: how one is started, let finish, kept from running and ended, and what the queue has
//! for it. Which workers there are to be is not decided here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use nix::sys::signal::Signal;
use reactord_process::words::ConnectionId;

use super::action::Action;
use super::guard::Guard;
use super::queue::Queue;
use super::record::{QueueRecord, WorkerRecord};
use super::report::Report;
use super::rules::Rules;
use super::worker::{Crew, HELD_PATIENCE, KILL_DELAY, Owes, Standing, Worker, WorkerId};
use crate::config::{Ready, Supply};

/// The workers, what waits for them, and what is to be done about them.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) rules: Rules,
    pub(crate) queue: Queue,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: WorkerId,
    actions: VecDeque<Action>,
}

/// What has come of the time for a worker that is starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// By its age it counts as ready.
    AssumedReady,
    /// It has not become ready in time.
    Late,
}

impl Roster {
    /// Nobody yet.
    pub(crate) fn new(rules: Rules) -> Self {
        let (workers, actions) = (BTreeMap::new(), VecDeque::new());
        Self { rules, queue: Queue::default(), workers, next_worker: WorkerId(1), actions }
    }

    /// Those whom an earlier binary has left.
    pub(crate) fn from_record(
        rules: Rules,
        queue: QueueRecord,
        workers: &[WorkerRecord],
        next_worker: u64,
        now: Instant,
    ) -> Self {
        let workers = workers.iter().map(|worker| (WorkerId(worker.id), Worker::from_record(worker, now)));
        Self {
            queue: Queue::from_record(queue),
            workers: workers.collect(),
            next_worker: WorkerId(next_worker),
            ..Self::new(rules)
        }
    }

    /// All of them as records, and the id of the next one.
    pub(crate) fn record(&self, now: Instant) -> (Vec<WorkerRecord>, u64) {
        let workers = self.workers.iter().map(|(id, worker)| worker.record(*id, now));
        (workers.collect(), self.next_worker.0)
    }

    // ── Who there is ───────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    /// In the order in which they were started.
    pub(crate) fn members(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = (WorkerId, &mut Worker)> {
        self.workers.iter_mut().map(|(id, worker)| (*id, worker))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Worker> + Clone {
        self.workers.values()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.workers.values_mut()
    }

    /// How many there are, whatever they do.
    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    /// How many workers connections go to.
    pub(crate) fn serving(&self) -> usize {
        self.all().filter(|worker| worker.is_serving()).count()
    }

    /// How many finish what they have.
    pub(crate) fn leaving(&self) -> usize {
        self.all().filter(|worker| worker.is_leaving()).count()
    }

    /// Those that serve, and know the words for giving back and moving.
    pub(crate) fn knowing(&self) -> impl Iterator<Item = WorkerId> {
        self.members().filter(|(_, worker)| worker.is_serving() && worker.gives_back()).map(|(id, _)| id)
    }

    /// Those among them between which connections go to and fro: one with a standby keeps what it has.
    pub(crate) fn sharing(&self) -> impl Iterator<Item = WorkerId> {
        let has_standby = |id: &WorkerId| self.get(*id).is_some_and(|worker| worker.guard.standby().is_some());
        self.knowing().filter(move |id| !has_standby(id))
    }

    /// Those that take over from this one, or may have done so before they were held.
    pub(crate) fn successors(&self, predecessor: WorkerId) -> Vec<WorkerId> {
        let follows =
            |worker: &Worker| worker.predecessor == Some(predecessor) && (!worker.is_leaving() || worker.is_held());
        self.members().filter(|(_, worker)| follows(worker)).map(|(id, _)| id).collect()
    }

    /// The process of a worker, if it runs.
    pub(crate) fn pid(&self, id: WorkerId) -> Option<u32> {
        self.get(id).map(|worker| worker.pid).filter(|pid| *pid != 0)
    }

    /// Whom it is to be looked at whether they serve, by their processes.
    pub(crate) fn to_be_seen(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        let is_looked_at = self.rules.looks();
        let starting = self.members().filter(move |(_, worker)| is_looked_at && worker.is_starting());
        starting.map(|(id, worker)| (id, worker.pid)).filter(|(_, pid)| *pid != 0)
    }

    // ── What is to be done ─────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// What a worker was to be asked and was not yet is not asked.
    pub(crate) fn forget_questions(&mut self, id: WorkerId) {
        let is_asked = |action: &Action| match action {
            Action::Count { worker } | Action::Give { worker, .. } | Action::Move { worker, .. } => *worker == id,
            _ => false,
        };
        self.actions.retain(|action| !is_asked(action));
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    // ── The life of one ────────────────────────────────────────────────────────────────────────────────────────────

    /// One is to be started, and to take over from its predecessor if it has one.
    pub(crate) fn start(&mut self, generation: u64, crew: Crew, predecessor: Option<WorkerId>, now: Instant) {
        let worker = self.enlist(generation, crew, predecessor, now);
        self.act(Action::Start { worker, predecessor });
    }

    /// One is to be started that takes over nothing from the one whose place it takes.
    pub(crate) fn start_in_place_of(&mut self, predecessor: WorkerId, generation: u64, crew: Crew, now: Instant) {
        let worker = self.enlist(generation, crew, Some(predecessor), now);
        self.act(Action::Start { worker, predecessor: None });
    }

    fn enlist(&mut self, generation: u64, crew: Crew, predecessor: Option<WorkerId>, now: Instant) -> WorkerId {
        let id = self.next_worker;
        self.next_worker = WorkerId(id.0 + 1);
        let worker = Worker {
            pid: 0,
            group: 0,
            guard: Guard::default(),
            generation,
            crew,
            standing: Standing::Starting { deadline: now + self.rules.ready_timeout },
            started: now,
            predecessor,
            version: None,
            has_taken: false,
            owes: Owes::default(),
        };
        self.workers.insert(id, worker);
        id
    }

    /// When a worker counts as ready that has not said so, if it does by its age.
    fn assumed_ready(&self, worker: &Worker) -> Option<Instant> {
        match (self.rules.supply, self.rules.ready) {
            (Supply::Listeners, Ready::After(time)) => Some(worker.started + time),
            _ => None,
        }
    }

    /// When it is to be looked after, if nothing happens before.
    pub(crate) fn due(&self, worker: &Worker) -> Option<Instant> {
        match worker.standing {
            Standing::Starting { deadline } => self.assumed_ready(worker).or(Some(deadline)),
            Standing::Held { until } => Some(until),
            Standing::Leaving { signal, .. } => signal.map(|(due, _)| due),
            Standing::Ready | Standing::Serving { .. } => None,
        }
    }

    /// Looks after one whose time may have come: who leaves gets its signal. Returns what that means for one that starts.
    pub(crate) fn look_after(&mut self, id: WorkerId, now: Instant) -> Option<Due> {
        let worker = self.get(id)?;
        let assumed_ready = self.assumed_ready(worker);
        match worker.standing {
            Standing::Starting { .. } if assumed_ready.is_some_and(|due| now >= due) => return Some(Due::AssumedReady),
            Standing::Starting { deadline } if now >= deadline => return Some(Due::Late),
            Standing::Held { until } if now >= until => {
                self.get_mut(id)?.leave(None);
                self.act(Action::Signal { worker: id, signal: Signal::SIGKILL });
            }
            Standing::Leaving { signal: Some((due, signal)), .. } if now >= due => self.press(id, signal, now),
            _ => {}
        }
        None
    }

    /// One that leaves has not finished in time.
    fn press(&mut self, id: WorkerId, signal: Signal, now: Instant) {
        let supply = self.rules.supply;
        let Some(worker) = self.get_mut(id) else { return };
        worker.leave((signal == Signal::SIGTERM).then_some((now + KILL_DELAY, Signal::SIGKILL)));
        let (pid, is_late) = (worker.pid, worker.may_have_connections(supply));
        // One that has nothing to finish is not late with it.
        if is_late {
            self.report(Report::Overdue { pid, signal });
        }
        self.act(Action::Signal { worker: id, signal });
    }

    /// Lets those workers finish what they have, and tells which have not been told so before.
    pub(crate) fn finish_those(&mut self, which: impl Fn(&Worker) -> bool, now: Instant) -> Vec<WorkerId> {
        let those = self.members().filter(|(_, worker)| which(worker) && !worker.is_leaving());
        let ids: Vec<WorkerId> = those.map(|(id, _)| id).collect();
        ids.iter().for_each(|id| self.finish(*id, now));
        ids
    }

    /// Lets a worker finish what it has.
    pub(crate) fn finish(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.get(id).filter(|worker| !worker.is_leaving()) else {
            return;
        };
        if worker.is_starting() && worker.predecessor.is_some_and(|id| self.workers.contains_key(&id)) {
            return self.hold(id, now);
        }
        let drained_by = now + self.rules.drain_timeout;
        if !worker.may_have_connections(self.rules.supply) {
            return self.leave(id, Some((now, Signal::SIGTERM)));
        }
        // One that has been sent SIGTERM when it was told has heard it.
        let is_told_by_it = self.rules.supply == Supply::Listeners && self.rules.finish_signal == Signal::SIGTERM;
        let next = if is_told_by_it { Signal::SIGKILL } else { Signal::SIGTERM };
        self.leave(id, Some((drained_by, next)));
        self.act(Action::Finish { worker: id });
    }

    /// Keeps a worker from running that may be taking over, and is not to any more. If it has done so already, the end of its
    /// predecessor shows it.
    fn hold(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.get_mut(id) {
            worker.standing = Standing::Held { until: now + HELD_PATIENCE };
            self.queue.withdraw(id);
            self.act(Action::Signal { worker: id, signal: Signal::SIGSTOP });
        }
    }

    /// A worker that is held has taken over before it was, or may have.
    pub(crate) fn release(&mut self, id: WorkerId, has_taken_over: bool, now: Instant) {
        let deadline = now + self.rules.ready_timeout;
        if let Some(worker) = self.get_mut(id).filter(|worker| worker.is_held()) {
            worker.standing = Standing::Starting { deadline };
            let pid = worker.pid;
            self.report(if has_taken_over { Report::TookOverAfterAll { pid } } else { Report::RunsAgain { pid } });
            self.act(Action::Signal { worker: id, signal: Signal::SIGCONT });
        }
    }

    /// One takes no more, and is sent this signal then.
    pub(crate) fn leave(&mut self, id: WorkerId, signal: Option<(Instant, Signal)>) {
        if let Some(worker) = self.get_mut(id) {
            worker.leave(signal);
            self.queue.withdraw(id);
        }
    }

    /// The oldest connection, and the worker that is to be sent it, as long as any waits that a worker asks for.
    pub(crate) fn hand_out(&mut self) -> Option<(WorkerId, ConnectionId)> {
        let Self { queue, workers, .. } = self;
        let draws = |worker: &Worker| worker.is_serving() && !worker.guard.is_bereft();
        queue.hand_out(|id| workers.get(&id).is_some_and(draws))
    }

    /// Its process has ended, or was never there.
    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.workers.remove(&id)
    }
}
