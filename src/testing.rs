//! A test kit: a service behind the real loop, with clients that say what a test has them say, and a clock that goes when
//! the test says so.
//!
//! There is no port, no other process and no waiting. The clients are at the other ends of socket pairs; the loop, the
//! peers, and in a takeover both sides of the conversation are the real ones, in the test's thread.
//!
//! ```
//! use std::time::Duration;
//! use reactord::services::Line;
//! use reactord::testing::Harness;
//!
//! let mut harness = Harness::new(Line::default());
//! let client = harness.connect();
//! harness.send(client, b"half a ");
//! harness.take_over(Line::default());
//! harness.pass(Duration::from_secs(3600));
//! harness.send(client, b"line\n");
//! assert_eq!(harness.received(client), b"half a line\n");
//!
//! harness.end(client);
//! assert!(harness.has_ended(client));
//! ```

mod by_hand;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mio::Events;
use mio::net::TcpStream;
use rustix::net::sockopt::socket_cookie;

use crate::config::Config;
use crate::handle::Handle;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::peer::PeerId;
use crate::service::{Accepted, StreamService};
use by_hand::{Alone, alone, hand_over};

/// A service that comes to no rest in so many turns never does.
const TURNS_MAX: u32 = 10_000;

/// What a client reads at once.
const READ_BYTES: usize = 64 * 1024;

/// A client of a [`Harness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(usize);

/// A server of one service, its clients, and its clock.
///
/// After each call the loop has come to rest: what was sent is handled, and what was answered is with the clients that
/// read.
pub struct Harness<S: StreamService> {
    reactor: Alone<S>,
    handle: Handle,
    events: Events,
    clients: Vec<End>,
    config: Config,
    now: Instant,
}

impl<S: StreamService> Harness<S> {
    /// A server of `service` that nobody has connected to, with the default configuration.
    pub fn new(service: S) -> Self {
        Self::with_config(service, &Config::default())
    }

    /// The same with another configuration, of which the marks, time-outs and bounds count.
    pub fn with_config(service: S, config: &Config) -> Self {
        let (reactor, handle) = alone(service, config);
        let mut harness = Self {
            reactor,
            handle,
            events: Events::with_capacity(64),
            clients: Vec::new(),
            config: config.clone(),
            now: Instant::now(),
        };
        harness.begin();
        harness
    }

    // ── Clients ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A client connects, and reads from then on whatever comes.
    pub fn connect(&mut self) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("a process may have two more files open");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        }
        let id = socket_cookie(&theirs).expect("Linux gives a cookie to every socket").into();
        let socket = TcpStream::from_std(OwnedFd::from(theirs).into());
        self.reactor.lanes_mut().lane.open(socket, ([127, 0, 0, 1], 1).into(), &Accepted::anyhow());
        self.clients.push(End::new(ours, id));
        self.settle();
        Client(self.clients.len() - 1)
    }

    /// The client sends, as far as the server lets it: the rest follows when there is room.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.clients[client.0].to_send.extend_from_slice(bytes);
        self.settle();
    }

    /// What the client has received since this was last asked.
    pub fn received(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.0].received)
    }

    /// The client sends nothing after what it was told to send before. It still reads.
    pub fn end(&mut self, client: Client) {
        self.clients[client.0].is_done = true;
        self.settle();
    }

    /// The client is gone, whatever was on its way.
    pub fn vanish(&mut self, client: Client) {
        self.clients[client.0].socket = None;
        self.settle();
    }

    /// The client does not read until it [reads on](Self::read_on): what it is sent fills the buffers.
    pub fn stop_reading(&mut self, client: Client) {
        self.clients[client.0].reads = false;
    }

    /// The client reads again.
    pub fn read_on(&mut self, client: Client) {
        self.clients[client.0].reads = true;
        self.settle();
    }

    /// Whether the client's connection is over: the server has closed it, or the client has vanished.
    #[must_use]
    pub fn has_ended(&self, client: Client) -> bool {
        self.clients[client.0].socket.is_none()
    }

    /// By which id the service knows the client.
    #[must_use]
    pub fn id(&self, client: Client) -> PeerId {
        self.clients[client.0].id
    }

    // ── The server ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// The service, to be looked at.
    #[must_use]
    pub fn service(&self) -> &S {
        self.reactor.lanes().lane.service()
    }

    /// The server is stopped, as by a signal: the service is told, and all clients are closed.
    pub fn stop(&mut self) {
        self.handle.stop();
        self.settle();
    }

    /// Another thread has something for the service, which is told.
    pub fn wake(&mut self) {
        self.handle.wake();
        self.settle();
    }

    /// Time passes, from deadline to deadline and from timer to timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.reactor.lanes().due_at().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// A successor takes over, which runs `service`.
    ///
    /// # Panics
    /// If the takeover fails: says why.
    pub fn take_over(&mut self, service: S) {
        if let Err(failure) = self.try_take_over(service) {
            panic!("the takeover has failed: {failure}");
        }
    }

    /// The same where the takeover may fail. Then the predecessor serves on.
    ///
    /// # Errors
    /// If the takeover fails, with what the predecessor logs.
    pub fn try_take_over(&mut self, service: S) -> Result<(), String> {
        (self.reactor, self.handle) = hand_over(&mut self.reactor, service, &self.config)?;
        self.begin();
        Ok(())
    }

    /// A successor takes over that runs another version of the service, or may. What was connected stays connected.
    ///
    /// # Errors
    /// If the takeover fails, with what the predecessor logs.
    pub fn hand_over_to<T: StreamService>(mut self, service: T) -> Result<Harness<T>, String> {
        let (reactor, handle) = hand_over(&mut self.reactor, service, &self.config)?;
        let Self { events, clients, config, now, .. } = self;
        let mut harness = Harness { reactor, handle, events, clients, config, now };
        harness.begin();
        Ok(harness)
    }

    /// The service is told that it is served.
    fn begin(&mut self) {
        self.reactor.begin(self.now);
        self.settle();
    }

    /// Gives turns until nothing happens any more.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            let moved = self.clients.iter_mut().map(End::go_on).fold(false, |moved, any| moved | any);
            let looked = self.reactor.look(&mut self.events, self.now);
            looked.expect("an epoll set that was polled before can be polled");
            let rests =
                !moved && self.events.is_empty() && self.reactor.lanes().due_at().is_none_or(|due| due > self.now);
            quiet = if rests { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
        }
        panic!("the service comes to no rest in {TURNS_MAX} turns of the loop");
    }
}

