//! One cell of the matrix of standbys: a server that is followed, while one of the two is killed or stopped at one step, or panics. And the control
//! that shows that these tests would see a standby that asks nobody how far connections have come.

use std::fmt;
use std::time::Duration;

use crate::harness::{Lost, Peer, Place, Server, TlsPeer, daemon};
use crate::plan::{Fault, Point, StandbyStep as S, VARIABLE};
use crate::secured;
use crate::standbys::{TornMessage, rest, standby_of, survived, wait_until, while_deaf};

/// Some that speak TLS, of each version, and others.
const PLAIN_PEERS: usize = 30;
const PEERS: usize = PLAIN_PEERS + 2;
const LINE: &[u8] = b"a line\n";

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
        let cells = S::ALL.iter().flat_map(|&step| faults.map(|fault| Self { step, fault }));
        // A standby runs nothing of a service that may panic.
        cells.filter(|cell| cell.fault != Fault::Panic || cell.is_of_active()).collect()
    }

    fn is_of_active(self) -> bool {
        matches!(self.step, S::Mark | S::Marked)
    }

    /// Who serves, where the active is killed in the end unless it has been. This is the only place that says so.
    fn expected(self) -> Owner {
        match (self.step, self.fault) {
            (S::Apply, Fault::Kill) => Owner::Active,
            (S::Noticed | S::Judge | S::Claim, Fault::Kill) => Owner::Nobody,
            _ => Owner::Standby,
        }
    }

    /// The third pass of what comes with each mark: by then the standby is armed.
    fn plan(self, of_active: bool) -> String {
        let Self { step, fault } = self;
        let pass = if matches!(step, S::Mark | S::Marked | S::Apply) { "#3" } else { "" };
        if self.is_of_active() == of_active { format!("{}{pass}:{fault}", Point::Standby(step)) } else { String::new() }
    }

    /// Whether it fails with a mark, and not at the end.
    fn comes_with_a_mark(self) -> bool {
        matches!(self.step, S::Mark | S::Marked | S::Apply)
    }

    /// Lets it happen, and sees that whoever is served on is where it was, that nobody else is, and that one process serves.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) -> Owner {
        let place = Place::new();
        let mut command = daemon();
        command.args(["-a", "127.0.0.1", "-p", "0", "--service", "counted", "-t"]).arg(place.path());
        command.args(secured::options());
        let active = Server::spawn(&place.path(), command.env(VARIABLE, self.plan(true))).started();
        let mut clients = connect(&active);
        let mut command = daemon();
        command.arg("--follow").arg(place.path()).args(secured::options()).env(VARIABLE, self.plan(false));
        let standby = Server::spawn(&place.path(), &mut command);
        let (fails, owner) = (if self.is_of_active() { &active } else { &standby }, self.expected());
        if self.comes_with_a_mark() {
            self.talk_until_it_fails(fails, &mut clients);
            if self.fault == Fault::Stop {
                fails.resume();
            }
        }
        match owner {
            Owner::Active => wait_until("the standby is missed", || standby_of(&place).is_none()),
            _ if active.is_running() => {
                assert_eq!(talk(&mut clients), PEERS, "{self}: {}", active.log());
                rest(&place, PEERS);
                active.kill();
            }
            _ => {}
        }
        if self.fault == Fault::Stop && !self.comes_with_a_mark() {
            assert!(standby.is_suspended(), "{self}: {}", standby.log());
            standby.resume();
        }
        let served_on = match owner {
            Owner::Active => PEERS,
            Owner::Nobody => {
                standby.ended().expect_err("it is killed");
                0
            }
            Owner::Standby => {
                let (served_on, reset) = survived(&standby, active.pid());
                assert_eq!(served_on + reset, PEERS, "{self}: {}", standby.log());
                served_on
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
const A_MOMENT: Duration = Duration::from_millis(20);

/// A client that says lines, and knows how many have not been answered.
struct Client {
    connection: Connection,
    unanswered: usize,
    /// Its connection does not take anything more.
    is_lost: bool,
}

enum Connection {
    Plain(Peer),
    Secured(Box<TlsPeer>),
}

impl Connection {
    fn try_send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Plain(peer) => peer.try_send(bytes),
            Self::Secured(peer) => peer.try_send(bytes),
        }
    }

    fn try_expect(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self {
            Self::Plain(peer) => peer.try_expect(bytes),
            Self::Secured(peer) => peer.try_expect(bytes),
        }
    }
}

/// All clients of a server.
#[track_caller]
fn connect(active: &Server) -> Vec<Client> {
    let plain = Peer::connect_many(active.address_as("counted"), PLAIN_PEERS).into_iter().map(Connection::Plain);
    let secured = secured::connect_each(secured::address_of(active)).map(|peer| Connection::Secured(Box::new(peer)));
    plain.chain(secured).map(|connection| Client { connection, unanswered: 0, is_lost: false }).collect()
}

impl Client {
    /// Says a line more.
    fn say(&mut self) {
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
fn talk(clients: &mut Vec<Client>) -> usize {
    clients.iter_mut().for_each(Client::say);
    clients.retain_mut(Client::hears);
    clients.len()
}

/// What the controls are called.
pub(crate) const CONTROL: &str = "standby:judge: error";

/// A standby that does not ask how far connections have come serves some wrongly that others reset: otherwise these tests would
/// see nothing.
///
/// # Errors
/// If it does not.
pub(crate) fn run_controls() -> Result<(), String> {
    run_control_of_messages()?;
    run_control_of_numbers()
}

fn blindness() -> (&'static str, String) {
    (VARIABLE, format!("{}:{}", Point::Standby(S::Judge), Fault::Error))
}

fn run_control_of_messages() -> Result<(), String> {
    let torn = TornMessage::begin(&[blindness()]);
    let (served_on, reset) = torn.survived();
    let answer = torn.end();
    match (served_on, reset, answer.as_deref()) {
        (1, 0, Some(answer)) if answer != b"hell" => Ok(()),
        other => Err(format!("a standby that is blind has {other:?}, a wrong answer is expected")),
    }
}

/// It seals with numbers that the active has sealed with since, and no client that speaks TLS bears that.
fn run_control_of_numbers() -> Result<(), String> {
    let place = Place::new();
    let active = Server::serve(&place.path(), &format!("--service line {}", secured::words()));
    let mut peers = secured::connect_each(active.address());
    let mut command = daemon();
    command.arg("--follow").arg(place.path()).args(secured::options()).envs([blindness()]);
    let standby = Server::spawn(&place.path(), &mut command);
    rest(&place, peers.len());
    while_deaf(&standby, || {
        for peer in &mut peers {
            peer.send(LINE);
            peer.expect(LINE);
        }
    });
    active.kill();
    standby.resume();
    let survived = survived(&standby, active.pid());
    let seen = peers.each_mut().map(|peer| {
        peer.send(LINE);
        peer.failure()
    });
    match survived {
        (2, 0) if seen.iter().all(|why| why.contains("a record cannot be deciphered")) => Ok(()),
        other => Err(format!("a standby that is blind has {other:?}, and its clients see {seen:?}")),
    }
}
