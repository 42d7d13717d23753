//! The supervisor: it holds the ports, feeds workers with connections, and replaces the workers without losing anybody.
//!
//! It is one concept: **a queue of accepted connections, and workers that draw from it.**
//!
//! ```text
//!             accept             queue, first in, first out            one socket for each worker
//!  clients ───────────▶ listeners ────────────▶ waiting ──────────────▶ worker: ready, want 8
//!                                                  ▲      connection 41 ▶ worker: took 41, done 41
//!                                                  └── not taken, and the worker is gone
//! ```
//!
//! # Who owns a connection
//!
//! The supervisor, until a worker has said `took`; up to then it keeps a duplicate of the descriptor. A worker that
//! dies before has lost nobody: the connection goes back to its place, and to the next who asks. A worker of version 2 of the
//! words may give it back later, with what it knows of it; from then on it is the supervisor's again. A worker that is
//! stopped, or hangs, is not dead: it may have read from what it was sent, or do so a moment later. So what is under
//! way to it stays with it until it has taken it or its end of the socket is closed, and nothing more is sent to it
//! than it has asked for, and never more than a few dozen at once. The others go on with the rest of the queue.
//!
//! # Life of a worker
//!
//! | | starts | ready | gets connections | leaves |
//! | --- | --- | --- | --- | --- |
//! | at the beginning, or in place of one that died | when the back-off allows | has to be, in time | at once | when it is told to finish |
//! | of a new generation (SIGHUP) | at once | has to be, in time | when all of its generation are ready | |
//!
//! One that leaves is told to `finish`, keeps what it has, is sent SIGTERM when the drain timeout is over, and SIGKILL
//! some seconds later. If one of a new generation fails to become ready, the whole generation is given up and the one
//! before goes on. A SIGHUP during that starts the new generation over, with the same number: the last one wins.
//!
//! # A stop
//!
//! SIGTERM, SIGINT and SIGQUIT end the listening. Who is in the queue already is served as far as workers ask; when the
//! queue is empty, or the drain timeout is over, the workers are told to finish. A second such signal does not wait.
//!
//! # Where things are
//!
//! | module | owns |
//! | --- | --- |
//! | `options` | the command line of `reactord supervise` |
//! | `daemon` | the process: the background, the pid file, the log, the service manager |
//! | `config` | how a supervisor behaves |
//! | `supervisor` | the loop, which starts and ends processes |
//! | `asked`, `frames` | who asks something of the supervisor on its path; what may be asked and is answered |
//! | `asking` | what a process that supervises nothing asks |
//! | `traffic` | connections in, connections and words out to workers and back; it cannot start a process |
//! | `fleet` | what is decided, without I/O; `fleet/queue` is who gets the next connection |
//! | `signals` | signals as events, for a process with one thread |
//! | `source` | who an event is for |
//! | `connection`, `line` | what nobody has, and what may come back; what a worker is spoken to by |
//! | `link` | the supervisor's end of a worker's queue |
//! | `children` | processes by pid: their ends, signals to them |
//! | `remains` | processes that workers leave behind, until they are gone |
//! | `sight` | whether a worker is seen to accept |
//! | `limited` | how many lines others can cause |
//! | `shortage` | how long the kernel has had no room |
//! | `launch` | from a command to a process with clean surroundings |
//! | `directory` | where workers' sockets are that have a path |
//! | `upgrade` | another binary in place of this one: who has asked, and how far it is |
//! | `resume` | trying a binary out, and executing it with everything that this process has |
//! | `fixed` | what a command line says that cannot change by that |
//! | `state` | what that binary is told, as a record |
//! | `status` | how a supervisor stands, and when a service manager is told |
//!
//! This package is for the program `reactord`, and promises nobody else anything. A worker needs none of it: it needs
//! `reactord::worker`, or the page `docs/queue.md`.

mod asked;
mod asking;
mod children;
mod config;
mod connection;
mod daemon;
mod directory;
mod error;
mod fixed;
mod fleet;
mod frames;
mod launch;
mod limited;
mod line;
mod link;
mod not_serving;
mod nursery;
mod options;
mod remains;
mod resume;
mod shortage;
mod sight;
mod signals;
mod source;
mod state;
mod status;
mod supervisor;
mod traffic;
mod upgrade;

pub use asking::{ask_status, reload};
pub use daemon::Daemon;
pub use frames::Reloaded;
pub use launch::{become_worker, is_stage};
pub use not_serving::NotServing;
pub use options::Arguments;
pub use status::{
    Does, FailedReload, FailedUpgrade, Failures, FleetStatus, QueueStatus, ReloadFailure, Summary, WorkerStatus,
};
