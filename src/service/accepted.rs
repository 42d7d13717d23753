//! How a peer has come in, as its service is told.

use std::net::SocketAddr;

/// How a peer has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted<'a> {
    /// The name of the listener ([`Listen::name`](crate::Listen::name)) that it has connected to; empty if a supervisor has
    /// accepted it.
    pub listener: &'a str,
    /// Where it connects from, unless that is a Unix socket.
    pub from: Option<SocketAddr>,
    /// Which of the server's addresses it has connected to, unless that is a Unix socket, or the kernel does not tell.
    pub at: Option<SocketAddr>,
    /// What it has said in clear before its TLS handshake, if that was due (`tls::Preface`).
    pub preface: Option<&'a [u8]>,
}

impl Accepted<'static> {
    /// Somebody whom no listener has let in.
    pub(crate) fn anyhow() -> Self {
        Self { listener: "", from: None, at: None, preface: None }
    }
}
