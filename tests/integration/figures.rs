//! What a server tells of itself and of its peers: over HTTP, and to the commands that ask for more than its status.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{PATIENCE, Peer, Place, Server, daemon, exchange_all, lines, python_with, skip};

/// What a command says that asks the server at this path.
fn ask(command: &str, path: &Path, arguments: &[&str]) -> Output {
    daemon().arg(command).arg(path).args(arguments).output().unwrap()
}

#[track_caller]
fn said(command: &str, path: &Path, arguments: &[&str]) -> String {
    let output = ask(command, path, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A connection on which pages are asked for.
struct Browser(TcpStream);

impl Browser {
    fn on(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// The code and the body of a page.
    #[track_caller]
    fn get(&mut self, page: &str) -> (u16, String) {
        self.0.write_all(format!("GET {page} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), String::from_utf8(body).unwrap())
    }

    /// A figure of a scrape.
    #[track_caller]
    fn figure(&mut self, name: &str) -> u64 {
        let (code, scrape) = self.get("/metrics");
        assert_eq!(code, 200);
        let line = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {scrape}")).parse().unwrap()
    }
}

#[test]
fn a_server_tells_its_figures_over_http_and_its_successor_counts_on() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "--metrics 127.0.0.1:0");
    let mut browser = Browser::on(first.address_as("metrics"));
    assert_eq!(browser.get("/healthz").0, 200);
    assert_eq!(browser.get("/readyz"), (200, "ready\n".to_owned()));
    let mut peers = Peer::connect_many(first.address_as("seqnum"), 3);
    exchange_all(&mut peers);
    let received = browser.figure("reactord_received_bytes_total{service=\"seqnum\"}");
    assert!(received >= 12 && received == browser.figure("reactord_sent_bytes_total{service=\"seqnum\"}"));
    assert_eq!(browser.figure("reactord_peers{service=\"seqnum\"}"), 3);

    let second = first.taken_over("");
    exchange_all(&mut peers);
    // On the same connection.
    assert_eq!(browser.figure("reactord_generation"), 2);
    assert_eq!(browser.figure("reactord_accepted_total{service=\"seqnum\"}"), 3);
    assert_eq!(browser.figure("reactord_received_bytes_total{service=\"seqnum\"}"), 2 * received);
    assert_eq!(browser.figure("reactord_takeovers_total"), 1);
    assert_eq!(browser.figure("reactord_takeover_pause_seconds_count"), 1);
    assert_eq!(Browser::on(second.address_as("metrics")).figure("reactord_pid"), u64::from(second.pid()));
    second.stop_with(peers);
}

#[test]
fn a_successor_tells_its_figures_also_where_its_predecessor_told_none_and_elsewhere() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(first.address(), 1);
    exchange_all(&mut peers);
    let second = first.taken_over("--metrics 127.0.0.1:0");
    assert_eq!(Browser::on(second.address_as("metrics")).figure("reactord_generation"), 2);
    let third = second.taken_over("--metrics 127.0.0.2:0");
    let address = third.address_as("metrics");
    assert_eq!(address.ip().to_string(), "127.0.0.2");
    assert_eq!(Browser::on(address).figure("reactord_generation"), 3);
    exchange_all(&mut peers);
    third.stop_with(peers);
}

#[test]
fn a_server_that_is_full_tells_its_figures_all_the_same() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--metrics 127.0.0.1:0 --max-peers 2");
    let address = server.address_as("seqnum");
    let mut peers = Peer::connect_many(address, 2);
    exchange_all(&mut peers);
    let mut third = Peer::connect(address);
    server.wait_for_line(|line| line.contains("Accepting pauses with 2 peers"));
    let mut browsers = [(); 3].map(|()| Browser::on(server.address_as("metrics")));
    for browser in &mut browsers {
        assert_eq!(browser.figure("reactord_peers{service=\"seqnum\"}"), 2);
    }
    drop(peers.pop());
    third.exchange();
    assert_eq!(browsers[0].figure("reactord_peers{service=\"seqnum\"}"), 2, "those who scrape do not count");
    peers.push(third);
    server.stop_with(peers);
}

/// Reads an exposition as Prometheus' own library does, and names each family with its kind and each figure with its value.
const READ_EXPOSITION: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.type, family.name)
    for sample in family.samples:
        print('figure', sample.name, sample.value)
";

