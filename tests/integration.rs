//! Real binaries: what clients, operators and successors see of the daemon, byte for byte.
//!
//! In this order: takeovers that succeed, takeovers under load, takeovers that fail, callers, the takeover path, the
//! command line, stopping, limits, the service `line`, the library, and versions. What is there to harm is in `hostile/`.

#[allow(dead_code, unused_imports, reason = "other tests need other parts of it")]
mod harness;
mod hostile;

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::{
    Frame, PATIENCE, Peer, Place, Record, ScriptedSuccessor, Server, Source, StopAtEnd, accept, caller_sees_pid,
    copied, daemon, empty, exchange_all, frame, hello, install, kind, limited, lines, ready, skip,
};
use nix::sys::signal::Signal;

// ── Takeovers that succeed ─────────────────────────────────────────────────────────────────────────────────────────

/// Lets a successor take over so many peers, each of which talks before and after.
#[track_caller]
fn takeover_keeps_every_peer(count: usize) {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), count);
    exchange_all(&mut peers);

    let successor = predecessor.taken_over("");
    exchange_all(&mut peers);
    exchange_all(&mut peers);
    let summary = successor.wait_for_line(|line| line.contains("Took over "));
    assert!(summary.contains(&format!("Took over {count} peers ")), "{summary}");
    assert!(summary.contains(" us, pause ") && summary.ends_with(" us"), "{summary}");
    Peer::connect(successor.address()).exchange();
    assert_eq!(caller_sees_pid(&place.path()), successor.pid());
    peers.iter().for_each(Peer::assert_open_and_silent);
    successor.stop_with(peers);
}

#[test]
fn takeover_without_peers_moves_the_listener() {
    takeover_keeps_every_peer(0);
}

#[test]
fn takeover_keeps_1_peer() {
    takeover_keeps_every_peer(1);
}

#[test]
fn takeover_keeps_as_many_peers_as_one_message_carries_and_one_more_or_less() {
    for count in [249, 250, 251, 252, 253, 254] {
        takeover_keeps_every_peer(count);
    }
}

#[test]
fn takeover_keeps_1000_peers() {
    takeover_keeps_every_peer(1000);
}

#[test]
fn takeover_keeps_2000_peers() {
    takeover_keeps_every_peer(2000);
}

#[test]
fn peers_half_way_through_a_message_go_on_at_the_next_byte() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 300);
    exchange_all(&mut peers);
    for _ in 0..2 {
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.ask_begin(1 + index % 3);
        }
        server = server.taken_over("");
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.assert_open_and_silent();
            peer.ask_end(1 + index % 3);
            peer.ask();
        }
        for peer in &mut peers {
            peer.hear();
            peer.hear();
        }
    }
    server.stop_with(peers);
}

#[test]
fn idle_peers_stay_open_and_silent() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 500);
    // The server has them all, and no peer has ever said a word.
    predecessor.wait_for_lines(500, |line| line.contains("Accepting connection from Peer "));
    let successor = predecessor.taken_over("-v");
    successor.wait_for_lines(500, |line| line.contains("Holding connection with Peer "));
    peers.iter().for_each(Peer::assert_open_and_silent);
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

/// A client sends until the server does not read any more, the server is taken over, and then every answer comes.
#[track_caller]
fn slow_reader_gets_every_byte(arguments: &str, bytes: &[u8]) {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), arguments);
    let reader = Peer::connect(server.address());
    let sent = reader.send_until_stuck(bytes);
    server = server.taken_over("");
    let summary = server.wait_for_line(|line| line.contains("Took over "));
    let copied_bytes: u64 = figure(&summary, " bytes");
    // A peer that is held has more pending than the low-water mark; the kernel may have taken some since it was held.
    assert!(copied_bytes > 64 * 1024, "pending output travels: {summary}");
    // Once more, with what the first successor has not written either.
    server = server.taken_over("");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            reader.send(&bytes[sent..]);
            reader.end_sending();
        });
        reader.expect(bytes);
    });
    reader.expect_end();
    server.stop();
}

/// The figure that precedes `unit` in a summary.
#[track_caller]
fn figure(summary: &str, unit: &str) -> u64 {
    let (before, _) = summary.split_once(unit).expect("the summary has this figure");
    before.rsplit(' ').next().and_then(|figure| figure.parse().ok()).expect("a figure is a number")
}

#[test]
fn slow_reader_gets_every_number_after_a_takeover() {
    let numbers: Vec<u8> = (0..4 * 1024 * 1024u32).flat_map(u32::to_be_bytes).collect();
    slow_reader_gets_every_byte("--service seqnum", &numbers);
}

#[test]
fn slow_reader_gets_every_line_after_a_takeover() {
    slow_reader_gets_every_byte("--service line", &lines(1, 24 * 1024 * 1024));
}

#[test]
fn half_closed_peers_get_every_answer_and_then_the_end() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "--service line");
    let peers = half_close_peers(&place, &predecessor);
    let successor = predecessor.taken_over("");
    for (peer, bytes, _) in &peers {
        peer.expect(bytes);
        peer.expect_end();
    }
    successor.stop();
}

