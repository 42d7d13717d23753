//! Live connections of a supervisor's workers, as clients and operators see it: given back and served on by another
//! worker, and spread over workers that are added and removed. Real processes, with a scripted worker or, where the
//! connections move between servers, `reactord --worker`.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/workers.rs"]
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, first_and_later, keeper, reactord, supervise, worker};
use harness::{PATIENCE, Peer, Place, Server, StopAtEnd, exchange_all};
use nix::sys::signal::Signal;
use workers::{pid_in, signal, wait_for_workers, wait_until_gone};

/// Clients that have been greeted.
#[track_caller]
fn served(supervisor: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::served(supervisor.address()).0).collect()
}

/// At least so many clients that have been greeted, and at least one of them by each of so many workers: one that is ready may have
/// asked for none while the others served many.
#[track_caller]
fn served_by_all(supervisor: &Server, workers: usize, count: usize) -> Vec<Client> {
    let deadline = Instant::now() + PATIENCE;
    let (mut clients, mut pids) = (Vec::new(), BTreeSet::new());
    while clients.len() < count || pids.len() < workers {
        assert!(Instant::now() < deadline, "{} clients are served by {pids:?}", clients.len());
        let (client, pid) = Client::served(supervisor.address());
        clients.push(client);
        pids.insert(pid);
    }
    clients
}

/// The pids of the workers that serve these clients.
#[track_caller]
fn pids(clients: &mut [Client]) -> BTreeSet<u32> {
    clients.iter_mut().map(pid).collect()
}

#[track_caller]
fn pid(client: &mut Client) -> u32 {
    let answer = client.ask("pid");
    answer.strip_prefix("worker ").and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("a pid: {answer:?}"))
}

/// Each types in half a line.
#[track_caller]
fn begin_lines(clients: &[Client]) {
    clients.iter().enumerate().for_each(|(number, client)| client.type_in(&format!("client {number} has be")));
}

/// Each types in the other half, and gets the whole.
#[track_caller]
fn end_lines(clients: &mut [Client]) {
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask("gun"), format!("client {number} has begun"));
    }
}

fn a_file(place: &Place, name: &str) -> String {
    let file = place.file(name);
    std::fs::write(&file, "").expect("the directory is there");
    file.to_str().expect("text").to_owned()
}

fn remove(file: &str) {
    std::fs::remove_file(file).expect("it is there");
}

/// A generation takes the place of the one before, which is gone when this returns.
#[track_caller]
fn replace(supervisor: &Server, generation: usize) {
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves: ")));
}

// ── Giving back ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn clients_with_half_typed_lines_stay_through_five_hangups() {
    let supervisor = supervise("--workers 2", &keeper(""));
    let mut before = wait_for_workers(&supervisor, 2);
    let mut clients = served(&supervisor, 20);
    for generation in 2..7 {
        begin_lines(&clients);
        replace(&supervisor, generation);
        before.iter().for_each(|pid| wait_until_gone(*pid));
        end_lines(&mut clients);
        before = wait_for_workers(&supervisor, 2 * generation).split_off(2 * (generation - 1));
        assert!(pids(&mut clients).iter().all(|pid| before.contains(pid)));
    }
    let given: Vec<String> = supervisor.lines_with("it has given back ");
    assert!(given.len() >= 5, "{}", supervisor.log());
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn a_worker_that_is_removed_leaves_its_clients_to_those_who_stay() {
    let supervisor = supervise("--workers 3", &keeper(""));
    wait_for_workers(&supervisor, 3);
    let mut clients = served_by_all(&supervisor, 3, 30);
    begin_lines(&clients);
    supervisor.signal(Signal::SIGTTOU);
    let removed = pid_in(&supervisor.wait_for_line(|line| line.contains("is removed and finishes")));
    wait_until_gone(removed);
    end_lines(&mut clients);
    let left = pids(&mut clients);
    assert!(left.len() == 2 && !left.contains(&removed), "{left:?} without {removed}");
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn what_a_killed_worker_had_given_back_lives_and_the_rest_ends_with_it() {
    let supervisor = supervise("-v --workers 1", &keeper("crash=7"));
    let killed = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 10);
    begin_lines(&clients);
    supervisor.signal(Signal::SIGHUP);
    wait_until_gone(killed);
    // It gives back in the order in which they came.
    end_lines(&mut clients[..7]);
    assert!(!pids(&mut clients[..7]).contains(&killed));
    for lost in &mut clients[7..] {
        assert!(!lost.is_open());
    }
    clients.drain(..7).for_each(Client::end);
    supervisor.stop();
}

