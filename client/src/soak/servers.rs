//! The processes of a soak: starts them, hears what they say, learns that they ended, and leaves none behind.
//!
//! It knows nothing about takeovers: `succession` does.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

use super::launcher::Launcher;
use super::succession::Number;
use super::usage::Usage;
use crate::wakeups::{SIGNALS, Wakeups};

/// The tokens of the servers' logs count from here: the indices of connections stay below.
const LOGS_FROM: usize = usize::MAX / 2;

/// How many of its last lines are told when a process ends as it should not.
const LAST_LINES: usize = 3;

/// How often the state of a process is looked at that was sent SIGSTOP. Twice is the rule.
const LOOKS_FOR_STOP: usize = 10_000;

/// Which of the servers that are there at once, by its takeover path: its process changes, and its place does not.
pub(crate) type Place = usize;

/// Where the first server is, and the only one where there are not several.
pub(crate) const FIRST: Place = 0;

/// Something that a process did.
#[derive(Debug)]
pub(crate) enum Heard {
    Line(Number, String),
    /// It has ended, and every line of it was heard.
    Ended(Number, ExitStatus),
}

/// The processes that were started, in that order.
pub(crate) struct Servers {
    program: PathBuf,
    /// Holds the takeover paths.
    directory: TempDir,
    registry: Registry,
    launcher: Launcher,
    processes: Vec<Process>,
    /// What is said to who listens, besides.
    listening: Vec<OsString>,
    verbose: bool,
}

struct Process {
    pid: u32,
    kin: Kin,
    log: Option<Receiver>,
    /// The beginning of a line.
    unread: Vec<u8>,
    last_lines: VecDeque<String>,
    status: Option<ExitStatus>,
    /// Whether it is a server, rather than what asks something of one.
    serves: bool,
}

/// What a process is to this one.
#[derive(Debug)]
enum Kin {
    Child(Child),
    /// Another process has started it, at whose end this one comes to be its parent.
    Adopted,
    /// It has ended: the launcher reaps it.
    None,
}

impl Servers {
    /// To be called while few files are open.
    pub(crate) fn new(program: PathBuf, registry: Registry, verbose: bool) -> io::Result<Self> {
        let launcher = Launcher::new()?;
        // What servers have started is to be heard of and ended as well.
        set_child_subreaper(true)?;
        let directory = tempfile::Builder::new().prefix("reactord-soak-").tempdir()?;
        let (processes, listening) = (Vec::new(), Vec::new());
        Ok(Self { program, directory, registry, launcher, processes, listening, verbose })
    }

