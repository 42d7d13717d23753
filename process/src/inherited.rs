//! Descriptors that this process was started with: from the number that it was told to an owned descriptor.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::{descriptors, open_files};

/// A duplicate of the descriptor with this number, with close-on-exec set. The number itself stays what it is, until it
/// is [let go](let_go).
///
/// The process passes it to itself over a Unix socket: a number becomes an owned descriptor on the way, without
/// `unsafe`. Where this user has too many descriptors on their way already, the process takes it from itself with
/// `pidfd_getfd`, which containers forbid, and which is therefore not the first choice.
///
/// # Errors
/// `EBADF` if no open descriptor has this number.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    match pass(number) {
        Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
            let process = pidfd_open(getpid(), PidfdFlags::empty());
            process.and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty())).map_err(|_| error)
        }
        passed => passed,
    }
}

/// Passes it to this process itself.
fn pass(number: RawFd) -> io::Result<OwnedFd> {
    let (outbox, inbox) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let byte = [IoSlice::new(&[0])];
    sendmsg::<()>(outbox.as_raw_fd(), &byte, &[ControlMessage::ScmRights(&[number])], MsgFlags::MSG_NOSIGNAL, None)?;
    let mut arrived = Vec::new();
    descriptors::receive(&inbox, &mut [0], Some(&mut arrived))?;
    // The kernel gives none to a process at its limit of open files.
    arrived.pop().ok_or_else(|| Errno::EMFILE.into())
}

/// An owned descriptor in place of the one with this number, which nothing else in the process may own.
///
/// # Errors
/// As of [`duplicate`]; then it stays what it is.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    let taken = duplicate(number)?;
    let_go(number);
    Ok(taken)
}

/// The numbers of all descriptors that are open, as `/proc/self/fd` shows them (proc(5)), or where it is missing, all that may
/// be.
#[must_use]
pub fn open() -> Vec<RawFd> {
    match std::fs::read_dir("/proc/self/fd") {
        // The listing's own is among them, and is closed already.
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (0..open_files::limit().min(1 << 16).try_into().unwrap_or(RawFd::MAX)).collect(),
    }
}

/// Closes the descriptor with this number, of which there is a [duplicate]. Nothing else in the process may
/// own it.
pub fn let_go(number: RawFd) {
    // It was open when it was duplicated, and Linux closes it whatever is reported.
    let _ = nix::unistd::close(number);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn a_number_becomes_an_owned_descriptor_and_is_let_go() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let number = there.into_raw_fd();
        let mut duplicate = UnixStream::from(duplicate(number).unwrap());
        let_go(number);
        here.write_all(b"x").unwrap();
        duplicate.read_exact(&mut [0]).unwrap();
        let flags = fcntl(&duplicate, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        here.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Had the number stayed open, this end would not hear that the other is closed.
        drop(duplicate);
        assert_eq!(here.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_number_that_nothing_is_open_at_is_refused() {
        for number in [-1, 1_000_000_000] {
            assert_eq!(duplicate(number).unwrap_err().raw_os_error(), Some(nix::libc::EBADF));
        }
    }
}
