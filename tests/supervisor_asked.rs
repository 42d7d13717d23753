//! A supervisor that is asked on its path, and what it says of generations that come, fail, or come in part.

#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/client.rs"]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "supervisor/workers.rs"]
mod workers;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use client::{Client, reactord, supervise};
use harness::{Peer, Place, Server, exchange_all};
use nix::sys::signal::Signal;
use serde_json::Value;
use workers::{wait_for_workers, wait_until_gone};

/// Asks on this path.
fn ask(command: &str, path: &Path) -> Output {
    let asked = Command::new(env!("CARGO_BIN_EXE_reactord")).arg(command).arg(path).output();
    asked.expect("it can be run")
}

#[track_caller]
fn status(path: &Path) -> Value {
    let asked = Command::new(env!("CARGO_BIN_EXE_reactord")).args(["status", "--json"]).arg(path).output();
    let asked = asked.expect("it can be run");
    assert!(asked.status.success(), "{asked:?}");
    serde_json::from_slice(&asked.stdout).expect("it is JSON")
}

/// Workers that run this shell script before they become the daemon's.
fn after(script: &str) -> Vec<String> {
    let script = format!("{script}; exec {}", reactord().join(" "));
    ["sh", "-c", &script].map(str::to_owned).into()
}

fn exists(file: &Path) -> String {
    format!("[ -e {} ]", file.display())
}

/// A supervisor that is asked on a path in this place.
#[track_caller]
fn asked_in(place: &Place, options: &str, command: &[String]) -> Server {
    supervise(&format!("-t {} {options}", place.file("asked").display()), command)
}

#[test]
fn reload_says_what_came_of_it_and_status_who_serves() {
    let place = Place::new();
    let (path, broken) = (place.file("asked"), place.file("broken"));
    let command = after(&format!("if {}; then exit 9; fi", exists(&broken)));
    let supervisor = asked_in(&place, "--workers 2", &command);
    wait_for_workers(&supervisor, 2);

    let reloaded = ask("reload", &path);
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:?}");
    assert!(String::from_utf8_lossy(&reloaded.stdout).starts_with("generation 2 serves: 2 workers"), "{reloaded:?}");

    std::fs::write(&broken, "").expect("the directory is there");
    let refused = ask("reload", &path);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(why.contains("generation 3 is given up: worker pid ") && why.contains("exited with code 9"), "{why}");
    assert!(why.contains("generation 2 goes on"), "{why}");

    let status = status(&path);
    assert_eq!((&status["generation"], &status["serving"], &status["unreplaced"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(status["failure"]["generation"], 3);
    let told = String::from_utf8_lossy(&ask("status", &path).stdout).into_owned();
    let failed = told.lines().filter(|line| line.contains("failed")).collect::<Vec<_>>();
    assert!(
        matches!(failed[..], [line] if line.starts_with("  generation 3 failed ") && line.contains(" ago: worker pid ")),
        "{told}"
    );
    let serving = status["workers"].as_array().expect("a list").iter().filter(|worker| worker["does"] == "serves");
    assert_eq!(serving.filter(|worker| worker["generation"] == 2).count(), 2, "{status}");

    std::fs::remove_file(&broken).expect("it is there");
    assert_eq!(ask("reload", &path).status.code(), Some(0));
    let status = self::status(&path);
    assert_eq!((&status["failure"], &status["failed_reload"]["generation"]), (&Value::Null, &3.into()), "{status}");
    supervisor.stop();
    assert!(!path.exists(), "who stops leaves its path");
    assert_eq!(ask("reload", &path).status.code(), Some(3));
}

#[test]
fn a_path_is_kept_while_the_binary_is_replaced_and_refused_to_another() {
    let place = Place::new();
    let path = place.file("asked");
    let supervisor = asked_in(&place, "", &reactord());
    wait_for_workers(&supervisor, 1);
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    assert_eq!(status(&path)["pid"], supervisor.pid());
    let arguments = ["supervise", "-p", "0", "-t", path.to_str().expect("it is text"), "--", "sleep", "1"];
    let other = Command::new(env!("CARGO_BIN_EXE_reactord")).args(arguments).output().expect("it can be run");
    let why = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(1), "{why}");
    assert!(why.contains(&format!("pid {} answers on ", supervisor.pid())), "{why}");
    supervisor.stop();
}

#[test]
fn a_path_that_is_removed_is_made_anew_also_by_the_next_binary() {
    let place = Place::new();
    let path = place.file("asked");
    let supervisor = asked_in(&place, "", &reactord());
    wait_for_workers(&supervisor, 1);
    std::fs::remove_file(&path).expect("it is there");
    supervisor.wait_for_lines(1, |line| line.contains("asked was gone, and has been made anew"));
    assert_eq!(status(&path)["pid"], supervisor.pid());
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    std::fs::remove_file(&path).expect("it is there");
    supervisor.wait_for_lines(2, |line| line.contains("asked was gone, and has been made anew"));
    assert_eq!(status(&path)["pid"], supervisor.pid());
    supervisor.stop();
    assert!(!path.exists(), "who stops leaves its path");
}

#[test]
fn a_server_that_is_asked_for_what_a_supervisor_does_says_what_it_does() {
    let place = Place::new();
    let supervisor = asked_in(&place, "", &reactord());
    wait_for_workers(&supervisor, 1);
    let server = Server::serve(&place.path(), "");
    let refused = ask("reload", &place.path());
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{why}");
    assert!(why.contains("upgrade replaces it"), "{why}");
    assert_eq!(status(&place.file("asked"))["serving"], 1);
    assert_eq!(status(&place.path())["pid"], server.pid());
    server.stop();
    supervisor.stop();
}

#[test]
fn a_generation_of_which_one_worker_takes_over_serves_in_part() {
    let place = Place::new();
    let (path, fail, first) = (place.file("asked"), place.file("fail"), place.file("first"));
    let command = after(&format!("if {}; then mkdir {} 2>/dev/null || exit 9; fi", exists(&fail), first.display()));
    let supervisor = asked_in(&place, "--workers 2 --replace takeover", &command);
    wait_for_workers(&supervisor, 2);
    std::fs::write(&fail, "").expect("the directory is there");
    let reloaded = ask("reload", &path);
    let why = String::from_utf8_lossy(&reloaded.stderr).into_owned();
    assert_eq!(reloaded.status.code(), Some(3), "{reloaded:?}");
    assert!(why.contains("generation 2 serves in part: 1 workers were not replaced and go on: worker pid "), "{why}");
    let status = status(&path);
    assert_eq!((&status["serving"], &status["unreplaced"]), (&2.into(), &1.into()), "{status}");
    supervisor
        .wait_for_line(|line| line.contains("Generation 2 serves in part: 1 workers, and 1 of earlier ones go on"));
    supervisor.stop();
}

#[test]
fn a_worker_that_was_given_up_takes_over_nothing_when_it_comes_to_it() {
    let place = Place::new();
    let (path, slow) = (place.file("asked"), place.file("slow"));
    let command = after(&format!("while {}; do sleep 0.1; done", exists(&slow)));
    let supervisor = asked_in(&place, "--replace takeover --ready-timeout 2 --drain-timeout 2", &command);
    wait_for_workers(&supervisor, 1);
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(supervisor.address())).collect();
    exchange_all(&mut peers);
    std::fs::write(&slow, "").expect("the directory is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains(" is not replaced and goes on: "));
    std::fs::remove_file(&slow).expect("it is there");
    // It is killed without having run again, and the generation is not over before.
    let reloaded = ask("reload", &path);
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:?}");
    supervisor.wait_for_line(|line| line.contains("of generation 2 was killed by SIGKILL"));
    exchange_all(&mut peers);
    assert_eq!(supervisor.lines_with("Generation 2 is given up: none of its workers became ready").len(), 1);
    assert_eq!(supervisor.lines_with("Took over").len(), 1, "{}", supervisor.log());
    supervisor.stop();
}

