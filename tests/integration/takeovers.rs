//! Takeovers that succeed: every peer is there afterwards, with every byte and in the state that it was in.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use super::half_closed::half_close_peers;
use crate::harness::{Peer, Place, Server, caller_sees_pid, daemon, exchange_all, figure, lines, skip};

/// Lets a successor take over so many peers, each of which talks before and after.
#[track_caller]
fn takeover_keeps_every_peer(count: usize) {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), count);
    exchange_all(&mut peers);

    let successor = predecessor.taken_over("");
    exchange_all(&mut peers);
    exchange_all(&mut peers);
    let summary = successor.wait_for_line(|line| line.contains("Took over "));
    assert!(summary.contains(&format!("Took over {count} peers ")), "{summary}");
    assert!(summary.contains(" us, pause ") && summary.ends_with(" us"), "{summary}");
    Peer::connect(successor.address()).exchange();
    assert_eq!(caller_sees_pid(&place.path()), successor.pid());
    peers.iter().for_each(Peer::assert_open_and_silent);
    successor.stop_with(peers);
}

#[test]
fn takeover_without_peers_moves_the_listener() {
    takeover_keeps_every_peer(0);
}

#[test]
fn takeover_keeps_1_peer() {
    takeover_keeps_every_peer(1);
}

#[test]
fn takeover_keeps_as_many_peers_as_one_message_carries_and_one_more_or_less() {
    for count in [249, 250, 251, 252, 253, 254] {
        takeover_keeps_every_peer(count);
    }
}

#[test]
fn takeover_keeps_1000_peers() {
    takeover_keeps_every_peer(1000);
}

#[test]
fn takeover_keeps_2000_peers() {
    takeover_keeps_every_peer(2000);
}

#[test]
fn peers_half_way_through_a_message_go_on_at_the_next_byte() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 300);
    exchange_all(&mut peers);
    for _ in 0..2 {
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.ask_begin(1 + index % 3);
        }
        server = server.taken_over("");
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.assert_open_and_silent();
            peer.ask_end(1 + index % 3);
            peer.ask();
        }
        for peer in &mut peers {
            peer.hear();
            peer.hear();
        }
    }
    server.stop_with(peers);
}

#[test]
fn idle_peers_stay_open_and_silent() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 500);
    // The server has them all, and no peer has ever said a word.
    predecessor.wait_for_lines(500, |line| line.contains("Accepting connection from Peer "));
    let successor = predecessor.taken_over("-v");
    successor.wait_for_lines(500, |line| line.contains("Holding connection with Peer "));
    peers.iter().for_each(Peer::assert_open_and_silent);
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

/// A client sends until the server does not read any more, the server is taken over, and then every answer comes.
#[track_caller]
fn slow_reader_gets_every_byte(arguments: &str, bytes: &[u8]) {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), arguments);
    let reader = Peer::connect(server.address());
    let sent = reader.send_until_stuck(&server, bytes);
    server = server.taken_over("");
    let summary = server.wait_for_line(|line| line.contains("Took over "));
    let copied_bytes: u64 = figure(&summary, " bytes");
    // A peer that is held has more pending than the low-water mark; the kernel may have taken some since it was held.
    assert!(copied_bytes > 64 * 1024, "pending output travels: {summary}");
    // Once more, with what the first successor has not written either.
    server = server.taken_over("");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            reader.send(&bytes[sent..]);
            reader.end_sending();
        });
        reader.expect(bytes);
    });
    reader.expect_end();
    server.stop();
}

#[test]
fn slow_reader_gets_every_number_after_a_takeover() {
    let numbers: Vec<u8> = (0..4 * 1024 * 1024u32).flat_map(u32::to_be_bytes).collect();
    slow_reader_gets_every_byte("--service seqnum", &numbers);
}

#[test]
fn slow_reader_gets_every_line_after_a_takeover() {
    slow_reader_gets_every_byte("--service line", &lines(1, 24 * 1024 * 1024));
}

#[test]
fn half_closed_peers_get_every_answer_and_then_the_end() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "--service line");
    let peers = half_close_peers(&place, &predecessor);
    let successor = predecessor.taken_over("");
    for (peer, bytes, _) in &peers {
        peer.expect(bytes);
        peer.expect_end();
    }
    successor.stop();
}

#[test]
fn takeover_moves_to_another_path_and_chains_from_there() {
    let place = Place::new();
    let other = place.file("other");
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let moved = predecessor.taken_over(&format!("-t {}", other.display()));
    moved.wait_for_line(|line| line.contains(&format!("Starting Takeover channel on [{}]", other.display())));
    exchange_all(&mut peers);
    assert!(!place.path().exists(), "the path that was moved away from is gone");
    assert_eq!(caller_sees_pid(&other), moved.pid());

    let refused = Server::take_over(&place.path(), "");
    let (_, log) = refused.output(3);
    assert!(log.contains("there is no such path"), "{log}");
    let last = moved.taken_over_by(Server::take_over(&other, ""));
    exchange_all(&mut peers);
    assert_eq!(caller_sees_pid(&other), last.pid());
    last.signal(Signal::SIGTERM);
    assert_eq!(last.exit_code(), 0);
    assert!(!other.exists());
}

#[test]
fn takeover_works_on_ipv6() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        return skip(&format!("this machine has no ::1: {error}"));
    }
    let place = Place::new();
    let path = place.path();
    let arguments = ["-a", "::1", "-p", "0", "-t", path.to_str().expect("a test's path is UTF-8")];
    let predecessor = Server::spawn(&path, daemon().args(arguments)).started();
    assert!(predecessor.address().is_ipv6());
    let mut peers = Peer::connect_many(predecessor.address(), 300);
    exchange_all(&mut peers);
    let successor = predecessor.taken_over("");
    assert!(successor.address().is_ipv6());
    exchange_all(&mut peers);
    Peer::connect(successor.address()).exchange();
    successor.stop_with(peers);
}
