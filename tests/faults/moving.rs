//! One cell of the matrix of moves: a giver with peers of every kind, a taker, and others of either, who are to notice
//! nothing, while one side fails at one step in one way.

mod clients;
mod discreet;
pub(crate) mod expectation;
pub(crate) mod papers;
pub(crate) mod random;

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::expectation::{Owner, Role, Situation};
use crate::cell::freeze_timeout_ms;
use crate::crowd::Crowd;
use crate::harness::{Exit, Lost, PATIENCE, Peer, Place, Server, daemon, figure};
use crate::plan::{Fault, Planned, Point, VARIABLE};
use crate::secured;

/// How long one side is stopped at most: longer than the other waits for it.
const STOPPED_MAX: Duration = Duration::from_secs(12);

const NOBODY_WAITS: &[u8] = b"nobody is waiting\n";

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
    /// Whether the giver has warned that it could not give.
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

    /// Whom the fault kills.
    fn kills(self, of_giver: bool) -> bool {
        self.fault == Fault::Kill && self.situation.is_givers() == of_giver
    }

    /// Lets it happen, and sees that nothing is lost, that one process owns the peers, that whoever is alive goes on, and that
    /// they can be moved then.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Observed {
        let mut stage = Stage::set(self);
        let batch = stage.begin();
        stage.let_it_happen();
        let owner = stage.owner_of(&batch);
        assert_eq!(owner, self.situation.owner_after(self.fault), "{}", stage.logs());
        let warned = stage.giver.lines_with(" WARN ").iter().any(|line| line.contains(" was not given "));
        stage.end(batch, owner);
        Observed { owner, warned }
    }
}

/// Both processes, and who is there besides those who move.
struct Stage {
    cell: Cell,
    place: Place,
    giver: Server,
    taker: Server,
    /// How many files either has open without peers.
    files: [usize; 2],
    /// Peers of the giver of every kind, who move if the taker serves.
    crowd: Option<Crowd>,
    /// One of the taker's own.
    own: Option<Peer>,
    mover: Option<Server>,
}

/// Those who are to change their owner in one step.
enum Batch {
    /// All of the giver's.
    Crowd,
    /// One who is stolen, and who has said more in the same segment.
    Stolen(Peer),
}

impl Stage {
    fn set(cell: Cell) -> Self {
        let Cell { situation: Situation { role, .. }, fault } = cell;
        let place = Place::new();
        let plan = cell.situation.plan(fault);
        let stay = cell.situation.owner_after(fault) == Owner::Giver;
        let freeze_timeout = freeze_timeout_ms(cell.situation.point, fault, stay);
        let mut command = daemon();
        command
            .args(["-a", "127.0.0.1", "-p", "0", "--service", "line", "--steal", "-v", "-t"])
            .arg(place.path())
            .args(["--freeze-timeout", freeze_timeout])
            .args(secured::options())
            .env(VARIABLE, side_of(&plan, |point| matches!(point, Point::Predecessor(_))));
        let giver = Server::spawn(&place.path(), &mut command).started();
        let mut files = [giver.open_files(), 0];
        let crowd = Crowd::gather_of_lines(&giver);

        let mut command = daemon();
        match role {
            Role::Waits => command.arg("-c").arg(place.path()),
            Role::Serves => command.args(["-a", "127.0.0.1", "-p", "0"]).args(secured::options()),
        };
        let path = place.file("of-the-taker");
        let plan = side_of(&plan, |point| matches!(point, Point::Successor(_)));
        command.arg("-t").arg(&path).args(["--service", "line", "-v"]).env(VARIABLE, plan);
        let taker = Server::spawn(&path, &mut command).started();
        let own = (role == Role::Serves).then(|| {
            files[1] = taker.open_files();
            Peer::connect(taker.address_as("line"))
        });
        Self { cell, place, giver, taker, files, crowd: Some(crowd), own, mover: None }
    }

    /// Begins the move.
    fn begin(&mut self) -> Batch {
        match self.cell.situation.role {
            Role::Waits => {
                let peer = Peer::connect(self.giver.address_as("line"));
                // Who is to fail while it calls may never be heard to wait.
                self.await_waiting();
                peer.send(b"steal\nafter\nhalf a line");
                Batch::Stolen(peer)
            }
            Role::Serves => {
                let mut command = daemon();
                command.arg("move").arg(self.place.path()).arg(self.place.file("of-the-taker"));
                self.mover = Some(Server::spawn(&self.place.file("nowhere"), &mut command));
                Batch::Crowd
            }
        }
    }

