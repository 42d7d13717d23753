//! What has happened to peers, for each of those who copy them and want to know. Pure.

use crate::peer::PeerId;
use crate::recipient::Recipient;

/// What happened to a peer, for whoever watches the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// There is a peer at this key that is new, or is not what it was.
    Changed {
        key: usize,
        /// Whether its session may be another one, too.
        session: bool,
    },
    /// The peer at this key is gone.
    Gone { key: usize, id: PeerId },
}

/// What has happened since each [`Recipient`] was told last, by its number, of those for whom peers are copied.
#[derive(Debug, Default)]
pub(super) struct Watchers([Option<Vec<Touch>>; Recipient::ALL.len()]);

impl Watchers {
    /// From now on it is kept for this one what happens to whom.
    pub(super) fn begin(&mut self, to: Recipient) {
        self.0[to as usize] = Some(Vec::new());
    }

    /// That one does not want to know any more. Whether nobody does.
    pub(super) fn end(&mut self, to: Recipient) -> bool {
        self.0[to as usize] = None;
        self.0.iter().all(Option::is_none)
    }

    /// Something has happened.
    pub(super) fn note(&mut self, touch: Touch) {
        self.0.iter_mut().flatten().for_each(|touches| touches.push(touch));
    }

    /// What has happened since this was last asked for, in order.
    pub(super) fn take(&mut self, to: Recipient) -> Vec<Touch> {
        self.0[to as usize].as_mut().map(std::mem::take).unwrap_or_default()
    }
}
