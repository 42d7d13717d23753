//! The queue: connections that wait, workers that ask for some, and what is under way from one to the other.
//!
//! Pure. Connections go out in the order in which they came in, to those who ask, in turn. One that a worker has not
//! taken comes back to its place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;

use reactord_process::words::ConnectionId;

use super::record::{AccountRecord, QueueRecord};
use super::worker::WorkerId;

/// Connections that are under way to one worker at once at most: sent, and not taken. More would only wait where no
/// other worker can get at them, and so many fit into the socket.
pub(crate) const UNDER_WAY_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Connections that nobody has yet.
    waiting: BTreeSet<ConnectionId>,
    /// Workers with credits, the one whose turn it is first.
    asking: VecDeque<WorkerId>,
    accounts: BTreeMap<WorkerId, Account>,
}

/// What one worker has asked for, and what it has got.
#[derive(Debug, Default)]
struct Account {
    credits: u64,
    /// Sent, or to be, and not taken.
    under_way: BTreeSet<ConnectionId>,
    /// Taken, and not said to have ended.
    held: u64,
}

impl Queue {
    /// A connection was accepted. Ids increase.
    pub(crate) fn enqueue(&mut self, connection: ConnectionId) {
        self.waiting.insert(connection);
    }

    /// A worker asks for so many more.
    pub(crate) fn want(&mut self, worker: WorkerId, credits: NonZeroU32) {
        let account = self.accounts.entry(worker).or_default();
        if account.credits == 0 {
            self.asking.push_back(worker);
        }
        account.credits = account.credits.saturating_add(u64::from(credits.get()));
    }

    /// A worker has taken a connection. False if that was not under way to it.
    pub(crate) fn took(&mut self, worker: WorkerId, connection: ConnectionId) -> bool {
        self.accounts.get_mut(&worker).is_some_and(|account| {
            let taken = account.under_way.remove(&connection);
            account.held += u64::from(taken);
            taken
        })
    }

    /// A connection that a worker had taken has ended. Which need not be known: that it was taken is not kept.
    pub(crate) fn ended(&mut self, worker: WorkerId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.held = account.held.saturating_sub(1);
        }
    }

    /// A worker asks for nothing more; what is under way to it stays so.
    pub(crate) fn withdraw(&mut self, worker: WorkerId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.credits = 0;
            self.asking.retain(|asking| *asking != worker);
        }
    }

    /// A worker can take nothing more: what is under way to it goes back to its place.
    pub(crate) fn cut_off(&mut self, worker: WorkerId) {
        self.withdraw(worker);
        if let Some(account) = self.accounts.get_mut(&worker) {
            self.waiting.append(&mut account.under_way);
        }
    }

    /// A worker is gone.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.cut_off(worker);
        self.accounts.remove(&worker);
    }

    /// The oldest connection, and who is to be sent it, among the workers that may draw. It is under way then.
    pub(crate) fn hand_out(&mut self, may_draw: impl Fn(WorkerId) -> bool) -> Option<(WorkerId, ConnectionId)> {
        let connection = self.oldest()?;
        let has_room = |id: &WorkerId| self.accounts[id].under_way.len() < UNDER_WAY_MAX;
        let place = self.asking.iter().position(|id| may_draw(*id) && has_room(id))?;
        let id = self.asking.remove(place).expect("it was just found there");
        let account = self.accounts.get_mut(&id).expect("whoever asks has one");
        account.credits -= 1;
        account.under_way.insert(connection);
        if account.credits > 0 {
            self.asking.push_back(id);
        }
        self.waiting.remove(&connection);
        Some((id, connection))
    }

    /// The connection that has waited longest.
    pub(crate) fn oldest(&self) -> Option<ConnectionId> {
        self.waiting.first().copied()
    }

    /// How many connections wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are under way to workers.
    pub(crate) fn under_way(&self) -> usize {
        self.accounts.values().map(|account| account.under_way.len()).sum()
    }

    /// How many workers have taken that have not said to have ended.
    pub(crate) fn held(&self) -> u64 {
        self.accounts.values().map(|account| account.held).sum()
    }

    /// What it knows, for the binary that is executed in place of this one.
    pub(crate) fn record(&self) -> QueueRecord {
        QueueRecord {
            waiting: numbers(&self.waiting),
            asking: self.asking.iter().map(|id| id.0).collect(),
            accounts: self.accounts.iter().map(|(id, account)| account.record(*id)).collect(),
        }
    }

    /// The queue that it was.
    pub(crate) fn from_record(record: QueueRecord) -> Self {
        let accounts =
            record.accounts.into_iter().map(|record| (WorkerId(record.worker), Account::from_record(record)));
        let accounts: BTreeMap<WorkerId, Account> = accounts.collect();
        let asking = record.asking.into_iter().map(WorkerId).filter(|id| accounts.contains_key(id)).collect();
        Self { waiting: ids(record.waiting), asking, accounts }
    }
}

