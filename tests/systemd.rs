//! The units of `deploy/` under a real systemd, which is process 1 of namespaces of its own. Where that cannot be had, which
//! takes root and Debian's package, each test says so.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[path = "systemd/machine.rs"]
mod machine;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use harness::{Peer, exchange_all, skip};
use machine::{BINARY, Machine};

const SERVICE: &str = "reactord.service";

/// Where the units have the server listen, within the machine.
fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1234))
}

#[test]
fn a_reload_keeps_every_connection_and_makes_the_successor_the_main_process() {
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.start(SERVICE);
    let first = machine.main_pid(SERVICE);
    let mut peers = Peer::connect_many(address(), 2000);
    exchange_all(&mut peers);
    let informed = machine.journal(&["-u", SERVICE, "-p", "info..info", "-o", "cat"]);
    assert!(
        informed.contains("[reactord::") && !informed.contains("<6>") && !informed.contains(" INFO "),
        "{informed}"
    );
    for generation in 2..4 {
        let reload = machine.systemctl("reload reactord.service");
        assert!(reload.status.success(), "{reload:?}\n{}", machine.journal(&[]));
        exchange_all(&mut peers);
        assert_ne!(machine.main_pid(SERVICE), first);
        assert_eq!(machine.show(SERVICE, "NRestarts"), "0");
        let begins = format!("Generation {generation}: 2000 peers; pause ");
        machine
            .wait_until("the status tells of it", |machine| machine.show(SERVICE, "StatusText").starts_with(&begins));
        assert_eq!(machine.show(SERVICE, "ActiveState"), "active");
    }
    let stopped = machine.systemctl("stop reactord.service");
    assert!(stopped.status.success(), "{stopped:?}");
    let journal = machine.journal(&["-u", SERVICE]);
    assert_eq!(machine.show(SERVICE, "Result"), "success", "{journal}");
    // It was waited for until it had stopped, though systemd has not started it itself.
    assert!(!journal.contains("with signal SIGKILL") && journal.contains(": stopping with 2000 peers"), "{journal}");
}

#[test]
fn a_reload_with_a_binary_that_does_not_serve_fails_and_the_server_goes_on_and_says_why() {
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.start(SERVICE);
    let first = machine.main_pid(SERVICE);
    let mut peers = Peer::connect_many(address(), 10);
    exchange_all(&mut peers);
    // The command asks with the binary that is there, so that one is as it was; what the server starts is not.
    machine.install_script(
        "#!/bin/sh\ncase $1 in upgrade) exec /run/bin/good \"$@\";; *) echo no such library >&2; exit 127;; esac\n",
    );
    machine.install_as(env!("CARGO_BIN_EXE_reactord").as_ref(), "/run/bin/good");
    let reload = machine.systemctl("reload reactord.service");
    assert!(!reload.status.success(), "{reload:?}\n{}", machine.journal(&[]));
    exchange_all(&mut peers);
    assert_eq!((machine.main_pid(SERVICE), machine.show(SERVICE, "ActiveState")), (first, "active".to_owned()));
    machine.wait_until("the status says why", |machine| machine.show(SERVICE, "StatusText").contains("127"));
    let said = machine.journal(&["-u", SERVICE, "-o", "cat"]);
    assert!(said.contains("no such library") && said.contains("exited with code 127"), "{said}");
    let warnings = machine.journal(&["-u", SERVICE, "-p", "warning", "-o", "cat"]);
    assert!(
        warnings.contains("[reactord") && warnings.contains("127") && !warnings.contains("Starting TCP server"),
        "{warnings}"
    );

    machine.install(Path::new(env!("CARGO_BIN_EXE_reactord")));
    assert!(machine.systemctl("reload reactord.service").status.success(), "{}", machine.journal(&[]));
    exchange_all(&mut peers);
    assert_ne!(machine.main_pid(SERVICE), first);
}

