//! Starting a worker: from the command to a process that inherits what it is to have, and nothing else.
//!
//! Between the supervisor and the command there is a stage: this binary with [`STAGE`] as its first argument. It does
//! in safe code what has to be done inside the new process: closes what was not meant for it, sets umask, signals and
//! limits to what a program expects, and executes the command. So a worker is started without `unsafe`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use reactord_process::{inherited, words};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use signal_hook::consts::FORBIDDEN;

use crate::resume::{VARIABLES, own_path};

/// The first argument of the stage.
pub(crate) const STAGE: &str = "--launch-worker";

/// The exit code of the stage when the command cannot be executed, as of a shell.
const EXIT_NOT_EXECUTED: u8 = 127;

/// What most daemons run with: nobody else may write.
const UMASK: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// The first descriptor that is passed by the systemd convention (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;

/// Signals have numbers up to here (signal(7)).
const SIGNAL_MAX: i32 = 64;

/// The command that workers run. It is found anew for each of them: a link may lead to another release by now.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// With its own name first.
    pub(crate) arguments: Vec<OsString>,
    /// Where it runs, by the path that led there when the supervisor was started.
    pub(crate) workplace: PathBuf,
    /// The soft limit of open files that it is to have: that with which the supervisor was started.
    pub(crate) files_max: u64,
}

/// What a worker inherits.
#[derive(Debug)]
pub(crate) enum Inheritance<'s> {
    /// Its end of the queue.
    Queue(OwnedFd),
    /// The listening sockets with their names, where to say that it is ready, and on which signal it finishes.
    Listeners { sockets: Vec<BorrowedFd<'s>>, names: String, notify: PathBuf, finish_signal: Signal },
}

impl Program {
    /// A command that runs where this process does, with as many open files as this process may have.
    ///
    /// # Errors
    /// If it is not known where that is, or what is wrong with the command.
    pub(crate) fn here(command: &[OsString]) -> Result<Self, String> {
        let workplace = workplace().map_err(|error| format!("the current directory: {error}"))?;
        let files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let program = Self { arguments: command.to_vec(), workplace, files_max };
        program.find().map(|_| program)
    }

    /// Finds the command as a shell would.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn find(&self) -> Result<PathBuf, String> {
        let name = self.arguments.first().ok_or("no command is given after --")?;
        which::which_in(name, std::env::var_os("PATH"), &self.workplace)
            .map_err(|_| format!("the command {name:?}: {}", why_not_found(&self.workplace.join(name), name)))
    }

    /// Has a worker run where the path leads by now. A new generation is not to run in an old release because the new one is
    /// missing; one that is to replace a worker that died is better than none.
    fn enter(&self, stage: &mut Command, is_of_new_generation: bool) -> io::Result<()> {
        match std::fs::metadata(&self.workplace) {
            // It may be one that could not be entered by its path.
            Ok(workplace) if is_here(&workplace) => {}
            Ok(_) => {
                stage.current_dir(&self.workplace);
            }
            Err(error) if is_of_new_generation && error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(io::Error::other(format!("the directory {}: {error}", self.workplace.display())));
            }
            Err(error) => {
                let workplace = self.workplace.display();
                warn!("{workplace}: {error}; a worker runs in the directory that the supervisor was started in");
            }
        }
        Ok(())
    }

    /// Starts a worker, and returns its pid. The process is to be waited for with waitpid(2).
    pub(crate) fn launch(
        &self,
        inheritance: &Inheritance<'_>,
        variables: &[(&str, OsString)],
        is_of_new_generation: bool,
    ) -> io::Result<u32> {
        let path = self.find().map_err(io::Error::other)?;
        let (kind, inherited): (_, Vec<BorrowedFd<'_>>) = match inheritance {
            Inheritance::Queue(socket) => ("queue", vec![socket.as_fd()]),
            Inheritance::Listeners { sockets, .. } => ("listen", sockets.clone()),
        };
        let numbers: Vec<String> = inherited.iter().map(|descriptor| descriptor.as_raw_fd().to_string()).collect();
        let mut stage = Command::new(own_binary()?);
        stage.arg0("reactord").args([STAGE, kind, &numbers.join(",")]).arg(self.files_max.to_string());
        stage.arg(std::process::id().to_string()).arg(told_by(inheritance));
        stage.arg(path).args(&self.arguments).stdin(Stdio::null());
        self.enter(&mut stage, is_of_new_generation)?;
        // A terminal sends SIGINT and SIGQUIT to its whole foreground group, and workers are to finish what they have.
        stage.process_group(0);
        for variable in VARIABLES {
            stage.env_remove(variable);
        }
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
        {
            stage.env_remove(variable);
        }
        match inheritance {
            Inheritance::Queue(socket) => {
                stage.env(words::SOCKET_VARIABLE, socket.as_raw_fd().to_string());
            }
            Inheritance::Listeners { sockets, names, notify, .. } => {
                stage.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
                stage.env("NOTIFY_SOCKET", notify);
            }
        }
        stage.envs(variables.iter().map(|(name, value)| (name, value)));
        // This process has one thread, so nothing else is started meanwhile that would inherit them.
        set_inherited(&inherited, true)?;
        let spawned = stage.spawn();
        set_inherited(&inherited, false)?;
        // Its end comes as SIGCHLD, like that of workers that an earlier binary has started.
        spawned.map(|child| child.id())
    }
}