#[test]
fn states_survive_the_replacement_of_the_supervisor_itself() {
    let place = Place::new();
    let wants = place.file("wants").to_str().expect("text").to_owned();
    let supervisor = supervise("--workers 1", &keeper(&format!("long=60000 wants={wants}")));
    let mut clients = served(&supervisor, 5);
    begin_lines(&clients);
    std::fs::write(&wants, "").expect("the directory is there");
    replace(&supervisor, 2);
    supervisor.wait_for_line(|line| line.ends_with("it has given back 5 connections"));
    for resumed in 1..=3 {
        supervisor.signal(Signal::SIGUSR2);
        let lines = supervisor.wait_for_lines(resumed, |line| line.contains("Resumed as pid "));
        assert!(lines[resumed - 1].contains(" 0 connections and 5 that were given back in the queue: "), "{lines:?}");
    }
    remove(&wants);
    end_lines(&mut clients);
    // Also what workers have by now is known, and can be given back.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_lines(4, |line| line.contains("Resumed as pid "));
    begin_lines(&clients);
    replace(&supervisor, 3);
    end_lines(&mut clients);
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn what_is_sent_and_not_taken_keeps_its_state_when_its_worker_dies() {
    let place = Place::new();
    let once = a_file(&place, "once");
    // The one that follows the first receives, and takes nothing.
    let deaf = "import os, signal, socket; queue = socket.socket(fileno=int(os.environ['REACTORD_QUEUE'])); \
                queue.send(b'ready 2'); queue.send(b'want 9'); signal.pause()";
    let dies = format!("if rm {once} 2>/dev/null; then exec {}; fi", keeper("").join(" "));
    let deaf = format!("if mkdir {once} 2>/dev/null; then exec python3 -c \"{deaf}\"; fi");
    let script = format!("{dies}; {deaf}; exec {}", keeper("").join(" "));
    let supervisor = supervise("-v --workers 1", &["sh", "-c", &script].map(str::to_owned));
    let mut clients = served(&supervisor, 5);
    begin_lines(&clients);
    replace(&supervisor, 2);
    supervisor.wait_for_lines(5, |line| line.contains(" was given back by worker pid "));
    signal(wait_for_workers(&supervisor, 2)[1], Signal::SIGKILL);
    end_lines(&mut clients);
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn what_has_no_room_stays_with_its_worker_which_finishes_it() {
    let place = Place::new();
    let wants = place.file("wants").to_str().expect("text").to_owned();
    let supervisor = supervise("-v --workers 1 --state-max 2500", &keeper(&format!("long=1000 wants={wants}")));
    let before = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 10);
    begin_lines(&clients);
    // Nobody takes any while it gives back.
    std::fs::write(&wants, "").expect("the directory is there");
    replace(&supervisor, 2);
    supervisor.wait_for_lines(8, |line| line.contains(&format!(" stays with worker pid {before}: their states have ")));
    remove(&wants);
    end_lines(&mut clients);
    let stayed: Vec<bool> = clients.iter_mut().map(|client| pid(client) == before).collect();
    assert_eq!(stayed.iter().filter(|stayed| **stayed).count(), 8, "two have room: {stayed:?}");
    assert_eq!(supervisor.lines_with("Connections that are given back stay with their workers").len(), 1);
    clients.into_iter().for_each(Client::end);
    wait_until_gone(before);
    supervisor.stop();
}

#[test]
fn without_room_for_states_all_stay_and_are_finished() {
    let supervisor = supervise("--workers 1 --state-max 0", &keeper("long=65000"));
    let before = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 12);
    begin_lines(&clients);
    replace(&supervisor, 2);
    supervisor.wait_for_line(|line| line.contains("stay with their workers: their states have "));
    end_lines(&mut clients);
    assert_eq!(pids(&mut clients), BTreeSet::from([before]));
    let (later, other) = Client::served(supervisor.address());
    assert_ne!(other, before);
    clients.into_iter().for_each(Client::end);
    wait_until_gone(before);
    later.end();
    supervisor.stop();
}

