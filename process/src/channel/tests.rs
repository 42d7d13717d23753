//! The channel over a pair of sockets: what arrives, with which descriptors, and what is there after the end.

use std::io::Read;
use std::os::unix::net::UnixDatagram;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, geteuid, setuid};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::RecvFlags;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_cookie};

use super::*;
use crate::frame::{FromFrame, HEADER_BYTES, Refuse, begin, finish};
use crate::open_files;

/// Nobody waits for so long unless a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> (Channel, Channel) {
    let (predecessor, successor) = UnixStream::pair().unwrap();
    (Channel::of_predecessor(predecessor).unwrap(), Channel::of_successor(successor).unwrap())
}

/// The kinds of frames here: one that is numbered, and what the other side answers.
const PART: u8 = 11;
const COPIED: u8 = 6;
const ACCEPT: u8 = 13;

/// A frame that holds `number`, of about so many bytes.
fn frame(number: usize, bytes: usize) -> Vec<u8> {
    let mut frame = begin(PART);
    frame.extend(number.to_be_bytes());
    frame.resize(HEADER_BYTES + bytes.max(8), number as u8);
    finish(frame)
}

/// What such a frame holds.
struct Part(usize);

impl<'b> FromFrame<'b> for Part {
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError> {
        assert_eq!(kind, PART);
        Ok(Self(usize::from_be_bytes(body[..8].try_into().unwrap())))
    }
}

fn number(raw: &RawFrame) -> usize {
    raw.decode::<Part>().unwrap().0
}

/// Descriptors that can be told from one another.
fn sockets(count: usize) -> Vec<UnixDatagram> {
    (0..count).map(|_| UnixDatagram::unbound().unwrap()).collect()
}

fn borrowed(sockets: &[UnixDatagram]) -> Vec<BorrowedFd<'_>> {
    sockets.iter().map(AsFd::as_fd).collect()
}

fn cookies(sockets: &[impl AsFd]) -> Vec<u64> {
    sockets.iter().map(|socket| socket_cookie(socket).unwrap()).collect()
}

fn copied() -> Vec<u8> {
    finish(begin(COPIED))
}

fn accept() -> Vec<u8> {
    finish(begin(ACCEPT))
}

// ── Frames and descriptors ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn frames_arrive_in_order_with_exactly_their_descriptors() {
    let (mut predecessor, mut successor) = pair();
    let batches: Vec<Vec<UnixDatagram>> = [0, 1, DESCRIPTORS_PER_FRAME_MAX, 0, 2].map(sockets).into();
    for (number, batch) in batches.iter().enumerate() {
        let sent = predecessor.try_send(&frame(number, 100), &borrowed(batch)).unwrap();
        assert_eq!(sent, Sent::Taken);
    }
    for (sent, batch) in batches.iter().enumerate() {
        let raw = successor.receive().unwrap().expect("all was sent");
        assert_eq!(number(&raw), sent);
        let arrived = successor.take_descriptors(batch.len()).unwrap();
        assert_eq!(cookies(&arrived), cookies(batch));
        for descriptor in &arrived {
            assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
        }
    }
    assert!(successor.receive().unwrap().is_none());
    assert_eq!(successor.descriptors.as_ref().map(VecDeque::len), Some(0), "no descriptor is left over");
}

