//! A directory of this user's alone, for the sockets of workers.
//!
//! A file in it is locked as long as its supervisor lives: so one that was killed is found out, and its directory removed by the
//! next.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use log::{debug, info, warn};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{geteuid, mkdtemp};
use reactord_process::SOCKET_PATH_BYTES_MAX;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::fleet::WorkerId;

/// More workers than are ever started; a longer number would not fit the length that is looked at.
const LAST_WORKER: WorkerId = WorkerId(9_999_999_999);

/// How the name of such a directory begins, and how it ends where it is made.
const PREFIX: &str = "reactord-";
const TEMPLATE: &str = "reactord-XXXXXX";

/// The file that is locked.
const LOCK: &str = "supervisor.lock";

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// `None` if it could not be locked. That is no reason not to serve.
    lock: Option<Flock<File>>,
}

impl Directory {
    /// Makes a directory in `place`, which need not be absolute, and removes those that supervisors have left there that were
    /// killed.
    ///
    /// # Errors
    /// If it cannot be made, or if the paths of sockets in it would be too long.
    pub(crate) fn make_in(place: &Path) -> io::Result<Self> {
        let template = std::path::absolute(place)?.join(TEMPLATE);
        let longest = takeover_path(&template, LAST_WORKER);
        if template.to_str().is_none_or(|template| template.contains(char::is_control)) {
            // Workers are told such paths, and so is a binary that is executed in place of this one.
            return Err(io::Error::other(format!("{} is not text; choose another TMPDIR", place.display())));
        }
        let (bytes, bytes_max) = (longest.as_os_str().as_bytes().len(), SOCKET_PATH_BYTES_MAX);
        if bytes > bytes_max {
            return Err(io::Error::other(format!(
                "the paths of sockets in {} have up to {bytes} bytes, {bytes_max} are allowed; choose a shorter TMPDIR",
                place.display()
            )));
        }
        remove_leftovers(place);
        let path = mkdtemp(&template)
            .map_err(|errno| io::Error::other(format!("{}: {errno}; choose another TMPDIR", place.display())))?;
        let lock = lock(&path);
        Ok(Self { path, lock })
    }

    /// The directory that an earlier binary has made, with the file that it has locked.
    pub(crate) fn adopt(path: PathBuf, lock: Option<OwnedFd>) -> Self {
        let lock = lock.and_then(|lock| Flock::lock(File::from(lock), FlockArg::LockExclusiveNonblock).ok());
        Self { path, lock }
    }

    /// Makes it anew if somebody has removed it.
    ///
    /// # Errors
    /// If it is gone and cannot be made; the error names it.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => {
                warn!("The directory {} was removed, and is made anew", self.path.display());
                self.lock = lock(&self.path);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io::Error::other(format!("the directory {}: {error}", self.path.display()))),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is locked, for a binary that is executed in place of this one.
    pub(crate) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(|lock| lock.as_fd())
    }

    /// Where a worker answers the one that takes its place.
    pub(crate) fn takeover_path(&self, worker: WorkerId) -> PathBuf {
        takeover_path(&self.path, worker)
    }

    /// Where a worker says that it is ready.
    pub(crate) fn notify_path(&self, WorkerId(id): WorkerId) -> PathBuf {
        self.path.join(format!("worker-{id}.notify"))
    }

    /// Removes the sockets of a worker that is gone: one that was killed has left them behind.
    pub(crate) fn remove_sockets(&self, worker: WorkerId) {
        for path in [self.takeover_path(worker), self.notify_path(worker)] {
            // It has none, or has removed it itself.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!("The directory {} is left behind: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

fn takeover_path(directory: &Path, WorkerId(id): WorkerId) -> PathBuf {
    directory.join(format!("worker-{id}.takeover"))
}

/// Locks the file in the directory that says that its supervisor lives. It has its name only when it is locked.
fn lock(directory: &Path) -> Option<Flock<File>> {
    let unnamed = directory.join("supervisor.lock.new");
    let locked = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed).and_then(|file| {
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
        std::fs::rename(&unnamed, directory.join(LOCK))?;
        Ok(lock)
    });
    locked.map_err(|error| warn!("The directory {} is not locked: {error}", directory.display())).ok()
}

/// Removes the directories in `place` whose supervisors were killed, unless a worker of theirs still answers.
fn remove_leftovers(place: &Path) {
    // Whether they can be found is no matter of this supervisor.
    let Ok(entries) = std::fs::read_dir(place) else { return };
    let named = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_named(path));
    for path in named.filter(|path| is_left(path)) {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => {
                info!("The directory {} was left by a supervisor that was killed, and is removed", path.display())
            }
            Err(error) => debug!("The directory {} stays: {error}", path.display()),
        }
    }
}

