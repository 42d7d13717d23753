//! Drives the real soak with the real server: what it does, what it counts, what it notices, and what it leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

const CLIENT: &str = env!("CARGO_BIN_EXE_reactord-client");

/// The server beside the client, where the build of the workspace puts it.
fn server() -> PathBuf {
    let server = Path::new(CLIENT).with_file_name("reactord");
    assert!(server.is_file(), "{} is not there: run `cargo build --workspace` first", server.display());
    server
}

/// A server that is a shell script up to a point. Another process puts it in place: while this one has a file open for
/// writing, a child that another test starts has it, too, and then it cannot be executed (`ETXTBSY`, execve(2)).
fn script(directory: &TempDir, before_it_serves: &str) -> PathBuf {
    let [source, script] = ["source", "reactord"].map(|name| directory.path().join(name));
    std::fs::write(&source, format!("#!/bin/sh\n{before_it_serves}\nexec {} \"$@\"\n", server().display())).unwrap();
    assert!(Command::new("install").args(["-m", "755"]).args([&source, &script]).status().unwrap().success());
    script
}

/// A soak with a directory for all that it writes, so that what it leaves behind can be seen.
struct Soak {
    directory: TempDir,
    command: Command,
}

impl Soak {
    fn new(arguments: &str) -> Self {
        server();
        let directory = TempDir::new().unwrap();
        let mut command = Command::new(CLIENT);
        command.arg("soak").args(arguments.split_whitespace());
        // Where cargo runs the soak, it builds the server first: it is there, or the test says what to do.
        command.env_remove("CARGO").env("TMPDIR", directory.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { directory, command }
    }

    /// A file of the directory.
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn with_file(mut self, option: &str, name: &str) -> Self {
        let path = self.file(name);
        self.command.arg(option).arg(path);
        self
    }

    fn run(&mut self) -> Outcome {
        Outcome::from(self.command.output().unwrap())
    }

    /// Asserts that there is nothing in the directory but these files.
    fn assert_leaves(&self, expected: &[&str]) {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, expected);
    }
}

/// What a soak said.
#[derive(Debug)]
struct Outcome {
    exit_code: Option<i32>,
    table: String,
    log: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            exit_code: output.status.code(),
            table: String::from_utf8(output.stdout).unwrap(),
            log: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    fn last_line(&self) -> &str {
        self.table.lines().last().unwrap_or_default()
    }

    fn assert_clean(&self) {
        assert_eq!((self.exit_code, self.last_line()), (Some(0), "0 lost, 0 discontinuities"), "{self:#?}");
    }
}

/// A soak that is still running, and its log so far.
struct Running {
    child: Child,
    reader: BufReader<ChildStderr>,
    log: String,
}

impl Running {
    fn start(soak: &mut Soak) -> Self {
        let mut child = soak.command.spawn().unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        Self { child, reader, log: String::new() }
    }

    /// Waits for a line of the log.
    fn line(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "no {part:?} in {}", self.log);
            self.log.push_str(&line);
        }
        line
    }

    /// Waits until a process was started, and returns its id.
    fn started_pid(&mut self) -> i32 {
        let line = self.line(" started in ");
        let (_, after) = line.split_once("pid ").unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn finish(mut self) -> Outcome {
        self.reader.read_to_string(&mut self.log).unwrap();
        Outcome { log: self.log, ..Outcome::from(self.child.wait_with_output().unwrap()) }
    }
}

/// The ids of all processes of which a log at debug level says that they were started.
fn pids(log: &str) -> Vec<i32> {
    let lines = log.lines().filter(|line| line.contains(" started in "));
    lines.filter_map(|line| line.split_once("pid ")?.1.split_whitespace().next()?.parse().ok()).collect()
}

fn assert_gone(log: &str, expected: usize) {
    let pids = pids(log);
    assert_eq!(pids.len(), expected, "{log}");
    for pid in pids {
        // Its parent has waited for it, so there is not even a zombie. Another process may have its id by now.
        let server = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("reactord"));
        let orphan =
            server && std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.contains("soak-"));
        assert!(!orphan, "pid {pid} is left");
    }
}

