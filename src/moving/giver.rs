//! The giving side: who waits to be given peers, which peers are to be given, and the batch that is on its way.
//!
//! One batch at a time. Those whom the service gives away come first; then what has been asked for on the takeover path or
//! by a supervisor, in that order.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Interest, Registry};
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::{Refuse, printable};
use reactord_process::path::{Call, call};
use reactord_process::words::Fraction;
use slab::Slab;

use super::batch::Batch;
use super::giving::{Giving, Turned};
use super::lent::Lent;
use super::order::{Asker, Next, Order};
use super::words::{Peers, in_words_of_a_move};
use crate::build_id::BUILD;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::peer::Peer;
use crate::recipient::Recipient;
use crate::sources::{Name, Source, Tokens};
use crate::table::PeerHandle;
use crate::takeover::admission::{Estate, Refusal, check_tls, greet};
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, PredecessorStep as Step};
use crate::takeover::wire::{Frame, Give, Hello, Move, WIRE_VERSIONS, Welcome, Which};

/// How many takers are known at once, and how many of them may have called to wait: whoever asks for a move finds a place.
const TAKERS_MAX: usize = 64;
const WAITING_MAX: usize = 56;

/// How long a server that was called may take to say that it can be given peers, and to be ready for the next batch.
const WAIT_PATIENCE: Duration = Duration::from_secs(10);

/// So many frames of a taker are heard in one turn of the loop. It has two to say after each batch.
const FRAMES_PER_TURN: usize = 16;

/// All that is on the giving side.
#[derive(Debug)]
pub(crate) struct Giver {
    takers: Slab<Taker>,
    /// Those who wait, the one that has waited longest first.
    line: VecDeque<usize>,
    /// Takers that may have something to say.
    heard: VecDeque<usize>,
    /// Whom a service has given away.
    given: VecDeque<PeerHandle>,
    /// The first is being carried out.
    orders: VecDeque<Order>,
    underway: Option<Underway>,
    /// What came of what a supervisor has asked for: how many peers were moved.
    answers: Vec<u64>,
}

/// Somebody who can be given peers, or may come to be.
#[derive(Debug)]
struct Taker {
    /// Lent out while a batch is on its way.
    channel: Option<Channel>,
    pid: u32,
    /// What it has said of itself, if it can be given peers now.
    hello: Option<Hello>,
    /// It has called to wait; others were called.
    waits: bool,
    /// When it was last waited for.
    since: Instant,
}

/// A batch on its way.
#[derive(Debug)]
struct Underway {
    giving: Giving,
    taker: usize,
    /// Whom the service has given away, if that is why.
    given: Option<PeerHandle>,
}

impl Giver {
    pub(crate) fn new() -> Self {
        Self {
            takers: Slab::new(),
            line: VecDeque::new(),
            heard: VecDeque::new(),
            given: VecDeque::new(),
            orders: VecDeque::new(),
            underway: None,
            answers: Vec::new(),
        }
    }

