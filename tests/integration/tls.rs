//! Clients that speak TLS keep their connections through takeovers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use reactord_tls::{Connector, Version};

use crate::harness::{
    Authority, CertificateKey, PATIENCE, Peer, Place, ScriptedSuccessor, Server, Shaking, TlsPeer, copied, daemon,
    figure, kind, lines, ready,
};

const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];

/// A server of lines whose clients speak TLS.
pub(super) struct Spoken {
    pub(super) place: Place,
    pub(super) authority: Authority,
    options: String,
    pub(super) server: Server,
}

impl Spoken {
    fn serve(more: &str) -> Self {
        Self::serve_with(CertificateKey::Ecdsa, more)
    }

    pub(super) fn serve_with(key: CertificateKey, more: &str) -> Self {
        let (place, authority) = (Place::new(), Authority::new());
        let options = format!("{} {more}", authority.options_with(key, &place));
        let server = Server::serve(&place.path(), &format!("--service line {options}"));
        Self { place, authority, options, server }
    }

    fn connect(&self, version: Version) -> TlsPeer {
        TlsPeer::connect(self.server.address(), &self.authority.connector(version))
    }

    pub(super) fn taken_over(self) -> Self {
        Self { server: self.server.taken_over(&self.options), ..self }
    }
}

#[test]
fn clients_of_both_versions_go_on_with_half_sent_lines_and_half_sent_records() {
    let mut spoken = Spoken::serve("");
    let mut peers: Vec<TlsPeer> = (0..40).map(|number| spoken.connect(VERSIONS[number % 2])).collect();
    for round in 0..10 {
        let rests: Vec<Vec<u8>> = peers
            .iter_mut()
            .enumerate()
            .map(|(number, peer)| {
                peer.send(b"half ");
                if number % 4 < 2 {
                    peer.update();
                }
                peer.send_half(format!("a line {round}\n").as_bytes())
            })
            .collect();
        spoken = spoken.taken_over();
        for (peer, rest) in peers.iter_mut().zip(rests) {
            peer.send_raw(&rest);
            peer.expect(format!("half a line {round}\n").as_bytes());
            peer.send_in_pieces(b"in pieces\n", 3);
            peer.expect(b"in pieces\n");
        }
    }
    for peer in &mut peers {
        peer.end_sending();
        peer.expect_end();
    }
    spoken.server.stop();
}

#[test]
fn who_reads_slowly_gets_every_byte_that_was_sealed_before_and_after() {
    for version in VERSIONS {
        let mut spoken = Spoken::serve("");
        let mut peer = spoken.connect(version);
        let bytes = lines(1, 24 << 20);
        let rest = peer.send_until_slow(&bytes);
        spoken = spoken.taken_over();
        let summary = spoken.server.wait_for_line(|line| line.contains("Took over "));
        assert!(figure(&summary, " bytes") > 64 * 1024, "sealed output travels: {summary}");
        spoken = spoken.taken_over();
        peer.expect_while_sending(&bytes, &rest);
        peer.end_sending();
        peer.expect_end();
        spoken.server.stop();
    }
}

#[test]
fn no_handshake_fails_while_takeovers_run() {
    let mut spoken = Spoken::serve("");
    let (address, connector) = (spoken.server.address(), spoken.authority.connector(Version::Tls13));
    let goes_on = AtomicBool::new(true);
    let (spoken, handshakes): (Spoken, usize) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut handshakes = 0;
                    while goes_on.load(Ordering::Relaxed) || handshakes == 0 {
                        let mut peer = TlsPeer::connect(address, &connector);
                        peer.send(b"a line\n");
                        peer.expect(b"a line\n");
                        handshakes += 1;
                    }
                    handshakes
                })
            })
            .collect();
        for _ in 0..10 {
            spoken = spoken.taken_over();
        }
        goes_on.store(false, Ordering::Relaxed);
        (spoken, clients.into_iter().map(|client| client.join().expect("no client fails")).sum())
    });
    assert!(handshakes >= 4);
    assert!(!spoken.server.log().contains("handshake"), "{}", spoken.server.log());
    spoken.server.stop();
}

