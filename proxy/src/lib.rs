//! A TCP proxy whose established connections outlive its upgrades and its configurations.
//!
//! This package is for the program `reactord-proxy`, and promises nobody else anything.
//!
//! | module | owns |
//! | --- | --- |
//! | [`access_log`] | the line of a connection that has ended |
//! | [`balance`] | which server gets the next client |
//! | [`client_hello`] | the name that a client asks for when it begins TLS |
//! | [`config`] | the file: what it says, and every mistake in it with its place |
//! | [`journal`], [`lines`] | where the access log goes; how many log lines others can cause |
//! | [`hashing`] | which server a client is led to, always the same one |
//! | [`names`] | names of servers, resolved again and again |
//! | [`networks`] | which addresses belong to a set of networks |
//! | [`plan`] | what a configuration means for the server that carries it out |
//! | [`proxy_header`] | whose connection it is, as one proxy says it to another |
//! | [`service`] | the proxy itself, as a service of `reactord` |
//! | [`standing`] | how a server stands: whether it gets clients, and what it has done |
//! | [`words`] | what is asked of a proxy that runs |

pub mod access_log;
pub mod balance;
pub mod client_hello;
pub mod config;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hashing;
pub mod journal;
pub mod lines;
pub mod names;
pub mod networks;
pub mod plan;
pub mod preface;
pub mod proxy_header;
pub mod service;
pub mod standing;
pub mod words;
