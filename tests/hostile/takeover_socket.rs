//! The takeover socket: rogues of the same user, many callers, frames and descriptors that nobody asked for, and a path
//! that others lay hands on.

use std::collections::VecDeque;
use std::fs::Permissions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::ioctl_fionbio;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::harness::{
    Peer, Place, STRANGER, ScriptedSuccessor, Server, caller_sees_pid, daemon_of_stranger, exchange_all, figure, frame,
    hello, kind, receive_with_descriptors, send_with_descriptors, skip,
};
use crate::integration::failing::{Failing, Step};

/// The header of a frame that announces as much as a frame can.
fn frame_of_4_gib(kind: u8) -> Vec<u8> {
    let mut header = frame(kind, b"");
    header[..4].fill(0xff);
    header
}

#[test]
fn rogue_that_takes_all_descriptors_and_does_nothing_is_given_up() {
    let mut failing = Failing::with_peers(300);
    let rogue = ScriptedSuccessor::call(&failing.path());
    rogue.send(&hello("seqnum"));
    let mut stolen: Vec<OwnedFd> = Vec::new();
    // The listeners, and all peers.
    while stolen.len() < 2 + 300 {
        stolen.extend(rogue.receive_descriptors());
    }
    exchange_all(&mut failing.peers);
    failing.expect_failure("failed: the successor was silent for 10000 ms; serving on with 300 peers");
    // It still holds them, and that keeps no connection open.
    let leaving = failing.peers.pop().expect("there are 300");
    leaving.end_sending();
    leaving.expect_end();
    failing.end_with_a_takeover();
    drop(stolen);
}

#[test]
fn thousand_calls_on_the_takeover_path_keep_nobody_waiting() {
    /// How many callers a server listens to at once.
    const CALLERS_MAX: usize = 16;
    let mut failing = Failing::with_peers(100);
    let files_before = failing.predecessor.open_files();
    let address = SocketAddrUnix::new(failing.path()).unwrap();
    let mut callers: VecDeque<OwnedFd> = VecDeque::new();
    let mut most_at_once = 0;
    for number in 0..1000 {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let caller = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        // The queue is full: the first ones leave.
        while connect(&caller, &address).is_err() {
            callers.pop_front();
            exchange_all(&mut failing.peers);
        }
        match number % 3 {
            0 => drop(rustix::io::write(&caller, b"garbage, and enough of it for a header")),
            1 => drop(rustix::io::write(&caller, &hello("seqnum")[..20])),
            _ => {}
        }
        callers.push_back(caller);
        most_at_once = most_at_once.max(callers.len());
        let files = failing.predecessor.open_files();
        assert!(files <= files_before + CALLERS_MAX + 1, "{files} open files, {files_before} before");
    }
    assert!(most_at_once > CALLERS_MAX, "{most_at_once} callers at once");
    exchange_all(&mut failing.peers);
    drop(callers);
    assert_eq!(caller_sees_pid(&failing.path()), failing.predecessor.pid());
    assert!(failing.predecessor.comes_down_to_open_files(files_before));
    failing.end_with_a_takeover();
}

#[test]
fn frame_that_announces_4_gib_costs_a_predecessor_no_memory() {
    for step in Step::ALL {
        let mut failing = Failing::with_peers(10);
        let resident_before = failing.predecessor.resident_bytes();
        let mut successor = step.reach(&failing.path());
        successor.send(&frame_of_4_gib(kind::HELLO));
        failing.expect_failure("a frame announces 4294967295 bytes, at most 65536 are allowed");
        while successor.try_receive().is_some() {}
        let grown = failing.predecessor.resident_bytes().saturating_sub(resident_before);
        assert!(grown < 4 << 20, "{grown} bytes");
        failing.end_with_a_takeover();
    }
}

/// A successor that has called on a path where the test answers, and said Hello.
#[track_caller]
fn called(path: &Path) -> (Server, UnixStream) {
    let listener = UnixListener::bind(path).unwrap();
    let successor = Server::take_over(path, "");
    let (socket, _) = listener.accept().unwrap();
    (successor, socket)
}

