//! A TCP proxy in 60 lines: whoever connects is connected on.
//!
//! In one terminal, start something to talk to and a proxy before it, and in another, talk (`python3`, `nc` and `curl` are
//! in every distribution):
//!
//! ```sh
//! python3 -m http.server 8000 --bind 127.0.0.1 &
//! cargo run --example forward -- 127.0.0.1:8080 127.0.0.1:8000 /tmp/forward.takeover
//! curl http://127.0.0.1:8080/
//! nc 127.0.0.1 8080        # a connection that lasts
//! ```
//!
//! In a third, replace it. From then on, it leads elsewhere; those who are connected stay where they are, and type on:
//!
//! ```sh
//! cargo run --example forward -- 127.0.0.1:8001 /tmp/forward.takeover
//! ```
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! log = "0.4"
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use log::warn;
use reactord::{Accepted, Closed, Config, Connect, Context, Listen, RestoreError, Server, StreamService, Violation};
use simple_logger::SimpleLogger;

/// Who says nothing in either direction for so long is gone.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// Where all connections lead.
struct Forward {
    to: SocketAddr,
}

impl Forward {
    /// Connects a client on. Nothing is read from it before that connection stands.
    fn connect(&self, context: &mut Context<'_, Self>) -> std::io::Result<()> {
        let server = context.connect(&Connect::to_tcp(self.to), ()).map_err(|((), error)| error)?;
        context.join(context.peer(), server, Some(IDLE_MAX)).map_err(std::io::Error::other)
    }
}

impl StreamService for Forward {
    type Session = ();
    const NAME: &'static str = "forward";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
        if let Err(error) = self.connect(context) {
            warn!("{}: {error}", self.to);
            context.abort(context.peer());
        }
    }

    /// Joined peers do not come here.
    fn input(&mut self, (): &mut (), _: &[u8], _: usize, _: &mut Context<'_, Self>) -> Result<usize, Violation> {
        Ok(0)
    }

    fn closed(&mut self, (): (), how: &Closed, _: &mut Context<'_, Self>) {
        if let Closed::Unreachable(error) = how {
            warn!("{}: {error}", self.to);
        }
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [at, to, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let listener = Listen::on("clients", address(at)?);
            Server::new(config).service([listener], Forward { to: address(to)? }).serve()?;
        }
        [to, path] => {
            let server = Server::new(Config::default()).service([], Forward { to: address(to)? });
            server.take_over(path.as_ref())?;
        }
        _ => return Err("usage: forward ADDR:PORT TO:PORT PATH to serve, forward TO:PORT PATH to take over".into()),
    }
    Ok(())
}