    /// Whoever listens from now on is told this, too.
    pub(crate) fn tell_listening(&mut self, arguments: impl IntoIterator<Item = OsString>) {
        self.listening.extend(arguments);
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts one that listens on a port of the kernel's choice.
    pub(crate) fn start_listening(&mut self, place: Place) -> io::Result<Number> {
        let (path, more) = (self.takeover_path(place), self.listening.clone());
        self.start_server(move |command| command.args(["-a", "127.0.0.1", "-p", "0", "-t"]).arg(path).args(more))
    }

    /// Starts one that does not listen, and waits at another one for what that gives away.
    pub(crate) fn start_waiting(&mut self, place: Place, at: Place) -> io::Result<Number> {
        let (path, at) = (self.takeover_path(place), self.takeover_path(at));
        self.start_server(move |command| command.arg("-c").arg(at).arg("-t").arg(path))
    }

    /// Starts one that takes over from whichever serves at this place, and waits at another one if that does.
    pub(crate) fn start_successor(&mut self, place: Place, waits_at: Option<Place>) -> io::Result<Number> {
        let (path, at) = (self.takeover_path(place), waits_at.map(|at| self.takeover_path(at)));
        let more = self.listening.clone();
        self.start_server(move |command| {
            command.arg("-T").arg(path);
            match at {
                Some(at) => command.arg("-c").arg(at),
                None => command.args(more),
            }
        })
    }

    /// Starts what has one server give connections to another, and says what came of it.
    pub(crate) fn start_mover(&mut self, from: Place, to: Place, which: Vec<String>) -> io::Result<Number> {
        let (from, to) = (self.takeover_path(from), self.takeover_path(to));
        self.start(move |command| command.arg("move").args([from, to]).args(which))
    }

    /// Starts what asks the server at this place to start its successor, with these arguments.
    pub(crate) fn start_upgrade(&mut self, place: Place, arguments: Vec<OsString>) -> io::Result<Number> {
        let path = self.takeover_path(place);
        self.start(move |command| command.arg("upgrade").arg(path).args(arguments))
    }

    /// Starts what asks the server at this place how it stands.
    pub(crate) fn start_question(&mut self, place: Place) -> io::Result<Number> {
        let path = self.takeover_path(place);
        // That somebody is asked is no news.
        self.start_quietly(move |command| command.args(["status", "--json"]).arg(path))
    }

    /// A process that was started by another one of these, and is heard where that one was.
    pub(crate) fn adopt(&mut self, pid: u32, predecessor: Number) -> io::Result<Number> {
        let number = self.processes.len();
        let Process { log, unread, last_lines, .. } = &mut self.processes[predecessor];
        let (mut log, unread, last_lines) = (log.take(), std::mem::take(unread), last_lines.clone());
        if let Some(log) = &mut log {
            self.registry.reregister(log, Token(LOGS_FROM + number), Interest::READABLE)?;
        }
        self.processes.push(Process { pid, kin: Kin::Adopted, log, unread, last_lines, status: None, serves: true });
        Ok(number)
    }

    /// What a process has started and has not ended.
    pub(crate) fn child_of(&self, number: Number) -> Option<u32> {
        children_of(self.pid(number)).into_iter().next()
    }

    /// Where successors lie that cannot take over.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn takeover_path(&self, place: Place) -> PathBuf {
        self.directory.path().join(format!("takeover-{place}"))
    }

    fn start_server(
        &mut self,
        arguments: impl FnOnce(&mut Command) -> &mut Command + Send + 'static,
    ) -> io::Result<Number> {
        let number = self.start(arguments)?;
        self.processes[number].serves = true;
        Ok(number)
    }

    /// Starts one whose lines, on either output, are heard.
    fn start(&mut self, arguments: impl FnOnce(&mut Command) -> &mut Command + Send + 'static) -> io::Result<Number> {
        let begun = Instant::now();
        let number = self.start_quietly(arguments)?;
        debug!("pid {} started in {} us", self.pid(number), begun.elapsed().as_micros());
        Ok(number)
    }

    /// The same, without a line about it.
    fn start_quietly(
        &mut self,
        arguments: impl FnOnce(&mut Command) -> &mut Command + Send + 'static,
    ) -> io::Result<Number> {
        let number = self.processes.len();
        // It has a name, because the launcher shares no descriptors.
        let log_path = self.directory.path().join(format!("log-{number}"));
        mkfifo(&log_path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let log = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&log_path)?;
        let (program, fifo) = (self.program.clone(), log_path.clone());
        let child = self.launcher.start(move || {
            let mut command = Command::new(program);
            let output = OpenOptions::new().write(true).open(fifo)?;
            arguments(&mut command).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            // What a terminal sends to the foreground, such as SIGINT, is for this process alone to act on.
            command.process_group(0);
            Ok(command)
        })?;
        // From here on the child is ours to end, whatever else goes wrong.
        let pid = child.id();
        let process = Process {
            pid,
            kin: Kin::Child(child),
            log: None,
            unread: Vec::new(),
            last_lines: VecDeque::new(),
            status: None,
            serves: false,
        };
        self.processes.push(process);
        fs::remove_file(log_path)?;
        let mut log = Receiver::from(OwnedFd::from(log));
        self.registry.register(&mut log, Token(LOGS_FROM + number), Interest::READABLE)?;
        self.processes[number].log = Some(log);
        Ok(number)
    }

    pub(crate) fn pid(&self, number: Number) -> u32 {
        self.processes[number].pid
    }

    /// What a process is called in a message, and what it said last: `pid 7 (INFO starting; WARN stopping)`.
    pub(crate) fn last_words(&self, number: Number) -> String {
        let lines: Vec<&str> = self.processes[number].last_lines.iter().map(String::as_str).collect();
        if lines.is_empty() { "it said nothing".to_owned() } else { format!("it said last: {}", lines.join(" | ")) }
    }

