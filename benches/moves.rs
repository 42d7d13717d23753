//! How long a peer that moves to another server stands still, beside a takeover, and what all others notice.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench moves
//! ```
//!
//! Two servers, of which the first has `--peers`; `--active` of them send ten messages a second each. In each round the first
//! is taken over, gives the other 16 peers in one batch and gets them back, and gives one and gets it back. The pauses are
//! what whoever has the peers then says: from the freeze to the first turn in which they are served.
//!
//! Then half of the peers are moved to and fro, and the round trips of the other half are measured, beside those of runs that
//! are as long and have no moves: with a move of all of them every second, and with one after another.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use argh::FromArgs;
use tempfile::TempDir;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Client, Server};

/// How many peers are given at once: a batch.
const BATCH: usize = 16;

/// Measures moves.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 10000)
    #[argh(option, default = "10_000")]
    peers: usize,
    /// how many of them send ten messages a second (default: 1000)
    #[argh(option, default = "1000")]
    active: usize,
    /// rounds (default: 50)
    #[argh(option, default = "50")]
    rounds: usize,
    /// triples of runs in which others are looked at (default: 5)
    #[argh(option, default = "5")]
    runs: usize,
    /// how long each of those is, in seconds (default: 5)
    #[argh(option, default = "5")]
    seconds: u64,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> io::Result<()> {
    let arguments: Arguments = argh::from_env();
    rig::raise_limit();
    measure_pauses(&arguments)?;
    measure_others(&arguments)
}

/// The takeover paths of the two servers.
struct Place {
    _directory: TempDir,
    first: PathBuf,
    other: PathBuf,
}

impl Place {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let [first, other] = ["first", "other"].map(|name| directory.path().join(name));
        Ok(Self { _directory: directory, first, other })
    }
}

/// Moves so many peers, and returns the largest pause of a batch, in us.
fn pause_us_of_move(from: &Path, to: &Path, count: usize) -> io::Result<f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
    let output = command.arg("move").args([from, to]).args(["--count", &count.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let pause_ms = said.split_once("batch ").and_then(|(_, rest)| rest.split_once(" ms")).map(|(pause, _)| pause);
    let pause_ms: f64 = pause_ms.and_then(|pause| pause.parse().ok()).unwrap_or_else(|| panic!("no pause in {said}"));
    Ok(pause_ms * 1000.0)
}

fn measure_pauses(arguments: &Arguments) -> io::Result<()> {
    let Arguments { peers, active, rounds, .. } = *arguments;
    let place = Place::new()?;
    let mut server = Server::reactord(&place.first)?;
    let other = Server::reactord(&place.other)?;
    let idle = (peers - active).to_string();
    let mut load = Client::begin(server.address(), &["-n", &active.to_string(), "--idle", &idle])?;
    load.wait_until_open()?;
    let mut pauses_us = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let (successor, summary) = server.taken_over(&place.first)?;
        server = successor;
        let pause = summary.split_once("pause ").and_then(|(_, rest)| rest.split_once(" us")).map(|(pause, _)| pause);
        pauses_us[0].push(pause.and_then(|pause| pause.parse().ok()).expect("a takeover tells its pause"));
        for (number, count) in [(1, BATCH), (2, 1)] {
            pauses_us[number].push(pause_us_of_move(&place.first, &place.other, count)?);
            pauses_us[number].push(pause_us_of_move(&place.other, &place.first, count)?);
        }
    }
    load.interrupt();
    load.report()?;
    drop((server, other));
    println!("{:>6} {:<18} {:>9} {:>9} {:>9}", "peers", "pause, us", "median", "99th", "worst");
    for (name, mut pauses_us) in ["takeover of all", "move of 16", "move of 1"].into_iter().zip(pauses_us) {
        let [median, high, worst] = [0.5, 0.99, 1.0].map(|share| quantile(&mut pauses_us, share));
        println!("{peers:>6} {name:<18} {median:>9.0} {high:>9.0} {worst:>9.0}");
    }
    Ok(())
}

/// How often half of the peers move.
#[derive(Clone, Copy)]
enum Moves {
    None,
    EverySecond,
    OneAfterAnother,
}

impl Moves {
    const ALL: [Self; 3] = [Self::None, Self::EverySecond, Self::OneAfterAnother];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EverySecond => "every second",
            Self::OneAfterAnother => "one after another",
        }
    }
}

fn measure_others(arguments: &Arguments) -> io::Result<()> {
    let mut ways = [const { (Vec::new(), Vec::new(), Vec::new()) }; 3];
    for _ in 0..arguments.runs {
        for moves in Moves::ALL {
            let (median_us, high_us, moved) = others(arguments, moves)?;
            let way = &mut ways[moves as usize];
            way.0.push(median_us);
            way.1.push(high_us);
            way.2.push(moved as f64);
        }
    }
    let half = arguments.peers / 2;
    println!("{:>6} {:<18} {:>9} {:>9} {:>6} {:>9}", "peers", "moves of half", "median", "99th", "ratio", "moved");
    let ways = ways.map(|(median_us, high_us, moved)| [median_us, high_us, moved].map(rig::median));
    for (moves, [median_us, high_us, moved]) in Moves::ALL.into_iter().zip(ways) {
        let ratio = high_us / ways[0][1];
        println!("{half:>6} {:<18} {median_us:>9.0} {high_us:>9.0} {ratio:>6.2} {moved:>9.0}", moves.name());
    }
    Ok(())
}

/// The median and the 99th percentile of the round trips of half of the peers, in us, while the other half moves to and fro;
/// and how many have moved.
fn others(arguments: &Arguments, moves: Moves) -> io::Result<(f64, f64, usize)> {
    let Arguments { peers, active, seconds, .. } = *arguments;
    let half = peers / 2;
    let place = Place::new()?;
    let first = Server::reactord(&place.first)?;
    let other = Server::reactord(&place.other)?;
    // Those who come first are the first to move.
    let moving = (0..half).map(|_| TcpStream::connect(first.address())).collect::<io::Result<Vec<TcpStream>>>()?;
    let (active, duration) = (active.min(half), seconds.to_string());
    let idle = (half - active).to_string();
    let mut load =
        Client::begin(first.address(), &["-n", &active.to_string(), "--idle", &idle, "--duration", &duration])?;
    load.wait_until_open()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut moved = 0;
    let mut paths = [&place.first, &place.other];
    while Instant::now() < end {
        let begun = Instant::now();
        match moves {
            Moves::None => std::thread::sleep(Duration::from_secs(seconds)),
            Moves::EverySecond | Moves::OneAfterAnother => {
                pause_us_of_move(paths[0], paths[1], half)?;
                moved += half;
                paths.reverse();
            }
        }
        if let Moves::EverySecond = moves {
            std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
        }
    }
    let report = load.report()?;
    drop((moving, first, other));
    Ok((rig::figure(&report, "round trip median"), rig::figure(&report, "round trip 99th"), moved))
}

/// The value below which this share of the values lies (nearest rank).
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.saturating_sub(1)]
}
