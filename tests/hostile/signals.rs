//! Signals: on both sides of a takeover, at any moment, by the hundred, by habit, and blocked or ignored by whoever starts
//! the server.

use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{
    Peer, Place, Server, accept, caller_sees_pid, exchange_all, receive_with_descriptors, send_with_descriptors, skip,
};
use crate::integration::failing::{Failing, MOMENTS, Step};

#[test]
fn sigterm_to_a_successor_at_any_moment_leaves_peers_with_one_owner() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        successor.signal(Signal::SIGTERM);
        match successor.ended() {
            // It owned them, and has stopped as every server stops.
            Ok(0) => {
                assert_eq!(failing.predecessor.exit_code(), 0);
                successor.wait_for_line(|line| line.contains("stopping with 300 peers"));
                failing.peers.iter().for_each(Peer::expect_end);
                assert!(!failing.path().exists());
                continue;
            }
            Ok(code) => {
                let log = successor.last_words();
                assert!(code == 3 && log.contains("SIGTERM came before the peers were taken over"), "{code}: {log}");
            }
            // It had not been welcomed yet, and a signal is a signal.
            Err(signal) => assert!(signal == Signal::SIGTERM && moment < 2, "{signal} at {moment}"),
        }
        exchange_all(&mut failing.peers);
        assert_eq!(caller_sees_pid(&failing.path()), failing.predecessor.pid());
        failing.end_with_a_takeover();
    }
}

#[test]
fn sigterm_to_a_successor_that_waits_for_its_predecessor_ends_it_at_once() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    // Somebody in between passes on Welcome and the listeners, and nothing else.
    let (between, moved) = (place.file("between"), place.file("moved"));
    let listener = UnixListener::bind(&between).unwrap();
    let successor = Server::take_over(&between, &format!("-v -t {}", moved.display()));
    let (back, _) = listener.accept().unwrap();
    let forth = UnixStream::connect(place.path()).unwrap();
    let (hello, _) = receive_with_descriptors(&back);
    send_with_descriptors(&forth, &hello, &[]).unwrap();
    let mut listeners = Vec::new();
    while listeners.is_empty() {
        let (bytes, descriptors) = receive_with_descriptors(&forth);
        listeners.extend(descriptors);
        let borrowed: Vec<_> = listeners.iter().take(2).map(std::os::fd::AsFd::as_fd).collect();
        send_with_descriptors(&back, &bytes, &borrowed).unwrap();
    }
    while !moved.exists() {
        std::thread::yield_now();
    }
    successor.signal(Signal::SIGTERM);
    let (_, log) = successor.output(3);
    assert!(log.contains("ERROR") && log.contains("SIGTERM came before the peers were taken over"), "{log}");
    assert!(!moved.exists(), "the path that it was to move to is not left behind");
    let (refusal, _) = receive_with_descriptors(&back);
    send_with_descriptors(&forth, &refusal, &[]).unwrap();
    predecessor.wait_for_line(|line| line.contains("the successor gave up: SIGTERM came before"));
    exchange_all(&mut peers);
    let successor = predecessor.taken_over("");
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

#[test]
fn sigterm_to_a_predecessor_at_any_moment_leaves_peers_with_one_owner_or_ends_them() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        failing.predecessor.signal(Signal::SIGTERM);
        let end = failing.predecessor.ended();
        // In its very last moment, when it is nobody's server any more, a signal is a signal.
        assert!(matches!(end, Ok(0) | Err(Signal::SIGTERM)), "{end:?}");
        if !failing.predecessor.last_words().contains("Handed over ") {
            let (_, log) = successor.output(3);
            // The path goes first, so that it may find nobody to call; and a full channel takes no last word.
            let told = ["the predecessor is stopping", "takeover on ", "the other side closed the channel"];
            assert!(told.iter().any(|reason| log.contains(reason)), "{log}");
            failing.peers.iter().for_each(Peer::expect_end);
            assert!(!failing.path().exists());
        } else {
            exchange_all(&mut failing.peers);
            successor.stop_with(failing.peers);
        }
    }
}

#[test]
fn sigterm_to_a_predecessor_that_has_handed_over_is_no_matter() {
    let failing = Failing::with_peers(10);
    let successor = Step::Frozen.reach(&failing.path());
    successor.send(&accept());
    // It waits to hear how long the pause was.
    failing.predecessor.signal(Signal::SIGTERM);
    assert_eq!(failing.predecessor.exit_code(), 0);
    failing.predecessor.wait_for_line(|line| line.contains("Handed over 10 peers ") && line.contains("pause unknown"));
    assert!(failing.path().exists(), "it belongs to the successor");
    assert!(!failing.predecessor.last_words().contains("stopping"), "{}", failing.predecessor.log());
}

