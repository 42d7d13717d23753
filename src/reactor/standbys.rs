//! Who would serve on if this process died: the standby that follows it, whoever has started that, and the one that it starts itself.
//! There is one at a time, and none begins to follow while somebody takes over.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::event::Event;
use reactord_process::requests::version_of;

use super::lent::Lent;
use crate::account::Account;
use crate::fault;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::recipient::Recipient;
use crate::sources::{Greeting, Listener, Name, Offer, Tokens};
use crate::standby::followed::{Followed, Turn};
use crate::standby::kept::{Became, Kept, LAUNCH_KEY};
use crate::standby::licence::Licensor;
use crate::status::StandbyStatus;
use crate::takeover::admission::Refusal;
use crate::takeover::departure::Departure;
use crate::takeover::wire::{Process, Tickets, Welcome};
use crate::tls::Tls;
use crate::upgrade::ended;

/// The key of the channel to whoever follows; what is started has others.
const CHANNEL_KEY: usize = 0;

/// How often it is looked whether a standby knows all listeners, and the keys of tickets.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// Those of a server that has some, or is to have one.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    followed: Option<(Followed, Told)>,
    /// When it is looked next whether that is otherwise by now.
    look_at: Option<Instant>,
    kept: Option<Kept>,
    armed: News,
}

/// Who knows that whoever follows is armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum News {
    /// Everybody, or nobody is.
    #[default]
    Told,
    /// Nobody yet.
    Untold,
    /// A supervisor will, when its socket takes it. Nobody else before: a death that it has to take for that of the worker is not survived.
    Said,
}

/// What a standby was told besides its peers.
#[derive(Debug)]
struct Told {
    /// The files of all listeners that it was given: it listens nowhere else.
    files: Vec<Option<(u64, u64)>>,
    /// The keys that seal tickets: what is sealed with others clients do not resume with.
    ticket_keys: Vec<[u8; 16]>,
}

impl Told {
    /// What one would be told now.
    fn now<L: Lanes>(with: &Lent<'_, L>) -> Self {
        let takeover = with.takeover_listener().map(|listener| listener.file());
        let entrance = &with.sources.entrance;
        let listeners = entrance.listeners().chain(entrance.leftovers()).map(Listener::file);
        Self {
            files: listeners.chain([takeover]).collect(),
            ticket_keys: entrance.all_tls().map(Tls::ticket_key).collect(),
        }
    }
}

impl Standbys {
    /// Those of a server that starts its standby itself.
    pub(super) fn kept(kept: Kept) -> Self {
        Self { kept: Some(kept), ..Self::default() }
    }

    /// Whether there is nothing to be done about any.
    pub(super) fn are_none(&self) -> bool {
        self.followed.is_none() && self.kept.is_none()
    }

    /// Who follows.
    pub(super) fn pid(&self) -> Option<u32> {
        self.followed.as_ref().map(|(followed, _)| followed.standby().pid)
    }

    /// Whether whoever follows could serve on.
    pub(super) fn is_armed(&self) -> bool {
        self.followed.as_ref().is_some_and(|(followed, _)| followed.is_armed())
    }

    pub(super) fn status<L: Lanes>(&self, lanes: &L) -> Option<StandbyStatus> {
        self.followed.as_ref().map(|(followed, _)| followed.status(lanes))
    }

    /// When something is to be done if no event comes before. While somebody takes over, none is started.
    pub(super) fn due(&self, is_taken_over: bool, now: Instant) -> Option<Instant> {
        match (&self.followed, &self.kept) {
            (Some((followed, _)), _) => followed.due(now),
            (None, Some(kept)) if !is_taken_over => kept.due(),
            (None, _) => None,
        }
    }

    pub(super) fn hear(&mut self, key: usize, event: &Event) {
        match (key, &mut self.followed, &mut self.kept) {
            (CHANNEL_KEY, Some((followed, _)), _) => followed.hear(event),
            (LAUNCH_KEY, _, Some(kept)) => kept.hear(),
            _ => {}
        }
    }

