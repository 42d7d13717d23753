//! Workers that get the listening sockets, of every kind: behind a start script, in a release behind a link, without their
//! directory, as another user, with accept loops that block, and releases that only look as if they served.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{PATIENCE, Place, Server, daemon, skip};
use crate::workers::{signal, wait_for_workers, wait_until_gone};

/// Serves one client after the other, as simply as can be: says something and its pid, and closes.
const SERVER: &str = r#"
import os, socket, sys
listener = socket.socket(fileno=3)
assert listener.getblocking() == os.get_blocking(3) == True, "as those of systemd do"
while True:
    client, _ = listener.accept()
    client.sendall(f"{open(sys.argv[1]).read()} {os.getpid()}".encode())
    client.close()
"#;

/// A supervisor that was started in a directory with `options`, and passes its sockets on to `command`.
fn supervise(directory: &Path, options: &str, command: &[&str]) -> Server {
    let mut supervisor = daemon();
    supervisor.current_dir(directory).env("PWD", directory);
    supervisor.args(["supervise", "-p", "0", "--hand-over", "listen"]).args(options.split_whitespace());
    Server::spawn(Path::new(""), supervisor.arg("--").args(command))
}

/// What the next client is told: what the release says, and which process it is.
#[track_caller]
fn served(address: SocketAddr) -> (String, u32) {
    let mut client = TcpStream::connect(address).expect("the listener is always there");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("a worker serves");
    let (release, pid) = said.split_once(' ').unwrap_or_else(|| panic!("{said:?} names a process"));
    (release.to_owned(), pid.parse().expect("a pid"))
}

/// A directory with the server, and with what it says.
fn release(place: &Place, name: &str) -> std::path::PathBuf {
    let directory = place.file(name);
    std::fs::create_dir(&directory).expect("there is room");
    std::fs::write(directory.join("server.py"), SERVER).expect("there is room");
    std::fs::write(directory.join("said"), name).expect("there is room");
    directory
}

fn replace(supervisor: &Server, generation: u32) {
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves")));
}

#[test]
fn what_a_start_script_has_started_is_gone_with_its_generation_and_at_a_stop() {
    let place = Place::new();
    let directory = release(&place, "old");
    let supervisor = supervise(&directory, "", &["sh", "-c", "python3 server.py said; true"]);
    let script = wait_for_workers(&supervisor, 1)[0];
    let (_, server) = served(supervisor.address());
    assert_ne!(script, server);
    replace(&supervisor, 2);
    wait_until_gone(server);
    supervisor.wait_for_line(|line| line.contains(&format!("What worker pid {script} had left behind is gone")));
    let (_, server) = served(supervisor.address());
    supervisor.stop_serving([]);
    assert!(TcpStream::connect(supervisor.address()).is_err(), "nobody has the port any more");
    wait_until_gone(server);
}

#[test]
fn what_a_start_script_that_was_killed_has_started_gives_way_to_its_replacement() {
    let place = Place::new();
    let supervisor = supervise(&release(&place, "old"), "", &["sh", "-c", "python3 server.py said; true"]);
    let script = wait_for_workers(&supervisor, 1)[0];
    let (_, server) = served(supervisor.address());
    signal(script, Signal::SIGKILL);
    wait_until_gone(server);
    wait_for_workers(&supervisor, 2);
    assert_ne!(served(supervisor.address()).1, server);
    supervisor.stop();
}

#[test]
fn what_is_left_behind_and_does_not_finish_is_killed_and_the_stop_waits_for_that() {
    let place = Place::new();
    // The script ends at once, and what it has started is deaf.
    let deaf = "trap '' TERM; while :; do sleep 1000; done";
    let script = format!("sh -c \"{deaf}\" & exec python3 server.py said");
    let supervisor = supervise(&release(&place, "old"), "--drain-timeout 0.2", &["sh", "-c", &script]);
    let worker = wait_for_workers(&supervisor, 1)[0];
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| {
        line.contains(&format!("What worker pid {worker} has left behind has not finished in time and is sent SIGKILL"))
    });
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

#[test]
fn another_binary_of_the_supervisor_still_knows_what_was_left_behind() {
    let place = Place::new();
    let script = "(trap '' TERM; while :; do sleep 1000; done) & exec python3 server.py said";
    let supervisor = supervise(&release(&place, "old"), "", &["sh", "-c", script]);
    let worker = wait_for_workers(&supervisor, 1)[0];
    replace(&supervisor, 2);
    supervisor.wait_for_line(|line| line.contains(&format!("Worker pid {worker} is gone and has left processes")));
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    // The second time, it does not wait.
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| line.contains("SIGTERM: stopping"));
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_for_line(|line| line.contains(&format!("What worker pid {worker} had left behind is gone")));
    assert_eq!(supervisor.exit_code(), 0, "{}", supervisor.log());
}