#[test]
fn a_connection_starts_a_server_whose_port_systemd_holds_open() {
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.start("reactord.socket");
    assert_eq!(machine.show(SERVICE, "ActiveState"), "inactive");
    let mut peers = vec![Peer::connect(address())];
    exchange_all(&mut peers);
    assert!(machine.systemctl("reload reactord.service").status.success(), "{}", machine.journal(&[]));
    exchange_all(&mut peers);
    drop(peers);
    assert!(machine.systemctl("stop reactord.service").status.success());
    exchange_all(&mut [Peer::connect(address())]);
}

#[test]
fn a_loop_that_does_not_turn_is_replaced() {
    let Some(machine) = Machine::boot(&[("WatchdogSec=30", "WatchdogSec=1"), ("[Service]", "[Service]\nRestartSec=0")])
    else {
        return;
    };
    machine.start(SERVICE);
    let mut peers = vec![Peer::connect(address())];
    exchange_all(&mut peers);
    let successor_of = machine.main_pid(SERVICE);
    assert!(machine.systemctl("reload reactord.service").status.success(), "{}", machine.journal(&[]));
    let main_pid = machine.main_pid(SERVICE);
    assert_ne!(main_pid, successor_of);
    let stopped = machine.within("kill").args(["-STOP", &main_pid.to_string()]).status();
    assert!(stopped.expect("nsenter is there").success());
    machine.wait_until("it is started anew", |machine| {
        machine.show(SERVICE, "NRestarts") == "1" && machine.show(SERVICE, "ActiveState") == "active"
    });
    exchange_all(&mut [Peer::connect(address())]);
    assert!(machine.journal(&["-u", SERVICE]).contains("Watchdog timeout"), "{}", machine.journal(&[]));
}

#[test]
fn a_server_that_is_killed_is_survived_by_its_standby_and_takes_over_again() {
    const STANDBY: &str = "reactord-standby.service";
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.add_drop_in("reactord.service.d/standby.conf");
    machine.start(SERVICE);
    let mut peers = Peer::connect_many(address(), 200);
    let ask = |machine: &Machine| {
        let asked = machine.within(BINARY).args(["status", "--json", "/run/reactord/takeover"]).output();
        let json = asked.expect("nsenter is there").stdout;
        serde_json::from_slice(&json).unwrap_or(serde_json::Value::Null)
    };
    for deaths in 1..=2 {
        exchange_all(&mut peers);
        machine.wait_until("the standby knows all connections", |machine| {
            let standby = &ask(machine)["standby"];
            standby["armed_since_unix_ms"].is_u64() && standby["peers"] == 200 && standby["in_doubt"] == 0
        });
        let (killed, follower) = (machine.main_pid(SERVICE), machine.main_pid(STANDBY));
        let kill = machine.within("kill").args(["-KILL", &killed.to_string()]).status();
        assert!(kill.expect("nsenter is there").success());
        exchange_all(&mut peers);
        machine.wait_until("the server has taken over again, and is followed", |machine| {
            let (pid, standby) = (machine.main_pid(SERVICE), machine.main_pid(STANDBY));
            let status = ask(machine);
            let is_followed = status["pid"] == pid && status["standby"]["pid"] == standby;
            is_followed && pid != killed && standby != follower && status["deaths_survived"] == deaths
        });
    }
    exchange_all(&mut peers);
    let stopped = machine.systemctl("stop reactord-standby.service reactord.service");
    assert!(stopped.status.success(), "{stopped:?}");
    for unit in [SERVICE, STANDBY] {
        assert_eq!(machine.show(unit, "Result"), "success", "{unit}: {}", machine.journal(&[]));
    }
}

#[test]
fn a_standby_that_is_stopped_while_it_follows_has_not_failed() {
    const STANDBY: &str = "reactord-standby.service";
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.add_drop_in("reactord.service.d/standby.conf");
    machine.start(SERVICE);
    machine.wait_until("the standby follows", |machine| machine.show(STANDBY, "ActiveState") == "active");
    assert!(machine.systemctl("stop reactord-standby.service").status.success());
    let stopped = (machine.show(STANDBY, "ExecMainStatus"), machine.show(STANDBY, "ActiveState"));
    assert_eq!(stopped, ("3".to_owned(), "inactive".to_owned()), "{}", machine.journal(&[]));
}