#[test]
fn a_stop_lets_workers_finish_what_they_would_give_back() {
    let supervisor = supervise("--workers 2", &keeper(""));
    let mut clients = served(&supervisor, 6);
    begin_lines(&clients);
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| line.contains("SIGTERM: stopping with 2 workers"));
    clients.iter_mut().for_each(|client| client.assert_silent_for(Duration::from_millis(50)));
    end_lines(&mut clients);
    clients.into_iter().for_each(Client::end);
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

#[test]
fn nothing_is_given_to_workers_that_know_no_states() {
    let place = Place::new();
    let supervisor = supervise("", &first_and_later(&place, &keeper(""), &worker("at-once=9")));
    let before = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 3);
    begin_lines(&clients);
    replace(&supervisor, 2);
    supervisor.wait_for_line(|line| line.contains("stay with their workers: all other workers speak version 1"));
    end_lines(&mut clients);
    assert_eq!(pids(&mut clients), BTreeSet::from([before]));
    clients.into_iter().for_each(Client::end);
    wait_until_gone(before);
    supervisor.stop();
}

#[test]
fn what_was_given_back_waits_for_a_worker_that_knows_states_and_that_is_said_once() {
    let place = Place::new();
    let (turns, now_both) = (a_file(&place, "turns"), a_file(&place, "now-both"));
    // The first dies when it has given back; those that follow know no states, until the file is gone.
    let first = keeper("crash=2").join(" ");
    let (ignorant, knowing) = (worker("at-once=9").join(" "), keeper("").join(" "));
    let script = format!(
        "if rm {turns} 2>/dev/null; then exec {first}; elif test -e {now_both}; then exec {ignorant}; else exec {knowing}; fi"
    );
    let supervisor = supervise("-v", &["sh", "-c", &script].map(str::to_owned));
    let mut clients = served(&supervisor, 2);
    begin_lines(&clients);
    signal(wait_for_workers(&supervisor, 1)[0], Signal::SIGUSR1);
    let said = "2 connections that were given back wait for a worker that speaks version 2 of the queue";
    supervisor.wait_for_line(|line| line.ends_with(said));
    let (fresh, _) = Client::served(supervisor.address());
    remove(&now_both);
    supervisor.signal(Signal::SIGHUP);
    end_lines(&mut clients);
    assert_eq!(supervisor.lines_with("wait for a worker that speaks version 2").len(), 1);
    fresh.end();
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

// ── Spreading what is given back ───────────────────────────────────────────────────────────────────────────────────

/// How many of these clients each worker has, when that satisfies the test: it asks until then.
#[track_caller]
fn shares_when(clients: &mut [Client], satisfied: impl Fn(&BTreeMap<u32, usize>) -> bool) -> BTreeMap<u32, usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut shares = BTreeMap::new();
        clients.iter_mut().for_each(|client| *shares.entry(pid(client)).or_default() += 1);
        if satisfied(&shares) {
            return shares;
        }
        assert!(Instant::now() < deadline, "the shares are {shares:?}");
    }
}

