//! What it costs a server to be asked: to start its successor, and to say how it stands.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench asked
//! ```
//!
//! 1. **The pause** of takeovers by `upgrade`, beside those by a successor that somebody else starts (`-T`), in turn.
//! 2. **What starting a successor costs the loop**: the worst round trip of one client that asks without end, while the
//!    server starts a successor every 100 ms that ends at once, beside runs in which it starts none.
//! 3. **Round trips of clients** while `status`, `peers` and `/metrics` are asked for ten times a second each, beside runs in
//!    which nobody asks; and while only one of them is. Whoever asks is this process, not one that is started each time.
//! 4. **A scrape of `/metrics`**: how long the loop runs for one, with few peers and with many (`/proc/PID/schedstat`).
//!
//! Runs of all ways are interleaved, and the figures are medians of the runs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use argh::FromArgs;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use reactord::{Status, Upgrade, Upgraded, list_peers, upgrade};
use tempfile::TempDir;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Client, median};

/// How long a server may take to answer for the first time.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often each question is asked.
const EVERY: Duration = Duration::from_millis(100);

/// Measures what it costs to be asked.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 10000)
    #[argh(option, default = "10_000")]
    peers: usize,
    /// how many of them send ten messages a second (default: 1000)
    #[argh(option, default = "1000")]
    active: usize,
    /// pairs of takeovers (default: 50)
    #[argh(option, default = "50")]
    rounds: usize,
    /// runs of each way (default: 5)
    #[argh(option, default = "5")]
    runs: usize,
    /// how long each of those is, in seconds (default: 5)
    #[argh(option, default = "5")]
    seconds: u64,
    /// with how many peers a scrape is measured (default: 100 and 15000)
    #[argh(option)]
    scraped: Vec<usize>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> io::Result<()> {
    let mut arguments: Arguments = argh::from_env();
    if arguments.scraped.is_empty() {
        arguments.scraped = vec![100, 15_000];
    }
    rig::raise_limit();
    // Those that servers have started are ended here, too.
    set_child_subreaper(true)?;
    measure_pauses(&arguments)?;
    measure_starts(&arguments)?;
    measure_questions(&arguments)?;
    measure_scrapes(&arguments)
}

/// A server that is taken over and started anew by whoever it may be: it is known by its path.
struct Place {
    _directory: TempDir,
    path: PathBuf,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Place {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("takeover");
        start(&["-p", "0", "--metrics", "127.0.0.1:0", "-t"], &path)?;
        let deadline = Instant::now() + START_PATIENCE;
        let status = loop {
            match Status::of(&path) {
                Ok(status) => break status,
                Err(error) if Instant::now() >= deadline => return Err(io::Error::other(error)),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        let at = |name: &str| {
            let listener = status.listeners.iter().find(|listener| (listener.name == "metrics") == (name == "metrics"));
            listener.and_then(|listener| listener.at.parse().ok()).expect("a server tells where it listens")
        };
        let (address, metrics) = (at("clients"), at("metrics"));
        Ok(Self { _directory: directory, path, address, metrics })
    }

    fn status(&self) -> Status {
        Status::of(&self.path).expect("the server answers")
    }

    /// So many peers, of whom so many send ten messages a second.
    fn load(&self, peers: usize, active: usize) -> io::Result<Client> {
        let idle = (peers - active).to_string();
        let mut load = Client::begin(self.address, &["-n", &active.to_string(), "--idle", &idle])?;
        load.wait_until_open()?;
        Ok(load)
    }

    /// Has the next process take over, and says how long nobody served, in us.
    fn replaced(&self, way: Way) -> f64 {
        let before = self.status().pid;
        match way {
            Way::TakeOver => start(&["-T"], &self.path).expect("it can be started"),
            Way::Upgrade => {
                let upgraded = upgrade(&self.path, &Upgrade::default(), |_| ()).expect("the server answers");
                assert!(matches!(upgraded, Upgraded::HandedOver { .. }), "{upgraded}");
            }
        }
        // When it has ended, the other one serves.
        waitpid(Pid::from_raw(before.cast_signed()), None).expect("it is a child, or was left to this process");
        let takeover = self.status().takeover.expect("it has taken over");
        takeover.pause_us.expect("both processes share a clock") as f64
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(status) = Status::of(&self.path) {
            let pid = Pid::from_raw(status.pid.cast_signed());
            // It may have ended by itself, which is as good.
            if kill(pid, Signal::SIGKILL).is_ok() {
                waitpid(pid, None).expect("it is a child, or was left to this process");
            }
        }
    }
}

/// Starts a server, with these arguments and a takeover path.
fn start(arguments: &[&str], path: &Path) -> io::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
    // It is this process's to wait for, whoever holds a handle of it.
    command.args(arguments).arg(path).stderr(Stdio::null()).spawn().map(drop)
}

/// How a server comes to be followed by another.
#[derive(Clone, Copy)]
enum Way {
    TakeOver,
    Upgrade,
}

fn measure_pauses(arguments: &Arguments) -> io::Result<()> {
    let place = Place::new()?;
    let load = place.load(arguments.peers, arguments.active)?;
    let mut pauses_us = [const { Vec::new() }; 2];
    for _ in 0..arguments.rounds {
        for way in [Way::TakeOver, Way::Upgrade] {
            pauses_us[way as usize].push(place.replaced(way));
        }
    }
    load.interrupt();
    load.report()?;
    println!("{:>6} {:<18} {:>9} {:>9} {:>9}", "peers", "pause, us", "median", "99th", "worst");
    for (name, mut pauses_us) in ["-T", "upgrade"].into_iter().zip(pauses_us) {
        let [median, high, worst] = [0.5, 0.99, 1.0].map(|share| quantile(&mut pauses_us, share));
        println!("{:>6} {name:<18} {median:>9.0} {high:>9.0} {worst:>9.0}", arguments.peers);
    }
    Ok(())
}

/// Somebody who does the same again and again, until it is dropped.
struct Again {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Again {
    fn begin(mut act: impl FnMut() + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut done = 0;
            while !until.load(Ordering::Relaxed) {
                let begun = Instant::now();
                act();
                done += 1;
                thread::sleep(EVERY.saturating_sub(begun.elapsed()));
            }
            done
        });
        Self { is_over, thread: Some(thread) }
    }

