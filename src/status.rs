//! What a server says of itself when it is asked. All that tells of a server, to whomever, is read from here.

use minicbor::{Decode, Encode};

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
