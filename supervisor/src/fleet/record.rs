//! What a fleet knows, as records for the binary that is executed in place of this one.
//!
//! They are apart from what they are records of, so that those can change and a binary still understands what an
//! earlier one has written. Times are milliseconds from now, and negative in the past.

use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FleetRecord {
    #[n(0)]
    pub(crate) target: u64,
    #[n(1)]
    pub(crate) workers: Vec<WorkerRecord>,
    #[n(2)]
    pub(crate) next_worker: u64,
    #[n(3)]
    pub(crate) current: u64,
    #[n(4)]
    pub(crate) succession: SuccessionRecord,
    #[n(5)]
    pub(crate) back_off: BackOffRecord,
    #[n(6)]
    pub(crate) queue: QueueRecord,
    #[n(7)]
    pub(crate) stop_by_ms: Option<i64>,
    /// How many workers were added that do not serve yet, and are to get their share then.
    #[n(8)]
    pub(crate) to_fill: u64,
    /// Whether shares were being brought near to each other.
    #[n(9)]
    pub(crate) levels: Option<bool>,
    /// A generation was asked for that begins later.
    #[n(10)]
    pub(crate) replace_by_ms: Option<i64>,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SuccessionRecord {
    /// Whether one more is to follow, and why workers have failed.
    #[n(0)]
    pub(crate) under_way: Option<(bool, Vec<String>)>,
    #[n(1)]
    pub(crate) ended: u64,
    #[n(2)]
    pub(crate) last: Option<ReloadRecord>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ReloadRecord {
    #[n(0)]
    pub(crate) generation: u64,
    #[n(1)]
    pub(crate) workers: u64,
    #[n(2)]
    pub(crate) why_not: Option<String>,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct BackOffRecord {
    #[n(0)]
    pub(crate) failures: u32,
    #[n(1)]
    pub(crate) failed_at_ms: Option<i64>,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct QueueRecord {
    #[n(0)]
    pub(crate) waiting: Vec<u64>,
    #[n(1)]
    pub(crate) asking: Vec<u64>,
    #[n(2)]
    pub(crate) accounts: Vec<AccountRecord>,
    /// Connections that were given back and wait.
    #[n(3)]
    pub(crate) returned: Vec<u64>,
    /// Connections that were given back, with who gave them.
    #[n(4)]
    pub(crate) givers: Vec<(u64, u64)>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AccountRecord {
    #[n(0)]
    pub(crate) worker: u64,
    #[n(1)]
    pub(crate) credits: u64,
    #[n(2)]
    pub(crate) under_way: Vec<u64>,
    #[n(3)]
    pub(crate) held: u64,
    /// Which they are, of a worker that may give them back.
    #[n(4)]
    pub(crate) known: Option<Vec<u64>>,
    #[n(5)]
    pub(crate) given: u64,
    #[n(6)]
    pub(crate) claimed: Option<Vec<u64>>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct WorkerRecord {
    #[n(0)]
    pub(crate) id: u64,
    #[n(1)]
    pub(crate) pid: u32,
    #[n(2)]
    pub(crate) generation: u64,
    #[n(3)]
    pub(crate) coming: bool,
    #[n(4)]
    pub(crate) standing: StandingRecord,
    #[n(5)]
    pub(crate) started_ms: i64,
    #[n(6)]
    pub(crate) predecessor: Option<u64>,
    /// The version of the queue that it speaks, as far as it has said so.
    #[n(7)]
    pub(crate) version: Option<u32>,
    /// How many answers it owes: to `count`, and to `move`.
    #[n(8)]
    pub(crate) owes: (u32, u32),
    #[n(9)]
    pub(crate) has_taken: Option<bool>,
    /// The pid of its first process, and that of its standby.
    #[n(10)]
    pub(crate) group: Option<u32>,
    #[n(11)]
    pub(crate) standby: Option<u32>,
}

#[derive(Debug, Encode, Decode)]
pub(crate) enum StandingRecord {
    #[n(0)]
    Starting {
        #[n(0)]
        deadline_ms: i64,
    },
    #[n(1)]
    Ready,
    #[n(2)]
    Serving {
        #[n(0)]
        since_ms: i64,
    },
    #[n(3)]
    Leaving {
        #[n(0)]
        said_ready: bool,
        #[n(1)]
        due_ms: Option<i64>,
        #[n(2)]
        kill: bool,
    },
    #[n(4)]
    Held {
        #[n(0)]
        until_ms: i64,
    },
}

/// How far an instant is from now.
pub(crate) fn milliseconds_to(instant: Instant, now: Instant) -> i64 {
    let ahead = i64::try_from(instant.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.saturating_duration_since(instant).as_millis()).unwrap_or(i64::MAX);
    ahead - behind
}

/// The instant that is so far from now.
pub(crate) fn instant_at(milliseconds: i64, now: Instant) -> Instant {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    let instant = if milliseconds < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
    instant.unwrap_or(now)
}