#[test]
fn a_worker_that_is_killed_is_survived_by_its_standby_in_the_sandbox_of_its_supervisor() {
    let guarded = "--replace takeover -- /run/bin/reactord --worker --standby";
    let Some(machine) = Machine::boot(&[("-- /run/bin/reactord --worker", guarded)]) else { return };
    machine.start("reactord-supervise.service");
    let workers = |machine: &Machine| {
        let asked = machine.within(BINARY).args(["status", "--json", "/run/reactord-supervise/asked"]).output();
        let json = asked.expect("nsenter is there").stdout;
        let status: serde_json::Value = serde_json::from_slice(&json).unwrap_or(serde_json::Value::Null);
        status["workers"].as_array().cloned().unwrap_or_default()
    };
    machine.wait_until("each worker has a standby", |machine| {
        let workers = workers(machine);
        workers.len() == 4 && workers.iter().all(|worker| worker["standby"].is_u64())
    });
    let mut peers = Peer::connect_many(address(), 20);
    exchange_all(&mut peers);
    for worker in workers(&machine) {
        let kill = machine.within("kill").args(["-KILL", &worker["pid"].to_string()]).status();
        assert!(kill.expect("nsenter is there").success());
    }
    exchange_all(&mut peers);
}

#[test]
fn a_supervisor_serves_in_its_sandbox_and_is_reloaded() {
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.start("reactord-supervise.service");
    let mut peers = Peer::connect_many(address(), 4);
    exchange_all(&mut peers);
    assert!(machine.systemctl("reload reactord-supervise.service").status.success());
    let generation = |machine: &Machine| machine.show("reactord-supervise.service", "StatusText");
    machine.wait_until("the status tells of it", |machine| generation(machine).starts_with("Generation 2: 4 of 4"));
    exchange_all(&mut peers);
}

#[test]
fn a_reload_of_a_supervisor_whose_new_workers_do_not_serve_fails_and_the_others_go_on() {
    let Some(machine) = Machine::boot(&[]) else { return };
    machine.start("reactord-supervise.service");
    let mut peers = Peer::connect_many(address(), 4);
    exchange_all(&mut peers);
    // Only as a worker it is broken: the command asks with the same one.
    machine.install_script(
        "#!/bin/sh\ncase $1 in --worker) echo no such library >&2; exit 127;; *) exec /run/bin/good \"$@\";; esac\n",
    );
    machine.install_as(env!("CARGO_BIN_EXE_reactord").as_ref(), "/run/bin/good");
    let reload = machine.systemctl("reload reactord-supervise.service");
    assert!(!reload.status.success(), "{reload:?}\n{}", machine.journal(&[]));
    let status = |machine: &Machine| machine.show("reactord-supervise.service", "StatusText");
    machine.wait_until("the status says why", |machine| status(machine).contains("exited with code 127"));
    assert!(status(&machine).starts_with("Generation 1: 4 of 4"), "{}", status(&machine));
    assert_eq!(machine.show("reactord-supervise.service", "ActiveState"), "active");
    exchange_all(&mut peers);
}

#[test]
fn units_are_such_as_systemd_expects_and_have_a_sandbox() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("there is no systemd-analyze");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A socket is looked at with its service.
    for unit in ["reactord.service", "reactord.socket", "reactord-supervise.service", "reactord-standby.service"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(unit);
        let text = std::fs::read_to_string(path).expect("it is in the tree");
        let text = text.replace("/usr/bin/reactord", env!("CARGO_BIN_EXE_reactord"));
        std::fs::write(directory.path().join(unit), text.replace("Documentation=", "#")).expect("an own directory");
        let analyze = |arguments: &[&str]| {
            let output = Command::new("systemd-analyze").args(arguments).arg(directory.path().join(unit)).output();
            let output = output.expect("it was there a moment ago");
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        };
        analyze(&["verify"]);
        if unit != "reactord.socket" {
            // Of ten, as systemd counts what is open to a service: what it calls OK ends at 4.
            analyze(&["security", "--offline=true", "--threshold=25", "--no-pager"]);
        }
    }
}
