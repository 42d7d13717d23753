//! How long a takeover takes, how long its pause is, and what both would be done otherwise.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench takeover -- --peers 1000 --peers 5000 --peers 19000
//! ```
//!
//! For each number of peers it keeps two sets of connections open, and in each round
//!
//! - lets a successor take over a loaded `reactord` (`--active` peers send ten messages a second each), and
//! - passes the other set, which is idle, to a bare process, in three ways: **floor**, in batches of 250 that are added
//!   to an epoll set as they come, a thousand under way at a time, as fast as the kernel does it; **freeze first**, the
//!   same, but nobody serves until all are there and the set was polled once; **one by one**, each with an
//!   acknowledgement before the next.
//!
//! The rounds are interleaved, so that a machine whose speed drifts is unfair to none. The bare process restores no
//! sessions and checks nothing, so what it takes is less than a server built that way would.
//!
//! With `--dirty-all`, only `reactord` is taken over, while all peers send their next message as soon as the last one is
//! answered: every one of them changes all the time.
//!
//! Then it asks what the clients notice: the worst round trip of all their messages while `reactord` is taken over
//! twenty times, beside that of a run that is as long and has no takeover.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use argh::FromArgs;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Client, Server};

/// Descriptors in one message, and under way at once, as in reactord's own copy.
const BATCH: usize = 250;
const UNDER_WAY_MAX: usize = 1000;

/// Measures takeovers.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 1000, 5000 and 19000)
    #[argh(option)]
    peers: Vec<usize>,
    /// how many of them send ten messages a second (default: 1000)
    #[argh(option, default = "1000")]
    active: usize,
    /// rounds (default: 50)
    #[argh(option, default = "50")]
    rounds: usize,
    /// takeovers in each run that looks for the worst round trip (default: 20)
    #[argh(option, default = "20")]
    takeovers: usize,
    /// pairs of such runs (default: 5)
    #[argh(option, default = "5")]
    runs: usize,
    /// all peers change all the time: each sends as soon as it is answered
    #[argh(switch)]
    dirty_all: bool,
    /// be the bare process that receives so many descriptors
    #[argh(option)]
    receive: Option<usize>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let arguments: Arguments = argh::from_env();
    if let Some(descriptors) = arguments.receive {
        return receive(descriptors);
    }
    rig::raise_limit();
    println!(
        "{:>6} {:<13} {:>12} {:>9} {:>9} {:>9} {:>7} {:>6}",
        "peers", "way", "us per peer", "pause us", "99th", "worst", "rounds", "dirty"
    );
    let sizes = if arguments.peers.is_empty() { vec![1000, 5000, 19000] } else { arguments.peers.clone() };
    if arguments.dirty_all {
        return sizes.into_iter().try_for_each(|peers| measure_dirty(peers, arguments.rounds));
    }
    for &peers in &sizes {
        measure(peers, arguments.active.min(peers), arguments.rounds)?;
    }
    if arguments.active == 0 || arguments.runs == 0 {
        return Ok(());
    }
    println!("{:>6} {:>26} {:>14} {:>6}", "peers", "worst round trip in us with", "takeovers, without", "ratio");
    for &peers in &sizes {
        compare_round_trips(peers, arguments.active.min(peers), arguments.takeovers, arguments.runs)?;
    }
    Ok(())
}

/// Prints the worst round trip with so many takeovers, and without any: medians over the runs.
fn compare_round_trips(peers: usize, active: usize, takeovers: usize, runs: usize) -> std::io::Result<()> {
    let (mut with_us, mut without_us) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let begun = Instant::now();
        with_us.push(worst_round_trip_us(peers, active, |server, path| {
            (0..takeovers).try_fold(server, |server, _| {
                std::thread::sleep(BETWEEN_TAKEOVERS);
                Ok(server.taken_over(path)?.0)
            })
        })?);
        let elapsed = begun.elapsed();
        without_us.push(worst_round_trip_us(peers, active, |server, _| {
            std::thread::sleep(elapsed);
            Ok(server)
        })?);
    }
    let (with_us, without_us) = (rig::median(with_us), rig::median(without_us));
    println!("{peers:>6} {with_us:>26.0} {without_us:>18.0} {:>6.2}", with_us / without_us);
    Ok(())
}

