//! The program `reactord-proxy`: a command line, a configuration, a server, an exit code.

mod asking;
mod options;
mod serving;

use std::path::Path;
use std::process::ExitCode;

use log::error;
use options::{Command, Source};
use reactord::program::EXIT_SERVE;
use reactord::{BUILD, Inheritance};
use reactord_process::open_files;
use reactord_proxy::config::{Config, Credentials};
use serving::Given;

fn main() -> ExitCode {
    let parsed = match options::parse() {
        Ok(parsed) => parsed,
        Err(exit_code) => return exit_code,
    };
    reactord_cli::logger::init(parsed.log_level, parsed.log_format);
    if let Some(number) = Inheritance::from_environment().and_then(|inheritance| inheritance.standard_error()) {
        reactord_cli::logger::standard_error_is_passed_on_to(number);
    }
    match parsed.command {
        Command::Version => {
            reactord_cli::say(&format!("reactord-proxy {} on {BUILD}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Command::CheckFile(file) => check_file(&file),
        Command::Ctl { path, what } => asking::ask_and_say(&path, &what),
        Command::Check(path) => asking::check_and_say(&path, &serving::offers()),
        Command::Serve(serve) => match read(&serve.source) {
            Ok(given) => serving::run(serve, &given),
            Err(mistakes) => {
                mistakes.lines().for_each(|mistake| error!("{mistake}"));
                ExitCode::from(EXIT_SERVE)
            }
        },
    }
}

/// The configuration with all that it names; or all that is wrong with it, a line each.
fn read(source: &Source) -> Result<Given, String> {
    match source {
        Source::File(file) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
            let (config, credentials) = Config::load(&name, &text).map_err(|mistakes| mistakes.to_string())?;
            Ok(Given { config, text: Some(text), credentials })
        }
        Source::Simple { listen, upstream } => {
            let config = Config::simple(listen, upstream)?;
            Ok(Given { config, text: None, credentials: Credentials::default() })
        }
    }
}

/// Says what is wrong with a file, and with how many open files this user could carry it out.
fn check_file(file: &Path) -> ExitCode {
    let config = match read(&Source::File(file.to_owned())) {
        Ok(given) => given.config,
        Err(mistakes) => {
            reactord_cli::complain(&mistakes);
            return ExitCode::from(EXIT_SERVE);
        }
    };
    open_files::raise_limit();
    let files_allowed = open_files::limit() as u64;
    if let Err(too_few) = config.check_open_files(files_allowed) {
        reactord_cli::complain(&format!("{}: {too_few}", file.display()));
        return ExitCode::from(EXIT_SERVE);
    }
    let (listeners, upstreams) = (config.listeners.len(), config.upstreams.len());
    reactord_cli::say(&format!(
        "{}: {listeners} listeners, {upstreams} upstreams; {} connections fit into {files_allowed} open files\n",
        file.display(),
        config.connections_within(files_allowed)
    ));
    ExitCode::SUCCESS
}
