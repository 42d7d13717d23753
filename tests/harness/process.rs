//! One process of the daemon: what it says, how it ends, and that nothing of it is left.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{PATIENCE, Peer};

/// A value that a thread fills in and a test waits for.
#[derive(Default)]
struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().expect("no thread that holds it panics")
    }

    fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// What `look` finds, as soon as it finds something, or `None` when `patience` is over.
    fn wait<R>(&self, patience: Duration, mut look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + patience;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            let remaining = deadline.checked_duration_since(Instant::now())?;
            value = self.changed.wait_timeout(value, remaining).expect("no thread that holds it panics").0;
        }
    }
}

/// What has been read from one of a process's outputs.
#[derive(Default)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

/// How much a process may say before somebody reads it: of hundreds of peers, the lines of one turn at debug level. What
/// a pipe does not take is dropped, and of the 64 KiB that it has by itself a busy machine makes too little.
const UNREAD_BYTES_MAX: i32 = 512 * 1024;

/// How a process ended: `Ok` with its exit code, `Err` with the signal that killed it.
pub(crate) type Exit = Result<i32, Signal>;

/// One process, read from and watched by threads of its own. It is killed and reaped when it is dropped.
pub(crate) struct Server {
    child: Child,
    path: PathBuf,
    stdout: Arc<Watched<Text>>,
    stderr: Arc<Watched<Text>>,
    exit: Arc<Watched<Option<Exit>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server on a port that the kernel chooses, which can be connected to when this returns.
    #[track_caller]
    pub(crate) fn serve(path: &Path, arguments: &str) -> Self {
        let mut command = daemon();
        command.args(["-a", "127.0.0.1", "-p", "0"]).arg("-t").arg(path).args(arguments.split_whitespace());
        Self::spawn(path, &mut command).started()
    }

    /// A successor. It may not have called yet when this returns.
    pub(crate) fn take_over(path: &Path, arguments: &str) -> Self {
        let mut command = daemon();
        command.arg("-T").arg(path).args(arguments.split_whitespace());
        Self::spawn(path, &mut command)
    }

    /// One that does not listen, and waits at a path to be given peers. It may not have called yet when this returns.
    pub(crate) fn wait(at: &Path, arguments: &str) -> Self {
        let mut command = daemon();
        command.arg("-c").arg(at).args(arguments.split_whitespace());
        Self::spawn(Path::new(""), &mut command)
    }

