//! Clients who chat while workers are replaced and killed, and the supervisor, too: who may be lost, and what may be heard.
//!
//! All have typed half a line. In each round some end theirs, at moments that chance chooses, while SIGHUP replaces all
//! workers and, by chance, one of them is killed, and the supervisor's binary is replaced. Each hears its own line, whole
//! and once, and of the others' lines only whole ones, in order, and none twice. Nobody's connection ends but that of a
//! worker that was killed.

use std::collections::HashSet;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::net::tcp;
use procfs::process::{FDTarget, Process, all_processes};

use crate::client::supervise;
use crate::harness::Server;
use crate::languages::Chat;

/// How long a line may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a line ends with, so that a part of one shows.
const REST: &[u8] = b" and this is all";

/// How much there is to be of what.
#[derive(Clone, Copy)]
pub(crate) struct Soak {
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    pub(crate) hangups: usize,
    /// Of so many clients, one ends its line in each round; the others' stay half-typed.
    pub(crate) ends_one_in: u32,
    /// Of so many rounds, one has a killed worker, and one a replaced supervisor.
    pub(crate) killed_one_in: u32,
    pub(crate) replaced_one_in: u32,
    pub(crate) seed: u64,
}

/// What there was.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) killed: usize,
    pub(crate) replaced: usize,
    pub(crate) lost_with_killed: usize,
    pub(crate) said: usize,
    heard: usize,
    /// From the end of a line to its echo, in microseconds.
    echoes_us: Vec<u64>,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, replaced, lost_with_killed, said, heard, echoes_us, took } = self;
        let mut sorted = echoes_us.clone();
        sorted.sort_unstable();
        let of_thousand = |part: usize| sorted.get(sorted.len() * part / 1000).map_or(0.0, |us| *us as f64 / 1000.0);
        write!(
            f,
            "{said} lines said, each heard by who said it, whole and once; {heard} heard in all, none broken and none twice; \
             {killed} workers killed, with {lost_with_killed} connections that were theirs; the supervisor replaced {replaced} \
             times; 0 connections lost otherwise; an echo took {:.1} ms in the median, {:.1} ms at the 99th percentile, \
             {:.1} ms at most; {:.0} s in all",
            of_thousand(500),
            of_thousand(990),
            sorted.last().map_or(0.0, |us| *us as f64 / 1000.0),
            took.as_secs_f64()
        )
    }
}

/// One who chats.
struct Client {
    /// Its name's number: another connection has another.
    number: usize,
    stream: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
    /// The last line that was heard of each, by the number of the name.
    last_heard: Vec<usize>,
    /// How many lines it has begun.
    lines: usize,
    /// What is to be typed to end the last.
    to_type: Vec<u8>,
    /// Since when that is whole, if it has not come back.
    waits_since: Option<Instant>,
}

struct Room {
    soak: Soak,
    // Dropped before the supervisor, whose end waits for the workers, as those do for their clients.
    clients: Vec<Client>,
    supervisor: Server,
    address: SocketAddr,
    poll: Poll,
    next_number: usize,
    round: usize,
    /// How many generations were given up, because one of their workers was killed before it was ready.
    given_up: usize,
    /// Who was a killed worker's, and may be lost.
    doomed: HashSet<SocketAddr>,
    rng: Rng,
    report: Report,
}

/// What happens in a round.
enum Happening {
    Hangup,
    Kill,
    Replace,
    /// A client ends its line.
    Line(usize),
}

impl Soak {
    /// Does all that, or fails.
    pub(crate) fn run(self, chat: &Chat) -> Report {
        let begun = Instant::now();
        let supervisor = supervise(&format!("--workers {}", self.workers), &chat.command);
        supervisor.wait_for_lines(self.workers, |line| line.ends_with("is ready"));
        let address = supervisor.address();
        let mut room = Room {
            soak: self,
            supervisor,
            address,
            poll: Poll::new().expect("there is room"),
            clients: Vec::new(),
            next_number: 0,
            round: 0,
            given_up: 0,
            doomed: HashSet::new(),
            rng: Rng::with_seed(self.seed),
            report: Report::default(),
        };
        for place in 0..self.clients {
            let client = room.connect(place);
            room.clients.push(client);
        }
        (1..=self.hangups).for_each(|round| room.play(round));
        room.report.took = begun.elapsed();
        room.close()
    }
}