#[test]
fn frames_larger_than_the_socket_buffer_arrive_in_pieces_with_their_descriptors() {
    let (mut predecessor, mut successor) = pair();
    set_socket_send_buffer_size(&predecessor.socket, 16 * 1024).unwrap();
    let shapes = [(1 << 20, 3), (300_000, 0), (100, 1), (700_000, DESCRIPTORS_PER_FRAME_MAX), (500_000, 2), (8, 0)];
    let batches: Vec<(Vec<u8>, Vec<UnixDatagram>)> =
        shapes.iter().enumerate().map(|(number, (bytes, count))| (frame(number, *bytes), sockets(*count))).collect();
    let mut to_send = batches.iter();
    let mut sending = to_send.next();
    let mut pieces = 0;
    for (expected, (_, batch)) in batches.iter().enumerate() {
        let raw = loop {
            if let Some((frame, sockets)) = sending {
                if predecessor.try_send(frame, &borrowed(sockets)).unwrap() == Sent::Taken {
                    sending = to_send.next();
                }
            } else {
                predecessor.flush().unwrap();
            }
            match successor.receive().unwrap() {
                Some(raw) => break raw,
                None => pieces += 1,
            }
        };
        assert_eq!(number(&raw), expected);
        assert_eq!(cookies(&successor.take_descriptors(batch.len()).unwrap()), cookies(batch));
    }
    assert!(pieces > 20, "the buffer is smaller than that: {pieces} pieces");
    assert!(predecessor.flush().unwrap());
}

#[test]
fn frames_go_both_ways_at_once_with_deadlines() {
    let (mut predecessor, mut successor) = pair();
    let socket = sockets(1);
    let answering = std::thread::spawn(move || {
        let raw = successor.receive_by(Deadline::after(PATIENCE)).unwrap();
        assert_eq!(raw.kind(), PART);
        let arrived = successor.take_descriptors(1).unwrap();
        successor.send_by(&copied(), &[], Deadline::after(PATIENCE)).unwrap();
        cookies(&arrived)
    });
    predecessor.send_by(&frame(0, 3 << 20), &borrowed(&socket), Deadline::after(PATIENCE)).unwrap();
    let raw = predecessor.receive_by(Deadline::after(PATIENCE)).unwrap();
    assert_eq!(raw.kind(), COPIED);
    assert_eq!(answering.join().unwrap(), cookies(&socket));
}

#[test]
fn frames_stay_whole_and_in_order_while_the_other_side_makes_room() {
    const FRAMES: usize = 200;
    let (mut predecessor, mut successor) = pair();
    set_socket_send_buffer_size(&predecessor.socket, 16 * 1024).unwrap();
    let receiving = std::thread::spawn(move || {
        for expected in 0..FRAMES {
            let raw = successor.receive_by(Deadline::after(PATIENCE)).unwrap();
            assert_eq!(number(&raw), expected);
        }
    });
    // No waiting between two tries: room may come at any point of either.
    let mut sent = 0;
    while sent < FRAMES && !receiving.is_finished() {
        let bytes = if sent % 2 == 0 { 200_000 } else { 20 };
        if predecessor.try_send(&frame(sent, bytes), &[]).unwrap() == Sent::Taken {
            sent += 1;
        }
    }
    while !predecessor.flush().unwrap() && !receiving.is_finished() {}
    receiving.join().unwrap();
}

#[test]
fn descriptors_that_did_not_come_are_missed_with_both_numbers() {
    let (mut predecessor, mut successor) = pair();
    predecessor.try_send(&frame(0, 100), &borrowed(&sockets(2))).unwrap();
    successor.receive().unwrap().unwrap();
    let error = successor.take_descriptors(3).unwrap_err();
    assert_eq!(error.to_string(), "3 descriptors announced, 2 arrived");
    assert_eq!(successor.take_descriptors(2).unwrap().len(), 2, "those that came are still there");
    assert!(matches!(
        predecessor.take_descriptors(1),
        Err(ChannelError::DescriptorsMissing { announced: 1, arrived: 0 })
    ));
}

#[test]
fn descriptors_that_come_to_a_predecessor_do_not_stay() {
    let (mut predecessor, mut successor) = pair();
    let (ours, mut others) = std::os::unix::net::UnixStream::pair().unwrap();
    successor.try_send(&copied(), &[ours.as_fd()]).unwrap();
    drop(ours);
    assert!(predecessor.receive().unwrap().is_some(), "the frame is welcome");
    // Nobody holds the other end any more, so it has ended. A test that runs beside this one may be about to start a
    // process, which for a moment holds a copy of everything: hence the patience.
    others.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(others.read(&mut [0]).unwrap(), 0);
    assert!(predecessor.descriptors.is_none());
}

