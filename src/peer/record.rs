//! What is known of a peer besides its descriptor, as plain values: what another process needs to go on with it.
//!
//! How they are written down is the business of whoever sends them.

use std::net::SocketAddr;

use super::parting::Parting;

/// How far the conversation with a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Both directions are open.
    Open,
    /// The client has sent all it will send (a half-close), and still reads.
    Ended,
    /// What is pending is written, then nothing more.
    Closing,
    /// All is written. What the client still sends is thrown away until it has ended too: to close at once would reset
    /// the connection, and take what is on its way to the client with it.
    Lingering,
}

/// A peer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'b> {
    /// The socket's cookie (`SO_COOKIE`, socket(7)): the peer's identity.
    pub(crate) cookie: u64,
    pub(crate) address: SocketAddr,
    pub(crate) phase: Phase,
    /// The session, as the service saved it.
    pub(crate) session: &'b [u8],
    /// Received and not handled yet.
    pub(crate) inbound: &'b [u8],
    /// Answered and not written yet.
    pub(crate) outbound: &'b [u8],
    /// How long the server has been ending the connection, if it does.
    pub(crate) parting: Option<Parting>,
}
