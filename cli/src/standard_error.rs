//! Lines to a pipe or a socket that nobody may be reading and that others may share: each by one write that does not
//! wait.
//!
//! To look first whether there is room, as poll(2) does, would say nothing about the moment after it. To set
//! `O_NONBLOCK` would set it for all processes that share the pipe (open(2)); so it is the write that is told not to
//! wait.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use log::Record;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};
use rustix::net::{SendFlags, send};
use time::OffsetDateTime;
use time::macros::format_description;

/// What a pipe takes whole or not at all (`PIPE_BUF`, pipe(7)). A longer line is cut.
const LINE_BYTES_MAX: usize = 4096;

/// The offset that stands for the end of a pipe (pwritev2(2)).
const NO_OFFSET: u64 = u64::MAX;

/// Whether it is a pipe or a socket.
pub(crate) fn is_shared(output: impl AsFd) -> bool {
    matches!(file_type(output), Some(FileType::Fifo | FileType::Socket))
}

fn file_type(output: impl AsFd) -> Option<FileType> {
    fstat(output).ok().map(|status| FileType::from_raw_mode(status.st_mode))
}

/// A record as `simple_logger` writes it.
pub(crate) fn line(record: &Record) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    let mut line = format!("{time} {:<5} [{}] {}", record.level(), record.target(), record.args());
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
    line.push('\n');
    line
}

/// Writes a line whole and at once. `torn` says whether only the beginning of the line before is there, and is told.
///
/// # Errors
/// If it is not all written. Only a socket ever takes a part.
pub(crate) fn try_write(output: impl AsFd, line: &str, torn: &AtomicBool) -> Result<(), Errno> {
    if torn.load(Ordering::Relaxed) {
        write_without_waiting(&output, b"\n")?;
        torn.store(false, Ordering::Relaxed);
    }
    let written = write_without_waiting(&output, line.as_bytes())?;
    torn.store(written < line.len(), Ordering::Relaxed);
    if written < line.len() { Err(Errno::AGAIN) } else { Ok(()) }
}

fn write_without_waiting(output: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    if file_type(&output) == Some(FileType::Socket) {
        return send(&output, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    match pwritev2(&output, &[IoSlice::new(bytes)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
        // A kernel before 6.4 cannot tell a write to a pipe not to wait: then looking has to do.
        Err(Errno::OPNOTSUPP) if has_room(&output) => write(&output, bytes),
        Err(Errno::OPNOTSUPP) => Err(Errno::AGAIN),
        written => written,
    }
}

/// Whether a line can be written now: a pipe is ready for as much as is cut to (poll(2)).
pub(crate) fn has_room(output: impl AsFd) -> bool {
    let mut awaited = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    poll(&mut awaited, PollTimeout::ZERO).is_ok() && awaited[0].revents() == Some(PollFlags::POLLOUT)
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    fn text_of(line: &str) -> &str {
        line.split_once("] ").expect("the head ends with the module").1
    }

    fn line_of(text: &str) -> String {
        line(&Record::builder().level(log::Level::Info).target("test").args(format_args!("{text}")).build())
    }

    #[test]
    fn a_line_is_as_simple_logger_writes_it() {
        let line = line_of("text");
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), rest), ("2026-11-20T13:50:00.000Z".len(), "INFO  [test] text\n"));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let line = line_of(&"ä".repeat(5000));
        assert!((LINE_BYTES_MAX - 1..=LINE_BYTES_MAX).contains(&line.len()) && line.ends_with("ä\n"));
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
                    let torn = AtomicBool::new(false);
                    let text = number.to_string().repeat([1, 100, 3000, 4000][number]);
                    for _ in 0..LINES {
                        let written = try_write(&writer, &line_of(&text), &torn);
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
        let torn = AtomicBool::new(false);
        let mut written = 0;
        while try_write(&writer, &line_of(&"x".repeat(4000)), &torn).is_ok() {
            written += 1;
        }
        assert_eq!(written, 16, "a pipe has room for 64 KiB (pipe(7))");
        assert_eq!(try_write(&writer, &line_of(&"x".repeat(4000)), &torn), Err(Errno::AGAIN));
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error() {
        let (_, writer) = io::pipe().unwrap();
        assert_eq!(try_write(&writer, &line_of("text"), &AtomicBool::new(false)), Err(Errno::PIPE));
    }

    #[test]
    fn a_line_of_which_a_socket_took_a_part_is_ended_before_the_next() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let torn = AtomicBool::new(true);
        (&theirs).write_all(b"the beginning").unwrap();
        try_write(&theirs, &line_of("text"), &torn).unwrap();
        assert!(!torn.load(Ordering::Relaxed));
        drop(theirs);
        let mut all = String::new();
        ours.read_to_string(&mut all).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!((lines[0], text_of(lines[1])), ("the beginning", "text"));
    }

    #[test]
    fn a_socket_that_nobody_reads_is_not_waited_for() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let torn = AtomicBool::new(false);
        let full = (0..100_000).any(|_| try_write(&theirs, &line_of(&"x".repeat(1000)), &torn).is_err());
        assert!(full);
    }
}
