//! Where those go on whose handshakes began at another process: by which of this process's listeners.

use crate::tls::Tls;

/// One of this process's listeners, or its queue, whose clients speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doorway {
    /// The number of the lane that it leads to.
    pub(crate) lane: usize,
    /// What its service calls it.
    pub(crate) listener: String,
    /// What its clients speak TLS with.
    pub(crate) tls: Tls,
}

/// What has become of those of a predecessor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doorways {
    all: Vec<Pair>,
}

/// One of a predecessor, and which it is here, if it is one.
#[derive(Clone, Debug)]
struct Pair {
    /// The number here of its lane.
    lane: usize,
    /// What it is called there.
    listener: String,
    here: Option<Doorway>,
}

impl Doorways {
    /// Who has come in there at the listener with this name, of the lane that has this number here, goes on by that one if by any.
    /// Where two are called the same there, whichever is told of first is meant: nobody is let in for long by the other one.
    pub(crate) fn pair(&mut self, lane: usize, listener: String, here: Option<Doorway>) {
        self.all.push(Pair { lane, listener, here });
    }

    /// Where somebody goes on who has come in there. `None`: not in this process.
    pub(crate) fn of(&self, lane: usize, listener: &str) -> Option<&Doorway> {
        let pair = self.all.iter().find(|pair| pair.lane == lane && pair.listener == listener);
        pair.and_then(|pair| pair.here.as_ref())
    }
}
