//! A service whose saved sessions have changed, in four releases of which each takes over from its neighbours, upwards
//! and back.
//!
//! | release | saves | restores | |
//! | --- | --- | --- | --- |
//! | 1 | 1 | 1 | knows nothing else |
//! | 2 | 1 | 1 and 2 | reads what is to come |
//! | 3 | 2 | 1 and 2 | saves it |
//! | 4 | 2 | 2 | has forgotten what was |
//!
//! A release that changed both at once would be a step that nobody can go back: the one before could not restore what
//! it saves. What a successor cannot restore it is refused up front.
//!
//! Peers send numbers of 4 bytes, each one more than the last, and have them echoed. In one terminal, start release 2,
//! and in another, let release 3 take over:
//!
//! ```sh
//! cargo run --example versions -- 2 127.0.0.1:1234 /tmp/versions.takeover
//! cargo run --example versions -- 3 /tmp/versions.takeover
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
use std::path::Path;
use std::process::ExitCode;

use reactord::{Config, Context, Listen, Outcome, RestoreError, Server, Service, Violation};
use simple_logger::SimpleLogger;

/// A release that saves sessions in one version and restores those of a range.
struct Numbers<const SAVED: u32, const OLDEST: u32, const NEWEST: u32>;

/// What is known of a peer.
struct Numbered {
    /// The number that came last.
    last: u32,
    /// How many came. Version 1 does not save it.
    count: u64,
}

impl<const SAVED: u32, const OLDEST: u32, const NEWEST: u32> Service for Numbers<SAVED, OLDEST, NEWEST> {
    type Session = Option<Numbered>;
    const NAME: &'static str = "numbers";
    const STATE_VERSION: u32 = SAVED;
    const STATE_VERSION_OLDEST: u32 = OLDEST;
    const STATE_VERSION_NEWEST: u32 = NEWEST;
    const MESSAGE_BYTES_MAX: usize = 4;

    fn open(&mut self, _: &mut Context<'_, Self>) -> Option<Numbered> {
        None
    }

    fn boundary(&self, _: &mut Option<Numbered>, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok((input.len() >= 4).then_some(4))
    }

    fn message(
        &mut self,
        numbered: &mut Option<Numbered>,
        message: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        let number = u32::from_be_bytes(message.try_into().expect("the boundary is after 4 bytes"));
        let numbered = match numbered {
            None => numbered.insert(Numbered { last: number, count: 0 }),
            Some(Numbered { last, .. }) if number != last.wrapping_add(1) => {
                return Err(Violation::new(format!("{number} came after {last}")));
            }
            Some(numbered) => numbered,
        };
        numbered.last = number;
        numbered.count += 1;
        context.reply(message);
        Ok(())
    }

    fn save_session(&self, numbered: &Option<Numbered>, record: &mut Vec<u8>) {
        if let Some(Numbered { last, count }) = numbered {
            record.extend(last.to_be_bytes());
            if SAVED >= 2 {
                record.extend(count.to_be_bytes());
            }
        }
    }

    fn restore_session(&self, version: u32, record: &[u8]) -> Result<Option<Numbered>, RestoreError> {
        if record.is_empty() {
            return Ok(None);
        }
        let unfit =
            || RestoreError::new(format!("a session of version {version} does not have {} bytes", record.len()));
        let (last, rest) = record.split_first_chunk().ok_or_else(unfit)?;
        let count = match version {
            1 if rest.is_empty() => 0,
            2 => u64::from_be_bytes(rest.try_into().map_err(|_| unfit())?),
            _ => return Err(unfit()),
        };
        Ok(Some(Numbered { last: u32::from_be_bytes(*last), count }))
    }
}

fn run(service: impl Service, address: Option<&str>, path: &Path) -> Result<Outcome, Box<dyn std::error::Error>> {
    let Some(address) = address else {
        return Ok(Server::new(Config::default()).service([], service).take_over(path)?);
    };
    let config = Config { takeover_path: Some(path.into()), ..Config::default() };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let listener = Listen::on("clients", address);
    Ok(Server::new(config).service([listener], service).serve()?)
}

pub(crate) fn main() -> ExitCode {
    match run_release() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_release() -> Result<Outcome, Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (release, address, path) = match arguments.as_slice() {
        [release, address, path] => (release, Some(address.as_str()), path.as_ref()),
        [release, path] => (release, None, path.as_ref()),
        _ => return Err("usage: versions RELEASE ADDR:PORT PATH to serve, versions RELEASE PATH to take over".into()),
    };
    match release.as_str() {
        "1" => run(Numbers::<1, 1, 1>, address, path),
        "2" => run(Numbers::<1, 1, 2>, address, path),
        "3" => run(Numbers::<2, 1, 2>, address, path),
        "4" => run(Numbers::<2, 2, 2>, address, path),
        _ => Err("there are releases 1 to 4".into()),
    }
}
