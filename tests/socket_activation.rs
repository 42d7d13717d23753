//! Sockets that a service manager has opened (sd_listen_fds(3)), as systemd's own tool passes them, blocking.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use harness::{Peer, Place, Server, exchange_all, skip};

/// A command that is executed with these sockets, once somebody has connected.
fn activated(arguments: &[&str]) -> Option<Command> {
    if Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip("there is no systemd-socket-activate");
        return None;
    }
    let mut command = Command::new("systemd-socket-activate");
    command.args(arguments).arg(env!("CARGO_BIN_EXE_reactord"));
    Some(command)
}

/// A port that was free a moment ago: the tool takes no other.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}

/// The daemon with a socket as descriptor 3, as if for itself.
fn with_socket(socket: impl Into<std::os::fd::OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_reactord"),
    ]);
    command.args(arguments);
    let parent_fd = socket.into();
    command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).expect("one number is used once");
    command
}

#[test]
fn a_server_and_its_successors_let_in_whoever_connects_to_a_passed_socket_and_leave_it_open() {
    let place = Place::new();
    let path = place.path();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (takeover, kept) = (path.to_str().expect("it is text"), listener.try_clone().expect("a descriptor is free"));
    let first = Server::spawn(&path, &mut with_socket(kept, &["-t", takeover])).started();
    assert_eq!(first.address(), address);
    let mut peers = Peer::connect_many(address, 2);
    exchange_all(&mut peers);
    let second = first.taken_over("");
    peers.push(Peer::connect(address));
    exchange_all(&mut peers);
    second.stop_with(peers);
    // Whoever has opened it starts the next server for this one.
    TcpStream::connect(address).expect("it still listens");
}

#[test]
fn the_path_of_a_passed_socket_stays_when_the_server_has_stopped() {
    let place = Place::new();
    let (path, clients) = (place.path(), place.file("clients"));
    let listener = UnixListener::bind(&clients).expect("the path is free");
    let kept = listener.try_clone().expect("a descriptor is free");
    let mut command = with_socket(kept, &["--service", "line", "-t", path.to_str().expect("it is text")]);
    let server = Server::spawn(&path, &mut command).started();
    server.wait_for_line(|line| line.contains(&format!("Starting Unix server on [{}]", clients.display())));
    std::os::unix::net::UnixStream::connect(&clients).expect("it listens");
    server.taken_over("").stop();
    std::os::unix::net::UnixStream::connect(&clients).expect("it still listens");
}

#[test]
fn what_is_no_listener_is_refused_with_its_number_and_name() {
    let place = Place::new();
    let path = place.path();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let refused = with_socket(socket, &["-t", path.to_str().expect("it is text")]).output().expect("sh is there");
    let error = String::from_utf8(refused.stderr).expect("it is text");
    assert_eq!(refused.status.code(), Some(2), "{error}");
    let expected =
        "the service manager has passed descriptor 3 (\"web\") to listen on: it is a socket that passes no streams";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_supervisor_passes_on_who_connects_to_a_socket_that_systemd_has_opened() {
    let address = free_address();
    let binary = env!("CARGO_BIN_EXE_reactord");
    let Some(mut command) = activated(&["-l", &address.to_string()]) else { return };
    let port = address.port().to_string();
    command.args(["supervise", "-p", &port, "--", binary, "--worker"]);
    let supervisor = Server::spawn(Path::new(""), &mut command);
    supervisor.wait_for_line(|line| line.contains("Listening on"));
    let mut peer = Peer::connect(address);
    exchange_all(std::slice::from_mut(&mut peer));
    drop(peer);
    supervisor.stop();
}

#[test]
fn a_server_serves_the_one_whose_connection_has_had_it_started() {
    let place = Place::new();
    let (path, address) = (place.path(), free_address());
    let Some(mut command) = activated(&["-l", &address.to_string(), "--fdname=clients"]) else { return };
    let server = Server::spawn(&path, command.arg("-t").arg(&path));
    server.wait_for_line(|line| line.contains("Listening on"));
    let mut peer = Peer::connect(address);
    exchange_all(std::slice::from_mut(&mut peer));
    server.stop_with([peer]);
}
