//! A client comes: whether it may, and what it has to say before it is known where to it is led.

use std::net::{IpAddr, SocketAddr};

use log::debug;
use reactord::{Accepted, Context, PeerId, Violation};

use super::refusal::Refusal;
use super::roll::Rolled;
use super::session::{Coming, Origin, Session, Stage, Told};
use super::state::Proxy;
use crate::client_hello::{self, ClientHello};
use crate::config::Route;
use crate::proxy_header::{self, Addresses, Header};

/// So much of what a client has to say to its server is read while it waits for one.
const WAITING_BYTES: usize = 4 * 1024;

impl Proxy {
    /// Somebody has connected.
    pub(super) fn accept(&mut self, how: &Accepted<'_>, context: &mut Context<'_, Self>) -> Session {
        // One that is emptied, for it is gone from the file, has the name that it had in another process.
        let door = self.doors.get(how.listener).copied();
        let listener = door.unwrap_or_else(|| self.gone_listener(how.listener));
        self.entered[listener.index()].connections += 1;
        self.count(listener, |doings| doings.accepted += 1);
        let server_name = context.tls(context.peer()).and_then(|facts| facts.server_name).map(Box::from);
        let coming = Box::new(Coming {
            listener,
            accepted_ms: self.ms(context.now()),
            told: Told { origin: Origin { source: how.from, destination: how.at }, server_name, ..Told::default() },
            stage: Stage::Header,
            upstream: None,
            tried: Vec::new(),
            has_timed_out: false,
            has_spoken: false,
        });
        self.receive(coming, how.preface, context)
    }

    /// How many more clients may come in at one of the places of a listener. Whoever comes there while it is none waits in the
    /// kernel, as long as its backlog has room. Whose TLS handshake is under way at any of them, as `arriving` says, is in already.
    pub(super) fn room_at(&self, door: &str, arriving: &dyn Fn(&str) -> usize) -> usize {
        let Some(number) = self.doors.get(door).copied() else { return usize::MAX };
        let mut everybody: usize = self.entered.iter().map(|entered| entered.connections as usize).sum();
        let mut here = self.entered[number.index()].connections as usize;
        for (door, other) in &self.doors {
            let shaking = arriving(door);
            everybody += shaking;
            here += if *other == number { shaking } else { 0 };
        }
        let max = self.listener(number).and_then(|listener| listener.max_connections);
        let max = max.map_or(usize::MAX, |max| max as usize);
        self.clients_max.saturating_sub(everybody).min(max.saturating_sub(here))
    }

    /// The listener by the name that one of its places has in another process: of several, each has the place in its own.
    fn gone_listener(&mut self, name: &str) -> Rolled {
        let of_place = name.split(' ').next().and_then(|name| self.listeners.find(name));
        if let Some(number) = of_place.filter(|number| self.listener(*number).is_some()) {
            return number;
        }
        let number = self.listeners.number(name);
        self.make_room();
        number
    }

    /// Sees what is known of a client that has come, and goes on with it as far as that goes. A client whose TLS ends here has said
    /// before it what there was to be said.
    fn receive(&mut self, mut coming: Box<Coming>, preface: Option<&[u8]>, context: &mut Context<'_, Self>) -> Session {
        let id = context.peer();
        let Some(listener) = self.listener(coming.listener) else {
            return self.refuse(id, coming, Refusal::Removed, context);
        };
        let source = coming.told.origin.source.map(|source| source.ip());
        if context.tls(id).is_none() && source.is_some_and(|source| listener.accept_proxy.contain(source)) {
            context.set_deadline(id, Some(listener.header_timeout));
            self.tune(id, coming.listener, context);
            return Session::Coming(coming);
        }
        self.tune(id, coming.listener, context);
        coming.stage = Stage::Hello;
        match preface.map(proxy_header::read) {
            None => {}
            Some(Ok(Some(Header { addresses, .. }))) => coming.told.note(addresses, context.address()),
            // The process that has heard it read it in another way.
            Some(Ok(None) | Err(_)) => return self.refuse(id, coming, Refusal::NoHeader, context),
        }
        self.let_in(coming, false, context)
    }

    /// It is known by now where a client comes from. It may have been given its time when its header was to come.
    fn let_in(&mut self, coming: Box<Coming>, has_its_time: bool, context: &mut Context<'_, Self>) -> Session {
        let id = context.peer();
        let source = coming.told.origin.source.map(|source| source.ip());
        if let Some(refusal) = source.and_then(|source| self.objection(coming.listener, source, context)) {
            return self.refuse(id, coming, refusal, context);
        }
        match self.listener(coming.listener).map(|listener| (&listener.route, listener.header_timeout)) {
            Some((Route::Sni(_), header_timeout)) if context.tls(id).is_none() => {
                if !has_its_time {
                    // Whoever has to send a header first has one time for both.
                    context.set_deadline(id, Some(header_timeout));
                }
                Session::Coming(coming)
            }
            // What it has to say first, it may have begun to say to a process with another file.
            Some((Route::Upstream(_) | Route::Sni(_), _)) | None => self.lead_by_route(id, coming, context),
        }
    }

    /// Leads a client that has said all that it has to say first to where the file says.
    pub(super) fn lead_by_route(
        &mut self,
        id: PeerId,
        mut coming: Box<Coming>,
        context: &mut Context<'_, Self>,
    ) -> Session {
        match self.destination(&coming) {
            Ok(upstream) => {
                coming.upstream = Some(upstream.into());
                self.lead(id, coming, context)
            }
            Err(refusal) => self.refuse(id, coming, refusal, context),
        }
    }