/// A client's end of its connection.
struct End {
    socket: Option<UnixStream>,
    id: PeerId,
    /// What the socket has not taken yet.
    to_send: Vec<u8>,
    /// It sends nothing after that.
    is_done: bool,
    reads: bool,
    received: Vec<u8>,
}

impl End {
    fn new(socket: UnixStream, id: PeerId) -> Self {
        Self { socket: Some(socket), id, to_send: Vec::new(), is_done: false, reads: true, received: Vec::new() }
    }

    /// Sends and reads what it can. True if that was anything.
    fn go_on(&mut self) -> bool {
        let sent = self.send();
        let received = self.reads && self.receive();
        sent || received
    }

    fn send(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let taken = match socket.write(&self.to_send) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // The server has closed the connection, and what it said before that is still there.
            Err(_) => self.to_send.len(),
        };
        self.to_send.drain(..taken);
        if self.is_done && self.to_send.is_empty() {
            // A connection that is closed already needs no end.
            let _ = socket.shutdown(Shutdown::Write);
        }
        taken > 0
    }

    fn receive(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut buffer = vec![0; READ_BYTES];
        match socket.read(&mut buffer) {
            Ok(bytes) if bytes > 0 => self.received.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => self.socket = None,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Closed, Context, RestoreError, Violation};
    use crate::services::Line;

    /// It greets, echoes, and says goodbye to who has said nothing for a minute. A session that has ended is counted.
    #[derive(Default)]
    struct Host {
        closed: Vec<String>,
        broken: bool,
    }

    impl StreamService for Host {
        type Session = u8;
        const NAME: &'static str = "host";
        const STATE_VERSION: u32 = 1;

        fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) -> u8 {
            context.set_deadline(context.peer(), Some(Duration::from_secs(60)));
            context.reply(b"hello ");
            0
        }

        fn input(
            &mut self,
            inputs: &mut u8,
            input: &[u8],
            _: usize,
            context: &mut Context<'_, Self>,
        ) -> Result<usize, Violation> {
            context.set_deadline(context.peer(), Some(Duration::from_secs(60)));
            context.reply(input);
            *inputs += 1;
            Ok(input.len())
        }

        fn deadline(&mut self, inputs: &mut u8, context: &mut Context<'_, Self>) {
            context.reply(format!(" goodbye after {inputs}").as_bytes());
            context.close();
        }

        fn closed(&mut self, _: u8, how: &Closed, _: &mut Context<'_, Self>) {
            self.closed.push(how.to_string());
        }

        fn save_session(&self, inputs: &u8, record: &mut Vec<u8>) {
            record.push(*inputs);
        }

        fn restore_session(&self, _: u32, record: &[u8]) -> Result<u8, RestoreError> {
            match record {
                [inputs] if !self.broken => Ok(*inputs),
                _ => Err(RestoreError::new("not today")),
            }
        }
    }

    #[test]
    fn time_passes_when_the_test_says_so_and_a_deadline_outlives_a_takeover() {
        let mut harness = Harness::new(Host::default());
        let client = harness.connect();
        harness.pass(Duration::from_secs(59));
        harness.send(client, b"again");
        harness.pass(Duration::from_secs(30));
        harness.take_over(Host::default());
        harness.pass(Duration::from_secs(29));
        assert_eq!(harness.received(client), b"hello again");
        assert!(!harness.has_ended(client));
        harness.pass(Duration::from_secs(1));
        assert_eq!(harness.received(client), b" goodbye after 1");
        assert!(harness.has_ended(client));
        assert_eq!(harness.service().closed, ["its deadline was reached"]);
    }

    #[test]
    fn a_takeover_that_fails_says_why_and_leaves_everything_as_it_is() {
        let mut harness = Harness::new(Host::default());
        let client = harness.connect();
        let broken = Host { broken: true, ..Host::default() };
        let failure = harness.try_take_over(broken).unwrap_err();
        assert!(failure.contains("not today"), "{failure}");
        harness.send(client, b"still here");
        assert_eq!(harness.received(client), b"hello still here");
        harness.take_over(Host::default());
        harness.send(client, b", and there");
        assert_eq!(harness.received(client), b", and there");
    }

    #[test]
    fn another_service_is_refused() {
        let harness = Harness::new(Host::default());
        let failure = harness.hand_over_to(Line::default()).err().unwrap();
        assert_eq!(failure, "the predecessor serves host, the successor offers line");
    }

    #[test]
    fn a_client_that_does_not_read_gets_everything_later_and_in_order() {
        const BYTES: usize = 4 << 20;
        let mut harness = Harness::new(Line::default());
        let client = harness.connect();
        harness.stop_reading(client);
        let lines: Vec<u8> = (0..BYTES).map(|at| if at % 1000 == 999 { b'\n' } else { b'a' + at as u8 % 26 }).collect();
        let lines = &lines[..BYTES / 1000 * 1000];
        harness.send(client, lines);
        harness.take_over(Line::default());
        assert!(harness.received(client).is_empty());
        harness.read_on(client);
        assert!(harness.received(client) == lines);
        harness.end(client);
        assert!(harness.has_ended(client));
    }

    #[test]
    fn who_vanishes_is_gone_and_the_others_are_not() {
        let mut harness = Harness::new(Host::default());
        let [one, other] = [harness.connect(), harness.connect()];
        assert_ne!(harness.id(one), harness.id(other));
        harness.vanish(one);
        assert_eq!(harness.service().closed.len(), 1);
        harness.send(other, b"!");
        assert_eq!(harness.received(other), b"hello !");
    }

    /// What has been called, and a session for nobody in particular.
    #[derive(Default)]
    struct Life {
        present: Vec<PeerId>,
        called: Vec<&'static str>,
    }

    impl StreamService for Life {
        type Session = ();
        const NAME: &'static str = "life";
        const STATE_VERSION: u32 = 1;

        fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
            self.present.push(context.peer());
        }

        fn input(
            &mut self,
            (): &mut (),
            input: &[u8],
            _: usize,
            _: &mut Context<'_, Self>,
        ) -> Result<usize, Violation> {
            self.called.push("input");
            Ok(input.len())
        }

        fn started(&mut self, context: &mut Context<'_, Self>) {
            self.called.push("started");
            context.set_timer(7, Some(Duration::from_secs(90)));
        }

        fn taken_over(&mut self, _: &mut Context<'_, Self>) {
            self.called.push("taken over");
        }

        fn timer(&mut self, timer: u32, _: &mut Context<'_, Self>) {
            assert_eq!(timer, 7);
            self.called.push("timer");
        }

        fn woken(&mut self, _: &mut Context<'_, Self>) {
            self.called.push("woken");
        }

        fn stopping(&mut self, context: &mut Context<'_, Self>) {
            self.called.push("stopping");
            self.present.iter().for_each(|peer| context.send(*peer, b"goodbye").expect("it is here"));
        }

        fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

        fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_service_is_told_how_its_life_goes() {
        let mut harness = Harness::new(Life::default());
        let client = harness.connect();
        harness.wake();
        assert_eq!(harness.service().called, ["started", "woken"]);
        harness.stop();
        assert_eq!(harness.service().called, ["started", "woken", "stopping"]);
        assert_eq!(harness.received(client), b"goodbye");
    }

    #[test]
    fn a_timer_outlives_a_takeover_of_which_the_service_is_told_before_anything_else() {
        let mut harness = Harness::new(Life::default());
        let client = harness.connect();
        harness.pass(Duration::from_secs(60));
        // It is sent, and nobody has read it when the successor comes.
        harness.clients[client.0].to_send.extend_from_slice(b"x");
        assert!(harness.clients[client.0].send());
        harness.take_over(Life::default());
        harness.pass(Duration::from_secs(29));
        assert_eq!(harness.service().called, ["taken over", "input"]);
        harness.pass(Duration::from_secs(1));
        assert_eq!(harness.service().called, ["taken over", "input", "timer"]);
    }
}