/// Peers that have sent all they will send, and have read nothing yet: at least one whose answers are pending, and one
/// that is held.
#[track_caller]
fn half_close_peers(place: &Place, server: &Server) -> Vec<(Peer, Vec<u8>, HalfClosed)> {
    let half_close = |bytes_min| {
        let peer = Peer::connect(server.address());
        // The server knows it when it has answered.
        peer.send(b"hello\n");
        peer.expect(b"hello\n");
        let bytes = lines(bytes_min as u64 | 1, bytes_min);
        peer.send(&bytes);
        peer.end_sending();
        let half_closed = look_at(peer.address(), place, server);
        (peer, bytes, half_closed)
    };
    // How much the kernel takes is its own affair, so search for what leaves a peer ended with answers pending.
    let (mut little_bytes, mut much_bytes) = (0usize, 6 * 1024 * 1024);
    let mut peers = vec![half_close(much_bytes)];
    assert_eq!(peers[0].2, HalfClosed::Held);
    loop {
        let bytes = little_bytes.midpoint(much_bytes);
        let peer = half_close(bytes);
        let half_closed = peer.2;
        peers.push(peer);
        match half_closed {
            HalfClosed::Written => little_bytes = bytes,
            HalfClosed::Held => much_bytes = bytes,
            HalfClosed::Pending => return peers,
        }
        assert!(much_bytes - little_bytes > 1024, "no number of bytes leaves answers pending");
    }
}

/// What has become of a half-closed peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfClosed {
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

#[test]
fn takeover_moves_to_another_path_and_chains_from_there() {
    let place = Place::new();
    let other = place.file("other");
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let moved = predecessor.taken_over(&format!("-t {}", other.display()));
    moved.wait_for_line(|line| line.contains(&format!("Starting Takeover channel on [{}]", other.display())));
    exchange_all(&mut peers);
    assert!(!place.path().exists(), "the path that was moved away from is gone");
    assert_eq!(caller_sees_pid(&other), moved.pid());

    let refused = Server::take_over(&place.path(), "");
    let (_, log) = refused.output(3);
    assert!(log.contains("there is no such path"), "{log}");
    let last = moved.taken_over_by(Server::take_over(&other, ""));
    exchange_all(&mut peers);
    assert_eq!(caller_sees_pid(&other), last.pid());
    last.signal(Signal::SIGTERM);
    assert_eq!(last.exit_code(), 0);
    assert!(!other.exists());
}

#[test]
fn takeover_works_on_ipv6() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        return skip(&format!("this machine has no ::1: {error}"));
    }
    let place = Place::new();
    let path = place.path();
    let arguments = ["-a", "::1", "-p", "0", "-t", path.to_str().expect("a test's path is UTF-8")];
    let predecessor = Server::spawn(&path, daemon().args(arguments)).started();
    assert!(predecessor.address().is_ipv6());
    let mut peers = Peer::connect_many(predecessor.address(), 300);
    exchange_all(&mut peers);
    let successor = predecessor.taken_over("");
    assert!(successor.address().is_ipv6());
    exchange_all(&mut peers);
    Peer::connect(successor.address()).exchange();
    successor.stop_with(peers);
}

