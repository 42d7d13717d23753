//! The limit of open files of this process (getrlimit(2)), and how much of it is used.

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that peers may not take: those of the loop and its listeners, and room for callers, so that a successor
/// can call also when all others are taken.
pub const RESERVED: usize = 32;

/// How many files are assumed to be open where they cannot be counted.
const ASSUMED: usize = 16;

/// How many files this process may open.
pub fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Raises the soft limit to the hard one, which needs no privilege.
pub fn raise_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        warn!("The limit of open files stays at {}: {errno}", limit());
    }
}

/// How many files this process has open, as `/proc/self/fd` shows it (proc(5)).
pub fn count() -> usize {
    match std::fs::read_dir("/proc/self/fd") {
        // The listing itself takes one, and closes it again.
        Ok(entries) => entries.count().saturating_sub(1),
        Err(error) => {
            warn!("Open files cannot be counted, {ASSUMED} are assumed: {error}");
            ASSUMED
        }
    }
}
