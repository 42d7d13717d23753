//! Drives the real client and the real soak where TLS is spoken, with the real server and with one that does not keep to the
//! rules.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use tempfile::TempDir;

const CLIENT: &str = env!("CARGO_BIN_EXE_reactord-client");

/// The server beside the client, where the build of the workspace puts it.
fn server() -> PathBuf {
    let server = Path::new(CLIENT).with_file_name("reactord");
    assert!(server.is_file(), "{} is not there: run `cargo build --workspace` first", server.display());
    server
}

/// What a run of the client has said.
#[derive(Debug)]
struct Said {
    exit_code: Option<i32>,
    table: String,
    log: String,
}

impl Said {
    fn assert_clean(&self) {
        let last = self.table.lines().last().unwrap_or_default();
        assert_eq!((self.exit_code, last), (Some(0), "0 lost, 0 discontinuities"), "{self:#?}");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            exit_code: output.status.code(),
            table: String::from_utf8(output.stdout).unwrap(),
            log: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The figures of a soak, in which nothing may be lost.
fn soaked(arguments: &str) -> Value {
    server();
    let directory = TempDir::new().unwrap();
    let json = directory.path().join("figures.json");
    let mut command = Command::new(CLIENT);
    command.args(["soak", "--tls"]).args(arguments.split_whitespace()).arg("--json").arg(&json);
    command.env_remove("CARGO").env("TMPDIR", directory.path());
    Said::from(command.output().unwrap()).assert_clean();
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["figures.json"], "the certificate is gone, too");
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

fn count(figures: &Value, name: &str) -> u64 {
    figures["tls"][name].as_u64().unwrap()
}

#[test]
fn clients_of_every_suite_go_on_through_takeovers_and_killed_successors() {
    let figures = soaked(
        "-n 240 --active 120 --rate 50 --fragmenting 60 --slow-readers 2 --churn 50 --takeovers 4 --interval 0.4 \
         --kill-successors 0.5 --seed 5",
    );
    let suites = figures["tls"]["suites"].as_object().unwrap();
    assert_eq!(suites.len(), 6, "{suites:?}");
    // Whoever passes resumes, as soon as one before has got a ticket.
    assert!(count(&figures, "handshakes") >= 240 && count(&figures, "resumed") > 0, "{figures:#}");
    assert_eq!(count(&figures, "closed"), count(&figures, "handshakes"));
    assert!(count(&figures, "keys_changed") > 0);
    assert!(count(&figures, "nonces") > 0);
    assert_eq!(count(&figures, "nonces_repeated"), 0);
    assert_eq!(figures["takeovers"].as_array().unwrap().len(), 4);
}

#[test]
fn clients_that_move_go_on_whoever_is_killed() {
    let figures = soaked("-n 240 --active 120 --rate 50 --moves 10 --kill-movers 0.5 --interval 0.1 --seed 4");
    assert_eq!(figures["moves"]["all"].as_array().unwrap().len(), 10);
    assert_eq!(count(&figures, "nonces_repeated"), 0);
    // Neither side says a last word on what has gone with a server.
    let gone = figures["connections_gone_with_server"].as_u64().unwrap();
    assert_eq!(count(&figures, "closed"), 240, "{gone} gone");
}

#[test]
fn every_nonce_is_seen_where_all_are_in_clear() {
    let figures = soaked("--tls-version 1.2 -n 60 --active 60 --rate 50 --upgrade --takeovers 2 --interval 0.3");
    let suites = figures["tls"]["suites"].as_object().unwrap();
    assert!(suites.len() == 3 && suites.keys().all(|suite| suite.starts_with("TLS_ECDHE_ECDSA_WITH_")), "{suites:?}");
    // Two of the three show them: in the end of each handshake, and in each record with answers.
    assert!(count(&figures, "nonces") >= 2 * 40, "{figures:#}");
    assert_eq!((count(&figures, "nonces_repeated"), count(&figures, "keys_changed")), (0, 0));
}

/// A certificate for `localhost` that has signed itself, and its key.
struct Certificate {
    directory: TempDir,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("chain.pem"), certificate.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { directory, certificate: certificate.der().clone(), key }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A reactord that speaks TLS.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(certificate: &Certificate) -> Self {
        let mut command = Command::new(server());
        command.args(["-p", "0", "-t"]).arg(certificate.file("takeover"));
        command.arg("--tls-cert").arg(certificate.file("chain.pem"));
        command.arg("--tls-key").arg(certificate.file("key.pem"));
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Starting TCP server on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it does not start");
        }
        // It is read on, so that the server can go on writing.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
        Self { process, address: ([127, 0, 0, 1], port).into() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn load(address: SocketAddr, arguments: &[&str], authorities: Option<PathBuf>) -> Said {
    let mut command = Command::new(CLIENT);
    command.args(["-p", &address.port().to_string(), "--tls"]).args(arguments);
    command.args(authorities.iter().flat_map(|file| ["--ca".as_ref(), file.as_os_str()]));
    command.output().unwrap().into()
}

/// The server's name is believed, and some messages come back.
const NAMED: [&str; 6] = ["--server-name", "localhost", "--duration", "0.3", "--rate", "50"];

#[test]
fn a_load_over_tls_comes_back_and_ends_with_a_word_of_both_sides() {
    let certificate = Certificate::new();
    let server = Server::start(&certificate);
    for more in [&["-n", "5", "--idle", "3"][..], &["-n", "5", "--fragment"], &["--tls-version", "1.2"]] {
        let said = load(server.address, &[&NAMED, more].concat(), Some(certificate.file("chain.pem")));
        said.assert_clean();
        let connections = said.table.lines().filter(|line| line.starts_with("connections "));
        let opened = |line: &str| line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap();
        let expected: u64 = connections.map(opened).sum();
        assert!(said.table.contains(&format!("{expected:>12} by both sides")), "{said:#?}");
        assert_eq!(said.table.contains("TLS nonces"), more.contains(&"1.2"), "{said:#?}");
    }
}

#[test]
fn a_server_that_cannot_be_believed_is_not_spoken_to() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let server = Server::start(&certificate);
    let other_name = NAMED.map(|word| if word == "localhost" { "elsewhere" } else { word });
    for (arguments, authorities, reason) in [
        (NAMED, Some(other.file("chain.pem")), "invalid peer certificate"),
        (other_name, Some(certificate.file("chain.pem")), "not valid for name"),
        (NAMED, Some(certificate.file("nowhere.pem")), "nowhere.pem: "),
    ] {
        let said = load(server.address, &arguments, authorities);
        assert_eq!((said.exit_code, said.table.as_str()), (Some(1), ""), "{said:#?}");
        assert!(said.log.contains(reason), "{said:#?}");
    }
}

/// What speaks TLS 1.2 with one client in a thread: whatever the script makes of the bytes is sent.
fn scripted(certificate: &Certificate, script: impl FnMut(&mut Vec<u8>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.certificate.clone()], certificate.key.clone_key())
        .unwrap();
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // What the client makes of an error is what the tests are about.
        drop(echo(&mut socket, connection, script));
    });
    address
}

