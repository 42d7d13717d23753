//! Clients, loops and takeovers in one thread, at a script's bidding: whatever the clients send, however it is cut, and
//! whenever it is taken over, what they receive is what they would have received from one process that does nothing
//! else.
//!
//! The loops, the peers and both ends of the channel are the real ones. There are two lanes, and every other client is a peer
//! of the second, which serves lines. The clients are at the other ends of socket
//! pairs, whose buffers are small, so that back-pressure is common. In some scripts two of three speak TLS, in small records and
//! in large ones, change their keys, and break off in the middle of a record or the protocol.

mod client;
mod clockwork;
mod relay;
#[cfg(not(all(test, feature = "tls")))]
mod silence;
#[cfg(all(test, feature = "tls"))]
mod speech;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use client::Client;
use clockwork::{Clockwork, Kind, kept_at};
use mio::net::TcpStream;
use reactord_process::channel::Channel;
use relay::{Relay, Upstream};
use rustix::net::sockopt::set_socket_send_buffer_size;
#[cfg(not(all(test, feature = "tls")))]
use silence::{Met, Speech, watch};
#[cfg(all(test, feature = "tls"))]
use speech::{Met, Speech, watch};

use super::*;
use crate::lane::{AnyLane, Lane};
use crate::lanes::And;
use crate::peer::{Marks, PeerId};
use crate::recipient::Recipient;
use crate::service::{Accepted, Closed, Context, RestoreError, Service, StreamService, Violation};
use crate::services::{Line, Seqnum};
#[cfg(feature = "tls")]
use crate::sources::Welcome;
use crate::table::Table;
use crate::takeover::arriving::{Arriving, Came};
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::successor::Receiving;
use crate::takeover::wire::Hello;

const CLIENTS_MAX: usize = 6;

/// The kernel raises it to its minimum, about 4 KiB (socket(7)).
const SEND_BUFFER_BYTES: usize = 1;

/// The high and the low mark of every other process: below what one answer may have, so that peers are held often. Who
/// takes over from such a one holds fewer.
const MARKS: (usize, usize) = (2048, 256);
const GENEROUS_MARKS: (usize, usize) = (16 * 1024, 8 * 1024);

/// No service of a script has a client wait for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(7);

/// Nobody is given up by the loops, however much time a script has pass.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// In so many turns in which every client reads and writes all it can, whatever is to come has come.
const TURNS_MAX: u32 = 1000;

/// Plays the script to a server of one of five services. The first byte says which, and whether and how clients speak TLS; each
/// further one is a step, and some are followed by what they need.
pub fn take_over_anywhere(script: &[u8]) {
    let Some((first, script)) = script.split_first() else {
        return;
    };
    let languages = Languages::of(first / 5);
    match first % 5 {
        0 => play::<Seqnum>(languages, script, |clients, _| assert_echoed(clients, |input| input.len() / 4 * 4)),
        1 => play::<Line>(languages, script, |clients, _| assert_echoed(clients, lines_end)),
        2 => play::<Tally>(languages, script, assert_tallied),
        3 => play::<Relay>(languages, script, |clients, _| assert_echoed(clients, <[u8]>::len)),
        _ => play::<Clockwork>(languages, script, assert_in_time),
    }
}

/// Which clients of a script speak TLS, and how.
#[derive(Clone, Copy, Debug)]
struct Languages {
    /// Of every other kind, nobody does.
    kind: usize,
}

impl Languages {
    fn of(kind: u8) -> Self {
        Self { kind: kind.into() }
    }

    /// What the client with this number speaks, if it is TLS.
    fn spoken_by(self, number: usize) -> Option<Met> {
        let speaks = self.kind % 2 == 1 && number % 3 != 2;
        speaks.then(|| Speech::begin(self.kind, number)).flatten()
    }
}

