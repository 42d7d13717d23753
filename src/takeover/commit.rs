//! The end of a takeover on the predecessor's side: it carries out the [drive](super::drive), over the channel and with
//! the peers of lanes that are not polled meanwhile.
//!
//! What comes of it is either [`HandedOver`] or a [`Failure`], after which the loop simply polls again: that is the thaw.

use std::time::{Duration, Instant};

use log::{debug, info, warn};
use reactord_process::channel::{Channel, ChannelError, Deadline};
use reactord_process::frame::RawFrame;

use super::drive::{Drive, PredecessorEnd, Stepped};
use super::everybody::{descriptors, originals};
use super::failure::{Failure, last_word};
use super::fault::{self, PredecessorStep as Step};
use super::freeze::Freeze;
use super::memory;
use super::mirror::Batch;
use super::pace::Load;
use super::panicked::caught;
use super::predecessor::{Accepted, Frozen, Mistake, Ready};
use super::summary::{Pause, Summary};
use super::wire::{Frame, Process};
use crate::account::Account;
use crate::build_id::BUILD;
use crate::clock::monotonic_ns;
use crate::lanes::Lanes;
use crate::sources::Vestibule;
use crate::standby::licence::Licensor;

/// How long a predecessor that has retired waits to hear how long the pause was. It delays nobody.
const RETIRED_PATIENCE: Duration = Duration::from_millis(800);

/// A takeover whose successor is ready: the loop stops reading and accepting, and calls [`ReadyDeparture::commit`].
#[derive(Debug)]
pub(crate) struct ReadyDeparture {
    channel: Channel,
    successor: Process,
    ready: Ready,
    /// More is pending than should be: how much, and for how long it has not become less.
    strain: Option<(Load, Duration)>,
    account: Option<Account>,
}

impl ReadyDeparture {
    pub(crate) fn new(channel: Channel, successor: Process, ready: Ready, strain: Option<(Load, Duration)>) -> Self {
        Self { channel, successor, ready, strain, account: None }
    }

    /// It is a standby, which never commits.
    pub(crate) fn into_parts(self) -> (Channel, Process, Ready) {
        (self.channel, self.successor, self.ready)
    }

    /// The successor goes on with what this process has kept count of.
    pub(crate) fn handing_on(self, account: Account) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Freezes, sends what is pending, and waits for the successor to accept. The loop is not polled meanwhile. If there is a standby, its
    /// `licence` is passed on by the successor when that accepts; if it could have been, and the takeover fails, it is taken back.
    ///
    /// # Errors
    /// If the successor has not accepted within `freeze_timeout`, and cannot accept any more: the loop thaws by polling
    /// again.
    pub(crate) fn commit<L: Lanes>(
        self,
        lanes: &mut L,
        vestibule: &mut Vestibule,
        licence: Option<&Licensor>,
        freeze_timeout: Duration,
    ) -> Result<HandedOver, Failure> {
        self.commit_beside(lanes, vestibule, licence, freeze_timeout, || {})
    }

    /// The same, with something that is done between any two steps.
    pub(crate) fn commit_beside<L: Lanes>(
        self,
        lanes: &mut L,
        vestibule: &mut Vestibule,
        licence: Option<&Licensor>,
        freeze_timeout: Duration,
        mut between: impl FnMut(),
    ) -> Result<HandedOver, Failure> {
        let Self { channel, successor, ready, strain, account } = self;
        warn_of(strain, successor.pid);
        let mut end = End::new(channel, (lanes, vestibule), licence, account, freeze_timeout);
        if let Err(failure) = end.offer_licence() {
            end.channel.close_with(&failure.frame());
            return Err(failure);
        }
        let mut drive = Drive::new(ready);
        loop {
            match drive.step(&mut end) {
                Stepped::On(next) => drive = next,
                Stepped::HandedOver(accepted) => return Ok(HandedOver { channel: end.channel, successor, accepted }),
                Stepped::Thaw(failure) => return Err(failure),
            }
            between();
        }
    }
}

/// Says so if the freeze will take longer than it should, and why.
fn warn_of(strain: Option<(Load, Duration)>, pid: u32) {
    if let Some((load, rounds_for)) = strain {
        let rounds_for_ms = rounds_for.as_millis();
        warn!("Takeover by pid {pid} freezes with {load} to send: rounds of {rounds_for_ms} ms have not made it less");
    }
}

/// What the drive works with: the channel, the peers, and a deadline.
struct End<'l, L> {
    channel: Channel,
    lanes: &'l mut L,
    vestibule: &'l mut Vestibule,
    licence: Option<&'l Licensor>,
    /// The successor may have that by now.
    offers_licence: bool,
    account: Option<Account>,
    deadline: Deadline,
    /// What the time goes into.
    freeze: Freeze,
}

impl<'l, L: Lanes> End<'l, L> {
    /// The time of the freeze begins.
    fn new(
        channel: Channel,
        (lanes, vestibule): (&'l mut L, &'l mut Vestibule),
        licence: Option<&'l Licensor>,
        account: Option<Account>,
        freeze_timeout: Duration,
    ) -> Self {
        let freeze = Freeze::begin(freeze_timeout, Instant::now());
        Self {
            channel,
            lanes,
            vestibule,
            licence,
            offers_licence: false,
            account,
            deadline: Deadline::after(freeze_timeout),
            freeze,
        }
    }

