//! Drives the real client against scripted servers: what it counts, what it notices, and what it exits with.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use socket2::{Domain, Socket, Type};

/// A server that runs a script on each connection, in a thread of its own, until it is dropped.
struct Server {
    address: SocketAddr,
    /// How many bytes have come in on all connections.
    received_bytes: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    fn start(script: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", script)
    }

    fn listen(address: &str, script: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let received_bytes = Arc::new(AtomicU64::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (script, counter, stop) = (Arc::new(script), received_bytes.clone(), stopping.clone());
        let accepting = std::thread::spawn(move || {
            let mut sessions = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let mut session = Session { stream: stream.unwrap(), received_bytes: counter.clone() };
                let script = script.clone();
                // What the client makes of an error is what the tests are about.
                sessions.push(std::thread::spawn(move || drop(script(&mut session))));
            }
            for session in sessions {
                session.join().unwrap();
            }
        });
        Self { address, received_bytes, stopping, accepting: Some(accepting) }
    }

    fn messages(&self) -> u64 {
        self.received_bytes.load(Ordering::SeqCst) / 4
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // It waits for one more connection before it looks.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

/// One connection as a script sees it.
struct Session {
    stream: TcpStream,
    received_bytes: Arc<AtomicU64>,
}

impl Session {
    /// The next number, or `None` at the end.
    fn number(&mut self) -> io::Result<Option<u32>> {
        let mut message = [0; 4];
        match self.stream.read_exact(&mut message) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        self.received_bytes.fetch_add(4, Ordering::SeqCst);
        Ok(Some(u32::from_be_bytes(message)))
    }

    fn answer(&mut self, number: u32) -> io::Result<()> {
        self.stream.write_all(&number.to_be_bytes())
    }

    /// Sends back all bytes until the end.
    fn echo(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => {
                    self.received_bytes.fetch_add(count as u64, Ordering::SeqCst);
                    self.stream.write_all(&buffer[..count])?;
                }
            }
        }
    }

    /// Ends the connection so that the client sees a reset.
    fn reset(&mut self) -> io::Result<()> {
        Socket::from(self.stream.try_clone()?).set_linger(Some(std::time::Duration::ZERO))
    }
}

/// A script that reads and never answers.
fn silence(session: &mut Session) -> io::Result<()> {
    while session.number()?.is_some() {}
    Ok(())
}

fn client(address: SocketAddr, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord-client"));
    command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(address: SocketAddr, arguments: &str) -> Outcome {
    Outcome::from(client(address, arguments).output().unwrap())
}

fn run_without_server(arguments: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord-client"));
    Outcome::from(command.args(arguments.split_whitespace()).output().unwrap())
}

/// What the client left behind.
#[derive(Debug)]
struct Outcome {
    exit_code: Option<i32>,
    report: String,
    log: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            exit_code: output.status.code(),
            report: String::from_utf8(output.stdout).unwrap(),
            log: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    /// The words after the label of a line of the report.
    fn figures(&self, label: &str) -> Vec<&str> {
        let line = self.report.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{self:?}"));
        line.split_whitespace().collect()
    }

    fn figure(&self, label: &str) -> u64 {
        self.figures(label)[0].parse().unwrap()
    }

    fn last_line(&self) -> &str {
        self.report.lines().last().unwrap_or_default()
    }

    fn assert_clean(&self) {
        assert_eq!((self.exit_code, self.last_line()), (Some(0), "0 lost, 0 discontinuities"), "{self:#?}");
    }

    /// Asserts that all `sent` messages are those that the server saw, and came back.
    fn assert_counts(&self, server: &Server) {
        let sent = server.messages().to_string();
        let [sent, answered] = [format!("{sent} sent,"), format!("{sent} answered,")];
        assert_eq!(self.figures("messages ").join(" "), format!("{sent} {answered} 0 lost"), "{self:#?}");
    }
}

#[test]
fn a_faithful_echo_exits_0_with_the_right_counts() {
    let server = Server::start(Session::echo);
    let outcome = run(server.address, "-n 3 --rate 100 --duration 0.3");
    outcome.assert_clean();
    outcome.assert_counts(&server);
    assert!((3..=90).contains(&server.messages()), "{outcome:#?}");
    assert_eq!(outcome.figures("connections sending"), ["3", "opened,", "0", "lost"]);
    assert_eq!(outcome.figure("discontinuities"), 0);
    assert_eq!(outcome.figures("round trip worst")[1], "µs");
    assert!(outcome.log.contains(&format!("3 connections to [127.0.0.1]:{} open in", server.address.port())));
}

#[test]
fn ipv6_is_served_alike() {
    let server = Server::listen("[::1]:0", Session::echo);
    let outcome = run(server.address, "-n 2 --rate 100 --duration 0.1");
    outcome.assert_clean();
    outcome.assert_counts(&server);
    assert!(outcome.log.contains(&format!("2 connections to [::1]:{} open in", server.address.port())));
}

#[test]
fn a_closed_loop_exits_0_at_depth_1_and_at_depth_16() {
    for arguments in ["-n 3 --rate max --duration 0.2", "-n 3 --rate max --depth 16 --duration 0.2"] {
        let server = Server::start(Session::echo);
        let outcome = run(server.address, arguments);
        outcome.assert_clean();
        outcome.assert_counts(&server);
        assert!(server.messages() > 3 * 16, "{outcome:#?}");
    }
}

#[test]
fn depth_is_how_many_messages_are_in_flight() {
    let server = Server::start(silence);
    let outcome = run(server.address, "-n 2 --rate max --depth 16 --duration 0.1 --drain 0.1");
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "32 lost, 0 discontinuities"), "{outcome:#?}");
}

