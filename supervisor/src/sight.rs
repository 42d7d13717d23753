//! Whether a worker that gets the listening sockets serves by now: it, or a process that it has started, is seen to wait
//! for connections at one of them.
//!
//! A connection for a trial would show nothing, since whoever has the sockets may accept it. What a process waits for is
//! told by `/proc` (proc(5)): which descriptors an epoll set has, and in which system call a thread is, with which
//! arguments. It is told to the user that the process runs as, and to root; Yama lets a parent see its children.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::stat::fstat;

use crate::fleet::WorkerId;

/// How often it is looked at who has not been seen yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many descriptors of one call of poll(2) are looked at. Whoever waits for more uses epoll.
const POLLED_MAX: usize = 1024;

/// `POLLIN` and `EPOLLIN` (poll(2), epoll_ctl(2)).
const READABLE: u32 = 1;

/// System calls by what they wait for.
const ACCEPTS: [libc::c_long; 2] = [libc::SYS_accept, libc::SYS_accept4];
#[cfg(target_arch = "x86_64")]
const POLLS: [libc::c_long; 2] = [libc::SYS_poll, libc::SYS_ppoll];
#[cfg(target_arch = "x86_64")]
const SELECTS: [libc::c_long; 2] = [libc::SYS_select, libc::SYS_pselect6];
#[cfg(not(target_arch = "x86_64"))]
const POLLS: [libc::c_long; 1] = [libc::SYS_ppoll];
#[cfg(not(target_arch = "x86_64"))]
const SELECTS: [libc::c_long; 1] = [libc::SYS_pselect6];

/// When workers were looked at, of whom it is not known yet that they serve.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    looked: Option<Instant>,
}

impl Lookout {
    /// When it is to be looked at the workers that there are.
    pub(crate) fn due(&self, mut workers: impl Iterator, now: Instant) -> Option<Instant> {
        let due = self.looked.map_or(now, |looked| looked + LOOK_EVERY);
        workers.next().map(|_| due)
    }

    /// Which of the workers, each with its process, wait for connections at one of these sockets by now.
    pub(crate) fn look(
        &mut self,
        workers: impl Iterator<Item = (WorkerId, u32)>,
        listeners: impl Iterator<Item = impl AsFd>,
        now: Instant,
    ) -> Vec<WorkerId> {
        let mut workers = workers.peekable();
        if workers.peek().is_none() || self.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return Vec::new();
        }
        self.looked = Some(now);
        let inodes: BTreeSet<u64> = listeners.filter_map(|socket| Some(fstat(socket).ok()?.st_ino)).collect();
        workers.filter(|(_, pid)| with_descendants(*pid).any(|pid| waits_at(pid, &inodes))).map(|(id, _)| id).collect()
    }
}