#[test]
fn a_certificate_is_changed_by_a_takeover_and_nobody_is_cut_off() {
    let mut spoken = Spoken::serve("");
    let mut old = spoken.connect(Version::Tls13);
    let first = old.facts().certificates.clone();
    spoken.authority.options(&spoken.place);
    spoken = spoken.taken_over();
    let new = spoken.connect(Version::Tls13);
    assert!(!first.is_empty() && new.facts().certificates != first);
    old.send(b"still here\n");
    old.expect(b"still here\n");
    spoken.server.stop();
}

#[test]
fn a_successor_that_has_no_certificate_takes_nothing_over_and_says_why() {
    let spoken = Spoken::serve("");
    let mut peer = spoken.connect(Version::Tls12);
    let (_, log) = Server::take_over(&spoken.place.path(), "").output(3);
    assert!(log.contains("speak TLS, and this process was given no certificate"), "{log}");
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    spoken.server.stop();
}

#[test]
fn only_who_has_a_certificate_is_served_where_one_is_wanted() {
    let (place, [authority, of_clients]) = (Place::new(), [Authority::new(), Authority::new()]);
    let options = authority.options(&place);
    let options = format!("{options} --tls-client-ca {}", of_clients.file(&place).display());
    let mut server = Server::serve(&place.path(), &format!("--service line {options}"));
    let good = authority.connector_with_certificate(&of_clients);
    let mut peer = TlsPeer::connect(server.address(), &good);
    let served = |connector: &Connector| {
        let connected = TlsPeer::try_connect(server.address(), connector).map_err(|why| why.to_string());
        connected.and_then(|mut peer| match peer.failure() {
            why if why.contains("ended it") || why.contains("reset") => Err(why),
            why => Ok(why),
        })
    };
    for bad in [authority.connector(Version::Tls13), authority.connector_with_certificate(&authority)] {
        served(&bad).expect_err("it has no certificate of that authority");
    }
    server = server.taken_over(&options);
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    TlsPeer::connect(server.address(), &good).send(b"another\n");
    server.stop();
}

#[test]
fn whoever_breaks_the_protocol_is_told_so_and_nobody_else_is_disturbed() {
    let spoken = Spoken::serve("");
    let mut good = spoken.connect(Version::Tls13);
    // Not TLS at all, and half of a first record.
    let mut plain = TcpStream::connect(spoken.server.address()).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut alert = Vec::new();
    plain.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "it is an alert: {alert:?}");
    let _silent = Peer::connect(spoken.server.address());
    for version in VERSIONS {
        let mut peer = spoken.connect(version);
        let mut record = peer.send_half(b"a line\n");
        record[3] ^= 1;
        peer.send_raw(&record);
        let why = peer.failure();
        assert!(why.contains("bad_record_mac"), "{why}");
    }
    spoken.server.wait_for_lines(2, |line| line.contains("WARN") && line.contains("broke the protocol"));
    good.send(b"a line\n");
    good.expect(b"a line\n");
    spoken.server.stop();
}

#[test]
fn whoever_is_cut_off_is_told_apart_from_who_ends() {
    let spoken = Spoken::serve("-v");
    let mut cut = spoken.connect(Version::Tls13);
    cut.send(b"half a line");
    cut.cut_off();
    spoken.server.wait_for_line(|line| line.contains("TLS: the connection ends without a word"));
    let mut orderly = spoken.connect(Version::Tls13);
    orderly.send(b"a line\n");
    orderly.end_sending();
    orderly.expect(b"a line\n");
    orderly.expect_end();
    spoken.server.stop();
}

#[test]
fn what_is_wrong_with_the_files_is_named() {
    let (place, authority) = (Place::new(), Authority::new());
    let options = authority.options(&place);
    let (path, chain, key) = (place.path(), place.file("chain.pem"), place.file("key.pem"));
    let complaint = |options: &str| {
        let before = ["-p", "0", "-t", path.to_str().expect("the path is text")];
        let (_, log) = Server::run(&[&before[..], &options.split(' ').collect::<Vec<_>>()].concat()).output(2);
        log
    };
    let log = complaint(&format!("--tls-cert {}", chain.display()));
    assert!(log.contains("--tls-cert needs both --tls-cert and --tls-key"), "{log}");
    let log = complaint(&format!("{options} --wait {}", place.file("other").display()));
    assert!(log.contains("--tls-cert is for who lets clients in"), "{log}");
    std::fs::write(&key, "no key").unwrap();
    let log = complaint(&options);
    assert!(log.contains("key.pem"), "{log}");
    std::fs::remove_file(&key).unwrap();
    let log = complaint(&options);
    assert!(log.contains("key.pem") && log.contains("No such file"), "{log}");
}

