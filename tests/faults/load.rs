//! Clients of every kind that talk all the time, whoever dies meanwhile. Each knows every byte that it is to hear.
//!
//! One thread has a turn for each of them after the other, in which none waits; so whoever has them talk can do something between any two
//! of their messages. What is wrong is noted, and is not a panic: it is what a control is to see.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use fastrand::Rng;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt;

use crate::board::Board;
use crate::client::{Client, Kind, TURN_BYTES, is_loss};
use crate::harness::{PATIENCE, Server, TlsPeer};
use crate::passing::{Figures, Passing};
use crate::secured;

/// How long clients to whom nothing has happened wait for that, in ms.
const A_MOMENT: u16 = 2;

/// How many there are of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) echo: usize,
    pub(crate) fragments: usize,
    pub(crate) slow: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) pairs: usize,
    /// Those who come and go.
    pub(crate) passing: usize,
}

impl Mix {
    fn kinds(self) -> impl Iterator<Item = Kind> {
        let Self { echo, fragments, slow, publishers, subscribers, pairs, .. } = self;
        let each = [
            (Kind::Subscriber, subscribers),
            (Kind::Echo, echo),
            (Kind::Fragments, fragments),
            (Kind::Slow, slow),
            (Kind::Publisher, publishers),
            (Kind::Pair, pairs),
        ];
        each.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count))
    }
}

/// Clients that speak TLS, two who stay and others who come and go, which wait for each answer, and have a thread for that.
struct Secured {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), String>>,
    /// How many had gone at the last death.
    gone_before: u64,
}

/// What they have done by now.
#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// Answers that were heard.
    heard: AtomicU64,
    /// Of those who come and go: how many have come, how many have gone, and how many were lost before they had heard anything.
    came: AtomicU64,
    gone: AtomicU64,
    lost: AtomicU64,
    deaths: Mutex<Deaths>,
}

/// How many there were, and how many were lost since the last one that had come after it.
#[derive(Clone, Copy, Debug, Default)]
struct Deaths {
    count: u64,
    lost_since: u64,
}

/// Somebody comes in every so manieth round of those who stay.
const ROUNDS_OF_VISIT: u64 = 8;

impl Secured {
    fn begin(server: &Server) -> Self {
        let address = secured::address_of(server);
        let peers = Vec::from(secured::connect_each(address));
        let shared = Arc::<Shared>::default();
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || of_thread.talk(peers, address));
        Self { shared, thread, gone_before: 0 }
    }

    /// How many peers may not be served on after a death that is not survived yet.
    fn resets_max(&self) -> u64 {
        // Whoever is there may have come just now.
        1 + self.shared.gone.load(Ordering::Relaxed) - self.gone_before
    }

    fn see_death(&mut self) {
        self.gone_before = self.shared.gone.load(Ordering::Relaxed);
        self.shared.see_death();
    }

    /// # Errors
    /// If somebody is lost, and nobody has died.
    fn check(&self) -> Result<(), String> {
        match self.shared.deaths().lost_since {
            0 => Ok(()),
            lost => Err(format!("{lost} that speak TLS and had only just come are lost, and nobody has died")),
        }
    }

    /// They stop.
    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// How much they have heard, and how many came and went, when they have stopped, or are lost.
    fn end(self) -> (u64, Figures, Result<(), String>) {
        let ended = self.thread.join().expect("it notes what is wrong");
        let [heard, came, lost] =
            [&self.shared.heard, &self.shared.came, &self.shared.lost].map(|figure| figure.load(Ordering::Relaxed));
        (heard, Figures { came, lost }, ended)
    }
}

impl Shared {
    fn talk(&self, mut peers: Vec<TlsPeer>, address: SocketAddr) -> Result<(), String> {
        for number in 0_u64.. {
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            for (name, peer) in peers.iter_mut().enumerate() {
                self.exchange(peer, &format!("secured {name} {number}\n"))?;
            }
            if number.is_multiple_of(ROUNDS_OF_VISIT) {
                self.visit(address, number / ROUNDS_OF_VISIT)?;
            }
        }
        Ok(())
    }