fn play<S: Scripted>(languages: Languages, script: &[u8], check: impl FnOnce(&[Client], &S)) {
    let _watch = watch();
    let mut world = World::<S>::new(languages);
    let mut script = script.iter().copied();
    while let Some(byte) = script.next() {
        let client = usize::from(byte >> 5) % world.clients.len();
        match byte & 31 {
            0..8 => {
                let length = usize::from(script.next().unwrap_or(0)) % 24 + 1;
                let bytes: Vec<u8> = script.by_ref().take(length).map(marked).collect();
                world.clients[client].send_all_but(length - 1, &bytes);
            }
            8..10 => {
                let length = usize::from(script.next().unwrap_or(0)) * 64;
                let bytes: Vec<u8> =
                    (0..length).map(|at| if at % 61 == 60 { b'\n' } else { b'a' + at as u8 % 26 }).collect();
                world.clients[client].send(&bytes);
            }
            10..14 => world.clients[client].receive(usize::from(script.next().unwrap_or(0)) * 16 + 1),
            14..16 => world.clients[client].receive(usize::MAX),
            16..23 => world.turn(),
            23 => world.connect(),
            24 => world.clients[client].half_close(),
            25 => match script.next().unwrap_or(0) {
                0..64 => world.clients[client].vanish(),
                64..160 => world.clients[client].update(),
                how @ 160..192 => world.clients[client].damage(how),
                _ => {}
            },
            26 => world.take_over(),
            27 | 28 => world.predecessor_turn(None),
            29 | 30 => world.successor_turn(),
            31 => match script.next().unwrap_or(0) {
                0..64 => world.takeover = None,
                byte @ 64..128 => world.predecessor_turn(Some(usize::from(byte % 8))),
                byte => world.pass(Duration::from_secs(u64::from(byte % 8))),
            },
            _ => {}
        }
    }
    world.finish();
    let (own, lines): (Vec<Client>, Vec<Client>) = world.clients.into_iter().partition(|client| client.lane == 0);
    check(&own, world.reactor.lanes.before.lane.service());
    assert_echoed(&lines, lines_end);
}

/// A byte of the script as a client sends it: some more of those than chance would have that mean something to a
/// service.
fn marked(byte: u8) -> u8 {
    match byte {
        0..64 => b"\n\n\n>#!ab"[usize::from(byte % 8)],
        byte => byte,
    }
}

// ── The world ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// The service of a script, and lines.
type TwoLanes<S> = And<Line, And<S, ()>>;

/// A service that scripts are played to.
trait Scripted: StreamService + Default {
    /// What it connects to, if it does.
    fn upstream(&mut self) -> Option<Upstream> {
        None
    }

    /// Whether it will say something when time has passed.
    fn waits(&self) -> bool {
        false
    }
}

impl Scripted for Seqnum {}

impl Scripted for Line {}

impl Scripted for Tally {}

impl Scripted for Relay {
    fn upstream(&mut self) -> Option<Upstream> {
        let upstream = Upstream::new();
        self.upstream = upstream.path().to_owned();
        Some(upstream)
    }
}

impl Scripted for Clockwork {
    fn upstream(&mut self) -> Option<Upstream> {
        let upstream = Upstream::new();
        self.upstream = upstream.path().to_owned();
        Some(upstream)
    }

    fn waits(&self) -> bool {
        self.waits()
    }
}

struct World<S: StreamService> {
    languages: Languages,
    clients: Vec<Client>,
    upstream: Option<Upstream>,
    /// The one that serves.
    reactor: Reactor<TwoLanes<S>>,
    takeover: Option<Takeover<S>>,
    events: Events,
    /// How much later it is for the loops than it is.
    ahead: Duration,
}

/// A successor that does not serve yet.
struct Takeover<S: StreamService> {
    arriving: Arriving<TwoLanes<S>>,
    /// `None` once it has accepted.
    receiving: Option<Receiving>,
}

impl<S: Scripted> World<S> {
    fn new(languages: Languages) -> Self {
        let events = Events::with_capacity(64);
        let (poll, mut lanes) = marked_lanes::<S>(MARKS);
        let upstream = lanes.before.lane.service_mut().upstream();
        let (clients, reactor, ahead) = (Vec::new(), alone(poll, lanes), Duration::ZERO);
        let mut world = Self { languages, clients, upstream, reactor, takeover: None, events, ahead };
        (0..3).for_each(|_| world.connect());
        world
    }

