//! The daemon `reactord`: a command line, a server, an exit code.

mod options;

use std::process::ExitCode;

use log::error;
use options::{BuiltIn, Command};
use reactord::service::{Line, Seqnum};
use reactord::{Config, Error, Offer, Outcome, Successor, serve};

/// The exit code for a server that could not serve.
const EXIT_SERVE: u8 = 1;

/// The exit code for a takeover that failed; the predecessor goes on serving.
const EXIT_TAKEOVER: u8 = 3;

fn main() -> ExitCode {
    let (command, level) = match options::parse() {
        Ok(parsed) => parsed,
        Err(exit_code) => return exit_code,
    };
    reactord_cli::logger::init(level);
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(if matches!(error, Error::Takeover(_)) { EXIT_TAKEOVER } else { EXIT_SERVE })
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    let outcome = match command {
        Command::Version => {
            reactord_cli::say(concat!("reactord ", env!("CARGO_PKG_VERSION"), "\n"));
            return Ok(());
        }
        Command::Serve { service: BuiltIn::Seqnum, config } => serve(Seqnum, &config)?,
        Command::Serve { service: BuiltIn::Line, config } => serve(Line, &config)?,
        Command::TakeOver { path, services, config } => {
            let offers: Vec<Offer> = services.into_iter().map(offer).collect();
            take_over(Successor::call(&path, &offers).map_err(Error::Takeover)?, &config)?
        }
    };
    match outcome {
        Outcome::Stopped | Outcome::HandedOver { .. } => Ok(()),
    }
}

fn offer(service: BuiltIn) -> Offer {
    match service {
        BuiltIn::Seqnum => Offer::of::<Seqnum>(),
        BuiltIn::Line => Offer::of::<Line>(),
    }
}

fn take_over(successor: Successor, config: &Config) -> Result<Outcome, Error> {
    match BuiltIn::from_name(successor.service()).expect("the predecessor chooses from what is offered") {
        BuiltIn::Seqnum => successor.take_over(Seqnum, config),
        BuiltIn::Line => successor.take_over(Line, config),
    }
}
