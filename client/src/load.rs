//! The event loop: opens the connections, sends, reads, waits, and hands over the figures.
//!
//! One thread, one edge-triggered poll. Every connection is registered once, for reading and writing, and stays so:
//! the kernel reports that a socket may be written to only after it was full. Whatever happens to a connection ends in
//! [`Load::advance`], which reads what there is, sends what its kind sends, and notes whether the connection needs
//! another turn that no event will announce.
//!
//! A load has two parts. In the first the clock or the answers make connections send; in the second nothing new is
//! sent, except one message on each connection that was idle, and what is still due is waited for.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use log::{debug, info, warn};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use crate::connect::{self, Opened};
use crate::connection::{Connection, MESSAGE_BYTES};
use crate::options::{Options, Pace};
use crate::report::{Count, Report};
use crate::schedule::{Agenda, Schedule, Task};
use crate::wakeups::{Alarm, Signals};

/// Any other token is the index of a connection.
const SIGNALS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);

/// Room for the events of one poll: enough to share its cost, and few enough that the answers which arrive meanwhile
/// are not measured late.
const EVENTS_PER_TURN: usize = 256;

/// How many connections are advanced, and how many tasks done, between two polls. It bounds how long answers lie in
/// the kernel, and count as on the way, because the client has something else to do.
const TASKS_PER_TURN: usize = 32;

/// How much is read at once: more than one segment on the loopback interface.
const READ_BYTES: usize = 128 * 1024;

/// How much a connection may read, or flood, before it is the turn of the others.
const BYTES_PER_TURN: usize = 256 * 1024;

/// How much a slow reader reads, and how often.
const SLOW_READ_BYTES: usize = 4 * 1024;
const SLOW_READS_PER_SECOND: f64 = 10.0;

/// How much a slow reader writes at once.
const FLOOD_MESSAGES: u32 = 4 * 1024;

/// A schedule that is later than this at the end was more than this machine or the server can do.
const LATE: Duration = Duration::from_millis(100);

/// Why there is no report.
#[derive(Debug)]
pub(crate) enum Error {
    /// The hard limit on open files is too low.
    TooManyConnections { connections: usize, needed: usize, limit: u64 },
    /// A connection could not be opened, after `open` of `total` others.
    Connect { server: SocketAddr, open: usize, total: usize, source: io::Error },
    /// A signal came while the connections were being opened.
    Stopped { open: usize, total: usize },
    /// The kernel denied something that no load can do without.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConnections { connections, needed, limit } => write!(
                formatter,
                "{connections} connections need {needed} open files, and this process may open {limit} (ulimit -Hn)"
            ),
            Self::Connect { server, open, total, source } => {
                write!(formatter, "cannot connect to {}: {source}", bracketed(*server))?;
                if *total > 1 { write!(formatter, " ({open} of {total} connections were open)") } else { Ok(()) }
            }
            Self::Stopped { open, total } => {
                write!(formatter, "stopped while connecting: {open} of {total} connections were open")
            }
            Self::System(source) => write!(formatter, "the event loop cannot go on: {source}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::System(source)
    }
}

/// Does what the options ask for.
pub(crate) fn run(options: &Options) -> Result<Report, Error> {
    connect::make_room(options.connections())?;
    let mut poll = Poll::new()?;
    let mut signals = Signals::new(poll.registry(), SIGNALS)?;
    let alarm = Alarm::new(poll.registry(), ALARM)?;

    let begun = Instant::now();
    let opened = connect::open_all(&mut poll, (SIGNALS, &mut signals), options.server, options.connections())?;
    info!(
        "{} connections to {} open in {:.1} ms",
        opened.len(),
        bracketed(options.server),
        begun.elapsed().as_secs_f64() * 1e3
    );

    let mut load = Load::new(options, Wakeups { poll, signals, alarm, stops: 0 }, opened);
    load.send(options.duration)?;
    load.drain(options.drain)?;
    Ok(load.into_report())
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sending,
    Idle,
    SlowReader,
}

/// The two parts of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Send,
    Drain,
}

