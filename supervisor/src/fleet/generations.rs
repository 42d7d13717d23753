//! Which generation of workers serves, which is to take its place, and what comes of that.

use std::collections::VecDeque;
use std::time::Instant;

use super::action::Action;
use super::back_off::BackOff;
use super::record::SuccessionRecord;
use super::report::Report;
use super::roster::Roster;
use super::sharing::Sharing;
use super::succession::{Reload, Succession};
use super::suspects::{Suspects, TURN_PATIENCE};
use super::worker::{Crew, Standing, Worker, WorkerId};
use crate::config::Replace;

/// Why a generation that was asked for does not come.
pub(crate) const STOPPING: &str = "the supervisor is stopping";

/// The generation that serves, and the one that comes.
#[derive(Debug)]
pub(crate) struct Generations {
    /// The one that serves, or that shall at last.
    current: u64,
    succession: Succession,
    /// From whom the one that comes could not take over, if it is not known yet why.
    suspects: Suspects,
}

/// What a fleet lends for that.
pub(crate) struct Lent<'f> {
    pub(crate) roster: &'f mut Roster,
    pub(crate) back_off: &'f mut BackOff,
    pub(crate) sharing: &'f mut Sharing,
    /// How many workers there are to be.
    pub(crate) target: usize,
    pub(crate) now: Instant,
}

impl Generations {
    pub(crate) fn first() -> Self {
        Self { current: 1, succession: Succession::default(), suspects: Suspects::default() }
    }

    pub(crate) fn from_record(current: u64, succession: SuccessionRecord) -> Self {
        Self { current, succession: Succession::from_record(succession), suspects: Suspects::default() }
    }

    pub(crate) fn record(&self) -> (u64, SuccessionRecord) {
        (self.current, self.succession.record())
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
    pub(crate) fn unreplaced(&self, roster: &Roster) -> usize {
        roster.all().filter(|worker| worker.is_serving() && worker.generation < self.current).count()
    }

    /// The number of the one whose end answers a request that is made now.
    pub(crate) fn answered_by(&self) -> u64 {
        self.succession.answered_by()
    }

    /// One more is to follow the one that is coming.
    pub(crate) fn again(&mut self) {
        self.succession.again();
    }

    /// The next one begins, in place of one that was coming.
    pub(crate) fn begin(&mut self, with: &mut Lent<'_>) {
        let generation = self.current + 1;
        with.sharing.stop();
        let report = if self.succession.is_under_way() {
            dismiss_coming(with);
            Report::BeginsAgain { generation }
        } else {
            Report::Begins { generation, workers: with.target }
        };
        self.succession.begin();
        with.roster.report(report);
        let mut predecessors = VecDeque::new();
        if with.roster.rules.takes_over() {
            let current = |worker: &Worker| worker.crew == Crew::Current && worker.is_serving();
            predecessors.extend(with.roster.members().filter(|(_, worker)| current(worker)).map(|(id, _)| id));
            with.roster.finish_those(Worker::is_starting, with.now);
        }
        for _ in 0..with.target.max(predecessors.len()) {
            with.roster.start(generation, Crew::Coming, predecessors.pop_front(), with.now);
        }
    }

    /// The one that is coming serves, if all is ready for that.
    pub(crate) fn change(&mut self, with: &mut Lent<'_>) {
        let Some(generation) = self.coming() else {
            return;
        };
        self.replace_hanging(generation, with);
        let is_ready = match with.roster.rules.replace {
            Replace::Drain => change_at_once(with),
            Replace::Takeover => self.have_taken_over(generation, with),
        };
        if is_ready {
            self.current = generation;
            self.serves(with);
        }
    }

    /// Whether all have come to an end, one way or the other, that were to take over.
    fn have_taken_over(&mut self, generation: u64, with: &mut Lent<'_>) -> bool {
        let is_any =
            |which: &dyn Fn(&Worker) -> bool| with.roster.all().any(|worker| !worker.is_leaving() && which(worker));
        let is_new = |worker: &Worker| worker.generation == generation;
        // One whose predecessor has gone serves, but cannot hand over yet.
        let is_starting = |worker: &Worker| worker.crew == Crew::Coming || worker.is_left_alone();
        // Whom one that is held was to take over from must have no other successor until it is known which of them has.
        let is_in_doubt = self.suspects.is_asking() || with.roster.all().any(Worker::is_held);
        if is_any(&is_starting) || is_in_doubt {
            return false;
        }
        // Also where nobody else serves either: whoever has asked is to know that it has not come.
        if !is_any(&is_new) {
            self.give_up("none of its workers became ready", with);
            return false;
        }
        true
    }

    fn serves(&mut self, with: &mut Lent<'_>) {
        let generation = self.current;
        let leaving = with.roster.leaving();
        let (workers, unreplaced) = (with.roster.count() - leaving, self.unreplaced(with.roster));
        let failures = self.succession.failures();
        with.roster.report(if unreplaced > 0 {
            Report::ServesInPart { generation, workers: workers - unreplaced, unreplaced }
        } else {
            Report::Serves { generation, workers, leaving }
        });
        let why_not = (unreplaced > 0).then(|| format!("{unreplaced} workers were not replaced and go on: {failures}"));
        self.end(workers - unreplaced, why_not, with);
    }

    /// The one that is coming does not come.
    pub(crate) fn give_up(&mut self, reason: &str, with: &mut Lent<'_>) {
        let Some(generation) = self.coming() else {
            return;
        };
        dismiss_coming(with);
        let failures = self.succession.failures();
        let reason = if failures.is_empty() { reason.to_owned() } else { format!("{reason}: {failures}") };
        with.roster.report(Report::GivenUp { generation, reason: reason.clone(), current: self.current });
        self.end(0, Some(reason), with);
    }

    /// A worker of the one that is coming has failed.
    pub(crate) fn fail(&mut self, worker: &Worker, reason: &str, with: &mut Lent<'_>) {
        if !with.roster.rules.takes_over() {
            return self.give_up(reason, with);
        }
        // What others have taken over stays where it is.
        let predecessor = worker.predecessor.and_then(|id| Some((id, with.roster.get_mut(id)?)));
        let Some((id, predecessor)) = predecessor else {
            self.succession.fail(reason);
            return with.back_off.note(worker.started, None, with.now);
        };
        let pid = predecessor.pid;
        // It may be the predecessor that has made it fail, by answering nothing. One whose process is dead has its own time.
        let can_answer = predecessor.is_serving() && predecessor.gives_back() && !predecessor.guard.is_bereft();
        if can_answer && self.suspects.suspect(id, reason, with.now) {
            predecessor.owes.holds += 1;
            return with.roster.act(Action::Count { worker: id });
        }
        self.not_replaced(pid, reason, with);
    }

    /// A worker goes on, since nobody could take over from it.
    fn not_replaced(&mut self, pid: u32, reason: &str, with: &mut Lent<'_>) {
        self.succession.fail(reason);
        with.roster.report(Report::NotReplaced { pid, reason: reason.to_owned() });
    }

    /// A worker has said something that it was asked: it does not hang.
    pub(crate) fn turns(&mut self, id: WorkerId, with: &mut Lent<'_>) {
        if let Some(reason) = self.suspects.clear_of(id) {
            let pid = with.roster.pid(id).unwrap_or_default();
            self.not_replaced(pid, &reason, with);
        }
    }

    /// A worker says nothing any more, since it is gone or its queue has ended.
    pub(crate) fn gone(&mut self, id: WorkerId) {
        // Another is started in its place in any case.
        self.suspects.clear_of(id);
    }

    /// Starts others in place of workers that can hand over nothing. Those are told to finish when the others serve.
    fn replace_hanging(&mut self, generation: u64, with: &mut Lent<'_>) {
        for id in self.suspects.take_hanging(with.now) {
            let pid = with.roster.pid(id).unwrap_or_default();
            with.roster.report(Report::Hangs { pid, patience: TURN_PATIENCE });
            with.roster.start_in_place_of(id, generation, Crew::Coming, with.now);
        }
    }

    /// When something is to be decided about workers that may hang, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.suspects.due()
    }

