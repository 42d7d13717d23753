//! Moves between two servers that both go on serving, as a model of its own, beside that of the takeover.
//!
//! # What is modelled
//!
//! Two processes and four peers, of which two may be joined at any time and one must not move. Process 0 has them all.
//! Process 1 calls and waits to be given some (`--wait`), is given them in batches, and may give them back: then it is the
//! giver that calls, and process 0 a taker that serves, perhaps before it has heard that they were accepted. At any moment,
//! between any two system calls, each process may be killed, stopped, and continued later or never; steps may fail; each
//! deadline may end a wait; a client may send a byte; either may be told to give, and a successor may ask for a takeover.
//! Once in a run, before anything else goes wrong, the taker may say Wait or Accept unasked.
//!
//! Both go on polling all the time. So, unlike a predecessor, a giver hears of a peer that it has frozen, and a taker of
//! one that it does not own yet, and neither gets that event again.
//!
//! # Which step is which code
//!
//! | in the model | in the code |
//! | --- | --- |
//! | [`state::Giving`], [`state::Batch`], [`giver`] | `moving/giver.rs`; `moving/giving.rs`, with `predecessor.rs` and `drive.rs` |
//! | [`state::Taking`], [`taker`] | `moving/taker.rs`, `moving/taking.rs`, with `successor.rs` and `drive::Accepting` |
//! | `table`; `frozen` and `book` | the table; those in it that are out of reach (`table/reach.rs`): of the giver, of the taker |
//! | `turn` | an event, or the turn that `Peers::bring_back` gives |
//! | `Wait`; `Give` of process 1 | `Taker::call_again`; `Giver::call`, `Taker::hear_giver` |
//! | `Give` | `Context::give_away` (`line --steal`), and `Order`: `reactord move`, a supervisor |
//! | `members`, `newcomers` | `Service::MOVABLE`, `Table::tied_together`, `Batch::take_along` |
//! | `giver_fails` | before the freeze `Channel::close_with`; later the steps `Failed`, `Told`, `Ended` of `drive::Drive` |
//! | `Shutdown`, `Look`, `Thaw` | `say_last`, `shut_down`, `look`; `Passing::keep` |
//! | `let_go`; `accept` | `Passing::part_with_given`; `Passing::welcome` |
//! | `taker_gives_up` | `Taking::give_up`: `Passing::drop_taken` |
//! | `AskForTakeover`, `TakenOver` | `Reactor::take_leave`, `stop_moving`, and then a whole takeover |
//!
//! # What is left out, and why that is sound
//!
//! - **What the takeover's model shows**: changes during the copy, digests, rounds, Copied, slips. A batch has one copy of
//!   each peer and one change, after the freeze.
//! - **More processes.** A channel has two ends, and what is said on one is not heard on another. A process with more of them
//!   gives one batch at a time, as here, and takes as if each came from the only other one.
//! - **That somebody is stopped while no batch is under way, or both are.** What begins later begins as if it had been
//!   stopped then; and with both stopped nothing happens.
//! - **When a process that waits says something.** Whoever waits is waited for by nobody.
//! - **The call of a giver, and that it says what it wants**, are one step.
//! - **More than two batches in a run, and more than one byte** (`--bytes` of the program): what is left of a batch that has
//!   ended is its owner, and the channel.
//! - **A takeover that fails.** The other model shows that the predecessor goes on then.
//! - **A peer that leaves, its timers, and what was sent to it by others**: they travel as a change does, or find nobody.

use crate::visit::visited;
use action::Action;
use mutants::Mutant;
use progress::progress;
use state::State;

pub use protocol::Moves;

pub mod action;
mod choices;
mod consequences;
pub mod giver;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod state;
pub mod taker;

visited!(Moves, from [State::start()], by progress);
