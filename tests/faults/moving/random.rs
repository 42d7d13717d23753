//! Schedules of moves: two or three servers give each other random sets of their peers, and fail at moments that a seed
//! decides, while clients talk, come and go.

use std::collections::HashSet;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;
use reactord_tls::Connector;

use super::clients::{Chat, Client, Mood};
use super::discreet::Discreet;
use super::expectation::{Role, Situation};
use crate::crowd::{Full, Talker};
use crate::harness::{Lost, PATIENCE, Peer, Place, Server, daemon, inodes_of_server_ends};
use crate::nursed::{FAULTS_MAX, Nursed, disturb};
use crate::plan::{Fault, Planned, Point};
use crate::secured;

/// How many moves are disturbed in one schedule.
const MOVES: usize = 6;

/// How many clients there are when a move begins.
const CLIENTS: usize = 24;

/// One client out of so many speaks TLS.
const SECURED_EVERY: u32 = 3;

/// Where those come in who do not, and those who do.
const LISTENERS: usize = 2;

/// In one schedule out of so many there is a client that fills all buffers, which takes a while.
const FULL_EVERY: u64 = 4;

/// How often a step may be passed before something happens there: once in each batch, at least.
const PASSES_MAX: u32 = 4;

/// How often the others may be asked at the end to give away what they have: each may have faults left, and a machine that has
/// too much to do lets peers stand still for too long.
const TRIES_MAX: u32 = 60;

/// How long until it is looked again at what is not clear yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) moves: u64,
    /// How many of them came through whole.
    pub(crate) whole: u64,
    /// How many peers have changed their owner, whoever asked for that.
    pub(crate) moved: u64,
    /// How many of these speak TLS.
    pub(crate) secured: u64,
    /// How many handshakes were under way when a move began.
    pub(crate) handshakes: u64,
    /// How many connections went with a process that was killed.
    pub(crate) lost: u64,
    /// How many processes were killed.
    pub(crate) killed: u64,
    /// How many faults came about.
    pub(crate) faults: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.moves += other.moves;
        self.whole += other.whole;
        self.moved += other.moved;
        self.secured += other.secured;
        self.handshakes += other.handshakes;
        self.lost += other.lost;
        self.killed += other.killed;
        self.faults += other.faults;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moves, whole, moved, secured, handshakes, lost, killed, faults } = self;
        write!(
            f,
            "{faults} faults, {moves} moves, {whole} of them whole, {moved} peers moved, {secured} of them with TLS, \
             {handshakes} handshakes under way meanwhile, {killed} processes killed, and {lost} connections with them"
        )
    }
}

/// Runs the schedule of a seed.
///
/// # Panics
/// If a byte is lost or repeated, if a connection is lost that no killed process owned, if a peer is in two processes, if a
/// process has more open than it should, or if something is left over.
pub(crate) fn run(seed: u64) -> Tally {
    let mut schedule = Schedule::begin(seed);
    for _ in 0..MOVES {
        schedule.replace_the_killed();
        schedule.let_clients_in();
        let [giver, taker] = schedule.any_two();
        let which = schedule.any_set();
        schedule.move_peers(giver, taker, &which, true);
    }
    schedule.end()
}

/// A process that gives and takes.
struct Party {
    /// No other process of the schedule has it, also none that is gone.
    number: usize,
    role: Role,
    path: PathBuf,
    process: Nursed,
}

impl Party {
    fn server(&self) -> &Server {
        &self.process.server
    }
}

struct Schedule {
    place: Place,
    random: Rng,
    /// The first is the one at whose path others may wait, and listens.
    parties: Vec<Party>,
    clients: Vec<Client>,
    /// What those need who speak TLS, and how many there have been of them.
    connectors: [Connector; 2],
    named: usize,
    /// The numbers of those that were killed.
    killed: HashSet<usize>,
    /// The number of the next.
    next: usize,
    tally: Tally,
}

