//! The fleet: which worker gets the next connection, which workers there are to be, and when one has to go.
//!
//! Pure: what happens is told with the time at which it does, and what is to be done comes out as [`Action`]s. A
//! connection is an id here, a worker an id and the pid that log lines name it by.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reactord_process::words::{ConnectionId, FromWorker, VERSION};

use crate::config::{Replace, Supply};

/// Connections that are under way to one worker at once at most: sent, and not taken. More would only wait where no
/// other worker can get at them, and so many fit into the socket.
pub(crate) const UNDER_WAY_MAX: usize = 64;

/// How long a worker that was sent SIGTERM has before it is sent SIGKILL.
const KILL_DELAY: Duration = Duration::from_secs(5);

/// The delay after the first failure. It doubles with each further one, so that the fifth start comes after 1.5 s, and
/// the sixth after 3.1 s.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// One start a minute is what a worker costs that cannot start.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// A worker that dies after it has served so long was no failure to start.
const PROVEN: Duration = Duration::from_secs(10);

/// A worker that gets the listeners and never says that it is ready counts as ready after this.
pub(crate) const ASSUMED_READY: Duration = Duration::from_secs(1);

/// What the fleet keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) supply: Supply,
    pub(crate) replace: Replace,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// A worker, as long as its supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process, and tell [`Fleet::launched`] its pid or [`Fleet::exited`].
    Start { worker: WorkerId, predecessor: Option<WorkerId> },
    /// Send a connection to a worker.
    Send { worker: WorkerId, connection: ConnectionId },
    /// Tell a worker to finish.
    Finish { worker: WorkerId },
    /// Send a signal to a worker.
    Signal { worker: WorkerId, signal: Signal },
    /// Say something that the operator wants to know.
    Report(Report),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(Signal),
    /// It never ran.
    NotStarted(String),
    /// It runs, but takes no connection any more: its queue has ended.
    QueueEnded(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by {signal}"),
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::QueueEnded(reason) => write!(f, "ended its queue: {reason}"),
        }
    }
}

/// What the operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Ready { pid: u32, generation: u64 },
    Died { pid: u32, generation: u64, exit: Exit, delay: Duration },
    Late { pid: u32, generation: u64, ready_timeout: Duration },
    Left { pid: u32, generation: u64, exit: Exit },
    HandedOver { pid: u32 },
    Begins { generation: u64, workers: usize },
    BeginsAgain { generation: u64 },
    Serves { generation: u64, workers: usize, leaving: usize },
    GivenUp { generation: u64, reason: String, current: u64 },
    NotReplaced { pid: u32, reason: String },
    Added { workers: usize },
    Removed { pid: Option<u32>, workers: usize },
    LastOne,
    Overdue { pid: u32, signal: Signal },
}

impl Report {
    /// Whether something is wrong.
    pub(crate) fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Died { .. }
                | Self::Late { .. }
                | Self::GivenUp { .. }
                | Self::NotReplaced { .. }
                | Self::Overdue { .. }
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { pid, generation } => write!(f, "Worker pid {pid} of generation {generation} is ready"),
            Self::Died { pid, generation, exit, delay } => {
                if *pid == 0 {
                    write!(f, "A worker of generation {generation} {exit}")?;
                } else {
                    write!(f, "Worker pid {pid} of generation {generation} {exit}")?;
                }
                match delay.as_millis() {
                    0 => write!(f, "; it is replaced at once"),
                    delay_ms => write!(f, "; it is replaced in {delay_ms} ms"),
                }
            }
            Self::Late { pid, generation, ready_timeout } => write!(
                f,
                "Worker pid {pid} of generation {generation} is not ready after {} ms, and is stopped",
                ready_timeout.as_millis()
            ),
            Self::Left { pid, generation, exit } => write!(f, "Worker pid {pid} of generation {generation} {exit}"),
            Self::HandedOver { pid } => write!(f, "Worker pid {pid} has handed over its connections"),
            Self::Begins { generation, workers } => write!(f, "Generation {generation} begins: {workers} workers"),
            Self::BeginsAgain { generation } => {
                write!(f, "Generation {generation} begins again: it was asked for again before it was ready")
            }
            Self::Serves { generation, workers, leaving } => {
                write!(f, "Generation {generation} serves: {workers} workers, {leaving} of earlier ones finish")
            }
            Self::GivenUp { generation, reason, current } => {
                write!(f, "Generation {generation} is given up: {reason}; generation {current} goes on")
            }
            Self::NotReplaced { pid, reason } => write!(f, "Worker pid {pid} is not replaced and goes on: {reason}"),
            Self::Added { workers } => write!(f, "A worker is added: there are to be {workers}"),
            Self::Removed { pid: Some(pid), workers } => {
                write!(f, "Worker pid {pid} is removed and finishes: there are to be {workers}")
            }
            Self::Removed { pid: None, workers } => write!(f, "A worker is removed: there are to be {workers}"),
            Self::LastOne => write!(f, "The last worker is not removed"),
            Self::Overdue { pid, signal } => {
                write!(f, "Worker pid {pid} has not finished in time and is sent {signal}")
            }
        }
    }
}

