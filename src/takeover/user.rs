//! Whom a successor runs as: a server of another user would be one that its own user can never take over again.

use std::fmt;
use std::fs::read_to_string;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use reactord_process::path::stands_for_anybody;

/// Why a process cannot become the user that its predecessor is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UserError {
    /// Its groups are not known: it is in another pid namespace, or gone.
    Groups { uid: u32, pid: u32 },
    /// Who it is cannot be told in this user namespace.
    Unmapped { uid: u32 },
    /// The kernel does not allow it.
    Denied { uid: u32, what: &'static str, errno: Errno },
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups { uid, pid } => {
                write!(f, "it runs as uid {uid}, and the groups of pid {pid} are not known here")?;
            }
            Self::Unmapped { uid } => {
                write!(f, "it runs as a user that this user namespace does not map, shown as uid {uid}")?;
            }
            Self::Denied { uid, what, errno } => {
                write!(f, "it runs as uid {uid}, and this process may not become that user: {what}: {errno}")?;
            }
        }
        write!(f, "; take over as that user, or have the server start its successor (reactord upgrade)")
    }
}

/// Makes this process, which is root's, one of this user, with the supplementary groups of the process `pid`.
pub(super) fn become_user(uid: u32, gid: u32, pid: u32) -> Result<(), UserError> {
    if stands_for_anybody(uid) {
        return Err(UserError::Unmapped { uid });
    }
    let groups = groups_of(pid).ok_or(UserError::Groups { uid, pid })?;
    let denied = |what| move |errno| UserError::Denied { uid, what, errno };
    setgroups(&groups).map_err(denied("setgroups"))?;
    setgid(Gid::from_raw(gid)).map_err(denied("setgid"))?;
    setuid(Uid::from_raw(uid)).map_err(denied("setuid"))?;
    // What is under /proc/self would belong to root otherwise (proc(5)), who this process is not any more.
    nix::sys::prctl::set_dumpable(true).map_err(denied("PR_SET_DUMPABLE"))
}

/// The supplementary groups of a process (proc(5)).
fn groups_of(pid: u32) -> Option<Vec<Gid>> {
    groups_in(&read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn groups_in(status: &str) -> Option<Vec<Gid>> {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    groups.split_ascii_whitespace().map(|group| group.parse().map(Gid::from_raw).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_process_are_known_or_it_is_said_that_they_are_not() {
        let groups = |raw: &[u32]| Some(raw.iter().map(|group| Gid::from_raw(*group)).collect::<Vec<_>>());
        assert_eq!(groups_in("Name:\tx\nGroups:\t4 27 1000 \nNStgid:\t1\n"), groups(&[4, 27, 1000]));
        assert_eq!(groups_in("Groups:\t \n"), groups(&[]));
        assert_eq!(groups_in("Groups:\tx\n"), None);
        assert_eq!(groups_in("Name:\tx\n"), None);
        assert!(groups_of(std::process::id()).is_some());
        assert_eq!(groups_of(0), None);
    }
}
