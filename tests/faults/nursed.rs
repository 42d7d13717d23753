//! A server that fails as a seed has planned, and somebody who continues it whenever it is stopped.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::harness::Server;
use crate::plan::{Fault, Planned, VARIABLE};

/// How long peers stand still at most, in ms, so that some of the stops and delays last longer.
const FREEZE_TIMEOUT_MS: &str = "60";

/// How many faults a process has planned at most, on either side.
pub(crate) const FAULTS_MAX: usize = 3;

pub(crate) struct Nursed {
    pub(crate) server: Arc<Server>,
    nurse: Option<JoinHandle<()>>,
}

impl Nursed {
    /// Starts `command`, whose takeover path is `path`.
    pub(crate) fn spawn(path: &Path, command: &mut Command, plan: &[Planned], random: &mut Rng) -> Self {
        let planned: Vec<String> = plan.iter().map(Planned::to_string).collect();
        command.args(["--freeze-timeout", FREEZE_TIMEOUT_MS]).env(VARIABLE, planned.join(","));
        let server = Arc::new(Server::spawn(path, command));
        let stops = plan.iter().filter(|planned| planned.fault == Fault::Stop);
        let stops: Vec<Duration> = stops.map(|_| Duration::from_millis(random.u64(0..200))).collect();
        let nurse = std::thread::spawn({
            let server = server.clone();
            move || nurse(&server, &stops)
        });
        Self { server, nurse: Some(nurse) }
    }

    /// How many faults have come about so far.
    pub(crate) fn faults(&self) -> u64 {
        self.server.lines_with("Fault point ").len() as u64
    }
}

impl Drop for Nursed {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        self.server.kill();
        let _ = self.nurse.take().map(JoinHandle::join);
    }
}

/// Continues a process whenever it is stopped, after a while, if it is to stop itself at all. Who has stopped it cannot be
/// told, so a stop from outside may be shorter than it was to be.
fn nurse(server: &Server, stops: &[Duration]) {
    for stopped_for in stops.iter().cycle() {
        if !server.is_suspended() {
            return;
        }
        std::thread::sleep(*stopped_for);
        server.resume();
    }
}

/// What comes to one of two processes from outside, and hits no step in particular.
pub(crate) fn disturb(one: &Server, other: &Server, random: &mut Rng) {
    let victim = if random.bool() { one } else { other };
    let signal = match random.u32(0..100) {
        0..10 => Signal::SIGKILL,
        10..30 => Signal::SIGSTOP,
        _ => return,
    };
    std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
    victim.signal(signal);
    if signal == Signal::SIGSTOP {
        std::thread::sleep(Duration::from_millis(random.u64(0..120)));
        victim.resume();
    }
}
