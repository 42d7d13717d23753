//! What the daemon and the client share on a command line and on standard error.
//!
//! [`say`] writes to standard output, [`arguments`] turns argv into an argh command with [`values`] that are allowed, and [`logger`] writes log lines
//! without ever blocking or panicking because of it: on standard error, into a [`log_file`] or to the system log
//! ([`system_log`]). [`service_manager`] tells whoever has started the process how it is, and [`listen_fds`]
//! are the sockets that that one has opened. [`output`] is standard output for a program that must not wait for it. Nothing here knows what any
//! program does.

pub mod arguments;
mod line;
pub mod listen_fds;
pub mod log_file;
pub mod logger;
pub mod output;
pub mod service_manager;
mod standard_error;
mod standard_output;
pub mod system_log;
pub mod values;

pub use standard_output::{complain, say};
