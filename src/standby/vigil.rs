//! That the thread of the active's loop has ended, noticed at once: before the kernel has freed the memory and closed the files of the
//! process, which takes milliseconds, and after which it says that the process is dead.
//!
//! It is a futex with priority inheritance in the memory that both share. The thread holds it, and the kernel gives it to whoever
//! waits when that thread ends, however it does (futex(2), FUTEX_LOCK_PI).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
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
pub(super) struct Vigil(Arc<OwnedFd>);

/// The thread needs next to nothing.
const STACK_BYTES: usize = 64 * 1024;

impl Vigil {
    /// # Errors
    /// If there can be no thread.
    pub(super) fn begin(mapping: &Arc<Mapping>) -> io::Result<Self> {
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (mapping, told) = (Arc::clone(mapping), Arc::clone(&over));
        let watch = move || {
            // Where it fails, there is nothing to wait for either.
            let _ = futex::lock_pi(mapping.living(), Flags::empty(), None);
            rustix::io::write(&told, &1_u64.to_ne_bytes()).expect("it takes a one");
        };
        std::thread::Builder::new().name("vigil".to_owned()).stack_size(STACK_BYTES).spawn(watch)?;
        Ok(Self(over))
    }
}

/// It can be read from when the thread of the loop has ended, or has let go.
impl AsFd for Vigil {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
