//! What a program calls: a [`Server`] serves, works or takes over. This puts together what it needs, and says why that failed.

use std::io;
use std::path::Path;

use mio::Poll;
use reactord_process::open_files;
use reactord_process::path::{PathError, TakeoverListener};

use crate::config::{Config, Outcome};
use crate::handle::Handle;
use crate::lanes::Lanes;
use crate::lineup::{Foundation, Lineup, Services, With};
use crate::listen::{LISTENERS_MAX, Listen, ListenError};
use crate::milestone::{Milestone, Observer};
use crate::peer::Marks;
use crate::reactor::Reactor;
use crate::service::StreamService;
use crate::sources::{Asks, Callers, Draw, Entrance, Plan, QUEUE_LANE, Sources, StopSignals};
use crate::standby::follower::{Followed, follow};
use crate::table::LANES_MAX;
use crate::takeover::arrival::Arrived;
use crate::takeover::error::TakeoverError;
use crate::takeover::offer::Offer;
use crate::takeover::welcomed::{IsUser, Welcomed};
use crate::upgrade::inheritance::Inheritance;
use crate::worker::{InheritError, Queue};

/// Why a server could not serve, or could not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// It could not listen.
    Listen(ListenError),
    /// Two of its services or of its listeners have the same name.
    Twice {
        /// Which.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It has too many services, or too many listeners.
    TooMany {
        /// Which.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// The service that a supervisor's queue brings peers has listeners as well: no successor could take it over.
    QueueAndListeners {
        /// Its name.
        service: String,
        /// How many listeners it was given.
        listeners: usize,
    },
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
            Self::Twice { what, name } => write!(f, "two {what} have the name {name:?}"),
            Self::TooMany { what, count, count_max } => {
                write!(f, "{count} {what} were given, a server has at most {count_max}")
            }
            Self::QueueAndListeners { service, listeners } => write!(
                f,
                "{service} was given {listeners} listeners, 0 are allowed to a service that draws from a supervisor's queue"
            ),
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
            Self::Twice { .. } | Self::TooMany { .. } | Self::QueueAndListeners { .. } | Self::OpenFiles { .. } => None,
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

/// A server with its services: several may share one loop, and are taken over together.
///
/// ```no_run
/// use std::net::SocketAddr;
/// use reactord::services::{Line, Seqnum};
/// use reactord::{Config, Listen, Server};
///
/// # fn main() -> Result<(), reactord::Error> {
/// let config = Config { takeover_path: Some("/run/example.takeover".into()), ..Config::default() };
/// let server = Server::new(config)
///     .service([Listen::on("numbers", SocketAddr::from(([0, 0, 0, 0], 1234)))], Seqnum)
///     .service([Listen::on("lines", std::path::PathBuf::from("/run/lines.socket"))], Line::default());
/// if std::env::args().any(|argument| argument == "-T") {
///     server.take_over("/run/example.takeover".as_ref())?;
/// } else {
///     server.serve()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server<L> {
    config: Config,
    services: L,
    handle: Handle,
    observer: Observer,
}

impl Server<()> {
    /// A server without a service.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, services: (), handle: Handle::default(), observer: Observer::default() }
    }
}

impl<L: Services> Server<L> {
    /// The same server with one service more, and with the listeners at which its peers come in. A peer is a matter of its
    /// own service alone: others cannot reach it. A server has at most 16 services, each with another name.
    #[must_use]
    pub fn service<S: StreamService>(
        self,
        listeners: impl IntoIterator<Item = Listen>,
        service: S,
    ) -> Server<With<S, L>> {
        let Self { config, services, handle, observer } = self;
        Server { config, services: With::new(services, listeners.into_iter().collect(), service), handle, observer }
    }

