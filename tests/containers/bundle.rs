//! A container for crun(1), made by hand: a directory with a root and a `config.json` in the format of the Open Container
//! Initiative.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};

use super::seccomp;
use crate::harness::{Place, install};

/// The takeover path, as containers see it.
pub(crate) const PATH: &str = "/run/takeover/reactord";

/// Who the program is in its container.
const USER: u32 = 10_001;

/// Of how many users a user namespace knows, and which of the host's the first of them is.
const MAPPED: u32 = 65_536;
const FIRST_MAPPED: u32 = 200_000;

/// Whose users a container has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    OfTheHost,
    Mapped,
}

/// What two pods have in common: the directory of the takeover path, and where crun keeps what it knows.
pub(crate) struct Shared {
    directory: PathBuf,
    users: Users,
}

impl Shared {
    pub(crate) fn new(place: &Place, users: Users) -> Self {
        let directory = place.directory();
        let takeover = directory.join("takeover");
        std::fs::create_dir(&takeover).expect("an own directory");
        let first = if users == Users::Mapped { FIRST_MAPPED } else { 0 };
        chown(&takeover, Some(Uid::from_raw(first + USER)), Some(Gid::from_raw(first + USER)))
            .expect("root may do that");
        // The users of another namespace come through it.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("an own directory");
        Self { directory, users }
    }
}

/// A directory that crun can make a container of.
pub(crate) struct Bundle {
    name: &'static str,
    directory: PathBuf,
    state: PathBuf,
}

impl Bundle {
    /// A container that runs `entrypoint`.
    pub(crate) fn new(name: &'static str, shared: &Shared, entrypoint: &str) -> Self {
        let directory = shared.directory.join(name);
        let root = directory.join("rootfs");
        // Where something is mounted has to be there: in a user namespace, nobody may make it.
        for place in ["dev", "lib", "lib64", "proc", "run/takeover", "usr/bin"] {
            std::fs::create_dir_all(root.join(place)).expect("an own directory");
        }
        let programs = root.join("usr/bin");
        install(env!("CARGO_BIN_EXE_reactord").as_ref(), &programs.join("reactord"));
        let arguments: Vec<&str> = entrypoint.split(' ').collect();
        let config = config(&arguments, &shared.directory.join("takeover"), shared.users).to_string();
        std::fs::write(directory.join("config.json"), config).expect("an own directory");
        Self { name, directory, state: shared.directory.join("crun") }
    }

    /// Runs the container, with its standard streams, until it ends.
    pub(crate) fn run(&self) -> Command {
        let mut command = self.crun();
        command.arg("run").arg("--bundle").arg(&self.directory).arg(self.name);
        command
    }

    /// Runs a program in the container that runs already.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = self.crun();
        command.args(["exec", "--user", &format!("{USER}:{USER}")]).arg(self.name).args(arguments);
        command
    }

    /// Ends whatever runs in the container, if it is still there.
    pub(crate) fn remove(&self) -> Command {
        let mut command = self.crun();
        command.args(["delete", "--force", self.name]);
        command
    }

    /// crun wants the second version of control groups alone, which a machine may have beside the first.
    fn crun(&self) -> Command {
        const SCRIPT: &str = "umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec crun \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        command.arg("--cgroup-manager=disabled").arg("--root").arg(&self.state);
        command
    }
}

fn config(arguments: &[&str], takeover: &std::path::Path, users: Users) -> Value {
    let bind = |from: &str, to: &str, how: &str| json!({ "destination": to, "type": "bind", "source": from, "options": ["rbind", how, "nosuid", "nodev"] });
    json!({
        "ociVersion": "1.0.2",
        "hostname": "pod",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "user": { "uid": USER, "gid": USER },
            "args": arguments,
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
            // The C library, which an image would bring.
            bind("/lib", "/lib", "ro"),
            bind("/lib64", "/lib64", "ro"),
            bind(&takeover.to_string_lossy(), "/run/takeover", "rw"),
        ],
        "linux": {
            "namespaces": namespaces(users),
            "uidMappings": mappings(users),
            "gidMappings": mappings(users),
            "seccomp": seccomp::profile(),
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// All but that of the network, which is the host's: two pods of a rollout have one port.
fn namespaces(users: Users) -> Vec<Value> {
    let user = (users == Users::Mapped).then_some("user");
    ["pid", "mount", "ipc", "uts"].into_iter().chain(user).map(|kind| json!({ "type": kind })).collect()
}

fn mappings(users: Users) -> Vec<Value> {
    let mapping = json!({ "containerID": 0, "hostID": FIRST_MAPPED, "size": MAPPED });
    (users == Users::Mapped).then_some(mapping).into_iter().collect()
}
