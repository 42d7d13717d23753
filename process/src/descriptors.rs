//! Descriptors over a Unix socket (SCM_RIGHTS, unix(7)): one message out, one message in.
//!
//! Descriptors are `BorrowedFd` on the way out and `OwnedFd` on the way in, close-on-exec from the start. Whatever
//! arrives and is not asked for is closed. Neither call waits.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// What the kernel may put into one message; a smaller control buffer would lose descriptors (`MSG_CTRUNC`).
pub const SCM_MAX_FD: usize = 253;

/// What one message brought, besides its bytes.
#[derive(Debug)]
pub struct Received {
    /// How many bytes. 0 is the end.
    pub bytes: usize,
    /// Whether descriptors were lost (`MSG_CTRUNC`): there was no place for them, or this process has reached its limit
    /// of open files.
    pub descriptors_lost: bool,
}

/// Sends bytes with descriptors, all of them or none. Returns how many bytes went.
///
/// # Errors
/// `EAGAIN` if the socket takes nothing now, or how the system call failed.
///
/// # Panics
/// If there are more than [`SCM_MAX_FD`] descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(
            control.push(SendAncillaryMessage::ScmRights(descriptors)),
            "the caller keeps to what one message carries"
        );
    }
    retry_interrupted(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    })
}

/// Receives into `buffer`, and adds the descriptors to `descriptors`. Without such a place the kernel discards them.
///
/// # Errors
/// `EAGAIN` if there is nothing now, or how the system call failed.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: Option<&mut impl Extend<OwnedFd>>,
) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD))];
    let mut control = match descriptors {
        Some(_) => RecvAncillaryBuffer::new(&mut space),
        None => RecvAncillaryBuffer::new(&mut []),
    };
    let message = retry_interrupted(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    })?;
    if let Some(descriptors) = descriptors {
        for control_message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = control_message {
                descriptors.extend(arrived);
            }
        }
    }
    Ok(Received { bytes: message.bytes, descriptors_lost: message.flags.contains(ReturnFlags::CTRUNC) })
}

/// Calls again what a signal has interrupted.
///
/// # Errors
/// What the call returns otherwise.
pub fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