#[test]
fn frame_that_announces_4_gib_ends_a_successor() {
    let place = Place::new();
    let (successor, socket) = called(&place.path());
    send_with_descriptors(&socket, &frame_of_4_gib(kind::WELCOME), &[]).unwrap();
    let (_, log) = successor.output(3);
    assert!(log.contains("a frame announces 4294967295 bytes, at most 67108864 are allowed"), "{log}");
}

#[test]
fn descriptors_that_come_to_a_predecessor_unasked_are_closed() {
    let mut failing = Failing::with_peers(10);
    let file = std::fs::File::open("/dev/null").unwrap();
    let unasked = [file.as_fd(); 200];
    let files_before = failing.predecessor.open_files();
    // With the first byte, with a Hello, and with what comes later.
    let silent = ScriptedSuccessor::call(&failing.path());
    silent.send_with(&hello("seqnum")[..5], &unasked);
    let mut successor = ScriptedSuccessor::call(&failing.path());
    successor.send_with(&hello("seqnum"), &unasked);
    successor.receive_until(kind::PEERS);
    // Both have been heard, and are two files.
    let files = failing.predecessor.open_files();
    assert!(files <= files_before + 2, "{files} open files, {files_before} before");
    drop(silent);
    successor.send_with(&frame(99, b""), &unasked);
    failing.expect_failure("a frame has the unknown kind 99");
    assert!(failing.predecessor.comes_down_to_open_files(files_before), "{}", failing.predecessor.open_files());
    failing.end_with_a_takeover();
}

/// Where somebody between the two sides slips another listener in among the descriptors on their way to the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unasked {
    /// In the place of the listener, or of the takeover listener.
    Instead(usize),
    /// With Welcome, which comes without any.
    First,
    /// With everything that comes after the listeners.
    Later,
}

#[test]
fn descriptors_that_come_to_a_successor_unasked_end_it_before_it_owns_a_peer() {
    for (unasked, peers) in [
        (Unasked::Instead(0), 0),
        (Unasked::Instead(1), 0),
        (Unasked::First, 0),
        (Unasked::First, 10),
        (Unasked::Later, 0),
        (Unasked::Later, 10),
    ] {
        let place = Place::new();
        let predecessor = Server::serve(&place.path(), "");
        let mut peers = Peer::connect_many(predecessor.address(), peers);
        exchange_all(&mut peers);
        let between = place.file("between");
        let (successor, back) = called(&between);
        let forth = UnixStream::connect(place.path()).unwrap();
        let (_, log) = std::thread::scope(|scope| {
            let (forth, back) = (&forth, &back);
            scope.spawn(move || pass_on(back, forth, |_, _| {}));
            scope.spawn(move || {
                let mut messages = 0;
                pass_on(forth, back, |descriptors, surplus| {
                    messages += 1;
                    match unasked {
                        Unasked::Instead(index) if messages <= 2 && !descriptors.is_empty() => {
                            descriptors[index] = surplus
                        }
                        Unasked::First if messages == 1 => descriptors.insert(0, surplus),
                        Unasked::Later if messages > 1 => descriptors.insert(0, surplus),
                        _ => {}
                    }
                });
            });
            successor.output(3)
        });
        assert!(log.contains("descriptor") || log.contains("came with the socket"), "{unasked:?}: {log}");
        predecessor.wait_for_line(|line| line.contains("WARN") && line.contains("serving on"));
        exchange_all(&mut peers);
        let successor = predecessor.taken_over("");
        exchange_all(&mut peers);
        successor.stop_with(peers);
    }
}