    fn connect(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            let (client, server) = UnixStream::pair().expect("a socket pair");
            client.set_nonblocking(true).expect("it can be unblocked");
            server.set_nonblocking(true).expect("it can be unblocked");
            set_socket_send_buffer_size(&server, SEND_BUFFER_BYTES).expect("a buffer can be small");
            let socket = TcpStream::from_std(OwnedFd::from(server).into());
            let number = self.clients.len();
            let lane = number % 2;
            let met = self.languages.spoken_by(number);
            let speech = open(self.reactor.lanes.lane_mut(lane), lane, socket, met);
            self.clients.push(Client::new(client, lane, speech));
        }
    }

    fn turn(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            upstream.go_on();
        }
        self.reactor.poll(&mut self.events, Some(Duration::ZERO)).expect("epoll_wait");
        self.reactor.turn_at(self.now(), &self.events);
    }

    /// The time of the loops.
    fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// So much time has passed when the loop has its next turn.
    fn pass(&mut self, time: Duration) {
        self.ahead += time;
    }

    /// A takeover without an interruption.
    fn take_over(&mut self) {
        self.predecessor_turn(None);
        for _ in 0..TURNS_MAX {
            if self.takeover.is_none() {
                return;
            }
            self.successor_turn();
            self.predecessor_turn(None);
        }
        panic!("the takeover does not end");
    }

    /// The predecessor's part between two turns of the loop. A takeover begins if none is under way. If it comes to the
    /// freeze, the successor accepts, unless it dies after so many of the predecessor's steps and before it does.
    fn predecessor_turn(&mut self, lives_for: Option<usize>) {
        let reactor = &mut self.reactor;
        let Some(mut departure) = reactor.succession.departure.take() else {
            return self.begin_takeover();
        };
        departure.writable();
        let committed = match departure.turn(
            &mut reactor.lanes,
            &mut reactor.sources.vestibule,
            reactor.config.freeze_timeout,
            true,
            Instant::now(),
        ) {
            Ok(Turned::Copying(departure)) => {
                reactor.succession.departure = Some(departure);
                return;
            }
            Ok(Turned::Ready(ready)) => {
                let mut steps = 0..lives_for.unwrap_or(usize::MAX);
                ready.commit_beside(
                    &mut reactor.lanes,
                    &mut reactor.sources.vestibule,
                    None,
                    reactor.config.freeze_timeout,
                    || {
                        let dies = steps.next().is_none();
                        self.takeover.take_if(|successor| dies && successor.receiving.is_some());
                        while self.takeover.as_mut().is_some_and(Takeover::hear) {}
                    },
                )
            }
            Err(failure) => Err(failure),
        };
        match (committed, self.takeover.take()) {
            (Ok(_), Some(Takeover { arriving, receiving: None })) => {
                let (poll, lanes) = arriving.into_lanes();
                self.reactor = alone(poll, lanes);
                self.reactor.begin(Instant::now() + self.ahead);
            }
            (Err(_), None) => {}
            (Ok(_), _) => panic!("nobody has accepted"),
            (Err(failure), Some(_)) => panic!("the successor lives: {failure}"),
        }
    }

    fn begin_takeover(&mut self) {
        let (predecessor, successor) = Channel::pair();
        let hello = Hello::with_room();
        let lanes = &mut self.reactor.lanes;
        let marks = lanes.lane(0).table().peers().marks();
        let marks = if marks.high_bytes == MARKS.0 { GENEROUS_MARKS } else { MARKS };
        lanes.watch(Recipient::Successor);
        let keys_end = lanes.keys_end();
        let departure = Departure::of_peers(predecessor, Recipient::Successor, hello, &keys_end, self.reactor.now);
        self.reactor.succession.departure = Some(departure);
        let (poll, lanes) = marked_lanes(marks);
        let versions: Vec<u32> = lanes.all().map(AnyLane::state_version).collect();
        let (arriving, receiving) = Arriving::of_peers(successor, poll, lanes, &versions);
        self.takeover = Some(Takeover { arriving, receiving: Some(receiving) });
    }

    /// The successor hears a frame.
    fn successor_turn(&mut self) {
        if let Some(takeover) = &mut self.takeover {
            takeover.hear();
        }
    }

    /// Nothing more is to come from the script: each client sends and receives all there is, and then ends.
    fn finish(&mut self) {
        if self.takeover.is_some() {
            self.take_over();
        }
        self.settle_down();
        self.wait_for_time();
        let received: Vec<usize> = self.clients.iter().map(|client| client.received.len()).collect();
        self.clients.iter_mut().for_each(Client::half_close);
        self.settle_down();
        assert!(self.reactor.lanes.is_empty(), "{} peers are stuck", self.reactor.lanes.peers());
        let received_by_now = self.clients.iter().map(|client| client.received.len());
        assert!(received_by_now.eq(received), "what was to come came before anybody said that there is no more");
    }

    /// Has as much time pass as the service waits for, which is with each line at most once.
    fn wait_for_time(&mut self) {
        let lines = self.clients.iter().map(|client| memchr::memchr_iter(b'\n', &client.input).count());
        for _ in 0..=lines.sum() {
            if !self.reactor.lanes.before.lane.service().waits() {
                return;
            }
            self.pass(LONGEST_WAIT);
            self.settle_down();
        }
        panic!("somebody is not answered, however late it is");
    }

    /// How many bytes clients have sent and received, and their upstream.
    fn moved_bytes(&self) -> usize {
        let clients = self.clients.iter().map(|client| client.sent + client.heard_bytes);
        clients.sum::<usize>() + self.upstream.as_ref().map_or(0, Upstream::moved_bytes)
    }

    /// Gives turns until nothing happens any more.
    fn settle_down(&mut self) {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            let before = self.moved_bytes();
            self.clients.iter_mut().for_each(|client| client.receive(usize::MAX));
            self.turn();
            let due: usize = self.reactor.lanes.all().map(|lane| lane.table().due()).sum();
            let still = self.events.is_empty() && due == 0 && self.moved_bytes() == before;
            quiet = if still { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
        }
        panic!("the loop does not come to rest");
    }
}

