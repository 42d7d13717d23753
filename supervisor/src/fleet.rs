//! The fleet: which worker gets the next connection, which workers there are to be, and when one has to go.
//!
//! Pure: it is told what happens, with the time at which it does, and asked what is to be done. A connection is an id
//! here, a worker an id and the pid that log lines name it by. It knows how many workers there are to be and what the end of
//! one means; what it decides it has done by its [`Roster`], its [`Generations`] and its [`Sharing`].

mod action;
mod back_off;
mod exit;
mod generations;
mod guard;
mod heard;
mod queue;
mod record;
mod report;
mod roster;
mod rules;
mod shares;
mod sharing;
mod spread;
mod succession;
mod survival;
mod suspects;
mod worker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reactord_process::words::{ConnectionId, FromWorker, VERSION, VERSION_WITHOUT_STATES};

pub(crate) use action::Action;
use back_off::BackOff;
pub(crate) use exit::Exit;
use generations::{Generations, Lent};
pub(crate) use heard::{Breach, Heard};
pub(crate) use record::{FleetRecord, instant_at, milliseconds_to};
pub(crate) use report::Report;
use roster::{Due, Roster};
pub(crate) use rules::Rules;
use sharing::Sharing;
use spread::ANSWER_PATIENCE;
pub(crate) use succession::Reload;
pub(crate) use survival::Lost;
use worker::{Crew, Owes};
pub(crate) use worker::{KILL_DELAY, Standing, Worker, WorkerId};

/// How long a worker that is held has at a stop, where what it may have taken over ends in any case.
const HELD_AT_STOP: Duration = Duration::from_secs(1);

/// Workers, the queue, and what is decided about both.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// How many workers there are to be.
    target: usize,
    roster: Roster,
    generations: Generations,
    back_off: BackOff,
    sharing: Sharing,
    /// A new generation was asked for while some could not hand over: it begins after that, and moves are given up then.
    replace_by: Option<Instant>,
    /// Since a stop was asked for: all must have finished then.
    stop_by: Option<Instant>,
}

impl Fleet {
    /// A fleet that is to have so many workers, and has none.
    pub(crate) fn new(rules: Rules, target: usize) -> Self {
        Self {
            target,
            roster: Roster::new(rules),
            generations: Generations::first(),
            back_off: BackOff::default(),
            sharing: Sharing::default(),
            replace_by: None,
            stop_by: None,
        }
    }

    /// The fleet that an earlier binary has left.
    pub(crate) fn from_record(record: FleetRecord, rules: Rules, now: Instant) -> Self {
        Self {
            target: usize::try_from(record.target).unwrap_or(1).max(1),
            roster: Roster::from_record(rules, record.queue, &record.workers, record.next_worker, now),
            generations: Generations::from_record(record.current, record.succession),
            back_off: BackOff::from_record(&record.back_off, now),
            sharing: Sharing::from_record(record.to_fill, record.levels.unwrap_or(false)),
            replace_by: record.replace_by_ms.map(|replace_by_ms| instant_at(replace_by_ms, now)),
            stop_by: record.stop_by_ms.map(|stop_by_ms| instant_at(stop_by_ms, now)),
        }
    }

    /// What it knows. What it has decided must have been done.
    pub(crate) fn record(&self, now: Instant) -> FleetRecord {
        let (workers, next_worker) = self.roster.record(now);
        let (current, succession) = self.generations.record();
        FleetRecord {
            target: self.target as u64,
            workers,
            next_worker,
            current,
            succession,
            back_off: self.back_off.record(now),
            queue: self.roster.queue.record(),
            to_fill: self.sharing.to_fill() as u64,
            levels: Some(self.sharing.is_levelling()),
            stop_by_ms: self.stop_by.map(|stop_by| milliseconds_to(stop_by, now)),
            replace_by_ms: self.replace_by.map(|replace_by| milliseconds_to(replace_by, now)),
        }
    }

