//! What idle peers cost: resident memory for each, of a server and of its successor, and what accepting them costs.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench idle -- --peers 19000
//! ```
//!
//! The memory is what a server has more with all peers than with none. Accepting is given as the server's processor
//! time for each connection, beside that of a bare loop: how long the client takes to open them depends mostly on the
//! kernel's search for free ports. The rounds are interleaved, and the figures are medians.

use std::process::Command;
use std::time::Duration;

use argh::FromArgs;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Client, Server, median};

/// Measures idle peers.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 19000)
    #[argh(option, default = "19000")]
    peers: usize,
    /// rounds (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// be the bare loop
    #[argh(switch)]
    bare: bool,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let arguments: Arguments = argh::from_env();
    if arguments.bare {
        return rig::bare::serve();
    }
    let peers = arguments.peers;
    let load = ["-n", "0", "--idle", &peers.to_string()];
    let (mut predecessor_bytes, mut successor_bytes) = (Vec::new(), Vec::new());
    let (mut reactord_us, mut bare_us, mut idle_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("takeover");
        let server = Server::reactord(&path)?;
        let empty = server.resident_bytes()?;
        let mut client = Client::begin(server.address(), &load)?;
        client.wait_until_open()?;
        reactord_us.push(server.processor_ns()? as f64 / 1000.0 / peers as f64);
        predecessor_bytes.push((server.resident_bytes()? - empty) as f64 / peers as f64);

        let before = server.processor_ns()?;
        // A measurement of doing nothing takes its time.
        std::thread::sleep(Duration::from_secs(1));
        idle_us.push((server.processor_ns()? - before) as f64 / 1000.0);

        let (successor, _) = server.taken_over(&path)?;
        successor_bytes.push((successor.resident_bytes()? - empty) as f64 / peers as f64);
        client.interrupt();
        client.report()?;
        drop(successor);

        let bare = Server::start(Command::new(std::env::current_exe()?).arg("--bare"))?;
        let mut client = Client::begin(bare.address(), &load)?;
        client.wait_until_open()?;
        bare_us.push(bare.processor_ns()? as f64 / 1000.0 / peers as f64);
    }
    println!("{peers} idle peers, medians of {} rounds", arguments.rounds);
    println!("resident memory for each peer      {:>9.0} bytes", median(predecessor_bytes));
    println!("the same in the successor          {:>9.0} bytes", median(successor_bytes));
    println!("processor time in one second       {:>9.0} us", median(idle_us));
    let ratios = reactord_us.iter().zip(&bare_us).map(|(reactord, bare)| reactord / bare).collect();
    println!("processor time to accept one       {:>9.2} us", median(reactord_us));
    println!("the same of a bare loop            {:>9.2} us", median(bare_us));
    println!("ratio                              {:>9.3}", median(ratios));
    Ok(())
}
