//! A log file that is found again when it has been moved: standard output and standard error, led into a file.
//!
//! Whoever rotates logs renames or removes the file, and expects a new one at the path. No signal is needed for that:
//! before a line is written, and at most once a second, it is looked whether the path still leads to the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdout};

/// How long lines may go on into a file that has been moved, so that looking for it costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file at a path, by whatever name it has now.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    looked_at: Instant,
}

impl LogFile {
    /// Opens the file at `path` to append to it, or makes one. A relative path starts at the directory that this
    /// process is in now.
    ///
    /// # Errors
    /// If there is no such file and none can be made, or if it is no file that lines can be appended to.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = open(&path)?;
        Ok(Self { path, current: Mutex::new(Current { file, looked_at: Instant::now() }) })
    }

    /// The file, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leads standard output and standard error into the file, for this process and those that it starts.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn lead_streams(&self) -> io::Result<()> {
        let current = self.current();
        dup2_stdout(&current.file)?;
        dup2_stderr(&current.file)?;
        Ok(())
    }

    /// Leads the streams into a new file at the path, if it does not lead to the current one any more.
    ///
    /// # Errors
    /// If a new file cannot be had. Lines then go on into the current one.
    pub(crate) fn follow(&self, now: Instant) -> io::Result<()> {
        if self.reopen_if_moved(now)? { self.lead_streams() } else { Ok(()) }
    }

    /// Opens a new file at the path, if it does not lead to the current one any more, and says whether it did.
    fn reopen_if_moved(&self, now: Instant) -> io::Result<bool> {
        let mut current = self.current();
        if now.saturating_duration_since(current.looked_at) < LOOK_EVERY {
            return Ok(false);
        }
        current.looked_at = now;
        if leads_to(&self.path, &current.file) {
            return Ok(false);
        }
        current.file = open(&self.path)?;
        Ok(true)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads would let this process wait, here or at any line.
    let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags.bits()).open(path)?;
    let file_type = file.metadata()?.file_type();
    if file_type.is_file() || file_type.is_char_device() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

fn leads_to(path: &Path, file: &File) -> bool {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    fn write(log_file: &LogFile, text: &str) {
        log_file.current().file.write_all(text.as_bytes()).unwrap();
    }

    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        write(&LogFile::open(&path).unwrap(), "after\n");
        assert_eq!(content(&path), "before\nafter\n");
    }

    #[test]
    fn log_file_that_was_moved_or_removed_is_made_anew_after_a_second() {
        let directory = TempDir::new().unwrap();
        let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
        let began = Instant::now();
        let log_file = LogFile::open(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        assert!(!log_file.reopen_if_moved(began).unwrap());
        write(&log_file, "into the moved file\n");
        let second_later = Instant::now() + LOOK_EVERY;
        assert!(log_file.reopen_if_moved(second_later).unwrap());
        write(&log_file, "into the new file\n");
        assert_eq!(content(&moved), "into the moved file\n");
        assert_eq!(content(&path), "into the new file\n");

        std::fs::remove_file(&path).unwrap();
        assert!(!log_file.reopen_if_moved(second_later).unwrap(), "it has looked at that instant");
        assert!(log_file.reopen_if_moved(second_later + LOOK_EVERY).unwrap());
        assert!(!log_file.reopen_if_moved(second_later + 2 * LOOK_EVERY).unwrap(), "it is in its place");
        assert_eq!(content(&path), "");
    }

    #[test]
    fn lines_go_on_into_the_moved_file_while_no_new_one_can_be_had() {
        let directory = TempDir::new().unwrap();
        let (place, moved) = (directory.path().join("place"), directory.path().join("moved"));
        std::fs::create_dir(&place).unwrap();
        let log_file = LogFile::open(&place.join("log")).unwrap();
        std::fs::rename(&place, &moved).unwrap();
        let error = log_file.reopen_if_moved(Instant::now() + LOOK_EVERY).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        write(&log_file, "line\n");
        assert_eq!(content(&moved.join("log")), "line\n");
    }

    #[test]
    fn what_cannot_take_lines_at_any_time_is_no_log_file() {
        let directory = TempDir::new().unwrap();
        let pipe = directory.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let read_and_write = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        assert!(LogFile::open(&pipe).unwrap_err().to_string().contains("no regular file"));
        drop(read_and_write);
        LogFile::open(&pipe).unwrap_err();
        LogFile::open(directory.path()).unwrap_err();
        LogFile::open(Path::new("/dev/null")).unwrap();
    }
}