    /// Somebody is lost who had come after so many deaths, and had heard nothing.
    fn lose(&self, deaths: u64) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let mut seen = self.deaths();
        seen.lost_since += u64::from(seen.count == deaths);
    }

    fn deaths(&self) -> MutexGuard<'_, Deaths> {
        self.deaths.lock().expect("nobody panics with it")
    }

    /// A death was survived: one is there at a time, so one may be lost by that.
    fn see_death(&self) {
        let mut seen = self.deaths();
        *seen = Deaths { count: seen.count + 1, lost_since: seen.lost_since.saturating_sub(1) };
    }

    fn exchange(&self, peer: &mut TlsPeer, line: &str) -> Result<(), String> {
        peer.try_send(line.as_bytes()).map_err(|lost| lost.0)?;
        peer.expect_or_end(line.as_bytes())?;
        self.heard.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Somebody comes, says a few lines, and goes, with a word or without. Whoever is lost before it has heard anything is counted.
    ///
    /// # Errors
    /// If it is lost later.
    ///
    /// # Panics
    /// If it hears something else than what is for it.
    fn visit(&self, address: SocketAddr, number: u64) -> Result<(), String> {
        self.came.fetch_add(1, Ordering::Relaxed);
        let deaths = self.deaths().count;
        let Ok(mut peer) = secured::try_connect(address) else {
            self.lose(deaths);
            return Ok(());
        };
        for line in 0..=number % 3 {
            let text = format!("visitor {number} {line}\n").into_bytes();
            match peer.try_send(&text).and_then(|()| peer.try_expect(&text)) {
                Ok(()) => self.heard.fetch_add(1, Ordering::Relaxed),
                Err(_) if line == 0 => {
                    self.lose(deaths);
                    return Ok(());
                }
                Err(lost) => return Err(format!("visitor {number}, who speaks TLS: {}", lost.0)),
            };
        }
        // It counts as gone before it goes: the server may hear of that at once.
        self.gone.fetch_add(1, Ordering::Relaxed);
        match number % 2 {
            0 => peer.try_end().map_err(|lost| format!("visitor {number}, who ends its TLS: {}", lost.0)),
            _ => Ok(()),
        }
    }
}

/// How much was heard, all of which was right.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Of those who come and go.
    pub(crate) passing: Figures,
}

/// All clients of a server.
pub(crate) struct Load {
    clients: Vec<Client>,
    passing: Passing,
    secured: Option<Secured>,
    mix: Mix,
    board: Board,
    random: Rng,
    buffer: Vec<u8>,
    /// Whose turn it is, and since how many turns nothing has happened.
    next: usize,
    still: usize,
    moved_at: Instant,
    /// No more lines are begun.
    ends: bool,
    heard: Heard,
    /// What is wrong.
    wrongs: Vec<String>,
}

impl Load {
    /// All have been served when this returns.
    pub(crate) fn gather(server: &Server, mix: Mix, seed: u64) -> Self {
        let [counted, relayed, published] = ["counted", "relayed", "published"].map(|name| server.address_as(name));
        let clients = mix.kinds().zip(0..).map(|(kind, name)| {
            let stream = match kind {
                Kind::Publisher | Kind::Subscriber => connect(published),
                Kind::Pair => connect(relayed),
                _ => connect(counted),
            };
            match kind {
                Kind::Subscriber => {
                    (&stream).write_all(b"sub\n").expect("the server serves");
                    let mut answer = [0; 7];
                    (&stream).read_exact(&mut answer).expect("the server serves");
                    assert_eq!(&answer, b"from 0\n");
                }
                Kind::Pair => (&stream).write_all(format!("{counted}\n").as_bytes()).expect("the server serves"),
                Kind::Slow => {
                    sockopt::set_socket_recv_buffer_size(&stream, 64 << 10).expect("a buffer can be made small");
                    sockopt::set_socket_send_buffer_size(&stream, 64 << 10).expect("a buffer can be made small");
                }
                _ => {}
            }
            let mut client = Client::new(stream, kind, name);
            client.hear_all_from(0);
            client
        });
        let clients: Vec<Client> = clients.collect();
        let first_name = u32::try_from(clients.len()).expect("there are few");
        let mut load = Self {
            clients,
            passing: Passing::begin(server, mix.passing, first_name, seed),
            secured: Some(Secured::begin(server)),
            mix,
            board: Board::default(),
            random: Rng::with_seed(seed),
            buffer: vec![0; TURN_BYTES],
            next: 0,
            still: 0,
            moved_at: Instant::now(),
            ends: false,
            heard: Heard::default(),
            wrongs: Vec::new(),
        };
        load.talk_to_all();
        load
    }

