//! The loop: it holds the ports and the workers' ends, hears what happens, and does what the fleet decides.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use reactord_process::accept::{ACCEPTS_PER_TURN, Accepting, ListenError, listen_on};
use reactord_process::address::Address;
use reactord_process::open_files;
use reactord_process::signals::Signals;
use reactord_process::words::{ConnectionId, FromSupervisor, PREDECESSOR_VARIABLE, TAKEOVER_VARIABLE};

use crate::config::{Config, Replace, Supply};
use crate::directory::Directory;
use crate::fleet::{Action, Exit, Fleet, Rules, WorkerId};
use crate::launch::{Inheritance, Program};
use crate::link::{Flushed, Heard, Link};
use crate::resume::{self, Resumption, Trial};
use crate::state::State;
use crate::status::{QueueStatus, Status, Telling};

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 256;

/// How many packets of one worker are heard in one turn; then it is the others' turn.
const PACKETS_PER_TURN: u32 = 256;

/// When that is sent again for which the kernel had no room.
const SEND_RETRY: Duration = Duration::from_millis(10);

/// Descriptors that connections may not take, so that workers can be started: the two ends of a queue, and what std
/// opens to start a process.
const FILES_SPARE: usize = 12;

/// A worker that exits closes its queue first. How that happened is better known a moment later.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);

/// A message of readiness; longer ones are cut, which is no harm to their first lines.
const NOTIFICATION_BYTES: usize = 1024;

/// What the supervisor watches for.
const SIGNALS: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Why a supervisor could not begin, or could not go on.
#[derive(Debug)]
pub(crate) enum Error {
    /// It could not listen.
    Listen(ListenError),
    /// The command cannot be run.
    Command(String),
    /// What an earlier binary left is not understood.
    State(String),
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
            Self::Command(error) => f.write_str(error),
            Self::State(error) => write!(f, "the state of the supervisor: {error}"),
            Self::Loop { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::Loop { error, .. } => Some(error),
            Self::Command(_) | Self::State(_) => None,
        }
    }
}

/// Shows a line to whoever looks after this process.
pub(crate) type Show<'p> = Box<dyn Fn(&str) + 'p>;

/// What the program around the supervisor wants of it.
#[derive(Default)]
pub(crate) struct Surroundings<'p> {
    /// Called once, when all workers serve for the first time.
    pub(crate) serving: Option<Box<dyn FnOnce() + 'p>>,
    /// Called from then on with a line that says what it does: when that has changed, but once a second at most. It is
    /// called from the loop, so it must not wait.
    pub(crate) status: Option<Show<'p>>,
    /// Descriptors that a binary which is executed in place of this one [finds again](Resumption::take_kept).
    pub(crate) kept: Vec<(&'static str, BorrowedFd<'p>)>,
}

/// Holds the ports and feeds workers, until a signal stops it. The process must have one thread.
///
/// # Errors
/// If it cannot listen or run the command; then nothing was started. Or if the loop fails.
pub(crate) fn supervise(
    config: &Config,
    resumption: Option<Resumption>,
    surroundings: Surroundings<'_>,
) -> Result<(), Error> {
    let program = Program::find(&config.command);
    let supervisor = match resumption {
        None => Supervisor::begin(config, program.map_err(Error::Command)?, surroundings)?,
        Some(resumption) => Supervisor::resume(config, program, surroundings, resumption.into_state())?,
    };
    supervisor.run()
}

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Listener(usize),
    /// Its queue, or where it says that it is ready. Ids are used once, so an event never reaches another one.
    Worker(WorkerId),
}

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Signals => 0,
            Source::Listener(place) => 1 + 2 * place,
            Source::Worker(WorkerId(id)) => 2 + 2 * usize::try_from(id).expect("a token has 64 bits"),
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        match token {
            0 => Self::Signals,
            token if token % 2 == 1 => Self::Listener((token - 1) / 2),
            token => Self::Worker(WorkerId((token - 2) as u64 / 2)),
        }
    }
}