    /// The generations, and what they need.
    fn generations(&mut self, now: Instant) -> (&mut Generations, Lent<'_>) {
        let Self { target, roster, generations, back_off, sharing, .. } = self;
        (generations, Lent { roster, back_off, sharing, target: *target, now })
    }

    // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A connection was accepted. Ids increase.
    pub(crate) fn enqueue(&mut self, connection: ConnectionId) {
        self.roster.queue.enqueue(connection);
    }

    /// The process of a worker runs.
    pub(crate) fn launched(&mut self, id: WorkerId, pid: u32) {
        if let Some(worker) = self.roster.get_mut(id) {
            (worker.pid, worker.group) = (pid, pid);
        }
    }

    /// A worker says something. Returns what becomes of a connection by that.
    ///
    /// # Errors
    /// If it must not say that. Its queue has to be ended.
    pub(crate) fn hear(&mut self, id: WorkerId, said: FromWorker, now: Instant) -> Result<Heard, Breach> {
        let Some(worker) = self.roster.get(id) else {
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
            FromWorker::Want(credits) => self.roster.queue.want(id, credits),
            FromWorker::Took(_) | FromWorker::Done(_) | FromWorker::Back(_) => return self.change_hands(id, said),
            FromWorker::Holds(_) | FromWorker::Moved(_) => self.answered(id, said, now)?,
            FromWorker::Standby(_) | FromWorker::Has(_) | FromWorker::Survived => {
                return self.hear_of_standby(id, said, now);
            }
        }
        Ok(Heard::Noted)
    }

    /// What a worker names as its standby is none of its own processes.
    pub(crate) fn has_no_standby(&mut self, id: WorkerId, standby: u32) {
        let pid = self.pid(id).unwrap_or_default();
        self.roster.report(Report::NoStandby { pid, standby });
    }

    fn hear_of_standby(&mut self, id: WorkerId, said: FromWorker, now: Instant) -> Result<Heard, Breach> {
        let heard = survival::hear(&mut self.roster, id, said, now)?;
        if said == FromWorker::Survived {
            // What the process before it was asked is not answered, and this one does not hang.
            self.sharing.gone(id);
            self.turns(id, now);
        }
        Ok(heard)
    }

    /// It is known of a worker that it does not hang.
    fn turns(&mut self, id: WorkerId, now: Instant) {
        let (generations, mut with) = self.generations(now);
        generations.turns(id, &mut with);
    }

    /// A worker answers. It may be late: then nobody waits for it any more.
    fn answered(&mut self, id: WorkerId, said: FromWorker, now: Instant) -> Result<(), Breach> {
        let Owes { holds, moved } = &mut self.roster.get_mut(id).expect("it was just heard").owes;
        let owed = if matches!(said, FromWorker::Holds(_)) { holds } else { moved };
        *owed = owed.checked_sub(1).ok_or(Breach::NotAsked(said))?;
        match said {
            // An answer to what was asked before may be an old one.
            _ if *owed > 0 => {}
            FromWorker::Holds(count) => {
                self.sharing.holds(id, count.into());
                self.turns(id, now);
            }
            FromWorker::Moved(count) => self.sharing.moved(id, count.into(), now),
            _ => {}
        }
        // At once: one that has moved all it had may be gone a moment later.
        self.sharing.report_outcomes(&mut self.roster);
        Ok(())
    }

    /// A worker says which version of the queue it speaks.
    fn speaks(&mut self, id: WorkerId, version: u32) -> Result<(), Breach> {
        if !(VERSION_WITHOUT_STATES..=VERSION).contains(&version) {
            return Err(Breach::Version(version));
        }
        let Some(worker) = self.roster.get_mut(id).filter(|worker| !worker.said_ready()) else {
            return Err(Breach::ReadyTwice);
        };
        worker.version = Some(version);
        if version > VERSION_WITHOUT_STATES {
            self.roster.queue.know(id);
        }
        Ok(())
    }

