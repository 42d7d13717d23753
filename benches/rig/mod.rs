//! What the benchmarks stand on: the daemon and the client as processes, which end with their values.

pub(crate) mod bare;
pub(crate) mod proxies;

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raised.expect("the soft limit may be raised to the hard one");
}

/// How often a server is asked that does not say when it listens.
const ASKED_AGAIN: Duration = Duration::from_millis(5);

/// So many clients connect at once, and so long is waited then: a standby that others keep from running for long is given up.
const BURST: usize = 100;
const BREATH: Duration = Duration::from_millis(5);

/// What a process is to say or to do is waited for no longer than this.
const WAITED_MAX: Duration = Duration::from_secs(60);

/// How much memory a process has that no other has: bytes.
pub(crate) fn anonymous_bytes(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: Option<u64> = anonymous.and_then(|rss| rss.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("no RssAnon in {status:?}")))
}

/// The value in the middle; of an even number, the upper of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rounds of a benchmark: so many, but none begins after so many minutes, save the first.
pub(crate) fn rounds(rounds: usize, minutes: f64) -> impl Iterator<Item = usize> {
    let by = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    (0..rounds).take_while(move |round| *round == 0 || Instant::now() < by)
}

/// A process, and the lines that it writes to standard error.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                // It is read also when nobody wants to know any more: the process would wait for that.
                let _ = tell.send(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line with this text in it.
    fn line(&mut self, text: &str) -> io::Result<String> {
        let (by, mut last, pid) = (Instant::now() + WAITED_MAX, String::new(), self.child.id());
        loop {
            match self.lines.recv_timeout(by.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => last = line,
                Err(RecvTimeoutError::Timeout) => {
                    let waited = format!("pid {pid} has not said {text:?} for {} s: {last}", WAITED_MAX.as_secs());
                    return Err(io::Error::new(ErrorKind::TimedOut, waited));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other(format!("pid {pid} ended before it said {text:?}: {last}")));
                }
            }
        }
    }

    /// Waits until it has ended by itself.
    fn end(mut self) -> io::Result<()> {
        let by = Instant::now() + WAITED_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= by {
                let waited = format!("pid {} has not ended for {} s", self.child.id(), WAITED_MAX.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, waited));
            }
            std::thread::sleep(ASKED_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this process on one processor, and those that it starts where they are not told otherwise.
pub(crate) fn stay_on(processor: usize) -> io::Result<()> {
    let mut processors = CpuSet::new();
    processors.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &processors)?)
}

/// Keeps a process on one processor. Who shares one with whom would otherwise be decided by chance in each round.
fn pin(process: &Child, processor: usize) -> io::Result<()> {
    let mut processors = CpuSet::new();
    processors.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(process.id().cast_signed()), &processors)?)
}