/// What can wake the loop.
struct Wakeups {
    poll: Poll,
    signals: Signals,
    alarm: Alarm,
    /// How many signals have asked the load to stop.
    stops: u32,
}

struct Load {
    wakeups: Wakeups,
    events: Events,
    phase: Phase,
    pace: Pace,
    agenda: Agenda,
    /// The connections by index, in the order of [`Kind`]. Those that were lost are `None`.
    endpoints: Vec<Option<Endpoint>>,
    sending: usize,
    idle: usize,
    /// The connections that have more to do, although no event will say so.
    ready: VecDeque<usize>,
    /// How many connections still have something due. Only the second part counts them.
    unsettled: usize,
    buffer: Box<[u8]>,
    tally: Tally,
}

/// What outlives a connection.
struct Tally {
    round_trips_ns: Histogram<u64>,
    /// When the first part of the load ended. What the second part writes, it writes all at once, so that the messages
    /// wait for each other: their round trips would say nothing about the server.
    sending_ended: Option<Instant>,
    discontinuities: u64,
    /// The messages of the connections that were lost.
    sent_on_lost: u64,
    answered_on_lost: u64,
    lost_by_kind: [usize; 3],
    duration: Duration,
    answered_within_duration: u64,
}

impl Load {
    fn new(options: &Options, wakeups: Wakeups, opened: Vec<Opened>) -> Self {
        let kind_of = |index| match index {
            index if index < options.sending => Kind::Sending,
            index if index < options.sending + options.idle => Kind::Idle,
            _ => Kind::SlowReader,
        };
        let endpoint = |(index, opened)| Some(Endpoint::new(opened, kind_of(index)));
        let round_trip_ns_max = Duration::from_secs(3600).as_nanos() as u64;
        Self {
            wakeups,
            events: Events::with_capacity(EVENTS_PER_TURN),
            phase: Phase::Send,
            pace: options.pace,
            agenda: Agenda::default(),
            endpoints: opened.into_iter().enumerate().map(endpoint).collect(),
            sending: options.sending,
            idle: options.idle,
            ready: VecDeque::new(),
            unsettled: 0,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            tally: Tally {
                round_trips_ns: Histogram::new_with_bounds(1, round_trip_ns_max, 3).expect("the bounds are constant"),
                sending_ended: None,
                discontinuities: 0,
                sent_on_lost: 0,
                answered_on_lost: 0,
                lost_by_kind: [0; 3],
                duration: Duration::ZERO,
                answered_within_duration: 0,
            },
        }
    }

    /// The first part: sends until the time is over, a signal arrives, or no connection is left.
    fn send(&mut self, duration: Option<Duration>) -> io::Result<()> {
        let start = Instant::now();
        let end = duration.and_then(|duration| start.checked_add(duration));
        self.agenda = self.agenda_from(start);
        self.make_all_ready();

        let mut now = start;
        while end.is_none_or(|end| now < end) && self.wakeups.stops == 0 && self.any_open() {
            self.turn(end)?;
            now = Instant::now();
        }

        self.tally.duration = now - start;
        self.tally.answered_within_duration = self.answered();
        if let Some(late) = self.agenda.sends.as_ref().and_then(Schedule::due).map(|due| now.duration_since(due))
            && late > LATE
        {
            warn!("the sending was {} ms late at the end: the rate was not reached", late.as_millis());
        }
        Ok(())
    }

    fn agenda_from(&self, start: Instant) -> Agenda {
        let mut agenda = Agenda::default();
        if let Pace::Clock { per_second, fragment } = self.pace
            && self.sending > 0
        {
            agenda.sends = Some(Schedule::new(start, self.sending, per_second));
            if fragment {
                // Half an interval: whenever the server is replaced, half of the connections have half sent a message.
                agenda.completions = Duration::try_from_secs_f64(0.5 / per_second)
                    .ok()
                    .and_then(|pause| start.checked_add(pause))
                    .map(|start| Schedule::new(start, self.sending, per_second));
            }
        }
        let slow_readers = self.endpoints.len() - self.sending - self.idle;
        if slow_readers > 0 {
            agenda.slow_reads = Some(Schedule::new(start, slow_readers, SLOW_READS_PER_SECOND));
        }
        agenda
    }

