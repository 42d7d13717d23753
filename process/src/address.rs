//! An address as the log writes it.

use std::fmt;
use std::net::SocketAddr;

/// `[127.0.0.1]:1234`, IPv4 and IPv6 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]:{}", self.0.ip(), self.0.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_written_alike() {
        assert_eq!(Address("127.0.0.1:80".parse().unwrap()).to_string(), "[127.0.0.1]:80");
        assert_eq!(Address("[::1]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
