//! A configuration as a server, however it comes to serve.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use log::{error, info, warn};
use reactord::program::{Afterwards, EXIT_SERVE, Predecessor, call, default_path, exit_code_of, serve, server};
use reactord::services::Metrics;
use reactord::{BUILD, Config as Behaviour, Error, Listen, Offer, Outcome, Program, Server, With};
use reactord_process::open_files;
use reactord_proxy::config::{Config, Credentials, HostPort};
use reactord_proxy::journal::Journal;
use reactord_proxy::names::{Resolved, resolve_all};
use reactord_proxy::plan::{clients_max, listens};
use reactord_proxy::service::Proxy;

use crate::options::{Serve, Way};

/// The name of the takeover path, where none is chosen.
const TAKEOVER_FILE: &str = "reactord-proxy.takeover";

/// What the listener is called at which figures are to be had.
const METRICS: &str = "metrics";

/// How long the names of servers are waited for before somebody is served.
const NAMES_PATIENCE: Duration = Duration::from_secs(10);

/// The services of a proxy.
type Both = With<Metrics, With<Proxy, ()>>;

/// What the proxy is to do, and with what.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) config: Config,
    /// The text that it was read from, if from any.
    pub(crate) text: Option<String>,
    pub(crate) credentials: Credentials,
}

/// What a successor can run.
pub(crate) fn offers() -> Vec<Offer> {
    vec![Offer::of::<Proxy>(), Offer::of::<Metrics>()]
}

/// Serves until that has come to its end, and returns the exit code.
pub(crate) fn run(serve: Serve, given: &Given) -> ExitCode {
    info!("reactord-proxy on {BUILD}, pid {}", std::process::id());
    match try_to_run(serve, given) {
        Ok(exit_code) => exit_code,
        Err((reason, exit_code)) => {
            error!("{reason}");
            ExitCode::from(exit_code)
        }
    }
}

fn try_to_run(serve: Serve, given: &Given) -> Result<ExitCode, (String, u8)> {
    let behaviour = behaviour(&serve, given).map_err(|reason| (reason, EXIT_SERVE))?;
    let path = match (&behaviour.takeover_path, &serve.way) {
        (Some(path), _) => path.clone(),
        (None, Way::TakesOver(predecessor)) => predecessor.path().to_owned(),
        (None, Way::Begins(_)) => return Err(("there is no takeover path".to_owned(), EXIT_SERVE)),
    };
    let afterwards: Afterwards = serve.after_handover;
    let afterwards = afterwards.prepare(path).map_err(|error| (format!("signals: {error}"), EXIT_SERVE))?;
    let outcome = carry_out(serve.way, given, serve.metrics, behaviour);
    let outcome = outcome.map_err(|error| (error.to_string(), exit_code_of(&error)))?;
    Ok(ExitCode::from(afterwards.end(outcome)))
}

/// How the server behaves.
fn behaviour(serve: &Serve, given: &Given) -> Result<Behaviour, String> {
    let config = &given.config;
    open_files::raise_limit();
    let files_allowed = open_files::limit();
    let path = serve.takeover_path.clone().or_else(|| config.takeover.clone());
    let takeover_path = match (path, &serve.way) {
        (None, Way::Begins(_)) => Some(default_path(TAKEOVER_FILE)?),
        (path, _) => path,
    };
    match config.check_open_files(files_allowed as u64) {
        Ok(()) => info!(
            "At most {} connections are served at once: {files_allowed} files may be open",
            config.connections_within(files_allowed as u64)
        ),
        Err(too_few) => warn!("{too_few}"),
    }
    Ok(Behaviour {
        takeover_path,
        max_peers: clients_max(config, files_allowed).saturating_mul(2),
        freeze_timeout: serve.freeze_timeout,
        drain_timeout: serve.drain_timeout,
        survive_signals: true,
        // What the file does not say any more is listened on no more.
        inherit_listeners: false,
        successor: Some(Program::of_this_process()),
        upgrade_on_hangup: true,
        connectors: given.credentials.upstreams.clone(),
        ..Behaviour::default()
    })
}

fn carry_out(
    way: Way,
    Given { config, text, credentials }: &Given,
    metrics: Option<SocketAddr>,
    behaviour: Behaviour,
) -> Result<Outcome, Error> {
    let resolved = resolve(config);
    let metrics = metrics.or(config.metrics).map(|at| Listen::on(METRICS, at));
    let of = |behaviour: Behaviour| -> Server<Both> {
        let proxy = Proxy::new(config.clone(), text.as_deref(), Journal::new(config.access_log));
        let mut proxy = proxy.with_at_most(clients_max(config, open_files::limit()));
        for ((host, port), answer) in &resolved {
            answer.iter().for_each(|addresses| proxy.is_at(host, *port, addresses));
        }
        server(behaviour).service(listens(config, credentials), proxy).service(metrics.clone(), Metrics::default())
    };
    match way {
        Way::Begins(begins) => serve(&behaviour, &begins, of),
        Way::TakesOver(predecessor) => take_over(&predecessor, of(behaviour)),
    }
}

fn take_over(predecessor: &Predecessor, server: Server<Both>) -> Result<Outcome, Error> {
    let successor = call(predecessor, &offers()).map_err(Error::Takeover)?;
    server.take_over_from(successor)
}

/// Resolves the names of servers, before anybody is served. One that cannot be resolved is tried again while others are
/// served; a successor knows where it was.
fn resolve(config: &Config) -> Resolved {
    let names = config.names().map(|HostPort { host, port, .. }| (host.clone(), *port));
    let resolved = resolve_all(names.collect(), NAMES_PATIENCE);
    for ((host, _), answer) in &resolved {
        if let Err(why) = answer {
            warn!("The name {host} of a server cannot be resolved: {why}");
        }
    }
    resolved
}