#[test]
fn two_takeovers_are_carried_through_and_every_figure_is_told() {
    let mut soak = Soak::new(
        "-n 300 --active 100 --rate 50 --fragmenting 20 --slow-readers 5 --churn 50 --takeovers 2 --interval 0.4 -v",
    )
    .with_file("--json", "figures.json")
    .with_file("--report", "report.html")
    .with_file("--picture", "picture.svg");
    let outcome = soak.run();
    outcome.assert_clean();
    assert_gone(&outcome.log, 3);
    soak.assert_leaves(&["figures.json", "picture.svg", "report.html"]);

    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    assert_eq!(figures["good"], true, "{figures:#}");
    for (kind, opened) in [("sending", 80), ("fragmenting", 20), ("idle", 195), ("slow_reading", 5)] {
        let expected = serde_json::json!({ "opened": opened, "lost": 0 });
        assert_eq!(figures["connections"][kind], expected, "{kind}");
    }
    // How many that were in so short a time is a matter of the machine.
    assert!(figures["connections"]["passing"]["opened"].as_u64().unwrap() > 0);
    let messages = &figures["messages"];
    assert_eq!((&messages["sent"], &messages["lost"]), (&messages["answered"], &0.into()));
    assert!(messages["sent"].as_u64().unwrap() >= 100);

    let takeovers = figures["takeovers"].as_array().unwrap();
    let pids: Vec<i32> = pids(&outcome.log);
    for (takeover, pair) in takeovers.iter().zip(pids.windows(2)) {
        assert_eq!(takeover["fate"], "took over");
        assert_eq!(
            [&takeover["predecessor_pid"], &takeover["successor_pid"]],
            [&Value::from(pair[0]), &pair[1].into()]
        );
        assert!((300..=400).contains(&takeover["peers"].as_u64().unwrap()), "{takeover}");
        assert!(takeover["pause_us"].as_u64().unwrap() > 0 && takeover["copy_us"].as_u64().unwrap() > 0);
        assert!(takeover["begun_s"].as_f64() < takeover["ended_s"].as_f64());
    }
    assert_eq!(takeovers.len(), 2);

    // Every round trip is in one slice, and in one of the two distributions.
    let slices = figures["timeline"]["slices"].as_array().unwrap();
    let answers: u64 = slices.iter().map(|slice| slice[1].as_u64().unwrap()).sum();
    let counted =
        ["between_takeovers", "during_takeovers"].map(|key| figures["round_trips_us"][key]["count"].as_u64().unwrap());
    assert_eq!(answers, counted[0] + counted[1]);
    assert_eq!(figures["timeline"]["slice_ms"], 10.0);
    let processes = figures["processes"].as_array().unwrap();
    for pid in pids {
        assert!(processes.iter().any(|sample| sample["pid"] == pid), "no sample of pid {pid}");
    }

    let page = std::fs::read_to_string(soak.file("report.html")).unwrap();
    assert!(page.contains("Nothing was lost.") && page.contains("replaced twice"));
    assert!(page.contains("prefers-color-scheme: dark") && !page.contains("<script") && !page.contains("src="));
    let picture = std::fs::read_to_string(soak.file("picture.svg")).unwrap();
    let marks = picture.lines().filter(|line| line.contains("<rect") && line.contains("opacity=\"0.3\"")).count();
    assert_eq!(marks, 2, "a band for each takeover");
    assert!(picture.contains("<style>") && picture.contains("class=\"s-worst\""));
}

#[test]
fn the_predecessors_of_killed_successors_go_on_until_one_takes_over() {
    let mut soak = Soak::new("-n 300 --rate 50 --takeovers 3 --interval 0.3 --kill-successors 1 --seed 5 -v")
        .with_file("--json", "figures.json");
    let outcome = soak.run();
    outcome.assert_clean();
    assert_gone(&outcome.log, 4);
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    let takeovers = figures["takeovers"].as_array().unwrap();
    assert_eq!(takeovers.len(), 3, "{takeovers:#?}");
    assert_eq!(takeovers[2]["fate"], "took over");
    // Whoever holds all peers before it can be killed is spared.
    assert!(takeovers[..2].iter().all(|takeover| takeover["fate"] == "killed" || takeover["spared"] == true));
}

