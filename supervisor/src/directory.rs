//! A directory of this user's alone, for the sockets of workers.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use log::warn;
use nix::unistd::mkdtemp;
use reactord_process::SOCKET_PATH_BYTES_MAX;

use crate::fleet::WorkerId;

/// More workers than are ever started; a longer number would not fit the length that is looked at.
const LAST_WORKER: WorkerId = WorkerId(9_999_999_999);

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes a directory in `place`, which need not be absolute.
    ///
    /// # Errors
    /// If it cannot be made, or if the paths of sockets in it would be too long.
    pub(crate) fn make_in(place: &Path) -> io::Result<Self> {
        let template = std::path::absolute(place)?.join("reactord-XXXXXX");
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
        Ok(Self(mkdtemp(&template)?))
    }

    /// The directory that an earlier binary has made.
    pub(crate) fn adopt(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a worker answers the one that takes its place.
    pub(crate) fn takeover_path(&self, worker: WorkerId) -> PathBuf {
        takeover_path(&self.0, worker)
    }

    /// Where a worker says that it is ready.
    pub(crate) fn notify_path(&self, WorkerId(id): WorkerId) -> PathBuf {
        self.0.join(format!("worker-{id}.notify"))
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
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            warn!("The directory {} is left behind: {error}", self.0.display());
        }
    }
}

fn takeover_path(directory: &Path, WorkerId(id): WorkerId) -> PathBuf {
    directory.join(format!("worker-{id}.takeover"))
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
}
