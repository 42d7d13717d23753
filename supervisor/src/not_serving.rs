//! Why there is no supervisor that serves, and how the process exits then.

use crate::error::Error;

/// The exit code of a supervisor that cannot serve.
const EXIT_SERVE: u8 = 1;

/// Why a supervisor does not serve, or could not go on.
#[derive(Debug, PartialEq, Eq)]
pub struct NotServing {
    /// What is known of it, as the log says it.
    pub reason: String,
    /// The exit code to leave with.
    pub exit_code: u8,
}

impl NotServing {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), exit_code: EXIT_SERVE }
    }
}

impl From<Error> for NotServing {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}
