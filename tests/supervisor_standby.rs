//! Workers of a supervisor that have standbys: one that is killed is served on as by the same worker, nobody is lost whom it had, and
//! nobody whom it was about to get. Real processes, with `reactord --worker --standby`.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/workers.rs"]
mod workers;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{reactord, supervise};
use harness::{Peer, Place, Server, StopAtEnd, exchange_all};
use nix::sys::signal::Signal;
use workers::{pid_in, signal, wait_for_workers, wait_until_gone};

/// A supervisor of so many workers, each of which has a standby that is armed.
fn guarded(workers: usize, options: &str) -> Server {
    guarded_with(workers, options, &[])
}

/// The same of workers that have these options.
fn guarded_with(workers: usize, options: &str, of_workers: &[&str]) -> Server {
    let options_of_workers = ["--standby"].iter().chain(of_workers).map(|option| (*option).to_owned());
    let command: Vec<String> = reactord().into_iter().chain(options_of_workers).collect();
    let supervisor = supervise(&format!("--workers {workers} --replace takeover {options}"), &command);
    wait_for_workers(&supervisor, workers);
    wait_until_armed(&supervisor, workers);
    supervisor
}

/// Returns when standbys have been armed so often since the beginning.
#[track_caller]
fn wait_until_armed(supervisor: &Server, times: usize) -> Vec<u32> {
    let armed = supervisor.wait_for_lines(times, |line| line.contains(" is armed, with "));
    let pid = |line: &String| line.split_once("(pid ")?.1.split(',').next()?.parse().ok();
    armed.iter().map(|line| pid(line).expect("the line names it")).collect()
}

/// The processes that serve, as whatever worker, of those that have not been told to go.
fn serving(supervisor: &Server) -> BTreeSet<u32> {
    let ready = supervisor.lines_with(" is ready");
    let mut serving: BTreeSet<u32> = ready.iter().map(|line| pid_in(line)).collect();
    for line in supervisor.lines_with("; it is replaced") {
        serving.remove(&pid_in(&line));
    }
    for line in supervisor.lines_with("; its standby, pid ") {
        serving.remove(&pid_in(&line));
        let (_, standby) = line.split_once("; its standby, pid ").expect("it was looked for");
        serving.extend(standby.split(',').next().and_then(|pid| pid.parse::<u32>().ok()));
    }
    serving
}

/// Kills all who serve, and returns when their standbys serve on and have standbys of their own.
#[track_caller]
fn kill_all(supervisor: &Server) {
    let survived = supervisor.lines_with("; its standby, pid ").len();
    let armed = supervisor.lines_with(" is armed, with ").len();
    let killed = serving(supervisor);
    killed.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    supervisor.wait_for_lines(survived + killed.len(), |line| line.contains("; its standby, pid "));
    wait_until_armed(supervisor, armed + killed.len());
}

#[test]
fn workers_that_are_killed_lose_nobody_and_nobody_who_connects_meanwhile() {
    let supervisor = guarded(2, "");
    let mut peers = Peer::connect_many(supervisor.address(), 200);
    exchange_all(&mut peers);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = StopAtEnd(&over);
        let visitors = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let mut peer = Peer::connect(supervisor.address());
                peer.exchange();
                count += 1;
            }
            count
        });
        for _ in 0..3 {
            peers.iter_mut().for_each(|peer| peer.ask_begin(1));
            kill_all(&supervisor);
            peers.iter_mut().for_each(|peer| peer.ask_end(1));
            peers.iter_mut().for_each(Peer::hear);
        }
        over.store(true, Ordering::Relaxed);
        let visitors: u64 = visitors.join().expect("whoever connects is served");
        assert!(visitors > 0);
    });
    assert!(supervisor.lines_with(" is replaced").is_empty(), "{}", supervisor.log());
    assert!(supervisor.lines_with("left processes").is_empty(), "{}", supervisor.log());
    drop(peers);
    supervisor.stop();
}

#[test]
fn a_worker_that_is_removed_finishes_what_it_has_also_when_it_is_killed_meanwhile() {
    let supervisor = guarded(2, "");
    let mut peers = Peer::connect_many(supervisor.address(), 100);
    exchange_all(&mut peers);
    supervisor.signal(Signal::SIGTTOU);
    let removed = pid_in(&supervisor.wait_for_line(|line| line.contains("is removed and finishes")));
    signal(removed, Signal::SIGKILL);
    let line = supervisor.wait_for_line(|line| line.contains("; its standby, pid "));
    assert_eq!(pid_in(&line), removed);
    exchange_all(&mut peers);
    drop(peers);
    // It is told once more that it is to finish.
    let left = supervisor.wait_for_line(|line| line.contains("of generation 1 exited with code 0"));
    assert!(serving(&supervisor).contains(&pid_in(&left)), "{left}");
    Peer::connect(supervisor.address()).exchange();
    supervisor.stop();
}

