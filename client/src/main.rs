//! The load and soak client of reactord.
//!
//! It sends consecutive sequence numbers on many connections at once and verifies that every one of them comes back,
//! once and in order, whatever happens to the server process meanwhile. Its exit code is the verdict.
//!
//! - [`options`]: the command line. [`values`]: what its options take.
//! - [`soak`]: servers of our own, replaced again and again under load, or giving each other connections.
//! - [`course`]: a load from its beginning to its end. [`load`]: the event loop; the only place that waits.
//! - [`connect`]: opens all connections before the load starts.
//! - [`endpoint`]: one open connection, and its turns.
//! - [`stream`]: its socket, and the TLS on it; the only place that reads and writes. [`tls`]: what that is spoken with.
//!   [`nonces`]: whether a server shows one twice.
//! - [`connection`]: what was sent and what is expected on one connection; knows no sockets.
//! - [`schedule`]: when which connection is to act; knows no clocks.
//! - [`wakeups`]: what wakes the loop besides sockets.
//! - [`demand`]: which connections there are, and what they do.
//! - [`tally`]: what outlives a connection.
//! - [`timeline`]: round trips in the order of time; knows no clocks.
//! - [`report`]: the figures, and the verdict. [`mod@error`]: why there are none.
//! - [`address`]: how an address is written.

mod address;
mod connect;
mod connection;
mod course;
mod demand;
mod endpoint;
mod error;
mod load;
mod nonces;
mod options;
mod report;
mod schedule;
mod soak;
mod stream;
mod tally;
mod timeline;
mod tls;
mod values;
mod wakeups;

use std::process::ExitCode;

use log::{LevelFilter, error};
use reactord_cli::logger::{self, Format};
use reactord_cli::{arguments, say};

use crate::error::Error;
use crate::options::{Arguments, Command, Options};

const PROGRAM: &str = "reactord-client";

/// The program and its subcommand, as who has got that wrong is sent to its help.
const SOAK: &str = "reactord-client soak";

/// The exit code when anything was lost, out of order, or could not be connected.
const EXIT_LOSS: u8 = 1;

fn main() -> ExitCode {
    let soaks = std::env::args_os().nth(1).is_some_and(|first| first == "soak");
    let arguments: Arguments = match arguments::parse(if soaks { SOAK } else { PROGRAM }) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    if arguments.version {
        say(&format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Soak(soak)) = arguments.command {
        return match options::nothing_before_subcommand().and_then(|()| soak.try_into()) {
            Ok(options) => run_soak(&options),
            Err(message) => arguments::usage_error(if soaks { SOAK } else { PROGRAM }, &message),
        };
    }
    let options = match Options::try_from(arguments) {
        Ok(options) => options,
        Err(message) => return arguments::usage_error(PROGRAM, &message),
    };
    start_logging(options.verbose);

    match course::run(&options) {
        Ok(report) => {
            say(&report.to_string());
            verdict(report.everything_came_back())
        }
        Err(error) => failure(PROGRAM, &error),
    }
}

fn run_soak(options: &soak::options::Options) -> ExitCode {
    start_logging(options.verbose);
    if let Err(message) = soak::files::check(options) {
        error!("{message}");
        return verdict(false);
    }
    match soak::run(options) {
        Ok(outcome) => {
            say(&outcome.to_string());
            match soak::files::write(&outcome) {
                Ok(()) => verdict(outcome.is_good()),
                Err(message) => {
                    error!("{message}");
                    verdict(false)
                }
            }
        }
        Err(error) => failure(SOAK, &error),
    }
}

fn start_logging(verbose: bool) {
    logger::init(if verbose { LevelFilter::Debug } else { LevelFilter::Info }, Format::Text);
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_LOSS) }
}

/// What to leave with when there are no figures.
fn failure(program: &str, error: &Error) -> ExitCode {
    if let Error::TooManyConnections { .. } = error {
        return arguments::usage_error(program, &error.to_string());
    }
    error!("{error}");
    verdict(false)
}