    /// Waits until the giver knows that somebody waits, or the taker has failed before and will not call again by itself.
    fn await_waiting(&mut self) {
        let waits = format!("Pid {} waits to be given peers", self.taker.pid());
        let fails = "Fault point successor:hello";
        let calls_again = self.cell.situation.calls_again_after(self.cell.fault);
        let has_failed = |taker: &Server| !calls_again && !taker.lines_with(fails).is_empty();
        let deadline = Instant::now() + PATIENCE;
        while self.giver.lines_with(&waits).is_empty() && !has_failed(&self.taker) {
            assert!(Instant::now() < deadline, "{}", self.logs());
            std::thread::yield_now();
        }
    }

    fn let_it_happen(&mut self) {
        let Cell { situation, fault } = self.cell;
        let (faulty, other) =
            if situation.is_givers() { (&self.giver, &self.taker) } else { (&self.taker, &self.giver) };
        faulty.wait_for_line(|line| line.contains("Fault point "));
        if let Some(crowd) = &mut self.crowd {
            crowd.leave();
        }
        faulty.wait_for_line(|line| line.contains(&format!("Fault point {}: {fault}", situation.point)));
        if fault == Fault::Stop {
            assert!(faulty.is_suspended(), "{}", faulty.log());
            // Past every deadline: the other side has made up its mind, if it has to. A taker does in any case, as it need not wait
            // for its giver; a giver may not know yet of whoever is stopped.
            let is_verdict = |line: &str| VERDICTS.iter().any(|verdict| line.contains(verdict));
            match situation {
                situation if situation.can_wait() => {}
                situation if situation.is_givers() => drop(other.wait_for_line(is_verdict)),
                _ => drop(other.says_within(STOPPED_MAX, is_verdict)),
            }
            faulty.resume();
        }
        if fault == Fault::Kill {
            assert_eq!(faulty.ended(), Exit::Err(Signal::SIGKILL), "{}", faulty.log());
        }
        if let Some(mover) = &self.mover {
            let code = mover.exit_code();
            assert!([0, 3].contains(&code), "{}", mover.log());
        }
    }

    /// Who has the peers of the batch in the end, each of which has got every byte.
    fn owner_of(&mut self, batch: &Batch) -> Owner {
        match batch {
            Batch::Stolen(peer) => self.owner_of_stolen(peer),
            Batch::Crowd => {
                let crowd = self.crowd.as_mut().expect("it is there until the end");
                let served = crowd.probe();
                let peer = self.crowd.as_ref().map(Crowd::probed);
                served.map_or(Owner::Nobody, |()| self.sole_owner(peer.expect("it is there")))
            }
        }
    }

    fn owner_of_stolen(&self, peer: &Peer) -> Owner {
        match Self::try_answers(peer) {
            Ok(()) => self.sole_owner(peer),
            Err(_) => Owner::Nobody,
        }
    }

