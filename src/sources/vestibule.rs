//! Where those wait who speak TLS, until their handshake is over: they are no peers before, and their service hears of them
//! with all that the handshake has found out.
//!
//! They move with a takeover, too, as if they were the peers of one lane more: who has said nothing yet, and whose handshake
//! another process can go on with. A takeover waits only for the others, and not for long.

#[cfg(feature = "tls")]
mod hall;
#[cfg(feature = "tls")]
mod headcount;
#[cfg(not(feature = "tls"))]
mod nobody;
#[cfg(feature = "tls")]
mod saved;
#[cfg(feature = "tls")]
mod waiting;

#[cfg(feature = "tls")]
pub(crate) use hall::{Met, Share, Vestibule};
#[cfg(not(feature = "tls"))]
pub(crate) use nobody::Vestibule;
#[cfg(feature = "tls")]
pub(crate) use waiting::Welcome;
