//! Stopping: what a signal to stop does to peers, to pending output and to a takeover.

use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;

use super::failing::Step;
use super::half_closed::{HalfClosed, half_close_peers};
use crate::harness::{Frame, Peer, Place, ScriptedSuccessor, Server, exchange_all, kind, lines};

#[test]
fn sigterm_and_sigint_close_every_peer_in_an_orderly_way() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let server = Server::serve(&place.path(), "");
        let mut peers = Peer::connect_many(server.address(), 100);
        exchange_all(&mut peers);
        server.signal(signal);
        for peer in peers {
            peer.expect_end();
        }
        assert_eq!(server.exit_code(), 0);
        assert!(!place.path().exists());
        server.wait_for_line(|line| line.contains(&format!("{signal}: stopping with 100 peers")));
    }
}

#[test]
fn sigterm_writes_pending_output_to_a_slow_reader() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 30000");
    let mut peers = half_close_peers(&place, &server);
    peers.retain(|(_, _, half_closed)| *half_closed != HalfClosed::Held);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains(": stopping with "));
    assert!(server.is_running(), "output is pending");
    for (peer, bytes, _) in &peers {
        peer.expect(bytes);
        peer.expect_end();
    }
    assert_eq!(server.exit_code(), 0);
    assert!(!place.path().exists());
    assert!(!server.last_words().contains("not all delivered"), "{}", server.log());
}

#[test]
fn sigterm_writes_pending_output_to_a_slow_reader_whose_requests_were_not_all_read() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 30000");
    let bytes = lines(3, 24 * 1024 * 1024);
    let reader = Peer::connect(server.address());
    let sent = reader.send_until_stuck(&server, &bytes);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with 1 peers"));
    assert!(server.is_running(), "output is pending");
    let received = reader.receive_to_end();
    assert_eq!(server.exit_code(), 0);
    assert!(received.len() > 256 * 1024 && received.len() <= sent, "{} of {sent} bytes came", received.len());
    assert!(bytes.starts_with(&received), "what came is what was sent");
    assert_eq!(received.last(), Some(&b'\n'), "the last line that came is whole");
    assert!(!place.path().exists());
    assert!(!server.last_words().contains("not all delivered"), "{}", server.log());
}

#[test]
fn second_signal_stops_at_once() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 60000");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&server, &lines(4, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with 1 peers"));
    assert!(server.is_running(), "output is pending");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    server.wait_for_line(|line| line.contains("again: stopping at once with 1 peers"));
    server.wait_for_line(|line| line.contains("WARN") && line.contains("the output of 1 peers is not all delivered"));
    assert!(!place.path().exists());
}

#[test]
fn drain_timeout_ends_a_stop() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 50");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&server, &lines(5, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    server.wait_for_line(|line| line.contains("WARN") && line.contains("the output of 1 peers is not all delivered"));
}

#[test]
fn sigterm_during_a_copy_lets_the_successor_take_over() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(server.address(), 500);
    exchange_all(&mut peers);
    let successor = Server::take_over(&place.path(), "");
    server.wait_for_line(|line| line.contains("begins, with 500 peers"));
    server.signal(Signal::SIGTERM);
    let successor = server.taken_over_by(successor);
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

#[test]
fn a_copy_that_does_not_end_leaves_time_for_what_has_been_answered() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 10000");
    let reader = Peer::connect(server.address());
    let bytes = lines(7, 24 * 1024 * 1024);
    reader.send_until_stuck(&server, &bytes);
    let mut successor = ScriptedSuccessor::welcomed(&place.path(), "line");
    successor.receive_until(kind::PEERS);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("Nobody has taken over: stopping with 1 peers"));
    let received = reader.receive_to_end();
    assert_eq!(server.exit_code(), 0);
    assert!(received.len() > 256 * 1024 && bytes.starts_with(&received), "{} bytes came", received.len());
    assert!(!server.last_words().contains("not all delivered"), "{}", server.log());
}

#[test]
fn sigterm_ends_a_copy_that_does_not_end_within_the_drain_timeout() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--drain-timeout 300");
    let mut peers = Peer::connect_many(server.address(), 300);
    exchange_all(&mut peers);
    let mut successor = Step::Copying.reach(&place.path());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!place.path().exists());
    let refusal: Frame = successor.receive_until(kind::REFUSE);
    assert_eq!(refusal.reason(), "the predecessor is stopping");
    assert!(successor.try_receive().is_none());
    // The successor holds no duplicate, and would not keep the connections open if it did.
    peers.iter().for_each(Peer::expect_end);
}

#[test]
fn server_that_is_stopping_hands_over_nothing() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 60000");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&server, &lines(6, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    // It goes on for a moment, for a successor that is on its way.
    server.wait_for_line(|line| line.contains("Nobody has taken over: stopping with 1 peers"));
    let (_, log) = Server::take_over(&place.path(), "").output(3);
    // The path goes just after the line that was waited for, and whoever calls in between is told.
    let told = ["there is no such path", "refused: the predecessor is stopping", "the other side closed the channel"];
    assert!(told.iter().any(|reason| log.contains(reason)), "{log}");
    assert!(server.is_running());
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_predecessor_that_is_to_wait_stays_without_serving_until_it_is_stopped() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "--after-handover wait");
    let mut peers = Peer::connect_many(first.address(), 2);
    exchange_all(&mut peers);
    let second = Server::take_over(&place.path(), "--after-handover 10").started();
    first.wait_for_line(|line| line.contains("Waiting for a signal to stop"));
    assert!(first.is_running());
    let third = Server::take_over(&place.path(), "").started();
    assert_eq!(second.exit_code(), 10, "{}", second.log());
    exchange_all(&mut peers);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.exit_code(), 0, "{}", first.log());
    third.stop_with(peers);
}

#[test]
fn one_that_is_to_wait_when_it_has_handed_over_stops_at_once_before_it_serves() {
    let place = Place::new();
    // Whoever serves there does not answer.
    let listener = UnixListener::bind(place.path()).expect("an own directory");
    let successor = Server::take_over(&place.path(), "--after-handover wait");
    let (_silent, _) = listener.accept().expect("it calls");
    successor.signal(Signal::SIGTERM);
    assert_eq!(successor.exit_code(), 128 + Signal::SIGTERM as i32, "{}", successor.log());
}
