//! One cell of the matrix of standbys: a server that is followed, while one of the two is killed or stopped at one step, or panics. And the control
//! that shows that these tests would see a standby that asks nobody how far connections have come.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reactord::Status;

use crate::harness::{Lost, Peer, Place, Server, TlsPeer, daemon};
use crate::plan::{Fault, Point, StandbyStep as S, VARIABLE};
use crate::secured;
use crate::standbys::{rest, standby_of, survived, wait_until};

/// Some that speak TLS, of each version, some that are joined to connections which lead back into the server, and others.
const PLAIN: usize = 26;
const RELAYED: usize = 4;
pub(crate) const CLIENTS: usize = PLAIN + RELAYED + 2;
/// Each of those that are relayed is three peers.
pub(crate) const PEERS: usize = CLIENTS + 2 * RELAYED;
pub(crate) const LINE: &[u8] = b"a line\n";

/// So many commits make a difference that is not the first ones'; and so many lines take more of them.
const LATER_PASS: &str = "#200";
const LINES_MAX: usize = 5000;

/// The command of a server with clients of all kinds.
pub(crate) fn serving(place: &Place) -> Command {
    let mut command = daemon();
    command.args(["-a", "127.0.0.1", "-p", "0", "--service", "counted", "-t"]).arg(place.path());
    command.args(secured::options());
    command
}

/// That of a process that follows such a one, or takes over from it.
pub(crate) fn after(how: &str, place: &Place) -> Command {
    let mut command = daemon();
    command.arg(how).arg(place.path()).args(secured::options());
    command
}

/// A fault at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    step: S,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Point::Standby(self.step), self.fault)
    }
}

/// Who serves in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Active,
    Standby,
    /// Whoever was taking over.
    Successor,
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let faults = [Fault::Kill, Fault::Stop, Fault::Panic];
        // Of what is tried again there is something only after a death; who comes or goes is in cells of its own, and so is who does by
        // a supervisor.
        let steps =
            S::ALL.iter().filter(|step| !matches!(step, S::TryAgain | S::Came | S::Retire | S::Offered | S::Took));
        let cells = steps.flat_map(|&step| faults.map(|fault| Self { step, fault }));
        // A standby runs nothing of a service that may panic.
        cells.filter(|cell| cell.fault != Fault::Panic || cell.is_of_active()).collect()
    }

    fn is_of_active(self) -> bool {
        !matches!(self.step, S::Apply | S::Noticed | S::Judge | S::Claim | S::TryAgain)
    }

    /// Who serves, where the active is killed in the end unless it has been. This is the only place that says so.
    fn expected(self) -> Owner {
        match (self.step, self.fault) {
            (S::Apply, Fault::Kill) => Owner::Active,
            (S::Noticed | S::Judge | S::Claim, Fault::Kill) => Owner::Nobody,
            _ => Owner::Standby,
        }
    }

    /// The third pass of what comes with each mark, and a later one of what comes with each commit. Those of the active count from when
    /// the standby is armed.
    fn plan(self, of_active: bool) -> String {
        let Self { step, fault } = self;
        let pass = match step {
            S::Mark | S::Marked | S::Apply => "#3",
            S::Commit | S::Committing | S::Committed | S::LetOut => LATER_PASS,
            S::Read | S::HaveRead | S::Handle | S::HaveWritten => LATER_PASS,
            // Four of the clients are joined to others.
            S::Convey | S::TakeOff | S::HaveConveyed => "#100",
            S::Came | S::Retire | S::Offered | S::Took => unreachable!("nobody comes or goes"),
            S::Noticed | S::Judge | S::Claim | S::TryAgain => "",
        };
        if self.is_of_active() == of_active { format!("{}{pass}:{fault}", Point::Standby(step)) } else { String::new() }
    }

    /// Whether it fails while both live, and not at the end.
    fn comes_before_the_end(self) -> bool {
        self.is_of_active() || self.step == S::Apply
    }

    /// Lets it happen, and sees that all are served on where they were, and that one process serves.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Owner {
        let place = Place::new();
        let active = Server::spawn(&place.path(), serving(&place).env(VARIABLE, self.plan(true))).started();
        let mut clients = connect(&active);
        let standby = Server::spawn(&place.path(), after("--follow", &place).env(VARIABLE, self.plan(false)));
        let (fails, owner) = (if self.is_of_active() { &active } else { &standby }, self.expected());
        if self.comes_before_the_end() {
            self.talk_until_it_fails(fails, &mut clients);
            if self.fault == Fault::Stop {
                fails.resume();
            }
        }
        match owner {
            Owner::Active => wait_until("the standby is missed", || standby_of(&place).is_none()),
            _ if active.is_running() => {
                assert_eq!(talk(&mut clients), CLIENTS, "{self}: {}", active.log());
                rest(&place, PEERS);
                active.kill();
            }
            _ => {}
        }
        if self.fault == Fault::Stop && !self.comes_before_the_end() {
            assert!(standby.is_suspended(), "{self}: {}", standby.log());
            standby.resume();
        }
        let served_on = match owner {
            Owner::Active => CLIENTS,
            Owner::Successor => unreachable!("nobody takes over"),
            Owner::Nobody => {
                standby.ended().expect_err("it is killed");
                0
            }
            Owner::Standby => {
                assert_eq!(survived(&standby, active.pid()), (PEERS, 0), "{self}: {}", standby.log());
                CLIENTS
            }
        };
        for _ in 0..2 {
            assert_eq!(talk(&mut clients), served_on, "{self}: {}", standby.log());
        }
        owner
    }

    /// Has all clients talk, again and again, until the process at the fault is killed or stopped.
    fn talk_until_it_fails(self, fails: &Server, clients: &mut [Client]) {
        let fault = format!("Fault point {}", Point::Standby(self.step));
        wait_until("it fails", || {
            clients.iter_mut().for_each(Client::say);
            fails.says_within(A_MOMENT, |line| line.contains(&fault))
        });
        match self.fault {
            Fault::Kill | Fault::Panic => drop(fails.ended()),
            _ => assert!(fails.is_suspended(), "{self}: {}", fails.log()),
        }
    }
}

