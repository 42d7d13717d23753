//! The servers of a soak in which connections move: some listen, the others wait at the first one for what it gives away.
//! A process that was killed is followed by another in the same place, one that is taken over by its successor.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mio::{Events, Token};

use super::super::first::listening;
use super::super::question::{About, Question};
use super::super::servers::{FIRST, Heard, Place, Servers};
use super::super::succession::{Number, Succession, Turn};
use super::super::summary::{Standing, Summary};
use super::told::{Told, given};
use crate::error::Error;
use crate::wakeups::Wakeups;

/// How long they may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What has become of a server, or of a move.
#[derive(Debug)]
pub(crate) enum News {
    /// A process that was killed is gone, and the next one in its place serves.
    Back,
    /// A successor serves, and its predecessor is gone.
    TookOver(Summary),
    NotTakenOver(String),
    /// A process is gone that nobody has killed.
    Died(String),
    /// A taker says that it was given peers, and by which process.
    Given {
        place: Place,
        peers: u64,
        by: u32,
    },
    /// What had a move made is gone, and says so of it.
    Moved {
        told: Option<Told>,
        status: ExitStatus,
        words: String,
    },
}

#[derive(Debug)]
enum State {
    /// It is not ready yet. It may have said where it listens.
    Starting,
    Serving,
    /// It was killed, and is not gone yet.
    Killed,
    /// It is taken over.
    Succession(Succession, Option<Summary>),
}

#[derive(Debug)]
struct Server {
    number: Number,
    state: State,
    /// Where it listens, if it does.
    address: Option<SocketAddr>,
}

/// What makes the move that is under way.
#[derive(Debug)]
struct Mover {
    number: Number,
    told: Option<Told>,
}

pub(crate) struct Places {
    servers: Servers,
    at: Vec<Server>,
    mover: Option<Mover>,
    /// What servers that have taken over are being asked, with the processes that they are.
    questions: Vec<(Number, Question)>,
}

impl Places {
    /// Starts so many servers, half of which listen, and waits until all are ready.
    pub(crate) fn start(servers: Servers, count: usize, wakeups: &mut Wakeups) -> Result<Self, Error> {
        let mut places = Self { servers, at: Vec::new(), mover: None, questions: Vec::new() };
        let deadline = Instant::now() + START_PATIENCE;
        for place in 0..count {
            let started = places.start_at(place, count);
            started.map_err(|error| {
                Error::Server(format!("{} cannot be started: {error}", places.servers.program().display()))
            })?;
            places.await_ready(wakeups, deadline)?;
        }
        places.await_waiters().map_err(|error| Error::Server(format!("nobody answers at server {FIRST}: {error}")))?;
        Ok(places)
    }

    /// Waits until the first server has let in those that wait there. They have called, and callers are let in in their
    /// order: so it has when it lets go of one who comes after them, and has nothing to say.
    fn await_waiters(&self) -> io::Result<()> {
        let mut last = UnixStream::connect(self.servers.takeover_path(FIRST))?;
        last.set_read_timeout(Some(START_PATIENCE))?;
        last.shutdown(Shutdown::Write)?;
        last.read_to_end(&mut Vec::new()).map(drop)
    }

    fn start_at(&mut self, place: Place, count: usize) -> io::Result<()> {
        let listens = place < count.div_ceil(2);
        let number =
            if listens { self.servers.start_listening(place)? } else { self.servers.start_waiting(place, FIRST)? };
        let server = Server { number, state: State::Starting, address: None };
        match self.at.get_mut(place) {
            Some(before) => *before = server,
            None => self.at.push(server),
        }
        Ok(())
    }

