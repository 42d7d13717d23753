//! What TLS costs: beside the same server with rustls' own connections, and beside HAProxy and nginx, which have OpenSSL's.
//!
//! ```sh
//! apt install haproxy nginx-light libnginx-mod-stream
//! cargo build --release --workspace && cargo bench --bench tls
//! ```
//!
//! **echo**: messages that come back, one at a time on each of 50 connections. The server is the library with a service of
//! three lines that sends back what comes, once with a listener that speaks TLS, and once with one that does not and a
//! service that does, by rustls' own connections: so all is the same but the connections. `reactord-proxy`, HAProxy and
//! nginx end TLS in front of a bare echo loop. Each server has one thread, on the first processor; the clients, and the echo loop behind a
//! proxy, have the other one, are busier than the server, and open and check every byte. So the processor time of the
//! server is what tells.
//!
//! **memory**: what each idle connection takes of those after the first 5,000, with TLS and without.
//!
//! **handshakes**: of clients that verify the certificate, say a word, hear it back, and leave. First as many as go, to tell
//! what each costs on either side; then a thousand a second, while one successor after another takes over.
//!
//! **pauses**: of takeovers of two servers in turns, with as many idle peers each, of which those of one speak TLS.
//!
//! All is interleaved, and figures are medians over the rounds; a ratio is the median of the ratios of each round. Nothing is
//! waited for without an end, and no round of a part begins after some minutes. The certificate is of ECDSA, on P-256.

mod certificate;
mod clients;
mod contestants;
mod echo;
mod handshakes;
mod memory;
mod pauses;
mod services;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
#[path = "../rig/mod.rs"]
mod rig;

use std::io::{Error, Result};

use argh::FromArgs;
use certificate::Certificate;
use rig::rounds;

/// Measures TLS.
#[derive(FromArgs)]
struct Arguments {
    /// only this part: echo, memory, handshakes or pauses (default: all)
    #[argh(option, default = "String::new()")]
    part: String,
    /// rounds of echo and of memory (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// minutes after which no round of a part begins (default: 3)
    #[argh(option, default = "3.0")]
    minutes: f64,
    /// seconds of each server in each round of echo (default: 2)
    #[argh(option, default = "2")]
    seconds: u64,
    /// idle connections whose memory is measured, with the first 5,000 (default: 9000)
    #[argh(option, default = "9000")]
    idle: usize,
    /// seconds of handshakes while takeovers run (default: 10)
    #[argh(option, default = "10")]
    handshake_seconds: u64,
    /// peers of each server whose takeovers are measured (default: 15000)
    #[argh(option, default = "15000")]
    peers: usize,
    /// takeovers of each of them (default: 40)
    #[argh(option, default = "40")]
    takeovers: usize,
    /// be a server that is measured: bare, plain, tls or rustls
    #[argh(option)]
    serve: Option<String>,
    /// the directory with that server's certificate
    #[argh(option)]
    certificate: Option<String>,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments: Arguments = argh::from_env();
    rig::raise_limit();
    if let Some(role) = &arguments.serve {
        return services::serve(role, arguments.certificate.as_deref());
    }
    let (certificate, half) = (Certificate::new()?, arguments.minutes / 2.0);
    let parts: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("echo", &|| echo::measure(&certificate, &|| rounds(arguments.rounds, half), arguments.seconds)),
        ("memory", &|| memory::measure(&certificate, rounds(arguments.rounds, arguments.minutes), arguments.idle)),
        ("handshakes", &|| handshakes::measure(&certificate, arguments.handshake_seconds)),
        ("pauses", &|| pauses::measure(&certificate, arguments.peers, rounds(arguments.takeovers, arguments.minutes))),
    ];
    let chosen = parts.into_iter().filter(|(name, _)| arguments.part.is_empty() || *name == arguments.part);
    let mut done = 0;
    for (name, measure) in chosen {
        println!("\n{name}");
        if let Err(error) = measure() {
            println!("{name} has not come to the end: {error}");
        }
        done += 1;
    }
    if done == 0 { Err(Error::other(format!("{} is no part", arguments.part))) } else { Ok(()) }
}
