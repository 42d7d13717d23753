//! From a client to a server: which one, the connection to it, the next one if that fails, and waiting for one with room.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::{debug, warn};
use nix::errno::Errno;
use reactord::{Connect, ConnectTls, Context, PeerId, Target};

use super::refusal::Refusal;
use super::roll::Rolled;
use super::session::{Client, Coming, Leaving, Served, Session, Stage};
use super::state::{Live, Pool, Proxy};
use super::timers::EJECTION_ENDS;
use crate::balance::{Field, Turns, choose};
use crate::config::{Server, Upstream};
use crate::hashing::{Place, led_to};
use crate::lines::About;
use crate::proxy_header;

/// Before the same server is tried once more: it may be starting anew.
const REST: Duration = Duration::from_secs(1);

/// How many of a queue may have left it, beside as many as wait.
const LEFT_MAX: usize = 64;

/// What is to become of a client now.
enum Way {
    /// It is connected on to this server.
    To(Rolled),
    /// It waits until a server has room.
    Wait,
    /// It waits a moment before the same servers are tried again.
    Rest,
    /// It is let go.
    Out(Refusal),
}

impl Proxy {
    /// Leads a client to a server of its upstream, or lets it wait for one, or lets it go. Returns its session, which is in the
    /// caller's hands meanwhile.
    pub(super) fn lead(&mut self, id: PeerId, mut coming: Box<Coming>, context: &mut Context<'_, Self>) -> Session {
        context.hold(id);
        let mut has_rested = coming.stage == Stage::Resting;
        loop {
            match self.way(&coming, has_rested, context) {
                Way::To(server) => match self.open(id, server, &coming, context) {
                    Ok(to) => return self.connecting(id, coming, to, context),
                    Err(error) if is_shortage(&error) => return self.run_short(id, coming, &error, context),
                    Err(error) => self.failed(server, &mut coming, &error, context),
                },
                Way::Wait => return self.enqueue(id, coming, context),
                Way::Rest => {
                    coming.stage = Stage::Resting;
                    context.set_deadline(id, Some(REST));
                    // That it leaves is to be noticed.
                    context.release(id);
                    return Session::Coming(coming);
                }
                Way::Out(refusal) => return self.refuse(id, coming, refusal, context),
            }
            has_rested = false;
        }
    }

    fn connecting(
        &self,
        id: PeerId,
        mut coming: Box<Coming>,
        server: PeerId,
        context: &mut Context<'_, Self>,
    ) -> Session {
        coming.stage = Stage::Connecting { server };
        context.set_deadline(id, None);
        Session::Coming(coming)
    }

    /// This machine has no room for the connection, which is no server's fault.
    fn run_short(
        &mut self,
        id: PeerId,
        coming: Box<Coming>,
        error: &io::Error,
        context: &mut Context<'_, Self>,
    ) -> Session {
        self.lines.warn(About::Shortage, context.now(), format_args!("No connection can be opened: {error}"));
        self.refuse(id, coming, Refusal::Shortage, context)
    }

    /// Lets a client go, and says why.
    pub(super) fn refuse(
        &mut self,
        id: PeerId,
        mut coming: Box<Coming>,
        refusal: Refusal,
        context: &mut Context<'_, Self>,
    ) -> Session {
        let (listener, client) = (self.listeners.name(coming.listener), coming.told.origin.whence());
        let upstream = coming.upstream.as_deref().map(|upstream| format!(" to {upstream}")).unwrap_or_default();
        let line = format_args!("Client {client} at {listener}{upstream} is refused: {refusal}");
        self.lines.warn(About::Refused, context.now(), line);
        self.count(coming.listener, |doings| doings.add(refusal.end()));
        coming.stage = Stage::Refused(refusal);
        context.abort(id);
        Session::Coming(coming)
    }

