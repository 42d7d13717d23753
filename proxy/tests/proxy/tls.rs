//! TLS on either side of the proxy, or on both, through replacements.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use reactord::Upgraded;
use reactord_tls::Version;

use super::reloads::OverAtEnd;
use super::rig::{Client, Proxy, address, echo, free_address, upstream};
use super::tls_rig::{Authority, Side, Tls, quoted, tls_echo};

const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];

/// A listener that ends TLS with the certificate in this file, before a server.
fn ending_tls(listen: SocketAddr, certificate: &std::path::Path, server: SocketAddr) -> String {
    format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\ntls = {{ certificates = {} }}\n\
         [upstream.u]\nservers = ['{server}']\n",
        quoted(certificate)
    )
}

#[test]
fn clients_are_shown_the_certificate_of_the_name_that_they_ask_for_and_are_led_by_it() {
    let (authority, listen) = (Authority::new(), free_address());
    let [one, other] = ["one.example", "other.example"].map(|name| quoted(&authority.certify(name)));
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\ntls = {{ certificates = [{one}, {other}] }}\n\
         sni = {{ 'one.example' = 'one' }}\notherwise = 'other'\n\
         [upstream.one]\nservers = ['{}']\n[upstream.other]\nservers = ['{}']\n",
        echo("1"),
        echo("2")
    ));
    for version in VERSIONS {
        let connector = authority.connector(version);
        let mut clients = ["one.example", "other.example"].map(|name| Tls::connect(listen, &connector, name));
        clients.iter_mut().zip(["1", "2"]).for_each(|(client, name)| client.receive(name));
        for _ in 0..3 {
            proxy.replace();
            clients.iter_mut().for_each(|client| client.ask("still there"));
        }
        proxy.lists(if version == Version::Tls13 { "tls=TLSv1.3" } else { "tls=TLSv1.2" });
        for client in &mut clients {
            client.finish();
            assert_eq!(client.read().unwrap(), b"");
        }
    }
    proxy.notes(&["server_name=one.example", "tls_version=TLSv1.3 tls_suite=TLS_AES_", "upstream=one", "end=finished"]);
    proxy.notes(&["server_name=other.example", "tls_version=TLSv1.2 tls_suite=TLS_ECDHE_", "upstream=other"]);
}

#[test]
fn a_certificate_is_changed_by_a_reload_and_a_broken_one_changes_nothing() {
    let (authority, listen) = (Authority::new(), free_address());
    let certificate = authority.certify("a.example");
    let proxy = Proxy::serve(&ending_tls(listen, &certificate, echo("a")));
    let connector = authority.connector(Version::Tls13);
    let mut stays = Tls::connect(listen, &connector, "a.example");
    stays.receive("a");
    let first = stays.facts.certificates.clone();
    authority.certify("a.example");
    proxy.replace();
    let shown = || Tls::connect(listen, &connector, "a.example").facts.certificates;
    let second = shown();
    assert!(second != first && !second.is_empty());
    stays.ask("as before");

    let text = std::fs::read_to_string(&certificate).unwrap();
    for (broken, wanted) in
        [(text.replace("PRIVATE", "PUBLIC"), "has no private key"), (String::new(), "no certificate")]
    {
        std::fs::write(&certificate, broken).unwrap();
        let Upgraded::Failed { said, serves_on, .. } = proxy.try_to_replace() else { panic!("it is broken") };
        assert!(serves_on && said.contains("proxy.toml:5:24: ") && said.contains(wanted), "{said}");
        assert!(said.contains("a.example.pem"), "{said}");
        stays.ask("as before");
        assert_eq!(shown(), second);
    }
    std::fs::remove_file(&certificate).unwrap();
    let Upgraded::Failed { said, .. } = proxy.try_to_replace() else { panic!("it is gone") };
    assert!(said.contains("cannot be read: No such file"), "{said}");
    authority.certify("a.example");
    proxy.replace();
    assert!(shown() != second);
    stays.ask("as before");
}

#[test]
fn a_listener_with_tls_that_is_gone_from_the_file_keeps_its_clients() {
    let (authority, [listen, other]) = (Authority::new(), [free_address(), free_address()]);
    let server = echo("a");
    let config = ending_tls(listen, &authority.certify("a.example"), server);
    let proxy = Proxy::serve(&config);
    let connector = authority.connector(Version::Tls13);
    let mut stays = Tls::connect(listen, &connector, "a.example");
    stays.receive("a");
    proxy.reload(&format!("[listener.m]\nbind = '{other}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n"));
    stays.ask("its listener is gone");
    Client::connect(other).receive("a");
    proxy.reload(&config);
    stays.ask("and there again");
    Tls::connect(listen, &connector, "a.example").receive("a");
}

