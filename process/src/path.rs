//! The takeover path: the Unix socket on which a successor calls (unix(7)).
//!
//! It owns the file: how it comes to be, who may call, and that it is removed only by the process it belongs to. What
//! is at the path and is not a takeover socket that nobody answers on is left alone.

use std::fmt;
use std::fs::{DirBuilder, File, FileType, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::{UnixListener, UnixStream};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use crate::accept::kernel_backlog;
use crate::channel::Channel;
use crate::frame::Refuse;

/// The bytes that a Unix socket's path may have: `sun_path` has 108, and the last one is a NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The bytes that a takeover path may have: those of any Unix socket.
pub const TAKEOVER_PATH_BYTES_MAX: usize = SOCKET_PATH_BYTES_MAX;

/// How many callers may wait in the kernel.
const BACKLOG: i32 = 64;

/// How long to wait for another process that is binding a takeover path in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The uid that stands for those that cannot be shown, unless the machine's administrator has chosen another.
const OVERFLOW_UID: u32 = 65534;

/// Why a takeover path cannot be used.
#[derive(Debug)]
#[non_exhaustive]
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

impl PathError {
    /// What is wrong with the path, for who has named it already.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Length { .. } => self.to_string(),
            Self::Alive { .. } => "another server answers on it".to_owned(),
            Self::NoSocket { what, .. } => format!("it is {what}"),
            Self::Io { what, error, .. } => format!("{what}: {error}"),
        }
    }
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

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Length { .. } | Self::Alive { .. } | Self::NoSocket { .. } => None,
        }
    }
}

/// Why a caller is not heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// Its uid is neither the server's nor root's.
    Uid {
        /// The server's.
        ours: u32,
        /// The caller's.
        theirs: u32,
    },
    /// Its uid is what the kernel shows for any user that it cannot show.
    Unmapped {
        /// That uid.
        theirs: u32,
    },
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid { ours, theirs } => write!(f, "uid {theirs} may ask nothing of uid {ours}"),
            Self::Unmapped { theirs } => write!(
                f,
                "uid {theirs} stands for every user that this user namespace does not map, and may ask nothing"
            ),
        }
    }
}

/// The path of a service's Unix listener. Whoever drops it while it is its own removes it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file's device and inode: another one at the path is not ours to remove.
    file: (u64, u64),
    is_own: bool,
    /// The file is gone, and another one has its path.
    is_replaced: bool,
}

impl SocketFile {
    /// Binds `path`, for this user alone, and listens. A socket that nobody answers on is replaced. Whether somebody does is
    /// found out without a connection, which a service would take for a client's.
    ///
    /// # Errors
    /// If the path cannot be a socket's, or is taken.
    pub fn bind_quietly(path: &Path, backlog: Option<u32>) -> Result<(OwnedFd, Self), PathError> {
        let path = absolute(path)?;
        let (socket, file) = bind_free(&path, answers_quietly, kernel_backlog(backlog), LOCK_PATIENCE)?;
        Ok((socket, Self { path, file, is_own: true, is_replaced: false }))
    }

    /// The path that a predecessor has bound, as the file with this device and inode.
    pub fn of_predecessor(path: PathBuf, file: (u64, u64)) -> Self {
        Self { path, file, is_own: false, is_replaced: false }
    }

    /// Binds the same path anew and listens there, where it does not lead here any more. Nobody is waited for. A directory that
    /// is gone is made anew.
    ///
    /// # Errors
    /// If the path cannot be had.
    pub fn bind_anew(&self, backlog: Option<u32>) -> Result<(OwnedFd, Self), PathError> {
        restore_directory(&self.path)?;
        let (socket, file) = bind_free(&self.path, answers_quietly, kernel_backlog(backlog), Duration::ZERO)?;
        Ok((socket, Self { path: self.path.clone(), file, is_own: true, is_replaced: false }))
    }

    /// Another file has its path from now on: there is nothing to be removed any more.
    pub fn note_replaced(&mut self) {
        (self.is_own, self.is_replaced) = (false, true);
    }

    /// Whether another file has its path.
    pub fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    /// The path, made absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the path.
    pub fn file(&self) -> (u64, u64) {
        self.file
    }

    /// It is this process's to remove from now on.
    pub fn own(&mut self) {
        self.is_own = !self.is_replaced;
    }

