//! The fleet: which worker gets the next connection, which workers there are to be, and when one has to go.
//!
//! Pure: it is told what happens, with the time at which it does, and asked what is to be done. A connection is an id
//! here, a worker an id and the pid that log lines name it by.

mod back_off;
mod exit;
mod queue;
mod record;
mod report;
mod shares;
mod spread;
mod succession;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reactord_process::words::{ConnectionId, Fraction, FromWorker, VERSION, VERSION_WITHOUT_STATES};

use crate::config::{Ready, Replace, Supply};
use back_off::BackOff;
pub(crate) use exit::Exit;
use queue::Queue;
pub(crate) use record::{FleetRecord, instant_at, milliseconds_to};
pub(crate) use report::Report;
use spread::{ANSWER_PATIENCE, Order, Outcome, Share, Spread};
pub(crate) use succession::Reload;
use succession::Succession;
use worker::{Crew, HELD_PATIENCE, Owes};
pub(crate) use worker::{KILL_DELAY, Standing, Worker, WorkerId};

/// How long a worker that is held has at a stop, where what it may have taken over ends in any case.
const HELD_AT_STOP: Duration = Duration::from_secs(1);

/// Why a generation that was asked for does not come.
const STOPPING: &str = "the supervisor is stopping";

/// What the fleet keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) supply: Supply,
    /// When a worker counts as ready that gets the listeners and has not said so.
    pub(crate) ready: Ready,
    /// On which such a worker finishes.
    pub(crate) finish_signal: Signal,
    pub(crate) replace: Replace,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// Whether the shares of workers that serve are kept near to each other.
    pub(crate) rebalance: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process, and tell [`Fleet::launched`] its pid or [`Fleet::exited`].
    Start { worker: WorkerId, predecessor: Option<WorkerId> },
    /// Tell a worker to finish, by a word or by a signal.
    Finish { worker: WorkerId },
    /// Ask a worker how many connections it has.
    Count { worker: WorkerId },
    /// Ask a worker to give so many connections back.
    Give { worker: WorkerId, count: NonZeroU32 },
    /// Tell a worker to move so many of its connections to another.
    Move { worker: WorkerId, to: WorkerId, share: Fraction },
    /// Send a signal to a worker and to what it has started, if its process runs.
    Signal { worker: WorkerId, signal: Signal },
    /// Say something that the operator wants to know.
    Report(Report),
    /// Tell whoever has asked for a new generation what has come of it.
    Answer(Reload),
}

/// What becomes of a connection by what a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Noted,
    /// It is the worker's.
    Took(ConnectionId),
    /// It has ended.
    Ended(ConnectionId),
    /// It is nobody's: it is to be [put back](Fleet::put_back), or to be [kept](Fleet::keep).
    GaveBack(ConnectionId),
}

/// What a worker must not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Version(u32),
    ReadyTwice,
    NotReady,
    NotSent(ConnectionId),
    NotHeld(ConnectionId),
    NotAsked(FromWorker),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it speaks version {version} of the queue, {VERSION_WITHOUT_STATES} to {VERSION} are spoken here"
            ),
            Self::ReadyTwice => write!(f, "it said twice that it is ready"),
            Self::NotReady => write!(f, "it spoke before it was ready"),
            Self::NotSent(id) => write!(f, "connection {id} is not under way to it"),
            Self::NotHeld(id) => write!(f, "it does not have connection {id}"),
            Self::NotAsked(said) => write!(f, "it says \"{said}\", and was not asked"),
        }
    }
}

/// Workers, the queue, and what is decided about both.
#[derive(Debug)]
pub(crate) struct Fleet {
    rules: Rules,
    /// How many workers there are to be.
    target: usize,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: WorkerId,
    /// The generation that serves, or that shall at last.
    current: u64,
    succession: Succession,
    back_off: BackOff,
    queue: Queue,
    spread: Spread,
    /// How many workers were added that do not serve yet, and are to get their share then.
    to_fill: usize,
    /// A new generation was asked for while connections are moved: it begins after that, or then.
    replace_by: Option<Instant>,
    /// Since a stop was asked for: all must have finished then.
    stop_by: Option<Instant>,
    actions: VecDeque<Action>,
}

impl Fleet {
    /// A fleet that is to have so many workers, and has none.
    pub(crate) fn new(rules: Rules, target: usize) -> Self {
        Self {
            rules,
            target,
            workers: BTreeMap::new(),
            next_worker: WorkerId(1),
            current: 1,
            succession: Succession::default(),
            back_off: BackOff::default(),
            queue: Queue::default(),
            spread: Spread::default(),
            to_fill: 0,
            replace_by: None,
            stop_by: None,
            actions: VecDeque::new(),
        }
    }

