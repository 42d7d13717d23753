//! A listener of a service: its socket, what it is called, and whose peers come in there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use log::{debug, info, warn};
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use reactord_process::accept::{begin_to_listen, bind_beside, kernel_backlog, listen_on, share_port};
use reactord_process::path::{PathError, SocketFile};
use reactord_process::path_watch::PathWatch;

use crate::listen::{Listen, ListenError, Target};
use crate::peer::Address;
use crate::service::Accepted;
use crate::tls::Tls;

/// Somebody who has connected.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) socket: TcpStream,
    pub(super) address: Address,
    /// To which of the server's addresses.
    pub(super) at: Option<SocketAddr>,
}

impl Arrived {
    /// Somebody whom another process has accepted.
    pub(super) fn from_elsewhere((socket, from): (TcpStream, SocketAddr)) -> Self {
        let at = socket.local_addr().ok();
        Self { socket, address: Address::from(from), at }
    }
}

/// Somebody who has come in.
#[derive(Debug)]
pub(crate) struct Came<'l> {
    pub(crate) socket: TcpStream,
    pub(crate) address: Address,
    /// The number of the lane whose peer it is to be.
    pub(crate) lane: usize,
    /// What it speaks TLS with, if it does.
    pub(crate) tls: Option<&'l Tls>,
    pub(crate) how: Accepted<'l>,
}

