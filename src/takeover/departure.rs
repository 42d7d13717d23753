//! The predecessor's side of the channel: it moves frames and descriptors, and decides nothing.
//!
//! The loop gives a [`Departure`] one turn between two polls, and gets back what to do: go on, or freeze. What comes of
//! the freeze is either [`HandedOver`] or a [`Failure`], after which the loop simply polls again: that is the thaw.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use log::{debug, info};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Interest, Registry};

use super::channel::{Channel, ChannelError, Deadline, Sent, TOO_MANY_IN_FLIGHT_RETRY};
use super::fault::{self, PredecessorStep as Step};
use super::path::TakeoverListener;
use super::predecessor::{Accepted, Copying, Frozen, Heard, Mistake, Outgoing, Ready, Refusal, SILENCE_MAX};
use super::summary::Summary;
use super::wire::{Frame, Listeners, RecordsWriter, Welcome, printable};
use crate::clock::monotonic_ns;
use crate::lane::Lane;
use crate::service::Service;
use crate::sources::{Greeting, Source, Tokens};
use crate::table::Touch;

/// How long a predecessor that has retired waits to hear how long the pause was. It delays nobody.
const RETIRED_PATIENCE: Duration = Duration::from_millis(800);

/// How many frames of the successor are heard in one turn of the loop: a caller may talk without end.
const FRAMES_PER_TURN: usize = 64;

/// Why a takeover failed. The predecessor owns the peers, and serves on.
#[derive(Debug)]
pub(crate) enum Failure {
    Channel(ChannelError),
    Successor(Mistake),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(f),
            Self::Successor(mistake) => mistake.fmt(f),
        }
    }
}

impl<E: Into<ChannelError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Channel(error.into())
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::Successor(mistake)
    }
}

/// A takeover in its copy phase.
#[derive(Debug)]
pub(crate) struct Departure {
    channel: Channel,
    /// The successor's process id.
    pid: u32,
    copying: Copying,
    /// The channel refused the last batch, and when to try again if no event will tell.
    blocked: Option<Blocked>,
    /// The last turn ended before the successor was heard out.
    more_to_hear: bool,
}

#[derive(Clone, Copy, Debug)]
enum Blocked {
    UntilWritable,
    Until(Instant),
}

/// What the loop is to do after a handover has had its turn.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Serve, and give it the next turn.
    Copying(Departure),
    /// Stop reading and accepting, and let it commit.
    Ready(ReadyDeparture),
}

