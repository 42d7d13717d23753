//! Which connections a load consists of, and what they do.

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Sending,
    Fragmenting,
    Idle,
    SlowReader,
    /// Comes, stays for a moment, and goes.
    Passing,
}

impl Kind {
    pub(crate) const COUNT: usize = 5;
}

/// What makes a sending connection send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// The clock: so many messages a second on each connection.
    Clock { per_second: f64 },
    /// The answers: so many messages are in flight on each connection at any time.
    Answers { depth: u32 },
}

/// Which connections there are, and what they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Demand {
    /// They send whole messages.
    pub(crate) sending: usize,
    /// They send each message in two parts. Only the clock can pace them.
    pub(crate) fragmenting: usize,
    pub(crate) idle: usize,
    pub(crate) slow_readers: usize,
    /// What makes the first two send.
    pub(crate) pace: Pace,
    /// How many short-lived connections come and go, besides the others.
    pub(crate) churn_per_second: f64,
}

impl Demand {
    /// How many connections last.
    pub(crate) fn connections(&self) -> usize {
        self.lasting().into_iter().map(|(_, number)| number).sum()
    }

    /// What the connection with this index is for, of those that last.
    ///
    /// # Panics
    /// If there is no such connection.
    pub(crate) fn kind_of(&self, index: usize) -> Kind {
        let mut kinds = self.lasting().into_iter().flat_map(|(kind, number)| std::iter::repeat_n(kind, number));
        kinds.nth(index).expect("the index is one of a connection that lasts")
    }

    /// The connections that last, kind by kind, in the order of their indices.
    pub(crate) fn lasting(&self) -> [(Kind, usize); 4] {
        [
            (Kind::Sending, self.sending),
            (Kind::Fragmenting, self.fragmenting),
            (Kind::Idle, self.idle),
            (Kind::SlowReader, self.slow_readers),
        ]
    }
}
