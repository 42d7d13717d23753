//! The loop: one thread, one poll, edge-triggered.
//!
//! It says whose turn it is, keeps time, and knows what comes to an end: a takeover, a stop. Peers are the lanes', what
//! else wakes it are its [`Sources`]. It knows the takeover as two things: a [`Greeting`], and a [`Departure`] that gets a
//! turn between two polls and in the end says to freeze.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use log::{LevelFilter, debug, info, warn};
use mio::event::Event;
use mio::{Events, Poll};
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::{Refuse, printable};
use reactord_process::open_files;
use reactord_process::path::TakeoverListener;

use crate::annals::Annals;
use crate::build_id::BUILD;
use crate::clock::monotonic_ns;
use crate::config::{Config, Outcome};
use crate::lane::{AnyLane, Wake};
use crate::lanes::Lanes;
use crate::limited::{Kind, Limited};
use crate::listing::Listings;
use crate::milestone::{Listening, Milestone, Observer, Ready};
use crate::moving::{Giver, Lent, Taker};
use crate::sources::{
    Asked, Asks, Callers, Came, Greeting, Listener, Name, Request, Source, Sources, StopSignals, Tokens,
};
use crate::status::{Status, name_of};
use crate::table::PeerHandle;
use crate::takeover::arrival::Arrival;
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, PredecessorStep, SuccessorStep};
use crate::takeover::memory;
use crate::takeover::predecessor::{Estate, Refusal, greet};
use crate::takeover::summary::Summary;
use crate::takeover::wire::{self, Answer, Ask, Checked, Frame, Hello, LogSet, Process, SetLog, Welcome};
use crate::upgrade::asking::TIMEOUT;
use crate::upgrade::{Asker, Failed, Upgrade};
use crate::worker::Wish;

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 1024;

/// The same when a predecessor is about to freeze: whoever has an event is pending then.
const EVENTS_NEAR_FREEZE: usize = 64;

/// How long a server that is to stop goes on, for a successor that is on its way: whoever replaces a server by starting
/// one and stopping the other does both at about the same time.
const LAST_CALL: Duration = Duration::from_millis(100);

/// A predecessor waits a little, then closes so many peers, about 100 us of work, and rests, so often that it does not
/// take long for all that.
const DISBAND_DELAY: Duration = Duration::from_millis(50);
const DISBAND_CHUNK: usize = 64;
const DISBAND_REST: Duration = Duration::from_micros(100);
const DISBAND_RESTS_MAX: usize = 1000;

/// No upgrade takes longer, whoever asks for one.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A stop that a signal has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Everybody is served as before, in case somebody takes over: until then if nobody does, and as long as it may take
    /// if somebody does.
    LastCall { until: Instant, taken_over_by: Instant, drained_by: Instant },
    /// Nobody is let in and nobody is listened to; what is pending is written, at the latest until then.
    Draining { by: Instant },
}

/// The loop, with everything that it serves.
pub(crate) struct Reactor<L> {
    poll: Poll,
    lanes: L,
    sources: Sources,
    departure: Option<Departure>,
    /// The successor that this server has started itself.
    upgrade: Option<Box<Upgrade>>,
    /// Who wants to take over, and has to wait until it is known whose the peers are that are being given away.
    postponed: Option<Greeting>,
    giver: Giver,
    taker: Taker,
    listings: Listings,
    stop: Option<Stop>,
    /// When it is said next that the loop turns.
    beats_at: Option<Instant>,
    config: Config,
    annals: Annals,
    /// How many peers there may be.
    peers_max: usize,
    now: Instant,
    /// How many lines callers may cause.
    limited: Limited,
}

impl<L: Lanes> Reactor<L> {
    /// A loop that serves the peers of `lanes`, whom `poll` wakes, and listens to `sources`.
    pub(crate) fn new(poll: Poll, lanes: L, sources: Sources, config: &Config, peers_max: usize) -> Self {
        let config = config.clone();
        let now = Instant::now();
        Self {
            giver: Giver::new(),
            listings: Listings::new(),
            taker: Taker::new(config.wait_path.as_deref(), peers_max, now),
            postponed: None,
            poll,
            lanes,
            sources,
            departure: None,
            upgrade: None,
            stop: None,
            beats_at: config.heartbeat.map(|every| now + every),
            config,
            annals: Annals::open(),
            peers_max,
            now,
            limited: Limited::default(),
        }
    }