#[test]
#[should_panic(expected = "a batch is cut to what one message carries")]
fn more_descriptors_than_a_message_carries_are_a_bug() {
    let (mut predecessor, _successor) = pair();
    let sockets = sockets(1);
    let descriptors = vec![sockets[0].as_fd(); DESCRIPTORS_PER_FRAME_MAX + 1];
    drop(predecessor.try_send(&frame(0, 100), &descriptors));
}

// ── Full ───────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_full_channel_takes_nothing_of_a_frame_and_takes_it_later() {
    for bytes in [100, 2000, 60_000, 150_000] {
        let (mut predecessor, mut successor) = pair();
        let socket = sockets(1);
        let mut taken = 0;
        while predecessor.try_send(&frame(taken, bytes), &borrowed(&socket)).unwrap() == Sent::Taken {
            taken += 1;
        }
        assert!(taken > 0);
        // Still full, however often it is tried.
        assert_eq!(predecessor.try_send(&frame(taken, bytes), &borrowed(&socket)).unwrap(), Sent::Full);
        let mut arrived = 0;
        loop {
            while let Some(raw) = successor.receive().unwrap() {
                assert_eq!(number(&raw), arrived);
                arrived += 1;
            }
            if predecessor.flush().unwrap() && is_drained(&successor.socket) {
                break;
            }
        }
        assert_eq!(arrived, taken, "frames of {bytes} bytes");
        assert!(successor.received.is_empty(), "nothing of the refused frame was sent");
        assert_eq!(successor.take_descriptors(arrived).unwrap().len(), taken);
        assert!(successor.take_descriptors(1).is_err(), "nor its descriptor");

        predecessor.send_by(&frame(taken, 100), &borrowed(&socket), Deadline::after(PATIENCE)).unwrap();
        assert_eq!(number(&successor.receive().unwrap().unwrap()), taken);
        assert_eq!(cookies(&successor.take_descriptors(1).unwrap()), cookies(&socket));
    }
}

/// Whether nothing has arrived that was not received.
fn is_drained(socket: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(socket, &mut [0u8; 1][..], flags), Err(rustix::io::Errno::AGAIN))
}

#[test]
fn a_silent_other_side_is_waited_for_until_the_deadline() {
    let (mut predecessor, mut successor) = pair();
    let waited = Duration::from_millis(1);
    let error = predecessor.receive_by(Deadline::after(waited)).unwrap_err();
    assert!(matches!(error, ChannelError::Silent { waited: ms } if ms == waited), "{error}");
    assert_eq!(error.to_string(), "the other side was silent for 1 ms");
    let error = successor.send_by(&frame(0, 8 << 20), &[], Deadline::after(waited)).unwrap_err();
    assert!(matches!(error, ChannelError::Silent { .. }), "{error}");
}

#[test]
fn a_deadline_of_nothing_still_sends_and_receives_what_is_there() {
    let (mut predecessor, mut successor) = pair();
    let now = Deadline::after(Duration::ZERO);
    successor.send_by(&copied(), &[], now).unwrap();
    predecessor.receive_by(now).unwrap();
    assert!(matches!(predecessor.receive_by(now), Err(ChannelError::Silent { .. })));
}

// ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn accept_sent_before_the_shutdown_is_received_after_it() {
    let (mut predecessor, mut successor) = pair();
    successor.try_send(&copied(), &[]).unwrap();
    assert_eq!(successor.try_send(&accept(), &[]).unwrap(), Sent::Taken);
    predecessor.shutdown();
    predecessor.receive().unwrap().expect("what came before Accept comes first");
    let raw = predecessor.receive().unwrap().expect("Accept is there");
    assert_eq!(raw.kind(), ACCEPT);
    assert!(matches!(predecessor.receive(), Err(ChannelError::Closed)));
}

