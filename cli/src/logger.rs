//! Log lines that can neither block nor end the process: on standard error, in a log file, or in the system log.
//!
//! `simple_logger` writes with `eprintln!`, which blocks while a pipe is full or a terminal stopped, panics when nobody
//! reads or a disk is full, and writes a line in pieces, between which other processes may write. A server must survive
//! all of that, so its lines are written in `standard_error.rs`, in the format of `line.rs`. A line that cannot be written at once is
//! dropped and counted, and the next line that can be written is preceded by the count.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Arguments;
use std::io;
use std::os::fd::RawFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record, error};
use signal_hook::consts::SIGXFSZ;
use simple_logger::SimpleLogger;

use crate::line::line;
use crate::log_file::LogFile;
use crate::standard_error::StandardError;
use crate::system_log::SystemLog;

pub use crate::line::Format;

/// Where log lines go.
#[non_exhaustive]
pub enum Destination {
    /// To standard error.
    StandardError,
    /// To standard error, which leads into this file.
    File(LogFile),
    /// To the system log.
    SystemLog(SystemLog),
}

impl Destination {
    fn name(&self) -> &'static str {
        match self {
            Self::StandardError => "standard error",
            Self::File(_) => "the log file",
            Self::SystemLog(_) => "the system log",
        }
    }
}

static STANDARD_ERROR: LazyLock<StandardError> = LazyLock::new(|| StandardError::on(io::stderr()));

/// Where lines go since [`move_to`]; standard error before.
static DESTINATION: OnceLock<Destination> = OnceLock::new();

/// Writes log lines of `level` and above to standard error from now on, in this format, and a line for a panic.
///
/// # Panics
/// If the process has a logger already.
pub fn init(level: LevelFilter, format: Format) {
    let logger = SimpleLogger::new().with_level(LevelFilter::Trace);
    let guarded = Guarded { logger, format, lines_dropped: AtomicU64::new(0) };
    // A line over the limit of a file's size is to fail, and not to end the process (setrlimit(2)). Where no handler is
    // let in, it ends it as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    LazyLock::force(&STANDARD_ERROR);
    log::set_boxed_logger(Box::new(guarded)).expect("a program sets its logger once");
    log::set_max_level(level);
    std::panic::set_hook(Box::new(log_panic));
}

/// Writes lines of `level` and above from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Says what the standard library would, without waiting for standard error as it does: some panics are survived.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (thread, text) =
        (thread.name().unwrap_or("without a name"), panic.payload_as_str().unwrap_or("without a text"));
    match panic.location() {
        Some(location) => error!("thread {thread} panicked at {location}: {text}"),
        None => error!("thread {thread} panicked: {text}"),
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| error!("{line}"));
    }
}

/// Writes lines to `destination` from now on.
///
/// # Panics
/// If they have been moved already.
pub fn move_to(destination: Destination) {
    assert!(DESTINATION.set(destination).is_ok(), "a program moves its lines once");
    STANDARD_ERROR.leave_terminal();
}

/// What is written to standard error is passed on to what has this number here: where that is the journal, lines are for it.
pub fn standard_error_is_passed_on_to(number: RawFd) {
    STANDARD_ERROR.is_passed_on_to(number);
}

/// Standard error leads elsewhere than it did when [`init`] was called.
pub fn standard_error_is_another() {
    STANDARD_ERROR.look_again();
}

fn destination() -> &'static Destination {
    DESTINATION.get().unwrap_or(&Destination::StandardError)
}

struct Guarded {
    logger: SimpleLogger,
    format: Format,
    lines_dropped: AtomicU64,
}

impl Guarded {
    /// Writes one line if that is possible at once, and says whether it was.
    fn try_log(&self, record: &Record) -> bool {
        match destination() {
            Destination::StandardError | Destination::File(_) => {
                // Asked for each line: it is the journal only since this process serves, if its predecessor has started it.
                STANDARD_ERROR.try_write(&line(record, self.format, STANDARD_ERROR.is_journal())).is_ok()
            }
            Destination::SystemLog(log) => log.try_log(record, Instant::now()),
        }
    }

    /// Goes over to a new log file, if the one that lines go to has been moved.
    fn follow_log_file(&self) {
        if let Destination::File(log_file) = destination()
            && let Err(error) = log_file.follow(Instant::now())
        {
            // At most once a second, like the looking itself. If this line cannot be written, nor can the next.
            self.try_log(&warning(format_args!("Log file {} cannot be made anew: {error}", log_file.path().display())));
        }
    }

    /// Says how many lines were dropped, if any were. False if even that cannot be written.
    fn report_dropped(&self) -> bool {
        let lines_dropped = self.lines_dropped.swap(0, Ordering::Relaxed);
        let reported = lines_dropped == 0
            || self.try_log(&warning(format_args!(
                "{lines_dropped} log lines dropped: {} could not take them",
                destination().name()
            )));
        if !reported {
            self.lines_dropped.fetch_add(lines_dropped, Ordering::Relaxed);
        }
        reported
    }
}

impl Log for Guarded {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level() && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        self.follow_log_file();
        if !(self.report_dropped() && self.try_log(record)) {
            self.lines_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// A line of the logger's own.
fn warning(text: Arguments<'_>) -> Record<'_> {
    Record::builder().level(Level::Warn).target(module_path!()).args(text).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Whether this is the process that a test has started.
    const AGAIN: &str = "REACTORD_TEST_AGAIN";

    #[test]
    fn a_panic_is_a_line_like_any_other() {
        if std::env::var_os(AGAIN).is_some() {
            init(LevelFilter::Info, Format::Text);
            std::panic::catch_unwind(|| panic!("the {}", "text")).unwrap_err();
            return;
        }
        // In a process of its own: it has one logger, and one thing to do at a panic.
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "logger::tests::a_panic_is_a_line_like_any_other", "--nocapture"]);
        let output = again.env(AGAIN, "").env("RUST_BACKTRACE", "0").output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.strip_suffix(": the text\n").expect("one line, and it ends with the text");
        assert!(line.contains("Z ERROR [reactord_cli::logger] thread ") && line.contains(" panicked at "), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
