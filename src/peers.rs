//! The table of all peers: by key for the loop, by id for the services.

use rustc_hash::{FxBuildHasher, FxHashMap};
use slab::Slab;

use crate::peer::{Address, Marks, Peer, PeerId, Phase};

/// All peers. `T` is a session.
#[derive(Debug)]
pub(crate) struct Peers<T> {
    slab: Slab<Peer<T>>,
    keys: FxHashMap<PeerId, u32>,
    generation: u32,
    /// Keys of peers that others have sent to or closed, which nobody has settled since.
    unsettled: Vec<usize>,
    marks: Marks,
}

impl<T> Peers<T> {
    /// An empty table, with room for `capacity` peers.
    pub(crate) fn new(marks: Marks, capacity: usize) -> Self {
        Self {
            slab: Slab::with_capacity(capacity),
            keys: FxHashMap::with_capacity_and_hasher(capacity, FxBuildHasher),
            generation: 0,
            unsettled: Vec::new(),
            marks,
        }
    }

    /// Adds a connection, and returns its key.
    ///
    /// # Errors
    /// If there is a peer with this id already: the socket is given back.
    pub(crate) fn insert(
        &mut self,
        socket: mio::net::TcpStream,
        id: PeerId,
        address: Address,
    ) -> Result<usize, mio::net::TcpStream> {
        if self.keys.contains_key(&id) {
            return Err(socket);
        }
        self.generation = self.generation.wrapping_add(1) % GENERATIONS;
        let key = self.slab.insert(Peer::new(socket, self.generation, id, address));
        self.keys.insert(id, u32::try_from(key).expect("a process opens fewer than 4 billion files"));
        Ok(key)
    }

    /// Takes the peer out of the table.
    pub(crate) fn remove(&mut self, key: usize) -> Peer<T> {
        let peer = self.slab.remove(key);
        self.keys.remove(&peer.id());
        peer
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Peer<T>> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Peer<T>> {
        self.slab.get_mut(key)
    }

    pub(crate) fn key(&self, id: PeerId) -> Option<usize> {
        self.keys.get(&id).map(|key| *key as usize)
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer<T>> {
        self.slab.iter().map(|(_, peer)| peer)
    }

    pub(crate) fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// Calls `handle` with the session of the peer at `key`, and with the table of all others.
    ///
    /// # Panics
    /// If no peer is there.
    pub(crate) fn with_session<R>(&mut self, key: usize, handle: impl FnOnce(&mut T, &mut Self) -> R) -> R {
        let mut session = self.slab[key].session.take().expect("a session is missing only while its peer is handled");
        let result = handle(&mut session, self);
        self.slab[key].session = Some(session);
        result
    }

    /// Adds to the pending output of a peer, which is settled at the end of the turn.
    pub(crate) fn send(&mut self, id: PeerId, bytes: &[u8]) -> Result<(), SendError> {
        let key = self.key(id).ok_or(SendError::Gone)?;
        let peer = &mut self.slab[key];
        let pending_bytes = peer.pending_bytes();
        if matches!(peer.phase, Phase::Closing | Phase::Lingering) {
            return Err(SendError::Gone);
        }
        if pending_bytes > self.marks.high_bytes {
            return Err(SendError::Full { pending_bytes });
        }
        peer.push(bytes);
        self.unsettle(key);
        Ok(())
    }

    /// Closes a peer after what is pending for it is written.
    pub(crate) fn close(&mut self, id: PeerId) {
        if let Some(key) = self.key(id)
            && self.slab[key].phase != Phase::Lingering
        {
            self.slab[key].phase = Phase::Closing;
            self.unsettle(key);
        }
    }

    fn unsettle(&mut self, key: usize) {
        if !std::mem::replace(&mut self.slab[key].unsettled, true) {
            self.unsettled.push(key);
        }
    }

    /// A peer that waits to be settled: its key and generation.
    pub(crate) fn pop_unsettled(&mut self) -> Option<(usize, u32)> {
        while let Some(key) = self.unsettled.pop() {
            if let Some(peer) = self.slab.get_mut(key)
                && std::mem::take(&mut peer.unsettled)
            {
                return Some((key, peer.generation()));
            }
        }
        None
    }
}

/// Generations are below this; those above are for the loop's own tokens.
pub(crate) const GENERATIONS: u32 = u32::MAX;

/// Why a peer was not sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