    /// The second part: waits up to `limit` for all that is due, or until a second signal.
    fn drain(&mut self, limit: Duration) -> io::Result<()> {
        self.phase = Phase::Drain;
        self.agenda = Agenda::default();
        let now = Instant::now();
        self.tally.sending_ended = Some(now);
        for endpoint in self.endpoints.iter_mut().flatten() {
            endpoint.connection.complete_message(now);
            if endpoint.kind == Kind::Idle {
                endpoint.connection.queue(1, now);
            }
        }
        self.make_all_ready();
        self.unsettled = self.endpoints.iter().flatten().count();
        if self.wakeups.stops > 0 {
            let due: u64 = self.endpoints.iter().flatten().map(|endpoint| endpoint.connection.due()).sum();
            info!("stopping: {due} answers are due, and there are up to {} s for them", limit.as_secs_f64());
        }

        let deadline = now.checked_add(limit);
        let stops_before = self.wakeups.stops.min(1);
        while self.unsettled > 0
            && self.wakeups.stops <= stops_before
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            self.turn(deadline)?;
        }
        self.say_what_is_missing();
        self.look_for_superfluous_answers();
        Ok(())
    }

    fn say_what_is_missing(&self) {
        if self.unsettled > 0 {
            warn!("answers are still due on {} connections", self.unsettled);
        }
        for endpoint in self.endpoints.iter().flatten().filter(|endpoint| !endpoint.settled) {
            debug!("{}: {}", bracketed(endpoint.local_address), endpoint.connection.outstanding());
        }
    }

    /// Reads once more on every connection: nothing may come after the last answer.
    fn look_for_superfluous_answers(&mut self) {
        for index in 0..self.endpoints.len() {
            self.advance(index, false);
        }
        for endpoint in self.endpoints.iter().flatten().filter(|endpoint| endpoint.connection.due() == 0) {
            let bytes = endpoint.connection.answer_begun_bytes();
            if bytes > 0 {
                warn!("{}: {bytes} bytes after the last answer", bracketed(endpoint.local_address));
                self.tally.discontinuities += 1;
            }
        }
    }

    fn into_report(self) -> Report {
        let [sending_lost, idle_lost, slow_readers_lost] = self.tally.lost_by_kind;
        let live = self.endpoints.iter().flatten();
        Report {
            sending: Count { opened: self.sending, lost: sending_lost },
            idle: Count { opened: self.idle, lost: idle_lost },
            slow_readers: Count { opened: self.endpoints.len() - self.sending - self.idle, lost: slow_readers_lost },
            sent: self.tally.sent_on_lost + live.map(|endpoint| endpoint.connection.sent()).sum::<u64>(),
            answered: self.answered(),
            discontinuities: self.tally.discontinuities,
            duration: self.tally.duration,
            answered_within_duration: self.tally.answered_within_duration,
            round_trips_ns: self.tally.round_trips_ns,
        }
    }

    fn answered(&self) -> u64 {
        let live = self.endpoints.iter().flatten();
        self.tally.answered_on_lost + live.map(|endpoint| endpoint.connection.answered()).sum::<u64>()
    }

    fn any_open(&self) -> bool {
        self.tally.lost_by_kind.iter().sum::<usize>() < self.endpoints.len()
    }

    /// Waits for the next thing to do, at most until `end`, and does it.
    fn turn(&mut self, end: Option<Instant>) -> io::Result<()> {
        self.wait(end)?;
        // The events leave the loop for as long as it works on them, because advancing borrows all of it.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                SIGNALS => self.wakeups.stops += self.wakeups.signals.read()?,
                ALARM => self.wakeups.alarm.note_gone_off(),
                Token(index) => self.advance(index, event.is_read_closed() || event.is_error()),
            }
        }
        self.events = events;

        for _ in 0..self.ready.len().min(TASKS_PER_TURN) {
            if let Some(index) = self.ready.pop_front() {
                if let Some(endpoint) = &mut self.endpoints[index] {
                    endpoint.ready = false;
                }
                self.advance(index, false);
            }
        }

        // What is due at the end itself is not part of the load.
        let now = end.map_or(Instant::now(), |end| Instant::now().min(end - Duration::from_nanos(1)));
        for _ in 0..TASKS_PER_TURN {
            match self.agenda.take(now) {
                Some(task) => self.perform(task),
                None => break,
            }
        }
        Ok(())
    }

    fn wait(&mut self, end: Option<Instant>) -> io::Result<()> {
        let due = [self.agenda.due(), end].into_iter().flatten().min();
        let now = Instant::now();
        let timeout = if !self.ready.is_empty() || due.is_some_and(|due| due <= now) {
            Some(Duration::ZERO)
        } else {
            self.wakeups.alarm.set(due, now)?;
            None
        };
        match self.wakeups.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn perform(&mut self, task: Task) {
        let slow_readers_from = self.sending + self.idle;
        let index = match task {
            Task::Send(index) | Task::Complete(index) => index,
            Task::SlowRead(index) => slow_readers_from + index,
        };
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        let connection = &mut endpoint.connection;
        // The instant is read here, for each message: a round trip begins when its message is written, not when that
        // was due. A late message is late in the schedule, and is not skipped, but its round trip is the server's.
        let result = match (task, self.pace) {
            (Task::SlowRead(_), _) => endpoint.read_slowly(&mut self.buffer, &mut self.tally),
            (Task::Complete(_), _) => {
                connection.complete_message(Instant::now());
                endpoint.flush()
            }
            (Task::Send(_), Pace::Clock { fragment: true, .. }) => {
                connection.begin_message();
                endpoint.flush()
            }
            (Task::Send(_), _) => {
                connection.queue(1, Instant::now());
                endpoint.flush()
            }
        };
        if let Err(error) = result {
            self.lose(index, &error);
        }
    }

    /// Lets a connection read and write as much as it can and may.
    ///
    /// `read_to_end` is set if the event says that the end of what can be read is near: it is learnt from a read.
    fn advance(&mut self, index: usize, read_to_end: bool) {
        // An event of this batch may be about a connection that was lost earlier in it.
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        let depth = match self.pace {
            Pace::Answers { depth } => depth,
            Pace::Clock { .. } => 0,
        };
        let result = match (self.phase, endpoint.kind) {
            (Phase::Send, Kind::SlowReader) => endpoint.flood(),
            (Phase::Send, Kind::Sending) => endpoint.exchange(depth, read_to_end, &mut self.buffer, &mut self.tally),
            _ => endpoint.exchange(0, read_to_end, &mut self.buffer, &mut self.tally),
        };
        match result {
            Ok(Progress::Blocked) => {}
            Ok(Progress::BudgetSpent) => {
                if !std::mem::replace(&mut endpoint.ready, true) {
                    self.ready.push_back(index);
                }
            }
            Err(error) => return self.lose(index, &error),
        }
        if self.phase == Phase::Drain && !endpoint.settled && endpoint.connection.is_settled() {
            endpoint.settled = true;
            self.unsettled -= 1;
        }
    }

    fn lose(&mut self, index: usize, error: &io::Error) {
        let Some(endpoint) = self.endpoints[index].take() else { return };
        let connection = &endpoint.connection;
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed by the server".to_owned(),
            _ => error.to_string(),
        };
        warn!("{}: connection lost, {}: {reason}", bracketed(endpoint.local_address), connection.outstanding());
        self.tally.sent_on_lost += connection.sent();
        self.tally.answered_on_lost += connection.answered();
        self.tally.lost_by_kind[endpoint.kind as usize] += 1;
        if self.phase == Phase::Drain && !endpoint.settled {
            self.unsettled -= 1;
        }
    }

    fn make_all_ready(&mut self) {
        self.ready = (0..self.endpoints.len()).collect();
        for endpoint in self.endpoints.iter_mut().flatten() {
            endpoint.ready = true;
        }
    }
}

