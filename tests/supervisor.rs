//! `reactord supervise` as clients, workers and operators see it: real processes, with a scripted worker or, where live
//! connections are to move, `reactord --worker`.
//!
//! In this order: serving, deaths, generations, signals, the supervisor's own end and replacement, surroundings, what
//! is refused, limits, the service manager, and workers that get the listening sockets.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[path = "supervisor/workers.rs"]
mod workers;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, first_and_later, reactord, spawn, supervise, worker};
use command_fds::{CommandFdExt, FdMapping};
use harness::{PATIENCE, Peer, Place, STRANGER, Server, StopAtEnd, daemon, daemon_of_stranger, exchange_all, install};
use nix::sys::signal::Signal;
use procfs::process::{Process, all_processes};
use workers::{pid_in, signal, wait_for_workers, wait_until_gone};

/// How long nothing may happen to be held for settled.
const QUIET: Duration = Duration::from_millis(300);

/// The children of a process, zombies included: pid and state.
fn children(parent: u32) -> Vec<(u32, char)> {
    all_processes()
        .expect("/proc is there")
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| stat.ppid == parent.cast_signed())
        .map(|stat| (stat.pid.unsigned_abs(), stat.state))
        .collect()
}

fn install_script(place: &Place, program: &Path, script: &str) {
    let source = place.file("script");
    std::fs::write(&source, script).expect("there is room");
    install(&source, program);
}

// ── Serving ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn three_workers_serve_eight_clients_in_the_order_in_which_they_came_and_waiting_costs_nothing() {
    let supervisor = supervise("--workers 3", &worker(""));
    wait_for_workers(&supervisor, 3);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(supervisor.address())).collect();
    for client in &mut clients[..3] {
        client.worker();
    }

    let before = supervisor.processor_time();
    clients[3].assert_silent_for(Duration::from_secs(1));
    let used = supervisor.processor_time() - before;
    assert!(used <= Duration::from_millis(20), "waiting for a second took {used:?} of the processor");

    let mut clients = clients.into_iter();
    let mut served: Vec<Client> = clients.by_ref().take(3).collect();
    for mut next in clients {
        next.assert_silent_for(Duration::from_millis(50));
        served.remove(0).end();
        next.worker();
        served.push(next);
    }
    served.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn a_worker_learns_to_which_of_several_ports_a_client_connected() {
    let example = vec!["python3".to_owned(), concat!(env!("CARGO_MANIFEST_DIR"), "/examples/worker.py").to_owned()];
    let supervisor = supervise("-p 0", &example);
    let lines = supervisor.wait_for_lines(2, |line| line.contains("Starting TCP server on "));
    for line in lines {
        let (_, port) = line.rsplit_once(':').expect("a port");
        let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
        let client = Peer::connect(address);
        let worker = wait_for_workers(&supervisor, 1)[0];
        client.expect(format!("worker {worker}, client {}, server {address}\n", client.address()).as_bytes());
        client.end_sending();
        client.expect_end();
    }
    supervisor.stop();
}

#[test]
fn sockets_are_handed_out_without_delay_with_keep_alive_and_uncorked() {
    let supervisor = supervise("", &worker(""));
    let (mut client, _) = Client::served(supervisor.address());
    assert_eq!(client.ask("socket"), "1 1 0");
    client.end();
    supervisor.stop();
}

#[test]
fn six_thousand_connections_leave_no_memory_behind() {
    let supervisor = supervise("--workers 2", &reactord());
    let connect = |count: usize| {
        for _ in 0..count {
            let mut peer = Peer::connect(supervisor.address());
            peer.exchange();
            peer.end_sending();
            peer.expect_end();
        }
    };
    connect(500);
    let before = supervisor.resident_bytes();
    connect(6000);
    let grown = supervisor.resident_bytes().saturating_sub(before) / 1024;
    assert!(grown <= 256, "it has grown by {grown} KiB");
    supervisor.stop();
}

// ── Deaths ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_a_killed_worker_had_not_taken_is_served_by_its_replacement() {
    let place = Place::new();
    // The first worker takes 3 of the 20 that it gets; those that follow take what they get.
    let command = first_and_later(&place, &worker("at-once=20 takes=3"), &worker("at-once=20"));
    let supervisor = supervise("-v", &command);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(supervisor.address())).collect();
    let first = clients[0].worker();
    clients[1..3].iter_mut().for_each(|client| assert_eq!(client.worker(), first));
    supervisor.wait_for_lines(3, |line| line.contains("was taken by worker pid "));
    clients[3].assert_silent_for(QUIET);

    signal(first, Signal::SIGKILL);
    for client in &mut clients[3..] {
        assert_ne!(client.worker(), first);
        client.exchange();
    }
    clients.drain(3..).for_each(Client::end);
    supervisor.stop();
}

#[test]
fn six_workers_killed_at_once_are_replaced_and_leave_no_zombie() {
    let supervisor = supervise("--workers 6", &worker(""));
    let killed = wait_for_workers(&supervisor, 6);
    // One SIGCHLD is to stand for all of them.
    assert!(supervisor.suspend());
    killed.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    killed.iter().for_each(|pid| wait_until_gone(*pid));
    supervisor.resume();
    let all = wait_for_workers(&supervisor, 12);
    let mut there = children(supervisor.pid());
    there.sort_unstable();
    let mut replacements: Vec<u32> = all[6..].to_vec();
    replacements.sort_unstable();
    assert_eq!(there.iter().map(|(pid, _)| *pid).collect::<Vec<u32>>(), replacements);
    assert!(there.iter().all(|(_, state)| *state != 'Z'), "{there:?}");
    supervisor.stop();
}

#[test]
fn two_workers_share_the_connections_and_a_killed_one_takes_only_its_own() {
    /// So many that both get some, also if one asks for them a little later than the other.
    const CLIENTS: usize = 400;
    let supervisor = supervise("--workers 2", &reactord());
    let killed = wait_for_workers(&supervisor, 2)[0];
    let connect = |_| {
        let mut peer = Peer::connect(supervisor.address());
        peer.exchange();
        peer
    };
    let peers: Vec<Peer> = (0..CLIENTS).map(connect).collect();
    signal(killed, Signal::SIGKILL);
    // When its replacement is ready, it is gone with all its sockets.
    wait_for_workers(&supervisor, 3);
    let mut kept: Vec<Peer> = peers.into_iter().filter(Peer::is_open_and_silent).collect();
    assert!((1..CLIENTS).contains(&kept.len()), "of {CLIENTS} connections, {} are left", kept.len());
    exchange_all(&mut kept);
    let _later: Vec<Peer> = (0..10).map(connect).collect();
}

