//! Two pods of one rollout: the second takes over from the first, as containers do that Kubernetes runs beside each other.
//!
//! Each has a read-only root with nothing to write but the shared takeover path, no capability, no new privileges, a user of
//! its own, the system calls that Docker's default profile allows, and PID, mount, IPC and UTS namespaces of its own; in one
//! test a user namespace, too. What restarts a container that has ended is a stand-in for the kubelet, with
//! `restartPolicy: Always`.

mod containers {
    pub(crate) mod bundle;
    pub(crate) mod seccomp;
}
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::path::Path;
use std::process::Command;

use containers::bundle::{Bundle, PATH, Shared, Users};
use harness::{Peer, Place, Server, exchange_all, skip};
use nix::sys::signal::Signal;

const PEERS: usize = 1000;

/// What every container runs: it serves, or takes over if somebody does already, and stays when it has handed over.
fn entrypoint(port: u16) -> String {
    format!("reactord -a 127.0.0.1 -p {port} --or-take-over --after-handover wait -t {PATH}")
}

/// A pod with one container.
struct Pod {
    bundle: Bundle,
    /// All that were started, the last of which runs unless the pod is deleted.
    containers: Vec<Server>,
}

impl Pod {
    fn create(name: &'static str, shared: &Shared, port: u16) -> Self {
        let bundle = Bundle::new(name, shared, &entrypoint(port));
        let container = Server::spawn(Path::new(""), &mut bundle.run());
        Self { bundle, containers: vec![container] }
    }

    fn container(&self) -> &Server {
        self.containers.last().expect("a pod has a container from the start")
    }

    /// What the kubelet does when it looks: whatever has ended is started again.
    fn reconcile(&mut self) {
        if !self.container().is_running() {
            self.containers.push(Server::spawn(Path::new(""), &mut self.bundle.run()));
        }
    }

    /// Whether the readiness probe succeeds, and what it has said.
    fn probe(&self) -> (bool, String) {
        let probe = self.bundle.exec(&["reactord", "status", "--owner", PATH]).output();
        let probe = probe.expect("crun can be started");
        (probe.status.success(), String::from_utf8_lossy(&[probe.stdout, probe.stderr].concat()).into_owned())
    }

    #[track_caller]
    fn is_ready(&self, should_be: bool) {
        let (is_ready, said) = self.probe();
        assert_eq!(is_ready, should_be, "{said}\n{}", self.container().log());
    }

    #[track_caller]
    fn delete(self) {
        self.container().signal(Signal::SIGTERM);
        assert_eq!(self.container().exit_code(), 0, "{}", self.container().log());
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // What is in the container outlives the crun that runs it, and would keep its standard error open.
        let removed = self.bundle.remove().output();
        assert!(removed.is_ok() || std::thread::panicking(), "crun can be started");
    }
}

/// What is missing for these tests, and said so.
fn lacks_something() -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "this user is not root"
    } else if Command::new("crun").arg("--version").output().is_err() {
        "crun is not installed"
    } else if !containers::seccomp::is_there() {
        "Docker's default seccomp profile is not installed (package golang-github-containers-common)"
    } else {
        return false;
    };
    skip(missing);
    true
}

fn rollout(users: Users) {
    if lacks_something() {
        return;
    }
    let place = Place::new();
    let shared = Shared::new(&place, users);
    let mut before = Pod::create("before", &shared, 0);
    let address = before.container().address();
    let mut peers = Peer::connect_many(address, PEERS);
    exchange_all(&mut peers);
    before.is_ready(true);

    let mut after = Pod::create("after", &shared, address.port());
    after.container().wait_for_line(|line| line.contains("Took over "));
    before.container().wait_for_line(|line| line.contains("Handed over "));
    // Whoever came back and took over again would do so while these are answered.
    for _ in 0..20 {
        before.reconcile();
        after.reconcile();
        exchange_all(&mut peers);
    }
    after.is_ready(true);
    before.is_ready(false);

    before.delete();
    exchange_all(&mut peers);
    assert_eq!(after.containers.len(), 1, "nobody has taken over again\n{}", after.container().log());
    assert_eq!(after.container().lines_with("Took over ").len(), 1);
    drop(peers);
    after.delete();
}

#[test]
fn rollout_of_two_pods_is_one_takeover_and_loses_nobody() {
    rollout(Users::OfTheHost);
}

#[test]
fn rollout_of_two_pods_in_a_user_namespace_is_one_takeover_and_loses_nobody() {
    rollout(Users::Mapped);
}
