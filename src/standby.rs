//! The standby: a process that follows a serving one, the active, and serves on when that has died.
//!
//! It is a successor that stays in its copy phase. It holds a duplicate of every listener and of every peer, does not poll, and
//! is told again and again what has changed.
//!
//! ```text
//! standby                                     active
//!   Follow ───────────────────────────────────▶ like Hello of a takeover
//!                                              ◀ Welcome, and the copy up to Ready, as in a takeover
//!                                              ◀ Licence + descriptor
//!                                              ◀ Closed, Peers, Changed, Entries, Timers, State
//!                                              ◀ Mark                … the second: the standby is armed
//!   applies it all, or nothing, and looks how far those have come whom it names
//!   Copied ───────────────────────────────────▶
//!                                              ◀ … Mark              … when something has changed; hardly anything while all is idle
//!   Beat ─────────────────────────────────────▶ does the loop turn?
//!                                              ◀ Beat
//!                                                ✝
//!   the end of the channel; the process is dead; the licence was not taken back
//!   judges each peer by the kernel's counters, serves on those that agree, and resets the others
//! ```
//!
//! # Why it is right
//!
//! All that is sent up to a mark is written between two turns of the active's loop, so it is *one state of the whole server*:
//! of its peers, of what they share, of timers, and of what one peer has sent to another. The standby applies it as a whole, and
//! goes back to the last mark when the active is dead. Whatever the active did after that mark was seen by a client or it was not.
//! Where it was, something was read from its connection or written to it, and the kernel has counted that
//! ([`counters`]): such a peer is reset. Whoever is served on has seen nothing that is not in the last mark, so to
//! them it is as if what came later had never been.
//!
//! How far a connection had come at a mark, the standby sees for itself: the active is not asked, and spends nothing on it. When it has
//! applied a mark, and before it says so, it looks at whom that names. The active goes on meanwhile; but whom the next mark
//! does not name, nobody has read from or written to in between, so what was seen of it is what was so at both. Until that next
//! mark, whoever was named is in doubt.
//!
//! A mark leaves nobody out. What all share is told whole, and would not fit to a peer that is told as it was before. So it costs the
//! active as much as a freeze does, and is the seldomer the more it costs.
//!
//! # Who owns the peers
//!
//! The active, as long as it lives: the standby serves when the kernel says that no thread of it runs any more (pidfd_open(2)), and
//! not because a channel has ended. The standby, after that, if it has the [licence](licence) still: the active takes that back before
//! it lets anybody else follow or take over, without asking a standby that may be stopped. So of two that followed one
//! after the other, only the last can own anything.
//!
//! | what happens | active | standby |
//! | --- | --- | --- |
//! | the active is killed, crashes, or panics | | serves on; leaves before the first mark |
//! | the active hangs, or is stopped, for longer than `--standby-timeout` | is killed | serves on |
//! | the same without that option | serves on later | follows on later |
//! | the active is killed while it sends a mark | | goes back to the one before |
//! | the channel breaks, and the active lives | serves on, warns | leaves |
//! | a takeover begins | takes back the licence, hands over | leaves |
//! | the active stops | takes back the licence | leaves |
//! | the standby is killed | serves on, warns | |
//! | the standby is stopped | takes back the licence after 15 s at most, warns | leaves, when it is continued |
//! | both are killed | nobody: as any server that is killed | |
//!
//! # Where things are
//!
//! | module | owns |
//! | --- | --- |
//! | `counters` | what the kernel says of a connection |
//! | `sightings` | how far connections had come at the last mark. Pure |
//! | `judgement` | whether they are there still. Pure |
//! | `following` | the active's book: what a mark tells. Pure |
//! | `rhythm` | when there is another mark. Pure |
//! | `escort`, `followed` | the active's side of the channel |
//! | `kept` | the process that the active starts as its standby, and starts again |
//! | `follower` | the standby up to the death of the active, and what it makes of it |
//! | `pulse` | whether the active's loop turns. Pure |
//! | `active`, `licence` | whether the active is dead; who may serve on then |
//! | `survival` | what a death was, for the log and for whoever asks |

mod active;
pub(crate) mod counters;
mod escort;
pub(crate) mod followed;
pub(crate) mod follower;
mod following;
mod judgement;
pub(crate) mod kept;
mod licence;
mod pulse;
mod rhythm;
mod sightings;
pub(crate) mod survival;

#[cfg(test)]
mod tests;