#[test]
fn a_worker_that_is_added_gets_its_share_of_the_live_connections() {
    let supervisor = supervise("--workers 2", &keeper(""));
    wait_for_workers(&supervisor, 2);
    let mut clients = served_by_all(&supervisor, 2, 60);
    supervisor.signal(Signal::SIGTTIN);
    let added = wait_for_workers(&supervisor, 3)[2];
    let fair = clients.len() / 3 - 1..=clients.len() / 3 + 1;
    let shares = shares_when(&mut clients, |shares| shares.get(&added).is_some_and(|share| share >= fair.start()));
    assert!(shares.len() == 3 && shares.values().all(|share| fair.contains(share)), "{shares:?}");
    // Half a line goes along, too.
    begin_lines(&clients);
    supervisor.signal(Signal::SIGTTIN);
    supervisor.wait_for_line(|line| line.contains("there are to be 4"));
    // Where one of the first two had many more than the other, it alone was asked.
    let asked = "connections: another has too few";
    let asked_before = supervisor.log().split("there are to be 4").next().map_or(0, |log| log.matches(asked).count());
    wait_for_workers(&supervisor, 4);
    supervisor.wait_for_lines(asked_before + 3, |line| line.contains(asked));
    end_lines(&mut clients);
    shares_when(&mut clients, |shares| shares.len() == 4);
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn workers_that_ask_for_one_at_a_time_get_their_share_too() {
    let supervisor = supervise("--workers 1", &keeper("at-once=3"));
    wait_for_workers(&supervisor, 1);
    let mut clients = served(&supervisor, 3);
    supervisor.signal(Signal::SIGTTIN);
    let added = wait_for_workers(&supervisor, 2)[1];
    shares_when(&mut clients, |shares| shares.get(&added) == Some(&1));
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn shares_that_are_watched_stay_near_to_each_other() {
    let supervisor = supervise("--workers 2 --rebalance", &keeper(""));
    let workers = wait_for_workers(&supervisor, 2);
    let mut clients = served(&supervisor, 40);
    shares_when(&mut clients, |shares| shares.len() == 2);
    let (gone, mut left): (Vec<Client>, Vec<Client>) = {
        let mut parts = (Vec::new(), Vec::new());
        for mut client in clients {
            if pid(&mut client) == workers[0] { parts.0.push(client) } else { parts.1.push(client) }
        }
        parts
    };
    begin_lines(&left);
    gone.into_iter().for_each(Client::end);
    supervisor.wait_for_line(|line| line.contains("connections: another has too few"));
    end_lines(&mut left);
    let near = left.len() / 2 - 1..=left.len() / 2 + 2;
    shares_when(&mut left, |shares| shares.len() == 2 && shares.values().all(|share| near.contains(share)));
    left.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn a_worker_that_gives_nothing_is_asked_and_left_alone() {
    let place = Place::new();
    let stuck = a_file(&place, "stuck");
    let supervisor = supervise("--workers 1", &keeper(&format!("stuck={stuck}")));
    let first = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 10);
    supervisor.signal(Signal::SIGTTIN);
    let added = wait_for_workers(&supervisor, 2)[1];
    supervisor.wait_for_line(|line| line.contains(&format!("Worker pid {first} is asked to give back 5 connections")));
    assert_eq!(pids(&mut clients), BTreeSet::from([first]));
    // When it can, it does.
    remove(&stuck);
    shares_when(&mut clients, |shares| shares.get(&added) == Some(&5));
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

// ── Spreading by moves between workers ─────────────────────────────────────────────────────────────────────────────

/// A supervisor of workers that only say that they move, with so many connections each at first.
#[track_caller]
fn movers(place: &Place, options: &str, counts: &[u64]) -> Server {
    for (number, count) in (1..).zip(counts) {
        std::fs::write(place.file(&format!("worker-{number}.takeover")), count.to_string()).expect("there is room");
    }
    let command = keeper(&format!("counts={}", place.directory().display()));
    let supervisor = supervise(&format!("--replace takeover --workers {} {options}", counts.len()), &command);
    wait_for_workers(&supervisor, counts.len());
    supervisor
}

fn counts(place: &Place, workers: usize) -> Vec<u64> {
    let count = |number| std::fs::read_to_string(place.file(&format!("worker-{number}.takeover"))).ok();
    (1..=workers).map(|number| count(number).and_then(|count| count.parse().ok()).unwrap_or(0)).collect()
}

/// Returns when so many are shared by three workers within a twentieth of the mean.
#[track_caller]
fn wait_until_near(place: &Place, total: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = counts(place, 3);
        // Between one number and the other, a move is in neither.
        let is_whole = counts.iter().sum::<u64>() == total;
        if is_whole && counts.iter().all(|count| (count * 3).abs_diff(total) * 20 <= total) {
            return;
        }
        assert!(Instant::now() < deadline, "the counts are {counts:?}");
        std::thread::yield_now();
    }
}

/// The lines of moves, when there are so many.
#[track_caller]
fn wait_for_moves(supervisor: &Server, count: usize) -> Vec<String> {
    supervisor
        .wait_for_lines(count, |line| line.contains(" has moved ") && line.contains(" connections to worker pid "))
}

#[test]
fn each_of_the_others_moves_its_part_to_a_worker_that_is_added_and_gets_its_part_of_one_that_is_removed() {
    let place = Place::new();
    let supervisor = movers(&place, "", &[30, 60]);
    supervisor.signal(Signal::SIGTTIN);
    let added = wait_for_workers(&supervisor, 3)[2];
    wait_for_moves(&supervisor, 2).iter().for_each(|line| assert!(line.contains(&format!("to worker pid {added} in"))));
    assert_eq!(counts(&place, 3), [20, 40, 30]);
    supervisor.signal(Signal::SIGTTOU);
    wait_for_moves(&supervisor, 4);
    wait_until_gone(added);
    assert_eq!(counts(&place, 3), [35, 55, 0]);
    // Two are asked for at once, and each is filled.
    supervisor.signal(Signal::SIGTTIN);
    wait_for_workers(&supervisor, 4);
    supervisor.signal(Signal::SIGTTIN);
    wait_for_moves(&supervisor, 4 + 2 + 3);
    assert_eq!(counts(&place, 5).iter().sum::<u64>(), 90);
    counts(&place, 5).iter().enumerate().for_each(|(place, count)| assert!(place == 2 || *count >= 15));
    stop_movers(supervisor, &place);
}

/// Lets all be over.
#[track_caller]
fn stop_movers(supervisor: Server, place: &Place) {
    for file in std::fs::read_dir(place.directory()).expect("it is there") {
        let path = file.expect("it is there").path();
        if path.extension().is_some_and(|extension| extension == "takeover") {
            std::fs::write(path, "0").expect("there is room");
        }
    }
    supervisor.stop();
}

#[test]
fn what_cannot_be_moved_stays_with_the_worker_that_is_removed_until_it_ends() {
    let place = Place::new();
    let supervisor = movers(&place, "", &[10, 10, 30]);
    a_file(&place, "stuck");
    supervisor.signal(Signal::SIGTTOU);
    let lines = wait_for_moves(&supervisor, 2);
    assert!(lines[0].ends_with("; 15 were expected") && lines[1].ends_with("; 30 were expected"), "{lines:?}");
    assert_eq!(counts(&place, 3), [10, 10, 30]);
    let removed = pid_in(&supervisor.wait_for_line(|line| line.contains("is removed and finishes")));
    supervisor.signal(Signal::SIGUSR1);
    wait_for_workers(&supervisor, 4);
    assert!(procfs::process::Process::new(removed.cast_signed()).is_ok());
    std::fs::write(place.file("worker-3.takeover"), "0").expect("there is room");
    wait_until_gone(removed);
    stop_movers(supervisor, &place);
}

#[test]
fn shares_that_workers_say_they_have_stay_near_to_each_other() {
    let place = Place::new();
    let supervisor = movers(&place, "--rebalance", &[900, 100, 200]);
    // How many moves that takes depends on who is ready first.
    wait_until_near(&place, 1200);
    let moves = supervisor.lines_with(" has moved ").len();
    let left = counts(&place, 3);
    std::fs::write(place.file("worker-2.takeover"), "100").expect("there is room");
    wait_until_near(&place, left[0] + 100 + left[2]);
    assert!(supervisor.says_times_within(PATIENCE, moves + 2, |line| line.contains(" has moved ")));
    stop_movers(supervisor, &place);
}

#[test]
fn a_hangup_during_a_move_waits_for_its_end() {
    let place = Place::new();
    let supervisor = movers(&place, "", &[30]);
    let wait = a_file(&place, "wait");
    supervisor.signal(Signal::SIGTTIN);
    wait_for_workers(&supervisor, 2);
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.ends_with("Generation 2 begins when no connections are being moved any more"));
    assert!(supervisor.lines_with("Generation 2 begins: ").is_empty());
    remove(&wait);
    wait_for_moves(&supervisor, 1);
    supervisor.wait_for_line(|line| line.contains("Generation 2 begins: 2 workers"));
    // What these have is not theirs who follow: they only say so.
    stop_movers(supervisor, &place);
}

#[test]
fn the_binary_is_not_replaced_during_a_move() {
    let place = Place::new();
    let supervisor = movers(&place, "", &[30]);
    let wait = a_file(&place, "wait");
    supervisor.signal(Signal::SIGTTIN);
    wait_for_workers(&supervisor, 2);
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.ends_with("is executed when no connections are being moved any more"));
    remove(&wait);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    wait_for_moves(&supervisor, 1);
    assert_eq!(counts(&place, 2), [15, 15]);
    stop_movers(supervisor, &place);
}

