//! A server that is process 1 of a container: it hands over to a process in the same container, and stays, since with it the
//! kernel would end everybody (pid_namespaces(7)).

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use harness::{PATIENCE, Peer, Place, Server, exchange_all, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A PID namespace whose first process is the daemon, and the unshare(1) that has made it.
struct Container {
    place: Place,
    unshare: Server,
}

impl Container {
    /// None where it cannot be made, which is said.
    fn begin() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("this user is not root, and makes no PID namespace");
            return None;
        }
        let place = Place::new();
        let mut command = Command::new("unshare");
        // If it is killed, so is the container, whose processes have this test's pipes.
        command.arg("--kill-child");
        command.args(["--pid", "--fork", "--mount-proc", env!("CARGO_BIN_EXE_reactord"), "-a", "127.0.0.1", "-p", "0"]);
        let unshare = Server::spawn(&place.path(), command.arg("-t").arg(place.path())).started();
        Some(Self { place, unshare })
    }

    /// Process 1, as it is called out here.
    fn first(&self) -> u32 {
        let children = children_of(self.unshare.pid());
        *children.first().expect("unshare has begun it, and waits for it")
    }

    /// A command in the container, begun from outside as `docker exec` does.
    fn within(&self, command: &[&str]) -> Command {
        let mut within = Command::new("nsenter");
        within.args(["--target", &self.first().to_string(), "--pid", "--mount"]).args(command);
        within
    }

    /// A successor that is begun from outside.
    fn take_over(&self) -> Server {
        let path = self.place.path();
        let path = path.to_str().expect("a path of the test's own is text");
        let command = &mut self.within(&[env!("CARGO_BIN_EXE_reactord"), "-T", path]);
        let successor = Server::spawn(&self.place.path(), command);
        successor.wait_for_line(|line| line.contains("Took over "));
        successor
    }

    fn signal_first(&self, signal: Signal) {
        kill(Pid::from_raw(self.first().cast_signed()), signal).expect("it is there");
    }

    /// A process that has lost its parent is process 1's, which reaps it when it ends.
    #[track_caller]
    fn reaps_orphans(&self) {
        let before = children_of(self.first());
        let end: PathBuf = self.place.file("end");
        let script = format!("mkfifo {0}; cat {0} > /dev/null 2>&1 &", end.display());
        let begun = self.within(&["sh", "-c", &script]).status();
        assert!(begun.expect("nsenter(1) is there").success());
        self.wait_for_children(|children| children.len() == before.len() + 1);
        // The orphan reads until nobody can write any more.
        drop(OpenOptions::new().write(true).open(&end).expect("it is read from"));
        self.wait_for_children(|children| children == before);
        std::fs::remove_file(end).expect("it is the test's own");
    }

    #[track_caller]
    fn wait_for_children(&self, wanted: impl Fn(&[u32]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&children_of(self.first())) {
            assert!(Instant::now() < deadline, "{:?}\n{}", children_of(self.first()), self.unshare.log());
            std::thread::yield_now();
        }
    }
}

/// The children of all threads of a process, also those that have ended and are not reaped.
fn children_of(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |children: String| -> Vec<u32> {
        children.split_whitespace().map(|child| child.parse().expect("it is a number")).collect()
    };
    children.flat_map(numbers).collect()
}

#[test]
fn process_1_stays_while_its_successor_serves_and_passes_the_stop_on_to_it() {
    let Some(container) = Container::begin() else { return };
    let mut peers = Peer::connect_many(container.unshare.address(), 3);
    exchange_all(&mut peers);
    container.reaps_orphans();

    let successor = container.take_over();
    container.unshare.wait_for_line(|line| line.contains("Process 1 stays while pid "));
    exchange_all(&mut peers);
    container.reaps_orphans();
    // It may be taken over from in its turn.
    let last = container.take_over();
    assert_eq!(successor.exit_code(), 0, "{}", successor.log());
    container.unshare.wait_for_lines(2, |line| line.contains("Process 1 stays while pid "));
    exchange_all(&mut peers);
    container.reaps_orphans();

    container.signal_first(Signal::SIGTERM);
    peers.into_iter().for_each(|peer| peer.expect_end());
    assert_eq!(last.exit_code(), 0, "{}", last.log());
    assert_eq!(container.unshare.exit_code(), 0, "{}", container.unshare.log());
    assert!(!container.place.path().exists());
}

#[test]
fn process_1_ends_with_the_one_that_it_has_started_and_with_its_code() {
    let Some(container) = Container::begin() else { return };
    let mut peers = Peer::connect_many(container.unshare.address(), 3);
    exchange_all(&mut peers);
    let path = container.place.path();
    let upgraded = container.within(&[env!("CARGO_BIN_EXE_reactord"), "upgrade"]).arg(&path).output();
    let upgraded = upgraded.expect("nsenter(1) is there");
    assert!(upgraded.status.success(), "{upgraded:?}\n{}", container.unshare.log());
    container.unshare.wait_for_line(|line| line.contains("Process 1 stays while pid "));
    exchange_all(&mut peers);

    let [serving] = children_of(container.first())[..] else { panic!("{}", container.unshare.log()) };
    kill(Pid::from_raw(serving.cast_signed()), Signal::SIGKILL).expect("it is there");
    peers.into_iter().for_each(|peer| peer.expect_loss());
    assert_eq!(container.unshare.exit_code(), 128 + Signal::SIGKILL as i32, "{}", container.unshare.log());
}
