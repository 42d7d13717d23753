//! What process 1 of a PID namespace owes the others while it serves: those whose parents have gone are its children
//! (pid_namespaces(7)), and stay as zombies until it waits for them.

use std::io;
use std::thread::JoinHandle;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::{Handle, Signals};

/// A thread that reaps them, until it is dropped.
#[derive(Debug)]
pub(super) struct Reaper {
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Begins with those that are there already.
    ///
    /// # Errors
    /// If the signal cannot be watched, or no thread can be had.
    pub(super) fn begin() -> io::Result<Self> {
        let mut signals = Signals::new([SIGCHLD])?;
        let handle = signals.handle();
        let watch = move || {
            reap_adopted();
            signals.forever().for_each(|_| reap_adopted());
        };
        let thread = std::thread::Builder::new().name("reaper".to_owned()).spawn(watch)?;
        Ok(Self { signals: handle, thread: Some(thread) })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, also if it has panicked.
            let _ = thread.join();
        }
    }
}

/// Waits for those that have ended of the main thread's children. The kernel gives orphans to that thread; what this program
/// has started itself, it has started in other threads, which wait for it and want to know how it has ended.
fn reap_adopted() {
    let first = std::process::id();
    // Where there is no /proc, they stay until this process has handed over.
    let children = std::fs::read_to_string(format!("/proc/self/task/{first}/children")).unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|child| child.parse().ok()).map(Pid::from_raw) {
        // Whoever is still there is left alone, and how the others have ended matters to nobody.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}
