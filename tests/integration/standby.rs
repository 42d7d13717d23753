//! A standby: the server is killed, and everybody goes on as if nothing had happened.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reactord::Status;

use crate::harness::{Peer, Place, Server, StopAtEnd, caller_sees_pid, exchange_all, skip};
use crate::standbys::{Kept, TornMessage, follow, rest, spawn_standby, standby_of, survived, wait_until};

/// A server that is killed while nothing happens, with so many peers.
#[track_caller]
fn death_is_not_noticed(count: usize) {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), count / 2);
    exchange_all(&mut peers);
    let standby = follow(&place, "");
    // Some were there, and some come while it is followed.
    peers.extend(Peer::connect_many(active.address(), count - count / 2));
    exchange_all(&mut peers);
    rest(&place, count);
    let address = active.address();
    active.kill();

    assert_eq!(survived(&standby, active.pid()), (count, 0));
    exchange_all(&mut peers);
    exchange_all(&mut peers);
    peers.iter().for_each(Peer::assert_open_and_silent);
    Peer::connect(address).exchange();
    assert_eq!(caller_sees_pid(&place.path()), standby.pid());
    let status = Status::of(&place.path()).unwrap();
    assert_eq!((status.deaths_survived, status.generation, status.standby), (1, 2, None));
    standby.stop_with(peers);
}

#[test]
fn death_is_not_noticed_by_1_peer() {
    death_is_not_noticed(1);
}

#[test]
fn death_is_not_noticed_by_2000_peers() {
    death_is_not_noticed(2000);
}

#[test]
fn peers_half_way_through_a_message_go_on_at_the_next_byte() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let standby = follow(&place, "");
    let mut peers = Peer::connect_many(active.address(), 50);
    exchange_all(&mut peers);
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.ask_begin(1 + index % 3);
    }
    // What they have begun to say may be read or unread: that is no matter.
    active.kill();
    assert_eq!(survived(&standby, active.pid()), (50, 0));
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.ask_end(1 + index % 3);
        peer.hear();
    }
    exchange_all(&mut peers);
    standby.stop_with(peers);
}

/// A client that asks without end, until it is told to stop. Every answer is compared, so a byte that is lost, repeated or torn is a
/// panic, and so is a connection that is lost.
fn ask_until(peer: &mut Peer, stop: &AtomicBool, asked: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        peer.exchange();
        asked.fetch_add(1, Ordering::Relaxed);
    }
    // It may have been answered before the death, and have asked nothing since.
    peer.exchange();
}

#[test]
fn under_load_a_death_is_not_noticed_by_who_asks_and_by_who_is_quiet() {
    const QUIET: usize = 1980;
    const BUSY: usize = 20;
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut quiet = Peer::connect_many(active.address(), QUIET);
    let mut busy = Peer::connect_many(active.address(), BUSY);
    exchange_all(&mut quiet);
    exchange_all(&mut busy);
    let standby = follow(&place, "");
    rest(&place, quiet.len() + busy.len());
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for peer in &mut busy {
            scope.spawn(|| ask_until(peer, &stop, &asked));
        }
        // It is killed while they are being answered.
        wait_until("they are answered", || asked.load(Ordering::Relaxed) > 2000);
        active.kill();
        assert_eq!(survived(&standby, active.pid()), (QUIET + BUSY, 0));
        stop.store(true, Ordering::Relaxed);
    });
    exchange_all(&mut quiet);
    exchange_all(&mut busy);
    drop(busy);
    standby.stop_with(quiet);
}

#[test]
fn half_a_message_that_was_read_is_never_forgotten_however_little_the_standby_has_heard_of_it() {
    let torn = TornMessage::begin(&[]);
    assert_eq!(torn.survived(), (1, 0));
    assert_eq!(torn.end().as_deref(), Some(&b"hell"[..]));
}

#[test]
fn a_standby_that_is_killed_is_said_to_be_lost_and_another_one_may_come() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 20);
    exchange_all(&mut peers);
    let first = follow(&place, "");
    first.kill();
    let lost = active.wait_for_line(|line| line.contains("is lost: "));
    assert!(lost.contains(&format!("Standby pid {} ", first.pid())) && lost.contains("WARN"), "{lost}");
    exchange_all(&mut peers);
    let second = follow(&place, "");
    rest(&place, 20);
    active.kill();
    assert_eq!(survived(&second, active.pid()), (20, 0));
    exchange_all(&mut peers);
    second.stop_with(peers);
}

