//! The takeover: how one process hands its listener and every live connection to another.
//!
//! # Phases
//!
//! ```text
//! successor                                   predecessor
//!   connect ──────────────────────────────────▶ checks the caller's credentials
//!   Hello ────────────────────────────────────▶
//!                                              ◀ Refuse         or    Welcome
//!                                              ◀ Listeners + descriptors
//!                                              ◀ Peers + descriptors  … copy: in batches, serving between them
//!                                              ◀ Entries                … those of the service, in pieces
//!   Copied ───────────────────────────────────▶
//!                                              ◀ Round
//!                                              ◀ Changed, Closed, Peers, Entries, Round … until little is dirty
//!                                              ◀ Round, perhaps the last one
//!   Ready ────────────────────────────────────▶ copies another round if too much is pending by now; else
//!                                                freeze: stops reading and accepting
//!                                              ◀ Changed, Closed, Peers, Entries, State
//!                                              ◀ Commit
//!   verifies count and digest
//!   Accept ───────────────────────────────────▶ ── the commit point ──
//!   first poll: serves                           retires
//!   Serving ──────────────────────────────────▶ logs the pause, closes everything, exits
//! ```
//!
//! # Who owns the peers
//!
//! Exactly one process, at any time. Until Accept is in the channel it is the predecessor: the successor has neither
//! read nor written a byte of any peer. When the successor's `send(Accept)` has succeeded, it is the successor. A
//! predecessor that cannot wait any longer ends the channel with `shutdown` and then looks at what is still in it: the
//! kernel orders the shutdown and the send under one lock, so either Accept is there, or its sending fails with `EPIPE`
//! (unix(7)). Before it does that, it says why (Refuse): a successor whose Accept fails finds that word in the channel.
//!
//! Where a standby follows the predecessor, there is a right to the peers in memory that all three share
//! ([`licence`](crate::standby)): the successor passes it on to itself before it sends Accept, and the predecessor takes it back before it ends
//! the channel. So a successor whose Accept fails, and that has it still, knows that its predecessor has died frozen, and
//! owns the peers.
//!
//! Before it sends Commit, the predecessor hears what the successor has said up to then: an Accept that was said before
//! is out of turn, and nobody could tell it later from one that answers Commit.
//!
//! # What the two epoll sets see
//!
//! The successor registers each descriptor in its own set when it arrives. What the client sends from then on leaves an
//! entry in both sets, and the kernel looks again at an entry when it is polled: what the predecessor has read is
//! dropped, what it has left is an event (epoll(7)). Looking again takes over half a microsecond for each, and so does
//! an entry for each peer that has spoken during the copy; so the successor polls after each round, while the
//! predecessor still serves, and only notes who has something to read. It reads nothing before Accept.
//!
//! # Crash table
//!
//! | step | predecessor killed | predecessor stopped | successor killed | successor stopped |
//! | --- | --- | --- | --- | --- |
//! | Hello | nobody; successor exits 3 | predecessor, later; successor exits 3 after 10 s | predecessor serves on | predecessor serves on, warns after 2 s; successor exits 3 |
//! | copy | nobody; successor exits 3 | predecessor, later; successor exits 3 after 10 s | predecessor serves on, warns | predecessor serves on, warns after 10 s; successor exits 3 |
//! | freeze, before Commit is sent | nobody; successor exits 3 | predecessor, later; successor exits 3 after 10 s | predecessor thaws, warns | predecessor thaws after `freeze_timeout`, warns; successor exits 3 |
//! | Commit sent, Accept not | nobody; successor exits 3 | successor; predecessor exits 0, later | predecessor thaws, warns | predecessor thaws after `freeze_timeout`, warns; successor exits 3 |
//! | Accept sent, not yet read | successor | successor; predecessor exits 0, later | nobody, as after any crash of a server; predecessor exits 0 | successor, later; predecessor exits 0 |
//! | Serving | successor | successor; predecessor exits 0, later | nobody, as after any crash of a server; predecessor exits 0 | successor, later; predecessor exits 0, pause unknown |
//! | thaw | nobody; successor exits 3 | predecessor, later; successor exits 3 | | |
//!
//! "Nobody" is the case of any server that is killed: its connections go with it; where an armed [standby](crate::standby) follows the
//! predecessor, that serves on instead, or the successor does when it has Commit. "Later" is when it is continued.
//! A successor that finds the channel closed says so and exits with code 3 without touching a peer.
//!
//! `tests/faults/` lets each side fail at each step, in more ways than these, and compares this table with what it
//! saw; all of that is in `docs/faults.md`.
//!
//! # Where things are
//!
//! | module | owns |
//! | --- | --- |
//! | `wire` | bytes to records and back |
//! | `digests` | what the successor has of each peer, in one number |
//! | `mirror`, `books` | what the successor knows of each peer of a lane, of all lanes |
//! | `pieces` | what the successor knows of the entries that all peers share |
//! | `pace` | how much may be pending at the freeze |
//! | `predecessor`, `successor` | the two halves of the conversation, without I/O |
//! | `drive` | the rule of ownership: the order in which either side does what ends the takeover |
//! | `admission`, `user` | whether somebody who has said Hello can take over; as whom it runs if that is root |
//! | `departure`, `commit` | the predecessor's I/O, without decisions: the copy, the end |
//! | `everybody` | all that is copied of a server: peers of lanes, and those who wait for their TLS handshakes |
//! | `progress` | the copy between two turns of a loop that serves: of all peers, or of some that [move](crate::moving) |
//! | `failure` | why a takeover failed, as the predecessor sees it |
//! | `welcomed`, `arriving`, `arrival` | the successor's I/O, without decisions: the call, all up to Accept, the first turn |
//! | `adopted` | a socket with its record, and what came of restoring the two |
//! | `listening`, `sift` | what `arriving` does about listeners, and about events that come too early |
//! | `offer`, `error` | what a successor offers; why a takeover failed, as it sees that |
//! | `freeze`, `frozen_at` | what the time of a freeze went into; when it began, by the successor's clock |
//! | `memory` | whether there is enough memory for a takeover, and who is killed if not |
//! | `panicked` | a service that panics while it is saved or restored |
//! | `summary` | what a takeover took, as both sides log it |
//! | `fault` | the steps by name, where tests let either side fail |
//! | `rehearsal` | the next wire version, as tests speak it |

pub(crate) mod admission;
pub(crate) mod adopted;
pub(crate) mod arrival;
pub(crate) mod arriving;
pub(crate) mod books;
pub(crate) mod commit;
pub(crate) mod departure;
mod digests;
pub(crate) mod drive;
pub(crate) mod error;
mod everybody;
pub(crate) mod failure;
pub(crate) mod fault;
mod freeze;
pub(crate) mod frozen_at;
mod listening;
pub(crate) mod memory;
pub(crate) mod mirror;
pub(crate) mod offer;
pub(crate) mod pace;
pub(crate) mod panicked;
pub(crate) mod pieces;
pub(crate) mod predecessor;
pub(crate) mod progress;
#[cfg(all(feature = "wire-2", not(test)))]
mod rehearsal;
pub(crate) mod sift;
pub(crate) mod successor;
pub(crate) mod summary;
pub(crate) mod user;
pub(crate) mod welcomed;
pub(crate) mod wire;

#[cfg(test)]
mod conversation;
#[cfg(test)]
mod in_flight;
