//! What a process that supervises nothing asks of a supervisor on its path.

use std::path::Path;
use std::time::Duration;

use reactord_process::asking::{AskError, PATIENCE, exchange};
use reactord_process::frame::RawFrame;

use crate::frames::{Reloaded, Request};

/// How long a new generation may take until it serves or is given up. Its workers have as long as the supervisor allows them.
const RELOAD_PATIENCE: Duration = Duration::from_secs(31 * 86400);

/// Asks whoever answers on `path` how it stands: a supervisor, or a server.
///
/// # Errors
/// If nobody answers there who may be asked, or not within ten seconds.
pub fn ask_status(path: &Path) -> Result<RawFrame, AskError> {
    exchange(path, &Request::Status.frame(), PATIENCE).map_err(AskError::at(path))
}

/// Has the supervisor that answers on `path` replace its workers by a new generation, and waits until it serves or is given up.
///
/// # Errors
/// If the supervisor cannot be asked, or refuses; or if it ends meanwhile.
pub fn reload(path: &Path) -> Result<Reloaded, AskError> {
    let answer = exchange(path, &Request::Reload.frame(), RELOAD_PATIENCE).map_err(AskError::at(path))?;
    answer.decode().map_err(|error| AskError::at(path)(error.into()))
}
