//! A connection has ended: what that means for its partner, for whoever waits, and for what is told of it.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use reactord::{Closed, Context, Counted, PeerId};

use super::session::{Client, Coming, Leaving, Origin, Served, Session, Stage, Told};
use super::state::Proxy;
use crate::access_log::{End, Ended};

impl Proxy {
    /// A connection is gone.
    pub(super) fn part(&mut self, session: Session, how: &Closed, context: &mut Context<'_, Self>) {
        match session {
            Session::Coming(coming) => self.part_early(&coming, context),
            Session::Client(client) => self.part_with_client(&client, None, how, context),
            Session::Told(told) => self.part_with_client(&told.0, Some(told.1), how, context),
            Session::Server(served) => self.part_with_server(served, how, context),
            Session::Check(probe) => self.checked(*probe, how, context),
            Session::InHand => {}
        }
    }

    /// A client is gone that was not connected on.
    fn part_early(&mut self, coming: &Coming, context: &mut Context<'_, Self>) {
        let entered = &mut self.entered[coming.listener.index()];
        entered.connections = entered.connections.saturating_sub(1);
        match coming.stage {
            Stage::Queued => self.left_queue(coming),
            Stage::Connecting { server } => context.abort(server),
            _ => {}
        }
        let end = match coming.stage {
            Stage::Refused(refusal) => refusal.end(),
            _ if self.is_stopping => End::Stopped,
            _ => End::ClientLeft,
        };
        if !matches!(coming.stage, Stage::Refused(_)) {
            self.count(coming.listener, |doings| doings.add(end));
        }
        if !self.journal.is_off() {
            let listener = self.listeners.name(coming.listener);
            let ended = Ended {
                upstream: coming.upstream.as_deref(),
                retries: u32::try_from(coming.tried.len()).unwrap_or(u32::MAX),
                end,
                ..self.told(&listener, coming.accepted_ms, &coming.told, context)
            };
            self.journal.write(&ended);
        }
    }

    fn part_with_client(&mut self, client: &Client, told: Option<Told>, how: &Closed, context: &mut Context<'_, Self>) {
        let entered = &mut self.entered[client.listener.index()];
        entered.connections = entered.connections.saturating_sub(1);
        let counted = context.counted(context.peer());
        let end = self.end(client, how);
        let counted = without_ends(counted, end);
        self.count(client.listener, |doings| {
            doings.received_bytes += counted.received_bytes;
            doings.sent_bytes += counted.acknowledged_bytes;
            doings.add(end);
        });
        // Of a server that is gone from the file nobody asks when its last connection has ended.
        if self.server(client.to).is_some() || self.live[client.to.index()].connections > 0 {
            self.change(client.to, |standing| {
                standing.figures.sent_bytes += counted.received_bytes;
                standing.figures.received_bytes += counted.acknowledged_bytes;
            });
        }
        if !self.journal.is_off() {
            self.write_joined(client, told, end, counted, context);
        }
    }

    fn write_joined(
        &mut self,
        client: &Client,
        told: Option<Told>,
        end: End,
        counted: Counted,
        context: &Context<'_, Self>,
    ) {
        let origin = Origin { source: context.address(), destination: None };
        let told = told.unwrap_or(Told { origin, ..Told::default() });
        let (listener, key) = (self.listeners.name(client.listener), self.servers.name(client.to));
        let (upstream, server) = key.split_once('/').unwrap_or(("", &key));
        let ended = Ended {
            upstream: Some(upstream),
            server: Some(server),
            connecting: Some(Duration::from_millis(client.connect_ms.into())),
            received: counted.received_bytes,
            sent: counted.acknowledged_bytes,
            retries: client.retries.into(),
            end,
            takeovers: client.takeovers.into(),
            round_trip: (counted.round_trip_us > 0).then(|| Duration::from_micros(counted.round_trip_us.into())),
            retransmits: Some(counted.retransmits),
            ..self.told(&listener, client.accepted_ms, &told, context)
        };
        self.journal.write(&ended);
    }

