//! The rule of ownership: in which order either side freezes, sends, hears, ends the channel and looks. Pure; whoever
//! has a channel carries it out, one step at a time, and so do the tests and the fuzzer, which stop either side between
//! any two steps.
//!
//! ```text
//! predecessor   freeze ─▶ what is pending ─▶ save ─▶ shared state ─▶ Commit ─▶ hear ───────────────────▶ handed over
//!                  │             │            │           │            │         │                            ▲
//!                  └─────────────┴────────────┴───────────┴────────────┴─────────┴▶ last word ─▶ shut down ─▶ look ─▶ thaw
//!
//! successor     Commit is verified ─▶ restore ─▶ send Accept ─▶ owner
//!                                        │            │
//!                                        └────────────┴▶ gives up, and touches nobody
//! ```
//!
//! Two orders carry the rule. The predecessor ends the channel *before* it looks whether Accept is there: what is sent
//! after that fails, so what it does not find will never come. And it holds Commit for sent *before* it is: whatever
//! becomes of the rest of it, an Accept that is found later is one.

use reactord_process::frame::{RawFrame, WireError};

use super::mirror::Batch;
use super::predecessor::{Accepted, Committed, Concluding, Conclusion, Frozen, Mistake, Ready, hear_before_commit};
use super::successor::Accept;

// ── The predecessor ────────────────────────────────────────────────────────────────────────────────────────────────

/// What a predecessor does its part with: its end of the channel, and its peers.
pub(crate) trait PredecessorEnd {
    /// Why a takeover fails.
    type Failure: From<Mistake> + From<WireError>;

    /// Stops serving: nothing happens to the peers from here on.
    fn freeze(&mut self, ready: Ready) -> Result<Frozen, Self::Failure>;

    /// The next batch of what is pending.
    fn next_batch(&mut self, frozen: &mut Frozen) -> Result<Option<Batch>, Self::Failure>;

    /// Sends a batch with the descriptors of its peers.
    fn send_batch(&mut self, batch: &Batch) -> Result<(), Self::Failure>;

    /// The next part of the entries that are pending, as a frame.
    fn next_entries(&mut self, frozen: &mut Frozen) -> Result<Option<Vec<u8>>, Self::Failure>;

    /// The state that all peers of each lane share.
    fn save(&mut self) -> Result<Vec<Vec<u8>>, Self::Failure>;

    /// Sends a frame that is not the last one.
    fn send_part(&mut self, frame: &[u8]) -> Result<(), Self::Failure>;

    fn send_commit(&mut self, frame: &[u8]) -> Result<(), Self::Failure>;

    /// A frame that has arrived already, if there is one.
    fn arrived(&mut self) -> Result<Option<RawFrame>, Self::Failure>;

    /// As long as something arrives, or there is room for what is sent, nothing is waited for, and a deadline would not be
    /// noticed.
    ///
    /// # Errors
    /// If it has passed.
    fn check_time(&self) -> Result<(), Self::Failure>;

    /// The next frame. `None` if it is to be asked for again.
    fn hear(&mut self) -> Result<Option<RawFrame>, Self::Failure>;

    /// The same for a successor that may accept, and says other things: why it is waited for no longer, if it is not.
    fn out_of_patience(&self) -> Option<Mistake>;

    /// Tells the successor why the takeover has failed, as far as it still listens.
    fn say_last(&mut self, failure: &Self::Failure);

    /// Ends the channel for both sides: what the successor sends from now on is refused, what it has sent stays. Before that, it takes
    /// back what would let the successor own the peers without Accept.
    fn shut_down(&mut self);

    /// The next frame in a channel that has ended.
    fn look(&mut self) -> Option<RawFrame>;
}

/// A predecessor whose successor is ready, up to the end of the takeover.
#[must_use]
#[derive(Debug)]
pub(crate) struct Drive<F>(Step<F>);

#[derive(Debug)]
enum Step<F> {
    Ready(Ready),
    /// What is pending is sent.
    Frozen(Frozen),
    /// The entries that are pending are sent.
    SendingEntries(Frozen),
    /// The shared state is asked for.
    Saving(Frozen),
    /// It is sent, and then Commit.
    Concluding(Concluding),
    /// Accept is waited for.
    Committed(Committed),
    /// The takeover has failed, unless the successor has accepted already: that it can if Commit was sent.
    Failed(Failed<F>),
    /// The same, and the successor has been told why.
    Told(Failed<F>),
    /// The same, and the channel has ended.
    Ended(Failed<F>),
}