/// Lets in a connection, whose handshake is over if it speaks TLS.
#[cfg(feature = "tls")]
fn open(lane: &mut dyn AnyLane, number: usize, socket: TcpStream, met: Option<Met>) -> Option<Speech> {
    let address = ([127, 0, 0, 1], 1).into();
    let Some(Met { speech, secured, out }) = met else {
        lane.open(socket, address, &Accepted::anyhow());
        return None;
    };
    let welcome =
        Welcome { socket, address, lane: number, listener: String::new(), at: None, preface: None, secured, out };
    lane.open_secured(welcome);
    Some(speech)
}

#[cfg(not(feature = "tls"))]
fn open(lane: &mut dyn AnyLane, _: usize, socket: TcpStream, _: Option<Met>) -> Option<Speech> {
    lane.open(socket, ([127, 0, 0, 1], 1).into(), &Accepted::anyhow());
    None
}

/// A lane without peers, whom this will wake.
pub(super) fn lane<S: StreamService>(number: usize, service: S, poll: &Poll, config: &Config) -> Lane<S> {
    let registry = poll.registry().try_clone().expect("epoll");
    let marks = Marks::from(config);
    let mut table = Table::new(number, registry, marks, config.close_timeout, 0);
    table.peers_mut().connect_with(config.connectors.clone());
    Lane::new(service, table, 0)
}

/// Both lanes without peers, and what wakes them.
fn marked_lanes<S: StreamService + Default>(
    (outbound_high_bytes, outbound_low_bytes): (usize, usize),
) -> (Poll, TwoLanes<S>) {
    let poll = Poll::new().expect("epoll");
    let config = Config { outbound_high_bytes, outbound_low_bytes, close_timeout: CLOSE_TIMEOUT, ..Config::default() };
    let before = And { before: (), lane: lane(0, S::default(), &poll, &config) };
    let lanes = And { before, lane: lane(1, Line::default(), &poll, &config) };
    (poll, lanes)
}

