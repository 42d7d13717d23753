//! What a server program does when it has handed over: it exits, or it stays without serving.
//!
//! Process 1 of a PID namespace stays in any case while its successor is in there, since with its end the kernel kills
//! everybody else (pid_namespaces(7)). It reaps whose parents have gone, passes signals on to whoever serves, and exits when
//! nobody does any more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{info, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

use super::reaper::Reaper;
use crate::dispositions::Dispositions;
use crate::sources::is_beginning;
use crate::{Outcome, Status};

/// What process 1 passes on to whoever serves; in any other, the first two end the waiting.
const PASSED_ON: [Signal; 5] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
const STOPPING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// What to add to the number of the signal that killed a process, as a shell does.
const KILLED: i32 = 128;

/// What is to be done after a successor has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// To exit with this code.
    Exit(u8),
    /// To stay until a signal asks this process to stop, so that nobody starts the next one.
    Wait,
}

impl Afterwards {
    /// What an option says: `exit`, `wait`, or a code to exit with.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "exit" => Ok(Self::Exit(0)),
            "wait" => Ok(Self::Wait),
            code => code
                .parse()
                .map(Self::Exit)
                .map_err(|_| "exit, wait or an exit code of 0 to 255 is expected".to_owned()),
        }
    }

    /// Gets ready to stay, where it may come to that: who answers on `path` is looked for then. A signal to stop that comes
    /// while this process still serves counts, and one that comes before it does ends it.
    ///
    /// # Errors
    /// If signals cannot be watched.
    pub fn prepare(self, path: PathBuf) -> io::Result<Prepared> {
        let is_first = std::process::id() == 1;
        let watched: &[Signal] = match self {
            _ if is_first => &PASSED_ON,
            Self::Wait => &STOPPING,
            Self::Exit(_) => &[],
        };
        let signals = if watched.is_empty() {
            None
        } else {
            // Before the others, which would have such a signal do nothing.
            stop_while_beginning()?;
            let numbers = watched.iter().chain(&[Signal::SIGCHLD]).map(|signal| *signal as i32);
            Some(Signals::new(numbers)?)
        };
        let reaper = is_first.then(Reaper::begin).transpose()?;
        Ok(Prepared { afterwards: self, reaper, path, signals })
    }
}

/// Has a signal that asks to stop end this process as long as no server obeys it yet, with the exit code that a shell tells of one that such
/// a signal has killed: that is what it does otherwise. One that is ignored stays ignored.
fn stop_while_beginning() -> io::Result<()> {
    let dispositions = Dispositions::now();
    for number in STOPPING.map(|signal| signal as i32).into_iter().filter(|number| !dispositions.is_ignored(*number)) {
        register_conditional_shutdown(number, KILLED + number, is_beginning())?;
    }
    Ok(())
}

/// A process that serves, and knows what it will do when it has handed over.
#[derive(Debug)]
pub struct Prepared {
    afterwards: Afterwards,
    /// Of process 1.
    reaper: Option<Reaper>,
    /// Where a server in place of this one answers.
    path: PathBuf,
    signals: Option<Signals>,
}

impl Prepared {
    /// Does it, and returns the exit code.
    #[must_use]
    pub fn end(self, outcome: Outcome) -> u8 {
        let Outcome::HandedOver { pid } = outcome else { return 0 };
        let Self { afterwards, reaper, path, signals } = self;
        let is_first = reaper.is_some();
        // From here on all children are waited for, in order to know how they have ended.
        drop(reaper);
        let Some(mut signals) = signals else { return afterwards.exit_code() };
        // What was no signal to stop meant this process while it served.
        let pending: Vec<Signal> = signals.pending().filter_map(|number| Signal::try_from(number).ok()).collect();
        let stops: Vec<Signal> = pending.into_iter().filter(|signal| STOPPING.contains(signal)).collect();
        if is_first && let Some(serving) = Serving::find(pid, &path) {
            return stand_in(&mut signals, &stops, serving, &path);
        }
        match afterwards {
            Afterwards::Exit(code) => code,
            Afterwards::Wait if stops.is_empty() => wait(&mut signals),
            Afterwards::Wait => 0,
        }
    }
}

