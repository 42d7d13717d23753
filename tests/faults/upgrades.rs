//! One cell of the matrix of upgrades: a server that starts its successor itself, with peers of every kind, while one of the
//! two is killed or stopped at one step; and what whoever asked for it is told.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cell::{check_owner, freeze_timeout_ms};
use crate::crowd::Crowd;
use crate::expectation::Owner;
use crate::harness::{PATIENCE, Peer, Place, Server, daemon};
use crate::plan::{Fault, Point, SuccessorStep as S, UpgradeStep as U, VARIABLE};
use crate::secured;

/// How long a successor has, in s: in any case, and where it is to be given up.
const TIMEOUT: &str = "60";
const TIMEOUT_OF_LATE: &str = "5";

/// One that is late waits for so long.
const LATE: &str = "successor:adopt:delay=15000";

/// A fault at a step. Only processes fail here: what else may happen to the conversation does not depend on who has started
/// the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    point: Point,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upgrade with {}: {}", self.point, self.fault)
    }
}

/// What is to come of it: who owns the peers in the end, and what the command leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    owner: Owner,
    exit_code: i32,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: exits {}", self.owner, self.exit_code)
    }
}

const FAULTS: [Fault; 2] = [Fault::Kill, Fault::Stop];

fn points() -> impl Iterator<Item = Point> {
    let of_successors = [S::Hello, S::Adopt, S::Ready, S::Accept, S::Poll, S::Served];
    Point::of_upgrades().chain(of_successors.map(Point::Successor))
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        points().flat_map(|point| FAULTS.map(|fault| Self { point, fault })).collect()
    }

    /// What is to come of it. This is the only place that says so.
    fn expected(self) -> Outcome {
        let outcome = |owner, exit_code| Outcome { owner, exit_code };
        match (self.point, self.fault) {
            // The successor owns the peers, and nobody is left who could say so.
            (Point::Upgrade(U::Answer), Fault::Kill) => outcome(Owner::Successor, 3),
            (Point::Upgrade(_), Fault::Kill) => outcome(Owner::Nobody, 3),
            // The server goes on where it was, late.
            (Point::Upgrade(U::GiveUp), _) => outcome(Owner::Predecessor, 3),
            (Point::Upgrade(_), _) => outcome(Owner::Successor, 0),
            // It has not lived to say that it serves.
            (Point::Successor(S::Poll), Fault::Kill) => outcome(Owner::Nobody, 3),
            (Point::Successor(S::Served), Fault::Kill) => outcome(Owner::Nobody, 0),
            (Point::Successor(S::Poll | S::Served), _) => outcome(Owner::Successor, 0),
            _ => outcome(Owner::Predecessor, 3),
        }
    }

    /// Everything that has to be planned for it.
    fn plan(self) -> String {
        let Self { point, fault } = self;
        match point {
            Point::Upgrade(U::GiveUp) => format!("{LATE},{point}:{fault}"),
            _ => format!("{point}:{fault}"),
        }
    }

    /// A successor that stands still before it owns the peers is given up, and one that is late.
    fn is_given_up(self) -> bool {
        self.expected().owner == Owner::Predecessor && self.fault == Fault::Stop
            || self.point == Point::Upgrade(U::GiveUp)
    }

    /// Lets it happen, and sees that nothing is lost, that one process owns the peers, that whoever asked hears it, and that no
    /// process is left.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Outcome {
        let Self { point, fault } = self;
        let place = Place::new();
        let mut command = daemon();
        command
            .args(["-a", "127.0.0.1", "-p", "0", "--service", "counted", "-t"])
            .arg(place.path())
            .args(secured::options());
        let stay = self.expected().owner == Owner::Predecessor;
        command.args(["--freeze-timeout", freeze_timeout_ms(point, fault, stay)]);
        let server = Server::spawn(&place.path(), command.env(VARIABLE, self.plan())).started();
        let files_without_peers = server.open_files();
        let mut crowd = Crowd::gather(&server);

        let timeout = if self.is_given_up() { TIMEOUT_OF_LATE } else { TIMEOUT };
        let mut command = daemon();
        command.arg("upgrade").arg(place.path()).args(["--timeout", timeout]);
        let asker = Server::spawn(Path::new(""), &mut command);
        // What a successor says before it serves is passed on by the server.
        server.wait_for_line(|line| line.contains("Fault point "));
        crowd.leave();
        server.wait_for_line(|line| line.contains(&format!("Fault point {point}: {fault}")));
        if fault == Fault::Stop && !(self.is_given_up() && matches!(point, Point::Successor(_))) {
            go_on(&place.path());
        }

        let expected = self.expected();
        let (said, complaints) = asker.output(expected.exit_code);
        let told = if expected.exit_code == 0 { said.contains("handed over: ") } else { !complaints.is_empty() };
        assert!(told, "{said}{complaints}");
        assert_eq!(complaints.contains(" serves on"), expected.owner == Owner::Predecessor, "{complaints}");
        if fault == Fault::Kill && matches!(point, Point::Successor(_)) && expected.owner == Owner::Predecessor {
            assert!(complaints.contains(" was killed by SIGKILL before it took over; "), "{complaints}");
        }
        match expected.owner {
            Owner::Nobody => bury(&place, crowd),
            Owner::Predecessor => {
                assert!(server.is_running(), "{}", server.log());
                outlive(&place, crowd, files_without_peers);
            }
            Owner::Successor => outlive(&place, crowd, files_without_peers),
        }
        await_end_of_all(&place.path());
        expected
    }
}

