//! Replacing the supervisor's binary in place: the same process executes it anew (SIGUSR2).
//!
//! What the process has goes along as it is: descriptors that are not close-on-exec, children, blocked signals. What
//! the binary knows (`state`) is written into a file in memory, whose number is in the environment. Before that, the
//! new binary is run once as a child that only reads such a file and says by its exit code whether it understands it;
//! so one that does not start, or hangs, leaves the running one as it was.
//!
//! The ports and the number of workers are what they were; all else is as the command line says, which is the same.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reactord_process::inherited;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::children::send_signal;
use crate::error::Error;
use crate::fleet::Exit;
use crate::state::State;

/// The environment variables with the number of the file: to go on with it, or only to say whether it is understood.
const RESUME: &str = "REACTORD_RESUME";
const TRIAL: &str = "REACTORD_RESUME_TRIAL";

/// What is not for workers.
pub(crate) const VARIABLES: [&str; 2] = [RESUME, TRIAL];

/// The exit code of a binary that understands the state. No other program is likely to exit with it.
pub(crate) const EXIT_UNDERSTOOD: u8 = 113;

/// How long a trial may take.
const TRIAL_PATIENCE: Duration = Duration::from_secs(10);

/// What this process was before it executed the binary that runs now.
#[derive(Debug)]
pub(crate) struct Resumption {
    state: Box<State>,
}

/// How a supervisor is begun.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// From nothing.
    Fresh,
    /// By going on with what an earlier binary had.
    Resumed(Resumption),
    /// Not at all: the state is understood, and that is all that was asked. Exit with [`EXIT_UNDERSTOOD`].
    Trial,
}

/// Whether this process has, or reads, what an earlier binary had, as the environment says.
pub(crate) fn goes_on() -> bool {
    VARIABLES.iter().any(|variable| std::env::var_os(variable).is_some())
}

/// Whether this process was a supervisor already, as the environment says.
///
/// # Errors
/// If the state that it left is not understood.
pub(crate) fn beginning() -> Result<Beginning, Error> {
    let read = |number: OsString| {
        let number: RawFd = number.to_str().and_then(|number| number.parse().ok()).ok_or("it has no number")?;
        let file = inherited::take(number).map_err(|error| error.to_string())?;
        State::read(file.into()).map_err(|error| error.to_string())
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
    pub(crate) fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        self.state.take_kept(name)
    }

    pub(crate) fn into_state(self) -> State {
        *self.state
    }
}

/// The binary that is executed, as the one that runs was found: by its name, so that what is there now counts.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    let name = std::env::args_os().next().unwrap_or_default();
    let found = std::env::current_dir()
        .ok()
        .and_then(|directory| which::which_in(&name, std::env::var_os("PATH"), directory).ok());
    found.map_or_else(std::env::current_exe, Ok)
}

/// A binary that is tried out: a child that only says whether it understands what it would have to go on with.
pub(crate) struct Trial {
    pub(crate) pid: u32,
    deadline: Instant,
}

impl Trial {
    /// Tries the binary at `path` with `state`.
    pub(crate) fn begin(path: &Path, state: &State, now: Instant) -> io::Result<Self> {
        let file = state.write()?;
        let mut trial = Command::new(path);
        trial.arg0(path).args(std::env::args_os().skip(1)).stdin(Stdio::null());
        trial.env_remove(RESUME).env(TRIAL, file.as_raw_fd().to_string());
        let pid = trial.spawn()?.id();
        Ok(Self { pid, deadline: now + TRIAL_PATIENCE })
    }

    /// When it has taken too long.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What it has shown by its end.
    ///
    /// # Errors
    /// Why its binary is not to be executed.
    pub(crate) fn judge(&self, exit: &Exit) -> Result<(), String> {
        if *exit == Exit::Code(i32::from(EXIT_UNDERSTOOD)) {
            return Ok(());
        }
        Err(format!("its trial, pid {}, {exit}", self.pid))
    }

    /// Ends one that takes too long, and says so.
    pub(crate) fn give_up(self) -> String {
        send_signal(self.pid, Signal::SIGKILL);
        format!("its trial, pid {}, took over {} ms", self.pid, TRIAL_PATIENCE.as_millis())
    }
}

/// Becomes the binary at `path`. Returns only if it cannot be executed.
pub(crate) fn execute(path: &Path, state: &State, descriptors: &[BorrowedFd<'_>]) -> io::Error {
    let executed = || {
        let file = state.write()?;
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
