//! The command lines of `reactord upgrade` and `reactord check`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use reactord::Upgrade;
use reactord::program::checked_path;
use reactord_cli::values::number;

/// One hour.
const TIMEOUT_MAX_S: usize = 3600;

/// Have a server start its successor, and wait until that serves; or a supervisor become another binary.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "upgrade",
    help_triggers("-h", "--help"),
    example = "Same binary, or what is at its path now:  {command_name} /run/reactord.takeover\nAnother one:                              {command_name} /run/reactord.takeover --binary ./reactord\nWith other options:                       {command_name} /run/reactord.takeover -- -p 1234 -v",
    note = "The server starts the successor: as its own user, in its directory, control group and sandbox, with its own arguments unless others follow --.",
    error_code(0, "The successor serves all connections."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "The successor does not; the server serves on, and why is said.")
)]
pub(crate) struct UpgradeArguments {
    /// takeover path of the server
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    path: PathBuf,

    /// what is to be started, as a path (default: the path from which the server was started, looked up anew)
    #[argh(option, arg_name = "B")]
    binary: Option<PathBuf>,

    /// how long the successor may take until it serves, in s (default: 60)
    #[argh(option, arg_name = "S", default = "Upgrade::default().timeout", from_str_fn(seconds))]
    timeout: Duration,
}

/// What is to be upgraded, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UpgradeOf {
    pub(crate) path: PathBuf,
    pub(crate) upgrade: Upgrade,
}

impl UpgradeArguments {
    /// `arguments` are those of the successor, if others than the server's are wanted.
    pub(crate) fn request(self, arguments: Option<Vec<OsString>>) -> UpgradeOf {
        let Self { path, binary, timeout } = self;
        UpgradeOf { path, upgrade: Upgrade { binary, arguments, timeout } }
    }
}

/// Say whether a takeover from a server would succeed. Nothing is changed by that.
#[derive(FromArgs, Debug, PartialEq, Eq)]
#[argh(
    subcommand,
    name = "check",
    help_triggers("-h", "--help"),
    note = "Judged is this program, as the user and within the limits with which it is called.",
    error_code(0, "It would."),
    error_code(2, "The command line cannot be understood."),
    error_code(3, "It would not, or nobody answers.")
)]
pub(crate) struct Check {
    /// takeover path of the server
    #[argh(positional, arg_name = "PATH", from_str_fn(checked_path))]
    pub(crate) path: PathBuf,

    /// ask whether this program could take over, rather than this one
    #[argh(option, arg_name = "B")]
    pub(crate) binary: Option<PathBuf>,
}

fn seconds(value: &str) -> Result<Duration, String> {
    Ok(Duration::from_secs(number(value, TIMEOUT_MAX_S)? as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<UpgradeOf, String> {
        let arguments = UpgradeArguments::from_args(&["upgrade"], arguments).map_err(|exit| exit.output)?;
        Ok(arguments.request(None))
    }

    #[test]
    fn an_upgrade_is_to_the_same_program_within_a_minute_unless_something_else_is_said() {
        let upgrade = parsed(&["/a"]).unwrap();
        assert_eq!(upgrade, UpgradeOf { path: "/a".into(), upgrade: Upgrade::default() });
        let upgrade = parsed(&["/a", "--binary", "./b", "--timeout", "5"]).unwrap().upgrade;
        assert_eq!((upgrade.binary, upgrade.timeout), (Some("./b".into()), Duration::from_secs(5)));
        assert!(parsed(&["/a", "--timeout", "0"]).unwrap_err().contains("1 to 3600"));
    }
}
