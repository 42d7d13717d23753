//! The standby: a process that follows a serving one, the active, and serves on when that has died.
//!
//! It is a successor that stays in its copy phase. It holds a duplicate of every listener and of every peer, reads from nobody, and
//! finds in memory that both share ([`mapping`](crate::mapping)) all that the active does.
//!
//! ```text
//! standby                                     active
//!   Follow ───────────────────────────────────▶ like Hello of a takeover
//!                                              ◀ Welcome, and the copy up to Ready, as in a takeover
//!                                              ◀ Licence + descriptors: the right, and the memory
//!                                                  in the journal: Flushed, Closed, Peers, Changed, Offsets, Entries, State, Timers, Whole
//!                                              ◀ Descriptors of those who come
//!                                              ◀ Offered: those whom a supervisor offers, before they are taken
//!                                              ◀ Tickets: the keys of tickets, when there is another one
//!                                              ◀ Mark                … what the journal comes to up to there
//!   applies it; the first time, it is armed
//!   Copied ───────────────────────────────────▶
//!   Beat ─────────────────────────────────────▶ does the loop turn?
//!                                              ◀ Beat
//!                                                ✝
//!   the end of the channel; the process is dead
//!   applies the rest of the journal, finishes what was under way, and claims the licence
//! ```
//!
//! # Why it is right
//!
//! While somebody follows, the active *commits* before it writes. What is to be written to a peer is deferred: it waits in its backlog, and
//! so is what is to be done to its connection; what has become of all peers, of what they share, and of timers is written into the
//! journal; it counts from one store on; and only then those to whom something is to be written [have their
//! turn](crate::table) for that. So whatever anybody can have seen is in the journal. It is one state of the whole server,
//! since it is written between two peers' turns.
//!
//! What was read since the last commit is in the intake, where the kernel has put it. Nobody has seen anything that came of it:
//! so the standby has its service handle those bytes as if they came just now, and the service need not do the same once more.
//!
//! The last of those reads may be what has killed the active. It is kept back until another standby is armed, which is said when it has
//! been handled; if that survives a death while it is, whoever has said it is reset. One that was not handled yet is kept back further.
//!
//! What is left is in the kernel: how much of what a commit let out has been written, how much a read under way has brought, and
//! how much of what was passed from one peer to another is still to be taken off. It [counts](crate::peer::counters) all three, and
//! [`judgement`] compares that with what can be. What cannot be is reset; nothing is guessed.
//!
//! The standby applies the journal at marks, at its leisure, so that little of it is left at the death. A mark has the digest of all
//! that it knows, as the commit of a takeover has.
//!
//! # Who owns the peers
//!
//! The active, as long as it lives: the standby serves when the kernel says that no thread of it runs any more, and not because a
//! channel has ended. That is so when the process is dead (pidfd_open(2)), and before that when the thread of its loop has ended and all
//! others have begun to (proc(5)): what the kernel does for such a process after that, to free its memory and to close its files,
//! takes longer than all else. The standby, after that, if the [licence](licence) is still there to be claimed: the active takes that back
//! before it lets anybody else follow, without asking a standby that may be stopped. So of two that followed one after the other,
//! only the last can own anything.
//!
//! Whoever takes over is given the same licence when the freeze begins, and passes it on to itself before it says Accept. So whichever
//! moment of a takeover the active dies at, exactly one of the two finds the licence there, and goes on; but for one that has failed when
//! Commit was sent: until another standby is armed, nobody does.
//!
//! | what happens | active | standby |
//! | --- | --- | --- |
//! | the active is killed, crashes, or panics | | serves on; leaves before the first mark |
//! | the active hangs, or is stopped, for longer than `--standby-timeout` | is killed | serves on |
//! | the same without that option | serves on later | follows on later |
//! | the active is killed while it writes a commit | | goes on from the one before, and what was read since |
//! | the channel breaks, and the active lives | serves on, warns | leaves |
//! | a takeover begins | hands over | follows on, if it is armed; leaves when the peers are the successor's |
//! | the active is killed in a takeover, before Accept is sent | | serves on, or the successor does if it looks first |
//! | a takeover fails when Commit was sent | takes back the licence, serves on | leaves |
//! | a takeover fails before that | serves on | follows on |
//! | the active stops | takes back the licence | leaves |
//! | the standby is killed | serves on, warns | |
//! | the standby is stopped | takes back the licence when the journal is full, or after 15 s at most, warns | leaves, when it is continued |
//! | both are killed | nobody: as any server that is killed | |
//! | the active is a supervisor's worker, and is killed when it is about to take a connection | | has it, and says so before it serves on |
//!
//! # Where things are
//!
//! | module | owns |
//! | --- | --- |
//! | `judgement` | what was under way at a death. Pure |
//! | `chronicle` | the active's book: what a commit and a mark tell. Pure |
//! | `offsets` | how far connections have come, as the standby was told. Pure |
//! | `shared` | what all peers share, as the standby has been told. Pure |
//! | `rhythm` | when there is another mark. Pure |
//! | `escort`, `followed` | the active's side of the channel |
//! | `kept` | the process that the active starts as its standby, and starts again |
//! | `follower` | the standby up to the death of the active, and what it makes of it |
//! | `inquest` | where each peer stands then |
//! | `pulse` | whether the active's loop turns. Pure |
//! | `active`, `vigil` | whether the active is dead, and that this is noticed at once |
//! | `licence` | who may serve on then |
//! | `survival` | what a death was, for the log and for whoever asks |

mod active;
mod chronicle;
mod escort;
pub(crate) mod followed;
pub(crate) mod follower;
mod inquest;
mod judgement;
pub(crate) mod kept;
pub(crate) mod licence;
mod offsets;
mod pulse;
mod rhythm;
mod shared;
pub(crate) mod survival;
mod vigil;

#[cfg(test)]
mod tests;
