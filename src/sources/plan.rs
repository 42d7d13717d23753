//! Where a successor is to listen, before it knows where its predecessor does.

use std::io::ErrorKind;

use super::listener::Listener;
use crate::listen::{Listen, ListenError, Target};

/// Where a successor is to listen.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Vec<Wanted>,
    /// Whether each lane has no listeners of its own, and takes what its predecessor has.
    inherits: Vec<bool>,
}

#[derive(Debug)]
struct Wanted {
    lane: usize,
    listen: Listen,
    /// It, or why there is none; and nothing where it was not tried.
    bound: Result<Listener, Option<ListenError>>,
}

impl Plan {
    /// Listens where that can be done by now: where it cannot because somebody does already, that may be the predecessor.
    /// Those of each lane are given by its number.
    ///
    /// # Errors
    /// If an address or a path cannot be used.
    pub(crate) fn of(lanes: Vec<Vec<Listen>>) -> Result<Self, ListenError> {
        let inherits = lanes.iter().map(Vec::is_empty).collect();
        let all =
            lanes.into_iter().enumerate().flat_map(|(lane, all)| all.into_iter().map(move |listen| (lane, listen)));
        let wanted = all.map(|(lane, listen)| Wanted::try_to_bind(lane, listen)).collect::<Result<_, _>>()?;
        Ok(Self { wanted, inherits })
    }

    /// Whether one of the predecessor's listeners is still wanted: by whom and as what is said in it then. Otherwise it is
    /// given back as it is.
    pub(crate) fn claim(&mut self, listener: Listener) -> Result<Listener, Listener> {
        match self.wanted.iter().position(|wanted| wanted.is_met_by(&listener)) {
            Some(met) => {
                let Wanted { lane, listen, .. } = self.wanted.swap_remove(met);
                Ok(listener.renamed(lane, listen.name))
            }
            None if self.inherits.get(listener.lane()) == Some(&true) => Ok(listener),
            None => Err(listener),
        }
    }

    /// Listens where the predecessor did not.
    ///
    /// # Errors
    /// If that cannot be done.
    pub(crate) fn bind_rest(self) -> Result<Vec<Listener>, ListenError> {
        self.wanted.into_iter().map(Wanted::bind).collect()
    }
}

impl Wanted {
    fn try_to_bind(lane: usize, listen: Listen) -> Result<Self, ListenError> {
        if matches!(listen.at, Target::Tcp(address) if address.port() == 0) {
            // Any port would do, and the predecessor's is as good.
            return Ok(Self { lane, listen, bound: Err(None) });
        }
        match Listener::bind(lane, &listen) {
            Err(failed) if failed.error.kind() != ErrorKind::AddrInUse => Err(failed),
            bound => Ok(Self { lane, listen, bound: bound.map_err(Some) }),
        }
    }

    /// Whether a predecessor's listener is at its address; where any port will do, whether it has its name, too.
    fn is_met_by(&self, listener: &Listener) -> bool {
        match (&self.listen.at, listener.at()) {
            (Target::Tcp(wanted), Target::Tcp(address)) if wanted.port() == 0 => {
                wanted.ip() == address.ip() && self.listen.name == listener.name()
            }
            (Target::Unix(wanted), Target::Unix(path)) => {
                std::path::absolute(wanted).is_ok_and(|wanted| wanted == path)
            }
            (wanted, at) => *wanted == at,
        }
    }

    fn bind(self) -> Result<Listener, ListenError> {
        match self.bound {
            Ok(listener) => Ok(listener),
            Err(Some(failed)) => Err(failed),
            Err(None) => Listener::bind(self.lane, &self.listen),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::fd::AsFd;

    use super::*;

    const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

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
        let kept = plan.claim(duplicate(&theirs)).unwrap();
        assert_eq!((kept.name(), kept.lane(), kept.at()), ("now", 1, Target::Tcp(at)));
        assert!(plan.bind_rest().unwrap().is_empty());
    }

    #[test]
    fn a_lane_without_listeners_takes_all_that_are_its_own_and_others_leave_what_they_do_not_want() {
        let (own, _) = bound(0, "own");
        let (other, _) = bound(1, "other");
        let mut plan = Plan::of(vec![Vec::new(), vec![Listen::on("new", SocketAddr::from(ANY))]]).unwrap();
        assert_eq!(plan.claim(duplicate(&own)).unwrap().name(), "own");
        assert_eq!(plan.claim(duplicate(&other)).unwrap_err().name(), "other");
        let new = plan.bind_rest().unwrap();
        assert_eq!(new.iter().map(Listener::name).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn any_port_is_met_by_one_of_the_same_name() {
        let (theirs, at) = bound(0, "clients");
        for (name, met) in [("clients", true), ("others", false)] {
            let mut plan = Plan::of(vec![vec![Listen::on(name, SocketAddr::from(ANY))]]).unwrap();
            assert_eq!(plan.claim(duplicate(&theirs)).is_ok(), met, "{name}");
            assert_eq!(plan.bind_rest().unwrap().iter().any(|new| new.at() != Target::Tcp(at)), !met);
        }
    }

    #[test]
    fn a_port_that_is_busy_and_not_the_predecessors_is_named() {
        let (_somebody, at) = bound(0, "theirs");
        let plan = Plan::of(vec![vec![Listen::on("ours", at)]]).unwrap();
        let failed = plan.bind_rest().unwrap_err();
        assert_eq!((failed.at, failed.error.kind()), (Target::Tcp(at), ErrorKind::AddrInUse));
    }
}