// ── Takeovers under load ───────────────────────────────────────────────────────────────────────────────────────────

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
fn under_load(server: Server, replace: impl FnOnce(Server) -> Server) -> (Server, Vec<Peer>) {
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

// ── Takeovers that fail ────────────────────────────────────────────────────────────────────────────────────────────

/// A server with peers, a successor that fails, and what the predecessor says of it.
struct Failing {
    place: Place,
    predecessor: Server,
    peers: Vec<Peer>,
    failures: usize,
}

impl Failing {
    /// A server with so many peers, that freezes for as long as anybody on a busy machine may take.
    #[track_caller]
    fn with_peers(count: usize) -> Self {
        Self::freezing(count, "--freeze-timeout 20000")
    }

    /// The same, that freezes for 100 ms at most: for tests in which it thaws at that deadline.
    #[track_caller]
    fn with_peers_and_little_patience(count: usize) -> Self {
        Self::freezing(count, "--freeze-timeout 100")
    }

    #[track_caller]
    fn freezing(count: usize, freeze_timeout: &str) -> Self {
        let place = Place::new();
        let predecessor = Server::serve(&place.path(), freeze_timeout);
        let mut peers = Peer::connect_many(predecessor.address(), count);
        exchange_all(&mut peers);
        Self { place, predecessor, peers, failures: 0 }
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path()
    }

    /// A takeover has failed: the predecessor says so in one line, with the caller's pid and the reason, and serves on.
    #[track_caller]
    fn expect_failure(&mut self, reason: &str) {
        self.failures += 1;
        let told = self.predecessor.wait_for_lines(self.failures, |line| line.contains("Takeover by pid "));
        let line = told.last().expect("as many lines as failures");
        let pid = std::process::id();
        assert!(line.contains("WARN") && line.contains(&format!("by pid {pid} ")), "{line}");
        assert!(line.contains(reason), "{line:?} should contain {reason:?}");
        exchange_all(&mut self.peers);
        Peer::connect(self.predecessor.address()).exchange();
        assert_eq!(caller_sees_pid(&self.path()), self.predecessor.pid());
        assert_eq!(self.predecessor.lines_with("WARN").len(), self.failures, "{}", self.predecessor.log());
    }

    /// After all of them, a real successor takes over.
    #[track_caller]
    fn end_with_a_takeover(mut self) {
        let successor = self.predecessor.taken_over("");
        exchange_all(&mut self.peers);
        successor.stop_with(self.peers);
    }

    /// Whichever way the takeover by this successor comes out, one of the two serves, and is taken over in turn.
    #[track_caller]
    fn end_with_one_owner(self, successor: Server) {
        let Self { place, predecessor, mut peers, .. } = self;
        let owner = if came_out(&predecessor) {
            predecessor.taken_over_by(successor)
        } else {
            let (_, log) = successor.output(3);
            assert!(log.contains("takeover from pid "), "{log}");
            predecessor
        };
        exchange_all(&mut peers);
        assert_eq!(caller_sees_pid(&place.path()), owner.pid());
        let last = owner.taken_over("");
        exchange_all(&mut peers);
        last.stop_with(peers);
    }
}

/// How far a scripted successor goes before it does something wrong.
#[derive(Clone, Copy, Debug)]
enum Step {
    Called,
    SaidHello,
    Copying,
    Copied,
    Frozen,
}

impl Step {
    const ALL: [Self; 5] = [Self::Called, Self::SaidHello, Self::Copying, Self::Copied, Self::Frozen];

    #[track_caller]
    fn reach(self, path: &Path) -> ScriptedSuccessor {
        let mut successor = ScriptedSuccessor::call(path);
        if matches!(self, Self::Called) {
            return successor;
        }
        successor.send(&hello("seqnum"));
        match self {
            Self::Called | Self::SaidHello => {}
            // What it has received is not acknowledged.
            Self::Copying => drop(successor.receive_until(kind::PEERS)),
            Self::Copied => drop(successor.copy()),
            Self::Frozen => {
                successor.copy();
                successor.freeze();
            }
        }
        successor
    }
}

#[test]
fn successor_gone_before_accept_leaves_peers_with_predecessor() {
    for step in Step::ALL {
        let mut failing = Failing::with_peers(300);
        let successor = step.reach(&failing.path());
        drop(successor);
        match step {
            // Whoever has said nothing has not called.
            Step::Called => exchange_all(&mut failing.peers),
            _ => failing.expect_failure("failed: the other side closed the channel; serving on with 300 peers"),
        }
        failing.end_with_a_takeover();
    }
}

#[test]
fn successor_gone_in_the_middle_of_a_long_copy_leaves_peers_with_predecessor() {
    // More than may be on their way to a successor that acknowledges nothing.
    let mut failing = Failing::with_peers(1500);
    let mut successor = Step::Copying.reach(&failing.path());
    exchange_all(&mut failing.peers);
    successor.receive_until(kind::PEERS);
    drop(successor);
    failing.expect_failure("failed: the other side closed the channel; serving on with 1500 peers");
    failing.end_with_a_takeover();
}

#[test]
fn garbage_from_a_successor_leaves_peers_with_predecessor() {
    let mut wrong_checksum = ready();
    wrong_checksum[5] ^= 1;
    let garbage: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame announces 1195725856 bytes, at most 65536 are allowed"),
        (&wrong_checksum, "a frame's checksum is "),
        (&frame(99, b""), "a frame has the unknown kind 99"),
        (&frame(kind::COPIED, b"\xff\xff\xff\xff"), "the body of Copied is malformed: "),
    ];
    for step in Step::ALL {
        let mut failing = Failing::with_peers(300);
        for (bytes, reason) in garbage {
            let mut successor = step.reach(&failing.path());
            successor.send(bytes);
            failing.expect_failure(reason);
            while successor.try_receive().is_some() {}
        }
        failing.end_with_a_takeover();
    }
}

#[test]
fn frame_out_of_turn_leaves_peers_with_predecessor() {
    for (step, frame, reason) in [
        (Step::Called, ready(), "dropped: it sent Ready before Hello"),
        (Step::Called, accept(), "dropped: it sent Accept before Hello"),
        (Step::Copying, hello("seqnum"), "failed: the successor sent Hello during the copy"),
        (Step::Copying, ready(), "failed: the successor sent Ready during the copy"),
        (Step::Copying, accept(), "failed: the successor sent Accept during the copy"),
        (Step::Copying, copied(1_000_000, 1), "failed: the successor claims 1000000 peers and 1 rounds, "),
        (Step::Copying, empty(kind::COMMIT), "the body of Commit is malformed"),
        (Step::Copied, accept(), "failed: the successor sent Accept during the copy"),
        (Step::Frozen, ready(), "failed: the successor sent Ready after the freeze"),
        (Step::Frozen, hello("seqnum"), "failed: the successor sent Hello after the freeze"),
        (Step::Frozen, empty(kind::SERVING), "the body of Serving is malformed"),
    ] {
        let mut failing = Failing::with_peers(300);
        let mut successor = step.reach(&failing.path());
        successor.send(&frame);
        failing.expect_failure(reason);
        while successor.try_receive().is_some() {}
        failing.end_with_a_takeover();
    }
}

