//! Upgrades: the server starts its successor itself, and whoever asks for it is told the truth about what has come of it.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, Peer, Place, Server, daemon, exchange_all, install, skip};

/// Asks the server on `path` for an upgrade, and returns what was said on standard output and standard error.
#[track_caller]
fn upgrade(path: &Path, arguments: &[&str], exit_code: i32) -> (String, String) {
    upgrading(path, arguments).output(exit_code)
}

fn upgrading(path: &Path, arguments: &[&str]) -> Server {
    Server::spawn(Path::new(""), daemon().arg("upgrade").arg(path).args(arguments))
}

/// The process that answers on `path`.
#[track_caller]
fn serving(path: &Path) -> u32 {
    let (status, _) = Server::spawn(Path::new(""), daemon().arg("status").arg(path).arg("--json")).output(0);
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    u32::try_from(status["pid"].as_u64().expect("a pid")).expect("a pid")
}

/// Stops a server that no test has started itself, and waits until it has removed its path.
#[track_caller]
fn stop(path: &Path, peers: Vec<Peer>) {
    let pid = nix::unistd::Pid::from_raw(serving(path).cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it runs");
    peers.iter().for_each(Peer::expect_end);
    drop(peers);
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while path.exists() {
        assert!(std::time::Instant::now() < deadline, "it stops");
        std::thread::yield_now();
    }
}

/// Whoever serves on a path when a test ends was started by a server, and is no child of the test.
struct KilledAtEnd(std::path::PathBuf);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let status = daemon().arg("status").arg(&self.0).arg("--json").output().expect("the daemon can be started");
        let status: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
        if let Some(pid) = status.and_then(|status| status["pid"].as_i64()) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
            // It may be gone by now.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }
}

#[test]
fn an_upgrade_is_told_when_the_successor_serves_everybody() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(predecessor.address(), 300);
    exchange_all(&mut peers);
    let (told, complaints) = upgrade(&place.path(), &[], 0);
    let successor = serving(&place.path());
    let from = format!("handed over: 300 peers from {} (pid {}, generation 1)", version(), predecessor.pid());
    assert!(told.starts_with(&from), "{told}");
    assert!(told.contains(&format!(" to {} (pid {successor}, generation 2), pause ", version())), "{told}");
    assert!(told.ends_with(" us"), "{told}");
    assert_eq!(complaints, "");
    assert_eq!(predecessor.exit_code(), 0, "{}", predecessor.log());
    exchange_all(&mut peers);
    // The next one goes the same way: nobody but the server itself has started either.
    let (told, _) = upgrade(&place.path(), &[], 0);
    assert!(told.contains(&format!("(pid {successor}, generation 2) to ")), "{told}");
    exchange_all(&mut peers);
    let (told, _) = upgrade(&place.path(), &["--", "-v", "-T", &place.path().display().to_string()], 0);
    assert!(told.contains(", generation 3) to "), "{told}");
    exchange_all(&mut peers);
    stop(&place.path(), peers);
}

/// What the daemon calls its version.
fn version() -> String {
    let (said, _) = Server::run(&["--version"]).output(0);
    said.trim_end().strip_prefix("reactord ").expect("its name comes first").to_owned()
}

/// A successor that cannot, and why.
struct Unable {
    arguments: Vec<String>,
    why: String,
}

impl Unable {
    fn new(arguments: &[&str], why: &str) -> Self {
        Self { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), why: why.to_owned() }
    }

    fn script(script: &str, why: &str) -> Self {
        Self::new(&["--binary", "/bin/sh", "--timeout", "2", "--", "-c", script], why)
    }
}

#[test]
fn an_upgrade_that_cannot_be_says_why_and_who_serves_on() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(server.address(), 10);
    let takes_over = format!("exec {} -T {}", env!("CARGO_BIN_EXE_reactord"), place.path().display());
    let unable = [
        Unable::new(&["--binary", "/bin/false"], "failed: the successor (pid {pid}) exited with code 1 before it took"),
        Unable::new(&["--binary", "/nowhere"], "failed: the successor cannot be started: /nowhere: No such file"),
        Unable::script("echo broken >&2; kill -SEGV $$", "failed: the successor (pid {pid}) was killed by SIGSEGV"),
        Unable::script(
            "exec sleep 1000",
            "failed: the successor (pid {pid}) has not taken over within 2000 ms, and was",
        ),
        Unable::script("(sleep 3 &) ; exit 7", "exited with code 7 before it took over"),
        Unable::new(&["--", "--service", "line"], "refused: the predecessor serves seqnum, the successor offers line"),
        Unable::new(&["--", "--no-such-option"], "exited with code 2 before it took over"),
        Unable::script(&format!("ulimit -n 40; {takes_over}"), "refused: the successor may open 40 files, "),
    ];
    for Unable { arguments, why } in unable {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (told, complaints) = upgrade(&place.path(), &arguments, 3);
        assert_eq!(told, "");
        let last = complaints.lines().last().expect("it says why");
        let parts: Vec<&str> = why.split("{pid}").collect();
        assert!(parts.iter().all(|part| last.contains(part)), "{complaints}\n{why}");
        assert!(last.ends_with(&format!("; {} (pid {}) serves on", version(), server.pid())), "{complaints}");
        exchange_all(&mut peers);
    }
    assert_eq!(serving(&place.path()), server.pid());
    server.wait_for_line(|line| line == "broken");
    server.stop_with(peers);
}

