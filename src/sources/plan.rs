//! Where a successor is to listen, before it knows where its predecessor does.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::listener::Listener;
use crate::listen::{Listen, ListenError, Target};
use crate::tls::Tls;

/// Where a successor is to listen.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Vec<Wanted>,
    /// Those that listen at all addresses, also when they are not wanted any more because the predecessor has them.
    wide: Vec<(usize, Listen)>,
    /// By lane and name, what the clients of listeners that were told of speak TLS with, also where somebody has them already.
    secured: Vec<(usize, String, Tls)>,
    /// Whether each lane has no listeners of its own, and takes what its predecessor has.
    inherits: Vec<bool>,
    /// Peers come from elsewhere, too, so that it may listen nowhere.
    may_be_nowhere: bool,
    /// What the clients of listeners that come with the takeover speak TLS with.
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Wanted {
    lane: usize,
    listen: Listen,
    /// It, or why there is none; and nothing where it was not tried.
    bound: Result<Listener, Option<ListenError>>,
}

impl Plan {
    /// Listens where that can be done by now: where it cannot because somebody does already, or because this process may
    /// not, the predecessor may have done so. Those of each lane are given by its number.
    ///
    /// # Errors
    /// If an address or a path cannot be used.
    pub(crate) fn of(lanes: Vec<Vec<Listen>>) -> Result<Self, ListenError> {
        let inherits = lanes.iter().map(Vec::is_empty).collect();
        let all =
            lanes.into_iter().enumerate().flat_map(|(lane, all)| all.into_iter().map(move |listen| (lane, listen)));
        let all: Vec<(usize, Listen)> = all.collect();
        let speaking = |(lane, listen): &(usize, Listen)| Some((*lane, listen.name.clone(), listen.tls.clone()?));
        let secured = all.iter().filter_map(speaking).collect();
        let wide = all.iter().filter(|(_, listen)| is_wide(&listen.at)).cloned().collect();
        let wanted =
            all.into_iter().map(|(lane, listen)| Wanted::try_to_bind(lane, listen)).collect::<Result<_, _>>()?;
        Ok(Self { wanted, wide, secured, inherits, may_be_nowhere: false, tls: None })
    }

    /// The same where lanes without listeners of their own leave what their predecessor has.
    pub(crate) fn inheriting_none(mut self) -> Self {
        self.inherits.fill(false);
        self
    }

    /// The same for a process that waits to be given peers by another one, if it does.
    pub(crate) fn beside_waiting(self, waits: bool) -> Self {
        Self { may_be_nowhere: waits, ..self }
    }

    /// The same, with what the clients of listeners that come with the takeover speak TLS with, where they do.
    pub(crate) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// What the clients of a listener that nobody here was told of speak TLS with.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// What the clients of the listener with this name speak TLS with, if they do, wherever it is.
    pub(crate) fn tls_as(&self, lane: usize, name: &str) -> Option<&Tls> {
        let named = self.secured.iter().find(|(of, known, _)| *of == lane && known == name);
        named.map(|(_, _, tls)| tls)
    }

    /// Whether a successor need not listen anywhere.
    pub(crate) fn may_be_nowhere(&self) -> bool {
        self.may_be_nowhere
    }

    /// Whether one of the predecessor's listeners is still wanted: by whom and as what is said in it then. Otherwise it is
    /// given back as it is. Who takes what its predecessor has takes none that that one was leaving.
    ///
    /// One that is at an address of a wanted one is kept beside it: whoever connects there is to be let in as before, and a
    /// client whose handshake is under way when a listener is closed would be reset (tcp(7): a request belongs to its listener).
    pub(crate) fn claim(&mut self, listener: Listener, is_leftover: bool) -> Result<Listener, Box<Listener>> {
        // Who wants this port comes before whoever is content with any.
        let exactly = self.wanted.iter().position(|wanted| !wanted.takes_any_port() && wanted.is_met_by(&listener));
        let met = exactly.or_else(|| self.wanted.iter().position(|wanted| wanted.is_met_by(&listener)));
        match met {
            Some(met) => {
                let Wanted { lane, listen, .. } = self.wanted.swap_remove(met);
                Ok(listener.wanted_as(lane, listen))
            }
            None if let Some((lane, listen)) = self.includes(&listener) => Ok(listener.wanted_as(lane, listen)),
            None if !is_leftover && self.inherits.get(listener.lane()) == Some(&true) => Ok(listener),
            None => Err(Box::new(listener)),
        }
    }

    /// How many listeners this process has bound by now.
    pub(crate) fn bound(&self) -> usize {
        self.wanted.iter().filter(|wanted| wanted.bound.is_ok()).count()
    }