#[test]
fn servers_that_are_added_and_removed_share_the_live_connections_and_nobody_is_lost() {
    const PEERS: usize = 300;
    let supervisor = supervise("--workers 2 --replace takeover", &reactord());
    wait_for_workers(&supervisor, 2);
    let mut idle = Peer::connect_many(supervisor.address(), PEERS);
    exchange_all(&mut idle);
    let mut busy = Peer::connect_many(supervisor.address(), 20);
    exchange_all(&mut busy);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = StopAtEnd(&over);
        let busy = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                exchange_all(&mut busy);
            }
        });
        for round in 0..3 {
            supervisor.signal(Signal::SIGTTIN);
            let moves = wait_for_moves(&supervisor, 4 * round + 2);
            let added = wait_for_workers(&supervisor, 3 + round)[2 + round];
            let got: u64 = moves[4 * round..].iter().map(|line| moved_in(line)).sum();
            assert!(moves[4 * round..].iter().all(|line| line.contains(&format!(" to worker pid {added} in "))));
            assert!((100..=114).contains(&got), "a third of 320: {moves:?}");
            exchange_all(&mut idle);
            supervisor.signal(Signal::SIGTTOU);
            let moves = wait_for_moves(&supervisor, 4 * round + 4);
            assert_eq!(moves[4 * round + 2..].iter().map(|line| moved_in(line)).sum::<u64>(), got, "{moves:?}");
            wait_until_gone(added);
            exchange_all(&mut idle);
        }
        over.store(true, Ordering::Relaxed);
        busy.join().expect("no byte is lost, repeated or out of order");
    });
    // Those who were moved to and fro are handed over like all others.
    replace(&supervisor, 2);
    exchange_all(&mut idle);
    exchange_all(&mut busy);
    drop((idle, busy));
    supervisor.stop();
}

