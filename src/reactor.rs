//! The loop: one thread, one poll, edge-triggered.
//!
//! It says whose turn it is, and keeps time. Peers are the lanes', what else wakes it are its [`Sources`]. Who takes over
//! from it is its [`Succession`]'s, which gets a turn between two polls, and in which everything may come to an end.

mod ask_service;
mod disband;
mod lent;
mod log_level;
mod standbys;
mod stop;
mod succession;
mod upgrades;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::event::Event;
use mio::{Events, Poll};
use reactord_process::asker::Asker;
use reactord_process::path::TakeoverListener;

use crate::annals::Annals;
use crate::clock::{CENTURY, monotonic_ns};
use crate::config::{Config, Outcome};
use crate::lane::Wake;
use crate::lanes::Lanes;
#[cfg(feature = "tls")]
use crate::limited::Kind;
use crate::limited::Limited;
use crate::listing::Listings;
use crate::milestone::{Listening, Milestone, Observer, Ready};
use crate::moving::{self, Giver, Taker};
use crate::sources::{
    Asked, Asks, Callers, Came, Greeting, Listener, Name, QUEUE_LANE, Request, Room, Source, Sources, StopSignals,
    Tokens, Vestibule,
};
#[cfg(feature = "tls")]
use crate::sources::{Met, Share};
use crate::standby::kept::Kept;
use crate::status::Status;
use crate::table::PeerHandle;
use crate::takeover::admission::Refusal;
use crate::takeover::arrival::{Arrival, Told};
use crate::takeover::fault::{self, StandbyStep, SuccessorStep};
use crate::takeover::wire::{Frame, SetLog, Upgrade};
use crate::upgrade::HANGUP;
use crate::worker::Wish;
use ask_service::ask_service;
use disband::disband;
use lent::Lent;
use log_level::set_log_level;
use standbys::Standbys;
use stop::Stop;
use succession::Succession;

pub(crate) use succession::estate_of;

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 1024;

/// The same when a predecessor is about to freeze: whoever has an event is pending then.
const EVENTS_NEAR_FREEZE: usize = 64;

/// For so long a message that may kill the server waits for a standby, where this process starts one; and where somebody else does,
/// perhaps.
const STANDBY_PATIENCE: Duration = Duration::from_secs(30);
const SUSPECT_PATIENCE: Duration = Duration::from_secs(3);

/// The loop, with everything that it serves.
pub(crate) struct Reactor<L> {
    poll: Poll,
    lanes: L,
    sources: Sources,
    succession: Succession,
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
    /// Whose messages may have killed the process that was followed, and until when they wait for a standby at most.
    suspects: Option<(Vec<PeerHandle>, Instant)>,
}

