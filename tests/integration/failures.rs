//! Takeovers that fail: at any step, for any reason, one process owns the peers and serves on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::failing::{Failing, MOMENTS, Step, came_out};
use crate::harness::{
    PATIENCE, Peer, Place, ScriptedSuccessor, Server, accept, caller_sees_pid, copied, empty, exchange_all, frame,
    hello, install, kind, limited, ready, skip,
};

#[test]
fn successor_gone_before_accept_leaves_peers_with_predecessor() {
    for step in Step::ALL {
        let mut failing = Failing::with_peers(300);
        let successor = step.reach(&failing.path());
        drop(successor);
        match step {
            // Whoever has said nothing has not called.
            Step::Called => exchange_all(&mut failing.peers),
            _ => failing.expect_failure("failed: the other side closed the channel; serving on with 300 peers"),
        }
        failing.end_with_a_takeover();
    }
}

#[test]
fn successor_gone_in_the_middle_of_a_long_copy_leaves_peers_with_predecessor() {
    // More than may be on their way to a successor that acknowledges nothing.
    let mut failing = Failing::with_peers(1500);
    let mut successor = Step::Copying.reach(&failing.path());
    exchange_all(&mut failing.peers);
    successor.receive_until(kind::PEERS);
    drop(successor);
    failing.expect_failure("failed: the other side closed the channel; serving on with 1500 peers");
    failing.end_with_a_takeover();
}

#[test]
fn garbage_from_a_successor_leaves_peers_with_predecessor() {
    let mut wrong_checksum = ready();
    wrong_checksum[5] ^= 1;
    let garbage: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame announces 1195725856 bytes, at most 65536 are allowed"),
        (&wrong_checksum, "a frame's checksum is "),
        (&frame(99, b""), "a frame has the unknown kind 99"),
        (&frame(kind::COPIED, b"\xff\xff\xff\xff"), "the body of Copied is malformed: "),
    ];
    for step in Step::ALL {
        let mut failing = Failing::with_peers(300);
        for (bytes, reason) in garbage {
            let mut successor = step.reach(&failing.path());
            successor.send(bytes);
            failing.expect_failure(reason);
            while successor.try_receive().is_some() {}
        }
        failing.end_with_a_takeover();
    }
}

#[test]
fn frame_out_of_turn_leaves_peers_with_predecessor() {
    for (step, frame, reason) in [
        (Step::Called, ready(), "dropped: it sent Ready before Hello"),
        (Step::Called, accept(), "dropped: it sent Accept before Hello"),
        (Step::Copying, hello("seqnum"), "failed: the successor sent Hello during the copy"),
        (Step::Copying, ready(), "failed: the successor sent Ready during the copy"),
        (Step::Copying, accept(), "failed: the successor sent Accept during the copy"),
        (Step::Copying, copied(1_000_000, 1), "failed: the successor claims 1000000 peers and 1 rounds, "),
        (Step::Copying, empty(kind::COMMIT), "the body of Commit is malformed"),
        (Step::Copied, accept(), "failed: the successor sent Accept during the copy"),
        (Step::Frozen, ready(), "failed: the successor sent Ready after the freeze"),
        (Step::Frozen, hello("seqnum"), "failed: the successor sent Hello after the freeze"),
        (Step::Frozen, empty(kind::SERVING), "the body of Serving is malformed"),
    ] {
        let mut failing = Failing::with_peers(300);
        let mut successor = step.reach(&failing.path());
        successor.send(&frame);
        failing.expect_failure(reason);
        while successor.try_receive().is_some() {}
        failing.end_with_a_takeover();
    }
}

#[test]
fn accept_after_the_freeze_timeout_comes_too_late() {
    let mut failing = Failing::with_peers_and_little_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    failing.peers.iter_mut().for_each(Peer::ask);
    failing.peers.iter_mut().for_each(Peer::hear);
    failing.expect_failure("failed: the successor has not accepted within the freeze timeout of 100 ms: ");
    let error = successor.try_send(&accept()).expect_err("the channel has ended for both sides");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    failing.end_with_a_takeover();
}

