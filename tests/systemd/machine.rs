//! A real systemd with a journal, in namespaces of its own, and the units of `deploy/` in it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::harness::{PATIENCE, install, skip};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Where the binary is that the units run: the system's own directories are the host's.
pub(crate) const BINARY: &str = "/run/bin/reactord";

/// It ends, and nothing of it is left, when it is dropped.
pub(crate) struct Machine {
    directory: TempDir,
    boot: Child,
    systemd: Pid,
}

impl Machine {
    /// One that has started, with these changes to the text of the units. This thread connects within it from now on. `None`
    /// where there cannot be one.
    pub(crate) fn boot(changes: &[(&str, &str)]) -> Option<Self> {
        if !geteuid().is_root() || !Path::new(SYSTEMD).exists() {
            skip("it needs root and systemd");
            return None;
        }
        let directory = TempDir::new().expect("a temporary directory");
        write_units(&directory.path().join("units"), changes);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot");
        let mut command = Command::new("bash");
        command.arg(script).arg(directory.path()).stdin(Stdio::null()).process_group(0);
        let mut boot = command.spawn().expect("bash is there");
        let Some(systemd) = init_of(&mut boot) else {
            skip("namespaces and a control group of its own cannot be had");
            return None;
        };
        let machine = Self { directory, boot, systemd };
        machine.wait_until("it has booted", |machine| machine.systemctl("is-system-running").status.success());
        let network = fs::File::open(format!("/proc/{systemd}/ns/net")).expect("it lives");
        setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter it");
        machine.install(Path::new(env!("CARGO_BIN_EXE_reactord")));
        Some(machine)
    }

    /// Puts a program where the units' binary is.
    pub(crate) fn install(&self, program: &Path) {
        self.install_as(program, BINARY);
    }

    /// Puts it there under another name.
    pub(crate) fn install_as(&self, program: &Path, name: &str) {
        let output = self.within("install").arg("-D").arg(program).arg(name).output().expect("nsenter is there");
        assert!(output.status.success(), "{output:?}");
    }

    /// Adds a file of `deploy/` that changes a unit.
    pub(crate) fn add_drop_in(&self, file: &str) {
        let path = self.directory.path().join("units").join(file);
        fs::create_dir(path.parent().expect("it is in a directory of its unit")).expect("an own directory");
        fs::write(path, deployed(file)).expect("an own directory");
        assert!(self.systemctl("daemon-reload").status.success(), "{}", self.journal(&[]));
    }

    /// Puts a script there.
    pub(crate) fn install_script(&self, script: &str) {
        let path = self.directory.path().join("script");
        fs::write(&path, script).expect("an own directory");
        install(&path, &self.directory.path().join("program"));
        self.install(&self.directory.path().join("program"));
    }

    /// A program in there.
    pub(crate) fn within(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.systemd.to_string(), "-p", "-m", "-u", "-i", "-C", program]);
        command
    }

    pub(crate) fn systemctl(&self, arguments: &str) -> Output {
        let mut command = self.within("systemctl");
        command.arg("--no-pager").args(arguments.split(' ')).output().expect("nsenter is there")
    }

    #[track_caller]
    pub(crate) fn start(&self, unit: &str) {
        let output = self.systemctl(&format!("start {unit}"));
        assert!(output.status.success(), "{output:?}\n{}", self.journal(&[]));
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        let output = self.systemctl(&format!("show {unit} --value --property {property}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The main process of a unit, by its number in there.
    pub(crate) fn main_pid(&self, unit: &str) -> u32 {
        self.show(unit, "MainPID").parse().expect("it is a number")
    }

    /// What the journal has.
    pub(crate) fn journal(&self, arguments: &[&str]) -> String {
        let synced = self.within("journalctl").arg("--sync").output().expect("nsenter is there");
        let output = self.within("journalctl").args(["--no-pager", "--quiet"]).args(arguments).output();
        assert!(synced.status.success(), "{synced:?}");
        String::from_utf8_lossy(&output.expect("nsenter is there").stdout).into_owned()
    }

    /// Asks again and again: each question is a process of its own, so nobody else has to wait for this one.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "it does not come to that: {what}\n{}", self.journal(&[]));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With process 1 of its namespace, the kernel ends everything in there.
        let _ = kill(self.systemd, Signal::SIGKILL);
        let _ = self.boot.wait();
        if let Ok(group) = fs::read_to_string(self.directory.path().join("cgroup")) {
            remove_group(Path::new(group.trim()));
        }
    }
}

/// Process 1 of the namespaces, when it has become systemd.
fn init_of(boot: &mut Child) -> Option<Pid> {
    let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", boot.id()));
    loop {
        let child = fs::read_to_string(&children).unwrap_or_default();
        let child = child.trim().parse().ok().filter(|pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
        });
        if let Some(pid) = child {
            return Some(Pid::from_raw(pid));
        }
        if boot.try_wait().expect("it is a child").is_some() {
            return None;
        }
        std::thread::yield_now();
    }
}

/// The units of `deploy/` with the binary that is tested, systemd's own for the journal, and what it starts with.
fn write_units(units: &Path, changes: &[(&str, &str)]) {
    fs::create_dir(units).expect("an own directory");
    for target in ["sysinit", "basic", "shutdown", "sockets", "network", "test"] {
        let mut text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
        if target == "test" {
            text.push_str("Wants=systemd-journald.socket systemd-journald.service systemd-journald-dev-log.socket\n");
        }
        fs::write(units.join(target).with_extension("target"), text).expect("an own directory");
    }
    for unit in ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"] {
        fs::copy(Path::new("/lib/systemd/system").join(unit), units.join(unit)).expect("systemd has a journal");
    }
    for unit in ["reactord.service", "reactord.socket", "reactord-supervise.service", "reactord-standby.service"] {
        let mut text = deployed(unit);
        for (before, after) in changes {
            text = text.replace(before, after);
        }
        fs::write(units.join(unit), text).expect("an own directory");
    }
}

/// A file of `deploy/`, with what is different here.
fn deployed(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = fs::read_to_string(path).expect("it is in the tree").replace("/usr/bin/reactord", BINARY);
    // More than a process may have here.
    text.replace("LimitNOFILE=524288", "LimitNOFILE=8192")
}

/// Removes a control group and those in it, as soon as the last process in there is gone.
fn remove_group(group: &Path) {
    let within = fs::read_dir(group).into_iter().flatten().flatten();
    within.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_group(&entry.path()));
    let deadline = Instant::now() + PATIENCE;
    while fs::remove_dir(group).is_err() && group.exists() && Instant::now() < deadline {
        std::thread::yield_now();
    }
}