    /// A worker says what becomes of a connection; it may have said so before its queue ended.
    ///
    /// # Errors
    /// If it cannot be so.
    pub(crate) fn change_hands(&mut self, id: WorkerId, said: FromWorker) -> Result<Heard, Breach> {
        match said {
            FromWorker::Took(connection) if !self.roster.queue.took(id, connection) => Err(Breach::NotSent(connection)),
            FromWorker::Took(connection) => {
                self.roster.get_mut(id).into_iter().for_each(|worker| worker.has_taken = true);
                Ok(Heard::Took(connection))
            }
            FromWorker::Done(connection) => match self.roster.queue.ended(id, connection) {
                Some(true) => Ok(Heard::Ended(connection)),
                Some(false) => Ok(Heard::Noted),
                None => Err(Breach::NotHeld(connection)),
            },
            FromWorker::Back(connection) if self.roster.queue.gave_back(id, connection) => {
                Ok(Heard::GaveBack(connection))
            }
            FromWorker::Back(connection) => Err(Breach::NotHeld(connection)),
            said => survival::hear_last(&mut self.roster, id, said),
        }
    }

    /// What a worker gave back waits for another.
    pub(crate) fn put_back(&mut self, id: WorkerId, connection: ConnectionId) {
        self.roster.queue.put_back(id, connection);
        self.sharing.given(id);
    }

    /// What a worker gave back is its own again.
    pub(crate) fn keep(&mut self, id: WorkerId, connection: ConnectionId) {
        self.roster.queue.keep(id, connection);
    }

    /// Whether anybody may be there to take what is given back.
    pub(crate) fn has_heirs(&self) -> bool {
        let mut staying = self.roster.all().filter(|worker| !worker.is_leaving()).peekable();
        // One that has not said so may speak any version, and so may one that is to be started.
        let is_open = staying.peek().is_none() || staying.any(|worker| worker.gives_back() || !worker.said_ready());
        is_open && self.stop_by.is_none()
    }

    /// Whether a worker may give back what it takes.
    pub(crate) fn gives_back(&self, id: WorkerId) -> bool {
        self.roster.get(id).is_some_and(Worker::gives_back)
    }

    /// A worker is ready.
    pub(crate) fn ready(&mut self, id: WorkerId, now: Instant) {
        let (replace, takes_over) = (self.roster.rules.replace, self.roster.rules.takes_over());
        let Some(worker) = self.roster.get_mut(id) else {
            return;
        };
        if let Standing::Leaving { said_ready, .. } = &mut worker.standing {
            *said_ready = true;
        }
        let was_held = worker.is_held();
        self.roster.release(id, true, now);
        let Some(worker) = self.roster.get_mut(id).filter(|worker| worker.is_starting()) else {
            return;
        };
        let (pid, generation) = (worker.pid, worker.generation);
        let predecessor = worker.predecessor;
        if worker.crew == Crew::Coming && !takes_over {
            worker.standing = Standing::Ready;
            return self.roster.report(Report::Ready { pid, generation });
        }
        worker.predecessor = None;
        worker.crew = Crew::Current;
        worker.standing = Standing::Serving { since: now };
        self.roster.report(Report::Ready { pid, generation });
        let is_one_too_many = was_held && predecessor.is_some_and(|id| self.finishes(id)) && self.stop_by.is_none();
        match predecessor {
            Some(_) if is_one_too_many => self.let_go(id, now),
            Some(predecessor) => self.roster.finish(predecessor, now),
            None => self.sharing.serves(id, replace),
        }
    }

    /// A worker is sent nothing more.
    pub(crate) fn withdraw(&mut self, id: WorkerId) {
        self.roster.queue.withdraw(id);
    }

    /// A worker gets nothing more, and what it has not taken goes back to its place in the queue. Returns what it might
    /// have given back, and cannot any more.
    pub(crate) fn cut_off(&mut self, id: WorkerId) -> BTreeSet<ConnectionId> {
        self.roster.queue.cut_off(id)
    }