#[derive(Debug)]
struct Failed<F> {
    failure: F,
    committed: Option<Committed>,
}

/// What a step has led to.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
#[must_use]
#[derive(Debug)]
pub(crate) enum Stepped<F> {
    /// There is more to do.
    On(Drive<F>),
    /// The successor owns the peers.
    HandedOver(Accepted),
    /// The predecessor owns them, and serves on.
    Thaw(F),
}

impl<F: From<Mistake> + From<WireError>> Drive<F> {
    pub(crate) fn new(ready: Ready) -> Self {
        Self(Step::Ready(ready))
    }

    /// Whether Commit is in the channel, and Accept is waited for.
    pub(crate) fn has_committed(&self) -> bool {
        matches!(self.0, Step::Committed(_))
    }

    /// Does what comes next.
    pub(crate) fn step(self, end: &mut impl PredecessorEnd<Failure = F>) -> Stepped<F> {
        match self.0 {
            Step::Ready(ready) => before_commit(end.freeze(ready).map(Step::Frozen)),
            Step::Frozen(frozen) => before_commit(send_pending(frozen, end)),
            Step::SendingEntries(frozen) => before_commit(send_entries(frozen, end)),
            Step::Saving(frozen) => before_commit(end.save().map(|states| Step::Concluding(frozen.conclude(states)))),
            Step::Concluding(concluding) => conclude(concluding, end),
            Step::Committed(committed) => wait(committed, end),
            Step::Failed(failed) => {
                // It decides nothing: a successor that has sent Accept reads no more, and any other learns why it leaves.
                end.say_last(&failed.failure);
                Stepped::On(Self(Step::Told(failed)))
            }
            Step::Told(failed) => {
                end.shut_down();
                Stepped::On(Self(Step::Ended(failed)))
            }
            Step::Ended(failed) => look(failed, end),
        }
    }
}

/// The next step, where none has been Commit.
fn before_commit<F>(step: Result<Step<F>, F>) -> Stepped<F> {
    let step = step.unwrap_or_else(|failure| Step::Failed(Failed { failure, committed: None }));
    Stepped::On(Drive(step))
}

fn send_pending<E: PredecessorEnd>(mut frozen: Frozen, end: &mut E) -> Result<Step<E::Failure>, E::Failure> {
    end.check_time()?;
    let Some(batch) = end.next_batch(&mut frozen)? else {
        return Ok(Step::SendingEntries(frozen));
    };
    end.send_batch(&batch)?;
    frozen.sent(batch);
    Ok(Step::Frozen(frozen))
}

fn send_entries<E: PredecessorEnd>(mut frozen: Frozen, end: &mut E) -> Result<Step<E::Failure>, E::Failure> {
    end.check_time()?;
    let Some(frame) = end.next_entries(&mut frozen)? else {
        return Ok(Step::Saving(frozen));
    };
    end.send_part(&frame)?;
    Ok(Step::SendingEntries(frozen))
}

/// Sends a frame, having heard what the successor has said up to now: once Commit is in the channel, nobody could tell
/// an Accept that was said before from one that is said to it.
fn conclude<E: PredecessorEnd>(concluding: Concluding, end: &mut E) -> Stepped<E::Failure> {
    if let Err(failure) = hear_arrived(end) {
        return before_commit(Err(failure));
    }
    match concluding.next() {
        Conclusion::Part(frame, concluding) => {
            before_commit(end.send_part(&frame).map(|()| Step::Concluding(concluding)))
        }
        Conclusion::Commit(frame, committed) => after_commit(end.send_commit(&frame).map(|()| None), committed),
    }
}

fn hear_arrived<E: PredecessorEnd>(end: &mut E) -> Result<(), E::Failure> {
    while let Some(raw) = end.arrived()? {
        hear_before_commit(raw.decode()?)?;
        end.check_time()?;
    }
    Ok(())
}

fn wait<E: PredecessorEnd>(committed: Committed, end: &mut E) -> Stepped<E::Failure> {
    after_commit(hear_accept(&committed, end), committed)
}

