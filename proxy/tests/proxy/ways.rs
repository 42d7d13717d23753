//! How clients come to servers, and how bytes and ends are passed on.

use std::io::Read;

use super::full::Full;
use super::rig::{Client, Proxy, address, echo, free_address, listen_on, program, upstream};

fn simple(listen: impl std::fmt::Display, servers: &str) -> String {
    format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = {servers}\n")
}

#[test]
fn command_line_alone_leads_clients_to_a_server() {
    let (listen, server) = (free_address(), echo("a"));
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args([listen.to_string(), server.to_string()])
        .arg("-t")
        .arg(directory.path().join("takeover"))
        .spawn()
        .unwrap();
    let mut client = loop {
        match std::net::TcpStream::connect(listen) {
            Ok(socket) => break Client::of(socket),
            Err(_) => std::thread::yield_now(),
        }
    };
    client.receive("a");
    client.ask("hello");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn established_connection_outlives_replacements_with_every_byte() {
    let listen = free_address();
    let proxy = Proxy::serve(&simple(listen, &format!("['{}']", echo("a"))));
    let mut client = Client::connect(listen);
    client.receive("a");
    for round in 0..5 {
        client.ask(&format!("before {round}"));
        client.send(format!("during {round}"));
        proxy.replace();
        client.receive(format!("during {round}"));
    }
    client.finish();
    client.ends();
}

#[test]
fn half_close_is_passed_on_and_the_answer_comes_after_a_replacement() {
    let (listen, upstream) = (free_address(), upstream());
    let proxy = Proxy::serve(&simple(listen, &format!("['{}']", address(&upstream))));
    let mut client = Client::connect(listen);
    client.send("question");
    client.finish();
    let (socket, _) = upstream.accept().unwrap();
    let mut server = Client::of(socket);
    server.receive("question");
    server.ends();
    proxy.replace();
    server.send("answer");
    drop(server);
    client.receive("answer");
    client.ends();
}

#[test]
fn reset_of_either_side_is_passed_on_as_one() {
    let (listen, upstream) = (free_address(), upstream());
    let proxy =
        Proxy::serve(&format!("access_log = 'text'\n{}", simple(listen, &format!("['{}']", address(&upstream)))));
    for by_client in [true, false] {
        let mut client = Client::connect(listen);
        let mut server = Client::of(upstream.accept().unwrap().0);
        client.send("hello");
        server.receive("hello");
        let (resetting, mut other) = if by_client { (client, server) } else { (server, client) };
        resetting.reset();
        other.is_reset();
        proxy.notes(&[if by_client { "end=client-reset" } else { "end=server-reset" }]);
        proxy.replace();
    }
}

#[test]
fn unix_sockets_are_listened_on_and_led_to() {
    let proxy = Proxy::serve(&simple(free_address(), "['127.0.0.1:1']"));
    let (front, back) = (proxy.beside("front"), proxy.beside("back"));
    let server = listen_on(&back);
    proxy.reload(&simple(format_args!("unix:{}", front.display()), &format!("['unix:{}']", back.display())));
    let mut client = std::os::unix::net::UnixStream::connect(&front).unwrap();
    let (mut led, _) = server.accept().unwrap();
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    let mut received = [0; 5];
    led.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
    proxy.replace();
    drop(client);
    assert_eq!(led.read(&mut received).unwrap(), 0);
}

#[test]
fn line_of_a_connection_says_what_the_kernel_knows_of_it() {
    let listen = free_address();
    let config = simple(listen, &format!("['{}']", echo("b")));
    let proxy = Proxy::serve(&format!("access_log = 'text'\n{config}"));
    let mut client = Client::connect(listen);
    client.receive("b");
    client.ask("hello");
    proxy.replace();
    client.finish();
    client.ends();
    let line = proxy.notes(&["end=finished", " takeovers=1"]);
    let seconds = line.split("round_trip_seconds=").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds: f64 = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    assert!(seconds > 0.0 && line.contains(" retransmits="), "{line}");
}

#[test]
fn server_that_cannot_be_reached_is_left_for_another() {
    let listen = free_address();
    let config = simple(listen, &format!("['{}', '{}']", free_address(), echo("b")));
    let proxy = Proxy::serve(&format!("access_log = 'json'\n{config}"));
    for _ in 0..2 {
        let mut client = Client::connect(listen);
        client.receive("b");
        client.finish();
        client.ends();
    }
    proxy.says(&["Server u/", "cannot be reached: ", "refused"]);
    proxy.notes(&["\"retries\":1", "\"end\":\"finished\""]);
}

#[test]
fn connect_under_way_at_a_replacement_succeeds_afterwards() {
    let (listen, full) = (free_address(), Full::new());
    let proxy = Proxy::serve(&simple(listen, &format!("['{}']", full.at)));
    let mut client = Client::connect(listen);
    client.send("early");
    proxy.stands("connections=1");
    proxy.replace();
    proxy.replace();
    let mut server = full.make_room();
    server.receive("early");
    server.send("late");
    client.receive("late");
}

#[test]
fn connect_under_way_at_a_replacement_fails_and_times_out_as_if_there_had_been_none() {
    for is_refused in [true, false] {
        let (listen, full) = (free_address(), Full::new());
        let config = simple(listen, &format!("['{}']", full.at));
        let within = if is_refused { "30s" } else { "500ms" };
        let proxy = Proxy::serve(&format!("access_log = 'text'\n{config}connect_timeout = '{within}'\nretries = 0\n"));
        let mut client = Client::connect(listen);
        client.send("early");
        proxy.stands("connections=1");
        proxy.replace();
        let kept = if is_refused {
            drop(full);
            None
        } else {
            Some(full)
        };
        client.is_reset();
        proxy.notes(&[if is_refused { "end=unreachable" } else { "end=connect-timeout" }]);
        drop(kept);
    }
}