    /// Whether workers were asked whether they hang.
    pub(crate) fn is_asking(&self) -> bool {
        self.suspects.is_asking()
    }

    /// None comes any more. Whoever has asked for one is answered, also if it was not begun yet because others were moving.
    pub(crate) fn stop(&mut self, was_postponed: bool, with: &mut Lent<'_>) {
        let mut is_awaited = was_postponed;
        if self.coming().is_some() {
            dismiss_coming(with);
            is_awaited = true;
        }
        while std::mem::take(&mut is_awaited) {
            is_awaited = self.answer(self.current + 1, 0, Some(STOPPING.to_owned()), with);
        }
    }

    /// One has taken the place of the one before, or will not. Another may be asked for already.
    fn end(&mut self, workers: usize, why_not: Option<String>, with: &mut Lent<'_>) {
        // One that serves is the current one by now.
        let generation = if workers > 0 { self.current } else { self.current + 1 };
        if self.answer(generation, workers, why_not, with) {
            self.begin(with);
        }
    }

    /// Tells whoever has asked for a generation what has come of it. Returns whether one more was asked for.
    fn answer(&mut self, generation: u64, workers: usize, why_not: Option<String>, with: &mut Lent<'_>) -> bool {
        self.suspects = Suspects::default();
        let (reload, again) = self.succession.end(generation, workers, why_not);
        with.roster.act(Action::Answer(reload));
        again
    }
}

/// Those that come and are all ready begin to serve together, and those before them finish. Returns whether it was so.
fn change_at_once(with: &mut Lent<'_>) -> bool {
    let coming = |worker: &&Worker| worker.crew == Crew::Coming && !worker.is_leaving();
    let is_ready = |worker: &Worker| !worker.is_starting();
    if with.roster.all().filter(coming).count() < with.target || !with.roster.all().filter(coming).all(is_ready) {
        return false;
    }
    with.roster.finish_those(|worker| worker.crew == Crew::Current, with.now);
    for worker in with.roster.all_mut().filter(|worker| worker.standing == Standing::Ready) {
        worker.crew = Crew::Current;
        worker.standing = Standing::Serving { since: with.now };
    }
    *with.back_off = BackOff::default();
    // What those before give back goes to all of them alike.
    with.sharing.nobody_to_fill();
    true
}

fn dismiss_coming(with: &mut Lent<'_>) {
    with.roster.finish_those(|worker| worker.crew == Crew::Coming, with.now);
}
