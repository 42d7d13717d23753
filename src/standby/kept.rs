//! The process that a server starts as its standby, and starts again when it has ended.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use mio::{Interest, Registry};
use reactord_process::words::{PREDECESSOR_VARIABLE, SOCKET_VARIABLE};

use crate::sources::Tokens;
use crate::upgrade::inheritance::{FOLLOWS_VARIABLE, STANDARD_ERROR_VARIABLE, UPGRADE_VARIABLE};
use crate::upgrade::launch::{Launch, News};
use crate::upgrade::program::Program;

/// How long after a standby has ended the next one is started, at first; twice as long after each that did not become armed, up
/// to a minute.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// What keeps a standby.
#[derive(Debug)]
pub(crate) struct Kept {
    program: Program,
    launch: Option<Launch>,
    /// When one is started, if none is there.
    start_at: Instant,
    again_after: Duration,
}

/// What has become of the process.
#[derive(Debug)]
pub(crate) enum Became {
    NotStarted(io::Error),
    /// `None` where somebody else has waited for it.
    Ended(Option<ExitStatus>),
}

impl Kept {
    /// It is started as this says, at once.
    pub(crate) fn new(program: Program, now: Instant) -> Self {
        Self { program, launch: None, start_at: now, again_after: AGAIN_AFTER }
    }

    /// The standby is armed: it was worth starting.
    pub(crate) fn armed(&mut self) {
        self.again_after = AGAIN_AFTER;
    }

    /// When one is to be started, if none is there.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.launch.is_none().then_some(self.start_at)
    }

    /// Starts one, which is to follow whoever answers on `path`. Returns what comes of it if nothing does.
    pub(crate) fn start(&mut self, path: &Path, registry: &Registry, tokens: Tokens, now: Instant) -> Option<Became> {
        let begun = Launch::begin(command(&self.program, path), false).and_then(|mut launch| {
            registry.register(launch.source(), tokens.token(LAUNCH_KEY), Interest::READABLE)?;
            Ok(launch)
        });
        match begun {
            Ok(launch) => {
                self.launch = Some(launch);
                None
            }
            Err(error) => Some(self.end(Became::NotStarted(error), now)),
        }
    }

    /// What has become of it, if it is there no more.
    pub(crate) fn news(&mut self, now: Instant) -> Option<Became> {
        loop {
            let became = match self.launch.as_mut()?.news()? {
                News::Started { .. } | News::Quiet => continue,
                News::NotStarted(error) => Became::NotStarted(error),
                News::Ended(status) => Became::Ended(status),
            };
            return Some(self.end(became, now));
        }
    }

    fn end(&mut self, became: Became, now: Instant) -> Became {
        self.launch = None;
        self.start_at = now + self.again_after;
        self.again_after = (2 * self.again_after).min(AGAIN_AFTER_MAX);
        became
    }

    /// It is followed no more, and hangs perhaps: it makes room for another one.
    pub(crate) fn give_up(&self) {
        self.launch.iter().for_each(Launch::kill);
    }

    /// It is not to be there any more: a process that has not called yet would call somebody else.
    pub(crate) fn leave(self) {
        self.give_up();
    }
}

/// The key of what wakes the loop for it; the channel to a standby has the one before.
const LAUNCH_KEY: usize = 1;

/// What is executed: what this server was started as, which is told to follow.
fn command(program: &Program, path: &Path) -> Command {
    let mut command = Command::new(&program.path);
    let mut arguments = program.arguments.iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    if let Some(directory) = program.directory.as_ref().filter(|directory| directory.is_dir()) {
        command.current_dir(directory);
    }
    command.env(PREDECESSOR_VARIABLE, path).env(FOLLOWS_VARIABLE, "1");
    // A supervisor's queue comes with all else.
    command.env_remove(UPGRADE_VARIABLE).env_remove(STANDARD_ERROR_VARIABLE).env_remove(SOCKET_VARIABLE);
    command
}