    fn includes(&self, listener: &Listener) -> Option<(usize, Listen)> {
        self.wide.iter().find(|(_, listen)| includes(&listen.at, &listener.at())).cloned()
    }

    /// Listens where the predecessor did not: it has these.
    ///
    /// # Errors
    /// If that cannot be done.
    pub(crate) fn bind_rest<'l>(
        self,
        theirs: impl Iterator<Item = &'l Listener> + Clone,
    ) -> Result<Vec<Listener>, ListenError> {
        self.wanted.into_iter().map(|wanted| wanted.bind(theirs.clone())).collect()
    }
}

impl Wanted {
    fn try_to_bind(lane: usize, listen: Listen) -> Result<Self, ListenError> {
        let mut wanted = Self { lane, listen, bound: Err(None) };
        if wanted.takes_any_port() {
            // The predecessor's is as good.
            return Ok(wanted);
        }
        match Listener::bind(lane, &wanted.listen) {
            Err(failed) if !may_be_the_predecessors(&failed.error) => return Err(failed),
            bound => wanted.bound = bound.map_err(Some),
        }
        Ok(wanted)
    }

    fn takes_any_port(&self) -> bool {
        matches!(self.listen.at, Target::Tcp(address) if address.port() == 0)
    }

    /// Whether a predecessor's listener is at its address; where any port will do, whether it has its name, too.
    fn is_met_by(&self, listener: &Listener) -> bool {
        match (&self.listen.at, listener.at()) {
            (Target::Tcp(wanted), Target::Tcp(address)) if wanted.port() == 0 => {
                wanted.ip() == address.ip() && self.listen.name == listener.name()
            }
            // Where this process has bound the path, it does not lead to the predecessor's listener any more.
            (Target::Unix(wanted), Target::Unix(path)) => {
                self.bound.is_err() && std::path::absolute(wanted).is_ok_and(|wanted| wanted == path)
            }
            (wanted, at) => *wanted == at,
        }
    }

    fn bind<'l>(self, theirs: impl Iterator<Item = &'l Listener>) -> Result<Listener, ListenError> {
        match self.bound {
            Ok(listener) => Ok(listener),
            Err(Some(failed)) => bind_beside(self.lane, &self.listen, theirs).unwrap_or(Err(failed)),
            Err(None) => Listener::bind(self.lane, &self.listen),
        }
    }
}

/// The listener, where it could not be bound before since the predecessor has its port, at other addresses that include it or
/// that it includes; `None` where that is not so.
fn bind_beside<'l>(
    lane: usize,
    listen: &Listen,
    theirs: impl Iterator<Item = &'l Listener>,
) -> Option<Result<Listener, ListenError>> {
    let Target::Tcp(address) = &listen.at else { return None };
    let meet = |at: &Target| includes(&listen.at, at) || includes(at, &listen.at);
    let those: Vec<&Listener> = theirs.filter(|listener| meet(&listener.at())).collect();
    let failed = |error| ListenError { at: listen.at.clone(), error };
    (!those.is_empty()).then(|| Listener::bind_beside(lane, listen, *address, those).map_err(failed))
}

fn is_wide(at: &Target) -> bool {
    matches!(at, Target::Tcp(address) if address.ip().is_unspecified())
}

/// Whether who listens at the one gets what comes to the other: `0.0.0.0` is all addresses of IPv4, and `[::]` all.
fn includes(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Tcp(one), Target::Tcp(other)) if one.port() == other.port() && one != other => match one.ip() {
            IpAddr::V4(all) => all.is_unspecified() && other.is_ipv4(),
            IpAddr::V6(all) => all.is_unspecified(),
        },
        _ => false,
    }
}

