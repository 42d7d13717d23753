//! The signals that stop a server, as a source of events (signalfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGTERM and SIGINT, blocked in this thread and waiting to be read. Dropping it brings the thread's mask back.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
    mask_before: SigSet,
}

impl Signals {
    pub(crate) fn watch() -> io::Result<Self> {
        let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { descriptor, mask_before })
    }

    /// The next signal that came, if one did.
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
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask_before), None)
            .expect("a mask that was in force can be in force again");
    }
}