#[test]
fn what_a_successor_says_before_it_fails_is_part_of_the_answer() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let script = "echo 'config: line 7: no such thing' >&2; exit 1";
    let (_, complaints) = upgrade(&place.path(), &["--binary", "/bin/sh", "--", "-c", script], 3);
    assert_eq!(complaints.lines().next(), Some("  config: line 7: no such thing"));
    server.stop();
}

#[test]
fn one_that_was_given_up_takes_over_no_more() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(server.address(), 10);
    // What is killed is the shell; what it has started lives, and calls when that is over.
    let late = format!("{} -T {}", env!("CARGO_BIN_EXE_reactord"), place.path().display());
    let script = format!("(while kill -0 $$ 2>/dev/null; do :; done; exec {late}) & wait");
    let arguments = ["--binary", "/bin/sh", "--timeout", "1", "--", "-c", &script];
    let (_, complaints) = upgrade(&place.path(), &arguments, 3);
    assert!(complaints.contains("has not taken over within 1000 ms, and was killed"), "{complaints}");
    server.wait_for_line(|line| {
        line.contains("refused: the upgrade for which this process was started has been given up")
    });
    exchange_all(&mut peers);
    server.stop_with(peers);
}

#[test]
fn a_second_upgrade_at_the_same_time_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let go = place.file("go");
    let script = format!(
        "until [ -e {} ]; do :; done; exec {} -T {}",
        go.display(),
        env!("CARGO_BIN_EXE_reactord"),
        place.path().display()
    );
    let first = upgrading(&place.path(), &["--binary", "/bin/sh", "--", "-c", &script]);
    server.wait_for_line(|line| line.contains("Upgrade, as pid "));
    let (_, complaints) = upgrade(&place.path(), &[], 3);
    assert!(complaints.contains("refused: an upgrade is under way already (pid "), "{complaints}");
    // Whoever asked may leave: that changes nothing.
    first.signal(Signal::SIGKILL);
    assert_eq!(first.ended(), Err(Signal::SIGKILL));
    std::fs::write(go, "").expect("an own directory");
    assert_eq!(server.exit_code(), 0, "{}", server.log());
    stop(&place.path(), Vec::new());
}

#[test]
fn another_successor_may_be_quicker_than_the_one_that_was_started() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let waiting = upgrading(&place.path(), &["--binary", "/bin/sleep", "--", "1000"]);
    server.wait_for_line(|line| line.contains("Upgrade, as pid "));
    let successor = server.taken_over("");
    let (_, complaints) = waiting.output(3);
    let why = format!("refused: pid {} was started by somebody else, and has taken over", successor.pid());
    assert!(complaints.ends_with(&why), "{complaints}");
    successor.stop();
}

#[test]
fn a_hangup_upgrades_and_one_that_fails_is_a_line_in_the_log() {
    let place = Place::new();
    let program = place.file("reactord");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &program);
    let mut command = std::process::Command::new(&program);
    command.args(["-a", "127.0.0.1", "-p", "0", "-t"]).arg(place.path());
    let server = Server::spawn(&place.path(), &mut command).started();
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(server.address(), 10);
    exchange_all(&mut peers);
    install(Path::new("/bin/false"), &program);
    server.signal(Signal::SIGHUP);
    let here = format!(" peers as {} (pid {}, generation 1)", env!("REACTORD_VERSION"), server.pid());
    server.wait_for_line(|line| {
        line.contains("exited with code 1 before it took over; serving on with 10 peers") && line.ends_with(&here)
    });
    exchange_all(&mut peers);
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &program);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.exit_code(), 0, "{}", server.log());
    exchange_all(&mut peers);
    stop(&place.path(), peers);
}