#[test]
fn a_killed_worker_leaves_no_takeover_path() {
    let place = Place::new();
    let mut binary = daemon();
    binary.env("TMPDIR", place.directory());
    let supervisor = spawn(binary, "--replace takeover", &reactord());
    let pid = wait_for_workers(&supervisor, 1)[0];
    signal(pid, Signal::SIGKILL);
    wait_for_workers(&supervisor, 2);
    let paths = || {
        let directories = std::fs::read_dir(place.directory()).expect("it is there").filter_map(Result::ok);
        let files = directories.filter_map(|directory| std::fs::read_dir(directory.path()).ok()).flatten();
        let names = files.map(|file| file.expect("it is there").file_name().into_string().expect("text"));
        names.filter(|name| name != "supervisor.lock").collect::<Vec<String>>()
    };
    assert_eq!(paths(), ["worker-2.takeover"]);
    supervisor.stop();
    assert_eq!(paths(), [""; 0]);
}

#[test]
fn a_supervisor_that_was_started_with_sigchld_ignored_learns_that_its_workers_end() {
    let mut python = Command::new("python3");
    let script =
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    python.args(["-c", script, env!("CARGO_BIN_EXE_reactord")]);
    let supervisor = spawn(python, "--drain-timeout 0.5", &worker("tied"));
    let pid = wait_for_workers(&supervisor, 1)[0];
    signal(pid, Signal::SIGKILL);
    supervisor.wait_for_line(|line| line.contains(&format!("Worker pid {pid} of generation 1 was killed by SIGKILL")));
    wait_for_workers(&supervisor, 2);
    supervisor.stop();
}

#[test]
fn a_worker_that_cannot_start_is_started_five_times_in_two_seconds() {
    let begun = Instant::now();
    let supervisor = supervise("", &["/bin/false".to_owned()]);
    supervisor.wait_for_lines(5, |line| line.contains("exited with code 1; it is replaced in "));
    assert!(begun.elapsed() < Duration::from_secs(20), "five starts take a second and a half");
    supervisor.wait_for_lines(6, |line| line.contains("exited with code 1; it is replaced in "));
    assert!(begun.elapsed() > Duration::from_secs(2), "a sixth start comes after three seconds");
    let delays: Vec<u64> = supervisor
        .lines_with("it is replaced in ")
        .iter()
        .map(|line| line.rsplit(' ').nth(1).and_then(|ms| ms.parse().ok()).expect("a delay"))
        .collect();
    assert_eq!(delays[..6], [100, 200, 400, 800, 1600, 3200]);
    supervisor.stop();
}

#[test]
fn a_worker_that_says_what_it_may_not_loses_its_queue_and_is_replaced() {
    let script = "import os, socket; queue = socket.socket(fileno=int(os.environ['REACTORD_QUEUE'])); queue.send(b'ready 1'); \
                  queue.send(b'took 7'); queue.recv(9)";
    let supervisor = supervise("--drain-timeout 0.1", &["python3", "-c", script].map(str::to_owned));
    supervisor
        .wait_for_line(|line| line.contains("ended its queue: connection 7 is not under way to it; it is replaced"));
    wait_for_workers(&supervisor, 2);
    supervisor.stop();
}

#[test]
fn a_worker_that_lives_and_receives_nothing_more_is_replaced_and_what_it_was_to_get_is_served() {
    let place = Place::new();
    let half_closed = "import ctypes, os, signal, socket; ctypes.CDLL(None).prctl(1, signal.SIGKILL); \
                       queue = socket.socket(fileno=int(os.environ['REACTORD_QUEUE'])); \
                       queue.shutdown(socket.SHUT_RD); queue.send(b'ready 1'); queue.send(b'want 9'); signal.pause()";
    let half_closed = ["python3", "-c", &format!("\"{half_closed}\"")].map(str::to_owned);
    let command = first_and_later(&place, &half_closed, &worker("at-once=9"));
    let supervisor = supervise("--drain-timeout 0.1", &command);
    wait_for_workers(&supervisor, 1);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(supervisor.address())).collect();
    for client in &mut clients {
        client.worker();
    }
    clients.into_iter().for_each(Client::end);
    supervisor.wait_for_line(|line| line.contains("ended its queue: it has closed it; it is replaced"));
    supervisor.stop();
}

#[test]
fn a_stopped_worker_gets_nothing_more_and_holds_up_no_signal() {
    let supervisor = supervise("-v --workers 2 --drain-timeout 0.5", &worker("tied"));
    let workers = wait_for_workers(&supervisor, 2);
    signal(workers[0], Signal::SIGSTOP);
    // It has asked for one, and may get it; what it has not taken waits until it is gone.
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_line(|line| line.ends_with(&format!("was taken by worker pid {}", workers[1])));
    let served: Vec<bool> =
        clients.iter_mut().map(|client| client.worker_within(Duration::from_secs(1)) == Some(workers[1])).collect();
    assert_eq!(served.iter().filter(|served| **served).count(), 1, "the other worker serves one");
    let served = served.iter().position(|served| *served).expect("one was counted");
    clients.remove(served).end();

    supervisor.signal(Signal::SIGUSR1);
    supervisor.wait_for_line(|line| line.contains("A worker is added: there are to be 3"));
    supervisor.signal(Signal::SIGTTOU);
    supervisor.wait_for_line(|line| line.contains("there are to be 2"));
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves"));
    // It is killed when its time to finish is over, and the connection that it never took is served.
    let mut pids: Vec<u32> = clients.iter_mut().map(Client::worker).collect();
    pids.retain(|pid| *pid == workers[0]);
    assert!(pids.is_empty());
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn a_worker_that_does_not_finish_is_terminated_and_then_killed() {
    let supervisor = supervise("--drain-timeout 0.2", &worker("deaf"));
    let pid = wait_for_workers(&supervisor, 1)[0];
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| line.contains(&format!("pid {pid} has not finished in time and is sent SIGTERM")));
    supervisor.wait_for_line(|line| line.contains(&format!("pid {pid} has not finished in time and is sent SIGKILL")));
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

// ── Generations ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn ten_generations_under_load_lose_nobody() {
    // Those that stay with their workers must not be late, however slow the machine is.
    let supervisor = supervise("--workers 2 --drain-timeout 600", &worker("at-once=16"));
    wait_for_workers(&supervisor, 2);
    let address = supervisor.address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = StopAtEnd(&over);
        let short = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                let (mut client, _) = Client::served(address);
                client.exchange();
                client.end();
                served += 1;
            }
            served
        });
        let mut long: Vec<(Client, u32)> = Vec::new();
        for generation in 2..12 {
            long.push(Client::served(address));
            supervisor.signal(Signal::SIGHUP);
            // Of workers each has its line, of generations that come so fast not each has.
            wait_for_workers(&supervisor, 2 * generation);
            for (client, _) in &mut long {
                client.exchange();
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(short.join().expect("every short one was answered") > 0);
        for (client, pid) in long {
            assert!(Process::new(pid.cast_signed()).is_ok(), "it stays with its worker");
            client.end();
            wait_until_gone(pid);
        }
    });
    supervisor.stop_serving([]);
    let log = supervisor.last_words();
    assert!(!log.contains("was killed") && !log.contains("in time"), "{log}");
}