#[test]
fn accept_sent_after_the_shutdown_fails_and_is_never_received() {
    let (mut predecessor, mut successor) = pair();
    successor.try_send(&copied(), &[]).unwrap();
    predecessor.shutdown();
    assert!(matches!(successor.try_send(&accept(), &[]), Err(ChannelError::Closed)));
    let deadline = Deadline::after(PATIENCE);
    assert!(matches!(successor.send_by(&accept(), &[], deadline), Err(ChannelError::Closed)));
    assert!(matches!(successor.receive(), Err(ChannelError::Closed)), "it has ended for both sides");
    predecessor.receive().unwrap().expect("what came before the shutdown is there");
    assert!(matches!(predecessor.receive(), Err(ChannelError::Closed)));
}

#[test]
fn accept_and_shutdown_at_the_same_time_end_alike_for_both() {
    for _ in 0..300 {
        let (mut predecessor, mut successor) = pair();
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(2));
        let sending = std::thread::spawn({
            let barrier = barrier.clone();
            move || {
                barrier.wait();
                matches!(successor.try_send(&accept(), &[]), Ok(Sent::Taken))
            }
        });
        barrier.wait();
        predecessor.shutdown();
        let sent = sending.join().unwrap();
        assert_eq!(matches!(predecessor.receive(), Ok(Some(_))), sent);
    }
}

#[test]
fn accept_of_a_successor_that_died_with_unread_frames_is_received() {
    let (mut predecessor, mut successor) = pair();
    predecessor.try_send(&frame(0, 100), &borrowed(&sockets(1))).unwrap();
    successor.try_send(&accept(), &[]).unwrap();
    drop(successor);
    let raw = predecessor.receive().unwrap().expect("Accept is there");
    assert_eq!(raw.kind(), ACCEPT);
    assert!(matches!(predecessor.receive(), Err(ChannelError::Closed)));
    assert!(matches!(predecessor.try_send(&frame(1, 100), &[]), Err(ChannelError::Closed)));
}

#[test]
fn half_a_frame_before_the_end_is_the_end() {
    let (mut predecessor, mut successor) = pair();
    let frame = frame(0, 100);
    predecessor.try_send(&frame[..frame.len() - 1], &[]).unwrap();
    drop(predecessor);
    assert!(matches!(successor.receive(), Err(ChannelError::Closed)));
}

#[test]
fn a_refusal_reaches_a_caller_whose_hello_nobody_has_read() {
    let (predecessor, mut successor) = pair();
    successor.try_send(&copied(), &[]).unwrap();
    predecessor.close_with(&Refuse::frame(&"it is busy"));
    let raw = successor.receive().unwrap().expect("the refusal is there");
    assert_eq!(raw.decode::<Refuse>().unwrap().reason, "it is busy");
    assert!(matches!(successor.receive(), Err(ChannelError::Closed)));
}

#[test]
fn garbage_ends_the_channel() {
    let (mut predecessor, mut successor) = pair();
    successor.try_send(b"GET / HTTP/1.1\r\n\r\n", &[]).unwrap();
    assert!(matches!(predecessor.receive(), Err(ChannelError::Wire(WireError::TooLong { .. }))));
    predecessor.try_send(&[0, 0, 0, 0, 99, 1, 2, 3, 4], &[]).unwrap();
    assert!(matches!(successor.receive(), Err(ChannelError::Wire(WireError::Checksum { announced: 0x0102_0304, .. }))));
}

#[test]
fn only_a_successor_takes_large_frames() {
    let large = frame(0, TO_PREDECESSOR_BYTES_MAX as usize + 1);
    let (mut predecessor, mut successor) = pair();
    successor.try_send(&large, &[]).unwrap();
    assert!(matches!(predecessor.receive(), Err(ChannelError::Wire(WireError::TooLong { .. }))));
    predecessor.send_by(&large, &[], Deadline::after(PATIENCE)).unwrap();
    assert_eq!(number(&successor.receive().unwrap().unwrap()), 0);
}