#[test]
fn a_release_behind_a_link_that_was_turned_is_the_one_that_is_started() {
    let place = Place::new();
    let current = place.file("current");
    for release in ["1", "2"] {
        std::fs::create_dir(place.file(release)).expect("an own directory");
        install(Path::new(env!("CARGO_BIN_EXE_reactord")), &place.file(release).join("reactord"));
    }
    symlink(place.file("1"), &current).expect("an own directory");
    let line = format!("cd {} && exec ./reactord -a 127.0.0.1 -p 0 -t {}", current.display(), place.path().display());
    let server = Server::spawn(&place.path(), std::process::Command::new("sh").args(["-c", &line])).started();
    let _killed = KilledAtEnd(place.path());
    for release in ["2", "1"] {
        let turned = place.file("turned");
        symlink(place.file(release), &turned).expect("an own directory");
        std::fs::rename(&turned, &current).expect("an own directory");
        upgrade(&place.path(), &[], 0);
        let pid = serving(&place.path());
        let executed = std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
        assert_eq!(executed, place.file(release).join("reactord"));
    }
    assert_eq!(server.exit_code(), 0);
    stop(&place.path(), Vec::new());
}

#[test]
fn a_stop_while_a_successor_starts_leaves_the_peers_with_the_successor() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--drain-timeout 60000");
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(server.address(), 10);
    exchange_all(&mut peers);
    let go = place.file("go");
    let (go_path, takeover) = (go.display(), place.path());
    let script = format!(
        "until [ -e {go_path} ]; do :; done; exec {} -T {}",
        env!("CARGO_BIN_EXE_reactord"),
        takeover.display()
    );
    let upgrading = upgrading(&place.path(), &["--binary", "/bin/sh", "--", "-c", &script]);
    server.wait_for_line(|line| line.contains("Upgrade, as pid "));
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("SIGTERM: stopping with 10 peers"));
    std::fs::write(&go, "").expect("an own directory");
    let (told, _) = upgrading.output(0);
    assert!(told.starts_with("handed over: 10 peers"), "{told}");
    exchange_all(&mut peers);
    stop(&place.path(), peers);
}

#[test]
fn a_check_says_what_a_takeover_would_come_to_and_changes_nothing() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let _killed = KilledAtEnd(place.path());
    let mut peers = Peer::connect_many(server.address(), 10);
    let check =
        |arguments: &[&str]| Server::spawn(Path::new(""), daemon().arg("check").arg(place.path()).args(arguments));
    let (told, _) = check(&[]).output(0);
    let expected = format!("a takeover would succeed: 10 peers of seqnum and 1 listeners from {} (pid ", version());
    assert!(told.starts_with(&expected), "{told}");
    let (told, _) = check(&["--binary", env!("CARGO_BIN_EXE_reactord")]).output(0);
    assert!(told.starts_with(&expected), "{told}");
    let line = format!("ulimit -n 40; exec {} check {}", env!("CARGO_BIN_EXE_reactord"), place.path().display());
    let limited = Server::spawn(Path::new(""), std::process::Command::new("sh").args(["-c", &line]));
    let (told, complaints) = limited.output(3);
    assert_eq!(told, "");
    assert!(complaints.starts_with("refused: the successor may open 40 files, "), "{complaints}");
    assert!(complaints.ends_with(&format!("(pid {}) would serve on", server.pid())), "{complaints}");
    let (_, complaints) = Server::run(&["check", "/nowhere/at/all"]).output(3);
    assert!(complaints.contains("there is no such path"), "{complaints}");
    exchange_all(&mut peers);
    assert_eq!(server.lines_with("WARN"), Vec::<String>::new());
    server.stop_with(peers);
}

#[test]
fn who_serves_or_takes_over_does_what_is_to_be_done() {
    let place = Place::new();
    // Two at the same time: one has the path, and the other takes over from it.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let port = port.port().to_string();
    let start = || {
        let mut command = daemon();
        command.args(["-a", "127.0.0.1", "-p", &port, "--or-take-over", "-t"]).arg(place.path());
        Server::spawn(&place.path(), &mut command)
    };
    let (one, other) = (start(), start());
    let ended = |server: &Server| (!server.is_running()).then(|| server.exit_code());
    while ended(&one).is_none() && ended(&other).is_none() {
        std::thread::yield_now();
    }
    let (first, second) = if one.is_running() { (other, one) } else { (one, other) };
    assert_eq!(first.exit_code(), 0, "{}\n{}", first.log(), second.log());
    let second = second.started();
    let mut peers = Peer::connect_many(second.address(), 10);
    exchange_all(&mut peers);
    let third = start();
    third.wait_for_line(|line| line.contains("Took over 10 peers"));
    exchange_all(&mut peers);
    third.stop_with(peers);
}