#[test]
fn there_is_one_standby_at_a_time_and_no_peer_is_moved_meanwhile() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let standby = follow(&place, "");
    let second = spawn_standby(&place, "");
    assert_eq!(second.exit_code(), 3);
    let why = format!("pid {} follows as its standby already", standby.pid());
    assert!(second.last_words().contains(&why), "{}", second.log());
    let waiting = Server::wait(&place.path(), "");
    let told =
        active.wait_for_line(|line| line.contains("refused: ") && line.contains("follows as its standby already"));
    assert!(told.contains(&format!("pid {} ", second.pid())), "{told}");
    drop(waiting);
    drop(standby);
    active.stop();
}

#[test]
fn a_second_death_is_survived_by_another_standby() {
    let place = Place::new();
    let mut active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 100);
    exchange_all(&mut peers);
    for deaths in 1..=3 {
        let standby = follow(&place, "");
        rest(&place, 100);
        active.kill();
        assert_eq!(survived(&standby, active.pid()), (100, 0));
        exchange_all(&mut peers);
        assert_eq!(Status::of(&place.path()).unwrap().deaths_survived, deaths);
        active = standby;
    }
    active.stop_with(peers);
}

#[test]
fn a_takeover_of_a_server_with_a_standby_dismisses_that() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 100);
    exchange_all(&mut peers);
    let standby = follow(&place, "");
    rest(&place, 100);
    let successor = active.taken_over("");
    exchange_all(&mut peers);
    assert_eq!(standby.exit_code(), 0);
    let dismissed = standby.wait_for_line(|line| line.contains(" no more: "));
    assert!(dismissed.contains(&format!("pid {} takes over", successor.pid())), "{dismissed}");
    // The next one is as good.
    let standby = follow(&place, "");
    rest(&place, 100);
    successor.kill();
    assert_eq!(survived(&standby, successor.pid()), (100, 0));
    exchange_all(&mut peers);
    let last = standby.taken_over("");
    exchange_all(&mut peers);
    last.stop_with(peers);
}

#[test]
fn a_server_that_stops_dismisses_its_standby() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let peers = Peer::connect_many(active.address(), 5);
    let standby = follow(&place, "");
    active.stop_with(peers);
    assert_eq!(standby.exit_code(), 0);
}

#[test]
fn a_standby_serves_nobody_while_the_server_is_stopped_and_never_one_that_goes_on() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 20);
    exchange_all(&mut peers);
    let standby = follow(&place, "");
    rest(&place, 20);
    assert!(active.suspend());
    peers.iter_mut().for_each(Peer::ask);
    peers.iter().for_each(Peer::assert_open_and_silent);
    assert!(standby.is_running() && standby.lines_with("nobody served").is_empty());
    active.resume();
    peers.iter_mut().for_each(Peer::hear);
    exchange_all(&mut peers);
    rest(&place, 20);
    active.stop_with(peers);
    assert_eq!(standby.exit_code(), 0);
}

#[test]
fn a_server_that_hangs_is_killed_before_its_standby_serves_on() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 20);
    exchange_all(&mut peers);
    let standby = follow(&place, "--standby-timeout 1000");
    rest(&place, 20);
    assert!(active.suspend());
    assert_eq!(survived(&standby, active.pid()), (20, 0));
    assert_eq!(active.ended(), Err(Signal::SIGKILL));
    standby.wait_for_line(|line| line.contains("does not turn its loop any more, and is killed"));
    exchange_all(&mut peers);
    standby.stop_with(peers);
}

#[test]
fn a_standby_that_was_given_up_while_it_was_stopped_serves_nobody_when_it_goes_on() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(active.address(), 20);
    exchange_all(&mut peers);
    let first = follow(&place, "");
    rest(&place, 20);
    assert!(first.suspend());
    // It is asked for nothing, and given up when a takeover begins.
    let successor = active.taken_over("");
    let second = follow(&place, "");
    rest(&place, 20);
    first.resume();
    assert_eq!(first.exit_code(), 0);
    successor.kill();
    assert_eq!(survived(&second, successor.pid()), (20, 0));
    exchange_all(&mut peers);
    second.stop_with(peers);
}

#[test]
fn whoever_has_sent_urgent_or_ended_or_does_not_read_is_judged_and_nobody_is_wrong() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut plain = Peer::connect_many(active.address(), 5);
    exchange_all(&mut plain);
    let half_closed = Peer::connect(active.address());
    let urgent = Peer::connect(active.address());
    let standby = follow(&place, "");
    rest(&place, 7);
    urgent.send_urgent();
    half_closed.end_sending();
    half_closed.expect_end();
    rest(&place, 6);
    active.kill();
    let (served_on, reset) = survived(&standby, active.pid());
    assert_eq!((served_on, reset), (6, 0));
    exchange_all(&mut plain);
    standby.stop_with(plain);
}

