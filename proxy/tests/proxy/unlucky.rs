//! Servers that behave badly, clients that leave early, and files that change while somebody is on the way to a server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::full::Full;
use super::rig::{Client, Proxy, address, client_hello, echo, free_address, upstream};

fn simple(listen: SocketAddr, servers: &str) -> String {
    format!("access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = {servers}\n")
}

fn before(server: &TcpListener) -> (Proxy, SocketAddr) {
    let listen = free_address();
    (Proxy::serve(&simple(listen, &format!("['{}']", address(server)))), listen)
}

/// One server, with room for one client, and one more may wait.
fn with_room_for_one(server: &TcpListener) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let servers =
        format!("[{{ at = '{}', max_connections = 1 }}]\nqueue = {{ max = 1, within = '1h' }}", address(server));
    (Proxy::serve(&simple(listen, &servers)), listen)
}

#[test]
fn server_that_accepts_and_says_nothing_keeps_its_client_until_that_is_idle() {
    let (listen, server) = (free_address(), upstream());
    let config = simple(listen, &format!("['{}']", address(&server)));
    let proxy = Proxy::serve(&config);
    let mut client = Client::connect(listen);
    client.send("hello?");
    let mut held = Client::of(server.accept().unwrap().0);
    held.receive("hello?");
    proxy.replace();
    client.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it is neither ended nor reset");
    proxy.reload(&config.replace("upstream = 'u'", "upstream = 'u'\nidle_timeout = '300ms'"));
    let (mut second, _held) = (Client::connect(listen), server.accept().unwrap());
    second.ends();
    proxy.notes(&["end=idle"]);
    client.send("still here");
    held.receive("still here");
}

#[test]
fn server_that_resets_at_once_resets_its_client_and_nobody_else() {
    let [listen, elsewhere] = [free_address(), free_address()];
    let (server, resetting) = (upstream(), upstream());
    let proxy = Proxy::serve(&format!(
        "{}retries = 0\n[listener.m]\nbind = '{elsewhere}'\nupstream = 'v'\n[upstream.v]\nservers = ['{}']\nretries = 0\n",
        simple(listen, &format!("['{}']", address(&server))),
        address(&resetting)
    ));
    std::thread::spawn(move || {
        for socket in resetting.incoming().map_while(Result::ok) {
            Client::of(socket).reset();
        }
    });
    let mut stays = Client::connect(listen);
    let mut served = Client::of(server.accept().unwrap().0);
    for round in 0..3 {
        // The proxy may find it reset before it knows that it stands.
        Client::connect(elsewhere).is_reset();
        let mut client = Client::connect(listen);
        client.send("hello");
        let mut led = Client::of(server.accept().unwrap().0);
        led.receive("hello");
        led.reset();
        client.is_reset();
        proxy.replace();
        stays.send(format!("still here {round}"));
        served.receive(format!("still here {round}"));
    }
    proxy.notes(&["listener=l", "end=server-reset"]);
}

