//! A part of Redis that fits in a few hundred lines: values that expire, and channels.
//!
//! In one terminal, start it, and in another, talk to it (Debian: `apt install redis-tools`):
//!
//! ```sh
//! cargo run --example resp -- 127.0.0.1:6400 /tmp/resp.takeover
//! redis-cli -p 6400 set greeting hello ex 60
//! redis-cli -p 6400 subscribe news
//! ```
//!
//! In a third, replace it while the subscriber waits, and go on with the successor:
//!
//! ```sh
//! cargo run --example resp -- /tmp/resp.takeover
//! redis-cli -p 6400 publish news 'it works'
//! redis-cli -p 6400 ttl greeting
//! ```
//!
//! With `--tls-cert chain.pem --tls-key key.pem` behind the other words, for the successor, too, its clients speak TLS: `redis-cli
//! --tls --cacert ca.pem`.
//!
//! Or replace it while `redis-benchmark -p 6400 -t ping,set,get,incr -P 16` runs.
//!
//! What a client sends is executed as it comes. A command that may have any number of words (`DEL`, `EXISTS`, `MGET`,
//! `MSET`, `SUBSCRIBE`) is executed word by word, so one of 800,000 words needs no memory and holds up nobody. The price is
//! that others come in between: `MSET` of more words than one turn reads is not atomic, as it is in Redis, and one whose
//! client goes away is executed in part.
//!
//! There are no transactions, no patterns, no types but strings, and nothing is written to disk.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! itoa = "1"
//! log = "0.4"
//! memchr = "2"
//! minicbor = { version = "2", features = ["derive", "std"] }
//! reactord = { path = "…", default-features = false, features = ["tls"] }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

mod call;
mod channels;
mod clock;
mod commands;
mod reply;
mod session;
mod store;
mod tls;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use call::{Call, Shared};
use channels::Channels;
use clock::Clock;
use reactord::{Accepted, Closed, Config, Context, Entries, Listen, RestoreError, Server, StreamService, Violation};
use reply::Reply;
use session::Session;
use simple_logger::SimpleLogger;
use store::Store;
use tls::with_tls;

/// The timer for the value that expires next.
const EXPIRY: u32 = 0;

/// The timer for what is to be found out after a takeover.
const FIND_EXPIRING: u32 = 1;

/// How many values are removed, or looked at, in one call of a timer, so that nobody waits for many of them.
const VALUES_PER_CALL: usize = 1000;

struct Resp {
    shared: Shared,
    clock: Clock,
    /// When the timer goes off.
    expiry_ms: Option<u64>,
}

impl Resp {
    fn new() -> Self {
        Self {
            shared: Shared { store: Store::default(), channels: Channels::default() },
            clock: Clock::new(),
            expiry_ms: None,
        }
    }

    /// Sets the timer for the value that expires next, if it is another one than before.
    fn await_expiry(&mut self, now_ms: u64, context: &mut Context<'_, Self>) {
        let expires_ms = self.shared.store.expires_next_ms();
        if self.expiry_ms != expires_ms {
            self.expiry_ms = expires_ms;
            context.set_timer(EXPIRY, expires_ms.map(|at| Duration::from_millis(at.saturating_sub(now_ms))));
        }
    }
}

impl StreamService for Resp {
    type Session = Session;
    const NAME: &'static str = "resp";
    const STATE_VERSION: u32 = 1;
    /// Two words with their lengths, and what one read brings besides.
    const INPUT_BYTES_MAX: usize = 2 * words::WORD_BYTES_MAX + 64 * 1024;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> Session {
        Session::default()
    }

    fn input(
        &mut self,
        session: &mut Session,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let now_ms = self.clock.ms(context.now());
        let executed = Call { shared: &mut self.shared, session, context, now_ms }.execute(input);
        self.await_expiry(now_ms, context);
        executed.map_err(|malformed| {
            context.error(malformed);
            Violation::new(malformed)
        })
    }

    fn closed(&mut self, session: Session, _: &Closed, context: &mut Context<'_, Self>) {
        for channel in &session.channels {
            self.shared.channels.unsubscribe(channel, context.peer());
        }
    }

    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        let now_ms = self.clock.ms(context.now());
        match timer {
            FIND_EXPIRING if self.shared.store.find_expiring(VALUES_PER_CALL) => {
                context.set_timer(FIND_EXPIRING, Some(Duration::ZERO));
            }
            FIND_EXPIRING => {}
            _ => {
                self.shared.store.remove_expired(now_ms, VALUES_PER_CALL);
                self.expiry_ms = None;
            }
        }
        self.await_expiry(now_ms, context);
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        for peer in context.peers() {
            let Some(session) = context.session(peer) else { continue };
            for channel in &session.channels {
                self.shared.channels.subscribe(channel, peer, session.protocol);
            }
        }
        self.shared.store.taken_over();
        context.set_timer(FIND_EXPIRING, Some(Duration::ZERO));
    }

    fn save_session(&self, session: &Session, record: &mut Vec<u8>) {
        minicbor::encode(session, record).expect("encoding into a Vec does not fail");
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Session, RestoreError> {
        minicbor::decode(record).map_err(|error| RestoreError::new(error.to_string()))
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then(|| self.shared.store.entries())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (words, tls) = with_tls(&arguments)?;
    match words {
        [address, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let listener = Listen { tls, ..Listen::on("clients", address) };
            Server::new(config).service([listener], Resp::new()).serve()?;
        }
        [path] => {
            let config = Config { tls, ..Config::default() };
            Server::new(config).service([], Resp::new()).take_over(path.as_ref())?;
        }
        _ => {
            return Err(
                "usage: resp ADDR:PORT PATH to serve, resp PATH to take over; then --tls-cert FILE --tls-key FILE"
                    .into(),
            );
        }
    }
    Ok(())
}
