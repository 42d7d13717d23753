//! Listeners whose clients speak TLS, and connections that a service opens and that do ([`Connectors`]). Such connections go on
//! through takeovers: certificates and keys are read anew by each successor, what was agreed on with each client moves
//! with its connection.
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use std::path::Path;
//! use reactord::services::Line;
//! use reactord::tls::{Certificate, Pem, ServerSettings, Tls};
//! use reactord::{Config, Listen, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let certificate = Certificate { chain: Pem::read(Path::new("chain.pem"))?, key: Pem::read(Path::new("key.pem"))? };
//! let tls = Tls::new(&ServerSettings { certificates: vec![certificate], ..ServerSettings::default() })?;
//! let listen = Listen { tls: Some(tls), ..Listen::on("clients", SocketAddr::from(([0, 0, 0, 0], 6697))) };
//! Server::new(Config::default()).service([listen], Line::default()).serve()?;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "tls")]
mod connectors;
#[cfg(not(feature = "tls"))]
mod nobody;
#[cfg(feature = "tls")]
mod preface;
#[cfg(feature = "tls")]
mod server;

#[cfg(feature = "tls")]
pub use connectors::Connectors;
#[cfg(not(feature = "tls"))]
pub use nobody::{Connectors, Tls};
#[cfg(feature = "tls")]
pub use preface::Preface;
#[cfg(feature = "tls")]
pub(crate) use preface::read as read_preface;
#[cfg(feature = "tls")]
pub use reactord_tls::{
    Certificate, ClientAuth, ClientSettings, Facts, Pem, Roots, ServerSettings, SettingsError, Suite, Version, Versions,
};
#[cfg(feature = "tls")]
pub use server::{Tls, TlsError};