/// Passes on what comes from one side to the other, and lets `slip_in` do something to the descriptors with a listener
/// that could be taken for one of those that are expected.
fn pass_on(
    from: &UnixStream,
    to: &UnixStream,
    mut slip_in: impl for<'a> FnMut(&mut Vec<BorrowedFd<'a>>, BorrowedFd<'a>),
) {
    let surplus = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    loop {
        let (bytes, descriptors) = receive_with_descriptors(from);
        if bytes.is_empty() {
            // Each side is to learn that the other one has ended.
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
        let mut all: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        slip_in(&mut all, surplus.as_fd());
        if send_with_descriptors(to, &bytes, &all).is_err() {
            return;
        }
    }
}

/// A successor that takes over through somebody who is between the two sides, who does `look` to both and to the
/// descriptors of each message on their way.
#[track_caller]
fn taken_over_past(
    place: &Place,
    predecessor: Server,
    mut look: impl FnMut(&Server, &Server, &[BorrowedFd<'_>]) + Send,
) -> Server {
    let (successor, back) = called(&place.file("between"));
    let forth = UnixStream::connect(place.path()).unwrap();
    std::thread::scope(|scope| {
        let (forth, back, predecessor, successor) = (&forth, &back, &predecessor, &successor);
        scope.spawn(move || pass_on(back, forth, |_, _| {}));
        scope.spawn(move || pass_on(forth, back, |descriptors, _| look(predecessor, successor, descriptors)));
    });
    std::fs::remove_file(place.file("between")).unwrap();
    // The predecessor knows it by the pid of whoever is between.
    assert_eq!(predecessor.exit_code(), 0);
    successor.started()
}

#[test]
fn listeners_that_block_hold_up_no_successor() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let mut blocking = 0;
    let successor = taken_over_past(&place, predecessor, |predecessor, _, descriptors| {
        // The listener and the takeover listener; peers come in one message after that.
        if descriptors.len() == 2 {
            // They are the predecessor's, too, which would wait in accept for ever.
            assert!(predecessor.suspend());
            descriptors.iter().for_each(|listener| ioctl_fionbio(listener, false).unwrap());
            blocking += descriptors.len();
            let listeners: Vec<OwnedFd> = descriptors.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
            let predecessor = Pid::from_raw(predecessor.pid().cast_signed());
            std::thread::spawn(move || {
                let flags = |listener: &OwnedFd| OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL).unwrap());
                let blocks = |listener: &OwnedFd| !flags(listener).contains(OFlag::O_NONBLOCK);
                while listeners.iter().any(blocks) {
                    std::thread::yield_now();
                }
                kill(predecessor, Signal::SIGCONT).unwrap();
            });
        }
    });
    assert_eq!(blocking, 2);
    exchange_all(&mut peers);
    peers.extend(Peer::connect_many(successor.address(), 1));
    exchange_all(&mut peers);
    let successor = successor.taken_over_by(Server::take_over(&place.path(), ""));
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

#[test]
fn successor_is_the_first_to_be_killed_for_memory_until_it_owns_the_peers() {
    let place = Place::new();
    let score = |server: &Server| std::fs::read_to_string(format!("/proc/{}/oom_score_adj", server.pid())).unwrap();
    let predecessor = Server::serve(&place.path(), "");
    let before = score(&predecessor);
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let mut during = Vec::new();
    let successor = taken_over_past(&place, predecessor, |_, successor, _| during.push(score(successor)));
    // Before its first answer it is a process like any other.
    assert!(during[1..].iter().any(|score| score == "1000\n"), "{during:?}");
    exchange_all(&mut peers);
    assert_eq!(score(&successor), before);
    successor.stop_with(peers);
}

#[test]
fn user_that_a_user_namespace_does_not_map_is_not_taken_for_the_servers_own() {
    const NOBODY: u32 = 65534;
    let place = Place::new();
    let path = place.path();
    let Some(mut stranger) = daemon_of_stranger(&place, 1024) else {
        return skip("only root can become other users");
    };
    let within = |program: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "unshare", "-U"]);
        command.args(["--map-user=65534", "--map-group=65534"]).arg(program);
        command
    };
    if !within(Path::new("true")).status().is_ok_and(|status| status.success()) {
        return skip("there are no user namespaces");
    }
    chown(place.directory(), Some(NOBODY), None).unwrap();
    let server = Server::spawn(&path, within(&place.file("reactord")).args(["-p", "0", "-t"]).arg(&path)).started();
    server.wait_for_line(|line| line.contains("WARN") && line.contains("uid 65534 stands for every user"));
    let mut peers = Peer::connect_many(server.address(), 10);
    exchange_all(&mut peers);
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let refused = Server::spawn(&path, stranger.arg("-T").arg(&path));
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: uid 65534 stands for every user that this user namespace does not map"), "{log}");
    exchange_all(&mut peers);
    server.stop_with(peers);
}

