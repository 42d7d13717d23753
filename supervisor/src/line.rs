//! What a worker is spoken to by: its queue, or the socket on which it says that it is ready.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use crate::link::Link;

#[derive(Debug)]
pub(crate) enum Line {
    Queue(Link),
    /// Where one that accepts itself says that it is ready (sd_notify(3)).
    Notify(UnixDatagram),
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Queue(link) => link.as_fd(),
            Self::Notify(socket) => socket.as_fd(),
        }
    }
}
