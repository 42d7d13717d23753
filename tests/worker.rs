//! Workers in all languages, with a scripted supervisor: the examples, the C header, and `reactord --worker`.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[path = "worker/supervisor.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod supervisor;

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Authority, PATIENCE, Peer, Place, Server, TlsPeer, caller_sees_pid, exchange_all, skip};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use reactord_tls::Version;
use rustix::process::{Resource, Rlimit, prlimit};
use supervisor::{GivenBack, ScriptedSupervisor};

// ── The examples ───────────────────────────────────────────────────────────────────────────────────────────────────

/// What an example may have.
const EXAMPLE_LINES_MAX: usize = 40;

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The example in each language that can be run here, by its name.
fn examples(place: &Place) -> Vec<(&'static str, Command)> {
    let rust = Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("examples").join("worker");
    assert!(rust.exists(), "{} is missing; `cargo build --examples` makes it", rust.display());
    let mut examples = vec![("rust", Command::new(rust))];
    match compiled(place, &in_tree("examples/worker.c"), &["-O2"]) {
        Some(program) => examples.push(("c", Command::new(program))),
        None => skip("for C: there is no cc"),
    }
    if Command::new("python3").arg("--version").output().is_ok() {
        let mut python = Command::new("python3");
        python.arg(in_tree("examples/worker.py"));
        examples.push(("python", python));
    } else {
        skip("for Python: there is no python3");
    }
    examples
}

/// A C program that uses the header, or `None` if there is no compiler.
fn compiled(place: &Place, source: &Path, options: &[&str]) -> Option<PathBuf> {
    let program = place.file("program");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]).args(options);
    let output = cc.arg("-I").arg(in_tree("include")).arg("-o").arg(&program).arg(source).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

#[test]
fn no_example_of_a_worker_is_longer_than_it_may_be() {
    for example in ["worker.rs", "worker.c", "worker.py"] {
        let lines = std::fs::read_to_string(in_tree("examples").join(example)).expect("it is in the tree");
        assert!(lines.lines().count() <= EXAMPLE_LINES_MAX, "{example}");
    }
}

/// The example greets this client and echoes what it sends.
#[track_caller]
fn expect_service(worker: &Server, supervisor: &ScriptedSupervisor, client: &Peer) {
    let (pid, address, local) = (worker.pid(), client.address(), supervisor.address());
    client.expect(format!("worker {pid}, client {address}, server {local}\n").as_bytes());
    client.send(b"echo");
    client.expect(b"echo");
}

#[test]
fn a_worker_in_each_language_serves_one_client_after_another_and_finishes() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        supervisor.expect("ready 1");
        for _ in 0..3 {
            supervisor.expect("want 1");
            let (id, client) = supervisor.offer();
            supervisor.expect(&format!("took {id}"));
            expect_service(&worker, &supervisor, &client);
            client.end_sending();
            client.expect_end();
            supervisor.expect(&format!("done {id}"));
        }
        supervisor.expect("want 1");
        supervisor.say("finish", &[]);
        assert_eq!(supervisor.expect_end(), []);
        assert_eq!(worker.output(0), (String::new(), String::new()));
    }
}

#[test]
fn a_worker_that_was_given_a_certificate_speaks_tls_with_whom_the_supervisor_gives_it() {
    let (place, authority) = (Place::new(), Authority::new());
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
    command.args(["--worker", "--service", "line"]).args(authority.options(&place).split(' '));
    let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
    supervisor.expect("ready 1");
    let (address, connector) = (supervisor.address(), authority.connector(Version::Tls13));
    let client = std::thread::spawn(move || {
        let mut client = TlsPeer::connect(address, &connector);
        client.send(b"a line\n");
        client.expect(b"a line\n");
        client.end_sending();
        client.expect_end();
    });
    let id = supervisor.offer_next();
    while supervisor.hear().is_none_or(|word| word != format!("done {id}")) {}
    client.join().expect("it has its answer");
    supervisor.say("finish", &[]);
    supervisor.expect_end();
    worker.exit_code();
}