/// How long the clients have time to themselves.
const BETWEEN_TAKEOVERS: Duration = Duration::from_millis(100);

/// The worst round trip of a load during `events`, which end with the server that serves then.
fn worst_round_trip_us(
    peers: usize,
    active: usize,
    events: impl FnOnce(Server, &Path) -> std::io::Result<Server>,
) -> std::io::Result<f64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let server = Server::reactord(&path)?;
    let mut load = begin_load(&server, peers, active)?;
    load.wait_until_open()?;
    let server = events(server, &path)?;
    load.interrupt();
    let report = load.report()?;
    drop(server);
    Ok(rig::figure(&report, "round trip worst"))
}

/// So many peers, some of which send ten messages a second.
fn begin_load(server: &Server, peers: usize, active: usize) -> std::io::Result<Client> {
    Client::begin(server.address(), &["-n", &active.to_string(), "--idle", &(peers - active).to_string()])
}

/// What the rounds of one way of passing peers have shown.
#[derive(Default)]
struct Way {
    copy_us: Vec<f64>,
    pause_us: Vec<f64>,
    rounds: Vec<f64>,
    dirty: Vec<f64>,
}

impl Way {
    /// Lets a successor take over, and returns it.
    fn take_over(&mut self, server: Server, path: &Path) -> std::io::Result<Server> {
        let (successor, summary) = server.taken_over(path)?;
        self.copy_us.push(figure(&summary, "copy ", " us"));
        self.pause_us.push(figure(&summary, "pause ", " us"));
        self.rounds.push(figure(&summary, "batches, ", " rounds"));
        self.dirty.push(figure(&summary, "rounds, ", " dirty"));
        Ok(successor)
    }

    fn print(mut self, peers: usize, name: &str) -> (f64, f64) {
        let (copy_us, pause_us) = (quantile(&mut self.copy_us, 0.5) / peers as f64, quantile(&mut self.pause_us, 0.5));
        println!(
            "{peers:>6} {name:<13} {copy_us:>12.2} {:>9} {:>9} {:>9} {:>7} {:>6}",
            whole(pause_us),
            whole(quantile(&mut self.pause_us, 0.99)),
            whole(quantile(&mut self.pause_us, 1.0)),
            whole(quantile(&mut self.rounds, 0.5)),
            whole(quantile(&mut self.dirty, 0.5)),
        );
        (copy_us, pause_us)
    }
}

/// A figure without its fraction, or a dash where there is none.
fn whole(figure: f64) -> String {
    if figure.is_nan() { "-".to_owned() } else { format!("{figure:.0}") }
}

/// The value below which this share of the values lies (nearest rank). NaN if there are none.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The number in a summary between these two texts.
fn figure(summary: &str, before: &str, after: &str) -> f64 {
    let number = summary.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    number
        .and_then(|(number, _)| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {before}N{after} in {summary:?}"))
}

/// Prints the rows for so many peers.
fn measure(peers: usize, active: usize, rounds: usize) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let mut server = Server::reactord(&path)?;
    let mut load = begin_load(&server, peers, active)?;
    load.wait_until_open()?;
    let quiet_listener = TcpListener::bind("127.0.0.1:0")?;
    // The client opens 256 connections at a time, and one that finds the queue full is not seen again for a second or
    // more.
    rustix::net::listen(&quiet_listener, 4096)?;
    let quiet = Client::begin(quiet_listener.local_addr()?, &["-n", "0", "--idle", &peers.to_string()])?;
    let held: Vec<TcpStream> = (0..peers).map(|_| Ok(quiet_listener.accept()?.0)).collect::<std::io::Result<_>>()?;

    let (mut reactord, mut floor, mut freeze_first, mut one_by_one) =
        (Way::default(), Way::default(), Way::default(), Way::default());
    for _ in 0..rounds {
        server = reactord.take_over(server, &path)?;
        let passed = pass(&held, BATCH, UNDER_WAY_MAX)?;
        floor.copy_us.push(passed.copied.as_secs_f64() * 1e6);
        freeze_first.copy_us.push(passed.copied.as_secs_f64() * 1e6);
        freeze_first.pause_us.push(passed.polled.as_secs_f64() * 1e6);
        let passed = pass(&held, 1, 1)?;
        one_by_one.copy_us.push(passed.copied.as_secs_f64() * 1e6);
        one_by_one.pause_us.push(passed.polled.as_secs_f64() * 1e6);
    }
    let (copy_us, pause_us) = reactord.print(peers, "reactord");
    let (floor_us, _) = floor.print(peers, "floor");
    let (_, freeze_first_us) = freeze_first.print(peers, "freeze first");
    one_by_one.print(peers, "one by one");
    println!(
        "       copy / floor {:.2}, freeze-first pause / pause {:.0}; the clients' round trips around the takeovers:",
        copy_us / floor_us,
        freeze_first_us / pause_us
    );
    load.interrupt();
    for line in
        load.report()?.lines().filter(|line| line.starts_with("round trip") || line.ends_with("discontinuities"))
    {
        println!("       {line}");
    }
    drop((quiet, held));
    Ok(())
}

