//! Clients that come, say a few lines or hear a few messages, and go again, each in one of three ways, while others come in their place: whoever dies meanwhile has
//! just let somebody in, or is about to forget somebody.
//!
//! One that has been answered is lost by no death. One that has only just come may be known to nobody but the process that dies: it is
//! lost then before it has heard anything, and is counted.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use fastrand::Rng;
use rustix::net::sockopt;

use crate::board::Board;
use crate::client::{Client, ENDED, Kind, is_loss};
use crate::harness::Server;

/// How many lines one says, at most.
const LINES_MAX: u64 = 12;

/// How one goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It ends its output when it has said all its lines, and hears the answers that are left, and then the end.
    Ends,
    /// Its last line asks the service to close it.
    Asks,
    /// It resets its connection when it has heard so many answers or messages, whatever else is under way.
    Resets(u64),
}

/// One of them.
struct Visit {
    client: Client,
    way: Way,
    has_ended: bool,
    /// After how many deaths it has come.
    deaths: u64,
}

/// What has become of it in a turn.
enum Turn {
    Still,
    Moved,
    /// It has gone as it wanted to.
    Gone,
}

impl Visit {
    fn turn(&mut self, random: &mut Rng, buffer: &mut [u8], board: &mut Board, ends: bool) -> Result<Turn, String> {
        if ends && self.client.kind == Kind::Subscriber {
            // Nobody publishes any more.
            self.way = Way::Ends;
            self.client.stay_for(0, false);
        }
        let heard = match self.client.hear(buffer, board, false) {
            Err(what) if what == ENDED && self.has_heard_all() => return Ok(Turn::Gone),
            heard => heard?,
        };
        let Self { client, way, .. } = self;
        if matches!(way, Way::Resets(after) if client.heard >= *after) {
            sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).expect("a socket need not linger");
            return Ok(Turn::Gone);
        }
        let has_said = client.say(random, false)?;
        if matches!(way, Way::Ends) && client.has_said_its_lines() && !self.has_ended {
            self.has_ended = true;
            client.stream.shutdown(Shutdown::Write).map_err(|error| format!("sending: {error}"))?;
        }
        Ok(if has_said || heard.is_some() { Turn::Moved } else { Turn::Still })
    }

    /// Whether nothing is to come but the end.
    fn has_heard_all(&self) -> bool {
        let Client { kind, said, heard, .. } = self.client;
        if kind == Kind::Subscriber {
            return self.has_ended && self.client.has_subscribed();
        }
        self.client.has_said_its_lines() && heard == said && !matches!(self.way, Way::Resets(_))
    }

    /// Whether it has heard nothing.
    fn is_new(&self) -> bool {
        self.client.received == 0
    }
}

/// All of them.
pub(crate) struct Passing {
    counted: SocketAddr,
    relayed: SocketAddr,
    published: SocketAddr,
    /// How many are there at once.
    count: usize,
    visits: Vec<Visit>,
    random: Rng,
    next_name: u32,
    /// How many deaths were survived.
    deaths: u64,
    /// What kinds those are who had only just come, and are lost, since the last of those.
    lost: Vec<Kind>,
    /// How many peers the server had for those who have gone since.
    gone: usize,
    figures: Figures,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) came: u64,
    /// Lost by a death before they had heard anything.
    pub(crate) lost: u64,
}

impl Passing {
    /// So many at once, whose names begin with this one.
    pub(crate) fn begin(server: &Server, count: usize, next_name: u32, seed: u64) -> Self {
        let [counted, relayed, published] = ["counted", "relayed", "published"].map(|name| server.address_as(name));
        let (visits, lost, figures) = (Vec::new(), Vec::new(), Figures::default());
        // Another sequence than that of those who stay.
        let random = Rng::with_seed(!seed);
        Self { counted, relayed, published, count, visits, random, next_name, deaths: 0, lost, gone: 0, figures }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures
    }

    /// Who is there, and how far each has come.
    pub(crate) fn described(&self) -> Vec<String> {
        let describe = |Visit { client, way, has_ended, .. }: &Visit| {
            let Client { kind, name, said, heard, .. } = client;
            format!("{kind:?} {name}, which goes by {way:?}, said {said}, heard {heard}, ended: {has_ended}")
        };
        self.visits.iter().map(describe).collect()
    }

