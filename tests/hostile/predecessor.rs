//! Predecessors that lie: about their listeners, about what their peers share, and about whose turn it is. Their successor
//! gives up before it owns anything, says why in one line to whoever reads its log and to them, and leaves nothing behind.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use crate::harness::wire::{At, closed, commit, entries, listeners, nothing_of, round, state, timers, welcome};
use crate::harness::{
    Frame, PATIENCE, Place, Server, daemon, example, frame, kind, receive_with_descriptors, send_with_descriptors,
};

/// A predecessor that has welcomed its successor, and listens on a TCP port and two Unix sockets.
struct Liar {
    place: Place,
    successor: Server,
    channel: UnixStream,
    services: TcpListener,
    socket: UnixListener,
    takeover: UnixListener,
}

impl Liar {
    /// Where the daemon calls, which is told that this service is to be taken over.
    #[track_caller]
    fn before_the_daemon(service: &str) -> Self {
        Self::before(daemon().arg("-T"), service)
    }

    /// The same for any program that takes over what is at the path that is its last argument.
    #[track_caller]
    fn before(program: &mut Command, service: &str) -> Self {
        let place = Place::new();
        let takeover = UnixListener::bind(place.path()).unwrap();
        let successor = Server::spawn(&place.path(), program.arg(place.path()));
        let (channel, _) = takeover.accept().unwrap();
        channel.set_read_timeout(Some(PATIENCE)).unwrap();
        let services = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UnixListener::bind(place.file("socket")).unwrap();
        let liar = Self { place, successor, channel, services, socket, takeover };
        liar.say(&welcome(service));
        liar
    }

    fn socket_path(&self) -> PathBuf {
        self.place.file("socket")
    }

    fn said(&self) -> At<'static> {
        At::Tcp(self.services.local_addr().unwrap())
    }

    fn say(&self, frame: &[u8]) {
        self.say_with(frame, &[]);
    }

    fn say_with(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) {
        // Whoever has given up already does not hear it.
        let _ = send_with_descriptors(&self.channel, frame, descriptors);
    }

    /// Says the truth about its listeners.
    fn list(&self) {
        let listeners = listeners(&[(0, self.said())], &self.place.path());
        self.say_with(&listeners, &[self.services.as_fd(), self.takeover.as_fd()]);
    }

    /// The successor has given up, and says why, here and in its log.
    #[track_caller]
    fn expect_objection(self, reason: &str) {
        let mut heard = Vec::new();
        loop {
            let (bytes, _) = receive_with_descriptors(&self.channel);
            if bytes.is_empty() {
                break;
            }
            heard.extend(bytes);
        }
        let frames = std::iter::from_fn(|| Frame::take(&mut heard));
        let told = frames.last().expect("it has said something").reason();
        assert!(told.contains(reason), "{told:?} should contain {reason:?}");
        assert!(matches!(self.successor.ended(), Ok(1 | 3)), "{}", self.successor.log());
        let log = self.successor.last_words();
        assert!(!log.contains("Took over ") && !log.contains("panicked at"), "{log}");
        if log.contains("ERROR") {
            assert_eq!(self.successor.lines_with("ERROR").len(), 1, "{log}");
            assert!(log.contains(&told), "{log}");
        }
        assert!(self.place.path().exists() && self.socket_path().exists(), "they are not its own to remove");
    }
}

