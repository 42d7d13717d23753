//! The event loop: opens the connections, sends, reads, waits, and hands over the figures.
//!
//! One thread, one edge-triggered poll. Every connection is registered once, for reading and writing, and stays so:
//! the kernel reports that a socket may be written to only after it was full. Whatever happens to a connection ends in
//! [`Load::advance`], which reads what there is, sends what its kind sends, and notes whether the connection needs
//! another turn that no event will announce.
//!
//! A load has two parts (`course`). In the first the clock or the answers make connections send; in the second nothing new is
//! sent, except one message on each connection that was idle, and what is still due is waited for. Where TLS is spoken there
//! is a third one: each side says that nothing more will come.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::{Events, Interest, Token};

use crate::address::{Ends, bracketed};
use crate::connect::{self, Opened};
use crate::demand::{Demand, Kind, Pace};
use crate::endpoint::{Endpoint, Progress, Stage};
use crate::report::Report;
use crate::schedule::{Agenda, Schedule, Task};
use crate::stream::Stream;
use crate::tally::Tally;
use crate::timeline::Timeline;
use crate::tls::Tls;
use crate::wakeups::Wakeups;

/// Room for the events of one poll: enough to share its cost, and few enough that the answers which arrive meanwhile
/// are not measured late.
const EVENTS_PER_TURN: usize = 256;

/// How many connections are advanced, and how many tasks done, between two polls. It bounds how long answers lie in
/// the kernel, and count as on the way, because the client has something else to do.
const TASKS_PER_TURN: usize = 32;

/// How much is read at once: more than one segment on the loopback interface.
const READ_BYTES: usize = 128 * 1024;

/// How long a passing connection stays.
pub(crate) const STAY: Duration = Duration::from_secs(1);

/// Before one in so many messages keys are changed, where they are to be.
const MESSAGES_PER_KEY_CHANGE: u32 = 16;

/// A schedule that is later than this at the end was more than this machine or the server can do.
const LATE: Duration = Duration::from_millis(100);

/// The parts of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Send,
    Drain,
    Close,
}

/// All connections, and what they are to do.
pub(crate) struct Load {
    wakeups: Wakeups,
    events: Events,
    phase: Phase,
    /// Where connections are opened once the load has begun, in turns.
    servers: Vec<SocketAddr>,
    /// What is spoken with them, if that is not plain.
    tls: Option<Tls>,
    demand: Demand,
    agenda: Agenda,
    /// What is due at this instant or later is not done any more.
    end: Option<Instant>,
    /// The connections by index: those that last in the order of
    /// [`Demand::lasting`], then the passing ones, in any order. Those
    /// that were lost or have gone are `None`.
    endpoints: Vec<Option<Endpoint>>,
    /// Where the next passing connections may go.
    vacant: Vec<usize>,
    /// The passing connections that have not been asked to leave, in the order in which they came.
    passing: VecDeque<(usize, SocketAddr)>,
    /// The connections that have more to do, although no event will say so.
    ready: VecDeque<usize>,
    /// How many connections are waited for. The first part waits for none.
    unsettled: usize,
    buffer: Box<[u8]>,
    tally: Tally,
    /// How many lines may still be logged about lost connections.
    lines_about_losses: usize,
    /// While a server is killed: the connections that have ended, until somebody knows whether they may have.
    ended: Option<Vec<Ended>>,
}

/// A connection that has ended.
struct Ended {
    index: usize,
    endpoint: Endpoint,
    error: io::Error,
}

impl Load {
    /// The connections that were opened, in the order of [`Demand::lasting`].
    pub(crate) fn new(
        wakeups: Wakeups,
        server: SocketAddr,
        tls: Option<Tls>,
        demand: Demand,
        opened: Vec<Opened>,
    ) -> Self {
        let mut endpoints = Vec::with_capacity(opened.len());
        let mut tally = Tally::new(&demand);
        opened.iter().filter_map(|opened| opened.stream.agreed()).for_each(|agreed| tally.note_handshake(agreed));
        let mut opened = opened.into_iter();
        for (kind, number) in demand.lasting() {
            endpoints.extend(opened.by_ref().take(number).map(|opened| Some(Endpoint::new(opened, kind))));
        }
        Self {
            wakeups,
            events: Events::with_capacity(EVENTS_PER_TURN),
            phase: Phase::Send,
            servers: vec![server],
            tls,
            demand,
            agenda: Agenda::default(),
            end: None,
            endpoints,
            vacant: Vec::new(),
            passing: VecDeque::new(),
            ready: VecDeque::new(),
            unsettled: 0,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            tally,
            lines_about_losses: usize::MAX,
            ended: None,
        }
    }