    /// What it serves, for whoever drives it by hand.
    pub(crate) fn lanes(&self) -> &L {
        &self.lanes
    }

    pub(crate) fn lanes_mut(&mut self) -> &mut L {
        &mut self.lanes
    }

    /// One turn, for whoever drives it by hand: looks at what has come by now, and does what is to be done at `now`.
    ///
    /// # Errors
    /// If `epoll_wait` fails.
    pub(crate) fn look(&mut self, events: &mut Events, now: Instant) -> io::Result<()> {
        self.poll(events, Some(Duration::ZERO))?;
        self.turn_at(now, events);
        Ok(())
    }

    /// From now on somebody is told how its life goes.
    pub(crate) fn observed_by(mut self, observer: Observer) -> Self {
        self.annals.observed_by(observer);
        self
    }

    /// Serves, until it is stopped or a successor has taken over.
    ///
    /// # Errors
    /// If `epoll_wait` fails.
    pub(crate) fn run(mut self, arrival: Option<Arrival>) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut few_events = Events::with_capacity(EVENTS_NEAR_FREEZE);
        match arrival {
            Some(arrival) => self.arrive(arrival, &mut events)?,
            None => {
                self.announce();
                let now = Instant::now();
                self.begin(now);
                self.turn_at(now, &events);
            }
        }
        loop {
            if self.stopped() {
                // To close them would not be enough while a successor that was given up holds duplicates.
                self.lanes.all().for_each(|lane| lane.table().hang_up());
                return Ok(Outcome::Stopped);
            }
            if self.finished() {
                self.leave_takeover_path();
                return Ok(Outcome::Stopped);
            }
            if let Some(pid) = self.hand_over() {
                if let Some(callers) = &mut self.sources.callers {
                    callers.refuse(&Refusal::Busy { pid });
                }
                self.sources.entrance.leave();
                self.disband();
                return Ok(Outcome::HandedOver { pid });
            }
            let timeout = self.timeout();
            let nears_freeze = self.departure.as_ref().is_some_and(|departure| departure.nears_the_freeze(self.now));
            let events = if nears_freeze { &mut few_events } else { &mut events };
            self.poll(events, timeout)?;
            self.turn(events);
        }
    }

    /// The first turn after the commit point. What it took is told and logged when all who waited have been served.
    fn arrive(&mut self, mut arrival: Arrival, events: &mut Events) -> io::Result<()> {
        fault::here(SuccessorStep::Poll);
        self.poll(events, Some(Duration::ZERO))?;
        let polled_at_ns = monotonic_ns();
        arrival.polled();
        arrival.account().into_iter().for_each(|account| self.annals.inherit(account, &mut self.lanes));
        let now = Instant::now();
        self.begin(now);
        self.turn_at(now, events);
        self.announce();
        let summary = arrival.serving(polled_at_ns, self.takeover_listener());
        self.annals.tell(Milestone::TakenOver((&summary).into()));
        fault::here(SuccessorStep::Served);
        Ok(())
    }

    /// The services are told that they are served from now on, before anything else.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.lanes.begin_turn(now);
        self.lanes.each(|lane| lane.begin());
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            // No events, then: mio has cleared them.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn turn(&mut self, events: &Events) {
        self.turn_at(Instant::now(), events);
    }

    /// A turn at an instant that is not before that of the last one.
    fn turn_at(&mut self, now: Instant, events: &Events) {
        self.begin_turn(now);
        for event in events {
            self.dispatch(event);
        }
        self.finish_turn();
    }

    fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.lanes.begin_turn(now);
        self.sources.entrance.begin_turn();
    }

    fn dispatch(&mut self, event: &Event) {
        if let Some(handle) = PeerHandle::from_token(event.token()) {
            let read_closed = event.is_read_closed() || event.is_error() || event.is_priority();
            let readable = event.is_readable() || read_closed;
            return self.lanes.serve(handle, Wake::Event { readable, read_closed });
        }
        match (Tokens::find(event.token()), &mut self.departure) {
            (Some((Name::Departure, key)), Some(departure)) => departure.hear(key, event),
            (Some((Name::Giver, key)), _) => self.giver.hear(key, event),
            (Some((Name::Taker, key)), _) => self.taker.hear(key, event),
            (Some((Name::Listings, key)), _) => self.listings.hear(key, event),
            (Some((name, key)), _) => {
                if let Some(source) = self.sources.find(name) {
                    source.hear(key, event);
                }
            }
            (None, _) => {}
        }
    }

    /// Does what sources have brought, and what no event will ask for.
    fn finish_turn(&mut self) {
        self.accept();
        while let Some(request) = self.next_request() {
            self.answer(request);
        }
        if !self.giver.is_frozen()
            && let Some(greeting) = self.postponed.take()
        {
            self.begin_departure(greeting);
        }
        while let Some(signal) = self.sources.signals.as_mut().and_then(StopSignals::tend) {
            self.stop(&signal);
        }
        if self.sources.signals.as_mut().is_some_and(StopSignals::has_hung_up) {
            self.upgrade_at_hangup();
        }
        if self.upgrade.is_some() {
            self.tend_upgrade();
        }
        self.do_as_asked();
        self.tend_stop();
        self.do_as_wished();
        if !self.taker.is_idle() {
            self.take();
        }
        self.lanes.finish_turn();
        if !self.giver.is_idle() {
            self.give();
        }
        if !self.listings.is_idle() {
            self.listings.tend(&self.lanes, self.poll.registry(), self.now);
        }
        let Self { lanes, sources, limited, now, .. } = self;
        lanes.released(|id| sources.entrance.released(id));
        limited.left_out(*now).for_each(|left_out| warn!("{left_out}"));
        lanes.each(|lane| lane.limited_mut().left_out(*now).for_each(|left_out| warn!("{left_out}")));
        if self.beats_at.is_some_and(|at| self.now >= at) {
            self.beat();
        }
    }

    /// Says that the loop turns.
    #[cold]
    fn beat(&mut self) {
        let status = self.status();
        self.annals.tell(Milestone::Heartbeat(&status));
        self.beats_at = self.config.heartbeat.map(|every| self.now + every);
    }

    /// How long the next poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        let departure = self.departure.as_ref().and_then(|departure| departure.due(self.now));
        let stop = self.stop.map(|stop| match stop {
            Stop::LastCall { until, .. } if !self.is_called() => until,
            Stop::LastCall { taken_over_by, .. } => taken_over_by,
            Stop::Draining { by } => by,
        });
        let postponed = self.postponed.as_ref().filter(|_| !self.giver.is_frozen()).map(|_| self.now);
        let moves = self.moves_due().into_iter().chain(postponed).chain(self.listings.due(self.now)).min();
        let upgrade = self.upgrade.as_ref().map(|upgrade| upgrade.due());
        let due = [
            self.lanes.due_at(),
            self.sources.due(self.now),
            departure,
            upgrade,
            moves,
            stop,
            self.limited.due(),
            self.beats_at,
        ];
        let due = due.into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    // ── Coming ─────────────────────────────────────────────────────────────────────────────────────────────────────

    fn announce(&mut self) {
        self.sources.entrance.announce();
        if let Some(listener) = self.takeover_listener() {
            info!("Starting Takeover channel on [{}] domain socket", listener.path().display());
        }
        let listening = |listener: &Listener| Listening { name: listener.name().to_owned(), at: listener.at() };
        let listeners = self.sources.entrance.listeners().map(listening).collect();
        let generation = self.annals.generation();
        self.annals.tell(Milestone::Ready(&Ready { pid: std::process::id(), generation, listeners }));
    }

    fn takeover_listener(&self) -> Option<&TakeoverListener> {
        self.sources.callers.as_ref().map(Callers::listener)
    }

    fn accept(&mut self) {
        let Self { lanes, sources, peers_max, now, .. } = self;
        while let Some(Came { socket, address, lane, how }) = sources.entrance.next(lanes.peers(), *peers_max, *now) {
            lanes.lane_mut(lane).open(socket, address, &how);
        }
    }

    // ── Requests on the takeover path ──────────────────────────────────────────────────────────────────────────────

    fn next_request(&mut self) -> Option<Request> {
        let Self { sources, poll, limited, now, .. } = self;
        sources.callers.as_mut()?.tend(poll.registry(), *now, limited)
    }

    fn answer(&mut self, request: Request) {
        let refusal = self.departure.as_ref().map(|departure| Refusal::Busy { pid: departure.pid() });
        match (request, refusal) {
            (Request::TakeOver(greeting), _) => self.take_leave(greeting),
            (Request::LookAfterPath, None) => self.look_after_takeover_path(),
            // The successor has been given the listener as it is, and will look after its path.
            (Request::LookAfterPath, Some(_)) => {}
            (Request::Status(channel), _) => channel.close_with(&Frame::Status(self.status()).encode()),
            (Request::Upgrade(channel, pid, request), _) => {
                self.begin_upgrade(Asker::Caller(Box::new(channel), pid), &request)
            }
            (Request::Check(channel, pid, hello), _) => self.check(channel, pid, hello),
            (Request::Peers(channel, pid), _) => {
                self.listings.begin(channel, pid, self.poll.registry(), self.now);
            }
            (Request::Ask(channel, ask), _) => channel.close_with(&self.ask_service(&ask).encode()),
            (Request::SetLog(channel, pid, SetLog { level }), _) => {
                channel.close_with(&self.set_log_level(pid, &level).encode());
            }
            (Request::Give(channel, ..) | Request::Move(channel, ..), Some(refusal)) => {
                channel.close_with(&refusal.frame());
            }
            (Request::Wait(channel, pid, hello), _) => {
                let (giver, _, mut with) = self.moves();
                giver.line_up(channel, pid, hello, &mut with);
            }
            (Request::Give(channel, pid, give), None) => {
                let (_, taker, mut with) = self.moves();
                taker.hear_giver(channel, pid, &give, &mut with);
            }
            (Request::Move(channel, pid, request), None) => {
                let (giver, _, mut with) = self.moves();
                giver.order(channel, pid, &request, &mut with);
            }
        }
    }

    /// What a service answers.
    fn ask_service(&mut self, Ask { service, question }: &Ask) -> Frame<'static> {
        let number = self.lanes.all().position(|lane| lane.name() == service);
        let answer = match number {
            Some(number) => self.lanes.lane_mut(number).asked(question),
            None => Err(format!("there is no service {} here", printable(service))),
        };
        answer.map_or_else(|reason| Frame::Refuse(Refuse { reason }), |answer| Frame::Answer(Answer { answer }))
    }

    /// How this server stands, with the figures that its services have of their own.
    fn status_with_figures(&self) -> Status {
        let mut figures = String::new();
        self.lanes.all().for_each(|lane| lane.figures(&mut figures));
        Status { figures, ..self.status() }
    }

    /// How this server stands.
    fn status(&self) -> Status {
        Status {
            peers_max: self.peers_max as u64,
            successor_pid: self.departure.as_ref().map(Departure::pid),
            is_stopping: self.stop.is_some(),
            ..self.annals.status(&self.lanes, self.sources.entrance.listeners())
        }
    }

    /// The directory of a worker's path is its supervisor's to make.
    fn look_after_takeover_path(&mut self) {
        let Self { sources: Sources { callers, entrance, .. }, poll, .. } = self;
        if let Some(callers) = callers {
            callers.look_after_path(poll.registry(), entrance.listeners().next().is_some());
        }
    }

    /// Has the program log another level, if it does. What it logs then is answered.
    fn set_log_level(&mut self, pid: u32, level: &str) -> Frame<'static> {
        let refused = |reason| Frame::Refuse(Refuse { reason });
        let Ok(wanted) = level.parse::<LevelFilter>() else {
            return refused(format!("there is no level {}", printable(level)));
        };
        let before = log::max_level();
        self.annals.tell(Milestone::LogLevel(wanted));
        let (before, level) = (name_of(before), log::max_level());
        if level != wanted {
            return refused(format!("the program does not let its log level be changed, which is {}", name_of(level)));
        }
        let level = name_of(level);
        info!("Log level {level} from now on, {before} before: pid {pid} has asked for it");
        Frame::LogSet(LogSet { before, level, pid: std::process::id() })
    }

    /// Somebody wants to take over: at once, or when it is known whose the peers are that are being given away.
    fn take_leave(&mut self, greeting: Greeting) {
        match &self.postponed {
            Some(first) => greeting.channel.close_with(&Refusal::Busy { pid: first.pid }.frame()),
            None if self.giver.is_frozen() => self.postponed = Some(greeting),
            None => self.begin_departure(greeting),
        }
    }

    // ── Moving some ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Both sides of moves, and what they need.
    fn moves(&mut self) -> (&mut Giver, &mut Taker, Lent<'_, L>) {
        let Self { lanes, poll, config, now, annals, limited, giver, taker, .. } = self;
        let (registry, freeze_timeout, now) = (poll.registry(), config.freeze_timeout, *now);
        (giver, taker, Lent { lanes, registry, freeze_timeout, now, annals, limited })
    }

    /// Does what a supervisor wants of a worker whose peers can be moved.
    fn do_as_wished(&mut self) {
        for wish in self.sources.entrance.wishes() {
            match wish {
                Wish::Count => self.sources.entrance.say_holds(self.lanes.peers()),
                Wish::Move { .. } if !self.may_move() => self.sources.entrance.say_moved(0),
                Wish::Move { share, path } => {
                    let (giver, _, mut with) = self.moves();
                    giver.order_share(share, &path, &mut with);
                }
            }
        }
    }

    #[cold]
    fn take(&mut self) {
        let may_take = self.may_move();
        let (_, taker, mut with) = self.moves();
        taker.tend(&mut with, may_take);
    }

    /// When all that was asked of peers in this turn is done: so those whose state is copied now are as they are to be.
    #[cold]
    fn give(&mut self) {
        let may_begin = self.may_move();
        let (giver, _, mut with) = self.moves();
        giver.tend(&mut with, may_begin);
        for peers in self.giver.answers() {
            self.sources.entrance.say_moved(peers);
        }
    }

    /// When a move goes on, if no event comes before.
    fn moves_due(&self) -> Option<Instant> {
        if self.giver.is_idle() && self.taker.is_idle() {
            return None;
        }
        let taker = if self.may_move() { self.taker.due(self.now) } else { None };
        self.giver.due(self.now).into_iter().chain(taker).min()
    }

    /// Whether peers may come and go one by one.
    fn may_move(&self) -> bool {
        self.departure.is_none() && !matches!(self.stop, Some(Stop::Draining { .. }))
    }

    /// All peers go to a successor, or are closed: nothing is moved any more, and it is known whose each of them is.
    fn stop_moving(&mut self, refusal: &Refusal) {
        let (giver, taker, mut with) = self.moves();
        taker.stop_taking(&refusal.to_string(), &mut with);
        giver.stop_giving(refusal, &mut with);
    }

    // ── Handing over ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Welcomes who has said Hello, if it can take over.
    fn begin_departure(&mut self, mut greeting: Greeting) {
        let pid = greeting.pid;
        self.note_caller(&greeting.hello, pid);
        let welcome = match self.judge(&mut greeting.hello, pid) {
            Ok(welcome) => welcome,
            Err(refusal) => {
                self.object_to_successor(&greeting.hello, &refusal);
                self.annals.tell(Milestone::TakeoverFailed { pid, why: &refusal.to_string() });
                if self.limited.admits(Kind::Caller, self.now) {
                    warn!("Takeover by pid {pid} refused: {refusal}");
                }
                return greeting.channel.close_with(&refusal.frame());
            }
        };
        self.stop_moving(&Refusal::Busy { pid });
        let takeover = self.takeover_listener().expect("whoever calls, calls there");
        let keys_end = self.lanes.keys_end();
        let begun = Departure::begin(greeting, welcome, &self.sources.entrance, takeover, &keys_end, self.now);
        let registered = begun.and_then(|mut departure| {
            let registered = departure.register(self.poll.registry(), Tokens::of(Name::Departure));
            registered.map(|()| departure).map_err(|error| ChannelError::Io(error).into())
        });
        match registered {
            Ok(departure) => {
                debug!("Takeover by pid {pid} begins, with {} peers", self.lanes.peers());
                self.sources.entrance.lend();
                self.lanes.watch();
                self.departure = Some(departure);
                self.annals.tell(Milestone::TakeoverBegins { pid });
            }
            Err(failure) => self.thaw(pid, &failure),
        }
    }

    /// Whether a successor that says this can take over.
    fn judge(&mut self, hello: &mut Hello, pid: u32) -> Result<Welcome, Refusal> {
        // It gets these before it gets any peer.
        let listeners = self.sources.entrance.listeners().count() as u64;
        hello.files_open = hello.files_open.saturating_add(listeners);
        if let Some(departure) = &self.departure {
            return Err(Refusal::Busy { pid: departure.pid() });
        }
        self.check_upgrade(hello)?;
        let estates: Vec<Estate> = self.lanes.all().map(estate_of).collect();
        let welcome = greet(hello, &estates, std::process::id())?;
        memory::check(pid, &mut self.lanes)?;
        Ok(welcome)
    }

    /// Gives the takeover that is under way its turn. Returns the successor's process id when it owns the peers.
    fn hand_over(&mut self) -> Option<u32> {
        let departure = self.departure.take()?;
        let pid = departure.pid();
        let committed = match departure.turn(&mut self.lanes, self.config.freeze_timeout, Instant::now()) {
            Ok(Turned::Copying(departure)) => {
                self.departure = Some(departure);
                return None;
            }
            Ok(Turned::Ready(ready)) => {
                ready.handing_on(self.annals.account(&self.lanes)).commit(&mut self.lanes, self.config.freeze_timeout)
            }
            Err(failure) => Err(failure),
        };
        match committed {
            Ok(handed_over) => {
                let summary = handed_over.retire();
                self.annals.tell(Milestone::HandedOver((&summary).into()));
                self.end_upgrade(&summary);
                Some(pid)
            }
            Err(failure) => {
                self.thaw(pid, &failure);
                None
            }
        }
    }

    /// A takeover has failed. No edge was consumed while the loop was not polled, so to poll again is all there is to
    /// do.
    fn thaw(&mut self, pid: u32, failure: &Failure) {
        fault::here(PredecessorStep::Thaw);
        self.lanes.unwatch();
        self.sources.entrance.take_back();
        self.object_to_failed(pid, failure);
        self.annals.tell(Milestone::TakeoverFailed { pid, why: &failure.to_string() });
        if self.limited.admits(Kind::FailedTakeover, self.now) {
            warn!("Takeover by pid {pid} failed: {failure}; serving on with {} peers", self.lanes.peers());
        }
    }

    /// Closes what another process owns by now. It takes milliseconds in the kernel, in one piece if it is left to the
    /// end of the process; the successor and its clients may want the processor, so this lets their first moments pass,
    /// and gives the processor away again and again.
    fn disband(&mut self) {
        fault::here(PredecessorStep::Disband);
        if self.lanes.peers() > DISBAND_CHUNK {
            std::thread::sleep(DISBAND_DELAY);
        }
        let handles: Vec<PeerHandle> = self.lanes.all().flat_map(|lane| lane.table().peers().handles()).collect();
        for (closed, handle) in handles.into_iter().enumerate() {
            self.lanes.lane_mut(handle.lane()).table_mut().let_go(handle.key());
            if closed % DISBAND_CHUNK == DISBAND_CHUNK - 1 && closed < DISBAND_CHUNK * DISBAND_RESTS_MAX {
                std::thread::sleep(DISBAND_REST);
            }
        }
    }

    // ── Upgrades ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// This process, as others are told of it.
    fn process(&self) -> Process {
        let generation = self.annals.generation();
        Process { build: BUILD.to_owned(), pid: std::process::id(), generation }
    }

    /// SIGHUP has come.
    #[cold]
    fn upgrade_at_hangup(&mut self) {
        let timeout_ms = u64::try_from(TIMEOUT.as_millis()).expect("it is a minute");
        self.begin_upgrade(Asker::Signal, &wire::Upgrade { timeout_ms, ..wire::Upgrade::default() });
    }

    /// Starts a successor, unless there is a reason not to.
    #[cold]
    fn begin_upgrade(&mut self, asker: Asker, request: &wire::Upgrade) {
        let begun = match self.why_no_upgrade() {
            Some(refusal) => Err(Failed::refused(asker, refusal.to_string())),
            None => self.start_successor(asker, request),
        };
        match begun {
            Ok(upgrade) => self.upgrade = Some(Box::new(upgrade)),
            Err(failed) => self.upgrade_failed(failed),
        }
    }

    fn why_no_upgrade(&self) -> Option<Refusal> {
        match (&self.upgrade, &self.departure) {
            (Some(upgrade), _) => Some(Refusal::Upgrading { pid: upgrade.pid() }),
            (_, Some(departure)) => Some(Refusal::Busy { pid: departure.pid() }),
            _ if self.stop.is_some() => Some(Refusal::Stopping),
            _ if self.sources.callers.is_none() => Some(Refusal::NoPath),
            _ if self.config.successor.is_none() => Some(Refusal::NoProgram),
            _ => None,
        }
    }

    fn start_successor(&mut self, asker: Asker, request: &wire::Upgrade) -> Result<Upgrade, Failed> {
        let (Some(program), Some(listener)) = (&self.config.successor, self.takeover_listener()) else {
            unreachable!("a server that lacks either has refused");
        };
        let timeout_ms = request.timeout_ms.min(TIMEOUT_MAX.as_millis() as u64);
        let request = wire::Upgrade { timeout_ms, ..request.clone() };
        let mut upgrade = Upgrade::begin(program, &request, listener.path(), asker, self.now)?;
        match upgrade.register(self.poll.registry(), Tokens::of(Name::Upgrade)) {
            Ok(()) => Ok(upgrade),
            Err(error) => Err(upgrade.abandon(format!("epoll: {error}"), false)),
        }
    }

    /// The upgrade that is under way has its turn.
    #[cold]
    fn tend_upgrade(&mut self) {
        let Some(mut upgrade) = self.upgrade.take() else { return };
        if upgrade.is_overdue(self.now) {
            upgrade.give_up(self.now);
            self.abandon_departure_of(&upgrade);
        }
        let copied = self.departure.as_ref().map(|departure| departure.copied());
        match upgrade.tend(copied, self.lanes.peers() as u64, self.now) {
            Ok(upgrade) => self.upgrade = Some(Box::new(upgrade)),
            Err(failed) => self.upgrade_failed(failed),
        }
    }

    /// The successor was given up: the takeover by it comes to nothing.
    fn abandon_departure_of(&mut self, upgrade: &Upgrade) {
        if let Some(departure) = self.departure.take_if(|departure| upgrade.has_called_as(departure.pid())) {
            let pid = departure.pid();
            departure.abandon(&Refusal::GivenUp);
            self.thaw(pid, &Failure::GivenUp);
        }
    }

    /// Says that nothing has come of an upgrade.
    fn upgrade_failed(&mut self, failed: Failed) {
        let why = &failed.reason.why;
        if !failed.is_known {
            self.annals.tell(Milestone::TakeoverFailed { pid: failed.pid, why });
        }
        if self.limited.admits(Kind::FailedTakeover, self.now) {
            let verb = if failed.reason.is_refused { "refused" } else { "failed" };
            warn!("Upgrade {verb}: {why}; serving on with {} peers", self.lanes.peers());
        }
        failed.answer(self.process());
    }

    /// Whoever says this Hello may be the successor that was started: what the answer will call it is known from now on.
    fn note_caller(&mut self, hello: &Hello, pid: u32) {
        let generation = self.annals.generation();
        if let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.is_by(hello)) {
            upgrade.called(hello, pid, generation);
        }
    }

    /// Whoever was started for an upgrade takes over for that one.
    ///
    /// # Errors
    /// If it is over.
    fn check_upgrade(&self, hello: &Hello) -> Result<(), Refusal> {
        let is_expected = self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_by(hello) && upgrade.is_awaited());
        if hello.upgrade.is_none() || is_expected { Ok(()) } else { Err(Refusal::GivenUp) }
    }

    /// The successor that was started cannot take over.
    fn object_to_successor(&mut self, hello: &Hello, refusal: &Refusal) {
        let now = self.now;
        if let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.is_by(hello)) {
            upgrade.object(refusal.to_string(), true, now);
        }
    }

    /// The same when its takeover has failed.
    fn object_to_failed(&mut self, pid: u32, failure: &Failure) {
        let now = self.now;
        if let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.has_called_as(pid)) {
            upgrade.object(failure.to_string(), false, now);
        }
    }

    /// A successor owns the peers: the one that was started, or another that was quicker.
    fn end_upgrade(&mut self, summary: &Summary) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let pid = summary.successor_pid;
        if upgrade.has_called_as(pid) {
            return upgrade.succeed(self.process(), summary);
        }
        info!("Upgrade given up: pid {pid} was started by somebody else, and has taken over");
        let failed = upgrade.abandon(format!("pid {pid} was started by somebody else, and has taken over"), true);
        failed.answer_of_another(self.process(), pid);
    }

    /// The upgrade is given up, since this server is.
    fn abandon_upgrade(&mut self, refusal: &Refusal) {
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.abandon(refusal.to_string(), true).answer(self.process());
        }
    }

    /// Says whether somebody could take over.
    #[cold]
    fn check(&mut self, channel: Channel, pid: u32, mut hello: Hello) {
        let (welcome, why) = match self.judge(&mut hello, pid) {
            Ok(welcome) => (Some(welcome), None),
            Err(refusal) => (None, Some(refusal.to_string())),
        };
        let checked = Checked {
            server: self.process(),
            welcome,
            why,
            files_needed: hello.files_open + (open_files::RESERVED + self.lanes.peers()) as u64,
            listeners: self.sources.entrance.listeners().count() as u64,
        };
        channel.close_with(&Frame::Checked(Box::new(checked)).encode());
    }

    // ── Stopping ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Stops: at once if there is nobody to lose, or nobody can take over. The second time, it waits for nothing more.
    fn stop(&mut self, why: &dyn std::fmt::Display) {
        let peers = self.lanes.peers();
        if self.stop.is_some() {
            info!("{why} again: stopping at once with {peers} peers");
            return self.drain(self.now);
        }
        info!("{why}: stopping with {peers} peers");
        let drained_by = self.now + self.config.drain_timeout;
        if self.departure.is_some() || self.upgrade.is_some() || (self.sources.callers.is_some() && peers > 0) {
            // What is left of the time is for what has been answered, should the takeover not succeed.
            let taken_over_by = self.now + self.config.drain_timeout / 2;
            self.stop = Some(Stop::LastCall { until: self.now + LAST_CALL, taken_over_by, drained_by });
        } else {
            self.drain(drained_by);
        }
    }

    /// Whether somebody takes over, or is about to.
    fn is_called(&self) -> bool {
        self.departure.is_some() || self.postponed.is_some() || self.upgrade.is_some()
    }

    /// Does what other threads have asked for.
    fn do_as_asked(&mut self) {
        let Asked { stops, wake, questions } = self.sources.asks.as_mut().map(Asks::tend).unwrap_or_default();
        questions.into_iter().for_each(|answer| answer(self.status_with_figures()));
        (0..stops).for_each(|_| self.stop(&"Handle::stop"));
        if wake {
            self.lanes.each(|lane| lane.woken());
        }
    }

    /// A stop goes on when nobody will take over any more.
    fn tend_stop(&mut self) {
        if let Some(Stop::LastCall { until, taken_over_by, drained_by }) = self.stop
            && self.now >= if self.is_called() { taken_over_by } else { until }
        {
            info!("Nobody has taken over: stopping with {} peers", self.lanes.peers());
            self.drain(drained_by);
        }
    }

    /// Stops accepting and reading, and goes on until all that is pending is written, or until then.
    fn drain(&mut self, by: Instant) {
        if let Some(Stop::Draining { .. }) = self.stop.replace(Stop::Draining { by }) {
            return;
        }
        self.annals.tell(Milestone::Stopping);
        self.sources.entrance.close();
        self.leave_takeover_path();
        self.stop_moving(&Refusal::Stopping);
        if let Some(postponed) = self.postponed.take() {
            postponed.channel.close_with(&Refusal::Stopping.frame());
        }
        if let Some(departure) = self.departure.take() {
            departure.abandon(&Refusal::Stopping);
            self.lanes.unwatch();
        }
        self.abandon_upgrade(&Refusal::Stopping);
        self.lanes.each(|lane| {
            lane.stopping();
            lane.close_all();
        });
    }

    /// Answers nobody on the takeover path any more.
    fn leave_takeover_path(&mut self) {
        if let Some(callers) = self.sources.callers.take() {
            callers.leave(&Refusal::Stopping);
        }
    }

    /// Whether no peer is left, and none will come.
    fn finished(&self) -> bool {
        let is_moving = self.taker.waits() || self.giver.has_orders();
        self.sources.entrance.has_ended() && self.lanes.is_empty() && self.departure.is_none() && !is_moving
    }

    /// Whether a stop has come to its end.
    fn stopped(&self) -> bool {
        let Some(Stop::Draining { by }) = self.stop else {
            return false;
        };
        if self.lanes.is_empty() {
            return true;
        }
        if self.now < by {
            return false;
        }
        let undelivered = self.lanes.everybody().filter(|peer| peer.is_undelivered()).count();
        if undelivered > 0 {
            warn!("Stopping: the output of {undelivered} peers is not all delivered");
        }
        true
    }
}

/// What there is to take over of a lane.
pub(crate) fn estate_of(lane: &dyn AnyLane) -> Estate {
    Estate { service: lane.name(), state_version: lane.state_version(), peers: lane.peers() as u64 }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod script;

#[cfg(test)]
mod tests;
