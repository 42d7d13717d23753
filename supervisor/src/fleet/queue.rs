//! The queue: connections that wait, workers that ask for some, and what is under way from one to the other.
//!
//! Pure. Connections go out in the order in which they came in, to those who ask, in turn. One that a worker has not
//! taken comes back to its place. One that a worker has given back keeps its place, ahead of those whom nobody has served
//! yet, and goes only to workers that know what to do with its state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;

use reactord_process::words::ConnectionId;

use super::record::{AccountRecord, QueueRecord};
use super::worker::WorkerId;

/// Connections that are under way to one worker at once at most: sent, and not taken. More would only wait where no
/// other worker can get at them, and so many fit into the socket.
pub(crate) const UNDER_WAY_MAX: usize = 64;

/// Connections that one worker may have by what it says: as many files as a process may open where nobody has changed that
/// (`fs.nr_open`, proc(5)). One that seems to have more does not say which have ended, and gets no more until it does.
pub(super) const KNOWN_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Connections that nobody has served yet.
    fresh: BTreeSet<ConnectionId>,
    /// Connections that were given back.
    returned: BTreeSet<ConnectionId>,
    /// Who gave them back: those that wait, and those that are under way.
    givers: BTreeMap<ConnectionId, WorkerId>,
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
    holding: Holding,
    /// What its standby has said that it has, which is about to serve on. When it does, what it had not: that is over, and the process
    /// before it may have said so.
    claimed: BTreeSet<ConnectionId>,
    /// How many it has given back.
    given: u64,
}

/// What a worker has taken, and not said to have ended.
#[derive(Debug)]
enum Holding {
    /// So many; which they are is not kept.
    Counted(u64),
    /// Those, which it may give back.
    Known(BTreeSet<ConnectionId>),
}

impl Default for Holding {
    fn default() -> Self {
        Self::Counted(0)
    }
}

impl Holding {
    fn count(&self) -> u64 {
        match self {
            Self::Counted(count) => *count,
            Self::Known(connections) => connections.len() as u64,
        }
    }

    fn add(&mut self, connection: ConnectionId) {
        match self {
            Self::Counted(count) => *count += 1,
            Self::Known(connections) => drop(connections.insert(connection)),
        }
    }
}

impl Queue {
    /// A connection was accepted. Ids increase.
    pub(crate) fn enqueue(&mut self, connection: ConnectionId) {
        self.fresh.insert(connection);
    }