#[test]
fn sigterm_to_a_frozen_predecessor_is_obeyed_after_the_thaw() {
    let failing = Failing::with_peers_and_little_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    failing.predecessor.signal(Signal::SIGTERM);
    failing.peers.iter().for_each(Peer::expect_end);
    assert_eq!(failing.predecessor.exit_code(), 0);
    failing.predecessor.wait_for_line(|line| {
        line.contains("failed: the successor has not accepted within the freeze timeout of 100 ms")
    });
    failing.predecessor.wait_for_line(|line| line.contains("SIGTERM: stopping with 300 peers"));
    assert!(!failing.path().exists());
    drop(successor);
}

#[test]
fn signals_by_the_hundred_disturb_no_takeover() {
    // Those that mean nothing to a server, and one that interrupts its system calls.
    const HARMLESS: [Signal; 4] = [Signal::SIGCHLD, Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCONT];
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "--freeze-timeout 20000");
    let mut peers = Peer::connect_many(server.address(), 100);
    for _ in 0..5 {
        let successor = Server::take_over(&place.path(), "");
        for round in 0..200 {
            for process in [&server, &successor] {
                HARMLESS.into_iter().for_each(|signal| process.signal(signal));
                if round % 4 == 0 {
                    process.suspend();
                    process.resume();
                }
            }
            if round % 20 == 0 {
                exchange_all(&mut peers);
            }
        }
        server = server.taken_over_by(successor);
        exchange_all(&mut peers);
    }
    // And by the hundred those that mean something.
    for _ in 0..300 {
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGINT);
    }
    peers.iter().for_each(Peer::expect_end);
    assert_eq!(server.exit_code(), 0);
    assert!(!place.path().exists());
}

/// What nobody means to end a server with, though by default it would. SIGHUP means something: an upgrade.
const BY_HABIT: [Signal; 4] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGXFSZ];

#[test]
fn signals_of_habit_disturb_neither_peers_nor_takeovers_and_few_lines_tell_of_them() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 100);
    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..30 {
            BY_HABIT.into_iter().for_each(|signal| server.signal(signal));
            exchange_all(&mut peers);
        }
        server.wait_for_line(|line| line.contains("INFO") && line.contains("SIGUSR1 means nothing to this server"));
        let lines = server.lines_with(" to this server").len();
        assert!(lines <= 10 * (1 + began.elapsed().as_secs() as usize), "ten in each second: {lines}");
        let successor = Server::take_over(&place.path(), "");
        while server.is_running() {
            BY_HABIT.into_iter().for_each(|signal| server.signal(signal));
            peers[0].exchange();
        }
        server = server.taken_over_by(successor);
        exchange_all(&mut peers);
    }
    server.stop_with(peers);
}

/// A server that is started with this option of env(1), if that is known here.
fn started_with(place: &Place, option: &str) -> Option<Server> {
    let known = Command::new("env").args([option, "true"]).stderr(Stdio::null()).status();
    known.is_ok_and(|status| status.success()).then(|| {
        let mut command = Command::new("env");
        command.args([option, env!("CARGO_BIN_EXE_reactord"), "-p", "0", "-t"]).arg(place.path());
        Server::spawn(&place.path(), &mut command).started()
    })
}

#[test]
fn server_that_is_started_with_blocked_signals_stops_at_them() {
    let place = Place::new();
    let Some(server) = started_with(&place, "--block-signal") else {
        return skip("env(1) cannot block signals");
    };
    let mut peers = Peer::connect_many(server.address(), 10);
    exchange_all(&mut peers);
    server.stop_with(peers);
}

#[test]
fn server_that_is_started_with_an_ignored_signal_ignores_it() {
    let place = Place::new();
    let Some(server) = started_with(&place, "--ignore-signal=INT,HUP") else {
        return skip("env(1) cannot ignore signals");
    };
    let mut peers = Peer::connect_many(server.address(), 10);
    for _ in 0..10 {
        server.signal(Signal::SIGINT);
        server.signal(Signal::SIGHUP);
        exchange_all(&mut peers);
    }
    // It hears this one, and would have heard the others before.
    server.stop_serving(peers);
    assert!(!server.last_words().contains("SIGINT") && !server.last_words().contains("SIGHUP"));
}
