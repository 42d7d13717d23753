//! `reactord supervise` as a process among others: its way into the background, its pid file, where its lines go, and
//! who is told that it serves.

mod detach;
mod pid_file;

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use log::{info, warn};
use nix::sys::signal::{Signal, raise};
use reactord_cli::log_file::LogFile;
use reactord_cli::logger::{self, Destination};
use reactord_cli::service_manager::{ServiceManager, Word};
use reactord_cli::system_log::SystemLog;

use crate::config::Config;
use crate::launch::own_binary;
use crate::not_serving::NotServing;
use crate::resume::{Beginning, Resumption, beginning};
use crate::signals::Signals;
use crate::supervisor::{Surroundings, supervise};
use detach::Background;
use pid_file::PidFile;

/// The exit code of a supervisor that was stopped, and of a launching command whose supervisor serves.
const EXIT_SERVED: u8 = 0;

/// What this program is called in the system log.
const PROGRAM: &str = "reactord";

/// The option with which the launching command starts this binary once more. It is for nobody else.
const BACKGROUND: &str = "--background";

/// How much longer than for its workers the launching command waits for the supervisor.
const LAUNCH_GRACE: Duration = Duration::from_secs(5);

/// The name of the pid file's descriptor, for a binary that is executed in place of this one.
const PID_FILE: &str = "pid-file";

/// A supervisor, and how it runs as a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pub(crate) config: Config,
    /// To go into the background when it serves.
    pub(crate) detach: bool,
    /// To be the process in the background.
    pub(crate) background: bool,
    /// Where to write the pid, and to lock it.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where lines go from the background, if not to the system log.
    pub(crate) log_file: Option<PathBuf>,
}

impl Daemon {
    /// Supervises until it is stopped, and tells the launching command if it cannot. Returns the exit code to leave
    /// with. The process must have one thread; `build` is the name and version of its program.
    ///
    /// # Errors
    /// If it cannot supervise, or in the launching command, if the supervisor in the background cannot.
    pub fn run(&self, build: &str) -> Result<u8, NotServing> {
        let resumption = match beginning()? {
            Beginning::Trial(examination) => return Ok(examination.answer(&self.config.fixed)?),
            Beginning::Fresh if self.detach && !self.background => return launch(&self.config),
            Beginning::Fresh => None,
            Beginning::Resumed(resumption) => Some(resumption),
        };
        let enters = self.background && resumption.is_none();
        let launching_command = Cell::new(if enters { Some(Background::enter().map_err(detaching)?) } else { None });
        let signals = Signals::watch().map_err(|error| NotServing::new(format!("signals: {error}")))?;
        let supervised = self.move_log(resumption.is_some());
        let supervised = supervised.and_then(|()| self.supervise(build, resumption, signals, &launching_command));
        if let (Err(failure), Some(launching_command)) = (&supervised, launching_command.take()) {
            // If it has gone away, the log and the exit code have to do.
            let _ = launching_command.does_not_serve(&failure.reason);
        }
        supervised.map(|()| EXIT_SERVED)
    }

    /// Has lines written where they belong, once there is no terminal.
    fn move_log(&self, is_resumed: bool) -> Result<(), NotServing> {
        // What was executed in the background is there still, whatever its arguments say of how to get there.
        let is_in_background = self.background || (self.detach && is_resumed);
        if !is_in_background {
            return Ok(());
        }
        match self.destination() {
            Ok(destination) => logger::move_to(destination),
            // It has served before, and standard error leads where it did then.
            Err(reason) if is_resumed => warn!("{reason}"),
            Err(reason) => return Err(NotServing::new(reason)),
        }
        Ok(())
    }

    fn destination(&self) -> Result<Destination, String> {
        let Some(path) = &self.log_file else {
            let log = SystemLog::connect(PROGRAM);
            return log.map(Destination::SystemLog).map_err(|error| format!("{error}; choose a file with --log-file"));
        };
        let opened = LogFile::open(path).and_then(|log_file| log_file.lead_streams().map(|()| log_file));
        opened.map(Destination::File).map_err(|error| format!("log file {}: {error}", path.display()))
    }

    fn supervise(
        &self,
        build: &str,
        mut resumption: Option<Resumption>,
        signals: Signals,
        launching_command: &Cell<Option<Background>>,
    ) -> Result<(), NotServing> {
        if resumption.is_none() {
            info!("{build}, pid {}", std::process::id());
        }
        let pid_file = self.pid_file(resumption.as_mut())?;
        let manager = ServiceManager::from_environment();
        let manager = manager.as_ref();
        let surroundings = Surroundings {
            build,
            is_awaited: self.background && resumption.is_none(),
            serving: Some(Box::new(move || tell_that_it_serves(manager, launching_command.take()))),
            manager,
            kept: pid_file.iter().map(|pid_file| (PID_FILE, pid_file.as_fd())).collect(),
        };
        Ok(supervise(&self.config, resumption, signals, surroundings)?)
    }

    fn pid_file(&self, resumption: Option<&mut Resumption>) -> Result<Option<PidFile>, NotServing> {
        let Some(path) = &self.pid_file else { return Ok(None) };
        let is_resumed = resumption.is_some();
        let pid_file = match resumption.and_then(|resumption| resumption.take_kept(PID_FILE)) {
            Some(file) => PidFile::adopt(path, file),
            None => PidFile::claim(path),
        };
        match pid_file {
            Ok(pid_file) => Ok(Some(pid_file)),
            // The connections that it has are worth more than the file.
            Err(error) if is_resumed => {
                warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(NotServing::new(error.to_string())),
        }
    }
}

/// Starts this binary once more, to be the one in the background.
fn launch(config: &Config) -> Result<u8, NotServing> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(own_binary().map_err(detaching)?);
    command.arg0(arguments.next().unwrap_or_else(|| PROGRAM.into()));
    // What follows the first of them belongs to the worker.
    let mut is_inserted = false;
    for argument in arguments {
        if !is_inserted && argument == "--" {
            command.arg(BACKGROUND);
            is_inserted = true;
        }
        command.arg(argument);
    }
    detach::launch(&mut command, config.ready_timeout.saturating_add(LAUNCH_GRACE))?;
    Ok(EXIT_SERVED)
}

fn detaching(error: io::Error) -> NotServing {
    NotServing::new(format!("detaching: {error}"))
}

/// Tells the service manager, if one has asked for it, and the launching command, if there is one.
fn tell_that_it_serves(manager: Option<&ServiceManager>, launching_command: Option<Background>) {
    manager.into_iter().for_each(|manager| manager.tell(&[Word::Ready]));
    if let Some(Err(error)) = launching_command.map(Background::serves) {
        warn!("The launching command has not waited, so its supervisor stops: {error}");
        raise(Signal::SIGTERM).expect("a process may signal itself");
    }
}