impl<L: Lanes> Reactor<L> {
    /// A loop that serves the peers of `lanes`, whom `poll` wakes, and listens to `sources`.
    pub(crate) fn new(poll: Poll, lanes: L, sources: Sources, config: &Config, peers_max: usize) -> Self {
        // Whoever would wait for ever waits for a century.
        let bounded = |time: Duration| time.min(CENTURY);
        let config = Config {
            freeze_timeout: bounded(config.freeze_timeout),
            drain_timeout: bounded(config.drain_timeout),
            heartbeat: config.heartbeat.map(bounded),
            ..config.clone()
        };
        let now = Instant::now();
        let standbys = standbys(&config, &sources, now);
        Self {
            giver: Giver::new(),
            listings: Listings::new(),
            taker: Taker::new(config.wait_path.as_deref(), peers_max, now),
            poll,
            lanes,
            sources,
            succession: Succession::with_standbys(standbys),
            stop: None,
            beats_at: config.heartbeat.map(|every| now + every),
            config,
            annals: Annals::open(),
            peers_max,
            now,
            limited: Limited::default(),
            suspects: None,
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
                let (succession, mut with) = self.succession();
                succession.abandon(&Refusal::Stopping, &mut with);
                self.leave_takeover_path();
                return Ok(Outcome::Stopped);
            }
            if let Some(pid) = self.hand_over() {
                if let Some(callers) = &mut self.sources.callers {
                    callers.refuse(&Refusal::Busy { pid });
                }
                self.sources.entrance.leave();
                disband(&mut self.lanes);
                self.succession.see_standby_off();
                return Ok(Outcome::HandedOver { pid });
            }
            let timeout = self.timeout();
            let nears_freeze = self.succession.nears_the_freeze(self.now);
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
        self.sources.vestibule.begin();
        self.sources.entrance.begin();
        if let Some(account) = arrival.account() {
            account.handshakes.into_iter().for_each(|before| self.sources.vestibule.count_on_from(before));
            self.annals.inherit(account, &mut self.lanes);
        }
        let now = Instant::now();
        self.begin(now);
        let suspects = match arrival.survival() {
            Some(survival) => survival.go_on(&mut self.lanes),
            None => self.lanes.suspects(),
        };
        if !suspects.is_empty() {
            let patience = if self.succession.standbys.is_some() { STANDBY_PATIENCE } else { SUSPECT_PATIENCE };
            self.suspects = Some((suspects, now + patience));
        }
        self.turn_at(now, events);
        self.announce();
        match arrival.serving(polled_at_ns, self.takeover_listener()) {
            Told::TakenOver(summary) => self.annals.tell(Milestone::TakenOver((&summary).into())),
            Told::Survived(survived) => self.annals.tell(Milestone::Survived(survived)),
        }
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
        if self.succession.standbys.is_some() {
            self.dispatch_and_tell(events);
        } else {
            events.iter().for_each(|event| self.dispatch(event));
        }
        self.finish_turn();
    }

    /// The same, where whoever follows is to know what has happened before anybody else.
    #[cold]
    fn dispatch_and_tell(&mut self, events: &Events) {
        for event in events {
            if let Some(handle) = PeerHandle::from_token(event.token()).filter(|_| event.is_priority()) {
                self.lanes.lane_mut(handle.lane()).table_mut().count_anew(handle);
            }
            self.dispatch(event);
            self.commit_if_much();
        }
        self.tell_of_offers();
    }

    /// Those to whom something is to be written, when whoever follows knows it, have waited for long enough, if there are many.
    fn commit_if_much(&mut self) {
        let Self { lanes, succession, .. } = self;
        if let Some(standbys) = &mut succession.standbys {
            standbys.commit_if_much(lanes);
        }
    }