    /// The daemon with just these arguments.
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::spawn(Path::new(""), daemon().args(arguments))
    }

    /// Starts `command`, which is the daemon or becomes it.
    pub(crate) fn spawn(path: &Path, command: &mut Command) -> Self {
        let (mut server, stderr) = Self::spawn_unread(path, command);
        fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(UNREAD_BYTES_MAX)).expect("a user may have a pipe of this size");
        server.threads.push(read_lines(stderr, server.stderr.clone()));
        server
    }

    /// The same, with a standard error that is the caller's to read.
    pub(crate) fn spawn_unread(path: &Path, command: &mut Command) -> (Self, ChildStderr) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon can be started");
        let (stdout, exit) = (Arc::<Watched<Text>>::default(), Arc::<Watched<Option<Exit>>>::default());
        let stderr = child.stderr.take().expect("it is a pipe");
        let threads = vec![
            read_lines(child.stdout.take().expect("it is a pipe"), stdout.clone()),
            watch(pid_of(&child), exit.clone()),
        ];
        (Self { child, path: path.to_owned(), stdout, stderr: Arc::default(), exit, threads }, stderr)
    }

    /// Waits until it serves.
    #[track_caller]
    pub(crate) fn started(self) -> Self {
        self.wait_for_line(|line| line.contains("Starting Takeover channel on ["));
        self
    }

    /// Lets a successor with these arguments take over, and returns it when it serves and this process has exited.
    #[track_caller]
    pub(crate) fn taken_over(self, arguments: &str) -> Self {
        let path = self.path.clone();
        self.taken_over_by(Self::take_over(&path, arguments))
    }

    /// Waits until `successor` serves and this process has exited.
    #[track_caller]
    pub(crate) fn taken_over_by(self, successor: Self) -> Self {
        let took_over = successor.wait_for_line(|line| line.contains("Took over "));
        assert!(names_both(&took_over, &self, &successor), "{took_over}");
        assert_eq!(self.exit_code(), 0, "the predecessor exits without an error\n{}", self.log());
        let handed_over = self.wait_for_line(|line| line.contains("Handed over "));
        assert!(names_both(&handed_over, &self, &successor), "{handed_over}");
        assert!(successor.is_running(), "the successor serves\n{}", successor.log());
        successor
    }

    /// Stops it in an orderly way: it exits with code 0 and leaves no path behind.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.stop_with([]);
    }

    /// The same with peers, which see the end of their connections and close them as clients do.
    #[track_caller]
    pub(crate) fn stop_with(self, peers: impl IntoIterator<Item = Peer>) {
        self.stop_serving(peers);
    }

    /// The same, where others still look at it.
    #[track_caller]
    pub(crate) fn stop_serving(&self, peers: impl IntoIterator<Item = Peer>) {
        self.signal(Signal::SIGTERM);
        for peer in peers {
            peer.expect_end();
        }
        assert_eq!(self.exit_code(), 0, "{}", self.log());
        assert!(!self.path.exists(), "the takeover path is removed at a normal stop\n{}", self.log());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it comes to have this many files open, or fewer: what is closed is closed at its next turn.
    pub(crate) fn comes_down_to_open_files(&self, files: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        // Looked at once each time: somebody who only looks whether it answers is another file for an instant.
        while self.open_files() > files {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    /// How much of its memory is resident, but for what is mapped from files: that comes and goes as the kernel decides, with the code that is
    /// run for the first time.
    #[track_caller]
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = self.proc().status().expect("a living process has a status");
        let kinds = [status.rssanon, status.rssshmem];
        kinds.map(|kind| kind.expect("a process has memory")).iter().sum::<u64>() * 1024
    }

    /// How much processor time it has used.
    #[track_caller]
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = self.proc().stat().expect("a living process has statistics");
        Duration::from_secs(stat.utime + stat.stime) / u32::try_from(procfs::ticks_per_second()).expect("it is 100")
    }

    /// How often it has gone to sleep.
    #[track_caller]
    pub(crate) fn sleeps(&self) -> u64 {
        let status = self.proc().status().expect("a living process has a status");
        status.voluntary_ctxt_switches.expect("the kernel counts them")
    }

    /// Whether it sleeps now, or has done a whole turn since it had gone to sleep so often: then it has seen to everything
    /// that was there by then.
    #[track_caller]
    pub(crate) fn has_slept_since(&self, sleeps: u64) -> bool {
        let status = self.proc().status().expect("a living process has a status");
        status.state.starts_with('S') || self.sleeps() > sleeps + 1
    }

    /// Sets its limit of open files, which is its own affair otherwise. Returns the one that it had.
    #[track_caller]
    pub(crate) fn limit_open_files(&self, files_max: u64) -> u64 {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed());
        let rlimit = rustix::process::Rlimit { current: Some(files_max), maximum: Some(20_000) };
        let before = rustix::process::prlimit(pid, rustix::process::Resource::Nofile, rlimit);
        before.expect("an own child can be limited").current.expect("nobody may have any number of them")
    }

    fn proc(&self) -> procfs::process::Process {
        procfs::process::Process::new(self.child.id().cast_signed()).expect("it is not reaped yet")
    }

    /// Where it listens, as it says itself.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        const START: &str = "Starting TCP server on ";
        let line = self.wait_for_line(|line| line.contains(START));
        let (_, address) = line.split_once(START).expect("the line was found by it");
        let (ip, port) = address.rsplit_once(':').expect("a port follows");
        let ip = ip.trim_matches(['[', ']']).parse().expect("an address in brackets");
        SocketAddr::new(ip, port.parse().expect("a port"))
    }

    /// Where the listener with this name is, of several, as it says itself.
    #[track_caller]
    pub(crate) fn address_as(&self, name: &str) -> SocketAddr {
        let named = format!(" as {name}");
        let line = self.wait_for_line(|line| line.contains("Starting TCP server on") && line.ends_with(&named));
        let (_, address) = line.split_once(" on [").expect("an address follows");
        let (address, _) = address.split_once(&named).expect("the line was found by it");
        address.replacen(']', "", 1).parse().expect("an address and a port")
    }

    /// The first line on standard error that is looked for.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for_lines(1, wanted).remove(0)
    }

    /// The first so many lines on standard error that are looked for.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self.stderr.wait(PATIENCE, |text| {
            let found: Vec<&String> = text.lines.iter().filter(|line| wanted(line)).take(count).collect();
            (found.len() == count || text.ended).then(|| found.into_iter().cloned().collect::<Vec<String>>())
        });
        match found {
            Some(found) if found.len() == count => found,
            _ => panic!("pid {} did not say what was expected:\n{}", self.pid(), self.log()),
        }
    }

    /// Whether a line that is looked for comes within `patience`.
    pub(crate) fn says_within(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> bool {
        self.stderr.wait(patience, |text| text.lines.iter().any(|line| wanted(line)).then_some(())).is_some()
    }

    /// Whether so many lines that are looked for come within `patience`.
    pub(crate) fn says_times_within(&self, patience: Duration, count: usize, wanted: impl Fn(&str) -> bool) -> bool {
        let times = |text: &Text| text.lines.iter().filter(|line| wanted(line)).count();
        self.stderr.wait(patience, |text| (times(text) >= count).then_some(())).is_some()
    }

    /// Whether a line that is looked for comes before it ends.
    #[track_caller]
    pub(crate) fn says_before_its_end(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let said = self.stderr.wait(PATIENCE, |text| {
            let said = text.lines.iter().any(|line| wanted(line));
            (said || text.ended).then_some(said)
        });
        said.unwrap_or_else(|| panic!("pid {} neither says what was expected nor ends:\n{}", self.pid(), self.log()))
    }

    /// The lines so far that contain `part`.
    pub(crate) fn lines_with(&self, part: &str) -> Vec<String> {
        self.stderr.lock().lines.iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// Everything it has said so far on standard error.
    pub(crate) fn log(&self) -> String {
        const LINES_MAX: usize = 60;
        let text = self.stderr.lock();
        let skipped = text.lines.len().saturating_sub(LINES_MAX);
        format!("pid {}, after {skipped} lines:\n{}", self.pid(), text.lines[skipped..].join("\n"))
    }

    /// Everything it said on standard output, and on standard error, when it has exited with this code.
    #[track_caller]
    pub(crate) fn output(&self, exit_code: i32) -> (String, String) {
        assert_eq!(self.exit_code(), exit_code, "{}", self.log());
        (whole(&self.stdout), self.last_words())
    }

    /// Everything it said on standard error, when it is gone.
    pub(crate) fn last_words(&self) -> String {
        whole(&self.stderr)
    }

    /// The exit code, when it has exited.
    #[track_caller]
    pub(crate) fn exit_code(&self) -> i32 {
        match self.ended() {
            Ok(code) => code,
            Err(signal) => panic!("pid {} was killed by {signal}:\n{}", self.pid(), self.log()),
        }
    }

    /// How it ended, when it has.
    #[track_caller]
    pub(crate) fn ended(&self) -> Exit {
        let exit = self.exit.wait(PATIENCE, |exit| *exit);
        exit.unwrap_or_else(|| panic!("pid {} does not exit:\n{}", self.pid(), self.log()))
    }

    /// How many files it has open.
    #[track_caller]
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        files.unwrap_or_else(|error| panic!("pid {}: {error}\n{}", self.pid(), self.log())).count()
    }

    /// Whether it has the server's end of this connection, as the kernel knows. A connection has one inode for as long as it
    /// lasts, whichever process has it.
    #[track_caller]
    pub(crate) fn has(&self, peer: &Peer) -> bool {
        let Some(end) = peer.server_end() else { return false };
        self.sockets().contains(&end.inode)
    }

    /// The inodes of all sockets that it has open: none when it is gone.
    pub(crate) fn sockets(&self) -> HashSet<u64> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        links.filter_map(inode).collect()
    }

    /// Waits until it has closed its descriptor of this connection, which it does when it has let go of it.
    #[track_caller]
    pub(crate) fn lets_go_of(&self, peer: &Peer) {
        let deadline = Instant::now() + PATIENCE;
        while self.has(peer) {
            assert!(Instant::now() < deadline, "it still has {}\n{}", peer.address(), self.log());
            std::thread::yield_now();
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit.lock().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Its pid stays taken until it is reaped, which only dropping it does.
        kill(pid_of(&self.child), signal).expect("an own child can be signalled");
    }

    /// Stops it as a shell's Ctrl-Z would, and returns when it does not run any more. False if it has exited instead.
    pub(crate) fn suspend(&self) -> bool {
        self.signal(Signal::SIGSTOP);
        self.is_suspended()
    }

    /// Waits until it is stopped. False if it has exited instead.
    pub(crate) fn is_suspended(&self) -> bool {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(pid_of(&self.child)), flags).expect("it is a child that is not reaped yet");
        matches!(status, WaitStatus::Stopped(..))
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it, and returns when it is gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        assert!(self.exit.wait(PATIENCE, |exit| *exit).is_some(), "nobody survives SIGKILL");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has been reaped, which happens nowhere else.
        let _ = self.child.kill();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = self.child.wait();
    }
}

