//! That the thread of the active's loop has ended, noticed at once: before the kernel has freed the memory and closed the files of the
//! process, which takes milliseconds, and after which it says that the process is dead.
//!
//! It is a futex with priority inheritance in the memory that both share. The thread holds it, and the kernel gives it to whoever
//! waits when that thread ends, however it does (futex(2), FUTEX_LOCK_PI).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{SendFlags, send};
use rustix::thread::futex::{self, Flags};

use crate::mapping::Mapping;

/// The thread that has made this lives, and so does this. It is dropped by the same thread.
#[derive(Debug)]
pub(super) struct Living {
    mapping: Arc<Mapping>,
}

impl Living {
    /// Nothing if the kernel has no such futex: then it is noticed later.
    pub(super) fn of(mapping: &Arc<Mapping>) -> Option<Self> {
        futex::lock_pi(mapping.living(), Flags::empty(), None).ok()?;
        Some(Self { mapping: Arc::clone(mapping) })
    }
}

impl Drop for Living {
    /// Whoever waits has nothing to wait for.
    fn drop(&mut self) {
        // If it is not held any more, nobody waits either.
        let _ = futex::unlock_pi(self.mapping.living(), Flags::empty());
    }
}

/// Waits for that in a thread of its own: no call waits for a futex of this kind and for descriptors.
#[derive(Debug)]
pub(super) struct Vigil(UnixStream);

/// The thread needs next to nothing.
const STACK_BYTES: usize = 64 * 1024;

impl Vigil {
    /// # Errors
    /// If there can be no thread.
    pub(super) fn begin(mapping: &Arc<Mapping>) -> io::Result<Self> {
        let (vigil, mut told) = UnixStream::pair()?;
        let mapping = Arc::clone(mapping);
        let watch = move || {
            // Where it fails, there is nothing to wait for either.
            let _ = futex::lock_pi(mapping.living(), Flags::empty(), None);
            // The kernel has whoever is woken by a socket run where this thread does, unless a processor is idle. The other one has a dead
            // process to clear away, and there it would wait for milliseconds, as it did when an eventfd woke it.
            let _ = send(&told, &[0], SendFlags::NOSIGNAL);
            // This thread is in its way there, and ends when there is time for that.
            let _ = told.read(&mut [0]);
        };
        std::thread::Builder::new().name("vigil".to_owned()).stack_size(STACK_BYTES).spawn(watch)?;
        Ok(Self(vigil))
    }
}

/// It can be read from when the thread of the loop has ended, or has let go.
impl AsFd for Vigil {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