#[test]
fn three_hups_during_a_slow_start_make_one_new_generation() {
    let place = Place::new();
    let slow = place.file("slow");
    let supervisor = supervise("--workers 2", &worker(&format!("wait-for={}", slow.display())));
    let first = wait_for_workers(&supervisor, 2);
    std::fs::write(&slow, "").expect("the directory is there");
    for begun in ["Generation 2 begins: ", "begins again", "begins again"] {
        let count = supervisor.lines_with(begun).len() + 1;
        supervisor.signal(Signal::SIGHUP);
        supervisor.wait_for_lines(count, |line| line.contains(begun));
    }
    let (mut client, served_by) = Client::served(supervisor.address());
    assert!(first.contains(&served_by), "the generation before goes on until the new one is ready");
    std::fs::remove_file(&slow).expect("it is there");
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves: 2 workers"));
    client.exchange();
    client.end();
    first.iter().for_each(|pid| wait_until_gone(*pid));
    let (client, served_by) = Client::served(supervisor.address());
    assert!(wait_for_workers(&supervisor, 4)[2..].contains(&served_by));
    client.end();
    assert_eq!(supervisor.lines_with(" serves: ").len(), 1, "{}", supervisor.log());
    assert_eq!(supervisor.lines_with("is ready").len(), 4, "{}", supervisor.log());
    supervisor.stop();
}

#[test]
fn a_generation_whose_workers_exit_is_given_up_and_the_one_before_goes_on() {
    let place = Place::new();
    let fail = place.file("fail");
    let supervisor = supervise("--workers 2", &worker(&format!("fail-if={}", fail.display())));
    let first = wait_for_workers(&supervisor, 2);
    std::fs::write(&fail, "").expect("the directory is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| {
        line.contains("Generation 2 is given up: worker pid ")
            && line.ends_with("exited with code 7 before it was ready; generation 1 goes on")
    });
    let (client, served_by) = Client::served(supervisor.address());
    assert!(first.contains(&served_by));
    client.end();

    std::fs::remove_file(&fail).expect("it is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves: 2 workers"));
    assert_eq!(supervisor.lines_with("given up").len(), 1);
    supervisor.stop();
}

#[test]
fn a_generation_that_does_not_get_ready_is_given_up_and_the_one_before_goes_on() {
    let place = Place::new();
    let slow = place.file("slow");
    let supervisor = supervise("--ready-timeout 3", &worker(&format!("wait-for={}", slow.display())));
    let first = wait_for_workers(&supervisor, 1);
    std::fs::write(&slow, "").expect("the directory is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| {
        line.contains("Generation 2 is given up: worker pid ")
            && line.ends_with("is not ready after 3000 ms; generation 1 goes on")
    });
    let (client, served_by) = Client::served(supervisor.address());
    assert_eq!(served_by, first[0]);
    client.end();
    supervisor.stop();
}

#[test]
fn live_connections_move_with_each_hangup_while_others_come_and_go() {
    let supervisor = supervise("--workers 2 --replace takeover", &reactord());
    wait_for_workers(&supervisor, 2);
    let address = supervisor.address();
    let mut idle = Peer::connect_many(address, 100);
    exchange_all(&mut idle);
    // All of them are served before the first hangup, and so handed over each time.
    let mut busy = [(); 2].map(|()| Peer::connect_many(address, 5));
    busy.iter_mut().for_each(|peers| exchange_all(peers));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = StopAtEnd(&over);
        let busy: Vec<_> = busy
            .into_iter()
            .map(|mut peers| {
                let over = &over;
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !over.load(Ordering::Relaxed) {
                        exchange_all(&mut peers);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let short = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                Peer::connect(address).exchange();
                served += 1;
            }
            served
        });
        for generation in 2..=6 {
            supervisor.signal(Signal::SIGHUP);
            // Of workers each has its line, of generations that come so fast not each has.
            wait_for_workers(&supervisor, 2 * generation);
            exchange_all(&mut idle);
        }
        over.store(true, Ordering::Relaxed);
        for rounds in busy {
            assert!(rounds.join().expect("no byte is lost, repeated or out of order") > 0);
        }
        assert!(short.join().expect("every connection is served") > 0);
    });
    // Two workers, five times.
    let handed_over = supervisor.wait_for_lines(10, |line| line.contains("Handed over "));
    // Which of them a worker has is chance: one that was the first to ask may have all.
    let peers = |line: &String| -> usize {
        let (_, figures) = line.split_once("Handed over ").expect("the line says so");
        figures.split(' ').next().and_then(|peers| peers.parse().ok()).expect("a number of peers")
    };
    let moved: usize = handed_over.iter().map(peers).sum();
    assert!(moved >= 5 * (idle.len() + 2 * 5), "{moved} peers were handed over\n{}", handed_over.join("\n"));
    exchange_all(&mut idle);
    drop(idle);
    supervisor.stop();
}