    /// It is another process's from now on.
    pub fn disown(&mut self) {
        self.is_own = false;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // After a panic the path may be a standby's, which serves on there.
        if self.is_own && !std::thread::panicking() {
            remove(&self.path, self.file, "Path");
        }
    }
}

/// The takeover listener, and the path that leads to it.
#[derive(Debug)]
pub struct TakeoverListener {
    listener: UnixListener,
    path: PathBuf,
    /// The file's device and inode: another one at the path is not ours to remove.
    file: (u64, u64),
    /// Whether this process has bound it, rather than a predecessor.
    bound_here: bool,
}

/// Somebody who calls on the takeover path, and may.
#[derive(Debug)]
pub struct Call {
    /// The connection to it.
    pub socket: UnixStream,
    /// The process id of the other side, or 0 where it is in another pid namespace.
    pub pid: u32,
}

impl TakeoverListener {
    /// Binds `path`, for this user alone. A socket that nobody answers on is replaced.
    ///
    /// # Errors
    /// If the path cannot be a socket's, or is taken.
    pub fn bind(path: &Path) -> Result<Self, PathError> {
        let path = absolute(path)?;
        let uid = geteuid().as_raw();
        if stands_for_anybody(uid) {
            warn!("Takeover path {}: {}; choose another user", path.display(), NotAllowed::Unmapped { theirs: uid });
        }
        let answers = |path: &Path| call(path).map(|call| (call.pid != 0).then_some(call.pid));
        let (socket, file) = bind_free(&path, answers, BACKLOG, LOCK_PATIENCE)?;
        Ok(Self { bound_here: true, ..Self::adopt(socket, path, file) })
    }

    /// The listener that a predecessor bound to `path`, as the file with this device and inode.
    pub fn adopt(socket: OwnedFd, path: PathBuf, file: (u64, u64)) -> Self {
        Self { listener: UnixListener::from_std(socket.into()), path, file, bound_here: false }
    }

    /// The path, made absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the path.
    pub fn file(&self) -> (u64, u64) {
        self.file
    }

    /// Whether this process has bound it, rather than a predecessor.
    pub fn bound_here(&self) -> bool {
        self.bound_here
    }

    /// The listener, for the loop to register.
    pub fn source(&mut self) -> &mut UnixListener {
        &mut self.listener
    }

    /// The next caller, or `None` if there is none now. Those who may not call are refused here, before anything they
    /// have said is read, and `complain` writes a line about each.
    ///
    /// # Errors
    /// If the kernel has no caller to give though there may be one.
    pub fn accept(&self, complain: &mut dyn FnMut(fmt::Arguments<'_>)) -> io::Result<Option<Call>> {
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
                    complain(format_args!("A caller on the takeover path is nobody that the kernel knows: {errno}"));
                    continue;
                }
            };
            let pid = caller.pid().unsigned_abs();
            match check_caller(caller.uid(), geteuid().as_raw(), stands_for_anybody) {
                Ok(()) => return Ok(Some(Call { socket, pid })),
                Err(refusal) => {
                    complain(format_args!("Caller pid {pid} refused: {refusal}"));
                    refuse(socket, &refusal);
                }
            }
        }
    }

    /// Another listener on the same path, which does not lead here any more. Nobody is waited for and nobody called, for a
    /// server does this while it serves. A directory that is gone is made anew if it is this process's own to make.
    ///
    /// # Errors
    /// If the path cannot be had.
    pub fn bind_anew(&self, is_own_directory: bool) -> Result<Self, PathError> {
        if is_own_directory {
            restore_directory(&self.path)?;
        }
        let (socket, file) = bind_free(&self.path, answers_quietly, BACKLOG, Duration::ZERO)?;
        Ok(Self { bound_here: true, ..Self::adopt(socket, self.path.clone(), file) })
    }

    /// Makes this process the one that callers see. `SO_PEERCRED` shows a caller who called listen(2) last, and on a
    /// listener that has been handed over that is a process which is gone (unix(7)).
    pub fn sign(&self) -> io::Result<()> {
        Ok(listen(&self.listener, BACKLOG)?)
    }

    /// Removes the path, if it still leads here.
    pub fn remove(&self) {
        remove(&self.path, self.file, "Takeover path");
    }
}

/// What somebody listens on who has a path.
pub trait OnPath: Sized {
    /// What the path is called at the beginning of a line of the log.
    const WHAT: &str;

