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
use super::wire::{self, At, Listeners, Spoken};
use crate::listen::LISTENERS_MAX;
use crate::sources::{Doorway, Doorways, Draw, Entrance, Listener, Plan, QUEUE_LANE};
use crate::tls::Tls;
use crate::worker::Queue;

/// What has come of what a predecessor listens on.
pub(super) struct Taken {
    pub(super) listeners: Vec<(wire::Listener, OwnedFd)>,
    pub(super) takeover: TakeoverListener,
    /// The queue of its supervisor, if this process is its standby.
    pub(super) queue: Option<Queue>,
}

/// Takes the descriptors of the listeners, and pairs them with what is said about them.
pub(super) fn take_listeners(channel: &mut Channel, listeners: Listeners) -> Result<Taken, Cause> {
    let Listeners { services, takeover_path, takeover_device, takeover_inode, has_queue, .. } = listeners;
    let mut descriptors = channel.take_descriptors(services.len() + 1 + usize::from(has_queue))?;
    let queue = descriptors.pop_if(|_| has_queue).map(|socket| Queue::followed(socket).map(Queue::moving)).transpose();
    let queue = queue.map_err(|_| Cause::Listener { what: "the queue of its supervisor" })?;
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
    Ok(Taken { listeners: services.into_iter().zip(descriptors).collect(), takeover, queue })
}

/// Where the predecessor's peers come from. The numbers of lanes have been made this process's.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) listeners: Vec<(wire::Listener, OwnedFd)>,
    /// Its queue brings peers to this lane, who speak TLS so, if they do.
    pub(super) queue_lane: usize,
    pub(super) queue_tls: Option<Spoken>,
}

/// Where peers come from, and where those go on who have come in at the predecessor.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) entrance: Entrance,
    pub(super) doorways: Doorways,
    /// Handshakes that the predecessor has answered go on here, wherever they came in.
    pub(super) goes_on_with_answered: bool,
}

