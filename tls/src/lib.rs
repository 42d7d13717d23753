//! TLS connections whose state can be written down at any moment, and taken up by another process.
//!
//! rustls does the [`Handshake`] and nothing else; the established connection is a [`Session`] of this crate. Both are
//! values without sockets: bytes that came go in, bytes to be sent come out. There is no `unsafe`.
//!
//! ```no_run
//! # use std::{error::Error, io::{Read, Write}, net::TcpStream, path::Path, sync::Arc};
//! use reactord_tls::{Acceptor, Certificate, End, Handshake, Pem, Progress, ServerSettings, TicketKeys};
//!
//! /// What comes, behind what is not done with.
//! fn receive(socket: &mut TcpStream, wire: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
//!     let mut buffer = [0; 4096];
//!     match socket.read(&mut buffer)? {
//!         0 => Err("the client cut it off".into()),
//!         bytes => Ok(wire.extend_from_slice(&buffer[..bytes])),
//!     }
//! }
//!
//! # fn echo(mut socket: TcpStream) -> Result<(), Box<dyn Error>> {
//! let (chain, key) = (Pem::read(Path::new("chain.pem"))?, Pem::read(Path::new("key.pem"))?);
//! let settings = ServerSettings { certificates: vec![Certificate { chain, key }], ..ServerSettings::default() };
//! let acceptor = Acceptor::new(&settings, Arc::new(TicketKeys::new()?))?;
//!
//! let (mut wire, mut out, mut plain) = (Vec::new(), Vec::new(), Vec::new());
//! let mut handshake = Handshake::accept(&acceptor)?;
//! let mut progress = Progress::More;
//! while progress == Progress::More {
//!     receive(&mut socket, &mut wire)?;
//!     let (taken, reached) = handshake.hear(&wire, &mut out)?;
//!     wire.drain(..taken);
//!     socket.write_all(&std::mem::take(&mut out))?;
//!     progress = reached;
//! }
//! let mut session = handshake.finish()?.session;
//! loop {
//!     let taken = session.open(&mut wire, &mut plain, &mut out)?;
//!     wire.drain(..taken);
//!     session.seal(&std::mem::take(&mut plain), &mut out)?;
//!     socket.write_all(&std::mem::take(&mut out))?;
//!     if session.end() == End::Orderly {
//!         break;
//!     }
//!     // Here it could be saved, and go on in another process.
//!     receive(&mut socket, &mut wire)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `settings` | certificates, whom this side believes, what it offers; what is wrong with that |
//! | `handshake` | a handshake, record by record; as bytes, and back |
//! | `tape`, `provider` | what it draws from outside, so that another process can draw the same; by whom rustls draws
//! it |
//! | `specimen` | whether another process goes on with the handshakes of this one |
//! | `tickets` | with which clients resume, also at a successor |
//! | `facts`, `subject` | what it has found out; the name in a certificate that people read |
//! | `session` | the established connection; as bytes, and back |
//! | `direction`, `secret` | one direction of it: its key, its numbers; secrets, and what follows from them |
//! | `record`, `messages` | the form of a record; messages that come after the handshake |
//! | `suite`, `alert`, `violation` | cipher suites; what ends a connection, and why |
//! | `bytes` | lengths and bytes, written and read |
//! | `watch` | that no number is sealed twice, in tests |

mod alert;
mod bytes;
mod direction;
mod facts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod messages;
mod provider;
mod record;
mod secret;
mod session;
mod settings;
mod specimen;
mod subject;
mod suite;
mod tape;
mod tickets;
mod violation;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod watch;

pub use alert::Alert;
pub use facts::Facts;
pub use handshake::{Established, Handshake, HandshakeFailure, NotContinued, Progress, SavedHandshake, Unmovable};
pub use messages::Role;
pub use session::{End, Failure, NotRestored, SavedSession, Session};
pub use settings::{
    Acceptor, Certificate, ClientAuth, ClientSettings, Connector, Pem, Roots, ServerSettings, SettingsError, Versions,
};
pub use specimen::Specimen;
pub use suite::{Suite, Version};
pub use tickets::{NoRandomness, TicketKeys};
pub use violation::Violation;