#[test]
fn live_connections_move_to_the_next_generation_by_takeover() {
    let supervisor = supervise("--workers 3 --replace takeover", &reactord());
    let mut before = wait_for_workers(&supervisor, 3);
    let mut peers = Peer::connect_many(supervisor.address(), 30);
    exchange_all(&mut peers);
    for generation in 2..5 {
        supervisor.signal(Signal::SIGHUP);
        supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves: 3 workers")));
        exchange_all(&mut peers);
        before.iter().for_each(|pid| wait_until_gone(*pid));
        before = wait_for_workers(&supervisor, 3 * (generation - 1) + 3).split_off(3 * (generation - 1));
        Peer::connect(supervisor.address()).exchange();
    }
    drop(peers);
    let line = supervisor.wait_for_line(|line| line.contains("Starting Takeover channel on ["));
    let (_, path) = line.split_once(" on [").expect("the line was found by it");
    let directory = Path::new(path).parent().expect("it is in a directory").to_owned();
    assert_eq!(std::fs::metadata(&directory).expect("it is there").permissions().mode() & 0o777, 0o700);
    supervisor.stop();
    assert!(!directory.exists());
}

// ── Signals ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn workers_are_added_and_removed_and_the_last_one_stays() {
    let supervisor = supervise("", &worker(""));
    let (mut held, first) = Client::served(supervisor.address());
    for (count, signal) in [(2, Signal::SIGUSR1), (3, Signal::SIGTTIN)] {
        supervisor.signal(signal);
        wait_for_workers(&supervisor, count);
        let (client, _) = Client::served(supervisor.address());
        client.end();
    }
    for left in [2, 1] {
        supervisor.signal(Signal::SIGTTOU);
        let line = supervisor
            .wait_for_line(|line| line.ends_with(&format!("is removed and finishes: there are to be {left}")));
        wait_until_gone(pid_in(&line));
    }
    supervisor.signal(Signal::SIGTTOU);
    supervisor.wait_for_line(|line| line.contains("The last worker is not removed"));
    held.exchange();
    held.end();
    assert_eq!(children(supervisor.pid()).iter().map(|(pid, _)| *pid).collect::<Vec<u32>>(), [first]);
    supervisor.stop();
}

#[test]
fn a_stop_serves_the_queue_and_lets_workers_finish() {
    for stop in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let supervisor = supervise("-v", &worker(""));
        let address = supervisor.address();
        let (mut first, _) = Client::served(address);
        let mut queued = Client::connect(address);
        supervisor.wait_for_lines(2, |line| line.ends_with(" is in the queue"));
        queued.assert_silent_for(QUIET);
        supervisor.signal(stop);
        supervisor.wait_for_line(|line| {
            line.contains(&format!("{stop}: stopping with 1 workers, 1 connections in the queue"))
        });
        assert!(TcpStream::connect(address).is_err(), "nobody is accepted any more");
        first.exchange();
        first.end();
        queued.worker();
        queued.exchange();
        queued.end();
        assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
    }
}

