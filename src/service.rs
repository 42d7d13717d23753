//! What answers peers: the traits [`StreamService`] and [`Service`], and what they are given to do so.
//!
//! A service is a state machine without I/O. Bytes come in, bytes go out through a [`Context`], and time is what the
//! context says. Because it does no I/O of its own, the reactor can save it between two calls and go on with it in
//! another process.
//!
//! There are two layers. A [`StreamService`] gets the bytes of a peer as they come, and says how many it has used. A
//! [`Service`] gets whole messages, and is a [`StreamService`] by that.

mod accepted;
mod context;
mod entries;
mod keyed;
mod message;
mod restore_error;
mod save;
mod stream;

pub use crate::peer::closed::Closed;
pub use crate::peer::connect::{Connect, ConnectTls};
pub use crate::peer::delivery::Counted;
pub use crate::peer::violation::Violation;
pub use crate::table::{NobodyWaits, SendError};
pub use accepted::Accepted;
pub use entries::Entries;
pub(crate) use entries::MAPS_MAX;
pub use keyed::{Changing, Keyed};
pub use message::Service;
pub use restore_error::RestoreError;
pub use save::Save;
pub use stream::{Context, StreamService};