#[test]
fn a_listener_with_tls_that_moves_to_another_address_serves_those_whose_handshakes_are_under_way() {
    let (authority, [listen, other]) = (Authority::new(), [free_address(), free_address()]);
    let (certificate, server) = (authority.certify("a.example"), echo("a"));
    let proxy = Proxy::serve(&ending_tls(listen, &certificate, server));
    let connector = authority.connector(Version::Tls13);
    let stream = std::net::TcpStream::connect(listen).unwrap();
    let mut addresses = [other, listen].into_iter();
    let mut client = Tls::connect_by(stream, &connector, "a.example", |stream, out| {
        let (part, rest) = out.split_at(out.len() / 2);
        stream.write_all(part)?;
        let at = addresses.next().expect("it says two things");
        proxy.reload(&ending_tls(at, &certificate, server));
        stream.write_all(rest)
    })
    .unwrap();
    client.receive("a");
    client.ask("it has moved twice");
    Tls::connect(listen, &connector, "a.example").receive("a");
}

#[test]
fn tls_is_turned_on_by_a_reload_and_a_reload_that_would_turn_it_off_changes_nothing() {
    let (authority, listen, server) = (Authority::new(), free_address(), echo("a"));
    let in_clear = format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n");
    let proxy = Proxy::serve(&in_clear);
    let mut before = Client::connect(listen);
    before.receive("a");
    proxy.reload(&ending_tls(listen, &authority.certify("a.example"), server));
    let mut behind = Tls::connect(listen, &authority.connector(Version::Tls13), "a.example");
    behind.receive("a");
    before.ask("in clear");
    proxy.write(&in_clear);
    let Upgraded::Failed { said, serves_on, .. } = proxy.try_to_replace() else { panic!("it would serve in clear") };
    assert!(serves_on && said.contains("speak TLS"), "{said}");
    behind.ask("sealed");
    before.ask("in clear");
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_served_where_one_is_wanted() {
    let (authority, listen) = (Authority::new(), free_address());
    let (listener, certificate) = (upstream(), authority.certify("a.example"));
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n\
         tls = {{ certificates = {}, client_ca = {}, alpn = ['echo', 'h2'] }}\n\
         [upstream.u]\nservers = ['{}']\nsend_proxy = 'v2-ssl'\n",
        quoted(&certificate),
        quoted(&authority.file()),
        address(&listener)
    ));
    let stranger = Tls::try_to_connect(listen, &authority.connector(Version::Tls12), "a.example");
    assert!(stranger.is_err());
    let _client = Tls::connect(listen, &authority.connector_as("somebody", "h2"), "a.example");
    let mut server = Client::of(listener.accept().unwrap().0);
    let mut header = [0; 16];
    std::io::Read::read_exact(&mut server.0, &mut header).unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[14], header[15]]))];
    std::io::Read::read_exact(&mut server.0, &mut body).unwrap();
    assert_eq!((&header[..14], &body[12..17]), (&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &b"\x01\0\x02h2"[..]));
    let extensions = String::from_utf8_lossy(&body[17..]).into_owned();
    for wanted in ["\u{2}\0\ta.example", "\u{20}\0", "\u{21}\0\u{7}TLSv1.3", "\u{22}\0\u{8}somebody", "TLS_AES_"] {
        assert!(extensions.contains(wanted), "{wanted:?} is not in {extensions:?}");
    }
    drop(proxy);
}

/// A server that speaks TLS, of an upstream that is told so, before a listener in clear.
fn speaking_tls(listen: SocketAddr, server: SocketAddr, tls: &str, more: &str) -> String {
    format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n\
         [upstream.u]\nservers = [{{ at = '{server}', name = 's' }}]\ntls = {{ {tls} }}\nretries = 0\n{more}"
    )
}

#[test]
fn servers_are_verified_and_one_with_another_certificate_is_down_and_it_is_said_why() {
    let [authority, stranger] = [Authority::new(), Authority::new()];
    let (listen, server) = (free_address(), tls_echo("s", authority.acceptor("server.example")));
    let ca = |authority: &Authority| format!("ca = {}", quoted(&authority.file()));
    let check = "check = { every = '1s', rise = 1, fall = 1 }\n";
    let good = format!("{}, name = 'server.example'", ca(&authority));
    let proxy = Proxy::serve(&speaking_tls(listen, server, &good, check));
    let mut stays = Client::connect(listen);
    stays.receive("s");
    stays.ask("verified");
    proxy.stands("u/s up");
    for (bad, why) in [
        (format!("{}, name = 'server.example'", ca(&stranger)), "TLS with server.example: "),
        (format!("{}, name = 'another.example'", ca(&authority)), "not valid for name"),
        // Its address is none of the names in its certificate.
        (ca(&authority), "TLS with 127.0.0.1: "),
    ] {
        proxy.reload(&speaking_tls(listen, server, &bad, check));
        proxy.stands("u/s down");
        proxy.stands(why);
        proxy.says(&["Server u/s is down: 1 checks in a row have failed: unreachable: TLS with "]);
        stays.ask("it goes on");
        Client::connect(listen).is_reset();
        proxy.reload(&speaking_tls(listen, server, &bad, ""));
        Client::connect(listen).is_reset();
        proxy.says(&["Server u/s cannot be reached", why]);
        proxy.notes(&["end=unreachable"]);
        proxy.reload(&speaking_tls(listen, server, &good, check));
        proxy.stands("u/s up");
    }
    proxy.reload(&speaking_tls(listen, server, "verify = false", check));
    Client::connect(listen).receive("s");
    stays.ask("it goes on");
}

