//! The command line of `reactord reload`.

use std::path::PathBuf;

use argh::FromArgs;
use reactord::program::checked_path;

/// Have a supervisor replace its workers by a new generation, and wait until that serves or is given up.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "reload",
    help_triggers("-h", "--help"),
    error_code(0, "The new generation serves."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "It was given up, or serves in part; what served goes on. Or no supervisor answers.")
)]
pub(crate) struct Reload {
    /// path of the supervisor
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,
}