#[test]
fn the_last_process_of_a_long_chain_has_what_the_first_had_and_is_alone() {
    let options = "-n 300 --rate 20 --churn 100 --takeovers 40 --interval 0.08 --kill-successors 0.3 --seed 6 -v";
    let mut soak = Soak::new(options).with_file("--json", "figures.json");
    let outcome = soak.run();
    outcome.assert_clean();
    assert_gone(&outcome.log, 41);
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    let Value::Object(chain) = &figures["chain"] else { panic!("{}", figures["chain"]) };
    assert_eq!((&chain["processes_started"], &chain["processes_left"]), (&41.into(), &1.into()));
    assert_eq!(chain["first"]["other_files"], chain["last"]["other_files"]);
    let pids: Vec<i32> = pids(&outcome.log);
    assert_eq!((&chain["first"]["pid"], &chain["last"]["pid"]), (&pids[0].into(), &pids[40].into()));
}

/// The moves of a soak, in its figures.
fn moves(figures: &Value) -> &Vec<Value> {
    figures["moves"]["all"].as_array().unwrap()
}

#[test]
fn connections_move_between_servers_that_are_taken_over_in_between_and_every_figure_is_told() {
    let options = "-n 300 --active 100 --rate 50 --fragmenting 20 --slow-readers 3 --churn 20 --moves 8 --takeovers 2 \
                   --servers 4 --interval 0.1 --seed 4 -v";
    let mut soak = Soak::new(options).with_file("--json", "figures.json").with_file("--report", "report.html");
    let outcome = soak.run();
    outcome.assert_clean();
    // The servers, two successors, and what asked for each move.
    assert_gone(&outcome.log, 4 + 2 + 8);
    soak.assert_leaves(&["figures.json", "report.html"]);
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    assert_eq!((figures["good"].clone(), &figures["moves"]["processes_left"]), (true.into(), &4.into()), "{figures:#}");
    assert_eq!((moves(&figures).len(), figures["takeovers"].as_array().unwrap().len()), (8, 2));
    for made in moves(&figures) {
        assert!(made["complaints"].as_array().unwrap().is_empty() && made["killed"].is_null(), "{made}");
        assert!(made["moved"].as_u64() <= made["wanted"].as_u64() && made["from"] != made["to"], "{made}");
    }
    assert!(figures["moves"]["connections_moved"].as_u64().unwrap() > 0);
    let page = std::fs::read_to_string(soak.file("report.html")).unwrap();
    assert!(page.contains("Connections moved under load") && page.contains("between 4 servers"));
}

#[test]
fn what_a_killed_server_owned_is_lost_and_nothing_else() {
    let options = "-n 300 --active 100 --rate 50 --moves 10 --kill-movers 0.8 --interval 0.1 --seed 4 -v";
    let mut soak = Soak::new(options).with_file("--json", "figures.json");
    let outcome = soak.run();
    outcome.assert_clean();
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    // Whoever is done before it can be killed is spared.
    let killed = moves(&figures).iter().filter(|made| !made["killed"].is_null());
    let gone: u64 = killed.map(|made| made["gone_with_killed"].as_u64().unwrap()).sum();
    assert_eq!(figures["connections_gone_with_server"], gone);
    assert!(moves(&figures).iter().all(|made| made["complaints"].as_array().unwrap().is_empty()));
}

#[test]
fn a_server_that_keeps_what_it_has_given_is_no_good() {
    // It says that it has moved everything, and has moved nothing.
    let directory = TempDir::new().unwrap();
    let line = "Moved 5 of 5 peers from pid 1 to pid 2 in 0.001 s (largest pause of a batch 0.1 ms)";
    let script = script(&directory, &format!("[ \"$1\" = move ] && {{ echo '{line}'; exit 0; }}"));
    let outcome = Soak::new(&format!("-n 20 --moves 1 --server {}", script.display())).run();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert!(
        outcome.table.contains("peers are said to have moved: Exactly(5), and 0 have another owner"),
        "{outcome:#?}"
    );
    assert_eq!(outcome.last_line(), "0 lost, 0 discontinuities, 1 moves failed", "{outcome:#?}");
}

/// The deaths of a soak, in its figures.
fn deaths(figures: &Value) -> &Vec<Value> {
    figures["deaths"]["all"].as_array().unwrap()
}

