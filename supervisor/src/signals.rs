//! Signals as a source of events (signalfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a supervisor watches for.
const WATCHED: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that are blocked in this thread and wait to be read. Dropping it brings the thread's mask back; a signal
/// that nobody has read by then was meant for the server, and is gone with it.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
    mask_before: SigSet,
}

impl Signals {
    /// Has the signals that a supervisor obeys wait to be read, from now on. The sooner that is, the fewer can end it before it
    /// has begun.
    ///
    /// # Errors
    /// If a system call fails.
    pub(crate) fn watch() -> io::Result<Self> {
        let mask = SigSet::from_iter(WATCHED);
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { descriptor, mask_before })
    }

    /// The next signal that came, if one did.
    ///
    /// # Errors
    /// If a system call fails.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.descriptor.read_signal()? else {
            return Ok(None);
        };
        Ok(Signal::try_from(info.ssi_signo.cast_signed()).ok())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Otherwise a predecessor that has just handed over would die of it.
        while matches!(self.next(), Ok(Some(_))) {}
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask_before), None)
            .expect("a mask that was in force can be in force again");
    }
}
