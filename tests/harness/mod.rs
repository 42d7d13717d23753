//! What the integration tests stand on: real processes, real clients, and a successor that does as it is told.
//!
//! Nothing here sleeps to wait. Whatever is waited for announces itself, as a line, an exit or a byte, and is waited
//! for up to [`PATIENCE`]; a test that runs into it fails.

mod nonces;
mod peer;
mod process;
mod rustls;
mod scripted;
mod tls;
pub(crate) mod wire;

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

pub(crate) use peer::{Lost, Peer, Source, all_are_stuck, exchange_all, inodes_of_server_ends, lines};
pub(crate) use process::{Exit, Server, caller_sees_pid, daemon, example, figure, limited};
pub(crate) use rustls::RustlsPeer;
pub(crate) use scripted::{ScriptedSuccessor, receive_with_descriptors, send_with_descriptors};
pub(crate) use tls::{Authority, CertificateKey, Shaking, TlsPeer, Why};
pub(crate) use wire::{Frame, Record, accept, copied, empty, frame, hello, kind, ready};

/// How long anything may take that is expected to happen, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of the test's own, with a takeover path in it. Both are removed at the end.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        raise_limit_of_open_files();
        Self { directory: TempDir::new().expect("a temporary directory") }
    }

    /// The takeover path.
    pub(crate) fn path(&self) -> PathBuf {
        self.file("takeover")
    }

    /// Another path in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

/// A user that nobody else is, so that nothing but a test's own processes counts against its limits.
pub(crate) const STRANGER: u32 = 64_123;

/// The daemon as another user than root, with its binary where that user may run it, and with a hard limit of open
/// files. `None` if only the test's own user can be had, who then is no less privileged.
pub(crate) fn daemon_of_stranger(place: &Place, files_max: u32) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let binary = place.file("reactord");
    if !binary.exists() {
        install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    }
    std::fs::set_permissions(place.directory(), Permissions::from_mode(0o755)).expect("an own directory");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string(), "--clear-groups"]);
    command.args(["sh", "-c", &format!("ulimit -n {files_max} && exec \"$0\" \"$@\"")]).arg(&binary);
    Some(command)
}

/// Puts a program where anybody may execute it. Another process does it: while this one has a file open for writing, a
/// child that another test starts has it, too, and then it cannot be executed (`ETXTBSY`, execve(2)).
#[track_caller]
pub(crate) fn install(source: &Path, program: &Path) {
    let installed = Command::new("install").args(["-m", "755"]).args([source, program]).status();
    assert!(installed.expect("install(1) is there").success(), "there is room for {}", program.display());
}

/// Tells the threads of a test to stop, also when the test fails: otherwise it would wait for them forever.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A Python that has this module, unless the machine has none: `.ci/run` makes one.
pub(crate) fn python_with(module: &str, package: &str) -> Option<Command> {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join("bin/python");
    let has_it = |python: &PathBuf| {
        let asked = Command::new(python).args(["-c", &format!("import {module}")]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let found = [ours, "python3".into()].into_iter().find(has_it);
    if found.is_none() {
        let with_pip = "python3 -m venv target/clients && target/clients/bin/pip install";
        skip(&format!("there is no python3 with {module} ({with_pip} {package})"));
    }
    found.map(Command::new)
}

/// A soft limit of 1024 is usual, and some tests have more clients than that.
fn raise_limit_of_open_files() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit can be raised to the hard one");
    });
}

/// Says why this test, whose name its thread has, does not test all it should, past the test runner's capture.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "{test}: skipped, {reason}").expect("standard error takes a line");
}
