//! Limits: what becomes of connections that are more than may be served.

use crate::harness::{Peer, Place, Server, exchange_all, figure, limited};

#[test]
fn peer_over_the_maximum_waits_until_another_leaves() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--max-peers 3");
    let mut peers = Peer::connect_many(server.address(), 3);
    exchange_all(&mut peers);
    let mut waiting = Peer::connect_many(server.address(), 2);
    waiting.iter_mut().for_each(Peer::ask);
    server.wait_for_line(|line| line.contains("WARN") && line.contains("Accepting pauses with 3 peers"));
    for mut next in waiting {
        exchange_all(&mut peers);
        next.assert_open_and_silent();
        drop(peers.pop());
        next.hear();
        peers.push(next);
    }
    exchange_all(&mut peers);
    server.stop_with(peers);
}

#[test]
fn server_at_its_limit_of_open_files_serves_on_and_can_be_taken_over() {
    let place = Place::new();
    let path = place.path();
    let arguments = ["-p", "0", "-t", path.to_str().expect("a test's path is UTF-8")];
    let server = Server::spawn(&path, &mut limited(64, &arguments)).started();
    let mut peers = Peer::connect_many(server.address(), 80);
    let told = server.wait_for_line(|line| line.contains("WARN"));
    let served: usize = figure(&told, " peers, and goes on when one leaves") as usize;
    assert!((10..64).contains(&served), "{told}");
    // The kernel hands connections out in the order in which they came.
    exchange_all(&mut peers[..served]);
    peers[served..].iter_mut().for_each(Peer::ask);
    exchange_all(&mut peers[..served]);
    peers[served..].iter().for_each(Peer::assert_open_and_silent);
    // Those who leave make room for as many.
    peers.drain(..10);
    peers[served - 10..served].iter_mut().for_each(Peer::hear);
    exchange_all(&mut peers[..served]);
    peers[served..].iter().for_each(Peer::assert_open_and_silent);

    // Somebody with the same limit can take over, and somebody with a higher one serves them all.
    let arguments = ["-T", path.to_str().expect("a test's path is UTF-8")];
    let same = server.taken_over_by(Server::spawn(&path, &mut limited(64, &arguments)));
    exchange_all(&mut peers[..served]);
    let larger = same.taken_over("");
    peers[served..].iter_mut().for_each(Peer::hear);
    exchange_all(&mut peers);
    larger.stop_with(peers);
}
