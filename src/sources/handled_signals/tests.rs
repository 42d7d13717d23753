//! Each in a process of its own: signals are the process's, and other tests run in this one.

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::{kill, raise};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::*;
use crate::services::Line;
use crate::{Listen, Outcome, Server};

/// In the process of a test: where its files are.
const PLACE: &str = "REACTORD_TEST_PLACE";

/// Starts this test once more, in a process of its own.
fn again(name: &str, place: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("sources::handled_signals::tests::{name}"), "--nocapture"]);
    command.env(PLACE, place).stdout(Stdio::null()).spawn().unwrap()
}

fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

fn signal(process: &Child, signal: Signal) {
    kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
}

/// Waits until a server answers on its takeover path, which it does when it hears signals, too.
#[track_caller]
fn wait_for(process: &mut Child, path: &Path) {
    let mut caller = loop {
        match UnixStream::connect(path) {
            Ok(caller) => break caller,
            Err(error) => assert!(process.try_wait().unwrap().is_none(), "it ended before: {error}"),
        }
        thread::yield_now();
    };
    caller.shutdown(Shutdown::Write).unwrap();
    caller.read_to_end(&mut Vec::new()).unwrap();
}

fn ended_by(status: ExitStatus) -> Option<Signal> {
    status.signal().and_then(|number| Signal::try_from(number).ok())
}

/// A server in a thread of its own, on a takeover path by this name.
fn serve(place: &Path, name: &str) -> thread::JoinHandle<Outcome> {
    let config = Config { takeover_path: Some(place.join(name)), survive_signals: true, ..Config::default() };
    thread::spawn(move || {
        let listener = Listen::on("lines", SocketAddr::from(([127, 0, 0, 1], 0)));
        Server::new(config).service([listener], Line::default()).serve().unwrap()
    })
}

#[test]
fn sigterm_stops_every_server_of_a_process_and_then_does_what_it_did_before() {
    if let Some(place) = place() {
        let servers = ["one", "two", "three"].map(|name| serve(&place, name));
        let outcomes = servers.map(|server| server.join().unwrap());
        assert_eq!(outcomes, [Outcome::Stopped; 3]);
        std::fs::write(place.join("stopped"), "").unwrap();
        raise(Signal::SIGTERM).unwrap();
        unreachable!("no server watches it any more");
    }
    let place = TempDir::new().unwrap();
    let name = "sigterm_stops_every_server_of_a_process_and_then_does_what_it_did_before";
    let mut process = again(name, place.path());
    ["one", "two", "three"].iter().for_each(|name| wait_for(&mut process, &place.path().join(name)));
    for harmless in HARMLESS {
        signal(&process, harmless);
    }
    signal(&process, Signal::SIGTERM);
    let status = process.wait().unwrap();
    assert_eq!(ended_by(status), Some(Signal::SIGTERM), "{status}");
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["stopped"]);
}

#[test]
fn handler_that_the_program_had_before_is_called_while_a_server_runs_and_afterwards() {
    if let Some(place) = place() {
        let told = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::SIGTERM as i32, told.clone()).unwrap();
        assert_eq!(serve(&place, "one").join().unwrap(), Outcome::Stopped);
        assert!(told.swap(false, Ordering::SeqCst), "beside the server");
        raise(Signal::SIGTERM).unwrap();
        assert!(told.swap(false, Ordering::SeqCst), "without one");
        return;
    }
    let place = TempDir::new().unwrap();
    let name = "handler_that_the_program_had_before_is_called_while_a_server_runs_and_afterwards";
    let mut process = again(name, place.path());
    wait_for(&mut process, &place.path().join("one"));
    signal(&process, Signal::SIGTERM);
    let status = process.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn server_that_starts_when_the_last_one_has_returned_hears_signals_again() {
    if let Some(place) = place() {
        for name in ["one", "two"] {
            assert_eq!(serve(&place, name).join().unwrap(), Outcome::Stopped);
        }
        return;
    }
    let place = TempDir::new().unwrap();
    let mut process = again("server_that_starts_when_the_last_one_has_returned_hears_signals_again", place.path());
    for name in ["one", "two"] {
        wait_for(&mut process, &place.path().join(name));
        signal(&process, Signal::SIGTERM);
    }
    let status = process.wait().unwrap();
    assert!(status.success(), "{status}");
}