#[test]
fn a_server_that_is_killed_is_followed_by_its_standby_with_everybody_who_was_quiet() {
    let options = "-n 200 --active 50 --rate 20 --slow-readers 2 --kill-active 3 --interval 0.3 --seed 4 -v";
    let mut soak = Soak::new(options).with_file("--json", "figures.json").with_file("--report", "report.html");
    let outcome = soak.run();
    outcome.assert_clean();
    assert_gone(&outcome.log, 1);
    soak.assert_leaves(&["figures.json", "report.html"]);
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    assert_eq!((&figures["good"], deaths(&figures).len()), (&true.into(), 3), "{figures:#}");
    for death in deaths(&figures) {
        assert_eq!(death["served_on"].as_u64().unwrap() + death["reset"].as_u64().unwrap(), 200, "{death}");
        assert_eq!((&death["reset"], &death["ended"]["idle"]), (&death["ended"]["all"], &0.into()), "{death}");
        assert!(death["unserved_us"].as_u64().unwrap() > 0 && !death["armed_after_ms"].is_null(), "{death}");
    }
    for pair in deaths(&figures).windows(2) {
        assert_eq!(pair[0]["heir_pid"], pair[1]["active_pid"]);
    }
    assert_eq!(figures["connections_gone_with_server"], figures["deaths"]["connections_reset"]);
    assert_eq!(figures["chain"]["first"]["other_files"], figures["chain"]["last"]["other_files"]);
    let page = std::fs::read_to_string(soak.file("report.html")).unwrap();
    assert!(page.contains("A server killed under load") && page.contains("the server killed 3 times"));
}

#[test]
fn a_survivor_that_says_that_it_has_reset_somebody_is_no_good() {
    // Whoever serves on has reset one, if one believes its log.
    let directory = TempDir::new().unwrap();
    let fifo = format!("{}/log-$$", directory.path().display());
    let one = "s/: [0-9]* peers are served on, [0-9]* are reset/: 99 peers are served on, 1 are reset/";
    let script = script(&directory, &format!("mkfifo {fifo}; sed -u '{one}' <{fifo} >&2 & exec 2>{fifo}"));
    let options = "-n 100 --active 100 --rate 200 --kill-active 4 --interval 0.3 --server";
    let outcome = Soak::new(&format!("{options} {}", script.display())).run();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert!(outcome.table.contains("1 connections are said to be reset, and 0 have ended"), "{outcome:#?}");
    assert!(outcome.last_line().ends_with(" deaths not survived as they should be"), "{outcome:#?}");
}

#[test]
fn a_chain_that_passes_on_a_descriptor_is_no_good() {
    // Whoever takes over has one file more open than the first one.
    let directory = TempDir::new().unwrap();
    let script = script(&directory, "[ \"$1\" = -T ] && exec 7</dev/null");
    let outcome = Soak::new(&format!("-n 20 --takeovers 2 --interval 0.2 --server {}", script.display())).run();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert!(outcome.table.contains(" files open besides its connections, the first had "), "{outcome:#?}");
}

#[test]
fn a_server_that_dies_is_reported_as_dead() {
    let mut soak = Soak::new("-n 50 --takeovers 2 --interval 600 -v");
    let mut running = Running::start(&mut soak);
    let pid = running.started_pid();
    running.line("50 connections to");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert!(outcome.table.contains(&format!("the server (pid {pid}) died: signal: 9 (SIGKILL)")), "{outcome:#?}");
    assert!(outcome.last_line().ends_with("server died"), "{outcome:#?}");
    assert_gone(&outcome.log, 1);
    soak.assert_leaves(&[]);
}

