//! A standby that serves on when the active has died, as a model of its own, beside those of the takeover and of moves.
//!
//! # What is modelled
//!
//! Three processes and two clients. Process 0 serves; each of the others is started once, as a standby of whoever serves then, or as
//! a successor: so a run has up to two deaths that are survived. At any moment, between any two system calls and any two stores
//! to the memory that both share, each process may be killed, and one of them stopped, and continued later or never. A
//! channel may break though both ends live; a standby may take an active that is stopped, or in a freeze, for one that hangs, and kill it,
//! be it that it goes on meanwhile, or find that it cannot; somebody may take over, beside a standby that follows on; the server may be
//! told to stop.
//!
//! Active, standby and successor have the licence, which is one word. Each change of it is one step.
//!
//! In one half of the runs each client talks to a service: what one of them says is told to the other, too, all share how much
//! was said, and one message may kill whoever handles it. What a service says depends on the process that it runs in, so a message
//! that is handled twice has two answers; each is a record under the next sequence number. In the other half the two are joined, and
//! what one says is passed on.
//!
//! # Which step is which code
//!
//! | in the model | in the code |
//! | --- | --- |
//! | [`state::Link`] | `mapping.rs`, and the channel between `escort.rs` and `follower.rs` |
//! | [`state::Licence`] | the word in `licence.rs`: `Licensor::new` up to `Licensor::drop` |
//! | [`state::Client`] | the kernel's socket, with what `peer/counters.rs` tells of it |
//! | [`state::Book`], `told` | what `Escort::commit` writes: `write_peers`, `write_offsets`, `write_states` |
//! | `Follow` | `Followed::begin` up to `Escort::begin`: `Table::shelter` |
//! | `BeginRead`, `Read`, `Handle` | `Mapping::read`: its stores, read(2), its stores; and then `Answering::handle_in_place`, whose answers `Line::hold` keeps |
//! | `Commit`, `EmptyIntake` | the two stores of `Mapping::commit` |
//! | `Write` | `AnyLane::let_out`, of one peer: `Turn::flush_if_known` |
//! | `Convey`, `WriteConveyed`, `TakeOff`, `HaveConveyed` | `Turn::convey_by_peeking`: `Shelter::convey`, write(2), recv(2), `have_conveyed` |
//! | `SendMark`, `ApplyMark`, `HearCopied` | `Escort::mark`, `Follower::mark`, `Escort::arm` |
//! | `LoseStandby`, `Silence`, `Dismiss` | `Turn::Lost`, by the end of the channel, or by `Rhythm::is_overdue` and a journal that is full: the two calls of `Escort::dismiss`, `Licensor::drop` and `close_with` |
//! | `Yield` | `raise` in `Licensor::drop`, where `take_back_or_die` has found `CLAIMED` |
//! | `Serve` | a turn of the loop while nobody follows |
//! | `TakeOver` | `Succession::begin`: who is armed follows on while somebody copies, and anybody else is dismissed |
//! | `Offer` | `Turned::Ready`, and `send_by` of `Frame::Licence` in `ReadyDeparture::commit_beside`, which `Arriving::take_licence` receives: from here on the loop is not polled |
//! | `Freeze`, `SendCommit` | `PredecessorEnd::freeze`, up to `End::send_commit`: Commit is in the channel |
//! | `PassOn`, `Accept`, `FindEnd` | `SuccessorEnd::send_accept`: `Licence::pass_on`, which leads to `Cause::ServedOn` or `TooLate` where it fails; `send_by`, which is `Ok`; or which finds the channel ended, and then `is_passed_on` |
//! | `Decline` | `Accepting::step`: `restore`, or `stop_if_told`, has failed |
//! | `GiveUp`, `LoseSuccessor`, `ShutDown` | the steps `Failed` and `Told` of `drive::Drive`: `say_last`, and the two calls of `End::shut_down`, `Licensor::drop` and `Channel::shutdown`; before Commit is sent, the rest as well |
//! | `Retire`, `Thaw` | `Stepped::HandedOver`, from `hear` or from `look`, with `dismiss_standby`, up to the exit; `Stepped::Thaw`, and `Succession::thaw` with `dismiss_unlicensed` |
//! | `Terminate`, `Exit` | `Reactor::drain` and the end of the process |
//! | `Leave` of a successor | the end of the channel before Commit |
//! | `Leave`, `Alive`, `Claim`, `ServeOn` | `Follower::end` and `hear`: `End::Dismissed`, `Objection::Alive` after `DYING_MAX`, `Licence::claim`, `serve_on` |
//! | `FindHung`, `KillHung`, `Forgo` | `Follower::wait` with `claim`, and `fence`: `Active::kill`, or `Licence::forgo` |
//! | [`mod@judgement`] | `Follower::judge` and `Survival::go_on` |
//! | `TakeUpAside`, `Patience` | `Reactor::tend_suspect`, with `is_sheltered`, or at the end of `STANDBY_PATIENCE` |
//!
//! # What is left out, and why that is sound
//!
//! - **Bytes of a message.** A message is read, written and passed on whole, one or more at a time. What is left of one is part of the
//!   session, which a commit tells like all else.
//! - **What the journal says, and how it is applied.** A commit is a copy of the book: it is one state of the whole server in the code,
//!   too, and tells nothing before its store. When a standby applies it, but for the first mark, changes nothing that anybody can see.
//! - **A journal that is full** is a standby that is silent, which is given up then.
//! - **A store that says how much a read has brought, and the one before it** are one with the handling: up to them the kernel's counter
//!   says it, and what is in memory is seen by nobody.
//! - **What a standby does between its claim and its first poll** is one step, and so is what a successor does when it owns the peers.
//!   Nobody else acts then, and a death is one before anybody is armed.
//! - **Deaths before a standby is armed** lose all, as the promise has it. Nothing is checked of clients after that, nor after
//!   a stop, but that nobody serves who may not.
//! - **The takeover** but for what it means to a standby: the other model has it. There is one in a run. What a successor is told in
//!   rounds comes to what its predecessor knows in the freeze, and is one with Commit here; up to then a successor can do nothing but
//!   end, so one that is given up then is gone at once.
//! - **An end of the channel between predecessor and successor that is neither's doing**, which the kernel does not know, nor an error of
//!   another kind when Accept is sent to a process that is dead: whoever has that leaves, as if it was killed.
//! - **Another standby after a takeover that has failed beside one**: there is no fourth process. What follows is a server that nobody
//!   follows, as after any dismissal.
//! - **When the kernel closes the files of a dead process**, which may be long after its standby has seen that it is dead. Nothing
//!   depends on that but how a successor that has Commit comes to own the peers: it can still say Accept, or finds the end of the channel.
//! - **The end of [`Action::Patience`]** while a standby could still come: what waits for an armed standby waits for as long as it
//!   takes one to be, or goes along with a takeover.
//! - **Counters that cannot be told** (Unix sockets, connections that do not stand, urgent bytes): such a peer is reset by `Doubt::NotTold`,
//!   which is a matter of tests. Here the kernel tells always, and its counts begin at nothing.
//! - **Descriptors of those who come**, and two who are joined while somebody follows: there are two clients from the start, joined or
//!   not.
//! - **More than one stop, and one break.** Whoever is stopped later meets what it would have met then.

use crate::visit::visited;
use action::Action;
use mutants::Mutant;
use progress::progress;
use state::State;

pub use protocol::Standby;

pub mod action;
mod choices;
mod consequences;
pub mod judgement;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod state;

// Either two clients with a service, or two that it has joined.
visited!(Standby, from [false, true].map(State::start), by |_, state| progress(state));