    fn way(&mut self, coming: &Coming, has_rested: bool, context: &Context<'_, Self>) -> Way {
        let Some(pool) = coming.upstream.as_deref().and_then(|name| self.pool(name)) else {
            return Way::Out(Refusal::Removed);
        };
        if coming.tried.len() > self.config.upstreams[pool].retries as usize {
            return Way::Out(if coming.has_timed_out { Refusal::ConnectTimeout } else { Refusal::Unreachable });
        }
        let mut turns = std::mem::take(&mut self.pools[pool].turns);
        let source = coming.told.origin.source.map(|source| source.ip());
        let tried = if has_rested { &[][..] } else { &coming.tried };
        let chosen = self.look(pool, source, tried, context.now()).choose(&mut turns);
        self.pools[pool].turns = turns;
        if let Some(server) = chosen {
            return Way::To(server);
        }
        let look = self.look(pool, source, &[], context.now());
        if look.has_room() { Way::Rest } else { self.way_without_room(pool, &look) }
    }

    /// Nobody is open: because all are full, which ends, or because none is up.
    fn way_without_room(&self, pool: usize, look: &Look<'_>) -> Way {
        match look.upstream.queue {
            _ if !look.is_any_up() => Way::Out(Refusal::NoServer),
            Some(queue) if self.pools[pool].waiting < queue.max => Way::Wait,
            _ => Way::Out(Refusal::QueueFull),
        }
    }

    /// The servers of an upstream, for a client from there that was led to some in vain.
    fn look<'p>(&'p self, pool: usize, source: Option<IpAddr>, tried: &'p [Rolled], now: Instant) -> Look<'p> {
        let (upstream, first) = (&self.config.upstreams[pool], self.pools[pool].first);
        let live = &self.live[first..first + upstream.servers.len()];
        let look = Look { upstream, first, live, tried, now_ms: self.ms(now), source, is_for_backups: false };
        let is_any_up = look.is_any_up();
        Look { is_for_backups: !is_any_up, ..look }
    }

    /// Opens a connection to a server, for a client.
    fn open(
        &mut self,
        client: PeerId,
        to: Rolled,
        coming: &Coming,
        context: &mut Context<'_, Self>,
    ) -> io::Result<PeerId> {
        let at = self.next_address(to);
        let (_, upstream, server) = self.server(to).expect("servers of the file are chosen");
        let says = coming.told.origin.says();
        let header =
            upstream.send_proxy.map(|version| proxy_header::write(version, &says, context.tls(client).as_ref()));
        let header = header.unwrap_or_default();
        let connect = Connect { within: upstream.connect_timeout, ..Connect::to(at) };
        let (connect, first) = spoken_to(connect, upstream, server, header);
        let session = Session::Server(Served { client, to });
        let server = context.connect(&connect, session).map_err(|(_, error)| error)?;
        // From here on, its end is heard of, and it is one less.
        self.live[to.index()].connections += 1;
        // It waits there until the connection stands, and goes along in a takeover.
        if let Err(error) = context.send(server, &first) {
            context.abort(server);
            return Err(io::Error::other(error));
        }
        Ok(server)
    }

    /// The address of a server that is next.
    pub(super) fn next_address(&mut self, server: Rolled) -> Target {
        let live = &mut self.live[server.index()];
        live.next = (live.next + 1) % live.at.len();
        live.at[live.next].clone()
    }

    /// A connection to a server could not be opened for a client.
    pub(super) fn failed(
        &mut self,
        to: Rolled,
        coming: &mut Coming,
        error: &io::Error,
        context: &mut Context<'_, Self>,
    ) {
        let name = self.servers.name(to);
        self.lines.warn(About::Unreachable, context.now(), format_args!("Server {name} cannot be reached: {error}"));
        coming.tried.push(to);
        coming.has_timed_out = error.kind() == io::ErrorKind::TimedOut;
        let (now_ms, why) = (self.ms(context.now()), error.to_string());
        let is_exhausted = self.live[to.index()].is_exhausted(to, &coming.tried);
        let eject = self.server(to).and_then(|(_, upstream, _)| upstream.eject).filter(|_| is_exhausted);
        if self.change(to, |standing| standing.failed(why, eject, now_ms)) {
            let period = eject.map(|eject| eject.period).unwrap_or_default();
            warn!("Server {name} gets no clients for {} s: connections to it have failed", period.as_secs());
            self.await_end_of_ejection(context);
        }
    }

