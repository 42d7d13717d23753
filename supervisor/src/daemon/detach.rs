//! Detaching: the way of a program into the background, which it takes only when it serves.
//!
//! ```text
//! launching command                        background process
//!   starts its binary once more ──────────▶ leaves the session and the standard streams
//!   waits                                   starts
//!                                         ◀ report: serving, or why not
//!   exits with 0, or says why not           serves, or exits
//!   and exits with the same code
//! ```
//!
//! The report goes through a pipe, which the background process inherits as its standard output. It ends with the
//! process, so the launching command waits for nobody who is gone.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use reactord_process::inherited;

use crate::not_serving::NotServing;

/// What a process in the background is called, in lists of processes.
const PROGRAM: &CStr = c"reactord";

/// The report of a background process that serves. Any other is the reason why it does not.
const SERVING: &str = "serving";

/// More than any reason has, so that something else at the other end of the pipe does not fill the memory.
const REPORT_BYTES_MAX: u64 = 64 << 10;

/// Starts `command`, which is to become a [`Background`], and returns when it serves.
///
/// # Errors
/// If it cannot be started, or ends before it serves; or does not serve within `patience`, and is told to stop
/// (SIGTERM).
pub(crate) fn launch(command: &mut Command, patience: Duration) -> Result<(), NotServing> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut process =
        started.map_err(|error| NotServing::new(format!("{}: {error}", command.get_program().display())))?;
    let pipe = process.stdout.take().expect("standard output is a pipe");
    if !reports_within(&pipe, patience) {
        // It is not reaped yet, so the pid is its own.
        let _ = kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM);
        let _ = process.wait();
        let seconds = patience.as_secs();
        return Err(NotServing::new(format!(
            "the background process did not serve within {seconds} s, and was stopped; its log may tell why"
        )));
    }
    let mut report = Vec::new();
    // What cannot be read is missing in the report, which is then none that says that it serves.
    let _ = pipe.take(REPORT_BYTES_MAX).read_to_end(&mut report);
    let report = String::from_utf8_lossy(&report);
    if report == SERVING {
        return Ok(());
    }
    let status = process.wait().map_err(|error| NotServing::new(format!("the background process: {error}")))?;
    let reason = if report.is_empty() { end_of(status) } else { report.into_owned() };
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Err(NotServing { reason, exit_code: exit_code.unwrap_or(1) })
}

/// Whether there is a report, or an end without one, before `patience` is over.
fn reports_within(pipe: &ChildStdout, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left =
            PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            Ok(0) if Instant::now() < deadline => {}
            // Where waiting is impossible, reading waits.
            reported => return reported != Ok(0),
        }
    }
}

fn end_of(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("the background process was killed by signal {signal} before it served"),
        (_, code) => format!("the background process ended before it served, with exit code {}", code.unwrap_or(1)),
    }
}

/// This process, started by [`launch`], which waits for its report.
#[derive(Debug)]
pub(crate) struct Background {
    launching_command: File,
}

impl Background {
    /// Makes this process one of the background: with a session of its own, with standard streams that lead nowhere,
    /// and without whatever else was open when it was started. So it survives the terminal and whoever reads what it
    /// would say there, and keeps neither from ending.
    ///
    /// It has to be called before anything is opened.
    ///
    /// # Errors
    /// If a system call fails, which is said on standard error if it is still there.
    pub(crate) fn enter() -> io::Result<Self> {
        close_inherited();
        // It was started by another path, and is to be found by its name.
        prctl::set_name(PROGRAM)?;
        let launching_command = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        setsid()?;
        let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&nowhere)?;
        dup2_stdout(&nowhere)?;
        dup2_stderr(&nowhere)?;
        Ok(Self { launching_command })
    }

    /// Reports that it serves, which ends the launching command.
    ///
    /// # Errors
    /// If the launching command has gone away.
    pub(crate) fn serves(self) -> io::Result<()> {
        self.report(SERVING)
    }

    /// Reports why it does not serve. The launching command then waits for this process to exit.
    ///
    /// # Errors
    /// If the launching command has gone away.
    pub(crate) fn does_not_serve(self, reason: &str) -> io::Result<()> {
        self.report(reason)
    }

    fn report(mut self, report: &str) -> io::Result<()> {
        self.launching_command.write_all(report.as_bytes())
    }
}

/// Closes all descriptors but the standard streams.
fn close_inherited() {
    for number in inherited::open().into_iter().filter(|number| *number > io::stderr().as_raw_fd()) {
        // Nobody here owns it.
        inherited::let_go(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any of these scripts takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Launches a shell script in place of a background process.
    fn launched(script: &str) -> Result<(), NotServing> {
        launch(Command::new("sh").args(["-c", script]), PATIENCE)
    }

    #[test]
    fn launching_ends_when_the_background_process_serves_and_not_when_it_ends() {
        let began = Instant::now();
        launched("printf serving; exec sleep 60 >&-").unwrap();
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn background_process_that_does_not_serve_in_time_is_stopped() {
        let began = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "exec sleep 60"]);
        let not_serving = launch(&mut command, Duration::from_millis(50)).unwrap_err();
        assert!(not_serving.reason.contains("did not serve within 0 s, and was stopped"), "{not_serving:?}");
        assert_eq!(not_serving.exit_code, 1);
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn reason_and_exit_code_of_a_background_process_that_does_not_serve_come_through() {
        let not_serving = launched("printf 'port 80: it is busy\nand so am I'; exit 3").unwrap_err();
        assert_eq!(not_serving, NotServing { reason: "port 80: it is busy\nand so am I".to_owned(), exit_code: 3 });
        // A report that is cut off is no success, and nor is a process that ends well without having served.
        for (script, reason) in [("printf serv", "serv"), ("exit 0", "exit code 0")] {
            let not_serving = launched(script).unwrap_err();
            assert!(not_serving.reason.contains(reason), "{not_serving:?}");
            assert_eq!(not_serving.exit_code, 1);
        }
    }

    #[test]
    fn background_process_that_ends_without_a_word_is_told_of() {
        let not_serving = launched("exit 101").unwrap_err();
        assert!(not_serving.reason.contains("ended before it served, with exit code 101"), "{not_serving:?}");
        assert_eq!(not_serving.exit_code, 101);
        let not_serving = launched("kill -9 $$").unwrap_err();
        assert!(not_serving.reason.contains("killed by signal 9"), "{not_serving:?}");
        assert_eq!(not_serving.exit_code, 1);
    }

    #[test]
    fn background_process_that_cannot_be_started_is_named() {
        let not_serving = launch(&mut Command::new("/nowhere/reactord"), PATIENCE).unwrap_err();
        assert!(not_serving.reason.starts_with("/nowhere/reactord: No such file"), "{not_serving:?}");
    }
}
