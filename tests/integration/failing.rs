//! A server whose takeover fails, and the successors that make it fail.

use std::path::Path;

use crate::harness::{Peer, Place, ScriptedSuccessor, Server, caller_sees_pid, exchange_all, hello, kind};

/// A server with peers, a successor that fails, and what the predecessor says of it.
pub(crate) struct Failing {
    pub(crate) place: Place,
    pub(crate) predecessor: Server,
    pub(crate) peers: Vec<Peer>,
    pub(crate) failures: usize,
}

impl Failing {
    /// A server with so many peers, that freezes for as long as anybody on a busy machine may take.
    #[track_caller]
    pub(crate) fn with_peers(count: usize) -> Self {
        Self::freezing(count, "--freeze-timeout 20000")
    }

    /// The same, that freezes for 100 ms at most: for tests in which it thaws at that deadline.
    #[track_caller]
    pub(crate) fn with_peers_and_little_patience(count: usize) -> Self {
        Self::freezing(count, "--freeze-timeout 100")
    }

    /// The same, that freezes for a second at most: for those in which somebody has to do something before that.
    #[track_caller]
    pub(crate) fn with_peers_and_some_patience(count: usize) -> Self {
        Self::freezing(count, "--freeze-timeout 1000")
    }

    #[track_caller]
    fn freezing(count: usize, freeze_timeout: &str) -> Self {
        let place = Place::new();
        let predecessor = Server::serve(&place.path(), freeze_timeout);
        let mut peers = Peer::connect_many(predecessor.address(), count);
        exchange_all(&mut peers);
        Self { place, predecessor, peers, failures: 0 }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.place.path()
    }

    /// A takeover has failed: the predecessor says so in one line, with the caller's pid and the reason, and serves on.
    #[track_caller]
    pub(crate) fn expect_failure(&mut self, reason: &str) {
        self.failures += 1;
        let told = self.predecessor.wait_for_lines(self.failures, |line| line.contains("Takeover by pid "));
        let line = told.last().expect("as many lines as failures");
        let pid = std::process::id();
        assert!(line.contains("WARN") && line.contains(&format!("by pid {pid} ")), "{line}");
        assert!(line.contains(reason), "{line:?} should contain {reason:?}");
        // Who has not said Hello is a caller like any other.
        let names_both = line.contains(&format!("(pid {}, generation ", self.predecessor.pid()));
        assert!(names_both || line.contains(" dropped: "), "{line}");
        exchange_all(&mut self.peers);
        Peer::connect(self.predecessor.address()).exchange();
        assert_eq!(caller_sees_pid(&self.path()), self.predecessor.pid());
        assert_eq!(self.predecessor.lines_with("WARN").len(), self.failures, "{}", self.predecessor.log());
    }

    /// After all of them, a real successor takes over.
    #[track_caller]
    pub(crate) fn end_with_a_takeover(mut self) {
        let successor = self.predecessor.taken_over("");
        exchange_all(&mut self.peers);
        successor.stop_with(self.peers);
    }

    /// Whichever way the takeover by this successor comes out, one of the two serves, and is taken over in turn.
    #[track_caller]
    pub(crate) fn end_with_one_owner(self, successor: Server) {
        let Self { place, predecessor, mut peers, .. } = self;
        let owner = if came_out(&predecessor) {
            predecessor.taken_over_by(successor)
        } else {
            let (_, log) = successor.output(3);
            assert!(log.contains("takeover from pid "), "{log}");
            predecessor
        };
        exchange_all(&mut peers);
        assert_eq!(caller_sees_pid(&place.path()), owner.pid());
        let last = owner.taken_over("");
        exchange_all(&mut peers);
        last.stop_with(peers);
    }
}

/// How far a scripted successor goes before it does something wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Called,
    SaidHello,
    Copying,
    Copied,
    Frozen,
}

impl Step {
    pub(crate) const ALL: [Self; 5] = [Self::Called, Self::SaidHello, Self::Copying, Self::Copied, Self::Frozen];

    #[track_caller]
    pub(crate) fn reach(self, path: &Path) -> ScriptedSuccessor {
        let mut successor = ScriptedSuccessor::call(path);
        if matches!(self, Self::Called) {
            return successor;
        }
        successor.send(&hello("seqnum"));
        match self {
            Self::Called | Self::SaidHello => {}
            // What it has received is not acknowledged.
            Self::Copying => drop(successor.receive_until(kind::PEERS)),
            Self::Copied => drop(successor.copy()),
            Self::Frozen => {
                successor.copy();
                successor.freeze();
            }
        }
        successor
    }
}

/// How a takeover that was disturbed came out, as the predecessor says.
#[track_caller]
pub(crate) fn came_out(predecessor: &Server) -> bool {
    // That it freezes with more to send than it should is no end.
    let has_failed = |line: &str| line.contains("Takeover by pid ") && !line.contains(" freezes with ");
    let line = predecessor.wait_for_line(|line| has_failed(line) || line.contains("Handed over "));
    line.contains("Handed over ")
}

/// The moments at which a real successor is disturbed: when it has said so many lines. It may be further by then.
pub(crate) const MOMENTS: [usize; 8] = [0, 1, 50, 150, 299, 300, 302, 304];
