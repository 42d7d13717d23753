//! The daemon `reactord`: a command line, a server, an exit code.

mod afterwards;
mod beginning;
mod commands;
mod exit;
mod fleet;
mod options;
mod reporting;

use std::path::Path;
use std::process::ExitCode;

use afterwards::Afterwards;
use beginning::{call, serve};
use exit::{EXIT_SERVE, EXIT_TAKEOVER};
use log::error;
use options::{BuiltIn, Command};
#[cfg(feature = "fault-points")]
use reactord::services::{Counted, Relayed};
use reactord::services::{Line, Seqnum};
use reactord::worker::Queue;
use reactord::{Config, Error, Offer, Outcome, Server, StreamService, Successor, With};
use reactord_supervisor::{NotServing, become_worker, is_stage};
use reporting::server;

fn main() -> ExitCode {
    if is_stage() {
        return ExitCode::from(become_worker());
    }
    let (command, level, afterwards) = match options::parse() {
        Ok(parsed) => parsed,
        Err(exit_code) => return exit_code,
    };
    reactord_cli::logger::init(level);
    match run(command, afterwards) {
        Ok(exit_code) => exit_code,
        Err(Failure { reason, exit_code }) => {
            error!("{reason}");
            ExitCode::from(exit_code)
        }
    }
}

/// Why the process cannot go on, and how it exits.
struct Failure {
    reason: String,
    exit_code: u8,
}

impl Failure {
    fn signals(error: std::io::Error) -> Self {
        Self { reason: format!("signals: {error}"), exit_code: EXIT_SERVE }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit_code = if matches!(error, Error::Takeover(_)) { EXIT_TAKEOVER } else { EXIT_SERVE };
        Self { reason: error.to_string(), exit_code }
    }
}

impl From<NotServing> for Failure {
    fn from(NotServing { reason, exit_code }: NotServing) -> Self {
        Self { reason, exit_code }
    }
}

fn run(command: Command, afterwards: Afterwards) -> Result<ExitCode, Failure> {
    let path = command.answers_on().map(Path::to_owned);
    let afterwards = path.map(|path| afterwards.prepare(path)).transpose().map_err(Failure::signals)?;
    let outcome = match command {
        Command::Version => {
            reactord_cli::say(concat!("reactord ", env!("CARGO_PKG_VERSION"), "\n"));
            return Ok(ExitCode::SUCCESS);
        }
        Command::Supervise(daemon) => return Ok(ExitCode::from(daemon.run()?)),
        Command::Move(request) => return Ok(commands::move_and_say(request)),
        Command::Reload(reload) => return Ok(fleet::reload_and_say(&reload.path)),
        Command::Status(status) => {
            return Ok(fleet::say_status(&status).unwrap_or_else(|| commands::say_status(&status)));
        }
        Command::Upgrade(upgrade) => return Ok(commands::upgrade_and_say(&upgrade)),
        Command::Check(check) => return Ok(commands::check_and_say(&check, &offers_of(BuiltIn::ALL))),
        Command::Wait { services, steals, config } => wait(&services, steals, config)?,
        Command::Serve { service: BuiltIn::Seqnum, listen, begins, config, .. } => {
            serve(&config, &begins, |config| server(config).service(listen.clone(), Seqnum))?
        }
        Command::Serve { service: BuiltIn::Line, listen, steals, begins, config } => {
            serve(&config, &begins, |config| server(config).service(listen.clone(), line(steals)))?
        }
        Command::Work { service: BuiltIn::Seqnum, config } => alone(Seqnum, config).work(inherit()?)?,
        Command::Work { service: BuiltIn::Line, config } => alone(Line::default(), config).work(inherit()?)?,
        #[cfg(feature = "fault-points")]
        Command::Serve { service: BuiltIn::Counted, listen, begins, config, .. } => {
            let beside = reactord::Listen::on(Relayed::NAME, std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
            serve(&config, &begins, |config| {
                let server = server(config).service(listen.clone(), Counted::default());
                server.service([beside.clone()], Relayed)
            })?
        }
        #[cfg(feature = "fault-points")]
        Command::Work { service: BuiltIn::Counted, config } => alone(Counted::default(), config).work(inherit()?)?,
        Command::TakeOver { from, services, is_worker, config } => {
            let queue = is_worker.then(inherit).transpose()?;
            let successor = call(&from, &offers_of(&services)).map_err(Error::Takeover)?;
            take_over(queue.into_iter().fold(successor, Successor::with_queue), config)?
        }
    };
    // A worker's supervisor sees to what comes next.
    Ok(ExitCode::from(afterwards.map_or(0, |afterwards| afterwards.end(outcome))))
}

fn inherit() -> Result<Queue, Error> {
    Ok(Queue::inherit()?)
}

fn offers_of(services: &[BuiltIn]) -> Vec<Offer> {
    services.iter().copied().flat_map(offers).collect()
}

fn offers(service: BuiltIn) -> Vec<Offer> {
    match service {
        BuiltIn::Seqnum => vec![Offer::of::<Seqnum>()],
        BuiltIn::Line => vec![Offer::of::<Line>()],
        #[cfg(feature = "fault-points")]
        BuiltIn::Counted => vec![Offer::of::<Counted>(), Offer::of::<Relayed>()],
    }
}

/// A server that does not listen, or listens where its predecessor does.
fn alone<S: StreamService>(service: S, config: Config) -> Server<With<S, ()>> {
    server(config).service([], service)
}

fn line(steals: bool) -> Line {
    if steals { Line::stealing() } else { Line::default() }
}

/// Serves those whom another server gives away.
fn wait(services: &[BuiltIn], steals: bool, config: Config) -> Result<Outcome, Error> {
    #[cfg(feature = "fault-points")]
    if services == [BuiltIn::Counted] {
        return alone(Counted::default(), config).serve();
    }
    match services {
        [BuiltIn::Seqnum] => alone(Seqnum, config).serve(),
        [BuiltIn::Line] => alone(line(steals), config).serve(),
        _ => alone(Seqnum, config).service([], line(steals)).serve(),
    }
}

/// Runs what the predecessor does.
fn take_over(successor: Successor, config: Config) -> Result<Outcome, Error> {
    let runs = |one: BuiltIn| successor.services().any(|service| service == one.name());
    #[cfg(feature = "fault-points")]
    if runs(BuiltIn::Counted) {
        return alone(Counted::default(), config).service([], Relayed).take_over_from(successor);
    }
    match (runs(BuiltIn::Seqnum), runs(BuiltIn::Line)) {
        (true, true) => alone(Seqnum, config).service([], Line::default()).take_over_from(successor),
        (true, false) => alone(Seqnum, config).take_over_from(successor),
        _ => alone(Line::default(), config).take_over_from(successor),
    }
}
