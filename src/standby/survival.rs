//! What the death of an active was, for the log and for whoever asks.

use std::fmt;
use std::time::Duration;

use super::judgement::{Doubt, Verdict};
use crate::milestone::Survived;
use crate::table::PeerHandle;
use crate::takeover::wire::Process;

/// What clients are told whose connections are reset is nothing; their service is told this.
const WHY_RESET: &str = "the process that served it has died, and it is not certain how far it had come";

/// A death that this process has survived.
#[derive(Debug)]
pub(crate) struct Survival {
    /// Who has died.
    pub(super) active: Process,
    /// It was killed since its loop did not turn any more.
    pub(super) hung: bool,
    /// When that was noticed, and when the last mark was: `CLOCK_MONOTONIC`, ns.
    pub(super) noticed_at_ns: u64,
    pub(super) marked_at_ns: u64,
    pub(super) judged: Judged,
}

/// What was found of all peers.
#[derive(Debug, Default)]
pub(super) struct Judged {
    served_on: u64,
    over: u64,
    read: u64,
    written: u64,
    not_known: u64,
    not_told: u64,
    joined: u64,
    /// Those who cannot be served on.
    ended: Vec<PeerHandle>,
}

impl Judged {
    pub(super) fn note(&mut self, handle: PeerHandle, verdict: Verdict) {
        let count = match verdict {
            Verdict::Agrees => &mut self.served_on,
            Verdict::Over => &mut self.over,
            Verdict::Doubt(Doubt::Read) => &mut self.read,
            Verdict::Doubt(Doubt::Written) => &mut self.written,
            Verdict::Doubt(Doubt::NotKnown) => &mut self.not_known,
            Verdict::Doubt(Doubt::NotTold) => &mut self.not_told,
            Verdict::Doubt(Doubt::Joined) => &mut self.joined,
        };
        *count += 1;
        if verdict != Verdict::Agrees {
            self.ended.push(handle);
        }
    }

    fn reset(&self) -> u64 {
        self.read + self.written + self.not_known + self.not_told + self.joined
    }
}

impl Survival {
    /// Those who cannot be served on, each with what its service is told.
    pub(crate) fn take_ended(&mut self) -> impl Iterator<Item = (PeerHandle, &'static str)> {
        std::mem::take(&mut self.judged.ended).into_iter().map(|handle| (handle, WHY_RESET))
    }

    /// The same for whoever observes the server, where the first poll has returned at this instant.
    pub(crate) fn told(&self, polled_at_ns: u64) -> Survived {
        Survived {
            pid: self.active.pid,
            hung: self.hung,
            served_on: self.judged.served_on,
            reset: self.judged.reset(),
            over: self.judged.over,
            unserved: Duration::from_nanos(polled_at_ns.saturating_sub(self.noticed_at_ns)),
        }
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, hung, noticed_at_ns, marked_at_ns, judged } = self;
        let how = if *hung { "did not turn its loop any more, and was killed" } else { "has died" };
        let ago_us = noticed_at_ns.saturating_sub(*marked_at_ns) / 1000;
        let Judged { served_on, over, read, written, not_known, not_told, joined, .. } = judged;
        write!(f, "{active} {how}: {served_on} peers are served on, {} are reset", judged.reset())?;
        write!(f, " (since the last mark, {ago_us} us before, {written} were written to and {read} read from; ")?;
        write!(
            f,
            "of {not_known} it was not known how far they had come, of {not_told} it cannot be told, \
             and {joined} were joined to one of these), "
        )?;
        write!(f, "{over} were over")
    }
}
