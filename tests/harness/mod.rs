//! What the integration tests stand on: real processes, real clients, and a successor that does as it is told.
//!
//! Nothing here sleeps to wait. Whatever is waited for announces itself, as a line, an exit or a byte, and is waited for
//! up to [`PATIENCE`]; a test that runs into it fails.

mod peer;
mod process;
mod scripted;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

pub(crate) use peer::{Peer, Source, exchange_all, lines};
pub(crate) use process::{Server, caller_sees_pid, limited};
pub(crate) use scripted::ScriptedSuccessor;
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

/// A soft limit of 1024 is usual, and some tests have more clients than that.
fn raise_limit_of_open_files() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit can be raised to the hard one");
    });
}

/// Says why a test was skipped, past the test runner's capture.
pub(crate) fn skip(test: &str, reason: &str) {
    writeln!(std::io::stderr(), "{test}: skipped, {reason}").expect("standard error takes a line");
}