impl Room {
    /// A client that has said its name.
    fn connect(&mut self, place: usize) -> Client {
        let stream = std::net::TcpStream::connect(self.address).expect("the supervisor listens");
        stream.set_nonblocking(true).expect("a socket can be");
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE).expect("there is room");
        let number = self.next_number;
        self.next_number += 1;
        stream.write_all(format!("{number}\n").as_bytes()).expect("there is room for a short line");
        let address = stream.local_addr().expect("it is connected");
        let (received, last_heard, to_type) = (Vec::new(), Vec::new(), Vec::new());
        Client { number, stream, address, received, last_heard, lines: 0, to_type, waits_since: None }
    }

    /// One round.
    fn play(&mut self, round: usize) {
        self.round = round;
        for client in self.clients.iter_mut().filter(|client| client.to_type.is_empty()) {
            client.begin_line(&mut self.rng);
        }
        for happening in self.happenings() {
            match happening {
                Happening::Line(place) => self.end_line(place),
                Happening::Hangup => self.supervisor.signal(Signal::SIGHUP),
                Happening::Replace => self.supervisor.signal(Signal::SIGUSR2),
                Happening::Kill => self.kill_worker(),
            }
            let pause = if matches!(happening, Happening::Line(_)) { 0 } else { self.rng.u64(0..20) };
            self.hear_for(Duration::from_millis(pause));
        }
        self.hear_out();
    }

    /// What happens in a round, in the order that chance gives it.
    fn happenings(&mut self) -> Vec<Happening> {
        let ending = (0..self.clients.len()).filter(|_| self.rng.u32(0..self.soak.ends_one_in) == 0);
        let mut happenings: Vec<Happening> = ending.map(Happening::Line).collect();
        happenings.push(Happening::Hangup);
        if self.rng.u32(0..self.soak.killed_one_in) == 0 {
            happenings.push(Happening::Kill);
        }
        if self.rng.u32(0..self.soak.replaced_one_in) == 0 {
            happenings.push(Happening::Replace);
        }
        self.rng.shuffle(&mut happenings);
        happenings
    }

    fn end_line(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let rest = std::mem::take(&mut client.to_type);
        // Who has just come again has none to end.
        if !rest.is_empty() && client.stream.write_all(&rest).is_ok() {
            client.waits_since = Some(Instant::now());
        }
    }

    /// Kills a worker, and notes whose connections it had open just then.
    fn kill_worker(&mut self) {
        let supervisor = self.supervisor.pid().cast_signed();
        let workers: Vec<Process> = all_processes()
            .expect("/proc is there")
            .filter_map(Result::ok)
            .filter(|process| process.stat().is_ok_and(|stat| stat.ppid == supervisor && stat.state != 'Z'))
            .collect();
        let Some(worker) = self.rng.choice(&workers) else { return };
        let pid = Pid::from_raw(worker.pid());
        if kill(pid, Signal::SIGSTOP).is_err() {
            return;
        }
        while worker.stat().is_ok_and(|stat| !['T', 'Z'].contains(&stat.state)) {
            std::thread::yield_now();
        }
        let sockets: HashSet<u64> = worker
            .fd()
            .into_iter()
            .flatten()
            .filter_map(|fd| match fd.ok()?.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        let connections = tcp().expect("/proc is there").into_iter().filter(|entry| sockets.contains(&entry.inode));
        self.doomed.extend(connections.map(|entry| entry.remote_address));
        // It may have been killed by its supervisor meanwhile.
        if kill(pid, Signal::SIGKILL).is_ok() {
            self.report.killed += 1;
        }
    }

    // ── Hearing ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Hears whatever comes for so long, at least what is there.
    fn hear_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.poll.poll(&mut events, Some(left)).expect("the poll is ours");
            events.iter().for_each(|event| self.hear(event.token().0));
            if left.is_zero() {
                return;
            }
        }
    }

    /// Hears on until all lines have come back and the next generation serves.
    fn hear_out(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.clients.iter().any(|client| client.waits_since.is_some()) || !self.next_generation_serves() {
            self.hear_for(Duration::from_millis(10));
            if Instant::now() > deadline {
                let waiting = self.clients.iter().filter(|client| client.waits_since.is_some());
                let waiting: Vec<String> =
                    waiting.map(|client| format!("{} at {}", client.number, client.address)).collect();
                panic!("in round {}, these wait for their lines: {waiting:?}\n{}", self.round, self.supervisor.log());
            }
        }
    }

    /// Whether as many generations have come to serve as there were rounds. One that is given up is asked for again.
    fn next_generation_serves(&mut self) -> bool {
        let said =
            |what: &str| self.supervisor.lines_with("] Generation ").iter().filter(|line| line.contains(what)).count();
        let (serve, given_up) = (said(" serves: "), said(" is given up: "));
        if given_up > self.given_up {
            self.given_up = given_up;
            self.supervisor.signal(Signal::SIGHUP);
        }
        serve >= self.round
    }

    fn hear(&mut self, place: usize) {
        let mut bytes = [0; 1 << 16];
        loop {
            match self.clients[place].stream.read(&mut bytes) {
                Ok(count) if count > 0 => self.clients[place].received.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                lost => return self.lose(place, &lost),
            }
        }
        let client = &mut self.clients[place];
        let received = std::mem::take(&mut client.received);
        let mut lines = received.split(|byte| *byte == b'\n');
        client.received = lines.next_back().expect("there is always a last part").to_vec();
        for heard in lines {
            self.report.heard += 1;
            client.hear(heard, &mut self.report);
        }
    }

    /// A client has lost its connection. It comes again, as somebody else.
    fn lose(&mut self, place: usize, lost: &std::io::Result<usize>) {
        let Client { number, address, .. } = self.clients[place];
        let log = self.supervisor.log();
        assert!(
            self.doomed.contains(&address),
            "{number} at {address} is lost in round {}: {lost:?}\n{log}",
            self.round
        );
        self.report.lost_with_killed += 1;
        self.clients[place] = self.connect(place);
    }

    /// Ends all, and sees to it that all end well.
    fn close(self) -> Report {
        let Self { supervisor, clients, mut report, .. } = self;
        report.replaced = supervisor.lines_with("Resumed as pid ").len();
        drop(clients);
        supervisor.stop();
        report
    }
}