    /// What there is to be heard at an event.
    pub(crate) fn hear(&mut self, token: Token) -> Vec<Heard> {
        let mut heard = Vec::new();
        if token == SIGNALS {
            for number in 0..self.processes.len() {
                self.look_after(number, &mut heard);
            }
        } else if let Some(number) = token.0.checked_sub(LOGS_FROM).filter(|number| *number < self.processes.len()) {
            self.read_log(number, &mut heard);
        }
        heard
    }

    /// Takes leave of a process that has ended.
    fn look_after(&mut self, number: Number, heard: &mut Vec<Heard>) {
        let process = &mut self.processes[number];
        if matches!(process.kin, Kin::None) {
            return;
        }
        match has_ended(process.pid) {
            Ok(None) => {}
            // Whoever has started it has not ended yet.
            Err(Errno::ECHILD) if matches!(process.kin, Kin::Adopted) => {}
            Ok(Some(status)) => {
                debug!("pid {} ended: {status}", process.pid);
                process.status = Some(status);
                match std::mem::replace(&mut process.kin, Kin::None) {
                    Kin::Child(child) => self.launcher.reap(child),
                    _ => self.launcher.reap_adopted(Pid::from_raw(process.pid.cast_signed())),
                }
                // It has no file open any more: all that it said is in the pipe. One that it has started may write on.
                if self.read_log(number, heard) {
                    self.processes[number].log = None;
                }
                heard.push(Heard::Ended(number, status));
            }
            Err(error) => warn!("pid {} cannot be waited for: {error}", process.pid),
        }
    }

    /// Reads what there is, and says whether nobody will write any more.
    fn read_log(&mut self, number: Number, heard: &mut Vec<Heard>) -> bool {
        let process = &mut self.processes[number];
        let Some(log) = &mut process.log else { return true };
        let mut buffer = [0; 4096];
        let mut has_ended = false;
        loop {
            match log.read(&mut buffer) {
                Ok(0) => {
                    has_ended = true;
                    break;
                }
                Ok(count) => process.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    warn!("the log of pid {} cannot be read: {error}", process.pid);
                    break;
                }
            }
        }
        while let Some(end) = process.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = process.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if self.verbose {
                debug!("pid {} says: {line}", process.pid);
            }
            if process.last_lines.len() == LAST_LINES {
                process.last_lines.pop_front();
            }
            process.last_lines.push_back(line.clone());
            heard.push(Heard::Line(number, line));
        }
        has_ended
    }

    pub(crate) fn usage(&self, number: Number) -> Option<Usage> {
        Usage::of(self.pid(number))
    }

    pub(crate) fn kill(&mut self, number: Number) {
        if !self.signal(number, Signal::SIGKILL) {
            warn!("pid {} cannot be killed", self.pid(number));
        }
    }

    /// Kills a successor unless it holds so many peers, and says whether it did.
    ///
    /// It is stopped first, and then looked at: a process that has fewer files open than there are peers has not taken
    /// over, and while it is stopped it does not come closer to that.
    pub(crate) fn kill_while_copying(&mut self, number: Number, peers: usize) -> bool {
        self.processes[number].status.is_none() && kill_while_copying(self.pid(number), peers)
    }

    /// Sends a signal to a process that has not been waited for. False if that is not possible.
    fn signal(&self, number: Number, signal: Signal) -> bool {
        let process = &self.processes[number];
        let pid = Pid::from_raw(process.pid.cast_signed());
        process.status.is_none() && kill(pid, signal).is_ok()
    }

    /// Stops all that still run, and waits for them. Returns the complaints: about those that do not stop as they
    /// should.
    pub(crate) fn stop(&mut self, wakeups: &mut Wakeups, patience: Duration) -> io::Result<Vec<String>> {
        let running: Vec<Number> = self.running().collect();
        for number in &running {
            self.signal(*number, Signal::SIGTERM);
        }
        let deadline = Instant::now() + patience;
        let stops_before = wakeups.stops;
        let mut events = Events::with_capacity(16);
        while running.iter().any(|number| self.is_running(*number))
            && Instant::now() < deadline
            && wakeups.stops == stops_before
        {
            wakeups.wait(&mut events, Some(deadline))?;
            for event in &events {
                if !wakeups.take(event.token())? {
                    self.hear(event.token());
                }
            }
        }
        let complaint = |number: &Number| {
            let pid = self.pid(*number);
            match self.processes[*number].status {
                Some(status) if status.success() => None,
                Some(status) => {
                    Some(format!("pid {pid} was stopped and ended: {status}; {}", self.last_words(*number)))
                }
                None => Some(format!("pid {pid} did not stop, and was killed")),
            }
        };
        Ok(running.iter().filter_map(complaint).collect())
    }

    /// How many servers have been started.
    pub(crate) fn started(&self) -> usize {
        self.processes.iter().filter(|process| process.serves).count()
    }

    /// Those that have not ended.
    pub(crate) fn running(&self) -> impl Iterator<Item = Number> {
        (0..self.processes.len()).filter(|number| self.is_running(*number))
    }

    fn is_running(&self, number: Number) -> bool {
        self.processes[number].status.is_none()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself, which is as good.
            match std::mem::replace(&mut process.kin, Kin::None) {
                Kin::Child(mut child) => drop((child.kill(), child.wait())),
                Kin::Adopted => end(process.pid),
                Kin::None => {}
            }
        }
        // A successor of which nobody has told yet is left to this process when whoever has started it ends.
        children_of(std::process::id()).into_iter().for_each(end);
    }
}

