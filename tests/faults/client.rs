//! One client of a load: what it says, and what it hears, of which it knows every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use fastrand::Rng;

use crate::board::Board;

/// What a client that reads slowly has under way: more than its server and the kernel keep for it.
const SLOW_BYTES: usize = 4 << 20;

/// It reads in every so manieth of its turns, so much.
const SLOW_TURNS: u64 = 32;
const SLOW_READ_BYTES: usize = 16 << 10;

/// How much others read, and how much anybody sends, in one turn.
pub(crate) const TURN_BYTES: usize = 256 << 10;

/// Of whoever says its lines in pieces: how long those are.
const PIECE_BYTES: usize = 12;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Says lines, and hears them.
    Echo,
    /// The same, a few bytes at a time.
    Fragments,
    /// Says much more than it reads, so that its answers fill all buffers.
    Slow,
    /// Publishes, and is told the number of each message.
    Publisher,
    /// Hears whatever is published from when it has come.
    Subscriber,
    /// Says lines to a connection of the server's own that leads back into it.
    Pair,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) kind: Kind,
    pub(crate) name: u32,
    /// How many lines it has begun to say, and how many answers it has heard.
    pub(crate) said: u64,
    pub(crate) heard: u64,
    /// How many it says, or hears if it says none, and whether the last one asks the service to close it.
    lines_max: u64,
    asks_to_go: bool,
    /// Of a subscriber: the number of the first message that it is to hear, once it has been told; and what that is at least.
    since: Option<u64>,
    since_min: u64,
    pub(crate) turns: u64,
    /// The line that it says, and how much of that is said.
    saying: Vec<u8>,
    at: usize,
    /// What it hears: of one that is told what it does not know, what has come of a line; of others, what is to come of one.
    hearing: Vec<u8>,
    /// How many bytes it has sent, and how many it has received.
    sent: usize,
    pub(crate) received: usize,
}

/// What lines are filled with: from another place in each, so that no piece of one looks like the same piece of the next.
static FILLING: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD * 2500).map(|at| b'a' + (at * 5 % PERIOD) as u8).collect());

/// After so many bytes it begins anew.
const PERIOD: usize = 23;

fn filling(name: u32, number: u64, bytes: u64) -> &'static [u8] {
    let start = (u64::from(name) * 7 + number) % PERIOD as u64;
    let [start, bytes] = [start, bytes].map(|figure| usize::try_from(figure).expect("it is small"));
    &FILLING[start..start + bytes]
}

/// What is said of a connection that has ended.
pub(crate) const ENDED: &str = "its connection has ended";

/// Whether what is wrong with a client is that its connection is lost, and not what it has heard.
pub(crate) fn is_loss(what: &str) -> bool {
    [ENDED, "connecting: ", "sending: ", "receiving: "].iter().any(|loss| what.contains(loss))
}

impl Client {
    pub(crate) fn new(stream: TcpStream, kind: Kind, name: u32) -> Self {
        stream.set_nonblocking(true).expect("a socket need not block");
        stream.set_nodelay(true).expect("no delay can be set");
        let (saying, hearing) = (Vec::new(), Vec::new());
        Self {
            stream,
            kind,
            name,
            said: 0,
            heard: 0,
            lines_max: u64::MAX,
            asks_to_go: false,
            since: None,
            since_min: 0,
            turns: 0,
            saying,
            at: 0,
            hearing,
            sent: 0,
            received: 0,
        }
    }

    /// It says so many lines, the last of which asks the service to close it if it `asks`.
    pub(crate) fn stay_for(&mut self, lines: u64, asks: bool) {
        (self.lines_max, self.asks_to_go) = (lines, asks);
    }

    /// What it says before its lines, and what is not answered.
    pub(crate) fn say_first(&mut self, line: Vec<u8>) {
        (self.saying, self.at) = (line, 0);
    }

    /// It subscribes, where others have heard this by now.
    pub(crate) fn subscribe(&mut self, board: &Board) {
        self.since_min = board.messages.len() as u64;
        self.say_first(b"sub\n".to_vec());
    }

    /// It has been told that it hears all from this one on, if it is a subscriber.
    pub(crate) fn hear_all_from(&mut self, number: u64) {
        self.since = Some(number);
    }

    /// Whether it has been told from which message on it hears all.
    pub(crate) fn has_subscribed(&self) -> bool {
        self.since.is_some()
    }