    /// What reaches the server from elsewhere while it serves.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The same server, which tells this function how its life goes: that it serves and where, what takeovers took and why
    /// one failed, that it stops. There is one such function; the last is told.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use reactord::services::Line;
    /// use reactord::{Config, Listen, Milestone, Server};
    ///
    /// let (said, where_it_listens) = std::sync::mpsc::channel();
    /// let server = Server::new(Config::default())
    ///     .service([Listen::on("lines", SocketAddr::from(([127, 0, 0, 1], 0)))], Line::default())
    ///     .observe(move |milestone| {
    ///         if let Milestone::Ready(ready) = milestone {
    ///             said.send(ready.listeners[0].at.clone()).expect("it is waited for");
    ///         }
    ///     });
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(|| server.serve());
    /// println!("it listens on {}", where_it_listens.recv().expect("it serves"));
    /// handle.stop();
    /// serving.join().expect("it does not panic").expect("it was stopped");
    /// ```
    #[must_use]
    pub fn observe(self, observe: impl FnMut(Milestone<'_>) + Send + 'static) -> Self {
        Self { observer: Observer::new(observe), ..self }
    }
}

impl<S: StreamService, Before: Services> Server<With<S, Before>> {
    /// Listens, and serves until it is stopped or a successor has taken over. Without a listener, it stops
    /// when it has no peers.
    ///
    /// # Errors
    /// If it cannot listen, cannot use the takeover path, or the loop fails; or if two services or two listeners have the
    /// same name.
    pub fn serve(self) -> Result<Outcome, Error> {
        self.begin(None)
    }

    /// Draws peers of its first service from a supervisor's queue, and serves until it is stopped, a successor has taken
    /// over, or the supervisor sends no more peers and those that came have gone. Other services may have listeners, the
    /// first has none. Those peers speak TLS if [`Config::tls`] says with what.
    ///
    /// # Errors
    /// As for [`serve`](Self::serve), and [`Error::QueueAndListeners`] if the first service has a listener.
    pub fn work(self, queue: Queue) -> Result<Outcome, Error> {
        self.begin(Some(queue))
    }

    /// Calls on `path`, takes over from the server that answers there, and serves until it is stopped or a successor has
    /// taken over in turn. It must be able to run all services that the predecessor does; what it has besides begins with
    /// nobody.
    ///
    /// A service that is given no listener takes over those that its predecessor has, unless it is [not
    /// to](Config::inherit_listeners). The listeners of the others are
    /// matched with the predecessor's by their addresses: one that it has is used again, and has the name and the service
    /// that it is given here. One that it has not is new: it is bound before the predecessor hears of the takeover where
    /// that can be done. A port that is busy, or that this process may not bind, may be the predecessor's; if it is not, the
    /// takeover ends before a peer is copied. (Port 0 is met by any port at its IP address that has its name and that no
    /// other listener is given.) One at an address that a new one includes, `127.0.0.1:1` where that is `0.0.0.0:1`, is used again beside
    /// it. One that only the predecessor has is closed after the takeover, when those who have
    /// connected to it by then are let in; if the next takeover comes before that, they are let in by its successor.
    ///
    /// # Errors
    /// [`Error::Takeover`] if the takeover fails before its commit point, also because a listener is neither the
    /// predecessor's nor can be bound, and [`Error::Listen`] if that is known without asking it: a predecessor that lives
    /// serves on. Any other error comes before that, or afterwards.
    pub fn take_over(mut self, path: &Path) -> Result<Outcome, Error> {
        let (offers, plan) = self.prepare(false)?;
        let successor = Successor::call(path, &offers).map_err(Error::Takeover)?;
        self.succeed(successor, plan)
    }

    /// The same for a process that its predecessor has started for an [upgrade](Config::successor).
    ///
    /// # Errors
    /// As for [`take_over`](Self::take_over), and if the upgrade has been given up by now.
    pub fn take_over_as_told(mut self, inheritance: &Inheritance) -> Result<Outcome, Error> {
        let (offers, plan) = self.prepare(false)?;
        let successor = Successor::call_as_told(inheritance, &offers).map_err(Error::Takeover)?;
        self.succeed(successor, plan)
    }