impl Schedule {
    fn begin(seed: u64) -> Self {
        let (mut random, place) = (Rng::with_seed(seed), Place::new());
        let mut roles = vec![Role::Serves];
        for _ in 0..random.usize(1..=2) {
            roles.push(if random.bool() { Role::Waits } else { Role::Serves });
        }
        let (killed, tally) = (HashSet::new(), Tally::default());
        let (parties, clients, connectors) = (Vec::new(), Vec::new(), secured::connectors());
        let mut schedule = Self { place, random, parties, clients, connectors, named: 0, killed, next: 0, tally };
        for (place, role) in roles.into_iter().enumerate() {
            let party = schedule.start(place, role, true);
            schedule.parties.push(party);
        }
        if seed.is_multiple_of(FULL_EVERY) {
            schedule.let_full_in();
        }
        schedule
    }

    /// Starts the process that is to be at this place.
    fn start(&mut self, place: usize, role: Role, is_disturbed: bool) -> Party {
        let path = self.place.file(&format!("of-{place}"));
        let mut command = daemon();
        match role {
            Role::Serves => command.args(["-a", "127.0.0.1", "-p", "0"]).args(secured::options()),
            Role::Waits => command.arg("-c").arg(self.place.file("of-0")),
        };
        command.args(["--service", "line", "--steal", "-t"]).arg(&path);
        let plan = if is_disturbed { plan(&mut self.random) } else { Vec::new() };
        let process = Nursed::spawn(&path, &mut command, &plan, &mut self.random);
        // One that is to be killed when it calls may not come that far.
        process.server.says_before_its_end(|line| line.contains("Starting Takeover channel on ["));
        let number = self.next;
        self.next += 1;
        Party { number, role, path, process }
    }

    /// Whoever has been killed gets a successor that knows nothing of it.
    fn replace_the_killed(&mut self) {
        for place in 0..self.parties.len() {
            while !self.parties[place].server().is_running() {
                self.bury(place);
                let role = self.parties[place].role;
                self.parties[place] = self.start(place, role, true);
            }
        }
    }

    /// A process that has ended was killed, and with it goes who had nobody else.
    fn bury(&mut self, place: usize) {
        let party = &self.parties[place];
        if self.killed.insert(party.number) {
            assert_eq!(party.server().ended(), Err(Signal::SIGKILL), "{}", party.server().log());
            self.tally.killed += 1;
            self.tally.faults += party.process.faults();
        }
    }

    /// There are as many clients as there are to be, if anybody lets them in.
    fn let_clients_in(&mut self) {
        while self.clients.len() < CLIENTS {
            let place = self.random.usize(0..self.parties.len());
            let place = if self.parties[place].role == Role::Serves { place } else { 0 };
            let is_secured = self.random.u32(0..SECURED_EVERY) == 0;
            let number = self.parties[place].number;
            let come = if is_secured {
                self.connect_discreetly(place).map(|come| come.map(|discreet| Client::is_discreet(number, discreet)))
            } else {
                Talker::connect(self.plain_address(place)).map(|talker| Some(Client::talks(number, talker)))
            };
            if !self.welcome(place, come) {
                return;
            }
        }
    }

    /// Lets one in that does not read.
    fn let_full_in(&mut self) {
        let is_secured = self.random.bool();
        let number = self.parties[0].number;
        let come = if is_secured {
            let come = self.connect_discreetly(0).and_then(|come| come.map(Discreet::fill).transpose());
            come.map(|come| come.map(|full| Client::is_discreet(number, full)))
        } else {
            Full::connect(self.plain_address(0)).map(|full| Some(Client::is_full(number, full)))
        };
        self.welcome(0, come);
    }

    /// Where those come in who speak no TLS.
    fn plain_address(&self, place: usize) -> SocketAddr {
        self.parties[place].server().address_as("line")
    }

