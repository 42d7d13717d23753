//! The command line: what it offers, and what it refuses.

use crate::harness::{Peer, Place, Server, caller_sees_pid, daemon};

#[test]
fn help_documents_the_exit_codes() {
    for option in ["--help", "-h"] {
        let (help, log) = Server::run(&[option]).output(0);
        assert_eq!(log, "");
        for code in ["0 Served until", "1 Could not serve", "2 The command line", "3 The takeover was refused"] {
            assert!(help.contains(code), "{help}");
        }
        assert!(help.contains("--takeover-path") && help.contains("-T, --takeover"), "{help}");
    }
}

#[test]
fn version_says_the_version() {
    let (version, log) = Server::run(&["--version"]).output(0);
    assert_eq!((version.as_str(), log.as_str()), (concat!("reactord ", env!("REACTORD_VERSION")), ""));
}

#[test]
fn option_takes_its_value_after_an_equals_sign() {
    let place = Place::new();
    let path = format!("--takeover-path={}", place.path().display());
    let arguments = ["--listen-address=127.0.0.1", "--listen-port=0", &path, "--service=line"];
    let server = Server::spawn(&place.path(), daemon().args(arguments)).started();
    let peer = Peer::connect(server.address());
    peer.send(b"hello\n");
    peer.expect(b"hello\n");
    server.stop_with([peer]);
}

#[test]
fn each_line_is_an_object_if_that_is_asked_for() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--log-format=json");
    let pid = server.pid();
    let lines = server.lines_with("");
    for line in &lines {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((&object["pid"], &object["level"]), (&pid.into(), &"INFO".into()));
        assert!(object["time"].is_string() && object["target"].is_string() && object["message"].is_string(), "{line}");
    }
    assert!(!lines.is_empty());
    server.taken_over("--log-format=json").stop();
}

#[test]
fn wrong_command_line_says_what_is_allowed_and_touches_nothing() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "");
    let mut peer = Peer::connect(server.address());
    peer.exchange();
    let path = place.path();
    let path = path.to_str().expect("a test's path is UTF-8");
    let long = "x".repeat(150);
    let cases: [(&[&str], &[&str]); 14] = [
        (&["-T", path, "-p", "0"], &["--listen-port contradicts --takeover"]),
        (&["-T", path, "-a", "127.0.0.1"], &["--listen-address contradicts --takeover"]),
        (&["-T", path, "-b", "5"], &["--listen-backlog contradicts --takeover"]),
        (&["-t", path, "-p", "70000"], &["70000", "0 to 65535"]),
        (&["-t", path, "-a", "localhost"], &["localhost", "IPv4 or IPv6"]),
        (&["-t", &long], &["150 bytes", "1 to 107"]),
        (&["-t", ""], &["0 bytes", "1 to 107"]),
        (&["-T", path, "--service", "http"], &["http", "seqnum or line"]),
        (&["-T", path, "--max-peers", "0"], &["0", "1 to 1000000000"]),
        (&["-T", path, "--freeze-timeout", "-1"], &["-1", "1 to 3600000"]),
        (&["-T", path, "--drain-timeout=soon"], &["soon", "1 to 3600000"]),
        (&["-T", path, "--log-format", "xml"], &["xml", "text or json"]),
        (&["-T", path, "--no-such-option"], &["--no-such-option"]),
        (&["-T", path, "surplus"], &["surplus"]),
    ];
    for (arguments, parts) in cases {
        let (output, log) = Server::run(arguments).output(2);
        assert_eq!(output, "", "errors go to standard error");
        for part in parts {
            assert!(log.contains(part), "{arguments:?}: {log:?} should contain {part:?}");
        }
        assert!(log.contains("reactord --help"), "{log}");
    }
    peer.exchange();
    assert_eq!(server.lines_with("akeover by"), Vec::<String>::new(), "nobody has called");
    assert_eq!(caller_sees_pid(&place.path()), server.pid());
    server.stop_with([peer]);
}
