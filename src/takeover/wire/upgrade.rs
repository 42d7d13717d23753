//! What is said about an upgrade, in which the server starts its successor itself.

use minicbor::{Decode, Encode};

/// Somebody who calls on a server's takeover path: it is to start its successor, and to say what comes of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Upgrade {
    /// What is to be started. `None`: what the server itself was started as.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) binary: Option<Vec<u8>>,
    /// With what arguments, besides its own name. `None`: with the server's own.
    #[n(1)]
    pub(crate) arguments: Option<Vec<Argument>>,
    /// How long the successor may take until it serves.
    #[n(2)]
    pub(crate) timeout_ms: u64,
}

/// An argument of a program, which need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct Argument(#[cbor(n(0), with = "minicbor::bytes")] pub(crate) Vec<u8>);

/// Server: how far the upgrade has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Upgrading {
    /// The process that was started.
    #[n(0)]
    pub(crate) pid: u32,
    /// How many peers it has copied. `None` if it has not called yet.
    #[n(1)]
    pub(crate) copied: Option<u64>,
    /// How many there are.
    #[n(2)]
    pub(crate) peers: u64,
}

/// Server: what has come of the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Upgraded {
    #[n(0)]
    pub(crate) predecessor: Process,
    /// `None` if nobody has taken over.
    #[n(1)]
    pub(crate) successor: Option<Process>,
    /// How many peers were handed over.
    #[n(2)]
    pub(crate) peers: u64,
    /// `None` where that is not known.
    #[n(3)]
    pub(crate) pause_us: Option<u64>,
    /// Why the upgrade has failed, if it has.
    #[n(4)]
    pub(crate) why: Option<String>,
    /// The server says itself that it will not be, rather than that it has come to nothing.
    #[n(5)]
    pub(crate) is_refused: bool,
    /// The end of what the successor wrote to standard error before it served.
    #[n(6)]
    pub(crate) said: String,
}

/// A process that serves, or was to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Process {
    /// Name and version of its program.
    #[n(0)]
    pub(crate) build: String,
    #[n(1)]
    pub(crate) pid: u32,
    /// Which of the processes that have been this server it is, from 1 on.
    #[n(2)]
    pub(crate) generation: u64,
}
