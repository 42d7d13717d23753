//! Several services in one server, on TCP ports and Unix sockets, and what becomes of their listeners at a takeover.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Place, Server, example};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The example `lanes`, which serves if it is not told to take over.
fn lanes(place: &Place, takes_over: bool, listeners: &[&str]) -> Server {
    let mut command = example("lanes");
    command.args(takes_over.then_some("-T")).arg(place.path()).args(listeners);
    Server::spawn(&place.path(), &mut command)
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn over_tcp(address: SocketAddr) -> Box<dyn Stream> {
    let stream = TcpStream::connect(address).expect("it is listened on");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    Box::new(stream)
}

fn over_unix(path: &Path) -> Box<dyn Stream> {
    let stream = UnixStream::connect(path).expect("it is listened on");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    Box::new(stream)
}

/// Both services echo what is a message of theirs.
#[track_caller]
fn exchange(clients: &mut [Box<dyn Stream>], message: &[u8; 4]) {
    for client in clients.iter_mut() {
        client.write_all(message).expect("the server listens");
    }
    for client in clients {
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("the server answers");
        assert_eq!(answer, *message);
    }
}

#[test]
fn services_and_their_listeners_are_taken_over_together_and_again() {
    let place = Place::new();
    let socket = place.file("socket");
    let unix = |service: &str| format!("{service}:unix:{}", socket.display());
    let server = lanes(&place, false, &["numbers:tcp:127.0.0.1:0", &unix("lines")]).started();
    let numbers = server.address_as("numbers:tcp:127.0.0.1:0");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut clients = vec![over_tcp(numbers), over_unix(&socket), over_tcp(numbers)];
    exchange(&mut clients, b"one\n");

    // As they are; then with a listener more, one by its address and the other by its path.
    let server = server.taken_over_by(lanes(&place, true, &[]));
    clients.extend([over_tcp(numbers), over_unix(&socket)]);
    exchange(&mut clients, b"two\n");
    let kept = format!("numbers:tcp:{numbers}");
    let more = lanes(&place, true, &[&kept, &unix("lines"), "lines:tcp:127.0.0.1:0"]);
    let server = server.taken_over_by(more);
    let lines = server.address_as("lines:tcp:127.0.0.1:0");
    clients.extend([over_tcp(numbers), over_unix(&socket), over_tcp(lines)]);
    exchange(&mut clients, b"3rd\n");

    // With two fewer, and the path for the other service. Whose listener is gone is served on.
    let server = server.taken_over_by(lanes(&place, true, &[&unix("numbers"), &format!("lines:tcp:{lines}")]));
    server.wait_for_line(|line| line.contains(&format!("Listening on [127.0.0.1]:{} no longer", numbers.port())));
    clients.extend([over_unix(&socket), over_tcp(lines)]);
    exchange(&mut clients, b"4th\n");
    let mut refused = TcpStream::connect(numbers);
    while refused.is_ok() {
        refused = TcpStream::connect(numbers);
    }
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!socket.exists(), "whose path it is removes it");
}

#[test]
fn listener_that_cannot_be_bound_ends_the_takeover_before_anything_has_happened() {
    let place = Place::new();
    let server = lanes(&place, false, &["numbers:tcp:127.0.0.1:0", "lines:tcp:127.0.0.1:0"]).started();
    let mut clients = vec![over_tcp(server.address_as("numbers:tcp:127.0.0.1:0"))];
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = busy.local_addr().unwrap();
    let file = place.file("file");
    std::fs::write(&file, "of somebody").unwrap();
    for (listener, reason) in [
        (format!("lines:tcp:{at}"), format!("listening on [127.0.0.1]:{}: Address already in use", at.port())),
        (format!("lines:unix:{}", file.display()), format!("listening on {}: it is a regular file", file.display())),
    ] {
        let (_, log) = lanes(&place, true, &[&listener]).output(1);
        assert!(log.contains(&reason), "{log}");
        exchange(&mut clients, b"one\n");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
    let server = server.taken_over_by(lanes(&place, true, &[]));
    exchange(&mut clients, b"two\n");
    drop(clients);
    server.stop();
}

#[test]
fn successor_without_one_of_the_services_is_refused_with_those_of_both() {
    let place = Place::new();
    let server = lanes(&place, false, &["numbers:tcp:127.0.0.1:0"]).started();
    let (_, log) = Server::take_over(&place.path(), "--service line").output(3);
    assert!(log.contains("the predecessor serves seqnum, line, the successor offers line"), "{log}");
    // The daemon has both.
    let successor = server.taken_over_by(Server::take_over(&place.path(), ""));
    successor.stop();
}