/// A loop that listens to nobody but its peers.
fn alone<S: StreamService>(poll: Poll, lanes: TwoLanes<S>) -> Reactor<TwoLanes<S>> {
    Reactor::new(poll, lanes, Sources::none(), &Config::default(), usize::MAX)
}

impl<S: StreamService> Takeover<S> {
    /// Hears a frame, if one is there.
    fn hear(&mut self) -> bool {
        if self.receiving.is_none() {
            return false;
        }
        let Some(raw) = self.arriving.next().expect("the predecessor lives") else {
            return false;
        };
        let receiving = self.receiving.take().expect("it was looked at");
        if let Came::On(receiving) = self.arriving.hear(receiving, &raw).expect("the predecessor is in order") {
            self.receiving = Some(receiving);
        }
        true
    }
}

// ── What comes of it ───────────────────────────────────────────────────────────────────────────────────────────────

/// Every whole message has come back, and nothing else. `end` is where the last one ends.
fn assert_echoed(clients: &[Client], end: impl Fn(&[u8]) -> usize) {
    for client in clients.iter().filter(|client| !client.vanished) {
        assert!(client.socket.is_none(), "the server has ended the connection");
        let expected = &client.input[..end(&client.input)];
        let expected =
            if client.is_broken() { expected.get(..client.received.len()).unwrap_or(expected) } else { expected };
        assert!(client.received == expected, "{} bytes came, {} were expected", client.received.len(), expected.len());
    }
}

fn lines_end(input: &[u8]) -> usize {
    memchr::memrchr(b'\n', input).map_or(0, |newline| newline + 1)
}

/// A service with shared state: it numbers the lines of all peers, and answers each with its number and all that it
/// says. `>` tells all other peers of it, `#` asks for much, `!` asks for the end.
#[derive(Default)]
struct Tally {
    lines: u64,
    present: BTreeSet<u64>,
}

const MUCH_BYTES: usize = 6000;

impl Service for Tally {
    /// How many lines of this peer have been answered.
    type Session = u64;
    const NAME: &'static str = "tally";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) -> u64 {
        self.present.insert(context.peer().into());
        context.reply(b"+");
        0
    }

    fn boundary(&self, _: &mut u64, input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        assert!(!input[..searched].contains(&b'\n'), "what counts as searched holds no line's end");
        Ok(memchr::memchr(b'\n', &input[searched..]).map(|newline| searched + newline + 1))
    }

    fn message(&mut self, own: &mut u64, line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        self.lines += 1;
        *own += 1;
        let number = self.lines.to_be_bytes();
        let mut told = 0u64;
        if line[0] == b'>' {
            let ourselves = u64::from(context.peer());
            for other in self.present.iter().filter(|other| **other != ourselves) {
                let telling = [b">".as_slice(), &number].concat();
                told += u64::from(context.send(PeerId::from(*other), &telling).is_ok());
            }
        }
        context.reply(&[b"=".as_slice(), &number, &own.to_be_bytes(), &told.to_be_bytes(), line].concat());
        match line[0] {
            b'#' => context.reply(&[b'.'; MUCH_BYTES]),
            b'!' => context.close(),
            _ => {}
        }
        Ok(())
    }

    fn closed(&mut self, _: u64, _: &Closed, context: &mut Context<'_, Self>) {
        assert!(self.present.remove(&context.peer().into()), "who leaves was here");
    }

    fn save_session(&self, own: &u64, record: &mut Vec<u8>) {
        record.extend(own.to_be_bytes());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<u64, RestoreError> {
        record.try_into().map(u64::from_be_bytes).map_err(|_| RestoreError::new("8 bytes are expected"))
    }

    fn save(&self, record: &mut Vec<u8>) {
        record.extend(self.lines.to_be_bytes());
        record.extend(self.present.iter().flat_map(|peer| peer.to_be_bytes()));
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        let (numbers, rest) = record.as_chunks::<8>();
        let [lines, present @ ..] = numbers else { return Err(RestoreError::new("the number of lines is missing")) };
        assert!(rest.is_empty());
        self.lines = u64::from_be_bytes(*lines);
        self.present = present.iter().map(|peer| u64::from_be_bytes(*peer)).collect();
        Ok(())
    }
}