#[test]
fn a_server_is_told_first_whose_connection_it_is_and_then_spoken_to_with_tls() {
    let (authority, listen, listener) = (Authority::new(), free_address(), upstream());
    let tls = format!("ca = {}, name = 'server.example', alpn = 'x'", quoted(&authority.file()));
    let _proxy = Proxy::serve(&speaking_tls(listen, address(&listener), &tls, "send_proxy = 'v1'\n"));
    let client = Client::connect(listen);
    let mut server = Client::of(listener.accept().unwrap().0);
    let port = client.0.local_addr().unwrap().port();
    server.receive(format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\n", listen.port()));
    let mut server = Tls::accept(server.0, &authority.acceptor("server.example")).unwrap();
    server.send("hello");
    let mut client = client;
    client.receive("hello");
}

#[test]
fn a_server_is_resumed_with_by_tls_12_until_the_proxy_is_replaced() {
    let (authority, listener) = (Authority::new(), upstream());
    let acceptor = authority.acceptor("server.example");
    for (version, resumes) in [("1.2", true), ("1.3", false)] {
        let tls = format!("ca = {}, name = 'server.example', versions = ['{version}']", quoted(&authority.file()));
        // Where the one before listened, that may not be closed yet.
        let listen = free_address();
        let proxy = Proxy::serve(&speaking_tls(listen, address(&listener), &tls, ""));
        for is_resumed in [false, resumes, resumes] {
            let mut client = Client::connect(listen);
            let mut server = Tls::accept(listener.accept().unwrap().0, &acceptor).unwrap();
            assert_eq!(server.facts.resumed, is_resumed, "{version}");
            client.send("question");
            server.receive("question");
            server.send("answer");
            client.receive("answer");
        }
        proxy.replace();
        let _client = Client::connect(listen);
        assert!(!Tls::accept(listener.accept().unwrap().0, &acceptor).unwrap().facts.resumed);
    }
}

/// Both ends of a connection through a proxy, on whose sides TLS is spoken or not.
struct Ends {
    proxy: Proxy,
    client: Side,
    server: Side,
    /// Whose files each process reads.
    _authority: Authority,
}

impl Ends {
    fn of(client_speaks: bool, server_speaks: bool) -> Self {
        let (authority, listen, listener) = (Authority::new(), free_address(), upstream());
        let tls = |speaks: bool, tls: String| if speaks { format!("tls = {{ {tls} }}\n") } else { String::new() };
        let ending = tls(client_speaks, format!("certificates = {}", quoted(&authority.certify("proxy.example"))));
        let speaking = tls(server_speaks, format!("ca = {}, name = 'server.example'", quoted(&authority.file())));
        let proxy = Proxy::serve(&format!(
            "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n{ending}\
             [upstream.u]\nservers = ['{}']\n{speaking}",
            address(&listener)
        ));
        let connector = authority.connector(Version::Tls13);
        let client = match client_speaks {
            true => Side::Tls(Tls::connect(listen, &connector, "proxy.example").into()),
            false => Side::Plain(Client::connect(listen)),
        };
        let accepted = listener.accept().unwrap().0;
        let server = match server_speaks {
            true => Side::Tls(Tls::accept(accepted, &authority.acceptor("server.example")).unwrap().into()),
            false => Side::Plain(Client::of(accepted)),
        };
        Self { proxy, client, server, _authority: authority }
    }
}

const SPEAKERS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

#[test]
fn an_end_is_passed_on_as_an_end_in_either_direction_and_the_other_goes_on() {
    for (client_speaks, server_speaks) in SPEAKERS {
        for client_is_first in [true, false] {
            let Ends { proxy, client, server, _authority } = Ends::of(client_speaks, server_speaks);
            let (mut first, mut last) = if client_is_first { (client, server) } else { (server, client) };
            first.send("a question");
            last.receive("a question");
            proxy.replace();
            first.send("the last");
            first.finish();
            last.receive("the last");
            last.ends();
            last.send("an answer");
            proxy.replace();
            last.send(" behind it");
            last.finish();
            first.receive("an answer behind it");
            first.ends();
            proxy.notes(&["end=finished", "takeovers=2"]);
        }
    }
}

#[test]
fn half_a_record_before_a_replacement_and_half_behind_it_are_one() {
    let Ends { proxy, client, server, _authority } = Ends::of(true, true);
    let (Side::Tls(mut client), Side::Tls(mut server)) = (client, server) else { panic!("both speak TLS") };
    for _ in 0..3 {
        let [of_client, of_server] = [client.send_half("a question"), server.send_half("an answer")];
        proxy.replace();
        client.send_rest(&of_client);
        server.send_rest(&of_server);
        server.receive("a question");
        client.receive("an answer");
        client.update();
        server.update();
    }
}

#[test]
fn an_end_without_a_word_is_passed_on_as_a_reset_and_not_as_an_end() {
    for (client_speaks, server_speaks) in SPEAKERS {
        for (cuts, word) in [(client_speaks, "end=client-tls"), (server_speaks, "end=server-tls")] {
            if !cuts {
                continue;
            }
            let Ends { proxy, client, server, _authority } = Ends::of(client_speaks, server_speaks);
            let (mut cut, mut other) = if word == "end=client-tls" { (client, server) } else { (server, client) };
            cut.send("half of some");
            other.receive("half of some");
            proxy.replace();
            let Side::Tls(tls) = &cut else { panic!("it speaks TLS") };
            tls.cut_off();
            other.is_cut_off();
            proxy.notes(&[word]);
        }
    }
}

#[test]
fn a_reset_of_whoever_speaks_no_tls_is_no_end_for_whoever_does() {
    let Ends { client, mut server, .. } = Ends::of(false, true);
    server.send("half of some");
    let Side::Plain(client) = client else { panic!("it speaks none") };
    client.reset();
    server.is_cut_off();
}

#[test]
fn thirty_megabytes_come_both_ways_unchanged_while_the_proxy_is_replaced_ten_times() {
    for version in VERSIONS {
        let (authority, listen) = (Authority::new(), free_address());
        let config =
            ending_tls(listen, &authority.certify("a.example"), tls_echo("s", authority.acceptor("s.example")));
        let tls = format!("tls = {{ ca = {}, name = 's.example' }}\n", quoted(&authority.file()));
        let proxy = Proxy::serve(&(config + &tls));
        let mut client = Tls::connect(listen, &authority.connector(version), "a.example");
        client.receive("s");
        for round in 0..10u64 {
            let mut random = fastrand::Rng::with_seed(round);
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3 << 20).collect();
            let received = std::thread::scope(|scope| {
                let exchanging = scope.spawn(|| client.exchange(&bytes));
                proxy.replace();
                exchanging.join().expect("it stands")
            });
            assert!(received == bytes, "{} bytes of other content", received.len());
        }
        client.finish();
        assert_eq!(client.read().unwrap(), b"");
        proxy.notes(&["end=finished", "takeovers=10"]);
    }
}

