//! What state that all peers share costs in a takeover: kept by keys, and saved whole; and what the map for it costs
//! otherwise.
//!
//! ```sh
//! cargo bench --bench state
//! ```
//!
//! A server with 1,000,000 entries of 100 bytes each, of which a hundred change each second, is taken over again and again,
//! each time by a process of the same program: one that keeps them by keys and one that saves them whole, in turns. The table
//! gives medians; a ratio is the median of those of each round. No round begins after four minutes.

use std::collections::HashMap;
use std::hash::Hash;
use std::hint::black_box;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use argh::FromArgs;
use reactord::{Config, Context, Entries, Keyed, Listen, Recipient, RestoreError, Server, Service, Violation};
use simple_logger::SimpleLogger;
use tempfile::TempDir;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Server as Serving, median};

/// Takes over a server with much state.
#[derive(FromArgs)]
struct Arguments {
    /// how many entries (default: 1000000)
    #[argh(option, default = "1_000_000")]
    entries: u32,
    /// how many takeovers of each kind (default: 20)
    #[argh(option, default = "20")]
    takeovers: usize,
    /// minutes after which no round begins (default: 4)
    #[argh(option, default = "4.0")]
    minutes: f64,
    /// serve at this takeover path; by the benchmark itself
    #[argh(option)]
    serve: Option<String>,
    /// take over from this path; by the benchmark itself
    #[argh(option)]
    take_over: Option<String>,
    /// save the state whole; by the benchmark itself
    #[argh(switch)]
    whole: bool,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

/// With its key, an entry has 100 bytes.
const VALUE_BYTES: usize = 88;

/// A hundred entries change in a second.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
const CHANGE: u32 = 0;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Arguments = argh::from_env();
    match (&arguments.serve, &arguments.take_over) {
        (None, None) => Ok(measure(&arguments)?),
        _ if arguments.whole => serve(&arguments, Whole(State::default())),
        _ => serve(&arguments, ByKeys(State::default())),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (entries, takeovers) = (arguments.entries, arguments.takeovers);
    let mut chains = [Chain::begin("by keys", entries, false)?, Chain::begin("whole", entries, true)?];
    for _ in rig::rounds(takeovers, arguments.minutes) {
        chains.iter_mut().try_for_each(Chain::take_over)?;
    }
    let done = chains[0].pauses.len();
    println!("{done} takeovers of each, {entries} entries of 100 bytes, of which a hundred change each second; ms");
    println!("{:>10} | {:>8} {:>8} {:>8} | {:>8}", "", "pause", "99th", "worst", "copy");
    let ratios = chains[0].pauses.iter().zip(&chains[1].pauses).map(|(by_keys, whole)| whole / by_keys).collect();
    chains.into_iter().for_each(Chain::print);
    println!("{:>10} | {:>8.0}", "ratio", median(ratios));
    println!("\n{:>20} | {:>6} {:>6}", "ns, of random keys", "get", "set");
    let keys: Vec<Vec<u8>> = (0..entries).map(key).collect();
    let mut map: HashMap<Vec<u8>, Vec<u8>> = keys.iter().map(|key| (key.clone(), value(0))).collect();
    let get = time(&keys, |key| {
        black_box(map.get(key));
    });
    let set = time(&keys, |key| map.get_mut(key).into_iter().for_each(|value| value[0] = 1));
    println!("{:>20} | {get:>6.0} {set:>6.0}", "std's HashMap");
    let mut map: Keyed<Vec<u8>, Vec<u8>> = map.into_iter().collect();
    let get = time(&keys, |key| {
        black_box(map.get(key));
    });
    let set = time(&keys, |key| map.get_mut(key).into_iter().for_each(|value| value[0] = 1));
    println!("{:>20} | {get:>6.0} {set:>6.0}", "Keyed");
    map.begin_copy(Recipient::Successor);
    while map.copy_next(Recipient::Successor, 64 * 1024, &mut Vec::new()) > 0 {}
    let get = time(&keys, |key| {
        black_box(map.get(key));
    });
    let set = time(&keys, |key| map.get_mut(key).into_iter().for_each(|value| value[0] = 1));
    println!("{:>20} | {get:>6.0} {set:>6.0}", "Keyed, being copied");
    Ok(())
}

/// How many ns it takes for each of a million random keys.
fn time<K: Eq + Hash>(keys: &[K], mut act: impl FnMut(&K)) -> f64 {
    const TIMES: u32 = 1_000_000;
    let mut random = fastrand::Rng::with_seed(1);
    let chosen: Vec<&K> = (0..TIMES).map(|_| &keys[random.usize(..keys.len())]).collect();
    let began = Instant::now();
    chosen.into_iter().for_each(&mut act);
    began.elapsed().as_nanos() as f64 / f64::from(TIMES)
}

fn percentile(figures: &mut [f64], percent: usize) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() * percent).div_ceil(100) - 1]
}

// ── The chain of servers ───────────────────────────────────────────────────────────────────────────────────────────

/// A server that is taken over again and again.
struct Chain {
    name: &'static str,
    serving: Serving,
    entries: String,
    whole: bool,
    /// Of each takeover, in ms.
    pauses: Vec<f64>,
    copies: Vec<f64>,
    path: PathBuf,
    _directory: TempDir,
}