#[test]
fn successor_that_talks_without_end_after_the_freeze_leaves_peers_with_predecessor() {
    let mut failing = Failing::with_peers_and_some_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    let talk = copied(300, 2).repeat(1000);
    let talker = std::thread::spawn(move || while successor.try_send(&talk).is_ok() {});
    exchange_all(&mut failing.peers);
    failing.expect_failure("failed: the successor has not accepted within 1000 ms, and talks on");
    talker.join().expect("it ends with the channel");
    failing.end_with_a_takeover();
}

#[test]
fn peers_that_change_come_and_go_during_a_copy_stay_with_predecessor() {
    let mut failing = Failing::with_peers(300);
    let successor = Step::Copying.reach(&failing.path());
    exchange_all(&mut failing.peers);
    failing.peers.truncate(200);
    failing.peers.extend(Peer::connect_many(failing.predecessor.address(), 50));
    exchange_all(&mut failing.peers);
    successor.send(&copied(300, 0));
    drop(successor);
    failing.expect_failure("failed: the other side closed the channel; serving on with 250 peers");
    failing.end_with_a_takeover();
}

#[test]
fn connection_that_ends_during_a_copy_ends_though_the_successor_has_a_duplicate() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 100);
    exchange_all(&mut peers);
    // It receives nothing, so every descriptor is in its channel, and the connections would outlive a mere close.
    let successor = Step::SaidHello.reach(&place.path());
    predecessor.wait_for_line(|line| line.contains("Takeover by pid ") && line.contains(" begins"));
    (0..5).for_each(|_| exchange_all(&mut peers));
    for peer in peers.drain(..50) {
        peer.end_sending();
        peer.expect_end();
    }
    exchange_all(&mut peers);
    predecessor.signal(Signal::SIGTERM);
    peers.iter().for_each(Peer::expect_end);
    assert_eq!(predecessor.exit_code(), 0);
    drop(successor);
}

#[test]
fn successor_killed_at_any_moment_leaves_peers_with_one_owner() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        successor.kill();
        // One that was killed before it was welcome owns nothing, and may be no news.
        let welcome = successor.last_words().contains("Welcomed by ");
        if welcome && came_out(&failing.predecessor) {
            // As after any crash of a server, its connections are gone; but then it really owned them.
            assert_eq!(failing.predecessor.exit_code(), 0);
            failing.peers.iter().for_each(Peer::expect_loss);
            continue;
        }
        exchange_all(&mut failing.peers);
        assert!(failing.predecessor.is_running());
        failing.end_with_a_takeover();
    }
}

#[test]
fn successor_stopped_at_any_moment_loses_nothing() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers_and_little_patience(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        assert!(successor.suspend(), "{}", successor.log());
        failing.peers.iter_mut().for_each(Peer::ask);
        // Past the freeze timeout, if it was stopped in the freeze.
        failing.predecessor.says_within(Duration::from_millis(250), |line| {
            line.contains("Takeover by pid ") || line.contains("Handed over ")
        });
        successor.resume();
        failing.peers.iter_mut().for_each(Peer::hear);
        failing.end_with_one_owner(successor);
    }
}

#[test]
fn predecessor_stopped_at_any_moment_loses_nothing() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers_and_little_patience(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        // It may have handed over already, and be gone.
        failing.predecessor.suspend();
        failing.peers.iter_mut().for_each(Peer::ask);
        successor.says_within(Duration::from_millis(150), |line| line.contains("Took over "));
        failing.predecessor.resume();
        failing.peers.iter_mut().for_each(Peer::hear);
        // If it was stopped in the freeze before it had sent Commit, it finds its own deadline past.
        failing.end_with_one_owner(successor);
    }
}

#[test]
fn second_successor_is_refused_while_the_first_takes_over() {
    let mut failing = Failing::with_peers(300);
    let first = Step::Copying.reach(&failing.path());
    let second = Server::take_over(&failing.path(), "");
    let (_, log) = second.output(3);
    let busy = format!("refused: pid {} is taking over already", std::process::id());
    assert!(log.contains("ERROR") && log.contains(&busy), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("refused"));
    assert!(told.contains("WARN") && told.contains(&format!("by pid {} ", second.pid())), "{told}");
    exchange_all(&mut failing.peers);
    drop(first);
    failing.failures = 1;
    failing.expect_failure("failed: the other side closed the channel");
    failing.end_with_a_takeover();
}