#[test]
fn who_may_take_over_leaves_its_addresses_to_whoever_has_the_path_already() {
    let place = Place::new();
    // One that began a moment before, as the test is it: it has the path, and is about to listen.
    let first = UnixListener::bind(place.path()).expect("the path is free");
    first.set_nonblocking(true).expect("it is a socket");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let mut command = daemon();
    let port = address.port().to_string();
    command.args(["-a", "127.0.0.1", "-p", &port, "--or-take-over", "-t"]).arg(place.path());
    let other = Server::spawn(&place.path(), &mut command);
    let asker = accept_who_speaks(&first);
    let listener = TcpListener::bind(address).expect("whoever asks has not taken the address");
    // It ends before it serves, and the other goes on without it.
    drop(listener);
    std::fs::remove_file(place.path()).expect("it is there");
    drop((first, asker));
    let other = other.started();
    assert_eq!(other.address(), address);
    other.stop();
}

/// The first who calls and says something: others only look whether anybody answers.
#[track_caller]
fn accept_who_speaks(listener: &UnixListener) -> UnixStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((mut caller, _)) => {
                caller.set_nonblocking(false).expect("it is a socket");
                if caller.read(&mut [0; 1]).is_ok_and(|bytes| bytes > 0) {
                    return caller;
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < deadline, "somebody calls");
        std::thread::yield_now();
    }
}

#[test]
fn a_successor_that_root_starts_is_of_its_predecessors_user() {
    let place = Place::new();
    let Some(mut stranger) = crate::harness::daemon_of_stranger(&place, 1000) else {
        return skip("root is needed to be somebody else");
    };
    let directory = place.file("own");
    std::fs::create_dir(&directory).expect("an own directory");
    let user = crate::harness::STRANGER;
    std::os::unix::fs::chown(&directory, Some(user), Some(user)).expect("root gives away what is its own");
    let path = directory.join("takeover");
    stranger.args(["-a", "127.0.0.1", "-p", "0", "-t"]).arg(&path);
    let server = Server::spawn(&path, &mut stranger).started();
    let _killed = KilledAtEnd(path.clone());
    let mut peers = Peer::connect_many(server.address(), 10);
    let successor = server.taken_over("");
    let status = std::fs::read_to_string(format!("/proc/{}/status", successor.pid())).expect("it runs");
    let ids = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there").trim().to_owned();
        line.split_ascii_whitespace().map(|id| id.parse().expect("a number")).collect::<Vec<u32>>()
    };
    assert_eq!((ids("Uid:"), ids("Gid:"), ids("Groups:")), (vec![user; 4], vec![user; 4], vec![]));
    exchange_all(&mut peers);
    // And the user itself can take over again.
    let mut command = crate::harness::daemon_of_stranger(&place, 1000).expect("it was there before");
    command.arg("-T").arg(&path);
    let successor = successor.taken_over_by(Server::spawn(&path, &mut command));
    exchange_all(&mut peers);
    // Root may ask for an upgrade: the server starts it, and it is of the same user.
    upgrade(&path, &[], 0);
    assert_eq!(successor.exit_code(), 0);
    exchange_all(&mut peers);
    let pid = serving(&path);
    assert_eq!(
        std::fs::metadata(format!("/proc/{pid}")).map(|proc| std::os::unix::fs::MetadataExt::uid(&proc)).ok(),
        Some(user)
    );
    stop(&path, peers);
}

#[test]
fn lines_have_a_priority_in_the_journal_alone_also_when_its_reader_is_left_to_a_successor() {
    let place = Place::new();
    let path = place.path();
    // The shell says what the service manager would: which stream leads into the journal.
    let script = "export JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) && exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_reactord"), "-p", "0", "-t"]).arg(&path);
    let server = Server::spawn(&path, &mut command).started();
    let _killed = KilledAtEnd(path.clone());
    assert!(server.lines_with("").iter().all(|line| line.starts_with("<6>[reactord")), "{}", server.log());
    upgrade(&path, &[], 0);
    assert_eq!(server.exit_code(), 0);
    server.wait_for_line(|line| line.starts_with("<6>[reactord::") && line.contains("Took over 0 peers"));
    // What it has said before it served has come by way of its predecessor, and is for the journal, too.
    let first = format!("<6>[reactord] {}, pid ", reactord::BUILD);
    assert_eq!(server.lines_with(&first).len(), 2, "{}", server.log());
    assert!(server.lines_with("").iter().all(|line| line.starts_with("<6>[reactord")), "{}", server.log());
    stop(&path, Vec::new());

    // Somebody who has inherited the variable, and not the stream.
    let mut command = daemon();
    command.args(["-p", "0", "-t"]).arg(&path).env("JOURNAL_STREAM", "8:1234");
    let server = Server::spawn(&path, &mut command).started();
    assert!(server.lines_with("").iter().all(|line| line.starts_with("20")), "{}", server.log());
    server.stop();
}
