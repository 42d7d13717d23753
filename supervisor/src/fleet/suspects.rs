//! Workers from whom another could not take over: whether they turn, or hang, so that they can hand over to nobody.
//!
//! One that answers goes on as it is. In place of one that does not, another is started which takes nothing over, and it is
//! told to finish when that serves; so a new generation that cannot start at all ends no connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::worker::WorkerId;

/// How long such a worker may take to say how many connections it has. One that has answered a successor a moment ago does so
/// within a turn of its loop.
pub(crate) const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// Those of the generation that is to be replaced.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// They were asked something.
    asked: BTreeMap<WorkerId, Suspicion>,
    /// They have not answered.
    hanging: BTreeSet<WorkerId>,
}

/// What is known of one that was asked.
#[derive(Debug)]
struct Suspicion {
    /// Why nobody has taken over from it, as its successor's end says it.
    reason: String,
    until: Instant,
}

impl Suspects {
    /// It is asked whether it turns, as another could not take over from it for this reason. Returns whether that is to be
    /// asked: of one that hangs it is known.
    pub(crate) fn suspect(&mut self, id: WorkerId, reason: &str, now: Instant) -> bool {
        if self.hanging.contains(&id) {
            return false;
        }
        self.asked.insert(id, Suspicion { reason: reason.to_owned(), until: now + TURN_PATIENCE });
        true
    }

    /// It has answered, or will not since it is gone. Returns why nobody has taken over from it, if that was in doubt.
    pub(crate) fn clear_of(&mut self, id: WorkerId) -> Option<String> {
        self.asked.remove(&id).map(|suspicion| suspicion.reason)
    }

    /// Those who have not answered in time, once each.
    pub(crate) fn take_hanging(&mut self, now: Instant) -> Vec<WorkerId> {
        let hanging: Vec<WorkerId> =
            self.asked.extract_if(.., |_, suspicion| now >= suspicion.until).map(|(id, _)| id).collect();
        self.hanging.extend(&hanging);
        hanging
    }

    /// When that has something to do, if nobody answers before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.asked.values().map(|suspicion| suspicion.until).min()
    }

    /// Whether it is in doubt of anybody.
    pub(crate) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }
}
