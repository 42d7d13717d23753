//! All peers: by key for the table, by id for the services.
//!
//! A service reaches other peers only here, while one of them has its turn. What it does to them is settled at the end of
//! the loop's turn.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use rustc_hash::{FxBuildHasher, FxHashMap};
use slab::Slab;

use super::handle::{Handle, STAMPS};
use super::turns::{self, Deadlines, Turns};
use crate::peer::{Address, Marks, Peer, PeerId};

/// All peers, and who of them waits to be settled.
#[derive(Debug)]
pub(crate) struct Peers {
    slab: Slab<Peer>,
    keys: FxHashMap<PeerId, u32>,
    stamp: u32,
    /// Those whom others have sent to or closed.
    unsettled: Turns,
    marks: Marks,
}

impl Peers {
    /// Nobody, with room for `capacity` peers.
    pub(crate) fn new(marks: Marks, capacity: usize) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            keys: FxHashMap::with_capacity_and_hasher(capacity, FxBuildHasher),
            stamp: 0,
            unsettled: Turns::new(|peer| &mut peer.unsettled),
            marks,
        }
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// If there is a peer with this id already: the socket is given back.
    pub(super) fn insert(
        &mut self,
        socket: mio::net::TcpStream,
        id: PeerId,
        address: Address,
    ) -> Result<Handle, mio::net::TcpStream> {
        if self.keys.contains_key(&id) {
            return Err(socket);
        }
        self.stamp = self.stamp.wrapping_add(1) % STAMPS;
        let key = self.slab.insert(Peer::new(socket, self.stamp, id, address));
        let handle = Handle::new(key, self.stamp);
        self.keys.insert(id, handle.key() as u32);
        Ok(handle)
    }

    /// Takes the peer out of the table.
    pub(super) fn remove(&mut self, key: usize) -> Peer {
        let peer = self.slab.remove(key);
        self.keys.remove(&peer.id());
        peer
    }

    /// The peer that a handle is for, and all others, unless it has left.
    pub(super) fn turn_of(&mut self, handle: Handle) -> Option<Turn<'_>> {
        turns::find(&mut self.slab, handle)?;
        Some(Turn { peers: self, key: handle.key() })
    }

    pub(super) fn queue_in(&mut self, turns: &mut Turns, key: usize) {
        turns.push(key, &mut self.slab[key]);
    }

    pub(super) fn next_in(&mut self, turns: &mut Turns) -> Option<Handle> {
        turns.pop(&mut self.slab)
    }

    pub(super) fn next_deadline_in(&mut self, deadlines: &mut Deadlines, now: Instant) -> Option<Handle> {
        deadlines.pop(now, &mut self.slab)
    }

    /// Whose turn it is of those who wait to be settled.
    pub(super) fn next_unsettled(&mut self) -> Option<Handle> {
        self.unsettled.pop(&mut self.slab)
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Peer> {
        self.slab.get(key)
    }

    pub(crate) fn key(&self, id: PeerId) -> Option<usize> {
        self.keys.get(&id).map(|key| *key as usize)
    }

    pub(super) fn handle(&self, id: PeerId) -> Option<Handle> {
        let key = self.key(id)?;
        Some(Handle::new(key, self.slab[key].stamp()))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// All keys are below this.
    pub(crate) fn keys_end(&self) -> usize {
        self.slab.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slab.iter().map(|(_, peer)| peer)
    }

    /// A handle for each of them.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.slab.iter().map(|(key, peer)| Handle::new(key, peer.stamp())).collect()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// Adds to the pending output of a peer, which is settled at the end of the turn.
    pub(crate) fn send(&mut self, id: PeerId, bytes: &[u8]) -> Result<(), SendError> {
        let key = self.key(id).ok_or(SendError::Gone)?;
        let peer = &mut self.slab[key];
        let pending_bytes = peer.talk.pending_bytes();
        if peer.talk.is_closing() {
            return Err(SendError::Gone);
        }
        if pending_bytes > self.marks.high_bytes {
            return Err(SendError::Full { pending_bytes });
        }
        peer.talk.push(bytes);
        self.unsettled.push(key, peer);
        Ok(())
    }

    /// The session of a peer is changed in a call about another one.
    pub(crate) fn touch(&mut self, key: usize) {
        let peer = &mut self.slab[key];
        peer.session_changed = true;
        self.unsettled.push(key, peer);
    }

    /// Closes a peer after what is pending for it is written.
    pub(crate) fn close(&mut self, id: PeerId) {
        if let Some(key) = self.key(id) {
            let peer = &mut self.slab[key];
            peer.talk.close();
            self.unsettled.push(key, peer);
        }
    }
}

/// A peer that has its turn. All others are there as well, since a service that is called about one may reach any.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    peers: &'t mut Peers,
    key: usize,
}

impl Turn<'_> {
    pub(crate) fn key(&self) -> usize {
        self.key
    }

    /// Everybody, for a call of the service about this one.
    pub(crate) fn everybody(&mut self) -> &mut Peers {
        self.peers
    }

    pub(crate) fn marks(&self) -> Marks {
        self.peers.marks
    }
}

impl Deref for Turn<'_> {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peers.slab[self.key]
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peers.slab[self.key]
    }
}

/// Why a peer was not sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer is gone, or is being closed.
    Gone,
    /// Its pending output is over the high-water mark.
    Full {
        /// How many bytes wait to be written to it.
        pending_bytes: usize,
    },
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("the peer is gone"),
            Self::Full { pending_bytes } => write!(f, "{pending_bytes} bytes are pending for the peer already"),
        }
    }
}

impl std::error::Error for SendError {}
