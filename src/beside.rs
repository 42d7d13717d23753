//! The command `proxy`. It is a program of its own, since it stands on the library of this package as any other would.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use reactord::program::EXIT_SERVE;

const PROXY: &str = "reactord-proxy";

/// Becomes the proxy, with the arguments that follow, if that is what is asked for. Returns only if it is not, or with the exit
/// code for that it is not to be had.
pub(crate) fn become_proxy() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == "proxy").then(|| execute(arguments))
}

fn execute(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = beside_this_one().unwrap_or_else(|| PathBuf::from(PROXY));
    let error = Command::new(&program).args(arguments).exec();
    reactord_cli::complain(&format!(
        "reactord proxy is a program of its own, {PROXY}, which is neither beside this one nor in PATH: {}: {error}",
        program.display()
    ));
    ExitCode::from(EXIT_SERVE)
}

fn beside_this_one() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(PROXY);
    beside.is_file().then_some(beside)
}