/// A listener of a lane.
#[derive(Debug)]
pub(crate) struct Listener {
    name: String,
    lane: usize,
    socket: Socket,
    /// As its program has said it, if this process was told.
    backlog: Option<u32>,
    /// What its backlog is to be once it is this process's, where that may be another one.
    backlog_to_be: Option<i32>,
    /// Somebody who is neither a predecessor nor a successor has opened it, and may go on listening.
    is_borrowed: bool,
    /// What its clients speak TLS with, if they do.
    tls: Option<Tls>,
    /// It is bound beside a predecessor's listener, and nobody can connect before it is this process's turn.
    is_silent: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile, PathWatch),
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the address or the path cannot be used, or is taken.
    pub(crate) fn bind(lane: usize, listen: &Listen) -> Result<Self, ListenError> {
        let Listen { name, at, backlog, socket, tls } = listen;
        if let Some(adopted) = socket {
            let listener = Self::borrow(lane, name, at, adopted.open(*backlog))?;
            return Ok(listener.with_tls(tls.clone()));
        }
        let socket = match at {
            Target::Tcp(address) => listen_on(*address, *backlog).map_err(|failed| failed.error).and_then(Socket::tcp),
            Target::Unix(path) => SocketFile::bind_quietly(path, *backlog)
                .map_err(io_error)
                .map(|(socket, file)| Socket::unix(socket, file)),
        };
        let socket = socket.map_err(|error| ListenError { at: at.clone(), error })?;
        Ok(Self { backlog: *backlog, tls: tls.clone(), ..Self::of(lane, name.clone(), socket) })
    }

    /// Binds a TCP listener to this address beside those of a predecessor that have the same port, and does not listen yet:
    /// until the takeover has succeeded, whoever connects is the predecessor's.
    ///
    /// # Errors
    /// If the address cannot be used, or somebody else listens there, too.
    pub(super) fn bind_beside<'l>(
        lane: usize,
        listen: &Listen,
        address: SocketAddr,
        others: impl IntoIterator<Item = &'l Self>,
    ) -> io::Result<Self> {
        // It stays so if the takeover fails, which lets nobody in who does not share his port, too.
        others.into_iter().try_for_each(share_port)?;
        let socket = bind_beside(address).and_then(Socket::tcp)?;
        let Listen { name, backlog, tls, .. } = listen.clone();
        Ok(Self { backlog, tls, is_silent: true, ..Self::of(lane, name, socket) })
    }

    /// The listener that another process has opened.
    fn borrow(lane: usize, name: &str, at: &Target, opened: io::Result<OwnedFd>) -> Result<Self, ListenError> {
        let failed = |error| ListenError { at: at.clone(), error };
        let (socket, name) = (opened.map_err(failed)?, name.to_owned());
        let listener = match at {
            Target::Tcp(address) => Self::of_tcp(lane, name, socket, *address),
            Target::Unix(path) => {
                let path = std::path::absolute(path).map_err(failed)?;
                let file = std::fs::metadata(&path).map_err(failed)?;
                Self::of_unix(lane, name, socket, path, (file.dev(), file.ino()))
            }
        };
        Ok(listener.borrowed(true))
    }

    /// The listener that a predecessor has bound to this address.
    pub(crate) fn of_tcp(lane: usize, name: String, socket: OwnedFd, address: SocketAddr) -> Self {
        Self::of(lane, name, Socket::Tcp(TcpListener::from_std(socket.into()), address))
    }

    /// The listener that a predecessor has bound to this path, as the file with this device and inode.
    pub(crate) fn of_unix(lane: usize, name: String, socket: OwnedFd, path: PathBuf, file: (u64, u64)) -> Self {
        Self::of(lane, name, Socket::unix(socket, SocketFile::of_predecessor(path, file)))
    }

    fn of(lane: usize, name: String, socket: Socket) -> Self {
        Self { name, lane, socket, backlog: None, backlog_to_be: None, is_borrowed: false, tls: None, is_silent: false }
    }

    /// The same, which somebody else has opened, or has not.
    pub(crate) fn borrowed(self, is_borrowed: bool) -> Self {
        Self { is_borrowed, ..self }
    }

    /// The same, whose clients speak TLS with this, or do not.
    pub(crate) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// What its clients speak TLS with, if they do.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether somebody else has opened it, who may go on listening.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    /// The same for another lane, as it is to be there from when it is this process's.
    pub(super) fn wanted_as(self, lane: usize, listen: Listen) -> Self {
        let Listen { name, backlog, tls, .. } = listen;
        Self { lane, name, backlog, backlog_to_be: Some(kernel_backlog(backlog)), tls, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> Target {
        match &self.socket {
            Socket::Tcp(_, address) => Target::Tcp(*address),
            Socket::Unix(_, file, _) => Target::Unix(file.path().to_owned()),
        }
    }

    /// Device and inode of its path, if it has one.
    pub(crate) fn file(&self) -> Option<(u64, u64)> {
        match &self.socket {
            Socket::Tcp(..) => None,
            Socket::Unix(_, file, _) => Some(file.file()),
        }
    }

    /// Listens from now on, if it was only bound by now.
    pub(crate) fn begin(&mut self) {
        if std::mem::take(&mut self.is_silent)
            && let Err(error) = begin_to_listen(&*self, self.backlog)
        {
            warn!("Nobody can connect to {}: {error}", self.at());
        }
    }

    /// It is this process's from now on, and so is its path.
    pub(crate) fn own(&mut self) {
        // Not before: until then it is a predecessor's, who may go on with it. Who waits in it stays.
        if let Some(backlog) = self.backlog_to_be.take()
            && let Err(errno) = rustix::net::listen(&*self, backlog)
        {
            debug!("The backlog of {} stays as it is: {errno}", self.at());
        }
        if let Socket::Unix(_, file, _) = &mut self.socket
            && !self.is_borrowed
        {
            file.own();
        }
    }

    /// It is another process's from now on, and so is its path.
    pub(crate) fn disown(&mut self) {
        if let Socket::Unix(_, file, _) = &mut self.socket {
            file.disown();
        }
    }

    /// Whether it has a path that this process looks after.
    pub(super) fn has_own_path(&self) -> bool {
        matches!(self.socket, Socket::Unix(..)) && !self.is_borrowed
    }

    /// Whether another listener has its path, which did not lead here any more.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(&self.socket, Socket::Unix(_, file, _) if file.is_replaced())
    }

    /// Goes over to another socket on the same path where that does not lead here any more. Returns the one before, to which
    /// somebody may have connected while it did.
    pub(super) fn look_after_path(&mut self) -> Option<Self> {
        let Socket::Unix(_, file, watch) = &mut self.socket else { return None };
        let (socket, anew) = watch.look(file, |file| file.bind_anew(self.backlog))?;
        let mut before = std::mem::replace(&mut self.socket, Socket::unix(socket, anew));
        if let Socket::Unix(_, file, _) = &mut before {
            file.note_replaced();
        }
        Some(Self { tls: self.tls.clone(), ..Self::of(self.lane, self.name.clone(), before) })
    }

    /// Says that it is listened to from now on.
    pub(crate) fn announce(&self, is_one_of_several: bool) {
        let name = if is_one_of_several { format!(" as {}", self.name.escape_debug()) } else { String::new() };
        match &self.socket {
            Socket::Tcp(_, address) => info!("Starting TCP server on {}{name}", Address::from(*address)),
            Socket::Unix(_, file, _) => info!("Starting Unix server on [{}]{name}", file.path().display()),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(listener, _) => registry.register(listener, token, Interest::READABLE),
            Socket::Unix(listener, ..) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// The same under another token.
    pub(super) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(listener, _) => registry.reregister(listener, token, Interest::READABLE),
            Socket::Unix(listener, ..) => registry.reregister(listener, token, Interest::READABLE),
        }
    }

    /// The next one who has connected.
    ///
    /// # Errors
    /// If nobody has, or nobody can be let in.
    pub(super) fn accept(&self) -> io::Result<Arrived> {
        match &self.socket {
            Socket::Tcp(listener, address) => {
                let (socket, from) = listener.accept()?;
                // Where any address will do, only the connection knows which one was chosen.
                let at = if address.ip().is_unspecified() { socket.local_addr().ok() } else { Some(*address) };
                Ok(Arrived { socket, address: Address::from(from), at })
            }
            Socket::Unix(listener, ..) => {
                let (socket, _) = listener.accept()?;
                let address = Address::of_unix(&socket);
                // A stream is read, written, shut down and polled by the same calls, whatever it runs over.
                Ok(Arrived { socket: TcpStream::from_std(OwnedFd::from(socket).into()), address, at: None })
            }
        }
    }

    /// Lets nobody in any more, whoever else holds a duplicate; except one who has lent it, who may want to.
    pub(super) fn close(self) {
        if self.is_borrowed {
            return debug!("Listening on {} is left to whoever has opened it", self.at());
        }
        // To close it would not be enough while another process holds a duplicate (unix(7)).
        let shut = rustix::net::shutdown(&self, rustix::net::Shutdown::Both);
        debug!("Listening on {} ended: {shut:?}", self.at());
    }
}

impl Socket {
    fn tcp(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self::Tcp(listener, address))
    }

    fn unix(socket: OwnedFd, file: SocketFile) -> Self {
        Self::Unix(UnixListener::from_std(socket.into()), file, PathWatch::default())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener, _) => listener.as_fd(),
            Socket::Unix(listener, ..) => listener.as_fd(),
        }
    }
}

/// Why a path cannot be listened on.
fn io_error(error: PathError) -> io::Error {
    match error {
        PathError::Alive { .. } => io::Error::new(io::ErrorKind::AddrInUse, "a live server answers on it"),
        PathError::NoSocket { what, .. } => {
            io::Error::new(io::ErrorKind::AlreadyExists, format!("it is {what}, and is left alone"))
        }
        PathError::Io { what, error, .. } => io::Error::new(error.kind(), format!("{what}: {error}")),
        PathError::Length { path } => io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "it has {} bytes, 1 to {} are allowed",
                path.as_os_str().len(),
                reactord_process::SOCKET_PATH_BYTES_MAX
            ),
        ),
        error => io::Error::other(error),
    }
}
