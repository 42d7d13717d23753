//! What other threads may ask of a server while it serves: to stop, to call its services, to say how it stands.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::Waker;

use crate::status::Status;

/// Reaches a server from anywhere: from another thread, or from a signal's handler of one's own. It may be cloned, and
/// outlives the server, which nothing reaches then.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Asked>);

/// What is asked for and not done yet.
#[derive(Debug, Default)]
struct Asked {
    stops: AtomicU32,
    wake: AtomicBool,
    questions: Mutex<Questions>,
    /// What wakes the loop, while there is one.
    waker: Mutex<Option<Waker>>,
}

/// What is done with a server's status, in its thread.
pub(crate) type Answer = Box<dyn FnOnce(Status) + Send>;

#[derive(Default)]
struct Questions(Vec<Answer>);

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Questions({})", self.0.len())
    }
}

impl Handle {
    /// Stops the server in an orderly way, as SIGTERM does: what is pending is written, and somebody who is taking over is
    /// let do so. The second time, it stops at once. A server that does not serve yet stops as soon as it does, and a
    /// successor gives up if it owns no peers yet.
    pub fn stop(&self) {
        self.0.stops.fetch_add(1, Ordering::SeqCst);
        self.0.wake_loop();
    }

    /// Has each service of the server [called](crate::StreamService::woken) soon, in the server's thread: that something
    /// has come by another way is all that it says, and what that is is for the service to see (a channel that it holds the
    /// other end of, for instance). Until the call comes, to wake again changes nothing; what is put there before a wake
    /// is seen by a call that comes after it.
    pub fn wake(&self) {
        self.0.wake.store(true, Ordering::SeqCst);
        self.0.wake_loop();
    }

    /// Asks how the server stands, and does not wait: `answer` is called soon, in the server's thread, and should be short.
    /// A server that does not serve yet answers when it does. If it ends before, nobody is called.
    pub fn ask(&self, answer: impl FnOnce(Status) + Send + 'static) {
        lock(&self.0.questions).0.push(Box::new(answer));
        self.0.wake_loop();
    }

    /// How the server stands, if it says so within this time. Not for the server's own thread, which would wait for itself.
    #[must_use]
    pub fn status(&self, patience: Duration) -> Option<Status> {
        let (answer, answered) = sync_channel(1);
        // Who has not waited so long does not hear it.
        self.ask(move |status| drop(answer.send(status)));
        answered.recv_timeout(patience).ok()
    }

    /// Those who have asked since this was last called.
    pub(crate) fn take_questions(&self) -> Vec<Answer> {
        std::mem::take(&mut lock(&self.0.questions).0)
    }

    /// From now on whoever asks wakes the loop, or nobody does.
    pub(crate) fn set_waker(&self, waker: Option<Waker>) {
        *lock(&self.0.waker) = waker;
    }

    /// How often it was asked to stop since this was last called.
    pub(crate) fn take_stops(&self) -> u32 {
        self.0.stops.swap(0, Ordering::SeqCst)
    }

    /// Whether it was asked to stop and that is not done yet.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.0.stops.load(Ordering::SeqCst) > 0
    }

    /// Whether it was asked to call the services since this was last called.
    pub(crate) fn take_wake(&self) -> bool {
        self.0.wake.swap(false, Ordering::SeqCst)
    }
}

impl Asked {
    /// Under its lock, the loop either has been asked before it has a waker, and looks then, or is woken.
    fn wake_loop(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            // An eventfd(2) refuses only what is there already.
            let _ = waker.wake();
        }
    }
}

/// Nobody can panic under it halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
