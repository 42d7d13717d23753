//! Workers of a supervisor, by what its log says of them and by their pids.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;

use crate::harness::{PATIENCE, Server};

/// Sends a signal to a worker.
#[track_caller]
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("the worker is there");
}

/// Returns when the process is gone. It need not be a child of this one.
#[track_caller]
pub(crate) fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while Process::new(pid.cast_signed()).and_then(|process| process.stat()).is_ok_and(|stat| stat.state != 'Z') {
        assert!(Instant::now() < deadline, "pid {pid} should be gone");
        std::thread::yield_now();
    }
}

/// Returns when so many workers have become ready since the beginning, with the pids of all.
#[track_caller]
pub(crate) fn wait_for_workers(supervisor: &Server, count: usize) -> Vec<u32> {
    let ready = |line: &str| line.contains("Worker pid ") && line.ends_with(" is ready");
    supervisor.wait_for_lines(count, ready).iter().map(|line| pid_in(line)).collect()
}

/// The pid that a line of the log names.
pub(crate) fn pid_in(line: &str) -> u32 {
    let (_, pid) = line.split_once("orker pid ").expect("the line names a worker");
    pid.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|pid| pid.parse().ok()).expect("a pid")
}