impl Departure {
    /// Welcomes the successor.
    ///
    /// # Errors
    /// If the channel does not take it.
    pub(crate) fn begin(
        greeting: Greeting,
        welcome: Welcome,
        tcp: Option<&TcpListener>,
        takeover: &TakeoverListener,
        keys_end: usize,
        now: Instant,
    ) -> Result<Self, Failure> {
        let Greeting { mut channel, pid, hello } = greeting;
        let (takeover_device, takeover_inode) = takeover.file();
        let listeners = Listeners {
            tcp: tcp.map(TcpListener::local_addr).transpose().map_err(ChannelError::Io)?.into_iter().collect(),
            takeover_path: takeover.path().as_os_str().as_bytes().to_vec(),
            takeover_device,
            takeover_inode,
        };
        let descriptors: Vec<BorrowedFd<'_>> = tcp.map(AsFd::as_fd).into_iter().chain([takeover.as_fd()]).collect();
        // Nothing has been sent on this channel, so it takes these two small frames at once.
        let patience = Deadline::after(Duration::ZERO);
        fault::at(Step::Welcome, &mut channel)?;
        channel.send_by(&Frame::Welcome(welcome).encode(), &[], patience)?;
        fault::at(Step::Listeners, &mut channel)?;
        channel.send_by(&Frame::Listeners(listeners).encode(), &descriptors, patience)?;
        Ok(Self { channel, pid, copying: Copying::new(hello, keys_end, now), blocked: None, more_to_hear: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Hears the successor out, and sends it at most one batch.
    ///
    /// # Errors
    /// If the takeover has failed.
    pub(crate) fn turn<S: Service>(mut self, lane: &mut Lane<S>, now: Instant) -> Result<Turn, Failure> {
        self.note(lane.table_mut().touches());
        let lane = &*lane;
        self.more_to_hear = true;
        for _ in 0..FRAMES_PER_TURN {
            let Some(raw) = self.channel.receive()? else {
                self.more_to_hear = false;
                break;
            };
            match self.copying.hear(raw.decode()?, now)? {
                Heard::Copying(copying) => {
                    self.copying = copying;
                    fault::at(Step::Copied, &mut self.channel)?;
                }
                Heard::Ready(ready) => {
                    return Ok(Turn::Ready(ReadyDeparture { channel: self.channel, pid: self.pid, ready }));
                }
            }
        }
        if now >= self.copying.deadline() {
            return Err(Mistake::Silent { silence: SILENCE_MAX }.into());
        }
        match self.blocked {
            Some(Blocked::UntilWritable) => return Ok(Turn::Copying(self)),
            Some(Blocked::Until(instant)) if now < instant => return Ok(Turn::Copying(self)),
            _ => {}
        }
        let mut write = record_writer(lane);
        if let Some(outgoing) = self.copying.next(&mut write)? {
            fault::at(step_of(&outgoing), &mut self.channel)?;
            let sent = match &outgoing {
                Outgoing::Batch(batch) => {
                    self.channel.try_send(&batch.frame, &descriptors(lane, batch.descriptor_keys()))
                }
                Outgoing::Round { frame, .. } => self.channel.try_send(frame, &[]),
            };
            let sent = sent.map_err(|error| last_word(&mut self.channel).unwrap_or(error.into()))?;
            self.blocked = match sent {
                Sent::Taken => None,
                Sent::Full => Some(Blocked::UntilWritable),
                Sent::TooManyInFlight => Some(Blocked::Until(now + TOO_MANY_IN_FLIGHT_RETRY)),
            };
            match sent {
                Sent::Taken => self.copying.sent(outgoing, now),
                Sent::Full | Sent::TooManyInFlight => self.copying.unsent(outgoing),
            }
        } else {
            self.channel.flush()?;
        }
        Ok(Turn::Copying(self))
    }

    /// The channel takes more.
    pub(crate) fn writable(&mut self) {
        if matches!(self.blocked, Some(Blocked::UntilWritable)) {
            self.blocked = None;
        }
    }

    /// Enters into the book what has happened to peers.
    fn note(&mut self, touches: Vec<Touch>) {
        let mirror = self.copying.mirror_mut();
        for touch in touches {
            match touch {
                Touch::Changed { key, .. } => mirror.touched(key),
                Touch::Gone { key, id } => mirror.closed(key, id.into()),
            }
        }
    }

    /// Ends the takeover, and tells the successor why.
    pub(crate) fn abandon(self, refusal: &Refusal) {
        self.channel.close_with(&refusal.frame());
    }
}

impl Source for Departure {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> std::io::Result<()> {
        registry.register(self.channel.source(), tokens.token(0), Interest::READABLE | Interest::WRITABLE)
    }

    /// It has its turn between any two polls; only that the channel takes more would be missed.
    fn hear(&mut self, _: usize, event: &Event) {
        if event.is_writable() {
            self.writable();
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let deadline = self.copying.deadline();
        Some(match self.blocked {
            _ if self.more_to_hear => now,
            _ if !self.copying.has_next() => deadline,
            None => now,
            Some(Blocked::UntilWritable) => deadline,
            Some(Blocked::Until(instant)) => instant.min(deadline),
        })
    }
}

/// The step at which it is sent.
fn step_of(outgoing: &Outgoing) -> Step {
    match outgoing {
        Outgoing::Batch(_) => Step::Batch,
        Outgoing::Round { last: false, .. } => Step::Round,
        Outgoing::Round { last: true, .. } => Step::LastRound,
    }
}

/// Writes the record of the peer at a key, if one is there, and returns its digest.
fn record_writer<S: Service>(lane: &Lane<S>) -> impl FnMut(usize, &mut RecordsWriter) -> Option<u32> {
    let mut saved = Vec::new();
    move |key, writer| lane.record(key, &mut saved).map(|record| writer.push(&record))
}

fn descriptors<S: Service>(lane: &Lane<S>, keys: impl Iterator<Item = usize>) -> Vec<BorrowedFd<'_>> {
    keys.map(|key| lane.descriptor(key)).collect()
}

/// A takeover whose successor is ready: the loop stops reading and accepting, and calls [`ReadyDeparture::commit`].
#[derive(Debug)]
pub(crate) struct ReadyDeparture {
    channel: Channel,
    pid: u32,
    ready: Ready,
}

impl ReadyDeparture {
    /// Freezes, sends what is pending, and waits for the successor to accept. The loop is not polled meanwhile.
    ///
    /// # Errors
    /// If the successor has not accepted within `freeze_timeout`, and cannot accept any more: the loop thaws by polling
    /// again.
    pub(crate) fn commit<S: Service>(
        mut self,
        lane: &Lane<S>,
        freeze_timeout: Duration,
    ) -> Result<HandedOver, Failure> {
        let deadline = Deadline::after(freeze_timeout);
        let mut frozen = self.ready.freeze(Instant::now(), monotonic_ns());
        let channel = &mut self.channel;
        let accepted = send_final(channel, &mut frozen, lane, deadline)
            .and_then(|()| wait_for_accept(channel, &mut frozen, deadline))
            .or_else(|failure| {
                // From here on the successor's Accept fails with EPIPE; one that was sent before is still there.
                channel.shutdown();
                accepted_already(channel, &mut frozen).map_err(|last_word| last_word.unwrap_or(failure))
            })?;
        Ok(HandedOver { channel: self.channel, pid: self.pid, accepted })
    }
}

fn send_final<S: Service>(
    channel: &mut Channel,
    frozen: &mut Frozen,
    lane: &Lane<S>,
    deadline: Deadline,
) -> Result<(), Failure> {
    fault::at(Step::Freeze, channel)?;
    let mut write = record_writer(lane);
    while let Some(batch) = frozen.next(&mut write)? {
        channel.send_by(&batch.frame, &descriptors(lane, batch.descriptor_keys()), deadline)?;
        frozen.sent(batch);
    }
    fault::at(Step::Commit, channel)?;
    let mut state = Vec::new();
    lane.save(&mut state);
    for frame in frozen.commit(&state) {
        channel.send_by(&frame, &[], deadline)?;
    }
    frozen.committed();
    Ok(())
}

fn wait_for_accept(channel: &mut Channel, frozen: &mut Frozen, deadline: Deadline) -> Result<Accepted, Failure> {
    fault::at(Step::Committed, channel)?;
    loop {
        let raw = channel.receive_by(deadline)?;
        if let Some(accepted) = frozen.hear(raw.decode()?)? {
            return Ok(accepted);
        }
        // As long as something arrives, nothing is waited for, and the deadline would not be noticed.
        if let Some(waited) = deadline.passed() {
            return Err(Mistake::NotAccepted { waited }.into());
        }
    }
}

/// Looks for Accept in what the channel still holds after its end.
///
/// # Errors
/// If it is not there. The successor may have said why.
fn accepted_already(channel: &mut Channel, frozen: &mut Frozen) -> Result<Accepted, Option<Failure>> {
    let mut last_word = None;
    while let Ok(Some(raw)) = channel.receive() {
        match raw.decode().map(|frame| frozen.hear(frame)) {
            Ok(Ok(Some(accepted))) => return Ok(accepted),
            Ok(Err(mistake @ Mistake::GaveUp { .. })) => last_word = Some(mistake.into()),
            _ => {}
        }
    }
    Err(last_word)
}

/// Why a successor gave up that takes no more: it may have said so before it closed the channel.
fn last_word(channel: &mut Channel) -> Option<Failure> {
    while let Ok(Some(raw)) = channel.receive() {
        if let Ok(Frame::Refuse(refuse)) = raw.decode() {
            return Some(Mistake::GaveUp { reason: printable(&refuse.reason) }.into());
        }
    }
    None
}

/// The successor owns the peers. What is left to do disturbs nobody.
#[derive(Debug)]
pub(crate) struct HandedOver {
    channel: Channel,
    pid: u32,
    accepted: Accepted,
}

impl HandedOver {
    /// Waits to hear how long the pause was, and logs the summary. Returns the successor's process id.
    pub(crate) fn retire(mut self) -> u32 {
        let Accepted { figures, peers, .. } = self.accepted;
        let heard = fault::at(Step::Retire, &mut self.channel)
            .and_then(|()| self.channel.receive_by(Deadline::after(RETIRED_PATIENCE)));
        let pause_us = match heard {
            Ok(raw) => match raw.decode() {
                Ok(Frame::Serving(serving)) => Some(serving.pause_us),
                _ => None,
            },
            Err(error) => {
                debug!("Successor pid {} did not say when it began to serve: {error}", self.pid);
                None
            }
        };
        let predecessor_pid = std::process::id();
        let summary = Summary { peers, figures, pause_us, predecessor_pid, successor_pid: self.pid };
        info!("Handed over {summary}");
        self.pid
    }
}

#[cfg(any(test, fuzzing))]
impl Departure {
    /// A takeover of peers alone, by a successor of the same process.
    pub(crate) fn of_peers(channel: Channel, hello: super::wire::Hello, keys_end: usize, now: Instant) -> Self {
        let copying = Copying::new(hello, keys_end, now);
        Self { channel, pid: std::process::id(), copying, blocked: None, more_to_hear: false }
    }
}

#[cfg(any(test, fuzzing))]
impl ReadyDeparture {
    /// Commits to a successor of the same thread, which has its turn when all is sent.
    pub(crate) fn commit_to<S: Service>(
        mut self,
        lane: &Lane<S>,
        successor: impl FnOnce(),
    ) -> Result<HandedOver, Failure> {
        let deadline = Deadline::after(Duration::from_secs(1));
        let mut frozen = self.ready.freeze(Instant::now(), monotonic_ns());
        send_final(&mut self.channel, &mut frozen, lane, deadline)?;
        successor();
        let accepted = wait_for_accept(&mut self.channel, &mut frozen, deadline)?;
        Ok(HandedOver { channel: self.channel, pid: self.pid, accepted })
    }
}