    /// A server may get clients again.
    pub(super) fn ejection_ended(&mut self, context: &mut Context<'_, Self>) {
        self.serve_queues(context);
        self.await_end_of_ejection(context);
    }

    /// One timer is for all servers: it rings when the next one may get clients again.
    fn await_end_of_ejection(&self, context: &mut Context<'_, Self>) {
        let now_ms = self.ms(context.now());
        let ends = self.live.iter().map(|live| live.gate.ejected_until_ms).filter(|until_ms| *until_ms > now_ms);
        context.set_timer(EJECTION_ENDS, ends.min().map(|until_ms| Duration::from_millis(until_ms - now_ms)));
    }

    // ── Waiting ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn enqueue(&mut self, id: PeerId, mut coming: Box<Coming>, context: &mut Context<'_, Self>) -> Session {
        let pool = coming.upstream.as_deref().and_then(|name| self.pool(name)).expect("its way is through one");
        let within = self.config.upstreams[pool].queue.map(|queue| queue.within);
        if coming.stage != Stage::Queued {
            coming.stage = Stage::Queued;
            self.count_queued(pool);
            context.set_deadline(id, within);
        }
        // That it leaves is to be noticed.
        context.release(id);
        let Pool { queue, waiting, .. } = &mut self.pools[pool];
        // Those who have left are passed over when their turn comes, which may be never.
        if queue.len() > 2 * *waiting as usize + LEFT_MAX {
            queue.retain(|id| context.session(*id).is_some_and(|session| session.is_queued()));
        }
        queue.push_back(id);
        *waiting += 1;
        Session::Coming(coming)
    }

    /// Somebody who waits does not any more.
    pub(super) fn left_queue(&mut self, coming: &Coming) {
        if let Some(pool) = coming.upstream.as_deref().and_then(|name| self.pool(name)) {
            let pool = &mut self.pools[pool];
            pool.waiting = pool.waiting.saturating_sub(1);
            if pool.waiting == 0 {
                pool.queue.clear();
            }
        }
    }

    /// Leads those on who wait for a server with room, as far as there is room; or lets them go where none is up any more.
    pub(super) fn serve_queue(&mut self, pool: usize, context: &mut Context<'_, Self>) {
        while !self.is_stopping && self.pools[pool].waiting > 0 && self.knows_a_way(pool, context.now()) {
            let Some(id) = self.pools[pool].queue.pop_front() else { return };
            let Some(session) = context.session(id) else { continue };
            let Some(coming) = session.take_coming(|stage| stage == Stage::Queued) else { continue };
            self.pools[pool].waiting -= 1;
            let led = self.lead(id, coming, context);
            let is_short = matches!(&led, Session::Coming(coming) if coming.stage == Stage::Refused(Refusal::Shortage));
            if let Some(session) = context.session(id) {
                *session = led;
            }
            // The others wait until somebody leaves.
            if is_short {
                return;
            }
        }
    }

    /// The same of the upstream of a server, if that is in the file.
    pub(super) fn serve_queue_of(&mut self, server: Rolled, context: &mut Context<'_, Self>) {
        if let Some((pool, ..)) = self.server(server) {
            self.serve_queue(pool, context);
        }
    }

    /// The same of all upstreams.
    pub(super) fn serve_queues(&mut self, context: &mut Context<'_, Self>) {
        (0..self.pools.len()).for_each(|pool| self.serve_queue(pool, context));
    }

    /// Whether it is known what is to become of those who wait: there is room for one, or nobody is up.
    fn knows_a_way(&self, pool: usize, now: Instant) -> bool {
        let look = self.look(pool, None, &[], now);
        look.has_room() || !look.is_any_up()
    }

    // ── Elsewhere after all ────────────────────────────────────────────────────────────────────────────────────────

    /// The server of a connection is to get no clients any more. If that is still being opened, another server may get its
    /// client.
    pub(super) fn turn_away(&mut self, server: PeerId, served: Served, context: &mut Context<'_, Self>) {
        let is_its = |stage| stage == Stage::Connecting { server };
        let coming = context.session(served.client).and_then(|session| session.take_coming(is_its));
        let Some(mut coming) = coming else { return };
        context.abort(server);
        self.follow_route(&mut coming);
        let led = self.lead(served.client, coming, context);
        self.put_back(served.client, led, context);
    }

    // ── The connection stands ──────────────────────────────────────────────────────────────────────────────────────

    /// The connection to a server stands: the client is joined to it.
    pub(super) fn stands(&mut self, served: Served, context: &mut Context<'_, Self>) {
        let (server, now_ms) = (context.peer(), self.ms(context.now()));
        let is_its = |stage| stage == Stage::Connecting { server };
        let coming = context.session(served.client).and_then(|session| session.take_coming(is_its));
        let Some(coming) = coming else { return context.abort(server) };
        let listener = coming.listener;
        let connect_ms = u32::try_from(now_ms.saturating_sub(coming.accepted_ms)).unwrap_or(u32::MAX);
        self.change(served.to, |standing| standing.connected(connect_ms));
        self.tune(server, listener, context);
        let idle = self.listener(listener).and_then(|listener| listener.idle_timeout);
        let is_half_closed = context.has_ended(served.client);
        let joined = context.join(served.client, server, idle);
        context.release(served.client);
        // What its TLS has told is known as long as its connection is.
        let is_name_told = coming.told.server_name.is_some() && context.tls(served.client).is_none();
        let is_told = coming.told.passed_on_by.is_some() || is_name_told;
        let client = Client {
            accepted_ms: coming.accepted_ms,
            to: served.to,
            connect_ms,
            listener,
            retries: u8::try_from(coming.tried.len()).unwrap_or(u8::MAX),
            leaving: Leaving::No,
            is_half_closed,
            takeovers: 0,
        };
        if let Some(session) = context.session(served.client) {
            *session = client.told(is_told.then_some(coming.told));
        }
        if joined.is_err() {
            context.abort(served.client);
            return context.abort(server);
        }
        if is_half_closed {
            self.bound_half_closed(served.client, listener, context);
        }
        // It had not come so far when it was seen who is to go.
        if self.is_gone(listener, served.to) {
            self.follow_removal(served.client, true, context);
        }
    }

    /// One direction between a client and its server has ended. In the other one, something is to move now and then.
    pub(super) fn bound_half_closed(&self, client: PeerId, listener: Rolled, context: &mut Context<'_, Self>) {
        let of_file = self.config.half_close_timeout;
        let half_close = self.listener(listener).map_or(of_file, |listener| listener.half_close_timeout);
        if let Some(half_close) = half_close {
            context.set_idle(client, Some(context.idle(client).map_or(half_close, |idle| idle.min(half_close))));
        }
    }

    /// Has the kernel look after a connection as the listener of its client wants it.
    pub(super) fn tune(&self, id: PeerId, listener: Rolled, context: &mut Context<'_, Self>) {
        let Some(listener) = self.listener(listener) else { return };
        let kept_alive = context.set_keepalive(id, listener.keepalive);
        let given_up = listener.user_timeout.map_or(Ok(()), |after| context.set_user_timeout(id, after));
        if let Err(error) = kept_alive.and(given_up) {
            debug!("{}: keepalive and user_timeout: {error}", listener.name);
        }
    }
}

