//! What ties a peer, as plain values: for which reasons it is not read from, how far its output is finished, whom it is
//! coupled or joined to, what it is being connected to. Most peers have none of it.

use std::io::ErrorKind;
use std::num::NonZeroU64;

/// Why a peer is not read from: any of several reasons, all of which must be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holds(u8);

impl Holds {
    pub(crate) const NONE: Self = Self(0);
    /// Its pending output was over the high-water mark, and is not below the low one yet.
    pub(crate) const OUTPUT: Self = Self(1);
    /// The service asked for it.
    pub(crate) const ASKED: Self = Self(2);
    /// The pending output of whoever gets what it sends is over the mark.
    pub(crate) const PARTNER: Self = Self(4);
    /// Until its next turn: there is something to do before it is read from. It is never told to another process, which
    /// sees that by itself.
    pub(crate) const TURN: Self = Self(8);

    /// No reason, but what makes one none: what it sends goes to a peer that gets what that one sends in turn. Not to read
    /// from it until it has taken what is pending for it would be to wait for a client that may be waiting for its own
    /// output to be taken. How much is pending for each is then bounded by whoever sends it.
    pub(crate) const RELAYED: Self = Self(16);

    /// It is to be given to another process. That is not told: whoever has it then serves it.
    pub(crate) const GIVEN: Self = Self(32);

    /// What it has said last may have killed the process that served it. It waits until a standby would survive that again.
    pub(crate) const SUSPECT: Self = Self(64);

    /// What another process is told.
    const TOLD: u8 = 7 | 16 | 64;

    /// Whether nothing keeps it from being read from.
    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0 || (self.has(Self::RELAYED) && self.without(Self::RELAYED.with(Self::OUTPUT)).0 == 0)
    }

    pub(crate) fn has(self, reason: Self) -> bool {
        self.0 & reason.0 != 0
    }

    #[must_use]
    pub(crate) const fn with(self, reason: Self) -> Self {
        Self(self.0 | reason.0)
    }

    #[must_use]
    pub(crate) fn without(self, reason: Self) -> Self {
        Self(self.0 & !reason.0)
    }

    /// Those that stay when it has had its turn.
    #[must_use]
    pub(crate) fn lasting(self) -> Self {
        self.without(Self::TURN)
    }

    /// As a number, for another process.
    pub(crate) fn told(self) -> u8 {
        self.0 & Self::TOLD
    }

    /// What another process has told. Reasons that are not known here hold nobody.
    pub(crate) fn of_told(told: u8) -> Self {
        Self(told & Self::TOLD)
    }
}

/// How far a peer's output is finished while its input goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outflow {
    #[default]
    Open,
    /// The call that is under way adds to it what it adds; then it is as good as finished.
    LastWords,
    /// What is pending is written, then nothing more.
    Finishing,
    /// The client has been told that nothing more will come.
    Finished,
    /// The connection is to be reset, and nothing more is written.
    Reset,
}

/// A peer whose bytes go to another one, and that gets that one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The cookie of the other one.
    pub(crate) partner: NonZeroU64,
    /// With nothing moved for so long, both are closed.
    pub(crate) idle_ns: Option<NonZeroU64>,
    /// When something last came from this peer or was written to it, if that counts: `CLOCK_MONOTONIC`.
    pub(crate) moved_ns: u64,
}

/// When something moved last is told by so many parts of the time in which something has to; and by so much where nothing has
/// to, as long as nobody says otherwise.
const IDLE_PARTS: u64 = 8;
const PART_WITHOUT_IDLE_NS: u64 = 60_000_000_000;

impl Joined {
    /// What another process is told. When something moved last is so coarse that most bytes do not change it, and never
    /// sooner than it was: what is told in between need not be told. What was told so is told again as it is, or who is silent would have
    /// more time with each process.
    pub(crate) fn told(self) -> Self {
        let part_ns = self.idle_ns.map_or(PART_WITHOUT_IDLE_NS, |idle_ns| (idle_ns.get() / IDLE_PARTS).max(1));
        Self { moved_ns: self.moved_ns.div_ceil(part_ns).saturating_mul(part_ns), ..self }
    }
}

/// A connection that is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial<'b> {
    /// It is given up then: `CLOCK_MONOTONIC`.
    pub(crate) until_ns: u64,
    /// The path of a Unix socket whose backlog may be full: then the kernel has forgotten the attempt.
    pub(crate) path: Option<&'b [u8]>,
    pub(crate) tls: Option<DialTls<'b>>,
}

/// How such a connection is to speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DialTls<'b> {
    /// The name of the settings.
    pub(crate) with: &'b str,
    /// That of the server.
    pub(crate) name: &'b str,
    /// What is sent before.
    pub(crate) preface: &'b [u8],
    /// The handshake has begun, so the server may have heard something.
    pub(crate) is_begun: bool,
}

/// All that ties one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties<'b> {
    pub(crate) holds: Holds,
    pub(crate) outflow: Outflow,
    /// The cookie of whoever gets what this peer sends.
    pub(crate) writer: Option<u64>,
    pub(crate) joined: Option<Joined>,
    pub(crate) dial: Option<Dial<'b>>,
    /// Why it is closed, if that is not what its service or its client wanted: its service hears of it when it is gone.
    pub(crate) ending: Option<Ending<'b>>,
}

/// Why a peer is closed that has not come to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending<'b> {
    /// The client broke the protocol, and how.
    Violation(&'b str),
    /// The connection is lost, but for what is still told the client, which may have been cut off.
    Lost(ErrorKind),
    /// What the service was to connect to could not be reached.
    Unreachable(ErrorKind),
}

impl Ties<'_> {
    /// The same with each instant as another clock has it.
    pub(crate) fn by_clock(self, clock: impl Fn(u64) -> u64) -> Self {
        let joined = self.joined.map(|joined| Joined { moved_ns: clock(joined.moved_ns), ..joined });
        let dial = self.dial.map(|dial| Dial { until_ns: clock(dial.until_ns), ..dial });
        Self { joined, dial, ..self }
    }

    /// Nothing ties a peer.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