    /// Records round trips in the order of time, too.
    pub(crate) fn set_timeline(&mut self, timeline: Timeline) {
        self.tally.timeline = Some(timeline);
    }

    pub(crate) fn timeline(&mut self) -> Option<&mut Timeline> {
        self.tally.timeline.as_mut()
    }

    pub(crate) fn take_timeline(&mut self) -> Option<Timeline> {
        self.tally.timeline.take()
    }

    /// Logs no more than so many lost connections: a server that dies loses them all.
    pub(crate) fn limit_lines_about_losses(&mut self, lines: usize) {
        self.lines_about_losses = lines;
    }

    /// How many signals have asked to stop.
    pub(crate) fn stops(&self) -> u32 {
        self.wakeups.stops
    }

    /// How many connections are open now.
    pub(crate) fn open_connections(&self) -> usize {
        let ended = self.ended.as_ref().map_or(0, Vec::len);
        self.endpoints.len() - self.vacant.len() - self.tally.lost_of_lasting() - ended
    }

    /// From now on connections are opened to these servers.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn set_servers(&mut self, servers: Vec<SocketAddr>) {
        assert!(!servers.is_empty(), "somebody listens");
        self.servers = servers;
    }

    /// The connections that last and are open.
    pub(crate) fn lasting(&self) -> Vec<Ends> {
        let lasting = &self.endpoints[..self.demand.connections()];
        lasting.iter().flatten().map(Endpoint::ends).collect()
    }

    /// A server is about to be killed: whether a connection that ends from now on is lost, [`Load::judge_ended`] is told.
    pub(crate) fn expect_ends(&mut self) {
        self.ended.get_or_insert_default();
    }

    /// Who may have ended with a server that was killed has, and whoever else has ended is lost. In the place of the
    /// former there are new connections, which are returned.
    pub(crate) fn judge_ended(&mut self, excused: &HashSet<Ends>) -> Vec<Ends> {
        let mut vacated = Vec::new();
        for Ended { index, endpoint, error } in self.ended.take().unwrap_or_default() {
            let is_excused = excused.contains(&endpoint.ends());
            self.endpoints[index] = Some(endpoint);
            if !is_excused {
                self.lose(index, &error);
            }
        }
        // Of some the client does not know yet: there is something to read before the end.
        for index in 0..self.demand.connections() {
            if let Some(endpoint) = self.endpoints[index].take_if(|endpoint| excused.contains(&endpoint.ends())) {
                self.tally.note_nonces(endpoint.stream.nonces());
                self.tally.note_gone_with_server(&endpoint.connection);
                vacated.push(index);
            }
        }
        vacated.into_iter().filter_map(|index| self.reopen(index)).collect()
    }

    /// How many connections have ended since [`Load::expect_ends`].
    pub(crate) fn ended(&self) -> usize {
        self.ended.as_ref().map_or(0, Vec::len)
    }

    /// All that have ended since [`Load::expect_ends`] might. What had come before their end is checked, and in their place there are
    /// new connections. Returns of what kind those were.
    pub(crate) fn excuse_ended(&mut self) -> Vec<Kind> {
        let mut excused = Vec::new();
        let mut vacated = Vec::new();
        for Ended { index, mut endpoint, .. } in self.ended.take().unwrap_or_default() {
            excused.push(endpoint.kind);
            endpoint.read_out(&mut self.buffer, &mut self.tally);
            self.tally.note_nonces(endpoint.stream.nonces());
            self.tally.note_gone_with_server(&endpoint.connection);
            vacated.push(index);
        }
        for index in vacated {
            // One that cannot be is lost, and is said to be.
            self.reopen(index);
        }
        excused
    }

    /// Whether any of the connections that last is being opened.
    pub(crate) fn is_connecting(&self) -> bool {
        let lasting = &self.endpoints[..self.demand.connections()];
        lasting.iter().flatten().any(|endpoint| endpoint.stage == Stage::Connecting)
    }

    /// Opens a connection again that has ended with its server.
    fn reopen(&mut self, index: usize) -> Option<Ends> {
        let server = self.servers[index % self.servers.len()];
        let begun = self.begin(index, server, connect::source_address(server, index), false);
        match begun {
            Ok(opened) => {
                let endpoint = Endpoint::new(opened, self.demand.kind_of(index));
                let ends = endpoint.ends();
                self.endpoints[index] = Some(Endpoint { stage: Stage::Connecting, ..endpoint });
                Some(ends)
            }
            Err(error) => {
                self.tally.note_lost(self.demand.kind_of(index));
                warn!("a connection cannot be opened again: {error}");
                None
            }
        }
    }

    /// Begins to open a connection that is to have this index. It may resume an earlier one's handshake.
    fn begin(&self, index: usize, server: SocketAddr, source: Option<IpAddr>, resumes: bool) -> io::Result<Opened> {
        let mut socket = connect::begin(server, source)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.wakeups.poll.registry().register(&mut socket, Token(index), interest)?;
        let connection = self.tls.as_ref().map(|tls| tls.connect(index, resumes)).transpose()?;
        Ok(Opened { server, local_address: socket.local_addr()?, stream: Stream::new(socket, connection) })
    }

    /// Begins the first part.
    pub(crate) fn begin_sending(&mut self, start: Instant) {
        self.agenda = Agenda::new(&self.demand, start, STAY);
        self.make_all_ready();
    }

    /// Nothing is done any more that is due at this instant or later.
    pub(crate) fn end_at(&mut self, end: Option<Instant>) {
        self.end = end;
    }

    /// Ends the first part, which began at `start`.
    pub(crate) fn end_sending(&mut self, start: Instant) {
        let now = Instant::now();
        self.tally.note_duration(now - start, self.answered());
        if let Some(late) = self.agenda.sends.as_ref().and_then(Schedule::due).map(|due| now.duration_since(due))
            && late > LATE
        {
            warn!("the sending was {} ms late at the end: the rate was not reached", late.as_millis());
        }
    }

    /// Begins the second part, and returns when it ends at the latest: `None` is beyond the clock.
    pub(crate) fn begin_draining(&mut self, limit: Duration) -> Option<Instant> {
        self.phase = Phase::Drain;
        self.agenda = Agenda::default();
        self.end = None;
        let now = Instant::now();
        self.tally.end_measuring(now);
        for endpoint in self.endpoints.iter_mut().flatten() {
            endpoint.complete_message(now);
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
        now.checked_add(limit)
    }

    /// Whether something is due, and there is time for it.
    pub(crate) fn is_waiting(&self, deadline: Option<Instant>) -> bool {
        self.unsettled > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Ends the second part.
    pub(crate) fn end_draining(&mut self) {
        self.say_what_is_missing();
        self.look_for_superfluous_answers();
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
                self.tally.note_discontinuity();
            }
        }
    }

    /// Begins the third part, and returns when it ends at the latest. Who speaks no TLS is not waited for: the kernel says
    /// that nothing more will come.
    pub(crate) fn begin_closing(&mut self, limit: Duration) -> Option<Instant> {
        self.phase = Phase::Close;
        self.unsettled = 0;
        for index in 0..self.endpoints.len() {
            let Some(endpoint) = self.endpoints[index].as_mut().filter(|endpoint| endpoint.stream.is_secured()) else {
                continue;
            };
            endpoint.settled = false;
            self.unsettled += 1;
            if let Err(error) = endpoint.close() {
                self.end(index, error);
            }
        }
        Instant::now().checked_add(limit)
    }

    /// Ends the third part.
    pub(crate) fn end_closing(&mut self) {
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].as_ref().is_some_and(|endpoint| endpoint.stream.is_secured()) {
                self.lose(
                    index,
                    &io::Error::other("it is told that nothing more will come, and does not say the same"),
                );
            }
        }
    }

    /// Closes all connections. What is left are the figures, and what can still wake the loop.
    pub(crate) fn into_report_and_wakeups(mut self) -> (Report, Wakeups) {
        (0..self.endpoints.len()).for_each(|index| self.part_with(index));
        (self.tally.into_report(), self.wakeups)
    }

    /// How many answers have come on the connections that are live.
    fn answered(&self) -> u64 {
        self.endpoints.iter().flatten().map(|endpoint| endpoint.connection.answered()).sum()
    }

    /// Whether any of the connections is left that last.
    pub(crate) fn any_open(&self) -> bool {
        self.tally.lost_of_lasting() < self.demand.connections()
    }

    /// Waits for the next thing to do, at most until `wake_by`, and does it. What woke the loop and is not known here
    /// goes to `other`.
    pub(crate) fn turn(&mut self, wake_by: Option<Instant>, other: &mut dyn FnMut(Token)) -> io::Result<()> {
        let due = if self.ready.is_empty() {
            [self.agenda.due(), wake_by].into_iter().flatten().min()
        } else {
            Some(Instant::now())
        };
        self.wakeups.wait(&mut self.events, due)?;
        // The events leave the loop for as long as it works on them, because advancing borrows all of it.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                Token(index) if index < self.endpoints.len() => {
                    self.advance(index, event.is_read_closed() || event.is_error());
                }
                token if self.wakeups.take(token)? => {}
                token => other(token),
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
        let now = self.end.map_or(Instant::now(), |end| Instant::now().min(end - Duration::from_nanos(1)));
        for _ in 0..TASKS_PER_TURN {
            match self.agenda.take(now) {
                Some(task) => self.perform(task),
                None => break,
            }
        }
        Ok(())
    }

    fn perform(&mut self, task: Task) {
        let Demand { sending, fragmenting, idle, .. } = self.demand;
        let index = match task {
            Task::Send(member) => member,
            Task::Begin(member) | Task::Complete(member) => sending + member,
            Task::SlowRead(member) => sending + fragmenting + idle + member,
            Task::Come(_) => return self.receive_passing(),
            Task::Go(_) => return self.dismiss_passing(),
        };
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        if endpoint.stage == Stage::Connecting {
            return;
        }
        if matches!(task, Task::Send(_) | Task::Begin(_))
            && self.tls.as_ref().is_some_and(Tls::changes_keys)
            && fastrand::u32(..MESSAGES_PER_KEY_CHANGE) == 0
            && endpoint.stream.change_keys()
        {
            self.tally.note_keys_changed();
        }
        // The instant is read here, for each message: a round trip begins when its message is written, not when that
        // was due. A late message is late in the schedule, and is not skipped, but its round trip is the server's.
        let result = match task {
            Task::SlowRead(_) => endpoint.read_slowly(&mut self.buffer, &mut self.tally),
            Task::Complete(_) => {
                endpoint.complete_message(Instant::now());
                endpoint.flush()
            }
            Task::Begin(_) => endpoint.begin_message(),
            _ => {
                endpoint.connection.queue(1, Instant::now());
                endpoint.flush()
            }
        };
        if let Err(error) = result {
            self.end(index, error);
        }
    }

    /// Begins to open a passing connection. It sends a message when it is open, and another one when it goes.
    fn receive_passing(&mut self) {
        let number = self.tally.note_begun(Kind::Passing);
        let server = self.servers[number % self.servers.len()];
        let index = self.vacant.pop().unwrap_or(self.endpoints.len());
        let begun = self.begin(index, server, connect::passing_source_address(server, number as u64), true);
        let endpoint = match begun {
            Ok(opened) => {
                self.passing.push_back((index, opened.local_address));
                Some(Endpoint { stage: Stage::Connecting, ..Endpoint::new(opened, Kind::Passing) })
            }
            Err(error) => {
                self.tally.note_lost(Kind::Passing);
                warn!("a passing connection cannot be opened: {error}");
                self.vacant.push(index);
                None
            }
        };
        if index == self.endpoints.len() {
            self.endpoints.push(endpoint);
        } else {
            self.endpoints[index] = endpoint;
        }
    }

    /// Lets the passing connection that came first say a last word, and go when that is answered.
    fn dismiss_passing(&mut self) {
        let Some((index, local_address)) = self.passing.pop_front() else { return };
        // Where it was may be another by now.
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        if endpoint.kind == Kind::Passing && endpoint.local_address == local_address {
            if endpoint.stage == Stage::Open {
                endpoint.connection.queue(1, Instant::now());
                endpoint.stage = Stage::Leaving;
                self.advance(index, false);
            } else {
                // A second chance: a connect that found the backlog full is tried again after a second.
                self.passing.push_back((index, local_address));
            }
        }
    }

    /// Lets a connection read and write as much as it can and may.
    ///
    /// `read_to_end` is set if the event says that the end of what can be read is near: it is learnt from a read.
    fn advance(&mut self, index: usize, read_to_end: bool) {
        // An event of this batch may be about a connection that was lost earlier in it.
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        if endpoint.stage == Stage::Connecting {
            match endpoint.go_on_opening() {
                Ok(false) => return,
                Ok(true) => endpoint.stream.agreed().into_iter().for_each(|agreed| self.tally.note_handshake(agreed)),
                Err(error) => return self.end(index, error),
            }
        }
        let depth = match (endpoint.kind, self.demand.pace) {
            (Kind::Sending, Pace::Answers { depth }) if self.phase == Phase::Send => depth,
            _ => 0,
        };
        let result = match (self.phase, endpoint.kind) {
            (Phase::Send, Kind::SlowReader) => endpoint.flood(),
            _ => endpoint.exchange(depth, read_to_end, &mut self.buffer, &mut self.tally),
        };
        match result {
            Ok(Progress::Blocked) => {}
            Ok(Progress::BudgetSpent) => {
                if !std::mem::replace(&mut endpoint.ready, true) {
                    self.ready.push_back(index);
                }
            }
            Err(error) => return self.end(index, error),
        }
        if endpoint.connection.is_settled() {
            if endpoint.stage == Stage::Leaving && self.phase == Phase::Send {
                self.dismiss(index);
            } else if self.phase == Phase::Drain {
                self.wait_no_more_for(index);
            }
        }
    }

    /// Closes a connection that is through with everything, or tells the server where that is to say the same.
    fn dismiss(&mut self, index: usize) {
        let Some(endpoint) = &mut self.endpoints[index] else { return };
        if !endpoint.stream.is_secured() {
            return self.part_with(index);
        }
        if let Err(error) = endpoint.close() {
            self.end(index, error);
        }
    }

    /// A connection has ended, and should not have, unless it was to or its server was killed.
    fn end(&mut self, index: usize, error: io::Error) {
        let is_closing = self.endpoints[index].as_ref().is_some_and(|endpoint| endpoint.stage == Stage::Closing);
        if is_closing && error.kind() == io::ErrorKind::UnexpectedEof {
            self.tally.note_closed();
            self.wait_no_more_for(index);
            return self.part_with(index);
        }
        match &mut self.ended {
            Some(ended) => ended.extend(self.endpoints[index].take().map(|endpoint| Ended { index, endpoint, error })),
            None => self.lose(index, &error),
        }
    }

    fn lose(&mut self, index: usize, error: &io::Error) {
        let Some(endpoint) = &self.endpoints[index] else { return };
        let connection = &endpoint.connection;
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed by the server".to_owned(),
            _ => error.to_string(),
        };
        if self.lines_about_losses > 0 {
            self.lines_about_losses -= 1;
            warn!("{}: connection lost, {}: {reason}", bracketed(endpoint.local_address), connection.outstanding());
            if self.lines_about_losses == 0 {
                warn!("whatever connections are lost from here on are only counted");
            }
        }
        self.tally.note_lost(endpoint.kind);
        self.wait_no_more_for(index);
        self.part_with(index);
    }

    fn wait_no_more_for(&mut self, index: usize) {
        let endpoint = self.endpoints[index].as_mut().filter(|_| self.phase != Phase::Send);
        if endpoint.is_some_and(|endpoint| !std::mem::replace(&mut endpoint.settled, true)) {
            self.unsettled -= 1;
        }
    }

    /// Closes a connection, and keeps its figures.
    fn part_with(&mut self, index: usize) {
        let Some(endpoint) = self.endpoints[index].take() else { return };
        self.tally.note_nonces(endpoint.stream.nonces());
        self.tally.note_gone(&endpoint.connection);
        if endpoint.kind == Kind::Passing {
            self.vacant.push(index);
        }
    }

    fn make_all_ready(&mut self) {
        self.ready = (0..self.endpoints.len()).collect();
        for endpoint in self.endpoints.iter_mut().flatten() {
            endpoint.ready = true;
        }
    }
}