    /// The name of the upstream to which the file leads such a client.
    fn destination(&self, coming: &Coming) -> Result<&str, Refusal> {
        match self.listener(coming.listener).map(|listener| &listener.route) {
            Some(Route::Upstream(name)) => Ok(name),
            Some(Route::Sni(sni)) => sni.upstream(coming.told.server_name.as_deref()).ok_or(Refusal::NoRoute),
            None => Err(Refusal::Removed),
        }
    }

    /// A client that has been led somewhere, by a process with another file maybe, is led there where this one says.
    pub(super) fn follow_route(&self, coming: &mut Coming) {
        if let Ok(upstream) = self.destination(coming) {
            coming.upstream = Some(upstream.into());
        }
    }

    /// Why nobody from there is let in, if so.
    fn objection(&mut self, number: Rolled, source: IpAddr, context: &Context<'_, Self>) -> Option<Refusal> {
        let listener = self.config.listeners.get(number.index())?;
        let is_allowed = listener.allow.as_ref().is_none_or(|allow| allow.contain(source));
        if !is_allowed || listener.deny.contain(source) {
            return Some(Refusal::Denied);
        }
        let rate = listener.connection_rate?;
        let rates = &mut self.entered[number.index()].rates;
        (!rates.admits(source, rate, context.now())).then_some(Refusal::TooOften)
    }

    /// A client has sent something before it is connected on. Of that, the header is used up, and the rest is for the server.
    pub(super) fn hear(
        &mut self,
        session: &mut Session,
        input: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let Some(coming) = session.take_coming(|stage| matches!(stage, Stage::Header | Stage::Hello)) else {
            note_spoken(session, input, context);
            return Ok(0);
        };
        if coming.stage == Stage::Hello {
            *session = self.hear_hello(coming, input, context);
            return Ok(0);
        }
        let (heard, used) = self.hear_header(coming, input, context);
        *session = heard;
        if used < input.len() && is_at_hello(session) {
            let coming = session.take_coming(|_| true).expect("it is at its hello");
            *session = self.hear_hello(coming, &input[used..], context);
        }
        Ok(used)
    }

    fn hear_header(
        &mut self,
        mut coming: Box<Coming>,
        input: &[u8],
        context: &mut Context<'_, Self>,
    ) -> (Session, usize) {
        match proxy_header::read(input) {
            Ok(None) => (Session::Coming(coming), 0),
            Ok(Some(Header { bytes, addresses })) => {
                coming.told.note(addresses, context.address());
                coming.stage = Stage::Hello;
                (self.let_in(coming, true, context), bytes)
            }
            Err(mistake) => {
                debug!("Client {}: {mistake}", coming.told.origin.whence());
                (self.refuse(context.peer(), coming, Refusal::NoHeader, context), input.len())
            }
        }
    }

    fn hear_hello(&mut self, mut coming: Box<Coming>, input: &[u8], context: &mut Context<'_, Self>) -> Session {
        let id = context.peer();
        match client_hello::read(input) {
            Ok(None) => return Session::Coming(coming),
            Ok(Some(ClientHello { server_name })) => coming.told.server_name = server_name.map(String::into_boxed_str),
            Err(mistake) => {
                debug!("Client {}: {mistake}", coming.told.origin.whence());
                return self.refuse(id, coming, Refusal::NoHello, context);
            }
        }
        coming.has_spoken = true;
        self.lead_by_route(id, coming, context)
    }

    /// A client has sent all it will send, before it is connected on: that is no reason not to be, unless it has not said where,
    /// or waits and has said nothing at all. Then it has left, and its place is another's.
    pub(super) fn ended_early(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        if is_waiting(session).is_some_and(|coming| !coming.has_spoken) {
            return context.close();
        }
        if let Some(coming) = session.take_coming(|stage| matches!(stage, Stage::Header | Stage::Hello)) {
            let refusal = if coming.stage == Stage::Header { Refusal::NoHeader } else { Refusal::NoHello };
            *session = self.refuse(context.peer(), coming, refusal, context);
        }
    }

    /// A client's time is over.
    pub(super) fn overdue(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        let Some(mut coming) = session.take_coming(|_| true) else { return context.close() };
        let id = context.peer();
        *session = match coming.stage {
            Stage::Header | Stage::Hello => self.refuse(id, coming, Refusal::Silent, context),
            Stage::Queued => {
                self.left_queue(&coming);
                self.refuse(id, coming, Refusal::WaitedTooLong, context)
            }
            Stage::Resting => {
                self.follow_route(&mut coming);
                self.lead(id, coming, context)
            }
            Stage::Connecting { .. } | Stage::Refused(_) => Session::Coming(coming),
        };
    }
}

impl Told {
    /// Takes over what a header says, which has come from there.
    fn note(&mut self, addresses: Option<Addresses>, from: Option<SocketAddr>) {
        if let Some(Addresses { source, destination }) = addresses {
            self.origin = Origin { source: Some(source), destination: Some(destination) };
            self.passed_on_by = from;
        }
    }
}

/// A client that waits for a server has said something. If that is much, the rest of it stays in the kernel.
fn note_spoken(session: &mut Session, input: &[u8], context: &mut Context<'_, Proxy>) {
    if let Some(coming) = is_waiting(session) {
        coming.has_spoken = true;
        if input.len() >= WAITING_BYTES {
            context.hold(context.peer());
        }
    }
}

/// A client that waits for a server, which is read from so that it is known when it leaves.
fn is_waiting(session: &mut Session) -> Option<&mut Coming> {
    match session {
        Session::Coming(coming) if matches!(coming.stage, Stage::Queued | Stage::Resting) => Some(coming),
        _ => None,
    }
}

fn is_at_hello(session: &Session) -> bool {
    matches!(session, Session::Coming(coming) if coming.stage == Stage::Hello)
}