/// Where peers come from: the listeners of the predecessor that are still wanted, those that are new, and a queue.
pub(super) fn enter(theirs: Theirs, mut plan: Plan, queue: Option<Queue>) -> Result<Entered, Cause> {
    let Theirs { listeners, queue_lane, queue_tls } = theirs;
    let tls = plan.tls().cloned();
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    let (mut doorways, mut spoken_there) = (Doorways::default(), Vec::new());
    for (said, socket) in listeners {
        let (is_leftover, spoken) = (said.is_leftover, said.tls.clone());
        let (lane, name) = (said.lane as usize, said.name.clone());
        let (which, here) = match plan.claim(adopted(said, socket).with_tls(tls.clone()), is_leftover) {
            Ok(listener) => (&mut kept, Some(speaking(listener, tls.as_ref(), spoken.as_ref())?)),
            // Whoever has connected there expects what was spoken there.
            Err(listener) if spoken.is_none() => (&mut left, Some(listener.with_tls(None))),
            Err(listener) => {
                // The one with its name may be somewhere else by now.
                let moved = plan.tls_as(lane, &name).or(listener.tls()).cloned();
                (&mut left, left_over(listener.with_tls(moved), spoken.as_ref()))
            }
        };
        if let Some(spoken) = spoken {
            doorways.pair(lane, name.clone(), here.as_ref().and_then(doorway));
            spoken_there.push((lane, name, spoken));
        }
        which.extend(here);
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
    let entrance = match queue {
        Some(queue) => {
            let tls = as_spoken(tls.as_ref(), tls.as_ref(), queue_tls.as_ref(), "of the supervisor's queue")?;
            entrance.and_of_queue(Draw::from(queue), tls)
        }
        None => entrance,
    };
    if let Some(spoken) = queue_tls {
        let of_queue = |tls: &Tls| Doorway { lane: QUEUE_LANE, listener: String::new(), tls: tls.clone() };
        doorways.pair(queue_lane, String::new(), entrance.queue_tls().map(of_queue));
        spoken_there.push((queue_lane, String::new(), spoken));
    }
    let goes_on_with = |(lane, name, spoken): &(usize, String, Spoken)| {
        doorways.of(*lane, name).is_some_and(|here| here.tls.goes_on_with(spoken.specimen.bytes()))
    };
    let goes_on_with_answered = !spoken_there.is_empty() && spoken_there.iter().all(goes_on_with);
    Ok(Entered { entrance, doorways, goes_on_with_answered })
}

/// Where somebody goes on who has come in by what is this listener by now, if its clients speak TLS.
fn doorway(listener: &Listener) -> Option<Doorway> {
    let with = |tls: &Tls| Doorway { lane: listener.lane(), listener: listener.name().to_owned(), tls: tls.clone() };
    listener.tls().map(with)
}

/// The same listener, whose clients go on speaking what they have spoken.
fn speaking(listener: Listener, of_all: Option<&Tls>, spoken: Option<&Spoken>) -> Result<Listener, Objection> {
    let tls = as_spoken(listener.tls(), of_all, spoken, listener.name())?;
    Ok(listener.with_tls(tls))
}

/// A listener that is wanted no more, for those who have connected to it by now. If they speak TLS and this process was not told with
/// what, they cannot be let in: who has not begun then has to connect elsewhere.
fn left_over(listener: Listener, spoken: Option<&Spoken>) -> Option<Listener> {
    let at = listener.at();
    let left = speaking(listener, None, spoken).ok();
    if left.is_none() {
        info!("Listening on {at} no longer: nobody is let in there whose connection is not accepted by now");
    }
    left
}

/// What clients speak from now on who have spoken this: with `tls` if that is TLS, and they resume with the predecessor's tickets.
///
/// # Errors
/// If this process would serve them in clear who have spoken TLS; or the other way round, where it was told `of_all` that come with the
/// takeover that they speak it.
fn as_spoken(
    tls: Option<&Tls>,
    of_all: Option<&Tls>,
    spoken: Option<&Spoken>,
    listener: &str,
) -> Result<Option<Tls>, Objection> {
    match (tls, spoken) {
        (Some(tls), Some(spoken)) => tls.adopt_tickets(spoken.tickets.bytes()),
        (None, Some(_)) => return Err(Objection::NoTls { listener: listener.to_owned() }),
        (Some(tls), None) if of_all == Some(tls) => return Err(Objection::InClear { listener: listener.to_owned() }),
        // Who was told of the listener itself may have TLS spoken there from now on.
        (_, None) => {}
    }
    Ok(tls.cloned())
}

/// The listener that this says.
fn adopted(said: wire::Listener, socket: OwnedFd) -> Listener {
    let wire::Listener { at, lane, name, is_borrowed, .. } = said;
    let lane = lane as usize;
    let listener = match at {
        At::Tcp(address) => Listener::of_tcp(lane, name, socket, address),
        At::Unix(wire::SocketFile { path, device, inode }) => {
            Listener::of_unix(lane, name, socket, path_of(&path), (device, inode))
        }
    };
    listener.borrowed(is_borrowed)
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
    #[cfg(feature = "tls")]
    use crate::tls::{Certificate, Pem, ServerSettings};

    /// A listener of the predecessor's second lane, and where it is.
    #[cfg(feature = "tls")]
    fn of_predecessor(name: &str, tls: &Tls) -> ((wire::Listener, OwnedFd), SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let tls = Some(Spoken { tickets: tls.save_tickets().into(), specimen: tls.specimen().into() });
        let (at, name) = (At::Tcp(address), name.to_owned());
        let said = wire::Listener { at, lane: 1, name, is_leftover: false, is_borrowed: false, tls };
        ((said, socket.into()), address)
    }

    #[cfg(feature = "tls")]
    fn tls() -> Tls {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate { chain: Pem::new("chain", chain), key: Pem::new("key", key) };
        Tls::new(&ServerSettings { certificates: vec![certificate], ..ServerSettings::default() }).unwrap()
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_handshake_goes_on_with_the_settings_of_its_own_listener_or_not_at_all() {
        let [clients, admin] = [tls(), tls()];
        // What of them is wanted as what, with what, by a process that runs that lane as its first one.
        let entered = |wanted: [Option<(&str, &Tls)>; 2]| {
            let theirs = [of_predecessor("clients", &clients), of_predecessor("admin", &admin)];
            let listen =
                |(name, tls): (&str, &Tls), address| Listen { tls: Some(tls.clone()), ..Listen::on(name, address) };
            let own = theirs.iter().zip(wanted).filter_map(|((_, address), wanted)| Some(listen(wanted?, *address)));
            let plan = Plan::of(vec![own.collect(), Vec::new()]).unwrap().inheriting_none();
            let listeners = theirs.into_iter().map(|(theirs, _)| theirs).collect();
            enter(Theirs { listeners, queue_lane: 0, queue_tls: None }, plan, None).unwrap()
        };
        let doorway = |listener: &str, tls: &Tls| Doorway { lane: 0, listener: listener.to_owned(), tls: tls.clone() };

        let renamed = entered([Some(("clients", &clients)), Some(("operators", &admin))]);
        assert_eq!(renamed.doorways.of(1, "admin"), Some(&doorway("operators", &admin)));
        assert_eq!(renamed.doorways.of(1, "clients"), Some(&doorway("clients", &clients)));
        assert_eq!(renamed.doorways.of(1, "operators"), None);
        assert!(renamed.goes_on_with_answered);

        let dropped = entered([Some(("clients", &clients)), None]);
        assert_eq!(dropped.doorways.of(1, "admin"), None, "no other one's settings are as good");
        assert!(!dropped.goes_on_with_answered);

        let exchanged = entered([Some(("admin", &clients)), Some(("clients", &admin))]);
        assert_eq!(exchanged.doorways.of(1, "admin"), Some(&doorway("clients", &admin)));
        assert!(exchanged.goes_on_with_answered);

        let swapped = entered([Some(("clients", &admin)), Some(("admin", &clients))]);
        assert_eq!(swapped.doorways.of(1, "admin"), Some(&doorway("admin", &clients)));
        assert!(!swapped.goes_on_with_answered, "each would be answered as those of the other one were");
    }

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
                    tls: None,
                },
                OwnedFd::from(socket),
            )
        };
        let own = |count: usize| (0..count).map(|number| Listen::on(number.to_string(), any)).collect::<Vec<_>>();
        let theirs = || Theirs { listeners: vec![theirs()], queue_lane: 0, queue_tls: None };
        let entered = |count| enter(theirs(), Plan::of(vec![own(count), Vec::new()]).unwrap(), None);
        let Err(Cause::Objection(objection)) = entered(LISTENERS_MAX) else { panic!("they are too many") };
        assert_eq!(objection, Objection::TooManyListeners { count: LISTENERS_MAX + 1, count_max: LISTENERS_MAX });
        assert_eq!(entered(LISTENERS_MAX - 1).unwrap().entrance.listeners().count(), LISTENERS_MAX);
    }
}
