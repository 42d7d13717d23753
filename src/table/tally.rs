//! What is counted of the peers of a lane when it happens, so that nobody has to walk over them to know it.

use crate::account::ServiceAccount;
use crate::peer::ties::Holds;

/// What is counted of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many connections were let in.
    pub(crate) accepted: u64,
    /// How many bytes the kernel has given of what peers have sent.
    pub(crate) received_bytes: u64,
    /// How many bytes the kernel has taken for them.
    pub(crate) sent_bytes: u64,
    pub(crate) held: Held,
}

/// How many peers are not read from now, for which reason. Who has several counts for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// For any.
    pub(crate) any: u64,
    /// Their own output is over the mark.
    pub(crate) output: u64,
    /// That of whoever gets what they send is.
    pub(crate) partner: u64,
    /// Their service asked for it.
    pub(crate) asked: u64,
    /// They are to be given to another process.
    pub(crate) given: u64,
    /// What they have said may have killed a process.
    pub(crate) suspect: u64,
}

impl Tally {
    /// Counts on from where a predecessor was. Who is held is known here.
    pub(super) fn count_on_from(&mut self, before: &ServiceAccount) {
        self.accepted += before.accepted;
        self.received_bytes += before.received_bytes;
        self.sent_bytes += before.sent_bytes;
    }
}

impl Held {
    /// A peer was held for some reasons, and is for others.
    pub(super) fn change(&mut self, before: Holds, now: Holds) {
        let counts = [
            (&mut self.output, Holds::OUTPUT),
            (&mut self.partner, Holds::PARTNER),
            (&mut self.asked, Holds::ASKED),
            (&mut self.given, Holds::GIVEN),
            (&mut self.suspect, Holds::SUSPECT),
        ];
        for (count, reason) in counts {
            *count = *count + u64::from(now.has(reason)) - u64::from(before.has(reason));
        }
        self.any = self.any + u64::from(!now.is_none()) - u64::from(!before.is_none());
    }
}