    /// A worker may give back what it will have taken, and get what others have given back.
    pub(crate) fn know(&mut self, worker: WorkerId) {
        self.accounts.entry(worker).or_default().holding = Holding::Known(BTreeSet::new());
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
            if taken {
                account.holding.add(connection);
                self.givers.remove(&connection);
            }
            taken
        })
    }

    /// The standby of a worker serves on, and has this connection if it was under way. Returns whether it was, or `None` if it says so of
    /// more than a worker may have.
    pub(crate) fn has(&mut self, worker: WorkerId, connection: ConnectionId) -> Option<bool> {
        let was_under_way = self.took(worker, connection);
        let claimed = &mut self.accounts.entry(worker).or_default().claimed;
        if !was_under_way && claimed.len() >= KNOWN_MAX {
            return None;
        }
        claimed.insert(connection);
        Some(was_under_way)
    }

    /// The standby of a worker serves on: what it does not have of what was under way goes back to its place, and it asks for nothing.
    /// Returns what it may not give back though the process before it had it: it is not known which of those have ended.
    pub(crate) fn survived(&mut self, worker: WorkerId) -> BTreeSet<ConnectionId> {
        let had = self.cut_off(worker);
        let account = self.accounts.entry(worker).or_default();
        let (held, lost) = had.into_iter().partition(|connection| account.claimed.remove(connection));
        account.holding = Holding::Known(held);
        lost
    }

    /// A worker has a connection no more. Returns whether it is known that it had this one, or `None` if that it had not.
    pub(crate) fn ended(&mut self, worker: WorkerId, connection: ConnectionId) -> Option<bool> {
        let Some(Account { holding, claimed, .. }) = self.accounts.get_mut(&worker) else { return Some(false) };
        match holding {
            Holding::Counted(count) => {
                *count = count.saturating_sub(1);
                Some(false)
            }
            Holding::Known(connections) => {
                connections.remove(&connection).then_some(true).or_else(|| claimed.remove(&connection).then_some(false))
            }
        }
    }

    /// The same, and the connection is nobody's: [returned](Self::put_back) or [kept](Self::keep) is what it is next.
    pub(crate) fn gave_back(&mut self, worker: WorkerId, connection: ConnectionId) -> bool {
        match self.accounts.get_mut(&worker).map(|account| &mut account.holding) {
            Some(Holding::Known(connections)) => connections.remove(&connection),
            Some(Holding::Counted(_)) | None => false,
        }
    }

    /// A connection waits that this worker gave back.
    pub(crate) fn put_back(&mut self, worker: WorkerId, connection: ConnectionId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.given += 1;
        }
        self.givers.insert(connection, worker);
        self.returned.insert(connection);
    }

    /// A connection that this worker gave back stays with it.
    pub(crate) fn keep(&mut self, worker: WorkerId, connection: ConnectionId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.holding.add(connection);
        }
    }

    /// A worker asks for nothing more; what is under way to it stays so.
    pub(crate) fn withdraw(&mut self, worker: WorkerId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.credits = 0;
            self.asking.retain(|asking| *asking != worker);
        }
    }

    /// A worker can take nothing more: what is under way to it goes back to its place. Returns what it has, and cannot
    /// give back any more.
    pub(crate) fn cut_off(&mut self, worker: WorkerId) -> BTreeSet<ConnectionId> {
        self.withdraw(worker);
        let Some(account) = self.accounts.get_mut(&worker) else {
            return BTreeSet::new();
        };
        for connection in std::mem::take(&mut account.under_way) {
            let place = if self.givers.contains_key(&connection) { &mut self.returned } else { &mut self.fresh };
            place.insert(connection);
        }
        let holding = Holding::Counted(account.holding.count());
        match std::mem::replace(&mut account.holding, holding) {
            Holding::Counted(_) => BTreeSet::new(),
            Holding::Known(connections) => connections,
        }
    }

    /// A worker is gone. Returns how many it had given back.
    pub(crate) fn forget(&mut self, worker: WorkerId) -> u64 {
        self.cut_off(worker);
        self.accounts.remove(&worker).map_or(0, |account| account.given)
    }

    /// The oldest connection that anybody among the workers which may draw can get, and who that is. It is under way
    /// then.
    pub(crate) fn hand_out(&mut self, may_draw: impl Fn(WorkerId) -> bool) -> Option<(WorkerId, ConnectionId)> {
        let may_draw = |id: WorkerId| may_draw(id) && self.accounts[&id].may_get_one();
        let returned = self.returned.first().and_then(|id| Some((*id, self.heir_of(*id, may_draw)?)));
        let fresh = self.oldest().filter(|fresh| returned.is_none_or(|(returned, _)| *fresh < returned));
        let fresh = fresh.and_then(|id| Some((id, self.asking.iter().position(|id| may_draw(*id))?)));
        // A worker that may have the older one may not be there, but one for the younger.
        let (connection, place) = fresh.or(returned)?;
        let id = self.asking.remove(place).expect("it was just found there");
        let account = self.accounts.get_mut(&id).expect("whoever asks has one");
        account.credits -= 1;
        account.under_way.insert(connection);
        if account.credits > 0 {
            self.asking.push_back(id);
        }
        self.fresh.remove(&connection);
        self.returned.remove(&connection);
        Some((id, connection))
    }

    /// The place of the worker that gets what was given back: the one that has the fewest, and the giver only if nobody
    /// else asks.
    fn heir_of(&self, connection: ConnectionId, may_draw: impl Fn(WorkerId) -> bool) -> Option<usize> {
        let giver = self.givers.get(&connection);
        let knows = |id: &WorkerId| matches!(self.accounts[id].holding, Holding::Known(_));
        let heirs = self.asking.iter().enumerate().filter(|(_, id)| may_draw(**id) && knows(id));
        heirs.min_by_key(|(_, id)| (giver == Some(*id), self.accounts[*id].share())).map(|(place, _)| place)
    }

    /// The connection whom nobody has served yet that has waited longest.
    pub(crate) fn oldest(&self) -> Option<ConnectionId> {
        self.fresh.first().copied()
    }

    /// How many connections wait that nobody has served yet.
    pub(crate) fn waiting(&self) -> usize {
        self.fresh.len()
    }

    /// How many wait that were given back.
    pub(crate) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// How many are under way to workers.
    pub(crate) fn under_way(&self) -> usize {
        self.accounts.values().map(|account| account.under_way.len()).sum()
    }

    /// How many workers have taken that have not said to have ended.
    pub(crate) fn held(&self) -> u64 {
        self.accounts.values().map(|account| account.holding.count()).sum()
    }

    /// How many one worker has, or is about to get.
    pub(crate) fn share(&self, worker: WorkerId) -> u64 {
        self.accounts.get(&worker).map_or(0, Account::share)
    }

    /// How many more one worker may be sent now.
    pub(crate) fn room(&self, worker: WorkerId) -> u64 {
        self.accounts.get(&worker).map_or(0, Account::room)
    }

    /// What it knows, for the binary that is executed in place of this one.
    pub(crate) fn record(&self) -> QueueRecord {
        QueueRecord {
            waiting: numbers(&self.fresh),
            returned: numbers(&self.returned),
            givers: self.givers.iter().map(|(connection, giver)| (connection.number(), giver.0)).collect(),
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
        let giver = |(connection, giver)| Some((ConnectionId::from_number(connection)?, WorkerId(giver)));
        Self {
            fresh: ids(record.waiting),
            returned: ids(record.returned),
            givers: record.givers.into_iter().filter_map(giver).collect(),
            asking,
            accounts,
        }
    }
}