/// A socket that listens.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    address: SocketAddr,
    accepting: Accepting,
    /// It was said that connections wait in the kernel, and not yet that they do no more.
    full_said: bool,
}

/// A connection that no worker has taken yet.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// What a worker is spoken to by.
pub(crate) enum Line {
    Queue(Link),
    /// Where it says that it is ready.
    Notify(UnixDatagram),
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Queue(link) => link.as_fd(),
            Self::Notify(socket) => socket.as_fd(),
        }
    }
}

/// The loop, with everything that it holds.
pub(crate) struct Supervisor<'p> {
    pub(crate) config: Config,
    pub(crate) program: Program,
    pub(crate) surroundings: Surroundings<'p>,
    pub(crate) poll: Poll,
    pub(crate) signals: Signals,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    /// How many descriptors connections and workers may have together, as far as the limit of open files goes.
    pub(crate) files_max: usize,
    pub(crate) next_connection: ConnectionId,
    pub(crate) fleet: Fleet,
    pub(crate) lines: HashMap<WorkerId, Line>,
    /// Workers whose packets were not all heard.
    pub(crate) unheard: Vec<WorkerId>,
    /// Workers that have closed their queue, and when that is held to be all there is to say.
    pub(crate) ended: Vec<(Instant, WorkerId)>,
    /// Something could not be sent for want of room in the kernel.
    pub(crate) send_again_at: Option<Instant>,
    pub(crate) directory: Option<Directory>,
    /// Which binary is executed in place of this one.
    pub(crate) own_path: PathBuf,
    pub(crate) trial: Option<Trial>,
    pub(crate) telling: Telling,
    pub(crate) now: Instant,
}

impl<'p> Supervisor<'p> {
    /// Listens, and starts nothing yet.
    fn begin(config: &Config, program: Program, surroundings: Surroundings<'p>) -> Result<Self, Error> {
        open_files::raise_limit();
        let mut sockets = Vec::new();
        for address in &config.listen_addresses {
            sockets.push(listen_on(*address, config.listen_backlog).map_err(Error::Listen)?);
        }
        let in_context = |what| move |error| Error::Loop { what, error };
        let directory = match (config.supply, config.replace) {
            (Supply::Queue, Replace::Drain) => None,
            _ => Some(
                Directory::make_in(&std::env::temp_dir())
                    .map_err(in_context("a directory for the workers' sockets"))?,
            ),
        };
        let fleet = Fleet::new(rules(config), config.workers);
        let mut supervisor =
            Self::with(config, program, surroundings, fleet, directory).map_err(in_context("the loop"))?;
        supervisor.listen(sockets).map_err(in_context("the listeners"))?;
        supervisor.count_files();
        for listener in &supervisor.listeners {
            info!("Starting TCP server on {}", Address(listener.address));
        }
        Ok(supervisor)
    }

    /// Goes on with what this process had before it executed this binary.
    fn resume(
        config: &Config,
        program: Result<Program, String>,
        surroundings: Surroundings<'p>,
        mut state: State,
    ) -> Result<Self, Error> {
        let in_context = |what| move |error| Error::Loop { what, error };
        let program = match program {
            Ok(program) => Program { files_max: state.files_max, ..program },
            // Those who serve go on; the command may be there again when the next worker is started.
            Err(error) => {
                warn!("{error}");
                let path = std::mem::take(&mut state.program).into();
                Program { path, arguments: config.command.clone(), files_max: state.files_max }
            }
        };
        let now = Instant::now();
        let fleet = state.take_fleet(rules(config), now);
        let directory = state.directory.take().map(|path| Directory::adopt(path.into()));
        let mut supervisor =
            Self::with(config, program, surroundings, fleet, directory).map_err(in_context("the loop"))?;
        if state.complete {
            supervisor.surroundings.serving = None;
        }
        supervisor.take_up(state).map_err(in_context("going on"))?;
        supervisor.count_files();
        let (workers, waiting) = (supervisor.fleet.workers.len(), supervisor.fleet.waiting.len());
        info!("Resumed as pid {} with {workers} workers, {waiting} connections in the queue", std::process::id());
        for listener in &supervisor.listeners {
            info!("Starting TCP server on {}", Address(listener.address));
        }
        Ok(supervisor)
    }

