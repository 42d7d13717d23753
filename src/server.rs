//! What a program calls: [`serve`], [`work`], [`take_over`]; it puts together what they need, and says why one failed.

use std::io;
use std::path::Path;

use mio::Poll;

use crate::config::{Config, Outcome};
use crate::lane::Lane;
use crate::lanes::And;
use crate::peer::Marks;
use crate::reactor::Reactor;
use crate::service::StreamService;
use crate::sources::{Callers, Draw, Entrance, Sources, StopSignals};
use crate::table::Table;
use crate::takeover::arrival::Arrived;
use crate::takeover::error::TakeoverError;
use crate::takeover::offer::Offer;
use crate::takeover::path::{PathError, TakeoverListener};
use crate::takeover::welcomed::Welcomed;
use crate::worker::{InheritError, Queue};
use reactord_process::accept::{ListenError, listen_on};
use reactord_process::open_files;

/// Why a server could not serve, or could not go on.
#[derive(Debug)]
#[non_exhaustive]
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

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // What a variant wraps is what it displays, so the source is what that one has.
        match self {
            Self::Listen(error) => error.source(),
            Self::TakeoverPath(error) => error.source(),
            Self::Inherit(error) => error.source(),
            Self::OpenFiles { .. } => None,
            Self::Takeover(error) => error.source(),
            Self::Loop { error, .. } => Some(error),
        }
    }
}

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
pub fn serve<S: StreamService>(service: S, config: &Config) -> Result<Outcome, Error> {
    make_room()?;
    let listener = listen_on(config.listen_address, config.listen_backlog).map_err(Error::Listen)?;
    begin(service, Entrance::of_listener(listener), config)
}

/// Draws peers from a supervisor's queue, and serves until it is stopped, a successor has taken over, or the supervisor
/// sends no more peers and those that came have gone.
///
/// # Errors
/// If it cannot use the takeover path, or the loop fails.
pub fn work<S: StreamService>(service: S, queue: Queue, config: &Config) -> Result<Outcome, Error> {
    make_room()?;
    begin(service, Entrance::of_queue(Draw::from(queue)), config)
}

/// Calls on `path`, takes over from the server that answers there, and serves until it is stopped or a successor has
/// taken over in turn.
///
/// # Errors
/// [`Error::Takeover`] if the takeover fails before its commit point: a predecessor that lives serves on. Any other
/// error comes afterwards.
pub fn take_over<S: StreamService>(service: S, path: &Path, config: &Config) -> Result<Outcome, Error> {
    Successor::call(path, &[Offer::of::<S>()]).map_err(Error::Takeover)?.take_over(service, config)
}

/// A successor whom the predecessor has welcomed. To drop it is to give up: the predecessor serves on.
#[derive(Debug)]
pub struct Successor {
    welcomed: Welcomed,
    /// Where further peers come from, if not from the predecessor's listener.
    queue: Option<Queue>,
}

impl Successor {
    /// Calls on `path`, and offers to run one of several services.
    ///
    /// [`take_over`] does this and the rest for a program that has one service.
    ///
    /// # Errors
    /// If nobody answers, or the predecessor refuses.
    pub fn call(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        open_files::raise_limit();
        Ok(Self { welcomed: Welcomed::call(path, offers)?, queue: None })
    }

    /// The name of the service to be taken over, which is one of those offered.
    #[must_use]
    pub fn service(&self) -> &str {
        self.welcomed.services().next().expect("a predecessor has a lane")
    }

    /// Draws further peers from a supervisor's queue. The predecessor must do so, too.
    #[must_use]
    pub fn with_queue(self, queue: Queue) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Takes over, and serves until it is stopped or its peers are taken over in turn.
    ///
    /// # Errors
    /// [`Error::Takeover`] before the commit point, after which the predecessor serves on; any other error means that
    /// this process cannot serve, and before the commit point the predecessor does.
    ///
    /// # Panics
    /// If `S` is not [the service](Self::service) to be taken over.
    pub fn take_over<S: StreamService>(self, service: S, config: &Config) -> Result<Outcome, Error> {
        assert_eq!(S::NAME, self.service(), "the service is the one that the predecessor has chosen from the offers");
        let Self { welcomed, queue } = self;
        let peers_max = peers_max(config);
        let (poll, lanes, sources) = found(service, config, welcomed.peers_expected(S::NAME))?;
        let moved_to = config.takeover_path.as_deref();
        let arrived = welcomed.receive(poll, lanes, sources, queue, moved_to).map_err(Error::Takeover)?;
        let Arrived { poll, lanes, sources, arrival } = arrived;
        let reactor = Reactor::new(poll, lanes, sources, config, peers_max);
        reactor.run(Some(arrival)).map_err(in_context("epoll_wait"))
    }
}

/// Raises the limit of open files.
///
/// # Errors
/// If it has no room for a single peer.
fn make_room() -> Result<(), Error> {
    open_files::raise_limit();
    let (files_max, files_needed) = (open_files::limit(), open_files::count() + open_files::RESERVED + 1);
    if files_max < files_needed {
        return Err(Error::OpenFiles { files_max, files_needed });
    }
    Ok(())
}

/// How many peers the configuration and the limit of open files allow. Files are counted while they are few, and while a
/// server has as many open as a successor has when it says Hello: where they come from, and what every process has.
fn peers_max(config: &Config) -> usize {
    let files_left = open_files::limit().saturating_sub(open_files::count() + open_files::RESERVED);
    config.max_peers.min(files_left)
}

fn in_context(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Loop { what, error }
}

/// What every server begins with: nobody, with room for `capacity` peers, and no source but signals.
fn found<S: StreamService>(service: S, config: &Config, capacity: usize) -> Result<(Poll, And<S, ()>, Sources), Error> {
    let poll = Poll::new().map_err(in_context("epoll"))?;
    let marks = Marks {
        high_bytes: config.outbound_high_bytes,
        low_bytes: config.outbound_low_bytes.min(config.outbound_high_bytes),
    };
    let registry = poll.registry().try_clone().map_err(in_context("epoll"))?;
    let lane = Lane::new(service, Table::new(0, registry, marks, config.close_timeout, capacity), capacity);
    let mut sources = Sources::none();
    if let Some(signals) = StopSignals::watch(config).map_err(in_context("signals"))? {
        sources.obey(poll.registry(), signals).map_err(in_context("signals"))?;
    }
    Ok((poll, And { before: (), lane }, sources))
}

fn begin<S: StreamService>(service: S, entrance: Entrance, config: &Config) -> Result<Outcome, Error> {
    let peers_max = peers_max(config);
    let (poll, lanes, mut sources) = found(service, config, 0)?;
    if let Some(path) = &config.takeover_path {
        let callers = Callers::on(TakeoverListener::bind(path)?);
        sources.answer(poll.registry(), callers).map_err(in_context("the takeover listener"))?;
    }
    if let Err(error) = sources.open(poll.registry(), entrance) {
        sources.give_up();
        return Err(in_context("the listener")(error));
    }
    Reactor::new(poll, lanes, sources, config, peers_max).run(None).map_err(in_context("epoll_wait"))
}
