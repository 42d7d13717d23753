//! The pid file: it tells which process runs, and keeps a second one from starting.
//!
//! What counts is the lock on the file (flock(2)), not what is written in it: the kernel takes the lock away when the
//! process ends, however it ends, so a file without a lock is stale, even if another process has that pid by now. The
//! lock belongs to the open file and not to the process. So it goes through execve(2) with the descriptor, for a
//! process that executes another binary in place: it keeps the descriptor open ([`AsFd`]), and the binary takes it up
//! with [`PidFile::adopt`].

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::{debug, warn};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// More than any pid and its newline, so that a longer file is seen to be something else.
const CONTENT_BYTES_MAX: u64 = 32;

/// Why a pid file cannot be had.
#[derive(Debug)]
pub(crate) enum PidFileError {
    /// A running process holds it.
    Alive {
        /// The file.
        path: PathBuf,
        /// The process, if it has written its pid already.
        pid: Option<u32>,
    },
    /// What is there is no pid file.
    NoPidFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A system call failed.
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl std::fmt::Display for PidFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alive { path, pid: Some(pid) } => write!(f, "pid {pid} runs and holds pid file {}", path.display()),
            Self::Alive { path, pid: None } => write!(f, "a running process holds pid file {}", path.display()),
            Self::NoPidFile { path, what } => write!(f, "pid file {} is {what}; it is left alone", path.display()),
            Self::Io { path, what, error } => write!(f, "pid file {}: {what}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PidFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Alive { .. } | Self::NoPidFile { .. } => None,
        }
    }
}

/// This process's pid file, locked. Dropping it removes the file, if it is still the one that was locked.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: Flock<File>,
    path: PathBuf,
}

impl PidFile {
    /// Locks the file at `path`, which need not exist yet, and writes this process's pid into it. A relative path
    /// starts at the directory that this process is in now.
    ///
    /// # Errors
    /// If a running process holds the file, if what is at `path` is no pid file, or if a system call fails. Whatever is
    /// there then stays as it is.
    pub(crate) fn claim(path: &Path) -> Result<Self, PidFileError> {
        let path = absolute(path)?;
        let file = loop {
            let file = lock(&path, open(&path)?)?;
            if leads_to(&path, &file) {
                break file;
            }
            // Whoever held it has removed it since it was opened here.
        };
        if pid_in(&file).is_err() {
            return Err(PidFileError::NoPidFile { path, what: "some other file" });
        }
        let pid_file = Self { file, path };
        pid_file.write().map_err(in_context(&pid_file.path, "write"))?;
        Ok(pid_file)
    }

    /// Takes up the file at `path` that this process had locked before it executed the binary that it runs now: `file`
    /// is the descriptor that was kept open for that.
    ///
    /// # Errors
    /// If the file cannot be locked, because it never was.
    pub(crate) fn adopt(path: &Path, file: OwnedFd) -> Result<Self, PidFileError> {
        // A directory that was removed takes the file along, and then there is nothing to be found again.
        let path = absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = lock(&path, file.into())?;
        Ok(Self { file, path })
    }

    fn write(&self) -> io::Result<()> {
        let mut file: &File = &self.file;
        // Whoever starts this process has another mode in mind for other files.
        file.set_permissions(Permissions::from_mode(0o644))?;
        // Not emptied first: whoever reads it meanwhile finds a number.
        let line = format!("{}\n", std::process::id());
        file.rewind()?;
        file.write_all(line.as_bytes())?;
        file.set_len(line.len() as u64)
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It is locked until it is gone, so nobody can claim it in between.
        if !leads_to(&self.path, &self.file) {
            warn!("Pid file {} belongs to somebody else by now, or is gone", self.path.display());
        } else if let Err(error) = std::fs::remove_file(&self.path) {
            warn!("Pid file {} is left behind: {error}", self.path.display());
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, PidFileError> {
    std::path::absolute(path).map_err(in_context(path, "make it absolute"))
}

/// Opens what is at `path`, or makes a file there.
fn open(path: &Path) -> Result<File, PidFileError> {
    let no_pid_file = |what| PidFileError::NoPidFile { path: path.to_owned(), what };
    // A symbolic link in a directory that others may write to could lead to any file. Nor is this to wait for whoever
    // opens the other end of a pipe.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags.bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Err(no_pid_file("a symbolic link")),
        Err(error) if error.kind() == ErrorKind::IsADirectory => return Err(no_pid_file("a directory")),
        Err(error) => return Err(in_context(path, "open")(error)),
    };
    let file_type = file.metadata().map_err(in_context(path, "stat"))?.file_type();
    match file_type {
        _ if file_type.is_file() => Ok(file),
        _ if file_type.is_fifo() => Err(no_pid_file("a pipe")),
        _ => Err(no_pid_file("no regular file")),
    }
}

fn lock(path: &Path, file: File) -> Result<Flock<File>, PidFileError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, errno)| match errno {
        Errno::EWOULDBLOCK => PidFileError::Alive { path: path.to_owned(), pid: pid_in(&file).unwrap_or(None) },
        errno => in_context(path, "lock")(errno.into()),
    })
}

