//! How many of those who wait came in at which listener: they have a place there already.

/// How many wait, by lane and listener.
#[derive(Debug, Default)]
pub(super) struct Headcount {
    /// A server has few listeners; one where nobody waits any more stays.
    listeners: Vec<AtListener>,
}

#[derive(Debug)]
struct AtListener {
    lane: usize,
    listener: String,
    waiting: usize,
}

impl Headcount {
    pub(super) fn add(&mut self, lane: usize, listener: &str) {
        match self.find(lane, listener) {
            Some(at) => at.waiting += 1,
            None => self.listeners.push(AtListener { lane, listener: listener.to_owned(), waiting: 1 }),
        }
    }

    /// # Panics
    /// If nobody waits there.
    pub(super) fn remove(&mut self, lane: usize, listener: &str) {
        self.find(lane, listener).expect("whoever leaves has been counted").waiting -= 1;
    }

    /// How many will be peers of this lane.
    pub(super) fn for_lane(&self, lane: usize) -> usize {
        self.listeners.iter().filter(|at| at.lane == lane).map(|at| at.waiting).sum()
    }

    /// How many of those came in at this listener.
    pub(super) fn at(&self, lane: usize, listener: &str) -> usize {
        self.listeners.iter().find(|at| at.is(lane, listener)).map_or(0, |at| at.waiting)
    }

    fn find(&mut self, lane: usize, listener: &str) -> Option<&mut AtListener> {
        self.listeners.iter_mut().find(|at| at.is(lane, listener))
    }
}

impl AtListener {
    fn is(&self, lane: usize, listener: &str) -> bool {
        self.lane == lane && self.listener == listener
    }
}
