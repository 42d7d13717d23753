//! What the daemon and the client share on a command line and on standard error.
//!
//! [`arguments`] turns argv into an argh command, and [`logger`] writes log lines without ever blocking on
//! standard error or panicking because of it. Nothing here knows what either program does.

pub mod arguments;
pub mod logger;
