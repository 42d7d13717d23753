//! Signals to servers as a source of events, for any number of servers in a process with any number of threads.
//!
//! A signal that is blocked in one thread is delivered to another, and what reads it from a signalfd(2) takes it from
//! everybody else who would. So there is a handler, which tells every server that watches the signal. When none does any
//! more, a signal that stops does what it did before. One that the process ignores, as it does under nohup(1) or in the background
//! of a shell's script, stays ignored. What a server executes or starts has none of that: handlers are not inherited
//! (execve(2)).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::info;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use reactord_process::limited::Limit;
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::config::Config;
use crate::dispositions::Dispositions;

/// What asks a server to stop.
const STOPPING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// What somebody sends by habit, or the kernel for a reason that is none to stop; by default, each would end the process.
const HARMLESS: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXFSZ,
];

/// What each signal that was ever watched does when nobody watches it.
static UNWATCHED: Mutex<BTreeMap<i32, Unwatched>> = Mutex::new(BTreeMap::new());

/// Whether no server of this process has begun yet to obey signals: it owns no peers then.
static IS_BEGINNING: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// The same, for a handler to look at.
#[cfg(feature = "program")]
pub(crate) fn is_beginning() -> Arc<AtomicBool> {
    IS_BEGINNING.clone()
}

/// The end of a watch, for one signal.
struct Unwatched {
    watchers: usize,
    /// Whether it does what it does by default. Our handler looks at it, unless there was one before.
    is_default: Arc<AtomicBool>,
}

impl Unwatched {
    fn of(number: i32, dispositions: &Dispositions) -> io::Result<Self> {
        let is_default = Arc::new(AtomicBool::new(true));
        // What a handler of somebody else does, it does in any case.
        if !dispositions.is_handled(number) {
            register_conditional_default(number, is_default.clone())?;
        }
        Ok(Self { watchers: 0, is_default })
    }
}

/// Signals that wait to be read, until this is dropped: one that nobody has read by then was meant for the server, and is
/// gone with it.
#[derive(Debug)]
pub(crate) struct HandledSignals {
    woken: Arc<UnixStream>,
    delivery: RefCell<SignalDelivery<Arc<UnixStream>, SignalOnly>>,
    watched: Vec<i32>,
    mask_before: SigSet,
    told: RefCell<Limit>,
    /// Whether SIGHUP means something, and whether it has come.
    hangup: Option<Cell<bool>>,
}

impl HandledSignals {
    /// Those that the configuration says, if there are any.
    pub(crate) fn watch(config: &Config) -> io::Result<Option<Self>> {
        let stopping = STOPPING.into_iter().filter(|_| config.stop_on_signals);
        let harmless = HARMLESS.into_iter().filter(|_| config.survive_signals);
        let hangup = Some(Signal::SIGHUP).filter(|_| config.upgrade_on_hangup && !config.survive_signals);
        let signals: Vec<Signal> = stopping.chain(harmless).chain(hangup).collect();
        let watched = if signals.is_empty() { None } else { Some(Self::watch_these(&signals)?) };
        // Only now, so that one that comes meanwhile is not lost.
        IS_BEGINNING.store(false, Ordering::SeqCst);
        Ok(watched.map(|mut watched| {
            watched.hangup = config.upgrade_on_hangup.then(Cell::default);
            watched
        }))
    }

    fn watch_these(signals: &[Signal]) -> io::Result<Self> {
        let (mut unwatched, dispositions) = (unwatched(), Dispositions::now());
        // One that was watched before has our handler, and is never ignored.
        let numbers = signals.iter().map(|signal| *signal as i32);
        let watched: Vec<i32> = numbers.filter(|number| !dispositions.is_ignored(*number)).collect();
        for number in &watched {
            if let Entry::Vacant(entry) = unwatched.entry(*number) {
                entry.insert(Unwatched::of(*number, &dispositions)?);
            }
        }
        let (woken, waking) = UnixStream::pair()?;
        let woken = Arc::new(woken);
        let delivery = SignalDelivery::with_pipe(woken.clone(), waking, SignalOnly, &watched)?.into();
        // Whoever has started this process may have blocked them.
        let mask_before = set_of(&watched)?.thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
        for number in &watched {
            // Only now, so that one that comes meanwhile is not lost.
            let unwatched = unwatched.get_mut(number).expect("it is there by now");
            unwatched.watchers += 1;
            unwatched.is_default.store(false, Ordering::SeqCst);
        }
        Ok(Self { woken, delivery, watched, mask_before, told: RefCell::default(), hangup: None })
    }

    /// The next signal that came and that asks the server to stop, if one did. Several of one kind may come as one.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let numbers = self.delivery.borrow_mut().pending();
        for number in numbers {
            let signal = Signal::try_from(number)?;
            if STOPPING.contains(&signal) {
                return Ok(Some(signal));
            }
            match &self.hangup {
                Some(hangup) if signal == Signal::SIGHUP => hangup.set(true),
                _ => self.tell(signal),
            }
        }
        Ok(None)
    }

    /// Whether SIGHUP has come, where it means something, since this was last called.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.hangup.as_ref().is_some_and(Cell::take)
    }

    fn tell(&self, signal: Signal) {
        // A line about it would be the next that does not fit into the file.
        if signal == Signal::SIGXFSZ {
            return;
        }
        let (mut told, now) = (self.told.borrow_mut(), Instant::now());
        if let Some(lines) = told.left_out(now) {
            info!("{lines} more signals have meant nothing to this server");
        }
        if told.admits(now) {
            info!("{signal} means nothing to this server, which serves on");
        }
    }
}

impl AsFd for HandledSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

impl Drop for HandledSignals {
    fn drop(&mut self) {
        let mut unwatched = unwatched();
        for number in &self.watched {
            let unwatched = unwatched.get_mut(number).expect("it is there since it was first watched");
            unwatched.watchers -= 1;
            // The others are not to end a process that they have not ended so far, in the moment before it exits.
            let is_default = unwatched.watchers == 0 && STOPPING.iter().any(|signal| *signal as i32 == *number);
            unwatched.is_default.store(is_default, Ordering::SeqCst);
        }
        self.mask_before.thread_set_mask().expect("a mask that was in force can be in force again");
    }
}

fn unwatched() -> MutexGuard<'static, BTreeMap<i32, Unwatched>> {
    UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_of(numbers: &[i32]) -> io::Result<SigSet> {
    let signals: Result<Vec<Signal>, _> = numbers.iter().map(|number| Signal::try_from(*number)).collect();
    Ok(SigSet::from_iter(signals?))
}

#[cfg(test)]
mod tests;
