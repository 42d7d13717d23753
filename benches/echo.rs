//! How fast `reactord` echoes, beside a bare echo loop on mio and an echo on tokio.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench echo
//! ```
//!
//! Each server is a process with one thread, and all are asked by the same client, `reactord-client --rate max`, which
//! keeps so many messages (`depth`) in flight on each connection and checks every one. Server and client have a
//! processor each. The rounds are interleaved, so that a machine whose speed drifts is unfair to none. The table gives
//! medians over the rounds; the ratios are medians of the ratios of each round. The bare loop and the tokio echo do
//! what any echo server must and nothing else: no messages, no back-pressure, no takeover.

use std::process::Command;

use argh::FromArgs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Answered, Server, median};

/// Compares reactord with other echo servers.
#[derive(FromArgs)]
struct Arguments {
    /// rounds of all servers (default: 3)
    #[argh(option, default = "3")]
    rounds: u32,
    /// seconds of load in each round (default: 3)
    #[argh(option, default = "3")]
    seconds: u32,
    /// connections (default: 1, 100, 1000 and 10000)
    #[argh(option)]
    connections: Vec<u32>,
    /// messages in flight on each connection (default: 1 and 16)
    #[argh(option)]
    depth: Vec<u32>,
    /// be one of the servers that reactord is compared with: bare or tokio
    #[argh(option)]
    serve: Option<String>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let mut arguments: Arguments = argh::from_env();
    match arguments.serve.as_deref() {
        Some("bare") => return rig::bare::serve(),
        Some("tokio") => return tokio_echo(),
        Some(other) => return Err(std::io::Error::other(format!("{other} is neither bare nor tokio"))),
        None => {}
    }
    if arguments.connections.is_empty() {
        arguments.connections = vec![1, 100, 1000, 10_000];
    }
    if arguments.depth.is_empty() {
        arguments.depth = vec![1, 16];
    }
    println!(
        "{:>11} {:>5} | {:>10} {:>10} {:>10} | {:>7} {:>8} | {:>8} {:>8} {:>8}",
        "connections", "depth", "reactord/s", "bare/s", "tokio/s", "/ bare", "/ tokio", "reactord", "bare", "tokio"
    );
    for &depth in &arguments.depth {
        for &connections in &arguments.connections {
            compare(connections, depth, &arguments)?;
        }
    }
    println!("the last three columns: processor time of the server for each message, in us");
    Ok(())
}

/// Runs the servers in turn, and prints a row.
fn compare(connections: u32, depth: u32, arguments: &Arguments) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let this = std::env::current_exe()?;
    let start = |server: usize| match server {
        0 => Server::reactord(&path),
        1 => Server::start(Command::new(&this).args(["--serve", "bare"])),
        _ => Server::start(Command::new(&this).args(["--serve", "tokio"])),
    };
    let mut rounds: Vec<[Answered; 3]> = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = [Answered::default(); 3];
        // Each is the first as often as the others.
        for server in (0..3).map(|turn| (turn + round as usize) % 3) {
            figures[server] = start(server)?.answer_at_full_rate(connections, depth, arguments.seconds)?;
        }
        rounds.push(figures);
    }
    let over_rounds = |figure: &dyn Fn(&[Answered; 3]) -> f64| median(rounds.iter().map(figure).collect());
    let speed = |server: usize| over_rounds(&|round| round[server].messages_per_second);
    let ratio = |to: usize| over_rounds(&|round| round[0].messages_per_second / round[to].messages_per_second);
    let processor = |server: usize| over_rounds(&|round| round[server].processor_us_per_message);
    println!(
        "{connections:>11} {depth:>5} | {:>10.0} {:>10.0} {:>10.0} | {:>7.3} {:>8.3} | {:>8.2} {:>8.2} {:>8.2}",
        speed(0),
        speed(1),
        speed(2),
        ratio(1),
        ratio(2),
        processor(0),
        processor(1),
        processor(2)
    );
    Ok(())
}

/// An echo on tokio, as its users would write it, on one thread.
fn tokio_echo() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("listening on {}", listener.local_addr()?);
        loop {
            let (mut connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(bytes @ 1..) = connection.read(&mut buffer).await {
                    if connection.write_all(&buffer[..bytes]).await.is_err() {
                        break;
                    }
                }
            });
        }
    })
}