    /// How often it was done.
    fn end(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("whoever asks is answered")).unwrap_or(0)
    }
}

/// The round trips of a run, in us: the median, the 99th percentile, and the worst.
fn round_trips(report: &str) -> [f64; 3] {
    ["round trip median", "round trip 99th", "round trip worst"].map(|name| rig::figure(report, name))
}

/// What was measured in the runs of one way, and how often that was done in them what it is about.
#[derive(Default)]
struct Runs {
    round_trips_us: [Vec<f64>; 3],
    done: u64,
}

impl Runs {
    fn note(&mut self, report: &str, done: u64) {
        for (runs, run) in self.round_trips_us.iter_mut().zip(round_trips(report)) {
            runs.push(run);
        }
        self.done += done;
    }

    fn medians_us(&self) -> [f64; 3] {
        self.round_trips_us.each_ref().map(|runs| median(runs.clone()))
    }
}

fn say_runs(title: &str, peers: usize, ways: &[(&str, Runs)]) {
    println!("{:>6} {title:<18} {:>9} {:>9} {:>9} {:>6} {:>9}", "peers", "median", "99th", "worst", "ratio", "times");
    let without = ways[0].1.medians_us();
    for (name, runs) in ways {
        let [median, high, worst] = runs.medians_us();
        let (ratio, done) = (high / without[1], runs.done);
        println!("{peers:>6} {name:<18} {median:>9.0} {high:>9.0} {worst:>9.0} {ratio:>6.2} {done:>9}");
    }
}

fn measure_starts(arguments: &Arguments) -> io::Result<()> {
    let mut ways = [("no starts", Runs::default()), ("starts", Runs::default())];
    for _ in 0..arguments.runs {
        for (number, (_, runs)) in ways.iter_mut().enumerate() {
            let place = Place::new()?;
            let idle = arguments.peers.to_string();
            let seconds = arguments.seconds.to_string();
            let asks = ["-n", "1", "--rate", "max", "--depth", "1", "--idle", &idle, "--duration", &seconds];
            let mut load = Client::begin(place.address, &asks)?;
            load.wait_until_open()?;
            let starts = (number == 1).then(|| {
                let path = place.path.clone();
                let broken = Upgrade { binary: Some("/bin/false".into()), ..Upgrade::default() };
                Again::begin(move || {
                    let upgraded = upgrade(&path, &broken, |_| ()).expect("the server answers");
                    assert!(matches!(upgraded, Upgraded::Failed { serves_on: true, .. }), "{upgraded}");
                })
            });
            let report = load.report()?;
            runs.note(&report, starts.map_or(0, Again::end));
        }
    }
    say_runs("round trips, us", arguments.peers, &ways);
    Ok(())
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Status,
    Peers,
    Metrics,
}

