//! When to freeze: how much may be pending, and what to do for as long as it is more. Pure; instants are passed in.
//!
//! Nobody serves between the freeze and the commit point, so what is sent then is bounded, in peers, in entries and in bytes. Rounds
//! make it less: each takes as long as the one before left it. Where they do not, because the service changes its peers
//! as fast as they are copied, the bound is raised step by step, so that a takeover succeeds; and when so much could not
//! be sent in time, it fails and says whose fault that is.
//!
//! A standby is told what is left by writing to memory, once, and the loop goes on: more of it may be pending, and however much it is, it
//! is followed after a while, if the journal has room for it. Not to be followed is worse than to stand still for some milliseconds.

use std::time::{Duration, Instant};

use crate::peer::Address;
use crate::recipient::Recipient;

/// What the successor does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) peers: usize,
    /// Of the state that all peers share.
    pub(crate) entries: usize,
    /// About as many as it takes in frames.
    pub(crate) bytes: usize,
}

/// To send no more than this takes less time than another round.
const LITTLE: Pending = Pending { peers: 16, entries: 16, bytes: 16 * 1024 };

/// What may be sent after the freeze: a fifth of a millisecond on the machine on which this was written, where it is about
/// a microsecond for each peer and for each kilobyte; so a millisecond on one that is five times slower.
const BOUND: Pending = Pending { peers: 128, entries: 128, bytes: 128 * 1024 };

/// The same of what is written to the memory of a standby, of which each peer takes half as long.
const BOUND_OF_STANDBY: Pending = Pending { peers: 10_000, entries: 10_000, bytes: 4 << 20 };

const ALL: Pending = Pending { peers: usize::MAX, entries: usize::MAX, bytes: usize::MAX };

/// How long rounds go on before the bound is raised, and how long until it is raised again, to twice as much.
const PATIENCE: Duration = Duration::from_secs(1);
const RAISED_AFTER: Duration = Duration::from_millis(250);

/// What a round has to take so that its time tells how fast bytes are sent, and not how long an answer takes.
const MEASURED_BYTES: u64 = 64 * 1024;

impl Pending {
    fn fits(self, bound: Self) -> bool {
        self.peers <= bound.peers && self.entries <= bound.entries && self.bytes <= bound.bytes
    }

    /// Whether rounds go on making it less.
    fn shrinks_from(self, before: Self) -> bool {
        self.peers < before.peers / 4 * 3 || self.entries < before.entries / 4 * 3 || self.bytes < before.bytes / 4 * 3
    }
}

/// What is pending, and who has the most of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) pending: Pending,
    pub(crate) most: Option<(Address, usize)>,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pending { peers, entries, bytes } = self.pending;
        write!(f, "{bytes} bytes of {peers} peers")?;
        if entries > 0 {
            write!(f, " and {entries} entries")?;
        }
        match self.most {
            Some((address, bytes)) => write!(f, ", {bytes} of them of {address}"),
            None => Ok(()),
        }
    }
}

/// What to do when the successor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Freeze: no more is pending than may be.
    Freeze,
    /// Freeze, although more is pending than should be: it has not become less for so long.
    FreezeStrained { rounds_for: Duration },
    /// Copy one round more.
    Another,
    /// Give up: what is pending would take so long to send, and only so long is allowed.
    TooMuch { needed: Duration, allowed: Duration },
}

/// How the rounds of one takeover go.
#[derive(Debug)]
pub(crate) struct Pace {
    to: Recipient,
    /// When the first round had ended, which copies everybody.
    first_ended: Option<Instant>,
    /// When the round that is under way began, and how many bytes had been sent by then.
    round_began: (Instant, u64),
    /// What was pending when the successor was ready last.
    before: Option<Pending>,
    /// The most that were ever sent in a second.
    bytes_per_second: Option<u64>,
}

impl Pace {
    pub(crate) fn new(to: Recipient, now: Instant) -> Self {
        Self { to, first_ended: None, round_began: (now, 0), before: None, bytes_per_second: None }
    }

