//! Programs and libraries of other people keep their TLS connections through takeovers: both versions, every suite, both kinds
//! of certificates, while others keep the server busy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustls::CipherSuite;

use super::tls::Spoken;
use crate::harness::{CertificateKey, PATIENCE, RustlsPeer, StopAtEnd, lines, skip};

const TAKEOVERS: usize = 10;

/// From one line of somebody who keeps the server busy to the next.
const PACE: Duration = Duration::from_millis(1);

/// A suite as a client names it.
#[derive(Clone, Copy)]
struct Suite {
    /// The options of `openssl s_client` with which no other one can be agreed on.
    openssl: [&'static str; 3],
    rustls: CipherSuite,
}

const fn of_1_3(name: &'static str, rustls: CipherSuite) -> Suite {
    Suite { openssl: ["-tls1_3", "-ciphersuites", name], rustls }
}

const fn of_1_2(name: &'static str, rustls: CipherSuite) -> Suite {
    Suite { openssl: ["-tls1_2", "-cipher", name], rustls }
}

const TLS_1_3: [Suite; 3] = [
    of_1_3("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    of_1_3("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    of_1_3("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

const TLS_1_2_ECDSA: [Suite; 3] = [
    of_1_2("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    of_1_2("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    of_1_2("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];

const TLS_1_2_RSA: [Suite; 3] = [
    of_1_2("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    of_1_2("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    of_1_2("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// All that a server with such a certificate can agree on.
fn suites(key: CertificateKey) -> [Suite; 6] {
    let [a, b, c] = TLS_1_3;
    let [d, e, f] = match key {
        CertificateKey::Ecdsa => TLS_1_2_ECDSA,
        CertificateKey::Rsa => TLS_1_2_RSA,
    };
    [a, b, c, d, e, f]
}

/// Lets clients of rustls talk, one of each suite, who change their keys now and then, while something is done.
fn under_load(spoken: Spoken, key: CertificateKey, work: impl FnOnce(Spoken) -> Spoken) -> Spoken {
    let (address, stop) = (spoken.server.address(), AtomicBool::new(false));
    let authority = spoken.authority.pem.clone();
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let (authority, stop) = (&authority, &stop);
        let talkers = suites(key).map(|suite| scope.spawn(move || talk(address, authority, suite.rustls, stop)));
        let spoken = work(spoken);
        stop.store(true, Ordering::Relaxed);
        talkers.into_iter().for_each(|talker| talker.join().expect("no client fails"));
        spoken
    })
}

fn talk(address: SocketAddr, authority: &str, suite: CipherSuite, stop: &AtomicBool) {
    let mut peer = RustlsPeer::connect(address, authority, suite);
    let said = lines(7, 40_000);
    for number in 0_usize.. {
        let line = &said[..said.len() - number * 7919 % 30_000];
        let whole = line.iter().rposition(|byte| *byte == b'\n').expect("there are lines") + 1;
        peer.exchange(&line[..whole]);
        if number % 5 == 0 {
            peer.update();
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(PACE);
    }
    peer.end();
}

#[test]
fn rustls_goes_on_with_every_suite_and_changes_its_keys() {
    for key in [CertificateKey::Ecdsa, CertificateKey::Rsa] {
        let spoken = Spoken::serve_with(key, "");
        let taken_over = |spoken| (0..TAKEOVERS).fold(spoken, |spoken: Spoken, _| spoken.taken_over());
        let spoken = under_load(spoken, key, taken_over);
        assert_eq!(spoken.server.lines_with("WARN"), [""; 0]);
        spoken.server.stop();
    }
}

/// Another program as a client, line by line.
struct Client {
    _program: Ended,
    /// None when it has been told that nothing more comes.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("the program was found before");
        let input = program.stdin.take();
        let output = BufReader::new(program.stdout.take().expect("it has an output"));
        let (said, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { _program: Ended(program), input, lines }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it has not ended");
        input.write_all(line.as_bytes()).expect("it takes a line");
    }

    /// Waits for this line, whatever it says before.
    #[track_caller]
    fn hears(&self, wanted: &str) {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line == wanted => return,
                Ok(line) => before.push(line),
                Err(error) => panic!("{wanted:?}: {error} after {before:#?}"),
            }
        }
    }
}

fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skip(&format!("{program} is not installed"));
    }
    is_there
}

/// A client of this server, which offers one suite.
fn s_client(address: SocketAddr, authority: &Path, suite: Suite, options: &[&str]) -> Command {
    // What it says of its commands is no output.
    let mut openssl = Command::new("sh");
    openssl.args(["-c", "exec openssl \"$@\" 2>&1", "sh", "s_client", "-connect", &address.to_string()]);
    openssl.args(["-servername", "localhost", "-verify_return_error", "-CAfile"]).arg(authority);
    openssl.args(suite.openssl).args(options);
    openssl
}

#[track_caller]
fn openssl_goes_on(key: CertificateKey) {
    if !is_there("openssl") {
        return;
    }
    let spoken = Spoken::serve_with(key, "");
    let (address, authority) = (spoken.server.address(), spoken.authority.file(&spoken.place));
    let start = |suite| (suite, Client::start(&mut s_client(address, &authority, suite, &[])));
    let mut clients = suites(key).map(start);
    for (_, client) in &mut clients {
        client.say("first\n");
        client.hears("first");
    }
    let spoken = under_load(spoken, key, |mut spoken| {
        for takeover in 0..TAKEOVERS {
            for (suite, client) in &mut clients {
                change_keys(client, *suite, takeover);
                client.say("half a ");
            }
            spoken = spoken.taken_over();
            for (suite, client) in &mut clients {
                client.say("line\n");
                client.hears("half a line");
                change_keys(client, *suite, takeover);
            }
        }
        spoken
    });
    drop(clients);
    spoken.server.stop();
}

/// It changes its own key, or has both sides change theirs, if the version has that.
fn change_keys(client: &mut Client, suite: Suite, takeover: usize) {
    if suite.openssl[0] == "-tls1_3" {
        client.say(if takeover.is_multiple_of(2) { "K\n" } else { "k\n" });
        client.hears("KEYUPDATE");
    }
}

#[test]
fn openssl_goes_on_with_every_suite_and_changes_its_keys() {
    openssl_goes_on(CertificateKey::Ecdsa);
}

#[test]
fn openssl_goes_on_with_every_suite_of_an_rsa_certificate_and_changes_its_keys() {
    openssl_goes_on(CertificateKey::Rsa);
}

/// Has so many bytes echoed to a client for each suite, a tenth of them around each takeover: in both directions, they are on
/// their way while it runs.
#[track_caller]
fn openssl_has_bytes_echoed(key: CertificateKey, bytes: usize) {
    if !is_there("openssl") {
        return;
    }
    let mut spoken = Spoken::serve_with(key, "");
    let said = &lines(3, bytes);
    let (address, authority) = (spoken.server.address(), spoken.authority.file(&spoken.place));
    let start = |suite| {
        // Told to be quiet, it takes no line for a command.
        let mut openssl = s_client(address, &authority, suite, &["-quiet"]);
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program was found before")
    };
    let mut clients = suites(key).map(|suite| Ended(start(suite)));
    let spoken = std::thread::scope(|scope| {
        let (mut pieces, mut readers) = (Vec::new(), Vec::new());
        for client in &mut clients {
            let (mut stdin, stdout) = (client.0.stdin.take().expect("it is a pipe"), client.0.stdout.take());
            let (piece, coming) = channel::<&[u8]>();
            pieces.push(piece);
            scope.spawn(move || coming.iter().try_for_each(|piece| stdin.write_all(piece)).expect("it listens"));
            readers.push(scope.spawn(move || echoed(&mut stdout.expect("it is a pipe"), said.len())));
        }
        for piece in said.chunks(said.len().div_ceil(TAKEOVERS)) {
            pieces.iter().for_each(|client| client.send(piece).expect("it lives"));
            spoken = spoken.taken_over();
        }
        for reader in readers {
            let echoed = reader.join().expect("it reads");
            assert!(echoed == *said, "{} bytes came back, {} were sent", echoed.len(), said.len());
        }
        spoken
    });
    drop(clients);
    spoken.server.stop();
}

/// What it says behind what it says of the certificate.
fn echoed(stdout: &mut impl Read, bytes: usize) -> Vec<u8> {
    let mut stdout = BufReader::new(stdout);
    let mut heard = Vec::new();
    while stdout.read_until(b'\n', &mut heard).expect("it can be read") > 0 {
        if !heard.starts_with(b"verify ") && !heard.starts_with(b"depth=") {
            break;
        }
        heard.clear();
    }
    let left = bytes.saturating_sub(heard.len()) as u64;
    stdout.take(left).read_to_end(&mut heard).expect("it can be read");
    heard
}

/// A program that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn openssl_hears_every_byte_of_a_megabyte_on_its_way_in_takeovers() {
    openssl_has_bytes_echoed(CertificateKey::Ecdsa, 1 << 20);
}

/// `cargo test --release --test integration -- --ignored thirty_megabytes`
#[test]
#[ignore = "it takes a minute"]
fn openssl_hears_every_byte_of_thirty_megabytes_on_their_way_in_takeovers() {
    for key in [CertificateKey::Ecdsa, CertificateKey::Rsa] {
        openssl_has_bytes_echoed(key, 30 << 20);
    }
}

/// Connections with these suites, each of which has a megabyte echoed for each line of its input.
const ECHOES: &str = r#"
import os, socket, ssl, sys
host, port, authority, *suites = sys.argv[1:]
connections = []
for suite in suites:
    context = ssl.create_default_context(cafile=authority)
    # Those of TLS 1.3 cannot be chosen here.
    of_1_3 = suite.startswith("TLS_")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3 if of_1_3 else ssl.TLSVersion.TLSv1_2
    if not of_1_3:
        context.set_ciphers(suite)
    connection = context.wrap_socket(socket.create_connection((host, int(port)), 30), server_hostname="localhost")
    connections.append(connection)
for line in sys.stdin:
    for piece in range(20):
        data = b"\n".join(os.urandom(50).hex().encode() for _ in range(500)) + b"\n"
        for connection in connections:
            connection.sendall(data)
        for connection in connections:
            received = b""
            while len(received) < len(data):
                received += connection.recv(65536) or sys.exit("the end came too early")
            assert received == data
    print("echoed", flush=True)
for connection in connections:
    connection.unwrap().close()
print("ended", flush=True)
"#;

#[track_caller]
fn python_has_every_byte_echoed(key: CertificateKey) {
    if !is_there("python3") {
        return;
    }
    let spoken = Spoken::serve_with(key, "");
    let authority = spoken.authority.file(&spoken.place);
    let address = spoken.server.address();
    let mut python = Command::new("python3");
    python.args(["-c", ECHOES, &address.ip().to_string(), &address.port().to_string()]).arg(&authority);
    python.args(suites(key).map(|suite| suite.openssl[2]));
    let mut client = Client::start(&mut python);
    client.say("go\n");
    client.hears("echoed");
    let spoken = under_load(spoken, key, |mut spoken| {
        for _ in 0..TAKEOVERS / 2 {
            client.say("go\n");
            spoken = spoken.taken_over();
            spoken = spoken.taken_over();
            client.hears("echoed");
        }
        spoken
    });
    client.input = None;
    client.hears("ended");
    spoken.server.stop();
}

#[test]
fn python_has_every_byte_echoed_while_takeovers_run() {
    python_has_every_byte_echoed(CertificateKey::Ecdsa);
}

#[test]
fn python_has_every_byte_echoed_while_takeovers_run_and_the_certificate_is_for_rsa() {
    python_has_every_byte_echoed(CertificateKey::Rsa);
}
