//! Clients of known protocols, as their users have them: programs of Debian, and libraries of PyPI.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use crate::harness::{Authority, PATIENCE, Place, Server, example, skip};

pub(super) use crate::harness::python_with;

/// An example as a server that others take over.
pub(super) struct Service {
    name: &'static str,
    arguments: Vec<String>,
    /// What stands behind the path.
    options: Vec<String>,
    place: Place,
    server: Option<Server>,
}

impl Service {
    #[track_caller]
    pub(super) fn start(name: &'static str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same with these arguments, which its successors get, too.
    #[track_caller]
    pub(super) fn start_with(name: &'static str, arguments: &[String]) -> Self {
        Self::start_at(Place::new(), name, arguments, Vec::new())
    }

    /// The same for clients that speak TLS, who know it as `localhost`; and the file with the authority that they believe.
    #[track_caller]
    pub(super) fn start_secured(name: &'static str) -> (Self, String) {
        let (place, authority) = (Place::new(), Authority::new());
        let options = authority.options(&place).split(' ').map(str::to_owned).collect();
        let believed = authority.file(&place).display().to_string();
        (Self::start_at(place, name, &[], options), believed)
    }

    #[track_caller]
    fn start_at(place: Place, name: &'static str, arguments: &[String], options: Vec<String>) -> Self {
        let mut command = example(name);
        command.arg("127.0.0.1:0").args(arguments).arg(place.path()).args(&options);
        let server = Server::spawn(&place.path(), &mut command).started();
        Self { name, arguments: arguments.to_vec(), options, place, server: Some(server) }
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().expect("one serves between two takeovers")
    }

    /// The same with its port alone, as a word of a command line.
    #[track_caller]
    pub(super) fn port(&self) -> String {
        self.server().address().port().to_string()
    }

    #[track_caller]
    pub(super) fn take_over(&mut self) {
        let mut command = example(self.name);
        command.args(&self.arguments).arg(self.place.path()).args(&self.options);
        let successor = Server::spawn(&self.place.path(), &mut command);
        self.server = self.server.take().map(|server| server.taken_over_by(successor));
    }

    #[track_caller]
    pub(super) fn stop(mut self) {
        self.server.take().expect("one serves").stop();
    }
}

/// A program of this name, unless the machine has none.
pub(super) fn program(name: &str, package: &str) -> Option<Command> {
    if Command::new(name).arg("--help").output().is_err() {
        skip(&format!("there is no {name} (Debian: apt install {package})"));
        return None;
    }
    Some(Command::new(name))
}

/// A client that is told things on its standard input, and says things on its standard output. It is killed and reaped
/// when it is dropped; what it says on standard error is the test's.
pub(super) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl Client {
    #[track_caller]
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client can be started");
        let stdin = child.stdin.take();
        let (lines, reader) = read_lines(child.stdout.take().expect("it is a pipe"));
        Self { child, stdin, lines, reader: Some(reader) }
    }

    /// The same with a script of `tests/examples/`.
    #[track_caller]
    pub(super) fn run(python: &mut Command, script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(script);
        Self::start(python.arg("-u").arg(script).args(arguments))
    }

    #[track_caller]
    pub(super) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its standard input is open");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    /// The next line that it says.
    #[track_caller]
    pub(super) fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("it says something")
    }

    #[track_caller]
    pub(super) fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// A line like this, which may come after others.
    #[track_caller]
    pub(super) fn wait_for(&mut self, part: &str) {
        while !self.line().contains(part) {}
    }

    /// Whether it is still there.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked for").is_none()
    }

    pub(super) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Lets it come to its end, which is that of its input, and says whether all went well.
    #[track_caller]
    pub(super) fn expect_success(mut self) {
        self.end_input();
        // Its output ends with it.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().map(JoinHandle::join);
    }
}

fn read_lines(from: ChildStdout) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        // Whoever does not listen any more has heard enough.
        BufReader::new(from).lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).count();
    });
    (lines, reader)
}