#[test]
fn caller_that_has_said_nothing_is_told_who_took_over() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    // It was let in before whoever calls after it.
    let mut caller = ScriptedSuccessor::call(&place.path());
    let successor = predecessor.taken_over("");
    let refusal = caller.receive_until(kind::REFUSE);
    assert_eq!(refusal.reason(), format!("pid {} is taking over already", successor.pid()));
    assert!(caller.try_receive().is_none());
    successor.stop_with(Vec::new());
}

#[test]
fn of_two_successors_at_once_one_takes_over() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 500);
    exchange_all(&mut peers);
    // Both have called by the time the predecessor goes on, or call one after the other; either way one is first.
    assert!(predecessor.suspend());
    let calling = [Server::take_over(&place.path(), ""), Server::take_over(&place.path(), "")];
    predecessor.resume();
    let handed_over = predecessor.wait_for_line(|line| line.contains("Handed over "));
    assert_eq!(predecessor.exit_code(), 0);
    let [first, second] = calling;
    let (winner, other) = if handed_over.contains(&format!(" (pid {}, generation 2): ", first.pid())) {
        (first, second)
    } else {
        (second, first)
    };
    // The other one has either been refused, or it called late enough to take over from the winner.
    let owner = if other.says_within(PATIENCE, |line| line.contains("Took over ") || line.contains("ERROR"))
        && other.lines_with("Took over ").is_empty()
    {
        let (_, log) = other.output(3);
        assert!(log.contains(&format!("refused: pid {} is taking over already", winner.pid())), "{log}");
        winner
    } else {
        assert_eq!(winner.exit_code(), 0);
        other
    };
    exchange_all(&mut peers);
    assert_eq!(caller_sees_pid(&place.path()), owner.pid());
    owner.stop_with(peers);
}

#[test]
fn successor_with_another_service_is_refused_with_both_names() {
    let mut failing = Failing::with_peers(10);
    let (_, log) = Server::take_over(&failing.path(), "--service line").output(3);
    assert!(log.contains("the predecessor serves seqnum, the successor offers line"), "{log}");
    exchange_all(&mut failing.peers);
    let successor = failing.predecessor.taken_over("--service seqnum");
    exchange_all(&mut failing.peers);
    successor.stop_with(failing.peers);
}

#[test]
fn successor_that_may_not_open_enough_files_is_refused_with_both_numbers() {
    let mut failing = Failing::with_peers(100);
    let path = failing.path();
    let arguments = ["-T", path.to_str().expect("a test's path is UTF-8")];
    let refused = Server::spawn(&path, &mut limited(64, &arguments));
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: the successor may open 64 files, 1"), "{log}");
    assert!(log.contains(" are needed"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    let version = env!("REACTORD_VERSION");
    let by = format!("by pid {} ({version}) refused: the successor may open 64 files", refused.pid());
    assert!(told.contains(&by), "{told}");
    // Both sides name both.
    let predecessor = format!("{version} (pid {}, generation 1)", failing.predecessor.pid());
    assert!(told.ends_with(&format!("serving on as {predecessor}")), "{told}");
    assert!(log.contains(&format!("{predecessor} serves on")), "{log}");
    assert!(log.contains(&format!(" by pid {} ({version}): refused", refused.pid())), "{log}");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

#[test]
fn successor_of_another_user_is_refused_with_both_uids() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let mut failing = Failing::with_peers(10);
    let path = failing.path();
    let binary = failing.place.file("reactord");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    std::fs::set_permissions(failing.place.directory(), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let refused = Server::spawn(&path, Command::new(&binary).arg("-T").arg(&path).uid(NOBODY).gid(NOBODY));
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: uid 65534 may ask nothing of uid 0"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    assert!(
        told.contains(&format!("Caller pid {} refused: uid 65534 may ask nothing of uid 0", refused.pid())),
        "{told}"
    );
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}
