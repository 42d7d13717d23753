//! One cell of the matrix of standbys while somebody comes or goes: the active fails when a peer has just come, whose descriptor is on its
//! way to the standby, when it forgets one whose connection has ended, or when it passes on the last of what such a one has said. All others
//! go on.

use std::fmt;

use reactord::Status;

use crate::harness::{Peer, Place, Server};
use crate::plan::{Fault, Planned, Point, StandbyStep as S, VARIABLE};
use crate::secured;
use crate::standby::{A_MOMENT, CLIENTS, Client, Connection, LINE, PEERS, after, connect, serving, talk};
use crate::standbys::{rest, survived, wait_until};

/// At this line the service answers, and closes whoever has said it.
const LAST_LINE: &[u8] = b"bye\n";

/// A fault at what a client does that is there for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    visit: Visit,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Visit {
    /// It connects.
    Comes(Kind),
    /// It has long been served, and goes.
    Goes(Kind, Way),
    /// It has ended its output, and is joined to a connection that is over: what has come there is still to be passed on to it.
    HearsTheLast(S),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Plain,
    Secured,
    /// It is joined to a connection that leads back into the server. What comes then is the one that is opened for it.
    Relayed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// It ends its output behind a line, and then hears the answer and the end.
    Ends,
    /// It asks the service to close it.
    Asks,
    Resets,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { visit, fault } = self;
        write!(f, "{}: {fault} ({visit:?})", Point::Standby(visit.step()))
    }
}

impl Visit {
    const ALL: [Self; 13] = [
        Self::Comes(Kind::Plain),
        Self::Comes(Kind::Secured),
        Self::Comes(Kind::Relayed),
        Self::Goes(Kind::Plain, Way::Ends),
        Self::Goes(Kind::Plain, Way::Asks),
        Self::Goes(Kind::Plain, Way::Resets),
        Self::Goes(Kind::Secured, Way::Ends),
        Self::Goes(Kind::Relayed, Way::Ends),
        Self::Goes(Kind::Relayed, Way::Asks),
        Self::Goes(Kind::Relayed, Way::Resets),
        Self::HearsTheLast(S::Convey),
        Self::HearsTheLast(S::TakeOff),
        Self::HearsTheLast(S::HaveConveyed),
    ];

    fn step(self) -> S {
        match self {
            Self::Comes(_) => S::Came,
            Self::Goes(..) => S::Retire,
            Self::HearsTheLast(step) => step,
        }
    }

    /// At which pass of it the active fails: its line is passed on before the answer is.
    fn pass(self) -> u32 {
        if matches!(self, Self::HearsTheLast(_)) { 2 } else { 1 }
    }

    /// How it goes in the end, if it does.
    fn way(self) -> Option<Way> {
        match self {
            Self::Comes(_) => None,
            Self::Goes(_, way) => Some(way),
            Self::HearsTheLast(_) => Some(Way::Ends),
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Comes(kind) | Self::Goes(kind, _) => kind,
            Self::HearsTheLast(_) => Kind::Relayed,
        }
    }

    /// How many peers the server has for it when the step is about to come.
    fn peers_before(self) -> usize {
        match self {
            Self::Comes(Kind::Plain | Kind::Secured) => 0,
            Self::Comes(Kind::Relayed) => 1,
            Self::Goes(..) | Self::HearsTheLast(_) => self.kind().peers(),
        }
    }
}

