//! Why a client is let go without a server.

use std::fmt;

use crate::access_log::End;

/// Why a client is let go without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its address may not connect here.
    Denied,
    /// Its address comes too often.
    TooOften,
    /// Its listener or its upstream is gone from the file.
    Removed,
    /// It did not begin as it has to, in time.
    Silent,
    /// It has begun with something else than a PROXY header.
    NoHeader,
    /// It has begun with something else than a ClientHello.
    NoHello,
    /// The name that it asks for leads nowhere.
    NoRoute,
    /// No server is up.
    NoServer,
    /// All servers have as many clients as they may, and so many wait as may.
    QueueFull,
    /// No server had room in time.
    WaitedTooLong,
    /// Those that were tried could not be reached.
    Unreachable,
    /// Those that were tried could not be reached in time.
    ConnectTimeout,
    /// This machine has no room for one more connection.
    Shortage,
}

/// All of them, by their numbers: what the access log calls them, and what a line says.
const ALL: [(Refusal, End, &str); 13] = [
    (Refusal::Denied, End::Denied, "its address may not connect here"),
    (Refusal::TooOften, End::TooOften, "its address comes more often than connection_rate allows"),
    (Refusal::Removed, End::Removed, "the listener or the upstream is gone from the configuration"),
    (Refusal::Silent, End::HeaderTimeout, "it has not said all within header_timeout that it has to begin with"),
    (Refusal::NoHeader, End::NoHeader, "it does not begin with a PROXY header"),
    (Refusal::NoHello, End::NoHello, "it does not begin with a ClientHello"),
    (Refusal::NoRoute, End::NoRoute, "the name that it asks for leads nowhere"),
    (Refusal::NoServer, End::NoServer, "no server is up"),
    (Refusal::QueueFull, End::QueueFull, "all servers have max_connections clients, and as many wait as may"),
    (Refusal::WaitedTooLong, End::QueueTimeout, "no server had room in time"),
    (Refusal::Unreachable, End::Unreachable, "the servers that were tried cannot be reached"),
    (
        Refusal::ConnectTimeout,
        End::ConnectTimeout,
        "the servers that were tried cannot be reached within connect_timeout",
    ),
    (Refusal::Shortage, End::Internal, "this machine has no room for one more connection"),
];

impl Refusal {
    /// Its number among all.
    pub(super) fn number(self) -> usize {
        self as usize
    }

    /// What figures and the access log call it.
    pub(super) fn end(self) -> End {
        ALL[self.number()].1
    }

    pub(super) fn saved(self) -> u8 {
        self as u8
    }

    pub(super) fn of_saved(number: u8) -> Self {
        ALL.get(usize::from(number)).map_or(Self::Shortage, |(refusal, ..)| *refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL[self.number()].2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_its_number() {
        for (number, (refusal, ..)) in ALL.into_iter().enumerate() {
            assert_eq!((refusal.number(), Refusal::of_saved(refusal.saved())), (number, refusal));
        }
    }
}
