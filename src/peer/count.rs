//! How far a connection has come, in both directions. Plain values.

/// How much was read from a connection and written to it, from somewhere on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// What is to be seen of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It stands, in both directions or in one, and has come so far.
    Stands(Count),
    /// It is over.
    Over,
    /// That cannot be told.
    Unknown,
}

impl Sight {
    /// How far it has come, if it stands.
    pub(crate) const fn stands(self) -> Option<Count> {
        match self {
            Self::Stands(count) => Some(count),
            Self::Over | Self::Unknown => None,
        }
    }
}
