//! A client of the scripted worker, and the supervisor around that.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{PATIENCE, Place, Server, daemon};

/// One connection, line by line.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects, whether or not anybody serves it yet.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the supervisor's listener is always there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { stream: BufReader::new(stream) }
    }

    /// Connects, and waits until a worker has greeted it.
    #[track_caller]
    pub(crate) fn served(address: SocketAddr) -> (Self, u32) {
        let mut client = Self::connect(address);
        let worker = client.worker();
        (client, worker)
    }

    /// The pid of the worker, as it greets.
    #[track_caller]
    pub(crate) fn worker(&mut self) -> u32 {
        let greeting = self.line();
        let pid = greeting.strip_prefix("worker ").and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("a worker should greet: {greeting:?}"))
    }

    /// The pid of the worker, if one greets in time.
    #[track_caller]
    pub(crate) fn worker_within(&mut self, patience: Duration) -> Option<u32> {
        self.stream.get_ref().set_read_timeout(Some(patience)).expect("a timeout can be set");
        let greets = self.stream.fill_buf().is_ok();
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        greets.then(|| self.worker())
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let received = self.stream.read_line(&mut line);
        received.unwrap_or_else(|error| panic!("receiving a line after {line:?}: {error}"));
        line.trim_end_matches('\n').to_owned()
    }

    /// Sends this, which need not be a line.
    #[track_caller]
    pub(crate) fn type_in(&self, text: &str) {
        self.stream.get_ref().write_all(text.as_bytes()).expect("the connection is open");
    }

    /// Whether the connection has not been ended by the other side, with nothing left to read.
    pub(crate) fn is_open(&mut self) -> bool {
        self.stream.get_ref().set_nonblocking(true).expect("it can be set");
        let looked = self.stream.get_ref().peek(&mut [0]);
        self.stream.get_ref().set_nonblocking(false).expect("it can be set");
        looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a line, and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.stream.get_ref().write_all(format!("{line}\n").as_bytes()).expect("the connection is open");
        self.line()
    }

    /// The worker answers with what it was sent.
    #[track_caller]
    pub(crate) fn exchange(&mut self) {
        assert_eq!(self.ask("how are you?"), "how are you?");
    }

    /// Nobody says anything for so long.
    #[track_caller]
    pub(crate) fn assert_silent_for(&mut self, time: Duration) {
        self.stream.get_ref().set_read_timeout(Some(time)).expect("a timeout can be set");
        match self.stream.fill_buf() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("nothing should come: {other:?}"),
        }
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    }

    /// Ends the connection, and waits until the worker has done so, too.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("an open connection can be half-closed");
        assert_eq!(self.line(), "");
    }
}

/// The command of a scripted worker with these options.
pub(crate) fn worker(options: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supervisor/worker.py");
    let mut command = vec!["python3".to_owned(), script.to_str().expect("the tree's path is text").to_owned()];
    command.extend(options.split_whitespace().map(str::to_owned));
    command
}

/// The command of a scripted worker that gives back what it has, with these options.
pub(crate) fn keeper(options: &str) -> Vec<String> {
    let mut command = worker(options);
    command[1] = command[1].replace("worker.py", "keeper.py");
    command
}

/// The command of workers of which the first is this one, and those that follow are others. Both are as a shell reads them.
#[track_caller]
pub(crate) fn first_and_later(place: &Place, first: &[String], later: &[String]) -> Vec<String> {
    let once = place.file("once");
    std::fs::write(&once, "").expect("the directory is there");
    let (once, first, later) = (once.display(), first.join(" "), later.join(" "));
    let script = format!("if rm {once} 2>/dev/null; then exec {first}; else exec {later}; fi");
    ["sh", "-c", &script].map(str::to_owned).into()
}

/// The command of a worker that is `reactord` itself.
pub(crate) fn reactord() -> Vec<String> {
    [env!("CARGO_BIN_EXE_reactord"), "--worker"].map(str::to_owned).into()
}

/// A supervisor on a port that the kernel chooses, with these options and this command. It listens when this returns.
#[track_caller]
pub(crate) fn supervise(options: &str, command: &[String]) -> Server {
    let supervisor = spawn(daemon(), options, command);
    supervisor.address();
    supervisor
}

/// The same, of a binary or a script that becomes one.
pub(crate) fn spawn(mut binary: Command, options: &str, command: &[String]) -> Server {
    // It raises the limit of open files, which clients in this process need, too.
    Place::new();
    // All that run at once would look at one path, and who calls there takes a descriptor.
    binary.env("XDG_RUNTIME_DIR", "/nowhere");
    binary.args(["supervise", "-p", "0"]).args(options.split_whitespace()).arg("--").args(command);
    Server::spawn(Path::new(""), &mut binary)
}