    /// Has everything that this process had open.
    fn take_up(&mut self, mut state: State) -> io::Result<()> {
        self.listen(state.take_listeners()?)?;
        self.next_connection = state.next_connection()?;
        self.connections = state.take_connections()?;
        for (id, line) in state.take_lines()? {
            self.watch_line(id, line)?;
        }
        Ok(())
    }

    fn with(
        config: &Config,
        program: Program,
        surroundings: Surroundings<'p>,
        fleet: Fleet,
        directory: Option<Directory>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Whoever started this process may have had it ignored; then nobody is told of children that end, and there are none
        // to wait for (wait(2)). Any handler will do: it is blocked.
        signal_hook::flag::register(Signal::SIGCHLD as i32, Arc::default())?;
        let signals = Signals::watch(&SIGNALS)?;
        let descriptor = signals.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Source::Signals.into(), Interest::READABLE)?;
        Ok(Self {
            config: config.clone(),
            program,
            surroundings,
            poll,
            signals,
            listeners: Vec::new(),
            connections: HashMap::new(),
            files_max: usize::MAX,
            next_connection: ConnectionId::FIRST,
            fleet,
            lines: HashMap::new(),
            unheard: Vec::new(),
            ended: Vec::new(),
            send_again_at: None,
            directory,
            own_path: resume::own_path()?,
            trial: None,
            telling: Telling::default(),
            now: Instant::now(),
        })
    }

    fn listen(&mut self, sockets: Vec<TcpListener>) -> io::Result<()> {
        for (place, mut socket) in sockets.into_iter().enumerate() {
            let mut accepting = Accepting::begin();
            match self.config.supply {
                Supply::Queue => {
                    self.poll.registry().register(&mut socket, Source::Listener(place).into(), Interest::READABLE)?;
                }
                // The kernel wakes the workers, which accept.
                Supply::Listeners => accepting.wait_for_event(),
            }
            let address = socket.local_addr()?;
            self.listeners.push(Listener { socket, address, accepting, full_said: false });
        }
        Ok(())
    }

    /// Finds out how many descriptors are left, while few are taken.
    fn count_files(&mut self) {
        let taken_otherwise = open_files::count().saturating_sub(self.connections.len() + self.lines.len());
        self.files_max = open_files::limit().saturating_sub(taken_otherwise + FILES_SPARE);
    }

    fn run(mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        // Those that ended while another binary was executed.
        self.reap();
        loop {
            self.decide();
            if self.fleet.is_over() {
                break;
            }
            self.tell_status();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => polled.map_err(|error| Error::Loop { what: "epoll_wait", error })?,
            }
            self.now = Instant::now();
            for event in &events {
                match event.token().into() {
                    Source::Signals => self.obey_signals(),
                    Source::Listener(place) => self.accept(place),
                    Source::Worker(id) => {
                        self.flush(id);
                        self.hear(id);
                    }
                }
            }
            self.finish_turn();
        }
        if !self.connections.is_empty() {
            warn!("Stopping: {} connections in the queue are closed", self.connections.len());
        }
        info!("Stopped");
        Ok(())
    }

    /// Does what no event will ask for.
    fn finish_turn(&mut self) {
        for place in 0..self.listeners.len() {
            if self.listeners[place].accepting.is_due(self.now) {
                self.accept(place);
            }
        }
        for id in std::mem::take(&mut self.unheard) {
            self.hear(id);
        }
        if self.send_again_at.is_some_and(|instant| self.now >= instant) {
            self.send_again_at = None;
            let ids: Vec<WorkerId> = self.lines.keys().copied().collect();
            for id in ids {
                self.flush(id);
            }
        }
        let now = self.now;
        for (_, id) in self.ended.extract_if(.., |(due, _)| now >= *due) {
            self.fleet.queue_ended(id, "it has closed it".to_owned(), now);
        }
        if let Some(trial) = self.trial.take_if(|trial| now >= trial.deadline()) {
            warn!("The binary is not replaced: {}", trial.give_up());
        }
    }

    /// How long the next poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        if !self.unheard.is_empty() {
            return Some(Duration::ZERO);
        }
        let accepting = self.listeners.iter().filter_map(|listener| listener.accepting.due(self.now)).min();
        let trial = self.trial.as_ref().map(Trial::deadline);
        let ended = self.ended.iter().map(|(due, _)| *due).min();
        let status = self.status().and_then(|status| self.telling.due(&status, self.now));
        let due = [accepting, trial, ended, self.send_again_at, status, self.fleet.deadline()];
        let due = due.into_iter().flatten().min()?;
        // Rounded up: what is half a millisecond away is waited for, not spun for.
        Some(due.checked_duration_since(Instant::now()).map_or(Duration::ZERO, |wait| wait + Duration::from_millis(1)))
    }

    /// What is to be known of it, if anybody wants to know and it serves already.
    fn status(&self) -> Option<Status> {
        if self.surroundings.status.is_none() || self.surroundings.serving.is_some() {
            return None;
        }
        let (waiting, waiting_max) = (self.fleet.waiting.len(), self.config.queue_max);
        Some(Status::of(&self.fleet, QueueStatus { waiting, waiting_max, is_full: self.is_full() }))
    }

    fn tell_status(&mut self) {
        if let Some(status) = self.status()
            && let Some(line) = self.telling.tell(status, self.now)
            && let Some(tell) = &self.surroundings.status
        {
            tell(&line);
        }
    }

    // ── Connections ────────────────────────────────────────────────────────────────────────────────────────────────

    fn accept(&mut self, place: usize) {
        // A stop may have ended the listening since the event came.
        if place >= self.listeners.len() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            if self.is_full() {
                // Whoever asks gets some of them before more are left to the kernel.
                self.decide();
                if self.is_full() {
                    return self.pause_full(place);
                }
                continue;
            }
            let Listener { socket, address, accepting, full_said } = &mut self.listeners[place];
            match accepting.accept(socket, self.now) {
                Ok(Some((socket, peer))) => self.enqueue(socket, peer),
                Ok(None) => {
                    if std::mem::take(full_said) {
                        info!("Nobody waits in the kernel on {} any more", Address(*address));
                    }
                    return;
                }
                Err(error) => {
                    if accepting.pause_is_news(self.now) {
                        let waiting = self.fleet.waiting.len();
                        warn!(
                            "Accepting on {} pauses with {waiting} connections in the queue: {error}",
                            Address(*address)
                        );
                    }
                    return;
                }
            }
        }
        self.listeners[place].accepting.go_on_next_turn();
    }

    /// Takes into the queue who has connected already, as far as there is room: the kernel resets those whom it holds when
    /// the listening ends.
    fn accept_the_last(&mut self) {
        if self.config.supply == Supply::Listeners {
            return;
        }
        for place in 0..self.listeners.len() {
            self.accept(place);
            while self.listeners[place].accepting.is_due(self.now) {
                self.accept(place);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.fleet.waiting.len() >= self.config.queue_max || self.connections.len() >= self.connections_max()
    }

    /// How many connections there may be: each worker has a descriptor, and so will each that takes its place.
    fn connections_max(&self) -> usize {
        let workers_max = self.fleet.target + self.lines.len().max(self.fleet.target);
        self.files_max.saturating_sub(workers_max).max(1)
    }

    fn pause_full(&mut self, place: usize) {
        let (waiting, workers) = (self.fleet.waiting.len(), self.fleet.workers.len());
        let Listener { address, accepting, full_said, .. } = &mut self.listeners[place];
        accepting.pause();
        if accepting.pause_is_news(self.now) {
            *full_said = true;
            let held: u64 = self.fleet.workers.values().map(|worker| worker.held).sum();
            info!(
                "The queue is full: {waiting} connections wait, {workers} workers hold {held}; those that follow on {} wait \
                 in the kernel",
                Address(*address)
            );
        }
    }

    fn enqueue(&mut self, socket: TcpStream, peer: SocketAddr) {
        let local = match socket.local_addr() {
            Ok(local) => local,
            Err(error) => return debug!("Peer {} is gone already: {error}", Address(peer)),
        };
        let id = self.next_connection;
        self.next_connection = id.next();
        debug!("Connection {id} from {} to {} is in the queue", Address(peer), Address(local));
        let socket = std::net::TcpStream::from(socket).into();
        self.connections.insert(id, Connection { socket, peer, local });
        self.fleet.enqueue(id);
    }

    /// A worker has taken a connection: the duplicate is closed, and there is room for another.
    fn taken(&mut self, worker: WorkerId, connection: ConnectionId) {
        debug!("Connection {connection} was taken by worker pid {}", self.pid(worker));
        self.connections.remove(&connection);
        self.resume_accepting();
    }

    fn resume_accepting(&mut self) {
        for listener in &mut self.listeners {
            listener.accepting.resume();
        }
    }

    // ── Workers ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Lets the fleet decide, and does what it has decided.
    fn decide(&mut self) {
        let waiting_before = self.fleet.waiting.len();
        self.fleet.advance(self.now);
        while let Some(action) = self.fleet.next_action() {
            match action {
                Action::Start { worker, predecessor } => self.start(worker, predecessor),
                Action::Send { worker, connection } => {
                    let Connection { peer, local, .. } = &self.connections[&connection];
                    let word = FromSupervisor::Connection { id: connection, peer: *peer, local: *local };
                    self.say(worker, word);
                }
                Action::Finish { worker } => self.say(worker, FromSupervisor::Finish),
                Action::Signal { worker, signal } => {
                    if let Some(worker) = self.fleet.workers.get(&worker).filter(|worker| worker.pid != 0) {
                        send_signal(worker.pid, signal);
                    }
                }
                Action::Report(report) if report.is_warning() => warn!("{report}"),
                Action::Report(report) => info!("{report}"),
            }
        }
        if self.fleet.waiting.len() < waiting_before {
            self.resume_accepting();
        }
        if self.fleet.is_complete()
            && let Some(serving) = self.surroundings.serving.take()
        {
            serving();
        }
    }

    fn start(&mut self, id: WorkerId, predecessor: Option<WorkerId>) {
        match self.launch(id, predecessor) {
            Ok(pid) => {
                debug!("Worker pid {pid} is started");
                self.fleet.launched(id, pid);
            }
            Err(error) => {
                self.lines.remove(&id);
                self.fleet.exited(id, Exit::NotStarted(error.to_string()), self.now);
                self.fleet.advance(self.now);
            }
        }
    }

    fn launch(&mut self, id: WorkerId, predecessor: Option<WorkerId>) -> io::Result<u32> {
        let mut variables = Vec::new();
        if let Some(directory) = &self.directory
            && self.config.replace == Replace::Takeover
        {
            variables.push((TAKEOVER_VARIABLE, directory.takeover_path(id).into_os_string()));
            if let Some(predecessor) = predecessor {
                variables.push((PREDECESSOR_VARIABLE, directory.takeover_path(predecessor).into_os_string()));
            }
        }
        match (self.config.supply, &self.directory) {
            (Supply::Listeners, Some(directory)) => {
                let notify = directory.notify_path(id);
                let socket = UnixDatagram::bind(&notify)?;
                socket.set_nonblocking(true)?;
                let sockets: Vec<BorrowedFd<'_>> =
                    self.listeners.iter().map(|listener| listener.socket.as_fd()).collect();
                let names: Vec<String> =
                    self.listeners.iter().map(|listener| format!("tcp-{}", listener.address.port())).collect();
                let inheritance = Inheritance::Listeners { sockets, names: names.join(":"), notify };
                let pid = self.program.launch(&inheritance, &variables)?;
                self.watch_line(id, Line::Notify(socket))?;
                Ok(pid)
            }
            _ => {
                let (link, worker) = Link::pair()?;
                self.watch_line(id, Line::Queue(link))?;
                self.program.launch(&Inheritance::Queue(worker), &variables)
            }
        }
    }

    /// What log lines name a worker by. 0 if it has none yet, or is gone.
    fn pid(&self, id: WorkerId) -> u32 {
        self.fleet.workers.get(&id).map_or(0, |worker| worker.pid)
    }

    fn watch_line(&mut self, id: WorkerId, line: Line) -> io::Result<()> {
        let descriptor = line.as_fd().as_raw_fd();
        let interest = match line {
            Line::Queue(_) => Interest::READABLE | Interest::WRITABLE,
            Line::Notify(_) => Interest::READABLE,
        };
        self.poll.registry().register(&mut SourceFd(&descriptor), Source::Worker(id).into(), interest)?;
        self.lines.insert(id, line);
        Ok(())
    }

    fn say(&mut self, id: WorkerId, word: FromSupervisor) {
        if let Some(Line::Queue(link)) = self.lines.get_mut(&id) {
            link.say(word);
            self.flush(id);
        }
    }

    fn flush(&mut self, id: WorkerId) {
        let Some(Line::Queue(link)) = self.lines.get_mut(&id) else {
            return;
        };
        let connections = &self.connections;
        match link.flush(|id| connections.get(&id).map(|connection| connection.socket.as_fd())) {
            Ok(Flushed::All | Flushed::Full) => {}
            Ok(Flushed::WantOfRoom) => self.send_again_at = self.send_again_at.or(Some(self.now + SEND_RETRY)),
            // The end follows, after what it has said before.
            Err(errno) => {
                debug!("Worker pid {} takes nothing more: {errno}", self.pid(id));
                if !self.unheard.contains(&id) {
                    self.unheard.push(id);
                }
            }
        }
    }

    /// A worker says something.
    fn hear(&mut self, id: WorkerId) {
        for _ in 0..PACKETS_PER_TURN {
            let heard = match self.lines.get_mut(&id) {
                None => return,
                Some(Line::Notify(_)) => return self.hear_notification(id),
                Some(Line::Queue(link)) => link.hear(),
            };
            match heard {
                Ok(Heard::Said(said)) => match self.fleet.hear(id, said, self.now) {
                    Ok(None) => {}
                    Ok(Some(connection)) => self.taken(id, connection),
                    Err(breach) => return self.end_queue(id, &breach),
                },
                Ok(Heard::Nothing) => return,
                Ok(Heard::End) => {
                    self.close_line(id);
                    self.fleet.cut_off(id);
                    return self.ended.push((self.now + EXIT_PATIENCE, id));
                }
                Err(error) => return self.end_queue(id, &error),
            }
        }
        self.unheard.push(id);
    }

    /// A worker by the systemd convention says something (sd_notify(3)).
    fn hear_notification(&mut self, id: WorkerId) {
        let mut buffer = [0; NOTIFICATION_BYTES];
        while let Some(Line::Notify(socket)) = self.lines.get(&id) {
            let Ok(bytes) = socket.recv(&mut buffer) else {
                return;
            };
            if buffer[..bytes].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                self.fleet.ready(id, self.now);
            }
        }
    }

    /// Ends a worker's queue: what it has taken up to then is its own, and the rest goes back.
    fn end_queue(&mut self, id: WorkerId, reason: &dyn std::fmt::Display) {
        self.close_line(id);
        self.fleet.queue_ended(id, reason.to_string(), self.now);
    }

    fn close_line(&mut self, id: WorkerId) {
        match self.lines.remove(&id) {
            Some(Line::Queue(link)) => {
                let descriptor = link.as_fd().as_raw_fd();
                if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&descriptor)) {
                    warn!("The queue of worker pid {} stays in the epoll set: {error}", self.pid(id));
                }
                for connection in link.end() {
                    if self.fleet.took(id, connection) {
                        self.taken(id, connection);
                    }
                }
            }
            Some(Line::Notify(_)) => {
                if let Some(directory) = &self.directory {
                    // It may have removed it itself.
                    let _ = std::fs::remove_file(directory.notify_path(id));
                }
            }
            None => {}
        }
    }

    // ── Signals ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn obey_signals(&mut self) {
        loop {
            match self.signals.next() {
                Ok(Some(signal)) => self.obey(signal),
                Ok(None) => return,
                Err(error) => return warn!("A signal was lost: {error}"),
            }
        }
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGHUP => self.fleet.replace(self.now),
            Signal::SIGUSR1 | Signal::SIGTTIN => self.fleet.add(self.now),
            Signal::SIGTTOU => self.fleet.remove(self.now),
            Signal::SIGUSR2 => self.try_out(),
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                self.accept_the_last();
                let (workers, waiting) = (self.fleet.workers.len(), self.fleet.waiting.len());
                self.listeners.clear();
                info!("{signal}: stopping with {workers} workers, {waiting} connections in the queue");
                self.fleet.stop(self.now);
            }
            _ => {}
        }
    }

    /// Waits for all processes that have ended: one SIGCHLD may stand for several.
    fn reap(&mut self) {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return warn!("waitpid: {errno}"),
            };
            let pid = pid.as_raw().unsigned_abs();
            if self.trial.as_ref().is_some_and(|trial| trial.pid == pid) {
                self.end_trial(&exit);
                continue;
            }
            let worker = self.fleet.workers.iter().find(|(_, worker)| worker.pid == pid).map(|(id, _)| *id);
            let Some(id) = worker else {
                debug!("Process {pid} {exit}");
                continue;
            };
            self.close_line(id);
            if let Some(directory) = &self.directory {
                // One that was killed has left it behind.
                let _ = std::fs::remove_file(directory.takeover_path(id));
            }
            self.fleet.exited(id, exit, self.now);
        }
    }

    // ── Another binary in place of this one ────────────────────────────────────────────────────────────────────────

    /// Runs the binary that is at our path by now, to see whether it understands what it would have to go on with.
    fn try_out(&mut self) {
        if let Some(Trial { pid, .. }) = &self.trial {
            return info!("The binary is being tried out already, as pid {pid}");
        }
        match Trial::begin(&self.own_path, &State::of(self), self.now) {
            Ok(trial) => {
                info!("Trying out {} as pid {}", self.own_path.display(), trial.pid);
                self.trial = Some(trial);
            }
            Err(error) => warn!("The binary is not replaced: {}: {error}", self.own_path.display()),
        }
    }

    fn end_trial(&mut self, exit: &Exit) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        if let Err(reason) = trial.judge(exit) {
            return warn!("The binary is not replaced: {reason}");
        }
        // What was decided and not done yet would be lost.
        for (_, id) in std::mem::take(&mut self.ended) {
            self.fleet.queue_ended(id, "it has closed it".to_owned(), self.now);
        }
        self.decide();
        info!("Executing {}", self.own_path.display());
        let state = State::of(self);
        let listeners = self.listeners.iter().map(|listener| listener.socket.as_fd());
        let connections = self.connections.values().map(|connection| connection.socket.as_fd());
        let lines = self.lines.values().map(Line::as_fd);
        let kept = self.surroundings.kept.iter().map(|(_, kept)| *kept);
        let descriptors: Vec<BorrowedFd<'_>> = listeners.chain(connections).chain(lines).chain(kept).collect();
        let error = resume::execute(&self.own_path, &state, &descriptors);
        warn!("The binary is not replaced: {}: {error}", self.own_path.display());
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        supply: config.supply,
        replace: config.replace,
        ready_timeout: config.ready_timeout,
        drain_timeout: config.drain_timeout,
    }
}

/// A pid that has not been waited for yet is nobody else's.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    if let Err(errno) = kill(Pid::from_raw(pid.cast_signed()), signal) {
        debug!("{signal} to pid {pid}: {errno}");
    }
}
