//! A queue over a socket pair, with the test as the supervisor.

use std::io::{Read, Write};
use std::net::TcpListener;
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