    /// The fleet that an earlier binary has left.
    pub(crate) fn from_record(record: FleetRecord, rules: Rules, now: Instant) -> Self {
        let workers = record.workers.iter().map(|worker| (WorkerId(worker.id), Worker::from_record(worker, now)));
        Self {
            workers: workers.collect(),
            next_worker: WorkerId(record.next_worker),
            current: record.current,
            succession: Succession::from_record(record.succession),
            back_off: BackOff::from_record(&record.back_off, now),
            queue: Queue::from_record(record.queue),
            spread: Spread::going_on(record.levels.unwrap_or(false)),
            to_fill: usize::try_from(record.to_fill).unwrap_or(0),
            stop_by: record.stop_by_ms.map(|stop_by_ms| instant_at(stop_by_ms, now)),
            ..Self::new(rules, usize::try_from(record.target).unwrap_or(1).max(1))
        }
    }

    /// What it knows. What it has decided must have been done.
    pub(crate) fn record(&self, now: Instant) -> FleetRecord {
        FleetRecord {
            target: self.target as u64,
            workers: self.workers.iter().map(|(id, worker)| worker.record(*id, now)).collect(),
            next_worker: self.next_worker.0,
            current: self.current,
            succession: self.succession.record(),
            back_off: self.back_off.record(now),
            queue: self.queue.record(),
            to_fill: self.to_fill as u64,
            levels: Some(self.spread.is_levelling()),
            stop_by_ms: self.stop_by.map(|stop_by| milliseconds_to(stop_by, now)),
        }
    }

    // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A connection was accepted. Ids increase.
    pub(crate) fn enqueue(&mut self, connection: ConnectionId) {
        self.queue.enqueue(connection);
    }

