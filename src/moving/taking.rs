//! A taker of peers, on one channel: the successor's half of the conversation, carried out between two turns of a loop that
//! serves others meanwhile.
//!
//! What arrives is adopted into a table that is being served, and is out of everybody's reach there until Accept is in the
//! channel.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use reactord_process::channel::{Channel, ChannelError, Sent};
use reactord_process::frame::RawFrame;
use reactord_process::open_files;
use rustc_hash::FxHashMap;

use crate::clock::monotonic_ns;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::peer::Address;
use crate::peer::record::{Change, Record};
use crate::table::PeerHandle;
use crate::takeover::adopted::{Adopted, restored};
use crate::takeover::arriving::SILENCE_MAX;
use crate::takeover::drive::{Accepting, Owner, SuccessorEnd};
use crate::takeover::error::Cause;
use crate::takeover::fault::{self, SuccessorStep as Step};
use crate::takeover::frozen_at::check_clock;
use crate::takeover::panicked::caught;
use crate::takeover::successor::{Accept, Action, Called, Heard, Objection, Receiving};
use crate::takeover::wire::{Digested, Frame, OfLane, Offer, Serving, Versions, Welcome};

/// What is heard of a giver in one turn of the loop, and for how long, about: then it is others' turn.
const BYTES_PER_TURN: usize = 512 * 1024;
const SHARE: Duration = Duration::from_millis(1);

/// How long a batch may take, however much its giver says meanwhile. Givers of ours give up after a third of that.
const BATCH_PATIENCE: Duration = Duration::from_secs(180);

/// One channel to a giver.
#[derive(Debug)]
pub(super) struct Taking {
    channel: Channel,
    pid: u32,
    /// `None` while a frame is being heard, and when it has come to nothing.
    step: Option<Stage>,
    taken: Taken,
    /// When the giver last said something.
    heard_at: Instant,
    /// When the batch that is on its way was begun.
    begun_at: Instant,
}

#[derive(Debug)]
enum Stage {
    /// It has said that it can be given peers.
    Waiting(Called),
    /// A batch is on its way.
    Receiving(Receiving),
}

/// What has come of a batch.
#[derive(Debug, Default)]
struct Taken {
    /// The number of the lane that serves them here.
    lane: usize,
    /// The version of their sessions.
    version: u32,
    /// Each by its cookie, with where it connects from.
    peers: FxHashMap<u64, (PeerHandle, Address)>,
    /// When this process was ready for the freeze, by the [clock](now_of) of that lane.
    ready_at_ns: u64,
}

/// What a turn has led to.
pub(super) enum Turned {
    /// Nothing more is to be heard now.
    On(Taking),
    /// There may be more, and it is others' turn first.
    Later(Taking),
    /// So many peers belong to this process now, and are served; so long they were not. The channel may be of no use any
    /// more all the same.
    Took { taking: Result<Taking, Cause>, peers: u64, pause: Duration },
    /// The channel is of no use any more. What was not accepted is not here.
    Over(Cause),
}

impl Taking {
    /// Tells a giver that it can give.
    ///
    /// # Errors
    /// If it cannot be told.
    pub(super) fn wait<L: Lanes>(
        mut channel: Channel,
        pid: u32,
        lanes: &L,
        peers_max: usize,
        now: Instant,
    ) -> Result<Self, Cause> {
        let called = say_wait(&mut channel, lanes, peers_max)?;
        let step = Some(Stage::Waiting(called));
        Ok(Self { channel, pid, step, taken: Taken::default(), heard_at: now, begun_at: now })
    }

