//! The upgrade that is under way: the successor that this server has started itself. There is one at a time, and whoever
//! asked for it is told what has come of it.

use std::time::{Duration, Instant};

use log::{info, warn};
use mio::Registry;
use reactord_process::asker::Asker;
use reactord_process::channel::ChannelError;

use super::lent::Lent;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::sources::{Name, Source, Tokens};
use crate::takeover::admission::Refusal;
use crate::takeover::failure::Failure;
use crate::takeover::fault::{self, UpgradeStep};
use crate::takeover::summary::Summary;
use crate::takeover::wire::{self, Hello, Process};
use crate::upgrade::asking::TIMEOUT;
use crate::upgrade::{Failed, Upgrade};

/// No upgrade takes longer, whoever asks for one.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The upgrade that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    under_way: Option<Box<Upgrade>>,
}

impl Upgrades {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// When it is to be tended if no event comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|upgrade| upgrade.due())
    }

    /// Why there is no other now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.under_way.as_ref().map(|upgrade| Refusal::Upgrading { pid: upgrade.pid() })
    }

    /// Somebody asks for an upgrade, for whom the server has this answer if it does not even try: starts a successor
    /// otherwise.
    pub(super) fn begin<L: Lanes>(
        &mut self,
        asker: Asker,
        request: &wire::Upgrade,
        refusal: Option<Refusal>,
        with: &mut Lent<'_, L>,
    ) {
        let begun = match refusal {
            Some(refusal) => Err(Failed::refused(asker, refusal.to_string())),
            None => start(asker, request, with),
        };
        match begun {
            Ok(upgrade) => self.under_way = Some(Box::new(upgrade)),
            Err(failed) => report(failed, with),
        }
    }

    /// The successor has had its time by now: it is given up.
    pub(super) fn give_up_overdue(&mut self, now: Instant) -> bool {
        let overdue = self.under_way.as_mut().filter(|upgrade| upgrade.is_overdue(now));
        overdue.map(|upgrade| upgrade.give_up(now)).is_some()
    }

    /// It has its turn, with so many peers copied.
    pub(super) fn tend<L: Lanes>(&mut self, copied: Option<u64>, with: &mut Lent<'_, L>) {
        let Some(upgrade) = self.under_way.take() else { return };
        match upgrade.tend(copied, with.lanes.peers() as u64, with.now) {
            Ok(upgrade) => self.under_way = Some(Box::new(upgrade)),
            Err(failed) => report(failed, with),
        }
    }

    /// Whoever says this Hello may be the successor that was started: what the answer will call it is known from now on.
    pub(super) fn note_caller(&mut self, hello: &Hello, successor: &Process) {
        if let Some(upgrade) = self.under_way.as_mut().filter(|upgrade| upgrade.is_by(hello)) {
            upgrade.called(successor.clone());
        }
    }

    /// Whether a takeover by this process is for the upgrade.
    pub(super) fn has_called_as(&self, pid: u32) -> bool {
        self.under_way.as_ref().is_some_and(|upgrade| upgrade.has_called_as(pid))
    }

    /// Whoever was started for an upgrade takes over for that one.
    ///
    /// # Errors
    /// If it is over.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        let is_expected = self.under_way.as_ref().is_some_and(|upgrade| upgrade.is_by(hello) && upgrade.is_awaited());
        if hello.upgrade.is_none() || is_expected { Ok(()) } else { Err(Refusal::GivenUp) }
    }

    /// The successor that was started cannot take over.
    pub(super) fn object_to_caller(&mut self, hello: &Hello, refusal: &Refusal, now: Instant) {
        if let Some(upgrade) = self.under_way.as_mut().filter(|upgrade| upgrade.is_by(hello)) {
            upgrade.object(refusal.to_string(), true, now);
        }
    }

    /// The same when a takeover by this process has failed.
    pub(super) fn object_to_failed(&mut self, pid: u32, failure: &Failure, now: Instant) {
        let Some(upgrade) = self.under_way.as_mut().filter(|upgrade| upgrade.has_called_as(pid)) else { return };
        match failure {
            Failure::Channel(ChannelError::Closed) => upgrade.hung_up(failure.to_string(), now),
            _ => upgrade.object(failure.to_string(), false, now),
        }
    }

    /// A successor owns the peers: the one that was started, or another that was quicker.
    pub(super) fn end<L: Lanes>(&mut self, summary: &Summary, with: &Lent<'_, L>) {
        let Some(mut upgrade) = self.under_way.take() else { return };
        let pid = summary.successor.pid;
        if upgrade.has_called_as(pid) {
            fault::here(UpgradeStep::Answer);
            return upgrade.succeed(with.process(), summary);
        }
        info!("Upgrade given up: pid {pid} was started by somebody else, and has taken over");
        upgrade.kill_at_end();
        let failed = upgrade.abandon(format!("pid {pid} was started by somebody else, and has taken over"), true);
        failed.answer_of_another(with.process(), pid);
    }

    /// It is given up, since this server is.
    pub(super) fn abandon<L: Lanes>(&mut self, refusal: &Refusal, with: &Lent<'_, L>) {
        if let Some(mut upgrade) = self.under_way.take() {
            upgrade.kill_at_end();
            upgrade.abandon(refusal.to_string(), true).answer(with.process());
        }
    }
}

/// What SIGHUP asks for.
pub(super) fn at_hangup() -> wire::Upgrade {
    let timeout_ms = u64::try_from(TIMEOUT.as_millis()).expect("it is a minute");
    wire::Upgrade { timeout_ms, ..wire::Upgrade::default() }
}

/// Starts a successor.
///
/// # Errors
/// If it cannot even be tried.
fn start<L: Lanes>(asker: Asker, request: &wire::Upgrade, with: &mut Lent<'_, L>) -> Result<Upgrade, Failed> {
    let (Some(program), Some(listener)) = (&with.config.successor, with.takeover_listener()) else {
        unreachable!("a server that lacks either has refused");
    };
    fault::here(UpgradeStep::Start);
    let timeout_ms = request.timeout_ms.min(TIMEOUT_MAX.as_millis() as u64);
    let request = wire::Upgrade { timeout_ms, ..request.clone() };
    let asks = asker.to_string();
    let upgrade = Upgrade::begin(program, &request, listener.path(), asker, with.now)?;
    if with.limited.admits(Kind::Request, with.now) {
        info!("Upgrade, as {asks} asks: starting {}", upgrade.program());
    }
    registered(upgrade, with.registry)
}

fn registered(mut upgrade: Upgrade, registry: &Registry) -> Result<Upgrade, Failed> {
    match upgrade.register(registry, Tokens::of(Name::Upgrade)) {
        Ok(()) => Ok(upgrade),
        Err(error) => Err(upgrade.abandon(format!("epoll: {error}"), false)),
    }
}

/// Says that nothing has come of an upgrade.
fn report<L: Lanes>(failed: Failed, with: &mut Lent<'_, L>) {
    let why = failed.why();
    if failed.is_known {
        with.annals.explain_failure(&failed.reason.why, &why);
    } else {
        with.annals.tell(Milestone::TakeoverFailed { pid: failed.pid, why: &why });
    }
    if with.limited.admits(Kind::FailedTakeover, with.now) {
        let verb = if failed.reason.is_refused { "refused" } else { "failed" };
        warn!("Upgrade {verb}: {why}; serving on with {} peers as {}", with.lanes.peers(), with.process());
    }
    failed.answer(with.process());
}