    /// The path, made absolute.
    fn path(&self) -> &Path;

    /// Whether the path leads here.
    fn is_at_its_path(&self) -> bool;
}

impl OnPath for TakeoverListener {
    const WHAT: &str = "Takeover path";

    fn path(&self) -> &Path {
        &self.path
    }

    fn is_at_its_path(&self) -> bool {
        leads_to(&self.path, self.file)
    }
}

impl OnPath for SocketFile {
    const WHAT: &str = "Path";

    fn path(&self) -> &Path {
        &self.path
    }

    fn is_at_its_path(&self) -> bool {
        leads_to(&self.path, self.file)
    }
}

/// Whether this file is at a path.
fn leads_to(path: &Path, file: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == file)
}

/// Removes a path, if it is still this file. `what` it is begins a line of the log.
fn remove(path: &Path, file: (u64, u64), what: &str) {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if (metadata.dev(), metadata.ino()) == file => {
            if let Err(error) = std::fs::remove_file(path) {
                warn!("{what} {} is left behind: {error}", path.display());
            }
        }
        Ok(_) => warn!("{what} {} belongs to somebody else by now, and is left alone", path.display()),
        // Also by whoever cleans up after a process that has ended.
        Err(error) if error.kind() == ErrorKind::NotFound => info!("{what} {} is gone already", path.display()),
        Err(error) => warn!("{what} {} is left behind: {error}", path.display()),
    }
}

/// The path as it will be bound.
fn absolute(path: &Path) -> Result<PathBuf, PathError> {
    let path = std::path::absolute(path).map_err(|_| PathError::Length { path: path.to_owned() })?;
    if path.as_os_str().as_bytes().len() > TAKEOVER_PATH_BYTES_MAX {
        return Err(PathError::Length { path });
    }
    Ok(path)
}

/// Makes the directory of a path anew, for this user alone, if there is none.
fn restore_directory(path: &Path) -> Result<(), PathError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(PathError::Io { path: path.to_owned(), what: "make its directory", error })
        }
        _ => Ok(()),
    }
}

/// Binds a path for this user alone, and listens; of a socket that nobody answers on, it makes it free first. Returns the
/// file's device and inode with it.
fn bind_free(
    path: &Path,
    answers: Answers,
    backlog: i32,
    patience: Duration,
) -> Result<(OwnedFd, (u64, u64)), PathError> {
    let in_context = |what| move |error: io::Error| PathError::Io { path: path.to_owned(), what, error };
    let lock = lock_directory(path, patience)?;
    clear(path, answers)?;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| in_context("socket")(errno.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| in_context("address")(errno.into()))?;
    bind(&socket, &address).map_err(|errno| in_context("bind")(errno.into()))?;
    // Nobody can connect before listen, so nobody gets in before the mode is right.
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(in_context("chmod"))?;
    listen(&socket, backlog).map_err(|errno| in_context("listen")(errno.into()))?;
    let metadata = std::fs::symlink_metadata(path).map_err(in_context("stat"))?;
    drop(lock);
    Ok((socket, (metadata.dev(), metadata.ino())))
}

/// Whether somebody answers at a path, and as which process if that is known. If nobody does, the connection is refused.
type Answers = fn(&Path) -> io::Result<Option<u32>>;

/// The same without a connection: a socket of another type is told that it is one, if there is anybody to tell it (unix(7)).
fn answers_quietly(path: &Path) -> io::Result<Option<u32>> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::PROTOTYPE) | Ok(()) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl AsFd for TakeoverListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Connects to the server on `path`, and says who that is.
pub fn call(path: &Path) -> io::Result<Call> {
    let socket = UnixStream::connect(path).map_err(|error| match std::fs::metadata(path) {
        // The kernel says the same of these as of a socket that nobody answers on.
        Ok(metadata) if error.kind() == ErrorKind::ConnectionRefused && !metadata.file_type().is_socket() => {
            io::Error::other(format!("it is {}", what_is_no_socket(metadata.file_type())))
        }
        _ => error,
    })?;
    let pid = getsockopt(&socket, PeerCredentials)?.pid().unsigned_abs();
    Ok(Call { socket, pid })
}

/// Whether somebody serves on this path, whom this process might take over from.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    call(path).is_ok()
}