#[test]
fn accept_after_the_freeze_timeout_comes_too_late() {
    let mut failing = Failing::with_peers_and_little_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    failing.peers.iter_mut().for_each(Peer::ask);
    failing.peers.iter_mut().for_each(Peer::hear);
    failing.expect_failure("failed: the other side was silent for 100 ms; serving on with 300 peers");
    let error = successor.try_send(&accept()).expect_err("the channel has ended for both sides");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    failing.end_with_a_takeover();
}

#[test]
fn successor_that_talks_without_end_after_the_freeze_leaves_peers_with_predecessor() {
    let mut failing = Failing::with_peers_and_little_patience(300);
    let successor = Step::Frozen.reach(&failing.path());
    let talk = copied(300, 2).repeat(1000);
    let talker = std::thread::spawn(move || while successor.try_send(&talk).is_ok() {});
    exchange_all(&mut failing.peers);
    failing.expect_failure("failed: the successor has not accepted within 100 ms, and talks on");
    talker.join().expect("it ends with the channel");
    failing.end_with_a_takeover();
}

#[test]
fn peers_that_change_come_and_go_during_a_copy_stay_with_predecessor() {
    let mut failing = Failing::with_peers(300);
    let successor = Step::Copying.reach(&failing.path());
    exchange_all(&mut failing.peers);
    failing.peers.truncate(200);
    failing.peers.extend(Peer::connect_many(failing.predecessor.address(), 50));
    exchange_all(&mut failing.peers);
    successor.send(&copied(300, 0));
    drop(successor);
    failing.expect_failure("failed: the other side closed the channel; serving on with 250 peers");
    failing.end_with_a_takeover();
}

#[test]
fn connection_that_ends_during_a_copy_ends_though_the_successor_has_a_duplicate() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 100);
    exchange_all(&mut peers);
    // It receives nothing, so every descriptor is in its channel, and the connections would outlive a mere close.
    let successor = Step::SaidHello.reach(&place.path());
    predecessor.wait_for_line(|line| line.contains("Takeover by pid ") && line.contains(" begins"));
    (0..5).for_each(|_| exchange_all(&mut peers));
    for peer in peers.drain(..50) {
        peer.end_sending();
        peer.expect_end();
    }
    exchange_all(&mut peers);
    predecessor.signal(Signal::SIGTERM);
    peers.iter().for_each(Peer::expect_end);
    assert_eq!(predecessor.exit_code(), 0);
    drop(successor);
}

/// How a takeover that was disturbed came out, as the predecessor says.
#[track_caller]
fn came_out(predecessor: &Server) -> bool {
    let line = predecessor.wait_for_line(|line| line.contains("Takeover by pid ") || line.contains("Handed over "));
    line.contains("Handed over ")
}

/// The moments at which a real successor is disturbed: when it has said so many lines. It may be further by then.
const MOMENTS: [usize; 8] = [0, 1, 50, 150, 299, 300, 302, 304];

#[test]
fn successor_killed_at_any_moment_leaves_peers_with_one_owner() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        successor.kill();
        // One that was killed before it was welcome owns nothing, and may be no news.
        let welcome = successor.last_words().contains("Welcomed by ");
        if welcome && came_out(&failing.predecessor) {
            // As after any crash of a server, its connections are gone; but then it really owned them.
            assert_eq!(failing.predecessor.exit_code(), 0);
            failing.peers.iter().for_each(Peer::expect_loss);
            continue;
        }
        exchange_all(&mut failing.peers);
        assert!(failing.predecessor.is_running());
        failing.end_with_a_takeover();
    }
}

#[test]
fn successor_stopped_at_any_moment_loses_nothing() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers_and_little_patience(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        assert!(successor.suspend(), "{}", successor.log());
        failing.peers.iter_mut().for_each(Peer::ask);
        // Past the freeze timeout, if it was stopped in the freeze.
        failing.predecessor.says_within(Duration::from_millis(250), |line| {
            line.contains("Takeover by pid ") || line.contains("Handed over ")
        });
        successor.resume();
        failing.peers.iter_mut().for_each(Peer::hear);
        failing.end_with_one_owner(successor);
    }
}

#[test]
fn predecessor_stopped_at_any_moment_loses_nothing() {
    for moment in MOMENTS {
        let mut failing = Failing::with_peers_and_little_patience(300);
        let successor = Server::take_over(&failing.path(), "-v");
        if moment > 0 {
            successor.wait_for_lines(moment, |_| true);
        }
        // It may have handed over already, and be gone.
        failing.predecessor.suspend();
        failing.peers.iter_mut().for_each(Peer::ask);
        successor.says_within(Duration::from_millis(150), |line| line.contains("Took over "));
        failing.predecessor.resume();
        failing.peers.iter_mut().for_each(Peer::hear);
        // If it was stopped in the freeze before it had sent Commit, it finds its own deadline past.
        failing.end_with_one_owner(successor);
    }
}