#[test]
fn what_a_server_tells_is_understood_by_the_parser_of_prometheus() {
    let Some(mut python) = python_with("prometheus_client.parser", "prometheus_client") else { return };
    let place = Place::new();
    let first = Server::serve(&place.path(), "--metrics 127.0.0.1:0");
    let server = first.taken_over("");
    let (code, scrape) = Browser::on(server.address_as("metrics")).get("/metrics");
    assert_eq!(code, 200);
    let command = python.args(["-c", READ_EXPOSITION]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parser = command.spawn().unwrap();
    parser.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success());
    let read = String::from_utf8(output.stdout).unwrap();
    let (figures, families): (Vec<&str>, Vec<&str>) = read.lines().partition(|line| line.starts_with("figure "));
    let kinds = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        // The library names a counter without its suffix.
        format!("{kind} {}", name.strip_suffix("_total").unwrap_or(name))
    });
    assert_eq!(families, kinds.collect::<Vec<_>>());
    assert_eq!(figures.len(), scrape.lines().filter(|line| !line.starts_with('#')).count());
    assert!(figures.contains(&"figure reactord_generation 2"), "{read}");
    server.stop();
}

#[test]
fn who_is_held_back_is_counted_and_named_with_the_reason() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let stuck = Peer::connect(server.address());
    stuck.send_until_stuck(&server, &lines(1, 64 << 20));
    let status: serde_json::Value = serde_json::from_str(&said("status", &place.path(), &["--json"])).unwrap();
    let held = &status["services"][0]["held"];
    assert_eq!((held["any"].as_u64(), held["output"].as_u64(), held["asked"].as_u64()), (Some(1), Some(1), Some(0)));
    assert!(
        said("status", &place.path(), &[]).contains("line: 1 peers of ") && status["sent_bytes"].as_u64() > Some(0)
    );
    let peers = said("peers", &place.path(), &[]);
    assert!(peers.lines().nth(1).unwrap().ends_with(" held:output"), "{peers}");
    let second = server.taken_over("");
    let status: serde_json::Value = serde_json::from_str(&said("status", &place.path(), &["--json"])).unwrap();
    assert_eq!(status["services"][0]["held"]["output"].as_u64(), Some(1));
    second.stop_with([]);
}

#[test]
fn peers_are_listed_one_a_line_with_what_is_known_of_each() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(first.address(), 100);
    exchange_all(&mut peers);
    let second = first.taken_over("");
    exchange_all(&mut peers);
    let text = said("peers", &place.path(), &[]);
    assert_eq!(text.lines().count(), 101, "{text}");
    assert!(text.starts_with("ADDRESS SERVICE AGE BYTES-IN BYTES-OUT PENDING-IN PENDING-OUT PHASE\n"), "{text}");
    for peer in &peers {
        let address = format!("[{}]:{} seqnum ", peer.address().ip(), peer.address().port());
        let line = text.lines().find_map(|line| line.strip_prefix(&address)).unwrap();
        let columns: Vec<&str> = line.split(' ').collect();
        assert!(columns[0].parse::<u32>().is_ok() && columns[1].parse::<u64>().unwrap() >= 8, "{line}");
        assert_eq!(columns[3..], ["0", "0", "serving"], "{line}");
    }
    let json = said("peers", &place.path(), &["--json"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((json.lines().count(), first["service"].as_str()), (100, Some("seqnum")));
    assert!(first["age_s"].is_u64() && first["held"].as_array().unwrap().is_empty());
    second.stop_with(peers);
}

#[test]
fn the_log_level_of_a_running_server_can_be_changed_and_its_successor_has_its_own() {
    let place = Place::new();
    let first = Server::serve(&place.path(), "");
    let pid = first.pid();
    assert_eq!(said("log", &place.path(), &["debug"]), format!("pid {pid} logs debug, info before\n"));
    let peer = Peer::connect(first.address());
    first.wait_for_line(|line| line.contains("DEBUG") && line.contains("Accepting connection from Peer"));
    assert!(said("status", &place.path(), &["--json"]).contains("\"log_level\":\"debug\""));
    let second = first.taken_over("");
    assert!(said("status", &place.path(), &["--json"]).contains("\"log_level\":\"info\""));
    let wrong = ask("log", &place.path(), &["loud"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("off, error, warn, info, debug or trace is expected"));
    second.stop_with([peer]);
}

#[test]
fn who_asks_for_the_owner_hears_whether_it_is_in_its_own_pid_namespace() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let here = ask("status", &place.path(), &["--owner"]);
    assert!(here.status.success() && here.stdout.is_empty() && here.stderr.is_empty(), "{here:?}");
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--pid", "--fork"]).arg(env!("CARGO_BIN_EXE_reactord"));
    match elsewhere.arg("status").arg(place.path()).arg("--owner").output() {
        Ok(output) if output.status.code() == Some(3) => {
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains("serves, in another PID namespace"), "{error}");
        }
        outcome => skip(&format!("no PID namespace of its own: {outcome:?}")),
    }
    assert_eq!(ask("status", &place.path(), &["--owner", "--json"]).status.code(), Some(2));
    server.stop_with([]);
}
