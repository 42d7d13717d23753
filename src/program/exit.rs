//! The exit codes of a server program, besides those for success and for a command line that cannot be understood.

use std::process::ExitCode;

use crate::{AskError, Error};
use log::error;

/// A server could not serve.
pub const EXIT_SERVE: u8 = 1;

/// A takeover failed, and the predecessor goes on serving; or what was asked of a server was not done, and it goes on as it was.
pub const EXIT_TAKEOVER: u8 = 3;

/// The code for why a server does not serve, or serves no more.
#[must_use]
pub fn exit_code_of(error: &Error) -> u8 {
    if matches!(error, Error::Takeover(_)) { EXIT_TAKEOVER } else { EXIT_SERVE }
}

/// A server could not be asked: says so in the log, and returns the code for that.
#[must_use]
pub fn fail(error: &AskError) -> ExitCode {
    error!("{error}");
    ExitCode::from(EXIT_TAKEOVER)
}