#[test]
fn a_server_starts_its_standby_and_that_starts_another_one() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "--standby");
    let mut peers = Peer::connect_many(active.address(), 50);
    exchange_all(&mut peers);
    let mut serving = active.pid();
    let mut kept = Kept::of(active, &place);
    for deaths in 1..=3 {
        let standby = kept.next();
        rest(&place, 50);
        kill(Pid::from_raw(serving.cast_signed()), Signal::SIGKILL).expect("it serves");
        wait_until("the standby serves", || Status::of(&place.path()).is_ok_and(|status| status.pid == standby));
        exchange_all(&mut peers);
        assert_eq!(Status::of(&place.path()).unwrap().deaths_survived, deaths);
        serving = standby;
    }
    // A standby that is killed is replaced, too.
    let standby = kept.next();
    kill(Pid::from_raw(standby.cast_signed()), Signal::SIGKILL).expect("it follows");
    kept.next();
    exchange_all(&mut peers);
    peers.iter().for_each(Peer::assert_open_and_silent);
}

#[test]
fn a_standby_that_is_dismissed_and_hangs_is_killed_and_another_one_follows() {
    let place = Place::new();
    let mut kept = Kept::of(Server::serve(&place.path(), "--standby"), &place);
    let hung = Pid::from_raw(kept.next().cast_signed());
    kill(hung, Signal::SIGSTOP).expect("it follows");
    // What a standby listens on is not where the server does then.
    std::fs::remove_file(place.path()).expect("it is there");
    kept.servers[0].wait_for_line(|line| line.contains(" is dismissed: a listener was made anew"));
    let next = kept.next();
    assert_eq!(kill(hung, None), Err(Errno::ESRCH), "it was waited for");
    kept.servers[0].kill();
    wait_until("the standby serves", || Status::of(&place.path()).is_ok_and(|status| status.pid == next));
}

#[test]
fn a_server_that_is_taken_over_leaves_no_standby_behind_that_hangs() {
    let place = Place::new();
    let mut kept = Kept::of(Server::serve(&place.path(), "--standby"), &place);
    let hung = kept.next();
    kill(Pid::from_raw(hung.cast_signed()), Signal::SIGSTOP).expect("it follows");
    let successor = kept.servers.remove(0).taken_over("");
    kept.servers.push(successor);
    wait_until("it is dead", || {
        std::fs::read_to_string(format!("/proc/{hung}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn nobody_waits_for_a_server_that_starts_its_standby() {
    let place = Place::new();
    let mut kept = Kept::of(Server::serve(&place.path(), "--standby"), &place);
    let waiting = Server::wait(&place.path(), "");
    let standby = kept.next();
    kill(Pid::from_raw(standby.cast_signed()), Signal::SIGKILL).expect("it follows");
    // However often it calls, another one follows.
    let next = kept.next();
    waiting.wait_for_line(|line| {
        line.contains("a server with a standby has its peers to itself") || line.contains(" follows as its standby")
    });
    kept.servers[0].kill();
    wait_until("the standby serves", || Status::of(&place.path()).is_ok_and(|status| status.pid == next));
}

#[test]
fn a_server_that_starts_its_standby_can_be_taken_over_and_its_successor_has_one_of_its_own() {
    let place = Place::new();
    let active = Server::serve(&place.path(), "--standby");
    let mut peers = Peer::connect_many(active.address(), 50);
    exchange_all(&mut peers);
    let mut kept = Kept::of(active, &place);
    kept.next();
    let successor = kept.servers.remove(0).taken_over("--standby");
    kept.servers.push(successor);
    exchange_all(&mut peers);
    let standby = kept.next();
    rest(&place, 50);
    kept.servers[0].kill();
    wait_until("the standby serves", || Status::of(&place.path()).is_ok_and(|status| status.pid == standby));
    exchange_all(&mut peers);
}

#[test]
fn a_standby_in_another_network_namespace_follows_nobody_and_says_why() {
    let elsewhere = || {
        let mut command = Command::new("unshare");
        command.arg("--net");
        command
    };
    if !elsewhere().arg("true").status().is_ok_and(|status| status.success()) {
        return skip("this user may make no network namespace");
    }
    let place = Place::new();
    let active = Server::serve(&place.path(), "");
    let mut command = elsewhere();
    command.arg(env!("CARGO_BIN_EXE_reactord")).arg("--follow").arg(place.path());
    let (_, said) = Server::spawn(&place.path(), &mut command).output(3);
    assert!(said.contains("a standby is in the same network namespace"), "{said}");
    wait_until("nobody follows", || standby_of(&place).is_none());
    active.stop();
}