#[test]
fn idle_connections_are_checked_at_the_end() {
    let server = Server::start(Session::echo);
    let outcome = run(server.address, "-n 0 --idle 20 --duration 0.05");
    outcome.assert_clean();
    outcome.assert_counts(&server);
    assert_eq!(server.messages(), 20);
    assert_eq!(outcome.figures("connections idle")[..2], ["20", "opened,"]);
    assert_eq!(outcome.figures("round trip median"), ["none"]);
}

#[test]
fn a_message_in_two_parts_pauses_and_is_completed_at_the_end() {
    let (first_part_arrived, arrival) = std::sync::mpsc::channel();
    let server = Server::start(move |session| {
        let first_part_bytes = session.stream.peek(&mut [0; 4])?;
        first_part_arrived.send(first_part_bytes).unwrap();
        session.echo()
    });
    // The pause is 500 seconds, which only the signal cuts short.
    let running = Running::start(client(server.address, "--rate 0.001 --fragment"));
    assert_eq!(arrival.recv().unwrap(), 1);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let outcome = running.finish();
    outcome.assert_clean();
    outcome.assert_counts(&server);
    assert_eq!(server.messages(), 1);
}

#[test]
fn messages_in_two_parts_come_back_whole() {
    let server = Server::start(Session::echo);
    let outcome = run(server.address, "-n 4 --rate 50 --fragment --duration 0.3");
    outcome.assert_clean();
    outcome.assert_counts(&server);
    assert!(server.messages() >= 4, "{outcome:#?}");
}

#[test]
fn slow_readers_read_everything_back_at_the_end() {
    let server = Server::start(Session::echo);
    let outcome = run(server.address, "-n 1 --slow-readers 2 --duration 0.3");
    outcome.assert_clean();
    outcome.assert_counts(&server);
    // More than the 3 reads of 4 KiB that each can have made while the load lasted.
    assert!(server.messages() > 2 * 3 * 1024, "{outcome:#?}");
}

#[test]
fn a_dropped_number_is_a_discontinuity_and_exits_1() {
    let server = Server::start(|session| {
        while let Some(number) = session.number()? {
            if number != 3 {
                session.answer(number)?;
            }
        }
        Ok(())
    });
    let outcome = run(server.address, "--rate 100 --duration 0.3");
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "1 lost, 1 discontinuities"), "{outcome:#?}");
    let line = outcome.log.lines().find(|line| line.contains("expected")).unwrap();
    assert!(line.contains("WARN") && line.contains("[127.0.0.1]:"), "{line}");
    assert!(line.ends_with(": expected 3, received 4"), "{line}");
}

#[test]
fn a_repeated_number_is_a_discontinuity_and_exits_1() {
    let server = Server::start(|session| {
        while let Some(number) = session.number()? {
            session.answer(number)?;
            if number == 3 {
                session.answer(number)?;
            }
        }
        Ok(())
    });
    let outcome = run(server.address, "--rate 100 --duration 0.3");
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "0 lost, 1 discontinuities"), "{outcome:#?}");
    assert!(outcome.log.contains(": expected 4, received 3\n"), "{outcome:#?}");
}

#[test]
fn bytes_after_the_last_answer_are_a_discontinuity() {
    let server = Server::start(|session| {
        while let Some(number) = session.number()? {
            session.stream.write_all(&[&number.to_be_bytes()[..], &[0]].concat())?;
        }
        Ok(())
    });
    let outcome = run(server.address, "-n 0 --idle 1 --duration 0.05");
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "0 lost, 1 discontinuities"), "{outcome:#?}");
    assert!(outcome.log.contains(": 1 bytes after the last answer"), "{outcome:#?}");
}

#[test]
fn an_answer_that_never_comes_is_lost_and_exits_1() {
    let server = Server::start(|session| {
        while let Some(number) = session.number()? {
            if number < 3 {
                session.answer(number)?;
            }
        }
        Ok(())
    });
    let outcome = run(server.address, "--rate max --depth 2 --duration 0.1 --drain 0.1");
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "2 lost, 0 discontinuities"), "{outcome:#?}");
    assert!(outcome.log.contains("answers are still due on 1 connections"), "{outcome:#?}");
}

