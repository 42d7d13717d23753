//! What a successor takes over besides peers: where they come from, and where its own successor will call.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use log::info;
use reactord_process::accept::waiting_max;
use reactord_process::channel::Channel;
use reactord_process::path::{PathError, TakeoverListener};
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::{AddressFamily, getsockname};

use super::error::{Cause, in_context};
use super::successor::Objection;
use super::wire::{self, At, Listeners};
use crate::listen::LISTENERS_MAX;
use crate::sources::{Draw, Entrance, Listener, Plan, QUEUE_LANE};
use crate::tls::Tls;
use crate::worker::Queue;

/// Takes the descriptors of the listeners, and pairs them with what is said about them.
pub(super) fn take_listeners(
    channel: &mut Channel,
    listeners: Listeners,
) -> Result<(Vec<(wire::Listener, OwnedFd)>, TakeoverListener), Cause> {
    let Listeners { services, takeover_path, takeover_device, takeover_inode } = listeners;
    let mut descriptors = channel.take_descriptors(services.len() + 1)?;
    let takeover = descriptors.pop().expect("one more was taken than there are listeners");
    // A peer's descriptor is known by its cookie, a listener's by what it is.
    if !services.iter().zip(&descriptors).all(|(said, socket)| listens(socket) && is_at(socket, &said.at)) {
        return Err(Cause::Listener { what: "the listener" });
    }
    if !listens(&takeover) || socket_domain(&takeover) != Ok(AddressFamily::UNIX) {
        return Err(Cause::Listener { what: "the takeover listener" });
    }
    // It belongs to the open file, which others may have: a call on a listener that blocks would hold up every peer. Peers
    // need no such care: the predecessor read from each of them until it would have blocked.
    for listener in descriptors.iter().chain([&takeover]) {
        ioctl_fionbio(listener, true).map_err(io::Error::from).map_err(in_context("O_NONBLOCK"))?;
    }
    let takeover = TakeoverListener::adopt(takeover, path_of(&takeover_path), (takeover_device, takeover_inode));
    Ok((services.into_iter().zip(descriptors).collect(), takeover))
}

/// Where peers come from: the listeners of the predecessor that are still wanted, those that are new, and a queue. The
/// numbers of lanes have been made this process's.
pub(super) fn enter(
    theirs: Vec<(wire::Listener, OwnedFd)>,
    mut plan: Plan,
    queue: Option<Queue>,
) -> Result<Entrance, Cause> {
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for (said, socket) in theirs {
        let (is_leftover, tickets) = (said.is_leftover, said.tickets.clone());
        match plan.claim(adopted(said, socket, plan.tls()), is_leftover) {
            Ok(listener) => kept.push(with_tickets(listener, &tickets)?),
            Err(listener) => left.extend(left_over(*listener, &tickets)),
        }
    }
    let of_queue = kept.iter().filter(|listener| listener.lane() == QUEUE_LANE).count();
    if queue.is_some() && of_queue > 0 {
        return Err(Objection::Listeners { count: of_queue, expected: 0 }.into());
    }
    let may_be_nowhere = queue.is_some() || plan.may_be_nowhere();
    let new = plan.bind_rest(kept.iter().chain(&left)).map_err(Cause::Listen)?;
    kept.extend(new);
    if kept.len() > LISTENERS_MAX {
        return Err(Objection::TooManyListeners { count: kept.len(), count_max: LISTENERS_MAX }.into());
    }
    if !may_be_nowhere && kept.is_empty() {
        return Err(Objection::Listeners { count: 0, expected: 1 }.into());
    }
    let entrance = Entrance::of_listeners(kept).and_leftovers(left, waiting_max());
    Ok(match queue {
        Some(queue) => entrance.and_of_queue(Draw::from(queue)),
        None => entrance,
    })
}

/// The same listener, whose clients resume with tickets that the predecessor has given if they speak TLS.
///
/// # Errors
/// If they do, and this process was not told with what: it would serve them in clear.
fn with_tickets(listener: Listener, tickets: &[u8]) -> Result<Listener, Objection> {
    match listener.tls() {
        _ if tickets.is_empty() => {}
        Some(tls) => tls.adopt_tickets(tickets),
        None => return Err(Objection::NoTls { listener: listener.name().to_owned() }),
    }
    Ok(listener)
}

/// A listener that is wanted no more, for those who have connected to it by now. If they speak TLS and this process was not told with
/// what, they cannot be let in: who has not begun then has to connect elsewhere.
fn left_over(listener: Listener, tickets: &[u8]) -> Option<Listener> {
    let at = listener.at();
    let left = with_tickets(listener, tickets).ok();
    if left.is_none() {
        info!("Listening on {at} no longer: nobody is let in there whose connection is not accepted by now");
    }
    left
}

/// The listener that this says, with `tls` if its clients speak that.
fn adopted(said: wire::Listener, socket: OwnedFd, tls: Option<&Tls>) -> Listener {
    let wire::Listener { at, lane, name, is_borrowed, tickets, .. } = said;
    let (lane, tls) = (lane as usize, tls.filter(|_| !tickets.is_empty()).cloned());
    let listener = match at {
        At::Tcp(address) => Listener::of_tcp(lane, name, socket, address),
        At::Unix(wire::SocketFile { path, device, inode }) => {
            Listener::of_unix(lane, name, socket, path_of(&path), (device, inode))
        }
    };
    listener.borrowed(is_borrowed).with_tls(tls)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn listens(socket: &OwnedFd) -> bool {
    socket_acceptconn(socket).unwrap_or(false)
}

fn is_at(socket: &OwnedFd, at: &At) -> bool {
    let Ok(name) = getsockname(socket) else {
        return false;
    };
    match at {
        At::Tcp(address) => name.try_into() == Ok(*address),
        At::Unix(file) => {
            let name: Result<rustix::net::SocketAddrUnix, _> = name.try_into();
            name.is_ok_and(|name| name.path_bytes() == Some(&*file.path))
        }
    }
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

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::listen::Listen;

    #[test]
    fn no_more_listeners_are_served_than_the_next_takeover_can_hand_over() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let theirs = || {
            let socket = TcpListener::bind(any).unwrap();
            let at = At::Tcp(socket.local_addr().unwrap());
            (
                wire::Listener {
                    at,
                    lane: 1,
                    name: "inherited".to_owned(),
                    is_leftover: false,
                    is_borrowed: false,
                    tickets: Vec::new(),
                },
                OwnedFd::from(socket),
            )
        };
        let own = |count: usize| (0..count).map(|number| Listen::on(number.to_string(), any)).collect::<Vec<_>>();
        let entered = |count| enter(vec![theirs()], Plan::of(vec![own(count), Vec::new()]).unwrap(), None);
        let Err(Cause::Objection(objection)) = entered(LISTENERS_MAX) else { panic!("they are too many") };
        assert_eq!(objection, Objection::TooManyListeners { count: LISTENERS_MAX + 1, count_max: LISTENERS_MAX });
        assert_eq!(entered(LISTENERS_MAX - 1).unwrap().listeners().count(), LISTENERS_MAX);
    }
}