/// Whether a connection needs another turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    /// An event will say when it can go on.
    Blocked,
    /// It could go on, and no event will say so.
    BudgetSpent,
}

/// One open connection: its socket, and what was said on it.
struct Endpoint {
    socket: TcpStream,
    local_address: SocketAddr,
    kind: Kind,
    connection: Connection,
    /// Whether it is on the ready list.
    ready: bool,
    /// Whether the second part of the load has found everything answered.
    settled: bool,
}

impl Endpoint {
    fn new(opened: Opened, kind: Kind) -> Self {
        debug!("{}: open, {kind:?}", bracketed(opened.local_address));
        Self {
            socket: opened.socket,
            local_address: opened.local_address,
            kind,
            // The round trips of a slow reader would measure the reader, and an idle connection has its only one in
            // the second part, where none are measured.
            connection: Connection::new(kind == Kind::Sending),
            ready: false,
            settled: false,
        }
    }

    /// Reads what there is, and sends until `depth` messages are in flight.
    fn exchange(
        &mut self,
        depth: u32,
        read_to_end: bool,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<Progress> {
        let progress = self.read(read_to_end, buffer, tally)?;
        let due = self.connection.due();
        if due < u64::from(depth) {
            self.connection.queue(depth - due as u32, Instant::now());
        }
        self.flush()?;
        Ok(progress)
    }

    /// Reads until there is no more, or the budget is spent.
    ///
    /// A read that does not fill the buffer has emptied the socket, and what arrives later is a new edge (`epoll(7)`):
    /// another read would find nothing. Only the end of the stream still has to be read, so that one is `read_to_end`.
    fn read(&mut self, read_to_end: bool, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Progress> {
        let mut budget_bytes = BYTES_PER_TURN;
        while budget_bytes > 0 {
            let Some(count) = self.read_once(buffer, tally)? else { return Ok(Progress::Blocked) };
            if count < buffer.len() && !read_to_end {
                return Ok(Progress::Blocked);
            }
            budget_bytes = budget_bytes.saturating_sub(count);
        }
        Ok(Progress::BudgetSpent)
    }

    /// Reads little, whether or not there is more.
    fn read_slowly(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        self.read_once(&mut buffer[..SLOW_READ_BYTES], tally).map(|_| ())
    }

    /// Reads once and verifies what came. `None` if nothing was there; the end of the stream is an error.
    fn read_once(&mut self, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Option<usize>> {
        let count = loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let now = Instant::now();
        let local_address = self.local_address;
        self.connection.receive(&buffer[..count], |answer| {
            if let Some(sent_at) = answer.sent_at
                && tally.sending_ended.is_none_or(|ended| sent_at < ended)
            {
                let round_trip_ns = now.duration_since(sent_at).as_nanos();
                tally.round_trips_ns.saturating_record(u64::try_from(round_trip_ns).unwrap_or(u64::MAX));
            }
            if answer.is_discontinuity() {
                tally.discontinuities += 1;
                warn!("{}: expected {}, received {}", bracketed(local_address), answer.expected, answer.received);
            }
        });
        Ok(Some(count))
    }

    /// Sends until the socket takes no more, or the budget is spent.
    fn flood(&mut self) -> io::Result<Progress> {
        for _ in 0..BYTES_PER_TURN / (FLOOD_MESSAGES as usize * MESSAGE_BYTES) {
            if self.connection.pending().is_empty() {
                self.connection.queue(FLOOD_MESSAGES, Instant::now());
            }
            self.flush()?;
            if !self.connection.pending().is_empty() {
                return Ok(Progress::Blocked);
            }
        }
        Ok(Progress::BudgetSpent)
    }

    /// Writes what is pending, as far as the socket takes it.
    fn flush(&mut self) -> io::Result<()> {
        while !self.connection.pending().is_empty() {
            match self.socket.write(self.connection.pending()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.connection.note_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// `[address]:port`, for both address families alike.
fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}