impl Client {
    /// It types a part of its next line, and none of the end.
    fn begin_line(&mut self, rng: &mut Rng) {
        self.lines += 1;
        let mut line = self.lines.to_string().into_bytes();
        line.extend(REST);
        self.to_type = line.split_off(rng.usize(1..line.len()));
        self.to_type.push(b'\n');
        // If it is lost, that shows when it is read from.
        drop(self.stream.write_all(&line));
    }

    /// It hears a line, whole, and none that it has heard.
    fn hear(&mut self, heard: &[u8], report: &mut Report) {
        let [number, line] =
            parsed(heard).unwrap_or_else(|| panic!("{} hears {:?}", self.number, heard.escape_ascii()));
        if self.last_heard.len() <= number {
            self.last_heard.resize(number + 1, 0);
        }
        let last = std::mem::replace(&mut self.last_heard[number], line);
        assert!(last < line, "{} hears line {line} of {number} after line {last}", self.number);
        if number == self.number {
            assert_eq!(line, self.lines, "{number} hears what it has not said last");
            let since = self.waits_since.take().expect("it has said this");
            report.said += 1;
            report.echoes_us.push(u64::try_from(since.elapsed().as_micros()).expect("it has not lasted that long"));
        }
    }
}

/// The name's number, and which line it was, of a whole line.
fn parsed(heard: &[u8]) -> Option<[usize; 2]> {
    let (name, said) = number(heard)?;
    let (line, rest) = number(said.strip_prefix(b": ")?)?;
    (rest == REST).then_some([name, line])
}

/// A number, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = bytes[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    (1..10).contains(&digits).then_some((number, &bytes[digits..]))
}