// ── At the limit of open files ─────────────────────────────────────────────────────────────────────────────────────

/// Says that this process is one of its own for the test of that name.
const ALONE: &str = "REACTORD_TEST_ALONE";

/// Runs `test`, which `module` has under this `name`, in a process of its own, where it may change the limit of open files.
fn alone(module: &str, name: &str, test: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let name = format!("{}::{name}", module.split_once("::").expect("the crate's name comes first").1);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "{printed}");
}

/// Leaves this process room for so many more descriptors.
fn leave_room_for(descriptors: u64) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let highest = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap()).max();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The highest of them was the listing's own.
    setrlimit(Resource::RLIMIT_NOFILE, highest.unwrap() + descriptors, hard).unwrap();
}

#[test]
fn a_successor_at_its_limit_of_open_files_learns_that_descriptors_were_lost() {
    alone(module_path!(), "a_successor_at_its_limit_of_open_files_learns_that_descriptors_were_lost", || {
        for room in [0, 1, 100, 249] {
            open_files::raise_limit();
            let (mut predecessor, mut successor) = pair();
            let sockets = sockets(DESCRIPTORS_PER_FRAME_MAX);
            predecessor.try_send(&frame(0, 100), &borrowed(&sockets)).unwrap();
            let open_before = open_files::count();
            leave_room_for(room);
            let error = successor.receive().unwrap_err();
            assert!(matches!(error, ChannelError::DescriptorsLost), "{error}");
            drop(successor);
            open_files::raise_limit();
            assert_eq!(open_files::count(), open_before - 1, "what did arrive is closed");
        }
        let (mut predecessor, mut successor) = pair();
        let sockets = sockets(DESCRIPTORS_PER_FRAME_MAX);
        predecessor.try_send(&frame(0, 100), &borrowed(&sockets)).unwrap();
        leave_room_for(DESCRIPTORS_PER_FRAME_MAX as u64);
        assert!(successor.receive().unwrap().is_some(), "with room for all, none is lost");
    });
}

/// Sends as many descriptors as may be in flight, as somebody whom that limits, and returns the limits of open files
/// before. Nothing limits the privileged (unix(7)): where the privilege cannot be given up, there is nothing to see.
fn fill_with_descriptors(predecessor: &mut Channel, batch: &[UnixDatagram]) -> Option<(u64, u64)> {
    if geteuid().is_root() && setuid(Uid::from_raw(65534)).is_err() {
        return None;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 400, hard).unwrap();
    let mut taken = 0;
    let refused = loop {
        match predecessor.try_send(&frame(taken, 100), &borrowed(batch)).unwrap() {
            Sent::Taken => taken += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, Sent::TooManyInFlight);
    assert_eq!(taken, 2, "the second batch goes over the limit, and the third is refused");
    Some((soft, hard))
}

#[test]
fn too_many_descriptors_in_flight_are_back_pressure() {
    alone(module_path!(), "too_many_descriptors_in_flight_are_back_pressure", || {
        let batch = sockets(DESCRIPTORS_PER_FRAME_MAX);
        let (mut predecessor, mut successor) = pair();
        let Some((soft, hard)) = fill_with_descriptors(&mut predecessor, &batch) else {
            return;
        };
        // The limit is for those in flight; to receive them, this process needs room for its own copies.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        for sent in 0..2 {
            assert_eq!(number(&successor.receive().unwrap().unwrap()), sent);
            successor.take_descriptors(DESCRIPTORS_PER_FRAME_MAX).unwrap();
        }
        assert!(successor.receive().unwrap().is_none(), "nothing of the refused batch was sent");
        setrlimit(Resource::RLIMIT_NOFILE, 400, hard).unwrap();
        assert_eq!(predecessor.try_send(&frame(2, 100), &borrowed(&batch)).unwrap(), Sent::Taken);
    });
}