/// A connection to a server as its upstream wants it: with a PROXY header first, and then with TLS. What is to be sent when it
/// stands is given back.
pub(super) fn spoken_to(connect: Connect, upstream: &Upstream, server: &Server, header: Vec<u8>) -> (Connect, Vec<u8>) {
    let Some(tls) = &upstream.tls else { return (connect, header) };
    let tls = ConnectTls { preface: header, ..ConnectTls::to(tls.name_of(server), &*upstream.name) };
    (Connect { tls: Some(tls), ..connect }, Vec::new())
}

/// Whether this machine has no room for a connection, to whomever. That it has no address for one (EADDRNOTAVAIL) is a matter of where
/// that goes: it speaks no IPv6, or has no port left to there.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// The servers of an upstream, looked at for one client.
struct Look<'p> {
    upstream: &'p Upstream,
    /// The number of the first of them.
    first: usize,
    live: &'p [Live],
    /// Which were tried in vain.
    tried: &'p [Rolled],
    now_ms: u64,
    /// Where the client comes from.
    source: Option<IpAddr>,
    /// No server is up that is no backup: that those are full or were tried in vain is no reason to use backups.
    is_for_backups: bool,
}

impl Look<'_> {
    fn choose(&self, turns: &mut Turns) -> Option<Rolled> {
        choose(self.upstream.balance, self, turns).map(|number| self.rolled(number))
    }

    fn rolled(&self, number: usize) -> Rolled {
        Rolled::at(self.first + number)
    }

    fn is_up(&self, number: usize) -> bool {
        let live = &self.live[number];
        live.gate.is_open(self.now_ms) && !live.at.is_empty()
    }

    /// Whether any is up that would be used, full or not.
    fn is_any_up(&self) -> bool {
        (0..self.live.len()).any(|number| self.is_wanted(number) && self.is_up(number))
    }

    fn is_wanted(&self, number: usize) -> bool {
        let server = &self.upstream.servers[number];
        server.weight > 0 && server.backup == self.is_for_backups
    }

    fn has_room(&self) -> bool {
        (0..self.live.len()).any(|number| self.is_open(number))
    }
}

