//! The process that is followed, from outside: whether it is dead, and that it is killed where it hangs.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::vigil::Vigil;
use crate::mapping::Mapping;

/// How often it is looked whether all threads have begun to end when the one of the loop has, and for how long. After that, it is
/// waited for the end of the process.
const LOOKS_EVERY: Duration = Duration::from_millis(1);
const LOOKS_FOR: Duration = Duration::from_millis(100);

/// What the kernel says of a thread that has begun to end, and so runs nothing of its program any more (`PF_EXITING`).
const EXITING: u32 = 0x4;

/// The process that is followed. Its number may become another's; what it was opened with does not.
#[derive(Debug)]
pub(super) struct Active {
    pid: Pid,
    pidfd: OwnedFd,
    /// Who tells that the thread of its loop has ended.
    vigil: Option<Vigil>,
    /// When that was told.
    loop_ended_at: Option<Instant>,
    /// It was seen to be dead.
    is_dead: bool,
}

impl Active {
    /// The process with this number, which must say something later: who lives then is the one that is meant.
    ///
    /// # Errors
    /// If it cannot be seen from here.
    pub(super) fn find(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd, vigil: None, loop_ended_at: None, is_dead: false })
    }

    /// Notices from now on, too, that the thread of its loop has ended, of which this memory tells.
    pub(super) fn watch(&mut self, mapping: &Arc<Mapping>) {
        // Where there can be no thread, the end of the process is noticed.
        self.vigil = Vigil::begin(mapping).ok();
    }

    /// Whether nothing of its program runs any more. What the kernel is still busy with then, files and memory, is nobody's.
    pub(super) fn is_dead(&mut self) -> bool {
        self.is_dead = self.is_dead || is_readable(&self.pidfd) || (self.has_loop_ended() && are_all_exiting(self.pid));
        self.is_dead
    }

    fn has_loop_ended(&mut self) -> bool {
        if self.loop_ended_at.is_none()
            && let Some(vigil) = self.vigil.as_ref().filter(|vigil| is_readable(*vigil))
        {
            vigil.was_heard();
            self.loop_ended_at = Some(Instant::now());
        }
        self.loop_ended_at.is_some()
    }

    /// Whether it is dead, or is so within so long.
    pub(super) fn is_dead_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_dead() || left.is_zero() {
                return self.is_dead;
            }
            let mut awaited: Vec<PollFd<'_>> = self.awaited().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let patience = self.looks_within().map_or(left, |within| within.min(left));
            match poll(&mut awaited, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
                // A signal to this process says nothing about that one.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// What can be read from when it is worth while to look whether it is dead.
    pub(super) fn awaited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let vigil = self.vigil.as_ref().filter(|_| self.loop_ended_at.is_none());
        [Some(self.pidfd.as_fd()), vigil.map(AsFd::as_fd)].into_iter().flatten()
    }

    /// Within how long it is to be looked although nothing tells.
    pub(super) fn looks_within(&self) -> Option<Duration> {
        self.loop_ended_at.filter(|ended_at| ended_at.elapsed() < LOOKS_FOR).map(|_| LOOKS_EVERY)
    }

    /// Who has told that it is dead, and has a thread that is still to end.
    pub(super) fn take_vigil(&mut self) -> Option<Vigil> {
        if let Some(vigil) = self.vigil.as_ref().filter(|_| self.loop_ended_at.is_none()) {
            vigil.is_not_needed();
        }
        self.vigil.take()
    }

    /// # Errors
    /// If it may not be, or is dead already.
    pub(super) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}

fn is_readable(source: &impl AsFd) -> bool {
    let mut looked = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
    poll(&mut looked, PollTimeout::ZERO).is_ok_and(|seen| seen > 0)
}

/// Whether all threads of a process have begun to end, the first one among them. False if that cannot be seen. If the process is dead by
/// now, its number may be another's, which makes no difference to whoever asks whether it is.
fn are_all_exiting(pid: Pid) -> bool {
    let Ok(mut tasks) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return false };
    let mut is_first_among_them = false;
    let have_ended = tasks.all(|task| {
        let Ok(task) = task else { return false };
        is_first_among_them |= task.file_name().to_str() == Some(&pid.as_raw_nonzero().to_string());
        match first_bytes(&task.path().join("stat")) {
            Ok(stat) => is_exiting(&stat),
            // It is gone while it is looked at.
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound) || error.raw_os_error() == Some(Errno::ESRCH as i32)
            }
        }
    });
    have_ended && is_first_among_them
}

/// As much of a file as a line of numbers takes, by one read: it is looked at while nobody serves.
fn first_bytes(path: &Path) -> io::Result<String> {
    let mut buffer = [0; 1024];
    let count = File::open(path)?.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

/// Whether a thread has begun to end of which the kernel says this: proc(5), `stat`, of which the command in parentheses may be anything.
fn is_exiting(stat: &str) -> bool {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    // State, parent, group, session, terminal, its group; then flags.
    let flags = fields.split(' ').nth(6).and_then(|flags| flags.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn a_process_is_dead_when_it_is_and_not_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut active = Active::find(child.id()).unwrap();
        assert!(!active.is_dead());
        active.kill().unwrap();
        assert!(active.is_dead_within(Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(active.is_dead());
        assert!(active.kill().is_err());
    }

    #[test]
    fn a_thread_that_ends_is_no_dead_process() {
        let (mapping, _) = Mapping::new().unwrap();
        let mapping = Arc::new(mapping);
        let mut active = Active::find(std::process::id()).unwrap();
        let (ended, holds) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel());
        let living = Arc::clone(&mapping);
        let everywhere = sched_getaffinity(None).unwrap();
        let thread = std::thread::spawn(move || {
            // It is killed with what it holds, as it were.
            std::mem::forget(crate::standby::vigil::Living::of(&living));
            holds.0.send(()).unwrap();
            ended.1.recv().unwrap();
        });
        holds.1.recv().unwrap();
        active.watch(&mapping);
        assert!(!active.has_loop_ended() && active.looks_within().is_none());
        ended.0.send(()).unwrap();
        thread.join().unwrap();
        let mut told = active.awaited().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect::<Vec<_>>();
        poll(&mut told, PollTimeout::NONE).unwrap();
        drop(told);
        assert!(active.has_loop_ended() && !active.is_dead());
        assert_eq!(sched_getaffinity(None), Ok(everywhere), "it runs where it did");
    }

    #[test]
    fn who_lets_go_leaves_nobody_waiting() {
        let (mapping, _) = Mapping::new().unwrap();
        let mapping = Arc::new(mapping);
        let living = crate::standby::vigil::Living::of(&mapping);
        let vigil = Vigil::begin(&mapping).unwrap();
        assert!(!is_readable(&vigil));
        drop(living);
        let mut told = [PollFd::new(vigil.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut told, PollTimeout::NONE), Ok(1));
    }

    #[test]
    fn what_the_kernel_says_of_a_thread_is_understood_whatever_its_name_is() {
        let said = |command: &str, flags: u32| format!("7 ({command}) R 1 7 7 0 -1 {flags} 0 0");
        for command in ["cat", ") R 1 4 4 4 4 4", "a (b) c"] {
            assert!(is_exiting(&said(command, 0x40_0104)), "{command}");
            assert!(!is_exiting(&said(command, 0x40_0100)), "{command}");
        }
        assert!(!is_exiting("") && !is_exiting("7 (cat) R"));
    }
}
