//! That the thread of the active's loop has ended, noticed at once: before the kernel has freed the memory and closed the files of the
//! process, which takes milliseconds, and after which it says that the process is dead.
//!
//! There are futexes with priority inheritance in the memory that both share. The thread holds them, and the kernel gives each to whoever
//! waits for it when that thread ends, however it does (futex(2), FUTEX_LOCK_PI).

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Pid;
use rustix::thread::futex::{self, Flags};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::mapping::Mapping;

/// The thread that has made this lives, and so does this. It is dropped by the same thread.
#[derive(Debug)]
pub(super) struct Living {
    mapping: Arc<Mapping>,
}

impl Living {
    /// Nothing if the kernel has no such futexes: then it is noticed later.
    pub(super) fn of(mapping: &Arc<Mapping>) -> Option<Self> {
        let living = Self { mapping: Arc::clone(mapping) };
        mapping.living().into_iter().all(lock).then_some(living)
    }
}

impl Drop for Living {
    /// Whoever waits has nothing to wait for.
    fn drop(&mut self) {
        for futex in self.mapping.living() {
            // If it is not held any more, nobody waits either.
            let _ = futex::unlock_pi(futex, Flags::empty());
        }
    }
}

/// Holds a futex, when nobody else does any more. False if there is none.
fn lock(futex: &AtomicU32) -> bool {
    futex::lock_pi(futex, Flags::empty(), None).is_ok()
}

/// Waits for that in threads of its own: no call waits for a futex of this kind and for descriptors.
///
/// There are two, and each runs on every other processor: one of them is not where the dead process is cleared away, and runs at once. Whoever
/// is woken by that thread is to run where it does. The kernel would often have it run in the other place, as long as both processors of two
/// are busy for the moment, and leave it there for its time slice of some milliseconds.
#[derive(Debug)]
pub(super) struct Vigil {
    told: UnixStream,
    whom: Arc<Whom>,
}

/// The threads need next to nothing.
const STACK_BYTES: usize = 64 * 1024;

impl Vigil {
    /// Tells the thread that calls this.
    ///
    /// # Errors
    /// If there can be no other one.
    pub(super) fn begin(mapping: &Arc<Mapping>) -> io::Result<Self> {
        let (told, tells) = UnixStream::pair()?;
        let whom = Arc::new(Whom::this_thread());
        let (tells, was_noticed) = (Arc::new(tells), Arc::new(AtomicBool::new(false)));
        for number in 0..mapping.living().len() {
            let (mapping, whom) = (Arc::clone(mapping), Arc::clone(&whom));
            let (tells, was_noticed) = (Arc::clone(&tells), Arc::clone(&was_noticed));
            let watch = move || {
                run_beside(number);
                // Where it fails, there is nothing to wait for either.
                lock(mapping.living()[number]);
                if !was_noticed.swap(true, Ordering::AcqRel) {
                    tell(&tells, &whom);
                }
                // This thread is in the way here, and ends when there is time for that.
                let _ = (&*tells).read(&mut [0]);
            };
            std::thread::Builder::new().name("vigil".to_owned()).stack_size(STACK_BYTES).spawn(watch)?;
        }
        Ok(Self { told, whom })
    }

    /// The thread that was told runs, and may do so where it might before.
    pub(super) fn was_heard(&self) {
        self.whom.let_go();
    }

    /// That thread knows it otherwise, and is not to be told any more.
    pub(super) fn is_not_needed(&self) {
        let _ = self.told.shutdown(Shutdown::Both);
        self.was_heard();
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.is_not_needed();
    }
}

/// It can be read from when the thread of the loop has ended, or has let go.
impl AsFd for Vigil {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }
}

fn tell(tells: &UnixStream, whom: &Whom) {
    // If nobody waits for it any more, that thread may be another one by now.
    if recv(tells, &mut [0], RecvFlags::DONTWAIT) == Err(Errno::AGAIN) {
        whom.bring_here();
        if send(tells, &[0], SendFlags::NOSIGNAL).is_err() {
            whom.let_go();
        }
    }
}

/// The thread that is told. Where it cannot be said where it is to run, it takes longer.
#[derive(Debug)]
struct Whom {
    thread: Pid,
    brought: Mutex<Option<Brought>>,
}

/// Where a thread was brought to, and where it might run before.
#[derive(Debug)]
struct Brought {
    there: CpuSet,
    before: CpuSet,
}

impl Whom {
    fn this_thread() -> Self {
        Self { thread: gettid(), brought: Mutex::default() }
    }

    /// Has that thread run on the processor on which this one does, if it may.
    fn bring_here(&self) {
        let here = sched_getcpu();
        let there = set_of(here);
        if let Ok(before) = sched_getaffinity(Some(self.thread))
            && before.is_set(here)
            && sched_setaffinity(Some(self.thread), &there).is_ok()
        {
            *self.brought() = Some(Brought { there, before });
        }
    }

    /// Has that thread run again where it did, unless somebody else has said where meanwhile.
    fn let_go(&self) {
        if let Some(Brought { there, before }) = self.brought().take()
            && sched_getaffinity(Some(self.thread)) == Ok(there)
        {
            let _ = sched_setaffinity(Some(self.thread), &before);
        }
    }

    fn brought(&self) -> MutexGuard<'_, Option<Brought>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has this thread run on every other processor of those where it may: on none that is left out for the one with another `number`.
fn run_beside(number: usize) {
    let Ok(processors) = sched_getaffinity(None) else { return };
    let mut half = CpuSet::new();
    let all = (0..CpuSet::MAX_CPU).filter(|processor| processors.is_set(*processor));
    all.skip(number).step_by(2).for_each(|processor| half.set(processor));
    // Where there is one processor, it is for both.
    let _ = sched_setaffinity(None, &half);
}

fn set_of(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}