impl Afterwards {
    fn exit_code(self) -> u8 {
        if let Self::Exit(code) = self { code } else { 0 }
    }
}

/// Who serves in the same PID namespace.
struct Serving {
    pid: Pid,
    process: Arc<OwnedFd>,
}

impl Serving {
    /// The successor, or whoever has taken over from it in the meantime. None if it is in another namespace.
    fn find(successor_pid: u32, path: &Path) -> Option<Self> {
        Self::watch(successor_pid).or_else(|| Self::who_answers(path))
    }

    fn who_answers(path: &Path) -> Option<Self> {
        Self::watch(Status::of(path).ok()?.pid)
    }

    /// Has this process hear of its end like of a child's, which it need not be: it may have been started from outside.
    fn watch(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1)?;
        let descriptor = pidfd_open(rustix::process::Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let process = Arc::new(descriptor);
        let watched = process.clone();
        std::thread::spawn(move || tell_of_end(&watched));
        Some(Self { pid: Pid::from_raw(pid), process })
    }

    fn is_there(&self) -> bool {
        // Whoever has started it from outside may not have reaped it yet, so its number says nothing.
        !has_ended(&self.process, PollTimeout::ZERO)
    }
}

/// Sends this process SIGCHLD when the other one has ended.
fn tell_of_end(descriptor: &OwnedFd) {
    while !has_ended(descriptor, PollTimeout::NONE) {}
    kill(Pid::this(), Signal::SIGCHLD).expect("a process may signal itself");
}

fn has_ended(process: &OwnedFd, patience: PollTimeout) -> bool {
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], patience).is_ok_and(|ended| ended > 0)
}

/// Process 1 in the place of one that only looks after the others.
fn stand_in(signals: &mut Signals, stops: &[Signal], serving: Serving, path: &Path) -> u8 {
    info!("Process 1 stays while pid {} serves in its namespace, and passes signals on to it", serving.pid);
    stops.iter().for_each(|signal| pass_on(*signal, &serving));
    let (mut serving, mut code) = (serving, 0);
    loop {
        for (pid, ended_with) in reap() {
            if pid == serving.pid {
                code = ended_with;
            }
        }
        if !serving.is_there() {
            match Serving::who_answers(path) {
                Some(next) => serving = next,
                None => break,
            }
            info!("Process 1 stays while pid {} serves in its namespace", serving.pid);
        }
        for signal in signals.wait().filter_map(|number| Signal::try_from(number).ok()) {
            if signal != Signal::SIGCHLD {
                pass_on(signal, &serving);
            }
        }
    }
    info!("Pid {} has ended with code {code}, and nobody serves any more", serving.pid);
    code
}

fn pass_on(signal: Signal, serving: &Serving) {
    if let Err(errno) = kill(serving.pid, signal) {
        warn!("{signal} is not passed on to pid {}: {errno}", serving.pid);
    }
}

/// Stays, without answering anybody, until it is to stop.
fn wait(signals: &mut Signals) -> u8 {
    info!("Waiting for a signal to stop, for whoever would start the next process");
    loop {
        let stop =
            signals.wait().filter_map(|number| Signal::try_from(number).ok()).find(|signal| STOPPING.contains(signal));
        reap();
        if let Some(signal) = stop {
            info!("{signal}: exiting");
            return 0;
        }
    }
}

/// Those children that have ended, with their exit codes: also those that came here when their parents had gone.
fn reap() -> Vec<(Pid, u8)> {
    let next = || match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Some((pid, code)),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, KILLED + signal as i32)),
        _ => None,
    };
    std::iter::from_fn(next).map(|(pid, code)| (pid, u8::try_from(code).unwrap_or(u8::MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_a_word_or_an_exit_code() {
        assert_eq!(Afterwards::parse("exit"), Ok(Afterwards::Exit(0)));
        assert_eq!(Afterwards::parse("wait"), Ok(Afterwards::Wait));
        assert_eq!(Afterwards::parse("10"), Ok(Afterwards::Exit(10)));
        for wrong in ["256", "-1", "stay", ""] {
            assert!(Afterwards::parse(wrong).is_err(), "{wrong}");
        }
    }
}
