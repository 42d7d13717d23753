//! An upgrade: the server starts its successor itself, and tells whoever asked for it what has come of that.
//!
//! ```text
//! begin ──▶ the process is started ──it calls──▶ a takeover like any other ──▶ succeed
//!                  │                                │
//!             it ends, or is late              it is refused or fails          fail: this process serves on
//! ```
//!
//! The successor that was started is known by a number, which it says in its Hello: also where a script has started it in
//! turn. Once an upgrade has come to its end, whoever says its number is refused. So one that was given up can take over
//! no more, however it has been stopped or held up.

pub(crate) mod asking;
pub(crate) mod inheritance;
pub(crate) mod launch;
pub(crate) mod program;

use std::ffi::OsStr;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use log::debug;
use mio::event::Event;
use mio::{Interest, Registry};
use nix::sys::signal::Signal;
use reactord_process::asker::Asker;
use reactord_process::last_words::with_last_line;
use reactord_process::words::PREDECESSOR_VARIABLE;

use crate::sources::{Source, Tokens};
use crate::takeover::fault::{self, UpgradeStep};
use crate::takeover::summary::{Pause, Summary};
use crate::takeover::wire::{self, Argument, Hello, Process, Upgraded, Upgrading};
use inheritance::{FOLLOWS_VARIABLE, STANDARD_ERROR_VARIABLE, UPGRADE_VARIABLE};
use launch::{Launch, News};
use program::Program;

/// It was the signal that asks for an upgrade.
pub(crate) const HANGUP: Asker = Asker::Signal("SIGHUP");

/// How often whoever asked is told how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a successor may go on that has been told that it cannot take over: it has something to say about it, and ends.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(3);

/// How long the last words may be on their way from a process that has ended: another may hold its standard error.
const QUIET_PATIENCE: Duration = Duration::from_millis(100);

/// How long a process that is killed may take to end. Nobody waits for one that does not.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// How long a predecessor that has retired passes on what its successor had said before it served.
const RETIRED_PATIENCE: Duration = Duration::from_millis(500);

/// An upgrade that is under way.
#[derive(Debug)]
pub(crate) struct Upgrade {
    launch: Launch,
    /// What is executed, for whoever has to be told that it cannot be.
    program: String,
    /// What the successor says in its Hello.
    number: u64,
    asker: Asker,
    timeout: Duration,
    /// When it is given up.
    deadline: Instant,
    /// The process that was started.
    pid: Option<u32>,
    /// What the one that has called says of itself, which may be another where a script started it.
    called: Option<Process>,
    /// Why it will not take over, if that is known.
    reason: Option<Reason>,
    /// All that is known of that is that it has closed the channel. How it ends says more.
    has_hung_up: bool,
    /// It has ended, and until when its last words are waited for.
    ended: Option<(Option<ExitStatus>, Instant)>,
    is_quiet: bool,
    is_killed: bool,
    /// When whoever asked is told next how far it is.
    tell_at: Instant,
}

/// Why an upgrade has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) why: String,
    /// This server will not have it, rather than that it has come to nothing.
    pub(crate) is_refused: bool,
    /// How the successor has ended, where that says more.
    pub(crate) end: Option<String>,
}

impl Reason {
    fn of(why: String, is_refused: bool) -> Self {
        Self { why, is_refused, end: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        self.end.as_ref().map_or(Ok(()), |end| write!(f, ": {end}"))
    }
}

/// An upgrade that has failed.
#[derive(Debug)]
pub(crate) struct Failed {
    asker: Asker,
    /// The process that was started, or 0.
    pub(crate) pid: u32,
    pub(crate) reason: Reason,
    /// A takeover has failed for it, and that was told.
    pub(crate) is_known: bool,
    said: String,
}

impl Upgrade {
    /// Starts the successor, which is to call on `path`.
    ///
    /// # Errors
    /// If it cannot even be tried.
    pub(crate) fn begin(
        program: &Program,
        request: &wire::Upgrade,
        path: &Path,
        asker: Asker,
        now: Instant,
    ) -> Result<Self, Failed> {
        let number = RandomState::new().build_hasher().finish();
        let command = command(program, request, path, number);
        let timeout = Duration::from_millis(request.timeout_ms);
        let executed = command.get_program().display().to_string();
        match Launch::begin(command, program.is_heard) {
            Ok(launch) => Ok(Self {
                launch,
                program: executed,
                number,
                asker,
                timeout,
                deadline: now + timeout,
                pid: None,
                called: None,
                reason: None,
                has_hung_up: false,
                ended: None,
                is_quiet: false,
                is_killed: false,
                tell_at: now,
            }),
            Err(error) => Err(Failed::at_once(asker, format!("the successor cannot be started: {error}"))),
        }
    }

    /// What is executed.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// The process that was started, or 0.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unwrap_or(0)
    }