    fn line(&self, number: u64) -> Vec<u8> {
        let Self { name, kind, .. } = self;
        if self.asks_to_go && number + 1 == self.lines_max {
            return b"bye\n".to_vec();
        }
        let mixed = (u64::from(*name) << 32 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let bytes = match kind {
            Kind::Publisher => return format!("pub {name} {number}\n").into_bytes(),
            Kind::Slow => 10_000 + mixed % 40_000,
            _ => mixed % 200,
        };
        let mut line = format!("{name} {number} ").into_bytes();
        line.extend_from_slice(filling(*name, number, bytes));
        line.push(b'\n');
        line
    }

    pub(crate) fn has_said_all(&self) -> bool {
        self.at == self.saying.len()
    }

    /// Whether it has said all that it wants to say, and heard as much as it wants to if it says nothing.
    pub(crate) fn has_said_its_lines(&self) -> bool {
        let lines = if self.kind == Kind::Subscriber { self.heard } else { self.said };
        lines >= self.lines_max && self.has_said_all()
    }

    fn may_say_more(&self) -> bool {
        match self.kind {
            _ if self.said == self.lines_max => false,
            Kind::Subscriber => false,
            Kind::Publisher => self.said == self.heard,
            Kind::Slow => self.sent - self.received < SLOW_BYTES,
            _ => self.said - self.heard <= u64::from(self.name % 3),
        }
    }

    /// Sends what can be sent at once. `Ok(false)` if that is nothing.
    pub(crate) fn say(&mut self, random: &mut Rng, ends: bool) -> Result<bool, String> {
        let before = self.sent;
        while self.sent - before < TURN_BYTES {
            if self.has_said_all() {
                if ends || !self.may_say_more() {
                    break;
                }
                (self.saying, self.at) = (self.line(self.said), 0);
                self.said += 1;
            }
            let mut piece = &self.saying[self.at..];
            if self.kind == Kind::Fragments {
                piece = &piece[..random.usize(1..=PIECE_BYTES).min(piece.len())];
            }
            match (&self.stream).write(piece) {
                Ok(bytes) => {
                    self.at += bytes;
                    self.sent += bytes;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("sending: {error}")),
            }
            if self.kind == Kind::Fragments {
                break;
            }
        }
        Ok(self.sent > before)
    }

    /// Receives what there is. Returns how many messages it has heard, or `None` if nothing has come.
    pub(crate) fn hear(&mut self, buffer: &mut [u8], board: &mut Board, ends: bool) -> Result<Option<u64>, String> {
        let heard = self.heard;
        let buffer = match self.kind {
            Kind::Slow if ends => buffer,
            Kind::Slow if !self.turns.is_multiple_of(SLOW_TURNS) => return Ok(None),
            Kind::Slow => &mut buffer[..SLOW_READ_BYTES],
            _ => buffer,
        };
        let bytes = match (&self.stream).read(buffer) {
            Ok(0) => return Err(ENDED.to_owned()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(format!("receiving: {error}")),
        };
        self.received += bytes;
        match self.kind {
            Kind::Publisher | Kind::Subscriber => self.hear_numbers(&buffer[..bytes], board)?,
            _ => self.hear_lines(&buffer[..bytes])?,
        }
        Ok(Some(self.heard - heard))
    }

    fn hear_lines(&mut self, mut came: &[u8]) -> Result<(), String> {
        while !came.is_empty() {
            if self.hearing.is_empty() {
                if self.heard == self.said {
                    return Err(format!("{} bytes are not asked for", came.len()));
                }
                self.hearing = self.line(self.heard);
            }
            let bytes = came.len().min(self.hearing.len());
            if came[..bytes] != self.hearing[..bytes] {
                let [got, wanted] = [&came[..bytes], &self.hearing[..bytes]];
                let at = got.iter().zip(wanted).position(|(got, wanted)| got != wanted).unwrap_or(0);
                let [got, wanted] =
                    [got, wanted].map(|bytes| String::from_utf8_lossy(&bytes[at..(at + 40).min(bytes.len())]));
                return Err(format!("line {} goes on with {got:?}, {wanted:?} was expected", self.heard));
            }
            self.hearing.drain(..bytes);
            came = &came[bytes..];
            self.heard += u64::from(self.hearing.is_empty());
        }
        Ok(())
    }

    fn hear_numbers(&mut self, came: &[u8], board: &mut Board) -> Result<(), String> {
        self.hearing.extend_from_slice(came);
        while let Some(end) = self.hearing.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.hearing[..end]).into_owned();
            self.hearing.drain(..=end);
            if self.kind == Kind::Subscriber && self.since.is_none() {
                self.hear_since(&line)?;
                continue;
            }
            let figures: Option<Vec<u64>> = line.split(' ').map(|figure| figure.parse().ok()).collect();
            match (self.kind, figures.as_deref()) {
                (Kind::Subscriber, Some([number, name, of])) if Some(*number) == self.awaits() => {
                    board.hear(*number, (u32::try_from(*name).map_err(|_| line.clone())?, *of))?;
                }
                (Kind::Publisher, Some([number])) if self.heard < self.said => {
                    board.tell(*number, (self.name, self.heard))?;
                }
                _ => return Err(format!("{line:?} came after {} others", self.heard)),
            }
            self.heard += 1;
        }
        Ok(())
    }

    fn hear_since(&mut self, line: &str) -> Result<(), String> {
        let since = line.strip_prefix("from ").and_then(|number| number.parse().ok());
        self.since = since.filter(|since| *since >= self.since_min);
        match self.since {
            Some(_) => Ok(()),
            None => Err(format!("{line:?} came, where {} were heard before it subscribed", self.since_min)),
        }
    }

    /// The number of the message that a subscriber hears next.
    fn awaits(&self) -> Option<u64> {
        Some(self.since? + self.heard)
    }
}