    /// The queue of a worker that still runs has ended, for whatever reason.
    pub(crate) fn queue_ended(&mut self, id: WorkerId, reason: String, now: Instant) {
        self.cut_off(id);
        self.sharing.gone(id);
        self.generations.gone(id);
        let Some(worker) = self.roster.get(id) else {
            return;
        };
        if worker.is_leaving() {
            return;
        }
        let worker = worker.clone();
        self.roster.leave(id, Some((now + self.roster.rules.drain_timeout, Signal::SIGTERM)));
        self.lost(&worker, Exit::QueueEnded(reason), now);
    }

    /// The process of a worker has ended, and all is heard that it had said. Returns whether its standby may say that it serves on.
    pub(crate) fn may_survive(&mut self, id: WorkerId, exit: &Exit, now: Instant) -> bool {
        let may_survive = self.roster.get_mut(id).is_some_and(|worker| worker.guard.may_survive(exit, now));
        if may_survive {
            // It was dying, not hanging, and whoever serves on is to have the time for that.
            self.turns(id, now);
        }
        may_survive
    }

    /// A process has ended of whose death its standby knew first. Returns whose it was.
    pub(crate) fn former_ended(&mut self, pid: u32, exit: &Exit) -> Option<WorkerId> {
        survival::former_ended(&mut self.roster, pid, exit)
    }