#[test]
fn a_server_that_does_not_start_is_one_clear_line() {
    let mut soak = Soak::new("-n 1 --server /bin/false");
    let outcome = soak.run();
    assert_eq!((outcome.exit_code, outcome.table.as_str()), (Some(1), ""), "{outcome:#?}");
    assert!(outcome.log.contains("did not start: exit status: 1; it said nothing"), "{outcome:#?}");
    assert_eq!(outcome.log.lines().count(), 1, "{outcome:#?}");
    soak.assert_leaves(&[]);

    let outcome = Soak::new("-n 1 --server /nowhere/reactord").run();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert!(
        outcome.log.contains("/nowhere/reactord is not there: `cargo build --release --workspace`"),
        "{outcome:#?}"
    );
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_started() {
    for (option, name, in_the_way) in [
        ("--report", "nowhere/report.html", "nowhere/report.html: No such file or directory"),
        ("--json", ".", ": Is a directory"),
    ] {
        let mut soak = Soak::new("-n 1 --takeovers 0").with_file(option, name);
        let outcome = soak.run();
        assert_eq!((outcome.exit_code, outcome.table.as_str()), (Some(1), ""), "{outcome:#?}");
        assert!(outcome.log.contains(in_the_way) && outcome.log.lines().count() == 1, "{outcome:#?}");
        soak.assert_leaves(&[]);
    }
}

#[test]
fn a_successor_that_fails_is_a_failed_takeover_and_loses_nothing() {
    // It serves, and refuses to take over.
    let directory = TempDir::new().unwrap();
    let script = script(&directory, "[ \"$1\" = -T ] && { echo no >&2; exit 3; }");
    let outcome = Soak::new(&format!("-n 20 --takeovers 1 --interval 0.2 --server {}", script.display())).run();
    assert_eq!(outcome.exit_code, Some(1), "{outcome:#?}");
    assert_eq!(outcome.last_line(), "0 lost, 0 discontinuities, 1 takeovers failed", "{outcome:#?}");
    assert!(outcome.table.contains("exit status: 3; it said last: no"), "{outcome:#?}");
}

#[test]
fn an_interrupted_soak_checks_what_is_due_and_cleans_up() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut soak = Soak::new("-n 50 --takeovers 2 --interval 600 -v");
        let mut running = Running::start(&mut soak);
        running.line("50 connections to");
        running.signal(signal);
        let outcome = running.finish();
        outcome.assert_clean();
        assert!(outcome.table.contains("0 of 2 carried through, interrupted"), "{outcome:#?}");
        assert_gone(&outcome.log, 1);
        soak.assert_leaves(&[]);
    }
}

#[test]
fn another_server_is_attached_to_and_left_running() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(server());
    command.args(["-p", "0", "-t"]).arg(directory.path().join("takeover")).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Starting TCP server on") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
    }
    let port = line.trim_end().rsplit(':').next().unwrap();

    let mut soak = Soak::new(&format!("--attach 127.0.0.1:{port} -n 40 --rate 50 --duration 0.3"))
        .with_file("--json", "figures.json")
        .with_file("--report", "report.html");
    let outcome = soak.run();
    outcome.assert_clean();
    assert!(!outcome.table.contains("takeovers"), "{outcome:#?}");
    let figures: Value = serde_json::from_slice(&std::fs::read(soak.file("figures.json")).unwrap()).unwrap();
    assert_eq!((&figures["takeovers"], &figures["processes"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(figures["duration_s"].as_f64().unwrap() >= 0.3);
    soak.assert_leaves(&["figures.json", "report.html"]);

    assert!(server.try_wait().unwrap().is_none(), "it is not ours to stop");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn wrong_options_exit_2_and_say_why() {
    for (arguments, reason) in [
        ("soak --connections 5 --active 6", "--active 6"),
        ("soak --attach 127.0.0.1:1 --takeovers 2", "--takeovers contradicts --attach"),
        ("soak --kill-active 2 --takeovers 2", "--takeovers contradicts --kill-active"),
        ("-n 3 soak", "-n stands before the subcommand"),
        ("soak --connections 5 --kill-successors 2", "option '--kill-successors' with value '2': a share from 0 to 1"),
        ("soak --bogus", "Run reactord-client soak --help"),
    ] {
        let output = Command::new(CLIENT).args(arguments.split_whitespace()).output().unwrap();
        let outcome = Outcome::from(output);
        assert_eq!((outcome.exit_code, outcome.table.as_str()), (Some(2), ""), "{outcome:#?}");
        assert!(outcome.log.contains(reason), "{outcome:#?}");
    }
}

#[test]
fn more_connections_than_open_files_exit_2_with_the_number_that_would_do() {
    let script = "ulimit -n 1000 && exec \"$0\" soak --connections 2000";
    let output = Command::new("sh").args(["-c", script, CLIENT]).output().unwrap();
    let outcome = Outcome::from(output);
    assert_eq!(outcome.exit_code, Some(2), "{outcome:#?}");
    assert!(outcome.log.contains("this process may open 1000 (ulimit -Hn): 936 would do"), "{outcome:#?}");
}

#[test]
fn help_tells_the_options() {
    let output = Command::new(CLIENT).args(["soak", "--help"]).output().unwrap();
    let outcome = Outcome::from(output);
    assert_eq!(outcome.exit_code, Some(0), "{outcome:#?}");
    for option in ["--kill-successors", "--kill-active", "--attach", "--report", "--churn"] {
        assert!(outcome.table.contains(option), "{outcome:#?}");
    }
}