impl Field for Look<'_> {
    fn servers(&self) -> usize {
        self.live.len()
    }

    fn is_open(&self, number: usize) -> bool {
        let is_full = self.upstream.servers[number].max_connections.is_some_and(|max| self.load(number) >= max);
        self.is_wanted(number)
            && self.is_up(number)
            && !is_full
            && !self.live[number].is_exhausted(self.rolled(number), self.tried)
    }

    fn load(&self, number: usize) -> u32 {
        self.live[number].connections
    }

    fn weight(&self, number: usize) -> u32 {
        self.upstream.servers[number].weight
    }

    fn by_source(&self) -> Option<usize> {
        let open = (0..self.servers()).filter(|number| self.is_open(*number));
        match self.source {
            Some(source) => {
                let place = |number: usize| {
                    let server = &self.upstream.servers[number];
                    (number, Place::of_server(&server.name), server.weight)
                };
                led_to(Place::of_client(source), open.map(place))
            }
            // Whoever comes by a Unix socket has no address, and is served by the first.
            None => { open }.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn server_is_tried_at_each_of_its_addresses_before_it_was_tried_in_vain() {
        let config = Config::simple("127.0.0.1:1", "localhost:2").expect("it is right");
        let at = |address: &str| Target::Tcp(address.parse().expect("it is an address"));
        let live = [Live { at: vec![at("127.0.0.1:2"), at("[::1]:2")], ..Live::default() }];
        let (server, other) = (Rolled::at(7), Rolled::at(8));
        let is_open = |tried: &[Rolled]| {
            let (upstream, source) = (&config.upstreams[0], None);
            Look { upstream, first: 7, live: &live, tried, now_ms: 0, source, is_for_backups: false }.is_open(0)
        };
        assert!(is_open(&[]) && is_open(&[server]) && is_open(&[other, server, other]));
        assert!(!is_open(&[server, other, server]));
    }
}