impl Chain {
    fn begin(name: &'static str, entries: u32, whole: bool) -> Result<Self> {
        let (directory, entries) = (tempfile::tempdir()?, entries.to_string());
        let path = directory.path().join("takeover");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut command = command("--serve", &path, &entries, whole)?;
        let serving = Serving::start_at(&mut command, nowhere, "Starting Takeover channel")?;
        let [pauses, copies] = [Vec::new(), Vec::new()];
        Ok(Self { name, serving, entries, whole, pauses, copies, path, _directory: directory })
    }

    fn take_over(&mut self) -> Result<()> {
        let summary = self.serving.replace(&mut command("--take-over", &self.path, &self.entries, self.whole)?)?;
        self.pauses.push(before_us(&summary, "pause ")?);
        self.copies.push(before_us(&summary, "copy ")?);
        Ok(())
    }

    fn print(mut self) {
        let [middle, late, worst] = [50, 99, 100].map(|percent| percentile(&mut self.pauses, percent));
        let copy = percentile(&mut self.copies, 50);
        println!("{:>10} | {middle:>8.2} {late:>8.2} {worst:>8.2} | {copy:>8.1}", self.name);
    }
}

/// A process of this program.
fn command(option: &str, path: &Path, entries: &str, whole: bool) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(option).arg(path).args(["--entries", entries]).args(whole.then_some("--whole"));
    Ok(command)
}

/// The figure behind a name, in ms; the line has it in µs.
fn before_us(line: &str, name: &str) -> Result<f64> {
    let us = line.split(name).nth(1).and_then(|rest| rest.split(' ').next()).and_then(|us| us.parse::<f64>().ok());
    us.map(|us| us / 1000.0).ok_or_else(|| Error::other(format!("there is no figure for {name}in: {line}")))
}

// ── The server ─────────────────────────────────────────────────────────────────────────────────────────────────────

fn serve<S: Service + AsMut<State>>(
    arguments: &Arguments,
    mut service: S,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).init()?;
    let config = Config { freeze_timeout: Duration::from_secs(60), ..Config::default() };
    if let Some(path) = &arguments.serve {
        service.as_mut().0 = (0..arguments.entries).map(|number| (key(number), value(number))).collect();
        let config = Config { takeover_path: Some(path.into()), ..config };
        let listen = Listen::on("state", SocketAddr::from(([127, 0, 0, 1], 0)));
        Server::new(config).service([listen], service).serve()?;
    } else if let Some(path) = &arguments.take_over {
        Server::new(config).service([], service).take_over(path.as_ref())?;
    }
    Ok(())
}

fn key(number: u32) -> Vec<u8> {
    format!("key:{number:08}").into_bytes()
}

fn value(number: u32) -> Vec<u8> {
    vec![number as u8; VALUE_BYTES]
}

#[derive(Default)]
struct State(Keyed<Vec<u8>, Vec<u8>>);

impl State {
    /// Another entry changes.
    fn change<S: Service>(&mut self, context: &mut Context<'_, S>) {
        let number = fastrand::u32(..self.0.len() as u32);
        self.0.insert(key(number), value(fastrand::u32(..)));
        context.set_timer(CHANGE, Some(CHANGE_EVERY));
    }
}

/// The two services have everything in common but where their state is.
macro_rules! services {
    ($($service:ident $name:literal { $($state:item)* })*) => {$(
        struct $service(State);

        impl AsMut<State> for $service {
            fn as_mut(&mut self) -> &mut State {
                &mut self.0
            }
        }

        impl Service for $service {
            type Session = ();
            const NAME: &'static str = $name;
            const STATE_VERSION: u32 = 1;

            fn open(&mut self, _: &mut Context<'_, Self>) {}

            fn started(&mut self, context: &mut Context<'_, Self>) {
                self.0.change(context);
            }

            fn timer(&mut self, _: u32, context: &mut Context<'_, Self>) {
                self.0.change(context);
            }

            fn boundary(&self, (): &mut (), _: &[u8], _: usize) -> std::result::Result<Option<usize>, Violation> {
                Ok(None)
            }

            fn message(&mut self, (): &mut (), _: &[u8], _: &mut Context<'_, Self>) -> std::result::Result<(), Violation> {
                Ok(())
            }

            fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

            fn restore_session(&self, _: u32, _: &[u8]) -> std::result::Result<(), RestoreError> {
                Ok(())
            }

            $($state)*
        }
    )*};
}

services! {
    ByKeys "by-keys" {
        fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
            (map == 0).then_some(&mut self.0.0)
        }
    }

    Whole "whole" {
        fn save(&self, record: &mut Vec<u8>) {
            for (key, value) in self.0.0.iter() {
                record.extend_from_slice(key);
                record.extend_from_slice(value);
            }
        }

        fn restore(&mut self, _: u32, record: &[u8]) -> std::result::Result<(), RestoreError> {
            let key_bytes = key(0).len();
            let entries = record.chunks(key_bytes + VALUE_BYTES).map(|entry| entry.split_at(key_bytes));
            self.0.0 = entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            Ok(())
        }
    }
}