/// A server.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// `reactord`, on a port that the kernel chooses.
    pub(crate) fn reactord(takeover_path: &Path) -> io::Result<Self> {
        Self::reactord_with(takeover_path, &[])
    }

    /// The same with these further arguments.
    pub(crate) fn reactord_with(takeover_path: &Path, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
        Self::start(command.args(["--listen-port", "0", "--takeover-path"]).arg(takeover_path).args(arguments))
    }

    /// Any server that ends one of the first lines it writes to standard error with its port on 127.0.0.1.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut process = Process::start(command)?;
        let port: u16 = loop {
            let line = process.line(":")?;
            if let Some(port) = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok()) {
                break port;
            }
        };
        Ok(Self { process, address: ([127, 0, 0, 1], port).into() })
    }

    /// A server that was told where to listen, and says something like this when it does.
    pub(crate) fn start_at(command: &mut Command, address: SocketAddr, ready: &str) -> io::Result<Self> {
        let mut process = Process::start(command)?;
        process.line(ready)?;
        Ok(Self { process, address })
    }

    /// A server that was told where to listen, and says nothing when it does: it is asked until it answers.
    pub(crate) fn start_and_ask(command: &mut Command, address: SocketAddr) -> io::Result<Self> {
        let mut process = Process::start(command)?;
        let by = Instant::now() + WAITED_MAX;
        while let Err(error) = TcpStream::connect_timeout(&address, WAITED_MAX) {
            if let Some(status) = process.child.try_wait()? {
                return Err(io::Error::other(format!("{command:?} has ended before it has answered: {status}")));
            }
            if Instant::now() >= by {
                return Err(error);
            }
            std::thread::sleep(ASKED_AGAIN);
        }
        Ok(Self { process, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it has the first processor for itself.
    pub(crate) fn pin(&self) -> io::Result<()> {
        pin(&self.process.child, 0)
    }

    /// How long its one thread has run, in ns (`/proc/PID/schedstat`, proc(5)).
    pub(crate) fn processor_ns(&self) -> io::Result<u64> {
        let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.child.id()))?;
        let running = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
        running.ok_or_else(|| io::Error::other(format!("no time in {schedstat:?}")))
    }

    /// Its resident memory, in bytes (`/proc/PID/smaps_rollup`, proc(5)).
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.child.id()))?;
        let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib: Option<u64> =
            rss.and_then(|rss| rss.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("no Rss in {rollup:?}")))
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The next line that it says with this text in it.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<String> {
        self.process.line(text)
    }

    /// The process of the next standby that is said to be armed.
    pub(crate) fn standby(&mut self) -> io::Result<u32> {
        // "… Standby 0.1.0 (pid 1234, generation 2) is armed …"
        let armed = self.line("is armed")?;
        let pid = armed.split_once("(pid ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        pid.ok_or_else(|| io::Error::other(format!("no pid in {armed:?}")))
    }

    /// What it answers `reactord-client` that keeps so many messages (`depth`) in flight on each connection, for so many seconds. Each of the
    /// two has a processor for itself, and every message is checked.
    pub(crate) fn answer_at_full_rate(&self, connections: u32, depth: u32, seconds: u32) -> io::Result<Answered> {
        self.pin()?;
        let before = self.processor_ns()?;
        let client = Client::begin_at_full_rate(self.address(), connections, depth, seconds)?;
        client.pin()?;
        let report = client.report()?;
        let processor_ns = self.processor_ns()? - before;
        Ok(Answered {
            messages_per_second: figure(&report, "messages a second"),
            processor_us_per_message: processor_ns as f64 / 1000.0 / figure(&report, "messages "),
        })
    }

    /// So many clients, each connected to it.
    pub(crate) fn clients(&self, count: usize) -> io::Result<Vec<TcpStream>> {
        let connect = |number| {
            if number % BURST == 0 {
                std::thread::sleep(BREATH);
            }
            TcpStream::connect(self.address)
        };
        (0..count).map(connect).collect()
    }

    /// Stops it, and what it has started.
    pub(crate) fn stop(self) -> io::Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM)?;
        self.process.end()
    }

    /// The server that has taken over from this one, and its summary.
    pub(crate) fn taken_over(self, takeover_path: &Path) -> io::Result<(Self, String)> {
        self.taken_over_with(takeover_path, &[])
    }

    /// The same with these further arguments.
    pub(crate) fn taken_over_with(mut self, takeover_path: &Path, arguments: &[String]) -> io::Result<(Self, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
        let summary = self.replace(command.arg("--takeover").arg(takeover_path).args(arguments))?;
        Ok((self, summary))
    }

    /// Starts a process that takes over, and is the server from then on. Returns its summary.
    pub(crate) fn replace(&mut self, command: &mut Command) -> io::Result<String> {
        let mut successor = Process::start(command)?;
        let summary = successor.line("Took over")?;
        std::mem::replace(&mut self.process, successor).end()?;
        Ok(summary)
    }
}

/// What one server did in one round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) messages_per_second: f64,
    pub(crate) processor_us_per_message: f64,
}

/// `reactord-client`.
pub(crate) struct Client(Process);

impl Client {
    /// Starts it against `server`, with these further arguments.
    pub(crate) fn begin(server: SocketAddr, arguments: &[&str]) -> io::Result<Self> {
        let client = Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("reactord-client");
        assert!(client.exists(), "{} is missing: cargo build --release --workspace", client.display());
        let mut command = Command::new(client);
        command.args(["--connect-address", &server.ip().to_string()]);
        command.args(["--connect-port", &server.port().to_string()]).args(arguments).stdout(Stdio::piped());
        Process::start(&mut command).map(Self)
    }

    /// Starts it against `server`, with so many messages (`depth`) in flight on each connection, for so many seconds.
    pub(crate) fn begin_at_full_rate(
        server: SocketAddr,
        connections: u32,
        depth: u32,
        seconds: u32,
    ) -> io::Result<Self> {
        let (connections, depth, duration) = (connections.to_string(), depth.to_string(), seconds.to_string());
        Self::begin(server, &["-n", &connections, "--depth", &depth, "--duration", &duration, "--rate", "max"])
    }

    /// From now on it has the second processor for itself.
    pub(crate) fn pin(&self) -> io::Result<()> {
        pin(&self.0.child, 1)
    }

    /// Waits until all connections are open.
    pub(crate) fn wait_until_open(&mut self) -> io::Result<()> {
        self.0.line("open in").map(drop)
    }

    /// Ends the load, unless it has a duration of its own.
    pub(crate) fn interrupt(&self) {
        kill(Pid::from_raw(self.0.child.id().cast_signed()), Signal::SIGINT).expect("an own child can be signalled");
    }

    /// The report, when the load has ended.
    ///
    /// # Errors
    /// If anything was lost.
    pub(crate) fn report(mut self) -> io::Result<String> {
        let mut report = String::new();
        self.0.child.stdout.as_mut().expect("standard output is piped").read_to_string(&mut report)?;
        if self.0.child.wait()?.success() {
            Ok(report)
        } else {
            Err(io::Error::other(format!("the client lost something:\n{report}")))
        }
    }
}

/// The figure of this name in a client's report.
pub(crate) fn figure(report: &str, name: &str) -> f64 {
    let rest = report.lines().find_map(|line| line.strip_prefix(name)).expect("the report has this figure");
    let first = rest.split_whitespace().next().expect("the name of a figure is followed by it");
    first.parse().expect("a figure is a number")
}