    /// How many peers the server has for those who stay.
    pub(crate) fn peers(&self) -> usize {
        self.clients.len() + 2 * self.mix.pairs + 2
    }

    /// # Errors
    /// If a connection was lost, or a byte was lost, repeated or torn.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.wrongs[..] {
            [] => self.passing.check().and_then(|()| self.secured.as_ref().map_or(Ok(()), Secured::check)),
            [first, others @ ..] => Err(format!("{first}, and {} others", others.len())),
        }
    }

    /// Gives the next one its turn.
    fn turn(&mut self) {
        if self.next >= self.clients.len() {
            self.next = 0;
            self.pass();
            if self.still >= self.clients.len() {
                self.wait();
            }
        }
        let Some(client) = self.clients.get_mut(self.next) else { return };
        client.turns += 1;
        let received = client.received;
        let heard = client.hear(&mut self.buffer, &mut self.board, self.ends);
        let outcome = heard.and_then(|heard| Ok((heard, client.say(&mut self.random, self.ends)?)));
        match outcome {
            Ok((None, false)) => self.still += 1,
            Ok((heard, _)) => {
                self.heard.messages += heard.unwrap_or(0);
                self.heard.bytes += (client.received - received) as u64;
                (self.still, self.moved_at) = (0, Instant::now());
            }
            Err(what) => {
                let client = self.clients.swap_remove(self.next);
                self.wrongs.push(format!("{:?} {}: {what}", client.kind, client.name));
                (self.still, self.moved_at) = (0, Instant::now());
                return;
            }
        }
        self.next += 1;
    }

    /// Gives those who come and go their turn.
    fn pass(&mut self) {
        match self.passing.turn(&mut self.buffer, &mut self.board, self.ends) {
            Ok(None) => return,
            Ok(Some((messages, bytes))) => {
                self.heard.messages += messages;
                self.heard.bytes += bytes;
            }
            Err(what) => self.wrongs.push(what),
        }
        (self.still, self.moved_at) = (0, Instant::now());
    }

    /// How many peers may not be served on after a death: none of those who stay.
    pub(crate) fn resets_max(&self) -> usize {
        let secured = self.secured.as_ref().map_or(0, Secured::resets_max);
        self.passing.resets_max() + usize::try_from(secured).expect("there are few")
    }

    /// A death was survived.
    pub(crate) fn see_death(&mut self) {
        self.passing.see_death();
        self.secured.iter_mut().for_each(Secured::see_death);
    }

    /// Waits a moment for something to come.
    fn wait(&mut self) {
        assert!(
            self.moved_at.elapsed() < PATIENCE,
            "nothing comes any more: {:?}, {:?}, {:?}",
            self.check(),
            self.awaiting(),
            self.passing.described()
        );
        let streams = self.clients.iter().map(|client| client.stream.as_fd()).chain(self.passing.awaited());
        let mut awaited: Vec<_> = streams.map(|stream| PollFd::new(stream, PollFlags::POLLIN)).collect();
        match poll(&mut awaited, PollTimeout::from(A_MOMENT)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => self.still = 0,
            Err(errno) => panic!("poll: {errno}"),
        }
    }

    /// Who has not heard all yet that it waits for.
    fn awaiting(&self) -> Vec<String> {
        let waits =
            |client: &&Client| client.kind == Kind::Subscriber || client.heard < client.said || !client.has_said_all();
        let describe =
            |Client { kind, name, said, heard, .. }: &Client| format!("{kind:?} {name} said {said}, heard {heard}");
        self.clients.iter().filter(waits).map(describe).collect()
    }

    /// They talk until so many more messages were heard, or something is wrong.
    pub(crate) fn talk(&mut self, messages: u64) {
        let end = self.heard.messages + messages;
        while self.heard.messages < end && self.wrongs.is_empty() {
            self.turn();
        }
    }

    /// They talk until that is so.
    #[track_caller]
    pub(crate) fn talk_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {:?}, {:?}", self.check(), self.passing.described());
            if self.clients.is_empty() {
                std::thread::yield_now();
            }
            for _ in 0..self.clients.len() {
                self.turn();
            }
        }
    }

    /// They talk until each of them has heard something more, or something is wrong.
    pub(crate) fn talk_to_all(&mut self) {
        let before: HashMap<u32, u64> = self.clients.iter().map(|client| (client.name, client.heard)).collect();
        let secured =
            self.secured.as_ref().map(|secured| secured.shared.clone()).expect("they are there until the end");
        let secured_before = secured.heard.load(Ordering::Relaxed);
        let has_heard = |client: &Client| client.heard > before[&client.name];
        while self.wrongs.is_empty() && !self.clients.iter().all(has_heard) {
            for _ in 0..self.clients.len() {
                self.turn();
            }
        }
        let ended = || self.secured.as_ref().is_none_or(|secured| secured.thread.is_finished());
        while self.wrongs.is_empty() && secured.heard.load(Ordering::Relaxed) < secured_before + 4 && !ended() {
            std::thread::yield_now();
        }
    }

    /// All hear what they wait for, and nothing else, and what all share is what was sent.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn finish(mut self) -> Result<Heard, String> {
        self.ends = true;
        let published = loop {
            self.check()?;
            for _ in 0..self.clients.len() {
                self.turn();
            }
            let of = |kind| self.clients.iter().filter(move |client| client.kind == kind);
            let published: u64 = of(Kind::Publisher).map(|client| client.said).sum();
            let is_done = |client: &Client| match client.kind {
                Kind::Subscriber => client.heard == published,
                _ => client.has_said_all() && client.heard == client.said,
            };
            if self.clients.iter().all(is_done) && self.passing.is_empty() {
                break published;
            }
        };
        // Nobody is told anything more, or told a number that was another's.
        for _ in 0..self.clients.len() {
            self.turn();
        }
        self.check()?;
        let Board { messages, told, ahead, .. } = &self.board;
        if messages.len() as u64 != published || !told.is_empty() || !ahead.is_empty() {
            return Err(format!("{} of {published} are heard, of {told:?} not, and {ahead:?} besides", messages.len()));
        }
        self.secured.iter().for_each(Secured::stop);
        self.hear_secured()?;
        Ok(self.heard)
    }

    /// Those who speak TLS come to their end, and with them all that is heard.
    fn hear_secured(&mut self) -> Result<(), String> {
        let (messages, visitors, ended) = self.secured.take().expect("they are there until the end").end();
        let Figures { came, lost } = self.passing.figures();
        self.heard.messages += messages;
        self.heard.passing = Figures { came: came + visitors.came, lost: lost + visitors.lost };
        ended
    }

    /// All connections are lost, and until then everything was right.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn expect_loss(mut self) -> Result<Heard, String> {
        while !self.clients.is_empty() {
            self.turn();
        }
        self.hear_secured().expect_err("nobody has stopped them, so they are lost");
        match self.wrongs.iter().find(|what| !is_loss(what.as_str())) {
            None => Ok(self.heard),
            Some(what) => Err(what.clone()),
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("the server listens")
}