/// Whichever process has stopped itself goes on.
fn go_on(path: &Path) {
    await_some("stops", || {
        let stopped = processes_of(path).into_iter().find(|process| {
            process
                .stat()
                .is_ok_and(|stat| stat.state().is_ok_and(|state| state == procfs::process::ProcState::Stopped))
        });
        stopped.map(|process| kill(Pid::from_raw(process.pid()), Signal::SIGCONT).expect("it is there"))
    });
}

/// The owner serves all peers, whoever it is, and hands over to the next one, which does too and leaves nothing behind.
fn outlive(place: &Place, crowd: Crowd, files_without_peers: usize) {
    let mut crew = crowd.finish().unwrap_or_else(|lost| panic!("{}", lost.0));
    crew.exchange();
    let next = Server::take_over(&place.path(), &secured::words());
    next.wait_for_line(|line| line.contains("Took over "));
    check_owner(place, &next, &mut crew, files_without_peers);
    next.stop_with(crew.into_peers());
    assert_eq!(std::fs::read_dir(place.directory()).expect("the test's own").count(), 0, "nothing is left over");
}

/// Every client knows that the owner is gone, and another server can take its place.
fn bury(place: &Place, crowd: Crowd) {
    crowd.expect_loss();
    await_end_of_all(&place.path());
    let server = Server::serve(&place.path(), "");
    Peer::connect(server.address()).exchange();
    server.stop();
}

/// Those whose command line has the path in it.
fn processes_of(path: &Path) -> Vec<procfs::process::Process> {
    let path = path.to_string_lossy().into_owned();
    let all = procfs::process::all_processes().expect("proc(5) is there").flatten();
    // One that has ended and was not waited for has none.
    all.filter(|process| process.cmdline().is_ok_and(|words| words.contains(&path))).collect()
}

/// No process is left that has anything to do with the path.
fn await_end_of_all(path: &Path) {
    await_some("ends", || processes_of(path).is_empty().then_some(()));
}

#[track_caller]
fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it {what}");
        std::thread::yield_now();
    }
}

const HEAD: &str = "
# What comes of each fault at each step of an upgrade

The same for a server that was asked to start its successor itself: the steps that an upgrade has besides those of any takeover,
and some of those. The server or its successor is killed or stopped there. The cell says who owns the peers in the end, and the
exit code of `reactord upgrade`. A successor that was stopped before it owned the peers was given up and killed. In every
one, each client got every byte and every deadline once and in order, or, where nobody is left, saw its connection end; the
command said that the predecessor serves on where it did, and nowhere else; and no process was left that had anything to do with it.

| step | kill | stop |
| --- | --- | --- |
";

/// The page, with what came of each cell.
pub(crate) fn page(outcome: impl Fn(Cell) -> Outcome) -> String {
    let mut page = HEAD.to_owned();
    for point in points() {
        let [killed, stopped] = FAULTS.map(|fault| outcome(Cell { point, fault }));
        writeln!(page, "| {point} | {killed} | {stopped} |").expect("a String takes it");
    }
    page
}

/// What was seen, or what is to be seen where it was not tried this time.
pub(crate) fn seen_or_expected(observed: &HashMap<Cell, Outcome>, cell: Cell) -> Outcome {
    observed.get(&cell).copied().unwrap_or_else(|| cell.expected())
}
