//! A successor that a test has started, with what is to happen to it.

use std::process::{Child, Stdio};
use std::sync::Arc;

use crate::rig::{Lines, Proxy, program};

/// A successor of a proxy. It is ended when this is dropped.
pub(crate) struct Beside {
    pub(crate) child: Child,
    log: Arc<Lines>,
}

impl Beside {
    /// One that is started with this variable in its environment.
    pub(crate) fn start(proxy: &Proxy, variable: &str, value: &str) -> Self {
        let mut command = program();
        command.arg("-c").arg(proxy.beside("proxy.toml")).arg("-T").arg(proxy.path()).env(variable, value);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program can be started");
        let log = Lines::read(child.stderr.take().expect("it is a pipe"));
        Self { child, log }
    }

    /// Waits for a log line that has one of these.
    #[track_caller]
    pub(crate) fn says_one_of(&self, wanted: &[&str]) -> String {
        self.log.wait_for(wanted, |line| wanted.iter().any(|part| line.contains(part)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it is a child");
    }
}