impl Question {
    const ALL: [Self; 3] = [Self::Status, Self::Peers, Self::Metrics];

    /// Asks it again and again.
    fn begin(self, place: &Place) -> Again {
        let path = place.path.clone();
        match self {
            Self::Status => Again::begin(move || drop(Status::of(&path).expect("the server answers"))),
            Self::Peers => Again::begin(move || list_peers(&path, |_| ()).expect("the server answers")),
            Self::Metrics => {
                let mut scraper = Scraper::new(place.metrics).expect("the server lets it in");
                Again::begin(move || scraper.scrape().expect("the server answers"))
            }
        }
    }
}

fn measure_questions(arguments: &Arguments) -> io::Result<()> {
    use Question::{Metrics, Peers, Status};
    let asked: [(&str, &[Question]); 5] = [
        ("nobody asks", &[]),
        ("status", &[Status]),
        ("peers", &[Peers]),
        ("/metrics", &[Metrics]),
        ("all three", &Question::ALL),
    ];
    let mut ways = asked.map(|(name, _)| (name, Runs::default()));
    for _ in 0..arguments.runs {
        for ((_, questions), (_, runs)) in asked.iter().zip(&mut ways) {
            let place = Place::new()?;
            let (active, idle) = (arguments.active.to_string(), (arguments.peers - arguments.active).to_string());
            let seconds = arguments.seconds.to_string();
            let mut load = Client::begin(place.address, &["-n", &active, "--idle", &idle, "--duration", &seconds])?;
            load.wait_until_open()?;
            let askers: Vec<Again> = questions.iter().map(|question| question.begin(&place)).collect();
            let report = load.report()?;
            runs.note(&report, askers.into_iter().map(Again::end).sum());
        }
    }
    say_runs("round trips, us", arguments.peers, &ways);
    Ok(())
}

/// A connection on which `/metrics` is asked for.
struct Scraper {
    lines: BufReader<TcpStream>,
}

impl Scraper {
    fn new(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { lines: BufReader::new(TcpStream::connect(address)?) })
    }

    /// Asks once, and reads all of the answer.
    fn scrape(&mut self) -> io::Result<()> {
        self.lines.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line)?;
            if let Some((name, value)) =
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().map_err(|_| io::Error::other(format!("{name} {value}")))?;
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.lines.read_exact(&mut body)?;
        assert!(body.starts_with(b"# HELP "), "it is no exposition");
        Ok(())
    }
}

/// How often a scrape is measured at once.
const SCRAPES: u32 = 200;

fn measure_scrapes(arguments: &Arguments) -> io::Result<()> {
    println!("{:>6} {:<18} {:>9}", "peers", "loop, us", "median");
    for &peers in &arguments.scraped {
        let place = Place::new()?;
        let load = place.load(peers, 0)?;
        let mut scraper = Scraper::new(place.metrics)?;
        let mut runs_us = Vec::new();
        for _ in 0..arguments.runs.max(1) {
            let before_ns = processor_ns(&place)?;
            (0..SCRAPES).try_for_each(|_| scraper.scrape())?;
            runs_us.push((processor_ns(&place)? - before_ns) as f64 / 1e3 / f64::from(SCRAPES));
        }
        load.interrupt();
        load.report()?;
        println!("{peers:>6} {:<18} {:>9.1}", "a scrape", median(runs_us));
    }
    Ok(())
}

/// How long the loop has run, in ns: it is the first thread of its process (`/proc/PID/schedstat`, proc(5)).
fn processor_ns(place: &Place) -> io::Result<u64> {
    let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", place.status().pid))?;
    let running = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
    running.ok_or_else(|| io::Error::other(format!("no time in {schedstat:?}")))
}

/// The value below which this share of the values lies (nearest rank).
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.saturating_sub(1)]
}
