//! Replacing the supervisor's binary in place: the same process executes it anew (SIGUSR2).
//!
//! What the process has goes along as it is: descriptors that are not close-on-exec, children, blocked signals. What
//! the binary knows is written into a file in memory, whose number is in the environment. Before that, the new binary
//! is run once as a child that only reads such a file and says by its exit code whether it understands it; so one that
//! does not start, or hangs, leaves the running one as it was.
//!
//! The ports and the number of workers are what they were; all else is as the command line says, which is the same.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use rustix::io::{FdFlags, fcntl_setfd};

use super::Error;
use super::fleet::{BackOff, Crew, Fleet, Rules, Standing, Worker, WorkerId};
use crate::inherited;
use crate::queue::ConnectionId;

/// The version of [`State`]. A binary that reads another one refuses.
const VERSION: u32 = 1;

/// The environment variables with the number of the file: to go on with it, or only to say whether it is understood.
const RESUME: &str = "REACTORD_RESUME";
const TRIAL: &str = "REACTORD_RESUME_TRIAL";

/// What is not for workers.
pub(crate) const VARIABLES: [&str; 2] = [RESUME, TRIAL];

/// The exit code of a binary that understands the state. No other program is likely to exit with it.
pub const EXIT_UNDERSTOOD: u8 = 113;

/// How long a trial may take.
pub(crate) const TRIAL_PATIENCE: Duration = Duration::from_secs(10);

/// What a supervisor knows. Descriptors are numbers, times are milliseconds from now, and negative in the past.
#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct State {
    #[n(0)]
    pub(crate) version: u32,
    #[n(1)]
    pub(crate) listeners: Vec<RawFd>,
    #[n(2)]
    pub(crate) connections: Vec<ConnectionState>,
    #[n(3)]
    pub(crate) next_connection: u64,
    #[n(4)]
    pub(crate) links: Vec<LinkState>,
    #[n(5)]
    pub(crate) fleet: FleetState,
    #[n(6)]
    pub(crate) directory: Option<String>,
    #[n(7)]
    pub(crate) kept: Vec<(String, RawFd)>,
    #[n(8)]
    pub(crate) complete: bool,
    #[n(9)]
    pub(crate) files_max: u64,
    /// Where the command was.
    #[n(10)]
    pub(crate) program: String,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ConnectionState {
    #[n(0)]
    pub(crate) id: u64,
    #[n(1)]
    pub(crate) descriptor: RawFd,
    #[n(2)]
    pub(crate) peer: String,
    #[n(3)]
    pub(crate) local: String,
}

/// What a worker is spoken to by.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkState {
    #[n(0)]
    pub(crate) worker: u64,
    #[n(1)]
    pub(crate) queue: Option<RawFd>,
    #[n(2)]
    pub(crate) notify: Option<RawFd>,
    /// Packets that the socket has not taken yet.
    #[n(3)]
    pub(crate) unsent: Vec<String>,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FleetState {
    #[n(0)]
    target: u64,
    #[n(1)]
    workers: Vec<WorkerState>,
    #[n(2)]
    next_worker: u64,
    #[n(3)]
    current: u64,
    #[n(4)]
    coming: Option<u64>,
    #[n(5)]
    again: bool,
    #[n(6)]
    failures: u32,
    #[n(7)]
    failed_at_ms: Option<i64>,
    #[n(8)]
    waiting: Vec<u64>,
    #[n(9)]
    asking: Vec<u64>,
    #[n(10)]
    stop_by_ms: Option<i64>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct WorkerState {
    #[n(0)]
    id: u64,
    #[n(1)]
    pid: u32,
    #[n(2)]
    generation: u64,
    #[n(3)]
    coming: bool,
    #[n(4)]
    standing: StandingState,
    #[n(5)]
    started_ms: i64,
    #[n(6)]
    said_ready: bool,
    #[n(7)]
    credits: u64,
    #[n(8)]
    under_way: Vec<u64>,
    #[n(9)]
    held: u64,
    #[n(10)]
    predecessor: Option<u64>,
}

#[derive(Debug, Encode, Decode)]
enum StandingState {
    #[n(0)]
    Starting {
        #[n(0)]
        deadline_ms: i64,
    },
    #[n(1)]
    Ready,
    #[n(2)]
    Serving {
        #[n(0)]
        since_ms: i64,
    },
    #[n(3)]
    Leaving {
        #[n(0)]
        due_ms: Option<i64>,
        #[n(1)]
        kill: bool,
    },
}

/// What this process was before it executed the binary that runs now.
#[derive(Debug)]
pub struct Resumption {
    state: Box<State>,
}

/// How a supervisor is begun.
#[derive(Debug)]
pub enum Beginning {
    /// From nothing.
    Fresh,
    /// By going on with what an earlier binary had.
    Resumed(Resumption),
    /// Not at all: the state is understood, and that is all that was asked. Exit with [`EXIT_UNDERSTOOD`].
    Trial,
}

/// Whether this process was a supervisor already, as the environment says.
///
/// # Errors
/// If the state that it left is not understood.
pub fn beginning() -> Result<Beginning, Error> {
    let read = |number: OsString| {
        let number: RawFd = number.to_str().and_then(|number| number.parse().ok()).ok_or("it has no number")?;
        let file = inherited::duplicate(number).map_err(|error| error.to_string())?;
        inherited::let_go(number);
        read(file.into()).map_err(|error| error.to_string())
    };
    let in_context = |error: String| Error::State(error);
    if let Some(number) = std::env::var_os(TRIAL) {
        read(number).map_err(in_context)?;
        return Ok(Beginning::Trial);
    }
    match std::env::var_os(RESUME) {
        Some(number) => Ok(Beginning::Resumed(Resumption { state: Box::new(read(number).map_err(in_context)?) })),
        None => Ok(Beginning::Fresh),
    }
}

impl Resumption {
    /// A descriptor that was kept under this name.
    pub fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        let place = self.state.kept.iter().position(|(kept, _)| kept == name)?;
        let (_, number) = self.state.kept.remove(place);
        adopt(number).ok()
    }

    pub(crate) fn into_state(self) -> State {
        *self.state
    }
}

