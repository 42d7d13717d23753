//! What a server is told before it serves, and what it tells when it has served.

use std::path::PathBuf;
use std::time::Duration;

use crate::tls::{Connectors, Tls};
use crate::upgrade::program::Program;

/// How a server behaves.
///
/// Start from [`Config::default`], and change what should be different:
///
/// ```
/// let config = reactord::Config { max_peers: 1000, ..reactord::Config::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where a successor calls. With [`serve`](crate::Server::serve), `None` means that nobody can take over; with
    /// [`take_over`](crate::Server::take_over), it means that the path stays what it is. Default: `None`.
    pub takeover_path: Option<PathBuf>,
    /// The takeover path of another server, at which this one waits to be given peers; it calls there again and again while
    /// nobody answers. A server without listeners that waits goes on until it is stopped. Default: `None`.
    pub wait_path: Option<PathBuf>,
    /// How many peers are served at once at most; others wait in the kernel. Connections that a service opens
    /// [count](crate::Context::connect), but may be more; a few of some services [do
    /// not](crate::StreamService::PEERS_BEYOND_MAX). The limit of open files bounds it in any
    /// case. Together with what one peer may need ([the crate](crate#what-to-know-when-writing-one) says how much), it
    /// bounds the memory of the process. Default: no further bound.
    pub max_peers: usize,
    /// Whether a service that is given no listener takes over those that its predecessor has. Otherwise they are closed, and
    /// its peers stay. Default: true.
    pub inherit_listeners: bool,
    /// How long a takeover may keep the peers frozen before the predecessor takes them up again. Within this time the
    /// [shared state](crate::Service#state-in-a-takeover) is saved, sent and restored. Default: 1 s.
    pub freeze_timeout: Duration,
    /// How long a stop waits for output to be written and acknowledged, and half as long for a takeover that is under way.
    /// Default: 5 s.
    pub drain_timeout: Duration,
    /// How long nothing may be heard of a peer that the service has closed while something is to be delivered to it,
    /// before it is given up. It may take nothing for ten times as long while its system answers that it has no room,
    /// for so looks a client that reads slowly. Less than 300 ms is taken for 300 ms. Default: 30 s.
    pub close_timeout: Duration,
    /// A peer with more bytes of pending output than this is not read from. Default: 256 KiB.
    pub outbound_high_bytes: usize,
    /// A peer that is not read from is read again with no more bytes of pending output than this. Default: 64 KiB.
    pub outbound_low_bytes: usize,
    /// How often [`Milestone::Heartbeat`](crate::Milestone::Heartbeat) is told: so often the loop wakes up, also if there is
    /// nothing else to do. It is not told between the freeze of a takeover and its end. Default: never.
    pub heartbeat: Option<Duration>,
    /// Whether SIGTERM and SIGINT stop the server in an orderly way, the second time at once. Each server of the process
    /// that asks for it hears them, in whatever thread it runs; they are not blocked there meanwhile. When the last has
    /// returned, they do what they did before; a handler that the program had then is called in any case. One that the
    /// process ignores stays ignored. Default: true.
    pub stop_on_signals: bool,
    /// Whether the process outlives, from then on, what is sent by habit or by the kernel and by default ends a process:
    /// SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM and SIGPROF leave a line in the log, and after SIGXFSZ it is the write
    /// to a file that has grown too big that fails. A handler that the program had before is called as well. Default:
    /// false, since a program may know better; one that is all server, like the daemon, sets it.
    pub survive_signals: bool,
    /// How the server starts its successor when it is [asked](crate::upgrade) to on its takeover path. `None`: it does not, and
    /// whoever wants another version starts that. Default: `None`.
    pub successor: Option<Program>,
    /// How the server starts its standby, which [follows](crate::Server::follow) it and serves on when this process has died; it
    /// is started again when it has ended. It must follow as [`Inheritance::follows`](crate::Inheritance::follows) says, and it
    /// takes a takeover path. Default: `None`, and only who comes by itself follows.
    pub standby: Option<Program>,
    /// How long the loop of a server that is followed may stand still before its standby kills it and serves on. It is the
    /// standby's that counts. Default: `None`, and a server that hangs, or is stopped, is left alone.
    pub standby_timeout: Option<Duration>,
    /// Whether SIGHUP asks for an upgrade as well, with a line in the log if nothing has come of it. One that the process
    /// ignores, as under nohup(1), stays ignored. Default: false.
    pub upgrade_on_hangup: bool,
    /// What the clients of listeners that are taken over, and that this server was not told of, speak TLS with, and those who
    /// come over the [queue](crate::Server::work) of a supervisor. With the feature `tls`. Default: nothing; then no such listener can
    /// be taken over whose clients speak TLS, and with something none whose clients do not.
    pub tls: Option<Tls>,
    /// With what connections are opened that [speak TLS](crate::Connect::tls), by names. With the feature `tls`. Default: nothing.
    pub connectors: Connectors,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            takeover_path: None,
            wait_path: None,
            max_peers: usize::MAX,
            inherit_listeners: true,
            freeze_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(30),
            outbound_high_bytes: 256 * 1024,
            outbound_low_bytes: 64 * 1024,
            heartbeat: None,
            stop_on_signals: true,
            survive_signals: false,
            successor: None,
            standby: None,
            standby_timeout: None,
            upgrade_on_hangup: false,
            tls: None,
            connectors: Connectors::default(),
        }
    }
}

/// How serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal stopped it, or it was a worker that has finished; the takeover path is removed.
    Stopped,
    /// A successor has taken over.
    HandedOver {
        /// The successor's process id.
        pid: u32,
    },
    /// It has [followed](crate::Server::follow) a server that lives, and is not needed as its standby any more.
    Dismissed,
}
