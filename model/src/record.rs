//! What is known of the one peer: what has happened to it, in order.

/// What has happened to the peer: the number of each event, a digit each, the first one in front. Who acts on the peer
/// adds the next, so who has another record than the peer itself would repeat a byte, lose one, or take two in the wrong
/// order. What became of a peer since it was told of, a change, is the digits that came since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record(u16);

/// The digit of what has an outcome, other than those of numbered events.
const LEARNT: u16 = 9;

impl Record {
    /// How much has happened.
    pub fn events(self) -> u8 {
        self.digits().count() as u8
    }

    /// One more thing happens.
    pub fn happen(&mut self) {
        self.0 = 10 * self.0 + u16::from(self.events()) + 1;
    }

    /// Somebody learns of the outcome: that is among the things that happen to the peer, and has a digit of its own.
    pub fn learn(&mut self) {
        self.0 = 10 * self.0 + LEARNT;
    }

    /// How often somebody has learnt of the outcome.
    pub fn learnt(self) -> usize {
        self.digits().filter(|&digit| digit == LEARNT).count()
    }

    /// The same as if nobody had.
    #[must_use]
    pub fn without_outcome(self) -> Self {
        let digits: Vec<u16> = self.digits().filter(|&digit| digit != LEARNT).collect();
        Self(digits.into_iter().rev().fold(0, |record, digit| 10 * record + digit))
    }

    /// `Record::since`: what became of the peer of which `known` was told.
    pub fn since(self, known: Self) -> Self {
        let events = self.events() - known.events();
        Self(self.0 % 10u16.pow(events.into()))
    }

    /// The same peer after a change. What the digest of a peer chains is these digits (`wire::chained`).
    #[must_use]
    pub fn changed(self, change: Self) -> Self {
        Self(self.0 * 10u16.pow(change.events().into()) + change.0)
    }

    /// What a digest that does not depend on the order would be.
    pub fn sum(self) -> u16 {
        self.digits().sum()
    }

    fn digits(self) -> impl Iterator<Item = u16> {
        std::iter::successors(Some(self.0), |rest| Some(rest / 10)).take_while(|&rest| rest > 0).map(|rest| rest % 10)
    }
}
