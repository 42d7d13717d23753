//! OpenSSL as the other side, over sockets. Without the program `openssl` nothing is tested, and that is said.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use reactord_tls::{End, Handshake, Progress, Session};
use support::{ACCEPTOR, AUTHORITY, connector, ecdsa, restored};

fn openssl() -> Option<Command> {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no program `openssl`");
    }
    found.then(|| Command::new("openssl"))
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What comes from the socket, until the handshake is done.
fn shake_hands(mut handshake: Handshake, socket: &mut TcpStream, mut out: Vec<u8>) -> (Session, Vec<u8>) {
    let mut wire = Vec::new();
    loop {
        socket.write_all(&std::mem::take(&mut out)).unwrap();
        let mut buffer = [0; 4096];
        let bytes = socket.read(&mut buffer).unwrap();
        assert!(bytes > 0, "the other side ended during the handshake");
        wire.extend_from_slice(&buffer[..bytes]);
        let (taken, progress) = handshake.hear(&wire, &mut out).unwrap();
        wire.drain(..taken);
        if progress == Progress::Done {
            socket.write_all(&out).unwrap();
            return (handshake.finish().unwrap().session, wire);
        }
        if let Ok(saved) = handshake.save() {
            handshake = Handshake::restore(&ACCEPTOR, saved).unwrap();
        }
    }
}

/// The next data, or none when the other side ends or changes its key; the session moves whenever something came.
fn data(session: &mut Session, socket: &mut TcpStream, wire: &mut Vec<u8>) -> Vec<u8> {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    loop {
        let (_, before) = session.sequences();
        let taken = session.open(wire, &mut plain, &mut out).unwrap();
        wire.drain(..taken);
        socket.write_all(&std::mem::take(&mut out)).unwrap();
        *session = restored(session);
        if !plain.is_empty() || session.end() == End::Orderly || session.sequences().1 < before {
            return plain;
        }
        let mut buffer = [0; 4096];
        let bytes = socket.read(&mut buffer).unwrap();
        assert!(bytes > 0, "the other side cut it off");
        wire.extend_from_slice(&buffer[..bytes]);
    }
}

/// Sends back all that comes, until the client closes in order. Says when the client has changed its key, too.
fn echo(listener: &TcpListener) {
    let (mut socket, _) = listener.accept().unwrap();
    let (mut session, mut wire) = shake_hands(Handshake::accept(&ACCEPTOR).unwrap(), &mut socket, Vec::new());
    let mut out = Vec::new();
    while session.end() != End::Orderly {
        let (_, before) = session.sequences();
        let plain = data(&mut session, &mut socket, &mut wire);
        session.seal(&plain, &mut out).unwrap();
        if session.sequences().1 < before {
            session.seal(b"key changed\n", &mut out).unwrap();
        }
        socket.write_all(&std::mem::take(&mut out)).unwrap();
    }
    session.close(&mut out);
    socket.write_all(&out).unwrap();
}

/// Says a line to `s_client` and waits until this comes back.
fn says(stdin: &mut ChildStdin, stdout: &mut impl BufRead, line: &str, answer: &str) {
    // At once, for it takes what it reads at a time for one command.
    stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut heard = String::new();
    while heard.trim_end() != answer {
        heard.clear();
        assert!(stdout.read_line(&mut heard).unwrap() > 0, "s_client ended before {answer:?} came");
    }
}

#[test]
fn s_client_hears_what_it_said_whenever_keys_change() {
    let suites = [
        ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        // The share that it sends is of no use here, so it is asked for another one: a HelloRetryRequest.
        ["-tls1_3", "-groups", "P-521:P-256"],
        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
    ];
    for suite in suites {
        let Some(mut openssl) = openssl() else { return };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || echo(&listener));
        openssl
            .args(["s_client", "-quiet", "-no_ign_eof", "-servername", "localhost", "-connect", &address])
            .args(suite);
        let mut client =
            Ended(openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut stdin = client.0.stdin.take().unwrap();
        let mut stdout = BufReader::new(client.0.stdout.take().unwrap());
        says(&mut stdin, &mut stdout, "before", "before");
        for (command, line) in [("K", "after it asked for new keys"), ("k", "after it took a new key")] {
            // A line that begins so makes it change keys, and says nothing.
            if suite[0] == "-tls1_3" {
                says(&mut stdin, &mut stdout, command, "key changed");
            }
            says(&mut stdin, &mut stdout, line, line);
        }
        stdin.write_all(b"Q\n").unwrap();
        server.join().unwrap();
    }
}

/// `openssl s_server` that sends each line back reversed, and where it listens.
fn s_server(directory: &Path, arguments: &[&str]) -> Option<(Ended, String)> {
    let mut openssl = openssl()?;
    let (chain, key) = AUTHORITY.sign(&["localhost"], ecdsa());
    let (chain_path, key_path) = (directory.join("chain.pem"), directory.join("key.pem"));
    std::fs::write(&chain_path, chain).unwrap();
    std::fs::write(&key_path, key).unwrap();
    openssl.args(["s_server", "-rev", "-accept", "127.0.0.1:0", "-cert"]).arg(chain_path).arg("-key").arg(key_path);
    openssl.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Ended(openssl.spawn().unwrap());
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ACCEPT") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "s_server ended");
    }
    // It goes on to write there.
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    Some((server, line.trim_end().trim_start_matches("ACCEPT ").to_owned()))
}

#[test]
fn s_server_answers_a_client_that_moves_and_changes_keys() {
    for version in ["-tls1_3", "-tls1_2"] {
        let directory = tempfile::tempdir().unwrap();
        let Some((_server, address)) = s_server(directory.path(), &[version]) else { return };
        let mut socket = TcpStream::connect(address).unwrap();
        let mut hello = Vec::new();
        let handshake = Handshake::connect(&connector(), "localhost", &mut hello).unwrap();
        let (mut session, mut wire) = shake_hands(handshake, &mut socket, hello);
        for round in 0..6 {
            let mut out = Vec::new();
            session.seal(format!("round {round}\n").as_bytes(), &mut out).unwrap();
            session.update(round % 2 == 0, &mut out).unwrap();
            socket.write_all(&out).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\n") {
                answer.extend(data(&mut session, &mut socket, &mut wire));
            }
            assert_eq!(String::from_utf8(answer).unwrap(), format!("{round} dnuor\n"), "{version}");
        }
    }
}
