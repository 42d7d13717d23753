//! The processes that this one has started, by their pids: a signal to one or to its group, and how the next one ended.

use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpgid};

use crate::fleet::Exit;

/// Sends a signal to a process that has not been waited for yet: its pid is nobody else's.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    report(pid, signal, kill(Pid::from_raw(pid.cast_signed()), signal));
}

/// Sends a signal to the group that a process leads or led; and to this process of it, should that have gone to another group.
pub(crate) fn send_signal_to_group(leader: u32, process: u32, signal: Signal) {
    match killpg(Pid::from_raw(leader.cast_signed()), signal) {
        Err(Errno::ESRCH) if is_child(process) => send_signal(process, signal),
        sent => report(leader, signal, sent),
    }
}

/// Whether a process of the group is left that this one has led.
pub(crate) fn group_remains(leader: u32) -> bool {
    killpg(Pid::from_raw(leader.cast_signed()), None) != Err(Errno::ESRCH)
}

fn report(pid: u32, signal: Signal, sent: nix::Result<()>) {
    match sent {
        Ok(()) => {}
        // It runs as somebody else by now, and nobody but the operator can end it.
        Err(Errno::EPERM) => warn!("{signal} to pid {pid}: it may not be signalled by this user"),
        Err(errno) => debug!("{signal} to pid {pid}: {errno}"),
    }
}

/// Whether this process is told when that one ends, or has not looked yet that it has.
pub(crate) fn is_child(pid: u32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(pid.cast_signed())), flags) != Err(Errno::ECHILD)
}

/// Whether a process is in another group than the one that this one leads or led. One that is gone is in none.
pub(crate) fn is_in_another_group(pid: u32, leader: u32) -> bool {
    let group = getpgid(Some(Pid::from_raw(pid.cast_signed())));
    group.is_ok_and(|group| group != Pid::from_raw(leader.cast_signed()))
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