    /// The process of a worker runs.
    pub(crate) fn launched(&mut self, id: WorkerId, pid: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.pid = pid;
        }
    }

    /// A worker says something. Returns what becomes of a connection by that.
    ///
    /// # Errors
    /// If it must not say that. Its queue has to be ended.
    pub(crate) fn hear(&mut self, id: WorkerId, said: FromWorker, now: Instant) -> Result<Heard, Breach> {
        let Some(worker) = self.workers.get(&id) else {
            return Ok(Heard::Noted);
        };
        match said {
            FromWorker::Ready { version } => {
                self.speaks(id, version)?;
                self.ready(id, now);
            }
            _ if !worker.said_ready() => return Err(Breach::NotReady),
            // One that leaves gets none.
            FromWorker::Want(_) if worker.is_leaving() => {}
            FromWorker::Want(credits) => self.queue.want(id, credits),
            FromWorker::Took(_) | FromWorker::Done(_) | FromWorker::Back(_) => return self.change_hands(id, said),
            FromWorker::Holds(_) | FromWorker::Moved(_) => self.answered(id, said, now)?,
        }
        Ok(Heard::Noted)
    }

    /// A worker answers. It may be late: then nobody waits for it any more.
    fn answered(&mut self, id: WorkerId, said: FromWorker, now: Instant) -> Result<(), Breach> {
        let Owes { holds, moved } = &mut self.workers.get_mut(&id).expect("it was just heard").owes;
        let owed = if matches!(said, FromWorker::Holds(_)) { holds } else { moved };
        *owed = owed.checked_sub(1).ok_or(Breach::NotAsked(said))?;
        match said {
            // An answer to what was asked before may be an old one.
            _ if *owed > 0 => {}
            FromWorker::Holds(count) => self.spread.holds(id, count.into()),
            FromWorker::Moved(count) => self.spread.moved(id, count.into(), now),
            _ => {}
        }
        // At once: one that has moved all it had may be gone a moment later.
        self.report_outcomes();
        Ok(())
    }

    /// A worker says which version of the queue it speaks.
    fn speaks(&mut self, id: WorkerId, version: u32) -> Result<(), Breach> {
        if !(VERSION_WITHOUT_STATES..=VERSION).contains(&version) {
            return Err(Breach::Version(version));
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.said_ready()) else {
            return Err(Breach::ReadyTwice);
        };
        worker.version = Some(version);
        if version > VERSION_WITHOUT_STATES {
            self.queue.know(id);
        }
        Ok(())
    }

    /// A worker says what becomes of a connection; it may have said so before its queue ended.
    ///
    /// # Errors
    /// If it cannot be so.
    pub(crate) fn change_hands(&mut self, id: WorkerId, said: FromWorker) -> Result<Heard, Breach> {
        match said {
            FromWorker::Took(connection) if !self.queue.took(id, connection) => Err(Breach::NotSent(connection)),
            FromWorker::Took(connection) => {
                self.workers.get_mut(&id).into_iter().for_each(|worker| worker.has_taken = true);
                Ok(Heard::Took(connection))
            }
            FromWorker::Done(connection) if self.queue.ended(id, connection) => Ok(Heard::Ended(connection)),
            FromWorker::Back(connection) if self.queue.gave_back(id, connection) => Ok(Heard::GaveBack(connection)),
            FromWorker::Done(connection) | FromWorker::Back(connection) => Err(Breach::NotHeld(connection)),
            _ => Ok(Heard::Noted),
        }
    }

    /// What a worker gave back waits for another.
    pub(crate) fn put_back(&mut self, id: WorkerId, connection: ConnectionId) {
        self.queue.put_back(id, connection);
        self.spread.given(id);
    }

    /// What a worker gave back is its own again.
    pub(crate) fn keep(&mut self, id: WorkerId, connection: ConnectionId) {
        self.queue.keep(id, connection);
    }

    /// Whether anybody may be there to take what is given back.
    pub(crate) fn has_heirs(&self) -> bool {
        let mut staying = self.workers.values().filter(|worker| !worker.is_leaving()).peekable();
        // One that has not said so may speak any version, and so may one that is to be started.
        let is_open = staying.peek().is_none() || staying.any(|worker| worker.gives_back() || !worker.said_ready());
        is_open && self.stop_by.is_none()
    }

    /// Whether a worker may give back what it takes.
    pub(crate) fn gives_back(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(Worker::gives_back)
    }

    /// A worker is ready.
    pub(crate) fn ready(&mut self, id: WorkerId, now: Instant) {
        let takeover = self.rules.replace == Replace::Takeover;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if let Standing::Leaving { said_ready, .. } = &mut worker.standing {
            *said_ready = true;
        }
        if worker.is_held() {
            self.release(id, now);
        }
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.is_starting()) else {
            return;
        };
        self.actions.push_back(Action::Report(Report::Ready { pid: worker.pid, generation: worker.generation }));
        if worker.crew == Crew::Coming && !takeover {
            worker.standing = Standing::Ready;
            return;
        }
        worker.crew = Crew::Current;
        worker.standing = Standing::Serving { since: now };
        let predecessor = worker.predecessor.take();
        match predecessor {
            Some(predecessor) => self.finish(predecessor, now),
            None => self.fill(id),
        }
    }

    /// A worker serves that has no connections yet. If it was added, it gets its share.
    fn fill(&mut self, id: WorkerId) {
        if self.to_fill == 0 {
            return;
        }
        self.to_fill -= 1;
        match self.rules.replace {
            Replace::Drain => self.spread.level(),
            Replace::Takeover => self.spread.fill(id),
        }
    }

    /// Those that serve, and know the words for giving back and moving.
    fn knowing(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, worker)| worker.is_serving() && worker.gives_back()).map(|(id, _)| *id)
    }

    /// A worker is sent nothing more.
    pub(crate) fn withdraw(&mut self, id: WorkerId) {
        self.queue.withdraw(id);
    }

    /// A worker gets nothing more, and what it has not taken goes back to its place in the queue. Returns what it might
    /// have given back, and cannot any more.
    pub(crate) fn cut_off(&mut self, id: WorkerId) -> BTreeSet<ConnectionId> {
        self.queue.cut_off(id)
    }

    /// The queue of a worker that still runs has ended, for whatever reason.
    pub(crate) fn queue_ended(&mut self, id: WorkerId, reason: String, now: Instant) {
        self.cut_off(id);
        self.spread.gone(id);
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if worker.is_leaving() {
            return;
        }
        let worker = worker.clone();
        self.leave(id, Some((now + self.rules.drain_timeout, Signal::SIGTERM)));
        self.lost(&worker, Exit::QueueEnded(reason), now);
    }

    /// The process of a worker has ended, or was never there.
    pub(crate) fn exited(&mut self, id: WorkerId, exit: Exit, now: Instant) {
        let given = self.queue.forget(id);
        self.spread.gone(id);
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        if worker.is_leaving() {
            self.actions.push_back(Action::Report(Report::Left {
                pid: worker.pid,
                generation: worker.generation,
                exit,
                given,
            }));
            return;
        }
        let follows = |other: &Worker| other.predecessor == Some(id) && (!other.is_leaving() || other.is_held());
        let successor = self.workers.iter().find(|(_, other)| follows(other)).map(|(successor, _)| *successor);
        match successor {
            // It has what this one had, or will not need it.
            Some(successor) if exit == Exit::Code(0) => {
                self.release(successor, now);
                self.workers.get_mut(&successor).expect("it was just found").crew = Crew::Current;
                self.actions.push_back(Action::Report(Report::HandedOver { pid: worker.pid }));
            }
            _ => self.lost(&worker, exit, now),
        }
    }

    /// A worker is lost that was not told to go.
    fn lost(&mut self, worker: &Worker, exit: Exit, now: Instant) {
        let Worker { pid, generation, started, .. } = *worker;
        if exit == Exit::Code(0) && worker.has_proven_itself(now) && self.stop_by.is_none() {
            // Nobody is missing for longer than the next one takes to start, and it is no failure.
            return self.actions.push_back(Action::Report(Report::Retired { pid, generation }));
        }
        if worker.crew == Crew::Coming {
            return match worker.standing {
                Standing::Ready => self.give_up(&format!("worker pid {pid} {exit}"), now),
                _ if pid == 0 => self.fail(worker, &format!("a worker {exit}"), now),
                _ => self.fail(worker, &format!("worker pid {pid} {exit} before it was ready"), now),
            };
        }
        if self.stop_by.is_none() {
            self.back_off.note(started, worker.serving_since(), now);
        }
        let delay = self.back_off.due().map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        self.actions.push_back(Action::Report(Report::Died { pid, generation, exit, delay }));
    }

    /// A worker of the generation that is to come has failed.
    fn fail(&mut self, worker: &Worker, reason: &str, now: Instant) {
        if self.rules.replace == Replace::Drain {
            return self.give_up(reason, now);
        }
        // What others have taken over stays where it is.
        match worker.predecessor.and_then(|id| self.workers.get(&id)) {
            Some(predecessor) => {
                self.succession.fail(reason);
                let report = Report::NotReplaced { pid: predecessor.pid, reason: reason.to_owned() };
                self.actions.push_back(Action::Report(report));
            }
            None => self.back_off.note(worker.started, None, now),
        }
    }

    /// A new generation is to take the place of the current one. Returns the [number](Reload::number) of what will come of
    /// it, or `None` if everybody is to finish.
    pub(crate) fn replace(&mut self, now: Instant) -> Option<u64> {
        if self.stop_by.is_some() {
            return None;
        }
        let takeover = self.rules.replace == Replace::Takeover;
        match self.succession.is_under_way() {
            _ if takeover && self.spread.is_busy() => self.replace_later(now),
            // One that was about to answer may have the connections by now.
            true if takeover => self.succession.again(),
            _ => self.begin_generation(now),
        }
        Some(self.succession.answered_by())
    }

    fn begin_generation(&mut self, now: Instant) {
        let generation = self.current + 1;
        self.spread.stop();
        let report = if self.succession.is_under_way() {
            self.dismiss_coming(now);
            Report::BeginsAgain { generation }
        } else {
            Report::Begins { generation, workers: self.target }
        };
        self.succession.begin();
        self.actions.push_back(Action::Report(report));
        let mut predecessors = VecDeque::new();
        if self.rules.replace == Replace::Takeover {
            for (id, worker) in &self.workers {
                if worker.crew == Crew::Current && worker.is_serving() {
                    predecessors.push_back(*id);
                }
            }
            self.finish_those(Worker::is_starting, now);
        }
        for _ in 0..self.target.max(predecessors.len()) {
            self.start(generation, Crew::Coming, predecessors.pop_front(), now);
        }
    }

    /// A worker must not hand over everything and some of it at once.
    fn replace_later(&mut self, now: Instant) {
        if self.replace_by.is_none() {
            self.replace_by = Some(now + ANSWER_PATIENCE);
            self.actions.push_back(Action::Report(Report::BeginsLater { generation: self.current + 1 }));
        }
    }

    /// SIGUSR1, SIGTTIN: there is to be one worker more, which gets its share of the connections.
    pub(crate) fn add(&mut self, now: Instant) {
        self.target += 1;
        self.to_fill += 1;
        self.actions.push_back(Action::Report(Report::Added { workers: self.target }));
        if let Some(generation) = self.coming().filter(|_| self.rules.replace == Replace::Drain) {
            self.start(generation, Crew::Coming, None, now);
        }
    }

    /// SIGTTOU: there is to be one worker less. The last one stays.
    pub(crate) fn remove(&mut self, now: Instant) {
        if self.target == 1 {
            return self.actions.push_back(Action::Report(Report::LastOne));
        }
        self.target -= 1;
        let mut removed = None;
        for crew in [Crew::Coming, Crew::Current] {
            let there = self.workers.iter().filter(|(_, worker)| worker.crew == crew && !worker.is_leaving());
            // One that has not started yet, or else the youngest.
            let youngest = there.clone().max_by_key(|(id, worker)| (worker.is_starting(), **id)).map(|(id, _)| *id);
            if let Some(id) = youngest.filter(|_| there.count() > self.target) {
                removed = Some(self.workers[&id].pid);
                self.let_go(id, now);
            }
        }
        self.actions.push_back(Action::Report(Report::Removed { pid: removed, workers: self.target }));
    }

    /// A worker is removed. What it has goes to the others at once, if it can.
    fn let_go(&mut self, id: WorkerId, now: Instant) {
        let worker = &self.workers[&id];
        let (was_starting, was_serving, gives_back) = (worker.is_starting(), worker.is_serving(), worker.gives_back());
        if was_starting {
            self.to_fill = self.to_fill.saturating_sub(1);
        }
        self.finish(id, now);
        // One that gives back does so when it is told to finish.
        if self.rules.replace == Replace::Takeover && was_serving && gives_back {
            self.spread.empty(id);
        }
    }

    /// SIGTERM, SIGINT, SIGQUIT: everybody finishes. The second time, they are not waited for.
    pub(crate) fn stop(&mut self, now: Instant) {
        let at_once = self.stop_by.is_some();
        self.stop_by = Some(if at_once { now } else { now + self.rules.drain_timeout });
        let mut is_awaited = self.replace_by.take().is_some();
        if self.coming().is_some() {
            self.dismiss_coming(now);
            is_awaited = true;
        }
        while std::mem::take(&mut is_awaited) {
            is_awaited = self.answer(self.current + 1, 0, Some(STOPPING.to_owned()));
        }
        self.workers.values_mut().filter(|worker| worker.is_held()).for_each(|worker| worker.hurry(now + HELD_AT_STOP));
        if at_once {
            self.workers.values_mut().for_each(|worker| worker.hurry(now));
        }
    }

    // ── What is decided ────────────────────────────────────────────────────────────────────────────────────────────

    /// What is to be done next.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Decides what follows from what has happened, and from the time.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.look_at_deadlines(now);
        self.change_generations(now);
        match self.stop_by {
            None => self.start_missing(now),
            Some(stop_by) => self.finish_all(stop_by, now),
        }
        self.spread_out(now);
    }

    /// Lets workers move connections to one another, or give some back, as far as that is to be now.
    fn spread_out(&mut self, now: Instant) {
        if self.stop_by.is_some() {
            return self.spread.stop();
        }
        if self.replace_by.is_some_and(|by| now >= by) {
            self.spread.stop();
        }
        if self.coming().is_none() {
            self.order_next(now);
        }
        if self.replace_by.take_if(|_| !self.spread.is_busy()).is_some() {
            self.begin_generation(now);
        }
    }

    /// Has workers told what is to be moved or given back next, if that is anything.
    fn order_next(&mut self, now: Instant) {
        let orders = match self.rules.replace {
            Replace::Takeover => {
                let knowing: Vec<WorkerId> = self.knowing().collect();
                self.spread.next_moves(&knowing, self.rules.rebalance, now)
            }
            Replace::Drain => {
                let share = |id| Share { worker: id, count: self.queue.share(id), room: self.queue.room(id) };
                let shares: Vec<Share> = self.knowing().map(share).collect();
                self.spread.next_gift(&shares, self.queue.returned(), self.rules.rebalance, now).into_iter().collect()
            }
        };
        orders.into_iter().for_each(|order| self.order(order));
        self.report_outcomes();
    }

    fn report_outcomes(&mut self) {
        for outcome in self.spread.take_outcomes() {
            let report = self.report_of(outcome);
            self.actions.push_back(Action::Report(report));
        }
    }

    /// A worker is to be told this.
    fn order(&mut self, order: Order) {
        let told = match order {
            Order::Count { worker } | Order::Move { from: worker, .. } | Order::Give { from: worker, .. } => worker,
        };
        if let Some(worker) = self.workers.get_mut(&told) {
            worker.owes.holds += u32::from(matches!(order, Order::Count { .. }));
            worker.owes.moved += u32::from(matches!(order, Order::Move { .. }));
        }
        if let Order::Give { from, count } = order {
            let report = Report::AskedToGive { pid: self.pid(from).unwrap_or_default(), count: count.get() };
            self.actions.push_back(Action::Report(report));
        }
        self.actions.push_back(match order {
            Order::Count { worker } => Action::Count { worker },
            Order::Move { from, to, share } => Action::Move { worker: from, to, share },
            Order::Give { from, count } => Action::Give { worker: from, count },
        });
    }

    fn report_of(&self, outcome: Outcome) -> Report {
        let pid = |id| self.pid(id).unwrap_or_default();
        match outcome {
            Outcome::Moved { from, to, count, expected, time } => {
                Report::Moved { from: pid(from), to: pid(to), count, expected, time }
            }
            Outcome::Late { worker, patience } => Report::Unanswered { pid: pid(worker), patience },
        }
    }

    /// The oldest connection, and the worker that is to be sent it, as long as any waits that a worker asks for. It
    /// counts as under way from then on.
    pub(crate) fn hand_out(&mut self) -> Option<(WorkerId, ConnectionId)> {
        self.queue.hand_out(|id| self.workers.get(&id).is_some_and(Worker::is_serving))
    }

    /// When [`Self::advance`] has something to do, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let workers = self.workers.values().filter_map(|worker| match worker.standing {
            Standing::Starting { deadline } => self.assumed_ready(worker).or(Some(deadline)),
            Standing::Held { until } => Some(until),
            Standing::Leaving { signal, .. } => signal.map(|(due, _)| due),
            Standing::Ready | Standing::Serving { .. } => None,
        });
        let restart = self.back_off.due().filter(|_| self.missing() > 0 && self.may_start() && self.stop_by.is_none());
        let stop = self.stop_by.filter(|_| self.workers.values().any(|worker| !worker.is_leaving()));
        let may_spread = self.coming().is_none() && self.stop_by.is_none();
        let spread = self.spread.deadline(self.rules.rebalance).filter(|_| may_spread);
        workers.chain(restart).chain(stop).chain(spread).chain(self.replace_by).min()
    }

    /// Whether workers are moving connections to one another.
    pub(crate) fn is_moving(&self) -> bool {
        self.spread.is_busy()
    }

    /// Whether a stop has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop_by.is_some() && self.workers.is_empty()
    }

    /// Whether there are as many workers as there are to be, and connections go to all of them.
    pub(crate) fn is_complete(&self) -> bool {
        self.serving() >= self.target
    }

    /// How many workers there are to be.
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// How many there are, whatever they do.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How many workers connections go to.
    pub(crate) fn serving(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_serving()).count()
    }

    /// How many finish what they have.
    pub(crate) fn leaving(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_leaving()).count()
    }

    /// The process of a worker, if it runs.
    pub(crate) fn pid(&self, id: WorkerId) -> Option<u32> {
        self.workers.get(&id).map(|worker| worker.pid).filter(|pid| *pid != 0)
    }

    /// Whether a worker finishes what it has.
    pub(crate) fn finishes(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(Worker::is_leaving)
    }

    /// What a worker is sent next if it has not finished by then, if it finishes.
    pub(crate) fn next_signal(&self, id: WorkerId) -> Option<(Instant, Signal)> {
        match self.workers.get(&id)?.standing {
            Standing::Leaving { signal, .. } => signal,
            _ => None,
        }
    }

    /// Whether a worker is of the generation that is to take the place of the one that serves.
    pub(crate) fn is_coming(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.crew == Crew::Coming)
    }

    /// The worker whose process this is.
    pub(crate) fn with_pid(&self, pid: u32) -> Option<WorkerId> {
        self.workers.iter().find(|(_, worker)| worker.pid == pid).map(|(id, _)| *id)
    }

    /// How many connections wait that nobody has served yet.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// How many wait that were given back.
    pub(crate) fn returned(&self) -> usize {
        self.queue.returned()
    }

    /// Whether connections were given back, and everybody who serves speaks a version that has no states.
    pub(crate) fn returned_are_stuck(&self) -> bool {
        let mut serving = self.workers.values().filter(|worker| worker.is_serving()).peekable();
        self.queue.returned() > 0 && serving.peek().is_some() && !serving.any(Worker::gives_back)
    }

    /// How many connections workers hold, as far as they say when one has ended.
    pub(crate) fn held(&self) -> u64 {
        self.queue.held()
    }

    /// How many connections a worker has, or is about to get.
    pub(crate) fn share(&self, id: WorkerId) -> u64 {
        self.queue.share(id)
    }

    /// All workers, in the order in which they were started.
    pub(crate) fn members(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// The generation that serves.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// The generation that is to take its place, if there is one.
    pub(crate) fn coming(&self) -> Option<u64> {
        self.succession.is_under_way().then_some(self.current + 1)
    }

    /// What came of the last request for a new generation.
    pub(crate) fn last_reload(&self) -> Option<&Reload> {
        self.succession.last()
    }

    /// How many workers that serve were left from earlier generations by takeovers that failed.
    pub(crate) fn unreplaced(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_serving() && worker.generation < self.current).count()
    }

    /// Whether everybody is to finish.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether everybody finishes, and nobody will serve what waits.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopping() && self.leaving() == self.workers()
    }

    fn look_at_deadlines(&mut self, now: Instant) {
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in ids {
            let assumed_ready = self.workers.get(&id).and_then(|worker| self.assumed_ready(worker));
            let Some(worker) = self.workers.get_mut(&id) else {
                continue;
            };
            match worker.standing {
                Standing::Starting { .. } if assumed_ready.is_some_and(|due| now >= due) => self.ready(id, now),
                Standing::Starting { deadline } if now >= deadline => self.late(id, now),
                Standing::Held { until } if now >= until => {
                    worker.leave(None);
                    self.actions.push_back(Action::Signal { worker: id, signal: Signal::SIGKILL });
                }
                Standing::Leaving { signal: Some((due, signal)), .. } if now >= due => {
                    let next = (signal == Signal::SIGTERM).then_some((now + KILL_DELAY, Signal::SIGKILL));
                    worker.leave(next);
                    // One that has nothing to finish is not late with it.
                    if worker.may_have_connections(self.rules.supply) {
                        self.actions.push_back(Action::Report(Report::Overdue { pid: worker.pid, signal }));
                    }
                    self.actions.push_back(Action::Signal { worker: id, signal });
                }
                _ => {}
            }
        }
    }

    /// When a worker counts as ready that has not said so, if it does by its age.
    fn assumed_ready(&self, worker: &Worker) -> Option<Instant> {
        match (self.rules.supply, self.rules.ready) {
            (Supply::Listeners, Ready::After(time)) => Some(worker.started + time),
            _ => None,
        }
    }

    /// Whom it is to be looked at whether they serve, by their processes.
    pub(crate) fn to_be_seen(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        let is_looked_at = self.rules.supply == Supply::Listeners && self.rules.ready == Ready::Tcp;
        let starting = self.workers.iter().filter(move |(_, worker)| is_looked_at && worker.is_starting());
        starting.map(|(id, worker)| (*id, worker.pid)).filter(|(_, pid)| *pid != 0)
    }

    /// A worker has not become ready in time.
    fn late(&mut self, id: WorkerId, now: Instant) {
        let worker = self.workers[&id].clone();
        let Worker { pid, generation, .. } = worker;
        let ready_timeout = self.rules.ready_timeout;
        if self.rules.supply == Supply::Listeners && self.rules.ready == Ready::Tcp {
            return self.unseen(id, &worker, now);
        }
        self.finish(id, now);
        if worker.crew == Crew::Coming {
            self.fail(&worker, &format!("worker pid {pid} is not ready after {} ms", ready_timeout.as_millis()), now);
        } else {
            self.back_off.note(worker.started, None, now);
            self.actions.push_back(Action::Report(Report::Late { pid, generation, ready_timeout }));
        }
    }

    /// A worker that accepts itself lives, and has not been seen to do so in time. It may well serve in a way that cannot be
    /// seen. So it takes the place of nobody who does, and where nobody does it is let be.
    fn unseen(&mut self, id: WorkerId, worker: &Worker, now: Instant) {
        let Worker { pid, generation, .. } = *worker;
        let ready_timeout = self.rules.ready_timeout;
        if worker.crew == Crew::Current {
            self.actions.push_back(Action::Report(Report::Unseen { pid, generation, ready_timeout }));
            return self.ready(id, now);
        }
        self.finish(id, now);
        let ready_timeout_ms = ready_timeout.as_millis();
        let reason =
            format!("worker pid {pid} has not said READY=1 and is not seen to accept after {ready_timeout_ms} ms");
        self.fail(worker, &reason, now);
    }

    fn change_generations(&mut self, now: Instant) {
        let Some(generation) = self.coming() else {
            return;
        };
        let coming = self.workers.values().filter(|worker| worker.crew == Crew::Coming && !worker.is_leaving());
        match self.rules.replace {
            Replace::Drain => {
                if coming.clone().count() < self.target || coming.clone().any(Worker::is_starting) {
                    return;
                }
                self.finish_those(|worker| worker.crew == Crew::Current, now);
                for worker in self.workers.values_mut().filter(|worker| worker.standing == Standing::Ready) {
                    worker.crew = Crew::Current;
                    worker.standing = Standing::Serving { since: now };
                }
                self.back_off = BackOff::default();
                // What those before give back goes to all of them alike.
                self.to_fill = 0;
            }
            Replace::Takeover => {
                let mut replaced =
                    self.workers.values().filter(|worker| worker.generation == generation && !worker.is_leaving());
                // One whose predecessor has gone serves, but cannot hand over yet.
                if coming.count() > 0 || replaced.clone().any(Worker::is_starting) {
                    return;
                }
                if replaced.next().is_none() && self.workers.values().any(|worker| !worker.is_leaving()) {
                    return self.give_up("none of its workers became ready", now);
                }
            }
        }
        self.current = generation;
        let leaving = self.leaving();
        let (workers, unreplaced) = (self.workers.len() - leaving, self.unreplaced());
        let failures = self.succession.failures();
        self.actions.push_back(Action::Report(if unreplaced > 0 {
            Report::ServesInPart { generation, workers: workers - unreplaced, unreplaced }
        } else {
            Report::Serves { generation, workers, leaving }
        }));
        let why_not = (unreplaced > 0).then(|| format!("{unreplaced} workers were not replaced and go on: {failures}"));
        self.end_succession(workers - unreplaced, why_not, now);
    }

    fn give_up(&mut self, reason: &str, now: Instant) {
        let Some(generation) = self.coming() else {
            return;
        };
        self.dismiss_coming(now);
        let failures = self.succession.failures();
        let reason = if failures.is_empty() { reason.to_owned() } else { format!("{reason}: {failures}") };
        let report = Report::GivenUp { generation, reason: reason.clone(), current: self.current };
        self.actions.push_back(Action::Report(report));
        self.end_succession(0, Some(reason), now);
    }

    /// A generation has taken the place of the one before, or will not. Another may be asked for already.
    fn end_succession(&mut self, workers: usize, why_not: Option<String>, now: Instant) {
        // One that serves is the current one by now.
        let generation = if workers > 0 { self.current } else { self.current + 1 };
        if self.answer(generation, workers, why_not) {
            self.begin_generation(now);
        }
    }

    /// Tells whoever has asked for a generation what has come of it. Returns whether one more was asked for.
    fn answer(&mut self, generation: u64, workers: usize, why_not: Option<String>) -> bool {
        let (reload, again) = self.succession.end(generation, workers, why_not);
        self.actions.push_back(Action::Answer(reload));
        again
    }

    fn dismiss_coming(&mut self, now: Instant) {
        self.finish_those(|worker| worker.crew == Crew::Coming, now);
    }

    /// How many workers are missing from the current generation.
    fn missing(&self) -> usize {
        let there = self.workers.values().filter(|worker| worker.crew == Crew::Current && !worker.is_leaving());
        self.target.saturating_sub(there.count())
    }

    /// Whether a worker is being started to see whether it can be.
    fn trying(&self) -> bool {
        let mut current = self.workers.values().filter(|worker| worker.crew == Crew::Current);
        self.back_off.is_in_doubt()
            && current.any(|worker| worker.is_starting() && self.back_off.is_after(worker.started))
    }

    /// Whether missing workers may be started when the back-off is over. A takeover brings them itself.
    fn may_start(&self) -> bool {
        !self.trying() && (self.coming().is_none() || self.rules.replace == Replace::Drain)
    }

    fn start_missing(&mut self, now: Instant) {
        let missing = self.missing();
        if missing == 0 || !self.may_start() || self.back_off.due().is_some_and(|due| now < due) {
            return;
        }
        let mut serving = self.workers.values().filter(|worker| worker.is_serving());
        let succeeded = serving.any(|worker| self.back_off.is_after(worker.started));
        // After a failure one tries, and the others follow when it is ready.
        let starts = if self.back_off.is_in_doubt() && !succeeded { 1 } else { missing };
        for _ in 0..starts {
            self.start(self.current, Crew::Current, None, now);
        }
    }

    fn start(&mut self, generation: u64, crew: Crew, predecessor: Option<WorkerId>, now: Instant) {
        let id = self.next_worker;
        self.next_worker = WorkerId(id.0 + 1);
        let worker = Worker {
            pid: 0,
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
        self.actions.push_back(Action::Start { worker: id, predecessor });
    }

    /// The queue is served first; when it is empty, or nobody is there to serve it, everybody is to finish.
    fn finish_all(&mut self, stop_by: Instant, now: Instant) {
        let waiting = self.queue.waiting() + self.queue.returned() + self.queue.under_way();
        if self.serving() > 0 && waiting > 0 && now < stop_by {
            return;
        }
        for id in self.finish_those(|_| true, now) {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.hurry(stop_by);
            }
        }
    }

    /// Lets those workers finish what they have, and tells which have not been told so before.
    fn finish_those(&mut self, which: impl Fn(&Worker) -> bool, now: Instant) -> Vec<WorkerId> {
        let those = self.workers.iter().filter(|(_, worker)| which(worker) && !worker.is_leaving());
        let ids: Vec<WorkerId> = those.map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.finish(*id, now));
        ids
    }

    /// Lets a worker finish what it has.
    fn finish(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get(&id).filter(|worker| !worker.is_leaving()) else {
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
        self.actions.push_back(Action::Finish { worker: id });
    }

    /// Keeps a worker from running that may be taking over, and is not to any more. If it has done so already, the end of its
    /// predecessor shows it.
    fn hold(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.standing = Standing::Held { until: now + HELD_PATIENCE };
            self.queue.withdraw(id);
            self.actions.push_back(Action::Signal { worker: id, signal: Signal::SIGSTOP });
        }
    }

    /// A worker that is held has taken over before it was.
    fn release(&mut self, id: WorkerId, now: Instant) {
        let deadline = now + self.rules.ready_timeout;
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.is_held()) {
            worker.standing = Standing::Starting { deadline };
            self.actions.push_back(Action::Report(Report::TookOverAfterAll { pid: worker.pid }));
            self.actions.push_back(Action::Signal { worker: id, signal: Signal::SIGCONT });
        }
    }

    fn leave(&mut self, id: WorkerId, signal: Option<(Instant, Signal)>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.leave(signal);
            self.queue.withdraw(id);
        }
    }
}

#[cfg(test)]
mod tests;