    /// Whether whoever says this Hello is the successor that was started.
    pub(crate) fn is_by(&self, hello: &Hello) -> bool {
        hello.upgrade == Some(self.number)
    }

    /// Whether a takeover by this process is for the upgrade.
    pub(crate) fn has_called_as(&self, pid: u32) -> bool {
        self.called.as_ref().is_some_and(|called| called.pid == pid)
    }

    /// Whether the successor may still take over.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.is_killed
    }

    /// The successor has called.
    pub(crate) fn called(&mut self, successor: Process) {
        self.called = Some(successor);
    }

    /// The successor will not take over, and why. It ends by itself, or is killed after a while.
    pub(crate) fn object(&mut self, why: String, is_refused: bool, now: Instant) {
        self.reason.get_or_insert(Reason::of(why, is_refused));
        self.deadline = self.deadline.min(now + LAST_WORDS_PATIENCE);
    }

    /// The successor has closed the channel without a word.
    pub(crate) fn hung_up(&mut self, why: String, now: Instant) {
        self.has_hung_up = self.reason.is_none();
        self.object(why, false, now);
    }

    /// Whether it has taken too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        !self.is_killed && now >= self.deadline
    }

    /// Kills the successor, which has had its time.
    pub(crate) fn give_up(&mut self, now: Instant) {
        let timeout_ms = self.timeout.as_millis();
        let why = format!("{} has not taken over within {timeout_ms} ms, and was killed", self.successor());
        self.reason.get_or_insert(Reason::of(why, false));
        fault::here(UpgradeStep::GiveUp);
        self.launch.kill();
        self.is_killed = true;
        self.deadline = now + KILL_PATIENCE;
    }

    /// Hears what is new of the process, and tells whoever asked how far it is: how many peers are copied, of how many.
    ///
    /// # Errors
    /// When the upgrade has failed.
    pub(crate) fn tend(mut self, copied: Option<u64>, peers: u64, now: Instant) -> Result<Self, Failed> {
        while let Some(news) = self.launch.news() {
            self.note(news, now);
        }
        let has_said_all = self.ended.is_some_and(|(_, until)| self.is_quiet || now >= until);
        if has_said_all || (self.is_killed && now >= self.deadline) {
            return Err(self.into_failed());
        }
        self.tell(copied, peers, now);
        Ok(self)
    }

    fn note(&mut self, news: News, now: Instant) {
        match news {
            News::Started { pid } => {
                fault::here(UpgradeStep::Started);
                debug!("Upgrade: the successor is pid {pid}");
                self.pid = Some(pid);
            }
            News::NotStarted(error) => {
                let why = format!("the successor cannot be started: {}: {error}", self.program);
                self.reason.get_or_insert(Reason::of(why, false));
                self.ended = Some((None, now));
            }
            News::Quiet => self.is_quiet = true,
            News::Ended(status) => self.ended = Some((status, now + QUIET_PATIENCE)),
        }
    }

    fn tell(&mut self, copied: Option<u64>, peers: u64, now: Instant) {
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + PROGRESS_INTERVAL;
        if let Some(pid) = self.pid {
            self.asker.tell(&Upgrading { pid, copied, peers });
        }
    }

    /// When it is to be tended if no event comes before.
    pub(crate) fn due(&self) -> Instant {
        let told = matches!(self.asker, Asker::Caller(..)).then_some(self.tell_at);
        let quiet = self.ended.map(|(_, until)| until);
        [told, quiet].into_iter().flatten().fold(self.deadline, Instant::min)
    }

    /// How the log and the answer call the process that was started.
    fn successor(&self) -> String {
        match self.pid {
            Some(pid) => format!("the successor (pid {pid})"),
            None => "the successor".to_owned(),
        }
    }

    fn into_failed(mut self) -> Failed {
        let end = self.ended.map(|(status, _)| format!("{} {} before it took over", self.successor(), ended(status)));
        let reason = match self.reason.take() {
            // One that is killed for having hung up has not hung up because of that.
            Some(reason) => Reason { end: end.filter(|_| self.has_hung_up && !self.is_killed), ..reason },
            None => Reason::of(end.unwrap_or_default(), false),
        };
        let (pid, is_known) = (self.pid(), self.called.is_some());
        Failed { pid, reason, is_known, said: self.launch.said(), asker: self.take_asker() }
    }

    fn take_asker(&mut self) -> Asker {
        std::mem::replace(&mut self.asker, HANGUP)
    }

    /// This process ends, and nobody is left who would kill the successor, or know it: it is killed, also if it is only being
    /// started.
    pub(crate) fn kill_at_end(&mut self) {
        self.launch.kill();
        self.is_killed = true;
        if self.pid.is_none() && self.ended.is_none() {
            self.launch.wait_for_start(KILL_PATIENCE);
        }
    }

    /// The upgrade is over before it has come to its end.
    pub(crate) fn abandon(mut self, why: String, is_refused: bool) -> Failed {
        self.reason.get_or_insert(Reason::of(why, is_refused));
        self.into_failed()
    }

    /// The successor owns the peers: tells whoever asked, and passes on what it had said before it served. Returns why it is not
    /// what was asked for, if the successor has not lived to serve.
    pub(crate) fn succeed(mut self, predecessor: Process, summary: &Summary) {
        let pause_us = match summary.pause {
            Pause::Exactly { us } | Pause::AtMost { us } => Some(us),
            Pause::Unknown => None,
        };
        let why = if pause_us.is_none() { self.end_of_owner() } else { None };
        let said = if why.is_some() { self.launch.said() } else { String::new() };
        let (successor, peers) = (self.called.take(), summary.peers);
        let answer = Upgraded { predecessor, successor, peers, pause_us, why, said, ..Upgraded::default() };
        self.take_asker().answer(&answer);
        // What it does from now on is its own affair.
        self.is_killed = true;
        self.launch.wait_for_quiet(RETIRED_PATIENCE);
        self.launch.leave();
    }

    /// How the successor has ended that owned the peers, if it has.
    fn end_of_owner(&mut self) -> Option<String> {
        while let Some(news) = self.launch.news_within(QUIET_PATIENCE) {
            if let News::Ended(status) = news {
                return Some(format!("{} took over and {}: nobody serves", self.successor(), ended(status)));
            }
        }
        None
    }
}