    fn await_ready(&mut self, wakeups: &mut Wakeups, deadline: Instant) -> Result<(), Error> {
        let mut events = Events::with_capacity(16);
        while self.at.iter().any(|server| !matches!(server.state, State::Serving)) {
            let place = self.at.len() - 1;
            let pid = self.pid(place);
            let words = self.servers.last_words(self.at[place].number);
            if wakeups.stops > 0 {
                return Err(Error::Server("stopped while the servers were starting".to_owned()));
            }
            if Instant::now() >= deadline {
                let seconds = START_PATIENCE.as_secs();
                return Err(Error::Server(format!(
                    "server {place} (pid {pid}) was not ready after {seconds} s; {words}"
                )));
            }
            wakeups.wait(&mut events, Some(deadline))?;
            for event in &events {
                if !wakeups.take(event.token())?
                    && let Some(News::Died(death)) = self.hear(event.token())?.pop()
                {
                    return Err(Error::Server(death));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.at.len()
    }

    pub(crate) fn pid(&self, place: Place) -> u32 {
        self.servers.pid(self.at[place].number)
    }

    /// The processes that serve, by their places.
    pub(crate) fn processes(&self) -> Vec<(Place, u32)> {
        (0..self.at.len()).map(|place| (place, self.pid(place))).collect()
    }

    /// Where it can be connected to now.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.at.iter().filter_map(|server| server.address).collect()
    }

    pub(crate) fn all_serve(&self) -> bool {
        self.at.iter().all(|server| matches!(server.state, State::Serving))
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.mover.is_some()
    }

    pub(crate) fn begin_move(&mut self, from: Place, to: Place, which: Vec<String>) -> io::Result<()> {
        let number = self.servers.start_mover(from, to, which)?;
        self.mover = Some(Mover { number, told: None });
        Ok(())
    }

    pub(crate) fn begin_takeover(&mut self, place: Place) -> io::Result<()> {
        let waits_at = self.at[place].address.is_none().then_some(FIRST);
        let successor = self.servers.start_successor(place, waits_at)?;
        let mut succession = Succession::Serving { owner: self.at[place].number };
        succession.begin(successor);
        self.at[place].state = State::Succession(succession, None);
        Ok(())
    }

    /// Kills a server. When it is gone, another one is started in its place.
    pub(crate) fn kill(&mut self, place: Place) {
        self.servers.kill(self.at[place].number);
        self.at[place].state = State::Killed;
    }

    /// Gives up what has not come to its end in time.
    pub(crate) fn give_up(&mut self) {
        let late: Vec<Number> = self.mover.iter().map(|mover| mover.number).collect();
        let successions = self.at.iter().filter_map(|server| match &server.state {
            State::Succession(succession, _) => succession.processes()[1],
            _ => None,
        });
        let late: Vec<Number> = late.into_iter().chain(successions).collect();
        late.into_iter().for_each(|number| self.servers.kill(number));
    }

    /// What there is to be heard at an event.
    pub(crate) fn hear(&mut self, token: Token) -> io::Result<Vec<News>> {
        let mut news = Vec::new();
        for heard in self.servers.hear(token) {
            match heard {
                Heard::Line(number, line) => news.extend(self.hear_line(number, &line)),
                Heard::Ended(number, status) => news.extend(self.note_ended(number, status)?),
            }
        }
        Ok(news)
    }

    fn hear_line(&mut self, number: Number, line: &str) -> Option<News> {
        if let Some(mover) = self.mover.as_mut().filter(|mover| mover.number == number) {
            mover.told = mover.told.or(Told::of_line(line));
            return None;
        }
        if let Some((_, question)) = self.questions.iter_mut().find(|(_, question)| question.asker == number) {
            question.hear(line.to_owned());
            return None;
        }
        if line.contains("Took over ") {
            return self.took_over(number);
        }
        let place = self.at.iter().position(|server| server.number == number)?;
        if let Some((peers, by)) = given(line) {
            return Some(News::Given { place, peers, by });
        }
        let server = &mut self.at[place];
        if !matches!(server.state, State::Starting) {
            return None;
        }
        if let Some(address) = listening(line) {
            server.address = Some(address);
        }
        // Who listens has said where before it says that it can be called; who waits says so last.
        let called = line.contains("Starting Takeover channel") && server.address.is_some();
        if called || line.contains("Waiting at ") {
            server.state = State::Serving;
            return Some(News::Back);
        }
        None
    }

    /// A process has taken over. What that took, it says when it is asked.
    fn took_over(&mut self, number: Number) -> Option<News> {
        let place = self.at.iter().position(|server| match &server.state {
            State::Succession(succession, _) => succession.processes().contains(&Some(number)),
            _ => false,
        })?;
        let State::Succession(succession, _) = &mut self.at[place].state else { return None };
        if succession.took_over(number) != Turn::TookOver {
            return None;
        }
        self.at[place].number = number;
        match self.servers.start_question(place) {
            Ok(asker) => self.questions.push((number, Question::new(asker, About::Standing))),
            Err(error) => return Some(News::NotTakenOver(format!("the server cannot be asked: {error}"))),
        }
        None
    }

    /// A server has said how it stands, or it cannot be asked.
    fn hear_standing(&mut self, number: Number, standing: Result<Standing, String>) -> Option<News> {
        let server = self.at.iter_mut().find(|server| server.number == number)?;
        let State::Succession(_, told) = &mut server.state else { return None };
        match standing {
            Ok(Standing { takeover: Some(summary), .. }) => *told = Some(summary),
            Ok(_) => return Some(News::NotTakenOver("whoever serves says nothing of a takeover".to_owned())),
            Err(why) => return Some(News::NotTakenOver(why)),
        }
        Self::settle(server)
    }

    /// Whether a takeover has come to its end.
    fn settle(server: &mut Server) -> Option<News> {
        match server.state {
            State::Succession(Succession::Serving { .. }, Some(summary)) => {
                server.state = State::Serving;
                Some(News::TookOver(summary))
            }
            _ => None,
        }
    }

    fn note_ended(&mut self, number: Number, status: ExitStatus) -> io::Result<Option<News>> {
        let words = self.servers.last_words(number);
        if let Some(mover) = self.mover.take_if(|mover| mover.number == number) {
            return Ok(Some(News::Moved { told: mover.told, status, words }));
        }
        if let Some(asked) = self.questions.iter().position(|(_, question)| question.asker == number) {
            let (server, question) = self.questions.swap_remove(asked);
            return Ok(self.hear_standing(server, question.standing(status)));
        }
        let pid = self.servers.pid(number);
        let count = self.at.len();
        for place in 0..count {
            let server = &mut self.at[place];
            if let State::Succession(succession, _) = &mut server.state
                && succession.processes().contains(&Some(number))
            {
                let turn = succession.ended(number, status);
                return Ok(Self::after_end(server, turn, &format!("pid {pid} ended: {status}; {words}")));
            }
            if server.number == number {
                if matches!(server.state, State::Killed) {
                    self.start_at(place, count)?;
                    return Ok(None);
                }
                return Ok(Some(News::Died(format!("server {place} (pid {pid}) died: {status}; {words}"))));
            }
        }
        Ok(None)
    }

    /// What it means for a takeover that one side is gone.
    fn after_end(server: &mut Server, turn: Turn, what: &str) -> Option<News> {
        match turn {
            Turn::Retired => Self::settle(server),
            Turn::Failed | Turn::Killed => {
                server.state = State::Serving;
                Some(News::NotTakenOver(format!("successor {what}")))
            }
            Turn::Nothing | Turn::TookOver => None,
            Turn::RetiredBadly | Turn::Died | Turn::KilledTooLate => Some(News::Died(what.to_owned())),
        }
    }

    /// How many processes have been started.
    pub(crate) fn started(&self) -> usize {
        self.servers.started()
    }

    /// Stops all, and returns the complaints about those that do not stop as they should.
    pub(crate) fn stop(&mut self, wakeups: &mut Wakeups, patience: Duration) -> io::Result<Vec<String>> {
        self.servers.stop(wakeups, patience)
    }

    /// How many processes are left: one for each place, unless something is wrong.
    pub(crate) fn left(&self) -> usize {
        self.servers.running().count()
    }
}