#[test]
fn second_successor_is_refused_while_the_first_takes_over() {
    let mut failing = Failing::with_peers(300);
    let first = Step::Copying.reach(&failing.path());
    let second = Server::take_over(&failing.path(), "");
    let (_, log) = second.output(3);
    let busy = format!("refused: pid {} is taking over already", std::process::id());
    assert!(log.contains("ERROR") && log.contains(&busy), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("refused"));
    assert!(told.contains("WARN") && told.contains(&format!("by pid {} ", second.pid())), "{told}");
    exchange_all(&mut failing.peers);
    drop(first);
    failing.failures = 1;
    failing.expect_failure("failed: the other side closed the channel");
    failing.end_with_a_takeover();
}

#[test]
fn caller_that_has_said_nothing_is_told_who_took_over() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    // It was let in before whoever calls after it.
    let mut caller = ScriptedSuccessor::call(&place.path());
    let successor = predecessor.taken_over("");
    let refusal = caller.receive_until(kind::REFUSE);
    assert_eq!(refusal.reason(), format!("pid {} is taking over already", successor.pid()));
    assert!(caller.try_receive().is_none());
    successor.stop_with(Vec::new());
}

#[test]
fn of_two_successors_at_once_one_takes_over() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 500);
    exchange_all(&mut peers);
    // Both have called by the time the predecessor goes on, or call one after the other; either way one is first.
    assert!(predecessor.suspend());
    let calling = [Server::take_over(&place.path(), ""), Server::take_over(&place.path(), "")];
    predecessor.resume();
    let handed_over = predecessor.wait_for_line(|line| line.contains("Handed over "));
    assert_eq!(predecessor.exit_code(), 0);
    let [first, second] = calling;
    let (winner, other) =
        if handed_over.contains(&format!("to pid {}: ", first.pid())) { (first, second) } else { (second, first) };
    // The other one has either been refused, or it called late enough to take over from the winner.
    let owner = if other.says_within(PATIENCE, |line| line.contains("Took over ") || line.contains("ERROR"))
        && other.lines_with("Took over ").is_empty()
    {
        let (_, log) = other.output(3);
        assert!(log.contains(&format!("refused: pid {} is taking over already", winner.pid())), "{log}");
        winner
    } else {
        assert_eq!(winner.exit_code(), 0);
        other
    };
    exchange_all(&mut peers);
    assert_eq!(caller_sees_pid(&place.path()), owner.pid());
    owner.stop_with(peers);
}

#[test]
fn successor_with_another_service_is_refused_with_both_names() {
    let mut failing = Failing::with_peers(10);
    let (_, log) = Server::take_over(&failing.path(), "--service line").output(3);
    assert!(log.contains("the predecessor serves seqnum, the successor offers line"), "{log}");
    exchange_all(&mut failing.peers);
    let successor = failing.predecessor.taken_over("--service seqnum");
    exchange_all(&mut failing.peers);
    successor.stop_with(failing.peers);
}

