//! What a process of reactord stands on, whether it serves or supervises: its descriptors, its limit of open
//! files, the sockets that it listens on, and the words in which a supervisor and a worker speak.
//!
//! This package is for `reactord` and `reactord-supervisor`, and promises nobody else anything. What it has for users
//! is in `reactord`, where it stays what it is.
//!
//! | module | owns |
//! | --- | --- |
//! | [`accept`] | the listening socket, and when accepting pauses and goes on |
//! | [`address`] | how the log writes an address |
//! | [`descriptors`] | one message with descriptors over a Unix socket, out and in |
//! | [`inherited`] | descriptors that the process was started with, by number |
//! | [`open_files`] | the limit of open files, and how much of it is used |
//! | [`words`] | what a worker and the supervisor say to each other, as values |
//!
//! Nothing here knows of a peer, a worker or a takeover.

pub mod accept;
pub mod address;
pub mod descriptors;
pub mod inherited;
pub mod open_files;
pub mod words;

/// The bytes that a Unix socket's path may have: `sun_path` has 108, and the last one is a NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
