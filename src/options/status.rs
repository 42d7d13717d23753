//! The command lines of `reactord status`, `peers` and `log`, which ask one server.

use std::path::PathBuf;

use argh::FromArgs;
use log::LevelFilter;
use reactord::program::checked_path;

/// Say how the server stands that answers on a takeover path, or the supervisor that answers on its path.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    error_code(0, "The server has answered; with --owner, it is in this PID namespace."),
    error_code(2, "The command line cannot be understood, or contradicts itself."),
    error_code(3, "Nobody answers; with --owner, also if somebody else serves.")
)]
pub(crate) struct StatusOf {
    /// takeover path of the server, or path of the supervisor
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,

    /// say it as one line of JSON
    #[argh(switch)]
    pub(crate) json: bool,

    /// say it again every second; on a terminal, in place
    #[argh(switch)]
    pub(crate) watch: bool,

    /// say nothing, but by the exit code whether the server is in the PID namespace of this command, for a container's
    /// readiness probe
    #[argh(switch)]
    pub(crate) owner: bool,
}

impl StatusOf {
    pub(super) fn checked(self) -> Result<Self, String> {
        match (self.owner, self.json || self.watch) {
            (true, true) => Err("--owner contradicts --json and --watch: it says nothing".to_owned()),
            _ => Ok(self),
        }
    }
}

/// Say who the peers of the server are that answers on a takeover path, one a line.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "peers",
    help_triggers("-h", "--help"),
    note = "A line has the address, the service, for how many seconds it is connected, bytes received from it and\nacknowledged by it, bytes that wait to be handled and to be written, and how far it has come: serving, held (and\nwhy), ended, joined, connecting, closing, moving.",
    error_code(0, "The server has told of all its peers."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "Nobody answers, or not to the end.")
)]
pub(crate) struct PeersOf {
    /// takeover path of the server
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,

    /// say each as one line of JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Have the server that answers on a takeover path log another level from now on.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "log",
    help_triggers("-h", "--help"),
    note = "A successor logs what its own command line says.",
    error_code(0, "The server logs that level."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "Nobody answers, or the server does not do that.")
)]
pub(crate) struct LogOf {
    /// takeover path of the server
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,

    /// off, error, warn, info, debug or trace
    #[argh(positional, arg_name = "LEVEL", from_str_fn(level))]
    pub(crate) level: LevelFilter,
}

fn level(value: &str) -> Result<LevelFilter, String> {
    value.parse().map_err(|_| "off, error, warn, info, debug or trace is expected".to_owned())
}
