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