    /// Somebody who speaks TLS connects there, unless that takes too long.
    fn connect_discreetly(&mut self, place: usize) -> Result<Option<Discreet>, Lost> {
        self.named += 1;
        let (name, random) = (format!("discreet {}", self.named), self.random.fork());
        Discreet::connect(secured::address_of(self.parties[place].server()), &self.connectors, name, random)
    }

    /// Whether somebody has come. If not, the one at this place has been killed, or nobody was in time.
    fn welcome(&mut self, place: usize, come: Result<Option<Client>, Lost>) -> bool {
        match come {
            Ok(client) => {
                let has_come = client.is_some();
                self.clients.extend(client);
                has_come
            }
            Err(lost) => {
                let server = self.parties[place].server();
                assert_eq!(server.ended(), Err(Signal::SIGKILL), "{}\n{}", lost.0, server.log());
                false
            }
        }
    }

    fn any_two(&mut self) -> [usize; 2] {
        let giver = self.random.usize(0..self.parties.len());
        let further = self.random.usize(1..self.parties.len());
        [giver, (giver + further) % self.parties.len()]
    }

    /// Whom to move, as an operator says it.
    fn any_set(&mut self) -> Vec<String> {
        let random = &mut self.random;
        match random.u32(0..4) {
            0 => Vec::new(),
            1 => vec!["--count".to_owned(), random.usize(1..=CLIENTS / 2).to_string()],
            2 => vec!["--share".to_owned(), format!("{}%", random.u32(1..=100))],
            _ => {
                // Some of these are somewhere else.
                let chosen = self.clients.iter().filter_map(Client::address).filter(|_| random.u32(0..4) == 0);
                chosen.flat_map(|address| ["--peer".to_owned(), address.to_string()]).collect()
            }
        }
    }

    /// Has one give some of its peers to another while clients talk, and sees what has become of each.
    fn move_peers(&mut self, giver: usize, taker: usize, which: &[String], is_disturbed: bool) {
        let clients = std::mem::take(&mut self.clients);
        self.tally.handshakes += clients.iter().filter(|client| client.is_under_way()).count() as u64;
        let random = &mut self.random;
        let chat = Chat::begin(clients, || if is_disturbed { Mood::any(random) } else { Mood::Talks });
        let [from, to] = [giver, taker].map(|place| &self.parties[place]);
        let mut command = daemon();
        command.arg("move").arg(&from.path).arg(&to.path).args(which);
        let mover = Server::spawn(&self.place.file("nowhere"), &mut command);
        if is_disturbed {
            disturb(from.server(), to.server(), random);
        }
        let code = mover.exit_code();
        assert!([0, 3].contains(&code), "{}", mover.log());
        self.clients = chat.end();
        self.tally.moves += 1;
        self.tally.whole += u64::from(code == 0);
        self.look_at_all(giver, taker);
    }