#[test]
fn nobody_fails_who_comes_while_the_proxy_is_replaced_and_is_led_to_a_server_that_speaks_tls() {
    let (authority, listen) = (Authority::new(), free_address());
    let config = ending_tls(listen, &authority.certify("a.example"), tls_echo("s", authority.acceptor("s.example")));
    let tls = format!("tls = {{ ca = {}, name = 's.example' }}\n", quoted(&authority.file()));
    let proxy = Proxy::serve(&(config + &tls));
    let (connector, is_over) = (authority.connector(Version::Tls13), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let over = OverAtEnd(&is_over);
        let come = || {
            let mut clients = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let mut client = Tls::connect(listen, &connector, "a.example");
                client.receive("s");
                client.ask("a question");
                clients.push(client);
            }
            clients.iter_mut().for_each(|client| client.ask("it goes on"));
            clients.len()
        };
        let coming = [scope.spawn(come), scope.spawn(come)];
        for _ in 0..10 {
            proxy.replace();
        }
        drop(over);
        assert!(coming.into_iter().all(|coming| coming.join().expect("nobody fails") > 0));
    });
}

#[test]
fn who_sends_and_does_not_read_is_waited_for_and_costs_no_memory() {
    for (client_speaks, server_speaks) in SPEAKERS {
        let Ends { proxy, mut client, server, _authority } = Ends::of(client_speaks, server_speaks);
        let is_taken = (0..4096).all(|_| client.is_taken("x".repeat(64 << 10)));
        assert!(!is_taken, "256 MiB are not taken for somebody who does not read");
        let pid = reactord::Status::of(&proxy.path()).unwrap().pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let rss_kb: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(rss_kb < 64 << 10, "{rss_kb} KiB are resident");
        proxy.replace();
        drop((server, client));
    }
}
