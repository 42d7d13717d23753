//! How long a client waits whose server is killed, if that has a standby.
//!
//! ```sh
//! cargo build --release && cargo bench --bench death -- --peers 9000
//! ```
//!
//! All peers but one are silent. That one asks something as soon as the server is killed with SIGKILL, and its answer comes from the
//! standby. Then it is waited until the next one is armed, and a bit, and that server is killed, too.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use argh::FromArgs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Server, median, raise_limit};

/// So long after the standby is armed, nothing is left to be done about the death before.
const SETTLED: Duration = Duration::from_millis(400);

/// A message without bytes, and its echo.
const MESSAGE: [u8; 4] = 0_u32.to_be_bytes();

/// Measures how long nobody answers after a death.
#[derive(FromArgs)]
struct Arguments {
    /// how many peers (default: 100, 2000, 9000 and 19000)
    #[argh(option)]
    peers: Vec<usize>,
    /// how often the server is killed (default: 25)
    #[argh(option, default = "25")]
    kills: usize,
    /// another build of `reactord` that is killed in turn with this one
    #[argh(option)]
    beside: Option<PathBuf>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> io::Result<()> {
    let mut arguments: Arguments = argh::from_env();
    raise_limit();
    if arguments.peers.is_empty() {
        arguments.peers = vec![100, 2000, 9000, 19_000];
    }
    println!("{} kills each; from the kill on, in ms", arguments.kills);
    println!("{:>6} | {:>21} | {:>21} | {:>21}", "", "nobody served", "until the answer", "until armed again");
    println!("{:>6} | {:>10} {:>10} | {:>10} {:>10} | {:>10} {:>10}", "peers", "median", "worst", "", "", "", "");
    let this = PathBuf::from(env!("CARGO_BIN_EXE_reactord"));
    for &peers in &arguments.peers {
        for executable in [Some(&this), arguments.beside.as_ref()].into_iter().flatten() {
            let Deaths { unserved, unanswered, unguarded } = measure(executable, peers, arguments.kills)?;
            print!("{peers:>6}");
            for times in [unserved, unanswered, unguarded] {
                let worst = times.iter().copied().fold(0.0, f64::max);
                print!(" | {:>10.2} {worst:>10.2}", median(times));
            }
            println!("{}", if *executable == this { "" } else { "  the other build" });
        }
    }
    Ok(())
}

/// How long each death was felt, in ms.
#[derive(Default)]
struct Deaths {
    /// From when it was noticed, as the log says.
    unserved: Vec<f64>,
    unanswered: Vec<f64>,
    unguarded: Vec<f64>,
}

fn measure(executable: &PathBuf, peers: usize, kills: usize) -> io::Result<Deaths> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(executable);
    command.args(["--listen-port", "0", "--standby", "--takeover-path"]).arg(directory.path().join("takeover"));
    let mut server = Server::start(&mut command)?;
    let mut serving = server.pid();
    let mut standby = server.standby()?;
    let mut clients = connect(&server, peers)?;
    let mut deaths = Deaths::default();
    for number in 0..kills {
        std::thread::sleep(SETTLED);
        let client = &mut clients[number % peers];
        let killed_at = Instant::now();
        kill(Pid::from_raw(serving.cast_signed()), Signal::SIGKILL)?;
        client.write_all(&MESSAGE)?;
        client.read_exact(&mut [0; MESSAGE.len()])?;
        deaths.unanswered.push(1000.0 * killed_at.elapsed().as_secs_f64());
        let said = server.line("has died")?;
        let unserved_us =
            said.split_once("nobody served for ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let unserved_us: f64 = unserved_us.ok_or_else(|| io::Error::other(format!("no time in {said:?}")))?;
        deaths.unserved.push(unserved_us / 1000.0);
        serving = standby;
        standby = server.standby()?;
        deaths.unguarded.push(1000.0 * killed_at.elapsed().as_secs_f64());
    }
    // Its standby would serve on if it were killed.
    kill(Pid::from_raw(serving.cast_signed()), Signal::SIGTERM)?;
    server.line("is dismissed")?;
    Ok(deaths)
}

/// The peers, each of whom has said something once.
fn connect(server: &Server, peers: usize) -> io::Result<Vec<TcpStream>> {
    let mut clients = server.clients(peers)?;
    for client in &mut clients {
        client.set_nodelay(true)?;
        client.write_all(&MESSAGE)?;
        client.read_exact(&mut [0; MESSAGE.len()])?;
    }
    Ok(clients)
}
