//! Peers that have sent all they will send, and have read nothing yet.

use std::net::SocketAddr;

use crate::harness::{Peer, Place, Record, ScriptedSuccessor, Server, lines};

/// Peers that have sent all they will send, and have read nothing yet: at least one whose answers are pending, and one
/// that is held.
#[track_caller]
pub(crate) fn half_close_peers(place: &Place, server: &Server) -> Vec<(Peer, Vec<u8>, HalfClosed)> {
    let half_close = |bytes_min| {
        let peer = Peer::connect(server.address());
        // The server knows it when it has answered.
        peer.send(b"hello\n");
        peer.expect(b"hello\n");
        let mut bytes = lines(bytes_min as u64 | 1, bytes_min);
        // A kernel that has little memory left takes less: the line that it has cut has no end, and no answer.
        let sent = peer.send_unless_stuck(server, &bytes);
        bytes.truncate(bytes[..sent].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        peer.end_sending();
        let half_closed = look_at(peer.address(), place, server);
        (peer, bytes, half_closed)
    };
    // How much the kernel takes is its own affair, so search for what leaves a peer ended with answers pending. It need
    // not take as much the next time, so a search that finds nothing begins anew.
    let mut peers = vec![half_close(MUCH_BYTES)];
    assert_eq!(peers[0].2, HalfClosed::Held);
    for _ in 0..SEARCHES_MAX {
        let (mut little_bytes, mut much_bytes) = (0, MUCH_BYTES);
        while much_bytes - little_bytes > 1024 {
            let bytes = little_bytes.midpoint(much_bytes);
            let peer = half_close(bytes);
            let half_closed = peer.2;
            peers.push(peer);
            match half_closed {
                HalfClosed::Written => little_bytes = bytes,
                HalfClosed::Held => much_bytes = bytes,
                HalfClosed::Pending => return peers,
            }
        }
    }
    panic!("no number of bytes leaves answers pending");
}

/// More than the kernel and the high-water mark take.
const MUCH_BYTES: usize = 6 * 1024 * 1024;

const SEARCHES_MAX: u32 = 5;

/// What has become of a half-closed peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfClosed {
    /// All its answers are in the kernel, and the server is done with it.
    Written,
    /// The server has read its end, and some of its answers are not written yet.
    Pending,
    /// The server does not read from it, as too many answers are not written yet.
    Held,
}

/// Looks at a half-closed peer through the eyes of a successor, until the server has nothing to do for it.
#[track_caller]
fn look_at(address: SocketAddr, place: &Place, predecessor: &Server) -> HalfClosed {
    const HIGH_BYTES: usize = 256 * 1024;
    const LOW_BYTES: usize = 64 * 1024;
    const LOOKS_MAX: usize = 500;
    /// A peer that is held below the high-water mark, and one that is still read from, differ in that this one changes.
    const LOOKS_ALIKE: usize = 20;
    let (mut pending_before, mut alike) = (0, 0);
    for _ in 0..LOOKS_MAX {
        let looked = predecessor.lines_with("failed").len();
        let mut witness = ScriptedSuccessor::welcomed(&place.path(), "line");
        let record = witness.copy().into_iter().find(|record| record.is_of(address.port()));
        drop(witness);
        predecessor.wait_for_lines(looked + 1, |line| line.contains("failed"));
        match record {
            None => return HalfClosed::Written,
            Some(record) if record.phase > Record::CLOSING => return HalfClosed::Written,
            Some(record) if record.phase == Record::CLOSING && record.outbound_bytes > 0 => return HalfClosed::Pending,
            Some(record) if record.outbound_bytes > HIGH_BYTES => return HalfClosed::Held,
            Some(record) if record.outbound_bytes > LOW_BYTES && alike >= LOOKS_ALIKE => return HalfClosed::Held,
            // There is more to read from it.
            Some(record) => {
                alike = if record.outbound_bytes == pending_before { alike + 1 } else { 0 };
                pending_before = record.outbound_bytes;
            }
        }
    }
    panic!("the server does not get done with a peer:\n{}", predecessor.log())
}
