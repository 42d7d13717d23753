//! What a service manager is told by a server (sd_notify(3)). It is the test's own socket here; `systemd.rs` has the real
//! one.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

use harness::{PATIENCE, Peer, Place, Server, daemon, exchange_all};

/// What listens to what services say of themselves.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at(path: &Path) -> Self {
        Self::on(UnixDatagram::bind(path).expect("the path is free"), path.display().to_string())
    }

    /// One with a name and no path.
    fn without_path(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).expect("a name may be that long");
        Self::on(UnixDatagram::bind_addr(&address).expect("the name is free"), format!("@{name}"))
    }

    fn on(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { socket, name }
    }

    /// A service of this manager.
    fn service(&self, arguments: &[&str]) -> Command {
        let mut command = daemon();
        command.args(arguments).env("NOTIFY_SOCKET", &self.name).env_remove("WATCHDOG_USEC");
        command
    }

    fn serve(&self, place: &Place) -> Server {
        let path = place.path();
        Server::spawn(&path, self.service(&["-p", "0", "-t"]).arg(&path))
    }

    /// The words of the next message.
    #[track_caller]
    fn heard(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a service has something to say");
        String::from_utf8(bytes[..length].to_vec()).expect("it is text").lines().map(str::to_owned).collect()
    }

    /// The words of the next message that has this one.
    #[track_caller]
    fn heard_with(&self, word: &str) -> Vec<String> {
        loop {
            let heard = self.heard();
            if heard.iter().any(|other| other == word) {
                return heard;
            }
        }
    }
}

#[test]
fn a_successor_is_the_main_process_before_its_predecessor_exits() {
    let place = Place::new();
    let manager = Manager::at(&place.file("notify"));
    let first = manager.serve(&place);
    assert_eq!(manager.heard(), ["READY=1", "STATUS=Generation 1: 0 peers"]);
    let mut peers = Peer::connect_many(first.address(), 3);
    exchange_all(&mut peers);

    let second = Server::spawn(&place.path(), manager.service(&["-T"]).arg(place.path()));
    let heard = manager.heard();
    assert!(heard[0] == "RELOADING=1" && heard[1].starts_with("MONOTONIC_USEC="), "{heard:?}");
    assert_eq!(heard[2], format!("STATUS=Generation 1: 0 peers; pid {} is taking over", second.pid()));
    let main_pid = format!("MAINPID={}", second.pid());
    assert_eq!(manager.heard(), [&*main_pid, "WATCHDOG=1", "READY=1", "STATUS=Generation 2: 0 peers"]);
    let told = manager.heard().remove(0);
    assert!(told.starts_with("STATUS=Generation 2: 3 peers; pause ") && told.ends_with(" us"), "{told}");

    let second = first.taken_over_by(second);
    second.stop_with(peers);
    assert_eq!(manager.heard_with("STOPPING=1").len(), 2, "the predecessor says nothing of the kind");
}

#[test]
fn a_takeover_that_fails_leaves_a_ready_server_that_says_why() {
    let place = Place::new();
    let manager = Manager::without_path(&format!("reactord-test-{}-fails", std::process::id()));
    let server = manager.serve(&place);
    manager.heard_with("READY=1");
    // Its own path is taken already, which it finds out when it has been welcomed.
    let nowhere = place.file("nowhere").join("takeover");
    let failing = Server::spawn(&place.path(), manager.service(&["-t"]).arg(nowhere).arg("-T").arg(place.path()));
    assert_eq!(failing.exit_code(), 3, "{}", failing.log());
    manager.heard_with("RELOADING=1");
    let heard = manager.heard_with("READY=1");
    let why = format!("STATUS=Generation 1: 0 peers; the takeover by pid {} failed: ", failing.pid());
    assert!(heard[1].starts_with(&why) && heard[1].contains("No such file"), "{heard:?}");
    server.stop();
}

#[test]
fn a_standby_of_the_same_unit_says_nothing_of_itself_before_it_serves() {
    let place = Place::new();
    let manager = Manager::at(&place.file("notify"));
    let path = place.path();
    let server = Server::spawn(&path, manager.service(&["--standby", "-p", "0", "-t"]).arg(&path));
    assert_eq!(manager.heard(), ["READY=1", "STATUS=Generation 1: 0 peers"]);
    server.wait_for_line(|line| line.contains(" is armed, with "));
    let mut peers = Peer::connect_many(server.address(), 1);
    exchange_all(&mut peers);
    // What a standby says comes before it is armed.
    assert_eq!(manager.heard(), ["STATUS=Generation 1: 1 peers"]);
    server.stop_with(peers);
    manager.heard_with("STOPPING=1");
}

#[test]
fn a_loop_that_turns_gives_signs_of_life() {
    let place = Place::new();
    let manager = Manager::at(&place.file("notify"));
    let path = place.path();
    let mut command = manager.service(&["-p", "0", "-t"]);
    let server = Server::spawn(&path, command.arg(&path).env("WATCHDOG_USEC", "20000"));
    for _ in 0..3 {
        manager.heard_with("WATCHDOG=1");
    }
    server.stop();
}