impl Drop for Upgrade {
    /// Nobody is left who would take it for the successor.
    fn drop(&mut self) {
        if !self.is_killed {
            self.launch.kill();
        }
    }
}

impl Source for Upgrade {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        registry.register(self.launch.source(), tokens.token(0), Interest::READABLE)
    }

    /// It is tended in each turn of the loop.
    fn hear(&mut self, _: usize, _: &Event) {}

    fn due(&self, _: Instant) -> Option<Instant> {
        Some(self.due())
    }
}

impl Failed {
    /// Why, as the log and whoever asks later are told it; whoever has asked for it hears all that was said.
    pub(crate) fn why(&self) -> String {
        with_last_line(&self.reason.to_string(), &self.said)
    }

    /// One that was not even begun.
    pub(crate) fn refused(asker: Asker, why: String) -> Self {
        Self { asker, pid: 0, reason: Reason::of(why, true), is_known: false, said: String::new() }
    }

    fn at_once(asker: Asker, why: String) -> Self {
        Self { asker, pid: 0, reason: Reason::of(why, false), is_known: false, said: String::new() }
    }

    /// Tells whoever asked that it is another process that serves now.
    pub(crate) fn answer_of_another(self, predecessor: Process, pid: u32) {
        let Self { asker, reason, said, .. } = self;
        let (why, is_refused) = (Some(reason.to_string()), reason.is_refused);
        let successor = Some(Process { pid, generation: predecessor.generation + 1, ..Process::default() });
        asker.answer(&Upgraded { predecessor, successor, why, is_refused, said, ..Upgraded::default() });
    }

    /// Tells whoever asked.
    pub(crate) fn answer(self, predecessor: Process) {
        let Self { asker, reason, said, .. } = self;
        let (why, is_refused) = (Some(reason.to_string()), reason.is_refused);
        asker.answer(&Upgraded { predecessor, why, is_refused, said, ..Upgraded::default() });
    }
}

/// How a process has ended, after its name.
pub(crate) fn ended(status: Option<ExitStatus>) -> String {
    let signal = status.and_then(|status| status.signal()).and_then(|signal| Signal::try_from(signal).ok());
    match (status.and_then(|status| status.code()), signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What is to be executed.
fn command(program: &Program, request: &wire::Upgrade, path: &Path, number: u64) -> Command {
    let own_name = program.arguments.first();
    let mut command = match &request.binary {
        Some(binary) => Command::new(OsStr::from_bytes(binary)),
        None => Command::new(&program.path),
    };
    if let (None, Some(name)) = (&request.binary, own_name) {
        command.arg0(name);
    }
    match &request.arguments {
        Some(arguments) => command.args(arguments.iter().map(|Argument(argument)| OsStr::from_bytes(argument))),
        None => command.args(program.arguments.iter().skip(1)),
    };
    // One that is gone is left as it is: the successor begins where this process is.
    if let Some(directory) = program.directory.as_ref().filter(|directory| directory.is_dir()) {
        command.current_dir(directory);
    }
    command.env(PREDECESSOR_VARIABLE, path).env(UPGRADE_VARIABLE, number.to_string());
    command.env_remove(STANDARD_ERROR_VARIABLE).env_remove(FOLLOWS_VARIABLE);
    command
}
