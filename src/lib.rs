//! draft
pub(crate) const BUILD: &str = concat!("reactord ", env!("CARGO_PKG_VERSION"));

mod open_files;
mod peer;
mod peers;
mod reactor;
mod server;
pub mod service;
mod signals;
mod takeover;

pub use peer::PeerId;
pub use server::{Config, Error, Outcome, serve, take_over};
pub use service::{Context, RestoreError, SendError, Service, Violation};
pub use takeover::arrival::{Offer, Successor, TakeoverError};
pub use takeover::path::{PathError, TAKEOVER_PATH_BYTES_MAX};
