//! `reactord supervise` as a daemon: at a terminal; in the background, with its pid file and its log; and with a web
//! server that knows nothing of it.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use harness::{PATIENCE, Peer, Place, Server, StopAtEnd, daemon, skip};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getsid, mkfifo};

/// What the supervisor says when it listens.
const LISTENS: &str = "Starting TCP server on [127.0.0.1]:";

// ── At a terminal ──────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn interrupt_from_the_terminal_lets_workers_finish_what_they_have() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("there is no python3");
    }
    let mut command = daemon();
    command.args(["supervise", "-p", "0", "--", "python3", "examples/worker.py"]);
    // It leads a group of its own, as a command does that a shell starts.
    command.current_dir(env!("CARGO_MANIFEST_DIR")).process_group(0);
    let supervisor = Server::spawn(Path::new(""), &mut command);
    let mut client = TcpStream::connect(supervisor.address()).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut reader = BufReader::new(client.try_clone().expect("a descriptor is free"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a worker serves");
    killpg(Pid::from_raw(supervisor.pid().cast_signed()), Signal::SIGINT).expect("it leads a group");
    supervisor.wait_for_line(|line| line.contains("SIGINT: stopping"));
    client.write_all(b"still there\n").expect("the connection is open");
    line.clear();
    reader.read_line(&mut line).expect("the worker goes on");
    assert_eq!(line, "still there\n");
    drop((client, reader));
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
    // The workers write to the same standard error.
    assert!(!supervisor.last_words().contains("KeyboardInterrupt"), "{}", supervisor.log());
}

// ── In the background ──────────────────────────────────────────────────────────────────────────────────────────────

/// A supervisor in the background, started in a directory of the test's own. It is killed and reaped when it is
/// dropped.
struct Detached {
    directory: PathBuf,
    pid: Pid,
}

impl Detached {
    /// Launches one with the pid file `pid` and the log file `log`, both relative to the directory.
    #[track_caller]
    fn launch(place: &Place) -> Self {
        Self::launch_with(place, &["--workers", "2"])
    }

    #[track_caller]
    fn launch_with(place: &Place, arguments: &[&str]) -> Self {
        let output = launching(place, &[&["-p", "0"], arguments].concat()).output().expect("it can be started");
        assert_eq!(said(&output), "", "a launching command that succeeds is silent");
        assert_eq!(output.status.code(), Some(0));
        let directory = place.directory();
        let pid = pid_in(&directory.join("pid"));
        Self { directory, pid }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).expect("there is a log")
    }

    #[track_caller]
    fn address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once(LISTENS).unwrap_or_else(|| panic!("it says where it listens:\n{log}"));
        let port = rest.lines().next().and_then(|port| port.parse().ok()).expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("it is a child of this process by now");
    }

    /// Waits until it has exited, without reaping it, and returns its exit code.
    #[track_caller]
    fn exit_code(&self) -> i32 {
        let (sender, exit) = mpsc::channel();
        let pid = self.pid;
        std::thread::spawn(move || sender.send(waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)));
        match exit.recv_timeout(PATIENCE) {
            Ok(Ok(WaitStatus::Exited(_, code))) => code,
            other => panic!("pid {pid} does not exit, or not by itself: {other:?}\n{}", self.log()),
        }
    }

    /// Stops it in an orderly way.
    #[track_caller]
    fn stop(self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.exit_code(), 0, "{}", self.log());
        assert!(!self.directory.join("pid").exists(), "the pid file is removed at exit\n{}", self.log());
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        // It is reaped here and nowhere else, so both can only fail if it has never been this process's child.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// A worker, for `sh -c`, that does not start before its [`Gate`] is opened.
const WAITING_WORKER: &str = "read -r line < gate; exec \"$0\" --worker";

/// What a worker waits at in a test's directory.
struct Gate(PathBuf);

impl Gate {
    fn new(place: &Place) -> Self {
        let path = place.file("gate");
        mkfifo(&path, Mode::S_IRWXU).expect("a pipe can be made");
        Self(path)
    }

    /// Returns when the worker waits. Dropping what this returns lets it start.
    fn wait_for_worker(self) -> File {
        // Of a pipe, either end waits until the other one is opened (fifo(7)).
        File::options().write(true).open(self.0).expect("the worker opens it, too")
    }
}

/// A command that goes into the background, with the pid file `pid` and the log file `log` in the test's directory.
fn launching(place: &Place, arguments: &[&str]) -> Command {
    let mut command = launching_in(place);
    command.args(arguments).args(["--", env!("CARGO_BIN_EXE_reactord"), "--worker"]);
    command
}

