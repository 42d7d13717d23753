//! What a successor makes of what it has inherited: the file says what is to be, and what has been known goes on where the
//! file has room for it.

use std::time::{Duration, Instant};

use log::info;
use reactord::{Context, PeerId};

use super::roll::Rolled;
use super::session::{Leaving, Served, Session, Stage};
use super::state::{Gate, Proxy, TEXT};
use crate::config::{Config, OnRemoved, Route, changes};

/// Connections for which the file may say something else than that of the predecessor.
#[derive(Default)]
struct Unfinished {
    /// Clients that are joined, and whether their listener or server is gone, where it is, or was.
    joined: Vec<(PeerId, bool)>,
    /// Clients that wait for a server, in the order in which they came.
    waiting: Vec<(u64, PeerId)>,
    /// Connections to servers that are gone.
    turned_away: Vec<(PeerId, Served)>,
    /// Clients that have not said yet which name they ask for.
    silent: Vec<PeerId>,
}

impl Proxy {
    /// All that the predecessor had is here.
    pub(super) fn succeed(&mut self, context: &mut Context<'_, Self>) {
        self.say_changes();
        self.make_room();
        let unfinished = self.count_connections(context);
        self.follow_file(context.now());
        self.remember_addresses();
        self.go_on_with(unfinished, context);
        self.resolve_names(context);
        self.spread_checks(None, context);
        self.remember_left_out(context);
        self.serve_queues(context);
    }

    /// Says what is different from what the predecessor did, and is what a successor will compare with.
    fn say_changes(&mut self) {
        let earlier = self.texts.get(TEXT).and_then(|text| Config::read("", text).ok());
        match (earlier, self.text.take()) {
            (Some(earlier), Some(text)) => {
                info!("Configuration: {}", changes(&earlier, &self.config));
                self.texts.insert(TEXT.to_owned(), text);
            }
            (None, Some(text)) => drop(self.texts.insert(TEXT.to_owned(), text)),
            (_, None) => self.texts.clear(),
        }
    }

    fn count_connections(&mut self, context: &Context<'_, Self>) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for id in context.peers() {
            match context.look(id) {
                Some(Session::Coming(coming)) => {
                    self.entered[coming.listener.index()].connections += 1;
                    match coming.stage {
                        Stage::Queued => unfinished.waiting.push((coming.accepted_ms, id)),
                        Stage::Hello => unfinished.silent.push(id),
                        _ => {}
                    }
                }
                Some(Session::Server(served)) => {
                    self.live[served.to.index()].connections += 1;
                    if self.server(served.to).is_none() {
                        unfinished.turned_away.push((id, *served));
                    }
                }
                Some(session) => {
                    if let Some((client, _)) = session.client() {
                        self.entered[client.listener.index()].connections += 1;
                        let is_gone = self.is_gone(client.listener, client.to);
                        if is_gone || client.leaving == Leaving::Removed {
                            unfinished.joined.push((id, is_gone));
                        }
                    }
                }
                None => {}
            }
        }
        unfinished.waiting.sort_unstable();
        unfinished
    }

    fn go_on_with(&mut self, unfinished: Unfinished, context: &mut Context<'_, Self>) {
        let Unfinished { joined, waiting, turned_away, silent } = unfinished;
        joined.into_iter().for_each(|(client, is_gone)| self.follow_removal(client, is_gone, context));
        waiting.into_iter().for_each(|(_, client)| self.wait_on(client, context));
        turned_away.into_iter().for_each(|(server, served)| self.turn_away(server, served, context));
        silent.into_iter().for_each(|client| self.let_be_silent(client, context));
    }

    /// Somebody is to say which name it asks for. Where the file does not want to know any more, it is led on.
    fn let_be_silent(&mut self, id: PeerId, context: &mut Context<'_, Self>) {
        let Some(coming) = context.session(id).and_then(|session| session.take_coming(|_| true)) else { return };
        let listener = self.listener(coming.listener);
        let session = match listener.is_some_and(|listener| matches!(listener.route, Route::Sni(_))) {
            true => Session::Coming(coming),
            false => self.lead_by_route(id, coming, context),
        };
        self.put_back(id, session, context);
    }

    /// Whether a listener or a server is not in the file any more.
    pub(super) fn is_gone(&self, listener: Rolled, server: Rolled) -> bool {
        self.listener(listener).is_none() || self.server(server).is_none()
    }

    /// The listener or the server of a client is gone from the file, or is there again.
    pub(super) fn follow_removal(&mut self, id: PeerId, is_gone: bool, context: &mut Context<'_, Self>) {
        let Some(client) = context.session(id).and_then(Session::client_mut) else { return };
        let after = match self.config.on_removed {
            // It has had its time since it was gone first.
            OnRemoved::CloseAfter(_) if is_gone && client.leaving == Leaving::Removed => return,
            OnRemoved::Close if is_gone => Some(Duration::ZERO),
            OnRemoved::CloseAfter(after) if is_gone => Some(after),
            OnRemoved::Keep | OnRemoved::Close | OnRemoved::CloseAfter(_) => None,
        };
        client.leaving = if after.is_some() { Leaving::Removed } else { Leaving::No };
        context.set_deadline(id, after);
    }

    /// Somebody has waited for a server, and waits on, unless there is no such upstream any more.
    fn wait_on(&mut self, id: PeerId, context: &mut Context<'_, Self>) {
        let Some(mut coming) = context.session(id).and_then(|session| session.take_coming(|_| true)) else { return };
        self.follow_route(&mut coming);
        let session = match coming.upstream.as_deref().and_then(|name| self.pool(name)) {
            Some(pool) => {
                self.pools[pool].queue.push_back(id);
                self.pools[pool].waiting += 1;
                Session::Coming(coming)
            }
            None => self.lead(id, coming, context),
        };
        self.put_back(id, session, context);
    }

    /// What the file does not ask for any more is forgotten; what is gone from it, too, unless it has connections.
    fn follow_file(&mut self, now: Instant) {
        let now_ms = self.ms(now);
        for number in (0..self.servers_of_file()).map(Rolled::at) {
            let upstream = self.server(number).map(|(_, upstream, _)| upstream.clone()).expect("it is in the file");
            if self.standings.contains_key(&*self.servers.name(number)) {
                self.change(number, |standing| standing.follow(&upstream, now_ms));
            }
        }
        let Self { servers, live, standings, doings, listeners, .. } = self;
        let has_place = |name: &String| servers.find(name).map(Rolled::index);
        let in_file = self
            .pools
            .last()
            .map_or(0, |pool| pool.first + self.config.upstreams.last().map_or(0, |upstream| upstream.servers.len()));
        let before = standings.len();
        standings
            .retain(|name, _| has_place(name).is_some_and(|number| number < in_file || live[number].connections > 0));
        for (name, standing) in standings.iter() {
            if let Some(number) = has_place(name) {
                live[number].gate = Gate::of(standing);
            }
        }
        let listeners_before = doings.len();
        doings.retain(|name, _| listeners.find(name).is_some());
        self.queued.retain(|name, _| self.config.upstream(name).is_some());
        let gone = (before - standings.len(), listeners_before - doings.len());
        if gone != (0, 0) {
            info!(
                "{} servers and {} listeners are gone from the configuration with all their connections",
                gone.0, gone.1
            );
        }
    }
}