#[test]
fn a_server_that_stops_says_so_to_who_is_idle() {
    let spoken = Spoken::serve("");
    let mut peer = spoken.connect(Version::Tls13);
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    spoken.server.signal(Signal::SIGTERM);
    peer.expect_end();
    drop(peer);
    assert_eq!(spoken.server.exit_code(), 0);
}

#[test]
fn a_successor_that_would_serve_in_clear_where_tls_was_spoken_takes_nothing_over() {
    let spoken = Spoken::serve("");
    let mut peer = spoken.connect(Version::Tls13);
    let path = spoken.place.path();
    let port = spoken.server.address().port().to_string();
    let arguments =
        ["--or-take-over", "-p", &port, "--service", "line", "-t", path.to_str().expect("the path is text")];
    let (_, log) = Server::run(&arguments).output(3);
    assert!(log.contains("speak TLS, and this process was given no certificate"), "{log}");
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    spoken.server.stop();
}

#[test]
fn who_ends_behind_what_is_not_handled_yet_gets_all_answers() {
    for version in VERSIONS {
        let mut spoken = Spoken::serve("");
        let mut peer = spoken.connect(version);
        let bytes = lines(1, 24 << 20);
        let mut rest = peer.send_until_slow(&bytes);
        rest.extend(peer.last_word());
        spoken = spoken.taken_over();
        peer.expect_while_sending(&bytes, &rest);
        peer.expect_end();
        spoken.server.stop();
    }
}

/// Where clients are in their handshakes, one of each: before the first word, in the middle of it, and, with TLS 1.3, after the
/// server has answered, in the middle of the last word.
fn in_the_middle(spoken: &Spoken) -> Vec<Shaking> {
    let begun = |version, said: &[usize]| {
        let mut shaking = Shaking::connect(spoken.server.address(), &spoken.authority.connector(version));
        for (number, bytes) in said.iter().enumerate() {
            if number > 0 {
                shaking.hear();
            }
            shaking.say(*bytes);
        }
        shaking
    };
    let [new, old] = VERSIONS;
    vec![
        begun(new, &[]),
        begun(new, &[3]),
        begun(new, &[100]),
        begun(new, &[usize::MAX, 0]),
        begun(new, &[usize::MAX, 4]),
        begun(old, &[]),
        begun(old, &[100]),
    ]
}

#[test]
fn handshakes_go_on_in_the_successor_wherever_they_are() {
    let mut spoken = Spoken::serve("");
    let all = in_the_middle(&spoken);
    let peers = (spoken.server.address(), spoken.authority.connector(Version::Tls13));
    // Somebody whose handshake is over shows that all of them have come in.
    drop(TlsPeer::connect(peers.0, &peers.1));
    for _ in 0..3 {
        spoken = spoken.taken_over();
    }
    for shaking in all {
        let mut peer = shaking.finish();
        peer.send(b"a line\n");
        peer.expect(b"a line\n");
    }
    assert!(!spoken.server.log().contains("handshake"), "{}", spoken.server.log());
    spoken.server.wait_for_line(|line| line.contains("Took over 0 peers"));
    spoken.server.stop();
}

#[test]
fn a_handshake_that_is_lost_at_a_takeover_has_failed() {
    let mut spoken = Spoken::serve("");
    let mut stalled = Shaking::connect(spoken.server.address(), &spoken.authority.connector(Version::Tls12));
    stalled.say(usize::MAX);
    stalled.hear();
    spoken = spoken.taken_over();
    let output = daemon().arg("status").arg(spoken.place.path()).output().unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    assert!(status.contains("TLS handshakes: 0 under way, 0 done, 1 failed, 0 crowded out"), "{status}");
    spoken.server.stop();
}

