//! A supervisor that is asked to become another binary, or to log another level: what it says of that, and who serves meanwhile.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/workers.rs"]
mod workers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use client::{reactord, supervise};
use harness::{Peer, Place, Server, daemon, exchange_all, install};
use serde_json::Value;
use workers::wait_for_workers;

/// A supervisor that is asked on a path, with some peers of its workers.
struct Asked {
    place: Place,
    supervisor: Server,
    peers: Vec<Peer>,
}

impl Asked {
    #[track_caller]
    fn with(options: &str) -> Self {
        let place = Place::new();
        let supervisor = supervise(&format!("-t {} {options}", place.file("asked").display()), &reactord());
        wait_for_workers(&supervisor, 1);
        let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(supervisor.address())).collect();
        exchange_all(&mut peers);
        Self { place, supervisor, peers }
    }

    fn path(&self) -> PathBuf {
        self.place.file("asked")
    }

    /// A program that is this shell script.
    fn script(&self, script: &str) -> String {
        let program = self.place.file("program");
        let source = self.place.file("source");
        std::fs::write(&source, format!("#!/bin/sh\n{script}\n")).expect("there is room");
        install(&source, &program);
        program.to_str().expect("it is text").to_owned()
    }

    /// Asks for something on its path, and returns what was said on both streams.
    #[track_caller]
    fn ask(&self, command: &str, arguments: &[&str], exit_code: i32) -> String {
        said(daemon().arg(command).arg(self.path()).args(arguments).output().expect("it can be run"), exit_code)
    }

    #[track_caller]
    fn status(&self) -> Value {
        let said = self.ask("status", &["--json"], 0);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The arguments of this supervisor with other options and another command, behind `--`.
    fn with_arguments(&self, options: &str) -> Vec<String> {
        let own = format!("-- supervise -p 0 -t {} {options} --", self.path().display());
        own.split_whitespace().map(str::to_owned).chain(reactord()).collect()
    }

    #[track_caller]
    fn upgrade_with(&self, options: &str, exit_code: i32) -> String {
        let arguments = self.with_arguments(options);
        self.ask("upgrade", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), exit_code)
    }

    /// Whoever has connected is served, and others are; then it stops.
    #[track_caller]
    fn serves_and_stops(mut self) {
        exchange_all(&mut self.peers);
        Peer::connect(self.supervisor.address()).exchange();
        drop(self.peers);
        self.supervisor.stop();
    }
}

#[track_caller]
fn said(Output { status, stdout, stderr }: Output, exit_code: i32) -> String {
    let said = [stdout, stderr].map(|stream| String::from_utf8(stream).expect("it is text")).concat();
    assert_eq!(status.code(), Some(exit_code), "{said}");
    said
}

/// What this build is called where its program is known.
const VERSION: &str = env!("REACTORD_VERSION");

#[test]
fn an_upgrade_is_answered_by_the_binary_that_has_taken_the_supervisors_place() {
    let asked = Asked::with("--workers 2");
    for _ in 0..2 {
        let pid = asked.supervisor.pid();
        let expected = format!(
            "replaced: the supervisor (pid {pid}) is {VERSION} now, and was {VERSION} before; its 2 workers go on as they \
             are, and reload replaces them\n"
        );
        assert_eq!(asked.ask("upgrade", &[], 0), expected);
        assert_eq!(asked.status()["pid"], pid);
    }
    asked.supervisor.wait_for_lines(2, |line| line.contains("Resumed as pid ") && line.contains(VERSION));
    assert_eq!(asked.status()["generation"], 1, "workers are replaced by reload");
    asked.serves_and_stops();
}

#[test]
fn a_binary_that_fails_is_not_executed_and_what_it_has_said_is_told() {
    let asked = Asked::with("");
    let broken = asked.script("echo one >&2; echo it lacks a library >&2; exit 7");
    let why = asked.ask("upgrade", &["--binary", &broken], 3);
    assert!(why.contains("  one\n  it lacks a library\n"), "{why}");
    assert!(why.contains("failed: its trial, pid ") && why.contains("exited with code 7"), "{why}");
    assert!(why.contains(&format!("{VERSION} (pid {}) serves on", asked.supervisor.pid())), "{why}");
    asked.supervisor.wait_for_line(|line| {
        line.contains("The binary is not replaced: ") && line.ends_with("it has said: it lacks a library")
    });
    let why = asked.ask("upgrade", &["--binary", "/nowhere/at/all"], 3);
    assert!(why.contains("failed: /nowhere/at/all: No such file or directory"), "{why}");
    let is_told = |status: &Value| {
        let failed = &status["failed_upgrade"];
        let [asker, why] = ["asker", "why"].map(|name| failed[name].as_str().unwrap_or_default());
        asker.starts_with("pid ") && why.starts_with("/nowhere/at/all: No such file or directory")
    };
    let status = asked.status();
    assert!(is_told(&status), "{status}");
    asked.ask("upgrade", &[], 0);
    let status = asked.status();
    assert!(is_told(&status), "it is told by the next binary, too: {status}");
    asked.serves_and_stops();
}