#[test]
fn successor_that_may_not_open_enough_files_is_refused_with_both_numbers() {
    let mut failing = Failing::with_peers(100);
    let path = failing.path();
    let arguments = ["-T", path.to_str().expect("a test's path is UTF-8")];
    let refused = Server::spawn(&path, &mut limited(64, &arguments));
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: the successor may open 64 files, 1"), "{log}");
    assert!(log.contains(" are needed"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    assert!(told.contains(&format!("by pid {} refused: the successor may open 64 files", refused.pid())), "{told}");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

#[test]
fn successor_of_another_user_is_refused_with_both_uids() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let mut failing = Failing::with_peers(10);
    let path = failing.path();
    let binary = failing.place.file("reactord");
    install(Path::new(env!("CARGO_BIN_EXE_reactord")), &binary);
    std::fs::set_permissions(failing.place.directory(), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let refused = Server::spawn(&path, Command::new(&binary).arg("-T").arg(&path).uid(NOBODY).gid(NOBODY));
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: uid 65534 may not take over from uid 0"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    assert!(told.contains(&format!("by pid {} refused: uid 65534 may not", refused.pid())), "{told}");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

// ── Callers ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn caller_that_says_nothing_is_dropped_and_disturbs_nobody() {
    let mut failing = Failing::with_peers(100);
    let mut caller = ScriptedSuccessor::call(&failing.path());
    // Half of a Hello is nothing, too.
    let mut stammering = ScriptedSuccessor::call(&failing.path());
    stammering.send(&hello("seqnum")[..20]);
    exchange_all(&mut failing.peers);
    failing.predecessor.wait_for_lines(2, |line| line.contains("dropped: it said nothing for 2000 ms"));
    assert!(caller.try_receive().is_none() && stammering.try_receive().is_none(), "they are told nothing");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

#[test]
fn callers_that_say_nothing_do_not_keep_a_successor_out() {
    let mut failing = Failing::with_peers(100);
    let _silent: Vec<_> = (0..40).map(|_| ScriptedSuccessor::call(&failing.path())).collect();
    let successor = Server::take_over(&failing.path(), "");
    exchange_all(&mut failing.peers);
    let successor = failing.predecessor.taken_over_by(successor);
    exchange_all(&mut failing.peers);
    successor.stop_with(failing.peers);
}

#[test]
fn caller_that_only_connects_and_closes_is_no_news() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    for _ in 0..100 {
        drop(ScriptedSuccessor::call(&place.path()));
    }
    exchange_all(&mut peers);
    let gone = format!("Caller pid {} left without a word", std::process::id());
    predecessor.wait_for_lines(100, |line| line.contains(&gone));
    assert_eq!(predecessor.lines_with("WARN"), Vec::<String>::new());
    let successor = predecessor.taken_over("");
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

// ── The takeover path ──────────────────────────────────────────────────────────────────────────────────────────────

/// A server that cannot serve on `path`, and what it says.
#[track_caller]
fn refused_on(path: &Path) -> String {
    let path = path.to_str().expect("a test's path is UTF-8");
    let (_, log) = Server::run(&["-p", "0", "-t", path]).output(1);
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 1, "one line says why: {log}");
    assert!(log.contains(path), "{log}");
    log
}

/// Leaves a socket that nobody answers on. It is shut down, not only closed: a process that another test is starting has
/// it open, too, for an instant, in which a caller would find somebody.
fn leave_socket(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = Place::new();
    let (file, directory, link, dangling) =
        (place.file("file"), place.file("directory"), place.file("link"), place.file("dangling"));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&directory).unwrap();
    symlink(&file, &link).unwrap();
    symlink("nowhere", &dangling).unwrap();

    assert!(refused_on(&file).contains("is a regular file; it is left alone"));
    assert!(refused_on(&directory).contains("is a directory; it is left alone"));
    assert!(refused_on(&link).contains("is a symbolic link; it is left alone"));
    assert!(refused_on(&dangling).contains("is a symbolic link; it is left alone"));

    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(directory.is_dir());
    assert_eq!(std::fs::read_link(&link).unwrap(), file);
    assert_eq!(std::fs::read_link(&dangling).unwrap(), Path::new("nowhere"));
    assert!(refused_on(&place.file("missing/takeover")).contains("No such file or directory"));
}

#[test]
fn path_is_private_and_replaces_a_stale_socket() {
    let place = Place::new();
    leave_socket(&place.path());
    assert!(place.path().exists(), "a socket that nobody answers on is left behind");
    let server = Server::serve(&place.path(), "");
    let metadata = std::fs::symlink_metadata(place.path()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_eq!(caller_sees_pid(&place.path()), server.pid());

    // And the same of a server that was killed.
    server.kill();
    assert!(place.path().exists());
    let server = Server::serve(&place.path(), "");
    assert_eq!(caller_sees_pid(&place.path()), server.pid());
    server.stop();
}

#[test]
fn path_of_a_live_server_is_left_alone_also_after_a_takeover() {
    let place = Place::new();
    let mut server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    for _ in 0..3 {
        peer.exchange();
        let inode = std::fs::symlink_metadata(place.path()).unwrap().ino();
        let log = refused_on(&place.path());
        assert!(log.contains(&format!("pid {} serves on takeover path", server.pid())), "{log}");
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode, "it is the same socket");
        server = server.taken_over("");
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode, "it is the same socket");
    }
    peer.exchange();
    server.stop_with([peer]);
}

#[test]
fn path_that_belongs_to_somebody_else_by_now_is_not_removed() {
    for replace in [|path: &Path| std::fs::write(path, "precious").unwrap(), leave_socket] {
        let place = Place::new();
        let server = Server::serve(&place.path(), "").taken_over("");
        std::fs::remove_file(place.path()).unwrap();
        replace(&place.path());
        let inode = std::fs::symlink_metadata(place.path()).unwrap().ino();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        server.wait_for_line(|line| line.contains("WARN") && line.contains("belongs to somebody else by now"));
        assert_eq!(std::fs::symlink_metadata(place.path()).unwrap().ino(), inode);
    }
}

#[test]
fn second_server_on_the_same_port_leaves_the_first_untouched() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    peer.exchange();
    let (port, other) = (server.address().port().to_string(), place.file("other"));
    for path in [place.path(), other.clone()] {
        let (_, log) = Server::run(&["-p", &port, "-t", path.to_str().expect("a test's path is UTF-8")]).output(1);
        assert!(log.contains(&format!("listening on [127.0.0.1]:{port}: Address already in use")), "{log}");
    }
    assert!(!other.exists(), "nothing is left behind");
    peer.exchange();
    let successor = server.taken_over("");
    peer.exchange();
    successor.stop_with([peer]);
}

