//! Where those wait who speak TLS, until their handshake is over: they are no peers before, and their service hears of them
//! with all that the handshake has found out.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::debug;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use reactord_tls::{Handshake, HandshakeFailure, Progress};
use slab::Slab;

use super::listener::Came;
use super::source::{Name, Source, Tokens};
use crate::peer::Address;
use crate::peer::secured::Secured;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who has said nothing for so long, which is a round trip to the other side of the earth, is not waited for.
const SILENCE: Duration = Duration::from_millis(300);

/// So many get their turn in one turn of the loop: a signature takes tens of microseconds, one with RSA a millisecond.
const TURNS_MAX: usize = 16;

/// What one read takes at most: more than the first words of any client.
const READ_BYTES: usize = 16 * 1024;

/// Those whose handshakes are under way.
#[derive(Debug)]
pub(crate) struct Vestibule {
    waiting: Slab<Waiting>,
    /// Whose turn it is, each once.
    woken: VecDeque<usize>,
    /// Until when each may take, in the order in which they came; some have left.
    deadlines: VecDeque<(Instant, usize, u64)>,
    /// How many have come.
    came: u64,
    buffer: Box<[u8]>,
}

/// One of them.
#[derive(Debug)]
struct Waiting {
    socket: TcpStream,
    address: Address,
    lane: usize,
    listener: String,
    at: Option<SocketAddr>,
    /// Which of all who have come it is.
    number: u64,
    handshake: Handshake,
    /// What it has sent and is not heard.
    wire: Vec<u8>,
    /// What it is sent and has not taken.
    out: Vec<u8>,
    is_woken: bool,
    since: Instant,
    has_spoken: bool,
}

/// Somebody whose handshake is over.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) socket: TcpStream,
    pub(crate) address: Address,
    pub(crate) lane: usize,
    pub(crate) listener: String,
    pub(crate) at: Option<SocketAddr>,
    pub(crate) secured: Secured,
    /// What it is sent and has not taken.
    pub(crate) out: Vec<u8>,
}

/// What came of somebody's turn.
#[derive(Debug)]
pub(crate) enum Met {
    Welcome(Box<Welcome>),
    /// It is gone, for this reason.
    Gone(Address, String),
}

impl Vestibule {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        Self {
            waiting: Slab::new(),
            woken: VecDeque::new(),
            deadlines: VecDeque::new(),
            came: 0,
            buffer: Box::default(),
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of them have said something, or have just come: who has been silent for long may be so for ever.
    pub(crate) fn under_way(&self, now: Instant) -> usize {
        let is_under_way =
            |waiting: &Waiting| waiting.has_spoken || now.saturating_duration_since(waiting.since) < SILENCE;
        self.waiting.iter().filter(|(_, waiting)| is_under_way(waiting)).count()
    }

