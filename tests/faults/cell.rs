//! One cell of the matrix: real processes with peers of every kind, of which one fails at one step in one way.

use std::fmt;

use nix::sys::signal::Signal;

use crate::crowd::{Crew, Crowd};
use crate::expectation::{End, Ends, Owner, Situation};
use crate::harness::{Exit, PATIENCE, Peer, Place, Server, caller_sees_pid, daemon};
use crate::plan::{Fault, Planned, Point, VARIABLE};
use crate::secured;

/// How long peers stand still, in ms: longer than whoever is to be late takes; and where the end of that is not what is to come about, so
/// long that it does not, however long this machine stands still.
const FREEZE_TIMEOUT_MS: &str = "1000";
pub(crate) const FREEZE_TIMEOUT_LONG_MS: &str = "20000";

/// Which of them is for a fault after which they `stay` where they are or not. Whoever has them may be stopped beyond the end of it.
pub(crate) fn freeze_timeout_ms(point: Point, fault: Fault, stay: bool) -> &'static str {
    let is_late = matches!((point, fault), (Point::Predecessor(_), Fault::Stop));
    if stay || is_late { FREEZE_TIMEOUT_MS } else { FREEZE_TIMEOUT_LONG_MS }
}

/// A fault in a situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    pub(crate) situation: Situation,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.situation, self.fault)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) owner: Owner,
    pub(crate) ends: Ends,
    /// Whether the predecessor has warned that the takeover came to nothing.
    pub(crate) warned: bool,
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let situations = Situation::all().into_iter();
        situations
            .flat_map(|situation| Fault::ALL.map(|fault| Self { situation, fault }))
            .filter(|cell| cell.situation.can(cell.fault))
            .collect()
    }

    /// Lets it happen, and sees that nothing is lost, that one process owns the peers, and that it can be taken over.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Observed {
        let Self { situation, fault } = self;
        let place = Place::new();
        let plan = situation.plan(fault);
        let stay = situation.owner_after(fault) == Owner::Predecessor;
        let freeze_timeout = freeze_timeout_ms(situation.point, fault, stay);
        let mut command = daemon();
        command
            .args(["-a", "127.0.0.1", "-p", "0", "--service", "counted", "--freeze-timeout", freeze_timeout, "-t"])
            .arg(place.path())
            .args(secured::options())
            .env(VARIABLE, side_of(&plan, |point| matches!(point, Point::Predecessor(_))));
        let predecessor = Server::spawn(&place.path(), &mut command).started();
        let files_without_peers = predecessor.open_files();
        let mut crowd = Crowd::gather(&predecessor);

        let mut command = daemon();
        command.arg("-T").arg(place.path()).args(secured::options());
        command.env(VARIABLE, side_of(&plan, |point| matches!(point, Point::Successor(_))));
        let successor = Server::spawn(&place.path(), &mut command);
        let (faulty, other) = match situation.point {
            Point::Predecessor(_) | Point::Upgrade(_) | Point::Standby(_) => (&predecessor, &successor),
            Point::Successor(_) => (&successor, &predecessor),
        };
        // The first one may be there to give them the time to leave.
        faulty.wait_for_line(|line| line.contains("Fault point "));
        crowd.leave();
        faulty.wait_for_line(|line| line.contains(&format!("Fault point {}: {fault}", situation.point)));
        if fault == Fault::Stop {
            assert!(faulty.is_suspended(), "{}", faulty.log());
            // Past every deadline: the other side has made up its mind.
            other.wait_for_line(|line| {
                ["Took over ", "Handed over ", "ERROR", "Takeover by pid "].iter().any(|verdict| line.contains(verdict))
            });
            faulty.resume();
        }

        let expected = Ends::after(situation, fault);
        let ends = Ends {
            predecessor: end_of(&predecessor, expected.predecessor),
            successor: end_of(&successor, expected.successor),
        };
        let owner = match ends {
            Ends { predecessor: End::Serves, successor: End::Serves } => panic!("two processes serve"),
            Ends { predecessor: End::Serves, .. } => Owner::Predecessor,
            Ends { successor: End::Serves, .. } => Owner::Successor,
            _ => Owner::Nobody,
        };
        assert_eq!((owner, ends), (situation.owner_after(fault), expected));
        let warned = match owner {
            Owner::Predecessor => {
                let log = outlive(&place, predecessor, crowd, files_without_peers);
                log.contains(" WARN ") && log.contains(&format!("Takeover by pid {} ", successor.pid()))
            }
            Owner::Successor => {
                outlive(&place, successor, crowd, files_without_peers);
                false
            }
            Owner::Nobody => {
                bury(&place, crowd);
                false
            }
        };
        Observed { owner, ends, warned }
    }
}

/// What one side has planned, for its environment.
fn side_of(plan: &[Planned], side: impl Fn(Point) -> bool) -> String {
    plan.iter().filter(|planned| side(planned.point)).map(Planned::to_string).collect::<Vec<_>>().join(",")
}

/// How a process ends, which is waited for if it is to end.
fn end_of(server: &Server, expected: End) -> End {
    if expected == End::Serves {
        return if server.is_running() { End::Serves } else { end(server.ended()) };
    }
    end(server.ended())
}

fn end(exit: Exit) -> End {
    match exit {
        Ok(code) => End::Exits(code),
        Err(Signal::SIGKILL) => End::Killed,
        Err(signal) => panic!("a process was ended by {signal}"),
    }
}

/// The owner serves all peers, and hands over to the next one, which does too and leaves nothing behind. Returns what
/// the owner has said.
fn outlive(place: &Place, owner: Server, crowd: Crowd, files_without_peers: usize) -> String {
    let mut crew = match crowd.finish() {
        Ok(crew) => crew,
        Err(lost) => panic!("{}\n{}", lost.0, owner.log()),
    };
    check_owner(place, &owner, &mut crew, files_without_peers);
    let log = owner.log();
    let next = owner.taken_over(&secured::words());
    check_owner(place, &next, &mut crew, files_without_peers);
    next.stop_with(crew.into_peers());
    assert_eq!(std::fs::read_dir(place.directory()).expect("the test's own").count(), 0, "nothing is left over");
    log
}

/// How many exchanges it takes for a server to see what happened before the first, at the very most.
const EXCHANGES_MAX: usize = 1000;

/// It is alone, and has nothing open but what it needs.
pub(crate) fn check_owner(place: &Place, owner: &Server, crew: &mut Crew, files_without_peers: usize) {
    crew.exchange();
    assert!(owner.is_running(), "{}", owner.log());
    assert_eq!(caller_sees_pid(&place.path()), owner.pid(), "the path leads to the owner");
    // What is still on its way, such as the end of those who have just left, is there after some exchanges.
    let expected = files_without_peers + crew.files();
    let mut files = owner.open_files();
    for _ in 0..EXCHANGES_MAX {
        if files == expected {
            return;
        }
        crew.exchange();
        files = owner.open_files();
    }
    panic!("pid {} has {files} files open, {expected} are expected\n{}", owner.pid(), owner.log());
}

/// Every client knows that the owner is gone, and another server can take its place.
fn bury(place: &Place, crowd: Crowd) {
    crowd.expect_loss();
    let server = Server::serve(&place.path(), "");
    Peer::connect(server.address()).exchange();
    server.stop();
}

const _: () = assert!(PATIENCE.as_secs() > 20, "the longest deadline is 10 s");
