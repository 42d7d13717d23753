//! A test while the kernel takes no descriptors: in a process of its own, where the limit of open files may change.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, geteuid, setuid};
use reactord_process::channel::{Channel, DESCRIPTORS_PER_FRAME_MAX, Sent};
use reactord_process::frame;

/// Says that this process is one of its own for the test of that name.
const ALONE: &str = "REACTORD_TEST_ALONE";

/// Runs `test`, which `module` has under this `name`, in a process of its own.
pub(crate) fn alone(module: &str, name: &str, test: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let name = format!("{}::{name}", module.split_once("::").expect("the crate's name comes first").1);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "{printed}");
}

/// Does `test` while no descriptor can be sent, and then lets it be; the limits are as before for both. Nothing limits the
/// privileged (unix(7)): where the privilege cannot be given up, there is nothing to see.
pub(crate) fn while_too_many_are_in_flight(test: impl FnOnce(), then: impl FnOnce()) {
    if geteuid().is_root() && setuid(Uid::from_raw(65534)).is_err() {
        return;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 400, hard).unwrap();
    let (mut predecessor, successor) = Channel::pair();
    let socket = UnixDatagram::unbound().unwrap();
    let batch = vec![socket.as_fd(); DESCRIPTORS_PER_FRAME_MAX];
    while predecessor.try_send(&frame::finish(frame::begin(0)), &batch).unwrap() != Sent::TooManyInFlight {}
    test();
    drop((predecessor, successor));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    then();
}
