//! Who takes over from this server: the takeover that is under way, whoever waits for it to begin, and the successor that
//! the server has started itself. It knows how they depend on one another, and what a takeover that ends leads to.

use std::time::{Duration, Instant};

use log::{debug, warn};
use reactord_process::asker::Asker;
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::open_files;
use reactord_process::requests::version_of;

use super::lent::Lent;
use super::standbys::Standbys;
use super::upgrades::Upgrades;
use crate::account::{Account, HandshakesAccount};
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::recipient::Recipient;
use crate::sources::{Greeting, Name, Source, Sources, Tokens};
use crate::takeover::admission::{Estate, Refusal, check_files, check_tls, greet};
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, PredecessorStep};
use crate::takeover::memory;
use crate::takeover::wire::{self, Checked, Frame, Hello, Process, Welcome};

/// Who takes over, or is about to.
#[derive(Debug, Default)]
pub(super) struct Succession {
    pub(super) departure: Option<Departure>,
    /// Who wants to take over, and has to wait until it is known whose the peers are that are being given away.
    postponed: Option<Greeting>,
    /// The successor that this server has started itself.
    pub(super) upgrades: Upgrades,
    /// Whoever would serve on if this process died.
    pub(super) standbys: Option<Box<Standbys>>,
    /// Since when nobody is let in whose clients speak TLS, so that handshakes come to their end that do not move.
    holds_tls_since: Option<Instant>,
}

/// For so long the freeze waits for handshakes that do not move: a few round trips, also to the other side of the earth.
const HANDSHAKES_PATIENCE: Duration = Duration::from_secs(1);

impl Succession {
    /// That of a server that begins with these.
    pub(super) fn with_standbys(standbys: Option<Box<Standbys>>) -> Self {
        Self { standbys, ..Self::default() }
    }

    /// Whether somebody takes over, or is about to.
    pub(super) fn is_under_way(&self) -> bool {
        self.departure.is_some() || self.postponed.is_some() || self.upgrades.is_under_way()
    }

    /// The process that takes over.
    pub(super) fn successor_pid(&self) -> Option<u32> {
        self.departure.as_ref().map(Departure::pid)
    }

