//! The processes that this one has started, by their pids: a signal to one, and how the next one ended.

use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::fleet::Exit;

/// Sends a signal to a process that has not been waited for yet: its pid is nobody else's.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    if let Err(errno) = kill(Pid::from_raw(pid.cast_signed()), signal) {
        debug!("{signal} to pid {pid}: {errno}");
    }
}

/// The next process that has ended, if any has. It is waited for by that.
pub(crate) fn next_exit() -> Option<(u32, Exit)> {
    loop {
        let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(errno) => {
                warn!("waitpid: {errno}");
                return None;
            }
        };
        return Some((pid.as_raw().unsigned_abs(), exit));
    }
}
