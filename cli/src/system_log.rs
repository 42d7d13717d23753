//! Lines to the system log, as a datagram each (syslog(3), RFC 3164).
//!
//! The system log may be slow, and may be restarted. A line that it does not take at once is dropped, and a connection
//! that does not lead to it any more is made anew.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Record};
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

/// Where the system log is called.
const SOCKET: &str = "/dev/log";

/// How long to leave a system log alone that did not answer.
const CONNECT_EVERY: Duration = Duration::from_secs(1);

/// A connection to the system log.
pub struct SystemLog {
    program: String,
    socket: PathBuf,
    connection: Mutex<Connection>,
}

struct Connection {
    logger: Logger<LoggerBackend, Formatter3164>,
    /// When it was last made anew.
    made_at: Option<Instant>,
}

impl SystemLog {
    /// Calls the system log, for lines in the name of this program.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn connect(program: &str) -> io::Result<Self> {
        Self::connect_to(Path::new(SOCKET), program)
    }

    fn connect_to(socket: &Path, program: &str) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("system log {}: {error}", socket.display()));
        let connection = Mutex::new(Connection { logger: call(socket, program).map_err(named)?, made_at: None });
        Ok(Self { program: program.to_owned(), socket: socket.to_owned(), connection })
    }

    /// Sends one line if that is possible at once, and says whether it was.
    pub(crate) fn try_log(&self, record: &Record, now: Instant) -> bool {
        // Before the lock: what is formatted may itself have something to log.
        let (level, line) = (record.level(), record.args().to_string());
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match send(&mut connection.logger, level, &line) {
            Ok(()) => return true,
            Err(syslog::Error::Write(error)) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
        if connection.made_at.is_some_and(|made_at| now.saturating_duration_since(made_at) < CONNECT_EVERY) {
            return false;
        }
        connection.made_at = Some(now);
        let Ok(logger) = call(&self.socket, &self.program) else { return false };
        connection.logger = logger;
        send(&mut connection.logger, level, &line).is_ok()
    }
}

fn call(socket: &Path, program: &str) -> io::Result<Logger<LoggerBackend, Formatter3164>> {
    let datagrams = UnixDatagram::unbound()?;
    datagrams.connect(socket)?;
    datagrams.set_nonblocking(true)?;
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: program.to_owned(),
        pid: std::process::id(),
    };
    Ok(Logger::new(LoggerBackend::Unix(datagrams), formatter))
}

fn send(logger: &mut Logger<LoggerBackend, Formatter3164>, level: Level, line: &str) -> syslog::Result<()> {
    match level {
        Level::Error => logger.err(line),
        Level::Warn => logger.warning(line),
        Level::Info => logger.info(line),
        Level::Debug | Level::Trace => logger.debug(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use tempfile::TempDir;

    fn try_log(log: &SystemLog, level: Level, line: &str, now: Instant) -> bool {
        log.try_log(&Record::builder().level(level).args(format_args!("{line}")).build(), now)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn line_has_the_facility_of_daemons_its_level_the_program_and_its_pid() {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("log")).unwrap();
        let log = SystemLog::connect_to(&directory.path().join("log"), "reactord").unwrap();
        // The facility of daemons is 3, in eights, and the levels are 3, 4, 6 and 7 (RFC 3164, 4.1.1).
        for (level, priority) in [(Level::Error, 27), (Level::Warn, 28), (Level::Info, 30), (Level::Debug, 31)] {
            assert!(try_log(&log, level, "a line", Instant::now()));
            let line = received(&socket);
            assert!(line.starts_with(&format!("<{priority}>")), "{line}");
            assert!(line.ends_with(&format!(" reactord[{}]: a line", std::process::id())), "{line}");
        }
    }

    #[test]
    fn system_log_that_takes_nothing_more_costs_lines_and_no_time() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = SystemLog::connect_to(&path, "reactord").unwrap();
        let (sender, receiver) = mpsc::channel();
        // A thread that blocks is left behind, and the test fails.
        std::thread::spawn(move || {
            while try_log(&log, Level::Info, "a line", Instant::now()) {}
            sender.send(log).expect("the test waits for it");
        });
        let log = receiver.recv_timeout(Duration::from_secs(10)).expect("no line blocks");
        received(&socket);
        assert!(try_log(&log, Level::Info, "a line", Instant::now()), "there is room again");
    }

    #[test]
    fn system_log_that_was_restarted_is_called_again() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let first = UnixDatagram::bind(&path).unwrap();
        let log = SystemLog::connect_to(&path, "reactord").unwrap();
        let now = Instant::now();
        drop(first);
        assert!(!try_log(&log, Level::Info, "lost", now));
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        assert!(!try_log(&log, Level::Info, "too early to call again", now));
        assert!(try_log(&log, Level::Info, "arrives", now + CONNECT_EVERY));
        assert!(received(&second).ends_with("arrives"));
    }

    #[test]
    fn missing_system_log_is_named() {
        let error = SystemLog::connect_to(Path::new("/nowhere/log"), "reactord").err().unwrap().to_string();
        assert!(error.contains("system log /nowhere/log: No such file"), "{error}");
    }
}