/// Whether a predecessor may be listening where this process cannot: it may have been allowed more, or the address may have
/// gone since.
fn may_be_the_predecessors(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied | ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

    use super::*;

    const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    fn nobody<'l>() -> std::iter::Empty<&'l Listener> {
        std::iter::empty()
    }

    fn bound(lane: usize, name: &str) -> (Listener, SocketAddr) {
        let listener = Listener::bind(lane, &Listen::on(name, SocketAddr::from(ANY))).unwrap();
        let Target::Tcp(address) = listener.at() else { panic!("it is a TCP listener") };
        (listener, address)
    }

    /// What a successor gets of it.
    fn duplicate(listener: &Listener) -> Listener {
        let Target::Tcp(address) = listener.at() else { panic!("it is a TCP listener") };
        let socket = listener.as_fd().try_clone_to_owned().unwrap();
        Listener::of_tcp(listener.lane(), listener.name().to_owned(), socket, address)
    }

    #[test]
    fn a_listener_is_matched_by_address_whatever_its_name_and_its_lane_were() {
        let (theirs, at) = bound(0, "before");
        let mut plan = Plan::of(vec![Vec::new(), vec![Listen::on("now", at)]]).unwrap();
        let kept = plan.claim(duplicate(&theirs), false).unwrap();
        assert_eq!((kept.name(), kept.lane(), kept.at()), ("now", 1, Target::Tcp(at)));
        assert!(plan.bind_rest(nobody()).unwrap().is_empty());
    }

    #[test]
    fn a_lane_without_listeners_takes_all_that_are_its_own_and_others_leave_what_they_do_not_want() {
        let (own, _) = bound(0, "own");
        let (other, _) = bound(1, "other");
        let mut plan = Plan::of(vec![Vec::new(), vec![Listen::on("new", SocketAddr::from(ANY))]]).unwrap();
        assert_eq!(plan.claim(duplicate(&own), false).unwrap().name(), "own");
        assert_eq!(plan.claim(duplicate(&other), false).unwrap_err().name(), "other");
        let new = plan.bind_rest(nobody()).unwrap();
        assert_eq!(new.iter().map(Listener::name).collect::<Vec<_>>(), ["new"]);
        let mut without = Plan::of(vec![Vec::new(), Vec::new()]).unwrap().inheriting_none();
        assert_eq!(without.claim(duplicate(&own), false).unwrap_err().name(), "own");
    }

    #[test]
    fn a_listener_that_the_predecessor_was_leaving_is_kept_by_who_wants_it_and_by_nobody_else() {
        let (theirs, at) = bound(0, "leaving");
        let mut inherits = Plan::of(vec![Vec::new()]).unwrap();
        assert!(inherits.claim(duplicate(&theirs), true).is_err());
        let mut wants = Plan::of(vec![vec![Listen::on("again", at)]]).unwrap();
        assert_eq!(wants.claim(duplicate(&theirs), true).unwrap().name(), "again");
    }

    #[test]
    fn any_port_is_met_by_one_of_the_same_name() {
        let (theirs, at) = bound(0, "clients");
        for (name, met) in [("clients", true), ("others", false)] {
            let mut plan = Plan::of(vec![vec![Listen::on(name, SocketAddr::from(ANY))]]).unwrap();
            assert_eq!(plan.claim(duplicate(&theirs), false).is_ok(), met, "{name}");
            assert_eq!(plan.bind_rest(nobody()).unwrap().iter().any(|new| new.at() != Target::Tcp(at)), !met);
        }
    }

    #[test]
    fn a_listener_goes_to_who_wants_its_port_before_whoever_takes_any() {
        let (theirs, at) = bound(0, "any");
        let wanted = vec![Listen::on("any", SocketAddr::from(ANY)), Listen::on("this", at)];
        let mut plan = Plan::of(vec![wanted]).unwrap();
        assert_eq!(plan.claim(duplicate(&theirs), false).unwrap().name(), "this");
        assert_eq!(plan.bind_rest(nobody()).unwrap().len(), 1);
    }

    #[test]
    fn an_address_that_is_not_this_machines_any_more_is_the_predecessors_or_is_named() {
        let gone = SocketAddr::from(([192, 0, 2, 1], 1234));
        let plan = || Plan::of(vec![vec![Listen::on("clients", gone)]]).unwrap();
        let socket = std::net::TcpListener::bind(SocketAddr::from(ANY)).unwrap();
        let mut with_predecessor = plan();
        let kept =
            with_predecessor.claim(Listener::of_tcp(0, "before".to_owned(), socket.into(), gone), false).unwrap();
        assert_eq!((kept.name(), with_predecessor.bind_rest(nobody()).unwrap().len()), ("clients", 0));
        let failed = plan().bind_rest(nobody()).unwrap_err();
        assert_eq!((failed.at, failed.error.kind()), (Target::Tcp(gone), ErrorKind::AddrNotAvailable));
    }

    /// How many connections a Unix socket lets wait: one more than its backlog.
    fn room(path: &std::path::Path) -> usize {
        let address = SocketAddrUnix::new(path).unwrap();
        let connect = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            rustix::net::connect(&socket, &address).is_ok().then_some(socket)
        };
        std::iter::from_fn(connect).collect::<Vec<_>>().len()
    }

    #[test]
    fn a_listener_that_is_kept_has_the_backlog_that_is_wanted_once_it_is_this_processs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listen = |backlog| Listen { backlog: Some(backlog), ..Listen::on("local", path.clone()) };
        let mut theirs = Listener::bind(0, &listen(0)).unwrap();
        theirs.disown();
        let mut plan = Plan::of(vec![vec![listen(5)]]).unwrap();
        let socket = theirs.as_fd().try_clone_to_owned().unwrap();
        let adopted = Listener::of_unix(0, "local".to_owned(), socket, path.clone(), theirs.file().unwrap());
        let mut kept = plan.claim(adopted, false).unwrap();
        assert_eq!(room(&path), 1, "the takeover may fail yet");
        kept.own();
        assert_eq!(room(&path), 5, "besides the one that waits");
    }

    #[test]
    fn a_path_that_leads_to_the_predecessor_no_more_leads_to_the_successor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listen = || Listen::on("local", path.clone());
        let mut theirs = Listener::bind(0, &listen()).unwrap();
        theirs.disown();
        let mut plan = Plan::of(vec![vec![listen()]]).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut plan_without_path = Plan::of(vec![vec![listen()]]).unwrap();
        let adopted = || {
            let socket = theirs.as_fd().try_clone_to_owned().unwrap();
            Listener::of_unix(0, "local".to_owned(), socket, path.clone(), theirs.file().unwrap())
        };
        assert!(plan.claim(adopted(), false).is_ok(), "it had the path when that was looked at");
        assert!(plan_without_path.claim(adopted(), false).is_err());
        let _new = plan_without_path.bind_rest(nobody()).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_port_that_is_busy_and_not_the_predecessors_is_named() {
        let (_somebody, at) = bound(0, "theirs");
        let plan = Plan::of(vec![vec![Listen::on("ours", at)]]).unwrap();
        let failed = plan.bind_rest(nobody()).unwrap_err();
        assert_eq!((failed.at, failed.error.kind()), (Target::Tcp(at), ErrorKind::AddrInUse));
    }

    /// One of these addresses at this port, as somebody listens there or is to.
    fn at(address: [u8; 4], port: u16) -> SocketAddr {
        (address, port).into()
    }

    #[test]
    fn a_listener_at_an_address_of_a_wanted_one_is_kept_beside_that() {
        let (theirs, SocketAddr::V4(own)) = bound(0, "one") else { panic!("it is IPv4") };
        let all = at([0; 4], own.port());
        let mut plan = Plan::of(vec![vec![Listen::on("all", all)]]).unwrap();
        let kept = plan.claim(duplicate(&theirs), false).unwrap();
        assert_eq!((kept.name(), kept.at()), ("all", Target::Tcp(own.into())));
        let mut new = plan.bind_rest([&kept].into_iter()).unwrap();
        assert_eq!(new[0].at(), Target::Tcp(all));
        new[0].begin();
        std::net::TcpStream::connect(at([127, 0, 0, 2], own.port())).unwrap();
        // Whoever takes over next has both.
        let mut next = Plan::of(vec![vec![Listen::on("all", all)]]).unwrap();
        assert!(next.claim(duplicate(&new[0]), false).is_ok() && next.claim(duplicate(&kept), false).is_ok());
        assert!(next.bind_rest(nobody()).unwrap().is_empty());
    }

    #[test]
    fn a_listener_at_one_of_the_predecessors_addresses_lets_nobody_in_before_it_is_its_turn() {
        let all = Listener::bind(0, &Listen::on("all", at([0; 4], 0))).unwrap();
        let Target::Tcp(theirs) = all.at() else { panic!("it is a TCP listener") };
        let one = at([127, 0, 0, 1], theirs.port());
        let mut plan = Plan::of(vec![vec![Listen::on("one", one)]]).unwrap();
        let left = plan.claim(duplicate(&all), false).unwrap_err();
        let mut new = plan.bind_rest([&*left].into_iter()).unwrap();
        let connect = || std::net::TcpStream::connect(one).unwrap();
        let _before = connect();
        all.accept().unwrap();
        new[0].begin();
        let _after = connect();
        new[0].accept().unwrap();
        assert_eq!(all.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_of_another_family_or_with_another_port_is_not_included() {
        let tcp = |address: &str| Target::Tcp(address.parse().unwrap());
        let cases = [
            ("0.0.0.0:1", "10.0.0.1:1", true),
            ("[::]:1", "10.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:1", "10.0.0.1:2", false),
            ("10.0.0.1:1", "10.0.0.2:1", false),
            ("0.0.0.0:1", "0.0.0.0:1", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(includes(&tcp(one), &tcp(other)), expected, "{one} {other}");
        }
    }
}
