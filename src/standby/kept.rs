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

/// How long one may take to leave that was told that it is not needed any more: it makes room for another one then.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// The same where the server waits for that, and has nothing else to do.
const SEEN_OFF_WITHIN: Duration = Duration::from_secs(1);

/// What keeps a standby.
#[derive(Debug)]
pub(crate) struct Kept {
    program: Program,
    launch: Option<Launch>,
    /// There may be news of it.
    may_have_news: bool,
    /// When it is killed, if it was told to leave and has not.
    leaves_by: Option<Instant>,
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
        Self { program, launch: None, may_have_news: false, leaves_by: None, start_at: now, again_after: AGAIN_AFTER }
    }

    /// The standby is armed: it was worth starting.
    pub(crate) fn armed(&mut self) {
        self.again_after = AGAIN_AFTER;
    }

    /// When one is to be [started](Self::tend), or is to have left.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.launch.is_none() { Some(self.start_at) } else { self.leaves_by }
    }

    /// Starts one, which is to follow whoever answers on `path`, or kills the one that should have left. Returns what comes of it if
    /// nothing does.
    pub(crate) fn tend(&mut self, path: &Path, registry: &Registry, tokens: Tokens, now: Instant) -> Option<Became> {
        if self.launch.is_some() {
            self.leaves_by = None;
            self.give_up();
            return None;
        }
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

    /// An event tells of it.
    pub(crate) fn hear(&mut self) {
        self.may_have_news = true;
    }

    /// What has become of it, if it is there no more.
    pub(crate) fn news(&mut self, now: Instant) -> Option<Became> {
        while self.may_have_news {
            let became = match self.launch.as_mut().and_then(Launch::news) {
                None => {
                    self.may_have_news = false;
                    break;
                }
                Some(News::Started { .. } | News::Quiet) => continue,
                Some(News::NotStarted(error)) => Became::NotStarted(error),
                Some(News::Ended(status)) => Became::Ended(status),
            };
            return Some(self.end(became, now));
        }
        None
    }

    fn end(&mut self, became: Became, now: Instant) -> Became {
        self.launch = None;
        self.leaves_by = None;
        self.start_at = now + self.again_after;
        self.again_after = (2 * self.again_after).min(AGAIN_AFTER_MAX);
        became
    }

    /// It was told to leave.
    pub(crate) fn dismissed(&mut self, now: Instant) {
        self.leaves_by = self.launch.as_ref().map(|_| now + LEAVES_WITHIN);
    }

    /// The server ends, and does not leave behind what was told to leave and hangs.
    pub(crate) fn see_off(self) {
        if let Some(launch) = self.launch.filter(|launch| !launch.ends_within(SEEN_OFF_WITHIN)) {
            launch.kill();
        }
    }

    /// It is killed: it hangs perhaps, and makes room for another one, or has not called yet, and would call somebody else.
    pub(crate) fn give_up(&self) {
        self.launch.iter().for_each(Launch::kill);
    }
}

/// The key of what wakes the loop for it; the channel to a standby has the one before.
pub(crate) const LAUNCH_KEY: usize = 1;

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
