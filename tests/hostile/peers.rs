//! Peers: resets at every moment, every state that TCP knows, clients that vanish, and clients that take their time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use procfs::net::TcpState;

use crate::harness::{PATIENCE, Peer, Place, Server, exchange_all, lines};
use crate::integration::failing::{Failing, MOMENTS, Step};

/// Waits until the kernel says so of the server's end of a connection.
#[track_caller]
fn wait_for_state(peer: &Peer, wanted: TcpState) {
    wait_for_one_of(peer, &[wanted]);
}

/// The same of one of several states, which is returned.
#[track_caller]
fn wait_for_one_of(peer: &Peer, wanted: &[TcpState]) -> TcpState {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let state = peer.server_end().map(|socket| socket.state);
        if let Some(state) = state.clone().filter(|state| wanted.contains(state)) {
            return state;
        }
        assert!(std::time::Instant::now() < deadline, "the server's end is {state:?}, {wanted:?} was expected");
        std::thread::yield_now();
    }
}

/// A server stops, and says with how many peers.
#[track_caller]
fn stop_with_exactly(server: Server, peers: Vec<Peer>) {
    let stopping = format!("stopping with {} peers", peers.len());
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with "));
    assert_eq!(server.lines_with(&stopping).len(), 1, "{}", server.log());
    peers.iter().for_each(Peer::expect_end);
    assert_eq!(server.exit_code(), 0);
}

// ── Resets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[derive(Clone, Copy, Debug)]
enum Suspended {
    Predecessor,
    Successor,
}

#[test]
fn connections_reset_at_any_moment_of_a_takeover_are_gone_and_no_other_is() {
    for suspended in [Suspended::Predecessor, Suspended::Successor] {
        for moment in MOMENTS {
            let place = Place::new();
            let predecessor = Server::serve(&place.path(), "--freeze-timeout 20000");
            let mut peers = Peer::connect_many(predecessor.address(), 300);
            exchange_all(&mut peers);
            let successor = Server::take_over(&place.path(), "-v");
            if moment > 0 {
                successor.wait_for_lines(moment, |_| true);
            }
            // Either may be further by then, the predecessor even gone.
            match suspended {
                Suspended::Predecessor => predecessor.suspend(),
                Suspended::Successor => successor.suspend(),
            };
            peers.iter_mut().for_each(Peer::ask);
            for (index, peer) in peers.drain(..200).enumerate() {
                // With and without something that nobody has read; some are dirty, some are not.
                if index % 2 == 0 {
                    peer.send(&[0; 3]);
                }
                peer.reset();
            }
            match suspended {
                Suspended::Predecessor => predecessor.resume(),
                Suspended::Successor => successor.resume(),
            }
            let successor = predecessor.taken_over_by(successor);
            peers.iter_mut().for_each(Peer::hear);
            exchange_all(&mut peers);
            stop_with_exactly(successor, peers);
        }
    }
}

#[test]
fn connections_reset_during_the_freeze_are_gone_after_the_thaw() {
    let mut failing = Failing::with_peers_and_little_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    for peer in failing.peers.drain(..100) {
        peer.send(&[0; 7]);
        peer.reset();
    }
    failing.peers.iter_mut().for_each(Peer::ask);
    failing.peers.iter_mut().for_each(Peer::hear);
    failing.expect_failure("failed: the successor has not accepted within the freeze timeout of 100 ms");
    drop(successor);
    let successor = failing.predecessor.taken_over("");
    exchange_all(&mut failing.peers);
    stop_with_exactly(successor, failing.peers);
}

// ── The states of TCP ──────────────────────────────────────────────────────────────────────────────────────────────

/// A peer to whom the server does not listen any more, though its window is open: its answers wait for a client that
/// does not read. Returns it with what it has sent.
#[track_caller]
fn held_with_room(server: &Server) -> (Peer, Vec<u8>) {
    let peer = Peer::connect(server.address());
    let other = Peer::connect(server.address());
    let mut sent = Vec::new();
    for seed in 1.. {
        // The window has room for several of them.
        let piece = lines(seed, 16 << 10);
        peer.send(&piece);
        sent.extend(piece);
        // Another peer's turn comes after this one's; unread is what stays unread for many of them.
        let read = (0..50).any(|_| {
            other.send(b"turn\n");
            other.expect(b"turn\n");
            peer.server_end().is_some_and(|socket| socket.rx_queue == 0)
        });
        if !read {
            break;
        }
        assert!(sent.len() < 64 << 20, "a peer that does not read is never held");
    }
    (peer, sent)
}

/// The states of a connection whose client has ended its side. The kernel may come to take all that is left of the answers, and the
/// server's end after them.
const HALF_CLOSED: [TcpState; 2] = [TcpState::CloseWait, TcpState::LastAck];

/// Unread data behind a full send queue, and then the client's end. Returns the peer with what it has sent.
#[track_caller]
fn ended_while_held(server: &Server) -> (Peer, Vec<u8>) {
    /// A busy receiver may shut the window although there is room, and the end waits behind that.
    const ATTEMPTS_MAX: usize = 20;
    let other = Peer::connect(server.address());
    for _ in 0..ATTEMPTS_MAX {
        let (peer, mut sent) = held_with_room(server);
        peer.send(b"the last line\n");
        sent.extend(b"the last line\n");
        peer.end_sending();
        let has_arrived = (0..500).any(|_| {
            other.send(b"turn\n");
            other.expect(b"turn\n");
            peer.server_end().is_some_and(|socket| HALF_CLOSED.contains(&socket.state))
        });
        if has_arrived {
            return (peer, sent);
        }
    }
    panic!("no client's end arrives while the server does not read");
}

