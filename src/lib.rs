//! A TCP server whose process can be replaced while its connections stay open.
//!
//! A successor receives over a Unix socket the listeners and **every live connection**, with half-received messages,
//! unsent output and session state, in one atomic step, and the predecessor exits. No client sees a reset, a lost or
//! repeated byte, or a pause that it could tell from an ordinary round trip.
//!
//! This page has the order in which one needs it: [a service](#a-service-in-20-lines), [time](#time),
//! [other peers](#other-peers), [connections of its own](#connections-of-its-own),
//! [state that moves](#state-that-moves), [what a takeover calls](#what-a-takeover-calls), [testing](#testing),
//! [running it](#running-it), [what the loop promises](#what-the-loop-promises).
//!
//! # A service in 20 lines
//!
//! This one counts the lines that each peer sends, and answers each with its number. The count survives any number of
//! takeovers.
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use std::path::Path;
//! use reactord::{Config, Context, Listen, RestoreError, Server, Service, Violation};
//!
//! struct LineNumbers;
//!
//! impl Service for LineNumbers {
//!     type Session = u64;
//!     const NAME: &'static str = "line-numbers";
//!     const STATE_VERSION: u32 = 1;
//!
//!     fn open(&mut self, _: &mut Context<'_, Self>) -> u64 {
//!         0
//!     }
//!
//!     fn boundary(&self, _: &mut u64, input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
//!         Ok(input[searched..].iter().position(|byte| *byte == b'\n').map(|newline| searched + newline + 1))
//!     }
//!
//!     fn message(&mut self, lines: &mut u64, _: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
//!         *lines += 1;
//!         context.reply(format!("{lines}\n").as_bytes());
//!         Ok(())
//!     }
//!
//!     fn save_session(&self, lines: &u64, record: &mut Vec<u8>) {
//!         record.extend_from_slice(&lines.to_be_bytes());
//!     }
//!
//!     fn restore_session(&self, _version: u32, record: &[u8]) -> Result<u64, RestoreError> {
//!         let bytes = record.try_into().map_err(|_| RestoreError::new("8 bytes are expected"))?;
//!         Ok(u64::from_be_bytes(bytes))
//!     }
//! }
//!
//! # fn main() -> Result<(), reactord::Error> {
//! let path = Path::new("/run/line-numbers.takeover");
//! let config = Config { takeover_path: Some(path.into()), ..Config::default() };
//! let lines = Listen::on("lines", SocketAddr::from(([127, 0, 0, 1], 1234)));
//! let server = Server::new(config).service([lines], LineNumbers);
//! match std::env::args().nth(1).as_deref() {
//!     Some("take-over") => server.take_over(path)?,
//!     _ => server.serve()?,
//! };
//! # Ok(())
//! # }
//! ```
//!
//! Both calls return when the server has been stopped, or when a successor has taken over ([`Outcome`]); then the process
//! should exit. The second start of this program, with `take-over`, is how the first one is replaced.
//!
//! - **Messages or bytes.** A [`Service`] says where a message ends, and gets each whole one, in order. What comes until
//!   then is kept for it: up to [`Service::MESSAGE_BYTES_MAX`], 64 KiB unless it says otherwise. What has no messages, or
//!   messages that should not be waited for (a proxy, an upload, a command of a million words), is a [`StreamService`]: it
//!   gets the bytes as they come, and says how many it has used.
//! - **Back-pressure.** A peer whose pending output is over [`Config::outbound_high_bytes`] (256 KiB) is not read from until
//!   it has drained to [`Config::outbound_low_bytes`] (64 KiB); [`Context::send`] to it is refused meanwhile, and
//!   [`Service::drained`] says when it is not any more. So memory is bounded: a peer has at most twice the high mark, the
//!   answers to one message, one message, and 64 KiB.
//! - **Ends.** [`Context::close`] ends a connection when all is delivered, [`Context::finish`] only the output,
//!   [`Context::abort`] resets it. [`Service::ended`] tells that the client has sent all it will send, and
//!   [`Service::closed`], once for each session and as its last call, [how](Closed) the connection has ended.
//! - **Several services** share a loop and are taken over together: [`Server::service`]. Each has listeners of its own,
//!   TCP or Unix.
//! - **Whatever is called holds up all peers**, so it should be short; there is no I/O to do in a service.
//!
//! # Time
//!
//! A service asks for it, and is called; nothing sleeps, and nothing polls.
//!
//! - A peer has one deadline, [`Context::set_deadline`], at which [`Service::deadline`] is called. It may be moved with each
//!   message (a keep-alive, an idle time-out): that is a store.
//! - The service has any number of timers, [`Context::set_timer`], at which [`Service::timer`] is called.
//! - [`Context::now`] is the time of this turn of the loop. An [`Instant`](std::time::Instant) means nothing to another
//!   process: what is to be saved is a deadline, a timer, or the time of the day.
//!
//! Deadlines and timers go along in a takeover, and do not begin anew: what was to come in a minute comes in that minute,
//! whoever serves by then, once.
//!
//! # Other peers
//!
//! A peer has a [`PeerId`], which stays the same through every takeover and is never given again. Sessions and shared
//! state may hold it. [`Context::send`] sends to any peer of the service, [`Context::session`] reaches its session,
//! [`Context::hold`] has it not be read from, [`Context::peers`] lists them all. What one peer's call asks of another is
//! done at the end of the turn. `examples/pubsub.rs` and `examples/websocket.rs` send to many.
//!
//! # Connections of its own
//!
//! [`Context::connect`] opens one, to a TCP address or a Unix socket. It is a peer like any other, with a session from the
//! start: [`Service::connected`] or [`Service::closed`] with [`Closed::Unreachable`] comes once, also if a takeover comes
//! in between. [`Context::join`] has the loop pass all bytes between two peers by itself, with back-pressure and
//! half-closes: `examples/forward.rs` is a proxy in 60 lines.
//!
//! # State that moves
//!
//! What a successor is to know has to be in one of three places, which differ in what they cost:
//!
//! | where | for what | saved | cost |
//! | --- | --- | --- | --- |
//! | the session | what belongs to one peer | while the predecessor serves, and again if it has changed | none in the pause, unless it changes in the last moments |
//! | [`Keyed`] entries, [`Service::entries`] | what many share, and what outlives a peer | while the predecessor serves, and again those that have changed | the same |
//! | the rest, [`Service::save`] | what is small | once, while nobody serves | about 3 ms of pause for each MB |
//!
//! Everything else is gone with the predecessor, or is made anew in [`Service::taken_over`]: indexes, connections that are
//! [ephemeral](Connect::ephemeral), threads.
//!
//! Raise [`Service::STATE_VERSION`] when what is saved changes, and keep [`Service::STATE_VERSION_OLDEST`] at what you can
//! still restore. A successor that cannot restore what the predecessor saves is refused before anything is copied.
//! `examples/versions.rs` shows how to change what is saved so that an upgrade can be undone.
//!
//! # What a takeover calls
//!
//! In this order; the predecessor serves until the line, and again if anything goes wrong before the last step there.
//!
//! | predecessor | successor |
//! | --- | --- |
//! | [`save_session`](Service::save_session) of each peer, pieces of the [entries](Service::entries) | [`restore_session`](Service::restore_session) of each peer, the entries |
//! | the same again of what has changed, for a round or more | the same again |
//! | **the freeze**: the same of what changed last, then [`save`](Service::save) | the same, then [`restore`](Service::restore) |
//! | *the successor owns the peers* | what came meanwhile is handled, then [`taken_over`](Service::taken_over) |
//!
//! All that is called `save` or `restore` must be **pure**: no output, no changes elsewhere, the same when it is called
//! again. A takeover may fail at any point, and the next one saves again. A panic in one of them fails that takeover
//! alone. The time for the freeze is [`Config::freeze_timeout`] (1 s): what takes longer fails, and both sides say what
//! the time went into.
//!
//! # Testing
//!
//! [`testing::Harness`] is a service behind the real loop, with clients that say what the test has them say, a clock that
//! goes when the test says so, and takeovers: no port, no process, no waiting.
//!
//! # Running it
//!
//! - **As a daemon.** SIGTERM and SIGINT stop a server in an orderly way ([`Config::stop_on_signals`]);
//!   [`Service::stopping`] lets it say goodbye. [`Config::survive_signals`] makes the others harmless.
//! - **Under systemd** a successor is a new main process: `Type=notify` with `NotifyAccess=all`, and whoever is
//!   [ready](Milestone::Ready) says `READY=1` and `MAINPID=` (sd_notify(3)), which is before the predecessor exits.
//!   [Heartbeats](Config::heartbeat) are for its watchdog. `ExecReload=` starts the successor.
//! - **In a container** both processes have to be in the same one, or share the takeover path, the user and the network
//!   namespace. Memory for both is needed while they are two.
//! - **From another thread**, a [`Handle`] stops a server or wakes its services ([`Service::woken`]).
//!   [`Server::observe`] tells the program when it is ready and which addresses were bound (port 0), of takeovers with
//!   their figures, and why one failed.
//! - **With `tracing`**: what is logged goes through the crate `log`, so `tracing_log::LogTracer::init()`, or
//!   `tracing_subscriber::fmt::init()` with its default features, makes events of it.
//! - **With TLS**: [`Listen::tls`] for clients (`Context::tls` tells what their handshakes have found out), [`Connect::tls`] for
//!   connections of a service. Both go on through takeovers; the feature `tls` has it.
//! - **With a standby**, which goes on with all peers when this process crashes or is killed: [`Config::standby`] has the server start
//!   it, [`Server::follow`] is one.
//! - **Some peers to another process**, while both go on: [`move_peers`], or [`Context::give_away`], of services that can live without what
//!   they share ([`Service::MOVABLE`]). [`Config::wait_path`] is where who takes them waits.
//! - **On all cores**, or behind a supervisor: [`Server::work`] draws peers from a supervisor's queue instead of
//!   listening. [`worker`] is that queue for programs with a loop of their own, or with none.
//! - **As a program** with a service manager, options and a log: `program`, with the feature of that name.
//! - **Without the program `reactord`**, which is in the same package with its command line, its log and its supervisor:
//!
//! ```toml
//! [dependencies]
//! reactord = { version = "0.1", default-features = false }
//! ```
//!
//! # What the loop promises
//!
//! - A takeover that fails for whatever reason before its commit point leaves the predecessor serving, with all its
//!   peers, and the next attempt can succeed. After the commit point, the successor has them all.
//! - The pause, from the last byte the predecessor handles to the first that the successor does, depends on how many
//!   peers and entries changed in the last moments, and not on how many there are.
//! - Input that breaks a service's protocol closes that peer and touches nobody else.
//! - Nothing is global but signals, and those are heard by each: several servers can run in threads of one process.

