//! What the kernel has taken from this process and not yet delivered: it knows sockets, not peers.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::debug;
use nix::sys::stat::fstat;

/// How long may be looked. That is enough for some 100,000 sockets; of those that are not reached nothing is known, and
/// it is taken for granted that they have delivered.
const PATIENCE: Duration = Duration::from_millis(500);

/// The TCP sockets on which something was written that the other side's kernel has not acknowledged.
///
/// It is a snapshot of `/proc/net/tcp` (proc(5)), which is read whole: a thing for the end of a server, not for its
/// life. `SIOCOUTQ` (tcp(7)) would tell the same of a single socket, by a call that is not safe.
#[derive(Debug)]
pub(crate) struct Undelivered {
    inodes: HashSet<u64>,
}

impl Undelivered {
    pub(crate) fn now() -> Self {
        let mut inodes = HashSet::new();
        let began = Instant::now();
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match File::open(path) {
                Ok(sockets) => {
                    let in_time = |_: &String| began.elapsed() < PATIENCE;
                    let lines = BufReader::new(sockets).lines().map_while(Result::ok).take_while(in_time);
                    inodes.extend(lines.filter_map(|line| inode(&line)));
                }
                Err(error) => debug!("Not all can be told that is not delivered yet: {path}: {error}"),
            }
        }
        Self { inodes }
    }

    pub(crate) fn contains(&self, socket: impl AsFd) -> bool {
        fstat(socket).is_ok_and(|status| self.inodes.contains(&status.st_ino))
    }
}

/// The inode of the socket that a line is about, unless it has delivered all. The fields are: number, local address,
/// remote address, state, queue to send and queue received, timer, retransmits, uid, timeout, inode.
fn inode(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(4);
    let (to_send, _) = fields.next()?.split_once(':')?;
    if u32::from_str_radix(to_send, 16).ok()? == 0 {
        return None;
    }
    fields.nth(4)?.parse().ok()
}