    /// What can be read from when one of them is to have a turn.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.visits.iter().map(|visit| visit.client.stream.as_fd())
    }

    /// Gives each its turn, and has others come in place of those who have gone, unless it `ends`. Returns how many messages and bytes were
    /// heard, or `None` if nothing has happened.
    ///
    /// # Errors
    /// If one was lost that had been answered, or heard what is not for it.
    pub(crate) fn turn(
        &mut self,
        buffer: &mut [u8],
        board: &mut Board,
        ends: bool,
    ) -> Result<Option<(u64, u64)>, String> {
        let (mut has_moved, mut messages, mut bytes) = (false, 0, 0);
        while !ends && self.visits.len() < self.count {
            self.come(board)?;
            has_moved = true;
        }
        let mut at = 0;
        while let Some(visit) = self.visits.get_mut(at) {
            let (heard, received) = (visit.client.heard, visit.client.received);
            let turn = visit.turn(&mut self.random, buffer, board, ends);
            messages += visit.client.heard - heard;
            bytes += (visit.client.received - received) as u64;
            has_moved |= !matches!(turn, Ok(Turn::Still));
            match turn {
                Ok(Turn::Still | Turn::Moved) => at += 1,
                Ok(Turn::Gone) => {
                    let visit = self.visits.swap_remove(at);
                    self.gone += if visit.client.kind == Kind::Pair { 2 } else { 1 };
                }
                Err(what) => self.lose(at, &what)?,
            }
        }
        Ok(has_moved.then_some((messages, bytes)))
    }

    fn come(&mut self, board: &Board) -> Result<(), String> {
        let Self { random, next_name, deaths, .. } = self;
        let kind = [Kind::Echo, Kind::Fragments, Kind::Pair, Kind::Subscriber][random.usize(0..4)];
        let lines = random.u64(1..=LINES_MAX);
        let way = match random.u32(0..3) {
            0 => Way::Ends,
            1 if kind == Kind::Subscriber => Way::Ends,
            1 => Way::Asks,
            // Of one that is joined to another, it is to be seen whether it was before the next death.
            _ => Way::Resets(random.u64(u64::from(kind == Kind::Pair)..=lines)),
        };
        let stream = TcpStream::connect(match kind {
            Kind::Pair => self.relayed,
            Kind::Subscriber => self.published,
            _ => self.counted,
        });
        let stream = stream.map_err(|error| {
            self.count = 0;
            format!("connecting: {error}")
        })?;
        let mut client = Client::new(stream, kind, *next_name);
        client.stay_for(lines, matches!(way, Way::Asks));
        match kind {
            Kind::Pair => client.say_first(format!("{}\n", self.counted).into_bytes()),
            Kind::Subscriber => client.subscribe(board),
            _ => {}
        }
        self.visits.push(Visit { client, way, has_ended: false, deaths: *deaths });
        *next_name += 1;
        self.figures.came += 1;
        Ok(())
    }

    /// A connection has come to another end than it should have.
    fn lose(&mut self, at: usize, what: &str) -> Result<(), String> {
        let visit = self.visits.swap_remove(at);
        let Client { kind, name, heard, .. } = visit.client;
        if !visit.is_new() || !is_loss(what) {
            self.count = self.count.saturating_sub(1);
            return Err(format!("{kind:?} {name}, which goes by {:?} and has heard {heard}: {what}", visit.way));
        }
        if visit.deaths < self.deaths {
            self.figures.lost += 1;
        } else {
            self.lost.push(kind);
        }
        Ok(())
    }

    // ── Deaths ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// How many peers may not be served on after a death that is not survived yet: a connection that was still being opened, and whoever
    /// was to be joined to that; and whoever has gone, of which the active may not have heard.
    pub(crate) fn resets_max(&self) -> usize {
        let new = self.visits.iter().filter(|visit| visit.is_new()).map(|visit| visit.client.kind);
        self.gone + 2 * new.chain(self.lost.iter().copied()).filter(|kind| *kind == Kind::Pair).count()
    }

    /// A death was survived: whoever had only just come may be lost.
    pub(crate) fn see_death(&mut self) {
        self.deaths += 1;
        self.gone = 0;
        self.figures.lost += self.lost.drain(..).count() as u64;
    }

    /// # Errors
    /// If somebody is lost, and nobody has died.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.lost.len() {
            0 => Ok(()),
            lost => Err(format!("{lost} that had only just come are lost, and nobody has died")),
        }
    }
}