    /// Those whose process has ended, and whose standby has said nothing for too long.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<WorkerId> {
        let is_overdue = |worker: &Worker| worker.guard.due().is_some_and(|due| due <= now);
        self.roster.members().filter(|(_, worker)| is_overdue(worker)).map(|(id, _)| id).collect()
    }

    /// Those whose process has ended, and whose standby does not serve on: it has ended the queue, as `has_queue` says, or has said nothing
    /// for too long.
    pub(crate) fn take_lost(&mut self, has_queue: impl Fn(WorkerId) -> bool, now: Instant) -> Vec<Lost> {
        survival::take_lost(&mut self.roster, has_queue, now)
    }

    /// The process of a worker has ended and nobody serves on in its place, or it was never there.
    pub(crate) fn exited(&mut self, id: WorkerId, exit: Exit, now: Instant) {
        let given = self.roster.queue.forget(id);
        self.sharing.gone(id);
        self.generations.gone(id);
        let Some(worker) = self.roster.remove(id) else {
            return;
        };
        let Worker { pid, generation, .. } = worker;
        let successors = self.roster.successors(id);
        // If it has not, the one after it will not need it.
        let has_handed_over = !worker.is_leaving() && exit == Exit::Code(0) && !successors.is_empty();
        if worker.is_leaving() {
            self.roster.report(Report::Left { pid, generation, exit, given });
        } else if has_handed_over {
            self.roster.report(Report::HandedOver { pid });
        } else {
            self.lost(&worker, exit, now);
        }
        successors.into_iter().for_each(|successor| self.follow(successor, &worker, has_handed_over, now));
    }

    /// A successor is left without the one before it, and what that one had may be its own: nobody else has it then. If it
    /// has taken over nothing it finds nobody, and exits by itself.
    fn follow(&mut self, id: WorkerId, predecessor: &Worker, has_handed_over: bool, now: Instant) {
        let Some(worker) = self.roster.get_mut(id) else { return };
        let was_held = worker.is_held();
        if was_held || has_handed_over {
            worker.crew = Crew::Current;
        }
        self.roster.release(id, has_handed_over, now);
        // At a stop all are told to finish, and by when.
        if was_held && predecessor.is_leaving() && self.stop_by.is_none() {
            self.roster.finish(id, now);
        }
    }

    /// A worker is lost that was not told to go.
    fn lost(&mut self, worker: &Worker, exit: Exit, now: Instant) {
        let Worker { pid, generation, started, .. } = *worker;
        if exit == Exit::Code(0) && worker.has_proven_itself(now) && self.stop_by.is_none() {
            // Nobody is missing for longer than the next one takes to start, and it is no failure.
            return self.roster.report(Report::Retired { pid, generation });
        }
        if worker.crew == Crew::Coming {
            let (generations, mut with) = self.generations(now);
            return match worker.standing {
                Standing::Ready => generations.give_up(&format!("worker pid {pid} {exit}"), &mut with),
                _ if pid == 0 => generations.fail(worker, &format!("a worker {exit}"), &mut with),
                _ => generations.fail(worker, &format!("worker pid {pid} {exit} before it was ready"), &mut with),
            };
        }
        if self.stop_by.is_none() {
            self.back_off.note(started, worker.serving_since(), now);
        }
        let delay = self.back_off.due().map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        self.roster.report(Report::Died { pid, generation, exit, delay });
    }

    /// A worker has not become ready in time.
    fn late(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.roster.get(id).cloned() else { return };
        let Worker { pid, generation, .. } = worker;
        let ready_timeout = self.roster.rules.ready_timeout;
        if self.roster.rules.looks() {
            return self.unseen(id, &worker, now);
        }
        self.roster.finish(id, now);
        if worker.crew == Crew::Coming {
            let reason = format!("worker pid {pid} is not ready after {} ms", ready_timeout.as_millis());
            return self.fail(&worker, &reason, now);
        }
        self.back_off.note(worker.started, None, now);
        self.roster.report(Report::Late { pid, generation, ready_timeout });
    }

    /// A worker that accepts itself lives, and has not been seen to do so in time. It may well serve in a way that cannot be
    /// seen. So it takes the place of nobody who does, and where nobody does it is let be.
    fn unseen(&mut self, id: WorkerId, worker: &Worker, now: Instant) {
        let Worker { pid, generation, .. } = *worker;
        let ready_timeout = self.roster.rules.ready_timeout;
        if worker.crew == Crew::Current {
            self.roster.report(Report::Unseen { pid, generation, ready_timeout });
            return self.ready(id, now);
        }
        self.roster.finish(id, now);
        let ready_timeout_ms = ready_timeout.as_millis();
        let reason =
            format!("worker pid {pid} has not said READY=1 and is not seen to accept after {ready_timeout_ms} ms");
        self.fail(worker, &reason, now);
    }

    /// A worker of the generation that is to come has failed.
    fn fail(&mut self, worker: &Worker, reason: &str, now: Instant) {
        let (generations, mut with) = self.generations(now);
        generations.fail(worker, reason, &mut with);
    }

    // ── What is asked for ──────────────────────────────────────────────────────────────────────────────────────────

    /// A new generation is to take the place of the current one. Returns the [number](Reload::number) of what will come of
    /// it, or `None` if everybody is to finish.
    pub(crate) fn replace(&mut self, now: Instant) -> Option<u64> {
        if self.stop_by.is_some() {
            return None;
        }
        let takes_over = self.roster.rules.takes_over();
        match self.generations.coming() {
            // One that was about to answer may have the connections by now.
            Some(_) if takes_over => self.generations.again(),
            None if takes_over && self.cannot_hand_over_yet() => self.replace_later(now),
            _ => self.begin_generation(now),
        }
        Some(self.generations.answered_by())
    }

    fn begin_generation(&mut self, now: Instant) {
        // Also where it was asked for before: it is one.
        self.replace_by = None;
        let (generations, mut with) = self.generations(now);
        generations.begin(&mut with);
    }

    /// A worker must not hand over everything and some of it at once, and one that has taken over cannot before it is ready.
    fn cannot_hand_over_yet(&self) -> bool {
        self.sharing.is_busy() || self.roster.all().any(Worker::is_left_alone)
    }

    fn replace_later(&mut self, now: Instant) {
        if self.replace_by.is_none() {
            self.replace_by = Some(now + ANSWER_PATIENCE);
            self.roster.report(Report::BeginsLater { generation: self.current() + 1 });
        }
    }

    /// SIGUSR1, SIGTTIN: there is to be one worker more, which gets its share of the connections.
    pub(crate) fn add(&mut self, now: Instant) {
        self.target += 1;
        self.sharing.added();
        self.roster.report(Report::Added { workers: self.target });
        if let Some(generation) = self.coming().filter(|_| !self.roster.rules.takes_over()) {
            self.roster.start(generation, Crew::Coming, None, now);
        }
    }

    /// SIGTTOU: there is to be one worker less. The last one stays.
    pub(crate) fn remove(&mut self, now: Instant) {
        if self.target == 1 {
            return self.roster.report(Report::LastOne);
        }
        self.target -= 1;
        let mut removed = None;
        for crew in [Crew::Coming, Crew::Current] {
            let there = self.roster.members().filter(|(_, worker)| worker.crew == crew && !worker.is_leaving());
            let there: Vec<(bool, WorkerId, u32)> =
                there.map(|(id, worker)| (worker.is_starting(), id, worker.pid)).collect();
            // One that has not started yet, or else the youngest.
            let youngest = there.iter().max().filter(|_| there.len() > self.target);
            if let Some(&(_, id, pid)) = youngest {
                removed = Some(pid);
                self.let_go(id, now);
            }
        }
        if removed.is_none() {
            // One that was added, if any was, has not been started yet.
            self.sharing.added_in_vain();
        }
        self.roster.report(Report::Removed { pid: removed, workers: self.target });
    }

    /// A worker is removed. What it has goes to the others at once, if it can.
    fn let_go(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.roster.get(id) else { return };
        let (was_starting, was_serving, gives_back) = (worker.is_starting(), worker.is_serving(), worker.gives_back());
        if was_starting {
            self.sharing.added_in_vain();
        }
        self.roster.finish(id, now);
        // Whoever takes over from it is one too many as well. If it has done so already, it finishes in its place.
        self.roster.successors(id).into_iter().for_each(|successor| self.roster.finish(successor, now));
        // One that gives back does so when it is told to finish.
        if self.roster.rules.takes_over() && was_serving && gives_back {
            self.sharing.empty(id);
        }
    }

    /// SIGTERM, SIGINT, SIGQUIT: everybody finishes. The second time, they are not waited for.
    pub(crate) fn stop(&mut self, now: Instant) {
        let at_once = self.stop_by.is_some();
        self.stop_by = Some(if at_once { now } else { now + self.roster.rules.drain_timeout });
        let was_postponed = self.replace_by.take().is_some();
        let (generations, mut with) = self.generations(now);
        generations.stop(was_postponed, &mut with);
        let held = self.roster.all_mut().filter(|worker| worker.is_held());
        held.for_each(|worker| worker.hurry(now + HELD_AT_STOP));
        if at_once {
            self.roster.all_mut().for_each(|worker| worker.hurry(now));
        }
    }

    // ── What is decided ────────────────────────────────────────────────────────────────────────────────────────────

    /// What is to be done next.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.roster.next_action()
    }

    /// Decides what follows from what has happened, and from the time.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.look_at_deadlines(now);
        let (generations, mut with) = self.generations(now);
        generations.change(&mut with);
        match self.stop_by {
            None => self.start_missing(now),
            Some(stop_by) => self.finish_all(stop_by, now),
        }
        self.spread_out(now);
    }

    fn look_at_deadlines(&mut self, now: Instant) {
        let ids: Vec<WorkerId> = self.roster.members().map(|(id, _)| id).collect();
        for id in ids {
            match self.roster.look_after(id, now) {
                Some(Due::AssumedReady) => self.ready(id, now),
                Some(Due::Late) => self.late(id, now),
                None => {}
            }
        }
    }

    /// Lets workers move connections to one another, or give some back, as far as that is to be now.
    fn spread_out(&mut self, now: Instant) {
        if self.stop_by.is_some() {
            return self.sharing.stop();
        }
        if self.replace_by.is_some_and(|by| now >= by) {
            self.sharing.stop();
        }
        if self.coming().is_none() {
            self.sharing.order_next(&mut self.roster, now);
        }
        if self.replace_by.is_some() && !self.cannot_hand_over_yet() {
            self.begin_generation(now);
        }
    }

    /// The oldest connection, and the worker that is to be sent it, as long as any waits that a worker asks for. It
    /// counts as under way from then on.
    pub(crate) fn hand_out(&mut self) -> Option<(WorkerId, ConnectionId)> {
        self.roster.hand_out()
    }

    /// When [`Self::advance`] has something to do, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let workers = self.roster.all().filter_map(|worker| self.roster.due(worker));
        let restart = self.back_off.due().filter(|_| self.missing() > 0 && self.may_start() && self.stop_by.is_none());
        let stop = self.stop_by.filter(|_| self.roster.all().any(|worker| !worker.is_leaving()));
        let may_spread = self.coming().is_none() && self.stop_by.is_none();
        let spread = self.sharing.deadline(self.roster.rules.rebalance).filter(|_| may_spread);
        let bereft = self.roster.all().filter_map(|worker| worker.guard.due());
        // Who has only to become ready has its own time for that.
        let moved = self.replace_by.filter(|_| self.sharing.is_busy());
        workers.chain(bereft).chain(restart).chain(stop).chain(spread).chain(moved).chain(self.generations.due()).min()
    }

    /// How many workers are missing from the current generation.
    fn missing(&self) -> usize {
        let there = self.roster.all().filter(|worker| worker.crew == Crew::Current && !worker.is_leaving());
        self.target.saturating_sub(there.count())
    }

    /// Whether a worker is being started to see whether it can be.
    fn trying(&self) -> bool {
        let mut current = self.roster.all().filter(|worker| worker.crew == Crew::Current);
        self.back_off.is_in_doubt()
            && current.any(|worker| worker.is_starting() && self.back_off.is_after(worker.started))
    }

    /// Whether missing workers may be started when the back-off is over. A takeover brings them itself.
    fn may_start(&self) -> bool {
        !self.trying() && (self.coming().is_none() || !self.roster.rules.takes_over())
    }

    fn start_missing(&mut self, now: Instant) {
        let missing = self.missing();
        if missing == 0 || !self.may_start() || self.back_off.due().is_some_and(|due| now < due) {
            return;
        }
        let succeeded = self.roster.all().any(|worker| worker.is_serving() && self.back_off.is_after(worker.started));
        // After a failure one tries, and the others follow when it is ready.
        let starts = if self.back_off.is_in_doubt() && !succeeded { 1 } else { missing };
        for _ in 0..starts {
            self.roster.start(self.generations.current(), Crew::Current, None, now);
        }
    }

    /// The queue is served first; when it is empty, or nobody is there to serve it, everybody is to finish.
    fn finish_all(&mut self, stop_by: Instant, now: Instant) {
        let queue = &self.roster.queue;
        let waiting = queue.waiting() + queue.returned() + queue.under_way();
        if self.serving() > 0 && waiting > 0 && now < stop_by {
            return;
        }
        for id in self.roster.finish_those(|_| true, now) {
            if let Some(worker) = self.roster.get_mut(id) {
                worker.hurry(stop_by);
            }
        }
    }

    // ── How it stands ──────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether workers are moving connections to one another, or were asked whether they hang.
    pub(crate) fn is_moving(&self) -> bool {
        self.sharing.is_busy() || self.generations.is_asking()
    }

    /// Whether a stop has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop_by.is_some() && self.workers() == 0
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
        self.roster.count()
    }

    /// How many workers connections go to.
    pub(crate) fn serving(&self) -> usize {
        self.roster.serving()
    }

    /// How many finish what they have.
    pub(crate) fn leaving(&self) -> usize {
        self.roster.leaving()
    }

    /// All workers, in the order in which they were started.
    pub(crate) fn members(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.roster.members()
    }

    /// The process of a worker, if it runs.
    pub(crate) fn pid(&self, id: WorkerId) -> Option<u32> {
        self.roster.pid(id)
    }

    /// Whether a worker has died of which it is not known yet whether it goes on in another process, or how it has died.
    pub(crate) fn awaits_survivors(&self) -> bool {
        self.roster.all().any(|worker| worker.guard.is_under_way())
    }

    /// Whether a worker has had a standby, which may leave a moment after it.
    pub(crate) fn was_guarded(&self, id: WorkerId) -> bool {
        self.roster.get(id).is_some_and(|worker| worker.guard.has_been())
    }

    /// The group that all processes of a worker are in, if it has any.
    pub(crate) fn group(&self, id: WorkerId) -> Option<u32> {
        self.roster.get(id).map(|worker| worker.group).filter(|group| *group != 0)
    }

    /// Those that go on in another process since this was last asked, and whose process before is known to be dead.
    pub(crate) fn take_survivors(&mut self) -> Vec<WorkerId> {
        survival::take_unseen(&mut self.roster)
    }

    /// The worker whose process this is.
    pub(crate) fn with_pid(&self, pid: u32) -> Option<WorkerId> {
        self.members().find(|(_, worker)| worker.pid == pid).map(|(id, _)| id)
    }

    /// Whom it is to be looked at whether they serve, by their processes.
    pub(crate) fn to_be_seen(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        self.roster.to_be_seen()
    }

    /// Whether a worker finishes what it has.
    pub(crate) fn finishes(&self, id: WorkerId) -> bool {
        self.roster.get(id).is_some_and(Worker::is_leaving)
    }

    /// What a worker is sent next if it has not finished by then, if it finishes.
    pub(crate) fn next_signal(&self, id: WorkerId) -> Option<(Instant, Signal)> {
        match self.roster.get(id)?.standing {
            Standing::Leaving { signal, .. } => signal,
            _ => None,
        }
    }

    /// Whether a worker is of the generation that is to take the place of the one that serves.
    pub(crate) fn is_coming(&self, id: WorkerId) -> bool {
        self.roster.get(id).is_some_and(|worker| worker.crew == Crew::Coming)
    }

    /// How many connections wait that nobody has served yet.
    pub(crate) fn waiting(&self) -> usize {
        self.roster.queue.waiting()
    }

    /// How many wait that were given back.
    pub(crate) fn returned(&self) -> usize {
        self.roster.queue.returned()
    }

    /// Whether connections were given back, and everybody who serves speaks a version that has no states.
    pub(crate) fn returned_are_stuck(&self) -> bool {
        let mut serving = self.roster.all().filter(|worker| worker.is_serving()).peekable();
        self.returned() > 0 && serving.peek().is_some() && !serving.any(Worker::gives_back)
    }

    /// How many connections workers hold, as far as they say when one has ended.
    pub(crate) fn held(&self) -> u64 {
        self.roster.queue.held()
    }

    /// How many connections a worker has, or is about to get.
    pub(crate) fn share(&self, id: WorkerId) -> u64 {
        self.roster.queue.share(id)
    }

    /// The generation that serves.
    pub(crate) fn current(&self) -> u64 {
        self.generations.current()
    }

    /// The generation that is to take its place, if there is one.
    pub(crate) fn coming(&self) -> Option<u64> {
        self.generations.coming()
    }

    /// What came of the last request for a new generation.
    pub(crate) fn last_reload(&self) -> Option<&Reload> {
        self.generations.last_reload()
    }

    /// How many workers that serve were left from earlier generations by takeovers that failed.
    pub(crate) fn unreplaced(&self) -> usize {
        self.generations.unreplaced(&self.roster)
    }

    /// Whether everybody is to finish.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether everybody finishes, and nobody will serve what waits.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopping() && self.leaving() == self.workers()
    }
}

#[cfg(test)]
mod tests;