/// Reads what a tally has said.
struct Said<'s>(&'s [u8]);

impl<'s> Said<'s> {
    fn bytes(&mut self, length: usize) -> &'s [u8] {
        let (bytes, rest) = self.0.split_at_checked(length).expect("what was said is whole");
        self.0 = rest;
        bytes
    }

    fn number(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes(8).try_into().expect("8 bytes"))
    }
}

/// Each client has had its own lines answered in order, up to the one that asks for the end; over all clients each
/// number was given once, and who was told is who was said to be told.
fn assert_tallied(clients: &[Client], service: &Tally) {
    let mut answered = BTreeSet::new();
    let mut tellings: BTreeMap<u64, i64> = BTreeMap::new();
    for client in clients.iter().filter(|client| !client.is_lost()) {
        assert!(client.socket.is_none(), "the server has ended the connection");
        let mut lines = client.input[..lines_end(&client.input)].split_inclusive(|byte| *byte == b'\n');
        let mut said = Said(&client.received);
        assert_eq!(said.bytes(1), b"+");
        let (mut number_before, mut own_before) = (0, 0);
        let mut closing = false;
        while !said.0.is_empty() {
            assert!(!closing, "nothing comes after the end");
            let mark = said.bytes(1)[0];
            let number = said.number();
            assert!(number > number_before, "{number} comes after {number_before}");
            number_before = number;
            match mark {
                b'>' => *tellings.entry(number).or_default() -= 1,
                b'=' => {
                    let own = said.number();
                    assert_eq!(own, own_before + 1, "the line is the next one");
                    own_before = own;
                    *tellings.entry(number).or_default() += said.number().cast_signed();
                    let line = lines.next().expect("there was a line to answer");
                    assert!(said.bytes(line.len()) == line, "the line is answered as it was sent");
                    assert!(answered.insert(number), "{number} is given once");
                    if line[0] == b'#' {
                        assert!(said.bytes(MUCH_BYTES).iter().all(|byte| *byte == b'.'));
                    }
                    closing = line[0] == b'!';
                }
                mark => panic!("{mark} is nothing that a tally says"),
            }
        }
        assert!(closing || lines.next().is_none(), "every line is answered");
    }
    assert!(service.present.is_empty(), "everybody has left");
    if clients.iter().all(|client| !client.is_lost()) {
        assert!(answered.into_iter().eq(1..=service.lines), "every number was given to somebody");
        assert!(tellings.into_values().all(|missing| missing == 0), "everybody heard what was told");
    }
}

/// Each client has had its own lines answered in order, each in the way that its first byte asks for, and nothing was
/// counted twice or not at all.
fn assert_in_time(clients: &[Client], service: &Clockwork) {
    assert!(!service.waits(), "every line is answered");
    let mut counted: BTreeMap<u8, u64> = BTreeMap::new();
    let mut taken: BTreeMap<u8, u64> = service.counts.iter().map(|(first, count)| (*first, *count)).collect();
    for client in clients.iter().filter(|client| !client.is_lost()) {
        assert!(client.socket.is_none(), "the server has ended the connection");
        let mut said = Said(&client.received);
        for line in client.input[..lines_end(&client.input)].split_inclusive(|byte| *byte == b'\n') {
            let (kind, number) = (said.bytes(1)[0], said.number());
            assert!(said.bytes(line.len()) == line, "the line is answered as it was sent");
            assert_eq!(kind, Kind::of(line) as u8, "{line:?} is answered as it is to be");
            match Kind::of(line) {
                Kind::AtDeadline | Kind::AtTimer | Kind::Errand => {}
                Kind::Taken => *taken.entry(kept_at(line)).or_default() += number,
                Kind::Counted => *counted.entry(kept_at(line)).or_default() += 1,
            }
        }
        assert!(said.0.is_empty(), "nothing else is said");
    }
    if clients.iter().all(|client| !client.is_lost()) {
        taken.retain(|_, count| *count > 0);
        assert_eq!(counted, taken, "what is counted is there until it is taken");
    }
}