fn is_named(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX) && name.len() == TEMPLATE.len())
}

/// Whether this is a directory of this user's supervisor, which is gone with all of its workers.
fn is_left(path: &Path) -> bool {
    let is_ours = std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0
    });
    let locks = |file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok();
    is_ours && File::open(path.join(LOCK)).is_ok_and(locks) && !is_answered(path)
}

/// Whether anybody listens on a socket in the directory. Nobody is called by that: a socket of another type is told that it is
/// one, if there is anybody to tell it (unix(7)).
fn is_answered(directory: &Path) -> bool {
    let answers = |path: PathBuf| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let called = socket.and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?));
        matches!(called, Ok(()) | Err(rustix::io::Errno::PROTOTYPE))
    };
    std::fs::read_dir(directory)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| answers(entry.path()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_refused_with_both_numbers_if_a_socket_there_could_have_too_long_a_path() {
        let place = tempfile::tempdir().unwrap();
        let rest = "/reactord-XXXXXX/worker-9999999999.takeover".len();
        let fill = SOCKET_PATH_BYTES_MAX - rest - place.path().as_os_str().len() - 1;
        let [just_short, too_long] = [fill, fill + 1].map(|bytes| place.path().join("x".repeat(bytes)));
        for path in [&just_short, &too_long] {
            std::fs::create_dir(path).unwrap();
        }
        let directory = Directory::make_in(&just_short).unwrap();
        std::os::unix::net::UnixListener::bind(directory.takeover_path(LAST_WORKER)).unwrap();

        let error = Directory::make_in(&too_long).unwrap_err().to_string();
        assert!(error.contains("up to 108 bytes, 107 are allowed"), "{error}");
        assert_eq!(std::fs::read_dir(&too_long).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_supervisor_has_left_is_removed_and_what_a_living_one_has_is_not() {
        let place = tempfile::tempdir().unwrap();
        let living = Directory::make_in(place.path()).unwrap();
        let killed = Directory::make_in(place.path()).unwrap();
        let killed_path = killed.path().to_owned();
        let listener = std::os::unix::net::UnixListener::bind(killed.takeover_path(WorkerId(1))).unwrap();
        let Directory { lock, .. } = &mut *std::mem::ManuallyDrop::new(killed);
        drop(lock.take());
        let _third = Directory::make_in(place.path()).unwrap();
        assert!(killed_path.exists(), "a worker still answers");
        drop(listener);
        let _fourth = Directory::make_in(place.path()).unwrap();
        assert!(!killed_path.exists() && living.path().exists());
    }

    #[test]
    fn a_directory_that_was_removed_is_made_anew_under_its_name() {
        let place = tempfile::tempdir().unwrap();
        let mut directory = Directory::make_in(place.path()).unwrap();
        std::fs::remove_dir_all(directory.path()).unwrap();
        directory.restore().unwrap();
        std::os::unix::net::UnixListener::bind(directory.takeover_path(WorkerId(1))).unwrap();
        let _other = Directory::make_in(place.path()).unwrap();
        assert!(directory.path().exists(), "it is locked again");
        drop(place);
        let error = directory.restore().unwrap_err().to_string();
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    }
}