#[test]
fn a_release_behind_a_link_is_replaced_when_the_link_is_switched() {
    let place = Place::new();
    let (old, new) = (release(&place, "old"), release(&place, "new"));
    let switch_to = |target: &Path| {
        symlink(target, place.file("next")).expect("there is room");
        std::fs::rename(place.file("next"), place.file("current")).expect("it can be switched");
    };
    switch_to(&old);
    let supervisor = supervise(&place.file("current"), "", &["python3", "server.py", "said"]);
    let old_worker = wait_for_workers(&supervisor, 1)[0];
    assert_eq!(served(supervisor.address()).0, "old");
    switch_to(&new);
    // Another binary of the supervisor still goes by the link.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.wait_for_line(|line| line.contains("Resumed as pid "));
    replace(&supervisor, 2);
    // Until it is gone, it may accept a client, whom SIGTERM then takes along: it is as simple as can be.
    wait_until_gone(old_worker);
    assert_eq!(served(supervisor.address()).0, "new");
    supervisor.stop();
}

#[test]
fn a_release_that_is_missing_takes_nobodys_place_and_a_worker_that_died_is_replaced_all_the_same() {
    let place = Place::new();
    let directory = release(&place, "old");
    let absolute = |name| directory.join(name).to_str().expect("text").to_owned();
    let (server, said) = (absolute("server.py"), absolute("said"));
    let current = place.file("current");
    symlink(&directory, &current).expect("there is room");
    let supervisor = supervise(&current, "", &["python3", &server, &said]);
    let worker = wait_for_workers(&supervisor, 1)[0];
    std::fs::remove_file(&current).expect("it is there");
    supervisor.signal(Signal::SIGHUP);
    let missing =
        format!("Generation 2 is given up: a worker could not be started: the directory {}", current.display());
    supervisor.wait_for_line(|line| line.contains(&missing));
    assert_eq!(served(supervisor.address()).1, worker);
    signal(worker, Signal::SIGKILL);
    wait_for_workers(&supervisor, 2);
    assert_eq!(served(supervisor.address()).0, "old");
    supervisor.stop();
}

#[test]
fn a_release_that_fails_after_a_while_takes_nobodys_place() {
    let place = Place::new();
    let directory = release(&place, "old");
    mkfifo(&directory.join("loads"), Mode::S_IRWXU).expect("a pipe can be made");
    let script = "if [ -e broken ]; then read -r line <loads; exit 1; fi; exec python3 server.py said";
    let supervisor = supervise(&directory, "", &["sh", "-c", script]);
    let worker = wait_for_workers(&supervisor, 1)[0];
    std::fs::write(directory.join("broken"), "").expect("there is room");
    supervisor.signal(Signal::SIGHUP);
    // Of a pipe, either end waits until the other one is opened (fifo(7)): it loads its framework.
    let loads = std::fs::File::options().write(true).open(directory.join("loads")).expect("the worker opens it, too");
    assert_eq!(served(supervisor.address()).1, worker);
    drop(loads);
    supervisor.wait_for_line(|line| line.contains("Generation 2 is given up: worker pid "));
    assert_eq!(served(supervisor.address()).1, worker);
    supervisor.stop();
}

#[test]
fn a_release_that_only_lives_is_given_up_when_its_time_is_over() {
    let place = Place::new();
    let directory = release(&place, "old");
    let script = "if [ -e broken ]; then exec sleep 1000; fi; exec python3 server.py said";
    let supervisor = supervise(&directory, "--ready-timeout 5", &["sh", "-c", script]);
    let worker = wait_for_workers(&supervisor, 1)[0];
    std::fs::write(directory.join("broken"), "").expect("there is room");
    supervisor.signal(Signal::SIGHUP);
    supervisor.wait_for_line(|line| {
        line.contains("Generation 2 is given up: worker pid ")
            && line.contains("has not said READY=1 and is not seen to accept after 5000 ms")
    });
    assert_eq!(served(supervisor.address()).1, worker);
    supervisor.stop();
}

#[test]
fn a_worker_that_hangs_is_replaced_and_killed_when_its_time_is_over() {
    let place = Place::new();
    let command = ["python3", "server.py", "said"];
    let supervisor = supervise(&release(&place, "old"), "--drain-timeout 0.2", &command);
    let hangs = wait_for_workers(&supervisor, 1)[0];
    signal(hangs, Signal::SIGSTOP);
    replace(&supervisor, 2);
    let killed = format!("Worker pid {hangs} has not finished in time and is sent SIGKILL");
    supervisor.wait_for_line(|line| line.contains(&killed));
    wait_until_gone(hangs);
    assert_eq!(served(supervisor.address()).1, wait_for_workers(&supervisor, 2)[1]);
    supervisor.stop();
}

#[test]
fn a_worker_that_runs_as_another_user_is_seen_to_accept_and_finishes() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can start a worker as another user");
    }
    let place = Place::new();
    let directory = release(&place, "old");
    std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    let as_another = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // Not the test user's own Python, which others may not be allowed to execute.
    let command = [&as_another[..], &["/usr/bin/python3", "server.py", "said"]].concat();
    if !Command::new(command[0])
        .args(&command[1..6])
        .args(["/usr/bin/python3", "-V"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skip("there is no /usr/bin/python3 that another user may execute");
    }
    let supervisor = supervise(&directory, "", &command);
    wait_for_workers(&supervisor, 1);
    let (_, worker) = served(supervisor.address());
    replace(&supervisor, 2);
    wait_until_gone(worker);
    supervisor.stop();
}
