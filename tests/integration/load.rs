//! Takeovers under load: connections talk, come and go while the server is replaced.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Peer, Place, Server, Source, StopAtEnd, caller_sees_pid, exchange_all};

#[test]
fn five_takeovers_under_load_lose_no_number() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut watching = Peer::connect_many(server.address(), 20);
    let (server, mut peers) =
        under_load(server, |server| chain(server, 5, || (0..20).for_each(|_| exchange_all(&mut watching))));
    exchange_all(&mut peers);
    assert_eq!(caller_sees_pid(&place.path()), server.pid());
    server.stop_with(peers.into_iter().chain(watching));
}

/// Lets 300 peers talk without a pause while the server is replaced, and checks what they hear. Returns the last
/// server, and the peers.
#[track_caller]
pub(super) fn under_load(server: Server, replace: impl FnOnce(Server) -> Server) -> (Server, Vec<Peer>) {
    const THREADS: usize = 3;
    let address = server.address();
    let stopping = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stopping);
        let load: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut peers = Peer::connect_many(address, 100);
                    while !stopping.load(Ordering::Relaxed) {
                        exchange_all(&mut peers);
                    }
                    peers
                })
            })
            .collect();
        let server = replace(server);
        stopping.store(true, Ordering::Relaxed);
        let peers = load.into_iter().flat_map(|thread| thread.join().expect("the load is answered in order"));
        let peers: Vec<Peer> = peers.collect();
        assert_eq!(peers.len(), THREADS * 100);
        (server, peers)
    })
}

/// A chain of so many takeovers, with something to be done after each. Returns the last successor; all others have
/// exited.
#[track_caller]
fn chain(mut server: Server, takeovers: usize, mut between: impl FnMut()) -> Server {
    between();
    for _ in 0..takeovers {
        server = server.taken_over("");
        between();
    }
    server
}

#[test]
fn connections_that_come_and_go_during_takeovers_are_never_reset() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let address = server.address();
    let mut staying = Peer::connect_many(address, 300);
    let (stopping, connections) = (AtomicBool::new(false), AtomicU64::new(0));
    let server = std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stopping);
        for seed in [7, 8] {
            let (stopping, connections) = (&stopping, &connections);
            scope.spawn(move || come_and_go(address, seed, stopping, connections));
        }
        chain(server, 5, || {
            let before = connections.load(Ordering::Relaxed);
            let come_and_gone = (0..1000).any(|_| {
                exchange_all(&mut staying);
                connections.load(Ordering::Relaxed) > before + 50
            });
            assert!(come_and_gone, "connections come and go all the time");
        })
    });
    exchange_all(&mut staying);
    server.stop_with(staying);
}

/// Opens connections, talks on one or another, and closes some, until it is told to stop.
fn come_and_go(address: SocketAddr, seed: u64, stopping: &AtomicBool, connections: &AtomicU64) {
    let mut source = Source(seed);
    let mut open = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let mut peer = Peer::connect(address);
        peer.exchange();
        connections.fetch_add(1, Ordering::Relaxed);
        open.push(peer);
        if open.len() >= 40 {
            let mut leaving = open.swap_remove(source.next() as usize % open.len());
            match source.next() % 3 {
                0 => {
                    leaving.end_sending();
                    leaving.expect_end();
                }
                // An answer is under way to somebody who is gone.
                1 => leaving.ask(),
                _ => {}
            }
        }
        let talking = source.next() as usize % open.len();
        (0..10).for_each(|_| open[talking].exchange());
    }
    exchange_all(&mut open);
}

#[test]
fn connections_in_the_accept_queue_are_served_after_a_takeover() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    assert!(predecessor.suspend());
    let mut waiting = Peer::connect_many(predecessor.address(), 600);
    waiting.iter_mut().for_each(Peer::ask);
    let successor = Server::take_over(&place.path(), "");
    predecessor.resume();
    let successor = predecessor.taken_over_by(successor);
    waiting.iter_mut().for_each(Peer::hear);
    exchange_all(&mut waiting);
    exchange_all(&mut peers);
    successor.stop_with(peers.into_iter().chain(waiting));
}

#[test]
fn connections_that_the_predecessor_never_accepted_are_served_by_the_successor() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "--max-peers 3");
    let mut peers = Peer::connect_many(predecessor.address(), 3);
    exchange_all(&mut peers);
    let mut waiting = Peer::connect_many(predecessor.address(), 7);
    waiting.iter_mut().for_each(Peer::ask);
    let successor = predecessor.taken_over("");
    let summary = successor.wait_for_line(|line| line.contains("Took over "));
    assert!(summary.contains("Took over 3 peers "), "the others were not accepted: {summary}");
    waiting.iter_mut().for_each(Peer::hear);
    exchange_all(&mut waiting);
    exchange_all(&mut peers);
    successor.stop_with(peers.into_iter().chain(waiting));
}
