//! A TCP proxy whose established connections outlive its upgrades and its configurations.
//!
//! This package is for the program `reactord-proxy`, and promises nobody else anything.
//!
//! | module | owns |
//! | --- | --- |
//! | [`access_log`] | the line of a connection that has ended |
//! | [`client_hello`] | the name that a client asks for when it begins TLS |
//! | [`config`] | the file: what it says, and every mistake in it with its place |
//! | [`hashing`] | which server a client is led to, always the same one |
//! | [`names`] | names of servers, resolved again and again |
//! | [`networks`] | which addresses belong to a set of networks |
//! | [`proxy_header`] | whose connection it is, as one proxy says it to another |

pub mod access_log;
pub mod client_hello;
pub mod config;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hashing;
pub mod names;
pub mod networks;
pub mod proxy_header;
