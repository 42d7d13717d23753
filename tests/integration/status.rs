//! What a server says of itself, to people and to programs, over all processes that it has been.

use std::path::Path;

use crate::harness::{Peer, Place, Server, daemon, exchange_all};

/// What `reactord status` prints.
#[track_caller]
fn status(path: &Path, option: &[&str]) -> String {
    let output = daemon().arg("status").arg(path).args(option).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn figures(path: &Path) -> serde_json::Value {
    let line = status(path, &["--json"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_server_says_how_it_stands_and_its_successor_goes_on_counting() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(first.address(), 3);
    exchange_all(&mut peers);
    let before = figures(&place.path());
    assert_eq!((before["generation"].as_u64(), before["pid"].as_u64()), (Some(1), Some(first.pid().into())));
    assert_eq!((before["accepted"].as_u64(), before["services"][0]["peers"].as_u64()), (Some(3), Some(3)));
    assert_eq!(before["listeners"][0]["at"].as_str(), Some(&*first.address().to_string()));
    assert!(before["takeover"].is_null() && before["failure"].is_null());

    let second = first.taken_over("");
    exchange_all(&mut peers);
    peers.push(Peer::connect(second.address()));
    exchange_all(&mut peers);
    let after = figures(&place.path());
    assert_eq!((after["generation"].as_u64(), after["pid"].as_u64()), (Some(2), Some(second.pid().into())));
    assert_eq!((after["accepted"].as_u64(), after["services"][0]["peers"].as_u64()), (Some(4), Some(4)));
    assert_eq!(after["began_unix_ms"], before["began_unix_ms"]);
    let takeover = &after["takeover"];
    assert_eq!((takeover["peers"].as_u64(), &takeover["predecessor_pid"]), (Some(3), &before["pid"]));
    assert!(takeover["pause_us"].is_u64());

    let text = status(&place.path(), &[]);
    let first_line = text.lines().next().unwrap();
    let pid = second.pid();
    assert!(first_line.contains(&format!("pid {pid}, generation 2, on {}", place.path().display())), "{text}");
    assert!(text.contains("seqnum: 4 peers of ") && text.contains("4 accepted, 0 given away, 0 taken"), "{text}");
    second.stop_with(peers);
}

#[test]
fn a_takeover_that_failed_is_told_with_its_reason() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let refused = daemon().arg("-T").arg(place.path()).args(["--service", "line"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let failure = &figures(&place.path())["failure"];
    assert!(failure["why"].as_str().unwrap().contains("the predecessor serves seqnum, the successor offers line"));
    assert!(status(&place.path(), &[]).contains("1 takeovers failed"));
    server.stop_with(Vec::new());
}

#[test]
fn where_nobody_answers_that_is_said_with_the_path() {
    let place = Place::new();
    let output = daemon().arg("status").arg(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("the server on {}: there is no such path", place.path().display());
    assert!(error.contains(&expected) && output.stdout.is_empty(), "{error}");
}
