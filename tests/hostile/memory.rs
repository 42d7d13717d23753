//! Memory: what it costs a server that clients send and do not read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::harness::{PATIENCE, Peer, Place, Server, all_are_stuck, figure, lines, skip};

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
            greedy.chunks(10).map(|peers| scope.spawn(|| send_until_all_stuck(&server, peers, &text))).collect();
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
    send_until_all_stuck(&server, &again, &text);
    assert!(server.resident_bytes() <= resident_before + GREEDY * PEER_BYTES_MAX);
    drop(again);
    server.stop_with([modest]);
}

/// Sends the text over and over on each connection, until none takes any more, and returns how many bytes went.
fn send_until_all_stuck(server: &Server, peers: &[Peer], text: &[u8]) -> usize {
    let mut sent = vec![0; peers.len()];
    while !all_are_stuck(peers, server) {
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

/// A control group that may have so many bytes of memory, removed at the end.
struct Group(PathBuf);

impl Group {
    /// `None` where this user may make none.
    fn with_memory(bytes_max: u64) -> Option<Self> {
        let name = format!("reactord-test-{}", std::process::id());
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")].into_iter().find_map(
            |(root, limit)| {
                let directory = Path::new(root).join(&name);
                fs::create_dir(&directory).ok()?;
                let group = Self(directory);
                fs::write(group.0.join(limit), bytes_max.to_string()).ok().map(|()| group)
            },
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone, so it can be removed.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn successor_whose_control_group_has_no_room_for_the_peers_is_refused_with_both_numbers() {
    const FREE: u64 = 4 << 20;
    let Some(group) = Group::with_memory(FREE) else {
        return skip("this user may make no control group");
    };
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let modest = Peer::connect(server.address());
    let greedy = Peer::connect_many(server.address(), 50);
    send_until_all_stuck(&server, &greedy, &lines(11, 4 << 20));
    let mut poor = Command::new("sh");
    poor.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$1\" -T \"$2\""]);
    poor.arg(&group.0).arg(env!("CARGO_BIN_EXE_reactord")).arg(place.path());
    let refused = Server::spawn(&place.path(), &mut poor);
    let (_, log) = refused.output(3);
    assert!(log.contains("refused: the successor's control group leaves it "), "{log}");
    let (free, needed) = (figure(&log, " bytes of memory"), figure(&log, " are needed"));
    assert!(free < FREE && FREE < needed, "{log}");
    modest.send(b"unharmed\n");
    modest.expect(b"unharmed\n");
    drop((refused, greedy));
    server.taken_over("").stop_with([modest]);
}