fn hear_accept<E: PredecessorEnd>(committed: &Committed, end: &mut E) -> Result<Option<Accepted>, E::Failure> {
    let Some(raw) = end.hear()? else {
        return Ok(None);
    };
    let accepted = committed.hear(raw.decode()?)?;
    match end.out_of_patience() {
        Some(mistake) if accepted.is_none() => Err(mistake.into()),
        _ => Ok(accepted),
    }
}

/// The next step, where Commit is in the channel, or a part of it.
fn after_commit<F>(heard: Result<Option<Accepted>, F>, committed: Committed) -> Stepped<F> {
    match heard {
        Ok(Some(accepted)) => Stepped::HandedOver(accepted),
        Ok(None) => Stepped::On(Drive(Step::Committed(committed))),
        Err(failure) => Stepped::On(Drive(Step::Failed(Failed { failure, committed: Some(committed) }))),
    }
}

/// Looks for Accept in what the channel holds after its end. If it is not there, the successor may have said why.
fn look<E: PredecessorEnd>(failed: Failed<E::Failure>, end: &mut E) -> Stepped<E::Failure> {
    let Failed { mut failure, committed } = failed;
    while let Some(raw) = end.look() {
        let Ok(frame) = raw.decode() else { continue };
        let heard = match &committed {
            Some(committed) => committed.hear(frame),
            None => hear_before_commit(frame).map(|()| None),
        };
        match heard {
            Ok(Some(accepted)) => return Stepped::HandedOver(accepted),
            Err(mistake @ Mistake::GaveUp { .. }) => failure = mistake.into(),
            Ok(None) | Err(_) => {}
        }
    }
    Stepped::Thaw(failure)
}

// ── The successor ──────────────────────────────────────────────────────────────────────────────────────────────────

/// What a successor does its part with: its end of the channel, and the peers that it has adopted.
pub(crate) trait SuccessorEnd {
    /// Why a takeover fails.
    type Cause;

    /// Restores the state that all peers of each of the predecessor's lanes share.
    fn restore(&mut self, states: &[Vec<u8>]) -> Result<(), Self::Cause>;

    /// Sends Accept, unless something keeps this process from serving. An error means that it is not in the channel, and
    /// never will be. Without one it is, or nobody is left to hear it, and whoever would have served on leaves that to this process.
    fn send_accept(&mut self, frame: &[u8]) -> Result<(), Self::Cause>;
}

/// A successor that has verified all that it has heard, up to the commit point. Who drops it gives up.
#[must_use]
#[derive(Debug)]
pub(crate) enum Accepting {
    Verified(Box<Accept>),
    Restored(Box<Accept>),
}

/// A successor that has accepted: it owns the peers.
#[derive(Debug)]
pub(crate) struct Owner(Box<Accept>);

impl Owner {
    pub(crate) fn accept(&self) -> &Accept {
        &self.0
    }
}

/// What a step of the successor has led to.
#[must_use]
#[derive(Debug)]
pub(crate) enum Came {
    On(Accepting),
    Owner(Owner),
}

impl Accepting {
    /// All steps at once, where the predecessor is dead: nobody is there to hear Accept, and nobody else may own the peers.
    ///
    /// # Errors
    /// If this process owns nothing, and never will.
    pub(crate) fn after_death<E: SuccessorEnd>(accept: Box<Accept>, end: &mut E) -> Result<Owner, E::Cause> {
        end.restore(&accept.states)?;
        Ok(Owner(accept))
    }

    /// Does what comes next.
    ///
    /// # Errors
    /// If this process owns nothing, and never will.
    pub(crate) fn step<E: SuccessorEnd>(self, end: &mut E) -> Result<Came, E::Cause> {
        match self {
            Self::Verified(accept) => {
                end.restore(&accept.states)?;
                Ok(Came::On(Self::Restored(accept)))
            }
            Self::Restored(accept) => {
                end.send_accept(&accept.frame)?;
                Ok(Came::Owner(Owner(accept)))
            }
        }
    }

    /// All steps up to the last one.
    ///
    /// # Errors
    /// As for one step.
    pub(crate) fn finish<E: SuccessorEnd>(self, end: &mut E) -> Result<Owner, E::Cause> {
        let mut accepting = self;
        loop {
            match accepting.step(end)? {
                Came::On(next) => accepting = next,
                Came::Owner(owner) => return Ok(owner),
            }
        }
    }
}
