//! Servers that are down, come up, or fail.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::rig::{Client, Proxy, address, echo, figures, free_address, upstream};

/// A server that only counts who connects.
fn counting(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    count
}

#[test]
fn server_that_is_down_stays_down_through_replacements_and_gets_nobody() {
    let (listen, dead) = (free_address(), free_address());
    let config = format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{dead}', '{}']\n\
         check = {{ every = '50ms', within = '50ms', rise = 2, fall = 2 }}\n",
        echo("b")
    );
    let proxy = Proxy::serve(&config);
    proxy.says(&["Server u/", "is down: 2 checks in a row have failed"]);
    // From here on, checks are far apart: what is known has to be what the predecessor knew.
    proxy.reload(&config.replace("every = '50ms'", "every = '1h'"));
    let count = counting(TcpListener::bind(dead).unwrap());
    for _ in 0..3 {
        proxy.replace();
        (0..4).for_each(|_| Client::connect(listen).receive("b"));
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "no client and no check has come");
    proxy.reload(&config);
    proxy.says(&["Server u/", "is up: 2 checks in a row have succeeded"]);
    assert_eq!(proxy.count_said(" is down: "), 1);
}

#[test]
fn check_listens_to_what_the_server_says() {
    let listen = free_address();
    let config = |expected: &str| {
        format!(
            "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n\
             check = {{ every = '3s', within = '3s', rise = 1, fall = 1, send = 'PING', expect = '{expected}' }}\n",
            echo("+")
        )
    };
    let proxy = Proxy::serve(&config("-PONG"));
    proxy.says(&["is down: 1 checks in a row have failed: it answers something else than is expected"]);
    proxy.reload(&config("+PING"));
    Client::connect(listen);
    proxy.stands(" up ");
}

#[test]
fn connections_to_a_server_that_is_down_are_closed_if_the_file_says_so() {
    let (listen, server) = (free_address(), upstream());
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\non_down = 'close'\n\
         check = {{ every = '1s', within = '300ms', rise = 1, fall = 1 }}\n",
        address(&server)
    ));
    let mut client = Client::connect(listen);
    let held = server.accept().unwrap();
    drop(server);
    client.is_reset();
    drop(held);
    proxy.notes(&["end=server-down"]);
}

#[test]
fn server_to_which_connections_fail_gets_none_for_a_while_also_from_a_successor() {
    let (listen, dead) = (free_address(), free_address());
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{dead}', '{}']\n\
         eject = {{ failures = 2, for = '1h' }}\n",
        echo("b")
    ));
    (0..4).for_each(|_| Client::connect(listen).receive("b"));
    proxy.says(&["gets no clients for 3600 s: connections to it have failed"]);
    proxy.replace();
    let count = counting(TcpListener::bind(dead).unwrap());
    (0..4).for_each(|_| Client::connect(listen).receive("b"));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    proxy.answers(&["enable", &format!("u/{dead}")]);
    proxy.stands(&format!("u/{dead} up"));
}

/// The program, for which this file has all names.
fn program_with_hosts(hosts: &std::path::Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", "mount --bind \"$0\" /etc/hosts\nexec \"$@\""]).arg(hosts);
    command.arg(env!("CARGO_BIN_EXE_reactord-proxy"));
    command
}

#[test]
fn server_whose_name_came_with_a_new_file_is_where_it_was_when_the_name_is_unknown() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("another /etc/hosts is root's alone to have");
    }
    let (listen, server) = (free_address(), echo("a"));
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "127.0.0.1 known.test\n").unwrap();
    let config =
        |servers| format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = [{servers}]\n");
    let proxy = Proxy::serve_with(&config(format!("'{server}'")), &mut program_with_hosts(hosts.path()));
    let named = config(format!("'known.test:{}'", server.port()));
    proxy.reload(&named);
    Client::connect(listen).receive("a");
    std::fs::write(hosts.path(), "").unwrap();
    for _ in 0..2 {
        proxy.replace();
        Client::connect(listen).receive("a");
    }
    proxy.says(&["The name known.test of a server cannot be resolved: "]);
}

