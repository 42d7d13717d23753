//! The daemon `reactord`: a command line, a server, an exit code.

mod ago;
mod beside;
mod commands;
mod fleet;
mod options;
mod serving;
mod watched;

use std::path::Path;
use std::process::ExitCode;

use log::{error, info};
use options::{BuiltIn, Command};
use reactord::program::{Afterwards, Begins, EXIT_SERVE, call, exit_code_of};
use reactord::worker::Queue;
use reactord::{BUILD, Error, Inheritance, Successor};
use reactord_supervisor::{NotServing, become_worker, is_stage};
use serving::{Plan, Way};

fn main() -> ExitCode {
    if is_stage() {
        return ExitCode::from(become_worker());
    }
    if let Some(exit_code) = beside::become_proxy() {
        return exit_code;
    }
    let parsed = match options::parse() {
        Ok(parsed) => parsed,
        Err(exit_code) => return exit_code,
    };
    reactord_cli::logger::init(parsed.log_level, parsed.log_format);
    if let Some(number) = Inheritance::from_environment().and_then(|inheritance| inheritance.standard_error()) {
        reactord_cli::logger::standard_error_is_passed_on_to(number);
    }
    match run(parsed.command, parsed.afterwards) {
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
        Self { reason: error.to_string(), exit_code: exit_code_of(&error) }
    }
}

impl From<NotServing> for Failure {
    fn from(NotServing { reason, exit_code }: NotServing) -> Self {
        Self { reason, exit_code }
    }
}

fn run(command: Command, afterwards: Afterwards) -> Result<ExitCode, Failure> {
    if command.serves() {
        info!("{BUILD}, pid {}", std::process::id());
    }
    let path = command.answers_on().map(Path::to_owned);
    let afterwards = path.map(|path| afterwards.prepare(path)).transpose().map_err(Failure::signals)?;
    let outcome = match command {
        Command::Version => {
            reactord_cli::say(&format!("{BUILD}\n"));
            return Ok(ExitCode::SUCCESS);
        }
        Command::Supervise(daemon) => return Ok(ExitCode::from(daemon.run(BUILD)?)),
        Command::Move(request) => return Ok(commands::move_and_say(request)),
        Command::Reload(reload) => return Ok(fleet::reload_and_say(&reload.path)),
        Command::Status(status) => {
            return Ok(fleet::say_status(&status).unwrap_or_else(|| commands::say_status(&status)));
        }
        Command::Peers(peers) => return Ok(commands::say_peers(&peers)),
        Command::Log(log) => return Ok(commands::set_log_and_say(&log)),
        Command::Upgrade(upgrade) => return Ok(commands::upgrade_and_say(&upgrade)),
        Command::Check(check) => return Ok(commands::check_and_say(&check, &serving::offers(BuiltIn::ALL))),
        Command::Wait { services, steals, metrics, config } => {
            serving::run(Plan { services, listen: Vec::new(), steals, metrics, config }, Way::Serve(Begins::Anew))?
        }
        Command::Serve { service, listen, steals, metrics, begins, config } => {
            serving::run(Plan { services: vec![service], listen, steals, metrics, config }, Way::Serve(begins))?
        }
        Command::Work { service, config } => {
            let plan = Plan { services: vec![service], listen: Vec::new(), steals: false, metrics: None, config };
            serving::run(plan, Way::Work(inherit()?))?
        }
        Command::TakeOver { from, services, is_worker, metrics, config } => {
            // To a standby it comes with all else.
            let queue = (is_worker && !from.is_followed()).then(inherit).transpose()?;
            let successor = call(&from, &serving::offers(&services)).map_err(Error::Takeover)?;
            let runs = |service: &BuiltIn| successor.services().any(|one| one == service.name());
            let services = services.into_iter().filter(runs).collect();
            let successor = Box::new(queue.into_iter().fold(successor, Successor::with_queue));
            let plan = Plan { services, listen: Vec::new(), steals: false, metrics, config };
            serving::run(plan, Way::TakeOver(successor))?
        }
    };
    // A worker's supervisor sees to what comes next.
    Ok(ExitCode::from(afterwards.map_or(0, |afterwards| afterwards.end(outcome))))
}

fn inherit() -> Result<Queue, Error> {
    Ok(Queue::inherit()?)
}