#[test]
fn a_worker_that_hangs_hands_over_nothing_and_is_replaced_all_the_same() {
    let place = Place::new();
    let options = "--workers 2 --replace takeover --ready-timeout 2 --drain-timeout 2";
    let supervisor = asked_in(&place, options, &reactord());
    let hanging = wait_for_workers(&supervisor, 2)[0];
    workers::signal(hanging, Signal::SIGSTOP);
    let reloaded = ask("reload", &place.file("asked"));
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:?}");
    supervisor.wait_for_line(|line| line.contains(&format!("Worker pid {hanging} has not answered after ")));
    let status = status(&place.file("asked"));
    assert_eq!((&status["generation"], &status["serving"], &status["unreplaced"]), (&2.into(), &2.into(), &0.into()));
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(supervisor.address())).collect();
    exchange_all(&mut peers);
    wait_until_gone(hanging);
    exchange_all(&mut peers);
    drop(peers);
    supervisor.stop();
}

#[test]
fn a_supervisor_that_was_stopped_hears_who_was_ready_before_it_judges_who_is_late() {
    let place = Place::new();
    let (path, slow) = (place.file("asked"), place.file("slow"));
    let command = after(&format!("while {}; do sleep 0.1; done", exists(&slow)));
    let supervisor = asked_in(&place, "-v --ready-timeout 3", &command);
    wait_for_workers(&supervisor, 1);
    std::fs::write(&slow, "").expect("the directory is there");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_lines(2, |line| line.contains(" is started"));
    assert!(supervisor.suspend());
    std::fs::remove_file(&slow).expect("it is there");
    supervisor.wait_for_lines(2, |line| line.contains("Starting worker on a supervisor's queue"));
    // Its time is over by then, whenever it began.
    Client::connect(supervisor.address()).assert_silent_for(Duration::from_secs(3));
    supervisor.resume();
    supervisor.wait_for_line(|line| line.contains("Generation 2 serves"));
    assert_eq!(status(&path)["generation"], 2);
    supervisor.stop();
}

#[test]
fn a_worker_is_replaced_although_the_directory_of_the_sockets_was_removed() {
    let place = Place::new();
    let mut binary = harness::daemon();
    binary.env("TMPDIR", place.path().parent().expect("it is in a directory"));
    let supervisor = client::spawn(binary, "--replace takeover", &reactord());
    let worker = wait_for_workers(&supervisor, 1)[0];
    let directory = std::fs::read_dir(place.path().parent().expect("it is in a directory")).expect("it can be read");
    let sockets =
        directory.filter_map(Result::ok).find(|entry| entry.file_name().to_string_lossy().starts_with("reactord-"));
    let sockets = sockets.expect("workers that hand over have a directory").path();
    std::fs::remove_dir_all(&sockets).expect("it is ours");
    workers::signal(worker, Signal::SIGKILL);
    supervisor.wait_for_line(|line| line.contains(&format!("{} was removed, and is made anew", sockets.display())));
    supervisor.wait_for_lines(2, |line| line.contains("of generation 1 is ready"));
    supervisor.stop();
    assert!(!sockets.exists());
}