    pub(super) fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a batch is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.step, Some(Stage::Receiving(_)))
    }

    /// When it is given up if nothing comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_under_way().then(|| (self.heard_at + SILENCE_MAX).min(self.begun_at + BATCH_PATIENCE))
    }

    /// Hears the giver, up to the end of a batch. There may be so many peers at most.
    pub(super) fn turn<L: Lanes>(mut self, lanes: &mut L, peers_max: usize, now: Instant) -> Turned {
        let (began, mut bytes_left) = (Instant::now(), BYTES_PER_TURN);
        if self.is_under_way() && now >= self.begun_at + BATCH_PATIENCE {
            return self.give_up(lanes, Objection::Endless { copied_for: BATCH_PATIENCE }.into());
        }
        loop {
            let raw = match self.channel.receive_within(&mut bytes_left) {
                Ok(Some(raw)) => raw,
                Ok(None) if bytes_left == 0 => return Turned::Later(self),
                Ok(None) if self.due().is_some_and(|due| now >= due) => {
                    return self.give_up(lanes, ChannelError::Silent { waited: SILENCE_MAX }.into());
                }
                Ok(None) => return Turned::On(self),
                Err(error) => return self.give_up(lanes, error.into()),
            };
            self.heard_at = now;
            match self.hear(&raw, lanes, peers_max) {
                Ok(None) if began.elapsed() >= SHARE => return Turned::Later(self),
                Ok(None) => {}
                Ok(Some(owner)) => return self.begin_to_serve(owner.accept(), lanes, peers_max),
                Err(cause) => return self.give_up(lanes, cause),
            }
        }
    }

    /// Takes nothing of what has come, and tells the giver why.
    pub(super) fn give_up<L: Lanes>(self, lanes: &mut L, cause: Cause) -> Turned {
        let lane = self.taken.peers.values().map(|(handle, _)| *handle);
        lane.for_each(|handle| lanes.lane_mut(handle.lane()).drop_taken(handle));
        self.channel.close_with(&cause.frame());
        Turned::Over(cause)
    }

    /// Hears one frame. Says so if the peers of the batch are this process's now.
    fn hear<L: Lanes>(&mut self, raw: &RawFrame, lanes: &mut L, peers_max: usize) -> Result<Option<Owner>, Cause> {
        let frame = raw.decode()?;
        match self.step.take() {
            Some(Stage::Waiting(called)) => {
                let welcome = called.hear(frame)?;
                self.step = Some(Stage::Receiving(self.prepare(&welcome, lanes, peers_max)?));
                self.begun_at = self.heard_at;
                Ok(None)
            }
            Some(Stage::Receiving(receiving)) => match receiving.hear(frame)? {
                Heard::On(receiving, action) => {
                    self.step = Some(Stage::Receiving(receiving));
                    self.act(action, lanes).map(|()| None)
                }
                Heard::Commit(accept) => {
                    // The instants of its peers are by the giver's clock.
                    let now_ns = now_of(lanes.lane(self.taken.lane));
                    check_clock(self.taken.ready_at_ns, accept.frozen_at_ns, now_ns)?;
                    Accepting::Verified(accept).finish(&mut self.channel).map(Some)
                }
            },
            None => unreachable!("it has come to nothing, and is heard no more"),
        }
    }

    /// A giver has said what it gives.
    fn prepare<L: Lanes>(&mut self, welcome: &Welcome, lanes: &L, peers_max: usize) -> Result<Receiving, Cause> {
        fault::at(Step::Welcome, &mut self.channel)?;
        if welcome.has_secrets {
            self.channel.hold_secrets();
        }
        let [lane] = &*welcome.lanes else {
            let services = welcome.lanes.iter().map(|lane| lane.service.clone()).collect();
            return Err(Objection::Lanes { services }.into());
        };
        let number = lanes.all().position(|ours| ours.name() == lane.service);
        let number = number.expect("it was chosen from what was offered");
        // Others may have come since it was said how many there are.
        let peers = (lanes.peers() as u64).saturating_add(lane.peers);
        if peers > peers_max as u64 {
            return Err(Objection::Room { peers, peers_max }.into());
        }
        self.taken = Taken { lane: number, version: lane.state_version, ..Taken::default() };
        Ok(Receiving::of_batch())
    }

    fn act<L: Lanes>(&mut self, action: Action<'_>, lanes: &mut L) -> Result<(), Cause> {
        let Self { channel, taken, .. } = self;
        let lane = lanes.lane_mut(taken.lane);
        let answer = match action {
            Action::Adopt(records, answer) => {
                fault::at(Step::Adopt, channel)?;
                taken.adopt(channel, records, lane)?;
                fault::at(Step::Copied, channel)?;
                answer
            }
            Action::Change(changes) => {
                fault::at(Step::Change, channel)?;
                return taken.follow(changes, lane);
            }
            Action::Discard(closed) => {
                fault::at(Step::Discard, channel)?;
                let left = closed.cookies.iter().filter_map(|cookie| taken.peers.remove(cookie));
                left.for_each(|(handle, _)| lane.drop_taken(handle));
                return Ok(());
            }
            Action::Answer(answer) => {
                fault::at(Step::Round, channel)?;
                answer
            }
            Action::GetReady(answer) => {
                fault::at(Step::Ready, channel)?;
                taken.ready_at_ns = now_of(lane);
                answer
            }
            Action::Wait => return Ok(()),
            Action::Listen(_) | Action::SetTimers(_) | Action::Enter { .. } | Action::TakeLicence => {
                return Err(Objection::Shared.into());
            }
        };
        Ok(channel.post(&answer)?)
    }

    /// The peers belong to this process.
    fn begin_to_serve<L: Lanes>(mut self, accept: &Accept, lanes: &mut L, peers_max: usize) -> Turned {
        let Taken { lane, peers, .. } = std::mem::take(&mut self.taken);
        let handles: Vec<PeerHandle> = peers.into_values().map(|(handle, _)| handle).collect();
        lanes.lane_mut(lane).welcome(&handles);
        let pause_us = now_of(lanes.lane(lane)).saturating_sub(accept.frozen_at_ns) / 1000;
        let (peers, pause) = (accept.peers, Duration::from_micros(pause_us));
        let said = fault::at(Step::Serving, &mut self.channel)
            .and_then(|()| self.channel.post(&Frame::Serving(Serving { pause_us }).encode()))
            .map_err(Cause::from)
            .and_then(|()| say_wait(&mut self.channel, lanes, peers_max));
        // What is here is here, also where nothing more will come: a giver that waited no longer has found Accept, and its last
        // word may still be in the channel.
        let taking = said.map(|called| {
            self.step = Some(Stage::Waiting(called));
            self
        });
        Turned::Took { taking, peers, pause }
    }
}