/// Ends a process.
fn end(pid: u32) {
    // It may have ended by itself, which is as good.
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

/// What a process has started and has not ended, whichever of its threads it was.
fn children_of(pid: u32) -> Vec<u32> {
    let tasks = procfs::process::Process::new(pid.cast_signed()).and_then(|process| process.tasks());
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(|task| task.children().ok()).flatten().collect()
}

/// Kills the successor with this process id unless it holds so many peers, and says whether it did; see
/// [`Servers::kill_while_copying`].
pub(crate) fn kill_while_copying(pid: u32, peers: usize) -> bool {
    let signal = |signal| kill(Pid::from_raw(pid.cast_signed()), signal).is_ok();
    if !signal(Signal::SIGSTOP) {
        return false;
    }
    let stopped = (0..LOOKS_FOR_STOP).map_while(|_| Usage::of(pid)).find(|usage| usage.stopped);
    let copying = stopped.is_some_and(|usage| usage.open_files.unwrap_or(usage.open_files_max) < peers as u64);
    signal(if copying { Signal::SIGKILL } else { Signal::SIGCONT }) && copying
}

/// How a child has ended, if it has. It remains to be reaped.
fn has_ended(pid: u32) -> nix::Result<Option<ExitStatus>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // As wait(2) writes it: the exit code in the second byte, or the signal in the first.
    Ok(match waitid(Id::Pid(Pid::from_raw(pid.cast_signed())), flags)? {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
        WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
        _ => None,
    })
}

/// The program to start: this one, or the one beside this program.
///
/// `cargo run` builds only the package that it runs, so where cargo runs this, it is told to build the server, too.
pub(crate) fn find_program(program: Option<&Path>) -> Result<PathBuf, String> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => {
            let own =
                std::env::current_exe().map_err(|error| format!("this program does not know where it is: {error}"))?;
            let program = own.with_file_name("reactord");
            if let (Some(cargo), Some(package)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR")) {
                build(Path::new(&cargo), Path::new(&package), &program)?;
            }
            program
        }
    };
    if program.is_file() {
        // A name without a directory would be looked for in PATH.
        return program.canonicalize().map_err(|error| format!("{}: {error}", program.display()));
    }
    Err(format!(
        "{} is not there: `cargo build --release --workspace` builds it beside this program, and --server names another",
        program.display()
    ))
}

/// Builds the server. cargo says what it does, since that may take minutes.
fn build(cargo: &Path, package: &Path, program: &Path) -> Result<(), String> {
    let profile = match program.parent().and_then(Path::file_name) {
        Some(name) if name != "debug" => name,
        _ => "dev".as_ref(),
    };
    let status = Command::new(cargo)
        .args(["build", "--package", "reactord", "--bin", "reactord", "--profile"])
        .arg(profile)
        .current_dir(package)
        .status()
        .map_err(|error| format!("cargo cannot be run to build reactord: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo could not build reactord: {status}")) }
}
