//! A queue over a socket pair, with the test as the supervisor.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use mio::{Events, Poll};
use rustix::net::{SocketFlags, socketpair};

use super::*;

/// The supervisor's end.
struct Supervisor(OwnedFd);

fn pair() -> (Supervisor, Queue) {
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    (Supervisor(here), Queue::on(there))
}

/// A client, and the server's socket of its connection.
fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (client, listener.accept().unwrap().0.into())
}

impl Supervisor {
    fn say(&self, packet: &str) {
        self.say_with(packet, &[]);
    }

    fn say_with(&self, packet: &str, descriptors: &[BorrowedFd<'_>]) {
        descriptors::send(&self.0, packet.as_bytes(), descriptors).unwrap();
    }

    /// Offers a connection, and returns its client.
    fn offer(&self, id: u64) -> TcpStream {
        let (client, server) = connection();
        self.say_with(&format!("connection {id} 192.0.2.7:50120 [2001:db8::1]:80"), &[server.as_fd()]);
        client
    }

    /// What the worker says next, or `None` if it has said all.
    fn hear(&self) -> Option<String> {
        let mut buffer = [0; 512];
        match descriptors::receive(&self.0, &mut buffer, None::<&mut Vec<OwnedFd>>) {
            Ok(Received { bytes: 0, .. }) => Some("(end)".to_owned()),
            Ok(Received { bytes, .. }) => Some(String::from_utf8(buffer[..bytes].to_vec()).unwrap()),
            Err(Errno::AGAIN) => None,
            Err(Errno::CONNRESET) => Some("(reset)".to_owned()),
            Err(errno) => panic!("{errno}"),
        }
    }

    #[track_caller]
    fn expect(&self, words: &[&str]) {
        let mut ended = false;
        let next = || (!ended).then(|| self.hear()).flatten().inspect(|word| ended = word == "(end)");
        let heard: Vec<String> = std::iter::from_fn(next).take(words.len() + 1).collect();
        assert_eq!(heard, words);
    }

    /// The worker says this, after which its way to the supervisor was filled.
    #[track_caller]
    fn expect_stuffed(&self, words: &[&str], stuffed: usize) {
        let heard: Vec<String> = std::iter::from_fn(|| self.hear()).take(words.len() + stuffed).collect();
        assert_eq!(heard[..words.len()], *words);
        assert!(heard[words.len()..].iter().all(|word| word == "done 1"));
    }

    /// Fills the worker's way to the supervisor, and returns how many packets that took.
    fn stop_listening(queue: &Queue) -> usize {
        (0..).take_while(|_| descriptors::send(&queue.socket, b"done 1", &[]).is_ok()).count()
    }
}

fn id(id: u64) -> ConnectionId {
    ConnectionId::from_number(id).unwrap()
}

const ONE: NonZeroU32 = NonZeroU32::MIN;

#[test]
fn accept_says_ready_once_asks_for_each_connection_and_acknowledges_it() {
    let (supervisor, mut queue) = pair();
    let mut clients = [supervisor.offer(7), supervisor.offer(8)];
    for (client, number) in clients.iter_mut().zip([7, 8]) {
        let mut connection = queue.accept().unwrap().unwrap();
        assert_eq!((connection.id, connection.id.to_string()), (id(number), number.to_string()));
        assert_eq!(connection.peer, "192.0.2.7:50120".parse().unwrap());
        assert_eq!(connection.local, "[2001:db8::1]:80".parse().unwrap());
        connection.stream.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        queue.done(connection.id).unwrap();
    }
    supervisor.expect(&["ready 1", "want 1", "took 7", "done 7", "want 1", "took 8", "done 8"]);
}

#[test]
fn finish_ends_accepting_and_leaves_the_worker_able_to_say_what_it_has_done() {
    let (supervisor, mut queue) = pair();
    let _client = supervisor.offer(1);
    supervisor.say("finish");
    let connection = queue.accept().unwrap().unwrap();
    assert!(queue.terminated().unwrap());
    assert!(queue.accept().unwrap().is_none());
    queue.done(connection.id).unwrap();
    supervisor.expect(&["ready 1", "want 1", "took 1", "done 1"]);
}

#[test]
fn the_death_of_the_supervisor_is_like_finish() {
    let (supervisor, mut queue) = pair();
    assert!(!queue.terminated().unwrap());
    drop(supervisor);
    assert!(queue.terminated().unwrap());
    assert!(queue.accept().unwrap().is_none());
    queue.ready().unwrap();
    queue.want(ONE).unwrap();
    queue.done(id(1)).unwrap();
}

#[test]
fn what_was_offered_by_a_supervisor_that_is_gone_is_left_alone() {
    let (supervisor, mut queue) = pair();
    let mut clients = [supervisor.offer(1), supervisor.offer(2), supervisor.offer(3)];
    let mut first = queue.accept().unwrap().unwrap();
    let second = queue.receive().unwrap().unwrap();
    // It has not read what the worker said, so what comes first is a reset, and not the end.
    drop(supervisor);
    assert!(queue.acknowledge(second).unwrap().is_none(), "another worker may have it");
    assert!(queue.accept().unwrap().is_none());
    drop(queue);
    first.stream.write_all(b"x").unwrap();
    clients[0].read_exact(&mut [0]).unwrap();
    // Its sockets are all closed, so these two are over.
    for client in &mut clients[1..] {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn the_supervisor_can_tell_what_was_acknowledged_before_it_ended_a_queue() {
    let (supervisor, mut queue) = pair();
    let _clients = [supervisor.offer(1), supervisor.offer(2)];
    assert!(queue.accept().unwrap().is_some());
    rustix::net::shutdown(&supervisor.0, rustix::net::Shutdown::Both).unwrap();
    assert!(queue.accept().unwrap().is_none());
    supervisor.expect(&["ready 1", "want 1", "took 1", "(end)"]);
}

#[test]
fn a_connection_that_is_only_received_stays_with_the_supervisor() {
    let (supervisor, mut queue) = pair();
    let _clients = [supervisor.offer(1), supervisor.offer(2)];
    let (first, second) = (queue.receive().unwrap().unwrap(), queue.receive().unwrap().unwrap());
    supervisor.expect(&["ready 1", "want 1", "want 1"]);
    assert_eq!((first.id(), second.peer(), second.local().port()), (id(1), "192.0.2.7:50120".parse().unwrap(), 80));
    assert!(queue.acknowledge(second).unwrap().is_some());
    drop((queue, first));
    supervisor.expect(&["took 2", "(end)"]);
}

#[test]
fn terminated_loses_no_connection_that_comes_before_finish() {
    let (supervisor, mut queue) = pair();
    let _client = supervisor.offer(1);
    supervisor.say("finish");
    for _ in 0..3 {
        assert!(!queue.terminated().unwrap());
    }
    assert!(queue.accept().unwrap().is_some());
    assert!(queue.terminated().unwrap());
    // The connection was there before it was asked for.
    supervisor.expect(&["took 1"]);
}

#[test]
fn words_of_a_later_version_are_passed_over_and_their_descriptors_closed() {
    let (supervisor, mut queue) = pair();
    let (mut client, server) = connection();
    supervisor.say_with("heed 5", &[server.as_fd()]);
    drop(server);
    let _client = supervisor.offer(1);
    assert_eq!(queue.accept().unwrap().unwrap().id, id(1));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "its last descriptor is closed");
}

#[test]
fn a_supervisor_that_is_not_understood_ends_the_queue() {
    let (_, server) = connection();
    let (one, two) = ([server.as_fd()].to_vec(), [server.as_fd(), server.as_fd()].to_vec());
    let long = "x".repeat(WORDS_BYTES_MAX + 1);
    let good = "connection 1 127.0.0.1:1 127.0.0.1:2";
    for (packet, descriptors, message) in [
        ("connection 1", &one, "the packet \"connection 1\" is not understood"),
        ("finish now", &vec![], "the packet \"finish now\" is not understood"),
        (&long, &vec![], "is not understood"),
        (good, &vec![], "0 descriptors, 1 is expected"),
        (good, &two, "2 descriptors, 1 is expected"),
    ] {
        let (supervisor, mut queue) = pair();
        supervisor.say_with(packet, descriptors);
        let error = queue.accept().unwrap_err().to_string();
        assert!(error.contains(message) && error.starts_with("the supervisor's queue: "), "{error}");
        supervisor.expect(&["ready 1", "want 1", "(end)"]);
        assert!(queue.terminated().unwrap() && queue.accept().unwrap().is_none());
    }
}

#[test]
fn try_accept_waits_for_nothing_and_says_when_it_is_over() {
    let (supervisor, mut queue) = pair();
    assert!(queue.try_accept().unwrap().is_none());
    queue.want(NonZeroU32::new(3).unwrap()).unwrap();
    queue.want(ONE).unwrap();
    assert_eq!(queue.credits(), 4);
    let _clients = [supervisor.offer(1), supervisor.offer(2)];
    let mut first = queue.try_accept().unwrap().unwrap();
    assert_eq!(first.stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(queue.try_accept().unwrap().is_some() && queue.try_accept().unwrap().is_none());
    assert_eq!(queue.credits(), 2);
    assert!(!queue.terminated().unwrap());
    supervisor.say("finish");
    assert!(queue.try_accept().unwrap().is_none());
    assert!(queue.terminated().unwrap());
    assert_eq!(queue.credits(), 0);
    supervisor.expect(&["ready 1", "want 3", "want 1", "took 1", "took 2"]);
}

#[test]
fn a_connection_is_given_out_only_once_its_acknowledgement_is_in_the_socket() {
    let (supervisor, mut queue) = pair();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut queue, Token(0), Interest::READABLE | Interest::WRITABLE).unwrap();
    let stuffed = Supervisor::stop_listening(&queue);
    assert!(stuffed > 10);
    let _client = supervisor.offer(5);
    queue.done(id(4)).unwrap();
    assert!(queue.try_accept().unwrap().is_none());

    let mut events = Events::with_capacity(1);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    for _ in 0..stuffed {
        assert_eq!(supervisor.hear().unwrap(), "done 1");
    }
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    assert!(events.iter().any(mio::event::Event::is_writable));
    assert_eq!(queue.try_accept().unwrap().unwrap().id, id(5));
    supervisor.expect(&["done 4", "took 5"]);
}

#[test]
fn a_connection_that_could_not_be_acknowledged_before_the_end_is_not_given_out() {
    let (supervisor, mut queue) = pair();
    Supervisor::stop_listening(&queue);
    let mut client = supervisor.offer(5);
    assert!(queue.try_accept().unwrap().is_none());
    drop(supervisor);
    assert!(queue.try_accept().unwrap().is_none());
    assert!(queue.terminated().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_blocking_connection_blocks_whoever_had_it_before() {
    let (supervisor, mut queue) = pair();
    let (_client, server) = connection();
    rustix::io::ioctl_fionbio(&server, true).unwrap();
    supervisor.say_with("connection 1 127.0.0.1:1 127.0.0.1:2", &[server.as_fd()]);
    let mut connection = queue.accept().unwrap().unwrap();
    connection.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let began = std::time::Instant::now();
    connection.stream.read(&mut [0]).unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(10));
}

#[test]
fn only_a_connected_unix_socket_of_packets_is_a_queue() {
    let (here, _there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    assert_eq!(check_kind(here.as_fd()), Ok(()));
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(check_kind(stream.as_fd()), Err("a Unix socket of another type"));
    let (_, tcp) = connection();
    assert_eq!(check_kind(tcp.as_fd()), Err("no Unix socket"));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(check_kind(file.as_fd()), Err("no socket"));
    let flags = SocketFlags::CLOEXEC;
    let alone = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    assert_eq!(check_kind(alone.as_fd()), Err("a socket that is not connected"));
}

// ── Giving back ────────────────────────────────────────────────────────────────────────────────────────────────────

fn giving_pair() -> (Supervisor, Queue) {
    let (supervisor, queue) = pair();
    (supervisor, queue.giving_back())
}

impl Supervisor {
    /// Sends a connection on with its state.
    fn pass_on(&self, words: &str, state: &[u8], socket: impl AsFd) {
        let packet = [words.as_bytes(), b"\n", state].concat();
        descriptors::send(&self.0, &packet, &[socket.as_fd()]).unwrap();
    }

    /// What the worker gives back: the words, the state, and the connection.
    #[track_caller]
    fn hear_back(&self) -> (String, Vec<u8>, TcpStream) {
        let (mut buffer, mut arrived) = (vec![0; PACKET_BYTES_MAX + 1], Vec::new());
        let received = descriptors::receive(&self.0, &mut buffer, Some(&mut arrived)).unwrap();
        let newline = buffer.iter().position(|byte| *byte == b'\n').expect("a state follows");
        let words = String::from_utf8(buffer[..newline].to_vec()).unwrap();
        let socket = arrived.pop().expect("a connection comes with it");
        assert!(arrived.is_empty());
        (words, buffer[newline + 1..received.bytes].to_vec(), socket.into())
    }
}

#[test]
fn a_connection_that_is_given_back_goes_on_with_its_state_in_another_worker() {
    let (supervisor, mut queue) = giving_pair();
    let (other_supervisor, mut other) = giving_pair();
    let mut client = supervisor.offer(7);
    let connection = queue.accept().unwrap().unwrap();
    assert_eq!((connection.state.as_deref(), connection.is_kept, queue.owed()), (None, false, 0));
    supervisor.expect(&["ready 2", "want 1", "took 7"]);
    supervisor.say("finish");
    assert!(queue.terminated().unwrap());
    assert_eq!(queue.owed(), 1);
    let state: Vec<u8> = (0..=255).cycle().take(STATE_BYTES_MAX).collect();
    assert!(queue.give_back(connection.id, &connection.stream, &state).unwrap());
    drop(connection);
    assert_eq!(queue.owed(), 0);
    assert!(!queue.may_exit().unwrap(), "it may be refused");

    let (words, given, socket) = supervisor.hear_back();
    assert_eq!((words.as_str(), given == state), ("back 7", true));
    supervisor.expect(&["(end)"]);
    drop(supervisor);
    assert!(queue.may_exit().unwrap());
    other_supervisor.pass_on("connection 7 192.0.2.7:50120 [2001:db8::1]:80", &given, socket);
    let mut connection = other.accept().unwrap().unwrap();
    assert_eq!((connection.id, connection.state.as_ref() == Some(&state)), (id(7), true));
    connection.stream.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    other.done(connection.id).unwrap();
    other_supervisor.expect(&["ready 2", "want 1", "took 7", "done 7"]);
}

#[test]
fn as_many_are_owed_as_were_asked_for_last_and_the_worker_has() {
    let (supervisor, mut queue) = giving_pair();
    queue.want(NonZeroU32::new(9).unwrap()).unwrap();
    let _clients = [supervisor.offer(1), supervisor.offer(2), supervisor.offer(3)];
    let connections: Vec<Connection> = (0..3).map(|_| queue.try_accept().unwrap().unwrap()).collect();
    for (asked, owed) in [("give 5", 3), ("give 2", 2)] {
        supervisor.say(asked);
        assert!(queue.try_accept().unwrap().is_none());
        assert_eq!(queue.owed(), owed);
    }
    assert_eq!(queue.try_give_back(connections[0].id, &connections[0].stream, b"").unwrap(), Back::Given);
    assert_eq!(queue.owed(), 1);
    queue.done(connections[1].id).unwrap();
    queue.done(connections[2].id).unwrap();
    assert_eq!((queue.owed(), queue.has_ended()), (0, false));
}

#[test]
fn what_the_supervisor_refuses_is_the_workers_until_it_ends() {
    let (supervisor, mut queue) = giving_pair();
    queue.want(ONE).unwrap();
    let mut client = supervisor.offer(1);
    let connection = queue.try_accept().unwrap().unwrap();
    supervisor.expect(&["ready 2", "want 1", "took 1"]);
    supervisor.say("finish");
    assert!(queue.try_accept().unwrap().is_none());
    assert_eq!(queue.try_give_back(connection.id, &connection.stream, b"half").unwrap(), Back::Given);
    drop(connection);
    let (_, state, socket) = supervisor.hear_back();
    supervisor.pass_on("keep 1", &state, socket);

    assert!(!queue.may_exit().unwrap(), "it was refused before the worker left");
    let mut kept = queue.try_accept().unwrap().unwrap();
    assert_eq!((kept.id, kept.state.as_deref(), kept.is_kept), (id(1), Some(&b"half"[..]), true));
    assert_eq!((kept.peer, queue.owed()), (client.local_addr().unwrap(), 0));
    assert_eq!(queue.try_give_back(kept.id, &kept.stream, b"half").unwrap(), Back::Never);
    kept.stream.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    queue.done(kept.id).unwrap();
    assert!(!queue.may_exit().unwrap(), "others may be refused");
    supervisor.expect(&["(end)"]);
    drop(supervisor);
    assert!(queue.may_exit().unwrap());
}

#[test]
fn what_is_refused_when_the_worker_has_said_that_it_leaves_is_its_own_and_comes_to_whoever_waits() {
    let (supervisor, mut queue) = giving_pair();
    let mut client = supervisor.offer(1);
    let connection = queue.accept().unwrap().unwrap();
    supervisor.expect(&["ready 2", "want 1", "took 1"]);
    supervisor.say("finish");
    assert!(queue.accept().unwrap().is_none());
    supervisor.expect(&["want 1"]);
    assert!(queue.give_back(connection.id, &connection.stream, b"half").unwrap());
    drop(connection);
    assert!(!queue.may_exit().unwrap());
    let (_, state, socket) = supervisor.hear_back();
    supervisor.expect(&["(end)"]);
    supervisor.pass_on("keep 1", &state, socket);
    drop(supervisor);
    let mut kept = queue.accept().unwrap().unwrap();
    assert_eq!((kept.id, kept.state.as_deref(), kept.is_kept), (id(1), Some(&b"half"[..]), true));
    kept.stream.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    queue.done(kept.id).unwrap();
    assert!(queue.may_exit().unwrap());
    assert!(queue.accept().unwrap().is_none());
}

#[test]
fn what_is_refused_while_the_worker_waits_is_not_new() {
    let (supervisor, mut queue) = giving_pair();
    let (client, server) = connection();
    supervisor.pass_on("keep 1", b"", server);
    let kept = queue.accept().unwrap().unwrap();
    assert_eq!((kept.is_kept, kept.peer), (true, client.local_addr().unwrap()));
    supervisor.expect(&["ready 2", "want 1"]);
}

#[test]
fn what_is_refused_when_its_client_has_reset_it_is_done() {
    let (supervisor, mut queue) = giving_pair();
    let (client, server) = connection();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let server = TcpStream::from(server);
    while server.peer_addr().is_ok() {
        std::thread::yield_now();
    }
    supervisor.pass_on("keep 1", b"", server);
    queue.ready().unwrap();
    assert!(queue.try_accept().unwrap().is_none());
    queue.ready().unwrap();
    assert!(queue.try_accept().unwrap().is_none());
    supervisor.expect(&["ready 2", "done 1"]);
}

#[test]
fn what_was_refused_by_a_supervisor_that_then_died_is_the_workers() {
    let (supervisor, mut queue) = giving_pair();
    queue.want(ONE).unwrap();
    let _untaken = supervisor.offer(1);
    let (mut client, server) = connection();
    supervisor.pass_on("keep 2", b"half", server);
    // It has not read what the worker said, so what comes first is a reset.
    drop(supervisor);
    let mut kept = queue.try_accept().unwrap().unwrap();
    assert_eq!(kept.id, id(2));
    kept.stream.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(queue.try_accept().unwrap().is_none());
    queue.done(kept.id).unwrap();
    assert!(queue.may_exit().unwrap());
}

#[test]
fn nothing_is_given_back_to_nobody_nor_with_too_much_nor_by_a_worker_that_does_not() {
    let (_supervisor, mut queue) = pair();
    let (_client, server) = connection();
    assert_eq!(queue.try_give_back(id(1), &server, b"").unwrap(), Back::Never);
    let (supervisor, mut queue) = giving_pair();
    assert_eq!(queue.try_give_back(id(1), &server, &vec![0; STATE_BYTES_MAX + 1]).unwrap(), Back::Never);
    drop(supervisor);
    assert!(!queue.give_back(id(1), &server, b"").unwrap());
    assert!(queue.terminated().unwrap());
}

#[test]
fn a_full_socket_gives_back_later_and_is_heard_on_meanwhile() {
    let (supervisor, mut queue) = giving_pair();
    queue.want(NonZeroU32::new(3).unwrap()).unwrap();
    let _clients = [supervisor.offer(1), supervisor.offer(2)];
    let first = queue.try_accept().unwrap().unwrap();
    let stuffed = Supervisor::stop_listening(&queue);
    assert_eq!(queue.try_give_back(first.id, &first.stream, b"").unwrap(), Back::Later);
    // The supervisor hears nothing more before this worker has heard what it refuses, and that is behind others.
    assert!(queue.try_accept().unwrap().is_none());
    let (_client, server) = connection();
    supervisor.pass_on("keep 9", b"", server);
    supervisor.say("give 7");
    assert!(queue.try_accept().unwrap().is_none());
    assert_eq!(queue.owed(), 1, "it has been heard");
    supervisor.expect_stuffed(&["ready 2", "want 3", "took 1"], stuffed);
    assert_eq!(queue.try_accept().unwrap().unwrap().id, id(2));
    assert_eq!(queue.try_accept().unwrap().unwrap().id, id(9));
    assert_eq!(queue.try_give_back(first.id, &first.stream, b"").unwrap(), Back::Given);
    supervisor.expect(&["took 2", "back 1\n"]);
}

#[test]
fn a_worker_that_waits_to_give_back_hears_on_meanwhile() {
    let (supervisor, mut queue) = giving_pair();
    queue.ready().unwrap();
    Supervisor::stop_listening(&queue);
    let (_client, server) = connection();
    let other_end = std::thread::spawn(move || {
        // It reads only once all of this has gone into the socket, and there is not room for all of it.
        let (_clients, servers): (Vec<TcpStream>, Vec<OwnedFd>) = (1..=8).map(|_| connection()).unzip();
        for (number, server) in (2..).zip(servers) {
            let packet = FromSupervisor::Keep(id(number)).packet(Some(&[b'x'; STATE_BYTES_MAX]));
            while descriptors::send(&supervisor.0, &packet, &[server.as_fd()]).is_err() {
                std::thread::yield_now();
            }
        }
        while supervisor.hear().is_none_or(|word| !word.starts_with("back 1\n")) {}
        _clients
    });
    assert!(queue.give_back(id(1), &server, b"").unwrap());
    let _clients = other_end.join().unwrap();
    assert!((2..=9).all(|number| queue.try_accept().unwrap().unwrap().id == id(number)));
}

#[test]
fn a_worker_of_version_1_passes_over_the_words_of_version_2() {
    let (supervisor, mut queue) = pair();
    supervisor.say("give 1");
    let (mut client, server) = connection();
    supervisor.pass_on("keep 1", b"", server);
    let _client = supervisor.offer(2);
    assert_eq!(queue.accept().unwrap().unwrap().id, id(2));
    assert_eq!((client.read(&mut [0]).unwrap(), queue.owed()), (0, 0));
    supervisor.expect(&["ready 1", "want 1", "took 2"]);
}

#[test]
fn what_was_said_to_a_process_before_a_survivor_is_passed_over_also_if_that_was_a_survivor() {
    let (supervisor, Queue { socket, .. }) = pair();
    let (own, other) = (std::process::id(), std::process::id() + 1);
    let mut queue = Queue::followed(socket).unwrap();
    queue.survive([id(7)]);
    assert!(queue.has_said_all().unwrap());
    supervisor.expect(&["has 7", "survived"]);

    let _to_others = [supervisor.offer(1), supervisor.offer(2)];
    supervisor.say(&format!("resumed {other}"));
    let _to_others = supervisor.offer(3);
    supervisor.say("finish");
    supervisor.say(&format!("resumed {own}"));
    let _client = supervisor.offer(4);
    assert_eq!(queue.try_accept().unwrap().map(|connection| connection.id), Some(id(4)));
    assert!(queue.try_accept().unwrap().is_none() && !queue.terminated().unwrap());
    supervisor.expect(&["took 4"]);
}

#[test]
fn a_survivor_has_not_said_all_while_the_supervisor_does_not_listen() {
    let (supervisor, Queue { socket, .. }) = pair();
    let mut queue = Queue::followed(socket).unwrap();
    let stuffed = Supervisor::stop_listening(&queue);
    queue.survive([id(7)]);
    assert!(!queue.has_said_all().unwrap());
    supervisor.expect_stuffed(&[], stuffed);
    assert!(queue.has_said_all().unwrap());
    supervisor.expect(&["has 7", "survived"]);
    drop(supervisor);
    queue.survive([]);
    assert!(!queue.has_said_all().unwrap() && queue.is_gone());
}

#[test]
fn a_survivor_has_what_the_socket_has_taken_the_word_for_also_when_the_supervisor_ends_the_queue_then() {
    let (supervisor, Queue { socket, .. }) = pair();
    let mut queue = Queue::followed(socket).unwrap();
    let stuffed = Supervisor::stop_listening(&queue);
    // There is room for one more word.
    supervisor.hear().unwrap();
    queue.survive([id(7), id(8)]);
    assert!(!queue.has_said_all().unwrap());
    rustix::net::shutdown(&supervisor.0, Shutdown::Both).unwrap();
    assert!(!queue.has_said_all().unwrap() && queue.is_gone());
    assert_eq!([7, 8].map(|number| queue.has_claimed(id(number))), [true, false]);
    supervisor.expect_stuffed(&[], stuffed - 1);
    supervisor.expect(&["has 7", "(end)"]);

    queue.survive([id(9)]);
    assert!(!queue.has_claimed(id(9)), "nobody hears that");
}

#[test]
fn a_worker_that_gives_back_tries_again_a_moment_later_where_the_socket_has_room() {
    let (supervisor, queue) = pair();
    let mut queue = queue.giving_back();
    let began = std::time::Instant::now();
    queue.wait_to_give().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(RETRY_MS.into()));
    // It is not kept from what it hears meanwhile.
    supervisor.say("finish");
    queue.wait_to_give().unwrap();
    assert!(queue.has_ended());
}
