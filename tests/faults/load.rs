//! Clients of every kind that talk all the time, whoever dies meanwhile. Each knows every byte that it is to hear.
//!
//! One thread has a turn for each of them after the other, in which none waits; so whoever has them talk can do something between any two
//! of their messages. What is wrong is noted, and is not a panic: it is what a control is to see.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Clients that speak TLS, which wait for each answer, and have a thread for that.
struct Secured {
    stopping: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    thread: JoinHandle<Result<Vec<TlsPeer>, String>>,
}

impl Secured {
    fn begin(server: &Server) -> Self {
        let mut peers = Vec::from(secured::connect_each(secured::address_of(server)));
        let (stopping, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, count) = (stopping.clone(), heard.clone());
        let thread = std::thread::spawn(move || {
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for (name, peer) in peers.iter_mut().enumerate() {
                    let line = format!("secured {name} {number}\n").into_bytes();
                    peer.try_send(&line).map_err(|lost| lost.0)?;
                    peer.expect_or_end(&line)?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(peers)
        });
        Self { stopping, heard, thread }
    }

    fn end(self) -> (u64, Result<Vec<TlsPeer>, String>) {
        self.stopping.store(true, Ordering::Relaxed);
        let ended = self.thread.join().expect("it notes what is wrong");
        (self.heard.load(Ordering::Relaxed), ended)
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
            Client::new(stream, kind, name)
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
            [] => self.passing.check(),
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
        self.passing.resets_max()
    }

    /// A death was survived.
    pub(crate) fn see_death(&mut self) {
        self.passing.see_death();
    }

    /// Waits a moment for something to come.
    fn wait(&mut self) {
        assert!(self.moved_at.elapsed() < PATIENCE, "nothing comes any more: {:?}", self.check());
        let streams = self.clients.iter().map(|client| client.stream.as_fd()).chain(self.passing.awaited());
        let mut awaited: Vec<_> = streams.map(|stream| PollFd::new(stream, PollFlags::POLLIN)).collect();
        match poll(&mut awaited, PollTimeout::from(A_MOMENT)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => self.still = 0,
            Err(errno) => panic!("poll: {errno}"),
        }
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
        let secured = self.secured.as_ref().map(|secured| secured.heard.clone()).expect("they are there until the end");
        let secured_before = secured.load(Ordering::Relaxed);
        let has_heard = |client: &Client| client.heard > before[&client.name];
        while self.wrongs.is_empty() && !self.clients.iter().all(has_heard) {
            for _ in 0..self.clients.len() {
                self.turn();
            }
        }
        let ended = || self.secured.as_ref().is_none_or(|secured| secured.thread.is_finished());
        while self.wrongs.is_empty() && secured.load(Ordering::Relaxed) < secured_before + 4 && !ended() {
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
        if self.board.messages.len() as u64 != published || !self.board.told.is_empty() {
            return Err(format!(
                "{} of {published} are heard, of {:?} not",
                self.board.messages.len(),
                self.board.told
            ));
        }
        let (messages, ended) = self.secured.take().expect("it is there until the end").end();
        ended?;
        self.heard.messages += messages;
        self.heard.passing = self.passing.figures();
        Ok(self.heard)
    }

    /// All connections are lost, and until then everything was right.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn expect_loss(mut self) -> Result<Heard, String> {
        while !self.clients.is_empty() {
            self.turn();
        }
        let (messages, ended) = self.secured.take().expect("it is there until the end").end();
        self.heard.messages += messages;
        self.heard.passing = self.passing.figures();
        match (self.wrongs.iter().find(|what| !is_loss(what.as_str())), ended) {
            (None, Err(_)) => Ok(self.heard),
            (None, Ok(_)) => Err("those that speak TLS are served".to_owned()),
            (Some(what), _) => Err(what.clone()),
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("the server listens")
}
