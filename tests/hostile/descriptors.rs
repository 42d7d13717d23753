//! Descriptors: none left, few allowed, many in flight, and none lost over many takeovers.

use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

use crate::harness::{
    Peer, Place, STRANGER, ScriptedSuccessor, Server, daemon_of_stranger, exchange_all, figure, hello, kind, skip,
};

/// How long a server out of descriptors pauses before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

#[test]
fn server_out_of_descriptors_serves_on_sleeps_and_recovers_by_itself() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 20);
    exchange_all(&mut peers);
    // From now on there are a few descriptors, for thirty more that come.
    server.limit_open_files(server.open_files() as u64 + 5);
    let mut waiting = Peer::connect_many(server.address(), 30);
    waiting.iter_mut().for_each(Peer::ask);
    let told = server.wait_for_line(|line| line.contains("Accepting pauses"));
    assert!(told.contains("WARN") && told.contains("os error 24"), "{told}");
    let accepted = figure(&told, " peers, and goes on when one leaves") as usize - peers.len();
    assert!(accepted < 10, "{told}");
    waiting[..accepted].iter_mut().for_each(Peer::hear);
    // A caller cannot be let in either.
    let mut successor = ScriptedSuccessor::call(&place.path());
    successor.send(&hello("seqnum"));
    server.wait_for_line(|line| line.contains("The takeover path answers again in 1000 ms"));

    // Nobody leaves, and the server looks again and again; in between it sleeps.
    let used_before = server.processor_time();
    let began = Instant::now();
    while began.elapsed() < 3 * PAUSE {
        // It is on their account, and little.
        exchange_all(&mut peers[..1]);
        peers[1].stays_silent_for(Duration::from_millis(250));
    }
    let used = server.processor_time() - used_before;
    eprintln!("{} ms of processor time in {} ms without descriptors", used.as_millis(), began.elapsed().as_millis());
    assert!(used < PAUSE / 4, "{used:?}");
    waiting[accepted..].iter().for_each(Peer::assert_open_and_silent);

    server.limit_open_files(20_000);
    waiting[accepted..].iter_mut().for_each(Peer::hear);
    successor.receive_until(kind::WELCOME);
    drop(successor);
    server.wait_for_line(|line| line.contains("serving on with 50 peers"));
    exchange_all(&mut peers);
    exchange_all(&mut waiting);
    assert_eq!(server.lines_with("Accepting pauses").len(), 1, "{}", server.log());
    let server = server.taken_over("");
    exchange_all(&mut waiting);
    server.stop_with(peers.into_iter().chain(waiting));
}

#[test]
fn unprivileged_user_with_4000_peers_and_a_limit_of_4100_is_taken_over() {
    let place = Place::new();
    let path = place.path();
    let Some(mut predecessor) = daemon_of_stranger(&place, 4100) else {
        return skip("only root can become another user, who has a limit of descriptors in flight");
    };
    chown(place.directory(), Some(STRANGER), None).unwrap();
    let predecessor = Server::spawn(&path, predecessor.args(["-p", "0", "-t"]).arg(&path)).started();
    let mut peers = Peer::connect_many(predecessor.address(), 4000);
    exchange_all(&mut peers);
    // A successor that receives nothing leaves as many descriptors in flight as are ever sent at once.
    let slow = ScriptedSuccessor::welcomed(&path, "seqnum");
    exchange_all(&mut peers);
    drop(slow);
    predecessor.wait_for_line(|line| line.contains("serving on with 4000 peers"));
    let mut successor = daemon_of_stranger(&place, 4100).expect("there was one before");
    let successor = predecessor.taken_over_by(Server::spawn(&path, successor.arg("-T").arg(&path)));
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

#[test]
fn two_hundred_takeovers_leak_neither_descriptors_nor_memory() {
    const WARM: usize = 5;
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 20);
    let mut figures = Vec::new();
    for takeover in 0..200 {
        exchange_all(&mut peers);
        // Half a message each, so that there is something to hand over.
        peers.iter_mut().for_each(|peer| peer.ask_begin(3));
        server = server.taken_over("");
        peers.iter_mut().for_each(|peer| peer.ask_end(3));
        peers.iter_mut().for_each(Peer::hear);
        if takeover == WARM || takeover == 199 {
            figures.push((server.open_files(), server.resident_bytes() / 1024));
        }
    }
    let [(files_before, kib_before), (files_after, kib_after)] = figures[..] else { unreachable!("two were taken") };
    eprintln!(
        "after {WARM} and 200 takeovers: {files_before} and {files_after} files, {kib_before} and {kib_after} KiB"
    );
    assert_eq!(files_before, files_after);
    assert!(kib_after < kib_before + 1024, "{kib_before} KiB, then {kib_after} KiB");
    server.stop_with(peers);
}