    /// Somebody has come in.
    ///
    /// # Errors
    /// If it cannot wait here.
    pub(crate) fn receive(&mut self, came: Came<'_>, registry: &Registry, now: Instant) -> Result<(), String> {
        let Came { mut socket, address, lane, tls, how } = came;
        let acceptor = tls.expect("whoever does not speak TLS does not wait").acceptor();
        let handshake = Handshake::accept(acceptor).map_err(|failure| failure.to_string())?;
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BYTES].into_boxed_slice();
        }
        let entry = self.waiting.vacant_entry();
        let key = entry.key();
        let token = Tokens::of(Name::Vestibule).token(key);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut socket, token, interest).map_err(|error| error.to_string())?;
        self.came += 1;
        let (number, listener, at) = (self.came, how.listener.to_owned(), how.at);
        let [wire, out] = [Vec::new(), Vec::new()];
        entry.insert(Waiting {
            socket,
            address,
            lane,
            listener,
            at,
            number,
            handshake,
            wire,
            out,
            is_woken: false,
            since: now,
            has_spoken: false,
        });
        self.deadlines.push_back((now + PATIENCE, key, number));
        Ok(())
    }

    /// The next one of whom something has become.
    pub(crate) fn tend(&mut self, turns_left: &mut usize, registry: &Registry, now: Instant) -> Option<Met> {
        while let Some(key) = self.woken.front().copied().filter(|_| *turns_left > 0) {
            self.woken.pop_front();
            let Some(waiting) = self.waiting.get_mut(key) else { continue };
            waiting.is_woken = false;
            *turns_left -= 1;
            match waiting.go_on(&mut self.buffer) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return Some(self.take_out(key, registry).welcomed()),
                Err(why) => return Some(Met::Gone(self.take_out(key, registry).address, why)),
            }
        }
        self.next_overdue(registry, now)
    }

    /// How many may have their turn in one turn of the loop.
    pub(crate) const TURNS_MAX: usize = TURNS_MAX;

    fn next_overdue(&mut self, registry: &Registry, now: Instant) -> Option<Met> {
        while let Some((at, key, number)) = self.deadlines.front().copied() {
            let is_here = self.waiting.get(key).is_some_and(|waiting| waiting.number == number);
            if is_here && at > now {
                return None;
            }
            self.deadlines.pop_front();
            if is_here {
                let why = format!("its TLS handshake is not over after {} s", PATIENCE.as_secs());
                return Some(Met::Gone(self.take_out(key, registry).address, why));
            }
        }
        None
    }

    fn take_out(&mut self, key: usize, registry: &Registry) -> Waiting {
        let mut waiting = self.waiting.remove(key);
        if self.waiting.is_empty() {
            self.woken.clear();
            self.deadlines.clear();
        }
        if let Err(error) = registry.deregister(&mut waiting.socket) {
            debug!("Peer {} stays in the epoll set: {error}", waiting.address);
        }
        waiting
    }
}

impl Waiting {
    /// Hears what it has sent, and answers.
    fn go_on(&mut self, buffer: &mut [u8]) -> Result<Progress, String> {
        loop {
            self.write()?;
            let came = match self.socket.read(buffer) {
                Ok(0) => return Err("it has left before its TLS handshake was over".to_owned()),
                Ok(bytes) => &buffer[..bytes],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::More),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            self.wire.extend_from_slice(came);
            self.has_spoken = true;
            let heard = self.handshake.hear(&self.wire, &mut self.out);
            let (used, progress) = heard.map_err(|failure| self.fail(&failure))?;
            self.wire.drain(..used);
            if progress == Progress::Done {
                self.write()?;
                return Ok(progress);
            }
        }
    }

    fn fail(&mut self, failure: &HandshakeFailure) -> String {
        // Whoever cannot be told why need not be.
        let _ = self.write();
        format!("TLS: {failure}")
    }

    fn write(&mut self) -> Result<(), String> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(bytes) => drop(self.out.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn welcomed(self) -> Met {
        let Self { socket, address, lane, listener, at, handshake, wire, out, .. } = self;
        match handshake.finish() {
            Ok(established) => {
                let secured = Secured::new(established, wire);
                Met::Welcome(Box::new(Welcome { socket, address, lane, listener, at, secured, out }))
            }
            Err(failure) => Met::Gone(address, format!("TLS: {failure}")),
        }
    }
}

impl Source for Vestibule {
    fn register(&mut self, _: &Registry, _: Tokens) -> io::Result<()> {
        // Each of them is, when it comes.
        Ok(())
    }

    fn hear(&mut self, key: usize, _: &Event) {
        if let Some(waiting) = self.waiting.get_mut(key)
            && !std::mem::replace(&mut waiting.is_woken, true)
        {
            self.woken.push_back(key);
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        match self.woken.is_empty() {
            _ if self.waiting.is_empty() => None,
            false => Some(now),
            true => self.deadlines.front().map(|(at, ..)| *at),
        }
    }
}