    /// The same, however few they are: whoever follows knows everything then. False if it is to be followed no more, which the next turn
    /// brings about.
    fn commit(&mut self) -> bool {
        let Self { lanes, succession, .. } = self;
        succession.standbys.as_mut().is_none_or(|standbys| standbys.commit(lanes))
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
        match (Tokens::find(event.token()), &mut self.succession.departure) {
            (Some((Name::Departure, key)), Some(departure)) => departure.hear(key, event),
            (Some((Name::Standby, key)), _) => {
                self.succession.standbys.iter_mut().for_each(|standbys| standbys.hear(key, event));
            }
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
        #[cfg(feature = "tls")]
        if self.sources.vestibule.len() > 0 {
            self.tend_handshakes();
        }
        while let Some(request) = self.next_request() {
            self.answer(request);
        }
        if !self.giver.is_frozen()
            && let Some(greeting) = self.succession.take_postponed()
        {
            self.begin_departure(greeting);
        }
        while let Some(signal) = self.sources.signals.as_mut().and_then(StopSignals::tend) {
            self.stop(&signal);
        }
        if self.sources.signals.as_mut().is_some_and(StopSignals::has_hung_up) {
            self.upgrade(HANGUP, &upgrades::at_hangup());
        }
        if self.succession.upgrades.is_under_way() {
            let (succession, mut with) = self.succession();
            succession.tend_upgrade(&mut with);
        }
        self.do_as_asked();
        self.tend_stop();
        self.do_as_wished();
        if !self.taker.is_idle() {
            self.take();
        }
        self.commit_if_much();
        self.tend_suspects();
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

    /// Has handled what the process that was followed may have died of, if another death would be survived, or nobody can be waited
    /// for any more. If somebody is taking over, that is for them.
    fn tend_suspects(&mut self) {
        if self.suspects_due().is_some_and(|due| due <= self.now) {
            self.release_suspects();
        }
    }

    /// When that is to be.
    fn suspects_due(&self) -> Option<Instant> {
        let (_, until) = self.suspects.as_ref().filter(|_| !self.succession.is_under_way())?;
        Some(if self.succession.is_sheltered() { self.now } else { *until })
    }

    #[cold]
    fn release_suspects(&mut self) {
        let Some((suspects, _)) = self.suspects.take() else { return };
        for suspect in suspects {
            fault::here(StandbyStep::TryAgain);
            self.lanes.lane_mut(suspect.lane()).take_up_suspect(suspect);
            // It is a suspect until that is known, and of nothing that others do.
            self.commit();
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
        let due = [
            self.lanes.due_at(),
            self.sources.due(self.now),
            self.succession.due(self.giver.is_frozen(), self.now),
            self.moves_due(),
            self.listings.due(self.now),
            self.stop.map(|stop| stop.due(self.succession.is_under_way())),
            self.limited.due(),
            self.beats_at,
            self.suspects_due(),
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

    /// Whom a supervisor offers, whoever follows is to have before they are taken.
    fn tell_of_offers(&mut self) {
        let Self { succession, sources, lanes, peers_max, now, .. } = self;
        let Some(standbys) = &mut succession.standbys else { return };
        let Room { free, free_here, .. } = room(lanes, &sources.vestibule, *peers_max, QUEUE_LANE, "");
        let offers = sources.entrance.offers(free.min(free_here), *now);
        let is_known = offers.is_empty() || standbys.tell_of_offers(&offers);
        drop(offers);
        if !is_known {
            sources.entrance.withhold_offers();
        }
    }

    fn accept(&mut self) {
        let Self { lanes, sources, poll, peers_max, now, .. } = self;
        sources.entrance.look_after_paths(poll.registry());
        loop {
            let room = |lane, listener: &str| room(lanes, &sources.vestibule, *peers_max, lane, listener);
            let Some(came) = sources.entrance.next(room, *now) else { return };
            #[cfg(feature = "tls")]
            if came.tls.is_some() {
                let address = came.address;
                let received = sources.vestibule.receive(came, poll.registry(), *now);
                if !matches!(received, Ok(None)) {
                    // Whoever has to go leaves room for another, maybe at another listener.
                    sources.entrance.resume();
                }
                if let Some((address, why)) = received.unwrap_or_else(|why| Some((address, why)))
                    && self.limited.admits(Kind::NotServed, *now)
                {
                    warn!("Peer {address} is not served: {why}");
                }
                continue;
            }
            debug_assert!(came.tls.is_none(), "whoever speaks TLS waits for the end of its handshake");
            let Came { socket, address, lane, how, .. } = came;
            lanes.lane_mut(lane).open(socket, address, &how);
        }
    }

    /// Gives those their turn whose handshakes are under way, and lets in those whose handshakes are over.
    #[cfg(feature = "tls")]
    fn tend_handshakes(&mut self) {
        let Self { lanes, sources, poll, limited, now, .. } = self;
        let (mut share, waited) = (Share::begin(), sources.vestibule.len());
        while let Some(met) = sources.vestibule.tend(&mut share, poll.registry(), *now) {
            match met {
                Met::Welcome(welcome) => lanes.lane_mut(welcome.lane).open_secured(*welcome),
                Met::Failed(address, why) if limited.admits(Kind::NotServed, *now) => {
                    warn!("Peer {address} is not served: {why}");
                }
                Met::Failed(..) | Met::Gone => {}
            }
        }
        if sources.vestibule.len() < waited {
            // There is room for another.
            sources.entrance.resume();
        }
    }

    // ── Requests on the takeover path ──────────────────────────────────────────────────────────────────────────────

    fn next_request(&mut self) -> Option<Request> {
        let Self { sources, poll, limited, now, .. } = self;
        sources.callers.as_mut()?.tend(poll.registry(), *now, limited)
    }

    fn answer(&mut self, request: Request) {
        match (request, self.keeps_peers()) {
            (Request::TakeOver(greeting), _) => self.take_leave(greeting),
            (Request::Follow(greeting), _) => self.follow(greeting),
            (Request::LookAfterPath, _) if self.succession.departure.is_none() => self.look_after_takeover_path(),
            // The successor has been given the listener as it is, and will look after its path.
            (Request::LookAfterPath, _) => {}
            (Request::Status(channel), _) => channel.close_with(&Frame::Status(self.status()).encode()),
            (Request::Upgrade(channel, pid, request), _) => {
                self.upgrade(Asker::Caller(Box::new(channel), pid), &request)
            }
            (Request::Check(channel, pid, hello), _) => {
                let (succession, mut with) = self.succession();
                succession.check(channel, pid, hello, &mut with);
            }
            (Request::Peers(channel, pid), _) => {
                self.listings.begin(channel, pid, self.poll.registry(), self.now);
            }
            (Request::Ask(channel, ask), _) => {
                let answer = ask_service(&mut self.lanes, &ask).encode();
                // Whoever has the answer takes it that what was asked for is done.
                if !self.commit() {
                    let (succession, mut with) = self.succession();
                    succession.tend_standbys(&mut with);
                }
                channel.close_with(&answer);
            }
            (Request::SetLog(channel, pid, SetLog { level }), _) => {
                let (_, mut with) = self.succession();
                channel.close_with(&set_log_level(pid, &level, &mut with).encode());
            }
            (Request::Wait(channel, ..), Some(refusal @ (Refusal::KeepsPeers { .. } | Refusal::Suspects))) => {
                channel.close_with(&refusal.frame());
            }
            // It would wait for as long as it takes, and no standby could follow meanwhile.
            (Request::Wait(channel, ..), _) if self.succession.keeps_standby() => {
                channel.close_with(&Refusal::Moves.frame());
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
            successor_pid: self.succession.successor_pid(),
            standby: self.succession.standbys.as_ref().and_then(|standbys| standbys.status(&self.lanes)),
            is_stopping: self.stop.is_some(),
            handshakes: self.sources.vestibule.status(),
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

    // ── Moving some ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Both sides of moves, and what they need.
    fn moves(&mut self) -> (&mut Giver, &mut Taker, moving::Lent<'_, L>) {
        let Self { lanes, poll, config, now, annals, limited, giver, taker, .. } = self;
        let (registry, freeze_timeout, now) = (poll.registry(), config.freeze_timeout, *now);
        (giver, taker, moving::Lent { lanes, registry, freeze_timeout, now, annals, limited })
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
        // Whoever waits for a handshake has a place already.
        self.taker.leave_places(self.sources.vestibule.len());
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
        if !self.may_move() {
            return self.giver.goes_on(self.now);
        }
        self.giver.due(self.now).into_iter().chain(self.taker.due(self.now)).min()
    }

    /// Why peers do not come and go one by one now.
    fn keeps_peers(&self) -> Option<Refusal> {
        let is_stopping = self.stop.is_some_and(Stop::is_draining).then_some(Refusal::Stopping);
        let suspects = self.suspects.is_some().then_some(Refusal::Suspects);
        self.succession.keeps_peers().or(is_stopping).or(suspects)
    }

    /// Whether they do.
    fn may_move(&self) -> bool {
        self.keeps_peers().is_none()
    }

    /// All peers go to a successor, or are closed: nothing is moved any more, and it is known whose each of them is.
    fn stop_moving(&mut self, refusal: &Refusal) {
        let (giver, taker, mut with) = self.moves();
        taker.stop_taking(&refusal.to_string(), &mut with);
        giver.stop_giving(refusal, &mut with);
    }

    // ── Handing over ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Who takes over, and what that needs.
    fn succession(&mut self) -> (&mut Succession, Lent<'_, L>) {
        let Self { lanes, sources, poll, config, annals, limited, now, succession, .. } = self;
        let (registry, now) = (poll.registry(), *now);
        (succession, Lent { lanes, sources, registry, config, annals, limited, now })
    }

    /// Somebody wants to take over: at once, or when it is known whose the peers are that are being given away.
    fn take_leave(&mut self, greeting: Greeting) {
        if let Some(greeting) = self.succession.queue(greeting, self.giver.is_frozen()) {
            self.begin_departure(greeting);
        }
    }

    /// Welcomes who has said Hello, if it can take over.
    fn begin_departure(&mut self, greeting: Greeting) {
        let (succession, mut with) = self.succession();
        let Some((greeting, welcome)) = succession.admit(greeting, &mut with) else { return };
        self.stop_moving(&Refusal::Busy { pid: greeting.pid });
        let (succession, mut with) = self.succession();
        succession.begin(greeting, welcome, &mut with);
    }

    /// Somebody wants to follow. Whoever follows holds all peers, so none of them is on its way to another server or from one.
    #[cold]
    fn follow(&mut self, greeting: Greeting) {
        let moves = !self.giver.is_idle() || !self.taker.is_idle();
        let why_not = self.stop.map(|_| Refusal::Stopping).or(moves.then_some(Refusal::Moves));
        let (succession, mut with) = self.succession();
        succession.follow(greeting, why_not, &mut with);
    }

    /// Gives the takeover that is under way its turn. Returns the successor's process id when it owns the peers.
    fn hand_over(&mut self) -> Option<u32> {
        if self.succession.standbys.is_some() {
            let (succession, mut with) = self.succession();
            succession.tend_standbys(&mut with);
            self.tend_suspects();
            let (succession, mut with) = self.succession();
            succession.tell_armed(&mut with);
        }
        let (succession, mut with) = self.succession();
        succession.hand_over(&mut with)
    }

    /// Starts a successor, unless there is a reason not to.
    #[cold]
    fn upgrade(&mut self, asker: Asker, request: &Upgrade) {
        let stops = self.stop.is_some();
        let (succession, mut with) = self.succession();
        succession.upgrade(asker, request, stops, &mut with);
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
        if self.succession.is_under_way() || (self.sources.callers.is_some() && peers > 0) {
            self.stop = Some(Stop::last_call(self.now, self.config.drain_timeout));
        } else {
            self.drain(self.now + self.config.drain_timeout);
        }
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
        let is_called = self.succession.is_under_way();
        if let Some(drained_by) = self.stop.and_then(|stop| stop.to_be_drained(is_called, self.now)) {
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
        std::mem::replace(&mut self.sources.vestibule, Vestibule::new()).end_all();
        self.leave_takeover_path();
        self.stop_moving(&Refusal::Stopping);
        let (succession, mut with) = self.succession();
        succession.abandon(&Refusal::Stopping, &mut with);
        self.release_suspects();
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
        let is_empty = self.lanes.is_empty() && self.sources.vestibule.len() == 0;
        self.sources.entrance.has_ended() && is_empty && self.succession.departure.is_none() && !is_moving
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

/// How many more may come in at a listener, beside those who are peers and those who will be when their handshake is over.
fn room(lanes: &impl Lanes, vestibule: &Vestibule, peers_max: usize, lane: usize, listener: &str) -> Room {
    Room {
        peers: lanes.peers(),
        free: lanes.room(lane, peers_max, |lane| vestibule.waiting_for(lane)),
        free_here: lanes.lane(lane).room(listener, &|listener| vestibule.waiting_at(lane, listener)),
    }
}

/// What a server begins with that is to start its standby.
fn standbys(config: &Config, sources: &Sources, now: Instant) -> Option<Box<Standbys>> {
    // There is nowhere to call otherwise.
    let program = config.standby.clone().filter(|_| sources.callers.is_some())?;
    Some(Box::new(Standbys::kept(Kept::new(program, now))))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod script;

#[cfg(test)]
mod tests;
