//! What a server tells its program about its own life.

use std::fmt;
use std::time::Duration;

use log::LevelFilter;

use crate::listen::Target;
use crate::status::Status;

/// Something that has happened in the life of a server. It is told to the function that the program has given to
/// [`Server::observe`](crate::Server::observe), in the thread of the loop: all peers wait for what is done there, so it
/// should be short. It is never told between the freeze of a takeover and its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Milestone<'m> {
    /// The server serves from now on.
    Ready(&'m Ready),
    /// It has taken over from a predecessor. This comes after [`Ready`](Self::Ready).
    TakenOver(Takeover),
    /// Another process has begun to take over, and this server serves on meanwhile. What comes of it is told by
    /// [`HandedOver`](Self::HandedOver) or [`TakeoverFailed`](Self::TakeoverFailed).
    TakeoverBegins {
        /// The process id of the successor.
        pid: u32,
    },
    /// A successor has taken over from it: what is left is to end.
    HandedOver(Takeover),
    /// A takeover by another process was refused or has failed, and this server serves on.
    TakeoverFailed {
        /// The process id of who wanted to take over.
        pid: u32,
        /// Why it did not come to that, as the log says it.
        why: &'m str,
    },
    /// It follows a server as its standby, and serves nobody: all that it needs for that is there.
    Follows {
        /// The process id of that server.
        pid: u32,
    },
    /// The server that it has followed has died, and it serves on. This comes after [`Ready`](Self::Ready).
    Survived(Survived),
    /// Another process would serve on if this one died.
    Armed {
        /// The process id of the standby.
        pid: u32,
    },
    /// It does no more.
    StandbyLost {
        /// The process id of what was the standby.
        pid: u32,
        /// Why.
        why: &'m str,
    },
    /// It has given peers to another server, and goes on with the others.
    Gave {
        /// How many.
        peers: u64,
        /// The process id of the other server.
        pid: u32,
    },
    /// It was given peers by another server, and serves them.
    Took {
        /// How many.
        peers: u64,
        /// The process id of the other server.
        pid: u32,
        /// How long they were served by nobody.
        pause: Duration,
    },
    /// The loop turns, as it is to say every so often ([`Config::heartbeat`](crate::Config::heartbeat)), and this is how
    /// the server stands.
    Heartbeat(&'m Status),
    /// The server is stopping: nobody is let in any more.
    Stopping,
    /// Somebody who may asks on the takeover path that this level and those above are logged from now on. It is for the
    /// program to do so (`log::set_max_level`), or not to: whoever asks is told what the level is then.
    LogLevel(LevelFilter),
}

/// The death of a server that was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survived {
    /// The process id of the server that has died.
    pub pid: u32,
    /// Its loop did not turn any more, and it was killed.
    pub hung: bool,
    /// How many peers are served on.
    pub served_on: u64,
    /// How many were reset, since it was not certain how far they had come.
    pub reset: u64,
    /// How many connections were over already.
    pub over: u64,
    /// How long nobody served, from when its death was noticed.
    pub unserved: Duration,
}

/// A server that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// The process id.
    pub pid: u32,
    /// Which of the processes that have been this server it is: 1 for one that has not taken over.
    pub generation: u64,
    /// Where it lets peers in, in the order of its services and of their listeners. Empty for a supervisor's worker.
    pub listeners: Vec<Listening>,
}

/// Where a server lets peers in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listening {
    /// The listener's name.
    pub name: String,
    /// Where it is bound: with the port that the kernel has chosen, if it was left to it.
    pub at: Target,
}

/// What a takeover took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Takeover {
    /// How many peers were taken over.
    pub peers: u64,
    /// How many entries of shared state were sent, some of them several times.
    pub entries: u64,
    /// How many frames with records of peers were sent for that.
    pub batches: u64,
    /// In how many rounds they were sent.
    pub rounds: u32,
    /// How many records or changes of peers were sent after the freeze.
    pub dirty: u64,
    /// How many bytes were sent.
    pub bytes: u64,
    /// From the predecessor's welcome to the freeze.
    pub copy: Duration,
    /// From the freeze to the return of the successor's first poll, which is how long nobody served. It is an upper bound
    /// where the two processes do not share a clock, and `None` for a predecessor that never heard of it.
    pub pause: Option<Duration>,
    /// The process id of the predecessor.
    pub predecessor_pid: u32,
    /// The process id of the successor.
    pub successor_pid: u32,
}

/// Who is told, if anybody is.
#[derive(Default)]
pub(crate) struct Observer(Option<Box<Observe>>);

type Observe = dyn FnMut(Milestone<'_>) + Send;

impl Observer {
    pub(crate) fn new(observe: impl FnMut(Milestone<'_>) + Send + 'static) -> Self {
        Self(Some(Box::new(observe)))
    }

    pub(crate) fn tell(&mut self, milestone: Milestone<'_>) {
        if let Some(observe) = &mut self.0 {
            observe(milestone);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observer({})", if self.0.is_some() { "somebody" } else { "nobody" })
    }
}
