//! What is known of a peer besides its descriptor, as plain values: what another process needs to go on with it, and
//! what such a process needs later to keep up with it.
//!
//! How they are written down is the business of whoever sends them.

use std::fmt;

use super::address::Address;
use super::parting::Parting;
use super::ties::Ties;

/// How far the conversation with a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Both directions are open.
    Open,
    /// The service is opening the connection, and it does not stand yet.
    Connecting,
    /// The client has sent all it will send (a half-close), and still reads.
    Ended,
    /// What is pending is written, then nothing more.
    Closing,
    /// All is written. What the client still sends is thrown away until it has ended too: to close at once would reset
    /// the connection, and take what is on its way to the client with it.
    Lingering,
}

/// A peer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'b> {
    /// The socket's cookie (`SO_COOKIE`, socket(7)): the peer's identity.
    pub(crate) cookie: u64,
    pub(crate) address: Address,
    pub(crate) phase: Phase,
    /// The session, as the service saved it.
    pub(crate) session: &'b [u8],
    /// What its bytes go through, if they are not written and read as they are.
    pub(crate) secured: Option<SecuredRecord<'b>>,
    /// Received and not handled yet.
    pub(crate) inbound: Stretch<'b>,
    /// Answered and not written yet.
    pub(crate) outbound: Stretch<'b>,
    /// How long the server has been ending the connection, if it does.
    pub(crate) parting: Option<Parting>,
    /// When its service is to be called about it, if it is: `CLOCK_MONOTONIC`, ns. 0 if it was closed because that instant
    /// had come.
    pub(crate) deadline_ns: Option<u64>,
    /// When it came: `CLOCK_MONOTONIC`, s. 0 if nobody has said.
    pub(crate) since_s: u32,
    pub(crate) ties: Ties<'b>,
}

/// What has become of a peer since somebody had its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change<'b> {
    pub(crate) cookie: u64,
    pub(crate) phase: Phase,
    /// The session, as the service saved it, if it may be another one.
    pub(crate) session: Option<&'b [u8]>,
    pub(crate) secured: Option<SecuredChange<'b>>,
    pub(crate) inbound: Shift<'b>,
    pub(crate) outbound: Shift<'b>,
    pub(crate) parting: Option<Parting>,
    pub(crate) deadline_ns: Option<u64>,
    pub(crate) ties: Ties<'b>,
}

/// What the bytes of a peer go through, as it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SecuredRecord<'b> {
    /// What was agreed on when it began, and stays the same.
    pub(crate) facts: &'b [u8],
    /// Its keys, and how far they have been used.
    pub(crate) state: &'b [u8],
    /// What has come of a record that has not come whole: less than 20 KiB.
    pub(crate) partial: Stretch<'b>,
}

/// What has become of that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SecuredChange<'b> {
    /// What was agreed on, where that is not known. It is never empty.
    pub(crate) facts: Option<&'b [u8]>,
    pub(crate) state: &'b [u8],
    pub(crate) partial: Shift<'b>,
}

/// Bytes of one direction that follow one another. [`Backlog`](super::Backlog) says what a position is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch<'b> {
    /// The position of the first byte.
    pub(crate) start: u64,
    pub(crate) bytes: &'b [u8],
}

/// What has become of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift<'b> {
    /// No byte before this position waits any more.
    pub(crate) gone: u64,
    /// What has come at the end. Its place is known also if it is empty, so that nothing can be missing between.
    pub(crate) appended: Stretch<'b>,
}

/// Up to which positions somebody knows the bytes of the two directions, and those of a record that has not come whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) inbound: u64,
    pub(crate) outbound: u64,
    /// 0 also if there were none: who knows none of those that are gone need not know how many those were.
    pub(crate) partial: u64,
}

impl<'b> Record<'b> {
    pub(crate) fn ends(&self) -> Ends {
        let partial = self.secured.map_or(0, |secured| secured.partial.end_if_any(secured.partial.start));
        Ends { inbound: self.inbound.end(), outbound: self.outbound.end(), partial }
    }

    /// The same peer with at most so many of its bytes, besides those of a record that has not come whole; the rest are for
    /// changes to tell.
    pub(crate) fn cut(self, bytes_max: usize) -> Self {
        let inbound = self.inbound.cut(bytes_max);
        let outbound = self.outbound.cut(bytes_max - inbound.bytes.len());
        Self { inbound, outbound, ..self }
    }

