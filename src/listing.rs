//! Those who are told of all peers, one by one: a little in each turn of the loop, and no more than they read.
//!
//! Who comes or goes meanwhile is told of or not; nobody is told of twice.

pub(crate) mod asking;

use std::time::{Duration, Instant};

use log::debug;
use mio::event::Event;
use mio::{Interest, Registry};
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::Refuse;
use slab::Slab;

use crate::lanes::Lanes;
use crate::sources::{Name, Tokens};
use crate::status::PeerStatus;
use crate::takeover::wire::{Frame, PeerList};

/// So many are told at once.
const LISTINGS_MAX: usize = 8;

/// So many peers are told of in one turn of the loop, about 50 us of work: the kernel is asked about each.
const PEERS_PER_TURN: usize = 32;

/// So many places where a peer may be are looked at in one turn.
const KEYS_PER_TURN: usize = 1024;

/// Who reads nothing for so long is told no more.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub(crate) struct Listings {
    all: Slab<Listing>,
    /// Whose turn it is next.
    next: usize,
    tokens: Tokens,
}

/// One who is told.
#[derive(Debug)]
struct Listing {
    channel: Channel,
    pid: u32,
    lane: usize,
    /// The first key of that lane that it was not told of.
    key: usize,
    /// The channel has taken all that was said.
    may_say: bool,
    /// All is said.
    is_over: bool,
    /// Whether the other end may have left.
    heard: bool,
    given_up_at: Instant,
}

impl Listings {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self { all: Slab::new(), next: 0, tokens: Tokens::of(Name::Listings) }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.all.is_empty()
    }

    /// Somebody wants to be told.
    pub(crate) fn begin(&mut self, mut channel: Channel, pid: u32, registry: &Registry, now: Instant) {
        if self.all.len() >= LISTINGS_MAX {
            let reason = format!("{LISTINGS_MAX} are being told of all peers already");
            return channel.close_with(&Refuse::frame(&reason));
        }
        let entry = self.all.vacant_entry();
        let token = self.tokens.token(entry.key());
        match registry.register(channel.source(), token, Interest::READABLE | Interest::WRITABLE) {
            Ok(()) => {
                let given_up_at = now + READ_PATIENCE;
                let (may_say, is_over, heard) = (true, false, false);
                entry.insert(Listing { channel, pid, lane: 0, key: 0, may_say, is_over, heard, given_up_at });
            }
            Err(error) => debug!("Pid {pid} is not told of all peers: {error}"),
        }
    }

    /// Notes an event of the one that has this key.
    pub(crate) fn hear(&mut self, key: usize, event: &Event) {
        if let Some(listing) = self.all.get_mut(key) {
            listing.heard |= event.is_readable() || event.is_read_closed() || event.is_error();
            listing.may_say |= event.is_writable();
        }
    }

    /// When they are to be tended if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.all.iter().map(|(_, one)| if one.may_say || one.heard { now } else { one.given_up_at }).min()
    }

    /// Tells one of them of a few peers more.
    pub(crate) fn tend(&mut self, lanes: &impl Lanes, registry: &Registry, now: Instant) {
        self.let_go_of_those_gone(registry, now);
        let keys = || self.all.iter().filter(|(_, one)| one.may_say).map(|(key, _)| key);
        let Some(key) = keys().find(|key| *key >= self.next).or_else(|| keys().next()) else { return };
        self.next = key + 1;
        let listing = &mut self.all[key];
        match listing.go_on(lanes, now) {
            Ok(false) => {}
            Ok(true) => self.end(key, registry),
            Err(error) => {
                debug!("Pid {} is told of no more peers: {error}", listing.pid);
                self.end(key, registry);
            }
        }
    }

    fn let_go_of_those_gone(&mut self, registry: &Registry, now: Instant) {
        let gone = self.all.iter_mut().filter_map(|(key, one)| one.is_gone(now).then_some(key));
        for key in gone.collect::<Vec<usize>>() {
            self.end(key, registry);
        }
    }

    fn end(&mut self, key: usize, registry: &Registry) {
        let mut listing = self.all.remove(key);
        if let Err(error) = registry.deregister(listing.channel.source()) {
            debug!("Pid {} stays in the epoll set: {error}", listing.pid);
        }
    }
}

impl Listing {
    /// Whether there is nobody to tell any more, or nobody who listens. Nothing is said to a server that tells.
    fn is_gone(&mut self, now: Instant) -> bool {
        let has_left = std::mem::take(&mut self.heard) && !matches!(self.channel.receive(), Ok(None));
        has_left || (!self.may_say && now >= self.given_up_at)
    }

    /// Says what comes next, if the channel takes it. True if all is said.
    fn go_on(&mut self, lanes: &impl Lanes, now: Instant) -> Result<bool, ChannelError> {
        self.may_say = self.channel.flush()?;
        if !self.may_say {
            return Ok(false);
        }
        self.given_up_at = now + READ_PATIENCE;
        if !self.is_over {
            let frame = Frame::PeerList(self.next_of(lanes)).encode();
            self.channel.post(&frame)?;
        }
        Ok(self.is_over && self.channel.flush()?)
    }

    fn next_of<L: Lanes>(&mut self, lanes: &L) -> PeerList {
        let lane = lanes.lane(self.lane);
        let peers = lane.table().peers();
        let keys_end = peers.keys_end();
        let mut told: Vec<PeerStatus> = Vec::new();
        let first = self.key;
        while self.key < keys_end && self.key < first + KEYS_PER_TURN && told.len() < PEERS_PER_TURN {
            told.extend(peers.described(self.key));
            self.key += 1;
        }
        if self.key >= keys_end {
            (self.lane, self.key) = (self.lane + 1, 0);
        }
        self.is_over = self.lane == L::COUNT;
        PeerList { service: lane.name().to_owned(), peers: told, is_last: self.is_over }
    }
}

#[cfg(test)]
mod tests;
