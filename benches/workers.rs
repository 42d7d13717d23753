//! What a supervisor with several workers gains over one process, and what it costs to pass connections on.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench workers
//! ```
//!
//! Both serve `seqnum`: one `reactord`, and `reactord supervise -- reactord --worker`. First they are loaded by as many
//! `reactord-client --rate max` as there are workers, which share the connections and check every message. Then as many
//! threads open a connection, exchange one message, and reset it, one after another. The rounds are interleaved, so
//! that a machine whose speed drifts is unfair to none; the figures are medians, and the ratios medians of the ratios
//! of each round.
//!
//! Clients and servers share the processors. On fewer than twice as many as there are workers, the figures tell how
//! both get along with too few, and not what the workers can do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use argh::FromArgs;
use rustix::net::sockopt::set_socket_linger;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Client, Server, figure, median, raise_limit};

/// Compares one process with a supervisor and its workers.
#[derive(FromArgs)]
struct Arguments {
    /// rounds of both (default: 3)
    #[argh(option, default = "3")]
    rounds: u32,
    /// seconds of each load in each round (default: 3)
    #[argh(option, default = "3")]
    seconds: u32,
    /// workers of the supervisor (default: 2)
    #[argh(option, default = "2")]
    workers: u32,
    /// connections, of all clients together (default: 100 and 1000)
    #[argh(option)]
    connections: Vec<u32>,
    /// messages in flight on each connection (default: 1 and 16)
    #[argh(option)]
    depth: Vec<u32>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let mut arguments: Arguments = argh::from_env();
    if arguments.connections.is_empty() {
        arguments.connections = vec![100, 1000];
    }
    if arguments.depth.is_empty() {
        arguments.depth = vec![1, 16];
    }
    raise_limit();
    let workers = format!("{} workers", arguments.workers);
    println!("{:<32} | {:>12} {workers:>12} | {:>7}", "", "one process", "ratio");
    for &depth in &arguments.depth {
        for &connections in &arguments.connections {
            let name = format!("messages/s, {connections} x {depth}");
            compare(&name, &arguments, |address| messages_per_second(address, connections, depth, &arguments))?;
        }
    }
    compare("connections/s", &arguments, |address| connections_per_second(address, &arguments))
}

/// Measures both in turn, and prints a row.
fn compare(
    name: &str,
    arguments: &Arguments,
    measure: impl Fn(SocketAddr) -> std::io::Result<f64>,
) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let one = measure(Server::reactord(&directory.path().join("takeover"))?.address())?;
        let several = measure(supervised(arguments.workers)?.address())?;
        rounds.push((one, several));
    }
    let one = median(rounds.iter().map(|(one, _)| *one).collect());
    let several = median(rounds.iter().map(|(_, several)| *several).collect());
    let ratio = median(rounds.iter().map(|(one, several)| several / one).collect());
    println!("{name:<32} | {one:>12.0} {several:>12.0} | {ratio:>7.3}");
    Ok(())
}

/// A supervisor, whose workers end when it is killed.
fn supervised(workers: u32) -> std::io::Result<Server> {
    let binary = env!("CARGO_BIN_EXE_reactord");
    let mut command = Command::new(binary);
    command.args(["supervise", "--listen-port", "0", "--workers", &workers.to_string(), "--", binary, "--worker"]);
    Server::start(&mut command)
}

/// How many messages all clients get answered.
fn messages_per_second(
    server: SocketAddr,
    connections: u32,
    depth: u32,
    arguments: &Arguments,
) -> std::io::Result<f64> {
    let clients = arguments.workers.min(connections);
    let begin = |client: u32| {
        let share = connections / clients + u32::from(client < connections % clients);
        Client::begin_at_full_rate(server, share, depth, arguments.seconds)
    };
    let clients: Vec<Client> = (0..clients).map(begin).collect::<Result<_, _>>()?;
    clients.into_iter().map(|client| Ok(figure(&client.report()?, "messages a second"))).sum()
}

/// How many connections are opened, get an answer, and are reset, by all threads together.
fn connections_per_second(server: SocketAddr, arguments: &Arguments) -> std::io::Result<f64> {
    // It is there from the start, but its workers may not be.
    exchange(server)?;
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let served: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !over.load(Ordering::Relaxed) {
                        exchange(server)?;
                        served += 1;
                    }
                    std::io::Result::Ok(served)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(arguments.seconds.into()));
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no client panics")).sum::<std::io::Result<u64>>()
    })?;
    Ok(served as f64 / began.elapsed().as_secs_f64())
}

/// One connection with one message.
fn exchange(server: SocketAddr) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(server)?;
    connection.set_nodelay(true)?;
    connection.write_all(&[0; 4])?;
    connection.read_exact(&mut [0; 4])?;
    // A connection that is closed would keep its port for a minute, and ports run out in seconds.
    Ok(set_socket_linger(&connection, Some(Duration::ZERO))?)
}