/// Whether the summary of a takeover names both processes, of two generations that follow each other.
fn names_both(summary: &str, predecessor: &Server, successor: &Server) -> bool {
    let generation_after = |named: &str| {
        let (_, rest) = summary.split_once(&format!("{named}, generation "))?;
        rest.split_once(')')?.0.parse::<u64>().ok()
    };
    let before = generation_after(&format!("(pid {}", predecessor.pid()));
    let after = generation_after(&format!("(pid {}", successor.pid()));
    before.is_some() && before.map(|before| before + 1) == after
}

pub(crate) fn daemon() -> Command {
    Command::new(env!("CARGO_BIN_EXE_reactord"))
}

/// An example, which cargo builds before it runs the tests, in a folder beside the daemon's.
#[track_caller]
pub(crate) fn example(name: &str) -> Command {
    let example = Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("examples").join(name);
    assert!(example.exists(), "{} is missing; `cargo build --example {name}` makes it", example.display());
    Command::new(example)
}

/// The daemon with no more than so many open files, be it by its soft or its hard limit.
pub(crate) fn limited(files_max: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files_max} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_reactord")]).args(arguments);
    command
}

/// The process that answers on a takeover path, as one who calls sees it.
#[track_caller]
pub(crate) fn caller_sees_pid(path: &Path) -> u32 {
    let socket = UnixStream::connect(path).expect("somebody answers on the takeover path");
    getsockopt(&socket, PeerCredentials).expect("a Unix socket has credentials").pid().unsigned_abs()
}