/// Prints the row for so many peers, all of which change all the time.
fn measure_dirty(peers: usize, rounds: usize) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let mut server = Server::reactord(&path)?;
    let mut load = Client::begin(server.address(), &["-n", &peers.to_string(), "--rate", "max"])?;
    load.wait_until_open()?;
    let mut reactord = Way::default();
    for _ in 0..rounds {
        std::thread::sleep(BETWEEN_TAKEOVERS);
        server = reactord.take_over(server, &path)?;
    }
    reactord.print(peers, "all dirty");
    load.interrupt();
    load.report().map(drop)
}

/// From the first send until the receiver has added all, and until it has polled once.
struct Passed {
    copied: Duration,
    polled: Duration,
}

/// Passes duplicates of all sockets to a bare process.
fn pass(sockets: &[TcpStream], batch: usize, under_way_max: usize) -> std::io::Result<Passed> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut receiver = Command::new(std::env::current_exe()?)
        .args(["--receive", &sockets.len().to_string()])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    // It says when it is there, so that its start is not counted.
    ours.read_exact(&mut [0])?;
    let began = Instant::now();
    let (mut sent, mut added) = (0, 0);
    let mut add = [0; 4];
    for part in sockets.chunks(batch) {
        while sent - added + part.len() > under_way_max {
            ours.read_exact(&mut add)?;
            added = u32::from_ne_bytes(add) as usize;
        }
        let descriptors: Vec<BorrowedFd> = part.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for a batch");
        sendmsg(&ours, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
        sent += part.len();
    }
    while added < sockets.len() {
        ours.read_exact(&mut add)?;
        added = u32::from_ne_bytes(add) as usize;
    }
    let copied = began.elapsed();
    ours.read_exact(&mut [0])?;
    let polled = began.elapsed();
    drop(ours);
    receiver.wait()?;
    Ok(Passed { copied, polled })
}

/// The bare process: adds what arrives on standard input to an epoll set, and says how many it has.
fn receive(descriptors: usize) -> std::io::Result<()> {
    rig::raise_limit();
    let mut channel = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut poll = Poll::new()?;
    let mut held: Vec<OwnedFd> = Vec::with_capacity(descriptors);
    channel.write_all(&[0])?;
    while held.len() < descriptors {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&channel, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = message {
                for descriptor in arrived {
                    let raw = descriptor.as_raw_fd();
                    poll.registry().register(&mut SourceFd(&raw), Token(held.len()), Interest::READABLE)?;
                    held.push(descriptor);
                }
            }
        }
        channel.write_all(&u32::try_from(held.len()).expect("fewer than 4 billion").to_ne_bytes())?;
    }
    poll.poll(&mut Events::with_capacity(1024), Some(Duration::ZERO))?;
    channel.write_all(&[0])?;
    // The other side closes when it has measured; freeing all this is not its concern.
    let _ = channel.read(&mut [0]);
    Ok(())
}
