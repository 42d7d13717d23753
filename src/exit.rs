//! The exit codes of the daemon, besides those for success and for a command line that cannot be understood.

use std::process::ExitCode;

use log::error;
use reactord::AskError;

/// A server could not serve.
pub(crate) const EXIT_SERVE: u8 = 1;

/// A takeover failed, and the predecessor goes on serving; or what was asked of a server was not done, and it goes on as it was.
pub(crate) const EXIT_TAKEOVER: u8 = 3;

/// A server could not be asked.
pub(crate) fn fail(error: &AskError) -> ExitCode {
    error!("{error}");
    ExitCode::from(EXIT_TAKEOVER)
}
