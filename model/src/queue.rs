//! The queue of a supervisor with a worker that has a standby (`docs/queue.md`, "Workers that outlive their process"), as a model of
//! its own: who has a connection that was accepted and has not been served yet, or has only just been taken.
//!
//! # What is modelled
//!
//! A supervisor with three connections, a worker of which up to three processes serve one after the other, each followed by a standby or
//! not, and all other workers, which take what they are given. At any moment, between any two system calls, each process of the worker
//! may be killed; it may give up a standby that lives, which notices that late or never; the supervisor may end the queue for a reason of
//! its own, or wait no longer for who serves on. It may be told of a death before or after the survivor has spoken, and of several
//! at once.
//!
//! # Which step is which code
//!
//! | in the model | in the code |
//! | --- | --- |
//! | [`state::Supervisor`] | `fleet/queue.rs` (`Account::under_way`), `fleet/guard.rs`, `Worker::pid` |
//! | [`state::Server`] | `sources/queue.rs`: `Draw`, with `worker.rs`: `Queue`; `known` is `Draw::known`, `told_armed` that it is `Some` |
//! | [`state::Follower`] | `standby/follower.rs`; `offered` is what `Frame::Offered` told last |
//! | `Arm`, `TellArmed` | `Escort::arm`; `Standbys::tell_armed` up to `Queue::followed_by` |
//! | `GiveUp`, `LoseStandby` | `Turn::Lost`: `Licensor::drop`, and then `Entrance::followed_by` |
//! | `Offer` | `Reactor::tell_of_offers`: `Draw::offers`, `Escort::tell_of_offers` |
//! | `Take` | `Draw::accept`: `Queue::try_accept` |
//! | `Commit` | the end of a turn: `Escort::turn`, which tells of the new peers, and then that nobody is offered |
//! | `ServeOn` | `Follower::serve_on`, with `inherit_offered`, after `Licence::claim` |
//! | `SayHas`, `SaySurvived` | `Draw::survive`: `Queue::survive`; whoever is inherited is let in after it |
//! | `HearSupervisor` | `Queue::understand`, with `resumes` |
//! | `Send`, `GiveOthers` | `fleet/queue.rs`: `hand_out` |
//! | `HearWorker` | `Fleet::hear`, with `survival::hear`; `Traffic::resume` |
//! | `HearQueueEnd`, `EndQueue` | `Traffic::close`: shutdown(2), what is left to hear (`hear_out`, `survival::hear_last`), `cut_off` |
//! | `Look` | `Supervisor::tend_guarded`: `Guard::take_unseen`, `is_of_worker` |
//! | `Reap` | `Supervisor::reap`, `Guard::may_survive`, `former_ended` |
//! | `Patience` | `Guard::take_lost` when the time is over, and SIGKILL |
//!
//! # What is left out, and why that is sound
//!
//! - **Whether a standby can go on with its active's peers**: the model of a [standby](mod@crate::standby) has that. Here it can if it is
//!   armed and has the licence; whether its active was killed by it, or by somebody else, is no matter.
//! - **Credits.** All have some at all times, so more may happen here than in fact.
//! - **A socket that is full.** Whoever waits to say something is slow, here as there: `SayHas`, `SaySurvived` and `TellArmed` come late then,
//!   and before that nobody is let in, and nobody is said to be armed. What else is not taken ends with its process, as if it had not been said.
//! - **A standby that the supervisor passes over**, since it is none of the worker's processes: it finds the queue ended, as after
//!   `EndQueue`.
//! - **Connections that end, and those that are given back**: workers with a standby do not give back, and what has ended is nobody's.
//! - **The bytes of a connection.** Whoever was offered and is no peer yet was not read from (`Follower::inherit_offered`).
//! - **Workers without a standby.** They are the others here; what is between them and the supervisor is tested, and has no process
//!   that goes on with what another had.
//! - **Another binary of the supervisor**, which goes on with the same records and sockets.
//! - **A worker that lies**: the supervisor ends its queue, which may happen here at any time.

use crate::visit::visited;
use action::Action;
use mutants::Mutant;
use progress::progress;
use state::State;

pub use protocol::Queue;

pub mod action;
mod choices;
mod consequences;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod state;

visited!(Queue, from[State::start()], by | _, state | progress(state));
