//! A server that outlives its own death: another process follows it, and serves on where it was.
//!
//! A client sends names, a line each, and is answered how often that name was sent so far. The line `crash` is what a bug in a
//! service would be.
//!
//! ```sh
//! cargo run --example survivor -- 127.0.0.1:1234 /tmp/survivor.takeover
//! nc 127.0.0.1 1234            # type: Ada
//! ```
//!
//! Kill the server as hard as can be (its log says its pid), and go on in the same `nc`:
//!
//! ```sh
//! kill -9 …
//! ```
//!
//! `Ada` is answered with one more, by another process, which has started the next one to follow it. Type `crash` in a second
//! `nc`: two processes die of it, that client is closed, and the first one notices nothing.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! log = "0.4"
//! memchr = "2"
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

use std::net::SocketAddr;

use reactord::{
    Config, Context, Entries, Inheritance, Keyed, Listen, Program, RestoreError, Server, Service, Violation,
};
use simple_logger::SimpleLogger;

/// How often each name was sent. A standby is told what has changed before anybody is answered.
#[derive(Default)]
struct Guests {
    visits: Keyed<String, u64>,
}

impl Service for Guests {
    type Session = ();
    const NAME: &'static str = "guests";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, _: &mut Context<'_, Self>) {}

    fn boundary(&self, (): &mut (), input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        Ok(memchr::memchr(b'\n', &input[searched..]).map(|newline| searched + newline + 1))
    }

    fn message(&mut self, (): &mut (), line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        let name = String::from_utf8_lossy(line).trim_end().to_owned();
        if name == "crash" {
            // As a panic does with `panic = "abort"`, and as memory does that is written to by mistake.
            std::process::abort();
        }
        let visits = self.visits.get_or_insert_with(name.clone(), || 0);
        *visits += 1;
        context.reply(format!("{name} {visits}\n").as_bytes());
        Ok(())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(&mut self.visits as &mut dyn Entries)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path] = arguments.as_slice() else { return Err("usage: survivor ADDR:PORT PATH".into()) };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    // What follows this process is this program again, with the same arguments; it is told that it follows by its environment.
    let standby = Some(Program { is_heard: false, ..Program::of_this_process() });
    let config = Config { takeover_path: Some(path.into()), standby, ..Config::default() };
    let outcome = match Inheritance::from_environment().filter(Inheritance::follows) {
        Some(followed) => Server::new(config).service([], Guests::default()).follow(followed.path())?,
        None => Server::new(config).service([Listen::on("guests", address)], Guests::default()).serve()?,
    };
    log::info!("{outcome:?}");
    Ok(())
}
