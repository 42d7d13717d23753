//! One cell of the matrix of standbys whose active is a worker of a supervisor. Each connection that it is offered ends it: before that is
//! taken, when it has been, or before it is told of as a peer. Whoever has connected is served, and all others are served on.

use std::fmt;
use std::process::Command;

use crate::harness::{Peer, Place, Server, daemon, exchange_all};
use crate::plan::{Fault, Planned, Point, StandbyStep as S, VARIABLE};

/// So many connect, one after the other.
const DEATHS: usize = 4;

/// A fault at a step on the way of a connection from a supervisor to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    step: S,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (of a worker)", Point::Standby(self.step), self.fault)
    }
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let faults = [Fault::Kill, Fault::Panic];
        [S::Offered, S::Took, S::Came].into_iter().flat_map(|step| faults.map(|fault| Self { step, fault })).collect()
    }

    /// Lets it happen, again and again, and sees that nobody notices.
    ///
    /// # Panics
    /// If somebody does.
    pub(crate) fn run(self) {
        let place = Place::new();
        let plan = Planned { point: self.step.into(), pass: 1, fault: self.fault }.to_string();
        // Whoever serves on is started with the same plan.
        let supervisor = Server::spawn(&place.path(), supervise(&place).env(VARIABLE, plan)).started();
        let mut peers: Vec<Peer> = Vec::new();
        for death in 1..=DEATHS {
            supervisor.wait_for_lines(death, |line| line.contains(" is armed, with "));
            let mut peer = Peer::connect(supervisor.address());
            peer.ask_begin(1);
            supervisor.wait_for_lines(death, |line| line.contains("; its standby, pid "));
            peer.ask_end(1);
            peer.hear();
            peers.push(peer);
            exchange_all(&mut peers);
        }
        let survived = supervisor.wait_for_lines(DEATHS, |line| line.contains("nobody served for "));
        let is_whole = |line: &String| line.contains(" are served on, 0 are reset, 0 were over");
        assert!(survived.len() == DEATHS && survived.iter().all(is_whole), "{self}: {}", supervisor.log());
        assert!(supervisor.lines_with(" is replaced").is_empty(), "{self}: {}", supervisor.log());
        drop(peers);
        supervisor.stop();
    }
}

fn supervise(place: &Place) -> Command {
    let mut command = daemon();
    let worker = command.get_program().to_owned();
    command.args(["supervise", "-p", "0", "--replace", "takeover", "--path"]).arg(place.path());
    command.arg("--").arg(worker).args(["--worker", "--standby"]);
    command
}