#[test]
fn server_one_of_whose_addresses_is_nobodys_is_up_and_serves() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("another /etc/hosts is root's alone to have");
    }
    let (listen, metrics, at) = (free_address(), free_address(), free_address());
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "127.0.0.1 twofold.test\n127.0.0.2 twofold.test\n").unwrap();
    let count = counting(TcpListener::bind(at).unwrap());
    let mut command = program_with_hosts(hosts.path());
    let config = format!(
        "metrics = '{metrics}'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['twofold.test:{}']\n\
         check = {{ every = '50ms', within = '50ms', rise = 2, fall = 3 }}\n",
        at.port()
    );
    let proxy = Proxy::serve_with(&config, &mut command);
    let deadline = Instant::now() + Duration::from_secs(30);
    for clients in 1..=12 {
        drop(Client::connect(listen));
        // One client between two checks: they are not to share the addresses between them.
        while count.load(Ordering::SeqCst) < 2 * clients {
            assert!(Instant::now() < deadline, "{} have come with {clients} clients", count.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
    }
    proxy.stands(&format!("u/twofold.test:{} up", at.port()));
    let told = figures(metrics);
    let failed = told.lines().find_map(|line| line.strip_prefix("proxy_server_failed_checks_total{")?.split_once("} "));
    assert!(failed.is_some_and(|(_, count)| count.parse::<u32>().is_ok_and(|count| count <= 1)), "{told}");
}

#[test]
fn who_waits_is_let_go_when_no_server_is_up_any_more_and_led_to_a_backup_where_there_is_one() {
    let ([listen, backed], [one, other]) = ([free_address(), free_address()], [upstream(), upstream()]);
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[listener.backed]\nbind = '{backed}'\nupstream = 'backed'\n\
         [upstream.u]\nservers = [{{ at = '{}', name = 'one', max_connections = 1 }}]\nqueue = {{ max = 9, within = '1h' }}\n\
         [upstream.backed]\nqueue = {{ max = 9, within = '1h' }}\nservers = [{{ at = '{}', name = 'other', max_connections = 1 }},\n\
         {{ at = '{}', name = 'spare', backup = true }}]\n",
        address(&one),
        address(&other),
        echo("spare")
    ));
    for (at, server, name) in [(listen, &one, "u/one"), (backed, &other, "backed/other")] {
        let mut first = Client::connect(at);
        let mut served = Client::of(server.accept().unwrap().0);
        let mut second = Client::connect(at);
        second.send("hello");
        proxy.stands("waiting=1");
        proxy.answers(&["drain", name]);
        match name {
            "u/one" => second.is_reset(),
            _ => second.receive("spare"),
        }
        first.send("still here");
        served.receive("still here");
    }
}

#[test]
fn who_waits_gets_a_server_when_its_ejection_ends_also_if_that_of_another_upstream_has_ended_before() {
    let (other, listen, [gone, dead]) = (free_address(), free_address(), [free_address(), free_address()]);
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[listener.other]\nbind = '{other}'\nupstream = 'other'\n\
         [upstream.u]\nservers = ['{dead}', {{ at = '{}', max_connections = 1 }}]\n\
         eject = {{ failures = 1, for = '2s' }}\nqueue = {{ max = 9, within = '1h' }}\n\
         [upstream.other]\nservers = ['{gone}']\neject = {{ failures = 1, for = '1s' }}\n",
        echo("full")
    ));
    Client::connect(other).is_reset();
    let mut first = Client::connect(listen);
    first.receive("full");
    let mut second = Client::connect(listen);
    proxy.stands("waiting=1");
    let server = TcpListener::bind(dead).unwrap();
    let mut served = Client::of(server.accept().unwrap().0);
    second.send("patience");
    served.receive("patience");
    first.ask("still at the other one");
}

#[test]
fn backup_is_used_when_no_other_is_up_and_not_when_they_are_full() {
    let (listen, dead) = (free_address(), free_address());
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\n\
         servers = [{{ at = '{dead}', name = 'main' }}, {{ at = '{}', name = 'spare', backup = true }}]\n\
         eject = {{ failures = 1, for = '1h' }}\n",
        echo("spare")
    ));
    let mut client = Client::connect(listen);
    client.receive("spare");
    proxy.stands("u/main ejected");
    let main = TcpListener::bind(dead).unwrap();
    proxy.answers(&["enable", "u/main"]);
    let mut new = Client::connect(listen);
    let mut served = Client::of(main.accept().unwrap().0);
    new.send("to main");
    served.receive("to main");
    client.ask("still at the spare");
}
