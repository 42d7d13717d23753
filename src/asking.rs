//! What a process that serves nobody asks of a server on its takeover path.

use std::path::Path;
use std::time::Duration;

use reactord_process::asking::{self, AskError, Cause, PATIENCE};
use reactord_process::frame::RawFrame;

use crate::status::Status;
use crate::takeover::wire::Frame;

/// Asks the server on `path`, and waits so long for its answer.
pub(crate) fn exchange(path: &Path, request: &Frame<'_>, patience: Duration) -> Result<RawFrame, Cause> {
    asking::exchange(path, &request.encode(), patience)
}

/// The server has answered with something else than what was asked for.
pub(crate) fn out_of_turn(frame: &Frame<'_>) -> Cause {
    Cause::OutOfTurn(format!("{:?}", frame.kind()))
}

impl Status {
    /// How the server stands that answers on the takeover path `path`.
    ///
    /// # Errors
    /// If nobody answers there who may be asked, or not within ten seconds.
    pub fn of(path: &Path) -> Result<Self, AskError> {
        let ask = || match exchange(path, &Frame::AskStatus, PATIENCE)?.decode()? {
            Frame::Status(status) => Ok(status),
            frame => Err(out_of_turn(&frame)),
        };
        ask().map_err(AskError::at(path))
    }
}
