//! How an address is written.

use std::net::SocketAddr;

/// `[address]:port`, for both address families alike.
pub(crate) fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}