    /// The successor has applied a round, which ends when so many bytes have been sent.
    pub(crate) fn round_ended(&mut self, bytes_sent: u64, now: Instant) {
        let (began, sent_before) = self.round_began;
        let bytes = bytes_sent - sent_before;
        if bytes >= MEASURED_BYTES {
            let rate = (bytes as f64 / (now - began).as_secs_f64().max(1e-6)) as u64;
            self.bytes_per_second = self.bytes_per_second.max(Some(rate));
        }
        self.first_ended.get_or_insert(now);
        self.round_began = (now, bytes_sent);
    }

    /// So much time went by in which no round was to make anything less.
    pub(crate) fn pass_over(&mut self, time: Duration) {
        self.first_ended = self.first_ended.map(|ended| ended + time);
        self.round_began.0 += time;
    }

    /// Whether it is worth asking the successor to get ready, with so many peers and entries pending.
    pub(crate) fn may_freeze_with(&self, peers: usize, entries: usize, now: Instant) -> bool {
        self.first_ended.is_some() && Pending { peers, entries, bytes: 0 }.fits(self.bound(now))
    }

    /// Whether it is a standby that was waited for long enough, so that nothing need be looked at.
    pub(crate) fn takes_all(&self, now: Instant) -> bool {
        self.to == Recipient::Standby && self.rounds_for(now) >= PATIENCE
    }

    /// The successor is ready.
    pub(crate) fn judge(&mut self, pending: Pending, freeze_timeout: Duration, now: Instant) -> Verdict {
        let before = self.before.replace(pending);
        let shrinks = before.is_none_or(|before| pending.shrinks_from(before));
        let rounds_for = self.rounds_for(now);
        let patient = rounds_for < PATIENCE;
        match pending {
            _ if self.to == Recipient::Standby && pending.fits(BOUND_OF_STANDBY) => Verdict::Freeze,
            _ if pending.fits(LITTLE) => Verdict::Freeze,
            _ if pending.fits(BOUND) && !(shrinks && patient) => Verdict::Freeze,
            _ if patient => Verdict::Another,
            _ => self.judge_too_much(pending, rounds_for, freeze_timeout / 2, self.bound(now)),
        }
    }

    /// More is pending than should be, after all that time. `allowed`: how long it may take to send it.
    fn judge_too_much(&self, pending: Pending, rounds_for: Duration, allowed: Duration, bound: Pending) -> Verdict {
        match (self.time_for(pending.bytes), self.time_for(bound.bytes)) {
            // The bound will not be raised further than to what is allowed.
            (Some(needed), Some(raised)) if needed.min(raised) > allowed => Verdict::TooMuch { needed, allowed },
            (Some(needed), _) if needed > allowed => Verdict::Another,
            _ if pending.fits(bound) => Verdict::FreezeStrained { rounds_for },
            _ => Verdict::Another,
        }
    }

    /// What may be pending by now.
    fn bound(&self, now: Instant) -> Pending {
        if self.to == Recipient::Standby {
            return if self.takes_all(now) { ALL } else { BOUND_OF_STANDBY };
        }
        let late = self.rounds_for(now).saturating_sub(PATIENCE);
        let raised = (late.as_millis() / RAISED_AFTER.as_millis()).min(u128::from(usize::BITS));
        let factor = 1usize.checked_shl(u32::try_from(raised).expect("it is a number of bits")).unwrap_or(usize::MAX);
        Pending {
            peers: BOUND.peers.saturating_mul(factor),
            entries: BOUND.entries.saturating_mul(factor),
            bytes: BOUND.bytes.saturating_mul(factor),
        }
    }

    fn rounds_for(&self, now: Instant) -> Duration {
        self.first_ended.map_or(Duration::ZERO, |ended| now.saturating_duration_since(ended))
    }

    /// How long it takes to send so much, if that is known.
    fn time_for(&self, bytes: usize) -> Option<Duration> {
        self.bytes_per_second.map(|rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64))
    }
}