#[cfg(feature = "program")]
pub mod program;
pub mod service;
pub mod services;
pub mod testing;
pub mod tls;
pub mod worker;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

mod account;
mod annals;
mod asking;
mod build_id;
mod by_key;
mod clock;
mod config;
mod dispositions;
mod fault;
mod handle;
mod lane;
mod lanes;
mod limited;
mod lineup;
mod listen;
mod listing;
mod mapping;
mod milestone;
mod moving;
mod originals;
mod pauses;
mod peer;
mod reactor;
mod recipient;
mod server;
mod shared_memory;
mod sources;
mod standby;
mod status;
mod table;
mod takeover;
mod upgrade;

pub use asking::{LogLevels, ask, set_log_level};
pub use build_id::BUILD;
pub use config::{Config, Outcome};
pub use handle::Handle;
pub use lineup::{Services, With};
pub use listen::{Adopted, Listen, ListenError, NotListening, Target};
pub use listing::asking::list_peers;
pub use milestone::{Listening, Milestone, Ready, Survived, Takeover};
pub use moving::asking::{Moved, Which, move_peers};
pub use pauses::Pauses;
pub use peer::PeerId;
pub use reactord_process::asking::AskError;
pub use reactord_process::path::{PathError, TAKEOVER_PATH_BYTES_MAX, is_served};
pub use recipient::Recipient;
pub use server::{Error, Server, Successor};
pub use service::{
    Accepted, Closed, Connect, ConnectTls, Context, Counted, Entries, Keyed, RestoreError, Save, SendError, Service,
    StreamService, Violation,
};
pub use status::{
    FailureStatus, HandshakesStatus, HeldStatus, ListenerStatus, PeerStatus, ServiceStatus, StandbyStatus, Status,
    TakeoverStatus,
};
pub use takeover::error::TakeoverError;
pub use takeover::offer::Offer;
pub use takeover::welcomed::become_user_of;
pub use upgrade::asking::{Checked, ServerProcess, Upgrade, Upgraded, Upgrading, check, upgrade};
pub use upgrade::inheritance::Inheritance;
pub use upgrade::program::Program;
