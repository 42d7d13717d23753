//! Queues of peers that get a turn without an event. Pure, and the one place where the stamp of a queued peer is compared
//! with that of whoever is at its key by now.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use slab::Slab;

use super::handle::PeerHandle;
use crate::peer::Peer;

/// Where the peer that a handle is for is, unless it has left.
pub(super) fn find(peers: &mut Slab<Peer>, handle: PeerHandle) -> Option<&mut Peer> {
    peers.get_mut(handle.key()).filter(|peer| peer.stamp() == handle.stamp())
}

/// Peers in the order in which they get their turn. A peer stands in it once; what says that it does is in the peer.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: VecDeque<PeerHandle>,
    is_queued: fn(&mut Peer) -> &mut bool,
}

impl Turns {
    pub(crate) fn new(is_queued: fn(&mut Peer) -> &mut bool) -> Self {
        Self { queue: VecDeque::new(), is_queued }
    }

    /// Gives the peer at `key` a turn.
    pub(crate) fn push(&mut self, key: usize, peer: &mut Peer) {
        if !std::mem::replace((self.is_queued)(peer), true) {
            self.queue.push_back(PeerHandle::new(key, peer.stamp()));
        }
    }

    /// Whose turn it is. Those who have left are passed over.
    pub(crate) fn pop(&mut self, peers: &mut Slab<Peer>) -> Option<PeerHandle> {
        while let Some(handle) = self.queue.pop_front() {
            if let Some(peer) = find(peers, handle) {
                *(self.is_queued)(peer) = false;
                return Some(handle);
            }
        }
        None
    }

    /// Sees to it that those who have left do not make the queue grow for ever where nobody has a turn.
    pub(crate) fn make_room(&mut self, peers: &Slab<Peer>) {
        if self.queue.len() > 64 + 2 * peers.len() {
            self.queue.retain(|handle| peers.get(handle.key()).is_some_and(|peer| peer.stamp() == handle.stamp()));
        }
    }

    /// Those who wait, and those who have left while they did.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerHandle> {
        self.queue.iter().copied()
    }

    /// How many wait, those who have left among them.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Peers that get their turn at an instant. A peer stands in it once; what says that it does is in the peer.
#[derive(Debug)]
pub(crate) struct Awaited {
    heap: BinaryHeap<Reverse<(Instant, PeerHandle)>>,
    is_queued: fn(&mut Peer) -> &mut bool,
}

impl Awaited {
    pub(crate) fn new(is_queued: fn(&mut Peer) -> &mut bool) -> Self {
        Self { heap: BinaryHeap::new(), is_queued }
    }

    /// Gives the peer a turn at that instant, unless it has one coming.
    pub(crate) fn push(&mut self, at: Instant, handle: PeerHandle, peer: &mut Peer) {
        if !std::mem::replace((self.is_queued)(peer), true) {
            self.heap.push(Reverse((at, handle)));
        }
    }

    /// Whose turn it is by now. Those who have left are passed over.
    pub(crate) fn pop(&mut self, now: Instant, peers: &mut Slab<Peer>) -> Option<PeerHandle> {
        while self.first().is_some_and(|at| at <= now) {
            let Reverse((_, handle)) = self.heap.pop()?;
            if let Some(peer) = find(peers, handle) {
                *(self.is_queued)(peer) = false;
                return Some(handle);
            }
        }
        None
    }

    /// When the first turn is due.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
