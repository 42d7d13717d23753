//! What may be asked of whoever answers on a path, a server or a supervisor, and what comes of it: as the bodies of frames,
//! with the kinds that they have for both.

use std::fmt;

use minicbor::{Decode, Encode};

/// The kind of a frame that asks how somebody stands. It has no body; each answers with a status of its own.
pub const ASK_STATUS: u8 = 22;

/// The kind of an [`Upgrade`].
pub const UPGRADE: u8 = 24;

/// The kind of an [`Upgrading`].
pub const UPGRADING: u8 = 25;

/// The kind of an [`Upgraded`].
pub const UPGRADED: u8 = 26;

/// The kind of a [`SetLog`].
pub const SET_LOG: u8 = 31;

/// The kind of a [`LogSet`].
pub const LOG_SET: u8 = 32;

/// Whoever answers is to be replaced by another binary, or by what is at its own path by now, and to say what comes of that: a
/// server starts its successor, a supervisor executes the binary in its own place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upgrade {
    /// What is to be started. `None`: what the process itself was started as.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub binary: Option<Vec<u8>>,
    /// With what arguments, besides its own name. `None`: with those of the process.
    #[n(1)]
    pub arguments: Option<Vec<Argument>>,
    /// How long it may take until that serves.
    #[n(2)]
    pub timeout_ms: u64,
}

/// An argument of a program, which need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Argument(
    /// Its bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// How far the upgrade has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upgrading {
    /// The process that was started.
    #[n(0)]
    pub pid: u32,
    /// How many peers it has copied. `None` if it has not called yet.
    #[n(1)]
    pub copied: Option<u64>,
    /// How many there are.
    #[n(2)]
    pub peers: u64,
}

/// What has come of the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upgraded {
    /// Who was asked.
    #[n(0)]
    pub predecessor: Process,
    /// `None` if nobody has taken its place.
    #[n(1)]
    pub successor: Option<Process>,
    /// How many peers were handed over.
    #[n(2)]
    pub peers: u64,
    /// `None` where that is not known.
    #[n(3)]
    pub pause_us: Option<u64>,
    /// Why the upgrade has failed, if it has.
    #[n(4)]
    pub why: Option<String>,
    /// Whoever was asked says itself that it will not be, rather than that it has come to nothing.
    #[n(5)]
    pub is_refused: bool,
    /// The end of what the successor wrote to standard error before it served.
    #[n(6)]
    pub said: String,
    /// How many workers go on as they are. `None`: no supervisor was asked.
    #[n(7)]
    pub workers: Option<u64>,
}

/// A process that serves, or was to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Process {
    /// Name and version of its program.
    #[n(0)]
    pub build: String,
    /// Its process id.
    #[n(1)]
    pub pid: u32,
    /// Which of the processes that have been this server it is, from 1 on; of a supervisor, which of its workers serve.
    #[n(2)]
    pub generation: u64,
}

/// The version alone, where a program is the one that answers here.
#[must_use]
pub fn version_of(build: &str) -> &str {
    build.strip_prefix("reactord ").unwrap_or(build)
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, pid, generation } = self;
        write!(f, "{} (pid {pid}, generation {generation})", version_of(build))
    }
}

/// This level and those above are to be logged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetLog {
    /// The level, as [`log::LevelFilter`] has it, in small letters.
    #[n(0)]
    pub level: String,
}

/// So it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogSet {
    /// The level until then.
    #[n(0)]
    pub before: String,
    /// The level now.
    #[n(1)]
    pub level: String,
    /// The process id of whoever was asked.
    #[n(2)]
    pub pid: u32,
}