#[test]
fn who_has_connected_when_a_stop_comes_is_served() {
    let supervisor = supervise("", &worker(""));
    wait_for_workers(&supervisor, 1);
    assert!(supervisor.suspend());
    supervisor.signal(Signal::SIGTERM);
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.resume();
    for mut client in clients.drain(..) {
        client.worker();
        client.end();
    }
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

#[test]
fn a_stop_with_a_full_queue_ends_in_time_though_another_connects() {
    let supervisor = supervise("--queue-max 1 --drain-timeout 0.5", &worker("takes=0 tied"));
    wait_for_workers(&supervisor, 1);
    let _clients: Vec<Client> = (0..3).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_line(|line| line.contains("The queue is full: 1 connections wait"));
    assert!(supervisor.suspend());
    supervisor.signal(Signal::SIGTERM);
    let _another = Client::connect(supervisor.address());
    supervisor.resume();
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

// ── The supervisor's own end, and its replacement ──────────────────────────────────────────────────────────────────

#[test]
fn workers_of_a_killed_supervisor_finish_and_the_port_is_free_at_once() {
    let supervisor = supervise("", &worker(""));
    let (mut client, pid) = Client::served(supervisor.address());
    let port = supervisor.address().port();
    supervisor.kill();

    let next = spawn(daemon(), &format!("-p {port}"), &worker(""));
    let lines = next.wait_for_lines(2, |line| line.contains("Starting TCP server on "));
    assert!(lines[1].ends_with(&format!(":{port}")), "{lines:?}");
    let (other, served_by) = Client::served(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_ne!(served_by, pid);
    other.end();
    client.exchange();
    client.end();
    wait_until_gone(pid);
    next.stop();
}

#[test]
fn the_supervisor_executes_its_binary_anew_with_everything_that_it_has() {
    let supervisor = supervise("-v --workers 2", &worker(""));
    let mut workers = wait_for_workers(&supervisor, 2);
    workers.sort_unstable();
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_lines(6, |line| line.ends_with(" is in the queue"));
    let mut served: Vec<u32> = clients[..2].iter_mut().map(Client::worker).collect();
    served.sort_unstable();
    assert_eq!(served, workers);
    for resumed in 1..=3 {
        supervisor.signal(Signal::SIGUSR2);
        let lines = supervisor.wait_for_lines(resumed, |line| line.contains("Resumed as pid "));
        let said = format!("Resumed as pid {} with 2 workers, 4 connections in the queue", supervisor.pid());
        assert!(lines[resumed - 1].contains(&said), "{lines:?}");
        clients[2].assert_silent_for(QUIET);
    }
    let mut clients = clients.into_iter();
    let mut held: Vec<Client> = clients.by_ref().take(2).collect();
    for mut next in clients {
        held.remove(0).end();
        assert!(workers.contains(&next.worker()));
        held.push(next);
    }
    held.into_iter().for_each(Client::end);

    // Deaths, signals and the ids of connections go on as well.
    signal(workers[0], Signal::SIGKILL);
    supervisor.wait_for_line(|line| {
        line.contains(&format!("Worker pid {} of generation 1 was killed by SIGKILL", workers[0]))
    });
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves: 2 workers"));
    let (client, _) = Client::served(supervisor.address());
    client.end();
    supervisor.stop();
}

#[test]
fn what_was_sent_and_not_taken_when_the_binary_is_replaced_is_served_by_another_worker() {
    let place = Place::new();
    let command = first_and_later(&place, &worker("at-once=9 takes=2"), &worker("at-once=9"));
    let supervisor = supervise("-v", &command);
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(supervisor.address())).collect();
    let first = clients[0].worker();
    assert_eq!(clients[1].worker(), first);
    supervisor.wait_for_lines(2, |line| line.contains("was taken by worker pid "));
    supervisor.wait_for_lines(12, |line| line.ends_with(" is in the queue"));
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid ") && line.contains(" 3 connections in the queue"));
    clients[2].assert_silent_for(QUIET);
    clients[0].exchange();

    signal(first, Signal::SIGKILL);
    for mut client in clients.drain(2..) {
        assert_ne!(client.worker(), first);
        client.end();
    }
    supervisor.stop();
}

#[test]
fn a_stop_that_comes_while_the_binary_is_replaced_serves_the_queue() {
    for begin in [[Signal::SIGUSR2, Signal::SIGTERM], [Signal::SIGTERM, Signal::SIGUSR2]] {
        let supervisor = supervise("", &worker(""));
        let (mut held, _) = Client::served(supervisor.address());
        let mut waiting = Client::connect(supervisor.address());
        waiting.assert_silent_for(QUIET);
        // Both are there when it looks.
        supervisor.signal(Signal::SIGSTOP);
        begin.into_iter().for_each(|signal| supervisor.signal(signal));
        supervisor.signal(Signal::SIGCONT);
        supervisor.wait_for_line(|line| line.contains("SIGTERM: stopping with 1 workers, 1 connections in the queue"));
        supervisor.wait_for_line(|line| {
            line.contains(" with 1 workers, 1 connections in the queue: ") && line.contains("Resumed")
        });
        held.exchange();
        held.end();
        waiting.worker();
        waiting.exchange();
        waiting.end();
        assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
    }
}

#[test]
fn a_supervisor_whose_directory_is_gone_is_replaced_all_the_same() {
    let place = Place::new();
    let directory = place.file("directory");
    std::fs::create_dir(&directory).expect("there is room");
    let mut binary = daemon();
    binary.current_dir(&directory);
    let supervisor = spawn(binary, "--pid-file pid", &worker(""));
    let (mut client, _) = Client::served(supervisor.address());
    let mut waiting = Client::connect(supervisor.address());
    std::fs::remove_dir_all(&directory).expect("it is ours");
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    client.exchange();
    client.end();
    waiting.worker();
    waiting.end();
    supervisor.stop();
}

#[test]
fn a_binary_that_does_not_start_leaves_the_supervisor_as_it_was() {
    let place = Place::new();
    let binary = place.file("reactord");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    let supervisor = spawn(Command::new(&binary), "", &worker(""));
    let (mut client, pid) = Client::served(supervisor.address());
    let mut queued = Client::connect(supervisor.address());
    let replace = |content: &str| {
        let next = place.file("next");
        install_script(&place, &next, content);
        std::fs::rename(&next, &binary).expect("a running binary can be replaced");
    };
    for (content, reason) in [
        ("#!/bin/sh\nexit 1\n", "exited with code 1"),
        ("#!/bin/sh\nexit 0\n", "exited with code 0"),
        ("#!/bin/sh\nkill -SEGV $$\n", "was killed by SIGSEGV"),
        ("nothing", "Exec format error"),
    ] {
        replace(content);
        supervisor.signal(Signal::SIGUSR2);
        supervisor.wait_for_line(|line| line.contains("The binary is not replaced") && line.contains(reason));
        client.exchange();
    }
    std::fs::remove_file(&binary).expect("it is there");
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("The binary is not replaced") && line.contains("No such file"));
    // Also a worker can be started without the binary.
    client.end();
    assert_eq!(queued.worker(), pid);
    queued.end();
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves"));

    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    let (client, _) = Client::served(supervisor.address());
    client.end();
    supervisor.stop();
}

#[test]
fn a_supervisor_that_is_replaced_goes_on_without_its_command_until_that_is_there_again() {
    let place = Place::new();
    let (script, aside) = (place.file("worker"), place.file("aside"));
    install_script(&place, &script, &format!("#!/bin/sh\nexec {}\n", worker("").join(" ")));
    let supervisor = supervise("", &[script.to_str().expect("text").to_owned()]);
    let (mut client, _) = Client::served(supervisor.address());
    std::fs::rename(&script, &aside).expect("it is there");
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    client.exchange();
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| {
        line.contains("Generation 2 is given up: a worker could not be started: the command ")
            && line.contains("No such file or directory")
    });
    client.exchange();
    std::fs::rename(&aside, &script).expect("it is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves"));
    client.end();
    supervisor.stop();
}

#[test]
fn a_worker_that_ends_when_the_trial_does_is_replaced_by_the_next_binary() {
    // The trial is a script that the test lets go on: so both are waited for in one turn, the worker first.
    let place = Place::new();
    let (binary, aside, hold) = (place.file("reactord"), place.file("aside"), place.file("hold"));
    std::fs::write(&hold, "").expect("the directory is there");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &aside);
    let script = format!(
        "#!/bin/sh\nwhile [ -n \"$REACTORD_RESUME_TRIAL\" ] && [ -e {} ]; do sleep 0.01; done\nexec {} \"$@\"\n",
        hold.display(),
        aside.display()
    );
    std::fs::rename(&aside, &binary).expect("both are there");
    let supervisor = spawn(Command::new(&binary), "", &worker("tied"));
    supervisor.address();
    let killed = wait_for_workers(&supervisor, 1)[0];
    std::fs::rename(&binary, &aside).expect("both are there");
    install_script(&place, &binary, &script);
    supervisor.signal(Signal::SIGUSR2);
    let trial = supervisor.wait_for_line(|line| line.contains("Trying out "));
    let trial = trial.split([' ', ',']).skip_while(|word| *word != "pid").nth(1);
    let trial = trial.and_then(|pid| pid.parse().ok()).expect("a pid");

    assert!(supervisor.suspend());
    signal(killed, Signal::SIGKILL);
    std::fs::remove_file(&hold).expect("it is there");
    [killed, trial].into_iter().for_each(wait_until_gone);
    supervisor.resume();
    supervisor
        .wait_for_line(|line| line.contains(&format!("Worker pid {killed} of generation 1 was killed by SIGKILL")));
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    wait_for_workers(&supervisor, 2);
    supervisor.stop();
}