#[test]
fn takeover_on_a_path_that_nobody_answers_on_fails() {
    let place = Place::new();
    let path = place.path();
    let (_, log) = Server::take_over(&path, "").output(3);
    assert!(log.contains("there is no such path"), "{log}");
    leave_socket(&path);
    let (_, log) = Server::take_over(&path, "").output(3);
    assert!(log.contains("nobody answers"), "{log}");
    assert!(path.exists(), "a successor that could not call has touched nothing");
}

#[test]
fn successor_that_cannot_move_to_a_path_leaves_peers_with_predecessor() {
    let mut failing = Failing::with_peers(10);
    let taken = failing.place.file("taken");
    std::fs::write(&taken, "precious").unwrap();
    let (_, log) = Server::take_over(&failing.path(), &format!("-t {}", taken.display())).output(3);
    assert!(log.contains("is a regular file; it is left alone"), "{log}");
    let told = failing.predecessor.wait_for_line(|line| line.contains("WARN"));
    assert!(told.contains("failed: the successor gave up: ") && told.contains("regular file"), "{told}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

// ── The command line ───────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn help_documents_the_exit_codes() {
    for option in ["--help", "-h"] {
        let (help, log) = Server::run(&[option]).output(0);
        assert_eq!(log, "");
        for code in ["0 Served until", "1 Could not serve", "2 The command line", "3 The takeover was refused"] {
            assert!(help.contains(code), "{help}");
        }
        assert!(help.contains("--takeover-path") && help.contains("-T, --takeover"), "{help}");
    }
}

#[test]
fn version_says_the_version() {
    let (version, log) = Server::run(&["--version"]).output(0);
    assert_eq!((version.as_str(), log.as_str()), (concat!("reactord ", env!("CARGO_PKG_VERSION")), ""));
}

#[test]
fn option_takes_its_value_after_an_equals_sign() {
    let place = Place::new();
    let path = format!("--takeover-path={}", place.path().display());
    let arguments = ["--listen-address=127.0.0.1", "--listen-port=0", &path, "--service=line"];
    let server = Server::spawn(&place.path(), daemon().args(arguments)).started();
    let peer = Peer::connect(server.address());
    peer.send(b"hello\n");
    peer.expect(b"hello\n");
    server.stop_with([peer]);
}

#[test]
fn wrong_command_line_says_what_is_allowed_and_touches_nothing() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    peer.exchange();
    let path = place.path();
    let path = path.to_str().expect("a test's path is UTF-8");
    let long = "x".repeat(150);
    let cases: [(&[&str], &[&str]); 13] = [
        (&["-T", path, "-p", "0"], &["--listen-port contradicts --takeover"]),
        (&["-T", path, "-a", "127.0.0.1"], &["--listen-address contradicts --takeover"]),
        (&["-T", path, "-b", "5"], &["--listen-backlog contradicts --takeover"]),
        (&["-t", path, "-p", "70000"], &["70000", "0 to 65535"]),
        (&["-t", path, "-a", "localhost"], &["localhost", "IPv4 or IPv6"]),
        (&["-t", &long], &["150 bytes", "1 to 107"]),
        (&["-t", ""], &["0 bytes", "1 to 107"]),
        (&["-T", path, "--service", "http"], &["http", "seqnum or line"]),
        (&["-T", path, "--max-peers", "0"], &["0", "1 to 1000000000"]),
        (&["-T", path, "--freeze-timeout", "-1"], &["-1", "1 to 3600000"]),
        (&["-T", path, "--drain-timeout=soon"], &["soon", "1 to 3600000"]),
        (&["-T", path, "--no-such-option"], &["--no-such-option"]),
        (&["-T", path, "surplus"], &["surplus"]),
    ];
    for (arguments, parts) in cases {
        let (output, log) = Server::run(arguments).output(2);
        assert_eq!(output, "", "errors go to standard error");
        for part in parts {
            assert!(log.contains(part), "{arguments:?}: {log:?} should contain {part:?}");
        }
        assert!(log.contains("reactord --help"), "{log}");
    }
    peer.exchange();
    assert_eq!(server.lines_with("akeover by"), Vec::<String>::new(), "nobody has called");
    assert_eq!(caller_sees_pid(&place.path()), server.pid());
    server.stop_with([peer]);
}

// ── Stopping ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn sigterm_and_sigint_close_every_peer_in_an_orderly_way() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let server = Server::serve(&place.path(), "");
        let mut peers = Peer::connect_many(server.address(), 100);
        exchange_all(&mut peers);
        server.signal(signal);
        for peer in peers {
            peer.expect_end();
        }
        assert_eq!(server.exit_code(), 0);
        assert!(!place.path().exists());
        server.wait_for_line(|line| line.contains(&format!("{signal}: stopping with 100 peers")));
    }
}

