//! The takeover path: whose it is, who may call on it, and what becomes of it.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::Signal;

use super::failing::Failing;
use crate::harness::{Peer, Place, Server, caller_sees_pid, exchange_all};

/// A server that cannot serve on `path`, and what it says.
#[track_caller]
fn refused_on(path: &Path) -> String {
    let path = path.to_str().expect("a test's path is UTF-8");
    let (_, log) = Server::run(&["-p", "0", "-t", path]).output(1);
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 1, "one line says why: {log}");
    assert!(log.contains(path), "{log}");
    log
}

/// Leaves a socket that nobody answers on. It is shut down, not only closed: a process that another test is starting has
/// it open, too, for an instant, in which a caller would find somebody.
fn leave_socket(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = Place::new();
    let (file, directory, link, dangling) =
        (place.file("file"), place.file("directory"), place.file("link"), place.file("dangling"));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&directory).unwrap();
    symlink(&file, &link).unwrap();
    symlink("nowhere", &dangling).unwrap();

    assert!(refused_on(&file).contains("is a regular file; it is left alone"));
    assert!(refused_on(&directory).contains("is a directory; it is left alone"));
    assert!(refused_on(&link).contains("is a symbolic link; it is left alone"));
    assert!(refused_on(&dangling).contains("is a symbolic link; it is left alone"));

    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(directory.is_dir());
    assert_eq!(std::fs::read_link(&link).unwrap(), file);
    assert_eq!(std::fs::read_link(&dangling).unwrap(), Path::new("nowhere"));
    assert!(refused_on(&place.file("missing/takeover")).contains("No such file or directory"));
}

#[test]
fn path_is_private_and_replaces_a_stale_socket() {
    let place = Place::new();
    leave_socket(&place.path());
    assert!(place.path().exists(), "a socket that nobody answers on is left behind");
    let server = Server::serve(&place.path(), "");
    let metadata = std::fs::symlink_metadata(place.path()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_eq!(caller_sees_pid(&place.path()), server.pid());

    // And the same of a server that was killed.
    server.kill();
    assert!(place.path().exists());
    let server = Server::serve(&place.path(), "");
    assert_eq!(caller_sees_pid(&place.path()), server.pid());
    server.stop();
}

#[test]
fn path_of_a_live_server_is_left_alone_also_after_a_takeover() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    for _ in 0..3 {
        peer.exchange();
        let inode = std::fs::symlink_metadata(place.path()).unwrap().ino();
        let log = refused_on(&place.path());
        assert!(log.contains(&format!("pid {} serves on takeover path", server.pid())), "{log}");
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode, "it is the same socket");
        server = server.taken_over("");
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode, "it is the same socket");
    }
    peer.exchange();
    server.stop_with([peer]);
}

#[test]
fn path_that_belongs_to_somebody_else_by_now_is_not_removed() {
    type Replace = fn(&Path) -> Option<UnixListener>;
    let replace: [Replace; 2] = [
        |path| std::fs::write(path, "precious").map(|()| None).unwrap(),
        |path| Some(UnixListener::bind(path).unwrap()),
    ];
    for replace in replace {
        let place = Place::new();
        let server = Server::serve(&place.path(), "").taken_over("");
        // In one step: a path that is missing is soon made anew.
        let replacement = place.file("replacement");
        let _listener = replace(&replacement);
        std::fs::rename(&replacement, place.path()).unwrap();
        let inode = std::fs::symlink_metadata(place.path()).unwrap().ino();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        server.wait_for_line(|line| line.contains("WARN") && line.contains("belongs to somebody else by now"));
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode);
    }
}

#[test]
fn second_server_on_the_same_port_leaves_the_first_untouched() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    peer.exchange();
    let (port, other) = (server.address().port().to_string(), place.file("other"));
    // The path comes first: of two that begin at the same time, the other knows whom to take over from.
    let busy = format!("listening on [127.0.0.1]:{port}: Address already in use");
    let serves = format!("pid {} serves on takeover path", server.pid());
    for (path, why) in [(place.path(), serves), (other.clone(), busy)] {
        let (_, log) = Server::run(&["-p", &port, "-t", path.to_str().expect("a test's path is UTF-8")]).output(1);
        assert!(log.contains(&why), "{log}");
    }
    assert!(!other.exists(), "nothing is left behind");
    peer.exchange();
    let successor = server.taken_over("");
    peer.exchange();
    successor.stop_with([peer]);
}

#[test]
fn takeover_on_a_path_that_nobody_answers_on_fails() {
    let place = Place::new();
    let path = place.path();
    let (_, log) = Server::take_over(&path, "").output(3);
    assert!(log.contains("there is no such path"), "{log}");
    leave_socket(&path);
    let (_, log) = Server::take_over(&path, "").output(3);
    assert!(log.contains("nobody answers"), "{log}");
    assert!(path.exists(), "a successor that could not call has touched nothing");
    let file = place.file("file");
    std::fs::write(&file, "precious").unwrap();
    for (path, what) in [(file, "it is a regular file"), (place.file(""), "it is a directory")] {
        let (_, log) = Server::take_over(&path, "").output(3);
        assert!(log.contains(what), "{log}");
    }
}

#[test]
fn successor_that_cannot_move_to_a_path_leaves_peers_with_predecessor() {
    let mut failing = Failing::with_peers(10);
    let taken = failing.place.file("taken");
    std::fs::write(&taken, "precious").unwrap();
    let (_, log) = Server::take_over(&failing.path(), &format!("-t {}", taken.display())).output(3);
    assert!(log.contains("is a regular file; it is left alone"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    assert!(told.contains("failed: the successor gave up: ") && told.contains("regular file"), "{told}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}