/// The same without ports and without a worker.
fn launching_in(place: &Place) -> Command {
    // Whoever launches a daemon does not wait for it; this process does, as soon as the launching command has exited.
    prctl::set_child_subreaper(true).expect("any process may become a subreaper");
    let mut command = daemon();
    command.current_dir(place.directory()).args(["supervise", "--detach", "--pid-file", "pid", "--log-file", "log"]);
    command
}

/// A command that waits for its supervisor in the background, whose worker starts when the gate is dropped.
fn launch_waiting(place: &Place) -> (Child, File, Detached) {
    let mut command = launching_in(place);
    command.args(["-p", "0", "--", "sh", "-c", WAITING_WORKER, env!("CARGO_BIN_EXE_reactord")]);
    let gate = Gate::new(place);
    let launching_command = command.spawn().expect("it can be started");
    let gate = gate.wait_for_worker();
    (launching_command, gate, Detached { directory: place.directory(), pid: pid_in(&place.file("pid")) })
}

/// Everything that a command has said.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[track_caller]
fn pid_in(path: &Path) -> Pid {
    let content = std::fs::read_to_string(path).expect("there is a pid file");
    let pid = content.strip_suffix('\n').and_then(|pid| pid.parse().ok());
    Pid::from_raw(pid.unwrap_or_else(|| panic!("{content:?} is a pid and a newline")))
}

/// Runs a command that is to fail, and returns its exit code and what it says.
#[track_caller]
fn failed(mut command: Command) -> (i32, String) {
    let output = command.output().expect("it can be started");
    let code = output.status.code().expect("it exits");
    assert_ne!(code, 0, "{}", said(&output));
    (code, said(&output))
}

#[test]
fn launching_command_returns_when_the_supervisor_serves() {
    let place = Place::new();
    // Its output is read to the end, which comes only when nobody in the background holds it any more.
    let supervisor = Detached::launch(&place);
    let mut peers = Peer::connect_many(supervisor.address(), 10);
    peers.iter_mut().for_each(Peer::exchange);
    assert_eq!(getsid(Some(supervisor.pid)), Ok(supervisor.pid), "it has a session of its own");
    let stream = |number| std::fs::read_link(format!("/proc/{}/fd/{number}", supervisor.pid)).expect("it has streams");
    assert_eq!(stream(0), Path::new("/dev/null"));
    assert_eq!((stream(1), stream(2)), (place.file("log"), place.file("log")));
    let directory = std::fs::read_link(format!("/proc/{}/cwd", supervisor.pid)).expect("it has a directory");
    assert_eq!(directory, place.directory(), "it stays where it was started");
    drop(peers);
    supervisor.stop();
}

