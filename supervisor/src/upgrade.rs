//! An upgrade of the supervisor: another binary, or what is at its own path by now, is tried out, and then executed in its
//! place.
//!
//! ```text
//! begin ──▶ trial: it reads the state and its own ──▶ wait: nothing is under way that ──▶ execute: it goes on in
//!           command line                                would be torn apart                this process, and answers
//!               │                                           │                                  │
//!           it will not, fails, or is late              that takes too long                the kernel does not
//! ```
//!
//! Wherever it ends before, the supervisor goes on as it was, and whoever has asked hears why.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::UnixStream;
use mio::{Interest, Registry};
use reactord_process::asker::Asker;
use reactord_process::channel::Channel;
use reactord_process::inherited;
use reactord_process::requests::{self, Process, Upgraded, Upgrading};

use crate::fleet::Exit;
use crate::resume::{self, Objection, Replacement, Trial};
use crate::source::Source;
use crate::state::{AskerState, State};

/// How long a trial may take that a signal has asked for.
const TRIAL_PATIENCE: Duration = Duration::from_secs(10);

/// How long an upgrade may take, however much longer whoever asks would wait.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// It was the signal that asks for an upgrade.
pub(crate) const UPGRADE_SIGNAL: Asker = Asker::Signal("SIGUSR2");

/// The command of a supervisor, with which its arguments begin.
const COMMAND: &str = "supervise";

/// An upgrade that is under way.
#[derive(Debug)]
pub(crate) struct Upgrade {
    replacement: Replacement,
    asker: Asker,
    stage: Stage,
    /// When whoever waits for it has waited long enough.
    by: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// The binary is tried out.
    Trial { trial: Trial, by: Instant },
    /// It was, and will be executed.
    Tried,
}

/// What whoever asks for another one is told.
impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replacement, asker, stage, .. } = self;
        write!(f, "an upgrade is under way already, as {asker} has asked: {} ", replacement.path.display())?;
        match stage {
            Stage::Trial { trial, .. } => write!(f, "is being tried out as pid {}", trial.pid()),
            Stage::Tried => f.write_str("is to be executed"),
        }
    }
}

/// An upgrade that has come to nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) asker: Asker,
    pub(crate) objection: Objection,
}

impl Upgrade {
    /// Begins to try out what is asked for; `own_path` is where this binary was found.
    ///
    /// # Errors
    /// If it cannot be tried.
    pub(crate) fn begin(
        asker: Asker,
        request: &requests::Upgrade,
        own_path: &Path,
        state: &State,
        registry: &Registry,
        now: Instant,
    ) -> Result<Self, Failed> {
        let replacement = Replacement::asked_for(request, own_path);
        if replacement.arguments.first().is_none_or(|argument| argument != COMMAND) {
            return Err(Failed::refused(asker, format!("a supervisor's arguments begin with {COMMAND}")));
        }
        let begun = Trial::begin(&replacement, state).and_then(|mut trial| {
            registry.register(trial.source(), Source::Trial.into(), Interest::READABLE)?;
            Ok(trial)
        });
        let trial = match begun {
            Ok(trial) => trial,
            Err(error) => return Err(Failed::at_once(asker, format!("{}: {error}", replacement.path.display()))),
        };
        info!("Trying out {} as pid {}, as {asker} asks", replacement.path.display(), trial.pid());
        let by = match asker {
            Asker::Caller(..) => Some(now + Duration::from_millis(request.timeout_ms).min(TIMEOUT_MAX)),
            Asker::Signal(_) => None,
        };
        let stage_by = by.unwrap_or(now + TRIAL_PATIENCE);
        let mut upgrade = Self { replacement, asker, by, stage: Stage::Trial { trial, by: stage_by } };
        upgrade.tell_that_it_begins();
        Ok(upgrade)
    }

    fn tell_that_it_begins(&mut self) {
        if let Stage::Trial { trial, .. } = &self.stage {
            self.asker.tell(&Upgrading { pid: trial.pid(), copied: None, peers: 0 });
        }
    }

    /// Whether this process is its trial.
    pub(crate) fn is_tried_by(&self, pid: u32) -> bool {
        matches!(&self.stage, Stage::Trial { trial, .. } if trial.pid() == pid)
    }

    /// Hears what its trial says.
    pub(crate) fn hear(&mut self, registry: &Registry) {
        if let Stage::Trial { trial, .. } = &mut self.stage
            && !trial.hear()
            // So that it is told of the rest: epoll says only once that there is something.
            && let Err(error) = registry.reregister(trial.source(), Source::Trial.into(), Interest::READABLE)
        {
            debug!("What pid {} says is heard at its end: {error}", trial.pid());
        }
    }