// ── Surroundings ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn workers_start_with_clean_surroundings() {
    let place = Place::new();
    let report = place.file("report");
    let mut shell = Command::new("sh");
    // Files that the supervisor itself inherited, signals that it ignores, a umask of its own.
    let script =
        "umask 0077; trap '' HUP PIPE TERM; ulimit -S -n 500; exec 8</dev/null 9</dev/null; exec \"$0\" \"$@\"";
    // Cargo gives the test what the build script has told the compiler, and that may have been told what to say.
    shell.env_remove("REACTORD_VERSION").env_remove("REACTORD_COMMIT");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_reactord")]).current_dir(place.directory());
    let supervisor = spawn(shell, "--workers 2", &worker(&format!("report={}", report.display())));
    wait_for_workers(&supervisor, 2);
    let report = std::fs::read_to_string(report).expect("it was written before the worker was ready");
    let number = |name: &str| -> String {
        let (_, value) = report.split_once(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("{name} in {report}"));
        let end = if value.starts_with('[') { value.find(']').map(|end| end + 1) } else { value.find([',', '}']) };
        value[..end.expect("it ends")].trim_matches('"').to_owned()
    };
    assert_eq!(number("umask"), "0022");
    assert_eq!(number("blocked"), "0");
    // Python itself ignores SIGPIPE and SIGXFSZ; the C library keeps 32 and 33 for itself.
    let ignored: u64 = number("ignored").parse().expect("a number");
    assert_eq!(ignored & !(1 << 12 | 1 << 24 | 3 << 31), 0);
    assert_eq!(number("directory"), place.directory().canonicalize().expect("it is there").to_str().expect("text"));
    assert_eq!(number("files_max"), "500");
    // One more is the listing itself.
    let queue = number("queue");
    let descriptors = number("descriptors");
    let descriptors: Vec<&str> = descriptors.trim_matches(['[', ']']).split(", ").collect();
    assert_eq!(descriptors.len(), 5, "{descriptors:?}");
    assert!(descriptors[..3] == ["0", "1", "2"] && descriptors.contains(&queue.as_str()), "{descriptors:?}");
    assert_eq!(number("variables"), "[\"REACTORD_QUEUE\"]");
    supervisor.stop();
}

#[test]
fn a_worker_that_would_accept_itself_does_not_begin_without_its_supervisor() {
    let place = Place::new();
    let started = place.file("started");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // As the supervisor starts it, which has died since: whoever is the parent now is another process.
    let gone = std::os::unix::process::parent_id().to_string();
    let mut stage = daemon();
    stage.args(["--launch-worker", "listen", "3", "1024", &gone, "SIGTERM", "/bin/touch", "touch"]).arg(&started);
    let mappings = vec![FdMapping { parent_fd: listener.into(), child_fd: 3 }];
    stage.fd_mappings(mappings).expect("one mapping cannot collide");
    let (_, errors) = Server::spawn(Path::new(""), &mut stage).output(127);
    assert!(errors.contains("the supervisor is gone"), "{errors}");
    assert!(!started.exists());
}

#[test]
fn a_relative_command_is_found_as_a_shell_would() {
    let place = Place::new();
    let script = place.file("serve-it");
    install_script(&place, &script, &format!("#!/bin/sh\nexec {}\n", worker("").join(" ")));
    let mut by_path = daemon();
    by_path.env("PATH", format!("{}:{}", place.directory().display(), std::env::var("PATH").expect("a search path")));
    let mut by_directory = daemon();
    by_directory.current_dir(place.directory());
    for (binary, command) in [(by_path, "serve-it"), (by_directory, "./serve-it")] {
        let supervisor = spawn(binary, "", &[command.to_owned()]);
        let (client, _) = Client::served(supervisor.address());
        client.end();
        supervisor.stop();
    }
}

// ── What is refused ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_cannot_be_begun_is_said_and_nothing_is_started() {
    let place = Place::new();
    let started = place.file("started");
    let touch = started.to_str().expect("text");
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let busy = busy.local_addr().expect("it has one").port().to_string();
    let not_executable = place.file("data");
    std::fs::write(&not_executable, "").expect("there is room");
    for (arguments, exit_code, said) in [
        (&["supervise", "-p", "0", "touch", touch][..], 2, "-- is missing"),
        (&["supervise", "-p", "0"], 2, "-- is missing"),
        (&["supervise", "-p", "0", "--"], 2, "no command follows --"),
        (&["supervise", "--", "touch", touch], 2, "-p PORT"),
        (&["-p", "0", "supervise", "-p", "0", "--", "touch", touch], 2, "-p stands before"),
        (&["supervise", "-p", "0", "-p", &busy, "--", "touch", touch], 1, "Address already in use"),
        (&["supervise", "-p", "0", "--", "no-such-program"], 1, "no-such-program"),
        (&["supervise", "-p", "0", "--", "./no-such-program"], 1, "no-such-program"),
        (&["supervise", "-p", "0", "--", not_executable.to_str().expect("text")], 1, "data"),
        (&["supervise", "-p", "0", "--", "/tmp"], 1, "/tmp"),
    ] {
        let (_, errors) = Server::run(arguments).output(exit_code);
        assert!(errors.contains(said), "{arguments:?}: {errors}");
        assert!(errors.lines().count() <= 3, "{errors}");
    }
    assert!(!started.exists());
}

#[test]
fn a_directory_whose_sockets_would_have_too_long_paths_is_refused_once_and_nothing_is_started() {
    let place = Place::new();
    let started = place.file("started");
    let directory = place.file(&"x".repeat(100));
    std::fs::create_dir(&directory).expect("there is room");
    for option in [&["--hand-over", "listen"], &["--replace", "takeover"]] {
        let mut command = daemon();
        command.env("TMPDIR", &directory).args(["supervise", "-p", "0"]).args(option);
        command.args(["--", "touch", started.to_str().expect("text")]);
        let (_, errors) = Server::spawn(Path::new(""), &mut command).output(1);
        assert!(errors.contains(" bytes, 107 are allowed; choose a shorter TMPDIR"), "{errors}");
        assert_eq!(errors.matches(" ERROR ").count(), 1, "{errors}");
    }
    assert!(!started.exists());
    assert_eq!(std::fs::read_dir(&directory).expect("it is there").count(), 0);
}