#[test]
fn a_command_line_that_is_not_understood_leaves_the_supervisor_as_it_was() {
    let asked = Asked::with("");
    let why = asked.upgrade_with("--no-such-option", 3);
    assert!(why.contains("--no-such-option") && why.contains("exited with code 2"), "{why}");
    let why = asked.ask("upgrade", &["--", "-p", "1234"], 3);
    assert!(why.contains("refused: a supervisor's arguments begin with supervise"), "{why}");
    asked.serves_and_stops();
}

#[test]
fn what_cannot_change_is_refused_by_name_with_both_values() {
    let asked = Asked::with("");
    let why = asked.upgrade_with("--hand-over listen", 3);
    assert!(why.contains("refused: --hand-over was queue and is to be listen, which cannot change"), "{why}");
    let pid_file = asked.place.file("pid").display().to_string();
    let why = asked.upgrade_with(&format!("--replace takeover --pid-file {pid_file}"), 3);
    assert!(why.contains("--replace was drain and is to be takeover"), "{why}");
    assert!(why.contains(&format!("--pid-file was not given and is to be {pid_file}")), "{why}");
    assert!(!asked.place.file("pid").exists());
    asked.serves_and_stops();
}

#[test]
fn what_can_change_is_taken_up() {
    let asked = Asked::with("");
    asked.upgrade_with("--workers 3 -v", 0);
    wait_for_workers(&asked.supervisor, 3);
    // Verbose as it is by now, it tells of each connection.
    Peer::connect(asked.supervisor.address()).exchange();
    asked.supervisor.wait_for_line(|line| line.contains(" DEBUG "));
    assert_eq!(asked.status()["target"], 3);
    asked.upgrade_with("--workers 1", 0);
    assert_eq!(asked.status()["target"], 1);
    // At once or when what is being moved has come to rest; nobody was let go who had connected.
    asked.serves_and_stops();
}

#[test]
fn there_is_one_upgrade_at_a_time_and_one_that_takes_too_long_is_given_up() {
    let asked = Asked::with("");
    let hung = asked.script("exec sleep 1000");
    let mut first = daemon();
    first.arg("upgrade").arg(asked.path()).args(["--binary", &hung, "--timeout", "5"]);
    let first = Server::spawn(Path::new(""), &mut first);
    asked.supervisor.wait_for_line(|line| line.contains("Trying out "));
    let why = asked.ask("upgrade", &[], 3);
    assert!(
        why.contains(&format!("refused: an upgrade is under way already, as pid {} has asked", first.pid())),
        "{why}"
    );
    assert!(why.contains("is being tried out as pid "), "{why}");
    let (_, why) = first.output(3);
    assert!(why.contains("took too long, and was killed"), "{why}");
    assert!(asked.ask("upgrade", &[], 0).starts_with("replaced: "));
    asked.serves_and_stops();
}

#[test]
fn a_caller_that_leaves_is_no_reason_to_stay_the_same() {
    let asked = Asked::with("");
    let go = asked.place.file("go");
    let slow =
        asked.script(&format!("until [ -e {} ]; do sleep 0.1; done; exec {} \"$@\"", go.display(), reactord()[0]));
    let mut caller = Command::new(env!("CARGO_BIN_EXE_reactord"));
    caller.arg("upgrade").arg(asked.path()).args(["--binary", &slow]);
    let caller = Server::spawn(Path::new(""), &mut caller);
    asked.supervisor.wait_for_line(|line| line.contains("Trying out "));
    caller.kill();
    std::fs::write(&go, "").expect("the directory is there");
    asked.supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    asked.serves_and_stops();
}

#[test]
fn the_log_level_is_the_supervisors_alone_and_no_longer_than_it_is_this_binary() {
    let asked = Asked::with("");
    let pid = asked.supervisor.pid();
    assert_eq!(asked.ask("log", &["debug"], 0), format!("pid {pid} logs debug, info before\n"));
    Peer::connect(asked.supervisor.address()).exchange();
    asked.supervisor.wait_for_line(|line| line.contains(" DEBUG ") && line.contains("[reactord_supervisor"));
    assert_eq!(asked.supervisor.lines_with(" DEBUG [reactord::").len(), 0, "{}", asked.supervisor.log());
    asked.ask("upgrade", &[], 0);
    assert_eq!(asked.ask("log", &["info"], 0), format!("pid {pid} logs info, info before\n"));
    asked.serves_and_stops();
}
