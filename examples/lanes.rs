//! Two services in one server, with listeners on TCP ports and Unix sockets, replaced in one takeover.
//!
//! ```sh
//! cargo run --example lanes -- /tmp/lanes.takeover numbers:tcp:127.0.0.1:1234 lines:tcp:127.0.0.1:1235
//! ```
//!
//! Its successor gives the lines a Unix socket instead, and keeps the port of the numbers:
//!
//! ```sh
//! cargo run --example lanes -- -T /tmp/lanes.takeover numbers:tcp:127.0.0.1:1234 lines:unix:/tmp/lines.socket
//! ```
//!
//! A service that is given no listener has those that its predecessor has.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! log = "0.4"
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use reactord::services::{Line, Seqnum};
use reactord::{Config, Listen, Outcome, Server};
use simple_logger::SimpleLogger;

/// The listeners in `arguments` that are for this service.
fn listeners(service: &str, arguments: &[String]) -> Result<Vec<Listen>, Box<dyn Error>> {
    let mut listeners = Vec::new();
    for argument in arguments {
        match argument.splitn(3, ':').collect::<Vec<_>>()[..] {
            [of, "tcp", address] if of == service => {
                let address: SocketAddr = address.parse().map_err(|error| format!("{argument}: {error}"))?;
                listeners.push(Listen::on(argument, address));
            }
            [of, "unix", path] if of == service => listeners.push(Listen::on(argument, PathBuf::from(path))),
            ["numbers" | "lines", "tcp" | "unix", _] => {}
            _ => return Err(format!("{argument} is not {{numbers,lines}}:{{tcp:ADDR:PORT,unix:PATH}}").into()),
        }
    }
    Ok(listeners)
}

fn main() -> ExitCode {
    match run() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Outcome, Box<dyn Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let takes_over = arguments.first().is_some_and(|argument| argument == "-T");
    arguments.drain(..usize::from(takes_over));
    let [path, rest @ ..] = &*arguments else { return Err("usage: lanes [-T] PATH [LISTENER]...".into()) };
    let takeover_path = (!takes_over).then(|| path.into());
    let server = Server::new(Config { takeover_path, ..Config::default() })
        .service(listeners("numbers", rest)?, Seqnum)
        .service(listeners("lines", rest)?, Line::default());
    Ok(if takes_over { server.take_over(path.as_ref())? } else { server.serve()? })
}