/// Sends back what comes, and leaves when the client does, without a word.
fn echo(socket: &mut TcpStream, mut server: ServerConnection, mut script: impl FnMut(&mut Vec<u8>)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while server.read_tls(socket)? > 0 {
        server.process_new_packets().map_err(io::Error::other)?;
        while let Ok(bytes @ 1..) = server.reader().read(&mut buffer) {
            server.writer().write_all(&buffer[..bytes])?;
        }
        let mut out = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut out)?;
        }
        script(&mut out);
        socket.write_all(&out)?;
    }
    Ok(())
}

#[test]
fn a_server_that_leaves_without_a_word_has_lost_the_connection() {
    let certificate = Certificate::new();
    let address = scripted(&certificate, |_| {});
    let said = load(address, &NAMED, Some(certificate.file("chain.pem")));
    assert_eq!(said.exit_code, Some(1), "{said:#?}");
    assert!(said.log.contains("cut off without close_notify"), "{said:#?}");
    assert!(said.table.ends_with("0 lost, 0 discontinuities, 1 connections lost\n"), "{said:#?}");
}

#[test]
fn a_nonce_that_comes_again_is_seen() {
    let certificate = Certificate::new();
    let mut first = None;
    // That of the first record that is sealed is put in the place of that of each record of data.
    let address = scripted(&certificate, move |out| {
        if let Some(at) = out.windows(CHANGE_CIPHER_SPEC.len()).position(|bytes| bytes == CHANGE_CIPHER_SPEC) {
            first = out[at + CHANGE_CIPHER_SPEC.len() + 5..].first_chunk::<8>().copied();
        } else if let (Some(&23), Some(first)) = (out.first(), first) {
            out[5..13].copy_from_slice(&first);
        }
    });
    let said = load(address, &NAMED, Some(certificate.file("chain.pem")));
    assert_eq!(said.exit_code, Some(1), "{said:#?}");
    assert!(said.table.contains("2 seen, 1 of them twice"), "{said:#?}");
}

/// The record with which the keys begin (RFC 5246 section 7.1).
const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];