#[test]
fn a_reset_connection_is_lost_and_the_others_go_on() {
    let accepted = AtomicU64::new(0);
    let server = Server::start(move |session| {
        if accepted.fetch_add(1, Ordering::SeqCst) > 0 {
            return session.echo();
        }
        session.number()?;
        session.number()?;
        session.reset()
    });
    let outcome = run(server.address, "-n 3 --rate max --depth 2 --duration 0.2");
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert_eq!(outcome.last_line(), "2 lost, 0 discontinuities, 1 connections lost", "{outcome:#?}");
    assert_eq!(outcome.figures("connections sending"), ["3", "opened,", "1", "lost"]);
    assert!(outcome.log.contains(": connection lost, 2 answers due (0 to 1): Connection reset"), "{outcome:#?}");
    assert!(outcome.figure("messages ") > 4, "{outcome:#?}");
}

#[test]
fn a_connection_closed_with_nothing_due_is_lost_too() {
    let server = Server::start(|_| Ok(()));
    let outcome = run(server.address, "-n 0 --idle 2");
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert_eq!(outcome.last_line(), "0 lost, 0 discontinuities, 2 connections lost", "{outcome:#?}");
    assert_eq!(outcome.log.matches("connection lost, no answer due: closed by the server").count(), 2);
}

#[test]
fn nobody_listening_is_one_clear_line_and_exits_1() {
    // Bound but not listening, so that nobody else gets the port.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    for arguments in ["", "-n 1000"] {
        let outcome = run(address, arguments);
        assert_eq!((outcome.exit_code, outcome.report.as_str()), (Some(1), ""), "{outcome:#?}");
        assert_eq!(outcome.log.lines().count(), 1, "{outcome:#?}");
        let expected = format!("cannot connect to [127.0.0.1]:{}: Connection refused", address.port());
        assert!(outcome.log.contains(&expected), "{outcome:#?}");
    }
}

#[test]
fn wrong_options_exit_2_and_name_the_value_and_what_is_allowed() {
    for (arguments, culprit, allowed) in [
        ("--rate fast", "'fast'", "a number of messages a second above 0 is expected, or max"),
        ("--rate=-1", "'-1'", "a number of messages a second above 0 is expected, or max"),
        ("-p 70000", "'70000'", "a whole number from 1 to 65535 is expected"),
        ("-a example.org", "'example.org'", "an IPv4 or IPv6 address is expected"),
        ("--rate max --fragment", "--fragment", "needs a --rate in messages a second"),
        ("--depth 2", "--depth 2", "needs --rate max"),
        ("--fast", "--fast", "--help"),
    ] {
        let outcome = run_without_server(arguments);
        assert_eq!((outcome.exit_code, outcome.report.as_str()), (Some(2), ""), "{outcome:#?}");
        assert!(outcome.log.contains(culprit) && outcome.log.contains(allowed), "{outcome:#?}");
    }
}

#[test]
fn more_connections_than_open_files_exit_2_with_both_numbers() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" -n 100", env!("CARGO_BIN_EXE_reactord-client")])
        .output()
        .unwrap();
    let outcome = Outcome::from(output);
    assert_eq!(outcome.exit_code, Some(2), "{outcome:#?}");
    assert!(outcome.log.contains("100 connections need 116 open files, and this process may open 64"), "{outcome:#?}");
}

#[test]
fn help_and_version_exit_0() {
    for trigger in ["-h", "--help"] {
        let outcome = run_without_server(trigger);
        assert_eq!(outcome.exit_code, Some(0), "{outcome:#?}");
        assert!(outcome.report.contains("--slow-readers") && outcome.report.contains("Error codes:"), "{outcome:#?}");
    }
    let outcome = run_without_server("--version");
    assert_eq!(outcome.exit_code, Some(0), "{outcome:#?}");
    assert_eq!(outcome.report, concat!("reactord-client ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// A client that is still running, and its log so far.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Waits for a line of the log.
    fn await_line(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended without {part:?}");
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn finish(mut self) -> Outcome {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        Outcome { log, ..Outcome::from(self.child.wait_with_output().unwrap()) }
    }
}

#[test]
fn the_first_signal_ends_the_load_and_everything_is_awaited() {
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        let server = Server::start(Session::echo);
        let mut running = Running::start(client(server.address, "-n 2 --idle 2 --rate 200 --fragment"));
        running.await_line("4 connections to");
        running.signal(signal);
        let outcome = running.finish();
        outcome.assert_clean();
        outcome.assert_counts(&server);
        assert!(outcome.log.contains("stopping:"), "{outcome:#?}");
    }
}

#[test]
fn the_second_signal_stops_at_once() {
    let server = Server::start(silence);
    let mut running = Running::start(client(server.address, "--rate max --drain 600"));
    running.await_line("1 connections to");
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.await_line("stopping: ");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!((outcome.exit_code, outcome.last_line()), (Some(1), "1 lost, 0 discontinuities"), "{outcome:#?}");
}

#[test]
fn a_closed_standard_output_changes_nothing_but_the_report() {
    let server = Server::start(Session::echo);
    let mut child = client(server.address, "--rate 100 --duration 0.05").spawn().unwrap();
    drop(child.stdout.take());
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!(outcome.exit_code, Some(0), "{outcome:#?}");
    assert!(!outcome.log.contains("panicked"), "{outcome:#?}");
}