#[test]
fn a_worker_is_replaced_when_its_standby_has_gone_before_it() {
    let supervisor = guarded(1, "");
    let standby = wait_until_armed(&supervisor, 1)[0];
    let [worker] = *wait_for_workers(&supervisor, 1) else { panic!("there is one") };
    let mut peer = Peer::connect(supervisor.address());
    peer.exchange();
    // Neither does anything any more; the first that dies is not noticed by the other.
    for pid in [worker, standby] {
        signal(pid, Signal::SIGSTOP);
    }
    for pid in [standby, worker] {
        signal(pid, Signal::SIGKILL);
    }
    let line = supervisor.wait_for_line(|line| line.contains(" is replaced"));
    assert!(line.contains(&format!("Worker pid {worker} of generation 1 was killed by SIGKILL")), "{line}");
    peer.expect_loss();
    wait_for_workers(&supervisor, 2);
    wait_until_armed(&supervisor, 2);
    kill_all(&supervisor);
    Peer::connect(supervisor.address()).exchange();
    supervisor.stop();
}

#[test]
fn standbys_go_on_guarding_when_the_supervisor_and_the_workers_are_replaced() {
    let place = Place::new();
    let path = place.path();
    let supervisor = guarded(2, &format!("--path {}", path.display()));
    let mut peers = Peer::connect_many(supervisor.address(), 50);
    exchange_all(&mut peers);
    kill_all(&supervisor);
    // Another binary in its place knows the processes that serve by now, and who would serve on.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    let (status, _) = Server::run(&["status", path.to_str().expect("text")]).output(0);
    assert_eq!(status.matches(", standby pid ").count(), 2, "{status}");
    kill_all(&supervisor);
    exchange_all(&mut peers);
    let before = serving(&supervisor);
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves: "));
    before.iter().for_each(|pid| wait_until_gone(*pid));
    exchange_all(&mut peers);
    wait_until_armed(&supervisor, 8);
    for pid in serving(&supervisor).difference(&before) {
        signal(*pid, Signal::SIGKILL);
    }
    supervisor.wait_for_lines(6, |line| line.contains("; its standby, pid "));
    exchange_all(&mut peers);
    drop(peers);
    supervisor.stop();
}

#[test]
fn whoever_connects_goes_to_the_worker_that_has_room() {
    const ROOM: usize = 5;
    let supervisor = guarded_with(2, "", &["--max-peers", "5"]);
    let mut peers = Vec::new();
    for _ in 0..2 * ROOM {
        let mut peer = Peer::connect(supervisor.address());
        peer.exchange();
        peers.push(peer);
    }
    kill_all(&supervisor);
    exchange_all(&mut peers);
    // One that comes now waits until somebody leaves.
    let mut late = Peer::connect(supervisor.address());
    late.ask();
    peers.pop();
    late.hear();
    drop((peers, late));
    supervisor.stop();
}

#[test]
fn a_supervisor_that_was_stopped_learns_who_has_died_and_who_serves_on() {
    let supervisor = guarded(1, "");
    let mut peers = Peer::connect_many(supervisor.address(), 10);
    exchange_all(&mut peers);
    assert!(supervisor.suspend());
    let mut pid = wait_for_workers(&supervisor, 1)[0];
    for death in 1..4 {
        let standbys = wait_until_armed(&supervisor, death);
        signal(pid, Signal::SIGKILL);
        supervisor.wait_for_lines(death, |line| line.contains("; nobody served for "));
        pid = standbys[death - 1];
    }
    wait_until_armed(&supervisor, 4);
    supervisor.resume();
    supervisor.wait_for_lines(3, |line| line.contains("; its standby, pid "));
    exchange_all(&mut peers);
    Peer::connect(supervisor.address()).exchange();
    // Nothing is waited for any more.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    exchange_all(&mut peers);
    drop(peers);
    supervisor.stop();
}

#[test]
fn a_standby_that_is_none_of_the_workers_own_processes_is_passed_over() {
    // It becomes a session of its own, and its parent waits for it.
    let wrapper = ["setsid", "--wait"].map(str::to_owned).into_iter();
    let command: Vec<String> = wrapper.chain(reactord()).chain(["--standby".to_owned()]).collect();
    let supervisor = supervise("--workers 1 --replace takeover", &command);
    supervisor.wait_for_line(|line| line.contains(" is no standby of worker pid ") && line.ends_with("process group"));
    let mut peer = Peer::connect(supervisor.address());
    peer.exchange();
    drop(peer);
    supervisor.stop();
}