    /// Who has this connection, when only one of them has. Whoever does not own it may know so only a moment later.
    fn sole_owner(&self, peer: &Peer) -> Owner {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let has = |server: &Server, of_giver| !self.cell.kills(of_giver) && server.has(peer);
            match (has(&self.giver, true), has(&self.taker, false)) {
                (true, false) => return Owner::Giver,
                (false, true) => return Owner::Taker,
                both => assert!(Instant::now() < deadline, "{both:?} have {}\n{}", peer.address(), self.logs()),
            }
            std::thread::yield_now();
        }
    }

    /// All that the one who was to be stolen has asked for is answered, unless its owner is killed before or meanwhile.
    fn try_answers(peer: &Peer) -> Result<(), Lost> {
        if peer.try_receive(1)? == NOBODY_WAITS[..1] {
            peer.try_expect(&[&NOBODY_WAITS[1..], b"after\n"].concat())?;
        } else {
            peer.try_expect(b"fter\n")?;
        }
        peer.try_send(b"\n")?;
        peer.try_expect(b"half a line\n")
    }

    /// Whoever is alive serves all that it has, has nothing open besides, can move what it has, and leaves nothing.
    fn end(mut self, batch: Batch, owner: Owner) {
        let Self { giver, taker, .. } = &self;
        let (giver_lives, taker_lives) = (!self.cell.kills(true), !self.cell.kills(false));
        assert_eq!((giver.is_running(), taker.is_running()), (giver_lives, taker_lives), "{}", self.logs());
        if let Some(own) = &self.own {
            let alive = own.try_send(b"unharmed\n").and_then(|()| own.try_expect(b"unharmed\n")).is_ok();
            assert_eq!(alive, taker_lives, "{}", self.logs());
        }
        let crowd = self.crowd.take().expect("it was there up to now");
        let of_crowd = match batch {
            Batch::Crowd => owner,
            Batch::Stolen(_) if giver_lives => Owner::Giver,
            Batch::Stolen(_) => Owner::Nobody,
        };
        let (mut crews, mut secured): ([Vec<Peer>; 2], [Vec<secured::Talker>; 2]) = Default::default();
        match of_crowd {
            Owner::Nobody => crowd.expect_loss_while(giver_lives),
            Owner::Giver | Owner::Taker => {
                let crew = crowd.finish_while(giver_lives);
                let crew = crew.unwrap_or_else(|lost| panic!("{}\n{}", lost.0, self.logs()));
                let whose = usize::from(of_crowd == Owner::Taker);
                (crews[whose], secured[whose]) = crew.into_both();
            }
        }
        if let Batch::Stolen(peer) = batch {
            match owner {
                Owner::Nobody => peer.expect_loss(),
                Owner::Giver | Owner::Taker => crews[usize::from(owner == Owner::Taker)].push(peer),
            }
        }
        if taker_lives {
            crews[1].extend(self.own.take());
        }
        let have = std::array::from_fn(|side| crews[side].len() + secured[side].len());
        self.check_files(have);
        if giver_lives && taker_lives {
            crews = self.move_all(crews, have[0]);
        }
        for talker in secured.iter_mut().flatten() {
            talker.exchange().unwrap_or_else(|lost| panic!("{}\n{}", lost.0, self.logs()));
        }
        drop(secured);
        let [of_giver, of_taker] = crews;
        if giver_lives {
            self.giver.stop_serving(of_giver);
        }
        if taker_lives {
            self.taker.stop_serving(of_taker);
        }
        let left = std::fs::read_dir(self.place.directory()).expect("the test's own").count();
        // Whoever was killed leaves its path.
        assert_eq!(left, usize::from(!giver_lives) + usize::from(!taker_lives), "nothing is left over");
    }

    /// Nobody has more open than a file for each peer, and for the other one if that waits.
    fn check_files(&self, have: [usize; 2]) {
        let waits = usize::from(self.cell.situation.role == Role::Waits);
        for (number, server) in [&self.giver, &self.taker].into_iter().enumerate() {
            // What one has open that waits, is not known: it has never been without its channel.
            let known = self.files[number] > 0;
            if known && server.is_running() {
                let expected = self.files[number] + have[number] + waits;
                assert!(server.comes_down_to_open_files(expected), "{expected} expected\n{}", server.log());
            }
        }
    }

    /// Both are alive: what the giver has, so many peers, goes to the taker, as if nothing had been.
    fn move_all(&self, crews: [Vec<Peer>; 2], has: usize) -> [Vec<Peer>; 2] {
        let mut command = daemon();
        command.arg("move").arg(self.place.path()).arg(self.place.file("of-the-taker"));
        let mover = Server::spawn(&self.place.file("nowhere"), &mut command);
        let (said, log) = mover.output(0);
        let [of_giver, of_taker] = crews;
        let (moved, of) = (figure(&said, " of "), figure(&said, " peer"));
        // One who has just left may still be there.
        assert!(moved == of && moved >= has as u64, "{said}{log}\n{}", self.logs());
        let all: Vec<Peer> = of_giver.into_iter().chain(of_taker).collect();
        for peer in &all {
            peer.send(b"moved\n");
            peer.expect(b"moved\n");
        }
        [Vec::new(), all]
    }

    fn logs(&self) -> String {
        let mover = self.mover.as_ref().map(Server::log).unwrap_or_default();
        format!("{}: {}\n{}\n{mover}", self.cell, self.giver.log(), self.taker.log())
    }
}

/// What either side says when it knows what has become of a batch.
const VERDICTS: [&str; 7] = [
    " was not given ",
    "Gave ",
    "Moved ",
    " is given no more peers",
    "Was given ",
    "Nothing more is taken ",
    ", has left",
];

/// What one side has planned, for its environment.
fn side_of(plan: &[Planned], side: impl Fn(Point) -> bool) -> String {
    plan.iter().filter(|planned| side(planned.point)).map(Planned::to_string).collect::<Vec<_>>().join(",")
}