    /// Follows the server that answers on `path`, as its standby: this process is told all that changes there, and serves on when that
    /// process has died. Peers of which it is not certain how far they had come then are reset, and all others notice nothing.
    /// A server that stops or is taken over dismisses its standby. Where [`Config::takeover_path`] says, and where services
    /// listen, is as with the server that is followed.
    ///
    /// # Errors
    /// [`Error::Takeover`] if it cannot follow, or cannot any more: a server that lives serves on. Any other error comes
    /// before that, or afterwards.
    pub fn follow(mut self, path: &Path) -> Result<Outcome, Error> {
        let (offers, plan) = self.prepare(false)?;
        let successor = Successor::call_to_follow(path, &offers).map_err(Error::Takeover)?;
        self.succeed(successor, plan)
    }

    /// The same with a predecessor that has been called already, by a program that has several services and asks which of
    /// them runs.
    ///
    /// # Errors
    /// As for [`take_over`](Self::take_over), and as for [`work`](Self::work) with a queue.
    ///
    /// # Panics
    /// If this server does not run all [services](Successor::services) that are to be taken over.
    pub fn take_over_from(mut self, successor: Successor) -> Result<Outcome, Error> {
        let (offers, plan) = self.prepare(successor.queue.is_some())?;
        let runs = |service| offers.iter().any(|offer| offer.service() == service);
        assert!(
            successor.services().all(runs),
            "the services are those that the predecessor has chosen from the offers"
        );
        self.succeed(successor, plan)
    }

    /// What is to be known before anything else: which services there are, and where they listen. The first may draw from a
    /// queue.
    fn prepare(&mut self, draws: bool) -> Result<(Vec<Offer>, Plan), Error> {
        let (offers, listeners) = self.checked(draws)?;
        open_files::raise_limit();
        Ok((offers, plan(listeners, &self.config)?))
    }

    fn checked(&mut self, draws: bool) -> Result<(Vec<Offer>, Vec<Vec<Listen>>), Error> {
        let offers = self.services.offers();
        let listeners = self.services.take_listeners();
        check_names(&offers, &listeners)?;
        if draws {
            check_queue(&offers, &listeners)?;
        }
        Ok((offers, listeners))
    }

    fn begin(mut self, queue: Option<Queue>) -> Result<Outcome, Error> {
        make_room()?;
        let (_, listeners) = self.checked(queue.is_some())?;
        let files_open = open_files::count();
        let Self { config, services, handle, observer } = self;
        let (poll, lanes, mut sources) = found(services, &config, handle, Vec::new())?;
        // Before the listeners: of two that begin at the same time, one has the path, and the other knows whom to call.
        if let Some(path) = &config.takeover_path {
            let callers = Callers::on(TakeoverListener::bind(path)?);
            sources.answer(poll.registry(), callers).map_err(in_context("the takeover listener"))?;
        }
        let entered = enter(listeners, queue, &config)
            .and_then(|entrance| sources.open(poll.registry(), entrance).map_err(in_context("the listener")));
        if let Err(error) = entered {
            sources.give_up();
            return Err(error);
        }
        let files_open = files_open + sources.entrance.listeners().count() + lanes.peers_beyond_max();
        let peers_max = peers_max(&config, files_open + FILES_OF_A_CALL);
        let reactor = Reactor::new(poll, lanes, sources, &config, peers_max).observed_by(observer);
        reactor.run(None).map_err(in_context("epoll_wait"))
    }