    /// Whether nobody is there to be given anything, and nobody wants that.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.takers.is_empty() && self.orders.is_empty() && self.given.is_empty() && self.answers.is_empty()
    }

    /// Whether peers stand still because it is not known whose they are: a takeover has to wait until that is known.
    pub(crate) fn is_frozen(&self) -> bool {
        self.underway.as_ref().is_some_and(|underway| underway.giving.is_frozen())
    }

    /// What came of what a supervisor has asked for, since this was last called.
    pub(crate) fn answers(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.answers)
    }

    // ── Who calls ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Somebody waits to be given peers.
    pub(crate) fn line_up<L: Lanes>(&mut self, channel: Channel, pid: u32, hello: Hello, with: &mut Lent<'_, L>) {
        if let Some(key) = self.know(channel, pid, true, with) {
            debug!("Pid {pid} waits to be given peers");
            self.takers[key].hello = Some(hello);
            self.line.push_back(key);
        }
    }

    /// Somebody wants peers to be moved to another server.
    pub(crate) fn order<L: Lanes>(&mut self, channel: Channel, pid: u32, request: &Move, with: &mut Lent<'_, L>) {
        let to = Path::new(OsStr::from_bytes(&request.to));
        match self.call_for_order(to, with) {
            Ok(taker) => self.begin_order(Asker::Caller(channel), taker, &request.which, with),
            Err(reason) => {
                if with.limited.admits(Kind::Caller, with.now) {
                    warn!("Move of peers to {}, asked for by pid {pid}, refused: {reason}", to.display());
                }
                channel.close_with(&Frame::Refuse(Refuse::because(&reason)).encode());
            }
        }
    }

    /// The supervisor wants this part of the peers to be moved to another worker.
    pub(crate) fn order_share<L: Lanes>(&mut self, share: Fraction, to: &Path, with: &mut Lent<'_, L>) {
        let movable = with.lanes.all().filter(|lane| lane.is_movable());
        let count = share.of(movable.map(|lane| lane.peers() as u64).sum());
        match self.call_for_order(to, with) {
            Ok(taker) => self.begin_order(Asker::Supervisor, taker, &Which::Count(count), with),
            Err(reason) => {
                warn!("Move of {share} of the peers to {} refused: {reason}", to.display());
                self.answers.push(0);
            }
        }
    }

    fn begin_order<L: Lanes>(&mut self, asker: Asker, taker: usize, which: &Which, with: &mut Lent<'_, L>) {
        let mut order = Order::new(which, asker, taker, &*with.lanes, with.now);
        order.moved.taker_pid = self.takers[taker].pid;
        self.orders.push_back(order);
    }

    /// Calls on a server's takeover path, if there is anybody who could be moved there.
    fn call_for_order<L: Lanes>(&mut self, to: &Path, with: &mut Lent<'_, L>) -> Result<usize, String> {
        if with.lanes.all().any(|lane| lane.is_movable()) {
            return self.call(to, with);
        }
        let services: Vec<&str> = with.lanes.all().map(|lane| lane.name()).collect();
        Err(format!("the peers of {} cannot do without what they share (MOVABLE)", services.join(", ")))
    }

    /// Calls on a server's takeover path, to give it peers.
    fn call<L: Lanes>(&mut self, to: &Path, with: &mut Lent<'_, L>) -> Result<usize, String> {
        let Call { socket, pid } = call(to).map_err(|error| format!("{}: {error}", to.display()))?;
        if pid == std::process::id() {
            return Err(format!("{} is this server's own takeover path", to.display()));
        }
        let mut channel = Channel::of_predecessor(socket).map_err(|error| error.to_string())?;
        let give = Frame::Give(Give { wire_versions: WIRE_VERSIONS, build: BUILD.to_owned() });
        channel.post(&give.encode()).map_err(|error| error.to_string())?;
        self.know(channel, pid, false, with).ok_or_else(|| format!("{TAKERS_MAX} takers are known already"))
    }

    pub(crate) fn know<L: Lanes>(
        &mut self,
        mut channel: Channel,
        pid: u32,
        waits: bool,
        with: &mut Lent<'_, L>,
    ) -> Option<usize> {
        let max = if waits { WAITING_MAX } else { TAKERS_MAX };
        if self.takers.len() >= max {
            let reason = format!("{max} wait already");
            channel.close_with(&Frame::Refuse(Refuse::because(&reason)).encode());
            return None;
        }
        let entry = self.takers.vacant_entry();
        let key = entry.key();
        let token = Tokens::of(Name::Giver).token(key);
        let registered = with.registry.register(channel.source(), token, Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = registered {
            warn!("Pid {pid} cannot be given peers: {error}");
            return None;
        }
        entry.insert(Taker { channel: Some(channel), pid, hello: None, waits, since: with.now });
        self.heard.push_back(key);
        Some(key)
    }

    /// How many wait to be given peers.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Whether something that was asked for is not at its end.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty() || self.underway.is_some()
    }

    /// Whether a batch is on its way.
    #[cfg(test)]
    pub(crate) fn has_begun(&self) -> bool {
        self.underway.is_some()
    }

    /// The supervisor wants these to go to a taker that is known.
    #[cfg(test)]
    pub(crate) fn begin_order_of<L: Lanes>(&mut self, which: Which, taker: usize, with: &mut Lent<'_, L>) {
        self.begin_order(Asker::Supervisor, taker, &which, with);
    }

    // ── A turn ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Hears takers, and goes on with what is to be given. `may_begin` is false while all peers are about to leave.
    pub(crate) fn tend<L: Lanes>(&mut self, with: &mut Lent<'_, L>, may_begin: bool) {
        with.lanes.each(|lane| self.given.extend(lane.given()));
        for key in std::mem::take(&mut self.heard) {
            self.hear_taker(key, with);
        }
        self.judge(with);
        self.turn(with);
        while may_begin && self.underway.is_none() && self.begin(with) {}
        if !may_begin {
            self.keep_all_given(with);
        }
        let waiting = if may_begin { self.line.len() } else { 0 };
        with.lanes.each(|lane| lane.table_mut().peers_mut().set_takers(waiting));
        // Whom a service has given away in a call that this has led to.
        with.lanes.each(|lane| self.given.extend(lane.given()));
    }

    fn hear_taker<L: Lanes>(&mut self, key: usize, with: &mut Lent<'_, L>) {
        for _ in 0..FRAMES_PER_TURN {
            let Some(taker) = self.takers.get_mut(key) else { return };
            let Some(channel) = &mut taker.channel else { return };
            let why = match channel.flush().and_then(|_| channel.receive()) {
                Ok(None) => return,
                Ok(Some(raw)) => match raw.decode() {
                    Ok(Frame::Wait(hello)) => {
                        taker.hello = Some(hello);
                        if taker.waits && !self.line.contains(&key) {
                            debug!("Pid {} waits to be given peers", taker.pid);
                            self.line.push_back(key);
                        }
                        continue;
                    }
                    Ok(Frame::Serving(serving)) => {
                        debug!("Peers that were given to pid {} stood still for {} us", taker.pid, serving.pause_us);
                        self.note_pause(key, serving.pause_us);
                        continue;
                    }
                    Ok(Frame::Refuse(refuse)) => printable(&refuse.reason),
                    Ok(frame) => format!("the taker sent {:?} where it has nothing to say", frame.kind()),
                    Err(error) => error.to_string(),
                },
                Err(ChannelError::Closed) => "the taker has left".to_owned(),
                Err(error) => error.to_string(),
            };
            return self.forget(key, &why, with);
        }
        self.heard.push_back(key);
    }

    fn note_pause(&mut self, taker: usize, pause_us: u64) {
        if let Some(order) = self.orders.front_mut().filter(|order| order.taker == taker) {
            order.moved.pause_max_us = order.moved.pause_max_us.max(pause_us);
        }
    }

    /// A taker cannot be given anything any more.
    fn forget<L: Lanes>(&mut self, key: usize, why: &str, with: &mut Lent<'_, L>) {
        let taker = self.takers.remove(key);
        self.line.retain(|waiting| *waiting != key);
        self.heard.retain(|heard| *heard != key);
        debug!("Pid {} is given no more peers: {why}", taker.pid);
        if let Some(mut channel) = taker.channel {
            // Nobody else has a duplicate: whatever this says, the entry goes with the descriptor.
            let _ = with.registry.deregister(channel.source());
        }
        while let Some(place) = self.orders.iter().position(|order| order.taker == key) {
            let order = self.orders.remove(place).expect("it was just found");
            self.conclude(order, Some(why.to_owned()), with);
        }
    }

    /// Gives up takers that were called and have said nothing for too long.
    fn judge<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let now = with.now;
        let is_overdue = |taker: &Taker| taker.is_awaited() && now >= taker.since + WAIT_PATIENCE;
        while let Some((key, _)) = self.takers.iter().find(|(_, taker)| is_overdue(taker)) {
            let why = format!("the taker was silent for {} ms", WAIT_PATIENCE.as_millis());
            self.forget(key, &why, with);
        }
    }

    /// Gives the batch that is under way its turn.
    fn turn<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        if let Some(Underway { giving, taker, given }) = self.underway.take() {
            let lane = with.lanes.lane_mut(giving.lane());
            match giving.turn(lane, with.freeze_timeout, with.now) {
                Turned::On(giving) => self.underway = Some(Underway { giving, taker, given }),
                turned => self.end_batch(turned, taker, given, with),
            }
        }
    }

    fn end_batch<L: Lanes>(&mut self, turned: Turned, taker: usize, given: Option<PeerHandle>, with: &mut Lent<'_, L>) {
        match turned {
            Turned::On(_) => unreachable!("it is not at its end"),
            Turned::Given(channel, batch) => self.part_with(channel, &batch, taker, given, with),
            Turned::Kept(batch, failure) => self.keep(&batch, &failure, taker, given, with),
            Turned::Abandoned(batch, why) => {
                with.lanes.lane_mut(batch.lane()).table_mut().unwatch(Recipient::Successor);
                self.given.extend(given);
                self.forget(taker, &why, with);
            }
        }
    }

    /// The taker owns the peers of a batch.
    fn part_with<L: Lanes>(
        &mut self,
        channel: Channel,
        batch: &Batch,
        taker: usize,
        given: Option<PeerHandle>,
        with: &mut Lent<'_, L>,
    ) {
        fault::here(Step::Disband);
        let lane = with.lanes.lane_mut(batch.lane());
        lane.table_mut().unwatch(Recipient::Successor);
        if let Some(order) = self.orders.front_mut().filter(|_| given.is_none()) {
            order.have_found(batch.handles(), lane.table());
        }
        let peers = batch.handles().map(|handle| lane.part_with_given(handle)).count() as u64;
        let known = &mut self.takers[taker];
        (known.channel, known.since) = (Some(channel), with.now);
        // It may have said something that no event will tell of.
        self.heard.push_back(taker);
        let pid = known.pid;
        with.annals.tell(Milestone::Gave { peers, pid });
        // Who came to be tied to one that stays is still here, and hears that.
        self.given.extend(given.filter(|given| lane.table().peers().of_handle(*given).is_some()));
        match self.orders.front_mut().filter(|_| given.is_none()) {
            Some(order) => order.have_moved(peers),
            None if with.limited.admits(Kind::Moved, with.now) => info!("Gave {} to pid {pid}", Peers(peers)),
            None => {}
        }
    }

    /// The taker has nothing of it: the peers stay, and go on.
    fn keep<L: Lanes>(
        &mut self,
        batch: &Batch,
        failure: &Failure,
        taker: usize,
        given: Option<PeerHandle>,
        with: &mut Lent<'_, L>,
    ) {
        fault::here(Step::Thaw);
        let lane = with.lanes.lane_mut(batch.lane());
        lane.table_mut().unwatch(Recipient::Successor);
        batch.handles().for_each(|handle| lane.keep(handle));
        let pid = self.takers[taker].pid;
        if with.limited.admits(Kind::FailedTakeover, with.now) {
            let peers = batch.handles().count() as u64;
            let why = in_words_of_a_move(failure);
            warn!("Pid {pid} was not given {}: {why}; serving on", Peers(peers));
        }
        // Another one may take whom the service wants to be rid of.
        self.given.extend(given);
        self.forget(taker, &in_words_of_a_move(failure), with);
    }

    // ── What is next ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Begins with a batch, if one is to be begun. False if there is nothing to do now.
    fn begin<L: Lanes>(&mut self, with: &mut Lent<'_, L>) -> bool {
        if let Some(handle) = self.given.pop_front() {
            self.begin_given(handle, with);
            return true;
        }
        let Some(order) = self.orders.front_mut() else { return false };
        let taker = order.taker;
        if self.takers[taker].hello.is_none() {
            return false;
        }
        match order.next(&*with.lanes) {
            Next::Batch(lane, handles) => {
                if let Err(why) = self.start(taker, lane, handles, None, with) {
                    self.forget(taker, &why, with);
                }
                true
            }
            Next::Later => false,
            Next::Nobody => {
                let mut order = self.orders.pop_front().expect("it was just looked at");
                order.conclude();
                let why = order.moved.why.clone();
                self.conclude(order, why, with);
                self.forget(taker, "all that was asked for is moved", with);
                true
            }
        }
    }

    /// A service has given this peer away.
    fn begin_given<L: Lanes>(&mut self, handle: PeerHandle, with: &mut Lent<'_, L>) {
        let lane = with.lanes.lane_mut(handle.lane());
        let together = lane.table().tied_together(handle);
        if together.is_empty() {
            return;
        }
        let taker = if lane.table().stays(&together) { None } else { self.line.pop_front() };
        let Some(taker) = taker else {
            lane.table_mut().peers_mut().set_takers(self.line.len());
            return lane.keep_given(handle);
        };
        if let Err(why) = self.start(taker, handle.lane(), together, Some(handle), with) {
            self.forget(taker, &why, with);
            self.given.push_front(handle);
        }
    }

    /// Begins to give a batch to a taker that can be given peers.
    ///
    /// # Errors
    /// If that taker cannot be given these.
    fn start<L: Lanes>(
        &mut self,
        key: usize,
        lane: usize,
        handles: Vec<PeerHandle>,
        given: Option<PeerHandle>,
        with: &mut Lent<'_, L>,
    ) -> Result<(), String> {
        let taker = &mut self.takers[key];
        let hello = taker.hello.take().expect("it can be given peers");
        let mut channel = taker.channel.take().expect("no batch is on its way");
        let served = with.lanes.lane(lane);
        let estate =
            Estate { service: served.name(), state_version: served.state_version(), peers: handles.len() as u64 };
        let peer = |handle: &PeerHandle| served.table().peers().of_handle(*handle);
        let has_secrets = handles.iter().filter_map(peer).any(Peer::speaks_tls_once_it_stands);
        let admitted = check_tls(&hello, has_secrets)
            .and_then(|()| greet(&hello, &[estate], std::process::id()))
            .map(|welcome| Welcome { has_secrets, ..welcome });
        let welcome = match admitted {
            Ok(welcome) => welcome,
            Err(refusal) => {
                let why = in_words_of_a_move(&refusal);
                channel.post(&refusal.frame()).unwrap_or_else(|error| debug!("It was not told why: {error}"));
                taker.channel = Some(channel);
                return Err(why);
            }
        };
        match Giving::begin(channel, hello, welcome, Batch::of(lane, handles, has_secrets), with.now) {
            Ok(giving) => {
                with.lanes.lane_mut(lane).table_mut().watch(Recipient::Successor);
                self.underway = Some(Underway { giving, taker: key, given });
                self.turn(with);
                Ok(())
            }
            Err(failure) => Err(in_words_of_a_move(&failure)),
        }
    }

    /// Tells whoever has asked what came of it.
    fn conclude<L: Lanes>(&mut self, mut order: Order, why: Option<String>, with: &mut Lent<'_, L>) {
        let took = with.now.saturating_duration_since(order.began);
        order.moved.took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        order.moved.why = why;
        let moved = &order.moved;
        if with.limited.admits(Kind::Moved, with.now) {
            info!(
                "Moved {} of {} to pid {} in {:.3} s{}",
                moved.moved,
                Peers(moved.asked),
                moved.taker_pid,
                took.as_secs_f64(),
                moved.why.iter().map(|why| format!(": {why}")).collect::<String>(),
            );
        }
        match order.asker {
            Asker::Supervisor => self.answers.push(moved.moved),
            Asker::Caller(channel) => channel.close_with(&Frame::Moved(order.moved).encode()),
        }
    }

    // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// All peers go to a successor, or the server stops: nothing is given any more. Whoever stands still is waited for no
    /// longer.
    pub(crate) fn stop_giving<L: Lanes>(&mut self, refusal: &Refusal, with: &mut Lent<'_, L>) {
        if let Some(Underway { giving, taker, given }) = self.underway.take() {
            let lane = with.lanes.lane_mut(giving.lane());
            let turned = giving.stop(lane, refusal);
            self.end_batch(turned, taker, given, with);
        }
        while let Some(order) = self.orders.front() {
            let taker = order.taker;
            self.forget(taker, &refusal.to_string(), with);
        }
        with.lanes.each(|lane| self.given.extend(lane.given()));
        self.keep_all_given(with);
    }

    /// Nobody who was given away goes. Whoever gives one away now is told that nobody waits.
    fn keep_all_given<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        with.lanes.each(|lane| lane.table_mut().peers_mut().set_takers(0));
        for handle in std::mem::take(&mut self.given) {
            with.lanes.lane_mut(handle.lane()).keep_given(handle);
        }
    }

    // ── When ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether something is to be given of which nothing is under way yet.
    fn begins(&self) -> bool {
        let is_next = |order: &Order| self.takers.get(order.taker).is_some_and(|taker| taker.hello.is_some());
        self.underway.is_none() && (!self.given.is_empty() || self.orders.front().is_some_and(is_next))
    }

    /// When what is under way goes on, where nothing [begins](Self::begins).
    pub(crate) fn goes_on(&self, now: Instant) -> Option<Instant> {
        let underway = self.underway.as_ref().map(|underway| underway.giving.due(now));
        let awaited = self.takers.iter().filter(|(_, taker)| taker.is_awaited());
        let overdue = awaited.map(|(_, taker)| taker.since + WAIT_PATIENCE).min();
        let to_hear = (!self.heard.is_empty()).then_some(now);
        [underway, overdue, to_hear].into_iter().flatten().min()
    }
}

impl Taker {
    /// Whether it was called, and is to say something.
    fn is_awaited(&self) -> bool {
        !self.waits && self.hello.is_none() && self.channel.is_some()
    }
}

impl Source for Giver {
    /// Each taker is registered when it comes.
    fn register(&mut self, _: &Registry, _: Tokens) -> io::Result<()> {
        Ok(())
    }

    fn hear(&mut self, key: usize, event: &Event) {
        self.heard.push_back(key);
        if let Some(underway) = self.underway.as_mut().filter(|underway| underway.taker == key && event.is_writable()) {
            underway.giving.writable();
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        if self.begins() { Some(now) } else { self.goes_on(now) }
    }
}