impl Kind {
    /// How many peers the server has for one who is served.
    fn peers(self) -> usize {
        if self == Self::Relayed { 3 } else { 1 }
    }
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let faults = [Fault::Kill, Fault::Stop, Fault::Panic];
        Visit::ALL.into_iter().flat_map(|visit| faults.map(|fault| Self { visit, fault })).collect()
    }

    /// Whether its connection ends before it has heard anything: the process has died that alone knew it. This is the only place that says
    /// so.
    fn is_visitor_lost(self) -> bool {
        matches!(self.visit, Visit::Comes(Kind::Plain | Kind::Secured)) && self.fault != Fault::Stop
    }

    /// How many peers there are for it in the end.
    fn peers_after(self) -> usize {
        match self.visit {
            Visit::Comes(kind) if !self.is_visitor_lost() => kind.peers(),
            _ => 0,
        }
    }

    /// Lets it happen, and sees that all others are served on where they were, and whoever has come or gone unless it is lost.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn run(self) {
        let place = Place::new();
        let mut scene = Scene::begin(self, &place);
        // What it says and that it says no more come together, and so do the answer and the end.
        let is_held_up = matches!(self.visit, Visit::HearsTheLast(_)) && scene.active.suspend();
        scene.visitor.iter_mut().for_each(|visitor| visitor.act(self.visit));
        if is_held_up {
            scene.active.resume();
        }
        if scene.visitor.is_none() {
            scene.visitor = Visitor::come(&scene.active, self.visit.kind());
        }
        scene.wait_until_it_fails();
        if self.fault == Fault::Stop {
            scene.active.resume();
            scene.see_visitor();
            scene.see_all_served(Who::Active);
            rest(&place, PEERS + self.peers_after());
            scene.active.kill();
            let survived = survived(&scene.standby, scene.active.pid());
            assert_eq!(survived, (PEERS + self.peers_after(), 0), "{self}: {}", scene.standby.log());
        } else {
            let (served_on, reset) = survived(&scene.standby, scene.active.pid());
            // Whoever was going may be over, or have come to its end where the survivor sees it.
            let served_on_min = if scene.goes() { PEERS } else { PEERS + self.visit.peers_before() };
            let expected = served_on_min..=PEERS + self.visit.peers_before();
            assert!(expected.contains(&served_on) && reset == 0, "{self}: {}", scene.standby.log());
            scene.see_visitor();
        }
        scene.see_all_served(Who::Standby);
        scene.see_visitor_stay();
        wait_until("nobody is left who has gone", || {
            Status::of(&place.path()).is_ok_and(|status| status.peers() == (PEERS + self.peers_after()) as u64)
        });
    }
}

#[derive(Clone, Copy)]
enum Who {
    Active,
    Standby,
}

/// A server with a standby, and with clients of all kinds besides the visitor.
struct Scene {
    cell: Cell,
    active: Server,
    standby: Server,
    clients: Vec<Client>,
    /// `None` before it has come, or if it is lost before it could say anything.
    visitor: Option<Visitor>,
}

impl Scene {
    /// The standby knows all who are there.
    fn begin(cell: Cell, place: &Place) -> Self {
        let Cell { visit, fault } = cell;
        let plan = Planned { point: visit.step().into(), pass: visit.pass(), fault }.to_string();
        let active = Server::spawn(&place.path(), serving(place).env(VARIABLE, plan)).started();
        let clients = connect(&active);
        let visitor = match visit {
            Visit::Comes(Kind::Plain | Kind::Secured) => None,
            Visit::Comes(Kind::Relayed) => {
                Some(Visitor::of(Connection::Plain(Peer::connect(active.address_as("relayed"))), &active))
            }
            Visit::Goes(..) | Visit::HearsTheLast(_) => Visitor::come(&active, visit.kind()).map(Visitor::greeted),
        };
        let standby = Server::spawn(&place.path(), &mut after("--follow", place));
        rest(place, PEERS + visit.peers_before());
        Self { cell, active, standby, clients, visitor }
    }

    fn goes(&self) -> bool {
        self.cell.visit.way().is_some()
    }

    /// Everybody else talks meanwhile, unless that would be passed on, too.
    fn wait_until_it_fails(&mut self) {
        let Self { cell, active, clients, .. } = self;
        let fault = format!("Fault point {}", Point::Standby(cell.visit.step()));
        wait_until("it fails", || {
            if !matches!(cell.visit, Visit::HearsTheLast(_)) {
                clients.iter_mut().for_each(Client::say);
            }
            active.says_within(A_MOMENT, |line| line.contains(&fault))
        });
        if cell.fault == Fault::Stop {
            assert!(active.is_suspended(), "{cell}: {}", active.log());
        } else {
            assert_ne!(active.ended(), Ok(0), "{cell}: {}", active.log());
        }
    }

