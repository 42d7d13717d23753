//! Memory: what it costs a server that clients send and do not read.

use std::thread;
use std::time::Instant;

use crate::harness::{PATIENCE, Peer, Place, Server, any_takes_more, lines};

/// What a peer costs at most, as README.md says it for the service `line`: twice (a buffer that grows doubles) the
/// mark, an answer, a message, and what is read at once.
const PEER_BYTES_MAX: u64 = 2 * (256 + 64 + 64 + 64) * 1024;

const GIGABYTE: usize = 1 << 30;

#[test]
fn clients_that_send_gigabytes_and_read_nothing_cost_no_more_than_is_documented() {
    const GREEDY: u64 = 40;
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let modest = Peer::connect(server.address());
    modest.send(b"first\n");
    modest.expect(b"first\n");
    let resident_before = server.resident_bytes();

    let text = lines(11, 4 << 20);
    let greedy = Peer::connect_many(server.address(), GREEDY as usize);
    let sent: usize = thread::scope(|scope| {
        let sending: Vec<_> =
            greedy.chunks(10).map(|peers| scope.spawn(|| send_until_all_stuck(peers, &text))).collect();
        // Others are served meanwhile.
        while !sending.iter().all(thread::ScopedJoinHandle::is_finished) {
            modest.send(b"meanwhile\n");
            modest.expect(b"meanwhile\n");
        }
        sending.into_iter().map(|thread| thread.join().expect("every peer gets stuck")).sum()
    });
    eprintln!("{GREEDY} peers were stuck after {} MiB each", (sent >> 20) / GREEDY as usize);
    let grown = server.resident_bytes() - resident_before;
    eprintln!(
        "{GREEDY} peers that do not read: {} KiB each, {} KiB are documented",
        grown / GREEDY / 1024,
        PEER_BYTES_MAX / 1024
    );
    assert!(grown <= GREEDY * PEER_BYTES_MAX, "{} KiB a peer", grown / GREEDY / 1024);

    // Their buffers move, and cost the successor no more.
    let server = server.taken_over("");
    let resident = server.resident_bytes();
    eprintln!(
        "the successor has {} KiB, its predecessor had {} KiB",
        resident / 1024,
        (resident_before + grown) / 1024
    );
    assert!(resident <= resident_before + GREEDY * PEER_BYTES_MAX, "{} KiB", resident / 1024);
    modest.send(b"last\n");
    modest.expect(b"last\n");
    // Who leaves is paid back for, as far as the allocator goes: new ones cost nothing more.
    drop(greedy);
    let again = Peer::connect_many(server.address(), GREEDY as usize);
    send_until_all_stuck(&again, &text);
    assert!(server.resident_bytes() <= resident_before + GREEDY * PEER_BYTES_MAX);
    drop(again);
    server.stop_with([modest]);
}

/// Sends the text over and over on each connection, until none takes any more, and returns how many bytes went.
fn send_until_all_stuck(peers: &[Peer], text: &[u8]) -> usize {
    let mut sent = vec![0; peers.len()];
    while any_takes_more(peers) {
        for (peer, sent) in peers.iter().zip(&mut sent) {
            // Where a line is cut does not matter: its rest comes next time.
            *sent += peer.send_some(&text[*sent % text.len()..]);
        }
        assert!(sent.iter().all(|sent| *sent < GIGABYTE), "a gigabyte was taken though nobody reads the answers");
    }
    sent.iter().sum()
}

#[test]
fn line_without_an_end_costs_no_more_than_the_longest_that_is_allowed() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let mut others = Peer::connect_many(server.address(), 1);
    let resident_before = server.resident_bytes();
    let endless = Peer::connect(server.address());
    let (piece, mut sent) = (vec![b'x'; 1 << 20], 0);
    // It is closed soon, what it sends is thrown away for two seconds, and in the end its connection is reset.
    let began = Instant::now();
    while endless.try_send(&piece).is_ok() {
        sent += piece.len();
        assert!(began.elapsed() < PATIENCE, "somebody takes {sent} bytes");
    }
    let grown = server.resident_bytes().saturating_sub(resident_before);
    eprintln!("a line without end: {} KiB after {} MiB", grown / 1024, sent >> 20);
    assert!(grown <= PEER_BYTES_MAX, "{grown} bytes");
    others[0].send(b"unharmed\n");
    others[0].expect(b"unharmed\n");
    server.stop_with(others.drain(..));
}