impl Account {
    fn record(&self, WorkerId(worker): WorkerId) -> AccountRecord {
        let Self { credits, under_way, holding, claimed, given } = self;
        let known = match holding {
            Holding::Counted(_) => None,
            Holding::Known(connections) => Some(numbers(connections)),
        };
        let (under_way, held, claimed) = (numbers(under_way), holding.count(), Some(numbers(claimed)));
        AccountRecord { worker, credits: *credits, under_way, held, known, given: *given, claimed }
    }

    fn from_record(record: AccountRecord) -> Self {
        let AccountRecord { credits, under_way, held, known, given, claimed, .. } = record;
        let holding = known.map_or(Holding::Counted(held), |known| Holding::Known(ids(known)));
        Self { credits, under_way: ids(under_way), holding, claimed: ids(claimed.unwrap_or_default()), given }
    }

    fn may_get_one(&self) -> bool {
        let is_known_to_have_room = match &self.holding {
            Holding::Counted(_) => true,
            Holding::Known(connections) => connections.len() < KNOWN_MAX,
        };
        self.under_way.len() < UNDER_WAY_MAX && is_known_to_have_room
    }

    fn share(&self) -> u64 {
        self.holding.count() + self.under_way.len() as u64
    }

    fn room(&self) -> u64 {
        self.credits.min((UNDER_WAY_MAX - self.under_way.len()) as u64)
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

    /// A queue from which two workers that know states have taken what there was, in turn.
    fn shared(connections: u64) -> Queue {
        let mut queue = queue_of(connections);
        for worker in [ONE, OTHER] {
            queue.know(worker);
            want(&mut queue, worker, 9);
        }
        for (worker, id) in handed_out(&mut queue) {
            assert!(queue.took(worker, ConnectionId::from_number(id).unwrap()));
        }
        queue
    }

    fn give_back(queue: &mut Queue, worker: WorkerId, number: u64) {
        let id = ConnectionId::from_number(number).unwrap();
        assert!(queue.gave_back(worker, id));
        queue.put_back(worker, id);
    }

    #[test]
    fn what_is_given_back_goes_first_to_the_one_that_has_the_fewest_and_not_to_the_giver() {
        let mut queue = shared(6);
        queue.enqueue(ConnectionId::from_number(7).unwrap());
        give_back(&mut queue, ONE, 1);
        give_back(&mut queue, ONE, 3);
        assert_eq!((queue.waiting(), queue.returned()), (1, 2));
        let third = WorkerId(3);
        queue.know(third);
        want(&mut queue, third, 1);
        assert_eq!(handed_out(&mut queue), [(third, 1), (OTHER, 3), (ONE, 7)]);
        assert_eq!(queue.share(OTHER), 4);
        assert!(queue.took(third, ConnectionId::FIRST));
        give_back(&mut queue, third, 1);
        queue.withdraw(OTHER);
        assert_eq!(handed_out(&mut queue), [(ONE, 1)]);
    }

    #[test]
    fn the_giver_gets_back_what_nobody_else_asks_for() {
        let mut queue = shared(2);
        queue.withdraw(OTHER);
        give_back(&mut queue, ONE, 1);
        assert_eq!(handed_out(&mut queue), [(ONE, 1)]);
    }

    #[test]
    fn what_was_given_back_waits_for_one_that_knows_states_and_nobody_waits_behind_it() {
        let mut queue = shared(2);
        give_back(&mut queue, ONE, 1);
        queue.withdraw(ONE);
        queue.withdraw(OTHER);
        queue.enqueue(ConnectionId::from_number(3).unwrap());
        let ignorant = WorkerId(3);
        want(&mut queue, ignorant, 5);
        assert_eq!(handed_out(&mut queue), [(ignorant, 3)]);
        want(&mut queue, OTHER, 1);
        assert_eq!(handed_out(&mut queue), [(OTHER, 1)]);
        // It is still what it was when it was not taken.
        queue.cut_off(OTHER);
        assert_eq!((queue.waiting(), queue.returned()), (0, 1));
        assert_eq!(handed_out(&mut queue), []);
    }

    #[test]
    fn only_what_a_worker_has_can_be_given_back_and_only_once() {
        let mut queue = shared(4);
        let id = |number| ConnectionId::from_number(number).unwrap();
        assert!(!queue.gave_back(ONE, id(2)), "it is the other's");
        assert!(queue.gave_back(ONE, id(1)) && !queue.gave_back(ONE, id(1)));
        queue.keep(ONE, id(1));
        assert_eq!((queue.ended(ONE, id(1)), queue.gave_back(ONE, id(1))), (Some(true), false));
        assert_eq!(queue.ended(ONE, id(1)), None);
        let ignorant = WorkerId(3);
        want(&mut queue, ignorant, 1);
        queue.enqueue(id(5));
        queue.withdraw(ONE);
        queue.withdraw(OTHER);
        assert_eq!(handed_out(&mut queue), [(ignorant, 5)]);
        assert!(queue.took(ignorant, id(5)) && !queue.gave_back(ignorant, id(5)));
        assert_eq!(queue.ended(ignorant, id(5)), Some(false), "whatever it says may be another's");
    }

    #[test]
    fn who_serves_on_has_what_it_says_only_if_the_one_before_it_had_that() {
        let mut queue = shared(4);
        let id = |number| ConnectionId::from_number(number).unwrap();
        assert_eq!(queue.ended(ONE, id(1)), Some(true));
        // It does not know that the first one is over, and the second is the other's.
        for claimed in [1, 2, 3] {
            assert_eq!(queue.has(ONE, id(claimed)), Some(false));
        }
        assert_eq!((queue.survived(ONE).len(), queue.share(ONE)), (0, 1));
        assert!(!queue.gave_back(ONE, id(2)));
        assert_eq!([1, 2, 3].map(|ended| queue.ended(ONE, id(ended))), [Some(false), Some(false), Some(true)]);
        assert_eq!([1, 2, 3].map(|ended| queue.ended(ONE, id(ended))), [None; 3]);
        assert_eq!(queue.ended(OTHER, id(2)), Some(true));
    }

    #[test]
    fn who_serves_on_may_say_of_no_more_connections_that_it_has_them_than_a_worker_may_have() {
        let mut queue = queue_of(1);
        queue.know(ONE);
        want(&mut queue, ONE, 1);
        assert_eq!(handed_out(&mut queue), [(ONE, 1)]);
        let mut claimed = std::iter::successors(Some(ConnectionId::FIRST.next()), |id| Some(id.next()));
        assert!(claimed.by_ref().take(KNOWN_MAX).all(|id| queue.has(ONE, id) == Some(false)));
        assert_eq!(queue.has(ONE, claimed.next().unwrap()), None);
        assert_eq!(queue.has(ONE, ConnectionId::FIRST), Some(true), "nobody else serves what is under way to it");
    }

    #[test]
    fn a_record_has_what_was_given_back_and_by_whom() {
        let mut queue = shared(4);
        give_back(&mut queue, ONE, 1);
        give_back(&mut queue, ONE, 3);
        assert_eq!(queue.hand_out(|_| true), Some((OTHER, ConnectionId::FIRST)));
        let record = minicbor::to_vec(queue.record()).unwrap();
        let mut again = Queue::from_record(minicbor::decode(&record).unwrap());
        assert_eq!((again.waiting(), again.returned(), again.under_way(), again.share(OTHER)), (0, 1, 1, 3));
        again.cut_off(OTHER);
        again.withdraw(ONE);
        let third = WorkerId(3);
        again.know(third);
        want(&mut again, third, 9);
        assert_eq!(handed_out(&mut again), [(third, 1), (third, 3)]);
        assert_eq!((again.forget(ONE), again.forget(OTHER)), (2, 0));
    }
}