#[test]
fn a_worker_in_each_language_keeps_its_client_when_the_supervisor_dies_and_then_exits() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        let (id, client) = supervisor.offer();
        for word in ["ready 1", "want 1", &format!("took {id}")] {
            supervisor.expect(word);
        }
        // Offered too early, so that it is in the socket when the supervisor dies.
        let (_, stranded) = supervisor.offer();
        expect_service(&worker, &supervisor, &client);
        supervisor.die();
        client.send(b"and on");
        client.expect(b"and on");
        client.end_sending();
        client.expect_end();
        stranded.expect_loss();
        assert_eq!(worker.output(0), (String::new(), String::new()));
    }
}

#[test]
fn what_a_killed_worker_in_each_language_has_not_acknowledged_is_still_there() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        let (served, client) = supervisor.offer();
        let (waiting, waiting_client) = supervisor.offer();
        expect_service(&worker, &supervisor, &client);
        worker.kill();
        assert_eq!(supervisor.hear_out(), [waiting], "{served} was acknowledged");
        client.expect_loss();
        supervisor.duplicate(waiting).write_all(b"served by another").expect("its client is there");
        waiting_client.expect(b"served by another");
    }
}

#[test]
fn a_worker_in_each_language_passes_over_a_word_that_it_does_not_know_and_keeps_no_descriptor_of_it() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        let (here, there) = UnixStream::pair().expect("a pair of sockets");
        supervisor.say("heed 5", &[there.as_fd()]);
        drop(there);
        let (_, client) = supervisor.offer();
        expect_service(&worker, &supervisor, &client);
        here.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        assert_eq!((&here).read(&mut [0]).expect("an end"), 0);
    }
}

#[test]
fn a_worker_in_each_language_that_gets_no_descriptor_leaves_the_queue() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        supervisor.say("connection 1 192.0.2.7:1 192.0.2.8:80", &[]);
        supervisor.hear_out();
        worker.output(1);
    }
}

#[test]
fn a_worker_in_each_language_at_its_limit_of_open_files_leaves_the_connection_to_the_supervisor() {
    let place = Place::new();
    for (language, command) in examples(&place) {
        println!("{language}");
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        supervisor.expect("ready 1");
        supervisor.expect("want 1");
        let none_more = Rlimit { current: Some(3), maximum: Some(3) };
        let limited = prlimit(rustix::process::Pid::from_raw(worker.pid().cast_signed()), Resource::Nofile, none_more);
        limited.expect("an own child can be limited");
        let (id, _client) = supervisor.offer();
        assert_eq!(supervisor.hear_out(), [id]);
        worker.output(1);
    }
}

#[test]
fn a_program_that_no_supervisor_has_started_says_so() {
    let place = Place::new();
    for (language, mut command) in examples(&place) {
        let worker = Server::spawn(Path::new(""), command.env_remove("REACTORD_QUEUE"));
        let (_, said) = worker.output(1);
        assert!(said.contains("REACTORD_QUEUE"), "{language}: {said}");
    }
}

// ── The C header ───────────────────────────────────────────────────────────────────────────────────────────────────

/// A C program that calls one function after another and says what came of it, as its arguments tell.
fn header(place: &Place) -> Option<PathBuf> {
    let program = compiled(place, &in_tree("tests/worker/header.c"), &["-g"]);
    if program.is_none() {
        skip("there is no cc");
    }
    program
}

/// Starts the program with the functions that it is to call, or skips the test.
fn calling(place: &Place, functions: &[&str]) -> Option<(ScriptedSupervisor, Server)> {
    let mut command = Command::new(header(place)?);
    command.args(functions);
    Some(ScriptedSupervisor::start(command, Path::new("")))
}

