//! Who is told to move connections to others, or to give some back, and what is said of it: what [`Spread`] decides, for the
//! workers of a roster.

use std::time::Instant;

use super::action::Action;
use super::report::Report;
use super::roster::Roster;
use super::spread::{Order, Outcome, Share, Spread};
use super::worker::WorkerId;
use crate::config::Replace;

/// How connections come to be shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    spread: Spread,
    /// How many workers were added that do not serve yet, and are to get their share then.
    to_fill: usize,
}

impl Sharing {
    /// Where an earlier binary has left it.
    pub(crate) fn from_record(to_fill: u64, is_levelling: bool) -> Self {
        Self { spread: Spread::going_on(is_levelling), to_fill: usize::try_from(to_fill).unwrap_or(0) }
    }

    /// Whether shares are being brought near to each other, and are not near yet.
    pub(crate) fn is_levelling(&self) -> bool {
        self.spread.is_levelling()
    }

    /// How many workers are to get their share when they serve.
    pub(crate) fn to_fill(&self) -> usize {
        self.to_fill
    }

    // ── What happens ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A worker was added, and will serve.
    pub(crate) fn added(&mut self) {
        self.to_fill += 1;
    }

    /// One that was added will not serve after all.
    pub(crate) fn added_in_vain(&mut self) {
        self.to_fill = self.to_fill.saturating_sub(1);
    }

    /// Those that were added are not in need of more than the others.
    pub(crate) fn nobody_to_fill(&mut self) {
        self.to_fill = 0;
    }

    /// A worker serves that has no connections yet. If it was added, it gets its share.
    pub(crate) fn serves(&mut self, id: WorkerId, replace: Replace) {
        if self.to_fill == 0 {
            return;
        }
        self.to_fill -= 1;
        match replace {
            Replace::Drain => self.spread.level(),
            Replace::Takeover => self.spread.fill(id),
        }
    }

    /// A worker that moves connections is removed: it has the others take what it has.
    pub(crate) fn empty(&mut self, id: WorkerId) {
        self.spread.empty(id);
    }

    /// A worker says how many connections it has.
    pub(crate) fn holds(&mut self, id: WorkerId, count: u64) {
        self.spread.holds(id, count);
    }

    /// A worker says how many it has moved.
    pub(crate) fn moved(&mut self, id: WorkerId, count: u64, now: Instant) {
        self.spread.moved(id, count, now);
    }

    /// A worker has given one back.
    pub(crate) fn given(&mut self, id: WorkerId) {
        self.spread.given(id);
    }

    /// A worker does not answer any more.
    pub(crate) fn gone(&mut self, id: WorkerId) {
        self.spread.gone(id);
    }

    /// Nothing is to be spread any more.
    pub(crate) fn stop(&mut self) {
        self.spread.stop();
    }

    // ── What is decided ────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether moves are under way, or to follow at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.spread.is_busy()
    }

    /// When it goes on if nothing happens before.
    pub(crate) fn deadline(&self, rebalance: bool) -> Option<Instant> {
        self.spread.deadline(rebalance)
    }

    /// Has workers told what is to be moved or given back next, if that is anything.
    pub(crate) fn order_next(&mut self, roster: &mut Roster, now: Instant) {
        let rules = roster.rules;
        let orders = match rules.replace {
            Replace::Takeover => {
                let knowing: Vec<WorkerId> = roster.knowing().collect();
                let sharing: Vec<WorkerId> = roster.sharing().collect();
                self.spread.next_moves(&knowing, &sharing, rules.rebalance, now)
            }
            Replace::Drain => {
                let queue = &roster.queue;
                let share = |id| Share { worker: id, count: queue.share(id), room: queue.room(id) };
                let shares: Vec<Share> = roster.sharing().map(share).collect();
                self.spread.next_gift(&shares, queue.returned(), rules.rebalance, now).into_iter().collect()
            }
        };
        orders.into_iter().for_each(|order| tell(order, roster));
        self.report_outcomes(roster);
    }

    /// Says what has come of it.
    pub(crate) fn report_outcomes(&mut self, roster: &mut Roster) {
        for outcome in self.spread.take_outcomes() {
            let report = report_of(outcome, roster);
            roster.report(report);
        }
    }
}

/// A worker is to be told this.
fn tell(order: Order, roster: &mut Roster) {
    let told = match order {
        Order::Count { worker } | Order::Move { from: worker, .. } | Order::Give { from: worker, .. } => worker,
    };
    if let Some(worker) = roster.get_mut(told) {
        worker.owes.holds += u32::from(matches!(order, Order::Count { .. }));
        worker.owes.moved += u32::from(matches!(order, Order::Move { .. }));
    }
    if let Order::Give { from, count } = order {
        let pid = roster.pid(from).unwrap_or_default();
        roster.report(Report::AskedToGive { pid, count: count.get() });
    }
    roster.act(match order {
        Order::Count { worker } => Action::Count { worker },
        Order::Move { from, to, share } => Action::Move { worker: from, to, share },
        Order::Give { from, count } => Action::Give { worker: from, count },
    });
}

fn report_of(outcome: Outcome, roster: &Roster) -> Report {
    let pid = |id| roster.pid(id).unwrap_or_default();
    match outcome {
        Outcome::Moved { from, to, count, expected, time } => {
            Report::Moved { from: pid(from), to: pid(to), count, expected, time }
        }
        Outcome::Late { worker, patience } => Report::Unanswered { pid: pid(worker), patience },
    }
}