/// What a worker must not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Version(u32),
    ReadyTwice,
    NotReady,
    NotSent(ConnectionId),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "it speaks version {version} of the queue, {VERSION} is spoken here"),
            Self::ReadyTwice => write!(f, "it said twice that it is ready"),
            Self::NotReady => write!(f, "it spoke before it was ready"),
            Self::NotSent(id) => write!(f, "connection {id} is not under way to it"),
        }
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not said yet that it is ready, and has until then.
    Starting { deadline: Instant },
    /// It is ready, and waits for the others of its generation.
    Ready,
    /// Connections go to it.
    Serving { since: Instant },
    /// It takes no more, and is sent this signal then.
    Leaving { signal: Option<(Instant, Signal)> },
}

/// Whether a worker's generation serves, or is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crew {
    Current,
    Coming,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    pub(crate) crew: Crew,
    pub(crate) standing: Standing,
    pub(crate) started: Instant,
    pub(crate) said_ready: bool,
    pub(crate) credits: u64,
    /// Sent, or to be, and not taken.
    pub(crate) under_way: BTreeSet<ConnectionId>,
    /// Taken, and not said to have ended.
    pub(crate) held: u64,
    /// Whom it takes over from, until it is ready.
    pub(crate) predecessor: Option<WorkerId>,
}

impl Worker {
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.standing, Standing::Leaving { .. })
    }

    fn is_starting(&self) -> bool {
        matches!(self.standing, Standing::Starting { .. })
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.standing, Standing::Serving { .. })
    }

    /// Whether its end may be the end of connections: one that takes over, or accepts itself, has them before it can
    /// say that it is ready.
    fn may_have_connections(&self, supply: Supply) -> bool {
        self.said_ready || self.predecessor.is_some() || supply == Supply::Listeners
    }

    /// It is to finish by then.
    fn hurry(&mut self, by: Instant) {
        if let Standing::Leaving { signal: Some((due, signal)) } = &mut self.standing {
            // One that is next sent SIGKILL has heard SIGTERM, perhaps a moment ago.
            let by = if *signal == Signal::SIGKILL { by + KILL_DELAY } else { by };
            *due = by.min(*due);
        }
    }

    fn may_be_sent_one(&self) -> bool {
        self.is_serving() && self.credits > 0 && self.under_way.len() < UNDER_WAY_MAX
    }
}

/// When a worker that died is replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackOff {
    /// In a row.
    pub(crate) failures: u32,
    /// The last one.
    pub(crate) failed_at: Option<Instant>,
}

impl BackOff {
    fn delay(&self) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            // 2^10 times the first delay is over the last one.
            failures => (DELAY_MIN * 2u32.pow((failures - 1).min(10))).min(DELAY_MAX),
        }
    }

    fn due(&self) -> Option<Instant> {
        self.failed_at.map(|failed_at| failed_at + self.delay())
    }

    /// A worker has died that was started then, and has served since then.
    fn note(&mut self, started: Instant, serving_since: Option<Instant>, now: Instant) {
        // Those that die together are one failure. After a failure the next is started later than that.
        let together = |failed_at| started < failed_at || (started == failed_at && self.failures > 0);
        if self.failed_at.is_some_and(together) {
            return;
        }
        let proven = serving_since.is_some_and(|since| now - since >= PROVEN);
        self.failures = if proven { 0 } else { self.failures.saturating_add(1) };
        self.failed_at = Some(now);
    }
}

