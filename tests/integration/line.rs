//! The service `line`.

use crate::harness::{Peer, Place, Server};

#[test]
fn line_of_any_bytes_comes_back() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let peer = Peer::connect(server.address());
    let mut line: Vec<u8> = (0..=u8::MAX).filter(|byte| *byte != b'\n').collect();
    line.push(b'\n');
    let longest = [vec![0xff; 64 * 1024], b"\n".to_vec()].concat();
    for line in [&line[..], b"\n", b"\r\n", &longest] {
        peer.send(line);
        peer.expect(line);
    }
    peer.send(b"half a line");
    let server = server.taken_over("");
    peer.assert_open_and_silent();
    peer.send(b", and its end\n");
    peer.expect(b"half a line, and its end\n");
    server.stop_with([peer]);
}

#[test]
fn line_over_the_maximum_closes_that_peer_only() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let [peer, other] = [Peer::connect(server.address()), Peer::connect(server.address())];
    peer.send(b"whole\n");
    peer.send(&[b'x'; 64 * 1024 + 1]);
    peer.expect(b"whole\n");
    peer.expect_end();
    let told = server.wait_for_line(|line| line.contains("WARN"));
    assert!(told.contains("broke the protocol and is closed: a line of more than 65536 bytes"), "{told}");
    other.send(b"unharmed\n");
    other.expect(b"unharmed\n");
    assert_eq!(server.lines_with("WARN").len(), 1, "{}", server.log());
    server.stop_with([other]);
}
