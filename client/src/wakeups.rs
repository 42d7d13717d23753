//! What wakes the loop: sockets, signals, and an alarm.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The token of the signals. Small tokens are the indices of connections, so this and the next count from the top.
pub(crate) const SIGNALS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);

/// What asks a load to stop. It goes to nobody else: where there are servers, they are not in this process group.
pub(crate) const STOPS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// What wakes a loop that has started servers: the same, a terminal that is closed, and servers that have ended.
pub(crate) const STOPS_AND_CHILDREN: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];

/// The poll, and all that can wake it besides what others register.
pub(crate) struct Wakeups {
    pub(crate) poll: Poll,
    signals: Signals,
    alarm: Alarm,
    /// How many signals have asked to stop.
    pub(crate) stops: u32,
}

impl Wakeups {
    /// From now on these signals wake the loop, and do nothing else.
    pub(crate) fn new(signals: &[Signal]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = Signals::new(poll.registry(), signals)?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Self { poll, signals, alarm, stops: 0 })
    }

    /// Waits for events, at most until `due`.
    pub(crate) fn wait(&mut self, events: &mut Events, due: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let timeout = if due.is_some_and(|due| due <= now) {
            Some(Duration::ZERO)
        } else {
            self.alarm.set(due, now)?;
            None
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Takes an event that is about a signal or the alarm. False if it is about something else: also a child that may
    /// have ended is for others to look at.
    pub(crate) fn take(&mut self, token: Token) -> io::Result<bool> {
        match token {
            ALARM => self.alarm.note_gone_off(),
            SIGNALS => {
                let arrived = self.signals.read()?;
                self.stops += arrived.stops;
                return Ok(!arrived.child_ended);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Signals as something to poll.
struct Signals(SignalFd);

/// The signals that have arrived.
struct Arrived {
    /// How many that ask to stop.
    stops: u32,
    /// Whether one said that a child ended.
    child_ended: bool,
}

impl Signals {
    /// Blocks the signals, so that from now on they arrive here alone.
    fn new(registry: &Registry, wanted: &[Signal]) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in wanted {
            signals.add(*signal);
        }
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        Ok(Self(signals))
    }

    /// The signals that have arrived since the last call.
    fn read(&mut self) -> io::Result<Arrived> {
        let mut arrived = Arrived { stops: 0, child_ended: false };
        while let Some(signal) = self.0.read_signal()? {
            if signal.ssi_signo == Signal::SIGCHLD as u32 {
                arrived.child_ended = true;
            } else {
                arrived.stops += 1;
            }
        }
        Ok(arrived)
    }
}

/// A timer that wakes the loop at one instant.
///
/// The timeout of a poll has a resolution of a millisecond, which would bunch the messages of ten thousand
/// connections together; that of `timerfd_create(2)` has nanoseconds.
struct Alarm {
    timer: TimerFd,
    set_for: Option<Instant>,
}

impl Alarm {
    fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    /// Sets the alarm for `due`, or for never.
    ///
    /// The timer need not be read after it has gone off: setting it again makes it unreadable, and when it goes off
    /// again, that is a new edge.
    fn set(&mut self, due: Option<Instant>, now: Instant) -> io::Result<()> {
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
    fn note_gone_off(&mut self) {
        self.set_for = None;
    }
}
