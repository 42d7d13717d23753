//! The load and soak client of reactord.
//!
//! It sends consecutive sequence numbers on many connections at once and verifies that every one of them comes back,
//! once and in order, whatever happens to the server process meanwhile. Its exit code is the verdict.
//!
//! - [`options`]: the command line.
//! - [`connect`]: opens all connections before the load starts.
//! - [`load`]: the event loop; the only place that reads, writes and waits.
//! - [`connection`]: what was sent and what is expected on one connection; knows no sockets.
//! - [`schedule`]: when which connection is to act; knows no clocks.
//! - [`wakeups`]: what wakes the loop besides sockets.
//! - [`report`]: the figures, and the verdict.

mod connect;
mod connection;
mod load;
mod options;
mod report;
mod schedule;
mod wakeups;

use std::process::ExitCode;

use log::{LevelFilter, error};
use reactord_cli::{arguments, logger, say};

use crate::load::Error;
use crate::options::{Arguments, Options};

const PROGRAM: &str = "reactord-client";

/// The exit code when anything was lost, out of order, or could not be connected.
const EXIT_LOSS: u8 = 1;

fn main() -> ExitCode {
    let arguments: Arguments = match arguments::parse(PROGRAM) {
        Ok(arguments) => arguments,
        Err(exit_code) => return exit_code,
    };
    if arguments.version {
        say(&format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let options = match Options::try_from(arguments) {
        Ok(options) => options,
        Err(message) => return arguments::usage_error(PROGRAM, &message),
    };
    logger::init(if options.verbose { LevelFilter::Debug } else { LevelFilter::Info });

    match load::run(&options) {
        Ok(report) => {
            say(&report.to_string());
            if report.everything_came_back() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_LOSS) }
        }
        Err(error @ Error::TooManyConnections { .. }) => arguments::usage_error(PROGRAM, &error.to_string()),
        Err(error) => {
            error!("{error}");
            ExitCode::from(EXIT_LOSS)
        }
    }
}
