//! The takeover path: the Unix socket on which a successor calls (unix(7)).
//!
//! It owns the file: how it comes to be, who may call, and that it is removed only by the process it belongs to. What
//! is at the path and is not a takeover socket that nobody answers on is left alone.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::net::{UnixListener, UnixStream};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::channel::Channel;
use super::predecessor::Refusal;

/// The bytes that a Unix socket's path may have: `sun_path` has 108, and the last one is a NUL (unix(7)).
pub const TAKEOVER_PATH_BYTES_MAX: usize = 107;

/// How many callers may wait in the kernel.
const BACKLOG: i32 = 64;

/// How long to wait for another process that is binding a takeover path in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Why a takeover path cannot be used.
#[derive(Debug)]
pub enum PathError {
    /// It is longer than a Unix socket's path may be, or empty.
    Length {
        /// The path, made absolute.
        path: PathBuf,
    },
    /// A live server answers on it.
    Alive {
        /// The path.
        path: PathBuf,
        /// The server's process id, where the kernel tells.
        pid: Option<u32>,
    },
    /// Something is there that is no socket.
    NoSocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A system call failed.
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { path } => write!(
                f,
                "takeover path {} has {} bytes, 1 to {TAKEOVER_PATH_BYTES_MAX} are allowed",
                path.display(),
                path.as_os_str().len()
            ),
            Self::Alive { path, pid: Some(pid) } => {
                write!(
                    f,
                    "pid {pid} serves on takeover path {path}; take over from it with -T {path}, or choose another path with -t",
                    path = path.display()
                )
            }
            Self::Alive { path, pid: None } => write!(f, "a live server answers on takeover path {}", path.display()),
            Self::NoSocket { path, what } => {
                write!(f, "takeover path {} is {what}; it is left alone", path.display())
            }
            Self::Io { path, what, error } => write!(f, "takeover path {}: {what}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PathError {}

/// The takeover listener, and the path that leads to it.
#[derive(Debug)]
pub(crate) struct TakeoverListener {
    listener: UnixListener,
    path: PathBuf,
    /// The file's device and inode: another one at the path is not ours to remove.
    file: (u64, u64),
    /// Whether this process has bound it, rather than a predecessor.
    bound_here: bool,
}

/// Somebody who calls on the takeover path, and may.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) socket: UnixStream,
    /// The process id of the other side, or 0 where it is in another pid namespace.
    pub(crate) pid: u32,
}

impl TakeoverListener {
    /// Binds `path`, for this user alone. A socket that nobody answers on is replaced.
    ///
    /// # Errors
    /// If the path cannot be a socket's, or is taken.
    pub(crate) fn bind(path: &Path) -> Result<Self, PathError> {
        let path = std::path::absolute(path).map_err(|_| PathError::Length { path: path.to_owned() })?;
        if path.as_os_str().as_bytes().len() > TAKEOVER_PATH_BYTES_MAX {
            return Err(PathError::Length { path });
        }
        let in_context = |what| {
            let path = path.clone();
            move |error: io::Error| PathError::Io { path, what, error }
        };
        let lock = lock_directory(&path)?;
        clear(&path)?;

        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| in_context("socket")(errno.into()))?;
        let address = SocketAddrUnix::new(&path).map_err(|errno| in_context("address")(errno.into()))?;
        bind(&socket, &address).map_err(|errno| in_context("bind")(errno.into()))?;
        // Nobody can connect before listen, so nobody gets in before the mode is right.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(in_context("chmod"))?;
        listen(&socket, BACKLOG).map_err(|errno| in_context("listen")(errno.into()))?;
        let metadata = std::fs::symlink_metadata(&path).map_err(in_context("stat"))?;
        drop(lock);
        let listener = Self::adopt(socket, path, (metadata.dev(), metadata.ino()));
        Ok(Self { bound_here: true, ..listener })
    }

