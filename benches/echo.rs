//! How fast `reactord` echoes, beside a bare echo loop on mio.
//!
//! ```sh
//! cargo build --release --workspace && cargo bench --bench echo -- --rounds 3 --seconds 10 --connections 100
//! ```
//!
//! Both servers are processes of their own, and both are asked by the same client, `reactord-client --rate max`: each
//! connection has one message in flight. The rounds are interleaved, so that a machine whose speed drifts is unfair to
//! neither. The table gives each round, and the median of the ratios. The bare loop does what any echo server must
//! and nothing else: no messages, no back-pressure, no time-outs, no takeover.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;

use argh::FromArgs;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

mod rig;

use rig::{Client, Server};

/// Compares reactord with a bare echo loop on mio.
#[derive(FromArgs)]
struct Arguments {
    /// rounds of both servers (default: 3)
    #[argh(option, default = "3")]
    rounds: u32,
    /// seconds of load in each round (default: 10)
    #[argh(option, default = "10")]
    seconds: u32,
    /// connections (default: 100)
    #[argh(option, default = "100")]
    connections: u32,
    /// messages in flight on each connection (default: 1)
    #[argh(option, default = "1")]
    depth: u32,
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
    if arguments.bare { bare_loop() } else { compare(&arguments) }
}

/// Runs both servers in turn, and prints what the client says.
fn compare(arguments: &Arguments) -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    println!(
        "{} connections, depth {}, {} s a round: messages a second",
        arguments.connections, arguments.depth, arguments.seconds
    );
    println!("{:>5} {:>10} {:>10} {:>7}", "round", "reactord", "bare loop", "ratio");
    let mut ratios = Vec::new();
    for round in 1..=arguments.rounds {
        let reactord = measure(&Server::reactord(&path)?, arguments)?;
        let bare = measure(&Server::start(Command::new(std::env::current_exe()?).arg("--bare"))?, arguments)?;
        println!("{round:>5} {reactord:>10.0} {bare:>10.0} {:>7.3}", reactord / bare);
        ratios.push(reactord / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of the ratios: {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}

/// Messages a second that the client gets answered by `server`. Every one of them is checked.
fn measure(server: &Server, arguments: &Arguments) -> std::io::Result<f64> {
    let (connections, depth) = (arguments.connections.to_string(), arguments.depth.to_string());
    let (rate, duration) = (["--rate", "max"], arguments.seconds.to_string());
    let load = [&["-n", &connections, "--depth", &depth, "--duration", &duration], &rate[..]].concat();
    let report = Client::begin(server.address(), &load)?.report()?;
    let figure = report.lines().find_map(|line| line.strip_prefix("messages a second"));
    Ok(figure.and_then(|figure| figure.trim().parse().ok()).expect("the report gives messages a second"))
}

/// An echo server with nothing around it.
fn bare_loop() -> std::io::Result<()> {
    const LISTENER: Token = Token(usize::MAX);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    eprintln!("listening on {}", listener.local_addr()?);
    let mut connections: HashMap<Token, TcpStream> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                while let Ok((mut connection, _)) = listener.accept() {
                    connection.set_nodelay(true)?;
                    poll.registry().register(&mut connection, Token(next), Interest::READABLE)?;
                    connections.insert(Token(next), connection);
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&token)
                && !echo(connection, &mut buffer, event.is_read_closed())
            {
                connections.remove(&token);
            }
        }
    }
}

/// Echoes what is there, and says whether the connection goes on. A short read has read everything, unless the client has
/// stopped sending (epoll(7)).
fn echo(connection: &mut TcpStream, buffer: &mut [u8], read_closed: bool) -> bool {
    loop {
        match connection.read(buffer) {
            Ok(0) => return false,
            Ok(bytes) => {
                if connection.write_all(&buffer[..bytes]).is_err() {
                    return false;
                }
                if bytes < buffer.len() && !read_closed {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
