//! The command `proxy`. It is a program of its own, since it stands on the library of this package as any other would.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use reactord::Status;
use reactord::program::EXIT_SERVE;

const PROXY: &str = "reactord-proxy";

/// The name of its service.
const SERVICE: &str = "proxy";

/// Becomes the proxy, with the arguments that follow, if that is what is asked for. Returns only if it is not, or with the exit
/// code for that it is not to be had.
pub(crate) fn become_proxy() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == "proxy").then(|| execute(arguments))
}

/// The program that could take over from the proxy on this path, if there is one.
pub(crate) fn successor_of_proxy(path: &Path) -> Option<PathBuf> {
    let status = Status::of(path).ok()?;
    status.services.iter().any(|service| service.name == SERVICE).then(proxy)
}

fn execute(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = proxy();
    let error = Command::new(&program).args(arguments).exec();
    reactord_cli::complain(&format!(
        "reactord proxy is a program of its own, {PROXY}, which is neither beside this one nor in PATH: {}: {error}",
        program.display()
    ));
    ExitCode::from(EXIT_SERVE)
}

/// The program: beside this one, or by its name in `PATH`.
fn proxy() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(PROXY));
    beside.filter(|beside| beside.is_file()).unwrap_or_else(|| PathBuf::from(PROXY))
}