    /// Why nobody else can take over now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.successor_pid().map(|pid| Refusal::Busy { pid })
    }

    /// Whether short turns of the loop pay.
    pub(super) fn nears_the_freeze(&self, now: Instant) -> bool {
        self.departure.as_ref().is_some_and(|departure| departure.nears_the_freeze(now))
    }

    /// When something is to be done if no event comes before. Whoever is postponed waits while peers are `frozen` in a move.
    pub(super) fn due(&self, frozen: bool, now: Instant) -> Option<Instant> {
        let departure = self.departure.as_ref().and_then(|departure| departure.due(now));
        let postponed = self.postponed.as_ref().filter(|_| !frozen).map(|_| now);
        let waits = self.departure.as_ref().is_some_and(Departure::is_waiting);
        // Where it is not known yet since when, the next turn finds that out.
        let handshakes = waits.then(|| self.holds_tls_since.map_or(now, |since| since + HANDSHAKES_PATIENCE));
        let standbys = self.standbys.as_ref().and_then(|standbys| standbys.due(departure.is_some(), now));
        [departure, postponed, handshakes, self.upgrades.due(), standbys].into_iter().flatten().min()
    }

    // ── A takeover ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Somebody wants to take over. Returns it if it can at once: not while peers are `frozen` in a move, nor before
    /// another that waits for the end of that. There is room for one who waits.
    pub(super) fn queue(&mut self, greeting: Greeting, frozen: bool) -> Option<Greeting> {
        match &self.postponed {
            Some(first) => greeting.channel.close_with(&Refusal::Busy { pid: first.pid }.frame()),
            None if frozen => self.postponed = Some(greeting),
            None => return Some(greeting),
        }
        None
    }

    /// Whoever has waited.
    pub(super) fn take_postponed(&mut self) -> Option<Greeting> {
        self.postponed.take()
    }

    /// Whether a standby would serve on if this process died.
    pub(super) fn is_sheltered(&self) -> bool {
        self.standbys.as_ref().is_some_and(|standbys| standbys.is_armed())
    }

    /// Who follows this server.
    pub(super) fn standby_pid(&self) -> Option<u32> {
        self.standbys.as_ref().and_then(|standbys| standbys.pid())
    }

    /// Why peers are neither given to others nor taken from them now.
    pub(super) fn keeps_peers(&self) -> Option<Refusal> {
        self.refusal().or_else(|| self.standby_pid().map(|pid| Refusal::KeepsPeers { pid }))
    }

    /// Welcomes who wants to follow, if it can, and unless there is a reason not to have a standby now.
    #[cold]
    pub(super) fn follow<L: Lanes>(
        &mut self,
        mut greeting: Greeting,
        why_not: Option<Refusal>,
        with: &mut Lent<'_, L>,
    ) {
        let pid = greeting.pid;
        let busy = self.refusal().or_else(|| self.standby_pid().map(|pid| Refusal::Followed { pid })).or(why_not);
        let judged = busy.map_or_else(|| welcome(&mut greeting.hello, pid, with), Err);
        match judged {
            Ok(welcome) => {
                self.standbys.get_or_insert_default().begin(greeting, welcome, with);
            }
            Err(refusal) => {
                if with.limited.admits(Kind::Caller, with.now) {
                    let (Process { build, .. }, here) = (with.successor(&greeting.hello, pid), with.process());
                    let version = version_of(&build);
                    warn!("Standby pid {pid} ({version}) refused: {refusal}; serving on as {here}");
                }
                greeting.channel.close_with(&refusal.frame_by(&with.process()));
            }
        }
    }

    /// The loop has turned.
    #[cold]
    pub(super) fn tend_standbys<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let Some(standbys) = &mut self.standbys else { return };
        standbys.turn(self.departure.is_some(), with);
        if standbys.are_none() {
            self.standbys = None;
        }
    }

    /// Says that a standby is armed, if one has just come to be: nothing waits for that any more.
    pub(super) fn tell_armed<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        self.standbys.iter_mut().for_each(|standbys| standbys.tell_armed(with));
    }

    /// Whether a standby is started whenever none is there.
    pub(super) fn keeps_standby(&self) -> bool {
        self.standbys.as_ref().is_some_and(|standbys| standbys.keeps_one())
    }

    /// Whoever was started as a standby and has been dismissed is gone from here on.
    pub(super) fn see_standby_off(&mut self) {
        self.standbys.iter_mut().for_each(|standbys| standbys.see_off());
    }

    /// Nobody follows any more.
    pub(super) fn dismiss_standby<L: Lanes>(&mut self, why: &Refusal, with: &mut Lent<'_, L>) {
        self.standbys.iter_mut().for_each(|standbys| standbys.dismiss(why, with));
    }

    /// Judges who has said Hello, and refuses it if it cannot take over.
    pub(super) fn admit<L: Lanes>(
        &mut self,
        mut greeting: Greeting,
        with: &mut Lent<'_, L>,
    ) -> Option<(Greeting, Welcome)> {
        let pid = greeting.pid;
        let successor = with.successor(&greeting.hello, pid);
        self.upgrades.note_caller(&greeting.hello, &successor);
        let refusal = match self.judge(&mut greeting.hello, pid, with) {
            Ok(welcome) => return Some((greeting, welcome)),
            Err(refusal) => refusal,
        };
        self.upgrades.object_to_caller(&greeting.hello, &refusal, with.now);
        with.annals.tell(Milestone::TakeoverFailed { pid, why: &refusal.to_string() });
        if with.limited.admits(Kind::Caller, with.now) {
            let (version, here) = (version_of(&successor.build), with.process());
            warn!("Takeover by pid {pid} ({version}) refused: {refusal}; serving on as {here}");
        }
        greeting.channel.close_with(&refusal.frame_by(&with.process()));
        None
    }

    /// Begins a takeover by who was admitted.
    pub(super) fn begin<L: Lanes>(&mut self, greeting: Greeting, welcome: Welcome, with: &mut Lent<'_, L>) {
        let pid = greeting.pid;
        // One that is armed follows on until this has come to its end; any other would serve nobody on.
        if !self.is_sheltered() {
            self.dismiss_standby(&Refusal::TakenOver { pid }, with);
        }
        let successor = with.successor(&greeting.hello, pid);
        let mut keys_end = with.lanes.keys_end();
        keys_end.push(with.sources.vestibule.keys_end());
        let takeover = with.takeover_listener().expect("whoever calls, calls there");
        let (entrance, to) = (&with.sources.entrance, Recipient::Successor);
        let begun = Departure::begin(greeting, welcome, entrance, takeover, to, &keys_end, with.now);
        let registered = begun.and_then(|mut departure| {
            let registered = departure.register(with.registry, Tokens::of(Name::Departure));
            registered.map(|()| departure).map_err(|error| ChannelError::Io(error).into())
        });
        match registered {
            Ok(departure) => {
                debug!("Takeover by pid {pid} begins, with {} peers", with.lanes.peers());
                with.sources.entrance.lend();
                with.lanes.watch(Recipient::Successor);
                with.sources.vestibule.watch();
                self.departure = Some(departure);
                with.annals.tell(Milestone::TakeoverBegins { pid });
            }
            Err(failure) => self.thaw(&successor, &failure, with),
        }
    }

    /// Whether a successor that says this can take over.
    fn judge<L: Lanes>(&self, hello: &mut Hello, pid: u32, with: &mut Lent<'_, L>) -> Result<Welcome, Refusal> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        self.upgrades.check(hello)?;
        welcome(hello, pid, with)
    }

    /// Says whether somebody could take over.
    #[cold]
    pub(super) fn check<L: Lanes>(&self, channel: Channel, pid: u32, mut hello: Hello, with: &mut Lent<'_, L>) {
        let (welcome, why) = match self.judge(&mut hello, pid, with) {
            Ok(welcome) => (Some(welcome), None),
            Err(refusal) => (None, Some(refusal.to_string())),
        };
        let others = with.lanes.peers() + with.sources.vestibule.len();
        let checked = Checked {
            server: with.process(),
            welcome,
            why,
            files_needed: hello.files_open.saturating_add((open_files::RESERVED + others) as u64),
            listeners: with.sources.entrance.listeners().count() as u64,
        };
        channel.close_with(&Frame::Checked(Box::new(checked)).encode());
    }

    /// Gives the takeover that is under way its turn. Returns the successor's process id when it owns the peers.
    pub(super) fn hand_over<L: Lanes>(&mut self, with: &mut Lent<'_, L>) -> Option<u32> {
        let departure = self.departure.take()?;
        let successor = departure.successor().clone();
        let freeze_timeout = with.config.freeze_timeout;
        let waits_no_more = self.hold_tls(&departure, with);
        let committed = match departure.turn(
            with.lanes,
            &mut with.sources.vestibule,
            freeze_timeout,
            waits_no_more,
            Instant::now(),
        ) {
            Ok(Turned::Copying(departure)) => {
                self.departure = Some(departure);
                return None;
            }
            Ok(Turned::Ready(ready)) => {
                let lost = with.sources.vestibule.bound();
                let handshakes = account_without(lost, with.sources.vestibule.account());
                let ready = ready.handing_on(Account { handshakes, ..with.annals.account(with.lanes) });
                let licence = self.standbys.as_ref().and_then(|standbys| standbys.licensor());
                let committed = ready.commit(with.lanes, &mut with.sources.vestibule, licence, freeze_timeout);
                committed.map(|handed_over| (handed_over, lost))
            }
            Err(failure) => Err(failure),
        };
        match committed {
            Ok((handed_over, handshakes)) => {
                if handshakes > 0 {
                    warn!("{handshakes} TLS handshakes were under way at the freeze, and are lost with this process");
                }
                let summary = handed_over.retire();
                self.dismiss_standby(&Refusal::TakenOver { pid: successor.pid }, with);
                with.annals.tell(Milestone::HandedOver((&summary).into()));
                self.upgrades.end(&summary, with);
                Some(successor.pid)
            }
            Err(failure) => {
                self.thaw(&successor, &failure, with);
                None
            }
        }
    }

    /// Where a TLS handshake is under way that the successor cannot go on with, nobody more is let in who speaks TLS, from when
    /// little is left to be copied until this takeover has failed: who comes is let in by the successor. Says whether such
    /// handshakes have been waited for long enough.
    fn hold_tls<L: Lanes>(&mut self, departure: &Departure, with: &mut Lent<'_, L>) -> bool {
        let vestibule = &mut with.sources.vestibule;
        vestibule.send_along_answered(departure.goes_on_with_answered());
        // To count them takes as long as there are some, so that is done where it matters. A round in between ends nothing: the
        // time would begin anew with each that takes long.
        if self.holds_tls_since.is_none() && departure.nears_the_freeze(with.now) && vestibule.bound() > 0 {
            self.holds_tls_since = Some(with.now);
            with.sources.entrance.hold_tls(true);
        }
        self.holds_tls_since.is_some_and(|since| with.now >= since + HANDSHAKES_PATIENCE)
    }

    /// A takeover has failed. No edge was consumed while the loop was not polled, so to poll again is all there is to
    /// do.
    fn thaw<L: Lanes>(&mut self, successor: &Process, failure: &Failure, with: &mut Lent<'_, L>) {
        fault::here(PredecessorStep::Thaw);
        self.holds_tls_since = None;
        with.lanes.unwatch(Recipient::Successor);
        with.sources.vestibule.unwatch();
        with.sources.entrance.take_back();
        let Process { build, pid, .. } = successor;
        let (pid, why) = (*pid, failure.to_string());
        self.upgrades.object_to_failed(pid, failure, with.now);
        with.annals.tell(Milestone::TakeoverFailed { pid, why: &why });
        if with.limited.admits(Kind::FailedTakeover, with.now) {
            let (version, peers, here) = (version_of(build), with.lanes.peers(), with.process());
            warn!("Takeover by pid {pid} ({version}) failed: {why}; serving on with {peers} peers as {here}");
        }
        self.standbys.iter_mut().for_each(|standbys| standbys.dismiss_unlicensed(&Refusal::Relieved { pid }, with));
    }

    /// Nobody takes over any more: the server ends with its peers.
    pub(super) fn abandon<L: Lanes>(&mut self, refusal: &Refusal, with: &mut Lent<'_, L>) {
        self.dismiss_standby(refusal, with);
        self.standbys.iter_mut().for_each(|standbys| standbys.keep_none());
        if let Some(postponed) = self.postponed.take() {
            postponed.channel.close_with(&refusal.frame());
        }
        if let Some(departure) = self.departure.take() {
            departure.abandon(refusal);
            with.lanes.unwatch(Recipient::Successor);
            with.sources.vestibule.unwatch();
        }
        self.upgrades.abandon(refusal, with);
    }

    // ── Upgrades ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Starts a successor, unless there is a reason not to: that the server stops, for one.
    #[cold]
    pub(super) fn upgrade<L: Lanes>(
        &mut self,
        asker: Asker,
        request: &wire::Upgrade,
        stops: bool,
        with: &mut Lent<'_, L>,
    ) {
        let refusal = match self.upgrades.refusal().or_else(|| self.refusal()) {
            None if stops => Some(Refusal::Stopping),
            None if with.sources.callers.is_none() => Some(Refusal::NoPath),
            None if with.config.successor.is_none() => Some(Refusal::NoProgram),
            refusal => refusal,
        };
        self.upgrades.begin(asker, request, refusal, with);
    }

    /// The upgrade that is under way has its turn. If its successor is given up, a takeover by that comes to nothing.
    #[cold]
    pub(super) fn tend_upgrade<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        if self.upgrades.give_up_overdue(with.now)
            && let Some(departure) = self.departure.take_if(|departure| self.upgrades.has_called_as(departure.pid()))
        {
            let successor = departure.successor().clone();
            departure.abandon(&Refusal::GivenUp);
            self.thaw(&successor, &Failure::GivenUp, with);
        }
        // Behind the peers come those who wait for the end of a handshake.
        let peers = with.lanes.peers() as u64;
        let copied = self.departure.as_ref().map(|departure| departure.copied().min(peers));
        self.upgrades.tend(copied, with);
    }
}