#[test]
fn the_c_library_reports_each_mistake_of_a_supervisor_and_leaks_no_descriptor() {
    let place = Place::new();
    let Some(program) = header(&place) else {
        return;
    };
    for (packet, descriptors, expected) in [
        ("finish", 0, "accept 0 OK"),
        ("finish", 1, "accept 0 OK"),
        ("connection 1 192.0.2.7:1 192.0.2.8:80", 0, "accept -1 EBADMSG"),
        ("connection 1 192.0.2.7:1 192.0.2.8:80", 2, "accept -1 EBADMSG"),
        ("connection 1 192.0.2.7:1", 1, "accept -1 EBADMSG"),
        ("connection 1 192.0.2.7:1 192.0.2.8:80 x", 1, "accept -1 EBADMSG"),
        ("connection", 1, "accept -1 EBADMSG"),
        ("finish now", 1, "accept -1 EBADMSG"),
        (&"x".repeat(256), 1, "accept -1 EBADMSG"),
        (&"x".repeat(3000), 1, "accept -1 EBADMSG"),
        ("finish\0", 1, "accept -1 EBADMSG"),
    ] {
        let mut command = Command::new(&program);
        command.args(["accept", "accept"]);
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        let file = File::open("/dev/null").expect("it is always there");
        supervisor.say(packet, &vec![file.as_fd(); descriptors]);
        supervisor.hear_out();
        let (said, _) = worker.output(0);
        // The second call says that it is over.
        assert_eq!(said, format!("{expected}\naccept 0 OK\ndescriptors 0"), "{packet:?}, {descriptors} descriptors");
    }
}