/// A process, those that it has started, and so on.
fn with_descendants(pid: u32) -> impl Iterator<Item = u32> {
    let mut found = vec![pid];
    std::iter::from_fn(move || {
        let pid = found.pop()?;
        for thread in numbers_in(&process(pid).join("task")) {
            let children = process(pid).join(format!("task/{thread}/children"));
            let children = fs::read_to_string(children).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        Some(pid)
    })
}

/// Whether a process waits for connections at one of the sockets with these inodes.
fn waits_at(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let mut descriptors = Descriptors::default();
    for number in numbers_in(&process(pid).join("fd")) {
        match fs::read_link(process(pid).join(format!("fd/{number}"))) {
            Ok(target) if target == Path::new("anon_inode:[eventpoll]") => descriptors.epolls.push(number),
            Ok(target) if socket_inode(&target).is_some_and(|inode| inodes.contains(&inode)) => {
                descriptors.listeners.insert(number);
            }
            _ => {}
        }
    }
    !descriptors.listeners.is_empty() && descriptors.is_waited_for(pid)
}

/// What matters of the descriptors of one process.
#[derive(Debug, Default)]
struct Descriptors {
    listeners: BTreeSet<RawFd>,
    epolls: Vec<RawFd>,
}

impl Descriptors {
    fn is_waited_for(&self, pid: u32) -> bool {
        let told = |file: String| fs::read_to_string(process(pid).join(file)).unwrap_or_default();
        self.epolls.iter().any(|number| self.is_in_epoll_set(&told(format!("fdinfo/{number}"))))
            || numbers_in(&process(pid).join("task")).iter().any(|thread| {
                let call = Call::parse(&told(format!("task/{thread}/syscall")));
                call.is_some_and(|call| self.is_waited_for_by(&call, pid))
            })
    }

    /// Whether an epoll set is woken by connections, as its fdinfo tells.
    fn is_in_epoll_set(&self, fdinfo: &str) -> bool {
        fdinfo.lines().filter_map(|line| line.strip_prefix("tfd:")).any(|line| {
            let mut words = line.split_whitespace();
            let number: Option<RawFd> = words.next().and_then(|number| number.parse().ok());
            let events = words.nth(1).and_then(|events| u32::from_str_radix(events, 16).ok());
            number.is_some_and(|number| self.listeners.contains(&number))
                && events.is_some_and(|events| events & READABLE != 0)
        })
    }

    fn is_waited_for_by(&self, call: &Call, pid: u32) -> bool {
        let Call { number, arguments: [first, second, ..] } = *call;
        let count = usize::try_from(second).unwrap_or(usize::MAX).min(POLLED_MAX);
        if ACCEPTS.contains(&number) {
            RawFd::try_from(first).is_ok_and(|number| self.listeners.contains(&number))
        } else if POLLS.contains(&number) {
            read_memory(pid, first, count * POLLED_BYTES).is_ok_and(|polled| self.is_polled(&polled))
        } else if SELECTS.contains(&number) {
            let bytes = usize::try_from(first).unwrap_or(usize::MAX).min(POLLED_MAX).div_ceil(64) * 8;
            read_memory(pid, second, bytes).is_ok_and(|set| self.is_selected(&set))
        } else {
            false
        }
    }

    /// Whether one is among the `struct pollfd` (poll(2)).
    fn is_polled(&self, polled: &[u8]) -> bool {
        polled.as_chunks::<POLLED_BYTES>().0.iter().any(|[a, b, c, d, events, ..]| {
            self.listeners.contains(&RawFd::from_ne_bytes([*a, *b, *c, *d])) && u32::from(*events) & READABLE != 0
        })
    }

    /// Whether one is in the `fd_set` (select(2)), on a machine whose lowest byte is the first.
    fn is_selected(&self, set: &[u8]) -> bool {
        let is_set = |number: &RawFd| {
            let number = usize::try_from(*number).unwrap_or(usize::MAX);
            set.get(number / 8).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
        };
        self.listeners.iter().any(is_set)
    }
}

/// The size of a `struct pollfd`.
const POLLED_BYTES: usize = 8;

/// The system call that a thread is in.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    number: libc::c_long,
    arguments: [u64; 2],
}

impl Call {
    /// As `/proc/PID/task/TID/syscall` tells; `None` if it runs, or is stopped.
    fn parse(told: &str) -> Option<Self> {
        let mut words = told.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        Some(Self { number, arguments: [argument()?, argument()?] })
    }
}