#[test]
fn predecessor_that_lies_about_its_listeners_is_not_taken_over() {
    const SOMETHING_ELSE: &str = "the descriptor of the listener is something else";
    type Lie = fn(&Liar) -> &'static str;
    let lies: [Lie; 11] = [
        |liar| {
            let said = listeners(&[(0, liar.said())], &liar.place.path());
            liar.say_with(&said, &[liar.socket.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let said = listeners(&[(0, At::Unix(&liar.socket_path()))], &liar.place.path());
            liar.say_with(&said, &[liar.services.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let said = listeners(&[(0, At::Unix(&liar.place.path()))], &liar.place.path());
            liar.say_with(&said, &[liar.socket.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let said = listeners(&[(0, At::Tcp(([127, 0, 0, 1], 1).into()))], &liar.place.path());
            liar.say_with(&said, &[liar.services.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let file = File::open("/dev/null").unwrap();
            let said = listeners(&[(0, liar.said())], &liar.place.path());
            liar.say_with(&said, &[file.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let connected = TcpStream::connect(liar.services.local_addr().unwrap()).unwrap();
            let said = listeners(&[(0, At::Tcp(connected.local_addr().unwrap()))], &liar.place.path());
            liar.say_with(&said, &[connected.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
            let said = listeners(&[(0, At::Tcp(datagrams.local_addr().unwrap()))], &liar.place.path());
            liar.say_with(&said, &[datagrams.as_fd(), liar.takeover.as_fd()]);
            SOMETHING_ELSE
        },
        |liar| {
            let said = listeners(&[(0, liar.said())], &liar.place.path());
            liar.say_with(&said, &[liar.services.as_fd(), liar.services.as_fd()]);
            "the descriptor of the takeover listener is something else"
        },
        |liar| {
            let said = listeners(&[(7, liar.said())], &liar.place.path());
            liar.say_with(&said, &[liar.services.as_fd(), liar.takeover.as_fd()]);
            "the predecessor speaks of lane 7, and has 1"
        },
        |liar| {
            let said = listeners(&[(0, liar.said()); 1000], &liar.place.path());
            liar.say_with(&said, &[liar.services.as_fd(), liar.takeover.as_fd()]);
            "1001 descriptors announced, 2 arrived"
        },
        |liar| {
            liar.say_with(&listeners(&[], &liar.place.path()), &[liar.takeover.as_fd()]);
            "the predecessor has 0 listeners, 1 is expected"
        },
    ];
    for lie in lies {
        let liar = Liar::before_the_daemon("seqnum");
        let reason = lie(&liar);
        liar.expect_objection(reason);
    }
}

#[test]
fn listener_that_nothing_is_said_of_ends_the_takeover_at_its_commit() {
    let liar = Liar::before_the_daemon("seqnum");
    let said = listeners(&[(0, liar.said())], &liar.place.path());
    liar.say_with(&said, &[liar.services.as_fd(), liar.takeover.as_fd(), liar.socket.as_fd()]);
    liar.say(&round(1, true));
    liar.say(&commit(0, 0, 0));
    liar.expect_objection("1 descriptors came that no frame speaks of");
}

#[test]
fn frames_of_a_lane_that_a_predecessor_does_not_have_end_the_takeover() {
    let of_no_lane = [
        nothing_of(kind::PEERS, 7),
        nothing_of(kind::CHANGED, u32::MAX),
        nothing_of(kind::CLOSED, 7),
        closed(7, 1),
        entries(7, b"", true),
        timers(7, 1, 1),
        state(7, b""),
    ];
    for (number, frame) in of_no_lane.iter().enumerate() {
        let liar = Liar::before_the_daemon("line");
        liar.list();
        liar.say(&round(1, true));
        liar.say(frame);
        let lane = if number == 1 { u32::MAX } else { 7 };
        // Those who wait for their handshakes are told of like a lane behind the last.
        liar.expect_objection(&format!("the predecessor speaks of lane {lane}, and has 2"));
    }
    for frame in [entries(1, b"", true), timers(1, 1, 1)] {
        let liar = Liar::before_the_daemon("line");
        liar.list();
        liar.say(&round(1, true));
        liar.say(&frame);
        liar.expect_objection("the predecessor speaks of lane 1, and has 1");
    }
}

#[test]
fn entries_and_timers_out_of_turn_end_the_takeover() {
    let (first, last) = (round(1, false), round(1, true));
    let lies: [(&[Vec<u8>], &str); 7] = [
        (&[entries(0, b"", true)], "the shared state: there is no map 0 of entries"),
        (&[last.clone(), state(0, b""), entries(0, b"", true)], "the predecessor sent Entries after its state"),
        (&[entries(0, b"", false), first], "the predecessor sent Round within a piece of entries"),
        (&[last.clone(), entries(0, b"", false), commit(0, 0, 0)], "the predecessor sent Commit within a piece of"),
        (&[timers(0, 1, 1)], "the predecessor sent Timers during the copy"),
        (&[last.clone(), state(0, b""), timers(0, 1, 1)], "the predecessor sent Timers after its state"),
        (
            &[last, timers(0, 1, 1), timers(0, 1, 1), commit(1, 0, 0)],
            "the number of timers that arrived is 2, 1 was sent",
        ),
    ];
    for (frames, reason) in lies {
        let liar = Liar::before_the_daemon("line");
        liar.list();
        frames.iter().for_each(|frame| liar.say(frame));
        liar.expect_objection(reason);
    }
    let liar = Liar::before_the_daemon("line");
    liar.say(&entries(0, b"", true));
    liar.expect_objection("the predecessor sent Entries before its listeners");
}

#[test]
fn entries_that_are_not_what_was_sent_end_the_takeover() {
    let last = round(1, true);
    let lies: [(&[Vec<u8>], &str); 4] = [
        // A key of 4 GiB.
        (&[entries(0, b"\x01\xff\xff\xff\xff", true)], "4 bytes are left of a record, 4294967299 are needed"),
        (&[entries(0, b"\x07", true)], "7 is nothing that is told of an entry"),
        (
            &[entries(0, b"", true), last.clone(), commit(0, 9, 0)],
            "the size of the entries that arrived is 0, 9 was sent",
        ),
        (&[entries(0, b"", true), last, commit(0, 0, 1)], ", 1 was sent"),
    ];
    for (frames, reason) in lies {
        let liar = Liar::before(&mut example("resp"), "resp");
        liar.list();
        frames.iter().for_each(|frame| liar.say(frame));
        liar.expect_objection(reason);
    }
}

#[test]
fn entries_that_announce_4_gib_cost_a_successor_no_memory() {
    let liar = Liar::before_the_daemon("line");
    liar.list();
    let mut header = frame(kind::ENTRIES, b"");
    header[..4].fill(0xff);
    liar.say(&header);
    liar.expect_objection("a frame announces 4294967295 bytes, at most 67108864 are allowed");
}