/// How long clients wait before they say more.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(20);

/// A client that says lines, and knows how many have not been answered.
pub(crate) struct Client {
    connection: Connection,
    unanswered: usize,
    /// Its connection does not take anything more.
    is_lost: bool,
}

pub(crate) enum Connection {
    Plain(Peer),
    Secured(Box<TlsPeer>),
}

impl Connection {
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Plain(peer) => peer.try_send(bytes),
            Self::Secured(peer) => peer.try_send(bytes),
        }
    }

    pub(crate) fn try_expect(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Plain(peer) => peer.try_expect(bytes),
            Self::Secured(peer) => peer.try_expect(bytes),
        }
    }
}

/// All clients of a server.
#[track_caller]
pub(crate) fn connect(active: &Server) -> Vec<Client> {
    let counted = active.address_as("counted");
    let relayed = Peer::connect_many(active.address_as("relayed"), RELAYED);
    relayed.iter().for_each(|peer| peer.send(format!("{counted}\n").as_bytes()));
    let plain = Peer::connect_many(counted, PLAIN).into_iter().chain(relayed).map(Connection::Plain);
    let secured = secured::connect_each(secured::address_of(active)).map(|peer| Connection::Secured(Box::new(peer)));
    plain.chain(secured).map(|connection| Client { connection, unanswered: 0, is_lost: false }).collect()
}

impl Client {
    /// Says a line more.
    pub(crate) fn say(&mut self) {
        match self.connection.try_send(LINE) {
            Ok(()) => self.unanswered += 1,
            Err(_) => self.is_lost = true,
        }
    }

    /// Hears all answers. False if the connection is lost.
    fn hears(&mut self) -> bool {
        !self.is_lost && self.connection.try_expect(&LINE.repeat(std::mem::take(&mut self.unanswered))).is_ok()
    }
}

/// Has all clients say a line more and hear all answers, and lets go of those whose connections are lost. Returns how many are
/// left.
pub(crate) fn talk(clients: &mut Vec<Client>) -> usize {
    clients.iter_mut().for_each(Client::say);
    clients.retain_mut(Client::hears);
    clients.len()
}

/// What the controls are called.
pub(crate) const CONTROL: &str = "standby:judge: error";

/// A standby that does not ask how far connections have come says again what was said: otherwise these tests would see nothing.
///
/// # Errors
/// If it does not.
pub(crate) fn run_controls() -> Result<(), String> {
    run_control_of_messages()?;
    run_control_of_numbers()?;
    run_poison()?;
    run_poison_that_is_taken_over()?;
    run_innocent()
}

/// A server that is killed when answers have been written, and before it says that they were; and a standby that is blind.
fn begin_control(place: &Place, service: &str, options: &[String]) -> (Server, Server) {
    let mut command = daemon();
    command.args(["-a", "127.0.0.1", "-p", "0", "--service", service, "-t"]).arg(place.path()).args(options);
    let plan = format!("{}{LATER_PASS}:{}", Point::Standby(S::LetOut), Fault::Kill);
    let active = Server::spawn(&place.path(), command.env(VARIABLE, plan)).started();
    let mut command = daemon();
    command.arg("--follow").arg(place.path()).args(options);
    command.env(VARIABLE, format!("{}:{}", Point::Standby(S::Judge), Fault::Error));
    let standby = Server::spawn(&place.path(), &mut command);
    // To ask for the status would be a turn of the loop, and so a pass.
    active.wait_for_line(|line| line.contains(" is armed, with "));
    (active, standby)
}

fn run_control_of_messages() -> Result<(), String> {
    let place = Place::new();
    let (active, standby) = begin_control(&place, "line", &[]);
    let peer = Peer::connect(active.address());
    let lines = (0..LINES_MAX).map(|number| format!("{number}\n").into_bytes());
    let wrong = lines.into_iter().find_map(|line| {
        peer.send(&line);
        let answer = peer.try_receive(line.len()).ok()?;
        (answer != line).then_some((answer, line))
    });
    match (wrong, survived(&standby, active.pid())) {
        (Some(_), (1, 0)) => Ok(()),
        other => Err(format!("a standby that is blind has {other:?}, a wrong answer is expected")),
    }
}