    // ── Who follows ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Somebody who was admitted follows from now on.
    pub(super) fn begin<L: Lanes>(&mut self, greeting: Greeting, welcome: Welcome, with: &mut Lent<'_, L>) {
        let standby = with.successor(&greeting.hello, greeting.pid);
        let mut keys_end = with.lanes.keys_end();
        // Of those who wait for their TLS handshakes it is told nothing.
        keys_end.push(0);
        let takeover = with.takeover_listener().expect("whoever calls, calls there");
        let (entrance, to) = (&with.sources.entrance, Recipient::Standby);
        let begun = Departure::begin(greeting, welcome, entrance, takeover, to, &keys_end, with.now);
        let registered = begun.map_err(|failure| failure.to_string()).and_then(|departure| {
            let epoll = with.registry.as_fd().try_clone_to_owned();
            let epoll = epoll.map_err(|error| format!("a duplicate of the epoll set: {error}"))?;
            let mut followed = Followed::begin(departure, epoll);
            let registered = followed.register(with.registry, Tokens::of(Name::Standby));
            registered.map(|()| followed).map_err(|error| format!("epoll: {error}"))
        });
        match registered {
            Ok(followed) => {
                with.lanes.watch(Recipient::Standby);
                self.followed = Some((followed, Told::now(with)));
            }
            Err(why) => report(&standby, &why, with),
        }
    }

    /// Some have had their turn.
    pub(super) fn commit_if_much<L: Lanes>(&mut self, lanes: &mut L) {
        if let Some((followed, _)) = &mut self.followed {
            followed.commit_if_much(lanes);
        }
    }

    /// Something was done that is to be known before anything else is. False if whoever could serve on does not know it: it is not to be
    /// followed any more.
    pub(super) fn commit<L: Lanes>(&mut self, lanes: &mut L) -> bool {
        self.followed.as_mut().is_none_or(|(followed, _)| followed.commit(lanes))
    }

    /// Tells of those whom a supervisor offers, before they are taken. False if whoever could serve on does not know them.
    pub(super) fn tell_of_offers(&mut self, offers: &[Offer<'_>]) -> bool {
        self.followed.as_mut().is_some_and(|(followed, _)| followed.tell_of_offers(offers))
    }

    /// The loop has turned: whoever follows is told what has changed, and one is started if there is to be one and nobody takes over.
    pub(super) fn turn<L: Lanes>(&mut self, is_taken_over: bool, with: &mut Lent<'_, L>) {
        self.hear_of_kept(with);
        if self.look_at.is_none_or(|at| with.now >= at) {
            self.look_around(with);
        }
        match self.followed.take() {
            Some((followed, told)) => self.turn_followed(followed, told, with),
            None if !is_taken_over => self.tend_kept(with),
            None => {}
        }
    }

    fn turn_followed<L: Lanes>(&mut self, followed: Followed, told: Told, with: &mut Lent<'_, L>) {
        let (freeze_timeout, annals) = (with.config.freeze_timeout, &*with.annals);
        let handshakes = with.sources.vestibule.account();
        let account = |lanes: &L| Account { handshakes, ..annals.account(lanes) };
        match followed.turn(with.lanes, account, freeze_timeout, Instant::now()) {
            Turn::On(followed) => self.followed = Some((followed, told)),
            Turn::Armed(followed) => {
                self.followed = Some((followed, told));
                self.kept.iter_mut().for_each(Kept::armed);
                self.armed = News::Untold;
            }
            Turn::Lost(standby, failure) => {
                with.lanes.unwatch(Recipient::Standby);
                with.sources.entrance.followed_by(None);
                self.kept.iter().for_each(Kept::give_up);
                report(&standby, &failure.to_string(), with);
            }
        }
    }

    /// Says that whoever follows is armed, if that is news. What has waited for it is handled by then: a death from now on costs nobody
    /// the connection.
    pub(super) fn tell_armed<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let Some((followed, _)) = &self.followed else { return self.armed = News::Told };
        let standby = followed.standby();
        match self.armed {
            News::Told => return,
            News::Untold => {
                fault::shelter(true);
                with.sources.entrance.followed_by(Some(standby.pid));
                self.armed = News::Said;
            }
            News::Said => {}
        }
        if with.sources.entrance.has_told_all() {
            self.armed = News::Told;
            info!("Standby {standby} is armed, with {} peers", followed.peers());
            with.annals.tell(Milestone::Armed { pid: standby.pid });
        }
    }