#[test]
fn a_port_that_needs_privilege_is_refused_without_it() {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if !nix::unistd::geteuid().is_root() || start.trim() == "0" {
        return harness::skip("every port is allowed here");
    }
    let place = Place::new();
    std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    let binary = place.file("reactord");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    let directory = place.file("of the stranger");
    std::fs::create_dir(&directory).expect("the place is ours");
    std::os::unix::fs::chown(&directory, Some(STRANGER), Some(STRANGER)).expect("root gives away what is its own");
    let takeover = directory.join("takeover").display().to_string();
    for arguments in [&["supervise", "-p", "81", "--", "true"][..], &["-p", "81", "-t", &takeover]] {
        let mut command = Command::new(&binary);
        command.uid(STRANGER).gid(STRANGER).args(arguments);
        let (_, errors) = Server::spawn(Path::new(""), &mut command).output(1);
        assert!(errors.contains("listening on [127.0.0.1]:81: Permission denied"), "{errors}");
        assert!(errors.contains("CAP_NET_BIND_SERVICE"), "{errors}");
    }
}

// ── Limits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn descriptors_that_another_program_of_the_user_leaves_on_their_way_are_said_and_lose_nobody() {
    const FILES_MAX: u32 = 100;
    const HOG: &str = "import array, signal, socket, sys
outbox, inbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for _ in range(9):
    outbox.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 20))])
print('They are on their way', file=sys.stderr, flush=True)
signal.pause()";
    let place = Place::new();
    let Some(stranger) = daemon_of_stranger(&place, FILES_MAX) else {
        return harness::skip("only root can become another user, who has a limit of descriptors in flight");
    };
    let (script, original) = (place.file("worker.py"), worker("").remove(1));
    install(Path::new(&original), &script);
    let command = ["python3".to_owned(), script.display().to_string(), "at-once=2".to_owned()];
    let supervisor = spawn(stranger, "", &command);
    let (first, _) = Client::served(supervisor.address());

    let mut hog = Command::new("setpriv");
    hog.args([
        "--reuid",
        &STRANGER.to_string(),
        "--regid",
        &STRANGER.to_string(),
        "--clear-groups",
        "python3",
        "-c",
        HOG,
    ]);
    let hog = Server::spawn(Path::new(""), hog.env("PATH", "/usr/bin:/bin"));
    hog.wait_for_line(|line| line == "They are on their way");
    let mut waiting = Client::connect(supervisor.address());
    let line = supervisor.wait_for_line(|line| line.contains("Nothing can be sent to worker "));
    assert!(line.contains(", and 1 connections wait: this user has more descriptors on their way"), "{line}");
    drop(hog);
    waiting.worker();
    supervisor.wait_for_line(|line| line.contains("Connections go to workers again, after "));
    first.end();
    waiting.end();
    supervisor.stop();
}

#[test]
fn what_does_not_fit_into_the_queue_waits_in_the_kernel_and_that_is_said() {
    let supervisor = supervise("--queue-max 2", &worker(""));
    wait_for_workers(&supervisor, 1);
    let mut clients: Vec<Client> = (0..9).map(|_| Client::connect(supervisor.address())).collect();
    clients[0].worker();
    supervisor.wait_for_line(|line| line.contains("The queue is full: 2 connections wait, 1 workers hold "));
    clients[1].assert_silent_for(QUIET);
    for mut client in clients.drain(1..).collect::<Vec<Client>>() {
        client.assert_silent_for(Duration::from_millis(20));
        std::mem::replace(&mut clients[0], client).end();
        clients[0].worker();
    }
    clients.remove(0).end();
    assert_eq!(supervisor.lines_with("The queue is full").len(), 1);
    supervisor.wait_for_line(|line| line.contains("Nobody waits in the kernel on "));
    supervisor.stop();
}

#[test]
fn accepting_pauses_without_descriptors_says_so_once_and_goes_on() {
    let supervisor = supervise("", &worker(""));
    let (held, _) = Client::served(supervisor.address());
    // More are open; poll(2) itself, which looks after the log, wants one.
    let before = supervisor.limit_open_files(3);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_line(|line| line.contains("Accepting on ") && line.contains("Too many open files"));
    let used_before = supervisor.processor_time();
    clients[0].assert_silent_for(Duration::from_secs(2));
    let used = supervisor.processor_time() - used_before;
    assert!(used <= Duration::from_millis(50), "to pause for two seconds took {used:?} of the processor");
    supervisor.limit_open_files(before);
    held.end();
    for mut client in clients {
        client.worker();
        client.end();
    }
    assert_eq!(supervisor.lines_with("Too many open files").len(), 1, "{}", supervisor.log());
    supervisor.stop();
}

#[test]
fn connections_leave_enough_descriptors_to_replace_a_worker() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_reactord")]);
    let supervisor = spawn(shell, "", &worker(""));
    let (_held, first) = Client::served(supervisor.address());
    let clients: Vec<Client> = (0..80).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_line(|line| line.contains("The queue is full: "));
    signal(first, Signal::SIGKILL);
    for mut client in clients {
        assert_ne!(client.worker(), first);
        client.end();
    }
    supervisor.stop_serving([]);
    assert!(!supervisor.last_words().contains("Too many open files"), "{}", supervisor.log());
}

#[test]
fn connections_leave_enough_descriptors_to_replace_workers_that_were_added() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_reactord")]);
    let supervisor = spawn(shell, "", &worker(""));
    wait_for_workers(&supervisor, 1);
    for count in 2..=7 {
        supervisor.signal(Signal::SIGUSR1);
        wait_for_workers(&supervisor, count);
    }
    let clients: Vec<Client> = (0..60).map(|_| Client::connect(supervisor.address())).collect();
    supervisor.wait_for_line(|line| line.contains("The queue is full: "));
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves: 7 workers"));
    for mut client in clients {
        client.worker();
        client.end();
    }
    assert_eq!(supervisor.lines_with("Too many open files").len(), 0, "{}", supervisor.log());
    supervisor.stop();
}