/// Workers, the queue, and what is decided about both.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) rules: Rules,
    /// How many workers there are to be.
    pub(crate) target: usize,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) next_worker: WorkerId,
    /// The generation that serves, or that shall at last.
    pub(crate) current: u64,
    /// The one that is to take its place.
    pub(crate) coming: Option<u64>,
    /// Another one is to follow at once.
    pub(crate) again: bool,
    pub(crate) back_off: BackOff,
    /// Connections that nobody has yet.
    pub(crate) waiting: BTreeSet<ConnectionId>,
    /// Workers with credits, the one whose turn it is first.
    pub(crate) asking: VecDeque<WorkerId>,
    /// Since a stop was asked for: all must have finished then.
    pub(crate) stop_by: Option<Instant>,
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
            coming: None,
            again: false,
            back_off: BackOff::default(),
            waiting: BTreeSet::new(),
            asking: VecDeque::new(),
            stop_by: None,
            actions: VecDeque::new(),
        }
    }

    // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A connection was accepted. Ids increase.
    pub(crate) fn enqueue(&mut self, connection: ConnectionId) {
        self.waiting.insert(connection);
    }

    /// The process of a worker runs.
    pub(crate) fn launched(&mut self, id: WorkerId, pid: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.pid = pid;
        }
    }

    /// A worker says something. Returns the connection that it has taken.
    ///
    /// # Errors
    /// If it must not say that. Its queue has to be ended.
    pub(crate) fn hear(
        &mut self,
        id: WorkerId,
        said: FromWorker,
        now: Instant,
    ) -> Result<Option<ConnectionId>, Breach> {
        let Some(worker) = self.workers.get_mut(&id) else {
            return Ok(None);
        };
        match said {
            FromWorker::Ready { version } if version != VERSION => return Err(Breach::Version(version)),
            FromWorker::Ready { .. } if worker.said_ready => return Err(Breach::ReadyTwice),
            FromWorker::Ready { .. } => self.ready(id, now),
            _ if !worker.said_ready => return Err(Breach::NotReady),
            FromWorker::Want(credits) => {
                if worker.credits == 0 && !worker.is_leaving() {
                    self.asking.push_back(id);
                }
                worker.credits = worker.credits.saturating_add(u64::from(credits.get()));
            }
            FromWorker::Took(connection) => {
                return if self.took(id, connection) { Ok(Some(connection)) } else { Err(Breach::NotSent(connection)) };
            }
            // What has ended need not be known; that it was taken is not kept.
            FromWorker::Done(_) => worker.held = worker.held.saturating_sub(1),
        }
        Ok(None)
    }

    /// A worker had taken a connection before its queue ended. False if that was not under way to it.
    pub(crate) fn took(&mut self, id: WorkerId, connection: ConnectionId) -> bool {
        let worker = self.workers.get_mut(&id);
        worker.is_some_and(|worker| {
            let taken = worker.under_way.remove(&connection);
            worker.held += u64::from(taken);
            taken
        })
    }

    /// A worker is ready.
    pub(crate) fn ready(&mut self, id: WorkerId, now: Instant) {
        let takeover = self.rules.replace == Replace::Takeover;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.said_ready = true;
        if !worker.is_starting() {
            return;
        }
        self.actions.push_back(Action::Report(Report::Ready { pid: worker.pid, generation: worker.generation }));
        if worker.crew == Crew::Coming && !takeover {
            worker.standing = Standing::Ready;
            return;
        }
        worker.crew = Crew::Current;
        worker.standing = Standing::Serving { since: now };
        let predecessor = worker.predecessor.take();
        if let Some(predecessor) = predecessor {
            self.finish(predecessor, now);
        }
    }

    /// A worker gets nothing more, and what it has not taken goes back to its place in the queue.
    pub(crate) fn cut_off(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            self.waiting.append(&mut worker.under_way);
            worker.credits = 0;
        }
        self.asking.retain(|asking| *asking != id);
    }

    /// The queue of a worker that still runs has ended, for whatever reason.
    pub(crate) fn queue_ended(&mut self, id: WorkerId, reason: String, now: Instant) {
        self.cut_off(id);
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
        self.cut_off(id);
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        if worker.is_leaving() {
            self.actions.push_back(Action::Report(Report::Left {
                pid: worker.pid,
                generation: worker.generation,
                exit,
            }));
            return;
        }
        let successor = self.workers.values_mut().find(|other| other.predecessor == Some(id) && !other.is_leaving());
        match successor {
            // It has what this one had, or will not need it.
            Some(successor) if exit == Exit::Code(0) => {
                successor.crew = Crew::Current;
                self.actions.push_back(Action::Report(Report::HandedOver { pid: worker.pid }));
            }
            _ => self.lost(&worker, exit, now),
        }
    }

    /// A worker is lost that was not told to go.
    fn lost(&mut self, worker: &Worker, exit: Exit, now: Instant) {
        let Worker { pid, generation, started, .. } = *worker;
        if worker.crew == Crew::Coming {
            return match worker.standing {
                Standing::Ready => self.give_up(&format!("worker pid {pid} {exit}"), now),
                _ if pid == 0 => self.fail(worker, &format!("a worker {exit}"), now),
                _ => self.fail(worker, &format!("worker pid {pid} {exit} before it was ready"), now),
            };
        }
        if self.stop_by.is_none() {
            let serving_since = match worker.standing {
                Standing::Serving { since } => Some(since),
                _ => None,
            };
            self.back_off.note(started, serving_since, now);
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
                let report = Report::NotReplaced { pid: predecessor.pid, reason: reason.to_owned() };
                self.actions.push_back(Action::Report(report));
            }
            None => self.back_off.note(worker.started, None, now),
        }
    }

    /// SIGHUP: a new generation is to take the place of the current one.
    pub(crate) fn replace(&mut self, now: Instant) {
        if self.stop_by.is_some() {
            return;
        }
        let report = match self.coming {
            None => Report::Begins { generation: self.current + 1, workers: self.target },
            // One that was about to answer may have the connections by now.
            Some(_) if self.rules.replace == Replace::Takeover => {
                self.again = true;
                return;
            }
            Some(generation) => {
                self.dismiss_coming(now);
                Report::BeginsAgain { generation }
            }
        };
        let generation = *self.coming.get_or_insert(self.current + 1);
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

    /// SIGUSR1, SIGTTIN: there is to be one worker more.
    pub(crate) fn add(&mut self, now: Instant) {
        self.target += 1;
        self.actions.push_back(Action::Report(Report::Added { workers: self.target }));
        if let Some(generation) = self.coming.filter(|_| self.rules.replace == Replace::Drain) {
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
                self.finish(id, now);
            }
        }
        self.actions.push_back(Action::Report(Report::Removed { pid: removed, workers: self.target }));
    }

    /// SIGTERM, SIGINT, SIGQUIT: everybody finishes. The second time, they are not waited for.
    pub(crate) fn stop(&mut self, now: Instant) {
        let at_once = self.stop_by.is_some();
        self.stop_by = Some(if at_once { now } else { now + self.rules.drain_timeout });
        if self.coming.is_some() {
            self.dismiss_coming(now);
            self.coming = None;
        }
        self.again = false;
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
        self.hand_out();
    }

    /// When [`Self::advance`] has something to do, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let assumed_ready = self.rules.supply == Supply::Listeners;
        let workers = self.workers.values().filter_map(|worker| match worker.standing {
            Standing::Starting { deadline } if assumed_ready => Some(deadline.min(worker.started + ASSUMED_READY)),
            Standing::Starting { deadline } => Some(deadline),
            Standing::Leaving { signal } => signal.map(|(due, _)| due),
            Standing::Ready | Standing::Serving { .. } => None,
        });
        let restart = self.back_off.due().filter(|_| self.missing() > 0 && self.may_start() && self.stop_by.is_none());
        let stop = self.stop_by.filter(|_| self.workers.values().any(|worker| !worker.is_leaving()));
        workers.chain(restart).chain(stop).min()
    }

    /// Whether a stop has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop_by.is_some() && self.workers.is_empty()
    }

    /// Whether there are as many workers as there are to be, and connections go to all of them.
    pub(crate) fn is_complete(&self) -> bool {
        self.serving() >= self.target
    }

    /// How many workers connections go to.
    pub(crate) fn serving(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_serving()).count()
    }

    /// How many finish what they have.
    pub(crate) fn leaving(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_leaving()).count()
    }

    fn look_at_deadlines(&mut self, now: Instant) {
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in ids {
            let Some(worker) = self.workers.get_mut(&id) else {
                continue;
            };
            match worker.standing {
                Standing::Starting { .. }
                    if self.rules.supply == Supply::Listeners && now >= worker.started + ASSUMED_READY =>
                {
                    self.ready(id, now);
                }
                Standing::Starting { deadline } if now >= deadline => self.late(id, now),
                Standing::Leaving { signal: Some((due, signal)) } if now >= due => {
                    let next = (signal == Signal::SIGTERM).then_some((now + KILL_DELAY, Signal::SIGKILL));
                    worker.standing = Standing::Leaving { signal: next };
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

    /// A worker has not become ready in time.
    fn late(&mut self, id: WorkerId, now: Instant) {
        let worker = self.workers[&id].clone();
        let Worker { pid, generation, .. } = worker;
        let ready_timeout = self.rules.ready_timeout;
        self.finish(id, now);
        if worker.crew == Crew::Coming {
            self.fail(&worker, &format!("worker pid {pid} is not ready after {} ms", ready_timeout.as_millis()), now);
        } else {
            self.back_off.note(worker.started, None, now);
            self.actions.push_back(Action::Report(Report::Late { pid, generation, ready_timeout }));
        }
    }

    fn change_generations(&mut self, now: Instant) {
        let Some(generation) = self.coming else {
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
        (self.current, self.coming) = (generation, None);
        let leaving = self.leaving();
        let workers = self.workers.len() - leaving;
        self.actions.push_back(Action::Report(Report::Serves { generation, workers, leaving }));
        if std::mem::take(&mut self.again) {
            self.replace(now);
        }
    }

    fn give_up(&mut self, reason: &str, now: Instant) {
        let Some(generation) = self.coming else {
            return;
        };
        self.dismiss_coming(now);
        self.coming = None;
        let report = Report::GivenUp { generation, reason: reason.to_owned(), current: self.current };
        self.actions.push_back(Action::Report(report));
        if std::mem::take(&mut self.again) {
            self.replace(now);
        }
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
        self.back_off.failures > 0
            && self.workers.values().any(|worker| {
                worker.crew == Crew::Current
                    && worker.is_starting()
                    && self.back_off.failed_at.is_some_and(|failed_at| worker.started >= failed_at)
            })
    }

    /// Whether missing workers may be started when the back-off is over. A takeover brings them itself.
    fn may_start(&self) -> bool {
        !self.trying() && (self.coming.is_none() || self.rules.replace == Replace::Drain)
    }

    fn start_missing(&mut self, now: Instant) {
        let missing = self.missing();
        if missing == 0 || !self.may_start() || self.back_off.due().is_some_and(|due| now < due) {
            return;
        }
        let succeeded = self.workers.values().any(|worker| {
            worker.is_serving() && self.back_off.failed_at.is_none_or(|failed_at| worker.started >= failed_at)
        });
        // After a failure one tries, and the others follow when it is ready.
        let starts = if self.back_off.failures == 0 || succeeded { missing } else { 1 };
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
            said_ready: false,
            credits: 0,
            under_way: BTreeSet::new(),
            held: 0,
            predecessor,
        };
        self.workers.insert(id, worker);
        self.actions.push_back(Action::Start { worker: id, predecessor });
    }

    /// The queue is served first; when it is empty, or nobody is there to serve it, everybody is to finish.
    fn finish_all(&mut self, stop_by: Instant, now: Instant) {
        let under_way = self.workers.values().any(|worker| !worker.under_way.is_empty());
        if self.serving() > 0 && (!self.waiting.is_empty() || under_way) && now < stop_by {
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
        let drained_by = now + self.rules.drain_timeout;
        if !worker.may_have_connections(self.rules.supply) {
            return self.leave(id, Some((now, Signal::SIGTERM)));
        }
        match self.rules.supply {
            Supply::Queue => {
                self.leave(id, Some((drained_by, Signal::SIGTERM)));
                self.actions.push_back(Action::Finish { worker: id });
            }
            // There is no other word for it.
            Supply::Listeners => {
                self.leave(id, Some((drained_by, Signal::SIGKILL)));
                self.actions.push_back(Action::Signal { worker: id, signal: Signal::SIGTERM });
            }
        }
    }

    fn leave(&mut self, id: WorkerId, signal: Option<(Instant, Signal)>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.standing = Standing::Leaving { signal };
            worker.credits = 0;
            self.asking.retain(|asking| *asking != id);
        }
    }

    /// Sends the oldest connections to those that ask, in turn.
    fn hand_out(&mut self) {
        while let Some(connection) = self.waiting.first().copied() {
            let Some(place) = self.asking.iter().position(|id| self.workers[id].may_be_sent_one()) else {
                return;
            };
            let id = self.asking.remove(place).expect("it was just found there");
            let worker = self.workers.get_mut(&id).expect("only workers ask");
            worker.credits -= 1;
            worker.under_way.insert(connection);
            if worker.credits > 0 {
                self.asking.push_back(id);
            }
            self.waiting.remove(&connection);
            self.actions.push_back(Action::Send { worker: id, connection });
        }
    }
}

#[cfg(test)]
mod tests;
