//! Somebody between a giver and a taker who passes on something else than what was said. Nothing comes of the move: the giver's
//! peers stay with it, and neither process has anything left of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::harness::wire::{commit, entries, nothing_of, round, state, timers, welcome};
use crate::harness::{
    Frame, PATIENCE, Peer, Place, Server, accept, copied, daemon, exchange_all, frame, kind, ready,
    receive_with_descriptors, send_with_descriptors,
};

const PEERS: usize = 3;

/// What is passed on instead of a frame of this kind.
struct Lie {
    instead_of: u8,
    tell: fn(&UnixStream, &Frame, &[BorrowedFd<'_>]),
}

/// One side of the conversation, as far as it was heard.
struct Side {
    socket: UnixStream,
    heard: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Side {
    fn on(socket: UnixStream) -> Self {
        Self { socket, heard: Vec::new(), descriptors: Vec::new() }
    }

    /// Hears what is there. False at the end.
    fn hear(&mut self) -> bool {
        let (bytes, descriptors) = receive_with_descriptors(&self.socket);
        self.heard.extend(&bytes);
        self.descriptors.extend(descriptors);
        !bytes.is_empty()
    }

    /// Passes on what was heard to the other one, up to a lie.
    fn pass_on(&mut self, to: &UnixStream, lie: &Lie) {
        while let Some(heard) = Frame::take(&mut self.heard) {
            let along = if heard.kind == kind::PEERS { std::mem::take(&mut self.descriptors) } else { Vec::new() };
            let along: Vec<BorrowedFd<'_>> = along.iter().map(AsFd::as_fd).collect();
            if heard.kind == lie.instead_of {
                (lie.tell)(to, &heard, &along);
            } else {
                tell(to, &frame(heard.kind, &heard.body), &along);
            }
        }
    }
}

/// Whoever has given up already does not hear it.
fn tell(to: &UnixStream, bytes: &[u8], along: &[BorrowedFd<'_>]) {
    let _ = send_with_descriptors(to, bytes, along);
}

/// Passes on what a giver and a taker say, each up to the lie, until either has ended the channel.
fn come_between(calls: &UnixListener, taker: &Path, lie: &Lie) {
    let mut sides = [calls.accept().unwrap().0, UnixStream::connect(taker).unwrap()].map(Side::on);
    loop {
        let mut awaited = sides.each_ref().map(|side| PollFd::new(side.socket.as_fd(), PollFlags::POLLIN));
        poll(&mut awaited, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        let is_heard = awaited.map(|side| side.any().unwrap_or(false));
        for (one, other) in [(0, 1), (1, 0)] {
            if is_heard[one] {
                let goes_on = sides[one].hear();
                let to = sides[other].socket.try_clone().unwrap();
                sides[one].pass_on(&to, lie);
                if !goes_on {
                    return;
                }
            }
        }
    }
}

/// What a giver is said to have said.
const LIES_OF_THE_GIVER: &[Lie] = &[
    // Nothing, and less than was announced.
    Lie { instead_of: kind::PEERS, tell: |taker, said, _| tell(taker, &frame(said.kind, &said.body), &[]) },
    Lie { instead_of: kind::PEERS, tell: |taker, said, along| tell(taker, &frame(said.kind, &said.body), &along[1..]) },
    // Descriptors of others, and of something else.
    Lie {
        instead_of: kind::PEERS,
        tell: |taker, said, along| {
            let others: Vec<BorrowedFd<'_>> = along.iter().rev().copied().collect();
            tell(taker, &frame(said.kind, &said.body), &others);
        },
    },
    Lie {
        instead_of: kind::PEERS,
        tell: |taker, said, along| {
            let file = File::open("/dev/null").unwrap();
            tell(taker, &frame(said.kind, &said.body), &[&[file.as_fd()], &along[1..]].concat());
        },
    },
    // The same twice, and one descriptor too many.
    Lie {
        instead_of: kind::PEERS,
        tell: |taker, said, along| (0..2).for_each(|_| tell(taker, &frame(said.kind, &said.body), along)),
    },
    Lie {
        instead_of: kind::PEERS,
        tell: |taker, said, along| tell(taker, &frame(said.kind, &said.body), &[along, &along[..1]].concat()),
    },
    // What does not move with a batch.
    Lie { instead_of: kind::COMMIT, tell: |taker, _, _| tell(taker, &state(0, b"shared"), &[]) },
    Lie { instead_of: kind::COMMIT, tell: |taker, _, _| tell(taker, &entries(0, b"shared", true), &[]) },
    Lie { instead_of: kind::COMMIT, tell: |taker, _, _| tell(taker, &timers(0, 1, 1), &[]) },
    Lie { instead_of: kind::COMMIT, tell: |taker, _, _| tell(taker, &timers(1, 1, 1), &[]) },
    // The end of something else, too early, and twice.
    Lie { instead_of: kind::COMMIT, tell: |taker, _, _| tell(taker, &commit(0, 0, 0), &[]) },
    Lie { instead_of: kind::ROUND, tell: |taker, _, _| tell(taker, &commit(0, 0, 0), &[]) },
    Lie { instead_of: kind::WELCOME, tell: |taker, _, _| tell(taker, &commit(0, 0, 0), &[]) },
    Lie { instead_of: kind::ROUND, tell: |taker, _, _| tell(taker, &round(7, true), &[]) },
    Lie { instead_of: kind::WELCOME, tell: |taker, _, _| tell(taker, &welcome("line"), &[]) },
    Lie { instead_of: kind::WELCOME, tell: |taker, _, _| (0..2).for_each(|_| tell(taker, &welcome("seqnum"), &[])) },
    Lie { instead_of: kind::PEERS, tell: |taker, _, _| tell(taker, &nothing_of(kind::PEERS, 1), &[]) },
    // No frames.
    Lie { instead_of: kind::WELCOME, tell: |taker, _, _| tell(taker, &[0xff; 100], &[]) },
    Lie { instead_of: kind::PEERS, tell: |taker, said, along| tell(taker, &frame(said.kind, &said.body[1..]), along) },
    Lie { instead_of: kind::COMMIT, tell: |taker, said, _| tell(taker, &frame(said.kind, &said.body[1..]), &[]) },
    Lie { instead_of: kind::COMMIT, tell: |mut taker, _, _| drop(taker.write_all(&[0; 3])) },
];

/// What a taker is said to have said.
const LIES_OF_THE_TAKER: &[Lie] = &[
    Lie { instead_of: kind::READY, tell: |giver, _, _| tell(giver, &accept(), &[]) },
    Lie { instead_of: kind::COPIED, tell: |giver, _, _| tell(giver, &accept(), &[]) },
    Lie { instead_of: kind::COPIED, tell: |giver, _, _| tell(giver, &ready(), &[]) },
    Lie { instead_of: kind::COPIED, tell: |giver, _, _| tell(giver, &copied(1000, 1), &[]) },
    Lie { instead_of: kind::READY, tell: |giver, _, _| tell(giver, &frame(kind::SERVING, &[0xff]), &[]) },
    Lie { instead_of: kind::READY, tell: |giver, _, _| tell(giver, &[0xff; 100], &[]) },
];

/// A giver with peers, a taker with one, and how many files either has open.
struct Two {
    place: Place,
    giver: Server,
    taker: Server,
    peers: Vec<Peer>,
    files: [usize; 2],
}

impl Two {
    fn with_peers() -> Self {
        let place = Place::new();
        let giver = Server::serve(&place.path(), "");
        let taker = Server::serve(&place.file("taker"), "");
        let mut peers = Peer::connect_many(giver.address(), PEERS);
        peers.push(Peer::connect(taker.address()));
        exchange_all(&mut peers);
        let files = [giver.open_files(), taker.open_files()];
        Self { place, giver, taker, peers, files }
    }

    /// A move through somebody who tells this lie.
    #[track_caller]
    fn expect_no_move(&mut self, lie: &Lie) {
        let between = self.place.file("between");
        let calls = UnixListener::bind(&between).unwrap();
        let mut command = daemon();
        let asking = Server::spawn(Path::new(""), command.arg("move").arg(self.place.path()).arg(&between));
        come_between(&calls, &self.place.file("taker"), lie);
        std::fs::remove_file(&between).unwrap();
        let (told, _) = asking.output(3);
        assert!(!told.contains("Moved 1"), "{told}");
        exchange_all(&mut self.peers);
        for (server, files) in [&self.giver, &self.taker].into_iter().zip(self.files) {
            assert!(server.comes_down_to_open_files(files), "{files} expected\n{}", server.log());
            assert_eq!(server.open_files(), files, "{}", server.log());
            assert!(!server.log().contains("panicked"), "{}", server.log());
        }
    }

    /// After all that, they move.
    #[track_caller]
    fn end_with_a_move(mut self) {
        let mut command = daemon();
        command.arg("move").arg(self.place.path()).arg(self.place.file("taker"));
        let (told, _) = Server::spawn(Path::new(""), &mut command).output(0);
        assert!(told.contains(&format!("Moved {PEERS} of {PEERS}")), "{told}");
        self.giver.stop();
        exchange_all(&mut self.peers);
        self.taker.stop_with(self.peers);
    }
}

#[test]
fn a_giver_that_lies_keeps_its_peers_and_leaves_nothing_with_the_taker() {
    let mut two = Two::with_peers();
    LIES_OF_THE_GIVER.iter().for_each(|lie| two.expect_no_move(lie));
    two.end_with_a_move();
}

#[test]
fn a_taker_that_lies_before_it_could_accept_gets_nobody() {
    let mut two = Two::with_peers();
    LIES_OF_THE_TAKER.iter().for_each(|lie| two.expect_no_move(lie));
    two.end_with_a_move();
}
