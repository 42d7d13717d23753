//! What a process that serves nobody asks of a server on its takeover path.

use std::path::Path;
use std::time::Duration;

use log::LevelFilter;
use reactord_process::asking::{self, AskError, Cause, Conversation, PATIENCE};
use reactord_process::frame::{RawFrame, printable};
use reactord_process::log_level::name_of;

use crate::status::Status;
use crate::takeover::wire::{Answer, Ask, Frame, LogSet, SetLog};

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
        let ask = || {
            let mut conversation = Conversation::begin(path, &Frame::AskStatus.encode())?;
            match conversation.next(PATIENCE)?.decode()? {
                Frame::Status(status) => Ok(Self { seen_pid: conversation.pid(), ..status }),
                frame => Err(out_of_turn(&frame)),
            }
        };
        ask().map_err(AskError::at(path))
    }

    /// Whether the server that has [said](Self::of) this is in the PID namespace of this process (pid_namespaces(7)): in the
    /// same container, as a rule.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.seen_pid != 0 && self.seen_pid == self.pid
    }
}

/// Has the server that answers on the takeover path `path` log this level and those above from now on. Its successor logs
/// what its own command line says.
///
/// # Errors
/// If nobody answers there who may be asked, or not within ten seconds; or if the server's program does not let its level
/// be changed.
pub fn set_log_level(path: &Path, level: LevelFilter) -> Result<LogLevels, AskError> {
    let request = Frame::SetLog(SetLog { level: name_of(level) });
    let ask = || match exchange(path, &request, PATIENCE)?.decode()? {
        Frame::LogSet(LogSet { before, level, pid }) => {
            Ok(LogLevels { before: printable(&before), level: printable(&level), pid })
        }
        frame => Err(out_of_turn(&frame)),
    };
    ask().map_err(AskError::at(path))
}

/// Asks a service of the server that answers on the takeover path `path` something, in words that the two
/// [agree on](crate::StreamService::asked), and returns its answer.
///
/// # Errors
/// If nobody answers there who may be asked, or not within ten seconds; or if the service does not answer.
pub fn ask(path: &Path, service: &str, question: &[u8]) -> Result<Vec<u8>, AskError> {
    let request = Frame::Ask(Ask { service: service.to_owned(), question: question.to_vec() });
    let ask = || match exchange(path, &request, PATIENCE)?.decode()? {
        Frame::Answer(Answer { answer }) => Ok(answer),
        frame => Err(out_of_turn(&frame)),
    };
    ask().map_err(AskError::at(path))
}

/// What has come of setting a log level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLevels {
    /// The level until then.
    pub before: String,
    /// The level now.
    pub level: String,
    /// The process id of the server.
    pub pid: u32,
}