    fn succeed(self, successor: Successor, plan: Plan) -> Result<Outcome, Error> {
        let Self { config, services, handle, observer } = self;
        let Successor { welcomed, queue } = successor;
        let queue = queue.map(|queue| of_movable(queue, &config));
        let files_open = open_files::count().saturating_sub(plan.bound());
        let found = found(services, &config, handle, welcomed.peers_expected().collect())?;
        let mut observer = observer;
        let arrived = if welcomed.follows() {
            let followed = follow(welcomed, found, plan, config.standby_timeout, &mut observer);
            match followed.map_err(Error::Takeover)? {
                Followed::Survived(arrived) => *arrived,
                Followed::Dismissed => return Ok(Outcome::Dismissed),
            }
        } else {
            let (poll, lanes, sources) = found;
            let moved_to = config.takeover_path.as_deref();
            welcomed.receive(poll, lanes, sources, plan, queue, moved_to).map_err(Error::Takeover)?
        };
        let Arrived { poll, lanes, sources, arrival } = arrived;
        let files_open = files_open + sources.entrance.listeners().count() + lanes.peers_beyond_max();
        let peers_max = peers_max(&config, files_open);
        let reactor = Reactor::new(poll, lanes, sources, &config, peers_max).observed_by(observer);
        reactor.run(Some(arrival)).map_err(in_context("epoll_wait"))
    }
}

/// A successor whom the predecessor has welcomed. To drop it is to give up: the predecessor serves on.
#[derive(Debug)]
pub struct Successor {
    welcomed: Welcomed,
    /// Where further peers come from besides listeners.
    queue: Option<Queue>,
}

impl Successor {
    /// Calls on `path`, and offers to run some services, of which the predecessor may have one, several or all.
    ///
    /// [`Server::take_over`] does this and the rest for a program that knows which.
    ///
    /// # Errors
    /// If nobody answers, or the predecessor refuses.
    pub fn call(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        open_files::raise_limit();
        Ok(Self { welcomed: Welcomed::call(path, offers, None, IsUser::AsStarted)?, queue: None })
    }

    /// The same for a program that is nothing but a server: if it is root's, it becomes one of the predecessor's user before it
    /// says anything, with uid, gid and supplementary groups. That user could not take over from it otherwise.
    ///
    /// # Errors
    /// As [`call`](Self::call), and if this process cannot become that user.
    pub fn call_as_its_user(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        open_files::raise_limit();
        Ok(Self { welcomed: Welcomed::call(path, offers, None, IsUser::OfPredecessor)?, queue: None })
    }

    /// The same to [follow](Server::follow) whoever answers: as the user that this process is.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_to_follow(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        open_files::raise_limit();
        Ok(Self { welcomed: Welcomed::call_to_follow(path, offers, IsUser::AsStarted)?, queue: None })
    }

    /// The same for a program that is nothing but a server: as [`call_as_its_user`](Self::call_as_its_user) does.
    ///
    /// # Errors
    /// As [`call_as_its_user`](Self::call_as_its_user).
    pub fn call_to_follow_as_its_user(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        open_files::raise_limit();
        Ok(Self { welcomed: Welcomed::call_to_follow(path, offers, IsUser::OfPredecessor)?, queue: None })
    }

    /// The same for a process that its predecessor has started, to take over or to follow. Nobody else takes over meanwhile.
    ///
    /// # Errors
    /// As [`call`](Self::call), and if the upgrade has been given up by now.
    pub fn call_as_told(inheritance: &Inheritance, offers: &[Offer]) -> Result<Self, TakeoverError> {
        if inheritance.follows() {
            return Self::call_to_follow(inheritance.path(), offers);
        }
        open_files::raise_limit();
        Ok(Self {
            welcomed: Welcomed::call(inheritance.path(), offers, inheritance.upgrade(), IsUser::AsStarted)?,
            queue: None,
        })
    }

    /// The names of the services to be taken over, which are among those offered: at least one.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.welcomed.services()
    }

    /// Draws further peers of the first service from a supervisor's queue. The predecessor must do so, too.
    #[must_use]
    pub fn with_queue(self, queue: Queue) -> Self {
        Self { queue: Some(queue), ..self }
    }
}

/// A queue of which the supervisor may have peers moved, if there is a path on which that can be done.
fn of_movable(queue: Queue, config: &Config) -> Queue {
    if config.takeover_path.is_some() { queue.moving() } else { queue }
}

