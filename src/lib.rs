//! A TCP server whose process can be replaced while its connections stay open.
//!
//! A successor receives over a Unix socket the listener and **every live connection**, with half-received messages,
//! unsent output and session state, in one atomic step, and the predecessor exits. No client sees a reset, a lost or
//! repeated byte, or a pause that it could tell from an ordinary round trip.
//!
//! You write a [`Service`]: where messages end, how they are answered, how its state is saved and restored. You get a
//! server on one epoll thread that [serves](Server::serve) it, and that its next version can
//! [take over](Server::take_over).
//!
//! # The library alone
//!
//! The program `reactord` is in the same package, with its command line, its log and its supervisor. A program that has
//! its own wants none of that:
//!
//! ```toml
//! [dependencies]
//! reactord = { version = "0.1", default-features = false }
//! ```
//!
//! # A service
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
//! let listener = Listen::on("lines", SocketAddr::from(([127, 0, 0, 1], 1234)));
//! let config = Config { takeover_path: Some(path.into()), ..Config::default() };
//! let server = Server::new(config).service([listener], LineNumbers);
//! if std::env::args().nth(1).as_deref() == Some("take-over") {
//!     server.take_over(path)?;
//! } else {
//!     server.serve()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Both calls return when the server has been stopped by a signal, or when a successor has taken over
//! ([`Outcome`]); then the process should exit. `examples/pubsub.rs` is a service with a state that all peers share and
//! with messages from one peer to others; [`services::Seqnum`] and [`services::Line`] are the ones of the daemon
//! `reactord`.
//!
//! A server that a supervisor has started [works](Server::work) for it: it gets its peers from the supervisor's queue instead
//! of listening. [`worker`] is that queue for programs with a loop of their own, or with none.
//!
//! # What to know when writing one
//!
//! - **Messages.** The loop collects what comes until [`Service::boundary`] finds the end of a message, and calls
//!   [`Service::message`] with each whole one, in order. A message over [`Service::MESSAGE_BYTES_MAX`] closes its peer.
//! - **Answers.** [`Context::reply`] answers the peer that spoke, [`Context::send`] reaches any other by its
//!   [`PeerId`], which stays the same through every takeover and may be kept in sessions and shared state.
//! - **Back-pressure.** A peer whose pending output is over [`Config::outbound_high_bytes`] is not read from until it
//!   has drained to [`Config::outbound_low_bytes`]; [`Context::send`] to it is refused. Memory is bounded by that: a
//!   peer has at most twice the high mark, the answers to one message, one message, and 64 KiB.
//! - **Versions.** Raise [`Service::STATE_VERSION`] when what is saved changes, and keep
//!   [`Service::STATE_VERSION_OLDEST`] at what you can still restore. A successor that cannot restore what the
//!   predecessor saves is refused before anything is copied. `examples/versions.rs` shows how to change what is saved
//!   so that an upgrade can be undone.
//! - **Shared state** is saved and restored while nobody serves: see the [trait](Service#state-in-a-takeover) for what
//!   that costs.
//! - **Time.** A call into the service holds up all peers, so it should be short; there is no I/O to do in it.
//!
//! # What the loop promises
//!
//! - A takeover that fails for whatever reason before its commit point leaves the predecessor serving, with all its
//!   peers, and the next attempt can succeed. After the commit point, the successor has them all.
//! - The pause, from the last byte the predecessor handles to the first that the successor does, depends on how many
//!   peers changed in the last moments, and not on how many there are.
//! - Input that breaks a service's protocol closes that peer and touches nobody else.
//! - Nothing is global but signals, and those are heard by each: several servers can run in threads of one process.

pub mod service;
pub mod services;
pub mod testing;
pub mod worker;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

mod clock;
mod config;
mod handle;
mod lane;
mod lanes;
mod limited;
mod lineup;
mod listen;
mod milestone;
mod originals;
mod peer;
mod reactor;
mod server;
mod sources;
mod table;
mod takeover;

pub use config::{Config, Outcome};
pub use handle::Handle;
pub use lineup::{Services, With};
pub use listen::{Listen, ListenError, Target};
pub use milestone::{Listening, Milestone, Ready, Takeover};
pub use peer::PeerId;
pub use server::{Error, Server, Successor};
pub use service::{
    Accepted, Closed, Connect, Context, Counted, Entries, Keyed, RestoreError, Save, SendError, Service, StreamService,
    Violation,
};
pub use takeover::error::TakeoverError;
pub use takeover::offer::Offer;
pub use takeover::path::{PathError, TAKEOVER_PATH_BYTES_MAX};