    /// Each connection is in one process, or it has gone with one that was killed.
    fn look_at_all(&mut self, giver: usize, taker: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut clients = std::mem::take(&mut self.clients);
        let owners = loop {
            let owners = self.owners(&clients);
            match unclear(&mut clients, &owners) {
                None => break owners,
                Some(unclear) => assert!(Instant::now() < deadline, "{unclear}\n{}", self.logs()),
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        for (mut client, owners) in clients.into_iter().zip(owners) {
            match (client.lost(), &*owners) {
                (None, [place]) => {
                    self.check_change(&client, *place, giver, taker);
                    client.owner = self.parties[*place].number;
                    self.clients.push(client);
                }
                _ => self.check_loss(&client, giver, taker),
            }
        }
    }

    /// The places of those who have each connection.
    fn owners(&self, clients: &[Client]) -> Vec<Vec<usize>> {
        let sockets: Vec<HashSet<u64>> = self.parties.iter().map(|party| party.server().sockets()).collect();
        let streams: Vec<&TcpStream> = clients.iter().filter_map(Client::stream).collect();
        let mut inodes = inodes_of_server_ends(&streams).into_iter();
        let mut inode = |client: &Client| client.stream().and_then(|_| inodes.next().flatten());
        let have = |inode: Option<u64>| {
            let having = |(_, sockets): &(usize, &HashSet<u64>)| inode.is_some_and(|inode| sockets.contains(&inode));
            sockets.iter().enumerate().filter(having).map(|(place, _)| place).collect()
        };
        clients.iter().map(|client| have(inode(client))).collect()
    }

    /// Only whoever was to move has another owner now.
    fn check_change(&mut self, client: &Client, place: usize, giver: usize, taker: usize) {
        let was = client.owner;
        let has_moved = self.parties[place].number != was;
        self.tally.moved += u64::from(has_moved);
        self.tally.secured += u64::from(has_moved && client.is_secured());
        let may_be = self.may_have_been(client, giver, taker).contains(&place);
        assert!(may_be, "place {place} has one of {was}\n{}", self.logs());
    }

    /// The places where a client may have been since it was last looked at: who was stolen may have been moved after that, and
    /// the other way round.
    fn may_have_been(&self, client: &Client, giver: usize, taker: usize) -> HashSet<usize> {
        let place = |party: &Party| party.number == client.owner;
        let mut places: HashSet<usize> = self.parties.iter().position(place).into_iter().collect();
        for _ in 0..2 {
            if places.contains(&giver) {
                places.insert(taker);
            }
            if client.has_asked() && places.contains(&0) {
                let waiting = self.parties.iter().enumerate().filter(|(_, party)| party.role == Role::Waits);
                places.extend(waiting.map(|(place, _)| place));
            }
        }
        places
    }

    /// Only whoever was killed has lost a connection, unless somebody took too long to come in.
    fn check_loss(&mut self, client: &Client, giver: usize, taker: usize) {
        if client.is_late() {
            return;
        }
        self.tally.lost += 1;
        // One that is replaced already is at no place.
        let may_have_been = self.may_have_been(client, giver, taker);
        let is_gone = |place: &usize| !self.parties[*place].server().is_running();
        // That a process is gone is known a moment after its connections are.
        let deadline = Instant::now() + PATIENCE;
        while !self.killed.contains(&client.owner) && !may_have_been.iter().any(is_gone) {
            assert!(Instant::now() < deadline, "{:?}, and its owner lives\n{}", client.lost(), self.logs());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// All go to one process that nothing befalls, as often as it takes; each of the others has nothing left then.
    fn end(mut self) -> Tally {
        self.replace_the_killed();
        let (place, role) = (self.parties.len(), Role::Serves);
        let last = self.start(place, role, false);
        let files = last.server().open_files();
        self.parties.push(last);
        let mut tries = 0;
        while let Some(giver) = self.one_with_peers_besides(place) {
            tries += 1;
            assert!(tries <= TRIES_MAX, "nothing is given to the last\n{}", self.logs());
            self.move_peers(giver, place, &[], false);
        }
        let talking: Result<Vec<Client>, Lost> = self.clients.drain(..).map(Client::that_talks).collect();
        let talking = talking.unwrap_or_else(|lost| panic!("{}\n{}", lost.0, self.logs()));
        let clients = Chat::begin(talking, || Mood::Hesitates).end();
        assert!(clients.iter().all(|client| client.lost().is_none()), "{}", self.logs());
        self.check_files(files, clients.len());
        self.stop_all(clients);
        self.tally
    }

    fn one_with_peers_besides(&self, last: usize) -> Option<usize> {
        let has_peers = |party: &Party| self.clients.iter().any(|client| client.owner == party.number);
        let mut others = self.parties.iter().enumerate().filter(|(place, _)| *place != last);
        others.find(|(_, party)| party.server().is_running() && has_peers(party)).map(|(place, _)| place)
    }

    /// Nobody has more open than what a server needs, and a file for each peer, and for each process that waits or is waited
    /// for. Who waits listens to nobody, and has a file for whom it waits at.
    fn check_files(&self, files: usize, peers: usize) {
        let waiting = self.parties.iter().filter(|party| party.role == Role::Waits).count();
        for (place, party) in self.parties.iter().enumerate().filter(|(_, party)| party.server().is_running()) {
            let expected = match place {
                0 => files + waiting,
                last if last == self.parties.len() - 1 => files + peers,
                _ if party.role == Role::Waits => files - LISTENERS + 1,
                _ => files,
            };
            assert!(party.server().comes_down_to_open_files(expected), "{expected} expected\n{}", self.logs());
        }
    }

    fn stop_all(&mut self, clients: Vec<Client>) {
        let last = self.parties.pop().expect("it was put there");
        // Those who wait first, and then whom they wait for.
        for place in (0..self.parties.len()).rev() {
            self.stop(place);
        }
        let ended: Result<Vec<Option<Peer>>, Lost> = clients.into_iter().map(Client::end).collect();
        let peers = ended.unwrap_or_else(|lost| panic!("{}\n{}", lost.0, last.server().log()));
        last.server().stop_serving(peers.into_iter().flatten());
        self.tally.faults += last.process.faults();
        let left = std::fs::read_dir(self.place.directory()).expect("the test's own").flatten();
        let of_the_killed: Vec<PathBuf> = self.parties.iter().map(|party| party.path.clone()).collect();
        let unexplained = left.map(|entry| entry.path()).find(|path| !of_the_killed.contains(path));
        assert_eq!(unexplained, None, "nothing is left over");
    }

    /// Stops one, unless it has been killed: whoever was leaves its path.
    fn stop(&mut self, place: usize) {
        let party = &self.parties[place];
        if party.server().is_running() {
            party.server().signal(Signal::SIGTERM);
        }
        match party.server().ended() {
            Ok(code) => {
                assert_eq!(code, 0, "{}", party.server().log());
                assert!(
                    !party.path.exists(),
                    "the takeover path is removed at a normal stop\n{}",
                    party.server().log()
                );
                self.tally.faults += party.process.faults();
            }
            Err(_) => self.bury(place),
        }
    }

    fn logs(&self) -> String {
        self.parties.iter().map(|party| format!("{}: {}\n", party.number, party.server().log())).collect()
    }
}

/// A client of which it is not clear who has it, and who does.
fn unclear(clients: &mut [Client], owners: &[Vec<usize>]) -> Option<String> {
    for (client, owners) in clients.iter_mut().zip(owners).filter(|(client, _)| client.lost().is_none()) {
        if owners.is_empty() {
            client.notice_loss();
        }
        if owners.len() != 1 && client.lost().is_none() {
            return Some(format!("{owners:?} have {:?}", client.address()));
        }
    }
    None
}

/// What a process has planned, as a giver and as a taker.
fn plan(random: &mut Rng) -> Vec<Planned> {
    let situations = Situation::all();
    let (givers, takers): (Vec<Situation>, Vec<Situation>) =
        situations.into_iter().partition(|situation| situation.is_givers());
    let mut planned = Vec::new();
    for side in [givers, takers] {
        for _ in 0..random.usize(0..=FAULTS_MAX) {
            planned.extend(any_fault(side[random.usize(0..side.len())], random));
        }
    }
    planned
}

/// A fault, if it can come about there.
fn any_fault(situation: Situation, random: &mut Rng) -> Option<Planned> {
    let fault = match random.u32(0..100) {
        0..15 => Fault::Kill,
        15..35 => Fault::Stop,
        35..60 => Fault::Delay(Duration::from_millis(random.u64(1..100))),
        _ => Fault::ALL[random.usize(0..Fault::ALL.len())],
    };
    let point: Point = situation.point;
    let may_be = situation.can(fault) || matches!(fault, Fault::Delay(_));
    may_be.then(|| Planned { point, pass: random.u32(1..=PASSES_MAX), fault })
}
