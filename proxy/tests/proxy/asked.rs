//! What operators ask of a proxy that runs.

use super::rig::{Client, Proxy, echo, free_address, program};

fn two_servers(listen: std::net::SocketAddr) -> String {
    format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\n\
         servers = [{{ at = '{}', name = 'a' }}, {{ at = '{}', name = 'b' }}]\n",
        echo("a"),
        echo("b")
    )
}

/// A client of each of the two servers.
fn one_of_each(listen: std::net::SocketAddr) -> (Client, Client) {
    let mut clients = (Client::connect(listen), Client::connect(listen));
    clients.0.receive("a");
    clients.1.receive("b");
    clients
}

#[test]
fn drained_server_keeps_its_connections_and_gets_no_new_ones_also_from_a_successor() {
    let listen = free_address();
    let proxy = Proxy::serve(&two_servers(listen));
    let (mut at_a, mut at_b) = one_of_each(listen);
    assert_eq!(proxy.answers(&["drain", "u/a"]), "u/a is drained and keeps 1 connections\n");
    proxy.replace();
    (0..3).for_each(|_| Client::connect(listen).receive("b"));
    at_a.ask("still here");
    at_b.ask("here, too");
    assert_eq!(proxy.answers(&["enable", "u/a"]), "u/a is enabled\n");
    assert!(proxy.answers(&["status"]).contains("u/a up connections=1"));
}

#[test]
fn closing_a_server_cuts_exactly_its_connections() {
    let listen = free_address();
    let proxy = Proxy::serve(&format!("access_log = 'text'\n{}", two_servers(listen)));
    let (mut at_a, mut at_b) = one_of_each(listen);
    proxy.replace();
    assert_eq!(proxy.answers(&["close", "u/a"]), "u/a is closed, 1 connections are cut\n");
    at_a.is_reset();
    proxy.notes(&["server=a", "end=closed"]);
    at_b.ask("still here");
    (0..3).for_each(|_| Client::connect(listen).receive("b"));
}

#[test]
fn all_servers_are_told_however_many_there_are() {
    let servers: Vec<String> = (1..=4000).map(|port| format!("'127.0.0.1:{port}'")).collect();
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{}'\nupstream = 'u'\n[upstream.u]\nservers = [{}]\n",
        free_address(),
        servers.join(", ")
    ));
    let told = proxy.answers(&["status"]);
    let expected =
        (1..=4000).map(|port| format!("u/127.0.0.1:{port} up connections=0 total=0 failures=0 failed_checks=0"));
    assert!(told.lines().eq(expected), "{told}");
}

#[test]
fn all_connections_are_told_however_many_there_are() {
    let listen = free_address();
    let proxy = Proxy::serve(&two_servers(listen));
    let mut clients: Vec<Client> = (0..1100).map(|_| Client::connect(listen)).collect();
    for client in &mut clients {
        let mut first = [0];
        std::io::Read::read_exact(&mut client.0, &mut first).unwrap();
    }
    let told = proxy.answers(&["connections"]);
    assert_eq!(told.lines().filter(|line| line.contains(" listener=l server=u/")).count(), 1100);
    assert_eq!(told.lines().count(), 1100);
    for client in &clients {
        assert!(told.contains(&format!(" {} ", client.0.local_addr().unwrap())));
    }
}

#[test]
fn what_nobody_knows_is_refused_with_what_there_is() {
    let listen = free_address();
    let proxy = Proxy::serve(&two_servers(listen));
    let output = proxy.ctl(&["drain", "u/c"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no server u/c; there are u/a, u/b"), "{said}");
}

#[test]
fn check_says_every_mistake_with_its_place_or_what_fits() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        program().arg("--check").arg(&file).output().unwrap()
    };
    let good = check(&two_servers(free_address()));
    let said = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success() && said.contains("1 listeners, 1 upstreams; "), "{said}");
    let bad = check("[listener.l]\nbnd = '1'\nupstream = 'u'\n[upstream.u]\nservers = ['x']\n");
    let said = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(said.contains("proxy.toml:2:1: ") && said.contains("proxy.toml:5:"), "{said}");
}

#[test]
fn takeover_by_another_process_is_judged_beforehand() {
    let listen = free_address();
    let proxy = Proxy::serve(&two_servers(listen));
    let output = program().arg("check").arg(proxy.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