    /// Nobody follows who would listen where this server does not any more: it is another server's path by then, or has been made anew. And
    /// whoever follows has the keys of tickets as they are.
    fn look_around<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        self.look_at = Some(with.now + LOOKS_EVERY);
        let Some((followed, told)) = &mut self.followed else { return };
        let now = Told::now(with);
        if told.files != now.files {
            self.dismiss(&Refusal::Elsewhere, with);
        } else if told.ticket_keys != now.ticket_keys {
            let keys = with.sources.entrance.all_tls().map(|tls| tls.save_tickets().into()).collect();
            if followed.tell_tickets(Tickets { keys }) {
                *told = now;
            }
        }
    }

    /// Nobody follows any more, and is told why.
    pub(super) fn dismiss<L: Lanes>(&mut self, why: &Refusal, with: &mut Lent<'_, L>) {
        let Some((followed, _)) = self.followed.take() else {
            // One that has not called yet is not to call a successor.
            return self.call_off();
        };
        let standby = followed.standby().clone();
        followed.dismiss(why);
        self.kept.iter_mut().for_each(|kept| kept.dismissed(with.now));
        with.lanes.unwatch(Recipient::Standby);
        with.sources.entrance.followed_by(None);
        info!("Standby {standby} is dismissed: {why}");
        with.annals.tell(Milestone::StandbyLost { pid: standby.pid, why: &why.to_string() });
    }

    /// The licence of whoever follows.
    pub(super) fn licensor(&self) -> Option<&Licensor> {
        self.followed.as_ref().and_then(|(followed, _)| followed.licensor())
    }

    /// Nobody follows any more whose licence was taken back for a takeover that has failed since.
    pub(super) fn dismiss_unlicensed<L: Lanes>(&mut self, why: &Refusal, with: &mut Lent<'_, L>) {
        if self.licensor().is_some_and(Licensor::is_taken_back) {
            self.dismiss(why, with);
        }
    }

    // ── Who is started ─────────────────────────────────────────────────────────────────────────────────────────────

    fn tend_kept<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let is_due = |kept: &&mut Kept| kept.due().is_some_and(|at| with.now >= at);
        let Some(kept) = self.kept.as_mut().filter(is_due) else { return };
        let Some(listener) = with.sources.callers.as_ref().map(|callers| callers.listener()) else { return };
        let became = kept.tend(listener.path(), with.registry, Tokens::of(Name::Standby), with.now);
        became.into_iter().for_each(|became| say(&became, with));
    }

    fn hear_of_kept<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let became = self.kept.as_mut().and_then(|kept| kept.news(with.now));
        became.into_iter().for_each(|became| say(&became, with));
    }

    /// What was started is not to follow anybody.
    fn call_off(&self) {
        self.kept.iter().for_each(Kept::give_up);
    }

    /// No other is started: this server ends.
    pub(super) fn keep_none(&mut self) {
        self.call_off();
        self.kept = None;
    }

    /// The same where what was started has been told to leave, and leaves.
    pub(super) fn see_off(&mut self) {
        self.kept.take().into_iter().for_each(Kept::see_off);
    }

    /// Whether one is started whenever none is there.
    pub(super) fn keeps_one(&self) -> bool {
        self.kept.is_some()
    }
}

/// Says that a standby is lost that was followed.
fn report<L: Lanes>(standby: &Process, why: &str, with: &mut Lent<'_, L>) {
    let Process { build, pid, .. } = standby;
    with.annals.tell(Milestone::StandbyLost { pid: *pid, why });
    if with.limited.admits(Kind::FailedTakeover, with.now) {
        let (version, here) = (version_of(build), with.process());
        warn!("Standby pid {pid} ({version}) is lost: {why}; serving on as {here}, without a standby");
    }
}

/// Says what has become of a process that was started.
fn say<L: Lanes>(became: &Became, with: &mut Lent<'_, L>) {
    if !with.limited.admits(Kind::FailedTakeover, with.now) {
        return;
    }
    match became {
        Became::NotStarted(error) => warn!("The standby cannot be started: {error}"),
        Became::Ended(status) if status.is_some_and(|status| status.success()) => {}
        Became::Ended(status) => warn!("The standby {}; another one is started", ended(*status)),
    }
}
