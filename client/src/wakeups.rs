//! What wakes the loop besides sockets: signals, and an alarm.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// SIGINT and SIGTERM as something to poll.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the two signals, so that from now on they arrive here alone.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&signals.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(signals))
    }

    /// How many signals have arrived since the last call.
    pub(crate) fn read(&mut self) -> io::Result<u32> {
        let mut count = 0;
        while self.0.read_signal()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// A timer that wakes the loop at one instant.
///
/// The timeout of a poll has a resolution of a millisecond, which would bunch the messages of ten thousand
/// connections together; that of `timerfd_create(2)` has nanoseconds.
pub(crate) struct Alarm {
    timer: TimerFd,
    set_for: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    /// Sets the alarm for `due`, or for never.
    ///
    /// The timer need not be read after it has gone off: setting it again makes it unreadable, and when it goes off
    /// again, that is a new edge.
    pub(crate) fn set(&mut self, due: Option<Instant>, now: Instant) -> io::Result<()> {
        if due == self.set_for {
            return Ok(());
        }
        match due {
            Some(due) => {
                // Zero would not mean at once, but never.
                let after = due.saturating_duration_since(now).max(Duration::from_nanos(1));
                self.timer.set(Expiration::OneShot(TimeSpec::from_duration(after)), TimerSetTimeFlags::empty())?;
            }
            None => self.timer.unset()?,
        }
        self.set_for = due;
        Ok(())
    }

    /// Notes that the alarm has gone off, so that it can be set for the same instant again.
    pub(crate) fn note_gone_off(&mut self) {
        self.set_for = None;
    }
}