#[test]
fn pause_across_time_namespaces_is_given_as_a_bound() {
    let place = Place::new();
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--time", "--monotonic", "86400"]);
    if !Command::new("unshare").args(["--time", "--monotonic", "86400", "true"]).status().is_ok_and(|s| s.success()) {
        return skip("there are no time namespaces, or only root can have them");
    }
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let began = Instant::now();
    let successor =
        Server::spawn(&place.path(), elsewhere.arg(env!("CARGO_BIN_EXE_reactord")).arg("-T").arg(place.path()));
    let successor = predecessor.taken_over_by(successor);
    let told = successor.wait_for_line(|line| line.contains("Took over "));
    let (_, pause) = told.split_once("pause at most ").expect("the two have no clock in common");
    assert!(u128::from(figure(pause, " us")) < began.elapsed().as_micros(), "{told}");
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

// ── The path ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn path_that_is_removed_while_serving_is_made_anew_also_with_its_directory() {
    let place = Place::new();
    let directory = place.file("directory");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("takeover");
    let mut server = Server::serve(&path, "");
    let mut peer = Peer::connect(server.address());
    for is_all_removed in [false, true] {
        if is_all_removed {
            std::fs::remove_dir_all(&directory).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        server.wait_for_line(|line| line.contains("WARN") && line.contains("was gone, and has been made anew"));
        peer.exchange();
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::symlink_metadata(&directory).unwrap().mode() & 0o022, 0);
        assert_eq!(caller_sees_pid(&path), server.pid());
        server = server.taken_over("");
        peer.exchange();
    }
    server.stop_with([peer]);
    assert!(!path.exists());
}

#[test]
fn path_that_is_renamed_while_serving_is_made_anew() {
    let place = Place::new();
    let renamed = place.file("renamed");
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    std::fs::rename(place.path(), &renamed).unwrap();
    server.wait_for_line(|line| line.contains("was gone, and has been made anew"));
    assert!(renamed.exists(), "nobody knows whose it is");
    let successor = server.taken_over("");
    peer.exchange();
    successor.stop_with([peer]);
}

#[test]
fn path_that_another_server_has_by_now_is_left_to_it_until_that_is_gone() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    // In one step: a path that is missing is soon made anew.
    let other = UnixListener::bind(place.file("other")).unwrap();
    std::fs::rename(place.file("other"), place.path()).unwrap();
    let told = server.wait_for_line(|line| line.contains("does not lead here any more"));
    assert!(told.contains("cannot be made anew: another server answers on it"), "{told}");
    assert_eq!(caller_sees_pid(&place.path()), std::process::id());
    peer.exchange();
    drop(other);
    server.wait_for_line(|line| line.contains("was left behind by a process that is gone, and is replaced"));
    server.wait_for_line(|line| line.contains("has been made anew"));
    let successor = server.taken_over("");
    peer.exchange();
    successor.stop_with([peer]);
}

#[test]
fn path_in_a_directory_that_became_unwritable_is_left_behind_with_a_warning() {
    let place = Place::new();
    let directory = place.file("directory");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("takeover");
    let start = |arguments: &[&str]| {
        let arguments = [arguments, &[path.to_str().expect("a test's path is UTF-8")]].concat();
        match daemon_of_stranger(&place, 1024) {
            Some(mut command) => Server::spawn(&path, command.args(&arguments)),
            None => Server::run(&arguments),
        }
    };
    if nix::unistd::geteuid().is_root() {
        chown(&directory, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let predecessor = start(&["-p", "0", "-t"]).started();
    let mut peer = Peer::connect(predecessor.address());
    peer.exchange();
    std::fs::set_permissions(&directory, Permissions::from_mode(0o555)).unwrap();
    let successor = predecessor.taken_over_by(start(&["-T"]));
    peer.exchange();
    successor.signal(Signal::SIGTERM);
    peer.expect_end();
    assert_eq!(successor.exit_code(), 0);
    successor.wait_for_line(|line| line.contains("WARN") && line.contains("is left behind: Permission denied"));
    assert!(path.exists());
    std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
}
