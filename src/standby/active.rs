//! The process that is followed, from outside: whether it is dead, and that it is killed where it hangs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process that is followed. Its number may become another's; this does not.
#[derive(Debug)]
pub(super) struct Active(OwnedFd);

impl Active {
    /// The process with this number, which must say something later: who lives then is the one that is meant.
    ///
    /// # Errors
    /// If it cannot be seen from here.
    pub(super) fn find(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self(pidfd_open(number, PidfdFlags::empty())?))
    }

    /// Whether none of its threads runs any more, or comes to that within so long.
    pub(super) fn is_dead_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut looked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            let patience = until.saturating_duration_since(Instant::now());
            match poll(&mut looked, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
                // A signal to this process says nothing about that one.
                Err(Errno::EINTR) => {}
                ended => return ended.is_ok_and(|ended| ended > 0),
            }
        }
    }

    /// # Errors
    /// If it may not be, or is dead already.
    pub(super) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, Signal::KILL)?)
    }
}

/// It can be read from when the process is dead.
impl AsFd for Active {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_dead_when_it_is_and_not_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let active = Active::find(child.id()).unwrap();
        assert!(!active.is_dead_within(Duration::ZERO));
        active.kill().unwrap();
        assert!(active.is_dead_within(Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(active.is_dead_within(Duration::ZERO));
        assert!(active.kill().is_err());
    }
}
