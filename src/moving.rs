//! Moving some peers to another process, while both go on: the takeover's conversation and its rule of ownership, for a few
//! peers instead of all.
//!
//! # Phases
//!
//! ```text
//! who asks          giver                                         taker
//!   Move ──────────▶
//!                     Give ───────────────────────────────────────▶ a server at its takeover path
//!                     ◀─────────────────────────────────────────── Wait           it can be given peers;
//!                                                                                 or it has called by itself, and waits
//!                     Welcome ────────────────────────────────────▶ ┐
//!                     Peers + descriptors ────────────────────────▶ │
//!                     ◀──────────────────────────────────── Copied  │ a batch: both serve everybody meanwhile,
//!                     Round ──────────────────────────────────────▶ │ the giver these peers, too
//!                     ◀──────────────────────────────────── Copied  │
//!                     Changed, Closed, Round … the last one ───────▶ │
//!                     ◀───────────────────────────────────── Ready  │
//!                       freezes these peers                         │
//!                     Changed, Closed, Commit ────────────────────▶ │
//!                       goes on with the others       verifies      │
//!                     ◀──────────────────────────────────── Accept  │ ── the commit point ──
//!                       lets go of them               serves them   ┘
//!                     ◀─────────────────────────────────── Serving
//!                     ◀────────────────────────────────────── Wait  the next batch, if there is one
//!   ◀────────── Moved
//! ```
//!
//! A batch is [16 peers](batch), with whoever is joined or coupled to one of them. Of many batches each changes its owner by
//! itself: a move that fails half-way has moved those that were accepted, and the others are where they were.
//!
//! # Who owns a peer
//!
//! As in a takeover: the giver until Accept is in the channel, then the taker; a giver that waits no longer ends the channel
//! before it looks ([`drive`](crate::takeover::drive)). What differs is that both serve others meanwhile. So the peers of a
//! batch are in the table of either, and [out of reach](crate::table): of the giver's from the freeze to the end, of the taker's
//! from their arrival to Accept. Nothing that the loop has in store for them happens, no service sees them, and who asks for
//! one by its id is told that it is gone.
//!
//! Neither waits for the other in a way that would hold up whom it serves: what there is no room for in the channel is kept, and
//! each side goes on when the kernel says that it can.
//!
//! What the service shares among its peers does not move; so only [movable](crate::StreamService::MOVABLE) services take
//! part. Listeners and timers stay, too, and so do [ephemeral](crate::Connect::ephemeral) peers.
//!
//! # Crash table
//!
//! | step | giver killed | giver stopped | taker killed | taker stopped |
//! | --- | --- | --- | --- | --- |
//! | before Welcome | nobody; the taker goes on, and calls again if it waits | taker, once the giver is continued: nobody has given up | giver | giver |
//! | copy | nobody; the taker drops what has come | giver, later; the taker gives up after 10 s | giver, warns | giver, warns after 10 s |
//! | freeze, before Commit is sent | nobody; the taker drops what has come | giver, later; the taker gives up after 10 s | giver thaws, warns | giver thaws after `freeze_timeout`, warns |
//! | Commit sent, Accept not | nobody: Accept cannot be sent any more; the taker drops what has come | taker | giver thaws, warns | giver thaws after `freeze_timeout`, warns |
//! | Accept sent | taker | taker | nobody, as after any crash of a server | taker, later |
//! | thaw | nobody | giver, later | | |
//!
//! It says who owns the peers of the batch. All others stay with whom they are with; those of a process that is killed go
//! with it. A takeover that is asked for in between waits for the end of a freeze, and gives up what has not come so far.
//! "Later" is when it is continued. `tests/faults/` lets either side fail at each step, in more ways than these, and compares
//! this table with what it saw; all of that is in `docs/faults.md`.
//!
//! # Where things are
//!
//! | module | owns |
//! | --- | --- |
//! | `batch` | some peers of a lane, as the book of a takeover sees them |
//! | `giving`, `taking` | one channel: the two halves of the conversation, between turns of a loop that serves |
//! | `giver`, `taker` | all channels of either side: who waits, who has called, what is to be moved next |
//! | `order` | what is to be moved, and how far that has come |
//! | `asking` | the request, from a process that serves nobody |
//! | `lent`, `words` | what the loop lends to all of that; what moves are told in |

pub(crate) mod asking;
mod batch;
pub(crate) mod giver;
mod giving;
mod lent;
mod order;
pub(crate) mod taker;
mod taking;
mod words;

pub(crate) use giver::Giver;
pub(crate) use lent::Lent;
pub(crate) use taker::Taker;