#[test]
fn launching_command_reports_why_the_supervisor_does_not_serve() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("a listener has an address").port().to_string();
    let (code, said) = failed(launching(&place, &["-p", &port]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
    assert!(!place.file("pid").exists(), "nothing is left behind");
}

#[test]
fn launching_command_names_what_it_cannot_use() {
    let place = Place::new();
    let with = |options: &[&str], command: &str| {
        let mut launching = daemon();
        launching.current_dir(place.directory()).args(["supervise", "-p", "0", "--detach"]);
        launching.args(options).args(["--", command]);
        let (code, said) = failed(launching);
        assert_eq!(code, 1, "{said}");
        said
    };
    let said = with(&["--log-file", "missing/log"], "true");
    assert!(said.contains("log file missing/log: No such file or directory"), "{said}");
    let said = with(&["--log-file", "."], "true");
    assert!(said.contains("log file .: Is a directory"), "{said}");
    let said = with(&["--log-file", "log", "--pid-file", "missing/pid"], "true");
    assert!(said.contains("missing/pid: open: No such file or directory"), "{said}");
    let said = with(&["--log-file", "log"], "no-such-command");
    assert!(said.contains("the command \"no-such-command\": it is in no directory of PATH"), "{said}");
    let said = with(&["--log-file", "log"], "./log");
    assert!(said.contains("the command \"./log\": it is a file that may not be executed"), "{said}");
    if !Path::new("/dev/log").exists() {
        let said = with(&[], "true");
        assert!(said.contains("system log /dev/log: No such file or directory"), "{said}");
    }
}

#[test]
fn supervisor_whose_launching_command_has_gone_does_not_go_on() {
    let place = Place::new();
    let (mut launching_command, gate, supervisor) = launch_waiting(&place);
    launching_command.kill().expect("it waits");
    launching_command.wait().expect("it is a child");
    drop(gate);
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
    assert!(supervisor.log().contains("The launching command has not waited"), "{}", supervisor.log());
    assert!(!place.file("pid").exists(), "nothing is left behind");
}

#[test]
fn supervisor_in_the_background_keeps_nothing_that_was_open_where_it_was_launched() {
    let place = Place::new();
    let launching = launching(&place, &["-p", "0"]);
    let mut shell = Command::new("sh");
    // A pipe, as descriptor 9, whose other end comes to its end only when nobody has it any more.
    shell
        .current_dir(place.directory())
        .args(["-c", "exec \"$0\" \"$@\" 9>&1 >/dev/null"])
        .arg(launching.get_program());
    let output = shell.args(launching.get_args()).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let supervisor = Detached { directory: place.directory(), pid: pid_in(&place.file("pid")) };
    Peer::connect(supervisor.address()).exchange();
    supervisor.stop();
}

#[test]
fn service_manager_is_told_when_all_workers_serve() {
    let place = Place::new();
    let socket = UnixDatagram::bind(place.file("notify")).expect("a socket can be bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut command = daemon();
    command.current_dir(place.directory()).args(["supervise", "-p", "0", "--"]);
    command.args(["sh", "-c", WAITING_WORKER, env!("CARGO_BIN_EXE_reactord")]);
    let gate = Gate::new(&place);
    let supervisor = Server::spawn(Path::new(""), command.env("NOTIFY_SOCKET", place.file("notify")));
    let gate = gate.wait_for_worker();
    let mut message = [0; 64];
    assert_eq!(recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT), Err(Errno::EAGAIN));
    drop(gate);
    let length = socket.recv(&mut message).expect("it is told");
    assert_eq!(&message[..length], b"READY=1");
    supervisor.stop();
}

#[test]
fn second_supervisor_with_the_same_pid_file_is_refused_and_starts_nothing() {
    let place = Place::new();
    let supervisor = Detached::launch(&place);
    let address = supervisor.address();
    let (code, said) = failed(launching(&place, &["-p", "0"]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("pid {} runs", supervisor.pid)) && said.contains("pid file"), "{said}");
    assert_eq!(pid_in(&place.file("pid")), supervisor.pid);
    Peer::connect(address).exchange();
    assert_eq!(supervisor.log().matches(LISTENS).count(), 1, "{}", supervisor.log());
    supervisor.stop();
}

#[test]
fn pid_file_that_a_killed_supervisor_left_is_replaced() {
    let place = Place::new();
    let killed = Detached::launch(&place);
    let killed_pid = killed.pid;
    drop(killed);
    assert_eq!(pid_in(&place.file("pid")), killed_pid, "nobody has removed it");
    std::fs::remove_file(place.file("log")).expect("there is a log");
    let supervisor = Detached::launch(&place);
    assert_ne!(supervisor.pid, killed_pid);
    Peer::connect(supervisor.address()).exchange();
    supervisor.stop();
}

#[test]
fn pid_file_can_be_read_by_all_whatever_the_umask_is() {
    let place = Place::new();
    let mut strict = Command::new("sh");
    let launching = launching(&place, &["-p", "0"]);
    strict.current_dir(place.directory()).args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(launching.get_program());
    let output = strict.args(launching.get_args()).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let supervisor = Detached { directory: place.directory(), pid: pid_in(&place.file("pid")) };
    let mode = std::fs::metadata(place.file("pid")).expect("there is a pid file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    supervisor.stop();
}

#[test]
fn supervisor_in_the_background_executes_its_binary_anew_and_keeps_its_pid_file_and_its_log() {
    let place = Place::new();
    let supervisor = Detached::launch(&place);
    let mut peer = Peer::connect(supervisor.address());
    peer.exchange();
    let changes = Changes::watch(&place);
    supervisor.signal(Signal::SIGUSR2);
    changes.wait_for("the line of the binary that goes on", || supervisor.log().contains("Resumed as pid "));
    peer.exchange();
    Peer::connect(supervisor.address()).exchange();
    assert_eq!(pid_in(&place.file("pid")), supervisor.pid);
    let (_, said) = failed(launching(&place, &["-p", "0"]));
    assert!(said.contains(&format!("pid {} runs", supervisor.pid)), "{said}");
    drop(peer);
    supervisor.stop();
}

#[test]
fn launching_command_is_told_that_the_supervisor_serves_before_another_binary_is_executed() {
    let place = Place::new();
    let (mut launching_command, gate, supervisor) = launch_waiting(&place);
    let changes = Changes::watch(&place);
    supervisor.signal(Signal::SIGUSR2);
    let postponed = "is executed when all workers serve, which the launching command waits for";
    changes.wait_for("the line that it waits", || supervisor.log().contains(postponed));
    drop(gate);
    changes.wait_for("the line of the binary that goes on", || supervisor.log().contains("Resumed as pid "));
    assert_eq!(launching_command.wait().expect("it is a child").code(), Some(0), "{}", supervisor.log());
    supervisor.stop();
}

#[test]
fn log_goes_on_in_a_new_file_when_the_old_one_was_moved() {
    let place = Place::new();
    let supervisor = Detached::launch_with(&place, &["-v"]);
    let address = supervisor.address();
    std::fs::rename(place.file("log"), place.file("log.1")).expect("it can be renamed");
    let changes = Changes::watch(&place);
    // Lines still go into the moved file for a second. Each client makes one.
    changes.wait_for("a line in a new log", || {
        Peer::connect(address).exchange();
        place.file("log").exists() && !supervisor.log().is_empty()
    });
    assert!(supervisor.log().contains(" Connection "), "{}", supervisor.log());
    supervisor.stop();
}

/// New files in a directory, as the kernel announces them (inotify(7)).
struct Changes(Inotify);

impl Changes {
    fn watch(place: &Place) -> Self {
        let changes =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("the kernel tells of changes");
        changes.add_watch(&place.directory(), AddWatchFlags::IN_CREATE).expect("the directory can be watched");
        Self(changes)
    }

    /// Looks again whenever there is a new file, and ten times a second, until what is waited for is there.
    #[track_caller]
    fn wait_for(&self, what: &str, mut is_there: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there() {
            assert!(Instant::now() < deadline, "{what} does not come");
            let mut changed = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut changed, 100u8).expect("a descriptor of inotify can be polled");
            // What has changed is looked for by the caller.
            let _ = self.0.read_events();
        }
    }
}

// ── A web server that knows nothing of it ──────────────────────────────────────────────────────────────────────────

/// A program for any WSGI server (PEP 3333). It tells the pid of the process that the supervisor has started, and takes
/// its time, so that some requests are always under way.
const APPLICATION: &str = "\
import os, time
def application(environment, start_response):
    time.sleep(0.005)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d' % os.getppid()]
";

/// One request, and what it was answered.
fn request(address: SocketAddr) -> Result<u32, String> {
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = exchange().map_err(|error: std::io::Error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("half an answer: {answer:?}"))?;
    let pid = body.parse().map_err(|_| format!("no pid: {answer:?}"))?;
    if head.contains(" 200 OK\r\n") { Ok(pid) } else { Err(answer) }
}

#[test]
fn unmodified_web_server_is_replaced_under_load_without_a_failed_request() {
    if Command::new("gunicorn").arg("--version").output().is_err() {
        return skip("there is no gunicorn (Debian: apt install gunicorn)");
    }
    let place = Place::new();
    std::fs::write(place.file("app.py"), APPLICATION).expect("a program can be written");
    let mut command = daemon();
    command.args([
        "supervise",
        "-p",
        "0",
        "--hand-over",
        "listen",
        "--",
        "gunicorn",
        "--workers",
        "2",
        "app:application",
    ]);
    let supervisor = Server::spawn(Path::new(""), command.current_dir(place.directory()));
    let serves = |generation: u32| {
        supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves")));
    };
    supervisor.wait_for_line(|line| line.contains("of generation 1 is ready"));
    let address = supervisor.address();

    let mut pids = vec![request(address).expect("it serves")];
    let mut answered = 0;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sender, answers) = mpsc::channel();
        for sender in [sender.clone(), sender.clone(), sender.clone(), sender] {
            let ends = &ends;
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    // If nobody hears it, the test has failed already.
                    let _ = sender.send(request(address));
                }
            });
        }
        let _ends = StopAtEnd(&ends);
        for generation in 2..=6 {
            supervisor.signal(Signal::SIGHUP);
            serves(generation);
            loop {
                let answer = answers.recv_timeout(PATIENCE).expect("requests go on");
                let pid = answer.expect("no request fails");
                answered += 1;
                if !pids.contains(&pid) {
                    break pids.push(pid);
                }
            }
            let left =
                format!("Worker pid {} of generation {} exited with code 0", pids[pids.len() - 2], generation - 1);
            supervisor.wait_for_line(|line| line.contains(&left));
        }
        ends.store(true, Ordering::Relaxed);
        for answer in answers {
            answer.expect("no request fails");
            answered += 1;
        }
    });
    assert!(answered >= 100, "{answered} requests are no load");
    supervisor.stop();
}