/// Whether `path` leads to this file, rather than to another one or to nothing.
fn leads_to(path: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        (there, here) => {
            debug!("Pid file {}: {:?}, {:?}", path.display(), there.err(), here.err());
            false
        }
    }
}

/// The pid in a pid file, or `None` if nothing is written in it yet.
///
/// # Errors
/// If what is in it is no pid.
fn pid_in(mut file: &File) -> io::Result<Option<u32>> {
    let mut content = String::new();
    file.rewind()?;
    file.take(CONTENT_BYTES_MAX).read_to_string(&mut content)?;
    match content.trim_end() {
        "" => Ok(None),
        pid => pid.parse().map(Some).map_err(io::Error::other),
    }
}

fn in_context(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> PidFileError {
    move |error| PidFileError::Io { path: path.to_owned(), what, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    fn place() -> (TempDir, PathBuf) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("pid");
        (directory, path)
    }

    fn own_line() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn pid_file_tells_the_pid_to_everybody_while_it_is_held() {
        let (_directory, path) = place();
        let pid_file = PidFile::claim(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own_line());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn pid_file_of_a_running_process_is_refused_with_its_pid_and_left_alone() {
        let (_directory, path) = place();
        let _pid_file = PidFile::claim(&path).unwrap();
        let error = PidFile::claim(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {} runs", std::process::id())), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own_line());
    }

    #[test]
    fn stale_pid_file_is_replaced_even_if_its_pid_lives() {
        let (_directory, path) = place();
        for stale in ["1\n", "4194304999", ""] {
            std::fs::write(&path, stale).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let _pid_file = PidFile::claim(&path).unwrap_or_else(|error| panic!("{stale:?}: {error}"));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), own_line());
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        }
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let (directory, path) = place();
        let other = directory.path().join("other");
        std::fs::write(&other, "my dissertation").unwrap();
        let refused = |path: &Path, what: &str| {
            let error = PidFile::claim(path).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("left alone"), "{error}");
        };
        refused(&other, "some other file");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "my dissertation");

        symlink(&other, &path).unwrap();
        refused(&path, "a symbolic link");
        assert!(path.is_symlink());

        refused(directory.path(), "a directory");

        let pipe = directory.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        refused(&pipe, "a pipe");
    }

    #[test]
    fn pid_file_in_a_missing_directory_is_an_error_that_names_it() {
        let (directory, _) = place();
        let error = PidFile::claim(&directory.path().join("missing/pid")).unwrap_err().to_string();
        assert!(error.contains("missing/pid: open: No such file or directory"), "{error}");
    }

    #[test]
    fn pid_file_that_is_somebody_elses_by_now_is_not_removed() {
        let (_directory, path) = place();
        let ours = PidFile::claim(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = PidFile::claim(&path).unwrap();
        drop(ours);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own_line());
        drop(theirs);
        assert!(!path.exists());
    }

    #[test]
    fn pid_file_stays_locked_while_its_descriptor_is_handed_on() {
        let (_directory, path) = place();
        let pid_file = PidFile::claim(&path).unwrap();
        let kept = pid_file.as_fd().try_clone_to_owned().unwrap();
        // As execve would: nothing is dropped, and the lock is the descriptor's.
        std::mem::forget(pid_file);
        assert!(PidFile::claim(&path).is_err());

        let adopted = PidFile::adopt(&path, kept).unwrap();
        assert!(PidFile::claim(&path).is_err());
        drop(adopted);
        assert!(!path.exists());
    }

    #[test]
    fn of_several_that_claim_and_leave_only_one_ever_holds_it() {
        let (_directory, path) = place();
        let held = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut claims_left = 200;
                    while claims_left > 0 {
                        if let Ok(pid_file) = PidFile::claim(&path) {
                            assert!(!held.swap(true, Ordering::SeqCst), "two hold {}", path.display());
                            assert_eq!(std::fs::read_to_string(&path).unwrap(), own_line());
                            held.store(false, Ordering::SeqCst);
                            drop(pid_file);
                            claims_left -= 1;
                        }
                    }
                });
            }
        });
    }
}
