//! To whom everything is copied.

/// To whom peers, and what they share, are copied while their server serves. There may be one of each at a time: somebody takes over from
/// a server that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Whoever takes over, or takes some of the peers. There is one of these, too: no peer is moved while somebody takes over.
    Successor,
    /// Whoever would serve on if this process died.
    Standby,
}

impl Recipient {
    /// Both of them, by their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Successor, Self::Standby];
}