/// What was sealed is sent a second time, and no client that speaks TLS bears that.
fn run_control_of_numbers() -> Result<(), String> {
    let place = Place::new();
    let (active, standby) = begin_control(&place, "counted", secured::options());
    let mut peers = secured::connect_each(secured::address_of(&active));
    let seen = (0..LINES_MAX).find_map(|_| {
        peers.iter_mut().for_each(|peer| drop(peer.try_send(LINE)));
        peers.iter_mut().find_map(|peer| peer.expect_or_end(LINE).err())
    });
    match (survived(&standby, active.pid()), seen) {
        ((2, 0), Some(why)) if why.contains("a record cannot be deciphered") => Ok(()),
        other => Err(format!("a standby that is blind has and its clients see {other:?}")),
    }
}

/// A message at which its service panics: who has said it is closed at the second death, and nobody else notices either.
fn run_poison() -> Result<(), String> {
    let place = Place::new();
    let server = Server::spawn(&place.path(), serving(&place).arg("--standby")).started();
    let poisoner = Peer::connect(server.address_as("counted"));
    let mut clients = connect(&server);
    rest(&place, PEERS + 1);
    poisoner.send(b"panic\n");
    wait_until("two deaths are survived", || {
        clients.iter_mut().for_each(Client::say);
        Status::of(&place.path()).is_ok_and(|status| status.deaths_survived == 2)
    });
    see_poison(&place, &server, &poisoner, &mut clients)
}

/// The same if nobody follows whoever has survived the first death, and another process takes over from it. That one starts a standby.
fn run_poison_that_is_taken_over() -> Result<(), String> {
    let place = Place::new();
    let first = Server::spawn(&place.path(), &mut serving(&place)).started();
    let survivor = Server::spawn(&place.path(), &mut after("--follow", &place));
    let poisoner = Peer::connect(first.address_as("counted"));
    let mut clients = connect(&first);
    rest(&place, PEERS + 1);
    poisoner.send(b"panic\n");
    assert_eq!(survived(&survivor, first.pid()), (PEERS + 1, 0), "{}", survivor.log());
    let successor = Server::spawn(&place.path(), after("-T", &place).arg("--standby"));
    wait_until("another death is survived", || {
        clients.iter_mut().for_each(Client::say);
        successor.says_within(A_MOMENT, |line| line.contains(KILLED_TWO))
    });
    see_poison(&place, &successor, &poisoner, &mut clients)
}

const KILLED_TWO: &str = "whose message has now killed two processes";

/// Two processes have died of it, and the server is stopped.
fn see_poison(place: &Place, server: &Server, poisoner: &Peer, clients: &mut Vec<Client>) -> Result<(), String> {
    poisoner.expect_loss();
    rest(place, PEERS);
    let left = talk(clients);
    let pid = Status::of(&place.path()).map(|status| status.pid);
    let stopped = pid.map(|pid| kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM));
    let line = server.wait_for_line(|line| line.contains(KILLED_TWO));
    let address = poisoner.address();
    match (left, stopped) {
        (CLIENTS, Ok(Ok(()))) if line.contains(&format!("peer [{}]:{} ", address.ip(), address.port())) => Ok(()),
        other => Err(format!("a message that kills has left {other:?} of {CLIENTS} clients: {line}")),
    }
}

/// What was put aside at a death is not handled yet when the next process dies: it has killed nobody, and is handled by the third.
/// Nothing is, where the first one dies when all that was read is committed, or what two that are joined say to one another.
fn run_innocent() -> Result<(), String> {
    const TIMES_MAX: usize = 20;
    let mut times = (0..TIMES_MAX).map(|_| try_innocent());
    times.find_map(Result::transpose).unwrap_or_else(|| Err("nothing was ever put aside at a death".to_owned()))
}

/// `None` if nothing was put aside.
fn try_innocent() -> Result<Option<()>, String> {
    let place = Place::new();
    let plan = format!("{}#20:{}", Point::Standby(S::Committing), Fault::Kill);
    let first = Server::spawn(&place.path(), serving(&place).env(VARIABLE, plan)).started();
    let mut clients = connect(&first);
    let follow = |plan: String| Server::spawn(&place.path(), after("--follow", &place).env(VARIABLE, plan));
    let second = follow(format!("{}:{}", Point::Standby(S::TryAgain), Fault::Kill));
    wait_until("the first one dies", || {
        clients.iter_mut().for_each(Client::say);
        first.says_within(A_MOMENT, |line| line.contains("Fault point "))
    });
    let once = survived(&second, first.pid());
    let third = follow(String::new());
    // When it says that, it has handled what there was.
    if second.says_before_its_end(|line| line.contains(" is armed, with ")) {
        return Ok(None);
    }
    let twice = survived(&third, second.pid());
    match (once, twice, talk(&mut clients)) {
        ((PEERS, 0), (PEERS, 0), CLIENTS) => Ok(Some(())),
        other => Err(format!("of what was not tried again, {other:?} are served on and reset, and answered")),
    }
}