/// The figure that precedes `unit` in a summary.
#[track_caller]
pub(crate) fn figure(summary: &str, unit: &str) -> u64 {
    let (before, _) = summary.split_once(unit).expect("the summary has this figure");
    before.rsplit(' ').next().and_then(|figure| figure.parse().ok()).expect("a figure is a number")
}

fn whole(text: &Watched<Text>) -> String {
    text.wait(PATIENCE, |text| text.ended.then(|| text.lines.join("\n"))).expect("an output ends with its process")
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn read_lines(from: impl Read + Send + 'static, into: Arc<Watched<Text>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let line = line.expect("the daemon writes UTF-8");
            into.update(|text| text.lines.push(line));
        }
        into.update(|text| text.ended = true);
    })
}

/// Waits for a child's end without reaping it.
fn watch(pid: Pid, exit: Arc<Watched<Option<Exit>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let status = loop {
            match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Err(nix::errno::Errno::EINTR) => {}
                status => break status.expect("it is a child that is not reaped yet"),
            }
        };
        let ended = match status {
            WaitStatus::Exited(_, code) => Ok(code),
            WaitStatus::Signaled(_, signal, _) => Err(signal),
            status => unreachable!("{status:?} is not an end"),
        };
        exit.update(|exit| *exit = Some(ended));
    })
}