#[test]
fn the_c_library_reports_a_descriptor_that_is_lost_at_the_limit_of_open_files() {
    let functions = ["limit", "accept"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (id, _client) = supervisor.offer();
    assert_eq!(supervisor.hear_out(), [id], "the supervisor still has it");
    assert_eq!(worker.output(0).0, "accept -1 EMFILE\ndescriptors 0");
}

#[test]
fn the_c_library_acknowledges_only_when_it_is_told_and_sees_finish_without_waiting() {
    let functions = ["terminated", "accept", "terminated", "accept", "terminated", "acknowledge", "done", "accept"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    // It finds all three together: otherwise it may look for the last before that is said.
    assert!(worker.suspend());
    let (first, _left_alone) = supervisor.offer();
    let (second, taken) = supervisor.offer();
    supervisor.say("finish", &[]);
    worker.resume();
    for word in ["ready 1", "want 1", "want 1", &format!("took {second}"), &format!("done {second}")] {
        supervisor.expect(word);
    }
    assert_eq!(supervisor.expect_end(), [first]);
    let (client, server) = (taken.address(), supervisor.address());
    let said = format!("accept 1 OK {second} {client} {server}\nterminated 1 OK\nacknowledge 0 OK\ndone 0 OK\n");
    let (output, _) = worker.output(0);
    assert!(output.starts_with("terminated 0 OK\naccept 1 OK ") && output.contains(&said), "{output}");
    assert!(output.ends_with("\naccept 0 OK\ndescriptors 0"), "{output}");
}

#[test]
fn the_c_library_does_not_acknowledge_to_a_supervisor_that_is_gone() {
    let functions = ["accept", "end", "acknowledge", "done", "terminated", "accept"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (_, client) = supervisor.offer();
    supervisor.expect("ready 1");
    // What the worker has said is not read any more: it sees a reset first, and then the end.
    supervisor.die();
    client.expect_loss();
    let (said, _) = worker.output(0);
    assert!(
        said.ends_with("acknowledge -1 EPIPE\ndone -1 EPIPE\nterminated 1 OK\naccept 0 OK\ndescriptors 0"),
        "{said}"
    );
}

#[test]
fn the_c_library_leaves_the_queue_when_it_cannot_acknowledge_so_that_another_worker_may() {
    let functions = ["accept", "full", "acknowledge", "terminated", "accept"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (id, _client) = supervisor.offer();
    let (said, _) = worker.output(0);
    assert!(said.ends_with("acknowledge -1 EAGAIN\nterminated 1 OK\naccept 0 OK\ndescriptors 0"), "{said}");
    assert_eq!(supervisor.hear_out(), [id], "the supervisor still has it");
}

#[test]
fn the_c_library_gives_back_what_is_wanted_and_says_what_cannot_be_given() {
    let functions =
        ["gives_back", "accept", "owes", "acknowledge", "back_too_much", "accept", "owes", "back", "owes", "may_exit"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (id, client) = supervisor.offer();
    for word in ["ready 2", "want 1", &format!("took {id}"), "want 1"] {
        supervisor.expect(word);
    }
    supervisor.say("finish", &[]);
    supervisor.expect(&format!("back {id}"));
    assert_eq!(supervisor.expect_end(), []);
    let mut back = supervisor.take_back(id);
    assert_eq!(back.state, b"half");
    back.connection.write_all(b"it lives").expect("its client is there");
    client.expect(b"it lives");
    let (said, _) = worker.output(0);
    let (client, server) = (client.address(), supervisor.address());
    assert_eq!(
        said,
        format!(
            "gives_back 0 OK\naccept 1 OK {id} {client} {server}\nowes 0 OK\nacknowledge 0 OK\nback_too_much -1 EMSGSIZE\n\
             accept 0 OK\nowes 1 OK\nback 0 OK\nowes 0 OK\nmay_exit 1 OK\ndescriptors 0"
        )
    );
}

#[test]
fn the_c_library_does_not_wait_for_room_where_too_many_descriptors_are_under_way() {
    let functions = [
        "gives_back",
        "accept",
        "acknowledge",
        "accept",
        "gives",
        "crowd",
        "back",
        "gives",
        "crowd",
        "back",
        "may_exit",
    ];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (id, _client) = supervisor.offer();
    for word in ["ready 2", "want 1", &format!("took {id}"), "want 1"] {
        supervisor.expect(word);
    }
    supervisor.say("finish", &[]);
    supervisor.expect(&format!("back {id}"));
    assert_eq!(supervisor.expect_end(), []);
    let (said, _) = worker.output(0);
    assert!(
        said.ends_with("gives 1 OK\nback -1 EAGAIN\ngives 0 OK\nback 0 OK\nmay_exit 1 OK\ndescriptors 0"),
        "{said}"
    );
}

#[test]
fn the_c_library_has_the_state_of_what_it_gets_and_keeps_what_is_refused() {
    let functions = ["gives_back", "accept", "acknowledge", "back", "accept", "acknowledge", "back", "done", "accept"];
    let Some((mut supervisor, worker)) = calling(&Place::new(), &functions) else {
        return;
    };
    let (_, client) = supervisor.offer();
    for word in ["ready 2", "want 1", "took 1", "back 1", "want 1"] {
        supervisor.expect(word);
    }
    supervisor.refuse(1);
    supervisor.expect("done 1");
    // It has asked for one before.
    supervisor.say("finish", &[]);
    assert_eq!(supervisor.expect_end(), []);
    let (said, _) = worker.output(0);
    let whose = format!("1 {} {}", client.address(), supervisor.address());
    assert_eq!(
        said,
        format!(
            "gives_back 0 OK\naccept 1 OK {whose}\nacknowledge 0 OK\nback 0 OK\naccept 1 OK {whose} kept half\n\
             acknowledge 0 OK\nback -1 EPERM\ndone 0 OK\naccept 0 OK\ndescriptors 0"
        )
    );
}

#[test]
fn the_c_library_that_gives_back_reports_each_mistake_with_a_state_and_leaks_no_descriptor() {
    let place = Place::new();
    let Some(program) = header(&place) else {
        return;
    };
    let connection = "connection 1 192.0.2.7:1 192.0.2.8:80";
    for (packet, descriptors, expected) in [
        (format!("{connection}\nhalf"), 1, "accept 1 OK 1 192.0.2.7:1 192.0.2.8:80 half"),
        (format!("{connection}\n"), 0, "accept -1 EBADMSG"),
        (format!("{connection}\n{}", "x".repeat(65_537)), 1, "accept -1 EBADMSG"),
        ("keep 1".to_owned(), 1, "accept -1 EBADMSG"),
        ("keep 1 2\n".to_owned(), 1, "accept -1 EBADMSG"),
        ("keep 1\n".to_owned(), 0, "accept -1 EBADMSG"),
        ("keep 1\n".to_owned(), 2, "accept -1 EBADMSG"),
        ("give".to_owned(), 0, "accept -1 EBADMSG"),
        ("finish\n".to_owned(), 0, "accept -1 EBADMSG"),
    ] {
        let mut command = Command::new(&program);
        command.args(["gives_back", "accept"]);
        let (mut supervisor, worker) = ScriptedSupervisor::start(command, Path::new(""));
        let file = File::open("/dev/null").expect("it is always there");
        supervisor.say(&packet, &vec![file.as_fd(); descriptors]);
        supervisor.hear_out();
        let expected = format!("gives_back 0 OK\n{expected}\ndescriptors 0");
        assert_eq!(worker.output(0).0, expected, "{descriptors} descriptors");
    }
}

#[test]
fn the_c_library_says_what_is_wrong_with_the_environment() {
    let place = Place::new();
    let Some(program) = header(&place) else { return };
    for (value, expected) in [
        (None, "create ENOENT"),
        (Some(""), "create EINVAL"),
        (Some("-1"), "create EINVAL"),
        (Some("3x"), "create EINVAL"),
        (Some(" 3"), "create EINVAL"),
        (Some("99999999999999999999"), "create EINVAL"),
        (Some("9999999"), "create EBADF"),
        // Standard input is /dev/null.
        (Some("0"), "create ENOTSOCK"),
    ] {
        let mut command = Command::new(&program);
        match value {
            Some(value) => command.env("REACTORD_QUEUE", value),
            None => command.env_remove("REACTORD_QUEUE"),
        };
        let program = Server::spawn(Path::new(""), &mut command);
        assert_eq!(program.output(1).0, expected, "{value:?}");
    }
}

// ── reactord --worker ──────────────────────────────────────────────────────────────────────────────────────────────

fn reactord(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactord"));
    command.arg("--worker").args(arguments.split_whitespace());
    command
}

/// A worker that has said that it serves and how many connections it wants.
#[track_caller]
fn ready(arguments: &str, credits: u32) -> (ScriptedSupervisor, Server) {
    let (mut supervisor, worker) = ScriptedSupervisor::start(reactord(arguments), Path::new(""));
    supervisor.expect("ready 1");
    supervisor.expect(&format!("want {credits}"));
    (supervisor, worker)
}

/// A peer of the worker.
#[track_caller]
fn served(supervisor: &mut ScriptedSupervisor) -> (u64, Peer) {
    let (id, mut peer) = supervisor.offer();
    supervisor.expect(&format!("took {id}"));
    peer.exchange();
    (id, peer)
}

#[test]
fn reactord_serves_what_its_supervisor_hands_over_and_says_when_it_has_ended() {
    let (mut supervisor, worker) = ready("", 16);
    let (first, peer) = served(&mut supervisor);
    let (_, mut other) = served(&mut supervisor);
    peer.end_sending();
    peer.expect_end();
    supervisor.expect(&format!("done {first}"));
    other.exchange();
    assert!(worker.is_running());
}

#[test]
fn reactord_asks_for_more_before_it_has_used_up_what_it_asked_for() {
    let (mut supervisor, _worker) = ready("", 16);
    let _peers: Vec<_> = (0..8).map(|_| served(&mut supervisor)).collect();
    supervisor.expect("want 8");
}

#[test]
fn reactord_asks_for_no_more_connections_than_it_may_have_peers() {
    let (mut supervisor, worker) = ready("--max-peers 3", 3);
    let peers: Vec<_> = (0..3).map(|_| served(&mut supervisor)).collect();
    worker.wait_for_line(|line| line.contains("Accepting pauses with 3 peers"));
    let mut later = Vec::new();
    for (id, peer) in peers {
        drop(peer);
        supervisor.expect(&format!("done {id}"));
        supervisor.expect("want 1");
        later.push(served(&mut supervisor));
    }
}

#[test]
fn reactord_that_is_to_finish_serves_its_peers_until_they_leave_and_exits() {
    let (mut supervisor, worker) = ready("", 16);
    let (first, mut peer) = served(&mut supervisor);
    supervisor.say("finish", &[]);
    worker.wait_for_line(|line| line.contains("No more connections come from the supervisor"));
    peer.exchange();
    assert!(worker.is_running());
    drop(peer);
    supervisor.expect(&format!("done {first}"));
    assert_eq!(supervisor.expect_end(), []);
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn reactord_that_is_full_hears_that_it_is_to_finish() {
    let (mut supervisor, worker) = ready("--max-peers 1", 1);
    let (first, peer) = served(&mut supervisor);
    worker.wait_for_line(|line| line.contains("Accepting pauses with 1 peers"));
    supervisor.say("finish", &[]);
    drop(peer);
    supervisor.expect(&format!("done {first}"));
    assert_eq!(supervisor.hear_out(), []);
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn reactord_whose_supervisor_dies_serves_its_peers_until_they_leave_and_exits() {
    let (mut supervisor, worker) = ready("", 16);
    let (_, mut peer) = served(&mut supervisor);
    supervisor.die();
    worker.wait_for_line(|line| line.contains("No more connections come from the supervisor"));
    peer.exchange();
    drop(peer);
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn reactord_as_a_worker_stops_at_sigterm() {
    let (mut supervisor, worker) = ready("", 16);
    let (_, peer) = served(&mut supervisor);
    worker.signal(Signal::SIGTERM);
    peer.expect_end();
    assert_eq!(supervisor.hear_out(), []);
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn reactord_does_not_get_what_comes_without_a_descriptor_and_finishes() {
    let (mut supervisor, worker) = ready("", 16);
    let (_, mut peer) = served(&mut supervisor);
    supervisor.say("connection 7 192.0.2.7:1 192.0.2.8:80", &[]);
    assert_eq!(supervisor.expect_end(), []);
    worker.wait_for_line(|line| line.contains("a connection came with 0 descriptors, 1 is expected"));
    peer.exchange();
    drop(peer);
    assert_eq!(worker.exit_code(), 0);
}

#[test]
fn reactord_says_what_is_wrong_with_the_environment() {
    for (value, expected) in [
        (None, "REACTORD_QUEUE is not in the environment: a worker is started by reactord supervise"),
        (Some("x"), "REACTORD_QUEUE is \"x\", the number of a descriptor is expected"),
        (Some("-1"), "REACTORD_QUEUE is \"-1\", the number of a descriptor is expected"),
        (Some("9999"), "descriptor 9999 of REACTORD_QUEUE: Bad file descriptor"),
        (Some("0"), "descriptor 0 of REACTORD_QUEUE is no socket, a Unix socket of packets is expected"),
    ] {
        let mut command = reactord("");
        match value {
            Some(value) => command.env("REACTORD_QUEUE", value),
            None => command.env_remove("REACTORD_QUEUE"),
        };
        let (_, said) = Server::spawn(Path::new(""), &mut command).output(1);
        assert!(said.contains(expected), "{said}");
    }
}

// ── Takeover between workers ───────────────────────────────────────────────────────────────────────────────────────

/// A worker that answers a successor on `path`.
#[track_caller]
fn replaceable(path: &Path, arguments: &str) -> (ScriptedSupervisor, Server) {
    let mut command = reactord(arguments);
    command.env("REACTORD_TAKEOVER", path);
    let (mut supervisor, worker) = ScriptedSupervisor::start(command, path);
    supervisor.expect("ready 2");
    (supervisor, worker.started())
}

/// A worker that takes over from the one on `path`. It may not have called yet when this returns.
fn replacement(path: &Path, moved_to: &Path, arguments: &str) -> (ScriptedSupervisor, Server) {
    let mut command = reactord(arguments);
    command.env("REACTORD_PREDECESSOR", path).env("REACTORD_TAKEOVER", moved_to);
    ScriptedSupervisor::start(command, moved_to)
}

#[test]
fn live_connections_move_from_worker_to_worker_byte_for_byte() {
    let place = Place::new();
    let (mut supervisor, mut worker) = replaceable(&place.file("0"), "");
    supervisor.expect("want 16");
    let mut peers: Vec<Peer> = (0..40)
        .map(|_| {
            let (_, mut peer) = supervisor.offer();
            peer.exchange();
            peer
        })
        .collect();
    for generation in 1..=3 {
        let moved_to = place.file(&generation.to_string());
        peers.iter_mut().for_each(|peer| peer.ask_begin(2));
        let (mut next, successor) = replacement(&place.file(&(generation - 1).to_string()), &moved_to, "");
        worker = worker.taken_over_by(successor);
        next.expect("ready 2");
        next.expect("want 16");
        // All that the predecessor was given it has taken; its end of the queue is closed.
        assert_eq!(supervisor.hear_out(), []);
        supervisor = next;
        peers.iter_mut().for_each(|peer| peer.ask_end(2));
        peers.iter_mut().for_each(Peer::hear);
        peers.push(served(&mut supervisor).1);
        exchange_all(&mut peers);
        assert_eq!(caller_sees_pid(&moved_to), worker.pid());
        assert!(!place.file(&(generation - 1).to_string()).exists(), "the path has moved");
    }
    supervisor.say("finish", &[]);
    drop(peers);
    assert_eq!(worker.exit_code(), 0);
    assert!(!place.file("3").exists(), "a worker that has finished leaves no path");
}

#[test]
fn reactord_closes_what_another_program_has_given_back_with_a_state_and_serves_on() {
    let place = Place::new();
    let (mut supervisor, worker) = replaceable(&place.path(), "");
    supervisor.expect("want 16");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    for (id, state, is_served) in [(7, &b"Ada"[..], false), (8, b"", true)] {
        let mut client = Peer::connect(address);
        let (connection, _) = listener.accept().expect("a connection is there");
        supervisor.pass_on(id, GivenBack { state: state.to_vec(), connection });
        supervisor.expect(&format!("took {id}"));
        if is_served {
            client.exchange();
        } else {
            supervisor.expect(&format!("done {id}"));
            client.expect_loss();
            worker.wait_for_line(|line| line.contains("another program has given it back with 3 bytes of state"));
        }
    }
}

#[test]
fn a_worker_that_is_full_after_a_takeover_says_that_it_is_ready_and_wants_none() {
    let place = Place::new();
    let (mut supervisor, worker) = replaceable(&place.path(), "");
    supervisor.expect("want 16");
    let mut peers: Vec<Peer> = (0..2).map(|_| served(&mut supervisor).1).collect();
    let (mut next, successor) = replacement(&place.path(), &place.path(), "--max-peers 1");
    let successor = worker.taken_over_by(successor);
    next.expect("ready 2");
    exchange_all(&mut peers);
    peers.clear();
    next.expect("want 1");
    assert!(successor.is_running());
}

#[test]
fn a_worker_that_cannot_take_over_exits_and_its_predecessor_goes_on() {
    let place = Place::new();
    let (mut supervisor, worker) = replaceable(&place.path(), "");
    supervisor.expect("want 16");
    let (_, mut peer) = served(&mut supervisor);
    let (mut next, successor) = replacement(&place.path(), &place.file("next"), "--service line");
    assert_eq!(next.expect_end(), [], "it never said ready");
    assert_eq!(successor.exit_code(), 3);
    peer.exchange();
    served(&mut supervisor);
    assert!(worker.is_running());
}

#[test]
fn a_worker_and_a_server_that_listens_do_not_take_over_from_each_other() {
    let place = Place::new();
    let (mut supervisor, worker) = replaceable(&place.path(), "");
    let server = Server::take_over(&place.path(), "");
    let (_, said) = server.output(3);
    assert!(said.contains("the predecessor has 0 listeners, 1 is expected"), "{said}");

    let path = place.file("listening");
    let server = Server::serve(&path, "");
    let (mut next, successor) = replacement(&path, &path, "");
    let (_, said) = successor.output(3);
    assert!(said.contains("the predecessor has 1 listeners, and a worker of a supervisor takes over none"), "{said}");
    assert_eq!(next.expect_end(), []);

    Peer::connect(server.address()).exchange();
    supervisor.expect("want 16");
    served(&mut supervisor);
    assert!(worker.is_running());
    server.stop();
}

#[test]
fn what_is_offered_to_a_worker_that_is_being_replaced_and_not_taken_goes_back() {
    let place = Place::new();
    let (mut supervisor, worker) = replaceable(&place.path(), "");
    supervisor.expect("want 16");
    let (_, mut moved) = served(&mut supervisor);
    assert!(worker.suspend());
    let (waiting, mut client) = supervisor.offer();
    // Once it runs again, it takes the connection, or the successor takes over before it does.
    let (mut next, successor) = replacement(&place.path(), &place.path(), "");
    worker.resume();
    let _successor = worker.taken_over_by(successor);
    next.expect("ready 2");
    next.expect("want 16");
    let untaken = supervisor.hear_out();
    if untaken.is_empty() {
        println!("it was taken, and has moved");
    } else {
        assert_eq!(untaken, [waiting]);
        next.offer_again(&mut supervisor, waiting);
    }
    client.exchange();
    moved.exchange();
}

// ── Strangers ──────────────────────────────────────────────────────────────────────────────────────────────────────

const NOBODY: u32 = 65534;

#[test]
fn another_user_gets_at_neither_end_of_a_queue() {
    let place = Place::new();
    if !geteuid().is_root() {
        return skip("only root can become another user");
    }
    let Some(program) = compiled(&place, &in_tree("tests/worker/stranger.c"), &[]) else {
        return skip("there is no cc");
    };
    std::fs::set_permissions(place.directory(), Permissions::from_mode(0o755)).expect("it is ours");
    let (mut supervisor, worker) = ready("", 16);
    let (_, mut peer) = served(&mut supervisor);
    let ends = [(worker.pid(), queue_number(worker.pid())), (std::process::id(), supervisor.number())];
    for (pid, number) in ends {
        let arguments = [pid.to_string(), number.to_string()];
        let tried = |command: &mut Command| {
            let output = command.args(&arguments).output().expect("it can be started");
            String::from_utf8(output.stdout).expect("it writes ASCII")
        };
        let refused = "open EACCES\nreadlink EACCES\npidfd_open OK\npidfd_getfd EPERM\nptrace EPERM\n";
        assert_eq!(tried(Command::new(&program).uid(NOBODY).gid(NOBODY)), refused, "pid {pid}, descriptor {number}");
        // Their own user and root are not kept out: what refuses strangers is not that there is nothing to get.
        let allowed = tried(&mut Command::new(&program));
        assert!(allowed.starts_with("open ENXIO\nreadlink OK\n"), "{allowed}");
    }
    peer.exchange();
}

/// Under which number a worker has its queue, which is the only Unix socket that it has.
#[track_caller]
fn queue_number(pid: u32) -> i32 {
    let unix = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).expect("it runs");
    let inodes: Vec<&str> = unix.lines().filter_map(|line| line.split_whitespace().nth(6)).collect();
    let is_unix = |link: &str| {
        let inode = link.strip_prefix("socket:[").and_then(|link| link.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.contains(&inode))
    };
    let directory = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let sockets = directory.filter_map(|entry| {
        let entry = entry.ok()?;
        let link = std::fs::read_link(entry.path()).ok()?;
        is_unix(link.to_str()?).then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    });
    sockets.last().expect("a worker has a queue")
}
