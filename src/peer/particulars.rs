//! What few peers have, so that the others have no room for it.

use super::closed::Closed;
use super::parting::Parting;
use super::ties::{Joined, Ties};

/// What one of those has.
#[derive(Debug, Default)]
pub(crate) struct Particulars {
    /// Since the server began to end it.
    pub(crate) parting: Option<Parting>,
    /// What the service is told at its end, if that is known before.
    pub(crate) how: Option<Closed>,
    /// The cookie of whoever gets what it sends: it is not read from while more is pending there than should be.
    pub(crate) writer: Option<u64>,
    pub(crate) joined: Option<Joined>,
}

impl Particulars {
    /// What another process has told of a peer, if that is anything.
    pub(super) fn told(parting: Option<Parting>, ties: &Ties<'_>) -> Option<Self> {
        let Ties { writer, joined, .. } = *ties;
        let told = Self { parting, how: None, writer, joined };
        (parting.is_some() || writer.is_some() || joined.is_some()).then_some(told)
    }

    /// What another process is told, besides the parting, and besides what is in the talk.
    pub(super) fn ties(&self) -> Ties<'_> {
        Ties { writer: self.writer, joined: self.joined, ..Ties::default() }
    }
}
