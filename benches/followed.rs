//! What a standby costs a message: a server that somebody follows, beside the same server alone.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench followed
//! ```
//!
//! Both are asked by the same client, `reactord-client --rate max`, which keeps so many messages (`depth`) in flight on each
//! connection and checks every one. Server and client have a processor each, and the standby has what is left of both: so on two
//! processors it takes messages from them that it would not take on three. The rounds are interleaved, and the ratios are medians of
//! the ratios of each round.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use argh::FromArgs;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Answered, Server, median};

/// Measures what a standby costs a message.
#[derive(FromArgs)]
struct Arguments {
    /// rounds (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// seconds of load in each (default: 2)
    #[argh(option, default = "2")]
    seconds: u32,
    /// connections (default: 100 and 1000)
    #[argh(option)]
    connections: Vec<u32>,
    /// messages in flight on each connection (default: 1 and 16)
    #[argh(option)]
    depth: Vec<u32>,
    /// another build of `reactord` that is followed, too: its columns come last
    #[argh(option)]
    beside: Option<PathBuf>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> io::Result<()> {
    let mut arguments: Arguments = argh::from_env();
    if arguments.connections.is_empty() {
        arguments.connections = vec![100, 1000];
    }
    if arguments.depth.is_empty() {
        arguments.depth = vec![1, 16];
    }
    let heads = ["messages/s", "ratio", "us/message", "ratio"].map(|head| format!("{head:>10}")).join(" ");
    println!("{:>11} {:>5} | {:>10} {:>10} | {heads}", "connections", "depth", "messages/s", "us/message");
    for &connections in &arguments.connections {
        for &depth in &arguments.depth {
            compare(connections, depth, &arguments)?;
        }
    }
    println!("of each: processor time of the server for a message in us; alone, and followed with its ratios to that");
    Ok(())
}

/// Runs the servers in turn, and prints a row.
fn compare(connections: u32, depth: u32, arguments: &Arguments) -> io::Result<()> {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_reactord"));
    let mut servers = vec![(&this, false), (&this, true)];
    servers.extend(arguments.beside.as_ref().map(|other| (other, true)));
    let mut rounds: Vec<Vec<Answered>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = vec![None; servers.len()];
        // Each is the first as often as the others.
        for number in (0..servers.len()).map(|turn| (turn + round) % servers.len()) {
            let (executable, is_followed) = servers[number];
            let mut command = Command::new(executable);
            command.args(is_followed.then_some("--standby"));
            figures[number] = Some(measure(command, is_followed, (connections, depth), arguments.seconds)?);
        }
        rounds.push(figures.into_iter().flatten().collect());
    }
    let over_rounds = |figure: &dyn Fn(&[Answered]) -> f64| median(rounds.iter().map(|round| figure(round)).collect());
    let speed = |server: usize| over_rounds(&|round| round[server].messages_per_second);
    let cost = |server: usize| over_rounds(&|round| round[server].processor_us_per_message);
    print!("{connections:>11} {depth:>5} | {:>10.0} {:>10.2}", speed(0), cost(0));
    for server in 1..servers.len() {
        let speeds = over_rounds(&|round| round[server].messages_per_second / round[0].messages_per_second);
        let costs = over_rounds(&|round| round[server].processor_us_per_message / round[0].processor_us_per_message);
        print!(" | {:>10.0} {speeds:>10.2} {:>10.2} {costs:>10.2}", speed(server), cost(server));
    }
    println!();
    Ok(())
}

/// What the client gets answered by a server that is started like this. Every message is checked.
fn measure(
    mut command: Command,
    is_followed: bool,
    (connections, depth): (u32, u32),
    seconds: u32,
) -> io::Result<Answered> {
    let directory = tempfile::tempdir()?;
    command.args(["--listen-port", "0", "--takeover-path"]).arg(directory.path().join("takeover"));
    let mut server = Server::start(&mut command)?;
    if is_followed {
        server.standby()?;
    }
    let answered = server.answer_at_full_rate(connections, depth, seconds)?;
    // Its standby would serve on otherwise.
    server.stop()?;
    Ok(answered)
}
