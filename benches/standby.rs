//! What a standby costs in memory for each peer: in the server that it follows, beside one that has none, and in the standby.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench standby -- --peers 9000
//! ```
//!
//! The memory is what a process has more with all peers than with none, and no other process has: the memory that both share has its
//! size, however many peers there are. Idle peers have said nothing; the others have said something once.

use std::io::{self, Read, Write};
use std::time::Duration;

use argh::FromArgs;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Server, anonymous_bytes, median, raise_limit};

/// So long after the last peer has said something, the standby has applied that.
const SETTLED: Duration = Duration::from_secs(2);

/// Measures what a standby costs.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 9000)
    #[argh(option, default = "9000")]
    peers: usize,
    /// rounds (default: 3)
    #[argh(option, default = "3")]
    rounds: usize,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

/// What each peer takes: bytes.
#[derive(Default)]
struct Taken {
    alone: Vec<f64>,
    active: Vec<f64>,
    standby: Vec<f64>,
}

fn main() -> io::Result<()> {
    let arguments: Arguments = argh::from_env();
    raise_limit();
    println!("bytes for each of {} peers, medians of {} rounds", arguments.peers, arguments.rounds);
    println!("{:<16}{:>10}{:>14}{:>8}{:>13}", "", "alone", "followed", "more", "standby");
    for (name, says_something) in [("idle", false), ("said something", true)] {
        let mut taken = Taken::default();
        for _ in 0..arguments.rounds {
            measure(arguments.peers, says_something, &mut taken)?;
        }
        let [alone, active, standby] = [taken.alone, taken.active, taken.standby].map(median);
        println!("{name:<16}{alone:>10.0}{active:>14.0}{:>8.0}{standby:>13.0}", active - alone);
    }
    Ok(())
}

/// One round: a server alone, and one with a standby.
fn measure(peers: usize, says_something: bool, taken: &mut Taken) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let server = Server::reactord(&path)?;
    let more = more_with([server.pid()], &server, peers, says_something);
    server.stop()?;
    let [alone] = more?;
    taken.alone.push(alone);

    let mut server = Server::reactord_with(&path, &["--standby".to_owned()])?;
    let standby = server.standby()?;
    let more = more_with([server.pid(), standby], &server, peers, says_something);
    // Whoever is killed while it is followed is not at its end.
    server.stop()?;
    let [active, standby] = more?;
    taken.active.push(active);
    taken.standby.push(standby);
    Ok(())
}

/// What processes have more for each peer than with none: bytes.
fn more_with<const COUNT: usize>(
    pids: [u32; COUNT],
    server: &Server,
    peers: usize,
    says_something: bool,
) -> io::Result<[f64; COUNT]> {
    let bytes = || pids.into_iter().map(anonymous_bytes).collect::<io::Result<Vec<u64>>>();
    let before = bytes()?;
    let clients = server.clients(peers)?;
    for mut client in clients.iter().filter(|_| says_something) {
        client.write_all(&0_u32.to_be_bytes())?;
        client.read_exact(&mut [0; 4])?;
    }
    std::thread::sleep(SETTLED);
    let after = bytes().map_err(|error| io::Error::other(format!("a process was lost: {error}")))?;
    Ok(std::array::from_fn(|number| (after[number] as f64 - before[number] as f64) / peers as f64))
}
