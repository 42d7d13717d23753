//! What a process of reactord stands on, whether it serves or supervises: its descriptors, its limit of open
//! files, the sockets that it listens on, and the words in which a supervisor and a worker speak.
//!
//! This package is for `reactord` and `reactord-supervisor`, and promises nobody else anything. What it has for users
//! is in `reactord`, where it stays what it is.
//!
//! | module | owns |
//! | --- | --- |
//! | [`accept`] | the listening socket, and when accepting pauses and goes on |
//! | [`adopted`] | sockets on which another process has begun to listen |
//! | [`address`] | how the log writes an address |
//! | [`asker`] | who has asked for an upgrade, and is told what comes of it |
//! | [`asking`] | what a process that serves nobody asks of one that answers on a path |
//! | [`callers`] | those who call on a path, until they have said what they want |
//! | [`channel`] | frames and descriptors over a Unix stream socket |
//! | [`descriptors`] | one message with descriptors over a Unix socket, out and in |
//! | [`frame`] | a kind, a body and a checksum, as bytes and back |
//! | [`inherited`] | descriptors that the process was started with, by number |
//! | [`last_words`] | the end of what a process says on its standard error |
//! | [`limited`] | how many log lines others can cause |
//! | [`log_level`] | somebody asks that another level is logged |
//! | [`memory`] | whether there is enough of it for what is sent and arrives |
//! | [`open_files`] | the limit of open files, and how much of it is used |
//! | [`path`] | a path on which callers are heard: binding it, who may call, removing it |
//! | [`path_watch`] | whether a path leads here still, and that it is made anew |
//! | [`requests`] | what may be asked of a server or a supervisor on its path, and what comes of it |
//! | [`words`] | what a worker and the supervisor say to each other, as values |
//!
//! Nothing here knows of a peer or a worker, or what a takeover is made of.

pub mod accept;
pub mod address;
pub mod adopted;
pub mod asker;
pub mod asking;
pub mod callers;
pub mod channel;
pub mod descriptors;
pub mod frame;
pub mod inherited;
pub mod last_words;
pub mod limited;
pub mod log_level;
pub mod memory;
pub mod open_files;
pub mod path;
pub mod path_watch;
pub mod requests;
pub mod wiped;
pub mod words;

pub use path::SOCKET_PATH_BYTES_MAX;
