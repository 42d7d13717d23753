//! One cell of the matrix of takeovers of a server with a standby: whoever fails in one, and wherever, one process serves all of them on,
//! also when the server is killed after that.

use std::fmt;
use std::time::Duration;

use crate::cell::FREEZE_TIMEOUT_LONG_MS;
use crate::harness::{Place, Server};
use crate::plan::{Fault, Planned, Point, PredecessorStep as P, SuccessorStep as S, VARIABLE};
use crate::standby::{A_MOMENT, CLIENTS, Client, Owner, PEERS, after, connect, serving, talk};
use crate::standbys::{rest, standby_of, survived, wait_until};

/// Where the successor is killed or stopped.
const STEPS_OF_SUCCESSOR: [S; 10] =
    [S::Hello, S::Welcome, S::Listeners, S::Adopt, S::Change, S::Enter, S::Copied, S::Round, S::Ready, S::Accept];

/// Where the predecessor is killed. What is sent in the copy is sent to its standby, too.
const STEPS_OF_PREDECESSOR: [P; 5] = [P::Freeze, P::Commit, P::Committed, P::Retire, P::Disband];

/// How long a successor waits in a round so that something changes meanwhile.
const MEANWHILE: Fault = Fault::Delay(Duration::from_millis(100));

/// A fault at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    point: Point,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "followed {}: {}", self.point, self.fault)
    }
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let of_successor = STEPS_OF_SUCCESSOR.into_iter().map(Point::from);
        let of_successor = of_successor.flat_map(|point| [Fault::Kill, Fault::Stop].map(|fault| Self { point, fault }));
        let of_predecessor = STEPS_OF_PREDECESSOR.into_iter().map(Point::from);
        of_successor.chain(of_predecessor.map(|point| Self { point, fault: Fault::Kill })).collect()
    }

    /// Who serves, when the predecessor is killed behind that unless it has been. This is the only place that says so. While Commit is in the
    /// channel, and Accept is not, that is the first of two who looks.
    fn expected(self) -> Owner {
        match (self.point, self.fault) {
            // Accept is in the channel.
            (Point::Predecessor(P::Retire | P::Disband), _) => Owner::Successor,
            // It was, and whoever was killed has not accepted: the licence is gone with that.
            (Point::Successor(S::Accept), Fault::Kill) => Owner::Active,
            _ => Owner::Standby,
        }
    }

    fn plan(self, of_successor: bool) -> String {
        let Self { point, fault } = self;
        let planned = Planned { point, pass: 1, fault };
        match point {
            // Something changes while it waits.
            Point::Successor(S::Change) if of_successor => format!("successor:round:{MEANWHILE},{planned}"),
            Point::Successor(_) if of_successor => planned.to_string(),
            Point::Predecessor(_) if !of_successor => planned.to_string(),
            _ => String::new(),
        }
    }

    /// Lets it happen, and sees that all are served on where they were, and that one process serves.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Owner {
        let place = Place::new();
        let mut scene = Scene::begin(self, &place);
        scene.wait_until_it_fails();
        let takes_over = |successor: &Server| successor.says_before_its_end(|line| line.contains("Took over "));
        let owner = match self.point {
            Point::Predecessor(P::Committed) if takes_over(&scene.successor) => Owner::Successor,
            _ => self.expected(),
        };
        match owner {
            Owner::Active => scene.see_active_serve_alone(),
            Owner::Standby => scene.see_standby_serve_on(),
            Owner::Successor => {}
            Owner::Nobody => unreachable!("somebody serves"),
        }
        scene.end(owner);
        owner
    }
}

/// A takeover of a server with a standby and clients of all kinds.
struct Scene<'p> {
    cell: Cell,
    place: &'p Place,
    active: Server,
    standby: Server,
    successor: Server,
    clients: Vec<Client>,
}

impl<'p> Scene<'p> {
    fn begin(cell: Cell, place: &'p Place) -> Self {
        let mut command = serving(place);
        // As long as the successor may be stopped, and no longer than it would be waited for.
        command.args(["--freeze-timeout", FREEZE_TIMEOUT_LONG_MS]).env(VARIABLE, cell.plan(false));
        let active = Server::spawn(&place.path(), &mut command).started();
        let clients = connect(&active);
        let standby = Server::spawn(&place.path(), &mut after("--follow", place));
        rest(place, PEERS);
        let successor = Server::spawn(&place.path(), after("-T", place).env(VARIABLE, cell.plan(true)));
        Self { cell, place, active, standby, successor, clients }
    }

    /// Everybody changes all the time, of which both are told.
    fn wait_until_it_fails(&mut self) {
        let Self { cell, active, successor, clients, .. } = self;
        let fails = if matches!(cell.point, Point::Successor(_)) { successor } else { active };
        let fault = format!("Fault point {}", cell.point);
        wait_until("it fails", || {
            clients.iter_mut().for_each(Client::say);
            fails.says_within(A_MOMENT, |line| line.contains(&fault))
        });
        if cell.fault == Fault::Stop {
            assert!(fails.is_suspended(), "{cell}: {}", fails.log());
        } else {
            fails.ended().expect_err("it is killed");
        }
    }

    fn see_active_serve_alone(&mut self) {
        self.see_all_served(Owner::Active);
        assert_eq!(self.standby.exit_code(), 0, "{}: {}", self.cell, self.standby.log());
        wait_until("it is not followed", || standby_of(self.place).is_none());
    }

    fn see_standby_serve_on(&mut self) {
        if self.cell.point == S::Accept.into() {
            // It waits for that, and serves nobody.
            self.active.kill();
        } else if self.active.is_running() {
            self.see_all_served(Owner::Active);
            // It is the one that has followed all the time.
            rest(self.place, PEERS);
            let follows = standby_of(self.place).map(|seen| seen.pid);
            assert_eq!(follows, Some(self.standby.pid()), "{}: {}", self.cell, self.active.log());
            self.active.kill();
        }
        let survived = survived(&self.standby, self.active.pid());
        assert_eq!(survived, (PEERS, 0), "{}: {}", self.cell, self.standby.log());
    }

    /// Whoever serves goes on, and nobody else is left, or stays.
    fn end(mut self, owner: Owner) {
        if self.cell.fault == Fault::Stop {
            self.successor.resume();
        }
        if owner == Owner::Successor {
            assert_eq!(self.standby.exit_code(), 0, "{}: {}", self.cell, self.standby.log());
        } else {
            // It has nothing, and says so.
            assert_ne!(self.successor.ended(), Ok(0), "{}: {}", self.cell, self.successor.log());
        }
        self.see_all_served(owner);
    }

    fn see_all_served(&mut self, by: Owner) {
        for _ in 0..2 {
            let by = match by {
                Owner::Active => &self.active,
                Owner::Standby => &self.standby,
                Owner::Successor | Owner::Nobody => &self.successor,
            };
            assert_eq!(talk(&mut self.clients), CLIENTS, "{}: {}", self.cell, by.log());
        }
    }
}