#[test]
fn server_that_reads_slowly_gets_every_byte_and_holds_up_nobody() {
    let all: Arc<Vec<u8>> = Arc::new((0..8 << 20).map(|at: u32| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect());
    let server = upstream();
    let (proxy, listen) = before(&server);
    let mut client = Client::connect(listen);
    let mut slow = server.accept().unwrap().0;
    let sending = std::thread::spawn({
        let all = Arc::clone(&all);
        move || {
            client.send(&*all);
            client.finish();
            client
        }
    });
    let (mut received, mut buffer) = (0, vec![0; 64 << 10]);
    for round in 0.. {
        // A part, and then nothing while others are served and the proxy is replaced.
        let bytes = slow.read(&mut buffer).unwrap();
        assert!(buffer[..bytes] == all[received..received + bytes], "behind byte {received}");
        received += bytes;
        if bytes == 0 {
            break;
        }
        if round % 16 == 0 && round < 128 {
            proxy.replace();
            let mut other = Client::connect(listen);
            let mut served = Client::of(server.accept().unwrap().0);
            other.send("quick");
            served.receive("quick");
        }
    }
    assert_eq!(received, all.len());
    slow.write_all(b"got it").unwrap();
    drop(slow);
    let mut client = sending.join().unwrap();
    client.receive("got it");
    client.ends();
}

#[test]
fn server_that_ends_first_gets_what_its_client_says_afterwards() {
    let server = upstream();
    let (proxy, listen) = before(&server);
    let mut client = Client::connect(listen);
    let mut served = Client::of(server.accept().unwrap().0);
    served.send("that is all");
    served.finish();
    client.receive("that is all");
    client.ends();
    for round in 0..3 {
        proxy.replace();
        client.send(format!("and {round}"));
        served.receive(format!("and {round}"));
    }
    client.finish();
    served.ends();
    proxy.notes(&["end=finished"]);
}

#[test]
fn client_that_leaves_while_it_waits_is_missed_at_once_and_the_next_one_waits_in_its_place() {
    let server = upstream();
    let (proxy, listen) = with_room_for_one(&server);
    let first = Client::connect(listen);
    let served = server.accept().unwrap().0;
    for is_reset in [true, false] {
        let mut waiting = Client::connect(listen);
        proxy.stands("waiting=1");
        if is_reset {
            waiting.send("in vain");
            waiting.reset();
        } else {
            drop(waiting);
        }
        while proxy.answers(&["status"]).contains("waiting=1") {
            std::thread::yield_now();
        }
        proxy.notes(&["end=client-left"]);
        proxy.replace();
    }
    let mut next = Client::connect(listen);
    proxy.stands("waiting=1");
    next.send("patience");
    drop((first, served));
    let mut served = Client::of(server.accept().unwrap().0);
    served.receive("patience");
}

#[test]
fn client_that_has_said_all_and_waits_is_answered_when_its_turn_comes() {
    let server = upstream();
    let (proxy, listen) = with_room_for_one(&server);
    let first = Client::connect(listen);
    let served = server.accept().unwrap().0;
    let mut waiting = Client::connect(listen);
    let question = "question".repeat(40_000);
    let sending = std::thread::spawn({
        let question = question.clone();
        move || {
            waiting.send(question);
            waiting.finish();
            waiting
        }
    });
    proxy.stands("waiting=1");
    proxy.replace();
    drop((first, served));
    let mut served = Client::of(server.accept().unwrap().0);
    served.receive(question);
    served.ends();
    proxy.replace();
    served.send("answer");
    drop(served);
    let mut waiting = sending.join().unwrap();
    waiting.receive("answer");
    waiting.ends();
}

#[test]
fn client_on_its_way_to_a_server_that_is_closed_is_led_to_another_or_told() {
    let (listen, full) = (free_address(), Full::new());
    let servers = |spare: &str| format!("[{{ at = '{}', name = 'full' }}{spare}]\nconnect_timeout = '1h'", full.at);
    let spare = format!(", {{ at = '{}', name = 'spare', backup = true }}", echo("spare"));
    let proxy = Proxy::serve(&simple(listen, &servers(&spare)));
    let mut client = Client::connect(listen);
    client.send("early");
    proxy.stands("u/full up connections=1");
    proxy.replace();
    assert_eq!(proxy.answers(&["close", "u/full"]), "u/full is closed, 0 connections are cut\n");
    client.receive("spareearly");
    proxy.stands("u/full drained connections=0");
    // Where there is no other one, that is said.
    proxy.reload(&simple(listen, &servers("")));
    proxy.answers(&["enable", "u/full"]);
    let mut client = Client::connect(listen);
    proxy.stands("u/full up connections=1");
    proxy.answers(&["close", "u/full"]);
    client.is_reset();
    proxy.notes(&["end=no-server"]);
}

#[test]
fn client_on_its_way_to_a_server_or_an_upstream_that_a_new_file_has_not_is_led_where_that_says() {
    let (listen, full) = (free_address(), Full::new());
    let slow = simple(listen, &format!("[{{ at = '{}', name = 'full' }}]\nconnect_timeout = '1h'", full.at));
    let other = simple(listen, &format!("['{}']", echo("other")));
    let elsewhere = other.replace("'u'", "'v'").replace("upstream.u", "upstream.v");
    let gone = elsewhere.replace("listener.l", "listener.m");
    let proxy = Proxy::serve(&slow);
    for config in [&other, &elsewhere] {
        let mut client = Client::connect(listen);
        client.send("early");
        proxy.stands("u/full up connections=1");
        proxy.reload(config);
        client.receive("otherearly");
        proxy.reload(&slow);
    }
    let mut client = Client::connect(listen);
    proxy.stands("u/full up connections=1");
    proxy.reload(&gone);
    client.is_reset();
    proxy.notes(&["listener=l", "end=removed"]);
}

#[test]
fn client_whose_first_bytes_are_under_way_is_led_where_a_new_file_says() {
    let listen = free_address();
    let config = |listener: &str| {
        format!(
            "access_log = 'text'\n[listener.l]\nbind = '{listen}'\n{listener}\n[upstream.a]\nservers = ['{}']\n[upstream.b]\nservers = ['{}']\n",
            echo("a"),
            echo("b")
        )
    };
    let [to_a, to_b] = ["a", "b"].map(|upstream| config(&format!("sni = {{ 'x.example.org' = '{upstream}' }}")));
    let proxy = Proxy::serve(&to_a);
    let hello = client_hello(Some("x.example.org"), 16_000);
    let greeting = |name: &str| [name.as_bytes(), &hello].concat();
    // Another upstream for the name, then one for all names, which needs not to be told the rest.
    let mut client = Client::connect(listen);
    client.send(&hello[..20]);
    proxy.lists("waits=Hello");
    proxy.reload(&to_b);
    client.send(&hello[20..]);
    client.receive(greeting("b"));
    let mut client = Client::connect(listen);
    client.send(&hello[..20]);
    proxy.lists("waits=Hello");
    proxy.reload(&config("upstream = 'a'"));
    client.receive(greeting("a").get(..21).unwrap());
    client.send(&hello[20..]);
    client.receive(&hello[20..]);
    // The header is under way, and then there is no such listener any more.
    proxy.reload(&config("upstream = 'a'\naccept_proxy = ['127.0.0.0/8']"));
    let mut client = Client::connect(listen);
    client.send("PROXY TCP4 192.0.2.7 ");
    proxy.lists("waits=Header");
    proxy.reload(&config("upstream = 'b'").replace("listener.l", "listener.m"));
    client.send("198.51.100.1 4711 443\r\n");
    client.is_reset();
    proxy.notes(&["listener=l", "end=removed"]);
}