impl Account {
    fn record(&self, WorkerId(worker): WorkerId) -> AccountRecord {
        let Self { credits, under_way, held } = self;
        AccountRecord { worker, credits: *credits, under_way: numbers(under_way), held: *held }
    }

    fn from_record(AccountRecord { credits, under_way, held, .. }: AccountRecord) -> Self {
        Self { credits, under_way: ids(under_way), held }
    }
}

fn numbers(ids: &BTreeSet<ConnectionId>) -> Vec<u64> {
    ids.iter().map(|id| id.number()).collect()
}

fn ids(numbers: Vec<u64>) -> BTreeSet<ConnectionId> {
    numbers.into_iter().filter_map(ConnectionId::from_number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const OTHER: WorkerId = WorkerId(2);

    fn queue_of(connections: u64) -> Queue {
        let mut queue = Queue::default();
        (1..=connections).filter_map(ConnectionId::from_number).for_each(|id| queue.enqueue(id));
        queue
    }

    fn want(queue: &mut Queue, worker: WorkerId, credits: u32) {
        queue.want(worker, NonZeroU32::new(credits).unwrap());
    }

    /// Who is sent which, until nobody is sent any.
    fn handed_out(queue: &mut Queue) -> Vec<(WorkerId, u64)> {
        std::iter::from_fn(|| queue.hand_out(|_| true)).map(|(worker, id)| (worker, id.number())).collect()
    }

    #[test]
    fn a_worker_that_takes_nothing_is_passed_over_until_it_does() {
        let mut queue = queue_of(UNDER_WAY_MAX as u64 + 3);
        want(&mut queue, ONE, u32::MAX);
        assert_eq!(handed_out(&mut queue).len(), UNDER_WAY_MAX);
        want(&mut queue, OTHER, 1);
        assert_eq!(handed_out(&mut queue), [(OTHER, 65)]);
        assert!(queue.took(ONE, ConnectionId::from_number(7).unwrap()));
        assert_eq!(handed_out(&mut queue), [(ONE, 66)]);
        assert_eq!((queue.waiting(), queue.under_way(), queue.held()), (1, UNDER_WAY_MAX + 1, 1));
    }

    #[test]
    fn a_worker_that_may_not_draw_keeps_its_credits_and_its_turn() {
        let mut queue = queue_of(3);
        want(&mut queue, ONE, 1);
        want(&mut queue, OTHER, 2);
        assert_eq!(queue.hand_out(|worker| worker == OTHER).unwrap().0, OTHER);
        assert_eq!(handed_out(&mut queue), [(ONE, 2), (OTHER, 3)]);
    }

    #[test]
    fn what_a_worker_has_not_taken_goes_first_when_it_is_cut_off_and_stays_with_it_when_it_withdraws() {
        let mut queue = queue_of(4);
        want(&mut queue, ONE, 3);
        assert_eq!(handed_out(&mut queue), [(ONE, 1), (ONE, 2), (ONE, 3)]);
        assert!(queue.took(ONE, ConnectionId::from_number(2).unwrap()));
        queue.withdraw(ONE);
        assert_eq!(queue.oldest(), ConnectionId::from_number(4));
        queue.cut_off(ONE);
        want(&mut queue, OTHER, 9);
        assert_eq!(handed_out(&mut queue), [(OTHER, 1), (OTHER, 3), (OTHER, 4)]);
        assert!(!queue.took(ONE, ConnectionId::from_number(1).unwrap()), "it is another's by now");
    }
}
