//! Versions: releases of a program, of its sessions and of the wire, that take over from each other.

use super::load::under_load;
use crate::harness::{Peer, Place, Server, example, exchange_all};

/// A release of the example `versions`, or of the same with a rehearsed wire version, as a server.
#[track_caller]
fn serve_release(place: &Place, build: &str, release: u32) -> Server {
    let mut command = example(build);
    command.arg(release.to_string()).arg("127.0.0.1:0").arg(place.path());
    Server::spawn(&place.path(), &mut command).started()
}

/// The same, as a successor.
#[track_caller]
fn call_release(place: &Place, build: &str, release: u32) -> Server {
    Server::spawn(&place.path(), example(build).arg(release.to_string()).arg(place.path()))
}

#[test]
fn each_release_takes_over_from_its_neighbour_and_gives_back() {
    let place = Place::new();
    let mut server = serve_release(&place, "versions", 1);
    let mut peers = Peer::connect_many(server.address(), 20);
    exchange_all(&mut peers);
    for release in [2, 3, 4, 3, 2, 1] {
        server = server.taken_over_by(call_release(&place, "versions", release));
        // Whose session were lost would not be known to go on where it was.
        exchange_all(&mut peers);
        exchange_all(&mut peers);
    }
    server.stop_with(peers);
}

#[test]
fn sessions_that_the_successor_cannot_restore_are_refused_with_both_versions() {
    for (serving, calling, saved, restored) in
        [(3, 1, 2, "1 to 1"), (4, 1, 2, "1 to 1"), (1, 4, 1, "2 to 2"), (2, 4, 1, "2 to 2")]
    {
        let place = Place::new();
        let server = serve_release(&place, "versions", serving);
        let mut peers = Peer::connect_many(server.address(), 20);
        exchange_all(&mut peers);
        let refused = call_release(&place, "versions", calling);
        let (_, log) = refused.output(1);
        let why = format!("refused: numbers has state version {saved}, the successor restores versions {restored}");
        assert!(log.contains(&why), "{log}");
        let told = server.wait_for_line(|line| line.contains("WARN"));
        assert!(told.contains(&format!("by pid {} (", refused.pid())) && told.contains(&why), "{told}");
        exchange_all(&mut peers);
        let successor = server.taken_over_by(call_release(&place, "versions", serving));
        exchange_all(&mut peers);
        successor.stop_with(peers);
    }
}

/// What only wire version 2 says, once both sides speak it.
fn says_more(server: &Server) -> bool {
    let [census, pending] =
        ["Wire version 2: a census of ", "Wire version 2: "].map(|part| server.lines_with(part).len());
    assert!(census == 0 || pending > census, "a Round has its new field where Census is sent: {}", server.log());
    census > 0
}

#[test]
#[ignore = "`cargo build --example wire_2 --features wire-2` comes before; ./check does both"]
fn wire_2_takes_over_from_wire_1_and_gives_back_under_load() {
    const WIRE_1: &str = "versions";
    const WIRE_2: &str = "wire_2";
    let place = Place::new();
    let server = serve_release(&place, WIRE_1, 2);
    let mut watching = Peer::connect_many(server.address(), 20);
    // Sessions are saved in version 1 by release 2, and in version 2 by release 3; each restores both.
    let successors = [(WIRE_2, 3), (WIRE_2, 3), (WIRE_1, 2), (WIRE_2, 2), (WIRE_1, 3), (WIRE_1, 2), (WIRE_2, 3)];
    let (server, mut peers) = under_load(server, |mut server| {
        let mut before = WIRE_1;
        for (build, release) in successors {
            server = server.taken_over_by(call_release(&place, build, release));
            assert_eq!(says_more(&server), before == WIRE_2 && build == WIRE_2, "{build} after {before}");
            (0..20).for_each(|_| exchange_all(&mut watching));
            before = build;
        }
        server
    });
    exchange_all(&mut peers);
    server.stop_with(peers.into_iter().chain(watching));
}

#[test]
#[ignore = "`cargo build --example wire_2 --features wire-2` comes before; ./check does both"]
fn wire_2_is_refused_up_front_when_it_saves_what_wire_1_cannot_restore() {
    for (serving, calling, versions) in [
        (("wire_2", 3), ("versions", 1), "2, the successor restores versions 1 to 1"),
        (("versions", 1), ("wire_2", 4), "1, the successor restores versions 2 to 2"),
    ] {
        let place = Place::new();
        let server = serve_release(&place, serving.0, serving.1);
        let mut peers = Peer::connect_many(server.address(), 20);
        exchange_all(&mut peers);
        let (_, log) = call_release(&place, calling.0, calling.1).output(1);
        assert!(log.contains(&format!("refused: numbers has state version {versions}")), "{log}");
        exchange_all(&mut peers);
        server.stop_with(peers);
    }
}
