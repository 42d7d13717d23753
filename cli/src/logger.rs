//! Log lines on standard error that can neither block nor end the process.
//!
//! `simple_logger` writes with `eprintln!`, which blocks while a pipe is full and panics when it has no reader. A
//! server must survive both, so a line that cannot be written at once is dropped and counted, and the next line that
//! can be written is preceded by the count.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, os::fd::AsFd};

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use simple_logger::SimpleLogger;

/// Writes log lines of `level` and above to standard error from now on.
///
/// # Panics
/// If the process has a logger already.
pub fn init(level: LevelFilter) {
    let guarded = Guarded { logger: SimpleLogger::new().with_level(level), lines_dropped: AtomicU64::new(0) };
    log::set_boxed_logger(Box::new(guarded)).expect("a program sets its logger once");
    log::set_max_level(level);
}

struct Guarded {
    logger: SimpleLogger,
    lines_dropped: AtomicU64,
}

impl Guarded {
    /// Writes one line if that is possible at once, and says whether it was.
    fn try_log(&self, record: &Record) -> bool {
        // A full disk shows only in the write itself, which panics.
        writable_now() && catch_unwind(AssertUnwindSafe(|| self.logger.log(record))).is_ok()
    }

    /// Says how many lines were dropped, if any were. False if even that cannot be written.
    fn report_dropped(&self) -> bool {
        let lines_dropped = self.lines_dropped.swap(0, Ordering::Relaxed);
        let reported = lines_dropped == 0
            || self.try_log(
                &Record::builder()
                    .level(Level::Warn)
                    .target(module_path!())
                    .args(format_args!("{lines_dropped} log lines dropped: standard error could not take them"))
                    .build(),
            );
        if !reported {
            self.lines_dropped.fetch_add(lines_dropped, Ordering::Relaxed);
        }
        reported
    }
}

impl Log for Guarded {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) && !(self.report_dropped() && self.try_log(record)) {
            self.lines_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Whether standard error takes a line of up to a page without blocking: `poll(2)` reports a pipe as writable while
/// it has a free page, and as broken when its readers are gone.
fn writable_now() -> bool {
    let standard_error = io::stderr();
    let mut poll_fds = [PollFd::new(standard_error.as_fd(), PollFlags::POLLOUT)];
    poll(&mut poll_fds, PollTimeout::ZERO).is_ok() && poll_fds[0].revents() == Some(PollFlags::POLLOUT)
}