/// Whether there are peers that speak TLS, or may be before a takeover that begins now has come to its end.
fn may_have_secrets<L: Lanes>(with: &Lent<'_, L>) -> bool {
    let Sources { entrance, vestibule, .. } = &*with.sources;
    let have_come = vestibule.len() > 0 || with.lanes.all().any(|lane| lane.table().speaks_tls());
    have_come || entrance.speaks_tls() || !with.config.connectors.is_empty()
}

/// What a successor counts on from of TLS handshakes, so many of which end with this process.
fn account_without(lost: usize, account: Option<HandshakesAccount>) -> Option<HandshakesAccount> {
    match (lost as u64, account) {
        (0, account) => account,
        (lost, account) => {
            let before = account.unwrap_or_default();
            Some(HandshakesAccount { failed: before.failed + lost, ..before })
        }
    }
}

/// What there is to take over of a lane.
pub(crate) fn estate_of(lane: &dyn AnyLane) -> Estate {
    Estate { service: lane.name(), state_version: lane.state_version(), peers: lane.peers() as u64 }
}

/// Whether a process that says this can go on with everything.
fn welcome<L: Lanes>(hello: &mut Hello, pid: u32, with: &mut Lent<'_, L>) -> Result<Welcome, Refusal> {
    // It gets these before it gets any peer.
    let listeners = with.sources.entrance.listeners().count() as u64;
    hello.files_open = hello.files_open.saturating_add(listeners);
    let has_secrets = may_have_secrets(with);
    check_tls(hello, has_secrets)?;
    let estates: Vec<Estate> = with.lanes.all().map(estate_of).collect();
    let generation = with.annals.generation();
    let welcome = Welcome { generation, has_secrets, ..greet(hello, &estates, std::process::id())? };
    let handshakes = with.sources.vestibule.len();
    check_files(hello, (with.lanes.peers() + handshakes) as u64)?;
    memory::check(pid, with.lanes, handshakes)?;
    Ok(welcome)
}
