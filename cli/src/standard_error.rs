//! Lines to standard error, whatever it is and whoever shares it: each whole, by one write that does not wait.
//!
//! To look first whether there is room, as poll(2) does, says nothing about the moment after it, and of a terminal that
//! somebody has stopped with Ctrl-S it says that there is room. To set `O_NONBLOCK` would set it for all processes that
//! share the pipe or the terminal (open(2)). So it is the write that is told not to wait, and where a write cannot be
//! told, at a terminal, lines go through an open file of our own.

use std::borrow::Cow;
use std::fs::metadata;
use std::io::{IoSlice, IsTerminal, Stderr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::termios::tcgetsid;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};
use rustix::net::{SendFlags, send};

/// The offset that stands for the end of a pipe (pwritev2(2)).
const NO_OFFSET: u64 = u64::MAX;

/// Standard error, or in tests what may stand for it.
pub(crate) struct StandardError<D = Stderr> {
    descriptor: D,
    /// What leads into the journal.
    journal: Option<Stream>,
    /// Whether somebody passes on there what is written here.
    is_passed_on: AtomicBool,
    state: Mutex<State>,
}

/// What a file is known by, under whatever descriptor: its device and its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stream {
    device: u64,
    inode: u64,
}

impl Stream {
    /// The one that the service manager has connected with the journal, if it has (systemd.exec(5)).
    fn from_environment() -> Option<Self> {
        std::env::var("JOURNAL_STREAM").ok().as_deref().and_then(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let (device, inode) = text.split_once(':')?;
        Some(Self { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }

    fn of(descriptor: impl AsFd) -> Option<Self> {
        let stat = fstat(descriptor).ok()?;
        Some(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

struct State {
    /// The terminal that it leads to, in an open file of our own that does not wait.
    terminal: Option<OwnedFd>,
    /// Whether only the beginning of the last line has been written.
    is_torn: bool,
}

impl<D: AsFd> StandardError<D> {
    pub(crate) fn on(descriptor: D) -> Self {
        let terminal = open_terminal(&descriptor);
        let journal = Stream::from_environment();
        let state = Mutex::new(State { terminal, is_torn: false });
        Self { descriptor, journal, is_passed_on: AtomicBool::new(false), state }
    }

    /// Somebody reads what is written, and writes it to what has this number here.
    pub(crate) fn is_passed_on_to(&self, number: RawFd) {
        let there = metadata(format!("/proc/self/fd/{number}")).ok();
        let there = there.map(|there| Stream { device: there.dev(), inode: there.ino() });
        self.is_passed_on.store(there.is_some() && there == self.journal, Ordering::Relaxed);
    }

    /// It leads elsewhere than it did.
    pub(crate) fn look_again(&self) {
        self.is_passed_on.store(false, Ordering::Relaxed);
        let terminal = open_terminal(&self.descriptor);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { terminal, is_torn: false };
    }

    /// Whether it is the journal that reads what is written now. A process that has been started by its predecessor has a pipe
    /// until it serves, which leads there or not, and whoever inherits the variable may have led its standard error elsewhere.
    pub(crate) fn is_journal(&self) -> bool {
        self.is_passed_on.load(Ordering::Relaxed)
            || self.journal.is_some_and(|journal| Stream::of(&self.descriptor) == Some(journal))
    }

    /// Keeps no terminal open any more that nothing will be written to.
    pub(crate) fn leave_terminal(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).terminal = None;
    }

    /// Writes a line whole and at once.
    ///
    /// # Errors
    /// If it is not all written. A pipe never takes a part, and a file only if it becomes too big or the disk full.
    pub(crate) fn try_write(&self, line: &str) -> Result<(), Errno> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // By the same write, so that the end of the line before does not come as an empty one between those of others.
        let text = if state.is_torn { Cow::Owned(format!("\n{line}")) } else { Cow::Borrowed(line) };
        let written = self.write_at_once(text.as_bytes(), state.terminal.as_ref())?;
        if written > 0 {
            state.is_torn = written < text.len() && text.as_bytes()[written - 1] != b'\n';
        }
        if written < text.len() { Err(Errno::AGAIN) } else { Ok(()) }
    }

    fn write_at_once(&self, bytes: &[u8], terminal: Option<&OwnedFd>) -> Result<usize, Errno> {
        let output = self.descriptor.as_fd();
        match FileType::from_raw_mode(fstat(output)?.st_mode) {
            FileType::Socket => send(output, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            FileType::Fifo => write_to_pipe(output, bytes),
            FileType::CharacterDevice if output.is_terminal() => match terminal {
                Some(terminal) => in_the_background_too(|| write(terminal, bytes)),
                // Nobody is let into it anew, for it belongs to another user: then looking has to do.
                None => in_the_background_too(|| write_if_ready(output, bytes)),
            },
            FileType::RegularFile => write(output, bytes),
            _ => write_if_ready(output, bytes),
        }
    }
}

/// Opens the terminal that `output` leads to once more. By its descriptor only its owner may, and by its name whoever it
/// controls.
fn open_terminal(output: &impl AsFd) -> Option<OwnedFd> {
    let output = output.as_fd();
    if !output.is_terminal() {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let number = output.as_raw_fd();
    let controlling = || tcgetsid(output).is_ok().then(|| open("/dev/tty", flags, Mode::empty()).ok()).flatten();
    open(format!("/proc/self/fd/{number}"), flags, Mode::empty()).ok().or_else(controlling)
}

fn write_to_pipe(pipe: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match pwritev2(&pipe, &[IoSlice::new(bytes)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
        // A kernel before 6.4 cannot tell a write to a pipe not to wait: then looking has to do.
        Err(Errno::OPNOTSUPP) => write_if_ready(&pipe, bytes),
        written => written,
    }
}

/// Writes if that seems possible at once: a pipe is ready for as much as a line is cut to (poll(2)).
fn write_if_ready(output: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut awaited = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    let is_ready = poll(&mut awaited, PollTimeout::ZERO).is_ok() && awaited[0].revents() == Some(PollFlags::POLLOUT);
    if is_ready { write(&output, bytes) } else { Err(Errno::AGAIN) }
}

/// Writes to a terminal also where it is set to stop whoever writes to it from the background (`tostop`, termios(3)): the
/// signal for that is blocked meanwhile, and the terminal then takes what is written.
fn in_the_background_too(write: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let before = SigSet::from(Signal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let written = write();
    if let Ok(before) = before {
        before.thread_set_mask().expect("a mask that was in force can be in force again");
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use log::Record;
    use nix::pty::openpty;
    use nix::sys::termios::{FlowArg, tcflow};
    use tempfile::TempDir;

    use super::*;
    use crate::line::{Format, line};

    fn text_of(line: &str) -> &str {
        line.split_once("] ").expect("the head ends with the module").1
    }

    fn line_of(text: &str) -> String {
        let arguments = format_args!("{text}");
        let record = Record::builder().level(log::Level::Info).target("test").args(arguments).build();
        line(&record, Format::Text, false)
    }

    /// Several processes share a full pipe, of which somebody reads a little now and then.
    #[test]
    fn lines_are_whole_or_missing_and_nobody_waits_however_many_share_a_full_pipe() {
        const WRITERS: usize = 4;
        const LINES: u64 = 20_000;
        let (reader, writer) = io::pipe().unwrap();
        let dropped = AtomicU64::new(0);
        let heard = thread::scope(|scope| {
            for number in 0..WRITERS {
                let (dropped, writer) = (&dropped, writer.try_clone().unwrap());
                scope.spawn(move || {
                    let output = StandardError::on(writer);
                    let text = number.to_string().repeat([1, 100, 3000, 4000][number]);
                    for _ in 0..LINES {
                        let written = output.try_write(&line_of(&text));
                        dropped.fetch_add(u64::from(written.is_err()), Ordering::Relaxed);
                    }
                });
            }
            drop(writer);
            // With the last writer, all are done: whoever waited would have waited for this reader, which pauses.
            let mut heard = 0;
            for line in BufReader::with_capacity(512, reader).lines() {
                let line = line.unwrap();
                let text = text_of(&line);
                let first = text.chars().next().unwrap();
                let length = [1, 100, 3000, 4000][first.to_digit(10).unwrap() as usize];
                assert!(text.len() == length && text.chars().all(|character| character == first), "{line}");
                heard += 1;
                (0..heard % 64).for_each(|_| thread::yield_now());
            }
            heard
        });
        assert_eq!(heard + dropped.load(Ordering::Relaxed), WRITERS as u64 * LINES);
        assert!(dropped.load(Ordering::Relaxed) > 0, "the pipe was full");
    }

    #[test]
    fn a_full_pipe_that_nobody_reads_is_not_waited_for() {
        let (_reader, writer) = io::pipe().unwrap();
        let output = StandardError::on(writer);
        let mut written = 0;
        while output.try_write(&line_of(&"x".repeat(4000))).is_ok() {
            written += 1;
        }
        assert_eq!(written, 16, "a pipe has room for 64 KiB (pipe(7))");
        assert_eq!(output.try_write(&line_of(&"x".repeat(4000))), Err(Errno::AGAIN));
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error() {
        let (_, writer) = io::pipe().unwrap();
        assert_eq!(StandardError::on(writer).try_write(&line_of("text")), Err(Errno::PIPE));
    }

    #[test]
    fn a_line_of_which_a_socket_took_a_part_is_ended_before_the_next() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let output = StandardError::on(&theirs);
        output.state.lock().unwrap().is_torn = true;
        (&theirs).write_all(b"the beginning").unwrap();
        output.try_write(&line_of("text")).unwrap();
        assert!(!output.state.lock().unwrap().is_torn);
        drop(theirs);
        let mut all = String::new();
        ours.read_to_string(&mut all).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!((lines[0], text_of(lines[1])), ("the beginning", "text"));
    }

    #[test]
    fn a_socket_that_nobody_reads_is_not_waited_for() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let output = StandardError::on(theirs);
        let full = (0..100_000).any(|_| output.try_write(&line_of(&"x".repeat(1000))).is_err());
        assert!(full);
    }

    #[test]
    fn lines_of_several_to_one_file_are_whole_and_none_is_empty() {
        const WRITERS: usize = 4;
        const LINES: usize = 2000;
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    // Each opens it by itself, as processes do.
                    let output = StandardError::on(OpenOptions::new().create(true).append(true).open(&path).unwrap());
                    (0..LINES).for_each(|number| output.try_write(&line_of(&format!("line {number}"))).unwrap());
                });
            }
        });
        let lines: Vec<String> = BufReader::new(File::open(&path).unwrap()).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), WRITERS * LINES);
        assert!(lines.iter().all(|line| line.starts_with("20") && text_of(line).starts_with("line ")));
    }

    #[test]
    fn a_terminal_that_is_stopped_is_not_waited_for_and_nobody_elses_writes_are_changed() {
        let terminal = openpty(None, None).unwrap();
        let output = StandardError::on(terminal.slave.try_clone().unwrap());
        output.try_write(&line_of("before")).unwrap();
        // What Ctrl-S does.
        tcflow(&terminal.slave, FlowArg::TCOOFF).unwrap();
        assert_eq!(output.try_write(&line_of("while it is stopped")), Err(Errno::AGAIN));
        let flags = rustix::fs::fcntl_getfl(&terminal.slave).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
        output.leave_terminal();
        assert!(output.state.lock().unwrap().terminal.is_none());
    }

    #[test]
    fn the_journal_is_known_by_its_stream_alone() {
        let (_reader, writer) = io::pipe().unwrap();
        let stream = Stream::of(&writer).unwrap();
        let named = format!("{}:{}", stream.device, stream.inode);
        let another = format!("{}:{}", stream.device, stream.inode + 1);
        for (variable, is_journal) in
            [(Some(named), true), (Some(another), false), (Some("8".to_owned()), false), (None, false)]
        {
            let mut output = StandardError::on(&writer);
            output.journal = variable.as_deref().and_then(Stream::parse);
            assert_eq!(output.is_journal(), is_journal, "{variable:?}");
        }
    }

    #[test]
    fn what_is_passed_on_to_the_journal_is_for_it_until_that_ends() {
        let (_reader, journal) = io::pipe().unwrap();
        let (_predecessor, writer) = io::pipe().unwrap();
        let mut output = StandardError::on(&writer);
        output.journal = Stream::of(&journal);
        output.is_passed_on_to(writer.as_raw_fd());
        assert!(!output.is_journal());
        output.is_passed_on_to(journal.as_raw_fd());
        assert!(output.is_journal());
        output.look_again();
        assert!(!output.is_journal());
    }
}
