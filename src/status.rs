//! What a server says of itself when it is asked. All that tells of a server, to whomever, is read from here.

use minicbor::{Decode, Encode};

use crate::pauses::Pauses;

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Status {
    /// Name and version of the program.
    #[n(0)]
    pub build: String,
    /// The process id.
    #[n(1)]
    pub pid: u32,
    /// Which of the processes that have been this server it is, from 1 on.
    #[n(2)]
    pub generation: u64,
    /// When the first of those began to serve: ms since 1970.
    #[n(3)]
    pub began_unix_ms: u64,
    /// When this one began to serve: ms since 1970.
    #[n(4)]
    pub serves_since_unix_ms: u64,
    /// The services.
    #[n(5)]
    pub services: Vec<ServiceStatus>,
    /// Where peers come in.
    #[n(6)]
    pub listeners: Vec<ListenerStatus>,
    /// How many peers there may be.
    #[n(7)]
    pub peers_max: u64,
    /// How many connections were let in, in all generations.
    #[n(8)]
    pub accepted: u64,
    /// How many peers went to other servers, in all generations.
    #[n(9)]
    pub gave: u64,
    /// How many peers came from other servers, in all generations.
    #[n(10)]
    pub took: u64,
    /// How many takeovers from this server were refused or have failed, in all generations.
    #[n(11)]
    pub failed_takeovers: u64,
    /// The takeover with which this process began.
    #[n(12)]
    pub takeover: Option<TakeoverStatus>,
    /// The last takeover from this process that came to nothing.
    #[n(13)]
    pub failure: Option<FailureStatus>,
    /// The process id of who is taking over.
    #[n(14)]
    pub successor_pid: Option<u32>,
    /// It is stopping.
    #[n(15)]
    pub is_stopping: bool,
    /// How long nobody has served in all takeovers.
    #[n(16)]
    pub pauses: Pauses,
    /// The least level of what the process logs: off, error, warn, info, debug or trace.
    #[n(17)]
    pub log_level: String,
    /// TLS handshakes, if there were any.
    #[n(18)]
    pub handshakes: Option<HandshakesStatus>,
    /// The process that would serve on if this one died. `None` if nobody follows.
    #[n(19)]
    pub standby: Option<StandbyStatus>,
    /// How many deaths of the processes that have been this server were survived.
    #[cbor(n(20), skip_if = "is_zero")]
    pub deaths_survived: u64,
    /// The process id of whoever has said this, as this process sees it: 0 if it does not, or if nobody was asked.
    #[cbor(skip)]
    pub seen_pid: u32,
    /// What the services [add](crate::StreamService::figures), in the text format of Prometheus, where this process itself is
    /// [asked](crate::Handle::ask).
    #[cbor(skip)]
    pub figures: String,
}

impl Status {
    /// How many peers there are.
    #[must_use]
    pub fn peers(&self) -> u64 {
        self.services.iter().map(|service| service.peers).sum()
    }

    /// How many bytes were read from peers, in all generations.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.services.iter().map(|service| service.received_bytes).sum()
    }

    /// How many bytes were written to peers, in all generations.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.services.iter().map(|service| service.sent_bytes).sum()
    }
}

/// TLS handshakes of a server, over all generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct HandshakesStatus {
    /// How many are under way.
    #[n(0)]
    pub under_way: u64,
    /// How many have led to a peer.
    #[n(1)]
    pub done: u64,
    /// How many have failed, or took too long.
    #[n(2)]
    pub failed: u64,
    /// How many were ended since too many others were under way.
    #[n(3)]
    pub crowded_out: u64,
}

/// A service of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// The version in which it saves.
    #[n(1)]
    pub state_version: u32,
    /// How many peers it has.
    #[n(2)]
    pub peers: u64,
    /// How many connections were let in, in all generations.
    #[n(3)]
    pub accepted: u64,
    /// How many bytes were read from its peers, in all generations.
    #[n(4)]
    pub received_bytes: u64,
    /// How many bytes were written to its peers, in all generations.
    #[n(5)]
    pub sent_bytes: u64,
    /// How many of its peers are not read from.
    #[n(6)]
    pub held: HeldStatus,
}

/// How many peers of a service are not read from now, and why. Who has several reasons counts for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct HeldStatus {
    /// For any reason.
    #[n(0)]
    pub any: u64,
    /// More output is pending for them than the high-water mark.
    #[n(1)]
    pub output: u64,
    /// More is pending for the peer that gets what they send.
    #[n(2)]
    pub partner: u64,
    /// Their service asked for it.
    #[n(3)]
    pub asked: u64,
    /// They are to be given to another process.
    #[n(4)]
    pub given: u64,
}

/// One peer of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The name of its service.
    #[cbor(skip)]
    pub service: String,
    /// Where it connects from, as the log writes it.
    #[n(0)]
    pub address: String,
    /// Its [`PeerId`](crate::PeerId) as a number.
    #[n(1)]
    pub id: u64,
    /// For how long it is connected, over all takeovers: s. `None` if the server that let it in did not say.
    #[n(2)]
    pub age_s: Option<u32>,
    /// How many bytes the kernel has received from it. `None` where it does not count: on a Unix socket.
    #[n(3)]
    pub received_bytes: Option<u64>,
    /// How many bytes its kernel has acknowledged.
    #[n(4)]
    pub sent_bytes: Option<u64>,
    /// How many bytes have come from it that are not handled yet.
    #[n(5)]
    pub inbound_bytes: u64,
    /// How many bytes wait to be written to it.
    #[n(6)]
    pub outbound_bytes: u64,
    /// `serving`, `held` (it is not read from), `ended` (it has sent all it will send), `joined` (to another peer), `connecting`,
    /// `closing`, or `moving` (it may belong to another process soon).
    #[n(7)]
    pub phase: String,
    /// Why it is not read from, as in [`HeldStatus`].
    #[n(8)]
    pub held: Vec<String>,
}

/// A listener of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its address or path.
    #[n(1)]
    pub at: String,
}

/// A process that follows a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct StandbyStatus {
    /// Its process id.
    #[n(0)]
    pub pid: u32,
    /// Since when it could serve on: ms since 1970. `None` if it cannot yet.
    #[n(1)]
    pub armed_since_unix_ms: Option<u64>,
    /// How many peers it knows.
    #[n(2)]
    pub peers: u64,
    /// Of about how many it does not know how far they have come: they would be lost now.
    #[n(3)]
    pub in_doubt: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A takeover that has succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct TakeoverStatus {
    /// When it ended: ms since 1970.
    #[n(0)]
    pub at_unix_ms: u64,
    /// The process id of the predecessor.
    #[n(1)]
    pub predecessor_pid: u32,
    /// How many peers were taken over.
    #[n(2)]
    pub peers: u64,
    /// How long nobody served: us. It is `None` where that is not known.
    #[n(3)]
    pub pause_us: Option<u64>,
    /// How long the copy took: us.
    #[n(4)]
    pub copy_us: u64,
    /// How many bytes were sent for it.
    #[n(5)]
    pub bytes: u64,
    /// In how many rounds that was.
    #[n(6)]
    pub rounds: u32,
    /// How many records or changes of peers were sent while nobody served.
    #[n(7)]
    pub dirty: u64,
}

/// A takeover that came to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct FailureStatus {
    /// When: ms since 1970.
    #[n(0)]
    pub at_unix_ms: u64,
    /// The process id of who wanted to take over.
    #[n(1)]
    pub pid: u32,
    /// Why it did not.
    #[n(2)]
    pub why: String,
}