/// Where a process is to listen. What can be bound is.
fn plan(listeners: Vec<Vec<Listen>>, config: &Config) -> Result<Plan, Error> {
    let plan = Plan::of(listeners).map_err(Error::Listen)?;
    let plan = if config.inherit_listeners { plan } else { plan.inheriting_none() };
    Ok(plan.beside_waiting(config.wait_path.is_some()).with_tls(config.tls.clone()))
}

/// Where the peers of a server come from that has no predecessor.
fn enter(listeners: Vec<Vec<Listen>>, queue: Option<Queue>, config: &Config) -> Result<Entrance, Error> {
    let entrance =
        Entrance::of_listeners(plan(listeners, config)?.bind_rest(std::iter::empty()).map_err(Error::Listen)?);
    Ok(match queue {
        Some(queue) => entrance.and_of_queue(Draw::from(of_movable(queue, config)), config.tls.clone()),
        None => entrance,
    })
}

/// Whether each service and each listener can be told from the others.
fn check_names(offers: &[Offer], listeners: &[Vec<Listen>]) -> Result<(), Error> {
    if offers.len() > LANES_MAX {
        return Err(Error::TooMany { what: "services", count: offers.len(), count_max: LANES_MAX });
    }
    let listeners = || listeners.iter().flatten();
    if listeners().count() > LISTENERS_MAX {
        return Err(Error::TooMany { what: "listeners", count: listeners().count(), count_max: LISTENERS_MAX });
    }
    let twice = |what, name: Option<&str>| match name {
        Some(name) => Err(Error::Twice { what, name: name.to_owned() }),
        None => Ok(()),
    };
    twice("services", first_twice(offers.iter().map(Offer::service)))?;
    twice("listeners", first_twice(listeners().map(|listen| &*listen.name)))
}

/// Whether the service that draws from a queue has no other way in.
fn check_queue(offers: &[Offer], listeners: &[Vec<Listen>]) -> Result<(), Error> {
    match listeners[QUEUE_LANE].len() {
        0 => Ok(()),
        listeners => Err(Error::QueueAndListeners { service: offers[QUEUE_LANE].service().to_owned(), listeners }),
    }
}

/// The first name that was there before.
fn first_twice<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = std::collections::BTreeSet::new();
    names.find(|name| !seen.insert(*name))
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

/// A successor that says Hello has its end of the call open.
const FILES_OF_A_CALL: usize = 1;

/// How many peers the configuration and the limit of open files allow. `files_open` are those that every process has, the
/// listeners, those of peers that do not count, and the call that a successor has open when it says Hello: so there is room at a successor for as many peers as
/// its predecessor lets in. They are counted while they are few.
fn peers_max(config: &Config, files_open: usize) -> usize {
    let files_left = open_files::limit().saturating_sub(files_open + open_files::RESERVED);
    config.max_peers.min(files_left)
}

fn in_context(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Loop { what, error }
}

/// What every server begins with: nobody, with room for so many peers of each service, and no source but signals.
fn found<L: Services>(
    services: L,
    config: &Config,
    handle: Handle,
    peers_expected: Vec<(&str, usize)>,
) -> Result<(Poll, L::Lanes, Sources), Error> {
    let poll = Poll::new().map_err(in_context("epoll"))?;
    let marks = Marks::from(config);
    let (registry, close_timeout) = (poll.registry(), config.close_timeout);
    let foundation = Foundation { registry, marks, close_timeout, peers_expected };
    let mut lanes = services.found(&foundation).map_err(in_context("epoll"))?;
    lanes.each(|lane| {
        let peers = lane.table_mut().peers_mut();
        peers.reached_by(handle.clone());
        peers.connect_with(config.connectors.clone());
    });
    let mut sources = Sources::none();
    if let Some(signals) = StopSignals::watch(config).map_err(in_context("signals"))? {
        sources.obey(poll.registry(), signals).map_err(in_context("signals"))?;
    }
    sources.listen_to(poll.registry(), Asks::of(handle)).map_err(in_context("eventfd"))?;
    Ok((poll, lanes, sources))
}

#[cfg(test)]
mod tests;