fn read_memory(pid: u32, address: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = vec![0; bytes];
    fs::File::open(process(pid).join("mem"))?.read_exact_at(&mut read, address)?;
    Ok(read)
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The entries of a directory that are numbers. None if it cannot be read: the process may be gone.
fn numbers_in(directory: &Path) -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use command_fds::{CommandFdExt, FdMapping};

    use super::*;

    #[test]
    fn an_epoll_set_is_woken_by_what_it_has_for_reading() {
        let descriptors = Descriptors { listeners: [3].into(), epolls: vec![5] };
        let fdinfo = |number, events| {
            format!(
                "pos:\t0\nino:\t1038\ntfd:        {number} events: {events} data: 7fcb00000003  pos:0 ino:46 sdev:9\n"
            )
        };
        assert!(descriptors.is_in_epoll_set(&fdinfo(3, "10000019")));
        assert!(!descriptors.is_in_epoll_set(&fdinfo(3, "10000018")), "it has paused");
        assert!(!descriptors.is_in_epoll_set(&fdinfo(4, "19")));
        assert!(!descriptors.is_in_epoll_set("pos:\t0\n"));
    }

    #[test]
    fn a_system_call_is_read_with_its_first_arguments() {
        let call = Call { number: 288, arguments: [3, 0xff] };
        assert_eq!(Call::parse("288 0x3 0xff 0x0 0x0 0x0 0x0 0x7ffc 0x7fcb\n"), Some(call));
        for told in ["running\n", "-1 0x7ffc 0x7fcb\n", ""] {
            assert!(Call::parse(told).is_none_or(|call| call.number == -1), "{told}");
        }
    }

    #[test]
    fn sets_of_descriptors_are_read_as_the_kernel_has_them() {
        let descriptors = Descriptors { listeners: [9].into(), epolls: Vec::new() };
        assert!(descriptors.is_selected(&[0, 2, 0, 0, 0, 0, 0, 0]));
        assert!(!descriptors.is_selected(&[2, 0, 0, 0, 0, 0, 0, 0]) && !descriptors.is_selected(&[]));
        let polled = |number: u8, events| [[7, 0, 0, 0, 1, 0, 0, 0], [number, 0, 0, 0, events, 0, 0, 0]].concat();
        assert!(descriptors.is_polled(&polled(9, 1)));
        assert!(!descriptors.is_polled(&polled(9, 4)) && !descriptors.is_polled(&polled(8, 1)));
    }

    /// A process that has the listener as descriptor 3, and is killed when this is dropped.
    struct Waiting(Child);

    impl Waiting {
        fn at(listener: &TcpListener, script: &str) -> Self {
            let mut command = Command::new("python3");
            let script = format!("import ctypes, os, select, socket\nlistener = socket.socket(fileno=3)\n{script}");
            command.args(["-c", &script]).stdin(Stdio::null());
            let listener = listener.try_clone().expect("a descriptor is free").into();
            command.fd_mappings(vec![FdMapping { parent_fd: listener, child_fd: 3 }]).expect("one cannot collide");
            Self(command.spawn().expect("python3 is there"))
        }

        fn is_seen(&self, listener: &TcpListener) -> bool {
            let inodes = [fstat(listener).expect("it is open").st_ino].into();
            with_descendants(self.0.id()).any(|pid| waits_at(pid, &inodes))
        }

        #[track_caller]
        fn comes_to_be_seen(&self, listener: &TcpListener) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !self.is_seen(listener) {
                assert!(Instant::now() < deadline, "it waits for connections, and is not seen to");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            // It has not been waited for, so it can be.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn whoever_waits_for_connections_is_seen_to_however_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        for script in [
            "listener.accept()",
            "select.select([listener], [], [])",
            "poll = select.poll(); poll.register(listener, select.POLLIN); poll.poll()",
            "epoll = select.epoll(); epoll.register(listener, select.EPOLLIN); epoll.poll()",
            // One that was started by the process.
            "os.waitpid(os.fork() or (ctypes.CDLL(None).prctl(1, 9), listener.accept()), 0)",
        ] {
            Waiting::at(&listener, script).comes_to_be_seen(&listener);
        }
    }

    #[test]
    fn who_has_the_socket_and_waits_for_something_else_is_not_seen_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        for script in [
            "select.select([0], [], [listener], 1000)",
            "epoll = select.epoll(); epoll.register(listener, 0); epoll.poll()",
        ] {
            let waiting = Waiting::at(&listener, script);
            for _ in 0..200 {
                assert!(!waiting.is_seen(&listener), "{script}");
            }
        }
    }
}