    /// What somebody is told who knows the bytes up to these ends: at most `bytes_max` that are new. The session is told
    /// where there is one.
    pub(crate) fn since(&self, known: Ends, session: Option<&'b [u8]>, bytes_max: usize) -> Change<'b> {
        let inbound = self.inbound.since(known.inbound, bytes_max);
        let outbound = self.outbound.since(known.outbound, bytes_max - inbound.appended.bytes.len());
        let Self { cookie, phase, parting, deadline_ns, ties, .. } = *self;
        let secured = self.secured.map(|secured| secured.since(known.partial));
        Change { cookie, phase, session, secured, inbound, outbound, parting, deadline_ns, ties }
    }

    /// How many bytes that wait are not known to somebody who knows them up to these ends.
    pub(crate) fn bytes_since(&self, known: Ends) -> usize {
        let partial = self.secured.map_or(0, |secured| secured.partial.after(known.partial).bytes.len());
        self.inbound.after(known.inbound).bytes.len() + self.outbound.after(known.outbound).bytes.len() + partial
    }
}

impl Change<'_> {
    /// What is known after it.
    pub(crate) fn ends(&self) -> Ends {
        let partial = self.secured.map_or(0, |secured| secured.partial.appended.end_if_any(secured.partial.gone));
        Ends { inbound: self.inbound.appended.end(), outbound: self.outbound.appended.end(), partial }
    }
}

impl<'b> SecuredRecord<'b> {
    fn since(self, known: u64) -> SecuredChange<'b> {
        let facts = (!self.facts.is_empty()).then_some(self.facts);
        SecuredChange { facts, state: self.state, partial: self.partial.since(known, usize::MAX) }
    }
}

/// There are secrets among them.
impl fmt::Debug for SecuredRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecuredRecord").field("partial", &self.partial).finish_non_exhaustive()
    }
}

impl fmt::Debug for SecuredChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecuredChange").field("partial", &self.partial).finish_non_exhaustive()
    }
}

impl<'b> Stretch<'b> {
    pub(crate) fn end(self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The same, or 0 if nothing waits from this position on.
    fn end_if_any(self, start: u64) -> u64 {
        if self.end() == start { 0 } else { self.end() }
    }

    /// No more than its first bytes.
    fn cut(self, bytes_max: usize) -> Self {
        Self { bytes: &self.bytes[..self.bytes.len().min(bytes_max)], ..self }
    }

    /// What of it comes at this position or later.
    fn after(self, position: u64) -> Self {
        let before = position.saturating_sub(self.start).min(self.bytes.len() as u64);
        let before_bytes = usize::try_from(before).expect("it is no more than there are bytes");
        Self { start: self.start + before, bytes: &self.bytes[before_bytes..] }
    }

    fn since(self, known: u64, bytes_max: usize) -> Shift<'b> {
        Shift { gone: self.start, appended: self.after(known).cut(bytes_max) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::Backlog;

    /// What happens to the bytes of one direction.
    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Advance(usize),
        /// The other process is told, of at most so many bytes.
        Tell(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..50).prop_map(Step::Push),
            (0..80usize).prop_map(Step::Advance),
            (0..60usize).prop_map(Step::Tell),
        ]
    }

    fn record(backlogs: &[Backlog; 3]) -> Record<'_> {
        let address = ([127, 0, 0, 1], 1).into();
        let [inbound, outbound, partial] = backlogs.each_ref().map(Backlog::stretch);
        Record {
            cookie: 1,
            address,
            phase: Phase::Open,
            session: &[],
            secured: Some(SecuredRecord { partial, ..SecuredRecord::default() }),
            inbound,
            outbound,
            parting: None,
            deadline_ns: None,
            since_s: 0,
            ties: Ties::default(),
        }
    }

    proptest! {
        #[test]
        fn who_is_told_of_every_change_ends_with_the_same_bytes_however_they_are_cut(
            before in proptest::collection::vec(any::<u8>(), 0..100),
            cut in 0..120usize,
            steps in proptest::collection::vec((0..3usize, step()), 0..40),
        ) {
            let mut backlogs = [7, 1 << 40, 0].map(|start| Backlog::at(start, &before));
            let first = record(&backlogs).cut(cut);
            let mut known = first.ends();
            let partial = first.secured.unwrap().partial;
            let mut told = [first.inbound, first.outbound, partial].map(|all| Backlog::at(all.start, all.bytes));
            let last = (0..30).map(|_| (0, Step::Tell(50)));
            for (which, step) in steps.into_iter().chain(last) {
                let backlog = &mut backlogs[which];
                match step {
                    Step::Push(bytes) => backlog.push(&bytes),
                    Step::Advance(count) => backlog.advance(count.min(backlog.len())),
                    Step::Tell(bytes_max) => {
                        let record = record(&backlogs);
                        let change = record.since(known, None, bytes_max);
                        let partial = change.secured.unwrap().partial;
                        let bytes = change.inbound.appended.bytes.len() + change.outbound.appended.bytes.len();
                        let partial_bytes = partial.appended.bytes.len();
                        prop_assert!(bytes == bytes_max.min(record.bytes_since(known) - partial_bytes));
                        for (told, shift) in told.iter_mut().zip([change.inbound, change.outbound, partial]) {
                            prop_assert_eq!(told.shift(shift), Ok(()));
                        }
                        known = change.ends();
                    }
                }
            }
            prop_assert_eq!(record(&told), record(&backlogs));
        }
    }
}
