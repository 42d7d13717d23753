//! What a server keeps count of, over all processes that have been it.

use std::time::{SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};

use crate::pauses::Pauses;

/// Counters that a successor goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Account {
    /// Which of the processes that have been this server it is, from 1 on.
    #[n(0)]
    pub(crate) generation: u64,
    /// When the first of them began to serve: ms since 1970.
    #[n(1)]
    pub(crate) began_unix_ms: u64,
    /// What is counted of each service.
    #[n(2)]
    pub(crate) services: Vec<ServiceAccount>,
    /// How many peers went to other servers.
    #[n(3)]
    pub(crate) gave: u64,
    /// How many came from others.
    #[n(4)]
    pub(crate) took: u64,
    /// How many takeovers were refused or have failed.
    #[n(5)]
    pub(crate) failed_takeovers: u64,
    /// The pauses of those that have succeeded.
    #[n(6)]
    pub(crate) pauses: Pauses,
    /// What has become of TLS handshakes, if there were any.
    #[n(7)]
    pub(crate) handshakes: Option<HandshakesAccount>,
    /// How many deaths of its processes were survived.
    #[cbor(n(8), skip_if = "is_zero")]
    pub(crate) deaths: u64,
}

/// What has become of TLS handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandshakesAccount {
    /// How many have led to a peer.
    #[n(0)]
    pub(crate) done: u64,
    /// How many have failed, or took too long.
    #[n(1)]
    pub(crate) failed: u64,
    /// How many had to make room for others.
    #[n(2)]
    pub(crate) crowded_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is counted of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ServiceAccount {
    #[n(0)]
    pub(crate) name: String,
    /// How many connections were let in.
    #[n(1)]
    pub(crate) accepted: u64,
    #[n(2)]
    pub(crate) received_bytes: u64,
    #[n(3)]
    pub(crate) sent_bytes: u64,
}

impl Account {
    /// That of a server that begins.
    pub(crate) fn open() -> Self {
        Self { generation: 1, began_unix_ms: unix_ms(), ..Self::default() }
    }

    /// That of the process that goes on with this one.
    pub(crate) fn of_successor(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }
}

/// What a clock on the wall shows: ms since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