    /// The listener that a predecessor bound to `path`, as the file with this device and inode.
    pub(crate) fn adopt(socket: OwnedFd, path: PathBuf, file: (u64, u64)) -> Self {
        Self { listener: UnixListener::from_std(socket.into()), path, file, bound_here: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the path.
    pub(crate) fn file(&self) -> (u64, u64) {
        self.file
    }

    /// Whether this process has bound it, rather than a predecessor.
    pub(crate) fn bound_here(&self) -> bool {
        self.bound_here
    }

    /// The listener, for the loop to register.
    pub(crate) fn source(&mut self) -> &mut UnixListener {
        &mut self.listener
    }

    /// The next caller, or `None` if there is none now. Those who may not call are refused here, before anything they
    /// have said is read.
    ///
    /// # Errors
    /// If the kernel has no caller to give though there may be one.
    pub(crate) fn accept(&self) -> io::Result<Option<Call>> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(error) => return Err(error),
            };
            let caller = match getsockopt(&socket, PeerCredentials) {
                Ok(caller) => caller,
                Err(errno) => {
                    warn!("A caller on the takeover path is nobody that the kernel knows: {errno}");
                    continue;
                }
            };
            let pid = caller.pid().unsigned_abs();
            let (ours, theirs) = (nix::unistd::geteuid().as_raw(), caller.uid());
            if theirs == ours || theirs == 0 {
                return Ok(Some(Call { socket, pid }));
            }
            let refusal = Refusal::Uid { ours, theirs };
            warn!("Takeover by pid {pid} refused: {refusal}");
            Channel::of_predecessor(socket).close_with(&refusal.frame());
        }
    }

    /// Makes this process the one that callers see. `SO_PEERCRED` shows a caller who called listen(2) last, and on a
    /// listener that has been handed over that is a process which is gone (unix(7)).
    pub(crate) fn sign(&self) -> io::Result<()> {
        Ok(listen(&self.listener, BACKLOG)?)
    }

    /// Removes the path, if it still leads here.
    pub(crate) fn remove(&self) {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.file => {
                if let Err(error) = std::fs::remove_file(&self.path) {
                    warn!("Takeover path {} is left behind: {error}", self.path.display());
                }
            }
            Ok(_) => warn!("Takeover path {} belongs to somebody else by now, and is left alone", self.path.display()),
            Err(error) => warn!("Takeover path {} is gone already: {error}", self.path.display()),
        }
    }
}

impl AsFd for TakeoverListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Connects to the server on `path`, and says who that is.
pub(crate) fn call(path: &Path) -> io::Result<Call> {
    let socket = UnixStream::connect(path)?;
    let pid = getsockopt(&socket, PeerCredentials)?.pid().unsigned_abs();
    Ok(Call { socket, pid })
}

/// Makes the path free, if nobody answers on it.
fn clear(path: &Path) -> Result<(), PathError> {
    let in_context = |what| move |error| PathError::Io { path: path.to_owned(), what, error };
    let file_type = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(in_context("stat")(error)),
    };
    if !file_type.is_socket() {
        let what = match file_type {
            _ if file_type.is_file() => "a regular file",
            _ if file_type.is_dir() => "a directory",
            _ if file_type.is_symlink() => "a symbolic link",
            _ => "no socket",
        };
        return Err(PathError::NoSocket { path: path.to_owned(), what });
    }
    match call(path) {
        Ok(Call { pid, .. }) => Err(PathError::Alive { path: path.to_owned(), pid: (pid != 0).then_some(pid) }),
        // Its queue is full, so it has one.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(PathError::Alive { path: path.to_owned(), pid: None })
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            debug!("Takeover path {} is stale, and is replaced", path.display());
            std::fs::remove_file(path).map_err(in_context("remove"))
        }
        Err(error) => Err(in_context("connect")(error)),
    }
}

/// Locks the directory of `path`, so that of two servers that find a stale path only one replaces it. The lock goes
/// with the returned value.
fn lock_directory(path: &Path) -> Result<Option<Flock<File>>, PathError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = File::open(directory).map_err(|error| PathError::Io {
        path: path.to_owned(),
        what: "open its directory",
        error,
    })?;
    let began = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((unlocked, nix::errno::Errno::EWOULDBLOCK)) if began.elapsed() < LOCK_PATIENCE => file = unlocked,
            Err((_, errno)) => {
                // Whoever can read a shared directory can lock it. That must not keep a server from starting.
                warn!("Directory {} cannot be locked ({errno}); going on without", directory.display());
                return Ok(None);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