/// How many connections were moved, as a line says.
fn moved_in(line: &str) -> u64 {
    let (_, figures) = line.split_once(" has moved ").expect("the line says so");
    figures.split(' ').next().and_then(|count| count.parse().ok()).expect("a number of connections")
}

#[test]
fn a_server_that_is_killed_during_a_move_takes_along_what_it_owned_and_nobody_else() {
    const PEERS: usize = 600;
    for the_giver in [false, true] {
        let supervisor = supervise("--workers 2 --replace takeover", &reactord());
        wait_for_workers(&supervisor, 2);
        let mut peers = Peer::connect_many(supervisor.address(), PEERS);
        exchange_all(&mut peers);
        supervisor.signal(Signal::SIGTTIN);
        let line = supervisor.wait_for_line(|line| line.contains("Was given ") && line.contains(" peers by pid "));
        let giver = line.split_once(" by pid ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        let added = wait_for_workers(&supervisor, 3)[2];
        signal(if the_giver { giver.expect("a pid") } else { added }, Signal::SIGKILL);
        // It is replaced, and what the others have lives on.
        wait_for_workers(&supervisor, 4);
        let mut kept: Vec<Peer> = peers.into_iter().filter(Peer::is_open_and_silent).collect();
        assert!((1..PEERS).contains(&kept.len()), "of {PEERS} connections, {} are left", kept.len());
        exchange_all(&mut kept);
        // And can be moved.
        supervisor.signal(Signal::SIGTTOU);
        let removed = pid_in(&supervisor.wait_for_line(|line| line.contains("is removed and finishes")));
        wait_until_gone(removed);
        exchange_all(&mut kept);
        drop(kept);
        supervisor.stop();
    }
}

#[test]
fn servers_whose_clients_leave_are_given_some_of_the_others() {
    let supervisor = supervise("--workers 2 --replace takeover --rebalance", &reactord());
    wait_for_workers(&supervisor, 2);
    let mut peers = Peer::connect_many(supervisor.address(), 60);
    exchange_all(&mut peers);
    // Those who came first are with one or the other; a worker more has none of them.
    supervisor.signal(Signal::SIGTTIN);
    let added = wait_for_workers(&supervisor, 3)[2];
    supervisor.wait_for_line(|line| line.contains(&format!(" connections to worker pid {added} in ")));
    exchange_all(&mut peers);
    drop(peers);
    supervisor.stop();
}

// ── Workers that do what they must not ─────────────────────────────────────────────────────────────────────────────

/// The beginning of a worker in Python that has taken one connection, and another socket.
const TAKES_ONE: &str = "import array, os, signal, socket
queue = socket.socket(fileno=int(os.environ['REACTORD_QUEUE']))
def say(packet, *descriptors):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', descriptors))] if descriptors else []
    queue.sendmsg([packet], control)
say(b'ready 2'); say(b'want 9')
packet, descriptors, _, _ = socket.recv_fds(queue, 70000, 9)
number = packet.split()[1]
say(b'took ' + number)
one, other = descriptors[0], os.open('/dev/null', os.O_RDONLY)
";

#[test]
fn a_worker_that_gives_back_what_it_must_not_loses_its_own_queue_alone() {
    let place = Place::new();
    for (wrong, said) in [
        ("say(b'back 999\\n', one)", "it does not have connection 999"),
        ("say(b'back ' + number + b'\\n', one); say(b'back ' + number + b'\\n', one)", "it does not have connection "),
        ("say(b'done ' + number); say(b'back ' + number + b'\\n', one)", "it does not have connection "),
        ("say(b'back ' + number + b'\\n')", "it sent 0 descriptors with a word, 1 are expected"),
        ("say(b'back ' + number + b'\\n', one, one)", "it sent 2 descriptors with a word, 1 are expected"),
        ("say(b'want 1', one)", "it sent 1 descriptors with a word, 0 are expected"),
        ("say(b'back ' + number + b'\\n', other)", "with the descriptor of something else"),
        ("say(b'back ' + number, one)", "no state follows \"back "),
        ("say(b'want 1\\nx')", "a state of 1 bytes follows \"want 1\", where none may"),
        ("say(b'back ' + number + b'\\n' + bytes(65537), one)", "a state of 65537 bytes or more follows"),
        ("say(b'holds 1')", "it says \"holds 1\", and was not asked"),
        ("say(b'moved 1')", "it says \"moved 1\", and was not asked"),
    ] {
        let script = place.file("wrong.py");
        std::fs::write(&script, format!("{TAKES_ONE}{wrong}\nsignal.pause()\n")).expect("there is room");
        let wrong = ["python3".to_owned(), script.to_str().expect("text").to_owned()];
        let command = first_and_later(&place, &wrong, &keeper(""));
        let supervisor = supervise("--drain-timeout 0.2 --workers 1", &command);
        wait_for_workers(&supervisor, 1);
        let first = Client::connect(supervisor.address());
        supervisor.wait_for_line(|line| line.contains(" ended its queue: ") && line.contains(said));
        // It is replaced, and what waits is served.
        let (mut client, _) = Client::served(supervisor.address());
        client.exchange();
        let files = supervisor.open_files();
        drop(first);
        client.end();
        supervisor.signal(Signal::SIGTTIN);
        wait_for_workers(&supervisor, 3);
        assert!(supervisor.open_files() <= files + 1, "{said}: a worker more has a socket more");
        supervisor.stop();
    }
}

#[test]
fn a_worker_that_never_learns_of_a_refusal_loses_its_queue_and_what_it_gave_back_is_served() {
    let supervisor = supervise("--workers 1 --state-max 0", &keeper("mute long=65000"));
    let mute = wait_for_workers(&supervisor, 1)[0];
    let mut clients = served(&supervisor, 12);
    begin_lines(&clients);
    supervisor.signal(Signal::SIGHUP);
    let line = supervisor.wait_for_line(|line| line.contains("it does not read that connection "));
    assert!(line.contains(&format!("pid {mute}")), "{line}");
    signal(mute, Signal::SIGKILL);
    // What it was told to keep ends with it; whatever it gave back and was not told to keep is served by another.
    wait_until_gone(mute);
    let open: Vec<bool> = clients.iter_mut().map(Client::is_open).collect();
    assert!(open.iter().filter(|open| **open).count() >= 2, "{open:?}");
    for (number, client) in clients.iter_mut().enumerate().filter(|(number, _)| open[*number]) {
        assert_eq!(client.ask("gun"), format!("client {number} has begun"));
    }
    drop(clients);
    supervisor.stop();
}

/// So many have typed half a line, and were given back by a worker that is gone: more than there are descriptors for.
/// Nobody takes them before the file is gone.
#[track_caller]
fn more_than_there_are_descriptors_for(place: &Place, count: usize) -> (Server, Vec<Client>, String) {
    const FILES: u64 = 48;
    let stuck = a_file(place, "stuck");
    let wants = place.file("wants").to_str().expect("text").to_owned();
    let command = keeper(&format!("stuck={stuck} wants={wants} crash={count}"));
    let supervisor = supervise("-v --workers 1", &command);
    let killed = wait_for_workers(&supervisor, 1)[0];
    let clients = served(&supervisor, count);
    begin_lines(&clients);
    std::fs::write(&wants, "").expect("the directory is there");
    supervisor.limit_open_files(FILES);
    // What it may open is counted when it begins.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    replace(&supervisor, 2);
    // All are in the socket, and the worker is gone, when the supervisor looks.
    assert!(supervisor.suspend());
    remove(&stuck);
    wait_until_gone(killed);
    supervisor.resume();
    supervisor.wait_for_line(|line| line.contains(" was given back by "));
    let given = supervisor.lines_with(" was given back by ").len();
    assert!(given < count, "there are no descriptors for {given}");
    (supervisor, clients, wants)
}

#[test]
fn what_a_killed_worker_gave_back_waits_in_its_socket_until_there_are_descriptors_for_it() {
    const CLIENTS: usize = 40;
    let place = Place::new();
    let (supervisor, mut clients, wants) = more_than_there_are_descriptors_for(&place, CLIENTS);
    remove(&wants);
    end_lines(&mut clients);
    supervisor.wait_for_lines(CLIENTS, |line| line.contains(" was given back by "));
    clients.into_iter().for_each(Client::end);
    supervisor.stop();
}

#[test]
fn a_stop_does_not_wait_for_descriptors_for_what_nobody_is_to_serve_any_more() {
    let place = Place::new();
    let (supervisor, clients, _) = more_than_there_are_descriptors_for(&place, 40);
    for times in 1..=2 {
        supervisor.signal(Signal::SIGTERM);
        supervisor.wait_for_lines(times, |line| line.contains("SIGTERM: stopping with "));
    }
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
    drop(clients);
}