    /// Its trial has ended.
    ///
    /// # Errors
    /// If the binary that was tried does not want to go on, or cannot.
    pub(crate) fn trial_ended(self, exit: &Exit) -> Result<Self, Failed> {
        let Stage::Trial { trial, .. } = self.stage else { return Ok(self) };
        match trial.judge(exit) {
            Ok(()) => Ok(Self { stage: Stage::Tried, ..self }),
            Err(objection) => Err(Failed { asker: self.asker, objection }),
        }
    }

    /// Whether its binary was tried out and found able.
    pub(crate) fn is_tried(&self) -> bool {
        matches!(self.stage, Stage::Tried)
    }

    /// What is executed then.
    pub(crate) fn path(&self) -> &Path {
        &self.replacement.path
    }

    /// When it has taken too long.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Trial { by, .. } => Some(by),
            Stage::Tried => self.by,
        }
    }

    /// It has taken too long: what is under way has not ended before, as `waited_for` says.
    pub(crate) fn give_up(self, waited_for: &str) -> Failed {
        let why = match self.stage {
            Stage::Trial { ref trial, .. } => format!("its trial, pid {}, took too long, and was killed", trial.pid()),
            Stage::Tried => format!("it was to be executed when {waited_for}, which has taken too long"),
        };
        self.abandon(why)
    }

    /// It comes to nothing for this reason.
    pub(crate) fn abandon(self, why: String) -> Failed {
        let said = match self.stage {
            Stage::Trial { trial, .. } => trial.kill(),
            Stage::Tried => String::new(),
        };
        Failed { asker: self.asker, objection: Objection { why, is_refused: false, said } }
    }

    /// Becomes the binary that was tried out, which is to know this, and answers. Returns only if that cannot be.
    pub(crate) fn execute(self, state: State, descriptors: Vec<BorrowedFd<'_>>) -> Failed {
        let Self { replacement, asker, .. } = self;
        let error = {
            let socket = match &asker {
                Asker::Caller(channel, pid) => Some((channel.as_fd(), *pid)),
                Asker::Signal(_) => None,
            };
            let asked = socket.map(|(socket, pid)| AskerState { descriptor: socket.as_raw_fd(), pid });
            let state = State { asker: asked, ..state };
            let descriptors: Vec<_> = descriptors.into_iter().chain(socket.map(|(socket, _)| socket)).collect();
            resume::execute(&replacement, &state, &descriptors)
        };
        Failed::at_once(asker, format!("{}: {error}", replacement.path.display()))
    }
}

/// Whoever has asked the binary before this one.
///
/// # Errors
/// If the descriptor by which it is answered is not there.
fn adopt(AskerState { descriptor, pid }: AskerState) -> std::io::Result<Asker> {
    let socket = std::os::unix::net::UnixStream::from(inherited::take(descriptor)?);
    socket.set_nonblocking(true)?;
    let channel = Channel::of_predecessor(UnixStream::from_std(socket)).map_err(std::io::Error::other)?;
    Ok(Asker::Caller(Box::new(channel), pid))
}

/// What is left of the binary that this process has executed before, besides what it goes on with.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) build: String,
    pub(crate) asker: Option<Asker>,
    /// How many workers its command line has asked for.
    pub(crate) workers: Option<u64>,
}

impl Before {
    /// Takes it out of what that has left.
    pub(crate) fn take(state: &mut State) -> Self {
        let asker = state.asker.take().and_then(|asker| {
            // Whoever waits for the answer sees the end of its channel then.
            adopt(asker).inspect_err(|error| warn!("Pid {} is not answered: {error}", asker.pid)).ok()
        });
        let build = state.build.take().unwrap_or_else(|| "an earlier version".to_owned());
        Self { build, asker, workers: state.workers }
    }
}

impl Failed {
    /// What is asked for will not be.
    pub(crate) fn refused(asker: Asker, why: String) -> Self {
        Self { asker, objection: Objection { why, is_refused: true, said: String::new() } }
    }

    fn at_once(asker: Asker, why: String) -> Self {
        Self { asker, objection: Objection { why, is_refused: false, said: String::new() } }
    }

    /// Tells whoever has asked, and that this process goes on.
    pub(crate) fn answer(self, process: Process) {
        let Self { asker, objection: Objection { why, is_refused, said } } = self;
        asker.answer(&Upgraded { predecessor: process, why: Some(why), is_refused, said, ..Upgraded::default() });
    }
}