#[test]
fn a_takeover_that_fails_leaves_handshakes_where_they_were() {
    let spoken = Spoken::serve("");
    let all = in_the_middle(&spoken);
    drop(spoken.connect(Version::Tls13));
    for _ in 0..2 {
        let mut successor = ScriptedSuccessor::welcomed(&spoken.place.path(), "line");
        successor.copy();
        successor.freeze();
    }
    spoken.server.wait_for_lines(2, |line| line.contains("WARN") && line.contains("failed"));
    for shaking in all {
        let mut peer = shaking.finish();
        peer.send(b"a line\n");
        peer.expect(b"a line\n");
    }
    spoken.server.stop();
}

#[test]
fn who_has_been_shown_the_old_certificate_comes_to_the_end_of_its_handshake_before_the_new_one_is_shown() {
    let mut spoken = Spoken::serve("");
    let connector = spoken.authority.connector(Version::Tls13);
    let mut shown = Shaking::connect(spoken.server.address(), &connector);
    shown.say(usize::MAX);
    shown.hear();
    let silent = Shaking::connect(spoken.server.address(), &connector);
    let before = spoken.authority.options(&spoken.place);
    assert_eq!(before, spoken.options.trim(), "it is another certificate in the same files");
    let successor = Server::take_over(&spoken.place.path(), &spoken.options);
    let mut shown = shown.finish();
    spoken.server = spoken.server.taken_over_by(successor);
    let mut silent = silent.finish();
    for peer in [&mut shown, &mut silent] {
        peer.send(b"a line\n");
        peer.expect(b"a line\n");
    }
    assert_ne!(shown.facts().certificates, silent.facts().certificates);
    spoken.server.stop();
}

#[test]
fn a_successor_that_is_slow_in_each_round_waits_once_for_who_never_ends_its_handshake() {
    let spoken = Spoken::serve("");
    let mut stalled = Shaking::connect(spoken.server.address(), &spoken.authority.connector(Version::Tls12));
    stalled.say(usize::MAX);
    stalled.hear();
    let mut successor = ScriptedSuccessor::welcomed(&spoken.place.path(), "line");
    successor.copy();
    successor.send(&ready());
    let mut rounds = 0;
    loop {
        let frame = successor.receive();
        match frame.kind {
            kind::COMMIT => break,
            kind::ROUND => {
                rounds += 1;
                assert!(rounds <= 3, "the time that it is waited for begins anew with each");
                // Longer than who keeps up takes.
                std::thread::sleep(Duration::from_millis(200));
                let (number, last) = frame.round();
                successor.send(&if last { ready() } else { copied(0, number) });
            }
            _ => {}
        }
    }
    drop(successor);
    spoken.server.wait_for_line(|line| line.contains("WARN") && line.contains("failed"));
    spoken.server.stop();
}

#[test]
fn who_takes_over_in_clear_and_was_given_a_certificate_takes_nothing_over_and_says_why() {
    let (place, authority) = (Place::new(), Authority::new());
    let server = Server::serve(&place.path(), "--service line");
    let peer = Peer::connect(server.address());
    let (_, log) = Server::take_over(&place.path(), &authority.options(&place)).output(3);
    assert!(log.contains("are served in clear, and this process was given a certificate for them"), "{log}");
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    server.stop_with([peer]);
}

#[test]
fn who_speaks_no_tls_is_told_so_however_much_it_goes_on_to_say() {
    let spoken = Spoken::serve("");
    let mut plain = TcpStream::connect(spoken.server.address()).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut alert = [0; 7];
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    plain.read_exact(&mut alert).unwrap();
    plain.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(plain.read(&mut [0; 1]).unwrap(), 0, "it has ended, and is not reset");
    assert_eq!(alert[0], 21, "it is an alert: {alert:?}");
    spoken.server.stop();
}

#[test]
fn whoever_says_nothing_keeps_nobody_out() {
    let spoken = Spoken::serve("");
    let silent: Vec<TcpStream> =
        (0..2100).map(|_| TcpStream::connect(spoken.server.address()).expect("it listens")).collect();
    let mut peer = spoken.connect(Version::Tls13);
    peer.send(b"a line\n");
    peer.expect(b"a line\n");
    spoken.server.wait_for_line(|line| line.contains("2048 TLS handshakes are under way"));
    drop(silent);
    spoken.server.stop();
}
