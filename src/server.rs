//! What a program calls: [`serve`], [`work`], [`take_over`], and what the two are told and tell.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::accept::{ListenError, listen_on};
use crate::entrance::{Draw, Entrance};
use crate::open_files;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::takeover::arrival::{Offer, Successor, TakeoverError};
use crate::takeover::path::{PathError, TakeoverListener};
use crate::worker::{InheritError, Queue};

/// How a server behaves.
///
/// Start from [`Config::default`], and change what should be different:
///
/// ```
/// let config = reactord::Config { max_peers: 1000, ..reactord::Config::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where peers connect to; port 0 lets the kernel choose. Not used by [`take_over`]: the listener comes with the
    /// takeover. Default: 127.0.0.1, port 0.
    pub listen_address: SocketAddr,
    /// How many connections may wait in the kernel to be accepted (listen(2)). Default: the kernel's maximum. Not used
    /// by [`take_over`].
    pub listen_backlog: Option<u32>,
    /// Where a successor calls. With [`serve`], `None` means that nobody can take over; with [`take_over`], it means
    /// that the path stays what it is. Default: `None`.
    pub takeover_path: Option<PathBuf>,
    /// How many peers are served at once at most; others wait in the kernel. The limit of open files bounds it in any
    /// case. Together with what one peer may need ([the crate](crate#what-to-know-when-writing-one) says how much), it
    /// bounds the memory of the process. Default: no further bound.
    pub max_peers: usize,
    /// How long a takeover may keep the peers frozen before the predecessor takes them up again. Default: 1 s.
    pub freeze_timeout: Duration,
    /// How long a stop waits for pending output to be written. Default: 5 s.
    pub drain_timeout: Duration,
    /// How long a peer that the service has closed may take nothing of what is still to be sent to it, before it is
    /// given up. Default: 30 s.
    pub close_timeout: Duration,
    /// A peer with more bytes of pending output than this is not read from. Default: 256 KiB.
    pub outbound_high_bytes: usize,
    /// A peer that is not read from is read again with no more bytes of pending output than this. Default: 64 KiB.
    pub outbound_low_bytes: usize,
    /// Whether SIGTERM and SIGINT stop the server in an orderly way; they are blocked in the calling thread meanwhile.
    /// Default: true.
    pub stop_on_signals: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen_address: (Ipv4Addr::LOCALHOST, 0).into(),
            listen_backlog: None,
            takeover_path: None,
            max_peers: usize::MAX,
            freeze_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(30),
            outbound_high_bytes: 256 * 1024,
            outbound_low_bytes: 64 * 1024,
            stop_on_signals: true,
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
}

/// Why a server could not serve, or could not go on.
#[derive(Debug)]
pub enum Error {
    /// It could not listen.
    Listen(ListenError),
    /// The takeover path could not be used.
    TakeoverPath(PathError),
    /// There is no supervisor's queue to draw from.
    Inherit(InheritError),
    /// The process may open so few files that there is none for a peer.
    OpenFiles {
        /// The limit of open files.
        files_max: usize,
        /// How many a server with one peer needs.
        files_needed: usize,
    },
    /// The takeover failed before its commit point: a predecessor that lives serves on.
    Takeover(TakeoverError),
    /// The loop itself could not go on.
    Loop {
        /// What was being done.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::TakeoverPath(error) => error.fmt(f),
            Self::Inherit(error) => error.fmt(f),
            Self::OpenFiles { files_max, files_needed } => {
                write!(f, "{files_max} files may be open, {files_needed} are needed to serve one peer")
            }
            Self::Takeover(error) => error.fmt(f),
            Self::Loop { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<InheritError> for Error {
    fn from(error: InheritError) -> Self {
        Self::Inherit(error)
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Self::TakeoverPath(error)
    }
}

/// Listens, and serves until it is stopped or a successor has taken over.
///
/// # Errors
/// If it cannot listen, cannot use the takeover path, or the loop fails.
pub fn serve<S: Service>(service: S, config: &Config) -> Result<Outcome, Error> {
    make_room()?;
    let listener = listen_on(config.listen_address, config.listen_backlog).map_err(Error::Listen)?;
    begin(service, Entrance::Listener(listener), config)
}

/// Draws peers from a supervisor's queue, and serves until it is stopped, a successor has taken over, or the supervisor
/// sends no more peers and those that came have gone.
///
/// # Errors
/// If it cannot use the takeover path, or the loop fails.
pub fn work<S: Service>(service: S, queue: Queue, config: &Config) -> Result<Outcome, Error> {
    make_room()?;
    begin(service, Entrance::Queue(Draw::from(queue)), config)
}

fn make_room() -> Result<(), Error> {
    open_files::raise_limit();
    let (files_max, files_needed) = (open_files::limit(), open_files::count() + open_files::RESERVED + 1);
    if files_max < files_needed {
        return Err(Error::OpenFiles { files_max, files_needed });
    }
    Ok(())
}

fn begin<S: Service>(service: S, entrance: Entrance, config: &Config) -> Result<Outcome, Error> {
    let in_context = |what| move |error| Error::Loop { what, error };
    let mut reactor = Reactor::new(service, config, 0).map_err(in_context("epoll"))?;
    if let Some(path) = &config.takeover_path {
        reactor.answer_on(TakeoverListener::bind(path)?).map_err(in_context("the takeover listener"))?;
    }
    let ready = reactor.open_entrance(entrance).and_then(|()| reactor.watch_signals());
    if let Err(error) = ready {
        reactor.leave();
        return Err(in_context("the listener")(error));
    }
    reactor.run(None)
}

/// Calls on `path`, takes over from the server that answers there, and serves until it is stopped or a successor has
/// taken over in turn.
///
/// # Errors
/// [`Error::Takeover`] if the takeover fails before its commit point: a predecessor that lives serves on. Any other
/// error comes afterwards.
pub fn take_over<S: Service>(service: S, path: &Path, config: &Config) -> Result<Outcome, Error> {
    Successor::call(path, &[Offer::of::<S>()]).map_err(Error::Takeover)?.take_over(service, config)
}
