//! What lies between a peer's socket and its talk where that speaks TLS: what comes is opened, what is said is sealed. Neither the
//! table nor the service sees a record.
//!
//! The handshake is over by then: of who has connected, in the vestibule (`sources/vestibule.rs`); of a connection that a service
//! opens, in `handshaking.rs`. Of one connection only one process seals: whoever has the peer. What travels is the session as it
//! is at the freeze, and what was sealed and is not written goes along as pending output.

#[cfg(feature = "tls")]
mod handshaking;
#[cfg(not(feature = "tls"))]
mod nobody;
#[cfg(feature = "tls")]
mod stream;

#[cfg(feature = "tls")]
pub(crate) use handshaking::Handshaking;
#[cfg(not(feature = "tls"))]
pub(crate) use nobody::{Handshaking, Secured};
#[cfg(feature = "tls")]
pub(crate) use stream::Secured;

/// The number of the layout of what moves of TLS; 0 where nothing does.
pub(crate) const LAYOUT: u64 = Secured::LAYOUT;

/// What has come of bytes that were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nobody has any"))]
pub(crate) enum Opened {
    /// All that they said is in the plain bytes.
    Whole,
    /// The same, and the client has said that it sends nothing more.
    Last,
    /// The client broke the protocol, after what is in the plain bytes.
    Broken(String),
    /// The client, or this side, has ended the connection for this reason.
    Failed(String),
}
