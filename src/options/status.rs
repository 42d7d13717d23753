//! The command line of `reactord status`.

use std::path::PathBuf;

use argh::FromArgs;

use super::paths::checked_path;

/// Say how the server stands that answers on a takeover path, or the supervisor that answers on its path.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    error_code(0, "The server has answered."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "Nobody answers, or not whoever asks.")
)]
pub(crate) struct StatusOf {
    /// takeover path of the server, or path of the supervisor
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,

    /// say it as one line of JSON
    #[argh(switch)]
    pub(crate) json: bool,

    /// say it again every second
    #[argh(switch)]
    pub(crate) watch: bool,
}