/// Says what can be given to this process, and how many there are and may be.
fn say_wait<L: Lanes>(channel: &mut Channel, lanes: &L, peers_max: usize) -> Result<Called, Cause> {
    let offers = lanes.all().map(|lane| {
        let (oldest, newest) = lane.restores();
        Offer { service: lane.name().to_owned(), state_versions: Versions { oldest, newest } }
    });
    // A giver leaves as many files to others as it would in a takeover; what is in use is in the number of peers.
    let files_max = peers_max.saturating_add(open_files::RESERVED);
    let (called, wait) = Called::waiting(offers.collect(), files_max as u64, lanes.peers() as u64);
    fault::at(Step::Hello, channel)?;
    channel.post(&wait)?;
    Ok(called)
}

impl Taken {
    fn adopt(
        &mut self,
        channel: &mut Channel,
        OfLane { records, .. }: OfLane<Record<'_>>,
        lane: &mut dyn AnyLane,
    ) -> Result<(), Cause> {
        let sockets = channel.take_descriptors(records.len())?;
        for (socket, record) in sockets.into_iter().zip(records) {
            let Adopted { socket, record } = Adopted::pair(socket, record.value)?;
            let socket = TcpStream::from_std(socket.into());
            let handle = restored(caught(|| lane.take_in(socket, &record, self.version)), record.address)?;
            self.peers.insert(record.cookie, (handle, record.address));
        }
        Ok(())
    }

    fn follow(&mut self, OfLane { records, .. }: OfLane<Change<'_>>, lane: &mut dyn AnyLane) -> Result<(), Cause> {
        for Digested { value: change, .. } in records {
            let (handle, address) = self.peers[&change.cookie];
            restored(caught(|| lane.follow_taken(handle, &change, self.version)), address)?;
        }
        Ok(())
    }
}

/// The time, by the clock by which the instants of a lane's peers are kept. That may be the one of a predecessor, with which a takeover goes on.
fn now_of(lane: &dyn AnyLane) -> u64 {
    lane.table().peers().kept(monotonic_ns())
}

impl SuccessorEnd for Channel {
    type Cause = Cause;

    fn restore(&mut self, states: &[Vec<u8>]) -> Result<(), Cause> {
        match self.descriptors_left() {
            0 if states.iter().all(Vec::is_empty) => Ok(()),
            0 => Err(Objection::Shared.into()),
            count => Err(Cause::DescriptorsLeft { count }),
        }
    }

    fn send_accept(&mut self, frame: &[u8]) -> Result<(), Cause> {
        fault::at(Step::Accept, self)?;
        match self.try_send(frame, &[]) {
            Ok(Sent::Taken) => Ok(()),
            // Whoever has taken Commit out of the channel reads what is in it the other way.
            Ok(Sent::Full | Sent::TooManyInFlight) => Err(ChannelError::Silent { waited: Duration::ZERO }.into()),
            Err(ChannelError::Closed) => Err(Cause::TooLate),
            Err(error) => Err(error.into()),
        }
    }
}