#[test]
fn sigterm_writes_pending_output_to_a_slow_reader() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 30000");
    let mut peers = half_close_peers(&place, &server);
    peers.retain(|(_, _, half_closed)| *half_closed != HalfClosed::Held);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains(": stopping with "));
    assert!(server.is_running(), "output is pending");
    for (peer, bytes, _) in &peers {
        peer.expect(bytes);
        peer.expect_end();
    }
    assert_eq!(server.exit_code(), 0);
    assert!(!place.path().exists());
    assert!(!server.last_words().contains("not all delivered"), "{}", server.log());
}

#[test]
fn sigterm_writes_pending_output_to_a_slow_reader_whose_requests_were_not_all_read() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 30000");
    let bytes = lines(3, 24 * 1024 * 1024);
    let reader = Peer::connect(server.address());
    let sent = reader.send_until_stuck(&bytes);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with 1 peers"));
    assert!(server.is_running(), "output is pending");
    let received = reader.receive_to_end();
    assert_eq!(server.exit_code(), 0);
    assert!(received.len() > 256 * 1024 && received.len() <= sent, "{} of {sent} bytes came", received.len());
    assert!(bytes.starts_with(&received), "what came is what was sent");
    assert_eq!(received.last(), Some(&b'\n'), "the last line that came is whole");
    assert!(!place.path().exists());
    assert!(!server.last_words().contains("not all delivered"), "{}", server.log());
}

#[test]
fn second_signal_stops_at_once() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 60000");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&lines(4, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with 1 peers"));
    assert!(server.is_running(), "output is pending");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    server.wait_for_line(|line| line.contains("again: stopping at once with 1 peers"));
    server.wait_for_line(|line| line.contains("WARN") && line.contains("the output of 1 peers is not all delivered"));
    assert!(!place.path().exists());
}

#[test]
fn drain_timeout_ends_a_stop() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 50");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&lines(5, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    server.wait_for_line(|line| line.contains("WARN") && line.contains("the output of 1 peers is not all delivered"));
}

#[test]
fn sigterm_during_a_copy_stops_the_server_and_tells_the_successor() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(server.address(), 300);
    exchange_all(&mut peers);
    let mut successor = Step::Copying.reach(&place.path());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!place.path().exists());
    let refusal: Frame = successor.receive_until(kind::REFUSE);
    assert_eq!(refusal.reason(), "the predecessor is stopping");
    assert!(successor.try_receive().is_none());
    // The successor holds no duplicate, and would not keep the connections open if it did.
    peers.iter().for_each(Peer::expect_end);
}

#[test]
fn server_that_is_stopping_hands_over_nothing() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line --drain-timeout 60000");
    let reader = Peer::connect(server.address());
    reader.send_until_stuck(&lines(6, 24 * 1024 * 1024));
    server.signal(Signal::SIGTERM);
    server.wait_for_line(|line| line.contains("stopping with 1 peers"));
    let (_, log) = Server::take_over(&place.path(), "").output(3);
    // The path goes just after the line that was waited for, and whoever calls in between is told.
    let told = ["there is no such path", "refused: the predecessor is stopping", "the other side closed the channel"];
    assert!(told.iter().any(|reason| log.contains(reason)), "{log}");
    assert!(server.is_running());
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit_code(), 0);
}

// ── Limits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── The service `line` ─────────────────────────────────────────────────────────────────────────────────────────────

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

// ── The library ────────────────────────────────────────────────────────────────────────────────────────────────────

/// An example, which cargo builds before it runs the tests, in a folder beside the daemon's.
#[track_caller]
fn example(name: &str) -> Command {
    let example = Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("examples").join(name);
    assert!(example.exists(), "{} is missing; `cargo build --example {name}` makes it", example.display());
    Command::new(example)
}

#[test]
fn shared_state_and_peer_ids_of_the_example_survive_two_takeovers() {
    let place = Place::new();
    let mut server = Server::spawn(&place.path(), example("pubsub").arg("127.0.0.1:0").arg(place.path())).started();
    let address = server.address();
    let [subscriber, leaving, publisher] = std::array::from_fn(|_| Peer::connect(address));
    for peer in [&subscriber, &leaving] {
        peer.send(b"SUB news\n");
        peer.expect(b"\n");
    }
    for (text, subscribers) in [("one", "2\n"), ("two", "2\n")] {
        server = server.taken_over_by(Server::spawn(&place.path(), example("pubsub").arg(place.path())));
        publisher.send(format!("PUB news {text}\n").as_bytes());
        publisher.expect(subscribers.as_bytes());
        for peer in [&subscriber, &leaving] {
            peer.expect(format!("news {text}\n").as_bytes());
        }
    }
    leaving.end_sending();
    leaving.expect_end();
    publisher.send(b"PUB news three\n");
    publisher.expect(b"1\n");
    subscriber.expect(b"news three\n");
    let late = Peer::connect(address);
    late.send(b"SUB news\n");
    late.expect(b"three\n");
    server.stop_with([subscriber, publisher, late]);
}

// ── Versions ───────────────────────────────────────────────────────────────────────────────────────────────────────

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
        assert!(told.contains(&format!("by pid {} {why}", refused.pid())), "{told}");
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