    /// Sends the licence of whoever follows, if somebody does. Nothing is frozen yet.
    fn offer_licence(&mut self) -> Result<(), Failure> {
        let Some(licensor) = self.licence else { return Ok(()) };
        let sent = self.channel.send_by(&Frame::Licence.encode(), &[licensor.licence()], self.deadline);
        self.explained(sent).map_err(|failure| last_word(&mut self.channel).unwrap_or(failure))
    }

    /// An error with what is known here: a deadline that has passed is that of the freeze.
    fn explained<T>(&self, result: Result<T, ChannelError>) -> Result<T, Failure> {
        result.map_err(|error| match error {
            ChannelError::Silent { .. } => Failure::Overdue(self.freeze.over(Instant::now())),
            error => error.into(),
        })
    }
}

impl<L: Lanes> PredecessorEnd for End<'_, L> {
    type Failure = Failure;

    fn freeze(&mut self, ready: Ready) -> Result<Frozen, Failure> {
        let mut frozen = ready.freeze(Instant::now(), monotonic_ns());
        self.account.take().into_iter().for_each(|account| frozen.hand_on(account));
        fault::at(Step::Freeze, &mut self.channel)?;
        memory::spare(memory::FRAME_SPARE_BYTES)?;
        Ok(frozen)
    }

    fn next_batch(&mut self, frozen: &mut Frozen) -> Result<Option<Batch>, Failure> {
        Ok(caught(|| frozen.next(&originals(self.lanes, self.vestibule)))??)
    }

    fn send_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let descriptors = descriptors(&*self.lanes, &*self.vestibule, batch);
        let sent = self.channel.send_by(&batch.frame, &descriptors, self.deadline);
        self.explained(sent)
    }

    fn next_entries(&mut self, frozen: &mut Frozen) -> Result<Option<Vec<u8>>, Failure> {
        Ok(caught(|| frozen.next_entries(&mut originals(self.lanes, self.vestibule)))?)
    }

    fn save(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        self.freeze.save(Instant::now());
        fault::at(Step::Commit, &mut self.channel)?;
        let mut states = vec![Vec::new(); L::COUNT];
        caught(|| self.lanes.all().zip(&mut states).for_each(|(lane, state)| lane.save(state)))?;
        self.check_time()?;
        self.freeze.send(states.iter().map(Vec::len).sum(), Instant::now());
        Ok(states)
    }

    fn send_part(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let sent = self.channel.send_by(frame, &[], self.deadline);
        self.explained(sent)?;
        self.freeze.sent(frame.len());
        Ok(())
    }

    fn send_commit(&mut self, frame: &[u8]) -> Result<(), Failure> {
        self.offers_licence = true;
        let sent = self.channel.send_by(frame, &[], self.deadline);
        self.explained(sent)?;
        self.freeze.wait(Instant::now());
        Ok(fault::at(Step::Committed, &mut self.channel)?)
    }

    fn arrived(&mut self) -> Result<Option<RawFrame>, Failure> {
        Ok(self.channel.receive()?)
    }

    fn check_time(&self) -> Result<(), Failure> {
        self.explained(self.deadline.check())
    }

    fn hear(&mut self) -> Result<Option<RawFrame>, Failure> {
        let raw = self.channel.receive_by(self.deadline);
        self.explained(raw.map(Some))
    }

    fn out_of_patience(&self) -> Option<Mistake> {
        self.deadline.passed().map(|waited| Mistake::NotAccepted { waited })
    }

    fn say_last(&mut self, failure: &Failure) {
        self.channel.send_last(&failure.frame());
    }

    fn shut_down(&mut self) {
        // In this order: a successor that finds the channel ended, and the licence not taken back, owns the peers.
        if self.offers_licence {
            self.licence.into_iter().for_each(Licensor::take_back_or_die);
        }
        self.channel.shutdown();
    }

    fn look(&mut self) -> Option<RawFrame> {
        // What is no frame is not Accept, and nothing can be told behind it.
        self.channel.receive().ok().flatten()
    }
}

/// The successor owns the peers. What is left to do disturbs nobody.
#[derive(Debug)]
pub(crate) struct HandedOver {
    channel: Channel,
    successor: Process,
    accepted: Accepted,
}

impl HandedOver {
    /// Waits to hear how long the pause was, and logs and returns the summary.
    pub(crate) fn retire(mut self) -> Summary {
        let Accepted { figures, peers, entries } = self.accepted;
        let heard = fault::at(Step::Retire, &mut self.channel)
            .and_then(|()| self.channel.receive_by(Deadline::after(RETIRED_PATIENCE)));
        let pause = match heard {
            Ok(raw) => match raw.decode() {
                Ok(Frame::Serving(serving)) => Pause::Exactly { us: serving.pause_us },
                _ => Pause::Unknown,
            },
            Err(error) => {
                debug!("Successor pid {} did not say when it began to serve: {error}", self.successor.pid);
                Pause::Unknown
            }
        };
        let generation = self.successor.generation.saturating_sub(1);
        let predecessor = Process { build: BUILD.to_owned(), pid: std::process::id(), generation };
        let summary = Summary { peers, entries, figures, pause, predecessor, successor: self.successor };
        info!("Handed over {summary}");
        summary
    }
}