    /// What is told of every client.
    fn told<'e>(
        &self,
        listener: &'e str,
        accepted_ms: u64,
        told: &'e Told,
        context: &'e Context<'_, Self>,
    ) -> Ended<'e> {
        let tls = context.tls(context.peer());
        let protocol = tls.as_ref().map(|facts| (facts.version(), facts.suite));
        let server_name = tls.and_then(|facts| facts.server_name).map(Cow::Owned);
        Ended {
            accepted: SystemTime::UNIX_EPOCH + Duration::from_millis(accepted_ms),
            listener,
            client: told.origin.source,
            passed_on_by: told.passed_on_by,
            server_name: server_name.or(told.server_name.as_deref().map(Cow::Borrowed)),
            tls: protocol,
            upstream: None,
            server: None,
            connecting: None,
            lasted: Duration::from_millis(self.ms(context.now()).saturating_sub(accepted_ms)),
            received: 0,
            sent: 0,
            retries: 0,
            end: End::Finished,
            round_trip: None,
            retransmits: None,
            takeovers: 0,
        }
    }

    /// How the connection of a client has ended that was joined to a server.
    fn end(&self, client: &Client, how: &Closed) -> End {
        match (client.leaving, how) {
            (Leaving::Down, _) => End::ServerDown,
            (Leaving::Closed, _) => End::Closed,
            (Leaving::Vanished, _) => End::ServerVanished,
            (Leaving::BrokenTls, _) => End::ServerTls,
            (Leaving::Removed, Closed::Deadline) => End::Removed,
            // So the loop names that the other one was lost.
            (_, Closed::Lost(error)) if error.kind() == ErrorKind::ConnectionAborted => End::ServerReset,
            (_, Closed::Lost(error)) if error.kind() == ErrorKind::TimedOut => End::ClientVanished,
            (_, Closed::Lost(error)) if error.kind() == ErrorKind::InvalidData => End::ClientTls,
            (_, Closed::Violation(_)) => End::ClientTls,
            (_, Closed::Lost(_)) => End::ClientReset,
            (_, Closed::Deadline) if client.is_half_closed => End::HalfClosed,
            (_, Closed::Deadline) => End::Idle,
            _ if self.is_stopping => End::Stopped,
            _ => End::Finished,
        }
    }

    fn part_with_server(&mut self, served: Served, how: &Closed, context: &mut Context<'_, Self>) {
        let live = &mut self.live[served.to.index()];
        live.connections = live.connections.saturating_sub(1);
        match how {
            Closed::Lost(error) if error.kind() == ErrorKind::TimedOut => {
                leave_client(served.client, Leaving::Vanished, context);
            }
            Closed::Lost(error) if error.kind() == ErrorKind::InvalidData => {
                leave_client(served.client, Leaving::BrokenTls, context);
            }
            _ => {}
        }
        if !self.is_stopping {
            // Its client may be waiting for it yet, however it has ended.
            match how {
                Closed::Unreachable(error) | Closed::Lost(error) => self.lead_on(served, error, context),
                _ => self.lead_on(served, &ErrorKind::Interrupted.into(), context),
            }
        }
        match self.server(served.to).map(|(pool, ..)| pool) {
            Some(pool) => self.serve_queue(pool, context),
            None => self.forget_if_gone(served),
        }
    }

    /// A server could not be reached: another may be.
    fn lead_on(&mut self, served: Served, error: &std::io::Error, context: &mut Context<'_, Self>) {
        let gone = context.peer();
        let is_its = |stage| stage == Stage::Connecting { server: gone };
        let coming = context.session(served.client).and_then(|session| session.take_coming(is_its));
        // Whoever has left meanwhile is no reason to think well of the server.
        let Some(mut coming) = coming else { return };
        // That this process has taken over is no reason to think ill of it.
        if error.kind() != ErrorKind::Interrupted {
            self.failed(served.to, &mut coming, error, context);
        }
        self.follow_route(&mut coming);
        let led = self.lead(served.client, coming, context);
        self.put_back(served.client, led, context);
    }

    /// Gives a client back the session that was in hand.
    pub(super) fn put_back(&mut self, client: PeerId, session: Session, context: &mut Context<'_, Self>) {
        if let Some(place) = context.session(client) {
            *place = session;
        }
    }

    /// Nobody will ask any more how a server stands that is gone from the file and has no connections.
    fn forget_if_gone(&mut self, served: Served) {
        if self.live[served.to.index()].connections == 0 {
            self.standings.remove(&*self.servers.name(served.to));
        }
    }
}

/// A client's server is gone in this way.
fn leave_client(client: PeerId, why: Leaving, context: &mut Context<'_, Proxy>) {
    if let Some(client) = context.session(client).and_then(Session::client_mut) {
        client.leaving = why;
    }
}

/// What was counted without the ends of both directions, each of which is a byte for the kernel.
fn without_ends(counted: Counted, end: End) -> Counted {
    let ends = u64::from(end == End::Finished);
    Counted {
        received_bytes: counted.received_bytes.saturating_sub(ends),
        acknowledged_bytes: counted.acknowledged_bytes.saturating_sub(ends),
        ..counted
    }
}