/// Whether a user may take over: this one and root may.
fn check_caller(theirs: u32, ours: u32, stands_for_anybody: impl FnOnce(u32) -> bool) -> Result<(), NotAllowed> {
    match theirs {
        theirs if theirs != ours && theirs != 0 => Err(NotAllowed::Uid { ours, theirs }),
        theirs if stands_for_anybody(theirs) => Err(NotAllowed::Unmapped { theirs }),
        _ => Ok(()),
    }
}

/// Whether the kernel shows this uid also for users that the user namespace does not map (user_namespaces(7)), so that it
/// may be anybody's. Where `/proc` does not tell, it may.
pub fn stands_for_anybody(uid: u32) -> bool {
    let overflow_uid = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    let overflow_uid = overflow_uid.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW_UID);
    uid == overflow_uid && !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_everybody(&map))
}

/// Whether a map of users, lines of first uid inside, first uid outside and length, leaves nobody out.
fn maps_everybody(map: &str) -> bool {
    let lengths = map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    lengths.sum::<u64>() >= u32::MAX.into()
}

/// Tells a caller why it is not heard.
pub fn refuse(socket: UnixStream, refusal: &impl fmt::Display) {
    match Channel::of_predecessor(socket) {
        Ok(channel) => channel.close_with(&Refuse::frame(refusal)),
        Err(error) => debug!("A caller was not told why it is not heard: {error}"),
    }
}

/// Makes the path free, if nobody answers on it.
fn clear(path: &Path, answers: Answers) -> Result<(), PathError> {
    let in_context = |what| move |error| PathError::Io { path: path.to_owned(), what, error };
    let file_type = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(in_context("stat")(error)),
    };
    if !file_type.is_socket() {
        return Err(PathError::NoSocket { path: path.to_owned(), what: what_is_no_socket(file_type) });
    }
    match answers(path) {
        Ok(pid) => Err(PathError::Alive { path: path.to_owned(), pid }),
        // Its queue is full, so it has one.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(PathError::Alive { path: path.to_owned(), pid: None })
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            info!("Path {} was left behind by a process that is gone, and is replaced", path.display());
            std::fs::remove_file(path).map_err(in_context("remove"))
        }
        Err(error) => Err(in_context("connect")(error)),
    }
}

/// What a file is that is no socket.
fn what_is_no_socket(file_type: FileType) -> &'static str {
    match file_type {
        _ if file_type.is_file() => "a regular file",
        _ if file_type.is_dir() => "a directory",
        _ if file_type.is_symlink() => "a symbolic link",
        _ => "no socket",
    }
}

/// Locks the directory of `path`, so that of two servers that find a stale path only one replaces it. The lock goes
/// with the returned value.
fn lock_directory(path: &Path, patience: Duration) -> Result<Option<Flock<File>>, PathError> {
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
            Err((unlocked, nix::errno::Errno::EWOULDBLOCK)) if began.elapsed() < patience => file = unlocked,
            Err((_, errno)) => {
                // Whoever can read a shared directory can lock it. That must not keep a server from starting.
                warn!("Directory {} cannot be locked ({errno}); going on without", directory.display());
                return Ok(None);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_may_be_anybody_may_not_take_over() {
        let anybody = |uid| uid == 65534;
        let refused = NotAllowed::Uid { ours: 0, theirs: 1000 };
        assert_eq!(refused.to_string(), "uid 1000 may ask nothing of uid 0");
        for (theirs, ours) in [(1, 1), (0, 1), (0, 0)] {
            assert_eq!(check_caller(theirs, ours, anybody), Ok(()));
        }
        for ours in [0, 1, 65534] {
            assert_eq!(check_caller(2, ours, anybody), Err(NotAllowed::Uid { ours, theirs: 2 }));
        }
        assert_eq!(check_caller(65534, 65534, anybody), Err(NotAllowed::Unmapped { theirs: 65534 }));
    }

    #[test]
    fn a_map_leaves_nobody_out_if_its_lines_are_as_long_as_all_uids() {
        assert!(maps_everybody("         0          0 4294967295\n"));
        assert!(maps_everybody("0 0 1000\n1000 1000 1\n1001 1001 4294966294\n"));
        for map in ["", "0 1000 1\n", "0 1000 1\n1 100000 65536\n", "nonsense"] {
            assert!(!maps_everybody(map), "{map}");
        }
    }
}