/// An owned descriptor in place of one that came through execve(2).
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let adopted = inherited::duplicate(number)?;
    inherited::let_go(number);
    Ok(adopted)
}

/// The binary that is executed, as the one that runs was found: by its name, so that what is there now counts.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    let name = std::env::args_os().next().unwrap_or_default();
    let found = std::env::current_dir()
        .ok()
        .and_then(|directory| which::which_in(&name, std::env::var_os("PATH"), directory).ok());
    found.map_or_else(std::env::current_exe, Ok)
}

/// Runs the binary at `path` as a child that only says whether it understands `state`. Returns its pid.
pub(crate) fn try_out(path: &Path, state: &State) -> io::Result<u32> {
    let file = write(state)?;
    let mut trial = Command::new(path);
    trial.arg0(path).args(std::env::args_os().skip(1)).stdin(Stdio::null());
    trial.env_remove(RESUME).env(TRIAL, file.as_raw_fd().to_string());
    let spawned = trial.spawn();
    spawned.map(|child| child.id())
}

/// Becomes the binary at `path`. Returns only if it cannot be executed.
pub(crate) fn execute(path: &Path, state: &State, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Error {
    let executed = || {
        let file = write(state)?;
        let text = |text: &[u8]| CString::new(text).map_err(io::Error::other);
        let arguments: io::Result<Vec<CString>> = std::iter::once(path.as_os_str().to_owned())
            .chain(std::env::args_os().skip(1))
            .map(|argument| text(argument.as_bytes()))
            .collect();
        let variables: io::Result<Vec<CString>> = std::env::vars_os()
            .filter(|(name, _)| !VARIABLES.iter().any(|variable| name == variable))
            .chain([(RESUME.into(), file.as_raw_fd().to_string().into())])
            .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let (arguments, variables) = (arguments?, variables?);
        for descriptor in descriptors {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        // Not with std, which changes the dispositions of signals even if it fails.
        match nix::unistd::execve(&text(path.as_os_str().as_bytes())?, &arguments, &variables) {
            Err(errno) => Err(io::Error::from(errno)),
            Ok(never) => match never {},
        }
    };
    let Err::<std::convert::Infallible, io::Error>(error) = executed();
    for descriptor in descriptors {
        // It was possible a moment ago.
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
    error
}

fn write(state: &State) -> io::Result<File> {
    let mut file = File::from(memfd_create("reactord-supervisor", MFdFlags::empty())?);
    file.write_all(&minicbor::to_vec(state).map_err(io::Error::other)?)?;
    file.rewind()?;
    Ok(file)
}

fn read(mut file: File) -> io::Result<State> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let state: State = minicbor::decode(&bytes).map_err(io::Error::other)?;
    if state.version != VERSION {
        return Err(io::Error::other(format!("it has version {}, {VERSION} is understood", state.version)));
    }
    Ok(state)
}

impl State {
    pub(crate) fn new(fleet: FleetState) -> Self {
        Self { version: VERSION, fleet, ..Self::default() }
    }
}

fn milliseconds_to(instant: Instant, now: Instant) -> i64 {
    let ahead = i64::try_from(instant.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.saturating_duration_since(instant).as_millis()).unwrap_or(i64::MAX);
    ahead - behind
}

fn instant_at(milliseconds: i64, now: Instant) -> Instant {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    let instant = if milliseconds < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
    instant.unwrap_or(now)
}

fn worker_state(id: WorkerId, worker: &Worker, now: Instant) -> WorkerState {
    let from_now = |instant| milliseconds_to(instant, now);
    WorkerState {
        id: id.0,
        pid: worker.pid,
        generation: worker.generation,
        coming: worker.crew == Crew::Coming,
        standing: match worker.standing {
            Standing::Starting { deadline } => StandingState::Starting { deadline_ms: from_now(deadline) },
            Standing::Ready => StandingState::Ready,
            Standing::Serving { since } => StandingState::Serving { since_ms: from_now(since) },
            Standing::Leaving { signal } => StandingState::Leaving {
                due_ms: signal.map(|(due, _)| from_now(due)),
                kill: matches!(signal, Some((_, Signal::SIGKILL))),
            },
        },
        started_ms: from_now(worker.started),
        said_ready: worker.said_ready,
        credits: worker.credits,
        under_way: worker.under_way.iter().map(|id| id.number()).collect(),
        held: worker.held,
        predecessor: worker.predecessor.map(|id| id.0),
    }
}

impl FleetState {
    /// What `fleet` knows.
    pub(crate) fn of(fleet: &Fleet, now: Instant) -> Self {
        Self {
            target: fleet.target as u64,
            workers: fleet.workers.iter().map(|(id, worker)| worker_state(*id, worker, now)).collect(),
            next_worker: fleet.next_worker.0,
            current: fleet.current,
            coming: fleet.coming,
            again: fleet.again,
            failures: fleet.back_off.failures,
            failed_at_ms: fleet.back_off.failed_at.map(|failed_at| milliseconds_to(failed_at, now)),
            waiting: fleet.waiting.iter().map(|id| id.number()).collect(),
            asking: fleet.asking.iter().map(|id| id.0).collect(),
            stop_by_ms: fleet.stop_by.map(|stop_by| milliseconds_to(stop_by, now)),
        }
    }

    /// The fleet that it was.
    pub(crate) fn into_fleet(self, rules: Rules, now: Instant) -> Fleet {
        let at = |milliseconds| instant_at(milliseconds, now);
        let ids = |numbers: Vec<u64>| numbers.into_iter().filter_map(ConnectionId::from_number);
        let mut fleet = Fleet::new(rules, usize::try_from(self.target).unwrap_or(1).max(1));
        fleet.workers = self
            .workers
            .into_iter()
            .map(|state| {
                let standing = match state.standing {
                    StandingState::Starting { deadline_ms } => Standing::Starting { deadline: at(deadline_ms) },
                    StandingState::Ready => Standing::Ready,
                    StandingState::Serving { since_ms } => Standing::Serving { since: at(since_ms) },
                    StandingState::Leaving { due_ms, kill } => {
                        let signal = if kill { Signal::SIGKILL } else { Signal::SIGTERM };
                        Standing::Leaving { signal: due_ms.map(|due_ms| (at(due_ms), signal)) }
                    }
                };
                let worker = Worker {
                    pid: state.pid,
                    generation: state.generation,
                    crew: if state.coming { Crew::Coming } else { Crew::Current },
                    standing,
                    started: at(state.started_ms),
                    said_ready: state.said_ready,
                    credits: state.credits,
                    under_way: ids(state.under_way).collect(),
                    held: state.held,
                    predecessor: state.predecessor.map(WorkerId),
                };
                (WorkerId(state.id), worker)
            })
            .collect();
        fleet.next_worker = WorkerId(self.next_worker);
        (fleet.current, fleet.coming, fleet.again) = (self.current, self.coming, self.again);
        fleet.back_off = BackOff { failures: self.failures, failed_at: self.failed_at_ms.map(at) };
        fleet.waiting = ids(self.waiting).collect();
        fleet.asking = self.asking.into_iter().map(WorkerId).filter(|id| fleet.workers.contains_key(id)).collect();
        fleet.stop_by = self.stop_by_ms.map(at);
        fleet
    }
}