// ── The service manager ────────────────────────────────────────────────────────────────────────────────────────────

/// What a service manager is told.
struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    fn in_place(place: &Place) -> Self {
        let path = place.file("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket can be bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { socket, path }
    }

    fn supervise(&self, options: &str, command: &[String]) -> Server {
        let mut binary = daemon();
        binary.env("NOTIFY_SOCKET", &self.path);
        spawn(binary, options, command)
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).expect("it is told");
        String::from_utf8(message[..length].to_vec()).expect("text")
    }

    /// Whatever comes until this status does.
    #[track_caller]
    fn wait_for_status(&self, wanted: &str) {
        while self.next() != format!("STATUS={wanted}") {}
    }
}

#[test]
fn the_service_manager_shows_how_many_wait_and_goes_on_doing_so_when_the_binary_is_replaced() {
    let place = Place::new();
    let manager = ServiceManager::in_place(&place);
    let supervisor = manager.supervise("--queue-max 2", &worker(""));
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), "STATUS=Generation 1: 1 of 1 workers serve; 0 of at most 2 connections wait");
    let (held, _) = Client::served(supervisor.address());
    let _waiting: Vec<Client> = (0..3).map(|_| Client::connect(supervisor.address())).collect();
    let full = "Generation 1: 1 of 1 workers serve; 2 of at most 2 connections wait, further ones in the kernel";
    manager.wait_for_status(full);

    let used_before = supervisor.processor_time();
    manager.socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
    assert!(manager.socket.recv(&mut [0; 1024]).is_err(), "nothing changes, so nothing is told");
    let used = supervisor.processor_time() - used_before;
    assert!(used <= Duration::from_millis(20), "to wait for two seconds took {used:?} of the processor");
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");

    supervisor.signal(Signal::SIGUSR2);
    assert_eq!(manager.next(), format!("STATUS={full}"));
    supervisor.signal(Signal::SIGHUP);
    // It serves one of those that waited, and the one in the kernel gets its place.
    let full = "Generation 2: 1 of 1 workers serve; 2 of at most 2 connections wait, further ones in the kernel";
    manager.wait_for_status(&format!("{full}; 1 workers finish"));
    held.end();
    manager.wait_for_status(full);
    supervisor.signal(Signal::SIGTERM);
    manager.wait_for_status("Stopping: 1 of 1 workers serve; 2 of at most 2 connections wait");
}

#[test]
fn a_service_manager_that_does_not_listen_holds_nobody_up() {
    let place = Place::new();
    let manager = ServiceManager::in_place(&place);
    let supervisor = manager.supervise("-v", &worker(""));
    assert_eq!(manager.next(), "READY=1");
    let (held, _) = Client::served(supervisor.address());
    let filler = UnixDatagram::unbound().expect("a socket can be made");
    filler.set_nonblocking(true).expect("it need not block");
    while filler.send_to(b"x", &manager.path).is_ok() {}
    let mut waiting = Client::connect(supervisor.address());
    supervisor.wait_for_line(|line| line.contains("The service manager was not told \"STATUS=Generation 1: "));
    held.end();
    waiting.worker();
    waiting.end();
    supervisor.stop();
}

#[test]
fn workers_have_a_service_manager_of_their_own() {
    let place = Place::new();
    let manager = ServiceManager::in_place(&place);
    let command = ["python3", "-c", LISTENER, "notify"].map(str::to_owned);
    let supervisor = manager.supervise("--hand-over listen", &command);
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), "STATUS=Generation 1: 1 of 1 workers serve");
    supervisor.stop();
}

// ── Workers that get the listening sockets ─────────────────────────────────────────────────────────────────────────

/// Serves by the systemd convention, one client at a time; says that it is ready if it is asked to.
const LISTENER: &str = r#"
import os, select, signal, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid())
assert "REACTORD_QUEUE" not in os.environ
assert os.stat(os.path.dirname(os.environ["NOTIFY_SOCKET"])).st_mode & 0o777 == 0o700
count = int(os.environ["LISTEN_FDS"])
names = os.environ["LISTEN_FDNAMES"].split(":")
listeners = [socket.socket(fileno=3 + number) for number in range(count)]
[listener.setblocking(False) for listener in listeners]
assert names == [f"tcp-{listener.getsockname()[1]}" for listener in listeners]
assert sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1] == list(range(3 + count))
over = False
def stop(*_):
    global over
    over = True
signal.signal(signal.SIGTERM, stop)
if "notify" in sys.argv:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"STATUS=x\nREADY=1\n", os.environ["NOTIFY_SOCKET"])
while not over:
    for listener in select.select(listeners, [], [], 0.05)[0]:
        try:
            client = listener.accept()[0]
        except BlockingIOError:
            continue
        with client:
            client.setblocking(True)
            client.sendall(f"worker {os.getpid()}\n".encode())
            for line in client.makefile("r"):
                client.sendall(line.encode())
            client.shutdown(socket.SHUT_RDWR)
"#;

#[test]
fn unmodified_daemons_get_the_listening_sockets_and_are_replaced_without_a_failed_request() {
    for option in ["notify", ""] {
        let command = ["python3", "-c", LISTENER, option].map(str::to_owned);
        // One that is killed leaves its sockets behind.
        let place = Place::new();
        let mut binary = daemon();
        binary.env("TMPDIR", place.directory());
        let supervisor = spawn(binary, "-p 0 --workers 2 --hand-over listen", &command);
        let first = wait_for_workers(&supervisor, 2);
        let address = supervisor.address();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = StopAtEnd(&over);
            let requests = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (mut client, _) = Client::served(address);
                    client.exchange();
                    client.end();
                }
            });
            for generation in 2..5 {
                supervisor.signal(Signal::SIGHUP);
                supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves: 2 workers")));
            }
            over.store(true, Ordering::Relaxed);
            requests.join().expect("no request failed");
        });
        first.iter().for_each(|pid| wait_until_gone(*pid));
        supervisor.signal(Signal::SIGUSR2);
        supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
        let (mut client, pid) = Client::served(address);
        client.exchange();
        client.end();
        // They have no queue whose end would tell them.
        supervisor.kill();
        wait_until_gone(pid);
    }
}