/// The binary that runs. Not by its path, where that can be helped: there may be another version by now.
pub(crate) fn own_binary() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { own_path() }
}

/// The directory of this process, by the path by which its user got there, if that is known: a link in it stays a link.
fn workplace() -> io::Result<PathBuf> {
    let told = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    match told.filter(|path| std::fs::metadata(path).is_ok_and(|workplace| is_here(&workplace))) {
        Some(path) => Ok(path),
        None => std::env::current_dir(),
    }
}

/// Whether this is the directory of this process.
fn is_here(directory: &std::fs::Metadata) -> bool {
    std::fs::metadata(".").is_ok_and(|here| (here.dev(), here.ino()) == (directory.dev(), directory.ino()))
}

/// What tells a worker that it is to finish, should its supervisor be killed.
fn told_by(inheritance: &Inheritance<'_>) -> &'static str {
    match inheritance {
        Inheritance::Queue(_) => "the end of its queue",
        Inheritance::Listeners { finish_signal, .. } => finish_signal.as_str(),
    }
}

fn why_not_found(path: &Path, name: &OsStr) -> String {
    match std::fs::metadata(path) {
        _ if !name.as_bytes().contains(&b'/') => "it is in no directory of PATH".to_owned(),
        Ok(metadata) if metadata.is_dir() => "it is a directory".to_owned(),
        Ok(_) => "it is a file that may not be executed".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn set_inherited(descriptors: &[BorrowedFd<'_>], inherited: bool) -> io::Result<()> {
    let flags = if inherited { FdFlags::empty() } else { FdFlags::CLOEXEC };
    for descriptor in descriptors {
        fcntl_setfd(descriptor, flags)?;
    }
    Ok(())
}

/// The stage: turns this process into the worker. It has to be called first thing when [`is_stage`] says so, and
/// returns the exit code of a process that could not become one.
#[must_use]
pub fn become_worker() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let Err(error) = execute(&arguments);
    // The supervisor's standard error; where it takes nothing, the exit code has to do.
    let _ = std::io::Write::write_all(&mut io::stderr(), format!("reactord: starting a worker: {error}\n").as_bytes());
    EXIT_NOT_EXECUTED
}

/// Whether this process is the stage between a supervisor and a worker.
#[must_use]
pub fn is_stage() -> bool {
    std::env::args_os().nth(1).as_deref() == Some(OsStr::new(STAGE))
}

fn execute(arguments: &[OsString]) -> Result<std::convert::Infallible, String> {
    let [kind, numbers, files_max, supervisor, told, path, name, arguments @ ..] = arguments else {
        return Err(format!("{STAGE} is not for users"));
    };
    let numbers = numbers.to_str().unwrap_or_default();
    let numbers: Result<Vec<RawFd>, _> = numbers.split(',').map(str::parse).collect();
    let numbers = numbers.map_err(|error| format!("{STAGE}: {error}"))?;
    let mut command = Command::new(path);
    command.arg0(name).args(arguments);
    let listeners = if kind == "listen" {
        command.env("LISTEN_PID", std::process::id().to_string());
        // It has no queue whose end would tell it.
        let told: Signal = told.to_str().and_then(|told| told.parse().ok()).ok_or("the signal to finish is none")?;
        nix::sys::prctl::set_pdeathsig(told).map_err(|errno| format!("a signal when the supervisor dies: {errno}"))?;
        // One that has died before does so no more.
        if *supervisor != *nix::unistd::getppid().to_string() {
            return Err("the supervisor is gone".to_owned());
        }
        place(&numbers).map_err(|error| format!("the listening sockets: {error}"))?
    } else {
        close_all_but(&numbers);
        Vec::new()
    };
    umask(UMASK);
    restore_signals().map_err(|error| format!("signals: {error}"))?;
    if let Some(files_max) = files_max.to_str().and_then(|files_max| files_max.parse().ok())
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        // It is lower than the present one, and that is always allowed.
        setrlimit(Resource::RLIMIT_NOFILE, files_max, hard).map_err(|errno| format!("the limit of files: {errno}"))?;
    }
    let error = command.exec();
    drop(listeners);
    Err(format!("{}: {error}", path.display()))
}

/// Closes everything that is not for the worker.
fn close_all_but(kept: &[RawFd]) {
    for number in inherited::open().into_iter().filter(|number| *number > 2 && !kept.contains(number)) {
        // The directory that was just listed is closed already.
        inherited::let_go(number);
    }
}

/// Moves the descriptors to where the systemd convention has them, and closes everything else.
fn place(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let above = LISTEN_FDS_START + RawFd::try_from(numbers.len()).unwrap_or(RawFd::MAX);
    let mut aside = Vec::new();
    for number in numbers {
        aside.push(fcntl_dupfd_cloexec(inherited::duplicate(*number)?, above)?);
    }
    let kept: Vec<RawFd> = aside.iter().map(AsRawFd::as_raw_fd).collect();
    close_all_but(&kept);
    // The lowest number that is free is the next one.
    let placed: io::Result<Vec<OwnedFd>> =
        aside.iter().map(|descriptor| Ok(fcntl_dupfd_cloexec(descriptor, LISTEN_FDS_START)?)).collect();
    let placed = placed?;
    placed.iter().try_for_each(|descriptor| fcntl_setfd(descriptor, FdFlags::empty()))?;
    Ok(placed)
}

/// Sets all signals to what they are by default. The ones that are blocked are told in one call; execve(2) sets to
/// their default those that have a handler, and not those that are ignored, so a handler is set for each of those. Not for
/// any other: the SIGTERM of a supervisor that wants this worker no more would be lost.
fn restore_signals() -> io::Result<()> {
    for signal in ignored_signals(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        // The C library keeps some for itself, and refuses them.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// The signals that a process ignores, as its status tells (proc(5)); all that can be, where it does not.
fn ignored_signals(status: &str) -> impl Iterator<Item = i32> {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let mask = mask.unwrap_or(u64::MAX);
    (1..=SIGNAL_MAX).filter(move |signal| mask & (1 << (signal - 1)) != 0).filter(|signal| !FORBIDDEN.contains(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signals_that_are_ignored_get_a_handler() {
        let status = "SigBlk:\t0000000000000004\nSigIgn:\t8000000000001005\nSigCgt:\tffffffffffffffff\n";
        assert_eq!(ignored_signals(status).collect::<Vec<i32>>(), [1, 3, 13, 64]);
        assert!(ignored_signals("SigIgn:\t0000000000000000\n").next().is_none());
    }

    #[test]
    fn where_it_is_not_known_what_is_ignored_all_get_one_that_may_have_one() {
        let all: Vec<i32> = ignored_signals("").collect();
        assert!(all.contains(&(Signal::SIGTERM as i32)) && all.contains(&SIGNAL_MAX));
        assert!(!all.contains(&(Signal::SIGKILL as i32)) && !all.contains(&(Signal::SIGSTOP as i32)));
    }
}
