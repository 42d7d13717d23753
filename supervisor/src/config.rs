//! How a supervisor behaves, whoever says so.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use reactord_process::adopted::Adopted;

use crate::fixed::Fixed;

/// How a supervisor behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// What of this cannot change while a supervisor goes on as another binary.
    pub(crate) fixed: Fixed,
    /// Where clients connect to; port 0 lets the kernel choose.
    pub(crate) listen_addresses: Vec<SocketAddr>,
    /// Sockets on which the service manager listens for it already.
    pub(crate) listen_sockets: Vec<Adopted>,
    /// How many connections may wait in the kernel to be accepted. `None`: the kernel's maximum.
    pub(crate) listen_backlog: Option<u32>,
    /// Where the supervisor can be asked.
    pub(crate) path: AskedOn,
    /// What workers run: a command, found as a shell would, and its arguments.
    pub(crate) command: Vec<OsString>,
    /// How many workers there are to be, until signals change it.
    pub(crate) workers: usize,
    /// How connections get to the workers.
    pub(crate) supply: Supply,
    /// How it is known that a worker which gets the listening sockets serves.
    pub(crate) ready: Ready,
    /// What such a worker is sent when it is to finish.
    pub(crate) finish_signal: Signal,
    /// How a generation takes the place of the one before.
    pub(crate) replace: Replace,
    /// Whether the shares that workers have of the live connections are kept near to each other.
    pub(crate) rebalance: bool,
    /// How many connections may wait in the queue.
    pub(crate) queue_max: usize,
    /// How many bytes the states of connections that were given back may have together.
    pub(crate) states_bytes_max: usize,
    /// How long a worker may take to become ready.
    pub(crate) ready_timeout: Duration,
    /// How long a worker may take to finish what it has.
    pub(crate) drain_timeout: Duration,
}

/// How connections get to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Supply {
    /// The supervisor accepts; a worker draws connections from the queue.
    #[default]
    Queue,
    /// The workers get the listening sockets, and accept themselves.
    Listeners,
}

impl fmt::Display for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "queue",
            Self::Listeners => "listen",
        })
    }
}

/// How it is known that a worker serves which gets the listening sockets. One that says `READY=1` (sd_notify(3)) is
/// believed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Ready {
    /// It says so.
    Notify,
    /// It has lived for so long.
    After(Duration),
    /// It is seen to wait for connections.
    #[default]
    Tcp,
}

/// How a generation takes the place of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Replace {
    /// The one before finishes what it has.
    #[default]
    Drain,
    /// Each worker hands its connections to the one that takes its place.
    Takeover,
}

impl fmt::Display for Replace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drain => "drain",
            Self::Takeover => "takeover",
        })
    }
}

/// Where a supervisor can be asked, and how that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskedOn {
    /// Whoever has started the supervisor has named this path: on it, or not at all.
    Chosen(PathBuf),
    /// Where one is looked for. If it cannot be had, the supervisor serves without.
    Default(PathBuf),
    /// Nowhere, and why.
    Nowhere(String),
}