    fn see_all_served(&mut self, by: Who) {
        let by = match by {
            Who::Active => &self.active,
            Who::Standby => &self.standby,
        };
        for _ in 0..2 {
            assert_eq!(talk(&mut self.clients), CLIENTS, "{}: {}", self.cell, by.log());
        }
    }

    /// It has heard what it is to hear, once.
    fn see_visitor(&mut self) {
        let is_lost = self.cell.is_visitor_lost();
        match (&mut self.visitor, self.cell.visit.way()) {
            (None, None) => assert!(is_lost, "{}: {}", self.cell, self.active.log()),
            (Some(visitor), None) if is_lost => visitor.expect_loss(),
            (Some(visitor), None) => visitor.expect(LINE),
            (Some(visitor), Some(Way::Ends)) => visitor.expect_end_behind(LINE),
            (Some(visitor), Some(Way::Asks)) => visitor.expect_end_behind(LAST_LINE),
            (_, Some(_)) => {}
        }
    }

    fn see_visitor_stay(&mut self) {
        if let (Visit::Comes(_), false, Some(visitor)) =
            (self.cell.visit, self.cell.is_visitor_lost(), &mut self.visitor)
        {
            visitor.say(LINE);
            visitor.expect(LINE);
        }
    }
}

/// A client that comes and goes.
struct Visitor {
    /// `None` when it has ended it.
    connection: Option<Connection>,
    /// Where whoever is relayed wants to get.
    to: Vec<u8>,
}

impl Visitor {
    fn of(connection: Connection, server: &Server) -> Self {
        Self { connection: Some(connection), to: format!("{}\n", server.address_as("counted")).into_bytes() }
    }

    /// Connects, and says a line. `None` if it cannot.
    fn come(server: &Server, kind: Kind) -> Option<Self> {
        let connection = match kind {
            Kind::Plain => Connection::Plain(Peer::connect(server.address_as("counted"))),
            Kind::Relayed => Connection::Plain(Peer::connect(server.address_as("relayed"))),
            Kind::Secured => Connection::Secured(Box::new(secured::try_connect(secured::address_of(server)).ok()?)),
        };
        let mut visitor = Self::of(connection, server);
        if kind == Kind::Relayed {
            visitor.say(&visitor.to.clone());
        }
        visitor.try_say(LINE);
        Some(visitor)
    }

    /// It is served.
    fn greeted(mut self) -> Self {
        self.expect(LINE);
        self
    }

    /// Does that at which the active fails.
    fn act(&mut self, visit: Visit) {
        match visit.way() {
            None => {
                self.say(&self.to.clone());
                self.try_say(LINE);
            }
            Some(Way::Ends) => {
                self.say(LINE);
                self.end_sending();
            }
            Some(Way::Asks) => self.say(LAST_LINE),
            Some(Way::Resets) => self.reset(),
        }
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it has not ended it")
    }

    fn say(&mut self, line: &[u8]) {
        self.connection().try_send(line).expect("it is connected");
    }

    /// The same, if it still is.
    fn try_say(&mut self, line: &[u8]) {
        // What has become of it is seen by what it hears.
        drop(self.connection().try_send(line));
    }

    fn expect(&mut self, line: &[u8]) {
        self.connection().try_expect(line).expect("it is served");
    }

    fn end_sending(&mut self) {
        match self.connection() {
            Connection::Plain(peer) => peer.end_sending(),
            Connection::Secured(peer) => peer.end_sending(),
        }
    }

    fn reset(&mut self) {
        match self.connection.take() {
            Some(Connection::Plain(peer)) => peer.reset(),
            _ => unreachable!("only such are reset"),
        }
    }

    /// It hears this line and that it was the last, and ends its connection itself unless it has.
    fn expect_end_behind(&mut self, line: &[u8]) {
        self.expect(line);
        match self.connection() {
            Connection::Plain(peer) => peer.expect_end(),
            Connection::Secured(peer) => peer.expect_end(),
        }
        self.connection = None;
    }

    /// Its connection ends, and it has heard nothing before.
    fn expect_loss(&mut self) {
        match self.connection() {
            Connection::Plain(peer) => peer.expect_loss(),
            Connection::Secured(peer) => {
                peer.expect_loss();
                assert_eq!(peer.unread(), b"", "it is answered");
            }
        }
    }
}
