//! The ownership protocol of reactord's takeover, that of moves, that of a standby, and that of a supervisor's queue, as models whose
//! every state is visited.
//!
//! Moves have a small model of their own, [`moves`], which stands beside that of the takeover and takes from it how a
//! channel and a peer behave; so have a standby, [`standby`], and the queue of a worker with a standby, [`queue`]. All below is about
//! the takeover.
//!
//! # What is modelled
//!
//! Three processes and one client. Process 0 serves; 1 and 2 call on the takeover path whenever they like, so a run may
//! hold a takeover that fails and another after it, two at once, or a chain. At any moment, between any two system
//! calls, each process may be killed, stopped, and continued later or never; each of its steps may fail; each deadline
//! may end a wait, however short it was; a server may get SIGTERM; the client may send; and what the peer waits for, the
//! end of a connect or of a time, may come. Once in a run, before anything else goes wrong, a change may be lost, come
//! twice or out of order, or a successor say Accept unasked.
//!
//! | module | stands for |
//! | --- | --- |
//! | [`record`] | `peer/record.rs`: what is known of the peer, and what has become of it since |
//! | [`channel`] | the kernel's Unix socket, as `src/takeover/channel.rs` uses it |
//! | [`state`] | what processes remember, and what the kernel does when one dies |
//! | [`action`], [`choices`], [`consequences`] | `takeover/predecessor.rs`, `successor.rs`, `drive.rs`, `departure.rs`, `commit.rs`, `arriving.rs`, `sources/callers.rs`, and the parts of `reactor.rs` that call them |
//! | [`protocol`] | the protocol, or one of its mutants |
//! | [`properties`] | the promise |
//! | [`mod@progress`] | why "in the end" comes |
//! | [`mutants`] | faults that the check must find |
//! | [`mod@visit`] | the check itself, of any model |
//!
//! # Which step is which code
//!
//! | in the model | in the code |
//! | --- | --- |
//! | `Start` | `path::call`: connect; "nobody answers" if no process holds the takeover listener |
//! | `Connected`, `Called` | `welcomed::greet`; `Called::hear` |
//! | `Receiving` | `Arriving::receive` and `hear` with `Receiving::hear`; each `answer` is the `send_by` in `Arriving::hear` |
//! | `Receiving`, before the answer to a round | `sift`: the epoll set is polled, no peer is read from: no acting |
//! | `Step::Accept` | `drive::Accepting`: `Book::commit` has found nothing missing, and all is restored |
//! | `Send Accept`: `Taken`, `Closed` | `SuccessorEnd::send_accept`: `Ok`, the commit point; `ChannelError::Closed`, `Cause::TooLate`; `Exit::Unexplained` where `last_word` finds nothing |
//! | `Arrived`, `FirstPoll`, `Arriving` | `Reactor::run(Some(arrival))`, `Reactor::arrive`, `Arrival::serving` |
//! | `Answer`, `RefuseCaller`, `Receive Hello` | `Callers::tend`, `Reactor::begin_departure`, `Departure::begin`, `predecessor::greet` |
//! | `Polling(Some(handover))` | the loop with `Departure::turn` between two polls; `Copying::next`, `sent`, `hear` |
//! | `Receive Ready` | `Heard::Ready` and `Decision::Freeze`: from here on the loop is not polled |
//! | `AnotherRound` | `Heard::Ready` and `Decision::Copy`: too much is pending (`pace.rs`), and another round begins |
//! | `SendFinal`, `SendCommit`, `WaitForAccept` | `drive::send_pending`, `conclude`, `hear_accept`, with `Frozen::next`, `Concluding::next`, `Committed::hear` |
//! | `Shutdown`, `AcceptedAlready` | the steps `Failed`, `Told` and `Ended` of `drive::Drive`: `say_last`, `shut_down`, `look` |
//! | `Thaw` | the channel is dropped, `Reactor::thaw`, the loop polls again |
//! | `HandedOver` | `HandedOver::retire`, `Reactor::disband`, exit |
//! | `Terminate`, `last_call` | `Reactor::stop`, `Stop::LastCall`: it serves on, and a takeover goes on |
//! | `Drain` | `Reactor::drain`, by `tend_stop` or a second signal: `Refusal::Stopping`, then exit |
//! | `Deadline` | `HELLO_PATIENCE`, both `SILENCE_MAX`, `freeze_timeout`, `RETIRED_PATIENCE` |
//! | `Fail` | any other error: before the commit point a successor gives up (Refuse, code 3), a predecessor drops the handover or goes to the shutdown; afterwards `Error::Loop` |
//! | `Slip`, `AcceptUnasked` | nothing: mistakes that both sides must see through |
//! | `Act` | `Reactor::turn`: reads from the peer and answers it |
//! | `Come`, `Learn` | a connect that is under way ends, or a deadline is reached; the service is told of it |
//!
//! # What is left out, and why that is sound
//!
//! - **One peer, two rounds, or three if another follows Ready.** The peer stands for the whole table, listener included, because the protocol hands over
//!   all or nothing: its [`Record`](record::Record) is what has happened to it, and a change what came since. Commit's
//!   digest is that of all that was sent (`Mirror::digest`), not the one that is true, so a change that is not sent after
//!   the freeze is not noticed by `verify` but by the property. Closed and State travel as Changed does.
//! - **Several lanes, and entries of shared state.** They are parts of what the peer stands for: they are handed over with
//!   all the rest or not at all, and of an entry, too, a change is sent, in order, under the same digest.
//! - **TLS.** A peer that speaks it is a peer whose every event is a record that is sealed, with a number; what the session is
//!   travels in the record. Records without data (tickets, KeyUpdates, alerts) are events like others. What was sealed and is not
//!   written is pending output, which is written again as it is.
//! - **Timers of a service** are deadlines that travel after the freeze.
//! - **Positions of bytes** (`Backlog::shift`). They find at once what the digest finds at Commit; a session has none.
//! - **When what is pending is sent.** `Mirror` decides by what was pending when the round began; the model allows it
//!   before and after the end of the round, so it does whatever the code does, and more.
//! - **Time.** A deadline may end a wait at once. More runs are possible than in fact, none fewer.
//! - **A full channel, and half a frame.** A send that has to wait is a process that is slow, and a deadline may end
//!   its run there. A frame that is cut off by a death is not delivered (`RawFrame::take`), as if it had not been sent.
//!   Accept is 10 bytes, which the kernel takes whole or not at all.
//! - **Steps that are one here and several in the code** are those between which nobody else can see a difference: to
//!   hear Hello and send Welcome and Listeners; to send Refuse and exit, or to shut down, since nobody who waits to send
//!   Accept reads; to find that the successor has said nothing and send Commit; what happens in memory. Every send and every
//!   receive that may decide about ownership is a step of its own, and so are the shutdown, the look at what is left,
//!   and the close.
//! - **Failures of shutdown(2), of the recvmsg(2) after it, and of close(2)** on a Unix socket: they have none but
//!   `ENOTCONN`.
//! - **Lies**, but one: an Accept that is said before the predecessor looks for it the last time. What else a stranger can
//!   do on the channel is the matter of tests.
//! - **A last call of a server to which anything else has happened before.** Until it ends, the server does what it does
//!   anyway, so SIGTERM then is the end of the last call.
//! - **The takeover path** as a file, its removal, and a successor that moves it.
//!
//! The checker keeps 64 bits of each state; that two of twenty million states share them has a chance of one in ninety
//! thousand.

use action::Action;
use mutants::Mutant;
use progress::progress;
use protocol::Protocol;
use state::State;
use visit::visited;

pub use visit::check;

pub mod action;
pub mod channel;
pub mod choices;
pub mod consequences;
pub mod moves;
pub mod mutants;
pub mod progress;
pub mod properties;
pub mod protocol;
pub mod queue;
pub mod record;
pub mod standby;
pub mod state;
pub mod visit;

visited!(Protocol, from[State::start()], by | _, state | progress(state));
