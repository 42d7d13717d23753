//! What a successor takes over besides peers: where they come from, and where its own successor will call.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mio::net::TcpListener;
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::{AddressFamily, getsockname};

use super::channel::Channel;
use super::error::{Cause, in_context};
use super::path::{PathError, TakeoverListener};
use super::successor::Objection;
use super::wire::Listeners;
use crate::sources::{Draw, Entrance};
use crate::worker::Queue;

/// Takes the descriptors of the listeners, and pairs them with what is said about them. Who draws from a queue does not
/// listen.
pub(super) fn take_listeners(
    channel: &mut Channel,
    listeners: &Listeners,
    queue: Option<Queue>,
) -> Result<(Entrance, TakeoverListener), Cause> {
    let (count, expected) = (listeners.tcp.len(), usize::from(queue.is_none()));
    if count != expected {
        return Err(Objection::Listeners { count, expected }.into());
    }
    let mut descriptors = channel.take_descriptors(count + 1)?;
    let takeover = descriptors.pop().expect("one more was taken than there are listeners");
    let tcp = descriptors.pop();
    // A peer's descriptor is known by its cookie, a listener's by what it is.
    let listens = |socket: &OwnedFd| socket_acceptconn(socket).unwrap_or(false);
    let is_at = |socket: &OwnedFd| getsockname(socket).ok().and_then(|name| name.try_into().ok());
    if !tcp.iter().all(|tcp| listens(tcp) && is_at(tcp) == listeners.tcp.first().copied()) {
        return Err(Cause::Listener { what: "the listener" });
    }
    if !listens(&takeover) || socket_domain(&takeover) != Ok(AddressFamily::UNIX) {
        return Err(Cause::Listener { what: "the takeover listener" });
    }
    // It belongs to the open file, which others may have: a call on a listener that blocks would hold up every peer. Peers
    // need no such care: the predecessor read from each of them until it would have blocked.
    for listener in tcp.iter().chain([&takeover]) {
        ioctl_fionbio(listener, true).map_err(io::Error::from).map_err(in_context("O_NONBLOCK"))?;
    }
    let entrance = match (queue, tcp) {
        (Some(queue), _) => Entrance::of_queue(Draw::from(queue)),
        (None, Some(tcp)) => Entrance::of_listener(TcpListener::from_std(tcp.into())),
        (None, None) => unreachable!("without a queue, one listener was expected"),
    };
    let path = PathBuf::from(OsStr::from_bytes(&listeners.takeover_path));
    let file = (listeners.takeover_device, listeners.takeover_inode);
    Ok((entrance, TakeoverListener::adopt(takeover, path, file)))
}

/// The takeover listener to answer on, and the one that is left behind if the path moves.
pub(super) fn move_to(
    takeover: TakeoverListener,
    moved_to: Option<&Path>,
) -> Result<(TakeoverListener, Option<TakeoverListener>), PathError> {
    match moved_to {
        Some(path) if std::path::absolute(path).is_ok_and(|path| path == takeover.path()) => Ok((takeover, None)),
        Some(path) => Ok((TakeoverListener::bind(path)?, Some(takeover))),
        None => Ok((takeover, None)),
    }
}