#[test]
fn connections_in_every_state_go_on_after_two_takeovers() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "--service line");
    let address = server.address();

    let [established, urgent] = [Peer::connect(address), Peer::connect(address)];
    established.send(b"half");
    urgent.send(b"half");
    urgent.send_urgent();

    let (ended, ended_sent) = ended_while_held(&server);

    // The same, and there is no room in either direction.
    let stuck = Peer::connect(address);
    let stuck_bytes = lines(5, 24 << 20);
    let stuck_sent = stuck.send_until_stuck(&server, &stuck_bytes);

    for turn in 0..2 {
        wait_for_state(&established, TcpState::Established);
        wait_for_state(&urgent, TcpState::Established);
        let ended_state = wait_for_one_of(&ended, &HALF_CLOSED);
        wait_for_state(&stuck, TcpState::Established);
        for (peer, has_unread) in [(&ended, ended_state == TcpState::CloseWait), (&stuck, true)] {
            let socket = peer.server_end().expect("it was there just now");
            assert!(socket.tx_queue > 0, "takeover {turn}: {socket:?}");
            // The kernel may have come to take so much more since that the server has read what was left.
            assert!(socket.rx_queue > 0 || turn > 0 || !has_unread, "takeover {turn}: {socket:?}");
        }
        server = server.taken_over("");
        established.send(b" and half");
        urgent.send(b" and half");
        urgent.send_urgent();
    }
    established.send(b" a line\n");
    established.expect(b"half and half and half a line\n");
    urgent.send(b" a line\n");
    urgent.expect(b"half and half and half a line\n");
    ended.expect(&ended_sent);
    ended.expect_end();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stuck.send(&stuck_bytes[stuck_sent..]);
            stuck.end_sending();
        });
        stuck.expect(&stuck_bytes);
    });
    stuck.expect_end();
    stop_with_exactly(server, vec![established, urgent]);
}

#[test]
fn connection_that_the_server_has_half_closed_is_not_reset_after_a_takeover() {
    /// It is half-closed for two seconds at most, which a busy machine may spend on starting a successor.
    const ATTEMPTS_MAX: usize = 10;
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "--service line");
    for _ in 0..ATTEMPTS_MAX {
        let peer = Peer::connect(server.address());
        peer.send(&[b'x'; 64 * 1024 + 1]);
        peer.expect_end();
        wait_for_state(&peer, TcpState::FinWait2);
        server = server.taken_over("-v");
        if server.lines_with("Took over 1 peers ").is_empty() {
            continue;
        }
        let address = peer.address();
        peer.send(b"this is thrown away\n");
        // It is not reset for that.
        peer.expect_end();
        drop(peer);
        let released = format!("Releasing Peer [{}]:{}", address.ip(), address.port());
        server.wait_for_line(|line| line.contains(&released));
        return server.stop();
    }
    panic!("in {ATTEMPTS_MAX} attempts, no connection was taken over half-closed:\n{}", server.log());
}

// ── Coming and going ───────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn five_thousand_clients_that_connect_and_vanish_leave_nothing() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut staying = Peer::connect_many(server.address(), 50);
    exchange_all(&mut staying);
    let files_before = server.open_files();
    for round in 0..50 {
        for (index, mut peer) in Peer::connect_many(server.address(), 100).into_iter().enumerate() {
            match index % 4 {
                // Before a word, in the middle of one, and before the answer.
                0 => peer.reset(),
                1 => {
                    peer.ask_begin(2);
                    peer.reset();
                }
                2 => {
                    peer.ask();
                    peer.reset();
                }
                _ => peer.ask(),
            }
        }
        exchange_all(&mut staying);
        if round == 25 {
            server = server.taken_over("");
        }
    }
    exchange_all(&mut staying);
    assert!(server.comes_down_to_open_files(files_before), "{} files, {files_before} before", server.open_files());
    stop_with_exactly(server, staying);
}

#[test]
fn clients_that_send_a_byte_at_a_time_keep_nobody_waiting() {
    const LINE: &[u8] = b"as slow as a loris\n";
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "--service line");
    let slow = Peer::connect_many(server.address(), 300);
    let busy = Peer::connect_many(server.address(), 10);
    for byte in LINE.chunks(1) {
        slow.iter().for_each(|peer| peer.send(byte));
        for _ in 0..10 {
            busy.iter().for_each(|peer| peer.send(b"busy\n"));
            busy.iter().for_each(|peer| peer.expect(b"busy\n"));
        }
        if byte == b"w" {
            server = server.taken_over("");
        }
        if byte != b"\n" {
            slow[0].stays_silent_for(Duration::from_millis(1));
        }
    }
    slow.iter().for_each(|peer| peer.expect(LINE));
    server.stop_with(slow.into_iter().chain(busy));
}

// ── Lines in the log ───────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn peers_that_break_the_protocol_by_the_hundred_get_some_lines_and_the_others_are_counted() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let began = Instant::now();
    for _ in 0..100 {
        let mut breaker = TcpStream::connect(server.address()).unwrap();
        // Part of it may come back as a reset.
        let _ = breaker.write_all(&[b'x'; 70_000]);
        let _ = breaker.read_to_end(&mut Vec::new());
    }
    server.wait_for_line(|line| {
        line.contains(" more lines about peers that broke the protocol left out within a second")
    });
    let told = server.lines_with("broke the protocol and is closed").len();
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!((10..=10 * seconds).contains(&told), "{told} in {seconds} s");
    server.stop();
}
